//! Alerts that arrive: two real Alertmanagers in a cluster on the loopback of the near namespace, and a webhook receiver of the test's own
//! that counts what it is told. Each alert is a group of its own there, so a notification is one fingerprint's.

use super::place::{LISTEN, LONG, Place, Running, sum_of};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use xtask::{
    command::wait_until,
    lab::{Answer, NEAR_INTERFACE},
};

const HOOK: &str = "127.0.0.1:9999";
/// Alertmanager needs a while until its cluster has settled.
const VERY_LONG: Duration = Duration::from_secs(180);

/// Of an alert and whether it fires: how often each of the Alertmanagers has told so. Who is woken hears the sum.
type Told = BTreeMap<(String, String), [usize; 2]>;

/// What the receiver was told.
#[derive(Clone, Default)]
struct Hook(Arc<Mutex<Told>>);

impl Hook {
    /// Listens in the near namespace until the process ends.
    fn listen(place: &Place) -> Self {
        let listener = place.inside(|| TcpListener::bind(HOOK).unwrap());
        let hook = Self::default();
        let of_thread = hook.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hook = of_thread.clone();
                thread::spawn(move || hook.answer(&stream));
            }
        });
        hook
    }

    fn answer(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).ok()?;
        let member = usize::from(line.starts_with("POST /1 "));
        line.clear();
        while reader.read_line(&mut line).ok()? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let told: Value = serde_json::from_slice(&body).ok()?;
        for alert in told["alerts"].as_array()? {
            let labels: Vec<String> = ["alertname", "group", "target", "reason"]
                .iter()
                .filter_map(|label| alert["labels"][*label].as_str().map(str::to_owned))
                .collect();
            let key = (labels.join(" "), alert["status"].as_str()?.to_owned());
            self.0.lock().unwrap().entry(key).or_default()[member] += 1;
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()
    }

    /// Of those whose words begin so: how many are firing or resolved, and how often the one was that the whole cluster told most often.
    fn told(&self, begin: &str, status: &str) -> (usize, usize) {
        let told = self.0.lock().unwrap();
        let of: Vec<usize> = told
            .iter()
            .filter(|((who, is), _)| who.starts_with(begin) && is == status)
            .map(|(_, by)| by.iter().sum())
            .collect();
        (of.len(), of.into_iter().max().unwrap_or(0))
    }

    /// Waits until so many have been told of.
    fn until(&self, begin: &str, status: &str, many: usize, running: &Running) {
        let there = wait_until(VERY_LONG, || (self.told(begin, status).0 >= many).then_some(()));
        assert!(
            there.is_some(),
            "{begin} {status}: {:?} of {many}\n{:?}\n{}",
            self.told(begin, status),
            self.0,
            running.stderr()
        );
    }
}

/// An Alertmanager, killed when this is dropped.
struct Member(Child);

impl Member {
    /// Two that know each other: one that is alone tells everything by itself.
    fn both(place: &Place) -> [Self; 2] {
        let members = [Self::start(place, 0), Self::start(place, 1)];
        for port in [9093, 9094] {
            let is_ready =
                |text: &str| text.contains("\"status\":\"ready\"") && text.matches("\"address\":").count() == 2;
            let ready =
                wait_until(VERY_LONG, || place.inside(|| get(port, "/api/v2/status")).filter(|text| is_ready(text)));
            assert!(ready.is_some(), "{:?}", place.inside(|| get(port, "/api/v2/status")));
        }
        members
    }

