//! `bench pending`: what silent TCP ports cost those that answer, beside programs that connect.

use crate::{
    connects::{self, Connected, Connecting},
    inside::Part,
    lab::{Bench, Far, Running, ranges_of},
    measure::{Spent, Traffic, median, watch},
    report::{Common, Measured, grouped},
    rungs::FIRST,
    scraped::{buckets, quantile, scrape, sum},
};
use std::{
    collections::HashMap,
    fs,
    io::Read as _,
    net::Ipv4Addr,
    path::Path,
    process::{ChildStdout, ExitCode},
    time::Duration,
};
use xtask::{
    command::wait_until,
    lab::{End, NEAR_INTERFACE},
};

/// Live addresses, and milliseconds between two SYNs to each: those whose round-trip times are shown.
const LIVE: u32 = 1_000;
const LIVE_INTERVAL: u64 = 100;
/// How long those may be answered at most, milliseconds.
const LIVE_TIMEOUT: u64 = 3_000;
/// How many others there are, silent or not: at 3 s all rows send 335,000 SYNs a second to them, or 2,000 in the short form.
const OTHERS: u32 = 1_005_000;
const OTHERS_SHORT: u32 = 6_000;
/// The first of the others that answer.
const ANSWERING: u32 = FIRST + 0x1000;
/// The first of as many silent ones as there are live ones, of which it is told which deadline they missed.
const WITNESSES: u32 = 0x0a9f_0000;
/// Where echolot's metrics are, in the near namespace.
const LISTEN: &str = "127.0.0.1:10816";
/// How long anything may take.
const WITHIN: Duration = Duration::from_secs(120);
/// Descriptors that a program needs for something else, and for live addresses.
const OTHER_DESCRIPTORS: u32 = LIVE + 1_000;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- pending
  cargo run --release -p bench -- pending --silent 0,100000,1000000 --rounds 3
  cargo run --release -p bench -- pending --only connect           the programs that connect
  cargo run --release -p bench -- pending --timeout 10             110,500 SYNs a second and not 345,000
  cargo run --release -p bench -- pending --json > pending.json")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// How many of the addresses are silent
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [0, 100, 1_000, 100_000, 1_000_000],
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    silent: Vec<u32>,
    /// Seconds that a SYN may be answered. Each of the 1,005,000 others is sent one as often
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    /// What transmits
    #[arg(long, value_name = "ENGINE", default_value = "auto")]
    engine: String,
}

#[derive(Clone, Copy)]
enum Who {
    Echolot(Load),
    Connecting(Connecting, u32),
}

