//! How long a probe stays in this machine behind its stamp.

use super::Fate;
use crate::{base::Nanos, ledger::histogram::Histogram};

/// The send stamp of a probe that was sent.
const fn stamp_of(fate: &Fate) -> Option<Nanos> {
    if let Fate::Sent(at) = *fate { Some(at) } else { None }
}

/// Whether all were sent, one after the other.
#[inline]
pub(super) fn are_sent_in_order(fates: &[Fate]) -> bool {
    let mut latest = Nanos::ZERO;
    fates.iter().all(|fate| {
        let before = latest;
        latest = stamp_of(fate).unwrap_or(Nanos::ZERO);
        before <= latest && latest > Nanos::ZERO
    })
}

/// How long each probe that was sent stayed in this machine after its stamp, at most. `together`: see [`Leaving::Together`].
#[inline]
pub(super) fn record(dwell: &Histogram, fates: &[Fate], in_order: bool, together: usize, ended: Nanos) {
    // A probe that was not sent, or was sent in a second try, upsets the places: then the return is what is left.
    let (known, others) = fates.split_at(if in_order { fates.len().saturating_sub(together) } else { 0 });
    let successors = fates.iter().skip(together);
    dwell.record_all(known.iter().zip(successors).filter_map(|(fate, left)| Some(stamp_of(left)? - stamp_of(fate)?)));
    dwell.record_all(others.iter().filter_map(|fate| Some(ended - stamp_of(fate)?)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Cause;
    use proptest::prelude::*;

    proptest! {
        /// Rising stamps, with something amiss in some: one that was not sent, one that went out before its predecessor.
        #[test]
        fn a_probe_stays_until_the_one_a_flush_later_or_the_return(
            gaps in proptest::collection::vec(1u64..5_000, 1..300),
            amiss in proptest::option::of((any::<proptest::sample::Index>(), any::<bool>())),
            together in prop_oneof![1usize..80, Just(usize::MAX)],
        ) {
            let mut at = 1_000;
            let mut fates: Vec<Fate> = gaps.iter().map(|gap| { at += gap; Fate::Sent(Nanos(at)) }).collect();
            let ended = Nanos(at + 77);
            let mut in_order = true;
            if let Some((index, unsent)) = amiss {
                let index = index.index(fates.len());
                fates[index] = if unsent { Fate::Unsent(Cause::Refused) } else { Fate::Sent(Nanos(900)) };
                in_order = !unsent && index == 0;
            }
            let dwell = Histogram::default();
            prop_assert_eq!(are_sent_in_order(&fates), in_order);
            record(&dwell, &fates, in_order, together, ended);

            let stamps: Vec<Option<Nanos>> =
                fates.iter().map(|fate| if let Fate::Sent(at) = fate { Some(*at) } else { None }).collect();
            let left = |i: usize| {
                if in_order { stamps.get(i.saturating_add(together)).copied().flatten().unwrap_or(ended) } else { ended }
            };
            let expected: Vec<u64> =
                stamps.iter().enumerate().filter_map(|(i, sent)| Some((left(i) - (*sent)?).0)).collect();
            let seen = dwell.snapshot();
            prop_assert_eq!(seen.count(), expected.len() as u64);
            prop_assert_eq!(seen.sum, expected.iter().sum::<u64>());
            if !expected.is_empty() {
                prop_assert_eq!(Some(seen.max.0), expected.iter().max().copied());
                prop_assert_eq!(Some(seen.min.0), expected.iter().min().copied());
            }
        }
    }
}
