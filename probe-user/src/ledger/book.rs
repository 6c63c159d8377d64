//! The ledger: everybody's account, and what is known of groups and addresses.

use super::{
    account::{Account, Tables},
    addresses::Addresses,
    flows::Flows,
    group::{Group, Groups, PortProof, Ports},
    segment::{self, Cell, Segment},
    window,
};
use crate::{
    base::{Outcome, State, TargetIndex},
    targets::Plan,
    wire::NumberIn,
};
use std::{
    hint::black_box,
    net::IpAddr,
    ops::{Range, RangeInclusive},
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, Release},
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
    tables: Tables,
    /// The cells of the first, without a look into the list: with it a probe took the ledger a tenth longer (`bench micro`).
    first: Arc<[Cell]>,
    expiring_flows: u16,
}

impl Ledger {
    /// For the targets of `plan`, whose next hops are `hops` (parallel to its targets), walked by `senders` threads. `timed`: the send
    /// time of each probe in flight is kept.
    pub fn new(plan: &Plan, hops: &[u32], senders: usize, timed: bool) -> Self {
        let groups = Groups::new(plan, senders);
        let end = u32::try_from(plan.targets.len()).unwrap_or(u32::MAX);
        let starts = (0..end).step_by(segment::TARGETS as usize);
        let ranges = starts.map(|start| start..start.saturating_add(segment::TARGETS).min(end));
        let segments: Box<[_]> = ranges.map(|range| Segment::new(plan, hops, &groups.all, range, timed)).collect();
        let first = segments.first().map_or_else(|| Arc::from([]), |first: &Segment| Arc::clone(&first.cells));
        let flows = Flows::new(plan, &groups.all);
        Self {
            tables: Tables { segments, groups, addresses: Addresses::new(plan), flows },
            first,
            expiring_flows: plan.expiring_flows(),
        }
    }

    /// The reserved ports begin here.
    #[must_use]
    pub fn sending_from(mut self, first_port: u16) -> Self {
        self.tables.flows.first_port = first_port;
        self
    }

    /// Where they begin.
    #[inline]
    pub fn first_port(&self) -> u16 {
        self.tables.flows.first_port
    }

    /// Of how many flows echo requests are that are to expire on the way; 0: none is.
    #[inline]
    pub fn expiring_flows(&self) -> u16 {
        self.expiring_flows
    }

    /// How many targets.
    pub fn len(&self) -> usize {
        self.tables.segments.iter().map(|segment| segment.cells.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tables.segments.is_empty()
    }

    /// Whether there is such a target.
    #[inline]
    pub fn has(&self, target: TargetIndex) -> bool {
        self.cell(target).is_some()
    }

    /// The parts of all groups that sender `sender` of as many as the ledger was made for walks.
    pub fn runs_of(&self, sender: usize) -> Vec<Run> {
        let part = |(group, facts): (usize, &Group)| {
            let first = facts.targets.start + facts.per_run.checked_mul(u32::try_from(sender).ok()?)?;
            let targets = first..(first + facts.per_run).min(facts.targets.end);
            (first < facts.targets.end).then_some(Run { group, part: sender, targets })
        };
        self.tables.groups.all.iter().enumerate().filter_map(part).collect()
    }

    /// Fetches what a reply will change. For a burst of replies before they are settled: processors wait for many loads at a time, and
    /// for an atomic change alone.
    #[inline]
    pub fn fetch(&self, target: TargetIndex) {
        if let Some(cell) = self.cell(target) {
            black_box(cell.row.load(Relaxed));
        }
    }

    /// Fetches what leads from an address to its targets.
    #[inline]
    pub fn fetch_flow(&self, address: IpAddr) {
        self.tables.flows.fetch(address);
    }

    /// Fetches what an answer of this address to this port of ours will change, and what it is judged by. Quick only after
    /// [`Ledger::fetch_flow`].
    #[inline]
    pub fn fetch_target_of_flow(&self, address: IpAddr, port: u16) {
        let flows = &self.tables.flows;
        let Some(group) = flows.group(port).map(|group| self.group(group)) else { return };
        if let Some(target) = flows.candidates(address).find(|target| group.targets.contains(&target.0)) {
            let (segment, index) = segment::place_of(target.0);
            self.fetch(target);
            if let Some(segment) = self.tables.segments.get(segment) {
                segment.fetch(index);
            }
        }
    }

    #[inline]
    fn cell(&self, target: TargetIndex) -> Option<&Cell> {
        let (segment, index) = segment::place_of(target.0);
        if segment == 0 { self.first.get(index) } else { self.tables.segments.get(segment)?.cells.get(index) }
    }

    /// A target's account. Panics where there is no such target: ask [`Ledger::has`] about numbers from elsewhere.
    #[inline]
    pub fn account(&self, target: TargetIndex) -> Account<'_> {
        let (segment, index) = segment::place_of(target.0);
        let cells = if segment == 0 { &self.first } else { &self.tables.segments[segment].cells };
        Account { target, cell: &cells[index], place: (segment, index), tables: &self.tables }
    }

