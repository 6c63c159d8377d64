//! From the command line to the first probe: what takes long is shown, and a signal ends it at once.
//!
//! A thread of its own does both, so it does not matter whether the others wait for something or compute. Nothing has to be put in
//! order then: what is attached to the interface goes with the process, and nothing has been sent.

use super::Signals;
use super::{Failure, Live, Status};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

/// Steps are shown once one takes longer than this.
const LONG: Duration = Duration::from_millis(800);
/// Between looks.
const LOOK: Duration = Duration::from_millis(100);

/// The start, until it is ended or dropped.
pub(crate) struct Starting {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    step: Mutex<Step>,
    ended: Notify,
    /// SIGHUP has come.
    hung_up: AtomicBool,
    /// Where there is a terminal; else the log is told.
    live: Option<Live>,
}

struct Step {
    what: String,
    since: Instant,
    told: bool,
}

impl Starting {
    /// Begins with its first step. A signal ends the process with this status from now on.
    pub(crate) fn begin(what: &str, live: Option<Live>, interrupted: Status) -> Result<Self, Failure> {
        Self::begin_with(what, live, interrupted, false)
    }

    /// The same where SIGHUP ends nothing, because it asks for the configuration to be read again.
    pub(crate) fn begin_reloadable(what: &str, live: Option<Live>, interrupted: Status) -> Result<Self, Failure> {
        Self::begin_with(what, live, interrupted, true)
    }

    fn begin_with(what: &str, live: Option<Live>, interrupted: Status, reloadable: bool) -> Result<Self, Failure> {
        let step = Step { what: what.to_owned(), since: Instant::now(), told: false };
        let shared =
            Arc::new(Shared { step: Mutex::new(step), ended: Notify::new(), hung_up: AtomicBool::new(false), live });
        let of_thread = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Registered before this returns: a signal finds either the default or us.
        let (mut signals, mut hangup) = runtime.block_on(async {
            let hangup = reloadable.then(|| signal(SignalKind::hangup())).transpose()?;
            Ok::<_, Failure>((Signals::new()?, hangup))
        })?;
        let body = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        biased;
                        () = of_thread.ended.notified() => return,
                        () = signals.next() => of_thread.interrupted(interrupted),
                        () = next(&mut hangup) => of_thread.hung_up.store(true, Relaxed),
                        () = tokio::time::sleep(LOOK) => of_thread.show(),
                    }
                }
            });
        };
        let thread = std::thread::Builder::new().name("starting".into()).spawn(body)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The next step begins.
    pub(crate) fn step(&self, what: impl Into<String>) {
        *self.shared.step() = Step { what: what.into(), since: Instant::now(), told: false };
    }

    /// Whether SIGHUP has come since this was last asked.
    pub(crate) fn hung_up(&self) -> bool {
        self.shared.hung_up.swap(false, Relaxed)
    }
}

async fn next(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// It has ended, well or not. From now on signals are somebody else's.
impl Drop for Starting {
    fn drop(&mut self) {
        self.shared.ended.notify_one();
        // One that panicked has told so.
        let _ = self.thread.take().map(JoinHandle::join);
        if let Some(live) = &self.shared.live {
            live.clear();
        }
    }
}

impl Shared {
    fn step(&self) -> std::sync::MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what takes long.
    fn show(&self) {
        let mut step = self.step();
        if step.since.elapsed() < LONG {
            return;
        }
        match &self.live {
            Some(live) => live.show(&format!("{} ({:.0?})", step.what, step.since.elapsed())),
            None if !step.told => tracing::info!("{}", step.what),
            None => {}
        }
        step.told = true;
    }

    fn interrupted(&self, status: Status) {
        if let Some(live) = &self.live {
            live.clear();
        }
        eprintln!("echolot: ended by a signal before the first probe, while {}", self.step().what);
        std::process::exit(status.code().into());
    }
}
