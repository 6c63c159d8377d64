//! traceroute, mtr and trippy over the same chain, as people run them: with their look-ups on, all hops at once as far as they can, and as
//! little time for a hop as they take.

use super::{
    Names,
    runs::{Runs, Site},
};
use crate::measure::median;
use echolot::base::Family;
use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use testbed::chain::Node;
use xtask::command::wait_until;

/// A run that takes longer is ended, and not whole.
const WITHIN: Duration = Duration::from_secs(30);
/// What is installed where there is none.
const TRIPPY: &str = "0.13.0";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Traceroute,
    Mtr,
    Trippy,
}

impl Peer {
    pub(super) const ALL: [Self; 3] = [Self::Traceroute, Self::Mtr, Self::Trippy];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Traceroute => "traceroute",
            Self::Mtr => "mtr",
            Self::Trippy => "trippy",
        }
    }

    fn arguments(self, names: Names) -> Vec<&'static str> {
        let is_off = names == Names::Off;
        let mut all = match self {
            Self::Traceroute => vec!["-I", "-q", "1", "-N", "40", "-w", "0.07", "-m", "40"],
            Self::Mtr => {
                vec!["--report", "--report-wide", "-c", "1", "-m", "40", "-U", "40", "-G", "0.07", "-i", "0.1"]
            }
            Self::Trippy => vec![
                "--mode",
                "json",
                "-C",
                "1",
                "-t",
                "40",
                "-U",
                "40",
                "-i",
                "100ms",
                "-T",
                "100ms",
                "-g",
                "70ms",
                "--dns-resolve-method",
                "resolv",
            ],
        };
        all.extend(match (self, is_off) {
            (Self::Traceroute, true) | (Self::Mtr, true) => Some("-n"),
            // Names beside addresses.
            (Self::Mtr, false) => Some("-b"),
            _ => None,
        });
        all
    }
}

/// So many runs, by the program that is there, or by `trippy`.
pub(super) fn measure(
    site: &Site,
    peer: Peer,
    names: Names,
    (runs, trippy): (u32, Option<&Path>),
) -> Result<Runs, String> {
    let program = match (peer, trippy) {
        (Peer::Traceroute, _) => installed("traceroute", "traceroute")?,
        (Peer::Mtr, _) => installed("mtr", "mtr-tiny")?,
        (Peer::Trippy, Some(path)) => path.to_owned(),
        (Peer::Trippy, None) => self::trippy()?,
    };
    site.behave(names);
    let target = site.chain.target(Family::V4);
    let expected = site.chain.hops(Family::V4);
    let (mut times, mut whole, mut first_missing) = (Vec::new(), 0, None);
    for _ in 0..runs {
        let mut command = site.chain.command(Node::Near, &program.display().to_string());
        command.args(peer.arguments(names)).arg(target.to_string());
        let begun = Instant::now();
        let text = ended(&mut command)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        let seen = read(peer, text.as_deref().unwrap_or_default());
        let missing = (0..expected.0.len()).find(|at| seen.get(*at) != Some(&expected.0[*at].addresses));
        whole += u32::from(missing.is_none());
        first_missing = first_missing.or(missing.map(|at| format!("hop {}", at + 1)));
    }
    Ok(Runs { runs, whole, held: 0, figures: vec![("time", median(times))], first_missing })
}

