//! From what people wrote to a plan: expanded, without exclusions and repetitions, in the order of the schedule.

use super::{
    AddressRange, Error, Exclusions, FAMILY, Families, Group, LabelSet, MANY, MAX_TARGETS, Name, OTHER, Plan,
    SeriesLimit, Shard, Sum, Target, TargetList, hash_name, memory, mix,
    order::{Order, Ordered},
    reserved::check_range,
    series,
    span::{self, Span},
};
use crate::base::{AddressTable, Family};
use std::collections::{BTreeMap, HashMap, HashSet};

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
    /// Most series of a scrape: there are no more rows of sums than that allows, and the rest of a group share one.
    pub series: SeriesLimit,
}

/// Builds a plan: expands CIDRs and ranges, leaves out `exclude`, keeps each target once a group, and lays each group's
/// targets in the order in which they are probed.
///
/// Refuses, before anything is expanded, more targets than there is memory or indices for; and a plan without any.
pub fn build(groups: Vec<GroupInput>, exclude: &Exclusions, options: &Options) -> Result<Plan, Error> {
    match build_within(groups, exclude, options, memory::available())? {
        (plan, None) => Ok(plan),
        (_, Some(reason)) => Err(Error::Empty { reason }),
    }
}

/// The same, but that a plan may be without targets: some may come.
pub fn build_or_empty(groups: Vec<GroupInput>, exclude: &Exclusions, options: &Options) -> Result<Plan, Error> {
    Ok(build_within(groups, exclude, options, memory::available())?.0)
}

/// A plan; and if it has no targets why.
fn build_within(
    groups: Vec<GroupInput>,
    exclude: &Exclusions,
    options: &Options,
    available: Option<u64>,
) -> Result<(Plan, Option<&'static str>), Error> {
    let named = groups.iter().any(|group| group.lists.iter().any(|list| !list.is_empty()));
    let counts = count(&groups, exclude, options.shard, available)?;
    let targets: usize = counts.iter().sum();
    if targets >= MANY {
        tracing::info!("laying out {targets} targets");
    }
    // Each group has a row at least, and may have another that is shared.
    let reserved: u64 = groups
        .iter()
        .map(|input| 2 * series::series_of_row(&input.group) + series::series_of_group(&input.group))
        .sum();
    let room = options.series.0.saturating_sub(series::LOCAL_SERIES + reserved);
    let plan = Plan { series_limit: options.series, ..Plan::default() };
    let mut builder = Builder { plan, exclude, options, order: Order::new(options.seed.unwrap_or(0)), room };
    for (group, count) in groups.into_iter().zip(counts) {
        builder.add(group, count);
    }
    builder.plan.lay_ports();
    series::share_out(&mut builder.plan);
    for group in builder.plan.groups.iter().filter(|group| group.exported.merged_rows > 0) {
        tracing::warn!(
            "group {}: {} combinations of sum_by labels share one row, whose values are `{OTHER}`: more rows do not fit into \
             limits.series ({})",
            group.name,
            group.exported.merged_rows,
            options.series.0
        );
    }
    if builder.plan.targets.is_empty() {
        let reason = match (named, options.shard) {
            (false, _) => "none was named",
            (true, None) => "all that were named are excluded",
            (true, Some(_)) => "none of those that were named is in this shard and not excluded",
        };
        return Ok((builder.plan, Some(reason)));
    }
    Ok((builder.plan, None))
}

/// Whether a target can be a group's: it is of a family that the group has, its probes fit, and somebody may be there.
///
/// # Errors
/// Says which of them is not so.
pub fn check_target(
    group: &Group,
    range: AddressRange,
    allow_reserved: bool,
    exclude: &Exclusions,
) -> Result<(), Error> {
    check_family(group, range)?;
    if allow_reserved { Ok(()) } else { check_range(&group.name, range, exclude) }
}

