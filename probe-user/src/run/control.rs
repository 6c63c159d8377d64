//! A worker at work: the thread beside it that looks at everything, until all is done; and the end.

use super::{
    Failure, Moment, Notifier, Signals, Source, View,
    alerts::Alerting,
    asked::Asked,
    asleep::Asleep,
    bond::Following,
    carried::Carried,
    holding::{self, FaultDetector},
    journal::Journal,
    threads::Running,
    ways::Rerouting,
    writing,
};
use crate::{
    base::{Nanos, RepeatedFault},
    http::HttpError,
    ledger::unheard::DropLog,
    metrics::Source as _,
    nic::{DropSampler, NeighbourThread, Nic, SourcePorts},
    results::{Summary, Writing},
    route::{Hops, LinkState, RouteError},
    worker::{Common, Phase},
};
use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, task::JoinHandle, time::MissedTickBehavior};

/// Between looks at drop counters, views and loops.
const TICK: Duration = Duration::from_millis(50);
/// Someone who stops us and has to wait longer than this is told why.
const WAIT_TOLD: Nanos = Nanos::from_secs(2);

/// A worker at work, and all beside it that is not packets.
pub(super) struct Station {
    /// Name of the interface that probes leave by.
    pub(super) interface: String,
    pub(super) hops: Arc<Hops>,
    /// Probes a second that are asked for.
    pub(super) rate: u64,
    pub(super) for_ever: bool,
    /// Where the summary goes.
    pub(super) summary: Option<PathBuf>,
    /// Each target is sent a number of probes, and all is done once those are settled.
    pub(super) is_bounded: bool,
    pub(super) common: Arc<Common>,
    /// The longest timeout.
    pub(super) longest: Nanos,
    pub(super) link: Arc<LinkState>,
    pub(super) notifier: Notifier,
    /// Held for their drop.
    pub(super) ports: Option<SourcePorts>,
    pub(super) nic: Nic,
    /// Held for its drop.
    pub(super) neighbours: Option<NeighbourThread>,
    pub(super) sampler: DropSampler,
    pub(super) drops: Arc<DropLog>,
    pub(super) source: Arc<Source>,
    pub(super) following: Following,
    /// Neighbours and link: ends with an error only.
    pub(super) watching: JoinHandle<RouteError>,
    pub(super) rerouting: Rerouting,
    /// Looks up names that do not resolve yet, and reloads.
    pub(super) retrying: JoinHandle<()>,
    pub(super) running: Running,
    pub(super) journal: Option<Journal>,
    pub(super) alerts: Option<Alerting>,
    pub(super) writing: Option<Writing>,
    /// Asks for the probes of paths.
    pub(super) paths: Option<std::thread::JoinHandle<()>>,
    pub(super) serving: Option<Serving>,
    pub(super) signals: Signals,
}

/// The HTTP server.
pub(super) struct Serving {
    pub(super) server: oneshot::Receiver<Result<(), HttpError>>,
    /// Dropped, it tells the server to end.
    pub(super) stop: oneshot::Sender<()>,
}

impl Station {
    /// Until the job is done or a signal ends it. Returns what came of it.
    pub(super) async fn control(mut self, view: &mut dyn View) -> Result<Summary, Failure> {
        self.look_after(view).await;
        self.end(view).await
    }

