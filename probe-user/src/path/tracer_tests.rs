//! A tracer against a network that is a few rules.

use super::*;
use crate::{
    base::{MplsStack, Quote, QuoteProof},
    path::{Flows, distance},
};
use std::{cell::Cell, collections::BTreeMap, net::IpAddr};

const TIMEOUT: Nanos = Nanos::from_millis(70);
const STEP: Nanos = Nanos::from_micros(100);

fn wanted() -> Wanted {
    Wanted {
        first: 1,
        most: 30,
        gap: 5,
        flows: Flows::Exactly(1),
        rounds: Some(1),
        interval: Nanos::from_millis(200),
        timeout: TIMEOUT,
        by_ports: false,
        per_hop: None,
        at_once: 1_000,
    }
}

/// A network: what becomes of a probe to a target with a time to live, of a flow. How long that takes.
struct Net<'a> {
    rule: &'a dyn Fn(TargetIndex, u8, u16) -> (Option<Ended>, Nanos),
    /// How often each time to live was asked, and when.
    asked: BTreeMap<u8, Vec<(TargetIndex, Nanos)>>,
}

const fn quote() -> Quote {
    Quote { ttl: 1, proof: QuoteProof::Cookie, is_translated: false, labels: MplsStack::EMPTY }
}

fn router(ttl: u8, branch: u8) -> IpAddr {
    IpAddr::from([10, ttl, 0, branch])
}

fn hop(ttl: u8, branch: u8) -> Option<Ended> {
    Some(Ended::Hop { arrived: Nanos::ZERO, ttl: 255 - ttl, from: router(ttl, branch), quote: quote() })
}

/// Of a target so many hops away, whose way back is as long.
fn answered(hops: u8) -> Option<Ended> {
    Some(Ended::Answered { arrived: Nanos::ZERO, ttl: 65 - hops, port: None, rcode: None })
}

/// A way of so many hops without branches: a millisecond to each.
fn plain(hops: u8) -> impl Fn(TargetIndex, u8, u16) -> (Option<Ended>, Nanos) {
    move |_, ttl, _| {
        let ended = if ttl >= hops || ttl == 0 { answered(hops) } else { hop(ttl, 1) };
        (ended, Nanos::from_millis(1))
    }
}

impl<'a> Net<'a> {
    fn of(rule: &'a dyn Fn(TargetIndex, u8, u16) -> (Option<Ended>, Nanos)) -> Self {
        Self { rule, asked: BTreeMap::new() }
    }

    /// All paths, and how long it took until the last was found.
    fn trace(&mut self, wanted: Wanted, targets: u32) -> (Vec<Path>, Nanos) {
        self.trace_with(wanted, targets, Nanos::from_secs(600), &[])
    }

    /// The same, ended after so long; from these moments on paths to these targets are wanted at once.
    fn trace_with(
        &mut self,
        wanted: Wanted,
        targets: u32,
        end: Nanos,
        mut at_once: &[(Nanos, TargetIndex)],
    ) -> (Vec<Path>, Nanos) {
        let ttls = Ttls::up_to(wanted.most);
        let begun = Nanos::from_secs(10);
        let mut tracer = Tracer::new(wanted, ttls, (0..targets).map(TargetIndex));
        let mut events: BTreeMap<Nanos, Vec<Settlement>> = BTreeMap::new();
        let (mut paths, mut now) = (Vec::new(), begun);
        while !tracer.is_done() {
            if now >= begun + end {
                tracer.stop();
            }
            assert!(now < begun + Nanos::from_secs(700), "it never ends: {tracer:?}");
            while let Some(((after, target), others)) = at_once.split_first()
                && now >= begun + *after
            {
                tracer.begin_at_once(*target);
                at_once = others;
            }
            while let Some((target, number)) = tracer.next(now) {
                let (_, which) = which(ttls, wanted.flows.most(), number);
                self.asked.entry(which.ttl).or_default().push((target, now));
                let (ended, rtt) = (self.rule)(target, which.ttl, which.flow);
                let arrived = now + rtt;
                let (ended, at) = match ended.filter(|_| rtt <= TIMEOUT) {
                    None => (Ended::Lost, now + TIMEOUT),
                    Some(Ended::Hop { ttl, from, quote, .. }) => (Ended::Hop { arrived, ttl, from, quote }, arrived),
                    Some(Ended::Refused { ttl, from, reason, .. }) => {
                        (Ended::Refused { arrived, ttl, from, reason }, arrived)
                    }
                    Some(Ended::Answered { ttl, .. }) => {
                        (Ended::Answered { arrived, ttl, port: None, rcode: None }, arrived)
                    }
                    Some(other) => (other, arrived),
                };
                events.entry(at).or_default().push(Settlement { target, number, sent: now, ended });
            }
            let wanted_at = at_once.first().map(|(after, _)| begun + *after);
            let next = tracer.next_at().into_iter().chain(wanted_at).min();
            now = match events.first_key_value() {
                Some((at, _)) => next.map_or(*at, |next| next.min(*at)).max(now),
                None => now + STEP,
            };
            while events.first_key_value().is_some_and(|(at, _)| *at <= now) {
                let settled = events.pop_first().map(|(_, settled)| settled);
                settled.iter().flatten().for_each(|settlement| tracer.settled(settlement));
            }
            paths.extend(std::iter::from_fn(|| tracer.path()));
            now += Nanos(1);
        }
        (paths, now - begun)
    }

