//! What scrapes, pages and views are made from: counters, read from outside the loops.

use super::{followed::PathCounts, requests::Reloads, sources::Sources};
use crate::{
    alert::{self, Outbox},
    base::{Nanos, TargetIndex},
    discovery::SourceState,
    health::{Hold, Unhealthy},
    ledger::{Grown, Snapshot, TargetRow, tally},
    metrics::{self, Readiness, ReloadState},
    nic::{DropSampler, InterfaceInfo, LocalDrops},
    route::LinkState,
    targets::{Epoch, Epochs, PerTarget, Plan},
    wire::RejectedReason,
    worker::{Common, Phase},
};
use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// The one implementation of [`metrics::Source`].
pub(crate) struct Source {
    counters: Arc<Counters>,
    /// As it was when somebody last looked. Control threads only.
    interface: Mutex<InterfaceInfo>,
    link: Arc<LinkState>,
    reload: Mutex<ReloadState>,
    /// Of the configuration in force, see [`crate::config::hash`].
    hash: AtomicU64,
    /// Where a reload is asked for, if whoever reaches the HTTP server may.
    reloads: Option<Reloads>,
    sources: Option<Sources>,
    vantage: Option<String>,
    outboxes: Vec<Arc<Outbox>>,
    ready: AtomicBool,
}

/// What is counted, whatever the plan.
struct Counters {
    epochs: Epochs,
    common: Arc<Common>,
    /// Flapping targets, by row of the ledger.
    flapping: Arc<Grown<AtomicU64>>,
    /// What is shown of paths, where they are kept.
    paths: Option<Arc<PathCounts>>,
    /// Rows of the ledger that count what finds them.
    path_rows: Range<usize>,
    /// Control threads only.
    unhealthy: Arc<Mutex<Unhealthy>>,
    /// What the sampler last found. Control threads only: no loop ever waits for it.
    sampled: Mutex<Sampled>,
}

#[derive(Default)]
struct Sampled {
    drops: Vec<LocalDrops>,
    rejected: [u64; RejectedReason::ALL.len()],
    held: [bool; Hold::ALL.len()],
}

impl Source {
    /// `paths`: what is shown of those that are kept.
    pub(super) fn new(
        epochs: Epochs,
        common: Arc<Common>,
        interface: InterfaceInfo,
        link: Arc<LinkState>,
        paths: Option<Arc<PathCounts>>,
    ) -> Self {
        let plan = epochs.plan();
        let counters = Counters {
            flapping: Arc::new((0..common.ledger.rows()).map(|_| AtomicU64::new(0)).collect()),
            unhealthy: Arc::new(Mutex::new(unhealthy_of(&plan))),
            sampled: Mutex::default(),
            paths,
            path_rows: plan.sums.len()..common.ledger.rows(),
            epochs,
            common,
        };
        Self {
            counters: Arc::new(counters),
            interface: Mutex::new(interface),
            link,
            reload: Mutex::new(ReloadState { successful: true, at_unix_seconds: unix(SystemTime::now()) }),
            hash: AtomicU64::new(0),
            reloads: None,
            sources: None,
            vantage: None,
            outboxes: Vec::new(),
            ready: AtomicBool::new(false),
        }
    }

    /// Targets come from there.
    pub(super) fn discovered_by(self, sources: Option<Sources>) -> Self {
        Self { sources, ..self }
    }

    /// What this place of measuring is called.
    pub(super) fn at(self, vantage: Option<String>) -> Self {
        Self { vantage, ..self }
    }

    /// Alerts go there.
    pub(super) fn alerting(self, outboxes: Vec<Arc<Outbox>>) -> Self {
        Self { outboxes, ..self }
    }

    /// For which reasons states are held.
    pub(super) fn is_held(&self) -> [bool; Hold::ALL.len()] {
        self.counters.sampled.lock().unwrap_or_else(PoisonError::into_inner).held
    }

    /// Whose configuration has this hash, and may be asked by HTTP to read it again.
    pub(super) fn reloadable(self, hash: u64, reloads: Option<Reloads>) -> Self {
        Self { hash: AtomicU64::new(hash), reloads, ..self }
    }

    /// A configuration with this hash is in force.
    pub(super) fn reloaded(&self, hash: u64) {
        self.hash.store(hash, Relaxed);
        let now = ReloadState { successful: true, at_unix_seconds: unix(SystemTime::now()) };
        *self.reload.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// One was read that can't be.
    pub(super) fn not_reloaded(&self) {
        self.reload.lock().unwrap_or_else(PoisonError::into_inner).successful = false;
    }

    /// Keeps what the sampler has found.
    pub(super) fn sampled(&self, sampler: &DropSampler) {
        let mut sampled = self.counters.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        sampled.drops = sampler.local_drops();
        sampled.rejected = sampler.rejected().unwrap_or_default();
    }

    /// Keeps for which reasons states are held.
    pub(super) fn held(&self, held: [bool; Hold::ALL.len()]) {
        self.counters.sampled.lock().unwrap_or_else(PoisonError::into_inner).held = held;
    }

    /// Flapping targets, by row of sums: whoever recognises them counts them there.
    pub(super) fn flapping(&self) -> Arc<Grown<AtomicU64>> {
        Arc::clone(&self.counters.flapping)
    }

    /// Unhealthy targets: whoever recognises them enters them there.
    pub(super) fn unhealthy(&self) -> Arc<Mutex<Unhealthy>> {
        Arc::clone(&self.counters.unhealthy)
    }

    /// The plan.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        self.counters.epochs.plan()
    }

