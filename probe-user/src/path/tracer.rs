//! Many targets at once, round after round.

use super::{
    Flows, Hop, Path, Wanted,
    pace::{Pace, Place},
    progress::{Progress, Which},
};
use crate::base::{Ended, Nanos, ProbeNumber, Settlement, TargetIndex, Ttls};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
};

/// Says which probes to send, and learns what became of them.
#[derive(Debug)]
pub struct Tracer {
    wanted: Wanted,
    ttls: Ttls,
    /// Flows that numbers have room for.
    flows: u16,
    /// Targets whose first round has not begun, in their order.
    to_begin: VecDeque<TargetIndex>,
    /// Targets that are to have a round beside those of their interval, before all others.
    at_once: VecDeque<TargetIndex>,
    under_way: HashMap<Round, Progress>,
    /// Those under way that may have something to ask.
    ready: VecDeque<Round>,
    /// Those that have something to ask of a router that may not be asked yet.
    held: BinaryHeap<Reverse<(Nanos, Round)>>,
    /// From when on each of those may, and whom.
    reserved: HashMap<Round, (Nanos, Place)>,
    /// Of targets with several rounds, what is to be known of those before.
    repeated: HashMap<TargetIndex, Repeated>,
    /// Rounds in a row whose probes can be told apart.
    together: usize,
    /// Rounds that begin later.
    later: BinaryHeap<Reverse<Later>>,
    pace: Option<Pace>,
    done: VecDeque<Path>,
    in_flight: u64,
}

/// Rounds of a target that may be under way at a time, where more could be told apart.
const MOST_TOGETHER: u64 = 128;
/// A probe is remembered for longer than its timeout by as much: until it is known what this machine dropped.
const REMEMBERED: Nanos = Nanos::from_millis(500);

/// A target, and which of its rounds.
type Round = (TargetIndex, u64);

/// When a round begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Later {
    at: Nanos,
    target: TargetIndex,
    /// Beside those of the interval: no other follows from it.
    is_extra: bool,
}

#[derive(Clone, Default, Debug)]
struct Repeated {
    /// How far the target was.
    distance: Option<u8>,
    /// When the latest of its rounds began, as many as can be told apart.
    begun: VecDeque<Nanos>,
    /// How many have begun.
    rounds: u64,
}

impl Tracer {
    /// For these targets, whose probes have times to live by `ttls`.
    pub fn new(wanted: Wanted, ttls: Ttls, targets: impl IntoIterator<Item = TargetIndex>) -> Self {
        Self {
            ttls,
            flows: wanted.flows.most(),
            to_begin: targets.into_iter().collect(),
            at_once: VecDeque::new(),
            under_way: HashMap::new(),
            ready: VecDeque::new(),
            held: BinaryHeap::new(),
            reserved: HashMap::new(),
            repeated: HashMap::new(),
            together: usize::try_from(together(&wanted, ttls).clamp(1, MOST_TOGETHER)).unwrap_or(1),
            later: BinaryHeap::new(),
            pace: wanted.per_hop.map(Pace::new),
            done: VecDeque::new(),
            in_flight: 0,
            wanted,
        }
    }

    /// One more target, to be begun behind the others.
    pub fn add(&mut self, target: TargetIndex) {
        self.to_begin.push_back(target);
    }

    /// Begins a round of this target as soon as there is room, beside those of its interval: by its first flow. For
    /// tracers of several rounds.
    pub fn begin_at_once(&mut self, target: TargetIndex) {
        self.at_once.push_back(target);
    }

    /// The paths of these targets are to be found no more. What of them is in flight is still to be settled. One look at all, however many
    /// they are.
    pub fn remove(&mut self, gone: &HashSet<TargetIndex>) {
        self.to_begin.retain(|target| !gone.contains(target));
        self.at_once.retain(|target| !gone.contains(target));
        self.later.retain(|Reverse(later)| !gone.contains(&later.target));
        self.repeated.retain(|target, _| !gone.contains(target));
        self.under_way.retain(|(target, _), _| !gone.contains(target));
        self.reserved.retain(|(target, _), _| !gone.contains(target));
        self.done.retain(|path| !gone.contains(&path.target));
    }

    /// The next probe to send; None: nothing before [`Tracer::next_at`], or before something is settled.
    pub fn next(&mut self, now: Nanos) -> Option<(TargetIndex, ProbeNumber)> {
        self.begin(now);
        while let Some(round) = self.ready.pop_front() {
            let Some(progress) = self.under_way.get_mut(&round) else { continue };
            let Some(which) = progress.next() else { continue };
            // With its whole time to live a probe asks the target, and no router.
            if let Some(pace) = self.pace.as_mut().filter(|_| which.ttl > 0) {
                let place = place(progress, which);
                let may = match self.reserved.get(&round) {
                    // It is among the held ones, whatever has made it ready now.
                    Some((at, of)) if *of == place && *at > now => continue,
                    Some((at, of)) if *of == place => *at,
                    _ => pace.reserve(place, now),
                };
                if may > now {
                    self.reserved.insert(round, (may, place));
                    self.held.push(Reverse((may, round)));
                    continue;
                }
                self.reserved.remove(&round);
            }
            progress.asked(which);
            let number = number(self.ttls, self.flows, round.1, which);
            // The others have their turn first.
            self.ready.push_back(round);
            self.in_flight += 1;
            return Some((round.0, number));
        }
        None
    }

