//! What scrapes, pages and views are made from: counters, read from outside the loops.

use super::requests::Reloads;
use crate::{
    base::{Nanos, TargetIndex},
    health::Hold,
    ledger::{Grown, Snapshot, TargetRow, tally},
    metrics::{self, ReloadState},
    nic::{DropSampler, InterfaceInfo, LocalDrops},
    route::LinkState,
    targets::{Epochs, Plan},
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
    epochs: Epochs,
    common: Arc<Common>,
    /// As it was when somebody last looked. Control threads only.
    interface: Mutex<InterfaceInfo>,
    link: Arc<LinkState>,
    reload: Mutex<ReloadState>,
    /// Of the configuration in force, see [`crate::config::hash`].
    hash: AtomicU64,
    /// Where a reload is asked for, if whoever reaches the HTTP server may.
    reloads: Option<Reloads>,
    ready: AtomicBool,
    /// Flapping targets, by row of the ledger.
    flapping: Arc<Grown<AtomicU64>>,
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
    pub(super) fn new(epochs: Epochs, common: Arc<Common>, interface: InterfaceInfo, link: Arc<LinkState>) -> Self {
        Self {
            flapping: Arc::new((0..common.ledger.rows()).map(|_| AtomicU64::new(0)).collect()),
            epochs,
            common,
            interface: Mutex::new(interface),
            link,
            reload: Mutex::new(ReloadState { successful: true, at_unix_seconds: unix(SystemTime::now()) }),
            hash: AtomicU64::new(0),
            reloads: None,
            ready: AtomicBool::new(false),
            sampled: Mutex::default(),
        }
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
        let mut sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        sampled.drops = sampler.local_drops();
        sampled.rejected = sampler.rejected().unwrap_or_default();
    }

    /// Keeps for which reasons states are held.
    pub(super) fn held(&self, held: [bool; Hold::ALL.len()]) {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner).held = held;
    }

    /// Flapping targets, by row of sums: whoever recognises them counts them there.
    pub(super) fn flapping(&self) -> Arc<Grown<AtomicU64>> {
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
        self.epochs.plan()
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = tally::snapshot(&self.common.tallies, super::now());
        let sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.rejected.iter_mut().zip(sampled.rejected).for_each(|(sum, n)| *sum += n);
        snapshot.held = sampled.held;
        snapshot.events_dropped = self.common.changes.as_ref().map_or(0, |changes| changes.dropped());
        for (row, flapping) in snapshot.sums.iter_mut().zip(self.flapping.iter()) {
            row.flapping = flapping.load(Relaxed);
        }
        snapshot.by(&self.epochs.now())
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
        *self.reload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config_hash(&self) -> Option<u64> {
        Some(self.hash.load(Relaxed)).filter(|hash| *hash != 0)
    }

    fn reload_now(&self) -> Option<metrics::Reloading> {
        let reloads = self.reloads.clone()?;
        Some(Box::pin(async move { reloads.again().await }))
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
