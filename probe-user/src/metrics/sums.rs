//! The families of sums: by rows, and by groups. Each group has label names of its own, by its `sum_by`.

use super::{
    families::{self as f, Family},
    format::{Cumulative, Text, add_label},
};
use crate::{
    base::{Cause, Outcome, State, TargetIndex},
    ledger::{Snapshot, SumRow},
    targets::{self, Group, PerTarget, Plan, Sum},
};

/// A row of sums, as a scrape holds it.
pub(super) struct Row {
    pub(super) group: usize,
    /// Whether paths to its targets are kept.
    has_paths: bool,
    labels: String,
    /// All but the round-trip times.
    counts: SumRow,
    rtt: Cumulative,
}

impl Row {
    pub(super) fn new(plan: &Plan, sum: &Sum, mut counts: SumRow) -> Self {
        let group = &plan.groups[sum.group];
        let rtt = Cumulative::of(&std::mem::take(&mut counts.rtt), &group.buckets);
        counts.rtt.buckets = Vec::new();
        Self { group: sum.group, has_paths: group.path.is_some(), labels: labels(group, sum), counts, rtt }
    }
}

/// Writes what a row contributes to a family, with its group's buckets.
pub(super) type RowLines = fn(&mut Text, Family, &Row, &[f64]);
/// Writes the line of a group, with its label and how many of its series this scrape leaves out.
pub(super) type GroupLine = fn(&mut Text, Family, &str, &Group, u64);

/// The families with a row for each group and its `sum_by`, in their order.
pub(super) const BY_ROW: [(Family, RowLines); 12] = [
    (f::PROBES, |text, family, row, _| text.number(family, &row.labels, row.counts.probes)),
    (f::SETTLED, |text, family, row, _| {
        let settled = Outcome::ALL.map(Outcome::name).into_iter().zip(row.counts.settled);
        text.split(family, &row.labels, "outcome", settled);
    }),
    (f::UNSENT, |text, family, row, _| {
        let unsent = Cause::ALL.map(Cause::name).into_iter().zip(row.counts.unsent);
        text.split(family, &row.labels, "cause", unsent);
    }),
    (f::IN_FLIGHT, |text, family, row, _| text.number(family, &row.labels, row.counts.in_flight())),
    (f::SKIPPED, |text, family, row, _| text.number(family, &row.labels, row.counts.skipped)),
    (f::LATE, |text, family, row, _| text.number(family, &row.labels, row.counts.late)),
    (f::DUPLICATE, |text, family, row, _| text.number(family, &row.labels, row.counts.duplicate)),
    (f::CONTRADICTED, |text, family, row, _| text.number(family, &row.labels, row.counts.contradicted)),
    (f::RTT, |text, family, row, buckets| text.histogram(family, &row.labels, &row.rtt, buckets)),
    (f::TARGETS, |text, family, row, _| {
        let states = State::ALL.map(State::name).into_iter().zip(row.counts.states);
        text.split(family, &row.labels, "state", states);
    }),
    (f::FLAPPING, |text, family, row, _| text.number(family, &row.labels, row.counts.flapping)),
    (f::PATH_CHANGES, |text, family, row, _| {
        if row.has_paths {
            text.number(family, &row.labels, row.counts.path_changes);
        }
    }),
];

/// Writes what is counted of the probes by which a group's paths are found, with the group's label.
pub(super) type PathLines = fn(&mut Text, Family, &str, &SumRow);

/// The families of groups whose paths are kept.
pub(super) const OF_PATHS: [(Family, PathLines); 2] = [
    (f::PATH_PROBES, |text, family, labels, row| text.number(family, labels, row.probes)),
    (f::PATH_SETTLED, |text, family, labels, row| {
        let settled = Outcome::ALL.map(Outcome::name).into_iter().zip(row.settled);
        text.split(family, labels, "outcome", settled.chain([(Outcome::Hop.name(), row.hops)]));
    }),
];

/// The families with a line for each group.
pub(super) const BY_GROUP: [(Family, GroupLine); 2] = [
    (f::GROUP_INFO, |text, family, labels, group, _| {
        let mut labels = labels.to_owned();
        add_label(&mut labels, "probe", &group.shape.kind.to_string());
        add_label(&mut labels, targets::FAMILY, group.family.name());
        text.number(family, &labels, 1);
    }),
    (f::SERIES_DROPPED, |text, family, labels, _, left_out| text.number(family, labels, left_out)),
];

/// The labels of a row.
fn labels(group: &Group, sum: &Sum) -> String {
    let mut labels = String::new();
    add_label(&mut labels, "group", &group.name);
    group.sum_by.iter().zip(&sum.values).for_each(|(name, value)| add_label(&mut labels, name, value));
    labels
}

/// Of each group, the series that a scrape leaves out for want of room: those of rows that were merged and of targets that were not
/// chosen, and of unhealthy targets at least those that are down.
pub(super) fn left_out(plan: &Plan, snapshot: &Snapshot, unhealthy: &[Vec<TargetIndex>]) -> Vec<u64> {
    let mut down = vec![0; plan.groups.len()];
    for (sum, row) in plan.sums.iter().zip(&snapshot.sums) {
        down[sum.group] += row.states[State::Down as usize];
    }
    let of_group = |(i, group): (usize, &Group)| {
        let targets = match group.per_target {
            PerTarget::Unhealthy => {
                let shown = unhealthy[i].len() as u64;
                // As long as there is room, those that are not shown have gone down this moment.
                if shown < group.exported.most_targets { 0 } else { down[i].saturating_sub(shown) }
            }
            _ => group.exported.left_out,
        };
        targets + group.exported.merged_rows * targets::series_of_row(group)
    };
    plan.groups.iter().enumerate().map(of_group).collect()
}
