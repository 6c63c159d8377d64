//! What scrapes, pages and views are made from: counters, read from outside the loops.

use crate::{
    base::{Nanos, TargetIndex},
    discovery::{Discovery, SourceState},
    health::Hold,
    ledger::{Snapshot, TargetRow, tally},
    metrics::{self, ReloadState},
    nic::{DropSampler, InterfaceInfo, LocalDrops},
    route::LinkState,
    targets::Plan,
    wire::RejectedReason,
    worker::Common,
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
    plan: Arc<Plan>,
    common: Arc<Common>,
    /// As it was when somebody last looked. Control threads only.
    interface: Mutex<InterfaceInfo>,
    link: Arc<LinkState>,
    loaded_at: f64,
    discovery: Option<Arc<Discovery>>,
    ready: AtomicBool,
    /// Flapping targets, by row of sums.
    flapping: Arc<[AtomicU64]>,
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
    pub(super) fn new(plan: Arc<Plan>, common: Arc<Common>, interface: InterfaceInfo, link: Arc<LinkState>) -> Self {
        Self {
            flapping: plan.sums.iter().map(|_| AtomicU64::new(0)).collect(),
            plan,
            common,
            interface: Mutex::new(interface),
            link,
            loaded_at: unix(SystemTime::now()),
            discovery: None,
            ready: AtomicBool::new(false),
            sampled: Mutex::default(),
        }
    }

    /// Targets come from there.
    pub(super) fn discovered_by(self, discovery: Option<Arc<Discovery>>) -> Self {
        Self { discovery, ..self }
    }

    /// Keeps what the sampler has found.
    pub(super) fn sampled(&self, sampler: &DropSampler) {
        let mut sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        sampled.drops = sampler.local_drops();
        sampled.rejected = sampler.rejected().unwrap_or_default();
    }

    /// Keeps for which reasons states are held.
    pub(super) fn held(&self, held: [bool; Hold::ALL.len()]) {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner).held = held;
    }

    /// Flapping targets, by row of sums: whoever recognises them counts them there.
    pub(super) fn flapping(&self) -> Arc<[AtomicU64]> {
        Arc::clone(&self.flapping)
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

impl metrics::Source for Source {
    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan)
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = tally::snapshot(&self.common.tallies, super::now());
        let sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.rejected.iter_mut().zip(sampled.rejected).for_each(|(sum, n)| *sum += n);
        snapshot.held = sampled.held;
        snapshot.events_dropped = self.common.changes.as_ref().map_or(0, |changes| changes.dropped());
        for (row, flapping) in snapshot.sums.iter_mut().zip(&*self.flapping) {
            row.flapping = flapping.load(Relaxed);
        }
        snapshot
    }

    fn target(&self, index: TargetIndex) -> TargetRow {
        self.common.ledger.account(index).shown()
    }

    fn drops(&self) -> Vec<LocalDrops> {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner).drops.clone()
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

    fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    fn monotonic_to_unix(&self, moment: Nanos) -> f64 {
        let ago = super::now() - moment;
        unix(SystemTime::now()) - ago.as_secs_f64()
    }
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