#[derive(Clone, Copy)]
struct Load {
    silent: u32,
    /// How long those may take to answer, milliseconds.
    timeout: u64,
    /// Every result is written, and read.
    is_read: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    xtask::setup::ensure(&[("curl", "curl")])?;
    let sizes = if common.short { vec![0, 100, 1_000] } else { args.silent.clone() };
    let most = sizes.iter().copied().max().unwrap_or_default();
    let interval = 1_000 * args.timeout;
    let load = |silent| Load { silent, timeout: interval, is_read: false };
    let mut contestants: Vec<Who> = sizes.iter().map(|silent| Who::Echolot(load(*silent))).collect();
    if most > 0 {
        // As many silent ones, and fewer pending.
        contestants
            .extend([interval / 1_000, interval / 10].map(|timeout| Who::Echolot(Load { timeout, ..load(most) })));
        let read: Vec<u32> = sizes.iter().copied().filter(|silent| *silent > 100 && *silent >= most / 10).collect();
        contestants.extend(read.into_iter().map(|silent| Who::Echolot(Load { is_read: true, ..load(silent) })));
    }
    contestants.extend([0, 100].map(|silent| Who::Connecting(Connecting::Blocking, silent)));
    let descriptors = descriptors()?.saturating_sub(OTHER_DESCRIPTORS).min(most);
    let tasks = if common.short { vec![0, 100] } else { vec![0, 1_000, descriptors] };
    contestants.extend(tasks.into_iter().map(|silent| Who::Connecting(Connecting::Tasks, silent)));
    #[expect(clippy::cast_precision_loss, reason = "a count of rows, and seconds")]
    let seconds = contestants.len() as f64 * (9.0 + 1.3 * args.timeout as f64);
    let place = Place {
        args,
        interval,
        others: if common.short { OTHERS_SHORT } else { OTHERS },
        time: if common.short { 1 } else { 5 },
    };
    common.table(
        (
            "pending",
            "`echolot run` with TCP probes to 1,000 live addresses ten times a second each, whose round-trip times are shown, \
             and to 1,005,000 others every 3 s: 345,000 SYNs a second in every row (with --timeout as often as that says). Of \
             those others so many are silent, and the rest answers; so many SYNs are pending, for each may be answered until \
             the next. In the rows that say for how many milliseconds the silent ones are as many as in the row with the \
             most, and only the time that their SYNs are pending differs. Pending: as its metrics say at the end. Missed: \
             SYNs to live addresses that were not answered. Deadline later than its timeout: of a thousand more silent ones, \
             as the event says that takes them down, where results of all groups are written, which say when the SYN was \
             sent; it is the deadline that was set, not when it was found to have passed. Programs that connect: to the same \
             1,000 live addresses (a task: ten times a second; the loop: one after the other) and to so many silent ones, \
             each for 3 s. All live ones refuse: no port is open. The far end's work is done in the sender's softirq",
        ),
        &[
            ("pending", "pending", 0),
            ("sent", "SYNs or connects a second", 0),
            ("live", "live answers a second", 0),
            ("p50", "live RTT median, us", 2),
            ("p99", "live RTT p99, us", 1),
            ("missed", "missed", 0),
            ("gap", "longest without a live answer, ms", 1),
            ("ns", "CPU ns each, process", 0),
            ("busy", "CPU ns each, machine", 0),
            ("late50", "deadline later than its timeout, median, ms", 2),
            ("late", "the same, at most, ms", 2),
            ("witnesses", "of so many", 0),
        ],
        &contestants,
        |who| named(args, *who),
        seconds,
        |who| match who {
            Who::Echolot(load) => place.echolot(*load),
            Who::Connecting(how, silent) => place.connecting(*how, *silent),
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn named(args: &Args, who: Who) -> (String, String) {
    match who {
        Who::Echolot(Load { silent, timeout, is_read }) => {
            let mut name = format!("echolot, {} silent", grouped(f64::from(silent), 0));
            if timeout != 1_000 * args.timeout {
                name += &format!(" for {timeout} ms");
            }
            if is_read {
                name += ", each told";
            }
            (name, format!("engine {}, copy mode, threads pinned", args.engine))
        }
        Who::Connecting(how, silent) => {
            let (name, with) = match how {
                Connecting::Blocking => ("a blocking connect loop", "one thread, `connect_timeout` of 3 s"),
                Connecting::Tasks => {
                    ("a task a connect", "tokio, a worker a core, 3 s; as many descriptors as a process has")
                }
            };
            (format!("{name}, {} silent", grouped(f64::from(silent), 0)), with.into())
        }
    }
}

/// How many descriptors a process may have.
fn descriptors() -> Result<u32, String> {
    let path = "/proc/self/limits";
    let limits = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).ok_or_else(|| format!("{path}: no open files"))?;
    // "unlimited" is the other word.
    Ok(soft.parse().unwrap_or(u32::MAX))
}

struct Place<'a> {
    args: &'a Args,
    /// How often the others are sent a SYN, which is also how long it may be answered, milliseconds.
    interval: u64,
    /// How many those are.
    others: u32,
    /// For how long it is measured, seconds.
    time: u32,
}

impl Place<'_> {
    fn echolot(&self, load: Load) -> Result<Measured, String> {
        let bench = Bench::with("pending", &self.args.common.binary, Far::Half, None)?;
        let (config, arguments) = (self.config(load), ["--engine", &self.args.engine]);
        if !load.is_read {
            let mut running = bench.run_binary(&self.args.common.binary, &config, &arguments)?;
            return self.measured(&bench, &mut running);
        }
        let events = bench.lab().name().folder().join("events");
        let file = events.to_string_lossy();
        let arguments = [&arguments[..], &["--events", &file]].concat();
        let (mut running, results) = bench.run_read(&config, &arguments)?;
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| read(results));
            let measured = self.measured(&bench, &mut running);
            // The pipe ends with it.
            drop(running);
            let sent = reader.join().map_err(|_| "the reader panicked")??;
            let mut measured = measured?;
            let late = lateness(&sent, &events, self.interval)?;
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            let witnesses = late.len() as f64;
            let most = late.iter().copied().fold(0.0, f64::max);
            measured.figures.extend([("late50", median(late)), ("late", most), ("witnesses", witnesses)]);
            Ok(measured)
        })
    }

    fn config(&self, load: Load) -> String {
        let (interval, Load { silent, timeout, .. }) = (self.interval, load);
        let silent = silent.min(self.others);
        let range =
            |first: u32, many: u32| format!("{}-{}", Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first + many - 1));
        let mut groups = format!(
            "- {{name: live, targets: [{}], interval: {LIVE_INTERVAL}ms, timeout: {}ms, buckets: [{}]}}\n",
            range(FIRST, LIVE),
            // A hundred intervals would be too many.
            interval.min(LIVE_TIMEOUT),
            buckets().map(|ns| format!("{ns}ns")).collect::<Vec<_>>().join(", ")
        );
        if silent < self.others {
            let answering = range(ANSWERING, self.others - silent);
            groups += &format!("- {{name: answering, targets: [{answering}], interval: {interval}ms}}\n");
        }
        if silent > 0 {
            let silent = ranges_of(silent);
            groups +=
                &format!("- {{name: silent, targets: [{silent}], interval: {interval}ms, timeout: {timeout}ms}}\n");
        }
        if load.is_read {
            let witnesses = range(WITNESSES, LIVE);
            groups += &format!("- {{name: witness, targets: [{witnesses}], interval: {interval}ms, down_after: 1}}\n");
        }
        // Nobody but witnesses goes down.
        format!(
            "listen: {LISTEN}\nglobal: {{probe: 'tcp:{}', timeout: {interval}ms, down_after: 1000000}}\ngroups:\n{groups}limits: {{rate: 2000000}}\n",
            connects::PORT
        )
    }

    fn measured(&self, bench: &Bench, running: &mut Running) -> Result<Measured, String> {
        self.filled(bench, running)?;
        self.figures(bench, running)
    }

    /// Waits until everybody has been sent a SYN, and the first have been given up.
    fn filled(&self, bench: &Bench, running: &mut Running) -> Result<(), String> {
        let rate = u64::from(self.others) * 1_000 / self.interval + u64::from(LIVE) * 1_000 / LIVE_INTERVAL;
        let due = rate * (self.interval / 1_000 + 1);
        let mut before = Traffic::default();
        let full = wait_until(WITHIN, || {
            before.sample(running.pid(), NEAR_INTERFACE);
            (before.sent_so_far() >= due || running.has_ended()).then_some(())
        });
        full.ok_or_else(|| format!("{due} SYNs were not sent within {WITHIN:?}: {}", running.told()))?;
        scrape(bench, LISTEN).map(|_| ()).map_err(|error| format!("{error}: {}", running.told()))
    }

    fn figures(&self, bench: &Bench, running: &mut Running) -> Result<Measured, String> {
        let told = |running: &Running, error: String| format!("{error}: {}", running.told());
        let before = scrape(bench, LISTEN)?;
        let mut traffic = Traffic::default();
        let busy = Spent::of_machine()?;
        traffic.sample(running.pid(), NEAR_INTERFACE);
        let time = Duration::from_secs(self.time.into());
        let cost = watch(running.pid(), time).map_err(|error| told(running, error))?;
        traffic.sample(running.pid(), NEAR_INTERFACE);
        let busy = Spent::of_machine()? - busy;
        let after = scrape(bench, LISTEN)?;
        #[expect(clippy::cast_precision_loss, reason = "a count of packets, shown rounded")]
        let sent = traffic.sent_so_far() as f64;
        let seconds = time.as_secs_f64();
        let settled = |outcome: &str| {
            let labels = ["group=\"live\"", &format!("outcome=\"{outcome}\"")];
            let of = |text: &str| sum(text, "echolot_probes_settled_total", &labels);
            of(&after) - of(&before)
        };
        if sent == 0.0 || settled("answered") == 0.0 {
            return Err(told(running, "nothing was sent, or nobody answered".into()));
        }
        let missed = ["lost", "unheard", "unsent", "unreachable"].map(settled).iter().sum();
        Ok(Measured::new(&[
            ("pending", sum(&after, "echolot_probes_in_flight", &["group=\"silent\""])),
            ("sent", sent / seconds),
            ("live", settled("answered") / seconds),
            ("p50", 1e6 * quantile((&before, &after), "echolot_rtt_seconds", "group=\"live\"", 0.5)),
            ("p99", 1e6 * quantile((&before, &after), "echolot_rtt_seconds", "group=\"live\"", 0.99)),
            ("missed", missed),
            ("ns", cost.cpu_percent / 100.0 * seconds * 1e9 / sent),
            ("busy", busy * 1e9 / sent),
        ]))
    }

    fn connecting(&self, how: Connecting, silent: u32) -> Result<Measured, String> {
        let bench = Bench::with("pending", &self.args.common.binary, Far::Half, None)?;
        let _pass = bench.hold(End::Near, &Part::Pass)?;
        // The loop meets a silent one every few connects, and waits.
        let seconds = if how == Connecting::Blocking { 2 * self.time } else { self.time };
        let part = Part::Connect { how, live: LIVE, silent, seconds };
        let done = bench.watched(bench.inside(End::Near, &part)?, WITHIN)?;
        if !done.status.success() {
            return Err(done.failed());
        }
        let connected: Connected = serde_json::from_str(&done.out).map_err(|error| format!("{error}: {}", done.out))?;
        let Connected { connects, seconds, failed, pending, live, p50, p99, gap } = connected;
        #[expect(clippy::cast_precision_loss, reason = "counts, shown rounded")]
        let (connects, failed, pending) = (connects as f64, failed as f64, pending as f64);
        if failed > 0.0 {
            eprintln!("bench: {failed} connects of {connects} could not be begun");
        }
        let begun = connects - failed;
        Ok(Measured::new(&[
            ("pending", pending),
            ("sent", begun / seconds),
            ("live", live),
            ("p50", p50),
            ("p99", p99),
            ("gap", gap),
            ("ns", done.cpu * 1e9 / begun),
            ("busy", done.busy * 1e9 / begun),
        ]))
    }
}

