//! From addresses to targets that have come since the start. One table, replaced whole; those of the start stay as they are.

use super::{addresses::Addresses, flows::Flows};
use crate::base::TargetIndex;
use arc_swap::ArcSwapOption;
use std::{iter, net::IpAddr, ops::RangeInclusive, sync::Arc};

/// See [`super::Ledger::find_later`].
#[derive(Debug)]
pub struct Table {
    addresses: Addresses,
    flows: Flows,
}

/// None before anybody has come.
#[derive(Debug, Default)]
pub(super) struct Later(ArcSwapOption<Table>);

impl Later {
    pub(super) fn replace(&self, addresses: Addresses, flows: Flows) -> Option<Arc<Table>> {
        self.0.swap(Some(Arc::new(Table { addresses, flows })))
    }

    /// Those that may have this address.
    pub(super) fn at(&self, address: IpAddr) -> impl Iterator<Item = TargetIndex> {
        let (table, mut passed) = (self.0.load_full(), 0);
        iter::from_fn(move || {
            let found = table.as_ref()?.addresses.candidates(address).nth(passed)?;
            passed += 1;
            Some(found)
        })
    }

    /// The same of probes to ports.
    pub(super) fn of_flow(&self, address: IpAddr) -> impl Iterator<Item = TargetIndex> {
        let (table, mut passed) = (self.0.load_full(), 0);
        iter::from_fn(move || {
            let table = table.as_ref()?;
            let mut known = table.flows.candidates(address).chain(table.addresses.unresolved());
            let found = known.nth(passed)?;
            passed += 1;
            Some(found)
        })
    }

    pub(super) fn is_any_in(
        &self,
        range: &RangeInclusive<IpAddr>,
        address_of: impl Fn(TargetIndex) -> Option<IpAddr>,
    ) -> bool {
        self.0.load_full().is_some_and(|table| table.addresses.is_any_in(range, address_of))
    }
}
