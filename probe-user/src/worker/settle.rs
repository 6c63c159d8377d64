//! The one place where a probe is settled, whatever settles it: a reply, an error, a short quote, its deadline, or this machine, which
//! did not send it.

use super::{Common, Sink};
use crate::{
    base::{Ended, Nanos, ProbeNumber, Settlement},
    ledger::{
        Account,
        histogram::add,
        tally::Tally,
        window::{Place, Standing},
    },
    wire::Refusal,
};
use std::sync::Arc;

/// Settles probes for one half of a loop.
pub(super) struct Settler {
    common: Arc<Common>,
    tally: Arc<Tally>,
    sink: Sink,
    /// Where those go that were asked for.
    asked: Sink,
}

/// What came about a probe that it did not settle.
#[derive(Clone, Copy)]
pub(super) enum Word {
    Reply,
    Error,
}

impl Settler {
    pub(super) const fn new(common: Arc<Common>, tally: Arc<Tally>, sink: Sink, asked: Sink) -> Self {
        Self { common, tally, sink, asked }
    }

    /// Settles the probe in `place`, if it is pending: takes it out of being waited for, counts it, and hands it out.
    ///
    /// # Errors
    /// How it stands, where it is not pending.
    #[inline]
    pub(super) fn settle(
        &self,
        place: Place<'_>,
        (account, sent): (Account<'_>, Nanos),
        ended: Ended,
        now: Nanos,
        number: impl FnOnce() -> ProbeNumber,
    ) -> Result<(), Standing> {
        place.settle(standing(ended))?;
        self.count((account, sent), ended, now, number);
        Ok(())
    }

    /// Counts a probe that nobody else can settle any more, and hands it out.
    #[inline]
    pub(super) fn count(
        &self,
        (account, sent): (Account<'_>, Nanos),
        ended: Ended,
        now: Nanos,
        number: impl FnOnce() -> ProbeNumber,
    ) {
        let row = self.add_up((account, sent), ended);
        if self.common.records {
            let settlement = Settlement { target: account.target(), number: number(), sent, ended };
            if !self.sink.push(settlement) {
                add(&self.tally.results_dropped, 1);
            }
        }
        // Last: who sees a probe settled finds its record in the queue.
        self.tally.settle(row, ended.outcome(), now);
    }

    /// The same of a probe that was asked for: who did is told.
    pub(super) fn count_asked(
        &self,
        (account, sent): (Account<'_>, Nanos),
        ended: Ended,
        now: Nanos,
        number: ProbeNumber,
    ) {
        let row = self.add_up((account, sent), ended);
        if !self.asked.push(Settlement { target: account.target(), number, sent, ended }) {
            add(&self.tally.results_dropped, 1);
        }
        self.tally.settle(row, ended.outcome(), now);
    }

    /// Counts in the target's account and in its row. Which row that is.
    #[inline]
    fn add_up(&self, (account, sent): (Account<'_>, Nanos), ended: Ended) -> u32 {
        let row = account.row();
        let counts = &self.tally.rows[row as usize];
        match ended {
            Ended::Answered { arrived, .. } => {
                let rtt = arrived - sent;
                counts.rtt.record(rtt);
                account.count_answered(rtt, arrived);
            }
            Ended::Unsent(cause) => {
                add(&counts.unsent[cause as usize], 1);
                account.count_settled(ended.outcome());
            }
            _ => account.count_settled(ended.outcome()),
        }
        row
    }

    /// Counts what came after the timeout of its probe.
    pub(super) fn count_late(&self, account: Account<'_>) {
        add(&self.tally.rows[account.row() as usize].late, 1);
    }

    /// Counts what came in time about a probe that was settled already and stands so. The first word holds: an error behind a reply, or
    /// behind another error, says nothing new; a reply behind an error does.
    pub(super) fn count_further(&self, account: Account<'_>, word: Word, standing: Standing) {
        let row = &self.tally.rows[account.row() as usize];
        let counter = match (word, standing) {
            (Word::Reply, Standing::Answered) | (Word::Error, Standing::Answered | Standing::Failed) => &row.duplicate,
            _ => &row.contradicted,
        };
        add(counter, 1);
    }

    /// How many settled probes there is room for.
    pub(super) fn room(&self) -> usize {
        self.sink.free().min(self.asked.free())
    }
}

/// By an error.
pub(super) const fn refused(refusal: &Refusal) -> Ended {
    Ended::Refused { arrived: refusal.arrived, ttl: refusal.ttl, from: refusal.from, reason: refusal.reason }
}

/// How a probe that ended so stands in its window until its deadline.
pub(super) const fn standing(ended: Ended) -> Standing {
    match ended {
        Ended::Answered { .. } => Standing::Answered,
        Ended::Refused { .. } | Ended::Hop { .. } | Ended::NoNeighbour => Standing::Failed,
        Ended::Lost | Ended::Unheard | Ended::Unsent(_) => Standing::Free,
    }
}
