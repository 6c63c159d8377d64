//! One target in one round: what has been asked, what has come of it, and what is to be asked next.

use super::{Flows, Hop, Path, Wanted, distance};
use crate::base::{Ended, Nanos, TargetIndex};
use std::collections::HashSet;

/// Which probe of a round.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Which {
    pub(super) flow: u16,
    /// Of the first flow, the second time in the same round.
    pub(super) again: bool,
    /// 0: with the whole time to live, to learn how far the target is.
    pub(super) ttl: u8,
}

/// A target under way.
#[derive(Debug)]
pub(super) struct Progress {
    target: TargetIndex,
    round: u64,
    wanted: Wanted,
    /// How far the target is by what it answered: in this round, or in the one before.
    distance: Option<u8>,
    /// Whether that is still to be asked.
    asks_distance: bool,
    flows: Vec<Way>,
    /// The first flow again, where there are several.
    again: Option<Way>,
    /// Where the search for something to ask goes on.
    turn: usize,
}

/// One flow's way.
#[derive(Debug, Default)]
struct Way {
    /// By time to live less the first.
    hops: Vec<Option<Hop>>,
    /// Times to live that have been asked for: all below this.
    asked: u8,
    /// The nearest that ends it: the target answered, or somebody refused.
    end: Option<u8>,
    /// The farthest router that was heard.
    heard: u8,
}

impl Progress {
    /// `known`: how far the target was in the round before.
    pub(super) fn new(target: TargetIndex, round: u64, wanted: Wanted, known: Option<u8>) -> Self {
        let flows = wanted.flows.needed(1);
        Self {
            target,
            round,
            wanted,
            distance: known.map(|distance| distance.clamp(wanted.first, wanted.most)),
            asks_distance: known.is_none(),
            flows: (0..flows).map(|_| Way::new(wanted)).collect(),
            again: (flows > 1).then(|| Way::new(wanted)),
            turn: 0,
        }
    }

    /// How far the target is, as far as this round has found.
    pub(super) fn found(&self) -> Option<u8> {
        self.flows.iter().filter_map(|way| way.end).min().or(self.distance)
    }

    /// What may be asked now; [`Progress::asked`] says that it has been. Flows take turns.
    pub(super) fn next(&self) -> Option<Which> {
        if self.asks_distance {
            return Some(Which { flow: 0, again: false, ttl: 0 });
        }
        let ways = self.flows.len() + usize::from(self.again.is_some());
        let turns = (0..ways).map(|step| self.at((self.turn + step) % ways));
        let mut asks = turns.filter_map(|index| {
            let way = self.way(index)?;
            let which = Which { flow: self.flow(index), again: index == self.flows.len(), ttl: way.asked };
            (way.asked <= way.farthest(&self.wanted, self.distance)).then_some(which)
        });
        asks.next()
    }

    /// What [`Progress::next`] said has been asked for.
    pub(super) fn asked(&mut self, which: Which) {
        if which.ttl == 0 {
            self.asks_distance = false;
            return;
        }
        let index = self.index(which);
        if let Some(way) = self.way_mut(index) {
            way.asked = which.ttl + 1;
        }
        self.turn = self.turn_of(index) + 1;
    }

    /// The last router that is known before this hop.
    pub(super) fn before(&self, which: Which) -> Option<Hop> {
        let way = self.way(self.index(which))?;
        let before = usize::from(which.ttl.saturating_sub(self.wanted.first));
        way.hops[..before.min(way.hops.len())].iter().rev().flatten().find(|hop| hop.is_heard()).copied()
    }

    /// What became of a probe.
    pub(super) fn settled(&mut self, which: Which, hop: Hop) {
        if which.ttl == 0 {
            if let Ended::Answered { ttl, .. } | Ended::Refused { ttl, .. } = hop.ended {
                self.distance = Some(distance(ttl).clamp(self.wanted.first, self.wanted.most));
            }
            return;
        }
        let (index, first) = (self.index(which), self.wanted.first);
        let Some(way) = self.way_mut(index) else { return };
        let Some(slot) = way.hops.get_mut(usize::from(which.ttl - first)) else { return };
        *slot = Some(hop);
        match hop.ended {
            Ended::Answered { .. } | Ended::Refused { .. } => {
                way.end = Some(way.end.map_or(which.ttl, |end| end.min(which.ttl)));
            }
            Ended::Hop { .. } => way.heard = way.heard.max(which.ttl),
            _ => {}
        }
        if index < self.flows.len() && self.flows.iter().all(|way| way.is_whole(&self.wanted, self.distance)) {
            self.add_flows();
        }
    }

