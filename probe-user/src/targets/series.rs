//! Which series a scrape has room for: by the policy of each group, within `limits.series`.
//!
//! It is decided with the plan, and by what targets are called: from scrape to scrape, and mostly from reload to reload, it stays the same.

use super::{Group, LabelSet, Plan, hash_name, mix};
use crate::base::{Cause, Outcome, State, TargetIndex};
use std::{collections::BTreeMap, net::IpAddr};

/// Most series of a scrape.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SeriesLimit(pub u64);

impl SeriesLimit {
    /// What a small Prometheus takes without thinking about it.
    pub const DEFAULT: Self = Self(100_000);
}

impl Default for SeriesLimit {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Which targets of a group have series of their own.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub enum PerTarget {
    /// None has.
    #[default]
    None,
    /// Those that are down or flapping, or were until lately, have `echolot_target_up`.
    Unhealthy,
    /// All have all.
    All,
    /// Those with these labels have all.
    Labelled(BTreeMap<String, String>),
}

impl PerTarget {
    /// As in configurations.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unhealthy => "unhealthy",
            Self::All => "all",
            Self::Labelled(_) => "labelled",
        }
    }

    /// Whether targets with these labels have all series.
    pub fn has(&self, set: &LabelSet) -> bool {
        match self {
            Self::None | Self::Unhealthy => false,
            Self::All => true,
            Self::Labelled(labels) => labels.iter().all(|(name, value)| set.labels.get(name) == Some(value)),
        }
    }

    /// Whether it exports labels of targets.
    pub const fn has_info(&self) -> bool {
        matches!(self, Self::All | Self::Labelled(_))
    }
}

/// What of a group a scrape has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exported {
    /// Targets that may have series of their own.
    pub most_targets: u64,
    /// Of targets that have all series: those whose choice is less have them. `u64::MAX`: all.
    pub below: u64,
    /// Series of single targets that are left out. Of unhealthy ones, whose number changes, that is only known in a scrape.
    pub left_out: u64,
    /// Of targets whose paths are kept: those whose choice is less show how far they are. `u64::MAX`: all.
    pub hops_below: u64,
    /// How many those are.
    pub most_hops: u64,
    /// Combinations of `sum_by` values that share the row [`OTHER`].
    pub merged_rows: u64,
}

impl Default for Exported {
    /// All of it.
    fn default() -> Self {
        Self {
            most_targets: u64::MAX,
            below: u64::MAX,
            left_out: 0,
            hops_below: u64::MAX,
            most_hops: 0,
            merged_rows: 0,
        }
    }
}

/// The value of all `sum_by` labels in the row of those targets for whose own there is no room.
pub const OTHER: &str = "other";

/// Series of this machine and program, about: there are some for each interface.
pub const LOCAL_SERIES: u64 = 320;
/// Lines of a group that are there once.
pub const fn series_of_group(group: &Group) -> u64 {
    2 + if group.path.is_some() { Outcome::ALL.len() as u64 + 2 } else { 0 }
}
/// Series of a target that has all.
pub const SERIES_OF_TARGET: u64 = Outcome::ALL.len() as u64 + 5;

/// Series of a row of sums: counters and gauges, outcomes, causes, states, and its histogram with +Inf, sum and count.
pub const fn series_of_row(group: &Group) -> u64 {
    (7 + Outcome::ALL.len() + Cause::ALL.len() + State::ALL.len() + group.buckets.len() + 3) as u64
        + group.path.is_some() as u64
}

/// What a plan's scrapes have at least: its groups' rows, and this machine.
pub(super) fn series_of_sums(plan: &Plan) -> u64 {
    let rows = plan.sums.iter().map(|sum| series_of_row(&plan.groups[sum.group]));
    LOCAL_SERIES + plan.groups.iter().map(series_of_group).sum::<u64>() + rows.sum::<u64>()
}

