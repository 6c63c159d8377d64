//! What is known of each neighbour, and when the kernel is asked about it next. Pure: time is an argument.
//!
//! AF_XDP traffic does not confirm neighbours, so the kernel would let them go stale: it is asked about each every ten
//! seconds or so (as if we had a packet to send, NTF_USE), and every second where one is missing.

use super::{Hop, Hops, KernelAsks, Neighbour, Share};
use crate::base::{Family, Nanos};
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use std::{cmp::Reverse, collections::BinaryHeap, net::IpAddr, sync::Arc};

/// Between two questions about a neighbour that is there: this to 5 s more, different for each, so that they spread.
const REFRESH: Nanos = Nanos::from_millis(7_500);
/// Between two questions about one that isn't.
const RETRY: Nanos = Nanos::from_secs(1);
/// No neighbour is asked about more often than this, whatever the kernel says of it.
const APART: Nanos = Nanos::from_millis(100);
/// An entry that is deleted is marked as failed first (neigh_delete): only what is still failed after this has failed.
const SETTLE: Nanos = Nanos::from_millis(50);
/// On-link neighbours are asked about in small bursts this far apart.
const TICK: Nanos = Nanos::from_millis(50);

/// What the kernel says of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It has this MAC address. `fixed`: entered by hand, and the kernel never asks it.
    Resolved { mac: [u8; 6], fixed: bool },
    /// It was asked and does not answer.
    Failed,
    /// The entry went, for reasons that say nothing about the neighbour: the link went down, garbage collection.
    Deleted,
}

impl Event {
    /// What an RTM_NEWNEIGH says. None: nothing new, it is being asked.
    pub(super) fn read(message: &NeighbourMessage) -> Option<Self> {
        let mac = message.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
            _ => None,
        });
        match message.header.state {
            NeighbourState::Failed => Some(Self::Failed),
            NeighbourState::Permanent | NeighbourState::Noarp => Some(Self::Resolved { mac: mac?, fixed: true }),
            NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => {
                Some(Self::Resolved { mac: mac?, fixed: false })
            }
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was heard yet.
    Unknown,
    Resolved,
    /// Failed a moment ago, perhaps only to be deleted; its MAC address is kept that long.
    Failing,
    Failed,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    /// The way to others; else only a target.
    gateway: bool,
    state: State,
    /// Asking about an entry that was made by hand would turn it into an ordinary one (__neigh_update, NTF_USE).
    fixed: bool,
    asked: Option<Nanos>,
    due: Nanos,
}

/// The neighbours behind all hops, each address once.
#[derive(Debug)]
pub(super) struct Cache {
    hops: Arc<Hops>,
    /// See [`super::share_of_kernel`].
    share: Share,
    asked: KernelAsks,
    /// Address and hop, ordered: one address can be several hops (other source, gateway and target).
    by_address: Vec<(IpAddr, u32)>,
    /// Ordered by address.
    entries: Vec<Entry>,
    /// When and which entry. What is no longer the entry's due time is skipped.
    gateways: Schedule,
    on_link: Schedule,
    next_on_link: Nanos,
    unknown: usize,
}

type Schedule = BinaryHeap<Reverse<(Nanos, usize)>>;

impl Cache {
    /// Of the hops that are used and that the kernel asks. Nothing is known, and everything is due at once.
    pub(super) fn new(hops: Arc<Hops>, share: Share, now: Nanos) -> Self {
        let asked = KernelAsks::of(&hops, share);
        let mut by_address: Vec<(IpAddr, u32)> =
            hops.iter().zip(0..).filter(|(hop, _)| asked.about(hop)).map(|(hop, index)| (hop.address, index)).collect();
        by_address.sort_unstable();
        let mut entries: Vec<Entry> = Vec::new();
        for &(address, hop) in &by_address {
            let gateway = !hops[hop as usize].on_link;
            match entries.last_mut() {
                Some(last) if last.address == address => last.gateway |= gateway,
                _ => {
                    entries.push(Entry { address, gateway, state: State::Unknown, fixed: false, asked: None, due: now })
                }
            }
        }
        let unknown = entries.len();
        let schedule = |gateway| {
            let of_that_kind = entries.iter().enumerate().filter(|(_, entry)| entry.gateway == gateway);
            of_that_kind.map(|(place, _)| Reverse((now, place))).collect()
        };
        let (gateways, on_link) = (schedule(true), schedule(false));
        Self { hops, share, asked, by_address, entries, gateways, on_link, next_on_link: now, unknown }
    }

