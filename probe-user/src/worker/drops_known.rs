//! How long a probe without an answer waits until it is known what this machine dropped.

use crate::{base::Nanos, ledger::unheard::DropLog, targets::Group};

/// Between looks at whether it is known: counters are read some 200 times a second at most.
const LOOK: Nanos = Nanos::from_millis(2);
/// No probe waits longer: whoever reads the counters may have died.
const MOST: Nanos = Nanos::from_secs(5);

/// For a walk: its probes land in order, so only the next one has to wait.
#[derive(Debug)]
pub(super) struct DropsKnown {
    /// For so long a probe may wait: its place must be free when the next probe needs it.
    most: Nanos,
    /// Since when the counts have been behind; MAX while they aren't.
    since: Nanos,
    is_waiting: bool,
}

impl DropsKnown {
    /// Of a group with so many places in its windows.
    pub(super) fn new(group: &Group, places: u32) -> Self {
        let every = Nanos(u64::from(places).saturating_mul(group.interval.0));
        let spare = every - group.timeout - group.interval - group.interval;
        // Whose places are all used once has all the time.
        let is_once = group.count.is_some_and(|count| count <= u64::from(places));
        Self { most: if is_once { MOST } else { spare.min(MOST) }, since: Nanos::MAX, is_waiting: false }
    }

    /// Whether the next probe to land, whose deadline is this, has to wait: it got no answer, and it is not known yet whether this
    /// machine dropped one. `past` is the moment past which all queues have been drained.
    #[inline]
    pub(super) fn waits(
        &mut self,
        drops: &DropLog,
        deadline: Option<Nanos>,
        past: Nanos,
        is_pending: impl FnOnce() -> bool,
    ) -> bool {
        self.is_waiting = false;
        let Some(deadline) = deadline.filter(|deadline| *deadline < past) else { return false };
        if drops.is_noted(deadline) {
            self.since = Nanos::MAX;
            return false;
        }
        if !is_pending() {
            return false;
        }
        drops.ask();
        // From when it was seen, not from the deadline: a machine that stood still reads its counters after that.
        self.since = self.since.min(past);
        self.is_waiting = past - self.since < self.most;
        self.is_waiting
    }

    /// When to look again, if something waits.
    #[inline]
    pub(super) fn look_at(&self, now: Nanos) -> Nanos {
        if self.is_waiting { now + LOOK } else { now }
    }
}

/// Past which moment probes may be judged that do not land in order, where all queues have been drained past `past`.
#[inline]
pub(super) fn judged_until(drops: &DropLog, past: Nanos) -> Nanos {
    if drops.is_noted(past) {
        return past;
    }
    drops.ask();
    drops.noted().min(past).max(past - MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    fn group(interval: u64, count: Option<u64>) -> Group {
        Group { interval: at(interval), timeout: at(1_000), count, ..Group::named("g") }
    }

    #[test]
    fn who_got_no_answer_waits_until_the_drops_are_known() {
        let (drops, mut known) = (DropLog::default(), DropsKnown::new(&group(1_000, None), 8));
        assert!(!known.waits(&drops, Some(at(10)), at(20), || true), "nobody counts late");
        drops.noted_until(at(5));
        assert!(!known.waits(&drops, None, at(20), || true));
        assert!(!known.waits(&drops, Some(at(30)), at(20), || true), "not due");
        assert!(!known.waits(&drops, Some(at(10)), at(20), || false), "answered");
        assert!(!drops.is_asked());
        assert!(known.waits(&drops, Some(at(10)), at(20), || true));
        assert!(drops.is_asked());
        assert_eq!(known.look_at(at(20)), at(22));
        drops.noted_until(at(10));
        assert!(!known.waits(&drops, Some(at(10)), at(40), || true));
        assert_eq!(known.look_at(at(40)), at(40));
    }

    #[test]
    fn nobody_waits_for_ever() {
        let drops = DropLog::default();
        drops.noted_until(at(0));
        // 8 places of 1 s, less the timeout and two: 5 s; 4 places: 1 s; each place used once: 5 s again.
        for (places, count, most) in [(8, None, 5_000), (4, None, 1_000), (4, Some(2), 5_000)] {
            let mut known = DropsKnown::new(&group(1_000, count), places);
            assert!(known.waits(&drops, Some(at(10)), at(100_000), || true), "however late it is seen");
            assert!(known.waits(&drops, Some(at(10)), at(99_999 + most), || true));
            assert!(!known.waits(&drops, Some(at(10)), at(100_000 + most), || true));
            assert!(!known.waits(&drops, Some(at(20)), at(100_001 + most), || true), "nor does the next");
        }
    }

    #[test]
    fn what_lands_out_of_order_waits_as_well() {
        let drops = DropLog::default();
        assert_eq!(judged_until(&drops, at(70_000)), at(70_000));
        drops.noted_until(at(69_900));
        assert_eq!(judged_until(&drops, at(70_000)), at(69_900));
        drops.noted_until(at(10));
        assert_eq!(judged_until(&drops, at(70_000)), at(65_000));
    }
}
