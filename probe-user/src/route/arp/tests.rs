#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn on_link(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + n)
}

const SHARE: Share = Share { v4: 8, v6: 8 };
const MANY: u32 = 20_000;

fn table_of(targets: u32) -> ArpTable {
    let gateway = Hop::new(GATEWAY, US, false);
    let hops = std::iter::once(gateway).chain((0..targets).map(|n| Hop::new(on_link(n), US, true)));
    ArpTable::new(Arc::new(hops.collect()), SHARE, true)
}

fn table() -> ArpTable {
    table_of(MANY)
}

#[test]
fn the_kernel_is_asked_about_all_or_none() {
    assert_eq!(table_of(7).len(), 0, "with the gateway eight, which is our share");
    assert_eq!(table_of(8).len(), 8);
}

fn at(millis: u64) -> Nanos {
    Nanos::from_secs(1_000) + Nanos::from_millis(millis)
}

fn hop(table: &ArpTable, n: u32) -> Neighbour {
    table.hops.get(n + 1).unwrap().neighbour()
}

fn ask(table: &mut ArpTable, now: Nanos) -> Vec<Question> {
    let mut questions = Vec::new();
    table.questions(now, &mut questions);
    questions
}

/// All questions until a moment, with their times.
fn run(table: &mut ArpTable, from: Nanos, until: Nanos) -> Vec<(Nanos, Question)> {
    let (mut asked, mut now) = (Vec::new(), from);
    while now <= until {
        asked.extend(ask(table, now).into_iter().map(|question| (now, question)));
        now = table.next().max(now + Nanos(1));
    }
    asked
}

fn broadcast(n: u32) -> Question {
    Question { address: on_link(n), source: US, to: None }
}

#[test]
fn who_is_not_wanted_is_not_asked_and_gateways_are_the_kernels() {
    let mut table = table();
    assert_eq!(table.len(), MANY as usize);
    table.want(GATEWAY, at(0));
    table.want(Ipv4Addr::new(198, 51, 100, 1), at(0));
    assert_eq!(run(&mut table, at(0), at(100_000)), []);
    assert_eq!(hop(&table, 7), Neighbour::Unknown);
}

#[test]
fn three_questions_a_second_apart_and_then_unresolved() {
    let mut table = table();
    table.want(on_link(7), at(0));
    table.want(on_link(7), at(1));
    let asked = run(&mut table, at(0), at(2_999));
    assert_eq!(asked, [0, 1_000, 2_000].map(|millis| (at(millis), broadcast(7))));
    assert_eq!(hop(&table, 7), Neighbour::Unknown, "the last question is still open");
    assert_eq!(run(&mut table, at(3_000), at(60_000)), []);
    assert_eq!(hop(&table, 7), Neighbour::Unresolved);
    // A probe to it: one more question, and it stays unresolved meanwhile.
    table.want(on_link(7), at(60_000));
    assert_eq!(run(&mut table, at(60_000), at(90_000)), [(at(60_000), broadcast(7))]);
    table.want(on_link(7), at(90_001));
    ask(&mut table, at(90_001));
    assert_eq!(hop(&table, 7), Neighbour::Unresolved);
    table.answered(on_link(7), MAC, US, at(90_002));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC));
}

#[test]
fn who_has_answered_is_confirmed_by_unicast_and_then_by_broadcast() {
    let mut table = table();
    table.want(on_link(7), at(0));
    ask(&mut table, at(0));
    table.answered(on_link(7), MAC, US, at(1));
    let unicast = Question { to: Some(MAC), ..broadcast(7) };
    assert_eq!(run(&mut table, at(1), at(30_001)), [(at(30_001), unicast)]);
    table.answered(on_link(7), MAC, US, at(30_002));
    let asked = run(&mut table, at(30_003), at(65_003));
    let when = |n: u64| at(60_002 + 1_000 * n);
    let expected: Vec<_> = (0..6).map(|n| (when(n), if n < 3 { unicast } else { broadcast(7) })).collect();
    assert_eq!(asked, expected);
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC), "used until it is given up");
    run(&mut table, at(65_004), at(66_002));
    assert_eq!(hop(&table, 7), Neighbour::Unresolved);
}

