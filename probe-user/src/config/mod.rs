//! The configuration file: its form, defaults, and errors that name the line.
//!
//! [`load`] reads the file alone; [`Config::plan`] reads the target files that it names and builds the targets, as a check does;
//! [`Config::plan_of`] builds them of what the sources of [`Config::discovery`] have by now. All leave everything as it is when
//! they fail, so that a reload can keep what works. docs/configuration.md lists every
//! key; a test holds it to what is read here.

mod alerts;
pub mod duration;
mod error;
mod fixed;
mod keys;
mod parse;
mod plan;
mod probe;
mod read;
mod report;
mod sources;

pub use error::{ConfigError, Problem};
pub use fixed::hash;
pub use probe::{FLOWS, ProbeSettings, TTLS, dscp};
pub use report::{GroupReport, Report, report};

use crate::{
    alert,
    base::{Nanos, Sources},
    discovery::{ExcludeFile, FileSource, HttpSource},
    enrich,
    nic::{Engine, Mode},
    targets::{Exclusions, Group, PerPrefix, Place, SeriesLimit, TargetSpec},
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// How often a target may be probed.
pub const INTERVALS: RangeInclusive<Nanos> = Nanos::from_millis(10)..=Nanos::from_secs(3600);
/// How often the path to a target may be found.
pub const PATH_INTERVALS: RangeInclusive<Nanos> = Nanos::from_secs(1)..=Nanos::from_secs(86_400);
/// How long a probe may be answered.
pub const TIMEOUTS: RangeInclusive<Nanos> = Nanos::from_millis(1)..=Nanos::from_secs(60);
/// Bytes of an echo's payload: from what a probe must carry to what an Ethernet frame holds.
pub const SIZES: RangeInclusive<u64> = 18..=1472;
/// Probes a second of all groups, unless `limits.rate` says otherwise.
pub const DEFAULT_RATE: u64 = 100_000;

// The longest timeout over the shortest interval, with two probes to spare, fits the longest window: no file can ask for
// more.
const _: () = assert!(TIMEOUTS.end().0 / INTERVALS.start().0 + 2 <= 32_768);

/// A configuration, checked, with defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from; target files are relative to its folder.
    pub file: PathBuf,
    /// The interface to probe through; None for the one that routes to the targets.
    pub interface: Option<String>,
    /// Source addresses of probes, where they are not those that the kernel would take.
    pub sources: Sources,
    /// The first of the ports that TCP and UDP probes are sent from; None for free ones.
    pub source_port: Option<u16>,
    /// Where metrics are served; None for nowhere.
    pub listen: Option<SocketAddr>,
    /// What this place of measuring is called; None for nothing.
    pub vantage: Option<String>,
    /// To whom alerts are pushed; files are joined to the folder of this one.
    pub alerts: alert::Settings,
    /// Events are appended to this file; a relative path is joined to the folder of this one. None for nowhere.
    pub events: Option<PathBuf>,
    /// What events say of addresses beside what was measured; a relative file is joined to the folder of this one.
    pub enrich: enrich::Settings,
    /// Transmit engine.
    pub engine: Engine,
    /// How AF_XDP sockets are bound.
    pub mode: Mode,
    /// ICMP identifier; None for a random one.
    pub identifier: Option<u16>,
    /// Varies the order of the schedule.
    pub seed: Option<u64>,
    /// Most probes a second that all groups together may need.
    pub rate_limit: u64,
    /// Most series of a scrape.
    pub series_limit: SeriesLimit,
    /// Most probes a second that aligned blocks of addresses may get, by the length of their prefix.
    pub per_prefix: PerPrefix,
    /// Whether targets may be where nobody is, such as multicast. No key of the file: it is said on the command line.
    pub allow_reserved: bool,
    /// In the order of the file; names are unique, at least one.
    pub groups: Vec<GroupConfig>,
    /// What is never probed.
    pub exclude: Exclusions,
    /// Files of what is never probed either; `*` in the last part of a path stands for anything.
    pub exclude_files: Vec<Placed<ExcludeFile>>,
    /// Where `groups` and, if they are there, `limits.rate`, `limits.per_prefix` and `source_port` stand.
    places: Places,
}

#[derive(Clone, Copy, Default, Debug)]
struct Places {
    groups: Place,
    rate: Option<Place>,
    per_prefix: Option<Place>,
    source_port: Option<Place>,
}

/// A group as the file has it.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// Its name and settings, inherited ones filled in; without targets yet.
    pub group: Group,
    /// Labels of all its targets.
    pub labels: BTreeMap<String, String>,
    /// Targets that stand in the file itself.
    pub targets: Vec<Placed<TargetSpec>>,
    /// Target files; `*` in the last part of a path stands for anything. Relative ones are joined to the file's folder.
    pub target_files: Vec<Placed<FileSource>>,
    /// Lists over HTTP.
    pub http_sd: Vec<Placed<HttpSource>>,
    /// Whether a name stands for all of its addresses.
    pub all_addresses: bool,
    /// Where the group stands.
    place: Place,
    /// Where `sum_by` stands, if it is there.
    sum_by_place: Place,
}

/// A value, and where it stands in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Line and column.
    pub place: Place,
}

/// Reads a configuration file. Target files are not read yet.
///
/// An error lists every problem with its line, column and field.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    parse(path, std::fs::read(path).map_err(|error| ConfigError::unreadable(path, &error))?)
}

/// The same from the file's content.
///
/// An error lists every problem with its line, column and field.
pub fn parse(path: &Path, content: Vec<u8>) -> Result<Config, ConfigError> {
    let text = String::from_utf8(content).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        ConfigError::of_file(path, format!("line {line} is not UTF-8 text; save the file as UTF-8"))
    })?;
    parse::parse(path, &text)
}
