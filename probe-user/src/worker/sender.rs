//! Enters what is due, hands it over, and settles what nobody answered.

mod asked;
mod ending;
mod fates;
mod orders;
mod waiting;

use super::{
    Clock, Common, Due, Fate, Leaving, Phase, Sink, Transmit, Word, backlog::Backlog, drained::Drained,
    drops_known::judged_until, dwell, judge::Judge, port_report, refuse, resets::Allowance, settle::Settler,
    walk::Walk,
};
use crate::{
    base::{Cause, Ended, Nanos, ProbeNumber, State, TargetIndex},
    health::{Health, Verdict},
    ledger::{Account, Run, histogram::add, tally::Tally, window::Standing},
    route::{Neighbour, NeighbourQueue},
    schedule::{Company, Landed, LeftOut, Tick},
    targets::Plan,
    wire::RejectedReason,
};
use asked::Asked;
use std::sync::{Arc, atomic::Ordering::Relaxed};
use waiting::{Held, Late, Waiting};

/// Deadlines that are met in one turn, so that sending is not held up by them: more than ticks are entered in one, or a sender that
/// was held up would never catch up with them.
const EXPIRE_AT_ONCE: u32 = 8_192;
/// Between looks at queues that have not been drained past a deadline yet.
const LOOK_AGAIN: Nanos = Nanos::from_micros(100);
/// A deadline that has passed is seen to with the next probe that is due, and by itself only this much later: nobody is waiting for it,
/// and waking up costs more than all that is then to do.
const NO_HURRY: Nanos = Nanos::from_millis(2);
/// Ticks looked at in one turn that lead to no probe (skipped, unresolved, unsent), so that a turn is bounded.
const TICKS_AT_ONCE: usize = 4_096;

/// The sending half of a loop: it owns the schedule of its targets, and is the one that enters and expires their probes.
pub struct Sender<T> {
    engine: T,
    common: Arc<Common>,
    tally: Arc<Tally>,
    settler: Settler,
    number: usize,
    walks: Vec<Walk>,
    company: Company,
    judge: Judge,
    drained: Drained,
    backlog: Backlog,
    /// What is at hand, in the order of entering: first what found no room before.
    due: Vec<Due>,
    /// For each of `due`: which walk, which number, and when it was due.
    notes: Vec<Note>,
    fates: Vec<Fate>,
    /// Probes to targets on the link whose MAC address is not known yet.
    waiting: Waiting,
    /// Those of `due` that have waited.
    late_due: usize,
    /// Where it is said which neighbours are to be asked.
    neighbours: Option<Arc<NeighbourQueue>>,
    /// RSTs that are to be sent.
    resets: Vec<Due>,
    /// Since when none of them could be.
    resets_wait: Option<Nanos>,
    allowance: Allowance,
    /// Some of its targets' probes are asked for.
    asked: Option<Asked>,
    /// When each probe was sent is kept: somebody wants to know, or answers will not say.
    keeps_times: bool,
    /// There is an end to it: no due time is missed by waiting.
    may_wait: bool,
    stopped: bool,
    /// Walks that are over, and what they entered has not landed.
    ending: usize,
}

#[derive(Clone, Copy)]
struct Note {
    walk: usize,
    number: u64,
    due: Nanos,
    /// It has waited for its neighbour: it lands by itself.
    late: bool,
    /// When it was first handed over in vain; `u64::MAX` before.
    offered: Nanos,
}

