//! When the card takes less than is due: how long what was entered waits, and which due times pass without a probe.

use crate::{
    base::Nanos,
    schedule::{LeftOut, Pacer},
    worker::Room,
};

/// How long a probe with a due time waits for an engine that takes nothing at all. Its round trip begins when it leaves, so waiting
/// costs it nothing but punctuality.
const DUE_WAITS: Nanos = Nanos::from_millis(10);
/// The same where nothing is missed by waiting: longer than a card takes to restart a queue that hangs (the kernel's watchdog of
/// transmit queues looks after five seconds).
const WITHOUT_END_WAITS: Nanos = Nanos::from_secs(10);
/// Between looks whether there is room again: the longer there has been none, the longer, between these bounds.
const LOOK: (Nanos, Nanos) = (Nanos::from_micros(20), Nanos::from_millis(1));
/// The card counts as too slow for so long after it was last seen to be.
const RECENT: Nanos = Nanos::from_millis(200);

/// What a sender knows of the card's pace.
pub(super) struct Backlog {
    /// When something was last taken, or nothing waited.
    moved: Nanos,
    /// Nothing is taken any more: what is full is given up at once, until something is.
    stuck: bool,
    /// When the card last set the pace.
    full: Option<Nanos>,
    /// When to ask for room again; None while there is some.
    again: Option<Nanos>,
}

impl Backlog {
    pub(super) const fn new(now: Nanos) -> Self {
        Self { moved: now, stuck: false, full: None, again: None }
    }

    /// Probes that may be at hand at once. `waiting`: some were offered and found no room. `may_wait`: none of them has a due time to
    /// miss. `batch`: the most there can ever be.
    pub(super) fn room(&mut self, room: Room, waiting: bool, may_wait: bool, batch: usize, now: Nanos) -> usize {
        // Who is stuck is so until something is taken: that there seems to be room may only mean that nobody has asked.
        if room.probes > 0 && !waiting && !self.stuck {
            self.moved = self.moved.max(now);
        }
        if now - self.moved > if may_wait { WITHOUT_END_WAITS } else { DUE_WAITS } {
            self.stuck = true;
        }
        // What is due is handed over all the same then, so that it is known for unsent.
        if self.stuck { batch } else { room.probes }
    }

    /// Whether more is to be sent than there is room for, and whether it is the card that has none. `again`: when the engine wants to be
    /// asked next.
    pub(super) fn wait(&mut self, waits: bool, by_card: bool, again: Nanos, now: Nanos) {
        if waits && by_card {
            self.full = Some(now);
        }
        let look = Nanos((now - self.moved).0 / 8).clamp(LOOK.0, LOOK.1);
        self.again = waits.then(|| again.max(now + look));
    }

    /// When to look again, if something waits for room.
    pub(super) const fn again(&self) -> Option<Nanos> {
        self.again
    }

    /// Probes were handed over, and so many of them taken.
    pub(super) fn handed(&mut self, taken: usize, now: Nanos) {
        if taken > 0 {
            self.moved = now;
            self.stuck = false;
        }
    }

    /// Whether what is full is to be given up.
    pub(super) const fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Whether the card was seen to set the pace just now.
    pub(super) fn is_full(&self, now: Nanos) -> bool {
        self.full.is_some_and(|full| now - full < RECENT)
    }

    /// Which share of the ticks to leave out.
    ///
    /// Where the card sets the pace, probes come later and later, until they are skipped for that: in stretches, and perhaps the same
    /// targets each round. So the closer the lag comes to where all would be skipped, the more are left out, one here and one there.
    /// It settles where as many are left out as the card does not carry.
    pub(super) fn left_out<'a>(&self, pacers: impl Iterator<Item = &'a Pacer>, now: Nanos) -> LeftOut {
        if self.stuck || !self.is_full(now) {
            return LeftOut::default();
        }
        let (mut most, mut lag) = (Nanos::MAX, Nanos::ZERO);
        for pacer in pacers.filter(|pacer| pacer.next_at().is_some()) {
            if let Some(own) = pacer.most_lag() {
                most = most.min(own);
                lag = lag.max(pacer.lag(now));
            }
        }
        // The earlier half of the time that a probe may be late is for what passes by itself.
        let half = most.0 / 2;
        let over = u128::from((lag - Nanos(half)).0) << 32;
        LeftOut(u32::try_from(over / u128::from(half.max(1))).unwrap_or(u32::MAX))
    }
}
