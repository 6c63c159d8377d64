//! ARP and neighbour discovery of our own, for targets on the link that are more than the kernel's table should hold of ours.
//!
//! A packet socket a family beside the kernel's stack, which sees every frame as before: questions go out as the interface's own, and
//! copies of what comes in are read. Frames pass the XDP program on their way there, so nothing depends on it: bonds and VLAN devices
//! carry these frames like any other, and what comes tagged for another VLAN is not for these sockets. Questions of others are the
//! kernel's to answer.

mod protocol;
mod socket;

use super::NicError;
use crate::{
    base::Nanos,
    route::{Hops, LinkState, NeighbourQueue, NeighbourTable, Question, Wake},
    worker::Clock as _,
};
use protocol::{Protocol, Word};
use socket::Socket;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd as _},
    ptr,
    sync::Arc,
    thread::JoinHandle,
};

/// Packets read before others get a turn.
const READ_AT_ONCE: usize = 256;
/// Nothing to do for longer than this: look whether the link has changed.
const NAP: Nanos = Nanos::from_millis(100);
/// From one turn to the next while there is something to do: several questions and answers share one.
const TURN: Nanos = Nanos::from_micros(200);

/// The thread that asks, until this is dropped.
#[derive(Debug)]
pub struct NeighbourThread {
    queue: Arc<NeighbourQueue>,
    thread: Option<JoinHandle<()>>,
}

impl NeighbourThread {
    /// Begins to ask for what `queue` says, through the interface of that index in the network namespace of this thread. The tables are
    /// of these hops, one a family.
    ///
    /// # Errors
    /// No permission for packet sockets, or the kernel has no room for them.
    pub fn start(
        interface: u32,
        hops: Arc<Hops>,
        (v4, v6): (NeighbourTable<Ipv4Addr>, NeighbourTable<Ipv6Addr>),
        (queue, wake): (Arc<NeighbourQueue>, Wake),
        link: Arc<LinkState>,
    ) -> Result<Self, NicError> {
        let failed = |error: io::Error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => NicError::Privileges,
            _ => NicError::Thread { what: "open a packet socket for the questions to neighbours", error },
        };
        let (v4, v6) = (OfFamily::new(interface, v4).map_err(failed)?, OfFamily::new(interface, v6).map_err(failed)?);
        let mut asker = Asker { hops, v4, v6, queue: Arc::clone(&queue), wake, link };
        let spawned = std::thread::Builder::new().name("neighbours".into()).spawn(move || asker.run());
        let thread = spawned.map_err(|error| NicError::Thread { what: "start the thread for neighbours", error })?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Where it is said which neighbours to ask.
    pub fn queue(&self) -> &Arc<NeighbourQueue> {
        &self.queue
    }
}

impl Drop for NeighbourThread {
    fn drop(&mut self) {
        self.queue.end();
        // One that panicked has told so, and nobody waits for its answers any more.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Asker {
    hops: Arc<Hops>,
    v4: OfFamily<Ipv4Addr>,
    v6: OfFamily<Ipv6Addr>,
    queue: Arc<NeighbourQueue>,
    wake: Wake,
    link: Arc<LinkState>,
}

impl Asker {
    fn run(&mut self) {
        let mut was_up = true;
        while !self.queue.is_ended() {
            let now = super::MonotonicClock.now();
            if self.queue.take_renewed() {
                self.v4.table.renew();
                self.v6.table.renew();
            }
            self.v4.begin();
            self.v6.begin();
            for (address, fixed) in self.queue.take_told() {
                match address {
                    IpAddr::V4(address) => self.v4.table.told(address, fixed),
                    IpAddr::V6(address) => self.v6.table.told(address, fixed),
                }
            }
            let mut busy = false;
            while let Some(place) = self.queue.next_wanted() {
                match self.hops.get(place).map(|hop| hop.address) {
                    Some(IpAddr::V4(address)) => self.v4.table.want(address, now),
                    Some(IpAddr::V6(address)) => self.v6.table.want(address, now),
                    None => {}
                }
                busy = true;
            }
            let read = self.v4.read(now).max(self.v6.read(now));
            let is_up = self.link.is_up();
            if is_up && !was_up {
                self.v4.table.link_returned();
                self.v6.table.link_returned();
            }
            was_up = is_up;
            let until = self.v4.ask(now, is_up).min(self.v6.ask(now, is_up));
            match read {
                READ_AT_ONCE => {}
                // More is to come: who wants something meanwhile need not call.
                1.. => std::thread::sleep(TURN.to_duration()),
                0 if busy => std::thread::sleep(TURN.to_duration()),
                0 => self.rest(until.max(now + TURN)),
            }
        }
    }

