//! The text itself.

use super::{
    fake::{Fake, NASTY},
    parse::{Exposition as Parsed, Sample, parse},
};
use echolot::{
    base::{Cause, Outcome, State},
    health::Hold,
    metrics::{self, CHUNK, Exposition, ExpositionError, Format},
    wire::RejectedReason,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

/// A whole scrape.
pub(crate) fn scrape(source: Fake) -> String {
    scrape_as(&Arc::new(source), Format::Text)
}

/// The same in this format, by several if need be.
pub(crate) fn scrape_as(source: &Arc<Fake>, format: Format) -> String {
    Exposition::new(Arc::clone(source) as _, format).unwrap().collect()
}

#[test]
fn a_small_case_to_the_letter() {
    let text = scrape(Fake::small());
    let (sums, rest) = text.split_once("# HELP process_").unwrap();
    let revision = option_env!("ECHOLOT_REVISION").unwrap_or("unknown");
    let expected =
        include_str!("small.txt").replace("VERSION", env!("CARGO_PKG_VERSION")).replace("REVISION", revision);
    let (expected_sums, expected_targets) = expected.split_once("PROCESS\n").unwrap();
    assert_eq!(sums, expected_sums);
    let (_, targets) = rest.split_once("# HELP echolot_target_up").unwrap();
    assert_eq!(format!("# HELP echolot_target_up{targets}"), expected_targets);
}

#[test]
fn the_equation_holds_in_every_row_to_the_probe() {
    let scrape = parse(&scrape(Fake::large()));
    let rows = scrape.all("echolot_probes_total", &[]);
    assert_eq!(rows.len(), 4);
    for row in rows {
        let labels: Vec<_> = row.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let settled = scrape.all("echolot_probes_settled_total", &labels);
        assert_eq!(settled.len(), Outcome::ALL.len());
        // What was not sent is split by cause.
        let unsent = scrape.all("echolot_probes_unsent_total", &labels);
        assert_eq!(unsent.len(), Cause::ALL.len());
        let unsent: f64 = unsent.iter().map(|sample| sample.value).sum();
        let outcome = |sample: &&&Sample| sample.labels["outcome"] == Outcome::Unsent.name();
        assert_eq!(Some(unsent), settled.iter().find(outcome).map(|sample| sample.value), "{labels:?}");
        let settled: f64 = settled.iter().map(|sample| sample.value).sum();
        assert_eq!(row.value, settled + scrape.value("echolot_probes_in_flight", &labels), "{labels:?}");
    }
}

#[test]
fn label_values_come_back_as_they_were() {
    let scrape = parse(&scrape(Fake::large()));
    assert_eq!(scrape.value("echolot_probes_total", &[("site", "ams"), ("rack", NASTY)]), 2050.0);
    assert_eq!(scrape.value("echolot_probes_total", &[("group", NASTY), ("owner", "me")]), 4050.0);
    assert_eq!(scrape.value("echolot_target_up", &[("group", "edge"), ("target", NASTY)]), 0.0);
    let info = &scrape.all("echolot_target_info", &[("target", NASTY)])[0].labels;
    assert_eq!((info["rack"].as_str(), info["address"].as_str()), (NASTY, "10.64.0.2"));
    // A group has its own labels and no other's.
    let core = &scrape.all("echolot_probes_total", &[("group", "core")])[0].labels;
    assert_eq!(core.keys().collect::<Vec<_>>(), ["group"]);
}

#[test]
fn histograms_agree_with_themselves() {
    let scrape = parse(&scrape(Fake::large()));
    for name in [
        "echolot_rtt_seconds",
        "echolot_send_lag_seconds",
        "echolot_transmit_dwell_seconds",
        "echolot_receive_delay_seconds",
    ] {
        let mut rows: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in scrape.all(&format!("{name}_bucket"), &[]) {
            let mut labels = sample.labels.clone();
            let le = labels.remove("le").unwrap().parse().unwrap();
            rows.entry(labels).or_default().push((le, sample.value));
        }
        assert!(!rows.is_empty());
        for (labels, buckets) in rows {
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
            let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let count = scrape.value(&format!("{name}_count"), &labels);
            assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, count));
            assert!(count > 0.0 && scrape.value(&format!("{name}_sum"), &labels) > 0.0);
        }
    }
    let expected = (0..900).map(|i| f64::from(20 + i % 1000)).sum::<f64>() / 1e6;
    let sum = scrape.value("echolot_rtt_seconds_sum", &[("site", "fra")]);
    assert!((sum - expected).abs() < 1e-9, "{sum} is not {expected}");
}

