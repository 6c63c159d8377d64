//! Targets of both families in one group, and names that turn out to be of one.

use super::*;
use echolot::{
    base::Family,
    ledger::SumRow,
    targets::{FAMILY, Families, Name},
};
use std::{
    net::{IpAddr, Ipv6Addr},
    ops::Range as Indices,
};

/// The same targets over IPv6: who had 10.64.0.7 has fd00:64::7.
pub(crate) fn over_v6(plan: &mut Plan, indices: Indices<usize>) {
    for target in &mut plan.targets[indices] {
        let low = target.destination.unwrap().handle.0 & 0x000f_ffff;
        target.destination = Some(plan.addresses.enter(address_v6(low)));
    }
}

fn address_v6(low: u32) -> IpAddr {
    Ipv6Addr::from_bits(0xfd00_0064_u128 << 96 | u128::from(low)).into()
}

/// One group of both families, by turns, that sums by family.
fn both(group: Group, many: u32) -> Plan {
    let mut plan = plan(vec![(Group { sum_by: vec![FAMILY.into()], family: Families::Both, ..group }, many)]);
    let row = |family: Option<Family>| Sum { group: 0, values: vec![family.map_or("", Family::name).into()] };
    plan.sums = [Some(Family::V4), Some(Family::V6), None].map(row).into();
    plan.label_sets[0].sums = [0, 1, 2];
    for odd in (1..many as usize).step_by(2) {
        over_v6(&mut plan, odd..odd + 1);
    }
    plan
}

fn gateways() -> Vec<Hop> {
    let v6 = Hop::new("fd00:63::2".parse::<IpAddr>().unwrap(), "fd00:63::1".parse::<IpAddr>().unwrap(), false);
    v6.set(Neighbour::Resolved([2; 6]));
    vec![gateway(), v6]
}

/// By which of them each target is probed.
fn ways(plan: &Plan) -> Vec<u32> {
    plan.targets.iter().map(|target| target.destination.map_or(0, |to| to.family as u32)).collect()
}

/// The row of each family is what its targets' own accounts come to, and what the network saw.
fn compare_by_family(world: &World, plan: &Plan) {
    world.compare();
    let snapshot = world.snapshot();
    let witnessed = world.net.witnessed();
    for family in Family::ALL {
        let row = &snapshot.sums[family as usize];
        let accounts =
            (0..).map(TargetIndex).take(plan.targets.len()).map(|target| world.common.ledger.account(target));
        let of_family: Vec<_> = accounts
            .filter(|account| account.destination().is_some_and(|to| to.family == family))
            .map(|account| account.shown())
            .collect();
        assert_eq!(row.probes, of_family.iter().map(|shown| shown.probes).sum::<u64>(), "{family:?}");
        for outcome in Outcome::ALL {
            let sum: u64 = of_family.iter().map(|shown| shown.settled[outcome as usize]).sum();
            assert_eq!(row.settled[outcome as usize], sum, "{family:?} {outcome:?}");
        }
        let seen = witnessed.iter().filter(|seen| Family::of(seen.address) == family).count() as u64;
        assert_eq!(row.probes - row.settled[Outcome::Unsent as usize], seen, "{family:?}");
        assert_eq!(row.in_flight(), 0, "{family:?}");
    }
}

fn of_family(world: &World, family: Option<Family>) -> SumRow {
    world.snapshot().sums[family.map_or(2, |family| family as usize)].clone()
}

/// Everything that there is happens to both, to each as often, and is told of the one that it happened to.
#[test]
fn a_rough_network_of_both() {
    for senders in [1, 3] {
        let plan = both(group("g", Nanos::from_millis(500), Nanos::from_millis(900), None), 2_000);
        let mut rules = rough();
        let after = Span(Nanos::from_millis(50));
        rules.far.error_then_reply = Some(ErrorThenReply { share: 0.01, after, quote: Quote::Either });
        let mut world = world_by(&plan, rules, senders as u64, senders, gateways(), &ways(&plan));
        world.net.keep_record();
        world.go(Nanos::from_secs(61));
        world.drain();
        compare_by_family(&world, &plan);
        let [v4, v6] = Family::ALL.map(|family| of_family(&world, Some(family)));
        // Senders that share one clock wait for each other, and skip.
        assert!(v4.probes + v6.probes + v4.skipped + v6.skipped >= 239_000);
        assert!(v4.probes >= 75_000 && v4.probes.abs_diff(v6.probes) <= 1_000, "{} and {}", v4.probes, v6.probes);
        let counts = |row: &SumRow| {
            let settled = [Outcome::Answered, Outcome::Unreachable, Outcome::Lost, Outcome::Unsent];
            settled.map(|outcome| row.settled[outcome as usize]).into_iter().chain([
                row.late,
                row.duplicate,
                row.contradicted,
            ])
        };
        for (name, (v4, v6)) in ["answered", "unreachable", "lost", "unsent", "late", "duplicate", "contradicted"]
            .into_iter()
            .zip(counts(&v4).zip(counts(&v6)))
        {
            // The same shares of as many probes: within a fifth of each other, the rarest being some 400.
            assert!(v4.min(v6) >= 300 && v4.abs_diff(v6) <= v4 / 5, "{name}: {v4} and {v6}");
        }
    }
}

