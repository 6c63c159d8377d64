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

/// What `echolot trace` found, by target: all its hops' addresses (None: it said nothing), and whether the target answered.
fn traced(site: &Site, arguments: &[&str]) -> BTreeMap<IpAddr, Vec<Value>> {
    let mut all: BTreeMap<IpAddr, Vec<Value>> = BTreeMap::new();
    for path in echolot(site, &[&["trace"], arguments].concat()) {
        all.entry(path["address"].as_str().unwrap().parse().unwrap()).or_default().push(path);
    }
    all
}

fn addresses(path: &Value) -> Vec<Option<IpAddr>> {
    let hops = path["hops"].as_array().unwrap();
    hops.iter().map(|hop| hop["address"].as_str().map(|address| address.parse().unwrap())).collect()
}

/// By every kind of probe, of both families, with silent routers, labels, and quotes as short as they may be.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_trace_finds_the_whole_way() {
    let Some(site) = Site::up("trace", &Answer::Silent) else { return };
    let rules = RouterRules {
        common: 24,
        common_v6: 120,
        nearest: 4,
        furthest: 24,
        silent: 0x1000,
        labelled: 0x4000,
        ..RouterRules::new(0x7ac3)
    };
    let routers = routers(&site, rules);
    for (kind, port) in
        [("icmp", None), ("tcp:443", Some("open")), ("tcp:444", Some("closed")), ("udp:53", Some("open"))]
    {
        let all = traced(&site, &["-p", kind, "--per-hop", "max", TARGETS[0], TARGETS[1]]);
        assert_eq!(all.len() as u64, COUNT, "{kind}");
        let mut labelled = 0;
        for (address, paths) in all {
            let [path] = &paths[..] else { panic!("{kind} to {address}: {paths:?}") };
            assert_eq!(addresses(path), path_of(&rules, address), "{kind} to {address}: {path}");
            assert_eq!((&path["reached"], &path["probe"]), (&true.into(), &kind.into()), "{address}");
            let hops = path["hops"].as_array().unwrap();
            let (last, routers) = hops.split_last().unwrap();
            assert_eq!((&last["outcome"], last["port"].as_str()), (&"answered".into(), port), "{kind} to {address}");
            let told = path_of(&rules, address);
            for (ttl, hop) in (1u64..).zip(routers) {
                assert_eq!(hop["ttl"], ttl);
                let outcome = if told[ttl as usize - 1].is_some() { "hop" } else { "lost" };
                assert_eq!(hop["outcome"], outcome, "{kind} to {address}: {hop}");
                labelled += u64::from(hop["mpls"].is_array());
            }
        }
        assert!(labelled > 0, "{kind}: some routers show labels");
    }
    // Whatever was found, nobody was asked much more often than there are hops: until it is known how far a target is, five beyond.
    let asked: u64 = routers.asked().unwrap().iter().sum();
    let hops: usize = path_lengths(&rules);
    assert!(asked < 4 * (hops as u64 + 6 * COUNT) + 2 * COUNT, "{asked} probes for 4 times {hops} hops");
}

fn path_lengths(rules: &RouterRules) -> usize {
    let first: [IpAddr; 2] = TARGETS.map(|target| target.split_once('/').unwrap().0.parse().unwrap());
    let nth = |first: IpAddr, n: u8| match first {
        IpAddr::V4(first) => IpAddr::from((u32::from(first) + u32::from(n)).to_be_bytes()),
        IpAddr::V6(first) => IpAddr::from((u128::from(first) + u128::from(n)).to_be_bytes()),
    };
    first.iter().flat_map(|first| (0..16).map(|n| path_of(rules, nth(*first, n)).len())).sum()
}

/// Rounds, flows, and a router that is asked no more often than it may be.
#[test]
#[ignore = "needs root: make test runs it"]
fn thousands_are_traced_with_care_for_the_routers_nearby() {
    let Some(site) = Site::up("trace-many", &Answer::Silent) else { return };
    let rules = RouterRules { common: 12, nearest: 4, furthest: 12, ..RouterRules::new(3) };
    let routers = routers(&site, rules);
    let begun = std::time::Instant::now();
    let all = traced(&site, &["-r", "50000", "--per-hop", "2000", "10.64.0.0/20"]);
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(all.len(), 4_096);
    for (address, paths) in &all {
        assert_eq!(addresses(&paths[0]), path_of(&rules, *address), "{address}: {}", paths[0]);
    }
    let asked = routers.asked().unwrap();
    assert_eq!(asked[1], 4_096, "each once");
    assert!(seconds > 2.0, "4,096 at 2,000 a second in {seconds} s");
    let rounds = traced(&site, &["-c", "3", "-i", "100ms", "--flows", "4", "10.64.0.1", "10.64.0.2"]);
    for (address, paths) in rounds {
        let told: Vec<(u64, u64)> =
            paths.iter().map(|path| (path["round"].as_u64().unwrap(), path["flow"].as_u64().unwrap())).collect();
        let expected: Vec<(u64, u64)> = (0..3).flat_map(|round| (0..4).map(move |flow| (round, flow))).collect();
        assert_eq!(told, expected, "{address}");
        assert!(paths.iter().all(|path| addresses(path) == path_of(&rules, address)), "{address}: {paths:?}");
    }
}
