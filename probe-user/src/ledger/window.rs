//! A target's probes in flight: two bits a probe, 32 probes a word.
//!
//! The sender enters a probe (free -> pending) and takes it out again past its deadline (anything -> free). Receivers settle
//! it in between (pending -> answered or failed). Whoever finds it pending settles it; everybody else learns how it stands.
//! `tests/loom.rs` runs this very file under a model checker.

use super::atomic::{AtomicU64, Ordering};

/// How a probe in flight stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Standing {
    /// Nothing in flight here: never entered, settled by its deadline, or unsent.
    Free = 0b00,
    /// Entered and not settled.
    Pending = 0b01,
    /// Settled as answered.
    Answered = 0b10,
    /// Settled as unreachable.
    Failed = 0b11,
}

impl Standing {
    const fn of(bits: u64) -> Self {
        match bits & 0b11 {
            0b00 => Self::Free,
            0b01 => Self::Pending,
            0b10 => Self::Answered,
            _ => Self::Failed,
        }
    }
}

/// The lower bits of all places: set and the upper one not, a probe is pending.
const LOW: u64 = 0x5555_5555_5555_5555;

/// The pending ones among a word's places, a bit each.
const fn pending_of(word: u64) -> u64 {
    word & LOW & !(word >> 1)
}

/// Probes to a word.
pub const PER_WORD: u32 = 32;

/// One place in a window.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    word: &'a AtomicU64,
    shift: u32,
}

impl<'a> Place<'a> {
    /// The place of probe `bit` in a window of `words`; `bit` is below 32 times their number.
    #[inline]
    pub fn new(words: &'a [AtomicU64], bit: u32) -> Self {
        Self { word: &words[(bit / PER_WORD) as usize], shift: bit % PER_WORD * 2 }
    }

    /// Enters a probe. Only the sender calls this, and only on a place that it has taken a probe out of, or a new one.
    #[inline]
    pub fn enter(self) {
        let entered = (Standing::Pending as u64) << self.shift;
        match self.alone() {
            Some(word) => self.word.store(word | entered, Ordering::Release),
            None => _ = self.word.fetch_or(entered, Ordering::AcqRel),
        }
    }

    /// The word, if nothing in it is pending. Receivers change pending places only, so it then stays as it is until the sender
    /// changes it, for which a store will do.
    #[inline]
    fn alone(self) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        (pending_of(word) == 0).then_some(word)
    }

    /// Whether the probe here is pending.
    #[inline]
    pub fn is_pending(self) -> bool {
        Standing::of(self.word.load(Ordering::Acquire) >> self.shift) == Standing::Pending
    }

    /// Settles a pending probe as `outcome`; or says how it stands instead.
    #[inline]
    pub fn settle(self, outcome: Standing) -> Result<(), Standing> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let standing = Standing::of(word >> self.shift);
            if standing != Standing::Pending {
                return Err(standing);
            }
            let settled = word ^ ((Standing::Pending as u64 ^ outcome as u64) << self.shift);
            match self.word.compare_exchange_weak(word, settled, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// Takes the probe out, past its deadline, and says how it stood: a pending one is the caller's to settle.
    #[inline]
    pub fn take(self) -> Standing {
        let cleared: u64 = if cfg!(broken = "bit") { 0 } else { 0b11 };
        let kept = !(cleared << self.shift);
        let before = match self.alone() {
            Some(word) => {
                self.word.store(word & kept, Ordering::Release);
                word
            }
            None => self.word.fetch_and(kept, Ordering::AcqRel),
        };
        Standing::of(before >> self.shift)
    }
}

/// How many probes of a window are pending.
pub fn pending(words: &[AtomicU64]) -> u32 {
    words.iter().map(|word| pending_of(word.load(Ordering::Acquire)).count_ones()).sum()
}
