//! From a snapshot of the counters to the Prometheus exposition.
//!
//! | file | what lives there |
//! |---|---|
//! | `exposition` | a scrape, chunk by chunk: a million targets are ten million lines |
//! | `families` | every metric's name, type and help, and which label names are its own |
//! | `format` | how samples are written: the text format, OpenMetrics |
//! | `source` | what the exposition asks the rest of the program for |
//! | `sums` | the families of sums |
//! | `series` | the series of single targets |
//! | `local` | the families of this machine and program |
//! | `process` | `process_*`, from /proc/self |
//!
//! A scrape reads counters and nothing else: it takes no lock that a packet loop could want. What each metric means
//! is told in docs/metrics.md, and a test holds the two against each other.

mod exposition;
mod families;
mod format;
mod local;
mod process;
mod series;
mod source;
mod sums;

pub use exposition::{CHUNK, Exposition};
pub use families::{Family, Kind, all as families};
pub use format::Format;
pub use source::{ExpositionError, Pinned, Readiness, ReloadState, Reloading, Source};
