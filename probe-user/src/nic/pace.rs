//! How many live frames a card takes, and when: pure, no I/O.
//!
//! A card takes them until its ring is full and refuses the rest; nothing says when it has sent them. A ring that stands full adds
//! all of itself to each round-trip time, and asking again and again costs a call each, with a page pool that the kernel keeps for up
//! to a second while one of its pages lies in the ring.
//!
//! So the card's pace is measured: between two moments at which its ring was full, it has sent what it took. From then on probes are
//! handed over a little slower than that, so that the ring drains and stays nearly empty, and now and then a little faster, to see
//! whether the card takes more by now. A card that refuses nothing is not paced at all. How much a ring holds is not told either: it
//! follows from the trials. Of a very long ring before a slow card (4,096 entries, 200,000 a second) too little is believed, and more
//! than half of it stays full.

use crate::base::Nanos;

/// The two moments are at least so far apart, and the card has sent so many, or what lies between them says little.
const APART: Nanos = Nanos::from_micros(500);
const MANY: u64 = 64;
/// And at most so far, or it was not kept busy in between.
const TOGETHER: Nanos = Nanos::from_millis(100);
/// Meanwhile the pauses between offers are within these bounds, and so many are offered at least.
const PAUSE: (Nanos, Nanos) = (Nanos::from_micros(50), Nanos::from_millis(1));
const OFFER: u64 = 64;
/// A ring that refuses fewer than one in so many keeps up by and large: who has a neighbour on its CPU does that now and then.
const SELDOM: u64 = 16;
/// Longest stretch without a call while a full ring drains; for the rest of it half the pace is kept.
const MOST_PAUSE: Nanos = Nanos::from_millis(4);
/// How long one pace is kept before a faster one is tried, as a multiple of how long that is tried: at least this, and long enough for
/// the ring to become full if the card is no faster.
const CRUISE: u64 = 8;
const TRIAL: Nanos = Nanos::from_millis(20);
/// What is handed over in one call: what the card sends in this time, or half its ring.
const CALL_TIME: Nanos = Nanos::from_millis(1);
/// No call follows another one sooner, unless that was a large one: each is a page pool that may wait for a second. A card that sets
/// the pace gets its calls by that.
const GAP: Nanos = Nanos::from_micros(200);
const LARGE: u64 = 512;
/// Fewest frames of a call to a card that sets the pace.
const FEW: u64 = 8;
/// Bounds of what a ring is taken to hold: few cards come with less.
const RING: (u64, u64) = (256, 8_192);

/// The pace of one sender's calls.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Frames a second that the card takes; None: as many as come.
    rate: Option<u64>,
    /// While its pace is measured: when its ring was full, and what it has taken and refused since.
    full: Option<(Nanos, u64, u64)>,
    /// Between two offers of that time.
    pause: Nanos,
    /// What the ring holds, as far as is known.
    ring: u64,
    /// Frames that may be handed over, times 10^9, and as of when.
    credit: (u128, Nanos),
    /// Until then nothing is handed over, so that it drains.
    paused_until: Nanos,
    /// And until then it still drains.
    drained_at: Nanos,
    /// Since when the pace has been tried that is tried now, and what was taken since.
    trial: Option<(Nanos, u64)>,
    /// When the next trial begins.
    trial_at: Nanos,
    /// Begin and frames of the last call.
    last: (Nanos, u64),
}

/// How many frames may go now, and if that is none, when some may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) frames: u64,
    pub(super) again: Nanos,
}

impl Pace {
    /// What may be handed over now.
    pub(super) fn allowed(&mut self, now: Nanos) -> Allowed {
        if now < self.paused_until {
            return Allowed { frames: 0, again: self.paused_until };
        }
        if self.full.is_some() {
            // Who has not been found slow yet may go on as ever.
            let twice = |rate: u64| 2 * rate * self.pause.0 / 1_000_000_000;
            let frames = self.rate.map_or(u64::MAX, |rate| twice(rate).max(OFFER));
            return Allowed { frames, again: now };
        }
        let Some(rate) = self.rate_now(now) else {
            let (begun, frames) = self.last;
            if frames < LARGE && frames > 0 && now < begun + GAP {
                return Allowed { frames: 0, again: begun + GAP };
            }
            return Allowed { frames: u64::MAX, again: now };
        };
        let call = (rate * CALL_TIME.0 / 1_000_000_000).min(self.ring / 2).max(FEW);
        let (credit, then) = self.credit;
        let most = u128::from(2 * call) * 1_000_000_000;
        self.credit = ((credit + u128::from((now - then).0) * u128::from(rate)).min(most), now);
        let frames = u64::try_from(self.credit.0 / 1_000_000_000).unwrap_or(0);
        if frames >= call {
            return Allowed { frames, again: now };
        }
        let missing = u128::from(call) * 1_000_000_000 - self.credit.0;
        let wait = u64::try_from(missing / u128::from(rate.max(1))).unwrap_or(u64::MAX);
        Allowed { frames: 0, again: now + Nanos(wait + 1) }
    }

