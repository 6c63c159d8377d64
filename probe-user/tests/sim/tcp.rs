//! TCP probes: their answers bring back a sequence number and nothing else, and half open a connection that has to be ended.

use super::{families::over_v6, *};
use echolot::wire::{Kind, Shape};

const OPEN: u16 = 80;
const CLOSED: u16 = 81;

/// Targets of a group that are asked by a SYN to this port.
fn tcp(port: u16, flow: u16, interval: Nanos, timeout: Nanos, count: Option<u64>) -> Group {
    Group {
        shape: Shape { flow, ..Shape::of(Kind::Tcp { port }) },
        ..group(&flow.to_string(), interval, timeout, count)
    }
}

pub(super) fn gateways() -> Vec<Hop> {
    let v6 = Hop::new(
        "fd00:63::2".parse::<std::net::IpAddr>().unwrap(),
        "fd00:63::1".parse::<std::net::IpAddr>().unwrap(),
        false,
    );
    v6.set(Neighbour::Resolved([2; 6]));
    vec![gateway(), v6]
}

/// Every third target over IPv6.
pub(super) fn mixed(mut plan: Plan) -> (Plan, Vec<u32>) {
    for target in (0..plan.targets.len()).step_by(3) {
        over_v6(&mut plan, target..target + 1);
    }
    let hops = plan.targets.iter().map(|target| target.destination.unwrap().family as u32).collect();
    (plan, hops)
}

/// Every SYN-ACK is met with a RST, and nothing else is.
fn every_connection_is_ended(world: &World) {
    let facts = world.net.facts();
    let [sent, dropped] = world.snapshot().resets;
    assert_eq!((sent, dropped), (facts.resets, facts.resets_refused), "{facts:?}");
    assert_eq!(sent + dropped, facts.opened, "{facts:?}");
}

/// All that can happen, to targets of open and of closed ports and of echo beside them, whose numbers go round (8 bits of them travel)
/// seven times.
#[test]
fn a_rough_network() {
    let round = Nanos::from_millis(100);
    let of_port = |port, flow| tcp(port, flow, round, Nanos::from_secs(1), Some(2_000));
    let both = || vec![(of_port(OPEN, 0), 40), (of_port(CLOSED, 1), 41)];
    // Of an echo, a short quote may reach its sender after a reply that another loop reads. Of a SYN every quote says all.
    let beside = vec![(group("echo", round, Nanos::from_secs(1), Some(2_000)), 40)];
    for (senders, groups) in [(1, [both(), beside].concat()), (3, both())] {
        let many: u32 = groups.iter().map(|(_, many)| many).sum();
        let (plan, of) = mixed(plan(groups));
        let mut world = world_by(&plan, rough(), 11, senders, gateways(), &of);
        while world.turn() {}
        world.audit();
        assert_eq!(world.sum(|row| row.probes), u64::from(many) * 2_000);
        let facts = world.net.facts();
        assert!(facts.late > 500 && facts.duplicate > 1_000 && facts.corrupt > 1_000, "{facts:?}");
        assert!(facts.unreachable > 1_000 && facts.contradicted > 500 && facts.opened > 60_000, "{facts:?}");
        world.compare();
        every_connection_is_ended(&world);
    }
}

/// The longest window that 8 bits of a number can tell the places of.
#[test]
fn a_hundred_and_twenty_eight_places() {
    let interval = Nanos::from_millis(30);
    let group = tcp(OPEN, 0, interval, Nanos::from_millis(2_500), Some(1_500));
    assert_eq!(group.places(), 128);
    let (plan, of) = mixed(plan(vec![(group, 12)]));
    let far = Range {
        jitter: Span(Nanos::from_millis(2_400)),
        late: Some(Late { share: 0.1, delay: Span(Nanos::from_millis(3_700)) }),
        loss: 0.1,
        ..Range::default()
    };
    let mut world = world_by(&plan, far, 3, 1, gateways(), &of);
    while world.turn() {}
    assert!(world.net.facts().late > 1_000, "some of them when their place is another probe's");
    world.compare();
    every_connection_is_ended(&world);
}

/// What a record says of a TCP probe is when it was sent, and what its answer said of the port.
#[test]
fn round_trips_are_those_of_the_network() {
    for (port, flow) in [(OPEN, 0), (CLOSED, 0)] {
        let (plan, of) =
            mixed(plan(vec![(tcp(port, flow, Nanos::from_millis(100), Nanos::from_secs(1), Some(50)), 9)]));
        let mut world = world_by(&plan, delayed(Nanos::from_millis(70)), 5, 1, gateways(), &of);
        while world.turn() {}
        world.compare();
        for target in (0..9).map(TargetIndex) {
            let shown = world.common.ledger.account(target).shown();
            assert_eq!(shown.rtt_sum, 50 * 70_000_000, "target {}", target.0);
        }
        let opened = if port == OPEN { 450 } else { 0 };
        assert_eq!(world.net.facts().opened, opened);
        every_connection_is_ended(&world);
    }
}

/// Two names of one group that are the same host: each has its answer.
#[test]
fn targets_that_turn_out_to_be_one_host() {
    let mut plan = plan(vec![(tcp(CLOSED, 0, Nanos::from_millis(100), Nanos::from_secs(1), Some(100)), 2)]);
    plan.targets[1].destination = plan.targets[0].destination;
    let mut world = world(&plan, delayed(Nanos::from_millis(10)), 5);
    while world.turn() {}
    world.compare();
    let answered =
        [0, 1].map(|n| world.common.ledger.account(TargetIndex(n)).shown().settled[Outcome::Answered as usize]);
    assert_eq!(answered, [100, 100]);
}
