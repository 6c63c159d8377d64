//! What a run came to, for people.

use super::{Sheet, rate};
use crate::{
    base::{Cause, Nanos, Outcome},
    results::{
        Summary,
        human::{count, share, span},
    },
    wire::RejectedReason,
};

/// Several lines of at most `width` columns. What didn't happen isn't mentioned.
pub fn summary(summary: &Summary, width: usize) -> String {
    let mut sheet = Sheet::new(width);
    let happened = |(name, n): (&str, u64)| (n > 0).then(|| format!("{name} {}", count(n)));
    sheet.row("targets", &[count(summary.targets), format!("answered {}", count(summary.targets_answered))]);
    let answered = summary.of(Outcome::Answered);
    let mut probes = vec![
        format!("{} in {} ({})", count(summary.probes), span(summary.span), rate(summary.probes, summary.span)),
        format!("answered {} ({})", count(answered), share(answered, summary.settled.iter().sum())),
    ];
    probes.extend(Outcome::ALL[1..].iter().filter_map(|outcome| happened((outcome.name(), summary.of(*outcome)))));
    probes.extend([("in flight", summary.in_flight), ("skipped", summary.skipped)].into_iter().filter_map(happened));
    sheet.row("probes", &probes);
    let unsent: Vec<_> = Cause::ALL.iter().map(|c| c.name()).zip(summary.unsent).filter_map(happened).collect();
    sheet.row("unsent for", &unsent);
    if let Some(rtt) = summary.rtt {
        let times = [
            ("min", rtt.min),
            ("mean", rtt.mean),
            ("p50", rtt.p50),
            ("p90", rtt.p90),
            ("p99", rtt.p99),
            ("p99.9", rtt.p999),
            ("max", rtt.max),
        ];
        sheet.row("round trip", &times.map(|(name, ns)| format!("{name} {}", span(Nanos(ns)))));
    }
    let replies = [("late", summary.late), ("duplicate", summary.duplicate), ("contradicted", summary.contradicted)];
    sheet.row("replies", &replies.into_iter().filter_map(happened).collect::<Vec<_>>());
    let rejected = RejectedReason::ALL.iter().map(|r| r.name()).zip(summary.rejected);
    sheet.row("rejected", &rejected.filter_map(happened).collect::<Vec<_>>());
    let drops = summary.drops.iter().map(|(cause, n)| (cause.as_str(), *n));
    sheet.row("drops", &drops.filter_map(happened).collect::<Vec<_>>());
    sheet.row("by", &[format!("{} ({}, {})", summary.interface, summary.engine, summary.mode)]);
    sheet.text
}

#[cfg(test)]
mod tests {
    use super::super::tests::{drops, interface, snapshot};
    use super::*;

    #[test]
    fn a_run_with_a_bit_of_everything() {
        let mut snapshot = snapshot(5);
        snapshot.sums[0].settled[Outcome::Unsent as usize] = 41;
        snapshot.unsent[Cause::LinkDown as usize] = 40;
        snapshot.unsent[Cause::Window as usize] = 1;
        let all = Summary::new(&snapshot, &drops(), &interface(), 10_000, 9_998, 2);
        assert_eq!(
            super::summary(&all, 100),
            "targets      10,000   answered 9,998\n\
             probes       50,041 in 5.00 s (10,008/s)   answered 49,995 (99.90 %)   lost 5   unsent 41\n             \
             skipped 3\n\
             unsent for   window 1   link_down 40\n\
             round trip   min 10.0 us   mean 505 us   p50 500 us   p90 901 us   p99 999 us   p99.9 999 us\n             \
             max 1.00 ms\n\
             replies      late 4   duplicate 5   contradicted 6\n\
             rejected     cookie 7\n\
             drops        receive_ring_full 12   results 2\n\
             by           eth0 (afxdp, copy)\n"
        );
    }

    #[test]
    fn a_run_in_which_nothing_happened() {
        assert_eq!(
            super::summary(&super::super::tests::summary(), 80),
            "targets      5   answered 0\n\
             probes       0 in 0 ns (-)   answered 0 (-)\n\
             by           eth0 (afxdp, copy)\n"
        );
    }
}
