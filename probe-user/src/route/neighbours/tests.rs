#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

/// Addresses of a family to test with.
trait Sample: Address + std::hash::Hash {
    const US: Self;
    const GATEWAY: Self;
    /// Another one of ours.
    const AGAIN: Self;
    /// Behind the gateway.
    const BEHIND: Self;

    /// Neighbour number `n`.
    fn on_link(n: u32) -> Self;
}

impl Sample for Ipv4Addr {
    const US: Self = Self::new(192, 0, 2, 9);
    const GATEWAY: Self = Self::new(192, 0, 2, 1);
    const AGAIN: Self = Self::new(192, 0, 2, 10);
    const BEHIND: Self = Self::new(198, 51, 100, 1);

    fn on_link(n: u32) -> Self {
        Self::from_bits(0x0a00_0000 + n)
    }
}

impl Sample for Ipv6Addr {
    const US: Self = Self::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
    const GATEWAY: Self = Self::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const AGAIN: Self = Self::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 10);
    const BEHIND: Self = Self::new(0x2001, 0xdb8, 0xbe, 0, 0, 0, 0, 1);

    fn on_link(n: u32) -> Self {
        Self::from_bits(0x2001_0db8_0000_0000_0000_0001_0000_0000 + u128::from(n))
    }
}

/// What holds of one family holds of the other.
macro_rules! of_either_family {
    ($($name:ident)*) => {
        mod v4 {
            $(#[test] fn $name() { super::$name::<super::Ipv4Addr>() })*
        }
        mod v6 {
            $(#[test] fn $name() { super::$name::<super::Ipv6Addr>() })*
        }
    };
}

of_either_family! {
    the_kernel_is_asked_about_all_or_none
    who_is_not_wanted_is_not_asked_and_gateways_are_the_kernels
    three_questions_a_second_apart_and_then_unresolved
    who_has_answered_is_confirmed_by_unicast_and_then_by_broadcast
    only_answers_to_open_questions_are_believed
    news_of_a_neighbour_is_a_question
    an_entry_made_by_hand_is_used_and_not_asked
    questions_are_paced
    a_link_that_was_down_takes_its_questions_along
    hops_come_and_go_and_what_is_known_stays
    what_does_not_replace_only_supplies_or_confirms
    each_family_has_its_own
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn on_link<A: Sample>(n: u32) -> A {
    A::on_link(n)
}

const SHARE: Share = Share { v4: 8, v6: 8 };
const MANY: u32 = 20_000;

fn table_of<A: Sample>(targets: u32) -> NeighbourTable<A> {
    let gateway = Hop::new(A::GATEWAY, A::US, false);
    let hops = std::iter::once(gateway).chain((0..targets).map(|n| Hop::new(A::on_link(n), A::US, true)));
    NeighbourTable::new(Arc::new(hops.collect()), SHARE, true)
}

fn table<A: Sample>() -> NeighbourTable<A> {
    table_of(MANY)
}

fn the_kernel_is_asked_about_all_or_none<A: Sample>() {
    assert_eq!(table_of::<A>(7).len(), 0, "with the gateway eight, which is our share");
    assert_eq!(table_of::<A>(8).len(), 8);
}

fn at(millis: u64) -> Nanos {
    Nanos::from_secs(1_000) + Nanos::from_millis(millis)
}

fn hop<A>(table: &NeighbourTable<A>, n: u32) -> Neighbour {
    table.hops.get(n + 1).unwrap().neighbour()
}

fn ask<A: Address>(table: &mut NeighbourTable<A>, now: Nanos) -> Vec<Question<A>> {
    let mut questions = Vec::new();
    table.questions(now, &mut questions);
    questions
}

/// All questions until a moment, with their times.
fn run<A: Address>(table: &mut NeighbourTable<A>, from: Nanos, until: Nanos) -> Vec<(Nanos, Question<A>)> {
    let (mut asked, mut now) = (Vec::new(), from);
    while now <= until {
        asked.extend(ask(table, now).into_iter().map(|question| (now, question)));
        now = table.next().max(now + Nanos(1));
    }
    asked
}

fn broadcast<A: Sample>(n: u32) -> Question<A> {
    Question { address: A::on_link(n), source: A::US, to: None }
}

/// An answer for `to` comes that can replace what is known.
fn answer<A: Sample>(table: &mut NeighbourTable<A>, address: A, mac: [u8; 6], to: A, now: Nanos) {
    table.answered(Answer { address, mac, to, weight: Weight::Replaces }, now);
}

fn who_is_not_wanted_is_not_asked_and_gateways_are_the_kernels<A: Sample>() {
    let mut table = table::<A>();
    assert_eq!(table.len(), MANY as usize);
    table.want(A::GATEWAY, at(0));
    table.want(A::BEHIND, at(0));
    assert_eq!(run(&mut table, at(0), at(100_000)), []);
    assert_eq!(hop(&table, 7), Neighbour::Unknown);
}

fn three_questions_a_second_apart_and_then_unresolved<A: Sample>() {
    let mut table = table::<A>();
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
    answer(&mut table, on_link(7), MAC, A::US, at(90_002));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC));
}

fn who_has_answered_is_confirmed_by_unicast_and_then_by_broadcast<A: Sample>() {
    let mut table = table::<A>();
    table.want(on_link(7), at(0));
    ask(&mut table, at(0));
    answer(&mut table, on_link(7), MAC, A::US, at(1));
    let unicast = Question { to: Some(MAC), ..broadcast(7) };
    assert_eq!(run(&mut table, at(1), at(30_001)), [(at(30_001), unicast)]);
    answer(&mut table, on_link(7), MAC, A::US, at(30_002));
    let asked = run(&mut table, at(30_003), at(65_003));
    let when = |n: u64| at(60_002 + 1_000 * n);
    let expected: Vec<_> = (0..6).map(|n| (when(n), if n < 3 { unicast } else { broadcast(7) })).collect();
    assert_eq!(asked, expected);
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC), "used until it is given up");
    run(&mut table, at(65_004), at(66_002));
    assert_eq!(hop(&table, 7), Neighbour::Unresolved);
}