#[test]
fn only_answers_to_open_questions_are_believed() {
    let mut table = table();
    table.answered(on_link(7), MAC, US, at(0));
    table.heard(on_link(7), MAC, at(0));
    assert_eq!((hop(&table, 7), ask(&mut table, at(1))), (Neighbour::Unknown, vec![]), "nobody asked");
    table.want(on_link(7), at(2));
    table.answered(on_link(7), MAC, US, at(2));
    assert_eq!(hop(&table, 7), Neighbour::Unknown, "wanted, but not asked yet");
    ask(&mut table, at(3));
    table.answered(on_link(8), MAC, US, at(4));
    table.answered(on_link(7), OTHER, GATEWAY, at(4));
    table.heard(on_link(7), OTHER, at(4));
    assert_eq!(hop(&table, 7), Neighbour::Unknown, "of another, for another, and no answer");
    table.answered(on_link(7), MAC, US, at(5));
    table.answered(on_link(7), OTHER, US, at(6));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC), "the first word holds");
    assert_eq!(ask(&mut table, at(900)), [], "right after it nobody is asked again");
}

#[test]
fn news_of_a_neighbour_is_a_question() {
    let mut table = table();
    table.want(on_link(7), at(0));
    ask(&mut table, at(0));
    table.answered(on_link(7), MAC, US, at(1));
    table.heard(on_link(7), MAC, at(5_000));
    assert_eq!(ask(&mut table, at(5_000)), [], "nothing new");
    table.heard(on_link(7), OTHER, at(5_001));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC));
    assert_eq!(ask(&mut table, at(5_001)), [broadcast(7)]);
    table.answered(on_link(7), OTHER, US, at(5_002));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(OTHER), "it has moved");
    // One that had been given up and speaks.
    table.want(on_link(8), at(6_000));
    run(&mut table, at(6_000), at(10_000));
    assert_eq!(hop(&table, 8), Neighbour::Unresolved);
    table.heard(on_link(8), OTHER, at(11_000));
    assert_eq!(run(&mut table, at(11_000), at(11_500)), [(at(11_000), broadcast(8))]);
    table.answered(on_link(8), OTHER, US, at(11_501));
    assert_eq!(hop(&table, 8), Neighbour::Resolved(OTHER));
    // Two answers that nobody asked for, before anybody could be: neither is one.
    table.answered(on_link(7), MAC, US, at(12_000));
    table.answered(on_link(7), MAC, US, at(12_000));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(OTHER));
    assert_eq!(ask(&mut table, at(12_000)), [broadcast(7)]);
    table.answered(on_link(7), MAC, US, at(12_001));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC));
}

#[test]
fn an_entry_made_by_hand_is_used_and_not_asked() {
    let mut table = table();
    table.told(on_link(7), Some(MAC));
    table.told(on_link(8), None);
    table.want(on_link(7), at(0));
    table.answered(on_link(7), OTHER, US, at(0));
    assert_eq!(run(&mut table, at(0), at(100_000)), []);
    assert_eq!((hop(&table, 7), hop(&table, 8)), (Neighbour::Resolved(MAC), Neighbour::Unknown));
    table.told(on_link(7), None);
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC));
    assert_eq!(ask(&mut table, at(100_001)), [Question { to: Some(MAC), ..broadcast(7) }]);
}

#[test]
fn questions_are_paced() {
    let mut table = table();
    (0..MANY).for_each(|n| table.want(on_link(n), at(0)));
    let asked = run(&mut table, at(0), at(1_000));
    assert!(asked.len() >= MANY as usize);
    // 100,000 a second, and a millisecond's worth more at once.
    for (place, (when, _)) in asked.iter().enumerate() {
        let most = (*when - at(0)).0 / SPACING.0 + 102;
        assert!(place as u64 <= most, "{place} questions by {when}");
    }
    // All are given up, and then wanted again and again: 667 a second, so that each is asked within half a minute.
    run(&mut table, at(1_001), at(10_000));
    assert!((0..MANY).all(|n| hop(&table, n) == Neighbour::Unresolved));
    let mut again = Vec::new();
    for second in 0..40 {
        (0..MANY).for_each(|n| table.want(on_link(n), at(10_000 + second * 1_000)));
        let (from, until) = (at(10_000 + second * 1_000), at(10_999 + second * 1_000));
        again.extend(run(&mut table, from, until));
    }
    let rate = again.len() / 40;
    assert!((600..=700).contains(&rate), "{rate} a second");
    let mut times: HashMap<Ipv4Addr, usize> = HashMap::new();
    again.iter().for_each(|(_, question)| *times.entry(question.address).or_default() += 1);
    assert_eq!(times.len(), MANY as usize, "everybody in turn");
}

