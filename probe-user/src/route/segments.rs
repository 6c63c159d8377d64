//! Cuts an address space at every prefix edge. Between two cuts the kernel's tables say the same of every address,
//! so that one question answers for all targets there. Pure.

use crate::base::Address;

/// The starts of all segments, in order; the first is the lowest address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segments<A>(Vec<A>);

impl<A: Address> Segments<A> {
    /// Cuts at both edges of each prefix (any address in it, its length in bits).
    pub(super) fn cut(prefixes: impl IntoIterator<Item = (A, u8)>) -> Self {
        let mut starts = vec![A::FIRST];
        for (address, length) in prefixes {
            let (first, last) = address.span(length);
            starts.push(first);
            starts.extend(last.next());
        }
        starts.sort_unstable();
        starts.dedup();
        Self(starts)
    }

    /// How many there are; at least one.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The segment of an address.
    pub(super) fn of(&self, address: A) -> usize {
        self.0.partition_point(|&start| start <= address) - 1
    }

    /// Whether an address lies in a segment: cheaper than [`Segments::of`], and neighbours often share one.
    pub(super) fn contains(&self, segment: usize, address: A) -> bool {
        self.0[segment] <= address && self.0.get(segment + 1).is_none_or(|&next| address < next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use std::fmt::Debug;

    fn covers(prefix: (u128, u8), address: u128, bits: u8) -> bool {
        let (network, length) = prefix;
        length == 0 || (network ^ address) >> (bits - length) == 0
    }

    /// Brute force, by numbers: the longest prefix that covers an address.
    fn longest(prefixes: &[(u128, u8)], address: u128, bits: u8) -> Option<u8> {
        prefixes.iter().filter(|&&prefix| covers(prefix, address, bits)).map(|prefix| prefix.1).max()
    }

    /// Prefixes that nest and touch often, and addresses near their edges: as numbers of so many bits.
    fn nearby(bits: u8) -> impl Strategy<Value = u128> {
        let last = u128::MAX >> (128 - bits);
        // As many bits as there are below a typical prefix, and some above them.
        let low = (0_u128..4096).prop_map(move |low| 0x0a40 << (bits - 16) | low);
        prop_oneof![any::<u128>().prop_map(move |n| n & last), low, Just(0), Just(last)]
    }

    fn prefixes(bits: u8, many: usize) -> impl Strategy<Value = Vec<(u128, u8)>> {
        prop::collection::vec((nearby(bits), 0..=bits), 0..many)
    }

    fn one_longest_prefix<A: Address + Debug>(
        prefixes: &[(u128, u8)],
        addresses: &[u128],
        address: fn(u128) -> A,
        number: fn(A) -> u128,
    ) -> Result<(), TestCaseError> {
        let segments = Segments::cut(prefixes.iter().map(|&(network, length)| (address(network), length)));
        let last = u128::MAX >> (128 - A::BITS);
        let edges = prefixes.iter().flat_map(|&(at, _)| [at.wrapping_sub(1) & last, at, at.wrapping_add(1) & last]);
        for at in addresses.iter().copied().chain(edges) {
            let segment = segments.of(address(at));
            prop_assert!(segments.contains(segment, address(at)));
            prop_assert!(segment < segments.len());
            let start = segments.0[segment];
            prop_assert!(start <= address(at));
            let start = number(start);
            prop_assert_eq!(longest(prefixes, start, A::BITS), longest(prefixes, at, A::BITS));
            for prefix in prefixes {
                prop_assert_eq!(covers(*prefix, start, A::BITS), covers(*prefix, at, A::BITS));
            }
        }
        Ok(())
    }

    fn v4(number: u128) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX))
    }

    proptest! {
        #[test]
        fn a_segment_has_one_longest_prefix(
            prefixes in prefixes(32, 40),
            addresses in prop::collection::vec(nearby(32), 1..100),
        ) {
            one_longest_prefix::<Ipv4Addr>(&prefixes, &addresses, v4, |address| address.to_bits().into())?;
        }

        #[test]
        fn so_it_has_of_ipv6(
            prefixes in prefixes(128, 40),
            addresses in prop::collection::vec(nearby(128), 1..100),
        ) {
            one_longest_prefix::<Ipv6Addr>(&prefixes, &addresses, Ipv6Addr::from_bits, Ipv6Addr::to_bits)?;
        }

        #[test]
        fn contains_agrees_with_of(prefixes in prefixes(32, 20), address in nearby(32), other in nearby(32)) {
            let segments = Segments::cut(prefixes.iter().map(|&(network, length)| (v4(network), length)));
            let (address, other) = (v4(address), v4(other));
            prop_assert_eq!(segments.contains(segments.of(other), address), segments.of(other) == segments.of(address));
        }
    }

    #[test]
    fn the_whole_space_is_one_segment() {
        let [ten, eleven, last] = [[10, 0, 0, 0], [11, 0, 0, 0], [255; 4]].map(Ipv4Addr::from);
        assert_eq!(Segments::cut([(Ipv4Addr::new(1, 2, 3, 4), 0)]).0, [Ipv4Addr::FIRST]);
        assert_eq!(
            Segments::cut([(Ipv4Addr::new(10, 0, 0, 1), 8), (last, 32)]).0,
            [Ipv4Addr::FIRST, ten, eleven, last]
        );
        assert_eq!(Segments::cut([(Ipv6Addr::LOCALHOST, 0)]).0, [Ipv6Addr::FIRST]);
        let next = Ipv6Addr::from_bits(2);
        assert_eq!(Segments::cut([(Ipv6Addr::LOCALHOST, 128)]).0, [Ipv6Addr::FIRST, Ipv6Addr::LOCALHOST, next]);
    }
}
