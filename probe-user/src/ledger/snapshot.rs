//! All counters at one moment, for whoever shows them.

use super::histogram::Distribution;
use crate::{
    base::{Cause, Nanos, Outcome, State},
    health::Hold,
    targets::Epoch,
    wire::RejectedReason,
};
use std::net::IpAddr;

/// Everything that the sums show, at one moment. Settled counters were read before the entered ones.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was taken, CLOCK_MONOTONIC.
    pub at: Nanos,
    /// One row for each of `Plan::sums`, in that order.
    pub sums: Vec<SumRow>,
    /// Of each group whose paths are kept, in their order: the probes by which they are found.
    pub paths: Vec<SumRow>,
    /// Replies that failed their checks, indexed like `RejectedReason::ALL`.
    pub rejected: [u64; RejectedReason::ALL.len()],
    /// RSTs to targets at which a TCP probe had half opened a connection: sent, and dropped for want of room or by their limit.
    pub resets: [u64; 2],
    /// Probes that this machine did not send, of all rows, indexed like `Cause::ALL`.
    pub unsent: [u64; Cause::ALL.len()],
    /// From the configured due time to the hand-over to the engine.
    pub send_lag: Distribution,
    /// From the send stamp to the moment by which the probe was surely handed to the driver.
    pub transmit_dwell: Distribution,
    /// From the arrival stamp to the settling.
    pub receive_delay: Distribution,
    /// Results that were not written because their writer did not keep up.
    pub results_dropped: u64,
    /// Whether states are held, indexed like `Hold::ALL`.
    pub held: [bool; Hold::ALL.len()],
    /// Events that found their queue full, or could not be written.
    pub events_dropped: u64,
    /// First send.
    pub first_send: Option<Nanos>,
    /// Last moment at which a probe was settled.
    pub last_settled: Option<Nanos>,
}

/// The counters of one row of sums.
#[derive(Clone, Debug, Default)]
pub struct SumRow {
    /// Probes that came due, sent or not.
    pub probes: u64,
    /// Settled, indexed like `Outcome::ALL`.
    pub settled: [u64; Outcome::ALL.len()],
    /// Settled as *hop*.
    pub hops: u64,
    /// Of the unsent ones, indexed like `Cause::ALL`. Read after `settled`, so there are no fewer.
    pub unsent: [u64; Cause::ALL.len()],
    /// Due times that passed without a probe.
    pub skipped: u64,
    /// Replies after their timeout.
    pub late: u64,
    /// Further replies to an answered probe, and further errors about one that was heard of.
    pub duplicate: u64,
    /// Replies to a probe settled as unreachable or unsent, and errors about an unsent one.
    pub contradicted: u64,
    /// Round-trip times.
    pub rtt: Distribution,
    /// Targets by state, indexed like `State::ALL`.
    pub states: [u64; State::ALL.len()],
    /// Targets that are flapping.
    pub flapping: u64,
    /// Changes of the paths that are kept.
    pub path_changes: u64,
}

impl Snapshot {
    /// The rows of the ledger, counted in the sums of the plan in force.
    #[must_use]
    pub fn by(mut self, epoch: &Epoch) -> Self {
        if epoch.sums.is_empty() {
            return self;
        }
        let mut sums = vec![SumRow::default(); epoch.plan.sums.len()];
        for (row, counted) in self.sums.iter().enumerate() {
            if let Some(sum) = epoch.sum_of(row) {
                sums[sum].add(counted);
            }
        }
        self.sums = sums;
        self
    }
}

impl SumRow {
    /// Adds what another row has counted.
    fn add(&mut self, other: &Self) {
        let add = |sums: &mut [u64], many: &[u64]| {
            sums.iter_mut().zip(many).for_each(|(sum, many)| *sum = sum.wrapping_add(*many));
        };
        add(&mut self.settled, &other.settled);
        add(&mut self.unsent, &other.unsent);
        add(&mut self.states, &other.states);
        self.probes += other.probes;
        self.hops += other.hops;
        self.skipped += other.skipped;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.contradicted += other.contradicted;
        self.flapping += other.flapping;
        self.path_changes += other.path_changes;
        self.rtt.add(&other.rtt);
    }

    /// Entered and not yet settled.
    pub fn in_flight(&self) -> u64 {
        self.probes.saturating_sub(self.settled.iter().sum::<u64>() + self.hops)
    }
}

/// What one target's own series show.
#[derive(Clone, Copy, Debug)]
pub struct TargetRow {
    /// None while its name is not resolved.
    pub address: Option<IpAddr>,
    /// What it is held to be.
    pub state: State,
    /// Probes that came due.
    pub probes: u64,
    /// Settled, indexed like `Outcome::ALL`.
    pub settled: [u64; Outcome::ALL.len()],
    /// Sum of round-trip times, nanoseconds.
    pub rtt_sum: u64,
    /// When the last reply in time arrived, CLOCK_MONOTONIC; None before the first.
    pub last_reply: Option<Nanos>,
    /// How many hops it is away, where its path is kept and known.
    pub path_hops: Option<u8>,
}
