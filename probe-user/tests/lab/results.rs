//! What echolot writes: results and the summary.

use serde::Deserialize;
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::IpAddr,
    path::{Path, PathBuf},
};

/// A member of a result that is of interest here.
#[derive(Deserialize, Debug)]
pub(crate) struct Record {
    pub(crate) sent_ns: u64,
    pub(crate) target: String,
    pub(crate) address: IpAddr,
    pub(crate) seq: u64,
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<String>,
    pub(crate) from: Option<IpAddr>,
    pub(crate) probe: Option<String>,
    pub(crate) port: Option<String>,
    pub(crate) rcode: Option<String>,
    pub(crate) reply_ttl: Option<u8>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Answered,
    Unreachable,
    Lost,
    Unheard,
    Unsent,
}

/// The file of results.
pub(crate) struct Results(pub(crate) PathBuf);

impl Results {
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        BufReader::new(File::open(&self.0).unwrap()).lines().map(Result::unwrap)
    }

    /// All records. Each probe is there once, or the test fails.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<Record> {
        let records: Vec<Record> = self.lines().map(|line| serde_json::from_str(&line).expect(&line)).collect();
        let mut seen = HashSet::with_capacity(records.len());
        for record in &records {
            assert!(seen.insert((record.address, record.seq)), "{} {} is there twice", record.address, record.seq);
        }
        records
    }
}

/// The object of `--summary`.
pub(crate) struct Summary(serde_json::Value);

/// Reads it. The equation is checked, with nothing in flight.
#[track_caller]
pub(crate) fn summary(path: &Path) -> Summary {
    let text = fs::read_to_string(path).unwrap();
    let summary = Summary(serde_json::from_str(&text).expect(&text));
    let settled = ["answered", "unreachable", "lost", "unheard", "unsent"].map(|outcome| summary.number(outcome));
    assert_eq!(summary.number("in_flight"), 0, "{text}");
    assert_eq!(summary.number("probes"), settled.iter().sum::<u64>(), "{text}");
    summary
}

impl Summary {
    #[track_caller]
    pub(crate) fn number(&self, member: &str) -> u64 {
        self.0[member].as_u64().unwrap_or_else(|| panic!("no number {member} in {}", self.0))
    }

    /// Results that the writer had to leave out.
    pub(crate) fn results_dropped(&self) -> u64 {
        self.0["drops"]["results"].as_u64().unwrap()
    }

    /// How many probes left this machine.
    pub(crate) fn sent(&self) -> u64 {
        self.number("probes") - self.number("unsent")
    }

    /// The members that are not zero, of those that count what should not happen.
    pub(crate) fn unexplained(&self) -> Vec<String> {
        let plain = ["unreachable", "lost", "unheard", "unsent", "in_flight", "skipped", "late", "duplicate"];
        let mut found: Vec<(String, u64)> = plain.map(|member| (member.to_owned(), self.number(member))).into();
        found.push(("contradicted".into(), self.number("contradicted")));
        for part in ["rejected", "drops"] {
            let members = self.0[part].as_object().unwrap();
            found.extend(members.iter().map(|(key, value)| (format!("{part}.{key}"), value.as_u64().unwrap())));
        }
        assert!(found.len() > 20, "members are missing: {}", self.0);
        found.into_iter().filter(|(_, value)| *value != 0).map(|(key, value)| format!("{key}: {value}")).collect()
    }
}
