//! When the link was down: written by the watcher, read by packet loops without a lock.

use crate::base::Nanos;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// How many down intervals are remembered one by one. What is older is remembered as one.
const REMEMBERED: usize = 64;

/// The interface's condition now, and when it was down. Instants are on CLOCK_MONOTONIC.
///
/// One thread writes ([`LinkState::went_down`], [`LinkState::came_up`]), any number read. A reader never waits: all it
/// does is read a word, or when that is not enough 64 intervals.
#[derive(Debug)]
pub struct LinkState {
    /// Until when the link has been down at all: zero never, MAX it is down now.
    down_until: AtomicU64,
    /// Until when intervals are no longer remembered one by one.
    forgotten_until: AtomicU64,
    /// The interval to be overwritten next.
    next: AtomicUsize,
    intervals: [Interval; REMEMBERED],
    gone: AtomicBool,
}

/// Closed on both sides. Empty while `until` is zero.
#[derive(Debug)]
struct Interval {
    since: AtomicU64,
    until: AtomicU64,
}

impl Default for LinkState {
    fn default() -> Self {
        Self::new()
    }
}

impl LinkState {
    /// A link that is up and was never seen down.
    pub fn new() -> Self {
        Self {
            down_until: AtomicU64::new(0),
            forgotten_until: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            intervals: std::array::from_fn(|_| Interval { since: AtomicU64::new(0), until: AtomicU64::new(0) }),
            gone: AtomicBool::new(false),
        }
    }

