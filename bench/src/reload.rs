//! `bench reload`: what it costs those that are probed that a tenth of all targets changes every 2 s, that all series of all targets are
//! scraped, that no name server answers, and that a list comes byte by byte.

use crate::{
    lab::{Bench, Far, Running},
    measure::{Memory, Spent, Traffic, median},
    report::{Common, Measured},
    rungs::FIRST,
    scraped::{buckets, quantile, series, sum},
    serving::Serving,
};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{ExitCode, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};
use xtask::{
    command::{send_signal, wait_until},
    lab::NEAR_INTERFACE,
};

/// Where echolot's metrics are, and where a list comes byte by byte, in the near namespace.
const LISTEN: &str = "127.0.0.1:10817";
const TRICKLES: &str = "127.0.0.1:10818";
/// From one change to the next, and from one scrape to the next.
const CHANGE: Duration = Duration::from_secs(2);
const SCRAPE: Duration = Duration::from_secs(10);
/// Each of ten million is probed once in this time, and leaves its slot when its turn comes.
const MANY_INTERVAL: Duration = Duration::from_secs(100);
/// How long anything may take.
const WITHIN: Duration = Duration::from_secs(120);
/// Behind the far end, and silent: no name server is there.
const NO_SERVER: &str = "10.128.0.1";

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- reload
  cargo run --release -p bench -- reload --rate 300000 --seconds 30 --rounds 3
  cargo run --release -p bench -- reload --only million          and not ten million
  cargo run --release -p bench -- reload --json > reload.json")]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Probes a second
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1_000..=2_000_000))]
    rate: u32,
    /// How many targets; a tenth of them changes
    #[arg(long, value_name = "N", default_value_t = 900_000, value_parser = clap::value_parser!(u32).range(1_000..=900_000))]
    targets: u32,
    /// How long each row is measured, seconds
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    Quiet,
    Changing,
    /// Ten million targets, of which a tenth changes, again and again.
    Many,
}

