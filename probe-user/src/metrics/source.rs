//! What the exposition asks the rest of the program for.

use crate::{
    alert,
    base::{Nanos, TargetIndex},
    discovery::SourceState,
    ledger::{Snapshot, TargetRow},
    nic::{InterfaceInfo, LocalDrops},
    targets::{Counts, Plan},
};
use std::{pin::Pin, sync::Arc};

/// What a scrape and the landing page are made from. An implementation reads counters only and never touches the
/// packet loops.
pub trait Source: Send + Sync + 'static {
    /// What is in force now, to hold on to.
    fn pin(&self) -> Arc<dyn Pinned>;
    /// Frames that this machine dropped: one entry for every place and cause it can tell, those that are 0 included.
    fn drops(&self) -> Vec<LocalDrops>;
    /// The interface in use.
    fn interface(&self) -> InterfaceInfo;
    /// How the last reading of the configuration went.
    fn reload(&self) -> ReloadState;
    /// How the sources of targets fare, in the order of the configuration.
    fn sources(&self) -> Vec<SourceState> {
        Vec::new()
    }
    /// A hash of the configuration in force, of 48 bits; None where there is none.
    fn config_hash(&self) -> Option<u64> {
        None
    }
    /// What of the configuration in force takes a restart to change, by its keys.
    fn fixed(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    /// Reads the configuration again and has it adopted; None where nobody may ask for it.
    fn reload_now(&self) -> Option<Reloading> {
        None
    }
    /// What this place of measuring is called, if it has a name.
    fn vantage(&self) -> Option<String> {
        None
    }
    /// How those fare to whom alerts are pushed, in the order of the configuration.
    fn alertmanagers(&self) -> Vec<alert::Status> {
        Vec::new()
    }
    /// Whether probes are sent.
    fn readiness(&self) -> Readiness;
    /// A moment on CLOCK_MONOTONIC in seconds since 1970.
    fn monotonic_to_unix(&self, moment: Nanos) -> f64;
}

/// A plan and the counters that belong to it. They stay together for as long as somebody holds this, so a scrape ends as it began,
/// whatever is reloaded meanwhile.
pub trait Pinned: Send + Sync {
    /// The plan.
    fn plan(&self) -> &Plan;
    /// The sums, one row for each of `plan().sums`.
    fn snapshot(&self) -> Snapshot;
    /// One target's counters. `index` is a place in `plan().targets`. None where that place has been given to another target since: its
    /// counters are nobody's here.
    fn target(&self, index: TargetIndex) -> Option<TargetRow>;
    /// The targets that are shown of a group that shows unhealthy ones alone, by its place in `plan().groups`.
    fn unhealthy(&self, group: usize) -> Vec<TargetIndex>;
}

/// Whether probes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet.
    Starting,
    /// They are.
    Sending,
    /// No longer: what is in flight is waited for.
    Ending,
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
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpositionError {
    /// A label name that Prometheus would refuse, and the whole scrape with it.
    #[error("group {group}: {why}")]
    Label {
        /// The group whose targets have the label.
        group: String,
        /// What is wrong with it.
        why: String,
    },
}
