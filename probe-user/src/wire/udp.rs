//! UDP: how a datagram is prepared and made, and how an answer to one, or an error that quotes one, is read.
//!
//! Its keyed word (`probe_ebpf::sequence`) is the identifier of a DNS question, and over IPv4 the identification of every probe. Other
//! answers bring nothing back but the port that the probe was sent from, and that says the low bits of its number.

use super::{
    Content, RejectedReason,
    checksum::Sum,
    extensions::Parts,
    fields::{field, number},
    ip::Header,
    message::Message,
    port_report::{PortQuote, PortReport, Proof, Says},
    reason::reason_of,
};
use crate::base::{Family, PortState, Rcode, Reason};
use probe_ebpf::wire::{dns, ipv4, ipv6, udp};
use std::ops::RangeInclusive;

/// Bytes of IP and UDP header.
pub(super) const fn headers(family: Family) -> u16 {
    let ip = match family {
        Family::V4 => ipv4::HEADER,
        Family::V6 => ipv6::HEADER,
    };
    (ip + udp::HEADER) as u16
}

/// Bytes that a probe with this content can carry: a DNS question is as long as it is, what else there is may be padded to what an
/// Ethernet frame without tags holds.
pub(super) const fn payloads(family: Family, content: Content) -> RangeInclusive<u16> {
    let length = content.bytes().len() as u16;
    if content.is_dns() { length..=length } else { length..=1500 - headers(family) }
}

/// Lays what all probes of a flow have in common: the header without its checksum. Returns the sum over it and the content. `payload`:
/// bytes behind the header.
pub(super) fn prepare(header: &mut [u8], (ours, theirs): (u16, u16), content: Content, payload: u16) -> Sum {
    let header = &mut header[..udp::HEADER];
    header[udp::SOURCE].copy_from_slice(&ours.to_be_bytes());
    header[udp::DESTINATION].copy_from_slice(&theirs.to_be_bytes());
    header[udp::LENGTH].copy_from_slice(&(udp::HEADER as u16 + payload).to_be_bytes());
    Sum::of(header).and(Sum::of(content.bytes()))
}

/// Writes a probe into a datagram that has been prepared, its content behind it; `sum` is what [`prepare`] returned, and that over the
/// pseudo-header.
#[inline]
pub(super) fn make(datagram: &mut [u8], sum: Sum, word: u16, content: Content) {
    let sum = if content.is_dns() {
        datagram[udp::HEADER + dns::ID.start..udp::HEADER + dns::ID.end].copy_from_slice(&word.to_be_bytes());
        sum.word(word)
    } else {
        sum
    };
    // 0 would say that there is none (RFC 768; RFC 8200, section 8.1).
    let checksum = match sum.checksum() {
        0 => 0xffff,
        checksum => checksum,
    };
    datagram[udp::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
}

/// Reads an answer. Whether its checksum is right is not asked: on a veth pair that of a local host is not filled in.
#[inline]
pub(super) fn read(message: &Message<'_>) -> Result<PortReport, RejectedReason> {
    let Message { arrived, ip, body, .. } = message;
    let length = usize::from(number(body, udp::LENGTH)?);
    let data = body.get(udp::HEADER..length).ok_or(RejectedReason::Truncated)?;
    let response = data.first_chunk::<{ dns::HEADER }>().filter(|header| header[dns::FLAGS] & dns::RESPONSE != 0);
    let id = response.map(|header| number(header, dns::ID)).transpose()?;
    Ok(PortReport {
        arrived: *arrived,
        from: ip.source()?,
        source: ip.destination()?,
        destination: ip.source()?,
        ports: (number(body, udp::DESTINATION)?, number(body, udp::SOURCE)?),
        proof: Proof::Words([id, None]),
        says: Says::Port(PortState::Open),
        rcode: response.map(|header| Rcode::new(header[dns::RCODE])),
        ttl: ip.ttl(),
        quote: None,
    })
}

/// Reads an ICMP error that quotes a probe: `quoted` is its IP header, `datagram` what follows, as far as it goes, and `parts` what both are
/// taken from.
pub(super) fn read_quote(
    message: &Message<'_>,
    parts: Parts<'_>,
    quoted: Header<'_>,
    datagram: &[u8],
) -> Result<PortReport, RejectedReason> {
    let Message { arrived, ip, body, .. } = message;
    if !message.is_intact() {
        return Err(RejectedReason::Corrupt);
    }
    let identification = match quoted {
        Header::V4(header) => Some(number(header, ipv4::IDENTIFICATION)?),
        Header::V6(_) => None,
    };
    let id = field(datagram, udp::HEADER + dns::ID.start..udp::HEADER + dns::ID.end).ok().map(u16::from_be_bytes);
    let (from, destination) = (ip.source()?, quoted.destination()?);
    let reason = reason_of(*ip, body)?;
    // Only the host itself knows its ports: a router that says so has been told to.
    let is_closed = reason == Reason::PORT_UNREACHABLE && from == destination;
    Ok(PortReport {
        arrived: *arrived,
        from,
        source: quoted.source()?,
        destination,
        ports: (number(datagram, udp::SOURCE)?, number(datagram, udp::DESTINATION)?),
        proof: Proof::Words([id, identification]),
        says: if is_closed { Says::Port(PortState::Closed) } else { Says::Refused(reason) },
        rcode: None,
        ttl: ip.ttl(),
        quote: Some(PortQuote::of(parts, quoted, number(datagram, udp::CHECKSUM).ok())),
    })
}
