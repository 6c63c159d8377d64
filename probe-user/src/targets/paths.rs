//! Paths that are kept beside what a group measures: of each such group a second one, whose probes find the routers on the way.

use super::{Group, LabelSet, PerTarget, Plan, Sum};
use crate::{
    base::{Nanos, TargetIndex, Ttls},
    wire::{Content, Kind, Shape},
};
use std::{collections::BTreeMap, ops::Range};

/// That the paths to a group's targets are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathSettings {
    /// One round a target in this time.
    pub interval: Nanos,
    /// Over how many flows each round walks.
    pub flows: u16,
}

impl PathSettings {
    /// The farthest router that is asked.
    pub const MOST: u8 = 30;
    /// Unless it is said: a round in five minutes.
    pub const INTERVAL: Nanos = Nanos::from_secs(300);

    /// At most how many probes a round takes: where there are several flows, the first is walked twice, and one probe asks how far it is.
    const fn probes(self) -> u64 {
        let ways = self.flows as u64 + (self.flows > 1) as u64;
        ways * Self::MOST as u64 + 1
    }

    /// Probes a second that so many targets need at most.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn needed_rate(self, targets: usize) -> f64 {
        targets as f64 * self.probes() as f64 * 1e9 / self.interval.0.max(1) as f64
    }
}

/// Which target's path is found by whom.
#[derive(Clone, Debug, Default)]
pub struct PathTargets(Vec<PathGroup>);

/// A group whose paths are kept.
#[derive(Clone, Debug)]
pub struct PathGroup {
    /// Its targets.
    pub targets: Range<u32>,
    /// In the same order those by which their paths are found.
    pub by: Range<u32>,
    /// What is asked of them.
    pub kind: Kind,
    /// How long they may take to answer.
    pub timeout: Nanos,
    /// How their paths are kept.
    pub settings: PathSettings,
}

/// The least that senders let go of probes that find paths: a target that goes down is asked about at once.
const LEAST_RATE: f64 = 5_000.0;

impl Plan {
    /// The same plan with those by whom paths are found behind all others, in groups, rows of sums and label sets of their own; None where
    /// no paths are kept. Whatever this plan numbers has the same number there.
    pub fn with_paths(&self) -> Option<(Self, PathTargets)> {
        self.groups.iter().find_map(|group| group.path)?;
        let mut all = self.clone();
        all.groups = self.groups_with_paths().groups;
        let mut found = Vec::new();
        let kept = self.groups.iter().filter_map(|group| Some((group, group.path?)));
        for (number, (group, settings)) in (self.groups.len()..).zip(kept) {
            let row = position(all.sums.len());
            all.sums.push(Sum { group: number, values: Vec::new() });
            let label_set = position(all.label_sets.len());
            all.label_sets.push(LabelSet { labels: BTreeMap::new(), sums: [row; 3] });
            let first = position(all.targets.len());
            let targets = &self.targets[group.targets.start as usize..group.targets.end as usize];
            all.targets.extend(targets.iter().map(|target| super::Target { label_set, ..*target }));
            let names = self.names.range(group.targets.clone());
            let moved = |index: u32| index - group.targets.start + first;
            all.names.extend(names.map(|(index, name)| (moved(*index), name.clone())));
            let by = first..position(all.targets.len());
            let own = &mut all.groups[number];
            own.targets = by.clone();
            let (kind, timeout) = (own.shape.kind, own.timeout);
            found.push(PathGroup { targets: group.targets.clone(), by, kind, timeout, settings });
        }
        Some((all, PathTargets(found)))
    }

    /// Its groups with those by whom paths are found behind them, and no targets: for whoever looks at ports, flows and shapes alone.
    pub fn groups_with_paths(&self) -> Self {
        let paths = self.groups.iter().filter_map(|group| Some(of_group(group, group.path?)));
        let mut all = Self { groups: self.groups.iter().cloned().chain(paths).collect(), ..Self::default() };
        all.lay_ports();
        all
    }
}

/// What finds the paths to a group's targets: its own kind of probe, so that routers send it the same way.
fn of_group(group: &Group, settings: PathSettings) -> Group {
    // A question brings the number of its probe back, and has all of a flow's from one port.
    let kind = match group.shape.kind {
        Kind::Udp { port, .. } => Kind::Udp { port, content: Content::of_port(53) },
        kind => kind,
    };
    let rate = settings.needed_rate(group.targets.len()).max(LEAST_RATE);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "less than a millisecond")]
    let gap = Nanos((1e9 / rate).max(1.0) as u64);
    Group {
        // No group that somebody wrote is called so.
        name: format!("\0{}", group.name),
        interval: gap,
        count: Some(0),
        flows: settings.flows,
        ttls: Some(Ttls::up_to(PathSettings::MOST)),
        // With a short life of its own it would not reach its target.
        shape: Shape { kind, ttl: Shape::default().ttl, flow: 0, ..group.shape },
        sum_by: Vec::new(),
        per_target: PerTarget::None,
        path: None,
        targets: 0..0,
        ..group.clone()
    }
}

