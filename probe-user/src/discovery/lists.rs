//! What is handed on: all lists of all groups, as they are now.

use super::settings::GroupSources;
use crate::{
    base::Family,
    targets::{Exclusions, GroupInput, Plan, TargetList},
};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

/// Takes changes over.
pub trait Adopt: Send {
    /// These are the lists of all groups now. Called on a thread of its own, which may take its time: what changes meanwhile comes with
    /// the next call.
    ///
    /// # Errors
    /// They were refused, and those before stay: why, in words for people. They come again with the next change.
    fn changed(&mut self, lists: &Lists) -> Result<(), String>;
}

impl<F: FnMut(&Lists) -> Result<(), String> + Send> Adopt for F {
    fn changed(&mut self, lists: &Lists) -> Result<(), String> {
        self(lists)
    }
}

/// The addresses of names, those first that a client would take.
pub type Addresses = HashMap<Box<str>, Arc<[IpAddr]>>;

/// All lists of all groups at one moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Grows with each change; 0 while there is nothing.
    pub version: u64,
    /// By group in the order of the settings: what each of its sources last said well, in their order, those of the configuration itself
    /// first.
    pub groups: Vec<Vec<Arc<[TargetList]>>>,
    /// By name; names without any are absent.
    pub addresses: Arc<Addresses>,
    /// What the files of exclusions say; what stands in the configuration itself is not there.
    pub exclude: Arc<Exclusions>,
}

impl Lists {
    /// The lists of one group by its number, as `targets::build` takes them. Where a name stands for all its addresses, those that are
    /// known are targets of their own, called `NAME/ADDRESS`.
    pub fn of_group(&self, number: usize, sources: &GroupSources) -> Vec<TargetList> {
        let lists = self.groups.get(number).into_iter().flatten().flat_map(|lists| lists.iter().cloned());
        if !sources.all_addresses {
            return lists.collect();
        }
        let wanted = sources.wants().families;
        let found: HashMap<&str, Vec<IpAddr>> = self
            .addresses
            .iter()
            .map(|(name, found)| (&**name, found.iter().copied().filter(|a| wanted[Family::of(*a) as usize]).collect()))
            .collect();
        lists.map(|list| list.with_all_addresses(|name| found.get(name).map_or(&[], Vec::as_slice))).collect()
    }

    /// Those of all groups, with the labels that each has of its own, by group.
    pub fn inputs(&self, groups: &[GroupSources], labels: &[BTreeMap<String, String>]) -> Vec<GroupInput> {
        let input = |(number, (sources, labels)): (usize, (&GroupSources, &BTreeMap<String, String>))| GroupInput {
            group: sources.group.clone(),
            labels: labels.clone(),
            lists: self.of_group(number, sources),
        };
        groups.iter().zip(labels).enumerate().map(input).collect()
    }

    /// Gives a plan's names the addresses that are known, unless those are excluded: the first of a family that will do.
    pub fn place_names(&self, plan: &mut Plan, exclude: &Exclusions) {
        let mut placed = Vec::new();
        for (&index, name) in &plan.names {
            let target = crate::base::TargetIndex(index);
            let Some(found) = self.addresses.get(&name.text) else { continue };
            let Some(group) = plan.group_of(target).map(|group| &plan.groups[group]) else { continue };
            let will_do = |address: &IpAddr| {
                let family = Family::of(*address);
                name.family.is_none_or(|wanted| wanted == family) && group.shape.over(family).is_possible()
            };
            let address = found.iter().copied().find(will_do).filter(|address| !exclude.contains(*address));
            placed.extend(address.map(|address| (index, address)));
        }
        for (index, address) in placed {
            plan.targets[index as usize].destination = Some(plan.addresses.enter(address));
        }
    }
}
