//! Targets on the link beyond our share of the kernel's neighbour table: who is asked when, and what is believed. Pure: time is an
//! argument. Of IPv4 the questions are ARP's, of IPv6 those of neighbour discovery; each family has a table of its own.
//!
//! A neighbour is asked when somebody wants to send to it: three times by broadcast (of IPv6 by multicast to the few whose addresses end
//! like its own), a second apart, as the kernel does (mcast_solicit, retrans_time_ms). One that has answered is asked again after half a
//! minute, three times by unicast and then three times by broadcast; its MAC address serves meanwhile. One that has not is asked once
//! whenever a probe is due to it, but all of these together no more often than [`again`] says: most addresses of a large network are
//! nobody's, and each question to them wakes everybody.
//!
//! Only an answer to a question that is open is believed. Other word of a neighbour (an announcement, a question of its own) that speaks
//! of another MAC address than we have is a reason to ask, and nothing else.

mod queue;

pub use queue::{NeighbourQueue, Told, Wake};

use super::{Hop, Hops, KernelAsks, Neighbour, Share};
use crate::base::{Address, Nanos};
use std::{
    collections::VecDeque,
    fmt::Debug,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// Questions by broadcast before a neighbour is given up, and by unicast before they go by broadcast.
const QUESTIONS: u8 = 3;
/// Between two questions to a neighbour.
const APART: Nanos = Nanos::from_secs(1);
/// How long an answer is good for.
const REACHABLE: Nanos = Nanos::from_secs(30);
/// Between any two questions: 100,000 a second, which no kernel table would be asked for either.
const SPACING: Nanos = Nanos::from_micros(10);
/// Questions that a pause may have put off, and that are then asked at once.
const BURST: Nanos = Nanos::from_millis(1);

/// Between two questions to neighbours that have let others go unanswered: 500 a second, or more where so many would take longer than
/// half a minute to ask once each.
fn again(neighbours: usize) -> Nanos {
    Nanos((30_000_000_000 / (neighbours as u64).max(1)).min(2_000_000)).max(SPACING)
}

/// What is to be asked now: who has this address?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<A> {
    /// Who is asked.
    pub address: A,
    /// Who asks, of this host's addresses.
    pub source: A,
    /// The MAC address that it is thought to have; None: everybody is asked.
    pub to: Option<[u8; 6]>,
}

/// What came to our MAC address as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<A> {
    /// Who is said to have the MAC address.
    pub address: A,
    /// The MAC address.
    pub mac: [u8; 6],
    /// Whom it answers.
    pub to: A,
    /// What it can do.
    pub weight: Weight,
}

/// What an answer can do to what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Replace it: of ARP every answer can, of neighbour discovery those with the flag *override*.
    Replaces,
    /// Say it where nothing is known, or confirm it.
    Supplies,
    /// Confirm it, if the question went to this MAC address alone: the answer itself named none, and this is where it came from.
    Confirms,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody wanted it yet.
    Idle,
    /// Being asked for the first time.
    Asking,
    /// It has answered.
    Fresh,
    /// It has answered, and there is other word of it: everybody is about to be asked.
    Doubted,
    /// It had answered and is asked again.
    Confirming,
    /// It did not answer.
    Failed,
    /// It did not answer and is asked again.
    Again,
    /// The kernel has an entry that was made by hand.
    Fixed,
}

/// As small as can be: there may be millions.
#[derive(Clone, Copy, Debug)]
struct Entry<A> {
    address: A,
    hop: u32,
    /// When it is asked again, or given up, or may be asked again.
    due: Nanos,
    state: State,
    /// Questions since its last answer.
    asked: u8,
}

