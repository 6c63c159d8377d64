//! The thread that asks: what it finds goes into the table, part by part.

use super::{
    AsnSource, AsnTable, Known, Settings,
    asn::cymru,
    resolver::{Answer, Resolvers, as_name, name_of, origin_of},
    shared::Shared,
};
use futures_util::{
    future::join,
    stream::{FuturesUnordered, StreamExt as _},
};
use hickory_resolver::TokioResolver;
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::timeout,
};

/// What has failed is not tried again before.
const FAILED: Duration = Duration::from_secs(30);
/// No address takes longer, whatever aliases and servers do.
const LONGEST: Duration = Duration::from_secs(15);
/// Nothing changes that.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// A table of AS numbers that is being read: None before, closed if it can't be.
pub(super) type Reading = watch::Receiver<Option<Arc<AsnTable>>>;

/// Looks up what is asked for, until it is told to stop or nobody can ask any more.
pub(super) async fn work(
    settings: Settings,
    at_once: usize,
    reading: Option<Reading>,
    shared: Arc<Shared>,
    mut questions: mpsc::Receiver<IpAddr>,
    stop: Arc<Notify>,
) {
    let mut resolvers = Resolvers::new(settings.servers.clone(), at_once);
    let mut running = FuturesUnordered::new();
    let stop = stop.notified();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            Some(()) = running.next(), if !running.is_empty() => {}
            question = questions.recv(), if running.len() < at_once => {
                let Some(address) = question else { return };
                let asked = Asked {
                    address,
                    names: settings.names,
                    asn: &settings.asn,
                    reading: reading.clone(),
                    // Only who needs one makes one.
                    resolver: (settings.names || settings.asn == AsnSource::Dns).then(|| resolvers.get(Instant::now())).flatten(),
                    shared: &shared,
                };
                running.push(asked.look_up());
            }
        }
    }
}

/// An address that is being looked up.
struct Asked<'a> {
    address: IpAddr,
    names: bool,
    asn: &'a AsnSource,
    reading: Option<Reading>,
    resolver: Option<TokioResolver>,
    shared: &'a Shared,
}

impl Asked<'_> {
    async fn look_up(self) {
        let both = timeout(LONGEST, join(self.name(), self.network())).await;
        let again = both.map_or_else(|_| failed(), |(name, network)| name.min(network));
        self.shared.settle(self.address, again);
    }

    fn learn(&self, part: impl FnOnce(&mut Known)) {
        self.shared.learn(self.address, part);
    }

    /// Learns the name. Returns when to ask again.
    async fn name(&self) -> Instant {
        if !self.names {
            return Instant::now() + FOR_EVER;
        }
        let Some(resolver) = &self.resolver else { return failed() };
        match name_of(resolver, self.address).await {
            Answer::Is(name, until) => {
                self.learn(|known| known.name = Some(name.into()));
                until
            }
            Answer::None(until) => {
                self.learn(|known| known.name = None);
                until
            }
            Answer::Failed => failed(),
        }
    }

    /// Learns the AS. Returns when to ask again.
    async fn network(&self) -> Instant {
        match self.asn {
            AsnSource::Off => Instant::now() + FOR_EVER,
            AsnSource::Dns => self.network_by_dns().await,
            AsnSource::File(_) => {
                self.network_by_table().await;
                Instant::now() + FOR_EVER
            }
        }
    }

    async fn network_by_table(&self) {
        let Some(mut reading) = self.reading.clone() else { return };
        // Closed: it can't be read, which has been said.
        let Ok(table) = reading.wait_for(Option::is_some).await else { return };
        let network = table.as_ref().and_then(|table| table.find(self.address));
        // Other addresses wait for it too.
        drop(table);
        self.learn(|known| {
            known.asn = network.as_ref().map(|network| network.asn);
            known.as_name = network.and_then(|network| network.name);
        });
    }

    async fn network_by_dns(&self) -> Instant {
        if !cymru::is_routable(self.address) {
            return Instant::now() + FOR_EVER;
        }
        let Some(resolver) = &self.resolver else { return failed() };
        let (asn, until) = match origin_of(resolver, self.address).await {
            Answer::Is(asn, until) => (asn, until),
            Answer::None(until) => {
                self.learn(|known| (known.asn, known.as_name) = (None, None));
                return until;
            }
            Answer::Failed => return failed(),
        };
        self.learn(|known| {
            if known.asn != Some(asn) {
                (known.asn, known.as_name) = (Some(asn), None);
            }
        });
        match as_name(resolver, asn).await {
            Answer::Is(name, named) => {
                self.learn(|known| known.as_name = Some(name.into()));
                until.min(named)
            }
            Answer::None(named) => {
                self.learn(|known| known.as_name = None);
                until.min(named)
            }
            Answer::Failed => failed().min(until),
        }
    }
}

/// When to try again what has failed now.
fn failed() -> Instant {
    Instant::now() + FAILED
}