    /// Whether frames can leave and arrive now: administratively up, running, with carrier.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.down_until.load(Acquire) != u64::MAX
    }

    /// Whether the interface was removed.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// Since when the link is down, if it is.
    pub fn down_since(&self) -> Option<Nanos> {
        if self.is_up() {
            return None;
        }
        let open = self.intervals.iter().find(|interval| interval.until.load(Acquire) == u64::MAX)?;
        Some(Nanos(open.since.load(Acquire)))
    }

    /// Until when the link was down, as [`LinkState::came_up`] was told; zero if it was never down, MAX if it is down now.
    #[inline]
    pub fn down_until(&self) -> Nanos {
        Nanos(self.down_until.load(Acquire))
    }

    /// Whether the link was down at any moment of `from..=to`. Of more than the last 64 intervals it may say yes where
    /// the link was up in between, never no where it was down.
    #[inline]
    pub fn was_down_between(&self, from: Nanos, to: Nanos) -> bool {
        let down_until = self.down_until.load(Acquire);
        down_until != 0 && from.0 <= down_until && self.search(from.0, to.0)
    }

    #[cold]
    fn search(&self, from: u64, to: u64) -> bool {
        // `until` before `since`: the writer publishes them the other way round, so an `until` that belongs to a new
        // interval comes with its `since`. An interval that is overwritten while we look is in `forgotten_until`, which
        // is published before and read after.
        self.intervals.iter().any(|interval| {
            let until = interval.until.load(Acquire);
            let since = interval.since.load(Acquire);
            until != 0 && from <= until && since <= to
        }) || from <= self.forgotten_until.load(Acquire)
    }

    /// The writer's word that the link is down since then. No effect while it is down already.
    pub fn went_down(&self, since: Nanos) {
        if !self.is_up() {
            return;
        }
        let next = self.next.load(Relaxed);
        let interval = &self.intervals[next];
        let oldest = interval.until.load(Relaxed);
        self.forgotten_until.fetch_max(oldest, Release);
        interval.until.store(0, Release);
        interval.since.store(since.0, Release);
        interval.until.store(u64::MAX, Release);
        self.down_until.store(u64::MAX, Release);
    }

    /// The writer's word that the link is up again, and that until `at`, which may lie ahead, it is to be excused. No
    /// effect while it is up.
    pub fn came_up(&self, at: Nanos) {
        if self.is_up() {
            return;
        }
        let next = self.next.load(Relaxed);
        // An interval that ended at zero would read as empty.
        let until = at.0.clamp(1, u64::MAX - 1);
        self.intervals[next].until.store(until, Release);
        self.next.store((next + 1) % REMEMBERED, Relaxed);
        self.down_until.fetch_min(until, Release);
    }

    /// The writer's word that the whole machine stood still from one moment to another, as when it sleeps: nothing could leave or
    /// arrive, and what was under way is excused like by a link that was down. No effect while the link is down, which says as
    /// much.
    pub fn stood_still(&self, since: Nanos, until: Nanos) {
        if !self.is_up() {
            return;
        }
        let next = self.next.load(Relaxed);
        let interval = &self.intervals[next];
        self.forgotten_until.fetch_max(interval.until.load(Relaxed), Release);
        interval.until.store(0, Release);
        interval.since.store(since.0, Release);
        let until = until.0.clamp(1, u64::MAX - 1);
        interval.until.store(until, Release);
        self.next.store((next + 1) % REMEMBERED, Relaxed);
        self.down_until.fetch_max(until, Release);
    }

    /// The writer's word that the interface is no more.
    pub fn vanished(&self, since: Nanos) {
        self.gone.store(true, Relaxed);
        self.went_down(since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The plain model: every interval, kept for ever.
    #[derive(Default)]
    struct Model {
        intervals: Vec<(u64, u64)>,
    }

    impl Model {
        fn was_down_between(&self, from: u64, to: u64) -> bool {
            self.intervals.iter().any(|&(since, until)| from <= until && since <= to)
        }

        /// Until when the ring may answer for all that came before.
        fn forgotten_until(&self) -> u64 {
            let kept = self.intervals.len().saturating_sub(REMEMBERED);
            self.intervals[..kept].iter().map(|interval| interval.1).max().unwrap_or(0)
        }
    }

    fn agrees(link: &LinkState, model: &Model, from: u64, to: u64) -> bool {
        let truth = model.was_down_between(from, to);
        let said = link.was_down_between(Nanos(from), Nanos(to));
        if from <= model.forgotten_until() { said || !truth } else { said == truth }
    }

    proptest! {
        #[test]
        fn the_ring_agrees_with_a_plain_list(
            steps in prop::collection::vec((1_u64..50, 1_u64..50), 0..200),
            queries in prop::collection::vec((0_u64..12_000, 0_u64..100), 1..200),
            end_down: bool,
        ) {
            let link = LinkState::new();
            let mut model = Model::default();
            let mut at = 0;
            for (up, down) in &steps {
                at += up;
                link.went_down(Nanos(at));
                prop_assert!(!link.is_up());
                prop_assert_eq!(link.down_since(), Some(Nanos(at)));
                let since = at;
                at += down;
                link.came_up(Nanos(at));
                prop_assert!(link.is_up());
                prop_assert_eq!(link.down_until(), Nanos(at));
                model.intervals.push((since, at));
            }
            if end_down {
                at += 7;
                link.went_down(Nanos(at));
                model.intervals.push((at, u64::MAX));
            }
            for (from, length) in queries {
                prop_assert!(agrees(&link, &model, from, from + length), "{from}..={}", from + length);
            }
        }
    }

    #[test]
    fn what_is_forgotten_counts_as_down() {
        let link = LinkState::new();
        for round in 0..=REMEMBERED as u64 {
            link.went_down(Nanos(100 * round + 10));
            link.came_up(Nanos(100 * round + 20));
        }
        assert!(link.was_down_between(Nanos(0), Nanos(5)), "the oldest interval is forgotten: no one can say no");
        assert!(!link.was_down_between(Nanos(30), Nanos(40)));
        assert!(link.was_down_between(Nanos(120), Nanos(130)));
    }

    #[test]
    fn a_machine_that_stood_still_is_excused_and_its_link_is_up() {
        let link = LinkState::new();
        link.went_down(Nanos(10));
        link.came_up(Nanos(20));
        link.stood_still(Nanos(100), Nanos(150));
        assert!(link.is_up() && link.down_since().is_none());
        for (from, to, excused) in
            [(5, 15, true), (21, 99, false), (90, 100, true), (150, 160, true), (151, 160, false)]
        {
            assert_eq!(link.was_down_between(Nanos(from), Nanos(to)), excused, "{from}..={to}");
        }
        link.went_down(Nanos(200));
        link.stood_still(Nanos(210), Nanos(220));
        assert!(!link.is_up());
        link.came_up(Nanos(300));
        assert_eq!(link.down_until(), Nanos(300));
    }

    #[test]
    fn saying_it_twice_changes_nothing() {
        let link = LinkState::new();
        link.came_up(Nanos(5));
        assert_eq!(link.down_until(), Nanos::ZERO);
        link.went_down(Nanos(10));
        link.went_down(Nanos(20));
        assert_eq!(link.down_since(), Some(Nanos(10)));
        link.came_up(Nanos(30));
        link.came_up(Nanos(40));
        assert_eq!(link.down_until(), Nanos(30));
        assert!(!link.was_down_between(Nanos(31), Nanos::MAX));
    }

    /// A reader that races with the writer never misses an interval that it was told of before it began.
    #[test]
    fn a_racing_reader_misses_nothing() {
        let link = LinkState::new();
        let told = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..200_000_u64 {
                    link.went_down(Nanos(round * 10));
                    link.came_up(Nanos(round * 10 + 1));
                    told.store(round, Release);
                }
                told.store(u64::MAX, Release);
            });
            loop {
                let round = told.load(Acquire);
                if round == u64::MAX {
                    break;
                }
                if round > 0 {
                    assert!(link.was_down_between(Nanos(round * 10), Nanos(round * 10 + 1)), "round {round}");
                }
            }
        });
    }
}
