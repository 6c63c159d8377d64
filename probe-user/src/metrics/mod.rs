//! From a snapshot of the counters to the Prometheus exposition.
//!
//! | file | what lives there |
//! |---|---|
//! | `encode` | families and samples in the prometheus crate's form |
//! | `families` | every metric's name, type and help, and which label names are its own |
//! | `source` | what the exposition asks the rest of the program for |
//! | `sums` | the families of sums, through the prometheus crate |
//! | `series` | the series of single targets, streamed: a million targets are ten million lines |
//! | `process` | `process_*`, from /proc/self |
//!
//! A scrape reads counters and nothing else: it takes no lock that a packet loop could want. What each metric means
//! is told in docs/metrics.md, and a test holds the two against each other.

mod encode;
mod families;
mod process;
mod series;
mod source;
mod sums;

pub use families::{Family, Kind, all as families};
pub use series::{CHUNK, TargetSeries};
pub use source::{ExpositionError, ReloadState, Reloading, Source};
pub(crate) use sums::consistent;
pub use sums::sums;
