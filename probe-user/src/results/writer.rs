//! The thread that writes results.

use super::{
    Encoder,
    output::{Destination, Output, WriteError},
    spool::Spool,
};
use crate::{
    base::{Outcome, RepeatedFault, Settlement, Times},
    enrich::Enricher,
    worker::{Backlog, Queue},
};
use std::{
    collections::VecDeque,
    fmt, io,
    panic::resume_unwind,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What is written at once when there is much.
const CHUNK: usize = 256 << 10;
/// What waits at most while the destination refuses: some ten thousand lines.
const SPOOL: usize = 2 << 20;
/// Records that wait for names at most, some 30 MB.
const MOST_HELD: usize = 1 << 18;
/// How long a line waits for company.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// How long after a refusal the next attempt comes.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long the thread sleeps when there was little to do: longer and longer while that stays so.
const NAPS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(8));

/// A set of outcomes: those that `--only` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcomes(u8);

impl Outcomes {
    /// Every outcome.
    pub const ALL: Self = Self(u8::MAX);

    /// Whether `outcome` is one of them.
    #[inline]
    pub const fn contains(self, outcome: Outcome) -> bool {
        self.0 & (1 << outcome as u8) != 0
    }
}

impl FromIterator<Outcome> for Outcomes {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        Self(outcomes.into_iter().fold(0, |set, outcome| set | 1 << outcome as u8))
    }
}

/// Runs a piece of writing with the terminal to itself, see [`Writer::around`].
type Around = Box<dyn Fn(&mut dyn FnMut()) + Send>;

/// Encodes records and writes them.
pub struct Writer {
    encoder: Encoder,
    output: Output,
    only: Outcomes,
    around: Option<Around>,
    naming: Naming,
}

impl Writer {
    /// Writes to the file at `path`, which is made or emptied; None: to standard output.
    ///
    /// # Errors
    /// When the file can't be created.
    pub fn open(encoder: Encoder, path: Option<&Path>) -> Result<Self, WriteError> {
        Ok(Self { encoder, output: Output::open(path)?, only: Outcomes::ALL, around: None, naming: Naming::default() })
    }

    /// Leaves other outcomes out.
    #[must_use]
    pub fn only(mut self, outcomes: Outcomes) -> Self {
        self.only = outcomes;
        self
    }

    /// Says of addresses what is known of them: a line waits for that, so long at most, and with it those behind it.
    #[must_use]
    pub fn named(mut self, enricher: Arc<Enricher>, wait: Duration) -> Self {
        self.encoder = self.encoder.named();
        self.naming = Naming { enricher: Some(enricher), wait, held: VecDeque::new() };
        self
    }

    /// Writes inside `around`: it takes what is drawn on the terminal away, calls its argument, and draws again. For
    /// results that share a terminal with a progress bar.
    #[must_use]
    pub fn around(mut self, around: impl Fn(&mut dyn FnMut()) + Send + 'static) -> Self {
        self.around = Some(Box::new(around));
        self
    }
}

/// What the writer did, once it is through.
#[derive(Debug, Default)]
pub struct WriteReport {
    /// Results written.
    pub written: u64,
    /// Results that were asked for and are not in the output: there was no room in a queue or at the destination.
    pub dropped: u64,
    /// The first refusal of the destination, if any; it has been reported.
    pub error: Option<WriteError>,
    /// The reader of a pipe went away. What came after is not counted as dropped: nobody wanted it.
    pub reader_gone: bool,
}

/// A writer at work.
pub struct Writing {
    thread: JoinHandle<WriteReport>,
    progress: Arc<Progress>,
    queues: Vec<Backlog>,
}

#[derive(Debug, Default)]
struct Progress {
    dropped: AtomicU64,
    /// Results that the destination has.
    written: AtomicU64,
    /// Results in the writer's hands, as of its last attempt to write.
    held: AtomicU64,
    reader_gone: AtomicBool,
}

impl Writing {
    /// Results that are lost so far, in a queue or at the destination.
    pub fn dropped(&self) -> u64 {
        self.progress.dropped.load(Relaxed) + self.queues.iter().map(Backlog::dropped).sum::<u64>()
    }

    /// Results that the destination has so far.
    pub fn written(&self) -> u64 {
        self.progress.written.load(Relaxed)
    }

    /// Whether the reader of our output went away: a command that measures for it ends.
    pub fn reader_gone(&self) -> bool {
        self.progress.reader_gone.load(Relaxed)
    }

