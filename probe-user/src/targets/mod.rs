//! Who is probed: groups, targets, where they come from, exclusions.
//!
//! A [`Plan`] is immutable. The index of a target in it is its *slot*: its place in the ledger, and its number on the wire. Within a
//! run of slots targets stand in the order in which they are probed, so the loops walk memory forwards. A plan that was just built
//! has a run for each group and no hole; one that followed another by [`Difference`] keeps the slots of those that stay.

use crate::{
    base::{AddressTable, Destination, Family, Nanos, Sources, TargetIndex, Ttls},
    wire::{Kind, Shape},
};
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    sync::Arc,
};

mod build;
mod difference;
mod epoch;
mod error;
mod exclude;
pub mod file_sd;
pub(crate) mod labels;
mod list;
mod memory;
mod order;
mod paths;
mod per_prefix;
mod reserved;
mod series;
mod settings;
mod shard;
mod span;
mod spec;
#[cfg(test)]
pub(crate) mod testing;
mod window;
pub(crate) mod yaml;

pub use build::{GroupInput, Options, build, build_or_empty, check_target};
pub use difference::{Counts, Difference, Free, Known, Layout, NewRun, PAGE, layout};
pub use epoch::{Epoch, Epochs};
pub use error::Error;
pub use exclude::Exclusions;
pub use labels::{RESERVED as RESERVED_LABELS, check as check_label_name};
pub use list::{AddressOfName, TargetList};
pub use memory::{ACCOUNT_BYTES, BYTES_PER_TARGET, Bytes, FLOW_BYTES, available as available_memory};
pub use paths::{PathGroup, PathSettings, PathTargets, keep_the_same as keep_the_same_paths};
pub use per_prefix::{PerPrefix, check as check_per_prefix};
pub use reserved::{RESERVED, check_reserved, is_reserved, reserved};
pub use series::{
    Exported, LOCAL_SERIES, OTHER, PerTarget, SERIES_OF_TARGET, SeriesLimit, series_of_group, series_of_row,
};
pub use shard::Shard;
pub use span::{Number, Span};
pub use spec::{AddressRange, SpecError, TargetSpec};
pub use window::{INLINE_PLACES, WindowError};
pub use yaml::Place;

pub(crate) use exclude::NAMES_REFUSED;
pub(crate) use spec::shorten;

/// Most targets of a plan: the index `u32::MAX` is kept for "none".
pub const MAX_TARGETS: u64 = u32::MAX as u64;

/// From so many targets on, people are told what they wait for while a plan is put to work: it takes seconds.
pub const MANY: usize = 10_000_000;

/// Everything that is probed, and how.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order of the configuration.
    pub groups: Vec<Group>,
    /// Rows of sums: a group and one combination of values of its `sum_by` labels. A label set belongs to one of them.
    pub sums: Vec<Sum>,
    /// Distinct combinations of labels; a target names one by its position.
    pub label_sets: Vec<LabelSet>,
    /// Every target, group after group (a group's are `group.targets`), in the order of the schedule.
    pub targets: Vec<Target>,
    /// Targets that were given by name, by index into `targets`; the rest are named by their address.
    pub names: BTreeMap<u32, Name>,
    /// IPv6 addresses, of those that the plan was made with and of those that names turn out to have.
    pub addresses: Arc<AddressTable>,
    /// What probes are sent from, see [`Plan::send_from`].
    pub sources: Sources,
    /// Most series of a scrape.
    pub series_limit: SeriesLimit,
    /// Targets may come while it is at work: of either family, whatever those of now have.
    pub is_open: bool,
}

