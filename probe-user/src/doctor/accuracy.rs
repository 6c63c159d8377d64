//! How late this machine wakes up, and what reading the clock costs: what its own share in measured times will be.

use super::{Check, Status};
use crate::{
    base::Nanos,
    ledger::histogram::Histogram,
    nic::{self, MonotonicClock, NicError},
    results::human::span,
    worker::Clock as _,
};
use std::time::Duration;

/// Readings of the clock.
const READINGS: u64 = 20_000;
/// Sleeps of a millisecond: 100 ms and a little.
const SLEEPS: usize = 100;
const SLEEP: Duration = Duration::from_millis(1);
/// A thread that wakes up later than this keeps no grid of milliseconds.
const LATE: Nanos = Nanos::from_millis(1);

struct Measured {
    /// Of one reading.
    cost: Nanos,
    /// The least step between two different readings.
    step: Nanos,
    median: Nanos,
    p99: Nanos,
}

pub(super) fn check() -> Check {
    // A thread like a loop's: pinned, without timer slack. On the last CPU, as a loop with little to do.
    let measured = std::thread::spawn(|| {
        let cpu = core_affinity::get_core_ids().unwrap_or_default().last().map(|core| core.id);
        nic::thread::prepare(cpu)?;
        Ok::<_, NicError>(measure())
    });
    match measured.join() {
        Ok(Ok(measured)) => told(&measured),
        Ok(Err(error)) => Check::new("accuracy", Status::Skipped, error.to_string()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn measure() -> Measured {
    let clock = MonotonicClock;
    let (begun, mut step, mut last) = (clock.now(), Nanos::MAX, clock.now());
    for _ in 0..READINGS {
        let now = clock.now();
        if now > last {
            step = step.min(now - last);
        }
        last = now;
    }
    let cost = Nanos((last - begun).0 / READINGS);
    let lateness = Histogram::default();
    for _ in 0..SLEEPS {
        let until = clock.now() + Nanos::from(SLEEP);
        std::thread::sleep(SLEEP);
        lateness.record(clock.now() - until);
    }
    let lateness = lateness.snapshot();
    let quantile = |at| lateness.quantile(at).unwrap_or_default();
    Measured { cost, step, median: quantile(0.5), p99: quantile(0.99) }
}

fn told(Measured { cost, step, median, p99 }: &Measured) -> Check {
    let detail = format!(
        "reading the clock takes {} (least step {}), so stamps are good to that; a pinned thread wakes up {} late (median; p99 {}): that \
         delays a probe (send lag) and is in no round-trip time; `echolot ping` tells what is",
        span(*cost),
        span(*step),
        span(*median),
        span(*p99)
    );
    if *p99 < LATE {
        return Check::new("accuracy", Status::Ok, detail);
    }
    Check::new("accuracy", Status::Warning, detail).advise(
        "a busy neighbour, a power-saving governor or an overcommitted host makes timers late: look at `top` and at steal time",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_clock() {
        let measured = measure();
        assert!(measured.cost > Nanos::ZERO && measured.cost < Nanos::from_micros(100), "{}", measured.cost);
        assert!(measured.step <= Nanos::from_millis(20) && measured.median <= measured.p99);
    }

    #[test]
    fn a_thread_that_wakes_up_late_is_a_warning() {
        let [cost, step, median] = [30, 1, 60_000].map(Nanos);
        let fine = told(&Measured { cost, step, median, p99: Nanos::from_micros(200) });
        assert_eq!(fine.status, Status::Ok);
        assert!(
            fine.detail.contains("takes 30 ns (least step 1 ns)")
                && fine.detail.contains("60.0 us late (median; p99 200 us)"),
            "{fine:?}"
        );
        assert_eq!(told(&Measured { cost, step, median, p99: Nanos::from_millis(3) }).status, Status::Warning);
    }
}