#[test]
fn every_fixed_label_value_is_there_from_the_first_scrape() {
    let scrape = parse(&scrape(Fake::fresh()));
    let values = |name: &str, label: &str| -> BTreeSet<String> {
        let samples = scrape.all(name, &[]);
        assert!(samples.iter().all(|sample| sample.value == 0.0), "{name}");
        samples.iter().map(|sample| sample.labels[label].clone()).collect()
    };
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(values("echolot_probes_settled_total", "outcome"), set(&Outcome::ALL.map(Outcome::name)));
    assert_eq!(values("echolot_probes_unsent_total", "cause"), set(&Cause::ALL.map(Cause::name)));
    assert_eq!(values("echolot_targets", "state"), set(&State::ALL.map(State::name)));
    assert_eq!(values("echolot_replies_rejected_total", "reason"), set(&RejectedReason::ALL.map(RejectedReason::name)));
    assert_eq!(values("echolot_state_hold", "reason"), set(&Hold::ALL.map(Hold::name)));
    let target = [("group", "edge"), ("target", "nowhere.example")];
    assert_eq!(scrape.all("echolot_target_probes_settled_total", &target).len(), Outcome::ALL.len());
    for name in ["probes_total", "probes_in_flight", "probes_skipped_total", "replies_late_total"] {
        assert_eq!(scrape.all(&format!("echolot_{name}"), &[]).len(), 4);
    }
    assert_eq!(scrape.value("echolot_rtt_seconds_bucket", &[("group", "core"), ("le", "+Inf")]), 0.0);
}

#[test]
fn a_target_shows_what_is_known_and_nothing_else() {
    let scrape = parse(&scrape(Fake::large()));
    let has = |name: &str, target: &str| !scrape.all(name, &[("target", target)]).is_empty();
    // Up, down, unresolved; a group without series per target; up again (index 5 is down, 6 unresolved).
    assert_eq!(scrape.value("echolot_target_up", &[("target", "10.64.0.1")]), 1.0);
    assert_eq!(scrape.value("echolot_target_up", &[("target", "10.64.0.6")]), 0.0);
    assert!(!has("echolot_target_up", "nowhere.example") && has("echolot_target_info", "nowhere.example"));
    assert!(!has("echolot_target_last_reply_timestamp_seconds", "nowhere.example"));
    assert_eq!(scrape.all("echolot_target_info", &[("target", "nowhere.example")])[0].labels["address"], "");
    assert!(!has("echolot_target_info", "10.64.0.4"));
    let at = scrape.value("echolot_target_last_reply_timestamp_seconds", &[("target", "10.64.0.1")]);
    assert_eq!(at, 1_795_212_001.5);
    let of_sources = |name: &str| name.starts_with("echolot_target_source_");
    let of_targets = |name: &str| name.starts_with("echolot_target_") && !name.contains("info") && !of_sources(name);
    for sample in scrape.samples.iter().filter(|sample| of_targets(&sample.name)) {
        let own: Vec<_> = sample.labels.keys().filter(|key| *key != "outcome").collect();
        assert_eq!(own, ["group", "target"], "{sample:?}");
    }
}

#[test]
fn a_reserved_label_name_is_an_error_that_names_group_and_label() {
    for name in echolot::targets::RESERVED_LABELS {
        let mut plan = echolot::targets::Plan::clone(&Fake::small().plan());
        plan.label_sets[0].labels.insert(name.into(), "x".into());
        let error = Exposition::new(Arc::new(Fake::with_plan(plan)), Format::Text).err().unwrap().to_string();
        assert!(error.contains("group edge") && error.contains(name), "{error}");
    }
    let mut plan = echolot::targets::Plan::clone(&Fake::small().plan());
    plan.groups[0].sum_by[0] = "si-te".into();
    let error = Exposition::new(Arc::new(Fake::with_plan(plan)), Format::Text).err();
    assert!(matches!(error, Some(ExpositionError::Label { .. })), "{error:?}");
}

#[test]
fn without_groups_there_is_still_an_exposition() {
    let scrape = parse(&scrape(Fake::with_plan(echolot::targets::Plan::default())));
    assert_eq!(scrape.value("echolot_interface_up", &[]), 1.0);
    assert!(!scrape.types.contains_key("echolot_probes_total"));
}

#[test]
fn a_scrape_ends_as_it_began_whatever_is_reloaded_meanwhile() {
    let source = Arc::new(Fake::many(10_000));
    let before = parse(&scrape_as(&source, Format::Text));
    let mut scrape = Exposition::new(source.clone(), Format::Text).unwrap();
    let first = scrape.next().unwrap();
    source.reload(echolot::targets::Plan::clone(&Fake::small().plan()));
    // Its last target's place is another's now, so what is counted there is not the last target's.
    source.give_away(9_999);
    let during = parse(&(first + &scrape.collect::<String>()));
    let names = |scrape: &Parsed| scrape.samples.iter().map(|s| (s.name.clone(), s.labels.clone())).collect::<Vec<_>>();
    let last = "10.64.39.15";
    let without = |names: Vec<(String, BTreeMap<String, String>)>| {
        names.into_iter().filter(|(_, labels)| labels.get("target").is_none_or(|t| t != last)).collect::<Vec<_>>()
    };
    assert_eq!(names(&during), without(names(&before)));
    let after = parse(&scrape_as(&source, Format::Text));
    assert_eq!(after.all("echolot_target_info", &[]).len(), 1);
}

