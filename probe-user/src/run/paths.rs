//! A thread that asks for the probes of paths and hears what became of them. It is no packet loop, and nothing that it waits for is measured.

use crate::{
    base::TargetIndex,
    path::{Path, Tracer},
    worker::{Ask, Asks, Common, Phase, Queue},
};
use crossbeam::channel::{Sender, TrySendError};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Between looks at what has been settled.
const LOOK: Duration = Duration::from_micros(100);
/// The same where nothing is in flight.
const LONGEST_LOOK: Duration = Duration::from_millis(5);
/// Probes asked for between two looks.
const ASKED_AT_ONCE: usize = 1_024;
/// After the end has been asked for, paths wait so long for a reader that takes none.
const READER_WAITED_FOR: Duration = Duration::from_secs(3);

/// Which paths are to be found, and where they go.
pub(crate) struct Paths {
    pub(crate) tracer: Tracer,
    /// Bounded: while it is full, no further target is begun. Once nobody is there to receive, the job ends.
    pub(crate) found: Sender<Path>,
    /// While this is set, nothing is asked for.
    pub(crate) is_paused: Arc<AtomicBool>,
}

/// Begins to ask. It ends when all paths have been found, or when the job is to end, and has the loops end then.
pub(super) fn begin(paths: Paths, common: Arc<Common>, settled: Queue) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("paths".into()).spawn(move || {
        Asking { paths, common, settled, moved: Instant::now() }.run();
    })
}

struct Asking {
    paths: Paths,
    common: Arc<Common>,
    settled: Queue,
    /// When a path was taken last.
    moved: Instant,
}

impl Asking {
    fn run(mut self) {
        loop {
            let settled = self.hear();
            let asked = self.ask();
            let is_over = !self.hand_out() || self.paths.tracer.is_done() || self.common.phase() == Phase::Abort;
            if self.common.phase() != Phase::Run {
                self.paths.tracer.stop();
                if self.settled.is_closed() && self.settled.is_empty() && self.paths.tracer.is_handed_out() {
                    return;
                }
                if self.moved.elapsed() > READER_WAITED_FOR && self.settled.is_closed() {
                    return;
                }
            }
            if is_over {
                return self.common.ask(Phase::Drain);
            }
            if settled + asked == 0 {
                thread::sleep(self.pause());
            }
        }
    }

    /// While something is in flight it may be settled at any time.
    fn pause(&self) -> Duration {
        let tracer = &self.paths.tracer;
        match tracer.next_at() {
            Some(at) if tracer.in_flight() == 0 => {
                Duration::from_nanos((at - super::now()).0).clamp(LOOK, LONGEST_LOOK)
            }
            _ => LOOK,
        }
    }

    /// Hears what became of probes. How many.
    fn hear(&mut self) -> usize {
        let mut many = 0;
        while let Some(settlement) = self.settled.pop() {
            self.paths.tracer.settled(&settlement);
            many += 1;
        }
        many
    }

    /// Asks for what is to be sent now. How many.
    fn ask(&mut self) -> usize {
        if self.common.phase() != Phase::Run || self.paths.found.is_full() || self.paths.is_paused.load(Relaxed) {
            return 0;
        }
        let now = super::now();
        let room = self.common.asks.iter().map(Asks::room).min().unwrap_or(0);
        let mut many = 0;
        while many < room.min(ASKED_AT_ONCE)
            && let Some((target, number)) = self.paths.tracer.next(now)
        {
            // There is room: nobody else asks.
            let _has_room = self.common.asks[self.sender(target)].put(Ask { target, number });
            many += 1;
        }
        many
    }

    fn sender(&self, target: TargetIndex) -> usize {
        self.common.ledger.account(target).sender()
    }

    /// Hands out what has been found. False: nobody takes it any more.
    fn hand_out(&mut self) -> bool {
        while !self.paths.found.is_full()
            && let Some(path) = self.paths.tracer.path()
        {
            self.moved = Instant::now();
            if let Err(TrySendError::Disconnected(_)) = self.paths.found.try_send(path) {
                return false;
            }
        }
        true
    }
}
