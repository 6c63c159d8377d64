//! Settling a TCP probe by what is said of it. It says neither whose the probe was nor when that was sent: both are in the ledger.

use super::{
    Common, Said,
    settle::{Settler, Word},
};
use crate::{
    base::{Ended, Nanos},
    ledger::{Account, SendTime, window::Standing},
    wire::{Says, Segment},
};
use std::iter;

/// Settles the probe. Where names turned out to be the same host, its targets' probes look the same:
/// one word settles one of them, the first that is waiting.
///
/// # Errors
/// The probe has been entered and its sender, of this number, has not said yet when it was sent. Not where `is_last`: whoever asks is
/// that sender, and has said all that there is to say.
#[inline]
pub(super) fn settle(
    common: &Common,
    settler: &Settler,
    &Said { ref segment, number, target }: &Said,
    now: Nanos,
    is_last: bool,
) -> Result<(), usize> {
    let (ended, word) = match segment.says {
        Says::Port(port) => {
            (Ended::Answered { arrived: segment.arrived, ttl: segment.ttl, port: Some(port) }, Word::Reply)
        }
        Says::Refused(reason) => {
            let Segment { arrived, ttl, from, .. } = *segment;
            (Ended::Refused { arrived, ttl, from, reason }, Word::Error)
        }
        // About the probe of now it says nothing.
        Says::HalfOpen => {
            settler.count_late(common.ledger.account(target));
            return Ok(());
        }
    };
    // Of the first target, how its probe stands instead; None: it is past its deadline.
    let mut first: Option<(Account<'_>, Option<Standing>)> = None;
    // Looked up once more only where the first of them was not waiting.
    let others = || common.ledger.targets_of_flow(segment.destination, segment.ports).skip(1);
    for target in iter::once(target).chain(iter::once_with(others).flatten()) {
        let account = common.ledger.account(target);
        let standing = match account.sent_by_low(number, segment.arrived) {
            SendTime::NotYet if !is_last => return Err(account.sender()),
            // Age first: past its timeout an answer touches no bit, which may be another probe's by now.
            SendTime::At(sent) if segment.arrived - sent <= account.timeout() => {
                let number_of = || account.number_of_low(number);
                match settler.settle(account.place(number.into()), (account, sent), ended, now, number_of) {
                    Ok(()) => return Ok(()),
                    Err(standing) => Some(standing),
                }
            }
            SendTime::At(_) | SendTime::NotYet | SendTime::Another => None,
        };
        first.get_or_insert((account, standing));
    }
    match first {
        Some((account, None)) => settler.count_late(account),
        Some((account, Some(standing))) => settler.count_further(account, word, standing),
        None => {}
    }
    Ok(())
}
