//! What a process costs, and on what machine.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

/// What a process took while it was watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU time in user and kernel mode, in per cent of one core.
    pub(crate) cpu_percent: f64,
    /// Resident memory at the end, bytes.
    pub(crate) resident: u64,
}

/// Watches a process for a while.
pub(crate) fn watch(pid: u32, time: Duration) -> Result<Cost, String> {
    let hertz = ticks_per_second()?;
    let (begun, before) = (Instant::now(), ticks(pid)?);
    std::thread::sleep(time);
    let (after, took) = (ticks(pid)?, begun.elapsed());
    #[expect(clippy::cast_precision_loss, reason = "ticks of some seconds")]
    let seconds = (after - before) as f64 / hertz;
    Ok(Cost { cpu_percent: 100.0 * seconds / took.as_secs_f64(), resident: resident(pid)? })
}

/// CPU time of all threads so far, in clock ticks: fields 14 and 15 of /proc/PID/stat, proc(5).
fn ticks(pid: u32) -> Result<u64, String> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    // The name in field 2 may hold anything; after its bracket comes field 3.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let sum = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>();
    sum.map_err(|error| format!("/proc/{pid}/stat: {error} in {stat:?}"))
}

fn ticks_per_second() -> Result<f64, String> {
    let output = Command::new("getconf").arg("CLK_TCK").output().map_err(|error| format!("getconf: {error}"))?;
    String::from_utf8_lossy(&output.stdout).trim().parse().map_err(|error| format!("getconf CLK_TCK: {error}"))
}

fn resident(pid: u32) -> Result<u64, String> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>();
    Ok(1024 * kib.map_err(|error| format!("/proc/{pid}/status: VmRSS {line:?}: {error}"))?)
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}. Did echolot end?"))
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// What it ran on, in a line.
pub(crate) fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "one machine, veth pair in copy mode, no NIC; Linux {}; {cores} cores{}; load at the start {}",
        kernel.trim(),
        match model.trim_start_matches(['\t', ' ', ':']) {
            "" => String::new(),
            model => format!(" of {model}"),
        },
        load.split_whitespace().next().unwrap_or("?")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn a_busy_process_costs_a_core_and_an_idle_one_nothing() {
        let stop = std::sync::atomic::AtomicBool::new(false);
        let own = std::process::id();
        let (busy, idle) = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let busy = watch(own, Duration::from_millis(500));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            (busy, watch(1, Duration::from_millis(200)))
        });
        let busy = busy.as_ref().map(|cost| (cost.cpu_percent, cost.resident));
        // A shared machine may give less than a core.
        assert!(busy.is_ok_and(|(cpu, resident)| cpu > 10.0 && resident > 100_000), "{busy:?}");
        assert!(idle.is_ok_and(|cost| cost.cpu_percent < 90.0));
    }
}
