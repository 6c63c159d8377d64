//! What a configuration comes to, for `echolot check`.

use super::{Config, GroupConfig, duration};
use crate::{
    nic,
    targets::{Bytes, Group, PerTarget, Plan, SERIES_OF_TARGET, available_memory, series_of_group, series_of_row},
};
use serde::Serialize;
use std::fmt;

/// A configuration in figures. `Display` is for people; serialized, it is the output of `check --json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Report {
    /// The configuration file.
    pub file: String,
    /// In the order of the file.
    pub groups: Vec<GroupReport>,
    /// Targets of all groups.
    pub targets: usize,
    /// Probes a second that all groups need.
    pub rate: f64,
    /// Probes a second that are allowed.
    pub rate_limit: u64,
    /// Estimated bytes of memory: those of the groups, the program itself, and its packet buffers. These are of all queues of
    /// the interface if the file names one of this machine, else of a single queue.
    pub memory_bytes: u64,
    /// Bytes that can be had now; null where the system does not say.
    pub memory_available_bytes: Option<u64>,
    /// Source ports that its TCP and UDP probes need: one for each flow of each group that has such.
    pub source_ports: u16,
    /// Addresses that are never probed.
    pub excluded_addresses: u128,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
}

/// A group in figures.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// Its targets, each once, without the excluded ones.
    pub targets: usize,
    /// Those of them that were given by name.
    pub names: usize,
    /// Seconds from one probe of a target to the next.
    pub interval_seconds: f64,
    /// Seconds that a probe may be answered.
    pub timeout_seconds: f64,
    /// What is asked: `icmp`, `tcp:443`, `udp:53`.
    pub probe: String,
    /// Bytes of payload; 0 of a TCP probe.
    pub size: usize,
    /// Flows that its probes walk.
    pub flows: u16,
    /// Probes of one target that can be in flight.
    pub window: u64,
    /// Probes a second.
    pub rate: f64,
    /// Rows of sums: combinations of `sum_by` labels.
    pub sums: usize,
    /// Which targets have series of their own: `none`, `unhealthy`, `all` or `labelled`.
    pub per_target: &'static str,
    /// Most series that a scrape has of it.
    pub series: u64,
    /// Series that do not fit into `limits.series`: those of merged rows and, of unhealthy targets, if all were.
    pub series_dropped: u64,
    /// How often the path to each target is found, seconds, and over how many flows; None: it is not kept.
    pub path: Option<PathReport>,
    /// Estimated bytes of memory.
    pub memory_bytes: u64,
}

/// How paths are kept.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct PathReport {
    /// Between two rounds of a target.
    pub interval_seconds: f64,
    /// In each round.
    pub flows: u16,
}

/// Bytes of the program itself at work: code, counters, threads.
const PROGRAM: u64 = 16 << 20;

/// Says what a configuration and the plan that was built of it come to.
pub fn report(config: &Config, plan: &Plan) -> Report {
    let groups: Vec<GroupReport> = plan.groups.iter().enumerate().map(|(i, group)| of_group(plan, i, group)).collect();
    let mut warnings: Vec<String> =
        groups.iter().zip(&config.groups).filter_map(|(group, from)| warning(group, from)).collect();
    let stack = config.interface.as_deref().and_then(|name| nic::stack(name, config.mode).ok());
    let queues = stack.map_or(1, |stack| nic::queues(&stack) * u32::try_from(stack.ports.len()).unwrap_or(1));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate: positive, and buffers have a bound"
    )]
    let rate = plan.needed_rate().ceil() as u64;
    let memory_bytes = plan.needed_memory() + PROGRAM + nic::buffers(rate, queues);
    let memory_available_bytes = available_memory();
    if memory_available_bytes.is_some_and(|available| memory_bytes > available / 2) {
        warnings.push("this needs more than half of the memory that is available".into());
    }
    for group in groups.iter().filter(|group| group.series_dropped > 0) {
        warnings.push(format!(
            "group `{}`: {} of its series do not fit into limits.series ({}) and are left out",
            group.name, group.series_dropped, config.series_limit.0
        ));
    }
    if !config.alerts.alertmanagers.is_empty() {
        if config.vantage.is_none() {
            warnings.push("alerts of several echolots can't be told apart: give each a name with `vantage`".into());
        }
        if config.alerts.state.is_none() {
            warnings.push("what fires is forgotten when echolot ends: name a folder for it with `state`".into());
        }
    }
    let source_ports = plan.groups_with_paths().ports();
    if config.source_port.is_some() && source_ports == 0 {
        warnings.push("source_port is for TCP and UDP probes, and no group has such".into());
    }
    Report {
        file: config.file.display().to_string(),
        targets: plan.targets.len(),
        rate: plan.needed_rate(),
        rate_limit: config.rate_limit,
        memory_bytes,
        memory_available_bytes,
        source_ports,
        excluded_addresses: config
            .exclude
            .and(&config.excluded_by_files().unwrap_or_default())
            .ranges()
            .fold(0, |sum: u128, range| sum.saturating_add(range.count())),
        warnings,
        groups,
    }
}

