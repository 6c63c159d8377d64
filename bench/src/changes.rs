//! `bench changes`: what it costs those that are probed that ten thousand others go down or come up each second, that each of these changes
//! is written as an event, that alerts are pushed and metrics scraped; and whether every change is told.

use crate::{
    lab::{Bench, Far, Running},
    measure::{Spent, Traffic, median},
    pending::target_and_time,
    report::{Common, Measured},
    rungs::FIRST,
    scraped::{buckets, quantile, scrape, sum},
    serving::Serving,
};
use echolot::{nic::MonotonicClock, worker::Clock as _};
use probe_ebpf::far::{TURN, turn};
use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    ops::Range,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};
use xtask::{command::wait_until, lab::NEAR_INTERFACE};

/// Where echolot's metrics are, and who takes alerts, in the near namespace.
const LISTEN: &str = "127.0.0.1:10817";
const TAKES_ALERTS: &str = "127.0.0.1:10819";
/// From one scrape to the next.
const SCRAPE: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_millis(500);
/// How long starting may take.
const WITHIN: Duration = Duration::from_secs(120);
/// A change may be found later than the interval and the timeout say: a machine that stands still for a moment.
const SLACK: Duration = Duration::from_secs(1);
const DAY: u64 = 86_400_000_000_000;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- changes
  cargo run --release -p bench -- changes --rate 300000 --changes 5000 --seconds 30 --rounds 3
  cargo run --release -p bench -- changes --json > changes.json")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Probes a second
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1_000..=2_000_000))]
    rate: u32,
    /// How many targets answer all the time
    #[arg(long, value_name = "N", default_value_t = 900_000, value_parser = clap::value_parser!(u32).range(1_000..=900_000))]
    targets: u32,
    /// Changes of state a second, of targets beside those
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=15_000))]
    changes: u32,
    /// How long each row is measured, seconds
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    seconds: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    Quiet,
    Changing,
}

impl Row {
    fn name(self) -> &'static str {
        match self {
            Self::Quiet => "every target answers, nothing else",
            Self::Changing => "changes of state, with events, alerts and scrapes",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    xtask::setup::ensure(&[("curl", "curl")])?;
    let mut place = Place {
        args,
        rate: args.rate,
        staying: args.targets,
        changes: args.changes,
        time: Duration::from_secs(args.seconds),
    };
    if common.short {
        (place.rate, place.staying, place.changes, place.time) = (10_000, 5_000, 500, Duration::from_secs(8));
    }
    if place.interval() + TIMEOUT + SLACK > Duration::from_nanos(1 << TURN) / 2 {
        return Err(
            "each target must be asked at least three times before it changes: a higher --rate, or fewer --targets"
                .into(),
        );
    }
    common.table(
        (
            "changes",
            "`echolot run`, down_after and up_after 1. Changing: beside those that always answer others do for 8.6 s and are silent for as \
             long, by turns, evenly spread; each change is an event in a file, alerts go to somebody who takes them at once, metrics with \
             a series for each target that is down are scraped every 5 s. Happened: changes of the far end, by its clock and ours; not told: \
             those without an event; torn: events that do not go on from the target's event before; others: events by no change of the far \
             end. Missed: probes of those that always answer that were not answered",
        ),
        &[
            ("rate", "probes a second", 0),
            ("p50", "RTT median, us", 2),
            ("lag", "send lag p99, us", 1),
            ("missed", "missed", 0),
            ("skipped", "skipped", 0),
            ("happened", "happened", 0),
            ("untold", "not told", 0),
            ("dropped", "said to be dropped", 0),
            ("torn", "torn", 0),
            ("others", "others", 0),
            ("alerts", "alerts sent", 0),
            ("requests", "requests with alerts", 0),
            ("scrape", "a scrape, median, s", 2),
            ("busy", "CPUs busy", 2),
        ],
        &[Row::Quiet, Row::Changing],
        |row| (row.name().into(), "engine auto, copy mode".into()),
        place.time.as_secs_f64() + 15.0,
        |row| Ok(Measured::new(&place.measured(*row == Row::Changing)?)),
    )?;
    Ok(ExitCode::SUCCESS)
}

struct Place<'a> {
    args: &'a Args,
    rate: u32,
    staying: u32,
    changes: u32,
    time: Duration,
}

