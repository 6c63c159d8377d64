//! What echolot is tested and measured against, and no part of it.
//!
//! - [`Network`]: the traits of echolot's `worker` in memory, a seeded network of delay, loss, reordering and duplication, for IPv4 and
//!   IPv6;
//! - [`FarEnd`]: a far end on an interface, for requests that are answered by rule;
//! - [`chain`]: routers on the way, each a network namespace of its own;
//! - [`dns`]: a name server for reverse names and AS numbers that can be told to be slow, dead or wrong;
//! - [`router`]: a router on the way, for what routers do that Linux does not;
//! - [`routers`]: all routers on the way to all destinations, in one XDP program;
//! - [`bare`]: the loops under the transmit engines, and far ends that drop or keep silent.
//!
//! The far end and the simulated network go by the same rule files ([`rules`]), make the same frames of their decisions ([`forms`]) and
//! keep the same record ([`witness`]). What a rule file has no say in, because it happens on the prober's own side, is [`Near`].
//!
//! In the simulated network everything happens on one clock that only moves when the loop rests (and a little for each probe sent).
//! Frames are real: the loop's own wire code makes and reads them.

pub mod bare;
pub mod chain;
mod dice;
pub mod dns;
mod far;
pub mod forms;
pub mod kind;
mod near;
mod network;
mod numbers;
pub mod object;
mod prefix;
pub mod read;
pub mod router;
pub mod routers;
pub mod rules;
pub mod witness;

pub use far::{FarEnd, FrameSender, OpenedFarEnd, Treatment};
pub use near::{Card, Near, Silence};
pub use network::{FIRST_PORT, Facts, Network, SimClock, SimEngine, SimQueue};
pub use prefix::Prefix;