    /// From now on the kernel is asked: who wants to send to a target on the link that was not asked yet waits.
    pub(super) fn begin(&self) {
        for entry in self.entries.iter().filter(|entry| entry.state == State::Unknown) {
            let unasked = self.hops_of(entry.address).filter(|hop| hop.on_link);
            unasked.filter(|hop| hop.neighbour() == Neighbour::Unresolved).for_each(|hop| hop.set(Neighbour::Unknown));
        }
    }

    /// Takes notice of hops that are new, or are used again or no longer. What is known of a neighbour stays known; who is new is to be
    /// asked at once.
    pub(super) fn renew(&mut self, now: Nanos) {
        let new = Self::new(Arc::clone(&self.hops), self.share, now);
        let old = std::mem::replace(self, new);
        for place in 0..self.entries.len() {
            let entry = &mut self.entries[place];
            let address = entry.address;
            let Ok(known) = old.entries.binary_search_by_key(&address, |entry| entry.address) else { continue };
            let Entry { state, fixed, asked, due, .. } = old.entries[known];
            (entry.state, entry.fixed, entry.asked) = (state, fixed, asked);
            self.schedule(place, due);
            // Another hop to the same neighbour has its MAC address.
            let resolved = self.hops_of(address).map(Hop::neighbour).find(|neighbour| neighbour.is_resolved());
            if let Some(neighbour) = resolved {
                self.set(address, neighbour);
            }
        }
        self.unknown = self.entries.iter().filter(|entry| entry.state == State::Unknown).count();
        self.next_on_link = old.next_on_link;
        self.begin();
    }

    /// What the kernel says of a neighbour; of others than ours it is ignored.
    pub(super) fn tell(&mut self, address: IpAddr, event: Event, now: Nanos) {
        let Ok(place) = self.entries.binary_search_by_key(&address, |entry| entry.address) else { return };
        let entry = &mut self.entries[place];
        let before = entry.state;
        match event {
            Event::Resolved { mac, fixed } => {
                let was_fixed = std::mem::replace(&mut entry.fixed, fixed);
                entry.state = State::Resolved;
                self.set(address, Neighbour::Resolved(mac));
                if before != State::Resolved || was_fixed {
                    self.schedule(place, now + refresh(place));
                }
            }
            Event::Failed => {
                entry.fixed = false;
                match before {
                    State::Resolved => {
                        entry.state = State::Failing;
                        self.schedule(place, now + SETTLE);
                    }
                    State::Failing => {}
                    State::Unknown | State::Failed => {
                        entry.state = State::Failed;
                        self.set(address, Neighbour::Unresolved);
                        self.schedule(place, now + RETRY);
                    }
                }
            }
            // The MAC address is kept: whatever took the entry, the neighbour is most likely where it was.
            Event::Deleted => {
                entry.fixed = false;
                if before == State::Failing {
                    entry.state = State::Resolved;
                }
                let wait = if entry.gateway { Nanos::ZERO } else { RETRY };
                self.schedule(place, now + wait);
            }
        }
        if before == State::Unknown && self.entries[place].state != State::Unknown {
            self.unknown -= 1;
        }
    }

    /// All of them are due, on-link ones paced: the link came up.
    pub(super) fn ask_all(&mut self, now: Nanos) {
        for place in 0..self.entries.len() {
            self.schedule(place, now);
        }
    }

