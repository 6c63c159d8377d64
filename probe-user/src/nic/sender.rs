//! A sender's engine: a transmit half on each port, of which one sends.

use crate::{
    base::{Cause, Nanos, Stamp},
    worker::{Due, Fate, Leaving, Room, Transmit},
};
use crossbeam::queue::SegQueue;
use std::sync::{
    Arc,
    atomic::{
        AtomicUsize,
        Ordering::{Acquire, Relaxed},
    },
};

/// Room for the halves of ports that join, so that none of them allocates where packets are sent.
const JOINING: usize = 8;

/// One sender's engine. Owned by one thread.
///
/// It has a half on each port and sends by the one that `active` names: a control thread sets that ([`super::Nic::send_by`]), and
/// from the next batch on probes leave by the other port.
pub struct Sender {
    halves: Vec<Half>,
    /// Halves on ports that have joined since.
    new_halves: NewHalves,
    active: Arc<AtomicUsize>,
}

/// By which a control thread gives a sender a half on one port more: before it names that port the active one.
pub(super) type NewHalves = Arc<SegQueue<Half>>;

/// A sender's part of one port.
pub(super) struct Half {
    engine: Box<dyn Transmit + Send>,
    stamp: Stamp,
}

impl Half {
    /// Sends by `engine`, which takes its stamps there.
    pub(super) fn new(engine: impl Transmit + Send + 'static, stamp: Stamp) -> Self {
        Self { engine: Box::new(engine), stamp }
    }
}

impl Sender {
    /// `halves`: one for each port, in the order of the ports, at least one.
    pub(super) fn new(mut halves: Vec<Half>, active: Arc<AtomicUsize>) -> Self {
        assert!(!halves.is_empty(), "a sender sends by some port");
        halves.reserve_exact(JOINING);
        Self { halves, new_halves: NewHalves::default(), active }
    }

    /// What is put there this sender takes over when it is to send by it.
    pub(super) fn new_halves(&self) -> NewHalves {
        Arc::clone(&self.new_halves)
    }

    /// The half that sends now.
    fn half(&self) -> usize {
        self.active.load(Relaxed).min(self.halves.len() - 1)
    }

    /// Takes over halves on ports that have joined, if it is to send by one of them.
    #[cold]
    fn take_over(&mut self) {
        // Acquire: whoever named the port has put its half there before.
        while self.active.load(Acquire) >= self.halves.len()
            && let Some(half) = self.new_halves.pop()
        {
            self.halves.push(half);
        }
    }

    fn engine(&mut self) -> &mut dyn Transmit {
        if self.active.load(Relaxed) >= self.halves.len() {
            self.take_over();
        }
        let active = self.half();
        &mut *self.halves[active].engine
    }

    /// Where its probes' send stamps are taken.
    pub fn stamp(&self) -> Stamp {
        // All halves are of one engine.
        self.halves[0].stamp
    }
}

impl Transmit for Sender {
    fn transmit(&mut self, due: &[Due], fates: &mut [Fate]) {
        self.engine().transmit(due, fates);
    }

    fn room(&mut self, now: Nanos) -> Room {
        self.engine().room(now)
    }

    fn give_up(&mut self, cause: Cause, probes: u64) {
        self.engine().give_up(cause, probes);
    }

    fn batch(&self) -> usize {
        self.halves[self.half()].engine.batch()
    }

    fn leaving(&self) -> Leaving {
        self.halves[self.half()].engine.leaving()
    }

    fn dwelt(&mut self) -> Option<Nanos> {
        self.engine().dwelt()
    }
}
