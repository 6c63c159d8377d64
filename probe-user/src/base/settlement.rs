//! What a probe came to. Reply, error, deadline and refusal all become one of these.

use super::{Cause, Nanos, Outcome, PortState, ProbeNumber, Quote, Rcode, Reason, TargetIndex};
use std::net::IpAddr;

/// One settled probe, as the loops hand it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Whose probe.
    pub target: TargetIndex,
    /// The probe's full number.
    pub number: ProbeNumber,
    /// Send stamp, CLOCK_MONOTONIC; for *unsent*, when it was given up.
    pub sent: Nanos,
    /// How it ended.
    pub ended: Ended,
}

/// How a probe ended, with what is known only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A reply came in time.
    Answered {
        /// Arrival stamp, CLOCK_MONOTONIC.
        arrived: Nanos,
        /// Time to live (hop limit) of the reply.
        ttl: u8,
        /// Of a probe to a port, what is known of that now.
        port: Option<PortState>,
        /// Of a DNS question, the answer's response code.
        rcode: Option<Rcode>,
    },
    /// An ICMP error says that the probe did not arrive.
    Refused {
        /// Arrival stamp, CLOCK_MONOTONIC.
        arrived: Nanos,
        /// Time to live (hop limit) of the error.
        ttl: u8,
        /// Who says so.
        from: IpAddr,
        /// Why.
        reason: Reason,
    },
    /// A router says that the probe's time to live ended with it: it is on the way to the target.
    Hop {
        /// Arrival stamp, CLOCK_MONOTONIC.
        arrived: Nanos,
        /// Time to live (hop limit) of the error.
        ttl: u8,
        /// The router, by the address that it answers from.
        from: IpAddr,
        /// What it quoted.
        quote: Quote,
    },
    /// The target is on the link, and its MAC address was asked for in vain.
    NoNeighbour,
    /// Nothing came in time.
    Lost,
    /// Nothing came, and this machine dropped received frames that could have been it.
    Unheard,
    /// This machine did not send it.
    Unsent(Cause),
}

impl Ended {
    /// What it counts as.
    #[inline]
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Answered { .. } => Outcome::Answered,
            Self::Refused { .. } | Self::NoNeighbour => Outcome::Unreachable,
            Self::Hop { .. } => Outcome::Hop,
            Self::Lost => Outcome::Lost,
            Self::Unheard => Outcome::Unheard,
            Self::Unsent(_) => Outcome::Unsent,
        }
    }

    /// Why, for *unreachable* and *unsent*.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Refused { reason, .. } => Some(reason.name()),
            Self::NoNeighbour => Some(Reason::NEIGHBOUR.name()),
            Self::Unsent(cause) => Some(cause.name()),
            Self::Answered { .. } | Self::Hop { .. } | Self::Lost | Self::Unheard => None,
        }
    }

    /// When the word came that settled it; None where nothing came.
    pub const fn arrived(self) -> Option<Nanos> {
        match self {
            Self::Answered { arrived, .. } | Self::Refused { arrived, .. } | Self::Hop { arrived, .. } => Some(arrived),
            Self::NoNeighbour | Self::Lost | Self::Unheard | Self::Unsent(_) => None,
        }
    }

    /// Time to live (hop limit) of that; None where nothing came.
    pub const fn reply_ttl(self) -> Option<u8> {
        match self {
            Self::Answered { ttl, .. } | Self::Refused { ttl, .. } | Self::Hop { ttl, .. } => Some(ttl),
            Self::NoNeighbour | Self::Lost | Self::Unheard | Self::Unsent(_) => None,
        }
    }

    /// Who said so, where it was an error.
    pub const fn from(self) -> Option<IpAddr> {
        match self {
            Self::Refused { from, .. } | Self::Hop { from, .. } => Some(from),
            Self::Answered { .. } | Self::NoNeighbour | Self::Lost | Self::Unheard | Self::Unsent(_) => None,
        }
    }
}

impl Settlement {
    /// What it counts as.
    pub const fn outcome(&self) -> Outcome {
        self.ended.outcome()
    }

    /// From the send stamp to the arrival of what settled it; None where nothing came.
    pub fn rtt(&self) -> Option<Nanos> {
        Some(self.ended.arrived()? - self.sent)
    }

    /// Time to live of what settled it; None where nothing came.
    pub const fn reply_ttl(&self) -> Option<u8> {
        self.ended.reply_ttl()
    }

    /// What is known of the port that an answered probe was sent to.
    pub const fn port(&self) -> Option<PortState> {
        match self.ended {
            Ended::Answered { port, .. } => port,
            _ => None,
        }
    }

    /// The response code of a DNS answer.
    pub const fn rcode(&self) -> Option<Rcode> {
        match self.ended {
            Ended::Answered { rcode, .. } => rcode,
            _ => None,
        }
    }

    /// Who said *unreachable*, where somebody did.
    pub const fn from(&self) -> Option<IpAddr> {
        self.ended.from()
    }
}

/// Settlements, for the tests of whoever takes them.
#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// A lost probe, number 0.
    pub(crate) fn lost(target: u32) -> Settlement {
        Settlement {
            target: TargetIndex(target),
            number: ProbeNumber(0),
            sent: Nanos(1_000_123_456_789),
            ended: Ended::Lost,
        }
    }

    pub(crate) fn answered(target: u32, number: u64) -> Settlement {
        answered_after(target, number, Nanos(41_234))
    }

    pub(crate) fn answered_after(target: u32, number: u64, rtt: Nanos) -> Settlement {
        let lost = lost(target);
        let ended = Ended::Answered { arrived: lost.sent + rtt, ttl: 64, port: None, rcode: None };
        Settlement { number: ProbeNumber(number), ended, ..lost }
    }

    pub(crate) fn unreachable(target: u32, number: u64) -> Settlement {
        let lost = lost(target);
        let ended = Ended::Refused {
            arrived: lost.sent + Nanos(1_230_000),
            ttl: 63,
            from: IpAddr::from([10, 64, 0, 254]),
            reason: Reason(2),
        };
        Settlement { number: ProbeNumber(number), ended, ..lost }
    }

    pub(crate) fn unsent(target: u32, number: u64) -> Settlement {
        Settlement { number: ProbeNumber(number), ended: Ended::Unsent(Cause::LinkDown), ..lost(target) }
    }
}
