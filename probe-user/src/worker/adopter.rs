//! Has the loops probe by another plan, while they are at work.
//!
//! One control thread has it. It is told of a new plan as [`crate::targets::build`] makes it, and finds the difference
//! ([`Adopter::difference`]), which says into which slots targets come: whoever knows the kernel's routes finds the way to each, and
//! [`Adopter::adopt`] does the rest. Nothing of that is seen by a packet loop but words that change in the ledger, rows, groups and slots
//! that are there in addition, and new walks, one for each run, that a sender takes over between two turns.

use super::{Common, debts::Debts, orders::NewWalk, walk::Walk};
use crate::{
    base::{Destination, Family, Nanos, State, TargetIndex},
    ledger::{LaterTable, Run, SumRow, Tenant, histogram::add, tally},
    targets::{Counts, Difference, Epoch, Epochs, Free, Group, Known, LabelSet, Plan, Sum, layout},
    wire::Shape,
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// A new run begins so much later: its sender may rest.
const BEGINS: Nanos = Nanos::from_millis(50);
/// Rounds of a group that begins anew are so far from those before: of probes to ports the low 8 bits of a number alone tell those that a
/// target is sent from those that it was.
const APART: u64 = 97;

/// What a row of the ledger counts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct RowKey {
    group: String,
    sum_by: Vec<String>,
    values: Vec<String>,
}

impl RowKey {
    fn new(group: &Group, sum: &Sum) -> Self {
        Self { group: group.name.clone(), sum_by: group.sum_by.clone(), values: sum.values.clone() }
    }
}

/// A target of probes to a port that was given up and is there again: what its answers say would be taken for both.
struct Deferred {
    slot: u32,
    tenant: Tenant,
    /// The slots that it had, and the round that their runs had come to when they became vacant.
    before: Vec<u32>,
    above: u64,
}

/// See the module.
pub struct Adopter {
    common: Arc<Common>,
    epochs: Epochs,
    /// For each group of the plan, which one of the ledger it is.
    groups: Vec<usize>,
    /// Groups of the ledger that no plan has: those by which paths are found.
    aside: std::ops::Range<usize>,
    /// For each row of the ledger, its group there and what it counts.
    rows: Vec<(usize, RowKey)>,
    /// Slots that somebody came into since the start, and that are not vacant.
    later: BTreeSet<u32>,
    /// Of each run that somebody walked, what its slots are like; gone once they are another's.
    layouts: HashMap<usize, crate::targets::Layout>,
    /// Slots of probes to ports whose targets were given up, and which are not vacant.
    draining: Vec<u32>,
    /// Targets that come once it is certain that answers to what they were sent before are over.
    deferred: Vec<Deferred>,
    /// What some loop may still read.
    old: Vec<Arc<LaterTable>>,
    /// How many groups and sums of the plan in force have been asked for. Behind them are those whose targets have all been given up.
    live: (usize, usize),
}

impl Adopter {
    /// For loops that were made by the plan in force.
    /// `probed`: what the loops were made by. Behind the groups of the plan in force it may have others, which stay as they are.
    pub fn new(common: Arc<Common>, epochs: Epochs, probed: &Plan) -> Self {
        let plan = epochs.plan();
        let row = |sum: &Sum| (sum.group, RowKey::new(&probed.groups[sum.group], sum));
        let is_timed = common.ledger.is_timed();
        let runs = common.ledger.open_runs();
        let layouts = runs.map(|(_, run)| (run.number, layout(&probed.groups[run.group], is_timed))).collect();
        Self {
            epochs,
            groups: (0..plan.groups.len()).collect(),
            aside: plan.groups.len()..probed.groups.len(),
            rows: probed.sums.iter().map(row).collect(),
            later: BTreeSet::new(),
            layouts,
            draining: Vec::new(),
            deferred: Vec::new(),
            old: Vec::new(),
            live: (plan.groups.len(), plan.sums.len()),
            common,
        }
    }

    /// The plan in force, for whoever shows something.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// What it takes to probe by this plan, which was built by itself. Changes nothing.
    ///
    /// # Errors
    /// It takes what can only be had at a start: says what, in words for people.
    pub fn difference(&self, new: Plan) -> Result<Difference, String> {
        let (old, ledger) = (self.epochs.plan(), &self.common.ledger);
        if new.sources != old.sources {
            return Err("probes leave from other source addresses, which takes a restart".into());
        }
        let free = self.layouts.iter().filter(|(run, _)| ledger.has_ended(**run)).map(|(run, layout)| {
            let (sender, run) = ledger.run(*run);
            Free { sender, slots: run.targets.clone(), layout: *layout }
        });
        let known = Known {
            is_vacant: &|slot| ledger.account(TargetIndex(slot)).is_vacant(),
            address: &|slot| ledger.account(TargetIndex(slot)).address(),
            groups: self.live.0,
            next_slot: ledger.next_slot(),
            free: free.collect(),
            is_timed: ledger.is_timed(),
        };
        let difference = Difference::new(&old, new, known);
        for (group, goes_on) in difference.plan.groups.iter().zip(&difference.groups) {
            if goes_on.is_none() {
                has_ports(group, &old)?;
            }
        }
        self.have_shapes(&difference)?;
        if difference.plan.targets.len() as u64 > crate::targets::MAX_TARGETS {
            return Err("all numbers that a target can have have been given, which takes a restart".into());
        }
        Ok(difference)
    }

