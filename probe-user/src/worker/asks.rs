//! Probes that somebody asks for one by one, on their way to the sender that sends them: those of a path, whose next hop to ask for follows
//! from what was heard of the ones before.

use crate::base::{ProbeNumber, TargetIndex};
use crossbeam::queue::ArrayQueue;

/// What may wait for one sender: at a million a second, what it sends in some milliseconds.
const ROOM: usize = 8_192;

/// A probe that is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// To whom: a target of a group whose probes are asked for.
    pub target: TargetIndex,
    /// Its number, which says its time to live. No other probe to the target may be in flight whose answers would say the same of theirs.
    pub number: ProbeNumber,
}

/// What waits for a sender. One control thread asks, it takes.
#[derive(Debug)]
pub struct Asks(ArrayQueue<Ask>);

impl Asks {
    /// With room where somebody asks.
    pub(super) fn new(is_asked: bool) -> Self {
        Self(ArrayQueue::new(if is_asked { ROOM } else { 1 }))
    }

    /// Asks for a probe. Whether there was room.
    pub fn put(&self, ask: Ask) -> bool {
        self.0.push(ask).is_ok()
    }

    /// How many may be asked for now.
    pub fn room(&self) -> usize {
        self.0.capacity() - self.0.len()
    }

    #[inline]
    pub(super) fn take(&self) -> Option<Ask> {
        self.0.pop()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
