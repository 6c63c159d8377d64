//! Cuts the IPv4 address space at every prefix edge. Between two cuts the kernel's tables say the same of every address,
//! so that one question answers for all targets there. Pure.

/// The starts of all segments, in order; the first is 0.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segments(Vec<u32>);

impl Segments {
    /// Cuts at both edges of each prefix (any address in it, its length in bits: 0 to 32).
    pub(super) fn cut(prefixes: impl IntoIterator<Item = (u32, u8)>) -> Self {
        let mut starts = vec![0];
        for (address, length) in prefixes {
            let host_bits = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            starts.push(address & !host_bits);
            starts.extend((address | host_bits).checked_add(1));
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
    pub(super) fn of(&self, address: u32) -> usize {
        self.0.partition_point(|&start| start <= address) - 1
    }

    /// Whether an address lies in a segment: cheaper than [`Segments::of`], and neighbours often share one.
    pub(super) fn contains(&self, segment: usize, address: u32) -> bool {
        self.0[segment] <= address && self.0.get(segment + 1).is_none_or(|&next| address < next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn covers((network, length): (u32, u8), address: u32) -> bool {
        length == 0 || (network ^ address) >> (32 - length) == 0
    }

    /// Brute force: the longest prefix that covers an address.
    fn longest(prefixes: &[(u32, u8)], address: u32) -> Option<u8> {
        prefixes.iter().filter(|&&prefix| covers(prefix, address)).map(|prefix| prefix.1).max()
    }

    /// Prefixes that nest and touch often, and addresses near their edges.
    fn nearby() -> impl Strategy<Value = u32> {
        prop_oneof![any::<u32>(), (0_u32..4096).prop_map(|low| 0x0a40_0000 | low), Just(0), Just(u32::MAX)]
    }

    proptest! {
        #[test]
        fn a_segment_has_one_longest_prefix(
            prefixes in prop::collection::vec((nearby(), 0_u8..=32), 0..40),
            addresses in prop::collection::vec(nearby(), 1..100),
        ) {
            let segments = Segments::cut(prefixes.iter().copied());
            let edges = prefixes.iter().flat_map(|&(address, _)| [address.wrapping_sub(1), address, address.wrapping_add(1)]);
            for address in addresses.into_iter().chain(edges) {
                let segment = segments.of(address);
                prop_assert!(segments.contains(segment, address));
                prop_assert!(segment < segments.len());
                let start = segments.0[segment];
                prop_assert!(start <= address);
                prop_assert_eq!(longest(&prefixes, start), longest(&prefixes, address));
                for (network, length) in &prefixes {
                    prop_assert_eq!(covers((*network, *length), start), covers((*network, *length), address));
                }
            }
        }

        #[test]
        fn contains_agrees_with_of(prefixes in prop::collection::vec((nearby(), 0_u8..=32), 0..20), address in nearby(), other in nearby()) {
            let segments = Segments::cut(prefixes);
            prop_assert_eq!(segments.contains(segments.of(other), address), segments.of(other) == segments.of(address));
        }
    }

    #[test]
    fn the_whole_space_is_one_segment() {
        assert_eq!(Segments::cut([(0x0102_0304, 0)]).0, [0]);
        assert_eq!(Segments::cut([(0x0a00_0001, 8), (u32::MAX, 32)]).0, [0, 0x0a00_0000, 0x0b00_0000, u32::MAX]);
    }
}
