//! `run` over a fleet that answers.

use crate::{
    harness::{Site, is_long},
    results::Outcome,
};
use std::time::Duration;
use xtask::lab::Answer;

/// Most of the time that sending may go on after SIGTERM: it is looked for ten times a second, on threads that may have
/// to wait for a CPU.
const STOPS_WITHIN: Duration = Duration::from_secs(1);

#[test]
#[ignore = "needs root: make test runs it"]
fn a_fleet_without_loss() {
    let Some(site) = Site::up("run", &Answer::Kernel) else { return };
    let (targets, count, seconds) =
        if is_long() { ("10.64.0.0-10.65.134.159", 100_000, 60) } else { ("10.64.0.0-10.64.78.31", 20_000, 10) };
    // The long form is the program as people leave it running: without results.
    let format = if is_long() { "none" } else { "jsonl" };
    let mut echolot = site.run(targets, format);
    let mut last = 0;
    let scrapes = echolot.watch(Duration::from_secs(seconds), |scrape| {
        let probes = scrape.sum("echolot_probes_total", "");
        assert!(probes >= last, "a counter went from {last} to {probes}");
        last = probes;
        // One interval's worth, and a second for a machine that is late with its settling.
        assert!(scrape.sum("echolot_probes_in_flight", "") <= 2 * count);
        assert_eq!(scrape.settled("lost"), 0);
    });
    // Four a second where a curl starts as fast as it should.
    assert!(u64::from(scrapes) >= seconds, "only {scrapes} scrapes in {seconds} s");
    let scrape = echolot.scrape();
    let [median, p99] = [0.5, 0.99].map(|share| scrape.quantile("echolot_send_lag_seconds", share) * 1e3);
    let waited = Duration::from_nanos(echolot.sender().waited());
    let ended = echolot.stop();

    let summary = &ended.summary;
    assert_eq!(summary.number("targets"), count);
    assert_eq!(summary.number("targets_answered"), count);
    assert_eq!(summary.number("lost"), 0);
    let due = summary.number("probes") + summary.number("skipped");
    assert!(due >= count * seconds, "{due} probes came due");
    assert!(summary.number("skipped") <= due / 2, "it skipped more than a busy machine excuses");
    let drained = Duration::from_nanos(ended.ended - ended.stopped.unwrap());
    println!(
        "{count} targets for {seconds} s: {scrapes} scrapes, send lag p50 {median:.3} ms, p99 {p99:.3} ms, skipped {}; \
         the sender waited {waited:?} for a CPU; ended {drained:?} after SIGTERM",
        summary.number("skipped"),
    );
    if is_long() {
        assert!(p99 < 5.0, "the p99 of the send lag is {p99} ms");
        assert_eq!(summary.unexplained(), [""; 0]);
        return;
    }
    let records = ended.results.records();
    assert_eq!(records.len() as u64 + summary.results_dropped(), summary.number("probes"));
    let last = records.iter().filter(|record| record.outcome != Outcome::Unsent).map(|record| record.sent_ns).max();
    let after = Duration::from_nanos(last.unwrap().saturating_sub(ended.stopped.unwrap()));
    println!("it sent for {after:?} after SIGTERM");
    assert!(after < STOPS_WITHIN, "it went on sending for {after:?} after SIGTERM");
}