impl<T: Transmit> Sender<T> {
    /// Sender number `number` of the worker: probes its part of `plan` by `engine`, from `start` on.
    pub(super) fn new(
        engine: T,
        common: Arc<Common>,
        tally: Arc<Tally>,
        (sink, asked_for): (Sink, Sink),
        plan: &Plan,
        number: usize,
        start: Nanos,
    ) -> Self {
        let ledger = Arc::clone(&common.ledger);
        let walk = |run: Run| {
            for (row, states) in tally.rows.iter().zip(ledger.states(run.targets.clone())) {
                row.states.iter().zip(states).for_each(|(counter, many)| add(counter, many));
            }
            let (planned, group) = (&plan.groups[run.group], ledger.group(run.group));
            Walk::new(run, planned, group, start, 0)
        };
        let runs = ledger.runs_of(number);
        let judge = Judge::new(Arc::clone(&common), Arc::clone(&tally), &runs);
        let may_wait = runs.iter().all(|run| plan.groups[run.group].count.is_some());
        let walks: Vec<Walk> = runs.into_iter().map(walk).collect();
        let company = company(&walks);
        let batch = engine.batch();
        let asked = runs_asked(&walks, common.handed_over.len());
        let asked = asked.map(|(rate, is_all)| Asked::new(rate, is_all, start));
        let keeps_times = common.records || walks.iter().any(|walk| walk.is_mute);
        Self {
            engine,
            drained: Drained::new(common.taken.queues()),
            backlog: Backlog::new(start),
            settler: Settler::new(Arc::clone(&common), Arc::clone(&tally), sink, asked_for),
            common,
            tally,
            number,
            company,
            judge,
            due: Vec::with_capacity(batch),
            notes: Vec::with_capacity(batch),
            fates: vec![Fate::Unsent(Cause::NoRoom); batch],
            waiting: Waiting::of(walks.len()),
            late_due: 0,
            neighbours: None,
            resets: Vec::new(),
            resets_wait: None,
            allowance: Allowance::new(start),
            asked,
            keeps_times,
            may_wait,
            walks,
            stopped: false,
            ending: 0,
        }
    }

    /// Says here which neighbours it wants to be asked. Without, somebody asks them all unbidden, or nobody does.
    #[must_use]
    pub(super) fn asking(self, neighbours: Option<Arc<NeighbourQueue>>) -> Self {
        Self { neighbours, ..self }
    }

    /// Which of the senders it is, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Whether everything has been sent and settled. Who was told to end early does not wait for deadlines of what is settled.
    pub fn is_finished(&self) -> bool {
        let landed = |walk: &Walk| walk.pacer.next_at().is_none() && walk.flights.next_at().is_none();
        let may_end = self.asked.is_none() || self.stopped;
        may_end && self.due.is_empty() && self.waiting.is_empty() && !self.resets() && self.walks.iter().all(landed)
            || self.stopped && self.may_wait && self.common.in_flight() == 0
    }

    /// When there is something to do again.
    pub fn next_at(&self, now: Nanos) -> Nanos {
        // A deadline that has passed waits for the queues to be drained.
        let past = |deadline: Nanos| (deadline + NO_HURRY).max(now + LOOK_AGAIN);
        let again = self.backlog.again();
        let wake = |walk: &Walk| {
            let due = walk.next_at().map_or(Nanos::MAX, |due| self.company.leaves_at(due));
            let due = due.max(again.unwrap_or(Nanos::ZERO));
            // And for the counts of what was dropped, where the next to land got no answer.
            due.min(walk.flights.next_at().map_or(Nanos::MAX, |at| past(at).max(walk.drops_known.look_at(now))))
        };
        let mut next = self.walks.iter().map(wake).min().unwrap_or(Nanos::MAX).min(self.judge.next_at());
        if let (false, Some(again)) = (self.due.is_empty(), again) {
            next = next.min(again);
        }
        if self.resets() {
            next = next.min(now + LOOK_AGAIN);
        }
        if let (Some(asked), false) = (&self.asked, self.stopped) {
            let look = asked.look_at(!self.common.asks[self.number].is_empty(), now);
            next = next.min(look.max(again.unwrap_or(Nanos::ZERO)));
        }
        if self.waiting.is_empty() {
            return next;
        }
        let look = self.waiting.next_look().max(again.unwrap_or(Nanos::ZERO));
        next.min(look).min(self.waiting.next_deadline().map_or(Nanos::MAX, past))
    }

