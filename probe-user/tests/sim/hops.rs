//! Probes with few hops to live: the routers of the simulated network answer, and the far end only those that reach it.

use super::*;
use echolot::{base::Family, wire::Shape};
use testbed::{
    forms,
    routers::{RouterRules, path, path_of},
    rules::Form,
};

const ROUTERS: RouterRules = RouterRules { common: 12, nearest: 3, furthest: 9, ..RouterRules::new(5) };

/// Both families, with so many hops to live.
fn plan_with(ttl: u8, count: u64) -> Plan {
    let timeout = Nanos::from_millis(900);
    let group =
        Group { shape: Shape { ttl, ..Shape::default() }, ..group("g", Nanos::from_secs(1), timeout, Some(count)) };
    let mut plan = plan(vec![(group, 400)]);
    families::over_v6(&mut plan, 0..200);
    plan
}

fn addresses(plan: &Plan) -> impl Iterator<Item = std::net::IpAddr> {
    plan.targets.iter().map(|target| plan.addresses.address(target.destination.unwrap()))
}

/// Without harm: who is further away than the probes live is answered by a router, the others by themselves.
#[test]
fn probes_expire_where_their_path_says() {
    for ttl in 1..=10 {
        let plan = plan_with(ttl, 10);
        let (net, drops, key) = network(&plan, RuleFile::of(9, delayed(Nanos::from_millis(5))), Near::default());
        let rules = RouterRules { silent: 0x2000, ..ROUTERS };
        net.play_routers(rules);
        let mut world: World = joined(&plan, (net, drops, key), 1, vec![gateway()], &[0; 400]);
        while world.turn() {}
        world.compare();
        let paths: Vec<_> = addresses(&plan).map(|address| path_of(&rules, address)).collect();
        let at = usize::from(ttl);
        let count = |chosen: &dyn Fn(&Vec<Option<std::net::IpAddr>>) -> bool| {
            10 * paths.iter().filter(|path| chosen(path)).count() as u64
        };
        let expired = count(&|path| path.len() > at && path[at - 1].is_some());
        assert_eq!(world.net.facts().expired, expired, "{ttl}");
        assert_eq!(world.outcome(Outcome::Unreachable), expired, "{ttl}");
        assert_eq!(world.outcome(Outcome::Answered), count(&|path| path.len() <= at), "{ttl}");
        assert_eq!(world.outcome(Outcome::Lost), count(&|path| path.len() > at && path[at - 1].is_none()), "{ttl}");
    }
}

/// With everything that can happen to them: late, twice, harmed, forged. The account holds, as it does for replies.
#[test]
fn the_account_of_expired_probes_holds() {
    // So many that some of them arrive.
    let distances = || addresses(&plan_with(1, 1)).map(|address| path(&ROUTERS, address).distance).collect::<Vec<_>>();
    let nearest = *distances().iter().min().unwrap();
    assert!(distances().iter().any(|distance| *distance > nearest));
    let plan = plan_with(u8::try_from(nearest).unwrap(), 500);
    let Rules { far, near } = rough();
    let (net, drops, key) = network(&plan, RuleFile::of(10, far), near);
    net.play_routers(RouterRules { lost: 0x800, ..ROUTERS });
    let mut world: World = joined(&plan, (net, drops, key), 1, vec![gateway()], &[0; 400]);
    while world.turn() {}
    world.compare();
    let facts = world.net.facts();
    assert!(facts.expired > 20_000 && facts.in_time > 20_000, "{facts:?}");
    assert!(facts.late > 1_000 && facts.corrupt > 2_000 && facts.duplicate > 1_000, "{facts:?}");
}

/// Each error comes from the router that the path names, and quotes the probe.
#[test]
fn errors_are_the_routers_own() {
    use echolot::wire::{Content, Heard, Kind, Origin, ProbeFields, Says, Template, read_frame};
    let kinds =
        [Kind::Echo, Kind::Tcp { port: 80 }, Kind::Udp { port: 53, content: Content::dns("a.example TXT").unwrap() }];
    for (address, kind) in addresses(&plan_with(2, 1)).step_by(50).flat_map(|to| kinds.map(|kind| (to, kind))) {
        let family = Family::of(address);
        let source = if family == Family::V4 { "10.63.0.1" } else { "fd00:63::1" }.parse().unwrap();
        let origin = Origin { mac: [2; 6], source, identifier: 7, first_port: FIRST_PORT, flow_key: 0 };
        let template = Template::new(Shape { ttl: 2, ..Shape::of(kind).over(family) }, origin).unwrap();
        let mut probe = vec![0; template.length()];
        template.lay(&mut probe);
        let fields = ProbeFields {
            destination: address,
            target: TargetIndex(1),
            generation: echolot::base::Generation(1),
            sequence: echolot::base::Sequence(9),
            sent: Nanos::from_secs(1),
            next_hop_mac: [2; 6],
        };
        let key = Key([3, 4]);
        template.write(&mut probe, &fields, &key);
        let router = path_of(&ROUTERS, address)[1].unwrap();
        let ttl = ROUTERS.ttl_of(path(&ROUTERS, address).router(2), 2);
        let read = |form, twist| {
            let mut frame = Vec::new();
            assert!(forms::expired(&probe, form, twist, (router, ttl), &mut frame));
            frame[..8].copy_from_slice(&Nanos::from_secs(1).0.to_ne_bytes());
            read_frame(&frame)
        };
        let forms: &[Form] = if family == Family::V4 { &[Form::Good, Form::ShortError] } else { &[Form::Good] };
        for form in forms {
            match read(*form, 0).unwrap() {
                Heard::Refusal(refusal) => {
                    assert_eq!((refusal.from, refusal.ttl, refusal.destination), (router, ttl, address));
                    assert_eq!((refusal.reason.name(), refusal.quoted_ttl), ("ttl_exceeded", 1));
                    assert!(refusal.is_ours(&key));
                    assert_eq!(refusal.quoted.is_some(), *form == Form::Good);
                }
                Heard::Port(report) => {
                    assert_eq!((report.from, report.ttl, report.destination), (router, ttl, address));
                    assert!(matches!(report.says, Says::Refused(reason) if reason.name() == "ttl_exceeded"));
                    assert_eq!(report.quote.unwrap().ttl, 1);
                }
                Heard::Reply(reply) => panic!("{reply:?}"),
            }
        }
        for twist in 0..200 {
            assert!(read(Form::CorruptError, twist).is_err(), "{twist}: {kind:?} to {address}");
            match read(Form::Forged, twist) {
                Ok(Heard::Refusal(refusal)) => {
                    let quoted = refusal.quoted.unwrap();
                    assert!(!refusal.is_proven(&quoted, &key, echolot::base::Generation(1)), "{twist}");
                }
                Ok(Heard::Port(report)) => {
                    let told = match kind {
                        Kind::Tcp { .. } => echolot::wire::NumberIn::Sequence,
                        _ => echolot::wire::NumberIn::Word,
                    };
                    assert_eq!(report.number(&key, told), None, "{twist}: {kind:?}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
