//! The threads.

use super::{
    http,
    lists::{Adopt, Lists},
    names,
    settings::Settings,
    source::SourceState,
    table::{SourceId, Table},
    watch::Watching,
};
use crate::base::in_background;
use crossbeam::channel::Sender;
use std::{io, sync::Arc, thread::JoinHandle, time::Duration};
use tokio::sync::Notify;

/// Threads that read secrets, parse lists and ask the C library for names; each list's host may take one more.
const HELPERS: usize = 8;

/// All sources at work, until this is dropped.
pub struct Discovery {
    table: Arc<Table>,
    stop: Arc<Notify>,
    /// Wakes the thread that reads files.
    files: Option<Sender<()>>,
    adopting: Option<JoinHandle<()>>,
}

impl Discovery {
    /// Begins to read all sources.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(settings: &Settings) -> io::Result<Self> {
        Self::start_by(Table::new(settings), settings)
    }

    /// The same by other settings than before: sources that were there already have what they had until they are read again, so none of
    /// them has to be waited for.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start_after(before: &Self, settings: &Settings) -> io::Result<Self> {
        let table = Table::new(settings);
        table.inherit(&before.table);
        Self::start_by(table, settings)
    }

    fn start_by(table: Table, settings: &Settings) -> io::Result<Self> {
        let table = Arc::new(table);
        let mut discovery = Self { table: Arc::clone(&table), stop: Arc::default(), files: None, adopting: None };
        let (watching, tell) = Watching::new(settings, Arc::clone(&table));
        if watching.is_needed() {
            discovery.files = Some(tell);
            // Nobody joins it: a file may be on a disk that never answers.
            in_background("target files", move || watching.work())?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(HELPERS + settings.groups.iter().map(|group| group.http.len()).sum::<usize>())
            .thread_name("lookup")
            .build()?;
        let mut id = 0;
        for group in &settings.groups {
            id += group.files.len();
            for source in &group.http {
                let asking =
                    http::work(Arc::new(source.clone()), SourceId(id), Arc::clone(&table), settings.most_bytes);
                runtime.spawn(asking);
                id += 1;
            }
        }
        let (servers, least, stop) = (settings.servers.clone(), settings.names_least, Arc::clone(&discovery.stop));
        in_background("discovery", move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.notified() => {}
                    () = names::work(table, servers, least) => {}
                }
            });
            // Whoever is asked at this moment may not answer for long.
            runtime.shutdown_background();
        })?;
        Ok(discovery)
    }

    /// All lists, once each source has been read and each name looked up, well or not; but waits no longer than this. What is not there
    /// by then comes as a change.
    pub fn first(&self, at_most: Duration) -> Lists {
        self.table.wait(at_most)
    }

    /// All lists as they are.
    pub fn lists(&self) -> Lists {
        self.table.lists()
    }

    /// All lists, once they are others than those of a version. None: they are not within this time.
    pub fn after(&self, version: u64, at_most: Duration) -> Option<Lists> {
        self.table.after(version, at_most)
    }

    /// From now on changes go there: those since `from`, the version that is at work already, too.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn hand_on(&mut self, from: u64, mut adopt: impl Adopt + 'static) -> io::Result<()> {
        let table = Arc::clone(&self.table);
        let thread = in_background("targets", move || table.adopt(from, &mut adopt))?;
        self.adopting = Some(thread);
        Ok(())
    }

    /// A source of which nothing is known: it could not be read yet, and was not there before ([`Self::start_after`]).
    pub fn unknown(&self) -> Option<SourceState> {
        self.table.unknown()
    }

    /// How each source fares, in the order of the settings, exclusions last. For metrics; waits for nothing slow.
    pub fn states(&self) -> Vec<SourceState> {
        self.table.states()
    }
}

impl Drop for Discovery {
    /// Waits until nobody is being called with a change any more, and for nothing else.
    fn drop(&mut self) {
        self.table.stop();
        self.stop.notify_one();
        if let Some(files) = &self.files {
            let _full = files.try_send(());
        }
        if let Some(adopting) = self.adopting.take() {
            let _panicked = adopting.join();
        }
    }
}
