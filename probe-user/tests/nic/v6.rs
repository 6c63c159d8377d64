//! IPv6 on the card, beside IPv4: the far kernel answers, and finds our address out by neighbour discovery that `steer` passes on.
//!
//! ```text
//!   near0 fd77::1/64 ───────────────── far0 fd77::2/64, and all of fd78::/64 is local
//! ```

use super::harness::*;
use echolot::{
    base::{AddressTable, Cause, Family, Generation, Nanos, ShapeIndex},
    nic::{Engine, Mode, MonotonicClock, Nic, Opened, Options, Reflector},
    route::Hop,
    wire::{Heard, Shape, read_frame},
    worker::{Clock as _, Due, Fate, Receive as _, Rest as _},
};
use std::{
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

const NEAR_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

/// As in `options`, with shapes and next hops of both families: 0 is IPv4, 1 is IPv6.
pub(super) fn options_v6() -> Options {
    for ns in [run as fn(&str) -> String, far] {
        // Addresses that are still tentative ask for no neighbour.
        ns("sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
    }
    run("sysctl -q -w net.ipv6.conf.near0.accept_dad=0");
    far("sysctl -q -w net.ipv6.conf.far0.accept_dad=0");
    for ns in [run as fn(&str) -> String, far] {
        ns("sysctl -q -w net.ipv6.conf.all.disable_ipv6=0");
    }
    run("ip -6 address add fd77::1/64 dev near0 nodad");
    far("ip -6 address add fd77::2/64 dev far0 nodad");
    far("ip -6 route add local fd78::/64 dev lo");
    wait("no tentative address", || far("ip -6 address show tentative").is_empty());
    let options = options("near0");
    let gateway = options.hops[0].neighbour();
    let v4 = Hop::new(Ipv4Addr::new(10, 77, 0, 2), NEAR, false);
    let v6 = Hop::new(FAR_V6, NEAR_V6, false);
    [&v4, &v6].into_iter().for_each(|hop| hop.set(gateway));
    let shapes = vec![
        Shape::echo(18),
        Shape::echo(18).over(Family::V6),
        Shape::echo(56).over(Family::V6),
        Shape { ttl: 1, ..Shape::echo(19).over(Family::V6) },
        Shape::echo(1452).over(Family::V6),
    ];
    Options { shapes, hops: Arc::new([v4, v6].into()), ..options }
}

/// A probe to an address, over IPv6 unless it is IPv4.
pub(super) fn due_to(table: &AddressTable, number: u32, address: IpAddr, shape: u16) -> Due {
    let hop = u32::from(address.is_ipv6());
    Due { to: table.enter(address).handle, hop, shape: ShapeIndex(shape), ..due(number) }
}

/// Every third over IPv4, others over IPv6 in two sizes.
fn mixed(table: &AddressTable, number: u32) -> Due {
    let v6 = Ipv6Addr::new(0xfd78, 0, 0, 0, 0x1234, 0, 0x9abc, (number % 251) as u16);
    match number % 3 {
        0 => due(number),
        shape => due_to(table, number, v6.into(), shape as u16),
    }
}

/// What comes until there is so much of it, or nothing for a second.
pub(super) fn heard(opened: &mut Opened, count: usize) -> Vec<Heard> {
    let mut seen = Vec::new();
    let mut quiet = Instant::now();
    while seen.len() < count && quiet.elapsed() < Duration::from_secs(1) {
        let got = opened.receivers[0].receive(&mut |frames| {
            seen.extend(frames.iter().map(|frame| read_frame(frame).unwrap()));
        });
        if got > 0 {
            quiet = Instant::now();
        } else {
            opened.receivers[0].rest(MonotonicClock.now() + Nanos::from_millis(10));
        }
    }
    seen
}

#[test]
#[ignore = "needs root: make test runs it"]
fn replies_of_both_families_come_back() {
    in_namespace("v6::replies_of_both_families_come_back", || {
        let options = options_v6();
        let mut opened = Nic::open(&options).unwrap();
        assert_eq!(opened.nic.info().engine, "afxdp");
        let probes: Vec<Due> = (0..3_000).map(|number| mixed(&options.addresses, number)).collect();
        for chunk in probes.chunks(50) {
            let fates = transmit(&mut opened, chunk);
            assert_eq!(sent(&fates).len(), chunk.len(), "{fates:?}");
            let expected: Vec<(u32, Nanos)> = chunk.iter().map(|due| due.target.0).zip(sent(&fates)).collect();
            let mut back = replies(&mut opened, chunk.len());
            back.sort_unstable();
            assert_eq!(back, expected, "every reply comes back once, with its stamp");
        }
        let stray = Due { hop: 0, ..mixed(&options.addresses, 1) };
        assert_eq!(transmit(&mut opened, &[stray]), [Fate::Unsent(Cause::NoRoute)], "a next hop of the other family");
        // An address that comes while everything runs.
        let mac = mac(&std::fs::read_to_string("/sys/class/net/near0/address").unwrap());
        assert!(opened.addressing.set(mac, [IpAddr::from(NEAR_V6)]).unwrap());
        let fates = transmit(&mut opened, &[mixed(&options.addresses, 2)]);
        assert_eq!((sent(&fates).len(), replies(&mut opened, 1).len()), (1, 1));
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn errors_say_why() {
    in_namespace("v6::errors_say_why", || {
        let options = options_v6();
        far("sysctl -q -w net.ipv6.icmp.ratelimit=0 net.ipv6.conf.all.forwarding=1");
        far("ip -6 route add unreachable fd79::/64");
        far("ip -6 route add prohibit fd7a::/64");
        far("ip -6 route add fd7b::/64 via fe80::99 dev far0");
        let mut opened = Nic::open(&options).unwrap();
        let to = |prefix: u16, host: u16| Ipv6Addr::new(prefix, 0, 0, 0, 0, 0, 0, host).into();
        for (prefix, shape, reason) in [
            (0xfd79, 1, "no_route"),
            (0xfd79, 4, "no_route"),
            (0xfd7a, 2, "admin_prohibited"),
            (0xfd7b, 3, "ttl_exceeded"),
        ] {
            // In all fewer than the kernel says at once (icmp_msgs_burst).
            let probes: Vec<Due> = (0..8).map(|host| due_to(&options.addresses, 7, to(prefix, host), shape)).collect();
            let fates = transmit(&mut opened, &probes);
            let mut stamps = sent(&fates);
            assert_eq!(stamps.len(), probes.len(), "{fates:?}");
            let mut told: Vec<Nanos> = heard(&mut opened, probes.len())
                .into_iter()
                .map(|heard| {
                    let Heard::Refusal(refusal) = heard else { panic!("{heard:?}") };
                    assert_eq!((refusal.from, refusal.reason.name()), (FAR_V6.into(), reason));
                    assert!(refusal.is_ours(&KEY));
                    let quoted = refusal.quoted.unwrap();
                    assert!(refusal.is_proven(&quoted, &KEY, Generation(3)));
                    quoted.sent
                })
                .collect();
            told.sort_unstable();
            stamps.sort_unstable();
            assert_eq!(told, stamps, "{reason}");
        }
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn live_frames_of_both_families() {
    in_namespace("v6::live_frames_of_both_families", || {
        if role() == "reflector" {
            let _attached = Reflector::attach("far0", Mode::Auto).unwrap();
            ready();
        }
        let space = env::var(FAR).unwrap();
        let _reflector = Helper::start(Some(&space), "v6::live_frames_of_both_families", "reflector");
        let cpu = core_affinity::get_core_ids().unwrap()[0];
        assert!(core_affinity::set_for_current(cpu));
        let live = Options { engine: Engine::LiveFrames, senders: vec![Some(cpu.id)], rate: 1_000_000, ..options_v6() };
        let mut opened = Nic::open(&live).unwrap();
        assert_eq!(opened.nic.info().engine, "live-frames", "{:?}", opened.nic.info());
        let (mut number, mut expected, mut back) = (0, Vec::new(), Vec::new());
        for round in 0..300u32 {
            let many = 1 + round * 7 % 100;
            let mut probes: Vec<Due> = (number..number + many).map(|number| mixed(&live.addresses, number)).collect();
            // A call has one shape: some rounds have long runs of each.
            if round % 2 == 0 {
                probes.sort_by_key(|due| due.shape.0);
            }
            let fates = transmit(&mut opened, &probes);
            assert_eq!(sent(&fates).len(), probes.len(), "{fates:?}");
            expected.extend(probes.iter().map(|due| due.target.0).zip(sent(&fates)));
            number += many;
            back.extend(replies(&mut opened, many as usize));
        }
        expected.sort_unstable();
        back.sort_unstable();
        assert!(back == expected, "every reply came back once, with the stamp that was told");
    });
}
