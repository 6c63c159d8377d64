//! Whether a gateway is alive: asked for by senders, found out by the watcher, without a lock.
//!
//! The kernel's neighbour entry of a gateway that went silently stays for many seconds, and probes go on to a dead MAC address. They
//! are lost, but say nothing about their targets. So before a target behind a gateway is held to be down, the gateway must have proved
//! that it is alive: the sender notes a doubt, the watcher has the kernel ask the gateway at once, and writes what came of it.

use crate::base::Nanos;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

/// What is known of the life of one next hop. Of a target on the link nothing ever is: it takes one word, for there may be millions.
#[derive(Debug)]
pub struct Life(Option<Box<Moments>>);

/// On CLOCK_MONOTONIC.
#[derive(Debug)]
struct Moments {
    /// A sender wants to know whether the hop was alive at this moment or later.
    doubted: AtomicU64,
    /// It was, at this moment. MAX: nobody finds out, so nobody doubts.
    proven: AtomicU64,
    /// Until when it has been dead: zero never, MAX it is dead now.
    dead_until: AtomicU64,
    /// Since when it is dead, or was last.
    dead_since: AtomicU64,
}

impl Life {
    /// Of a gateway: alive, and believed to be until somebody undertakes to find out.
    pub fn of_gateway() -> Self {
        let [doubted, proven, dead_until, dead_since] = [0, u64::MAX, 0, 0].map(AtomicU64::new);
        Self(Some(Box::new(Moments { doubted, proven, dead_until, dead_since })))
    }

    /// Of a target on the link: what it answers is its own state, and nobody else's. Believed to be alive, whatever anybody says.
    pub const fn of_target() -> Self {
        Self(None)
    }

    /// A sender's wish for proof that the hop was alive at `moment` or later.
    pub fn doubt(&self, moment: Nanos) {
        if let Some(life) = &self.0 {
            life.doubted.fetch_max(moment.0, Release);
        }
    }

    /// The latest moment of which a sender wants proof, if there is none yet.
    pub fn doubted(&self) -> Option<Nanos> {
        let life = self.0.as_ref()?;
        let doubted = life.doubted.load(Acquire);
        (doubted > life.proven.load(Acquire)).then_some(Nanos(doubted))
    }

    /// The last moment of which it is known that the hop was alive; MAX where nobody finds out.
    #[inline]
    pub fn proven(&self) -> Nanos {
        self.0.as_ref().map_or(Nanos::MAX, |life| Nanos(life.proven.load(Acquire)))
    }

    /// Until when the hop was dead: zero never, MAX now.
    #[inline]
    pub fn dead_until(&self) -> Nanos {
        self.0.as_ref().map_or(Nanos::ZERO, |life| Nanos(life.dead_until.load(Acquire)))
    }

    /// Since when the hop is dead, if it is.
    pub fn dead_since(&self) -> Option<Nanos> {
        let life = self.0.as_ref()?;
        (self.dead_until() == Nanos::MAX).then(|| Nanos(life.dead_since.load(Acquire)))
    }

    /// From now on somebody finds out: what was believed so far is worth no more.
    pub fn watch(&self) {
        if let Some(life) = &self.0 {
            life.proven.store(0, Release);
        }
    }

    /// Nobody finds out any more: the hop is believed to be alive.
    pub fn believe(&self) {
        if let Some(life) = &self.0 {
            life.proven.store(u64::MAX, Release);
        }
    }

    /// Nobody is probed by it any more: it is not dead, and nobody need find out.
    pub(super) fn forget(&self) {
        if let Some(life) = &self.0 {
            life.proven.fetch_max(life.doubted.load(Acquire), Release);
            self.came_back(Nanos(life.dead_since.load(Acquire)));
        }
    }

    /// It was alive at `moment`, and so is not dead now.
    pub fn prove(&self, moment: Nanos) {
        if let Some(life) = &self.0 {
            life.proven.fetch_max(moment.0, Release);
        }
    }

    /// It does not answer. No effect while it is dead already.
    pub fn died(&self, since: Nanos) {
        if let Some(life) = &self.0
            && self.dead_until() != Nanos::MAX
        {
            life.dead_since.store(since.0, Release);
            life.dead_until.store(u64::MAX, Release);
        }
    }

    /// It answers again. No effect while it is alive.
    pub fn came_back(&self, at: Nanos) {
        if let Some(life) = &self.0
            && self.dead_until() == Nanos::MAX
        {
            life.dead_until.store(at.0, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_stands_until_proof_of_a_later_moment() {
        let life = Life::of_gateway();
        life.doubt(Nanos(7));
        assert_eq!(life.doubted(), None, "nobody would find out");
        life.watch();
        assert_eq!(life.doubted(), Some(Nanos(7)));
        life.prove(Nanos(6));
        assert_eq!(life.doubted(), Some(Nanos(7)), "alive before is no proof");
        life.prove(Nanos(7));
        assert_eq!(life.doubted(), None);
        life.doubt(Nanos(9));
        life.believe();
        assert_eq!(life.doubted(), None);
    }

    #[test]
    fn the_dead_are_dead_until_they_come_back() {
        let life = Life::of_gateway();
        assert_eq!((life.dead_until(), life.dead_since()), (Nanos::ZERO, None));
        life.died(Nanos(5));
        life.died(Nanos(6));
        assert_eq!((life.dead_until(), life.dead_since()), (Nanos::MAX, Some(Nanos(5))));
        life.came_back(Nanos(8));
        life.came_back(Nanos(9));
        assert_eq!((life.dead_until(), life.dead_since()), (Nanos(8), None));
    }

    #[test]
    fn a_target_is_believed_whatever_is_said() {
        let life = Life::of_target();
        life.watch();
        life.doubt(Nanos(7));
        life.died(Nanos(8));
        life.forget();
        assert_eq!((life.doubted(), life.proven()), (None, Nanos::MAX));
        assert_eq!((life.dead_until(), life.dead_since()), (Nanos::ZERO, None));
        assert_eq!(size_of::<Life>(), 8);
    }
}
