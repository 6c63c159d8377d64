//! All sources and all names, and who waits for changes.

use super::{
    lists::{Addresses, Adopt, Lists},
    settings::{GroupSources, Settings, Wants},
    source::{Reading, Source, SourceState},
};
use crate::targets::{AddressRange, Exclusions, Group, TargetList, check_target};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::Notify;

/// Changes that come within this of each other are handed on together, as long as the first waits no longer than the second.
const TOGETHER: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(600));

/// What threads share.
pub(super) struct Table {
    held: Mutex<Held>,
    changed: Condvar,
    /// Told when names may have come or gone.
    pub(super) names_changed: Notify,
    /// By group: its rules for what comes from outside, and what names stand for in it.
    groups: Vec<(Group, Wants)>,
    /// How many of the sources are each group's, in the order of the settings; the rest are of exclusions.
    counts: Vec<usize>,
    /// Of each source by what it is known for the same in another configuration: its group and its settings.
    keys: Vec<String>,
    /// Targets that stand in the configuration, by group.
    own: Vec<Arc<[TargetList]>>,
    allow_reserved: bool,
    begun: Instant,
}

struct Held {
    /// Of each group the files first, then HTTP, and after all groups exclusions.
    sources: Vec<Source>,
    addresses: Arc<Addresses>,
    exclude: Arc<Exclusions>,
    /// Names that have not been looked up once.
    names_open: usize,
    /// The version of the lists whose names are being looked up: before that it is not known which are open.
    names_seen: u64,
    /// Whether a beginning waits for names: not where those that were there before have been looked up.
    names_wait: bool,
    version: u64,
    /// The version in which lists changed last.
    listed: u64,
    stop: bool,
}

/// Which source it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceId(pub(super) usize);