    /// Whether the card sets the pace.
    pub(super) fn is_paced(&self, now: Nanos) -> bool {
        self.rate.is_some() || self.full.is_some() || now < self.paused_until
    }

    /// A call that began at `begun` and has just ended: so many frames were taken, so many refused.
    pub(super) fn called(&mut self, begun: Nanos, now: Nanos, taken: u64, refused: u64) {
        let before = std::mem::replace(&mut self.last, (begun, taken + refused)).1;
        self.credit.0 = self.credit.0.saturating_sub(u128::from(taken) * 1_000_000_000);
        if let Some((_, sum)) = &mut self.trial {
            *sum += taken;
        }
        if let Some((at, sum, refusals)) = &mut self.full {
            *sum += taken;
            *refusals += refused;
            if now - *at > TOGETHER {
                self.full = None;
            }
        }
        if refused > 0 {
            self.refused(now, before + taken);
        }
    }

    /// `burst`: what was taken at a time.
    fn refused(&mut self, now: Nanos, burst: u64) {
        match (self.full, self.rate) {
            (None, rate) => {
                // A bulk goes out in that time, if it is known how long that takes.
                self.pause = rate.map_or(PAUSE.0, |rate| Nanos(16_000_000_000 / rate)).clamp(PAUSE.0, PAUSE.1);
                self.paused_until = now + self.pause;
                self.full = Some((now, 0, 0));
                match (rate, self.trial.take()) {
                    // What was taken beyond the card's pace has filled it. If that is all that it was let drain by, there may be more
                    // in it that never drained.
                    (Some(rate), Some((since, sum))) => {
                        let sent = u128::from((now - since).0) * u128::from(rate) / 1_000_000_000;
                        let filled = sum.saturating_sub(u64::try_from(sent).unwrap_or(u64::MAX));
                        let more = filled >= self.ring - self.ring / 4;
                        self.ring =
                            if more { self.ring + self.ring / 2 } else { (filled + filled / 8).max(self.ring / 2) }
                                .clamp(RING.0, RING.1);
                    }
                    // At its own pace: it holds less than what was handed over at once, or has become slower.
                    (Some(_), None) => self.ring = (self.ring - self.ring / 4).max(RING.0),
                    (None, _) => self.ring = burst.clamp(RING.0, 4_096),
                }
            }
            (Some((at, sum, refusals)), rate) if now - at >= APART && sum >= MANY => {
                self.full = None;
                if rate.is_some() || refusals * SELDOM >= sum {
                    let rate = u128::from(sum) * 1_000_000_000 / u128::from((now - at).0);
                    self.drain(now, u64::try_from(rate).unwrap_or(u64::MAX).max(1_000));
                }
            }
            (Some(_), rate) => {
                if rate.is_none() {
                    self.pause = Nanos(2 * self.pause.0).min(PAUSE.1);
                }
                self.paused_until = now + self.pause;
            }
        }
    }

    /// The ring is full, and the card sends at this rate. What it holds keeps it busy meanwhile; an eighth is left for looks that come
    /// late.
    fn drain(&mut self, now: Nanos, rate: u64) {
        self.rate = Some(rate);
        let time = Nanos(self.ring * 875_000_000 / rate);
        self.paused_until = now + time.min(MOST_PAUSE);
        self.drained_at = self.paused_until + Nanos(2 * (time - MOST_PAUSE).0);
        self.credit = (0, self.paused_until);
        self.trial_at = self.drained_at + Nanos(CRUISE * self.trial_time().0);
    }

    /// How long a faster pace is tried.
    fn trial_time(&self) -> Nanos {
        // A quarter of the pace goes into the ring.
        let fills = self.rate.map_or(0, |rate| self.ring * 4_000_000_000 / rate);
        TRIAL.max(Nanos(fills + fills / 4))
    }

