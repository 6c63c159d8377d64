//! `bench idle`: what a monitor costs at the rates that most people run.

use crate::{
    inside::Part,
    lab::{Bench, Held},
    measure::{median, watch},
    report::{Common, Measured, grouped},
    rungs::FIRST,
};
use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};
use xtask::{command::send_signal, lab::End};

/// What must hold at this many targets.
const JUDGED: u32 = 1_000;
/// Per cent of one core.
const MOST_CPU: f64 = 5.0;
/// MiB.
const MOST_RESIDENT: f64 = 64.0;
/// Start-up, the first round and its pages lie before the measurement.
const SETTLE: Duration = Duration::from_secs(3);
/// fping refuses more: it has 65,536 sequence numbers, and keeps some back.
const FPING_MOST: u32 = 65_000;
/// smokeping_prober needs a socket's worth of goroutines for each target: beyond this it takes more than this machine has.
const SMOKEPING_MOST: u32 = 10_000;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- idle                          the table; installs missing peers with apt
  cargo run --release -p bench -- idle --before ./echolot.old   an older build in the same rounds
  cargo run --release -p bench -- idle --json --rounds 5        for programs

Exit status: 0 at 1,000 targets it costs less than 5 % of one core and 64 MiB, 1 it costs more, 2 could not measure.")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Other builds of echolot to measure in the same rounds
    #[arg(long, value_name = "PATH")]
    before: Vec<PathBuf>,
    /// How many targets, each probed once a second
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 300_000],
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    targets: Vec<u32>,
    /// For so long
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Without the peers
    #[arg(long)]
    alone: bool,
}

enum Who {
    Echolot(PathBuf),
    Fping,
    Smokeping,
}

