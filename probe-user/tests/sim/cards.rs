//! Cards that are slower than what is to be sent.

use super::*;
use testbed::Card;

/// Cards that are slower than what is to be sent: one that says how much room it has, one that only refuses.
fn slow_cards() -> [Card; 2] {
    [true, false].map(|tells| Card { pace: Nanos::from_micros(40), queue: 100, tells })
}

/// Nothing happens to probes but that the card takes its time.
fn behind(card: Card) -> Rules {
    Rules { near: Near { card: Some(card), ..Near::default() }, ..Rules::default() }
}

/// A sweep into a slow card: everybody is probed once, at the card's pace, and at every moment the account is right.
#[test]
fn a_sweep_goes_at_the_pace_of_the_card() {
    for (seed, card) in (0..).zip(slow_cards()) {
        for interval in [Nanos::ZERO, Nanos::from_millis(200)] {
            let targets = 20_000;
            let plan = plan(vec![(group("g", interval, Nanos::from_millis(300), Some(1)), targets)]);
            let far = Range { loss: 0.1, ..delayed(Nanos::from_micros(200)) };
            let rules = Rules { far, ..behind(card) };
            let mut world = world(&plan, rules, seed);
            let begun = world.clock.now();
            for turn in 0.. {
                if !world.turn() {
                    break;
                }
                if turn % 50 == 0 {
                    world.audit();
                }
                assert!(world.clock.now() < begun + Nanos::from_secs(5), "it goes on and on");
            }
            world.compare();
            assert_eq!(world.outcome(Outcome::Unsent), 0, "{card:?}");
            assert_eq!(world.sum(|row| row.skipped), 0, "{card:?}");
            for target in (0..targets).map(TargetIndex) {
                assert_eq!(world.common.ledger.account(target).shown().probes, 1, "{card:?}: {target:?}");
            }
            let took = world.clock.now() - begun;
            let carried = Nanos(card.pace.0 * u64::from(targets));
            assert!(took < Nanos(carried.0 * 11 / 10) + Nanos::from_millis(310), "{card:?}: {took} for {carried}");
        }
    }
}

/// The end is asked for while a sweep waits for a slow card: nothing more is entered, and what was is settled at once.
#[test]
fn a_sweep_that_waits_for_its_card_ends_when_it_is_told_to() {
    for (seed, card) in (0..).zip(slow_cards()) {
        let plan = plan(vec![(group("g", Nanos::ZERO, Nanos::from_millis(100), Some(1)), 20_000)]);
        let mut world = world(&plan, behind(card), seed);
        world.go(world.clock.now() + Nanos::from_millis(50));
        let (asked, entered) = (world.clock.now(), world.sum(|row| row.probes));
        world.drain();
        assert_eq!(world.sum(|row| row.probes), entered, "{card:?}");
        assert!(world.clock.now() < asked + Nanos::from_millis(150), "{card:?}");
        world.compare();
        assert_eq!(world.outcome(Outcome::Unsent), 0, "{card:?}: what was entered is sent");
    }
    // And with a card that takes nothing any more.
    for tells in [true, false] {
        let card = Card { pace: Nanos::from_secs(3_600), queue: 10, tells };
        let plan = plan(vec![(group("g", Nanos::ZERO, Nanos::from_millis(100), Some(1)), 1_000)]);
        let mut world = world(&plan, behind(card), 7);
        world.go(world.clock.now() + Nanos::from_secs(2));
        let asked = world.clock.now();
        world.drain();
        // What left behind one that did not has its deadline only now.
        assert!(world.clock.now() < asked + Nanos::from_millis(150), "{tells}");
        let unsent = world.outcome(Outcome::Unsent);
        assert_eq!(world.sum(|row| row.probes), 10 + unsent, "{tells}");
    }
}

/// A card that takes nothing at all: a sweep ends all the same, and says what was not sent.
#[test]
fn what_can_not_be_sent_at_all_is_unsent() {
    for tells in [true, false] {
        let card = Card { pace: Nanos::from_secs(3_600), queue: 10, tells };
        let plan = plan(vec![(group("g", Nanos::ZERO, Nanos::from_millis(100), Some(1)), 1_000)]);
        let mut world = world(&plan, behind(card), 7);
        let begun = world.clock.now();
        while world.turn() {}
        world.audit();
        assert!(world.clock.now() - begun < Nanos::from_secs(15));
        assert_eq!(world.outcome(Outcome::Unsent), 990);
        assert_eq!(world.outcome(Outcome::Lost), 10);
    }
}

/// A monitor whose card carries less than is due: what it carries is sent, and what it does not is left out evenly, over the targets
/// and over the rounds. Nothing is unsent, and two groups fare alike.
#[test]
fn what_a_slow_card_does_not_carry_is_left_out_evenly() {
    for (seed, card) in (0..).zip(slow_cards()) {
        // 10,000 a second are due, of which it carries 6,250.
        let card = Card { pace: Nanos::from_micros(160), ..card };
        let (each, timeout) = (1_000, Nanos::from_millis(300));
        let plan = plan(vec![
            (group("g", Nanos::from_millis(200), timeout, None), each),
            (group("h", Nanos::from_millis(200), timeout, None), each),
        ]);
        let mut world = world(&plan, behind(card), seed);
        world.go(world.clock.now() + Nanos::from_secs(2));
        let counts = |world: &World| -> Vec<u64> {
            let rows = (0..2 * each).map(|target| world.common.ledger.account(TargetIndex(target)).shown());
            rows.map(|row| row.probes).collect()
        };
        let before = counts(&world);
        world.go(world.clock.now() + Nanos::from_secs(20));
        let probes: Vec<u64> = counts(&world).iter().zip(&before).map(|(after, before)| after - before).collect();
        // A hundred rounds, five in eight of which fall to each target.
        let total: u64 = probes.iter().sum();
        assert!((120_000..=126_000).contains(&total), "{card:?}: {total} of 125,000");
        let (least, most) = (probes.iter().min().unwrap(), probes.iter().max().unwrap());
        assert!(*least >= 54 && *most <= 71, "{card:?}: {least} to {most}");
        let of_first: u64 = probes[..each as usize].iter().sum();
        assert!(of_first.abs_diff(total / 2) < total / 50, "{card:?}: {of_first} of {total}");
        world.drain();
        world.compare();
        assert_eq!(world.outcome(Outcome::Unsent), 0, "{card:?}");
        assert_eq!(world.outcome(Outcome::Lost), 0, "{card:?}");
    }
}

/// A card that has no room for the last of a burst, and then for all that is left: everything has its deadline all the same.
#[test]
fn who_found_no_room_at_first_is_lost_in_time() {
    let card = Card { pace: Nanos::from_micros(20), queue: 3, tells: false };
    let timeout = Nanos::from_millis(300);
    let plan = plan(vec![(group("g", Nanos::from_secs(1), timeout, Some(1)), 10_000)]);
    for seed in 0..20 {
        let far = Range { loss: 0.3, ..delayed(Nanos::from_micros(200)) };
        let rules = Rules { far, ..behind(card) };
        let mut world = world(&plan, rules, seed);
        let begun = world.clock.now();
        while world.turn() {}
        world.compare();
        assert_eq!(world.common.in_flight(), 0);
        assert!(world.outcome(Outcome::Lost) > 2_000);
        assert!(world.clock.now() < begun + Nanos::from_millis(1_310));
    }
}