    fn asked(&self) -> usize {
        self.asked.values().map(Vec::len).sum()
    }
}

/// The last octet of each router, 0 for one that said nothing; the target is 255.
fn heard(path: &Path) -> Vec<u8> {
    let last = |hop: &Hop| match hop.ended {
        Ended::Hop { from: IpAddr::V4(from), .. } | Ended::Refused { from: IpAddr::V4(from), .. } => from.octets()[3],
        Ended::Answered { .. } => 255,
        _ => 0,
    };
    path.hops.iter().map(last).collect()
}

#[test]
fn every_hop_is_found_with_hardly_a_probe_too_many() {
    for hops in 1..=30 {
        let rule = plain(hops);
        let mut net = Net::of(&rule);
        let (paths, took) = net.trace(wanted(), 1);
        let [path] = &paths[..] else { panic!("{paths:?}") };
        let mut expected = vec![1; usize::from(hops) - 1];
        expected.push(255);
        assert_eq!((heard(path), path.reached, path.length()), (expected, true, Some(hops)));
        // Until it is known how far it is, as many are ahead as may be silent.
        assert!(net.asked() <= usize::from(hops + wanted().gap), "{hops} hops, {} probes", net.asked());
        assert!(took < Nanos::from_millis(3), "two round trips: {took}");
    }
}

#[test]
fn a_target_that_is_known_to_be_far_is_found_behind_silence() {
    let rule = |_, ttl: u8, _| match ttl {
        0 | 20.. => (answered(20), Nanos::from_millis(1)),
        4..=16 => (None, Nanos::ZERO),
        _ => (hop(ttl, 1), Nanos::from_millis(1)),
    };
    let mut net = Net::of(&rule);
    let (paths, took) = net.trace(wanted(), 1);
    assert_eq!(paths[0].length(), Some(20));
    assert!(took < TIMEOUT + Nanos::from_millis(5), "silence is waited for once: {took}");
}

#[test]
fn silence_to_the_end_is_cut() {
    let rule = |_, ttl: u8, _| match ttl {
        1..=3 => (hop(ttl, 1), Nanos::from_millis(1)),
        _ => (None, Nanos::ZERO),
    };
    let mut net = Net::of(&rule);
    let (paths, _) = net.trace(wanted(), 1);
    assert_eq!(heard(&paths[0]), [1, 1, 1, 0, 0, 0, 0, 0]);
    assert!(!paths[0].reached);
    assert_eq!(net.asked(), 9, "eight hops, and the question how far it is");
    let (paths, _) = Net::of(&|_, _, _| (None, Nanos::ZERO)).trace(wanted(), 1);
    assert_eq!(heard(&paths[0]), [0; 5]);
    let short = Wanted { most: 3, first: 2, ..wanted() };
    let (paths, _) = Net::of(&plain(9)).trace(short, 1);
    assert_eq!((heard(&paths[0]), paths[0].hops[0].ttl), (vec![1, 1], 2), "no farther than it may");
}

#[test]
fn an_error_from_the_middle_ends_it() {
    let refused =
        |ttl| Some(Ended::Refused { arrived: Nanos::ZERO, ttl, from: router(5, 9), reason: crate::base::Reason(2) });
    let rule = |_, ttl: u8, _| match ttl {
        0 | 5.. => (refused(250), Nanos::from_millis(1)),
        _ => (hop(ttl, 1), Nanos::from_millis(1)),
    };
    let (paths, _) = Net::of(&rule).trace(wanted(), 1);
    assert_eq!((heard(&paths[0]), paths[0].reached), (vec![1, 1, 1, 1, 9], false));
}

#[test]
fn a_way_there_that_is_not_the_way_back_is_found_whole() {
    for (there, back) in [(12, 5), (5, 12), (30, 1), (1, 30)] {
        let rule = |_, ttl: u8, _| {
            let ended = if ttl >= there || ttl == 0 { answered(back) } else { hop(ttl, 1) };
            (ended, Nanos::from_millis(1))
        };
        let mut net = Net::of(&rule);
        let (paths, _) = net.trace(wanted(), 1);
        assert_eq!(paths[0].length(), Some(there), "{there} there, {back} back");
        assert!(net.asked() <= usize::from(there.max(back)) + 6, "{} probes", net.asked());
    }
}

