//! Probes that leave from several sources in turn, each by a way of its own.

use super::*;
use echolot::{
    base::{Cause, Sources},
    route::{NO_ROUTE, NO_SOURCE},
    wire::{Kind, Shape},
};
use std::net::IpAddr;

const SECOND: Ipv4Addr = Ipv4Addr::new(10, 63, 1, 1);

/// Everybody twice a second, from either source in turn, each by a gateway of its own.
fn two_uplinks(group: Group, far: Range, deaf_hops: Vec<(u32, Silence)>) -> World {
    let mut plan = plan(vec![(group, 200)]);
    let sources: [IpAddr; 2] = [Ipv4Addr::new(10, 63, 0, 1).into(), SECOND.into()];
    plan.send_from(Sources::from_addresses(sources).unwrap()).unwrap();
    let second = Hop::new(Ipv4Addr::new(10, 63, 1, 2), SECOND, false).in_turn(1, NO_ROUTE);
    second.set(Neighbour::Resolved([4; 6]));
    let hops = vec![second, gateway().in_turn(0, 0)];
    let near = Near { deaf_hops, ..Near::default() };
    let world = world_by(&plan, Rules { far, near }, 5, 1, hops, &[1; 200]);
    world.common.hops.iter().for_each(|hop| hop.life.watch());
    world
}

fn twice_a_second(kind: Kind) -> Group {
    let timeout = Nanos::from_millis(400);
    Group { shape: Shape::of(kind), ..group("g", Nanos::from_millis(500), timeout, Some(100)) }
}

#[test]
fn one_dead_uplink_costs_its_own_probes_alone() {
    for kind in [Kind::Echo, Kind::Tcp { port: 80 }] {
        let silence = Silence { from: Nanos::ZERO, to: Nanos::MAX };
        let mut world = two_uplinks(twice_a_second(kind), delayed(Nanos::from_millis(5)), vec![(0, silence)]);
        while world.turn() {}
        world.audit();
        for target in (0..200).map(TargetIndex) {
            let shown = world.common.ledger.account(target).shown();
            let of = |outcome: Outcome| shown.settled[outcome as usize];
            assert_eq!((of(Outcome::Answered), of(Outcome::Lost)), (50, 50), "{kind}");
        }
        // Each second probe says that they are there.
        assert_eq!(world.snapshot().sums[0].states[State::Up as usize], 200);
        assert_eq!(went_down(&world), 0);
    }
}

/// Who answers neither goes down, and whoever is asked is the gateway of the probe that would have it so.
#[test]
fn each_gateway_answers_for_its_own_probes() {
    let group = Group { down_after: 2, ..twice_a_second(Kind::Echo) };
    let dead = Range { loss: 1.0, ..delayed(Nanos::from_millis(5)) };
    let mut world = two_uplinks(group, dead, Vec::new());
    world.go(Nanos::from_millis(2_399));
    assert_eq!(went_down(&world), 0, "two are lost, the second by the second gateway, of which nothing is known");
    let hops = &world.common.hops;
    let [second, first] = [&hops[0].life, &hops[1].life];
    assert!(second.doubted().is_some() && first.doubted().is_none());
    first.prove(world.clock.now());
    world.go(Nanos::from_millis(2_401));
    assert_eq!(went_down(&world), 0, "that is the word of another");
    world.common.hops[0].life.prove(world.clock.now());
    world.go(Nanos::from_millis(2_410));
    assert_eq!(went_down(&world), 200);
}

/// A source that goes away takes its own probes along.
#[test]
fn without_a_source_its_probes_are_unsent() {
    let mut world = two_uplinks(twice_a_second(Kind::Echo), delayed(Nanos::from_millis(5)), Vec::new());
    world.go(Nanos::from_millis(25_999));
    let hops = &world.common.hops;
    let alone = gateway().in_turn(0, NO_SOURCE);
    let place = hops.add(alone);
    (0..200).map(TargetIndex).for_each(|target| world.common.ledger.account(target).move_to(place));
    hops.use_only(|used| used == place as usize);
    while world.turn() {}
    world.audit();
    let by_cause = world.snapshot().sums[0].unsent[Cause::Source as usize];
    assert_eq!((world.outcome(Outcome::Answered), by_cause), (200 * 75, 200 * 25));
    assert_eq!(went_down(&world), 0);
}
