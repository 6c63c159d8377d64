//! What a loop needs from a network: send these; give me replies; let me rest. `nic` and the testbed implement it.

use super::proof::Reader;
use crate::base::{AddressHandle, Cause, Generation, Nanos, Sequence, ShapeIndex, TargetIndex};

/// Tells the time. CLOCK_MONOTONIC on a NIC, simulated time in a simulation.
pub trait Clock {
    /// Now.
    fn now(&self) -> Nanos;
}

/// A probe to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whose.
    pub target: TargetIndex,
    /// Tenant of the slot, for the cookie.
    pub generation: Generation,
    /// Low bits of its number.
    pub sequence: Sequence,
    /// Where to.
    pub to: AddressHandle,
    /// Which next hop: index into `route::Hops`.
    pub hop: u32,
    /// What it looks like.
    pub shape: ShapeIndex,
}

/// What became of a probe that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// On its way, with this stamp in it.
    Sent(Nanos),
    /// It did not leave this machine and will not.
    Unsent(Cause),
    /// It did not leave this machine, because something on its way is full or the link is down: it may be offered again. If nobody
    /// does, that is why it was not sent.
    Full(Cause),
}

/// What a transmit engine has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Probes that may be handed over now.
    pub probes: usize,
    /// If there are more, the moment to ask again.
    pub again: Nanos,
    /// Whether it is the card that sets the pace: less is taken than there could be, because more is not sent.
    pub full: bool,
}

/// When a probe that was sent has surely been handed to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// By the time that the probe so many places after it is stamped, or by the return of [`Transmit::transmit`].
    Together(usize),
    /// The return says nothing of it. One probe at a time is followed until it is seen to have left: [`Transmit::dwelt`].
    Followed,
}

/// A transmit engine. One sender thread owns it.
pub trait Transmit {
    /// Sends probes, those of one shape in order, and says of each what became of it: `fates[i]` for `due[i]`.
    /// Both slices have the same length, at most [`Transmit::batch`]. When it returns, nothing of `due` will be sent any more
    /// that was not: the deadline of what was sent runs from the return. It does not wait for room.
    fn transmit(&mut self, due: &[Due], fates: &mut [Fate]);

    /// How many probes there is room for now. More may be handed over, and are [`Fate::Full`] then, most likely.
    fn room(&mut self, now: Nanos) -> Room {
        Room { probes: self.batch(), again: now, full: false }
    }

    /// So many probes that were [`Fate::Full`] will not be offered again.
    fn give_up(&mut self, _cause: Cause, _probes: u64) {}

    /// Most probes that are worth handing over at once. Always the same.
    fn batch(&self) -> usize {
        64
    }

    /// How it is known that a probe has left.
    fn leaving(&self) -> Leaving {
        Leaving::Together(usize::MAX)
    }

    /// How long the probe stayed in this machine that was followed last, if its leaving has been seen since this was asked before.
    /// For [`Leaving::Followed`].
    fn dwelt(&mut self) -> Option<Nanos> {
        None
    }
}

/// The receive queues of one receiver thread.
pub trait Receive {
    /// Reads the frames.
    type Reader: Reader;

    /// Takes what has arrived, burst by burst (at most 64 frames), shows each burst to `settle`, and afterwards gives the
    /// frames back and counts them as consumed. A frame is a whole Ethernet frame whose first 8 bytes are the arrival
    /// stamp (native byte order). Returns how many frames there were; bounded, so that a flood can't hold the loop.
    fn receive(&mut self, settle: &mut dyn FnMut(&[&[u8]])) -> usize;
}

/// Sleeping: until a moment has come, or earlier when something arrived for this thread's queues (if it has any).
pub trait Rest {
    /// Returns at `until` or earlier, at the latest when something has arrived. `until` in the past returns at once.
    fn rest(&mut self, until: Nanos);
    /// Returns at `until` or earlier, whatever arrives meanwhile: arrival was stamped long before a receiver wakes, so a receiver
    /// with much to do sleeps a little and finds more.
    fn pause(&mut self, until: Nanos);
}

/// The interface's condition, as far as it excuses silence.
pub trait Link: Send + Sync {
    /// Whether it can carry frames now.
    fn is_up(&self) -> bool;
    /// Whether there was any time between the two moments at which it could not.
    fn was_down(&self, from: Nanos, to: Nanos) -> bool;
}

/// The numbers that say whether a receive queue has been drained past a moment: DESIGN, subtle part 2.
///
/// All three only grow. The order of reads matters: the clock, then `taken`, then `consumed` and `dropped`.
pub trait Taken: Send + Sync {
    /// How many receive queues there are.
    fn queues(&self) -> usize;
    /// Frames that steer has taken for this queue; counted before the arrival stamp is read.
    fn taken(&self, queue: usize) -> u64;
    /// Frames that a receiver has settled.
    fn consumed(&self, queue: usize) -> u64;
    /// Frames that the socket is known to have dropped after they were taken.
    fn dropped(&self, queue: usize) -> u64;
    /// Frames that a queue's ring holds.
    fn ring(&self) -> u64;
}