    /// Until something comes, somebody calls, or the moment is there.
    fn rest(&self, until: Nanos) {
        if !self.queue.falls_asleep() {
            return;
        }
        let rest = (until - super::MonotonicClock.now()).to_duration();
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(rest.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: rest.subsec_nanos().into(),
        };
        let on = |fd: &dyn AsFd| libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut on = [on(&self.v4.socket), on(&self.v6.socket), on(&self.wake)];
        // SAFETY: three descriptors that are open as long as `self`, in an array of three; the kernel writes to it during the call only.
        unsafe { libc::ppoll(on.as_mut_ptr(), 3, &raw const timeout, ptr::null()) };
        self.queue.wakes_up(&self.wake);
    }
}

/// The neighbours of one family, and how they are asked.
struct OfFamily<A> {
    table: NeighbourTable<A>,
    socket: Socket,
    /// The socket is bound: before there is somebody to ask, what comes is nobody's business, and wakes nobody.
    heeds: bool,
    questions: Vec<Question<A>>,
}

impl<A: Protocol> OfFamily<A> {
    fn new(interface: u32, table: NeighbourTable<A>) -> io::Result<Self> {
        let socket = Socket::open(interface, A::ETHERTYPE, A::FILTER)?;
        Ok(Self { table, socket, heeds: false, questions: Vec::new() })
    }

    /// Hears answers from the moment on at which there is somebody to ask.
    fn begin(&mut self) {
        if !self.heeds && !self.table.is_empty() {
            let bound = self.socket.bind();
            self.heeds = bound.inspect_err(|error| tracing::error!(%error, "neighbours can't be asked")).is_ok();
        }
    }

    /// Asks what is to be asked now, if the link is up. A question that does not leave is repeated like one that is not answered.
    /// Returns when to do so again.
    fn ask(&mut self, now: Nanos, is_up: bool) -> Nanos {
        if !self.heeds {
            return Nanos::MAX;
        }
        if !is_up {
            return now + NAP;
        }
        self.table.questions(now, &mut self.questions);
        let again = self.table.next().min(now + NAP);
        if self.questions.is_empty() {
            return again;
        }
        // The interface's own address may change at any time.
        let Ok(own) = self.socket.mac() else {
            self.questions.clear();
            return again;
        };
        for question in self.questions.drain(..) {
            let (to, packet) = A::ask(question, own);
            if let Err(error) = self.socket.send(to, packet.as_ref()) {
                tracing::debug!(address = ?question.address, %error, "a question to a neighbour did not leave");
            }
        }
        again
    }

    /// Takes what has come; returns how much.
    fn read(&mut self, now: Nanos) -> usize {
        if !self.heeds {
            return 0;
        }
        for read in 0..READ_AT_ONCE {
            let Ok(received) = self.socket.receive() else { return read };
            let word = received.sender.and_then(|sender| A::read(received.packet(), sender));
            match word {
                Some(Word::Answer(answer)) => self.table.answered(answer, now),
                Some(Word::News(address, mac)) => self.table.heard(address, mac, now),
                None => {}
            }
        }
        READ_AT_ONCE
    }
}
