//! Settling a probe by an error that quotes nothing of its payload.

use super::{
    Common,
    settle::{Settler, Word, refused},
    walk::Walk,
};
use crate::{
    base::{Nanos, ProbeNumber},
    ledger::{Account, window::Standing},
    wire::Refusal,
};

/// Settles the probe that an error quotes, among those of `walks`. Where several groups name the address, their probes look the
/// same in a short quote: one error settles one probe, the first that is waiting.
pub(super) fn short_quote(common: &Common, settler: &Settler, walks: &[Walk], refusal: &Refusal, now: Nanos) {
    // Of the first target, how its probe stands instead; None: it is past its deadline.
    let mut first: Option<(Account<'_>, Option<Standing>)> = None;
    for target in common.ledger.targets_at(refusal.destination) {
        let Some(walk) = walks.iter().find(|walk| walk.has(target)) else { continue };
        let account = common.ledger.account(target);
        let standing = match walk.in_flight(target, refusal.sequence) {
            None => None,
            // Age first, here as well. Without a stamp the deadline is that of the last probe that left together with this one.
            Some((number, deadline))
                if refusal.arrived > deadline
                    || account
                        .sent(number, refusal.arrived)
                        .is_some_and(|sent| refusal.arrived - sent > account.timeout()) =>
            {
                None
            }
            Some((number, _)) => {
                let (place, sent) =
                    (account.place(number), account.sent(number, refusal.arrived).unwrap_or(refusal.arrived));
                match settler.settle(place, (account, sent), refused(refusal), now, || ProbeNumber(number)) {
                    Ok(()) => return,
                    Err(standing) => Some(standing),
                }
            }
        };
        first.get_or_insert((account, standing));
    }
    match first {
        Some((account, None)) => settler.count_late(account),
        Some((account, Some(standing))) => settler.count_further(account, Word::Error, standing),
        None => {}
    }
}
