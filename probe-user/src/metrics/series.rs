//! The series of single targets.

use super::{
    families::{self as f, Family},
    format::{Seconds, Text, add_label},
};
use crate::{
    base::{Nanos, Outcome, State, TargetIndex},
    ledger::TargetRow,
    targets::{FAMILY, Families, Plan},
};

/// What is written of a target.
pub(super) struct Shown<'a> {
    pub(super) row: &'a TargetRow,
    pub(super) plan: &'a Plan,
    pub(super) index: TargetIndex,
    /// A moment in seconds since 1970.
    pub(super) unix: &'a dyn Fn(Nanos) -> f64,
}

/// Writes what one target contributes to a family: nothing, a line, or several. With the labels that it has in all families.
pub(super) type TargetLines = fn(&mut Text, Family, &str, &Shown<'_>);

/// The families, in their order. Of a target that is shown while it is unhealthy there is the first alone.
pub(super) const BY_TARGET: [(Family, TargetLines); 5] = [
    (f::TARGET_UP, up),
    (f::TARGET_SETTLED, settled),
    (f::TARGET_RTT, rtt),
    (f::TARGET_LAST_REPLY, last_reply),
    (f::TARGET_INFO, info),
];

/// What all series of a target have in common: `group="…",target="…"`.
pub(super) fn label(labels: &mut String, plan: &Plan, group: usize, index: TargetIndex) {
    labels.clear();
    add_label(labels, "group", &plan.groups[group].name);
    let name = plan.name_of(index).map(|name| name.to_string());
    add_label(labels, "target", &name.unwrap_or_default());
    // A name is two targets there.
    if plan.groups[group].family == Families::Both
        && let Some(family) = plan.family_of(index)
    {
        add_label(labels, FAMILY, family.name());
    }
}

fn up(text: &mut Text, family: Family, labels: &str, shown: &Shown<'_>) {
    match shown.row.state {
        State::Up => text.number(family, labels, 1),
        State::Down => text.number(family, labels, 0),
        State::Unknown | State::Unresolved => {}
    }
}

fn settled(text: &mut Text, family: Family, labels: &str, shown: &Shown<'_>) {
    text.split(family, labels, "outcome", Outcome::ALL.map(Outcome::name).into_iter().zip(shown.row.settled));
}

fn rtt(text: &mut Text, family: Family, labels: &str, shown: &Shown<'_>) {
    text.sample((family.name, "_sum"), labels, None, Seconds(shown.row.rtt_sum));
    text.sample((family.name, "_count"), labels, None, shown.row.settled[Outcome::Answered as usize]);
}

fn last_reply(text: &mut Text, family: Family, labels: &str, shown: &Shown<'_>) {
    let Some(moment) = shown.row.last_reply else { return };
    let unix = (shown.unix)(moment);
    text.sample((family.name, ""), labels, None, format_args!("{unix:.6}"));
}

/// How far the target is.
pub(super) fn path_hops(text: &mut Text, labels: &str, row: &TargetRow) {
    if let Some(hops) = row.path_hops {
        text.number(f::PATH_HOPS, labels, hops.into());
    }
}

fn info(text: &mut Text, family: Family, labels: &str, shown: &Shown<'_>) {
    let mut labels = labels.to_owned();
    add_label(&mut labels, "address", &shown.row.address.map(|a| a.to_string()).unwrap_or_default());
    let target = shown.plan.targets.get(shown.index.0 as usize);
    if let Some(set) = target.and_then(|target| shown.plan.label_sets.get(target.label_set as usize)) {
        set.labels.iter().for_each(|(name, value)| add_label(&mut labels, name, value));
    }
    text.number(family, &labels, 1);
}
