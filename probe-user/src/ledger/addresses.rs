//! From an address to the targets that have it: for errors that quote too little of a probe to say whose it was, and for changes of routes.

use crate::base::{AddressHandle, AddressTable, Destination, Family, TargetIndex};
#[cfg(test)]
use crate::targets::Plan;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    sync::Arc,
};

/// Eight bytes a target with an IPv4 address, and as many with an IPv6 address beside the address itself. Sorted once.
#[derive(Debug)]
pub(super) struct Addresses {
    /// IPv4 address in the upper half, index in the lower.
    v4: Box<[u64]>,
    /// Handle and index, in the order of the IPv6 addresses.
    v6: Box<[(AddressHandle, TargetIndex)]>,
    /// Targets that had no address yet: names that did not resolve. Few, and looked at one by one.
    unresolved: Box<[TargetIndex]>,
    pub(super) table: Arc<AddressTable>,
}

impl Addresses {
    /// Bytes that a target takes here.
    pub(super) const BYTES_PER_TARGET: usize = size_of::<u64>();

    /// Of these targets; None: that has no address yet.
    pub(super) fn new(
        targets: &(impl Iterator<Item = (TargetIndex, Option<Destination>)> + Clone),
        table: &Arc<AddressTable>,
    ) -> Self {
        let of = |wanted| {
            let of_family = move |(index, to): (TargetIndex, Option<Destination>)| {
                to.filter(|to| to.family == wanted).map(|to| (to.handle, index))
            };
            targets.clone().filter_map(of_family)
        };
        let mut v4: Box<[u64]> =
            of(Family::V4).map(|(handle, index)| u64::from(handle.0) << 32 | u64::from(index.0)).collect();
        v4.sort_unstable();
        let mut v6: Box<[_]> = of(Family::V6).collect();
        v6.sort_unstable_by_key(|(handle, index)| (table.v6(*handle), *index));
        let unresolved = targets.clone().filter(|(_, to)| to.is_none()).map(|(index, _)| index);
        Self { v4, v6, unresolved: unresolved.collect(), table: Arc::clone(table) }
    }

    /// Targets that may have this address, a few: one in each group that names it, and all that had none at the start.
    pub(super) fn candidates(&self, address: IpAddr) -> impl Iterator<Item = TargetIndex> {
        let (v4, v6) = match address {
            IpAddr::V4(address) => (Some(self.at_v4(address)), None),
            IpAddr::V6(address) => (None, Some(self.at_v6(address))),
        };
        v4.into_iter().flatten().chain(v6.into_iter().flatten()).chain(self.unresolved.iter().copied())
    }

    /// All that had no address at the start.
    pub(super) fn unresolved(&self) -> impl Iterator<Item = TargetIndex> {
        self.unresolved.iter().copied()
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half is the index")]
    fn at_v4(&self, address: Ipv4Addr) -> impl Iterator<Item = TargetIndex> {
        let address = u64::from(u32::from(address));
        let first = self.v4.partition_point(|entry| entry >> 32 < address);
        let same = self.v4[first..].iter().take_while(move |entry| **entry >> 32 == address);
        same.map(|entry| TargetIndex(*entry as u32))
    }

    fn at_v6(&self, address: Ipv6Addr) -> impl Iterator<Item = TargetIndex> {
        let first = self.v6.partition_point(|(handle, _)| self.table.v6(*handle) < address);
        let same = self.v6[first..].iter().take_while(move |(handle, _)| self.table.v6(*handle) == address);
        same.map(|(_, index)| *index)
    }

    /// Whether a target has an address in this range; `address_of` says it of those that had none at the start.
    pub(super) fn is_any_in(
        &self,
        range: &RangeInclusive<IpAddr>,
        address_of: impl Fn(TargetIndex) -> Option<IpAddr>,
    ) -> bool {
        let known = match range.start() {
            IpAddr::V4(first) => {
                let next = self.v4.partition_point(|entry| entry >> 32 < u64::from(first.to_bits()));
                self.v4.get(next).map(|entry| IpAddr::from(((entry >> 32) as u32).to_be_bytes()))
            }
            IpAddr::V6(first) => {
                let next = self.v6.partition_point(|(handle, _)| self.table.v6(*handle) < *first);
                self.v6.get(next).map(|(handle, _)| self.table.v6(*handle).into())
            }
        };
        known.is_some_and(|address| address <= *range.end())
            || self.unresolved.iter().any(|target| address_of(*target).is_some_and(|address| range.contains(&address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Target;
    use proptest::prelude::*;

    fn address() -> impl Strategy<Value = IpAddr> {
        // Few, so that some are there twice, and at both ends.
        prop_oneof![
            (0u32..20).prop_map(|low| Ipv4Addr::from_bits(low).into()),
            (0u32..20).prop_map(|low| Ipv4Addr::from_bits(u32::MAX - low).into()),
            (0u128..20).prop_map(|low| Ipv6Addr::from_bits(low).into()),
            (0u128..20).prop_map(|low| Ipv6Addr::from_bits(u128::MAX - low).into()),
        ]
    }

    proptest! {
        #[test]
        fn finds_who_has_an_address(given in prop::collection::vec(prop::option::weighted(0.9, address()), 0..60), wanted in address(), other in address()) {
            let mut plan = Plan::default();
            for address in &given {
                let destination = address.map(|address| plan.addresses.enter(address));
                plan.targets.push(Target { destination, label_set: 0 });
            }
            let targets = (0..).map(TargetIndex).zip(&plan.targets).map(|(index, target)| (index, target.destination));
            let addresses = Addresses::new(&targets, &plan.addresses);
            let mut found: Vec<u32> = addresses.candidates(wanted).map(|index| index.0).collect();
            found.sort_unstable();
            let expected: Vec<u32> = (0..).zip(&given).filter(|(_, a)| a.is_none_or(|a| a == wanted)).map(|(i, _)| i).collect();
            prop_assert_eq!(found, expected);
            if Family::of(wanted) == Family::of(other) {
                let range = wanted.min(other)..=wanted.max(other);
                let expected = given.iter().flatten().any(|address| range.contains(address));
                prop_assert_eq!(addresses.is_any_in(&range, |_| None), expected);
                let unresolved = given.iter().any(Option::is_none);
                prop_assert_eq!(addresses.is_any_in(&range, |_| Some(wanted)), expected || unresolved);
            }
        }
    }
}
