//! The real loop over the simulated network: what the ledger says must be what the network did.
#![expect(clippy::unwrap_used, reason = "tests")]

use echolot::{
    base::{Nanos, Outcome, State, TargetIndex},
    ledger::{Snapshot, tally, unheard::DropLog},
    route::{Hop, Neighbour},
    targets::{Group, LabelSet, Plan, Sum, Target},
    wire::Key,
    worker::{self, Assembly, Clock, Common, Loop, Phase, Wanted},
};
use std::{net::Ipv4Addr, sync::Arc};
use testbed::{
    FIRST_PORT, Facts, Near, Network, Silence, SimClock, SimEngine, SimQueue,
    kind::{BackToFront, Echo, ProbeKind},
    read::Span,
    rules::{Duplicate, ErrorThenReply, Forged, Late, Quote, Range, Reorder, RuleFile, Stretch, Unreachable},
};

#[path = "sim/cards.rs"]
mod cards;
#[path = "sim/families.rs"]
mod families;
#[path = "sim/hops.rs"]
mod hops;
#[path = "sim/reload.rs"]
mod reload;
#[path = "sim/rules.rs"]
mod rules;
#[path = "sim/sources.rs"]
mod sources;
#[path = "sim/tcp.rs"]
mod tcp;
#[path = "sim/udp.rs"]
mod udp;
#[path = "sim/waiting.rs"]
mod waiting;

fn group(name: &str, interval: Nanos, timeout: Nanos, count: Option<u64>) -> Group {
    Group { interval, timeout, count, ..Group::named(name) }
}

fn plan(groups: Vec<(Group, u32)>) -> Plan {
    let mut plan = Plan::default();
    for (i, (mut group, many)) in groups.into_iter().enumerate() {
        let first = u32::try_from(plan.targets.len()).unwrap();
        group.targets = first..first + many;
        plan.groups.push(group);
        plan.sums.push(Sum { group: i, values: vec![] });
        plan.label_sets
            .push(LabelSet { labels: std::collections::BTreeMap::default(), sums: [u32::try_from(i).unwrap(); 3] });
        plan.targets.extend(
            (first..first + many).map(|n| Target::v4(Ipv4Addr::from(0x0a40_0000 + n), u32::try_from(i).unwrap())),
        );
    }
    plan
}

struct World<K = Echo> {
    net: Network,
    clock: SimClock,
    common: Arc<Common>,
    loops: Vec<Loop<SimClock, SimEngine, SimQueue<K>>>,
}

/// What happens to probes at the far end, to each with a chance of its own, and what on our own side.
#[derive(Default)]
struct Rules {
    far: Range,
    near: Near,
}

impl From<Range> for Rules {
    fn from(far: Range) -> Self {
        Self { far, near: Near::default() }
    }
}

fn world(plan: &Plan, rules: impl Into<Rules>, seed: u64) -> World {
    world_of(plan, rules, seed, 1)
}

/// With so many senders, each of which receives too.
fn world_of(plan: &Plan, rules: impl Into<Rules>, seed: u64, senders: usize) -> World {
    world_by(plan, rules, seed, senders, vec![gateway()], &vec![0; plan.targets.len()])
}

fn gateway() -> Hop {
    let hop = Hop::new(Ipv4Addr::new(10, 63, 0, 2), Ipv4Addr::new(10, 63, 0, 1), false);
    hop.set(Neighbour::Resolved([2; 6]));
    hop
}

/// Each target by its hop.
fn world_by(plan: &Plan, rules: impl Into<Rules>, seed: u64, senders: usize, hops: Vec<Hop>, of: &[u32]) -> World {
    let Rules { far, near } = rules.into();
    let network = network(plan, RuleFile::of(seed, far), near);
    joined(plan, network, senders, hops, of)
}

fn network(plan: &Plan, rules: RuleFile, near: Near) -> (Network, Arc<DropLog>, Key) {
    let key = Key([rules.seed, 42]);
    let drops = Arc::new(DropLog::default());
    let log = Arc::clone(&drops);
    let net = Network::new(plan, rules, near, key, move |from, to, n| log.note(from, to, n)).unwrap();
    (net, drops, key)
}

