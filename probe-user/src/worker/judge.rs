//! From verdicts to states: who is up, who is down, and who can't be judged because this machine is at fault.
//!
//! A target goes down only once two things are known: that the way by which its last probe left was still the kernel's when the target
//! failed to answer, and, behind a gateway, that the gateway was alive: something was heard in the later half of the last probe's life,
//! or the gateway has answered the kernel after its deadline. Until then the change is owed. If the gateway turns out to be dead, the
//! bad probes of everybody behind it are cleared, and those that touch its death say nothing. The same goes for those that were on
//! their way when their target came to another next hop.

use super::{
    Common, Transition,
    debts::{Debt, Debts, has_room},
};
use crate::{
    base::{Nanos, State, TargetIndex},
    health::{Health, Verdict},
    ledger::{Account, Group, Run, tally::Tally},
    route::{Hop, Hops},
    schedule::Landed,
};
use std::{ops::Range, sync::Arc};

/// Between looks at gateways.
const LOOK: Nanos = Nanos::from_millis(1);
/// Owed changes that are settled at once, and streaks that are cleared at once, so that sending is not held up.
const AT_ONCE: usize = 2_048;
/// Owed changes in one look of which nothing is known yet, before the others wait for the next: they mostly share their gateway.
const UNKNOWN_AT_ONCE: usize = 256;

/// Judges the targets of one sender.
pub(super) struct Judge {
    common: Arc<Common>,
    tally: Arc<Tally>,
    /// Targets of this sender, by walk.
    targets: Vec<Range<u32>>,
    /// For each walk, with room for a debt of each of its targets. None grows beyond what it was made with. Any may have any target's.
    owed: Vec<Debts>,
    gates: Vec<Gate>,
    /// Hops that have been looked through for gateways, and their version then.
    seen: (usize, u64),
    look_at: Nanos,
}

/// A gateway.
struct Gate {
    hop: u32,
    /// Until when it was dead, as of the last look.
    dead_until: Nanos,
    /// Next target whose streak is to be cleared.
    clearing: Option<u32>,
}

/// What is known of a change that is owed.
enum Owed {
    /// Nothing yet.
    Unknown,
    /// The way was there: the target is down.
    Due,
    /// The way wasn't there: it says nothing about the target.
    Void,
}

impl Judge {
    pub(super) fn new(common: Arc<Common>, tally: Arc<Tally>, runs: &[Run]) -> Self {
        let ours: Vec<_> = runs.iter().map(|run| run.targets.clone()).collect();
        let owed = ours.iter().map(|targets| Debts::of(targets.len())).collect();
        let mut judge =
            Self { common, tally, targets: ours, owed, gates: Vec::new(), seen: (0, 0), look_at: Nanos::ZERO };
        judge.find_gates();
        judge
    }

    /// The targets of another walk are judged as well.
    pub(super) fn add(&mut self, targets: Range<u32>, debts: Debts) {
        self.targets.push(targets);
        self.owed.push(debts);
    }

    /// The same in the place of a walk that is over. Returns what is not needed any more.
    pub(super) fn replace(&mut self, walk: usize, targets: Range<u32>, debts: Debts) -> Debts {
        self.targets[walk] = targets;
        let mut old = std::mem::replace(&mut self.owed[walk], debts);
        // Those of the old walk's targets are void, but others' may be among them: there is room for one of each that is there.
        while let Some(debt) = old.queue.pop_front() {
            if let Some(debts) = self.owed.iter_mut().find(has_room) {
                debts.queue.push_back(debt);
            }
        }
        old
    }

    /// Gateways that have come to be since the last time.
    #[cold]
    fn find_gates(&mut self) {
        let hops = &self.common.hops;
        let (first, version) = (self.seen.0, hops.version());
        let new =
            (first..).map_while(|place| Some((u32::try_from(place).ok()?, hops.get(u32::try_from(place).ok()?)?)));
        for (hop, found) in new {
            self.seen.0 += 1;
            if !found.on_link {
                self.gates.push(Gate { hop, dead_until: found.life.dead_until(), clearing: None });
            }
        }
        self.seen.1 = version;
    }

