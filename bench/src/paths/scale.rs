//! A hundred thousand paths at a time: one XDP program plays all routers and counts how often each distance was asked.

use super::runs::Runs;
use crate::{
    inside::Part,
    lab::{Bench, Cpus, Far},
    report::Common,
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use testbed::routers::{RouterRules, Routers, path_of};
use xtask::lab::{End, FAR_INTERFACE};

const FIRST: u32 = 0x0a40_0000;
const TARGETS: u32 = 100_000;
const RATE: u32 = 100_000;
/// How often a second a router may be asked.
const PER_HOP: u32 = 20_000;
/// Between two looks at the program's counters.
const LOOK: Duration = Duration::from_millis(10);
/// Over which time is counted how often the first hops were asked, nanoseconds.
const WINDOW: u64 = 1_000_000_000;
const WITHIN: Duration = Duration::from_secs(180);

#[derive(Clone, Copy)]
pub(super) enum Who {
    Echolot,
    /// It sends 10,000 a second at most, and less than that.
    Scamper,
}

impl Who {
    pub(super) const ALL: [Self; 2] = [Self::Echolot, Self::Scamper];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Echolot => "echolot",
            Self::Scamper => "scamper",
        }
    }
}

/// Which routers there are: 32 at the first distance, paths of 8 to 24 hops, nobody is silent and nothing is lost.
pub(crate) const fn rules() -> RouterRules {
    RouterRules { common: 12, ..RouterRules::new(31) }
}

/// Plays all routers, and writes down how often the first hops and all of them have been asked, until it is ended.
pub(crate) fn play(counts: &Path, stopped: &dyn Fn() -> bool, ready: &dyn Fn()) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", counts.display());
    let routers = Routers::attach(FAR_INTERFACE, rules(), &[], &[]).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let mut lines = String::new();
    ready();
    loop {
        let is_last = stopped();
        let asked = routers.asked().map_err(|error| error.to_string())?;
        let all: u64 = asked.iter().sum();
        lines += &format!("{} {} {all}\n", begun.elapsed().as_nanos(), asked[1]);
        if is_last {
            return fs::write(counts, lines).map_err(|error| told(&error));
        }
        std::thread::sleep(LOOK);
    }
}

/// A line of `echolot trace`.
#[derive(Deserialize)]
struct Line {
    address: IpAddr,
    reached: bool,
    hops: Vec<Hop>,
}

#[derive(Deserialize)]
struct Hop {
    #[serde(default)]
    address: Option<IpAddr>,
}

pub(super) fn measure(who: Who, common: &Common) -> Result<Runs, String> {
    let targets = if common.short { 1_000 } else { TARGETS };
    let bench = Bench::with("paths", &common.binary, Far::Open, None)?;
    let folder = bench.lab().name().folder();
    let counts = folder.join("asked");
    let routers = bench.hold(End::Far, &Part::Routers { counts: counts.clone() })?;
    match who {
        Who::Echolot => echolot(&bench, (routers, &counts), targets),
        Who::Scamper => scamper(&bench, routers, targets),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn echolot(bench: &Bench, (routers, counts): (crate::lab::Held, &Path), targets: u32) -> Result<Runs, String> {
    let out = bench.lab().name().folder().join("paths.jsonl");
    let last = Ipv4Addr::from_bits(FIRST + targets - 1);
    let range = format!("{}-{last}", Ipv4Addr::from_bits(FIRST));
    let (rate, per_hop, file) = (RATE.to_string(), PER_HOP.to_string(), out.display().to_string());
    let arguments = ["trace", &range, "-n", "-r", &rate, "--per-hop", &per_hop, "-f", "jsonl", "-o", &file, "-W", "1s"];
    let (done, summary) = bench.echolot_watched(&arguments, Cpus::All, WITHIN)?;
    drop(routers);
    let text = fs::read_to_string(&out).map_err(|error| format!("{file}: {error}"))?;
    let mut found: BTreeMap<IpAddr, Line> = BTreeMap::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).map_err(|error| format!("{file}: {error}"))?;
        if found.insert(line.address, line).is_some() {
            return Err(format!("{file}: a target has two paths"));
        }
    }
    let rules = rules();
    let is_whole =
        |path: &Line| path.reached && path.hops.iter().map(|hop| hop.address).eq(path_of(&rules, path.address));
    let wrong = found.values().find(|path| !is_whole(path)).map(|path| path.address.to_string());
    let whole = found.values().filter(|path| is_whole(path)).count();
    let counted = Counted::read(counts)?;
    let of = |name: &str| summary[name].as_u64().unwrap_or_default();
    let sent = of("probes").saturating_sub(of("unsent"));
    if counted.all != sent {
        return Err(format!("{sent} probes left, and {} arrived: {summary}", counted.all));
    }
    Ok(Runs {
        runs: targets,
        whole: u32::try_from(whole).unwrap_or(u32::MAX),
        held: 0,
        figures: vec![
            ("time", done.wall.as_secs_f64() * 1e3),
            ("rate", done.traffic.send_rate().unwrap_or(f64::NAN)),
            // What may be saved up is a hundredth of a second's.
            ("asked", counted.most as f64 / (f64::from(PER_HOP) * 1.01)),
        ],
        first_missing: wrong,
    })
}

