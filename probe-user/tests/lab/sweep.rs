//! A sweep of a /12, accounted to the probe.

use crate::{
    harness::{Ended, Site},
    results::{Outcome, Record},
};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use xtask::lab::{Answer, TARGETS};

const ALL: usize = 1 << 20;
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);
/// It takes 6.3 s where nothing else runs.
const WITHIN: Duration = Duration::from_secs(180);

/// Notes addresses of the /12, each once.
struct Seen(Vec<bool>);

impl Seen {
    fn new() -> Self {
        Self(vec![false; ALL])
    }

    #[track_caller]
    fn note(&mut self, address: IpAddr) {
        let IpAddr::V4(address) = address else { panic!("{address} is none of {TARGETS}") };
        let place = (address.to_bits().wrapping_sub(FIRST.to_bits())) as usize;
        let place = self.0.get_mut(place).unwrap_or_else(|| panic!("{address} is none of {TARGETS}"));
        assert!(!std::mem::replace(place, true), "{address} is there twice");
    }

    #[track_caller]
    fn is_complete(&self) {
        let missing = self.0.iter().filter(|seen| !**seen).count();
        assert_eq!(missing, 0, "addresses are missing");
    }
}

fn sweep(site: &Site, format: &str) -> Ended {
    let ended = site.start(format, &["sweep", TARGETS, "--rate", "200000"]).end(WITHIN);
    assert_eq!(ended.summary.number("probes"), ALL as u64);
    assert_eq!(ended.summary.number("answered"), ALL as u64);
    assert_eq!(ended.summary.number("targets_answered"), ALL as u64);
    assert_eq!(ended.summary.unexplained(), [""; 0]);
    ended
}

fn each_has_one_result(site: &Site) {
    let ended = sweep(site, "jsonl");
    let mut seen = Seen::new();
    for line in ended.results.lines() {
        let record: Record = serde_json::from_str(&line).expect(&line);
        assert_eq!((record.outcome, record.seq), (Outcome::Answered, 0), "{line}");
        seen.note(record.address);
    }
    seen.is_complete();
}

#[test]
#[ignore = "needs root: make test runs it"]
fn of_the_kernels_stack() {
    let Some(site) = Site::up("sweep", &Answer::Kernel) else { return };
    each_has_one_result(&site);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn of_the_reflector() {
    let Some(site) = Site::with_reflector("sweep") else { return };
    each_has_one_result(&site);
    let ended = sweep(&site, "list");
    let mut seen = Seen::new();
    ended.results.lines().for_each(|line| seen.note(line.parse().expect(&line)));
    seen.is_complete();
}

/// As fast as it goes, several senders where there are CPUs for them: each address once, and nothing is the network's fault.
#[test]
#[ignore = "needs root: make test runs it"]
fn at_full_speed() {
    let Some(site) = Site::with_reflector("speed") else { return };
    let ended = site.start("jsonl", &["sweep", TARGETS, "--rate", "max"]).end_or_incomplete(WITHIN);
    assert_eq!((ended.summary.number("probes"), ended.summary.number("lost")), (ALL as u64, 0));
    let settled = ["answered", "unheard", "unsent"].map(|outcome| ended.summary.number(outcome));
    assert_eq!(settled.iter().sum::<u64>(), ALL as u64, "{settled:?}");
    let mut seen = Seen::new();
    let mut answered = 0;
    for line in ended.results.lines() {
        let record: Record = serde_json::from_str(&line).expect(&line);
        answered += u64::from(record.outcome == Outcome::Answered);
        seen.note(record.address);
    }
    seen.is_complete();
    assert_eq!(answered, settled[0]);
}
