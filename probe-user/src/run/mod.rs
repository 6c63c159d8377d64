//! A worker joined to a NIC: what run, ping and sweep have in common.
//!
//! One unpinned thread does all that is not packets: names, routes, neighbours, drop counters, HTTP, the view, signals. It
//! talks to the loop threads by counters and by one word that says what is asked for.

mod asleep;
mod bond;
mod carried;
mod carrier;
mod cpus;
mod ended;
mod holding;
mod job;
mod journal;
mod live;
mod names;
mod neighbours;
mod source;
mod starting;
mod threads;
mod ways;

use crate::{
    base::{Nanos, Stamp},
    health::Hold,
    http,
    ledger::unheard::DropLog,
    metrics::Source as _,
    nic::{self, InterfaceInfo, MonotonicClock, Nic},
    results::{self, Encoder, Fault, Summary, WallClock, WriteReport, Writer, Writing, human::counted},
    route::{self, LinkState, RouteError, Routes, Watch},
    targets::{Bytes, MANY, Target},
    wire::Key,
    worker::{self, Assembly, Clock as _, Link, Phase, Queue, Sink, Wanted, queue},
};
use asleep::Asleep;
use bond::Following;
use carried::Carried;
pub use ended::{Failure, Status};
use holding::FaultDetector;
pub(crate) use job::{Job, Moment, Network, Results, View};
use journal::Journal;
pub use live::Live;
pub(crate) use source::Source;
pub(crate) use starting::Starting;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::MissedTickBehavior,
};
use ways::Rerouting;

/// Between looks at drop counters, views and loops.
const TICK: Duration = Duration::from_millis(50);
/// Replies that are older than their timeout by this much are still counted as late.
const LATE: Nanos = Nanos::from_secs(60);
/// After the end has been asked for, results wait so long for a reader that takes none.
const READER_WAITED_FOR: Duration = Duration::from_secs(3);
/// Someone who stops us and has to wait longer than this is told why.
const WAIT_TOLD: Nanos = Nanos::from_secs(2);
/// How long a neighbour is asked before it is given up.
const NEIGHBOURS_TAKE: Nanos = Nanos::from_secs(3);
/// Results that may wait for the writer, where nothing else bounds them.
const RESULTS: usize = 1 << 16;

