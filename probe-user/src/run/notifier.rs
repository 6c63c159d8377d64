//! What systemd is told (sd_notify(3)): that `run` is ready, reloads or ends, how it fares, and that it is alive.
//!
//! A thread of its own tells it, so nobody waits for a manager that doesn't read. It is ready once probes are under way, or once it waits
//! for its first target: a source that is down is no failed start. It is alive while all loops go on; while nothing is to be sent yet; and
//! while it ends, for which the manager has a bound of its own. A machine without a link is alive: its loops go on.

use crate::{
    base::{Nanos, RepeatedFault, State, in_background},
    health::Hold,
    ledger::Snapshot,
    nic::MonotonicClock,
    results::human::{count, counted},
    worker::{Common, Progress, STANDS},
};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use sd_notify::NotifyState;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Between looks; sooner where the watchdog wants to hear more often.
const LOOK: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(10);
/// Between lines that say how it fares.
const STATUS: Nanos = Nanos::from_secs(10);

/// Tells the service manager, where there is one.
#[derive(Clone, Default)]
pub(crate) struct Notifier(Option<Arc<Told>>);

struct Told {
    words: Sender<Word>,
    /// When the control thread last looked after everything.
    looked_at: AtomicU64,
}

enum Word {
    Waits,
    Probes(Box<Probing>),
    Reloads,
    Reloaded,
    Ends,
}

/// The sums, and how many targets there are.
type Look = Box<dyn Fn() -> (Snapshot, usize) + Send>;

/// Loops at work.
struct Probing {
    common: Arc<Common>,
    look: Look,
    progress: Progress,
    /// When how it fares was last said, and how many probes there had been by then.
    before: (Nanos, u64),
}

impl Notifier {
    /// As the environment says; whoever started us otherwise is told nothing.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn of_environment() -> std::io::Result<Self> {
        if std::env::var_os("NOTIFY_SOCKET").is_none_or(|path| path.is_empty()) {
            return Ok(Self::default());
        }
        let (words, heard) = unbounded();
        let told = Arc::new(Told { words, looked_at: AtomicU64::new(super::now().0) });
        let watchdog = sd_notify::watchdog_enabled().map(|within| Nanos::from(within / 2));
        let thread = Thread {
            told: Arc::downgrade(&told),
            watchdog,
            stage: Stage::Starting,
            told_at: Nanos::ZERO,
            status: String::new(),
            unheard: RepeatedFault::default(),
            stands: RepeatedFault::default(),
        };
        // Nobody joins it: the manager may not read.
        in_background("notifier", move || thread.work(&heard))?;
        Ok(Self(Some(told)))
    }

    /// There is no target yet.
    pub(crate) fn waits(&self) {
        self.say(|| Word::Waits);
    }

    /// Probes are under way.
    pub(super) fn probes(&self, common: &Arc<Common>, look: impl Fn() -> (Snapshot, usize) + Send + 'static) {
        self.looked();
        self.say(|| {
            let progress = Progress::new(common, &MonotonicClock);
            let (common, look) = (Arc::clone(common), Box::new(look));
            Word::Probes(Box::new(Probing { common, look, progress, before: (super::now(), 0) }))
        });
    }

    /// The control thread has looked after everything.
    pub(super) fn looked(&self) {
        if let Some(told) = &self.0 {
            told.looked_at.store(super::now().0, Relaxed);
        }
    }

    /// The configuration is read again.
    pub(super) fn reloads(&self) {
        self.say(|| Word::Reloads);
    }

    /// It has been, well or not.
    pub(super) fn reloaded(&self) {
        self.say(|| Word::Reloaded);
    }

    /// No more is sent, and what is in flight is waited for.
    pub(super) fn ends(&self) {
        self.say(|| Word::Ends);
    }

    fn say(&self, word: impl FnOnce() -> Word) {
        if let Some(told) = &self.0 {
            // The thread has panicked, which has been told.
            let _gone = told.words.send(word());
        }
    }
}

/// How far it has come.
enum Stage {
    Starting,
    Waiting,
    Probing(Box<Probing>),
    Ending,
}

struct Thread {
    told: std::sync::Weak<Told>,
    /// How often the watchdog wants to hear; None where there is none.
    watchdog: Option<Nanos>,
    stage: Stage,
    /// When the watchdog was last told.
    told_at: Nanos,
    status: String,
    unheard: RepeatedFault,
    stands: RepeatedFault,
}

