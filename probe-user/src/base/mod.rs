//! The words that all folders share: moments, whose probe, how it ended and why, where a stamp was taken. Uses nothing of the rest.

mod outcome;
mod probe;
mod time;

pub use outcome::{Cause, Outcome, State};
pub use probe::{Generation, ProbeNumber, Sequence, Stamp, TargetIndex};
pub use time::Nanos;