/// Targets that share an interval, a timeout and the rest.
#[derive(Clone, Debug)]
pub struct Group {
    /// Unique within the plan.
    pub name: String,
    /// One probe a target in this time: 10 ms to 1 h.
    pub interval: Nanos,
    /// How long a probe may be answered: 1 ms to 60 s.
    pub timeout: Nanos,
    /// What its probes look like, whatever the family.
    pub shape: Shape,
    /// Which addresses its names stand for.
    pub family: Families,
    /// Probes for each target, or for ever.
    pub count: Option<u64>,
    /// Consecutive failed probes after which a target is down.
    pub down_after: u32,
    /// Consecutive answered probes after which a target is up.
    pub up_after: u32,
    /// Upper bounds of the buckets of `echolot_rtt_seconds`, seconds, ascending, without +Inf.
    pub buckets: Vec<f64>,
    /// Labels of all its targets, but for those whose own say otherwise.
    pub labels: BTreeMap<String, String>,
    /// Names of the labels by which sums are kept apart.
    pub sum_by: Vec<String>,
    /// Which targets have series of their own.
    pub per_target: PerTarget,
    /// What of it a scrape has room for.
    pub exported: Exported,
    /// How many flows its probes walk, from 1 on: round by round another one. `shape` is that of the first.
    pub flows: u16,
    /// Its probes are to find the routers on the way: none is due by itself, each is asked for, and has the time to live that its number
    /// says. None: each is due when its time has come.
    pub ttls: Option<Ttls>,
    /// Whether the paths to its targets are kept.
    pub path: Option<PathSettings>,
    /// Where in `Plan::targets` the group's targets are.
    pub targets: Range<u32>,
    /// The same of those that came later. All of these have holes: see [`Plan::members`].
    pub further: Vec<Range<u32>>,
}

/// Which addresses of its names a group probes. Targets that are given by address must be of a family that it has.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Families {
    /// The one that the host's resolver names first, whatever it is.
    #[default]
    Any,
    /// One of a family.
    Only(Family),
    /// One of each family: two targets.
    Both,
}

impl Families {
    /// All, in the order in which they are listed to people.
    pub const ALL: [Self; 4] = [Self::Any, Self::Only(Family::V4), Self::Only(Family::V6), Self::Both];

    /// As in configurations and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Only(family) => family.name(),
            Self::Both => "both",
        }
    }

    /// Whether targets may be of this family.
    pub fn has(self, family: Family) -> bool {
        !matches!(self, Self::Only(other) if other != family)
    }

    /// The targets that a name stands for: each with the family that it has to have, None where any will do.
    pub(crate) fn of_name(self) -> &'static [Option<Family>] {
        match self {
            Self::Any => &[None],
            Self::Only(Family::V4) => &[Some(Family::V4)],
            Self::Only(Family::V6) => &[Some(Family::V6)],
            Self::Both => &[Some(Family::V4), Some(Family::V6)],
        }
    }
}

/// A name that a target was given by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Name {
    /// As it was given, in lower case; or a link-local address with its zone.
    pub text: Box<str>,
    /// What its address has to be; None where any will do.
    pub family: Option<Family>,
}

/// Any address will do.
impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self { text: text.into(), family: None }
    }
}

/// A row of sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Index into `Plan::groups`.
    pub group: usize,
    /// Values of the group's `sum_by` labels, in that order; "" where a target has none.
    pub values: Vec<String>,
}

/// A combination of labels that targets have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSet {
    /// The group's labels overlaid with those of the target's file entry.
    pub labels: BTreeMap<String, String>,
    /// Indices into `Plan::sums`: of targets with an IPv4 address, with an IPv6 address, and with none (yet). They differ where the group
    /// sums by [`FAMILY`].
    pub sums: [u32; 3],
}

/// The label by whose name groups may sum by family, though no target has it written.
pub const FAMILY: &str = "family";

impl LabelSet {
    /// The row of sums of a target whose address is of this family; None: it has none.
    pub const fn sum(&self, family: Option<Family>) -> u32 {
        match family {
            Some(family) => self.sums[family as usize],
            None => self.sums[2],
        }
    }
}

/// One target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// By [`Plan::addresses`]; None until its name has been resolved.
    pub destination: Option<Destination>,
    /// Index into `Plan::label_sets`.
    pub label_set: u32,
}

