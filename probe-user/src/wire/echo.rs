//! ICMP echo over either family: how a probe is prepared and made, and how its reply is read. What an error quotes of one is in
//! `refusal`. The messages of both families are the same but for their types, and what the checksum covers beside them.

use super::{
    Key, ProbeFields, RejectedReason,
    checksum::Sum,
    fields::{field, number},
    ip::Header,
    message::Message,
};
use crate::base::{Family, Generation, Nanos, Sequence, TargetIndex};
use probe_ebpf::{
    cookie,
    wire::{icmp, icmpv6, ipv4, ipv6, payload},
};
use std::{
    net::IpAddr,
    ops::{Range, RangeInclusive},
};

/// Bytes of the message that [`make`] writes, or reads as they were laid: header, and the payload's fields.
pub(super) const HEAD: usize = icmp::HEADER + payload::LENGTH;

/// Bytes of IP and ICMP header.
pub(super) const fn headers(family: Family) -> u16 {
    let ip = match family {
        Family::V4 => ipv4::HEADER,
        Family::V6 => ipv6::HEADER,
    };
    (ip + icmp::HEADER) as u16
}

/// ICMP payloads that a probe can have, bytes: its own fields, up to what an Ethernet frame without tags holds.
pub(super) const fn payloads(family: Family) -> RangeInclusive<u16> {
    payload::LENGTH as u16..=1500 - headers(family)
}

/// What a reply says. Nothing of it is true before [`Reply::is_proven`] has said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// When XDP saw it, CLOCK_MONOTONIC. This machine's own word.
    pub arrived: Nanos,
    /// Who answered.
    pub source: IpAddr,
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
    /// Time to live (of IPv6: hop limit) on arrival.
    pub ttl: u8,
}

impl Reply {
    /// Whether we sent this probe, under this key, to the host that answers, for the tenant of this generation.
    #[inline]
    pub fn is_proven(&self, key: &Key, generation: Generation) -> bool {
        cookie::on_wire(hash(key, self.sent, self.source, self.target, self.sequence), generation.0) == self.cookie
    }
}

/// The proof that a probe carries, whole and without a generation.
#[inline]
pub(super) fn hash(key: &Key, sent: Nanos, destination: IpAddr, target: TargetIndex, sequence: Sequence) -> u64 {
    match destination {
        IpAddr::V4(address) => cookie::ipv4(&key.0, sent.0, address.octets(), target.0, sequence.0),
        IpAddr::V6(address) => cookie::ipv6(&key.0, sent.0, address.octets(), target.0, sequence.0),
    }
}

/// Lays what all probes of a flow have in common: the header without sequence number. Returns the sum over it; padding is zero.
pub(super) fn prepare(header: &mut [u8; icmp::HEADER], family: Family, identifier: u16, flow: u16) -> Sum {
    header[icmp::TYPE] = request(family);
    header[icmp::CHECKSUM].copy_from_slice(&icmp::checksum(flow).to_be_bytes());
    header[icmp::IDENTIFIER].copy_from_slice(&identifier.to_be_bytes());
    Sum::of(header)
}

/// When a probe was sent that carries this, by what arrived then about it.
#[inline]
pub(super) fn sent(payload: &[u8], arrived: Nanos) -> Result<Nanos, RejectedReason> {
    Ok(Nanos(payload::sent(u64::from_be_bytes(field(payload, payload::FILLER_AND_SENT)?), arrived.0)))
}

/// The type of a probe.
pub(super) const fn request(family: Family) -> u8 {
    match family {
        Family::V4 => icmp::ECHO_REQUEST,
        Family::V6 => icmpv6::ECHO_REQUEST,
    }
}

/// Writes a probe into a message that has been prepared; `sum` is what [`prepare`] returned, and over what else the checksum covers. The
/// filler is what the checksum would be over all the rest, so that the checksum which is laid already is right.
#[inline]
pub(super) fn make(message: &mut [u8; HEAD], sum: Sum, hash: u64, probe: &ProbeFields) {
    let (sent, target, sequence) = (probe.sent.0, probe.target.0, probe.sequence.0);
    let mut put = |from: usize, field: Range<usize>, bytes: &[u8]| {
        message[from + field.start..from + field.end].copy_from_slice(bytes);
    };
    put(0, icmp::SEQUENCE, &sequence.to_be_bytes());
    put(icmp::HEADER, payload::FILLER_AND_SENT, &payload::filler_and_sent(0, sent).to_be_bytes());
    put(icmp::HEADER, payload::TARGET, &target.to_be_bytes());
    put(icmp::HEADER, payload::COOKIE, &cookie::on_wire(hash, probe.generation.0));
    let filler = sum.word(sequence).and(Sum::of(&message[icmp::HEADER..])).checksum();
    message[icmp::HEADER..][payload::FILLER].copy_from_slice(&filler.to_be_bytes());
}

/// Reads a reply.
#[inline]
pub(super) fn read(message: &Message<'_>) -> Result<Reply, RejectedReason> {
    let Message { arrived, ip, body, .. } = message;
    if body.len() < HEAD {
        return Err(RejectedReason::Truncated);
    }
    let kind = match ip {
        Header::V4(_) => icmp::ECHO_REPLY,
        Header::V6(_) => icmpv6::ECHO_REPLY,
    };
    if !message.is_intact() || body[icmp::TYPE] != kind || body[icmp::CODE] != 0 {
        return Err(RejectedReason::Corrupt);
    }
    let payload = &body[icmp::HEADER..];
    Ok(Reply {
        arrived: *arrived,
        source: ip.source()?,
        identifier: number(body, icmp::IDENTIFIER)?,
        sequence: Sequence(number(body, icmp::SEQUENCE)?),
        sent: sent(payload, *arrived)?,
        target: TargetIndex(u32::from_be_bytes(field(payload, payload::TARGET)?)),
        cookie: field(payload, payload::COOKIE)?,
        ttl: ip.ttl(),
    })
}
