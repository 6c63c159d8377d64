//! A scrape, chunk by chunk. A million targets are ten million lines and half a gigabyte, so nothing is ever held but the chunk in the
//! making and what the sums came to when it began.

use super::{
    ExpositionError, Source,
    families::{self as f, Family},
    format::{Format, Text, add_label},
    local, process,
    series::{self, TargetLines},
    source::Pinned,
    sums::{self, Row, RowLines},
};
use crate::{
    base::TargetIndex,
    ledger::{Snapshot, SumRow},
    targets::{self, Group, PerTarget, Plan},
};
use std::sync::Arc;

/// How long a chunk is, bytes: the lines of a target that would make it longer go into the next one. Only the lines of
/// one single target, or row, can be longer than this.
pub const CHUNK: usize = 64 * 1024;
/// Targets that are looked at for a chunk: where few of many are shown, others have their turn meanwhile.
const STEPS: usize = 4_096;

/// The exposition, family by family as the formats want it. Each item is text to send on, and may be empty. Between two of them others
/// can run. It holds on to the plan that it began with, and ends with it.
pub struct Exposition {
    scrape: Scrape,
    steps: Box<dyn Iterator<Item = Step> + Send>,
    text: Text,
    /// What did not fit into the last chunk.
    pending: String,
    /// `group="…",target="…"` of the target in the making; kept for its memory.
    labels: String,
}

/// What a scrape is made from.
struct Scrape {
    source: Arc<dyn Source>,
    pinned: Arc<dyn Pinned>,
    snapshot: Snapshot,
    /// The rows of sums, until they have been written.
    rows: Vec<Row>,
    /// Which label sets a group shows that shows labelled targets alone, and all those of others.
    shown: Vec<bool>,
    /// Of each group, series that this scrape leaves out.
    left_out: Vec<u64>,
}

/// One step of the exposition.
enum Step {
    /// A family begins.
    Header(Family),
    /// The lines of a row of sums, by its place.
    Row(Family, RowLines, usize),
    /// The line of a group, by its place.
    Group(Family, sums::GroupLine, usize),
    /// The lines of a group whose paths are kept, by its place and its place among those.
    Paths(Family, sums::PathLines, usize, usize),
    /// All that is not of groups.
    Local,
    /// The lines of one target, by its group and its index.
    Target(Family, TargetLines, usize, TargetIndex),
    /// How far a target is, whose path is kept.
    Hops(usize, TargetIndex),
    /// The last.
    End,
}

impl Exposition {
    /// Begins with what is in force now.
    ///
    /// # Errors
    /// A label name that Prometheus would refuse.
    pub fn new(source: Arc<dyn Source>, format: Format) -> Result<Self, ExpositionError> {
        let pinned = source.pin();
        let plan = pinned.plan();
        check(plan)?;
        let mut snapshot = pinned.snapshot();
        let shown = plan.label_sets.iter().map(|set| {
            let group = plan.sums.get(set.sums[0] as usize).and_then(|sum| plan.groups.get(sum.group));
            group.is_some_and(|group| group.per_target.has(set))
        });
        let shown = shown.collect();
        let unhealthy: Vec<Vec<TargetIndex>> = (0..plan.groups.len())
            .map(|group| match plan.groups[group].per_target {
                PerTarget::Unhealthy => pinned.unhealthy(group),
                _ => Vec::new(),
            })
            .collect();
        let left_out = sums::left_out(plan, &snapshot, &unhealthy);
        let counts = std::mem::take(&mut snapshot.sums);
        let rows: Vec<Row> = plan.sums.iter().zip(counts).map(|(sum, counts)| Row::new(plan, sum, counts)).collect();
        let steps = Box::new(steps(plan, rows.len(), unhealthy));
        let text = Text { out: String::new(), format };
        let scrape = Scrape { source, pinned, snapshot, rows, shown, left_out };
        Ok(Self { scrape, steps, text, pending: String::new(), labels: String::new() })
    }
}