#[test]
fn flows_see_the_branches_and_as_many_are_sent_as_it_takes() {
    // After the third hop there are three ways, for two hops.
    let rule = |_, ttl: u8, flow: u16| {
        let ended = match ttl {
            0 | 7.. => answered(7),
            4 | 5 => hop(ttl, 1 + (flow % 3) as u8),
            _ => hop(ttl, 1),
        };
        (ended, Nanos::from_millis(1))
    };
    let sixteen = Wanted { flows: Flows::Exactly(16), ..wanted() };
    let (paths, _) = Net::of(&rule).trace(sixteen, 1);
    assert_eq!(paths.len(), 16);
    for path in &paths {
        let branch = 1 + (path.flow % 3) as u8;
        assert_eq!(heard(path), [1, 1, 1, branch, branch, 1, 255], "flow {}", path.flow);
        assert!(!path.by_packet);
    }
    let auto = Wanted { flows: Flows::Auto, ..wanted() };
    assert_eq!(Net::of(&rule).trace(auto, 1).0.len(), 16, "three branches need sixteen flows");
    assert_eq!(Net::of(&plain(9)).trace(auto, 1).0.len(), 6, "one needs six");
    // By packet: each probe another way.
    let turn = Cell::new(1u32);
    let by_packet = |_, ttl: u8, _| {
        turn.set(turn.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let ended = if ttl >= 5 || ttl == 0 { answered(5) } else { hop(ttl, 1 + (turn.get() >> 31) as u8) };
        (ended, Nanos::from_millis(1))
    };
    let (paths, _) = Net::of(&by_packet).trace(Wanted { flows: Flows::Exactly(3), ..wanted() }, 20);
    assert!(paths.iter().filter(|path| path.by_packet).count() >= 15);
}

#[test]
fn rounds_begin_on_time_and_know_how_far_it_is() {
    let rule = plain(9);
    let mut net = Net::of(&rule);
    let (paths, took) = net.trace(Wanted { rounds: Some(5), ..wanted() }, 1);
    assert_eq!(paths.iter().map(|path| path.round).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(net.asked(), 1 + 5 * 9, "how far it is is asked once");
    assert!((Nanos::from_millis(800)..Nanos::from_millis(810)).contains(&took), "{took}");
}

#[test]
fn a_round_does_not_wait_for_the_silence_of_the_one_before() {
    let rule = |_, ttl: u8, _| match ttl {
        3 => (None, Nanos::ZERO),
        0 | 6.. => (answered(6), Nanos::from_millis(1)),
        _ => (hop(ttl, 1), Nanos::from_millis(1)),
    };
    let wanted = Wanted { rounds: Some(20), interval: Nanos::from_millis(25), ..wanted() };
    let (paths, took) = Net::of(&rule).trace(wanted, 1);
    assert_eq!(paths.iter().map(|path| path.round).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    assert!(took < Nanos::from_millis(19 * 25 + 80), "{took}");
    // Eight that go to a port are told apart, and are remembered for half a second more than they may be answered.
    let quick = Wanted { interval: Nanos::from_millis(10), ..wanted };
    let (_, took) = Net::of(&rule).trace(quick, 1);
    assert!(took < Nanos::from_millis(19 * 10 + 80), "{took}");
    let (paths, took) = Net::of(&rule).trace(Wanted { by_ports: true, ..quick }, 1);
    assert_eq!(paths.len(), 20);
    assert!((Nanos::from_millis(2 * 570)..Nanos::from_millis(2 * 600 + 120)).contains(&took), "{took}");
}

#[test]
fn no_router_is_asked_more_often_than_it_may_be() {
    let rule = plain(6);
    let mut net = Net::of(&rule);
    let (paths, took) = net.trace(Wanted { per_hop: Some(500.0), at_once: 100, ..wanted() }, 1_000);
    assert_eq!(paths.len(), 1_000);
    assert!(paths.iter().all(|path| heard(path) == [1, 1, 1, 1, 1, 255]));
    assert!(took < Nanos::from_millis(2_600), "and it is not slower than it has to be: {took}");
    for ttl in 1..6 {
        let times = &net.asked[&ttl];
        for window in times.windows(500) {
            let span = window[499].1 - window[0].1;
            assert!(span >= Nanos::from_millis(970), "500 in {span} at {ttl}");
        }
    }
}

#[test]
fn numbers_lead_back() {
    let ttls = Ttls::up_to(30);
    for flows in [1, 16, 96] {
        for round in [0, 1, 1_000_000] {
            for flow in [0, flows - 1] {
                for (again, ttl) in [(false, 0), (flows > 1, 30)] {
                    let expected = Which { flow, again, ttl };
                    assert_eq!(which(ttls, flows, number(ttls, flows, round, expected)), (round, expected));
                }
            }
        }
    }
}

#[test]
fn a_distance_is_what_routers_took() {
    assert_eq!(distance(65 - 12), 12);
}

#[test]
fn a_path_that_is_wanted_at_once_is_found_beside_the_others() {
    let rule = plain(12);
    let mut net = Net::of(&rule);
    let (interval, end) = (Nanos::from_secs(10), Nanos::from_secs(25));
    let wanted = Wanted { rounds: None, interval, flows: Flows::Exactly(3), per_hop: Some(1_000.0), ..wanted() };
    let targets = [TargetIndex(1), TargetIndex(2)];
    let at_once: Vec<_> = targets.iter().map(|target| (Nanos::from_secs(13), *target)).collect();
    let (paths, _) = net.trace_with(wanted, 3, end, &at_once);
    let begun = |path: &Path| (path.sent - Nanos::from_secs(10) + Nanos::from_millis(500)).0 / 1_000_000_000;
    for target in (0..3).map(TargetIndex) {
        let of_flow = |flow| {
            paths.iter().filter(|path| path.target == target && path.flow == flow).map(begun).collect::<Vec<_>>()
        };
        let expected = if targets.contains(&target) { vec![0, 10, 13, 20] } else { vec![0, 10, 20] };
        assert_eq!(of_flow(0), expected, "{target:?}: the others keep to their grid");
        assert_eq!((of_flow(1), of_flow(2)), (vec![0, 10, 20], vec![0, 10, 20]), "by its first flow");
    }
    assert!(paths.iter().all(|path| path.length() == Some(12)));
}

#[test]
fn who_is_wanted_again_and_again_waits_until_rounds_can_be_told_apart() {
    let rule = |_, ttl: u8, _| if ttl == 3 { (None, Nanos::ZERO) } else { plain(5)(TargetIndex(0), ttl, 0) };
    let mut net = Net::of(&rule);
    let wanted = Wanted { rounds: None, interval: Nanos::from_secs(60), by_ports: true, ..wanted() };
    let at_once = vec![(Nanos::from_secs(1), TargetIndex(0)); 40];
    let (paths, _) = net.trace_with(wanted, 1, Nanos::from_secs(30), &at_once);
    assert_eq!(paths.len(), 41);
    let mut begun: Vec<Nanos> = paths.iter().map(|path| path.sent).collect();
    begun.sort_unstable();
    for nine in begun.windows(9) {
        assert!(nine[8] - nine[0] >= TIMEOUT, "eight rounds are told apart by a port's answers: {nine:?}");
    }
}

#[test]
fn who_is_removed_is_asked_about_no_more() {
    let wanted = Wanted { rounds: None, at_once: 2, ..wanted() };
    let ttls = Ttls::up_to(wanted.most);
    let mut tracer = Tracer::new(wanted, ttls, (0..4).map(TargetIndex));
    let mut now = Nanos::from_secs(10);
    let asked = |tracer: &mut Tracer, now| -> Vec<_> { std::iter::from_fn(|| tracer.next(now)).collect() };
    let first = asked(&mut tracer, now);
    assert!([0, 1].iter().all(|target| first.iter().any(|(other, _)| other.0 == *target)), "{first:?}");
    tracer.begin_at_once(TargetIndex(0));
    // One is under way, one waits for its beginning.
    tracer.remove(&HashSet::from([TargetIndex(0), TargetIndex(3)]));
    assert_eq!(tracer.in_flight(), first.len() as u64, "what is in flight is still to be settled");
    let silent = |(target, number): &(TargetIndex, ProbeNumber)| Settlement {
        target: *target,
        number: *number,
        sent: now,
        ended: Ended::Lost,
    };
    let settlements: Vec<Settlement> = first.iter().map(silent).collect();
    settlements.iter().for_each(|settlement| tracer.settled(settlement));
    let mut others = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        now += Nanos::from_millis(1);
        for (target, number) in asked(&mut tracer, now) {
            others.insert(target.0);
            tracer.settled(&Settlement { target, number, sent: now, ended: Ended::Lost });
        }
        while let Some(path) = tracer.path() {
            assert!([1, 2].contains(&path.target.0), "{path:?}");
        }
    }
    assert_eq!((others.into_iter().collect::<Vec<_>>(), tracer.in_flight()), (vec![1, 2], 0));
}
