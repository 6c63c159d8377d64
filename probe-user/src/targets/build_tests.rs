//! Plans that come of what people write.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::{
    super::{BYTES_PER_TARGET, TargetSpec},
    *,
};
use crate::base::TargetIndex;
use proptest::prelude::*;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

fn list(texts: &[&str], labels: &[(&str, &str)]) -> TargetList {
    let mut list = TargetList::from_arguments(texts).unwrap();
    list.labels = map(labels);
    list
}

fn map(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn input(name: &str, lists: Vec<TargetList>) -> GroupInput {
    GroupInput { group: Group::named(name), labels: BTreeMap::new(), lists }
}

fn exclusions(texts: &[&str]) -> Exclusions {
    list(texts, &[]).ranges().collect()
}

/// What each target is called, in the order of the plan.
fn names(plan: &Plan) -> Vec<String> {
    (0..plan.targets.len()).map(|i| plan.name_of(TargetIndex(index(i))).unwrap().to_string()).collect()
}

fn labels_of<'a>(plan: &'a Plan, name: &str) -> &'a LabelSet {
    let i = names(plan).iter().position(|n| n == name).unwrap();
    &plan.label_sets[plan.targets[i].label_set as usize]
}

const WITHOUT: &Options = &Options { seed: None, shard: None, series: SeriesLimit::DEFAULT };

#[test]
fn every_target_stands_once_in_its_group() {
    let first = input("a", vec![list(&["10.0.0.0/30", "10.0.0.2-5", "host.example", "10.0.0.1", "HOST.example"], &[])]);
    let second = input("b", vec![list(&["10.0.0.1"], &[])]);
    let plan = build(vec![first, second], &exclusions(&["10.0.0.3/32"]), WITHOUT).unwrap();
    assert_eq!(plan.groups.iter().map(|g| g.targets.clone()).collect::<Vec<_>>(), [0..6, 6..7]);
    let all = names(&plan);
    let expected = ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.4", "10.0.0.5", "host.example"];
    assert_eq!(all[..6].iter().map(String::as_str).collect::<BTreeSet<_>>(), expected.into());
    assert_eq!(all[6], "10.0.0.1");
    assert_eq!([0, 5, 6].map(|i| plan.group_of(TargetIndex(i)).unwrap()), [0, 0, 1]);
    assert_eq!((plan.group_of(TargetIndex(7)), plan.name_of(TargetIndex(7))), (None, None));
    assert_eq!(plan.targets.iter().filter(|t| t.destination.is_none()).count(), 1);
}

#[test]
fn an_empty_group_is_stepped_over() {
    let groups =
        ["a", "b", "c"].map(|name| input(name, vec![list(if name == "b" { &[] } else { &["10.0.0.1"] }, &[])]));
    let plan = build(groups.into(), &Exclusions::default(), WITHOUT).unwrap();
    assert_eq!([0, 1].map(|i| plan.group_of(TargetIndex(i)).unwrap()), [0, 2]);
}

#[test]
fn labels_overlay_and_the_first_to_name_a_target_wins() {
    let lists = vec![
        list(&["10.0.0.9"], &[]),
        list(&["10.0.0.1", "10.0.0.2"], &[("site", "fra")]),
        list(&["10.0.0.2", "10.0.0.3"], &[("site", "muc"), ("rack", "7")]),
        list(&["10.0.0.4", "10.0.0.3"], &[("site", "fra")]),
    ];
    let mut group = input("edge", lists);
    group.labels = map(&[("site", "none"), ("kind", "router")]);
    group.group.sum_by = vec!["site".into(), "rack".into()];
    let plan = build(vec![input("other", vec![list(&["h"], &[])]), group], &Exclusions::default(), WITHOUT).unwrap();
    let set = |name| {
        (
            labels_of(&plan, name).labels.clone(),
            plan.sums[labels_of(&plan, name).sum(Some(Family::V4)) as usize].clone(),
        )
    };
    let sum = |values: [&str; 2]| Sum { group: 1, values: values.map(String::from).to_vec() };
    let fra = (map(&[("site", "fra"), ("kind", "router")]), sum(["fra", ""]));
    let muc = (map(&[("site", "muc"), ("rack", "7"), ("kind", "router")]), sum(["muc", "7"]));
    assert_eq!(["10.0.0.1", "10.0.0.2", "10.0.0.4"].map(set), [fra.clone(), fra.clone(), fra]);
    assert_eq!(set("10.0.0.3"), muc);
    assert_eq!(set("10.0.0.9"), (map(&[("site", "none"), ("kind", "router")]), sum(["none", ""])));
    // A set of labels stands once; the group without sum_by has its one row.
    assert_eq!((plan.label_sets.len(), plan.sums.len()), (4, 4));
    assert_eq!(plan.sums[0], Sum { group: 0, values: vec![] });
}

