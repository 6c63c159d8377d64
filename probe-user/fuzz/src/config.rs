//! Configuration files.

use crate::assert_showable;
use echolot::{
    base::TargetIndex,
    config::{self, Config},
    targets::TargetSpec,
    wire::Kind,
};
use std::{collections::HashSet, path::Path};

/// Keys, and values that mean something.
pub(crate) const WORDS: &[&str] = &[
    "interface",
    "source",
    "listen",
    "events",
    "engine",
    "mode",
    "identifier",
    "seed",
    "global",
    "groups",
    "exclude",
    "limits",
    "rate",
    "series",
    "name",
    "targets",
    "target_files",
    "labels",
    "sum_by",
    "per_target",
    "unhealthy",
    "labelled",
    "interval",
    "timeout",
    "size",
    "probe",
    "udp",
    "udp:7",
    "port",
    "dns",
    "payload",
    "hex",
    "ttl",
    "dscp",
    "EF",
    "dont_fragment",
    "flows",
    "true",
    "down_after",
    "up_after",
    "buckets",
    ": ",
    "\n",
    "\n  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&a ",
    "*a",
    "!!str ",
    "'",
    "\"",
    "|",
    "~",
    "10ms",
    "1h",
    "0x",
    "/0",
    "10.0.0.1",
    "255.255.255.255",
    "-",
    "afxdp",
    "auto",
    "all",
    "#",
    "\u{feff}",
    "18446744073709551616",
];

/// More targets than this are not expanded here.
const MOST_TARGETS: u64 = 1 << 16;

pub(crate) fn check(data: &[u8]) {
    let file = Path::new("fuzz/echolot.yml");
    match config::parse(file, data.to_vec()) {
        Ok(config) => check_config(&config),
        Err(error) => {
            assert!(!error.problems.is_empty());
            // YAML ends lines with \r alone, too.
            let lines = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
            for problem in &error.problems {
                match problem.place {
                    Some(place) => assert!((1..=lines + 1).contains(&place.line) && place.column > 0, "{problem:?}"),
                    // The file as a whole: it is empty, or no text.
                    None => assert!(problem.field.is_empty() && error.problems.len() == 1, "{problem:?}"),
                }
            }
            let shown = error.to_string();
            assert!(shown.lines().all(|line| line.starts_with("fuzz/echolot.yml:")), "{shown}");
            assert_showable(&shown);
        }
    }
}

fn check_config(config: &Config) {
    let mut names = HashSet::new();
    let mut named: u128 = 0;
    for group in &config.groups {
        assert!(!group.group.name.is_empty() && names.insert(&group.group.name), "{:?}", group.group.name);
        assert!(config::INTERVALS.contains(&group.group.interval) && config::TIMEOUTS.contains(&group.group.timeout));
        let shape = group.group.shape;
        assert!(shape.is_possible() && shape.datagram() <= 1_500, "{shape:?}");
        assert!(shape.kind != Kind::Echo || config::SIZES.contains(&shape.payload.into()), "{shape:?}");
        assert!(shape.ttl > 0 && shape.dscp < 64 && config::FLOWS.contains(&group.group.flows.into()), "{shape:?}");
        assert!((1..=256).contains(&group.group.flow_count()), "{shape:?}");
        assert!(group.group.buckets.is_sorted_by(|a, b| a < b), "{:?}", group.group.buckets);
        for target in &group.targets {
            // A name is two targets in a group of both families.
            let many = match &target.value {
                TargetSpec::Addresses(range) => range.count(),
                TargetSpec::Name(_) => 2,
            };
            named = named.saturating_add(many);
        }
    }
    assert!(!config.groups.is_empty());
    // Target files would be the file system's of whoever fuzzes.
    if named > u128::from(MOST_TARGETS) || config.groups.iter().any(|group| !group.target_files.is_empty()) {
        return;
    }
    match config.plan() {
        Ok(plan) => {
            assert!(!plan.targets.is_empty() && plan.targets.len() as u128 <= named);
            assert_eq!(plan.groups.len(), config.groups.len());
            for index in (0..).take(plan.targets.len()).map(TargetIndex) {
                assert!(plan.address_of(index).is_none_or(|address| !config.exclude.contains(address)), "{index:?}");
            }
        }
        Err(error) => {
            assert!(error.problems.iter().all(|problem| problem.place.is_some()), "{error}");
            assert_showable(&error.to_string());
        }
    }
}
