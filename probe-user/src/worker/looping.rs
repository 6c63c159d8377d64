//! The loop itself.

use super::{Clock, Common, Phase, Receive, Receiver, Rest, Sender, Transmit, WireReader, precedence::Precedence};
use crate::base::Nanos;
use std::sync::Arc;

/// Nothing to do for longer than this: look whether something else is asked for.
const NAP: Nanos = Nanos::from_millis(20);
/// What is due sooner than this is slept for whatever arrives meanwhile: its arrival has been stamped, and rings hold many times what
/// comes in that time. Being woken for each reply would cost as much as sending its probe.
const SHORT: Nanos = Nanos::from_millis(5);
/// With more time than that, replies from nearby are looked for once, this long after their probes were sent.
const NEARBY: Nanos = Nanos::from_millis(2);
/// Frames in a turn from which on there may be more than a turn takes: no rest before the next.
const MANY: usize = 1_024;
/// Frames in a turn from which on a receiver pauses to find more rather than be woken for each.
const BUSY: usize = 4;
/// That pause. Rings hold a hundred times what arrives in it.
const PAUSE: Nanos = Nanos::from_micros(100);
/// The same where fewer than [`FEW`] came in a turn: it takes no more CPU to see to some more of them.
const LONG_PAUSE: Nanos = Nanos::from_micros(500);
/// Frames of a burst.
const FEW: usize = 64;

/// One thread's loop: a sender, a receiver, or both.
pub struct Loop<C, T, R> {
    clock: C,
    common: Arc<Common>,
    sender: Option<Sender<T>>,
    receiver: Receiver<R>,
    precedence: Precedence,
}

impl<C: Clock, T: Transmit, R: Receive + Rest> Loop<C, T, R> {
    /// Of these parts. A loop without queues of its own has [`NoQueues`].
    pub(super) fn new(clock: C, common: Arc<Common>, sender: Option<Sender<T>>, receiver: Receiver<R>) -> Self {
        Self { clock, common, sender, receiver, precedence: Precedence::default() }
    }

    /// It goes before the other threads of its CPU while it rests enough that they get on. `set` has the calling thread do so, or no longer,
    /// and returns whether it may.
    #[must_use]
    pub fn going_first(mut self, set: impl FnMut(bool) -> bool + Send + 'static) -> Self {
        self.precedence = Precedence::new(set);
        self
    }

    /// Until all is settled, or nobody wants to know any more.
    pub fn run(&mut self) {
        while self.turn() {}
    }

    /// Once round: true if there is more to do.
    #[inline]
    pub fn turn(&mut self) -> bool {
        let mut own = self.sender.as_mut();
        let received = self.receiver.receive(&self.clock, |number, word| match &mut own {
            // In the order of arrival: a reply that came behind it is the second word.
            Some(sender) if sender.number() == number => sender.hear(&word, self.clock.now()),
            _ => self.common.handed_over[number].put(word),
        });
        let Some(sender) = &mut self.sender else {
            if self.is_over() {
                return false;
            }
            let now = self.clock.now();
            self.rest_as_receiver(received, now);
            self.precedence.turned(now, self.clock.now());
            return true;
        };
        let expired = sender.expire(&self.clock);
        let entered = sender.enter(&self.clock);
        sender.transmit(&self.clock);
        sender.reset(&self.clock);
        if sender.is_finished() || self.common.phase() == Phase::Abort {
            self.common.sender_finished();
            // Its queues may bring replies to another sender's probes.
            self.sender = None;
            return !self.is_over();
        }
        let now = self.clock.now();
        if received < MANY {
            let until = sender.next_at(now).min(now + NAP);
            if until < now + SHORT {
                self.receiver.queues().pause(until);
            } else if entered {
                self.receiver.queues().pause(now + NEARBY);
            } else if received == 0 && !expired {
                self.receiver.queues().rest(until);
            }
        }
        self.precedence.turned(now, self.clock.now());
        true
    }

    /// Whether nobody waits for a reply any more.
    fn is_over(&self) -> bool {
        self.common.phase() == Phase::Abort || !self.common.is_sending()
    }

    fn rest_as_receiver(&mut self, received: usize, now: Nanos) {
        match received {
            0..BUSY => self.receiver.queues().rest(now + NAP),
            BUSY..FEW => self.receiver.queues().pause(now + LONG_PAUSE),
            _ => self.receiver.queues().pause(now + PAUSE),
        }
    }
}

/// The queues of a loop that has none: it rests by the clock alone.
pub struct NoQueues<S>(pub S);

impl<S> Receive for NoQueues<S> {
    type Reader = WireReader;

    fn receive(&mut self, _: &mut dyn FnMut(&[&[u8]])) -> usize {
        0
    }
}

impl<S: Rest> Rest for NoQueues<S> {
    fn rest(&mut self, until: Nanos) {
        self.0.rest(until);
    }
    fn pause(&mut self, until: Nanos) {
        self.0.pause(until);
    }
}

/// The engine of a loop that sends nothing. It can't be made.
pub enum NoTransmit {}

impl Transmit for NoTransmit {
    fn transmit(&mut self, _: &[super::Due], _: &mut [super::Fate]) {
        match *self {}
    }
}
