//! Targets on the link: who asks for their MAC addresses, and what that means for the host's neighbour table.

use super::{Check, Status};
use crate::{
    base::Family,
    route::{KernelAsks, Routes, neighbours_at_most, share_of_kernel},
};
use std::fs;

pub(super) fn look(routes: &Routes, checks: &mut Vec<Check>) {
    let interface = &routes.interface.name;
    let kernel = KernelAsks::of(&routes.hops, share_of_kernel());
    for family in Family::ALL {
        let of_family = || routes.hops.iter().filter(|hop| hop.on_link && hop.family() == family);
        let on_link = of_family().count();
        if on_link == 0 {
            continue;
        }
        let accept = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{interface}/arp_accept"));
        let what = Limits {
            family,
            on_link,
            most: neighbours_at_most(family),
            share: share_of_kernel().of(family),
            kernel_asks: kernel.about_everybody(family),
            accepts: accept.is_ok_and(|text| text.trim() != "0"),
        };
        let answered = of_family().filter(|hop| hop.neighbour().is_resolved()).count();
        checks.push(what.judge(answered, interface));
    }
}

struct Limits {
    family: Family,
    on_link: usize,
    /// Entries that the kernel's table holds (gc_thresh3), and how many of them are to be ours.
    most: usize,
    share: usize,
    kernel_asks: bool,
    /// Whether the kernel makes an entry of each ARP answer that it hears.
    accepts: bool,
}

impl Limits {
    fn judge(&self, answered: usize, interface: &str) -> Check {
        let &Self { on_link, most, share, .. } = self;
        if self.kernel_asks {
            let asked = self.family.neighbour_protocol();
            let detail = format!("{answered} of {on_link} targets on the link of {interface} answer {asked}");
            return Check::new("neighbours", Status::Ok, detail);
        }
        if self.family == Family::V6 {
            let detail = format!(
                "{on_link} IPv6 targets on the link of {interface}: nobody asks for their MAC addresses, and their probes are unsent, \
                 because the kernel's table (gc_thresh3 {most}) is to hold no more than {share} entries of ours"
            );
            let advice = format!(
                "`sysctl net.ipv6.neigh.default.gc_thresh3={}` makes room for all of them",
                (on_link * most / share.max(1)).next_power_of_two()
            );
            return Check::new("neighbours", Status::Problem, detail).advise(advice);
        }
        let detail = format!(
            "{on_link} targets on the link of {interface}: echolot asks for them itself, at the pace of the probes, because the \
             kernel's table (gc_thresh3 {most}) is to hold no more than {share} entries of ours"
        );
        if self.accepts {
            let advice = format!(
                "the kernel makes an entry of every answer that it hears: `sysctl net.ipv4.conf.{interface}.arp_accept=0` \
                 (and conf.all) keeps its table for this host's own neighbours"
            );
            return Check::new("neighbours", Status::Warning, detail).advise(advice);
        }
        if on_link > most / 2 {
            let advice = format!(
                "a target that answers asks for this host's MAC address now and then, and the kernel makes an entry of each that \
                 does, as for any ping: `sysctl net.ipv4.neigh.default.gc_thresh3={}` (and gc_thresh2 to half of it) has room for \
                 all",
                (2 * on_link).next_power_of_two()
            );
            return Check::new("neighbours", Status::Warning, detail).advise(advice);
        }
        Check::new("neighbours", Status::Ok, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_link_is_told_with_what_it_does_to_the_table() {
        let few =
            Limits { family: Family::V4, on_link: 100, most: 1_024, share: 128, kernel_asks: true, accepts: false };
        let check = few.judge(90, "eth0");
        assert_eq!((check.status, check.detail.starts_with("90 of 100 targets")), (Status::Ok, true));
        let some = Limits { on_link: 400, kernel_asks: false, ..few };
        let check = some.judge(0, "eth0");
        assert_eq!(check.status, Status::Ok);
        assert!(check.detail.contains("no more than 128 entries"), "{}", check.detail);
        let many = Limits { on_link: 65_534, ..some };
        let check = many.judge(0, "eth0");
        assert_eq!(check.status, Status::Warning);
        assert!(
            check.advice.as_deref().is_some_and(|advice| advice.contains("gc_thresh3=131072")),
            "{:?}",
            check.advice
        );
        let check = Limits { accepts: true, ..many }.judge(0, "eth0");
        assert!(
            check.advice.as_deref().is_some_and(|advice| advice.contains("eth0.arp_accept=0")),
            "{:?}",
            check.advice
        );
    }

    #[test]
    fn more_ipv6_targets_on_the_link_than_the_kernel_is_asked_for_are_a_problem() {
        let few =
            Limits { family: Family::V6, on_link: 100, most: 1_024, share: 128, kernel_asks: true, accepts: true };
        let check = few.judge(90, "eth0");
        assert_eq!(check.detail, "90 of 100 targets on the link of eth0 answer neighbour discovery");
        let check = Limits { on_link: 200, kernel_asks: false, ..few }.judge(0, "eth0");
        assert_eq!(check.status, Status::Problem);
        assert!(
            check.advice.as_deref().is_some_and(|advice| advice.contains("ipv6.neigh.default.gc_thresh3=2048")),
            "{:?}",
            check.advice
        );
    }
}
