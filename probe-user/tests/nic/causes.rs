//! The causes of local drops, provoked: the counter moves, and what it cost is *unsent* or *unheard*, and never *lost*.
//!
//! | cause | here |
//! |---|---|
//! | receive `ring_full` | `stall::overflowing_ring` |
//! | receive `no_buffer` | can't happen in copy mode: see docs/metrics.md |
//! | receive `vanished` | `taken_and_gone` |
//! | receive `no_socket` | `a_queue_without_a_socket` |
//! | receive `driver` | `driver_ring_is_full` |
//! | transmit `refused` and `driver` | `refused_by_the_driver`, and none of it where there is no due time to miss: `what_the_driver_refuses_waits` |
//! | transmit `no_room` | `frames_run_out` |
//! | transmit `link_down` | `no_link` |
//!
//! A driver's ring is filled by telling NAPI to look at it seldom, as interrupt moderation does, only more so.

use super::{
    harness::*,
    station::{Ended, PAYLOAD, Roles, Station, group, plan},
};
use aya::{
    maps::{Map, MapData, XskMap},
    programs::loaded_programs,
};
use echolot::{
    base::{Cause, Nanos, Outcome, State},
    nic::{Engine, Mode, MonotonicClock, Options, Reflector},
    route::LinkState,
    wire::Shape,
    worker::Clock as _,
};
use rustix::net::{AddressFamily, SocketType, socket};
use std::{env, fs, net::Ipv4Addr, os::fd::AsRawFd as _, sync::Arc};

const SECOND: Nanos = Nanos::from_secs(1);
const TARGETS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 0);
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 0);
/// Time enough for what lay in a driver's ring.
const PATIENT: Nanos = Nanos::from_secs(4);

fn with_payload() -> Options {
    Options { shapes: vec![Shape::echo(PAYLOAD)], ..options("near0") }
}

/// A reflector at the far end, for as long as the result lives.
fn reflector(test: &str) -> Helper {
    Helper::start(Some(&env::var(FAR).unwrap()), test, "reflector")
}

fn reflect() {
    if role() == "reflector" {
        let _reflector = Reflector::attach("far0", Mode::Auto).unwrap();
        ready();
    }
}

/// From its next poll on, the device looks into its rings every `milliseconds` only; 0: as usual.
fn poll_every(device: &str, milliseconds: u64) {
    let words = format!(
        "echo {} > /sys/class/net/{device}/gro_flush_timeout; echo {} > /sys/class/net/{device}/napi_defer_hard_irqs",
        milliseconds * 1_000_000,
        if milliseconds == 0 { 0 } else { 100_000 }
    );
    let mut command = std::process::Command::new("ip");
    let space = env::var(FAR).unwrap();
    if device == "far0" {
        command.args(["netns", "exec", &space, "sh", "-c", &words]);
    } else {
        command = std::process::Command::new("sh");
        command.args(["-c", &words]);
    }
    assert!(command.status().unwrap().success());
}

fn none_is_lost(ended: &Ended) {
    println!("{}", ended.told());
    assert_eq!(ended.outcome(Outcome::Lost), 0, "{}", ended.told());
    assert_eq!(ended.sum(|row| row.late + row.duplicate + row.contradicted), 0, "{}", ended.told());
    assert!(ended.changes.iter().all(|change| change.to != State::Down));
}

/// A queue has no socket (any more), as one that was added under way: replies go on to the kernel. Half come by it.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_queue_without_a_socket() {
    in_namespace("causes::a_queue_without_a_socket", || {
        let plan = plan(vec![group("all", (Nanos::from_millis(200), SECOND), None, TARGETS, 64)]);
        let mut station = Station::start(&with_payload(), &plan, Roles::Apart);
        station.until("all are up", |station| station.rows()[0].states[State::Up as usize] == 64);
        assert_eq!(station.drops("receive", "no_socket"), 0);
        sockets_of("near0").unset(1).unwrap();
        // More rounds than it takes to go down.
        let more = station.probes() + 64 * 12;
        station.until("twelve more rounds", |station| station.probes() >= more);
        let ended = station.stop();
        none_is_lost(&ended);
        let unseen = ended.dropped("receive no_socket");
        assert!(unseen > 64, "only {unseen}");
        assert_eq!(ended.outcome(Outcome::Unheard), unseen);
    });
}

