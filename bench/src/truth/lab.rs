//! A scenario between two network namespaces: the far end of this crate, and echolot as people run it.

use super::{
    disturbance::Watch,
    evidence,
    judge::{Excuses, Life, PathBounds, Terms, Verdict, judge},
    scenario::{Command as Way, Probe, Scenario},
};
use echolot::{
    base::{Family, Nanos},
    config::duration,
};
use std::{
    fs::{self, File},
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use testbed::{Prefix, Treatment};
use xtask::{
    command::{send_signal, wait_until},
    lab::{Answer, End, FAR_INTERFACE, Lab, NEAR_INTERFACE},
};

/// Old replies must be taken for such of this instance.
const IDENTIFIER: &str = "4711";
/// The first port that SYNs and UDP datagrams are sent from: likewise.
const SOURCE_PORT: u16 = 61_000;
/// Requests a second that the far end's rings are made for, whatever the rate: it must not be what loses probes, and it
/// shares its CPU.
const RINGS: u64 = 400_000;
/// What takes longer than it ought to by so much will not end.
const OVERDUE: Duration = Duration::from_secs(60);
const COUNTERS: [&str; 4] = ["rx_dropped", "rx_errors", "tx_dropped", "tx_errors"];

/// The programs that take part.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `echolot`.
    pub echolot: PathBuf,
    /// This crate's program: `bench`.
    pub bench: PathBuf,
}

/// A process that goes with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // `ip netns exec` becomes the program, so this is its own process. One that has ended is no matter.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn spawn(command: &mut Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().map(Self).map_err(|e| format!("{command:?}: {e}"))
    }

    /// Waits for its end.
    fn end(&mut self, what: &str, within: Duration) -> Result<Option<i32>, String> {
        wait_until(within, || self.0.try_wait().ok().flatten())
            .map(|status| status.code())
            .ok_or_else(|| format!("{what} does not end within {within:?}"))
    }
}

/// What came of a scenario: the verdict, the lives that it is about, what it was judged by.
pub(super) fn run(name: &str, scenario: &Scenario, programs: &Programs) -> Result<(Verdict, Vec<Life>, Terms), String> {
    let lab = Lab::up(&format!("truth-{}-{}", std::process::id(), name.replace('_', "-")), &Answer::Silent)?;
    let folder = lab.name().folder();
    let rules = super::folder().join(format!("{name}.yml"));
    let record = folder.join("record.jsonl");
    let far = FarEnd::begin(&lab, programs, &rules, &record)?;
    let watch = Watch::begin()?;
    let busy = keep_busy(scenario.busy)?;
    let mut ends = Vec::new();
    for (number, life) in scenario.lives.iter().enumerate() {
        ends.push(live(&lab, programs, scenario, number, life.timeout.0, life.time.0.to_duration())?);
    }
    drop(busy);
    let excuses = far.end()?;
    let held_up = watch.end()?;
    let mut lives = Vec::new();
    for (end, life) in ends.iter().zip(&scenario.lives) {
        let results = match scenario.probe.command {
            Way::Trace => evidence::paths(&end.results)?,
            Way::Run | Way::Sweep => evidence::results(&end.results)?,
        };
        let summary = evidence::summary(&end.summary)?;
        lives.push(Life { results, summary, timeout_ns: life.timeout.0.0 });
    }
    let bounds = PathBounds { median: scenario.path.median.0.0, each: scenario.path.each.0.0 };
    let targets_change = scenario.probe.changes.0 > Nanos::ZERO;
    let terms = Terms { excuses, unrecorded: unrecorded(scenario), path: Some(bounds), held_up, targets_change };
    let verdict = judge(&lives, &evidence::record(&record)?, &terms);
    Ok((verdict, lives, terms))
}

/// The far end of this crate at work in a lab, with a record of what it does.
pub struct FarEnd<'a> {
    lab: &'a Lab,
    process: Running,
    log: PathBuf,
    before: Vec<u64>,
}

impl<'a> FarEnd<'a> {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn begin(lab: &'a Lab, programs: &Programs, rules: &Path, record: &Path) -> Result<Self, String> {
        let before = counters(lab);
        let path = lab.name().folder().join("far.log");
        let log = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut command = lab.far(&programs.bench);
        command.args(["truth", "reflect", "-I", FAR_INTERFACE, "--cpu", "0", "--rate", &RINGS.to_string()]);
        command.arg("--rules").arg(rules).arg("--record").arg(record).stderr(log);
        let mut process = Running::spawn(&mut command)?;
        let text = || fs::read_to_string(&path).unwrap_or_default();
        let ready = wait_until(OVERDUE, || {
            let ended = process.0.try_wait().ok().flatten().is_some();
            (ended || text().contains("ready")).then_some(!ended)
        });
        if ready != Some(true) {
            return Err(format!("the far end did not start: {}", text().trim()));
        }
        Ok(Self { lab, process, log: path, before })
    }