    /// Whether all probes to those that come look like some that there were at the start.
    fn have_shapes(&self, Difference { plan, filled, .. }: &Difference) -> Result<(), String> {
        let mut wanted: BTreeSet<(usize, Family)> = BTreeSet::new();
        for slot in filled {
            let set = &plan.label_sets[plan.targets[*slot as usize].label_set as usize];
            let group = plan.sums[set.sums[0] as usize].group;
            let family = plan.family_of(TargetIndex(*slot));
            wanted.extend(
                Family::ALL
                    .into_iter()
                    .filter(|other| family.is_none_or(|family| family == *other))
                    .map(|family| (group, family)),
            );
        }
        for (group, family) in wanted {
            let group = &plan.groups[group];
            let first = group.shape.over(family);
            if !group.family.has(family) || !first.is_possible() {
                continue;
            }
            let flows = (0..group.flow_count()).map(|flow| Shape { flow: first.flow.saturating_add(flow), ..first });
            let is_known = |shape: Shape| {
                let with_reset = std::iter::once(shape).chain(shape.then_reset());
                with_reset.into_iter().all(|shape| self.common.ledger.has_shape(shape))
            };
            if !flows.into_iter().all(is_known) {
                return Err(format!(
                    "the probes of group `{}` look like none that there were at the start ({} over IPv{}, {} bytes of payload; kind, size, \
                     ttl, dscp, dont_fragment or flows are others), and what they look like is laid at the start: restart echolot",
                    group.name,
                    group.shape.kind,
                    family.name(),
                    group.shape.payload
                ));
            }
        }
        Ok(())
    }

    /// Has the loops probe so from now on. `hops`: parallel to the slots that targets come into, by which next hop each is probed, or why
    /// by none.
    ///
    /// # Errors
    /// There are no numbers left for more slots.
    pub fn adopt(&mut self, difference: Difference, hops: &[u32], now: Nanos) -> Result<Counts, String> {
        let Difference { mut plan, groups: origins, given_up, filled, runs, counts } = difference;
        let common = Arc::clone(&self.common);
        let ledger = &common.ledger;
        common.orders.iter().for_each(super::orders::Orders::clear);
        self.old.retain(|table| Arc::strong_count(table) > 1);
        let goes_on = |(group, origin): (&Group, &Option<usize>)| {
            let number = origin.map_or_else(|| ledger.add_group(group, &plan), |origin| self.groups[origin]);
            ledger.judge_after(number, group.up_after, group.down_after);
            number
        };
        let groups: Vec<usize> = plan.groups.iter().zip(&origins).map(goes_on).collect();
        let rows = self.rows(&plan, &groups);

        given_up.iter().for_each(|slot| ledger.account(TargetIndex(*slot)).give_up());
        self.deferred.retain(|deferred| plan.has(TargetIndex(deferred.slot)));
        let is_mute = |slot: &u32| ledger.account(TargetIndex(*slot)).group().ports.is_some();
        self.draining.extend(given_up.iter().copied().filter(is_mute));
        self.draining.retain(|slot| ledger.account(TargetIndex(*slot)).is_given_up());
        let rounds: Vec<u64> = plan.groups.iter().zip(&origins).map(|of| self.round(of)).collect();
        let mut begun: Vec<(usize, Run, usize)> = Vec::new();
        for new in runs {
            let (group, round) = (groups[new.group], rounds[new.group]);
            let many = new.slots.end - new.slots.start;
            let laid = match new.sender {
                Some(sender) => {
                    self.layouts.retain(|run, _| ledger.run(*run).1.targets != new.slots);
                    vec![(sender, ledger.lay_run(group, sender, new.slots, round))]
                }
                None => ledger
                    .add_runs(group, many, round)
                    .ok_or("there are no numbers left for targets: restart echolot")?,
            };
            begun.extend(laid.into_iter().map(|(sender, run)| (sender, run, new.group)));
        }
        for (_, run) in
            ledger.open_runs().filter(|(_, run)| !groups.contains(&run.group) && !self.aside.contains(&run.group))
        {
            ledger.close_run(run.number);
        }

        // Where answers are looked for, before the first question.
        self.later.extend(&filled);
        self.later.retain(|slot| plan.has(TargetIndex(*slot)) || !ledger.account(TargetIndex(*slot)).is_vacant());
        if !filled.is_empty() {
            let later: Vec<_> = self.later.iter().map(|slot| later(&common, &plan, TargetIndex(*slot))).collect();
            self.old.extend(ledger.find_later(&later));
        }
        for (slot, hop) in filled.iter().zip(hops) {
            let target = plan.targets[*slot as usize];
            let family = plan.family_of(TargetIndex(*slot));
            let row = rows[plan.label_sets[target.label_set as usize].sum(family) as usize];
            let tenant = Tenant { destination: target.destination, hop: *hop, row };
            match self.before(*slot, tenant) {
                Some(deferred) => self.deferred.push(deferred),
                None => fill(&common, *slot, tenant),
            }
        }
        for (sender, run, group) in begun {
            self.layouts.insert(run.number, layout(&plan.groups[group], ledger.is_timed()));
            let (debts, round) = (Debts::of(run.targets.len()), rounds[group]);
            let walk = Walk::new(run.clone(), &plan.groups[group], ledger.group(run.group), now + BEGINS, round);
            common.orders[sender].put(NewWalk { walk: Box::new(walk), debts });
        }
        self.groups = groups;
        self.live = (plan.groups.len(), plan.sums.len());
        let sums = self.sums(&mut plan);
        let number = self.epochs.now().number + 1;
        self.epochs.replace(Epoch { plan: Arc::new(plan), sums, number });
        Ok(counts)
    }

