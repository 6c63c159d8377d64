//! The IPv6 header, and the extension headers between it and the message.

use super::{Fields, Protocol};
use crate::wire::{RejectedReason, checksum::Sum, fields::number};
use probe_ebpf::wire::ipv6;
use std::{net::Ipv6Addr, ops::Range};

/// Lays what all probes of a flow have in common: all but the destination, and what of the flow label is the target's; `label` is the rest
/// of that. Returns the sum over the pseudo-header (RFC 8200, section 8.1) without the destination. `length`: bytes behind the header.
pub(in crate::wire) fn prepare(
    header: &mut [u8; ipv6::HEADER],
    source: Ipv6Addr,
    fields: Fields,
    label: u32,
    (protocol, length): (Protocol, u16),
) -> Sum {
    let mut put = |field: Range<usize>, bytes: &[u8]| header[field].copy_from_slice(bytes);
    put(ipv6::FLOW, &flow_word(fields, label).to_be_bytes());
    put(ipv6::PAYLOAD_LENGTH, &length.to_be_bytes());
    put(ipv6::NEXT_HEADER..ipv6::NEXT_HEADER + 1, &[number_of(protocol)]);
    put(ipv6::HOP_LIMIT..ipv6::HOP_LIMIT + 1, &[fields.ttl]);
    put(ipv6::SOURCE, &source.octets());
    pseudo_header(header, protocol, usize::from(length))
}

/// Version, traffic class and so much of the flow label: the word [`ipv6::FLOW`].
pub(in crate::wire) const fn flow_word(fields: Fields, label: u32) -> u32 {
    ipv6::VERSION | (fields.traffic_class() as u32) << 20 | label
}

/// Writes what differs from probe to probe: `label` is by what the target's flow label differs from that of `word`, a [`flow_word`]. Returns
/// the sum over the destination, which the message's checksum covers.
#[inline]
pub(in crate::wire) fn make(header: &mut [u8; ipv6::HEADER], word: u32, destination: Ipv6Addr, label: u32) -> Sum {
    header[ipv6::FLOW].copy_from_slice(&(word ^ label).to_be_bytes());
    header[ipv6::DESTINATION].copy_from_slice(&destination.octets());
    Sum::of(&header[ipv6::DESTINATION])
}

const fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Icmp => ipv6::ICMP,
        Protocol::Tcp => ipv6::TCP,
        Protocol::Udp => ipv6::UDP,
    }
}

/// What the checksum of a message of so many bytes covers of the header in front of it.
#[inline]
pub(in crate::wire) fn pseudo_header(header: &[u8; ipv6::HEADER], protocol: Protocol, message: usize) -> Sum {
    let addresses = Sum::of(&header[ipv6::SOURCE.start..ipv6::DESTINATION.end]);
    // A message is no longer than a frame.
    addresses.word(u16::from(number_of(protocol))).double_word(u32::try_from(message).unwrap_or(u32::MAX))
}

/// A header and the message behind it, perhaps with extension headers in between.
#[inline]
pub(in crate::wire) fn read(datagram: &[u8]) -> Result<(&[u8; ipv6::HEADER], Protocol, &[u8]), RejectedReason> {
    let (header, rest) = head(datagram)?;
    // The header says how long the rest is: Ethernet pads short frames.
    let length = usize::from(number(header, ipv6::PAYLOAD_LENGTH)?);
    let rest = rest.get(..length).ok_or(RejectedReason::Truncated)?;
    let (protocol, message) = message(header[ipv6::NEXT_HEADER], rest)?;
    Ok((header, protocol, message))
}

/// The same of a datagram that an error quotes, from its beginning as far as it is quoted; no fragment. Of what it says of its length
/// nothing is believed.
pub(in crate::wire) fn quoted(quote: &[u8]) -> Result<(&[u8; ipv6::HEADER], Protocol, &[u8]), RejectedReason> {
    let (header, rest) = head(quote)?;
    let (protocol, message) = message(header[ipv6::NEXT_HEADER], rest)?;
    Ok((header, protocol, message))
}

#[inline]
fn head(datagram: &[u8]) -> Result<(&[u8; ipv6::HEADER], &[u8]), RejectedReason> {
    let (header, rest) = datagram.split_first_chunk::<{ ipv6::HEADER }>().ok_or(RejectedReason::Truncated)?;
    if ipv6::is_version(header[0]) { Ok((header, rest)) } else { Err(RejectedReason::Corrupt) }
}

/// What follows the extension headers.
#[inline]
fn message(next: u8, rest: &[u8]) -> Result<(Protocol, &[u8]), RejectedReason> {
    let (mut next, mut rest) = (next, rest);
    for _ in 0..ipv6::MAX_EXTENSIONS {
        if !ipv6::is_extension(next) {
            break;
        }
        let head = rest.first_chunk::<{ ipv6::EXTENSION }>().ok_or(RejectedReason::Truncated)?;
        let length = ipv6::extension_length(next, head[ipv6::EXTENSION_LENGTH]);
        next = head[ipv6::EXTENSION_NEXT];
        rest = rest.get(length..).ok_or(RejectedReason::Truncated)?;
    }
    match next {
        ipv6::ICMP => Ok((Protocol::Icmp, rest)),
        ipv6::TCP => Ok((Protocol::Tcp, rest)),
        ipv6::UDP => Ok((Protocol::Udp, rest)),
        _ => Err(RejectedReason::Corrupt),
    }
}