fn only_answers_to_open_questions_are_believed<A: Sample>() {
    let mut table = table::<A>();
    answer(&mut table, on_link(7), MAC, A::US, at(0));
    table.heard(on_link(7), MAC, at(0));
    assert_eq!((hop(&table, 7), ask(&mut table, at(1))), (Neighbour::Unknown, vec![]), "nobody asked");
    table.want(on_link(7), at(2));
    answer(&mut table, on_link(7), MAC, A::US, at(2));
    assert_eq!(hop(&table, 7), Neighbour::Unknown, "wanted, but not asked yet");
    ask(&mut table, at(3));
    answer(&mut table, on_link(8), MAC, A::US, at(4));
    answer(&mut table, on_link(7), OTHER, A::GATEWAY, at(4));
    table.heard(on_link(7), OTHER, at(4));
    assert_eq!(hop(&table, 7), Neighbour::Unknown, "of another, for another, and no answer");
    answer(&mut table, on_link(7), MAC, A::US, at(5));
    answer(&mut table, on_link(7), OTHER, A::US, at(6));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC), "the first word holds");
    assert_eq!(ask(&mut table, at(900)), [], "right after it nobody is asked again");
}

fn news_of_a_neighbour_is_a_question<A: Sample>() {
    let mut table = table::<A>();
    table.want(on_link(7), at(0));
    ask(&mut table, at(0));
    answer(&mut table, on_link(7), MAC, A::US, at(1));
    table.heard(on_link(7), MAC, at(5_000));
    assert_eq!(ask(&mut table, at(5_000)), [], "nothing new");
    table.heard(on_link(7), OTHER, at(5_001));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC));
    assert_eq!(ask(&mut table, at(5_001)), [broadcast(7)]);
    answer(&mut table, on_link(7), OTHER, A::US, at(5_002));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(OTHER), "it has moved");
    // One that had been given up and speaks.
    table.want(on_link(8), at(6_000));
    run(&mut table, at(6_000), at(10_000));
    assert_eq!(hop(&table, 8), Neighbour::Unresolved);
    table.heard(on_link(8), OTHER, at(11_000));
    assert_eq!(run(&mut table, at(11_000), at(11_500)), [(at(11_000), broadcast(8))]);
    answer(&mut table, on_link(8), OTHER, A::US, at(11_501));
    assert_eq!(hop(&table, 8), Neighbour::Resolved(OTHER));
    // Two answers that nobody asked for, before anybody could be: neither is one.
    answer(&mut table, on_link(7), MAC, A::US, at(12_000));
    answer(&mut table, on_link(7), MAC, A::US, at(12_000));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(OTHER));
    assert_eq!(ask(&mut table, at(12_000)), [broadcast(7)]);
    answer(&mut table, on_link(7), MAC, A::US, at(12_001));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC));
}

