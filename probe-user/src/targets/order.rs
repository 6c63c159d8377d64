//! In which order a group's addresses are probed.
//!
//! A group's targets are spread evenly over its interval by their place in this order, so neighbours must stand far
//! apart in it: a burst into one subnet is what rate limiters punish and what fills a small site's uplink.
//!
//! Every network (a /24 of IPv4, a /64 of IPv6) is spread over the whole order by itself: its k members stand k-ths of the
//! order apart, and it begins at a phase of its own. Phases are the bit-reversed network number, so that neighbouring networks
//! take turns too and every aligned block of addresses is spread evenly; for a block that is full this is the bit-reversed
//! address. What plain bit reversal lacks is evenness where a network has gaps: there it leaves the members as they happen to
//! fall.

use super::{mix, span::Number};

/// The order that a seed gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    seed: u64,
}

/// An address, as the order sees it.
pub(super) trait Ordered: Number {
    /// Which network it is in.
    fn network(self) -> u64;
    /// Sorts a network's members together, and among them neighbours far apart. Reversed by [`Ordered::of_rank`].
    fn rank(self, order: Order) -> Self;
    /// The address that has this rank.
    fn of_rank(rank: Self, order: Order) -> Self;
    /// Where in the order a network begins, as a fraction of 2^32.
    fn phase(network: u64, order: Order) -> u32;

    /// A rank and the number of a list in one: sorted, they stand by their ranks, and those of one rank by their lists.
    type Ranked: Copy + Ord;
    /// Makes one.
    fn ranked(rank: Self, list: u32) -> Self::Ranked;
    /// Takes it apart.
    fn of_ranked(ranked: Self::Ranked) -> (Self, u32);
}

impl Order {
    /// Every seed is as even as every other; the same seed gives the same order.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed: mix(seed) }
    }

    /// Lays out sorted, distinct ranks: calls `place` with each one's key, in the order given. Sorted by their keys,
    /// they stand in the order of the schedule.
    pub(super) fn keys<A, I>(self, ranks: I, mut place: impl FnMut(u32))
    where
        A: Ordered,
        I: Iterator<Item = A> + Clone,
    {
        let mut rest = ranks;
        while let Some(first) = rest.clone().next() {
            let network = first.network();
            let members = rest.clone().take_while(|rank| rank.network() == network).count() as u64;
            let phase = A::phase(network, self);
            for member in 0..members {
                rest.next();
                // Fewer than 2^32 members: there are no more targets.
                let key = ((member << 32) + u64::from(phase)) / members;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "(members - 1 + phase / 2^32) / members is below 1"
                )]
                place(key as u32);
            }
        }
    }

    /// A phase of four bytes of a network number, the fastest first; each is reversed and turned by a hash of those before it: a
    /// full /16 of IPv4 still fills every slot once, and networks that are alike in their lower bytes (all of 10.*.0.0/24) do not
    /// begin together.
    fn phase<const BYTES: usize>(self, network: u64) -> u32 {
        let mut phase = [0; 4];
        for (level, byte) in phase.iter_mut().enumerate().take(BYTES) {
            let shift = 8 * level;
            let [.., own] = (network >> shift).to_be_bytes();
            let before = (network >> shift) >> 8;
            let depth = (BYTES - 1 - level) as u64;
            let turn = mix(self.seed ^ (before << 8 | depth)).to_be_bytes()[0];
            *byte = own.reverse_bits() ^ turn;
        }
        u32::from_be_bytes(phase)
    }

    fn byte(self) -> u8 {
        self.seed.to_be_bytes()[0]
    }
}

impl Ordered for u32 {
    fn network(self) -> u64 {
        (self >> 8).into()
    }

    fn rank(self, order: Order) -> Self {
        let [a, b, c, host] = self.to_be_bytes();
        Self::from_be_bytes([a, b, c, host.reverse_bits() ^ order.byte()])
    }

    fn of_rank(rank: Self, order: Order) -> Self {
        let [a, b, c, host] = rank.to_be_bytes();
        Self::from_be_bytes([a, b, c, (host ^ order.byte()).reverse_bits()])
    }

    fn phase(network: u64, order: Order) -> u32 {
        order.phase::<3>(network)
    }

    type Ranked = u64;

    fn ranked(rank: Self, list: u32) -> u64 {
        u64::from(rank) << 32 | u64::from(list)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    fn of_ranked(ranked: u64) -> (Self, u32) {
        ((ranked >> 32) as Self, ranked as u32)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "halves of an address")]
impl Ordered for u128 {
    fn network(self) -> u64 {
        (self >> 64) as u64
    }

    fn rank(self, order: Order) -> Self {
        Self::from(self.network()) << 64 | Self::from((self as u64).reverse_bits() ^ order.seed)
    }

    fn of_rank(rank: Self, order: Order) -> Self {
        Self::from(rank.network()) << 64 | Self::from((rank as u64 ^ order.seed).reverse_bits())
    }

    fn phase(network: u64, order: Order) -> u32 {
        order.phase::<4>(network)
    }

    type Ranked = (Self, u32);

    fn ranked(rank: Self, list: u32) -> (Self, u32) {
        (rank, list)
    }

    fn of_ranked(ranked: (Self, u32)) -> (Self, u32) {
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, HashMap};

    /// The addresses in the order of the schedule.
    fn ordered<A: Ordered>(addresses: impl IntoIterator<Item = A>, seed: u64) -> Vec<A> {
        let order = Order::new(seed);
        let ranks: BTreeSet<A> = addresses.into_iter().map(|a| a.rank(order)).collect();
        let mut keys = Vec::new();
        order.keys(ranks.iter().copied(), |key| keys.push(key));
        let mut all: Vec<(u32, A)> = keys.into_iter().zip(ranks.iter().map(|r| A::of_rank(*r, order))).collect();
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
        fn ranks_lead_back_to_addresses(v4: u32, v6: u128, seed: u64, list: u32) {
            let order = Order::new(seed);
            prop_assert_eq!(u32::of_rank(v4.rank(order), order), v4);
            prop_assert_eq!(u128::of_rank(v6.rank(order), order), v6);
            prop_assert_eq!(u32::of_ranked(u32::ranked(v4, list)), (v4, list));
            prop_assert_eq!(u128::of_ranked(u128::ranked(v6, list)), (v6, list));
        }

        /// A full /112 lies in one network; hosts alone in their /64s lie in many: both as IPv4 does, by their last 16 bits.
        #[test]
        fn ipv6_is_even_in_a_network_and_over_networks(network: u64, seed: u64, window in 1usize..5000) {
            let base = u128::from(network) << 64;
            let hosts = ordered((0..65_536).map(|n| base | 0x7_0000 | n), seed);
            prop_assert_eq!(hosts.iter().copied().collect::<BTreeSet<_>>().len(), 65_536);
            let low = |a: &u128| *a as u16;
            assert_even(&hosts.iter().map(|a| u32::from(low(a))).collect::<Vec<_>>(), window, 8, 1);
            let base = base & !(0xffff << 64);
            let networks = ordered((0..65_536).map(|n| base | n << 64 | 1), seed);
            assert_even(&networks.iter().map(|a| u32::from(low(&(a >> 64)))).collect::<Vec<_>>(), window, 8, 1);
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
        let [a, b, again] = [1, 2, 1].map(|seed| ordered(0x0a00_0000_u32..0x0a00_1000, seed));
        assert_eq!(a, again);
        assert_ne!(a, b);
        assert_eq!(a.iter().collect::<BTreeSet<_>>(), b.iter().collect::<BTreeSet<_>>());
    }
}