/// The socket map leads to a socket that is not bound, as for a moment it does while one is replaced: steer has taken the
/// reply, and neither socket counts it.
#[test]
#[ignore = "needs root: make test runs it"]
fn taken_and_gone() {
    in_namespace("causes::taken_and_gone", || {
        let groups = [("all", TARGETS), ("silent", NOBODY)];
        let plan = plan(groups.map(|(name, first)| group(name, (SECOND, SECOND), None, first, 40)).into());
        let mut station = Station::start(&with_payload(), &plan, Roles::Apart);
        station.until("all have answered", |station| station.rows()[0].settled[0] >= 40);
        let unbound = socket(AddressFamily::XDP, SocketType::RAW, None).unwrap();
        let mut sockets = sockets_of("near0");
        (0..2).for_each(|queue| sockets.set(queue, unbound.as_raw_fd(), 0).unwrap());
        let more = station.probes() + 100;
        station.until("some were sent in vain", |station| station.probes() >= more);
        let ended = station.stop();
        println!("{}", ended.told());
        let vanished = ended.dropped("receive vanished");
        assert!(vanished > 20, "only {vanished}");
        // This driver counts them as well, and the same frame excuses one probe all the same.
        assert_eq!(ended.outcome(Outcome::Unheard), vanished, "{}", ended.told());
        let answered = ended.heard.len() as u64;
        assert_eq!(ended.outcome(Outcome::Answered), answered);
        // While nobody knows what became of a probe, its place is taken: on a busy machine there may be none for the next.
        let others = answered + vanished + ended.unsent(Cause::Window);
        assert_eq!(ended.outcome(Outcome::Lost), ended.sum(|row| row.probes) - others);
        assert_eq!(ended.sum(|row| row.late + row.duplicate + row.contradicted), 0);
    });
}

