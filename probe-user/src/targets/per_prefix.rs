//! How many probes a second a block of addresses gets: good manners towards whoever has it.

use super::{Error, Plan};
use crate::base::Nanos;
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Most probes within any second, by the length of a prefix: up to 32 of IPv4, beyond of IPv6.
pub type PerPrefix = BTreeMap<u8, u64>;

/// What is looked at.
const SECOND: u128 = 1_000_000_000;

/// Holds every aligned block of a plan against its limit: the most probes that its schedule sends there within any second, which for
/// an interval of several seconds is how its targets happen to stand in the order, and else how many they are. Names count once they
/// have addresses.
///
/// Groups keep their own time, so that the worst seconds of several are added up.
///
/// # Errors
/// Names the block with the most over its limit, and the group that has most of it.
pub fn check(plan: &Plan, limits: &PerPrefix) -> Result<(), Error> {
    let mut worst: Option<(u64, Error)> = None;
    for (&length, &limit) in limits {
        for (block, of_groups) in most(plan, length) {
            let probes: u64 = of_groups.iter().map(|(_, probes)| probes).sum();
            let over = probes.saturating_sub(limit);
            if over > worst.as_ref().map_or(0, |(most, _)| *most) {
                let group = of_groups.iter().max_by_key(|(_, probes)| *probes).map(|(group, _)| *group);
                let error = Error::PerPrefix {
                    block: format!("{}/{length}", address(block, length)),
                    length,
                    probes,
                    limit,
                    group: group.map(|group| plan.groups[group].name.clone()).unwrap_or_default(),
                };
                worst = Some((over, error));
            }
        }
    }
    worst.map_or(Ok(()), |(_, error)| Err(error))
}

/// By block, and group: the most probes within a second.
fn most(plan: &Plan, length: u8) -> HashMap<u128, Vec<(usize, u64)>> {
    let mut most: HashMap<u128, Vec<(usize, u64)>> = HashMap::new();
    for (number, group) in plan.groups.iter().enumerate().filter(|(_, group)| group.ttls.is_none()) {
        let range = group.targets.start as usize..group.targets.end as usize;
        let targets = plan.targets[range].iter();
        let addressed = (0u64..).zip(targets).filter_map(|(position, target)| {
            Some((position, block(plan.addresses.address(target.destination?), length)?))
        });
        let mut positions: HashMap<u128, Vec<u64>> = HashMap::new();
        for (position, block) in addressed {
            positions.entry(block).or_default().push(position);
        }
        let members = u64::from(group.targets.end - group.targets.start);
        for (block, positions) in positions {
            most.entry(block).or_default().push((number, within_a_second(&positions, members, group.interval)));
        }
    }
    most
}

/// The most probes within any second of some of a group's members, whose ascending positions in its order are these: position p of n is
/// due p n-ths of the interval after the first, again and again.
fn within_a_second(positions: &[u64], members: u64, interval: Nanos) -> u64 {
    let (count, interval, members) = (positions.len(), u128::from(interval.0.max(1)), u128::from(members.max(1)));
    let rounds = u64::try_from(SECOND / interval).unwrap_or(u64::MAX);
    let whole = rounds.saturating_mul(count as u64);
    // What is left of the second beyond whole rounds, in positions; a window that is open at its end.
    let rest = (SECOND % interval) * members;
    let distance = |from: usize, to: usize| {
        let (round, to) = (to / count, to % count);
        u128::from(positions[to]) + round as u128 * members - u128::from(positions[from])
    };
    let mut end = 0;
    let most = (0..count).map(|begin| {
        end = end.max(begin);
        while end < begin + count && distance(begin, end) * interval < rest {
            end += 1;
        }
        end - begin
    });
    whole.saturating_add(most.max().unwrap_or(0) as u64)
}

/// The aligned block of an address, as its number; None where the length is of the other family.
fn block(address: IpAddr, length: u8) -> Option<u128> {
    match address {
        IpAddr::V4(address) if length <= 32 => Some(u128::from(address.to_bits()) >> (32 - length)),
        IpAddr::V6(address) if length > 32 => Some(address.to_bits() >> (128 - length)),
        _ => None,
    }
}

