//! Prefixes of either family.

use echolot::base::Family;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of one family that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix {
    /// The first of them.
    pub address: IpAddr,
    /// How many bits.
    pub length: u8,
}

impl Prefix {
    /// Every address there is.
    pub const EVERYTHING: [Self; 2] = [
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 },
        Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 },
    ];

    /// The last of them.
    pub fn last(self) -> IpAddr {
        match self.address {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() | !(self.mask() >> 96) as u32).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() | !self.mask()).into(),
        }
    }

    /// Whether the address is one of them.
    pub fn contains(self, address: IpAddr) -> bool {
        Family::of(address) == Family::of(self.address) && bits(address) & self.mask() == bits(self.address)
    }

    /// As [`bits`] has them.
    fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0)
    }
}

/// An address's bits, from the highest on.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = |address: &str, length: Option<&str>| -> Option<Self> {
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let length = length.map_or(Some(most), |length| length.parse().ok())?;
            let prefix = Self { address, length };
            (length <= most && prefix.contains(address)).then_some(prefix)
        };
        let found = match text.split_once('/') {
            Some((address, length)) => read(address, Some(length)),
            None => read(&text, None),
        };
        found
            .ok_or_else(|| format!("{text:?} is neither an address nor a prefix such as 10.64.0.0/16 or fd00:64::/112"))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn prefixes_hold_addresses_of_their_family() {
        for (text, last, within, without) in [
            ("10.64.0.0/12", "10.79.255.255", "10.64.0.0", "10.80.0.0"),
            ("10.64.0.7", "10.64.0.7", "10.64.0.7", "10.64.0.8"),
            ("0.0.0.0/0", "255.255.255.255", "192.0.2.1", "::"),
            ("fd00:64::/108", "fd00:64::f:ffff", "fd00:64::8:1", "fd00:64::10:0"),
            ("fd00:64::7", "fd00:64::7", "fd00:64::7", "fd00:64::8"),
            ("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::1", "0.0.0.0"),
        ] {
            let prefix = Prefix::try_from(text.to_owned()).unwrap();
            assert_eq!(prefix.last(), last.parse::<IpAddr>().unwrap(), "{text}");
            assert!(prefix.contains(within.parse().unwrap()) && !prefix.contains(without.parse().unwrap()), "{text}");
        }
        for wrong in
            ["10.64.0.1/16", "10.0.0.0/33", "fd00:64::1/112", "fd00::/129", "10.64/16", "nobody", "fd00::%eth0"]
        {
            assert!(Prefix::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
