//! From what people wrote to a plan: expanded, without exclusions and repetitions, in the order of the schedule.

use super::{
    AddressRange, Error, Exclusions, Group, LabelSet, MANY, MAX_TARGETS, Plan, Shard, Sum, Target, TargetList,
    hash_name, memory, mix, order::Order,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::Ipv4Addr,
};

/// A group as it is handed over to be built.
#[derive(Clone, Debug)]
pub struct GroupInput {
    /// Its name and settings; `targets` is overwritten.
    pub group: Group,
    /// Labels of all its targets.
    pub labels: BTreeMap<String, String>,
    /// Who. Where two lists name the same target, the labels of the first hold.
    pub lists: Vec<TargetList>,
}

/// How a plan is built.
#[derive(Clone, Copy, Default, Debug)]
pub struct Options {
    /// Varies the order of the schedule. The same seed gives the same order; without one it is that of seed 0.
    pub seed: Option<u64>,
    /// Only this part of the targets.
    pub shard: Option<Shard>,
}

/// Builds a plan: expands CIDRs and ranges, leaves out `exclude`, keeps each target once a group, and lays each group's
/// targets in the order in which they are probed.
///
/// Refuses, before anything is expanded, more targets than there is memory or indices for; and a plan without any.
pub fn build(groups: Vec<GroupInput>, exclude: &Exclusions, options: &Options) -> Result<Plan, Error> {
    build_within(groups, exclude, options, memory::available())
}

fn build_within(
    groups: Vec<GroupInput>,
    exclude: &Exclusions,
    options: &Options,
    available: Option<u64>,
) -> Result<Plan, Error> {
    let named = groups.iter().any(|group| group.lists.iter().any(|list| !list.is_empty()));
    let counts = count(&groups, exclude, options.shard, available)?;
    let targets: usize = counts.iter().sum();
    if targets >= MANY {
        tracing::info!("laying out {targets} targets");
    }
    let mut builder = Builder { plan: Plan::default(), exclude, options, order: Order::new(options.seed.unwrap_or(0)) };
    for (group, count) in groups.into_iter().zip(counts) {
        builder.add(group, count);
    }
    if builder.plan.targets.is_empty() {
        let reason = match (named, options.shard) {
            (false, _) => "none was named",
            (true, None) => "all that were named are excluded",
            (true, Some(_)) => "none of those that were named is in this shard and not excluded",
        };
        return Err(Error::Empty { reason });
    }
    Ok(builder.plan)
}

/// At most how many targets each group has, or why they are too many in all.
fn count(
    groups: &[GroupInput],
    exclude: &Exclusions,
    shard: Option<Shard>,
    available: Option<u64>,
) -> Result<Vec<usize>, Error> {
    let (mut targets, mut needed) = (0u64, 0u64);
    let mut largest: Option<(u64, &GroupInput, AddressRange)> = None;
    let mut counts = Vec::with_capacity(groups.len());
    for input in groups {
        let mut of_group = 0u64;
        for list in &input.lists {
            of_group = of_group.saturating_add(list.names().len() as u64);
            for range in list.ranges() {
                let mut of_range = 0;
                exclude.subtract(*range, |part| of_range += part.count());
                of_group = of_group.saturating_add(of_range);
                if largest.is_none_or(|(most, ..)| of_range > most) {
                    largest = Some((of_range, input, *range));
                }
            }
        }
        // A shard has its share, give or take what chance adds.
        let of_group = shard.map_or(of_group, |shard| shard.share_of(of_group));
        targets = targets.saturating_add(of_group);
        needed = needed.saturating_add(of_group.saturating_mul(input.group.bytes_per_target()));
        counts.push(usize::try_from(of_group).unwrap_or(usize::MAX));
    }
    let (part_targets, group, part) = match largest {
        Some((count, input, range)) => (count, input.group.name.clone(), range.to_string()),
        None => (0, String::new(), "its names".to_owned()),
    };
    if let Some(available) = available.filter(|available| needed > *available) {
        return Err(Error::Memory { group, part, part_targets, targets, needed, available });
    }
    if targets > MAX_TARGETS {
        return Err(Error::TooMany { group, part, targets });
    }
    Ok(counts)
}

/// An address on its way into the order.
struct Laid {
    key: u32,
    address: u32,
    label_set: u32,
}

struct Builder<'a> {
    plan: Plan,
    exclude: &'a Exclusions,
    options: &'a Options,
    order: Order,
}

