//! How many probes leave together: pure, no I/O.
//!
//! Whatever leaves together waits for the last of it behind its stamp. Flushing more often costs calls, which only an engine that is
//! pressed can't afford.

use crate::base::Nanos;

/// Knows how busy an engine is.
#[derive(Debug, Default)]
pub(super) struct Flush {
    ended: Nanos,
    took: Nanos,
}

impl Flush {
    /// Whether a call that begins now comes so soon after the last one that the engine is busy for more than half of the time.
    #[inline]
    pub(super) fn is_pressed(&self, begun: Nanos) -> bool {
        begun - self.ended < self.took
    }

    /// A call has ended.
    #[inline]
    pub(super) fn called(&mut self, begun: Nanos, ended: Nanos) {
        (self.ended, self.took) = (ended, ended - begun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_pressed_that_works_for_more_than_half_of_the_time() {
        let mut flush = Flush::default();
        assert!(!flush.is_pressed(Nanos(5)), "at first");
        flush.called(Nanos(1_000), Nanos(1_100));
        assert!(flush.is_pressed(Nanos(1_100)));
        assert!(flush.is_pressed(Nanos(1_199)));
        assert!(!flush.is_pressed(Nanos(1_200)));
    }
}
