//! Up, down, unknown: from outcomes in probe order; flapping, from changes of state. Pure.

mod flapping;
mod hold;
mod unhealthy;

pub use flapping::{Change, Flapping, MOST_CHANGES, window};
pub use hold::{Hold, Holding};
pub use unhealthy::Unhealthy;

use crate::base::State;

/// What a settled probe says about its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It answered.
    Good,
    /// It was lost, or somebody said that the target can't be reached.
    Bad,
    /// We don't know: unsent, unheard, or not probed. Changes nothing.
    Silent,
}

/// A target's state and the length of its present streak of probes that speak against it.
///
/// A target goes up after `up_after` consecutive good probes and down after `down_after` consecutive bad ones, where probes that
/// say nothing don't interrupt a streak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health {
    state: State,
    /// Whether the streak is of good probes.
    good: bool,
    streak: u32,
}

const STREAK_BITS: u32 = 29;
const LONGEST: u32 = (1 << STREAK_BITS) - 1;

impl Health {
    /// Of a target that has not been probed; `resolved` says whether it has an address.
    pub const fn new(resolved: bool) -> Self {
        Self { state: if resolved { State::Unknown } else { State::Unresolved }, good: false, streak: 0 }
    }

    /// What the target is held to be.
    pub const fn state(self) -> State {
        self.state
    }

    /// The same target after one more probe, judged by its group's thresholds.
    #[must_use]
    pub fn after(self, verdict: Verdict, up_after: u32, down_after: u32) -> Self {
        let good = match verdict {
            Verdict::Silent => return self,
            Verdict::Good => true,
            Verdict::Bad => false,
        };
        let streak = if good == self.good { (self.streak + 1).min(LONGEST) } else { 1 };
        let state = match good {
            true if streak >= up_after => State::Up,
            false if streak >= down_after => State::Down,
            _ => self.state,
        };
        Self { state, good, streak }
    }

    /// The streak as it is, the state as it was `before`: a change that is put off.
    #[must_use]
    pub const fn put_off(self, before: Self) -> Self {
        Self { state: before.state, ..self }
    }

    /// Whether the streak is long enough for *down*, and the state is another: the change was put off.
    pub const fn owes_down(self, down_after: u32) -> bool {
        !self.good && self.streak >= down_after && matches!(self.state, State::Unknown | State::Up)
    }

    /// The change that was put off.
    #[must_use]
    pub const fn with_down(self) -> Self {
        Self { state: State::Down, ..self }
    }

    /// A streak of bad probes that turned out to say nothing about the target is forgotten. The state stays.
    #[must_use]
    pub const fn without_bad_streak(self) -> Self {
        if self.good { self } else { Self { streak: 0, ..self } }
    }

    /// In one word: state in bits 30 and 31, kind of streak in bit 29, streak below.
    pub const fn to_bits(self) -> u32 {
        (self.state as u32) << 30 | (self.good as u32) << STREAK_BITS | self.streak
    }

    /// From that word.
    pub const fn from_bits(bits: u32) -> Self {
        let state = State::ALL[(bits >> 30) as usize];
        Self { state, good: bits >> STREAK_BITS & 1 == 1, streak: bits & LONGEST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The plainest telling: look back over the whole story for a long enough run of equal verdicts.
    fn model(story: &[Verdict], up_after: usize, down_after: usize) -> State {
        let mut state = State::Unknown;
        let spoken: Vec<_> = story.iter().filter(|v| **v != Verdict::Silent).collect();
        for end in 1..=spoken.len() {
            let ends_with = |n: usize, v| end >= n && spoken[end - n..end].iter().all(|s| **s == v);
            if ends_with(up_after, Verdict::Good) {
                state = State::Up;
            } else if ends_with(down_after, Verdict::Bad) {
                state = State::Down;
            }
        }
        state
    }

    proptest! {
        #[test]
        fn agrees_with_the_story_read_back(
            story in proptest::collection::vec(prop_oneof![Just(Verdict::Good), Just(Verdict::Bad), Just(Verdict::Silent)], 0..60),
            up_after in 1u32..5,
            down_after in 1u32..5,
        ) {
            let health = story.iter().fold(Health::new(true), |health, verdict| {
                Health::from_bits(health.after(*verdict, up_after, down_after).to_bits())
            });
            prop_assert_eq!(health.state(), model(&story, up_after as usize, down_after as usize));
        }
    }
}
