//! Receiving: frames from the RX rings of a thread's queues, and back into their fill rings.

use super::{
    clock::{MonotonicClock, timespec},
    counts::QueueCounts,
    receive_rings::{BURST, Rings},
    socket::Queue,
};
use crate::{
    base::Nanos,
    worker::{Clock as _, Receive, Rest, WireReader},
};
use crossbeam::queue::SegQueue;
use std::{ptr, sync::Arc};

/// Bursts that one call takes from a queue at most: twice what a sender in the same loop sends in one turn.
const BURSTS: usize = 64;
/// A queue that stays dry is woken this often at most: a driver that can't be helped must not cost a system call a look.
const WAKE: Nanos = Nanos::from_millis(1);

/// The receive queues of one receiver thread.
pub struct Receiver {
    queues: Vec<ReceiveQueue>,
    /// Queues that are to be its own from now on.
    incoming: Incoming,
    polls: Vec<libc::pollfd>,
    counts: Arc<QueueCounts>,
    clock: MonotonicClock,
}

/// By which a control thread hands a receiver a queue while it runs, with the queue's number among those of all ports.
pub(super) type Incoming = Arc<SegQueue<(usize, Queue)>>;

/// Hands a queue of that number to one of the receivers, dealt out in turn.
pub(super) fn deal(receivers: &[Incoming], index: usize, queue: Queue) {
    receivers[index % receivers.len()].push((index, queue));
}

struct ReceiveQueue {
    /// Its number among the queues of all ports.
    index: usize,
    rings: Rings,
    /// When it was last woken.
    woken: Nanos,
}

impl Receiver {
    pub(super) fn new(counts: Arc<QueueCounts>) -> Self {
        Self { queues: Vec::new(), incoming: Incoming::default(), polls: Vec::new(), counts, clock: MonotonicClock }
    }

    pub(super) fn add(&mut self, index: usize, queue: Queue) {
        self.polls.push(libc::pollfd { fd: queue.rings.fd(), events: libc::POLLIN, revents: 0 });
        self.queues.push(ReceiveQueue { index, rings: queue.rings, woken: Nanos::ZERO });
    }

    /// What is put there this receiver takes over at its next look.
    pub(super) fn incoming(&self) -> Incoming {
        Arc::clone(&self.incoming)
    }

    /// Takes over what a control thread has handed over.
    #[cold]
    fn take_over(&mut self) {
        while let Some((index, queue)) = self.incoming.pop() {
            self.add(index, queue);
        }
    }

    /// Which receive queues are this receiver's, by their numbers among those of all ports.
    pub fn queues(&self) -> impl Iterator<Item = usize> + '_ {
        self.queues.iter().map(|queue| queue.index)
    }
}

impl ReceiveQueue {
    /// Wakes a driver that ran dry, whether there were frames to give back just now or not: it may have found the ring empty when
    /// they were still in our hands.
    fn wake(&mut self, now: impl FnOnce() -> Nanos) {
        if !self.rings.needs_wakeup() {
            return;
        }
        let now = now();
        if now < self.woken + WAKE {
            return;
        }
        self.woken = now;
        let (fd, nothing) = (self.rings.fd(), ptr::null_mut());
        // SAFETY: no buffer and no address are passed; the descriptor is open for as long as the rings live.
        unsafe { libc::recvfrom(fd, nothing, 0, libc::MSG_DONTWAIT, ptr::null_mut(), ptr::null_mut()) };
    }
}

impl Receive for Receiver {
    type Reader = WireReader;

    fn receive(&mut self, settle: &mut dyn FnMut(&[&[u8]])) -> usize {
        if !self.incoming.is_empty() {
            self.take_over();
        }
        let mut total = 0;
        for queue in &mut self.queues {
            for _ in 0..BURSTS {
                let count = queue.rings.burst(settle);
                if count > 0 {
                    self.counts.consume(queue.index, count as u64);
                }
                total += count;
                if count < BURST {
                    break;
                }
            }
            self.counts.allow(queue.index);
            queue.wake(|| self.clock.now());
        }
        total
    }
}

/// Sleeps until the moment or until a frame has come. Only receive sockets are polled: polling one that transmits in copy mode
/// would transmit.
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

    /// By the clock alone. What had to be woken was, when the queues were last looked at.
    fn pause(&mut self, until: Nanos) {
        self.clock.rest(until);
    }
}
