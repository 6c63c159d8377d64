//! Tells people of events: a file of JSON lines, and the log. On a thread of its own, so that a slow disk or a full one holds up
//! nothing else.

use super::{
    Failure,
    followed::{Finding, Followed},
    source::unhealthy_of,
};
use crate::{
    base::{Nanos, RepeatedFault, State, TargetIndex},
    enrich::{Enricher, Known},
    health::{self, Change, Flapping, Unhealthy},
    ledger::{Grown, Ledger},
    path::Path,
    results::{EventLines, Fault, LastHop, NewWay, PathChanged, WallClock, human::counted},
    targets::Epochs,
    worker::{Changes, Transition},
};
use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::Write as _,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Between looks at what has changed.
const TICK: Duration = Duration::from_millis(50);
/// After so long nothing is told any more of who was given up: a path is waited for, for three of the longest timeouts.
const SETTLED: Nanos = Nanos::from_secs(190);
/// Lines of the log about single targets within a second; of more only the number is told.
const LINES: usize = 10;
const SECOND: Nanos = Nanos::from_secs(1);
/// Lines that are written at once.
const AT_ONCE: usize = 4_096;

/// What the journal needs to know.
pub(super) struct Parts {
    pub(super) epochs: Epochs,
    pub(super) ledger: Arc<Ledger>,
    pub(super) changes: Arc<Changes>,
    pub(super) clock: WallClock,
    pub(super) vantage: Option<String>,
    /// Flapping targets, by row of the ledger.
    pub(super) flapping: Arc<Grown<AtomicU64>>,
    /// Unhealthy targets.
    pub(super) unhealthy: Arc<Mutex<Unhealthy>>,
    /// Knows names and networks of targets, if any are wanted.
    pub(super) enricher: Arc<Enricher>,
    /// Where it is told at which hop the paths to targets that are down end, for whoever wakes somebody.
    pub(super) ends: Option<crossbeam::channel::Sender<(TargetIndex, String)>>,
    /// Paths that are kept.
    pub(super) followed: Option<Followed>,
}

/// What is told beside changes of state.
enum News {
    Fault(Fault),
    NewWay(NewWay),
    GivenUp(Vec<u32>),
}

/// Where a journal is told of what has changed in the plan.
pub(super) struct Teller(Sender<News>);

impl Teller {
    /// Tells of slots whose targets are given up.
    pub(super) fn given_up(&self, slots: Vec<u32>) {
        // The thread ends after us only.
        let _gone = self.0.send(News::GivenUp(slots));
    }
}

/// A journal at work.
pub(super) struct Journal {
    news: Sender<News>,
    thread: JoinHandle<()>,
}

