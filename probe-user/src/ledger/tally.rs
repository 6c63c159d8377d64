//! What one loop thread has counted. It alone writes; anybody reads.

use super::{
    Grown,
    histogram::{Histogram, add},
};
use crate::{
    base::{Cause, Nanos, Outcome, State},
    ledger::Snapshot,
    wire::RejectedReason,
};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed},
};

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

/// The counters of one row of sums, as one thread sees them.
#[derive(Debug, Default)]
pub struct RowTally {
    /// Probes that came due, sent or not.
    pub entered: AtomicU64,
    /// Settled by this thread, indexed by `Outcome`.
    pub settled: [AtomicU64; Outcome::COUNT],
    /// Unsent ones, indexed like `Cause::ALL`: by the sender, before it settles them.
    pub unsent: [AtomicU64; Cause::ALL.len()],
    /// Due times that passed without a probe.
    pub skipped: AtomicU64,
    /// Replies after their timeout.
    pub late: AtomicU64,
    /// Further replies to an answered probe, and further errors about one that was heard of.
    pub duplicate: AtomicU64,
    /// Replies to a probe settled as unreachable or unsent, and errors about an unsent one.
    pub contradicted: AtomicU64,
    /// Round-trip times of answered probes.
    pub rtt: Histogram,
    /// Targets that came into a state less those that left it, wrapping.
    pub states: [AtomicU64; State::ALL.len()],
}

/// Everything that one loop thread counts. On cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct Tally {
    /// One for each row of sums that there has been.
    pub rows: Grown<RowTally>,
    /// Replies that failed their checks, indexed like `RejectedReason::ALL`.
    pub rejected: [AtomicU64; RejectedReason::ALL.len()],
    /// From the due time to the hand-over.
    pub send_lag: Histogram,
    /// From a probe's send stamp to the moment by which it was surely handed to the driver. Senders alone.
    pub transmit_dwell: Histogram,
    /// From the arrival stamp to the settling.
    pub receive_delay: Histogram,
    /// Arrival stamp of the last reply that proved to be ours; 0 before the first.
    pub heard_at: AtomicU64,
    /// RSTs to targets at which a probe had half opened a connection: sent by the engine, and dropped for want of room or by their limit.
    pub resets: [AtomicU64; 2],
    /// Results that found their queue full.
    pub results_dropped: AtomicU64,
    /// When the card was last seen to be slower than what was to be sent; 0: never.
    pub full_at: AtomicU64,
    /// When its sender last looked at what is due; 0 before.
    pub turned_at: AtomicU64,
    /// First hand-over; `u64::MAX` before it.
    pub first_send: AtomicU64,
    /// When something was last settled; 0 before.
    pub last_settled: AtomicU64,
}

impl Tally {
    /// For `rows` rows of sums.
    pub fn new(rows: usize) -> Self {
        Self {
            rows: (0..rows).map(|_| RowTally::default()).collect(),
            rejected: zeros(),
            send_lag: Histogram::default(),
            transmit_dwell: Histogram::default(),
            receive_delay: Histogram::default(),
            heard_at: AtomicU64::new(0),
            resets: zeros(),
            results_dropped: AtomicU64::new(0),
            full_at: AtomicU64::new(0),
            turned_at: AtomicU64::new(0),
            first_send: AtomicU64::new(u64::MAX),
            last_settled: AtomicU64::new(0),
        }
    }

    /// Counts RSTs that were sent, or were not.
    pub fn count_reset(&self, sent: bool) {
        add(&self.resets[usize::from(!sent)], 1);
    }

    /// Counts a settled probe in a row.
    #[inline]
    pub fn settle(&self, row: u32, outcome: Outcome, now: Nanos) {
        add(&self.rows[row as usize].settled[outcome as usize], 1);
        self.last_settled.store(now.0, Relaxed);
    }

    /// Counts a target's change of state.
    #[inline]
    pub fn state(&self, row: u32, from: State, to: State) {
        self.state_and_row((row, from), (row, to));
    }

    /// The same of a target that is in another row from now on.
    #[inline]
    pub fn state_and_row(&self, from: (u32, State), to: (u32, State)) {
        let counter = |(row, state): (u32, State)| &self.rows[row as usize].states[state as usize];
        add(counter(from), 1u64.wrapping_neg());
        add(counter(to), 1);
    }
}

/// The sum over threads. Settled counters are all read before the entered ones, so in flight is never short.
pub fn snapshot(tallies: &[std::sync::Arc<Tally>], at: Nanos) -> Snapshot {
    let rows = tallies.first().map_or(0, |tally| tally.rows.len());
    let mut all = Snapshot { at, sums: vec![crate::ledger::SumRow::default(); rows], ..Snapshot::default() };
    let (mut first, mut last) = (u64::MAX, 0);
    for tally in tallies {
        for (sum, row) in all.sums.iter_mut().zip(tally.rows.iter()) {
            add_all(&mut sum.settled, &row.settled);
            sum.hops += row.settled[Outcome::Hop as usize].load(Acquire);
            add_all(&mut sum.unsent, &row.unsent);
            add_all(&mut sum.states, &row.states);
            sum.skipped += row.skipped.load(Acquire);
            sum.late += row.late.load(Acquire);
            sum.duplicate += row.duplicate.load(Acquire);
            sum.contradicted += row.contradicted.load(Acquire);
            row.rtt.add_to(&mut sum.rtt);
        }
        add_all(&mut all.rejected, &tally.rejected);
        add_all(&mut all.resets, &tally.resets);
        tally.send_lag.add_to(&mut all.send_lag);
        tally.transmit_dwell.add_to(&mut all.transmit_dwell);
        tally.receive_delay.add_to(&mut all.receive_delay);
        all.results_dropped += tally.results_dropped.load(Acquire);
        first = first.min(tally.first_send.load(Acquire));
        last = last.max(tally.last_settled.load(Acquire));
    }
    for tally in tallies {
        for (sum, row) in all.sums.iter_mut().zip(tally.rows.iter()) {
            sum.probes += row.entered.load(Acquire);
        }
    }
    for row in &all.sums {
        all.unsent.iter_mut().zip(row.unsent).for_each(|(sum, n)| *sum += n);
    }
    all.first_send = (first != u64::MAX).then_some(Nanos(first));
    all.last_settled = (last != 0).then_some(Nanos(last));
    all
}

fn add_all(sums: &mut [u64], counters: &[AtomicU64]) {
    for (sum, counter) in sums.iter_mut().zip(counters) {
        *sum = sum.wrapping_add(counter.load(Acquire));
    }
}
