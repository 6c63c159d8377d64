//! Which target is due when.
//!
//! The slots of a run are spread evenly over its interval: slot `s` of round `r` is due at `start + (r + s / slots) * interval`,
//! to the nanosecond and without drift. What comes late is still measured against that grid.

use crate::base::Nanos;

/// A due time that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Which slot of the run, from 0.
    pub slot: u32,
    /// How often the run has been through before.
    pub round: u64,
    /// When it was due.
    pub due: Nanos,
    /// Too late to be probed: the slot is passed over.
    pub skip: bool,
}

/// After a hold-up, ticks come at no more than this many times their pace.
const CATCH_UP: u64 = 2;
/// A sleeper wakes a little late; what came due within this time goes out at once.
const DEPTH: Nanos = Nanos::from_millis(1);
/// A tick that is later than this is skipped, where skipping is allowed.
const MOST_LAG: Nanos = Nanos::from_millis(100);

/// A share of the ticks, as a fraction of 2^32: so many are left out, because more are due than can be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut(pub u32);

impl LeftOut {
    /// Whether the tick is one of these. Both factors are fractions whose multiples lie evenly between 0 and 1 (of the golden ratio
    /// and of the root of 2): the share is that of every stretch of slots in a round, and of every slot over its rounds, so that a
    /// target that is left out now has its turn in the next.
    #[inline]
    const fn has(self, round: u64, slot: u32) -> bool {
        let turn = (round as u32).wrapping_mul(0x9e37_79b9).wrapping_add(slot.wrapping_mul(0x6a09_e667));
        turn < self.0
    }
}

/// Hands out the ticks of one run in order.
#[derive(Clone, Debug)]
pub struct Pacer {
    slots: u32,
    rounds: Option<u64>,
    /// Skip what is later than this.
    most_lag: Nanos,
    /// Whole nanoseconds between ticks, and the remainder of that division, carried in `error`.
    gap: u64,
    remainder: u64,
    error: u64,
    slot: u32,
    round: u64,
    due: Nanos,
    /// Catching up: the next tick is not handed out before.
    not_before: Nanos,
}

impl Pacer {
    /// Spreads `slots` over `interval` from `start` on. With `rounds` every tick is handed out however late, and after so many
    /// rounds there are no more; without, ticks that are too late are marked to be skipped. An interval of zero means as fast as
    /// the caller asks.
    pub fn new(slots: u32, interval: Nanos, start: Nanos, rounds: Option<u64>) -> Self {
        let many = u64::from(slots.max(1));
        Self {
            slots,
            rounds,
            most_lag: if rounds.is_some() { Nanos::MAX } else { MOST_LAG.min(Nanos(interval.0 / 2)) },
            gap: interval.0 / many,
            remainder: interval.0 % many,
            error: 0,
            slot: 0,
            round: 0,
            due: start,
            not_before: start,
        }
    }

    /// Begins with this round and not with 0. Before the first tick.
    #[must_use]
    pub fn from_round(self, round: u64) -> Self {
        Self { round, rounds: self.rounds.map(|rounds| rounds.saturating_add(round)), ..self }
    }

    /// When the next tick may be had; None when there are no more.
    #[inline]
    pub fn next_at(&self) -> Option<Nanos> {
        (self.slots > 0 && self.rounds.is_none_or(|rounds| self.round < rounds))
            .then_some(self.due.max(self.not_before))
    }

    /// Round and slot of the next tick.
    #[inline]
    pub fn next_place(&self) -> (u64, u32) {
        (self.round, self.slot)
    }

    /// Whether every tick is handed out, however late.
    pub fn is_counted(&self) -> bool {
        self.rounds.is_some()
    }

    /// From which lateness on ticks are skipped; None: never.
    pub fn most_lag(&self) -> Option<Nanos> {
        self.rounds.is_none().then_some(self.most_lag)
    }

    /// How late the next tick is.
    pub fn lag(&self, now: Nanos) -> Nanos {
        now - self.due
    }

    /// Whether the next tick is to be skipped.
    #[inline]
    pub fn skips(&self, now: Nanos, left_out: LeftOut) -> bool {
        now - self.due > self.most_lag || (self.rounds.is_none() && left_out.has(self.round, self.slot))
    }

    /// The next tick, if its time has come.
    #[inline]
    pub fn next(&mut self, now: Nanos) -> Option<Tick> {
        self.next_until(now, now, LeftOut::default())
    }

    /// The next tick, if it may be had at `until` already, which is not later than `now`. The share `left_out` is skipped.
    #[inline]
    pub fn next_until(&mut self, until: Nanos, now: Nanos, left_out: LeftOut) -> Option<Tick> {
        if self.next_at()? > until {
            return None;
        }
        let tick = Tick { slot: self.slot, round: self.round, due: self.due, skip: self.skips(now, left_out) };
        if !tick.skip {
            let depth = DEPTH.max(Nanos(self.gap));
            self.not_before = self.not_before.max(now - depth) + Nanos(self.gap / CATCH_UP);
        }
        self.due += Nanos(self.gap);
        self.error += self.remainder;
        if self.error >= u64::from(self.slots) {
            self.error -= u64::from(self.slots);
            self.due += Nanos(1);
        }
        self.slot += 1;
        if self.slot == self.slots {
            self.slot = 0;
            self.round += 1;
        }
        Some(tick)
    }

