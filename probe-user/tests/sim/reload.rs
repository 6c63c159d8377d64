//! Targets that come, go, come back and begin anew while the loops are at work: the account holds, nobody who stays notices, and no word
//! about who has gone is taken for one about who has come.

use super::{tcp::gateways, *};
use echolot::{
    targets::{Counts, Epochs, Exclusions, GroupInput, Options, TargetList, build},
    wire::{Kind, Shape},
    worker::Adopter,
};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A target as its configuration has it: group, address, value of its label.
type Wanted3 = BTreeMap<(String, Ipv4Addr), u8>;

/// What a configuration says.
#[derive(Clone)]
struct Wish {
    groups: Vec<(Group, bool)>,
    targets: Wanted3,
}

impl Wish {
    fn plan(&self) -> Plan {
        let inputs = self.groups.iter().map(|(group, sums)| {
            let sum_by = if *sums { vec!["site".to_owned()] } else { vec![] };
            let mut lists: BTreeMap<u8, TargetList> = BTreeMap::new();
            for ((of, address), label) in &self.targets {
                if *of == group.name {
                    let labels = BTreeMap::from([("site".to_owned(), label.to_string())]);
                    let list = lists.entry(*label).or_insert_with(|| TargetList::with_labels(labels));
                    list.push(address.to_string().parse().unwrap());
                }
            }
            let lists = lists.into_values().collect();
            GroupInput { group: Group { sum_by, ..group.clone() }, labels: BTreeMap::new(), lists }
        });
        let mut plan = build(inputs.collect(), &Exclusions::default(), &Options::default()).unwrap();
        plan.is_open = true;
        plan
    }
}

/// A world whose targets change.
struct Changing {
    world: World,
    adopter: Adopter,
    /// Counters of each row, by group, labels and values, at the last look.
    seen: HashMap<(String, Vec<String>, Vec<String>), [u64; 8]>,
}

impl Changing {
    fn new(wish: &Wish, rules: impl Into<Rules>, seed: u64, senders: usize) -> Self {
        let plan = wish.plan();
        let world = world_by(&plan, rules, seed, senders, gateways(), &vec![0; plan.targets.len()]);
        let plan = Arc::new(plan);
        let epochs = Epochs::new(Arc::clone(&plan));
        let adopter = Adopter::new(Arc::clone(&world.common), epochs, &plan);
        Self { world, adopter, seen: HashMap::new() }
    }

    /// From now on this is wanted. Every look of before holds afterwards.
    fn reload(&mut self, wish: &Wish) -> Counts {
        let before = self.adopter.epochs().plan();
        let slots = self.slots();
        let difference = self.adopter.difference(wish.plan()).unwrap();
        let (hops, kept) = (vec![0; difference.filled.len()], difference.counts.kept);
        let counters: Vec<_> = slots.values().map(|slot| (*slot, self.probes(*slot))).collect();
        let counts = self.adopter.adopt(difference, &hops, self.world.clock.now()).unwrap();
        let now = self.slots();
        let wanted: BTreeSet<_> = wish.targets.keys().cloned().collect();
        assert_eq!(now.keys().cloned().collect::<BTreeSet<_>>(), wanted, "who is wanted is there, once");
        let stayed = slots.iter().filter(|(who, slot)| now.get(who) == Some(slot)).count();
        assert_eq!(stayed, kept, "who stays keeps its slot");
        assert_eq!(counts.kept + counts.new + counts.changed, wanted.len());
        assert_eq!(counts.kept + counts.given_up + counts.changed, before.many());
        for (slot, probes) in counters {
            assert!(self.probes(slot) >= probes, "nothing is forgotten in the same moment");
        }
        self.look();
        counts
    }

    fn probes(&self, slot: u32) -> u64 {
        self.world.common.ledger.account(TargetIndex(slot)).shown().probes
    }

    /// Where everybody is.
    fn slots(&self) -> BTreeMap<(String, Ipv4Addr), u32> {
        let plan = self.adopter.epochs().plan();
        let mut slots = BTreeMap::new();
        for group in &plan.groups {
            for target in plan.members(group) {
                let Some(std::net::IpAddr::V4(address)) = plan.address_of(target) else { panic!("IPv4 alone") };
                assert_eq!(slots.insert((group.name.clone(), address), target.0), None, "twice");
            }
        }
        slots
    }

