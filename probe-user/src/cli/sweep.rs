//! `echolot sweep`: one probe to each of many targets.

use super::{
    Failure, Status,
    args::{Rate, SweepArgs},
    show_log_above,
    view::{self, SweepView},
};
use crate::{
    base::{Nanos, Outcome},
    results::Summary,
    run::{self, Job, Live, Moment, Results, Source, Starting, View},
    targets::{Group, Options},
};

/// Sends one probe to each target, and ends when the last deadline has passed.
pub(super) fn run(args: &SweepArgs) -> Result<Status, Failure> {
    let live = Live::on_stderr();
    show_log_above(live.as_ref());
    let starting = Starting::begin("reading the targets", live.clone(), Status::Incomplete)?;
    let group = Group { count: Some(1), ..args.probes.group("sweep", None)? };
    let options = Options { seed: args.network.seed_or_random(), shard: args.shard, ..Options::default() };
    let (mut plan, exclude) = args.targets.plan(group, &options)?;
    args.network.send_from(&mut plan)?;
    let total = plan.targets.len() as u64;
    let rate = match args.rate {
        Rate::PerSecond(rate) => rate.get(),
        Rate::Max => u64::MAX,
    };
    for group in &mut plan.groups {
        // Everybody once in this time; at rate max whenever the engine is free.
        let interval = u128::from(total) * 1_000_000_000 / u128::from(rate);
        group.interval = Nanos(u64::try_from(interval).unwrap_or(u64::MAX));
    }
    let results = args.output.results(args.format, args.outcomes());
    let job = Job {
        results: results.map(|results| Results { names: args.names.wanted(), ..results }),
        summary: args.output.summary.clone(),
        ..Job::new(plan, exclude, args.network.network(&args.probes), rate)
    };
    if args.network.dry_run {
        drop(starting);
        return run::dry_run(job);
    }
    let mut view = Shown { live, total, view: SweepView::default() };
    let summary = run::carry_out(job, starting, &mut view)?;
    Ok(Status::of_sweep(&summary, total))
}

struct Shown {
    live: Option<Live>,
    total: u64,
    view: SweepView,
}

impl View for Shown {
    fn begin(&mut self, _: &Moment<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn tick(&mut self, source: &Source) {
        if let Some(live) = &self.live {
            let snapshot = source.snapshot();
            let sent = snapshot.sums.iter().map(|row| row.probes).sum();
            let found = snapshot.sums.iter().map(|row| row.settled[Outcome::Answered as usize]).sum();
            live.show(&self.view.line(snapshot.at, sent, self.total, found, live.width()));
        }
    }

    fn end(&mut self, summary: &Summary, _: &Moment<'_>) {
        view::finish(self.live.as_ref(), summary);
    }

    fn live(&self) -> Option<Live> {
        self.live.clone()
    }
}
