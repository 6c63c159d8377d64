//! From one plan to the next: who stays, who is given up, who is new, and in which slots. Pure.
//!
//! A target stays if its group goes on (the same name, and all that its probes are made and sent by), it is in it under the same name or
//! address, and its labels still lead to the same row of sums. It keeps its slot, and with that its due times, window, counters and state.
//! Whoever else is in the new plan begins anew: in a slot of the group that somebody has left, or in a new run of slots. Slots of a group
//! are never moved: what somebody leaves is a hole, by which the walk goes on.

use super::{Group, INLINE_PLACES, LabelSet, Plan, Target};
use crate::{base::TargetIndex, targets::Name};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    ops::Range,
};

/// Slots are added in multiples of this.
pub const PAGE: u32 = 256;
/// A run that is added has room for a part of as many as its group has already, within these bounds: otherwise a group to which one target
/// after the other comes would have a run for each.
const SPARE: (usize, usize, usize) = (4, 16, 4_096);

/// So many that are in one plan alone may stand in a row before two orders are taken for others.
const AHEAD: usize = 8;

/// What is known beside the old plan.
pub struct Known<'a> {
    /// Whether a slot has no target, and nothing in flight to one that it had.
    pub is_vacant: &'a dyn Fn(u32) -> bool,
    /// The address that a name has been found to have.
    pub address: &'a dyn Fn(u32) -> Option<IpAddr>,
    /// How many groups of the old plan there are; those behind them have no targets any more.
    pub groups: usize,
    /// The first of the slots that are added next: a multiple of [`PAGE`].
    pub next_slot: u32,
    /// Runs that nobody walks any more, as they were: all their slots are vacant.
    pub free: Vec<Free>,
    /// Send times of all probes are kept.
    pub is_timed: bool,
}

/// A run that nobody walks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Free {
    /// Which sender walked it.
    pub sender: usize,
    /// Its slots.
    pub slots: Range<u32>,
    /// Of the windows that lie there, see [`layout`].
    pub layout: Layout,
}

/// Whether send times lie beside windows, and how many places those have where that matters.
pub type Layout = (bool, Option<u32>);

/// What the slots of a group's targets are like: those of another group with the same may be used.
pub fn layout(group: &Group, is_timed: bool) -> Layout {
    let is_timed = (is_timed || group.shape.kind.port().is_some()) && group.ttls.is_none();
    let places = group.places();
    (is_timed, (is_timed || places > INLINE_PLACES).then_some(places))
}

/// A run of slots to be walked from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRun {
    /// Index of its group in the new plan.
    pub group: usize,
    /// Its slots.
    pub slots: Range<u32>,
    /// By whom, if somebody walked them before; None: they are added.
    pub sender: Option<usize>,
}

/// How many targets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Are probed as before.
    pub kept: usize,
    /// Were not there.
    pub new: usize,
    /// Are probed no more.
    pub given_up: usize,
    /// Are there before and after, but begin anew: their group's settings or their row of sums are others.
    pub changed: usize,
}

/// From one plan to the next.
#[derive(Debug)]
pub struct Difference {
    /// The new plan, by slots.
    pub plan: Plan,
    /// For each of its groups, which one of the old plan goes on in it.
    pub groups: Vec<Option<usize>>,
    /// Slots whose target is given up.
    pub given_up: Vec<u32>,
    /// Slots that a target comes into.
    pub filled: Vec<u32>,
    /// Runs that are walked from now on.
    pub runs: Vec<NewRun>,
    /// What people are told.
    pub counts: Counts,
}

impl Difference {
    /// From `old`, whose targets stand by slots, to `new` as it was built.
    pub fn new(old: &Plan, new: Plan, known: Known<'_>) -> Self {
        let mut next = Next {
            groups: Vec::new(),
            targets: old.targets.clone(),
            names: BTreeMap::new(),
            inherited: HashMap::new(),
            given_up: Vec::new(),
            filled: Vec::new(),
            runs: Vec::new(),
            counts: Counts::default(),
            old,
            new: &new,
            known,
        };
        let mut groups = Vec::with_capacity(new.groups.len());
        let before = &old.groups[..next.known.groups];
        let mut seen = vec![false; before.len()];
        for (index, group) in new.groups.iter().enumerate() {
            let namesake = before.iter().position(|other| other.name == group.name);
            if let Some(namesake) = namesake {
                seen[namesake] = true;
            }
            let goes_on = namesake.filter(|namesake| goes_on(&old.groups[*namesake], group));
            next.group(index, namesake, goes_on.is_some());
            groups.push(goes_on);
        }
        for (group, _) in before.iter().zip(seen).filter(|(_, seen)| !seen) {
            next.counts.given_up += next.give_up(old.members(group));
        }
        let Next { groups: planned, targets, names, given_up, filled, runs, counts, .. } = next;
        let Plan { sums, label_sets, series_limit, .. } = new;
        let (addresses, sources) = (std::sync::Arc::clone(&old.addresses), old.sources.clone());
        let plan =
            Plan { groups: planned, sums, label_sets, targets, names, addresses, sources, series_limit, is_open: true };
        Self { plan, groups, given_up, filled, runs, counts }
    }
}

