//! What is to be read, and how.

use crate::{
    base::{Family, Nanos},
    client::{Authorization, TlsSettings, shown},
    enrich::Servers,
    targets::{Group, TargetList, file_sd::Ports},
};
use std::{ops::RangeInclusive, path::PathBuf, time::Duration};
use url::Url;

/// How often a list may be asked for over HTTP.
pub const REFRESH_INTERVALS: RangeInclusive<Nanos> = Nanos::from_secs(1)..=Nanos::from_secs(86_400);

/// All that is read.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In the order of the configuration.
    pub groups: Vec<GroupSources>,
    /// Files of what is never probed.
    pub exclude: Vec<ExcludeFile>,
    /// Whether targets may be where nobody is, such as multicast.
    pub allow_reserved: bool,
    /// Who is asked for names.
    pub servers: Servers,
    /// The longest body that a list over HTTP may have, bytes.
    pub most_bytes: u64,
    /// No name is looked up again sooner than this, whatever its time to live.
    pub names_least: Duration,
    /// Files are read this often where their folders can't be watched.
    pub unwatched: Duration,
}

impl Default for Settings {
    /// Nothing is read. 512 MiB hold ten million targets; some names have a time to live of 0.
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            exclude: Vec::new(),
            allow_reserved: false,
            servers: Servers::Host,
            most_bytes: 512 << 20,
            names_least: Duration::from_secs(5),
            unwatched: Duration::from_secs(10),
        }
    }
}

/// Where a group's targets come from.
#[derive(Clone, Debug)]
pub struct GroupSources {
    /// Its name and settings.
    pub group: Group,
    /// Targets that stand in the configuration.
    pub targets: TargetList,
    /// Target files.
    pub files: Vec<FileSource>,
    /// Lists over HTTP.
    pub http: Vec<HttpSource>,
    /// Whether a name stands for all of its addresses.
    pub all_addresses: bool,
}

/// What holds for any source of targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// What becomes of ports behind targets.
    pub ports: Ports,
    /// A change that leaves fewer targets than these, and fewer than there are, is refused.
    pub min_targets: u64,
}

/// Target files by a path, in the last part of which `*` may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// Where.
    pub path: PathBuf,
    /// As it was written: what it is called in labels and the log.
    pub name: String,
    /// What holds for any source.
    pub bounds: Bounds,
}

/// Files of one address, CIDR or range a line, by a path in the last part of which `*` may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExcludeFile {
    /// Where.
    pub path: PathBuf,
    /// As it was written.
    pub name: String,
}

/// A list over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSource {
    /// Where: http or https, without user and password.
    pub url: Url,
    /// From one request to the next; no request takes longer.
    pub refresh_interval: Nanos,
    /// Who asks.
    pub authorization: Option<Authorization>,
    /// Whom to trust, where it is https.
    pub tls: TlsSettings,
    /// Whether to go where the server says that the list is.
    pub follow_redirects: bool,
    /// What holds for any source.
    pub bounds: Bounds,
}

impl HttpSource {
    /// What it is called in labels and the log: its URL without what may be secret, user, password, query and fragment.
    pub fn name(&self) -> String {
        shown(&self.url)
    }
}

/// Which addresses of a name somebody wants.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Wants {
    /// Of IPv4, of IPv6.
    pub(super) families: [bool; 2],
    /// All of them, and not only one of a family.
    pub(super) all: bool,
}

impl Wants {
    /// Somebody else wants these.
    pub(super) fn add(&mut self, other: Self) {
        self.families.iter_mut().zip(other.families).for_each(|(wanted, also)| *wanted |= also);
        self.all |= other.all;
    }
}

impl GroupSources {
    /// Which addresses of its names are probed.
    pub(super) fn wants(&self) -> Wants {
        let will_do = |family| self.group.family.has(family) && self.group.shape.over(family).is_possible();
        Wants { families: Family::ALL.map(will_do), all: self.all_addresses }
    }
}
