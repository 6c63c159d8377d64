//! Runs that come and go while a sender is at work.
//!
//! Nothing here is done for each target at once: who has been given up is seen to when its time comes, and who has been put into a slot
//! is there when the walk comes by. A new run is made elsewhere, and taken over between two turns.

use super::{Asked, Sender, company, runs_asked};
use crate::{
    base::TargetIndex,
    ledger::histogram::add,
    worker::{Transmit, orders::NewWalk},
};
use std::sync::atomic::Ordering::Relaxed;

impl<T: Transmit> Sender<T> {
    /// A slot's time has come, and no probe is to leave: its name is not resolved, it is vacant, or it has been given up. Then it is vacant
    /// as soon as nothing is in flight any more.
    #[cold]
    pub(super) fn pass_by(&mut self, index: usize, target: TargetIndex) {
        let account = self.common.ledger.account(target);
        if account.is_given_up() {
            let row = account.row();
            if let Some(state) = account.vacate() {
                add(&self.tally.rows[row as usize].states[state as usize], 1u64.wrapping_neg());
            }
        }
        if account.is_vacant() {
            self.walks[index].vacant += 1;
        }
    }

    /// A walk is about to begin a round, and has come by vacant slots in the one before: whether it is over, because there were no others
    /// and there will be none.
    #[cold]
    pub(super) fn ends(&mut self, index: usize) -> bool {
        let walk = &mut self.walks[index];
        let is_empty = std::mem::take(&mut walk.vacant) >= walk.slots();
        if !is_empty || !self.common.ledger.is_closed(walk.run.number) {
            return false;
        }
        // The tick that brought us here is the last that lands.
        walk.pacer.stop();
        walk.is_over = true;
        self.ending += 1;
        self.company = company(&self.walks);
        true
    }

    /// Tells of walks that are over and have landed: their slots may be others'.
    #[cold]
    pub(super) fn end_runs(&mut self) {
        for walk in self.walks.iter().filter(|walk| walk.has_landed()) {
            if !self.common.ledger.has_ended(walk.run.number) {
                self.common.ledger.end_run(walk.run.number);
                self.ending -= 1;
            }
        }
    }

    /// Takes over what has been made for it.
    #[cold]
    pub(super) fn take_orders(&mut self) {
        while let Some(NewWalk { walk, debts }) = self.common.orders[self.number].take() {
            if self.stopped {
                // Nothing is sent any more: as if it had not come.
                self.common.orders[self.number].put_back(NewWalk { walk, debts });
                continue;
            }
            let targets = walk.run.targets.clone();
            self.keeps_times |= walk.is_mute;
            let ended = self.walks.iter().position(|walk| self.common.ledger.has_ended(walk.run.number));
            match ended {
                Some(place) => {
                    let walk = std::mem::replace(&mut self.walks[place], *walk);
                    let debts = self.judge.replace(place, targets, debts);
                    self.common.orders[self.number].put_back(NewWalk { walk: Box::new(walk), debts });
                }
                None => {
                    self.walks.push(*walk);
                    self.waiting.more();
                    self.judge.add(targets, debts);
                }
            }
        }
        self.company = company(&self.walks);
        if self.asked.is_none() {
            let asked = runs_asked(&self.walks, self.common.handed_over.len());
            let start = crate::base::Nanos(self.tally.last_settled.load(Relaxed));
            self.asked = asked.map(|(rate, is_all)| Asked::new(rate, is_all, start));
        }
    }
}