impl Place<'_> {
    /// How many targets make so many changes a second.
    fn switching(&self) -> u32 {
        u32::try_from((u64::from(self.changes) << TURN) / 1_000_000_000).unwrap_or(u32::MAX)
    }

    /// Those that change; as many that do not, where nothing is to change.
    fn second_range(&self, is_changing: bool) -> Range<u32> {
        let first = if is_changing { crate::lab::SILENT } else { FIRST + self.staying };
        first..first + self.switching()
    }

    fn interval(&self) -> Duration {
        let targets = u64::from(self.staying + self.switching());
        Duration::from_micros(targets * 1_000_000 / u64::from(self.rate))
    }

    fn config(&self, folder: &std::path::Path, is_changing: bool) -> String {
        let show =
            |range: Range<u32>| format!("{}-{}", Ipv4Addr::from_bits(range.start), Ipv4Addr::from_bits(range.end - 1));
        let buckets = buckets().map(|ns| format!("{ns}ns")).collect::<Vec<_>>().join(", ");
        let told = if is_changing {
            format!("alertmanagers: [{{url: 'http://{TAKES_ALERTS}'}}]\nstate: {}\n", folder.join("state").display())
        } else {
            String::new()
        };
        format!(
            "listen: {LISTEN}\n{told}global: {{interval: {}us, timeout: {}ms, down_after: 1, up_after: 1}}\nlimits: {{rate: 2000000}}\ngroups:\n\
             - {{name: staying, targets: [{}], buckets: [{buckets}]}}\n- {{name: switching, targets: [{}], per_target: unhealthy}}\n",
            self.interval().as_micros(),
            TIMEOUT.as_millis(),
            show(FIRST..FIRST + self.staying),
            show(self.second_range(is_changing)),
        )
    }

    fn measured(&self, is_changing: bool) -> Result<Vec<(&'static str, f64)>, String> {
        let binary = &self.args.common.binary;
        let bench = Bench::with("changes", binary, Far::ByTurns, None)?;
        let folder = bench.lab().name().folder();
        let state = folder.join("state");
        fs::create_dir_all(&state).map_err(|error| format!("{}: {error}", state.display()))?;
        let events = folder.join("events");
        let file = events.to_string_lossy();
        let arguments: &[&str] = if is_changing { &["--events", &file] } else { &[] };
        let requests = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&requests);
        let takes = move |listener: &TcpListener, stop: &AtomicBool| take_alerts(listener, stop, &counted);
        let takes_alerts = is_changing.then(|| Serving::begin(&bench, TAKES_ALERTS, takes)).transpose()?;
        let mut running = bench.run_binary(binary, &self.config(&folder, is_changing), arguments)?;
        // Everybody has been judged once, and all is under way.
        self.begin(&mut running)?;
        let before = scrape(&bench, LISTEN)?;
        let (busy, begun, begun_at) = (Spent::of_machine()?, Instant::now(), MonotonicClock.now().0);
        let mut traffic = Traffic::default();
        traffic.sample(running.pid(), NEAR_INTERFACE);
        let mut scrapes = Vec::new();
        if is_changing {
            for number in 1.. {
                let next = SCRAPE * number;
                if next > self.time {
                    break;
                }
                thread::sleep(next.saturating_sub(begun.elapsed()));
                let asked = Instant::now();
                scrape(&bench, LISTEN)?;
                scrapes.push(asked.elapsed().as_secs_f64());
            }
        }
        thread::sleep(self.time.saturating_sub(begun.elapsed()));
        traffic.sample(running.pid(), NEAR_INTERFACE);
        let (seconds, busy) = (begun.elapsed().as_secs_f64(), Spent::of_machine()? - busy);
        let after = scrape(&bench, LISTEN)?;
        let ended_at = MonotonicClock.now().0;
        // What the far end has changed until now is found a little later.
        thread::sleep(self.interval() + TIMEOUT + SLACK);
        let dropped = alone(&scrape(&bench, LISTEN)?, "echolot_events_dropped_total")?;
        running.stop()?;
        let staying = "group=\"staying\"";
        let grown = |family: &str, labels: &[&str]| sum(&after, family, labels) - sum(&before, family, labels);
        let missed = ["lost", "unheard", "unsent", "unreachable"]
            .map(|outcome| grown("echolot_probes_settled_total", &[staying, &format!("outcome=\"{outcome}\"")]));
        let texts = (&*before, &*after);
        #[expect(clippy::cast_precision_loss, reason = "a count of packets, shown rounded")]
        let sent = traffic.sent_so_far() as f64;
        let mut figures = vec![
            ("rate", sent / seconds),
            ("p50", 1e6 * quantile(texts, "echolot_rtt_seconds", staying, 0.5)),
            ("lag", 1e6 * quantile(texts, "echolot_send_lag_seconds", "", 0.99)),
            ("missed", missed.iter().sum()),
            ("skipped", grown("echolot_probes_skipped_total", &[])),
            ("busy", busy / seconds),
        ];
        drop(takes_alerts);
        if is_changing {
            let text = fs::read_to_string(&events).map_err(|error| format!("{}: {error}", events.display()))?;
            let told = Told::of(&text, &self.second_range(true), begun_at..ended_at)?;
            #[expect(clippy::cast_precision_loss, reason = "counts, shown rounded")]
            let counts =
                [told.happened, told.untold, told.torn, told.others, requests.load(Relaxed)].map(|count| count as f64);
            let [happened, untold, torn, others, requests] = counts;
            let alerts = sum(&after, "echolot_notifications_sent_total", &[]);
            if untold.max(torn) > dropped {
                let why = told.why;
                return Err(format!(
                    "of {happened} changes {untold} have no event, {torn} events are torn, and {dropped} are said to be dropped: {why}"
                ));
            }
            if alerts == 0.0 || requests == 0.0 {
                return Err(format!("{alerts} alerts were sent, in {requests} requests"));
            }
            figures.extend([
                ("happened", happened),
                ("untold", untold),
                ("dropped", dropped),
                ("torn", torn),
                ("others", others),
                ("alerts", alerts),
                ("requests", requests),
                ("scrape", median(scrapes)),
            ]);
        }
        Ok(figures)
    }

    /// Waits until every target has been judged.
    fn begin(&self, running: &mut Running) -> Result<(), String> {
        let mut traffic = Traffic::default();
        let at_work = wait_until(WITHIN, || {
            traffic.sample(running.pid(), NEAR_INTERFACE);
            (traffic.sent_so_far() > 0 || running.has_ended()).then_some(())
        });
        thread::sleep(2 * self.interval() + TIMEOUT + SLACK);
        if at_work.is_none() || running.has_ended() {
            return Err(format!("it did not begin within {WITHIN:?}: {}", running.told()));
        }
        Ok(())
    }
}

