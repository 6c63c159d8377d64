//! `bench transmit`: what an engine sends, beside what its mechanism could.

use crate::{
    inside::Part,
    lab::{Bench, Cpus, Done, Far},
    report::{Common, Measured},
};
use echolot::base::Family;
use std::{cell::Cell, process::ExitCode, time::Duration};
use xtask::lab::{End, TARGETS, TARGETS_V6};

/// How long anything may take.
const WITHIN: Duration = Duration::from_secs(90);

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- transmit                      the table
  cargo run --release -p bench -- transmit --json > transmit.json")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy)]
enum Contestant {
    /// The mechanism without an engine.
    Bare(&'static str),
    /// `echolot sweep` with an engine: all is sent before the first deadline.
    Sweep(&'static str, Cpus, Family),
    /// The same with a SYN or a datagram to each: the engine, the probe, what that is.
    ToPort(&'static str, &'static str, &'static str),
    /// `echolot run` with an engine: deadlines pass while it sends.
    Run(&'static str, Cpus, Family),
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    let bench = Bench::with("transmit", &common.binary, Far::Nothing, None)?;
    let seconds = if common.short { 0.3 } else { 4.0 };
    let with = |engine| {
        [
            Contestant::Bare(engine),
            Contestant::Sweep(engine, Cpus::One, Family::V4),
            Contestant::Run(engine, Cpus::One, Family::V4),
            Contestant::Sweep(engine, Cpus::All, Family::V4),
            Contestant::Sweep(engine, Cpus::One, Family::V6),
            Contestant::Run(engine, Cpus::One, Family::V6),
            Contestant::ToPort(engine, "tcp:443", "TCP"),
            Contestant::ToPort(engine, "udp:7", "UDP"),
            Contestant::ToPort(engine, "udp:53", "DNS"),
        ]
    };
    let contestants = [with("afxdp"), with("live-frames")].concat();
    let shown = |contestant: &Contestant| match contestant {
        Contestant::Bare("afxdp") => {
            ("AF_XDP, bare".into(), "one prepared frame over and over, copy mode, 32 a call, one CPU".into())
        }
        Contestant::Bare(_) => (
            "live frames, bare".into(),
            "the program that builds probes, without table and confirmation, 2,048 a call, one CPU".into(),
        ),
        Contestant::Sweep(engine, cpus, family) => (named("sweep", engine, *cpus, *family), String::new()),
        Contestant::Run(engine, cpus, family) => (named("run", engine, *cpus, *family), String::new()),
        Contestant::ToPort(engine, _, what) => (format!("echolot sweep, {what}, {engine}, one CPU"), String::new()),
    };
    // Each beside the bare loop of the same round, which was measured just before.
    let bare = Cell::new(f64::NAN);
    let measure = |contestant: &Contestant| {
        let (done, with, probes) = match contestant {
            Contestant::Bare(mechanism) => {
                let part = match *mechanism {
                    "afxdp" => Part::Afxdp { seconds },
                    _ => Part::LiveFrames { seconds },
                };
                let done = bench.watched(bench.inside(End::Near, &part)?, WITHIN)?;
                if !done.status.success() {
                    return Err(done.failed());
                }
                let words: Vec<f64> = done.out.split_whitespace().filter_map(|word| word.parse().ok()).collect();
                let [frames, _] = words[..] else { return Err(format!("it printed {:?}", done.out)) };
                (done, None, frames)
            }
            Contestant::Sweep(engine, cpus, family) => {
                let targets = match (common.short, *engine, family) {
                    (true, _, Family::V4) => "10.128.0.0/16",
                    (false, "afxdp", Family::V4) => "10.128.0.0/11",
                    (false, _, Family::V4) => "10.128.0.0/10",
                    (true, _, Family::V6) => "fd00:80::/112",
                    (false, "afxdp", Family::V6) => "fd00:80::/107",
                    (false, _, Family::V6) => "fd00:80::/106",
                };
                let arguments = ["sweep", targets, "-r", "max", "-f", "none", "--engine", engine, "-W"];
                let timeout = if common.short { "300ms" } else { "4s" };
                echolot(bench.echolot_watched(&[&arguments[..], &[timeout]].concat(), *cpus, WITHIN)?)
            }
            Contestant::ToPort(engine, probe, _) => {
                let targets = match (common.short, *engine) {
                    (true, _) => "10.128.0.0/16",
                    (false, "afxdp") => "10.128.0.0/11",
                    (false, _) => "10.128.0.0/10",
                };
                let arguments = ["sweep", targets, "-p", probe, "-r", "max", "-f", "none", "--engine", engine, "-W"];
                let timeout = if common.short { "300ms" } else { "4s" };
                echolot(bench.echolot_watched(&[&arguments[..], &[timeout]].concat(), Cpus::One, WITHIN)?)
            }
            Contestant::Run(engine, cpus, family) => {
                let count = if common.short { 1 << 16 } else { 1 << 20 };
                let targets = match (common.short, family) {
                    (true, Family::V4) => "10.64.0.0/16",
                    (true, Family::V6) => "fd00:64::/112",
                    (false, Family::V4) => TARGETS,
                    (false, Family::V6) => TARGETS_V6,
                };
                // A schedule that asks for more than the engine can: what comes too late is passed over.
                let asked: u64 = if *engine == "afxdp" { 1_600_000 } else { 6_000_000 };
                let interval = count * 1_000 / asked;
                // Nobody answers: each probe is entered, sent, kept in flight and taken out as lost.
                let config = format!(
                    "groups:\n- {{name: silent, targets: ['{targets}'], interval: {}ms, timeout: 500ms}}\n\
                     limits: {{rate: 9000000}}\n",
                    interval.max(10)
                );
                let time = Duration::from_secs_f64(seconds + 1.0);
                echolot(bench.run_watched(&config, &["--engine", engine], *cpus, time, WITHIN)?)
            }
        };
        let rate = done.traffic.send_rate().ok_or("nothing arrived at the far end")?;
        if let Contestant::Bare(_) = contestant {
            bare.set(rate);
        }
        let figures = vec![
            ("rate", rate),
            ("share", rate / bare.get()),
            ("ns", 1e9 / rate),
            ("cpu", done.cpu / (probes / 1e6)),
            ("busy", done.busy / (probes / 1e6)),
        ];
        Ok(Measured { figures, with })
    };
    common.table(
        (
            "transmit",
            "Probes that arrive at a far end that drops them in XDP. It does so in the sender's softirq, on the \
             sender's CPU. A sweep has sent everything before its first deadline; in `run` deadlines pass, and \
             unanswered probes are taken out as lost, at the pace of sending. The bare loops send the shortest probe over \
             IPv4, 60 bytes; that over IPv6 has 80, a SYN 74, UDP and DNS probes have 60",
        ),
        &[
            ("rate", "arrive a second", 0),
            ("share", "of the bare loop in the same round", 3),
            ("ns", "ns each", 0),
            ("cpu", "CPU s a million, process", 2),
            ("busy", "CPU s a million, machine", 2),
        ],
        &contestants,
        shown,
        36.0,
        measure,
    )?;
    Ok(ExitCode::SUCCESS)
}

fn named(command: &str, engine: &str, cpus: Cpus, family: Family) -> String {
    let cpus = match cpus {
        Cpus::One => "one CPU",
        Cpus::All => "all CPUs",
    };
    let family = match family {
        Family::V4 => "",
        Family::V6 => "IPv6, ",
    };
    format!("echolot {command}, {family}{engine}, {cpus}")
}

/// What it ran, with what, and how many probes it sent.
fn echolot((done, summary): (Done, serde_json::Value)) -> (Done, Option<String>, f64) {
    let of = |name: &str| summary[name].as_f64().unwrap_or_default();
    let with = format!(
        "{} {}, threads pinned, {} targets; unsent {}",
        summary["engine"].as_str().unwrap_or_default(),
        summary["mode"].as_str().unwrap_or_default(),
        of("targets"),
        of("unsent"),
    );
    let sent = of("probes") - of("unsent");
    (done, Some(with), sent)
}
