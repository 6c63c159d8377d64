//! Hand-made paths: a true account passes, and each kind of lie is found out.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::truth::evidence::{Reply, Summary, TTL};
use crate::truth::judge::{HeldUp, PathBounds};

const MS: u64 = 1_000_000;
const TIMEOUT: u64 = 100 * MS;
const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 64, 0, 1));

fn router(ttl: u8) -> IpAddr {
    [130 + ttl, 0, 0, 1].into()
}

/// A probe with this time to live, sent at once with all others, and what comes of it after so many milliseconds; the target is the fifth
/// hop.
fn seen(ttl: u8, replies: &[(Form, u64)]) -> Seen {
    let sent = 10 * TIMEOUT;
    let reply = |(form, after): &(Form, u64)| Reply { form: *form, departure_ns: Some(sent + after * MS) };
    Seen {
        number: 0,
        address: TARGET,
        sequence: u32::from(ttl),
        identifier: 1,
        port: 0,
        udp: false,
        sent_ns: sent,
        arrival_ns: sent + 3_000,
        decided: Vec::new(),
        replies: replies.iter().map(reply).collect(),
        ttl: Some(ttl),
        router: (ttl < 5).then(|| router(ttl)),
        reply_ttl: TTL - ttl.min(5) + 1,
    }
}

fn told(ttl: u8, outcome: Outcome, after: u64) -> Told {
    let is_heard = outcome != Outcome::Lost;
    let from = if outcome == Outcome::Hop { router(ttl) } else { TARGET };
    Told {
        sent_ns: 10 * TIMEOUT,
        address: TARGET,
        seq: ttl.into(),
        outcome,
        rtt_ns: is_heard.then_some(after * MS + 4_000),
        reply_ttl: is_heard.then_some(TTL - ttl + 1),
        probe: None,
        port: None,
        hop: Some(ToldHop {
            ttl,
            from: is_heard.then_some(from),
            quoted_ttl: (outcome == Outcome::Hop).then(|| ttl - 1),
            is_last: ttl == 5,
        }),
    }
}

/// One hop is lost, one is late, one comes with a forged quote before its own, one twice, and two probes go untold.
fn account() -> (Life, Vec<Seen>) {
    use Form::{Forged, Good, ShortError};
    let record = vec![
        seen(WHOLE, &[(Good, 10)]),
        seen(1, &[(Good, 10)]),
        seen(2, &[(Good, 150)]),
        seen(3, &[(Forged, 5), (ShortError, 10)]),
        seen(4, &[]),
        seen(5, &[(Good, 10), (Good, 12)]),
        seen(6, &[(Good, 10)]),
    ];
    let (hop, lost) = (Outcome::Hop, Outcome::Lost);
    let results = [(1, hop, 10), (2, lost, 0), (3, hop, 10), (4, lost, 0), (5, Outcome::Answered, 10)];
    let summary = Summary {
        probes: 7,
        answered: 3,
        hop: 2,
        lost: 2,
        late: 1,
        duplicate: 1,
        rejected: [("cookie".to_owned(), 1)].into(),
        ..Summary::default()
    };
    let results = results.map(|(ttl, outcome, after)| told(ttl, outcome, after)).into();
    (Life { results, summary, timeout_ns: TIMEOUT }, record)
}

fn verdict(change: impl FnOnce(&mut Life, &mut Vec<Seen>)) -> Verdict {
    let (mut life, mut record) = account();
    change(&mut life, &mut record);
    judge(&life, &record, &Terms::default())
}

#[test]
fn a_true_account_passes() {
    let verdict = verdict(|_, _| ());
    assert_eq!((verdict.judged, verdict.mismatches), (5, 0), "{:?}", verdict.told);
    assert_eq!(verdict.path.count, 3);
}