impl Thread {
    fn work(mut self, words: &Receiver<Word>) {
        let look = self.watchdog.map_or(LOOK, |often| Duration::from_nanos(often.0 / 2).clamp(SHORTEST, LOOK));
        loop {
            match words.recv_timeout(look) {
                Ok(word) => self.hear(word),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look(super::now());
        }
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Waits => {
                self.stage = Stage::Waiting;
                self.status = "Waiting for a source of targets that has some".to_owned();
                self.tell(&[NotifyState::Ready, NotifyState::Status(&self.status.clone())]);
            }
            Word::Probes(mut probing) => {
                self.status = probing.status(super::now());
                self.stage = Stage::Probing(probing);
                self.tell(&[NotifyState::Ready, NotifyState::Status(&self.status.clone())]);
            }
            Word::Reloads => {
                let now = i128::from(super::now().0 / 1_000);
                self.tell(&[NotifyState::Reloading, NotifyState::MonotonicUsec(now)]);
            }
            // What was being read is in force, or what was before: how that fares is said.
            Word::Reloaded => self.tell(&[NotifyState::Ready, NotifyState::Status(&self.status.clone())]),
            Word::Ends => {
                self.stage = Stage::Ending;
                self.tell(&[NotifyState::Stopping, NotifyState::Status("Waiting for what is in flight")]);
            }
        }
    }

    fn look(&mut self, now: Nanos) {
        let looked_at = self.told.upgrade().map_or(now, |told| Nanos(told.looked_at.load(Relaxed)));
        let until = match &mut self.stage {
            Stage::Starting => return,
            Stage::Waiting | Stage::Ending => now,
            Stage::Probing(probing) => probing.progress.until(&probing.common, &MonotonicClock).min(looked_at),
        };
        if now - until >= STANDS {
            if let Some(times) = self.stands.happened(now) {
                let what = if until == looked_at { "the control thread" } else { "a packet loop" };
                tracing::error!(
                    "{what} has not gone on for {}: a watchdog is told nothing until it does{times}",
                    now - until
                );
            }
        } else {
            self.stands.over();
            if self.watchdog.is_some_and(|often| now - self.told_at >= often) {
                self.told_at = now;
                self.tell(&[NotifyState::Watchdog]);
            }
        }
        if let Stage::Probing(probing) = &mut self.stage
            && now - probing.before.0 >= STATUS
        {
            let status = probing.status(now);
            if status != self.status {
                self.status = status;
                self.tell(&[NotifyState::Status(&self.status.clone())]);
            }
        }
    }

    fn tell(&mut self, what: &[NotifyState<'_>]) {
        match sd_notify::notify(what) {
            Ok(()) => {
                self.unheard.over();
            }
            Err(error) => {
                if let Some(times) = self.unheard.happened(super::now()) {
                    tracing::warn!("the service manager (NOTIFY_SOCKET) can't be told how this fares: {error}{times}");
                }
            }
        }
    }
}

impl Probing {
    /// Targets, what was sent a second since this was last asked, and what is in the way.
    fn status(&mut self, now: Nanos) -> String {
        let (snapshot, targets) = (self.look)();
        let (since, before) =
            std::mem::replace(&mut self.before, (now, snapshot.sums.iter().map(|row| row.probes).sum()));
        let of = |state: State| snapshot.sums.iter().map(|row| row.states[state as usize]).sum::<u64>();
        status(Fares {
            targets: targets as u64,
            up: of(State::Up),
            down: of(State::Down),
            probes: self.before.1.saturating_sub(before),
            within: now - since,
            held: snapshot.held,
        })
    }
}

/// How it fares.
struct Fares {
    targets: u64,
    up: u64,
    down: u64,
    /// That came due within this time.
    probes: u64,
    within: Nanos,
    held: [bool; Hold::ALL.len()],
}

fn status(Fares { targets, up, down, probes, within, held }: Fares) -> String {
    let mut said = format!("Probing {}", counted(targets, "target"));
    // At the very beginning nobody is anything, and there is no rate.
    if within >= Nanos::from(LOOK) {
        let a_second = u128::from(probes) * 1_000_000_000 / u128::from(within.0);
        said += &format!(
            ", {} a second; {} up, {} down",
            count(u64::try_from(a_second).unwrap_or(u64::MAX)),
            count(up),
            count(down)
        );
    }
    let held: Vec<&str> =
        Hold::ALL.iter().zip(held).filter(|(_, is_held)| *is_held).map(|(reason, _)| reason.name()).collect();
    if !held.is_empty() {
        said += &format!("; states are held: {}", held.join(", "));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_targets_rate_and_what_is_in_the_way() {
        let fares = |seconds: u64, held| {
            let probes = 1_000 * seconds;
            status(Fares { targets: 12_000, up: 11_997, down: 3, probes, within: Nanos::from_secs(seconds), held })
        };
        assert_eq!(fares(0, [false; 3]), "Probing 12,000 targets");
        assert_eq!(fares(10, [false; 3]), "Probing 12,000 targets, 1,000 a second; 11,997 up, 3 down");
        assert_eq!(
            fares(10, [true, false, true]),
            "Probing 12,000 targets, 1,000 a second; 11,997 up, 3 down; states are held: link_down, sending"
        );
    }
}