    /// The equation, and that no counter of a row moves back while the row is there.
    fn look(&mut self) {
        self.world.audit();
        self.adopter.tidy();
        let epoch = self.adopter.epochs().now();
        let snapshot = self.world.snapshot().by(&epoch);
        let mut seen = HashMap::new();
        for (sum, row) in epoch.plan.sums.iter().zip(&snapshot.sums) {
            let group = &epoch.plan.groups[sum.group];
            let key = (group.name.clone(), group.sum_by.clone(), sum.values.clone());
            let [answered, unreachable, lost, unheard, unsent] = row.settled;
            let now = [row.probes, answered, unreachable, lost, unheard, unsent, row.late, row.duplicate];
            assert_eq!(row.probes, row.settled.iter().sum::<u64>() + row.in_flight(), "{key:?}");
            if let Some(before) = self.seen.get(&key) {
                assert!(now.iter().zip(before).all(|(now, before)| now >= before), "{key:?}: {before:?}, then {now:?}");
            }
            assert!(seen.insert(key, now).is_none(), "a row twice");
        }
        // Of what has ended and comes back, counting goes on or begins anew: nobody has seen it meanwhile.
        self.seen = seen;
    }

    fn go(&mut self, time: Nanos) {
        let until = self.world.clock.now() + time;
        while self.world.clock.now() < until {
            self.world.go(until.min(self.world.clock.now() + Nanos::from_secs(1)));
            self.adopter.tidy();
        }
        self.look();
    }

    /// All is over: the account is what the network did.
    fn compare(&mut self) {
        self.world.drain();
        self.look();
        let (world, facts) = (&self.world, self.world.net.facts());
        let heard = facts.in_time + facts.unreachable;
        assert_eq!(world.outcome(Outcome::Answered), facts.in_time, "no word about another's probe is believed");
        assert_eq!(world.outcome(Outcome::Unreachable), facts.unreachable);
        assert_eq!(world.outcome(Outcome::Lost) + world.outcome(Outcome::Unheard), facts.sent - heard);
        assert_eq!(world.outcome(Outcome::Unsent), facts.refused);
        assert_eq!(world.sum(|row| row.probes), facts.sent + facts.refused);
        assert_eq!(world.sum(|row| row.duplicate), facts.duplicate);
        assert_eq!(world.sum(|row| row.contradicted), facts.contradicted);
        // What comes after its target has gone for good is about nobody.
        let rejected: u64 = world.snapshot().rejected.iter().sum();
        assert_eq!(world.sum(|row| row.late) + rejected, facts.late + facts.corrupt);
        assert_eq!(world.snapshot().unsent[echolot::base::Cause::Window as usize], 0);
    }
}

fn name(n: usize) -> String {
    ["a", "b", "c", "d"][n % 4].to_owned()
}

/// Something else is wanted: targets come, go and come back, have another label, or their group has other settings, or is gone. `slow`: how
/// many times longer intervals are.
fn vary(wish: &mut Wish, rng: &mut Rng, kinds: bool, slow: u64) {
    for _ in 0..rng.usize(..60) {
        let group = name(rng.usize(..wish.groups.len()));
        let address = Ipv4Addr::from(0x0a40_0000 + rng.u32(..120));
        match rng.u8(..3) {
            0 => drop(wish.targets.remove(&(group, address))),
            _ => drop(wish.targets.insert((group, address), rng.u8(..3))),
        }
    }
    match rng.u8(..7) {
        0 => {
            let which = rng.usize(..wish.groups.len());
            wish.groups[which].0.interval = Nanos::from_millis(slow * [100, 250, 1_000][rng.usize(..3)]);
        }
        1 => {
            let which = rng.usize(..wish.groups.len());
            wish.groups[which].1 ^= true;
        }
        2 if kinds => {
            let which = rng.usize(..wish.groups.len());
            wish.groups[which].0.shape = Shape::echo([18, 24][rng.usize(..2)]);
        }
        3 => {
            // A whole group goes, or is there again; never the first.
            let last = wish.groups.len() - 1;
            if last > 0 && rng.bool() {
                let (gone, _) = wish.groups.pop().unwrap();
                wish.targets.retain(|(group, _), _| *group != gone.name);
            } else if wish.groups.len() < 4 {
                let shape = wish.groups[0].0.shape;
                let interval = Nanos::from_millis(slow * 250);
                wish.groups.push((
                    Group { shape, ..group(&name(wish.groups.len()), interval, Nanos::from_secs(1), None) },
                    rng.bool(),
                ));
            }
        }
        4 => {
            let which = rng.usize(..wish.groups.len());
            // What comes in time comes within 200 ms, and what is late after 1.3 s: whatever the timeout, the network counts right.
            wish.groups[which].0.timeout = Nanos::from_millis([300, 700, 1_000][rng.usize(..3)]);
        }
        _ => {}
    }
    // A plan has somebody.
    wish.targets.insert((name(0), Ipv4Addr::from(0x0a40_0000)), 0);
}

