//! Changes of state, on their way from sender threads to whoever tells people.

use crate::base::{Nanos, State, TargetIndex};
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Changes that may wait: those of everybody at once, within these bounds.
const ROOM: std::ops::RangeInclusive<usize> = 1_024..=1 << 17;

/// A target's change of state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transition {
    /// Whose.
    pub target: TargetIndex,
    /// What it was held to be.
    pub from: State,
    /// What it is now.
    pub to: State,
    /// When it was decided, CLOCK_MONOTONIC.
    pub at: Nanos,
}

/// A bounded queue of them. Who pushes never waits: what finds it full is counted and gone.
#[derive(Debug)]
pub struct Changes {
    queue: ArrayQueue<Transition>,
    dropped: AtomicU64,
}

impl Changes {
    /// For so many targets.
    pub fn new(targets: usize) -> Self {
        Self { queue: ArrayQueue::new(targets.clamp(*ROOM.start(), *ROOM.end())), dropped: AtomicU64::new(0) }
    }

    /// Adds a change.
    pub fn push(&self, transition: Transition) {
        if self.queue.push(transition).is_err() {
            self.lose(1);
        }
    }

    /// Takes the oldest.
    pub fn pop(&self) -> Option<Transition> {
        self.queue.pop()
    }

    /// Counts events that nobody will be told of.
    pub fn lose(&self, events: u64) {
        self.dropped.fetch_add(events, Relaxed);
    }

    /// Events that nobody was told of.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_the_queue_full_is_counted() {
        let changes = Changes::new(1);
        for n in 0..1_030 {
            let (from, to) = (State::Up, State::Down);
            changes.push(Transition { target: TargetIndex(n), from, to, at: Nanos::ZERO });
        }
        assert_eq!(changes.dropped(), 6);
        assert_eq!(std::iter::from_fn(|| changes.pop()).count(), 1_024);
    }
}
