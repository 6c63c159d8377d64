//! Why somebody says that a probe did not arrive: types and codes of ICMP and ICMPv6.

use super::{RejectedReason, fields::field, ip::Header};
use crate::base::Reason;
use probe_ebpf::wire::{icmp, icmpv6};

/// The reason that an error gives which came behind this header.
pub(super) fn reason_of(ip: Header<'_>, error: &[u8]) -> Result<Reason, RejectedReason> {
    let [kind, code] = field(error, icmp::TYPE..icmp::CODE + 1)?;
    Ok(match ip {
        Header::V4(_) => reason(kind, code),
        Header::V6(_) => reason_v6(kind, code),
    })
}

/// The reason that an error of this type and code gives: codes that no RFC names have the name of their type.
pub(super) const fn reason(kind: u8, code: u8) -> Reason {
    Reason(match (kind, code) {
        (icmp::UNREACHABLE, 0..=15) => code + 1,
        (icmp::UNREACHABLE, _) => 17,
        (icmp::TIME_EXCEEDED, 0) => 18,
        (icmp::TIME_EXCEEDED, 1) => 19,
        (icmp::TIME_EXCEEDED, _) => 20,
        _ => 21,
    })
}

/// The same of ICMPv6. What ICMP has too has the same name.
pub(super) const fn reason_v6(kind: u8, code: u8) -> Reason {
    Reason(match (kind, code) {
        (icmpv6::UNREACHABLE, 0) => 22,
        (icmpv6::UNREACHABLE, 1) => 14,
        (icmpv6::UNREACHABLE, 2) => 23,
        (icmpv6::UNREACHABLE, 3) => 24,
        (icmpv6::UNREACHABLE, 4) => 4,
        (icmpv6::UNREACHABLE, 5) => 25,
        (icmpv6::UNREACHABLE, 6) => 26,
        (icmpv6::UNREACHABLE, 7) => 6,
        (icmpv6::UNREACHABLE, _) => 17,
        (icmpv6::PACKET_TOO_BIG, _) => 27,
        (icmpv6::TIME_EXCEEDED, 0) => 18,
        (icmpv6::TIME_EXCEEDED, 1) => 19,
        (icmpv6::TIME_EXCEEDED, _) => 20,
        _ => 21,
    })
}