/// Gives the groups that want series of single targets the room that sums leave.
pub(super) fn share_out(plan: &mut Plan) {
    let left = plan.series_limit.0.saturating_sub(series_of_sums(plan));
    let candidates: Vec<u64> = plan.groups.iter().map(|group| candidates(plan, group).count() as u64).collect();
    let each = |group: &Group| if group.per_target == PerTarget::Unhealthy { 1 } else { SERIES_OF_TARGET };
    let wanted: Vec<u64> =
        plan.groups.iter().zip(&candidates).map(|(group, n)| n.saturating_mul(each(group))).collect();
    // How far each is, of those whose paths are kept.
    let hops: Vec<u64> = plan
        .groups
        .iter()
        .map(|group| if group.path.is_some() { plan.members(group).count() as u64 } else { 0 })
        .collect();
    let mut shares = shares(left, &[&wanted[..], &hops].concat());
    let of_hops = shares.split_off(wanted.len());
    let exported: Vec<Exported> = plan
        .groups
        .iter()
        .zip(shares)
        .zip(candidates)
        .map(|((group, share), candidates)| {
            let most_targets = share / each(group);
            let before = group.exported;
            if most_targets >= candidates {
                return Exported { most_targets: candidates, below: u64::MAX, left_out: 0, ..before };
            }
            if group.per_target == PerTarget::Unhealthy {
                return Exported { most_targets, below: u64::MAX, left_out: 0, ..before };
            }
            let mut choices: Vec<u64> = self::candidates(plan, group).map(|index| plan.choice(index)).collect();
            let most = usize::try_from(most_targets).unwrap_or(usize::MAX);
            let (_, below, _) = choices.select_nth_unstable(most);
            Exported {
                most_targets,
                below: *below,
                left_out: (candidates - most_targets).saturating_mul(SERIES_OF_TARGET),
                ..before
            }
        })
        .collect();
    let hops_below: Vec<u64> = plan
        .groups
        .iter()
        .zip(of_hops.iter().zip(&hops))
        .map(|(group, (share, all))| below(plan, group, *share, *all))
        .collect();
    for ((group, exported), (below, (share, all))) in
        plan.groups.iter_mut().zip(exported).zip(hops_below.into_iter().zip(of_hops.iter().zip(&hops)))
    {
        group.exported =
            Exported { hops_below: below, most_hops: *share, left_out: exported.left_out + (all - share), ..exported };
    }
}

/// The choice that so many of all targets of a group are below.
fn below(plan: &Plan, group: &Group, share: u64, all: u64) -> u64 {
    if share >= all {
        return u64::MAX;
    }
    let mut choices: Vec<u64> = plan.members(group).map(|index| plan.choice(index)).collect();
    *choices.select_nth_unstable(usize::try_from(share).unwrap_or(usize::MAX)).1
}

/// The targets of a group that its policy is about.
fn candidates<'a>(plan: &'a Plan, group: &'a Group) -> impl Iterator<Item = TargetIndex> + 'a {
    let matching: Vec<bool> = plan.label_sets.iter().map(|set| group.per_target.has(set)).collect();
    let is_wanted = group.per_target != PerTarget::None;
    plan.members(group).filter(move |index| {
        if !is_wanted {
            return false;
        }
        let set = plan.targets.get(index.0 as usize).map(|target| target.label_set as usize);
        group.per_target == PerTarget::Unhealthy || set.is_some_and(|set| matching[set])
    })
}

/// Who wants no more than an even share gets it; what is left is shared out evenly among the others.
fn shares(mut left: u64, wanted: &[u64]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|place| wanted[*place]);
    let mut shares = vec![0; wanted.len()];
    for (served, place) in order.into_iter().enumerate() {
        shares[place] = wanted[place].min(left / (wanted.len() - served) as u64);
        left -= shares[place];
    }
    shares
}

impl Plan {
    /// Whether a scrape has room for a target of this group that its policy is about.
    pub fn is_chosen(&self, group: &Group, index: TargetIndex) -> bool {
        group.exported.below == u64::MAX || self.choice(index) < group.exported.below
    }

    /// Whether a scrape has room for how far a target of this group is.
    pub fn shows_hops(&self, group: &Group, index: TargetIndex) -> bool {
        group.exported.hops_below == u64::MAX || self.choice(index) < group.exported.hops_below
    }

