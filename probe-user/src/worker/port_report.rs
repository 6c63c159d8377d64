//! Settling a probe to a port by what is said of it. It says neither whose the probe was nor when that was sent: both are in the ledger.

use super::{
    Common, Said,
    settle::{Settler, Word},
};
use crate::{
    base::{Ended, Nanos},
    ledger::{Account, PortProof, SendTime, window::Standing},
    wire::{PortReport, Says},
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
    &Said { ref report, number, target }: &Said,
    now: Nanos,
    is_last: bool,
) -> Result<(), usize> {
    let PortReport { arrived, ttl, from, .. } = *report;
    let (ended, word) = match report.says {
        Says::Port(port) => {
            let is_dns =
                common.ledger.account(target).group().ports.is_some_and(|ports| ports.proof == PortProof::Word);
            let rcode = report.rcode.filter(|_| is_dns);
            (Ended::Answered { arrived, ttl, port: Some(port), rcode }, Word::Reply)
        }
        Says::Refused(reason) => (Ended::Refused { arrived, ttl, from, reason }, Word::Error),
        // About the probe of now it says nothing.
        Says::HalfOpen => {
            settler.count_late(common.ledger.account(target));
            return Ok(());
        }
    };
    // Of the first target, how its probe stands instead; None: it is past its deadline.
    let mut first: Option<(Account<'_>, Option<Standing>)> = None;
    // Looked up once more only where the first of them was not waiting.
    let others = || common.ledger.targets_of_flow(report.destination, report.ports).skip(1);
    for target in iter::once(target).chain(iter::once_with(others).flatten()) {
        let account = common.ledger.account(target);
        let standing = match account.sent_by_low(number, arrived) {
            SendTime::NotYet if !is_last => return Err(account.sender()),
            // Age first: past its timeout an answer touches no bit, which may be another probe's by now.
            SendTime::At(sent) if arrived - sent <= account.timeout() => {
                let number_of = || account.number_of_low(number);
                match settler.settle(account.place(number.0.into()), (account, sent), ended, now, number_of) {
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
