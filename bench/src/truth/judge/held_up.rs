//! When a CPU of this machine did not do what it was asked to.

/// From when to when a CPU did not do what it was asked to, CLOCK_MONOTONIC nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct HeldUp {
    pub from: u64,
    pub to: u64,
}

/// Stretches in which some CPU was held up: in order, and apart from each other.
pub(in crate::truth) struct Stretches(Vec<HeldUp>);

impl Stretches {
    /// Those of at least so many nanoseconds.
    pub(in crate::truth) fn of(held_up: &[HeldUp], least: u64) -> Self {
        let mut all: Vec<HeldUp> = held_up.iter().copied().filter(|held| held.to - held.from >= least).collect();
        all.sort_unstable_by_key(|held| held.from);
        let mut apart: Vec<HeldUp> = Vec::new();
        for held in all {
            match apart.last_mut() {
                Some(last) if held.from <= last.to => last.to = last.to.max(held.to),
                _ => apart.push(held),
            }
        }
        Self(apart)
    }

    /// Whether any of them lies between two moments, or in part.
    pub(in crate::truth) fn meet(&self, from: u64, to: u64) -> bool {
        let first = self.0.partition_point(|held| held.to < from);
        self.0.get(first).is_some_and(|held| held.from <= to)
    }
}
