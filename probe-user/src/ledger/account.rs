//! One target's account: a cache line that senders and receivers share, and a little beside it that senders alone read.

use super::{
    TargetRow,
    addresses::Addresses,
    flows::Flows,
    group::{Group, Groups},
    later::Later,
    runs::{RunState, Runs},
    segment::{Page, Segment},
    sent::SentTime,
    slot::{Cell, HopWord, Side, Slot},
    window::Place,
};
use crate::{
    base::{
        AddressHandle, Cause, Destination, Family, Generation, Nanos, Outcome, ProbeNumber, Sequence, State,
        TargetIndex,
    },
    health::Health,
    route::{Hops, NO_ROUTE, NO_SOURCE},
    targets::INLINE_PLACES,
};
use std::{
    net::IpAddr,
    sync::atomic::Ordering::{Acquire, Relaxed, Release},
};

/// A target's account, looked up once for all that is done with it.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    pub(super) target: TargetIndex,
    pub(super) cell: &'a Cell,
    /// In which segment it is, and which of its targets.
    pub(super) place: (usize, usize),
    pub(super) tables: &'a Tables,
}

/// What accounts are looked up in.
#[derive(Debug)]
pub(super) struct Tables {
    /// Slots of the start end here.
    pub(super) end: u32,
    /// Those of the start, all whole but the last.
    pub(super) segments: Box<[Segment]>,
    /// Slots that came later.
    pub(super) pages: boxcar::Vec<Page>,
    pub(super) runs: Runs,
    pub(super) groups: Groups,
    pub(super) addresses: Addresses,
    pub(super) flows: Flows,
    pub(super) later: Later,
}

/// A target that is put into a vacant slot.
#[derive(Clone, Copy, Debug)]
pub struct Tenant {
    /// None: its name is not resolved yet.
    pub destination: Option<Destination>,
    /// By which next hop it is probed, or why by none.
    pub hop: u32,
    /// Its row of sums.
    pub row: u32,
}

/// When a probe was sent, as far as the ledger knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendTime {
    /// Its place is another's.
    Another,
    /// It has been entered, and the sender has not said yet.
    NotYet,
    /// Then.
    At(Nanos),
}

impl<'a> Account<'a> {
    /// Whose it is.
    #[inline]
    pub const fn target(self) -> TargetIndex {
        self.target
    }