    /// The tables were read anew: what they don't have has been deleted.
    pub(super) fn tell_all(&mut self, mut events: Vec<(IpAddr, Event)>, now: Nanos) {
        events.sort_unstable_by_key(|(address, _)| *address);
        for place in 0..self.entries.len() {
            let address = self.entries[place].address;
            let found = events.binary_search_by_key(&address, |(of, _)| *of).ok();
            self.tell(address, found.map_or(Event::Deleted, |found| events[found].1), now);
        }
    }

    /// The kernel's table is full: on-link questions rest for a moment.
    pub(super) fn pause(&mut self, now: Nanos) {
        self.next_on_link = now + RETRY;
    }

    /// Takes those whose time has come, of on-link ones no more than `burst`: the kernel is to be asked about them now.
    pub(super) fn due(&mut self, now: Nanos, burst: usize) -> Vec<IpAddr> {
        let mut due = Vec::new();
        while let Some(place) = take(&mut self.gateways, &self.entries, now) {
            self.ask(place, now, &mut due);
        }
        let gateways = due.len();
        while self.next_on_link <= now {
            let Some(place) = take(&mut self.on_link, &self.entries, now) else { break };
            self.ask(place, now, &mut due);
            if due.len() - gateways >= burst {
                self.next_on_link = now + TICK;
            }
        }
        due
    }

    /// When [`Cache::due`] is worth calling next.
    pub(super) fn next(&self) -> Nanos {
        let first = |schedule: &Schedule| schedule.peek().map_or(Nanos::MAX, |Reverse((due, _))| *due);
        first(&self.gateways).min(first(&self.on_link).max(self.next_on_link))
    }

    /// How many were never heard of, neither well nor ill.
    pub(super) fn unknown(&self) -> usize {
        self.unknown
    }

    /// The same, of gateways.
    pub(super) fn unknown_gateways(&self) -> usize {
        self.entries.iter().filter(|entry| entry.gateway && entry.state == State::Unknown).count()
    }

    /// Gateways, or on-link targets, that have no MAC address now.
    pub(super) fn unresolved(&self, gateways: bool) -> impl Iterator<Item = IpAddr> {
        let of_that_kind = self.entries.iter().filter(move |entry| entry.gateway == gateways);
        of_that_kind.filter(|entry| entry.state != State::Resolved).map(|entry| entry.address)
    }

    /// Whether there are neighbours of a family, those that the kernel is not asked about too.
    pub(super) fn has_family(&self, family: Family) -> bool {
        // They are ordered, IPv4 first.
        let outermost = if family == Family::V4 { self.entries.first() } else { self.entries.last() };
        let asked = outermost.is_some_and(|entry| Family::of(entry.address) == family);
        asked || !self.asked.about_everybody(family)
    }

