//! From verdicts to states: who is up, who is down, and who can't be judged because this machine is at fault.
//!
//! A target behind a gateway goes down only once the gateway is known to have been alive when the target failed to answer: something
//! was heard in the later half of the last probe's life, or the gateway has answered the kernel after its deadline. Until then the
//! change is owed. If the gateway turns out to be dead, the bad probes of everybody behind it are forgiven, and those that touch its
//! death say nothing.

use super::{Common, Transition};
use crate::{
    health::{Health, Verdict},
    ledger::{Run, State, tally::Tally},
    schedule::Landed,
    time::Nanos,
    wire::TargetIndex,
};
use std::{collections::VecDeque, ops::Range, sync::Arc};

/// Between looks at gateways.
const LOOK: Nanos = Nanos::from_millis(1);
/// Owed changes that are settled at once, and targets that are forgiven at once, so that sending is not held up.
const AT_ONCE: usize = 2_048;

/// Judges the targets of one sender.
pub(super) struct Judge {
    common: Arc<Common>,
    tally: Arc<Tally>,
    /// Targets of this sender, and the bad probes that make one of them down.
    groups: Vec<(Range<u32>, u32)>,
    gates: Vec<Gate>,
    /// Which gate a hop is; only of hops that are gateways.
    gate_of: Box<[u32]>,
    /// Everything comes through one gateway: whatever is heard proves that it is alive.
    one_way: bool,
    look_at: Nanos,
}

/// A gateway, and what is owed behind it.
struct Gate {
    hop: usize,
    /// Targets that are down if the gateway was alive at the moment beside them. Never grows beyond what it was made with.
    owed: VecDeque<(TargetIndex, Nanos)>,
    /// Until when it was dead, as of the last look.
    dead_until: Nanos,
    /// Next target to be forgiven.
    forgiving: Option<u32>,
}

const NO_GATE: u32 = u32::MAX;

impl Judge {
    pub(super) fn new(common: Arc<Common>, tally: Arc<Tally>, runs: &[Run]) -> Self {
        let groups: Vec<_> =
            runs.iter().map(|run| (run.targets.clone(), common.ledger.thresholds(run.group).1)).collect();
        // Names that are resolved later may come to any gateway.
        let mut targets_of = vec![0; common.hops.len()];
        let mut nameless = 0;
        for target in groups.iter().flat_map(|(targets, _)| targets.clone()).map(TargetIndex) {
            match common.ledger.hop(target).and_then(|hop| targets_of.get_mut(hop as usize)) {
                Some(many) => *many += 1,
                None => nameless += 1,
            }
        }
        let mut gate_of: Box<[u32]> = vec![NO_GATE; common.hops.len()].into();
        let mut gates = Vec::new();
        for (hop, many) in targets_of.into_iter().enumerate().filter(|(hop, _)| !common.hops[*hop].on_link) {
            gate_of[hop] = u32::try_from(gates.len()).unwrap_or(NO_GATE);
            gates.push(Gate {
                hop,
                owed: VecDeque::with_capacity(many + nameless),
                dead_until: Nanos::ZERO,
                forgiving: None,
            });
        }
        let one_way = common.hops.len() == 1;
        Self { common, tally, groups, gates, gate_of, one_way, look_at: Nanos::ZERO }
    }

    /// A probe has landed. `silent`: nobody said anything, which is the gateway's word only if the gateway is alive.
    #[inline]
    pub(super) fn judge(
        &mut self,
        target: TargetIndex,
        verdict: Verdict,
        silent: bool,
        landed: Landed,
        (up_after, down_after): (u32, u32),
    ) {
        if verdict == Verdict::Silent {
            return;
        }
        let ledger = &self.common.ledger;
        let before = ledger.health(target);
        let mut after = before.after(verdict, up_after, down_after);
        if verdict == Verdict::Bad {
            if self.common.link.was_down(landed.begun, landed.deadline) {
                return;
            }
            if silent
                && let Some(gate) = ledger.hop(target).and_then(|hop| self.gate_of.get(hop as usize))
                && let Some(gate) = self.gates.get_mut(*gate as usize)
            {
                let life = &self.common.hops[gate.hop].life;
                if landed.begun <= life.dead_until() && life.dead_until() != Nanos::ZERO {
                    return;
                }
                let goes_down = after.state() == State::Down && before.state() != State::Down;
                let half = landed.begun + Nanos((landed.deadline - landed.begun).0 / 2);
                let heard = || self.one_way && self.common.heard_at() >= half;
                if goes_down && life.proven() < landed.deadline && !heard() {
                    after = after.put_off(before);
                    life.doubt(landed.deadline);
                    if gate.owed.len() < gate.owed.capacity() && !before.owes_down(down_after) {
                        gate.owed.push_back((target, landed.deadline));
                    }
                }
            }
        }
        if after != before {
            set(&self.common, &self.tally, target, before, after, landed.deadline);
        }
    }

