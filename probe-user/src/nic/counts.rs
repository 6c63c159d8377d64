//! What was taken, what was seen, what was dropped: queue by queue.

use super::mapped::Mapped;
use crate::worker::Taken;
use crossbeam::utils::CachePadded;
use probe_ebpf::layout::{limit, limit_index, refused_index, taken_index};
use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// The counters of the receive queues of all ports, one flat list: `taken` by steer, `consumed` by receivers, `dropped` by sockets
/// and, where these have no room, by steer.
/// The queues of the first port come first, those that come later are last.
pub(super) struct QueueCounts {
    /// It only grows.
    queues: boxcar::Vec<Counted>,
    ring: u64,
}

/// One queue.
struct Counted {
    /// What the port's program counts, and is told.
    words: Arc<Mapped<u64>>,
    /// Which of the port's queues it is.
    own: u32,
    consumed: CachePadded<AtomicU64>,
    dropped: CachePadded<AtomicU64>,
    /// Of those dropped, the ones that steer did not drop itself.
    lost: AtomicU64,
}

impl Counted {
    fn word(&self, index: fn(u32) -> u32) -> &AtomicU64 {
        self.words.word(index(self.own) as usize)
    }
}

impl QueueCounts {
    /// Of no queue so far; `ring` is what each queue's ring holds.
    pub(super) fn new(ring: u64) -> Self {
        Self { queues: boxcar::Vec::new(), ring }
    }

    /// One queue more, before steer takes the first frame for it: the port's queue number `own`. Returns its number among all.
    pub(super) fn add(&self, words: &Arc<Mapped<u64>>, own: u32) -> usize {
        let queue = self.queues.push(Counted {
            words: Arc::clone(words),
            own,
            consumed: CachePadded::default(),
            dropped: CachePadded::default(),
            lost: AtomicU64::new(0),
        });
        self.allow(queue);
        queue
    }

    /// For the queue's one receiver: it has settled so many more frames.
    pub(super) fn consume(&self, queue: usize, frames: u64) {
        // One writer, so a load and a store will do. Release: who sees the number sees what settling wrote.
        let counter = &self.queues[queue].consumed;
        counter.store(counter.load(Relaxed) + frames, Release);
    }

    /// For the queue's one receiver, each time that it has looked at the queue: lets steer take as many frames as the ring has room
    /// for, and no more.
    ///
    /// In the ring are the frames taken less those consumed, lost on the way and refused. Numbers that are read too early only make
    /// the limit lower than it could be, and the next look puts that right: whatever was refused meanwhile is counted as refused by
    /// then. So it is not enough to do this when frames came.
    pub(super) fn allow(&self, queue: usize) {
        let queue = &self.queues[queue];
        let (consumed, lost) = (queue.consumed.load(Relaxed), queue.lost.load(Acquire));
        let allowed = limit(consumed, lost, queue.word(refused_index).load(Acquire), self.ring);
        let limit = queue.word(limit_index);
        // Written only when it changes: steer counts on the same cache line.
        if limit.load(Relaxed) != allowed {
            // Release: whoever sees the limit finds the places in the ring free.
            limit.store(allowed, Release);
        }
    }

    /// Frames that steer itself has dropped for want of room.
    pub(super) fn refused(&self, queue: usize) -> u64 {
        self.queues[queue].word(refused_index).load(Acquire)
    }

    /// For the one sampler: so many more are known to have been dropped, by steer and behind it.
    pub(super) fn dropped_more(&self, queue: usize, refused: u64, lost: u64) {
        let queue = &self.queues[queue];
        queue.lost.fetch_add(lost, Release);
        queue.dropped.fetch_add(refused + lost, Release);
    }
}

impl Taken for QueueCounts {
    fn queues(&self) -> usize {
        self.queues.count()
    }

    fn taken(&self, queue: usize) -> u64 {
        // Acquire: what is read after the count was written before it.
        self.queues[queue].word(taken_index).load(Acquire)
    }

    fn consumed(&self, queue: usize) -> u64 {
        self.queues[queue].consumed.load(Acquire)
    }

    fn dropped(&self, queue: usize) -> u64 {
        self.queues[queue].dropped.load(Acquire)
    }

    fn ring(&self) -> u64 {
        self.ring
    }
}
