//! From a configuration to a plan: target files are read, targets expanded, the rate held against its limit.

use super::{Config, ConfigError, GroupConfig, parse::unknown_label};
use crate::{
    base::Family,
    nic,
    targets::{self, FAMILY, Group, GroupInput, Options, Place, Plan, TargetList, file_sd},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

impl Config {
    /// Reads the target files and builds the plan. Refuses what needs more memory than there is, a plan without targets,
    /// and groups that need more probes a second than `limits.rate` allows.
    ///
    /// A group whose target files hold nothing just now is no error as long as another has targets.
    pub fn plan(&self) -> Result<Plan, ConfigError> {
        let mut inputs = Vec::with_capacity(self.groups.len());
        for (i, group) in self.groups.iter().enumerate() {
            inputs.push(self.input(i, group)?);
        }
        let options = Options { seed: self.seed, shard: None, series: self.series_limit };
        let mut plan = targets::build(inputs, &self.exclude, &options).map_err(|error| self.refused(&error))?;
        plan.send_from(self.sources.clone())
            .map_err(|error| ConfigError::at(&self.file, Some(self.places.groups), "groups", error))?;
        self.check_paths()?;
        self.check_rate(&plan)?;
        // Those that find paths have flows and ports of their own.
        let all = plan.groups_with_paths();
        self.check_shapes(&all)?;
        self.check_ports(&all)?;
        Ok(plan)
    }

    fn input(&self, number: usize, group: &GroupConfig) -> Result<GroupInput, ConfigError> {
        let mut own = TargetList::default();
        for target in &group.targets {
            own.push(target.value.clone());
        }
        let mut lists = vec![own];
        for (i, pattern) in group.target_files.iter().enumerate() {
            let field = format!("groups[{number}].target_files[{i}]");
            let files = matching(&pattern.value).map_err(|error| {
                let reason = format!("{}: cannot be searched: {error}", pattern.value.display());
                ConfigError::at(&self.file, Some(pattern.place), &field, reason)
            })?;
            for file in files {
                let read = file_sd::read_file(&file);
                lists.extend(
                    read.map_err(|error| ConfigError::of_targets(&self.file, Some(pattern.place), &field, &error))?,
                );
            }
        }
        self.check_sum_by(number, group, &lists)?;
        Ok(GroupInput { group: group.group.clone(), labels: group.labels.clone(), lists })
    }

    /// Labels that come from target files are only known now; while there are no targets in them, any may come.
    fn check_sum_by(&self, number: usize, group: &GroupConfig, lists: &[TargetList]) -> Result<(), ConfigError> {
        if lists[1..].iter().all(TargetList::is_empty) {
            return Ok(());
        }
        let known: BTreeSet<&String> =
            lists.iter().flat_map(|list| list.labels.keys()).chain(group.labels.keys()).collect();
        match group.group.sum_by.iter().find(|name| *name != FAMILY && !known.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let reason = unknown_label(name, known.into_iter());
                let field = format!("groups[{number}].sum_by");
                Err(ConfigError::at(&self.file, Some(group.sum_by_place), &field, reason))
            }
        }
    }

    /// Finds the line that is to blame.
    fn refused(&self, error: &targets::Error) -> ConfigError {
        let (targets::Error::Memory { group, part, .. }
        | targets::Error::TooMany { group, part, .. }
        | targets::Error::Family { group, part, .. }
        | targets::Error::Payload { group, part, .. }) = error
        else {
            return ConfigError::of_targets(&self.file, Some(self.places.groups), "groups", error);
        };
        let position = self.groups.iter().position(|candidate| candidate.group.name == *group);
        let found = position.map(|i| {
            let targets = &self.groups[i].targets;
            match targets.iter().position(|target| target.value.to_string() == *part) {
                Some(j) => (targets[j].place, format!("groups[{i}].targets[{j}]")),
                None => (self.groups[i].place, format!("groups[{i}]")),
            }
        });
        let (place, field) = found.unwrap_or((self.places.groups, "groups".into()));
        ConfigError::of_targets(&self.file, Some(place), &field, error)
    }

    /// Whether the probes of a path leave from one source, or it would not be one path.
    fn check_paths(&self) -> Result<(), ConfigError> {
        if Family::ALL.iter().all(|family| self.sources.turns(*family) == 1) {
            return Ok(());
        }
        let Some((i, group)) = self.groups.iter().enumerate().find(|(_, group)| group.group.path.is_some()) else {
            return Ok(());
        };
        let reason = "paths are found from one source of each family, and probes leave from several in turn: write one `source`, or \
                      leave `path` out";
        Err(ConfigError::at(&self.file, Some(group.place), &format!("groups[{i}].path"), reason))
    }

    /// Whether what `source_port` begins with has room for a port for each group that needs one.
    fn check_ports(&self, plan: &Plan) -> Result<(), ConfigError> {
        let (Some(first), Some(place)) = (self.source_port, self.places.source_port) else { return Ok(()) };
        nic::check_source_ports(first, plan.ports())
            .map_err(|error| ConfigError::at(&self.file, Some(place), "source_port", error.to_string()))
    }

    /// Whether the looks of all probes can be numbered: each flow of a group is one, over each family, and so is the RST behind a SYN.
    fn check_shapes(&self, plan: &Plan) -> Result<(), ConfigError> {
        let of_group = |group: &Group| {
            let with_reset = if group.shape.then_reset().is_some() { 2 } else { 1 };
            let lives = group.ttls.map_or(0, |ttls| ttls.many() as usize - 1);
            usize::from(group.flow_count()) * Family::ALL.len() * (with_reset + lives)
        };
        let (sum, most) = (plan.groups.iter().map(of_group).sum::<usize>(), usize::from(u16::MAX));
        if sum <= most {
            return Ok(());
        }
        let reason = format!(
            "the flows of all groups, over both families and with the RSTs behind TCP probes, come to {sum} forms of frames, and at most \
             {most} are told apart: write fewer `flows`, or join groups"
        );
        Err(ConfigError::at(&self.file, Some(self.places.groups), "groups", reason))
    }

    fn check_rate(&self, plan: &Plan) -> Result<(), ConfigError> {
        #[expect(clippy::cast_precision_loss, reason = "limits are at most 10^9")]
        let limit = self.rate_limit as f64;
        let needed = plan.needed_rate();
        if needed <= limit {
            return Ok(());
        }
        let mut groups: Vec<&Group> = plan.groups.iter().collect();
        groups.sort_by(|a, b| b.needed_rate().total_cmp(&a.needed_rate()));
        let largest: Vec<String> =
            groups.iter().take(3).map(|group| format!("`{}` {}", group.name, group.needed_rate().ceil())).collect();
        let (what, field): (&str, &str) = match self.places.rate {
            Some(_) => ("limits.rate allows", "limits.rate"),
            None => ("without limits.rate the limit is", "groups"),
        };
        let reason = format!(
            "the groups need {} probes a second, {what} {}: raise limits.rate, lengthen intervals or drop targets; \
             most is needed by {}",
            needed.ceil(),
            self.rate_limit,
            largest.join(", ")
        );
        let place: Place = self.places.rate.unwrap_or(self.places.groups);
        Err(ConfigError::at(&self.file, Some(place), field, reason))
    }
}

/// The files that a path with `*` in its last part stands for, by name; a path without `*` stands for itself.
fn matching(pattern: &Path) -> std::io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?.file_name();
        // As in a shell, `*` does not stand for the dot of a hidden file.
        if let Some(found) = entry.to_str()
            && (name.starts_with('.') || !found.starts_with('.'))
            && matches(name, found)
        {
            files.push(folder.join(found));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let (Some(head), Some(tail)) = (parts.next(), parts.next_back()) else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail)) else { return false };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
