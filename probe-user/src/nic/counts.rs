//! What was taken, what was seen, what was dropped: queue by queue.

use super::mapped::Mapped;
use crate::worker::Taken;
use crossbeam::utils::CachePadded;
use probe_ebpf::layout::taken_index;
use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
        fence,
    },
};

/// The counters of the receive queues of all ports, one flat list: `taken` by steer, `consumed` by receivers, `dropped` by sockets.
/// The queues of the first port come first.
pub(super) struct QueueCounts {
    queues: Box<[Counted]>,
    ring: u64,
}

/// One queue.
struct Counted {
    /// The port's counters.
    taken: Arc<Mapped<u64>>,
    /// Which of them is this queue's.
    word: usize,
    consumed: CachePadded<AtomicU64>,
    dropped: CachePadded<AtomicU64>,
}

impl QueueCounts {
    /// For ports with so many queues each; `ring` is what each queue's ring holds.
    pub(super) fn new(ports: impl IntoIterator<Item = (Arc<Mapped<u64>>, u32)>, ring: u64) -> Self {
        let counted = |(taken, queues): (Arc<Mapped<u64>>, u32)| {
            (0..queues).map(move |queue| Counted {
                taken: Arc::clone(&taken),
                word: taken_index(queue) as usize,
                consumed: CachePadded::default(),
                dropped: CachePadded::default(),
            })
        };
        Self { queues: ports.into_iter().flat_map(counted).collect(), ring }
    }

    /// For the queue's one receiver: it has settled so many more frames.
    pub(super) fn consume(&self, queue: usize, frames: u64) {
        // One writer, so a load and a store will do. Release: who sees the number sees what settling wrote.
        let counter = &self.queues[queue].consumed;
        counter.store(counter.load(Relaxed) + frames, Release);
    }

    /// For the one sampler: so many more are known to have been dropped.
    pub(super) fn dropped_more(&self, queue: usize, frames: u64) {
        self.queues[queue].dropped.fetch_add(frames, Release);
    }
}

impl Taken for QueueCounts {
    fn queues(&self) -> usize {
        self.queues.len()
    }

    fn taken(&self, queue: usize) -> u64 {
        let queue = &self.queues[queue];
        let taken = queue.taken.get(queue.word);
        // What is read after the count was written before it.
        fence(Acquire);
        taken
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
