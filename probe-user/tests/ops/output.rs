//! Destinations that refuse, and readers that don't read: results are dropped and counted, probes are not.

use super::place::{Ended, LISTEN, LONG, Place, Running, reflector, sum_of};
use std::{
    fs,
    io::{BufRead as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use xtask::command::wait_until;

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Said once, and nothing else went wrong.
#[track_caller]
fn says_once(ended: &Ended, words: &[&str]) {
    ended.says(words);
    assert_eq!(ended.stderr.matches("ERROR").count(), 1, "{ended:?}");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_full_disk_costs_results_that_are_counted() {
    let Some(place) = Place::new("disk", &reflector()) else { return };
    let (disk, kept, summary) = (place.folder.join("disk"), place.folder.join("kept"), place.folder.join("sum"));
    fs::create_dir(&disk).unwrap();
    // The disk is in the program's mount namespace alone, and goes with it: what is on it is copied out of it.
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs {0}\n\"$0\" \"$@\" && status=0 || status=$?\ncat {0}/out > {1}\nexit $status",
        disk.display(),
        kept.display()
    );
    let out = disk.join("out");
    let sweep = ["sweep", "10.64.0.0/20", "-r", "8k", "-f", "jsonl", "-o", out.to_str().unwrap()];
    let sweep = sweep.into_iter().chain(["--summary", summary.to_str().unwrap()]);
    let ended = place.ended(&mut place.after(&script, sweep));
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    says_once(&ended, &[out.to_str().unwrap(), "No space left", "Make room", "results"]);
    let summary = json(&summary);
    let dropped = summary["drops"]["results"].as_u64().unwrap();
    assert_eq!((summary["probes"].as_u64(), summary["answered"].as_u64()), (Some(4096), Some(4096)), "{summary}");
    let lines = fs::read(&kept).unwrap();
    // Whole lines to the last, and every result that isn't there has been counted.
    assert_eq!(lines.last(), Some(&b'\n'));
    let results = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
    assert_eq!(results.count() as u64 + dropped, 4096);
    assert!(dropped > 3000, "{dropped}");

    let ended = place.ended(&mut place.echolot(["sweep", "10.64.0.0/28", "-f", "csv", "-o", "/dev/full"]));
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    says_once(&ended, &["/dev/full", "No space left"]);

    // `run` goes on, and ends as it was asked to.
    let config = place.config("10.64.0.0/22", "");
    let running = place.run(&config, &["-f", "csv", "-o", "/dev/full"]);
    assert!(wait_until(LONG, || (place.metric("echolot_probes_total") > 2_000.0).then_some(())).is_some());
    let ended = running.stop();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    says_once(&ended, &["/dev/full", "No space left"]);
}

/// Cumulative counts of send lag, by upper bound in seconds.
fn lags(scrape: &str) -> Vec<(f64, f64)> {
    let bucket = |line: &str| {
        let (bound, count) = line.strip_prefix("echolot_send_lag_seconds_bucket{le=\"")?.split_once("\"} ")?;
        Some((bound.parse().unwrap_or(f64::INFINITY), count.parse().unwrap()))
    };
    scrape.lines().filter_map(bucket).collect()
}

/// The bucket that holds the 99th percentile of what came between two scrapes: its upper bound.
fn p99(before: &str, after: &str) -> f64 {
    let (before, after) = (lags(before), lags(after));
    let new: Vec<_> = after.iter().zip(&before).map(|(a, b)| (a.0, a.1 - b.1)).collect();
    let all = new.last().unwrap().1;
    new.iter().find(|(_, count)| *count >= 0.99 * all).unwrap().0
}

/// As [`observe`], and in some window of two minutes lag is roughly what it is in quiet (buckets double), and nothing is unsent. What
/// `obstacle` puts in the way stands there in every window; other work on the machine comes and goes.
fn undisturbed<T>(place: &Place, what: &str, running: &Running, quiet: f64, mut obstacle: impl FnMut() -> T) {
    let bound = (quiet * 4.0).max(0.02);
    let calm = wait_until(LONG * 2, || {
        let _in_the_way = obstacle();
        let (lag, unsent) = observe(place, what, running);
        (lag <= bound && unsent == 0.0).then_some(())
    });
    assert!(
        calm.is_some(),
        "{what}: unsent, or send lag p99 stays over {bound} s; it is {quiet} s with nothing in the way"
    );
}

/// What becomes of probing at 20,000 a second while something holds: a scrape before and after some seconds.
fn observe(place: &Place, what: &str, running: &Running) -> (f64, f64) {
    let scrape = || place.get("/metrics").unwrap().1;
    let (begun, before) = (Instant::now(), scrape());
    let probes = |scrape: &str| sum_of(scrape, "echolot_probes_total");
    let (mut after, mut looked) = (before.clone(), begun);
    // 80,000 probes: more than there is room for results.
    let on = wait_until(LONG, || {
        looked = Instant::now();
        after = scrape();
        (probes(&after) > probes(&before) + 80_000.0).then_some(())
    });
    assert!(on.is_some(), "{what}: probing has stopped: {}", running.stderr());
    // A scrape gives way: it shows what was when it began.
    let took = (looked - begun).as_secs_f64();
    let more = |name| sum_of(&after, name) - sum_of(&before, name);
    let (entered, skipped) = (more("echolot_probes_total"), more("echolot_probes_skipped_total"));
    let (p99, unsent) = (p99(&before, &after), more("echolot_probes_settled_total{outcome=\"unsent\""));
    println!(
        "{what}: {:.0} probes a second, send lag p99 at most {p99} s, {skipped} skipped, {unsent} unsent, {} lost",
        entered / took,
        more("echolot_probes_settled_total{outcome=\"lost\"")
    );
    // The grid is kept: what a machine with other work could not send in time, it has skipped.
    assert!((entered + skipped) / took > 15_000.0, "{what}: {entered} and {skipped} skipped in {took} s");
    (p99, unsent)
}

#[test]
#[ignore = "needs root: make test runs it"]
fn readers_that_do_not_read_hold_up_nothing() {
    let Some(place) = Place::new("slow", &reflector()) else { return };
    let text = format!(
        "listen: {LISTEN}\ngroups:\n  - name: ops\n    targets: [10.64.0.0-10.64.39.15]\n    interval: 500ms\n    per_target: all\n"
    );
    let config = place.file("echolot.yml", &text);
    let running = place.run(&config, &[]);
    let (quiet, _) = observe(&place, "nothing in the way", &running);
    let stuck = || -> Vec<TcpStream> {
        (0..20)
            .map(|_| {
                let mut stream = place.inside(|| TcpStream::connect(LISTEN).unwrap());
                write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
                stream
            })
            .collect()
    };
    undisturbed(&place, "20 scrapes that nobody reads", &running, quiet, stuck);
    assert_eq!(running.stop().status.code(), Some(0));

    // A pipe that nobody has opened, and later one whose reader has opened it and sleeps.
    let (pipe, summary) = (place.folder.join("pipe"), place.folder.join("sum"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let into = ["-f", "jsonl", "-o", pipe.to_str().unwrap(), "--summary", summary.to_str().unwrap()];
    let running = place.run(&config, &into);
    undisturbed(&place, "a pipe that nobody opens", &running, quiet, || ());
    let reader = fs::File::open(&pipe).unwrap();
    undisturbed(&place, "a pipe that nobody reads", &running, quiet, || ());
    let asked = Instant::now();
    let ended = running.stop();
    let took = asked.elapsed();
    drop(reader);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    says_once(&ended, &["reader", "results dropped"]);
    assert!(took < Duration::from_secs(30), "{took:?}");
    let summary = json(&summary);
    let dropped = summary["drops"]["results"].as_u64().unwrap();
    println!("ended in {took:?}; of {} results {dropped} dropped", summary["probes"]);
    // A pipe holds 64 KiB, some hundred results.
    assert!(dropped > 0 && dropped + 1_000 > summary["probes"].as_u64().unwrap(), "{summary}");
    assert_eq!(summary["in_flight"], 0);
}

/// A sweep drops nothing for a slow reader: it waits for it; and where there is none any more, a signal ends it.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_sweep_waits_for_its_reader() {
    let Some(place) = Place::new("wait", &reflector()) else { return };
    let pipe = place.folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let sweep = ["sweep", "10.64.0.0/20", "-r", "50k", "-f", "csv", "-o", pipe.to_str().unwrap()];
    let running = place.start(&mut place.echolot(sweep));
    // Opening it is the rendezvous.
    let lines = fs::read_to_string(&pipe).unwrap();
    assert_eq!(lines.lines().count(), 4097);
    assert_eq!(running.end().status.code(), Some(0));

    let running = place.start(&mut place.echolot(sweep));
    let attached = wait_until(LONG, || place.attached());
    assert!(attached.is_some());
    // Everything has been answered once the program is detached; then it waits for a reader.
    assert!(wait_until(LONG, || place.attached().is_none().then_some(())).is_some());
    let ended = running.stop();
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    ended.says(&["reader", "4,096 results dropped"]);
}