impl Target {
    /// With an IPv4 address.
    pub fn v4(address: Ipv4Addr, label_set: u32) -> Self {
        Self { destination: Some(address.into()), label_set }
    }

    /// With a name that has not been resolved.
    pub const fn unresolved(label_set: u32) -> Self {
        Self { destination: None, label_set }
    }

    /// Nobody: a slot that waits for a target.
    pub const HOLE: Self = Self { destination: None, label_set: u32::MAX };

    /// Whether it is nobody.
    #[inline]
    pub const fn is_hole(&self) -> bool {
        self.label_set == u32::MAX
    }
}

impl Group {
    /// A group with the defaults: an echo a second, 1 s to answer, the smallest payload, for ever; down after 3, up after 1.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            interval: Nanos::from_secs(1),
            timeout: default_timeout(Kind::Echo),
            shape: Shape::default(),
            family: Families::Any,
            count: None,
            down_after: 3,
            up_after: 1,
            buckets: default_buckets(),
            labels: BTreeMap::new(),
            sum_by: Vec::new(),
            per_target: PerTarget::None,
            exported: Exported::default(),
            flows: 1,
            ttls: None,
            path: None,
            targets: 0..0,
            further: Vec::new(),
        }
    }

    /// All runs of slots that its targets are in.
    pub fn runs(&self) -> impl Iterator<Item = Range<u32>> + Clone + '_ {
        std::iter::once(&self.targets).chain(&self.further).cloned()
    }

    /// How many slots it has, holes included.
    pub fn slots(&self) -> usize {
        self.runs().map(|run| run.len()).sum()
    }

    /// Estimated bytes a target takes, with its window, and with the one by which its path is found.
    pub fn bytes_per_target(&self) -> u64 {
        let kept =
            if self.shape.kind.carries_time() || self.ttls.is_some() { 0 } else { memory::kept_bytes(self.places()) };
        let path = if self.path.is_some() { BYTES_PER_TARGET } else { 0 };
        BYTES_PER_TARGET + window::wide_bytes(self.places()) + kept + path
    }

    /// How many flows its probes walk: those that were asked for; where the number of a probe is told by the port that it was sent from
    /// alone, so many that answers to probes long past are not taken for those to one in flight: four times a window.
    pub fn flow_count(&self) -> u16 {
        if self.shape.kind.has_proof() {
            self.flows.max(1)
        } else {
            u16::try_from(4 * self.places()).unwrap_or(MOST_PORTS).clamp(LEAST_PORTS, MOST_PORTS)
        }
    }

    /// How many source ports of its own its probes need: one for each flow of probes to a port.
    pub fn ports(&self) -> u16 {
        if self.shape.kind.port().is_some() { self.flow_count() } else { 0 }
    }

    /// Probes a second that its targets need, and their paths at most.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn needed_rate(&self) -> f64 {
        let many = self.slots();
        let of_paths = self.path.map_or(0.0, |path| path.needed_rate(many));
        many as f64 * 1e9 / self.interval.0.max(1) as f64 + of_paths
    }
}

/// The fewest source ports by which probes without proof are told apart.
const LEAST_PORTS: u16 = 16;
/// The most: 8 bits of a number. An answer that is so many probes late is taken for another's.
const MOST_PORTS: u16 = 256;

/// How long a probe may be answered unless it is said: 1 s; of TCP 3 s, as long as a client waits at first (RFC 1122, section 4.2.3.1).
pub const fn default_timeout(kind: Kind) -> Nanos {
    match kind {
        Kind::Echo | Kind::Udp { .. } => Nanos::from_secs(1),
        Kind::Tcp { .. } => Nanos::from_secs(3),
    }
}

/// Upper bounds of the round-trip histogram unless set: 20 buckets from 10 us, each twice the one before, to 5.24 s.
pub fn default_buckets() -> Vec<f64> {
    (0..20).map(|i| Nanos::from_micros(10 << i).as_secs_f64()).collect()
}

/// What a target is called: the name or the address by which it was given. Its `Display` is the label `target`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetName<'a> {
    /// Given by name.
    Name(&'a str),
    /// Given by address.
    Address(IpAddr),
}