fn wish() -> Wish {
    let timeout = Nanos::from_secs(1);
    let mut first = group("a", Nanos::from_millis(100), timeout, None);
    first.shape = Shape::echo(18);
    let mut second = group("b", Nanos::from_secs(1), timeout, None);
    second.shape = Shape::echo(24);
    let of = |group: &str, n: u32| ((group.to_owned(), Ipv4Addr::from(0x0a40_0000 + n)), (n % 3) as u8);
    let targets = (0..50).map(|n| of("a", n)).chain((0..70).map(|n| of("b", n))).collect();
    Wish { groups: vec![(first, false), (second, true)], targets }
}

/// Errors quote all of a probe: of 28 bytes nobody can say which of two probes with one number to one address they are about, and who
/// begins anew, or is in two groups, may have two in flight.
fn rough_and_said() -> Rules {
    let mut rules = rough();
    let quote = Quote::Full;
    rules.far.unreachable = Some(Unreachable { share: 0.02, quote });
    rules.far.error_then_reply = Some(ErrorThenReply { share: 0.01, after: Span(Nanos::from_millis(50)), quote });
    rules
}

/// `pause`: milliseconds to the next reload, at most.
fn random_reloads(seed: u64, senders: usize, (reloads, pause): (usize, u64), slow: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut wish = wish();
    wish.groups.iter_mut().for_each(|(group, _)| group.interval.0 *= slow);
    let mut changing = Changing::new(&wish, rough_and_said(), seed, senders);
    changing.go(Nanos::from_secs(3));
    let mut sum = Counts::default();
    for _ in 0..reloads {
        vary(&mut wish, &mut rng, true, slow);
        let counts = changing.reload(&wish);
        sum.kept += counts.kept;
        sum.new += counts.new;
        sum.given_up += counts.given_up;
        sum.changed += counts.changed;
        changing.go(Nanos::from_millis(rng.u64(1..pause)));
    }
    changing.compare();
    assert!(sum.kept > 0 && sum.new > 0 && sum.given_up > 0 && sum.changed > 0, "{sum:?}");
    let slots = changing.world.common.ledger.len();
    println!("{reloads} reloads: {sum:?}; {slots} slots in the end");
    assert!(slots < 40_000, "{slots} slots: those that were left are used again");
}

#[test]
fn random_reloads_against_a_model() {
    random_reloads(3, 1, (120, 5_000), 1);
}

#[test]
fn random_reloads_with_several_senders() {
    for seed in 0..3 {
        random_reloads(seed, 3, (40, 3_000), 1);
    }
}

/// The same for a week, a reload every ten minutes or so, intervals of 1 to 10 s.
#[test]
#[ignore = "takes minutes: make test-long runs it"]
fn takes_minutes_a_week_of_reloads() {
    let started = std::time::Instant::now();
    random_reloads(11, 1, (1_008, 1_200_000), 10);
    println!("a week of reloads in {:.1?}", started.elapsed());
}

