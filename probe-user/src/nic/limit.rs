//! How many frames may lie in a card's queue: pure, no I/O.
//!
//! A probe's round-trip time begins with its stamp, so what waits in the card before it adds to it. A queue of 4,096 frames in front
//! of a card that sends 100,000 a second is 40 ms that no network took. So no more frames are handed over than keep the card busy
//! until the next look. How many those are depends on the card, on how it reports what it has sent, and on how often we look: it is
//! found out as the kernel does for its own queues (lib/dynamic_queue_limits.c). The limit grows when the card was found with nothing
//! left to send although more was to be sent, and shrinks while some were always left.

use crate::time::Nanos;

/// Fewest frames that a card is limited to.
const LEAST: u32 = 32;
/// What it begins with.
const FIRST: u32 = 64;
/// Over which time it is seen whether some were always left.
const SPELL: Nanos = Nanos::from_millis(20);
/// A card that has reported nothing for so long may be one that waits for more before it does.
const STILL: Nanos = Nanos::from_millis(5);

/// A limit that follows what the card sends.
#[derive(Debug)]
pub(super) struct Limit {
    /// Frames that there are.
    most: u32,
    frames: u32,
    /// More was to be sent than the limit allowed when frames were last handed over.
    reached: bool,
    /// Fewest frames left at any look of this spell; `u32::MAX` before the first.
    left: u32,
    /// Most frames that were seen to be completed at once in this spell.
    lot: u32,
    spell: Nanos,
    /// What was out before frames were last handed over.
    before: u32,
    /// What was out last, and since when nothing has been completed.
    out: (u32, Nanos),
}

impl Limit {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            frames: FIRST.min(most),
            reached: false,
            left: u32::MAX,
            lot: 0,
            before: 0,
            spell: Nanos::ZERO,
            out: (0, Nanos::ZERO),
        }
    }

    /// How many more frames may be handed over while `out` are.
    pub(super) fn room(&self, out: u32) -> u32 {
        self.frames.saturating_sub(out)
    }

    /// So many frames are out, seen just now.
    pub(super) fn look(&mut self, out: u32, now: Nanos) {
        let completed = self.out.0.saturating_sub(out);
        self.lot = self.lot.max(completed);
        if out != self.out.0 || !self.reached {
            self.out.1 = now;
        }
        self.out.0 = out;
        if !self.reached {
            return;
        }
        // All that was there before the last ones came: it may have been done with that before they came.
        if out == 0 || (completed > 0 && completed >= self.before) {
            self.grow(now);
        } else if now - self.out.1 >= STILL {
            self.out.1 = now;
            self.grow(now);
        } else {
            self.left = self.left.min(out);
            if now - self.spell >= SPELL {
                // Some are meant to be left: looks don't come evenly. And while one lot is on its way to us as completed, the card
                // needs another; a third is for the moments at which we look.
                let spare = self.left.saturating_sub(self.frames / 3) / 2;
                let needed = (3 * self.lot).max(LEAST).min(self.frames);
                self.frames = (self.frames - spare).max(needed);
                (self.left, self.lot, self.spell) = (u32::MAX, 0, now);
            }
        }
    }

    /// Frames have been handed over: so many are out now, and `more` says whether others are to be sent.
    pub(super) fn handed(&mut self, out: u32, more: bool) {
        self.reached = more && out >= self.frames;
        if out > self.out.0 {
            self.before = self.out.0;
        }
        self.out.0 = out;
    }

    /// The card's queue has no room for more than these.
    pub(super) fn full(&mut self, out: u32) {
        self.frames = self.frames.min(out - out / 8).max(LEAST.min(self.most));
        (self.left, self.reached) = (u32::MAX, true);
    }

    fn grow(&mut self, now: Nanos) {
        self.frames = self.frames.saturating_add(self.frames / 2).min(self.most);
        (self.left, self.lot, self.spell, self.reached) = (u32::MAX, 0, now, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A card that sends a frame every `pace` and reports what it has sent every `report`, before a sender that looks every `look`.
    /// Returns what it sent in the second half of the time, the longest time that a frame handed over then waited, and its median.
    fn drive(pace: u64, report: u64, look: u64, most: u32) -> (u64, u64, u64) {
        let (mut limit, end) = (Limit::new(most), 400_000_000u64);
        let (mut busy_until, mut reported, mut now) = (0u64, 0u64, 0u64);
        let mut departures = std::collections::VecDeque::new();
        let (mut sent, mut waits) = (0, Vec::new());
        while now < end {
            if now - reported >= report {
                reported = now - now % report;
                while departures.front().is_some_and(|at| *at <= reported) {
                    departures.pop_front();
                }
            }
            let out = departures.len() as u32;
            limit.look(out, Nanos(now));
            for _ in 0..limit.room(out) {
                busy_until = busy_until.max(now) + pace;
                departures.push_back(busy_until);
                if now >= end / 2 {
                    sent += 1;
                    waits.push(busy_until - now);
                }
            }
            limit.handed(departures.len() as u32, true);
            now += look;
        }
        waits.sort_unstable();
        (sent, waits.last().copied().unwrap_or(0), waits[waits.len() / 2])
    }

    proptest! {
        /// Whatever the card, it is kept busy, and the queue is no longer than what it takes for that.
        #[test]
        fn the_card_is_kept_busy_by_a_short_queue(
            pace in 70u64..20_000,
            report in 1_000u64..1_000_000,
            look in 5_000u64..300_000,
        ) {
            let (sent, _, median) = drive(pace, report, look, 4_096);
            // What there are frames for.
            let carried = (200_000_000 / pace).min(200_000_000 * 4_096 / (report + look));
            prop_assert!(sent * 10 >= carried * 9, "{sent} of {carried}");
            let needed = report + look + u64::from(LEAST) * pace;
            prop_assert!(median <= 3 * needed, "{median} ns where {needed} are needed");
        }
    }

    #[test]
    fn a_card_that_reports_in_lots_gets_a_lot() {
        // It reports only when 200 frames are out.
        let mut limit = Limit::new(1_024);
        let (mut out, mut now) = (0, 0);
        for _ in 0..10_000 {
            limit.look(out, Nanos(now));
            out += limit.room(out);
            limit.handed(out, true);
            if out >= 200 {
                out = 0;
            }
            now += 50_000;
        }
        assert!(limit.frames >= 200, "{limit:?}");
    }

    #[test]
    fn who_sends_little_is_left_alone() {
        let mut limit = Limit::new(256);
        for i in 0..1_000u64 {
            limit.look(0, Nanos(i * 1_000_000));
            limit.handed(3, false);
        }
        assert_eq!((limit.frames, limit.room(3)), (FIRST, FIRST - 3));
    }

    #[test]
    fn a_full_queue_is_the_limit() {
        let mut limit = Limit::new(4_096);
        limit.frames = 2_000;
        limit.full(256);
        assert_eq!(limit.frames, 224);
        assert_eq!(limit.room(256), 0);
        limit.full(3);
        assert_eq!(limit.frames, LEAST);
    }
}
