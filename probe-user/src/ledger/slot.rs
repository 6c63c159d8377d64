//! A slot: what is kept of the target that has it, and how it passes from one to the next.
//!
//! It is handed to and fro by two bits in the word of its hop. *Given up*, which the control thread sets: the sender enters no probe any
//! more, and once all that it entered has landed and is settled it raises the generation and sets *vacant*. From then on the slot is the
//! control thread's, which puts a target in and takes the bit away. `tests/loom.rs` runs this very file under a model checker.

use super::{
    atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    window::PER_WORD,
};
use crate::{
    base::{Destination, Family, Generation, Outcome, State},
    health::Health,
    route::NO_ROUTE,
    targets::INLINE_PLACES,
};

/// One cache line: all that a reply touches.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Cell {
    /// Of a window that is no longer; else a column of the segment has it.
    pub(super) window: [AtomicU64; (INLINE_PLACES / PER_WORD) as usize],
    /// Probes entered, shifted left by 16, and the slot's generation. The sender writes.
    pub(super) entered: AtomicU64,
    /// Nanoseconds over all answered probes.
    pub(super) rtt_sum: AtomicU64,
    /// CLOCK_MONOTONIC; 0 before the first.
    pub(super) last_reply: AtomicU64,
    /// Indexed like `Outcome::ALL`. 32 bits: a target probed every 10 ms comes round after 497 days, and Prometheus takes that for
    /// a restart.
    pub(super) settled: [AtomicU32; Outcome::ALL.len()],
    /// Row of sums. Written once more when a name turns out to be of a family that has another.
    pub(super) row: AtomicU32,
}

impl Cell {
    /// Of a slot that counts in this row.
    pub(super) fn new(row: u32) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            window: std::array::from_fn(|_| zero()),
            entered: zero(),
            rtt_sum: zero(),
            last_reply: zero(),
            settled: std::array::from_fn(|_| AtomicU32::new(0)),
            row: AtomicU32::new(row),
        }
    }

    /// Row of sums of whoever has it. Who looks at the generation afterwards, and finds the one that he expects, has that one's row.
    #[inline]
    pub(super) fn row(&self) -> u32 {
        self.row.load(Acquire)
    }

    /// Who has it now.
    #[inline]
    pub(super) fn generation(&self) -> Generation {
        Generation((self.entered.load(Relaxed) & 0xffff) as u16)
    }
}

/// What only senders need of a target (and, at a glance, whoever asks for its state).
#[derive(Debug)]
pub(super) struct Side {
    /// A handle of its address ([`crate::base::AddressHandle`]), whose family stands beside the hop; 0 until its name is resolved.
    pub(super) address: AtomicU32,
    /// See [`HopWord`]. Control threads write.
    pub(super) hop: AtomicU32,
    pub(super) health: AtomicU32,
}

/// By which next hop a target is probed: a place among the hops or why there is none (`route::NO_ROUTE`, `route::NO_SOURCE`); whether it
/// came there while it was being probed; and the family of its address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct HopWord(pub(super) u32);

impl HopWord {
    /// The target came to its hop while it was being probed, and what was on its way then has not landed yet.
    const MOVED: u32 = 1 << 31;
    /// Its address is IPv6.
    const V6: u32 = 1 << 30;
    /// It is probed no more, and what is in flight has not landed yet. Control threads set it, the sender takes it away.
    const GIVEN_UP: u32 = 1 << 29;
    /// The slot has no target: it is the control thread's until a target is put into it.
    const VACANT: u32 = 1 << 28;

    pub(super) fn new(hop: u32, family: Family) -> Self {
        Self((hop & NO_ROUTE) | if family == Family::V6 { Self::V6 } else { 0 })
    }

    /// Of a slot without a target.
    pub(super) const fn vacant() -> Self {
        Self(NO_ROUTE | Self::VACANT)
    }

    pub(super) const fn given_up(self) -> Self {
        Self(self.0 | Self::GIVEN_UP)
    }

    pub(super) const fn is_vacant(self) -> bool {
        self.0 & Self::VACANT != 0
    }

    pub(super) const fn is_given_up(self) -> bool {
        self.0 & Self::GIVEN_UP != 0
    }

    /// Whether a target is there that is to be probed.
    pub(super) const fn is_wanted(self) -> bool {
        self.0 & (Self::GIVEN_UP | Self::VACANT) == 0
    }

    /// The same target by another hop, from now on.
    pub(super) fn by(self, hop: u32) -> Self {
        Self((hop & NO_ROUTE) | (self.0 & !NO_ROUTE)).moved()
    }

    /// What was on its way when it moved has landed.
    pub(super) const fn arrived(self) -> Self {
        Self(self.0 & !Self::MOVED)
    }

    pub(super) const fn moved(self) -> Self {
        Self(self.0 | Self::MOVED)
    }

    pub(super) const fn has_moved(self) -> bool {
        self.0 & Self::MOVED != 0
    }

    pub(super) const fn family(self) -> Family {
        if self.0 & Self::V6 == 0 { Family::V4 } else { Family::V6 }
    }

