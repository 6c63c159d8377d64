//! `bench peers`: echolot beside fping, masscan and zmap.

use crate::{
    inside::Part,
    lab::{Bench, Cpus, Done, Far},
    report::{Common, Measured},
};
use echolot::base::Family;
use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};
use xtask::lab::{End, NEAR_ADDRESS, NEAR_INTERFACE, TARGETS, TARGETS_V6};

/// How long anything may take.
const WITHIN: Duration = Duration::from_secs(90);
/// First of the addresses that are probed.
const FIRST: u32 = 0x0a40_0000;
const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 0);
/// Ports that the far end has open; all others are closed.
const OPEN: &str = "1-32767";
const OPEN_PORT: u16 = 80;
const CLOSED_PORT: u16 = 40_000;
/// UDP comes back.
const ECHO_PORT: u16 = 7;
/// On the near link, and nobody's: what comes to it this host's kernel leaves alone. From an address of this host's own, it
/// would answer each SYN-ACK by a RST, because it knows of no connection.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 63, 0, 77);
/// More than any of them reaches: as fast as they can.
const ANY_RATE: &str = "10000000";

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- peers                          the table; installs missing peers with apt
  cargo run --release -p bench -- peers --zmap ~/zmap/src/zmap   a newer zmap than the distribution's
  cargo run --release -p bench -- peers --json > peers.json")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Another fping than the one on PATH
    #[arg(long, value_name = "PATH", default_value = "fping")]
    fping: PathBuf,
    /// Another masscan
    #[arg(long, value_name = "PATH", default_value = "masscan")]
    masscan: PathBuf,
    /// Another zmap
    #[arg(long, value_name = "PATH", default_value = "zmap")]
    zmap: PathBuf,
    /// A program of yours to run in the same rounds, in a place of its own; the last number that it prints is its round
    /// trips a second
    #[arg(long, value_name = "PATH")]
    prototype: Option<PathBuf>,
}

enum Peer {
    /// `echolot sweep`: name, arguments, whether results go to a file.
    Sweep(&'static str, &'static [&'static str], bool),
    /// The same over IPv6, without results.
    SweepV6,
    /// `echolot run`: all addresses again and again, for so long.
    Run,
    Fping(Family),
    Masscan(Asked),
    Zmap(Asked),
    Prototype(PathBuf),
}

/// What peers ask that ask more than echo.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Echo,
    Open,
    Closed,
    Udp,
}

impl Asked {
    /// As echolot's rows are named.
    const fn name(self) -> &'static str {
        match self {
            Self::Echo => "",
            Self::Open => ", TCP, open port",
            Self::Closed => ", TCP, closed port",
            Self::Udp => ", UDP, sent back",
        }
    }

    const fn port(self) -> Option<u16> {
        match self {
            Self::Echo => None,
            Self::Open => Some(OPEN_PORT),
            Self::Closed => Some(CLOSED_PORT),
            Self::Udp => Some(ECHO_PORT),
        }
    }

    /// Where its probes come from.
    const fn source(self) -> Ipv4Addr {
        match self {
            Self::Echo => NEAR_ADDRESS,
            Self::Open | Self::Closed | Self::Udp => NOBODY,
        }
    }
}

const ECHOLOT: [Peer; 9] = [
    Peer::Sweep("echolot sweep", &["-f", "none"], false),
    Peer::Run,
    Peer::SweepV6,
    Peer::Sweep("echolot sweep, every result as JSONL", &["-f", "jsonl"], true),
    Peer::Sweep("echolot sweep, list of who answered", &["-f", "list"], true),
    Peer::Sweep("echolot sweep, afxdp", &["-f", "none", "--engine", "afxdp"], false),
    Peer::Sweep("echolot sweep, TCP, open port", &["-f", "none", "-p", "tcp:80"], false),
    Peer::Sweep("echolot sweep, TCP, closed port", &["-f", "none", "-p", "tcp:40000"], false),
    Peer::Sweep("echolot sweep, UDP, sent back", &["-f", "none", "-p", "udp:7"], false),
];

