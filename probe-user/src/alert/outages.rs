//! Which targets have an alert of their own, and which rows of sums have one for many.
//!
//! While at most so many targets of a row are down, each of them has an alert. One more, and the row has one besides: those that are there
//! stay until their target recovers, and none comes. Once few enough are down again the row's ends, and everybody who is down has one.
//!
//! It goes by what is, and not by what is told: who may have changed is looked at ([`Outages::look`]), and if it is not known who may have,
//! everybody is ([`Outages::survey`]), at the start and after every change of who is probed too. A target that has not been judged is held
//! to be what its alert says; that is how alerts outlive their process.

use super::labels::{Labels, Name, Who};
use crate::base::State;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Targets with an alert of their own, and rows with one, at most: of so many rows that nobody would read them all.
pub const MOST_ALERTS: usize = 10_000;

/// Who is probed, and how they are.
pub trait Fleet {
    /// All targets, each with its row.
    fn targets(&self) -> impl Iterator<Item = (u32, u32)>;
    /// How many rows there are.
    fn rows(&self) -> u32;
    /// A target's row; None: there is no such target.
    fn row(&self, target: u32) -> Option<u32>;
    /// What it is held to be.
    fn state(&self, target: u32) -> State;
    /// The labels of its alert.
    fn labels(&self, target: u32) -> Labels;
    /// Those of a row's.
    fn row_labels(&self, row: u32) -> Labels;
    /// Who of these is there.
    fn find(&self, wanted: &BTreeSet<Who>) -> HashMap<Who, u32>;
}

/// What an alert is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Subject {
    /// A target.
    Target(u32),
    /// So many targets of a row are down.
    Row(u32, u32),
}

/// What has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// An alert fires.
    Fires(Subject, Labels),
    /// It no longer does.
    Ends(Labels),
}

#[derive(Default, Debug)]
struct Row {
    down: u32,
    /// Who has an alert.
    alerted: BTreeMap<u32, Labels>,
    /// The row's own.
    own: Option<Labels>,
    /// It fired before anybody was judged; so many have not been.
    inherited: Option<u32>,
}

/// See the module.
#[derive(Debug)]
pub struct Outages {
    individually: u32,
    /// Who is down, a bit each.
    down: Vec<u64>,
    rows: HashMap<u32, Row>,
    /// Rows to be looked at once all changes have been seen.
    touched: BTreeSet<u32>,
    /// Rows in which somebody is down without an alert that has a claim to one.
    short: BTreeSet<u32>,
    alerted: usize,
    own: usize,
    /// What is known does not add up: a survey is due.
    is_stale: bool,
}

impl Outages {
    /// Of nobody yet. `individually`: of a row that has no alert of its own so many targets have one.
    pub fn new(individually: u32) -> Self {
        let (rows, touched, short) = (HashMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { individually, down: Vec::new(), rows, touched, short, alerted: 0, own: 0, is_stale: true }
    }

    /// Whether somebody has to look at everybody.
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Whether a row's alert is from before, and not all of its targets have been judged since.
    pub fn is_waiting(&self) -> bool {
        self.rows.values().any(|row| row.own.is_some() && row.inherited.is_some())
    }

    /// Targets that are down and have a claim to an alert, for which there was no room: in how many rows.
    pub fn left_out(&self) -> usize {
        self.short.len()
    }

    /// Who is down of a row, the first of them.
    pub fn down_of<'a>(&'a self, row: u32, fleet: &'a impl Fleet) -> impl Iterator<Item = u32> + 'a {
        self.all_down().filter(move |target| fleet.row(*target) == Some(row))
    }

    /// How many of a row are down.
    pub fn many_down(&self, row: u32) -> u32 {
        self.rows.get(&row).map_or(0, |row| row.down)
    }

    /// The rows that have an alert.
    pub fn alerted_rows(&self) -> impl Iterator<Item = (u32, u32, &Labels)> {
        self.rows.iter().filter_map(|(number, row)| Some((*number, row.down, row.own.as_ref()?)))
    }

    /// The labels of a target's alert, if it has one.
    pub fn labels_of(&self, target: u32, fleet: &impl Fleet) -> Option<&Labels> {
        self.rows.get(&fleet.row(target)?)?.alerted.get(&target)
    }

    fn all_down(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.down).filter(|(_, word)| **word != 0).flat_map(|(place, word)| {
            (0..u64::BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * u64::BITS + bit)
        })
    }

