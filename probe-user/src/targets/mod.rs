//! Who is probed: groups, targets, where they come from, exclusions.
//!
//! A [`Plan`] is immutable. The index of a target in it is the target's place in the schedule of its group: within a
//! group targets stand in the order in which they are probed, so the loops walk memory forwards.

use crate::time::Nanos;
use std::{collections::BTreeMap, net::Ipv4Addr};

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
    pub names: BTreeMap<u32, Box<str>>,
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
    /// Bytes of ICMP payload: 18 to 1472.
    pub payload: usize,
    /// Probes for each target, or for ever.
    pub count: Option<u64>,
    /// Consecutive failed probes after which a target is down.
    pub down_after: u32,
    /// Consecutive answered probes after which a target is up.
    pub up_after: u32,
    /// Upper bounds of the buckets of `echolot_rtt_seconds`, seconds, ascending, without +Inf.
    pub buckets: Vec<f64>,
    /// Names of the labels by which sums are kept apart.
    pub sum_by: Vec<String>,
    /// Whether each target has series of its own.
    pub per_target: bool,
    /// Where in `Plan::targets` the group's targets are.
    pub targets: std::ops::Range<u32>,
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
    /// Index into `Plan::sums`.
    pub sum: u32,
}

/// One target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// None until its name has been resolved.
    pub address: Option<Ipv4Addr>,
    /// Index into `Plan::label_sets`.
    pub label_set: u32,
}
