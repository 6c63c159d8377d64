//! Paths that are kept beside what is measured: whether they change, and where they end when a target goes down.

use crate::{
    base::{Ended, Nanos, TargetIndex, Ttls},
    ledger::Ledger,
    path::{Change, Flows, Path, Tracer, Wanted, Way},
    results::LastHop,
    targets::{PathGroup, PathSettings, PathTargets, Plan},
    worker::Transition,
};
use crossbeam::channel::{self, Receiver, Sender};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{
            AtomicU8, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use super::paths::{Beside, Paths};

/// Paths that may wait for who writes events.
const FOUND: usize = 4_096;
/// Targets that went down and wait for their path at a time. Of a site that goes down whole, the path of the first says where it broke.
const MOST_HELD: usize = 1_024;
/// So many hops in a row that say nothing end a path.
const GAP: u8 = 5;
/// Targets under way at a time.
const UNDER_WAY: usize = 1_000;
/// How often a second a router may be asked, by all groups together.
const PER_HOP: f64 = 1_000.0;

/// What is shown of kept paths.
#[derive(Debug, Default)]
pub(crate) struct PathCounts {
    /// Changes, by row of sums.
    changes: Box<[AtomicU64]>,
    /// How far each target is, by the target that finds its path, from the first of those on; 0: nobody knows.
    hops: Box<[AtomicU8]>,
    first: u32,
    targets: PathTargets,
}

impl PathCounts {
    fn new(plan: &Plan, targets: PathTargets) -> Self {
        let first = targets.groups().first().map_or(0, |group| group.by.start);
        let end = targets.groups().last().map_or(first, |group| group.by.end);
        Self {
            changes: plan.sums.iter().map(|_| AtomicU64::new(0)).collect(),
            hops: (first..end).map(|_| AtomicU8::new(0)).collect(),
            first,
            targets,
        }
    }

    /// How often paths of a row's targets have changed.
    pub(super) fn changes(&self, row: usize) -> u64 {
        self.changes.get(row).map_or(0, |changes| changes.load(Acquire))
    }

    /// How many hops a target is away.
    pub(super) fn hops(&self, target: TargetIndex) -> Option<u8> {
        let by = self.targets.by(target)?;
        let hops = self.hops.get((by.0 - self.first) as usize)?.load(Relaxed);
        (hops > 0).then_some(hops)
    }
}

/// The two ends of keeping paths, and what is shown of it.
pub(super) struct Keeping {
    /// Who asks for the probes.
    pub(super) paths: Paths,
    /// Who follows what is found.
    pub(super) followed: Followed,
    /// Takes those whose path is to be found no more.
    pub(super) give_up: Sender<TargetIndex>,
}

/// For the targets of a plan whose paths are kept. `ledger` knows which of them have an address.
pub(super) fn keep(plan: &Plan, targets: PathTargets, ledger: &Ledger) -> Keeping {
    let (found, paths) = channel::bounded(FOUND);
    let (ask, at_once) = channel::bounded(MOST_HELD);
    let (give_up, given_up) = channel::unbounded();
    let has_address = |target: &TargetIndex| ledger.account(*target).address().is_some();
    let mut unresolved = Vec::new();
    let many = targets.groups().len();
    let tracer = |group: &PathGroup| {
        let (resolved, others): (Vec<_>, Vec<_>) = group.by.clone().map(TargetIndex).partition(has_address);
        unresolved.extend(others);
        (group.by.clone(), Tracer::new(wanted(group, many), Ttls::up_to(PathSettings::MOST), resolved))
    };
    let tracers = targets.groups().iter().map(tracer).collect();
    let counts = Arc::new(PathCounts::new(plan, targets.clone()));
    let beside = Some(Beside { at_once, unresolved, given_up });
    Keeping {
        paths: Paths { tracers, found, is_paused: Arc::default(), beside },
        followed: Followed { targets, paths, ask, counts, ways: HashMap::new(), held: VecDeque::new() },
        give_up,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn wanted(group: &PathGroup, groups: usize) -> Wanted {
    Wanted {
        first: 1,
        most: PathSettings::MOST,
        gap: GAP,
        flows: Flows::Exactly(group.settings.flows),
        rounds: None,
        interval: group.settings.interval,
        timeout: group.timeout,
        by_ports: group.kind.port().is_some(),
        per_hop: Some(PER_HOP / groups as f64),
        at_once: UNDER_WAY,
    }
}

/// Follows the paths that are found.
pub(super) struct Followed {
    targets: PathTargets,
    paths: Receiver<Path>,
    /// For whom a path is wanted at once.
    ask: Sender<TargetIndex>,
    counts: Arc<PathCounts>,
    /// By target and flow, as they were found last.
    ways: HashMap<(TargetIndex, u16), Way>,
    /// Who went down and waits for a path, the first that gives up first.
    held: VecDeque<Held>,
}

struct Held {
    transition: Transition,
    until: Nanos,
}

/// What a path that was found says.
pub(super) enum Finding {
    /// This target went down, and its path ends there.
    Down(Transition, LastHop),
    /// A target's path is another.
    Changed { target: TargetIndex, at: Nanos, flow: u16, change: Change },
    /// It is as it was, or the first.
    Same,
}

impl Followed {
    pub(super) fn counts(&self) -> Arc<PathCounts> {
        Arc::clone(&self.counts)
    }

    /// A target went down: asks for its path. Whether it will come, and is to be waited for.
    pub(super) fn hold(&mut self, transition: Transition, now: Nanos) -> bool {
        let Some(group) = self.targets.groups().iter().find(|group| group.targets.contains(&transition.target.0))
        else {
            return false;
        };
        let Some(by) = self.targets.by(transition.target) else { return false };
        // How far it is, its hops, and those behind where it was: each may be silent for as long.
        let until = now + Nanos(3 * group.timeout.0) + Nanos::from_secs(1);
        let takes = self.held.len() < MOST_HELD && self.ask.try_send(by).is_ok();
        if takes {
            self.held.push_back(Held { transition, until });
        }
        takes
    }

    /// What this target is still to be told of, for something else comes now.
    pub(super) fn release(&mut self, target: TargetIndex) -> Option<Transition> {
        let at = self.held.iter().position(|held| held.transition.target == target)?;
        self.held.remove(at).map(|held| held.transition)
    }

    /// The next that has waited long enough.
    pub(super) fn given_up(&mut self, now: Nanos) -> Option<Transition> {
        let at = self.held.iter().position(|held| held.until <= now)?;
        self.held.remove(at).map(|held| held.transition)
    }

    /// Whose path it is.
    pub(super) fn target(&self, path: &Path) -> Option<TargetIndex> {
        self.targets.of(path.target)
    }

    /// The next path that has been found.
    pub(super) fn next(&mut self) -> Option<Path> {
        self.paths.try_recv().ok()
    }

    /// Looks at one, to a target at `address` in this row of sums. What changed, and whose end it tells.
    pub(super) fn look(&mut self, path: &Path, address: std::net::IpAddr, row: usize) -> (Finding, Option<Finding>) {
        let Some(target) = self.targets.of(path.target) else { return (Finding::Same, None) };
        let way = self.ways.entry((target, path.flow)).or_default();
        let before = way.length();
        let change = way.follow(path, address);
        if path.flow == 0
            && let Some(hops) = self.counts.hops.get((path.target.0 - self.counts.first) as usize)
        {
            hops.store(way.length().unwrap_or(0), Relaxed);
        }
        let down = (path.flow == 0).then(|| self.down(target, path, address, before)).flatten();
        let Some(change) = change else { return (Finding::Same, down) };
        if let Some(changes) = self.counts.changes.get(row) {
            changes.fetch_add(1, Release);
        }
        (Finding::Changed { target, at: path.sent + path.took, flow: path.flow, change }, down)
    }

    /// Whether this one was sent since its target went down.
    fn down(
        &mut self,
        target: TargetIndex,
        path: &Path,
        address: std::net::IpAddr,
        hops: Option<u8>,
    ) -> Option<Finding> {
        let waits = |held: &Held| held.transition.target == target && held.transition.at <= path.sent;
        let at = self.held.iter().position(waits)?;
        let transition = self.held.remove(at)?.transition;
        // Who refuses a packet has passed it on to nobody: the router before says how far it came.
        let is_on_it = |ended| matches!(ended, Ended::Hop { .. } | Ended::Answered { .. });
        let last = path.hops.iter().rfind(|hop| is_on_it(hop.ended)).or_else(|| path.last_heard());
        let at = last.and_then(|hop| Some((hop.ttl, hop.address(address)?)));
        Some(Finding::Down(transition, LastHop { at, hops, reached: path.reached }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{MplsStack, Quote, QuoteProof, Reason, State},
        path::Hop,
        targets::Group,
    };
    use std::net::IpAddr;

    const TARGET: TargetIndex = TargetIndex(1);
    const BY: TargetIndex = TargetIndex(3);
    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 9, 9));

    fn followed() -> (Followed, Sender<Path>, Receiver<TargetIndex>) {
        let settings = PathSettings { interval: Nanos::from_secs(60), flows: 2 };
        let mut plan = Plan {
            groups: vec![Group { path: Some(settings), targets: 0..2, ..Group::named("g") }],
            targets: vec![crate::targets::Target::v4(std::net::Ipv4Addr::new(10, 9, 9, 9), 0); 2],
            sums: vec![crate::targets::Sum { group: 0, values: Vec::new() }],
            ..Plan::default()
        };
        plan.label_sets.push(crate::targets::LabelSet { labels: Default::default(), sums: [0; 3] });
        let (_, targets) = plan.with_paths().expect("paths are kept");
        assert_eq!(targets.by(TARGET), Some(BY));
        let (found, paths) = channel::bounded(8);
        let (ask, asked) = channel::bounded(8);
        let counts = Arc::new(PathCounts::new(&plan, targets.clone()));
        (Followed { targets, paths, ask, counts, ways: HashMap::new(), held: VecDeque::new() }, found, asked)
    }

    /// Routers by their last octet, 0 for one that says nothing; 9: the target; 100 and more: refused by that less 100.
    fn path(at: Nanos, flow: u16, hops: &[u8]) -> Path {
        let router = |n: u8| IpAddr::from([10, 0, 0, n]);
        let arrived = at + Nanos::from_millis(1);
        let ended = |n: u8| match n {
            0 => Ended::Lost,
            9 => Ended::Answered { arrived, ttl: 60, port: None, rcode: None },
            100.. => Ended::Refused { arrived, ttl: 60, from: router(n - 100), reason: Reason(1) },
            n => {
                let quote = Quote { ttl: 1, proof: QuoteProof::Cookie, is_translated: false, labels: MplsStack::EMPTY };
                Ended::Hop { arrived, ttl: 60, from: router(n), quote }
            }
        };
        let hops = (1..).zip(hops).map(|(ttl, n)| Hop { ttl, sent: at, ended: ended(*n) }).collect::<Vec<_>>();
        let reached = hops.last().is_some_and(|hop| matches!(hop.ended, Ended::Answered { .. }));
        Path { target: BY, round: 0, flow, reached, sent: at, took: Nanos::from_millis(1), hops, by_packet: false }
    }

    fn down(at: Nanos) -> Transition {
        Transition { target: TARGET, from: State::Up, to: State::Down, at }
    }

    #[test]
    fn a_change_is_told_by_flow_and_counted() {
        let (mut followed, ..) = followed();
        let at = Nanos::from_secs(5);
        for flow in [0, 1] {
            let (first, _) = followed.look(&path(at, flow, &[1, 2 + flow as u8, 9]), ADDRESS, 0);
            assert!(matches!(first, Finding::Same), "the first of a flow is none");
        }
        assert_eq!((followed.counts.hops(TARGET), followed.counts.hops(TargetIndex(0))), (Some(3), None));
        let (same, _) = followed.look(&path(at, 0, &[1, 0, 9]), ADDRESS, 0);
        assert!(matches!(same, Finding::Same), "who is silent has not changed");
        let (changed, _) = followed.look(&path(at, 1, &[1, 7, 9]), ADDRESS, 0);
        let Finding::Changed { target: TARGET, flow: 1, change, .. } = changed else { panic!("another router") };
        assert_eq!((change.ttl, followed.counts.changes(0)), (2, 1));
        let (broken, _) = followed.look(&path(at, 0, &[1, 2, 102]), ADDRESS, 0);
        assert!(matches!(broken, Finding::Same), "who refuses is not on the way");
    }

    #[test]
    fn who_goes_down_waits_for_a_path_that_was_found_since() {
        let (mut followed, _found, asked) = followed();
        let at = Nanos::from_secs(5);
        followed.look(&path(at, 0, &[1, 2, 3, 9]), ADDRESS, 0);
        assert!(followed.hold(down(at), at));
        assert_eq!(asked.try_recv(), Ok(BY));
        let (_, before) = followed.look(&path(at - Nanos(1), 0, &[1, 2, 3, 9]), ADDRESS, 0);
        let (_, other_flow) = followed.look(&path(at + Nanos(1), 1, &[1, 2]), ADDRESS, 0);
        assert!(before.is_none() && other_flow.is_none());
        let (_, end) = followed.look(&path(at + Nanos(1), 0, &[1, 2, 102, 0]), ADDRESS, 0);
        let Some(Finding::Down(transition, end)) = end else { panic!("its path was found") };
        assert_eq!(transition, down(at));
        let router = IpAddr::from([10, 0, 0, 2]);
        assert_eq!(end, LastHop { at: Some((2, router)), hops: Some(4), reached: false });
        assert!(followed.given_up(Nanos::MAX).is_none(), "told once");
    }

    #[test]
    fn nobody_waits_for_ever_nor_all_at_once() {
        let (mut followed, _found, asked) = followed();
        let at = Nanos::from_secs(5);
        assert!(followed.hold(down(at), at));
        assert!(followed.given_up(at + Nanos::from_secs(3)).is_none());
        assert_eq!(followed.given_up(at + Nanos::from_secs(4)), Some(down(at)));
        assert!(!followed.hold(Transition { target: BY, ..down(at) }, at), "not one whose path is kept");
        let many = (0..100).filter(|_| followed.hold(down(at), at)).count();
        assert_eq!(many, 7, "as many as there is room to ask for");
        assert_eq!(followed.release(TARGET), Some(down(at)));
        drop(asked);
        assert!(!followed.hold(down(at), at), "nobody finds paths any more");
    }
}
