//! What only the sender that owns the target can settle by, on its way there from the receivers.
//!
//! An answer to a probe to a port says nothing of when that was sent, and may be here before the sender knows: live frames are stamped one by
//! one in a call that ends later. The sender looks at it behind that call.
//!
//! The other is an error that quotes an echo request without its payload. It says neither whose the probe was nor when it was sent. A receiver that settled it could not judge its age,
//! and between its look at a place and its settling the place could pass to the next probe. The sender alone enters probes
//! and takes them out, so it knows which number is in each place and by when that had to be answered: it settles these, in
//! its own time. A thread that sends and receives settles its own at once, in the order of arrival, and hands over the others.

use super::Said;
use crate::{
    base::{Nanos, TargetIndex},
    wire::{Refusal, Reply},
};
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

/// What may wait for one sender; it takes all each turn. More answers than probes leave in one call of live frames.
const ROOM: usize = 8_192;

/// What is handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// An error that quotes 28 bytes.
    ShortQuote(Refusal),
    /// What is said of a probe to a port.
    Port(Said),
    /// A reply to a probe that was asked for.
    Reply(Reply),
    /// An error about a probe that was asked for, whose payload is quoted: whose, and when it was sent.
    Refused(Refusal, TargetIndex, Nanos),
}

/// What waits for a sender. Receivers put, it takes.
#[derive(Debug)]
pub struct HandedOver {
    waiting: ArrayQueue<Word>,
    dropped: AtomicU64,
}

impl Default for HandedOver {
    fn default() -> Self {
        Self { waiting: ArrayQueue::new(ROOM), dropped: AtomicU64::new(0) }
    }
}

impl HandedOver {
    /// Hands one over. Where there is no room it is dropped, and excuses a probe.
    pub(super) fn put(&self, word: Word) {
        if self.waiting.push(word).is_err() {
            self.dropped.fetch_add(1, Release);
        }
    }

    /// How many wait now: all that were put before this is called are among them.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest.
    pub(super) fn take(&self) -> Option<Word> {
        self.waiting.pop()
    }

    /// Takes one that was dropped as the excuse for a probe that nobody seems to have answered for: this machine heard something
    /// and lost it, so the probe is *unheard*.
    pub(super) fn claim(&self) -> bool {
        self.dropped.load(Acquire) > 0
            && self.dropped.fetch_update(Release, Acquire, |dropped| dropped.checked_sub(1)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{MplsStack, Nanos, Reason, Sequence};
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn what_finds_no_room_excuses_a_probe_each() {
        let quotes = HandedOver::default();
        let quote = |n: u16| Refusal {
            arrived: Nanos(1),
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
            reason: Reason(2),
            ttl: 64,
            destination: IpAddr::V4(Ipv4Addr::LOCALHOST),
            identifier: 1,
            sequence: Sequence(n),
            identification: Some(0),
            quoted: None,
            quoted_ttl: 1,
            quoted_tos: 0,
            quoted_checksum: 1,
            mpls: MplsStack::default(),
        };
        (0..ROOM as u16 + 2).for_each(|n| quotes.put(Word::ShortQuote(quote(n))));
        let number = |word| match word {
            Word::ShortQuote(quote) => quote.sequence.0,
            _ => panic!("{word:?}"),
        };
        let taken: Vec<u16> = std::iter::from_fn(|| quotes.take()).map(number).collect();
        assert_eq!(taken, (0..ROOM as u16).collect::<Vec<_>>(), "in order");
        assert!(quotes.claim() && quotes.claim() && !quotes.claim());
    }
}
