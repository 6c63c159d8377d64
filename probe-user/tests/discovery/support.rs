//! Sources at work, whose changes, states and log lines are kept.

use echolot::{
    base::Nanos,
    client::TlsSettings,
    discovery::{Bounds, Discovery, FileSource, GroupSources, HttpSource, Lists, Settings, SourceState},
    targets::{Group, TargetList, file_sd::Ports},
};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{self, Write},
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// More than anything takes that comes at all.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Waits until it is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A new folder that goes when the value does.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("echolot-discovery-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.join(name), content).unwrap();
    }

    /// As a careful program writes: beside it, then renamed.
    pub(crate) fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        self.write(".new", content);
        fs::rename(self.join(".new"), self.join(name)).unwrap();
    }
}

impl Deref for Folder {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// All that was logged, whoever did.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let of_writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || of_writer.clone());
        subscriber.init();
        log
    })
}

/// The lines that have some text in them.
pub(crate) fn lines(with: &str) -> Vec<String> {
    let text = String::from_utf8(log().0.lock().unwrap().clone()).unwrap();
    text.lines().filter(|line| line.contains(with)).map(|line| line.trim().to_owned()).collect()
}

pub(crate) fn bounds(strip_port: bool, min_targets: u64) -> Bounds {
    Bounds { ports: if strip_port { Ports::Stripped } else { Ports::Refused }, min_targets }
}

pub(crate) fn file(path: &Path, bounds: Bounds) -> FileSource {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    FileSource { path: path.to_owned(), name, bounds }
}

/// Asked for every two seconds: even a busy machine answers within that.
pub(crate) fn http(url: &str) -> HttpSource {
    HttpSource {
        url: url.parse().unwrap(),
        refresh_interval: Nanos::from_secs(2),
        authorization: None,
        tls: TlsSettings::default(),
        follow_redirects: true,
        bounds: Bounds::default(),
    }
}

/// A group whose name no other test has, so that its log lines can be told.
pub(crate) fn group() -> GroupSources {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    GroupSources {
        group: Group::named(format!("g{}-{:?}", NUMBER.fetch_add(1, Relaxed), thread::current().id())),
        targets: TargetList::default(),
        files: Vec::new(),
        http: Vec::new(),
        all_addresses: false,
    }
}

/// One group's sources at work.
pub(crate) struct AtWork {
    pub(crate) discovery: Discovery,
    pub(crate) settings: Settings,
    pub(crate) first: Lists,
    changes: Arc<Mutex<Vec<Lists>>>,
    /// What `Adopt` answers.
    pub(crate) refuse: Arc<Mutex<Option<String>>>,
}

impl AtWork {
    pub(crate) fn of(group: GroupSources) -> Self {
        Self::with(Settings { groups: vec![group], ..Settings::default() })
    }

    pub(crate) fn with(settings: Settings) -> Self {
        log();
        let mut discovery = Discovery::start(&settings).unwrap();
        let first = discovery.first(LONG);
        let (changes, refuse) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None)));
        let (to, by) = (Arc::clone(&changes), Arc::clone(&refuse));
        let adopt = move |lists: &Lists| {
            to.lock().unwrap().push(lists.clone());
            by.lock().unwrap().clone().map_or(Ok(()), Err)
        };
        discovery.hand_on(first.version, adopt).unwrap();
        Self { discovery, settings, first, changes, refuse }
    }

    /// How many changes were handed on.
    pub(crate) fn changes(&self) -> usize {
        self.changes.lock().unwrap().len()
    }

    /// What was handed on last, or what there was at the start.
    pub(crate) fn lists(&self) -> Lists {
        self.changes.lock().unwrap().last().unwrap_or(&self.first).clone()
    }

    /// The group's targets, as text, with labels where there are any.
    pub(crate) fn targets(&self) -> BTreeSet<String> {
        targets(&self.lists().of_group(0, &self.settings.groups[0]))
    }

    pub(crate) fn state(&self) -> SourceState {
        self.discovery.states().remove(0)
    }

    /// Its lines in the log.
    pub(crate) fn lines(&self) -> Vec<String> {
        lines(&format!("group {}: ", self.settings.groups[0].group.name))
    }

    /// Waits for these targets. Returns how long that took.
    pub(crate) fn until_targets(&self, expected: &[&str]) -> Duration {
        let begun = Instant::now();
        let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        until(&format!("{expected:?}"), || self.targets() == expected);
        begun.elapsed()
    }

    /// Waits for the source to fail, or to be well. Returns its state.
    pub(crate) fn until_up(&self, up: bool) -> SourceState {
        until(&format!("up is {up}"), || self.state().up == Some(up));
        self.state()
    }
}

pub(crate) fn targets(lists: &[TargetList]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for list in lists {
        let mut labels = String::new();
        for (name, value) in &list.labels {
            write!(labels, " {name}={value}").unwrap();
        }
        let ranges = list.ranges().map(|range| range.to_string());
        let names = list.names().iter().map(|name| name.to_string());
        let of_names = list.addresses_of_names().iter().map(|(name, address)| format!("{name}/{address}"));
        all.extend(ranges.chain(names).chain(of_names).map(|target| format!("{target}{labels}")));
    }
    all
}
