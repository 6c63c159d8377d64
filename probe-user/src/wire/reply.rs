//! Reading what steer hands over: replies here, errors in `refusal`.

use super::{
    Key, Refusal, RejectedReason,
    message::{Message, field, number},
};
use crate::base::{Generation, Nanos, Sequence, TargetIndex};
use probe_ebpf::{
    cookie,
    wire::{ethernet, icmp, ipv4, payload},
};
use std::{net::Ipv4Addr, ops::Range};

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

/// What steer hands over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The target answered.
    Reply(Reply),
    /// Somebody says that the probe did not arrive.
    Refusal(Refusal),
}

/// Reads a whole Ethernet frame whose first 8 bytes are the arrival stamp in native byte order: up to two VLAN tags, IPv4
/// with or without options, an echo reply or an ICMP error that quotes an echo request.
///
/// # Errors
/// *Truncated*: the frame is shorter than its headers say, the reply shorter than a probe, or the quote than its headers.
/// *Corrupt*: the ICMP checksum is wrong, or it is something else, which steer would not have handed over.
#[inline]
pub fn read_frame(frame: &[u8]) -> Result<Heard, RejectedReason> {
    let message = Message::read(frame)?;
    match message.body.first() {
        Some(kind) if icmp::is_error(*kind) => Refusal::read(&message).map(Heard::Refusal),
        _ => Reply::read(&message).map(Heard::Reply),
    }
}

/// Where in a frame the target stands, unless there are VLAN tags, IPv4 options or an error.
const USUAL_TARGET: Range<usize> = {
    let payload = ethernet::HEADER + ipv4::HEADER + icmp::HEADER;
    payload + payload::TARGET.start..payload + payload::TARGET.end
};

/// Whose probe a frame is probably about. Nothing is checked: a guess, to have the target's account at hand when it has been.
#[inline]
pub fn guess_target(frame: &[u8]) -> Option<TargetIndex> {
    Some(TargetIndex(u32::from_be_bytes(*frame.get(USUAL_TARGET)?.first_chunk()?)))
}

/// As [`read_frame`], where only replies are waited for.
///
/// # Errors
/// As there; an ICMP error is *corrupt*.
pub fn read_reply(frame: &[u8]) -> Result<Reply, RejectedReason> {
    Reply::read(&Message::read(frame)?)
}

impl Reply {
    #[inline]
    fn read(message: &Message<'_>) -> Result<Self, RejectedReason> {
        let Message { arrived, ip, body } = message;
        if body.len() < icmp::HEADER + payload::LENGTH {
            return Err(RejectedReason::Truncated);
        }
        if !message.is_intact() || body[icmp::TYPE] != icmp::ECHO_REPLY || body[icmp::CODE] != 0 {
            return Err(RejectedReason::Corrupt);
        }
        let payload = &body[icmp::HEADER..];
        Ok(Self {
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
}
