//! From a snapshot of the counters to the Prometheus exposition.
//!
//! | file | what lives there |
//! |---|---|
//! | `families` | every metric's name, type and help, and which label names are its own |
//! | `source` | what the exposition asks the rest of the program for |
//! | `sums` | the families of sums, through the prometheus crate |
//! | `series` | the series of single targets, streamed: a million targets are ten million lines |
//! | `process` | `process_*`, from /proc/self |
//!
//! A scrape reads counters and nothing else: it takes no lock that a packet loop could want. What each metric means
//! is told in docs/metrics.md, and a test holds the two against each other.

mod families;
mod process;
mod series;
mod source;
mod sums;

pub use crate::nic::DROP_CAUSES;
pub use families::{Family, Kind, RESERVED_LABELS, all as families, check_label_name};
pub use series::{CHUNK, TargetSeries, target_name};
pub use source::{ExpositionError, ReloadState, Source};
pub(crate) use sums::consistent;
pub use sums::sums;

use crate::{
    health::Hold,
    ledger::{Cause, Outcome, State, histogram::Distribution},
    time::Nanos,
    wire::RejectedReason,
};
use std::net::Ipv4Addr;

/// Everything that the sums show, at one moment. Settled counters were read before the entered ones.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was taken, CLOCK_MONOTONIC.
    pub at: Nanos,
    /// One row for each of `Plan::sums`, in that order.
    pub sums: Vec<SumRow>,
    /// Replies that failed their checks, indexed like `RejectedReason::ALL`.
    pub rejected: [u64; RejectedReason::ALL.len()],
    /// Probes that this machine did not send, of all rows, indexed like `Cause::ALL`.
    pub unsent: [u64; Cause::ALL.len()],
    /// From the configured due time to the hand-over to the engine.
    pub send_lag: Distribution,
    /// From the send stamp to the moment by which the probe was surely handed to the driver.
    pub transmit_dwell: Distribution,
    /// From the arrival stamp to the settling.
    pub receive_delay: Distribution,
    /// Results that were not written because their writer did not keep up.
    pub results_dropped: u64,
    /// Whether states are held, indexed like `Hold::ALL`.
    pub held: [bool; Hold::ALL.len()],
    /// Events that found their queue full, or could not be written.
    pub events_dropped: u64,
    /// First send.
    pub first_send: Option<Nanos>,
    /// Last moment at which a probe was settled.
    pub last_settled: Option<Nanos>,
}

/// The counters of one row of sums.
#[derive(Clone, Debug, Default)]
pub struct SumRow {
    /// Probes that came due, sent or not.
    pub probes: u64,
    /// Settled, indexed like `Outcome::ALL`.
    pub settled: [u64; Outcome::ALL.len()],
    /// Of the unsent ones, indexed like `Cause::ALL`. Read after `settled`, so there are no fewer.
    pub unsent: [u64; Cause::ALL.len()],
    /// Due times that passed without a probe.
    pub skipped: u64,
    /// Replies after their timeout.
    pub late: u64,
    /// Further replies to an answered probe, and further errors about one that was heard of.
    pub duplicate: u64,
    /// Replies to a probe settled as unreachable or unsent, and errors about an unsent one.
    pub contradicted: u64,
    /// Round-trip times.
    pub rtt: Distribution,
    /// Targets by state, indexed like `State::ALL`.
    pub states: [u64; State::ALL.len()],
    /// Targets that are flapping.
    pub flapping: u64,
}

impl SumRow {
    /// Entered and not yet settled.
    pub fn in_flight(&self) -> u64 {
        self.probes.saturating_sub(self.settled.iter().sum())
    }
}

/// What one target's own series show.
#[derive(Clone, Copy, Debug)]
pub struct TargetRow {
    /// None while its name is not resolved.
    pub address: Option<Ipv4Addr>,
    /// What it is held to be.
    pub state: State,
    /// Probes that came due.
    pub probes: u64,
    /// Settled, indexed like `Outcome::ALL`.
    pub settled: [u64; Outcome::ALL.len()],
    /// Sum of round-trip times, nanoseconds.
    pub rtt_sum: u64,
    /// When the last reply in time arrived, CLOCK_MONOTONIC; None before the first.
    pub last_reply: Option<Nanos>,
}

/// Frames that this machine dropped, by where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDrops {
    /// The interface's name.
    pub interface: String,
    /// "receive" or "transmit".
    pub direction: &'static str,
    /// One of a closed list, see docs/metrics.md.
    pub cause: &'static str,
    /// Frames so far.
    pub frames: u64,
}

/// What is known of the interface in use.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct InterfaceInfo {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// "zero-copy", "copy" or "generic".
    pub mode: &'static str,
    /// "afxdp" or "live-frames".
    pub engine: &'static str,
    /// Why this engine, for people.
    pub reason: String,
    /// Receive queues that have a socket.
    pub queues: usize,
    /// Up, with carrier.
    pub up: bool,
}