#[test]
fn a_seed_gives_one_order() {
    let plan = |seed| {
        let lists = vec![list(&["10.0.0.0/22", "a.example", "b.example"], &[])];
        names(&build(vec![input("a", lists)], &Exclusions::default(), &Options { seed, ..*WITHOUT }).unwrap())
    };
    assert_eq!(plan(Some(7)), plan(Some(7)));
    assert_ne!(plan(Some(7)), plan(Some(8)));
    assert_eq!(plan(None), plan(Some(0)));
}

#[test]
fn too_much_is_refused_before_it_is_expanded() {
    let group = |text| input("edge", vec![list(&["10.0.0.1", text, "host.example"], &[])]);
    let error = build_within(vec![group("10.0.0.0/8")], &Exclusions::default(), WITHOUT, Some(1 << 30)).unwrap_err();
    let text = error.to_string();
    for part in ["group `edge`", "10.0.0.0/8", "16777216 targets", "1.6 GiB", "1.0 GiB is available", "exclude some"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let error = build_within(vec![group("2001:db8::/64")], &Exclusions::default(), WITHOUT, Some(1 << 30)).unwrap_err();
    assert!(error.to_string().contains("2001:db8::/64 (18446744073709551615 targets)"), "{error}");
    let error = build_within(vec![group("0.0.0.0/0")], &Exclusions::default(), WITHOUT, None).unwrap_err();
    assert!(matches!(&error, Error::TooMany { part, .. } if part == "0.0.0.0/0"), "{error}");
    // What is excluded needs no memory.
    let most = exclusions(&["10.0.0.0-10.255.255.253"]);
    let plan = build_within(vec![group("10.0.0.0/8")], &most, WITHOUT, Some(1000)).unwrap().0;
    assert_eq!(plan.targets.len(), 3);
}

#[test]
fn a_long_window_counts() {
    let mut long = input("a", vec![list(&["10.0.0.0/24"], &[])]);
    (long.group.interval, long.group.timeout) =
        (crate::base::Nanos::from_millis(10), crate::base::Nanos::from_secs(60));
    assert_eq!((long.group.places(), long.group.bytes_per_target()), (8192, BYTES_PER_TARGET + 2 * 8192 / 8));
    let error = build_within(vec![long], &Exclusions::default(), WITHOUT, Some(256 * 1000)).unwrap_err();
    assert!(matches!(error, Error::Memory { .. }), "{error}");
}

#[test]
fn nothing_to_probe_says_why() {
    let some = || input("a", vec![list(&["10.0.0.1"], &[])]);
    let error =
        |groups, exclude: &[&str], options| build(groups, &exclusions(exclude), &options).unwrap_err().to_string();
    assert_eq!(error(vec![], &[], *WITHOUT), "there is no target to probe: none was named");
    assert_eq!(error(vec![input("a", vec![])], &[], *WITHOUT), "there is no target to probe: none was named");
    let excluded = error(vec![some()], &["10.0.0.0/8"], *WITHOUT);
    assert_eq!(excluded, "there is no target to probe: all that were named are excluded");
    let shards = (1..=64).map(|n| Options { shard: Shard::new(n, 64), ..*WITHOUT });
    let errors: Vec<String> =
        shards.filter_map(|o| build(vec![some()], &exclusions(&[]), &o).err()).map(|e| e.to_string()).collect();
    assert!(errors.len() == 63 && errors.iter().all(|e| e.contains("in this shard")), "{errors:?}");
}

/// Half of the schedule's slots are of each family, and neither comes in bursts.
#[test]
fn families_take_turns() {
    let lists = vec![list(&["10.0.0.0/20", "2001:db8::/116", "2001:db8:7::1", "host.example"], &[])];
    let plan = build(vec![input("a", lists)], &Exclusions::default(), WITHOUT).unwrap();
    assert_eq!(plan.targets.len(), 2 * 4096 + 2);
    let v6 = |target: &&Target| target.destination.is_some_and(|to| to.family == Family::V6);
    let most = plan.targets.chunks(64).map(|targets| targets.iter().filter(v6).count()).max();
    assert!(most <= Some(36), "{most:?} of 64");
    let first = plan.address_of(TargetIndex(0)).unwrap();
    assert_eq!(names(&plan).iter().collect::<HashSet<_>>().len(), plan.targets.len(), "each once, {first}");
}

#[test]
fn a_group_has_the_families_that_it_names() {
    let of = |family, texts: &[&str]| {
        let mut input = input("edge", vec![list(texts, &[])]);
        input.group.family = family;
        build(vec![input], &Exclusions::default(), WITHOUT)
    };
    let wanted =
        |family| of(family, &["host.example"]).unwrap().names.into_values().map(|name| name.family).collect::<Vec<_>>();
    assert_eq!(wanted(Families::Any), [None]);
    assert_eq!(wanted(Families::Only(Family::V6)), [Some(Family::V6)]);
    let both: HashSet<_> = wanted(Families::Both).into_iter().collect();
    assert_eq!(both, HashSet::from([Some(Family::V4), Some(Family::V6)]));
    for families in [Families::Any, Families::Both] {
        assert_eq!(of(families, &["10.0.0.1", "2001:db8::1"]).unwrap().targets.len(), 2);
    }
    for (family, text) in [(Family::V4, "2001:db8::/64"), (Family::V6, "10.0.0.0/8")] {
        let error = of(Families::Only(family), &[text]).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains("`family: any`"), "{error}");
    }
}

