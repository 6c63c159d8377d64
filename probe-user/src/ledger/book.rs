//! The ledger: a cache line a target that senders and receivers share, and a little beside it that senders alone read.

use super::{
    TargetRow,
    addresses::Addresses,
    window::{self, PER_WORD, Place},
};
use crate::{
    base::{Cause, Generation, Nanos, Outcome, ProbeNumber, Sequence, State, TargetIndex},
    health::Health,
    route::{NO_ROUTE, NO_SOURCE},
    targets::{ACCOUNT_BYTES, INLINE_PLACES, Plan},
};
use crossbeam::utils::CachePadded;
use std::{
    hint::black_box,
    net::Ipv4Addr,
    ops::{Range, RangeInclusive},
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// One cache line: all that a reply touches.
#[derive(Debug)]
#[repr(C, align(64))]
struct Cell {
    window: [AtomicU64; (INLINE_PLACES / PER_WORD) as usize],
    /// Probes entered, shifted left by 16, and the slot's generation. The sender writes.
    entered: AtomicU64,
    /// Nanoseconds over all answered probes.
    rtt_sum: AtomicU64,
    /// CLOCK_MONOTONIC; 0 before the first.
    last_reply: AtomicU64,
    /// Indexed like `Outcome::ALL`. 32 bits: a target probed every 10 ms comes round after 497 days, and Prometheus takes that for
    /// a restart.
    settled: [AtomicU32; Outcome::ALL.len()],
    /// Row of sums.
    row: u32,
}

const _: () = assert!(size_of::<Cell>() == 64);

/// What only senders need of a target (and, at a glance, whoever asks for its state).
#[derive(Debug)]
struct Side {
    /// 0 until its name is resolved.
    address: AtomicU32,
    /// A place among the hops, or why there is none; and [`MOVED`]. Control threads write, the sender takes [`MOVED`] away.
    hop: AtomicU32,
    health: AtomicU32,
}

/// The target came to its hop while it was being probed, and what was on its way then has not landed yet.
const MOVED: u32 = 1 << 31;

// What the memory of a plan is reckoned with.
const _: () = assert!(size_of::<Cell>() + size_of::<Side>() + Addresses::BYTES_PER_TARGET == ACCOUNT_BYTES);

/// What the targets of a group have in common.
#[derive(Debug)]
struct GroupFacts {
    targets: Range<u32>,
    timeout: Nanos,
    places: u32,
    up_after: u32,
    down_after: u32,
    /// Windows of more than `INLINE_PLACES` places, target after target.
    wide: Box<[AtomicU64]>,
    /// Targets to a run; the last run may have fewer.
    per_run: u32,
    /// The round that each run has come to.
    rounds: Box<[CachePadded<AtomicU64>]>,
}

/// A part of a group that one sender walks, round after round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of the group.
    pub group: usize,
    /// Index of the run within the group.
    pub part: usize,
    /// Its targets, in the order of the schedule.
    pub targets: Range<u32>,
}

/// Who owes what: every target's window, counters and state.
#[derive(Debug)]
pub struct Ledger {
    cells: Box<[Cell]>,
    sides: Box<[Side]>,
    /// Group of each row of sums.
    groups_of_rows: Box<[u32]>,
    groups: Box<[GroupFacts]>,
    addresses: Addresses,
}

impl Ledger {
    /// For the targets of `plan`, whose next hops are `hops` (parallel to its targets), walked by `senders` threads.
    pub fn new(plan: &Plan, hops: &[u32], senders: usize) -> Self {
        let zero = || AtomicU64::new(0);
        let cells = plan.targets.iter().map(|target| Cell {
            window: std::array::from_fn(|_| zero()),
            entered: zero(),
            rtt_sum: zero(),
            last_reply: zero(),
            settled: std::array::from_fn(|_| AtomicU32::new(0)),
            row: plan.label_sets[target.label_set as usize].sum,
        });
        let sides = plan.targets.iter().zip(hops).map(|(target, hop)| Side {
            address: AtomicU32::new(target.address.map_or(0, u32::from)),
            hop: AtomicU32::new(*hop),
            health: AtomicU32::new(Health::new(target.address.is_some()).to_bits()),
        });
        let groups = plan.groups.iter().map(|group| {
            let targets = group.targets.clone();
            let many = targets.end - targets.start;
            let places = group.places();
            let wide = if places > INLINE_PLACES { many as usize * (places / PER_WORD) as usize } else { 0 };
            let per_run = many.div_ceil(u32::try_from(senders).unwrap_or(1).max(1)).max(1);
            GroupFacts {
                timeout: group.timeout,
                places,
                up_after: group.up_after,
                down_after: group.down_after,
                wide: (0..wide).map(|_| zero()).collect(),
                per_run,
                rounds: (0..many.div_ceil(per_run)).map(|_| CachePadded::new(zero())).collect(),
                targets,
            }
        });
        Self {
            cells: cells.collect(),
            sides: sides.collect(),
            groups_of_rows: plan.sums.iter().map(|sum| u32::try_from(sum.group).unwrap_or(0)).collect(),
            groups: groups.collect(),
            addresses: Addresses::new(plan),
        }
    }

