//! ARP of our own, for targets on the link that are more than the kernel's table should hold of ours.
//!
//! A packet socket beside the kernel's stack, which sees every frame as before: questions go out as the interface's own, and copies of
//! what comes in are read. Frames pass the XDP program on their way there, so nothing depends on it: bonds and VLAN devices carry these
//! frames like any other, and what comes tagged for another VLAN is not for this socket.

use super::NicError;
use crate::{
    base::Nanos,
    route::{ArpQueue, ArpTable, LinkState, Question, Wake},
    wire::arp::{self, Arp},
    worker::Clock as _,
};
use std::{
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
    sync::Arc,
    thread::JoinHandle,
};

/// Bytes for what has come and is not read yet: some 5,000 packets. The kernel may grant less.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// Packets read before others get a turn.
const READ_AT_ONCE: usize = 256;
/// Nothing to do for longer than this: look whether the link has changed.
const NAP: Nanos = Nanos::from_millis(100);
/// From one turn to the next while there is something to do: several questions and answers share one.
const TURN: Nanos = Nanos::from_micros(200);
const BROADCAST: [u8; 6] = [0xff; 6];

/// The thread that asks, until this is dropped.
#[derive(Debug)]
pub struct ArpThread {
    queue: Arc<ArpQueue>,
    thread: Option<JoinHandle<()>>,
}

impl ArpThread {
    /// Begins to ask for what `queue` says, through the interface of that index in the network namespace of this thread.
    ///
    /// # Errors
    /// No permission for packet sockets, or the kernel has no room for one.
    pub fn start(
        interface: u32,
        table: ArpTable,
        (queue, wake): (Arc<ArpQueue>, Wake),
        link: Arc<LinkState>,
    ) -> Result<Self, NicError> {
        let socket = Socket::open(interface).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => NicError::Privileges,
            _ => NicError::Thread { what: "open a packet socket for ARP", error },
        })?;
        let (queue_of_asker, questions) = (Arc::clone(&queue), Vec::new());
        let mut asker = Asker { socket, heeds: false, table, queue: queue_of_asker, wake, link, questions };
        let spawned = std::thread::Builder::new().name("arp".into()).spawn(move || asker.run());
        let thread = spawned.map_err(|error| NicError::Thread { what: "start the thread for ARP", error })?;
        Ok(Self { queue, thread: Some(thread) })
    }
}

impl ArpThread {
    /// Where it is said which neighbours to ask.
    pub fn queue(&self) -> &Arc<ArpQueue> {
        &self.queue
    }
}

impl Drop for ArpThread {
    fn drop(&mut self) {
        self.queue.end();
        // One that panicked has told so, and nobody waits for its answers any more.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Asker {
    socket: Socket,
    /// The socket is bound: before there is somebody to ask, what comes is nobody's business, and wakes nobody.
    heeds: bool,
    table: ArpTable,
    queue: Arc<ArpQueue>,
    wake: Wake,
    link: Arc<LinkState>,
    questions: Vec<Question>,
}

impl Asker {
    fn run(&mut self) {
        let mut was_up = true;
        while !self.queue.is_ended() {
            let now = super::MonotonicClock.now();
            if self.queue.take_renewed() {
                self.table.renew();
            }
            if !self.heeds && !self.table.is_empty() {
                self.heeds =
                    self.socket.bind().inspect_err(|error| tracing::error!(%error, "no ARP of our own")).is_ok();
            }
            for (address, fixed) in self.queue.take_told() {
                self.table.told(address, fixed);
            }
            let mut busy = false;
            while let Some(address) = self.queue.next_wanted() {
                self.table.want(address, now);
                busy = true;
            }
            let read = self.read(now);
            let is_up = self.link.is_up();
            let mut until = if self.heeds { now + NAP } else { Nanos::MAX };
            if is_up && self.heeds {
                if !was_up {
                    self.table.link_returned();
                }
                self.ask(now);
                until = until.min(self.table.next());
            }
            was_up = is_up;
            match read {
                READ_AT_ONCE => {}
                // More is to come: who wants something meanwhile need not call.
                1.. => std::thread::sleep(TURN.to_duration()),
                0 if busy => std::thread::sleep(TURN.to_duration()),
                0 => self.rest(until.max(now + TURN)),
            }
        }
    }

    /// Asks what is to be asked now. A question that does not leave is repeated like one that is not answered.
    fn ask(&mut self, now: Nanos) {
        self.table.questions(now, &mut self.questions);
        if self.questions.is_empty() {
            return;
        }
        // The interface's own address may change at any time.
        let Ok(own) = self.socket.mac() else { return self.questions.clear() };
        for Question { address, source, to } in self.questions.drain(..) {
            if let Err(error) = self.socket.send(to.unwrap_or(BROADCAST), &arp::request(source, own, address)) {
                tracing::debug!(%address, %error, "an ARP question did not leave");
            }
        }
    }