    /// Settles what is owed, where it is known by now whether the gateway is alive.
    #[inline]
    pub(super) fn look(&mut self, now: Nanos) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK;
        for gate in &mut self.gates {
            gate.look(&self.common, &self.tally, &self.groups, now);
        }
    }

    /// When there is something to do again; MAX when nothing is owed.
    pub(super) fn next_at(&self) -> Nanos {
        let busy = self.gates.iter().any(|gate| !gate.owed.is_empty() || gate.forgiving.is_some());
        if busy { self.look_at } else { Nanos::MAX }
    }
}

impl Gate {
    fn look(&mut self, common: &Common, tally: &Tally, groups: &[(Range<u32>, u32)], now: Nanos) {
        let life = &common.hops[self.hop].life;
        let before = std::mem::replace(&mut self.dead_until, life.dead_until());
        if self.dead_until != before && before != Nanos::MAX {
            self.owed.clear();
            self.forgiving = groups.first().map(|(targets, _)| targets.start);
        }
        self.forgive(common, groups);
        let proven = life.proven();
        for _ in 0..AT_ONCE {
            let Some((target, deadline)) = self.owed.pop_front_if(|(_, deadline)| *deadline <= proven) else { break };
            let health = common.ledger.health(target);
            let of = groups.iter().find(|(targets, _)| targets.contains(&target.0));
            // An answer since then has paid for it.
            if of.is_none_or(|(_, down_after)| !health.owes_down(*down_after)) {
                continue;
            }
            // A link that fell just then took the gateway's proof with it.
            if common.link.was_down(deadline, now) {
                common.ledger.set_health(target, health.forgiven());
            } else {
                set(common, tally, target, health, health.pay_down(), now);
            }
        }
    }

    /// Goes on forgetting the bad probes of everybody behind the gateway.
    fn forgive(&mut self, common: &Common, groups: &[(Range<u32>, u32)]) {
        for _ in 0..AT_ONCE {
            let Some(next) = self.forgiving else { return };
            let target = TargetIndex(next);
            if common.ledger.hop(target).is_some_and(|hop| hop as usize == self.hop) {
                common.ledger.set_health(target, common.ledger.health(target).forgiven());
            }
            let after = groups.iter().map(|(targets, _)| targets).find(|targets| targets.end > next + 1);
            self.forgiving = after.map(|targets| targets.start.max(next + 1));
        }
    }
}

