//! The far end falls silent, with its link up.

use crate::{
    capture::{Capture, Named},
    harness::{Site, is_long},
    results::{Outcome, Record},
};
use std::{collections::HashSet, thread::sleep, time::Duration};
use xtask::lab::Answer;

#[test]
#[ignore = "needs root: make test runs it"]
fn exactly_the_unanswered_are_lost() {
    let Some(mut site) = Site::up("silence", &Answer::Kernel) else { return };
    let (targets, count) =
        if is_long() { ("10.64.0.0-10.64.78.31", 20_000) } else { ("10.64.0.0-10.64.15.159", 4_000) };
    let capture = Capture::start(&site);
    let mut echolot = site.run(targets, "jsonl");
    echolot.wait_for("an answer from each", |scrape| scrape.settled("answered") >= count);
    site.answer(&Answer::Silent).unwrap();
    sleep(Duration::from_secs(5));
    echolot.wait_for("all are down", |scrape| scrape.targets("down") == count);
    site.answer(&Answer::Kernel).unwrap();
    echolot.wait_for("all are up", |scrape| scrape.targets("up") == count);
    let ended = echolot.stop();
    let frames = capture.stop();

    let records = ended.results.records();
    assert_eq!(ended.summary.results_dropped(), 0, "the sets below would not be whole");
    let named = |record: &Record| (record.address, record.sent_ns);
    let of = |outcome| records.iter().filter(|record| record.outcome == outcome).map(named).collect::<HashSet<Named>>();
    let requests: HashSet<Named> = frames.requests().collect();
    let replies: HashSet<Named> = frames.replies().collect();
    let unanswered: HashSet<Named> = requests.difference(&replies).copied().collect();
    let lost = of(Outcome::Lost);
    println!(
        "{} requests captured, {} unanswered, {} lost, {} unheard, {} unsent",
        requests.len(),
        unanswered.len(),
        lost.len(),
        of(Outcome::Unheard).len(),
        of(Outcome::Unsent).len(),
    );
    assert!(lost.len() as u64 >= 4 * count, "five seconds of silence");
    assert_eq!(lost.difference(&unanswered).next(), None, "lost, and yet the far end answered");
    assert_eq!(unanswered.difference(&lost).next(), None, "unanswered, and yet not lost");
    assert_eq!(of(Outcome::Answered), replies, "answered are those that the far end replied to");
    assert_eq!(requests.len() as u64, ended.summary.sent(), "as many requests as echolot says it sent");
}
