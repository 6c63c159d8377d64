//! Scenario files: what happens to probes, how echolot is run, and what must come of it.

use clap::ValueEnum as _;
use echolot::base::{Family, Nanos};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path,
    path::PathBuf,
};
use testbed::{
    read::{self, Span},
    rules::RuleFile,
};

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about, in a line.
    pub about: String,
    /// What happens to probes.
    pub rules: RuleFile,
    /// How echolot is run.
    pub probe: Probe,
    /// Echolot's lives, one after the other. Each begins as soon as the one before has ended.
    pub lives: Vec<Life>,
    /// The same for the long form.
    #[serde(default)]
    pub long: Option<Vec<Life>>,
    /// Where it runs.
    #[serde(default)]
    pub network: Where,
    /// Processes that keep each CPU busy beside it.
    #[serde(default)]
    pub busy: usize,
    /// How long the path may take.
    #[serde(default)]
    pub path: Path,
    /// What must come of it: shares of all probes, at least and at most, by the members of echolot's summary.
    pub expect: BTreeMap<String, [f64; 2]>,
}

/// How echolot is run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// By which command.
    pub command: Command,
    /// Of which families the targets are.
    #[serde(default)]
    pub family: Families,
    /// First target with an IPv4 address.
    pub first: Ipv4Addr,
    /// First target with an IPv6 address.
    #[serde(default = "first_v6")]
    pub first_v6: Ipv6Addr,
    /// How many of each family follow each other.
    pub targets: u32,
    /// The same for the long form of a sweep or a trace, which `--probes` overrides; None: as many.
    #[serde(default)]
    pub long_targets: Option<u32>,
    /// `run`: between two probes to a target.
    #[serde(default)]
    pub interval: Span,
    /// `run`: every so often a tenth of the targets is changed for as many others, and changed back, by a reload; 0: never.
    #[serde(default)]
    pub changes: Span,
    /// `sweep` and `trace`: probes a second.
    #[serde(default)]
    pub rate: u64,
    /// What sends, as echolot's `--engine`.
    #[serde(default = "auto")]
    pub engine: String,
    /// SYNs to this port, and no echo requests: an even one is open, an odd one closed.
    #[serde(default)]
    pub tcp: Option<u16>,
    /// UDP datagrams to this port, and no echo requests: as of SYNs, but for port 53, which is asked and open.
    #[serde(default)]
    pub udp: Option<u16>,
}

/// Families of targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
pub enum Families {
    /// IPv4.
    #[default]
    #[serde(rename = "4")]
    #[value(name = "4")]
    V4,
    /// IPv6.
    #[serde(rename = "6")]
    #[value(name = "6")]
    V6,
    /// As many of each.
    #[serde(rename = "both")]
    Both,
}

impl Families {
    /// Each of them.
    pub const fn each(self) -> &'static [Family] {
        match self {
            Self::V4 => &[Family::V4],
            Self::V6 => &[Family::V6],
            Self::Both => &Family::ALL,
        }
    }
}

impl Probe {
    /// How many targets there are in all.
    pub fn all_targets(&self) -> u32 {
        self.targets * self.family.each().len() as u32
    }

    /// A target of a family, by its place among those.
    pub fn target(&self, family: Family, place: u32) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::from_bits(self.first.to_bits() + place).into(),
            Family::V6 => Ipv6Addr::from_bits(self.first_v6.to_bits() + u128::from(place)).into(),
        }
    }
}

impl Probe {
    /// What is sent, if it is no echo request, as echolot's `--probe`.
    pub fn kind(&self) -> Option<String> {
        let kind = |protocol: &str, port: Option<u16>| port.map(|port| format!("{protocol}:{port}"));
        kind("tcp", self.tcp).or_else(|| kind("udp", self.udp))
    }
}

fn first_v6() -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 0)
}

fn auto() -> String {
    "auto".into()
}

/// How long the path itself may take, beside what the far end held: a round-trip time that is too large shows there.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Path {
    /// In the median.
    pub median: Span,
    /// For each probe, unless a CPU of this machine was held up while it was under way.
    pub each: Span,
}

impl Default for Path {
    fn default() -> Self {
        Self { median: Span(Nanos::from_millis(2)), each: Span(Nanos::from_millis(20)) }
    }
}

/// Commands that write results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Command {
    Run,
    Sweep,
    Trace,
}

/// From start to end of one process.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Life {
    /// How long probes may be answered.
    pub timeout: Span,
    /// How long it runs; a sweep ends by itself.
    #[serde(default)]
    pub time: Span,
}

/// Where a scenario runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    /// Between two network namespaces, with the real far end.
    #[default]
    Lab,
    /// In the simulated network, in its time.
    Simulated,
}