impl fmt::Display for TargetName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Plan {
    /// What a target is called. None for an index that is not of this plan.
    pub fn name_of(&self, index: TargetIndex) -> Option<TargetName<'_>> {
        match self.names.get(&index.0) {
            Some(name) => Some(TargetName::Name(&name.text)),
            None => self.address_of(index).map(TargetName::Address),
        }
    }

    /// A target's address. None until its name has been resolved, or for an index that is not of this plan.
    #[inline]
    pub fn address_of(&self, index: TargetIndex) -> Option<IpAddr> {
        Some(self.addresses.address(self.targets.get(index.0 as usize)?.destination?))
    }

    /// The family of a target's address, as far as it is known before its name has been resolved.
    pub fn family_of(&self, index: TargetIndex) -> Option<Family> {
        match self.targets.get(index.0 as usize)?.destination {
            Some(to) => Some(to.family),
            None => self.names.get(&index.0)?.family,
        }
    }

    /// Index into `groups` of a target's group. None for an index that is not of this plan.
    pub fn group_of(&self, index: TargetIndex) -> Option<usize> {
        let group = self.groups.partition_point(|group| group.targets.end <= index.0);
        if self.groups.get(group).is_some_and(|group| group.targets.contains(&index.0)) {
            return Some(group);
        }
        self.groups.iter().position(|group| group.runs().any(|run| run.contains(&index.0)))
    }

    /// The targets of a group, which is one of `groups`, without its holes.
    pub fn members<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = TargetIndex> + Clone + 'a {
        group.runs().flatten().map(TargetIndex).filter(|target| self.has(*target))
    }

    /// Whether there is such a target.
    #[inline]
    pub fn has(&self, index: TargetIndex) -> bool {
        self.targets.get(index.0 as usize).is_some_and(|target| !target.is_hole())
    }

    /// How many targets there are.
    pub fn many(&self) -> usize {
        self.targets.iter().filter(|target| !target.is_hole()).count()
    }

    /// How many source ports of their own its probes need: those of each group begin with the `flow` of its shape. Those of groups whose
    /// answers bring no proof are the last.
    pub fn ports(&self) -> u16 {
        self.groups.iter().fold(0, |sum, group| sum.saturating_add(group.ports()))
    }

    /// How many of those ports belong to groups whose answers bring no proof.
    pub fn unproven_ports(&self) -> u16 {
        let unproven = self.groups.iter().filter(|group| !group.shape.kind.has_proof());
        unproven.fold(0, |sum, group| sum.saturating_add(group.ports()))
    }

    /// Of how many flows echo requests are that are to expire on the way; 0: none is.
    pub fn expiring_flows(&self) -> u16 {
        let expiring = self.groups.iter().filter(|group| group.ttls.is_some() && group.shape.kind == Kind::Echo);
        expiring.map(Group::flow_count).max().unwrap_or(0)
    }

    /// From now on probes leave from these.
    ///
    /// # Errors
    /// A group walks so many flows that the low 8 bits of a number can't tell them apart from each source: says so, in words for people.
    pub fn send_from(&mut self, sources: Sources) -> Result<(), String> {
        let most = Family::ALL.map(|family| sources.turns(family)).into_iter().max().unwrap_or(1);
        let forms = |group: &Group| u32::from(group.flow_count()) * u32::from(most);
        if let Some(group) = self.groups.iter().find(|group| forms(group) > 256) {
            return Err(format!(
                "group `{}` walks {} flows, and {most} sources in turn have {} of them: at most 256 are told apart. Give fewer sources or \
                 flows{}",
                group.name,
                group.flow_count(),
                forms(group),
                if group.shape.kind.has_proof() {
                    ""
                } else {
                    ", which here are four times the probes in flight: lengthen the interval"
                }
            ));
        }
        self.sources = sources;
        Ok(())
    }

    /// Gives each group its source ports. Whose answer it is, a source address and port say where the answer brings nothing else: so no
    /// two groups have one in common.
    pub(crate) fn lay_ports(&mut self) {
        let mut next = 0_u16;
        for has_proof in [true, false] {
            for group in self.groups.iter_mut().filter(|group| group.shape.kind.has_proof() == has_proof) {
                let ports = group.ports();
                group.shape.flow = if ports > 0 { next } else { 0 };
                next = next.saturating_add(ports);
            }
        }
    }

    /// What is asked of targets, each kind once, in the order of the groups, separated by commas: `icmp,tcp:443`.
    pub fn probe(&self) -> String {
        let mut kinds: Vec<String> = Vec::new();
        for kind in self.groups.iter().map(|group| group.shape.kind.to_string()) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds.join(",")
    }

    /// What probes look like: each shape that a group has, in each of its flows, over each family that its targets have or may turn out to have, once, in
    /// their order. With the shape of a probe that may half open a connection comes that of the RST which ends it.
    pub fn shapes(&self) -> Vec<Shape> {
        let mut shapes: Vec<Shape> = self.groups.iter().flat_map(|group| self.shapes_of(group)).collect();
        shapes.sort_unstable();
        shapes.dedup();
        shapes
    }

    /// Those of one of its groups, in no order.
    pub(crate) fn shapes_of(&self, group: &Group) -> Vec<Shape> {
        let mut shapes = Vec::new();
        for shape in Family::ALL.into_iter().filter_map(|family| self.shape(group, family)) {
            let flows = (0..group.flow_count()).map(|flow| Shape { flow: shape.flow.saturating_add(flow), ..shape });
            let of_path = move |shape: Shape| {
                let ttls = group.ttls.map_or(0..0, |ttls| 1..ttls.many());
                ttls.map(move |ttl| shape.living(ttl))
            };
            shapes.extend(flows.clone().flat_map(of_path));
            shapes.extend(flows.flat_map(|shape| [Some(shape), shape.then_reset()]).flatten());
        }
        shapes
    }

    /// For each of `sums`, those of the targets that have the same labels, by [`Family`].
    pub(crate) fn rows_of_families(&self) -> Vec<[u32; 2]> {
        let mut of_families: Vec<[u32; 2]> = (0..).take(self.sums.len()).map(|row| [row; 2]).collect();
        for [v4, v6, unknown] in self.label_sets.iter().map(|set| set.sums) {
            [v4, v6, unknown].into_iter().for_each(|row| of_families[row as usize] = [v4, v6]);
        }
        of_families
    }

    /// What the probes of a group look like over a family; None if no target of it can be of that family.
    fn shape(&self, group: &Group, family: Family) -> Option<Shape> {
        let shape = group.shape.over(family);
        // What many flows look like is much to lay for nobody.
        let is_few = group.flow_count() == 1 && group.ttls.is_none();
        if self.is_open && is_few && shape.is_possible() && group.family.has(family) {
            return Some(shape);
        }
        let range = group.targets.start as usize..group.targets.end as usize;
        let is_there =
            || self.targets[range].iter().any(|target| target.destination.is_some_and(|to| to.family == family));
        let may_come = || {
            let mut names = self.names.range(group.targets.clone());
            shape.is_possible() && names.any(|(_, name)| name.family.is_none_or(|wanted| wanted == family))
        };
        (is_there() || may_come()).then_some(shape)
    }

    /// Probes a second that all groups need.
    pub fn needed_rate(&self) -> f64 {
        self.groups.iter().map(Group::needed_rate).sum()
    }

    /// Estimated bytes that all targets take in a running echolot.
    pub fn needed_memory(&self) -> u64 {
        self.groups.iter().map(|group| group.slots() as u64 * group.bytes_per_target()).sum()
    }
}

/// A well-mixed hash of a number (the finalizer of SplitMix64). The same everywhere and in every version: shards and
/// orders depend on it.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of a name (FNV-1a), the same everywhere and in every version; to be mixed before use.
pub(crate) fn hash_name(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
