//! What is known of addresses, and what of it is to be asked (again): pure, time is an argument.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

/// What is known of an address. Nothing of it need be: it was not asked for, it did not come yet, or there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its name by reverse DNS, without a dot at its end: printable ASCII, at most 253 characters.
    pub name: Option<Arc<str>>,
    /// The number of the AS that its prefix comes from.
    pub asn: Option<u32>,
    /// That AS' name: a text without control characters, at most 128 characters.
    pub as_name: Option<Arc<str>>,
}

/// An address that has been looked up, or is being.
#[derive(Debug)]
pub(super) struct Looked {
    known: Known,
    /// When it is to be asked again.
    until: Instant,
}

/// The addresses that are known and those that are being asked for.
///
/// What is known is bounded: it lies in two maps of half the bound each. When the young one is full the old one goes and the young one
/// becomes old; what is looked at moves to the young one. So what nobody looks at goes first, half the bound always stays, and nothing
/// is ever searched for what to throw away.
#[derive(Debug)]
pub(super) struct Table {
    young: HashMap<IpAddr, Looked>,
    old: HashMap<IpAddr, Looked>,
    half: usize,
    asked: HashSet<IpAddr>,
    gone: Vec<Gone>,
}

/// Addresses that are forgotten. To free so many takes a while: whoever holds a lock lets go of it first.
pub(super) type Gone = HashMap<IpAddr, Looked>;

impl Table {
    /// For at most so many addresses, and those that are being asked for.
    pub(super) fn new(most: usize) -> Self {
        let half = (most / 2).max(1);
        Self { young: HashMap::new(), old: HashMap::new(), half, asked: HashSet::new(), gone: Vec::new() }
    }

    /// Whether this address is to be asked for now; it is being asked for from then on, until [`Self::settle`].
    pub(super) fn begin(&mut self, address: IpAddr, now: Instant) -> bool {
        let fresh = self.look(address).is_some_and(|looked| looked.until > now);
        !fresh && self.asked.insert(address)
    }

    /// It is not asked for any more, and before this moment not again.
    pub(super) fn settle(&mut self, address: IpAddr, until: Instant) {
        self.asked.remove(&address);
        self.entry(address, until).until = until;
    }

    /// It could not be asked for: as if nobody had.
    pub(super) fn withdraw(&mut self, address: IpAddr) {
        self.asked.remove(&address);
    }

    /// Enters a part of what is known. More may come.
    pub(super) fn learn(&mut self, address: IpAddr, now: Instant, part: impl FnOnce(&mut Known)) {
        part(&mut self.entry(address, now).known);
    }

    /// What is known by now. What has expired is known until something else is (RFC 8767): a name that was right a minute ago says
    /// more than none.
    pub(super) fn known(&mut self, address: IpAddr) -> Known {
        self.look(address).map(|looked| looked.known.clone()).unwrap_or_default()
    }

    /// How many are being asked for.
    pub(super) fn outstanding(&self) -> usize {
        self.asked.len()
    }

    /// What there was no room for.
    pub(super) fn take_gone(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.gone)
    }

    fn look(&mut self, address: IpAddr) -> Option<&mut Looked> {
        if let Some(looked) = self.old.remove(&address) {
            self.make_room();
            self.young.insert(address, looked);
        }
        self.young.get_mut(&address)
    }

    fn entry(&mut self, address: IpAddr, until: Instant) -> &mut Looked {
        if self.look(address).is_none() {
            self.make_room();
        }
        self.young.entry(address).or_insert_with(|| Looked { known: Known::default(), until })
    }

    /// For one more young one.
    fn make_room(&mut self) {
        if self.young.len() >= self.half {
            let gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.gone.push(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::Ipv4Addr, time::Duration};

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0xc000_0200 + n).into()
    }

    fn name(table: &mut Table, n: u32, name: &str, until: Instant) {
        table.learn(address(n), until, |known| known.name = Some(name.into()));
        table.settle(address(n), until);
    }

    #[test]
    fn an_address_is_asked_once_and_again_when_its_time_is_up() {
        let (mut table, start) = (Table::new(100), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(table.begin(address(1), start));
        assert!(!table.begin(address(1), after(3_600)), "it is being asked for");
        assert_eq!((table.outstanding(), table.known(address(1))), (1, Known::default()));
        name(&mut table, 1, "one.example", after(60));
        assert_eq!(table.outstanding(), 0);
        assert!(!table.begin(address(1), after(59)), "it is known");
        assert!(table.begin(address(1), after(60)), "its time is up");
        assert_eq!(table.known(address(1)).name.as_deref(), Some("one.example"), "until there is another");
        table.learn(address(1), after(60), |known| known.name = None);
        table.settle(address(1), after(61));
        assert_eq!(table.known(address(1)), Known::default());
    }

    #[test]
    fn what_could_not_be_asked_may_be_asked_again() {
        let (mut table, now) = (Table::new(100), Instant::now());
        assert!(table.begin(address(1), now));
        table.withdraw(address(1));
        assert_eq!(table.outstanding(), 0);
        assert!(table.begin(address(1), now));
    }

    #[test]
    fn parts_that_come_later_leave_those_that_came_before() {
        let (mut table, now) = (Table::new(100), Instant::now());
        assert!(table.begin(address(1), now));
        table.learn(address(1), now, |known| known.asn = Some(64_500));
        table.learn(address(1), now, |known| known.name = Some("one.example".into()));
        let known = table.known(address(1));
        assert_eq!((known.asn, known.name.as_deref(), known.as_name), (Some(64_500), Some("one.example"), None));
        assert_eq!(table.outstanding(), 1, "more may come");
    }

    #[test]
    fn there_is_a_bound_and_what_is_looked_at_stays() {
        let (mut table, start) = (Table::new(100), Instant::now());
        let until = start + Duration::from_secs(60);
        for n in 0..10_000 {
            assert!(table.begin(address(n), start), "{n}");
            name(&mut table, n, &format!("host{n}.example"), until);
            assert_eq!(table.known(address(0)).name.as_deref(), Some("host0.example"), "{n}");
            assert!(table.young.len() + table.old.len() <= 100, "{} and {}", table.young.len(), table.old.len());
            drop(table.take_gone());
        }
        assert_eq!(table.known(address(9_960)).name.as_deref(), Some("host9960.example"), "of late");
        assert!(table.gone.is_empty());
        assert_eq!(table.known(address(5_000)), Known::default(), "long ago");
        assert!(table.begin(address(5_000), start));
    }
}
