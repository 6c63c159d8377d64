//! Who holds which transmit frame: pure accounting, no I/O.
//!
//! A frame is in one of three places: **free** (ours to write), **in the ring** (a descriptor names it and the kernel has
//! not taken that descriptor) or **awaiting** completion (taken by the kernel). A free frame is a [`Frame`] token, which
//! can't be copied: what holds no token writes no frame. Writing takes it and gives a [`Written`], which handing over takes: a frame
//! is never produced twice, nor unwritten.
//!
//! Positions are those of the TX ring: they count descriptors from the socket's birth and wrap at 2^32. In copy mode the
//! kernel moves its own consumer position only inside our `sendto`, but doesn't always show it:
//!
//! * Linux 6.17 and later store it at the end of a call that sent at least one frame ("xsk: update tx queue consumer
//!   immediately after transmission"). After a call whose very first frame was dropped (EBUSY), they don't.
//! * Earlier ones store it only when they find the ring empty, so never at the end of a call that ended with an error.
//!
//! What always shows is a dropped frame's completion: the kernel frees its buffer inside the call, which completes it, and
//! goes on to return EBUSY at once. So the dropped descriptor is the furthest of those known to be consumed, and completed
//! frames prove consumption as well as the stored position does.

/// The right to write one free frame. It is given up for [`Written`] where the frame is written.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Frame(u32);

/// The right to hand over one frame that has been written. It is given up where that is done: nothing is handed over unwritten, or
/// twice, or written after.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Written(u32);

impl Frame {
    /// Which one, from 0.
    pub(super) fn index(&self) -> usize {
        self.0 as usize
    }

    /// It has been written.
    pub(super) fn written(self) -> Written {
        Written(self.0)
    }
}

impl Written {
    /// Which one, from 0.
    pub(super) fn index(&self) -> usize {
        self.0 as usize
    }
}

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the free list, or held by the engine as a token.
    Free,
    /// In the TX ring or already taken from it: at this position, until it completes.
    Handed(u32),
}

/// What a `sendto` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kick {
    /// The kernel found no more descriptors.
    Done,
    /// It stopped early, and may go on if called again.
    Again,
    /// It dropped the last descriptor that it took and stopped there.
    Dropped,
    /// It refused before taking any descriptor.
    Nothing,
}

/// The frames of one transmit queue. Their number is a power of two and the completion ring's size; the TX ring is larger,
/// so neither can ever be too full for a frame that exists.
#[derive(Debug)]
pub(super) struct Frames {
    free: Vec<u32>,
    place: Box<[Place]>,
    /// The frame at ring position p is `ring[p % ring.len()]`.
    ring: Box<[u32]>,
    /// Where the next descriptor goes.
    produced: u32,
    /// Up to where the kernel is known to have consumed.
    consumed: u32,
    /// Whether the kernel may have consumed more than is known.
    in_doubt: bool,
    /// Whether this kernel stores its position at the end of each call that sent something.
    publishes: bool,
    /// Completions of frames that were not out: a kernel bug, counted rather than believed.
    strays: u64,
}

impl Frames {
    /// `count` free frames (a power of two) and an empty ring that begins at position `origin` (0 on a new socket).
    pub(super) fn new(count: u32, origin: u32, publishes: bool) -> Self {
        assert!(count.is_power_of_two(), "a ring's size is a power of two");
        Self {
            free: (0..count).rev().collect(),
            place: vec![Place::Free; count as usize].into(),
            ring: vec![0; count as usize].into(),
            produced: origin,
            consumed: origin,
            in_doubt: false,
            publishes,
            strays: 0,
        }
    }

    /// A free frame to write, if there is one.
    pub(super) fn take(&mut self) -> Option<Frame> {
        self.free.pop().map(Frame)
    }

    /// The frame's descriptor is in the ring now: returns its position.
    pub(super) fn produce(&mut self, Written(frame): Written) -> u32 {
        let position = self.produced;
        let slot = self.slot(position);
        self.ring[slot] = frame;
        self.place[frame as usize] = Place::Handed(position);
        self.produced = position.wrapping_add(1);
        position
    }

    /// The first position that the kernel is not known to have consumed.
    pub(super) fn consumed(&self) -> u32 {
        self.consumed
    }

    /// The position after the last descriptor produced.
    pub(super) fn produced(&self) -> u32 {
        self.produced
    }

    /// Descriptors that the kernel is not known to have consumed.
    pub(super) fn resident(&self) -> u32 {
        self.produced.wrapping_sub(self.consumed)
    }

    /// How many frames there are.
    pub(super) fn count(&self) -> u32 {
        self.place.len() as u32
    }

