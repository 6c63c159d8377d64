//! A monitor at work: a picture for a terminal, a line for a log.

use super::{Sheet, by, rate};
use crate::{
    base::{Nanos, Outcome, State},
    ledger::{Snapshot, histogram::Distribution},
    nic::{InterfaceInfo, LocalDrops},
    results::human::{count, elapsed, share, span_or_nothing},
};

/// Remembers the last snapshot shown: rates are what came since.
#[derive(Debug)]
pub struct RunView {
    started: Nanos,
    before: Totals,
}

/// A snapshot over all groups.
#[derive(Clone, Debug, Default)]
struct Totals {
    at: Nanos,
    probes: u64,
    settled: [u64; Outcome::ALL.len()],
    in_flight: u64,
    skipped: u64,
    late: u64,
    duplicate: u64,
    contradicted: u64,
    states: [u64; State::ALL.len()],
    rtt: Distribution,
    send_lag: Distribution,
    /// Frames and results that this machine dropped.
    dropped: u64,
}

impl Totals {
    fn of(snapshot: &Snapshot, drops: &[LocalDrops]) -> Self {
        let dropped = drops.iter().map(|drop| drop.frames).sum::<u64>() + snapshot.results_dropped;
        let mut all = Self { at: snapshot.at, send_lag: snapshot.send_lag.clone(), dropped, ..Self::default() };
        for row in &snapshot.sums {
            all.probes += row.probes;
            all.in_flight += row.in_flight();
            all.skipped += row.skipped;
            all.late += row.late;
            all.duplicate += row.duplicate;
            all.contradicted += row.contradicted;
            all.settled.iter_mut().zip(row.settled).for_each(|(sum, n)| *sum += n);
            all.states.iter_mut().zip(row.states).for_each(|(sum, n)| *sum += n);
            all.rtt.merge(&row.rtt);
        }
        all
    }

    const fn answered(&self) -> u64 {
        self.settled[Outcome::Answered as usize]
    }

    /// What came since `before`. States and what is in flight are as they are now.
    fn since(&self, before: &Self) -> Self {
        let mut settled = self.settled;
        settled.iter_mut().zip(before.settled).for_each(|(now, then)| *now = now.saturating_sub(then));
        Self {
            at: self.at - before.at,
            probes: self.probes.saturating_sub(before.probes),
            settled,
            skipped: self.skipped.saturating_sub(before.skipped),
            dropped: self.dropped.saturating_sub(before.dropped),
            rtt: added(&self.rtt, &before.rtt),
            send_lag: added(&self.send_lag, &before.send_lag),
            ..self.clone()
        }
    }
}

/// What `now` counted after `before`, for quantiles; its least and greatest stay those of all time.
fn added(now: &Distribution, before: &Distribution) -> Distribution {
    let mut added = now.clone();
    added.buckets.iter_mut().zip(&before.buckets).for_each(|(n, then)| *n = n.saturating_sub(*then));
    added
}

impl RunView {
    /// `started`: when the first probe was due, CLOCK_MONOTONIC.
    pub fn new(started: Nanos) -> Self {
        Self { started, before: Totals { at: started, ..Totals::default() } }
    }

    /// Several lines of at most `width` columns. Counts and times are since the start, rates since the last picture.
    pub fn picture(
        &mut self,
        snapshot: &Snapshot,
        drops: &[LocalDrops],
        interface: &InterfaceInfo,
        width: usize,
    ) -> String {
        let now = Totals::of(snapshot, drops);
        let recent = now.since(&self.before);
        let mut sheet = Sheet::new(width);
        let link = if interface.up { "" } else { ", DOWN" };
        sheet.plain(&format!(
            "echolot {} by {}{link}, running {}",
            env!("CARGO_PKG_VERSION"),
            by(interface),
            elapsed(now.at - self.started)
        ));
        let mut targets = vec![count(now.states.iter().sum())];
        targets.extend(State::ALL.map(|state| named(state.name(), now.states[state as usize])));
        sheet.row("targets", &targets);
        let rates = [("sent", recent.probes), ("answered", recent.answered())];
        sheet.row("now", &rates.map(|(what, n)| format!("{what} {}", rate(n, recent.at))));
        let mut probes = vec![count(now.probes)];
        probes.push(format!(
            "answered {} ({})",
            count(now.answered()),
            share(now.answered(), now.settled.iter().sum())
        ));
        probes.extend(Outcome::ALL[1..].iter().map(|outcome| named(outcome.name(), now.settled[*outcome as usize])));
        probes.push(named("in flight", now.in_flight));
        sheet.row("probes", &probes);
        let mut times = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)].map(|(p, at)| quantile(p, &now.rtt, at)).to_vec();
        times.push(format!("max {}", span_or_nothing(greatest(&now.rtt))));
        sheet.row("round trip", &times);
        let lag = [quantile("p99", &now.send_lag, 0.99), named("skipped", now.skipped)];
        sheet.row("send lag", &lag);
        let replies = [
            named("late", now.late),
            named("duplicate", now.duplicate),
            named("contradicted", now.contradicted),
            named("rejected", snapshot.rejected.iter().sum()),
        ];
        sheet.row("replies", &replies);
        let mut lost_here: Vec<String> = drops
            .iter()
            .filter(|drop| drop.frames > 0)
            .map(|drop| named(&format!("{} {}", drop.direction, drop.cause), drop.frames))
            .collect();
        if snapshot.results_dropped > 0 {
            lost_here.push(named("results", snapshot.results_dropped));
        }
        if lost_here.is_empty() {
            lost_here.push("none".to_owned());
        }
        sheet.row("drops", &lost_here);
        self.before = now;
        sheet.text
    }

    /// One line for a log, without its end. All of it but what is in flight, up or down is of what came since the last line.
    ///
    /// `unix_ns`: the time of day, nanoseconds since 1970, UTC.
    pub fn line(&mut self, snapshot: &Snapshot, drops: &[LocalDrops], unix_ns: u64) -> String {
        let now = Totals::of(snapshot, drops);
        let recent = now.since(&self.before);
        let second = unix_ns / 1_000_000_000;
        let failed = Outcome::ALL[1..].iter().map(|outcome| named(outcome.name(), recent.settled[*outcome as usize]));
        let mut parts = vec![
            format!("{:02}:{:02}:{:02}", second / 3_600 % 24, second / 60 % 60, second % 60),
            format!("probes {}", rate(recent.probes, recent.at)),
            format!("answered {}", share(recent.answered(), recent.settled.iter().sum())),
        ];
        parts.extend(failed);
        parts.push(named("in flight", now.in_flight));
        parts.push(format!("rtt {}", quantile("p50", &recent.rtt, 0.5)));
        parts.push(quantile("p99", &recent.rtt, 0.99));
        parts.push(format!("lag {}", quantile("p99", &recent.send_lag, 0.99)));
        parts.push(named("skipped", recent.skipped));
        parts.push(named("dropped", recent.dropped));
        parts.push(named("up", now.states[State::Up as usize]));
        parts.push(named("down", now.states[State::Down as usize]));
        self.before = now;
        parts.join("  ")
    }
}

