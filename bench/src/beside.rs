//! `bench truth beside`: what echolot says of a path of no length, beside what fping and ping say of it.

use crate::{
    inside::Part,
    lab::{Bench, Cpus, Far},
    report::{Common, Measured},
};
use bench::truth::{
    FarEnd, Programs, evidence,
    judge::{self, Life, Terms},
};
use echolot::{
    nic::{self, MonotonicClock},
    worker::Clock as _,
};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};
use xtask::lab::End;

/// How long anything may take beyond what it is asked for.
const OVERDUE: Duration = Duration::from_secs(60);
/// How long probes may be answered, nanoseconds; as in the configuration below.
const TIMEOUT: u64 = 500_000_000;
/// Addresses that echolot and fping probe ten times a second each: a thousand probes a second.
const FEW: u32 = 100;
/// What the far end leaves no record of, first and last address: the other traffic goes there.
const UNRECORDED: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 65, 0, 0), Ipv4Addr::new(10, 79, 255, 255));
const RULES: &str = "\
seed: 1
timeouts: [500ms]
ranges:
- {addresses: [10.64.0.0/12], unrecorded: true}
- {addresses: [10.64.0.0/16]}
";

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- truth beside
  cargo run --release -p bench -- truth beside --traffic 200000 --rounds 9
  cargo run --release -p bench -- truth beside --json > beside.json")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// How many other probes a second echolot sends beside the thousand, in the rows that say so
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1_000..=900_000))]
    traffic: u32,
    /// Another fping than the one on PATH
    #[arg(long, value_name = "PATH", default_value = "fping")]
    fping: PathBuf,
    /// Another ping
    #[arg(long, value_name = "PATH", default_value = "ping")]
    ping: PathBuf,
}

