//! Rule files: each of the things that can happen to a probe, played by the simulated network, and what the loop makes of it.

use super::*;
use echolot::base::Family;
use std::collections::BTreeSet;

/// Shares of all probes.
#[derive(Clone, Copy, Debug)]
struct Shares {
    answered: f64,
    unreachable: f64,
    lost: f64,
    late: f64,
    duplicate: f64,
    contradicted: f64,
    rejected: f64,
}

/// All are answered.
const FINE: Shares =
    Shares { answered: 1.0, unreachable: 0.0, lost: 0.0, late: 0.0, duplicate: 0.0, contradicted: 0.0, rejected: 0.0 };
/// Three in ten come to nothing.
const LOST: Shares = Shares { answered: 0.7, lost: 0.3, ..FINE };
const TIMEOUT: Nanos = Nanos::from_millis(900);
const SECONDS: u64 = 50;

/// What happens to all addresses but one, as in a rule file, and what comes of it.
fn each() -> Vec<(&'static str, Shares)> {
    let refused = Shares { answered: 0.7, unreachable: 0.3, ..FINE };
    let rejected = Shares { rejected: 0.3, ..LOST };
    let contradicted = Shares { contradicted: 0.3, ..refused };
    vec![
        ("", FINE),
        ("unrecorded: true", FINE),
        ("loss: 0.3", LOST),
        ("delay: 100ms", FINE),
        ("delay: 100ms, jitter: 700ms", FINE),
        ("reorder: {share: 0.3, by: 200ms}", FINE),
        ("late: {share: 0.3, delay: 1500ms}", Shares { late: 0.3, ..LOST }),
        ("duplicate: {share: 0.3}", Shares { duplicate: 0.3, ..FINE }),
        ("duplicate: {share: 0.3, copies: 2, after: 50ms}", Shares { duplicate: 0.6, ..FINE }),
        ("duplicate: {share: 0.3, after: 950ms}", Shares { late: 0.3, ..FINE }),
        ("corrupt_payload: 0.3", rejected),
        ("corrupt_cookie: 0.3", rejected),
        ("stranger: 0.3", rejected),
        ("forged: {share: 0.3, copies: 4}", Shares { rejected: 1.2, ..FINE }),
        ("delay: 20ms, unreachable: {share: 0.3}", refused),
        ("unreachable: {share: 0.3, quote: short}", refused),
        ("unreachable: {share: 0.3, quote: either}", refused),
        ("unreachable: {share: 0.3}, corrupt_payload: 1", Shares { answered: 0.0, lost: 1.0, rejected: 1.0, ..FINE }),
        (
            "unreachable: {share: 1, quote: either}, duplicate: {share: 0.3, after: 20ms}",
            Shares { answered: 0.0, unreachable: 1.0, duplicate: 0.3, ..FINE },
        ),
        (
            "unreachable: {share: 1, quote: either}, late: {share: 0.3, delay: 1500ms}",
            Shares { answered: 0.0, unreachable: 0.7, lost: 0.3, late: 0.3, ..FINE },
        ),
        ("error_then_reply: {share: 0.3, after: 20ms}", contradicted),
        ("delay: 5ms, error_then_reply: {share: 0.3, after: 20ms, quote: short}", contradicted),
        ("error_then_reply: {share: 0.3, after: 950ms, quote: either}", Shares { late: 0.3, ..refused }),
        ("silences: [{from: 10s, to: 20s}, {from: 30s, to: 35s}]", LOST),
    ]
}

#[test]
fn each_thing_that_a_rule_file_knows_happens_in_the_simulated_network() {
    Family::ALL.into_iter().for_each(each_happens_over);
}

fn each_happens_over(family: Family) {
    let mut decided = BTreeSet::new();
    for (seed, (what, shares)) in (1..).zip(each()) {
        let comma = if what.is_empty() { "" } else { ", " };
        let text = format!(
            "seed: {seed}\nby: sent\ntimeouts: [900ms]\nrouter: 10.63.0.254\nrouter_v6: fd00:63::fe\nranges:\n\
             - {{addresses: [10.64.0.0/16, 'fd00:64::/112']{comma}{what}}}\n\
             - {{addresses: [10.64.0.7, 'fd00:64::7']}}\n"
        );
        let rules = RuleFile::read(&text).unwrap_or_else(|why| panic!("{text}{why}"));
        let mut plan = plan(vec![(group("g", Nanos::from_secs(1), TIMEOUT, Some(SECONDS)), 201)]);
        if family == Family::V6 {
            families::over_v6(&mut plan, 0..201);
        }
        let mut world: World = joined(&plan, network(&plan, rules, Near::default()), 1, vec![gateway()], &[0; 201]);
        world.net.keep_record();
        while world.turn() {}
        world.compare();

        let probes = world.sum(|row| row.probes);
        assert_eq!(probes, 201 * SECONDS, "{family:?} {what}");
        // The one that has a range of its own, with a longer prefix.
        assert_eq!(world.common.ledger.account(TargetIndex(7)).shown().settled[Outcome::Answered as usize], SECONDS);
        let rejected: u64 = world.snapshot().rejected.iter().sum();
        for (name, share, counted) in [
            ("answered", shares.answered, world.outcome(Outcome::Answered) - SECONDS),
            ("unreachable", shares.unreachable, world.outcome(Outcome::Unreachable)),
            ("lost", shares.lost, world.outcome(Outcome::Lost)),
            ("late", shares.late, world.sum(|row| row.late)),
            ("duplicate", shares.duplicate, world.sum(|row| row.duplicate)),
            ("contradicted", shares.contradicted, world.sum(|row| row.contradicted)),
            ("rejected", shares.rejected, rejected),
        ] {
            let of_all = counted as f64 / (200 * SECONDS) as f64;
            let is_sure = share == 0.0 || share == 1.0;
            let within = if is_sure { 0.0 } else { 0.03 };
            assert!((of_all - share).abs() <= within, "{family:?} {what}: {name} {of_all}, not {share}");
        }
        decided.extend(world.net.witnessed().iter().flat_map(|witnessed| witnessed.decided.names()));
    }
    let all = [
        "corrupt_cookie",
        "corrupt_payload",
        "duplicate",
        "error_then_reply",
        "forged",
        "late",
        "loss",
        "reorder",
        "silence",
        "stranger",
        "unreachable",
    ];
    assert_eq!(decided.into_iter().collect::<Vec<_>>(), all);
}