    /// The pace that is kept now.
    fn rate_now(&mut self, now: Nanos) -> Option<u64> {
        let rate = self.rate?;
        if now < self.drained_at {
            return Some(rate / 2);
        }
        match self.trial {
            Some((since, sum)) if now - since >= self.trial_time() => {
                // Not refused. If as much was asked for, the card is faster than it was taken for; else nobody needs a pace.
                let kept = u128::from((now - since).0) * u128::from(rate) / 1_000_000_000;
                if u128::from(sum) < kept {
                    *self = Self { last: self.last, ..Self::default() };
                    return None;
                }
                self.rate = Some(rate + rate / 8);
                self.trial = Some((now, 0));
            }
            Some(_) => {}
            None if now >= self.trial_at => self.trial = Some((now, 0)),
            None => return Some(rate - rate / 32),
        }
        self.rate.map(|rate| rate + rate / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A card that sends `rate` frames a second from a ring, before a sender whose call costs `cost` a frame.
    struct Card {
        rate: u64,
        ring: u64,
        busy_until: u64,
    }

    impl Card {
        fn lies(&self, now: u64) -> u64 {
            (self.busy_until.saturating_sub(now) * self.rate).div_ceil(1_000_000_000)
        }

        fn take(&mut self, now: u64, frames: u64) -> u64 {
            let taken = frames.min(self.ring.saturating_sub(self.lies(now)));
            self.busy_until = self.busy_until.max(now) + taken * 1_000_000_000 / self.rate;
            taken
        }
    }

    struct Seen {
        sent: u64,
        calls: u64,
        refused: u64,
        median: u64,
    }

    /// Sends as fast as it goes for five seconds, a few trials; what is told is of the last one.
    fn drive(rate: u64, ring: u64, cost: u64) -> Seen {
        let (mut pace, mut card) = (Pace::default(), Card { rate, ring, busy_until: 0 });
        let mut now = 1_000_000_000u64;
        let (mut seen, mut waits) = (Seen { sent: 0, calls: 0, refused: 0, median: 0 }, Vec::new());
        while now < 6_000_000_000 {
            let allowed = pace.allowed(Nanos(now));
            if allowed.frames == 0 {
                assert!(allowed.again > Nanos(now));
                now = allowed.again.0 + 20_000;
                continue;
            }
            let (begun, frames) = (now, allowed.frames.min(2_048));
            let (mut taken, mut offered) = (0, 0);
            while offered < frames {
                let bulk = 16.min(frames - offered);
                offered += bulk;
                now += bulk * cost;
                let took = card.take(now, bulk);
                taken += took;
                if now > 5_000_000_000 {
                    waits.extend((0..took).map(|_| card.busy_until.saturating_sub(now)));
                }
            }
            now += 10_000;
            pace.called(Nanos(begun), Nanos(now), taken, frames - taken);
            if begun > 5_000_000_000 {
                seen.sent += taken;
                seen.refused += frames - taken;
                seen.calls += 1;
            }
        }
        waits.sort_unstable();
        seen.median = waits[waits.len() / 2];
        seen
    }

    proptest! {
        /// Whatever the card, it is kept busy, by few calls, and its ring is not full most of the time.
        #[test]
        fn a_slow_card_is_kept_busy_and_its_ring_short(
            rate in 20_000u64..1_500_000,
            ring in prop_oneof![Just(256u64), Just(512), Just(1_024)],
            cost in 100u64..600,
        ) {
            // What a ring holds is found out from trial to trial. One of 4,096 is not, in this time: it stays more than half full.
            prop_assume!(ring * 1_000_000_000 / rate < 20_000_000);
            let seen = drive(rate, ring, cost);
            prop_assert!(seen.sent * 10 >= rate * 9, "{} of {rate} a second", seen.sent);
            // A ring may be taken for the smallest there is.
            prop_assert!(seen.calls <= 2_000 + 3 * rate / RING.0, "{} calls a second", seen.calls);
            prop_assert!(seen.refused * 4 <= seen.sent, "{} refused of {}", seen.refused, seen.sent);
            let full = ring * 1_000_000_000 / rate;
            let call = 2_500_000u64;
            prop_assert!(seen.median <= (full / 2).max(call), "{} ns, where a full ring is {full}", seen.median);
        }
    }

    #[test]
    fn a_card_that_keeps_up_is_not_paced() {
        let seen = drive(20_000_000, 256, 200);
        assert_eq!(seen.refused, 0);
        assert!(seen.sent > 4_500_000, "{} a second", seen.sent);
    }

    #[test]
    fn a_refusal_now_and_then_changes_nothing() {
        let mut pace = Pace::default();
        let mut now = Nanos(1);
        for i in 0..2_000u64 {
            let refused = if i % 50 == 0 { 3 } else { 0 };
            let begun = now;
            now += Nanos::from_micros(400);
            pace.called(begun, now, 2_000 - refused, refused);
            now = pace.allowed(now).again;
            assert_eq!(pace.allowed(now).frames, u64::MAX);
        }
    }

    #[test]
    fn who_asks_for_less_is_not_paced_for_ever() {
        let (mut pace, mut card) = (Pace::default(), Card { rate: 100_000, ring: 256, busy_until: 0 });
        let mut now = 1u64;
        let mut send = |pace: &mut Pace, now: &mut u64, frames: u64| {
            let allowed = pace.allowed(Nanos(*now));
            let frames = frames.min(allowed.frames);
            if frames > 0 {
                let taken = card.take(*now, frames);
                pace.called(Nanos(*now), Nanos(*now + 50_000), taken, frames - taken);
            }
            *now += 250_000;
        };
        (0..400).for_each(|_| send(&mut pace, &mut now, 2_048));
        assert!(pace.is_paced(Nanos(now)));
        (0..4_000).for_each(|_| send(&mut pace, &mut now, 5));
        assert!(!pace.is_paced(Nanos(now)), "{pace:?}");
    }

    #[test]
    fn small_calls_are_not_made_one_after_the_other() {
        let mut pace = Pace::default();
        pace.called(Nanos(1_000), Nanos(20_000), 1, 0);
        let again = Nanos(1_000) + GAP;
        assert_eq!(pace.allowed(Nanos(20_000)), Allowed { frames: 0, again });
        assert_eq!(pace.allowed(again).frames, u64::MAX);
        pace.called(again, again + Nanos(20_000), 2_048, 0);
        assert_eq!(pace.allowed(again + Nanos(20_000)).frames, u64::MAX, "a large one is no reason to wait");
    }
}