fn set(common: &Common, tally: &Tally, target: TargetIndex, before: Health, after: Health, at: Nanos) {
    common.ledger.set_health(target, after);
    let (from, to) = (before.state(), after.state());
    if from != to {
        tally.state(common.ledger.row(target), from, to);
        if let Some(changes) = &common.changes {
            changes.push(Transition { target, from, to, at });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::Ledger,
        results::Stamp,
        route::Hop,
        targets::{Group, LabelSet, Plan, Sum, Target},
        wire::Key,
        worker::{Asked, Link, Taken},
    };
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    struct Quiet;

    impl Taken for Quiet {
        fn queues(&self) -> usize {
            0
        }
        fn taken(&self, _: usize) -> u64 {
            0
        }
        fn consumed(&self, _: usize) -> u64 {
            0
        }
        fn dropped(&self, _: usize) -> u64 {
            0
        }
        fn ring(&self) -> u64 {
            0
        }
    }

    impl Link for Quiet {
        fn is_up(&self) -> bool {
            true
        }
        fn was_down(&self, _: Nanos, _: Nanos) -> bool {
            false
        }
    }

    const WHO: TargetIndex = TargetIndex(0);

    /// One target behind one gateway.
    fn common(up_after: u32, down_after: u32) -> Arc<Common> {
        let group = Group { up_after, down_after, targets: 0..1, ..Group::named("g") };
        let plan = Plan {
            groups: vec![group],
            sums: vec![Sum { group: 0, values: vec![] }],
            label_sets: vec![LabelSet { labels: std::collections::BTreeMap::default(), sum: 0 }],
            targets: vec![Target { address: Some(Ipv4Addr::LOCALHOST), label_set: 0 }],
            ..Plan::default()
        };
        let hop = Hop::new(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, false);
        hop.life.watch();
        Arc::new(Common {
            ttl: 64,
            short_quotes: Box::new([crate::worker::ShortQuotes::default()]),
            ledger: Arc::new(Ledger::new(&plan, &[0], 1)),
            key: Key([1, 2]),
            hops: Arc::new([hop]),
            taken: Arc::new(Quiet),
            link: Arc::new(Quiet),
            drops: Arc::default(),
            records: false,
            no_result_dropped: false,
            tx_stamp: Stamp::User,
            changes: None,
            tallies: Box::new([Arc::new(Tally::new(1))]),
            asked: Asked::new(1),
        })
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Good,
        /// Nobody said anything.
        Lost,
        /// A router said that it can't be reached: no word about the gateway but that somebody speaks.
        Failed,
        Silent,
        Proven,
        Died,
        CameBack,
    }

    /// The plainest telling, from its own books.
    #[derive(Default)]
    struct Model {
        state: State,
        good: u32,
        bad: u32,
        /// Deadlines of probes that would have made it down.
        owed: Vec<u64>,
        proven: u64,
        dead: bool,
        dead_until: u64,
    }

    impl Model {
        /// The probe of a step lives from 5 before its moment to its moment.
        fn step(&mut self, step: Step, at: u64, up_after: u32, down_after: u32) {
            match step {
                Step::Silent => {}
                Step::Good => {
                    (self.good, self.bad) = (self.good + 1, 0);
                    if self.good >= up_after {
                        self.state = State::Up;
                    }
                }
                Step::Lost if self.dead || (self.dead_until != 0 && at - 5 <= self.dead_until) => {}
                Step::Lost | Step::Failed => {
                    (self.good, self.bad) = (0, self.bad + 1);
                    if self.bad >= down_after && self.state != State::Down {
                        if matches!(step, Step::Failed) || self.proven >= at {
                            self.state = State::Down;
                        } else {
                            self.owed.push(at);
                        }
                    }
                }
                Step::Proven => self.proven = at,
                Step::Died if !self.dead => {
                    self.dead = true;
                    self.bad = 0;
                    self.owed.clear();
                }
                Step::CameBack if self.dead => (self.dead, self.dead_until) = (false, at),
                Step::Died | Step::CameBack => {}
            }
            // Paid where the gateway is known to have lived that long, and only if the streak still stands.
            let paid = self.owed.iter().any(|deadline| *deadline <= self.proven);
            self.owed.retain(|deadline| *deadline > self.proven);
            if paid && self.bad >= down_after {
                self.state = State::Down;
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_model(
            story in proptest::collection::vec(prop_oneof![
                3 => Just(Step::Good), 8 => Just(Step::Lost), 1 => Just(Step::Failed), 1 => Just(Step::Silent),
                3 => Just(Step::Proven), 1 => Just(Step::Died), 2 => Just(Step::CameBack),
            ], 0..80),
            up_after in 1u32..4,
            down_after in 1u32..4,
        ) {
            let common = common(up_after, down_after);
            let mut judge = Judge::new(Arc::clone(&common), Arc::clone(&common.tallies[0]), &common.ledger.runs_of(0));
            let life = &common.hops[0].life;
            let mut model = Model::default();
            for (number, step) in (1u64..).zip(story) {
                let at = number * 10_000_000;
                let now = Nanos(at);
                // Begun 5 before: in the model's units and in these.
                let landed = Landed { begun: now - Nanos(5), deadline: now };
                let mut landing = |verdict, silent| judge.judge(WHO, verdict, silent, landed, (up_after, down_after));
                match step {
                    Step::Good => landing(Verdict::Good, false),
                    Step::Lost => landing(Verdict::Bad, true),
                    Step::Failed => landing(Verdict::Bad, false),
                    Step::Silent => landing(Verdict::Silent, false),
                    Step::Proven => life.prove(now),
                    Step::Died => life.died(now),
                    Step::CameBack => life.came_back(now),
                }
                judge.look(now + Nanos::from_millis(2));
                model.step(step, at, up_after, down_after);
                prop_assert_eq!(common.ledger.health(WHO).state(), model.state, "step {}: {:?}", number, step);
            }
        }
    }
}
