//! What is to be done, and what is shown of it.

use super::{Failure, Live, Notifier, Source, paths::Paths, requests::Read, sources::Sources};
use crate::{
    alert,
    base::Settlement,
    enrich,
    ledger::Snapshot,
    nic,
    results::{Format, Outcomes, Summary},
    targets::{Exclusions, Plan},
};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// What is to be probed, and how.
pub(crate) struct Job {
    pub(crate) plan: Plan,
    pub(crate) network: Network,
    /// Probes a second to be ready for.
    pub(crate) rate: u64,
    /// Where results go; None where nobody asked for any.
    pub(crate) results: Option<Results>,
    /// Which paths are to be found; None where probes come due by themselves.
    pub(crate) paths: Option<Paths>,
    /// A JSON summary goes here.
    pub(crate) summary: Option<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
    /// Go on when a name does not resolve, and try again.
    pub(crate) for_ever: bool,
    /// What this place of measuring is called, in metrics, results and events.
    pub(crate) vantage: Option<String>,
    /// To whom alerts are pushed.
    pub(crate) alerts: alert::Settings,
    /// Events are appended to this file.
    pub(crate) events: Option<PathBuf>,
    /// What they say of addresses beside what was measured.
    pub(crate) enrich: enrich::Settings,
    /// Never probed, whatever a name resolves to.
    pub(crate) exclude: Exclusions,
    /// Reads everything again while it runs; None: it does not change.
    pub(crate) reload: Option<Reload>,
    /// Whom it tells how it fares.
    pub(crate) notifier: Notifier,
}

/// How a job is read again.
pub(crate) struct Reload {
    pub(crate) read: Read,
    /// Of what it begins with, see [`crate::config::hash`].
    pub(crate) hash: u64,
    /// Whoever reaches the HTTP server may ask for it.
    pub(crate) by_http: bool,
    /// Where targets come from, and the version of their lists that it begins with.
    pub(crate) sources: Sources,
    pub(crate) version: u64,
}

impl Job {
    /// Probes so, leaves out `exclude`, and writes, shows and serves nothing; it ends when all is settled.
    pub(crate) fn new(plan: Plan, exclude: Exclusions, network: Network, rate: u64) -> Self {
        Self {
            plan,
            network,
            rate,
            results: None,
            paths: None,
            summary: None,
            listen: None,
            for_ever: false,
            vantage: None,
            alerts: alert::Settings::default(),
            events: None,
            enrich: enrich::Settings::default(),
            exclude,
            reload: None,
            notifier: Notifier::default(),
        }
    }
}

/// How probes leave.
pub(crate) struct Network {
    pub(crate) interface: Option<String>,
    pub(crate) mode: nic::Mode,
    pub(crate) engine: nic::Engine,
    pub(crate) identifier: Option<u16>,
    /// The first of the ports that TCP probes are sent from; None for a free one.
    pub(crate) source_port: Option<u16>,
}

/// Where results go, and which.
pub(crate) struct Results {
    pub(crate) format: Format,
    pub(crate) path: Option<PathBuf>,
    pub(crate) only: Outcomes,
    pub(crate) like_ping: bool,
    /// What lines say of addresses beside what was measured, and how long they may wait for it.
    pub(crate) names: Option<(enrich::Settings, Duration)>,
    /// Sees every record.
    pub(crate) observe: Box<dyn FnMut(&Settlement) + Send>,
}

/// What a view is shown.
pub(crate) struct Moment<'a> {
    pub(crate) source: &'a Source,
    pub(crate) snapshot: &'a Snapshot,
}

/// What a command shows while its probes are under way.
pub(crate) trait View {
    /// Called once, when everything is ready and before the first probe.
    fn begin(&mut self, moment: &Moment<'_>) -> Result<(), Failure>;
    /// Called every [`TICK`]; asks the moment's source for figures only if it shows them.
    fn tick(&mut self, source: &Source);
    /// Called once, when nothing is in flight any more and all results are written.
    fn end(&mut self, summary: &Summary, moment: &Moment<'_>);
    /// The picture that results must not be written into.
    fn live(&self) -> Option<Live>;
}
