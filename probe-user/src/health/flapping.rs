//! Targets that go up and down and up.

use crate::base::{Nanos, TargetIndex};
use std::collections::HashMap;

/// A target that changes between up and down more often than this within the window is flapping. It is no longer once half of them are
/// left in the window.
pub const MOST_CHANGES: usize = 6;
/// Targets that are watched at once: the next ones are once others have been quiet for a window. An outage of everything changes
/// everybody's state once, and must not take memory for it.
const MOST_WATCHED: usize = 1 << 16;

/// How far back changes count: 5 minutes, or 10 times what it takes to go down where that is longer.
pub fn window(interval: Nanos, down_after: u32) -> Nanos {
    Nanos::from_secs(300).max(Nanos(interval.0.saturating_mul(10 * u64::from(down_after))))
}

/// A target began to flap, or ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Who.
    pub target: TargetIndex,
    /// Whether it is flapping now.
    pub flapping: bool,
    /// Changes of state within the window.
    pub changes: usize,
    /// The window.
    pub window: Nanos,
}

#[derive(Debug)]
struct Watched {
    /// The last changes, in a ring.
    at: [Nanos; MOST_CHANGES + 1],
    next: usize,
    window: Nanos,
    flapping: bool,
}

impl Watched {
    /// Changes at most as old as the window.
    fn recent(&self, now: Nanos) -> usize {
        self.at.iter().filter(|at| **at != Nanos::ZERO && now - **at <= self.window).count()
    }
}

/// Who is flapping.
#[derive(Debug, Default)]
pub struct Flapping(HashMap<TargetIndex, Watched>);

impl Flapping {
    /// A target went up, or down, at that moment (not zero). Returns the news, if it is flapping now and was not before.
    pub fn changed(&mut self, target: TargetIndex, at: Nanos, window: Nanos) -> Option<Change> {
        if !self.0.contains_key(&target) && self.0.len() >= MOST_WATCHED {
            return None;
        }
        let new = || Watched { at: [Nanos::ZERO; MOST_CHANGES + 1], next: 0, window, flapping: false };
        let watched = self.0.entry(target).or_insert_with(new);
        watched.at[watched.next] = at;
        watched.next = (watched.next + 1) % watched.at.len();
        let changes = watched.recent(at);
        if watched.flapping || changes <= MOST_CHANGES {
            return None;
        }
        watched.flapping = true;
        Some(Change { target, flapping: true, changes, window })
    }

    /// Forgets a target that is no longer there. Whether it was flapping.
    pub fn forget(&mut self, target: TargetIndex) -> bool {
        self.0.remove(&target).is_some_and(|watched| watched.flapping)
    }

    /// Forgets who has been quiet, and tells who is no longer flapping. To be called every second or so.
    pub fn calmed(&mut self, now: Nanos, mut tell: impl FnMut(Change)) {
        self.0.retain(|target, watched| {
            let changes = watched.recent(now);
            if watched.flapping && changes <= MOST_CHANGES / 2 {
                watched.flapping = false;
                tell(Change { target: *target, flapping: false, changes, window: watched.window });
            }
            changes > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Nanos = Nanos::from_secs(300);
    const WHO: TargetIndex = TargetIndex(3);

    #[test]
    fn the_seventh_change_within_the_window_is_flapping() {
        let mut flapping = Flapping::default();
        let tell = |flapping: &mut Flapping, second| flapping.changed(WHO, Nanos::from_secs(second), WINDOW);
        // Six, and a long rest: the seventh comes too late.
        assert!((1..=6).all(|second| tell(&mut flapping, second).is_none()));
        assert_eq!(tell(&mut flapping, 302), None);
        let rest: Vec<_> = (303..=309).filter_map(|second| tell(&mut flapping, second)).collect();
        assert_eq!(rest, [Change { target: WHO, flapping: true, changes: 7, window: WINDOW }], "told once");
    }

    #[test]
    fn it_ends_when_half_of_the_changes_are_too_old() {
        let mut flapping = Flapping::default();
        for second in 1..=7 {
            flapping.changed(WHO, Nanos::from_secs(second * 10), WINDOW);
        }
        let mut told = Vec::new();
        flapping.calmed(Nanos::from_secs(339), |change| told.push(change));
        assert_eq!(told, [], "four are left");
        flapping.calmed(Nanos::from_secs(341), |change| told.push(change));
        assert_eq!(told, [Change { target: WHO, flapping: false, changes: 3, window: WINDOW }]);
        flapping.calmed(Nanos::from_secs(400), |change| told.push(change));
        assert!(flapping.0.is_empty() && told.len() == 1);
    }

    #[test]
    fn an_outage_of_everything_takes_no_more_than_so_much() {
        let mut flapping = Flapping::default();
        for target in 0..200_000 {
            assert_eq!(flapping.changed(TargetIndex(target), Nanos(1), WINDOW), None);
        }
        assert_eq!(flapping.0.len(), MOST_WATCHED);
        flapping.calmed(Nanos::from_secs(301), |_| unreachable!("nobody flapped"));
        assert_eq!(flapping.0.len(), 0);
    }

    #[test]
    fn slow_groups_have_longer_windows() {
        assert_eq!(window(Nanos::from_secs(1), 3), WINDOW);
        assert_eq!(window(Nanos::from_secs(60), 3), Nanos::from_secs(1_800));
    }
}
