//! ICMP echo over IPv4: how a probe is prepared and made, and how its reply is read. What an error quotes of one is in `refusal`.

use super::{
    Key, ProbeFields, RejectedReason,
    checksum::Sum,
    message::{Message, field, number},
};
use crate::base::{Generation, Nanos, Sequence, TargetIndex};
use probe_ebpf::{
    cookie,
    wire::{icmp, ipv4, payload},
};
use std::{
    net::Ipv4Addr,
    ops::{Range, RangeInclusive},
};

/// Bytes of IPv4 and ICMP header.
pub(super) const HEADERS: u16 = (ipv4::HEADER + icmp::HEADER) as u16;
/// ICMP payloads that a probe can have, bytes: its own fields, up to what an Ethernet frame without tags holds.
pub(super) const PAYLOADS: RangeInclusive<u16> = payload::LENGTH as u16..=1500 - HEADERS;
/// Bytes of the message that [`make`] writes, or reads as they were laid: header, and the payload's fields.
pub(super) const HEAD: usize = icmp::HEADER + payload::LENGTH;

/// What a reply says. Nothing of it is true before [`Reply::is_proven`] has said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// When XDP saw it, CLOCK_MONOTONIC. This machine's own word.
    pub arrived: Nanos,
    /// Who answered.
    pub source: Ipv4Addr,
    /// Whose echo it is.
    pub identifier: u16,
    /// Low bits of the probe's number.
    pub sequence: Sequence,
    /// When the probe was sent, CLOCK_MONOTONIC.
    pub sent: Nanos,
    /// Whose probe it was.
    pub target: TargetIndex,
    /// The proof, as it came.
    pub cookie: [u8; 6],
    /// Time to live on arrival.
    pub ttl: u8,
}

impl Reply {
    /// Whether we sent this probe, under this key, to the host that answers, for the tenant of this generation.
    #[inline]
    pub fn is_proven(&self, key: &Key, generation: Generation) -> bool {
        let hash = cookie::ipv4(&key.0, self.sent.0, self.source.octets(), self.target.0, self.sequence.0);
        cookie::on_wire(hash, generation.0) == self.cookie
    }
}

/// Lays what all probes have in common: the header without sequence number and checksum. Returns the sum over it; padding is zero.
pub(super) fn prepare(header: &mut [u8; icmp::HEADER], identifier: u16) -> Sum {
    header[icmp::TYPE] = icmp::ECHO_REQUEST;
    header[icmp::IDENTIFIER].copy_from_slice(&identifier.to_be_bytes());
    Sum::of(header)
}

/// Writes a probe into a message that has been prepared; `sum` is what [`prepare`] returned.
#[inline]
pub(super) fn make(message: &mut [u8; HEAD], sum: Sum, probe: &ProbeFields, key: &Key) {
    let (sent, target, sequence) = (probe.sent.0, probe.target.0, probe.sequence.0);
    let hash = cookie::ipv4(&key.0, sent, probe.destination.octets(), target, sequence);
    let mut put = |from: usize, field: Range<usize>, bytes: &[u8]| {
        message[from + field.start..from + field.end].copy_from_slice(bytes);
    };
    put(0, icmp::SEQUENCE, &sequence.to_be_bytes());
    put(icmp::HEADER, payload::SENT, &sent.to_be_bytes());
    put(icmp::HEADER, payload::TARGET, &target.to_be_bytes());
    put(icmp::HEADER, payload::COOKIE, &cookie::on_wire(hash, probe.generation.0));
    let sum = sum.word(sequence).and(Sum::of(&message[icmp::HEADER..])).checksum();
    message[icmp::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
}

/// Reads a reply.
#[inline]
pub(super) fn read(message: &Message<'_>) -> Result<Reply, RejectedReason> {
    let Message { arrived, ip, body } = message;
    if body.len() < HEAD {
        return Err(RejectedReason::Truncated);
    }
    if !message.is_intact() || body[icmp::TYPE] != icmp::ECHO_REPLY || body[icmp::CODE] != 0 {
        return Err(RejectedReason::Corrupt);
    }
    let payload = &body[icmp::HEADER..];
    Ok(Reply {
        arrived: *arrived,
        source: Ipv4Addr::from(field(*ip, ipv4::SOURCE)?),
        identifier: number(body, icmp::IDENTIFIER)?,
        sequence: Sequence(number(body, icmp::SEQUENCE)?),
        sent: Nanos(u64::from_be_bytes(field(payload, payload::SENT)?)),
        target: TargetIndex(u32::from_be_bytes(field(payload, payload::TARGET)?)),
        cookie: field(payload, payload::COOKIE)?,
        ttl: ip[ipv4::TTL],
    })
}
