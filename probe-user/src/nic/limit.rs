//! How many frames may lie in a card's queue: pure, no I/O.
//!
//! A probe's round-trip time begins with its stamp, so what waits in the card before it adds to it. A queue of 4,096 frames in front
//! of a card that sends 100,000 a second is 40 ms that no network took. So no more frames are handed over than keep the card busy
//! until the next look. How many those are depends on the card, on how it reports what it has sent, and on how often we look: it is
//! found out as the kernel does for its own queues (lib/dynamic_queue_limits.c). The limit grows when the card had nothing left to
//! send although more was to be sent, and shrinks while more was left at every report than lasts until the next look.
//!
//! How many are reported at once says nothing: virtio_net reports when three quarters of its queue are sent, however long that is.
//! What does is time: how long what was left keeps the card busy, by the pace of its reports.

use crate::base::Nanos;

/// Fewest frames that a card is limited to.
const LEAST: u32 = 32;
/// What it begins with.
const FIRST: u32 = 64;
/// Over which time it is seen whether some were always left.
const SPELL: Nanos = Nanos::from_millis(20);
/// A card that has reported nothing for so long may be one that waits for more before it does.
const STILL: Nanos = Nanos::from_millis(5);
/// Who looks again only after so long had no CPU, and can't tell for how long the card had nothing to send.
const AWAY: Nanos = Nanos::from_millis(2);
/// For how long a limit that was too small is not tried again.
const REMEMBERED: Nanos = Nanos::from_millis(200);
/// Over how many frames, and how long, the card's pace is reckoned.
const SAMPLE: (u32, Nanos) = (32, Nanos::from_millis(1));

/// A limit that follows what the card sends.
#[derive(Debug)]
pub(super) struct Limit {
    /// Frames that there are.
    most: u32,
    frames: u32,
    /// More was to be sent than the limit allowed when frames were last handed over.
    reached: bool,
    /// What was out at the last look.
    out: u32,
    looked: Nanos,
    /// Since when nothing has been completed.
    still: Nanos,
    /// What was out before frames were last handed over, and how long before that the look before was: of that time it is not known
    /// when the card came to have no more than these.
    before: (u32, Nanos),
    /// Between the last two looks.
    gap: Nanos,
    /// What the card takes for a frame; zero before it is known.
    pace: Nanos,
    /// Frames completed for the next reckoning of it, and since when.
    sample: (u32, Nanos),
    spell: Spell,
    /// What was too small, and when.
    too_small: (u32, Nanos),
}

#[derive(Debug)]
struct Spell {
    begin: Nanos,
    /// Fewest frames left at any report; `u32::MAX` before the first.
    left: u32,
    /// Longest time between two looks of which the later saw a report.
    gap: Nanos,
}

impl Spell {
    const fn new(begin: Nanos) -> Self {
        Self { begin, left: u32::MAX, gap: Nanos::ZERO }
    }
}