/// A change to a true account, and what is said of it.
type Lie = (&'static str, fn(&mut Life, &mut Vec<Seen>));

#[test]
fn lies_are_caught() {
    fn hop(life: &mut Life, index: usize) -> &mut ToldHop {
        life.results[index].hop.as_mut().unwrap()
    }
    let lies: [Lie; 24] = [
        ("whoever said something was", |life, _| hop(life, 0).from = Some(router(2))),
        ("whoever said something was", |life, _| hop(life, 0).from = Some(TARGET)),
        ("whoever said something was", |life, _| hop(life, 0).from = None),
        // Heard of at one place of the path, told of at another.
        ("ttl 4 sent_ns 1000000000, hop by 133.0.0.1", |life, _| hop(life, 2).ttl = 4),
        ("must be hop", |life, _| life.results[0] = told(1, Outcome::Lost, 0)),
        // It came 50 ms after the timeout: what it may be told to have taken makes no difference.
        ("must be lost", |life, _| life.results[1] = told(2, Outcome::Hop, 10)),
        ("must be lost", |life, _| life.results[1] = told(2, Outcome::Hop, 150)),
        // Nothing came but forgeries: with the right router's address, and with a stranger's.
        ("must be lost", |life, record| {
            record[4] = seen(4, &[(Form::Forged, 5), (Form::CorruptCookie, 6)]);
            life.results[3] = told(4, Outcome::Hop, 5);
        }),
        ("whoever said something was", |life, record| {
            record[4] = seen(4, &[(Form::Stranger, 5)]);
            life.results[3] = Told { hop: life.results[3].hop.take(), ..told(4, Outcome::Hop, 5) };
            hop(life, 3).from = Some([192, 0, 2, 1].into());
        }),
        // The forgery came 5 ms before the truth, and was taken for it.
        ("the reply left", |life, _| life.results[2].rtt_ns = Some(5 * MS + 4_000)),
        ("the reply left", |life, _| life.results[2].rtt_ns = Some(9 * MS)),
        ("past its timeout", |life, _| life.results[2].rtt_ns = Some(TIMEOUT + 1)),
        ("rejected 2 in the summary", |life, _| *life.summary.rejected.get_mut("cookie").unwrap() += 1),
        ("late 2 in the summary", |life, _| life.summary.late += 1),
        ("duplicate 2 in the summary", |life, _| life.summary.duplicate += 1),
        ("reply_ttl", |life, _| life.results[0].reply_ttl = Some(17)),
        ("quoted_ttl", |life, _| hop(life, 0).quoted_ttl = Some(1)),
        ("it says", |life, _| life.results[3].sent_ns += 1),
        ("not told of", |life, _| drop(life.results.remove(1))),
        ("never saw", |_, record| drop(record.remove(1))),
        ("it arrived twice", |_, record| record.push(seen(1, &[]))),
        ("second result", |life, _| life.results.push(told(1, Outcome::Hop, 10))),
        ("hop 3 in the summary", |life, _| life.summary.hop += 1),
        ("probes that left 8", |life, _| life.summary.probes += 1),
    ];
    for (about, lie) in lies {
        let verdict = verdict(lie);
        assert!(verdict.told.iter().any(|told| told.contains(about)), "{about}: {:?}", verdict.told);
    }
}

/// A frame was dropped here, and what it excused was a probe that nobody answered: one that was answered may be told to be lost for it, but
/// no second one.
#[test]
fn a_dropped_frame_may_have_excused_another_probe() {
    let change = |life: &mut Life| {
        life.results[0] = told(1, Outcome::Lost, 0);
        life.results[3].outcome = Outcome::Unheard;
        life.summary = Summary { hop: 1, unheard: 1, ..life.summary.clone() };
        life.summary.drops.insert("receive_ring".into(), 1);
    };
    let found = verdict(|life, _| change(life));
    assert_eq!((found.mismatches, found.excused), (0, 1), "{:?}", found.told);
    let found = verdict(|life, _| {
        change(life);
        life.results[2] = told(3, Outcome::Lost, 0);
    });
    assert!(found.mismatches == 1 && found.told[0].contains("must be hop"), "{:?}", found.told);
    let found = verdict(|life, _| {
        change(life);
        life.summary.drops.clear();
    });
    assert!(found.told.iter().any(|told| told.contains("must be hop")), "no frame was dropped: {:?}", found.told);
}

/// As [`verdict`], where the path of each probe may take 20 ms, and half of them a millisecond.
fn bounded(held_up: Vec<HeldUp>, change: impl FnOnce(&mut Life)) -> Verdict {
    let (mut life, record) = account();
    change(&mut life);
    let path = Some(PathBounds { median: MS, each: 20 * MS });
    judge(&life, &record, &Terms { path, held_up, ..Terms::default() })
}

#[test]
fn times_too_large_though_below_the_timeout() {
    let found = bounded(vec![], |_| ());
    assert_eq!(found.mismatches, 0, "{found}");
    let late = |life: &mut Life| life.results[2].rtt_ns = Some(31 * MS);
    let found = bounded(vec![], late);
    assert!(found.mismatches == 1 && found.told[0].contains("its path took 21003000 ns"), "{found}");
    // A CPU stood still while it was under way: no telling.
    let sent = 10 * TIMEOUT;
    let found = bounded(vec![HeldUp { from: sent + 5 * MS, to: sent + 30 * MS }], late);
    assert_eq!((found.mismatches, found.held_up), (0, 1), "{found}");
    // All of them, by little.
    let found = bounded(vec![], |life| {
        life.results.iter_mut().for_each(|told| told.rtt_ns = told.rtt_ns.map(|rtt| rtt + 2 * MS));
    });
    assert!(found.mismatches == 1 && found.told[0].contains("median"), "{found}");
}

/// A SYN says but about when it was made, and a datagram not at all: but neither can have arrived before it was sent.
#[test]
fn what_has_no_stamp_cannot_have_arrived_before_it_was_sent() {
    for udp in [false, true] {
        let ports = |seen: &mut Seen| {
            (seen.port, seen.udp, seen.sent_ns) = (80, udp, (seen.sent_ns >> UNIT) << UNIT);
        };
        let probe = if udp { "udp:80" } else { "tcp:80" };
        let change = |life: &mut Life, record: &mut Vec<Seen>| {
            record.iter_mut().for_each(ports);
            for told in &mut life.results {
                told.probe = Some(probe.into());
                told.port = (told.outcome == Outcome::Answered).then_some(crate::truth::evidence::PortState::Open);
            }
        };
        let good = verdict(change);
        assert_eq!(good.mismatches, 0, "{:?}", good.told);
        let bad = verdict(|life, record| {
            change(life, record);
            life.results[3].sent_ns += MS;
        });
        assert!(bad.told.iter().any(|told| told.contains("it says")), "{:?}", bad.told);
    }
}
