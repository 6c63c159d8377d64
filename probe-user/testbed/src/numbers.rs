//! What the one queue of a simulated network counts.

use echolot::{
    base::Nanos,
    worker::{Link, Taken},
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The numbers of the one queue.
#[derive(Debug, Default)]
pub struct Numbers {
    pub(crate) taken: AtomicU64,
    pub(crate) consumed: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// A stalled receiver takes nothing.
    pub(crate) stalled: AtomicBool,
}

impl Taken for Numbers {
    fn queues(&self) -> usize {
        1
    }
    fn taken(&self, _: usize) -> u64 {
        self.taken.load(Relaxed)
    }
    fn consumed(&self, _: usize) -> u64 {
        self.consumed.load(Relaxed)
    }
    fn dropped(&self, _: usize) -> u64 {
        self.dropped.load(Relaxed)
    }
    fn ring(&self) -> u64 {
        u64::MAX
    }
}

impl Link for Numbers {
    fn is_up(&self) -> bool {
        true
    }
    fn was_down(&self, _: Nanos, _: Nanos) -> bool {
        false
    }
}