    /// Frames in the ring or awaiting completion, and those that are held as tokens.
    pub(super) fn out(&self) -> u32 {
        (self.place.len() - self.free.len()) as u32
    }

    /// Whether the frame that was produced at this position has not been completed since.
    pub(super) fn is_out(&self, frame: usize, position: u32) -> bool {
        self.place.get(frame) == Some(&Place::Handed(position))
    }

    /// Whether some resident descriptors may have been consumed: their frames must not become other probes.
    pub(super) fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Which frame the descriptor at a resident position names.
    pub(super) fn at(&self, position: u32) -> usize {
        self.ring[self.slot(position)] as usize
    }

    /// The kernel has completed this frame: it is free, and everything in the ring up to it was consumed.
    pub(super) fn complete(&mut self, frame: usize) {
        match self.place.get(frame).copied() {
            Some(Place::Handed(position)) => {
                self.place[frame] = Place::Free;
                #[expect(clippy::cast_possible_truncation, reason = "an index into `place`, whose length is a u32")]
                self.free.push(frame as u32);
                self.reach(position.wrapping_add(1));
            }
            Some(Place::Free) | None => self.strays += 1,
        }
    }

    /// Interprets a call that began when [`Frames::consumed`] was `before`; `stored` is the kernel's position as it shows
    /// now. Completions must have been reclaimed since the call. Returns the position that was dropped, if one was.
    pub(super) fn kicked(&mut self, kick: Kick, before: u32, stored: u32) -> Option<u32> {
        self.reach(stored);
        match kick {
            // The kernel looked for more and found none: looking stores its position, on every kernel. If descriptors are
            // left all the same, it stopped for another reason (a full completion ring before 5.18, a queue that the
            // device no longer has), and what it took is as uncertain as after EAGAIN.
            Kick::Done => {
                self.in_doubt = self.resident() != 0 && !self.publishes;
                None
            }
            Kick::Again => {
                self.in_doubt |= !self.publishes;
                None
            }
            Kick::Dropped => {
                if self.consumed == before {
                    // The very first was dropped: consumed, though its position is not stored yet.
                    self.reach(before.wrapping_add(1));
                }
                self.in_doubt = false;
                Some(self.consumed.wrapping_sub(1))
            }
            Kick::Nothing => None,
        }
    }

    /// Completions that named no frame of ours that was out.
    #[cfg(test)]
    fn strays(&self) -> u64 {
        self.strays
    }

    /// Moves `consumed` forward to `position`, if that is forward and not beyond what was produced.
    fn reach(&mut self, position: u32) {
        if position.wrapping_sub(self.consumed) <= self.resident() {
            self.consumed = position;
        }
    }

