//! Hand-made records and results: a true account passes, and each kind of lie is found out.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::truth::evidence::{Form, PortState, Reply, TTL};
use std::net::{Ipv4Addr, Ipv6Addr};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 64, 0, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 1));
const ANOTHER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 2));
const MS: u64 = 1_000_000;
const TIMEOUT: u64 = 100 * MS;

/// A request to 10.64.0.1, sent at this moment, with these replies after so many milliseconds.
fn seen(number: u64, sent: u64, replies: &[(Form, u64)]) -> Seen {
    let reply = |(form, after): &(Form, u64)| Reply { form: *form, departure_ns: Some(sent + after * MS) };
    Seen {
        number,
        address: V4,
        sequence: u32::try_from(number & 0xffff).unwrap(),
        identifier: 1,
        port: 0,
        udp: false,
        sent_ns: sent,
        arrival_ns: sent + 3_000,
        decided: Vec::new(),
        replies: replies.iter().map(reply).collect(),
        ttl: None,
        router: None,
        reply_ttl: TTL,
    }
}

fn told(seen: &Seen, outcome: Outcome) -> Told {
    let departure = seen.replies.first().and_then(|reply| reply.departure_ns);
    let rtt = departure.filter(|_| outcome == Outcome::Answered).map(|departure| departure + 4_000 - seen.sent_ns);
    Told {
        sent_ns: seen.sent_ns,
        address: seen.address,
        seq: seen.number,
        outcome,
        rtt_ns: rtt,
        reply_ttl: rtt.map(|_| 64),
        probe: None,
        port: None,
        hop: None,
    }
}

/// Two seconds of a probe every 100 ms: lost, late, duplicate, corrupt, forged ones among them.
fn record() -> Vec<Seen> {
    let replies: [&[(Form, u64)]; 20] = [
        &[(Form::Good, 10)],
        &[(Form::Good, 20)],
        &[],
        &[(Form::Good, 10), (Form::Good, 12)],
        &[(Form::Good, 150)],
        &[(Form::CorruptPayload, 10)],
        &[(Form::CorruptCookie, 10)],
        &[(Form::Good, 10), (Form::Forged, 5)],
        &[(Form::Stranger, 10)],
        &[(Form::Good, 10), (Form::Good, 130)],
        &[(Form::Good, 80)],
        &[],
        &[(Form::Good, 11)],
        &[(Form::Error, 10)],
        &[(Form::ShortError, 10), (Form::Good, 20)],
        &[(Form::Good, 13)],
        &[(Form::Good, 14)],
        &[(Form::Good, 15)],
        &[(Form::Good, 16)],
        &[(Form::Good, 17)],
    ];
    (0..).zip(replies).map(|(number, replies)| seen(number, (number + 10) * 100 * MS, replies)).collect()
}

fn account(record: &[Seen]) -> Life {
    use Outcome::{Answered as A, Lost as L, Unreachable as U};
    let outcomes = [A, A, L, A, L, L, L, A, L, A, A, L, A, U, U, A, A, A, A, A];
    let results: Vec<Told> = record.iter().zip(outcomes).map(|(seen, outcome)| told(seen, outcome)).collect();
    let mut life = Life { results, summary: Summary::default(), timeout_ns: TIMEOUT };
    let of = |outcome| outcomes.iter().filter(|o| **o == outcome).count() as u64;
    life.summary = Summary {
        probes: 20,
        answered: of(A),
        lost: of(L),
        unreachable: of(U),
        late: 2,
        duplicate: 1,
        contradicted: 1,
        rejected: [("cookie".to_owned(), 4)].into(),
        ..Summary::default()
    };
    life
}

fn verdict(change: impl FnOnce(&mut Life, &mut Vec<Seen>)) -> Verdict {
    let mut record = record();
    let mut life = account(&record);
    change(&mut life, &mut record);
    judge(&[life], &record, &Terms::default())
}

/// The change is found out, and this is said of it.
fn caught(about: &str, change: impl FnOnce(&mut Life, &mut Vec<Seen>)) {
    let verdict = verdict(change);
    assert!(verdict.mismatches > 0, "{about}: not caught");
    assert!(verdict.told.iter().any(|told| told.contains(about)), "{about}: {:?}", verdict.told);
}

