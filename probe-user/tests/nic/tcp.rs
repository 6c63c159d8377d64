//! TCP probes on the card, by both engines and over both families: the far kernel's own stack answers, from a port that is open and one
//! that is closed, and forgets what a RST of ours ends.

use super::{
    harness::*,
    v6::{due_to, heard, options_v6},
};
use echolot::{
    base::{Family, Nanos, PortState},
    nic::{Engine, Mode, Nic, Opened, Options, Reflector},
    wire::{Heard, Kind, NumberIn, PortReport, RejectedReason, Says, Shape},
    worker::Due,
};
use std::{
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
};

const OPEN: u16 = 443;
const CLOSED: u16 = 444;
const FIRST_PORT: u16 = 61_000;
const HOSTS: u8 = 12;
/// Indices of the shapes: first those of IPv4, then the same of IPv6.
const SYN_OPEN: u16 = 0;
const SYN_CLOSED: u16 = 1;
const RESET: u16 = 2;

/// The far end: it listens, and has an XDP program, as it must for a veth to take live frames.
fn listen() -> ! {
    let _attached = Reflector::attach("far0", Mode::Auto).unwrap();
    let _listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, OPEN)).unwrap();
    ready()
}

fn options_tcp(engine: Engine, sender: Option<usize>) -> Options {
    let open = Shape::of(Kind::Tcp { port: OPEN });
    let closed = Shape { flow: 1, ..Shape::of(Kind::Tcp { port: CLOSED }) };
    let shapes = [open, closed, Shape { reset: true, ..open }];
    let shapes = [Family::V4, Family::V6].iter().flat_map(|family| shapes.map(|shape| shape.over(*family)));
    Options {
        engine,
        senders: vec![sender],
        rate: 1_000_000,
        shapes: shapes.collect(),
        ports: FIRST_PORT..FIRST_PORT + 2,
        ..options_v6()
    }
}

fn address(host: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 78, 0, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, host.into()).into(),
    }
}

/// A probe with this number.
fn probe(options: &Options, number: u32, host: u8, family: Family, shape: u16) -> Due {
    let shape = shape + if family == Family::V6 { 3 } else { 0 };
    due_to(&options.addresses, number, address(host, family), shape)
}

/// All must be sent. Returns the stamps.
fn send_all(opened: &mut Opened, probes: &[Due]) -> Vec<Nanos> {
    let fates = transmit(opened, probes);
    let stamps = sent(&fates);
    assert_eq!(stamps.len(), probes.len(), "{fates:?}");
    stamps
}

fn segments(opened: &mut Opened, count: usize) -> Vec<PortReport> {
    let segment = |heard| match heard {
        Heard::Port(segment) => segment,
        other => panic!("{other:?}"),
    };
    heard(opened, count).into_iter().map(segment).collect()
}

/// Connections that the far kernel holds half open.
fn half_open() -> usize {
    far("ss -H -t -n state syn-recv").lines().count()
}

