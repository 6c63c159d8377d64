//! Receiving: frames from the RX rings of a thread's queues, and back into their fill rings.

use super::{
    clock::{MonotonicClock, timespec},
    counts::QueueCounts,
    socket::Queue,
};
use crate::{
    time::Nanos,
    worker::{Clock as _, Receive, Rest},
};
use std::{os::fd::AsRawFd as _, ptr, sync::Arc};
use xsk_rs::{FillQueue, FrameDesc, RxQueue, Umem};

/// Frames of a burst.
const BURST: usize = 64;
/// Bursts that one call takes from a queue at most: twice what a sender in the same loop sends in one turn.
const BURSTS: usize = 64;

/// The receive queues of one receiver thread.
pub struct Receiver {
    queues: Vec<ReceiveQueue>,
    polls: Vec<libc::pollfd>,
    counts: Arc<QueueCounts>,
    clock: MonotonicClock,
}

struct ReceiveQueue {
    /// Its number among the queues of all ports.
    index: usize,
    umem: Umem,
    rx: RxQueue,
    fill: FillQueue,
    descs: [FrameDesc; BURST],
}

impl Receiver {
    pub(super) fn new(counts: Arc<QueueCounts>) -> Self {
        Self { queues: Vec::new(), polls: Vec::new(), counts, clock: MonotonicClock }
    }

    pub(super) fn add(&mut self, index: usize, queue: Queue) {
        let Queue { umem, rx, fill, .. } = queue;
        self.polls.push(libc::pollfd { fd: rx.fd().as_raw_fd(), events: libc::POLLIN, revents: 0 });
        self.queues.push(ReceiveQueue { index, umem, rx, fill, descs: [FrameDesc::default(); BURST] });
    }

    /// Which receive queues are this receiver's, by their numbers among those of all ports.
    pub fn queues(&self) -> impl Iterator<Item = usize> + '_ {
        self.queues.iter().map(|queue| queue.index)
    }
}

impl ReceiveQueue {
    /// Takes one burst through its whole life. Returns how many frames it had.
    fn burst(&mut self, counts: &QueueCounts, settle: &mut dyn FnMut(&[&[u8]])) -> usize {
        // SAFETY: the ring is of the UMEM that the descriptors are used with below.
        let count = unsafe { self.rx.consume(&mut self.descs) };
        if count == 0 {
            return 0;
        }
        let descs = &self.descs[..count];
        show(&self.umem, descs, settle);
        // SAFETY: these frames came from the RX ring just now, so they are ours and in no other ring; `show` is over, so no
        // slice of them is left.
        let returned = unsafe { self.fill.produce(descs) };
        // It has two entries for each frame: see `socket::entries`.
        assert_eq!(returned, count, "a fill ring that has room for every frame has room for these");
        if self.fill.needs_wakeup() {
            // Set only by a zero-copy driver that ran dry.
            // SAFETY: no buffer and no address are passed; the descriptor is open for as long as `rx` lives.
            unsafe {
                libc::recvfrom(
                    self.rx.fd().as_raw_fd(),
                    ptr::null_mut(),
                    0,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut(),
                    ptr::null_mut(),
                )
            };
        }
        counts.consume(self.index, count as u64);
        count
    }
}

/// Shows the frames of a burst.
fn show(umem: &Umem, descs: &[FrameDesc], settle: &mut dyn FnMut(&[&[u8]])) {
    let mut frames: [&[u8]; BURST] = [&[]; BURST];
    for (frame, desc) in frames.iter_mut().zip(descs) {
        // SAFETY: the kernel wrote address and length, and keeps both within one frame of this UMEM. The frame is ours
        // from the RX ring to the fill ring, to which the caller returns it only after this function, with every slice in
        // it, is over; nobody writes to it in between.
        *frame = unsafe { umem.data(desc) }.contents();
    }
    settle(&frames[..descs.len()]);
}

impl Receive for Receiver {
    fn receive(&mut self, settle: &mut dyn FnMut(&[&[u8]])) -> usize {
        let mut total = 0;
        for queue in &mut self.queues {
            for _ in 0..BURSTS {
                let count = queue.burst(&self.counts, settle);
                total += count;
                if count < BURST {
                    break;
                }
            }
        }
        total
    }
}

/// Sleeps until the moment or until a frame has come. Only receive sockets are polled: polling one that transmits would
/// transmit.
impl Rest for Receiver {
    fn rest(&mut self, until: Nanos) {
        let now = self.clock.now();
        if until <= now {
            return;
        }
        let timeout = timespec(until - now);
        let count = self.polls.len() as libc::nfds_t;
        // SAFETY: as many valid pollfds as `count` says, whose descriptors are open for as long as `queues`; a valid
        // timespec; no signal mask. An early return is allowed.
        unsafe { libc::ppoll(self.polls.as_mut_ptr(), count, &raw const timeout, ptr::null()) };
    }

    fn pause(&mut self, until: Nanos) {
        self.clock.rest(until);
    }
}