/// Each probe to who stays leaves when it would have, whoever comes and goes beside him: at whatever moment one looks, so many are sent
/// as were due.
#[test]
fn the_grid_of_who_stays_does_not_move() {
    let mut wish = wish();
    let mut changing = Changing::new(&wish, delayed(Nanos::from_millis(3)), 7, 1);
    let start = changing.world.clock.now();
    let mut rng = Rng::with_seed(5);
    let runs: Vec<_> = changing.adopter.epochs().plan().groups.iter().map(|group| group.targets.clone()).collect();
    let staying: Vec<_> = changing.slots().into_iter().filter(|((_, address), _)| address.octets()[3] < 30).collect();
    assert_eq!(staying.len(), 60);
    changing.go(Nanos::from_secs(3));
    for _ in 0..60 {
        let groups = wish.groups.clone();
        vary(&mut wish, &mut rng, false, 1);
        wish.groups = groups;
        wish.targets.retain(|(group, _), _| group == "a" || group == "b");
        for ((group, address), _) in &staying {
            wish.targets.insert((group.clone(), *address), address.octets()[3] % 3);
        }
        changing.reload(&wish);
        changing.go(Nanos::from_micros(rng.u64(1..2_500_000)));
        let slots = changing.slots();
        let since = changing.world.clock.now() - start;
        for (who, slot) in &staying {
            assert_eq!(slots.get(who), Some(slot), "{who:?} stays where it is");
            let (run, interval) = if who.0 == "a" { (&runs[0], 100_000_000) } else { (&runs[1], 1_000_000_000) };
            let first = u64::from(slot - run.start) * interval / run.len() as u64;
            let due = |by: u64| if by < first { 0 } else { (by - first) / interval + 1 };
            let sent = changing.probes(*slot);
            let least = due(since.0.saturating_sub(3_000_000));
            assert!((least..=due(since.0)).contains(&sent), "{who:?}: {sent} sent, {least} due 3 ms ago");
        }
    }
    changing.world.drain();
}

/// TCP probes bring back addresses, ports and 8 bits of a number: who comes back at once, in another slot or in his own, in the same
/// group or in one of another interval, is not credited with what he said before.
#[test]
fn answers_to_a_port_find_whom_they_are_about() {
    let mut rng = Rng::with_seed(9);
    let mut wish = wish();
    for (group, _) in &mut wish.groups {
        group.shape = Shape::of(Kind::Tcp { port: 80 });
    }
    let mut changing = Changing::new(&wish, rough(), 9, 1);
    changing.go(Nanos::from_secs(3));
    for _ in 0..60 {
        let groups = wish.groups.len();
        vary(&mut wish, &mut rng, false, 1);
        wish.groups.truncate(groups);
        wish.targets.retain(|(group, _), _| group == "a" || group == "b");
        changing.reload(&wish);
        changing.go(Nanos::from_millis(rng.u64(1..3_000)));
    }
    changing.compare();
}

#[test]
fn what_takes_a_restart_is_refused_and_changes_nothing() {
    let wish = wish();
    let mut changing = Changing::new(&wish, delayed(Nanos::from_millis(1)), 1, 1);
    changing.go(Nanos::from_secs(2));
    let before = changing.adopter.epochs().now();
    let with = |change: &dyn Fn(&mut Group)| {
        let mut other = wish.clone();
        change(&mut other.groups[0].0);
        changing.adopter.difference(other.plan()).expect_err("refused")
    };
    let error = with(&|group| group.shape = Shape::of(Kind::Tcp { port: 443 }));
    assert!(error.contains("group `a`") && error.contains("source ports") && error.contains("restart"), "{error}");
    let error = with(&|group| group.shape = Shape::echo(1_000));
    assert!(error.contains("group `a`") && error.contains("1000 bytes") && error.contains("restart"), "{error}");
    assert_eq!(changing.adopter.epochs().now().number, before.number);
    changing.compare();
}

/// Slots of a group whose settings go to and fro are used again.
#[test]
fn a_group_that_is_emptied_and_filled_takes_no_more_memory() {
    let mut wish = wish();
    let mut changing = Changing::new(&wish, delayed(Nanos::from_millis(1)), 2, 2);
    let everybody = wish.targets.clone();
    let mut slots = Vec::new();
    for round in 0..12 {
        let interval = [100, 250][round % 2];
        wish.groups[0].0.interval = Nanos::from_millis(interval);
        wish.targets = everybody.clone();
        changing.reload(&wish);
        changing.go(Nanos::from_secs(5));
        wish.targets.retain(|(group, _), _| group == "b");
        changing.reload(&wish);
        changing.go(Nanos::from_secs(5));
        slots.push(changing.world.common.ledger.len());
    }
    assert_eq!(slots[3], slots[11], "{slots:?}");
    changing.compare();
}