    /// The probe of a number has landed. `silent`: nobody said anything, which is the gateway's word only if the gateway is alive.
    #[inline]
    pub(super) fn judge(
        &mut self,
        (account, number): (Account<'_>, u64),
        verdict: Verdict,
        silent: bool,
        landed: Landed,
        group: &Group,
    ) {
        let before = match verdict {
            Verdict::Silent => return,
            Verdict::Good => account.health(),
            Verdict::Bad => match self.speaks_against((account, number), silent, landed, group) {
                Some(health) => health,
                None => return,
            },
        };
        let mut after = before.after(verdict, group.up_after(), group.down_after());
        if after.state() == State::Down
            && before.state() != State::Down
            && !self.is_proven((account, number), silent, landed, group)
        {
            after = after.put_off(before);
            if !before.owes_down(group.down_after())
                && let Some(debts) = self.owed.iter_mut().find(has_room)
            {
                let (target, generation, deadline) = (account.target(), account.generation(), landed.deadline);
                debts.queue.push_back(Debt { target, generation, number: number as u8, deadline });
            }
        }
        if after != before {
            set(&self.common, &self.tally, account, before, after, landed.deadline);
        }
    }

    /// The target's health before a bad probe, if that probe says anything about it.
    #[inline]
    fn speaks_against(
        &self,
        (account, number): (Account<'_>, u64),
        silent: bool,
        landed: Landed,
        group: &Group,
    ) -> Option<Health> {
        let Common { hops, link, .. } = &*self.common;
        if link.was_down(landed.begun, landed.deadline) {
            return None;
        }
        let before = account.health();
        let Some(hop) = hop(hops, account, group, number) else {
            // The way that it left by is gone: from here on nobody can say what became of it.
            account.set_health(before.without_bad_streak());
            return None;
        };
        if silent && !hop.on_link && hop.life.dead_until() != Nanos::ZERO && landed.begun <= hop.life.dead_until() {
            return None;
        }
        if account.has_moved() {
            return Self::arrives(account, hop, before, landed);
        }
        Some(before)
    }

    /// The first bad probes of a target that came to another hop: what was on its way then says nothing, nor does what was before.
    #[cold]
    fn arrives(account: Account<'_>, hop: &Hop, before: Health, landed: Landed) -> Option<Health> {
        let cleared = before.without_bad_streak();
        if cleared != before {
            account.set_health(cleared);
        }
        if landed.begun <= hop.moved_until() {
            return None;
        }
        account.has_arrived(account.place_of_hop());
        Some(cleared)
    }

    /// Whether the way to a target that failed to answer is known to have been there then. Else finding out is begun.
    #[cold]
    fn is_proven(&self, (account, number): (Account<'_>, u64), silent: bool, landed: Landed, group: &Group) -> bool {
        let hops = &self.common.hops;
        let Some(hop) = hop(hops, account, group, number) else {
            return true;
        };
        let is_known = hops.known_until() >= landed.deadline;
        let half = landed.begun + Nanos((landed.deadline - landed.begun).0 / 2);
        let heard = || hops.is_one_way() && self.common.heard_at() >= half;
        let lives = hop.on_link || hop.life.proven() >= landed.deadline;
        if is_known && (lives || !silent || heard()) {
            return true;
        }
        if !lives {
            hop.life.doubt(landed.deadline);
        }
        false
    }

    /// Settles what is owed, where it is known by now whether the way was there.
    #[inline]
    pub(super) fn look(&mut self, now: Nanos) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK;
        if self.seen.1 != self.common.hops.version() {
            self.find_gates();
        }
        for gate in &mut self.gates {
            gate.look(&self.common, &self.targets);
        }
        for debts in 0..self.owed.len() {
            self.settle(debts, now);
        }
    }

    fn settle(&mut self, debts: usize, now: Nanos) {
        let mut unknown = 0;
        for _ in 0..self.owed[debts].queue.len().min(AT_ONCE) {
            let Some(debt) = self.owed[debts].queue.pop_front() else { return };
            let deadline = debt.deadline;
            let account = self.common.ledger.account(debt.target);
            let health = account.health();
            // An answer since then has paid for it, its streak was cleared, or the slot is another's.
            if account.generation() != debt.generation || !health.owes_down(account.group().down_after()) {
                continue;
            }
            match self.standing(debt) {
                Owed::Void => {}
                // A link that fell just then took the gateway's proof with it.
                Owed::Due if self.common.link.was_down(deadline, now) => {
                    account.set_health(health.without_bad_streak());
                }
                Owed::Due => set(&self.common, &self.tally, account, health, health.with_down(), now),
                Owed::Unknown => {
                    self.owed[debts].queue.push_back(debt);
                    unknown += 1;
                    if unknown == UNKNOWN_AT_ONCE {
                        return;
                    }
                }
            }
        }
    }

    /// What is known by now of the way that a target had when it failed to answer.
    fn standing(&self, Debt { target, number, deadline, .. }: Debt) -> Owed {
        let Common { ledger, hops, .. } = &*self.common;
        let account = ledger.account(target);
        // The streak of who has come to another hop since then is cleared when its next probe lands.
        let Some(hop) = hop(hops, account, account.group(), number.into()) else { return Owed::Void };
        if account.has_moved() || (!hop.on_link && deadline <= hop.life.dead_until()) {
            return Owed::Void;
        }
        if hops.known_until() >= deadline && (hop.on_link || hop.life.proven() >= deadline) {
            Owed::Due
        } else {
            Owed::Unknown
        }
    }

    /// When there is something to do again; MAX when nothing is owed.
    pub(super) fn next_at(&self) -> Nanos {
        let busy = self.owed.iter().any(|debts| !debts.queue.is_empty())
            || self.gates.iter().any(|gate| gate.clearing.is_some());
        if busy { self.look_at } else { Nanos::MAX }
    }
}

impl Gate {
    fn look(&mut self, common: &Common, ours: &[Range<u32>]) {
        let Some(hop) = common.hops.get(self.hop) else { return };
        let before = std::mem::replace(&mut self.dead_until, hop.life.dead_until());
        if self.dead_until != before && before != Nanos::MAX {
            self.clearing = ours.first().map(|targets| targets.start);
        }
        self.clear_streaks(common, ours);
    }

    /// Goes on forgetting the bad probes of everybody behind the gateway.
    fn clear_streaks(&mut self, common: &Common, ours: &[Range<u32>]) {
        for _ in 0..AT_ONCE {
            let Some(next) = self.clearing else { return };
            let target = TargetIndex(next);
            let account = common.ledger.account(target);
            if common.hops.turns(account.place_of_hop()).any(|(place, _)| place == self.hop) {
                account.set_health(account.health().without_bad_streak());
            }
            let after = ours.iter().find(|targets| targets.end > next + 1);
            self.clearing = after.map(|targets| targets.start.max(next + 1));
        }
    }
}

/// By which the probe of a number left, unless its target has come to another one since then.
#[inline]
fn hop<'a>(hops: &'a Hops, account: Account<'_>, group: &Group, number: u64) -> Option<&'a Hop> {
    hops.get(account.hop(hops, group, number).ok()?)
}

fn set(common: &Common, tally: &Tally, account: Account<'_>, before: Health, after: Health, at: Nanos) {
    account.set_health(after);
    let (from, to) = (before.state(), after.state());
    if from != to {
        tally.state(account.row(), from, to);
        if let Some(changes) = &common.changes {
            changes.push(Transition { target: account.target(), from, to, at });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        route::{Hop, Hops},
        targets::{Group, LabelSet, Plan, Sum, Target},
        wire::Key,
        worker::{Assembly, Link, Network, Taken, Wanted},
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
            label_sets: vec![LabelSet { labels: std::collections::BTreeMap::default(), sums: [0; 3] }],
            targets: vec![Target::v4(Ipv4Addr::LOCALHOST, 0)],
            ..Plan::default()
        };
        let hop = Hop::new(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, false);
        hop.life.watch();
        let network = Network {
            first_port: 0,
            key: Key([1, 2]),
            hops: Arc::new(Hops::from([hop])),
            taken: Arc::new(Quiet),
            link: Arc::new(Quiet),
            drops: Arc::default(),
        };
        Arc::clone(Assembly::new(&plan, &[0], network, (1, 1), Wanted::default()).common())
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
                let mut landing = |verdict, silent| judge.judge((common.ledger.account(WHO), number), verdict, silent, landed, common.ledger.group(0));
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
                prop_assert_eq!(common.ledger.account(WHO).health().state(), model.state, "step {}: {:?}", number, step);
            }
        }
    }
}
