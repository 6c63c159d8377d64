//! UDP probes: an answer brings back a DNS question's identifier, or nothing but the port that the probe was sent from.

use super::{
    tcp::{gateways, mixed},
    *,
};
use echolot::{
    base::Family,
    wire::{Content, Kind, Shape},
};
use std::collections::HashSet;

/// The far end answers even ports, and says of odd ones that nobody listens.
const OPEN: u16 = 7_000;
const CLOSED: u16 = 7_001;

fn dns() -> Kind {
    Kind::Udp { port: 53, content: Content::dns("example.com AAAA").unwrap() }
}

fn bytes(port: u16) -> Kind {
    Kind::Udp { port, content: Content::text("hello").unwrap() }
}

/// Targets of a group that are asked this.
fn asked(kind: Kind, interval: Nanos, timeout: Nanos, count: Option<u64>) -> Group {
    Group { shape: Shape::of(kind), ..group(&kind.to_string(), interval, timeout, count) }
}

/// The same with source ports of their own.
fn with_ports(groups: Vec<(Group, u32)>) -> (Plan, Vec<u32>) {
    let mut next = 0;
    // Those without proof are the last.
    let lay = |(group, many): (Group, u32)| {
        let group = Group { shape: Shape { flow: next, ..group.shape }, ..group };
        next += group.ports();
        (group, many)
    };
    mixed(plan(groups.into_iter().map(lay).collect()))
}

fn nothing_was_opened(world: &World) {
    assert_eq!((world.net.facts().opened, world.net.facts().resets), (0, 0));
}

/// All that can happen, to name servers, open and closed ports and echo beside them, whose numbers go round (8 bits of them travel, or 7
/// where the port says them) many times.
#[test]
fn a_rough_network() {
    let of = |kind| asked(kind, Nanos::from_millis(100), Nanos::from_secs(1), Some(2_000));
    let port_kinds = || vec![(of(dns()), 40), (of(bytes(OPEN)), 41), (of(bytes(CLOSED)), 40)];
    // As for TCP: a short quote of an echo may reach its sender after a reply that another loop reads.
    let beside = vec![(group("echo", Nanos::from_millis(100), Nanos::from_secs(1), Some(2_000)), 40)];
    assert_eq!(of(bytes(OPEN)).ports(), 128);
    for (senders, groups) in [(1, [beside, port_kinds()].concat()), (3, port_kinds())] {
        let many: u32 = groups.iter().map(|(_, many)| many).sum();
        let (plan, of) = with_ports(groups);
        let mut world = world_by(&plan, rough(), 12, senders, gateways(), &of);
        while world.turn() {}
        world.audit();
        assert_eq!(world.sum(|row| row.probes), u64::from(many) * 2_000);
        let facts = world.net.facts();
        assert!(facts.late > 500 && facts.duplicate > 1_000 && facts.corrupt > 1_000, "{facts:?}");
        assert!(facts.unreachable > 1_000 && facts.contradicted > 500, "{facts:?}");
        world.compare();
        nothing_was_opened(&world);
    }
}

/// The longest window: of questions as 8 bits of a number tell places apart, of other payloads as ports do.
#[test]
fn a_hundred_and_twenty_eight_places() {
    for kind in [dns(), bytes(OPEN), bytes(CLOSED)] {
        let group = asked(kind, Nanos::from_millis(30), Nanos::from_millis(2_500), Some(1_500));
        assert_eq!(group.places(), 128);
        let (plan, of) = with_ports(vec![(group, 12)]);
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
        nothing_was_opened(&world);
    }
}

/// What a record says of a UDP probe is when it was sent.
#[test]
fn round_trips_are_those_of_the_network() {
    for kind in [dns(), bytes(OPEN), bytes(CLOSED)] {
        let (plan, of) = with_ports(vec![(asked(kind, Nanos::from_millis(100), Nanos::from_secs(1), Some(50)), 9)]);
        let mut world = world_by(&plan, delayed(Nanos::from_millis(70)), 5, 1, gateways(), &of);
        while world.turn() {}
        world.compare();
        for target in (0..9).map(TargetIndex) {
            let shown = world.common.ledger.account(target).shown();
            assert_eq!(shown.rtt_sum, 50 * 70_000_000, "target {}, {kind}", target.0);
        }
    }
}

/// Flows take turns by the number of a probe, whatever is asked, and all answers find their way.
#[test]
fn flows_are_walked() {
    for (kind, flows) in [(Kind::Echo, 5), (Kind::Tcp { port: 80 }, 3), (dns(), 64)] {
        let group = Group { flows, ..asked(kind, Nanos::from_millis(100), Nanos::from_secs(1), Some(700)) };
        assert_eq!(group.flow_count(), flows);
        let (plan, of) = with_ports(vec![(group, 9)]);
        assert_eq!(plan.shapes().len() as u16, 2 * flows * if kind == (Kind::Tcp { port: 80 }) { 2 } else { 1 });
        let mut world = world_by(&plan, rough(), 5, 1, gateways(), &of);
        while world.turn() {}
        world.compare();
        let ledger_group = world.common.ledger.group(0);
        let seen: HashSet<_> = (0..700).map(|number| ledger_group.shape(Family::V4, number)).collect();
        assert_eq!(seen.len(), usize::from(flows));
        let [sent, dropped] = world.snapshot().resets;
        assert_eq!(sent + dropped, world.net.facts().opened);
    }
}