/// The neighbours of one family that we ask ourselves.
#[derive(Debug)]
pub struct NeighbourTable<A> {
    hops: Arc<Hops>,
    share: Share,
    /// Ordered by address. Where several hops have one address, the first of them holds what is known.
    entries: Vec<Entry<A>>,
    /// Whether those that have answered are asked again by and by.
    refresh: bool,
    /// To be asked for the first time, or because of news of them.
    wanted: VecDeque<u32>,
    /// Asked and not answered yet, in the order of time. What is no longer the entry's due time is skipped, here and below.
    open: VecDeque<(Nanos, u32)>,
    fresh: VecDeque<(Nanos, u32)>,
    /// To be asked again though they did not answer.
    failed: VecDeque<u32>,
    next_question: Nanos,
    next_failed: Nanos,
}

impl<A: Address> NeighbourTable<A> {
    /// For those of the hops of this family that are on the link and that the kernel is not asked about; nothing is known of them yet.
    /// `refresh`: they are probed more than once.
    /// `share`: see [`super::share_of_kernel`].
    pub fn new(hops: Arc<Hops>, share: Share, refresh: bool) -> Self {
        let (entries, wanted, open, fresh, failed) = Default::default();
        let (next_question, next_failed) = (Nanos::ZERO, Nanos::ZERO);
        let mut table = Self { hops, share, entries, refresh, wanted, open, fresh, failed, next_question, next_failed };
        table.renew();
        table
    }

    /// Takes notice of hops that are new, or are used again or no longer. What is known of a neighbour stays known.
    pub fn renew(&mut self) {
        let kernel = KernelAsks::of(&self.hops, self.share);
        let ours = self.hops.iter().zip(0..).filter(|(hop, _)| hop.is_used() && !kernel.about(hop));
        let idle = |(hop, index): (&Hop, u32)| {
            let address = A::of(hop.address)?;
            Some(Entry { address, hop: index, due: Nanos::ZERO, state: State::Idle, asked: 0 })
        };
        let mut entries: Vec<Entry<A>> = ours.filter_map(idle).collect();
        entries.sort_unstable_by_key(|entry| (entry.address, entry.hop));
        let old = std::mem::replace(&mut self.entries, entries);
        self.wanted.clear();
        self.failed.clear();
        let (mut open, mut fresh) = (Vec::new(), Vec::new());
        let mut address = None;
        for place in (0..self.entries.len()).filter_map(|place| u32::try_from(place).ok()) {
            // Of hops with one address the first speaks for all.
            if address.replace(self.entry(place).address) == Some(self.entry(place).address) {
                continue;
            }
            let known = old.partition_point(|entry| Some(entry.address) < address);
            if let Some(known) = old.get(known).filter(|entry| Some(entry.address) == address) {
                let Entry { due, state, asked, .. } = *known;
                let neighbour = self.hops[known.hop as usize].neighbour();
                let entry = self.entry(place);
                (entry.due, entry.state, entry.asked) = (due, state, asked);
                self.set(place, neighbour);
            } else if self.hop_of(place).neighbour().is_resolved() {
                // The kernel was asked about it so far.
                self.entry(place).state = State::Confirming;
            } else {
                self.set(place, Neighbour::Unknown);
            }
            let Entry { due, state, asked, .. } = *self.entry(place);
            match state {
                State::Asking | State::Confirming if asked == 0 || due == Nanos::ZERO => self.wanted.push_back(place),
                State::Doubted => self.wanted.push_back(place),
                State::Again if asked == 0 => self.failed.push_back(place),
                State::Asking | State::Confirming | State::Again => open.push((due, place)),
                State::Fresh if self.refresh => fresh.push((due, place)),
                State::Idle | State::Fresh | State::Failed | State::Fixed => {}
            }
        }
        open.sort_unstable();
        fresh.sort_unstable();
        (self.open, self.fresh) = (open.into(), fresh.into());
    }

    /// Somebody wants to send to this neighbour.
    pub fn want(&mut self, address: A, now: Nanos) {
        let Some(place) = self.place_of(address) else { return };
        match self.entry(place).state {
            State::Idle => {
                self.entry(place).state = State::Asking;
                self.wanted.push_back(place);
            }
            State::Failed => self.ask_again(place, now),
            State::Asking | State::Again | State::Fresh | State::Doubted | State::Confirming | State::Fixed => {}
        }
    }

