//! Rings that are shared with the kernel: one side produces entries, the other consumes them.
//!
//! Positions count entries from the socket's birth and wrap at 2^32; a ring's size is a power of two. Whoever produces writes
//! entries and then stores its position with release; whoever consumes loads that with acquire, reads the entries, and stores its
//! own position with release, upon which the entries may be written again. (The kernel's side: net/xdp/xsk_queue.h.)

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd as _, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Where a ring is.
pub(super) struct At {
    pub(super) offsets: libc::xdp_ring_offset,
    /// A power of two.
    pub(super) entries: u32,
    /// Bytes of an entry.
    pub(super) size: usize,
    /// By which offset of the socket it is mapped.
    pub(super) page: u64,
}

/// A ring's memory.
pub(super) struct Mapping {
    base: NonNull<u8>,
    length: usize,
    at: At,
}

// SAFETY: the mapping belongs to this value and lives until it is dropped. Positions and flags are reached as atomics; entries by
// one thread alone (`&mut` of the one ring that owns this), the kernel keeping to the protocol above.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(super) fn new(socket: &OwnedFd, at: At) -> io::Result<Self> {
        let offset = |field: u64| usize::try_from(field).unwrap_or(usize::MAX);
        let length = offset(at.offsets.desc).saturating_add(at.entries as usize * at.size);
        let fields = [at.offsets.producer, at.offsets.consumer, at.offsets.flags];
        // As the kernel lays them out; checked here once, and relied upon below.
        let is_sound = fields.iter().all(|field| field.is_multiple_of(4) && offset(*field) + 4 <= length)
            && at.offsets.desc.is_multiple_of(8)
            && at.entries.is_power_of_two();
        if !is_sound {
            return Err(io::Error::other("the kernel lays a ring out in a way that is not known here"));
        }
        let page = libc::off_t::try_from(at.page).map_err(io::Error::other)?;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, socket.as_raw_fd(), page) };
        match NonNull::new(base) {
            Some(base) if base.as_ptr() != libc::MAP_FAILED => Ok(Self { base: base.cast(), length, at }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: within the mapping and aligned (checked in `new`; a mapping begins at a page), alive as long as `self`, and only
        // ever accessed as an atomic, by the kernel too.
        unsafe { AtomicU32::from_ptr(self.base.add(offset as usize).as_ptr().cast()) }
    }

    fn producer(&self) -> &AtomicU32 {
        self.word(self.at.offsets.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.word(self.at.offsets.consumer)
    }

    /// The entry at a position.
    fn entry<T>(&self, position: u32) -> NonNull<T> {
        assert_eq!(size_of::<T>(), self.at.size, "entries are of one size");
        let index = position & (self.at.entries - 1);
        // SAFETY: within the mapping, whose length is that of all entries; aligned to 8 as they are.
        unsafe { self.base.add(self.at.offsets.desc as usize).cast::<T>().add(index as usize) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and references into it borrow `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// A ring that we produce into: fill or TX.
pub(crate) struct Producer<T> {
    ring: Mapping,
    /// Where the next entry goes.
    next: u32,
    /// The kernel's position as last seen.
    consumed: u32,
    entry: PhantomData<T>,
}

impl<T: Copy> Producer<T> {
    pub(super) fn new(ring: Mapping) -> Self {
        let (next, consumed) = (ring.producer().load(Relaxed), ring.consumer().load(Acquire));
        Self { ring, next, consumed, entry: PhantomData }
    }

    /// Hands entries to the kernel, as many as there is room for. Returns how many that was.
    pub(crate) fn produce(&mut self, entries: impl ExactSizeIterator<Item = T>) -> usize {
        let room = |of: &Self| (of.ring.at.entries - of.next.wrapping_sub(of.consumed)) as usize;
        if room(self) < entries.len() {
            self.consumed = self.consumed();
        }
        let count = entries.len().min(room(self));
        for entry in entries.take(count) {
            // SAFETY: the entry is free: the kernel has consumed what was there (`room`), and reads it only once `next` is stored.
            unsafe { self.ring.entry(self.next).write(entry) };
            self.next = self.next.wrapping_add(1);
        }
        self.ring.producer().store(self.next, Release);
        count
    }

    /// The kernel's position now.
    pub(crate) fn consumed(&self) -> u32 {
        self.ring.consumer().load(Acquire)
    }

    /// Whether the kernel wants to be called before it looks at the ring again.
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.ring.word(self.ring.at.offsets.flags).load(Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// A ring that we consume from: RX or completion.
pub(crate) struct Consumer<T> {
    ring: Mapping,
    /// Where the next entry is.
    next: u32,
    entry: PhantomData<T>,
}

impl<T: Copy> Consumer<T> {
    pub(super) fn new(ring: Mapping) -> Self {
        let next = ring.consumer().load(Relaxed);
        Self { ring, next, entry: PhantomData }
    }

    /// Takes entries, as many as there are and `into` has room for. Returns how many that was.
    pub(crate) fn consume(&mut self, into: &mut [T]) -> usize {
        let there = self.ring.producer().load(Acquire).wrapping_sub(self.next) as usize;
        let count = there.min(into.len());
        for to in &mut into[..count] {
            // SAFETY: the kernel has written this entry (its position is beyond it) and leaves it alone until `next` is stored.
            *to = unsafe { self.ring.entry(self.next).read() };
            self.next = self.next.wrapping_add(1);
        }
        if count > 0 {
            self.ring.consumer().store(self.next, Release);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring in ordinary memory, both sides ours, its positions about to wrap.
    fn ring() -> Mapping {
        let length = 64 + 4 * 8;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping.
        let base = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, -1, 0) };
        let offsets = libc::xdp_ring_offset { producer: 0, consumer: 16, flags: 32, desc: 64 };
        let at = At { offsets, entries: 4, size: 8, page: 0 };
        let ring = Mapping { base: NonNull::new(base.cast()).unwrap_or_else(NonNull::dangling), length, at };
        ring.producer().store(u32::MAX - 1, Relaxed);
        ring.consumer().store(u32::MAX - 1, Relaxed);
        ring
    }

    #[test]
    fn what_goes_in_comes_out_across_the_wrap_of_positions() {
        let mut producer = Producer::<u64>::new(ring());
        assert_eq!(producer.produce([1, 2, 3].into_iter()), 3);
        assert_eq!(producer.produce([4, 5].into_iter()), 1, "four entries");
        assert_eq!(producer.produce([6].into_iter()), 0);
        // The other side, over the same memory.
        let Producer { ring, .. } = producer;
        let mut consumer = Consumer::<u64>::new(ring);
        let mut taken = [0; 3];
        assert_eq!((consumer.consume(&mut taken), taken), (3, [1, 2, 3]));
        assert_eq!((consumer.consume(&mut taken), taken[0]), (1, 4));
        assert_eq!(consumer.consume(&mut taken), 0);
        let Consumer { ring, .. } = consumer;
        let mut producer = Producer::<u64>::new(ring);
        assert_eq!(producer.consumed(), 2);
        assert_eq!(producer.produce([7, 8, 9, 10, 11].into_iter()), 4, "room again");
    }

    #[test]
    fn the_kernels_wish_to_be_woken_shows() {
        let producer = Producer::<u64>::new(ring());
        assert!(!producer.needs_wakeup());
        producer.ring.word(32).store(libc::XDP_RING_NEED_WAKEUP, Relaxed);
        assert!(producer.needs_wakeup());
    }
}