/// Makes a result another one, in the summary as well.
fn instead(life: &mut Life, index: usize, outcome: Outcome, rtt: Option<u64>) {
    for (outcome, by) in [(life.results[index].outcome, -1), (outcome, 1)] {
        let counter = match outcome {
            Outcome::Answered => &mut life.summary.answered,
            Outcome::Hop => &mut life.summary.hop,
            Outcome::Unreachable => &mut life.summary.unreachable,
            Outcome::Lost => &mut life.summary.lost,
            Outcome::Unheard => &mut life.summary.unheard,
            Outcome::Unsent => &mut life.summary.unsent,
        };
        *counter = counter.saturating_add_signed(by);
    }
    let result = &mut life.results[index];
    (result.outcome, result.rtt_ns, result.reply_ttl) = (outcome, rtt, rtt.map(|_| 64));
}

/// The same of SYNs to an open port: their record has sequence numbers masked in the low 8 bits and proven in the others, and says only
/// about when they were sent.
fn of_syns(life: &mut Life, record: &mut [Seen]) {
    for seen in record {
        seen.sequence = seen.sequence ^ 0xa7 | (seen.sequence * 77 + 5) << 8;
        seen.sent_ns = (seen.sent_ns >> UNIT & 0xffff_ffff) << UNIT;
        (seen.identifier, seen.port) = (61_000, 80);
    }
    for told in &mut life.results {
        told.probe = Some("tcp:80".into());
        told.port = (told.outcome == Outcome::Answered).then_some(PortState::Open);
    }
}

#[test]
fn the_truth_about_syns_passes() {
    let found = verdict(|life, record| {
        // Two lives of the kernel's clock on, where its low 32 bits have gone round.
        let later = 2 << 52;
        record.iter_mut().for_each(|seen| {
            (seen.sent_ns, seen.arrival_ns) = (seen.sent_ns + later, seen.arrival_ns + later);
            seen.replies.iter_mut().for_each(|reply| reply.departure_ns = reply.departure_ns.map(|at| at + later));
        });
        life.results.iter_mut().for_each(|told| told.sent_ns += later);
        of_syns(life, record);
    });
    assert_eq!(found.mismatches, 0, "{found}");
    assert_eq!((found.judged, found.path.count, found.path.median), (20, 12, 7_000));
    let made_before = verdict(|life, record| {
        of_syns(life, record);
        record.iter_mut().for_each(|seen| seen.sent_ns -= 40 << UNIT);
    });
    assert_eq!(made_before.mismatches, 0, "{made_before}");
}

#[test]
fn lies_about_syns_are_found_out() {
    let of = |about: &str, change: &dyn Fn(&mut Life, &mut Vec<Seen>)| {
        caught(about, |life, record| {
            of_syns(life, record);
            change(life, record);
        });
    };
    of("its sequence was", &|life, _| (life.results[4].seq, life.results[5].seq) = (5, 4));
    of("its sequence was", &|_, record| record[7].sequence ^= 1 << 6);
    of("the port Some(Closed) and not Some(Open)", &|life, _| life.results[0].port = Some(PortState::Closed));
    of("the port None and not Some(Open)", &|life, _| life.results[0].port = None);
    of("the port Some(Open) and not None", &|life, _| life.results[2].port = Some(PortState::Open));
    of("tcp:443, and it was sent to tcp port 80", &|life, _| life.results[0].probe = Some("tcp:443".into()));
    of("the far end never saw it", &|life, _| life.results[3].sent_ns -= 1 << UNIT);
    of("it arrived, and has no result", &|life, _| life.results[19].sent_ns -= 1 << UNIT);
    of("ns before that", &|life, _| life.results[0].sent_ns += 10_000);
    caught("a port that is Open, of an echo request", |life, _| life.results[0].port = Some(PortState::Open));
}