/// The first address of a block.
#[expect(clippy::cast_possible_truncation, reason = "of 32 bits, as `block` made it")]
fn address(block: u128, length: u8) -> IpAddr {
    match length {
        0..=32 => Ipv4Addr::from_bits((block << (32 - length)) as u32).into(),
        _ => Ipv6Addr::from_bits(block << (128 - length)).into(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::{
        super::{Exclusions, Group, GroupInput, Options, TargetList, build},
        *,
    };
    use proptest::prelude::*;

    fn group(name: &str, targets: &[&str], interval: Nanos) -> GroupInput {
        GroupInput {
            group: Group { interval, ..Group::named(name) },
            labels: BTreeMap::new(),
            lists: vec![TargetList::from_arguments(targets).unwrap()],
        }
    }

    fn checked(groups: Vec<GroupInput>, limits: &[(u8, u64)]) -> Result<(), String> {
        let plan = build(groups, &Exclusions::default(), &Options::default()).unwrap();
        check(&plan, &limits.iter().copied().collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_block_that_is_spread_evenly_may_have_as_many_probes_as_its_limit() {
        let seconds = Nanos::from_secs;
        let of = |interval, limit| checked(vec![group("a", &["10.0.0.0/22"], seconds(interval))], &[(24, limit)]);
        assert_eq!(of(1, 256), Ok(()));
        let error = of(1, 255).unwrap_err();
        assert!(
            error.contains("/24 would get 256 probes within a second, and limits.per_prefix allows 255 for a /24"),
            "{error}"
        );
        assert!(error.contains("group `a`"), "{error}");
        // 1024 in 4 s: of each /24 every 15.6 ms one.
        assert_eq!(of(4, 64), Ok(()));
        assert!(of(4, 63).unwrap_err().contains("64 probes within a second"));
        // Several rounds a second.
        let fast = vec![group("a", &["10.0.0.1", "10.0.0.2"], Nanos::from_millis(300))];
        assert!(checked(fast, &[(24, 7)]).is_ok());
    }

    #[test]
    fn groups_are_added_up_families_kept_apart() {
        let groups = || {
            vec![
                group("a", &["10.0.0.0/25", "2001:db8::/123"], Nanos::from_secs(1)),
                group("b", &["10.0.0.0/24"], Nanos::from_secs(1)),
            ]
        };
        assert_eq!(checked(groups(), &[(24, 384), (64, 32)]), Ok(()));
        let error = checked(groups(), &[(24, 383), (64, 32)]).unwrap_err();
        assert!(error.starts_with("10.0.0.0/24 would get 384 probes") && error.contains("group `b`"), "{error}");
        let error = checked(groups(), &[(24, 384), (64, 31)]).unwrap_err();
        assert!(error.starts_with("2001:db8::/64 would get 32 probes") && error.contains("group `a`"), "{error}");
        assert!(checked(groups(), &[(0, 383)]).unwrap_err().starts_with("0.0.0.0/0 "));
        assert!(checked(groups(), &[(32, 1)]).unwrap_err().contains("/32 would get 2 probes"));
    }

    proptest! {
        /// Against due times, one by one, over several rounds.
        #[test]
        fn agrees_with_counting_due_times(
            positions in prop::collection::btree_set(0u64..40, 1..20), more in 0u64..20, millis in 50u64..4_000,
        ) {
            let positions: Vec<u64> = positions.into_iter().collect();
            let members = positions.last().unwrap() + 1 + more;
            let interval = Nanos::from_millis(millis);
            // In units of a nanosecond over all members, so that nothing is rounded.
            let due: Vec<u128> = (0..25_u128.max(3_000 / u128::from(millis)))
                .flat_map(|round| positions.iter().map(move |p| (round * u128::from(members) + u128::from(*p)) * u128::from(interval.0)))
                .collect();
            let window = SECOND * u128::from(members);
            let counted = due
                .iter()
                .take_while(|begin| **begin + window <= *due.last().unwrap())
                .map(|begin| due.iter().filter(|at| (*begin..begin + window).contains(at)).count() as u64)
                .max();
            prop_assert_eq!(within_a_second(&positions, members, interval), counted.unwrap());
        }
    }
}
