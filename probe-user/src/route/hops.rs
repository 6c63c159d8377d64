//! Next hops: written by control threads, read by packet loops without a lock.

use super::Life;
use crate::base::{Family, Nanos};
use std::{
    net::IpAddr,
    sync::atomic::{
        AtomicBool, AtomicU8, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Whether and where a next hop can be reached now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Its MAC address.
    Resolved([u8; 6]),
    /// It was asked and does not answer, or not any more.
    Unresolved,
    /// It has not answered yet, nor been asked in vain: whoever wants to send to it waits.
    Unknown,
}

impl Neighbour {
    /// Whether its MAC address is known.
    pub const fn is_resolved(self) -> bool {
        matches!(self, Self::Resolved(_))
    }
}

/// A next hop: a gateway, or an on-link target that is its own. The MAC address is written by the watcher of the kernel's
/// tables and read by senders, one word, no lock.
#[derive(Debug)]
pub struct Hop {
    /// Whose MAC address it is.
    pub address: IpAddr,
    /// What probes by this hop carry as source; of the same family.
    pub source: IpAddr,
    /// True where the hop is the target itself: unresolved is then the target's *unreachable*, else our *unsent*.
    pub on_link: bool,
    /// Where the same targets' hop of a later turn is among the hops; else [`NO_ROUTE`] or [`NO_SOURCE`], which say why turns are missing
    /// that none of these hops has.
    pub then: u32,
    /// Of a gateway: whether it is alive.
    pub life: Life,
    /// [`USED`], and above it whose turn it is where probes leave from several sources in turn.
    turn: AtomicU8,
    /// Until when targets came to it from another hop; zero if none has.
    moved_until: AtomicU64,
    /// [`RESOLVED`], [`UNKNOWN`] or neither; [`WANTED`]; low 48 bits: the MAC address, first byte highest.
    mac: AtomicU64,
}

// A cache line: there may be millions.
const _: () = assert!(size_of::<Hop>() == 64);

/// A hop's place among [`Hops`] where there is none: no route through the interface. It and [`NO_SOURCE`] leave the four
/// highest bits to the ledger.
pub const NO_ROUTE: u32 = u32::MAX >> 4;
/// The same: there is no address (any more) to send from.
pub const NO_SOURCE: u32 = NO_ROUTE - 1;

/// Targets are probed by it.
const USED: u8 = 1;

const RESOLVED: u64 = 1 << 63;
const UNKNOWN: u64 = 1 << 62;
/// Somebody has asked for it since it was last written.
const WANTED: u64 = 1 << 61;

impl Hop {
    /// A hop that is not resolved yet.
    pub fn new(address: impl Into<IpAddr>, source: impl Into<IpAddr>, on_link: bool) -> Self {
        let (address, source) = (address.into(), source.into());
        let life = if on_link { Life::of_target() } else { Life::of_gateway() };
        let (turn, then, moved_until, mac) = (AtomicU8::new(USED), NO_ROUTE, AtomicU64::new(0), AtomicU64::new(0));
        Self { address, source, on_link, then, life, turn, moved_until, mac }
    }

    /// The same where probes leave from several sources in turn: this is the way in one turn, and `then` leads to those of later ones.
    #[must_use]
    pub fn in_turn(self, turn: u8, then: u32) -> Self {
        Self { turn: AtomicU8::new(turn << 1 | USED), then, ..self }
    }

    /// Whose turn it is where probes leave from several sources in turn: the source's place among them, else 0.
    #[inline]
    pub fn turn(&self) -> u8 {
        self.turn.load(Relaxed) >> 1
    }

    /// Of its address and its source. An IPv4 route by a gateway with an IPv6 address is none of ours, see [`super::Why::GatewayV6`].
    #[inline]
    pub const fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// As the watcher last said.
    #[inline]
    pub fn neighbour(&self) -> Neighbour {
        let word = self.mac.load(Relaxed);
        if word & RESOLVED == 0 {
            return if word & UNKNOWN == 0 { Neighbour::Unresolved } else { Neighbour::Unknown };
        }
        let b = word.to_be_bytes();
        Neighbour::Resolved([b[2], b[3], b[4], b[5], b[6], b[7]])
    }

    /// The watcher's word.
    pub fn set(&self, neighbour: Neighbour) {
        let word = match neighbour {
            Neighbour::Unresolved => 0,
            Neighbour::Unknown => UNKNOWN,
            Neighbour::Resolved(m) => RESOLVED | u64::from_be_bytes([0, 0, m[0], m[1], m[2], m[3], m[4], m[5]]),
        };
        self.mac.store(word, Relaxed);
    }

    /// A sender's wish to have it resolved. True for the first since it was last [`Hop::set`]: that one is to be told.
    pub(crate) fn want(&self) -> bool {
        self.mac.fetch_or(WANTED, Relaxed) & WANTED == 0
    }

    /// The wish could not be told: it may be had again.
    pub(crate) fn unwant(&self) {
        self.mac.fetch_and(!WANTED, Relaxed);
    }

    /// Whether targets are probed by it: else nobody need know its MAC address.
    pub fn is_used(&self) -> bool {
        self.turn.load(Acquire) & USED != 0
    }

    /// Until when targets came to it from another hop: what was on its way then may have gone by the other.
    pub fn moved_until(&self) -> Nanos {
        Nanos(self.moved_until.load(Acquire))
    }

    /// Targets come to it, until `at`: said before the ledger says it of each.
    pub fn moved(&self, at: Nanos) {
        self.moved_until.fetch_max(at.0, Release);
    }

    /// What makes it another hop than others: whom to, from where, whether that is the target, and which way in later turns.
    pub fn identity(&self) -> (IpAddr, IpAddr, bool, u32) {
        (self.address, self.source, self.on_link, self.then)
    }
}

/// All next hops; `Due::hop` is a place in it.
///
/// It only grows, so a place means the same hop for as long as the program runs: whatever moves targets from one hop to another
/// while senders are at work, none of them can take a place for another hop than was meant. A route that comes back finds its hop
/// again.
#[derive(Debug)]
pub struct Hops {
    list: boxcar::Vec<Hop>,
    /// Places of those that are gateways: few, where the others may be millions.
    gateways: boxcar::Vec<u32>,
    /// Counts changes in which hops there are, or are used.
    version: AtomicU64,
    /// Whether just one hop is used.
    one_way: AtomicBool,
    /// Until when it is known that these are the ways that the kernel would take; MAX: for as long as it says nothing else.
    known_until: AtomicU64,
}

impl FromIterator<Hop> for Hops {
    fn from_iter<T: IntoIterator<Item = Hop>>(hops: T) -> Self {
        let list: boxcar::Vec<Hop> = hops.into_iter().collect();
        let one_way = AtomicBool::new(list.count() == 1);
        let gateways = list.iter().filter(|(_, hop)| !hop.on_link);
        let gateways = gateways.filter_map(|(place, _)| u32::try_from(place).ok()).collect();
        Self { list, gateways, version: AtomicU64::new(0), one_way, known_until: AtomicU64::new(u64::MAX) }
    }
}

impl<const N: usize> From<[Hop; N]> for Hops {
    fn from(hops: [Hop; N]) -> Self {
        hops.into_iter().collect()
    }
}

impl std::ops::Index<usize> for Hops {
    type Output = Hop;

    fn index(&self, place: usize) -> &Hop {
        &self.list[place]
    }
}

impl Hops {
    /// The hop in a place.
    #[inline]
    pub fn get(&self, place: u32) -> Option<&Hop> {
        self.list.get(place as usize)
    }

    /// The hop of a target in a turn, by its place, where the first of the target's hops is in `first`.
    ///
    /// # Errors
    /// There is no way in that turn: [`NO_ROUTE`] or [`NO_SOURCE`].
    pub fn in_turn(&self, first: u32, turn: u8) -> Result<u32, u32> {
        let mut place = first;
        while let Some(hop) = self.get(place) {
            if hop.turn() == turn {
                return Ok(place);
            }
            place = hop.then;
        }
        Err(place)
    }

    /// All hops of a target, in turn, where the first is in `first`.
    pub fn turns(&self, first: u32) -> impl Iterator<Item = (u32, &Hop)> {
        let at = |place: u32| self.get(place).map(|hop| (place, hop));
        std::iter::successors(at(first), move |(_, hop)| at(hop.then))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Hop> {
        self.list.iter().map(|(_, hop)| hop)
    }

    /// Another one, which counts as used; its place. [`Hops::use_only`] tells others of it.
    pub fn add(&self, hop: Hop) -> u32 {
        let gateway = !hop.on_link;
        // Nobody has asked it in vain: probes to it wait until whoever asks has taken notice of it.
        if hop.on_link && hop.neighbour() == Neighbour::Unresolved {
            hop.set(Neighbour::Unknown);
        }
        let place = u32::try_from(self.list.push(hop)).unwrap_or(NO_ROUTE);
        if gateway {
            self.gateways.push(place);
        }
        place
    }

    /// Those that are gateways.
    pub fn gateways(&self) -> impl Iterator<Item = &Hop> {
        self.gateways.iter().filter_map(|(_, place)| self.get(*place))
    }

    /// From now on those are used of which `is_used` says so, by their place.
    pub fn use_only(&self, is_used: impl Fn(usize) -> bool) {
        let mut many = 0_usize;
        for (place, hop) in &self.list {
            let used = is_used(place);
            hop.turn.store(hop.turn() << 1 | u8::from(used), Release);
            many += usize::from(used);
        }
        self.one_way.store(many == 1, Release);
        self.version.fetch_add(1, Release);
    }

    /// How often it has changed which hops there are, or are used.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// Whether everything comes through one hop.
    #[inline]
    pub fn is_one_way(&self) -> bool {
        self.one_way.load(Acquire)
    }

    /// The last moment of which it is known that these were the kernel's ways; MAX where it has said nothing else.
    #[inline]
    pub fn known_until(&self) -> Nanos {
        Nanos(self.known_until.load(Acquire))
    }

    /// The kernel's tables have changed since `moment`, or have not: MAX.
    pub fn know_until(&self, moment: Nanos) {
        self.known_until.store(moment.0, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    proptest! {
        #[test]
        fn a_hop_keeps_every_mac_address(mac: [u8; 6]) {
            let hop = Hop::new(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, false);
            prop_assert_eq!(hop.neighbour(), Neighbour::Unresolved);
            hop.set(Neighbour::Resolved(mac));
            prop_assert_eq!(hop.neighbour(), Neighbour::Resolved(mac));
            prop_assert!(hop.want() && !hop.want());
            prop_assert_eq!(hop.neighbour(), Neighbour::Resolved(mac));
            hop.set(Neighbour::Unknown);
            prop_assert_eq!(hop.neighbour(), Neighbour::Unknown);
            prop_assert!(hop.want() && !hop.want());
            hop.unwant();
            prop_assert!(hop.want());
            prop_assert_eq!(hop.neighbour(), Neighbour::Unknown);
            hop.set(Neighbour::Unresolved);
            prop_assert_eq!(hop.neighbour(), Neighbour::Unresolved);
        }
    }

    #[test]
    fn a_target_on_the_link_that_comes_later_is_not_unreachable_before_it_was_asked() {
        let us = Ipv4Addr::LOCALHOST;
        let hops = Hops::from([Hop::new(us, us, false)]);
        let places = [true, false].map(|on_link| hops.add(Hop::new(us, us, on_link)));
        let neighbours = places.map(|place| hops.get(place).map(Hop::neighbour));
        assert_eq!(neighbours, [Some(Neighbour::Unknown), Some(Neighbour::Unresolved)]);
    }

    #[test]
    fn places_stay_while_hops_come_and_go() {
        let hop = |n: u32| Hop::new(Ipv4Addr::from_bits(n), Ipv4Addr::LOCALHOST, false);
        let hops = Hops::from([hop(0)]);
        assert!(hops.is_one_way());
        let version = hops.version();
        for n in 1..1_000 {
            assert_eq!(hops.add(hop(n)), n);
        }
        hops.use_only(|place| place >= 998);
        assert!(!hops.is_one_way() && hops.version() != version);
        assert!(!hops[0].is_used() && hops[999].is_used());
        hops.use_only(|place| place == 999);
        assert!(hops.is_one_way());
        assert!((0..1_000).all(|n| hops.get(n).is_some_and(|hop| hop.address == Ipv4Addr::from_bits(n))));
        assert!(hops.get(1_000).is_none() && hops.get(NO_ROUTE).is_none() && hops.get(NO_SOURCE).is_none());
    }
}
