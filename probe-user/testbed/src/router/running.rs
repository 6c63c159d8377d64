//! The devices of a router, and the threads between them.

use super::{
    rule::Rule,
    treat::{Own, Treated},
    tun,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::{LinkNameSpaceType, move_into_link_name_space, set_current_timer_slack},
};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{self, Read as _, Write as _},
    num::NonZeroU64,
    os::fd::AsFd as _,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often a reader that has nothing to read looks whether it is to end.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// The longest packet that there can be.
const LONGEST: usize = 1 << 16;

/// Where a side of a router is: a network namespace by its file, and the name of the device that is made there.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// `/run/netns/NAME`.
    pub namespace: &'a Path,
    /// The TUN device.
    pub interface: &'a str,
}

/// What a router has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Packets that went on to the far side.
    pub forwarded: u64,
    /// Packets about which an error was said, once or more often.
    pub answered: u64,
}

/// A router at work. Dropping it ends it, and its devices are gone.
pub struct Router {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    rule: Rule,
    own: Own,
    /// The near and the far one.
    devices: [File; 2],
    late: Mutex<Late>,
    changed: Condvar,
    ended: AtomicBool,
    forwarded: AtomicU64,
    answered: AtomicU64,
}

/// Packets that are to leave later, in the order in which they are.
#[derive(Default)]
struct Late {
    queue: BinaryHeap<Reverse<Held>>,
    count: u64,
}

/// A packet that is to leave later. Those of one moment leave in the order in which they came.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Instant,
    number: u64,
    side: usize,
    packet: Vec<u8>,
}

impl Router {
    /// Makes both devices and forwards between them. They are down and have no addresses yet.
    ///
    /// # Errors
    /// What the kernel says: no permission, no such namespace, a name that is taken there.
    pub fn start(rule: Rule, own: Own, near: End<'_>, far: End<'_>) -> io::Result<Self> {
        let devices = [device(near)?, device(far)?];
        let shared = Arc::new(Shared {
            rule,
            own,
            devices,
            late: Mutex::default(),
            changed: Condvar::new(),
            ended: AtomicBool::new(false),
            forwarded: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        });
        let mut router = Self { shared, threads: Vec::new() };
        for side in 0..2 {
            let shared = Arc::clone(&router.shared);
            router.threads.push(thread::Builder::new().spawn(move || shared.read(side))?);
        }
        let shared = Arc::clone(&router.shared);
        router.threads.push(thread::Builder::new().spawn(move || shared.release())?);
        Ok(router)
    }

    /// What it has done until now.
    pub fn counts(&self) -> Counts {
        Counts {
            forwarded: self.shared.forwarded.load(Ordering::Relaxed),
            answered: self.shared.answered.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Under the lock, so that it is not said between the look and the wait of who waits.
        let late = self.shared.late();
        self.shared.changed.notify_all();
        drop(late);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A device in another namespace: a thread of its own goes there, so that nobody else's thread is elsewhere.
fn device(end: End<'_>) -> io::Result<File> {
    let namespace = File::open(end.namespace)?;
    let make = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        tun::open(end.interface)
    };
    thread::scope(|scope| scope.spawn(make).join().map_err(|_| io::Error::other("a thread panicked"))?)
}

impl Shared {
    fn late(&self) -> MutexGuard<'_, Late> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Treats what comes by one device, until the end of the router or of the device.
    fn read(&self, side: usize) {
        let mut packet = vec![0; LONGEST];
        while !self.ended.load(Ordering::Relaxed) {
            let mut readable = [PollFd::new(&self.devices[side], PollFlags::IN)];
            match poll(&mut readable, Some(&LOOK_EVERY)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => return,
            }
            // The namespace may have gone, and the device with it.
            let Ok(length) = (&self.devices[side]).read(&mut packet) else { return };
            self.treat(&packet[..length], side);
        }
    }

    fn treat(&self, packet: &[u8], side: usize) {
        let now = Instant::now();
        let (near, far) = (0, 1);
        match self.rule.treat(packet, &self.own, side == near) {
            Treated::Dropped => {}
            Treated::Replied(reply) => self.write(side, &reply),
            Treated::Forwarded(packet) if side == near => {
                self.forwarded.fetch_add(1, Ordering::Relaxed);
                self.send(now, self.rule.hold, far, packet);
            }
            Treated::Forwarded(packet) => self.write(near, &packet),
            Treated::Answered(error, answer) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                for _ in 0..answer.times {
                    self.send(now, answer.after, side, error.clone());
                }
            }
        }
    }

    fn send(&self, now: Instant, after: Duration, side: usize, packet: Vec<u8>) {
        if after.is_zero() {
            return self.write(side, &packet);
        }
        let mut late = self.late();
        late.count += 1;
        let held = Held { due: now + after, number: late.count, side, packet };
        late.queue.push(Reverse(held));
        self.changed.notify_all();
    }

    /// Sends what was to leave later, when it is time.
    fn release(&self) {
        // Else the kernel may let it sleep 50 us longer than it asks for.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        let mut late = self.late();
        while !self.ended.load(Ordering::Relaxed) {
            let now = Instant::now();
            let due = late.queue.peek().map(|Reverse(held)| held.due);
            match due {
                Some(due) if due <= now => {
                    if let Some(Reverse(Held { side, packet, .. })) = late.queue.pop() {
                        drop(late);
                        self.write(side, &packet);
                        late = self.late();
                    }
                }
                Some(due) => {
                    let waited = self.changed.wait_timeout(late, due - now);
                    late = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => late = self.changed.wait(late).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// What the kernel does not take, because the device is down, is lost as on any link.
    fn write(&self, side: usize, packet: &[u8]) {
        let _ = (&self.devices[side]).write_all(packet);
    }
}
