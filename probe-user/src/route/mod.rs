//! Source address, next hop and neighbour, from the kernel's tables, and the interface's condition.
//!
//! - `Routes::discover` asks the kernel which way each target lies: interface, next hop, source address.
//! - [`Watch`] resolves the next hops before the first probe, and then follows the kernel's tables for as long as it
//!   runs: neighbours into [`Hop`], the link into [`LinkState`]. Packet loops read both without a lock.
//!
//! Everything here runs on a control thread's tokio runtime, and talks to the network namespace of the thread that calls
//! [`connect`] or [`Watch::open`].

mod cache;
mod discover;
mod error;
mod features;
mod gateways;
pub(crate) mod genl;
mod interface;
mod life;
mod link;
mod netlink;
mod segments;
mod watch;

pub use discover::{Routes, Unrouted};
pub use error::{RouteError, Why};
pub use features::XdpFeatures;
pub use interface::{AttachedProgram, Interface, XdpMode};
pub use life::Life;
pub use link::LinkState;
pub use netlink::{clock_offset, connect};
pub use watch::{Resolution, Watch};

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Whether and where a next hop can be reached now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Its MAC address.
    Resolved([u8; 6]),
    /// Not known yet, or no longer: the kernel is asked.
    Unresolved,
}

/// A next hop: a gateway, or an on-link target that is its own. The MAC address is written by the watcher of the kernel's
/// tables and read by senders, one word, no lock.
#[derive(Debug)]
pub struct Hop {
    /// Whose MAC address it is.
    pub address: Ipv4Addr,
    /// What probes by this hop carry as source.
    pub source: Ipv4Addr,
    /// True where the hop is the target itself: unresolved is then the target's *unreachable*, else our *unsent*.
    pub on_link: bool,
    /// Of a gateway: whether it is alive.
    pub life: Life,
    /// Bit 63: resolved; low 48 bits: the MAC address, first byte highest.
    mac: AtomicU64,
}

/// All next hops; `Due::hop` is an index into it.
pub type Hops = [Hop];

const RESOLVED: u64 = 1 << 63;

impl Hop {
    /// A hop that is not resolved yet.
    pub fn new(address: Ipv4Addr, source: Ipv4Addr, on_link: bool) -> Self {
        Self { address, source, on_link, life: Life::default(), mac: AtomicU64::new(0) }
    }

    /// As the watcher last said.
    #[inline]
    pub fn neighbour(&self) -> Neighbour {
        let word = self.mac.load(Relaxed);
        if word & RESOLVED == 0 {
            return Neighbour::Unresolved;
        }
        let b = word.to_be_bytes();
        Neighbour::Resolved([b[2], b[3], b[4], b[5], b[6], b[7]])
    }

    /// The watcher's word.
    pub fn set(&self, neighbour: Neighbour) {
        let word = match neighbour {
            Neighbour::Unresolved => 0,
            Neighbour::Resolved(m) => RESOLVED | u64::from_be_bytes([0, 0, m[0], m[1], m[2], m[3], m[4], m[5]]),
        };
        self.mac.store(word, Relaxed);
    }
}

/// The hop of a target that has no route through the interface.
pub const NO_ROUTE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hop_keeps_every_mac_address(mac: [u8; 6]) {
            let hop = Hop::new(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, false);
            prop_assert_eq!(hop.neighbour(), Neighbour::Unresolved);
            hop.set(Neighbour::Resolved(mac));
            prop_assert_eq!(hop.neighbour(), Neighbour::Resolved(mac));
            hop.set(Neighbour::Unresolved);
            prop_assert_eq!(hop.neighbour(), Neighbour::Unresolved);
        }
    }
}
