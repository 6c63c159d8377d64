//! Addresses that are never probed.

use super::{
    AddressRange, Error, TargetSpec, list,
    span::{self, Span},
};
use std::{io::BufRead, net::IpAddr, path::Path};

/// A set of addresses: sorted ranges that neither overlap nor touch.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Exclusions {
    pub(super) v4: Vec<Span<u32>>,
    pub(super) v6: Vec<Span<u128>>,
}

/// Said of a name where an exclusion should stand.
pub(crate) const NAMES_REFUSED: &str =
    "is a name, and exclusions are addresses, CIDRs or ranges; write the addresses that must not be probed";

impl FromIterator<AddressRange> for Exclusions {
    fn from_iter<I: IntoIterator<Item = AddressRange>>(ranges: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match range {
                AddressRange::V4(span) => v4.push(span),
                AddressRange::V6(span) => v6.push(span),
            }
        }
        Self { v4: span::merge(v4), v6: span::merge(v6) }
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

    /// Both of them.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        self.ranges().chain(others.ranges()).collect()
    }

    /// The ranges, ascending, IPv4's first.
    pub fn ranges(&self) -> impl Iterator<Item = AddressRange> {
        let v4 = self.v4.iter().copied().map(AddressRange::V4);
        v4.chain(self.v6.iter().copied().map(AddressRange::V6))
    }

    /// Whether an address must not be probed. Who resolves names asks this of what they resolve to.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => span::has(&self.v4, address.to_bits()),
            IpAddr::V6(address) => span::has(&self.v6, address.to_bits()),
        }
    }

    /// How many addresses of a range are none of these.
    pub(super) fn left_of(&self, range: AddressRange) -> u128 {
        let mut left: u128 = 0;
        match range {
            AddressRange::V4(span) => span::subtract(span, &self.v4, |part| left += part.count()),
            AddressRange::V6(span) => span::subtract(span, &self.v6, |part| left = left.saturating_add(part.count())),
        }
        left
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::{super::testing::tempdir, *};
    use proptest::prelude::*;
    use std::{
        collections::BTreeSet,
        net::{Ipv4Addr, Ipv6Addr},
    };

    fn ranges(pairs: &[(u32, u32)]) -> Vec<AddressRange> {
        pairs.iter().map(|(a, n)| AddressRange::V4(Span::new(*a, a.saturating_add(*n)).unwrap())).collect()
    }

    /// The same at the end of IPv6's addresses, going down.
    fn ranges_v6(pairs: &[(u32, u32)]) -> Vec<AddressRange> {
        let number = |n: u32| u128::MAX - u128::from(n);
        pairs.iter().map(|(a, n)| AddressRange::V6(Span::new(number(a + n), number(*a)).unwrap())).collect()
    }

    #[test]
    fn merges_what_touches_up_to_the_end_of_the_address_space() {
        let all: Exclusions =
            ranges(&[(u32::MAX, 0), (5, 5), (11, 2), (u32::MAX - 1, 0), (20, 0)]).into_iter().collect();
        let shown: Vec<String> = all.ranges().map(|range| range.to_string()).collect();
        assert_eq!(shown, ["0.0.0.5-0.0.0.13", "0.0.0.20", "255.255.255.254/31"]);
        let mut kept = Vec::new();
        span::subtract(Span::new(0, u32::MAX).unwrap(), &all.v4, |part| kept.push(AddressRange::V4(part).to_string()));
        assert_eq!(kept, ["0.0.0.0-0.0.0.4", "0.0.0.14-0.0.0.19", "0.0.0.21-255.255.255.253"]);
        let both: Exclusions = ["0.0.0.0/0", "::/0"]
            .map(|text| match text.parse() {
                Ok(TargetSpec::Addresses(range)) => range,
                other => panic!("{other:?}"),
            })
            .into_iter()
            .collect();
        assert_eq!(both.ranges().map(|range| range.to_string()).collect::<Vec<_>>(), ["0.0.0.0/0", "::/0"]);
        assert!(both.ranges().all(|range| both.left_of(range) == 0));
    }

    #[test]
    fn files_refuse_names_with_their_line() {
        let dir = tempdir();
        let file = dir.join("exclude.txt");
        std::fs::write(&file, "10.0.0.0/8 # private\n2001:db8::/32\nhost.example\n").unwrap();
        let error = Exclusions::read_files(&[&file]).unwrap_err().to_string();
        assert!(error.contains("exclude.txt:3: `host.example` is a name"), "{error}");
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_addresses(
            excluded in prop::collection::vec((0u32..300, 0u32..20), 0..20), first in 0u32..300, count in 0u32..100,
        ) {
            for make in [ranges, ranges_v6] {
                let addresses = |range: &AddressRange| match range {
                    AddressRange::V4(span) => span.iter().map(u128::from).collect::<Vec<_>>(),
                    AddressRange::V6(span) => span.iter().collect(),
                };
                let excluded = make(&excluded);
                let set: BTreeSet<u128> = excluded.iter().flat_map(addresses).collect();
                let exclusions: Exclusions = excluded.into_iter().collect();
                let range = make(&[(first, count)])[0];
                let expected: Vec<u128> = addresses(&range).into_iter().filter(|a| !set.contains(a)).collect();
                let mut kept: Vec<u128> = Vec::new();
                match range {
                    AddressRange::V4(span) => {
                        span::subtract(span, &exclusions.v4, |part| kept.extend(part.iter().map(u128::from)));
                        prop_assert!(span.iter().all(|a| exclusions.contains(Ipv4Addr::from(a).into()) == set.contains(&a.into())));
                    }
                    AddressRange::V6(span) => {
                        span::subtract(span, &exclusions.v6, |part| kept.extend(part.iter()));
                        prop_assert!(span.iter().all(|a| exclusions.contains(Ipv6Addr::from(a).into()) == set.contains(&a)));
                    }
                }
                prop_assert_eq!(exclusions.left_of(range), expected.len() as u128);
                prop_assert_eq!(kept, expected);
            }
        }
    }
}
