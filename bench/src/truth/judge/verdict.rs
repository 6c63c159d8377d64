//! What the judge says, for people.

use super::Excuses;
use std::fmt;

/// Mismatches that are kept, and of those the ones that people are told one by one.
const KEPT: usize = 1 << 16;
const SHOWN: usize = 20;

/// A distribution, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Times {
    pub count: usize,
    pub min: u64,
    pub median: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

impl Times {
    pub(super) fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |share: usize| times.get(times.len().saturating_sub(1) * share / 100).copied().unwrap_or(0);
        Self { count: times.len(), min: at(0), median: at(50), p90: at(90), p99: at(99), max: at(100) }
    }
}

impl fmt::Display for Times {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u64| ns as f64 / 1_000.0;
        let (min, median, p90, p99, max) = (us(self.min), us(self.median), us(self.p90), us(self.p99), us(self.max));
        write!(f, "min {min:.1} us, median {median:.1} us, p90 {p90:.1} us, p99 {p99:.1} us, max {max:.1} us")
    }
}

/// What the judge found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Results judged.
    pub judged: u64,
    /// The first mismatches, in words.
    pub told: Vec<String>,
    /// All of them.
    pub mismatches: u64,
    /// Probes that would be mismatches, were it not for an interface's counter.
    pub excused: u64,
    /// What there was to excuse them with.
    pub excuses: Excuses,
    /// Probes that may have ended either way: a reply left just before the timeout.
    pub borderline: u64,
    /// Results of ranges without a record: answered, or there is an excuse.
    pub unrecorded: u64,
    /// Answers whose path took longer than it may, while a CPU of this machine was held up.
    pub held_up: u64,
    /// Round-trip time less the far end's hold: the path's own time.
    pub path: Times,
    /// What the far end held the answers for.
    pub hold: Times,
}

impl Verdict {
    pub(super) fn mismatch(&mut self, what: impl FnOnce() -> String) {
        self.mismatches += 1;
        if self.told.len() < KEPT {
            self.told.push(what());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for told in self.told.iter().take(SHOWN) {
            writeln!(f, "  MISMATCH {told}")?;
        }
        let Self { judged, mismatches, excused, borderline, .. } = self;
        writeln!(f, "  {judged} results, {mismatches} mismatches, {excused} excused, {borderline} borderline")?;
        if self.unrecorded > 0 {
            writeln!(
                f,
                "  {} of them in ranges without a record: answered within the timeout, no more",
                self.unrecorded
            )?;
        }
        if self.held_up > 0 {
            writeln!(f, "  {} answers took a path too long while a CPU of this machine was held up", self.held_up)?;
        }
        let Excuses { there, back } = self.excuses;
        if there + back > 0 {
            writeln!(f, "  counters admit to {there} frames lost on the way there, {back} on the way back")?;
        }
        writeln!(f, "  path  {} ({} answers)", self.path, self.path.count)?;
        write!(f, "  hold  {}", self.hold)
    }
}
