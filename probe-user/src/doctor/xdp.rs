//! The modes that an interface's driver has, as far as the kernel tells before a bind.

use super::{
    Check, Status,
    genl::{ask, attribute},
};
use crate::route::Interface;

/// See linux/netdev.h.
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;
const BASIC: u64 = 1;
const REDIRECT: u64 = 2;
const NDO_XMIT: u64 = 4;
const XSK_ZEROCOPY: u64 = 8;
const RX_SG: u64 = 32;

/// The largest MTU whose frames fit a page beside XDP's headroom and the skb's tail (4096 - 256 - 320 - 22).
const ONE_PAGE: u32 = 3498;

pub(super) fn check(interface: &Interface) -> Check {
    let question = attribute(DEV_IFINDEX, &interface.index.to_ne_bytes());
    match ask("netdev", DEV_GET, &question) {
        Ok(answer) => judge(interface, answer.number(DEV_XDP_FEATURES).unwrap_or(0)),
        // The family is of 6.3.
        Err(error) => {
            let detail = format!("unknown until a socket is bound: the kernel does not tell ({error})");
            Check::new(format!("{} mode", interface.name), Status::Skipped, detail)
        }
    }
}

fn judge(interface: &Interface, features: u64) -> Check {
    let title = format!("{} mode", interface.name);
    let has = |feature| features & feature != 0;
    if !has(BASIC) {
        return Check::new(title, Status::Warning, "the driver has no XDP: generic mode, in the kernel's stack")
            .advise("it works, at a fraction of the rate");
    }
    let mut detail = match (has(REDIRECT), has(XSK_ZEROCOPY)) {
        (_, true) => "native XDP, AF_XDP zero-copy".to_owned(),
        (true, false) => "native XDP, AF_XDP copy mode (the driver has no zero-copy)".to_owned(),
        (false, false) => "native XDP without redirect: generic mode for AF_XDP".to_owned(),
    };
    if has(NDO_XMIT) {
        detail += ", live frames";
    }
    let check = Check::new(title, Status::Ok, detail);
    if interface.mtu > ONE_PAGE && !has(RX_SG) {
        return Check { status: Status::Warning, ..check }.advise(format!(
            "MTU {}: the driver's XDP takes one page a frame and may refuse to attach above {ONE_PAGE}",
            interface.mtu
        ));
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::link::tests::interface;

    #[test]
    fn modes_are_told_apart() {
        let of = |features| judge(&interface(), features);
        assert_eq!(of(0).status, Status::Warning);
        assert!(of(0).detail.contains("generic mode"));
        assert_eq!(of(BASIC | REDIRECT | NDO_XMIT | XSK_ZEROCOPY).detail, "native XDP, AF_XDP zero-copy, live frames");
        assert!(of(BASIC | REDIRECT).detail.contains("copy mode"));
        let jumbo = Interface { mtu: 9000, ..interface() };
        assert_eq!(judge(&jumbo, BASIC | REDIRECT).status, Status::Warning);
        assert_eq!(judge(&jumbo, BASIC | REDIRECT | RX_SG).status, Status::Ok);
    }
}
