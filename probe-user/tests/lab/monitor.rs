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
fn a_fleet_without_loss() {
    let Some(site) = Site::up("run", &Answer::Kernel) else { return };
    let (targets, count, seconds) =
        if is_long() { ("10.64.0.0-10.65.134.159", 100_000, 60) } else { ("10.64.0.0-10.64.78.31", 20_000, 10) };
    let mut echolot = site.run(targets);
    let mut last = 0;
    let scrapes = echolot.watch(Duration::from_secs(seconds), |scrape| {
        let probes = scrape.sum("echolot_probes_total", "");
        assert!(probes >= last, "a counter went from {last} to {probes}");
        last = probes;
        // One interval's worth, and a second for a machine that is late with its settling.
        assert!(scrape.sum("echolot_probes_in_flight", "") <= 2 * count);
        assert_eq!(scrape.settled("lost"), 0);
    });
    // Two a second at least, though each starts a curl.
    assert!(u64::from(scrapes) >= 2 * seconds, "only {scrapes} scrapes in {seconds} s");
    let scrape = echolot.scrape();
    let [median, p99] = [0.5, 0.99].map(|share| scrape.quantile("echolot_send_lag_seconds", share) * 1e3);
    let ended = echolot.stop();

    let summary = &ended.summary;
    assert_eq!(summary.number("targets"), count);
    assert_eq!(summary.number("targets_answered"), count);
    assert_eq!(summary.number("lost"), 0);
    let records = ended.results.records();
    assert_eq!(records.len() as u64 + summary.results_dropped(), summary.number("probes"));
    let last = records.iter().filter(|record| record.outcome != Outcome::Unsent).map(|record| record.sent_ns).max();
    let after = Duration::from_nanos(last.unwrap().saturating_sub(ended.stopped.unwrap()));
    assert!(after < STOPS_WITHIN, "it went on sending for {after:?} after SIGTERM");
    let drained = Duration::from_nanos(ended.ended - ended.stopped.unwrap());
    println!(
        "{count} targets for {seconds} s: {scrapes} scrapes, send lag p50 under {median} ms, p99 under {p99} ms, skipped {}; \
         it sent for {after:?} after SIGTERM and ended after {drained:?}",
        summary.number("skipped"),
    );
    if is_long() {
        assert!(p99 <= 5.0, "the p99 of the send lag is {p99} ms");
        assert_eq!(summary.unexplained(), [""; 0]);
    }
}