/// Label names have been checked when the configuration was read; one that slipped through would cost all series.
fn check(plan: &Plan) -> Result<(), ExpositionError> {
    let named = |name: &String| *name != targets::FAMILY;
    let by_sums =
        plan.groups.iter().flat_map(|group| group.sum_by.iter().filter(|n| named(n)).map(move |n| (group, n)));
    let by_targets = plan.label_sets.iter().flat_map(|set| {
        let group = &plan.groups[plan.sums[set.sums[0] as usize].group];
        set.labels.keys().filter(|_| group.per_target.has_info()).map(move |name| (group, name))
    });
    for (group, name) in by_sums.chain(by_targets) {
        targets::check_label_name(name).map_err(|why| ExpositionError::Label { group: group.name.clone(), why })?;
    }
    Ok(())
}

/// All that is written, in its order. A family without a sample is left out.
fn steps(plan: &Plan, rows: usize, unhealthy: Vec<Vec<TargetIndex>>) -> impl Iterator<Item = Step> + Send + use<> {
    let groups = plan.groups.len();
    let followed: Vec<usize> = (0..groups).filter(|group| plan.groups[*group].path.is_some()).collect();
    let some_followed = !followed.is_empty();
    let is_there = move |family| rows > 0 && (some_followed || family != f::PATH_CHANGES);
    let by_row =
        sums::BY_ROW.into_iter().filter(move |(family, _)| is_there(*family)).flat_map(move |(family, lines)| {
            std::iter::once(Step::Header(family)).chain((0..rows).map(move |row| Step::Row(family, lines, row)))
        });
    // Without those of before that are there for what is still in flight.
    let mut names = std::collections::HashSet::new();
    let named_once: Vec<usize> = (0..groups).filter(|group| names.insert(&plan.groups[*group].name)).collect();
    let by_group = sums::BY_GROUP.into_iter().filter(move |_| groups > 0).flat_map(move |(family, line)| {
        let lines = named_once.clone().into_iter().map(move |group| Step::Group(family, line, group));
        std::iter::once(Step::Header(family)).chain(lines)
    });
    let of_hops: Vec<(usize, Vec<std::ops::Range<u32>>)> =
        followed.iter().map(|group| (*group, plan.groups[*group].runs().collect())).collect();
    let of_paths = sums::OF_PATHS.into_iter().filter(move |_| some_followed).flat_map(move |(family, lines)| {
        let groups = followed.clone().into_iter().enumerate();
        let lines = groups.map(move |(place, group)| Step::Paths(family, lines, group, place));
        std::iter::once(Step::Header(family)).chain(lines)
    });
    let hops = of_hops
        .into_iter()
        .flat_map(|(group, runs)| runs.into_iter().flatten().map(move |index| (group, TargetIndex(index))));
    let hops = hops.map(|(group, index)| Step::Hops(group, index));
    let hops = some_followed.then_some(Step::Header(f::PATH_HOPS)).into_iter().chain(hops);
    let shown: Vec<(usize, Shown)> = plan
        .groups
        .iter()
        .zip(unhealthy)
        .enumerate()
        .filter_map(|(i, (group, unhealthy))| match group.per_target {
            PerTarget::None => None,
            PerTarget::Unhealthy => Some((i, Shown::These(unhealthy.into()))),
            PerTarget::All | PerTarget::Labelled(_) => Some((i, Shown::of(group))),
        })
        .collect();
    let by_target = series::BY_TARGET.into_iter().flat_map(move |(family, lines)| {
        // Of those that are shown for as long as they are unhealthy there is one family.
        let groups = shown.iter().filter(|(_, shown)| family == f::TARGET_UP || matches!(shown, Shown::All(_)));
        let groups: Vec<_> = groups.cloned().collect();
        let header = (!groups.is_empty()).then_some(Step::Header(family));
        let targets = groups.into_iter().flat_map(move |(group, shown)| {
            (0..shown.len()).map(move |place| Step::Target(family, lines, group, shown.at(place)))
        });
        header.into_iter().chain(targets)
    });
    by_row.chain(of_paths).chain(by_group).chain([Step::Local]).chain(by_target).chain(hops).chain([Step::End])
}