    /// Whether the kernel is asked about it.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.entries.binary_search_by_key(&address, |entry| entry.address).is_ok()
    }

    /// Whether its entry was made by hand.
    pub(super) fn is_fixed(&self, address: IpAddr) -> bool {
        let place = self.entries.binary_search_by_key(&address, |entry| entry.address);
        place.is_ok_and(|place| self.entries[place].fixed)
    }

    /// How many neighbours are only targets.
    pub(super) fn on_link(&self) -> usize {
        self.entries.iter().filter(|entry| !entry.gateway).count()
    }

    fn ask(&mut self, place: usize, now: Nanos, due: &mut Vec<IpAddr>) {
        let entry = &mut self.entries[place];
        entry.asked = Some(now);
        if entry.fixed {
            entry.due = Nanos::MAX;
            return;
        }
        let address = entry.address;
        due.push(address);
        if entry.state == State::Failing {
            entry.state = State::Failed;
            self.set(address, Neighbour::Unresolved);
            self.gateway_failed(address, now);
        }
        let entry = &self.entries[place];
        let wait = if entry.state == State::Resolved { refresh(place) } else { RETRY };
        self.schedule(place, now + wait);
    }

    fn schedule(&mut self, place: usize, due: Nanos) {
        let entry = &mut self.entries[place];
        entry.due = entry.asked.map_or(due, |asked| due.max(asked + APART));
        let schedule = if entry.gateway { &mut self.gateways } else { &mut self.on_link };
        schedule.push(Reverse((entry.due, place)));
    }

    fn set(&self, address: IpAddr, neighbour: Neighbour) {
        self.hops_of(address).for_each(|hop| hop.set(neighbour));
    }

    /// A gateway that is not there any more is dead.
    fn gateway_failed(&self, address: IpAddr, now: Nanos) {
        self.hops_of(address).filter(|hop| !hop.on_link).for_each(|hop| hop.life.died(now));
    }

    fn hops_of(&self, address: IpAddr) -> impl Iterator<Item = &Hop> {
        let first = self.by_address.partition_point(|(other, _)| *other < address);
        let of = self.by_address[first..].iter().take_while(move |(other, _)| *other == address);
        of.map(|&(_, hop)| &self.hops[hop as usize])
    }
}

/// Takes the first entry that is due, if one is.
fn take(schedule: &mut Schedule, entries: &[Entry], now: Nanos) -> Option<usize> {
    while let Some(&Reverse((due, place))) = schedule.peek() {
        if due > now {
            return None;
        }
        schedule.pop();
        if entries[place].due == due {
            return Some(place);
        }
    }
    None
}