fn warning(group: &GroupReport, from: &GroupConfig) -> Option<String> {
    let name = &group.name;
    match (group.targets, from.http_sd.is_empty()) {
        (_, false) => Some(format!(
            "group `{name}` has targets that come over HTTP, which is not asked here: they are not counted"
        )),
        (0, _) => Some(format!("group `{name}` has no targets: its files hold none, or all are excluded")),
        _ => None,
    }
}

fn of_group(plan: &Plan, index: usize, group: &Group) -> GroupReport {
    let rows = plan.sums.iter().filter(|sum| sum.group == index).count();
    let exported = &group.exported;
    let of_targets = match &group.per_target {
        PerTarget::None => 0,
        PerTarget::Unhealthy => exported.most_targets,
        PerTarget::All | PerTarget::Labelled(_) => exported.most_targets * SERIES_OF_TARGET,
    };
    let not_shown = match group.per_target {
        PerTarget::Unhealthy => group.targets.len() as u64 - exported.most_targets,
        _ => exported.left_out,
    };
    let series = series_of_group(group) + rows as u64 * series_of_row(group) + of_targets + exported.most_hops;
    let series_dropped = not_shown + exported.merged_rows * series_of_row(group);
    GroupReport {
        name: group.name.clone(),
        targets: group.targets.len(),
        names: plan.names.range(group.targets.clone()).count(),
        interval_seconds: group.interval.as_secs_f64(),
        timeout_seconds: group.timeout.as_secs_f64(),
        probe: group.shape.kind.to_string(),
        size: group.shape.payload.into(),
        flows: group.flow_count(),
        window: u64::from(group.places()),
        rate: group.needed_rate(),
        sums: rows,
        per_target: group.per_target.name(),
        series,
        series_dropped,
        path: group.path.map(|path| PathReport { interval_seconds: path.interval.as_secs_f64(), flows: path.flows }),
        memory_bytes: group.targets.len() as u64 * group.bytes_per_target(),
    }
}

/// A count with its word: `1 target`, `2 targets`.
fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// A rate without needless digits: 65536, 0.3.
fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{}", (rate * 10.0).ceil() / 10.0) } else { format!("{}", rate.ceil()) }
}

fn seconds(seconds: f64) -> String {
    duration::show(std::time::Duration::from_secs_f64(seconds).into())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in &self.groups {
            write!(f, "group {}: {}", group.name, counted(group.targets, "target"))?;
            if group.names > 0 {
                write!(f, " ({} by name)", group.names)?;
            }
            match (&group.probe[..], group.size) {
                ("icmp", size) => write!(f, ", a probe of {size} bytes")?,
                (probe, 0) => write!(f, ", a {probe} probe")?,
                (probe, size) => write!(f, ", a {probe} probe of {size} bytes")?,
            }
            write!(
                f,
                " every {}, timeout {}, window {}, {}/s, {}, {}",
                seconds(group.interval_seconds),
                seconds(group.timeout_seconds),
                group.window,
                rate(group.rate),
                counted(group.sums, "row") + " of sums",
                Bytes(group.memory_bytes),
            )?;
            if group.flows > 1 {
                write!(f, ", {} flows", group.flows)?;
            }
            if let Some(path) = &group.path {
                write!(f, ", paths every {}", seconds(path.interval_seconds))?;
                if path.flows > 1 {
                    write!(f, " over {} flows", path.flows)?;
                }
            }
            match group.per_target {
                "none" => {}
                policy => write!(f, ", series per target: {policy}")?,
            }
            writeln!(f, ", up to {} series", group.series)?;
        }
        if self.source_ports > 0 {
            writeln!(f, "source ports for TCP and UDP probes: {}", self.source_ports)?;
        }
        if self.excluded_addresses > 0 {
            writeln!(f, "excluded addresses: {}", self.excluded_addresses)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        write!(
            f,
            "{}: fine: {}, {} probes a second of at most {}, about {} of memory",
            self.file,
            counted(self.targets, "target"),
            rate(self.rate),
            self.rate_limit,
            Bytes(self.memory_bytes)
        )?;
        match self.memory_available_bytes {
            Some(available) => write!(f, " ({} available)", Bytes(available)),
            None => Ok(()),
        }
    }
}