/// Loops of so many senders that read what probes of this kind are answered.
fn joined<K: ProbeKind>(
    plan: &Plan,
    (net, drops, key): (Network, Arc<DropLog>, Key),
    senders: usize,
    hops: Vec<Hop>,
    of: &[u32],
) -> World<K> {
    let hops = Arc::new(hops.into_iter().collect());
    let network =
        worker::Network { key, first_port: FIRST_PORT, hops, taken: net.numbers(), link: net.numbers(), drops };
    let wanted = Wanted { changes: true, ..Wanted::default() };
    let mut assembly = Assembly::new(plan, of, network, (senders, senders), wanted);
    let clock = net.clock();
    let loops = (0..senders).map(|_| assembly.both(net.engine(), net.queue_of(), net.clock(), clock.now())).collect();
    let common = Arc::clone(assembly.common());
    World { net, clock, common, loops }
}

impl<K: ProbeKind> World<K> {
    /// Turns until `until`, auditing the equation and the unsettled bits on the way.
    fn go(&mut self, until: Nanos) {
        let mut turns = 0u64;
        while self.clock.now() < until && self.turn() {
            turns += 1;
            if turns.is_multiple_of(200_000) {
                self.audit();
            }
        }
        self.audit();
    }

    /// Each loop that has something to do takes a turn. False if none has any more.
    fn turn(&mut self) -> bool {
        self.loops.retain_mut(Loop::turn);
        !self.loops.is_empty()
    }

    fn drain(&mut self) {
        self.common.ask(Phase::Drain);
        while self.turn() {}
        self.audit();
        assert_eq!(self.sum(|row| row.in_flight()), 0);
    }

    fn snapshot(&self) -> Snapshot {
        tally::snapshot(&self.common.tallies, self.clock.now())
    }

    fn sum(&self, of: impl Fn(&echolot::ledger::SumRow) -> u64) -> u64 {
        self.snapshot().sums.iter().map(of).sum()
    }

    fn outcome(&self, outcome: Outcome) -> u64 {
        self.sum(|row| row.settled[outcome as usize])
    }

    /// On one thread every moment between turns is quiet: in flight, as a difference, is the number of unsettled bits.
    fn audit(&self) {
        assert_eq!(self.sum(|row| row.in_flight()), self.common.ledger.unsettled());
    }

    /// The account against what the network did, when all is settled.
    fn compare(&self) {
        let facts: Facts = self.net.facts();
        let snapshot = self.snapshot();
        assert_eq!(self.outcome(Outcome::Answered), facts.in_time);
        assert_eq!(self.outcome(Outcome::Unreachable), facts.unreachable);
        assert_eq!(self.sum(|row| row.late), facts.late);
        assert_eq!(self.sum(|row| row.duplicate), facts.duplicate);
        assert_eq!(self.outcome(Outcome::Unsent), facts.refused);
        assert_eq!(snapshot.rejected.iter().sum::<u64>(), facts.corrupt);
        assert_eq!(self.sum(|row| row.probes), facts.sent + facts.refused);
        let heard = facts.in_time + facts.unreachable;
        assert_eq!(self.outcome(Outcome::Lost) + self.outcome(Outcome::Unheard), facts.sent - heard);
        assert!(self.outcome(Outcome::Unheard) <= facts.dropped);
        assert_eq!(self.sum(|row| row.contradicted), facts.contradicted);
        for (i, target) in
            (0..u32::try_from(self.common.ledger.len()).unwrap()).map(echolot::base::TargetIndex).enumerate()
        {
            let row = self.common.ledger.account(target).shown();
            assert_eq!(row.probes, row.settled.iter().sum::<u64>(), "target {i}: entered and settled");
        }
    }
}

