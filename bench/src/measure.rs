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
    bytes_of(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// A line of a file of `NAME: N kB`.
fn bytes_of(path: &str, name: &str) -> Result<u64, String> {
    let text = read(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>();
    Ok(1024 * kib.map_err(|error| format!("{path}: {name} {line:?}: {error}"))?)
}

/// What a process has of the memory, bytes.
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// Most that was ever resident.
    pub(crate) peak: u64,
    /// Of its own memory, what lies in huge pages.
    pub(crate) huge: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self, String> {
        let peak = bytes_of(&format!("/proc/{pid}/status"), "VmHWM:")?;
        let huge = bytes_of(&format!("/proc/{pid}/smaps_rollup"), "AnonHugePages:")?;
        Ok(Self { resident: resident(pid)?, peak, huge })
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}. Did echolot end?"))
}

/// CPU seconds.
pub(crate) struct Spent;

impl Spent {
    /// Spent so far by children of this process that have ended: fields 16 and 17 of /proc/self/stat, proc(5).
    pub(crate) fn of_children() -> Result<f64, String> {
        let stat = read("/proc/self/stat")?;
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let sum = fields.split_whitespace().skip(13).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>();
        Ok(sum.map_err(|error| format!("/proc/self/stat: {error} in {stat:?}"))? / ticks_per_second()?)
    }

    /// Spent so far by all of the machine's CPUs, on whatever: the first line of /proc/stat less idle, iowait and what
    /// follows softirq.
    pub(crate) fn of_machine() -> Result<f64, String> {
        let stat = read("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let fields: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        match fields[..] {
            [user, nice, system, _idle, _iowait, irq, softirq, ..] => {
                Ok((user + nice + system + irq + softirq) / ticks_per_second()?)
            }
            _ => Err(format!("/proc/stat begins with {line:?}")),
        }
    }
}

/// An interface's counters over time.
#[derive(Default)]
pub(crate) struct Traffic {
    received: Vec<(Instant, u64)>,
    sent: Vec<(Instant, u64)>,
}

impl Traffic {
    /// Reads the counters, in the network namespace of that process. Nothing to read: no sample.
    pub(crate) fn sample(&mut self, pid: u32, interface: &str) {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/net/dev")) else { return };
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'));
        let Some(line) = line else { return };
        let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let now = Instant::now();
        // Received bytes, packets and six others, sent bytes, packets.
        if let [_, received, _, _, _, _, _, _, _, sent, ..] = fields[..] {
            self.received.push((now, received));
            self.sent.push((now, sent));
        }
    }

    /// Packets received in all.
    #[expect(clippy::cast_precision_loss, reason = "a count of packets, for a ratio")]
    pub(crate) fn received(&self) -> f64 {
        match (self.received.first(), self.received.last()) {
            (Some(first), Some(last)) => last.1.saturating_sub(first.1) as f64,
            _ => 0.0,
        }
    }

    /// Packets sent by now, counted from the first sample.
    pub(crate) fn sent_so_far(&self) -> u64 {
        match (self.sent.first(), self.sent.last()) {
            (Some(first), Some(last)) => last.1.saturating_sub(first.1),
            _ => 0,
        }
    }

    /// Packets received a second.
    pub(crate) fn receive_rate(&self) -> Option<f64> {
        rate(&self.received)
    }

    /// Packets sent a second.
    pub(crate) fn send_rate(&self) -> Option<f64> {
        rate(&self.sent)
    }
}

/// Growth a second, between the moments at which 1 and 99 % of it had come: a stray packet before the start, or a wait at
/// the end, makes no difference.
#[expect(clippy::cast_precision_loss, reason = "counts of packets, for a rate")]
fn rate(samples: &[(Instant, u64)]) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    let total = last.1.checked_sub(first.1)? as f64;
    let moment = |share: f64| {
        let level = first.1 as f64 + share * total;
        let after = samples.iter().position(|sample| sample.1 as f64 >= level)?;
        let (upper, lower) = (samples[after], samples[after.saturating_sub(1)]);
        let step = upper.1.saturating_sub(lower.1) as f64;
        let part = if step > 0.0 { (level - lower.1 as f64) / step } else { 1.0 };
        Some((lower.0 - first.0).as_secs_f64() + part * (upper.0 - lower.0).as_secs_f64())
    };
    let time = moment(0.99)? - moment(0.01)?;
    (total > 0.0 && time > 0.0).then(|| 0.98 * total / time)
}

/// The first CPU that this process may use: where echolot's sender runs when receivers have others.
pub(crate) fn first_cpu() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split(['-', ',']).next()?.parse().ok()
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
    fn a_rate_is_that_of_the_middle() {
        let begun = Instant::now();
        let at = |ms: u64, count: u64| (begun + Duration::from_millis(ms), count);
        // A stray packet at first, 100,000 evenly over a second from the fifth on, and nothing for two more.
        let mut samples = vec![at(0, 7), at(10, 8)];
        samples.extend((0..=1_000).map(|ms| at(5_000 + ms, 8 + 100 * ms)));
        samples.push(at(8_000, 100_008));
        let rate = rate(&samples).unwrap_or_default();
        assert!((rate - 100_000.0).abs() < 200.0, "{rate}");
        assert_eq!(super::rate(&[at(0, 5), at(10, 5)]), None);
        assert_eq!(super::rate(&[]), None);
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
