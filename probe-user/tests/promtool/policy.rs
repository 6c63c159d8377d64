//! Which targets have series of their own, and how many series a scrape has at most.

use super::{
    fake::Fake,
    parse::{Exposition as Parsed, parse},
    text::{scrape, scrape_as},
};
use echolot::{
    metrics::Format,
    targets::{self, Exclusions, GroupInput, Options, PerTarget, Plan, SeriesLimit, TargetList, build},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The targets with series in a family.
fn shown(scrape: &Parsed, family: &str) -> BTreeSet<String> {
    scrape.all(family, &[]).iter().map(|sample| sample.labels["target"].clone()).collect()
}

fn list(range: &str, labels: &[(&str, &str)]) -> TargetList {
    let mut list = TargetList::from_arguments(&[range]).unwrap();
    list.labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    list
}

/// A group of these lists, that is summed by `site`.
fn input(name: &str, per_target: PerTarget, lists: Vec<TargetList>) -> GroupInput {
    let group = targets::Group { per_target, sum_by: vec!["site".into()], ..targets::Group::named(name) };
    GroupInput { group, labels: BTreeMap::new(), lists }
}

fn plan(groups: Vec<GroupInput>, limit: u64) -> Plan {
    let options = Options { series: SeriesLimit(limit), ..Options::default() };
    build(groups, &Exclusions::default(), &options).unwrap()
}

#[test]
fn unhealthy_targets_have_one_series_and_nothing_else() {
    let mut fake = Fake::large().with_policy(PerTarget::Unhealthy);
    // Of the group's three targets; the other two groups have none and all.
    fake.unhealthy = vec![1, 0];
    let scrape = parse(&scrape(fake));
    let of_group = |family: &str| scrape.all(family, &[("group", "edge")]).len();
    assert_eq!(of_group("echolot_target_up"), 2);
    assert_eq!(scrape.value("echolot_target_up", &[("group", "edge"), ("target", "10.64.0.1")]), 1.0);
    for family in ["probes_settled_total", "rtt_seconds_sum", "last_reply_timestamp_seconds", "info"] {
        assert_eq!(of_group(&format!("echolot_target_{family}")), 0, "{family}");
        assert!(
            !scrape.all(&format!("echolot_target_{family}"), &[]).is_empty(),
            "{family} of the group that shows all"
        );
    }
    assert_eq!(scrape.value("echolot_series_dropped", &[("group", "edge")]), 0.0);
}

#[test]
fn unhealthy_targets_that_found_no_room_are_counted() {
    let mut fake = Fake::large().with_policy(PerTarget::Unhealthy);
    let mut plan = Plan::clone(&fake.plan());
    plan.groups[0].exported.most_targets = 2;
    fake.reload(plan);
    fake.unhealthy = vec![0, 1];
    // Three and six are down in its rows.
    let down: u64 = fake.snapshot.sums[..2].iter().map(|row| row.states[2]).sum();
    let scrape = parse(&scrape(fake));
    assert_eq!(scrape.value("echolot_series_dropped", &[("group", "edge")]), (down - 2) as f64);
}

#[test]
fn labelled_targets_have_all_series() {
    let gold = PerTarget::Labelled([("site".to_owned(), "ams".to_owned())].into());
    let scrape = parse(&scrape(Fake::large().with_policy(gold)));
    let of_group = scrape.all("echolot_target_info", &[("group", "edge")]);
    assert_eq!(of_group.len(), 1);
    assert_eq!(of_group[0].labels["site"], "ams");
    assert_eq!(scrape.all("echolot_target_probes_settled_total", &[("group", "edge")]).len(), 5);
}

#[test]
fn a_scrape_has_no_more_series_than_its_limit_and_the_same_ones_each_time() {
    const LIMIT: u64 = 20_000;
    let groups = || {
        vec![
            input("few", PerTarget::All, vec![list("10.1.0.0/28", &[("site", "fra")])]),
            input("many", PerTarget::All, vec![list("10.2.0.0/20", &[("site", "fra")]), list("10.3.0.0/20", &[])]),
            input("quiet", PerTarget::None, vec![list("10.4.0.0/20", &[])]),
        ]
    };
    let source = Arc::new(Fake::with_plan(plan(groups(), LIMIT)));
    let first = parse(&scrape_as(&source, Format::Text));
    let series = first.samples.len() as u64;
    assert!(series <= LIMIT && series > LIMIT * 8 / 10, "{series} series");
    // Whole targets, all of those that fit easily, and the families of all groups.
    let [infos, settled] = ["info", "probes_settled_total"].map(|f| shown(&first, &format!("echolot_target_{f}")));
    assert_eq!(infos, settled);
    assert_eq!(infos.iter().filter(|target| target.starts_with("10.1.")).count(), 16);
    let of_many = infos.len() as u64 - 16;
    assert_eq!(first.value("echolot_series_dropped", &[("group", "many")]), ((8_192 - of_many) * 10) as f64);
    assert_eq!(first.value("echolot_series_dropped", &[("group", "few")]), 0.0);
    assert_eq!(first.all("echolot_probes_total", &[]).len(), 4);
    // Whatever becomes of the targets, and after a reload, and after a start.
    source.change_states();
    assert_eq!(shown(&parse(&scrape_as(&source, Format::Text)), "echolot_target_info"), infos);
    source.reload(plan(groups(), LIMIT));
    assert_eq!(shown(&parse(&scrape_as(&source, Format::Text)), "echolot_target_info"), infos);
}

#[test]
fn rows_that_do_not_fit_share_one_and_it_says_how_many_they_are() {
    const LIMIT: u64 = 5_000;
    let sites: Vec<String> = (0..500).map(|n| format!("site{n}")).collect();
    let lists =
        sites.iter().enumerate().map(|(n, site)| list(&format!("10.1.{}.{}", n / 200, n % 200), &[("site", site)]));
    let groups = vec![
        input("sites", PerTarget::None, lists.collect()),
        input("last", PerTarget::None, vec![list("10.2.0.1", &[("site", "fra")])]),
    ];
    let plan = plan(groups, LIMIT);
    let rows = plan.sums.iter().filter(|sum| sum.group == 0).count() as u64;
    let merged = plan.groups[0].exported.merged_rows;
    assert_eq!(rows - 1 + merged, 500, "each combination has a row, or is one of those that share one");
    assert!(plan.sums.iter().any(|sum| sum.group == 0 && sum.values == [targets::OTHER]));
    assert!(plan.sums.iter().any(|sum| sum.group == 1 && sum.values == ["fra"]), "the other group keeps its row");
    // Every target is in a row of its group.
    for target in &plan.targets {
        let set = &plan.label_sets[target.label_set as usize];
        let row = &plan.sums[set.sums[0] as usize];
        assert!(row.values == [set.labels["site"].clone()] || row.values == [targets::OTHER]);
    }
    let scrape = parse(&scrape(Fake::with_plan(plan)));
    assert!(scrape.samples.len() as u64 <= LIMIT, "{} series", scrape.samples.len());
    let per_row =
        scrape.samples.iter().filter(|sample| sample.labels.get("site").is_some_and(|site| site == "fra")).count();
    assert_eq!(scrape.value("echolot_series_dropped", &[("group", "sites")]), (merged * per_row as u64) as f64);
}

#[test]
fn what_is_reckoned_for_a_row_a_target_and_this_machine_is_what_a_scrape_has() {
    let fake = Fake::large();
    let drops = fake.drops.len();
    let scrape = parse(&scrape(fake));
    let of_row = scrape.samples.iter().filter(|sample| sample.labels.get("owner").is_some_and(|o| o == "me"));
    let of_row = of_row.filter(|sample| !sample.name.starts_with("echolot_target_")).count() as u64;
    assert_eq!(of_row, targets::series_of_row(&Fake::large().plan().groups[2]));
    let of_target =
        scrape.samples.iter().filter(|sample| sample.labels.get("target").is_some_and(|t| t == "10.64.0.1"));
    // How far it is has a share of its own.
    let of_target = of_target.filter(|sample| sample.name != "echolot_path_hops");
    assert_eq!(of_target.count() as u64, targets::SERIES_OF_TARGET);
    let of_groups = scrape.samples.iter().filter(|sample| sample.labels.contains_key("group")).count();
    let of_machine = (scrape.samples.len() - of_groups) as u64;
    // A bond has a few interfaces, each of which drops frames for every cause.
    assert!(of_machine + 8 * drops as u64 <= targets::LOCAL_SERIES, "{of_machine} and {drops} an interface");
}
