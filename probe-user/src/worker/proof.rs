//! Whether what has arrived is about a probe of ours: parser, table of targets, cookie. Pure, and all of a receiver's
//! judgement before it touches a window: `tests/forge.rs` throws forgeries at this very function.
//!
//! What must be right in a reply, and by what it is held:
//!
//! | field | held by |
//! |---|---|
//! | EtherType, IP version, header length, protocol, ICMP type and code | one value each |
//! | every bit of the ICMP message | its checksum: damage. A forger mends it, if need be by the payload's filler, which says nothing else |
//! | source address, sequence, send time, target, the slot's generation | the cookie, all 48 bits of it |
//! | the send time's upper 16 bits, which don't travel | the arrival stamp, from which they follow, and the cookie |
//! | identifier, destination address, not a fragment, age below any timeout | `steer`, before it takes a frame |
//!
//! Of an answer to a SYN, and of an error that quotes one, addresses, ports and the low bits of the probe's number are held by the 24 keyed
//! bits of its sequence number; those of a DNS answer, and of an error that quotes a UDP probe, by the 8 keyed bits of its word. Another
//! answer to a UDP probe proves nothing: who knows addresses and ports can forge it. Checksums of TCP and UDP are not asked for: that of a
//! host behind a veth pair is not filled in.
//!
//! The rest may be anything. MAC addresses have been overwritten by the arrival stamp, which is this machine's own word. The network
//! changes VLAN ids, TOS, TTL and IP options on the way. The IP identification of a reply is its sender's affair. The IP checksum
//! covers nothing that the cookie doesn't but those. Padding behind the 18 bytes of proof says nothing, and there are hosts that
//! send back less of it than they got.

use crate::{
    base::{Generation, Reason, TargetIndex},
    ledger::Ledger,
    wire::{self, Guess, Heard, Key, NumberIn, PortReport, Quoted, Refusal, RejectedReason, Reply},
};
use std::net::IpAddr;

/// What proofs ask of the table of targets.
pub trait Slots {
    /// Who has the slot now; None: there is no such slot.
    fn generation(&self, target: TargetIndex) -> Option<Generation>;
    /// Whether some target has this address.
    fn has_address(&self, address: IpAddr) -> bool;
    /// A target with this address that is probed between these ports, ours and theirs.
    fn target_of_flow(&self, address: IpAddr, ports: (u16, u16)) -> Option<TargetIndex>;
    /// By what the number of a probe from this port of ours is told; None: no probe is sent from it.
    fn number_in(&self, port: u16) -> Option<NumberIn>;
    /// The address of the slot's target.
    fn address(&self, target: TargetIndex) -> Option<IpAddr>;
    /// Of how many flows echo requests are that are to expire on the way; 0: none is.
    fn expiring_flows(&self) -> u16;
}

impl Slots for Ledger {
    #[inline]
    fn generation(&self, target: TargetIndex) -> Option<Generation> {
        self.has(target).then(|| self.account(target).generation())
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.targets_at(address).next().is_some()
    }

    #[inline]
    fn target_of_flow(&self, address: IpAddr, ports: (u16, u16)) -> Option<TargetIndex> {
        self.targets_of_flow(address, ports).next()
    }

    #[inline]
    fn number_in(&self, port: u16) -> Option<NumberIn> {
        self.number_in(port)
    }

    fn address(&self, target: TargetIndex) -> Option<IpAddr> {
        self.account(target).address()
    }

    fn expiring_flows(&self) -> u16 {
        self.expiring_flows()
    }
}

/// How a loop reads what arrives. Which one it is follows from its queues: see [`super::Receive`].
pub trait Reader {
    /// Judges a frame as `steer` hands it over.
    ///
    /// # Errors
    /// Why it is not taken for a word about a probe of ours.
    fn prove(frame: &[u8], key: &Key, slots: &impl Slots) -> Result<Proven, RejectedReason>;

    /// Whose probe a frame is probably about. Nothing is checked: a guess, to have the target's account at hand when it has been.
    fn guess(frame: &[u8]) -> Option<Guess>;
}

