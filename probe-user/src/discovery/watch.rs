//! The thread that reads files: at the start, when something changes in their folders, and every five minutes all the same.

use super::{
    files::{Files, Form},
    places::{self, Places},
    settings::Settings,
    table::{SourceId, Table},
};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Files are read again after this, whatever is told of them.
const AGAIN: Duration = Duration::from_secs(300);
/// Files are read when nothing has changed for this time, or something after that: whoever writes writes in pieces.
const QUIET: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(400));
/// Between looks whether a folder is another of the same name by now: it is not always told, and never of what happens in the new one.
const LOOK: Duration = Duration::from_secs(1);

/// By what a folder is known for the same: its device and inode; None: it is not there.
type Identity = Option<(u64, u64)>;

/// A path that is watched and whose it is.
struct Watched {
    id: SourceId,
    files: Files,
}

/// What the watcher's thread and ours share: which events matter.
type Wanted = Arc<Mutex<Places>>;

pub(super) struct Watching {
    table: Arc<Table>,
    all: Vec<Watched>,
    /// Something changed, or this is the end.
    told: Receiver<()>,
    tell: Sender<()>,
    watcher: Option<RecommendedWatcher>,
    wanted: Wanted,
    /// The folders that are watched, as they were when that began.
    identities: BTreeMap<PathBuf, Identity>,
    /// Whether all folders are watched; None before it was tried.
    is_watched: Option<bool>,
    /// Files are read again after this where nobody tells.
    unwatched: Duration,
}

impl Watching {
    /// For all files of the settings. The sender wakes it up, for the end too.
    pub(super) fn new(settings: &Settings, table: Arc<Table>) -> (Self, Sender<()>) {
        let mut all = Vec::new();
        let mut id = 0;
        for group in &settings.groups {
            for file in &group.files {
                all.push(Watched {
                    id: SourceId(id),
                    files: Files::new(file.path.clone(), Form::Targets(file.bounds)),
                });
                id += 1;
            }
            id += group.http.len();
        }
        for file in &settings.exclude {
            all.push(Watched { id: SourceId(id), files: Files::new(file.path.clone(), Form::Exclude) });
            id += 1;
        }
        // One word is as good as many.
        let (tell, told) = bounded(1);
        let watching = Self {
            table,
            all,
            told,
            tell: tell.clone(),
            watcher: None,
            wanted: Arc::default(),
            identities: BTreeMap::new(),
            is_watched: None,
            unwatched: settings.unwatched,
        };
        (watching, tell)
    }

    pub(super) fn is_needed(&self) -> bool {
        !self.all.is_empty()
    }

    /// Reads and watches until the table is stopped.
    pub(super) fn work(mut self) {
        // First what there is: probing waits for that. A change between the two is not missed: what is watched is read once more.
        self.read();
        loop {
            // What came before its folder was watched is told by nobody, and it may be a folder in turn.
            while self.watch() && !self.table.stopped() {
                self.read();
            }
            let again = if self.is_watched == Some(true) { AGAIN } else { self.unwatched };
            if !self.wait(again) || self.table.stopped() {
                return;
            }
            self.read();
        }
    }

    /// Waits until something changes, but no longer than this. False: this is the end.
    fn wait(&self, at_most: Duration) -> bool {
        let begun = Instant::now();
        loop {
            let left = at_most.saturating_sub(begun.elapsed());
            match self.told.recv_timeout(left.min(LOOK)) {
                Ok(()) => {
                    self.settle();
                    return true;
                }
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) if left <= LOOK || self.is_replaced() => return true,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Whether a folder that is watched is another by now.
    fn is_replaced(&self) -> bool {
        self.identities.iter().any(|(path, known)| identity(path) != *known)
    }

    fn read(&mut self) {
        for Watched { id, files } in &mut self.all {
            if self.table.stopped() {
                return;
            }
            let (table, id) = (&self.table, *id);
            let reading = files.read(&|lists| table.check(id, lists));
            table.read(id, reading);
        }
    }

    /// Waits until it is quiet.
    fn settle(&self) {
        let begun = Instant::now();
        while begun.elapsed() < QUIET.1 && !self.table.stopped() && self.told.recv_timeout(QUIET.0).is_ok() {}
    }

    /// Watches the folders of all files, those that have come included. Returns whether one is new, or nobody tells of some of them.
    fn watch(&mut self) -> bool {
        match self.try_watch() {
            Ok(is_new) => {
                if self.is_watched.replace(true) == Some(false) {
                    tracing::info!("files of targets and exclusions are watched again");
                }
                is_new
            }
            Err(error) => {
                // What is watched by halves may stop telling at any time: begun anew next time.
                (self.watcher, *self.wanted()) = (None, Places::new());
                if self.is_watched.replace(false) != Some(false) {
                    tracing::warn!(
                        "files of targets and exclusions are not watched, and read again every {} s instead: {error}. Are \
                         fs.inotify.max_user_watches and max_user_instances too low?",
                        self.unwatched.as_secs_f64()
                    );
                }
                false
            }
        }
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, Places> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_watch(&mut self) -> notify::Result<bool> {
        let mut places = Places::new();
        for Watched { files, .. } in &self.all {
            places::add(&mut places, files.path(), files.known()).map_err(notify::Error::io)?;
        }
        if self.is_replaced() {
            // A watcher goes by paths, and would take the one for the other.
            (self.watcher, *self.wanted()) = (None, Places::new());
        }
        self.identities = places.keys().map(|path| (path.clone(), identity(path))).collect();
        let mut watcher = match self.watcher.take() {
            Some(watcher) => watcher,
            None => notify::recommended_watcher(listener(Arc::clone(&self.wanted), self.tell.clone()))?,
        };
        let before = std::mem::replace(&mut *self.wanted(), places.clone());
        for gone in before.keys().filter(|path| !places.contains_key(*path)) {
            // One that was deleted is not watched any more.
            let _gone = watcher.unwatch(gone);
        }
        let mut is_new = false;
        for path in places.keys() {
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => is_new |= !before.contains_key(path),
                // Gone meanwhile, or nothing to be seen there: its own folder tells when that changes.
                Err(error) if is_away(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.watcher = Some(watcher);
        Ok(is_new)
    }
}

fn identity(path: &Path) -> Identity {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn is_away(error: &notify::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => matches!(error.kind(), NotFound | PermissionDenied | NotADirectory),
        _ => false,
    }
}

/// Called on the watcher's thread, for each event of each folder.
fn listener(wanted: Wanted, tell: Sender<()>) -> impl FnMut(notify::Result<notify::Event>) + Send + 'static {
    move |event| {
        let matters = match &event {
            Ok(event) if event.need_rescan() => true,
            // Our own reading among them.
            Ok(event) if is_reading(event.kind) => false,
            Ok(event) => event.paths.iter().any(|path| is_wanted(&wanted, path)),
            // What was missed is not known.
            Err(_) => true,
        };
        if matters {
            // Full, it has been told already.
            let _full = tell.try_send(());
        }
    }
}

fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn is_wanted(wanted: &Wanted, path: &Path) -> bool {
    let wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = || Some(wanted.get(path.parent()?)?.has(path.file_name()?));
    // An event of a folder itself: it has gone, or its rights are others.
    wanted.contains_key(path) || entry().unwrap_or(false)
}