/// Everything that there is, none of it too often.
fn rough() -> Rules {
    let far = Range {
        loss: 0.05,
        delay: Span(Nanos::from_millis(20)),
        jitter: Span(Nanos::from_millis(60)),
        duplicate: Some(Duplicate { share: 0.02, copies: 1, after: Span(Nanos::from_millis(10)) }),
        reorder: Some(Reorder { share: 0.02, by: Span(Nanos::from_millis(5)) }),
        late: Some(Late { share: 0.01, delay: Span(Nanos::from_millis(1_300)) }),
        corrupt_payload: 0.01,
        corrupt_cookie: 0.005,
        forged: Some(Forged { share: 0.005, copies: 1 }),
        stranger: 0.005,
        unreachable: Some(Unreachable { share: 0.02, quote: Quote::Either }),
        error_then_reply: Some(ErrorThenReply { share: 0.01, after: Span(Nanos(1)), quote: Quote::Either }),
        ..Range::default()
    };
    Rules { far, near: Near { refuse: 0.005, ..Near::default() } }
}

/// Nothing comes back from one moment to another of the network's clock, which is at one second when the first probe arrives.
fn silence(from: Nanos, to: Nanos) -> Stretch {
    let begin = Nanos::from_secs(1);
    Stretch { from: Span(from - begin), to: Span(to - begin) }
}

/// Probes take this time there and back, and that is all.
fn delayed(delay: Nanos) -> Range {
    Range { delay: Span(delay), ..Range::default() }
}

/// A week: a thousand targets at 10 s, and ten at 1 s whose sequence goes round nine times. 66 million probes.
#[test]
fn a_week_of_a_rough_network() {
    let started = std::time::Instant::now();
    let timeout = Nanos::from_secs(1);
    let plan = plan(vec![
        (group("slow", Nanos::from_secs(10), timeout, None), 1_000),
        (group("wrapping", Nanos::from_secs(1), timeout, None), 10),
    ]);
    let mut world = world(&plan, rough(), 1);
    let week = Nanos::from_secs(7 * 86_400);
    let begin = world.clock.now();
    world.go(begin + week);
    world.drain();
    world.compare();
    let probes = world.sum(|row| row.probes);
    assert!((66_500_000..=66_530_000).contains(&probes), "{probes} probes");
    assert_eq!(world.sum(|row| row.skipped), 0);
    println!("{probes} probes of a week in {:.1?}", started.elapsed());
}

/// Timeouts longer than the interval, windows from one word to the widest, all outcomes: the account holds.
#[test]
fn many_in_flight() {
    for (interval_ms, timeout_ms) in
        [(10, 1), (10, 90), (10, 500), (10, 3_000), (20, 60_000), (1_000, 60_000), (700, 900)]
    {
        let timeout = Nanos::from_millis(timeout_ms);
        let plan = plan(vec![(group("g", Nanos::from_millis(interval_ms), timeout, None), 7)]);
        let mut rules = rough();
        (rules.far.delay, rules.far.jitter) = (Span(Nanos(timeout.0 / 3)), Span(Nanos(timeout.0 / 2)));
        rules.far.late = Some(Late { share: 0.01, delay: Span(timeout + Nanos::from_millis(3)) });
        let mut world = world(&plan, rules, interval_ms * timeout_ms);
        let begin = world.clock.now();
        world.go(begin + Nanos(timeout.0 * 5) + Nanos::from_secs(30));
        world.drain();
        world.compare();
        assert!(world.outcome(Outcome::Lost) > 0, "{interval_ms} {timeout_ms}");
        assert!(world.outcome(Outcome::Unreachable) > 0, "{interval_ms} {timeout_ms}");
        assert_eq!(world.snapshot().unsent[echolot::base::Cause::Window as usize], 0, "windows are wide enough");
    }
}