/// Whether two plans keep the same paths, of the same targets.
///
/// # Errors
/// They do not: which group's, in words for people.
pub fn keep_the_same(old: &Plan, new: &Plan) -> Result<(), String> {
    let kept = |plan: &Plan| -> BTreeMap<String, (PathSettings, Vec<String>)> {
        let groups = plan.groups.iter().filter_map(|group| Some((group, group.path?)));
        let of_group = |(group, settings): (&Group, PathSettings)| {
            let name = |target| plan.name_of(target).map(|name| name.to_string());
            let mut targets: Vec<String> = plan.members(group).filter_map(name).collect();
            targets.sort_unstable();
            (group.name.clone(), (settings, targets))
        };
        groups.map(of_group).collect()
    };
    let (old, new) = (kept(old), kept(new));
    let differs = |name: &&String| old.get(*name) != new.get(*name);
    match old.keys().chain(new.keys()).find(differs) {
        None => Ok(()),
        Some(name) => Err(format!(
            "the paths to the targets of group `{name}` are kept, and it would have others: that takes a restart"
        )),
    }
}

impl PathTargets {
    /// By group.
    pub fn groups(&self) -> &[PathGroup] {
        &self.0
    }

    /// By whom the path to this target is found, if it is kept.
    pub fn by(&self, target: TargetIndex) -> Option<TargetIndex> {
        let group = self.0.iter().find(|group| group.targets.contains(&target.0))?;
        Some(TargetIndex(target.0 - group.targets.start + group.by.start))
    }

    /// Whose path this one finds.
    pub fn of(&self, by: TargetIndex) -> Option<TargetIndex> {
        let group = self.0.iter().find(|group| group.by.contains(&by.0))?;
        Some(TargetIndex(by.0 - group.by.start + group.targets.start))
    }
}

/// A place in a plan: there are at most as many as there are targets.
fn position(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::Family,
        targets::{Exclusions, GroupInput, Options, TargetList, build},
    };

    fn plan(groups: &[(&str, Kind, Option<PathSettings>, &[&str])]) -> Plan {
        let input = |(name, kind, path, targets): &(&str, Kind, Option<PathSettings>, &[&str])| {
            let mut list = TargetList::default();
            targets.iter().for_each(|target| list.push(target.parse().expect("a target")));
            let group = Group { shape: Shape::of(*kind), path: *path, ..Group::named(*name) };
            GroupInput { group, labels: BTreeMap::new(), lists: vec![list] }
        };
        build(groups.iter().map(input).collect(), &Exclusions::default(), &Options::default()).expect("a plan")
    }

    const KEPT: PathSettings = PathSettings { interval: Nanos::from_secs(60), flows: 4 };

    #[test]
    fn who_keeps_no_paths_has_no_second_group() {
        assert!(plan(&[("a", Kind::Echo, None, &["10.64.0.1"])]).with_paths().is_none());
    }

    #[test]
    fn those_by_whom_paths_are_found_stand_behind_all_others() {
        let udp = "udp:7".parse().expect("a kind");
        let plan = plan(&[
            ("a", Kind::Echo, Some(KEPT), &["10.64.0.0/29", "host.example"]),
            ("b", Kind::Tcp { port: 443 }, None, &["10.64.1.1"]),
            ("c", udp, Some(KEPT), &["10.64.2.1"]),
        ]);
        let (all, paths) = plan.with_paths().expect("paths are kept");
        assert_eq!((plan.targets.len(), all.targets.len(), all.groups.len(), all.sums.len()), (11, 21, 5, 5));
        assert_eq!((&all.targets[..11], &all.sums[..3]), (&plan.targets[..], &plan.sums[..]));
        for target in (0..11).map(TargetIndex) {
            let Some(by) = paths.by(target) else {
                assert_eq!(target, TargetIndex(9), "the one of group b");
                continue;
            };
            assert_eq!(paths.of(by), Some(target));
            assert_eq!((all.name_of(by), all.address_of(by)), (all.name_of(target), all.address_of(target)));
            let row = all.label_sets[all.targets[by.0 as usize].label_set as usize].sum(Some(Family::V4));
            assert_eq!(Some(all.sums[row as usize].group), all.group_of(by));
        }
        assert_eq!(paths.of(TargetIndex(3)), None);
        let [.., a, c] = &all.groups[..] else { panic!("five") };
        assert_eq!((a.shape.kind, a.flow_count()), (Kind::Echo, 4));
        assert!(a.ttls.is_some() && a.count == Some(0) && a.path.is_none());
        assert!(c.shape.kind.has_proof(), "an answer says which probe it is about");
        let ports: Vec<Range<u16>> =
            all.groups.iter().filter(|g| g.ports() > 0).map(|g| g.shape.flow..g.shape.flow + g.ports()).collect();
        for (i, one) in ports.iter().enumerate() {
            assert!(ports[i + 1..].iter().all(|other| one.end <= other.start || other.end <= one.start), "{ports:?}");
        }
    }

    #[test]
    fn a_rate_is_what_rounds_take_at_most() {
        // Five ways of 30 hops and one more probe, to ten targets a second.
        assert_eq!(KEPT.needed_rate(600), 1_510.0);
        let plan = plan(&[("a", Kind::Echo, Some(KEPT), &["10.64.0.1"])]);
        assert_eq!(plan.needed_rate().ceil(), 4.0, "one probe a second, and 151 a minute");
        let (all, _) = plan.with_paths().expect("paths are kept");
        assert_eq!(all.groups[1].interval, Nanos::from_micros(200));
    }
}