#[test]
fn sums_by_family_have_a_row_for_each() {
    let mut group = input("edge", vec![list(&["10.0.0.1", "2001:db8::1", "host.example"], &[("site", "fra")])]);
    group.group.sum_by = vec!["site".into(), FAMILY.into()];
    let plan = build(vec![group.clone()], &Exclusions::default(), WITHOUT).unwrap();
    let row = |plan: &Plan, name| {
        let target = TargetIndex(index(names(plan).iter().position(|n| n == name).unwrap()));
        plan.sums[labels_of(plan, name).sum(plan.family_of(target)) as usize].values.join(" ")
    };
    assert_eq!(["10.0.0.1", "2001:db8::1", "host.example"].map(|name| row(&plan, name)), ["fra 4", "fra 6", "fra "]);
    assert_eq!(plan.sums.len(), 3);
    group.group.family = Families::Both;
    let plan = build(vec![group.clone()], &Exclusions::default(), WITHOUT).unwrap();
    assert_eq!(plan.sums.iter().map(|sum| sum.values.join(" ")).collect::<Vec<_>>(), ["fra 4", "fra 6"]);
    group.group.sum_by = vec!["site".into()];
    let plan = build(vec![group], &Exclusions::default(), WITHOUT).unwrap();
    assert_eq!(plan.sums.len(), 1);
}