/// The same of UDP datagrams to an open port, from so many ports in turn: their record has the keyed word, masked in the low 8 bits by what
/// is the same in a flow, and not when they were sent.
fn of_datagrams(life: &mut Life, record: &mut [Seen], port: u16, ports: u16) {
    for seen in record.iter_mut() {
        let flow = u16::try_from(seen.number).unwrap() % ports;
        seen.sequence = seen.sequence & 0xff ^ u32::from(0xa7 ^ flow) | ((seen.sequence * 77 + 5) & 0xff) << 8;
        (seen.sent_ns, seen.identifier, seen.port, seen.udp) = (seen.arrival_ns, 61_000 + flow, port, true);
    }
    for told in &mut life.results {
        told.probe = Some(format!("udp:{port}").into());
        told.port = (told.outcome == Outcome::Answered).then_some(PortState::Open);
    }
}

#[test]
fn the_truth_about_udp_passes() {
    for (port, ports) in [(8, 16), (8, 1), (53, 1)] {
        let found = verdict(|life, record| of_datagrams(life, record, port, ports));
        assert_eq!(found.mismatches, 0, "{found}");
        assert_eq!((found.judged, found.path.count, found.path.median), (20, 12, 7_000));
    }
    // Over IPv6 there is no word but that of a question.
    let without = verdict(|life, record| {
        of_datagrams(life, record, 8, 16);
        record.iter_mut().for_each(|seen| (seen.address, seen.sequence) = (V6, 0));
        life.results.iter_mut().for_each(|told| told.address = V6);
    });
    assert_eq!(without.mismatches, 0, "{without}");
}

#[test]
fn lies_about_udp_are_found_out() {
    for (port, ports) in [(8, 5), (53, 1)] {
        let of = |about: &str, change: &dyn Fn(&mut Life, &mut Vec<Seen>)| {
            caught(about, |life, record| {
                of_datagrams(life, record, port, ports);
                change(life, record);
            });
        };
        of("its sequence was", &|life, _| (life.results[4].seq, life.results[5].seq) = (5, 4));
        of("its sequence was", &|_, record| record[7].sequence ^= 1 << 6);
        of("the port Some(Closed) and not Some(Open)", &|life, _| life.results[0].port = Some(PortState::Closed));
        of("the port None and not Some(Open)", &|life, _| life.results[0].port = None);
        of("and it was sent to udp port", &|life, _| life.results[0].probe = Some(format!("tcp:{port}").into()));
        of("it arrived, and has no result", &|life, _| drop(life.results.remove(7)));
        of("the far end never saw it", &|_, record| drop(record.remove(7)));
    }
    // Without a word the port alone tells the number.
    caught("its sequence was", |life, record| {
        of_datagrams(life, record, 8, 5);
        record.iter_mut().for_each(|seen| (seen.address, seen.sequence) = (V6, 0));
        life.results.iter_mut().for_each(|told| told.address = V6);
        let (mut seen, mut told) = (record[7].clone(), life.results[7].clone());
        (seen.address, told.address) = (ANOTHER_V6, ANOTHER_V6);
        seen.identifier += 1;
        record.push(seen);
        life.results.push(told);
    });
}

#[test]
fn the_truth_passes() {
    let verdict = verdict(|_, _| ());
    assert_eq!(verdict.mismatches, 0, "{verdict}");
    assert_eq!((verdict.judged, verdict.excused, verdict.borderline), (20, 0, 0));
    // 3 us there and 4 us back.
    let seven = Times { count: 12, min: 7_000, median: 7_000, p90: 7_000, p99: 7_000, max: 7_000 };
    assert_eq!(verdict.path, seven);
    assert_eq!(verdict.hold.max, 80 * MS - 3_000);
}

#[test]
fn a_target_of_the_other_family_is_another_one() {
    let moved = verdict(|life, record| {
        life.results.iter_mut().for_each(|told| told.address = V6);
        record.iter_mut().for_each(|seen| seen.address = V6);
    });
    assert_eq!((moved.judged, moved.mismatches), (20, 0), "{moved}");
    caught("fd00:64::1 seq 0", |life, _| life.results[0].address = V6);
    caught("10.64.0.1 sequence 0", |life, _| life.results[0].address = V6);
}

