//! A receiver that is held up for 2 s, longer than any probe lives, while replies arrive in the real rings.
//!
//! Arrival is stamped before the ring, so round-trip times are what they would have been; nothing is lost that lies in the
//! ring, however old its probe is when somebody looks; and what the ring had no room for is *unheard*.

use super::{
    harness::*,
    station::{Ended, Heard, PAYLOAD, Roles, Station, group, hold_replies, plan},
};
use echolot::{
    base::{Cause, Nanos, Outcome, State},
    nic::{MonotonicClock, Options},
    wire::{RejectedReason, Shape},
    worker::{Clock as _, Due, Fate, Transmit as _},
};
use std::{
    env,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

const STALL: Duration = Duration::from_secs(2);
const SECOND: Nanos = Nanos::from_secs(1);
const TARGETS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 0);
/// Nobody has these addresses, and the far end forwards nothing.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 0);
/// A tenth of the stall: what a busy machine may add to a path of microseconds.
const SMALL: Nanos = Nanos::from_millis(200);

fn with_rate(rate: u64) -> Options {
    Options { rate, shapes: vec![Shape::echo(PAYLOAD)], ..options("near0") }
}

fn quantile(of: impl Iterator<Item = Nanos>, percent: usize) -> Nanos {
    let mut all: Vec<Nanos> = of.collect();
    all.sort_unstable();
    all[(all.len() - 1) * percent / 100]
}

/// What must be so whatever overflowed: `probes` in all, each with so long to be answered.
fn is_true(ended: &Ended, probes: u64, timeout: Nanos) {
    println!("{}", ended.told());
    assert_eq!(ended.sum(|row| row.probes), probes);
    assert_eq!(ended.sum(|row| row.duplicate + row.contradicted), 0, "{}", ended.told());
    assert_eq!(ended.snapshot.rejected, [0; RejectedReason::ALL.len()]);
    // A frame that came out of a ring had arrived in time or had not, by the program's stamp: however long it lay there.
    let in_time = ended.heard.iter().filter(|heard| heard.rtt() <= timeout).count() as u64;
    let late = ended.heard.len() as u64 - in_time;
    assert_eq!((ended.outcome(Outcome::Answered), ended.sum(|row| row.late)), (in_time, late), "{}", ended.told());
    if late > 0 {
        println!("this machine is so busy that {late} replies were late");
    }
    let dropped = ["ring_full", "no_buffer", "vanished"].map(|cause| ended.dropped(&format!("receive {cause}")));
    let dropped: u64 = dropped.iter().sum();
    // Each that was dropped was the reply to one probe.
    assert_eq!(in_time + late + dropped, probes);
    assert_eq!((ended.outcome(Outcome::Unheard), ended.outcome(Outcome::Lost)), (dropped, late), "{}", ended.told());

    // Some lay in the ring for nearly all of the stall, and longer than they had to live.
    let long = Nanos(SECOND.0 * 3 / 2);
    let (lay, others): (Vec<Heard>, Vec<Heard>) =
        ended.heard.iter().partition(|heard| heard.seen - heard.arrived > Nanos::from_millis(500));
    assert!(lay.iter().any(|heard| heard.seen - heard.arrived > long), "nothing was held up");
    assert!(ended.snapshot.receive_delay.max > long);
    // What echolot makes of them is the difference of their stamps, to the nanosecond, and that is the path's.
    let rtt = &ended.snapshot.sums[0].rtt;
    assert_eq!(rtt.count(), in_time);
    let times = ended.heard.iter().map(|heard| heard.rtt().0);
    assert_eq!(rtt.sum, times.filter(|time| *time <= timeout.0).sum::<u64>());
    let of = |heard: &[Heard], percent| quantile(heard.iter().map(Heard::path), percent);
    println!(
        "path time, median and p99: {} lay in the ring: {}, {}; {} others: {}, {}",
        lay.len(),
        of(&lay, 50),
        of(&lay, 99),
        others.len(),
        of(&others, 50),
        of(&others, 99),
    );
    assert!(of(&lay, 50) < SMALL, "the stall is in the round-trip times");
    assert!(of(&lay, 99) < SMALL + of(&others, 99), "the stall is in the round-trip times");
}

/// Fewer replies than the ring holds: none is missed, though each had 500 ms to come.
#[test]
#[ignore = "needs root: make test runs it"]
fn ring_holds_them_all() {
    in_namespace("stall::ring_holds_them_all", || {
        let plan = plan(vec![group("all", (SECOND, Nanos::from_millis(500)), Some(5), TARGETS, 150)]);
        let mut station = Station::start(&with_rate(1_000), &plan, Roles::Apart);
        station.until("a round is over", |station| station.probes() > 150);
        station.stalls[0].hold(STALL);
        let ended = station.finish();
        is_true(&ended, 750, Nanos::from_millis(500));
        assert_eq!(ended.outcome(Outcome::Unheard), 0);
    });
}

