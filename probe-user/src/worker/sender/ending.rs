//! Ending the connections that probes half opened.

use super::Sender;
use crate::{
    base::{Destination, Nanos, Sequence},
    worker::{Clock, Due, Fate, Transmit, resets::HalfOpen},
};

/// Calls of the engine in one turn, so that RSTs do not hold up probes: as many as frames are taken from a queue in one turn.
const BATCHES_AT_ONCE: usize = 64;
/// RSTs that nobody takes for so long are not sent.
const GIVE_UP: Nanos = Nanos::from_secs(1);

impl<T: Transmit> Sender<T> {
    /// Whether a connection waits to be ended.
    pub(super) fn resets(&self) -> bool {
        !self.resets.is_empty() || !self.common.resets[self.number].is_empty()
    }

    /// Sends the RSTs that receivers have asked for, as far as there is room. They are no probes: nobody waits for what becomes of them.
    #[inline]
    pub fn reset(&mut self, clock: &impl Clock) {
        for _ in 0..BATCHES_AT_ONCE {
            if !self.resets() || !self.send_resets(clock) {
                break;
            }
        }
    }

    /// As many as are sent at once. Whether there may be room for more. What nobody takes for a second is given up: an end must not wait
    /// for a link that is down, and the targets have answered again by then.
    fn send_resets(&mut self, clock: &impl Clock) -> bool {
        let now = clock.now();
        let room = self.engine.room(now).probes.min(self.fates.len());
        let waiting = &self.common.resets[self.number];
        while self.resets.len() < room
            && let Some(HalfOpen { target, number, port }) = waiting.take()
        {
            let account = self.common.ledger.account(target);
            let way = account.destination().zip(account.hop(&self.common.hops, account.group(), number.into()).ok());
            let reset = |(to, hop): (Destination, u32)| Some((to, hop, account.group().reset(to.family, port)?));
            let Some((to, hop, shape)) = way.and_then(reset) else {
                self.tally.count_reset(false);
                continue;
            };
            if !self.allowance.spend(now) {
                self.tally.count_reset(false);
                continue;
            }
            let (generation, sequence) = (account.generation(), Sequence(number.into()));
            self.resets.push(Due { target, generation, sequence, to: to.handle, hop, shape });
        }
        let many = self.resets.len().min(room);
        if many == 0 {
            self.give_up_resets(now);
            return false;
        }
        let fates = &mut self.fates[..many];
        self.engine.transmit(&self.resets[..many], fates);
        let mut kept = 0;
        for (i, fate) in fates.iter().enumerate() {
            match fate {
                Fate::Sent(_) => self.tally.count_reset(true),
                Fate::Unsent(_) => self.tally.count_reset(false),
                Fate::Full(_) => {
                    self.resets[kept] = self.resets[i];
                    kept += 1;
                }
            }
        }
        self.resets.drain(kept..many);
        if kept == many {
            self.give_up_resets(now);
        } else {
            self.resets_wait = None;
        }
        kept == 0
    }

    /// None could be sent: if that has been so for long, all that are at hand are given up.
    #[cold]
    fn give_up_resets(&mut self, now: Nanos) {
        if now - *self.resets_wait.get_or_insert(now) < GIVE_UP {
            return;
        }
        let waiting = std::iter::from_fn(|| self.common.resets[self.number].take()).count();
        (0..self.resets.len() + waiting).for_each(|_| self.tally.count_reset(false));
        self.resets.clear();
        self.resets_wait = None;
    }
}