#[test]
fn a_sequence_off_by_one() {
    caught("its sequence was 0", |life, _| life.results[0].seq += 1);
    caught("20 numbers are left out", |life, _| life.results.iter_mut().for_each(|told| told.seq += 65_536 * 20));
    // On the wire and in the results alike.
    caught("1 numbers are left out", |life, record| {
        life.results.iter_mut().for_each(|told| told.seq += 1);
        record.iter_mut().for_each(|seen| seen.sequence += 1);
    });
}

#[test]
fn impossible_numbers_are_mismatches_and_no_panic() {
    caught("its sequence was", |life, _| life.results.iter_mut().for_each(|told| told.seq = u64::MAX));
    caught("past its timeout", |life, _| life.results[0].rtt_ns = Some(u64::MAX));
    caught("the far end never saw it", |life, _| life.results[0].sent_ns = u64::MAX);
    caught("must be lost", |_, record| record[0].replies[0].departure_ns = Some(u64::MAX));
}

#[test]
fn late_counted_as_answered() {
    caught("must be lost", |life, _| instead(life, 4, Outcome::Answered, Some(150 * MS + 4_000)));
    caught("late 1 in the summary, 2 to 2", |life, _| life.summary.late = 1);
    caught("a second result", |life, _| {
        let twice = life.results[0].clone();
        life.results.push(twice);
    });
}

#[test]
fn a_bit_not_cleared() {
    // The probe that meets it is taken for answered, or its reply for another one's.
    caught("must be lost", |life, _| instead(life, 2, Outcome::Answered, Some(10 * MS)));
    caught("contradicted 2 in the summary, 1 to 1", |life, _| life.summary.contradicted = 2);
    caught("must be answered", |life, _| instead(life, 1, Outcome::Lost, None));
    caught("has no result", |life, _| {
        life.results.remove(19);
    });
}

#[test]
fn duplicates_counted_as_answers() {
    caught("duplicate 0 in the summary, 1 to 1", |life, _| life.summary.duplicate = 0);
    caught("answered 13 in the summary, 12 in the results", |life, _| life.summary.answered += 1);
}

#[test]
fn wrong_times() {
    caught("the reply left", |life, _| life.results[0].rtt_ns = Some(9 * MS));
    caught("past its timeout", |life, _| life.results[10].rtt_ns = Some(TIMEOUT + 1));
    caught("the far end never saw it", |life, _| life.results[0].sent_ns += 1);
    caught("before that", |_, record| record[0].arrival_ns = record[0].sent_ns - 1);
    caught("reply_ttl", |life, _| life.results[0].reply_ttl = Some(63));
}

#[test]
fn forgeries_and_errors_believed() {
    caught("must be lost", |life, _| instead(life, 8, Outcome::Answered, Some(10 * MS + 4_000)));
    caught("must be unreachable", |life, _| instead(life, 13, Outcome::Lost, None));
    caught("must be unreachable", |life, _| instead(life, 14, Outcome::Answered, Some(20 * MS + 4_000)));
    caught("rejected 3 in the summary", |life, _| life.summary.rejected = [("cookie".to_owned(), 3)].into());
}

#[test]
fn errors_come_late_and_twice_as_replies_do() {
    let twice = |record: &mut Vec<Seen>| {
        let again = Some(record[13].sent_ns + 12 * MS);
        record[13].replies.push(Reply { form: Form::Error, departure_ns: again });
        record[4].replies[0].form = Form::ShortError;
    };
    assert_eq!(
        verdict(|life, record| {
            twice(record);
            life.summary.duplicate = 2;
        })
        .mismatches,
        0
    );
    caught("duplicate 1 in the summary, 2 to 2", |_, record| twice(record));
    // Where a bit of the quote is wrong echolot may never see it.
    for rejected in [3, 4] {
        let found = verdict(|life, record| {
            record[5].replies[0].form = Form::CorruptError;
            life.summary.rejected = [("checksum".to_owned(), rejected)].into();
        });
        assert_eq!(found.mismatches, 0, "{found}");
    }
}

#[test]
fn unheard_needs_a_dropped_frame() {
    caught("1 unheard, and 0 received frames", |life, _| instead(life, 2, Outcome::Unheard, None));
    let found = verdict(|life, _| {
        instead(life, 2, Outcome::Unheard, None);
        life.summary.drops.insert("receive_ring_full".into(), 1);
    });
    assert_eq!(found.mismatches, 0, "{found}");
}

