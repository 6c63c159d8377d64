//! The words that all folders share: moments, whose probe, how it ended and why, where a stamp was taken. Uses nothing of the rest.

mod address;
mod background;
mod outcome;
mod probe;
mod quote;
mod repeated;
mod settlement;
mod sources;
mod time;

pub use address::{Address, AddressHandle, AddressTable, Destination, Family};
pub use background::in_background;
pub use outcome::{Cause, Outcome, PortState, Rcode, Reason, State};
pub use probe::{Generation, ProbeNumber, Sequence, ShapeIndex, Stamp, TargetIndex, Ttls};
pub use quote::{MplsLabel, MplsStack, Quote, QuoteProof};
pub use repeated::{RepeatedFault, Times};
pub use settlement::{Ended, Settlement};
pub use sources::{Source, Sources};
pub use time::Nanos;

#[cfg(test)]
pub(crate) use settlement::samples;