/// One family falls silent: its targets go down and up again, and nobody of the other does.
#[test]
fn one_family_falls_silent() {
    let plan = both(group("g", Nanos::from_secs(1), Nanos::from_secs(1), None), 400);
    let [v4, v6] = testbed::Prefix::EVERYTHING;
    let delay = Span(Nanos::from_millis(5));
    let ranges = vec![
        Range { addresses: vec![v4], delay, ..Range::default() },
        Range {
            addresses: vec![v6],
            delay,
            silences: vec![silence(Nanos::from_secs(11), Nanos::from_secs(16))],
            ..Range::default()
        },
    ];
    let rules = RuleFile { ranges, ..RuleFile::of(5, Range::default()) };
    let mut world: World = joined(&plan, network(&plan, rules, Near::default()), 1, gateways(), &ways(&plan));
    world.net.keep_record();
    world.go(Nanos::from_secs(16));
    let up = |world: &World, family| of_family(world, Some(family)).states[State::Up as usize];
    let down = |world: &World, family| of_family(world, Some(family)).states[State::Down as usize];
    assert_eq!((up(&world, Family::V4), down(&world, Family::V6)), (200, 200));
    world.go(Nanos::from_secs(30));
    assert_eq!((up(&world, Family::V4), up(&world, Family::V6)), (200, 200));
    world.drain();
    compare_by_family(&world, &plan);
    let lost = |family| of_family(&world, Some(family)).settled[Outcome::Lost as usize];
    assert_eq!((lost(Family::V4), lost(Family::V6)), (0, 1_000));
}

/// A name is in the row of no family until it has an address, and from its first probe on in that of its family.
#[test]
fn a_name_that_resolves_late_moves_to_the_row_of_its_family() {
    let mut plan = both(group("g", Nanos::from_secs(1), Nanos::from_secs(1), None), 30);
    for index in 20..30 {
        plan.targets[index] = Target::unresolved(0);
        plan.names.insert(u32::try_from(index).unwrap(), Name::from("host.example"));
    }
    let rules = delayed(Nanos::from_millis(5));
    let mut world = world_by(&plan, rules, 9, 1, gateways(), &ways(&plan));
    world.net.keep_record();
    world.go(Nanos::from_secs(4));
    let unresolved = |world: &World| of_family(world, None).states[State::Unresolved as usize];
    assert_eq!((unresolved(&world), of_family(&world, None).probes), (10, 0));
    // Six turn out to have IPv6 addresses and three IPv4 addresses; one stays as it is.
    for low in 20..29u32 {
        let is_v6 = low < 26;
        let address = if is_v6 { address_v6(low) } else { Ipv4Addr::from_bits(0x0a40_0000 + low).into() };
        world.common.ledger.account(TargetIndex(low)).resolve(address, u32::from(is_v6));
    }
    world.go(Nanos::from_secs(10));
    let up = |family| of_family(&world, Some(family)).states[State::Up as usize];
    assert_eq!((up(Family::V4), up(Family::V6), unresolved(&world)), (13, 16, 1));
    world.drain();
    compare_by_family(&world, &plan);
    assert_eq!(of_family(&world, None).probes, 0);
    let [v4, v6] = Family::ALL.map(|family| of_family(&world, Some(family)));
    let answered = |row: &SumRow| row.settled[Outcome::Answered as usize];
    assert_eq!((answered(&v4), answered(&v6)), (v4.probes, v6.probes));
    assert!(v4.probes >= 10 * 9 + 3 * 5 && v6.probes >= 10 * 9 + 6 * 5, "{} and {}", v4.probes, v6.probes);
}
