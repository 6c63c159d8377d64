//! The IPv6 header, and the extension headers between it and the message.

use crate::wire::{RejectedReason, checksum::Sum, fields::number};
use probe_ebpf::wire::ipv6;
use std::{net::Ipv6Addr, ops::Range};

/// Lays what all probes have in common: all but flow label and destination. Returns the sum over the pseudo-header (RFC 8200, section
/// 8.1) without the destination. `length`: bytes behind the header.
pub(in crate::wire) fn prepare(header: &mut [u8; ipv6::HEADER], source: Ipv6Addr, hop_limit: u8, length: u16) -> Sum {
    let mut put = |field: Range<usize>, bytes: &[u8]| header[field].copy_from_slice(bytes);
    put(ipv6::FLOW, &ipv6::VERSION.to_be_bytes());
    put(ipv6::PAYLOAD_LENGTH, &length.to_be_bytes());
    put(ipv6::NEXT_HEADER..ipv6::NEXT_HEADER + 1, &[ipv6::ICMP]);
    put(ipv6::HOP_LIMIT..ipv6::HOP_LIMIT + 1, &[hop_limit]);
    put(ipv6::SOURCE, &source.octets());
    pseudo_header(header, usize::from(length))
}

/// Writes what differs from probe to probe. Returns the sum over the destination, which the message's checksum covers.
#[inline]
pub(in crate::wire) fn make(header: &mut [u8; ipv6::HEADER], destination: Ipv6Addr, flow_label: u32) -> Sum {
    header[ipv6::FLOW].copy_from_slice(&(ipv6::VERSION | flow_label).to_be_bytes());
    header[ipv6::DESTINATION].copy_from_slice(&destination.octets());
    Sum::of(&header[ipv6::DESTINATION])
}

/// What the checksum of an ICMPv6 message of so many bytes covers of the header in front of it.
#[inline]
pub(in crate::wire) fn pseudo_header(header: &[u8; ipv6::HEADER], message: usize) -> Sum {
    let addresses = Sum::of(&header[ipv6::SOURCE.start..ipv6::DESTINATION.end]);
    // A message is no longer than a frame.
    addresses.word(u16::from(ipv6::ICMP)).double_word(u32::try_from(message).unwrap_or(u32::MAX))
}

/// A header behind which ICMPv6 follows, perhaps with extension headers in between, and the message.
#[inline]
pub(in crate::wire) fn read(datagram: &[u8]) -> Result<(&[u8; ipv6::HEADER], &[u8]), RejectedReason> {
    let (header, rest) = head(datagram)?;
    // The header says how long the rest is: Ethernet pads short frames.
    let length = usize::from(number(header, ipv6::PAYLOAD_LENGTH)?);
    let rest = rest.get(..length).ok_or(RejectedReason::Truncated)?;
    let message = message(header[ipv6::NEXT_HEADER], rest)?;
    Ok((header, message))
}

/// The same of a datagram that an error quotes, from its beginning as far as it is quoted; no fragment. Of what it says of its length
/// nothing is believed.
pub(in crate::wire) fn quoted(quote: &[u8]) -> Result<(&[u8; ipv6::HEADER], &[u8]), RejectedReason> {
    let (header, rest) = head(quote)?;
    let message = message(header[ipv6::NEXT_HEADER], rest)?;
    Ok((header, message))
}

#[inline]
fn head(datagram: &[u8]) -> Result<(&[u8; ipv6::HEADER], &[u8]), RejectedReason> {
    let (header, rest) = datagram.split_first_chunk::<{ ipv6::HEADER }>().ok_or(RejectedReason::Truncated)?;
    if ipv6::is_version(header[0]) { Ok((header, rest)) } else { Err(RejectedReason::Corrupt) }
}

/// What follows the extension headers, if it is ICMPv6.
#[inline]
fn message(next: u8, rest: &[u8]) -> Result<&[u8], RejectedReason> {
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
    if next == ipv6::ICMP { Ok(rest) } else { Err(RejectedReason::Corrupt) }
}
