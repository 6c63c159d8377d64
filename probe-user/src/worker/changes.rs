//! Changes of state, on their way from sender threads to whoever tells people.

use crate::base::{Nanos, State, TargetIndex};
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Relaxed, Release},
};

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
    /// Whose state has changed, for whoever looks in the ledger what it is now.
    whose: Option<ArrayQueue<TargetIndex>>,
    /// Some found that queue full.
    some_missed: AtomicBool,
}

impl Changes {
    /// For so many targets.
    pub fn new(targets: usize) -> Self {
        let queue = ArrayQueue::new(targets.clamp(*ROOM.start(), *ROOM.end()));
        Self { queue, dropped: AtomicU64::new(0), whose: None, some_missed: AtomicBool::new(false) }
    }

    /// And somebody else wants to know whose they are, whoever takes the changes and however long that takes.
    #[must_use]
    pub fn watched(self) -> Self {
        let whose = Some(ArrayQueue::new(self.queue.capacity()));
        Self { whose, ..self }
    }

    /// Adds a change.
    pub fn push(&self, transition: Transition) {
        if self.queue.push(transition).is_err() {
            self.lose(1);
        }
        if let Some(whose) = &self.whose
            && whose.push(transition.target).is_err()
        {
            self.some_missed.store(true, Release);
        }
    }

    /// Whose state has changed, the first first.
    pub fn whose(&self) -> Option<TargetIndex> {
        self.whose.as_ref()?.pop()
    }

    /// Whether others have changed since somebody last asked, and nobody knows whose.
    pub fn some_missed(&self) -> bool {
        self.some_missed.swap(false, AcqRel)
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
        assert!(changes.whose().is_none() && !changes.some_missed(), "nobody wants to know whose");
    }

    #[test]
    fn whose_they_are_is_known_whoever_has_taken_them() {
        let changes = Changes::new(1).watched();
        let change = |n| Transition { target: TargetIndex(n), from: State::Up, to: State::Down, at: Nanos::ZERO };
        (0..1_024).for_each(|n| changes.push(change(n)));
        assert!(changes.pop().is_some() && !changes.some_missed());
        changes.push(change(7));
        assert!(changes.some_missed() && !changes.some_missed(), "told once");
        let whose: Vec<u32> = std::iter::from_fn(|| changes.whose()).map(|target| target.0).collect();
        assert_eq!(whose, (0..1_024).collect::<Vec<_>>(), "in order");
        assert_eq!(changes.dropped(), 0, "that is another queue");
    }
}
