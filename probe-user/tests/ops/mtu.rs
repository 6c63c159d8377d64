//! The path MTU: behind a link that is narrower and says so, and behind one that drops what is too long without a word.

use super::place::Place;
use std::process::Command;
use xtask::lab::{Answer, End, FAR_ADDRESS, FAR_ADDRESS_V6};

/// A host behind the far end, which forwards to it; gone when this is dropped.
struct Behind {
    namespace: String,
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Behind {
    /// By a link whose ends have these MTUs: the router's, the host's.
    fn new(place: &Place, (router, host): (u32, u32)) -> Self {
        let (near, far) = (place.lab.name().namespace(End::Near), place.lab.name().namespace(End::Far));
        let behind = Self { namespace: format!("{far}-behind") };
        let namespace = &behind.namespace;
        run(&format!("ip netns add {namespace}"));
        for line in [
            format!("ip -n {far} link add behind0 mtu {router} type veth peer name eth0 mtu {host} netns {namespace}"),
            format!("ip -n {far} address add 10.97.0.1/24 dev behind0"),
            format!("ip -n {far} address add fd00:97::1/64 dev behind0 nodad"),
            format!("ip -n {far} link set behind0 up"),
            format!("ip -n {namespace} address add 10.97.0.2/24 dev eth0"),
            format!("ip -n {namespace} address add fd00:97::2/64 dev eth0 nodad"),
            format!("ip -n {namespace} link set eth0 up"),
            format!("ip -n {namespace} route add default via 10.97.0.1"),
            format!("ip -n {namespace} -6 route add default via fd00:97::1"),
            format!("ip -n {near} route add 10.97.0.0/24 via {FAR_ADDRESS}"),
            format!("ip -n {near} -6 route add fd00:97::/64 via {FAR_ADDRESS_V6}"),
            format!("ip netns exec {far} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"),
        ] {
            run(&line);
        }
        behind
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

fn found(place: &Place, line: &str) -> (Option<i32>, Vec<serde_json::Value>) {
    let ended = place.ended(&mut place.echolot(line.split(' ')));
    let records = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(ended.stderr.matches("ERROR").count(), 0, "{ended:?}");
    (ended.status.code(), records)
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_router_that_says_so_is_named_and_a_whole_path_ends_at_this_host() {
    let Some(place) = Place::new("mtu", &Answer::Kernel) else { return };
    let _behind = Behind::new(&place, (1_381, 1_381));
    let (status, records) = found(&place, "ping --mtu -W 300ms -f jsonl 10.97.0.2 fd00:97::2 10.64.0.1 fd00:64::1");
    let expected = [
        serde_json::json!({"target": "10.64.0.1", "address": "10.64.0.1", "mtu": 1500, "limit": "interface"}),
        serde_json::json!({"target": "10.97.0.2", "address": "10.97.0.2", "mtu": 1381, "limit": "fragmentation_needed",
            "from": FAR_ADDRESS.to_string()}),
        serde_json::json!({"target": "fd00:64::1", "address": "fd00:64::1", "mtu": 1500, "limit": "interface"}),
        serde_json::json!({"target": "fd00:97::2", "address": "fd00:97::2", "mtu": 1381, "limit": "packet_too_big",
            "from": FAR_ADDRESS_V6.to_string()}),
    ];
    assert_eq!((status, &records[..]), (Some(0), &expected[..]));

    let ended = place.ended(&mut place.echolot("ping --mtu -W 300ms 10.97.0.2 10.97.0.3".split(' ')));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let lines: Vec<_> = ended.stdout.lines().collect();
    let told = format!("10.97.0.2: MTU 1381, fragmentation_needed says {FAR_ADDRESS}");
    assert_eq!(lines, [&told[..], "10.97.0.3: no reply, not even to 68 bytes"], "{ended:?}");

    // This host sends no more than its interface takes.
    run(&format!("ip -n {} link set near0 mtu 1300", place.lab.name().namespace(End::Near)));
    let ended = place.ended(&mut place.echolot("ping --mtu -W 300ms 10.64.0.1".split(' ')));
    assert_eq!(ended.stdout, "10.64.0.1: MTU 1300, no less than what this host sends\n", "{ended:?}");
}

/// The host's end takes less than the router's, which therefore knows of nothing.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_link_that_drops_in_silence_is_found_by_silence() {
    let Some(place) = Place::new("hole", &Answer::Kernel) else { return };
    let _behind = Behind::new(&place, (1_500, 1_310));
    let (status, records) = found(&place, "ping --mtu -W 300ms -f jsonl 10.97.0.2 fd00:97::2");
    assert_eq!((status, records.len()), (Some(0), 2), "{records:?}");
    for record in records {
        // A few bytes more get there, and their answers come back in two pieces.
        assert_eq!((record["mtu"].as_u64(), record["limit"].as_str()), (Some(1_310), Some("silence")), "{record}");
    }
}

/// What a command of the near end says, however it ends.
fn said(place: &Place, line: &str) -> String {
    let (program, arguments) = line.split_once(' ').unwrap();
    let ended = place.lab.near(program).args(arguments.split(' ')).output().unwrap();
    String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned()
}

/// Whether `ping` has an answer to a datagram of so many bytes that nobody may fragment.
fn passes(place: &Place, target: &str, bytes: u64) -> bool {
    let headers = if target.contains(':') { 48 } else { 28 };
    let told = said(place, &format!("ping -n -c 1 -W 2 -M do -s {} {target}", bytes - headers));
    assert!(told.contains("1 packets transmitted"), "{told}");
    told.contains(" 1 received")
}

/// As `ping` finds it, which is told to fragment nothing, and `tracepath`.
#[test]
#[ignore = "needs root: make test runs it"]
fn others_find_the_same_mtu() {
    let Some(place) = Place::new("mtuothers", &Answer::Kernel) else { return };
    let _behind = Behind::new(&place, (1_381, 1_381));
    let targets = "10.97.0.2 fd00:97::2 10.64.0.1 fd00:64::1";
    let (status, records) = found(&place, &format!("ping --mtu -W 300ms -f jsonl {targets}"));
    assert_eq!((status, records.len()), (Some(0), 4), "{records:?}");
    for (record, mtu) in records.into_iter().zip([1_500, 1_381, 1_500, 1_381]) {
        let target = record["target"].as_str().unwrap();
        assert_eq!(record["mtu"].as_u64(), Some(mtu), "{record}");
        assert!(passes(&place, target, mtu), "{record}");
        assert!(!passes(&place, target, mtu + 1), "{record}");
        let told = said(&place, &format!("tracepath -n {target}"));
        let (_, resume) = told.split_once("Resume: pmtu ").expect(&told);
        assert_eq!(resume.split_whitespace().next(), Some(&*mtu.to_string()), "{record}: {told}");
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_does_not_go_with_it_is_refused() {
    let Some(place) = Place::new("mtuargs", &Answer::Kernel) else { return };
    for (line, expected) in [
        ("ping --mtu -s 100 10.64.0.1", "cannot be used with"),
        ("ping --mtu -p tcp:80 10.64.0.1", "cannot be used with"),
        ("ping --mtu -c 3 10.64.0.1", "cannot be used with"),
        ("ping --mtu -f csv 10.64.0.1", "--mtu: its results are text or JSON lines"),
    ] {
        place.ended(&mut place.echolot(line.split(' '))).refused(&[expected]);
    }
}
