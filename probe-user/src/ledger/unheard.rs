//! Which probes may have been answered without our hearing it.
//!
//! A received frame that this machine dropped may have been the reply to any probe in flight at the time. Each dropped frame
//! excuses one probe, never more: what else stays without a reply is lost. Time that the link was down excuses every probe
//! that it touched, for nothing could be heard in it.
//!
//! Drops are counted elsewhere, and become known later than they happen: when somebody reads the counters, and where a driver asks its
//! card only now and then, later by that. So a probe that nobody answered is judged only once all that was dropped up to its
//! deadline has been noted ([`DropLog::is_noted`]); whoever finds that it has not asks for it, because reading costs and is
//! mostly for nothing.

use crate::base::Nanos;
use std::{
    io::{self, Write as _},
    os::unix::net::UnixStream,
    sync::{
        OnceLock,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

/// Periods with drops that are remembered. At 20 samples a second this is over a minute of uninterrupted dropping: longer
/// than any timeout.
const PERIODS: usize = 2_048;

#[derive(Debug, Default)]
struct Period {
    from: AtomicU64,
    to: AtomicU64,
    left: AtomicU64,
}

/// Dropped frames by the time in which they were dropped. One thread notes, senders claim.
#[derive(Debug)]
pub struct DropLog {
    periods: Box<[Period]>,
    noted: AtomicU64,
    /// Everything that was dropped up to this moment has been noted.
    until: AtomicU64,
    /// Somebody wants to know more.
    is_asked: AtomicBool,
    /// Who reads the counters is told of that here, by a byte.
    reader: OnceLock<UnixStream>,
}

/// One in which everything is noted as it happens, until somebody says otherwise.
impl Default for DropLog {
    fn default() -> Self {
        Self {
            periods: (0..PERIODS).map(|_| Period::default()).collect(),
            noted: AtomicU64::new(0),
            until: AtomicU64::new(u64::MAX),
            is_asked: AtomicBool::new(false),
            reader: OnceLock::new(),
        }
    }
}

impl DropLog {
    /// Notes that `frames` were dropped after `from` and not after `to`, which never goes back. Called by one thread, before it
    /// publishes the frames as dropped.
    pub fn note(&self, from: Nanos, to: Nanos, frames: u64) {
        if frames == 0 {
            return;
        }
        let noted = self.noted.load(Relaxed);
        let period = &self.periods[noted as usize % PERIODS];
        // Emptied first: a claim in between finds nothing rather than a mixture of two periods.
        period.left.store(0, Release);
        period.from.store(from.0, Release);
        period.to.store(to.0, Release);
        period.left.store(frames, Release);
        self.noted.store(noted + 1, Release);
    }

    /// Everything that was dropped up to this moment has been noted. Called by the thread that notes.
    pub fn noted_until(&self, until: Nanos) {
        self.until.store(until.0, Release);
    }

    /// Whether everything that was dropped up to this moment has been noted.
    #[inline]
    pub fn is_noted(&self, until: Nanos) -> bool {
        self.until.load(Acquire) >= until.0
    }

    /// Everything that was dropped up to this moment has been noted; MAX where it is noted as it happens.
    #[inline]
    pub fn noted(&self) -> Nanos {
        Nanos(self.until.load(Acquire))
    }

    /// From now on a byte comes there when somebody asks. Once: who comes second is not told.
    ///
    /// # Errors
    /// It can't be made one that nobody waits for.
    pub fn tell(&self, reader: UnixStream) -> io::Result<()> {
        reader.set_nonblocking(true)?;
        let _is_second = self.reader.set(reader);
        Ok(())
    }

    /// Asks whoever notes to read the counters soon.
    #[inline]
    pub fn ask(&self) {
        // Mostly somebody has asked already, and a line that nobody writes stays in every cache.
        if !self.is_asked.load(Relaxed) {
            self.is_asked.store(true, Release);
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if let Some(mut reader) = self.reader.get() {
            // Where no byte has room the reader has enough of them.
            let _full = reader.write(&[1]);
        }
    }

    /// Whether somebody has asked since the last time.
    pub fn is_asked(&self) -> bool {
        self.is_asked.swap(false, Acquire)
    }

    /// Takes one dropped frame as the excuse for a probe that could have been answered from `sent` to `deadline`: the
    /// earliest that will do, for later ones may excuse later probes.
    pub fn claim(&self, sent: Nanos, deadline: Nanos) -> bool {
        let noted = self.noted.load(Acquire);
        let period = |i: u64| &self.periods[i as usize % PERIODS];
        // Noted in the order of their ends: the first that does not end before the probe was sent, by bisection.
        let (mut first, mut end) = (noted.saturating_sub(PERIODS as u64), noted);
        while first < end {
            let middle = first.midpoint(end);
            if period(middle).to.load(Acquire) < sent.0 { first = middle + 1 } else { end = middle }
        }
        (first..noted)
            .map(period)
            // A period that was long in the noting begins before others that stand before it.
            .filter(|period| period.from.load(Acquire) <= deadline.0)
            .any(|period| period.left.fetch_update(Release, Acquire, |left| left.checked_sub(1)).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_frame_excuses_one_probe_of_its_time() {
        let log = DropLog::default();
        log.note(Nanos(100), Nanos(200), 2);
        assert!(!log.claim(Nanos(201), Nanos(300)), "sent after the drop");
        assert!(!log.claim(Nanos(10), Nanos(99)), "over before the drop");
        assert!(log.claim(Nanos(150), Nanos(300)));
        assert!(log.claim(Nanos(10), Nanos(100)));
        assert!(!log.claim(Nanos(150), Nanos(300)), "both frames are spent");
    }

    #[test]
    fn a_period_that_was_noted_late_excuses_too() {
        let log = DropLog::default();
        log.note(Nanos(300), Nanos(400), 1);
        log.note(Nanos(100), Nanos(500), 1);
        assert!(log.claim(Nanos(150), Nanos(200)));
        assert!(!log.claim(Nanos(150), Nanos(200)), "the other was of another time");
    }

    #[test]
    fn what_is_not_noted_yet_is_asked_for() {
        let log = DropLog::default();
        assert!(log.is_noted(Nanos(700)), "nobody counts late");
        log.noted_until(Nanos(500));
        assert!(log.is_noted(Nanos(500)));
        assert!(!log.is_noted(Nanos(501)) && !log.is_asked());
        log.ask();
        assert!(log.is_asked() && !log.is_asked(), "once");
        log.noted_until(Nanos(501));
        assert!(log.is_noted(Nanos(501)));
    }

    #[test]
    fn old_periods_give_way_to_new_ones() {
        let log = DropLog::default();
        for i in 0..3 * PERIODS as u64 {
            log.note(Nanos(i * 10), Nanos(i * 10 + 9), 1);
        }
        assert!(!log.claim(Nanos(0), Nanos(99)), "forgotten");
        let excused = (0..4 * PERIODS).filter(|_| log.claim(Nanos(0), Nanos::MAX)).count();
        assert_eq!(excused, PERIODS);
    }
}
