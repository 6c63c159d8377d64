//! When: pacing, and the deadlines of what is in flight. Pure.

mod company;
mod flights;
mod pacer;

pub use company::Company;
pub use flights::{Flights, Landed};
pub use pacer::{LeftOut, Pacer, Tick};