    async fn look_after(&mut self, view: &mut dyn View) {
        let (mut faults, mut asleep, mut carried) = (FaultDetector::default(), Asleep::new(), Carried::default());
        let mut unread = RepeatedFault::default();
        let mut asked = Asked::listen(&self.drops);
        if let Err(error) = &asked {
            tracing::warn!("losses are found up to {} ms late: {error}", TICK.as_millis());
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watched = true;
        while !self.running.is_finished() {
            let is_tick = tokio::select! {
                _ = tick.tick() => true,
                () = due(&asked) => false,
                () = self.following.changed(&mut self.nic) => continue,
                () = self.signals.next() => {
                    self.asked_to_end();
                    true
                }
                way = self.rerouting.changed() => {
                    if let Some(journal) = &self.journal {
                        journal.new_way(way);
                    }
                    true
                }
                error = &mut self.watching, if watched => {
                    // The loops go on with what is known; people are told.
                    let error = error.map_or_else(|error| error.to_string(), |error| error.to_string());
                    tracing::error!("neighbours and link are no longer watched: {error}");
                    watched = false;
                    true
                }
            };
            // Before the drops: once those have been noted, what nobody answered is judged.
            if let Some(slept) = asleep.look(&self.link) {
                tracing::warn!("this machine slept for {slept}: probes of that time are unheard");
            }
            let begun = Instant::now();
            match self.sampler.sample(&self.drops) {
                Err(error) => {
                    if let Some(times) = unread.happened(super::now()) {
                        tracing::error!("{error}{times}");
                    }
                }
                Ok(_) => {
                    if unread.over().is_some() {
                        tracing::info!("drop counters can be read again");
                    }
                }
            }
            if let Ok(asked) = &mut asked {
                asked.has_read(begun);
            }
            if !is_tick {
                continue;
            }
            self.notifier.looked();
            self.nic.look(&mut self.sampler);
            self.following.now_on(&self.nic);
            self.source.sampled(&self.sampler);
            self.source.attached(self.nic.info());
            let due_and_refused = self.common.due_and_refused();
            faults.look(&self.interface, &self.link, &self.hops, due_and_refused, super::now(), |fault| {
                holding::tell(&fault);
                if let Some(journal) = &self.journal {
                    journal.fault(fault);
                }
            });
            self.source.held(faults.held());
            carried.look(&self.interface, &self.common, self.rate, self.is_bounded, super::now());
            if self.writing.as_ref().is_some_and(Writing::reader_gone) && !self.for_ever {
                self.common.ask(Phase::Drain);
            }
            view.tick(&self.source);
        }
    }

    /// What is in flight is waited for; asked again, it is not.
    fn asked_to_end(&self) {
        let first = self.common.phase() == Phase::Run;
        if first {
            self.notifier.ends();
        }
        if first && self.longest > WAIT_TOLD {
            tracing::info!("waiting up to {} for what is in flight; the same again ends that", self.longest);
        }
        self.common.ask(if first { Phase::Drain } else { Phase::Abort });
    }

    async fn end(self, view: &mut dyn View) -> Result<Summary, Failure> {
        let Self { common, source, mut sampler, mut signals, .. } = self;
        self.running.join()?;
        if let Some(Err(panic)) = self.paths.map(std::thread::JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        self.retrying.abort();
        // It may be told to the journal from there, which waits for all who could.
        let _aborted = self.retrying.await;
        if let Some(journal) = self.journal {
            journal.close();
        }
        if let Some(alerts) = self.alerts {
            alerts.close();
        }
        if let Err(error) = sampler.sample_all(&self.drops) {
            tracing::error!("{error}");
        }
        source.sampled(&sampler);
        drop((self.nic, self.neighbours, self.ports));
        let serving = self.serving.map(|Serving { server, stop }| {
            drop(stop);
            server
        });
        // The writer may have much to write still; HTTP may have a scrape to finish. Neither waits for the other.
        let report = match self.writing {
            Some(writing) => Some(writing::end(writing, common.phase() != Phase::Run, &mut signals).await),
            None => None,
        };
        if let Some(serving) = serving {
            // The thread has told so, unless it panicked, which it has told as well.
            serving.await.unwrap_or(Ok(()))?;
        }
        let snapshot = source.snapshot();
        let dropped = report.as_ref().map_or(0, |report| report.dropped);
        let targets = source.plan().many() as u64;
        let (drops, interface) = (source.drops(), source.interface());
        let shown = source.plan();
        let answered = common.ledger.answered_targets(shown.groups.iter().flat_map(|group| shown.members(group)));
        let summary = Summary::new(&snapshot, &drops, &interface, targets, answered, dropped).asking(shown.probe());
        view.end(&summary, &Moment { source: &source, snapshot: &snapshot });
        if let Some(path) = &self.summary {
            summary.write(path)?;
        }
        Ok(summary)
    }
}

/// Whether somebody waits for what the counters of drops say; never where nobody can be heard.
async fn due(asked: &io::Result<Asked>) {
    match asked {
        Ok(asked) => asked.due().await,
        Err(_) => std::future::pending().await,
    }
}
