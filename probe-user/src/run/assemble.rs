//! From a job to a worker at work: names, routes, neighbours, the card, the ledger, and whoever shows what comes of it.

use super::{
    Failure, Job, Moment, Signals, Source, Starting, View,
    alerts::{self, Alerting},
    bond::Following,
    carrier,
    control::{Serving, Station},
    followed::{self, Followed},
    journal::{self, Journal},
    names, neighbours, paths,
    reload::{self, Requests},
    threads,
    ways::{self, Rerouting},
    writing,
};
use crate::{
    base::{Nanos, Stamp},
    config::TIMEOUTS,
    enrich::Enricher,
    http,
    ledger::unheard::DropLog,
    nic::{self, InterfaceInfo, Nic, SourcePorts, SourcePortsError, Transport},
    results::{Encoder, Summary, WallClock, human::counted},
    route::{self, LinkState, RouteError, Routes, Watch},
    targets::{Bytes, Epochs, MANY, Plan, Target},
    wire::{Key, Kind},
    worker::{self, Adopter, Assembly, Phase, Wanted, queue},
};
use std::{sync::Arc, time::SystemTime};

/// Replies that are older than their timeout by this much are still counted as late.
const LATE: Nanos = Nanos::from_secs(60);
/// How long a neighbour is asked before it is given up.
const NEIGHBOURS_TAKE: Nanos = Nanos::from_secs(3);

