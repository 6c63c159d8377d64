//! Who is asked for names and networks, and never lets anybody wait.

use super::{
    AsnError, AsnSource, AsnTable, Known, Settings,
    asn::open,
    lookup::{self, Reading},
    shared::Shared,
};
use crate::base::in_background;
use rustix::process::{Resource, getrlimit};
use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
    watch,
};

/// Addresses that may wait for their turn.
const QUEUE: usize = 1 << 16;
/// Addresses that are known.
const KNOWN: usize = 1 << 17;
/// Questions at once, at least and at most. A question that is answered late may have six sockets, three tries with each of two
/// servers, and all of them together take no more than two fifths of the files that this process may open.
const AT_ONCE: (u64, u64) = (16, 256);
const FILES_A_QUESTION: u64 = 16;

/// Finds out names and AS numbers of addresses, on a thread of its own that ends when this is dropped.
#[derive(Debug)]
pub struct Enricher {
    shared: Arc<Shared>,
    /// None: there is nothing to find out.
    questions: Option<mpsc::Sender<IpAddr>>,
    dropped: AtomicU64,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    thread: Arc<Notify>,
    reading: AtomicBool,
}

impl Enricher {
    /// Begins. If nothing is to be found out there is no thread, and all calls are cheap and find nothing.
    ///
    /// A file of AS numbers is opened at once and read beside: what is wrong in it is said in the log, as an error.
    ///
    /// # Errors
    /// The file can't be opened, as an [`AsnError`]; or there is no thread to be had.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(KNOWN));
        let stop = Arc::new(Stop::default());
        let mut enricher = Self { shared, questions: None, dropped: AtomicU64::new(0), stop, thread: None };
        if settings.is_off() {
            return Ok(enricher);
        }
        let reading = match &settings.asn {
            AsnSource::File(path) => Some(read_beside(path, &enricher.stop)?),
            _ => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (questions, asked) = mpsc::channel(QUEUE);
        let (shared, stop) = (Arc::clone(&enricher.shared), Arc::clone(&enricher.stop.thread));
        let thread = in_background("names", move || {
            runtime.block_on(lookup::work(settings, at_once(), reading, shared, asked, stop));
        })?;
        (enricher.questions, enricher.thread) = (Some(questions), Some(thread));
        Ok(enricher)
    }

    /// Asks for what is not known of an address, or has expired. Returns at once. If too many are waiting already it is as if it had
    /// not been asked, but for [`Self::dropped`]: ask again.
    pub fn ask(&self, address: IpAddr) {
        let Some(questions) = &self.questions else { return };
        let address = address.to_canonical();
        self.shared.begin(address, || match questions.try_send(address) {
            Ok(()) => true,
            Err(refused) => {
                if let TrySendError::Full(_) = refused {
                    self.dropped.fetch_add(1, Relaxed);
                }
                false
            }
        });
    }

    /// What is known of an address by now; never waits for it. What has expired stays until something newer is known.
    pub fn known(&self, address: IpAddr) -> Known {
        self.shared.known(address.to_canonical())
    }

    /// Waits until nothing that was asked for is outstanding, but no longer than this. Returns whether that is so.
    pub fn wait(&self, at_most: Duration) -> bool {
        self.shared.wait(at_most)
    }

    /// Addresses that were not asked for because too many were waiting.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl Drop for Enricher {
    fn drop(&mut self) {
        self.stop.reading.store(true, Relaxed);
        self.stop.thread.notify_one();
        // It waits for nothing but sockets and clocks, and the stop goes before them.
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// So that others find files to open.
fn at_once() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from((files / FILES_A_QUESTION).clamp(AT_ONCE.0, AT_ONCE.1)).unwrap_or(usize::MAX)
}

/// Opens a table of AS numbers and reads it on a thread that nobody waits for: a long one takes as long as a trace.
fn read_beside(path: &Path, stop: &Arc<Stop>) -> io::Result<Reading> {
    let file = open(path).map_err(io::Error::other)?;
    let (read, reading) = watch::channel(None);
    let content = Stoppable { file, stop: Arc::clone(stop) };
    let name = path.display().to_string();
    in_background("networks", move || {
        let stop = Arc::clone(&content.stop);
        match AsnTable::read(content, &name) {
            // Nobody is there any more: nobody wants to know.
            Ok(table) => drop(read.send(Some(Arc::new(table)))),
            Err(_) if stop.reading.load(Relaxed) => {}
            Err(error) => say(&error),
        }
    })?;
    Ok(reading)
}

fn say(error: &AsnError) {
    tracing::error!("{error}; AS numbers are not shown");
}

/// A file that ends when it is told to.
struct Stoppable {
    file: File,
    stop: Arc<Stop>,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.reading.load(Relaxed) {
            return Err(io::Error::other("no longer wanted"));
        }
        self.file.read(buffer)
    }
}
