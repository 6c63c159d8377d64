//! The way to a target, hop by hop: which probes to ask for next, and what the routers' words about them come to.
//!
//! Pure: a [`Tracer`] is told what became of probes and says which to send. Whoever joins it to a worker may be as slow as he likes; no
//! time that is measured depends on it.
//!
//! A probe's number says its time to live, its flow and its turn ([`Ttls`](crate::base::Ttls)): the round, and where there are several flows
//! whether it is the first flow again.

mod flows;
mod pace;
mod progress;
mod rounds;
mod tracer;
mod way;

pub use flows::Flows;
pub use rounds::{HopRounds, Rounds, Verdict};
pub use tracer::Tracer;
pub use way::{Change, Way};

use crate::base::{Ended, Nanos, Outcome, TargetIndex};
use std::net::IpAddr;

/// What is wanted of paths.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Wanted {
    /// The first time to live that is asked for, from 1.
    pub first: u8,
    /// The last, at most [`Ttls::MOST`](crate::base::Ttls::MOST).
    pub most: u8,
    /// So many hops in a row that say nothing end a path, unless the target is known to be farther.
    pub gap: u8,
    /// Over how many flows each target is traced in a round.
    pub flows: Flows,
    /// How often; None: until it is ended.
    pub rounds: Option<u64>,
    /// From the beginning of a target's round to that of its next.
    pub interval: Nanos,
    /// How long a probe may be answered.
    pub timeout: Nanos,
    /// Probes go to a port, which says their flow.
    pub by_ports: bool,
    /// How often a second a router may be asked, at most.
    pub per_hop: Option<f64>,
    /// Targets under way at a time.
    pub at_once: usize,
}

/// A target's path, as one flow of one round saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// Whose.
    pub target: TargetIndex,
    /// From 0.
    pub round: u64,
    /// From 0.
    pub flow: u16,
    /// Whether the target answered.
    pub reached: bool,
    /// When the first of its probes was sent, CLOCK_MONOTONIC.
    pub sent: Nanos,
    /// From that to the last word about any of them; what nobody said anything about is not waited for here.
    pub took: Nanos,
    /// In the order of their times to live, without gaps, the last one that said anything last; behind it those that were asked in vain.
    pub hops: Vec<Hop>,
    /// The same flow was sent twice, and two routers answered at the same distance: somebody balances packet by packet.
    pub by_packet: bool,
}

/// What a probe with one time to live came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop {
    /// The probe's time to live.
    pub ttl: u8,
    /// When it was sent.
    pub sent: Nanos,
    /// How it ended.
    pub ended: Ended,
}

impl Hop {
    /// How it ended.
    pub const fn outcome(&self) -> Outcome {
        self.ended.outcome()
    }

    /// Whether somebody said something.
    pub const fn is_heard(&self) -> bool {
        self.ended.arrived().is_some()
    }

    /// Who: a router or whoever refused it; of an answer, the target at `address`.
    pub const fn address(&self, address: IpAddr) -> Option<IpAddr> {
        match self.ended {
            Ended::Answered { .. } => Some(address),
            ended => ended.from(),
        }
    }

    /// From sending to the word about it.
    pub fn rtt(&self) -> Option<Nanos> {
        Some(self.ended.arrived()? - self.sent)
    }

    /// Time to live that the word about it came with.
    pub const fn reply_ttl(&self) -> Option<u8> {
        self.ended.reply_ttl()
    }
}

impl Path {
    /// How many hops the target is away, if it answered.
    pub fn length(&self) -> Option<u8> {
        self.reached.then(|| self.hops.last().map(|hop| hop.ttl)).flatten()
    }

    /// The last that was heard.
    pub fn last_heard(&self) -> Option<&Hop> {
        self.hops.iter().rfind(|hop| hop.is_heard())
    }
}

/// How many hops a packet has come that arrives with this time to live: hosts send with 64, 128 or 255, and each router on the way takes one.
pub const fn distance(ttl: u8) -> u8 {
    let sent = if ttl <= 64 {
        64
    } else if ttl <= 128 {
        128
    } else {
        255
    };
    (sent - ttl).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_says_how_far_it_came() {
        for (ttl, hops) in [(64, 1), (63, 2), (35, 30), (128, 1), (120, 9), (255, 1), (226, 30), (1, 64), (0, 65)] {
            assert_eq!(distance(ttl), hops, "{ttl}");
        }
    }
}