#[test]
fn a_million_targets_are_streamed_in_bounded_chunks() {
    const TARGETS: u32 = 1_000_000;
    let begun = Instant::now();
    let (mut lines, mut bytes, mut longest, mut chunks) = (0, 0, 0, 0);
    let mut per_family: BTreeMap<String, u32> = BTreeMap::new();
    for chunk in Exposition::new(Arc::new(Fake::many(TARGETS)), Format::Text).unwrap() {
        chunks += 1;
        bytes += chunk.len();
        longest = longest.max(chunk.capacity());
        assert!(chunk.len() <= CHUNK, "a chunk of {} bytes", chunk.len());
        lines += chunk.bytes().filter(|&b| b == b'\n').count();
        for line in chunk.lines().filter(|line| line.starts_with("echolot_target_")) {
            let name = line.split('{').next().unwrap();
            match per_family.get_mut(name) {
                Some(n) => *n += 1,
                None => drop(per_family.insert(name.into(), 1)),
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = lines as f64 / seconds;
    println!("{lines} lines, {bytes} bytes, {chunks} chunks in {seconds:.2} s: {rate:.0} lines a second");
    assert!(longest <= 2 * CHUNK, "{longest} bytes held for a chunk");
    // Half of the fake's targets have a state and have answered.
    let expected = [
        ("echolot_target_info", TARGETS),
        ("echolot_target_last_reply_timestamp_seconds", TARGETS / 2),
        ("echolot_target_probes_settled_total", 5 * TARGETS),
        ("echolot_target_rtt_seconds_count", TARGETS),
        ("echolot_target_rtt_seconds_sum", TARGETS),
        ("echolot_target_up", TARGETS / 2),
    ];
    assert_eq!(per_family, expected.map(|(name, n)| (name.to_owned(), n)).into());
}

#[test]
fn every_metric_is_documented_and_nothing_else_is() {
    let docs = include_str!("../../../docs/metrics.md");
    // A family's row: | `name` | type | `label`, `label` | ...
    let rows: Vec<Vec<&str>> = docs
        .lines()
        .filter(|line| line.starts_with("| `echolot_") || line.starts_with("| `process_"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let documented: BTreeMap<_, _> =
        rows.iter().map(|row| (row[0].trim_matches('`').to_owned(), row[1].to_owned())).collect();
    assert_eq!(documented.len(), rows.len(), "a family is documented twice");
    let scrape = parse(&scrape(Fake::large()));
    assert_eq!(documented, scrape.types);
    let listed: BTreeSet<_> = metrics::families().map(|family| family.name.to_owned()).collect();
    assert_eq!(listed, scrape.types.keys().cloned().collect());
    for row in &rows {
        documented_labels(&scrape, row);
    }
    // The closed lists.
    let values = Outcome::ALL.map(Outcome::name).into_iter().chain(State::ALL.map(State::name));
    let values = values.chain(Hold::ALL.map(Hold::name));
    let values = values.chain(Cause::ALL.map(Cause::name));
    for value in values.chain(RejectedReason::ALL.map(RejectedReason::name)) {
        assert!(docs.contains(&format!("\n| `{value}` |")), "docs/metrics.md has no row for {value}");
    }
    for (direction, cause) in echolot::nic::DROP_CAUSES {
        assert!(docs.contains(&format!("\n| `{direction}` | `{cause}` |")), "no row for {direction} {cause}");
    }
}

/// Labels of a family in the scrape are those of its row; `sum_by` and `labels` stand for configured ones.
fn documented_labels(scrape: &Parsed, row: &[&str]) {
    let family = row[0].trim_matches('`');
    let configured = ["site", "rack", "owner"];
    let documented: BTreeSet<String> = row[2]
        .split(',')
        .map(|label| label.trim().trim_matches(['`', '…', '*']))
        .filter(|label| !label.is_empty())
        .flat_map(|label| match label {
            "sum_by" | "labels" => configured.map(str::to_owned).to_vec(),
            label => vec![label.to_owned()],
        })
        .collect();
    let used: BTreeSet<String> = scrape
        .samples
        .iter()
        .filter(|s| s.name.strip_prefix(family).is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest)))
        .flat_map(|sample| sample.labels.keys().filter(|key| *key != "le").cloned())
        .collect();
    assert_eq!(documented, used, "labels of {family}");
}
