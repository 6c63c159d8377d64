//! Reading what steer hands over: which reader a frame is for. Replies are read by their kind, errors in `refusal`.

use super::{Refusal, RejectedReason, Reply, echo, message::Message};
use crate::base::TargetIndex;
use probe_ebpf::wire::{ethernet, icmp, ipv4, payload};
use std::ops::Range;

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
        _ => echo::read(&message).map(Heard::Reply),
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
    echo::read(&Message::read(frame)?)
}