    /// How many targets.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Whether there is such a target.
    #[inline]
    pub fn has(&self, target: TargetIndex) -> bool {
        (target.0 as usize) < self.cells.len()
    }

    /// The parts of all groups that sender `sender` of as many as the ledger was made for walks.
    pub fn runs_of(&self, sender: usize) -> Vec<Run> {
        let part = |(group, facts): (usize, &GroupFacts)| {
            let first = facts.targets.start + facts.per_run.checked_mul(u32::try_from(sender).ok()?)?;
            let targets = first..(first + facts.per_run).min(facts.targets.end);
            (first < facts.targets.end).then_some(Run { group, part: sender, targets })
        };
        self.groups.iter().enumerate().filter_map(part).collect()
    }

    /// Which sender walks a target.
    #[inline]
    pub fn sender_of(&self, target: TargetIndex) -> usize {
        let group = self.group_of(self.cell(target));
        ((target.0 - group.targets.start) / group.per_run) as usize
    }

    /// Fetches what a reply will change. For a burst of replies before they are settled: processors wait for many loads at a time, and
    /// for an atomic change alone.
    #[inline]
    pub fn fetch(&self, target: TargetIndex) {
        if let Some(cell) = self.cells.get(target.0 as usize) {
            black_box(cell.row);
        }
    }

    #[inline]
    fn cell(&self, target: TargetIndex) -> &Cell {
        &self.cells[target.0 as usize]
    }

    #[inline]
    fn side(&self, target: TargetIndex) -> &Side {
        &self.sides[target.0 as usize]
    }

    #[inline]
    fn group_of(&self, cell: &Cell) -> &GroupFacts {
        &self.groups[self.groups_of_rows[cell.row as usize] as usize]
    }

    #[inline]
    fn place<'a>(cell: &'a Cell, group: &'a GroupFacts, target: TargetIndex, number: u64) -> Place<'a> {
        let bit = (number & u64::from(group.places - 1)) as u32;
        if group.places <= INLINE_PLACES {
            return Place::new(&cell.window, bit);
        }
        let words = (group.places / PER_WORD) as usize;
        let first = (target.0 - group.targets.start) as usize * words;
        Place::new(&group.wide[first..first + words], bit)
    }

