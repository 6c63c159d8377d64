//! What all loops of a worker see.

use super::{Asks, Changes, HandedOver, Link, Resets, Taken, orders::Orders};
use crate::{
    base::{Cause, Nanos, Outcome},
    ledger::{
        Ledger,
        tally::{RowTally, Tally},
        unheard::DropLog,
    },
    route::Hops,
    wire::Key,
};
use std::sync::{
    Arc,
    atomic::{
        AtomicU8, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// What the loops are asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Probe.
    Run = 0,
    /// Send no more, settle what is in flight, end.
    Drain = 1,
    /// End now.
    Abort = 2,
}

/// Shared by all loops of a worker, and by the handle on them.
pub struct Common {
    /// Every target's account.
    pub ledger: Arc<Ledger>,
    /// Proves our probes.
    pub key: Key,
    /// Next hops, by `Due::hop`.
    pub hops: Arc<Hops>,
    /// How far each receive queue has come.
    pub taken: Arc<dyn Taken>,
    /// The interface's condition.
    pub link: Arc<dyn Link>,
    /// Dropped frames that excuse silence.
    pub drops: Arc<DropLog>,
    /// Whether results are wanted: only then are send times kept.
    pub records: bool,
    /// Slow down rather than drop a result.
    pub no_result_dropped: bool,
    /// What only the sender can settle by, for each.
    pub handed_over: Box<[HandedOver]>,
    /// Connections that probes of each sender half opened, for it to end.
    pub resets: Box<[Resets]>,
    /// Probes that are asked for one by one, for each sender.
    pub asks: Box<[Asks]>,
    /// Runs that each sender is to walk from now on.
    pub orders: Box<[Orders]>,
    /// Where changes of state are told, if anybody wants to know.
    pub changes: Option<Arc<Changes>>,
    /// What each loop has counted; the last is that of the one control thread which puts targets into slots.
    pub tallies: Box<[Arc<Tally>]>,
    /// What is asked for.
    pub(super) asked: Asked,
}

/// What the loops are asked to do, and how many senders still have something to do.
#[derive(Debug)]
pub(super) struct Asked {
    phase: AtomicU8,
    senders: AtomicU32,
}

impl Asked {
    /// To run, for `senders` senders.
    pub(super) const fn new(senders: u32) -> Self {
        Self { phase: AtomicU8::new(Phase::Run as u8), senders: AtomicU32::new(senders) }
    }
}

impl Common {
    /// Probes entered and not settled, over all loops.
    pub fn in_flight(&self) -> u64 {
        let rows = || self.tallies.iter().flat_map(|tally| tally.rows.iter());
        let settled: u64 = rows().flat_map(|row| &row.settled).map(|counter| counter.load(Acquire)).sum();
        rows().map(|row| row.entered.load(Acquire)).sum::<u64>().saturating_sub(settled)
    }

    /// Probes that came due, and those of them that the device refused or that found no room.
    pub fn due_and_refused(&self) -> (u64, u64) {
        let rows = || self.tallies.iter().flat_map(|tally| tally.rows.iter());
        let refused = |row: &RowTally| {
            [Cause::Refused, Cause::NoRoom].map(|cause| row.unsent[cause as usize].load(Acquire)).iter().sum::<u64>()
        };
        let refused = rows().map(refused).sum();
        (rows().map(|row| row.entered.load(Acquire)).sum(), refused)
    }

    /// Since when some sender has not looked at what is due, if all have begun.
    pub fn turned_at(&self) -> Option<Nanos> {
        let turned = self.tallies.iter().map(|tally| tally.turned_at.load(Relaxed)).filter(|turned| *turned > 0);
        let (many, oldest) = turned.fold((0, u64::MAX), |(many, oldest), turned| (many + 1, oldest.min(turned)));
        (many > 0 && many >= self.handed_over.len()).then_some(Nanos(oldest))
    }

    /// Probes that have ended, unsent ones of them, and unheard ones.
    pub fn settled(&self) -> [u64; 3] {
        let rows = || self.tallies.iter().flat_map(|tally| tally.rows.iter());
        let of = |outcome: Outcome| rows().map(|row| row.settled[outcome as usize].load(Acquire)).sum::<u64>();
        let (unsent, unheard) = (of(Outcome::Unsent), of(Outcome::Unheard));
        [rows().flat_map(|row| &row.settled).map(|counter| counter.load(Acquire)).sum(), unsent, unheard]
    }

    /// When the last reply arrived that proved to be one of ours; zero before the first.
    pub fn heard_at(&self) -> Nanos {
        let heard = self.tallies.iter().map(|tally| tally.heard_at.load(Acquire));
        Nanos(heard.max().unwrap_or(0))
    }

    /// What the loops are asked to do now.
    #[inline]
    pub fn phase(&self) -> Phase {
        match self.asked.phase.load(Acquire) {
            0 => Phase::Run,
            1 => Phase::Drain,
            _ => Phase::Abort,
        }
    }

    /// Asks for a later phase; there is no way back.
    pub fn ask(&self, phase: Phase) {
        self.asked.phase.fetch_max(phase as u8, Release);
    }

    /// Whether some sender still has something in flight or to send.
    #[inline]
    pub fn is_sending(&self) -> bool {
        self.asked.senders.load(Acquire) > 0
    }

    /// A sender has settled its last probe.
    pub(super) fn sender_finished(&self) {
        self.asked.senders.fetch_sub(1, Release);
    }
}