/// Several senders that receive too, each whichever frame comes: the account holds, and who is done goes on receiving for the others.
#[test]
fn several_senders() {
    for senders in [2, 3, 8] {
        let (timeout, count) = (Nanos::from_millis(900), Some(40));
        let plan = plan(vec![
            (group("g", Nanos::from_millis(100), timeout, None), 1_000),
            (group("few", Nanos::from_millis(100), timeout, count), 5),
        ]);
        // An error without payload that another sender's thread received waits for its own sender's next turn; and here, where they
        // share one clock, each sleeps while all others wait.
        let mut rules = rough();
        let after = Span(Nanos::from_millis(50));
        rules.far.error_then_reply = Some(ErrorThenReply { share: 0.01, after, quote: Quote::Either });
        let mut world = world_of(&plan, rules, senders as u64, senders);
        world.go(world.clock.now() + Nanos::from_secs(20));
        world.drain();
        world.compare();
        assert!(world.sum(|row| row.probes) > 150_000, "{senders} senders");
        assert_eq!(world.snapshot().unsent[echolot::base::Cause::Window as usize], 0, "{senders} senders");
        for target in plan.groups[1].targets.clone().map(TargetIndex) {
            let row = world.common.ledger.account(target).shown();
            assert_eq!(row.settled.iter().sum::<u64>(), 40, "{senders} senders, target {target:?}");
        }
    }
    let plan = plan(vec![(group("g", Nanos::from_millis(100), Nanos::from_millis(50), Some(1)), 5_000)]);
    let mut world = world_of(&plan, Range { loss: 0.5, ..delayed(Nanos::from_millis(1)) }, 6, 2);
    while world.turn() {}
    world.compare();
    assert_eq!(world.sum(|row| row.probes), 5_000, "a sweep by two");
}

/// A kind of probe that echolot does not know, from a file of the testbed: the same loops and ledger keep its account, over either
/// family. Who asks for echo takes none of its answers for one.
#[test]
fn another_kind_goes_through_the_same_loops() {
    let mut plan = plan(vec![(group("g", Nanos::from_secs(1), Nanos::from_millis(900), None), 500)]);
    families::over_v6(&mut plan, 0..250);
    let asked = || {
        let network = network(&plan, RuleFile::of(12, rough().far), Near::default());
        network.0.ask::<BackToFront>();
        network
    };
    let mut world: World<BackToFront> = joined(&plan, asked(), 1, vec![gateway()], &vec![0; 500]);
    world.go(world.clock.now() + Nanos::from_secs(100));
    world.drain();
    world.compare();
    assert!(world.outcome(Outcome::Answered) > 10_000 && world.outcome(Outcome::Unreachable) > 1_000);

    let mut world: World<Echo> = joined(&plan, asked(), 1, vec![gateway()], &vec![0; 500]);
    world.go(world.clock.now() + Nanos::from_secs(10));
    world.drain();
    assert_eq!(world.outcome(Outcome::Answered), 0);
    assert!(world.snapshot().rejected.iter().sum::<u64>() > 4_000, "{:?}", world.snapshot().rejected);
}

/// The far end is silent for five seconds: exactly the probes of that time are lost, and every target goes down and up again.
#[test]
fn a_silence_is_counted_to_the_probe() {
    let plan = plan(vec![(group("g", Nanos::from_secs(1), Nanos::from_secs(1), None), 500)]);
    let (from, to) = (Nanos::from_secs(11), Nanos::from_secs(16));
    let rules = Range { silences: vec![silence(from, to)], ..delayed(Nanos::from_millis(5)) };
    let mut world = world(&plan, rules, 3);
    world.go(Nanos::from_secs(16));
    let states = world.snapshot().sums[0].states;
    assert_eq!(states[State::Down as usize], 500, "{states:?}");
    world.go(Nanos::from_secs(30));
    let states = world.snapshot().sums[0].states;
    assert_eq!(states[State::Up as usize], 500, "{states:?}");
    world.drain();
    world.compare();
    assert_eq!(world.outcome(Outcome::Lost), 2_500);
}

/// A receiver that is held up while its ring overflows: no more probes are excused than frames were dropped, and what the ring
/// kept keeps its round-trip times.
#[test]
fn a_held_up_receiver_adds_nothing_to_round_trip_times() {
    let plan = plan(vec![(group("g", Nanos::from_secs(1), Nanos::from_secs(1), None), 1_000)]);
    let rules = Rules { far: delayed(Nanos::from_millis(5)), near: Near { ring: 64, ..Near::default() } };
    let mut world = world(&plan, rules, 4);
    world.go(Nanos::from_secs(5));
    world.net.stall(true);
    world.go(Nanos::from_secs(7));
    world.net.stall(false);
    world.go(Nanos::from_secs(20));
    world.drain();
    let facts = world.net.facts();
    assert!(facts.dropped > 1_000, "{facts:?}");
    assert_eq!(world.outcome(Outcome::Unheard), facts.dropped);
    assert_eq!(world.outcome(Outcome::Lost), 0);
    assert_eq!(world.sum(|row| row.late) + world.sum(|row| row.duplicate), 0);
    let snapshot = world.snapshot();
    assert_eq!(snapshot.sums[0].rtt.max, Nanos::from_millis(5));
    assert_eq!(snapshot.sums[0].states[State::Up as usize], 1_000);
}

