//! Several source addresses in turn, as the far end's kernel sees them.

use super::place::Place;
use std::{collections::BTreeMap, fs, net::IpAddr, process::Command};
use xtask::lab::{Answer, FAR_ADDRESS, FAR_ADDRESS_V6, NEAR_INTERFACE};

/// Beside the lab's own.
const OTHERS: [&str; 2] = ["10.63.0.3", "fd00:63::3"];

fn sh(mut ip: Command, arguments: &str) {
    let output = ip.args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// Probes that left from each source, and those of them that were answered, as results have it.
fn by_source(jsonl: &str) -> BTreeMap<(String, IpAddr), [usize; 2]> {
    let mut found: BTreeMap<_, [usize; 2]> = BTreeMap::new();
    for line in jsonl.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let word = |name: &str| record[name].as_str().unwrap().to_owned();
        let counts = found.entry((word("address"), word("source").parse().unwrap())).or_default();
        counts[0] += 1;
        counts[1] += usize::from(record["outcome"] == "answered");
    }
    found
}

#[test]
#[ignore = "needs root: make test runs it"]
fn probes_leave_from_each_in_turn_and_their_answers_are_taken() {
    let Some(place) = Place::new("sources", &Answer::Kernel) else { return };
    for address in ["10.63.0.3/24", "fd00:63::3/64"] {
        sh(place.lab.near("ip"), &format!("address add {address} dev {NEAR_INTERFACE} nodad"));
    }
    // The far end answers nobody there: so it says what came from whom.
    for source in OTHERS {
        sh(place.lab.far("ip"), &format!("route add blackhole {source}"));
    }
    let sources = "-S 10.63.0.1 -S 10.63.0.3 -S fd00:63::1 -S fd00:63::3";
    for probe in ["icmp", "tcp:81", "udp:53"] {
        let jsonl = place.folder.join("out.jsonl");
        let targets = format!("{FAR_ADDRESS} {FAR_ADDRESS_V6}");
        let line = format!("ping -c 8 -i 0.05 -W 0.5 -p {probe} {sources} {targets} -f jsonl -o {}", jsonl.display());
        let ended = place.ended(&mut place.echolot(line.split(' ')));
        assert_eq!(ended.status.code(), Some(1), "{probe}: {ended:?}");
        let found = by_source(&fs::read_to_string(&jsonl).unwrap());
        let expected = [
            ((FAR_ADDRESS.to_string(), "10.63.0.1"), [4, 4]),
            ((FAR_ADDRESS.to_string(), "10.63.0.3"), [4, 0]),
            ((FAR_ADDRESS_V6.to_string(), "fd00:63::1"), [4, 4]),
            ((FAR_ADDRESS_V6.to_string(), "fd00:63::3"), [4, 0]),
        ];
        let expected = expected.map(|((address, source), counts)| ((address, source.parse().unwrap()), counts));
        assert_eq!(found, expected.into(), "{probe}");
    }
    for source in OTHERS {
        sh(place.lab.far("ip"), &format!("route del blackhole {source}"));
    }
    let ended = place.ended(&mut place.echolot(format!("ping -c 8 -i 0.05 {sources} {FAR_ADDRESS} -q").split(' ')));
    ended.says(&["8 packets transmitted, 8 received, 0% packet loss"]);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_can_not_be_in_turn_is_refused() {
    let Some(place) = Place::new("turns", &Answer::Kernel) else { return };
    for (line, reason) in [
        ("ping -c 1 -S 10.63.0.1 -S 10.63.0.1 10.63.0.2", "-S: 10.63.0.1 is there twice; a source is given once"),
        ("ping -c 1 -S 10.63.0.1 -S 10.63.0.3 10.63.0.2", "10.63.0.3 is not an address of this host"),
        ("ping --mtu -S 10.63.0.1 -S 10.63.0.3 10.63.0.2", "with --mtu give one a family"),
        (
            "ping -c 1 --flows 64 -S 10.0.0.1 -S 10.0.0.2 -S 10.0.0.3 -S 10.0.0.4 -S 10.0.0.5 10.63.0.2",
            "group `ping` walks 64 flows, and 5 sources in turn have 320 of them: at most 256 are told apart",
        ),
    ] {
        let ended = place.ended(&mut place.echolot(line.split(' ')));
        assert_eq!(ended.status.code(), Some(2), "{line}: {ended:?}");
        assert!(ended.stderr.contains(reason), "{line}: {ended:?}");
    }
}
