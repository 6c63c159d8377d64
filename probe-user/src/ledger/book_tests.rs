use super::*;
use crate::targets::{Exclusions, GroupInput, Options, TargetList, build};

/// Of so many targets in one group, walked by one sender.
fn ledger(many: u32) -> Ledger {
    let list = TargetList::from_arguments(&[format!("10.64.0.1-10.64.0.{many}")]).expect("addresses");
    let input = GroupInput { group: targets::Group::named("g"), labels: Default::default(), lists: vec![list] };
    let plan = build(vec![input], &Exclusions::default(), &Options::default()).expect("a plan");
    Ledger::new(&plan, &vec![0; many as usize], 1, false)
}

#[test]
fn numbers_from_elsewhere_lead_nowhere() {
    let ledger = ledger(100);
    let there = |numbers: &[u32]| numbers.iter().map(|number| ledger.has(TargetIndex(*number))).collect::<Vec<_>>();
    // Slots that come later begin with a page of their own.
    let numbers = [0, 99, 100, 255, 256, 511, 512, 1 << 20, u32::MAX - 1, u32::MAX];
    assert_eq!(there(&numbers), [true, true, false, false, false, false, false, false, false, false]);
    let runs = ledger.add_runs(0, 10, 7).expect("there is room");
    let [(0, run)] = &runs[..] else { panic!("{runs:?}") };
    assert_eq!(run.targets, 256..266);
    assert_eq!(there(&numbers), [true, true, false, false, true, true, false, false, false, false]);
    let (first, later) = (ledger.account(TargetIndex(0)), ledger.account(TargetIndex(260)));
    assert_eq!((first.round(), later.round()), (0, 7));
    assert!(!first.is_vacant() && later.is_vacant());
}
