//! Source addresses that somebody asked for.

use super::Family;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What probes are to be sent from, for each family: a target's probes take one after the other. Where nothing is said the kernel
/// chooses.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sources {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

/// One of them for each family, which the kernel is asked for routes with; None where it is to choose.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Source {
    /// For IPv4.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Source {
    /// The one of a family.
    pub fn of(self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }
}

impl From<Ipv4Addr> for Source {
    fn from(v4: Ipv4Addr) -> Self {
        Self { v4: Some(v4), v6: None }
    }
}

impl Sources {
    /// The most of one family: replies are taken for twice as many, so that some can come while others go.
    pub const MOST: usize = 8;

    /// Of a list, in that order.
    ///
    /// # Errors
    /// One is there twice, or there are more than [`Sources::MOST`] of a family: says so, in words for people.
    pub fn from_addresses(addresses: impl IntoIterator<Item = IpAddr>) -> Result<Self, String> {
        let mut sources = Self::default();
        for address in addresses {
            if sources.all().any(|known| known == address) {
                return Err(format!("{address} is there twice; a source is given once"));
            }
            let family = Family::of(address);
            if sources.addresses(family).count() == Self::MOST {
                let (name, most) = (family.name(), Self::MOST);
                return Err(format!("{address} is one too many: at most {most} IPv{name} sources are taken in turn"));
            }
            match address {
                IpAddr::V4(address) => sources.v4.push(address),
                IpAddr::V6(address) => sources.v6.push(address),
            }
        }
        Ok(sources)
    }

    /// Those of a family, in turn.
    pub fn addresses(&self, family: Family) -> impl ExactSizeIterator<Item = IpAddr> {
        let many = match family {
            Family::V4 => self.v4.len(),
            Family::V6 => self.v6.len(),
        };
        let address = move |turn| match family {
            Family::V4 => IpAddr::V4(self.v4[turn]),
            Family::V6 => IpAddr::V6(self.v6[turn]),
        };
        (0..many).map(address)
    }

    /// All, those of IPv4 first.
    pub fn all(&self) -> impl Iterator<Item = IpAddr> {
        Family::ALL.into_iter().flat_map(|family| self.addresses(family))
    }

    /// How many probes of a family take turns: at least one, if only that of the kernel's choice.
    pub fn turns(&self, family: Family) -> u8 {
        u8::try_from(self.addresses(family).len()).unwrap_or(u8::MAX).max(1)
    }

    /// Whose turn it is, of both families; of one that has fewer turns, nobody's.
    pub fn of_turn(&self, turn: u8) -> Source {
        let turn = usize::from(turn);
        Source { v4: self.v4.get(turn).copied(), v6: self.v6.get(turn).copied() }
    }

    /// These, and of a family that has none the others'.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            v4: if self.v4.is_empty() { others.v4 } else { self.v4 },
            v6: if self.v6.is_empty() { others.v6 } else { self.v6 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_family_take_turns() {
        let [a, b, c] =
            ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let sources = Sources::from_addresses([b, a, c]).expect("each once");
        assert_eq!(sources.all().collect::<Vec<_>>(), [a, c, b]);
        assert_eq!(Family::ALL.map(|family| sources.turns(family)), [2, 1]);
        assert_eq!(Family::ALL.map(|family| sources.of_turn(0).of(family)), [Some(a), Some(b)]);
        assert_eq!(Family::ALL.map(|family| sources.of_turn(1).of(family)), [Some(c), None]);
        let none = Sources::default();
        assert_eq!((none.turns(Family::V4), none.of_turn(0)), (1, Source::default()));
    }

    #[test]
    fn a_family_that_is_said_replaces_all_of_it() {
        let [a, b, c] =
            ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let of = |addresses: &[IpAddr]| Sources::from_addresses(addresses.iter().copied()).expect("each once");
        assert_eq!(of(&[c]).or(of(&[a, b])), of(&[c, b]));
        assert_eq!(of(&[]).or(of(&[a, c])), of(&[a, c]));
    }

    #[test]
    fn twice_the_same_and_too_many_are_refused() {
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        let twice = Sources::from_addresses([1, 2, 1].map(address)).expect_err("twice");
        assert_eq!(twice, "192.0.2.1 is there twice; a source is given once");
        let many = Sources::from_addresses((1..=9).map(address)).expect_err("nine");
        assert_eq!(many, "192.0.2.9 is one too many: at most 8 IPv4 sources are taken in turn");
    }
}