/// What one kind of probe is called: by echolot, by traceroute, by trippy.
pub(super) type Kind = (&'static str, &'static [&'static str], &'static [&'static str]);

pub(super) const KINDS: [Kind; 3] = [
    ("icmp", &["-I"], &["--icmp"]),
    ("udp:33434", &["-U", "-p", "33434"], &["--udp", "-P", "33434"]),
    ("tcp:443", &["-T", "-p", "443"], &["--tcp", "-P", "443"]),
];

/// Whether echolot, traceroute and trippy find the same at every hop, as sets: a run each.
pub(super) fn agree(
    site: &Site,
    (echolot, traceroute, trippy): Kind,
    family: Family,
    path: Option<&Path>,
) -> Result<Runs, String> {
    site.behave(Names::Quick);
    let target = site.chain.target(family).to_string();
    let chain: Vec<BTreeSet<IpAddr>> = site.chain.hops(family).0.into_iter().map(|hop| hop.addresses).collect();
    let run = |program: &Path, arguments: &[&str]| {
        let mut command = site.chain.command(Node::Near, &program.display().to_string());
        ended(command.args(arguments).arg(&target)).map(Option::unwrap_or_default)
    };
    let path = path.map_or_else(self::trippy, |path| Ok(path.to_owned()))?;
    let slowly = ["--mode", "json", "-C", "1", "-t", "40", "-U", "40", "-i", "1s", "-T", "1s", "-g", "500ms"];
    let found = [
        ("echolot", site.found(&["-n", "-p", echolot], site.chain.target(family))),
        (
            "traceroute",
            read(
                Peer::Traceroute,
                &run(
                    &installed("traceroute", "traceroute")?,
                    &[&["-n", "-q", "1", "-w", "2", "-m", "40"], traceroute].concat(),
                )?,
            ),
        ),
        ("trippy", read(Peer::Trippy, &run(&path, &[&slowly[..], trippy].concat())?)),
    ];
    let differs = found.iter().find(|(_, hops)| *hops != chain);
    Ok(Runs {
        runs: 1,
        whole: u32::from(differs.is_none()),
        held: 0,
        figures: Vec::new(),
        first_missing: differs.map(|(who, hops)| format!("{who} found {hops:?}")),
    })
}

fn installed(program: &str, package: &str) -> Result<PathBuf, String> {
    xtask::setup::ensure(&[(program, package)])?;
    Ok(program.into())
}

/// trippy, which Debian does not have: from its source, once, into a folder of this workspace's own.
fn trippy() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    let program = root.join("bin/trip");
    if program.exists() {
        return Ok(program);
    }
    eprintln!("setup: cargo install trippy {TRIPPY}");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut install = Command::new(cargo);
    install.args(["install", "--locked", "trippy", "--version", TRIPPY, "--root"]).arg(&root).stdout(Stdio::null());
    let status = install.status().map_err(|error| format!("cargo install: {error}"))?;
    if status.success() { Ok(program) } else { Err(format!("cargo install trippy ended with {status}")) }
}

/// What it printed; None: it did not end in time.
fn ended(command: &mut Command) -> Result<Option<String>, String> {
    let shown = format!("{command:?}");
    let told = |error: std::io::Error| format!("{shown}: {error}");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(told)?;
    let out = child.stdout.take().map(|out| std::thread::spawn(|| std::io::read_to_string(out)));
    let status = wait_until(WITHIN, || child.try_wait().ok().flatten());
    if status.is_none() {
        // `ip netns exec` becomes the program, so this is its own process.
        child.kill().map_err(told)?;
        child.wait().map_err(told)?;
    }
    let text = out.and_then(|out| out.join().ok()?.ok()).unwrap_or_default();
    Ok(status.map(|_| text))
}

/// Who is at each hop.
fn read(peer: Peer, text: &str) -> Vec<BTreeSet<IpAddr>> {
    if peer == Peer::Trippy {
        return of_trippy(text);
    }
    let mut hops: Vec<BTreeSet<IpAddr>> = Vec::new();
    for line in text.lines() {
        // `3.|--` of mtr's.
        let Some((number, rest)) = line.trim_start().split_once([' ', '.']) else { continue };
        let Ok(number @ 1..) = number.parse::<usize>() else { continue };
        let addresses = rest.split([' ', '(', ')']).filter_map(|word| word.parse::<IpAddr>().ok());
        hops.resize(number.max(hops.len()), BTreeSet::new());
        hops[number - 1].extend(addresses);
    }
    hops
}

fn of_trippy(text: &str) -> Vec<BTreeSet<IpAddr>> {
    let report: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let hubs = report["hops"].as_array().cloned().unwrap_or_default();
    let hosts = |hub: &serde_json::Value| {
        let hosts = hub["hosts"].as_array().cloned().unwrap_or_default();
        hosts.iter().filter_map(|host| host["ip"].as_str()?.parse().ok()).collect()
    };
    hubs.iter().map(hosts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_print_is_read() {
        let expected: Vec<BTreeSet<IpAddr>> =
            ["10.96.1.1", "", "10.159.0.1"].map(|address| address.parse().into_iter().collect()).into();
        let traceroute = "traceroute to 10.159.0.1 (10.159.0.1), 40 hops max, 60 byte packets\n 1  r1.example (10.96.1.1)  0.037 ms\n 2  *\n 3  10.159.0.1 (10.159.0.1)  20.2 ms\n";
        assert_eq!(read(Peer::Traceroute, traceroute), expected);
        let mtr = "Start: 2026-11-23T07:00:00+0000\nHOST: here     Loss%   Snt   Last\n  1.|-- r1.example (10.96.1.1)  0.0%  1  0.1\n  2.|-- ???   100.0  1\n  3.|-- 10.159.0.1  0.0%  1  20.1\n";
        assert_eq!(read(Peer::Mtr, mtr), expected);
        let hops =
            ["10.96.1.1", "", "10.159.0.1"].map(|ip| serde_json::json!({"hosts": [{"ip": ip, "hostname": "r"}]}));
        assert_eq!(read(Peer::Trippy, &serde_json::json!({"hops": hops}).to_string()), expected);
    }
}
