//! From a configuration to a plan: target files are read, targets expanded, the rate held against its limit.

use super::{Config, ConfigError, GroupConfig, parse::unknown_label};
use crate::{
    base::Family,
    discovery::{self, GroupSources, Lists},
    nic,
    targets::{self, Exclusions, FAMILY, Group, GroupInput, Options, Place, Plan, TargetList, file_sd},
};
use std::collections::BTreeSet;

impl Config {
    /// Reads the target files and the files of exclusions, and builds the plan. Refuses what needs more memory than there is, a plan
    /// without targets, groups that need more probes a second than `limits.rate` allows, and blocks that would get more than
    /// `limits.per_prefix`. Nothing is asked for over HTTP or DNS.
    ///
    /// A group whose sources hold nothing just now is no error, and neither is a plan without targets where some may come: `run` waits.
    pub fn plan(&self) -> Result<Plan, ConfigError> {
        let mut inputs = Vec::with_capacity(self.groups.len());
        for (i, group) in self.groups.iter().enumerate() {
            inputs.push(self.input(i, group)?);
        }
        self.build(inputs, &self.exclude.and(&self.excluded_by_files()?), self.may_come(), None)
    }

    /// The same of what the sources have by now, with the addresses of names that are known. A group whose sources have nothing is no
    /// error, and neither is a plan without targets where some may come.
    ///
    /// # Errors
    /// As of [`Self::plan`], but for what the sources have looked at themselves.
    pub fn plan_of(&self, lists: &Lists) -> Result<Plan, ConfigError> {
        let settings = self.discovery();
        let labels: Vec<_> = self.groups.iter().map(|group| group.labels.clone()).collect();
        let inputs = lists.inputs(&settings.groups, &labels);
        self.build(inputs, &self.exclude.and(&lists.exclude), self.may_come(), Some(lists))
    }

    /// Whether targets may come that are not there yet.
    fn may_come(&self) -> bool {
        self.groups.iter().any(|group| !group.http_sd.is_empty() || !group.target_files.is_empty())
    }

    fn build(
        &self,
        inputs: Vec<GroupInput>,
        exclude: &Exclusions,
        may_be_empty: bool,
        lists: Option<&Lists>,
    ) -> Result<Plan, ConfigError> {
        if !self.allow_reserved {
            for input in &inputs {
                targets::check_reserved(&input.group.name, &input.lists, exclude)
                    .map_err(|error| self.refused(&error))?;
            }
        }
        let options = Options { seed: self.seed, shard: None, series: self.series_limit };
        let build = if may_be_empty { targets::build_or_empty } else { targets::build };
        let never = self.never(exclude);
        let mut plan = build(inputs, &never, &options).map_err(|error| self.refused(&error))?;
        if let Some(lists) = lists {
            lists.place_names(&mut plan, &never);
        }
        plan.send_from(self.sources.clone())
            .map_err(|error| ConfigError::at(&self.file, Some(self.places.groups), "groups", error))?;
        self.check_paths()?;
        self.check_rate(&plan)?;
        targets::check_per_prefix(&plan, &self.per_prefix).map_err(|error| {
            ConfigError::of_targets(&self.file, self.places.per_prefix, "limits.per_prefix", &error)
        })?;
        // Those that find paths have flows and ports of their own.
        let all = plan.groups_with_paths();
        self.check_shapes(&all)?;
        self.check_ports(&all)?;
        Ok(plan)
    }

    /// What no name may turn out to be: what is excluded, in the file or by files, and where nobody is, unless that is allowed.
    pub fn never(&self, exclude: &Exclusions) -> Exclusions {
        if self.allow_reserved { exclude.clone() } else { exclude.and(&targets::reserved()) }
    }

    /// What the files of exclusions say now.
    ///
    /// # Errors
    /// One can't be read: then nobody knows what must not be probed.
    pub fn excluded_by_files(&self) -> Result<Exclusions, ConfigError> {
        let mut all = Exclusions::default();
        for (i, file) in self.exclude_files.iter().enumerate() {
            let read = discovery::read_exclusions(&file.value.path);
            let refused =
                |error| ConfigError::of_targets(&self.file, Some(file.place), &format!("exclude_files[{i}]"), &error);
            all = all.and(&read.map_err(refused)?);
        }
        Ok(all)
    }

    /// Where targets and exclusions come from.
    pub fn discovery(&self) -> discovery::Settings {
        discovery::Settings {
            groups: self.groups.iter().map(GroupConfig::sources).collect(),
            exclude: self.exclude_files.iter().map(|file| file.value.clone()).collect(),
            allow_reserved: self.allow_reserved,
            ..discovery::Settings::default()
        }
    }

    /// What is probably not meant: a label to sum by that no target of a group has, though its sources have some.
    pub fn unknown_labels(&self, lists: &Lists) -> Option<ConfigError> {
        self.groups.iter().enumerate().find_map(|(i, group)| {
            let of_group = lists.of_group(i, &group.sources());
            self.check_sum_by(i, group, &of_group).err()
        })
    }

    fn input(&self, number: usize, group: &GroupConfig) -> Result<GroupInput, ConfigError> {
        let mut lists = vec![group.own_targets()];
        for (i, source) in group.target_files.iter().enumerate() {
            let field = format!("groups[{number}].target_files[{i}]");
            let files = discovery::matching(&source.value.path)
                .map_err(|error| ConfigError::at(&self.file, Some(source.place), &field, error.to_string()))?;
            for file in files {
                let read = file_sd::read_file(&file, source.value.bounds.ports);
                lists.extend(
                    read.map_err(|error| ConfigError::of_targets(&self.file, Some(source.place), &field, &error))?,
                );
            }
        }
        // Over HTTP any label may come.
        if group.http_sd.is_empty() {
            self.check_sum_by(number, group, &lists)?;
        }
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
        | targets::Error::Payload { group, part, .. }
        | targets::Error::Reserved { group, part, .. }) = error
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

impl GroupConfig {
    fn own_targets(&self) -> TargetList {
        let mut own = TargetList::default();
        for target in &self.targets {
            own.push(target.value.clone());
        }
        own
    }

    fn sources(&self) -> GroupSources {
        GroupSources {
            group: self.group.clone(),
            targets: self.own_targets(),
            files: self.target_files.iter().map(|source| source.value.clone()).collect(),
            http: self.http_sd.iter().map(|source| source.value.clone()).collect(),
            all_addresses: self.all_addresses,
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