/// Which targets of a group are looked at.
#[derive(Clone)]
enum Shown {
    /// Those of these runs of slots, some of which may have none.
    All(Arc<[std::ops::Range<u32>]>),
    These(Arc<[TargetIndex]>),
}

impl Shown {
    fn of(group: &Group) -> Self {
        Self::All(group.runs().collect())
    }

    fn len(&self) -> usize {
        match self {
            Self::All(runs) => runs.iter().map(std::ops::Range::len).sum(),
            Self::These(targets) => targets.len(),
        }
    }

    fn at(&self, place: usize) -> TargetIndex {
        match self {
            Self::All(runs) => {
                let mut before = 0;
                let run = runs.iter().find(|run| {
                    before += run.len();
                    place < before
                });
                let behind = u32::try_from(before - place).unwrap_or(0);
                TargetIndex(run.map_or(u32::MAX, |run| run.end - behind))
            }
            Self::These(targets) => targets[place],
        }
    }
}

impl Iterator for Exposition {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        // Room for one target's lines above what is kept.
        self.text.out = String::with_capacity(CHUNK + 4096);
        self.text.out.push_str(&std::mem::take(&mut self.pending));
        let mut done = 0;
        while done < STEPS {
            let Some(step) = self.steps.next() else { break };
            done += 1;
            let before = self.text.out.len();
            self.scrape.write(&step, &mut self.text, &mut self.labels);
            if matches!(step, Step::Local) {
                // A scrape may last; these have been written.
                self.scrape.rows = Vec::new();
            }
            if self.text.out.len() > CHUNK && before > 0 {
                self.pending = self.text.out.split_off(before);
                break;
            }
        }
        let chunk = std::mem::take(&mut self.text.out);
        (done > 0 || !chunk.is_empty()).then_some(chunk)
    }
}

impl Scrape {
    fn write(&self, step: &Step, text: &mut Text, labels: &mut String) {
        let plan = self.pinned.plan();
        match *step {
            Step::Header(family) => text.header(family),
            Step::Row(family, lines, row) => {
                let row = &self.rows[row];
                lines(text, family, row, &plan.groups[row.group].buckets);
            }
            Step::Group(family, line, group) => {
                labels.clear();
                add_label(labels, "group", &plan.groups[group].name);
                line(text, family, labels, &plan.groups[group], self.left_out[group]);
            }
            Step::Paths(family, lines, group, place) => {
                labels.clear();
                add_label(labels, "group", &plan.groups[group].name);
                lines(text, family, labels, self.snapshot.paths.get(place).unwrap_or(&SumRow::default()));
            }
            Step::Hops(group, index) => {
                if !plan.has(index) || !plan.shows_hops(&plan.groups[group], index) {
                    return;
                }
                let Some(row) = self.pinned.target(index) else { return };
                series::label(labels, plan, group, index);
                series::path_hops(text, labels, &row);
            }
            Step::Local => {
                local::write(text, &*self.source, &self.snapshot);
                process::write(text);
            }
            Step::Target(family, lines, group, index) => {
                if !self.is_shown(plan, group, index) {
                    return;
                }
                // One that is gone since has nothing more to say.
                let Some(row) = self.pinned.target(index) else { return };
                series::label(labels, plan, group, index);
                let unix = |moment| self.source.monotonic_to_unix(moment);
                lines(text, family, labels, &series::Shown { row: &row, plan, index, unix: &unix });
            }
            Step::End => text.end(),
        }
    }

    /// Whether a target has series in this scrape.
    fn is_shown(&self, plan: &Plan, group: usize, index: TargetIndex) -> bool {
        let group = &plan.groups[group];
        if !plan.has(index) {
            return false;
        }
        if group.per_target == PerTarget::Unhealthy {
            return true;
        }
        let set = plan.targets.get(index.0 as usize).map(|target| target.label_set as usize);
        set.and_then(|set| self.shown.get(set)).is_some_and(|shown| *shown) && plan.is_chosen(group, index)
    }
}
