//! Connections that TCP probes half opened at their targets, on their way from the receivers to the sender, which ends them by a RST.
//!
//! A host that answered a SYN waits for the third step of the handshake, and keeps a place in a queue for it that others want. Each of its
//! answers is met with a RST, late and duplicate ones too: it has sent them because it has heard of none. What can be had of us by answers
//! that nobody asked for is bounded: as many RSTs as probes, and a thousand a second beside.

use crate::base::{Nanos, TargetIndex};
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed},
};

/// RSTs that may wait for one sender; it takes them each turn.
const ROOM: usize = 1 << 14;
/// RSTs a second that need no probe.
const FREE: u64 = 1_000;
/// The most that may be saved up.
const SAVED: u64 = 1 << 16;

/// The probe that half opened a connection: its target, and the low bits of its number.
pub(super) type HalfOpen = (TargetIndex, u8);

/// What waits for a sender. Receivers put, it takes.
#[derive(Debug)]
pub struct Resets {
    waiting: ArrayQueue<HalfOpen>,
    dropped: AtomicU64,
}

impl Default for Resets {
    fn default() -> Self {
        Self { waiting: ArrayQueue::new(ROOM), dropped: AtomicU64::new(0) }
    }
}

impl Resets {
    /// Where there is no room it is counted as not sent: the target will answer again.
    #[inline]
    pub(super) fn put(&self, half_open: HalfOpen) {
        if self.waiting.push(half_open).is_err() {
            self.drop_one();
        }
    }

    #[inline]
    pub(super) fn take(&self) -> Option<HalfOpen> {
        self.waiting.pop()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// One more that nobody sends.
    pub(super) fn drop_one(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// How many were not sent.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Acquire)
    }
}

/// How many RSTs a sender may send.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u64,
    since: Nanos,
}

impl Allowance {
    pub(super) const fn new(now: Nanos) -> Self {
        Self { left: FREE, since: now }
    }

    /// So many probes have been handed over.
    #[inline]
    pub(super) fn earn(&mut self, probes: u64) {
        self.left = (self.left + probes).min(SAVED);
    }

    /// Whether one more may be sent now.
    pub(super) fn spend(&mut self, now: Nanos) -> bool {
        let free = (now - self.since).0 / (1_000_000_000 / FREE);
        if free > 0 {
            self.since = self.since + Nanos(free * (1_000_000_000 / FREE));
            self.earn(free);
        }
        let may = self.left > 0;
        self.left -= u64::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_probes_and_a_thousand_a_second() {
        let mut allowance = Allowance::new(Nanos::ZERO);
        let mut sent = |at: Nanos, earned: u64| {
            allowance.earn(earned);
            (0..100_000).filter(|_| allowance.spend(at)).count() as u64
        };
        assert_eq!(sent(Nanos::ZERO, 500), FREE + 500);
        assert_eq!(sent(Nanos::from_millis(100), 0), FREE / 10);
        assert_eq!(sent(Nanos::from_millis(100), 7), 7);
        assert_eq!(sent(Nanos::from_secs(1_000), 1 << 40), SAVED, "never more at once");
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let resets = Resets::default();
        (0..ROOM as u32 + 3).for_each(|n| resets.put((TargetIndex(n), 0)));
        assert_eq!(resets.dropped(), 3);
        assert_eq!(resets.take(), Some((TargetIndex(0), 0)));
        assert_eq!((0..).map_while(|_| resets.take()).count(), ROOM - 1);
        assert!(resets.is_empty());
    }
}