    /// The round that a new run of a group begins with: further than those of the group, if it goes on from before; far from those of the
    /// one that it takes the place of.
    fn round(&self, (group, origin): (&Group, &Option<usize>)) -> u64 {
        let before = self.epochs.plan();
        let highest = |planned: usize| {
            let runs = self.common.ledger.open_runs().filter(|(_, run)| run.group == self.groups[planned]);
            runs.map(|(_, run)| self.common.ledger.round_of(run)).max().unwrap_or(0)
        };
        let namesake = || before.groups[..self.live.0].iter().position(|other| other.name == group.name);
        match origin {
            Some(origin) => highest(*origin) + 1,
            None => namesake().map_or(0, |namesake| highest(namesake) + APART),
        }
    }

    /// A target that comes into a slot, if it had another from whose port it is still waited for.
    fn before(&self, slot: u32, tenant: Tenant) -> Option<Deferred> {
        let ledger = &self.common.ledger;
        let ports = ledger.group_of_row(tenant.row).ports?;
        let is_same = |before: &&u32| {
            let account = ledger.account(TargetIndex(**before));
            account.destination() == tenant.destination && account.group().ports == Some(ports)
        };
        let before: Vec<u32> = self.draining.iter().filter(is_same).copied().collect();
        (!before.is_empty() && tenant.destination.is_some()).then_some(Deferred { slot, tenant, before, above: 0 })
    }

    /// Whether somebody waits to come, until answers to what was sent before are over.
    pub fn are_some_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Lets those come for whom it is time. Whether there was one.
    fn come(&mut self) -> bool {
        let (common, before) = (Arc::clone(&self.common), self.deferred.len());
        self.deferred.retain_mut(|Deferred { slot, tenant, before, above }| {
            before.retain(|before| {
                let account = common.ledger.account(TargetIndex(*before));
                *above = (*above).max(account.round());
                account.is_given_up()
            });
            // Behind all that it was sent, in its new run's numbers.
            let waits = !before.is_empty() || common.ledger.account(TargetIndex(*slot)).round() <= *above + 1;
            if !waits {
                fill(&common, *slot, *tenant);
            }
            waits
        });
        self.deferred.len() < before
    }

    /// For each sum of a plan, its row in the ledger: the one that it had, or one that is added.
    fn rows(&mut self, plan: &Plan, groups: &[usize]) -> Vec<u32> {
        let known: HashMap<&(usize, RowKey), u32> = self.rows.iter().zip(0..).collect();
        let keys: Vec<_> =
            plan.sums.iter().map(|sum| (groups[sum.group], RowKey::new(&plan.groups[sum.group], sum))).collect();
        let mut next = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let rows: Vec<u32> = keys
            .iter()
            .map(|key| {
                known.get(key).copied().unwrap_or_else(|| {
                    next += 1;
                    next - 1
                })
            })
            .collect();
        let of_families = plan.rows_of_families();
        for ((key, row), families) in keys.into_iter().zip(&rows).zip(of_families) {
            if (*row as usize) < self.rows.len() {
                continue;
            }
            for tally in &self.common.tallies {
                tally.rows.push(tally::RowTally::default());
            }
            self.common.ledger.add_row(key.0, families.map(|sum| rows[sum as usize]));
            self.rows.push(key);
        }
        rows
    }