    /// Whether [`Writing::join`] would return at once.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until every sink has been dropped and all of their records are written or given up.
    pub fn join(self) -> WriteReport {
        match self.thread.join() {
            Ok(report) => {
                let full: u64 = self.queues.iter().map(Backlog::dropped).sum();
                WriteReport { dropped: report.dropped + full, ..report }
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Leaves the thread alone with a destination that takes nothing and refuses nothing (a pipe that nobody reads). What
    /// it has not taken counts as dropped.
    pub fn abandon(self) -> WriteReport {
        let waiting = self.progress.held.load(Relaxed) + self.queues.iter().map(Backlog::waiting).sum::<u64>();
        WriteReport { written: self.written(), dropped: self.dropped() + waiting, error: None, reader_gone: false }
    }
}

/// What is told of a destination. `Display` is for people.
#[derive(Debug)]
pub enum WriteNews<'a> {
    /// It refuses; told at once, and every 5 minutes while it does.
    Refuses(&'a WriteError, Times),
    /// It takes results again.
    Again {
        /// What it is called.
        name: &'a str,
    },
}

impl fmt::Display for WriteNews<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuses(error, times) => write!(f, "{error}{times}"),
            Self::Again { name } => write!(f, "{name}: results are written again"),
        }
    }
}

/// Starts the thread. `observe` sees every record, before `--only`; `report` is told when the destination refuses, and when it no longer
/// does.
///
/// A destination that refuses (a full disk) ends nothing: a bounded number of lines is kept, the next are dropped and
/// counted, and every second the writer tries again, from the next whole record.
///
/// # Errors
/// When the system has no thread left.
pub fn spawn(
    writer: Writer,
    queues: Vec<Queue>,
    observe: impl FnMut(&Settlement) + Send + 'static,
    report: impl FnMut(&WriteNews<'_>) + Send + 'static,
) -> io::Result<Writing> {
    let progress = Arc::new(Progress::default());
    let backlogs = queues.iter().map(Queue::backlog).collect();
    let drain = Drain {
        lines: Lines {
            output: writer.output,
            around: writer.around,
            spool: Spool::default(),
            oldest: Instant::now(),
            retry_at: None,
            report,
            begun: Instant::now(),
            refusal: RepeatedFault::default(),
            progress: Arc::clone(&progress),
            header: false,
            waiting: 0,
            written: 0,
            error: None,
        },
        encoder: writer.encoder,
        only: writer.only,
        naming: writer.naming,
        queues,
        observe,
    };
    let thread = thread::Builder::new().name("results".into()).spawn(move || drain.run())?;
    Ok(Writing { thread, progress, queues: backlogs })
}

/// From the queues to the lines.
struct Drain<D, O, R> {
    lines: Lines<D, R>,
    encoder: Encoder,
    only: Outcomes,
    naming: Naming,
    queues: Vec<Queue>,
    observe: O,
}

/// Records that wait for what their addresses are called.
#[derive(Default)]
struct Naming {
    /// None: nobody waits.
    enricher: Option<Arc<Enricher>>,
    wait: Duration,
    /// The oldest first, and until when it waits.
    held: VecDeque<(Instant, Settlement)>,
}

impl<D: Destination + Named, O: FnMut(&Settlement), R: FnMut(&WriteNews<'_>)> Drain<D, O, R> {
    fn run(mut self) -> WriteReport {
        // The header is no result.
        self.lines.header = self.lines.spool.append(|out| self.encoder.header(out));
        let capacity = self.queues.iter().map(Queue::capacity).sum::<usize>();
        let mut nap = NAPS.0;
        loop {
            // Asked before the queues are emptied: what was pushed before they were closed is taken now.
            let closed = self.queues.iter().all(Queue::is_closed);
            let taken = self.take();
            self.write_named(false);
            self.lines.flush_if_due(false);
            if closed && taken == 0 {
                self.write_named(true);
                return self.lines.finish();
            }
            // Busy: come back soon, before a queue is full. Idle: cost nothing.
            if taken > capacity / 16 {
                nap = NAPS.0;
                continue;
            }
            if !closed {
                thread::sleep(nap);
                nap = (nap * 2).min(NAPS.1);
            }
        }
    }

    /// Takes what is there, at most a queue's length of each. Returns how many records that were.
    fn take(&mut self) -> usize {
        let mut taken = 0;
        for queue in &self.queues {
            for _ in 0..queue.capacity() {
                let Some(record) = queue.pop() else { break };
                taken += 1;
                (self.observe)(&record);
                if !self.only.contains(record.outcome()) {
                    continue;
                }
                match &self.naming.enricher {
                    None => self.lines.put(|out| self.encoder.encode(&record, out)),
                    Some(enricher) => {
                        if let Some(address) = self.encoder.address(record.target) {
                            enricher.ask(address);
                        }
                        self.naming.held.push_back((Instant::now() + self.naming.wait, record));
                    }
                }
            }
        }
        taken
    }

    /// Writes what waits for names that have come, or that has waited for long enough; or all, once names have been waited for.
    fn write_named(&mut self, all: bool) {
        let Some(enricher) = &self.naming.enricher else { return };
        let nobody_is_asked = enricher.wait(if all { self.naming.wait } else { Duration::ZERO });
        while let Some((until, _)) = self.naming.held.front()
            && (all || nobody_is_asked || self.naming.held.len() > MOST_HELD || *until <= Instant::now())
            && let Some((_, record)) = self.naming.held.pop_front()
        {
            let known = self.encoder.address(record.target).map(|address| enricher.known(address));
            self.lines.put(|out| self.encoder.encode_known(&record, known.as_ref(), out));
        }
        self.lines.waiting = self.naming.held.len() as u64;
    }
}

/// What a message calls a destination.
trait Named {
    fn name(&self) -> &str;
}

impl Named for Output {
    fn name(&self) -> &str {
        &self.name
    }
}

/// Writes in large pieces, and lives through a destination that refuses.
struct Lines<D, R> {
    output: D,
    around: Option<Around>,
    spool: Spool,
    /// When the oldest line in the spool came.
    oldest: Instant,
    /// Set while the destination refuses.
    retry_at: Option<Instant>,
    report: R,
    begun: Instant,
    refusal: RepeatedFault,
    progress: Arc<Progress>,
    /// The first record is a header.
    header: bool,
    /// Records that wait for names.
    waiting: u64,
    /// Records, with the header.
    written: u64,
    error: Option<WriteError>,
}

impl<D: Destination + Named, R: FnMut(&WriteNews<'_>)> Lines<D, R> {
    fn put(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> bool) {
        if self.progress.reader_gone.load(Relaxed) {
            return;
        }
        if self.spool.len() >= SPOOL {
            self.progress.dropped.fetch_add(1, Relaxed);
            return;
        }
        let first = self.spool.len() == 0;
        if !self.spool.append(encode) {
            return;
        }
        if self.spool.len() >= CHUNK {
            self.flush_if_due(false);
        } else if first {
            self.oldest = Instant::now();
        }
    }

    fn flush_if_due(&mut self, at_once: bool) {
        if self.spool.len() == 0 {
            return;
        }
        let now = Instant::now();
        let due = match self.retry_at {
            Some(at) => now >= at,
            None => self.spool.len() >= CHUNK || now.duration_since(self.oldest) >= FLUSH_AFTER,
        };
        if !due && !at_once {
            return;
        }
        let before = self.spool.records();
        self.note();
        let mut result = Ok(());
        match &self.around {
            Some(around) => around(&mut || result = self.spool.flush(&mut self.output)),
            None => result = self.spool.flush(&mut self.output),
        }
        self.written += (before - self.spool.records()) as u64;
        self.note();
        match result {
            Ok(()) => {
                self.retry_at = None;
                if self.refusal.over().is_some() {
                    (self.report)(&WriteNews::Again { name: self.output.name() });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.progress.reader_gone.store(true, Relaxed);
                self.spool.clear();
            }
            Err(source) => {
                self.retry_at = Some(now + RETRY_AFTER);
                self.refused(source);
            }
        }
    }

    /// Says how far it has come, for who can't wait.
    fn note(&self) {
        let (written, held) = self.results();
        self.progress.written.store(written, Relaxed);
        self.progress.held.store(held + self.waiting, Relaxed);
    }

    /// Results written, and results in the spool: a header is none.
    fn results(&self) -> (u64, u64) {
        let held = self.spool.records() as u64;
        let header_left = self.header && self.written == 0 && held > 0;
        (self.written.saturating_sub(u64::from(self.header && !header_left)), held - u64::from(header_left))
    }

    /// Tells of a refusal, if it is to be told now.
    fn refused(&mut self, source: io::Error) {
        let Some(times) = self.refusal.happened(self.begun.elapsed().into()) else { return };
        let error = WriteError {
            name: self.output.name().to_owned(),
            doing: "write results",
            source,
            advice: "Make room: writing is tried again every second, and results that find none meanwhile are dropped \
                     and counted",
        };
        (self.report)(&WriteNews::Refuses(&error, times));
        self.error.get_or_insert(error);
    }

    /// The last attempt. What is refused now is dropped.
    fn finish(mut self) -> WriteReport {
        self.flush_if_due(true);
        let (written, left) = self.results();
        WriteReport {
            written,
            dropped: self.progress.dropped.load(Relaxed) + left,
            error: self.error,
            reader_gone: self.progress.reader_gone.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