struct Match<'a> {
    args: &'a Args,
    bench: Bench,
    /// What all but fping probe.
    cidr: &'static str,
    cidr_v6: &'static str,
    many: u32,
    /// How long `echolot run` runs.
    time: Duration,
    /// What fping probes, one a line, by family.
    lists: [PathBuf; 2],
    fping_many: u32,
    /// Where results are written: on disk, beside other temporary files.
    results: PathBuf,
    /// An empty file, for programs that insist on reading one.
    empty: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    let needed = [("fping", &args.fping), ("masscan", &args.masscan), ("zmap", &args.zmap)];
    let needed: Vec<_> =
        needed.into_iter().filter(|(name, path)| path.as_os_str() == *name).map(|(name, _)| (name, name)).collect();
    xtask::setup::ensure(&needed)?;
    let bench = Bench::with("peers", &common.binary, Far::Ports(OPEN), None)?;
    let folder = bench.lab().name().folder();
    // fping refuses more: it has 65,536 sequence numbers, and keeps some back.
    let (many, fping_many) = if common.short { (1 << 14, 1 << 12) } else { (1 << 20, 65_000) };
    let [v4, v6, empty] = ["addresses", "addresses-v6", "empty"].map(|file| folder.join(file));
    let text: String = (0..fping_many).map(|i| format!("{}\n", Ipv4Addr::from_bits(FIRST + i))).collect();
    let address_v6 = |i| Ipv6Addr::from_bits(FIRST_V6.to_bits() + u128::from(i));
    let text_v6: String = (0..fping_many).map(|i| format!("{}\n", address_v6(i))).collect();
    for (path, text) in [(&v4, text.as_str()), (&v6, &text_v6), (&empty, "")] {
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let game = Match {
        args,
        bench,
        cidr: if common.short { "10.64.0.0/18" } else { TARGETS },
        cidr_v6: if common.short { "fd00:64::/114" } else { TARGETS_V6 },
        many,
        time: Duration::from_secs(if common.short { 2 } else { 12 }),
        lists: [v4, v6],
        fping_many,
        results: std::env::temp_dir().join(format!("echolot-bench-{}", std::process::id())),
        empty,
    };
    let mut peers: Vec<Peer> = ECHOLOT.into();
    peers.extend([Peer::Fping(Family::V4), Peer::Fping(Family::V6)]);
    peers.extend([Asked::Echo, Asked::Open, Asked::Closed].map(Peer::Masscan));
    peers.extend([Asked::Echo, Asked::Open, Asked::Closed, Asked::Udp].map(Peer::Zmap));
    peers.extend(args.prototype.clone().map(Peer::Prototype));
    let outcome = common.table(
        (
            "peers",
            "Answered round trips over the same reflector. The rate is that of the answers' arrival at the interface, \
             from the first hundredth to the last, times the share that the program found of them; start-up and waiting \
             at the end are in `seconds` only. The far end's work is done in the sender's softirq, on the sender's CPU. \
             Peers run with an XDP program at the near end that lets all pass, which answers need that are sent in XDP. \
             TCP: a SYN to each, which the far end answers by SYN-ACK or RST. echolot and masscan send a RST for each SYN-ACK. \
             zmap leaves that to the kernel, but both peers scan from an address that is nobody's, so the near kernel sends none",
        ),
        &[
            ("rate", "answered a second", 0),
            ("found", "found, %", 2),
            ("cpu", "CPU s a million, process", 2),
            ("busy", "CPU s a million, machine", 2),
            ("seconds", "seconds in all", 1),
        ],
        &peers,
        |peer| game.named(peer),
        80.0,
        |peer| game.measure(peer),
    );
    let _ = fs::remove_file(&game.results);
    outcome.map(|()| ExitCode::SUCCESS)
}

