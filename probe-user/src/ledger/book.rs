//! The ledger: everybody's account, and what is known of groups and addresses.

use super::{
    account::{Account, Tables},
    addresses::Addresses,
    atomic::Ordering::{Acquire, Relaxed, Release},
    flows::{Flows, mute_targets},
    group::{Group, Groups, PortProof, Ports},
    later::Later,
    runs::{Run, RunState, Runs},
    segment::{self, Page, Segment},
    slot::Cell,
    window,
};
use crate::{
    base::{Destination, Outcome, State, TargetIndex},
    targets::{self, PAGE, Plan},
    wire::{NumberIn, Shape},
};
use std::{
    hint::black_box,
    net::IpAddr,
    ops::{Range, RangeInclusive},
    sync::Arc,
};

/// Who owes what: every target's window, counters and state.
#[derive(Debug)]
pub struct Ledger {
    tables: Tables,
    /// The cells of the first, without a look into the list: with it a probe took the ledger a tenth longer (`bench micro`).
    first: Arc<[Cell]>,
    expiring_flows: u16,
    senders: u32,
    /// When probes were sent is kept.
    timed: bool,
}

impl Ledger {
    /// For the targets of `plan`, whose next hops are `hops` (parallel to its targets), walked by `senders` threads. `timed`: the send
    /// time of each probe in flight is kept.
    pub fn new(plan: &Plan, hops: &[u32], senders: usize, timed: bool) -> Self {
        let groups = Groups::new(plan);
        let end = u32::try_from(plan.targets.len()).unwrap_or(u32::MAX);
        let starts = (0..end).step_by(segment::TARGETS as usize);
        let ranges = starts.map(|start| start..start.saturating_add(segment::TARGETS).min(end));
        let segments: Box<[_]> = ranges.map(|range| Segment::new(plan, hops, &groups.all, range, timed)).collect();
        let first = segments.first().map_or_else(|| Arc::from([]), |first: &Segment| Arc::clone(&first.cells));
        let flows = Flows::new(groups.all.iter(), &mute_targets(plan, &groups));
        let targets = (0..).map(TargetIndex).zip(&plan.targets).map(|(index, target)| (index, target.destination));
        Self {
            tables: Tables {
                end,
                segments,
                pages: boxcar::Vec::new(),
                runs: Runs::new(plan, senders),
                groups,
                addresses: Addresses::new(&targets, &plan.addresses),
                flows,
                later: Later::default(),
            },
            first,
            expiring_flows: plan.expiring_flows(),
            senders: u32::try_from(senders).unwrap_or(1).max(1),
            timed,
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

    /// All slots that there are, with a target or without.
    pub fn slots(&self) -> impl Iterator<Item = TargetIndex> + Clone {
        let first = self.tables.first_page();
        let pages = u32::try_from(self.tables.pages.count()).unwrap_or(0);
        (0..self.tables.end).chain(first..first + pages * PAGE).map(TargetIndex)
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.tables.end as usize + self.tables.pages.count() * PAGE as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is such a slot.
    #[inline]
    pub fn has(&self, target: TargetIndex) -> bool {
        self.cell(target).is_some()
    }

    /// The runs that sender `sender` of as many as the ledger was made for walks from the start on.
    pub fn runs_of(&self, sender: usize) -> Vec<Run> {
        let own = self.tables.runs.all.iter().filter(|state| state.sender == sender);
        own.map(|state| state.run.clone()).collect()
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
        let Some(ports) = self.ports(port) else { return };
        let of_flow = |target: &TargetIndex| self.has(*target) && self.account(*target).group().ports == Some(ports);
        if let Some(target) = self.tables.flows.candidates(address).find(of_flow) {
            let (segment, index) = self.tables.place_of(target.0);
            self.fetch(target);
            self.tables.segment(segment).fetch(index);
        }
    }

    /// What the group that sends from this port of ours says of its ports.
    #[inline]
    fn ports(&self, port: u16) -> Option<Ports> {
        self.group(self.tables.flows.group(port)?).ports
    }

    #[inline]
    fn cell(&self, target: TargetIndex) -> Option<&Cell> {
        let (segment, index) = segment::place_of(target.0);
        match self.first.get(index) {
            Some(cell) if segment == 0 => Some(cell),
            _ => self.further(target).map(|(_, cell)| cell),
        }
    }

    /// Where a target's account is that is not in the first segment.
    #[inline]
    fn further(&self, target: TargetIndex) -> Option<((usize, usize), &Cell)> {
        let place = segment::place_of(target.0);
        match self.tables.segments.get(place.0) {
            // The last of them may have a part of its slots.
            Some(segment) if target.0 < self.tables.end => Some((place, segment.cells.get(place.1)?)),
            _ => self.later(target),
        }
    }

    /// Where that of a slot is that came later. A call, so that what is done for all others stays short.
    #[inline(never)]
    fn later(&self, target: TargetIndex) -> Option<((usize, usize), &Cell)> {
        let place = self.tables.place_of(target.0);
        let page = self.tables.pages.get(place.0.checked_sub(self.tables.segments.len())?)?;
        Some((place, page.segment.cells.get(place.1)?))
    }

    /// A target's account. Panics where there is no such slot: ask [`Ledger::has`] about numbers from elsewhere.
    #[inline]
    pub fn account(&self, target: TargetIndex) -> Account<'_> {
        let place = segment::place_of(target.0);
        let (place, cell) = match self.first.get(place.1) {
            Some(cell) if place.0 == 0 => (place, cell),
            _ => match self.further(target) {
                Some(found) => found,
                None => panic!("there is no slot {}", target.0),
            },
        };
        Account { target, cell, place, tables: &self.tables }
    }

    /// What the targets of a group have in common.
    #[inline]
    pub fn group(&self, group: usize) -> &Group {
        &self.tables.groups.all[group]
    }

    /// The targets with this address: one in each group that names it. A search, where [`Account::address`] is a look.
    pub fn targets_at(&self, address: IpAddr) -> impl Iterator<Item = TargetIndex> {
        let later = self.tables.later.at(address);
        let known = self.tables.addresses.candidates(address).chain(later);
        known.filter(move |target| self.account(*target).address() == Some(address))
    }

    /// The targets with this address that are probed between these ports, ours and theirs: one, but for names that turned out to be the
    /// same host.
    #[inline]
    pub fn targets_of_flow(&self, address: IpAddr, (ours, theirs): (u16, u16)) -> impl Iterator<Item = TargetIndex> {
        let tables = &self.tables;
        let ports = self.ports(ours).filter(|ports| ports.to == theirs);
        ports.into_iter().flat_map(move |ports| {
            let known = tables.flows.candidates(address).chain(tables.addresses.unresolved());
            known.chain(tables.later.of_flow(address)).filter(move |target| {
                let account = self.account(*target);
                account.address() == Some(address) && account.group().ports == Some(ports)
            })
        })
    }

    /// By what the number of a probe from this port of ours is told; None: no group sends from it.
    #[inline]
    pub fn number_in(&self, port: u16) -> Option<NumberIn> {
        let Ports { first, count, proof, .. } = self.ports(port)?;
        let first = self.tables.flows.first_port.saturating_add(first);
        Some(match proof {
            PortProof::Sequence => NumberIn::Sequence,
            PortProof::Word => NumberIn::Word,
            PortProof::None => NumberIn::Port { first, count },
        })
    }

    /// Whether an address of a target lies in this range.
    pub fn is_any_in(&self, range: &RangeInclusive<IpAddr>) -> bool {
        let address = |target| self.account(target).address();
        self.tables.addresses.is_any_in(range, address) || self.tables.later.is_any_in(range, address)
    }

    /// The sender says which round a run is in, before it sends a probe of it.
    #[inline]
    pub fn begin_round(&self, run: &Run, round: u64) {
        self.tables.runs.all[run.number].round.store(round, Release);
    }

    /// How many of these targets have answered at least once.
    pub fn answered_targets(&self, targets: impl Iterator<Item = TargetIndex>) -> u64 {
        let cells = targets.filter_map(|target| self.cell(target));
        cells.filter(|cell| cell.settled[Outcome::Answered as usize].load(Relaxed) > 0).count() as u64
    }

    /// Unsettled bits, counted one by one: the audit of *in flight*.
    pub fn unsettled(&self) -> u64 {
        self.tables.segments().flat_map(Segment::windows).map(|words| u64::from(window::pending(words))).sum()
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

/// What one control thread changes while loops are at work.
impl Ledger {
    /// How many groups there have been.
    pub fn groups(&self) -> usize {
        self.tables.groups.all.len()
    }

    /// Adds a group, and says which it is. Its shapes are among those of the start, see [`Ledger::has_shape`].
    pub fn add_group(&self, group: &targets::Group, plan: &Plan) -> usize {
        self.tables.groups.add(group, &plan.sources)
    }

    /// Whether probes may look like this.
    pub fn has_shape(&self, shape: Shape) -> bool {
        self.tables.groups.has_shape(shape)
    }

    /// How many rows of sums there have been.
    pub fn rows(&self) -> usize {
        self.tables.groups.rows()
    }

    /// Adds a row of sums to a group; `of_families`: those of targets with the same labels. The tallies must have it before.
    pub fn add_row(&self, group: usize, of_families: [u32; 2]) {
        self.tables.groups.add_row(group, of_families);
    }

    /// Adds slots without targets for a group: a run for each sender that there are enough of. `round`: that of their first probes.
    /// None: there are no numbers left.
    pub fn add_runs(&self, group: usize, many: u32, round: u64) -> Option<Vec<(usize, Run)>> {
        let facts = self.group(group);
        let first = self.next_slot();
        let pages = many.div_ceil(PAGE);
        first.checked_add(pages.checked_mul(PAGE)?)?;
        for _ in 0..pages {
            let segment = Segment::vacant(facts.places, facts.is_timed(self.timed));
            self.tables.pages.push(Page { segment, run: super::atomic::AtomicU32::new(0) });
        }
        // A page is one run's.
        let each = pages.div_ceil(self.senders).max(1) * PAGE;
        let runs = (0..many).step_by(each as usize).enumerate().map(|(sender, start)| {
            let targets = first + start..first + (start + each).min(many);
            (sender, self.lay_run(group, sender, targets, round))
        });
        Some(runs.collect())
    }

    /// From now on these slots, which are vacant and walked by nobody, are a run of that sender's.
    pub fn lay_run(&self, group: usize, sender: usize, targets: Range<u32>, round: u64) -> Run {
        let number = self.tables.runs.all.len();
        let run = Run { group, number, targets: targets.clone() };
        self.tables.runs.all.push(RunState::new(run.clone(), sender, round));
        if targets.start < self.tables.end {
            self.tables.runs.lay_over(&targets, number);
        } else {
            let page = |slot: u32| ((slot - self.tables.first_page()) / PAGE) as usize;
            for page in page(targets.start)..=page(targets.end - 1) {
                self.tables.pages[page].run.store(u32::try_from(number).unwrap_or(u32::MAX), Release);
            }
        }
        run
    }

    /// The first of the slots that are added next.
    pub fn next_slot(&self) -> u32 {
        self.tables.first_page() + u32::try_from(self.tables.pages.count()).unwrap_or(0) * PAGE
    }

    /// A run, and its sender.
    pub fn run(&self, number: usize) -> (usize, &Run) {
        let state = &self.tables.runs.all[number];
        (state.sender, &state.run)
    }

    /// All runs that somebody walks, each with its sender.
    pub fn open_runs(&self) -> impl Iterator<Item = (usize, &Run)> {
        let runs = &self.tables.runs;
        let open = runs.all.iter().filter(|state| !runs.has_ended(state.run.number));
        open.map(|state| (state.sender, &state.run))
    }

    /// Nobody will be put into a run any more: once all have left, its sender ends it.
    pub fn close_run(&self, run: usize) {
        self.tables.runs.close(run);
    }

    /// Whether it has been closed, and its sender has ended it: its slots may be laid into another.
    pub fn has_ended(&self, run: usize) -> bool {
        self.tables.runs.has_ended(run)
    }

    /// Whether it is closed.
    #[inline]
    pub fn is_closed(&self, run: usize) -> bool {
        self.tables.runs.is_closed(run)
    }

    /// Its sender walks it no more, and nothing in it will land.
    pub fn end_run(&self, run: usize) {
        self.tables.runs.end(run);
    }

    /// The round that a run has come to.
    pub fn round_of(&self, run: &Run) -> u64 {
        self.tables.runs.all[run.number].round.load(Acquire)
    }

    /// What the targets of a row of sums have in common.
    pub fn group_of_row(&self, row: u32) -> &Group {
        self.tables.groups.of_row(row)
    }

    /// After how many probes targets of a group are up or down from now on.
    pub fn judge_after(&self, group: usize, up: u32, down: u32) {
        self.group(group).judge_after(up, down);
    }

    /// Whether the send times of all probes are kept.
    pub fn is_timed(&self) -> bool {
        self.timed
    }

    /// From now on addresses of these lead to them as well: all that have come since the start, each with whether its answers say no more
    /// than addresses and ports. Returns what was said before, which is to be kept until [`Arc::strong_count`] says that nobody reads it:
    /// loops free nothing.
    pub fn find_later(&self, slots: &[(TargetIndex, Option<Destination>, bool)]) -> Option<Arc<super::later::Table>> {
        let table = &self.tables.addresses.table;
        let mute = slots.iter().filter(|(.., is_mute)| *is_mute);
        let mute: Vec<_> = mute.filter_map(|(slot, to, _)| Some((table.address((*to)?), *slot))).collect();
        let addresses = Addresses::new(&slots.iter().map(|(slot, to, _)| (*slot, *to)), table);
        self.tables.later.replace(addresses, Flows::new(std::iter::empty(), &mute))
    }
}

impl Tables {
    /// Where the first slot of those that come later is.
    #[inline]
    pub(super) const fn first_page(&self) -> u32 {
        self.end.next_multiple_of(PAGE)
    }

    /// Which segment a slot is in, counting pages behind the segments of the start, and which of its slots it is.
    #[inline]
    pub(super) fn place_of(&self, target: u32) -> (usize, usize) {
        if target < self.end {
            return segment::place_of(target);
        }
        let Some(further) = target.checked_sub(self.first_page()) else { return (usize::MAX, 0) };
        (self.segments.len() + (further / PAGE) as usize, (further % PAGE) as usize)
    }

    /// A segment, or a page.
    #[inline]
    pub(super) fn segment(&self, number: usize) -> &Segment {
        match self.segments.get(number) {
            Some(segment) => segment,
            None => self.page(number),
        }
    }

    #[inline(never)]
    fn page(&self, number: usize) -> &Segment {
        &self.pages[number - self.segments.len()].segment
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().chain(self.pages.iter().map(|(_, page)| &page.segment))
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
