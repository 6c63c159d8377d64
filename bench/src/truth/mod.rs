//! The truth: each result of echolot held against a record that echolot had no hand in.
//!
//! | file | what |
//! |---|---|
//! | `reflector`, `recorder` | a far end that does harm by a seeded rule file, and keeps a record of every request |
//! | `evidence`, `judge` | results and record, joined and compared; no code of echolot's |
//! | `scenario`, `lab`, `simulated` | scenario files, run between namespaces or in the simulated network |
//! | `disturbance` | when this machine's CPUs were held up |
//! | `broken` | builds of echolot that lie, which the judge must find out |

mod broken;
mod disturbance;
pub mod evidence;
pub mod judge;
mod lab;
mod recorder;
mod reflector;
pub mod scenario;
mod simulated;

pub use lab::{FarEnd, Programs};
pub use reflector::ReflectArgs;

use clap::{Args, Subcommand};
use evidence::Told;
use judge::{Life, Stretches, Terms, Verdict};
use scenario::{Families, Scenario, Where};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// A CPU that does nothing of what it is asked to for so long can make a reply late, nanoseconds.
const STANDSTILL: u64 = 20_000_000;

/// `bench truth`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios in their long form and judge what echolot says
    Run(RunArgs),
    /// Answer on an interface by a rule file, and record every request
    Reflect(ReflectArgs),
    /// Judge results against a record, both made by hand or by an earlier run
    Judge(JudgeArgs),
    /// Build echolot broken in several ways, and see that the judge finds each out
    Broken {
        /// What it lies about [default: everything, one after the other]
        #[arg(value_name = "LIE")]
        names: Vec<String>,
    },
}

/// `bench truth run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Scenarios of bench/scenarios, by their names [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Sweeps and traces: so many probes a second
    #[arg(long, value_name = "N")]
    pub rate: Option<u64>,
    /// Sweeps: so many probes in all; traces: about so many, by the mean distance
    #[arg(long, value_name = "N")]
    pub probes: Option<u32>,
    /// Targets of this family, or as many of each [default: as the scenario says: 4, but for `mixed`]
    #[arg(long)]
    pub family: Option<Families>,
    /// What sends [default: as the scenario says]
    #[arg(long, value_name = "NAME")]
    pub engine: Option<String>,
    /// Send SYNs to this port, which is open if it is even and else closed, in place of echo requests
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub tcp: Option<u16>,
    /// Send UDP datagrams to this port in place of echo requests: likewise, but for port 53, which is asked a question and is open
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "tcp")]
    pub udp: Option<u16>,
    /// Their short form, as in tests
    #[arg(long)]
    pub short: bool,
}

/// `bench truth judge`.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// The far end's record
    #[arg(long, value_name = "FILE")]
    pub record: PathBuf,
    /// Echolot's results, JSON lines; or the paths that a trace wrote
    #[arg(long, value_name = "FILE")]
    pub results: PathBuf,
    /// Echolot's summary
    #[arg(long, value_name = "FILE")]
    pub summary: PathBuf,
    /// How long probes could be answered, milliseconds
    #[arg(long, value_name = "MS")]
    pub timeout: u64,
}

/// Does what is asked. True: no mismatch.
///
/// # Errors
/// What could not be run or read.
pub fn perform(command: &Command) -> Result<bool, String> {
    match command {
        Command::Run(args) => {
            let programs = programs()?;
            let mut good = true;
            for (name, mut scenario) in scenario::all(&folder(), &args.names)? {
                scenario.probe.family = args.family.unwrap_or(scenario.probe.family);
                if let Some(engine) = &args.engine {
                    scenario.probe.engine.clone_from(engine);
                }
                if args.tcp.or(args.udp).is_some() {
                    (scenario.probe.tcp, scenario.probe.udp) = (args.tcp, args.udp);
                }
                if !args.short {
                    lengthen(&mut scenario, args);
                }
                good &= show(&name, &scenario, &programs)?;
            }
            Ok(good)
        }
        Command::Reflect(args) => reflector::run(args).map(|()| true),
        Command::Judge(args) => {
            let results = evidence::results(&args.results);
            // A path's line is no result's.
            let results = results.or_else(|why| evidence::paths(&args.results).map_err(|_| why))?;
            let life =
                Life { results, summary: evidence::summary(&args.summary)?, timeout_ns: args.timeout * 1_000_000 };
            let verdict = judge::judge(&[life], &evidence::record(&args.record)?, &judge::Terms::default());
            println!("{verdict}");
            Ok(verdict.mismatches == 0)
        }
        Command::Broken { names } => broken::run_all(names, &programs()?),
    }
}

