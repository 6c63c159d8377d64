//! Times in which the whole machine stood still.

use super::now;
use crate::{base::Nanos, route::LinkState};

/// Two readings of two clocks, one after the other, may differ by the time between them; on a busy machine by some milliseconds.
const SLACK: Nanos = Nanos::from_millis(50);
/// When a machine wakes, its card is up a little later than its clock.
const AWAKE: Nanos = Nanos::from_millis(100);

/// Notices that the machine was suspended: CLOCK_MONOTONIC, by which probes are judged, stands still meanwhile, and CLOCK_BOOTTIME
/// does not. So no deadline passes while it sleeps; but what was sent before found nobody at home when its reply came.
///
/// A process that was stopped (SIGSTOP, a debugger) is no such machine: both clocks go on, so does the kernel, and whatever XDP
/// stamped lies in the rings and is *answered*. A virtual machine that is paused and whose clocks go on can't be told from a
/// stopped process by any clock; where they stop with it, as under KVM's, nothing has happened that they could show.
pub(super) struct Asleep {
    seen: Nanos,
    /// By how much CLOCK_BOOTTIME is ahead.
    ahead: Nanos,
}

impl Asleep {
    pub(super) fn new() -> Self {
        let seen = now();
        Self { seen, ahead: crate::nic::boot_time() - seen }
    }

    /// Looks at the clocks. A sleep since the last look is excused, and returned: how long it was.
    pub(super) fn look(&mut self, link: &LinkState) -> Option<Nanos> {
        let now = now();
        self.look_at(now, crate::nic::boot_time(), link)
    }

    fn look_at(&mut self, now: Nanos, boot: Nanos, link: &LinkState) -> Option<Nanos> {
        let before = std::mem::replace(&mut self.seen, now);
        let ahead = boot - now;
        if ahead < self.ahead + SLACK {
            // Never more ahead than at the best look: slack must not add up.
            self.ahead = self.ahead.min(ahead);
            return None;
        }
        let slept = ahead - std::mem::replace(&mut self.ahead, ahead);
        link.stood_still(before, now + AWAKE);
        Some(slept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    fn awake() -> Asleep {
        Asleep { seen: at(1_000), ahead: at(7_000) }
    }

    #[test]
    fn a_sleep_excuses_what_it_touched() {
        let (mut asleep, link) = (awake(), LinkState::new());
        assert_eq!(asleep.look_at(at(1_050), at(8_050), &link), None);
        assert_eq!(asleep.look_at(at(1_100), at(3_608_100), &link), Some(at(3_600_000)));
        // Sent before it and due after it; sent while it woke; long before; after.
        assert!(link.was_down_between(at(900), at(1_900)));
        assert!(link.was_down_between(at(1_150), at(2_150)));
        assert!(!link.was_down_between(at(100), at(1_000)));
        assert!(!link.was_down_between(at(1_201), at(2_201)));
        assert!(link.is_up());
        assert_eq!(asleep.look_at(at(1_150), at(3_608_150), &link), None, "once");
    }

    #[test]
    fn a_process_that_was_stopped_has_not_slept() {
        let (mut asleep, link) = (awake(), LinkState::new());
        assert_eq!(asleep.look_at(at(61_000), at(68_000), &link), None);
        assert!(!link.was_down_between(Nanos::ZERO, Nanos::MAX));
    }

    #[test]
    fn looks_that_were_held_up_between_the_clocks_do_not_add_up() {
        let (mut asleep, link) = (awake(), LinkState::new());
        for round in 1..100 {
            let late = if round % 2 == 0 { 40 } else { 0 };
            assert_eq!(asleep.look_at(at(1_000 + 50 * round), at(8_000 + 50 * round + late), &link), None);
        }
    }

    #[test]
    fn the_real_clocks_agree() {
        let (mut asleep, link) = (Asleep::new(), LinkState::new());
        assert_eq!(asleep.look(&link), None);
    }
}