fn an_entry_made_by_hand_is_used_and_not_asked<A: Sample>() {
    let mut table = table::<A>();
    table.told(on_link(7), Some(MAC));
    table.told(on_link(8), None);
    table.want(on_link(7), at(0));
    answer(&mut table, on_link(7), OTHER, A::US, at(0));
    assert_eq!(run(&mut table, at(0), at(100_000)), []);
    assert_eq!((hop(&table, 7), hop(&table, 8)), (Neighbour::Resolved(MAC), Neighbour::Unknown));
    table.told(on_link(7), None);
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC));
    assert_eq!(ask(&mut table, at(100_001)), [Question { to: Some(MAC), ..broadcast(7) }]);
}

fn questions_are_paced<A: Sample>() {
    let mut table = table::<A>();
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
    let mut times: HashMap<A, usize> = HashMap::new();
    again.iter().for_each(|(_, question)| *times.entry(question.address).or_default() += 1);
    assert_eq!(times.len(), MANY as usize, "everybody in turn");
}

fn a_link_that_was_down_takes_its_questions_along<A: Sample>() {
    let mut table = table::<A>();
    table.want(on_link(7), at(0));
    run(&mut table, at(0), at(2_500));
    table.link_returned();
    let asked = run(&mut table, at(10_000), at(13_100));
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(hop(&table, 7), Neighbour::Unresolved);
}

fn hops_come_and_go_and_what_is_known_stays<A: Sample>() {
    let mut table = table::<A>();
    (0..3).for_each(|n| table.want(on_link(n), at(0)));
    assert_eq!(ask(&mut table, at(0)).len(), 3);
    answer(&mut table, on_link(0), MAC, A::US, at(1));
    table.want(on_link(5), at(1));
    // A new target, one address from another source too, and one that is no longer.
    let new = table.hops.add(Hop::new(on_link::<A>(MANY), A::US, true));
    let other = table.hops.add(Hop::new(on_link::<A>(0), A::AGAIN, true));
    table.hops.use_only(|place| place != 2);
    table.renew();
    assert_eq!(table.len(), MANY as usize + 1);
    let neighbour = |place| table.hops.get(place).unwrap().neighbour();
    assert_eq!((neighbour(new), neighbour(other)), (Neighbour::Unknown, Neighbour::Resolved(MAC)));
    // What was wanted is asked, what was open stays open, and what is fresh is confirmed in time.
    assert_eq!(ask(&mut table, at(2)), [broadcast(5)]);
    answer(&mut table, on_link(2), OTHER, A::US, at(3));
    assert_eq!(hop(&table, 2), Neighbour::Resolved(OTHER));
    let asked = run(&mut table, at(4), at(30_001));
    assert_eq!(asked.last(), Some(&(at(30_001), Question { to: Some(MAC), ..broadcast(0) })));
    assert!(asked.iter().all(|(_, question)| question.address != on_link(1)), "no longer used");
}

fn what_does_not_replace_only_supplies_or_confirms<A: Sample>() {
    let mut table = table::<A>();
    let said = |mac, weight| Answer { address: on_link::<A>(7), mac, to: A::US, weight };
    table.want(on_link(7), at(0));
    ask(&mut table, at(0));
    table.answered(said(MAC, Weight::Confirms), at(1));
    assert_eq!(hop(&table, 7), Neighbour::Unknown, "there is nothing to confirm");
    table.answered(said(MAC, Weight::Supplies), at(1));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC));
    // Asked again, by unicast.
    assert_eq!(run(&mut table, at(2), at(30_001)).len(), 1);
    table.answered(said(OTHER, Weight::Supplies), at(30_002));
    table.answered(said(OTHER, Weight::Confirms), at(30_002));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(MAC));
    assert_eq!(run(&mut table, at(30_003), at(31_001)).len(), 1, "and not confirmed");
    table.answered(said(MAC, Weight::Confirms), at(31_002));
    assert_eq!(run(&mut table, at(31_003), at(60_000)), []);
    // By broadcast in the end: then an answer has to say of which MAC address it speaks.
    assert_eq!(run(&mut table, at(60_001), at(64_002)).last().map(|(_, question)| question.to), Some(None));
    table.answered(said(MAC, Weight::Confirms), at(64_003));
    assert_eq!(run(&mut table, at(64_004), at(65_002)).len(), 1);
    table.answered(said(MAC, Weight::Supplies), at(65_003));
    assert_eq!(run(&mut table, at(65_004), at(95_002)), []);
    // Whoever can replace, does.
    assert_eq!(run(&mut table, at(95_003), at(95_003)).len(), 1);
    table.answered(said(OTHER, Weight::Replaces), at(95_004));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(OTHER));
    // Later another speaks for it unasked: a reason to ask, and what it then says without the right to replace is not believed.
    table.answered(said(MAC, Weight::Confirms), at(100_000));
    assert_eq!(ask(&mut table, at(100_000)), [], "it names no MAC address");
    table.answered(said(MAC, Weight::Supplies), at(100_000));
    assert_eq!(ask(&mut table, at(100_000)), [broadcast(7)]);
    table.answered(said(MAC, Weight::Supplies), at(100_001));
    assert_eq!(hop(&table, 7), Neighbour::Resolved(OTHER));
    table.answered(said(OTHER, Weight::Supplies), at(100_002));
    assert_eq!(run(&mut table, at(100_003), at(130_000)), []);
}

