//! New runs, on their way from a control thread to the sender that is to walk them; and what is left of old ones, on its way back: loops
//! free nothing that is large.

use super::{debts::Debts, walk::Walk};
use crossbeam::queue::SegQueue;
use std::fmt;

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
    new: SegQueue<NewWalk>,
    old: SegQueue<NewWalk>,
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orders").field("new", &self.new.len()).field("old", &self.old.len()).finish()
    }
}

impl Orders {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty()
    }

    pub(super) fn put(&self, new: NewWalk) {
        self.new.push(new);
    }

    pub(super) fn take(&self) -> Option<NewWalk> {
        self.new.pop()
    }

    pub(super) fn put_back(&self, old: NewWalk) {
        self.old.push(old);
    }

    /// Frees what has been given back. Control threads call this.
    pub(super) fn clear(&self) {
        while self.old.pop().is_some() {}
    }
}
