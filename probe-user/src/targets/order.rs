//! In which order a group's addresses are probed.
//!
//! A group's targets are spread evenly over its interval by their place in this order, so neighbours must stand far
//! apart in it: a burst into one subnet is what rate limiters punish and what fills a small site's uplink.
//!
//! Every /24 is spread over the whole order by itself: its k members stand k-ths of the order apart, and it begins at
//! a phase of its own. Phases are the bit-reversed network number, so that neighbouring networks take turns too and
//! every aligned block of addresses is spread evenly; for a block that is full this is the bit-reversed address. What
//! plain bit reversal lacks is evenness where a network has gaps: there it leaves the members as they happen to fall.

use super::mix;

/// The order that a seed gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    seed: u64,
}

impl Order {
    /// Every seed is as even as every other; the same seed gives the same order.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed: mix(seed) }
    }

    /// Sorts a network's members together, and among them neighbours far apart. Reversed by [`Order::address`].
    pub(super) fn rank(self, address: u32) -> u32 {
        let [a, b, c, host] = address.to_be_bytes();
        u32::from_be_bytes([a, b, c, host.reverse_bits() ^ self.byte()])
    }

    /// The address that has this rank.
    pub(super) fn address(self, rank: u32) -> u32 {
        let [a, b, c, host] = rank.to_be_bytes();
        u32::from_be_bytes([a, b, c, (host ^ self.byte()).reverse_bits()])
    }

    /// Lays out sorted, distinct ranks: calls `place` with each one's key, in the order given. Sorted by their keys,
    /// they stand in the order of the schedule.
    pub(super) fn keys<I>(self, ranks: I, mut place: impl FnMut(u32))
    where
        I: Iterator<Item = u32> + Clone,
    {
        let mut rest = ranks;
        while let Some(first) = rest.clone().next() {
            let network = first >> 8;
            let members = rest.clone().take_while(|rank| rank >> 8 == network).count() as u64;
            let phase = self.phase(network);
            for member in 0..members {
                rest.next();
                let key = ((member << 32) + u64::from(phase)) / members;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "(members - 1 + phase / 2^32) / members is below 1"
                )]
                place(key as u32);
            }
        }
    }

    /// Where in the order a /24 begins, as a fraction of 2^32. Each byte of the network number is reversed and turned
    /// by a hash of those before it: a full /16 still fills every slot once, and networks that are alike in their lower
    /// bytes (all of 10.*.0.0/24) do not begin together.
    fn phase(self, network: u32) -> u32 {
        let [_, a, b, c] = network.to_be_bytes();
        let turn = |prefix: u32, length: u64| mix(self.seed ^ (u64::from(prefix) << 8 | length)).to_be_bytes()[0];
        u32::from_be_bytes([
            c.reverse_bits() ^ turn(network >> 8, 2),
            b.reverse_bits() ^ turn(network >> 16, 1),
            a.reverse_bits() ^ turn(0, 0),
            0,
        ])
    }

    fn byte(self) -> u8 {
        self.seed.to_be_bytes()[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, HashMap};

    /// The addresses in the order of the schedule.
    fn ordered(addresses: impl IntoIterator<Item = u32>, seed: u64) -> Vec<u32> {
        let order = Order::new(seed);
        let ranks: BTreeSet<u32> = addresses.into_iter().map(|a| order.rank(a)).collect();
        let mut keys = Vec::new();
        order.keys(ranks.iter().copied(), |key| keys.push(key));
        let mut all: Vec<(u32, u32)> = keys.into_iter().zip(ranks.iter().map(|r| order.address(*r))).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, address)| address).collect()
    }

    /// Least and most members of each block of 2^host_bits addresses in any window of consecutive positions, the order
    /// going round as the schedule does.
    fn extremes(order: &[u32], window: usize, host_bits: u32) -> HashMap<u32, (usize, usize, usize)> {
        let mut totals: HashMap<u32, usize> = HashMap::new();
        for address in order {
            *totals.entry(address >> host_bits).or_default() += 1;
        }
        let mut inside: HashMap<u32, usize> = HashMap::new();
        for address in &order[..window] {
            *inside.entry(address >> host_bits).or_default() += 1;
        }
        let now = |inside: &HashMap<u32, usize>, block: &u32| inside.get(block).copied().unwrap_or(0);
        let mut all: HashMap<u32, (usize, usize, usize)> =
            totals.iter().map(|(b, n)| (*b, (*n, now(&inside, b), now(&inside, b)))).collect();
        for i in 0..order.len() {
            let (out, into) = (order[i] >> host_bits, order[(i + window) % order.len()] >> host_bits);
            *inside.entry(out).or_default() -= 1;
            *inside.entry(into).or_default() += 1;
            for block in [out, into] {
                let seen = now(&inside, &block);
                all.entry(block).and_modify(|(_, least, most)| {
                    *least = seen.min(*least);
                    *most = seen.max(*most);
                });
            }
        }
        all
    }

    /// Every block's share of every window is even to within `slack` beyond rounding.
    fn assert_even(order: &[u32], window: usize, host_bits: u32, slack: usize) {
        for (block, (total, least, most)) in extremes(order, window, host_bits) {
            let (low, high) = (total * window / order.len(), (total * window).div_ceil(order.len()));
            assert!(
                least + slack >= low && most <= high + slack,
                "{block:x}/{host_bits}: {total} of {} targets, {least} to {most} in {window} positions",
                order.len()
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// 10,000 neighbours at one probe a second each: in no 10 ms more than 3 probes to one /24.
        #[test]
        fn no_ten_milliseconds_hold_more_than_three_probes_to_a_network(first in 0..u32::MAX - 10_000, seed: u64) {
            let order = ordered(first..first + 10_000, seed);
            prop_assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), (first..first + 10_000).collect());
            for (network, (_, _, most)) in extremes(&order, 100, 8) {
                prop_assert!(most <= 3, "{network:x}00: {most}");
            }
        }

        #[test]
        fn contiguous_addresses_are_even_at_every_scale(first in 0..u32::MAX - 65_536, seed: u64, window in 1usize..5000) {
            let order = ordered(first..first + 65_536, seed);
            assert_even(&order, window, 8, 1);
            assert_even(&order, window, 12, 6);
        }

        #[test]
        fn sparse_addresses_are_even_in_each_network(seed: u64, networks in 1u32..200, draws in 200usize..20_000) {
            let base = 0x0a40_0000u32;
            let addresses = (0..draws as u64).map(|i| base + (mix(seed ^ i) % (u64::from(networks) << 8)) as u32);
            let order = ordered(addresses, seed);
            for share in [100, 20, 7, 2] {
                assert_even(&order, (order.len() / share).max(1), 8, 1);
            }
        }

        #[test]
        fn ranks_lead_back_to_addresses(address: u32, seed: u64) {
            let order = Order::new(seed);
            prop_assert_eq!(order.address(order.rank(address)), address);
        }
    }

    /// Routers at 10.x.0.1 beside a full /16: where the sparse ones stand must not empty or crowd a part of the order.
    #[test]
    fn a_regular_pattern_does_not_crowd() {
        let routers = (0..256u32 * 40).map(|i| 0x0b00_0001 + (i << 16) % 0x4000_0000 + ((i >> 10) << 8));
        let order = ordered(routers.chain(0x0a40_0000..0x0a41_0000), 0);
        assert_even(&order, order.len() / 100, 8, 1);
        assert_even(&order, order.len() / 100, 16, 30);
    }

    #[test]
    fn a_seed_changes_the_order_and_nothing_else() {
        let [a, b, again] = [1, 2, 1].map(|seed| ordered(0x0a00_0000..0x0a00_1000, seed));
        assert_eq!(a, again);
        assert_ne!(a, b);
        assert_eq!(a.iter().collect::<BTreeSet<_>>(), b.iter().collect::<BTreeSet<_>>());
    }
}
