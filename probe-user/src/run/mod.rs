//! A worker joined to a NIC: what run, ping and sweep have in common.
//!
//! One unpinned thread does all that is not packets: names, routes, neighbours, drop counters, HTTP, the view, signals. It
//! talks to the loop threads by counters and by one word that says what is asked for.

mod alerts;
mod asked;
mod asleep;
mod assemble;
mod bond;
mod carried;
mod carrier;
mod control;
mod cpus;
mod dry_run;
mod ended;
mod followed;
mod holding;
mod job;
mod journal;
mod live;
mod names;
mod neighbours;
mod notifier;
mod paths;
mod reload;
mod requests;
mod signals;
mod source;
mod sources;
mod starting;
mod threads;
mod ways;
mod writing;

use crate::{
    base::Nanos,
    nic::MonotonicClock,
    results::Summary,
    route::{self, LinkState},
    worker::{Clock as _, Link},
};
pub(crate) use dry_run::{dry_run, longest_datagram};
pub use ended::{Failure, Status};
pub(crate) use job::{Job, Moment, Network, Reload, Results, View};
pub use live::Live;
pub(crate) use notifier::Notifier;
pub(crate) use paths::Paths;
pub(crate) use requests::Read;
pub(crate) use signals::Signals;
pub(crate) use source::Source;
pub(crate) use sources::{Beginning, Load};
pub(crate) use starting::Starting;

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
    let done = runtime.block_on(async { assemble::assemble(job, starting, view).await?.control(view).await });
    // Name look-ups that are still under way must not hold the end up.
    runtime.shutdown_background();
    done
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