    fn slot(&self, position: u32) -> usize {
        position as usize & (self.ring.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that can't get its frame has failed")]
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashSet, VecDeque};

    const COUNT: u32 = 64;

    /// The kernel's side of the rings in copy mode, after `__xsk_generic_xmit`.
    struct Kernel {
        publishes: bool,
        budget: u32,
        cached_cons: u32,
        cached_prod: u32,
        stored: u32,
        /// Taken, not completed: frames in flight in the driver.
        out: Vec<usize>,
        /// Completion ring.
        completions: VecDeque<usize>,
        sent: Vec<u32>,
        dropped: Vec<u32>,
    }

    /// What the driver does with one frame.
    #[derive(Clone, Copy, Debug)]
    enum Driver {
        Takes,
        TakesAndCompletes,
        Drops,
        Busy,
    }

    impl Kernel {
        fn new(origin: u32, publishes: bool, budget: u32) -> Self {
            Self {
                publishes,
                budget,
                cached_cons: origin,
                cached_prod: origin,
                stored: origin,
                out: Vec::new(),
                completions: VecDeque::new(),
                sent: Vec::new(),
                dropped: Vec::new(),
            }
        }

        fn sendto(&mut self, frames: &Frames, up: bool, driver: &mut dyn FnMut() -> Driver) -> Kick {
            if !up {
                return Kick::Nothing;
            }
            let mut left = self.budget;
            let mut sent = false;
            let result = loop {
                if self.cached_prod == self.cached_cons {
                    self.stored = self.cached_cons;
                    self.cached_prod = frames.produced();
                }
                if self.cached_prod == self.cached_cons {
                    break Kick::Done;
                }
                if left == 0 {
                    break Kick::Again;
                }
                left -= 1;
                let position = self.cached_cons;
                let frame = frames.at(position);
                match driver() {
                    Driver::Busy => break Kick::Again,
                    Driver::Drops => {
                        self.cached_cons = position.wrapping_add(1);
                        self.completions.push_back(frame);
                        self.dropped.push(position);
                        break Kick::Dropped;
                    }
                    takes => {
                        self.cached_cons = position.wrapping_add(1);
                        self.sent.push(position);
                        sent = true;
                        if matches!(takes, Driver::TakesAndCompletes) {
                            self.completions.push_back(frame);
                        } else {
                            self.out.push(frame);
                        }
                    }
                }
            };
            if sent && self.publishes {
                self.stored = self.cached_cons;
            }
            result
        }
    }

    fn audit(frames: &Frames, kernel: &Kernel, held: &[Frame]) {
        let mut seen = HashSet::new();
        let free = frames.free.iter().map(|f| *f as usize);
        let resident = (0..frames.produced().wrapping_sub(kernel.cached_cons))
            .map(|i| frames.at(kernel.cached_cons.wrapping_add(i)));
        let all = free
            .chain(held.iter().map(Frame::index))
            .chain(resident)
            .chain(kernel.out.iter().copied())
            .chain(kernel.completions.iter().copied());
        for frame in all {
            assert!(seen.insert(frame), "frame {frame} is in two places");
        }
        assert_eq!(seen.len(), COUNT as usize, "a frame was lost");
        assert_eq!(frames.strays(), 0);
    }

    fn driver() -> impl Strategy<Value = Driver> {
        prop_oneof![
            6 => Just(Driver::Takes),
            6 => Just(Driver::TakesAndCompletes),
            2 => Just(Driver::Drops),
            1 => Just(Driver::Busy),
        ]
    }

    proptest! {
        /// Whatever the driver does and however little the kernel shows: no frame is lost or in two places, each drop is
        /// named exactly, and on return either all is known or the doubt is admitted.
        #[test]
        fn every_frame_is_in_one_place_and_every_drop_is_named(
            origin in prop_oneof![Just(0u32), (u32::MAX - 200)..=u32::MAX],
            publishes: bool,
            budget in prop_oneof![Just(16u32), Just(32)],
            steps in prop::collection::vec((0usize..40, any::<bool>(), 0usize..50, prop::collection::vec(driver(), 1..80)), 1..60),
        ) {
            let mut frames = Frames::new(COUNT, origin, publishes);
            let mut kernel = Kernel::new(origin, publishes, budget);
            for (want, up, finish, script) in steps {
                let mut held: Vec<Frame> = std::iter::from_fn(|| frames.take()).take(want).collect();
                audit(&frames, &kernel, &held);
                for frame in held.drain(..) {
                    frames.produce(frame.written());
                }
                let mut script = script.into_iter();
                for _ in 0..4 {
                    if frames.resident() == 0 {
                        break;
                    }
                    let before = frames.consumed();
                    let drops = kernel.dropped.len();
                    let kick = kernel.sendto(&frames, up, &mut || script.next().unwrap_or(Driver::Busy));
                    while let Some(frame) = kernel.completions.pop_front() {
                        frames.complete(frame);
                    }
                    let dropped = frames.kicked(kick, before, kernel.stored);
                    prop_assert_eq!(dropped, kernel.dropped.get(drops).copied());
                    if !frames.in_doubt() {
                        prop_assert_eq!(frames.consumed(), kernel.cached_cons, "after {:?}", kick);
                    }
                    prop_assert!(publishes <= !frames.in_doubt());
                    audit(&frames, &kernel, &[]);
                }
                // The driver finishes some of what it holds, in any order.
                for _ in 0..finish.min(kernel.out.len()) {
                    let frame = kernel.out.swap_remove(finish % kernel.out.len());
                    kernel.completions.push_back(frame);
                }
            }
            // At the end of the day the driver completes everything: all frames are free or resident.
            let out = std::mem::take(&mut kernel.out);
            for frame in out.into_iter().chain(std::mem::take(&mut kernel.completions)) {
                frames.complete(frame);
            }
            let resident = frames.produced().wrapping_sub(kernel.cached_cons) as usize;
            prop_assert_eq!(frames.free.len() + resident, COUNT as usize);
        }
    }

    #[test]
    fn the_first_frame_dropped_is_named_though_no_position_is_stored() {
        let mut frames = Frames::new(4, u32::MAX, true);
        let frame = frames.take().unwrap();
        let index = frame.index();
        frames.produce(frame.written());
        frames.complete(index);
        assert_eq!(frames.kicked(Kick::Dropped, u32::MAX, u32::MAX), Some(u32::MAX));
        assert_eq!((frames.consumed(), frames.resident()), (0, 0));
    }

    #[test]
    fn a_completion_of_a_free_frame_is_counted_and_not_believed() {
        let mut frames = Frames::new(4, 0, true);
        frames.complete(2);
        frames.complete(99);
        assert_eq!(frames.strays(), 2);
        assert_eq!(std::iter::from_fn(|| frames.take()).count(), 4);
    }
}