/// More than it holds, from a far end that is near: sending waits, so that all the same none is missed.
#[test]
#[ignore = "needs root: make test runs it"]
fn sending_waits() {
    in_namespace("stall::sending_waits", || {
        let plan = plan(vec![group("all", (SECOND, SECOND), Some(2), TARGETS, 5_000)]);
        let mut station = Station::start(&with_rate(1_000), &plan, Roles::Apart);
        station.until("half a round is over", |station| station.probes() > 2_500);
        station.stalls[0].hold(STALL);
        let before = station.probes();
        // What fills half a ring is sent within a tenth of the stall.
        let deadline = Instant::now() + STALL / 2;
        station.until("sending waits", |_| Instant::now() > deadline);
        let during = station.probes() - before;
        assert!(during <= 2 * (1_024 / 2 + 64), "{during} were sent into a ring that nobody reads");
        let ended = station.finish();
        is_true(&ended, 10_000, SECOND);
        assert_eq!(ended.outcome(Outcome::Unheard), 0);
    });
}

/// Three times as many as it holds were on their way when it began: they arrive while nobody looks.
#[test]
#[ignore = "needs root: make test runs it"]
fn overflowing_ring() {
    in_namespace("stall::overflowing_ring", || {
        if role() == "holder" {
            hold_replies(Nanos::from_millis(300));
        }
        let _far = Helper::start(Some(&env::var(FAR).unwrap()), "stall::overflowing_ring", "holder");
        let plan = plan(vec![group("all", (SECOND, Nanos(SECOND.0 * 3 / 2)), Some(3), TARGETS, 10_000)]);
        let mut station = Station::start(&with_rate(1_000), &plan, Roles::Apart);
        station.until("half a round is over", |station| station.probes() > 5_000);
        station.stalls[0].hold(STALL);
        let ended = station.finish();
        is_true(&ended, 30_000, Nanos(SECOND.0 * 3 / 2));
        assert!(ended.outcome(Outcome::Unheard) > 0, "it did not overflow");
    });
}

/// Two threads, each sending and receiving: one is held up, and with it the replies to half of the other's probes.
#[test]
#[ignore = "needs root: make test runs it"]
fn beside_another_thread() {
    in_namespace("stall::beside_another_thread", || {
        let options = Options { senders: vec![None, None], receivers: 2, ..with_rate(1_000) };
        let plan = plan(vec![group("all", (SECOND, Nanos::from_millis(500)), Some(4), TARGETS, 200)]);
        let mut station = Station::start(&options, &plan, Roles::Together);
        station.until("a round is over", |station| station.probes() > 200);
        station.stalls[1].hold(STALL);
        let ended = station.finish();
        is_true(&ended, 800, Nanos::from_millis(500));
        assert_eq!(ended.outcome(Outcome::Unheard), 0);
    });
}

/// 1,000 targets that nobody has, and exactly one received frame that this machine drops.
#[test]
#[ignore = "needs root: make test runs it"]
fn one_drop_hides_no_outage() {
    in_namespace("stall::one_drop_hides_no_outage", || {
        let interval = Nanos::from_millis(500);
        let plan = plan(vec![group("silent", (interval, interval), None, NOBODY, 1_000)]);
        let options = Options { senders: vec![None, None], ..with_rate(1_000) };
        let begun = MonotonicClock.now();
        let mut station = Station::start(&options, &plan, Roles::Apart);
        station.until("a quarter of the first round", |station| station.probes() > 250);
        let held = MonotonicClock.now();
        station.stalls[0].hold(Duration::from_secs(60));
        // One frame more than the ring holds. All from one address, so that they come to one queue; to a target that there
        // isn't, so that they settle nothing.
        let stray = Due { to: TARGETS.into(), ..due(u32::MAX - 1) };
        let taken = Arc::clone(&station.common.taken);
        let taken = || taken.taken(0) + taken.taken(1);
        while taken() < 1_024 + 1 {
            let before = taken();
            station.spare[0].transmit(&[stray], &mut [Fate::Unsent(Cause::Window)]);
            let patience = Instant::now() + Duration::from_secs(1);
            while taken() == before && Instant::now() < patience {
                std::thread::yield_now();
            }
        }
        station.until("it was dropped", |station| station.drops("receive", "ring_full") > 0);
        station.stalls[0].release();
        let held = MonotonicClock.now() - held;
        station.until("all are down", |station| station.rows()[0].states[State::Down as usize] == 1_000);
        let ended = station.stop();
        println!("{}", ended.told());
        assert_eq!(ended.dropped("receive ring_full"), 1);
        assert_eq!(ended.heard.len(), 1_024);
        assert_eq!(ended.outcome(Outcome::Unheard), 1, "{}", ended.told());
        assert_eq!(ended.outcome(Outcome::Lost) + 1, ended.sum(|row| row.probes));
        assert_eq!(ended.changes.len(), 1_000);
        assert!(ended.changes.iter().all(|change| (change.from, change.to) == (State::Unknown, State::Down)));
        // Up to an interval until the first probe, two more, and the timeout; once more for the one that was excused. While nobody
        // received, nobody sent; and each due time that a busy machine let pass takes an interval more.
        let took = ended.changes.iter().map(|change| change.at - begun).max().unwrap();
        let skipped = ended.sum(|row| row.skipped).div_ceil(1_000);
        let on_time = Nanos(interval.0 * (5 + skipped)) + held + held;
        println!("the last went down after {took}, with {skipped} rounds skipped and a stall of {held}");
        assert!(took < on_time + SECOND, "{took}, where {on_time} was to be expected");
    });
}