    /// Settles what nobody answered in time. True if there was something.
    #[inline]
    pub fn expire(&mut self, clock: &impl Clock) -> bool {
        let now = clock.now();
        self.judge.look(now);
        if self.ending > 0 {
            self.end_runs();
        }
        let first =
            self.walks.iter().filter_map(|walk| walk.flights.next_at()).chain(self.waiting.next_deadline()).min();
        if first.is_none_or(|deadline| deadline >= now) {
            return self.hear_quotes(clock);
        }
        let past = self.drained.past(clock, &*self.common.taken);
        let ledger = Arc::clone(&self.common.ledger);
        // After that look: whatever had arrived by then has been handed over, so nothing that lands below has an error waiting.
        let heard = self.hear_quotes(clock);
        let mut budget = EXPIRE_AT_ONCE;
        for index in 0..self.walks.len() {
            while budget > 0 {
                let walk = &mut self.walks[index];
                let (round, slot) = walk.landing;
                let target = walk.target(slot);
                // Looked up once: whether it is pending, what it has come to, and all that follows from that.
                let account = ledger.account(target);
                let place = account.place_of(walk.places, round);
                let deadline = walk.flights.next_at();
                if walk.drops_known.waits(&self.common.drops, deadline, past, || place.is_pending()) {
                    break;
                }
                let Some(landed) = walk.flights.land(past) else { break };
                budget -= 1;
                let last = slot + 1 == walk.slots();
                walk.landing = if last { (round + 1, 0) } else { (round, slot + 1) };
                if !self.waiting.is_away(index, target, walk.place(round)) {
                    let standing = place.take();
                    self.land(index, account, (round, None), standing, landed, past);
                }
            }
            while budget > 0
                && !self.waiting.is_empty()
                && let Some(late) = self.waiting.land(index, judged_until(&self.common.drops, past))
            {
                let Late { target, number, landed } = late;
                budget -= 1;
                let away = self.waiting.forget(index, target, self.key(index, number));
                let account = ledger.account(target);
                let (sent, standing) = match away {
                    Some(away) if self.walks[index].is_asked => (away.sent, away.standing),
                    _ => (None, account.place(number).take()),
                };
                self.land(index, account, (number, sent), standing, landed, past);
            }
        }
        heard || budget < EXPIRE_AT_ONCE
    }

    /// A probe is past its deadline and has been taken out, as it stood: settles it if nobody has. With its number comes when it was sent,
    /// where the sender keeps that itself.
    #[inline]
    fn land(
        &mut self,
        walk: usize,
        account: Account<'_>,
        (number, sent): (u64, Option<Nanos>),
        standing: Standing,
        landed: Landed,
        past: Nanos,
    ) {
        let walk = &self.walks[walk];
        let silent = standing == Standing::Pending;
        let verdict = match standing {
            Standing::Free => Verdict::Silent,
            Standing::Answered => Verdict::Good,
            Standing::Failed => Verdict::Bad,
            Standing::Pending => {
                let excused = self.common.link.was_down(landed.begun, landed.deadline)
                    || self.common.drops.claim(landed.begun, landed.deadline)
                    || self.common.handed_over[self.number].claim();
                let ended = if excused { Ended::Unheard } else { Ended::Lost };
                let sent = account.sent(number, past).or(sent).unwrap_or_default();
                if walk.is_asked {
                    self.settler.count_asked((account, sent), ended, past, ProbeNumber(number));
                } else {
                    self.settler.count((account, sent), ended, past, || ProbeNumber(number));
                }
                if excused { Verdict::Silent } else { Verdict::Bad }
            }
        };
        // Whether a target is up, no probe says that was to find routers.
        if walk.is_asked {
            return;
        }
        self.judge.judge((account, number), verdict, silent, landed, self.common.ledger.group(walk.run.group));
    }

    /// By what a probe that lands by itself is found again.
    fn key(&self, walk: usize, number: u64) -> u32 {
        let walk = &self.walks[walk];
        if walk.is_asked { self.common.ledger.group(walk.run.group).key_of(number) } else { walk.place(number) }
    }

