#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use crate::{
    base::Nanos,
    targets::{Exclusions, GroupInput, Options, TargetList, build},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Who is wanted: in which of three groups, under which name, with which label.
type Wanted = BTreeMap<(usize, String), u8>;

#[derive(Clone, Debug)]
struct Wish {
    wanted: Wanted,
    intervals: [u64; 3],
    sums: [bool; 3],
}

fn name(n: u32) -> String {
    match n % 4 {
        0 => format!("host{n}.example"),
        1 => format!("2001:db8::{n:x}"),
        _ => format!("10.0.{}.{}", n / 250, n % 250),
    }
}

fn wish() -> impl Strategy<Value = Wish> {
    let who = ((0usize..3, 0u32..60).prop_map(|(group, n)| (group, name(n))), 0u8..2);
    let intervals = prop::array::uniform3(prop::sample::select(vec![1u64, 1, 1, 2]));
    (prop::collection::btree_map(who.0, who.1, 1..80), intervals, prop::array::uniform3(any::<bool>()))
        .prop_map(|(wanted, intervals, sums)| Wish { wanted, intervals, sums })
}

fn plan(wish: &Wish) -> Plan {
    let input = |index: usize| {
        let sum_by = if wish.sums[index] { vec!["site".to_owned()] } else { vec![] };
        let interval = Nanos::from_secs(wish.intervals[index]);
        let group = Group { interval, sum_by, ..Group::named(index.to_string()) };
        let list = |label: u8| {
            let mut list = TargetList::with_labels(BTreeMap::from([("site".to_owned(), label.to_string())]));
            let of = wish.wanted.iter().filter(|((group, _), other)| *group == index && **other == label);
            of.for_each(|((_, name), _)| list.push(name.parse().unwrap()));
            list
        };
        GroupInput { group, labels: BTreeMap::new(), lists: vec![list(0), list(1)] }
    };
    build((0..3).map(input).collect(), &Exclusions::default(), &Options::default()).unwrap()
}

/// Who is in which slot, with the group's index and the label.
fn slots(plan: &Plan) -> BTreeMap<(usize, String), (u32, u8)> {
    let mut slots = BTreeMap::new();
    for (index, group) in plan.groups.iter().enumerate() {
        for target in plan.members(group) {
            let set = &plan.label_sets[plan.targets[target.0 as usize].label_set as usize];
            let (who, label) = (plan.name_of(target).unwrap().to_string(), set.labels["site"].parse().unwrap());
            assert_eq!(plan.group_of(target), Some(index));
            assert_eq!(slots.insert((index, who), (target.0, label)), None, "twice");
        }
    }
    slots
}

proptest! {
    /// One plan after the other: who is wanted is there once, and nobody's slot is another's, before it is vacant.
    #[test]
    fn plans_follow_one_another(wishes in prop::collection::vec((wish(), any::<bool>()), 2..7)) {
        let mut old = plan(&wishes[0].0);
        let mut before = wishes[0].0.clone();
        let mut draining: BTreeSet<u32> = BTreeSet::new();
        for (wish, drains) in &wishes[1..] {
            if *drains {
                draining.clear();
            }
            let end = u32::try_from(old.targets.len()).unwrap();
            let known = Known {
                is_vacant: &|slot| !old.has(TargetIndex(slot)) && !draining.contains(&slot),
                address: &|_| None,
                groups: old.groups.len(),
                next_slot: end.next_multiple_of(PAGE),
                free: Vec::new(),
                is_timed: false,
            };
            let Difference { plan: next, given_up, filled, runs, counts, groups } = Difference::new(&old, plan(wish), known);
            let (was, is) = (slots(&old), slots(&next));
            let said: BTreeMap<_, _> = is.iter().map(|(who, (_, label))| (who.clone(), *label)).collect();
            prop_assert_eq!(&said, &wish.wanted);
            let mut kept = 0;
            for (who, (slot, label)) in &is {
                let is_same = before.intervals[who.0] == wish.intervals[who.0] && before.sums[who.0] == wish.sums[who.0];
                prop_assert_eq!(groups[who.0], Some(who.0).filter(|_| before.intervals[who.0] == wish.intervals[who.0]));
                match was.get(who) {
                    Some((at, had)) if is_same && (had == label || !wish.sums[who.0]) => {
                        prop_assert_eq!(at, slot, "{:?} stays", who);
                        kept += 1;
                    }
                    Some((at, _)) => prop_assert!(at != slot && filled.contains(slot) && given_up.contains(at)),
                    None => prop_assert!(filled.contains(slot)),
                }
            }
            let gone: BTreeSet<u32> = given_up.iter().copied().collect();
            prop_assert_eq!(gone.len(), given_up.len());
            prop_assert_eq!(given_up.len(), was.len() - kept);
            prop_assert_eq!(filled.len(), is.len() - kept);
            prop_assert_eq!((counts.kept, counts.kept + counts.new + counts.changed), (kept, is.len()));
            prop_assert_eq!(counts.kept + counts.given_up + counts.changed, was.len());
            for slot in &filled {
                let is_new = *slot >= end;
                prop_assert!(is_new || (!old.has(TargetIndex(*slot)) && !draining.contains(slot)), "{} was another's", slot);
                prop_assert!(!is_new || runs.iter().any(|run| run.slots.contains(slot)));
            }
            for run in &runs {
                prop_assert!(run.slots.start >= end && run.slots.start.is_multiple_of(PAGE) && !run.slots.is_empty());
            }
            draining.extend(gone);
            (old, before) = (next, wish.clone());
        }
    }
}

/// New ones are spread over the holes of their group, and over the run that comes with them.
#[test]
fn who_comes_is_spread() {
    let wish = |many: u32| Wish {
        wanted: (0..many).map(|n| ((0, format!("10.1.{}.{}", n / 250, n % 250)), 0)).collect(),
        intervals: [1; 3],
        sums: [false; 3],
    };
    let old = plan(&wish(100));
    let vacant = |is_vacant: &dyn Fn(u32) -> bool, old: &Plan, new: Plan| {
        let next_slot = u32::try_from(old.targets.len()).unwrap().next_multiple_of(PAGE);
        let known = Known { is_vacant, address: &|_| None, groups: 3, next_slot, free: Vec::new(), is_timed: false };
        Difference::new(old, new, known)
    };
    let fewer = vacant(&|_| true, &old, plan(&wish(10)));
    assert_eq!((fewer.given_up.len(), fewer.filled.len(), fewer.runs.len()), (90, 0, 0));
    let more = vacant(&|slot| !fewer.plan.has(TargetIndex(slot)), &fewer.plan, plan(&wish(40)));
    assert!(
        more.runs.is_empty() && more.filled.iter().any(|slot| *slot < 20) && more.filled.iter().any(|slot| *slot > 80)
    );
    let most = vacant(&|slot| !more.plan.has(TargetIndex(slot)), &more.plan, plan(&wish(400)));
    assert_eq!(most.runs.len(), 1);
    assert_eq!((most.runs[0].slots.start, most.runs[0].slots.len()), (256, 300), "60 went into holes");
}