impl Who {
    fn most(&self) -> u32 {
        match self {
            Self::Echolot(_) => u32::MAX,
            Self::Fping => FPING_MOST,
            Self::Smokeping => SMOKEPING_MOST,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    let mut all = vec![Who::Echolot(common.binary.clone())];
    all.extend(args.before.iter().cloned().map(Who::Echolot));
    if !args.alone {
        xtask::setup::ensure(&[("fping", "fping"), ("prometheus-smokeping-prober", "prometheus-smokeping-prober")])?;
        all.extend([Who::Fping, Who::Smokeping]);
    }
    let (sizes, time) = if common.short { (vec![100], 2) } else { (args.targets.clone(), args.seconds) };
    let time = Duration::from_secs(time);
    let contestants: Vec<(u32, &Who)> = sizes
        .iter()
        .flat_map(|size| all.iter().map(|who| (*size, who)))
        .filter(|(size, who)| *size <= who.most())
        .collect();
    let bench = Bench::up("idle", &common.binary)?;
    let mut judged = (Vec::new(), Vec::new());
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let expected = contestants.len() as f64 * (time + SETTLE).as_secs_f64();
    common.table(
        (
            "idle",
            "Each target probed once a second by a monitor that keeps counts and histograms. The far end answers at once, in XDP, \
             in the sender's system call: its work is in everybody's figures",
        ),
        &[
            ("cpu", "CPU, % of one core", 1),
            ("resident", "resident, MiB", 1),
            ("kept", "answered of due, %", 2),
            ("lag", "send lag p99, us", 0),
            ("p50", "RTT median, us", 1),
        ],
        &contestants,
        |(size, who)| {
            let (name, with) = match who {
                Who::Echolot(path) => ("echolot run", path.display().to_string()),
                Who::Fping => ("fping", "-l -q -p 1000, and -i so that it keeps pace".to_owned()),
                Who::Smokeping => ("smokeping_prober", "Go; --ping.interval 1s".to_owned()),
            };
            (format!("{} targets: {name}", grouped(f64::from(*size), 0)), with)
        },
        expected,
        |(size, who)| {
            let figures = match who {
                Who::Echolot(path) => echolot(&bench, path, *size, time)?,
                Who::Fping => peer(&bench, fping(&bench, *size)?, time)?,
                Who::Smokeping => peer(&bench, smokeping(&bench, *size)?, time)?,
            };
            if *size == JUDGED && matches!(who, Who::Echolot(path) if *path == common.binary) {
                judged.0.push(figures[0].1);
                judged.1.push(figures[1].1);
            }
            Ok(Measured::new(&figures))
        },
    )?;
    let (cpu, resident) = judged;
    if !cpu.is_empty() && (median(cpu) >= MOST_CPU || median(resident) >= MOST_RESIDENT) {
        eprintln!("at {JUDGED} targets at most {MOST_CPU} % of one core and {MOST_RESIDENT} MiB are allowed");
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn echolot(bench: &Bench, binary: &Path, targets: u32, time: Duration) -> Result<Vec<(&'static str, f64)>, String> {
    let last = Ipv4Addr::from_bits(FIRST + targets - 1);
    let config = format!(
        "groups:\n- {{name: idle, targets: [10.64.0.0-{last}], interval: 1s, timeout: 1s}}\nlimits: {{rate: 1000000}}\n"
    );
    // What it prints now and then has the send lag.
    let running = bench.run_binary(binary, &config, &["--progress-interval", "5s"])?;
    std::thread::sleep(SETTLE);
    let cost = watch(running.pid(), time)?;
    let (summary, told) = running.stop()?;
    let of = |name: &str| summary[name].as_f64().unwrap_or_default();
    let kept = of("answered") / (of("probes") + of("skipped")).max(1.0);
    // What idles without probing would cost little, and prove nothing.
    if of("answered") < 0.9 * f64::from(targets) * time.as_secs_f64() {
        return Err(format!("{targets} targets: {} answered: {summary}", of("answered")));
    }
    let lag = lag(&told).ok_or_else(|| format!("no send lag in what it said: {told}"))?;
    let p50 = summary["rtt_ns"]["p50"].as_f64().map_or(f64::NAN, |ns| ns / 1e3);
    Ok(vec![
        ("cpu", cost.cpu_percent),
        ("resident", mebibytes(cost.resident)),
        ("kept", 100.0 * kept),
        ("lag", lag),
        ("p50", p50),
    ])
}

/// The 99th percentile of the send lag in the last line that `run` printed on its way, us.
fn lag(told: &str) -> Option<f64> {
    let (_, rest) = told.rsplit_once("  lag p99 ")?;
    let mut words = rest.split_whitespace();
    let (number, unit) = (words.next()?.parse::<f64>().ok()?, words.next()?);
    Some(
        number
            * match unit {
                "ns" => 1e-3,
                "us" => 1.0,
                "ms" => 1e3,
                "s" => 1e6,
                _ => return None,
            },
    )
}

/// Another monitor, which says nothing of itself: what it costs once it is under way.
fn peer(bench: &Bench, mut command: Command, time: Duration) -> Result<Vec<(&'static str, f64)>, String> {
    let _pass: Held = bench.hold(End::Near, &Part::Pass)?;
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Stopped(command.spawn().map_err(|error| format!("{shown}: {error}"))?);
    std::thread::sleep(SETTLE);
    let cost = watch(child.0.id(), time)?;
    if let Ok(Some(status)) = child.0.try_wait() {
        return Err(format!("{shown} ended with {status}"));
    }
    Ok(vec![("cpu", cost.cpu_percent), ("resident", mebibytes(cost.resident))])
}

/// Ended as a person would end it.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        send_signal("INT", self.0.id());
        let _ = self.0.wait();
    }
}

fn addresses(targets: u32) -> impl Iterator<Item = Ipv4Addr> {
    (0..targets).map(|target| Ipv4Addr::from_bits(FIRST + target))
}

fn written(bench: &Bench, name: &str, text: &str) -> Result<PathBuf, String> {
    let path = bench.lab().name().folder().join(name);
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

fn fping(bench: &Bench, targets: u32) -> Result<Command, String> {
    let mut list = String::new();
    addresses(targets).for_each(|address| {
        let _ = writeln!(list, "{address}");
    });
    let list = written(bench, "addresses", &list)?;
    let mut command = bench.lab().near("fping");
    // Its timers add to each interval.
    let interval = format!("{:.3}", 900.0 / f64::from(targets));
    command.args(["-l", "-q", "-p", "1000", "-t", "1000", "-i", &interval, "-f"]).arg(list);
    Ok(command)
}

fn smokeping(bench: &Bench, targets: u32) -> Result<Command, String> {
    let mut config = "targets:\n- interval: 1s\n  network: ip4\n  protocol: icmp\n  hosts:\n".to_owned();
    addresses(targets).for_each(|address| {
        let _ = writeln!(config, "  - {address}");
    });
    let config = written(bench, "smokeping.yml", &config)?;
    let mut command = bench.lab().near("prometheus-smokeping-prober");
    command.arg("--config.file").arg(config).args(["--web.listen-address", "127.0.0.1:9374"]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::lag;

    #[test]
    fn the_last_lag_is_read_whatever_its_unit() {
        let told = "rtt p50 1.9 us  p99 9 us  lag p99 54.3 us  skipped 0\nother\nlag  lag p99 1.2 ms  skipped 0\nend\n";
        assert_eq!(lag(told), Some(1_200.0));
        assert_eq!(lag("  lag p99 -  skipped 0"), None);
        assert_eq!(lag(""), None);
    }
}