impl Match<'_> {
    fn named(&self, peer: &Peer) -> (String, String) {
        let version = |path: &Path, flag: &str| {
            let output = Command::new(path).arg(flag).output().ok();
            let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let number = |word: &&str| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
            text.split_whitespace().find(number).unwrap_or("of unknown version").to_owned()
        };
        match peer {
            Peer::Sweep(name, ..) => ((*name).into(), String::new()),
            Peer::SweepV6 => ("echolot sweep, IPv6".into(), String::new()),
            Peer::Run => (format!("echolot run, {} s", self.time.as_secs()), String::new()),
            Peer::Fping(family) => {
                let (which, flag) = if *family == Family::V6 { (", IPv6", "-6 ") } else { ("", "") };
                let version = version(&self.args.fping, "--version");
                (
                    format!("fping {version}{which}"),
                    format!("{flag}-q -s -r 0 -i 0 -t 1000, {} addresses, not pinned", self.fping_many),
                )
            }
            Peer::Masscan(asked) => {
                let version = version(&self.args.masscan, "--version");
                let what = match asked.port() {
                    None => "--ping".into(),
                    Some(port) => format!(
                        "-p {port} --source-ip {NOBODY}{}",
                        if *asked == Asked::Closed { " --show closed" } else { "" }
                    ),
                };
                (
                    format!("masscan {version}{}", asked.name()),
                    format!("{what} --retries 0 --wait 1 --rate 10000000, not pinned"),
                )
            }
            Peer::Zmap(asked) => {
                let version = version(&self.args.zmap, "--version");
                let from = asked.port().map(|port| format!(" -p {port} -S {NOBODY}")).unwrap_or_default();
                (
                    format!("zmap {version}{}", asked.name()),
                    format!("{}{from}, one sender thread, -c 1 -r 10000000, not pinned", module(*asked)),
                )
            }
            Peer::Prototype(path) => ("prototype".into(), path.display().to_string()),
        }
    }

    fn measure(&self, peer: &Peer) -> Result<Measured, String> {
        match peer {
            Peer::Sweep(_, arguments, writes) => {
                let mut all = [&["sweep", self.cidr, "-r", "max", "-W", "1s"], *arguments].concat();
                let file = self.results.to_string_lossy();
                if *writes {
                    all.extend(["-o", &file]);
                }
                let (done, summary) = self.bench.echolot_watched(&all, Cpus::All, WITHIN)?;
                let _ = fs::remove_file(&self.results);
                echolot(&done, &summary)
            }
            Peer::SweepV6 => {
                let sweep = ["sweep", self.cidr_v6, "-r", "max", "-W", "1s", "-f", "none"];
                let (done, summary) = self.bench.echolot_watched(&sweep, Cpus::All, WITHIN)?;
                echolot(&done, &summary)
            }
            Peer::Run => {
                // More than it can: what comes too late is passed over.
                let interval = (u64::from(self.many) * 1_000 / 6_000_000).max(10);
                let config = format!(
                    "groups:\n- {{name: all, targets: [{}], interval: {interval}ms, timeout: 1s}}\n\
                     limits: {{rate: 9000000}}\n",
                    self.cidr
                );
                let (done, summary) = self.bench.run_watched(&config, &[], Cpus::All, self.time, WITHIN)?;
                echolot(&done, &summary)
            }
            Peer::Prototype(path) => {
                let output = Command::new(path).output().map_err(|error| format!("{}: {error}", path.display()))?;
                let text = String::from_utf8_lossy(&output.stdout);
                let rate = text.split_whitespace().filter_map(|word| word.parse::<f64>().ok()).next_back();
                Ok(Measured::new(&[("rate", rate.ok_or_else(|| format!("it printed no number: {text}"))?)]))
            }
            Peer::Fping(family) => {
                let mut command = self.bench.lab().near(&self.args.fping);
                command.args(if *family == Family::V6 { &["-6"][..] } else { &[] });
                command.args(["-q", "-s", "-r", "0", "-i", "0", "-t", "1000", "-f"]).arg(&self.lists[*family as usize]);
                let done = self.peer(command)?;
                let alive = done.told.lines().find_map(|line| line.trim().strip_suffix(" alive")?.parse().ok());
                let alive: u32 = alive.ok_or_else(|| done.failed())?;
                figures(&done, f64::from(alive), f64::from(self.fping_many))
            }
            Peer::Masscan(asked) => {
                let mut command = self.bench.lab().near(&self.args.masscan);
                command.args([self.cidr, "-e", NEAR_INTERFACE, "--rate", ANY_RATE]);
                match asked.port() {
                    None => command.arg("--ping"),
                    Some(port) => command.args(["-p", &port.to_string()]),
                };
                if *asked == Asked::Closed {
                    command.args(["--show", "closed"]);
                }
                command.args(["--source-ip", &asked.source().to_string(), "--router-mac", &self.bench.far_mac()?]);
                command.args(["--retries", "0", "--wait", "1", "-oL"]).arg(&self.results);
                // It ends only when a packet comes in after its wait.
                let _trickle = self.bench.hold(End::Far, &Part::Trickle)?;
                let done = self.peer(command)?;
                figures(&done, f64::from(self.found()?), f64::from(self.many))
            }
            Peer::Zmap(asked) => {
                let mut command = self.bench.lab().near(&self.args.zmap);
                command.args(["-C"]).arg(&self.empty).arg("-b").arg(&self.empty);
                command.args(["-i", NEAR_INTERFACE, "-G", &self.bench.far_mac()?, "-S", &asked.source().to_string()]);
                command.args(["-M", module(*asked), "-r", ANY_RATE, "-T", "1", "-c", "1", "-q", "-v", "0"]);
                command.args(asked.port().map(|port| format!("--target-port={port}")));
                match asked {
                    Asked::Echo | Asked::Open => {}
                    // Of itself it writes only who is open.
                    Asked::Closed => {
                        command.args([
                            "-O",
                            "csv",
                            "-f",
                            "saddr",
                            "--output-filter=classification = rst && repeat = 0",
                        ]);
                    }
                    Asked::Udp => {
                        command.arg("--probe-args=text:echolot");
                    }
                }
                command.arg("-o").arg(&self.results).arg(self.cidr);
                let done = self.peer(command)?;
                figures(&done, f64::from(self.found()?), f64::from(self.many))
            }
        }
    }

    /// Runs somebody else's program.
    fn peer(&self, command: Command) -> Result<Done, String> {
        // It writes anew, and if it writes nothing there must be nothing.
        let _ = fs::remove_file(&self.results);
        let _pass = self.bench.hold(End::Near, &Part::Pass)?;
        self.bench.watched(command, WITHIN)
    }

    /// How many of the addresses a result file names.
    fn found(&self) -> Result<u32, String> {
        let text = fs::read_to_string(&self.results).map_err(|error| format!("no results: {error}"))?;
        let mut named = vec![false; self.many as usize];
        let addresses = text.split([' ', '\n', ',']).filter_map(|word| word.trim().parse::<Ipv4Addr>().ok());
        for index in addresses.filter_map(|address| address.to_bits().checked_sub(FIRST)) {
            if let Some(named) = named.get_mut(index as usize) {
                *named = true;
            }
        }
        Ok(u32::try_from(named.iter().filter(|named| **named).count()).unwrap_or(self.many))
    }
}

