//! A large flat network: 65,536 targets on the link itself, of which the far kernel is some; and 8,192 of IPv6.
//!
//! ```text
//!   near0 10.63.0.1, 10.96.0.1/14 ───── far0 10.63.0.2, 10.96.0.2/14, and all of 10.97.64.0/20
//!         fd00:97::1:1/64                    fd00:97::1:2/64, and all of fd00:97::800/117
//! ```

use super::place::{LONG, Place, Running, sum_of};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};
use xtask::{
    command::{send_signal, wait_until},
    lab::{Answer, FAR_ADDRESS},
};

const TARGETS: &str = "10.97.0.0/16";
const ALL: u64 = 65_536;
const THERE: &str = "10.97.64.0/20";
const HOW_MANY_THERE: u64 = 4_096;
const TARGETS_V6: &str = "fd00:97::/115";
const ALL_V6: u64 = 8_192;
/// The first of those that are there, and how many they are.
const THERE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x97, 0, 0, 0, 0, 0, 0x800);
const HOW_MANY_THERE_V6: u16 = 2_048;
/// An eighth of gc_thresh3, which is 1,024 in a new namespace: none of it is needed here, where there is no gateway.
const SHARE: usize = 128;
/// What takes less than a second on a machine that has nothing else to do, with an unoptimized program on one that is full.
const START: Duration = Duration::from_secs(20);
/// What ends within a second on a machine that has nothing else to do. Others build and test beside this.
const SOON: Duration = Duration::from_secs(4);