#[test]
fn a_link_that_was_down_takes_its_questions_along() {
    let mut table = table();
    table.want(on_link(7), at(0));
    run(&mut table, at(0), at(2_500));
    table.link_returned();
    let asked = run(&mut table, at(10_000), at(13_100));
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(hop(&table, 7), Neighbour::Unresolved);
}

#[test]
fn hops_come_and_go_and_what_is_known_stays() {
    let mut table = table();
    (0..3).for_each(|n| table.want(on_link(n), at(0)));
    assert_eq!(ask(&mut table, at(0)).len(), 3);
    table.answered(on_link(0), MAC, US, at(1));
    table.want(on_link(5), at(1));
    // A new target, one address from another source too, and one that is no longer.
    let again = Ipv4Addr::new(192, 0, 2, 10);
    let new = table.hops.add(Hop::new(on_link(MANY), US, true));
    let other = table.hops.add(Hop::new(on_link(0), again, true));
    table.hops.use_only(|place| place != 2);
    table.renew();
    assert_eq!(table.len(), MANY as usize + 1);
    let neighbour = |place| table.hops.get(place).unwrap().neighbour();
    assert_eq!((neighbour(new), neighbour(other)), (Neighbour::Unknown, Neighbour::Resolved(MAC)));
    // What was wanted is asked, what was open stays open, and what is fresh is confirmed in time.
    assert_eq!(ask(&mut table, at(2)), [broadcast(5)]);
    table.answered(on_link(2), OTHER, US, at(3));
    assert_eq!(hop(&table, 2), Neighbour::Resolved(OTHER));
    let asked = run(&mut table, at(4), at(30_001));
    assert_eq!(asked.last(), Some(&(at(30_001), Question { to: Some(MAC), ..broadcast(0) })));
    assert!(asked.iter().all(|(_, question)| question.address != on_link(1)), "no longer used");
}

/// What may happen to one neighbour.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Wanted,
    Answers([u8; 6]),
    Announces([u8; 6]),
    Nothing,
}

proptest! {
    #[test]
    fn no_neighbour_is_asked_twice_in_a_second_nor_believed_unasked(
        events in proptest::collection::vec(
            (0u64..40_000, 0u32..4, prop_oneof![
                Just(Happens::Wanted),
                Just(Happens::Answers(MAC)),
                Just(Happens::Answers(OTHER)),
                Just(Happens::Announces(OTHER)),
                Just(Happens::Nothing),
            ]),
            0..200,
        ),
    ) {
        let mut events = events;
        events.sort_by_key(|(when, ..)| *when);
        let mut table = table_of(8);
        let (mut now, mut asked, mut open) = (at(0), Vec::new(), HashMap::new());
        for (millis, n, what) in events {
            asked.extend(run(&mut table, now, at(millis)));
            now = at(millis) + Nanos(1);
            for (when, question) in &asked {
                open.insert(question.address, *when);
            }
            let before = hop(&table, n);
            match what {
                Happens::Wanted => table.want(on_link(n), now),
                Happens::Answers(mac) => table.answered(on_link(n), mac, US, now),
                Happens::Announces(mac) => table.heard(on_link(n), mac, now),
                Happens::Nothing => {}
            }
            if hop(&table, n) != before && hop(&table, n).is_resolved() {
                let when = open.get(&on_link(n)).copied();
                prop_assert!(when.is_some_and(|when| now - when <= APART), "believed at {now}, asked at {when:?}");
            }
        }
        let mut last: HashMap<Ipv4Addr, Nanos> = HashMap::new();
        for (when, question) in asked {
            if let Some(before) = last.insert(question.address, when) {
                prop_assert!(when - before >= APART, "{question:?} at {before} and {when}");
            }
        }
    }
}