/// The value of a metric without labels.
fn alone(metrics: &str, name: &str) -> Result<f64, String> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    metrics.lines().find_map(value).ok_or_else(|| format!("there is no {name}"))
}

/// What events say of changes that happened.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// Changes of the far end.
    happened: u64,
    /// Of these, those without an event.
    untold: u64,
    /// Events that are not from the state that the target's event before was to.
    torn: u64,
    /// Events that no change of the far end explains: a probe was lost, or an answer, and the target was down until the next.
    others: u64,
    /// The first that is wrong, in words.
    why: String,
}

/// A change of state, as it is told.
struct Event {
    at: u64,
    from: String,
    to: String,
}

impl Told {
    /// Holds events, lines of JSON, against what the far end did to these addresses from one moment to another, CLOCK_MONOTONIC.
    ///
    /// # Errors
    /// A line that can't be read.
    fn of(text: &str, addresses: &Range<u32>, span: Range<u64>) -> Result<Self, String> {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
        let offset = u64::try_from(epoch.as_nanos()).unwrap_or(u64::MAX).wrapping_sub(MonotonicClock.now().0) % DAY;
        let mut by_target: HashMap<u32, Vec<Event>> = HashMap::new();
        for line in
            text.lines().filter(|line| line.contains("\"event\":\"state\"") && line.contains("\"group\":\"switching\""))
        {
            let part = |name: &str| Some(line.split_once(name)?.1.split('"').next()?.to_owned());
            let event = || {
                let (target, of_day) = target_and_time(line)?;
                let of_day = u64::try_from(of_day.as_nanos()).ok()?;
                // The latest moment of that time of day before the end, by the machine's clock.
                let last = span.end.checked_add(offset + DAY / 2)?;
                let at = (last - (last + DAY - of_day) % DAY).checked_sub(offset)?;
                let address = target.parse::<Ipv4Addr>().ok()?.to_bits();
                Some((address, Event { at, from: part("\"from\":\"")?, to: part("\"to\":\"")? }))
            };
            let (address, event) = event().ok_or_else(|| format!("an event that can't be read: {line}"))?;
            by_target.entry(address).or_default().push(event);
        }
        let mut told = Self::default();
        for address in addresses.clone() {
            let events = by_target.get(&address).map_or(&[][..], Vec::as_slice);
            told.hold(address, events, &span);
        }
        Ok(told)
    }

