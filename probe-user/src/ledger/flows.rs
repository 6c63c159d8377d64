//! From an answer that says nothing but addresses and ports to its target.
//!
//! The port of ours that it came to leads to a group, because each group whose answers are so mute sends from ports of its own. The
//! address leads to the target, by a hash table that is made once: eight bytes an entry, three quarters full.

use super::group::{Group, Groups, Ports};
use crate::{
    base::TargetIndex,
    targets::{self, Plan},
};
use std::{hint::black_box, net::IpAddr};

/// Mute groups by their ports, and their targets by their addresses.
#[derive(Debug)]
pub(super) struct Flows {
    /// The first of the reserved ports.
    pub(super) first_port: u16,
    /// Of the group that sends from the port of this number among the reserved ones.
    groups: Box<[u32]>,
    /// Bits of the address' hash in the upper half, in the lower the target's number and 1; 0: nothing.
    entries: Box<[u64]>,
}

impl Flows {
    /// Of the groups that a plan began with, and of these targets of mute groups.
    pub(super) fn new<'a>(groups: impl Iterator<Item = &'a Group>, targets: &[(IpAddr, TargetIndex)]) -> Self {
        let mute: Vec<(u32, Ports)> =
            (0u32..).zip(groups).filter_map(|(index, group)| Some((index, group.ports?))).collect();
        let own = |ports: Ports| usize::from(ports.first)..usize::from(ports.first) + usize::from(ports.count);
        let flows = mute.iter().map(|(_, ports)| own(*ports).end).max().unwrap_or(0);
        let mut by_flow = vec![u32::MAX; flows];
        mute.iter().for_each(|(index, ports)| by_flow[own(*ports)].fill(*index));
        let many = targets.len();
        let mut table =
            Self { first_port: 0, groups: by_flow.into(), entries: vec![0; many + many.div_ceil(3)].into() };
        targets.iter().for_each(|(address, target)| table.enter(*address, target.0));
        table
    }

    fn enter(&mut self, address: IpAddr, target: u32) {
        let (mut at, mark) = self.place(address);
        while self.entries[at] != 0 {
            at = (at + 1) % self.entries.len();
        }
        self.entries[at] = mark | (u64::from(target) + 1);
    }

    /// Which group sends from this port.
    #[inline]
    pub(super) fn group(&self, port: u16) -> Option<usize> {
        let flow = port.checked_sub(self.first_port)?;
        self.groups.get(usize::from(flow)).filter(|group| **group != u32::MAX).map(|group| *group as usize)
    }

    /// Fetches the first of an address' entries.
    #[inline]
    pub(super) fn fetch(&self, address: IpAddr) {
        if !self.entries.is_empty() {
            black_box(self.entries[self.place(address).0]);
        }
    }

    /// Targets of all such groups that may have this address.
    #[inline]
    pub(super) fn candidates(&self, address: IpAddr) -> impl Iterator<Item = TargetIndex> {
        let (first, mark) = if self.entries.is_empty() { (0, 0) } else { self.place(address) };
        let (before, from) = self.entries.split_at(first);
        let chain = from.iter().chain(before).take_while(|entry| **entry != 0);
        let same = chain.filter(move |entry| **entry & MARK == mark);
        // The lower half is the number, and 1.
        same.map(|entry| TargetIndex((entry & !MARK) as u32 - 1))
    }

    /// Where an address' entries begin, and by what they are known.
    #[inline]
    fn place(&self, address: IpAddr) -> (usize, u64) {
        let hash = match address {
            IpAddr::V4(address) => targets::mix(address.to_bits().into()),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                targets::mix((bits >> 64) as u64 ^ targets::mix(bits as u64))
            }
        };
        let place = (u128::from(hash) * self.entries.len() as u128) >> 64;
        (place as usize, hash << 32)
    }
}

/// Targets with an address whose answers bring back no more than that, and their ports.
pub(super) fn mute_targets(plan: &Plan, groups: &Groups) -> Vec<(IpAddr, TargetIndex)> {
    let mute = plan.groups.iter().zip(groups.all.iter()).filter(|(_, group)| group.ports.is_some());
    let members = mute.flat_map(|(planned, _)| plan.members(planned));
    members.filter_map(|target| Some((plan.address_of(target)?, target))).collect()
}

/// The upper half of an entry.
const MARK: u64 = 0xffff_ffff << 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::Family,
        targets::{Group as PlanGroup, LabelSet, Sum, Target},
        wire::{Kind, Shape},
    };
    use std::collections::{BTreeMap, HashMap, HashSet};

    /// Groups of 0, 1 and many targets, of both families, some addresses in several; one group is not mute.
    #[test]
    fn an_address_leads_to_its_targets_and_a_port_to_its_group() {
        let kinds = [Kind::Tcp { port: 80 }, Kind::Echo, Kind::Tcp { port: 443 }, Kind::Tcp { port: 22 }];
        let sizes = [1_u32, 50, 3_000, 0];
        let mut plan = Plan::default();
        let mut has: HashMap<IpAddr, HashSet<u32>> = HashMap::new();
        let (mut first, mut flow) = (0, 0);
        for (index, (kind, size)) in (0..).zip(kinds.into_iter().zip(sizes)) {
            let targets = first..first + size;
            let shape = Shape { flow, ..Shape::of(kind) };
            flow += u16::from(kind != Kind::Echo);
            plan.groups.push(PlanGroup { shape, targets: targets.clone(), ..PlanGroup::named(index.to_string()) });
            plan.sums.push(Sum { group: index, values: vec![] });
            plan.label_sets.push(LabelSet { labels: BTreeMap::default(), sums: [index as u32; 3] });
            for (n, target) in (0..).zip(targets) {
                let address: IpAddr = if n % 3 == 0 {
                    std::net::Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(n)).into()
                } else {
                    std::net::Ipv4Addr::from_bits(0x0a40_0000 + n).into()
                };
                if kind != Kind::Echo {
                    has.entry(address).or_default().insert(target);
                }
                let destination = Some(plan.addresses.enter(address));
                plan.targets.push(Target { destination, label_set: index as u32 });
            }
            first += size;
        }
        let groups = Groups::new(&plan);
        let flows = Flows { first_port: 100, ..Flows::new(groups.all.iter(), &mute_targets(&plan, &groups)) };
        assert_eq!([99, 100, 101, 102, 103].map(|port| flows.group(port)), [None, Some(0), Some(2), Some(3), None]);
        assert!(
            (flows.entries.len() * 8) as u64
                <= has.values().map(HashSet::len).sum::<usize>() as u64 * targets::FLOW_BYTES
        );
        for (address, targets) in &has {
            let found: HashSet<u32> = flows.candidates(*address).map(|target| target.0).collect();
            assert!(found.is_superset(targets), "{address}: {found:?}, not {targets:?}");
            let strangers = found.iter().filter(|target| plan.address_of(TargetIndex(**target)) != Some(*address));
            assert!(strangers.count() <= 1, "{address}: marks of 32 bits tell nearly all apart");
        }
        let nobody = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(Family::of(nobody), Family::V4);
        assert_eq!(flows.candidates(nobody).count(), 0);
        let none = Flows::new(std::iter::empty(), &[]);
        assert_eq!((none.candidates(nobody).count(), none.group(0)), (0, None));
    }
}