fn run(mut command: Command, words: &str) {
    let output = command.args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

fn flat(what: &str) -> Option<Place> {
    let place = Place::new(what, &Answer::Kernel)?;
    run(place.lab.near("ip"), "addr add 10.96.0.1/14 dev near0");
    run(place.lab.far("ip"), "addr add 10.96.0.2/14 dev far0");
    run(place.lab.far("ip"), &format!("route add local {THERE} dev lo"));
    Some(place)
}

/// The same of IPv6. A kernel answers neighbours for addresses that it has, one by one, and not for whole routes.
fn flat_v6(what: &str) -> Option<Place> {
    let place = Place::new(what, &Answer::Kernel)?;
    run(place.lab.near("ip"), "addr add fd00:97::1:1/64 dev near0 nodad");
    let there = (0..HOW_MANY_THERE_V6).map(|n| Ipv6Addr::from_bits(THERE_V6.to_bits() + u128::from(n)));
    let all: String = there.map(|address| format!("addr add {address}/128 dev far0 nodad\n")).collect();
    let batch = place.file("addresses", &all);
    run(place.lab.far("ip"), &format!("-batch {}", batch.display()));
    run(place.lab.far("ip"), "addr add fd00:97::1:2/64 dev far0 nodad");
    Some(place)
}

/// How many of the targets the near host's neighbour table holds now.
fn entries(place: &Place) -> usize {
    let output = place.lab.near("ip").args(["neigh", "show", "dev", "near0"]).output().unwrap();
    let ours = |line: &&str| ["10.97.", "fd00:97::"].iter().any(|begin| line.starts_with(begin));
    String::from_utf8(output.stdout).unwrap().lines().filter(ours).count()
}

/// The clock of send stamps.
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

/// Waits for the end, and for the most entries meanwhile.
fn end_and_most(place: &Place, mut running: Running) -> (super::place::Ended, usize) {
    let mut most = 0;
    let ended = wait_until(LONG, || {
        most = most.max(entries(place));
        running.child.try_wait().unwrap()
    });
    assert!(ended.is_some(), "no end: {}", running.stderr());
    (running.end(), most)
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_sweep_begins_at_once_and_finds_all_that_exist() {
    let Some(place) = flat("flat") else { return };
    let summary = place.folder.join("summary.json");
    let arguments = ["sweep", "--rate", "20000", "-f", "jsonl", "--summary", summary.to_str().unwrap(), TARGETS];
    // 50 MiB at 40 Mbit/s take 10 s: the transfer is under way before and after.
    let server = place
        .lab
        .far("iperf3")
        .args(["-s", "-1", "-B", &FAR_ADDRESS.to_string()])
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut server = server.unwrap();
    let client = wait_until(LONG, || {
        let listening = place.lab.far("ss").args(["-Hltn", "sport", "=", ":5201"]).output().unwrap();
        (!listening.stdout.is_empty()).then(|| {
            let mut client = place.lab.near("iperf3");
            client.args(["-c", &FAR_ADDRESS.to_string(), "-n", "50M", "-b", "40M", "-J"]);
            client.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
    });
    let client = client.unwrap();

    let begun = now();
    let running = place.start(&mut place.echolot(arguments));
    // A connection to a neighbour that nobody has asked for yet, while thousands are asked for.
    let far = place.far(|| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7_777))).unwrap());
    let connected = place.inside(|| {
        let address = SocketAddr::from((Ipv4Addr::new(10, 97, 79, 254), 7_777));
        TcpStream::connect_timeout(&address, LONG).map(|_| ())
    });
    let (ended, most) = end_and_most(&place, running);
    connected.unwrap();
    drop(far);

    let records: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = |outcome: &str| {
        let of = records.iter().filter(|record| record["outcome"] == outcome);
        of.filter_map(|record| record["sent_ns"].as_u64()).min().map(Duration::from_nanos).unwrap()
    };
    // Dead hosts are given up after three seconds: nobody waited for them. How long the start took before is the machine's affair.
    println!("the first probe left {:?} after the start", first("answered") - begun);
    assert!(first("answered") < first("unreachable"));
    assert!(first("answered") - begun < START);
    let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&summary).unwrap()).unwrap();
    println!("{told}");
    assert_eq!(told["probes"], ALL, "{told}");
    assert_eq!((&told["unsent"], &told["unheard"], &told["in_flight"]), (&0.into(), &0.into(), &0.into()), "{told}");
    assert_eq!(told["answered"], HOW_MANY_THERE, "{told}");
    assert_eq!(told["unreachable"], ALL - HOW_MANY_THERE, "{told}");
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    println!("at most {most} entries in the kernel's table");
    // Those who asked for our address are the kernel's own, and the one connection is.
    assert!(most <= SHARE, "{most} entries in the kernel's table");

    let transfer = client.wait_with_output().unwrap();
    let transfer: serde_json::Value = serde_json::from_slice(&transfer.stdout).unwrap();
    let _ = server.wait();
    assert!(transfer["end"]["sum_sent"]["bytes"].as_u64().is_some_and(|bytes| bytes >= 50 << 20), "{transfer}");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_signal_ends_it_at_any_moment() {
    let Some(place) = flat("flat-signal") else { return };
    // From before the first system call to the middle of the sweep, and in it the dead, who are asked, and the living.
    for millis in [1, 20, 60, 150, 300, 700, 1_500, 3_500] {
        let mut running = place.start(&mut place.echolot(["sweep", "--rate", "5000", TARGETS]));
        std::thread::sleep(Duration::from_millis(millis));
        assert!(running.child.try_wait().unwrap().is_none(), "{}", running.stderr());
        let asked = Instant::now();
        send_signal("INT", running.child.id());
        let ended = wait_until(LONG, || running.child.try_wait().unwrap());
        let took = asked.elapsed();
        println!("a signal after {millis} ms: {ended:?} after {took:?}");
        assert!(ended.is_some() && took < SOON, "a signal after {millis} ms: {ended:?} after {took:?}");
        // By the signal itself, before anybody heeds it; as an incomplete sweep after that.
        assert!(matches!(ended.and_then(|status| status.code()), None | Some(3)), "{ended:?}: {}", running.stderr());
        assert_eq!(place.attached(), None, "after {millis} ms");
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_monitor_finds_who_is_there_and_who_is_not() {
    let Some(place) = flat("flat-run") else { return };
    let config = place.config("10.97.60.0-10.97.67.255", "    timeout: 900ms\n");
    let running = place.run(&config, &[]);
    let text = told_apart(&place, &running, 1_024.0);
    let settled = |outcome: &str| sum_of(&text, &format!("echolot_probes_settled_total{{outcome=\"{outcome}\""));
    println!(
        "{} answered, {} unreachable, {} lost, {} unsent",
        settled("answered"),
        settled("unreachable"),
        settled("lost"),
        settled("unsent")
    );
    // Whoever exists is never called unreachable, not even while it is asked for the first time.
    assert!(settled("unreachable") >= 1_024.0 * 3.0);
    let one = r#"echolot_targets{group="ops",state="unknown"}"#;
    assert!(text.lines().any(|line| line.starts_with(one) && line.ends_with(" 0")), "{text}");
    run(place.lab.far("ip"), "route add local 10.97.60.7 dev lo");
    who_comes_is_found(&place, running, 1_025.0);
}

/// Waits until a monitor says of so many that they are up, and of as many that they are down, with the kernel's table left alone all
/// the while. What the metrics say then.
fn told_apart(place: &Place, running: &Running, each: f64) -> String {
    let mut most = 0;
    let states = wait_until(LONG, || {
        most = most.max(entries(place));
        let (_, text) = place.get("/metrics")?;
        let of = |state: &str| sum_of(&text, &format!("echolot_targets{{state=\"{state}\""));
        (of("up") == each && of("down") == each).then_some(text)
    });
    assert!(most <= SHARE, "{most} entries in the kernel's table");
    states.unwrap_or_else(|| panic!("not all are told apart: {}", running.stderr()))
}

/// One has come: it is found, though it has long been given up.
fn who_comes_is_found(place: &Place, running: Running, up: f64) {
    let found = wait_until(LONG, || (place.metric("echolot_targets{state=\"up\"") == up).then_some(()));
    assert!(found.is_some(), "who came is not found");
    assert_eq!(running.stop().status.code(), Some(0));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_sweep_over_ipv6_finds_all_that_exist() {
    let Some(place) = flat_v6("flat-v6") else { return };
    let summary = place.folder.join("summary.json");
    let arguments = ["sweep", "--rate", "5000", "-f", "jsonl", "--summary", summary.to_str().unwrap(), TARGETS_V6];
    let running = place.start(&mut place.echolot(arguments));
    // A connection to a neighbour that nobody has asked for yet, while thousands are asked for.
    let far = place.far(|| TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 7_777))).unwrap());
    let connected = place.inside(|| {
        let last = Ipv6Addr::from_bits(THERE_V6.to_bits() + u128::from(HOW_MANY_THERE_V6 - 1));
        TcpStream::connect_timeout(&SocketAddr::from((last, 7_777)), LONG).map(|_| ())
    });
    let (ended, most) = end_and_most(&place, running);
    connected.unwrap();
    drop(far);
    let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&summary).unwrap()).unwrap();
    println!("{told}");
    let there = u64::from(HOW_MANY_THERE_V6);
    assert_eq!(told["probes"], ALL_V6, "{told}");
    assert_eq!((&told["answered"], &told["unreachable"]), (&there.into(), &(ALL_V6 - there).into()), "{told}");
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    // Each of them is who it says: of those that are there, all and no others.
    let of_there = |record: &serde_json::Value| {
        let address: Ipv6Addr = record["address"].as_str().unwrap().parse().unwrap();
        (THERE_V6.to_bits()..THERE_V6.to_bits() + u128::from(there)).contains(&address.to_bits())
    };
    for record in ended.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        match record["outcome"].as_str().unwrap() {
            "answered" => assert!(of_there(&record), "{record}"),
            "unreachable" => assert!(!of_there(&record) && record["reason"] == "neighbour", "{record}"),
            _ => panic!("{record}"),
        }
    }
    println!("at most {most} entries in the kernel's table");
    assert!(most <= SHARE, "{most} entries in the kernel's table");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_monitor_finds_who_is_there_and_who_is_not_over_ipv6() {
    let Some(place) = flat_v6("flat-v6-run") else { return };
    let config = place.config("\"fd00:97::700-fd00:97::8ff\"", "    timeout: 900ms\n");
    let running = place.run(&config, &[]);
    told_apart(&place, &running, 256.0);
    run(place.lab.far("ip"), "addr add fd00:97::742/128 dev far0 nodad");
    who_comes_is_found(&place, running, 257.0);
}
