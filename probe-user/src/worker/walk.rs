//! A sender's way through the targets of one run, round by round: what is due, what is in flight, what lands next.

use super::drops_known::DropsKnown;
use crate::{
    base::{Nanos, Sequence, TargetIndex},
    ledger::{Group, Run},
    schedule::{Flights, Pacer},
    targets,
};

/// A run on its way round.
pub(super) struct Walk {
    pub(super) run: Run,
    pub(super) pacer: Pacer,
    pub(super) flights: Flights,
    pub(super) places: u32,
    pub(super) drops_known: DropsKnown,
    /// The next tick that lands.
    pub(super) landing: (u64, u32),
    /// Ticks that wait for their deadline: those of this turn, and all from the first on whose probe has found no room yet.
    pub(super) ticks: u32,
    /// If there were some before this turn: no earlier than this they were sent.
    pub(super) since: Option<Nanos>,
    /// The first whose probe has found no room yet: how many were before it, ever, and when it was first handed over.
    pub(super) held: Option<(u64, Nanos)>,
    /// Answers to its probes don't say when those were sent: the ledger has to.
    pub(super) is_mute: bool,
    /// None of its probes is due by itself: each is asked for.
    pub(super) is_asked: bool,
    /// As the plan says.
    pub(super) interval: Nanos,
    /// The round that it began with.
    pub(super) first: u64,
    /// Slots without a target that it has come by in this round.
    pub(super) vacant: u32,
    /// It has been through for the last time; what it holds may be another walk's once all has landed.
    pub(super) is_over: bool,
}

impl Walk {
    /// Through a run of this group, from a moment and a round on.
    pub(super) fn new(run: Run, planned: &targets::Group, group: &Group, start: Nanos, round: u64) -> Self {
        let slots = run.targets.end - run.targets.start;
        Self {
            pacer: Pacer::new(slots, planned.interval, start, planned.count).from_round(round),
            flights: Flights::new(group.timeout),
            places: group.places,
            drops_known: DropsKnown::new(planned, group.places),
            landing: (round, 0),
            ticks: 0,
            since: None,
            held: None,
            is_mute: group.ports.is_some(),
            is_asked: group.ttls.is_some(),
            interval: planned.interval,
            first: round,
            vacant: 0,
            is_over: false,
            run,
        }
    }

    /// How many slots it goes through.
    pub(super) fn slots(&self) -> u32 {
        self.run.targets.end - self.run.targets.start
    }

    /// Whether all that it entered has landed, after its end.
    pub(super) fn has_landed(&self) -> bool {
        self.is_over && self.ticks == 0 && self.flights.next_at().is_none()
    }

    #[inline]
    pub(super) fn target(&self, slot: u32) -> TargetIndex {
        TargetIndex(self.run.targets.start + slot)
    }

    /// Whether the place that a probe of this round needs has landed since its last use.
    #[inline]
    pub(super) fn is_free(&self, round: u64, slot: u32) -> bool {
        round - self.first < u64::from(self.places) || self.landing > (round - u64::from(self.places), slot)
    }

    /// Whether the target is of this run.
    pub(super) fn has(&self, target: TargetIndex) -> bool {
        self.run.targets.contains(&target.0) && !self.is_over
    }

    /// Which place of a window a probe of this number has.
    #[inline]
    pub(super) fn place(&self, number: u64) -> u32 {
        (number & u64::from(self.places - 1)) as u32
    }

    /// Whether there is nothing to be entered because the window is full, where nothing is missed by waiting until it is not.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        let (round, slot) = self.pacer.next_place();
        self.pacer.is_counted() && !self.is_free(round, slot)
    }

    /// When the next tick may be had.
    #[inline]
    pub(super) fn next_at(&self) -> Option<Nanos> {
        if self.waits() { None } else { self.pacer.next_at() }
    }

    /// How many ticks were before this one, ever.
    #[inline]
    pub(super) fn ordinal(&self, target: TargetIndex, number: u64) -> u64 {
        (number - self.first) * u64::from(self.slots()) + u64::from(target.0 - self.run.targets.start)
    }

    /// Gives what has been handed over its deadline: all but what comes behind a probe that has found no room yet.
    pub(super) fn push(&mut self, begun: Nanos, ended: Nanos) {
        if self.ticks == 0 {
            return;
        }
        let since = self.since.unwrap_or(begun);
        let (gone, rest) = match self.held {
            None => (self.ticks, None),
            Some((ordinal, offered)) => {
                let gone = u32::try_from(ordinal - self.flights.pushed()).unwrap_or(self.ticks).min(self.ticks);
                (gone, Some(if gone > 0 { offered } else { since.min(offered) }))
            }
        };
        if gone > 0 {
            self.flights.push(gone, since, ended);
        }
        self.ticks -= gone;
        self.since = rest;
    }

    /// The probe of a target that has not landed and whose number has these low bits: its number, and by when it has
    /// to be answered. The target is of this run.
    ///
    /// If there is a pending probe in the place of that number, it is this one and no other: places are taken in the order of
    /// the numbers, each after the number before it in the same place has landed, and this is the first in its place of all
    /// that have not landed. All 16 bits are compared, and a window has at most half as many places, so an error about an
    /// earlier probe in the same place finds other bits; until 65,536 rounds later, when the bits are the same. At the shortest
    /// interval that is 655 s: a datagram lives for at most 255 s (RFC 791, "Time to Live"), and so does the error about it.
    pub(super) fn in_flight(&self, target: TargetIndex, sequence: Sequence) -> Option<(u64, Nanos)> {
        let slot = target.0 - self.run.targets.start;
        let first = self.landing.0 + u64::from(slot < self.landing.1);
        let number = first + (u64::from(sequence.0).wrapping_sub(first) & 0xffff);
        if number - first >= u64::from(self.places) {
            return None;
        }
        let ordinal = self.ordinal(target, number);
        let unpushed = self.flights.pushed()..self.flights.pushed() + u64::from(self.ticks);
        let deadline = if unpushed.contains(&ordinal) { Nanos::MAX } else { self.flights.deadline_of(ordinal)? };
        Some((number, deadline))
    }
}