    fn is_down(&self, target: u32) -> bool {
        self.down.get(target as usize / 64).is_some_and(|word| word >> (target % 64) & 1 == 1)
    }

    fn set_down(&mut self, target: u32, is_down: bool) {
        let place = target as usize / 64;
        if self.down.len() <= place {
            self.down.resize(place + 1, 0);
        }
        let bit = 1 << (target % 64);
        if is_down { self.down[place] |= bit } else { self.down[place] &= !bit }
    }

    /// Looks at targets that may have changed, in the order in which they did.
    pub fn look(&mut self, targets: impl IntoIterator<Item = u32>, fleet: &impl Fleet) -> Vec<Change> {
        let mut changes = Vec::new();
        for target in targets {
            let Some(number) = fleet.row(target) else { continue };
            let was = self.is_down(target);
            let is = match fleet.state(target) {
                State::Down => true,
                State::Up => false,
                State::Unknown | State::Unresolved => was,
            };
            if was == is {
                continue;
            }
            self.set_down(target, is);
            self.touched.insert(number);
            let row = self.rows.entry(number).or_default();
            if is {
                row.down += 1;
                if row.down <= self.individually && self.alerted < MOST_ALERTS {
                    self.alerted += 1;
                    let labels = fleet.labels(target);
                    row.alerted.insert(target, labels.clone());
                    changes.push(Change::Fires(Subject::Target(target), labels));
                }
            } else {
                // Its address may be of another family since: then others count it.
                self.is_stale |= row.down == 0;
                row.down = row.down.saturating_sub(1);
                if let Some(labels) = row.alerted.remove(&target) {
                    self.alerted -= 1;
                    changes.push(Change::Ends(labels));
                }
            }
        }
        self.settle(fleet, &mut changes);
        changes
    }

