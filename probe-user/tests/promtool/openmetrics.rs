//! OpenMetrics, against the text format and by another's parser.

use super::{
    fake::Fake,
    parse::{Exposition as Parsed, parse},
    text::{scrape, scrape_as},
    tools::{Sample, python_reads},
};
use echolot::{
    metrics::Format,
    targets::{Group, LabelSet, PerTarget, Plan, Sum, Target},
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{TestRng, TestRunner},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

/// A sample's name and labels. Bounds of buckets are numbers, however they are written.
type Key = (String, BTreeMap<String, String>);

fn key(name: &str, labels: &BTreeMap<String, String>) -> Key {
    let mut labels = labels.clone();
    if let Some(le) = labels.get_mut("le") {
        *le = le.parse::<f64>().unwrap().to_string();
    }
    (name.to_owned(), labels)
}

/// All but what changes from scrape to scrape.
fn samples(scrape: &Parsed) -> Vec<(Key, f64)> {
    let own = scrape.samples.iter().filter(|sample| !sample.name.starts_with("process_"));
    own.map(|sample| (key(&sample.name, &sample.labels), sample.value)).collect()
}

#[test]
fn openmetrics_says_what_the_text_says_in_its_own_form() {
    let text = scrape_as(&Arc::new(Fake::large()), Format::OpenMetrics);
    let (body, end) = text.split_at(text.len() - "# EOF\n".len());
    assert_eq!(end, "# EOF\n");
    assert!(!body.contains("# EOF") && !body.contains("_created"));
    let types: BTreeMap<&str, &str> =
        body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for family in echolot::metrics::families() {
        let is_counter = family.kind.name() == "counter";
        assert_eq!(family.name.ends_with("_total"), is_counter, "{}", family.name);
        assert_eq!(types.get(family.name.trim_end_matches("_total")), Some(&family.kind.name()), "{}", family.name);
    }
    for unit in body.lines().filter_map(|line| line.strip_prefix("# UNIT ")) {
        let (family, unit) = unit.split_once(' ').unwrap();
        assert!(family.ends_with(&format!("_{unit}")) && types.contains_key(family), "{family} {unit}");
    }
    assert!(body.contains("le=\"1e-05\"") && body.contains("# UNIT echolot_rtt_seconds seconds\n"));
    // What is left is the text format's.
    let plain: String = body
        .lines()
        .filter(|line| !line.starts_with("# UNIT "))
        .map(|line| {
            let counter = line.split(' ').nth(2).filter(|family| line.starts_with('#') && types[family] == "counter");
            counter.map_or(line.to_owned(), |family| line.replacen(family, &format!("{family}_total"), 1)) + "\n"
        })
        .collect();
    assert_eq!(samples(&parse(&plain)), samples(&parse(&scrape(Fake::large()))));
}

/// Text that breaks what does not escape it.
fn nasty() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}", "[\\\\\"\n\r\t {}=,#é€😀\u{85}\u{2028}a-c_]{0,12}", "\\PC{0,8}", Just("# EOF".to_owned())]
}

/// Groups and targets of any name, with any labels.
fn plans() -> impl Strategy<Value = Plan> {
    let labels = || proptest::collection::btree_map("[a-z_]{1,3}[a-z0-9_]{2,8}x", nasty(), 0..4);
    let groups = proptest::collection::btree_map(nasty(), proptest::collection::vec((labels(), 0u32..5), 1..4), 1..4);
    groups.prop_map(|groups| {
        let mut plan = Plan::default();
        for (i, (name, sets)) in groups.into_iter().enumerate() {
            let (first, sum) = (plan.targets.len() as u32, plan.sums.len() as u32);
            plan.sums.push(Sum { group: i, values: Vec::new() });
            let mut number = 0;
            for (labels, targets) in sets {
                let labels = labels.into_iter().filter(|(name, _)| echolot::targets::check_label_name(name).is_ok());
                plan.label_sets.push(LabelSet { labels: labels.collect(), sums: [sum; 3] });
                for _ in 0..targets {
                    number += 1;
                    let address = Ipv4Addr::from_bits(0x0a00_0000 + plan.targets.len() as u32);
                    plan.targets.push(Target::v4(address, plan.label_sets.len() as u32 - 1));
                    // Some have names, which here hold anything, too.
                    if number % 3 == 0 {
                        plan.names.insert(plan.targets.len() as u32 - 1, format!("{name}{number}").as_str().into());
                    }
                }
            }
            let targets = first..plan.targets.len() as u32;
            plan.groups.push(Group { per_target: PerTarget::All, targets, ..Group::named(name) });
        }
        plan
    })
}

/// What a scrape must say of its targets: the labels of each.
fn infos(plan: &Plan) -> BTreeSet<BTreeMap<String, String>> {
    let info = |(i, target): (usize, &Target)| {
        let index = echolot::base::TargetIndex(i as u32);
        let mut labels = plan.label_sets[target.label_set as usize].labels.clone();
        labels.insert("group".into(), plan.groups[plan.group_of(index).unwrap()].name.clone());
        labels.insert("target".into(), plan.name_of(index).unwrap().to_string());
        labels.insert("address".into(), plan.address_of(index).unwrap().to_string());
        labels
    };
    plan.targets.iter().enumerate().map(info).collect()
}

proptest! {
    #[test]
    fn any_names_and_labels_come_back_as_they_were(plan in plans()) {
        let expected = infos(&plan);
        let scrape = parse(&scrape(Fake::with_plan(plan)));
        let found = scrape.all("echolot_target_info", &[]).into_iter().map(|sample| sample.labels.clone());
        prop_assert_eq!(found.collect::<BTreeSet<_>>(), expected);
    }
}

#[test]
fn python_reads_both_formats_and_finds_the_same() {
    let mut runner =
        TestRunner::new_with_rng(ProptestConfig::default(), TestRng::deterministic_rng(Default::default()));
    let any: Vec<Plan> = (0..60).map(|_| plans().new_tree(&mut runner).unwrap().current()).collect();
    let expected: Vec<_> = any.iter().map(infos).collect();
    let sources = any.into_iter().map(Fake::with_plan);
    let sources: Vec<_> =
        [Fake::large(), Fake::fresh(), Fake::small()].into_iter().chain(sources).map(Arc::new).collect();
    let in_both =
        sources.iter().flat_map(|source| [Format::Text, Format::OpenMetrics].map(|f| (f, scrape_as(source, f))));
    let in_both: Vec<_> = in_both.collect();
    let read = python_reads(&in_both);
    for (i, ((_, text), pair)) in in_both.iter().step_by(2).zip(read.chunks(2)).enumerate() {
        let all = |samples: &[Sample<f64>]| -> Vec<(Key, f64)> {
            let own = samples.iter().filter(|(name, ..)| !name.starts_with("process_"));
            own.map(|(name, labels, value)| (key(name, labels), *value)).collect()
        };
        let by_us = samples(&parse(text));
        assert!(all(&pair[0]) == by_us, "the text format of scrape {i} is read otherwise:\n{text}");
        assert!(all(&pair[1]) == by_us, "OpenMetrics of scrape {i} says otherwise:\n{}", in_both[2 * i + 1].1);
        if let Some(expected) = i.checked_sub(3).map(|i| &expected[i]) {
            let found = pair[1].iter().filter(|(name, ..)| name == "echolot_target_info");
            assert_eq!(&found.map(|(_, labels, _)| labels.clone()).collect::<BTreeSet<_>>(), expected);
        }
    }
}