    pub(super) const fn hop(self) -> u32 {
        self.0 & NO_ROUTE
    }
}

// No bit of it is one of a hop's place, or of why there is none.
const _: () = assert!((HopWord::MOVED | HopWord::V6 | HopWord::GIVEN_UP | HopWord::VACANT) & NO_ROUTE == 0);

impl Side {
    /// Of a target that is there from the start. None: its name is not resolved yet.
    pub(super) fn of(destination: Option<Destination>, hop: u32) -> Self {
        Self {
            address: AtomicU32::new(destination.map_or(0, |to| to.handle.0)),
            hop: AtomicU32::new(HopWord::new(hop, family_of(destination)).0),
            health: AtomicU32::new(Health::new(destination.is_some()).to_bits()),
        }
    }

    /// Of a slot without a target.
    pub(super) fn vacant() -> Self {
        Self {
            address: AtomicU32::new(0),
            hop: AtomicU32::new(HopWord::vacant().0),
            health: AtomicU32::new(Health::new(false).to_bits()),
        }
    }
}

fn family_of(destination: Option<Destination>) -> Family {
    destination.map_or(Family::V4, |to| to.family)
}

/// Both parts of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'a> {
    pub(super) cell: &'a Cell,
    pub(super) side: &'a Side,
}

impl Slot<'_> {
    #[inline]
    pub(super) fn word(self) -> HopWord {
        HopWord(self.side.hop.load(Acquire))
    }

    /// The handle of its target's address, and its family; None: nobody is there who is to be probed, or his name is not resolved yet.
    #[inline]
    pub(super) fn wanted(self) -> Option<(u32, Family)> {
        let address = self.side.address.load(Acquire);
        let word = self.word();
        (address != 0 && word.is_wanted()).then_some((address, word.family()))
    }

    /// A name has been resolved. Of control threads, one at a time calls this.
    pub(super) fn resolve(self, to: Destination, hop: u32) {
        let of = HopWord::new(hop, to.family);
        // Who has been given up meanwhile needs none.
        if self.change(|word| word.is_wanted().then_some(of)) {
            self.side.address.store(to.handle.0, Release);
        }
    }

    /// Of control threads, one at a time calls this.
    pub(super) fn move_to(self, hop: u32) {
        self.change(|word| Some(word.by(hop)));
    }

    /// Of control threads, one at a time calls this.
    pub(super) fn give_up(self) {
        self.change(|word| word.is_wanted().then(|| word.given_up()));
    }

    /// All that was on its way when the target came to this hop has landed. Only the sender calls this.
    pub(super) fn has_arrived(self, hop: u32) {
        // It may have moved on just now: then it has not arrived.
        self.change(|word| (word.has_moved() && word.hop() == hop).then(|| word.arrived()));
    }

    /// Changes the word of its hop; None: it stays as it is. Control thread and sender may both be at it. Whether it was changed.
    fn change(self, change: impl Fn(HopWord) -> Option<HopWord>) -> bool {
        let changed = |word| change(HopWord(word)).map(|word| word.0);
        self.side.hop.fetch_update(Release, Relaxed, changed).is_ok()
    }

    /// The slot is somebody else's from now on, with all that was written before. No plain store, though one would do: the model checker
    /// knows the order of changes to a word only where each reads the one before.
    fn replace(self, word: HopWord) {
        self.side.hop.swap(word.0, Release);
    }

    /// If nothing of a target that was given up is in flight any more (`is_quiet`: its window is empty), the slot is vacant from now on, and
    /// no word about him is believed any more. Returns what he was held to be. Only the sender calls this.
    pub(super) fn vacate(self, is_quiet: impl FnOnce() -> bool) -> Option<State> {
        let (cell, side) = (self.cell, self.side);
        let entered = cell.entered.load(Relaxed);
        // Counters go round at 2^32, each by itself.
        let settled = cell.settled.iter().map(|counter| counter.load(Acquire)).fold(0, u32::wrapping_add);
        if (entered >> 16) as u32 != settled || !is_quiet() {
            return None;
        }
        let state = Health::from_bits(side.health.load(Relaxed)).state();
        cell.entered.store(u64::from((entered as u16).wrapping_add(1)), Relaxed);
        cell.settled.iter().for_each(|counter| counter.store(0, Relaxed));
        cell.rtt_sum.store(0, Relaxed);
        cell.last_reply.store(0, Relaxed);
        side.address.store(0, Relaxed);
        side.health.store(Health::new(false).to_bits(), Relaxed);
        self.replace(HopWord::vacant());
        Some(state)
    }

    /// Puts a target into a vacant slot: it is probed from its next due time on. One control thread calls this, who has seen that it is
    /// vacant.
    pub(super) fn fill(self, destination: Option<Destination>, hop: u32, row: u32) {
        let (cell, side) = (self.cell, self.side);
        // Whoever reads it finds the generation raised.
        cell.row.store(row, Release);
        side.health.store(Health::new(destination.is_some()).to_bits(), Relaxed);
        side.address.store(destination.map_or(0, |to| to.handle.0), Relaxed);
        self.replace(HopWord::new(hop, family_of(destination)));
    }
}