#[test]
fn a_reply_that_echolots_socket_dropped_makes_its_probe_unheard() {
    caught("1 unheard, and 0 received frames", |life, _| instead(life, 0, Outcome::Unheard, None));
    let found = verdict(|life, _| {
        instead(life, 0, Outcome::Unheard, None);
        life.summary.drops.insert("receive_ring_full".into(), 1);
    });
    assert_eq!((found.mismatches, found.excused), (0, 1), "{found}");
    // Lost is another thing: nobody is told that this machine was to blame.
    caught("must be answered", |life, _| {
        instead(life, 0, Outcome::Lost, None);
        life.summary.drops.insert("receive_ring_full".into(), 1);
    });
}

#[test]
fn what_nobody_saw_needs_a_counter() {
    let mut record = record();
    let life = account(&record);
    record.remove(2);
    assert!(judge(std::slice::from_ref(&life), &record, &Terms::default()).mismatches > 0);
    let verdict = judge(&[life], &record, &Terms { excuses: Excuses { there: 1, back: 0 }, ..Terms::default() });
    assert_eq!((verdict.mismatches, verdict.excused), (0, 1), "{verdict}");
}

#[test]
fn of_targets_that_come_and_go_what_is_late_may_be_about_nobody_and_numbers_go_on() {
    let record = record();
    let sound = account(&record);
    assert!(sound.summary.late > 0);
    let judged = |targets_change, change: &dyn Fn(&mut Life)| {
        let mut life = sound.clone();
        change(&mut life);
        judge(&[life], &record, &Terms { targets_change, ..Terms::default() }).mismatches
    };
    let about_nobody = |life: &mut Life| {
        life.summary.late -= 1;
        *life.summary.rejected.entry("stale".into()).or_default() += 1;
    };
    assert_eq!(judged(true, &about_nobody), 0);
    assert!(judged(false, &about_nobody) > 0, "nobody has gone");
    assert!(judged(true, &|life| life.summary.late -= 1) > 0, "it is counted somewhere");
    let further = |life: &mut Life| life.results.iter_mut().for_each(|told| told.seq += 1 << 16);
    assert_eq!(judged(true, &further), 0);
    assert!(judged(false, &further) > 0, "left out, and not skipped");
}

#[test]
fn a_reply_just_before_the_timeout_may_count_either_way() {
    for outcome in [Outcome::Answered, Outcome::Lost] {
        let found = verdict(|life, record| {
            record[0].replies[0].departure_ns = Some(record[0].sent_ns + 98 * MS);
            instead(life, 0, outcome, (outcome == Outcome::Answered).then_some(98 * MS + 4_000));
        });
        assert_eq!((found.mismatches, found.borderline), (0, 1), "{found}");
    }
}

#[test]
fn replies_to_an_earlier_life_are_rejected_by_the_next() {
    // Both lives probe for two seconds; the last probe of the first is answered in the middle of the second.
    let mut first = record();
    first[18].replies[0].departure_ns = Some(first[18].sent_ns + 1_500 * MS);
    let mut before = account(&first);
    instead(&mut before, 18, Outcome::Lost, None);
    let mut second = record();
    for seen in &mut second {
        seen.number += 20;
        seen.sent_ns += 2_200 * MS;
        seen.arrival_ns += 2_200 * MS;
        seen.replies.iter_mut().for_each(|reply| reply.departure_ns = reply.departure_ns.map(|at| at + 2_200 * MS));
    }
    let mut after = account(&second);
    after.results.iter_mut().for_each(|told| told.seq -= 20);
    let all: Vec<Seen> = first.into_iter().chain(second).collect();
    let found = judge(&[before.clone(), after.clone()], &all, &Terms::default());
    assert!(found.told.iter().any(|told| told.contains("life 1: rejected 4 in the summary, 5 to 5")), "{found}");
    after.summary.rejected.insert("cookie".into(), 5);
    let found = judge(&[before.clone(), after.clone()], &all, &Terms::default());
    assert_eq!(found.mismatches, 0, "{found}");
    // Left after the end of the first and well before the second's first probe: the second may have been there to see it.
    let mut all = all;
    all[18].replies[0].departure_ns = after.results.first().map(|told| told.sent_ns - 110 * MS);
    for rejected in [4, 5] {
        after.summary.rejected.insert("cookie".into(), rejected);
        let found = judge(&[before.clone(), after.clone()], &all, &Terms::default());
        assert_eq!(found.mismatches, 0, "{rejected}: {found}");
    }
}