    /// Settles by what receivers have handed over. True if there was something.
    #[inline]
    fn hear_quotes(&mut self, clock: &impl Clock) -> bool {
        let mut heard = false;
        for _ in 0..self.common.handed_over[self.number].len() {
            let Some(word) = self.common.handed_over[self.number].take() else { break };
            heard = true;
            self.hear(&word, clock.now());
        }
        heard
    }

    /// Settles the probe of which a receiver can't say when it was sent, or whose it is.
    pub fn hear(&mut self, word: &Word, now: Nanos) {
        let arrived = match word {
            Word::ShortQuote(refusal) | Word::Refused(refusal, ..) => refusal.arrived,
            Word::Port(said) => said.report.arrived,
            Word::Reply(reply) => reply.arrived,
        };
        self.tally.receive_delay.record(now - arrived);
        match word {
            Word::ShortQuote(refusal) => {
                if self.hear_of_path(refusal, now) {
                    return;
                }
                if !refusal.is_ours(&self.common.key) {
                    // About nothing that waits, the little that it proves is too little.
                    return add(&self.tally.rejected[RejectedReason::Cookie as usize], 1);
                }
                refuse::short_quote(&self.common, &self.settler, &self.walks, refusal, now);
            }
            Word::Reply(_) | Word::Refused(..) => self.hear_of_asked(word, now),
            Word::Port(said) if self.common.ledger.account(said.target).group().ttls.is_some() => {
                self.hear_of_asked(word, now);
            }
            Word::Port(said) => {
                // Never an error: all that can be known is known here.
                let _settled = port_report::settle(&self.common, &self.settler, said, now, true);
            }
        }
    }

    /// Enters what is due, at most a batch. True if there was something.
    #[inline]
    pub fn enter(&mut self, clock: &impl Clock) -> bool {
        if !self.stopped && self.common.phase() != Phase::Run {
            self.walks.iter_mut().for_each(|walk| walk.pacer.stop());
            self.stopped = true;
        }
        if !self.common.orders[self.number].is_empty() {
            self.take_orders();
        }
        let now = clock.now();
        self.tally.turned_at.store(now.0, Relaxed);
        let (mut room, by_card, again) = self.room(now);
        let released = !self.waiting.is_empty() && self.release(now, room);
        let asked = self.enter_asked(now, room);
        if self.may_wait && self.waiting.is_full() {
            room = 0;
        }
        let first = self.walks.iter().filter_map(Walk::next_at).min().unwrap_or(Nanos::MAX);
        let until = self.company.release(first, now);
        let left_out = self.backlog.left_out(self.walks.iter().map(|walk| &walk.pacer), now);
        let mut ticks = 0;
        let mut waits = !self.due.is_empty();
        while ticks < TICKS_AT_ONCE {
            // The earliest walk hands out ticks until another one is earlier.
            let mut first = (Nanos::MAX, usize::MAX);
            let mut second = until;
            for (i, walk) in self.walks.iter().enumerate() {
                let Some(at) = walk.next_at() else { continue };
                if at < first.0 {
                    second = second.min(first.0);
                    first = (at, i);
                } else {
                    second = second.min(at);
                }
            }
            if first.0 > until {
                break;
            }
            let before = ticks;
            while ticks < TICKS_AT_ONCE && self.may_enter(first.1, room, now, left_out) {
                let Some(tick) = self.walks[first.1].pacer.next_until(second, now, left_out) else { break };
                ticks += 1;
                self.tick(first.1, tick, now);
            }
            if ticks == before {
                // A batch is full, and goes at once; or there is room for less, and the rest waits.
                waits |= room < self.engine.batch();
                break;
            }
        }
        if waits && by_card {
            self.tally.full_at.store(now.0, Relaxed);
        }
        self.backlog.wait(waits, by_card, again, now);
        ticks > 0 || released || asked
    }

    /// Whether the next tick of the walk can be dealt with: there is room for its probe, or it is to be skipped.
    #[inline]
    fn may_enter(&self, walk: usize, room: usize, now: Nanos, left_out: LeftOut) -> bool {
        let walk = &self.walks[walk];
        if self.due.len() < room { !walk.waits() } else { walk.pacer.skips(now, left_out) }
    }

