//! Has other targets probed while everything runs: by the configuration read anew, or by a plan that somebody else has made.
//!
//! Requests ([`Reloads`]) are dealt with one after the other, on the control runtime; what takes long (reading files, building a plan) is on a
//! thread of its own. Then names that were not there are looked up, and whoever follows the routes adopts it (`ways.rs`).

use super::{
    Failure, Notifier, Source, Starting,
    journal::Teller,
    names,
    requests::{Read, Reloads, Request, Reread, What},
    ways::{Adopted, Adopting, Word},
};
use crate::{
    base::in_background,
    nic,
    results::human::counted,
    targets::{Counts, Epochs, keep_the_same_paths},
    worker::Common,
};
use std::{sync::Arc, time::Instant};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    task::JoinHandle,
};

/// SIGHUP, and what else is asked for, until it is said who deals with it.
pub(super) struct Requests {
    hangup: Signal,
    told: UnboundedReceiver<Request>,
    reloads: Reloads,
}

impl Requests {
    /// From now on SIGHUP is dealt with here, and one that came at the start as well.
    pub(super) fn listen(starting: &Starting) -> Result<Self, Failure> {
        let (reloads, told) = Reloads::new();
        let hangup = signal(SignalKind::hangup())?;
        if starting.hung_up() {
            // Nobody waits for the answer.
            let _asked = reloads.put(What::Again);
        }
        Ok(Self { hangup, told, reloads })
    }

    pub(super) fn reloads(&self) -> Reloads {
        self.reloads.clone()
    }
}

/// What reloading needs to know.
pub(super) struct Parts {
    pub(super) read: Read,
    pub(super) common: Arc<Common>,
    pub(super) epochs: Epochs,
    pub(super) source: Arc<Source>,
    pub(super) words: UnboundedSender<Word>,
    /// The interface that was named.
    pub(super) interface: Option<String>,
    /// Looks up names that did not resolve.
    pub(super) retrying: JoinHandle<()>,
    pub(super) journal: Option<Teller>,
    pub(super) notifier: Notifier,
}

/// Deals with requests, one after the other, until it is dropped.
pub(super) async fn serve(mut parts: Parts, requests: Requests) {
    let Requests { mut hangup, mut told, reloads } = requests;
    // Somebody may ask for as long as we are here.
    let _reloads = reloads;
    loop {
        let (what, answer) = tokio::select! {
            _ = hangup.recv() => (What::Again, None),
            request = told.recv() => match request {
                Some(Request { what, answer }) => (what, Some(answer)),
                None => return,
            },
        };
        let begun = Instant::now();
        let is_again = matches!(what, What::Again);
        if is_again {
            parts.notifier.reloads();
        }
        let done = parts.reload(what).await;
        if is_again {
            parts.notifier.reloaded();
        }
        match &done {
            Ok(Some(Counts { kept, new, given_up, changed })) => tracing::info!(
                "{} in {:.1?}: {} as before, {new} new, {given_up} given up, {changed} begun anew",
                if is_again { "reloaded" } else { "took over a change of targets" },
                begun.elapsed(),
                counted(*kept as u64, "target"),
            ),
            // Who adopts a change says it.
            Err(why) if is_again => tracing::error!("not reloaded, all goes on as before: {why}"),
            _ => {}
        }
        if let Some(answer) = answer {
            // Who asked may have gone.
            let _gone = answer.send(done.map(Option::unwrap_or_default));
        }
    }
}

impl Parts {
    async fn reload(&mut self, what: What) -> Result<Option<Counts>, String> {
        let done = self.try_reload(what).await;
        match &done {
            Ok(Some((_, hash))) => self.source.reloaded(*hash),
            Ok(None) => {}
            Err(_) => self.source.not_reloaded(),
        }
        done.map(|done| done.map(|(counts, _)| counts))
    }

    async fn try_reload(&mut self, what: What) -> Result<Option<(Counts, u64)>, String> {
        let reread = match what {
            What::Adopt(make) => aside(make).await??,
            What::Again => Some(self.read().await?),
        };
        let Some(Reread { mut plan, exclude, hash, adopted }) = reread else { return Ok(None) };
        plan.is_open = true;
        keep_the_same_paths(&self.epochs.plan(), &plan)?;
        names::zone_of(&plan, self.interface.as_deref()).map_err(|error| error.to_string())?;
        names::resolve_new(&mut plan, &self.epochs.plan(), &exclude).await.map_err(|error| error.to_string())?;
        let (answer, answered) = oneshot::channel();
        let ended = |_| "whoever follows the routes has ended".to_owned();
        self.words.send(Word::Adopt(Box::new(Adopting { plan, answer }))).map_err(|_| ended(()))?;
        let Adopted { counts, given_up } = answered.await.map_err(|_| ended(()))??;
        if let Some(journal) = &self.journal {
            journal.given_up(given_up);
        }
        self.retrying.abort();
        let retries = names::retry(&self.epochs.plan(), &self.common, self.words.clone(), exclude);
        self.retrying = tokio::spawn(retries);
        // Nobody waits for this, and without it all goes on as well.
        let _no_matter = in_background("memory", nic::thread::give_back_memory);
        if let Some(adopted) = adopted {
            adopted();
        }
        Ok(Some((counts, hash)))
    }

    /// Reads everything.
    async fn read(&mut self) -> Result<Reread, String> {
        let mut read = std::mem::replace(&mut self.read, Box::new(|| Err("the reader has ended".into())));
        let (reread, read) = aside(move || (read(), read)).await?;
        self.read = read;
        reread
    }
}

/// Does it on a thread of its own: it takes long.
async fn aside<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (done, answered) = oneshot::channel();
    let thread = in_background("reload", move || {
        let _gone = done.send(what());
    });
    thread.map_err(|error| format!("no thread to read it on: {error}"))?;
    answered.await.map_err(|_| "reading it failed: a bug".to_owned())
}
