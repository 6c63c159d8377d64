//! When probes were sent: six bytes for each place of a window. The sender of a target writes them, receivers read.
//!
//! Four bytes are the low bits of the time. The other two, the place's tag, are the low 8 bits of the probe's number, so that a receiver
//! finds out whose time it is, one that says whether the time is known, and 7 further bits of it: 39 in all, so that times go round in
//! nine minutes. Nothing that is still on its way is that old (RFC 791, "Time to Live").
//!
//! Two places share a word of tags, which nobody but the sender writes. It says that a time is not known before it writes another one:
//! who finds the same tag before and behind the low bits has read a whole time.

use super::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

/// Bits of a time that are kept.
const BITS: u32 = 39;
/// In a tag, that the time is known; below it the further bits of the time, above it the number.
const KNOWN: u16 = 1 << 7;

/// Words that a window of so many places takes, a power of two from 2 on.
pub(crate) const fn words(places: u32) -> usize {
    places as usize + places as usize / 2
}

/// Of one place.
#[derive(Clone, Copy)]
pub(super) struct SentTime<'a> {
    low: &'a AtomicU32,
    tags: &'a AtomicU32,
    /// Which of the two.
    shift: u32,
}

impl<'a> SentTime<'a> {
    /// `words` of one target's window of so many places.
    #[inline]
    pub(super) fn new(words: &'a [AtomicU32], places: usize, place: usize) -> Self {
        Self { low: &words[place], tags: &words[places + place / 2], shift: (place as u32 & 1) * 16 }
    }

    /// A probe with a number whose low bits are these is about to be entered: what was sent before by the same place is past, and when
    /// this one was sent is not known yet.
    #[inline]
    pub(super) fn forget(self, number: u8) {
        self.put_tag(u16::from(number) << 8);
    }

    /// It was sent then, CLOCK_MONOTONIC in nanoseconds.
    #[inline]
    pub(super) fn set(self, number: u8, sent: u64) {
        self.forget(number);
        self.low.store(sent as u32, Release);
        self.put_tag(u16::from(number) << 8 | KNOWN | (sent >> 32) as u16 & (KNOWN - 1));
    }

    #[inline]
    fn put_tag(self, tag: u16) {
        let others = self.tags.load(Relaxed) & !(0xffff << self.shift);
        self.tags.store(others | u32::from(tag) << self.shift, Release);
    }

    #[inline]
    fn tag(self) -> u16 {
        (self.tags.load(Acquire) >> self.shift) as u16
    }

    /// The low bits of the number of the probe that has the place, and when that was sent, which was before `now`; None: not yet, as far
    /// as is known.
    #[inline]
    pub(super) fn before(self, now: u64) -> (u8, Option<u64>) {
        let tag = self.tag();
        let low = self.low.load(Acquire);
        let number = (tag >> 8) as u8;
        if tag & KNOWN == 0 || tag != self.tag() {
            return (number, None);
        }
        let sent = u64::from(tag & (KNOWN - 1)) << 32 | u64::from(low);
        (number, Some(now.wrapping_sub(now.wrapping_sub(sent) & ((1 << BITS) - 1))))
    }
}