impl Row {
    fn name(self) -> &'static str {
        match self {
            Self::Quiet => "a million targets, nothing else",
            Self::Changing => "a million targets, a tenth changes every 2 s, scraped, no name server, a slow list",
            Self::Many => "ten million targets, 100,000 probes a second, a tenth changes",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    let common = &args.common;
    xtask::setup::ensure(&[("curl", "curl")])?;
    let mut place = Place { args, rate: args.rate, targets: args.targets, time: Duration::from_secs(args.seconds) };
    let mut rows = vec![Row::Quiet, Row::Changing];
    if common.short {
        (place.rate, place.targets, place.time) = (10_000, 10_000, Duration::from_secs(6));
    } else {
        rows.push(Row::Many);
    }
    common.table(
        (
            "reload",
            "`echolot run`, every target answers at once. Changing: the file is written anew every 2 s with other addresses for a tenth \
             of the targets, and SIGHUP sent; all series of all targets are scraped every 10 s; a group of names whose name server is \
             silent, and a list over HTTP that comes byte by byte. Ten million: three changes, and an interval of 100 s after each. Missed: probes of the group that stays that were not answered",
        ),
        &[
            ("rate", "probes a second", 0),
            ("p50", "RTT median, us", 2),
            ("lag", "send lag p99, us", 1),
            ("missed", "missed", 0),
            ("skipped", "skipped", 0),
            ("reloads", "reloads", 0),
            ("took", "a reload, median, ms", 0),
            ("most", "the same, at most, ms", 0),
            ("scrape", "a scrape, median, s", 2),
            ("resident", "resident before, MiB", 1),
            ("after", "after, MiB", 1),
            ("busy", "CPUs busy", 2),
        ],
        &rows,
        |row| (row.name().into(), "engine auto, copy mode".into()),
        place.time.as_secs_f64() + 15.0,
        |row| {
            let figures = if *row == Row::Many { place.many()? } else { place.measured(*row == Row::Changing)? };
            Ok(Measured::new(&figures))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

struct Place<'a> {
    args: &'a Args,
    rate: u32,
    targets: u32,
    time: Duration,
}

type Figures = Vec<(&'static str, f64)>;

impl Place<'_> {
    /// A tenth changes: these before an odd change, others before an even one.
    fn config(&self, number: u32, is_extreme: bool) -> String {
        let (tenth, interval) = (self.targets / 10, u64::from(self.targets) * 1_000_000 / u64::from(self.rate));
        let range =
            |first: u32, many: u32| format!("{}-{}", Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first + many - 1));
        let staying = range(FIRST, self.targets - tenth);
        let coming = range(FIRST + self.targets - tenth + number % 2 * tenth, tenth);
        let buckets = buckets().map(|ns| format!("{ns}ns")).collect::<Vec<_>>().join(", ");
        let mut text = format!(
            "listen: {LISTEN}\nglobal: {{interval: {interval}us, timeout: 500ms}}\nlimits: {{rate: 2000000, series: 20000000}}\n\
             groups:\n- {{name: staying, targets: [{staying}], per_target: all, buckets: [{buckets}]}}\n- {{name: changing, targets: [{coming}], per_target: all}}\n"
        );
        if is_extreme {
            let names = (0..20).map(|n| format!("host{n}.example")).collect::<Vec<_>>().join(", ");
            text += &format!(
                "- {{name: named, targets: [{names}]}}\n- {{name: listed, targets: [10.64.0.1], http_sd: [{{url: 'http://{TRICKLES}/', refresh_interval: 5s}}]}}\n"
            );
        }
        text
    }

    fn measured(&self, is_extreme: bool) -> Result<Figures, String> {
        let bench = Bench::with("reload", &self.args.common.binary, Far::Half, None)?;
        let folder = bench.lab().name().folder();
        let binary = without_name_server(&self.args.common.binary, &folder)?;
        let mut trickling = is_extreme.then(|| Serving::begin(&bench, TRICKLES, trickle)).transpose()?;
        let running = bench.run_binary(&binary, &self.config(0, is_extreme), &[])?;
        let (mut running, mut traffic) = (running, Traffic::default());
        let due = u64::from(self.rate) * 3;
        let at_work = wait_until(WITHIN, || {
            traffic.sample(running.pid(), NEAR_INTERFACE);
            (traffic.sent_so_far() >= due || running.has_ended()).then_some(())
        });
        if at_work.is_none() || running.has_ended() {
            return Err(format!("it did not begin within {WITHIN:?}: {}", running.told()));
        }
        let resident = mebibytes(running.pid())?;
        let before = sums(&bench)?;
        let (busy, begun) = (Spent::of_machine()?, Instant::now());
        traffic = Traffic::default();
        traffic.sample(running.pid(), NEAR_INTERFACE);
        let scrapes = if is_extreme { self.disturb(&bench, &running, begun)? } else { Vec::new() };
        thread::sleep(self.time.saturating_sub(begun.elapsed()));
        traffic.sample(running.pid(), NEAR_INTERFACE);
        let (seconds, busy) = (begun.elapsed().as_secs_f64(), Spent::of_machine()? - busy);
        let after = sums(&bench)?;
        let resident_after = mebibytes(running.pid())?;
        drop(trickling.take());
        let told = running.told();
        running.stop()?;
        #[expect(clippy::cast_precision_loss, reason = "a count of packets, shown rounded")]
        let sent = traffic.sent_so_far() as f64;
        let staying = "group=\"staying\"";
        let grown = |family: &str, labels: &[&str]| sum(&after, family, labels) - sum(&before, family, labels);
        let missed = ["lost", "unheard", "unsent", "unreachable"]
            .map(|outcome| grown("echolot_probes_settled_total", &[staying, &format!("outcome=\"{outcome}\"")]));
        let texts = (&*before, &*after);
        let mut figures = vec![
            ("rate", sent / seconds),
            ("p50", 1e6 * quantile(texts, "echolot_rtt_seconds", staying, 0.5)),
            ("lag", 1e6 * quantile(texts, "echolot_send_lag_seconds", "", 0.99)),
            ("missed", missed.iter().sum()),
            ("skipped", grown("echolot_probes_skipped_total", &[])),
            ("resident", resident),
            ("after", resident_after),
            ("busy", busy / seconds),
        ];
        if is_extreme {
            figures.extend(reloads(&told)?);
            figures.push(("scrape", median(scrapes)));
        }
        Ok(figures)
    }

    /// Changes a tenth every 2 s, and scrapes every 10. Returns how long each scrape took, seconds.
    fn disturb(&self, bench: &Bench, running: &Running, begun: Instant) -> Result<Vec<f64>, String> {
        let file = bench.lab().name().folder().join("bench.yml");
        let mut scraping = None;
        let mut scrapes = Vec::new();
        let mut next_scrape = Duration::ZERO;
        for number in 1.. {
            let next = CHANGE * number;
            if next > self.time {
                break;
            }
            thread::sleep(next.saturating_sub(begun.elapsed()));
            let path = file.with_extension("new");
            fs::write(&path, self.config(number, true)).map_err(|error| format!("{}: {error}", path.display()))?;
            fs::rename(&path, &file).map_err(|error| format!("{}: {error}", file.display()))?;
            send_signal("HUP", running.pid());
            if begun.elapsed() >= next_scrape {
                scrapes.extend(scraping.take().map(scraped).transpose()?);
                scraping = Some(all_series(bench)?);
                next_scrape += SCRAPE;
            }
        }
        scrapes.extend(scraping.take().map(scraped).transpose()?);
        Ok(scrapes)
    }

    /// Ten million targets, of which a tenth changes again and again, each time when all who were given up before have left their slots.
    fn many(&self) -> Result<Figures, String> {
        let bench = Bench::with("reload", &self.args.common.binary, Far::Half, None)?;
        let config = |number: u32| {
            let (most, tenth) = (1 << 23, 1_000_000);
            let range = |first: u32, many: u32| {
                format!("{}-{}", Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first + many - 1))
            };
            let (upper, lower) = (range(0x0a80_0000, most), range(0x0a40_0000, 9_000_000 - most));
            let coming = range(0x0a50_0000 + number % 2 * tenth, tenth);
            format!(
                "listen: {LISTEN}\nglobal: {{interval: {}s, timeout: 1s}}\ngroups:\n- {{name: staying, targets: [{upper}, {lower}]}}\n\
                 - {{name: changing, targets: [{coming}]}}\n",
                MANY_INTERVAL.as_secs()
            )
        };
        let mut running = bench.run_binary(&self.args.common.binary, &config(0), &[])?;
        let mut traffic = Traffic::default();
        let at_work = wait_until(WITHIN, || {
            traffic.sample(running.pid(), NEAR_INTERFACE);
            (traffic.sent_so_far() >= 100_000 || running.has_ended()).then_some(())
        });
        if at_work.is_none() || running.has_ended() {
            return Err(format!("it did not begin within {WITHIN:?}: {}", running.told()));
        }
        let resident = mebibytes(running.pid())?;
        let file = bench.lab().name().folder().join("bench.yml");
        for number in 1..=3 {
            fs::write(&file, config(number)).map_err(|error| format!("{}: {error}", file.display()))?;
            send_signal("HUP", running.pid());
            let is_done = |told: &str| told.matches("eloaded").count() >= number as usize;
            wait_until(WITHIN, || is_done(&running.told()).then_some(()))
                .ok_or_else(|| format!("no reload within {WITHIN:?}: {}", running.told()))?;
            thread::sleep(MANY_INTERVAL + Duration::from_secs(5));
        }
        let after = mebibytes(running.pid())?;
        let told = running.told();
        running.stop()?;
        let mut figures = reloads(&told)?;
        figures.extend([("resident", resident), ("after", after)]);
        Ok(figures)
    }
}

/// echolot by a program in whose namespace of mounts no name server answers.
fn without_name_server(binary: &std::path::Path, folder: &std::path::Path) -> Result<PathBuf, String> {
    let binary = binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?;
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok::<_, String>(path)
    };
    let conf = write("resolv.conf", format!("nameserver {NO_SERVER}\noptions timeout:5 attempts:2\n"))?;
    let nss = write("nsswitch.conf", "hosts: dns\n".into())?;
    let script = write(
        "echolot.sh",
        format!(
            "#!/bin/sh\nset -e\nmount --bind {} /etc/resolv.conf\nmount --bind {} /etc/nsswitch.conf\nexec {} \"$@\"\n",
            conf.display(),
            nss.display(),
            binary.display()
        ),
    )?;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&script, mode).map_err(|error| format!("{}: {error}", script.display()))?;
    Ok(script)
}