    /// No more ticks after this.
    pub fn stop(&mut self) {
        self.rounds = Some(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticks_at(pacer: &mut Pacer, now: Nanos) -> Vec<Tick> {
        std::iter::from_fn(|| pacer.next(now)).collect()
    }

    proptest! {
        /// Whatever the share, no slot is left out much more often than another, and no stretch of a round more than another.
        #[test]
        fn what_is_left_out_goes_round(slots in 1u32..3_000, left_out in any::<u32>(), first in 0u64..1 << 40) {
            let (share, left_out) = (f64::from(left_out) / f64::from(u32::MAX), LeftOut(left_out));
            let rounds = 300;
            let mut worst = (0.0f64, 0.0f64);
            for slot in 0..slots {
                let times = (first..first + rounds).filter(|round| left_out.has(*round, slot)).count() as f64;
                worst.0 = worst.0.max((times - share * rounds as f64).abs());
            }
            for round in first..first + 3 {
                let many = (0..slots).filter(|slot| left_out.has(round, *slot)).count() as f64;
                worst.1 = worst.1.max((many - share * f64::from(slots)).abs());
            }
            prop_assert!(worst.0 < 8.0 && worst.1 < 12.0, "{worst:?} off of {rounds} rounds and {slots} slots");
        }

        #[test]
        fn the_grid_is_exact_however_many_slots(slots in 1u32..5_000, interval in 10_000_000u64..3_600_000_000_000) {
            let start = Nanos(77);
            let mut pacer = Pacer::new(slots, Nanos(interval), start, Some(3));
            for i in 0..u64::from(slots) * 3 {
                let tick = pacer.next(Nanos::MAX).expect("rounds are not over");
                let exact = u128::from(interval) * u128::from(i) / u128::from(slots) + 77;
                prop_assert_eq!(u128::from(tick.due.0), exact);
                prop_assert_eq!(u64::from(tick.slot) + tick.round * u64::from(slots), i);
                prop_assert!(!tick.skip);
            }
            prop_assert_eq!(pacer.next(Nanos::MAX), None);
            prop_assert_eq!(pacer.next_at(), None);
        }

        /// However the caller is held up: what is handed out in any stretch is bounded by twice the pace, and each tick is either
        /// handed out or skipped, in order.
        #[test]
        fn hold_ups_lead_to_skips_and_never_to_bursts(
            slots in 1u32..2_000,
            interval_ms in 10u64..2_000,
            steps in proptest::collection::vec(prop_oneof![9 => 1u64..2_000_000, 1 => 1u64..400_000_000], 1..300),
        ) {
            let interval = Nanos::from_millis(interval_ms);
            let mut pacer = Pacer::new(slots, interval, Nanos::ZERO, None);
            let gap = interval.0 / u64::from(slots);
            let depth = DEPTH.0.max(gap);
            let mut now = Nanos::ZERO;
            let (mut expected, mut handed): (u64, Vec<Nanos>) = (0, Vec::new());
            for step in steps {
                now += Nanos(step);
                for tick in ticks_at(&mut pacer, now) {
                    prop_assert_eq!(u64::from(tick.slot) + tick.round * u64::from(slots), expected);
                    expected += 1;
                    prop_assert!(tick.due <= now);
                    prop_assert_eq!(tick.skip, now - tick.due > MOST_LAG.min(Nanos(interval.0 / 2)));
                    if !tick.skip {
                        handed.push(now);
                    }
                }
            }
            for (i, from) in handed.iter().enumerate().step_by(7) {
                let stretch = Nanos(20_000_000);
                let many = handed[i..].iter().take_while(|at| **at - *from <= stretch).count() as u64;
                prop_assert!(many <= 2 + (stretch.0 + depth) * CATCH_UP / gap.max(1), "{many} within 20 ms at a gap of {gap} ns");
            }
        }
    }

    #[test]
    fn a_count_is_kept_however_late() {
        let mut pacer = Pacer::new(4, Nanos::from_millis(10), Nanos::ZERO, Some(2));
        let mut all = Vec::new();
        let mut now = Nanos::from_secs(60);
        while pacer.next_at().is_some() {
            all.extend(ticks_at(&mut pacer, now));
            now += Nanos::from_millis(1);
        }
        assert_eq!(all.len(), 8);
        assert!(all.iter().all(|tick| !tick.skip));
    }

    #[test]
    fn without_an_interval_everything_is_due_at_once() {
        let mut pacer = Pacer::new(1_000, Nanos::ZERO, Nanos(5), Some(1));
        assert_eq!(ticks_at(&mut pacer, Nanos(5)).len(), 1_000);
        assert_eq!(pacer.next_at(), None);
    }
}