/// Silent targets while one frame was dropped: one probe is excused, and all of them go down all the same.
#[test]
fn a_dropped_frame_does_not_hide_an_outage() {
    let plan = plan(vec![(group("g", Nanos::from_secs(1), Nanos::from_secs(1), None), 1_000)]);
    let from = Nanos::from_secs(10);
    let rules = Range { silences: vec![silence(from, Nanos::MAX)], ..delayed(Nanos::from_millis(5)) };
    let mut world = world(&plan, rules, 5);
    world.go(Nanos::from_millis(10_500));
    world.common.drops.note(Nanos::from_millis(10_400), Nanos::from_millis(10_450), 1);
    world.go(Nanos::from_secs(15));
    assert_eq!(world.outcome(Outcome::Unheard), 1);
    assert_eq!(world.snapshot().sums[0].states[State::Down as usize], 1_000);
}

/// Somebody on the way says of all probes that they don't arrive, quoting as little as routers may: no probe is lost, and every
/// target goes down; an answer behind such an error contradicts it.
#[test]
fn short_quotes_settle_the_probe_that_they_quote() {
    let mut plan = plan(vec![
        (group("g", Nanos::from_millis(100), Nanos::from_millis(950), None), 300),
        (group("h", Nanos::from_secs(1), Nanos::from_secs(1), None), 300),
    ]);
    // Both groups have the same addresses, and as long as their numbers agree their quotes look the same.
    for i in 0..300 {
        plan.targets[300 + i].destination = plan.targets[i].destination;
    }
    let delay = Nanos::from_millis(300);
    let rules = Range { unreachable: Some(Unreachable { share: 1.0, quote: Quote::Short }), ..delayed(delay) };
    let mut world = world(&plan, rules, 8);
    world.go(Nanos::from_secs(100));
    world.drain();
    world.compare();
    let facts = world.net.facts();
    assert_eq!(world.outcome(Outcome::Unreachable), facts.sent);
    let states: u64 = world.snapshot().sums.iter().map(|row| row.states[State::Down as usize]).sum();
    assert_eq!(states, 600);
}

/// An error that comes so late that the place of its probe is in use again settles nothing, however little it quotes.
#[test]
fn an_error_from_an_earlier_round_of_the_window_is_late() {
    let interval = Nanos::from_millis(10);
    let plan = plan(vec![(group("g", interval, Nanos::from_millis(90), None), 3)]);
    for rounds in [16, 32, 256, 65_536 - 16, 65_536 + 16] {
        // The window has 16 places: the probe that has just been sent is in the same one.
        let after = Nanos(interval.0 * rounds + 1_000_000);
        let unreachable = Some(Unreachable { share: 1.0, quote: Quote::Either });
        let rules = Range { unreachable, ..delayed(after) };
        let mut world = world(&plan, rules, rounds);
        let begin = world.clock.now();
        world.go(begin + after + Nanos::from_secs(20));
        let late = world.sum(|row| row.late);
        assert!(late > 5_900, "{rounds}: {late}");
        // The last may still lie in the ring.
        assert!((late..=late + 1).contains(&world.net.facts().late), "{rounds}");
        assert_eq!(world.outcome(Outcome::Unreachable), 0, "{rounds}");
    }
}

/// A sweep: everybody once, and then it ends by itself, with the last deadline.
#[test]
fn a_sweep_ends_by_itself() {
    let plan = plan(vec![(group("g", Nanos::from_millis(100), Nanos::from_millis(50), Some(1)), 5_000)]);
    let mut world = world(&plan, Range { loss: 0.5, ..delayed(Nanos::from_millis(1)) }, 6);
    let begin = world.clock.now();
    while world.turn() {}
    world.compare();
    assert_eq!(world.sum(|row| row.probes), 5_000);
    let took = world.clock.now() - begin;
    assert!(took >= Nanos::from_millis(149) && took < Nanos::from_millis(160), "{took}");
}

