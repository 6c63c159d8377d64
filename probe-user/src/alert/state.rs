//! What outlives the process: which alerts fire, and which have ended lately. A file that is replaced whole, on a thread of its own: a disk
//! that is slow or full holds nothing else up.

use super::labels::Alert;
use crate::base::{Nanos, RepeatedFault, in_background};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What the file is called, in the folder of what outlives the process.
pub const FILE: &str = "alerts.json";
/// Held locked for as long as the process lives. Not the file itself, which is replaced.
const LOCK: &str = "alerts.lock";
/// Which form the file has.
const VERSION: u32 = 1;
/// Between two writings.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    alerts: Vec<Alert>,
}

/// Why nothing outlives the process.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process writes there.
    #[error("{0}: another echolot keeps its alerts there: stop it, or give each its own folder with `state`")]
    Taken(PathBuf),
    /// Anything else.
    #[error("{path}: {source}: alerts are forgotten when echolot ends; `state` names their folder")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The file, and who writes it.
#[derive(Debug)]
pub struct StateFile {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Held for its drop.
    _lock: File,
}

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    /// What is to be written.
    alerts: Option<Vec<Alert>>,
    /// Nothing more comes.
    ends: bool,
    /// All has been written that was asked for, or can't be.
    is_done: bool,
}

impl StateFile {
    /// Takes possession of the folder, which is made if it is not there; and returns what an earlier process left. What can't be read is
    /// told in the log and replaced. `clock` is CLOCK_MONOTONIC.
    ///
    /// # Errors
    /// Another process has it, or it can't be made.
    pub fn open(folder: &Path, clock: fn() -> Nanos) -> Result<(Self, Vec<Alert>), StateError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { path, source }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let path = folder.join(LOCK);
        let lock = File::create(&path).map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Taken(folder.to_owned())),
            // Some file systems know no locks.
            Err(TryLockError::Error(_)) => {}
        }
        let path = folder.join(FILE);
        let left = read(&path).unwrap_or_else(|why| {
            tracing::warn!("{}: {why}: alerts of an earlier echolot are forgotten", path.display());
            Vec::new()
        });
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let write = move || of_thread.work(&path, clock);
        let thread = in_background("alerts kept", write).map_err(failed(folder))?;
        Ok((Self { shared, thread: Some(thread), _lock: lock }, left))
    }

    /// From now on this is what is to be left. Waits for nothing.
    pub fn write(&self, alerts: Vec<Alert>) {
        let mut wanted = self.shared.wanted();
        (wanted.alerts, wanted.is_done) = (Some(alerts), false);
        drop(wanted);
        self.shared.changed.notify_all();
    }

    /// Waits until all is written, but no longer than this. Says whether it is.
    pub fn close(mut self, at_most: Duration) -> bool {
        let mut wanted = self.shared.wanted();
        wanted.ends = true;
        self.shared.changed.notify_all();
        let until = Instant::now() + at_most;
        while !wanted.is_done {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Nobody waits for a disk that hangs.
                return false;
            }
            let waited = self.shared.changed.wait_timeout(wanted, left);
            wanted = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(wanted);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
        true
    }
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, path: &Path, clock: fn() -> Nanos) {
        let mut failed = RepeatedFault::default();
        loop {
            let mut wanted = self.wanted();
            while wanted.alerts.is_none() && !wanted.ends {
                wanted = self.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner);
            }
            let Some(alerts) = wanted.alerts.take() else {
                wanted.is_done = true;
                self.changed.notify_all();
                return;
            };
            let ends = wanted.ends;
            drop(wanted);
            match write(path, alerts) {
                Ok(()) => {
                    if failed.over().is_some() {
                        tracing::info!("{}: can be written again", path.display());
                    }
                }
                Err(error) => {
                    if let Some(times) = failed.happened(clock()) {
                        let path = path.display();
                        tracing::error!("{path}: {error}: what fires now may be forgotten when echolot ends{times}");
                    }
                }
            }
            if !ends {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<Alert>, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let content: Content = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    match content.version {
        VERSION => Ok(content.alerts),
        other => Err(format!("it is of another echolot: version {other}, and {VERSION} is known here")),
    }
}

/// Whole or not at all: whoever reads finds what was before, or this.
fn write(path: &Path, alerts: Vec<Alert>) -> io::Result<()> {
    let text = serde_json::to_vec(&Content { version: VERSION, alerts })?;
    let beside = path.with_extension("json.new");
    let mut file = File::create(&beside)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The name is on the disk only once its folder is.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Forgets what was left, for alerts are switched off: they would be old news when they are switched on again.
///
/// # Errors
/// It can't be removed.
pub fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
