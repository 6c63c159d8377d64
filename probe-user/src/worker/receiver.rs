//! Settles what has arrived.

use super::{Clock, Common, Receive, settle::settle};
use crate::{
    ledger::{Outcome, histogram::add, tally::Tally, window::Standing},
    results::{Record, Sink, Stamp},
    time::Nanos,
    wire::{self, Heard, Refusal, RejectedReason, Reply},
};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// The receiving half of a loop.
pub struct Receiver<R> {
    queues: R,
    settle: Settle,
}

struct Settle {
    common: Arc<Common>,
    tally: Arc<Tally>,
    sink: Sink,
}

impl<R: Receive> Receiver<R> {
    /// Settles what arrives on `queues`.
    pub fn new(queues: R, common: Arc<Common>, tally: Arc<Tally>, sink: Sink) -> Self {
        Self { queues, settle: Settle { common, tally, sink } }
    }

    /// The queues, to rest on them.
    pub fn queues(&mut self) -> &mut R {
        &mut self.queues
    }

    /// Takes what has arrived and settles it. Returns how many frames there were.
    #[inline]
    pub fn receive(&mut self, clock: &impl Clock) -> usize {
        let settle = &self.settle;
        self.queues.receive(&mut |frames| {
            let now = clock.now();
            for frame in frames {
                settle.frame(frame, now);
            }
        })
    }
}

impl Settle {
    #[inline]
    fn frame(&self, frame: &[u8], now: Nanos) {
        let judged = match wire::read_frame(frame) {
            Ok(Heard::Reply(reply)) => self.reply(&reply, now),
            Ok(Heard::Refusal(refusal)) => self.refusal(&refusal, now),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = judged {
            add(&self.tally.rejected[reason as usize], 1);
        }
    }

    #[inline]
    fn reply(&self, reply: &Reply, now: Nanos) -> Result<(), RejectedReason> {
        let (ledger, target) = (&self.common.ledger, reply.target);
        if !ledger.has(target) {
            return Err(RejectedReason::Target);
        }
        if !reply.is_proven(&self.common.key, ledger.generation(target)) {
            return Err(RejectedReason::Cookie);
        }
        if reply.arrived < reply.sent {
            return Err(RejectedReason::Age);
        }
        let row = &self.tally.rows[ledger.row(target) as usize];
        self.tally.receive_delay.record(now - reply.arrived);
        self.tally.heard_at.store(reply.arrived.0, Relaxed);
        // Age first: past its timeout a reply touches no bit, which may be another probe's by now.
        let rtt = reply.arrived - reply.sent;
        if rtt > ledger.timeout(target) && !cfg!(feature = "broken-late") {
            add(&row.late, 1);
            return Ok(());
        }
        match ledger.place_of(target, u64::from(reply.sequence.0)).settle(Standing::Answered) {
            Ok(()) => {}
            Err(Standing::Free) if cfg!(feature = "broken-late") => {}
            Err(Standing::Answered) if cfg!(feature = "broken-duplicate") => {}
            Err(Standing::Answered) => {
                add(&row.duplicate, 1);
                return Ok(());
            }
            Err(Standing::Failed | Standing::Free | Standing::Pending) => {
                add(&row.contradicted, 1);
                return Ok(());
            }
        }
        let rtt = if cfg!(feature = "broken-rtt") { Nanos(rtt.0 / 1_000 * 1_024) } else { rtt };
        row.rtt.record(rtt);
        ledger.count_answered(target, rtt, reply.arrived);
        if self.common.records {
            let record = Record {
                target,
                number: ledger.number_of(target, reply.sequence),
                sent: reply.sent,
                outcome: Outcome::Answered,
                rtt: Some(rtt),
                reply_ttl: Some(reply.ttl),
                tx_stamp: self.common.tx_stamp,
                rx_stamp: Some(Stamp::Xdp),
                reason: None,
                from: None,
            };
            if !self.sink.push(record) {
                add(&self.tally.results_dropped, 1);
            }
        }
        // Last: who sees a probe settled finds its record in the queue.
        self.tally.settle(ledger.row(target), Outcome::Answered, now);
        Ok(())
    }
    /// An error says that a probe did not arrive.
    #[cold]
    fn refusal(&self, refusal: &Refusal, now: Nanos) -> Result<(), RejectedReason> {
        let ledger = &self.common.ledger;
        if !refusal.is_ours(&self.common.key, self.common.ttl) {
            return Err(RejectedReason::Cookie);
        }
        let Some(quoted) = &refusal.quoted else {
            if ledger.targets_at(refusal.destination).next().is_none() {
                return Err(RejectedReason::Target);
            }
            self.common.short_quotes.iter().for_each(|quotes| quotes.put(*refusal));
            return Ok(());
        };
        let target = quoted.target;
        if !ledger.has(target) {
            return Err(RejectedReason::Target);
        }
        if !refusal.is_proven(quoted, &self.common.key, ledger.generation(target)) {
            return Err(RejectedReason::Cookie);
        }
        if refusal.arrived < quoted.sent {
            return Err(RejectedReason::Age);
        }
        let row = &self.tally.rows[ledger.row(target) as usize];
        self.tally.receive_delay.record(now - refusal.arrived);
        // As for replies: past its timeout it touches no bit.
        if refusal.arrived - quoted.sent > ledger.timeout(target) {
            add(&row.late, 1);
            return Ok(());
        }
        match ledger.place_of(target, u64::from(refusal.sequence.0)).settle(Standing::Failed) {
            Ok(()) => {
                let number = ledger.number_of(target, refusal.sequence);
                settle(
                    &self.common,
                    &self.tally,
                    &self.sink,
                    Record::refused(target, number, quoted.sent, refusal),
                    now,
                );
            }
            // An error behind an answer, or behind another error: the first word holds.
            Err(Standing::Answered | Standing::Failed) => add(&row.duplicate, 1),
            Err(Standing::Free | Standing::Pending) => add(&row.contradicted, 1),
        }
        Ok(())
    }
}