    /// An answer came to our MAC address.
    pub fn answered(&mut self, answer: Answer<A>, now: Nanos) {
        let Answer { address, mac, to, weight } = answer;
        let Some(place) = self.place_of(address) else { return };
        let Entry { state, asked, hop, .. } = *self.entry(place);
        let hop = &self.hops[hop as usize];
        let open = asked > 0 && matches!(state, State::Asking | State::Confirming | State::Again);
        let known = hop.neighbour() == Neighbour::Resolved(mac);
        let can = match weight {
            Weight::Replaces => true,
            Weight::Supplies => known || state != State::Confirming,
            Weight::Confirms => known && state == State::Confirming && asked <= QUESTIONS,
        };
        if open && can && hop.source == to.into() {
            self.resolved(place, mac, now);
        } else if weight != Weight::Confirms {
            self.heard(address, mac, now);
        }
    }

    /// Other word of a neighbour: if it is news, it is asked.
    pub fn heard(&mut self, address: A, mac: [u8; 6], now: Nanos) {
        let Some(place) = self.place_of(address) else { return };
        let Entry { state, due, hop, .. } = *self.entry(place);
        match state {
            // As the kernel's locktime: right after an answer the first word holds.
            State::Fresh
                if self.hops[hop as usize].neighbour() != Neighbour::Resolved(mac)
                    && due + APART <= now + REACHABLE =>
            {
                self.entry(place).state = State::Doubted;
                self.wanted.push_back(place);
            }
            State::Failed => self.ask_again(place, now),
            _ => {}
        }
    }

    /// What the kernel says of a neighbour that it has an entry for: its MAC address if the entry was made by hand, or None.
    pub fn told(&mut self, address: A, fixed: Option<[u8; 6]>) {
        let Some(place) = self.place_of(address) else { return };
        match (fixed, self.entry(place).state) {
            (Some(mac), _) => {
                self.set(place, Neighbour::Resolved(mac));
                self.entry(place).state = State::Fixed;
            }
            // The entry is gone. Most likely the neighbour is still there.
            (None, State::Fixed) => {
                let entry = self.entry(place);
                (entry.state, entry.asked) = (State::Confirming, 0);
                self.wanted.push_back(place);
            }
            (None, _) => {}
        }
    }

    /// The link was down: what was asked meanwhile counts for nothing.
    pub fn link_returned(&mut self) {
        for (due, place) in &self.open {
            let entry = &mut self.entries[*place as usize];
            if entry.due == *due && entry.state != State::Again {
                entry.asked = 0;
            }
        }
    }

    /// Adds what is to be asked now to `questions`, and gives up who was asked in vain.
    pub fn questions(&mut self, now: Nanos, questions: &mut Vec<Question<A>>) {
        self.next_question = self.next_question.max(now - BURST);
        while self.next_question <= now {
            if let Some((due, place)) = self.open.pop_front_if(|(due, _)| *due <= now) {
                self.unanswered(due, place, now, questions);
            } else if let Some(place) = self.wanted.pop_front() {
                let entry = self.entry(place);
                if entry.state == State::Doubted {
                    (entry.state, entry.asked) = (State::Confirming, QUESTIONS);
                }
                if matches!(entry.state, State::Asking | State::Confirming) {
                    self.ask(place, now, questions);
                }
            } else if let Some((due, place)) = self.fresh.pop_front_if(|(due, _)| *due <= now) {
                let entry = self.entry(place);
                if entry.due == due && entry.state == State::Fresh {
                    (entry.state, entry.asked) = (State::Confirming, 0);
                    self.ask(place, now, questions);
                }
            } else if self.next_failed <= now
                && let Some(place) = self.failed.pop_front()
            {
                self.next_failed = now + again(self.entries.len());
                if self.entry(place).state == State::Again {
                    self.ask(place, now, questions);
                }
            } else {
                return;
            }
        }
    }

