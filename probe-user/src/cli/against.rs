//! What another configuration would change in a running echolot: what is probed there is asked for, and held against the file.

use super::Failure;
use crate::{
    base::TargetIndex,
    config::Config,
    discovery::{Discovery, fetch},
    results::human::counted,
    targets::Plan,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};
use url::Url;

/// The other side, and sources of targets, are waited for no longer.
const WITHIN: Duration = Duration::from_secs(30);
/// As a reload waits for sources.
const SOURCES_WITHIN: Duration = Duration::from_secs(3);
/// Some hundred bytes a target, of ten million.
const MOST_BYTES: u64 = 2 << 30;

/// What runs there, as `/api/v1/targets` says.
#[derive(Deserialize)]
struct There {
    version: String,
    fixed: Vec<(String, String)>,
    groups: Vec<GroupThere>,
    label_sets: Vec<Labels>,
    targets: Vec<(usize, String)>,
}

#[derive(Deserialize)]
struct GroupThere {
    name: String,
    settings: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Labels {
    group: usize,
    labels: BTreeMap<String, String>,
}

/// What would change. `Display` is for people.
#[derive(Serialize, PartialEq, Debug)]
pub(super) struct Against {
    /// Who was asked.
    url: String,
    version: String,
    /// What can't change without a restart.
    takes_a_restart: Vec<Setting>,
    groups: Vec<GroupChange>,
}

/// One that would be another.
#[derive(Serialize, PartialEq, Debug)]
struct Setting {
    name: String,
    is: String,
    would_be: String,
}

#[derive(Serialize, PartialEq, Default, Debug)]
struct GroupChange {
    name: String,
    /// There is none now.
    new: bool,
    /// There would be none.
    gone: bool,
    settings: Vec<Setting>,
    targets: Targets,
}

#[derive(Serialize, Clone, Copy, PartialEq, Default, Debug)]
struct Targets {
    as_before: u64,
    new: u64,
    gone: u64,
    with_other_labels: u64,
}

/// Asks who listens there, and the sources of the file.
pub(super) fn ask(config: &Config, url: &Url) -> Result<Against, Failure> {
    let failed = |why: String| Failure::new(format!("--against {url}: {why}"));
    let at = url.join("/api/v1/targets").map_err(|error| failed(error.to_string()))?;
    let told = fetch(at, WITHIN, MOST_BYTES).map_err(&failed)?;
    let there: There = serde_json::from_slice(&told)
        .map_err(|error| failed(format!("this is no echolot's list of targets, or one of another version: {error}")))?;
    let discovery = Discovery::start(&config.discovery())?;
    let plan = config.plan_of(&discovery.first(SOURCES_WITHIN))?;
    if let Some(state) = discovery.states().into_iter().find(|state| state.up != Some(true)) {
        return Err(failed(format!(
            "source {} of group `{}` is down, and a reload would be refused",
            state.source, state.group
        )));
    }
    Ok(Against { url: url.to_string(), ..compared(there, config.fixed(), &plan) })
}

fn compared(there: There, fixed: Vec<(&'static str, String)>, plan: &Plan) -> Against {
    let would_be = fixed.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    let mut groups: Vec<GroupChange> = Vec::new();
    // Of each group that is there, who is in it with which labels.
    let mut members: HashMap<&str, HashMap<&str, &BTreeMap<String, String>>> = HashMap::new();
    for (set, name) in &there.targets {
        let Some(Labels { group, labels }) = there.label_sets.get(*set) else { continue };
        let Some(group) = there.groups.get(*group) else { continue };
        members.entry(&group.name).or_default().insert(name, labels);
    }
    for group in &plan.groups {
        let before = there.groups.iter().find(|before| before.name == group.name);
        let mut left = members.remove(&*group.name).unwrap_or_default();
        let mut targets = Targets::default();
        for index in plan.members(group) {
            match plan.name_of(index).and_then(|name| left.remove(&*name.to_string())) {
                Some(labels) if labels == labels_of(plan, index) => targets.as_before += 1,
                Some(_) => targets.with_other_labels += 1,
                None => targets.new += 1,
            }
        }
        targets.gone = left.len() as u64;
        let now = group.settings().into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        let settings = before.map(|before| others(&before.settings, now)).unwrap_or_default();
        groups.push(GroupChange { name: group.name.clone(), new: before.is_none(), gone: false, settings, targets });
    }
    let mut left: Vec<_> = members.into_iter().collect();
    left.sort_unstable_by_key(|(name, _)| *name);
    for (name, members) in left {
        let targets = Targets { gone: members.len() as u64, ..Targets::default() };
        groups.push(GroupChange { name: name.into(), gone: true, targets, ..GroupChange::default() });
    }
    let takes_a_restart = others(&there.fixed, would_be);
    Against { url: String::new(), version: there.version, takes_a_restart, groups }
}

fn labels_of(plan: &Plan, index: TargetIndex) -> &BTreeMap<String, String> {
    &plan.label_sets[plan.targets[index.0 as usize].label_set as usize].labels
}

/// Settings that would be others. One that only one side knows is of another version: it says nothing.
fn others(is: &[(String, String)], would_be: Vec<(String, String)>) -> Vec<Setting> {
    let is: HashMap<&String, &String> = is.iter().map(|(name, text)| (name, text)).collect();
    let other = |(name, would_be): (String, String)| {
        let is = (*is.get(&name)?).clone();
        (is != would_be).then_some(Setting { name, is, would_be })
    };
    would_be.into_iter().filter_map(other).collect()
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "against {} (version {}):", self.url, self.version)?;
        for Setting { name, is, would_be } in &self.takes_a_restart {
            writeln!(f, "  takes a restart, and a reload would be refused: `{name}` is {is}, would be {would_be}")?;
        }
        let mut is_same = self.takes_a_restart.is_empty();
        for GroupChange { name, new, gone, settings, targets } in &self.groups {
            let Targets { as_before, new: added, gone: left, with_other_labels } = *targets;
            let is_other = *new || *gone || !settings.is_empty() || added + left + with_other_labels > 0;
            is_same &= !is_other;
            if !is_other {
                continue;
            }
            let kind = if *new { "new group" } else { "group" };
            write!(f, "  {kind} {name}: ")?;
            if *gone {
                write!(f, "gone, with {}", counted(left, "target"))?;
            } else {
                write!(f, "{} as before, {added} new, {left} gone", counted(as_before, "target"))?;
                if with_other_labels > 0 {
                    write!(f, ", {with_other_labels} with other labels")?;
                }
            }
            for Setting { name, is, would_be } in settings {
                write!(f, "; `{name}` is {is}, would be {would_be}")?;
            }
            writeln!(f)?;
        }
        if is_same {
            writeln!(f, "  nothing would change")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test panics where it fails")]
    use super::*;
    use crate::{base::Family, config::parse};
    use std::path::Path;

    fn of(text: &str) -> Config {
        parse(Path::new("file"), text.into()).unwrap()
    }

    /// What runs by this configuration, as it says itself.
    fn there(text: &str) -> There {
        let config = of(text);
        let plan = config.plan().unwrap();
        let owned =
            |of: Vec<(&'static str, String)>| of.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        There {
            version: "0".into(),
            fixed: owned(config.fixed()),
            groups: plan
                .groups
                .iter()
                .map(|group| GroupThere { name: group.name.clone(), settings: owned(group.settings()) })
                .collect(),
            label_sets: plan
                .label_sets
                .iter()
                .map(|set| Labels {
                    group: plan.sums[set.sums[Family::V4 as usize] as usize].group,
                    labels: set.labels.clone(),
                })
                .collect(),
            targets: (0..)
                .map(TargetIndex)
                .zip(&plan.targets)
                .map(|(index, target)| (target.label_set as usize, plan.name_of(index).unwrap().to_string()))
                .collect(),
        }
    }

    fn shown(before: &str, after: &str) -> String {
        let config = of(after);
        compared(there(before), config.fixed(), &config.plan().unwrap()).to_string()
    }

    #[test]
    fn what_would_change_is_said_and_nothing_else() {
        let before = "groups:
  - {name: edge, interval: 1s, targets: [192.0.2.0/30, host.example]}
  - {name: core, interval: 1s, targets: [198.51.100.1], labels: {site: a}}
  - {name: old, interval: 1s, targets: [203.0.113.1, 203.0.113.2]}
";
        assert_eq!(shown(before, before), "against  (version 0):\n  nothing would change\n");
        let after = "listen: 127.0.0.1:1
groups:
  - {name: edge, interval: 2s, targets: [192.0.2.0/31, host.example, 192.0.2.9]}
  - {name: core, interval: 1s, targets: [198.51.100.1], labels: {site: b}}
  - {name: next, interval: 1s, targets: [203.0.113.1]}
";
        let text = shown(before, after);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[1].contains("takes a restart") && lines[1].contains("`listen`"), "{text}");
        assert_eq!(lines[2], "  group edge: 3 targets as before, 1 new, 2 gone; `interval` is 1s, would be 2s");
        assert_eq!(lines[3], "  group core: 0 targets as before, 0 new, 0 gone, 1 with other labels");
        assert_eq!(lines[4], "  new group next: 0 targets as before, 1 new, 0 gone");
        assert_eq!(lines[5], "  group old: gone, with 2 targets");
    }
}