/// Has everything at work that the job asks for: probing begins with it.
pub(super) async fn assemble(mut job: Job, starting: Starting, view: &mut dyn View) -> Result<Station, Failure> {
    let mut signals = Signals::new()?;
    let requests = job.reload.is_some().then(|| Requests::listen(&starting)).transpose()?;
    job.plan.is_open = job.reload.is_some();
    // A port in use, or a summary without a place, is known before anything is touched.
    job.summary.as_deref().map(Summary::can_be_written).transpose()?;
    let listener = job.listen.map(http::bind).transpose()?;
    let ports = reserve_ports(&job)?;
    let starting_alerts = alerts::Starting::open(std::mem::take(&mut job.alerts), job.vantage.clone())?;
    // Events are named, or lines are.
    let names = job.results.as_ref().and_then(|results| results.names.as_ref());
    let enricher = Enricher::start(names.map_or(&job.enrich, |(settings, _)| settings).clone())?;
    let enricher = Arc::new(enricher);
    let handle = route::connect()?;
    if !job.plan.names.is_empty() {
        starting.step(format!("looking up {}", counted(job.plan.names.len() as u64, "name")));
    }
    let mut rerouting = Rerouting::listen()?;
    job.network.interface = names::zone_of(&job.plan, job.network.interface.as_deref())?;
    names::resolve_all(&mut job.plan, &job.exclude, job.for_ever).await?;

    let targets = job.plan.targets.len();
    // Those by whom paths are found are probed as all others are, and shown nowhere.
    let (shown, kept) = match job.plan.with_paths() {
        Some((all, kept)) => (Some(std::mem::replace(&mut job.plan, all)), Some(kept)),
        None => (None, None),
    };
    starting.step(format!("finding the way to {}", counted(targets as u64, "target")));
    let mut routes = find_routes(&handle, &job, Some(&starting)).await?;
    let name = &routes.interface.name;
    starting.step(format!("waiting for the gateways on {name} to answer"));
    let link = Arc::new(LinkState::new());
    let mut watch =
        Watch::open(routes.interface.clone(), Arc::clone(&routes.hops), Arc::clone(&link), super::now).await?;
    let repeated = job.plan.groups.iter().any(|group| group.count != Some(1));
    let asking = neighbours::ask(&mut watch, &routes, (repeated, job.for_ever), &link).await?;
    let resolution = watch.resolve_gateways().await?;
    if let Some(error) = resolution.error() {
        return Err(Failure::new(error));
    }

    let size = Bytes(shown.as_ref().unwrap_or(&job.plan).needed_memory());
    starting.step(format!("attaching to {name} and opening {}: {size} in all", counted(targets as u64, "account")));
    let probed = Arc::new(job.plan);
    let plan = shown.map_or_else(|| Arc::clone(&probed), Arc::new);
    let stack = nic::stack(&routes.interface.name, job.network.mode)?;
    let (mut following, condition) = Following::open(&stack, &link).await?;
    let layout = threads::layout(job.rate, job.network.engine, &stack);
    let (key, identifier) = secrets()?;
    let longest = plan.groups.iter().map(|group| group.timeout).max().unwrap_or(Nanos::ZERO);
    let opened = Nic::open(&nic::Options {
        interface: routes.interface.name.clone(),
        mode: job.network.mode,
        engine: job.network.engine,
        key,
        identifier: job.network.identifier.unwrap_or(identifier),
        ports: ports.as_ref().map_or(0..0, SourcePorts::ports),
        unproven_ports: probed.unproven_ports(),
        expiring_flows: probed.expiring_flows(),
        shapes: probed.shapes(),
        addresses: Arc::clone(&plan.addresses),
        // A longer one may come.
        max_age: if plan.is_open { *TIMEOUTS.end() } else { longest } + LATE,
        rate: job.rate,
        senders: layout.senders.clone(),
        receivers: layout.receivers(),
        hops: Arc::clone(&routes.hops),
        link: Arc::clone(&condition),
    })?;
    let nic::Opened { mut nic, senders, receivers, taken, mut sampler, addressing } = opened;
    let InterfaceInfo { name, engine, mode, reason, .. } = nic.info();
    if job.for_ever {
        tracing::info!("{name}: engine {engine} ({reason}), {mode} mode, {}", counted(senders.len() as u64, "sender"));
    } else {
        tracing::debug!("{name}: engine {engine} ({reason}), {mode} mode, {}", counted(senders.len() as u64, "sender"));
    }

    let drops = Arc::new(DropLog::default());
    // Probes of a sweep may wait for their neighbours: they are in flight as well.
    let waiting = if asking.is_some() && !job.for_ever { NEIGHBOURS_TAKE } else { Nanos::ZERO };
    let room = |is_wanted: bool| is_wanted.then(|| queue(writing::room(job.rate, longest + waiting))).unzip();
    let (sink, results) = room(job.results.is_some());
    let (asked, settled) = room(job.paths.is_some() || kept.is_some());
    let (sink, asked) = (sink.unwrap_or_default(), asked.unwrap_or_default());
    let network = worker::Network {
        key,
        first_port: ports.as_ref().map_or(0, |ports| ports.ports().start),
        hops: Arc::clone(&routes.hops),
        taken,
        link: nic.link(),
        drops: Arc::clone(&drops),
    };
    // Only who monitors wants to be told of changes, and drops results rather than slow down.
    let no_result_dropped = (sink.is_wanted() || asked.is_wanted()) && !job.for_ever;
    let wanted = Wanted { no_result_dropped, changes: job.for_ever, watched: starting_alerts.is_some(), sink, asked };
    let loops = (layout.senders.len(), layout.loops(receivers.len()));
    let assembly = Assembly::new(&probed, &routes.of, network, loops, wanted)
        .asking(asking.as_ref().map(|thread| Arc::clone(thread.queue())));
    let common = Arc::clone(assembly.common());
    // The ledger has them.
    routes.of = Vec::new();
    let clock = WallClock::new(super::now(), SystemTime::now());
    let keeping = kept.clone().map(|kept| followed::keep(&plan, kept, &common.ledger));
    let give_up_path = keeping.as_ref().map(|keeping| keeping.give_up.clone());
    let (kept_paths, followed) = keeping.map(|keeping| (keeping.paths, keeping.followed)).unzip();
    let counts = followed.as_ref().map(Followed::counts);
    let epochs = Epochs::new(Arc::clone(&plan));
    let source = Source::new(epochs.clone(), Arc::clone(&common), nic.info().clone(), Arc::clone(&link), counts);
    let by_http = requests.as_ref().filter(|_| job.reload.as_ref().is_some_and(|reload| reload.by_http));
    let hash = job.reload.as_ref().map_or(0, |reload| reload.hash);
    let source = source
        .discovered_by(job.reload.as_ref().map(|reload| reload.sources.clone()))
        .reloadable(hash, by_http.map(Requests::reloads))
        .at(job.vantage.clone())
        .alerting(starting_alerts.as_ref().map(alerts::Starting::outboxes).unwrap_or_default());
    let source = Arc::new(source);
    // From now on nobody is lost before this has looked.
    sampler.sample(&drops)?;
    source.sampled(&sampler);
    let alerts = starting_alerts.map(|starting| starting.begin(&epochs, &common, &source)).transpose()?;
    let ends = alerts.as_ref().map(Alerting::ends);
    let journal = common.changes.as_ref().map(|changes| {
        let (epochs, ledger, changes) = (epochs.clone(), Arc::clone(&common.ledger), Arc::clone(changes));
        let parts = journal::Parts {
            epochs,
            ledger,
            changes,
            clock,
            vantage: job.vantage.clone(),
            flapping: source.flapping(),
            unhealthy: source.unhealthy(),
            enricher: Arc::clone(&enricher),
            ends: ends.clone(),
            followed,
        };
        Journal::open(job.events.as_deref(), parts)
    });
    let journal = journal.transpose()?;
    let asking_for_paths = job.paths.or(kept_paths).zip(settled);
    let writing = job.results.zip(results).map(|(wanted, queue)| {
        let encoder = Encoder::new(wanted.format, Arc::clone(&plan), clock)
            .stamped_by(senders.first().map_or(Stamp::User, nic::Sender::stamp))
            .following(epochs.clone())
            .at(job.vantage.as_deref())
            .resolved_in(Arc::clone(&common.ledger));
        writing::begin(wanted, encoder, queue, view.live(), enricher)
    });
    let writing = writing.transpose()?;
    // From here on signals are looked at below.
    drop(starting);
    view.begin(&Moment { source: &source, snapshot: &source.snapshot() })?;

    let (stop_http, http_stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = listener.map(|listener| {
        let source = Arc::clone(&source);
        http::spawn(listener, source, async {
            // An error says that the sender is gone: that is the signal.
            let _ = http_stopped.await;
        })
    });
    let serving = serving.transpose()?;
    let watching = tokio::spawn(watch.run());
    rerouting.begin(ways::Parts {
        adopter: Adopter::new(Arc::clone(&common), epochs.clone(), &probed),
        kept: kept.unwrap_or_default(),
        give_up_path,
        common: Arc::clone(&common),
        interface: routes.interface.clone(),
        is_chosen: job.network.interface.is_some(),
        sources: plan.sources.clone(),
        addressing,
        unrouted: routes.unrouted.clone(),
        expires: routes.expires,
    });
    let mut retrying = tokio::spawn(names::retry(&plan, &common, rerouting.words(), job.exclude));
    if let Some((reload, requests)) = job.reload.zip(requests) {
        reload.sources.follow(reload.version, &requests.reloads())?;
        let parts = reload::Parts {
            read: reload.read,
            common: Arc::clone(&common),
            epochs,
            source: Arc::clone(&source),
            words: rerouting.words(),
            interface: job.network.interface.clone(),
            retrying,
            journal: journal.as_ref().map(Journal::teller),
            notifier: job.notifier.clone(),
        };
        retrying = tokio::spawn(reload::serve(parts, requests));
    }

    following.begin(&mut nic).await?;
    if !carrier::wait(&routes.interface.name, &*condition, &mut signals).await {
        common.ask(Phase::Drain);
    }
    let running = threads::spawn(&layout, senders, receivers, assembly)?;
    let paths = match asking_for_paths {
        Some((paths, queue)) => Some(paths::begin(paths, Arc::clone(&common), queue)?),
        None => None,
    };
    source.ready();
    let shown = Arc::clone(&source);
    job.notifier.probes(&common, move || (shown.snapshot(), shown.plan().many()));
    if targets >= MANY {
        tracing::info!("probing begins");
    }
    Ok(Station {
        interface: routes.interface.name,
        hops: routes.hops,
        rate: job.rate,
        for_ever: job.for_ever,
        summary: job.summary,
        is_bounded: plan.groups.iter().all(|group| group.count.is_some()),
        common,
        longest,
        link,
        notifier: job.notifier,
        ports,
        nic,
        neighbours: asking,
        sampler,
        drops,
        source,
        following,
        watching,
        rerouting,
        retrying,
        running,
        journal,
        alerts,
        writing,
        paths,
        serving: serving.map(|server| Serving { server, stop: stop_http }),
        signals,
    })
}

/// The ports that its probes are sent from; None where they have none.
fn reserve_ports(job: &Job) -> Result<Option<SourcePorts>, SourcePortsError> {
    match &transports(&job.plan.groups_with_paths())[..] {
        [] => Ok(None),
        transports => SourcePorts::reserve(job.network.source_port, transports).map(Some),
    }
}

/// What each of the source ports is for, in their order.
fn transports(plan: &Plan) -> Vec<Transport> {
    let mut transports = vec![Transport::Tcp; plan.ports().into()];
    for group in plan.groups.iter().filter(|group| matches!(group.shape.kind, Kind::Udp { .. })) {
        let first = usize::from(group.shape.flow);
        transports.iter_mut().skip(first).take(group.ports().into()).for_each(|port| *port = Transport::Udp);
    }
    transports
}

/// A key for the cookies and an identifier, by the kernel's generator: whoever could guess the key could answer for a target.
fn secrets() -> Result<(Key, u16), Failure> {
    let mut bytes = [0; 18];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(format!("the kernel gives no random numbers (getrandom): {error}")))?;
    let (words, identifier) = bytes.split_at(16);
    let (words, _) = words.as_chunks::<8>();
    let identifier = identifier.iter().fold(0, |id, byte| id << 8 | u16::from(*byte));
    Ok((Key([u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]), identifier))
}