    /// One of two, by its number; what it knows is kept where it was if it was there before.
    fn start(place: &Place, number: u16) -> Self {
        let config = place.file(
            &format!("alertmanager-{number}.yml"),
            &format!(
                "route: {{receiver: test, group_by: ['...'], group_wait: 1s, group_interval: 5s, repeat_interval: 4h}}\n\
                 receivers: [{{name: test, webhook_configs: [{{url: 'http://{HOOK}/{number}', send_resolved: true}}]}}]\n"
            ),
        );
        let folder = place.folder.join(format!("member-{number}"));
        fs::create_dir_all(&folder).unwrap();
        let mut command: Command = place.lab.near("prometheus-alertmanager");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", 9093 + number))
            .arg(format!("--cluster.listen-address=127.0.0.1:{}", 9193 + number))
            .arg(format!("--cluster.advertise-address=127.0.0.1:{}", 9193 + number))
            .arg(format!("--cluster.peer=127.0.0.1:{}", 9193 + (1 - number)))
            .args(["--cluster.settle-timeout=10s", "--cluster.reconnect-interval=2s"])
            // On a busy machine who answers late is not away: each of two that are alone would tell everything. And so long the second
            // waits for the word that the first has told it.
            .args(["--cluster.probe-timeout=10s", "--cluster.probe-interval=20s", "--cluster.peer-timeout=60s"])
            .stdout(Stdio::null())
            .stderr(fs::File::options().append(true).create(true).open(folder.join("log")).unwrap());
        let child = command.spawn().unwrap_or_else(|error| {
            assert!(
                error.kind() != ErrorKind::NotFound,
                "prometheus-alertmanager: `cargo xtask setup --test` installs it"
            );
            panic!("{error}")
        });
        let member = Self(child);
        let port = 9093 + number;
        let ready = wait_until(LONG, || {
            place
                .inside(|| get(port, "/-/ready"))
                .filter(|answer| answer.starts_with("HTTP/1.0 200") || answer.contains("OK"))
        });
        assert!(ready.is_some(), "{}", fs::read_to_string(folder.join("log")).unwrap());
        member
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(LONG)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// How many alerts with this name an Alertmanager holds to be firing.
fn firing(place: &Place, port: u16, name: &str) -> usize {
    let Some(text) = place.inside(|| get(port, "/api/v2/alerts")) else { return 0 };
    let Some((_, body)) = text.split_once("\r\n\r\n") else { return 0 };
    let alerts: Vec<Value> = serde_json::from_str(body).unwrap_or_default();
    alerts.iter().filter(|alert| alert["labels"]["alertname"] == name).count()
}

/// Targets that the far end is silent about, or answers for again.
fn silent(place: &Place, what: &str, prefixes: &[&str]) {
    for prefix in prefixes {
        let output = place.lab.far("ip").args(["route", what, "blackhole", prefix, "table", "local"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

fn configured(place: &Place, members: &[u16], resend: &str, groups: &str) -> std::path::PathBuf {
    let urls: Vec<String> =
        members.iter().map(|number| format!("{{url: 'http://127.0.0.1:{}'}}", 9093 + number)).collect();
    place.file(
        "echolot.yml",
        &format!(
            "listen: {LISTEN}\nvantage: fra\nstate: state\nalertmanagers: [{}]\nalerts: {{resend: {resend}}}\n\
             global: {{interval: 1s, timeout: 1s}}\ngroups:\n{groups}",
            urls.join(", ")
        ),
    )
}

fn until_up(place: &Place, running: &Running, targets: f64) {
    let up = wait_until(VERY_LONG, || {
        let (_, scrape) = place.get("/metrics")?;
        (sum_of(&scrape, "echolot_targets{state=\"up\"") == targets).then_some(())
    });
    assert!(up.is_some(), "not all are up: {}", running.stderr());
}

/// 15 addresses.
const FIFTEEN: [&str; 4] = ["10.64.0.0/29", "10.64.0.8/30", "10.64.0.12/31", "10.64.0.14/32"];
/// 500 addresses.
const FIVE_HUNDRED: [&str; 6] =
    ["10.65.0.0/24", "10.65.1.0/25", "10.65.1.128/26", "10.65.1.192/27", "10.65.1.224/28", "10.65.1.240/30"];
/// 50,000 of its addresses are a site.
const SITE: [&str; 1] = ["10.72.0.0/16"];

#[test]
#[ignore = "needs root, and takes minutes: make test-long runs it"]
fn takes_minutes_few_are_told_of_one_by_one_and_many_as_one() {
    let Some(place) = Place::new("alerts", &Answer::Kernel) else { return };
    let hook = Hook::listen(&place);
    let _members = Member::both(&place);
    let groups = "- {name: few, targets: [10.64.0.0-10.64.0.19]}\n\
                  - {name: many, targets: [10.65.0.0-10.65.19.135], timeout: 2s}\n\
                  - {name: site, targets: [10.72.0.0-10.72.195.79], interval: 10s, timeout: 5s, down_after: 1}\n";
    let running = place.run(&configured(&place, &[0, 1], "20s", groups), &[]);
    until_up(&place, &running, 55_020.0);
    hook.until("EcholotAlive", "firing", 1, &running);
    let resident = || place.metric("process_resident_memory_bytes");
    let before = resident();

    silent(&place, "add", &FIFTEEN);
    hook.until("EcholotTargetDown few", "firing", 15, &running);
    silent(&place, "add", &FIVE_HUNDRED);
    hook.until("EcholotTargetsDown many", "firing", 1, &running);
    hook.until("EcholotTargetDown many", "firing", 20, &running);
    let requests = place.metric("echolot_notification_latency_seconds_count");
    silent(&place, "add", &SITE);
    hook.until("EcholotTargetsDown site", "firing", 1, &running);
    hook.until("EcholotTargetDown site", "firing", 20, &running);
    let down =
        wait_until(LONG, || (place.metric("echolot_targets{group=\"site\",state=\"down\"") == 50_000.0).then_some(()));
    assert!(down.is_some(), "{}", running.stderr());
    let (grown, requests) =
        (resident() - before, place.metric("echolot_notification_latency_seconds_count") - requests);
    println!("50,515 targets down: {:.1} MiB more, and {requests} requests for the last 50,000", grown / 1_048_576.0);
    assert!(grown < 64e6 && requests < 200.0, "{grown} bytes, {requests} requests");

    for prefixes in [&FIFTEEN[..], &FIVE_HUNDRED[..], &SITE[..]] {
        silent(&place, "del", prefixes);
    }
    for (begin, many) in [("EcholotTargetDown", 55), ("EcholotTargetsDown", 2)] {
        hook.until(begin, "resolved", many, &running);
        for status in ["firing", "resolved"] {
            assert_eq!(hook.told(begin, status), (many, 1), "{begin} {status}: {:?}", hook.0);
        }
    }
    assert_eq!((hook.told("EcholotAlive", "resolved").0, hook.told("EcholotCannotMeasure", "firing").0), (0, 0));
    for name in ["errors_total", "dropped_total"] {
        assert_eq!(place.metric(&format!("echolot_notifications_{name}")), 0.0, "{name}: {}", running.stderr());
    }
    assert_eq!(running.stop().status.code(), Some(0));
}

#[test]
#[ignore = "needs root, and takes minutes: make test-long runs it"]
fn takes_minutes_none_is_missed_while_one_of_two_is_away_and_echolot_is_killed() {
    let Some(place) = Place::new("away", &Answer::Kernel) else { return };
    let hook = Hook::listen(&place);
    let [_stays, goes] = Member::both(&place);
    let config =
        configured(&place, &[0, 1], "10s", "- {name: few, targets: [10.64.0.0-10.64.0.19], interval: 200ms}\n");
    let running = place.run(&config, &[]);
    until_up(&place, &running, 20.0);
    drop(goes);
    silent(&place, "add", &FIFTEEN);
    hook.until("EcholotTargetDown", "firing", 15, &running);
    // SIGKILL.
    drop(running);
    let running = place.run(&config, &[]);
    // They are sent again and again to who is there, while the other is away.
    let sent = |least: f64| {
        let to = "echolot_notifications_sent_total{alertmanager=\"http://127.0.0.1:9093/\"";
        wait_until(VERY_LONG, || (place.metric(to) >= least).then_some(()))
    };
    assert!(sent(6.0 * 16.0).is_some(), "{}", running.stderr());
    assert!(place.metric("echolot_notifications_errors_total{alertmanager=\"http://127.0.0.1:9094/\"") > 0.0);
    assert_eq!(hook.told("EcholotTargetDown", "resolved").0, 0, "{:?}", hook.0);
    let _back = Member::start(&place, 1);
    let knows = wait_until(VERY_LONG, || (firing(&place, 9094, "EcholotTargetDown") == 15).then_some(()));
    assert!(knows.is_some(), "{}", running.stderr());
    silent(&place, "del", &FIFTEEN);
    hook.until("EcholotTargetDown", "resolved", 15, &running);
    for status in ["firing", "resolved"] {
        let (many, most) = hook.told("EcholotTargetDown", status);
        assert!(many == 15 && most <= 2, "{status}: {:?}", hook.0);
    }
    assert_eq!(running.stop().status.code(), Some(0));
    // What it left is only what ended lately, and that it is alive: SIGTERM ends nothing.
    let left: Value = serde_json::from_slice(&fs::read(place.folder.join("state/alerts.json")).unwrap()).unwrap();
    let fires = |alert: &&Value| alert["ends_unix_ns"].is_null();
    let names: Vec<&str> = left["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(fires)
        .filter_map(|a| a["labels"]["alertname"].as_str())
        .collect();
    assert_eq!(names, ["EcholotAlive"]);
    // Switched off, that is forgotten.
    let text = fs::read_to_string(&config).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("alert")).collect();
    let running = place.run(&place.file("echolot.yml", &without.join("\n")), &[]);
    assert!(!place.folder.join("state/alerts.json").exists());
    assert_eq!(running.stop().status.code(), Some(0));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn who_can_not_measure_says_so_and_nobody_is_dead() {
    let Some(place) = Place::new("held", &Answer::Kernel) else { return };
    let hook = Hook::listen(&place);
    let _member = Member::start(&place, 0);
    let config = configured(&place, &[0], "2s", "- {name: few, targets: [10.64.0.0-10.64.0.19], interval: 100ms}\n");
    let running = place.run(&config, &[]);
    until_up(&place, &running, 20.0);
    hook.until("EcholotAlive", "firing", 1, &running);
    let link = |what: &str| {
        let output = place.lab.far("ip").args(["link", "set", "far0", what]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    link("down");
    hook.until("EcholotCannotMeasure link_down", "firing", 1, &running);
    hook.until("EcholotAlive", "resolved", 1, &running);
    assert_eq!(hook.told("EcholotTarget", "firing").0, 0, "{:?}", hook.0);
    link("up");
    hook.until("EcholotCannotMeasure link_down", "resolved", 1, &running);
    let again = wait_until(VERY_LONG, || (hook.told("EcholotAlive", "firing").1 == 2).then_some(()));
    assert!(again.is_some(), "{:?} {NEAR_INTERFACE}: {}", hook.0, running.stderr());
    assert_eq!(hook.told("EcholotTarget", "firing").0, 0, "{:?}", hook.0);
    // Whoever is killed falls silent.
    drop(running);
    let silent = wait_until(VERY_LONG, || (hook.told("EcholotAlive", "resolved").1 == 2).then_some(()));
    assert!(silent.is_some(), "{:?}", hook.0);
}
