//! TCP: how a SYN is prepared and made, and the RST behind it, and how what is said of a SYN is read. Its sequence number is all that
//! comes back: `probe_ebpf::sequence` says what stands in it.

use super::{
    RejectedReason,
    checksum::Sum,
    echo,
    extensions::Parts,
    fields::{field, number},
    ip::Header,
    message::Message,
    port_report::{PortQuote, PortReport, Proof, Says},
    reason::reason_of,
};
use crate::base::{Family, Nanos, PortState};
use probe_ebpf::wire::{icmp, ipv4, ipv6, tcp};
use std::ops::Range;

/// Bytes of a SYN.
pub(super) const HEAD: usize = tcp::HEADER + tcp::OPTIONS;
/// What Linux offers first (`tcp_select_initial_window`).
const WINDOW: u16 = 64_240;
/// Largest segments that fit an Ethernet frame, by family.
const SEGMENT: [u16; 2] = [1_500 - (ipv4::HEADER + tcp::HEADER) as u16, 1_500 - (ipv6::HEADER + tcp::HEADER) as u16];
/// As in Linux' SYNs where memory is plenty.
const WINDOW_SCALE: u8 = 7;
/// A unit of the timestamp is so many nanoseconds, as a power of two: about a millisecond, as Linux has it.
const TIMESTAMP_UNIT: u32 = 20;

/// Bytes of the IP header and those of a SYN.
pub(super) const fn headers(family: Family) -> u16 {
    headers_of_reset(family) + tcp::OPTIONS as u16
}

/// Bytes of the IP header and those of a RST.
pub(super) const fn headers_of_reset(family: Family) -> u16 {
    echo::headers(family) - icmp::HEADER as u16 + tcp::HEADER as u16
}

/// Lays what all SYNs (or, `reset`, all RSTs) have in common: all but sequence number, timestamp and checksum. Returns the sum over it.
pub(super) fn prepare(segment: &mut [u8], family: Family, (ours, theirs): (u16, u16), reset: bool) -> Sum {
    let mut put = |field: Range<usize>, bytes: &[u8]| segment[field].copy_from_slice(bytes);
    put(tcp::SOURCE, &ours.to_be_bytes());
    put(tcp::DESTINATION, &theirs.to_be_bytes());
    let length = if reset { tcp::HEADER } else { HEAD };
    put(tcp::OFFSET..tcp::OFFSET + 1, &[(length as u8 / 4) << 4]);
    put(tcp::FLAGS..tcp::FLAGS + 1, &[if reset { tcp::RST } else { tcp::SYN }]);
    if !reset {
        put(tcp::WINDOW, &WINDOW.to_be_bytes());
        let [a, b] = SEGMENT[family as usize].to_be_bytes();
        // Maximum segment size; selective acknowledgments; timestamps, of now and none of theirs; one byte of nothing; window scale.
        let options = [2, 4, a, b, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, WINDOW_SCALE];
        put(tcp::HEADER..HEAD, &options);
    }
    Sum::of(&segment[..length])
}

/// Writes a SYN into what has been prepared; `sum` is what [`prepare`] returned, and that over the pseudo-header.
#[inline]
pub(super) fn make(segment: &mut [u8; HEAD], sum: Sum, sequence: u32, sent: Nanos) {
    let timestamp = (sent.0 >> TIMESTAMP_UNIT) as u32;
    segment[tcp::SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
    let at = tcp::HEADER + tcp::TIMESTAMP.start..tcp::HEADER + tcp::TIMESTAMP.end;
    segment[at].copy_from_slice(&timestamp.to_be_bytes());
    let sum = sum.double_word(sequence).double_word(timestamp).checksum();
    segment[tcp::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
}

/// Writes a RST into what has been prepared: it ends what the SYN with this sequence number began.
#[inline]
pub(super) fn make_reset(segment: &mut [u8; tcp::HEADER], sum: Sum, sequence: u32) {
    let next = sequence.wrapping_add(1);
    segment[tcp::SEQUENCE].copy_from_slice(&next.to_be_bytes());
    segment[tcp::CHECKSUM].copy_from_slice(&sum.double_word(next).checksum().to_be_bytes());
}

/// Reads an answer. Whether its checksum is right is not asked: on a veth pair that of a local host is not filled in, and the sequence
/// number is the proof.
#[inline]
pub(super) fn read(message: &Message<'_>) -> Result<PortReport, RejectedReason> {
    let Message { arrived, ip, body, .. } = message;
    let acknowledged = u32::from_be_bytes(field(body, tcp::ACKNOWLEDGMENT)?);
    let sequence = acknowledged.wrapping_sub(1);
    let flags = field::<1>(body, tcp::FLAGS..tcp::FLAGS + 1)?[0] & (tcp::SYN | tcp::RST | tcp::ACK | tcp::FIN);
    let (says, proof) = match flags {
        flags if flags == tcp::SYN | tcp::ACK => (Says::Port(PortState::Open), Proof::Sequence(sequence, None)),
        // RFC 9293 has a RST acknowledge the SYN; some hosts acknowledge nothing of it.
        flags if flags == tcp::RST | tcp::ACK => {
            (Says::Port(PortState::Closed), Proof::Sequence(sequence, Some(acknowledged)))
        }
        tcp::ACK => (Says::HalfOpen, Proof::Sequence(sequence, None)),
        _ => return Err(RejectedReason::Corrupt),
    };
    Ok(PortReport {
        arrived: *arrived,
        from: ip.source()?,
        source: ip.destination()?,
        destination: ip.source()?,
        ports: (number(body, tcp::DESTINATION)?, number(body, tcp::SOURCE)?),
        proof,
        says,
        rcode: None,
        ttl: ip.ttl(),
        quote: None,
    })
}

/// Reads an ICMP error that quotes a SYN: `quoted` is its IP header, `segment` what follows, and `parts` what both are taken from.
pub(super) fn read_quote(
    message: &Message<'_>,
    parts: Parts<'_>,
    quoted: Header<'_>,
    segment: &[u8],
) -> Result<PortReport, RejectedReason> {
    let Message { arrived, ip, body, .. } = message;
    if !message.is_intact() {
        return Err(RejectedReason::Corrupt);
    }
    Ok(PortReport {
        arrived: *arrived,
        from: ip.source()?,
        source: quoted.source()?,
        destination: quoted.destination()?,
        ports: (number(segment, tcp::SOURCE)?, number(segment, tcp::DESTINATION)?),
        proof: Proof::Sequence(u32::from_be_bytes(field(segment, tcp::SEQUENCE)?), None),
        says: Says::Refused(reason_of(*ip, body)?),
        rcode: None,
        ttl: ip.ttl(),
        quote: Some(PortQuote::of(parts, quoted, number(segment, tcp::CHECKSUM).ok())),
    })
}
