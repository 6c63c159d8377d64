//! What echolot is tested and measured against, and no part of it.
//!
//! - [`Network`]: the traits of echolot's `worker` in memory, a seeded network of delay, loss, reordering and duplication;
//! - [`FarEnd`]: a far end on an interface, for requests that are answered by rule;
//! - [`bare`]: the loops under the transmit engines, and far ends that drop or keep silent.
//!
//! In the simulated network everything that a NIC and its far end would do happens on one clock that only moves when the loop rests (and a little for each
//! probe sent). Frames are real: the loop's own wire code makes and reads them.
//!
//! [`rules`] are the same for this network and for the far end of the bench.

pub mod bare;
mod dice;
mod far;
pub mod forms;
pub mod kind;
mod network;
mod numbers;
pub mod object;
pub mod read;
mod ruled;
pub mod rules;
pub mod witness;

pub use far::{FarEnd, FrameSender, OpenedFarEnd, Treatment};
pub use network::{Card, Facts, Network, Rules, Silence, SimClock, SimEngine, SimQueue};