    /// What senders alone want.
    #[inline]
    fn side(self) -> &'a Side {
        let (segment, index) = self.place;
        &self.tables.segment(segment).sides[index]
    }

    #[inline]
    fn slot(self) -> Slot<'a> {
        Slot { cell: self.cell, side: self.side() }
    }

    /// What it has in common with others.
    #[inline]
    pub fn group(self) -> &'a Group {
        self.tables.groups.of_row(self.row())
    }

    /// Which sender walks a target.
    #[inline]
    pub fn sender(self) -> usize {
        self.run().sender
    }

    /// The round that the run of its slot has come to.
    #[inline]
    pub fn round(self) -> u64 {
        self.run().round.load(Acquire)
    }

    /// The run that its slot belongs to.
    #[inline]
    fn run(self) -> &'a RunState {
        let (runs, (segment, _)) = (&self.tables.runs, self.place);
        &runs.all[match segment.checked_sub(self.tables.segments.len()) {
            None => runs.of_first(self.target.0),
            Some(page) => self.tables.pages[page].run.load(Acquire) as usize,
        }]
    }

    /// The place of a target's probe by its number, or by as much of it as a reply says.
    #[inline]
    pub fn place(self, number: u64) -> Place<'a> {
        self.place_of(self.group().places, number)
    }

    /// The same by who knows how many places the windows of the target's group have.
    #[inline]
    pub fn place_of(self, places: u32, number: u64) -> Place<'a> {
        let bit = (number & u64::from(places - 1)) as u32;
        if places <= INLINE_PLACES {
            return Place::new(&self.cell.window, bit);
        }
        let (segment, index) = self.place;
        self.tables.segment(segment).place(index, bit)
    }

    /// When a probe was sent that left before `now`; None where send times are not kept, or it is another's or not known yet.
    #[inline]
    pub fn sent(self, number: u64, now: Nanos) -> Option<Nanos> {
        let (of, sent) = self.sent_at(number)?.before(now.0);
        sent.filter(|_| of == low(number)).map(Nanos)
    }

    /// The same by the low bits of the probe's number alone, those in `mask`, for an answer that came before `now`: where these are
    /// another's, whatever was sent with them is past its deadline.
    #[inline]
    pub fn sent_by_low(self, (number, mask): (u8, u8), now: Nanos) -> SendTime {
        let Some(at) = self.sent_at(number.into()) else { return SendTime::Another };
        match at.before(now.0) {
            (of, _) if of & mask != number => SendTime::Another,
            (_, None) => SendTime::NotYet,
            (_, Some(sent)) => SendTime::At(Nanos(sent)),
        }
    }

    /// A probe is about to be entered: when it was sent is not known yet, and what was sent before by the same place is past. Only the
    /// sender of the target calls this, where answers bring no send time.
    #[inline]
    pub fn forget_sent(self, number: u64) {
        if let Some(at) = self.sent_at(number) {
            at.forget(low(number));
        }
    }

    /// Notes when a probe was sent, where that is kept. Only the sender of the target calls this.
    #[inline]
    pub fn set_sent(self, number: u64, sent: Nanos) {
        if let Some(at) = self.sent_at(number) {
            at.set(low(number), sent.0);
        }
    }

    #[inline]
    fn sent_at(self, number: u64) -> Option<SentTime<'a>> {
        let (segment, index) = self.place;
        self.tables.segment(segment).sent(index, number)
    }

    /// Row of sums of a target.
    #[inline]
    pub fn row(self) -> u32 {
        self.cell.row()
    }

    /// The name has turned out to be of this family: from now on the target is in the row of such targets, which is returned. Only the
    /// sender of the target calls this.
    pub fn settle_row(self, family: Family) -> u32 {
        let row = self.tables.groups.row_of_family(self.row(), family);
        self.cell.row.store(row, Release);
        row
    }

    /// How long a target's probes may be answered.
    #[inline]
    pub fn timeout(self) -> Nanos {
        self.group().timeout
    }

    /// Who has the slot now.
    #[inline]
    pub fn generation(self) -> Generation {
        self.cell.generation()
    }

    /// Whether it has an address.
    #[inline]
    pub fn is_resolved(self) -> bool {
        self.side().address.load(Acquire) != 0
    }

    /// Where its next probe goes; None: nowhere, because its name is not resolved, it has been given up, or the slot has no target.
    #[inline]
    pub fn wanted(self) -> Option<Destination> {
        let (address, family) = self.slot().wanted()?;
        Some(Destination { family, handle: AddressHandle(address) })
    }

    /// Where its probes go, as they are told; None while its name is not resolved.
    #[inline]
    pub fn destination(self) -> Option<Destination> {
        match self.side().address.load(Acquire) {
            0 => None,
            address => Some(Destination { family: self.hop_word().family(), handle: AddressHandle(address) }),
        }
    }

    #[inline]
    fn hop_word(self) -> HopWord {
        self.slot().word()
    }

    /// Its address; None while its name is not resolved.
    pub fn address(self) -> Option<IpAddr> {
        self.destination().map(|to| self.tables.addresses.table.address(to))
    }

    /// By which of `hops` the probe of a number leaves, or why by none. `group`: the target's.
    #[inline]
    pub fn hop(self, hops: &Hops, group: &Group, number: u64) -> Result<u32, Cause> {
        let word = self.hop_word();
        let way = match (word.hop(), group.turn_of(word.family(), number)) {
            (first, None) => Ok(first),
            (first, Some(turn)) => hops.in_turn(first, turn),
        };
        match way {
            Err(NO_SOURCE) | Ok(NO_SOURCE) => Err(Cause::Source),
            Err(_) | Ok(NO_ROUTE) => Err(Cause::NoRoute),
            Ok(hop) => Ok(hop),
        }
    }

    /// Where the first of its hops is among all: the only one, unless probes leave from several sources in turn. [`NO_ROUTE`] or
    /// [`NO_SOURCE`] if there is none.
    #[inline]
    pub fn place_of_hop(self) -> u32 {
        self.hop_word().hop()
    }

    /// From its next due time on the target is probed by another hop, or by others. Of control threads, one at a time calls this.
    pub fn move_to(self, hop: u32) {
        self.slot().move_to(hop);
    }

    /// Whether the target has come to another hop, and what was on its way then has not landed yet.
    #[inline]
    pub fn has_moved(self) -> bool {
        HopWord(self.side().hop.load(Relaxed)).has_moved()
    }

    /// All that was on its way when the target came to its hop, `hop`, has landed. Only the sender of the target calls this.
    #[cold]
    pub fn has_arrived(self, hop: u32) {
        self.slot().has_arrived(hop);
    }

    /// The target is probed no more. What is in flight is settled as ever, and once it has landed the slot is vacant. Of control threads,
    /// one at a time calls this.
    pub fn give_up(self) {
        self.slot().give_up();
    }

    /// Whether it has been given up, and something may still be in flight.
    pub fn is_given_up(self) -> bool {
        self.hop_word().is_given_up()
    }

    /// Whether there is no target.
    pub fn is_vacant(self) -> bool {
        self.hop_word().is_vacant()
    }

    /// If nothing of a target that was given up is in flight any more, its slot is vacant from now on, and no word about it is believed
    /// any more. Returns what it was held to be. Only the sender of the target calls this.
    #[cold]
    pub fn vacate(self) -> Option<State> {
        let (segment, index) = self.place;
        self.slot().vacate(|| self.tables.segment(segment).is_quiet(index, self.group().places))
    }

    /// Puts a target into a vacant slot: it is probed from its next due time on. One control thread calls this.
    pub fn fill(self, tenant: Tenant) {
        let Tenant { destination, hop, row } = tenant;
        self.slot().fill(destination, hop, row);
    }

    /// A name has been resolved: from its next due time on the target is probed. Only for targets that have no address yet.
    pub fn resolve(self, address: IpAddr, hop: u32) {
        self.slot().resolve(self.tables.addresses.table.enter(address), hop);
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
        // A target whose probes are to find routers has nobody who asks how many did: errors and hops are one count here.
        let counter = if matches!(outcome, Outcome::Hop) { Outcome::Unreachable } else { outcome };
        self.cell.settled[counter as usize].fetch_add(1, Release);
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
        Health::from_bits(self.side().health.load(Relaxed))
    }

    /// Only the sender of the target calls this.
    #[inline]
    pub fn set_health(self, health: Health) {
        self.side().health.store(health.to_bits(), Relaxed);
    }

    /// The full number of a probe from what its reply says: the latest with these low bits that has been entered.
    #[inline]
    pub fn number_of(self, sequence: Sequence) -> ProbeNumber {
        let sequence = if cfg!(broken = "sequence") { Sequence(sequence.0.wrapping_sub(1)) } else { sequence };
        self.latest(sequence.0.into(), 0xffff)
    }

    /// The same from the low bits that `mask` has.
    #[inline]
    pub fn number_of_low(self, (number, mask): (u8, u8)) -> ProbeNumber {
        self.latest(number.into(), mask.into())
    }

    #[inline]
    fn latest(self, low: u64, mask: u64) -> ProbeNumber {
        let round = self.round();
        ProbeNumber(round.wrapping_sub(round.wrapping_sub(low) & mask))
    }

    /// What a target's own series show. Settled counters are read before the entered one.
    pub fn shown(self) -> TargetRow {
        let settled = std::array::from_fn(|i| u64::from(self.cell.settled[i].load(Acquire)));
        let last = self.cell.last_reply.load(Relaxed);
        TargetRow {
            path_hops: None,
            address: self.address(),
            state: self.health().state(),
            rtt_sum: self.cell.rtt_sum.load(Relaxed),
            last_reply: (last != 0).then_some(Nanos(last)),
            settled,
            probes: self.cell.entered.load(Acquire) >> 16,
        }
    }
}

/// What is kept of a number beside a send time.
#[inline]
const fn low(number: u64) -> u8 {
    (number & 0xff) as u8
}
