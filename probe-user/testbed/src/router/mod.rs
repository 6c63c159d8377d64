//! A router on the way, in userspace: what routers do that Linux does not. It stands between two network namespaces, with a TUN
//! device in each, forwards packets of both families from one to the other, and says by rule what becomes of those whose time to
//! live ends here.
//!
//! ```text
//!   a namespace                                     another
//!   out0 ── TUN ──  this process: treats by rule  ── TUN ── in0
//! ```
//!
//! - [`rule`]: what a router does ([`Rule`]), as data;
//! - [`error`]: the error about a packet, in every form that a rule knows. Pure;
//! - [`treat`]: what becomes of a packet. Pure;
//! - [`Router`]: the devices, and the threads between them.

pub mod error;
mod packet;
pub mod rule;
mod running;
pub mod treat;
mod tun;

pub use rule::{Answer, Changes, Extension, Forwarding, Kind, Label, Object, Place, Quote, Rule, Sum};
pub use running::{Counts, End, Router};
pub use treat::{Own, Treated};

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that meets none fails")]
mod tests;
