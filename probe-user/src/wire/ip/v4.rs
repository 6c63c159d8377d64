//! The IPv4 header.

use super::{Fields, Protocol};
use crate::wire::{RejectedReason, checksum::Sum, fields::number};
use probe_ebpf::wire::ipv4;
use std::{net::Ipv4Addr, ops::Range};

/// Lays what all probes have in common: all but identification, destination and checksum. Returns the sum over it. `length`: bytes
/// behind the header.
pub(in crate::wire) fn prepare(
    header: &mut [u8; ipv4::HEADER],
    source: Ipv4Addr,
    fields: Fields,
    (protocol, length): (Protocol, u16),
) -> Sum {
    let mut put = |field: Range<usize>, bytes: &[u8]| header[field].copy_from_slice(bytes);
    put(ipv4::VERSION..ipv4::VERSION + 1, &[0x45]);
    put(ipv4::TOTAL_LENGTH, &(ipv4::HEADER as u16 + length).to_be_bytes());
    put(ipv4::TOS..ipv4::TOS + 1, &[fields.traffic_class()]);
    put(ipv4::FRAGMENT, &if fields.dont_fragment { ipv4::DONT_FRAGMENT } else { 0 }.to_be_bytes());
    put(ipv4::TTL..ipv4::TTL + 1, &[fields.ttl]);
    put(ipv4::PROTOCOL..ipv4::PROTOCOL + 1, &[number_of(protocol)]);
    put(ipv4::SOURCE, &source.octets());
    Sum::of(header)
}

/// Writes what differs from probe to probe; `sum` is what [`prepare`] returned.
#[inline]
pub(in crate::wire) fn make(header: &mut [u8; ipv4::HEADER], sum: Sum, destination: Ipv4Addr, identification: u16) {
    let mut put = |field: Range<usize>, bytes: &[u8]| header[field].copy_from_slice(bytes);
    put(ipv4::IDENTIFICATION, &identification.to_be_bytes());
    put(ipv4::DESTINATION, &destination.octets());
    let sum = sum.word(identification).double_word(destination.to_bits()).checksum();
    put(ipv4::CHECKSUM, &sum.to_be_bytes());
}

/// What the checksum of a TCP or UDP message of so many bytes covers beside it, but for the destination (RFC 768).
pub(in crate::wire) fn pseudo_header(source: Ipv4Addr, protocol: Protocol, length: u16) -> Sum {
    Sum::of(&source.octets()).word(u16::from(number_of(protocol))).word(length)
}

const fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Icmp => ipv4::ICMP,
        Protocol::Tcp => ipv4::TCP,
        Protocol::Udp => ipv4::UDP,
    }
}

/// What is behind a header.
#[inline]
const fn protocol(ip: &[u8; ipv4::HEADER]) -> Result<Protocol, RejectedReason> {
    match ip[ipv4::PROTOCOL] {
        ipv4::ICMP => Ok(Protocol::Icmp),
        ipv4::TCP => Ok(Protocol::Tcp),
        ipv4::UDP => Ok(Protocol::Udp),
        _ => Err(RejectedReason::Corrupt),
    }
}

/// A header, and the message behind it.
#[inline]
pub(in crate::wire) fn read(datagram: &[u8]) -> Result<(&[u8; ipv4::HEADER], Protocol, &[u8]), RejectedReason> {
    let (ip, header) = head(datagram)?;
    let protocol = protocol(ip)?;
    // The header says how long the message is: Ethernet pads short frames.
    let total = usize::from(number(ip, ipv4::TOTAL_LENGTH)?);
    let message = datagram.get(header..total).ok_or(RejectedReason::Truncated)?;
    Ok((ip, protocol, message))
}

/// The same of a datagram that an error quotes, from its beginning as far as it is quoted; no fragment. Of what it says of its length
/// nothing is believed.
pub(in crate::wire) fn quoted(quote: &[u8]) -> Result<(&[u8; ipv4::HEADER], Protocol, &[u8]), RejectedReason> {
    let (ip, header) = head(quote)?;
    let message = quote.get(header..).ok_or(RejectedReason::Truncated)?;
    if number(ip, ipv4::FRAGMENT)? & ipv4::IS_FRAGMENT != 0 {
        return Err(RejectedReason::Corrupt);
    }
    Ok((ip, protocol(ip)?, message))
}

/// A header without its options, and how long it is with them.
#[inline]
fn head(datagram: &[u8]) -> Result<(&[u8; ipv4::HEADER], usize), RejectedReason> {
    let ip = datagram.first_chunk::<{ ipv4::HEADER }>().ok_or(RejectedReason::Truncated)?;
    let header = ipv4::header_length(ip[ipv4::VERSION]).ok_or(RejectedReason::Corrupt)?;
    Ok((ip, header))
}
