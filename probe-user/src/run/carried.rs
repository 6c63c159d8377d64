//! Says what the card carries, where that is less than what is to be sent.

use crate::{
    base::{Cause, Nanos},
    results::human::counted,
    worker::Common,
};
use std::sync::atomic::Ordering::Acquire;

/// Over which time the pace is taken.
const SPAN: Nanos = Nanos::from_secs(2);
/// A card that set no pace for so long keeps up again.
const RECENT: Nanos = Nanos::from_secs(1);
/// It is said again after this time, if it is still so.
const AGAIN: Nanos = Nanos::from_secs(60);
/// A card that carries all but one in so many is told of nobody.
const LITTLE: u64 = 100;

/// What the loops have counted so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    at: Nanos,
    /// When a card was last seen to set the pace.
    full_at: Nanos,
    /// Probes that were sent.
    sent: u64,
    /// Due times that passed without one, and probes that the card did not take.
    left_out: u64,
}

/// What a card carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// Probes a second.
    carried: u64,
    /// And those that it did not carry; none where they wait.
    left_out: u64,
}

/// Looks at the counters of the loops now and then.
#[derive(Debug, Default)]
pub(super) struct Carried {
    begun: Option<Counted>,
    told: Option<Nanos>,
}

impl Carried {
    /// Tells the log if there is something to be told. `asked`: probes a second; `waits`: nothing is left out, it takes longer.
    pub(super) fn look(&mut self, interface: &str, common: &Common, asked: u64, waits: bool, now: Nanos) {
        let Some(Pace { carried, left_out }) = self.judge(counted_by(common, now), waits) else { return };
        let carried_by = format!("{interface} carries {}", counted(carried, "probe"));
        if !waits {
            let due = carried + left_out;
            let share = left_out * 100 / due.max(1);
            tracing::warn!(
                "{carried_by} a second of the {due} that are due: {share} % of the due times pass without a probe, each \
                 target's in turn (*skipped*). Lengthen intervals, or take a faster card"
            );
        } else if asked != u64::MAX {
            tracing::info!(
                "{carried_by} a second of the {asked} that were asked for: it takes longer, and all are sent"
            );
        }
    }

    fn judge(&mut self, counted: Counted, waits: bool) -> Option<Pace> {
        if counted.at - counted.full_at > RECENT {
            self.begun = None;
            return None;
        }
        let begun = *self.begun.get_or_insert(counted);
        let time = counted.at - begun.at;
        if time < SPAN {
            return None;
        }
        self.begun = Some(counted);
        let a_second =
            |many: u64| u64::try_from(u128::from(many) * 1_000_000_000 / u128::from(time.0)).unwrap_or(u64::MAX);
        let carried = a_second(counted.sent.saturating_sub(begun.sent));
        let left_out = a_second(counted.left_out.saturating_sub(begun.left_out));
        if (!waits && left_out * LITTLE < carried) || self.told.is_some_and(|told| counted.at - told < AGAIN) {
            return None;
        }
        self.told = Some(counted.at);
        Some(Pace { carried, left_out })
    }
}

fn counted_by(common: &Common, at: Nanos) -> Counted {
    let full_at = common.tallies.iter().map(|tally| tally.full_at.load(Acquire)).max().unwrap_or(0);
    let (mut entered, mut unsent, mut skipped, mut refused) = (0, 0, 0, 0);
    for row in common.tallies.iter().flat_map(|tally| tally.rows.iter()) {
        let of = |cause: Cause| row.unsent[cause as usize].load(Acquire);
        unsent += Cause::ALL.map(of).iter().sum::<u64>();
        refused += of(Cause::Refused) + of(Cause::NoRoom);
        skipped += row.skipped.load(Acquire);
        entered += row.entered.load(Acquire);
    }
    Counted { at, full_at: Nanos(full_at), sent: entered.saturating_sub(unsent), left_out: skipped + refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks ten times a second for so many seconds at a card that carries `carried` a second and leaves out so many.
    fn watch(carried: u64, left_out: u64, full: bool, waits: bool, seconds: u64) -> Vec<(u64, Pace)> {
        let mut line = Carried::default();
        let mut told = Vec::new();
        for look in 0..seconds * 10 {
            let at = Nanos::from_millis(1_000_000 + look * 100);
            let full_at = if full { at } else { Nanos(1) };
            let counted = Counted { at, full_at, sent: look * carried / 10, left_out: look * left_out / 10 };
            told.extend(line.judge(counted, waits).map(|pace| (look / 10, pace)));
        }
        told
    }

    #[test]
    fn a_slow_card_is_told_of_once_a_minute() {
        let pace = Pace { carried: 140_000, left_out: 60_000 };
        assert_eq!(watch(140_000, 60_000, true, false, 100), [(2, pace), (62, pace)]);
        assert_eq!(watch(140_000, 0, true, true, 50), [(2, Pace { carried: 140_000, left_out: 0 })]);
    }

    #[test]
    fn others_are_not() {
        assert_eq!(watch(140_000, 60_000, false, false, 100), [], "skipped for want of CPU");
        assert_eq!(watch(140_000, 100, true, false, 100), [], "full now and then");
    }
}
