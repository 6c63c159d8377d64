//! Errors that quote a probe without its payload, on their way from the receivers to the sender that owns the target.
//!
//! Such an error says neither whose the probe was nor when it was sent. A receiver that settled it could not judge its age,
//! and between its look at a place and its settling the place could pass to the next probe. The sender alone enters probes
//! and takes them out, so it knows which number is in each place and by when that had to be answered: it settles these, in
//! its own time. A thread that sends and receives settles its own at once, in the order of arrival, and hands over the others.

use crate::wire::Refusal;
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

/// Errors that may wait for one sender; it takes them each turn.
const ROOM: usize = 4_096;

/// A sender's short quotes. Receivers put, it takes.
#[derive(Debug)]
pub struct ShortQuotes {
    waiting: ArrayQueue<Refusal>,
    dropped: AtomicU64,
}

impl Default for ShortQuotes {
    fn default() -> Self {
        Self { waiting: ArrayQueue::new(ROOM), dropped: AtomicU64::new(0) }
    }
}

impl ShortQuotes {
    /// Hands an error over. Where there is no room it is dropped, and excuses a probe.
    pub(super) fn put(&self, refusal: Refusal) {
        if self.waiting.push(refusal).is_err() {
            self.dropped.fetch_add(1, Release);
        }
    }

    /// As many as wait now: all that were put before this is called are among them.
    pub(super) fn take(&self) -> impl Iterator<Item = Refusal> {
        (0..self.waiting.len()).map_while(|_| self.waiting.pop())
    }

    /// Takes one dropped error as the excuse for a probe that nobody seems to have answered for: this machine heard something
    /// and lost it, so the probe is *unheard*.
    pub(super) fn claim(&self) -> bool {
        self.dropped.load(Acquire) > 0
            && self.dropped.fetch_update(Release, Acquire, |dropped| dropped.checked_sub(1)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Nanos, Reason, Sequence};
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn what_finds_no_room_excuses_a_probe_each() {
        let quotes = ShortQuotes::default();
        let refusal = |n: u16| Refusal {
            arrived: Nanos(1),
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
            reason: Reason(2),
            ttl: 64,
            destination: IpAddr::V4(Ipv4Addr::LOCALHOST),
            identifier: 1,
            sequence: Sequence(n),
            identification: Some(0),
            quoted: None,
        };
        (0..ROOM as u16 + 2).for_each(|n| quotes.put(refusal(n)));
        let taken: Vec<u16> = quotes.take().map(|refusal| refusal.sequence.0).collect();
        assert_eq!(taken, (0..ROOM as u16).collect::<Vec<_>>(), "in order");
        assert!(quotes.claim() && quotes.claim() && !quotes.claim());
    }
}
