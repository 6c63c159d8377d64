//! The table that the thread that asks and those who want to know share. A lock is held for as long as a look into it takes.

use super::known::{Known, Table};
use std::{
    net::IpAddr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(super) struct Shared {
    table: Mutex<Table>,
    /// Nothing is outstanding.
    settled: Condvar,
}

impl Shared {
    /// For at most so many addresses.
    pub(super) fn new(most: usize) -> Self {
        Self { table: Mutex::new(Table::new(most)), settled: Condvar::new() }
    }

    /// Begins to ask for an address if it is not known, by this way if that is open.
    pub(super) fn begin(&self, address: IpAddr, send: impl FnOnce() -> bool) {
        self.with(|table| {
            if table.begin(address, Instant::now()) && !send() {
                table.withdraw(address);
            }
        });
    }

    /// Enters a part of what is known of an address.
    pub(super) fn learn(&self, address: IpAddr, part: impl FnOnce(&mut Known)) {
        self.with(|table| table.learn(address, Instant::now(), part));
    }

    /// Nothing more comes for this address, and before this moment it is not asked for again.
    pub(super) fn settle(&self, address: IpAddr, until: Instant) {
        let outstanding = self.with(|table| {
            table.settle(address, until);
            table.outstanding()
        });
        if outstanding == 0 {
            self.settled.notify_all();
        }
    }

    /// What is known by now.
    pub(super) fn known(&self, address: IpAddr) -> Known {
        self.with(|table| table.known(address))
    }

    /// Waits until nothing is outstanding, but no longer than this. Returns whether that is so.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let outstanding = |table: &mut Table| table.outstanding() > 0;
        let waited = self.settled.wait_timeout_while(self.table(), at_most, outstanding);
        waited.unwrap_or_else(PoisonError::into_inner).0.outstanding() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Whoever panicked left a table that is whole: every change is one call.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table();
        let result = act(&mut table);
        let gone = table.take_gone();
        drop(table);
        // What is forgotten is freed where it keeps nobody else waiting.
        drop(gone);
        result
    }
}
