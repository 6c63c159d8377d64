//! All routers on the way, played by one program at the far end: probes with few hops to live are answered by those that its rules name, as
//! often as they were asked.

use crate::harness::{ECHOLOT, Site};
use serde_json::Value;
use std::{collections::BTreeMap, fs::File, net::IpAddr, os::fd::AsFd as _, thread};
use testbed::routers::{RouterRules, Routers, path, path_of};
use xtask::lab::{Answer, End, FAR_INTERFACE};

/// 16 of each family.
const TARGETS: [&str; 2] = ["10.64.0.0/28", "fd00:64::/124"];
const COUNT: u64 = 32;

/// The far end with these rules, and TCP port 443 open.
fn routers(site: &Site, rules: RouterRules) -> Routers {
    let space = File::open(format!("/run/netns/{}", site.name().namespace(End::Far))).unwrap();
    let attach = || {
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(space.as_fd(), Some(kind)).unwrap();
        Routers::attach(FAR_INTERFACE, rules, &[443], &[53]).unwrap()
    };
    thread::scope(|scope| scope.spawn(attach).join().unwrap())
}

fn echolot(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let output = site.near(ECHOLOT).args(arguments).args(["-f", "jsonl"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let results: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!results.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    results
}

#[test]
#[ignore = "needs root: make test runs it"]
fn every_router_answers_for_itself() {
    let Some(site) = Site::up("hops", &Answer::Silent) else { return };
    let rules = RouterRules {
        common: 24,
        common_v6: 120,
        nearest: 4,
        furthest: 12,
        silent: 0x1000,
        labelled: 0x4000,
        ..RouterRules::new(0x0ec4)
    };
    let routers = routers(&site, rules);
    let mut asked = [0; 32];
    for kind in ["icmp", "tcp:443", "udp:53"] {
        for ttl in [1, 4, 7, 13] {
            let shown = ttl.to_string();
            let results =
                echolot(&site, &["ping", "-c", "1", "-W", "1", "-p", kind, "--ttl", &shown, TARGETS[0], TARGETS[1]]);
            let all: BTreeMap<IpAddr, &Value> =
                results.iter().map(|result| (result["address"].as_str().unwrap().parse().unwrap(), result)).collect();
            assert_eq!(all.len() as u64, COUNT, "{kind}, {ttl}");
            for (address, result) in all {
                let what = format!("{kind}, {ttl} to {address}: {result}");
                let (whole, told) = (path_of(&rules, address), path(&rules, address));
                let position = usize::try_from(ttl).unwrap();
                if position >= whole.len() {
                    asked[0] += 1;
                    assert_eq!(result["outcome"], "answered", "{what}");
                    assert_eq!(result["reply_ttl"], told.ttl(), "{what}");
                    continue;
                }
                asked[position] += 1;
                let Some(from) = whole[position - 1] else {
                    assert_eq!(result["outcome"], "lost", "{what}");
                    continue;
                };
                assert_eq!(
                    (&result["outcome"], &result["reason"]),
                    (&"unreachable".into(), &"ttl_exceeded".into()),
                    "{what}"
                );
                assert_eq!(result["from"], from.to_string(), "{what}");
                assert_eq!(result["reply_ttl"], rules.ttl_of(told.router(ttl), ttl), "{what}");
            }
        }
    }
    let counted = routers.asked().unwrap();
    // A RST that ends a connection which a probe half opened reaches its target, as the probe did.
    assert_eq!(counted[1..], asked[1..]);
    assert!(counted[0] >= asked[0] && counted[0] <= 2 * asked[0], "{} of {}", counted[0], asked[0]);
}

/// As fast as that far end is, nobody is forgotten, and the common first routers are asked as often as there are targets.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_sweep_is_answered_from_one_position() {
    let Some(site) = Site::up("hops-sweep", &Answer::Silent) else { return };
    let rules = RouterRules { common: 12, quotes_all: 0, ..RouterRules::new(7) };
    let routers = routers(&site, rules);
    let results = echolot(&site, &["sweep", "--ttl", "5", "-r", "50000", "10.64.0.0/16"]);
    let named = |result: &Value| {
        let address: IpAddr = result["address"].as_str().unwrap().parse().unwrap();
        result["from"].as_str().map(|from| from.parse::<IpAddr>().unwrap()) == path_of(&rules, address)[4]
    };
    assert_eq!(results.len(), 65_536);
    assert_eq!(results.iter().filter(|result| named(result)).count(), 65_536);
    assert_eq!(routers.asked().unwrap()[5], 65_536);
}