fn check_family(group: &Group, range: AddressRange) -> Result<(), Error> {
    let family = range.family();
    if !group.family.has(family) {
        return Err(Error::Family { group: group.name.clone(), part: range.to_string(), family });
    }
    let shape = group.shape.over(family);
    if !shape.is_possible() {
        let (payload, most) = (shape.payload, *shape.payloads().end());
        return Err(Error::Payload { group: group.name.clone(), part: range.to_string(), payload, most });
    }
    Ok(())
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
        let group = &input.group;
        let (mut of_group, mut of_v6) = (0u64, 0u64);
        for list in &input.lists {
            of_group = of_group.saturating_add((list.names().len() * group.family.of_name().len()) as u64);
            of_group = of_group.saturating_add(list.addresses_of_names().len() as u64);
            for range in list.ranges() {
                let family = range.family();
                check_family(group, range)?;
                let of_range = u64::try_from(exclude.left_of(range)).unwrap_or(u64::MAX);
                of_group = of_group.saturating_add(of_range);
                of_v6 = of_v6.saturating_add(if family == Family::V6 { of_range } else { 0 });
                if largest.is_none_or(|(most, ..)| of_range > most) {
                    largest = Some((of_range, input, range));
                }
            }
        }
        // A shard has its share, give or take what chance adds.
        let share = |targets| shard.map_or(targets, |shard| shard.share_of(targets));
        let (of_group, of_v6) = (share(of_group), share(of_v6));
        targets = targets.saturating_add(of_group);
        needed = needed
            .saturating_add(of_group.saturating_mul(group.bytes_per_target()))
            .saturating_add(of_v6.saturating_mul(AddressTable::BYTES_PER_ADDRESS as u64));
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
struct Laid<A> {
    key: u32,
    address: A,
    label_set: u32,
}

struct Builder<'a> {
    plan: Plan,
    exclude: &'a Exclusions,
    options: &'a Options,
    order: Order,
    /// Series that further rows of sums may have.
    room: u64,
}

