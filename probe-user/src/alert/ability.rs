//! Whether this machine can measure: what it is held for, and how many of its probes say nothing.

use super::labels::Moment;
use crate::{base::Nanos, health::Hold};
use std::collections::VecDeque;

/// Over which time the share of probes is taken that say nothing.
pub const SPAN: Nanos = Nanos::from_secs(30);
/// More than one in so many is too many.
const TOO_MANY: u64 = 10;

/// Probes that have ended, and those of them that say nothing because of this machine.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// All.
    pub settled: u64,
    /// Those that it did not send.
    pub unsent: u64,
    /// Those whose answers it may have dropped.
    pub unheard: u64,
}

/// Why it can't measure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trouble {
    /// States are held: the number of the reason among [`Hold::ALL`].
    Held(usize),
    /// More than a tenth of the probes that ended lately say nothing, for the most part because they were not sent.
    Unsent,
    /// The same, because answers may have been dropped.
    Unheard,
}

impl Trouble {
    /// All.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Hold::ALL.len()).map(Self::Held).chain([Self::Unsent, Self::Unheard])
    }

    /// As in the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held(reason) => Hold::ALL[reason].name(),
            Self::Unsent => "unsent",
            Self::Unheard => "unheard",
        }
    }

    /// In words for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Held(0) => "its link is down",
            Self::Held(1) => "a gateway does not answer",
            Self::Held(_) => "more than half of its probes can't be sent",
            Self::Unsent => "more than a tenth of its probes were not sent in the last 30 s",
            Self::Unheard => "answers to more than a tenth of its probes may have been dropped here in the last 30 s",
        }
    }
}

/// Looks at counts again and again.
#[derive(Debug, Default)]
pub struct Ability {
    seen: VecDeque<(Nanos, Counts)>,
    /// By the share of probes.
    share: Option<Trouble>,
    has_judged: bool,
}

impl Ability {
    /// Whether it has been able to say something of the share of probes yet.
    pub fn has_judged(&self) -> bool {
        self.has_judged
    }

    /// Why it can't measure now; nothing where it can. To be asked every second or so.
    pub fn look(&mut self, held: [bool; Hold::ALL.len()], counts: Counts, now: Moment) -> Vec<Trouble> {
        let held: Vec<Trouble> =
            (0..).zip(held).filter(|(_, held)| *held).map(|(reason, _)| Trouble::Held(reason)).collect();
        if !held.is_empty() {
            // That says it all, and what was unsent or unheard meanwhile is no reason afterwards.
            (self.share, self.seen, self.has_judged) = (None, VecDeque::new(), true);
            return held;
        }
        self.seen.push_back((now.at, counts));
        while self.seen.get(1).is_some_and(|(at, _)| now.at - *at >= SPAN) {
            self.seen.pop_front();
        }
        if let Some((at, before)) = self.seen.front()
            && now.at - *at >= SPAN
        {
            let of = |all: u64, before: u64| all.saturating_sub(before);
            let (unsent, unheard) = (of(counts.unsent, before.unsent), of(counts.unheard, before.unheard));
            let settled = of(counts.settled, before.settled);
            let is_much = (unsent + unheard) * TOO_MANY > settled;
            // A span in which nothing ended says nothing new. The reason stays for as long as there is one.
            if settled > 0 {
                self.has_judged = true;
                let reason = if unsent >= unheard { Trouble::Unsent } else { Trouble::Unheard };
                self.share = is_much.then(|| self.share.unwrap_or(reason));
            }
        }
        self.share.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        ability: Ability,
        counts: Counts,
        second: u64,
    }

    impl World {
        fn new() -> Self {
            Self { ability: Ability::default(), counts: Counts::default(), second: 100 }
        }

        /// Seconds in each of which so many ended so: the last word.
        fn pass(
            &mut self,
            seconds: u64,
            held: [bool; 3],
            (settled, unsent, unheard): (u64, u64, u64),
        ) -> Vec<&'static str> {
            let mut last = Vec::new();
            for _ in 0..seconds {
                self.second += 1;
                self.counts.settled += settled;
                self.counts.unsent += unsent;
                self.counts.unheard += unheard;
                let now = Moment { at: Nanos::from_secs(self.second), unix_ns: 0 };
                last = self.ability.look(held, self.counts, now);
            }
            last.into_iter().map(Trouble::name).collect()
        }
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn a_share_is_told_once_it_has_lasted_and_ends_when_it_is_over() {
        let mut world = World::new();
        assert_eq!(world.pass(40, [false; 3], (100, 10, 0)), NOTHING, "a tenth is not more than a tenth");
        assert_eq!(world.pass(40, [false; 3], (100, 6, 5)), ["unsent"]);
        assert_eq!(world.pass(10, [false; 3], (100, 5, 6)), ["unsent"], "one reason until it is over");
        assert_eq!(world.pass(5, [false; 3], (0, 0, 0)), ["unsent"]);
        assert_eq!(world.pass(40, [false; 3], (100, 0, 0)), NOTHING);
        assert_eq!(world.pass(40, [false; 3], (100, 1, 50)), ["unheard"]);
        assert_eq!(world.pass(100, [false; 3], (0, 0, 0)), ["unheard"], "nothing ended: nothing is known to be better");
    }

    #[test]
    fn what_states_are_held_for_says_it_all() {
        let mut world = World::new();
        world.pass(40, [false; 3], (100, 0, 0));
        assert_eq!(world.pass(1, [true, false, false], (100, 100, 0)), ["link_down"]);
        assert_eq!(world.pass(60, [false, true, true], (100, 100, 0)), ["gateway", "sending"]);
        assert_eq!(world.pass(29, [false; 3], (100, 0, 0)), NOTHING, "what was unsent then is no reason now");
        assert_eq!(world.pass(40, [false; 3], (100, 0, 0)), NOTHING);
        assert_eq!(Trouble::all().map(Trouble::name).count(), 5);
    }
}
