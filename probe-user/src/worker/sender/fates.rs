//! What became of probes that were handed over, where there is something to be done for each.

use super::{Late, Sender};
use crate::{
    base::{Cause, Ended, Nanos, ProbeNumber},
    schedule::Landed,
    worker::{Fate, Transmit},
};

impl<T: Transmit> Sender<T> {
    /// Deals with each probe by what became of it. What found no room stays at hand.
    pub(super) fn note_fates(&mut self, begun: Nanos, ended: Nanos) {
        let fates = &self.fates[..self.due.len()];
        self.backlog.handed(fates.iter().filter(|fate| !matches!(fate, Fate::Full(_))).count(), ended);
        self.walks.iter_mut().for_each(|walk| walk.held = None);
        let mut kept = 0;
        for i in 0..self.due.len() {
            let (due, mut note) = (self.due[i], self.notes[i]);
            let cause = match self.fates[i] {
                Fate::Sent(at) => {
                    if self.keeps_times {
                        self.common.ledger.account(due.target).set_sent(note.number, at);
                    }
                    None
                }
                Fate::Unsent(cause) => Some(cause),
                // A link may come back later than who has a due time can wait.
                Fate::Full(cause) if self.backlog.is_stuck() || (cause == Cause::LinkDown && !self.may_wait) => {
                    self.engine.give_up(cause, 1);
                    Some(cause)
                }
                Fate::Full(_) => {
                    note.offered = note.offered.min(begun);
                    let walk = &mut self.walks[note.walk];
                    if walk.held.is_none() && !note.late {
                        walk.held = Some((walk.ordinal(due.target, note.number), note.offered));
                    }
                    (self.due[kept], self.notes[kept]) = (due, note);
                    kept += 1;
                    continue;
                }
            };
            if note.late && cause.is_none() {
                let late = Nanos::from_millis(if cfg!(broken = "hop-late") { 200 } else { 0 });
                let deadline = ended + self.common.ledger.account(due.target).timeout() + late;
                let landed = Landed { begun, deadline };
                let place = self.key(note.walk, note.number);
                let Fate::Sent(at) = self.fates[i] else { continue };
                self.waiting.sent(note.walk, place, Late { target: due.target, number: note.number, landed }, at);
            } else if note.late {
                self.waiting.forget(note.walk, due.target, self.key(note.walk, note.number));
            }
            self.tally.send_lag.record(begun - note.due);
            if let Some(cause) = cause {
                let account = self.common.ledger.account(due.target);
                if self.walks[note.walk].is_asked {
                    self.settler.count_asked((account, begun), Ended::Unsent(cause), ended, ProbeNumber(note.number));
                    continue;
                }
                let number = || ProbeNumber(note.number);
                // A reply to what was never sent can't have been faster; if one was, it has settled the probe.
                let _faster = self.settler.settle(
                    account.place(note.number),
                    (account, begun),
                    Ended::Unsent(cause),
                    ended,
                    number,
                );
            }
        }
        self.due.truncate(kept);
        self.notes.truncate(kept);
        self.late_due = self.notes.iter().filter(|note| note.late).count();
    }
}