fn named(name: &str, n: u64) -> String {
    format!("{name} {}", count(n))
}

fn quantile(name: &str, times: &Distribution, at: f64) -> String {
    format!("{name} {}", span_or_nothing(times.quantile(at)))
}

fn greatest(times: &Distribution) -> Option<Nanos> {
    (times.count() > 0).then_some(times.max)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{drops, interface, snapshot};
    use super::*;

    #[test]
    fn the_picture_of_a_run() {
        let mut view = RunView::new(Nanos::from_secs(1_000));
        view.picture(&snapshot(82), &[], &interface(), 120);
        assert_eq!(
            view.picture(&snapshot(83), &drops(), &interface(), 120),
            "echolot 0.1.0 by eth0 (afxdp, copy), running 1 m 23 s\n\
             targets      10,000   unknown 0   up 9,998   down 2   unresolved 0\n\
             now          sent 10,000/s   answered 9,999/s\n\
             probes       830,041   answered 829,917 (99.99 %)   unreachable 0   lost 83   unheard 0   unsent 0   in flight 41\n\
             round trip   p50 500 us   p90 901 us   p99 999 us   max 1.00 ms\n\
             send lag     p99 100 us   skipped 3\n\
             replies      late 4   duplicate 5   contradicted 6   rejected 7\n\
             drops        receive ring_full 12\n"
        );
    }

    #[test]
    fn before_anything_was_measured_there_are_no_figures() {
        let at = Nanos::from_secs(7);
        let empty = Snapshot { at, ..Snapshot::default() };
        let down = InterfaceInfo { up: false, ..interface() };
        assert_eq!(
            RunView::new(at).picture(&empty, &[], &down, 60),
            "echolot 0.1.0 by eth0 (afxdp, copy), DOWN, running 0 s\n\
             targets      0   unknown 0   up 0   down 0   unresolved 0\n\
             now          sent -   answered -\n\
             probes       0   answered 0 (-)   unreachable 0   lost 0\n             unheard 0   unsent 0   in flight 0\n\
             round trip   p50 -   p90 -   p99 -   max -\n\
             send lag     p99 -   skipped 0\n\
             replies      late 0   duplicate 0   contradicted 0\n             rejected 0\n\
             drops        none\n"
        );
    }

    #[test]
    fn lines_tell_what_came_since_the_last() {
        let mut view = RunView::new(Nanos::from_secs(1_000));
        let noon = 1_795_176_000_000_000_000;
        assert_eq!(
            view.line(&snapshot(10), &drops(), noon),
            "12:00:00  probes 10,004/s  answered 99.99 %  unreachable 0  lost 10  unheard 0  unsent 0  in flight 41  \
             rtt p50 500 us  p99 999 us  lag p99 100 us  skipped 3  dropped 12  up 9,998  down 2"
        );
        // The same times again: none came since.
        assert_eq!(
            view.line(&snapshot(20), &drops(), noon + 10_000_000_000),
            "12:00:10  probes 10,000/s  answered 99.99 %  unreachable 0  lost 10  unheard 0  unsent 0  in flight 41  \
             rtt p50 -  p99 -  lag p99 -  skipped 0  dropped 0  up 9,998  down 2"
        );
    }

    #[test]
    fn no_line_of_a_picture_is_wider_than_the_terminal() {
        for width in 1..150 {
            let text = RunView::new(Nanos::ZERO).picture(&snapshot(5), &drops(), &interface(), width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
        }
    }
}
