//! An interface's state, and what is known of its driver.

use super::{Check, Status};
use crate::route::Interface;

/// `others` are searched for its parent and master.
pub(super) fn check(interface: &Interface, others: &[Interface]) -> Check {
    let name = format!("{} link", interface.name);
    if let Err(error) = interface.check() {
        return Check::new(name, Status::Problem, error.to_string());
    }
    let driver = interface.driver.as_deref().unwrap_or("driver unknown");
    let mac = interface.mac.map(|byte| format!("{byte:02x}")).join(":");
    let check = Check::new(name, Status::Ok, format!("{driver}, up, carrier, MTU {}, {mac}", interface.mtu));
    let called = |index: Option<u32>| {
        let found = others.iter().find(|other| Some(other.index) == index);
        found.map_or_else(|| "the interface beneath".to_owned(), |other| other.name.clone())
    };
    let warn = |advice: String| Check { status: Status::Warning, ..check.clone() }.advise(advice);
    match interface.kind.as_deref() {
        Some("bond") => warn("a bond has no AF_XDP zero-copy: name one of its members for full speed".to_owned()),
        Some("vlan") => warn(format!(
            "a VLAN device has no native XDP: at high rates attach to {} instead, with `ethtool -K … rxvlan off` so that \
             the tag stays in the frame",
            called(interface.parent)
        )),
        Some(kind @ ("bridge" | "macvlan" | "ipvlan" | "vxlan" | "geneve")) => {
            warn(format!("a {kind} has no native XDP: name the device beneath it for full speed"))
        }
        _ => match interface.driver.as_deref().and_then(known) {
            Some(fact) => check.advise(fact),
            None => check,
        },
    }
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

    /// An interface as good as can be.
    pub(in crate::doctor) fn interface() -> Interface {
        Interface {
            index: 2,
            name: "eth0".to_owned(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            driver: Some("ice".to_owned()),
            kind: None,
            rx_queues: 4,
            tx_queues: 4,
            up: true,
            carrier: true,
            loopback: false,
            foreign: None,
            master: None,
            parent: None,
            parent_elsewhere: false,
            tag: None,
            bond: None,
            member: None,
            xdp: None,
        }
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
            parent: Some(2),
            ..interface()
        };
        let check = check(&vlan, &[interface(), vlan.clone()]);
        assert_eq!(check.status, Status::Warning);
        assert!(check.advice.is_some_and(|advice| advice.contains("attach to eth0 instead")));
    }
}
