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

impl Sources {
    /// Of a list.
    ///
    /// # Errors
    /// Two of one family: says so, in words for people.
    pub fn from_addresses(addresses: impl IntoIterator<Item = IpAddr>) -> Result<Self, String> {
        let mut sources = Self::default();
        for address in addresses {
            let before = sources.of(Family::of(address));
            match (address, before) {
                (_, Some(before)) => {
                    let family = Family::of(address).name();
                    return Err(format!("{before} and {address} are both IPv{family}; give one source a family"));
                }
                (IpAddr::V4(address), None) => sources.v4 = Some(address),
                (IpAddr::V6(address), None) => sources.v6 = Some(address),
            }
        }
        Ok(sources)
    }

    /// These, and where there is none the others'.
    pub fn or(self, others: Self) -> Self {
        Self { v4: self.v4.or(others.v4), v6: self.v6.or(others.v6) }
    }
}

impl From<Option<Ipv4Addr>> for Sources {
    fn from(v4: Option<Ipv4Addr>) -> Self {
        Self { v4, v6: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_a_family() {
        let [a, b, c] =
            ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let sources = Sources::from_addresses([b, a]).expect("one of each");
        assert_eq!(Family::ALL.map(|family| sources.of(family)), [Some(a), Some(b)]);
        let other = Sources::from_addresses([c]).expect("one");
        assert_eq!(Family::ALL.map(|family| other.or(sources).of(family)), [Some(c), Some(b)]);
        let error = Sources::from_addresses([a, b, c]).expect_err("two of IPv4");
        assert_eq!(error, "192.0.2.1 and 192.0.2.2 are both IPv4; give one source a family");
    }
}