/// The socket map of the program on an interface of this namespace.
fn sockets_of(device: &str) -> XskMap<MapData> {
    let shown = run(&format!("ip link show {device}"));
    let id: u32 = shown.split("prog/xdp id ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    let program = loaded_programs().map(Result::unwrap).find(|program| program.id() == id).unwrap();
    let maps = program.map_ids().unwrap().unwrap();
    let maps = maps.into_iter().map(|id| MapData::from_id(id).unwrap());
    let map = maps.into_iter().find(|map| map.info().unwrap().name_as_str() == Some("XSKS")).unwrap();
    Map::XskMap(map).try_into().unwrap()
}

/// Replies come faster than this machine polls for them: those for which the driver has no room never come to steer.
#[test]
#[ignore = "needs root: make test runs it"]
fn driver_ring_is_full() {
    in_namespace("causes::driver_ring_is_full", || {
        reflect();
        let _reflector = reflector("causes::driver_ring_is_full");
        let plan = plan(vec![group("all", (SECOND, PATIENT), Some(3), TARGETS, 2_000)]);
        let mut station = Station::start(&with_payload(), &plan, Roles::Apart);
        station.until("half a round is over", |station| station.probes() > 1_000);
        poll_every("near0", 1_000);
        station.until("replies are dropped", |station| station.drops("receive", "driver") > 0);
        poll_every("near0", 0);
        let ended = station.finish();
        none_is_lost(&ended);
        let dropped = ended.dropped("receive driver");
        assert_eq!(ended.outcome(Outcome::Unheard), dropped, "{}", ended.told());
        assert!(dropped > 0);
    });
}

/// The far end of the cable takes nothing for a while, so neither does the driver.
#[test]
#[ignore = "needs root: make test runs it"]
fn refused_by_the_driver() {
    in_namespace("causes::refused_by_the_driver", || {
        reflect();
        let _reflector = reflector("causes::refused_by_the_driver");
        let cpu = core_affinity::get_core_ids().unwrap()[0].id;
        let options = Options { engine: Engine::LiveFrames, senders: vec![Some(cpu)], ..with_payload() };
        let plan = plan(vec![group("all", (SECOND, PATIENT), None, TARGETS, 2_000)]);
        let mut station = Station::start(&options, &plan, Roles::Apart);
        station.until("half a round is over", |station| station.probes() > 1_000);
        poll_every("far0", 1_000);
        station.until("probes are refused", |station| station.snapshot().unsent[Cause::Refused as usize] > 0);
        poll_every("far0", 0);
        let ended = station.stop();
        none_is_lost(&ended);
        assert!(ended.dropped("transmit driver") > 0);
        let refused = ended.unsent(Cause::Refused);
        assert_eq!((ended.dropped("transmit refused"), ended.outcome(Outcome::Unsent)), (refused, refused));
    });
}

/// The same in a job that has no due times to miss: it waits, and all is sent.
#[test]
#[ignore = "needs root: make test runs it"]
fn what_the_driver_refuses_waits() {
    in_namespace("causes::what_the_driver_refuses_waits", || {
        reflect();
        let _reflector = reflector("causes::what_the_driver_refuses_waits");
        let cpu = core_affinity::get_core_ids().unwrap()[0].id;
        for engine in [Engine::LiveFrames, Engine::Afxdp] {
            let options = Options { engine, senders: vec![Some(cpu)], ..with_payload() };
            // All at once, and many times what the far end's ring holds, which is looked into every 100 ms.
            let plan = plan(vec![group("all", (Nanos::ZERO, PATIENT), Some(1), TARGETS, 3_000)]);
            poll_every("far0", 100);
            let mut station = Station::start(&options, &plan, Roles::Apart);
            station.until("all were entered", |station| station.probes() == 3_000);
            poll_every("far0", 0);
            let ended = station.finish();
            none_is_lost(&ended);
            let settled = ended.outcome(Outcome::Answered) + ended.outcome(Outcome::Unheard);
            assert_eq!((settled, ended.outcome(Outcome::Unsent)), (3_000, 0), "{}", ended.told());
        }
    });
}

/// The same with AF_XDP: every transmit frame lies in the driver's ring and does not come back.
#[test]
#[ignore = "needs root: make test runs it"]
fn frames_run_out() {
    in_namespace("causes::frames_run_out", || {
        reflect();
        let _reflector = reflector("causes::frames_run_out");
        let plan = plan(vec![group("all", (SECOND, PATIENT), None, TARGETS, 2_000)]);
        let mut station = Station::start(&with_payload(), &plan, Roles::Apart);
        let unsent = |station: &Station| station.rows()[0].settled[Outcome::Unsent as usize];
        let missing = |station: &Station| station.snapshot().unsent[Cause::NoRoom as usize];
        // There are exactly as many frames as the driver's ring holds. Now and then the ring is full first, and refuses.
        for _ in 0..20 {
            let answered = station.rows()[0].settled[0];
            station.until("some are answered", |station| station.rows()[0].settled[0] > answered + 500);
            let before = unsent(&station);
            poll_every("far0", 1_000);
            station.until("some are unsent", |station| unsent(station) > before + 300);
            poll_every("far0", 0);
            if missing(&station) > 0 {
                break;
            }
        }
        let ended = station.stop();
        assert!(ended.unsent(Cause::NoRoom) > 0, "{}", ended.told());
        none_is_lost(&ended);
        let missing = ended.unsent(Cause::NoRoom);
        assert_eq!(ended.dropped("transmit no_room"), missing);
        assert_eq!(ended.outcome(Outcome::Unsent), missing + ended.unsent(Cause::Refused));
        assert_eq!(ended.dropped("transmit refused"), ended.unsent(Cause::Refused));
    });
}

/// The interface is set down. The engine finds out by itself; what was on its way is excused by the word of the link's watcher,
/// whose part the test takes.
#[test]
#[ignore = "needs root: make test runs it"]
fn no_link() {
    in_namespace("causes::no_link", || {
        // Or the far end would have to ask for our address first.
        let mac = fs::read_to_string("/sys/class/net/near0/address").unwrap();
        far(&format!("ip neighbour replace {NEAR} lladdr {} dev far0 nud permanent", mac.trim()));
        let link = Arc::new(LinkState::new());
        let options = Options { link: Arc::clone(&link) as _, ..with_payload() };
        let plan = plan(vec![group("all", (Nanos::from_millis(200), SECOND), None, TARGETS, 100)]);
        let mut station = Station::start(&options, &plan, Roles::Apart);
        station.until("all are up", |station| station.rows()[0].states[State::Up as usize] == 100);
        let unsent = |station: &Station| station.snapshot().unsent[Cause::LinkDown as usize];
        let fell = MonotonicClock.now();
        run("ip link set near0 down");
        station.until("some are unsent", |station| unsent(station) > 0);
        link.went_down(fell);
        station.until("ten rounds more", |station| unsent(station) > 1_000);
        run("ip link set near0 up");
        wait_for_carrier();
        link.came_up(MonotonicClock.now() + Nanos::from_millis(100));
        let answered = station.rows()[0].settled[Outcome::Answered as usize];
        station.until("they answer again", |station| station.rows()[0].settled[0] > answered + 500);
        let ended = station.stop();
        none_is_lost(&ended);
        assert_eq!(ended.dropped("transmit link_down"), ended.unsent(Cause::LinkDown));
        // The one that was on its way into the driver just then.
        assert_eq!(ended.dropped("transmit refused"), ended.unsent(Cause::Refused));
        assert!(ended.unsent(Cause::Refused) <= 32);
    });
}
