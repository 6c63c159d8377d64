//! Targets on the link: who asks for their MAC addresses, and what that means for the host's neighbour table.

use super::{Check, Status};
use crate::{
    base::Family,
    route::{KernelAsks, Routes, neighbours_at_most, share_of_kernel},
};
use std::fs;

pub(super) fn look(routes: &Routes, checks: &mut Vec<Check>) {
    let asks = KernelAsks::of(&routes.hops, share_of_kernel());
    let interface = &routes.interface.name;
    for family in Family::ALL {
        let on_link = || routes.hops.iter().filter(|hop| hop.on_link && hop.turn() == 0 && hop.family() == family);
        let what = Limits {
            family,
            on_link: on_link().count(),
            most: neighbours_at_most(family),
            share: share_of_kernel().of(family),
            kernel_asks: asks.about_everybody(family),
            accepts: accepts(family, interface),
        };
        if what.on_link > 0 {
            let answered = on_link().filter(|hop| hop.neighbour().is_resolved()).count();
            checks.push(what.judge(answered, interface));
        }
    }
}

/// Whether the kernel makes an entry of each answer that it hears: of IPv6 only a router's does (ndisc_recv_na).
fn accepts(family: Family, interface: &str) -> bool {
    let is_set = |setting: &str| {
        let version = version(family);
        let file = fs::read_to_string(format!("/proc/sys/net/{version}/conf/{interface}/{setting}"));
        file.is_ok_and(|text| text.trim() != "0")
    };
    match family {
        Family::V4 => is_set("arp_accept"),
        Family::V6 => is_set("accept_untracked_na") && is_set("forwarding"),
    }
}

fn version(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

struct Limits {
    family: Family,
    on_link: usize,
    /// Entries that the kernel's table holds (gc_thresh3), and how many of them are to be ours.
    most: usize,
    share: usize,
    kernel_asks: bool,
    accepts: bool,
}

impl Limits {
    fn judge(&self, answered: usize, interface: &str) -> Check {
        let &Self { family, on_link, most, share, .. } = self;
        let version = version(family);
        if self.kernel_asks {
            let protocol = family.neighbour_protocol();
            let detail = format!("{answered} of {on_link} targets on the link of {interface} answer {protocol}");
            return Check::new("neighbours", Status::Ok, detail);
        }
        let detail = format!(
            "{on_link} targets on the link of {interface}: echolot asks for them itself, at the pace of the probes, because the \
             kernel's table (gc_thresh3 {most}) is to hold no more than {share} entries of ours"
        );
        if self.accepts {
            let (setting, also) = match family {
                Family::V4 => ("arp_accept", " (and conf.all)"),
                Family::V6 => ("accept_untracked_na", ""),
            };
            let advice = format!(
                "the kernel makes an entry of every answer that it hears: `sysctl net.{version}.conf.{interface}.{setting}=0`\
                 {also} keeps its table for this host's own neighbours"
            );
            return Check::new("neighbours", Status::Warning, detail).advise(advice);
        }
        if on_link > most / 2 {
            let advice = format!(
                "a target that answers asks for this host's MAC address now and then, and the kernel makes an entry of each that \
                 does, as for any ping: `sysctl net.{version}.neigh.default.gc_thresh3={}` (and gc_thresh2 to half of it) has room \
                 for all",
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
        let check = Limits { family: Family::V6, kernel_asks: true, ..few }.judge(90, "eth0");
        assert!(check.detail.contains("answer neighbour discovery"), "{}", check.detail);
        let check = Limits { accepts: true, ..many }.judge(0, "eth0");
        assert!(
            check.advice.as_deref().is_some_and(|advice| advice.contains("eth0.arp_accept=0")),
            "{:?}",
            check.advice
        );
    }

    #[test]
    fn of_ipv6_the_same_is_told() {
        let few =
            Limits { family: Family::V6, on_link: 100, most: 1_024, share: 128, kernel_asks: true, accepts: false };
        let check = few.judge(90, "eth0");
        assert_eq!(check.detail, "90 of 100 targets on the link of eth0 answer neighbour discovery");
        let some = Limits { on_link: 200, kernel_asks: false, ..few };
        let check = some.judge(0, "eth0");
        assert_eq!(check.status, Status::Ok);
        assert!(check.detail.contains("echolot asks for them itself"), "{}", check.detail);
        let advice = |limits: Limits| limits.judge(0, "eth0").advice.unwrap_or_default();
        let many = advice(Limits { on_link: 65_534, ..some });
        assert!(many.contains("net.ipv6.neigh.default.gc_thresh3=131072"), "{many}");
        let accepting = advice(Limits { accepts: true, ..some });
        assert!(accepting.contains("net.ipv6.conf.eth0.accept_untracked_na=0` keeps"), "{accepting}");
    }
}
