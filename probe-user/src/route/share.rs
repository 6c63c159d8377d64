//! Which neighbours the kernel is asked about for us, and which we ask ourselves.

use super::{Hop, Hops};
use std::{fs, net::Ipv4Addr};

/// The kernel's default for gc_thresh3, the most neighbours that it keeps.
const NEIGHBOURS_AT_MOST: usize = 1024;
/// Our part of them: one in so many. The others are the host's, and those of hosts that ask for its address.
const SHARE: usize = 8;

/// How many entries of ours the kernel's neighbour table is to hold at most.
pub fn share_of_kernel() -> usize {
    neighbours_at_most() / SHARE
}

/// How many neighbours the kernel keeps at most.
pub fn neighbours_at_most() -> usize {
    // Other namespaces than the first have no such file, but the same limit.
    let file = fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3");
    file.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(NEIGHBOURS_AT_MOST)
}

/// Whom the kernel is asked about: gateways always, and targets on the link if all together are no more than our share.
#[derive(Clone, Debug)]
pub struct KernelAsks {
    /// Ordered.
    gateways: Vec<Ipv4Addr>,
    everybody: bool,
}

impl KernelAsks {
    /// Of the hops that are used now, if our share is so much.
    pub fn of(hops: &Hops, share: usize) -> Self {
        let mut gateways: Vec<Ipv4Addr> = hops.gateways().filter(|hop| hop.is_used()).map(|hop| hop.address).collect();
        gateways.sort_unstable();
        let everybody = hops.iter().filter(|hop| hop.is_used()).take(share.saturating_add(1)).count() <= share;
        Self { gateways, everybody }
    }

    /// Whether it is asked about this one.
    pub fn about(&self, hop: &Hop) -> bool {
        hop.is_used() && (self.everybody || !hop.on_link || self.gateways.binary_search(&hop.address).is_ok())
    }

    /// Whether it is asked about all.
    pub fn about_everybody(&self) -> bool {
        self.everybody
    }
}
