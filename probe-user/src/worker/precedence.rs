//! Whether a loop goes before the other threads of its CPU: as long as it rests enough that they get on.
//!
//! A loop that is due should not wait until a scrape has had its share. One that never rests would leave nothing to the others, of whom
//! some work for it (on a busy CPU the kernel has a thread deal with what has arrived): it stands among them.

use crate::base::Nanos;
use std::fmt;

/// How it fared is looked at after so long.
const WINDOW: Nanos = Nanos::from_millis(100);
/// Of that it must have rested for one part in so many.
const PART: u64 = 10;

/// Has the calling thread go before others, or no longer. Returns whether it may.
type Set = Box<dyn FnMut(bool) -> bool + Send>;

/// See the module.
#[derive(Default)]
pub(super) struct Precedence {
    /// None: it may not, or nobody wants it to.
    set: Option<Set>,
    has: bool,
    begun: Nanos,
    rested: Nanos,
}

impl fmt::Debug for Precedence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Precedence").field("may", &self.set.is_some()).field("has", &self.has).finish()
    }
}

impl Precedence {
    pub(super) fn new(set: impl FnMut(bool) -> bool + Send + 'static) -> Self {
        Self { set: Some(Box::new(set)), ..Self::default() }
    }

    /// At the end of each turn: it rested from one moment to the other.
    #[inline]
    pub(super) fn turned(&mut self, from: Nanos, to: Nanos) {
        self.rested += to - from;
        if to - self.begun >= WINDOW {
            self.look(to);
        }
    }

    #[cold]
    fn look(&mut self, now: Nanos) {
        let may = self.rested.0.saturating_mul(PART) >= (now - self.begun).0;
        (self.begun, self.rested) = (now, Nanos::ZERO);
        if may != self.has
            && let Some(set) = &mut self.set
        {
            if set(may) {
                self.has = may;
            } else {
                self.set = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Turns of 1 ms each, of which it rests for so many microseconds; returns what was set meanwhile.
    fn drive(precedence: &mut Precedence, now: &mut Nanos, turns: u32, rest: u64, set: &Mutex<Vec<bool>>) -> Vec<bool> {
        for _ in 0..turns {
            let until = *now + Nanos::from_millis(1);
            precedence.turned(until - Nanos::from_micros(rest), until);
            *now = until;
        }
        std::mem::take(&mut set.lock().expect("one thread"))
    }

    /// One that may go first, or not, and what has been set.
    fn one(may: bool) -> (Precedence, Arc<Mutex<Vec<bool>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let set = move |first| {
            tell.lock().expect("one thread").push(first);
            may
        };
        (Precedence::new(set), told)
    }

    #[test]
    fn who_rests_goes_first_and_who_does_not_stands_back() {
        let (mut precedence, told) = one(true);
        let mut now = Nanos::from_secs(7);
        assert_eq!(drive(&mut precedence, &mut now, 1, 0, &told), [false; 0], "nothing is known yet");
        assert_eq!(drive(&mut precedence, &mut now, 500, 300, &told), [true]);
        assert_eq!(drive(&mut precedence, &mut now, 500, 90, &told), [false], "too little");
        assert_eq!(drive(&mut precedence, &mut now, 500, 0, &told), [false; 0], "as before");
        assert_eq!(drive(&mut precedence, &mut now, 500, 110, &told), [true]);
    }

    #[test]
    fn who_may_not_is_not_asked_again() {
        let (mut precedence, told) = one(false);
        assert_eq!(drive(&mut precedence, &mut Nanos::from_secs(7), 1_000, 900, &told), [true]);
    }
}
