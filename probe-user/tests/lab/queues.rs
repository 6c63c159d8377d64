//! The interface changes while echolot runs.

use crate::{
    harness::{Echolot, Site, output},
    results::Outcome,
};
use std::time::Duration;
use xtask::lab::{Answer, End, FAR_INTERFACE, NEAR_INTERFACE};

const TARGETS: &str = "10.64.0.0-10.64.3.231";
const COUNT: u64 = 1_000;

/// Runs a tool in one end's namespace.
fn at(site: &Site, end: End, command: &str) {
    let mut words = command.split(' ');
    output(site.name().command(end, words.next().unwrap()).args(words));
}

/// Waits until each target has been answered twice more.
fn is_answered(echolot: &mut Echolot, what: &str) {
    let before = echolot.scrape().settled("answered");
    echolot.wait_for(what, |scrape| scrape.settled("answered") >= before + 2 * COUNT);
}

/// Replies begin to arrive on a queue that wasn't there at the start: at first nobody hears them, then its own socket does.
#[test]
#[ignore = "needs root: make test runs it"]
fn more_of_them() {
    let Some(site) = Site::up("queues", &Answer::Kernel) else { return };
    at(&site, End::Far, &format!("ethtool -L {FAR_INTERFACE} tx 1"));
    at(&site, End::Near, &format!("ethtool -L {NEAR_INTERFACE} rx 1"));
    let mut echolot = site.run(TARGETS, "jsonl");
    assert_eq!(echolot.scrape().sum("echolot_interface_queues", ""), 1);
    at(&site, End::Near, &format!("ethtool -L {NEAR_INTERFACE} rx 2"));
    // The far kernel spreads its replies over its transmit queues, by addresses.
    at(&site, End::Far, &format!("ethtool -L {FAR_INTERFACE} tx 2"));
    echolot.wait_for("the new queue has a socket", |scrape| scrape.sum("echolot_interface_queues", "") == 2);
    let unheard = |echolot: &mut Echolot| echolot.scrape().sum("echolot_local_drops_total", "cause=\"no_socket\"");
    is_answered(&mut echolot, "answers by both queues");
    let before = unheard(&mut echolot);
    is_answered(&mut echolot, "more of them");
    assert_eq!(unheard(&mut echolot), before, "replies still reach nobody");
    let ended = echolot.stop();
    let told = std::fs::read_to_string(site.path("stderr")).unwrap();
    assert!(told.contains("near0 has 2 receive queues now"), "{told}");
    let lost = ended.results.records().iter().filter(|record| record.outcome == Outcome::Lost).count();
    assert_eq!(lost, 0, "what a queue without a socket passed is unheard, not lost");
    assert_eq!(ended.summary.number("targets_answered"), COUNT);
}

/// Another MTU, down and up: the sockets stay bound, nothing is lost, and all goes on.
#[test]
#[ignore = "needs root: make test runs it"]
fn another_mtu_and_a_restart() {
    let Some(site) = Site::up("changes", &Answer::Kernel) else { return };
    let mut echolot = site.run(TARGETS, "jsonl");
    at(&site, End::Near, &format!("ip link set {NEAR_INTERFACE} mtu 1400"));
    is_answered(&mut echolot, "answers with another MTU");
    at(&site, End::Near, &format!("ip link set {NEAR_INTERFACE} down"));
    echolot.wait_for("the link is seen down", |scrape| scrape.sum("echolot_interface_up", "") == 0);
    at(&site, End::Near, &format!("ip link set {NEAR_INTERFACE} mtu 1500"));
    echolot.watch(Duration::from_secs(1), |_| {});
    at(&site, End::Near, &format!("ip link set {NEAR_INTERFACE} up"));
    site.route_again();
    echolot.wait_for("the link is seen up", |scrape| scrape.sum("echolot_interface_up", "") == 1);
    is_answered(&mut echolot, "answers after the restart");
    let ended = echolot.stop();
    let told = std::fs::read_to_string(site.path("stderr")).unwrap();
    for word in ["near0 has an MTU of 1400 now, it was 1500", "near0 has an MTU of 1500 now, it was 1400"] {
        assert!(told.contains(word), "{told}");
    }
    let lost = ended.results.records().iter().filter(|record| record.outcome == Outcome::Lost).count();
    assert_eq!(lost, 0);
}
