//! The record of a settled probe, as loops hand it out.

use crate::{
    base::{Nanos, Outcome, ProbeNumber, Stamp, TargetIndex},
    wire::Refusal,
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

#[cfg(test)]
mod tests {
    use super::*;
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
            sequence: crate::base::Sequence(3),
            identification: 9,
            quoted: None,
        };
        for stamp in [Stamp::User, Stamp::Xdp] {
            let record = Record::refused(TargetIndex(1), ProbeNumber(3), (Nanos(1_000), stamp), &refusal);
            assert_eq!((record.tx_stamp, record.rx_stamp, record.rtt), (stamp, Some(Stamp::Xdp), Some(Nanos(900))));
        }
    }
}

/// Records, for the tests of whoever takes them.
#[cfg(test)]
pub(crate) mod records {
    use super::*;
    use crate::base::Cause;
    use std::net::Ipv4Addr;

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
            reason: Some(Cause::LinkDown.name()),
            ..record(target)
        }
    }
}
