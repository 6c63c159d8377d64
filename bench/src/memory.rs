//! `bench memory`: what a target takes, and how long it takes to begin with a thousand to ten million of them.

use crate::{
    lab::{Bench, Far, ranges_of},
    measure::{Memory, Traffic},
    report::{Common, Measured, grouped},
};
use std::{
    cell::Cell,
    process::ExitCode,
    time::{Duration, Instant},
};
use xtask::{command::wait_until, lab::NEAR_INTERFACE};

/// Probes a second, however many targets there are: buffers follow the rate, and are not what is measured.
const RATE: u32 = 100_000;
/// Packets sent after which it is at work.
const BEGUN: u64 = 500;
/// How long starting may take.
const STARTED_WITHIN: Duration = Duration::from_secs(120);
/// What is freed after the start has been given back by then.
const SETTLE: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- memory
  cargo run --release -p bench -- memory --targets 1000000,10000000 --rounds 3
  cargo run --release -p bench -- memory --json > memory.json")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// How many targets, ascending
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1_000, 1_000_000, 10_000_000],
          value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    targets: Vec<u32>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    let sizes = if common.short { vec![1_000, 101_000] } else { args.targets.clone() };
    if !sizes.is_sorted_by(|a, b| a < b) {
        return Err("--targets: each number is larger than the one before it: they are compared".into());
    }
    let bench = Bench::with("memory", &common.binary, Far::Half, None)?;
    // Targets and resident bytes of the row before.
    let before: Cell<Option<(u32, f64)>> = Cell::new(None);
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let expected = 6.0 * sizes.len() as f64;
    common.table(
        (
            "memory",
            "`echolot run`, 100,000 probes a second in every row, a window of 4 places (any up to 64 take the same), no \
             results written. Start-up: from the start of the process, its file unread, to the first probes. Resident: VmRSS \
             a second later; peak: VmHWM by then. Bytes a target: resident beyond the row above, over targets beyond it. \
             Estimate: what `echolot check` says beforehand",
        ),
        &[
            ("seconds", "start-up, s", 2),
            ("resident", "resident, MiB", 1),
            ("peak", "peak, MiB", 1),
            ("huge", "of it in huge pages, MiB", 0),
            ("estimate", "estimate, MiB", 1),
            ("bytes", "bytes a target", 1),
        ],
        &sizes,
        |targets| (format!("{} targets", grouped(f64::from(*targets), 0)), "engine auto, copy mode".into()),
        expected,
        |targets| {
            let begun = start(&bench, *targets)?;
            let mut figures = begun.clone();
            let resident = begun.iter().find(|(key, _)| *key == "resident").map_or(f64::NAN, |(_, mebibytes)| *mebibytes);
            // The first row of a round has nothing above it.
            let above = before.replace(Some((*targets, resident))).filter(|(fewer, _)| fewer < targets);
            if let Some((fewer, lower)) = above {
                let bytes = (resident - lower) * MEBIBYTE / f64::from(targets - fewer);
                figures.push(("bytes", bytes));
            }
            Ok(Measured::new(&figures))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

const MEBIBYTE: f64 = 1_048_576.0;

fn start(bench: &Bench, targets: u32) -> Result<Vec<(&'static str, f64)>, String> {
    let interval = u64::from(targets) * 1_000 / u64::from(RATE);
    let config = format!(
        "interface: {NEAR_INTERFACE}\ngroups:\n- {{name: all, targets: [{}], interval: {interval}ms, timeout: {timeout}ms}}\n",
        ranges_of(targets),
        timeout = interval.min(1_000)
    );
    let estimate = bench.check(&config)?["memory_bytes"].as_f64().unwrap_or(f64::NAN);
    let (started, mut running, mut traffic) = (Instant::now(), bench.run(&config)?, Traffic::default());
    let at_work = wait_until(STARTED_WITHIN, || {
        traffic.sample(running.pid(), NEAR_INTERFACE);
        (traffic.sent_so_far() >= BEGUN || running.has_ended()).then_some(())
    });
    let took = started.elapsed();
    if at_work.is_none() || running.has_ended() {
        return Err(format!("it did not begin within {STARTED_WITHIN:?}: {}", running.told()));
    }
    std::thread::sleep(SETTLE);
    let memory = Memory::of(running.pid())?;
    #[expect(clippy::cast_precision_loss, reason = "bytes, shown as MiB")]
    let mebibytes = |bytes: u64| bytes as f64 / MEBIBYTE;
    Ok(vec![
        // To within the 20 ms between looks.
        ("seconds", took.as_secs_f64()),
        ("resident", mebibytes(memory.resident)),
        ("peak", mebibytes(memory.peak)),
        ("huge", mebibytes(memory.huge)),
        ("estimate", estimate / MEBIBYTE),
    ])
}