/// Once started, a loop allocates nothing.
#[test]
fn a_turn_allocates_nothing() {
    let plan = plan(vec![(group("g", Nanos::from_millis(100), Nanos::from_millis(250), None), 1_000)]);
    let mut world = world(&plan, delayed(Nanos::from_millis(3)), 7);
    let mut turns = 0;
    let allocations = allocation_counter::measure(|| {
        while world.clock.now() < Nanos::from_secs(20) && world.loops[0].turn() {
            turns += 1;
        }
    });
    // Probes leave in company: every half a millisecond.
    assert!(turns > 30_000, "{turns}");
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
}

/// Everybody is up, and from 10 s on nobody answers. The test takes the watcher's part of finding out whether the gateway lives.
fn silence_behind_a_watched_gateway(seed: u64, to: Nanos) -> World {
    let plan = plan(vec![(group("g", Nanos::from_secs(1), Nanos::from_secs(1), None), 500)]);
    let silences = vec![silence(Nanos::from_secs(10), to)];
    let mut world = world(&plan, Range { silences, ..delayed(Nanos::from_millis(5)) }, seed);
    world.common.hops[0].life.watch();
    world.go(Nanos::from_secs(9));
    assert_eq!(world.common.hops[0].life.doubted(), None);
    world.go(Nanos::from_millis(14_500));
    let states = world.snapshot().sums[0].states;
    assert_eq!(states[State::Up as usize], 500, "nobody goes down before the gateway is known to be alive: {states:?}");
    assert!(world.common.hops[0].life.doubted() >= Some(Nanos::from_secs(13)));
    world
}

fn went_down(world: &World) -> usize {
    let changes = world.common.changes.as_ref().unwrap();
    std::iter::from_fn(|| changes.pop()).filter(|change| change.to == State::Down).count()
}

/// The gateway answers: what was owed is paid at once, and each is told once.
#[test]
fn an_outage_behind_a_living_gateway_is_told_when_it_is_proven() {
    let mut world = silence_behind_a_watched_gateway(8, Nanos::MAX);
    world.common.hops[0].life.prove(world.clock.now());
    world.go(Nanos::from_millis(14_510));
    assert_eq!(world.snapshot().sums[0].states[State::Down as usize], 500);
    assert_eq!(went_down(&world), 500);
}

/// The gateway is dead: nobody goes down, however long it lasts; and after its return it takes as many bad probes as ever.
#[test]
fn nobody_goes_down_behind_a_dead_gateway() {
    let mut world = silence_behind_a_watched_gateway(9, Nanos::from_secs(30));
    world.common.hops[0].life.died(world.clock.now());
    world.go(Nanos::from_secs(30));
    world.common.hops[0].life.came_back(world.clock.now());
    world.go(Nanos::from_secs(40));
    assert_eq!(world.snapshot().sums[0].states[State::Up as usize], 500);
    assert_eq!(went_down(&world), 0);
    assert!(world.outcome(Outcome::Lost) >= 9_500, "what was lost is counted all the same");

    // The same, but the far end stays silent: the streaks begin with the gateway's return.
    let mut world = silence_behind_a_watched_gateway(10, Nanos::MAX);
    world.common.hops[0].life.died(world.clock.now());
    world.go(Nanos::from_secs(20));
    let back = world.clock.now();
    world.common.hops[0].life.came_back(back);
    world.go(back + Nanos::from_millis(2_900));
    world.common.hops[0].life.prove(world.clock.now());
    world.go(back + Nanos::from_millis(2_990));
    assert_eq!(went_down(&world), 0, "the third probe since has not been missed yet");
    world.go(back + Nanos::from_millis(4_100));
    world.common.hops[0].life.prove(world.clock.now());
    world.go(back + Nanos::from_millis(4_200));
    assert_eq!(went_down(&world), 500);
}

