//! What senders and receivers do alike when a probe is settled.

use super::Common;
use crate::{
    base::Nanos,
    ledger::{histogram::add, tally::Tally},
    worker::{Record, Sink},
};

/// Counts a probe as settled, by target and by row, and hands out its record. Replies are counted with their round-trip
/// time, by the receiver itself.
pub(super) fn settle(common: &Common, tally: &Tally, sink: &Sink, record: Record, now: Nanos) {
    common.ledger.count_settled(record.target, record.outcome);
    if common.records && !sink.push(record) {
        add(&tally.results_dropped, 1);
    }
    // Last: who sees a probe settled finds its record in the queue.
    tally.settle(common.ledger.row(record.target), record.outcome, now);
}
