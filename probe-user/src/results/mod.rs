//! The record of a probe, and its writers.

use crate::{
    ledger::Outcome,
    time::Nanos,
    wire::{ProbeNumber, TargetIndex},
};

/// One settled probe, as the loops hand it to the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose probe.
    pub target: TargetIndex,
    /// The probe's full number.
    pub number: ProbeNumber,
    /// Send stamp, CLOCK_MONOTONIC; for *unsent*, when it was given up.
    pub sent: Nanos,
    /// How it ended.
    pub outcome: Outcome,
    /// Round-trip time, for *answered* and *unreachable* by an ICMP error.
    pub rtt: Option<Nanos>,
    /// Time to live (hop limit) of the reply.
    pub reply_ttl: Option<u8>,
    /// Where the send stamp was taken.
    pub tx_stamp: Stamp,
    /// Where the arrival stamp was taken; None where nothing arrived.
    pub rx_stamp: Option<Stamp>,
    /// Why, for *unreachable* ("neighbour", ...) and *unsent* (`Cause::name`).
    pub reason: Option<&'static str>,
    /// Who said *unreachable*, where somebody did.
    pub from: Option<std::net::Ipv4Addr>,
}

/// Where a stamp was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// By userspace, just before the kick.
    User,
    /// By the XDP program.
    Xdp,
}

impl Stamp {
    /// As in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Xdp => "xdp",
        }
    }
}
