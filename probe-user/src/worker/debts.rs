//! What targets owe: changes to *down* of which it is not known yet whether the way to them was there.

use crate::base::{Generation, Nanos, TargetIndex};
use std::collections::VecDeque;

/// What targets owe, in order.
pub(super) struct Debts {
    pub(super) queue: VecDeque<Debt>,
}

impl Debts {
    /// With room for one of each of so many.
    pub(super) fn of(targets: usize) -> Self {
        Self { queue: VecDeque::with_capacity(targets) }
    }
}

pub(super) fn has_room(debts: &&mut Debts) -> bool {
    debts.queue.len() < debts.queue.capacity()
}

/// A target that is down if the way to it was alive when it failed to answer.
#[derive(Clone, Copy)]
pub(super) struct Debt {
    pub(super) target: TargetIndex,
    /// Which of the slot's targets.
    pub(super) generation: Generation,
    /// Low bits of the number of the probe that it failed to answer: they say by which way it went.
    pub(super) number: u8,
    /// Of that probe.
    pub(super) deadline: Nanos,
}

/// There are as many as targets.
const _: () = assert!(size_of::<Debt>() == 16);
