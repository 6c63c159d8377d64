//! What is owed and what came back: windows, outcomes, counters, histograms. Pure.

pub mod histogram;
mod snapshot;
pub mod tally;
pub mod unheard;
pub mod window;

/// The atomics of [`window`], [`sent`] and [`slot`]; a model checker puts its own in their place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

mod account;
mod addresses;
mod book;
mod flows;
mod group;
mod grown;
mod later;
mod runs;
mod segment;
mod sent;
mod slot;
pub use account::{Account, SendTime, Tenant};
pub use book::Ledger;
pub use group::{Group, PortProof, Ports};
pub use grown::Grown;
pub use later::Table as LaterTable;
pub use runs::Run;
pub use snapshot::{Snapshot, SumRow, TargetRow};

#[cfg(test)]
mod window_tests {
    // Not in window.rs: that file is also compiled for the model checker, on its own atomics.
    use super::{atomic::AtomicU64, window::*};

    #[test]
    fn neighbours_in_a_word_do_not_touch() {
        let words: [AtomicU64; 2] = std::array::from_fn(|_| AtomicU64::new(0));
        for bit in 0..64 {
            Place::new(&words, bit).enter();
        }
        assert_eq!(pending(&words), 64);
        assert_eq!(Place::new(&words, 33).settle(Standing::Failed), Ok(()));
        assert_eq!(Place::new(&words, 33).settle(Standing::Answered), Err(Standing::Failed));
        assert_eq!(Place::new(&words, 34).settle(Standing::Free), Ok(()));
        assert_eq!(pending(&words), 62);
        assert_eq!(Place::new(&words, 33).take(), Standing::Failed);
        assert_eq!(Place::new(&words, 34).take(), Standing::Free);
        assert_eq!(Place::new(&words, 35).take(), Standing::Pending);
        assert_eq!(pending(&words), 61);
    }
}
