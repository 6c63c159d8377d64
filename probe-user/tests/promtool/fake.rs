//! A source of metrics with values that a test can recite.

use echolot::{
    alert,
    base::{Cause, Nanos, Outcome, State, TargetIndex},
    discovery::SourceState,
    ledger::{Snapshot, SumRow, TargetRow, histogram::Histogram},
    metrics::{Pinned, Readiness, ReloadState, Source},
    nic::{InterfaceInfo, LocalDrops},
    targets::{Group, LabelSet, PathSettings, PerTarget, Plan, Sum, Target},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

/// Everything that a quote, a backslash and a line feed can break.
pub(crate) const NASTY: &str = "a \"b\" \\ c\nd <i>é</i> {x=\"y\"} # \\n";

pub(crate) struct Fake {
    plan: Mutex<Arc<Plan>>,
    pub(crate) snapshot: Snapshot,
    pub(crate) drops: Vec<LocalDrops>,
    sources: Vec<SourceState>,
    pub(crate) readiness: Mutex<Readiness>,
    /// Shown of groups that show unhealthy targets.
    pub(crate) unhealthy: Vec<u32>,
    shared: Arc<Shared>,
}

/// What changes while it is scraped.
#[derive(Default)]
struct Shared {
    /// Places that were given to others.
    gone: Mutex<BTreeSet<u32>>,
    /// How often a target was looked at: every look changes its state where that is wanted.
    looks: AtomicU64,
    changes: AtomicBool,
}

/// A plan and its counters.
struct Held {
    plan: Arc<Plan>,
    snapshot: Snapshot,
    unhealthy: Vec<u32>,
    shared: Arc<Shared>,
}

impl Fake {
    fn new(plan: Plan, snapshot: Snapshot, drops: Vec<LocalDrops>) -> Self {
        Self {
            plan: Mutex::new(Arc::new(plan)),
            snapshot,
            drops,
            sources: Vec::new(),
            readiness: Mutex::new(Readiness::Sending),
            unhealthy: Vec::new(),
            shared: Arc::default(),
        }
    }

    /// Any plan, without a number.
    pub(crate) fn with_plan(plan: Plan) -> Self {
        let snapshot = Snapshot { sums: vec![SumRow::default(); plan.sums.len()], ..Snapshot::default() };
        Self::new(plan, snapshot, Vec::new())
    }

    /// A reload to another plan.
    pub(crate) fn reload(&self, plan: Plan) {
        *self.plan.lock().unwrap() = Arc::new(plan);
    }

    pub(crate) fn plan(&self) -> Arc<Plan> {
        self.plan.lock().unwrap().clone()
    }

    /// This place has been given to another target.
    pub(crate) fn give_away(&self, index: u32) {
        self.shared.gone.lock().unwrap().insert(index);
    }

    /// From now on states change with every look.
    pub(crate) fn change_states(&self) {
        self.shared.changes.store(true, Relaxed);
    }

    /// The same with another policy of its first group.
    pub(crate) fn with_policy(self, per_target: PerTarget) -> Self {
        let mut plan = Plan::clone(&self.plan());
        plan.groups[0].per_target = per_target;
        self.reload(plan);
        self
    }

    /// One group with one target, and a few numbers.
    pub(crate) fn small() -> Self {
        let plan = Plan {
            groups: vec![group("edge", &["site"], 0..1, true)],
            sums: vec![Sum { group: 0, values: vec!["fra".into()] }],
            label_sets: vec![set(0, &[("site", "fra")])],
            targets: vec![Target::v4(Ipv4Addr::new(192, 0, 2, 7), 0)],
            ..Plan::default()
        };
        let row = SumRow {
            probes: 10,
            settled: [4, 1, 2, 0, 1],
            unsent: unsent([(Cause::Refused, 1)]),
            hops: 0,
            skipped: 3,
            late: 5,
            duplicate: 6,
            contradicted: 7,
            rtt: rtts([15, 15, 150, 40]),
            states: [0, 1, 0, 0],
            flapping: 0,
            path_changes: 2,
        };
        Self::new(
            plan,
            Snapshot { sums: vec![row], rejected: [1, 2, 3, 4, 5, 6, 7], resets: [7, 8], ..Snapshot::default() },
            Vec::new(),
        )
    }

    /// Several groups with different `sum_by`, names, labels that need escapes, and numbers everywhere.
    pub(crate) fn large() -> Self {
        let target = |last: u8, label_set| Target::v4(Ipv4Addr::new(10, 64, 0, last), label_set);
        let mut plan = Plan {
            groups: vec![
                group("edge", &["site", "rack"], 0..3, true),
                group("core", &[], 3..5, false),
                group(NASTY, &["owner"], 5..7, true),
            ],
            sums: vec![
                Sum { group: 0, values: vec!["fra".into(), String::new()] },
                Sum { group: 0, values: vec!["ams".into(), NASTY.into()] },
                Sum { group: 1, values: Vec::new() },
                Sum { group: 2, values: vec!["me".into()] },
            ],
            label_sets: vec![
                set(0, &[("site", "fra")]),
                set(1, &[("site", "ams"), ("rack", NASTY)]),
                // A name that would be refused, in a group that exports no series per target: harmless.
                set(2, &[("address", "not exported")]),
                set(3, &[("owner", "me")]),
            ],
            targets: vec![
                target(1, 0),
                target(2, 1),
                Target::unresolved(0),
                target(4, 2),
                target(5, 2),
                target(6, 3),
                target(7, 3),
            ],
            names: BTreeMap::from([(1, NASTY.into()), (2, "nowhere.example".into())]),
            ..Plan::default()
        };
        for kept in [0, 2] {
            plan.groups[kept].path = Some(PathSettings { interval: PathSettings::INTERVAL, flows: 1 });
        }
        let row = |n: u64| SumRow {
            probes: 1000 * n + 50,
            settled: [900 * n, 10 * n, 80 * n, 7 * n, 3 * n],
            unsent: unsent([(Cause::Window, n), (Cause::NoRoom, 2 * n)]),
            hops: 0,
            skipped: n,
            late: 2 * n,
            duplicate: 3 * n,
            contradicted: 4 * n,
            rtt: rtts((0..900 * n).map(|i| 20 + i % 1000)),
            states: [n, 2 * n, 3 * n, 4 * n],
            flapping: 0,
            path_changes: 2,
        };
        let snapshot = Snapshot {
            at: Nanos::from_secs(100),
            sums: (1..=4).map(row).collect(),
            paths: vec![SumRow { hops: 700, ..row(5) }, row(6)],
            rejected: [1, 2, 3, 4, 5, 6, 7],
            resets: [7, 8],
            unsent: [1; Cause::ALL.len()],
            send_lag: rtts((0..5000).map(|i| i % 300)),
            transmit_dwell: rtts((0..5000).map(|i| i % 40)),
            receive_delay: rtts(0..5000),
            held: [false, true, false],
            events_dropped: 3,
            results_dropped: 9,
            first_send: Some(Nanos::from_secs(1)),
            last_settled: Some(Nanos::from_secs(99)),
        };
        let drop = |(i, &(direction, cause)): (usize, &(&'static str, &'static str))| LocalDrops {
            interface: "eth0".into(),
            direction,
            cause,
            frames: 1000 * i as u64,
        };
        let drops = echolot::nic::DROP_CAUSES.iter().enumerate().map(drop).collect();
        let source = |source: &str, up, last_success| SourceState {
            group: "edge".into(),
            source: source.into(),
            up,
            targets: 7,
            failures: 3,
            last_success,
        };
        let sources = vec![source("t/*.json", Some(true), Some(1_795_212_000.5)), source(NASTY, None, None)];
        Self { sources, ..Self::new(plan, snapshot, drops) }
    }

    /// The same before the first probe.
    pub(crate) fn fresh() -> Self {
        let mut fake = Self::large();
        fake.snapshot = Snapshot { sums: vec![SumRow::default(); fake.snapshot.sums.len()], ..Snapshot::default() };
        fake
    }

    /// One group of many targets that all have series of their own.
    pub(crate) fn many(targets: u32) -> Self {
        let plan = Plan {
            groups: vec![group("all", &[], 0..targets, true)],
            sums: vec![Sum { group: 0, values: Vec::new() }],
            label_sets: vec![set(0, &[("site", "fra")])],
            targets: (0..targets).map(|i| Target::v4(Ipv4Addr::from_bits(0x0a40_0000 + i), 0)).collect(),
            ..Plan::default()
        };
        Self::with_plan(plan)
    }
}

impl Source for Fake {
    fn pin(&self) -> Arc<dyn Pinned> {
        Arc::new(Held {
            plan: self.plan(),
            snapshot: self.snapshot.clone(),
            unhealthy: self.unhealthy.clone(),
            shared: Arc::clone(&self.shared),
        })
    }

    fn drops(&self) -> Vec<LocalDrops> {
        self.drops.clone()
    }

    fn interface(&self) -> InterfaceInfo {
        InterfaceInfo {
            name: "eth0".into(),
            driver: "veth".into(),
            mode: "copy",
            engine: "afxdp",
            reason: "asked for".into(),
            queues: 2,
            up: true,
        }
    }

    fn reload(&self) -> ReloadState {
        ReloadState { successful: true, at_unix_seconds: 1_795_212_000.5 }
    }

    fn sources(&self) -> Vec<SourceState> {
        self.sources.clone()
    }

    fn alertmanagers(&self) -> Vec<alert::Status> {
        let status = |alertmanager: &str| alert::Status {
            alertmanager: alertmanager.into(),
            sent: 70,
            errors: 64,
            dropped: 3,
            waiting: 5,
            capacity: alert::CAPACITY,
            latency: rtts([1_500, 3_000_000]),
        };
        if self.sources.is_empty() { Vec::new() } else { vec![status("http://am.example:9093/"), status(NASTY)] }
    }

    fn vantage(&self) -> Option<String> {
        (!self.sources.is_empty()).then(|| NASTY.into())
    }

    fn readiness(&self) -> Readiness {
        *self.readiness.lock().unwrap()
    }

    fn monotonic_to_unix(&self, moment: Nanos) -> f64 {
        1_795_212_000.0 + moment.as_secs_f64()
    }
}

impl Pinned for Held {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    fn unhealthy(&self, group: usize) -> Vec<TargetIndex> {
        let targets = self.plan.groups[group].targets.clone();
        self.unhealthy.iter().filter(|index| targets.contains(index)).map(|index| TargetIndex(*index)).collect()
    }

    /// Up, down, unresolved, unknown, and again; the third and fourth have not answered yet.
    fn target(&self, index: TargetIndex) -> Option<TargetRow> {
        if self.shared.gone.lock().unwrap().contains(&index.0) {
            return None;
        }
        let looks = self.shared.looks.fetch_add(1, Relaxed);
        let state = [State::Up, State::Down, State::Unresolved, State::Unknown][index.0 as usize % 4];
        let state = if self.shared.changes.load(Relaxed) && looks.is_multiple_of(3) { State::Down } else { state };
        let answered = matches!(state, State::Up | State::Down);
        let n = u64::from(index.0);
        Some(TargetRow {
            path_hops: Some(7),
            address: self.plan.address_of(index),
            state,
            probes: 10 * n + 6,
            settled: if answered { [10 * n, 1, 2, 0, 3] } else { [0; Outcome::ALL.len()] },
            rtt_sum: if answered { 1_500_000_000 + 123 * n } else { 0 },
            last_reply: answered.then(|| Nanos::from_millis(1500)),
        })
    }
}

fn group(name: &str, sum_by: &[&str], targets: std::ops::Range<u32>, per_target: bool) -> Group {
    Group {
        timeout: Nanos::from_millis(500),
        buckets: vec![0.00001, 0.0001, 0.001, 0.5],
        sum_by: sum_by.iter().map(ToString::to_string).collect(),
        per_target: if per_target { PerTarget::All } else { PerTarget::None },
        targets,
        ..Group::named(name)
    }
}

fn set(sum: u32, labels: &[(&str, &str)]) -> LabelSet {
    LabelSet { labels: labels.iter().map(|&(k, v)| (k.into(), v.into())).collect(), sums: [sum; 3] }
}

/// Unsent probes by cause.
fn unsent<const N: usize>(many: [(Cause, u64); N]) -> [u64; Cause::ALL.len()] {
    let mut all = [0; Cause::ALL.len()];
    many.into_iter().for_each(|(cause, n)| all[cause as usize] = n);
    all
}

fn rtts(micros: impl IntoIterator<Item = u64>) -> echolot::ledger::histogram::Distribution {
    let histogram = Histogram::default();
    micros.into_iter().for_each(|micros| histogram.record(Nanos::from_micros(micros)));
    histogram.snapshot()
}
