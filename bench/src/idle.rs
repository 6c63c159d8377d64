//! `bench idle`: what a monitor costs while it has little to do.

use crate::{
    lab::Bench,
    measure::{machine, median, watch},
};
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// What must hold at this many targets.
const JUDGED: u32 = 1_000;
/// Per cent of one core.
const MOST_CPU: f64 = 5.0;
/// MiB.
const MOST_RESIDENT: f64 = 64.0;
/// Start-up, the first round and its pages lie before the measurement.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- idle                    the table
  cargo run --release -p bench -- idle --json --rounds 5  for programs

Exit status: 0 at 1,000 targets it costs less than 5 % of one core and 64 MiB, 1 it costs more, 2 could not measure.")]
pub(crate) struct Args {
    /// The program to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/echolot")]
    binary: PathBuf,
    /// How many targets, each probed once a second
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [100, 1_000, 10_000],
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    targets: Vec<u32>,
    /// Each is measured so often; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// For so long
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    machine: String,
    seconds: u64,
    rows: Vec<Row>,
}

/// Medians over the rounds, and every round.
#[derive(Serialize)]
struct Row {
    targets: u32,
    cpu_percent: f64,
    resident_mib: f64,
    probes: u64,
    answered: u64,
    rounds_cpu_percent: Vec<f64>,
    rounds_resident_mib: Vec<f64>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let machine = machine();
    let bench = Bench::up("idle", &args.binary)?;
    let time = Duration::from_secs(args.seconds);
    let mut rows: Vec<Row> = args.targets.iter().map(|&targets| Row::new(targets)).collect();
    // Round by round, so that a bad minute of the machine touches every row alike.
    for round in 1..=args.rounds {
        for row in &mut rows {
            eprintln!("round {round} of {}: {} targets, {} s", args.rounds, row.targets, args.seconds);
            row.measure(&bench, time)?;
        }
    }
    for row in &mut rows {
        row.cpu_percent = median(row.rounds_cpu_percent.clone());
        row.resident_mib = median(row.rounds_resident_mib.clone());
    }
    let report = Report { machine, seconds: args.seconds, rows };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?);
    } else {
        print(&report);
    }
    let too_much = |row: &Row| row.cpu_percent >= MOST_CPU || row.resident_mib >= MOST_RESIDENT;
    Ok(match report.rows.iter().find(|row| row.targets == JUDGED) {
        Some(row) if too_much(row) => {
            eprintln!("at {JUDGED} targets at most {MOST_CPU} % of one core and {MOST_RESIDENT} MiB are allowed");
            ExitCode::from(1)
        }
        _ => ExitCode::SUCCESS,
    })
}

impl Row {
    fn new(targets: u32) -> Self {
        Self {
            targets,
            cpu_percent: f64::NAN,
            resident_mib: f64::NAN,
            probes: 0,
            answered: 0,
            rounds_cpu_percent: Vec::new(),
            rounds_resident_mib: Vec::new(),
        }
    }

    fn measure(&mut self, bench: &Bench, time: Duration) -> Result<(), String> {
        let last = std::net::Ipv4Addr::from_bits(0x0a40_0000 + self.targets - 1);
        let range = format!("10.64.0.0-{last}");
        let config = format!("groups:\n- {{name: idle, targets: [{range}], interval: 1s, timeout: 1s}}\n");
        let running = bench.run(&config)?;
        std::thread::sleep(SETTLE);
        let cost = watch(running.pid(), time)?;
        let summary = running.stop()?;
        let of = |name: &str| summary[name].as_u64().unwrap_or_default();
        // What idles without probing would cost little, and prove nothing.
        let due = u64::from(self.targets) * time.as_secs();
        if of("answered") < due {
            return Err(format!("{} targets: {} answered, {due} were due: {summary}", self.targets, of("answered")));
        }
        self.probes += of("probes");
        self.answered += of("answered");
        self.rounds_cpu_percent.push(cost.cpu_percent);
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        self.rounds_resident_mib.push(cost.resident as f64 / f64::from(1 << 20));
        Ok(())
    }
}

fn print(report: &Report) {
    println!("echolot run, a probe a second to each target, {} s a round", report.seconds);
    println!("{}\n", report.machine);
    println!("| targets | CPU, % of one core | resident, MiB | probes | answered | CPU by round |");
    println!("|---:|---:|---:|---:|---:|---|");
    for row in &report.rows {
        let rounds: Vec<_> = row.rounds_cpu_percent.iter().map(|cpu| format!("{cpu:.1}")).collect();
        println!(
            "| {} | {:.1} | {:.1} | {} | {} | {} |",
            row.targets,
            row.cpu_percent,
            row.resident_mib,
            row.probes,
            row.answered,
            rounds.join(" ")
        );
    }
}
