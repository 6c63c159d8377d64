//! `echolot trace`: the way to targets, hop by hop.

use super::{
    Failure, Status,
    args::{Rate, TraceArgs},
    show_log_above,
    view::{
        self,
        paths::{Printer, Printing},
    },
};
use crate::{
    base::{Nanos, TargetIndex, Ttls},
    enrich::Enricher,
    path::{Tracer, Wanted},
    results::{PathSubject, Summary, WallClock},
    run::{self, Job, Live, Moment, Paths, Source, Starting, View},
    targets::Options,
};
use std::{
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

/// Paths that may wait to be written.
const FOUND: usize = 1 << 14;
/// Targets under way at a time: what a rate sends within this time.
const UNDER_WAY: Nanos = Nanos::from_millis(500);

/// Finds the way to each target, as many rounds as are wanted.
pub(super) fn run(args: &TraceArgs) -> Result<Status, Failure> {
    let live = Live::on_stderr();
    show_log_above(live.as_ref());
    let starting = Starting::begin("reading the targets", live.clone(), Status::Problem)?;
    let group = args.group()?;
    if args.network.sources.len() > 1 {
        return Err(Failure::new(
            "-S: the probes of a path leave from one source, or it would not be one path: give one, and trace from the others one by one",
        ));
    }
    let options = Options { seed: args.network.seed_or_random(), ..Options::default() };
    let (mut plan, exclude) = args.targets.plan(group, &options)?;
    args.network.send_from(&mut plan)?;
    let rate = match args.rate {
        Rate::PerSecond(rate) => rate.get(),
        Rate::Max => 10_000_000,
    };
    for group in &mut plan.groups {
        // Between any two of its probes.
        group.interval = Nanos((1_000_000_000 / rate).max(1));
    }
    let targets = u32::try_from(plan.targets.len()).unwrap_or(u32::MAX);
    let wanted = wanted(args, rate);
    let tracer = Tracer::new(wanted, Ttls::up_to(args.max_ttl), (0..targets).map(TargetIndex));
    let is_paused = Arc::new(AtomicBool::new(false));
    let (found, paths) = crossbeam::channel::bounded(FOUND);
    let job = Job {
        paths: Some(Paths {
            tracers: vec![(0..targets, tracer)],
            found,
            is_paused: Arc::clone(&is_paused),
            beside: None,
        }),
        summary: args.output.summary.clone(),
        ..Job::new(plan, exclude, args.network.sending_from(args.source_port), rate)
    };
    if args.network.dry_run {
        drop(starting);
        return run::dry_run(job);
    }
    // Whatever names cost, it is asked beside the probes.
    let names_wait = if args.enrich.settings().is_off() { Duration::ZERO } else { args.enrich.wait() };
    let printing = Printing {
        format: args.format,
        wanted,
        enricher: Enricher::start(args.enrich.settings())?,
        names_wait,
        live: live.clone(),
        is_paused,
        clock: WallClock::new(run::now(), SystemTime::now()),
    };
    let printer = Printer::open(printing, args.output.output.as_deref())?;
    let mut shown = Shown { live, found: Some((printer, paths)), printing: None };
    run::carry_out(job, starting, &mut shown)?;
    let unanswered = shown.printing.map(JoinHandle::join);
    match unanswered {
        Some(Ok(Ok(0))) => Ok(Status::Complete),
        Some(Ok(Ok(_))) | None => Ok(Status::Problem),
        Some(Ok(Err(failure))) => Err(failure),
        Some(Err(panic)) => std::panic::resume_unwind(panic),
    }
}

fn wanted(args: &TraceArgs, rate: u64) -> Wanted {
    let under_way = u128::from(rate) * u128::from(UNDER_WAY.max(args.timeout).0) / 1_000_000_000;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let per_hop = match args.per_hop {
        Rate::PerSecond(rate) => Some(rate.get() as f64),
        Rate::Max => None,
    };
    Wanted {
        first: args.first,
        most: args.max_ttl,
        gap: args.gap,
        flows: args.flows,
        rounds: (args.count > 0).then_some(args.count),
        interval: args.interval,
        timeout: args.timeout,
        by_ports: args.probe.port().is_some(),
        per_hop,
        at_once: usize::try_from(under_way).unwrap_or(usize::MAX).max(1_000),
    }
}

struct Shown {
    live: Option<Live>,
    /// Who prints what is found, until that begins.
    found: Option<(Printer, crossbeam::channel::Receiver<crate::path::Path>)>,
    /// How many targets did not answer.
    printing: Option<JoinHandle<Result<u64, Failure>>>,
}

impl View for Shown {
    fn begin(&mut self, moment: &Moment<'_>) -> Result<(), Failure> {
        let plan = moment.source.plan();
        let probe = plan.probe();
        let subject = move |target: TargetIndex| {
            let (name, address) = plan.name_of(target).zip(plan.address_of(target))?;
            Some(PathSubject { target: name.to_string(), address, probe: probe.clone() })
        };
        if let Some((printer, paths)) = self.found.take() {
            let body = move || printer.print_all(paths, &subject);
            self.printing = Some(std::thread::Builder::new().name("printer".into()).spawn(body)?);
        }
        Ok(())
    }

    fn tick(&mut self, _: &Source) {}

    fn end(&mut self, summary: &Summary, _: &Moment<'_>) {
        view::finish(self.live.as_ref(), summary);
    }

    fn live(&self) -> Option<Live> {
        self.live.clone()
    }
}
