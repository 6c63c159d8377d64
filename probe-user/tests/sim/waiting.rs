//! Targets on the link whose MAC addresses are found out while they are probed.

use super::*;
use echolot::{base::Cause, route::Hops};

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 63, 0, 1);

/// As many hops as targets, each its own, not known; and one more, a gateway, for the last `behind` of them.
fn on_link(plan: &Plan, behind: usize, rules: impl Into<Rules>, seed: u64) -> World {
    let own = plan.targets.len() - behind;
    let mut hops: Vec<Hop> = plan.targets[..own]
        .iter()
        .map(|target| Hop::new(target.destination.unwrap().handle.v4(), SOURCE, true))
        .collect();
    hops.iter().for_each(|hop| hop.set(Neighbour::Unknown));
    let gateway = Hop::new(Ipv4Addr::new(10, 63, 0, 2), SOURCE, false);
    gateway.set(Neighbour::Resolved([2; 6]));
    hops.push(gateway);
    let of: Vec<u32> = (0..plan.targets.len()).map(|target| u32::try_from(target.min(own)).unwrap()).collect();
    world_by(plan, rules, seed, 1, hops, &of)
}

impl World {
    /// Turns until `until`, with an audit after each turn that changed something on the watcher's side.
    fn go_watched(&mut self, until: Nanos, mut watch: impl FnMut(&Hops, Nanos)) {
        while self.clock.now() < until && self.turn() {
            watch(&self.common.hops, self.clock.now());
            self.audit();
        }
    }

    fn window(&self) -> u64 {
        self.snapshot().unsent[Cause::Window as usize]
    }
}

/// A neighbour answers a while after the first who wants it, or is given up after three seconds.
fn ask(hops: &Hops, now: Nanos, begin: Nanos, answers: impl Fn(usize) -> Option<Nanos>) {
    for (index, hop) in hops.iter().enumerate().filter(|(_, hop)| hop.neighbour() == Neighbour::Unknown) {
        match answers(index) {
            Some(after) if now >= begin + after => hop.set(Neighbour::Resolved([2; 6])),
            None if now >= begin + Nanos::from_secs(3) => hop.set(Neighbour::Unresolved),
            _ => {}
        }
    }
}

#[test]
fn a_sweep_waits_for_each_neighbour_and_for_nobody_else() {
    let timeout = Nanos::from_millis(200);
    let plan = plan(vec![(group("g", Nanos::from_millis(500), timeout, Some(1)), 300)]);
    let mut world = on_link(&plan, 100, delayed(Nanos::from_millis(1)), 3);
    let begin = world.clock.now();
    // A third of the neighbours are nobody; the others take up to 700 ms.
    let answers = |index: usize| (!index.is_multiple_of(3)).then(|| Nanos::from_millis(index as u64 * 7 / 2));
    let mut behind = None;
    world.go_watched(Nanos::MAX, |hops, now| {
        ask(hops, now, begin, answers);
        behind.get_or_insert(now);
    });
    assert_eq!((world.outcome(Outcome::Answered), world.outcome(Outcome::Unreachable)), (233, 67));
    assert_eq!(world.sum(|row| row.probes), 300);
    assert_eq!(world.net.facts().sent, 233);
    let took = world.clock.now() - begin;
    assert!(took >= Nanos::from_secs(3) && took < Nanos::from_millis(3_300), "{took}");
    for target in (200..300).map(TargetIndex) {
        let row = world.common.ledger.account(target).shown();
        let answered = row.last_reply.unwrap() - begin;
        assert!(answered < Nanos::from_millis(510), "{target:?}, which is behind the gateway, waited: {answered}");
    }
}

/// The schedule goes on meanwhile, and so does everything about deadlines: windows, losses, late replies, errors.
#[test]
fn probes_that_have_waited_live_as_long_as_others() {
    for (interval_ms, timeout_ms) in [(1_000, 1_000), (1_000, 200), (100, 250), (10, 25), (50, 2_000)] {
        let timeout = Nanos::from_millis(timeout_ms);
        let plan = plan(vec![(group("g", Nanos::from_millis(interval_ms), timeout, None), 60)]);
        let rules = Range { jitter: Span(Nanos(timeout.0 / 3)), ..delayed(Nanos(timeout.0 / 2)) };
        let mut world = on_link(&plan, 20, rules, interval_ms + timeout_ms);
        let begin = world.clock.now();
        let answers = |index: usize| (!index.is_multiple_of(4)).then(|| Nanos::from_millis(index as u64 * 50));
        world.go_watched(begin + Nanos::from_secs(8), |hops, now| ask(hops, now, begin, answers));
        world.drain();
        let facts = world.net.facts();
        let case = format!("interval {interval_ms} ms, timeout {timeout_ms} ms");
        // All that was sent was answered: whoever had waited did not land before its time.
        assert_eq!(world.outcome(Outcome::Answered), facts.sent, "{case}");
        assert_eq!((world.outcome(Outcome::Lost), world.sum(|row| row.late)), (0, 0), "{case}");
        let (probes, unreachable) = (world.sum(|row| row.probes), world.outcome(Outcome::Unreachable));
        assert_eq!(probes, facts.sent + unreachable + world.outcome(Outcome::Unsent), "{case}");
        assert_eq!(world.outcome(Outcome::Unsent), world.window(), "{case}");
        assert_eq!(world.sum(|row| row.skipped), 0, "{case}");
        assert!(unreachable >= 10 * 8_000 / interval_ms - world.window(), "{case}: {unreachable}");
        for target in (0..60).map(TargetIndex) {
            let state = if target.0 < 40 && target.0.is_multiple_of(4) { State::Down } else { State::Up };
            assert_eq!(world.common.ledger.account(target).health().state(), state, "{case}, {target:?}");
        }
    }
}

#[test]
fn nobody_waits_when_the_end_has_been_asked_for() {
    let plan = plan(vec![(group("g", Nanos::from_millis(100), Nanos::from_secs(1), Some(1)), 200)]);
    let mut world = on_link(&plan, 100, delayed(Nanos::from_millis(1)), 4);
    let begin = world.clock.now();
    world.go_watched(begin + Nanos::from_millis(150), |_, _| {});
    assert_eq!(world.sum(|row| row.in_flight()), 100, "all but those behind the gateway wait");
    world.drain();
    assert_eq!((world.outcome(Outcome::Answered), world.outcome(Outcome::Unsent)), (100, 100));
    assert_eq!(world.snapshot().unsent[Cause::Neighbour as usize], 100);
    let took = world.clock.now() - begin;
    assert!(took < Nanos::from_millis(200), "nothing is in flight, so no deadline is waited for: {took}");
}

/// Somebody should ask, and nobody does: that is not the target's fault.
#[test]
fn where_nobody_asks_nobody_waits_for_ever() {
    let plan = plan(vec![(group("g", Nanos::from_millis(100), Nanos::from_millis(100), Some(1)), 10)]);
    let mut world = on_link(&plan, 0, Rules::default(), 5);
    world.go_watched(Nanos::from_secs(100), |_, _| {});
    assert_eq!(world.snapshot().unsent[Cause::Neighbour as usize], 10);
}