#[derive(Clone, Copy)]
enum Who {
    /// With this engine, and so many other probes a second.
    Echolot(&'static str, u32),
    Fping,
    Ping,
    /// Nobody probes: how even the machine's own time is.
    Machine,
}

struct Place<'a> {
    args: &'a Args,
    bench: Bench,
    programs: Programs,
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    let needed = [("fping", "fping", &args.fping), ("ping", "iputils-ping", &args.ping)];
    let needed: Vec<_> = needed
        .into_iter()
        .filter(|(name, _, path)| path.as_os_str() == *name)
        .map(|(name, of, _)| (name, of))
        .collect();
    xtask::setup::ensure(&needed)?;
    let bench = Bench::with("beside", &common.binary, Far::Open, None)?;
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let programs = Programs { echolot: common.binary.clone(), bench: own };
    let (seconds, traffic) = if common.short { (1, args.traffic.min(20_000)) } else { (4, args.traffic) };
    let place = Place { args, bench, programs, seconds };
    let contestants = [
        Who::Echolot("afxdp", 0),
        Who::Echolot("live-frames", 0),
        Who::Echolot("live-frames", traffic),
        Who::Fping,
        Who::Ping,
        Who::Machine,
    ];
    common.table(
        (
            "beside",
            "A thousand probes a second to a far end that answers at once, in XDP, and keeps a record of it. Path: echolot's \
             round-trip time less what the far end held that very probe; mismatches: results that the record contradicts. \
             fping and ping have no such record of each probe: their round-trip time is as they print it, in steps of a \
             microsecond (fping: three digits), and what the far end held is part of it. The last row is this machine's own \
             evenness: a hundred readings of the clock, timed a thousand times a second. Nothing is pinned but echolot and \
             the last row",
        ),
        &[
            ("path50", "path median, us", 1),
            ("path99", "path p99, us", 1),
            ("rtt50", "RTT median, us", 1),
            ("rtt99", "RTT p99, us", 1),
            ("hold50", "far end held, median, us", 1),
            ("probes", "probes", 0),
            ("other", "other probes a second", 0),
            ("mismatches", "mismatches", 0),
        ],
        &contestants,
        named,
        f64::from(seconds) * 6.0 + 10.0,
        |who| match who {
            Who::Echolot(engine, traffic) => place.echolot(engine, *traffic),
            Who::Fping => place.fping(),
            Who::Ping => place.ping(),
            Who::Machine => machine(seconds),
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn named(who: &Who) -> (String, String) {
    let (name, with) = match who {
        Who::Echolot(engine, 0) => (format!("echolot run, {engine}"), "copy mode, pinned; 100 addresses"),
        Who::Echolot(engine, traffic) => (
            format!("echolot run, {engine}, beside {traffic} other probes a second"),
            "copy mode, pinned; a group of its own for the 100 addresses, every result of both groups written",
        ),
        Who::Fping => ("fping".into(), "-C -p 100 -i 1; 100 addresses"),
        Who::Ping => ("ping".into(), "-i 0.001; one address"),
        Who::Machine => ("the machine itself".into(), "pinned to the last CPU"),
    };
    (name, with.into())
}

impl Place<'_> {
    fn echolot(&self, engine: &str, traffic: u32) -> Result<Measured, String> {
        let folder = self.bench.lab().name().folder();
        let (rules, record, results) =
            (folder.join("rules.yml"), folder.join("record.jsonl"), folder.join("results.jsonl"));
        write(&rules, RULES)?;
        let last = Ipv4Addr::from_bits(UNRECORDED.0.to_bits() + traffic.max(1) - 1);
        let other = format!("- {{name: other, targets: [{}-{last}], interval: 1s, timeout: 500ms}}\n", UNRECORDED.0);
        let config = format!(
            "limits: {{rate: {}}}\ngroups:\n- {{name: few, targets: [10.64.0.0-10.64.0.{}], interval: 100ms, timeout: \
             500ms}}\n{}",
            traffic + 10 * FEW,
            FEW - 1,
            if traffic > 0 { &other } else { "" },
        );
        let far = FarEnd::begin(self.bench.lab(), &self.programs, &rules, &record)?;
        let path = results.to_string_lossy();
        let time = Duration::from_secs(u64::from(self.seconds) + 1);
        let arguments = ["--engine", engine, "-f", "jsonl", "-o", &*path];
        let (_, summary) = self.bench.run_watched(&config, &arguments, Cpus::All, time, time + OVERDUE)?;
        let excuses = far.end()?;
        let summary = serde_json::from_value(summary).map_err(|error| format!("the summary: {error}"))?;
        let mut life = Life { results: evidence::results(&results)?, summary, timeout_ns: TIMEOUT };
        let seen = evidence::record(&record)?;
        let _gone_or_not = (fs::remove_file(&results), fs::remove_file(&record));
        let terms = Terms { excuses, unrecorded: vec![(UNRECORDED.0.into(), UNRECORDED.1.into())], ..Terms::default() };
        let all = judge::judge(std::slice::from_ref(&life), &seen, &terms);
        if all.mismatches > 0 {
            eprintln!("{all}");
        }
        // Figures of the thousand alone: without the others' results, and without their part in the sums.
        let rate = life.rate();
        life.results.retain(|told| !(IpAddr::V4(UNRECORDED.0)..=IpAddr::V4(UNRECORDED.1)).contains(&told.address));
        let few = judge::judge(std::slice::from_ref(&life), &seen, &terms);
        let mut rtt: Vec<u64> = life.results.iter().filter_map(|told| told.rtt_ns).collect();
        Ok(Measured::new(&[
            ("path50", number(few.path.median) / 1e3),
            ("path99", number(few.path.p99) / 1e3),
            ("rtt50", at(&mut rtt, 50)),
            ("rtt99", at(&mut rtt, 99)),
            ("hold50", number(few.hold.median) / 1e3),
            ("probes", number(few.judged)),
            ("other", (rate - life.rate()).max(0.0)),
            ("mismatches", number(all.mismatches)),
        ]))
    }

    /// Runs a peer beside the same far end. Its times are those of `read`, milliseconds.
    fn peer(&self, command: Command, read: impl Fn(&str, &str) -> Vec<f64>) -> Result<Measured, String> {
        let folder = self.bench.lab().name().folder();
        let (rules, record) = (folder.join("rules.yml"), folder.join("record.jsonl"));
        write(&rules, RULES)?;
        let far = FarEnd::begin(self.bench.lab(), &self.programs, &rules, &record)?;
        // Answers that are sent in XDP come only to an end that has a program, too.
        let pass = self.bench.hold(End::Near, &Part::Pass)?;
        let done = self.bench.watched(command, Duration::from_secs(u64::from(self.seconds)) + OVERDUE)?;
        drop(pass);
        far.end()?;
        let seen = evidence::record(&record)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "nanoseconds of a round trip")]
        let mut rtt: Vec<u64> = read(&done.out, &done.told).into_iter().map(|ms| (ms * 1e6).round() as u64).collect();
        if rtt.is_empty() {
            return Err(done.failed());
        }
        let left = |seen: &evidence::Seen| seen.replies.first().and_then(|reply| reply.departure_ns);
        let held = |seen: &evidence::Seen| Some(left(seen)?.saturating_sub(seen.arrival_ns));
        let mut hold: Vec<u64> = seen.iter().filter_map(held).collect();
        Ok(Measured::new(&[
            ("rtt50", at(&mut rtt, 50)),
            ("rtt99", at(&mut rtt, 99)),
            ("hold50", at(&mut hold, 50)),
            ("probes", number(seen.len() as u64)),
        ]))
    }

