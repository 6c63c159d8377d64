//! Ending the connections that probes half opened.

use super::Sender;
use crate::{
    base::Sequence,
    worker::{Clock, Due, Fate, Transmit},
};

impl<T: Transmit> Sender<T> {
    /// Whether a connection waits to be ended.
    pub(super) fn resets(&self) -> bool {
        !self.resets.is_empty() || !self.common.resets[self.number].is_empty()
    }

    /// Sends the RSTs that receivers have asked for, as far as there is room. They are no probes: nobody waits for what becomes of them.
    #[inline]
    pub fn reset(&mut self, clock: &impl Clock) {
        if self.resets() {
            self.send_resets(clock);
        }
    }

    fn send_resets(&mut self, clock: &impl Clock) {
        let now = clock.now();
        let room = self.engine.room(now).probes.min(self.fates.len());
        let waiting = &self.common.resets[self.number];
        while self.resets.len() < room
            && let Some((target, number)) = waiting.take()
        {
            let account = self.common.ledger.account(target);
            let group = account.group();
            let (Some(to), Ok(hop), Some(shapes)) = (account.destination(), account.hop(), group.resets) else {
                self.tally.count_reset(false);
                continue;
            };
            if !self.allowance.spend(now) {
                self.tally.count_reset(false);
                continue;
            }
            let (generation, sequence, shape) =
                (account.generation(), Sequence(number.into()), shapes[to.family as usize]);
            self.resets.push(Due { target, generation, sequence, to: to.handle, hop, shape });
        }
        let many = self.resets.len().min(room);
        if many == 0 {
            return;
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
    }
}