fn echolot(done: &Done, summary: &serde_json::Value) -> Result<Measured, String> {
    let of = |name: &str| summary[name].as_f64().unwrap_or_default();
    let mut measured = figures(done, of("answered"), of("probes"))?;
    measured.with = Some(format!(
        "{} {}, threads pinned; lost {}, unheard {}, unsent {}",
        summary["engine"].as_str().unwrap_or_default(),
        summary["mode"].as_str().unwrap_or_default(),
        of("lost"),
        of("unheard"),
        of("unsent")
    ));
    Ok(measured)
}

/// zmap's probe module.
const fn module(asked: Asked) -> &'static str {
    match asked {
        Asked::Echo => "icmp_echoscan",
        Asked::Open | Asked::Closed => "tcp_synscan",
        Asked::Udp => "udp",
    }
}

/// What a run over so many probes came to.
fn figures(done: &Done, found: f64, probes: f64) -> Result<Measured, String> {
    let rate = done.traffic.receive_rate().ok_or_else(|| format!("no answer arrived. {}", done.failed()))?;
    let arrived = done.traffic.received().max(1.0);
    Ok(Measured::new(&[
        ("rate", rate * (found / arrived).min(1.0)),
        ("found", 100.0 * found / probes),
        ("cpu", done.cpu / (probes / 1e6)),
        ("busy", done.busy / (probes / 1e6)),
        ("seconds", done.wall.as_secs_f64()),
    ]))
}
