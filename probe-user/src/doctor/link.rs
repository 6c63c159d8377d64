//! An interface's state, and what is known of its driver.

use super::{Check, Status};
use crate::{
    route::{Interface, Stack},
    wire::Tags,
};

/// `others` are searched for what is above and beneath it.
pub(super) fn check(interface: &Interface, others: &[Interface]) -> Check {
    let name = format!("{} link", interface.name);
    if let Err(error) = interface.check() {
        return Check::new(name, Status::Problem, error.to_string());
    }
    let stack = match Stack::resolve(interface, others) {
        Ok(stack) => stack,
        Err(error) => return Check::new(name, Status::Problem, error.to_string()),
    };
    let driver = interface.driver.as_deref().unwrap_or("driver unknown");
    let mac = interface.mac.map(|byte| format!("{byte:02x}")).join(":");
    let beneath = beneath(&stack);
    let check = Check::new(name, Status::Ok, format!("{driver}, up, carrier, MTU {}, {mac}{beneath}", interface.mtu));
    let warn = |advice: String| Check { status: Status::Warning, ..check.clone() }.advise(advice);
    if let Some(above) = others.iter().find(|other| Some(other.index) == interface.master)
        && let Some(kind @ ("bond" | "bridge" | "team")) = above.kind.as_deref()
    {
        let above = &above.name;
        return warn(match kind {
            "bond" => format!("it is a member of {above}, which has the addresses and routes: name {above}"),
            _ => {
                format!("what arrives here is the {kind} {above}'s: `echolot doctor -I {above}` says what can be named")
            }
        });
    }
    match interface.kind.as_deref() {
        Some(kind @ ("macvlan" | "ipvlan" | "vxlan" | "geneve")) => {
            warn(format!("a {kind} has no native XDP: name the device beneath it for full speed"))
        }
        _ => match interface.driver.as_deref().and_then(known) {
            Some(fact) => check.advise(fact),
            None => check,
        },
    }
}

/// Where programs and sockets go, if that isn't the interface itself.
fn beneath(stack: &Stack) -> String {
    if stack.bond.is_none() && stack.tags == Tags::NONE {
        return String::new();
    }
    let ports: Vec<&str> = stack.ports.iter().map(|port| port.name.as_str()).collect();
    let tags = if stack.tags == Tags::NONE { String::new() } else { format!(" in {}", stack.tags) };
    let bond = stack.bond.as_ref().map(|bond| format!(", the members of {}", bond.name)).unwrap_or_default();
    format!("; probes leave{tags} by {}{bond}", ports.join(", "))
}

/// What is good to know of a driver whatever its state.
fn known(driver: &str) -> Option<&'static str> {
    Some(match driver {
        "mlx5_core" => "mlx5 on kernels about 5.4 numbers zero-copy queues n to 2n-1: use a newer one",
        "ena" | "gve" => "XDP leaves this driver at most half of its channels",
        "virtio_net" => "zero-copy needs 6.13 or newer; XDP switches some offloads off while it is attached",
        "igb" => "zero-copy needs 6.14 or newer",
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::Tag;

    /// An interface as good as can be.
    pub(in crate::doctor) fn interface() -> Interface {
        Interface::example()
    }

    #[test]
    fn states_are_told_apart() {
        let fine = check(&interface(), &[]);
        assert_eq!((fine.status, fine.detail.as_str()), (Status::Ok, "ice, up, carrier, MTU 1500, 02:00:00:00:00:01"));
        let down = check(&Interface { up: false, carrier: false, ..interface() }, &[]);
        assert_eq!(down.status, Status::Problem);
        assert!(down.detail.contains("ip link set eth0 up"), "{down:?}");
        let unplugged = check(&Interface { carrier: false, ..interface() }, &[]);
        assert!(unplugged.detail.contains("no carrier"), "{unplugged:?}");
    }

    #[test]
    fn a_vlan_names_its_parent() {
        let vlan = Interface {
            index: 3,
            name: "eth0.7".to_owned(),
            kind: Some("vlan".to_owned()),
            driver: Some("vlan".to_owned()),
            parent: Some(2),
            tag: Some(Tag { protocol: 0x8100, id: 7 }),
            ..interface()
        };
        let check = check(&vlan, &[interface(), vlan.clone()]);
        assert_eq!((check.status, check.advice), (Status::Ok, None));
        assert!(check.detail.ends_with("; probes leave in VLAN 7 by eth0"), "{}", check.detail);
    }

    #[test]
    fn advice_leads_somewhere() {
        let above =
            |kind: &str| Interface { index: 9, name: "top0".to_owned(), kind: Some(kind.to_owned()), ..interface() };
        let member = Interface { master: Some(9), ..interface() };
        let of_member = |kind| check(&member, &[above(kind), member.clone()]);
        assert!(of_member("bond").advice.is_some_and(|advice| advice.ends_with("name top0")));
        assert!(of_member("bridge").advice.is_some_and(|advice| advice.contains("doctor -I top0")));
        let bridge = check(&above("bridge"), &[above("bridge"), member]);
        assert_eq!(bridge.status, Status::Problem);
        assert!(bridge.detail.contains("(eth0)") && bridge.detail.contains("veth"), "{}", bridge.detail);
    }
}
