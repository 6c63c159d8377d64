//! Probes that wait for the MAC address of their target, which is on the link.
//!
//! Such a probe has been entered: its place is pending, and it is in flight. Others go on. Once the address is known it is sent, and
//! lives as long as every other; once the target has been asked in vain it is *unreachable*. Either way it lands by itself, not with
//! the tick that it came due in: until then its place is taken, whatever the flights of its run say.
//!
//! Probes of one hop wait together and leave in order. Their hop is looked at after half a millisecond, and then after twice the time
//! before, up to an eighth of a second.

use super::{Note, Sender};
use crate::{
    base::{Cause, Ended, Nanos, ProbeNumber, TargetIndex},
    health::Verdict,
    ledger::window::Standing,
    route::Neighbour,
    schedule::Landed,
    worker::{Due, Transmit},
};
use std::collections::{HashMap, VecDeque};

/// Whoever asks a neighbour takes 3 s for three questions. After this nobody seems to ask.
const ASKING_TAKES: Nanos = Nanos::from_secs(5);
/// From holding a probe to the first look at its hop.
const FIRST_LOOK: Nanos = Nanos::from_micros(500);
/// Pauses between looks: each is twice the one before.
const PAUSES: usize = 9;
/// Probes that one sender lets wait: those of three seconds at 80,000 a second, none of which answers.
const MOST: usize = 1 << 18;
/// Hops looked at in one turn, so that it is bounded.
const LOOKS_AT_ONCE: usize = 1_024;

/// A probe that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) walk: usize,
    pub(super) target: TargetIndex,
    pub(super) number: u64,
    pub(super) since: Nanos,
}

/// A probe that has waited and was then sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late {
    pub(super) target: TargetIndex,
    pub(super) number: u64,
    pub(super) landed: Landed,
}

/// A probe that lands by itself: it waits, or is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Away {
    pub(super) number: u64,
    /// When it was sent; None before.
    pub(super) sent: Option<Nanos>,
    /// Of one that was asked for, how it stands: nobody else keeps that.
    pub(super) standing: Standing,
}

/// All of a sender's. Takes no memory before the first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_hop: HashMap<u32, VecDeque<Held>>,
    held: usize,
    /// Hops with somebody waiting and when to look at them, by the pause before: in each, in the order of time.
    looks: [VecDeque<(Nanos, u32)>; PAUSES],
    /// Probes that land by themselves: those that wait, those that have and are on their way, and all that were asked for. By walk, and by
    /// their place in the window or what those that were asked for are told apart by.
    away: Vec<HashMap<(TargetIndex, u32), Away>>,
    /// How many of those.
    many_away: usize,
    /// Those on their way, by walk, in the order of their deadlines.
    late: Vec<VecDeque<Late>>,
}

impl Waiting {
    pub(super) fn of(walks: usize) -> Self {
        let (late, away) = (0..walks).map(|_| (VecDeque::new(), HashMap::new())).unzip();
        Self { late, away, ..Self::default() }
    }

    /// There is another walk.
    pub(super) fn more(&mut self) {
        self.late.push(VecDeque::new());
        self.away.push(HashMap::new());
    }