impl Limit {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            frames: FIRST.min(most),
            reached: false,
            out: 0,
            looked: Nanos::ZERO,
            still: Nanos::ZERO,
            before: (0, Nanos::ZERO),
            gap: Nanos::ZERO,
            pace: Nanos::ZERO,
            sample: (0, Nanos::ZERO),
            spell: Spell::new(Nanos::ZERO),
            too_small: (0, Nanos::ZERO),
        }
    }

    /// How many more frames may be handed over while `out` are.
    pub(super) fn room(&self, out: u32) -> u32 {
        self.frames.saturating_sub(out)
    }

    /// So many frames are out, seen just now.
    pub(super) fn look(&mut self, out: u32, now: Nanos) {
        let completed = self.out.saturating_sub(out);
        self.gap = now - self.looked;
        (self.out, self.looked) = (out, now);
        if completed > 0 || !self.reached {
            self.still = now;
        }
        if !self.reached {
            (self.sample, self.spell) = ((0, now), Spell::new(now));
            return;
        }
        if completed > 0 {
            self.reckon(completed, now);
        }
        let (before, since) = self.before;
        let still = now - self.still;
        if self.gap >= AWAY {
            // Nothing can be told from this.
        } else if out == 0 || (completed >= before.max(1) && self.takes(before) < since) {
            // Nothing was left; or all that there was before the last ones came may have been sent before they came.
            self.grow(now);
        } else if still >= STILL && still >= self.takes(out.saturating_mul(2)) {
            self.still = now;
            self.grow(now);
        } else if completed > 0 {
            self.spell.left = self.spell.left.min(out);
            self.spell.gap = self.spell.gap.max(self.gap);
            if now - self.spell.begin >= SPELL {
                self.shrink(now);
            }
        }
    }

    /// Frames have been handed over: so many are out now, and `more` says whether others are to be sent.
    pub(super) fn handed(&mut self, out: u32, more: bool) {
        self.reached = more && out >= self.frames;
        if out > self.out {
            self.before = (self.out, self.gap);
        }
        self.out = out;
    }

    /// The card's queue has no room for more than these.
    pub(super) fn full(&mut self, out: u32) {
        self.frames = self.frames.min(out - out / 8).max(LEAST.min(self.most));
        (self.spell.left, self.too_small.0, self.reached) = (u32::MAX, 0, true);
    }

    /// How long the card needs for so many.
    fn takes(&self, frames: u32) -> Nanos {
        Nanos(self.pace.0.saturating_mul(u64::from(frames)))
    }

    fn reckon(&mut self, completed: u32, now: Nanos) {
        let (frames, since) = (self.sample.0 + completed, self.sample.1);
        self.sample.0 = frames;
        if frames >= SAMPLE.0 && now - since >= SAMPLE.1 {
            self.pace = Nanos((now - since).0 / u64::from(frames));
            self.sample = (0, now);
        }
    }

    fn grow(&mut self, now: Nanos) {
        if self.frames < self.most {
            self.too_small = (self.frames, now);
            self.frames = self.frames.saturating_add(self.frames / 2).min(self.most);
        }
        self.spell = Spell::new(now);
    }

    /// Looks don't come evenly: what is left at a report is to last for two of the longest times between them.
    fn shrink(&mut self, now: Nanos) {
        let needed = 2 * self.spell.gap.0 / self.pace.0.max(1);
        let needed = u32::try_from(needed).unwrap_or(u32::MAX).max(LEAST / 2);
        let spare = self.spell.left.saturating_sub(needed) / 2;
        let (too_small, when) = self.too_small;
        let least = if now - when < REMEMBERED { too_small + 1 } else { LEAST };
        self.frames = (self.frames - spare).max(least.min(self.frames));
        self.spell = Spell::new(now);
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
    fn a_card_that_reports_a_part_of_its_queue_gets_a_short_one() {
        // As virtio_net: it reports when three quarters of what was out at its last report are sent.
        for (pace, look) in [(65_000u64, 50_000u64), (30_000, 200_000), (1_000, 20_000), (300, 20_000)] {
            let mut limit = Limit::new(2_048);
            // Somebody else's doing: a long queue.
            limit.frames = 2_048;
            let (mut departures, mut lot) = (std::collections::VecDeque::<u64>::new(), 1);
            let (mut now, mut busy_until, mut sent) = (0, 0u64, 0);
            while now < 3_000_000_000 {
                if departures.get(lot - 1).is_some_and(|at| *at <= now) {
                    departures.retain(|at| *at > now);
                    lot = 0;
                }
                let out = departures.len() as u32;
                limit.look(out, Nanos(now));
                for _ in 0..limit.room(out) {
                    busy_until = busy_until.max(now) + pace;
                    departures.push_back(busy_until);
                    sent += u64::from(now >= 2_000_000_000);
                }
                limit.handed(departures.len() as u32, true);
                if lot == 0 {
                    lot = (departures.len() * 3 / 4).max(1);
                }
                now += look;
            }
            assert!(sent * pace >= 950_000_000, "{sent} sent, {pace} ns each");
            // A third is on its way to us as sent, a quarter is left when it is, and that lasts for two looks.
            let needed = 4 * (2 * look / pace).max(u64::from(LEAST / 2));
            assert!(u64::from(limit.frames) <= 2 * needed, "{needed} needed: {limit:?}");
        }
    }

    #[test]
    fn who_was_away_blames_no_card() {
        let mut limit = Limit::new(2_048);
        for i in 0..1_000u64 {
            // All of it was sent long ago.
            limit.look(0, Nanos(i * 10_000_000));
            limit.handed(limit.frames, true);
        }
        assert_eq!(limit.frames, FIRST);
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
