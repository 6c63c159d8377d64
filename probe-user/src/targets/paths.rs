//! Paths that are kept beside what a group measures: of each such group a second one, whose probes find the routers on the way.

use super::{Group, LabelSet, PerTarget, Plan, Sum};
use crate::{
    base::{Nanos, TargetIndex, Ttls},
    wire::{Content, Kind, Shape},
};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

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
    /// Whose path is found no more, in the same order. Whoever comes into such a slot later is another.
    gone: Arc<[AtomicBool]>,
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
            let gone = by.clone().map(|_| AtomicBool::new(false)).collect();
            found.push(PathGroup { targets: group.targets.clone(), by, kind, timeout, settings, gone });
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

/// Whether the groups of two plans keep paths alike. A group that goes takes its paths along.
///
/// # Errors
/// They do not: which group's, in words for people.
pub fn keep_the_same(old: &Plan, new: &Plan) -> Result<(), String> {
    let before: BTreeMap<&str, Option<PathSettings>> =
        old.groups.iter().map(|group| (&*group.name, group.path)).collect();
    let differs = |group: &&Group| before.get(&*group.name).copied().flatten() != group.path;
    match new.groups.iter().find(differs) {
        None => Ok(()),
        Some(group) => Err(format!(
            "how the paths to the targets of group `{}` are kept (`path`) is laid at the start: restart echolot",
            group.name
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
        let place = target.0 - group.targets.start;
        (!group.is_gone(place)).then_some(TargetIndex(group.by.start + place))
    }

    /// Whose path this one finds.
    pub fn of(&self, by: TargetIndex) -> Option<TargetIndex> {
        let group = self.0.iter().find(|group| group.by.contains(&by.0))?;
        let place = by.0 - group.by.start;
        (!group.is_gone(place)).then_some(TargetIndex(group.targets.start + place))
    }

    /// The path to this target is kept no more. By whom it was found.
    pub fn give_up(&self, target: TargetIndex) -> Option<TargetIndex> {
        let by = self.by(target)?;
        let group = self.0.iter().find(|group| group.targets.contains(&target.0))?;
        group.gone[(target.0 - group.targets.start) as usize].store(true, Relaxed);
        Some(by)
    }
}

impl PathGroup {
    fn is_gone(&self, place: u32) -> bool {
        self.gone.get(place as usize).is_some_and(|gone| gone.load(Relaxed))
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
        // Whoever goes takes it along, for all who look, and whoever comes into the slot has none.
        let (shared, by) = (paths.clone(), paths.by(TargetIndex(3)).expect("kept"));
        assert_eq!((paths.give_up(TargetIndex(3)), paths.give_up(TargetIndex(3))), (Some(by), None));
        assert_eq!((shared.by(TargetIndex(3)), shared.of(by)), (None, None));
        assert!(shared.by(TargetIndex(2)).is_some() && shared.give_up(TargetIndex(9)).is_none());
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
    fn targets_may_change_and_how_paths_are_kept_not() {
        let of =
            |path, targets: &[&str]| plan(&[("a", Kind::Echo, path, targets), ("b", Kind::Echo, None, &["10.64.9.1"])]);
        let old = of(Some(KEPT), &["10.64.0.1", "10.64.0.2"]);
        let without = plan(&[("b", Kind::Echo, None, &["10.64.9.1"])]);
        assert_eq!(keep_the_same(&old, &of(Some(KEPT), &["10.64.0.2", "10.64.0.3"])), Ok(()));
        assert_eq!(keep_the_same(&old, &without), Ok(()));
        let other = PathSettings { flows: 1, ..KEPT };
        for (old, new) in [
            (&old, of(None, &["10.64.0.1"])),
            (&old, of(Some(other), &["10.64.0.1"])),
            (&without, of(Some(KEPT), &["10.64.0.1"])),
        ] {
            let why = keep_the_same(old, &new).expect_err("it is kept in another way");
            assert!(why.contains("group `a`") && why.contains("restart"), "{why}");
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
