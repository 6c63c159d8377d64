//! One target's account: a cache line that senders and receivers share, and a little beside it that senders alone read.

use super::{
    TargetRow,
    addresses::Addresses,
    atomic::AtomicU64,
    window::{PER_WORD, Place},
};
use crate::{
    base::{Cause, Generation, Nanos, Outcome, ProbeNumber, Sequence, TargetIndex},
    health::Health,
    route::{NO_ROUTE, NO_SOURCE},
    targets::{ACCOUNT_BYTES, INLINE_PLACES},
};
use crossbeam::utils::CachePadded;
use std::{
    net::Ipv4Addr,
    ops::Range,
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// One cache line: all that a reply touches.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Cell {
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
    /// Row of sums.
    pub(super) row: u32,
}

const _: () = assert!(size_of::<Cell>() == 64);

/// What only senders need of a target (and, at a glance, whoever asks for its state).
#[derive(Debug)]
pub(super) struct Side {
    /// 0 until its name is resolved.
    pub(super) address: AtomicU32,
    /// A place among the hops, or why there is none; and [`MOVED`]. Control threads write, the sender takes [`MOVED`] away.
    pub(super) hop: AtomicU32,
    pub(super) health: AtomicU32,
}

/// The target came to its hop while it was being probed, and what was on its way then has not landed yet.
const MOVED: u32 = 1 << 31;

// What the memory of a plan is reckoned with.
const _: () = assert!(size_of::<Cell>() + size_of::<Side>() + Addresses::BYTES_PER_TARGET == ACCOUNT_BYTES);

/// What the targets of a group have in common.
#[derive(Debug)]
pub(super) struct GroupFacts {
    pub(super) targets: Range<u32>,
    pub(super) timeout: Nanos,
    pub(super) places: u32,
    pub(super) up_after: u32,
    pub(super) down_after: u32,
    /// Windows of more than `INLINE_PLACES` places, target after target.
    pub(super) wide: Box<[AtomicU64]>,
    /// Targets to a run; the last run may have fewer.
    pub(super) per_run: u32,
    /// The round that each run has come to.
    pub(super) rounds: Box<[CachePadded<AtomicU64>]>,
}

/// A target's account, looked up once for all that is done with it.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    pub(super) target: TargetIndex,
    pub(super) cell: &'a Cell,
    pub(super) side: &'a Side,
    pub(super) groups_of_rows: &'a [u32],
    pub(super) groups: &'a [GroupFacts],
}

impl<'a> Account<'a> {
    /// Whose it is.
    #[inline]
    pub const fn target(self) -> TargetIndex {
        self.target
    }