/// Reads results as they come, until the pipe ends: when the first probe to each witness was sent, of those that were lost.
fn read(mut results: ChildStdout) -> Result<HashMap<String, Duration>, String> {
    let (mut buffer, mut filled, mut sent) = (vec![0; 1 << 18], 0, HashMap::new());
    loop {
        let many = results.read(&mut buffer[filled..]).map_err(|error| format!("results: {error}"))?;
        if many == 0 {
            return Ok(sent);
        }
        filled += many;
        let whole = buffer[..filled].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = str::from_utf8(&buffer[..whole]).map_err(|error| format!("results: {error}"))?;
        // A JSON parser for all of them would take more time than the sender has.
        let first = |line: &&str| line.contains("\"group\":\"witness\"") && line.contains("\"seq\":0,");
        sent.extend(lines.lines().filter(first).filter(|line| line.contains("\"lost\"")).filter_map(target_and_time));
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

/// By how much the deadline that each witness missed was later than so many milliseconds after its probe was sent, milliseconds.
/// It goes down with the first probe that is lost, and the time of the event is that deadline: not when it was found to have
/// passed, which nothing here tells.
///
/// # Errors
/// No events, or one from before its time.
fn lateness(sent: &HashMap<String, Duration>, events: &Path, timeout: u64) -> Result<Vec<f64>, String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let text = fs::read_to_string(events).map_err(|error| format!("{}: {error}", events.display()))?;
    let down = text.lines().filter(|line| line.contains("\"group\":\"witness\"") && line.contains("\"to\":\"down\""));
    let mut late = Vec::new();
    for (target, decided) in down.filter_map(target_and_time) {
        let Some(sent) = sent.get(&target) else { continue };
        // Over midnight, too.
        let after = if decided < *sent { decided + DAY - *sent } else { decided - *sent };
        let late_by = after.checked_sub(Duration::from_millis(timeout));
        late.push(late_by.ok_or_else(|| format!("{target} was lost after {after:?}"))?.as_secs_f64() * 1e3);
    }
    if late.is_empty() { Err(format!("{}: no witness went down", events.display())) } else { Ok(late) }
}

/// Target of a result or an event, and the time that it names, of its day.
pub(crate) fn target_and_time(line: &str) -> Option<(String, Duration)> {
    let part = |name: &str| line.split_once(name)?.1.split('"').next();
    let time = part("\"time\":\"")?.split_once('T')?.1.strip_suffix('Z')?;
    let (clock, fraction) = time.split_once('.')?;
    let seconds = clock.split(':').try_fold(0, |sum, part| Some(60 * sum + part.parse::<u64>().ok()?))?;
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Some((part("\"target\":\"")?.to_owned(), Duration::new(seconds, nanoseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_late_a_probe_is_lost_is_told_by_result_and_event() {
        let line =
            r#"{"time":"2026-11-22T23:59:59.500000001Z","sent_ns":1,"group":"witness","target":"10.159.0.1","seq":0}"#;
        let (target, sent) = target_and_time(line).unwrap_or_default();
        assert_eq!((target.as_str(), sent), ("10.159.0.1", Duration::new(86_399, 500_000_001)));
        let file = std::env::temp_dir().join(format!("echolot-bench-events-{}", std::process::id()));
        let event = |time: &str| {
            format!(
                "{{\"time\":\"{time}\",\"group\":\"witness\",\"target\":\"10.159.0.1\",\"from\":\"unknown\",\"to\":\"down\"}}\n"
            )
        };
        let judged = |time: &str| {
            let written = fs::write(&file, event(time)).map_err(|error| error.to_string());
            let judged = written.and_then(|()| lateness(&HashMap::from([(target.clone(), sent)]), &file, 3_000));
            let _ = fs::remove_file(&file);
            judged
        };
        let late = judged("2026-11-23T00:00:02.502000001Z").unwrap_or_default();
        assert!(late.len() == 1 && (late[0] - 2.0).abs() < 1e-6, "{late:?}");
        assert!(judged("2026-11-23T00:00:02.4Z").is_err(), "before its time");
    }
}
