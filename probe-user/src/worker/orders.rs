//! New runs, on their way from a control thread to the sender that is to walk them; and what is left of old ones, on its way back: loops
//! free nothing that is large.

use super::{debts::Debts, walk::Walk};
use crossbeam::queue::SegQueue;
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// A walk that is to begin, or one that is over.
pub(super) struct NewWalk {
    // In a box: what is handed over is a word.
    pub(super) walk: Box<Walk>,
    /// Room for what its targets may come to owe.
    pub(super) debts: Debts,
}

/// What waits for one sender, and what it has given back.
#[derive(Default)]
pub struct Orders {
    /// A loop looks whether it is free, and comes back later if not. Of a queue without locks it would wait for whoever is putting something
    /// in; and who gives way to the loop on its CPU may stand in the middle of that for long.
    new: Mutex<VecDeque<NewWalk>>,
    /// How many there are, as far as is known without the lock.
    many: AtomicUsize,
    old: SegQueue<NewWalk>,
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orders").field("new", &self.many).field("old", &self.old.len()).finish()
    }
}

impl Orders {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.many.load(Relaxed) == 0
    }

    pub(super) fn put(&self, new: NewWalk) {
        let mut waiting = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(new);
        self.many.store(waiting.len(), Relaxed);
    }

    /// None: there is none, or one is being put in.
    pub(super) fn take(&self) -> Option<NewWalk> {
        let mut waiting = self.new.try_lock().ok()?;
        let taken = waiting.pop_front();
        self.many.store(waiting.len(), Relaxed);
        taken
    }

    pub(super) fn put_back(&self, old: NewWalk) {
        self.old.push(old);
    }

    /// Frees what has been given back. Control threads call this.
    pub(super) fn clear(&self) {
        while self.old.pop().is_some() {}
    }
}