    /// Nobody waits, and nobody who has is on the way.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.many_away == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.held >= MOST
    }

    /// Whether the probe in this place of the target's window lands by itself.
    #[inline]
    pub(super) fn is_away(&self, walk: usize, target: TargetIndex, place: u32) -> bool {
        !self.is_empty() && !self.away[walk].is_empty() && self.away[walk].contains_key(&(target, place))
    }

    /// The one in this place, if it lands by itself.
    pub(super) fn away(&mut self, walk: usize, target: TargetIndex, place: u32) -> Option<&mut Away> {
        self.away[walk].get_mut(&(target, place))
    }

    /// The one that has just been entered lands by itself.
    pub(super) fn enter(&mut self, walk: usize, target: TargetIndex, place: u32, number: u64) {
        if self.away[walk].insert((target, place), Away { number, sent: None, standing: Standing::Pending }).is_none() {
            self.many_away += 1;
        }
    }

    /// Whether somebody waits for this hop: who comes later waits behind, so that probes of a target leave in order.
    #[inline]
    pub(super) fn has(&self, hop: u32) -> bool {
        self.held > 0 && self.by_hop.contains_key(&hop)
    }

    fn hold(&mut self, hop: u32, place: u32, held: Held) {
        self.enter(held.walk, held.target, place, held.number);
        self.held += 1;
        let queue = self.by_hop.entry(hop).or_default();
        if queue.is_empty() {
            self.looks[0].push_back((held.since + FIRST_LOOK, hop));
        }
        queue.push_back(held);
    }

    /// A hop whose time has come, and the pause that is over. It is to be taken from, or put back.
    fn due(&mut self, now: Nanos) -> Option<(u32, usize)> {
        for (pause, looks) in self.looks.iter_mut().enumerate() {
            if let Some((_, hop)) = looks.pop_front_if(|(at, _)| *at <= now) {
                return Some((hop, pause));
            }
        }
        None
    }

    fn first(&self, hop: u32) -> Option<Held> {
        self.by_hop.get(&hop)?.front().copied()
    }

    /// The next that waits for the hop no longer.
    fn take(&mut self, hop: u32) -> Option<Held> {
        let queue = self.by_hop.get_mut(&hop)?;
        let held = queue.pop_front()?;
        self.held -= 1;
        if queue.is_empty() {
            self.by_hop.remove(&hop);
        }
        Some(held)
    }

    /// Nothing new: looked at again after twice the pause.
    fn later(&mut self, hop: u32, pause: usize, now: Nanos) {
        let pause = (pause + 1).min(PAUSES - 1);
        self.looks[pause].push_back((now + Nanos(FIRST_LOOK.0 << pause), hop));
    }

    /// There was no room for all: looked at again in the next turn.
    fn soon(&mut self, hop: u32, now: Nanos) {
        self.looks[0].push_front((now, hop));
    }

    /// One that lands by itself is on its way, since `sent`.
    pub(super) fn sent(&mut self, walk: usize, place: u32, late: Late, sent: Nanos) {
        self.late[walk].push_back(late);
        if let Some(away) = self.away[walk].get_mut(&(late.target, place)) {
            away.sent = Some(sent);
        }
    }

    /// One is settled and out of its place: what it was.
    pub(super) fn forget(&mut self, walk: usize, target: TargetIndex, place: u32) -> Option<Away> {
        let away = self.away[walk].remove(&(target, place));
        self.many_away -= usize::from(away.is_some());
        away
    }

    /// Takes one of this walk that is on its way and past its deadline. It is to be forgotten.
    pub(super) fn land(&mut self, walk: usize, past: Nanos) -> Option<Late> {
        self.late[walk].pop_front_if(|late| late.landed.deadline < past)
    }

    /// When the first deadline of one that is on its way comes.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        self.late.iter().filter_map(|late| late.front()).map(|late| late.landed.deadline).min()
    }

    /// When to look at a hop again; MAX if nobody waits.
    pub(super) fn next_look(&self) -> Nanos {
        let first = self.looks.iter().filter_map(|looks| looks.front()).map(|(at, _)| *at);
        if self.held == 0 { Nanos::MAX } else { first.min().unwrap_or(Nanos::MAX) }
    }
}

impl<T: Transmit> Sender<T> {
    /// Has a probe wait that has just been entered.
    #[cold]
    pub(super) fn hold(&mut self, hop: u32, held: Held) {
        self.want(hop);
        let place = self.key(held.walk, held.number);
        self.waiting.hold(hop, place, held);
    }

    /// Has somebody ask a neighbour, if there is somebody who waits to be told.
    #[cold]
    pub(super) fn want(&self, hop: u32) {
        if let Some(queue) = &self.neighbours {
            queue.want(&self.common.hops, hop);
        }
    }