    /// When [`NeighbourTable::questions`] is worth calling next.
    pub fn next(&self) -> Nanos {
        let first = |queue: &VecDeque<(Nanos, u32)>| queue.front().map_or(Nanos::MAX, |(due, _)| *due);
        let failed = if self.failed.is_empty() { Nanos::MAX } else { self.next_failed };
        let wanted = if self.wanted.is_empty() { Nanos::MAX } else { Nanos::ZERO };
        first(&self.open).min(first(&self.fresh)).min(failed).min(wanted).max(self.next_question)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn unanswered(&mut self, due: Nanos, place: u32, now: Nanos, questions: &mut Vec<Question<A>>) {
        let Entry { due: newest, state, asked, .. } = *self.entry(place);
        let given_up = match state {
            _ if newest != due => return,
            State::Asking => asked >= QUESTIONS,
            State::Confirming => asked >= 2 * QUESTIONS,
            State::Again => true,
            State::Idle | State::Fresh | State::Doubted | State::Failed | State::Fixed => return,
        };
        if !given_up {
            return self.ask(place, now, questions);
        }
        self.set(place, Neighbour::Unresolved);
        let entry = self.entry(place);
        (entry.state, entry.due) = (State::Failed, now);
    }

    fn ask(&mut self, place: u32, now: Nanos, questions: &mut Vec<Question<A>>) {
        let entry = self.entry(place);
        let unicast = entry.state == State::Confirming && entry.asked < QUESTIONS;
        entry.asked = entry.asked.saturating_add(1);
        entry.due = now + APART;
        let Entry { due, hop, address, .. } = *entry;
        self.open.push_back((due, place));
        self.next_question += SPACING;
        let hop = &self.hops[hop as usize];
        let to = match hop.neighbour() {
            Neighbour::Resolved(mac) if unicast => Some(mac),
            _ => None,
        };
        // Of the same family as its address.
        let Some(source) = A::of(hop.source) else { return };
        questions.push(Question { address, source, to });
    }

    fn ask_again(&mut self, place: u32, now: Nanos) {
        let entry = self.entry(place);
        if entry.due <= now {
            entry.state = State::Again;
            entry.asked = 0;
            self.failed.push_back(place);
        } else {
            // It may be wanted again.
            self.set(place, Neighbour::Unresolved);
        }
    }

    fn resolved(&mut self, place: u32, mac: [u8; 6], now: Nanos) {
        self.set(place, Neighbour::Resolved(mac));
        let due = now + REACHABLE;
        let entry = self.entry(place);
        (entry.state, entry.asked, entry.due) = (State::Fresh, 0, due);
        if self.refresh {
            self.fresh.push_back((due, place));
        }
    }

    /// Into every hop of this address.
    fn set(&self, place: u32, neighbour: Neighbour) {
        let entries = &self.entries[place as usize..];
        let address = entries.first().map(|entry| entry.address);
        let of = entries.iter().take_while(|entry| Some(entry.address) == address);
        of.for_each(|entry| self.hops[entry.hop as usize].set(neighbour));
    }

    fn hop_of(&self, place: u32) -> &Hop {
        &self.hops[self.entries[place as usize].hop as usize]
    }

    fn entry(&mut self, place: u32) -> &mut Entry<A> {
        &mut self.entries[place as usize]
    }

    fn place_of(&self, address: A) -> Option<u32> {
        let place = self.entries.partition_point(|entry| entry.address < address);
        let found = self.entries.get(place).is_some_and(|entry| entry.address == address);
        found.then(|| u32::try_from(place).unwrap_or(u32::MAX))
    }
}

const _: () = assert!(size_of::<Entry<Ipv4Addr>>() == 24 && size_of::<Entry<Ipv6Addr>>() == 32);

#[cfg(test)]
mod tests;