/// A judge with bounds on the path.
fn bounded(held_up: Vec<HeldUp>, change: impl FnOnce(&mut Life)) -> Verdict {
    let record = record();
    let mut life = account(&record);
    change(&mut life);
    let path = Some(PathBounds { median: MS, each: 20 * MS });
    judge(&[life], &record, &Terms { path, held_up, ..Terms::default() })
}

#[test]
fn times_too_large_though_below_the_timeout() {
    let found = bounded(vec![], |_| ());
    assert_eq!(found.mismatches, 0, "{found}");
    // One answer, by much.
    let late = |life: &mut Life| life.results[0].rtt_ns = Some(60 * MS);
    let found = bounded(vec![], late);
    assert!(found.mismatches == 1 && found.told[0].contains("its path took 50003000 ns"), "{found}");
    // A CPU stood still while it was under way: no telling. Before and after: no excuse.
    let sent = record()[0].sent_ns;
    let found = bounded(vec![HeldUp { from: sent + 20 * MS, to: sent + 70 * MS }], late);
    assert_eq!((found.mismatches, found.held_up), (0, 1), "{found}");
    let elsewhere = [(0, sent - 1), (sent + 61 * MS, sent + 70 * MS)];
    let found = bounded(elsewhere.map(|(from, to)| HeldUp { from, to }).to_vec(), late);
    assert_eq!((found.mismatches, found.held_up), (1, 0), "{found}");
    // All of them, by little.
    let found = bounded(vec![], |life| {
        life.results.iter_mut().for_each(|told| told.rtt_ns = told.rtt_ns.map(|rtt| rtt + 2 * MS));
    });
    assert!(found.mismatches == 1 && found.told[0].contains("median"), "{found}");
}

#[test]
fn what_has_no_record_must_be_answered() {
    let address: IpAddr = Ipv4Addr::new(10, 65, 0, 1).into();
    let unrecorded = |outcome, rtt: Option<u64>, back: u64| {
        let record = record();
        let mut life = account(&record);
        let sent_ns = record[5].sent_ns + 1;
        life.results.push(Told { address, sent_ns, seq: 0, ..life.results[0].clone() });
        (life.summary.probes, life.summary.answered) = (life.summary.probes + 1, life.summary.answered + 1);
        instead(&mut life, 20, outcome, rtt);
        let excuses = Excuses { there: 0, back };
        judge(&[life], &record, &Terms { excuses, unrecorded: vec![(address, address)], ..Terms::default() })
    };
    let found = unrecorded(Outcome::Answered, Some(MS), 0);
    assert_eq!((found.mismatches, found.unrecorded), (0, 1), "{found}");
    let told = |found: &Verdict, what: &str| found.told.iter().any(|told| told.contains(what));
    assert!(told(&unrecorded(Outcome::Lost, None, 0), "must be answered"));
    assert!(!told(&unrecorded(Outcome::Lost, None, 1), "must be answered"));
    assert!(told(&unrecorded(Outcome::Answered, Some(TIMEOUT + 1), 0), "past its timeout"));
    assert!(told(&unrecorded(Outcome::Answered, None, 0), "must be answered"));
}

#[test]
fn stretches_are_found_wherever_they_overlap() {
    let held = |from, to| HeldUp { from, to };
    let stretches = Stretches::of(&[held(50, 60), held(10, 20), held(12, 30), held(15, 18), held(80, 81)], 3);
    for (from, to, meet) in
        [(0, 9, false), (0, 10, true), (19, 25, true), (30, 30, true), (31, 49, false), (31, 50, true), (61, 99, false)]
    {
        assert_eq!(stretches.meet(from, to), meet, "{from} to {to}");
    }
}
