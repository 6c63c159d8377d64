//! `bench scaling`: what a probe costs beside few and many others in flight.

use crate::{
    lab::{Bench, Far, ranges_of},
    measure::{Traffic, watch},
    report::{Common, Measured},
};
use std::{net::Ipv4Addr, path::PathBuf, process::ExitCode, time::Duration};
use xtask::{command::wait_until, lab::NEAR_INTERFACE};

/// Probes a second to silent targets, however many are pending: the pace must not be what makes a difference.
const SILENT_RATE: u64 = 500_000;
/// Probes a second to live targets.
const LIVE_RATE: u64 = 300_000;
/// Milliseconds between two probes of a live target, and at least between two of a silent one.
const LIVE_INTERVAL: u64 = 100;
const LEAST_INTERVAL: u64 = 10;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- scaling
  cargo run --release -p bench -- scaling --pending 1000,100000,1000000,10000000 --rounds 3
  cargo run --release -p bench -- scaling --json > scaling.json")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// How many probes are pending at silent targets
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1_000, 1_000_000, 10_000_000],
          value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pending: Vec<u32>,
    /// How many receive queues
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 2],
          value_parser = clap::value_parser!(u32).range(1..=2))]
    queues: Vec<u32>,
}

struct Load {
    binary: PathBuf,
    pending: u32,
    queues: u32,
    /// Probes a second to silent and to live targets.
    rates: (u64, u64),
    /// Of the silent group, milliseconds: as many probes are pending as are sent in that time.
    timeout: u64,
    /// For how long it is measured.
    time: Duration,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    // ethtool sets the number of queues.
    xtask::setup::ensure(&[("ethtool", "ethtool")])?;
    let (sizes, rates, time) = if common.short {
        (vec![1_000], (20_000, 10_000), 1)
    } else {
        (args.pending.clone(), (SILENT_RATE, LIVE_RATE), 4)
    };
    let loads: Vec<Load> = args
        .queues
        .iter()
        .flat_map(|queues| sizes.iter().map(move |pending| (*queues, *pending)))
        .map(|(queues, pending)| Load {
            binary: common.binary.clone(),
            pending,
            queues,
            rates,
            timeout: (u64::from(pending) * 1_000).div_ceil(rates.0),
            time: Duration::from_secs(time),
        })
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "seconds, for people")]
    let seconds = loads.iter().map(|load| load.timeout / 1_000 + time + 5).sum::<u64>() as f64;
    common.table(
        (
            "scaling",
            "`echolot run` with 500,000 probes a second to silent targets and 300,000 to live ones, in every row. Only the \
             silent ones' number and timeout differ, and so how many probes are pending. Each silent target is probed again \
             when its deadline has passed (or every 10 ms if that is longer). CPU ns a probe: CPU time of the process over \
             probes sent; the far end's work is done in the sender's softirq",
        ),
        &[
            ("ns", "CPU ns a probe", 0),
            ("sent", "sent a second", 0),
            ("answered", "answered a second", 0),
            ("resident", "resident, MiB", 0),
        ],
        &loads,
        |load| {
            let name = format!("{} pending, {} queues", crate::report::grouped(f64::from(load.pending), 0), load.queues);
            (name, format!("engine auto, copy mode, threads pinned; timeout {} ms", load.timeout))
        },
        seconds,
        measure,
    )?;
    Ok(ExitCode::SUCCESS)
}

fn measure(load: &Load) -> Result<Measured, String> {
    let bench = Bench::with("scaling", &load.binary, Far::Half, Some(load.queues))?;
    let (silent_rate, live_rate) = load.rates;
    let interval = load.timeout.max(LEAST_INTERVAL);
    let count = |rate: u64, interval: u64| u32::try_from(rate * interval / 1_000).unwrap_or(u32::MAX);
    let live = Ipv4Addr::from_bits(0x0a40_0000 + count(live_rate, LIVE_INTERVAL) - 1);
    let config = format!(
        "groups:\n\
         - {{name: live, targets: [10.64.0.0-{live}], interval: {LIVE_INTERVAL}ms, timeout: 1s}}\n\
         - {{name: silent, targets: [{silent}], interval: {interval}ms, timeout: {timeout}ms}}\n\
         limits: {{rate: 2000000}}\n",
        silent = ranges_of(count(silent_rate, interval)),
        timeout = load.timeout
    );
    let mut running = bench.run(&config)?;
    // All of the silent ones have been probed once, and their first deadlines pass.
    let due = (silent_rate + live_rate) * (load.timeout + 1_000) / 1_000;
    let mut before = Traffic::default();
    let patience = Duration::from_millis(3 * load.timeout) + Duration::from_secs(30);
    wait_until(patience, || {
        before.sample(running.pid(), NEAR_INTERFACE);
        (before.sent_so_far() >= due || running.has_ended()).then_some(())
    });
    let mut traffic = Traffic::default();
    traffic.sample(running.pid(), NEAR_INTERFACE);
    let cost = watch(running.pid(), load.time).map_err(|error| format!("{error}: {}", running.told()))?;
    traffic.sample(running.pid(), NEAR_INTERFACE);
    #[expect(clippy::cast_precision_loss, reason = "counts and bytes, shown rounded")]
    let (sent, resident) = (traffic.sent_so_far() as f64, cost.resident as f64 / f64::from(1 << 20));
    let seconds = load.time.as_secs_f64();
    if sent == 0.0 {
        return Err(format!("nothing was sent: {}", running.told()));
    }
    Ok(Measured::new(&[
        ("ns", cost.cpu_percent / 100.0 * seconds * 1e9 / sent),
        ("sent", sent / seconds),
        ("answered", traffic.received() / seconds),
        ("resident", resident),
    ]))
}