/// Where the scenarios are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Echolot beside this very program, both built by the same command.
///
/// # Errors
/// If it isn't there.
pub fn programs() -> Result<Programs, String> {
    let bench = env::current_exe().map_err(|e| format!("own path: {e}"))?;
    let echolot = bench.with_file_name("echolot");
    if !echolot.exists() {
        return Err(format!("{} is not there: build it with cargo build --release", echolot.display()));
    }
    Ok(Programs { echolot, bench })
}

fn lengthen(scenario: &mut Scenario, args: &RunArgs) {
    if let Some(long) = scenario.long.take() {
        scenario.lives = long;
    }
    if scenario.probe.command != scenario::Command::Run {
        scenario.probe.rate = args.rate.unwrap_or(scenario.probe.rate);
        let families = scenario.probe.family.each().len() as u32;
        let each = families * scenario.probes_a_target();
        let long = scenario.probe.long_targets.unwrap_or(scenario.probe.targets);
        scenario.probe.targets = args.probes.map_or(long, |probes| probes / each);
    }
}

fn show(name: &str, scenario: &Scenario, programs: &Programs) -> Result<bool, String> {
    println!("{name}: {} ({} probes a second)", scenario.about, scenario.rate());
    let (verdict, lives) = run(name, scenario, programs)?;
    for life in &lives {
        let summary = &life.summary;
        let rejected: u64 = summary.rejected.values().sum();
        let rate = life.rate();
        println!(
            "  echolot: {} probes, answered {}, {}unreachable {}, lost {}, unheard {}, unsent {}; skipped {}; late {}, \
             duplicate {}, contradicted {}, rejected {rejected}; sent {rate:.0} a second",
            summary.probes,
            summary.answered,
            if summary.hop > 0 { format!("hop {}, ", summary.hop) } else { String::new() },
            summary.unreachable,
            summary.lost,
            summary.unheard,
            summary.unsent,
            summary.skipped,
            summary.late,
            summary.duplicate,
            summary.contradicted
        );
    }
    println!("{verdict}");
    Ok(verdict.mismatches == 0)
}

/// Runs a scenario and judges it, its expectations included.
///
/// # Errors
/// What could not be run.
pub fn run(name: &str, scenario: &Scenario, programs: &Programs) -> Result<(Verdict, Vec<Life>), String> {
    let (mut verdict, lives, terms) = match scenario.network {
        Where::Lab => lab::run(name, scenario, programs)?,
        Where::Simulated => {
            let folder = env::temp_dir().join(format!("echolot-truth-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            let done = simulated::run(scenario, &folder);
            let _gone_or_not = fs::remove_dir_all(&folder);
            let (verdict, lives) = done?;
            (verdict, lives, Terms::default())
        }
    };
    verdict.expect(scenario, &lives, &terms);
    Ok((verdict, lives))
}

impl Verdict {
    /// Compares the sums of all lives with what the scenario expects. All shares are of all probes. Probes that were under
    /// way while a CPU stood still for long may have met another fate than the scenario means: the far end was late.
    #[expect(clippy::cast_precision_loss, reason = "shares, for people")]
    fn expect(&mut self, scenario: &Scenario, lives: &[Life], terms: &Terms) {
        let sum = |member: &str| -> Option<u64> {
            let of = |life: &Life| {
                let summary = &life.summary;
                Some(match member {
                    "answered" => summary.answered,
                    "hop" => summary.hop,
                    "unreachable" => summary.unreachable,
                    "lost" => summary.lost,
                    "unheard" => summary.unheard,
                    "unsent" => summary.unsent,
                    "skipped" => summary.skipped,
                    "late" => summary.late,
                    "duplicate" => summary.duplicate,
                    "contradicted" => summary.contradicted,
                    "rejected" => summary.rejected.values().sum(),
                    _ => return None,
                })
            };
            lives.iter().map(of).sum()
        };
        let probes: u64 = lives.iter().map(|life| life.summary.probes).sum();
        let standstills = Stretches::of(&terms.held_up, STANDSTILL);
        let disturbed = |life: &Life| {
            let disturbed = |told: &&Told| standstills.meet(told.sent_ns, told.sent_ns + life.timeout_ns);
            life.results.iter().filter(disturbed).count()
        };
        let slack = lives.iter().map(disturbed).sum::<usize>() as f64 / (probes.max(1)) as f64;
        for (member, [least, most]) in &scenario.expect {
            let share = sum(member).map(|sum| sum as f64 / (probes.max(1)) as f64);
            if !share.is_some_and(|share| (*least - slack..=*most + slack).contains(&share)) {
                self.mismatches += 1;
                self.told.push(format!("{member}: {share:?} of {probes} probes, expected {least} to {most}, {slack} either way for standstills"));
            }
        }
    }
}