    /// Takes what has come; returns how much.
    fn read(&mut self, now: Nanos) -> usize {
        for read in 0..READ_AT_ONCE {
            let mut packet = [0; 64];
            let Ok((length, to_us)) = self.socket.receive(&mut packet) else { return read };
            let Some(Arp { reply, sender, sender_mac, target, .. }) = arp::read(&packet[..length]) else { continue };
            match to_us {
                None => {}
                Some(true) if reply => self.table.answered(sender, sender_mac, target, now),
                Some(_) => self.table.heard(sender, sender_mac, now),
            }
        }
        READ_AT_ONCE
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
        let on = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut on = [on(self.socket.0.as_raw_fd()), on(self.wake.as_fd().as_raw_fd())];
        // SAFETY: two descriptors that are open as long as `self`, in an array of two; the kernel writes to it during the call only.
        unsafe { libc::ppoll(on.as_mut_ptr(), 2, &raw const timeout, ptr::null()) };
        self.queue.wakes_up(&self.wake);
    }
}

/// A packet socket for ARP on one interface.
struct Socket(OwnedFd, libc::c_int);

impl Socket {
    fn open(interface: u32) -> io::Result<Self> {
        let index = libc::c_int::try_from(interface).map_err(io::Error::other)?;
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // Of no protocol yet: nothing comes before it is bound to the interface.
        // SAFETY: takes numbers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that the kernel has just made for us, and that nothing else knows.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) }, index);
        // What these two do not do is only work: our own questions are no answers.
        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER);
        socket.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1);
        Ok(socket)
    }

    /// From now on it sees ARP of its interface.
    fn bind(&self) -> io::Result<()> {
        let address = self.address([0; 6]);
        // SAFETY: an address of that size, read during the call only.
        let bound = unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), size_of_address()) };
        if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
        let size = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(0);
        // SAFETY: a value of that size, read during the call only.
        let done = unsafe { libc::setsockopt(self.0.as_raw_fd(), level, option, (&raw const value).cast(), size) };
        if done != 0 {
            tracing::debug!(option, error = %io::Error::last_os_error(), "an option of the packet socket for ARP is not set");
        }
    }

    fn address(&self, mac: [u8; 6]) -> libc::sockaddr_ll {
        let [a, b, c, d, e, f] = mac;
        libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
            sll_protocol: u16::try_from(libc::ETH_P_ARP).unwrap_or_default().to_be(),
            sll_ifindex: self.1,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [a, b, c, d, e, f, 0, 0],
        }
    }

    /// The interface's MAC address, now.
    fn mac(&self) -> io::Result<[u8; 6]> {
        let mut address = self.address([0; 6]);
        let mut size = size_of_address();
        // SAFETY: room of that size, written during the call only.
        let done = unsafe { libc::getsockname(self.0.as_raw_fd(), (&raw mut address).cast(), &raw mut size) };
        let [a, b, c, d, e, f, _, _] = address.sll_addr;
        if done == 0 { Ok([a, b, c, d, e, f]) } else { Err(io::Error::last_os_error()) }
    }

    fn send(&self, to: [u8; 6], packet: &[u8]) -> io::Result<()> {
        let address = self.address(to);
        let (fd, address) = (self.0.as_raw_fd(), (&raw const address).cast());
        // SAFETY: the packet and an address of that size, read during the call only.
        let sent = unsafe { libc::sendto(fd, packet.as_ptr().cast(), packet.len(), 0, address, size_of_address()) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next packet's length, and whether it was sent to us alone (or to all); None if it is none of this interface's.
    fn receive(&self, packet: &mut [u8; 64]) -> io::Result<(usize, Option<bool>)> {
        let mut from = self.address([0; 6]);
        let mut size = size_of_address();
        let (fd, address) = (self.0.as_raw_fd(), (&raw mut from).cast());
        // SAFETY: room for as many bytes as are named, and for an address of that size, written during the call only.
        let read = unsafe { libc::recvfrom(fd, packet.as_mut_ptr().cast(), packet.len(), 0, address, &raw mut size) };
        let Ok(length) = usize::try_from(read) else { return Err(io::Error::last_os_error()) };
        // The kernel shows a frame that is tagged for a VLAN device first to sockets of the device beneath, and then under the VLAN
        // device's index; one of a VLAN that nobody has is another host's.
        let to_us = match from.sll_pkttype {
            _ if from.sll_ifindex != self.1 => None,
            libc::PACKET_HOST => Some(true),
            libc::PACKET_BROADCAST => Some(false),
            _ => None,
        };
        Ok((length, to_us))
    }
}

fn size_of_address() -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of::<libc::sockaddr_ll>()).unwrap_or(0)
}
