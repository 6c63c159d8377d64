//! Source addresses that somebody asked for.

use super::Family;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What probes are to be sent from, for each family; where nothing is said the kernel chooses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sources {
    /// For IPv4.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Sources {
    /// The one of a family.
    pub fn of(self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }
}

impl From<Option<Ipv4Addr>> for Sources {
    fn from(v4: Option<Ipv4Addr>) -> Self {
        Self { v4, v6: None }
    }
}
