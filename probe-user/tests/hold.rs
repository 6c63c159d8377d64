//! Local faults and outages end to end: the program itself, in a lab of its own. Needs root.
//!
//! | test | proves |
//! |---|---|
//! | `the_near_link_goes_down` | no target goes down, one event says why, and all are judged again afterwards |
//! | `the_near_interface_is_set_down` | the same where somebody on this machine does it, and takes routes along |
//! | `the_driver_takes_no_probe` | probes are unsent, no target goes down, one event says why, and sending goes on when it can |
//! | `the_gateway_goes_silently` | its link stays, its neighbour entry stays, probes are lost: no target goes down, one event says why |
//! | `the_far_end_falls_silent` | behind a gateway that is alive everybody goes down, on time, without a hold |
//! | `samples_say_where_their_stamps_were_taken` | by userspace with AF_XDP, in XDP with live frames; and ping says what they are worth |
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use xtask::{
    command::{is_root, send_signal, wait_until},
    lab::{Answer, FAR_ADDRESS, Lab, TARGETS as TARGETS_RANGE},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echolot");
const TARGETS: usize = 1_000;
const BOUND: Duration = Duration::from_secs(40);
/// Five probes a second to each, each lives 200 ms: down after 400 ms to 600 ms and the timeout.
const CONFIG: &str = "\
interface: near0
events: events.jsonl
global: {interval: 200ms, timeout: 200ms}
groups:
  - name: far
    targets: [10.64.0.0-10.64.3.231]
";

/// Those that this test is not root for.
fn skipped() -> bool {
    if !is_root() {
        println!("skipped: needs root");
    }
    !is_root()
}

fn lab(test: &str, answer: &Answer) -> Lab {
    Lab::up(&format!("hold-{test}-{}", std::process::id()), answer).unwrap()
}

fn sh(mut command: Command, words: &str) {
    let output = command.args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `echolot run` in a lab.
struct Running {
    child: Child,
    events: PathBuf,
    log: PathBuf,
}

impl Running {
    /// Returns once all targets are up.
    fn start(lab: &Lab) -> Self {
        Self::start_with(lab, CONFIG)
    }

    fn start_with(lab: &Lab, text: &str) -> Self {
        let folder = lab.name().folder();
        let (config, log) = (folder.join("hold.yml"), folder.join("run.log"));
        fs::write(&config, text).unwrap();
        let mut command = lab.near(PROGRAM);
        command.args(["run", "-c"]).arg(&config).stdin(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let running = Self { child: command.spawn().unwrap(), events: folder.join("events.jsonl"), log };
        running.until("all are up", |told| told.states().get("up") == Some(&TARGETS));
        running
    }

    fn told(&self) -> Told {
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        // The last line may be under way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        Told(whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    fn until(&self, what: &str, condition: impl Fn(&Told) -> bool) -> Told {
        let found = wait_until(BOUND, || Some(self.told()).filter(&condition));
        found.unwrap_or_else(|| {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            panic!("waited in vain: {what}: {:?} {:?}\n{log}", self.told().states(), self.told().faults())
        })
    }

    /// Ends it, and returns all that it told.
    fn stop(mut self) -> Told {
        // `ip netns exec` has become the program.
        send_signal("TERM", self.child.id());
        let ended = wait_until(BOUND, || self.child.try_wait().unwrap());
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
        self.told()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Events.
struct Told(Vec<Value>);

impl Told {
    /// How many targets are in which state, by what was told.
    fn states(&self) -> BTreeMap<&str, usize> {
        let mut last = BTreeMap::new();
        for event in self.0.iter().filter(|event| event["event"] == "state") {
            last.insert(event["address"].as_str(), event["to"].as_str().unwrap_or_default());
        }
        let mut states = BTreeMap::new();
        last.into_values().for_each(|state| *states.entry(state).or_default() += 1);
        states
    }

    fn went_down(&self) -> usize {
        self.0.iter().filter(|event| event["to"] == "down").count()
    }

    /// `hold link_down`, `release link_down`, …
    fn faults(&self) -> Vec<String> {
        let fault = |event: &&Value| event["reason"].is_string();
        let words = |event: &Value| {
            format!("{} {}", event["event"].as_str().unwrap_or_default(), event["reason"].as_str().unwrap_or_default())
        };
        self.0.iter().filter(fault).map(words).collect()
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_near_link_goes_down() {
    if skipped() {
        return;
    }
    let lab = lab("link", &Answer::Kernel);
    let running = Running::start(&lab);
    sh(lab.far("ip"), "link set far0 down");
    running.until("a hold", |told| told.faults() == ["hold link_down"]);
    // Longer than anybody needs to go down, several times over.
    std::thread::sleep(Duration::from_secs(3));
    sh(lab.far("ip"), "link set far0 up");
    running.until("a release", |told| told.faults() == ["hold link_down", "release link_down"]);
    // And they are judged again: the far end falls silent for good.
    sh(lab.far("sysctl"), "-q -w net.ipv4.icmp_echo_ignore_all=1");
    let before = running.told().went_down();
    running.until("everybody is down", |told| told.states().get("down") == Some(&TARGETS));
    assert_eq!(before, 0, "went down while the link was down");
    let told = running.stop();
    assert_eq!(told.faults(), ["hold link_down", "release link_down"]);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_near_interface_is_set_down() {
    if skipped() {
        return;
    }
    let lab = lab("admin", &Answer::Kernel);
    let running = Running::start(&lab);
    sh(lab.near("ip"), "link set near0 down");
    running.until("a hold", |told| told.faults() == ["hold link_down"]);
    // Longer than anybody needs to go down, several times over.
    std::thread::sleep(Duration::from_secs(3));
    sh(lab.near("ip"), "link set near0 up");
    // It went with the interface, and coming up doesn't bring it back: who set it up sets it up again.
    sh(lab.near("ip"), &format!("route add {TARGETS_RANGE} via {FAR_ADDRESS}"));
    running.until("a release", |told| told.faults() == ["hold link_down", "release link_down"]);
    // They are judged again: the far end falls silent for good.
    sh(lab.far("sysctl"), "-q -w net.ipv4.icmp_echo_ignore_all=1");
    let before = running.told().went_down();
    running.until("everybody is down", |told| told.states().get("down") == Some(&TARGETS));
    assert_eq!(before, 0, "went down while the interface was down");
    // And they are probed again: it answers.
    sh(lab.far("sysctl"), "-q -w net.ipv4.icmp_echo_ignore_all=0");
    running.until("everybody is up", |told| told.states().get("up") == Some(&TARGETS));
    assert_eq!(running.stop().faults(), ["hold link_down", "release link_down"]);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_driver_takes_no_probe() {
    if skipped() {
        return;
    }
    let mut lab = lab("sending", &Answer::Reflector(PROGRAM.into()));
    // A longer life, so that no probe is lost because a busy machine is late: this is about those that are not sent.
    let config = CONFIG.replace("timeout: 200ms", "timeout: 1s");
    let running = Running::start_with(&lab, &format!("engine: live-frames\n{config}"));
    // Without an XDP program at its other end a veth takes no redirected frames: every one is refused.
    lab.answer(&Answer::Silent).unwrap();
    let refused = Instant::now();
    running.until("a hold", |told| told.faults() == ["hold sending"]);
    println!("told after {:?}", refused.elapsed());
    // Longer than anybody needs to go down, several times over.
    std::thread::sleep(Duration::from_secs(3));
    lab.answer(&Answer::Reflector(PROGRAM.into())).unwrap();
    running.until("a release", |told| told.faults() == ["hold sending", "release sending"]);
    // Long enough for three bad probes.
    std::thread::sleep(Duration::from_secs(2));
    let told = running.stop();
    assert_eq!(told.went_down(), 0, "{:?}", told.0);
    assert_eq!(told.faults(), ["hold sending", "release sending"]);
    let hold = told.0.iter().find(|event| event["event"] == "hold").unwrap();
    assert_eq!(hold["detail"], "near0");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_gateway_goes_silently() {
    if skipped() {
        return;
    }
    let lab = lab("gateway", &Answer::Kernel);
    let running = Running::start(&lab);
    let gone = Instant::now();
    // Another MAC address that nobody is told of, and no answer to ARP: frames to the old one are nobody's.
    sh(lab.far("ip"), "link set far0 arp off address 02:00:00:00:00:99");
    running.until("a hold", |told| told.faults() == ["hold gateway"]);
    println!("the gateway's death was told after {:?}", gone.elapsed());
    // Until the kernel has given it up too, and probes are unsent.
    std::thread::sleep(Duration::from_secs(6));
    sh(lab.far("ip"), "link set far0 arp on");
    let back = Instant::now();
    running.until("a release", |told| told.faults() == ["hold gateway", "release gateway"]);
    println!("its return was told after {:?}", back.elapsed());
    std::thread::sleep(Duration::from_secs(2));
    let told = running.stop();
    assert_eq!(told.went_down(), 0, "{:?}", told.states());
    assert_eq!(told.faults(), ["hold gateway", "release gateway"]);
    let hold = told.0.iter().find(|event| event["event"] == "hold").unwrap();
    assert_eq!(hold["detail"], "10.63.0.2 on near0");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_far_end_falls_silent() {
    if skipped() {
        return;
    }
    let lab = lab("silent", &Answer::Kernel);
    let running = Running::start(&lab);
    sh(lab.far("sysctl"), "-q -w net.ipv4.icmp_echo_ignore_all=1");
    let silent = SystemTime::now();
    running.until("everybody is down", |told| told.states().get("down") == Some(&TARGETS));
    let told = running.stop();
    assert_eq!(told.went_down(), TARGETS);
    assert_eq!(told.faults(), Vec::<String>::new());
    let day = 86_400_000;
    let silent = u64::try_from(silent.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() % day;
    let took = |event| (of_day(event) + day - silent) % day;
    let took = told.0.iter().filter(|event| event["to"] == "down").map(took).max().unwrap();
    println!("{TARGETS} targets were down after {took} ms");
    // Three intervals and the timeout are 800 ms; the rest is for a busy machine.
    assert!(took < 3_000, "{took} ms");
}

/// Milliseconds since midnight, UTC, of an event's time.
fn of_day(event: &Value) -> u64 {
    let (_, time) = event["time"].as_str().unwrap().trim_end_matches('Z').split_once('T').unwrap();
    let (clock, fraction) = time.split_once('.').unwrap();
    let seconds = clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap());
    seconds * 1_000 + fraction[..3].parse::<u64>().unwrap()
}

#[test]
#[ignore = "needs root: make test runs it"]
fn samples_say_where_their_stamps_were_taken() {
    if skipped() {
        return;
    }
    let lab = lab("stamps", &Answer::Reflector(PROGRAM.into()));
    for (engine, stamp) in [("afxdp", "user"), ("live-frames", "xdp")] {
        let mut ping = lab.near(PROGRAM);
        ping.args(["ping", "-c", "5", "-i", "10ms", "-f", "jsonl", "--engine", engine, "10.64.0.1", "10.64.0.2"]);
        let output = ping.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{engine}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        let samples: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(samples.len(), 10);
        for sample in samples {
            assert_eq!((&sample["tx_stamp"], &sample["rx_stamp"]), (&stamp.into(), &"xdp".into()), "{engine}");
        }
        let mut ping = lab.near(PROGRAM);
        let output =
            ping.args(["ping", "-q", "-c", "50", "-i", "10ms", "--engine", engine, "10.64.0.1"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let accuracy = told.lines().find(|line| line.starts_with("accuracy: "));
        println!("{engine}: {}", accuracy.unwrap());
    }
}