    /// Looks at everybody. `firing`: all alerts that fire.
    pub fn survey<'a>(&mut self, firing: impl IntoIterator<Item = &'a Labels>, fleet: &impl Fleet) -> Vec<Change> {
        let mut changes = Vec::new();
        let (mut targets, mut rows): (BTreeMap<Who, &Labels>, BTreeSet<&Labels>) = Default::default();
        for labels in firing {
            match labels.who() {
                // Of two that name the same target one is of before.
                Some(who) => {
                    if let Some(other) = targets.insert(who, labels) {
                        changes.push(Change::Ends(other.clone()));
                    }
                }
                None if labels.is(Name::TargetsDown) => _ = rows.insert(labels),
                None => {}
            }
        }
        *self = Self { is_stale: false, ..Self::new(self.individually) };
        let found = fleet.find(&targets.keys().cloned().collect());
        // In the order of the targets.
        let mut prior: BTreeMap<u32, &Labels> = BTreeMap::new();
        for (who, labels) in targets {
            match found.get(&who) {
                Some(target) => _ = prior.insert(*target, labels),
                None => changes.push(Change::Ends(labels.clone())),
            }
        }
        self.inherit_rows(&rows, fleet, &mut changes);
        for (target, number) in fleet.targets() {
            let is_down = match fleet.state(target) {
                State::Down => true,
                State::Up => false,
                state => {
                    let unknown = self.rows.get_mut(&number).filter(|_| state == State::Unknown);
                    let is_prior = prior.contains_key(&target);
                    if let Some(many) = unknown.and_then(|row| row.inherited.as_mut()).filter(|_| !is_prior) {
                        *many += 1;
                    }
                    is_prior
                }
            };
            if is_down {
                self.set_down(target, true);
                self.rows.entry(number).or_default().down += 1;
            }
        }
        for (target, labels) in prior {
            let number = fleet.row(target).filter(|_| self.is_down(target));
            let now = number.map(|_| fleet.labels(target));
            if now.as_ref() != Some(labels) {
                changes.push(Change::Ends(labels.clone()));
            }
            if let Some((number, now)) = number.zip(now) {
                if now != *labels {
                    changes.push(Change::Fires(Subject::Target(target), now.clone()));
                }
                self.alerted += 1;
                self.rows.entry(number).or_default().alerted.insert(target, now);
            }
        }
        self.touched = self.rows.keys().copied().collect();
        self.settle(fleet, &mut changes);
        changes
    }

    /// Alerts of rows go on until their row has been judged.
    fn inherit_rows(&mut self, firing: &BTreeSet<&Labels>, fleet: &impl Fleet, changes: &mut Vec<Change>) {
        if firing.is_empty() {
            return;
        }
        let mut left = firing.clone();
        for number in 0..fleet.rows() {
            let labels = fleet.row_labels(number);
            if left.remove(&labels) {
                self.own += 1;
                let row = Row { own: Some(labels), inherited: Some(0), ..Row::default() };
                self.rows.insert(number, row);
            }
        }
        changes.extend(left.into_iter().map(|labels| Change::Ends(labels.clone())));
    }

    /// Rows are judged once all changes have been seen.
    fn settle(&mut self, fleet: &impl Fleet, changes: &mut Vec<Change>) {
        for number in std::mem::take(&mut self.touched) {
            let Some(row) = self.rows.get_mut(&number) else { continue };
            let is_many = row.down > self.individually;
            let may_be_many = row.inherited.is_some_and(|unknown| row.down + unknown > self.individually);
            if is_many {
                row.inherited = None;
            }
            match (&row.own, is_many) {
                (None, true) if self.own < MOST_ALERTS => {
                    let labels = fleet.row_labels(number);
                    changes.push(Change::Fires(Subject::Row(number, row.down), labels.clone()));
                    row.own = Some(labels);
                    self.own += 1;
                }
                (Some(labels), false) if !may_be_many => {
                    changes.push(Change::Ends(labels.clone()));
                    (row.own, row.inherited) = (None, None);
                    self.own -= 1;
                }
                _ => {}
            }
            if !is_many && row.down as usize > row.alerted.len() {
                self.short.insert(number);
            } else {
                self.short.remove(&number);
            }
            if row.down == 0 && row.own.is_none() {
                self.rows.remove(&number);
            }
        }
        if !self.short.is_empty() && self.alerted < MOST_ALERTS {
            self.fill(fleet, changes);
        }
    }

    /// Gives those an alert that have a claim to one.
    fn fill(&mut self, fleet: &impl Fleet, changes: &mut Vec<Change>) {
        let without: Vec<(u32, u32)> = self
            .all_down()
            .filter_map(|target| Some((target, fleet.row(target).filter(|row| self.short.contains(row))?)))
            .filter(|(target, row)| self.rows.get(row).is_some_and(|row| !row.alerted.contains_key(target)))
            .take(MOST_ALERTS - self.alerted)
            .collect();
        self.alerted += without.len();
        for (target, number) in without {
            let labels = fleet.labels(target);
            changes.push(Change::Fires(Subject::Target(target), labels.clone()));
            self.rows.entry(number).or_default().alerted.insert(target, labels);
        }
        let rows = &self.rows;
        self.short.retain(|number| rows.get(number).is_some_and(|row| row.down as usize > row.alerted.len()));
    }
}

#[cfg(test)]
#[path = "outages_tests.rs"]
mod tests;