    /// When there may be something to send again, if nothing is settled before; None: not before that.
    pub fn next_at(&self) -> Option<Nanos> {
        let held = self.held.peek().map(|Reverse((at, _))| *at);
        let later = self.later.peek().map(|Reverse(later)| later.at);
        held.into_iter().chain(later).min()
    }

    /// What became of a probe.
    pub fn settled(&mut self, settlement: &Settlement) {
        let Settlement { target, number, sent, ended } = *settlement;
        self.in_flight = self.in_flight.saturating_sub(1);
        let (round, which) = which(self.ttls, self.flows, number);
        // Of a round whose paths are whole, nobody waits for the rest.
        let Some(progress) = self.under_way.get_mut(&(target, round)) else { return };
        if let (Some(pace), Ended::Hop { from, .. }) = (&mut self.pace, ended) {
            pace.learn(place(progress, which), from);
        }
        progress.settled(which, Hop { ttl: which.ttl, sent, ended });
        if let Some(repeated) = self.repeated.get_mut(&target) {
            repeated.distance = progress.found().or(repeated.distance);
        }
        if !progress.is_whole() {
            return self.ready.push_back((target, round));
        }
        let Some(progress) = self.under_way.remove(&(target, round)) else { return };
        self.reserved.remove(&(target, round));
        self.done.extend(progress.paths());
    }

    /// A path that has been found.
    pub fn path(&mut self) -> Option<Path> {
        self.done.pop_front()
    }

    /// Begins no further round, and none of a target that has not been begun.
    pub fn stop(&mut self) {
        self.to_begin.clear();
        self.at_once.clear();
        self.later.clear();
        self.repeated.clear();
        self.wanted.rounds = Some(0);
    }

    /// Whether all is done, and every path taken.
    pub fn is_done(&self) -> bool {
        let none_waits = self.to_begin.is_empty() && self.at_once.is_empty();
        none_waits && self.under_way.is_empty() && self.later.is_empty() && self.done.is_empty()
    }

    /// Whether every path that has been found has been taken.
    pub fn is_handed_out(&self) -> bool {
        self.done.is_empty()
    }

    /// Probes that nothing has been heard of yet.
    pub const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Targets whose paths are being found.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Begins what is to begin, and makes ready what has waited long enough.
    fn begin(&mut self, now: Nanos) {
        while let Some(Reverse((at, round))) = self.held.peek().copied()
            && at <= now
        {
            self.held.pop();
            self.ready.push_back(round);
        }
        while self.under_way.len() < self.wanted.at_once
            && let Some(next) = self.next_round(now)
        {
            let Later { at: due, target, is_extra } = next;
            let (mut round, mut known) = (0, None);
            if self.wanted.rounds != Some(1) {
                let repeated = self.repeated.entry(target).or_default();
                if let (true, Some(oldest)) = (repeated.begun.len() == self.together, repeated.begun.front()) {
                    let forgotten = *oldest + self.wanted.timeout + REMEMBERED;
                    if forgotten > now {
                        self.later.push(Reverse(Later { at: forgotten, ..next }));
                        continue;
                    }
                    repeated.begun.pop_front();
                }
                repeated.begun.push_back(now);
                (round, known) = (repeated.rounds, repeated.distance);
                repeated.rounds += 1;
                if !is_extra && self.wanted.rounds.is_none_or(|rounds| round + 1 < rounds) {
                    // Measured from when it was due, it does not slip; what is past is not caught up with.
                    let at = (due + self.wanted.interval).max(now);
                    self.later.push(Reverse(Later { at, target, is_extra }));
                }
            }
            // Of a path that is wanted at once, the first flow is enough.
            let flows = if is_extra { Flows::Exactly(1) } else { self.wanted.flows };
            let wanted = Wanted { flows, ..self.wanted };
            self.under_way.insert((target, round), Progress::new(target, round, wanted, known));
            self.ready.push_back((target, round));
        }
    }

    /// Whose round is to begin now.
    fn next_round(&mut self, now: Nanos) -> Option<Later> {
        if let Some(target) = self.at_once.pop_front() {
            return Some(Later { at: now, target, is_extra: true });
        }
        if let Some(Reverse(later)) = self.later.peek().filter(|Reverse(later)| later.at <= now).copied() {
            self.later.pop();
            return Some(later);
        }
        let target = self.to_begin.pop_front()?;
        Some(Later { at: now, target, is_extra: false })
    }
}

fn place(progress: &Progress, which: Which) -> Place {
    let from = |hop: Hop| match hop.ended {
        Ended::Hop { from, .. } => Some(from),
        _ => None,
    };
    (which.ttl, progress.before(which).and_then(from))
}

/// How many rounds in a row are told apart.
fn together(wanted: &Wanted, ttls: Ttls) -> u64 {
    let flows = wanted.flows.most();
    ttls.told_apart(flows, wanted.by_ports) / if flows > 1 { 2 } else { 1 }
}

/// Of several flows the first is sent twice in a round, so a round has two turns.
fn number(ttls: Ttls, flows: u16, round: u64, which: Which) -> ProbeNumber {
    let turn = if flows > 1 { 2 * round + u64::from(which.again) } else { round };
    ttls.number(turn, (which.flow, flows), which.ttl)
}

fn which(ttls: Ttls, flows: u16, number: ProbeNumber) -> (u64, Which) {
    let (flow, ttl, turn) = (ttls.flow(number.0, flows), ttls.of(number.0), ttls.turn(number.0, flows));
    let (round, again) = if flows > 1 { (turn / 2, turn % 2 == 1) } else { (turn, false) };
    (round, Which { flow, again, ttl })
}

#[cfg(test)]
#[path = "tracer_tests.rs"]
mod tests;
