//! When: pacing, and the deadlines of what is in flight. Pure.

mod flights;
mod pacer;

pub use flights::{Flights, Landed};
pub use pacer::{Pacer, Tick};