    /// What the targets of a group have in common.
    #[inline]
    pub fn group(&self, group: usize) -> &Group {
        &self.tables.groups.all[group]
    }

    /// The targets with this address: one in each group that names it. A search, where [`Account::address`] is a look.
    pub fn targets_at(&self, address: IpAddr) -> impl Iterator<Item = TargetIndex> {
        self.tables.addresses.candidates(address).filter(move |target| self.account(*target).address() == Some(address))
    }

    /// The targets with this address that are probed between these ports, ours and theirs: one, but for names that turned out to be the
    /// same host.
    #[inline]
    pub fn targets_of_flow(&self, address: IpAddr, (ours, theirs): (u16, u16)) -> impl Iterator<Item = TargetIndex> {
        let tables = &self.tables;
        let group = tables.flows.group(ours).map(|group| self.group(group));
        let group = group.filter(|group| group.ports.is_some_and(|ports| ports.to == theirs));
        group.into_iter().flat_map(move |group| {
            let known = tables.flows.candidates(address).chain(tables.addresses.unresolved());
            known.filter(move |target| {
                group.targets.contains(&target.0) && self.account(*target).address() == Some(address)
            })
        })
    }

    /// By what the number of a probe from this port of ours is told; None: no group sends from it.
    #[inline]
    pub fn number_in(&self, port: u16) -> Option<NumberIn> {
        let flows = &self.tables.flows;
        let Ports { first, count, proof, .. } = self.group(flows.group(port)?).ports?;
        let first = flows.first_port.saturating_add(first);
        Some(match proof {
            PortProof::Sequence => NumberIn::Sequence,
            PortProof::Word => NumberIn::Word,
            PortProof::None => NumberIn::Port { first, count },
        })
    }

    /// Whether an address of a target lies in this range.
    pub fn is_any_in(&self, range: &RangeInclusive<IpAddr>) -> bool {
        self.tables.addresses.is_any_in(range, |target| self.account(target).address())
    }

    /// The sender says which round a run is in, before it sends a probe of it.
    #[inline]
    pub fn begin_round(&self, run: &Run, round: u64) {
        self.tables.groups.all[run.group].rounds[run.part].store(round, Release);
    }

    /// How many of the first `targets` targets have answered at least once.
    pub fn answered_targets(&self, targets: usize) -> u64 {
        let cells = self.tables.segments.iter().flat_map(|segment| &*segment.cells).take(targets);
        cells.filter(|cell| cell.settled[Outcome::Answered as usize].load(Relaxed) > 0).count() as u64
    }

    /// Unsettled bits, counted one by one: the audit of *in flight*.
    pub fn unsettled(&self) -> u64 {
        self.tables.segments.iter().flat_map(Segment::windows).map(|words| u64::from(window::pending(words))).sum()
    }

    /// States of the targets by row of sums, for the tally that starts with them: indexed by row, then like `State::ALL`.
    pub fn states(&self, targets: Range<u32>) -> Vec<[u64; State::ALL.len()]> {
        let mut rows = vec![[0; State::ALL.len()]; self.tables.groups.rows()];
        for target in targets.map(TargetIndex) {
            let account = self.account(target);
            rows[account.row() as usize][account.health().state() as usize] += 1;
        }
        rows
    }
}
