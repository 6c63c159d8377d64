//! What scrapes, pages and views are made from: counters, read from outside the loops.

use crate::{
    ledger::tally,
    metrics::{self, InterfaceInfo, LocalDrops, ReloadState, Snapshot, TargetRow},
    nic::DropSampler,
    route::LinkState,
    targets::Plan,
    time::Nanos,
    wire::{RejectedReason, TargetIndex},
    worker::Common,
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// The one implementation of [`metrics::Source`].
pub(in crate::cli) struct Source {
    plan: Arc<Plan>,
    common: Arc<Common>,
    interface: InterfaceInfo,
    link: Arc<LinkState>,
    loaded_at: f64,
    ready: AtomicBool,
    /// What the sampler last found. Control threads only: no loop ever waits for it.
    sampled: Mutex<Sampled>,
}

#[derive(Default)]
struct Sampled {
    drops: Vec<LocalDrops>,
    rejected: [u64; RejectedReason::ALL.len()],
}

impl Source {
    pub(super) fn new(plan: Arc<Plan>, common: Arc<Common>, interface: InterfaceInfo, link: Arc<LinkState>) -> Self {
        Self {
            plan,
            common,
            interface,
            link,
            loaded_at: unix(SystemTime::now()),
            ready: AtomicBool::new(false),
            sampled: Mutex::default(),
        }
    }

    /// Keeps what the sampler has found.
    pub(super) fn sampled(&self, sampler: &DropSampler) {
        let sampled = Sampled { drops: sampler.local_drops(), rejected: sampler.rejected().unwrap_or_default() };
        *self.sampled.lock().unwrap_or_else(PoisonError::into_inner) = sampled;
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
        snapshot
    }

    fn target(&self, index: TargetIndex) -> TargetRow {
        self.common.ledger.target_row(index)
    }

    fn drops(&self) -> Vec<LocalDrops> {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner).drops.clone()
    }

    fn interface(&self) -> InterfaceInfo {
        InterfaceInfo { up: self.link.is_up(), ..self.interface.clone() }
    }

    fn reload(&self) -> ReloadState {
        ReloadState { successful: true, at_unix_seconds: self.loaded_at }
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