/// Probes as the job says, until it is done or a signal ends it. Returns what came of it.
pub(crate) fn carry_out(job: Job, starting: Starting, view: &mut dyn View) -> Result<Summary, Failure> {
    let offset = route::clock_offset()?;
    if offset != 0 {
        return Err(Failure::new(format!(
            "this process is in a time namespace whose CLOCK_MONOTONIC is off by {offset} ns, so its stamps and those \
             of the kernel can't be compared: start echolot outside it"
        )));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(station(job, starting, view));
    // Name look-ups that are still under way must not hold the end up.
    runtime.shutdown_background();
    done
}

async fn station(mut job: Job, starting: Starting, view: &mut dyn View) -> Result<Summary, Failure> {
    let mut signals = Signals::new()?;
    // A port in use, or a summary without a place, is known before anything is touched.
    job.summary.as_deref().map(Summary::can_be_written).transpose()?;
    let listener = job.listen.map(http::bind).transpose()?;
    let handle = route::connect()?;
    if !job.plan.names.is_empty() {
        starting.step(format!("looking up {}", counted(job.plan.names.len() as u64, "name")));
    }
    let mut rerouting = Rerouting::listen()?;
    names::resolve_all(&mut job.plan, &job.exclude, job.for_ever).await?;

    let targets = job.plan.targets.len();
    starting.step(format!("finding the way to {}", counted(targets as u64, "target")));
    let mut routes = find_routes(&handle, &job, Some(&starting)).await?;
    let name = &routes.interface.name;
    starting.step(format!("waiting for the gateways on {name} to answer ARP"));
    let link = Arc::new(LinkState::new());
    let mut watch = Watch::open(routes.interface.clone(), Arc::clone(&routes.hops), Arc::clone(&link), now).await?;
    let repeated = job.plan.groups.iter().any(|group| group.count != Some(1));
    let arp = neighbours::ask(&mut watch, &routes, (repeated, job.for_ever), &link).await?;
    let resolution = watch.resolve_gateways().await?;
    if let Some(error) = resolution.error() {
        return Err(Failure::new(error));
    }

    let size = Bytes(job.plan.needed_memory());
    starting.step(format!("attaching to {name} and opening {}: {size} in all", counted(targets as u64, "account")));
    let plan = Arc::new(job.plan);
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
        shapes: plan.shapes(),
        max_age: longest + LATE,
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
    let (sink, queue) = match &job.results {
        Some(_) => {
            // Probes of a sweep may wait for their neighbours: they are in flight as well.
            let waiting = if arp.is_some() && !job.for_ever { NEIGHBOURS_TAKE } else { Nanos::ZERO };
            let (sink, queue) = queue(results_room(job.rate, longest + waiting));
            (sink, Some(queue))
        }
        None => (Sink::discard(), None),
    };
    let network =
        worker::Network { key, hops: Arc::clone(&routes.hops), taken, link: nic.link(), drops: Arc::clone(&drops) };
    // Only who monitors wants to be told of changes, and drops results rather than slow down.
    let wanted = Wanted { no_result_dropped: sink.is_wanted() && !job.for_ever, changes: job.for_ever, sink };
    let loops = (layout.senders.len(), layout.loops(receivers.len()));
    let assembly = Assembly::new(&plan, &routes.of, network, loops, wanted)
        .asking(arp.as_ref().map(|arp| Arc::clone(arp.queue())));
    let common = Arc::clone(assembly.common());
    // The ledger has them.
    routes.of = Vec::new();
    let clock = WallClock::new(now(), SystemTime::now());
    let source = Arc::new(Source::new(Arc::clone(&plan), Arc::clone(&common), nic.info().clone(), Arc::clone(&link)));
    // From now on nobody is lost before this has looked.
    sampler.sample(&drops)?;
    source.sampled(&sampler);
    let journal = common.changes.as_ref().map(|changes| {
        let (plan, ledger, changes) = (Arc::clone(&plan), Arc::clone(&common.ledger), Arc::clone(changes));
        let parts = journal::Parts { plan, ledger, changes, clock, flapping: source.flapping() };
        Journal::open(job.events.as_deref(), parts)
    });
    let journal = journal.transpose()?;
    let (mut faults, mut asleep) = (FaultDetector::default(), Asleep::new());
    let mut carried = Carried::default();
    let waits = plan.groups.iter().all(|group| group.count.is_some());
    let writing = job.results.zip(queue).map(|(wanted, queue)| {
        let encoder = Encoder::new(wanted.format, Arc::clone(&plan), clock)
            .stamped_by(senders.first().map_or(Stamp::User, nic::Sender::stamp))
            .resolved_in(Arc::clone(&common.ledger));
        write(wanted, encoder, queue, view.live())
    });
    let writing = writing.transpose()?;
    // From here on signals are looked at below.
    drop(starting);
    view.begin(&Moment { source: &source, snapshot: &source.snapshot() })?;

    let (stop_http, http_stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = listener.map(|listener| {
        let source = Arc::clone(&source);
        tokio::spawn(http::serve(listener, source, async {
            // An error says that the sender is gone: that is the signal.
            let _ = http_stopped.await;
        }))
    });
    let mut watching = tokio::spawn(watch.run());
    rerouting.begin(ways::Parts {
        common: Arc::clone(&common),
        interface: routes.interface.clone(),
        is_chosen: job.network.interface.is_some(),
        source: job.network.source,
        addressing,
        unrouted: routes.unrouted.clone(),
    });
    let retries = names::retry(&plan, &common, rerouting.named(), job.exclude);
    let retrying = tokio::spawn(retries);

    following.begin(&mut nic).await?;
    if !carrier::wait(&routes.interface.name, &*condition, &mut signals).await {
        common.ask(Phase::Drain);
    }
    let running = threads::spawn(&layout, senders, receivers, assembly)?;
    source.ready();
    if targets >= MANY {
        tracing::info!("probing begins");
    }
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = following.changed(&mut nic) => continue,
            () = signals.next() => {
                let first = common.phase() == Phase::Run;
                if first && longest > WAIT_TOLD {
                    tracing::info!("waiting up to {longest} for what is in flight; the same again ends that");
                }
                common.ask(if first { Phase::Drain } else { Phase::Abort });
            }
            way = rerouting.changed() => {
                if let Some(journal) = &journal {
                    journal.new_way(way);
                }
            }
            error = &mut watching, if failed.is_none() => {
                // The loops go on with what is known; people are told.
                let error = error.map_or_else(|error| error.to_string(), |error| error.to_string());
                tracing::error!("neighbours and link are no longer watched: {error}");
                failed = Some(error);
            }
        }
        // Before the drops: once those have been noted, what nobody answered is judged.
        if let Some(slept) = asleep.look(&link) {
            tracing::warn!("this machine slept for {slept}: probes of that time are unheard");
        }
        if let Err(error) = sampler.sample(&drops) {
            tracing::error!("{error}");
        }
        nic.look(&mut sampler);
        following.now_on(&nic);
        source.sampled(&sampler);
        source.attached(nic.info());
        faults.look(&routes.interface.name, &link, &routes.hops, common.due_and_refused(), now(), |fault| {
            told(&fault);
            if let Some(journal) = &journal {
                journal.fault(fault);
            }
        });
        source.held(faults.held());
        carried.look(&routes.interface.name, &common, job.rate, waits, now());
        if writing.as_ref().is_some_and(Writing::reader_gone) && !job.for_ever {
            common.ask(Phase::Drain);
        }
        view.tick(&source);
        if running.is_finished() {
            break;
        }
    }
    running.join()?;
    retrying.abort();
    if let Some(journal) = journal {
        journal.close();
    }
    if let Err(error) = sampler.sample_all(&drops) {
        tracing::error!("{error}");
    }
    source.sampled(&sampler);
    drop((nic, arp));
    drop(stop_http);
    // The writer may have much to write still; HTTP may have a scrape to finish. Neither waits for the other.
    let report = match writing {
        Some(writing) => Some(written(writing, common.phase() != Phase::Run, &mut signals).await),
        None => None,
    };
    if let Some(serving) = serving {
        serving.await??;
    }
    let snapshot = source.snapshot();
    let drops = source.drops();
    let dropped = report.as_ref().map_or(0, |report| report.dropped);
    let targets = plan.targets.len() as u64;
    let summary =
        Summary::new(&snapshot, &drops, &source.interface(), targets, common.ledger.answered_targets(), dropped);
    view.end(&summary, &Moment { source: &source, snapshot: &snapshot });
    if let Some(path) = &job.summary {
        summary.write(path)?;
    }
    Ok(summary)
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

/// Waits until all results are written. A reader that takes nothing is waited for only until a signal comes, and once the
/// end has been asked for no longer than [`READER_WAITED_FOR`]: the monitor must end when it is told to.
async fn written(writing: Writing, asked_to_end: bool, signals: &mut Signals) -> WriteReport {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let mut moved = (writing.written(), Instant::now());
    loop {
        if writing.is_finished() {
            return writing.join();
        }
        let now = writing.written();
        if now != moved.0 {
            moved = (now, Instant::now());
        }
        let given_up = tokio::select! {
            _ = tick.tick() => asked_to_end && moved.1.elapsed() > READER_WAITED_FOR,
            () = signals.next() => true,
        };
        if given_up {
            let report = writing.abandon();
            tracing::error!("the reader of the results takes none: {} dropped", counted(report.dropped, "result"));
            return report;
        }
    }
}

/// Routes of all targets; what has none is told, and an error if nothing has. With somebody to tell, a carrier is waited for.
async fn find_routes(handle: &rtnetlink::Handle, job: &Job, tell: Option<&Starting>) -> Result<Routes, Failure> {
    let targets = &job.plan.targets;
    let addresses = targets.iter().filter_map(|target| target.address);
    if addresses.clone().next().is_none() {
        return Err(Failure::new(
            "no target has an address: none of their names resolves, and the way to a target is found by its address. Is \
             the resolver (/etc/resolv.conf) reachable? Give one target by address to start without it",
        ));
    }
    let mut waiting = carrier::Waiting::default();
    let mut routes = loop {
        let interface = job.network.interface.as_deref();
        match (Routes::discover(handle, addresses.clone(), interface, job.network.source).await, tell) {
            (Err(RouteError::NoCarrier { interface }), Some(tell)) if waiting.goes_on(&interface, tell).await => {}
            (found, _) => break found?,
        }
    };
    if routes.of.len() < targets.len() {
        let mut of = routes.of.into_iter();
        let hop = |target: &Target| target.address.and_then(|_| of.next()).unwrap_or(route::NO_ROUTE);
        routes.of = targets.iter().map(hop).collect();
    }
    if let Some(unrouted) = &routes.unrouted {
        tracing::warn!("{unrouted}; their probes are unsent");
    }
    Ok(routes)
}

/// The log's word on a local fault. Of the link it has been told already.
fn told(fault: &Fault) {
    let what = match fault.reason {
        Hold::LinkDown => return,
        Hold::Gateway => format!("gateway {} does not answer", fault.detail),
        Hold::Sending => format!("more than half of the probes can't be sent through {}", fault.detail),
    };
    if fault.over {
        tracing::info!("over: {what}");
    } else {
        tracing::warn!("{what}: states of targets are held");
    }
}

/// Room for what can come back at once: a sweep slows down when it is used up.
fn results_room(rate: u64, timeout: Nanos) -> usize {
    let in_flight = u128::from(rate) * u128::from(timeout.0 + 250_000_000) / 1_000_000_000;
    usize::try_from(in_flight).unwrap_or(usize::MAX).clamp(RESULTS, 16 * RESULTS)
}

fn write(wanted: Results, mut encoder: Encoder, queue: Queue, live: Option<Live>) -> Result<Writing, Failure> {
    if wanted.like_ping {
        encoder = encoder.like_ping();
    }
    let mut writer = Writer::open(encoder, wanted.path.as_deref())?.only(wanted.only);
    if let Some(live) = live {
        writer = writer.around(move |write| live.aside(write));
    }
    Ok(results::spawn(writer, vec![queue], wanted.observe, |error| tracing::error!("{error}"))?)
}

/// A rate as a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded up; beyond u64 is beyond any engine"
)]
pub(crate) fn whole(rate: f64) -> u64 {
    rate.ceil() as u64
}