impl Builder<'_> {
    /// Adds a group of at most `count` targets.
    fn add(&mut self, input: GroupInput, count: usize) {
        let GroupInput { group, labels, lists } = input;
        let label_sets = self.label_sets(&group, &labels, &lists);
        let first = self.plan.targets.len();

        // Rank in the upper half, the list's number in the lower: sorted, repetitions stand together, first list first.
        let mut ranked: Vec<u64> = Vec::with_capacity(count);
        for (number, list) in lists.iter().enumerate() {
            for range in list.ranges() {
                self.exclude.subtract(*range, |part| {
                    let (from, to) = part.bits();
                    let taken = (from..=to).filter(|a| self.takes_address((*a).into()));
                    ranked.extend(taken.map(|a| u64::from(self.order.rank(a)) << 32 | number as u64));
                });
            }
        }
        ranked.sort_unstable();
        ranked.dedup_by_key(|entry| *entry >> 32);

        let mut laid: Vec<Laid> = Vec::with_capacity(ranked.len());
        let mut entries = ranked.iter();
        self.order.keys(ranked.iter().map(|entry| upper(*entry)), |key| {
            if let Some(entry) = entries.next() {
                let label_set = label_sets[(*entry & 0xffff_ffff) as usize];
                laid.push(Laid { key, address: self.order.address(upper(*entry)), label_set });
            }
        });
        // One table of each kind at a time: beside the targets themselves there are twelve bytes a target, no more.
        drop(ranked);
        laid.sort_unstable_by_key(|target| (target.key, target.address));
        let names = self.names(lists, &label_sets);
        self.merge(&laid, names);
        let range = index(first)..index(self.plan.targets.len());
        self.plan.groups.push(Group { targets: range, ..group });
    }

    /// The names, each once, by their keys: a hash has no neighbours to keep apart.
    fn names(&self, lists: Vec<TargetList>, label_sets: &[u32]) -> Vec<(u32, Box<str>, u32)> {
        let mut seen = HashSet::new();
        let mut names = Vec::new();
        for (list, label_set) in lists.into_iter().zip(label_sets) {
            for name in list.into_names() {
                if self.takes_name(&name) && seen.insert(name.clone()) {
                    names.push((upper(mix(hash_name(&name) ^ self.options.seed.unwrap_or(0))), name, *label_set));
                }
            }
        }
        names.sort_unstable();
        names
    }

    /// Appends addresses and names, both sorted by key.
    fn merge(&mut self, laid: &[Laid], names: Vec<(u32, Box<str>, u32)>) {
        let plan = &mut self.plan;
        plan.targets.reserve_exact(laid.len() + names.len());
        let mut laid = laid.iter().peekable();
        let address = |l: &Laid| Target { address: Some(l.address.into()), label_set: l.label_set };
        for (key, name, label_set) in names {
            plan.targets.extend(std::iter::from_fn(|| laid.next_if(|l| l.key <= key)).map(address));
            plan.names.insert(index(plan.targets.len()), name);
            plan.targets.push(Target { address: None, label_set });
        }
        plan.targets.extend(laid.map(address));
    }

    fn takes_address(&self, address: Ipv4Addr) -> bool {
        self.options.shard.is_none_or(|shard| shard.has_address(address))
    }

    fn takes_name(&self, name: &str) -> bool {
        self.options.shard.is_none_or(|shard| shard.has_name(name))
    }

    /// The label set of each list, with the rows of sums that they belong to.
    fn label_sets(&mut self, group: &Group, labels: &BTreeMap<String, String>, lists: &[TargetList]) -> Vec<u32> {
        let number = self.plan.groups.len();
        let mut sums: HashMap<Vec<String>, u32> = HashMap::new();
        let mut sets: HashMap<BTreeMap<String, String>, u32> = HashMap::new();
        if group.sum_by.is_empty() {
            // The group's one row is there even while no target is.
            sums.insert(Vec::new(), index(self.plan.sums.len()));
            self.plan.sums.push(Sum { group: number, values: Vec::new() });
        }
        let plan = &mut self.plan;
        let overlaid = lists.iter().map(|list| {
            let mut all = labels.clone();
            all.extend(list.labels.clone());
            all
        });
        overlaid
            .map(|labels| {
                *sets.entry(labels).or_insert_with_key(|labels| {
                    let values: Vec<String> =
                        group.sum_by.iter().map(|name| labels.get(name).cloned().unwrap_or_default()).collect();
                    let sum = *sums.entry(values).or_insert_with_key(|values| {
                        plan.sums.push(Sum { group: number, values: values.clone() });
                        index(plan.sums.len() - 1)
                    });
                    plan.label_sets.push(LabelSet { labels: labels.clone(), sum });
                    index(plan.label_sets.len() - 1)
                })
            })
            .collect()
    }
}

/// The upper half.
fn upper(entry: u64) -> u32 {
    (entry >> 32) as u32
}

/// An index of a plan: `count` has refused what would not fit.
#[expect(clippy::cast_possible_truncation, reason = "at most MAX_TARGETS")]
fn index(position: usize) -> u32 {
    debug_assert!(position as u64 <= MAX_TARGETS);
    position as u32
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