#[test]
fn a_target_is_twelve_bytes() {
    assert_eq!(size_of::<Target>(), 12);
}

/// A million targets stand in a fraction of a second, ten million in a few. The bound is generous: other tests run too.
#[test]
fn a_million_targets_are_laid_out_each_once() {
    let plan = build(vec![input("a", vec![list(&["10.64.0.0/12"], &[])])], &Exclusions::default(), WITHOUT).unwrap();
    assert_eq!(plan.targets.len(), 1 << 20);
    assert_eq!(plan.targets.iter().map(|t| t.destination).collect::<HashSet<_>>().len(), 1 << 20);
}

proptest! {
    #[test]
    fn agrees_with_sets_of_addresses(
        lists in prop::collection::vec(prop::collection::vec((0u32..2000, 0u32..300), 0..5), 1..4),
        excluded in prop::collection::vec((0u32..2000, 0u32..300), 0..4),
        seed: u64,
    ) {
        // The same numbers as hosts of an IPv4 and of an IPv6 network.
        let both = |(first, more): &(u32, u32)| [
            AddressRange::V4(Span::new(*first, first + more).unwrap()),
            AddressRange::V6(Span::new(u128::from(*first) << 60, u128::from(first + more) << 60).unwrap()),
        ];
        // One in 2^60 addresses of IPv6 is left: all others are excluded.
        let between = (0..2_400_u128).map(|n| AddressRange::V6(Span::new((n << 60) + 1, ((n + 1) << 60) - 1).unwrap()));
        let set = |ranges: &[(u32, u32)]| ranges.iter().flat_map(|(a, n)| *a..=a + n).collect::<BTreeSet<u32>>();
        let exclude: Exclusions = excluded.iter().flat_map(both).chain(between).collect();
        let inputs = lists.iter().map(|ranges| {
            let mut list = TargetList::default();
            ranges.iter().flat_map(both).for_each(|range| list.push(TargetSpec::Addresses(range)));
            list
        });
        let expected: BTreeSet<u32> = set(&lists.concat()).difference(&set(&excluded)).copied().collect();
        match build(vec![input("a", inputs.collect())], &exclude, &Options { seed: Some(seed), ..*WITHOUT }) {
            Err(Error::Empty { .. }) => prop_assert!(expected.is_empty()),
            Err(error) => prop_assert!(false, "{error}"),
            Ok(plan) => {
                prop_assert_eq!(plan.targets.len(), 2 * expected.len());
                let addresses = (0..plan.targets.len()).map(|i| plan.address_of(TargetIndex(index(i))).unwrap());
                let (v4, v6): (Vec<_>, Vec<_>) = addresses.partition(IpAddr::is_ipv4);
                let number = |address: IpAddr| match address {
                    IpAddr::V4(address) => address.to_bits(),
                    IpAddr::V6(address) => u32::try_from(address.to_bits() >> 60).unwrap(),
                };
                for got in [v4, v6] {
                    prop_assert_eq!(&got.into_iter().map(number).collect::<BTreeSet<u32>>(), &expected);
                }
            }
        }
    }

    #[test]
    fn shards_are_disjoint_and_complete_whatever_their_seeds(count in 1u32..9, more in 0u32..3000, seeds: [u64; 8]) {
        let texts = [format!("10.0.0.0-{}", Ipv4Addr::from(0x0a00_0000 + more)), "a.example".into(), "b.example".into()];
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut all = Vec::new();
        for number in 1..=count {
            let options = Options { seed: Some(seeds[number as usize - 1]), shard: Shard::new(number, count), ..*WITHOUT };
            match build(vec![input("a", vec![list(&texts, &[])])], &Exclusions::default(), &options) {
                Ok(plan) => all.extend(names(&plan)),
                Err(error) => prop_assert!(matches!(error, Error::Empty { .. }), "{error}"),
            }
        }
        prop_assert_eq!(all.len(), more as usize + 3);
        prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), more as usize + 3);
    }
}
