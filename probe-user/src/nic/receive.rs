//! Receiving: frames from the RX rings of a thread's queues, and back into their fill rings.

use super::{
    clock::{MonotonicClock, timespec},
    counts::QueueCounts,
    socket::Queue,
    xsk::{Consumer, Frames, Producer},
};
use crate::{
    base::Nanos,
    worker::{Clock as _, Receive, Rest},
};
use crossbeam::queue::SegQueue;
use std::{
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    ptr,
    sync::Arc,
};
use xsk_rs::{FillQueue, FrameDesc, RxQueue, Umem};

/// Frames of a burst.
const BURST: usize = 64;
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

/// The receiving rings of a queue's socket.
#[expect(clippy::large_enum_variant, reason = "there are as many as queues, and they never move")]
pub(super) enum Rings {
    /// Copy mode.
    Library(LibraryRings),
    /// Zero-copy.
    Own(OwnRings),
}

/// xsk-rs'.
pub(super) struct LibraryRings {
    pub(super) umem: Umem,
    pub(super) rx: RxQueue,
    pub(super) fill: FillQueue,
    pub(super) descs: [FrameDesc; BURST],
}

/// Our own.
pub(super) struct OwnRings {
    pub(super) socket: Arc<OwnedFd>,
    pub(super) frames: Arc<Frames>,
    pub(super) rx: Consumer<libc::xdp_desc>,
    pub(super) fill: Producer<u64>,
    pub(super) descs: [libc::xdp_desc; BURST],
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

impl Rings {
    pub(super) fn library(umem: Umem, rx: RxQueue, fill: FillQueue) -> Self {
        Self::Library(LibraryRings { umem, rx, fill, descs: [FrameDesc::default(); BURST] })
    }

    pub(super) fn own(
        socket: Arc<OwnedFd>,
        frames: Arc<Frames>,
        rx: Consumer<libc::xdp_desc>,
        fill: Producer<u64>,
    ) -> Self {
        let none = libc::xdp_desc { addr: 0, len: 0, options: 0 };
        Self::Own(OwnRings { socket, frames, rx, fill, descs: [none; BURST] })
    }

    /// The socket. Open for as long as these rings are.
    pub(super) fn fd(&self) -> RawFd {
        match self {
            Self::Library(rings) => rings.rx.fd().as_raw_fd(),
            Self::Own(rings) => rings.socket.as_raw_fd(),
        }
    }

    /// Whether the driver waits to be called before it takes frames from the fill ring: it ran dry. Only a zero-copy driver does.
    fn needs_wakeup(&self) -> bool {
        match self {
            Self::Library(_) => false,
            Self::Own(rings) => rings.fill.needs_wakeup(),
        }
    }

    /// Takes one burst through its whole life. Returns how many frames it had.
    fn burst(&mut self, settle: &mut dyn FnMut(&[&[u8]])) -> usize {
        match self {
            Self::Library(rings) => rings.burst(settle),
            Self::Own(rings) => rings.burst(settle),
        }
    }
}

impl LibraryRings {
    fn burst(&mut self, settle: &mut dyn FnMut(&[&[u8]])) -> usize {
        // SAFETY: the ring is of the UMEM that the descriptors are used with below.
        let count = unsafe { self.rx.consume(&mut self.descs) };
        if count == 0 {
            return 0;
        }
        let descs = &self.descs[..count];
        let mut frames: [&[u8]; BURST] = [&[]; BURST];
        for (frame, desc) in frames.iter_mut().zip(descs) {
            // SAFETY: the kernel wrote address and length, and keeps both within one frame of this UMEM. The frame is ours
            // from the RX ring to the fill ring, to which it is returned below, when every slice of it is over; nobody writes
            // to it in between.
            *frame = unsafe { self.umem.data(desc) }.contents();
        }
        settle(&frames[..count]);
        // SAFETY: these frames came from the RX ring just now, so they are ours and in no other ring; `settle` is over, so no
        // slice of them is left.
        let returned = unsafe { self.fill.produce(descs) };
        // It has two entries for each frame: see `socket::entries`.
        assert_eq!(returned, count, "a fill ring that has room for every frame has room for these");
        count
    }
}

impl OwnRings {
    fn burst(&mut self, settle: &mut dyn FnMut(&[&[u8]])) -> usize {
        let count = self.rx.consume(&mut self.descs);
        if count == 0 {
            return 0;
        }
        let descs = &self.descs[..count];
        let mut frames: [&[u8]; BURST] = [&[]; BURST];
        for (frame, desc) in frames.iter_mut().zip(descs) {
            // SAFETY: as above: the frame is ours from the RX ring to the fill ring.
            *frame = unsafe { self.frames.bytes(desc.addr, desc.len as usize) };
        }
        settle(&frames[..count]);
        // The kernel takes any address within a frame for the frame.
        let returned = self.fill.produce(descs.iter().map(|desc| desc.addr));
        // As above.
        assert_eq!(returned, count, "a fill ring that has room for every frame has room for these");
        count
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
