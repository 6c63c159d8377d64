//! Target files in Prometheus' form, and files of one target a line.

use crate::assert_showable;
use echolot::{
    base::TargetIndex,
    targets::{
        self, AddressRange, Error, Exclusions, Group, GroupInput, Options, TargetList, TargetSpec,
        file_sd::{self, Ports},
    },
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

/// What target files are made of.
pub(crate) const WORDS: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "\"targets\"",
    "\"labels\"",
    "\"10.0.0.1\"",
    "\"10.0.0.0/8\"",
    "targets: ",
    "labels: ",
    "- ",
    "\n",
    "  ",
    "null",
    "true",
    "7",
    "\\u0000",
    "\\\"",
    "__meta_x",
    "site",
    "group",
    "&a ",
    "*a",
    "'",
    "#",
    "\u{feff}",
    "10.0.0.1:9100",
    "[::1]:80",
    "http://",
];

/// What lists are made of.
pub(crate) const LIST_WORDS: &[&str] = &[
    "\n",
    "\r\n",
    "#",
    " ",
    "/",
    "/0",
    "/32",
    "-",
    ".",
    "0",
    "255",
    "256",
    "10.0.0.1",
    "::1",
    ":9100",
    "http://",
    "host.example",
    "\u{feff}",
    "\u{e4}",
    "_",
];

/// More targets than this are not expanded here.
const MOST_TARGETS: u64 = 1 << 16;

/// Any text as JSON and as YAML.
pub(crate) fn check_file_sd(data: &[u8]) {
    let json = file_sd::parse(Path::new("fuzz.json"), data.to_vec(), Ports::Refused);
    let yaml = file_sd::parse(Path::new("fuzz.yml"), data.to_vec(), Ports::Refused);
    for (read, name) in [(&json, "fuzz.json"), (&yaml, "fuzz.yml")] {
        match read {
            Ok(lists) => {
                lists.iter().for_each(check_targets);
                // One list for each set of labels.
                let mut labels: Vec<_> = lists.iter().map(|list| &list.labels).collect();
                labels.sort();
                assert!(labels.windows(2).all(|pair| pair[0] != pair[1]), "{labels:?}");
            }
            Err(error) => check_error(error, name, data),
        }
    }
    // JSON is YAML, but for what this reader refuses.
    if let (Ok(json), Ok(yaml)) = (json, yaml) {
        assert_eq!(json, yaml);
    }
}

/// Any bytes as a file of targets, and as one of exclusions.
pub(crate) fn check_list(data: &[u8]) {
    let mut list = TargetList::default();
    if let Err(error) = list.read(data, "fuzz") {
        check_error(&error, "fuzz", data);
        return assert!(Exclusions::read(data, "fuzz").is_err(), "worse as targets than as exclusions");
    }
    check_targets(&list);
    match Exclusions::read(data, "fuzz") {
        Ok(exclusions) => {
            assert!(list.names().is_empty(), "names were excluded");
            let apart = |pair: &[AddressRange]| after(pair[0].last()).is_none_or(|next| next < pair[1].first());
            assert!(exclusions.ranges().collect::<Vec<_>>().windows(2).all(apart), "{exclusions:?}");
            for range in list.ranges() {
                assert!(exclusions.contains(range.first()) && exclusions.contains(range.last()), "{range}");
            }
        }
        Err(error) => {
            assert!(!list.names().is_empty(), "{error}");
            check_error(&error, "fuzz", data);
        }
    }
    check_plan(list);
}

/// The address after this one, if it is of the same family.
fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|next| Ipv4Addr::from_bits(next).into()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|next| Ipv6Addr::from_bits(next).into()),
    }
}

/// What was read reads back as it is shown.
fn check_targets(list: &TargetList) {
    for range in list.ranges() {
        assert_eq!(range.to_string().parse(), Ok(TargetSpec::Addresses(range)));
    }
    for name in list.names() {
        assert_eq!(name.parse(), Ok(TargetSpec::Name(name.clone())));
    }
}

/// The plan has what was named, less every second of the ranges.
fn check_plan(list: TargetList) {
    let named = list.ranges().fold(list.names().len() as u128, |sum, range| sum.saturating_add(range.count()));
    if named > u128::from(MOST_TARGETS) {
        return;
    }
    let excluded: Exclusions = list.ranges().skip(1).step_by(2).collect();
    let ranges = list.ranges().collect::<Vec<_>>();
    let names = list.names().to_vec();
    let input = GroupInput { group: Group::named("fuzz"), labels: BTreeMap::new(), lists: vec![list] };
    match targets::build(vec![input], &excluded, &Options::default()) {
        Ok(plan) => {
            assert!(plan.targets.len() as u128 <= named);
            for index in (0..).take(plan.targets.len()).map(TargetIndex) {
                let Some(address) = plan.address_of(index) else { continue };
                assert!(!excluded.contains(address), "{address} is excluded");
                assert!(ranges.iter().any(|range| range.contains(address)), "{address} was not named");
            }
        }
        Err(error) => {
            assert!(matches!(error, Error::Empty { .. }) && names.is_empty(), "{error}");
            assert!(ranges.iter().all(|range| excluded.contains(range.first())), "{error}");
        }
    }
}

/// An error names the file, and where there is one the line.
fn check_error(error: &Error, name: &str, data: &[u8]) {
    let shown = error.to_string();
    let rest = shown.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
    let rest = rest.unwrap_or_else(|| panic!("{shown} does not name the file"));
    let lines = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    match rest.split(':').next().map(str::parse::<usize>) {
        Some(Ok(line)) => assert!((1..=lines + 1).contains(&line), "{shown}"),
        _ => assert!(rest.contains("not UTF-8"), "{shown} names no line"),
    }
    assert_showable(&shown);
}
