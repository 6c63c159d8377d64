//! The record of a probe, and its writers.
//!
//! A loop pushes each settled probe as a [`Record`] into its [`Sink`]: a bounded queue, no waiting, no allocation. One
//! thread ([`spawn`]) takes the records out, turns them into lines ([`Encoder`]) and writes those in large pieces. At
//! the end a [`Summary`] says what it all came to. May use everything below it; knows nothing of terminals.

use crate::{
    ledger::Outcome,
    time::Nanos,
    wire::{ProbeNumber, Refusal, TargetIndex},
};

mod encode;
mod events;
mod fields;
pub mod human;
mod output;
mod sink;
mod spool;
mod summary;
mod text;
mod writer;

pub use encode::{Encoder, Format, WallClock};
pub use events::{EventLines, Fault, NewWay, Via};
pub use output::WriteError;
pub use sink::{Queue, Sink, queue};
pub use summary::{Summary, Times};
pub use writer::{Outcomes, WriteReport, Writer, Writing, spawn};

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
    /// Why, for *unreachable* (`wire::UNREACHABLE_REASONS`) and *unsent* (`Cause::name`).
    pub reason: Option<&'static str>,
    /// Who said *unreachable*, where somebody did.
    pub from: Option<std::net::Ipv4Addr>,
}

impl Record {
    /// Of a probe that an ICMP error says did not arrive.
    pub fn refused(
        target: TargetIndex,
        number: ProbeNumber,
        (sent, tx_stamp): (Nanos, Stamp),
        refusal: &Refusal,
    ) -> Self {
        Self {
            target,
            number,
            sent,
            outcome: Outcome::Unreachable,
            rtt: Some(refusal.arrived - sent),
            reply_ttl: Some(refusal.ttl),
            tx_stamp,
            rx_stamp: Some(Stamp::Xdp),
            reason: Some(refusal.reason),
            from: Some(refusal.from),
        }
    }
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

#[cfg(test)]
pub(crate) mod tests {
    //! A small plan and records of its targets, for the tests of this folder and of the views.

    use super::*;
    use crate::targets::{Group, Plan, Target};
    use std::net::Ipv4Addr;

    #[test]
    fn who_is_refused_says_where_the_probe_was_stamped() {
        let refusal = Refusal {
            arrived: Nanos(1_900),
            from: Ipv4Addr::new(10, 63, 0, 254),
            reason: "host_unreachable",
            ttl: 63,
            destination: Ipv4Addr::new(10, 64, 0, 1),
            identifier: 7,
            sequence: crate::wire::Sequence(3),
            identification: 9,
            quoted: None,
        };
        for stamp in [Stamp::User, Stamp::Xdp] {
            let record = Record::refused(TargetIndex(1), ProbeNumber(3), (Nanos(1_000), stamp), &refusal);
            assert_eq!((record.tx_stamp, record.rx_stamp, record.rtt), (stamp, Some(Stamp::Xdp), Some(Nanos(900))));
        }
    }

    fn group(name: &str, targets: std::ops::Range<u32>) -> Group {
        Group {
            name: name.into(),
            interval: Nanos::from_secs(1),
            timeout: Nanos::from_secs(1),
            payload: 56,
            count: None,
            down_after: 3,
            up_after: 1,
            buckets: Vec::new(),
            sum_by: Vec::new(),
            per_target: false,
            targets,
        }
    }

    /// 10.64.0.0 and host.example (10.64.0.1) in "edge", 10.64.0.2 in a group whose name needs every kind of quoting.
    pub(crate) fn plan() -> Plan {
        let target = |last| Target { address: Some(Ipv4Addr::new(10, 64, 0, last)), label_set: 0 };
        Plan {
            groups: vec![group("edge", 0..2), group("the \"far\", side", 2..3)],
            targets: (0..3).map(target).collect(),
            names: [(1, "host.example".into())].into(),
            ..Plan::default()
        }
    }

    /// A lost probe, number 0.
    pub(crate) fn record(target: u32) -> Record {
        Record {
            target: TargetIndex(target),
            number: ProbeNumber(0),
            sent: Nanos(1_000_123_456_789),
            outcome: Outcome::Lost,
            rtt: None,
            reply_ttl: None,
            tx_stamp: Stamp::User,
            rx_stamp: None,
            reason: None,
            from: None,
        }
    }

    pub(crate) fn answered(target: u32, number: u64) -> Record {
        Record {
            number: ProbeNumber(number),
            outcome: Outcome::Answered,
            rtt: Some(Nanos(41_234)),
            reply_ttl: Some(64),
            rx_stamp: Some(Stamp::Xdp),
            ..record(target)
        }
    }

    pub(crate) fn unreachable(target: u32, number: u64) -> Record {
        Record {
            outcome: Outcome::Unreachable,
            rtt: Some(Nanos(1_230_000)),
            reply_ttl: Some(63),
            reason: Some("host_unreachable"),
            from: Some(Ipv4Addr::new(10, 64, 0, 254)),
            ..answered(target, number)
        }
    }

    pub(crate) fn unsent(target: u32, number: u64) -> Record {
        Record {
            number: ProbeNumber(number),
            outcome: Outcome::Unsent,
            reason: Some(crate::ledger::Cause::LinkDown.name()),
            ..record(target)
        }
    }
}
