//! A lab, echolot in it, and its metrics.

use crate::results::{self, Results, Summary};
use std::{
    fs::{self, File},
    io::Write as _,
    ops::{Deref, DerefMut},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};
use xtask::{
    command::{is_root, send_signal, wait_until},
    lab::{Answer, End, FAR_ADDRESS, Lab, Name, TARGETS},
};

pub(crate) const ECHOLOT: &str = env!("CARGO_BIN_EXE_echolot");
const LISTEN: &str = "127.0.0.1:10816";
/// For what should happen at once, on a machine that has something else to do.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Between scrapes.
const SCRAPES: Duration = Duration::from_millis(200);

/// Whether the long form is asked for: the figures as promised, on a machine that has nothing else to do.
pub(crate) fn is_long() -> bool {
    std::env::var_os("ECHOLOT_LONG").is_some_and(|value| !value.is_empty() && value != "0")
}

/// CLOCK_MONOTONIC in nanoseconds: the clock that is in the probes.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// A thread of a program under test, as the kernel tells of it.
pub(crate) struct Thread(PathBuf);

impl Thread {
    /// For how long it has been ready to run and had no CPU, nanoseconds: the machine's part in what is late.
    pub(crate) fn waited(&self) -> u64 {
        // Nanoseconds on a CPU, nanoseconds waiting for one, times on one.
        self.read("schedstat").split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The CPU that it ran on last.
    pub(crate) fn cpu(&self) -> usize {
        // The fields after its name, which ends in the last bracket, begin with the third.
        let stat = self.read("stat");
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(39 - 3).unwrap().parse().unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }
}

/// A lab and its files, both gone when this is. No other lab of this program is up meanwhile.
pub(crate) struct Site {
    lab: Lab,
    folder: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Site {
    /// `None`, and a word about it, without root.
    pub(crate) fn up(what: &str, answer: &Answer) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        if !is_root() {
            println!("skipped: needs root");
            return None;
        }
        // A test that failed leaves nothing behind.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("el-e2e-{what}-{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(&folder).unwrap();
        Some(Self { lab: Lab::up(&name, answer).unwrap(), folder, _turn: turn })
    }

