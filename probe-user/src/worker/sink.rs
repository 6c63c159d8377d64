//! The queue between a loop and the writer.

use crate::base::Settlement;
use crossbeam::{queue::ArrayQueue, utils::CachePadded};
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// A queue for the loop threads that holds at most `capacity` records (at least one).
///
/// The writer naps for up to 8 ms when there is little to write: a queue that holds 20 ms of the highest rate does not
/// overflow when a burst begins.
///
/// The writer is finished with it when every clone of the sink has been dropped and everything pushed before that has been taken.
pub fn queue(capacity: usize) -> (Sink, Queue) {
    let shared = Arc::new(Shared {
        records: ArrayQueue::new(capacity.max(1)),
        dropped: CachePadded::new(AtomicU64::new(0)),
        sinks: AtomicUsize::new(1),
    });
    (Sink(Some(Arc::clone(&shared))), Queue(shared))
}

#[derive(Debug)]
struct Shared {
    records: ArrayQueue<Settlement>,
    /// Pushed while there was no room.
    dropped: CachePadded<AtomicU64>,
    /// Clones of the sink that are still there.
    sinks: AtomicUsize,
}

/// Where a loop puts what it has settled. Never waits and never allocates.
#[derive(Debug)]
pub struct Sink(Option<Arc<Shared>>);

impl Sink {
    /// A sink for runs whose results nobody asked for: takes everything and keeps nothing.
    pub const fn discard() -> Self {
        Self(None)
    }

    /// Whether somebody wants what is put here.
    pub const fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a record over. False: there was no room; it is gone, and counted.
    #[inline]
    pub fn push(&self, settled: Settlement) -> bool {
        let Some(shared) = &self.0 else { return true };
        let taken = shared.records.push(settled).is_ok();
        if !taken {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// How many records there is room for: a sweep slows down before it is none.
    pub fn free(&self) -> usize {
        self.0.as_ref().map_or(usize::MAX, |shared| shared.records.capacity() - shared.records.len())
    }

    /// How many records wait for the writer.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |shared| shared.records.len())
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many records found no room.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
    }
}

/// One that discards.
impl Default for Sink {
    fn default() -> Self {
        Self::discard()
    }
}

impl Clone for Sink {
    fn clone(&self) -> Self {
        if let Some(shared) = &self.0 {
            shared.sinks.fetch_add(1, Ordering::Relaxed);
        }
        Self(self.0.clone())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            // Release: who sees them all gone also sees every record.
            shared.sinks.fetch_sub(1, Ordering::Release);
        }
    }
}

/// The writer's end of a [`Sink`].
#[derive(Debug)]
pub struct Queue(Arc<Shared>);

impl Queue {
    /// The oldest record, if any.
    pub(crate) fn pop(&self) -> Option<Settlement> {
        self.0.records.pop()
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.records.is_empty()
    }

    /// How many records fit.
    pub(crate) fn capacity(&self) -> usize {
        self.0.records.capacity()
    }

    /// Whether every sink is gone: what can still be popped is all there will be.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.sinks.load(Ordering::Acquire) == 0
    }

    /// A handle on what has not been taken out, that outlives the queue.
    pub(crate) fn backlog(&self) -> Backlog {
        Backlog(Arc::clone(&self.0))
    }
}

/// What has not been taken out of a queue.
#[derive(Debug)]
pub(crate) struct Backlog(Arc<Shared>);

impl Backlog {
    /// How many records found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.0.records.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::samples::lost;

    #[test]
    fn a_full_queue_counts_what_it_refuses() {
        let (sink, queue) = queue(2);
        assert_eq!(sink.free(), 2);
        assert!(sink.push(lost(0)) && sink.push(lost(1)));
        assert!(!sink.push(lost(2)));
        assert_eq!((sink.free(), sink.len(), sink.dropped()), (0, 2, 1));
        assert_eq!(queue.pop(), Some(lost(0)));
        let other = sink.clone();
        assert!(other.push(lost(3)));
        drop(sink);
        assert!(!queue.is_closed());
        drop(other);
        assert!(queue.is_closed());
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(lost(1)), Some(lost(3)), None));
    }

    #[test]
    fn a_sink_that_discards_is_never_full() {
        let sink = Sink::discard();
        assert!((0..100).all(|i| sink.push(lost(i))));
        assert_eq!((sink.free(), sink.len(), sink.dropped()), (usize::MAX, 0, 0));
    }
}
