//! What scrapes, pages and views are made from: counters, read from outside the loops.

use super::followed::PathCounts;
use crate::{
    base::{Nanos, TargetIndex},
    discovery::{Discovery, SourceState},
    health::{Hold, Unhealthy},
    ledger::{Snapshot, TargetRow, tally},
    metrics::{self, Readiness, ReloadState},
    nic::{DropSampler, InterfaceInfo, LocalDrops},
    route::LinkState,
    targets::{PerTarget, Plan},
    wire::RejectedReason,
    worker::{Common, Phase},
};
use std::{
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
    loaded_at: f64,
    discovery: Option<Arc<Discovery>>,
    ready: AtomicBool,
}

/// A plan and what is counted for it.
struct Counters {
    plan: Arc<Plan>,
    common: Arc<Common>,
    /// Flapping targets, by row of sums.
    flapping: Arc<[AtomicU64]>,
    /// What is shown of paths, where they are kept.
    paths: Option<Arc<PathCounts>>,
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
        plan: Arc<Plan>,
        common: Arc<Common>,
        interface: InterfaceInfo,
        link: Arc<LinkState>,
        paths: Option<Arc<PathCounts>>,
    ) -> Self {
        let most = plan.groups.iter().map(|group| match group.per_target {
            PerTarget::Unhealthy => group.exported.most_targets,
            _ => 0,
        });
        let counters = Counters {
            flapping: plan.sums.iter().map(|_| AtomicU64::new(0)).collect(),
            unhealthy: Arc::new(Mutex::new(Unhealthy::of(most))),
            sampled: Mutex::default(),
            paths,
            plan,
            common,
        };
        Self {
            counters: Arc::new(counters),
            interface: Mutex::new(interface),
            link,
            loaded_at: unix(SystemTime::now()),
            discovery: None,
            ready: AtomicBool::new(false),
        }
    }

    /// Targets come from there.
    pub(super) fn discovered_by(self, discovery: Option<Arc<Discovery>>) -> Self {
        Self { discovery, ..self }
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
    pub(super) fn flapping(&self) -> Arc<[AtomicU64]> {
        Arc::clone(&self.counters.flapping)
    }

    /// Unhealthy targets: whoever recognises them enters them there.
    pub(super) fn unhealthy(&self) -> Arc<Mutex<Unhealthy>> {
        Arc::clone(&self.counters.unhealthy)
    }

    /// The plan.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.counters.plan)
    }

    /// The sums, one row for each of the plan's.
    pub(crate) fn snapshot(&self) -> Snapshot {
        metrics::Pinned::snapshot(&*self.counters)
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

impl metrics::Pinned for Counters {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = tally::snapshot(&self.common.tallies, super::now());
        // Behind the rows of the plan come those of what finds paths.
        snapshot.paths = snapshot.sums.split_off(self.plan.sums.len().min(snapshot.sums.len()));
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
        for (row, flapping) in snapshot.sums.iter_mut().zip(&*self.flapping) {
            row.flapping = flapping.load(Relaxed);
        }
        snapshot
    }

    fn target(&self, index: TargetIndex) -> Option<TargetRow> {
        let path_hops = self.paths.as_ref().and_then(|paths| paths.hops(index));
        Some(TargetRow { path_hops, ..self.common.ledger.account(index).shown() })
    }

    fn unhealthy(&self, group: usize) -> Vec<TargetIndex> {
        self.unhealthy.lock().unwrap_or_else(PoisonError::into_inner).shown(group)
    }
}

impl metrics::Source for Source {
    fn pin(&self) -> Arc<dyn metrics::Pinned> {
        Arc::clone(&self.counters) as _
    }

    fn drops(&self) -> Vec<LocalDrops> {
        self.counters.sampled.lock().unwrap_or_else(PoisonError::into_inner).drops.clone()
    }

    fn interface(&self) -> InterfaceInfo {
        let interface = self.interface.lock().unwrap_or_else(PoisonError::into_inner).clone();
        InterfaceInfo { up: self.link.is_up(), ..interface }
    }

    fn reload(&self) -> ReloadState {
        ReloadState { successful: true, at_unix_seconds: self.loaded_at }
    }

    fn sources(&self) -> Vec<SourceState> {
        self.discovery.as_ref().map(|discovery| discovery.states()).unwrap_or_default()
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
