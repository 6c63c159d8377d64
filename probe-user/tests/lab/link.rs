//! The link goes, and comes back.

use crate::{
    capture::{Capture, Named},
    harness::{Site, now, output},
    results::Outcome,
};
use std::{collections::HashSet, process::Command, time::Duration};
use xtask::lab::{Answer, End, FAR_INTERFACE, NEAR_INTERFACE};

const TARGETS: &str = "10.64.0.0-10.64.15.159";
const COUNT: u64 = 4_000;
const DOWN_FOR: Duration = Duration::from_secs(5);
const TIMEOUT: u64 = 1_000_000_000;
/// After the link is up again, as `ip` says: until echolot has seen that, and until the other end can send.
const SETTLES: u64 = 1_000_000_000;

/// Milliseconds from one moment to another.
fn since(later: u64, earlier: u64) -> f64 {
    (later as f64 - earlier as f64) / 1e6
}

/// Takes one end's link down for five seconds.
fn goes_and_comes_back(what: &str, end: End, interface: &str) {
    let Some(site) = Site::up(what, &Answer::Kernel) else { return };
    let namespace = site.name().namespace(end);
    let set = |word: &str| {
        let begun = now();
        output(Command::new("ip").args(["-n", &namespace, "link", "set", interface, word]));
        (begun, now())
    };
    // tcpdump ends with the link that it listens on.
    let capture = (end == End::Near).then(|| Capture::start(&site));
    let mut echolot = site.run(TARGETS, "jsonl");
    echolot.wait_for("all are up", |scrape| scrape.targets("up") == COUNT);
    let (falls, down) = set("down");
    echolot.wait_for("the link is seen down", |scrape| scrape.sum("echolot_interface_up", "") == 0);
    echolot.watch(DOWN_FOR, |scrape| {
        assert_eq!(scrape.sum("echolot_interface_up", ""), 0);
        assert_eq!(scrape.targets("up"), COUNT, "a target's state changed for a fault of ours");
    });
    let (rises, mut up) = set("up");
    if end == End::Near {
        site.route_again();
        up = now();
    }
    let before = echolot.wait_for("the link is seen up", |scrape| scrape.sum("echolot_interface_up", "") == 1);
    let answered = before.settled("answered");
    echolot.wait_for("answers come again", |scrape| {
        assert_eq!(scrape.targets("up"), COUNT, "a target's state changed for a fault of ours");
        scrape.settled("answered") >= answered + 2 * COUNT
    });
    let ended = echolot.stop();
    let frames = capture.map(Capture::stop);

    let records = ended.results.records();
    assert_eq!(ended.summary.results_dropped(), 0, "not all would be judged below");
    let of = |outcome| records.iter().filter(move |record| record.outcome == outcome).map(|record| record.sent_ns);
    let (unsent, unheard) = (of(Outcome::Unsent).count(), of(Outcome::Unheard).count());
    let resumed = of(Outcome::Answered).filter(|sent| *sent > rises).min().unwrap();
    println!(
        "{what}: {} s down, {unsent} unsent, {unheard} unheard; the first answered probe left {} ms after",
        (rises - down) as f64 / 1e9,
        (resumed - rises) / 1_000_000,
    );
    for record in &records {
        let (sent, outcome) = (record.sent_ns, record.outcome);
        if (down..rises).contains(&sent) {
            assert_eq!(outcome, Outcome::Unsent, "sent {} ms after the link fell", (sent - down) / 1_000_000);
        } else if outcome == Outcome::Unheard {
            // In flight when it fell, or sent before both ends were quite up again.
            let excused = (falls - TIMEOUT..down).contains(&sent) || (rises..up + SETTLES).contains(&sent);
            assert!(
                excused,
                "unheard {} ms after the link fell, {} ms before it was up",
                since(sent, down),
                since(up, sent)
            );
        } else if outcome == Outcome::Unsent {
            assert!(sent >= falls, "unsent before the link fell");
        }
    }
    let lost: Vec<_> = records
        .iter()
        .filter(|record| record.outcome == Outcome::Lost)
        .map(|record| {
            let (down, rises) = (since(record.sent_ns, down), since(record.sent_ns, rises));
            format!("{} {}: {down:.3} ms after down, {rises:.3} after up", record.address, record.seq)
        })
        .collect();
    assert_eq!(lost, [""; 0], "lost, though the far end answered all the time");
    let due = COUNT * (rises - down) / 1_000_000_000;
    // Not all: a busy machine skips some.
    assert!(unsent as u64 >= due / 2, "{unsent} unsent of {due} that were due");
    assert_eq!(ended.summary.number("targets_answered"), COUNT);
    if let Some(frames) = frames {
        // Nor did an unsent probe leave after all, once the link was back.
        let requests: HashSet<Named> = frames.requests().collect();
        let sent = records.iter().filter(|record| record.outcome != Outcome::Unsent);
        let sent: HashSet<Named> = sent.map(|record| (record.address, record.sent_ns)).collect();
        assert_eq!(requests.difference(&sent).next(), None, "captured, and not sent as echolot says");
        println!("{} sent, {} captured", sent.len(), requests.len());
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn near_down() {
    goes_and_comes_back("near-down", End::Near, NEAR_INTERFACE);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn far_down() {
    goes_and_comes_back("far-down", End::Far, FAR_INTERFACE);
}
