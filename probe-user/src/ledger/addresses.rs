//! From an address to the targets that have it: only for errors that quote too little of a probe to say whose it was.

use crate::{base::TargetIndex, targets::Plan};
use std::{net::Ipv4Addr, ops::RangeInclusive};

/// Eight bytes a target, sorted once at the start.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Address in the upper half, index in the lower.
    sorted: Box<[u64]>,
    /// Targets that had no address yet: names that did not resolve. Few, and looked at one by one.
    unresolved: Box<[TargetIndex]>,
}

impl Addresses {
    /// Bytes that a target takes here.
    pub(super) const BYTES_PER_TARGET: usize = size_of::<u64>();

    /// Of the plan's targets.
    pub(super) fn new(plan: &Plan) -> Self {
        let indexed = || (0u32..).zip(&plan.targets);
        let mut sorted: Box<[u64]> = indexed()
            .filter_map(|(index, target)| Some(u64::from(u32::from(target.address?)) << 32 | u64::from(index)))
            .collect();
        sorted.sort_unstable();
        let unresolved = indexed().filter(|(_, target)| target.address.is_none()).map(|(index, _)| TargetIndex(index));
        Self { sorted, unresolved: unresolved.collect() }
    }

    /// Targets that may have this address, a few: one in each group that names it, and all that had none at the start.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is the index")]
    pub(super) fn candidates(&self, address: Ipv4Addr) -> impl Iterator<Item = TargetIndex> {
        let address = u64::from(u32::from(address));
        let first = self.sorted.partition_point(|entry| entry >> 32 < address);
        let same = self.sorted[first..].iter().take_while(move |entry| **entry >> 32 == address);
        same.map(|entry| TargetIndex(*entry as u32)).chain(self.unresolved.iter().copied())
    }

    /// Whether a target has an address in this range; `address_of` says it of those that had none at the start.
    pub(super) fn is_any_in(
        &self,
        range: &RangeInclusive<Ipv4Addr>,
        address_of: impl Fn(TargetIndex) -> Option<Ipv4Addr>,
    ) -> bool {
        let first = u64::from(u32::from(*range.start())) << 32;
        let next = self.sorted.get(self.sorted.partition_point(|entry| *entry < first));
        next.is_some_and(|entry| entry >> 32 <= u64::from(u32::from(*range.end())))
            || self.unresolved.iter().any(|target| address_of(*target).is_some_and(|address| range.contains(&address)))
    }
}
