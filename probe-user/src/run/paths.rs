//! A thread that asks for the probes of paths and hears what became of them. It is no packet loop, and nothing that it waits for is measured.

use crate::{
    base::{Nanos, TargetIndex},
    path::{Path, Tracer},
    worker::{Ask, Asks, Common, Phase, Queue},
};
use crossbeam::channel::{Receiver, Sender, TrySendError};
use std::{
    collections::HashSet,
    io,
    ops::Range,
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
/// Beside probes that come due nobody waits for a path.
const LOOK_BESIDE: Duration = Duration::from_millis(5);
/// Probes asked for between two looks.
const ASKED_AT_ONCE: usize = 1_024;
/// After the end has been asked for, paths wait so long for a reader that takes none.
const READER_WAITED_FOR: Duration = Duration::from_secs(3);
/// Between two looks whether a target has an address now.
const NAMES_LOOKED_AT: Nanos = Nanos::from_secs(1);

/// Which paths are to be found, and where they go.
pub(crate) struct Paths {
    /// Each with the targets that are its own.
    pub(crate) tracers: Vec<(Range<u32>, Tracer)>,
    /// Bounded: while it is full, no further target is begun. Once nobody is there to receive, the job ends.
    pub(crate) found: Sender<Path>,
    /// While this is set, nothing is asked for.
    pub(crate) is_paused: Arc<AtomicBool>,
    /// Where they are found beside probes that come due.
    pub(crate) beside: Option<Beside>,
}

/// Paths that are kept beside probes that come due.
pub(crate) struct Beside {
    /// Those whose path is to be found at once.
    pub(crate) at_once: Receiver<TargetIndex>,
    /// Those that had no address yet.
    pub(crate) unresolved: Vec<TargetIndex>,
    /// Those whose path is to be found no more.
    pub(crate) given_up: Receiver<TargetIndex>,
}

/// Begins to ask. It ends when all paths have been found, or when the job is to end, and has the loops end then.
pub(super) fn begin(paths: Paths, common: Arc<Common>, settled: Queue) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("paths".into()).spawn(move || {
        Asking { paths, common, settled, moved: Instant::now(), names_looked_at: Nanos::ZERO }.run();
    })
}

struct Asking {
    paths: Paths,
    common: Arc<Common>,
    settled: Queue,
    /// When a path was taken last.
    moved: Instant,
    names_looked_at: Nanos,
}

impl Asking {
    fn run(mut self) {
        loop {
            let settled = self.hear();
            self.begin_at_once();
            let asked = self.ask();
            let is_taken = self.hand_out();
            if self.common.phase() != Phase::Run {
                self.paths.tracers.iter_mut().for_each(|(_, tracer)| tracer.stop());
                let is_handed_out = self.paths.tracers.iter().all(|(_, tracer)| tracer.is_handed_out());
                if self.settled.is_closed() && self.settled.is_empty() && (is_handed_out || !is_taken) {
                    return;
                }
                if self.moved.elapsed() > READER_WAITED_FOR && self.settled.is_closed() {
                    return;
                }
            }
            if !is_taken && self.paths.beside.is_some() {
                return;
            }
            let is_done = self.paths.beside.is_none() && self.paths.tracers.iter().all(|(_, tracer)| tracer.is_done());
            if !is_taken || is_done || self.common.phase() == Phase::Abort {
                return self.common.ask(Phase::Drain);
            }
            if settled + asked == 0 {
                thread::sleep(self.pause());
            }
        }
    }

    /// While something is in flight it may be settled at any time.
    fn pause(&self) -> Duration {
        if self.paths.beside.is_some() {
            return LOOK_BESIDE;
        }
        let next = self.paths.tracers.iter().filter_map(|(_, tracer)| tracer.next_at()).min();
        match next {
            Some(at) if self.in_flight() == 0 => Duration::from_nanos((at - super::now()).0).clamp(LOOK, LONGEST_LOOK),
            _ => LOOK,
        }
    }

    fn in_flight(&self) -> u64 {
        self.paths.tracers.iter().map(|(_, tracer)| tracer.in_flight()).sum()
    }

    fn tracer(&mut self, target: TargetIndex) -> Option<&mut Tracer> {
        let mut tracers = self.paths.tracers.iter_mut();
        tracers.find(|(targets, _)| targets.contains(&target.0)).map(|(_, tracer)| tracer)
    }

    /// Hears what became of probes. How many.
    fn hear(&mut self) -> usize {
        let mut many = 0;
        while let Some(settlement) = self.settled.pop() {
            if let Some(tracer) = self.tracer(settlement.target) {
                tracer.settled(&settlement);
            }
            many += 1;
        }
        many
    }

    /// Has those begun that are wanted at once, and those whose name resolves now, and others no more.
    fn begin_at_once(&mut self) {
        let Some(beside) = &mut self.paths.beside else { return };
        let given_up: HashSet<TargetIndex> = beside.given_up.try_iter().collect();
        let wanted: Vec<TargetIndex> = beside.at_once.try_iter().collect();
        beside.unresolved.retain(|target| !given_up.contains(target));
        let now = super::now();
        let mut resolved = Vec::new();
        if !beside.unresolved.is_empty() && now - self.names_looked_at >= NAMES_LOOKED_AT {
            self.names_looked_at = now;
            let ledger = &self.common.ledger;
            resolved = beside.unresolved.extract_if(.., |target| ledger.account(*target).address().is_some()).collect();
        }
        for target in wanted {
            if let Some(tracer) = self.tracer(target) {
                tracer.begin_at_once(target);
            }
        }
        for target in resolved {
            if let Some(tracer) = self.tracer(target) {
                tracer.add(target);
            }
        }
        if !given_up.is_empty() {
            self.paths.tracers.iter_mut().for_each(|(_, tracer)| tracer.remove(&given_up));
        }
    }

    /// Asks for what is to be sent now. How many.
    fn ask(&mut self) -> usize {
        if self.common.phase() != Phase::Run || self.paths.found.is_full() || self.paths.is_paused.load(Relaxed) {
            return 0;
        }
        let now = super::now();
        let room = self.common.asks.iter().map(Asks::room).min().unwrap_or(0);
        // What becomes of each there is room to tell.
        let in_flight = usize::try_from(self.in_flight()).unwrap_or(usize::MAX);
        let mut room = room.min(self.settled.capacity().saturating_sub(in_flight)).min(ASKED_AT_ONCE);
        let most = room;
        for (_, tracer) in &mut self.paths.tracers {
            while room > 0
                && let Some((target, number)) = tracer.next(now)
            {
                // There is room: nobody else asks.
                let sender = self.common.ledger.account(target).sender();
                let _has_room = self.common.asks[sender].put(Ask { target, number });
                room -= 1;
            }
        }
        most - room
    }

    /// Hands out what has been found. False: nobody takes it any more.
    fn hand_out(&mut self) -> bool {
        for (_, tracer) in &mut self.paths.tracers {
            while !self.paths.found.is_full()
                && let Some(path) = tracer.path()
            {
                self.moved = Instant::now();
                if let Err(TrySendError::Disconnected(_)) = self.paths.found.try_send(path) {
                    return false;
                }
            }
        }
        true
    }
}