impl Table {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut sources: Vec<Source> = Vec::new();
        let mut counts = Vec::new();
        let mut names: HashMap<(String, String), u32> = HashMap::new();
        // Two series of the same labels would spoil the whole scrape.
        let mut unique = |group: &str, name: String| {
            let seen = names.entry((group.to_owned(), name.clone())).or_default();
            *seen += 1;
            if *seen == 1 { name } else { format!("{name} ({seen})") }
        };
        for group in &settings.groups {
            let name = &group.group.name;
            for file in &group.files {
                sources.push(Source::new(name, unique(name, file.name.clone()), file.bounds.min_targets));
            }
            for http in &group.http {
                sources.push(Source::new(name, unique(name, http.name()), http.bounds.min_targets));
            }
            counts.push(group.files.len() + group.http.len());
        }
        for file in &settings.exclude {
            sources.push(Source::new("", unique("", file.name.clone()), 0));
        }
        let of_group = |group: &GroupSources| {
            let (name, files, http) = (&group.group.name, &group.files, &group.http);
            let files = files.iter().map(|file| format!("{name} {file:?}"));
            files.chain(http.iter().map(|http| format!("{name} {http:?}"))).collect::<Vec<_>>()
        };
        let keys =
            settings.groups.iter().flat_map(of_group).chain(settings.exclude.iter().map(|file| format!("{file:?}")));
        let keys = keys.collect();
        let held = Held {
            sources,
            addresses: Arc::default(),
            exclude: Arc::default(),
            names_open: 0,
            names_seen: 0,
            names_wait: true,
            version: 1,
            listed: 1,
            stop: false,
        };
        Self {
            held: Mutex::new(held),
            changed: Condvar::new(),
            names_changed: Notify::new(),
            groups: settings.groups.iter().map(|group| (group.group.clone(), group.wants())).collect(),
            counts,
            keys,
            own: settings.groups.iter().map(|group| Arc::from([group.targets.clone()])).collect(),
            allow_reserved: settings.allow_reserved,
            begun: Instant::now(),
        }
    }

    /// Sources that were read by another configuration have what they had there, and how they fared, until they are read again; names
    /// have their addresses. To be called before anything is read.
    pub(super) fn inherit(&self, before: &Self) {
        let (mut held, before_held) = (self.held(), before.held());
        let Held { sources, addresses, names_wait, version, listed, .. } = &mut *held;
        for (key, source) in self.keys.iter().zip(sources) {
            let place = before.keys.iter().position(|other| other == key);
            if let Some(other) = place.and_then(|place| before_held.sources.get(place)) {
                source.inherit(other);
            }
        }
        *addresses = Arc::clone(&before_held.addresses);
        *names_wait = false;
        *version += 1;
        *listed = *version;
        let first = self.counts.iter().sum::<usize>();
        let ranges = held.sources[first..].iter().flat_map(|source| source.lists.iter()).flat_map(TargetList::ranges);
        held.exclude = Arc::new(ranges.collect());
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group of a source; None for exclusions.
    fn group_of(&self, source: SourceId) -> Option<usize> {
        let mut before = 0;
        self.counts.iter().position(|count| {
            before += count;
            source.0 < before
        })
    }

    /// Whether a source's lists can be a group's: said of what does not fit before it is everybody's trouble.
    pub(super) fn check(&self, source: SourceId, lists: &[TargetList]) -> Result<(), String> {
        let Some((group, _)) = self.group_of(source).and_then(|group| self.groups.get(group)) else { return Ok(()) };
        // What is excluded now need not stay so.
        let none = Exclusions::default();
        let ranges = lists.iter().flat_map(TargetList::ranges);
        ranges
            .map(|range: AddressRange| check_target(group, range, self.allow_reserved, &none))
            .find_map(Result::err)
            .map_or(Ok(()), |error| Err(error.to_string()))
    }

    /// Takes over what came of reading a source. Returns whether it was good.
    pub(super) fn read(&self, source: SourceId, reading: Reading) -> bool {
        let mut held = self.held();
        let Held { sources, version, listed, exclude, .. } = &mut *held;
        let Some(of) = sources.get_mut(source.0) else { return false };
        let (changed, line) = of.read(reading, self.begun.elapsed().into(), SystemTime::now());
        let is_good = of.state.up == Some(true);
        if changed {
            *version += 1;
            *listed = *version;
            if self.group_of(source).is_none() {
                let first = self.counts.iter().sum::<usize>();
                let ranges =
                    sources[first..].iter().flat_map(|source| source.lists.iter()).flat_map(TargetList::ranges);
                *exclude = Arc::new(ranges.collect());
            }
        }
        drop(held);
        self.changed.notify_all();
        if changed {
            self.names_changed.notify_one();
        }
        if let Some(line) = line {
            line.log();
        }
        is_good
    }

    /// Every name that some list has, and what is wanted of it; and the version that they are of.
    pub(super) fn names(&self) -> (HashMap<Box<str>, Wants>, u64) {
        let Lists { version, groups, .. } = self.lists();
        let mut names: HashMap<Box<str>, Wants> = HashMap::new();
        for (lists, (_, wants)) in groups.iter().zip(&self.groups) {
            for name in lists.iter().flat_map(|lists| lists.iter()).flat_map(TargetList::names) {
                // One with a zone says which address it is.
                if !name.contains('%') {
                    names.entry(name.clone()).or_default().add(*wants);
                }
            }
        }
        (names, version)
    }

    /// Names of a version are being looked up, and so many of them have not been looked up once. Those that are gone lose their
    /// addresses.
    pub(super) fn names_seen(&self, version: u64, open: usize, gone: &[Box<str>]) {
        let mut held = self.held();
        (held.names_seen, held.names_open) = (version, open);
        if gone.iter().any(|name| held.addresses.contains_key(name)) {
            let addresses = Arc::make_mut(&mut held.addresses);
            gone.iter().for_each(|name| drop(addresses.remove(name)));
        }
        drop(held);
        self.changed.notify_all();
    }

    /// A name has these addresses now; or, where they are what they were, it has been looked up at least. None: nobody knows.
    pub(super) fn name(&self, name: &str, found: Option<&[IpAddr]>, is_first: bool) {
        let mut held = self.held();
        held.names_open = held.names_open.saturating_sub(usize::from(is_first));
        if let Some(found) = found
            && held.addresses.get(name).is_none_or(|before| **before != *found)
        {
            Arc::make_mut(&mut held.addresses).insert(name.into(), found.into());
            held.version += 1;
        }
        drop(held);
        self.changed.notify_all();
    }

    /// All lists as they are now.
    pub(super) fn lists(&self) -> Lists {
        Self::lists_of(&self.own, &self.counts, &self.held())
    }

    fn lists_of(own: &[Arc<[TargetList]>], counts: &[usize], held: &Held) -> Lists {
        let mut sources = held.sources.iter();
        let groups = own.iter().zip(counts).map(|(own, count)| {
            let read = sources.by_ref().take(*count).map(|source| Arc::clone(&source.lists));
            std::iter::once(Arc::clone(own)).chain(read).collect()
        });
        let groups = groups.collect();
        Lists {
            version: held.version,
            groups,
            addresses: Arc::clone(&held.addresses),
            exclude: Arc::clone(&held.exclude),
        }
    }

    /// A source of which nothing is known, because it was not there before and could not be read.
    pub(super) fn unknown(&self) -> Option<SourceState> {
        let held = self.held();
        let unknown = held.sources.iter().find(|source| !source.inherited && source.state.up != Some(true));
        unknown.map(|source| source.state.clone())
    }

    pub(super) fn states(&self) -> Vec<SourceState> {
        self.held().sources.iter().map(|source| source.state.clone()).collect()
    }

    /// Waits until each source has been read once, well or not, and each name looked up once; but no longer than this.
    pub(super) fn wait(&self, at_most: Duration) -> Lists {
        let wait = |held: &mut Held| {
            let unread = held.sources.iter().any(|source| source.state.up.is_none() && !source.inherited);
            let unresolved = held.names_wait && (held.names_seen < held.listed || held.names_open > 0);
            !held.stop && (unread || unresolved)
        };
        let waited = self.changed.wait_timeout_while(self.held(), at_most, wait);
        let held = waited.unwrap_or_else(PoisonError::into_inner).0;
        Self::lists_of(&self.own, &self.counts, &held)
    }

    /// Hands changes on until the end. `from` is the version that is at work already.
    pub(super) fn adopt(&self, mut from: u64, adopt: &mut dyn Adopt) {
        while let Some(lists) = self.next_after(from) {
            from = lists.version;
            if let Err(reason) = adopt.changed(&lists) {
                tracing::warn!("a change of targets was refused, and those before are kept: {reason}");
            }
        }
    }

    /// Waits for a change, and for those that come with it. None: nothing has changed within this time, or this is the end.
    pub(super) fn after(&self, version: u64, at_most: Duration) -> Option<Lists> {
        let held = self.held();
        let waited = self.changed.wait_timeout_while(held, at_most, |held| !held.stop && held.version <= version);
        let has_changed = waited.unwrap_or_else(PoisonError::into_inner).0.version > version;
        has_changed.then(|| self.next_after(version)).flatten()
    }

    /// Waits for a change, and for those that come with it. None: this is the end.
    fn next_after(&self, version: u64) -> Option<Lists> {
        let held = self.held();
        let waited = self.changed.wait_while(held, |held| !held.stop && held.version <= version);
        let mut held = waited.unwrap_or_else(PoisonError::into_inner);
        let first = Instant::now();
        loop {
            if held.stop {
                return None;
            }
            let (seen, left) = (held.version, TOGETHER.1.saturating_sub(first.elapsed()));
            let wait = TOGETHER.0.min(left);
            let waited = self.changed.wait_timeout_while(held, wait, |held| !held.stop && held.version == seen);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
            if held.stop {
                return None;
            }
            if held.version == seen || left.is_zero() {
                return Some(Self::lists_of(&self.own, &self.counts, &held));
            }
        }
    }

    /// Ends all that waits.
    pub(super) fn stop(&self) {
        self.held().stop = true;
        self.changed.notify_all();
    }

    pub(super) fn stopped(&self) -> bool {
        self.held().stop
    }
}
