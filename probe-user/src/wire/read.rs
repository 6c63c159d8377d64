//! Reading what steer hands over: which reader a frame is for. Replies are read by their kind, errors in `refusal`.

use super::{
    Refusal, RejectedReason, Reply, Segment, echo,
    ip::{Header, Protocol},
    message::Message,
    refusal,
};
use crate::base::TargetIndex;
use probe_ebpf::wire::{ethernet, icmp, icmpv6, ipv4, ipv6, payload};
use std::ops::Range;

/// What steer hands over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The target answered.
    Reply(Reply),
    /// Somebody says that the probe, an echo request, did not arrive.
    Refusal(Refusal),
    /// Something is said of a TCP probe, by the target or by an error.
    Segment(Segment),
}

/// Reads a whole Ethernet frame whose first 8 bytes are the arrival stamp in native byte order: up to two VLAN tags, IPv4
/// with or without options or IPv6 with or without extension headers, an echo reply, an answer to a SYN, or an ICMP error that quotes an
/// echo request or a SYN.
///
/// # Errors
/// *Truncated*: the frame is shorter than its headers say, the reply shorter than a probe, or the quote than its headers.
/// *Corrupt*: the ICMP checksum is wrong, or it is something else, which steer would not have handed over.
#[inline]
pub fn read_frame(frame: &[u8]) -> Result<Heard, RejectedReason> {
    let message = Message::read(frame)?;
    if message.protocol == Protocol::Tcp {
        return Segment::read(&message).map(Heard::Segment);
    }
    let is_error = match (message.ip, message.body.first()) {
        (Header::V4(_), Some(kind)) => icmp::is_error(*kind),
        (Header::V6(_), Some(kind)) => icmpv6::is_error(*kind),
        (_, None) => false,
    };
    if is_error { refusal::read(&message) } else { echo::read(&message).map(Heard::Reply) }
}

/// Where in a frame the target stands, behind this IP header, unless there are VLAN tags, options, extension headers or an error.
const fn usual_target(ip: usize) -> Range<usize> {
    let payload = ethernet::HEADER + ip + icmp::HEADER;
    payload + payload::TARGET.start..payload + payload::TARGET.end
}

/// Whose probe a frame is probably about. Nothing is checked: a guess, to have the target's account at hand when it has been.
#[inline]
pub fn guess_target(frame: &[u8]) -> Option<TargetIndex> {
    let is_v6 = frame.get(ethernet::ETHERTYPE)? == ethernet::IPV6.to_be_bytes();
    let at = if is_v6 { const { usual_target(ipv6::HEADER) } } else { const { usual_target(ipv4::HEADER) } };
    Some(TargetIndex(u32::from_be_bytes(*frame.get(at)?.first_chunk()?)))
}

/// As [`read_frame`], where only replies are waited for.
///
/// # Errors
/// As there; an ICMP error is *corrupt*.
pub fn read_reply(frame: &[u8]) -> Result<Reply, RejectedReason> {
    echo::read(&Message::read(frame)?)
}
