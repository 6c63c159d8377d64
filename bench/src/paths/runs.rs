//! The chain, and runs of echolot over it.

use super::{Names, witness::Witness};
use crate::measure::median;
use echolot::{
    base::{Family, Nanos},
    nic::MonotonicClock,
    worker::Clock as _,
};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};
use testbed::{
    chain::{
        Chain, Node, Plan, host_behind,
        tools::{self, Hops},
    },
    dns::{Manner, NameServer, Zone},
    router::Rule,
};

/// What the last router holds packets for.
const HELD: Duration = Duration::from_millis(20);
/// How long a probe may be answered.
const TIMEOUT: Duration = Duration::from_millis(70);
/// Routers on the way.
const ROUTERS: u8 = 30;
/// Which of them says nothing, where one does.
const SILENT: u8 = 15;
/// Runs of a process, one every [`EVERY`]: names of the first are asked for while the others run.
const RUNS: u32 = 10;
const EVERY: &str = "100ms";
/// Probes a second to many targets: each of them is forwarded by 15 routers on the average, and so is what is said about it.
const RATE: &str = "5000";

/// What came of a row's runs in a round.
pub(super) struct Runs {
    pub(super) runs: u32,
    pub(super) whole: u32,
    /// Those that lack the target alone, whose answer came back to the first router after the timeout: nobody could have found it.
    pub(super) held: u32,
    pub(super) figures: Vec<(&'static str, f64)>,
    /// What the first that was not whole lacked.
    pub(super) first_missing: Option<String>,
}

/// The chain, and its name server.
pub(super) struct Site {
    pub(super) chain: Chain,
    server: NameServer,
    binary: PathBuf,
    /// A table of one network, to which all of the chain's addresses belong.
    networks: PathBuf,
}

/// A line of `echolot trace`, as far as it is measured.
#[derive(Deserialize)]
struct Line {
    address: IpAddr,
    hops: Vec<Hop>,
}

#[derive(Deserialize)]
struct Hop {
    ttl: usize,
    #[serde(default)]
    sent_ns: u64,
    #[serde(default)]
    address: Option<IpAddr>,
    #[serde(default)]
    rtt_ns: Option<u64>,
}

/// A run, as it is measured; times in nanoseconds.
struct Run {
    /// From the first probe to the last word; where nothing was said about a probe, to when its line was there.
    time: u64,
    slowest: u64,
    /// Round-trip times of the routers.
    hops: Vec<u64>,
    missing: Option<String>,
    /// Of who is missing, if it is the target and nobody else: when it was sent its probe.
    only_target: Option<Nanos>,
    /// Of its process: how far the target is was not known yet.
    is_first: bool,
}

impl Site {
    pub(super) fn up(is_silent: bool, binary: &Path) -> Result<Self, String> {
        let binary = binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?;
        let plan = Plan::of(ROUTERS).router(ROUTERS, Rule::holding(HELD)).names();
        let plan = if is_silent { plan.router(SILENT, Rule::silent()) } else { plan };
        let chain = plan.up("bench").ok_or("a chain of network namespaces needs root")?;
        let all = chain.hops(Family::V4).all();
        let zone = (1..).zip(all).fold(Zone::default(), |zone, (n, address): (u32, IpAddr)| {
            zone.name(address, &format!("r{n}.example"), 60)
        });
        let space = format!("/run/netns/{}", chain.namespace(Node::Names));
        let space = File::open(&space).map_err(|error| format!("{space}: {error}"))?;
        let bind = || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(space.as_fd(), Some(kind))?;
            NameServer::bind(SocketAddr::from(([10, 95, 0, 1], 53)), zone)
        };
        let server = thread::scope(|scope| scope.spawn(bind).join());
        let server =
            server.map_err(|_| "the name server panicked")?.map_err(|error| format!("name server: {error}"))?;
        let networks = std::env::temp_dir().join(format!("{}.tsv", chain.namespace(Node::Near)));
        fs::write(&networks, "10.0.0.0\t10.255.255.255\t64512\tZZ\tLAB\n")
            .map_err(|error| format!("{}: {error}", networks.display()))?;
        Ok(Self { chain, server, binary, networks })
    }