impl Scenario {
    /// Reads a scenario and checks it.
    ///
    /// # Errors
    /// Names the file, and what is wrong with it.
    pub fn read(path: &path::Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text).map_err(|why| format!("{}: {why}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = read::yaml(text)?;
        scenario.rules.check().map_err(|why| format!("rules: {why}"))?;
        for life in scenario.lives.iter().chain(scenario.long.iter().flatten()) {
            if !scenario.rules.timeouts.contains(&life.timeout) {
                return Err(format!("lives: the timeout {} is not among the rules' timeouts", life.timeout.0));
            }
        }
        let probe = &scenario.probe;
        match probe.command {
            Command::Run if probe.interval.0 == Nanos::ZERO => Err("probe: run needs an interval".into()),
            Command::Sweep | Command::Trace if probe.rate == 0 => {
                Err(format!("probe: {} needs a rate", probe.command.word()))
            }
            Command::Trace if scenario.rules.routers.is_none() => {
                Err("rules: trace needs routers on the way: add routers".into())
            }
            Command::Trace if scenario.lives.len() > 1 => Err("lives: a trace has one life".into()),
            _ if scenario.network == Where::Simulated && !scenario.can_be_simulated() => {
                Err("network: what is simulated is a run, and has one life".into())
            }
            _ if scenario.lives.is_empty() => Err("lives: there is none".into()),
            _ if probe.tcp.is_some() && probe.udp.is_some() => Err("probe: tcp or udp, not both".into()),
            _ => Ok(scenario),
        }
    }

    /// Whether the simulated network can play it: everything that a rule file says, but no more than one life of a run.
    pub fn can_be_simulated(&self) -> bool {
        self.probe.command == Command::Run && self.lives.len() == 1
    }

    /// How many probes a target is sent in all, at least and about: one; by a trace one for each of its hops.
    pub fn probes_a_target(&self) -> u32 {
        let routers = self.rules.routers.filter(|_| self.probe.command == Command::Trace);
        routers.map_or(1, |routers| routers.nearest.midpoint(routers.furthest))
    }

    /// Probes a second.
    pub fn rate(&self) -> u64 {
        match self.probe.command {
            Command::Sweep | Command::Trace => self.probe.rate,
            Command::Run => u64::from(self.probe.all_targets()) * 1_000_000_000 / self.probe.interval.0.0,
        }
    }
}

/// All scenarios of a folder, or those named: name and scenario.
///
/// # Errors
/// Names the file that can't be read, or a name that has none.
pub fn all(folder: &path::Path, names: &[String]) -> Result<Vec<(String, Scenario)>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "yml"));
    paths.sort();
    let name = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let known: Vec<String> = paths.iter().map(name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("{unknown}: no such scenario; there are {}", known.join(", ")));
    }
    let wanted = known.into_iter().zip(&paths).filter(|(name, _)| names.is_empty() || names.contains(name));
    wanted.map(|(name, path)| Ok((name, Scenario::read(path)?))).collect()
}

impl Command {
    /// As on echolot's command line.
    pub fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use testbed::{Prefix, Treatment};

    const GOOD: &str = "
about: a test
rules:
  seed: 1
  timeouts: [100ms]
  ranges:
    - addresses: [10.64.0.0/16]
      delay: 10ms
probe: {command: run, first: 10.64.0.0, targets: 10, interval: 100ms}
lives: [{timeout: 100ms, time: 1s}]
expect: {answered: [1, 1]}
";

    #[test]
    fn a_scenario_is_read() {
        let scenario = Scenario::parse(GOOD).unwrap();
        assert_eq!(scenario.rate(), 100);
        let range = Prefix { address: Ipv4Addr::new(10, 64, 0, 0).into(), length: 16 };
        assert_eq!(scenario.rules.prefixes(), [(range, Treatment::Userspace)]);
        let both = Scenario::parse(&GOOD.replace("command: run", "command: run, family: both")).unwrap();
        assert_eq!((both.rate(), both.probe.all_targets()), (200, 20));
        let last = Family::ALL.map(|family| both.probe.target(family, 9).to_string());
        assert_eq!(last, ["10.64.0.9", "fd00:64::9"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, expected) in [
            ("delay: 10ms", "delay: 96ms", "within 5ms of the timeout 100ms"),
            ("delay: 10ms", "delay: 90ms\n      jitter: 6ms", "delay and jitter"),
            ("delay: 10ms", "late: {share: 0.1, delay: 104ms}", "late: replies from 104ms"),
            ("delay: 10ms", "late: {share: 0.1, delay: 50ms}", "not past any timeout"),
            ("delay: 10ms", "duplicate: {share: 1, after: 98ms}", "duplicate: replies"),
            ("delay: 10ms", "duplicate: {share: 1, copies: 9}", "more than 8 replies"),
            ("delay: 10ms", "delay: 10ms\n      unrecorded: true", "unrecorded: what happens to its probes"),
            ("delay: 10ms", "los: 0.1", "rules.ranges[0]: unknown field `los`"),
            ("delay: 10ms", "los: 0.1", "at line 8 column 7"),
            ("delay: 10ms", "loss: 1.1", "the share 1.1 is not from 0 to 1"),
            ("delay: 10ms", "delay: 10", "`10` has no unit"),
            ("10.64.0.0/16", "10.64.0.1/16", "neither an address nor a prefix"),
            ("timeout: 100ms", "timeout: 200ms", "not among the rules' timeouts"),
            (", interval: 100ms", "", "run needs an interval"),
            ("command: run", "command: trace", "trace needs a rate"),
            ("command: run", "command: trace, rate: 100", "trace needs routers on the way"),
            (
                "seed: 1",
                "seed: 1\n  routers: {nearest: 4, furthest: 31}",
                "routers: destinations are 1 to 30 hops away",
            ),
            ("seed: 1", "seed: 1\n  routers: {nearest: 4, furthest: 9, silent: 2}", "the share 2 is not from 0 to 1"),
            (
                "delay: 10ms",
                "unrecorded: false\n  routers: {nearest: 4, furthest: 9}",
                "ranges[0]: nothing happens to its probes",
            ),
            ("command: run", "command: run, tcp: 80, udp: 53", "tcp or udp, not both"),
        ] {
            let error = Scenario::parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn every_scenario_of_the_folder_can_be_read() {
        let folder = path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        assert!(all(&folder, &[]).unwrap().len() >= 12);
        assert!(all(&folder, &["nothing".into()]).unwrap_err().contains("there are"));
    }
}