impl Journal {
    /// Begins to write; into a file only if there is a path.
    ///
    /// # Errors
    /// The file can't be opened for appending.
    pub(super) fn open(path: Option<&std::path::Path>, mut parts: Parts) -> Result<Self, Failure> {
        let file = path.map(EventFile::open).transpose()?;
        let (news, told) = channel();
        let lines = EventLines::new(parts.epochs.plan(), parts.clock).at(parts.vantage.take());
        let log = Log { second: Nanos::ZERO, lines: 0, more: 0, more_down: 0 };
        let writer = Writer {
            parts,
            lines,
            file,
            followed_at: None,
            flapping: Flapping::default(),
            rows: HashMap::new(),
            log,
            out: Vec::new(),
            calmed: Nanos::ZERO,
            lost: 0,
        };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || writer.run(&told))?;
        Ok(Self { news, thread })
    }

    /// For whoever has targets given up.
    pub(super) fn teller(&self) -> Teller {
        Teller(self.news.clone())
    }

    /// Tells of a local fault.
    pub(super) fn fault(&self, fault: Fault) {
        // The thread ends after us only.
        let _gone = self.news.send(News::Fault(fault));
    }

    /// Tells of a change in how targets are probed.
    pub(super) fn new_way(&self, way: NewWay) {
        let _gone = self.news.send(News::NewWay(way));
    }

    /// Writes what is left, and ends.
    pub(super) fn close(self) {
        drop(self.news);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

struct Writer {
    parts: Parts,
    lines: EventLines,
    file: Option<EventFile>,
    /// When the plan in force was taken over, as long as the one before is kept.
    followed_at: Option<Nanos>,
    flapping: Flapping,
    /// In which rows of the ledger flapping targets are counted.
    rows: HashMap<TargetIndex, usize>,
    log: Log,
    out: Vec<u8>,
    calmed: Nanos,
    /// Changes of state that were lost until unhealthy targets were last looked for.
    lost: u64,
}

impl Writer {
    fn run(mut self, news: &Receiver<News>) {
        loop {
            let told = news.recv_timeout(TICK);
            // What the loops said before the fault comes before it.
            self.changes();
            if let Ok(news) = &told {
                match news {
                    News::Fault(fault) => self.lines.fault(fault, &mut self.out),
                    News::NewWay(way) => self.lines.new_way(way, &mut self.out),
                    News::GivenUp(slots) => self.forget(slots),
                }
                self.write(1);
            }
            self.paths(super::now());
            self.calm(super::now());
            if self.followed_at.is_some_and(|at| super::now() - at >= SETTLED) {
                self.followed_at = None;
                self.lines.forget_those_before();
            }
            if matches!(told, Err(RecvTimeoutError::Disconnected)) {
                self.paths(Nanos::MAX);
                self.log.close();
                return;
            }
        }
    }

    fn forget(&mut self, slots: &[u32]) {
        for target in slots.iter().map(|slot| TargetIndex(*slot)) {
            self.flapping.forget(target);
            if let Some(row) = self.rows.remove(&target) {
                self.parts.flapping[row].fetch_sub(1, Relaxed);
            }
        }
    }

    fn changes(&mut self) {
        let plan = self.parts.epochs.plan();
        if !Arc::ptr_eq(&plan, self.lines.plan()) {
            // Groups have other places there: who is unhealthy is found again.
            *held(&self.parts.unhealthy) = unhealthy_of(&plan);
            self.lost = u64::MAX;
            self.lines.follow(plan);
            self.followed_at = Some(super::now());
        }
        loop {
            let mut events = 0;
            while events < AT_ONCE as u64
                && let Some(transition) = self.parts.changes.pop()
            {
                events += 1;
                // What it waits to be told of comes first.
                let waited = self.parts.followed.as_mut().and_then(|followed| followed.release(transition.target));
                if let Some(waited) = waited {
                    self.state(&waited, None);
                }
                let followed = self.parts.followed.as_mut().filter(|_| transition.to == State::Down);
                let is_held = followed.is_some_and(|followed| followed.hold(transition, super::now()));
                if !is_held {
                    self.state(&transition, None);
                }
                self.unhealthy(&transition);
                events += self.flaps(&transition);
            }
            if events == 0 {
                return;
            }
            self.write(events);
        }
    }

    /// Tells of a change of state; where a path has been found since, with its end.
    fn state(&mut self, transition: &Transition, end: Option<&LastHop>) {
        let address = self.parts.ledger.account(transition.target).address();
        let known = self.known(address);
        if let (Some(ends), Some(end)) = (&self.parts.ends, end) {
            // Where nobody keeps up, it is not said.
            let _full = ends.try_send((transition.target, end.to_string()));
        }
        let end = end.map(|end| (end, self.known(end.at.map(|(_, address)| address))));
        let with_known = end.as_ref().map(|(end, known)| (*end, known));
        self.lines.state(transition, (address, &known), with_known, &mut self.out);
        // That everybody comes up at the start is no news.
        if transition.to == State::Down || transition.from == State::Down {
            let (lines, state) = (&self.lines, transition.to.name());
            self.log.tell(transition, || {
                let name = lines.name(transition.target, address);
                end.map_or_else(|| format!("{name} is {state}"), |(end, _)| format!("{name} is {state}: {end}"))
            });
        }
    }

    /// Looks at the paths that have been found, and at who has waited for one long enough.
    fn paths(&mut self, now: Nanos) {
        let mut events = 0;
        while events < AT_ONCE as u64
            && let Some(path) = self.parts.followed.as_mut().and_then(Followed::next)
        {
            events += self.path(&path);
        }
        while let Some(waited) = self.parts.followed.as_mut().and_then(|followed| followed.given_up(now)) {
            self.state(&waited, None);
            events += 1;
        }
        self.write(events);
    }

    /// Tells what a path says. How many events that is.
    fn path(&mut self, path: &Path) -> u64 {
        let ledger = Arc::clone(&self.parts.ledger);
        let (Some(followed), Some(address)) = (&mut self.parts.followed, ledger.account(path.target).address()) else {
            return 0;
        };
        let row = followed.target(path).map_or(0, |target| ledger.account(target).row());
        let (found, down) = followed.look(path, address, row as usize);
        let mut events = 0;
        if let Some(Finding::Down(transition, end)) = down {
            self.state(&transition, Some(&end));
            events += 1;
        }
        if let Finding::Changed { target, at, flow, change } = found {
            let known = self.known(Some(address));
            let enricher = &self.parts.enricher;
            let of_hop = |address| {
                enricher.ask(address);
                enricher.known(address)
            };
            let changed = PathChanged { target, at, flow, change: &change };
            self.lines.path_changed(&changed, (Some(address), &known), &of_hop, &mut self.out);
            tracing::debug!("{}: its path changed at hop {}", self.lines.name(target, Some(address)), change.ttl);
            events += 1;
        }
        events
    }

    /// The place of a target's group in the plan in force.
    fn group_of(&self, target: TargetIndex) -> Option<usize> {
        let plan = self.lines.plan();
        plan.has(target).then(|| plan.group_of(target)).flatten()
    }

    /// Who goes down is unhealthy, and who comes up begins to be well.
    fn unhealthy(&self, transition: &Transition) {
        if transition.to == State::Down || transition.from == State::Down {
            let Some(group) = self.group_of(transition.target) else { return };
            held(&self.parts.unhealthy).down(transition.target, group, transition.to == State::Down, transition.at);
        }
    }

    /// Changes of state that found their queue full, and targets that found no room among the unhealthy: their accounts tell.
    fn find_unhealthy(&mut self, now: Nanos) {
        let plan = Arc::clone(self.lines.plan());
        let Parts { ledger, changes, unhealthy, .. } = &self.parts;
        let lost = std::mem::replace(&mut self.lost, changes.dropped()) != self.lost;
        held(unhealthy).calm(now);
        for (place, group) in plan.groups.iter().enumerate() {
            let is_wanted = held(unhealthy).wants(place);
            if !is_wanted || !(held(unhealthy).misses(place) || lost) {
                continue;
            }
            let is_down = |target| ledger.account(target).shown().state == State::Down;
            for target in held(unhealthy).held_down(place) {
                held(unhealthy).down(target, place, is_down(target), now);
            }
            // Without the lock while many are looked at that are well.
            for target in plan.members(group).filter(|target| is_down(*target)) {
                held(unhealthy).down(target, place, true, now);
            }
        }
    }

    /// Looks whether a change of state makes its target a flapping one; returns how many events that is.
    fn flaps(&mut self, transition: &Transition) -> u64 {
        if [transition.from, transition.to].iter().any(|state| !matches!(state, State::Up | State::Down)) {
            return 0;
        }
        let target = transition.target;
        let plan = self.lines.plan();
        if !plan.has(target) {
            return 0;
        }
        let group = plan.group_of(target).map(|group| &plan.groups[group]);
        let window = group.map_or(SECOND, |group| health::window(group.interval, group.down_after));
        let Some(change) = self.flapping.changed(target, transition.at, window) else { return 0 };
        self.flap(&change, transition.at);
        1
    }

    fn flap(&mut self, change: &Change, at: Nanos) {
        let address = self.parts.ledger.account(change.target).address();
        let row = self.parts.ledger.account(change.target).row() as usize;
        if change.flapping {
            while self.parts.flapping.len() <= row {
                self.parts.flapping.push(AtomicU64::new(0));
            }
            self.parts.flapping[row].fetch_add(1, Relaxed);
            self.rows.insert(change.target, row);
        } else if let Some(row) = self.rows.remove(&change.target) {
            self.parts.flapping[row].fetch_sub(1, Relaxed);
        }
        let is = if change.flapping { "is flapping" } else { "is no longer flapping" };
        tracing::debug!("{} {is}", self.lines.name(change.target, address));
        if let Some(group) = self.group_of(change.target) {
            held(&self.parts.unhealthy).flapping(change.target, group, change.flapping, at);
        }
        let known = self.known(address);
        self.lines.flapping(change, at, address, &known, &mut self.out);
    }

    /// What is known of an address by now; of one that an event has named before, mostly all. At the start everybody comes up.
    fn known(&self, address: Option<IpAddr>) -> Known {
        let Some(address) = address else { return Known::default() };
        self.parts.enricher.ask(address);
        self.parts.enricher.known(address)
    }

    /// Who has calmed down.
    fn calm(&mut self, now: Nanos) {
        if now - self.calmed < SECOND {
            return;
        }
        self.calmed = now;
        self.log.turn(now);
        let mut calmed = Vec::new();
        self.flapping.calmed(now, |change| calmed.push(change));
        calmed.iter().for_each(|change| self.flap(change, now));
        self.write(calmed.len() as u64);
        self.find_unhealthy(now);
    }

    fn write(&mut self, events: u64) {
        if let Some(file) = &mut self.file
            && !file.write(&self.out)
        {
            self.parts.changes.lose(events);
        }
        self.out.clear();
    }
}

fn held(unhealthy: &Mutex<Unhealthy>) -> MutexGuard<'_, Unhealthy> {
    unhealthy.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines about single targets, no more than so many a second.
struct Log {
    second: Nanos,
    lines: usize,
    more: u64,
    more_down: u64,
}

impl Log {
    fn tell(&mut self, transition: &Transition, line: impl FnOnce() -> String) {
        if self.lines < LINES {
            self.lines += 1;
            tracing::info!("{}", line());
        } else {
            self.more += 1;
            self.more_down += u64::from(transition.to == State::Down);
        }
    }

    /// A second has passed.
    fn turn(&mut self, now: Nanos) {
        if now - self.second >= SECOND {
            self.close();
            (self.second, self.lines) = (now, 0);
        }
    }

    fn close(&mut self) {
        let (more, down) = (std::mem::take(&mut self.more), std::mem::take(&mut self.more_down));
        if more > 0 {
            let (up, down) = (counted(more - down, "target"), counted(down, "target"));
            tracing::info!("further changes of state: {down} down, {up} up");
        }
    }
}

/// The file. What can't be written is gone; that is told when it begins, every 5 minutes, and once that it works again.
struct EventFile {
    path: PathBuf,
    file: File,
    failed: RepeatedFault,
}

impl EventFile {
    fn open(path: &std::path::Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let failure = |error| {
            Failure::new(format!(
                "events can't be appended to {}: {error}. Name another file with --events, or with `events` in the configuration",
                path.display()
            ))
        };
        Ok(Self { path: path.to_owned(), file: file.map_err(failure)?, failed: RepeatedFault::default() })
    }

    /// False where not all of it could be written.
    fn write(&mut self, text: &[u8]) -> bool {
        if text.is_empty() {
            return true;
        }
        // A write that failed may have left the beginning of a line.
        let began = if self.failed.lasts() { self.file.write_all(b"\n") } else { Ok(()) };
        let written = began.and_then(|()| self.file.write_all(text));
        match &written {
            Err(error) => {
                if let Some(times) = self.failed.happened(super::now()) {
                    let path = self.path.display();
                    tracing::error!("{path}: {error}: events are lost until it can be written again{times}");
                }
            }
            Ok(()) => {
                if self.failed.over().is_some() {
                    tracing::info!("{}: events are written again", self.path.display());
                }
            }
        }
        written.is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_full_disk_loses_events_and_nothing_else() {
        let mut file = EventFile::open(std::path::Path::new("/dev/full")).unwrap();
        assert!(file.write(b""), "nothing is always written");
        assert!(!file.write(b"{}\n"));
        assert!(file.failed.lasts() && !file.write(b"{}\n"));
        // The disk has room again.
        let path = std::env::temp_dir().join(format!("echolot-events-{}", std::process::id()));
        file.file = EventFile::open(&path).unwrap().file;
        assert!(file.write(b"{}\n") && !file.failed.lasts());
        assert_eq!(std::fs::read(&path).unwrap(), b"\n{}\n", "a line that was torn is ended first");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_is_named() {
        let error = EventFile::open(std::path::Path::new("/no/such/folder/events")).map(|_| ()).unwrap_err();
        assert!(error.message.contains("/no/such/folder/events"), "{error}");
    }
}