    pub(super) fn behave(&self, names: Names) {
        self.server.behave(match names {
            Names::Off | Names::Quick => Manner::Quick,
            Names::Slow => Manner::Slow(Duration::from_secs(2)),
            Names::Dead => Manner::Dead,
        });
    }

    /// So many runs to one target, in several processes.
    pub(super) fn echolot(&self, names: Names, runs: u32) -> Result<Runs, String> {
        let target = self.chain.target(Family::V4);
        let mut all = Vec::new();
        let witness = Witness::begin(self.chain.command(Node::Router(1, 0), "tcpdump"), "in0")?;
        while all.len() < runs as usize {
            let many = RUNS.min(runs - u32::try_from(all.len()).unwrap_or(runs)).to_string();
            all.extend(self.trace(names, &["-c", &many, "-i", EVERY], &[target])?);
        }
        let seen = witness.end()?;
        let was_late = |run: &&Run| run.only_target.is_some_and(|sent| seen.was_late(sent, ROUTERS + 1, TIMEOUT));
        let held = all.iter().filter(was_late).count();
        Ok(Runs { held: u32::try_from(held).unwrap_or(u32::MAX), ..summed(&all) })
    }

    /// One run to each of so many targets, all of them at once.
    pub(super) fn many(&self, names: Names, targets: u16) -> Result<Runs, String> {
        let length = self.chain.length();
        let targets: Vec<IpAddr> = (1..=targets).map(|host| host_behind(Family::V4, length, host)).collect();
        let mut done = summed(&self.trace(names, &["-r", RATE, "--per-hop", "max"], &targets)?);
        // They wait for each other: what one of them takes says something about the rate alone.
        done.figures.retain(|(key, _)| *key == "hop");
        let missing = u32::try_from(targets.len()).unwrap_or(u32::MAX) - done.runs;
        done.runs += missing;
        Ok(done)
    }

    /// Who is at each hop, by one run.
    pub(super) fn found(&self, arguments: &[&str], target: IpAddr) -> Vec<BTreeSet<IpAddr>> {
        let mut command = self.chain.command(Node::Near, &self.binary.display().to_string());
        command.args(["trace", "-f", "jsonl", "-m", "40"]).args(arguments).arg(target.to_string());
        let text = tools::output(&mut command);
        let hops = Hops::of_echolot(&text, target);
        hops.0.into_iter().map(|hop| hop.addresses).collect()
    }

