//! The plan in force, for whoever shows something.

use super::Plan;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// A plan in force, and which of its rows of sums the ledger's are counted in.
#[derive(Debug)]
pub struct Epoch {
    /// Its targets stand by slots.
    pub plan: Arc<Plan>,
    /// For each row of the ledger, its place in `plan.sums`; `u32::MAX`: it has ended. Empty: each row is in its own place.
    pub sums: Box<[u32]>,
    /// How many were before it.
    pub number: u64,
}

/// Where the epoch in force is found. Control threads read it; loops need none.
#[derive(Clone, Debug)]
pub struct Epochs(Arc<ArcSwap<Epoch>>);

impl Epochs {
    /// Begins with a plan whose rows are the ledger's.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Epoch { plan, sums: Box::default(), number: 0 })))
    }

    /// The one in force.
    pub fn now(&self) -> Arc<Epoch> {
        self.0.load_full()
    }

    /// The plan in force.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.0.load().plan)
    }

    /// From now on this one.
    pub fn replace(&self, epoch: Epoch) {
        self.0.store(Arc::new(epoch));
    }
}

impl Epoch {
    /// Where a row of the ledger is counted; None: it has ended.
    pub fn sum_of(&self, row: usize) -> Option<usize> {
        if self.sums.is_empty() {
            return (row < self.plan.sums.len()).then_some(row);
        }
        self.sums.get(row).filter(|sum| **sum != u32::MAX).map(|sum| *sum as usize)
    }
}
