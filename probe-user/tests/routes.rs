//! Routes, addresses and MAC addresses that change under a running echolot: the program itself, in a lab of its own. Needs root.
//!
//! ```text
//!   near                          far
//!   near0 10.63.0.1 ─── veth ───  far0 10.63.0.2     the first gateway
//!                                  └ gw2 10.63.0.3   the second, a macvlan: a MAC address of its own
//! ```
//!
//! Both answer for 10.64.0.0/12. A gateway that is *deaf* goes on answering ARP, and answers for nobody behind it.
//!
//! | test | proves |
//! |---|---|
//! | `a_hundred_thousand_move_to_another_gateway` | `ip route replace` away from a deaf gateway: nobody goes down, one event, only the gap is not answered |
//! | `a_hundred_thousand_move_to_another_address` | the address and its routes go, others come: the same |
//! | `a_nexthop_object_is_replaced` | no route changes, only what it names |
//! | `a_rule_is_added` | neither, only which table is asked |
//! | `the_link_gets_another_mac_address` | probes leave from it |
//! | `a_source_goes_and_comes_back` | a configured source: probes are unsent for that cause, and go on by themselves |
//! | `the_second_of_two_sources_moves_alone` | sources in turn: its gateway changes, it goes and comes back; the other's probes are answered throughout |
//! | `routes_with_several_next_hops` | every target goes by the one that the kernel names for it; what goes elsewhere is named |
//! | `ipv6_gateways_fail_and_their_routes_end` | the kernel leaves a gateway, or a route, and says nothing: probes go where it sends them |
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use xtask::{
    command::{is_root, send_signal, wait_until},
    lab::{Answer, Lab, TARGETS, TARGETS_V6},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echolot");
const BOUND: Duration = Duration::from_secs(60);

const THOUSAND: (usize, &str) = (
    1_000,
    "\
global: {interval: 200ms, timeout: 200ms}
groups:
  - name: far
    targets: [10.64.0.0-10.64.3.231]
",
);
const THOUSAND_V6: (usize, &str) = (
    1_024,
    "\
global: {interval: 200ms, timeout: 200ms}
groups:
  - name: far
    targets: ['fd00:64::/118']
",
);
/// 25,000 probes a second.
const HUNDRED_THOUSAND: (usize, &str) = (
    100_000,
    "\
global: {interval: 4s, timeout: 1s}
groups:
  - name: far
    targets: [10.64.0.0-10.65.134.159]
",
);

fn skipped() -> bool {
    if !is_root() {
        println!("skipped: needs root");
    }
    !is_root()
}

fn sh(mut command: Command, words: &str) -> String {
    let output = command.args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A lab with two gateways.
fn lab(test: &str) -> Lab {
    let lab = Lab::up(&format!("routes-{test}-{}", std::process::id()), &Answer::Kernel).unwrap();
    for setting in ["arp_ignore=1", "arp_announce=2"] {
        sh(lab.far("sysctl"), &format!("-q -w net.ipv4.conf.all.{setting}"));
    }
    let far = |words: &str| sh(lab.far("ip"), words);
    far("link add gw2 link far0 type macvlan mode bridge");
    far("link set gw2 up");
    far("address add 10.63.0.3/24 dev gw2");
    // So that a rule can come before what is local.
    far("rule add pref 100 lookup local");
    far("rule delete pref 0 lookup local");
    lab
}

/// The gateway of this interface goes on answering ARP, and answers for nobody behind it any more.
fn deafen(lab: &Lab, interface: &str) {
    sh(lab.far("ip"), &format!("rule add pref 10 iif {interface} to {TARGETS} blackhole"));
}

struct Running {
    child: Child,
    folder: PathBuf,
    targets: usize,
}

impl Running {
    /// Returns once all targets are up.
    fn start(lab: &Lab, (targets, text): (usize, &str)) -> Self {
        let folder = lab.name().folder();
        let config = folder.join("routes.yml");
        fs::write(&config, format!("interface: near0\nevents: events.jsonl\n{text}")).unwrap();
        let mut command = lab.near(PROGRAM);
        command.args(["run", "-c"]).arg(&config).arg("--summary").arg(folder.join("summary.json"));
        command.stdin(Stdio::null()).stderr(fs::File::create(folder.join("run.log")).unwrap());
        let running = Self { child: command.spawn().unwrap(), folder, targets };
        running.until("all are up", |told| told.up == targets);
        running
    }

    fn told(&self) -> Told {
        let text = fs::read_to_string(self.folder.join("events.jsonl")).unwrap_or_default();
        // The last line may be under way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let (states, others): (Vec<_>, Vec<_>) = whole.lines().partition(|line| line.contains("\"event\":\"state\""));
        let to = |state: &str| states.iter().filter(|line| line.contains(&format!("\"to\":\"{state}\""))).count();
        Told {
            up: to("up"),
            down: to("down"),
            others: others.into_iter().map(|line| serde_json::from_str(line).unwrap()).collect(),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("run.log")).unwrap_or_default()
    }

    fn until(&self, what: &str, condition: impl Fn(&Told) -> bool) -> Told {
        let found = wait_until(BOUND, || {
            // Reading a hundred thousand lines is work: what is watched needs the machine too.
            std::thread::sleep(Duration::from_millis(50));
            Some(self.told()).filter(&condition)
        });
        found.unwrap_or_else(|| {
            let told = self.told();
            panic!("waited in vain: {what}: {} up, {:?}\n{}", told.up, told.others, self.log())
        })
    }

    /// The change from one way to another, once it has been told.
    fn until_moved(&self, gateway: &str, source: &str) -> Value {
        let is = |event: &Value| {
            event["event"] == "route_changed" && event["to"]["gateway"] == gateway && event["to"]["source"] == source
        };
        let told = self.until("a change of routes", |told| told.others.iter().any(is));
        told.others.into_iter().find(is).unwrap()
    }

    /// By the time that everybody would be down, if anybody were; then ends it, and returns all that it told and its summary.
    fn stop(mut self, after: Duration) -> (Told, Value) {
        std::thread::sleep(after);
        // `ip netns exec` has become the program.
        send_signal("TERM", self.child.id());
        let ended = wait_until(BOUND, || self.child.try_wait().unwrap());
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{}", self.log());
        let summary = fs::read_to_string(self.folder.join("summary.json")).unwrap();
        let told = self.told();
        println!("{:?}\n{}", told.others, self.log());
        assert_eq!(told.down, 0, "nobody goes down");
        (told, serde_json::from_str(&summary).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was told.
struct Told {
    /// Changes of state, by their numbers: there are many.
    up: usize,
    down: usize,
    /// All other events.
    others: Vec<Value>,
}

impl Told {
    fn moves(&self) -> usize {
        self.others.iter().filter(|event| event["event"] == "route_changed").count()
    }
}

fn number(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap()
}

/// Only probes of so many seconds at so many a second, and of their timeout, may have no answer.
fn only_the_gap(summary: &Value, rate: u64, seconds: u64) {
    let answered = number(summary, "answered");
    let others = number(summary, "probes") - answered;
    assert!(others <= rate * seconds, "{others} of the probes have no answer, {answered} have");
    assert_eq!(number(summary, "unreachable"), 0);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_hundred_thousand_move_to_another_gateway() {
    if skipped() {
        return;
    }
    let lab = lab("gateway");
    let running = Running::start(&lab, HUNDRED_THOUSAND);
    deafen(&lab, "far0");
    sh(lab.near("ip"), &format!("route replace {TARGETS} via 10.63.0.3"));
    let moved = running.until_moved("10.63.0.3", "10.63.0.1");
    assert_eq!((&moved["targets"], &moved["others"]), (&running.targets.into(), &0.into()));
    assert_eq!(moved["from"]["gateway"], "10.63.0.2");
    // Three probes to each, all lost, and down, without the change.
    let (told, summary) = running.stop(Duration::from_secs(20));
    assert_eq!(told.moves(), 1, "{:?}", told.others);
    only_the_gap(&summary, 25_000, 3);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_hundred_thousand_move_to_another_address() {
    if skipped() {
        return;
    }
    let lab = lab("address");
    let running = Running::start(&lab, HUNDRED_THOUSAND);
    // The last address of a subnet: the kernel takes the routes by it along, and says nothing of them.
    sh(lab.near("ip"), "address delete 10.63.0.1/24 dev near0");
    sh(lab.near("ip"), "address add 10.63.0.9/24 dev near0");
    sh(lab.near("ip"), &format!("route add {TARGETS} via 10.63.0.2"));
    running.until_moved("10.63.0.2", "10.63.0.9");
    let (_, summary) = running.stop(Duration::from_secs(20));
    only_the_gap(&summary, 25_000, 3);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_nexthop_object_is_replaced() {
    if skipped() {
        return;
    }
    let lab = lab("object");
    sh(lab.near("ip"), "nexthop add id 7 via 10.63.0.2 dev near0");
    sh(lab.near("ip"), &format!("route replace {TARGETS} nhid 7"));
    let running = Running::start(&lab, THOUSAND);
    deafen(&lab, "far0");
    sh(lab.near("ip"), "nexthop replace id 7 via 10.63.0.3 dev near0");
    running.until_moved("10.63.0.3", "10.63.0.1");
    let (told, summary) = running.stop(Duration::from_secs(4));
    assert_eq!(told.moves(), 1, "{:?}", told.others);
    only_the_gap(&summary, 5_000, 3);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_rule_is_added() {
    if skipped() {
        return;
    }
    let lab = lab("rule");
    sh(lab.near("ip"), "route add default via 10.63.0.3 table 77");
    let running = Running::start(&lab, THOUSAND);
    deafen(&lab, "far0");
    sh(lab.near("ip"), "rule add to 10.64.0.0/23 lookup 77");
    let moved = running.until_moved("10.63.0.3", "10.63.0.1");
    assert_eq!(moved["targets"], 512);
    sh(lab.near("ip"), "rule add to 10.64.2.0/23 lookup 77");
    running.until("the others", |told| told.moves() == 2);
    let (_, summary) = running.stop(Duration::from_secs(4));
    only_the_gap(&summary, 5_000, 6);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn ipv6_gateways_fail_and_their_routes_end() {
    if skipped() {
        return;
    }
    let lab = lab("ipv6");
    sh(lab.far("ip"), "address add fd00:63::3/64 dev gw2 nodad");
    // The kernel asks neighbours from a link-local address, which the lab gives no interface.
    sh(lab.near("ip"), "address replace fe80::63:1/64 dev near0 nodad");
    sh(lab.near("ip"), &format!("route add {TARGETS_V6} via fd00:63::3 metric 5000"));
    // A hurried kernel: what is not confirmed within a second or so is asked again.
    for setting in ["base_reachable_time_ms=1000", "delay_first_probe_time=1"] {
        sh(lab.near("sysctl"), &format!("-q -w net.ipv6.neigh.near0.{setting}"));
    }
    let running = Running::start(&lab, THOUSAND_V6);
    let mut moves = 0;
    let mut until_moved = |gateway: &str| {
        moves += 1;
        let told = running.until(gateway, |told| told.moves() >= moves);
        let change = told.others.into_iter().filter(|event| event["event"] == "route_changed").nth(moves - 1).unwrap();
        let expected = (&gateway.into(), &"fd00:63::1".into(), &1_024.into());
        assert_eq!((&change["to"]["gateway"], &change["to"]["source"], &change["targets"]), expected, "{change}");
    };
    // It goes on forwarding what it gets, but answers its neighbours no more; then it does again, and somebody talks to it.
    sh(lab.far("ip"), "address delete fd00:63::2/64 dev far0");
    until_moved("fd00:63::3");
    sh(lab.far("ip"), "address add fd00:63::2/64 dev far0 nodad");
    sh(lab.near("ping"), "-6 -c 1 -w 30 fd00:63::2");
    until_moved("fd00:63::2");
    // A route for three seconds. The kernel may be half a minute late in removing it.
    let begun = Instant::now();
    sh(lab.near("ip"), "route add fd00:64::/110 via fd00:63::3 expires 3");
    until_moved("fd00:63::3");
    until_moved("fd00:63::2");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let (told, summary) = running.stop(Duration::from_secs(2));
    assert_eq!(told.moves(), 4, "{:?}", told.others);
    only_the_gap(&summary, 5_120, 3);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_link_gets_another_mac_address() {
    if skipped() {
        return;
    }
    let lab = lab("mac");
    let running = Running::start(&lab, THOUSAND);
    let mac = "02:00:00:00:63:09";
    sh(lab.near("ip"), &format!("link set near0 address {mac}"));
    running.until("word of it", |told| {
        told.others.iter().any(|event| event["event"] == "mac_changed" && event["mac"] == mac)
    });
    // All of them from now on.
    let mut capture = lab.far("timeout");
    let heard = sh_vec(&mut capture, &["20", "tcpdump", "-c", "1000", "-nei", "far0", "icmp[icmptype] == icmp-echo"]);
    let (new, all) = (heard.lines().filter(|line| line.contains(mac)).count(), heard.lines().count());
    assert_eq!((new, all), (1_000, 1_000), "{}", heard.lines().next().unwrap_or_default());
    running.stop(Duration::from_secs(3));
}

fn sh_vec(command: &mut Command, words: &[&str]) -> String {
    let output = command.args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_source_goes_and_comes_back() {
    if skipped() {
        return;
    }
    let lab = lab("source");
    sh(lab.near("ip"), "address add 10.63.0.9/32 dev near0");
    let running = Running::start(&lab, (THOUSAND.0, &format!("source: 10.63.0.9\n{}", THOUSAND.1)));
    sh(lab.near("ip"), "address delete 10.63.0.9/32 dev near0");
    let gone = running.until("word of it", |told| told.moves() == 1);
    let gone = gone.others.last().unwrap().clone();
    assert!(gone["to"].is_null() && gone["from"]["source"] == "10.63.0.9", "{gone}");
    assert!(running.log().contains("source 10.63.0.9 is no longer an address of this host"), "{}", running.log());
    std::thread::sleep(Duration::from_secs(2));
    sh(lab.near("ip"), "address add 10.63.0.9/32 dev near0");
    running.until_moved("10.63.0.2", "10.63.0.9");
    let (_, summary) = running.stop(Duration::from_secs(3));
    // Two seconds at 5,000 a second, of which a busy machine may skip most.
    let [unsent, skipped] = ["unsent", "skipped"].map(|name| number(&summary, name));
    assert!(unsent > 0 && unsent + skipped > 2_000, "{summary}");
}

/// Every other probe leaves from a second address, by a gateway of its own: what becomes of that way is told, and costs no other's probes.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_second_of_two_sources_moves_alone() {
    if skipped() {
        return;
    }
    let lab = lab("uplinks");
    sh(lab.near("ip"), "address add 10.63.0.9/32 dev near0");
    sh(lab.near("ip"), "route add default via 10.63.0.3 table 77");
    sh(lab.near("ip"), "rule add from 10.63.0.9 lookup 77");
    let running = Running::start(&lab, (THOUSAND.0, &format!("source: [10.63.0.1, 10.63.0.9]\n{}", THOUSAND.1)));
    let way = |gateway: &str| serde_json::json!({"gateway": gateway, "source": "10.63.0.9"});
    let told = |moves: usize| {
        let told = running.until("word of it", |told| told.moves() == moves);
        let change = told.others.into_iter().filter(|event| event["event"] == "route_changed").nth(moves - 1).unwrap();
        assert_eq!((&change["targets"], &change["others"]), (&1_000.into(), &0.into()), "{change}");
        (change["from"].clone(), change["to"].clone())
    };
    deafen(&lab, "gw2");
    sh(lab.near("ip"), "rule delete from 10.63.0.9 lookup 77");
    assert_eq!(told(1), (way("10.63.0.3"), way("10.63.0.2")));
    sh(lab.near("ip"), "address delete 10.63.0.9/32 dev near0");
    assert_eq!(told(2), (way("10.63.0.2"), Value::Null));
    std::thread::sleep(Duration::from_secs(2));
    sh(lab.near("ip"), "address add 10.63.0.9/32 dev near0");
    assert_eq!(told(3), (Value::Null, way("10.63.0.2")));
    let (_, summary) = running.stop(Duration::from_secs(2));
    let [answered, unsent, lost, skipped] =
        ["answered", "unsent", "lost", "skipped"].map(|name| number(&summary, name));
    // Half of 5,000 a second for two seconds, of which a busy machine may skip most; and as many were answered meanwhile.
    assert!(unsent > 0 && unsent + skipped > 1_000 && answered > unsent, "{summary}");
    assert!(lost <= 5_000 * 3, "{summary}");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn routes_with_several_next_hops() {
    if skipped() {
        return;
    }
    let lab = lab("several");
    sh(lab.near("ip"), &format!("route replace {TARGETS} nexthop via 10.63.0.2 nexthop via 10.63.0.3"));
    deafen(&lab, "far0");
    let targets: Vec<String> = (0..64).map(|n| format!("10.64.7.{n}")).collect();
    let by_kernel = |gateway: &str| -> BTreeSet<String> {
        let by = |target: &&String| sh(lab.near("ip"), &format!("route get {target} ipproto icmp")).contains(gateway);
        targets.iter().filter(by).cloned().collect()
    };
    let by_second = by_kernel("via 10.63.0.3");
    assert!((1..64).contains(&by_second.len()), "both are in use: {by_second:?}");
    let sweep = |more: &[&str]| {
        let mut command = lab.near(PROGRAM);
        command.args(["sweep", "-f", "list", "-W", "2s", "10.64.7.0-10.64.7.63"]).args(more);
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<BTreeSet<_>>(), errors)
    };
    let (answered, errors) = sweep(&[]);
    assert_eq!(answered, by_second, "{errors}");
    // One of them by another interface: what goes there is named, the rest is probed.
    sh(lab.near("ip"), "link add other0 type veth peer name other1");
    sh(lab.near("ip"), "link set other0 up");
    sh(lab.near("ip"), "link set other1 up");
    sh(lab.near("ip"), "address add 10.62.0.1/24 dev other0");
    sh(
        lab.near("ip"),
        &format!("route replace {TARGETS} nexthop via 10.63.0.3 dev near0 nexthop via 10.62.0.2 dev other0"),
    );
    let by_near = by_kernel("dev near0");
    let (answered, errors) = sweep(&["-I", "near0"]);
    assert_eq!(answered, by_near, "{errors}");
    assert!(errors.contains("it routes through other0"), "{errors}");
    assert!(errors.contains(&format!("{} targets have no route", 64 - by_near.len())), "{errors}");
}
