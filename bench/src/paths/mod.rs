//! `bench paths`: runs over a chain of routers that find all of it, beside name servers that are quick, slow and dead, and beside other
//! tools; and a hundred thousand paths at a time.
//!
//! ```text
//!   near ── r1 ── … ── r29 ── r30 ── target     network namespaces, forwarding by the kernel, but for r30: this process, which holds
//!     └── names                                 what goes on to the target for 20 ms
//! ```

mod peers;
mod runs;
pub(crate) mod scale;
mod witness;

use crate::report::{Common, Measured};
use echolot::base::Family;
use peers::Peer;
use runs::{Runs, Site};
use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- paths                         the table; installs missing peers
  cargo run --release -p bench -- paths --only 'echolot'        without them
  cargo run --release -p bench -- paths --only 100,000          a hundred thousand targets, and no chain

Exit status: 0 every run of echolot's found all hops that answered in time, 1 one did not, 2 could not measure.")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Runs of a row in each round; of another tool's fewer
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Runs of another tool's row in each round: with a dead name server each takes minutes, and is ended after half of one
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    peer_runs: u32,
    /// Another trippy than the one that is installed into target/peers
    #[arg(long, value_name = "PATH")]
    trippy: Option<PathBuf>,
}

/// What the name server is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Nobody asks it.
    Off,
    Quick,
    /// It answers two seconds later.
    Slow,
    Dead,
}

impl Names {
    const ALL: [Self; 4] = [Self::Off, Self::Quick, Self::Slow, Self::Dead];

    const fn about(self) -> &'static str {
        match self {
            Self::Off => "no look-ups",
            Self::Quick => "quick name server",
            Self::Slow => "name server that takes 2 s",
            Self::Dead => "dead name server",
        }
    }
}

#[derive(Clone, Copy)]
enum Row {
    One(Names),
    /// A thousand targets at once.
    Many(Names),
    /// One of the routers says nothing; names are off, so that a run has ended when its line is there.
    Silent,
    Peer(Peer, Names),
    /// The same hops as others find, by this kind of probe.
    Agree(peers::Kind, Family),
    Scale(scale::Who),
}

impl Row {
    fn name(self) -> String {
        match self {
            Self::One(names) => format!("echolot, {}", names.about()),
            Self::Many(names) => format!("echolot, 1,000 targets at once, {}", names.about()),
            Self::Silent => "echolot, a silent hop, no look-ups".into(),
            Self::Peer(peer, names) => format!("{}, {}", peer.name(), names.about()),
            Self::Agree((kind, ..), family) => {
                let family = if family == Family::V4 { "IPv4" } else { "IPv6" };
                format!("the same hops as traceroute's and trippy's, {kind} over {family}")
            }
            Self::Scale(who) => format!("{}, 100,000 targets", who.name()),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    let mut rows: Vec<Row> = Names::ALL.map(Row::One).into();
    rows.push(Row::Silent);
    rows.extend(Names::ALL.map(Row::Many));
    if !common.short {
        rows.extend(Family::ALL.into_iter().flat_map(|family| peers::KINDS.map(|kind| Row::Agree(kind, family))));
        rows.extend(Peer::ALL.into_iter().flat_map(|peer| Names::ALL.map(|names| Row::Peer(peer, names))));
    }
    // Its report always has names.
    rows.retain(|row| !matches!(row, Row::Peer(Peer::Trippy, Names::Off)));
    rows.extend(scale::Who::ALL.map(Row::Scale));
    let (runs, peer_runs) = if common.short { (2, 1) } else { (args.runs, args.peer_runs) };
    let mut sites: BTreeMap<bool, Site> = BTreeMap::new();
    let mut totals: BTreeMap<String, (u32, u32, u32)> = BTreeMap::new();
    let mut is_whole = true;
    common.table(
        (
            "paths",
            "A chain of 30 routers in network namespaces, the last of which holds what goes on for 20 ms; 70 ms of timeout a probe. A \
             run is whole if every hop was found. Answered too late: the target's answer came back to the first router \
             after the timeout, by tcpdump there, and nothing else is missing: the machine stood still. A run's time is from the first probe to the last word, for other tools from start to end",
        ),
        &[
            ("whole", "whole, %", 1),
            ("time", "time of a run, ms", 1),
            ("share", "of the slowest answer (silent hop: of the timeout)", 2),
            ("first", "the same, a process's first run", 2),
            ("hop", "hops before the hold, RTT median, us", 1),
            ("rate", "probes a second", 0),
            ("asked", "first hops asked, of what was allowed", 3),
        ],
        &rows,
        |row| (row.name(), String::new()),
        f64::from(runs) * 2.0,
        |row| {
            let done = match row {
                Row::Scale(who) => scale::measure(*who, common)?,
                row => {
                    let is_silent = matches!(row, Row::Silent);
                    let site = match sites.entry(is_silent) {
                        std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                        std::collections::btree_map::Entry::Vacant(entry) => {
                            entry.insert(Site::up(is_silent, &common.binary)?)
                        }
                    };
                    match row {
                        Row::One(names) => site.echolot(*names, runs)?,
                        Row::Silent => site.echolot(Names::Off, runs)?,
                        Row::Many(names) => site.many(*names, if common.short { 20 } else { 1_000 })?,
                        Row::Agree(kind, family) => peers::agree(site, *kind, *family, args.trippy.as_deref())?,
                        Row::Peer(peer, names) => peers::measure(site, *peer, *names, (peer_runs, args.trippy.as_deref()))?,
                        Row::Scale(_) => return Err("measured above".into()),
                    }
                }
            };
            let Runs { runs, whole, held, figures, first_missing } = done;
            let total = totals.entry(row.name()).or_default();
            (total.0, total.1, total.2) = (total.0 + whole, total.1 + runs, total.2 + held);
            if !matches!(row, Row::Peer(..) | Row::Scale(scale::Who::Scamper)) && whole < runs {
                is_whole &= whole + held == runs;
                let lacked = first_missing.unwrap_or_default();
                eprintln!("{}: {whole} of {runs} whole, {held} answered too late; {lacked}", row.name());
            }
            let figures: Vec<_> =
                [("whole", 100.0 * f64::from(whole) / f64::from(runs.max(1)))].into_iter().chain(figures).collect();
            let late = if total.2 > 0 { format!(", {} answered too late", total.2) } else { String::new() };
            Ok(Measured { figures, with: Some(format!("{} of {} runs whole{late}", total.0, total.1)) })
        },
    )?;
    // A short round measures nothing.
    Ok(if is_whole || common.short { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