    /// By what a target is called.
    fn choice(&self, index: TargetIndex) -> u64 {
        if let Some(name) = self.names.get(&index.0) {
            return mix(hash_name(&name.text));
        }
        match self.address_of(index) {
            Some(IpAddr::V4(address)) => mix(address.to_bits().into()),
            Some(IpAddr::V6(address)) => {
                let (high, low) = ((address.to_bits() >> 64) as u64, address.to_bits() as u64);
                mix(low ^ mix(high))
            }
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::Nanos,
        targets::{LabelSet, Sum, Target},
    };
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn set(sum: u32, labels: &[(&str, &str)]) -> LabelSet {
        LabelSet { labels: labels.iter().map(|&(k, v)| (k.into(), v.into())).collect(), sums: [sum; 3] }
    }

    /// A group a policy, each with so many targets, of which every tenth is `tier: gold`.
    fn plan(limit: u64, groups: &[(PerTarget, u32)]) -> Plan {
        let mut plan = Plan { series_limit: SeriesLimit(limit), ..Plan::default() };
        for (i, (per_target, targets)) in groups.iter().enumerate() {
            let number = u32::try_from(i).unwrap_or(u32::MAX);
            plan.sums.push(Sum { group: i, values: Vec::new() });
            plan.label_sets.extend([set(number, &[]), set(number, &[("tier", "gold")])]);
            let first = u32::try_from(plan.targets.len()).unwrap_or(u32::MAX);
            plan.targets.extend((0..*targets).map(|n| {
                Target::v4(Ipv4Addr::from_bits(0x0a00_0000 + n), 2 * number + u32::from(n.is_multiple_of(10)))
            }));
            let group = Group::named(format!("g{i}"));
            plan.groups.push(Group { per_target: per_target.clone(), targets: first..first + targets, ..group });
        }
        share_out(&mut plan);
        plan
    }

    fn gold() -> PerTarget {
        PerTarget::Labelled([("tier".to_owned(), "gold".to_owned())].into())
    }

    fn chosen(plan: &Plan, group: usize) -> Vec<TargetIndex> {
        let group = &plan.groups[group];
        candidates(plan, group).filter(|index| plan.is_chosen(group, *index)).collect()
    }

    #[test]
    fn shares_are_even_among_those_that_want_more() {
        assert_eq!(shares(100, &[10, 1_000, 1_000]), [10, 45, 45]);
        assert_eq!(shares(100, &[1_000, 0, 30, 20]), [50, 0, 30, 20]);
        assert_eq!(shares(100, &[30, 20]), [30, 20]);
        assert_eq!(shares(0, &[30, 20]), [0, 0]);
        assert_eq!(shares(7, &[]), [0; 0]);
    }

    #[test]
    fn labelled_targets_are_those_that_have_all_of_the_labels() {
        let plan = plan(100_000, &[(gold(), 100), (PerTarget::None, 100), (PerTarget::All, 7)]);
        assert_eq!([0, 1, 2].map(|group| chosen(&plan, group).len()), [10, 0, 7]);
        let both =
            PerTarget::Labelled([("tier".to_owned(), "gold".to_owned()), ("a".to_owned(), "b".to_owned())].into());
        assert!(!both.has(&set(0, &[("tier", "gold")])) && both.has(&set(0, &[("tier", "gold"), ("a", "b")])));
    }

    #[test]
    fn how_far_targets_are_has_its_share_too() {
        let path = Some(crate::targets::PathSettings { interval: Nanos::from_secs(60), flows: 1 });
        for limit in [100_000, 6_000] {
            let mut plan = plan(limit, &[(PerTarget::None, 5_000), (PerTarget::Unhealthy, 1_000)]);
            plan.groups[0].path = path;
            plan.groups[1].path = path;
            share_out(&mut plan);
            let shown: Vec<u64> = plan
                .groups
                .iter()
                .map(|group| {
                    let shown =
                        group.targets.clone().filter(|index| plan.shows_hops(group, TargetIndex(*index))).count()
                            as u64;
                    assert_eq!(shown, group.exported.most_hops);
                    assert_eq!(group.exported.left_out, group.targets.len() as u64 - shown);
                    shown
                })
                .collect();
            let most = limit - series_of_sums(&plan);
            assert!(shown.iter().sum::<u64>() + plan.groups[1].exported.most_targets <= most, "{shown:?}");
            if limit == 100_000 {
                assert_eq!(shown, [5_000, 1_000]);
            } else {
                assert!(shown[0] < 5_000 && shown[1] == 1_000, "an even share is enough for the small one: {shown:?}");
            }
        }
    }

    #[test]
    fn a_choice_hardly_changes_with_who_else_is_there() {
        let (before, after) = (plan(20_000, &[(PerTarget::All, 10_000)]), plan(20_000, &[(PerTarget::All, 10_100)]));
        let [before, after] = [&before, &after].map(|plan| {
            let addresses = chosen(plan, 0).into_iter().filter_map(|index| plan.address_of(index));
            addresses.collect::<std::collections::BTreeSet<_>>()
        });
        assert!(before.len() > 1_900 && before.len() == after.len(), "{} {}", before.len(), after.len());
        let stay = before.intersection(&after).count();
        assert!(stay > before.len() * 95 / 100, "{stay} of {}", before.len());
    }

    proptest! {
        #[test]
        fn no_more_than_the_limit_is_chosen_and_what_is_left_out_is_known(
            limit in 0u64..30_000,
            groups in proptest::collection::vec(
                (prop_oneof![Just(PerTarget::None), Just(PerTarget::Unhealthy), Just(PerTarget::All), Just(gold())], 0u32..3_000),
                1..5,
            ),
        ) {
            let plan = plan(limit, &groups);
            let mut series = series_of_sums(&plan);
            let sums = series;
            for (i, (group, (per_target, targets))) in plan.groups.iter().zip(&groups).enumerate() {
                let shown = chosen(&plan, i).len() as u64;
                match per_target {
                    PerTarget::Unhealthy => series += group.exported.most_targets,
                    _ => {
                        series += shown * SERIES_OF_TARGET;
                        let wanted = candidates(&plan, group).count() as u64;
                        prop_assert_eq!(group.exported.left_out, (wanted - shown) * SERIES_OF_TARGET);
                        prop_assert_eq!(shown, wanted.min(group.exported.most_targets));
                    }
                }
                prop_assert!(group.exported.most_targets <= u64::from(*targets));
            }
            prop_assert!(series <= limit.max(sums), "{} series of at most {}", series, limit);
        }
    }
}
