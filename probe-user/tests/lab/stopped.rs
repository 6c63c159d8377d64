//! The process stands still for a while, and nothing else does: SIGSTOP, a debugger, a host without CPU to spare.

use crate::harness::Site;
use std::{thread::sleep, time::Duration};
use xtask::lab::{End, NEAR_INTERFACE};

/// Longer than any probe lives.
const STOPPED: Duration = Duration::from_secs(3);
const COUNT: u64 = 1_000;

/// The kernel went on meanwhile: what XDP stamped in time is answered, however late somebody looks; nobody is lost or goes down for it;
/// and what was not sent is skipped, not sent at once.
#[test]
#[ignore = "needs root: make test runs it"]
fn what_was_stamped_in_time_is_answered() {
    let Some(site) = Site::with_reflector("stopped") else { return };
    let mut echolot = site.run("10.64.0.0-10.64.3.231", "none");
    let before = echolot.wait_for("all are up", |scrape| scrape.targets("up") == COUNT);
    let (answered, probes) = (before.settled("answered"), before.sum("echolot_probes_total", ""));
    echolot.signal("STOP");
    sleep(STOPPED);
    // The card has taken no frame for somebody who was not there, and dropped none.
    let path = format!("/sys/class/net/{NEAR_INTERFACE}/statistics/rx_dropped");
    let dropped = site.name().command(End::Near, "cat").arg(path).output().unwrap();
    let dropped: u64 = String::from_utf8(dropped.stdout).unwrap().trim().parse().unwrap();
    echolot.signal("CONT");
    let after = echolot.wait_for("it goes on", |scrape| scrape.settled("answered") > answered + 3 * COUNT);
    assert_eq!(after.targets("up"), COUNT);
    assert!(after.settled("unheard") <= dropped, "{} unheard, {dropped} dropped", after.settled("unheard"));
    // Two rounds at least did not take place.
    let skipped = after.sum("echolot_probes_skipped_total", "");
    assert!(skipped >= 2 * COUNT, "only {skipped} skipped of {probes} and more");
    let ended = echolot.stop();
    assert_eq!(ended.summary.number("lost"), 0);
    // What was skipped when it went on keeps its places for a timeout: some of the next round may find none.
    let settled = ["answered", "unheard", "unsent"].map(|outcome| ended.summary.number(outcome));
    assert_eq!(ended.summary.number("probes"), settled.iter().sum::<u64>());
}