    /// Ends it, its record being complete then. Returns what interfaces and its own sockets lost meanwhile.
    ///
    /// # Errors
    /// If it does not end.
    pub fn end(mut self) -> Result<Excuses, String> {
        send_signal("TERM", self.process.0.id());
        self.process.end("the far end", OVERDUE)?;
        let after = counters(self.lab);
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let missed = log.rsplit(';').next().and_then(|last| last.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        // Each drop shows in one counter at least; one that shows in two excuses two, and is told as such.
        let dropped: u64 = after.iter().zip(&self.before).map(|(after, before)| after.saturating_sub(*before)).sum();
        Ok(Excuses { there: dropped + missed, back: dropped })
    }
}

/// Where a life left its account.
struct Ended {
    results: PathBuf,
    summary: PathBuf,
}

fn live(
    lab: &Lab,
    programs: &Programs,
    scenario: &Scenario,
    number: usize,
    timeout: Nanos,
    time: Duration,
) -> Result<Ended, String> {
    let folder = lab.name().folder();
    let ended = Ended {
        results: folder.join(format!("results-{number}.jsonl")),
        summary: folder.join(format!("summary-{number}.json")),
    };
    let probe = &scenario.probe;
    let ranges = ranges(probe, 0);
    let timeout = duration::show(timeout);
    let config = folder.join(format!("echolot-{number}.yml"));
    let mut command = lab.near(&programs.echolot);
    command.arg(probe.command.word());
    match probe.command {
        Way::Sweep => {
            command.args(&ranges).args(["--rate", &probe.rate.to_string(), "-W", &timeout]);
            if let Some(kind) = probe.kind() {
                command.args([format!("--probe={kind}"), format!("--source-port={SOURCE_PORT}")]);
            }
        }
        Way::Trace => {
            // As fast as it is to be, and no router nearby is spared: the far end is no router.
            command.args(&ranges).args(["--rate", &probe.rate.to_string(), "-W", &timeout, "--per-hop", "max", "-n"]);
            command.args(probe.kind().map(|kind| format!("--probe={kind}")));
        }
        Way::Run => {
            configure(scenario, &config, &timeout, 0)?;
            command.arg("-c").arg(&config);
        }
    }
    command.args([
        "--engine",
        &probe.engine,
        "-I",
        NEAR_INTERFACE,
        "--identifier",
        IDENTIFIER,
        "--seed",
        "1",
        "-f",
        "jsonl",
        "-o",
    ]);
    command.arg(&ended.results).arg("--summary").arg(&ended.summary);
    let path = folder.join(format!("echolot-{number}.log"));
    command.stderr(File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?);
    let mut echolot = Running::spawn(&mut command)?;
    let mut expected = time;
    if probe.command == Way::Run {
        // A busy machine takes its time to start a process. What it runs for counts from its first result on.
        let begun = || fs::metadata(&ended.results).is_ok_and(|file| file.len() > 0);
        let over = wait_until(OVERDUE, || (begun() || echolot.0.try_wait().ok().flatten().is_some()).then_some(()));
        if over.is_none() {
            return Err(format!("echolot has no result within {OVERDUE:?}"));
        }
        change(scenario, &config, &timeout, &echolot, time)?;
        send_signal("TERM", echolot.0.id());
    } else {
        // What is lost on a path is waited for, several times one after the other.
        let probes = u64::from(probe.all_targets() * scenario.probes_a_target());
        expected = Duration::from_secs(3 * probes / probe.rate.max(1));
    }
    let code = echolot.end("echolot", expected + OVERDUE)?;
    let mut log = String::new();
    let _ = File::open(&path).and_then(|mut file| file.read_to_string(&mut log));
    // 1: a trace of which a target did not answer; 3: a sweep with something unsent or unheard.
    if !matches!((probe.command, code), (_, Some(0)) | (Way::Trace, Some(1)) | (_, Some(3))) {
        return Err(format!("echolot ended with status {code:?}: {}", log.trim()));
    }
    Ok(ended)
}

/// Ranges of the targets: of a scenario in which they change, a tenth is others after every odd change.
fn ranges(probe: &Probe, change: u32) -> Vec<String> {
    let range =
        |family: Family, from: u32, to: u32| format!("{}-{}", probe.target(family, from), probe.target(family, to - 1));
    let tenth = if probe.changes.0 > Nanos::ZERO { probe.targets / 10 } else { 0 };
    let staying = probe.targets - tenth;
    let from = staying + change % 2 * tenth;
    let of = |family: &Family| {
        let changing = (tenth > 0).then(|| range(*family, from, from + tenth));
        std::iter::once(range(*family, 0, staying)).chain(changing)
    };
    probe.family.each().iter().flat_map(of).collect()
}

/// Writes a configuration, after so many changes.
fn configure(scenario: &Scenario, config: &Path, timeout: &str, change: u32) -> Result<(), String> {
    let probe = &scenario.probe;
    let interval = duration::show(probe.interval.0);
    let rate = scenario.rate();
    let source = probe.kind().map_or_else(String::new, |_| format!("source_port: {SOURCE_PORT}\n"));
    let kind = probe.kind().map_or_else(String::new, |kind| format!(", probe: '{kind}'"));
    let text = format!(
        "interface: {NEAR_INTERFACE}\n{source}limits: {{rate: {rate}}}\nglobal: {{interval: {interval}, timeout: {timeout}{kind}}}\n\
         groups: [{{name: g, targets: ['{}']}}]\n",
        ranges(probe, change).join("', '")
    );
    fs::write(config, text).map_err(|e| format!("{}: {e}", config.display()))
}

/// Waits for so long, and has targets changed meanwhile as the scenario says.
fn change(scenario: &Scenario, config: &Path, timeout: &str, echolot: &Running, time: Duration) -> Result<(), String> {
    let (begun, every) = (Instant::now(), scenario.probe.changes.0.to_duration());
    for number in 1.. {
        let next = every * number;
        if every.is_zero() || next >= time {
            break;
        }
        thread::sleep(next.saturating_sub(begun.elapsed()));
        configure(scenario, config, timeout, number)?;
        send_signal("HUP", echolot.0.id());
    }
    thread::sleep(time.saturating_sub(begun.elapsed()));
    Ok(())
}

/// First and last address of the ranges that the far end keeps no record of. Ranges within them that have one are carved out
/// of them here.
fn unrecorded(scenario: &Scenario) -> Vec<(IpAddr, IpAddr)> {
    let prefixes = scenario.rules.prefixes();
    let (without, with): (Vec<_>, Vec<_>) =
        prefixes.iter().partition(|(_, treatment)| *treatment == Treatment::NotRecorded);
    let mut ranges = Vec::new();
    for (prefix, _) in without {
        let (family, end) = (Family::of(prefix.address), number(prefix.last()).saturating_add(1));
        let is_within = |other: &Prefix| other.length > prefix.length && prefix.contains(other.address);
        let mut within: Vec<Prefix> = with.iter().map(|(other, _)| *other).filter(is_within).collect();
        within.sort_unstable_by_key(|other| other.address);
        let within = within
            .iter()
            .map(|other| (number(other.address), number(other.last()).saturating_add(1)))
            .chain([(end, end)]);
        let mut from = number(prefix.address);
        for (first, after) in within {
            if first > from {
                ranges.push((address(family, from), address(family, first - 1)));
            }
            from = from.max(after);
        }
    }
    ranges
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

/// Drops and errors of both interfaces.
fn counters(lab: &Lab) -> Vec<u64> {
    let read = |end: End, interface: &str, counter: &str| {
        let path = format!("/sys/class/net/{interface}/statistics/{counter}");
        let output = lab.name().command(end, "cat").arg(path).output();
        output.ok().and_then(|output| String::from_utf8_lossy(&output.stdout).trim().parse().ok()).unwrap_or(0)
    };
    let ends = [(End::Near, NEAR_INTERFACE), (End::Far, FAR_INTERFACE)];
    ends.iter().flat_map(|(end, interface)| COUNTERS.map(|counter| read(*end, interface, counter))).collect()
}

/// So many busy processes on each CPU.
fn keep_busy(each: usize) -> Result<Vec<Running>, String> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let mut busy = Vec::new();
    for cpu in (0..cpus).flat_map(|cpu| std::iter::repeat_n(cpu, each)) {
        let mut command = Command::new("taskset");
        command.args(["-c", &cpu.to_string(), "sh", "-c", "while :; do :; done"]).stderr(Stdio::null());
        busy.push(Running::spawn(&mut command)?);
    }
    Ok(busy)
}