    /// How many probes may be at hand now, whether it is the card that has no room for more, and when the engine wants to be asked again
    /// if those are too few.
    #[inline]
    fn room(&mut self, now: Nanos) -> (usize, bool, Nanos) {
        let room = self.engine.room(now);
        let waiting = !self.due.is_empty();
        let may_wait = self.may_wait && !self.stopped;
        let most = self.engine.batch();
        let probes = self.backlog.room(room, waiting, may_wait, most, now);
        let by_card = (room.full || waiting) && self.common.link.is_up();
        let heard = if self.is_heard() { probes.min(self.due.len() + self.room_for_results()) } else { 0 };
        (heard, by_card && heard == probes, room.again)
    }

    /// A target's time has come.
    #[inline]
    fn tick(&mut self, index: usize, tick: Tick, now: Nanos) {
        let walk = &mut self.walks[index];
        let target = walk.target(tick.slot);
        walk.ticks += 1;
        if tick.slot == 0 {
            self.common.ledger.begin_round(&walk.run, tick.round);
            if walk.vacant > 0 && self.ends(index) {
                return;
            }
        }
        if tick.skip {
            let account = self.common.ledger.account(target);
            match account.wanted() {
                Some(_) => add(&self.tally.rows[account.row() as usize].skipped, 1),
                None => self.pass_by(index, target),
            }
            return;
        }
        self.enter_probe::<false>(index, target, tick.round, tick.due, now);
    }

    /// A probe to a target is to leave: because it is due, or because it was asked for, which is `ASKED`.
    #[inline]
    fn enter_probe<const ASKED: bool>(
        &mut self,
        index: usize,
        target: TargetIndex,
        number: u64,
        due: Nanos,
        now: Nanos,
    ) {
        let walk = &self.walks[index];
        let (ledger, tally) = (&self.common.ledger, &self.tally);
        let account = ledger.account(target);
        let mut row = account.row();
        let Some(to) = account.wanted() else { return self.pass_by(index, target) };
        if account.health().state() == State::Unresolved {
            account.set_health(Health::new(true));
            let unresolved = std::mem::replace(&mut row, account.settle_row(to.family));
            tally.state_and_row((unresolved, State::Unresolved), (row, State::Unknown));
        }
        account.count_entered();
        add(&tally.rows[row as usize].entered, 1);
        let told = || ProbeNumber(number);
        let unsent = |cause: Cause| match ASKED {
            true => self.settler.count_asked((account, now), Ended::Unsent(cause), now, told()),
            false => self.settler.count((account, now), Ended::Unsent(cause), now, told),
        };
        let group = ledger.group(walk.run.group);
        let is_free = ASKED || walk.is_free(number, target.0 - walk.run.targets.start);
        let key = if ASKED { group.key_of(number) } else { walk.place(number) };
        if !is_free || self.waiting.is_away(index, target, key) {
            return unsent(Cause::Window);
        }
        let hop = match account.hop(&self.common.hops, group, number) {
            Ok(hop) => hop,
            Err(cause) => return unsent(cause),
        };
        let place = account.place_of(walk.places, number);
        if walk.is_mute && !ASKED {
            account.forget_sent(number);
        }
        match self.common.hops.get(hop).map(|hop| (hop.neighbour(), hop.on_link)) {
            Some((Neighbour::Resolved(_), _)) | None if !self.waiting.has(hop) => {}
            Some((Neighbour::Unresolved, true)) if ASKED => {
                self.settler.count_asked((account, now), Ended::NoNeighbour, now, told());
                return self.want(hop);
            }
            Some((Neighbour::Unresolved, true)) => {
                place.enter();
                // A probe that nobody has sent, nobody has heard of.
                let _settled = self.settler.settle(place, (account, now), Ended::NoNeighbour, now, told);
                return self.want(hop);
            }
            Some((_, true)) if self.waiting.is_full() => return unsent(Cause::Neighbour),
            Some((_, true)) => {
                if !ASKED {
                    place.enter();
                }
                return self.hold(hop, Held { walk: index, target, number, since: now });
            }
            _ => return unsent(Cause::Gateway),
        }
        if ASKED {
            self.waiting.enter(index, target, key, number);
            self.late_due += 1;
        } else {
            place.enter();
        }
        let generation = account.generation();
        let sequence = ProbeNumber(number).sequence();
        let shape = if ASKED { group.shape_by_ttl(to.family, number) } else { group.shape(to.family, number) };
        self.due.push(Due { target, generation, sequence, to: to.handle, hop, shape });
        let note = Note { walk: index, number, due, late: ASKED, offered: Nanos::MAX };
        self.notes.push(note);
    }