    /// Where each row of the ledger is counted in a plan. Rows of targets that were all given up stay until nothing of them is in flight.
    fn sums(&self, plan: &mut Plan) -> Box<[u32]> {
        let before = self.epochs.now();
        let all = tally::snapshot(&self.common.tallies, Nanos::ZERO);
        let mut places: HashMap<RowKey, u32> =
            (0..).zip(&plan.sums).map(|(place, sum)| (RowKey::new(&plan.groups[sum.group], sum), place)).collect();
        // What it counts may be in several rows, of a group that began anew: they stay and end together.
        let of_before = |row: usize| before.sum_of(row);
        let open: HashSet<&RowKey> = (self.rows.iter().enumerate())
            .filter(|(row, _)| of_before(*row).is_some() && is_open(&all.sums[*row]))
            .map(|(_, (_, key))| key)
            .collect();
        let mut sums = Vec::with_capacity(self.rows.len());
        for (row, (_, key)) in self.rows.iter().enumerate() {
            if let Some(place) = places.get(key) {
                sums.push(*place);
                continue;
            }
            let Some(sum) = of_before(row).filter(|_| open.contains(key)) else {
                sums.push(u32::MAX);
                continue;
            };
            let ended = &before.plan.sums[sum];
            let group = &before.plan.groups[ended.group];
            let number = plan.groups.iter().position(|other| other.name == group.name && other.sum_by == group.sum_by);
            let number = number.unwrap_or_else(|| {
                plan.groups.push(Group { targets: 0..0, further: Vec::new(), ..group.clone() });
                plan.groups.len() - 1
            });
            let place = u32::try_from(plan.sums.len()).unwrap_or(u32::MAX);
            plan.sums.push(Sum { group: number, values: ended.values.clone() });
            places.insert(key.clone(), place);
            sums.push(place);
        }
        sums.into()
    }

    /// Ends rows whose targets were all given up, once nothing of them is in flight, and lets those come who were sent probes to a port a
    /// moment ago. To be called now and then. Returns whether somebody came: the way that was found for him may be another by now.
    pub fn tidy(&mut self) -> bool {
        let has_come = self.come();
        let before = self.epochs.now();
        let (groups, sums) = self.live;
        if before.plan.sums.len() == sums {
            return has_come;
        }
        let all = tally::snapshot(&self.common.tallies, Nanos::ZERO);
        let is_leftover = |row: &usize| before.sum_of(*row).is_some_and(|sum| sum >= sums);
        if (0..self.rows.len()).filter(is_leftover).any(|row| is_open(&all.sums[row])) {
            return has_come;
        }
        let mut plan = Plan::clone(&before.plan);
        plan.sums.truncate(sums);
        plan.groups.truncate(groups);
        let sums = self.sums(&mut plan);
        self.epochs.replace(Epoch { plan: Arc::new(plan), sums, number: before.number + 1 });
        has_come
    }
}

/// Whether a group that does not go on from before has the source ports that it needs: those of the one that it takes the place of.
fn has_ports(group: &Group, old: &Plan) -> Result<(), String> {
    let kind = group.shape.kind;
    let before = old.groups.iter().find(|other| other.name == group.name);
    let same = |before: &Group| before.ports() == group.ports() && before.shape.kind.has_proof() == kind.has_proof();
    if group.ports() == 0 || before.is_some_and(same) {
        return Ok(());
    }
    Err(format!(
        "group `{}` sends from source ports of its own ({}, {kind}), and those are reserved at the start: restart echolot",
        group.name,
        group.ports()
    ))
}

/// A target comes into a vacant slot.
fn fill(common: &Common, slot: u32, tenant: Tenant) {
    let state = if tenant.destination.is_some() { State::Unknown } else { State::Unresolved };
    if let Some(own) = common.tallies.last() {
        add(&own.rows[tenant.row as usize].states[state as usize], 1);
    }
    common.ledger.account(TargetIndex(slot)).fill(tenant);
}

/// Whether something of a row is still to come: probes in flight, or targets that have not been forgotten.
fn is_open(row: &SumRow) -> bool {
    row.in_flight() > 0 || row.states.iter().any(|many| *many != 0)
}

/// Where a slot's target is found by its address, and whether its answers say no more than that.
fn later(common: &Common, plan: &Plan, slot: TargetIndex) -> (TargetIndex, Option<Destination>, bool) {
    let account = common.ledger.account(slot);
    let target = plan.targets[slot.0 as usize];
    if target.is_hole() {
        return (slot, account.destination(), account.group().ports.is_some());
    }
    let LabelSet { sums, .. } = &plan.label_sets[target.label_set as usize];
    let group = &plan.groups[plan.sums[sums[Family::V4 as usize] as usize].group];
    (slot, target.destination.or_else(|| account.destination()), group.ports() > 0)
}
