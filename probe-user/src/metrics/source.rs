//! What the exposition asks the rest of the program for.

use crate::{
    base::{Nanos, TargetIndex},
    ledger::{Snapshot, TargetRow},
    nic::{InterfaceInfo, LocalDrops},
    targets::{Counts, Plan},
};
use std::{pin::Pin, sync::Arc};

/// What a scrape and the landing page are made from. An implementation reads counters only and never touches the
/// packet loops.
pub trait Source: Send + Sync + 'static {
    /// The plan in force. The same `Arc` until a reload replaces it: the exposition tells by its address whether what
    /// it reads still belongs together.
    fn plan(&self) -> Arc<Plan>;
    /// The sums, one row for each of `plan().sums`.
    fn snapshot(&self) -> Snapshot;
    /// One target's counters. `index` is a place in `plan().targets`.
    fn target(&self, index: TargetIndex) -> TargetRow;
    /// Frames that this machine dropped: one entry for every place and cause it can tell, those that are 0 included.
    fn drops(&self) -> Vec<LocalDrops>;
    /// The interface in use.
    fn interface(&self) -> InterfaceInfo;
    /// How the last reading of the configuration went.
    fn reload(&self) -> ReloadState;
    /// A hash of the configuration in force, of 48 bits; None where there is none.
    fn config_hash(&self) -> Option<u64> {
        None
    }
    /// Reads the configuration again and has it adopted; None where nobody may ask for it.
    fn reload_now(&self) -> Option<Reloading> {
        None
    }
    /// Whether sending has begun.
    fn is_ready(&self) -> bool;
    /// A moment on CLOCK_MONOTONIC in seconds since 1970.
    fn monotonic_to_unix(&self, moment: Nanos) -> f64;
}

/// What a reload comes to: how many targets stay, come and go, or why nothing has changed, in words for people.
pub type Reloading = Pin<Box<dyn Future<Output = Result<Counts, String>> + Send>>;

/// How the last reading of the configuration went; the one at the start counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReloadState {
    /// Whether it was taken over.
    pub successful: bool,
    /// When one was last taken over, seconds since 1970.
    pub at_unix_seconds: f64,
}

/// Why there is no exposition.
#[derive(Debug, thiserror::Error)]
pub enum ExpositionError {
    /// Half of it would have been of the old plan: better none than a wrong one.
    #[error("the configuration was reloaded while the metrics were read; scrape again")]
    Reloaded,
    /// A label name that Prometheus would refuse, and the whole scrape with it.
    #[error("group {group}: {why}")]
    Label {
        /// The group whose targets have the label.
        group: String,
        /// What is wrong with it.
        why: String,
    },
    /// The encoder refused a family.
    #[error("metrics could not be encoded: {0}")]
    Encode(#[from] prometheus::Error),
}
