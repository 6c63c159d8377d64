//! A sender's engine: a transmit half on each port, of which one sends.

use super::{AfxdpSender, LiveSender};
use crate::{
    ledger::Cause,
    results::Stamp,
    time::Nanos,
    worker::{Due, Fate, Leaving, Room, Transmit},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// One sender's engine. Owned by one thread.
///
/// It has a half on each port and sends by the one that `active` names: a control thread sets that ([`super::Nic::send_by`]), and
/// from the next batch on probes leave by the other port.
pub struct Sender {
    halves: Box<[Half]>,
    active: Arc<AtomicUsize>,
}

/// A sender's part of one port.
pub(super) enum Half {
    /// AF_XDP.
    Afxdp(Box<AfxdpSender>),
    /// Live frames.
    Live(Box<LiveSender>),
}

impl Sender {
    /// `halves`: one for each port, in the order of the ports, at least one.
    pub(super) fn new(halves: Vec<Half>, active: Arc<AtomicUsize>) -> Self {
        assert!(!halves.is_empty(), "a sender sends by some port");
        Self { halves: halves.into(), active }
    }

    /// The half that sends now.
    fn half(&self) -> usize {
        self.active.load(Relaxed).min(self.halves.len() - 1)
    }

    fn engine(&mut self) -> &mut dyn Transmit {
        let active = self.half();
        match &mut self.halves[active] {
            Half::Afxdp(sender) => sender.as_mut(),
            Half::Live(sender) => sender.as_mut(),
        }
    }

    /// Where its probes' send stamps are taken.
    pub fn stamp(&self) -> Stamp {
        // All halves are of one engine.
        match self.halves[0] {
            Half::Afxdp(_) => Stamp::User,
            Half::Live(_) => Stamp::Xdp,
        }
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
        match &self.halves[self.half()] {
            Half::Afxdp(sender) => sender.batch(),
            Half::Live(sender) => sender.batch(),
        }
    }

    fn leaving(&self) -> Leaving {
        match &self.halves[self.half()] {
            Half::Afxdp(sender) => sender.leaving(),
            Half::Live(sender) => sender.leaving(),
        }
    }

    fn dwelt(&mut self) -> Option<Nanos> {
        self.engine().dwelt()
    }
}
