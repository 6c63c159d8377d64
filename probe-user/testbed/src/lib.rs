//! The traits of echolot's `worker` in memory: a seeded network of delay, loss, reordering and duplication. For tests and benchmarks; no
//! part of the program.
//!
//! Everything that a NIC and its far end would do happens on one clock that only moves when the loop rests (and a little for each
//! probe sent). Frames are real: the loop's own wire code makes and reads them.
//!
//! [`rules`] are the same for this network and for the far end of the bench.

mod dice;
pub mod forms;
pub mod kind;
mod network;
mod numbers;
pub mod read;
mod ruled;
pub mod rules;
pub mod witness;

pub use network::{Card, Facts, Network, Rules, Silence, SimClock, SimEngine, SimQueue};
