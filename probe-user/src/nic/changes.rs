//! What changes about a device while its sockets are bound.
//!
//! The kernel keeps sockets bound while a link goes down and comes back, while the MTU changes and while a driver resets its card: it
//! unbinds them only when the device is removed (`xsk_notifier`). It refuses to take a queue away that has a socket (`ethtool -L`). So
//! there is one thing to mend: queues that are new. The rest is told.

use crate::route::Interface;
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Between two looks. Replies on a queue without a socket are *unheard* meanwhile.
const LOOK: Duration = Duration::from_millis(250);

/// Something that is otherwise than it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// More receive queues: so many now.
    More(u32),
    /// Fewer receive queues than have sockets: so many now.
    Fewer(u32),
    /// The MTU, bytes: what it was, and what it is.
    Mtu(u32, u32),
    /// Another device has the name.
    Replaced,
}

/// What a device is like, as far as it is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    index: u32,
    mtu: u32,
    queues: u32,
}

impl Facts {
    /// None while there is no such device; the watcher of the link tells that.
    fn read(name: &str) -> Option<Self> {
        let folder = PathBuf::from("/sys/class/net").join(name);
        let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
        let queues = fs::read_dir(folder.join("queues")).ok()?.flatten();
        let queues = queues.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"rx-")).count();
        Some(Self { index: number("ifindex")?, mtu: number("mtu")?, queues: super::number(queues) })
    }

    fn changes(self, now: Self) -> Vec<Change> {
        if now.index != self.index {
            return vec![Change::Replaced];
        }
        let mtu = (now.mtu != self.mtu).then_some(Change::Mtu(self.mtu, now.mtu));
        let queues = match now.queues {
            more if more > self.queues => Some(Change::More(more)),
            fewer if fewer < self.queues => Some(Change::Fewer(fewer)),
            _ => None,
        };
        [mtu, queues].into_iter().flatten().collect()
    }
}

/// What was seen last.
#[derive(Debug)]
pub(super) struct Seen {
    name: String,
    /// None: /sys shows another network namespace, and nothing can be seen.
    last: Option<Facts>,
    next: Instant,
}

impl Seen {
    /// A device as it is now.
    pub(super) fn new(interface: &Interface) -> Self {
        let last = Facts::read(&interface.name).filter(|facts| facts.index == interface.index);
        Self { name: interface.name.clone(), last, next: Instant::now() + LOOK }
    }

    /// What has changed since the last look, if it is time for one.
    pub(super) fn look(&mut self) -> Vec<Change> {
        let now = Instant::now();
        if now < self.next {
            return Vec::new();
        }
        self.next = now + LOOK;
        let (Some(last), Some(facts)) = (self.last, Facts::read(&self.name)) else { return Vec::new() };
        self.last = Some(facts);
        last.changes(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_otherwise_is_named_once() {
        let before = Facts { index: 7, mtu: 1_500, queues: 4 };
        assert_eq!(before.changes(before), []);
        assert_eq!(before.changes(Facts { queues: 6, ..before }), [Change::More(6)]);
        assert_eq!(before.changes(Facts { queues: 1, ..before }), [Change::Fewer(1)]);
        let both = Facts { mtu: 9_000, queues: 5, ..before };
        assert_eq!(before.changes(both), [Change::Mtu(1_500, 9_000), Change::More(5)]);
        assert_eq!(before.changes(Facts { index: 8, ..both }), [Change::Replaced], "nothing else matters then");
    }

    #[test]
    fn a_device_is_read_from_sys() {
        let lo = Facts::read("lo").unwrap_or(Facts { index: 0, mtu: 0, queues: 0 });
        assert_eq!((lo.index, lo.queues), (1, 1));
        assert!(lo.mtu > 0);
        assert_eq!(Facts::read("no-such-device"), None);
    }
}