fn answers_come_back(test: &str, engine: Engine) {
    in_namespace(test, || {
        if role() == "listener" {
            listen();
        }
        let cpu = core_affinity::get_core_ids().unwrap()[0];
        assert!(core_affinity::set_for_current(cpu));
        let options = options_tcp(engine, Some(cpu.id));
        let _listener = Helper::start(Some(&env::var(FAR).unwrap()), test, "listener");
        let mut opened = Nic::open(&options).unwrap();
        assert_eq!(opened.nic.info().engine, engine.name(), "{:?}", opened.nic.info());
        for round in 1..=20u32 {
            let of = |shape| {
                let each = (1..=HOSTS).flat_map(|host| [(host, Family::V4), (host, Family::V6)]);
                each.map(move |(host, family)| (host, family, shape))
            };
            // Numbers above 8 bits, of which the answers bring the low ones.
            let number = |host: u8| round * 300 + u32::from(host);
            let due = |(host, family, shape)| probe(&options, number(host), host, family, shape);
            // In long runs of one shape, or taking turns.
            let mut asked: Vec<_> = of(SYN_OPEN).chain(of(SYN_CLOSED)).collect();
            if round % 2 == 0 {
                asked.sort_by_key(|(host, ..)| *host);
            }
            let stamps = send_all(&mut opened, &asked.iter().copied().map(due).collect::<Vec<_>>());
            let told = segments(&mut opened, asked.len());
            for ((host, family, shape), stamp) in asked.iter().zip(&stamps) {
                let (port, flow) = if *shape == SYN_OPEN { (OPEN, 0) } else { (CLOSED, 1) };
                let ports = (FIRST_PORT + flow, port);
                let mine = |told: &&PortReport| told.destination == address(*host, *family) && told.ports == ports;
                let answer = told.iter().find(mine).unwrap_or_else(|| panic!("none of {host} {ports:?}: {told:?}"));
                let state = if port == OPEN { PortState::Open } else { PortState::Closed };
                assert_eq!((answer.says, answer.from), (Says::Port(state), address(*host, *family)));
                assert_eq!(
                    answer.number(&KEY, NumberIn::Sequence),
                    Some(((number(*host) & 0xff) as u8, 0xff)),
                    "round {round}"
                );
                assert!(answer.arrived > *stamp, "{answer:?} to what was sent at {stamp:?}");
            }
            assert_eq!(told.len(), asked.len(), "one answer each");
            // This host's kernel knows nothing of them, and has refused none.
            assert_eq!(half_open(), 2 * usize::from(HOSTS), "round {round}");
            send_all(&mut opened, &of(RESET).map(due).collect::<Vec<_>>());
            wait("the far kernel has forgotten them", || half_open() == 0);
        }

        // Where the RST is lost, the next SYN is told of the one before.
        for family in [Family::V4, Family::V6] {
            send_all(&mut opened, &[probe(&options, 7, 99, family, SYN_OPEN)]);
            assert_eq!(segments(&mut opened, 1)[0].number(&KEY, NumberIn::Sequence), Some((7, 0xff)));
            send_all(&mut opened, &[probe(&options, 8, 99, family, SYN_OPEN)]);
            let told = segments(&mut opened, 1);
            assert_eq!(
                (told[0].says, told[0].number(&KEY, NumberIn::Sequence)),
                (Says::HalfOpen, Some((7, 0xff))),
                "{told:?}"
            );
            send_all(&mut opened, &[probe(&options, 7, 99, family, RESET)]);
            wait("the far kernel has forgotten it", || half_open() == 0);
        }
        // Of all that came nothing was rejected.
        opened.sampler.sample(&echolot::ledger::unheard::DropLog::default()).unwrap();
        assert_eq!(opened.sampler.rejected().unwrap(), [0; RejectedReason::ALL.len()]);
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn answers_come_back_to_live_frames() {
    answers_come_back("tcp::answers_come_back_to_live_frames", Engine::LiveFrames);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn answers_come_back_to_afxdp() {
    answers_come_back("tcp::answers_come_back_to_afxdp", Engine::Afxdp);
}

/// The far kernel's errors quote SYNs.
#[test]
#[ignore = "needs root: make test runs it"]
fn errors_about_syns_say_why() {
    in_namespace("tcp::errors_about_syns_say_why", || {
        let options = options_tcp(Engine::Afxdp, None);
        far("sysctl -q -w net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0");
        far("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        far("ip route add prohibit 10.79.0.0/16");
        far("ip -6 route add prohibit fd79::/64");
        let mut opened = Nic::open(&options).unwrap();
        let to = [
            (SYN_OPEN, IpAddr::from(Ipv4Addr::new(10, 79, 0, 1)), "admin_prohibited"),
            (SYN_CLOSED + 3, Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, 1).into(), "admin_prohibited"),
        ];
        for (shape, address, reason) in to {
            send_all(&mut opened, &[due_to(&options.addresses, 0x205, address, shape)]);
            let told = segments(&mut opened, 1);
            let Says::Refused(said) = told[0].says else { panic!("{told:?}") };
            assert_eq!(
                (said.name(), told[0].destination, told[0].number(&KEY, NumberIn::Sequence)),
                (reason, address, Some((5, 0xff)))
            );
            assert_ne!(told[0].from, address);
        }
    });
}