    fn trace(&self, names: Names, arguments: &[&str], targets: &[IpAddr]) -> Result<Vec<Run>, String> {
        self.behave(names);
        let mut command = self.chain.command(Node::Near, &self.binary.display().to_string());
        let summary = self.networks.with_extension("json");
        command.args(["trace", "-f", "jsonl", "-m", "40", "-W", "70ms", "--summary"]).arg(&summary).args(arguments);
        match names {
            Names::Off => command.arg("-n"),
            _ => command.arg("--asn").arg(&self.networks),
        };
        command.args(targets.iter().map(IpAddr::to_string)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = format!("{:?} trace {arguments:?}", self.binary);
        let mut child = command.spawn().map_err(|error| format!("{shown}: {error}"))?;
        let told = child.stderr.take().map(|told| thread::spawn(|| std::io::read_to_string(told)));
        let lines = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
        let routers = self.chain.hops(Family::V4);
        let mut runs = Vec::new();
        for line in lines {
            let line = line.map_err(|error| format!("{shown}: {error}"))?;
            let now = MonotonicClock.now().0;
            let line: Line = serde_json::from_str(&line).map_err(|error| format!("{shown}: {error}: {line}"))?;
            runs.push(Run { is_first: runs.is_empty(), ..run_of(&line, &routers.0, now) });
        }
        let status = child.wait().map_err(|error| format!("{shown}: {error}"))?;
        let told = told.and_then(|told| told.join().ok()?.ok()).unwrap_or_default();
        // Whether what is missing was said too late, which is told by its stamp, or not at all.
        let account = fs::read_to_string(&summary).ok().and_then(|text| serde_json::from_str(&text).ok());
        let account: serde_json::Value = account.unwrap_or_default();
        let of = |name: &str| account[name].as_u64().unwrap_or_default();
        for missing in runs.iter_mut().filter_map(|run: &mut Run| run.missing.as_mut()) {
            *missing +=
                &format!(" (of all probes: lost {}, unheard {}, late {})", of("lost"), of("unheard"), of("late"));
        }
        // 1: a target did not answer.
        if matches!(status.code(), Some(0 | 1)) && !runs.is_empty() {
            Ok(runs)
        } else {
            Err(format!("{shown} ended with {status}: {}", told.trim()))
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Gone or not.
        let _ = fs::remove_file(&self.networks);
        let _ = fs::remove_file(self.networks.with_extension("json"));
    }
}

/// What a line comes to that was there at `now`. `chain`: who is at each hop, the target of the chain last.
fn run_of(line: &Line, chain: &[tools::Hop], now: u64) -> Run {
    let target: BTreeSet<IpAddr> = [line.address].into();
    let expected = |at: usize| if at + 1 == chain.len() { &target } else { &chain[at].addresses };
    let found = |at: usize| line.hops.iter().find(|hop| hop.ttl == at + 1).and_then(|hop| hop.address);
    let missing = (0..chain.len()).find(|at| found(*at).into_iter().collect::<BTreeSet<_>>() != *expected(*at));
    let sent = || Some(Nanos(line.hops.iter().find(|hop| hop.ttl == chain.len())?.sent_ns)).filter(|sent| sent.0 > 0);
    let only_target = missing.filter(|at| at + 1 == chain.len()).and_then(|_| sent());
    let missing = missing.map(|at| format!("hop {} of {} is {:?}", at + 1, line.address, found(at)));
    let first = line.hops.iter().map(|hop| hop.sent_ns).filter(|sent| *sent > 0).min().unwrap_or(now);
    let is_heard = line.hops.iter().all(|hop| hop.rtt_ns.is_some());
    let last = line.hops.iter().filter_map(|hop| Some(hop.sent_ns + hop.rtt_ns?)).max().unwrap_or(now);
    let hops = line.hops.iter().filter(|hop| hop.ttl < chain.len()).filter_map(|hop| hop.rtt_ns).collect();
    let slowest = if is_heard {
        line.hops.iter().filter_map(|hop| hop.rtt_ns).max().unwrap_or(0)
    } else {
        TIMEOUT.as_nanos() as u64
    };
    Run { time: if is_heard { last } else { now } - first, slowest, hops, missing, only_target, is_first: false }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn summed(all: &[Run]) -> Runs {
    let of = |what: &dyn Fn(&Run) -> f64| median(all.iter().map(what).collect());
    let share = |run: &Run| run.time as f64 / run.slowest.max(1) as f64;
    let hops: Vec<f64> = all.iter().flat_map(|run| &run.hops).map(|rtt| *rtt as f64 / 1e3).collect();
    let count = |runs: usize| u32::try_from(runs).unwrap_or(u32::MAX);
    Runs {
        runs: count(all.len()),
        whole: count(all.iter().filter(|run| run.missing.is_none()).count()),
        held: 0,
        figures: vec![
            ("time", of(&|run| run.time as f64 / 1e6)),
            ("share", of(&share)),
            ("first", median(all.iter().filter(|run| run.is_first).map(share).collect())),
            ("hop", median(hops)),
        ],
        first_missing: all.iter().find_map(|run| run.missing.clone()),
    }
}