    fn hold(&mut self, address: u32, events: &[Event], span: &Range<u64>) {
        let shown = Ipv4Addr::from_bits(address);
        let mut last: Option<&Event> = None;
        // The turns that an event told of.
        let mut known = Vec::new();
        let (first, end) = (turn(address, span.start), turn(address, span.end));
        for event in events {
            if last.is_some_and(|last| last.to != event.from) {
                self.torn += 1;
                self.say(|| format!("{shown} is told to go from {} at {}", event.from, event.at));
            }
            let number = turn(address, event.at);
            let state = if number.is_multiple_of(2) { "up" } else { "down" };
            if event.to == state && !known.contains(&number) {
                known.push(number);
            } else if (first + 1..=end).contains(&number) {
                self.others += 1;
            }
            last = Some(event);
        }
        for number in first + 1..=end {
            self.happened += 1;
            if !known.contains(&number) {
                self.untold += 1;
                self.say(|| format!("{shown} has no event of turn {number}"));
            }
        }
    }

    fn say(&mut self, why: impl FnOnce() -> String) {
        if self.why.is_empty() {
            self.why = why();
        }
    }
}

/// Somebody who takes every alert at once, as an Alertmanager with nothing to do.
fn take_alerts(listener: &TcpListener, stop: &AtomicBool, requests: &Arc<AtomicU64>) {
    while !stop.load(Relaxed) {
        match listener.accept() {
            Ok((client, _)) => {
                let requests = Arc::clone(requests);
                // It ends with its connection.
                thread::spawn(move || take(&client, &requests));
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Answers the requests of one connection. None: it is over, or no request was understood.
fn take(mut client: &TcpStream, requests: &AtomicU64) -> Option<()> {
    client.set_nonblocking(false).ok()?;
    client.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let mut reader = BufReader::new(client);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let (name, value) = line.trim().split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        reader.by_ref().take(length).read_to_end(&mut Vec::new()).ok()?;
        requests.fetch_add(1, Relaxed);
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const ADDRESS: u32 = 0x0a80_0000;
    const PERIOD: u64 = 1 << TURN;

    /// Events of one target, at these moments (CLOCK_MONOTONIC), from and to these states.
    fn told(events: &[(u64, &str, &str)], span: Range<u64>) -> Told {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let offset = u64::try_from(wall).unwrap() - MonotonicClock.now().0;
        let line = |(at, from, to): &(u64, &str, &str)| {
            let of_day = (at + offset) % DAY;
            let (seconds, fraction) = (of_day / 1_000_000_000, of_day % 1_000_000_000);
            let clock = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
            format!(
                "{{\"time\":\"2026-11-23T{clock}.{fraction:09}Z\",\"event\":\"state\",\"group\":\"switching\",\"target\":\"10.128.0.0\",\
                 \"address\":\"10.128.0.0\",\"from\":\"{from}\",\"to\":\"{to}\"}}\n"
            )
        };
        let text: String = events.iter().map(line).collect();
        Told::of(&text, &(ADDRESS..ADDRESS + 1), span).unwrap()
    }

    /// When an even turn of the address has just begun.
    fn turn_begins() -> u64 {
        let now = MonotonicClock.now().0;
        let number = |after_ms: u64| turn(ADDRESS, now + after_ms * 1_000_000);
        let next = number(0) + 2 - number(0) % 2;
        let after_ms = (0..).find(|after_ms| number(*after_ms) == next).unwrap();
        now + after_ms * 1_000_000
    }

    #[test]
    fn every_change_is_to_have_its_event() {
        let begin = turn_begins();
        let after = |turns: u64| begin + turns * PERIOD + 1_000_000_000;
        let span = begin + 1..begin + 3 * PERIOD + 2_000_000;
        let all =
            [(after(0), "unknown", "up"), (after(1), "up", "down"), (after(2), "down", "up"), (after(3), "up", "down")];
        let good = told(&all, span.clone());
        assert_eq!((good.happened, good.untold, good.torn, good.others), (3, 0, 0, 0), "{good:?}");
        // One is missing.
        let missing = told(&[all[0], all[1], all[3]], span.clone());
        assert_eq!((missing.happened, missing.untold, missing.torn), (3, 1, 1), "{missing:?}");
        // Both of a silence are.
        let missing = told(&[all[0], all[3]], span.clone());
        assert_eq!((missing.untold, missing.torn), (2, 0), "{missing:?}");
        // One is there twice; one came that nothing had happened for.
        let twice = told(&[all[0], all[1], all[1], all[2], all[3]], span.clone());
        assert_eq!((twice.untold, twice.torn, twice.others), (0, 1, 1), "{twice:?}");
        let other = [(after(2) + 7, "up", "down"), (after(2) + 9, "down", "up")];
        let other = told(&[all[0], all[1], all[2], other[0], other[1], all[3]], span.clone());
        assert_eq!((other.untold, other.torn, other.others), (0, 0, 2), "{other:?}");
        assert_eq!(told(&[], span).untold, 3);
    }
}