    /// Where more branches have been seen than these flows are enough for, there are to be more.
    fn add_flows(&mut self) {
        let distances = 0..self.flows.iter().map(|way| way.hops.len()).max().unwrap_or(0);
        let branches = distances.map(|at| {
            let seen = self.flows.iter().filter_map(|way| match way.hops.get(at)?.as_ref()?.ended {
                Ended::Hop { from, .. } => Some(from),
                _ => None,
            });
            seen.collect::<HashSet<_>>().len()
        });
        let needed = self.wanted.flows.needed(branches.max().unwrap_or(1));
        while self.flows.len() < needed.into() {
            self.flows.push(Way::new(self.wanted));
        }
    }

    /// Whether all that was to be found out has been.
    pub(super) fn is_whole(&self) -> bool {
        !self.asks_distance && self.flows.iter().chain(&self.again).all(|way| way.is_whole(&self.wanted, self.distance))
    }

    /// What came of it, a path a flow.
    pub(super) fn paths(self) -> impl Iterator<Item = Path> {
        let Self { target, round, flows, again, .. } = self;
        let by_packet = again.is_some_and(|again| flows.first().is_some_and(|first| first.contradicts(&again)));
        (0..).zip(flows).map(move |(flow, way)| way.path(target, round, flow, by_packet && flow == 0))
    }

    /// Who has this turn: the first flow again right behind the first time, so that who sends packets by turns gives itself away.
    const fn at(&self, turn: usize) -> usize {
        match (self.again.is_some(), turn) {
            (true, 1) => self.flows.len(),
            (true, 2..) => turn - 1,
            _ => turn,
        }
    }

    const fn turn_of(&self, index: usize) -> usize {
        match (self.again.is_some(), index) {
            (true, index) if index == self.flows.len() => 1,
            (true, 1..) => index + 1,
            _ => index,
        }
    }

    fn flow(&self, index: usize) -> u16 {
        if index == self.flows.len() { 0 } else { u16::try_from(index).unwrap_or(Flows::MOST) }
    }

    fn index(&self, which: Which) -> usize {
        if which.again { self.flows.len() } else { which.flow.into() }
    }

    fn way(&self, index: usize) -> Option<&Way> {
        self.flows.get(index).or(self.again.as_ref())
    }

    fn way_mut(&mut self, index: usize) -> Option<&mut Way> {
        if index < self.flows.len() { self.flows.get_mut(index) } else { self.again.as_mut() }
    }
}

impl Way {
    fn new(wanted: Wanted) -> Self {
        let many = usize::from(wanted.most + 1 - wanted.first);
        Self { hops: vec![None; many], asked: wanted.first, end: None, heard: wanted.first - 1 }
    }

    /// The farthest that may be asked: where it ends; else as far as the target seems to be, and once all up to there have been heard of, or
    /// where nobody knows, a few more than the farthest that was heard.
    fn farthest(&self, wanted: &Wanted, distance: Option<u8>) -> u8 {
        let by_gap = self.heard.saturating_add(wanted.gap).min(wanted.most);
        match (self.end, distance) {
            (Some(end), _) => end,
            (None, Some(distance)) if !self.is_settled_up_to(wanted, distance) => distance,
            (None, Some(distance)) => by_gap.max(distance),
            (None, None) => by_gap,
        }
    }

    fn is_settled_up_to(&self, wanted: &Wanted, ttl: u8) -> bool {
        self.hops[..usize::from(ttl + 1 - wanted.first)].iter().all(Option::is_some)
    }

    fn is_whole(&self, wanted: &Wanted, distance: Option<u8>) -> bool {
        self.is_settled_up_to(wanted, self.farthest(wanted, distance))
    }

    /// Whether two routers answered at one distance.
    fn contradicts(&self, other: &Self) -> bool {
        self.hops.iter().zip(&other.hops).any(|pair| match pair {
            (Some(a), Some(b)) => match (a.ended, b.ended) {
                (Ended::Hop { from: a, .. }, Ended::Hop { from: b, .. }) => a != b,
                _ => false,
            },
            _ => false,
        })
    }

    fn path(self, target: TargetIndex, round: u64, flow: u16, by_packet: bool) -> Path {
        let end = self.end.unwrap_or(u8::MAX);
        let hops: Vec<Hop> = self.hops.into_iter().map_while(|hop| hop.filter(|hop| hop.ttl <= end)).collect();
        let sent = hops.iter().map(|hop| hop.sent).filter(|sent| *sent > Nanos::ZERO).min().unwrap_or(Nanos::ZERO);
        let arrived = hops.iter().filter_map(|hop| Some(hop.sent + hop.rtt()?)).max().unwrap_or(sent);
        let reached = hops.last().is_some_and(|hop| matches!(hop.ended, Ended::Answered { .. }));
        Path { target, round, flow, reached, sent, took: arrived - sent, hops, by_packet }
    }
}