fn each_family_has_its_own<A: Sample>() {
    let of = |n: u32| {
        [Hop::new(Ipv4Addr::on_link(n), Ipv4Addr::US, true), Hop::new(Ipv6Addr::on_link(n), Ipv6Addr::US, true)]
    };
    let hops: Arc<Hops> = Arc::new((0..20).flat_map(of).collect());
    let mut table: NeighbourTable<A> = NeighbourTable::new(Arc::clone(&hops), SHARE, true);
    assert_eq!(table.len(), 20);
    (0..20).for_each(|n| table.want(on_link(n), at(0)));
    let asked = ask(&mut table, at(0));
    assert_eq!(asked, (0..20).map(broadcast).collect::<Vec<_>>());
    (0..20).for_each(|n| answer(&mut table, on_link(n), MAC, A::US, at(1)));
    let resolved = |hop: &&Hop| hop.neighbour().is_resolved();
    assert_eq!(hops.iter().filter(resolved).count(), 20);
    assert!(hops.iter().filter(resolved).all(|hop| A::of(hop.address).is_some()));
}

/// What may happen to one neighbour.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Wanted,
    Answers([u8; 6], Weight),
    Announces([u8; 6]),
    Nothing,
}

/// Something happens to a neighbour, after so many milliseconds.
type Event = (u64, u32, Happens);

fn is_asked_and_believed_as_it_should_be<A: Sample>(events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut events = events;
    events.sort_by_key(|(when, ..)| *when);
    let mut table = table_of::<A>(8);
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
            Happens::Answers(mac, weight) => {
                table.answered(Answer { address: on_link(n), mac, to: A::US, weight }, now);
            }
            Happens::Announces(mac) => table.heard(on_link(n), mac, now),
            Happens::Nothing => {}
        }
        if hop(&table, n) != before && hop(&table, n).is_resolved() {
            let when = open.get(&on_link::<A>(n)).copied();
            prop_assert!(when.is_some_and(|when| now - when <= APART), "believed at {now}, asked at {when:?}");
            let Happens::Answers(_, weight) = what else { panic!("believed: {what:?}") };
            let least = if before.is_resolved() { [Weight::Replaces; 2] } else { [Weight::Replaces, Weight::Supplies] };
            prop_assert!(least.contains(&weight), "{before:?} and then {weight:?}");
        }
    }
    let mut last: HashMap<A, Nanos> = HashMap::new();
    for (when, question) in asked {
        if let Some(before) = last.insert(question.address, when) {
            prop_assert!(when - before >= APART, "{question:?} at {before} and {when}");
        }
    }
    Ok(())
}

fn happens() -> impl Strategy<Value = Happens> {
    let mac = prop_oneof![Just(MAC), Just(OTHER)];
    let weight = prop_oneof![3 => Just(Weight::Replaces), 1 => Just(Weight::Supplies), 1 => Just(Weight::Confirms)];
    prop_oneof![
        1 => Just(Happens::Wanted),
        2 => (mac, weight).prop_map(|(mac, weight)| Happens::Answers(mac, weight)),
        1 => Just(Happens::Announces(OTHER)),
        1 => Just(Happens::Nothing),
    ]
}

proptest! {
    #[test]
    fn no_neighbour_is_asked_twice_in_a_second_nor_believed_unasked(
        events in proptest::collection::vec((0u64..40_000, 0u32..4, happens()), 0..200),
    ) {
        is_asked_and_believed_as_it_should_be::<Ipv4Addr>(events.clone())?;
        is_asked_and_believed_as_it_should_be::<Ipv6Addr>(events)?;
    }
}