/// Steps by the golden ratio, which scatters any number of entries evenly over the 5 s.
fn refresh(place: usize) -> Nanos {
    let scattered = (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    REFRESH + Nanos::from_millis((scattered * 5_000) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const HERE: Event = Event::Resolved { mac: MAC, fixed: false };

    fn on_link(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    fn cache(targets: u32) -> Cache {
        let us = Ipv4Addr::new(192, 0, 2, 9);
        let gateway = Hop::new(GATEWAY, us, false);
        let hops: Vec<Hop> =
            std::iter::once(gateway).chain((0..targets).map(|n| Hop::new(on_link(n), us, true))).collect();
        Cache::new(Arc::new(hops.into_iter().collect()), Share { v4: usize::MAX, v6: usize::MAX }, Nanos::ZERO)
    }

    /// All questions until a moment, with their times.
    fn run(cache: &mut Cache, until: Nanos) -> Vec<(Nanos, IpAddr)> {
        let mut asked = Vec::new();
        while cache.next() <= until {
            let now = cache.next();
            asked.extend(cache.due(now, 25).into_iter().map(|address| (now, address)));
        }
        asked
    }

    #[test]
    fn a_neighbour_that_is_there_is_refreshed_every_ten_seconds_or_so() {
        let mut cache = cache(0);
        assert_eq!(cache.due(Nanos::ZERO, 25), [GATEWAY]);
        cache.tell(GATEWAY, HERE, Nanos::from_millis(3));
        assert_eq!(cache.unknown(), 0);
        let asked = run(&mut cache, Nanos::from_secs(100));
        assert!((8..=13).contains(&asked.len()), "{asked:?}");
    }

    #[test]
    fn a_neighbour_that_fails_is_asked_every_second_and_is_unresolved() {
        let mut cache = cache(0);
        run(&mut cache, Nanos::ZERO);
        cache.tell(GATEWAY, HERE, Nanos::from_millis(3));
        cache.tell(GATEWAY, Event::Failed, Nanos::from_secs(4));
        run(&mut cache, Nanos::from_millis(4_050));
        assert_eq!(cache.hops[0].neighbour(), Neighbour::Unresolved);
        assert_eq!(cache.unresolved(true).collect::<Vec<_>>(), [GATEWAY]);
        assert_eq!(run(&mut cache, Nanos::from_millis(14_050)).len(), 10);
        cache.tell(GATEWAY, HERE, Nanos::from_secs(15));
        assert_eq!(cache.hops[0].neighbour(), Neighbour::Resolved(MAC));
    }

    #[test]
    fn a_deleted_gateway_keeps_its_mac_address_and_is_asked_at_once() {
        let mut cache = cache(0);
        run(&mut cache, Nanos::ZERO);
        cache.tell(GATEWAY, HERE, Nanos::from_millis(3));
        let now = Nanos::from_secs(1);
        cache.tell(GATEWAY, Event::Deleted, now);
        assert_eq!(cache.hops[0].neighbour(), Neighbour::Resolved(MAC));
        assert_eq!(cache.due(now, 25), [GATEWAY]);
        // However often the kernel says so: no storm.
        for millis in 0..1_000 {
            let now = now + Nanos::from_millis(millis);
            cache.tell(GATEWAY, Event::Deleted, now);
            let asked = cache.due(now, 25).len();
            assert!(asked == 0 || millis % 100 == 0, "{millis}");
        }
    }

    #[test]
    fn a_failure_that_is_but_a_deletion_is_none() {
        let mut cache = cache(0);
        run(&mut cache, Nanos::ZERO);
        cache.tell(GATEWAY, HERE, Nanos::from_millis(3));
        cache.tell(GATEWAY, Event::Failed, Nanos::from_secs(4));
        cache.tell(GATEWAY, Event::Deleted, Nanos::from_millis(4_001));
        assert_eq!(cache.due(Nanos::from_millis(4_001), 25), [GATEWAY]);
        run(&mut cache, Nanos::from_millis(4_200));
        assert_eq!(cache.hops[0].neighbour(), Neighbour::Resolved(MAC));
        // Asked and silent is another thing.
        cache.tell(GATEWAY, Event::Failed, Nanos::from_secs(7));
        run(&mut cache, Nanos::from_millis(7_050));
        assert_eq!(cache.hops[0].neighbour(), Neighbour::Unresolved);
    }

    #[test]
    fn an_entry_made_by_hand_is_never_asked_about() {
        let mut cache = cache(0);
        cache.tell(GATEWAY, Event::Resolved { mac: MAC, fixed: true }, Nanos::ZERO);
        assert_eq!(run(&mut cache, Nanos::from_secs(60)), []);
        cache.tell(GATEWAY, Event::Deleted, Nanos::from_secs(60));
        assert_eq!(cache.due(Nanos::from_secs(60), 25), [GATEWAY]);
        cache.tell(GATEWAY, HERE, Nanos::from_secs(61));
        assert!(!run(&mut cache, Nanos::from_secs(80)).is_empty());
    }

    #[test]
    fn on_link_targets_are_paced_and_gateways_go_first() {
        let mut cache = cache(1_000);
        let asked = run(&mut cache, Nanos::from_millis(900));
        assert_eq!(asked[0].1, GATEWAY);
        for window in 0..9 {
            let from = Nanos::from_millis(100 * window);
            let count = asked.iter().filter(|(at, _)| (from..from + Nanos::from_millis(100)).contains(at)).count();
            assert!(count <= 51, "{count} questions within {window}00 ms");
        }
        let asked_all: std::collections::HashSet<_> =
            asked.into_iter().chain(run(&mut cache, Nanos::from_secs(3))).map(|(_, address)| address).collect();
        assert_eq!(asked_all.len(), 1_001);
    }

    #[test]
    fn refreshes_spread() {
        let mut cache = cache(200);
        run(&mut cache, Nanos::ZERO);
        for n in 0..200 {
            cache.tell(on_link(n), HERE, Nanos::ZERO);
        }
        let asked = run(&mut cache, Nanos::from_secs(60));
        let from = Nanos::from_secs(7);
        let busiest = (0..500)
            .map(|tenth| from + Nanos::from_millis(100 * tenth))
            .map(|from| asked.iter().filter(|(at, _)| (from..from + Nanos::from_millis(100)).contains(at)).count())
            .max();
        assert!(busiest <= Some(12), "{busiest:?} within 100 ms");
    }

    #[test]
    fn what_a_new_reading_lacks_was_deleted() {
        let mut cache = cache(2);
        cache.tell(on_link(0), HERE, Nanos::ZERO);
        cache.tell(on_link(1), HERE, Nanos::ZERO);
        let other = [2, 0, 0, 0, 0, 2];
        cache.tell_all(vec![(on_link(1), Event::Resolved { mac: other, fixed: false })], Nanos::from_secs(5));
        assert_eq!(cache.hops[1].neighbour(), Neighbour::Resolved(MAC));
        assert_eq!(cache.hops[2].neighbour(), Neighbour::Resolved(other));
        assert_eq!(cache.unknown(), 1, "the gateway");
    }

    #[test]
    fn hops_come_and_go_and_what_is_known_stays() {
        let mut cache = cache(2);
        let us = Ipv4Addr::new(192, 0, 2, 9);
        run(&mut cache, Nanos::ZERO);
        cache.tell(GATEWAY, HERE, Nanos::from_millis(3));
        cache.tell(on_link(0), HERE, Nanos::from_millis(3));
        let [other, again] = [2, 10].map(|n| IpAddr::from([192, 0, 2, n]));
        let new = cache.hops.add(Hop::new(other, us, false));
        let same = cache.hops.add(Hop::new(GATEWAY, again, false));
        // The first target on the link is not probed any more.
        cache.hops.use_only(|place| place != 1);
        let now = Nanos::from_millis(500);
        cache.renew(now);
        assert_eq!(cache.hops[same as usize].neighbour(), Neighbour::Resolved(MAC), "known by another source");
        assert_eq!((cache.unknown(), cache.on_link()), (2, 1));
        assert_eq!(cache.due(now, 25), [other], "who is new is asked at once");
        cache.tell(other, HERE, now);
        assert_eq!(cache.hops[new as usize].neighbour(), Neighbour::Resolved(MAC));
        let asked = run(&mut cache, Nanos::from_secs(30));
        assert!(asked.iter().all(|(_, address)| *address != on_link(0)), "{asked:?}");
        // And is again.
        cache.hops.use_only(|_| true);
        cache.renew(Nanos::from_secs(30));
        assert!(cache.due(Nanos::from_secs(30), 25).contains(&on_link(0)));
    }

    #[test]
    fn ipv6_targets_beyond_the_share_are_not_the_kernels() {
        let us = Ipv4Addr::new(192, 0, 2, 9);
        let hop = |n: u128| Hop::new(Ipv6Addr::from_bits(0xfd << 120 | n), Ipv6Addr::LOCALHOST, true);
        let gateway = Hop::new(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, false);
        let share = Share { v4: 8, v6: 8 };
        let hops: Hops = (0..9).map(hop).chain([gateway, Hop::new(on_link(0), us, true)]).collect();
        let mut cache = Cache::new(Arc::new(hops), share, Nanos::ZERO);
        cache.begin();
        assert_eq!(cache.due(Nanos::ZERO, 25), [IpAddr::from(Ipv6Addr::LOCALHOST), on_link(0)]);
        assert!(Family::ALL.iter().all(|family| cache.has_family(*family)));
        // Fewer of them are.
        cache.hops.use_only(|place| !(7..9).contains(&place));
        cache.renew(Nanos::from_millis(500));
        assert_eq!(cache.due(Nanos::from_millis(500), 25).len(), 7);
        // Without a gateway of theirs, what the kernel knows of them is read all the same: entries may have been made by hand.
        let cache = Cache::new(Arc::new((0..9).map(hop).collect()), share, Nanos::ZERO);
        assert!(cache.has_family(Family::V6) && !cache.has_family(Family::V4));
    }
}
