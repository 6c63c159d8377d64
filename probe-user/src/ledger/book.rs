//! The ledger: everybody's account, and what is known of groups and addresses.

use super::{
    account::{Account, Cell, GroupFacts, Side},
    addresses::Addresses,
    window::{self, PER_WORD},
};
use crate::{
    base::{Outcome, State, TargetIndex},
    health::Health,
    targets::{INLINE_PLACES, Plan},
};
use crossbeam::utils::CachePadded;
use std::{
    hint::black_box,
    net::Ipv4Addr,
    ops::{Range, RangeInclusive},
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Relaxed, Release},
    },
};

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

    /// Fetches what a reply will change. For a burst of replies before they are settled: processors wait for many loads at a time, and
    /// for an atomic change alone.
    #[inline]
    pub fn fetch(&self, target: TargetIndex) {
        if let Some(cell) = self.cells.get(target.0 as usize) {
            black_box(cell.row);
        }
    }

    /// A target's account. Panics where there is no such target: ask [`Ledger::has`] about numbers from elsewhere.
    #[inline]
    pub fn account(&self, target: TargetIndex) -> Account<'_> {
        let index = target.0 as usize;
        let (cell, side) = (&self.cells[index], &self.sides[index]);
        Account { target, cell, side, groups_of_rows: &self.groups_of_rows, groups: &self.groups }
    }

    /// Places in the windows of a group.
    pub fn places(&self, group: usize) -> u32 {
        self.groups[group].places
    }

    /// The targets with this address: one in each group that names it. A search, where [`Account::address`] is a look.
    pub fn targets_at(&self, address: Ipv4Addr) -> impl Iterator<Item = TargetIndex> {
        self.addresses.candidates(address).filter(move |target| self.account(*target).address() == Some(address))
    }

    /// Whether an address of a target lies in this range.
    pub fn is_any_in(&self, range: RangeInclusive<Ipv4Addr>) -> bool {
        self.addresses.is_any_in(&range, |target| self.account(target).address())
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
            let account = self.account(target);
            rows[account.row() as usize][account.health().state() as usize] += 1;
        }
        rows
    }
}
