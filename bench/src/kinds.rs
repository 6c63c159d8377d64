//! `bench kinds`: what each kind of probe makes of the same engines, where every probe is answered.

use crate::{
    lab::{Bench, Cpus, Far},
    report::{Common, Measured},
};
use echolot::base::Family;
use std::{cell::Cell, process::ExitCode, time::Duration};
use xtask::lab::{TARGETS, TARGETS_V6};

/// How long anything may take.
const WITHIN: Duration = Duration::from_secs(90);
/// Ports that the far end has open; all others are closed.
const OPEN: &str = "1-32767";

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- kinds                            the table
  cargo run --release -p bench -- kinds --only live-frames         its rows with one engine")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy)]
struct Contestant {
    probe: &'static str,
    about: &'static str,
    family: Family,
    engine: &'static str,
    cpus: Cpus,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    let bench = Bench::with("kinds", &common.binary, Far::Ports(OPEN), None)?;
    let kinds = [
        ("icmp", "echo", Family::V4),
        ("icmp", "echo", Family::V6),
        ("tcp:40000", "TCP, closed", Family::V4),
        ("tcp:80", "TCP, open", Family::V4),
        ("tcp:40000", "TCP, closed", Family::V6),
        ("tcp:80", "TCP, open", Family::V6),
        ("udp:40000", "UDP, closed", Family::V4),
        ("udp:7", "UDP, sent back", Family::V4),
        ("udp:53", "DNS", Family::V4),
        ("udp:40000", "UDP, closed", Family::V6),
        ("udp:7", "UDP, sent back", Family::V6),
        ("udp:53", "DNS", Family::V6),
    ];
    let mut contestants = Vec::new();
    for (engine, cpus) in [("afxdp", Cpus::All), ("live-frames", Cpus::One), ("live-frames", Cpus::All)] {
        contestants.extend(kinds.map(|(probe, about, family)| Contestant { probe, about, family, engine, cpus }));
    }
    let shown = |contestant: &Contestant| {
        let family = match contestant.family {
            Family::V4 => "",
            Family::V6 => " over IPv6",
        };
        let cpus = match contestant.cpus {
            Cpus::One => "one CPU",
            Cpus::All => "all CPUs",
        };
        (format!("{}{family}, {}, {cpus}", contestant.about, contestant.engine), String::new())
    };
    // Each beside IPv4 echo by the same engine in the same round, which was measured before.
    let echo = Cell::new(f64::NAN);
    let measure = |contestant: &Contestant| {
        let targets = match (common.short, contestant.family) {
            (true, Family::V4) => "10.64.0.0/16",
            (true, Family::V6) => "fd00:64::/112",
            (false, Family::V4) => TARGETS,
            (false, Family::V6) => TARGETS_V6,
        };
        let probe = contestant.probe;
        let arguments = ["sweep", targets, "-p", probe, "-r", "max", "-f", "none", "-W", "1s"];
        let engine = ["--engine", contestant.engine];
        let (done, summary) = bench.echolot_watched(&[&arguments[..], &engine].concat(), contestant.cpus, WITHIN)?;
        let of = |name: &str| summary[name].as_f64().unwrap_or_default();
        let (answered, probes, seconds) = (of("answered"), of("probes"), of("seconds"));
        if answered == 0.0 {
            return Err(done.failed());
        }
        let rate = answered / seconds;
        if (contestant.probe, contestant.family) == ("icmp", Family::V4) {
            echo.set(rate);
        }
        let figures = vec![
            ("rate", rate),
            ("share", rate / echo.get()),
            ("answered", answered / probes),
            ("cpu", done.cpu / (answered / 1e6)),
            ("busy", done.busy / (answered / 1e6)),
        ];
        Ok(Measured { figures, with: None })
    };
    common.table(
        (
            "kinds",
            "Sweeps of a million addresses, each of which the reflector answers in XDP, in the sender's softirq. Whoever asks an \
             open port also sends a RST for each answer",
        ),
        &[
            ("rate", "answered a second", 0),
            ("share", "of IPv4 echo in the same round", 3),
            ("answered", "answered", 4),
            ("cpu", "CPU s a million, process", 2),
            ("busy", "CPU s a million, machine", 2),
        ],
        &contestants,
        shown,
        60.0,
        measure,
    )?;
    Ok(ExitCode::SUCCESS)
}
