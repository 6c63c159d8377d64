//! A part of the targets for each of several hosts.

use super::{hash_name, mix};
use std::{net::IpAddr, str::FromStr};

/// One of `count` parts.
///
/// A target belongs to a part by a hash of its address (or name) alone: hosts agree on it though their lists, groups or
/// seeds differ, and a target that is added moves no other. Parts are even to within chance: of a million targets in
/// ten parts, each has 100,000, give or take some hundred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Part `number` (1 to `count`) of `count`; None where there is no such part.
    pub fn new(number: u32, count: u32) -> Option<Self> {
        (number >= 1 && number <= count).then(|| Self { index: number - 1, count })
    }

    /// Whether the address is in this part.
    pub fn has_address(&self, address: IpAddr) -> bool {
        let number = match address {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => {
                let [network, host] = [address.to_bits() >> 64, address.to_bits()].map(|half| half as u64);
                mix(network) ^ host
            }
        };
        self.has(mix(number ^ 0x5348_4152_4400_0000))
    }

    /// Whether the name is in this part.
    pub fn has_name(&self, name: &str) -> bool {
        self.has(mix(hash_name(name) ^ 0x5348_4152_4400_0000))
    }

    /// About how many of `targets` are in this part.
    pub(super) fn share_of(&self, targets: u64) -> u64 {
        targets.div_ceil(u64::from(self.count))
    }

    /// The upper half of the hash as a fraction of 2^32, times the number of parts.
    fn has(&self, hash: u64) -> bool {
        ((hash >> 32) * u64::from(self.count)) >> 32 == u64::from(self.index)
    }
}

/// `I/N`, I from 1 to N.
impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once('/')
            .and_then(|(number, count)| Self::new(number.parse().ok()?, count.parse().ok()?))
            .ok_or_else(|| {
                let text = super::spec::shorten(text);
                format!("`{text}` is not a shard; write I/N with I from 1 to N, such as 1/4 for the first of four")
            })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn reads_i_of_n() {
        assert_eq!("1/1".parse(), Ok(Shard { index: 0, count: 1 }));
        assert_eq!("4/4".parse(), Ok(Shard { index: 3, count: 4 }));
        for text in ["", "1", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/4/4", "1/99999999999"] {
            assert!(text.parse::<Shard>().unwrap_err().contains("such as 1/4"), "{text}");
        }
    }

    #[test]
    fn parts_of_neighbouring_addresses_are_even() {
        for count in [2u32, 3, 7] {
            for number in 1..=count {
                let shard = Shard::new(number, count).unwrap();
                let has = (0..100_000u32).filter(|a| shard.has_address(Ipv4Addr::from(0x0a40_0000 + a).into())).count();
                let share = 100_000 / count as usize;
                assert!(has.abs_diff(share) < 1000, "{number}/{count}: {has}");
                let hosts = (0..100_000u128).map(|n| Ipv6Addr::from((0x2001_0db8 << 96) + n));
                let has = hosts.filter(|a| shard.has_address((*a).into())).count();
                assert!(has.abs_diff(share) < 1000, "IPv6, hosts of one network, {number}/{count}: {has}");
                let networks = (0..100_000u128).map(|n| Ipv6Addr::from((0x2001_0db8 << 96) + (n << 64) + 1));
                let has = networks.filter(|a| shard.has_address((*a).into())).count();
                assert!(has.abs_diff(share) < 1000, "IPv6, networks, {number}/{count}: {has}");
            }
        }
    }

    proptest! {
        #[test]
        fn each_target_is_in_exactly_one_part(address in any::<IpAddr>(), name in "[a-z.]{1,20}", count in 1u32..50) {
            let shards: Vec<Shard> = (1..=count).map(|n| Shard::new(n, count).unwrap()).collect();
            prop_assert_eq!(shards.iter().filter(|s| s.has_address(address)).count(), 1);
            prop_assert_eq!(shards.iter().filter(|s| s.has_name(&name)).count(), 1);
        }
    }
}