    /// The sums, one row for each of the plan's.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.counters.snapshot(&self.counters.epochs.now())
    }

    /// Keeps how the interface is attached to now: it may get queues and ports.
    pub(super) fn attached(&self, interface: &InterfaceInfo) {
        let mut kept = self.interface.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.queues, kept.mode) = (interface.queues, interface.mode);
    }

    /// Sending has begun.
    pub(super) fn ready(&self) {
        self.ready.store(true, Relaxed);
    }
}

/// An epoch, and what is counted in it.
struct HeldEpoch {
    epoch: Arc<Epoch>,
    counters: Arc<Counters>,
}

impl Counters {
    fn snapshot(&self, epoch: &Epoch) -> Snapshot {
        let mut snapshot = tally::snapshot(&self.common.tallies, super::now());
        // No row of the plan has them.
        snapshot.paths = snapshot.sums.get(self.path_rows.clone()).unwrap_or_default().to_vec();
        for row in &snapshot.paths {
            snapshot.unsent.iter_mut().zip(row.unsent).for_each(|(sum, n)| *sum -= n);
        }
        if let Some(paths) = &self.paths {
            snapshot.sums.iter_mut().enumerate().for_each(|(row, sum)| sum.path_changes = paths.changes(row));
        }
        let sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.rejected.iter_mut().zip(sampled.rejected).for_each(|(sum, n)| *sum += n);
        snapshot.held = sampled.held;
        snapshot.events_dropped = self.common.changes.as_ref().map_or(0, |changes| changes.dropped());
        for (row, flapping) in snapshot.sums.iter_mut().zip(self.flapping.iter()) {
            row.flapping = flapping.load(Relaxed);
        }
        snapshot.by(epoch)
    }
}

impl metrics::Pinned for HeldEpoch {
    fn plan(&self) -> &Plan {
        &self.epoch.plan
    }

    fn snapshot(&self) -> Snapshot {
        self.counters.snapshot(&self.epoch)
    }

    fn target(&self, index: TargetIndex) -> Option<TargetRow> {
        let (plan, now) = (&self.epoch.plan, self.counters.epochs.now());
        let is_other = now.number != self.epoch.number
            && (plan.name_of(index), plan.group_of(index).map(|group| &plan.groups[group].name))
                != (now.plan.name_of(index), now.plan.group_of(index).map(|group| &now.plan.groups[group].name));
        if is_other {
            return None;
        }
        let path_hops = self.counters.paths.as_ref().and_then(|paths| paths.hops(index));
        Some(TargetRow { path_hops, ..self.counters.common.ledger.account(index).shown() })
    }

    fn unhealthy(&self, group: usize) -> Vec<TargetIndex> {
        self.counters.unhealthy.lock().unwrap_or_else(PoisonError::into_inner).shown(group)
    }
}

/// Room for the unhealthy targets of a plan's groups, as far as these are shown.
pub(super) fn unhealthy_of(plan: &Plan) -> Unhealthy {
    Unhealthy::of(plan.groups.iter().map(|group| match group.per_target {
        PerTarget::Unhealthy => group.exported.most_targets,
        _ => 0,
    }))
}

impl metrics::Source for Source {
    fn pin(&self) -> Arc<dyn metrics::Pinned> {
        Arc::new(HeldEpoch { epoch: self.counters.epochs.now(), counters: Arc::clone(&self.counters) })
    }

    fn drops(&self) -> Vec<LocalDrops> {
        self.counters.sampled.lock().unwrap_or_else(PoisonError::into_inner).drops.clone()
    }

    fn interface(&self) -> InterfaceInfo {
        let interface = self.interface.lock().unwrap_or_else(PoisonError::into_inner).clone();
        InterfaceInfo { up: self.link.is_up(), ..interface }
    }

    fn reload(&self) -> ReloadState {
        *self.reload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config_hash(&self) -> Option<u64> {
        Some(self.hash.load(Relaxed)).filter(|hash| *hash != 0)
    }

    fn fixed(&self) -> Vec<(&'static str, String)> {
        self.sources.as_ref().map(Sources::fixed).unwrap_or_default()
    }

    fn reload_now(&self) -> Option<metrics::Reloading> {
        let reloads = self.reloads.clone()?;
        Some(Box::pin(async move { reloads.again().await }))
    }

    fn sources(&self) -> Vec<SourceState> {
        self.sources.as_ref().map(Sources::states).unwrap_or_default()
    }

    fn alertmanagers(&self) -> Vec<alert::Status> {
        self.outboxes.iter().map(|outbox| outbox.status()).collect()
    }

    fn vantage(&self) -> Option<String> {
        self.vantage.clone()
    }

    fn readiness(&self) -> Readiness {
        match (self.counters.common.phase(), self.ready.load(Relaxed)) {
            (Phase::Run, false) => Readiness::Starting,
            (Phase::Run, true) => Readiness::Sending,
            _ => Readiness::Ending,
        }
    }

    fn monotonic_to_unix(&self, moment: Nanos) -> f64 {
        let ago = super::now() - moment;
        unix(SystemTime::now()) - ago.as_secs_f64()
    }
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