/// While others answer through the same gateway there is nothing to doubt: who is silent alone goes down at once.
#[test]
fn a_reply_through_the_gateway_is_proof_enough() {
    let mut slow = group("g", Nanos::from_secs(1), Nanos::from_secs(1), None);
    slow.down_after = 2;
    let plan = plan(vec![(slow, 500)]);
    let mut world = world(&plan, Range { loss: 0.2, ..delayed(Nanos::from_millis(5)) }, 11);
    world.common.hops[0].life.watch();
    world.go(Nanos::from_secs(30));
    assert!(went_down(&world) > 100);
    assert_eq!(world.common.hops[0].life.doubted(), None);
}

/// Everybody is up behind a gateway, which forwards nothing from 10 s on, though it lives. There is another.
fn a_deaf_gateway(seed: u64) -> World {
    let plan = plan(vec![(group("g", Nanos::from_secs(1), Nanos::from_secs(1), None), 500)]);
    let deaf_hops = vec![(0, Silence { from: Nanos::from_secs(10), to: Nanos::MAX })];
    let near = Near { deaf_hops, ..Near::default() };
    let mut world = world(&plan, Rules { far: delayed(Nanos::from_millis(5)), near }, seed);
    let hops = &world.common.hops;
    let other = Hop::new(Ipv4Addr::new(10, 63, 0, 3), Ipv4Addr::new(10, 63, 0, 1), false);
    other.set(Neighbour::Resolved([4; 6]));
    hops.add(other);
    hops.iter().for_each(|hop| hop.life.watch());
    world.go(Nanos::from_secs(9));
    world
}

/// What follows the kernel's routes does.
fn moves_to(world: &World, hop: u32) {
    let Common { ledger, hops, .. } = &*world.common;
    hops.use_only(|_| true);
    hops[hop as usize].moved(world.clock.now());
    (0..500).map(TargetIndex).for_each(|target| ledger.account(target).move_to(hop));
    hops.use_only(|place| place == hop as usize);
    hops.know_until(Nanos::MAX);
}

/// Bad probes from before a change of routes are forgotten, whatever the old gateway is known to be; those from after it count.
#[test]
fn nobody_goes_down_for_a_route_that_has_changed() {
    let mut world = a_deaf_gateway(12);
    // Word of a change has come, and it is not known yet what it is. Everybody has missed three probes, and the gateway lives.
    world.common.hops.know_until(Nanos::from_secs(10));
    world.go(Nanos::from_secs(14));
    world.common.hops[0].life.prove(world.clock.now());
    world.go(Nanos::from_millis(14_500));
    assert_eq!(went_down(&world), 0);
    moves_to(&world, 1);
    world.common.hops[0].life.prove(world.clock.now());
    world.go(Nanos::from_secs(20));
    assert_eq!(world.snapshot().sums[0].states[State::Up as usize], 500);
    assert_eq!(went_down(&world), 0);
    let lost = world.outcome(Outcome::Lost);
    assert!((2_200..=2_300).contains(&lost), "only those of four and a half seconds: {lost}");

    // Back to the deaf one: three probes from then on, and who is proven to live has nothing to do with it.
    moves_to(&world, 0);
    let back = world.clock.now();
    world.go(back + Nanos::from_millis(2_990));
    world.common.hops[0].life.prove(world.clock.now());
    world.go(back + Nanos::from_secs(3));
    assert_eq!(went_down(&world), 0);
    world.go(back + Nanos::from_millis(4_100));
    world.common.hops[0].life.prove(world.clock.now());
    world.go(back + Nanos::from_millis(4_200));
    assert_eq!(went_down(&world), 500);
}

/// Word of a change that turns out to be none: what was owed meanwhile is paid.
#[test]
fn who_is_down_is_told_once_the_routes_are_known_to_be_as_they_were() {
    let mut world = a_deaf_gateway(13);
    world.common.hops.know_until(Nanos::from_secs(10));
    world.go(Nanos::from_secs(15));
    world.common.hops[0].life.prove(world.clock.now());
    world.go(Nanos::from_millis(15_010));
    assert_eq!(went_down(&world), 0);
    world.common.hops.know_until(Nanos::MAX);
    world.go(Nanos::from_millis(15_020));
    assert_eq!(went_down(&world), 500);
}
