//! Which neighbours the kernel is asked about for us, and which we ask ourselves.

use super::{Hop, Hops};
use crate::base::Family;
use std::{fs, net::IpAddr};

/// The kernel's default for gc_thresh3, the most neighbours that it keeps of each family.
const NEIGHBOURS_AT_MOST: usize = 1024;
/// Our part of them: one in so many. The others are the host's, and those of hosts that ask for its address.
const SHARE: usize = 8;

/// How many entries of ours the kernel's neighbour tables are to hold at most: one for each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of those with IPv4 addresses.
    pub v4: usize,
    /// Of those with IPv6 addresses.
    pub v6: usize,
}

impl Share {
    /// Of one family.
    pub const fn of(self, family: Family) -> usize {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// What is ours of the tables of this kernel.
pub fn share_of_kernel() -> Share {
    let share = |family| neighbours_at_most(family) / SHARE;
    Share { v4: share(Family::V4), v6: share(Family::V6) }
}

/// How many neighbours of a family the kernel keeps at most.
pub fn neighbours_at_most(family: Family) -> usize {
    let version = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    // Other namespaces than the first have no such file, but the same limit.
    let file = fs::read_to_string(format!("/proc/sys/net/{version}/neigh/default/gc_thresh3"));
    file.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(NEIGHBOURS_AT_MOST)
}

/// Whom the kernel is asked about: gateways always, and targets on the link if all of their family together are no more than our share.
#[derive(Clone, Debug)]
pub struct KernelAsks {
    /// Ordered.
    gateways: Vec<IpAddr>,
    /// About everybody, by family.
    everybody: [bool; Family::ALL.len()],
}

impl KernelAsks {
    /// Of the hops that are used now, if our share is so much.
    pub fn of(hops: &Hops, share: Share) -> Self {
        let mut gateways: Vec<IpAddr> = hops.gateways().filter(|hop| hop.is_used()).map(|hop| hop.address).collect();
        gateways.sort_unstable();
        let mut counted = [0_usize; Family::ALL.len()];
        for hop in hops.iter().filter(|hop| hop.is_used()) {
            counted[hop.family() as usize] += 1;
            if Family::ALL.iter().all(|family| counted[*family as usize] > share.of(*family)) {
                break;
            }
        }
        let everybody = Family::ALL.map(|family| counted[family as usize] <= share.of(family));
        Self { gateways, everybody }
    }

    /// Whether it is asked about this one.
    pub fn about(&self, hop: &Hop) -> bool {
        hop.is_used()
            && (self.about_everybody(hop.family()) || !hop.on_link || self.gateways.binary_search(&hop.address).is_ok())
    }

    /// Whether it is asked about all of a family.
    pub fn about_everybody(&self, family: Family) -> bool {
        self.everybody[family as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn each_family_has_a_share_of_its_own() {
        let v4 = |n: u32| Hop::new(Ipv4Addr::from_bits(0x0a00_0000 + n), Ipv4Addr::LOCALHOST, true);
        let v6 = |n: u128| Hop::new(Ipv6Addr::from_bits(0xfd << 120 | n), Ipv6Addr::LOCALHOST, true);
        let share = Share { v4: 3, v6: 2 };
        let asks = |few, many| KernelAsks::of(&(0..few).map(v4).chain((0..many).map(v6)).collect(), share).everybody;
        assert_eq!(asks(3, 2), [true, true]);
        assert_eq!(asks(4, 2), [false, true]);
        assert_eq!(asks(3, 3), [true, false]);
        assert_eq!(asks(40, 30), [false, false]);
        let gateway = Hop::new(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, false);
        let hops: Hops = (0..9).map(v6).chain([gateway]).collect();
        let asks = KernelAsks::of(&hops, share);
        assert_eq!(hops.iter().filter(|hop| asks.about(hop)).count(), 1, "the gateway");
    }
}
