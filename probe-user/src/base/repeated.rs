//! When the log tells of a fault that comes again and again.

use super::Nanos;
use std::fmt;

/// A fault that lasts is told again after this.
const AGAIN: Nanos = Nanos::from_secs(300);

/// A fault that may repeat: told when it begins, every 5 minutes while it lasts, with how often it has happened since, and once when it
/// is over. One for each thing that can fail. Pure: time is an argument.
///
/// ```
/// # use echolot::base::{Nanos, RepeatedFault};
/// # let (mut fault, now, error) = (RepeatedFault::default(), Nanos::ZERO, "no such file");
/// if let Some(times) = fault.happened(now) {
///     println!("targets.json: {error}{times}");
/// }
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct RepeatedFault {
    /// While it lasts: when it was last told.
    told: Option<Nanos>,
    /// How often it has happened since it was last told.
    untold: u64,
    /// How often since it began.
    all: u64,
}

/// How often a fault has happened since it was last told. `Display` is what stands behind the fault's own words: nothing at first, then
/// ` (12 times in the last 300s)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// At least 1.
    pub times: u64,
    /// Since when it was last told; None: this is the first.
    pub within: Option<Nanos>,
}

impl RepeatedFault {
    /// It has happened. Returns what to tell, if it is to be told now.
    pub fn happened(&mut self, now: Nanos) -> Option<Times> {
        self.untold += 1;
        self.all += 1;
        let within = match self.told {
            Some(told) if now - told < AGAIN => return None,
            told => told.map(|told| now - told),
        };
        self.told = Some(now);
        Some(Times { times: std::mem::take(&mut self.untold), within })
    }

    /// It is over. Returns how often it happened in all, if it was there: that is told once.
    pub const fn over(&mut self) -> Option<u64> {
        let all = self.all;
        *self = Self { told: None, untold: 0, all: 0 };
        if all > 0 { Some(all) } else { None }
    }

    /// Whether it lasts.
    pub const fn lasts(&self) -> bool {
        self.all > 0
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(within) = self.within else { return Ok(()) };
        let plural = if self.times == 1 { "" } else { "s" };
        write!(f, " ({} time{plural} in the last {}s)", self.times, within.0 / 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(second: u64) -> Nanos {
        Nanos::from_secs(second)
    }

    #[test]
    fn a_fault_that_lasts_is_told_at_once_and_every_five_minutes_with_its_count() {
        let mut fault = RepeatedFault::default();
        let told: Vec<_> = (7..1_000).filter_map(|second| Some((second, fault.happened(at(second))?))).collect();
        let again = Times { times: 300, within: Some(at(300)) };
        assert_eq!(told, [(7, Times { times: 1, within: None }), (307, again), (607, again), (907, again)]);
        assert!(fault.lasts());
        assert_eq!((fault.over(), fault.over(), fault.lasts()), (Some(993), None, false));
        assert_eq!(fault.happened(at(1_000)), Some(Times { times: 1, within: None }), "a new one is told at once");
    }

    #[test]
    fn a_fault_that_is_rarer_than_that_is_told_each_time() {
        let mut fault = RepeatedFault::default();
        assert!(fault.happened(at(1)).is_some());
        assert_eq!(fault.happened(at(601)), Some(Times { times: 1, within: Some(at(600)) }));
    }

    #[test]
    fn what_stands_behind_its_words_is_how_often() {
        let shown = |times, within| Times { times, within }.to_string();
        assert_eq!(shown(1, None), "");
        assert_eq!(shown(1, Some(at(301))), " (1 time in the last 301s)");
        assert_eq!(shown(12, Some(at(300))), " (12 times in the last 300s)");
    }
}
