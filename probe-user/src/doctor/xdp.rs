//! The modes that an interface's driver has, as far as the kernel tells before a bind.

use super::{Check, Status};
use crate::route::{Interface, XdpFeatures};

/// The largest MTU whose frames fit a page beside XDP's headroom and the skb's tail (4096 - 256 - 320 - 22).
const ONE_PAGE: u32 = 3498;

pub(super) fn check(interface: &Interface) -> Check {
    match XdpFeatures::of(interface.index) {
        Ok(features) => judge(interface, features),
        // The family is of 6.3.
        Err(error) => {
            let detail = format!("unknown until a socket is bound: the kernel does not tell ({error})");
            Check::new(format!("{} mode", interface.name), Status::Skipped, detail)
        }
    }
}

fn judge(interface: &Interface, features: XdpFeatures) -> Check {
    let title = format!("{} mode", interface.name);
    let has = |feature| features.has(feature);
    if !has(XdpFeatures::BASIC) {
        return Check::new(title, Status::Warning, "the driver has no XDP: generic mode, in the kernel's stack")
            .advise("it works, at a fraction of the rate");
    }
    let mut detail = match (has(XdpFeatures::REDIRECT), has(XdpFeatures::ZERO_COPY)) {
        (_, true) => "native XDP, AF_XDP zero-copy".to_owned(),
        (true, false) => "native XDP, AF_XDP copy mode (the driver has no zero-copy)".to_owned(),
        (false, false) => "native XDP without redirect: generic mode for AF_XDP".to_owned(),
    };
    if has(XdpFeatures::NDO_XMIT) {
        detail += ", live frames";
    }
    let check = Check::new(title, Status::Ok, detail);
    if interface.mtu > ONE_PAGE && !has(XdpFeatures::SCATTER) {
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
        const BASIC: u64 = 1;
        const REDIRECT: u64 = 2;
        const NDO_XMIT: u64 = 4;
        const XSK_ZEROCOPY: u64 = 8;
        const RX_SG: u64 = 32;
        let of = |features| judge(&interface(), XdpFeatures(features));
        assert_eq!(of(0).status, Status::Warning);
        assert!(of(0).detail.contains("generic mode"));
        assert_eq!(of(BASIC | REDIRECT | NDO_XMIT | XSK_ZEROCOPY).detail, "native XDP, AF_XDP zero-copy, live frames");
        assert!(of(BASIC | REDIRECT).detail.contains("copy mode"));
        let jumbo = Interface { mtu: 9000, ..interface() };
        assert_eq!(judge(&jumbo, XdpFeatures(BASIC | REDIRECT)).status, Status::Warning);
        assert_eq!(judge(&jumbo, XdpFeatures(BASIC | REDIRECT | RX_SG)).status, Status::Ok);
    }
}
