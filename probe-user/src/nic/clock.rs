//! CLOCK_MONOTONIC, and sleeping by it.

use crate::{
    base::Nanos,
    worker::{Clock, Rest},
};

/// The clock of `bpf_ktime_get_ns`: stamps made here and in XDP can be subtracted.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    #[inline]
    fn now(&self) -> Nanos {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid, exclusively borrowed timespec. The call can't fail for this clock, and goes through
        // the vDSO: no system call.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        Nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
    }
}

/// CLOCK_BOOTTIME: as CLOCK_MONOTONIC, and goes on while the machine sleeps.
pub fn boot_time() -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, exclusively borrowed timespec. The call can't fail for this clock (Linux 2.6.39).
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// Sleeps until the moment, for a thread that has no receive queues: nothing wakes it early but a signal.
impl Rest for MonotonicClock {
    fn rest(&mut self, until: Nanos) {
        if until <= self.now() {
            return;
        }
        let until = timespec(until);
        // SAFETY: `until` is a valid timespec, and the remainder is not asked for. An early return (EINTR) is allowed.
        unsafe {
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const until, std::ptr::null_mut())
        };
    }

    fn pause(&mut self, until: Nanos) {
        self.rest(until);
    }
}

/// As the kernel wants it; the far future (292 years) is as far as it goes.
pub(super) fn timespec(nanos: Nanos) -> libc::timespec {
    let nanos = i64::try_from(nanos.0).unwrap_or(i64::MAX);
    libc::timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_until_the_moment_and_not_at_all_for_one_that_has_passed() {
        let mut clock = MonotonicClock;
        let until = clock.now() + Nanos::from_millis(20);
        clock.rest(until);
        assert!(clock.now() >= until);
        let before = clock.now();
        clock.rest(Nanos::ZERO);
        assert!(clock.now() - before < Nanos::from_millis(20));
    }
}