    #[inline]
    fn group(self) -> &'a GroupFacts {
        &self.groups[self.groups_of_rows[self.cell.row as usize] as usize]
    }

    /// Which sender walks a target.
    #[inline]
    pub fn sender(self) -> usize {
        let group = self.group();
        ((self.target.0 - group.targets.start) / group.per_run) as usize
    }

    /// The place of a target's probe by its number, or by as much of it as a reply says.
    #[inline]
    pub fn place(self, number: u64) -> Place<'a> {
        let group = self.group();
        let bit = (number & u64::from(group.places - 1)) as u32;
        if group.places <= INLINE_PLACES {
            return Place::new(&self.cell.window, bit);
        }
        let words = (group.places / PER_WORD) as usize;
        let first = (self.target.0 - group.targets.start) as usize * words;
        Place::new(&group.wide[first..first + words], bit)
    }

    /// Row of sums of a target.
    #[inline]
    pub fn row(self) -> u32 {
        self.cell.row
    }

    /// How long a target's probes may be answered.
    #[inline]
    pub fn timeout(self) -> Nanos {
        self.group().timeout
    }

    /// Who has the slot now.
    #[inline]
    pub fn generation(self) -> Generation {
        Generation((self.cell.entered.load(Relaxed) & 0xffff) as u16)
    }

    /// Where its probes go; None while its name is not resolved.
    #[inline]
    pub fn address(self) -> Option<Ipv4Addr> {
        match self.side.address.load(Acquire) {
            0 => None,
            address => Some(Ipv4Addr::from(address)),
        }
    }

    /// By which next hop, or why by none.
    #[inline]
    pub fn hop(self) -> Result<u32, Cause> {
        match self.place_of_hop() {
            NO_ROUTE => Err(Cause::NoRoute),
            NO_SOURCE => Err(Cause::Source),
            hop => Ok(hop),
        }
    }

    /// The same as a number: a place among the hops, [`NO_ROUTE`] or [`NO_SOURCE`].
    #[inline]
    pub fn place_of_hop(self) -> u32 {
        self.side.hop.load(Acquire) & !MOVED
    }

    /// From its next due time on the target is probed by another hop. Of control threads, one at a time calls this.
    pub fn move_to(self, hop: u32) {
        self.side.hop.store(hop | MOVED, Release);
    }

    /// Whether the target has come to another hop, and what was on its way then has not landed yet.
    #[inline]
    pub fn has_moved(self) -> bool {
        self.side.hop.load(Relaxed) & MOVED != 0
    }

    /// All that was on its way when the target came to its hop, `hop`, has landed. Only the sender of the target calls this.
    #[cold]
    pub fn has_arrived(self, hop: u32) {
        // It may have moved on just now: then it has not arrived.
        let _moved_on = self.side.hop.compare_exchange(hop | MOVED, hop, Relaxed, Relaxed);
    }

    /// A name has been resolved: from its next due time on the target is probed. Only for targets that have no address yet.
    pub fn resolve(self, address: Ipv4Addr, hop: u32) {
        self.side.hop.store(hop, Relaxed);
        self.side.address.store(u32::from(address), Release);
    }

    /// Counts a probe as entered, without a place in the window. Only the sender of the target calls this.
    #[inline]
    pub fn count_entered(self) {
        let entered = &self.cell.entered;
        entered.store(entered.load(Relaxed).wrapping_add(1 << 16), Release);
    }

    /// Counts a probe as settled.
    #[inline]
    pub fn count_settled(self, outcome: Outcome) {
        self.cell.settled[outcome as usize].fetch_add(1, Release);
    }

    /// Counts a reply in time.
    #[inline]
    pub fn count_answered(self, rtt: Nanos, arrived: Nanos) {
        self.cell.rtt_sum.fetch_add(rtt.0, Relaxed);
        self.cell.last_reply.store(arrived.0, Relaxed);
        self.cell.settled[Outcome::Answered as usize].fetch_add(1, Release);
    }

    /// The target's state and streak.
    #[inline]
    pub fn health(self) -> Health {
        Health::from_bits(self.side.health.load(Relaxed))
    }

    /// Only the sender of the target calls this.
    #[inline]
    pub fn set_health(self, health: Health) {
        self.side.health.store(health.to_bits(), Relaxed);
    }

    /// The full number of a probe from what its reply says: the latest with these low bits that has been entered.
    #[inline]
    pub fn number_of(self, sequence: Sequence) -> ProbeNumber {
        let group = self.group();
        let round = group.rounds[self.sender()].load(Acquire);
        let sequence = if cfg!(broken = "sequence") { Sequence(sequence.0.wrapping_sub(1)) } else { sequence };
        ProbeNumber(round.wrapping_sub(round.wrapping_sub(u64::from(sequence.0)) & 0xffff))
    }

    /// What a target's own series show. Settled counters are read before the entered one.
    pub fn shown(self) -> TargetRow {
        let settled = std::array::from_fn(|i| u64::from(self.cell.settled[i].load(Acquire)));
        let last = self.cell.last_reply.load(Relaxed);
        TargetRow {
            address: self.address(),
            state: self.health().state(),
            rtt_sum: self.cell.rtt_sum.load(Relaxed),
            last_reply: (last != 0).then_some(Nanos(last)),
            settled,
            probes: self.cell.entered.load(Acquire) >> 16,
        }
    }
}