/// Whether targets of a group go on in another: all that loops go by is the same, but for what can be changed under way.
fn goes_on(old: &Group, new: &Group) -> bool {
    let shape = |group: &Group| crate::wire::Shape { flow: 0, ..group.shape };
    let same = |group: &Group| (group.interval, group.timeout, group.count, group.flow_count(), group.ttls);
    shape(old) == shape(new) && same(old) == same(new)
}

/// The new plan as it comes to be.
struct Next<'a> {
    old: &'a Plan,
    new: &'a Plan,
    known: Known<'a>,
    groups: Vec<Group>,
    targets: Vec<Target>,
    names: BTreeMap<u32, Name>,
    /// Addresses of names that begin anew, by their positions.
    inherited: HashMap<u32, IpAddr>,
    given_up: Vec<u32>,
    filled: Vec<u32>,
    runs: Vec<NewRun>,
    counts: Counts,
}

impl Next<'_> {
    /// Goes through a group of the new plan and the one of the same name.
    fn group(&mut self, index: usize, namesake: Option<usize>, goes_on: bool) {
        let (old, new) = (self.old, self.new);
        let group = &new.groups[index];
        let Some(before) = namesake.map(|namesake| &old.groups[namesake]) else {
            self.counts.new += group.targets.len();
            self.groups.push(Group { targets: 0..0, further: Vec::new(), ..group.clone() });
            return self.place(index, group.targets.clone().collect(), &[]);
        };
        let (pairs, mut fresh, gone) = self.matched(before, group);
        let shape = crate::wire::Shape { flow: before.shape.flow, ..group.shape };
        let (targets, further) =
            if goes_on { (before.targets.clone(), before.further.clone()) } else { (0..0, vec![]) };
        self.groups.push(Group { targets, further, shape, ..group.clone() });
        self.counts.new += fresh.len();
        self.counts.given_up += self.give_up(gone.into_iter());
        let holes = if goes_on { self.holes(before) } else { Vec::new() };
        let mut rows = SameRow::default();
        for (slot, position) in pairs {
            let label_set = new.targets[position as usize].label_set;
            if goes_on && rows.is_same(self, (slot, label_set), (before, group)) {
                self.targets[slot as usize].label_set = label_set;
                if let Some(name) = old.names.get(&slot) {
                    self.names.insert(slot, name.clone());
                }
                self.counts.kept += 1;
            } else {
                self.counts.changed += 1;
                let address = || old.address_of(TargetIndex(slot)).or_else(|| (self.known.address)(slot));
                if let Some(address) = old.names.get(&slot).and_then(|_| address()) {
                    self.inherited.insert(position, address);
                }
                self.give_up(std::iter::once(TargetIndex(slot)));
                fresh.push(position);
            }
        }
        fresh.sort_unstable();
        self.place(index, fresh, &holes);
    }

    fn give_up(&mut self, slots: impl Iterator<Item = TargetIndex>) -> usize {
        let before = self.given_up.len();
        for TargetIndex(slot) in slots {
            self.targets[slot as usize] = Target::HOLE;
            self.given_up.push(slot);
        }
        self.given_up.len() - before
    }

    /// Slots of a group that somebody has left for good.
    fn holes(&self, group: &Group) -> Vec<u32> {
        let is_hole = |slot: &u32| self.old.targets[*slot as usize].is_hole() && (self.known.is_vacant)(*slot);
        group.runs().flatten().filter(is_hole).collect()
    }

    /// Puts targets, which stand at these positions of the new plan, into holes of their group and into new runs, as evenly as they come.
    fn place(&mut self, index: usize, fresh: Vec<u32>, holes: &[u32]) {
        let (many, room) = (fresh.len(), holes.len());
        if many <= room {
            return (0..many).for_each(|i| self.put(holes[i * room / many], fresh[i]));
        }
        let mut rest = Vec::with_capacity(many - room);
        let mut hole = 0;
        for (i, position) in fresh.into_iter().enumerate() {
            // The first in each of as many equal parts as there are holes.
            if hole < room && i * room / many >= hole {
                self.put(holes[hole], position);
                hole += 1;
            } else {
                rest.push(position);
            }
        }
        let layout = layout(&self.groups[index], self.known.is_timed);
        let mut rest = &rest[..];
        while let Some(place) = self.known.free.iter().position(|free| {
            free.layout == layout && !rest.is_empty() && free.slots.len() <= 2 * rest.len() + PAGE as usize
        }) {
            let Free { sender, slots, .. } = self.known.free.swap_remove(place);
            let (into, after) = rest.split_at(rest.len().min(slots.len()));
            self.run(index, slots, Some(sender), into);
            rest = after;
        }
        if !rest.is_empty() {
            let (part, least, most) = SPARE;
            let slots = self.groups[index].slots();
            let with_spare = if slots == 0 { 0 } else { (slots / part).clamp(least, most) };
            // A plan has at most `MAX_TARGETS`.
            let many = rest.len().max(with_spare) as u32;
            let first = self.known.next_slot;
            self.known.next_slot = first.saturating_add(many.next_multiple_of(PAGE));
            self.run(index, first..first.saturating_add(many), None, rest);
        }
    }

    /// Targets come into a run of slots that nobody walks.
    fn run(&mut self, group: usize, slots: Range<u32>, sender: Option<usize>, targets: &[u32]) {
        if self.targets.len() < slots.end as usize {
            self.targets.resize(slots.end as usize, Target::HOLE);
        }
        let (many, room) = (targets.len() as u64, slots.len() as u64);
        for (i, position) in (0..).zip(targets) {
            let after = u32::try_from(i * room / many).unwrap_or(0);
            self.put(slots.start + after, *position);
        }
        let planned = &mut self.groups[group];
        if planned.targets.is_empty() {
            planned.targets = slots.clone()
        } else {
            planned.further.push(slots.clone())
        }
        self.runs.push(NewRun { group, slots, sender });
    }

    fn put(&mut self, slot: u32, position: u32) {
        let (target, index) = (self.new.targets[position as usize], TargetIndex(position));
        let address = self.new.address_of(index).or_else(|| self.inherited.get(&position).copied());
        let destination = address.map(|address| self.old.addresses.enter(address));
        self.targets[slot as usize] = Target { destination, ..target };
        if let Some(name) = self.new.names.get(&position) {
            self.names.insert(slot, name.clone());
        }
        self.filled.push(slot);
    }

    /// Targets of a group that are in both plans (slot, and position in the new one), those that are only in the new one, by position, and
    /// those that are only in the old one.
    fn matched(&self, before: &Group, group: &Group) -> (Vec<(u32, u32)>, Vec<u32>, Vec<TargetIndex>) {
        let (old, new) = (self.old, self.new);
        let (mut pairs, mut fresh, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        // Those that were given by name.
        let mut named: HashMap<&Name, Vec<u32>> = HashMap::new();
        for run in before.runs() {
            old.names.range(run).filter(|(slot, _)| old.has(TargetIndex(**slot))).for_each(|(slot, name)| {
                named.entry(name).or_default().push(*slot);
            });
        }
        let address_of = |slot: u32| old.address_of(TargetIndex(slot)).or_else(|| (self.known.address)(slot));
        for (position, name) in new.names.range(group.targets.clone()) {
            let address = new.address_of(TargetIndex(*position));
            let slots = named.get_mut(name);
            // A name without an address is whoever had it.
            let same = |slot: &u32| address.is_none() || address_of(*slot).is_none_or(|other| Some(other) == address);
            match slots.and_then(|slots| Some(slots.swap_remove(slots.iter().position(same)?))) {
                Some(slot) => pairs.push((slot, *position)),
                None => fresh.push(*position),
            }
        }
        gone.extend(named.into_values().flatten().map(TargetIndex));
        // And those that were given by address. A plan has an order, so most who stay are met on one walk along both.
        let given = |plan: &Plan, index: &u32| plan.has(TargetIndex(*index)) && !plan.names.contains_key(index);
        let olds: Vec<u32> = before.runs().flatten().filter(|slot| given(old, slot)).collect();
        let news: Vec<u32> = group.targets.clone().filter(|position| given(new, position)).collect();
        let (olds, news) = self.in_step(&olds, &news, &mut pairs);
        // The others family by family: sorted, the same ones meet.
        for is_v4 in [true, false] {
            let mut olds = sorted(old, &olds, is_v4);
            let mut news = sorted(new, &news, is_v4);
            loop {
                match (olds.peek(), news.peek()) {
                    (Some(a), Some(b)) if a.0 == b.0 => {
                        pairs.push((a.1, b.1));
                        olds.next();
                        news.next();
                    }
                    (Some(a), b) if b.is_none_or(|b| a.0 < b.0) => {
                        gone.push(TargetIndex(a.1));
                        olds.next();
                    }
                    (_, Some(b)) => {
                        fresh.push(b.1);
                        news.next();
                    }
                    (_, None) => break,
                }
            }
        }
        (pairs, fresh, gone)
    }

    /// Pairs those of two lists that stand in the same order, but for a few that are in one alone. Returns who is left.
    fn in_step(&self, olds: &[u32], news: &[u32], pairs: &mut Vec<(u32, u32)>) -> (Vec<u32>, Vec<u32>) {
        let old = |i: usize| self.old.address_of(TargetIndex(*olds.get(i)?));
        let new = |i: usize| self.new.address_of(TargetIndex(*news.get(i)?));
        let (mut left, mut i, mut j) = ((Vec::new(), Vec::new()), 0, 0);
        while let (Some(slot), Some(position)) = (olds.get(i), news.get(j)) {
            let (was, is) = (old(i), new(j));
            if was == is {
                pairs.push((*slot, *position));
                (i, j) = (i + 1, j + 1);
                continue;
            }
            let skip = |ahead: &usize| (old(i + ahead) == is, new(j + ahead) == was);
            let (skipped_olds, skipped_news) =
                match (1..=AHEAD).map(|ahead| (ahead, skip(&ahead))).find(|(_, (a, b))| *a || *b) {
                    Some((ahead, (true, _))) => (ahead, 0),
                    Some((ahead, _)) => (0, ahead),
                    None => (1, 1),
                };
            left.0.extend(&olds[i..i + skipped_olds]);
            left.1.extend(&news[j..j + skipped_news]);
            (i, j) = (i + skipped_olds, j + skipped_news);
        }
        left.0.extend(&olds[i..]);
        left.1.extend(&news[j..]);
        left
    }
}

