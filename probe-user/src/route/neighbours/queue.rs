//! What senders and the watcher of the kernel's tables have to say to whoever asks neighbours.

use super::super::Hops;
use crossbeam::queue::ArrayQueue;
use std::{
    io::{self, Read as _, Write as _},
    mem,
    net::IpAddr,
    os::unix::net::UnixStream,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// Neighbours that may be wanted at once. One that finds no room is wanted again.
const WANTED: usize = 1 << 16;

/// What the kernel says of a neighbour's entry: its address, and its MAC address if the entry was made by hand.
pub type Told = (IpAddr, Option<[u8; 6]>);

/// Neighbours that are to be asked. Senders push without a lock; whoever asks sleeps and is woken.
#[derive(Debug)]
pub struct NeighbourQueue {
    /// By their places among the hops.
    wanted: ArrayQueue<u32>,
    told: Mutex<Vec<Told>>,
    renewed: AtomicBool,
    ended: AtomicBool,
    asleep: AtomicBool,
    wake: UnixStream,
}

/// The other end of the queue's call: readable when there is something.
#[derive(Debug)]
pub struct Wake(UnixStream);

impl NeighbourQueue {
    /// Empty, and the end that whoever asks sleeps on.
    pub fn new() -> io::Result<(Self, Wake)> {
        let (wake, sleeper) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        sleeper.set_nonblocking(true)?;
        let [renewed, ended, asleep] = [false, false, true].map(AtomicBool::new);
        let (wanted, told) = (ArrayQueue::new(WANTED), Mutex::default());
        Ok((Self { wanted, told, renewed, ended, asleep, wake }, Wake(sleeper)))
    }

    /// Somebody wants to send to the neighbour in this place among the hops.
    pub fn want(&self, hops: &Hops, place: u32) {
        let Some(hop) = hops.get(place) else { return };
        if hop.want() {
            if self.wanted.push(place).is_err() {
                hop.unwant();
            }
            self.call();
        }
    }

    /// The kernel says something of a neighbour.
    pub fn tell(&self, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        self.call();
    }

    /// There are other hops.
    pub fn renew(&self) {
        self.renewed.store(true, SeqCst);
        self.call();
    }

    /// Whether there are other hops since the last call.
    pub fn take_renewed(&self) -> bool {
        self.renewed.swap(false, SeqCst)
    }

    /// Nobody wants anything any more.
    pub fn end(&self) {
        self.ended.store(true, SeqCst);
        self.call();
    }

    /// Whether nobody wants anything any more.
    pub fn is_ended(&self) -> bool {
        self.ended.load(SeqCst)
    }

    /// The next that is wanted: its place among the hops.
    pub fn next_wanted(&self) -> Option<u32> {
        self.wanted.pop()
    }

    /// What the kernel has said since the last call.
    pub fn take_told(&self) -> Vec<Told> {
        mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on a call is a byte. False if there is something already: then nobody is to sleep.
    pub fn falls_asleep(&self) -> bool {
        self.asleep.store(true, SeqCst);
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let renewed = self.renewed.load(SeqCst);
        let empty = self.wanted.is_empty() && told.is_empty() && !renewed && !self.is_ended();
        if !empty {
            self.asleep.store(false, SeqCst);
        }
        empty
    }

    /// Awake: calls cost nothing.
    pub fn wakes_up(&self, wake: &Wake) {
        self.asleep.store(false, SeqCst);
        let mut calls = [0; 64];
        // Nothing to be read is all that can go wrong.
        while (&wake.0).read(&mut calls).is_ok_and(|read| read == calls.len()) {}
    }

    /// One byte a sleep, so there is room for it.
    fn call(&self) {
        if self.asleep.swap(false, SeqCst) {
            let _ = (&self.wake).write(&[0]);
        }
    }
}

impl std::os::fd::AsFd for Wake {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
