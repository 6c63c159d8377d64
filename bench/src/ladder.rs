//! `bench ladder`: from a loop that waits to echolot, at 100 to a million addresses.

use crate::{
    inside::Part,
    lab::{Bench, Cpus},
    report::{Common, Measured, grouped},
    rungs::{FIRST, Heard, Rung},
};
use std::{fs, net::Ipv4Addr, path::PathBuf, process::ExitCode, time::Duration};
use xtask::lab::End;

/// How long anything may take.
const WITHIN: Duration = Duration::from_secs(120);
/// fping is asked for no more: it has 65,536 sequence numbers for all probes of ten seconds.
const FPING_MOST: u32 = 20_000;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- ladder
  cargo run --release -p bench -- ladder --addresses 100,1000,10000,100000,1000000 --rounds 3
  cargo run --release -p bench -- ladder --json > ladder.json")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// How many addresses are probed once a second
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [100, 10_000, 1_000_000],
          value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    addresses: Vec<u32>,
    /// Another fping than the one on PATH
    #[arg(long, value_name = "PATH", default_value = "fping")]
    fping: PathBuf,
}

#[derive(Clone, Copy)]
enum Who {
    Rung(Rung, &'static str, &'static str),
    Fping,
    Echolot(&'static str),
}

const LADDER: [Who; 6] = [
    Who::Rung(Rung::SendAndWait, "send and wait", "a blocking loop over a raw socket, one thread"),
    Who::Fping,
    Who::Rung(Rung::Tasks, "a task an address", "tokio, a worker a core, one raw socket; stamped in the task"),
    Who::Rung(
        Rung::PacketMmap,
        "packet-mmap listener",
        "AF_PACKET TPACKET_V3 (netring), blocks of at most 1 ms, a raw socket to send; two threads, stamped in them",
    ),
    Who::Echolot("afxdp"),
    Who::Echolot("live-frames"),
];

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    if args.fping.as_os_str() == "fping" {
        xtask::setup::ensure(&[("fping", "fping")])?;
    }
    let (sizes, seconds) = if common.short { (vec![100], 1) } else { (args.addresses.clone(), 3) };
    let bench = Bench::up("ladder", &common.binary)?;
    let contestants: Vec<(u32, Who)> = sizes
        .iter()
        .flat_map(|size| LADDER.iter().map(|who| (*size, *who)))
        .filter(|(size, who)| !matches!(who, Who::Fping) || *size <= FPING_MOST)
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let expected = contestants.len() as f64 * (f64::from(seconds) + 2.0);
    common.table(
        (
            "ladder",
            "Each address probed once a second; the far end answers at once, in XDP, so what a round-trip time shows beyond \
             some microseconds is the prober's own delay. Kept up with: probes answered, of those that were due. Not pinned \
             but for echolot",
        ),
        &[
            ("kept", "kept up with, %", 2),
            ("answered", "answered a second", 0),
            ("p50", "RTT median, us", 1),
            ("p99", "RTT p99, us", 1),
        ],
        &contestants,
        |(size, who)| {
            let (name, with) = match who {
                Who::Rung(_, name, with) => ((*name).to_owned(), (*with).to_owned()),
                Who::Fping => ("fping".into(), "-C -p 1000, its own figures".into()),
                Who::Echolot(engine) => (format!("echolot run, {engine}"), "copy mode, pinned; stamped in XDP".into()),
            };
            (format!("{} addresses: {name}", grouped(f64::from(*size), 0)), with)
        },
        expected,
        |(size, who)| {
            let due = f64::from(*size) * f64::from(seconds);
            let (heard, time) = match who {
                Who::Rung(rung, ..) => (part(&bench, *rung, *size, seconds)?, f64::from(seconds)),
                Who::Fping => fping(&bench, args, *size, seconds)?,
                Who::Echolot(engine) => (echolot(&bench, engine, *size, seconds)?, f64::from(seconds)),
            };
            #[expect(clippy::cast_precision_loss, reason = "a count of probes")]
            let answered = heard.answered as f64;
            // One that took longer than it should have kept up with less.
            let share = (answered / due * f64::from(seconds) / time).min(1.0);
            Ok(Measured::new(&[
                ("kept", 100.0 * share),
                ("answered", answered / time),
                ("p50", heard.p50),
                ("p99", heard.p99),
            ]))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn part(bench: &Bench, rung: Rung, addresses: u32, seconds: u32) -> Result<Heard, String> {
    let _pass = bench.hold(End::Near, &Part::Pass)?;
    let done = bench.watched(bench.inside(End::Near, &Part::Rung { rung, addresses, seconds })?, WITHIN)?;
    if !done.status.success() {
        return Err(done.failed());
    }
    serde_json::from_str(&done.out).map_err(|error| format!("{error}: {}", done.out))
}

fn fping(bench: &Bench, args: &Args, addresses: u32, seconds: u32) -> Result<(Heard, f64), String> {
    let _pass = bench.hold(End::Near, &Part::Pass)?;
    let list = bench.lab().name().folder().join("addresses");
    let text: String = (0..addresses).map(|i| format!("{}\n", Ipv4Addr::from_bits(FIRST + i))).collect();
    fs::write(&list, text).map_err(|error| format!("{}: {error}", list.display()))?;
    let mut command = bench.lab().near(&args.fping);
    // Twice the pace: its timers add to each interval.
    let interval = format!("{:.3}", 500.0 / f64::from(addresses));
    let count = seconds.to_string();
    command.args(["-q", "-C", &count, "-p", "1000", "-i", &interval, "-t", "1000", "-f"]).arg(&list);
    let done = bench.watched(command, WITHIN)?;
    // "10.64.0.1 : 0.05 - 0.04": milliseconds, and a dash for each probe that was lost.
    let rest = done.told.lines().filter_map(|line| line.split_once(" : ").map(|(_, times)| times));
    let mut times: Vec<f64> = rest.flat_map(str::split_whitespace).filter_map(|time| time.parse().ok()).collect();
    if times.is_empty() {
        return Err(done.failed());
    }
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| 1_000.0 * times[(times.len() * percent / 100).min(times.len() - 1)];
    let heard = Heard { answered: times.len() as u64, p50: at(50), p99: at(99) };
    // What starting up takes is no part of keeping up.
    Ok((heard, (done.wall.as_secs_f64() - 0.1).max(f64::from(seconds))))
}

fn echolot(bench: &Bench, engine: &str, addresses: u32, seconds: u32) -> Result<Heard, String> {
    let last = Ipv4Addr::from_bits(FIRST + addresses - 1);
    let config = format!(
        "groups:\n- {{name: all, targets: [10.64.0.0-{last}], interval: 1s, timeout: 1s}}\nlimits: {{rate: 2000000}}\n"
    );
    // Start-up comes on top; the share is taken of what was due while it ran.
    let time = Duration::from_secs(u64::from(seconds) + 1);
    let (_, summary) = bench.run_watched(&config, &["--engine", engine], Cpus::All, time, WITHIN)?;
    let of = |name: &str| summary[name].as_f64().unwrap_or_default();
    let share = of("answered") / (of("probes") + of("skipped")).max(1.0);
    let rtt = |name: &str| summary["rtt_ns"][name].as_f64().map_or(f64::NAN, |ns| ns / 1e3);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of probes")]
    let answered = (share * f64::from(addresses) * f64::from(seconds)).round() as u64;
    Ok(Heard { answered, p50: rtt("p50"), p99: rtt("p99") })
}