    /// The place of a target's probe by its number, or by as much of it as a reply says.
    #[inline]
    pub fn place_of(&self, target: TargetIndex, number: u64) -> Place<'_> {
        let cell = self.cell(target);
        Self::place(cell, self.group_of(cell), target, number)
    }

    /// Row of sums of a target.
    #[inline]
    pub fn row(&self, target: TargetIndex) -> u32 {
        self.cell(target).row
    }

    /// How long a target's probes may be answered.
    #[inline]
    pub fn timeout(&self, target: TargetIndex) -> Nanos {
        self.group_of(self.cell(target)).timeout
    }

    /// Places in the windows of a group.
    pub fn places(&self, group: usize) -> u32 {
        self.groups[group].places
    }

    /// Who has the slot now.
    #[inline]
    pub fn generation(&self, target: TargetIndex) -> Generation {
        Generation((self.cell(target).entered.load(Relaxed) & 0xffff) as u16)
    }

    /// Where its probes go; None while its name is not resolved.
    #[inline]
    pub fn address(&self, target: TargetIndex) -> Option<Ipv4Addr> {
        match self.side(target).address.load(Acquire) {
            0 => None,
            address => Some(Ipv4Addr::from(address)),
        }
    }

    /// The targets with this address: one in each group that names it. A search, where [`Ledger::address`] is a look.
    pub fn targets_at(&self, address: Ipv4Addr) -> impl Iterator<Item = TargetIndex> {
        self.addresses.candidates(address).filter(move |target| self.address(*target) == Some(address))
    }

    /// By which next hop, or why by none.
    #[inline]
    pub fn hop(&self, target: TargetIndex) -> Result<u32, Cause> {
        match self.place_of_hop(target) {
            NO_ROUTE => Err(Cause::NoRoute),
            NO_SOURCE => Err(Cause::Source),
            hop => Ok(hop),
        }
    }

    /// The same as a number: a place among the hops, [`NO_ROUTE`] or [`NO_SOURCE`].
    #[inline]
    pub fn place_of_hop(&self, target: TargetIndex) -> u32 {
        self.side(target).hop.load(Acquire) & !MOVED
    }

    /// From its next due time on the target is probed by another hop. Of control threads, one at a time calls this.
    pub fn move_to(&self, target: TargetIndex, hop: u32) {
        self.side(target).hop.store(hop | MOVED, Release);
    }

    /// Whether the target has come to another hop, and what was on its way then has not landed yet.
    #[inline]
    pub fn has_moved(&self, target: TargetIndex) -> bool {
        self.side(target).hop.load(Relaxed) & MOVED != 0
    }

    /// All that was on its way when the target came to its hop, `hop`, has landed. Only the sender of the target calls this.
    #[cold]
    pub fn has_arrived(&self, target: TargetIndex, hop: u32) {
        // It may have moved on just now: then it has not arrived.
        let _moved_on = self.side(target).hop.compare_exchange(hop | MOVED, hop, Relaxed, Relaxed);
    }

    /// Whether an address of a target lies in this range.
    pub fn is_any_in(&self, range: RangeInclusive<Ipv4Addr>) -> bool {
        self.addresses.is_any_in(&range, |target| self.address(target))
    }

    /// A name has been resolved: from its next due time on the target is probed. Only for targets that have no address yet.
    pub fn resolve(&self, target: TargetIndex, address: Ipv4Addr, hop: u32) {
        let side = self.side(target);
        side.hop.store(hop, Relaxed);
        side.address.store(u32::from(address), Release);
    }

    /// Counts a probe as entered, without a place in the window. Only the sender of the target calls this.
    #[inline]
    pub fn count_entered(&self, target: TargetIndex) {
        let entered = &self.cell(target).entered;
        entered.store(entered.load(Relaxed).wrapping_add(1 << 16), Release);
    }

    /// Counts a probe as settled.
    #[inline]
    pub fn count_settled(&self, target: TargetIndex, outcome: Outcome) {
        self.cell(target).settled[outcome as usize].fetch_add(1, Release);
    }

    /// Counts a reply in time.
    #[inline]
    pub fn count_answered(&self, target: TargetIndex, rtt: Nanos, arrived: Nanos) {
        let cell = self.cell(target);
        cell.rtt_sum.fetch_add(rtt.0, Relaxed);
        cell.last_reply.store(arrived.0, Relaxed);
        cell.settled[Outcome::Answered as usize].fetch_add(1, Release);
    }

    /// The target's state and streak.
    #[inline]
    pub fn health(&self, target: TargetIndex) -> Health {
        Health::from_bits(self.side(target).health.load(Relaxed))
    }

    /// Only the sender of the target calls this.
    #[inline]
    pub fn set_health(&self, target: TargetIndex, health: Health) {
        self.side(target).health.store(health.to_bits(), Relaxed);
    }

    /// Consecutive probes that make the target up, and down.
    #[inline]
    pub fn thresholds(&self, group: usize) -> (u32, u32) {
        (self.groups[group].up_after, self.groups[group].down_after)
    }

    /// The sender says which round a run is in, before it sends a probe of it.
    #[inline]
    pub fn begin_round(&self, run: &Run, round: u64) {
        self.groups[run.group].rounds[run.part].store(round, Release);
    }

    /// The full number of a probe from what its reply says: the latest with these low bits that has been entered.
    #[inline]
    pub fn number_of(&self, target: TargetIndex, sequence: Sequence) -> ProbeNumber {
        let group = self.group_of(self.cell(target));
        let round = group.rounds[self.sender_of(target)].load(Acquire);
        let sequence = if cfg!(broken = "sequence") { Sequence(sequence.0.wrapping_sub(1)) } else { sequence };
        ProbeNumber(round.wrapping_sub(round.wrapping_sub(u64::from(sequence.0)) & 0xffff))
    }

    /// What a target's own series show. Settled counters are read before the entered one.
    pub fn target_row(&self, target: TargetIndex) -> TargetRow {
        let cell = self.cell(target);
        let settled = std::array::from_fn(|i| u64::from(cell.settled[i].load(Acquire)));
        let last = cell.last_reply.load(Relaxed);
        TargetRow {
            address: self.address(target),
            state: self.health(target).state(),
            rtt_sum: cell.rtt_sum.load(Relaxed),
            last_reply: (last != 0).then_some(Nanos(last)),
            settled,
            probes: cell.entered.load(Acquire) >> 16,
        }
    }

    /// How many targets have answered at least once.
    pub fn answered_targets(&self) -> u64 {
        self.cells.iter().filter(|cell| cell.settled[Outcome::Answered as usize].load(Relaxed) > 0).count() as u64
    }

    /// Unsettled bits, counted one by one: the audit of *in flight*.
    pub fn unsettled(&self) -> u64 {
        let inline = self.cells.iter().map(|cell| u64::from(window::pending(&cell.window))).sum::<u64>();
        inline + self.groups.iter().map(|group| u64::from(window::pending(&group.wide))).sum::<u64>()
    }

    /// States of the targets by row of sums, for the tally that starts with them: indexed by row, then like `State::ALL`.
    pub fn states(&self, targets: Range<u32>) -> Vec<[u64; State::ALL.len()]> {
        let mut rows = vec![[0; State::ALL.len()]; self.groups_of_rows.len()];
        for target in targets.map(TargetIndex) {
            rows[self.row(target) as usize][self.health(target).state() as usize] += 1;
        }
        rows
    }
}
