//! A source of metrics with values that a test can recite.

use echolot::{
    base::{Cause, Nanos, Outcome, State, TargetIndex},
    discovery::SourceState,
    ledger::{Snapshot, SumRow, TargetRow, histogram::Histogram},
    metrics::{ReloadState, Source},
    nic::{InterfaceInfo, LocalDrops},
    targets::{Group, LabelSet, Plan, Sum, Target},
};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// Everything that a quote, a backslash and a line feed can break.
pub(crate) const NASTY: &str = "a \"b\" \\ c\nd <i>é</i> {x=\"y\"} # \\n";

pub(crate) struct Fake {
    plan: Mutex<Arc<Plan>>,
    pub(crate) snapshot: Snapshot,
    pub(crate) drops: Vec<LocalDrops>,
    sources: Vec<SourceState>,
    pub(crate) ready: AtomicBool,
}

impl Fake {
    fn new(plan: Plan, snapshot: Snapshot, drops: Vec<LocalDrops>) -> Self {
        Self { plan: Mutex::new(Arc::new(plan)), snapshot, drops, sources: Vec::new(), ready: AtomicBool::new(true) }
    }

    /// Any plan, without a number.
    pub(crate) fn with_plan(plan: Plan) -> Self {
        let snapshot = Snapshot { sums: vec![SumRow::default(); plan.sums.len()], ..Snapshot::default() };
        Self::new(plan, snapshot, Vec::new())
    }

    /// A reload to an equal plan.
    pub(crate) fn reload(&self) {
        let mut plan = self.plan.lock().unwrap();
        *plan = Arc::new(Plan::clone(&plan));
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
        let plan = Plan {
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
        };
        let snapshot = Snapshot {
            at: Nanos::from_secs(100),
            sums: (1..=4).map(row).collect(),
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
    fn plan(&self) -> Arc<Plan> {
        self.plan.lock().unwrap().clone()
    }

    fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// Up, down, unresolved, unknown, and again; the third and fourth have not answered yet.
    fn target(&self, index: TargetIndex) -> TargetRow {
        let state = [State::Up, State::Down, State::Unresolved, State::Unknown][index.0 as usize % 4];
        let answered = matches!(state, State::Up | State::Down);
        let n = u64::from(index.0);
        TargetRow {
            address: self.plan().address_of(index),
            state,
            probes: 10 * n + 6,
            settled: if answered { [10 * n, 1, 2, 0, 3] } else { [0; Outcome::ALL.len()] },
            rtt_sum: if answered { 1_500_000_000 + 123 * n } else { 0 },
            last_reply: answered.then(|| Nanos::from_millis(1500)),
        }
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

    fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    fn monotonic_to_unix(&self, moment: Nanos) -> f64 {
        1_795_212_000.0 + moment.as_secs_f64()
    }
}

fn group(name: &str, sum_by: &[&str], targets: std::ops::Range<u32>, per_target: bool) -> Group {
    Group {
        timeout: Nanos::from_millis(500),
        buckets: vec![0.00001, 0.0001, 0.001, 0.5],
        sum_by: sum_by.iter().map(ToString::to_string).collect(),
        per_target,
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