    /// Sends or settles those that have waited long enough. True if there was something.
    #[cold]
    pub(super) fn release(&mut self, now: Nanos, room: usize) -> bool {
        let mut released = false;
        // When the end has been asked for, nobody waits any more.
        let until = if self.stopped { Nanos::MAX } else { now };
        for _ in 0..LOOKS_AT_ONCE {
            let Some((key, pause)) = self.waiting.due(until) else { break };
            let Some(first) = self.waiting.first(key) else { continue };
            // The way to a target may have changed meanwhile.
            let account = self.common.ledger.account(first.target);
            let hop = account.hop(&self.common.hops, account.group(), first.number);
            let (index, hop) = match hop.map(|index| (index, self.common.hops.get(index))) {
                Ok((index, Some(hop))) => (index, hop),
                Ok((_, None)) => continue,
                Err(cause) => {
                    released |= self.settle_held(key, now, Ended::Unsent(cause));
                    continue;
                }
            };
            let ended = match hop.neighbour() {
                _ if self.stopped => Ended::Unsent(Cause::Neighbour),
                Neighbour::Resolved(_) => {
                    released = true;
                    if !self.send_held(key, index, now, room) {
                        self.waiting.soon(key, now);
                        break;
                    }
                    continue;
                }
                Neighbour::Unknown if now - first.since < ASKING_TAKES => {
                    self.want(index);
                    self.waiting.later(key, pause, now);
                    continue;
                }
                Neighbour::Unresolved if !hop.on_link => Ended::Unsent(Cause::Gateway),
                Neighbour::Unresolved => Ended::NoNeighbour,
                // Nobody asked, or not in time: that is not the target's fault.
                Neighbour::Unknown => Ended::Unsent(Cause::Neighbour),
            };
            released |= self.settle_held(key, now, ended);
        }
        released
    }

    /// Hands over all that wait for a hop, as far as there is room. Whether that was all.
    fn send_held(&mut self, key: u32, hop: u32, now: Nanos, room: usize) -> bool {
        while self.due.len() < room {
            let Some(held) = self.waiting.take(key) else { return true };
            let Held { walk, target, number, .. } = held;
            let ledger = &self.common.ledger;
            let account = ledger.account(target);
            let Some(to) = account.destination() else { continue };
            self.due.push(Due {
                target,
                generation: account.generation(),
                sequence: ProbeNumber(number).sequence(),
                to: to.handle,
                hop,
                shape: if self.walks[walk].is_asked {
                    account.group().shape_by_ttl(to.family, number)
                } else {
                    account.group().shape(to.family, number)
                },
            });
            // Since when it could have been sent. What it waited for before is no fault of ours.
            self.notes.push(Note { walk, number, due: now, late: true, offered: Nanos::MAX });
            self.late_due += 1;
        }
        self.waiting.first(key).is_none()
    }

    /// Settles all that wait for a hop.
    fn settle_held(&mut self, key: u32, now: Nanos, ended: Ended) -> bool {
        while let Some(Held { walk, target, number, since }) = self.waiting.take(key) {
            self.waiting.forget(walk, target, self.key(walk, number));
            let account = self.common.ledger.account(target);
            if self.walks[walk].is_asked {
                self.settler.count_asked((account, now), ended, now, ProbeNumber(number));
                continue;
            }
            let place = account.place(number);
            // It was never sent: nobody else settles it.
            let _settled = self.settler.settle(place, (account, now), ended, now, || ProbeNumber(number));
            // Its tick may have landed without it: then nobody else takes it out.
            let walk = &self.walks[walk];
            if walk.landing > (number, target.0 - walk.run.targets.start) {
                let verdict = match place.take() {
                    Standing::Failed => Verdict::Bad,
                    Standing::Answered => Verdict::Good,
                    Standing::Free | Standing::Pending => Verdict::Silent,
                };
                let landed = Landed { begun: since, deadline: now };
                self.judge.judge((account, number), verdict, false, landed, account.group());
            }
        }
        true
    }
}
