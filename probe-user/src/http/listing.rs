//! What is probed now, as one JSON object: for whoever wants to know what another configuration would change.

use crate::{
    base::{Family, TargetIndex},
    metrics::{Pinned, Source},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

/// Targets in a piece.
const TARGETS: usize = 1_000;

/// All but the targets.
#[derive(Serialize)]
struct Head<'a> {
    version: &'static str,
    config_hash: Option<u64>,
    /// Key and value.
    fixed: Vec<(&'static str, String)>,
    groups: Vec<GroupHead<'a>>,
    label_sets: Vec<Labels<'a>>,
}

#[derive(Serialize)]
struct GroupHead<'a> {
    name: &'a str,
    settings: Vec<(&'static str, String)>,
}

#[derive(Serialize)]
struct Labels<'a> {
    /// Its place among the groups.
    group: usize,
    labels: &'a BTreeMap<String, String>,
}

/// The object in pieces, none of which is long: it stays what it was when it began, whatever is reloaded meanwhile.
pub(super) fn pieces(source: &dyn Source) -> serde_json::Result<impl Iterator<Item = Vec<u8>> + Send + use<>> {
    let pinned = source.pin();
    let head = head(source, &*pinned)?;
    let many = u32::try_from(pinned.plan().targets.len()).unwrap_or(u32::MAX);
    let mut comma = "";
    let targets = (0..many).step_by(TARGETS).map(move |from| {
        let mut piece = String::new();
        for index in (from..many).take(TARGETS).map(TargetIndex) {
            comma = target(&pinned, index, comma, &mut piece);
        }
        piece.into_bytes()
    });
    Ok(std::iter::once(head).chain(targets).chain(std::iter::once(b"]}\n".to_vec())))
}

/// Up to where the targets begin.
fn head(source: &dyn Source, pinned: &dyn Pinned) -> serde_json::Result<Vec<u8>> {
    let plan = pinned.plan();
    let groups = plan.groups.iter().map(|group| GroupHead { name: &group.name, settings: group.settings() });
    let labels = plan
        .label_sets
        .iter()
        .map(|set| Labels { group: plan.sums[set.sums[Family::V4 as usize] as usize].group, labels: &set.labels });
    let head = Head {
        version: env!("CARGO_PKG_VERSION"),
        config_hash: source.config_hash(),
        fixed: source.fixed(),
        groups: groups.collect(),
        label_sets: labels.collect(),
    };
    let mut text = serde_json::to_vec(&head)?;
    text.pop();
    text.extend_from_slice(b",\"targets\":[");
    Ok(text)
}

/// Appends a target: its label set and its name. Returns what the next one begins with.
fn target(pinned: &Arc<dyn Pinned>, index: TargetIndex, comma: &'static str, piece: &mut String) -> &'static str {
    let plan = pinned.plan();
    let Some(name) = plan.name_of(index).filter(|_| plan.has(index)) else { return comma };
    let name = serde_json::Value::String(name.to_string());
    // Writing to a string can't fail.
    let _ = write!(piece, "{comma}[{},{name}]", plan.targets[index.0 as usize].label_set);
    ","
}
