//! Runs: slots whose numbers follow one another, that one sender walks round after round for a group.

use super::{atomic::AtomicU64, grown::Grown};
use crate::targets::Plan;
use crossbeam::utils::CachePadded;
use std::{
    ops::Range,
    sync::atomic::{
        AtomicBool, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// A part of a group that one sender walks, round after round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of the group.
    pub group: usize,
    /// Index of the run among all.
    pub number: usize,
    /// Its slots, in the order of the schedule.
    pub targets: Range<u32>,
}

/// What is known of a run.
#[derive(Debug)]
pub(super) struct RunState {
    pub(super) run: Run,
    pub(super) sender: usize,
    /// The round that it has come to.
    pub(super) round: CachePadded<AtomicU64>,
    /// Nobody will be put into it any more: its sender ends it when all have left.
    closed: AtomicBool,
    /// Its sender has ended it: whoever walks its slots next begins anew.
    ended: AtomicBool,
}

impl RunState {
    pub(super) fn new(run: Run, sender: usize, round: u64) -> Self {
        let round = CachePadded::new(AtomicU64::new(round));
        Self { run, sender, round, closed: AtomicBool::new(false), ended: AtomicBool::new(false) }
    }
}

/// All runs that there have been, and which of them the slots of the start belong to now.
#[derive(Debug)]
pub(super) struct Runs {
    pub(super) all: Grown<RunState>,
    /// Where the runs of the start end, in order; those that lie there now.
    ends: Box<[u32]>,
    now: Box<[AtomicU32]>,
}

impl Runs {
    /// Of the plan, whose groups so many senders share.
    pub(super) fn new(plan: &Plan, senders: usize) -> Self {
        let senders = u32::try_from(senders).unwrap_or(1).max(1);
        let mut all = Vec::new();
        for (group, targets) in plan.groups.iter().map(|group| group.targets.clone()).enumerate() {
            for (sender, targets) in shares(targets, senders).enumerate() {
                all.push(RunState::new(Run { group, number: all.len(), targets }, sender, 0));
            }
        }
        let ends = all.iter().map(|state| state.run.targets.end).collect();
        let now = (0..).take(all.len()).map(AtomicU32::new).collect();
        Self { all: all.into_iter().collect(), ends, now }
    }

    /// The run that a slot of the start belongs to.
    #[inline]
    pub(super) fn of_first(&self, target: u32) -> usize {
        let place = self.ends.partition_point(|end| *end <= target);
        self.now.get(place).map_or(0, |run| run.load(Acquire) as usize)
    }

    /// Another run lies over the slots of one of the start.
    pub(super) fn lay_over(&self, targets: &Range<u32>, run: usize) {
        let place = self.ends.partition_point(|end| *end <= targets.start);
        if let Some(now) = self.now.get(place) {
            now.store(u32::try_from(run).unwrap_or(u32::MAX), Release);
        }
    }

    pub(super) fn close(&self, run: usize) {
        self.all[run].closed.store(true, Release);
    }

    #[inline]
    pub(super) fn is_closed(&self, run: usize) -> bool {
        self.all[run].closed.load(Relaxed)
    }

    pub(super) fn end(&self, run: usize) {
        self.all[run].ended.store(true, Release);
    }

    pub(super) fn has_ended(&self, run: usize) -> bool {
        self.all[run].ended.load(Acquire)
    }
}

/// What each of so many senders has of some slots: as many as any other, and the last ones less or nothing.
pub(super) fn shares(targets: Range<u32>, senders: u32) -> impl Iterator<Item = Range<u32>> {
    let each = (targets.end - targets.start).div_ceil(senders).max(1);
    let (start, end) = (targets.start, targets.end);
    (start..end).step_by(each as usize).map(move |first| first..first.saturating_add(each).min(end))
}
