//! Who is unhealthy: down or flapping, or was until lately.

use crate::base::{Nanos, TargetIndex};
use std::collections::HashMap;

/// How long a target is shown after it has recovered: so that everybody who looks now and then sees that it has.
const SHOWN_AFTER: Nanos = Nanos::from_secs(600);

/// The unhealthy targets of the groups whose series are those of unhealthy targets alone. No more of a group than are shown, first come
/// first served, so who is shown stays so for as long as it is unhealthy; and an outage of everybody takes no memory.
#[derive(Debug, Default)]
pub struct Unhealthy {
    targets: HashMap<TargetIndex, Entry>,
    groups: Vec<OfGroup>,
    /// How many have ever been entered.
    entered: u64,
}

#[derive(Debug)]
struct Entry {
    group: usize,
    /// Those that came before have less.
    number: u64,
    down: bool,
    flapping: bool,
    /// Since when it is neither.
    well_since: Option<Nanos>,
}

#[derive(Clone, Copy, Debug)]
struct OfGroup {
    most: u64,
    entered: u64,
    /// Whether one found no room since somebody last looked for those.
    is_incomplete: bool,
}

impl Unhealthy {
    /// Of so many targets of each group at most, by its place in the plan; 0: of nobody.
    pub fn of(most: impl IntoIterator<Item = u64>) -> Self {
        let group = |most| OfGroup { most, entered: 0, is_incomplete: false };
        Self { groups: most.into_iter().map(group).collect(), ..Self::default() }
    }

    /// Whether anybody of this group is wanted.
    pub fn wants(&self, group: usize) -> bool {
        self.groups.get(group).is_some_and(|of| of.most > 0)
    }

    /// A target of this group is down, or is not.
    pub fn down(&mut self, target: TargetIndex, group: usize, is_down: bool, now: Nanos) {
        self.change(target, group, is_down, now, |entry| entry.down = is_down);
    }

    /// A target of this group is flapping, or is not.
    pub fn flapping(&mut self, target: TargetIndex, group: usize, is_flapping: bool, now: Nanos) {
        self.change(target, group, is_flapping, now, |entry| entry.flapping = is_flapping);
    }

    fn change(&mut self, target: TargetIndex, group: usize, is_bad: bool, now: Nanos, set: impl FnOnce(&mut Entry)) {
        let Some(of) = self.groups.get_mut(group).filter(|of| of.most > 0) else { return };
        if !self.targets.contains_key(&target) {
            if !is_bad {
                return;
            }
            if of.entered >= of.most {
                of.is_incomplete = true;
                return;
            }
            of.entered += 1;
            self.entered += 1;
        }
        let number = self.entered;
        let new = || Entry { group, number, down: false, flapping: false, well_since: None };
        let entry = self.targets.entry(target).or_insert_with(new);
        set(entry);
        entry.well_since = match entry.down || entry.flapping {
            true => None,
            false => entry.well_since.or(Some(now)),
        };
    }

    /// Forgets who has been well for long enough. To be called every second or so.
    pub fn calm(&mut self, now: Nanos) {
        let Self { targets, groups, .. } = self;
        targets.retain(|_, entry| {
            let stays = entry.well_since.is_none_or(|since| now - since < SHOWN_AFTER);
            if !stays {
                groups[entry.group].entered -= 1;
            }
            stays
        });
    }

    /// Whether there is room again for targets of a group that found none: they are to be entered again.
    pub fn misses(&mut self, group: usize) -> bool {
        let Some(of) = self.groups.get_mut(group) else { return false };
        of.entered < of.most && std::mem::take(&mut of.is_incomplete)
    }

    /// Those of a group that are held to be down.
    pub fn held_down(&self, group: usize) -> Vec<TargetIndex> {
        self.targets.iter().filter(|(_, entry)| entry.group == group && entry.down).map(|(target, _)| *target).collect()
    }

    /// Those of a group, first come first.
    pub fn shown(&self, group: usize) -> Vec<TargetIndex> {
        let of_group = self.targets.iter().filter(|(_, entry)| entry.group == group);
        let mut shown: Vec<(u64, TargetIndex)> = of_group.map(|(target, entry)| (entry.number, *target)).collect();
        shown.sort_unstable();
        shown.into_iter().map(|(_, target)| target).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(second: u64) -> Nanos {
        Nanos::from_secs(second)
    }

    fn shown(unhealthy: &Unhealthy) -> Vec<u32> {
        unhealthy.shown(0).iter().map(|target| target.0).collect()
    }

    #[test]
    fn a_target_is_shown_for_ten_minutes_after_it_has_recovered() {
        let mut unhealthy = Unhealthy::of([5]);
        let who = TargetIndex(3);
        unhealthy.down(who, 0, false, at(1));
        assert_eq!(shown(&unhealthy), [0; 0], "one that never was unhealthy");
        unhealthy.down(who, 0, true, at(10));
        unhealthy.flapping(who, 0, true, at(20));
        unhealthy.down(who, 0, false, at(30));
        unhealthy.calm(at(5_000));
        assert_eq!(shown(&unhealthy), [3], "it flaps");
        unhealthy.flapping(who, 0, false, at(5_000));
        unhealthy.calm(at(5_599));
        assert_eq!(shown(&unhealthy), [3]);
        unhealthy.calm(at(5_600));
        assert_eq!(shown(&unhealthy), [0; 0]);
        assert!(unhealthy.targets.is_empty());
    }

    #[test]
    fn who_is_shown_stays_and_who_found_no_room_is_asked_for_once_there_is_some() {
        let mut unhealthy = Unhealthy::of([2, 0]);
        for target in [9, 5, 7, 1] {
            unhealthy.down(TargetIndex(target), 0, true, at(1));
            unhealthy.down(TargetIndex(100 + target), 1, true, at(1));
        }
        assert_eq!(shown(&unhealthy), [9, 5]);
        assert!(!unhealthy.wants(1) && unhealthy.shown(1).is_empty());
        assert!(!unhealthy.misses(0), "there is no room");
        unhealthy.down(TargetIndex(9), 0, false, at(2));
        unhealthy.calm(at(602));
        assert!(unhealthy.misses(0) && !unhealthy.misses(0), "told once");
        unhealthy.down(TargetIndex(7), 0, true, at(602));
        assert_eq!(shown(&unhealthy), [5, 7]);
        assert_eq!(unhealthy.held_down(0).len(), 2);
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_so_many_and_all_are_unhealthy_or_were(
            most in 0u64..6,
            story in proptest::collection::vec((0u32..12, any::<bool>(), any::<bool>(), 0u64..400), 0..200),
        ) {
            let (mut unhealthy, mut now) = (Unhealthy::of([most]), at(1));
            let mut last_bad: HashMap<u32, (bool, bool, Nanos)> = HashMap::new();
            for (target, of_state, is_bad, seconds) in story {
                now += at(seconds);
                let known = last_bad.entry(target).or_insert((false, false, Nanos::ZERO));
                if known.0 || known.1 {
                    known.2 = now;
                }
                if of_state {
                    known.0 = is_bad;
                    unhealthy.down(TargetIndex(target), 0, is_bad, now);
                } else {
                    known.1 = is_bad;
                    unhealthy.flapping(TargetIndex(target), 0, is_bad, now);
                }
                unhealthy.calm(now);
                let shown = shown(&unhealthy);
                prop_assert!(shown.len() as u64 <= most);
                for target in shown {
                    let (down, flapping, bad_until) = last_bad[&target];
                    prop_assert!(down || flapping || now - bad_until < SHOWN_AFTER, "{} is well", target);
                }
            }
        }
    }
}
