//! Whether the loops go on, seen from outside: by what they tell anyway.

use super::{Clock, Common, drained::Drained};
use crate::base::Nanos;

/// A loop that has not gone on for so long stands.
pub const STANDS: Nanos = Nanos::from_secs(10);

/// Looks at the loops now and then. They do nothing for it: senders tell when they last looked at what is due, and receivers how much
/// they have received.
#[derive(Debug)]
pub struct Progress {
    begun: Nanos,
    drained: Drained,
}

impl Progress {
    /// Of loops that begin now.
    pub fn new(common: &Common, clock: &impl Clock) -> Self {
        Self { begun: clock.now(), drained: Drained::new(common.taken.queues()) }
    }

    /// Up to when all loops have gone on: the last look of the sender that looked first, or, of receivers, the moment past which no frame
    /// waits for one. It is as old as the time between two calls where much arrives.
    pub fn until(&mut self, common: &Common, clock: &impl Clock) -> Nanos {
        let turned = common.turned_at().unwrap_or(self.begun);
        turned.min(self.drained.past(clock, &*common.taken).max(self.begun))
    }
}
