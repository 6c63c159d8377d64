//! Addresses that are never probed.

use super::{AddressRange, Error, TargetSpec, list};
use std::{io::BufRead, net::Ipv4Addr, path::Path};

/// A set of addresses: sorted ranges that neither overlap nor touch.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Exclusions {
    ranges: Vec<AddressRange>,
}

/// Said of a name where an exclusion should stand.
pub(crate) const NAMES_REFUSED: &str =
    "is a name, and exclusions are addresses, CIDRs or ranges; write the addresses that must not be probed";

impl FromIterator<AddressRange> for Exclusions {
    fn from_iter<I: IntoIterator<Item = AddressRange>>(ranges: I) -> Self {
        let mut all: Vec<AddressRange> = ranges.into_iter().collect();
        all.sort_unstable();
        let mut ranges: Vec<AddressRange> = Vec::new();
        for range in all {
            let (first, last) = range.bits();
            match ranges.last_mut() {
                Some(before) if first <= before.bits().1.saturating_add(1) => {
                    *before = AddressRange { last: last.max(before.last), ..*before };
                }
                _ => ranges.push(range),
            }
        }
        Self { ranges }
    }
}

fn only_addresses(ranges: &mut Vec<AddressRange>, spec: TargetSpec, place: list::Line<'_>) -> Result<(), Error> {
    match spec {
        TargetSpec::Addresses(range) => {
            ranges.push(range);
            Ok(())
        }
        TargetSpec::Name(name) => {
            Err(Error::Content { place: place.to_string(), reason: format!("`{name}` {NAMES_REFUSED}") })
        }
    }
}

impl Exclusions {
    /// From files of one address, CIDR or range a line (`#` begins a comment, `-` is stdin), as `--exclude` names them.
    pub fn read_files<P: AsRef<Path>>(files: &[P]) -> Result<Self, Error> {
        let mut ranges = Vec::new();
        for file in files {
            list::read_file(file.as_ref(), &mut |spec, place| only_addresses(&mut ranges, spec, place))?;
        }
        Ok(ranges.into_iter().collect())
    }

    /// The same from something else than a file, which is called `name` in errors.
    pub fn read(input: impl BufRead, name: &str) -> Result<Self, Error> {
        let mut ranges = Vec::new();
        list::read_lines(input, name, &mut |spec, place| only_addresses(&mut ranges, spec, place))?;
        Ok(ranges.into_iter().collect())
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[AddressRange] {
        &self.ranges
    }

    /// Whether an address must not be probed. Who resolves names asks this of what they resolve to.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let after = self.ranges.partition_point(|range| range.first() <= address);
        after > 0 && self.ranges[after - 1].contains(address)
    }

    /// Calls `keep` with each part of `range` that is not excluded, ascending.
    pub(super) fn subtract(&self, range: AddressRange, mut keep: impl FnMut(AddressRange)) {
        let (mut next, last) = range.bits();
        let from = self.ranges.partition_point(|excluded| excluded.bits().1 < next);
        for excluded in &self.ranges[from..] {
            let (excluded_first, excluded_last) = excluded.bits();
            if excluded_first > last {
                break;
            }
            if excluded_first > next {
                keep(AddressRange { first: next, last: excluded_first - 1 });
            }
            if excluded_last >= last {
                return;
            }
            next = excluded_last + 1;
        }
        keep(AddressRange { first: next, last });
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::{super::testing::tempdir, *};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ranges(pairs: &[(u32, u32)]) -> Vec<AddressRange> {
        pairs.iter().map(|(a, n)| AddressRange::from_bits(*a, a.saturating_add(*n)).unwrap()).collect()
    }

    #[test]
    fn merges_what_touches_up_to_the_end_of_the_address_space() {
        let all: Exclusions =
            ranges(&[(u32::MAX, 0), (5, 5), (11, 2), (u32::MAX - 1, 0), (20, 0)]).into_iter().collect();
        let shown: Vec<String> = all.ranges().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["0.0.0.5-0.0.0.13", "0.0.0.20", "255.255.255.254/31"]);
        let mut kept = Vec::new();
        all.subtract(AddressRange::from_bits(0, u32::MAX).unwrap(), |part| kept.push(part.to_string()));
        assert_eq!(kept, ["0.0.0.0-0.0.0.4", "0.0.0.14-0.0.0.19", "0.0.0.21-255.255.255.253"]);
    }

    #[test]
    fn files_refuse_names_with_their_line() {
        let dir = tempdir();
        let file = dir.join("exclude.txt");
        std::fs::write(&file, "10.0.0.0/8 # private\n\nhost.example\n").unwrap();
        let error = Exclusions::read_files(&[&file]).unwrap_err().to_string();
        assert!(error.contains("exclude.txt:3: `host.example` is a name"), "{error}");
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_addresses(
            excluded in prop::collection::vec((0u32..300, 0u32..20), 0..20), first in 0u32..300, count in 0u32..100,
        ) {
            let excluded = ranges(&excluded);
            let set: BTreeSet<u32> = excluded.iter().flat_map(|r| r.bits().0..=r.bits().1).collect();
            let exclusions: Exclusions = excluded.into_iter().collect();
            for a in 0..350u32 {
                prop_assert_eq!(exclusions.contains(a.into()), set.contains(&a));
            }
            let mut kept = Vec::new();
            let range = AddressRange::from_bits(first, first + count).unwrap();
            exclusions.subtract(range, |part| kept.extend(part.bits().0..=part.bits().1));
            let expected: Vec<u32> = (first..=first + count).filter(|a| !set.contains(a)).collect();
            prop_assert_eq!(kept, expected);
        }
    }
}
