//! A whole chain.

use crate::{
    chain::{FAMILIES, Node, Plan, behind, host_behind},
    tools::{Hops, SOON, output},
};
use std::{path::Path, process::Command, time::Instant};
use testbed::router::Rule;
use xtask::command::{is_root, wait_until};

/// What traceroute is asked for, by ICMP, UDP to one port and TCP.
pub(crate) const KINDS: [&str; 3] = ["-I", "-U", "-T"];

#[test]
#[ignore = "needs root: make test runs it"]
fn thirty_routers_are_seen_by_every_tool() {
    let since = Instant::now();
    let Some(chain) = Plan::of(30).up("whole") else { return };
    println!("built within {:?}", since.elapsed());
    for family in FAMILIES {
        let expected = chain.hops(family);
        assert_eq!(expected.0.len(), 31);
        for kind in KINDS {
            chain.traceroute(family, kind).agrees(&expected);
        }
        for kind in ["", "--udp", "--tcp"] {
            chain.mtr(family, &format!("-c 1 {kind}")).agrees(&expected);
        }
    }
}

/// Whoever is asked about that lies behind a hop, it is as far away as that hop.
#[test]
#[ignore = "needs root: make test runs it"]
fn targets_lie_behind_every_hop() {
    let Some(chain) = Plan::of(5).up("behind") else { return };
    for family in FAMILIES {
        for hop in 1..=chain.length() {
            for host in [1, 0xfffe] {
                let target = host_behind(family, hop, host);
                let seen = Hops::of_traceroute(&chain.traceroute_text(target, "-I"));
                assert_eq!(seen.0.len(), usize::from(hop), "{target}, of {}", behind(family, hop));
                assert!(seen.hop(hop).addresses.contains(&target), "{target} is not at its end: {seen:?}");
                assert_eq!(seen.0[..usize::from(hop) - 1], chain.hops(family).0[..usize::from(hop) - 1], "{target}");
            }
        }
    }
}

/// Near's programs ask there, by the file that they find in place of /etc/resolv.conf; other routes don't lead there.
#[test]
#[ignore = "needs root: make test runs it"]
fn there_is_a_place_for_a_name_server() {
    let Some(chain) = Plan::of(1).names().up("names") else { return };
    let found = output(chain.command(Node::Near, "cat").arg("/etc/resolv.conf"));
    assert_eq!(found, "nameserver 10.95.0.1\n");
    for server in ["10.95.0.1", "fd00:95::1"] {
        output(chain.command(Node::Near, "ping").args(["-n", "-c", "1", "-W", "5", server]));
    }
    let folder = format!("/etc/netns/{}", chain.namespace(Node::Near));
    assert!(Path::new(&folder).exists());
    drop(chain);
    assert!(!Path::new(&folder).exists(), "{folder} is left");
}

/// Namespaces whose names begin so.
fn left(name: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|other| other.starts_with(name)).collect()
}

#[test]
#[ignore = "needs root: make test runs it"]
fn nothing_of_a_chain_is_left_when_it_goes_or_its_test_fails() {
    let Some(chain) = Plan::of(3).up("left") else { return };
    let namespace = chain.namespace(Node::Near);
    let name = namespace.strip_suffix("-near").unwrap();
    assert_eq!(left(name).len(), 5);
    // What runs in it goes as well.
    let mut child = chain.command(Node::Router(2, 0), "sleep").arg("1000").spawn().unwrap();
    drop(chain);
    assert_eq!(left(name), Vec::<String>::new());
    assert!(!child.wait().unwrap().success(), "it was ended");

    let failing = std::panic::catch_unwind(|| {
        let chain = Plan::of(3).up("fails").unwrap();
        panic!("{}", chain.namespace(Node::Near));
    });
    let namespace = *failing.unwrap_err().downcast::<String>().unwrap();
    let name = namespace.strip_suffix("-near").unwrap();
    assert_eq!(left(name), Vec::<String>::new());
}

/// A process of its own, which is this test again, builds a chain and is killed.
#[test]
#[ignore = "needs root: make test runs it"]
fn nothing_of_a_chain_is_left_when_its_process_is_killed() {
    const CHILD: &str = "ECHOLOT_TEST_KILLED";
    if std::env::var_os(CHILD).is_some() {
        let chain = Plan::of(3).up("killed").unwrap();
        println!("built");
        // Until it is killed.
        let _ = chain.command(Node::Near, "sleep").arg("1000").status();
        unreachable!("the one that waits for this kills it");
    }
    if !is_root() {
        return println!("skipped: needs root");
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "whole::nothing_of_a_chain_is_left_when_its_process_is_killed"]);
    command.args(["--include-ignored", "--nocapture"]).env(CHILD, "1").stdout(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let name = format!("el-path-killed-{}-", child.id());
    let all = wait_until(SOON, || (left(&name).len() == 5).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    all.unwrap_or_else(|| panic!("only {:?} were built", left(&name)));
    wait_until(SOON, || left(&name).is_empty().then_some(())).unwrap_or_else(|| panic!("{:?} are left", left(&name)));
}

/// Probes of echolot's own, which near's kernel does not send, cross routers of both sorts.
#[test]
#[ignore = "needs root: make test runs it"]
fn echolots_probes_reach_what_lies_behind() {
    let Some(chain) = Plan::of(4).router(3, Rule::default()).up("echolot") else { return };
    for family in FAMILIES {
        for hop in [1, 4, 5] {
            let target = host_behind(family, hop, 7).to_string();
            let mut ping = chain.command(Node::Near, env!("CARGO_BIN_EXE_echolot"));
            // 0 is all answered.
            output(ping.args(["ping", "-c", "3", "-i", "0.1", &target]));
        }
    }
    assert!(chain.counts(3).forwarded >= 12, "{:?}", chain.counts(3));
}

/// Nobody is limited who is not told to be.
#[test]
#[ignore = "needs root: make test runs it"]
fn errors_are_not_held_back() {
    let Some(chain) = Plan::of(3).up("quick") else { return };
    for family in FAMILIES {
        for counted in chain.mtr_counted(family, "-c 100 -i 0.02") {
            assert!(counted.sent == 100 && counted.loss == 0.0, "{counted:?}");
        }
    }
}
