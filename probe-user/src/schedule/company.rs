//! How long a due probe waits for others, so that they leave together.
//!
//! A wake-up and a call cost as much as sending ten probes. At ordinary rates most probes would have both to themselves.

use crate::base::Nanos;

/// The longest wait.
const MOST: Nanos = Nanos::from_micros(500);
/// The longest wait below [`SLOW`] probes a second.
const MOST_SLOW: Nanos = Nanos::from_millis(1);
/// Probes a second.
const SLOW: u64 = 5_000;
/// The wait is at most this part of the shortest interval: half a millisecond of a hundred.
const OF_INTERVAL: u64 = 200;
/// Nobody waits for more company than this: a longer burst would only be a burst.
const ENOUGH: u64 = 64;

/// Says when due probes leave: once the first of them has waited, all that are due by then.
#[derive(Clone, Copy, Debug)]
pub struct Company {
    wait: Nanos,
    /// What is due by this moment may leave.
    released: Nanos,
}

impl Company {
    /// For runs of so many slots at such an interval each, which one sender sends together. An interval of zero is as fast as it
    /// goes.
    pub fn new(runs: impl Iterator<Item = (u32, Nanos)> + Clone) -> Self {
        let shortest = runs.clone().map(|(_, interval)| interval.0).min().unwrap_or(0);
        // Zero where as fast as it goes: nobody waits there.
        let share =
            |(slots, interval): (u32, Nanos)| u64::from(slots).saturating_mul(1_000_000_000) / interval.0.max(1);
        let rate = runs.map(share).fold(0, u64::saturating_add);
        let most = if rate < SLOW { MOST_SLOW } else { MOST };
        let wait = most.0.min(shortest / OF_INTERVAL).min(ENOUGH * 1_000_000_000 / rate.max(1));
        // Where nobody else comes due meanwhile there is nothing to wait for.
        let alone = u128::from(wait) * u128::from(rate) < 1_000_000_000;
        Self { wait: Nanos(if alone { 0 } else { wait }), released: Nanos::ZERO }
    }

    /// What is due by the moment returned may leave. `first`: when the first is due.
    #[inline]
    pub fn release(&mut self, first: Nanos, now: Nanos) -> Nanos {
        // Also for one that might have left before: who was held up so long has kept the others waiting long enough.
        if first.0.saturating_add(self.wait.0) <= now.0 {
            self.released = now;
        }
        self.released
    }

    /// When to look again, the first being due at `first`.
    #[inline]
    pub fn leaves_at(&self, first: Nanos) -> Nanos {
        if first <= self.released { first } else { Nanos(first.0.saturating_add(self.wait.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{LeftOut, Pacer};
    use proptest::prelude::*;

    fn wait(slots: u32, interval: Nanos) -> Nanos {
        Company::new([(slots, interval)].into_iter()).wait
    }

    #[test]
    fn the_wait_follows_rate_and_interval() {
        let second = Nanos::from_secs(1);
        assert_eq!(wait(1, second), Nanos::ZERO, "nobody else is coming");
        assert_eq!(wait(999, second), Nanos::ZERO);
        assert_eq!(wait(1_000, second), Nanos::from_millis(1), "the next one");
        assert_eq!(wait(10_000, second), Nanos::from_micros(500));
        assert_eq!(wait(300_000, second), Nanos(213_333), "64 of them");
        assert_eq!(wait(1_000, Nanos::from_millis(10)), Nanos::from_micros(50), "short intervals have little to give");
        assert_eq!(wait(1_000_000, Nanos::ZERO), Nanos::ZERO, "as fast as it goes");
        let two = Company::new([(500, second), (500, second)].into_iter());
        assert_eq!(two.wait, Nanos::from_millis(1), "groups are company for each other");
    }

    /// A pacer without an interval lets its ticks go at most a millisecond back: that is ahead of what was released before.
    #[test]
    fn as_fast_as_it_goes_every_turn_has_a_full_batch() {
        let mut now = Nanos::from_secs(1);
        let mut pacer = Pacer::new(1_000_000, Nanos::ZERO, now, Some(1));
        let mut company = Company::new([(1_000_000, Nanos::ZERO)].into_iter());
        for _ in 0..100 {
            let until = company.release(pacer.next_at().expect("rounds are not over"), now);
            let batch = std::iter::from_fn(|| pacer.next_until(until, now, LeftOut::default())).take(2_048);
            assert_eq!(batch.count(), 2_048);
            now += Nanos::from_millis(2);
        }
    }

    proptest! {
        /// Whenever the caller looks: nothing leaves before it is due, nothing waits longer than the wait and one look, and what a
        /// batch had no room for leaves without another wait.
        #[test]
        fn nothing_is_early_and_nothing_waits_too_long(
            slots in 1u32..50_000,
            looks in proptest::collection::vec(1u64..300_000, 1..400),
            batch in 1usize..100,
        ) {
            let interval = Nanos::from_secs(1);
            let mut pacer = Pacer::new(slots, interval, Nanos::from_secs(1), Some(1_000));
            let mut company = Company::new([(slots, interval)].into_iter());
            let mut now = Nanos::from_secs(1);
            let mut before = now;
            for look in looks {
                let mut left = 0;
                let mut latest = Nanos::ZERO;
                loop {
                    let first = pacer.next_at().expect("rounds are not over");
                    let until = company.release(first, now);
                    prop_assert!(until <= now);
                    let Some(tick) = (left < batch).then(|| pacer.next_until(until, now, LeftOut::default())).flatten() else {
                        prop_assert!(
                            left == batch || first > now || first + company.wait > now,
                            "the first has waited and doesn't leave"
                        );
                        if left == batch && first <= until {
                            prop_assert_eq!(company.leaves_at(first), first, "what is left over does not wait again");
                        }
                        break;
                    };
                    prop_assert!(tick.due <= now);
                    left += 1;
                    latest = latest.max(now - tick.due);
                }
                // Within reach of a sender that keeps up.
                if left < batch && slots <= 1_000 {
                    prop_assert!(latest <= company.wait + (now - before) + (now - before) + Nanos::from_millis(2), "{latest}");
                }
                before = now;
                now += Nanos(look);
            }
        }
    }
}
