//! `echolot ping`: many hosts at once, as the ping that people know.

use super::{
    Failure, Status,
    args::PingArgs,
    mtu, show_log_above,
    view::{self, ping},
};
use crate::{
    config::DEFAULT_RATE,
    metrics::Source as _,
    results::{Format, Outcomes, Summary},
    run::{self, Job, Live, Moment, Results, Source, Starting, View},
    targets::{Group, Options},
};
use std::sync::{Arc, Mutex, PoisonError};

/// Pings all targets, a number of times or until a signal comes.
pub(super) fn run(args: &PingArgs) -> Result<Status, Failure> {
    if args.mtu {
        return mtu::run(args);
    }
    let live = Live::on_stderr();
    show_log_above(live.as_ref());
    let starting = Starting::begin("reading the targets", live, Status::Problem)?;
    // As many bytes as ping sends.
    let group = Group { interval: args.interval, count: args.count, ..args.probes.group("ping", Some(56))? };
    group.check_window().map_err(|error| Failure::new(format!("-i, -W: {error}")))?;
    let options = Options { seed: args.network.seed_or_random(), ..Options::default() };
    let (mut plan, exclude) = args.targets.plan(group, &options)?;
    args.network.send_from(&mut plan)?;
    let rate = run::whole(plan.needed_rate());
    if rate > DEFAULT_RATE {
        return Err(Failure::new(format!(
            "{} targets every {} are {rate} probes a second, and ping sends no more than {DEFAULT_RATE}: lengthen -i, or \
             use `echolot sweep --rate {rate}`, or `echolot run` with limits.rate",
            plan.targets.len(),
            args.interval
        )));
    }
    let tally = Arc::new(Mutex::new(ping::Tally::new(plan.targets.len())));
    let format = if args.quiet { Format::None } else { args.format };
    let observed = Arc::clone(&tally);
    let results = Results {
        format,
        path: args.output.output.clone(),
        only: Outcomes::ALL,
        like_ping: true,
        names: args.names.wanted(),
        observe: Box::new(move |record| observed.lock().unwrap_or_else(PoisonError::into_inner).observe(record)),
    };
    let job = Job {
        results: Some(results),
        summary: args.output.summary.clone(),
        ..Job::new(plan, exclude, args.network.network(&args.probes), rate)
    };
    if args.network.dry_run {
        drop(starting);
        return run::dry_run(job);
    }
    let as_people_know = args.quiet || format == Format::Text;
    let summary = run::carry_out(job, starting, &mut Shown { as_people_know, tally })?;
    Ok(Status::of_ping(&summary))
}

struct Shown {
    /// In other formats the first and last lines would only be in the way.
    as_people_know: bool,
    tally: Arc<Mutex<ping::Tally>>,
}

impl View for Shown {
    fn begin(&mut self, moment: &Moment<'_>) -> Result<(), Failure> {
        if self.as_people_know {
            eprint!("{}", ping::header(&moment.source.plan(), &moment.source.interface()));
        }
        Ok(())
    }

    fn tick(&mut self, _: &Source) {}

    fn end(&mut self, summary: &Summary, moment: &Moment<'_>) {
        if self.as_people_know {
            let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            eprint!("{}", tally.statistics(&moment.source.plan(), summary.in_flight));
            if let Some(line) = view::accuracy(moment.snapshot, &moment.source.interface()) {
                eprintln!("{line}");
            }
        }
    }

    fn live(&self) -> Option<Live> {
        None
    }
}
