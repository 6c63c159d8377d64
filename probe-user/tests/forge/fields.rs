//! Addresses, lengths and checksums in frames.

use super::world::sum_into;
use echolot::base::Family;
use probe_ebpf::wire::{ethernet, icmp, ipv4, ipv6};
use std::{net::IpAddr, ops::Range};

/// Where in a frame without tags the IP header ends.
pub(super) const fn body(family: Family) -> usize {
    ethernet::HEADER
        + match family {
            Family::V4 => ipv4::HEADER,
            Family::V6 => ipv6::HEADER,
        }
}

/// Source or destination address of a frame without tags.
pub(super) fn address(frame: &[u8], destination: bool) -> IpAddr {
    let ip = &frame[ethernet::HEADER..];
    match (ip[0] >> 4, destination) {
        (4, false) => <[u8; 4]>::try_from(&ip[ipv4::SOURCE]).unwrap().into(),
        (4, true) => <[u8; 4]>::try_from(&ip[ipv4::DESTINATION]).unwrap().into(),
        (_, false) => <[u8; 16]>::try_from(&ip[ipv6::SOURCE]).unwrap().into(),
        (_, true) => <[u8; 16]>::try_from(&ip[ipv6::DESTINATION]).unwrap().into(),
    }
}

pub(super) fn put_address(frame: &mut [u8], destination: bool, address: IpAddr) {
    let ip = &mut frame[ethernet::HEADER..];
    match (address, destination) {
        (IpAddr::V4(address), false) => ip[ipv4::SOURCE].copy_from_slice(&address.octets()),
        (IpAddr::V4(address), true) => ip[ipv4::DESTINATION].copy_from_slice(&address.octets()),
        (IpAddr::V6(address), false) => ip[ipv6::SOURCE].copy_from_slice(&address.octets()),
        (IpAddr::V6(address), true) => ip[ipv6::DESTINATION].copy_from_slice(&address.octets()),
    }
}

pub(super) fn put_length(frame: &mut [u8], field: Range<usize>, length: usize) {
    let field = ethernet::HEADER + field.start..ethernet::HEADER + field.end;
    frame[field].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
}

/// Makes the checksum of an ICMP message right; of ICMPv6 it covers the pseudo-header (RFC 8200, section 8.1).
pub(super) fn mend_message(frame: &mut [u8], family: Family, body: usize) {
    if family == Family::V4 {
        return sum_into(&mut frame[body..], icmp::CHECKSUM.start);
    }
    let checksum = body + icmp::CHECKSUM.start;
    frame[checksum..checksum + 2].fill(0);
    let length = frame.len() - body;
    // The addresses stand in front of the message.
    let (pairs, odd) = frame[ethernet::HEADER + ipv6::SOURCE.start..].as_chunks::<2>();
    let words: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    let mut sum = words + odd.first().map_or(0, |byte| u64::from(*byte) << 8) + length as u64 + u64::from(ipv6::ICMP);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[checksum..checksum + 2].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
}
