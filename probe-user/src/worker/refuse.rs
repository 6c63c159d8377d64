//! Settling a probe by an error that quotes nothing of its payload.

use super::{Common, settle::settle, walk::Walk};
use crate::{
    base::{Nanos, ProbeNumber},
    ledger::{histogram::add, tally::Tally, window::Standing},
    wire::Refusal,
    worker::{Record, Sink},
};

/// What an error meant for a target, if it did not settle its probe.
enum Word {
    Late,
    Duplicate,
    Contradicted,
}

/// Settles the probe that an error quotes, among those of `walks`. Where several groups name the address, their probes look the
/// same in a short quote: one error settles one probe, the first that is waiting.
pub(super) fn short_quote(common: &Common, tally: &Tally, sink: &Sink, walks: &[Walk], refusal: &Refusal, now: Nanos) {
    tally.receive_delay.record(now - refusal.arrived);
    let mut first = None;
    for target in common.ledger.targets_at(refusal.destination) {
        let Some(walk) = walks.iter().find(|walk| walk.has(target)) else { continue };
        let word = match walk.in_flight(target, refusal.sequence) {
            None => Word::Late,
            // Age first, here as well. Without a stamp the deadline is that of the last probe that left together with this one.
            Some((_, deadline, sent))
                if refusal.arrived > deadline
                    || sent.is_some_and(|sent| refusal.arrived - sent > common.ledger.timeout(target)) =>
            {
                Word::Late
            }
            Some((number, _, sent)) => match common.ledger.place_of(target, number).settle(Standing::Failed) {
                Ok(()) => {
                    let sent = (sent.unwrap_or(refusal.arrived), common.tx_stamp);
                    let record = Record::refused(target, ProbeNumber(number), sent, refusal);
                    return settle(common, tally, sink, record, now);
                }
                Err(Standing::Answered | Standing::Failed) => Word::Duplicate,
                Err(Standing::Free | Standing::Pending) => Word::Contradicted,
            },
        };
        first.get_or_insert((target, word));
    }
    let Some((target, word)) = first else { return };
    let row = &tally.rows[common.ledger.row(target) as usize];
    let counter = match word {
        Word::Late => &row.late,
        Word::Duplicate => &row.duplicate,
        Word::Contradicted => &row.contradicted,
    };
    add(counter, 1);
}