    fn fping(&self) -> Result<Measured, String> {
        let list = self.bench.lab().name().folder().join("addresses");
        write(&list, &(0..FEW).map(|last| format!("10.64.0.{last}\n")).collect::<String>())?;
        let mut command = self.bench.lab().near(&self.args.fping);
        let count = (10 * self.seconds).to_string();
        command.args(["-q", "-C", &count, "-p", "100", "-i", "1", "-t", "500", "-f"]).arg(&list);
        // "10.64.0.1 : 0.050 - 0.041": milliseconds, and a dash for each probe that was lost.
        self.peer(command, |_, told| {
            let rest = told.lines().filter_map(|line| line.split_once(" : ").map(|(_, times)| times));
            rest.flat_map(str::split_whitespace).filter_map(|time| time.parse().ok()).collect()
        })
    }

    fn ping(&self) -> Result<Measured, String> {
        let mut command = self.bench.lab().near(&self.args.ping);
        command.args(["-n", "-i", "0.001", "-c", &(1_000 * self.seconds).to_string(), "10.64.0.1"]);
        // "64 bytes from 10.64.0.1: icmp_seq=1 ttl=64 time=0.021 ms"
        self.peer(command, |out, _| {
            let rest = out.lines().filter_map(|line| line.split_once(" time=").map(|(_, time)| time));
            rest.filter_map(|time| time.split_whitespace().next()?.parse().ok()).collect()
        })
    }
}

/// A hundred readings of the clock, timed a thousand times a second.
fn machine(seconds: u32) -> Result<Measured, String> {
    let last = std::thread::available_parallelism().map_or(0, usize::from).saturating_sub(1);
    let body = move || -> Result<Vec<u64>, String> {
        nic::thread::prepare(Some(last)).map_err(|error| error.to_string())?;
        let mut times = Vec::new();
        for _ in 0..seconds * 1_000 {
            std::thread::sleep(Duration::from_millis(1));
            let before = MonotonicClock.now();
            (0..98).for_each(|_| _ = std::hint::black_box(MonotonicClock.now()));
            times.push((MonotonicClock.now() - before).0);
        }
        Ok(times)
    };
    let mut times = std::thread::spawn(body).join().map_err(|_| "the machine's own row ended in a panic")??;
    Ok(Measured::new(&[("path50", at(&mut times, 50)), ("path99", at(&mut times, 99))]))
}

/// So many of a hundred are at most this, microseconds.
fn at(times: &mut [u64], percent: usize) -> f64 {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) * percent / 100).map_or(f64::NAN, |ns| number(*ns) / 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds, for a table")]
fn number(value: u64) -> f64 {
    value as f64
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
