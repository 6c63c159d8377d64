//! `echolot trace` itself, over the kernel's routers and those in userspace.

use crate::{
    balance::Balance,
    chain::{Chain, FAMILIES, Node, Plan},
    tools::{Hops, SOON},
};
use echolot::base::Family;
use serde_json::Value;
use std::{
    fs::File,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};
use testbed::{
    dns::{Manner, NameServer, Zone},
    router::{Answer, Quote, Rule},
};

const KINDS: [&str; 3] = ["icmp", "udp:33434", "tcp:443"];

/// What it wrote to standard output. It must have ended by itself: with a target that answered or without one.
fn written(chain: &Chain, arguments: &[&str]) -> String {
    let output =
        chain.command(Node::Near, env!("CARGO_BIN_EXE_echolot")).arg("trace").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {:?}\n{said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn trace(chain: &Chain, target: IpAddr, arguments: &[&str]) -> (Hops, Vec<Value>) {
    let target_text = target.to_string();
    let text = written(chain, &[&["-f", "jsonl", "-m", "40", &target_text], arguments].concat());
    let paths: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!paths.is_empty(), "{arguments:?} to {target}");
    (Hops::of_echolot(&text, target), paths)
}

fn hop(path: &Value, ttl: usize) -> &Value {
    let hop = &path["hops"][ttl - 1];
    assert_eq!(hop["ttl"], ttl, "{path}");
    hop
}

#[test]
#[ignore = "needs root: make test runs it"]
fn it_sees_what_traceroute_sees() {
    let Some(chain) = Plan::of(30).up("trace") else { return };
    for family in FAMILIES {
        for (kind, option) in KINDS.into_iter().zip(["-I", "-U", "-T"]) {
            // Neighbours along the way are asked for with the first packets.
            chain.traceroute(family, option).agrees(&chain.hops(family));
            let (seen, paths) = trace(&chain, chain.target(family), &["-n", "-p", kind]);
            seen.agrees(&chain.hops(family));
            let [path] = &paths[..] else { panic!("{paths:?}") };
            assert_eq!(
                (&path["reached"], &path["probe"], path["hops"].as_array().unwrap().len()),
                (&true.into(), &kind.into(), 31)
            );
        }
    }
}

/// Both branches by sixteen flows and by as many as it takes, each flow by one of them; and packets that go by turns.
#[test]
#[ignore = "needs root: make test runs it"]
fn flows_show_the_branches() {
    let Some(chain) = Plan::of(8).router(2, Rule::default()).branches(4..=5, Balance::Flows).up("trace-flows") else {
        return;
    };
    for family in FAMILIES {
        for kind in KINDS {
            let by = |flows: &str| trace(&chain, chain.target(family), &["-n", "-p", kind, "--flows", flows]);
            let (seen, paths) = by("16");
            seen.agrees(&chain.hops(family));
            assert!(paths.len() == 16 && paths.iter().all(|path| path["balanced"].is_null()), "{kind}: {paths:?}");
            // That is 95 %, and less than one time in thirty all of the first six go the same way.
            let auto = (0..6).any(|_| by("auto").0 == seen);
            assert!(auto, "{kind} over {family:?}: six times not all of the branches");
            let again = ["-n", "-p", kind, "-c", "5", "-i", "0.05"];
            let (again, _) = trace(&chain, chain.target(family), &again);
            assert!((4..=5).all(|ttl| again.hop(ttl).addresses.len() == 1), "a flow keeps to its branch: {again:?}");
        }
    }
    drop(chain);
    let Some(chain) = Plan::of(7).branches(4..=5, Balance::Packets).up("trace-packets") else { return };
    let (_, paths) = trace(&chain, chain.target(Family::V4), &["-n", "--flows", "8"]);
    assert!(paths.iter().any(|path| path["balanced"] == "packet"), "{paths:?}");
}

/// One that is silent, one that limits its errors, one that quotes 28 bytes, one with labels, and one that quotes a translated destination:
/// each is told, and nobody behind is blamed.
#[test]
#[ignore = "needs root: make test runs it"]
fn odd_routers_are_told_from_lossy_ones() {
    let short = Answer { quote: Quote::Least, ..Answer::default() };
    let plan = Plan::of(10).limiting(3).router(5, Rule::silent()).router(7, Rule::expiring(short));
    let Some(chain) = plan.up("trace-odd") else { return };
    for kind in KINDS {
        let target = chain.target(Family::V4);
        let (_, paths) = trace(&chain, target, &["-n", "-p", kind, "-W", "300ms"]);
        let path = &paths[0];
        assert_eq!((&path["reached"], &hop(path, 5)["outcome"]), (&true.into(), &"lost".into()), "{kind}: {path}");
        assert_eq!(hop(path, 7)["outcome"], "hop", "28 bytes will do: {path}");
        if kind == "icmp" {
            assert_eq!(hop(path, 7)["quote"], "identification", "{path}");
            assert_eq!(hop(path, 8)["quote"], "cookie", "{path}");
        }
    }
    // Rounds, quicker than that router answers.
    let text = written(&chain, &["-n", "-c", "60", "-i", "10ms", "-W", "300ms", &chain.target(Family::V4).to_string()]);
    let line = |ttl: usize| {
        let begin = format!("{ttl:>2}  ");
        text.lines().find(|line| line.starts_with(&begin)).unwrap_or_else(|| panic!("{ttl} in\n{text}")).trim_end()
    };
    assert!(line(3).ends_with("limits"), "{text}");
    assert!(line(5).ends_with("silent"), "{text}");
    for ttl in [1, 2, 4, 6, 7, 8, 9, 10, 11] {
        assert!(!line(ttl).ends_with("limits") && !line(ttl).ends_with("loses"), "{ttl}:\n{text}");
    }
}

/// Whatever names cost: all hops are found within a timeout of 70 ms, and what was measured is as it is without.
#[test]
#[ignore = "needs root: make test runs it"]
fn names_get_in_nobodys_way() {
    let Some(chain) = Plan::of(12).names().up("trace-names") else { return };
    let target = chain.target(Family::V4);
    let hops = chain.hops(Family::V4);
    let zone = hops
        .all()
        .into_iter()
        .enumerate()
        .fold(Zone::default(), |zone, (n, address)| zone.name(address, &format!("r{n}.example"), 60));
    let space = File::open(format!("/run/netns/{}", chain.namespace(Node::Names))).unwrap();
    let bind = || {
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(space.as_fd(), Some(kind)).unwrap();
        NameServer::bind(SocketAddr::from(([10, 95, 0, 1], 53)), zone).unwrap()
    };
    let server = thread::scope(|scope| scope.spawn(bind).join().unwrap());
    chain.traceroute(Family::V4, "-I").agrees(&hops);
    for manner in [Manner::Quick, Manner::Slow(Duration::from_secs(2)), Manner::Dead] {
        server.behave(manner);
        // A loaded machine may hold a probe up for longer than 70 ms: then that is tried again, and it must not be the names.
        let since = Instant::now();
        let paths = loop {
            let (seen, paths) = trace(&chain, target, &["-W", "70ms", "--names-wait", "300ms"]);
            let whole = std::panic::catch_unwind(|| seen.agrees(&hops)).is_ok();
            if whole {
                break paths;
            }
            assert!(since.elapsed() < SOON, "{manner:?}: never whole: {seen:?}");
        };
        let names = paths[0]["hops"].as_array().unwrap().iter().filter(|hop| hop["name"].is_string()).count();
        assert_eq!(names, if matches!(manner, Manner::Quick) { 13 } else { 0 }, "{manner:?}: {}", paths[0]);
    }
}