/// Says what a job would do, and does nothing of it.
pub(crate) fn dry_run(mut job: Job) -> Result<Status, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let routes = runtime.block_on(async {
        names::resolve_all(&mut job.plan, &job.exclude, job.for_ever).await?;
        find_routes(&route::connect()?, &job, None).await
    });
    runtime.shutdown_background();
    let routes = routes?;
    let plan = &job.plan;
    println!("would probe {} through {}:", counted(plan.targets.len() as u64, "target"), routes.interface.name);
    for group in &plan.groups {
        let rounds = group.count.map_or_else(|| "for ever".to_owned(), |count| counted(count, "time"));
        let (targets, every) = (counted(group.targets.len() as u64, "target"), group.interval);
        println!(
            "  {}: {targets}, every {every}, {rounds}, {} to answer, {} bytes",
            group.name, group.timeout, group.shape.payload
        );
    }
    for hop in routes.hops.iter().filter(|hop| !hop.on_link) {
        println!("  by gateway {} from {}", hop.address, hop.source);
    }
    let on_link = routes.hops.iter().filter(|hop| hop.on_link).count() as u64;
    if on_link > 0 {
        println!("  {on_link} on the link itself");
    }
    Ok(Status::Complete)
}

/// CLOCK_MONOTONIC, now.
pub(crate) fn now() -> Nanos {
    MonotonicClock.now()
}

/// What the watcher of the kernel's tables says.
impl Link for LinkState {
    fn is_up(&self) -> bool {
        self.is_up()
    }

    fn was_down(&self, from: Nanos, to: Nanos) -> bool {
        self.was_down_between(from, to)
    }
}

/// Ctrl-C and SIGTERM.
pub(crate) struct Signals(Signal, Signal);

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}