impl Builder<'_> {
    /// Adds a group of at most `count` targets.
    fn add(&mut self, input: GroupInput, count: usize) {
        let GroupInput { mut group, labels, lists } = input;
        group.labels.clone_from(&labels);
        let label_sets = self.label_sets(&mut group, &labels, &lists);
        let first = self.plan.targets.len();

        // One family at a time.
        let v4 = self.lay(lists.iter().map(|list| &list.v4[..]), &self.exclude.v4, &label_sets, count);
        let v6 = self.lay(lists.iter().map(|list| &list.v6[..]), &self.exclude.v6, &label_sets, 0);
        let names = self.names(&group, lists, &label_sets);
        self.merge(&v4, &v6, names);
        let range = index(first)..index(self.plan.targets.len());
        self.plan.groups.push(Group { targets: range, ..group });
    }

    /// The addresses of some lists, each once, by their keys. `count`: of how many there may be room at once.
    fn lay<'l, A: Ordered + 'l>(
        &self,
        lists: impl Iterator<Item = &'l [Span<A>]>,
        exclude: &[Span<A>],
        label_sets: &[u32],
        count: usize,
    ) -> Vec<Laid<A>> {
        // Sorted, repetitions stand together, first list first.
        let mut ranked: Vec<A::Ranked> = Vec::with_capacity(count);
        for (list, spans) in (0..).zip(lists) {
            for span in spans {
                span::subtract(*span, exclude, |part| {
                    let taken =
                        part.iter().filter(|a| self.options.shard.is_none_or(|shard| shard.has_address(a.address())));
                    ranked.extend(taken.map(|a| A::ranked(a.rank(self.order), list)));
                });
            }
        }
        ranked.sort_unstable();
        ranked.dedup_by_key(|entry| A::of_ranked(*entry).0);

        let mut laid: Vec<Laid<A>> = Vec::with_capacity(ranked.len());
        let mut entries = ranked.iter().map(|entry| A::of_ranked(*entry));
        self.order.keys(entries.clone().map(|(rank, _)| rank), |key| {
            if let Some((rank, list)) = entries.next() {
                let label_set = label_sets[list as usize];
                laid.push(Laid { key, address: A::of_rank(rank, self.order), label_set });
            }
        });
        // One table of each kind at a time: beside the targets themselves there are twelve bytes a target of IPv4, no more.
        drop(ranked);
        laid.sort_unstable_by_key(|target| (target.key, target.address));
        laid
    }

    /// The names, each once, by their keys: a hash has no neighbours to keep apart. Where a name stands for two targets, the second
    /// comes half an interval after the first.
    fn names(&self, group: &Group, lists: Vec<TargetList>, label_sets: &[u32]) -> Vec<(u32, Name, Target)> {
        let mut seen = HashSet::new();
        let mut names = Vec::new();
        for (list, label_set) in lists.into_iter().zip(label_sets) {
            let (of_list, addresses) = list.into_names();
            for (name, address) in addresses {
                let family = Family::of(address);
                let fits = group.family.has(family) && group.shape.over(family).is_possible();
                if !fits || self.exclude.contains(address) || !self.takes_name(&name) {
                    continue;
                }
                let text = format!("{name}/{address}").into_boxed_str();
                if seen.insert(text.clone()) {
                    let key = upper(mix(hash_name(&text) ^ self.options.seed.unwrap_or(0)));
                    let destination = Some(self.plan.addresses.enter(address));
                    names.push((
                        key,
                        Name { text, family: Some(family) },
                        Target { destination, label_set: *label_set },
                    ));
                }
            }
            for text in of_list {
                if !self.takes_name(&text) || !seen.insert(text.clone()) {
                    continue;
                }
                let key = upper(mix(hash_name(&text) ^ self.options.seed.unwrap_or(0)));
                for (key, family) in [key, key ^ 1 << 31].into_iter().zip(group.family.of_name()) {
                    names.push((key, Name { text: text.clone(), family: *family }, Target::unresolved(*label_set)));
                }
            }
        }
        names.sort_unstable_by(|a, b| (a.0, &a.1.text).cmp(&(b.0, &b.1.text)));
        names
    }

    /// Appends addresses and names, all sorted by key.
    fn merge(&mut self, v4: &[Laid<u32>], v6: &[Laid<u128>], names: Vec<(u32, Name, Target)>) {
        let plan = &mut self.plan;
        plan.targets.reserve_exact(v4.len() + v6.len() + names.len());
        let addresses = std::sync::Arc::clone(&plan.addresses);
        let of_v4 = |laid: &Laid<u32>| Target::v4(laid.address.into(), laid.label_set);
        let of_v6 = |laid: &Laid<u128>| Target {
            destination: Some(addresses.enter(span::Number::address(laid.address))),
            label_set: laid.label_set,
        };
        let (mut v4, mut v6) = (v4.iter().peekable(), v6.iter().peekable());
        // Those of one key: IPv4, IPv6, names.
        for (key, name, target) in names {
            while let Some(laid) = v6.next_if(|laid| laid.key <= key) {
                plan.targets.extend(std::iter::from_fn(|| v4.next_if(|v4| v4.key <= laid.key)).map(of_v4));
                plan.targets.push(of_v6(laid));
            }
            plan.targets.extend(std::iter::from_fn(|| v4.next_if(|laid| laid.key <= key)).map(of_v4));
            plan.names.insert(index(plan.targets.len()), name);
            plan.targets.push(target);
        }
        for laid in v6 {
            plan.targets.extend(std::iter::from_fn(|| v4.next_if(|v4| v4.key <= laid.key)).map(of_v4));
            plan.targets.push(of_v6(laid));
        }
        plan.targets.extend(v4.map(of_v4));
    }

    fn takes_name(&self, name: &str) -> bool {
        self.options.shard.is_none_or(|shard| shard.has_name(name))
    }

    /// The label set of each list, with the rows of sums that they belong to.
    fn label_sets(&mut self, group: &mut Group, labels: &BTreeMap<String, String>, lists: &[TargetList]) -> Vec<u32> {
        let number = self.plan.groups.len();
        let (mut merged, row_series) = (HashSet::new(), series::series_of_row(group));
        let mut sums: HashMap<Vec<String>, u32> = HashMap::new();
        let mut sets: HashMap<BTreeMap<String, String>, u32> = HashMap::new();
        if group.sum_by.is_empty() {
            // The group's one row is there even while no target is.
            sums.insert(Vec::new(), index(self.plan.sums.len()));
            self.plan.sums.push(Sum { group: number, values: Vec::new() });
        }
        let (plan, room) = (&mut self.plan, &mut self.room);
        let overlaid = lists.iter().map(|list| {
            let mut all = labels.clone();
            all.extend(list.labels.clone());
            all
        });
        // What a target's own label says, or for the family its address.
        let value = |labels: &BTreeMap<String, String>, name: &String, family: Option<Family>| match name.as_str() {
            FAMILY => family.map_or("", Family::name).to_owned(),
            _ => labels.get(name).cloned().unwrap_or_default(),
        };
        let label_sets = overlaid
            .map(|labels| {
                *sets.entry(labels).or_insert_with_key(|labels| {
                    let row = |family| {
                        let mut values: Vec<String> =
                            group.sum_by.iter().map(|name| value(labels, name, family)).collect();
                        if let Some(row) = sums.get(&values) {
                            return *row;
                        }
                        // For the first there is always room.
                        if !sums.is_empty() && *room < row_series {
                            merged.insert(std::mem::take(&mut values));
                            values = vec![OTHER.to_owned(); group.sum_by.len()];
                        } else if !sums.is_empty() {
                            *room -= row_series;
                        }
                        *sums.entry(values).or_insert_with_key(|values| {
                            plan.sums.push(Sum { group: number, values: values.clone() });
                            index(plan.sums.len() - 1)
                        })
                    };
                    // A row for each family that targets of the group may have, and for those that may have either.
                    let [v4, v6] = Family::ALL.map(|family| group.family.has(family).then_some(Some(family)));
                    let unknown = (group.family == Families::Any).then_some(None);
                    let any = v4.or(v6).unwrap_or_default();
                    let sums = [v4, v6, unknown].map(|family| family.unwrap_or(any)).map(row);
                    plan.label_sets.push(LabelSet { labels: labels.clone(), sums });
                    index(plan.label_sets.len() - 1)
                })
            })
            .collect();
        group.exported.merged_rows = merged.len() as u64;
        label_sets
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