/// How often routers were asked.
struct Counted {
    all: u64,
    /// Those at the first distance within any second, at most.
    most: u64,
}

impl Counted {
    fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let lines: Vec<[u64; 3]> = text
            .lines()
            .filter_map(|line| {
                let words: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
                words.try_into().ok()
            })
            .collect();
        Self::of(&lines).ok_or_else(|| format!("{}: the far end has counted nothing", path.display()))
    }

    /// Of lines with a time, how often first hops were asked, and how often all. A second is as many looks as are within one: less than
    /// what was asked within it is never told by more than a look's.
    fn of(lines: &[[u64; 3]]) -> Option<Self> {
        let most = lines.iter().enumerate().filter_map(|(at, [begin, asked, _])| {
            let within = lines[at..].iter().take_while(|[time, ..]| time - begin <= WINDOW).last()?;
            Some(within[1] - asked)
        });
        Some(Self { all: lines.last()?[2], most: most.max()? })
    }
}

/// As quickly as it can, by ICMP that keeps to a path.
fn scamper(bench: &Bench, _routers: crate::lab::Held, targets: u32) -> Result<Runs, String> {
    xtask::setup::ensure(&[("scamper", "scamper")])?;
    // What an XDP program sends back arrives only where there is a program, too.
    let _pass = bench.hold(End::Near, &Part::Pass)?;
    // So many that it is done in half a minute.
    let targets = targets.min(2_000);
    let folder = bench.lab().name().folder();
    let (list, out) = (folder.join("addresses"), folder.join("paths.json"));
    let addresses: String = (0..targets).map(|n| format!("{}\n", Ipv4Addr::from_bits(FIRST + n))).collect();
    fs::write(&list, addresses).map_err(|error| format!("{}: {error}", list.display()))?;
    let mut command: Command = bench.lab().near("scamper");
    command.args(["-c", "trace -P icmp-paris -q 1 -w 1 -m 40", "-p", MOST_OF_SCAMPER, "-O", "json", "-o"]);
    command.arg(&out).arg("-f").arg(&list).stdin(Stdio::null());
    let done = bench.watched(command, WITHIN)?;
    let text =
        fs::read_to_string::<&PathBuf>(&out).map_err(|error| format!("{}: {error}: {}", out.display(), done.told))?;
    let rules = rules();
    let mut whole = 0;
    for line in text.lines() {
        let path: serde_json::Value =
            serde_json::from_str(line).map_err(|error| format!("{}: {error}", out.display()))?;
        let Some(address) = path["dst"].as_str().and_then(|address| address.parse::<IpAddr>().ok()) else { continue };
        let hops = path["hops"].as_array().cloned().unwrap_or_default();
        let seen = hops.iter().map(|hop| hop["addr"].as_str()?.parse().ok());
        whole += u32::from(seen.eq(path_of(&rules, address)));
    }
    Ok(Runs {
        runs: targets,
        whole,
        held: 0,
        figures: vec![("time", done.wall.as_secs_f64() * 1e3), ("rate", done.traffic.send_rate().unwrap_or(f64::NAN))],
        first_missing: None,
    })
}

/// Probes a second: it takes no more.
const MOST_OF_SCAMPER: &str = "10000";

#[cfg(test)]
mod tests {
    use super::Counted;

    #[test]
    fn the_most_of_any_second_is_found() {
        let second = 1_000_000_000;
        let lines =
            [[0, 0, 0], [second / 2, 10, 30], [second, 40, 90], [second * 3 / 2, 75, 200], [3 * second, 76, 201]];
        let counted = Counted::of(&lines);
        assert_eq!(counted.map(|counted| (counted.all, counted.most)), Some((201, 65)));
        assert!(Counted::of(&[]).is_none());
    }
}
