//! Connections that TCP probes half opened at their targets, on their way from the receivers to the sender, which ends them by a RST.
//!
//! A host that answered a SYN waits for the third step of the handshake, and keeps a place in a queue for it that others want. Each of its
//! answers is met with a RST, late and duplicate ones too: it has sent them because it has heard of none. What can be had of us by answers
//! that nobody asked for is bounded: as many RSTs as probes, and a thousand a second beside.

use crate::base::{Nanos, TargetIndex};
use crossbeam::queue::ArrayQueue;

/// RSTs that may wait for one sender; it takes them each turn.
const ROOM: usize = 1 << 14;
/// RSTs a second that need no probe.
const FREE: u64 = 1_000;
/// The most that may be saved up.
const SAVED: u64 = 1 << 16;

/// The probe that half opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HalfOpen {
    pub(super) target: TargetIndex,
    /// The low bits of its number.
    pub(super) number: u8,
    /// Where it came from, counted from the first of the reserved ports.
    pub(super) port: u16,
}

/// What waits for a sender. Receivers put, it takes.
#[derive(Debug)]
pub struct Resets(ArrayQueue<HalfOpen>);

impl Default for Resets {
    fn default() -> Self {
        Self(ArrayQueue::new(ROOM))
    }
}

impl Resets {
    /// Whether there was room. Else the target will answer again, and be met then.
    #[inline]
    pub(super) fn put(&self, half_open: HalfOpen) -> bool {
        self.0.push(half_open).is_ok()
    }

    #[inline]
    pub(super) fn take(&self) -> Option<HalfOpen> {
        self.0.pop()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
            self.since += Nanos(free * (1_000_000_000 / FREE));
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
    fn they_come_out_in_order_and_no_more_than_there_is_room_for() {
        let resets = Resets::default();
        let half_open = |n| HalfOpen { target: TargetIndex(n), number: 7, port: 0 };
        let put = (0..ROOM as u32 + 3).filter(|n| resets.put(half_open(*n))).count();
        assert_eq!((put, resets.take()), (ROOM, Some(half_open(0))));
        assert_eq!(std::iter::from_fn(|| resets.take()).count(), ROOM - 1);
        assert!(resets.is_empty());
    }
}