    /// The same with echolot's reflector answering.
    pub(crate) fn with_reflector(what: &str) -> Option<Self> {
        Self::up(what, &Answer::Reflector(ECHOLOT.into()))
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// What was routed through the near interface before it was set down is again: the kernel takes the routes away with the
    /// link, and whoever sets it up brings them back.
    pub(crate) fn route_again(&self) {
        let (namespace, gateway) = (self.name().namespace(End::Near), FAR_ADDRESS.to_string());
        output(Command::new("ip").args(["-n", &namespace, "route", "replace", TARGETS, "via", &gateway]));
    }

    /// Starts `echolot` in near, with a summary and its results in files.
    pub(crate) fn start(&self, format: &str, arguments: &[&str]) -> Echolot {
        let [results, summary, told] = ["results", "summary.json", "stderr"].map(|file| self.path(file));
        let mut command = self.lab.near(ECHOLOT);
        command.args(arguments).args(["-f", format, "-o"]).arg(&results).arg("--summary").arg(&summary);
        command.stdin(Stdio::null()).stderr(File::create(&told).unwrap());
        Echolot {
            child: command.spawn().unwrap(),
            lab: self.name().clone(),
            folder: self.folder.clone(),
            stopped: None,
        }
    }

    /// Starts `echolot run` over `targets` once a second each, and waits until it has answers.
    pub(crate) fn run(&self, targets: &str, format: &str) -> Echolot {
        let mut echolot = self.begin(targets, format);
        echolot.wait_for("the first answer", |scrape| scrape.settled("answered") > 0);
        echolot
    }

    /// The same where nobody answers.
    pub(crate) fn run_silent(&self, targets: &str) -> Echolot {
        let mut echolot = self.begin(targets, "jsonl");
        echolot.wait_for("the first probe", |scrape| scrape.sum("echolot_probes_total", "") > 0);
        echolot
    }

    fn begin(&self, targets: &str, format: &str) -> Echolot {
        self.run_groups(&format!("  - name: all\n    targets: [{targets}]\n"), format)
    }

    /// Starts `echolot run` over these groups, as a configuration has them, at an interval of 1 s unless they say otherwise.
    pub(crate) fn run_groups(&self, groups: &str, format: &str) -> Echolot {
        let config = self.path("echolot.yml");
        let text = format!(
            "interface: near0\nlisten: {LISTEN}\nglobal: {{interval: 1s, timeout: 1s}}\n\
             groups:\n{groups}"
        );
        File::create(&config).unwrap().write_all(text.as_bytes()).unwrap();
        self.start(format, &["run", "-c", config.to_str().unwrap()])
    }
}

impl Deref for Site {
    type Target = Lab;
    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl DerefMut for Site {
    fn deref_mut(&mut self) -> &mut Lab {
        &mut self.lab
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// echolot at work; killed if this is dropped early.
pub(crate) struct Echolot {
    child: Child,
    lab: Name,
    folder: PathBuf,
    stopped: Option<u64>,
}

/// What it left behind.
pub(crate) struct Ended {
    pub(crate) results: Results,
    pub(crate) summary: Summary,
    /// When it was told to stop, and when it had ended.
    pub(crate) stopped: Option<u64>,
    pub(crate) ended: u64,
}

impl Echolot {
    /// The thread that sends.
    pub(crate) fn sender(&self) -> Thread {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let mut threads = threads.map(|entry| entry.unwrap().path());
        let is_sender = |path: &PathBuf| {
            let name = fs::read_to_string(path.join("comm")).unwrap();
            ["loop", "sender"].contains(&name.trim())
        };
        Thread(threads.find(is_sender).unwrap())
    }

    /// Its metrics, now. The equation is checked: it has to hold whenever somebody looks.
    #[track_caller]
    pub(crate) fn scrape(&mut self) -> Scrape {
        self.try_scrape().unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_scrape(&mut self) -> Result<Scrape, String> {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("echolot ended by itself ({status}): {}", self.told());
        }
        let url = format!("http://{LISTEN}/metrics");
        let mut curl = self.lab.command(End::Near, "curl");
        let output = curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", &url]).output();
        let output = output.unwrap();
        if !output.status.success() {
            return Err(format!("curl {url}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let scrape = Scrape(String::from_utf8(output.stdout).unwrap());
        scrape.balances();
        Ok(scrape)
    }

    /// Scrapes until the condition holds.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, condition: impl Fn(&Scrape) -> bool) -> Scrape {
        let held = wait_until(SOON, || self.try_scrape().ok().filter(|scrape| condition(scrape)));
        held.unwrap_or_else(|| panic!("not seen within {SOON:?}: {what}"))
    }

    /// Scrapes several times a second for so long, and shows each to `judge`. How many there were.
    #[track_caller]
    pub(crate) fn watch(&mut self, time: Duration, mut judge: impl FnMut(&Scrape)) -> u32 {
        let until = Instant::now() + time;
        let mut scrapes = 0;
        while Instant::now() < until {
            judge(&self.scrape());
            scrapes += 1;
            sleep(SCRAPES.min(until.saturating_duration_since(Instant::now())));
        }
        scrapes
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        send_signal(signal, self.child.id());
    }

    /// SIGTERM, and the end of it.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Ended {
        self.stopped = Some(now());
        send_signal("TERM", self.child.id());
        self.end(Duration::from_secs(30))
    }

    /// Waits until it ends, which must be well.
    #[track_caller]
    pub(crate) fn end(self, within: Duration) -> Ended {
        self.end_as(&[0], within)
    }

    /// The same where something unsent or unheard (status 3) is not wrong by itself.
    pub(crate) fn end_or_incomplete(self, within: Duration) -> Ended {
        self.end_as(&[0, 3], within)
    }

    /// The same with one of these statuses.
    pub(crate) fn end_as(mut self, codes: &[i32], within: Duration) -> Ended {
        let status = wait_until(within, || self.child.try_wait().unwrap());
        let ended = now();
        let told = self.told();
        let status = status.unwrap_or_else(|| panic!("echolot did not end within {within:?}: {told}"));
        assert!(status.code().is_some_and(|code| codes.contains(&code)), "echolot ended with {status}: {told}");
        print!("{told}");
        let summary = results::summary(&self.folder.join("summary.json"));
        Ended { results: Results(self.folder.join("results")), summary, stopped: self.stopped, ended }
    }

    fn told(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }
}

impl Drop for Echolot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What /metrics said.
pub(crate) struct Scrape(String);

impl Scrape {
    /// The values of a family's series that have this label (`outcome="lost"`, or "" for all), with their labels.
    fn series<'a>(&'a self, family: &'a str, label: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let lines = self.0.lines().filter(move |line| line.contains(label));
        lines.filter_map(move |line| {
            let rest = line.strip_prefix(family).filter(|rest| rest.starts_with(['{', ' ']))?;
            let (labels, value) = rest.rsplit_once(' ')?;
            Some((labels, value.parse().unwrap()))
        })
    }

    /// Their sum; a family that isn't there is a failure.
    #[track_caller]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of probes and targets")]
    pub(crate) fn sum(&self, family: &str, label: &str) -> u64 {
        let values: Vec<f64> = self.series(family, label).map(|(_, value)| value).collect();
        assert!(!values.is_empty(), "no {family}{{{label}}} in\n{}", self.0);
        values.iter().sum::<f64>() as u64
    }

    /// The sum of a family's series with all of these labels. 0 where there is none.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of probes and targets")]
    pub(crate) fn sum_where(&self, family: &str, labels: &[(&str, &str)]) -> u64 {
        let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let of = self.series(family, "").filter(|(labels, _)| wanted.iter().all(|label| labels.contains(label)));
        of.map(|(_, value)| value).sum::<f64>() as u64
    }

    #[track_caller]
    pub(crate) fn settled(&self, outcome: &str) -> u64 {
        self.sum("echolot_probes_settled_total", &format!("outcome=\"{outcome}\""))
    }

    #[track_caller]
    pub(crate) fn targets(&self, state: &str) -> u64 {
        self.sum("echolot_targets", &format!("state=\"{state}\""))
    }

    /// The equation.
    #[track_caller]
    fn balances(&self) {
        let (probes, settled) = (self.sum("echolot_probes_total", ""), self.sum("echolot_probes_settled_total", ""));
        let in_flight = self.sum("echolot_probes_in_flight", "");
        assert_eq!(probes, settled + in_flight, "probes are not settled + in flight in\n{}", self.0);
    }

    /// A quantile of a histogram in seconds, as Prometheus' `histogram_quantile` takes it: evenly spread within a bucket.
    pub(crate) fn quantile(&self, histogram: &str, share: f64) -> f64 {
        let family = format!("{histogram}_bucket");
        let buckets: Vec<(f64, f64)> = self
            .series(&family, "")
            .map(|(labels, count)| {
                let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
                (bound.replace("+Inf", "inf").parse().unwrap(), count)
            })
            .collect();
        let wanted = buckets.last().unwrap().1 * share;
        let at = buckets.iter().position(|(_, count)| *count >= wanted).unwrap();
        let (below, fewer) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
        let (bound, count) = buckets[at];
        below + (bound - below) * (wanted - fewer) / (count - fewer)
    }
}

/// A command's output; a failure shows what it printed.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