/// What the log says of reloads.
fn reloads(told: &str) -> Result<Figures, String> {
    if let Some(line) = told.lines().find(|line| line.contains("not reloaded")) {
        return Err(line.to_owned());
    }
    let took: Vec<f64> = told
        .lines()
        .filter_map(|line| line.split_once("reloaded in ")?.1.split_once(':'))
        .filter_map(|(took, _)| milliseconds(took))
        .collect();
    if took.is_empty() {
        return Err(format!("no reload: {told}"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let many = took.len() as f64;
    let most = took.iter().copied().fold(0.0, f64::max);
    Ok(vec![("reloads", many), ("took", median(took)), ("most", most)])
}

/// Of a duration as it is shown: `1.2s`, `26.3ms`.
fn milliseconds(shown: &str) -> Option<f64> {
    let (number, factor) = match shown.strip_suffix("ms") {
        Some(number) => (number, 1.0),
        None => match shown.strip_suffix("µs") {
            Some(number) => (number, 1e-3),
            None => (shown.strip_suffix('s')?, 1e3),
        },
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

fn mebibytes(pid: u32) -> Result<f64, String> {
    #[expect(clippy::cast_precision_loss, reason = "bytes, shown as MiB")]
    Memory::of(pid).map(|memory| memory.resident as f64 / 1_048_576.0)
}

/// The metrics without single targets' series, of which there may be ten million.
fn sums(bench: &Bench) -> Result<String, String> {
    let mut shell = bench.lab().near("sh");
    shell.args([
        "-c",
        &format!("curl --silent --fail --max-time 100 http://{LISTEN}/metrics | grep -v '^echolot_target_'"),
    ]);
    let output = shell.output().map_err(|error| format!("curl: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if series(&text, "echolot_probes_total").next().is_none() {
        return Err(format!("no metrics: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(text)
}

/// Somebody who scrapes everything.
fn all_series(bench: &Bench) -> Result<std::process::Child, String> {
    let mut curl = bench.lab().near("curl");
    curl.args(["--silent", "--fail", "--max-time", "100", "--output", "/dev/null", "--write-out", "%{time_total}"]);
    curl.arg(format!("http://{LISTEN}/metrics"));
    curl.stdout(Stdio::piped()).spawn().map_err(|error| format!("curl: {error}"))
}

fn scraped(child: std::process::Child) -> Result<f64, String> {
    let output = child.wait_with_output().map_err(|error| format!("curl: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(format!("a scrape ended with {}", output.status));
    }
    text.trim().parse().map_err(|error| format!("curl said `{text}`: {error}"))
}

/// A server whose list comes byte by byte and never ends.
fn trickle(listener: &TcpListener, stop: &AtomicBool) {
    let mut clients = Vec::new();
    while !stop.load(Relaxed) {
        if let Ok((mut client, _)) = listener.accept() {
            let _ = client.set_read_timeout(Some(Duration::from_millis(100)));
            let _ = client.read(&mut [0; 1024]);
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n[";
            if client.write_all(head).is_ok() {
                clients.push(client);
            }
        }
        clients.retain_mut(|client| client.write_all(b" ").is_ok());
        thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_the_log() {
        let told = " INFO reloaded in 26.5ms: 64 targets as before, 0 new\n INFO reloaded in 1.2s: 3\n";
        let figures = reloads(told).unwrap_or_default();
        assert_eq!(figures, [("reloads", 2.0), ("took", 613.25), ("most", 1_200.0)]);
        assert!(reloads("ERROR not reloaded, all goes on as before: why").is_err());
    }
}