/// Routes of all targets; what has none is told, and an error if nothing has. With somebody to tell, a carrier is waited for.
pub(super) async fn find_routes(
    handle: &rtnetlink::Handle,
    job: &Job,
    tell: Option<&Starting>,
) -> Result<Routes, Failure> {
    let targets = &job.plan.targets;
    let addresses = targets.iter().filter_map(|target| target.destination).map(|to| job.plan.addresses.address(to));
    if addresses.clone().next().is_none() {
        return Err(Failure::new(
            "no target has an address: none of their names resolves, and the way to a target is found by its address. Is \
             the resolver (/etc/resolv.conf) reachable? Give one target by address to start without it",
        ));
    }
    let mut waiting = carrier::Waiting::default();
    let mut routes = loop {
        let interface = job.network.interface.as_deref();
        match (Routes::discover(handle, addresses.clone(), interface, &job.plan.sources).await, tell) {
            (Err(RouteError::NoCarrier { interface }), Some(tell)) if waiting.goes_on(&interface, tell).await => {}
            (found, _) => break found?,
        }
    };
    if routes.of.len() < targets.len() {
        let mut of = routes.of.into_iter();
        let hop = |target: &Target| target.destination.and_then(|_| of.next()).unwrap_or(route::NO_ROUTE);
        routes.of = targets.iter().map(hop).collect();
    }
    if let Some(unrouted) = &routes.unrouted {
        tracing::warn!("{unrouted}; their probes are unsent");
    }
    Ok(routes)
}