/// Reads every kind of probe that `wire` makes.
pub struct WireReader;

impl Reader for WireReader {
    #[inline]
    fn prove(frame: &[u8], key: &Key, slots: &impl Slots) -> Result<Proven, RejectedReason> {
        prove(frame, key, slots)
    }

    #[inline]
    fn guess(frame: &[u8]) -> Option<Guess> {
        wire::guess_target(frame)
    }
}

/// What has been proven to be about a probe of ours. How old it is has not been asked, nor whether the probe is still waited for, nor
/// whether its slot has meanwhile got another generation than the one that was proven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proven {
    /// The target answered.
    Answer(Reply, Generation),
    /// Somebody says that the probe did not arrive, and quotes all of its proof.
    Refused(Refusal, Quoted, Generation),
    /// The same, with 16 keyed bits for all proof: whose probe it was remains to be found.
    ShortQuote(Refusal),
    /// Something is said of a probe to a port, with few keyed bits or none for all proof. When that was sent the ledger knows.
    Port(Said),
}

/// What is said of a probe to a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// By this.
    pub report: PortReport,
    /// The low bits of the probe's number, and which of its bits they are.
    pub number: (u8, u8),
    /// Whose it was; where names turned out to be the same host, the first of them.
    pub target: TargetIndex,
}

/// Judges a frame as `steer` hands it over, see [`wire::read_frame`].
///
/// # Errors
/// As there; *target*: the table has no such slot or address; *cookie*: the proof is not for this key, address, sequence, send time
/// and tenant of the slot; *age*: it arrived before it was sent, by a second at most.
#[inline]
pub fn prove(frame: &[u8], key: &Key, slots: &impl Slots) -> Result<Proven, RejectedReason> {
    match wire::read_frame(frame)? {
        Heard::Reply(reply) => {
            let generation = slots.generation(reply.target).ok_or(RejectedReason::Target)?;
            if !reply.is_proven(key, generation) {
                return Err(RejectedReason::Cookie);
            }
            if reply.arrived < reply.sent {
                return Err(RejectedReason::Age);
            }
            Ok(Proven::Answer(reply, generation))
        }
        Heard::Refusal(refusal) => prove_refusal(refusal, key, slots),
        Heard::Port(report) => {
            let told = slots.number_in(report.ports.0).ok_or(RejectedReason::Target)?;
            let number = report.number(key, told).ok_or(RejectedReason::Cookie)?;
            let target = slots.target_of_flow(report.destination, report.ports).ok_or(RejectedReason::Target)?;
            Ok(Proven::Port(Said { report, number, target }))
        }
    }
}

#[cold]
fn prove_refusal(refusal: Refusal, key: &Key, slots: &impl Slots) -> Result<Proven, RejectedReason> {
    // Of what was to expire, less is enough: see docs/design.md, "What a quote proves".
    let has_expired = refusal.reason == Reason::TTL_EXCEEDED && refusal.has_checksum_of(slots.expiring_flows());
    let Some(quoted) = refusal.quoted else {
        if !refusal.is_ours(key) && !has_expired && !cfg!(broken = "hop-forged") {
            return Err(RejectedReason::Cookie);
        }
        let known = slots.has_address(refusal.destination);
        return if known { Ok(Proven::ShortQuote(refusal)) } else { Err(RejectedReason::Target) };
    };
    let generation = slots.generation(quoted.target).ok_or(RejectedReason::Target)?;
    // The destination may have been translated.
    let is_proven_there = || {
        let address = slots.address(quoted.target);
        address.is_some_and(|address| refusal.is_proven_at(&quoted, key, generation, address))
    };
    let is_proven = refusal.is_proven(&quoted, key, generation) || has_expired && is_proven_there();
    if !is_proven && !cfg!(broken = "hop-forged") {
        return Err(RejectedReason::Cookie);
    }
    if refusal.arrived < quoted.sent {
        return Err(RejectedReason::Age);
    }
    Ok(Proven::Refused(refusal, quoted, generation))
}
