//! Past which moment have all receive queues been drained? DESIGN, subtle part 2.

use super::{Clock, Taken};
use crate::base::Nanos;

/// Follows the numbers of all queues. Everything that was stamped before [`Drained::past`] has been settled, or is known to have been
/// dropped.
///
/// Of the frames taken before a moment, those in the ring come out in order; so once as many have been consumed as were taken
/// less those that *by then* were known to be dropped, all have been seen. A drop that becomes known later may be of a later frame
/// and says nothing about the moment: then a new moment is taken.
#[derive(Debug)]
pub(super) struct Drained {
    past: Nanos,
    candidate: Nanos,
    /// By queue: frames that must have been consumed for the candidate to hold, and the drops known when it was taken.
    wanted: Vec<(u64, u64)>,
}

impl Drained {
    /// For `queues` queues.
    pub(super) fn new(queues: usize) -> Self {
        Self { past: Nanos::ZERO, candidate: Nanos::ZERO, wanted: vec![(0, 0); queues] }
    }

    /// Looks at the numbers again.
    #[inline]
    pub(super) fn past(&mut self, clock: &impl Clock, taken: &dyn Taken) -> Nanos {
        let holds = self.holds(taken);
        if holds {
            self.past = self.candidate;
        }
        if holds || self.is_outdated(taken) {
            // Known drops first, then the clock, then what was taken: a frame that is stamped before the moment is in `taken`, and
            // a drop that is in `dropped` is of such a frame.
            for (queue, (_, dropped)) in self.wanted.iter_mut().enumerate() {
                *dropped = taken.dropped(queue);
            }
            self.candidate = clock.now();
            // A queue that was added since has taken nothing that is older than this list of queues was. It is counted among them
            // before its first frame is taken, so one that isn't yet has taken nothing before the moment.
            if self.wanted.len() < taken.queues() {
                self.wanted.resize(taken.queues(), (0, 0));
            }
            for (queue, (wanted, dropped)) in self.wanted.iter_mut().enumerate() {
                *wanted = taken.taken(queue).saturating_sub(*dropped);
            }
            if self.holds(taken) {
                self.past = self.candidate;
            }
        }
        self.past
    }

    fn holds(&self, taken: &dyn Taken) -> bool {
        self.wanted.iter().enumerate().all(|(queue, (wanted, _))| taken.consumed(queue) >= *wanted)
    }

    fn is_outdated(&self, taken: &dyn Taken) -> bool {
        self.wanted.iter().enumerate().any(|(queue, (_, dropped))| taken.dropped(queue) != *dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    #[derive(Default)]
    struct Queue([AtomicU64; 4]);

    impl Clock for &Queue {
        fn now(&self) -> Nanos {
            Nanos(self.0[3].load(Relaxed))
        }
    }

    impl Taken for Queue {
        fn queues(&self) -> usize {
            1
        }
        fn taken(&self, _: usize) -> u64 {
            self.0[0].load(Relaxed)
        }
        fn consumed(&self, _: usize) -> u64 {
            self.0[1].load(Relaxed)
        }
        fn dropped(&self, _: usize) -> u64 {
            self.0[2].load(Relaxed)
        }
        fn ring(&self) -> u64 {
            u64::MAX
        }
    }

    #[test]
    fn a_queue_is_drained_when_all_that_was_taken_before_has_been_seen() {
        let queue = Queue::default();
        let [taken, consumed, dropped, clock] = &queue.0;
        let mut drained = Drained::new(1);
        clock.store(100, Relaxed);
        assert_eq!(drained.past(&&queue, &queue), Nanos(100), "nothing owed");
        taken.store(3, Relaxed);
        clock.store(200, Relaxed);
        assert_eq!(drained.past(&&queue, &queue), Nanos(100), "three frames are owed");
        consumed.store(2, Relaxed);
        taken.store(9, Relaxed);
        clock.store(300, Relaxed);
        assert_eq!(drained.past(&&queue, &queue), Nanos(100), "one of the three is still owed");
        dropped.store(1, Relaxed);
        assert_eq!(
            drained.past(&&queue, &queue),
            Nanos(100),
            "the dropped frame may be one of the six that came later"
        );
        consumed.store(7, Relaxed);
        assert_eq!(drained.past(&&queue, &queue), Nanos(100), "eight of nine were not dropped");
        consumed.store(8, Relaxed);
        clock.store(400, Relaxed);
        assert_eq!(drained.past(&&queue, &queue), Nanos(400));
    }
}