    /// Hands over what was entered, and notes when its deadlines come.
    #[inline]
    pub fn transmit(&mut self, clock: &impl Clock) {
        let begun = clock.now();
        let mut ended = begun;
        if !self.due.is_empty() {
            let fates = &mut self.fates[..self.due.len()];
            self.engine.transmit(&self.due, fates);
            ended = clock.now();
            if self.tally.first_send.load(Relaxed) == u64::MAX {
                self.tally.first_send.store(begun.0, Relaxed);
            }
            let in_order = dwell::are_sent_in_order(fates);
            if let Leaving::Together(together) = self.engine.leaving() {
                dwell::record(&self.tally.transmit_dwell, fates, in_order, together, ended);
            }
            self.allowance.earn(self.due.len() as u64);
            if in_order && !self.keeps_times && self.late_due == 0 {
                // Nobody wants to know when: nothing to do for each.
                self.tally.send_lag.record_all(self.notes.iter().map(|note| begun - note.due));
                self.backlog.handed(self.due.len(), ended);
                self.walks.iter_mut().for_each(|walk| walk.held = None);
                self.due.clear();
                self.notes.clear();
            } else {
                self.note_fates(begun, ended);
            }
        }
        if let Some(dwelt) = self.engine.dwelt() {
            self.tally.transmit_dwell.record(dwelt);
        }
        for walk in &mut self.walks {
            walk.push(begun, ended);
        }
    }

    /// Whether the receivers keep up. What is sent while they don't would come back to a full ring: better a probe that is late, or
    /// skipped, than one that nobody hears.
    #[inline]
    fn is_heard(&self) -> bool {
        let taken = &*self.common.taken;
        (0..taken.queues()).all(|queue| {
            let seen = taken.consumed(queue) + taken.dropped(queue);
            taken.taken(queue).saturating_sub(seen) <= taken.ring() / 2
        })
    }

    /// How many probes may be entered now so that each finds room for its result. Without a need for that, a batch.
    #[inline]
    fn room_for_results(&self) -> usize {
        if !self.common.no_result_dropped {
            return self.engine.batch();
        }
        let in_flight = self.common.in_flight();
        let free = usize::try_from((self.settler.room() as u64).saturating_sub(in_flight)).unwrap_or(usize::MAX);
        // Each sender takes no more than its share: they look at the same moment.
        (free / self.common.handed_over.len()).min(self.engine.batch())
    }
}

/// Whether probes of some walk are asked for: how many a second each of `senders` lets go, and whether all are.
fn runs_asked(walks: &[Walk], senders: usize) -> Option<(u64, bool)> {
    let asked = walks.iter().filter(|walk| walk.is_asked);
    let shortest = asked.clone().map(|walk| walk.interval).min()?;
    let rate = 1_000_000_000 / shortest.0.max(1) / senders.max(1) as u64;
    Some((rate, asked.count() == walks.len()))
}

/// How long due probes of these wait for each other. Nobody who was asked for is due by himself.
fn company(walks: &[Walk]) -> Company {
    let due = walks.iter().filter(|walk| !walk.is_asked && !walk.is_over);
    Company::new(due.map(|walk| (walk.slots(), walk.interval)))
}