/// Addresses by which targets of a family were given, each with where it stands, in order.
fn sorted(plan: &Plan, of: &[u32], is_v4: bool) -> std::iter::Peekable<Box<dyn Iterator<Item = (IpAddr, u32)>>> {
    let addresses = of.iter().filter_map(|index| Some((plan.address_of(TargetIndex(*index))?, *index)));
    let of_family = addresses.filter(|(address, _)| address.is_ipv4() == is_v4);
    let sorted: Box<dyn Iterator<Item = (IpAddr, u32)>> = if is_v4 {
        // Eight bytes each, for there may be millions.
        let mut packed: Vec<u64> = of_family
            .filter_map(|(address, index)| match address {
                IpAddr::V4(address) => Some(u64::from(address.to_bits()) << 32 | u64::from(index)),
                IpAddr::V6(_) => None,
            })
            .collect();
        packed.sort_unstable();
        Box::new(
            packed.into_iter().map(|entry| (std::net::Ipv4Addr::from_bits((entry >> 32) as u32).into(), entry as u32)),
        )
    } else {
        let mut all: Vec<_> = of_family.collect();
        all.sort_unstable();
        Box::new(all.into_iter())
    };
    sorted.peekable()
}

/// Whether a target's labels lead to the row that they led to.
#[derive(Default)]
struct SameRow {
    known: HashMap<(u32, u32), bool>,
    last: Option<((u32, u32), bool)>,
}

impl SameRow {
    fn is_same(&mut self, next: &Next<'_>, (slot, label_set): (u32, u32), (before, group): (&Group, &Group)) -> bool {
        let sets = (next.old.targets[slot as usize].label_set, label_set);
        if let Some((of, is_same)) = self.last
            && of == sets
        {
            return is_same;
        }
        let is_same = *self.known.entry(sets).or_insert_with(|| {
            let rows = |plan: &Plan, set: &LabelSet| set.sums.map(|sum| plan.sums[sum as usize].values.clone());
            let [was, is] =
                [(next.old, sets.0), (next.new, sets.1)].map(|(plan, set)| rows(plan, &plan.label_sets[set as usize]));
            before.sum_by == group.sum_by && was == is
        });
        self.last = Some((sets, is_same));
        is_same
    }
}

#[cfg(test)]
#[path = "difference_tests.rs"]
mod tests;
