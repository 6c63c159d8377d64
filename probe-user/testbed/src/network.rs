//! One far end for all targets, and the queue that its replies come back on.

use crate::{
    kind::{Echo, ProbeKind},
    numbers::Numbers,
    ruled::Ruled,
    rules::RuleFile,
    witness::Witnessed,
};
use echolot::{
    base::{Cause, Nanos},
    wire::{Key, ProbeFields, Template},
    worker::{Clock, Due, Fate, Receive, Rest, Room, Transmit},
};
use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    marker::PhantomData,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// Frames of probes with the shortest payload.
const FRAME: usize = 60;
/// Frames of errors that quote all of such a probe: Ethernet, IPv4, ICMP, and the probe without its Ethernet header.
const ERROR: usize = 14 + 20 + 8 + FRAME - 14;
/// What a short quote leaves out: the payload.
const PAYLOAD: usize = 18;
/// Who sends errors.
const ROUTER: [u8; 4] = [10, 63, 0, 254];
/// What handing over one probe costs, of simulated time.
const SEND_COST: Nanos = Nanos(500);

/// What the network does to probes. Shares are from 0 to 1; each probe meets each with a chance of its own.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Neither request nor reply arrives.
    pub loss: f64,
    /// Least time there and back.
    pub delay: Nanos,
    /// Up to so much more, evenly: with more jitter than the gap between probes, replies overtake each other.
    pub jitter: Nanos,
    /// The reply comes twice, the second with a delay of its own.
    pub duplicate: f64,
    /// The reply comes after this time instead.
    pub late: Option<(f64, Nanos)>,
    /// One bit of the reply's ICMP part is flipped.
    pub corrupt: f64,
    /// An ICMP error comes instead of the reply.
    pub unreachable: f64,
    /// Of the errors, those that are followed by the reply.
    pub error_then_reply: f64,
    /// From such an error to the reply behind it, at least.
    pub gap: Nanos,
    /// Of the errors, those that quote the probe without its payload.
    pub short_quotes: f64,
    /// This machine refuses the probe.
    pub refuse: f64,
    /// The card that sends, if it is slower than this machine.
    pub card: Option<Card>,
    /// Nothing comes back in these stretches, whatever was sent.
    pub silences: Vec<Silence>,
    /// Nor what was sent by this next hop in this stretch: it forwards nothing.
    pub deaf_hops: Vec<(u32, Silence)>,
    /// Received frames that the ring holds while nobody takes them; what comes then is dropped. 0: without limit.
    pub ring: usize,
}

/// A card that takes its time.
#[derive(Clone, Copy, Debug)]
pub struct Card {
    /// It sends a probe in this time.
    pub pace: Nanos,
    /// So many probes wait in it at most.
    pub queue: usize,
    /// It says how many more it takes. Else a probe that finds its queue full is refused, and whoever has room is a matter of luck:
    /// one in eight gets a place that another one before it was refused.
    pub tells: bool,
}

/// From one moment to another.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// First moment.
    pub from: Nanos,
    /// First moment after.
    pub to: Nanos,
}

/// What the network did, for the test to hold the loop's account against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Probes that were sent.
    pub sent: u64,
    /// Probes that were refused.
    pub refused: u64,
    /// Probes whose first reply arrived unharmed and in time, by the stamp.
    pub in_time: u64,
    /// Replies and errors that arrived unharmed after their time.
    pub late: u64,
    /// Probes of which an error was the first word, unharmed and in time.
    pub unreachable: u64,
    /// Further unharmed words in time on a probe that had one, but for those below.
    pub duplicate: u64,
    /// Unharmed replies in time to a probe of which an error had said that it did not arrive.
    pub contradicted: u64,
    /// Replies and errors that were harmed on their way.
    pub corrupt: u64,
    /// Frames that found the ring full.
    pub dropped: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Nanos,
    /// Keeps arrivals of the same moment in order.
    serial: u64,
    /// The probe's frame.
    probe: [u8; FRAME],
    word: Word,
    /// Which bit is flipped, if one is; counted from the first that the ICMP checksum covers behind itself.
    harm: Option<u16>,
    /// The word on the same probe that came before, unharmed.
    follows: Option<Word>,
    sent: Nanos,
}

/// What comes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Reply,
    Error,
    /// An error that quotes no payload.
    ShortError,
}

/// A frame in the ring: so many of its bytes.
type Frame = ([u8; ERROR], usize);

struct State {
    now: Nanos,
    rng: fastrand::Rng,
    rules: Rules,
    timeout: Nanos,
    key: Key,
    template: Template,
    make: fn(&Template, &mut [u8], &ProbeFields, &Key),
    serial: u64,
    flying: BinaryHeap<Reverse<Arrival>>,
    ring: VecDeque<Frame>,
    numbers: Arc<Numbers>,
    facts: Facts,
    /// When the card will have sent what it holds.
    busy_until: Nanos,
    /// Told of every period in which frames were dropped.
    dropped: Box<dyn FnMut(Nanos, Nanos, u64)>,
    /// Goes by a rule file, and not by `rules`.
    ruled: Option<Ruled>,
}

/// The network. Its parts ([`SimClock`], [`SimEngine`], [`SimQueue`]) share it, on one thread.
#[derive(Clone)]
pub struct Network(Rc<RefCell<State>>);

impl Network {
    /// A network that does what `rules` say, by chances that follow from `seed`; `timeout` is the probes', for its [`Facts`].
    /// `dropped` is told of dropped frames before the loop can learn of them.
    pub fn new(
        seed: u64,
        rules: Rules,
        timeout: Nanos,
        key: Key,
        template: Template,
        dropped: impl FnMut(Nanos, Nanos, u64) + 'static,
    ) -> Self {
        Self(Rc::new(RefCell::new(State {
            now: Nanos::from_secs(1),
            rng: fastrand::Rng::with_seed(seed),
            rules,
            timeout,
            key,
            template,
            make: Echo::make,
            serial: 0,
            flying: BinaryHeap::with_capacity(4096),
            ring: VecDeque::with_capacity(4096),
            numbers: Arc::default(),
            facts: Facts::default(),
            busy_until: Nanos::ZERO,
            dropped: Box::new(dropped),
            ruled: None,
        })))
    }

    /// From now on probes are of another kind. Their answers are to be read by a queue of the same: [`Network::queue_of`].
    pub fn ask<K: ProbeKind>(&self) {
        self.0.borrow_mut().make = K::make;
    }

    /// From now on the network does what a rule file says instead, and keeps a record like a far end's.
    pub fn obey(&self, file: RuleFile) {
        self.0.borrow_mut().ruled = Some(Ruled::new(file));
    }

    /// The record of a network that obeys a rule file: every probe in the order of sending.
    pub fn witnessed(&self) -> Vec<Witnessed> {
        self.0.borrow().ruled.as_ref().map_or_else(Vec::new, |ruled| ruled.witnessed().to_vec())
    }

    /// The numbers of its queue, and its link, which is always up.
    pub fn numbers(&self) -> Arc<Numbers> {
        Arc::clone(&self.0.borrow().numbers)
    }

    /// What has happened so far.
    pub fn facts(&self) -> Facts {
        self.0.borrow().facts
    }

    /// Holds the receiver up, or lets it go on.
    pub fn stall(&self, stalled: bool) {
        self.0.borrow().numbers.stalled.store(stalled, Relaxed);
    }

    /// Whether a frame is under way or waits in the ring.
    pub fn is_quiet(&self) -> bool {
        let state = self.0.borrow();
        state.flying.is_empty() && state.ring.is_empty() && state.ruled.as_ref().is_none_or(Ruled::is_quiet)
    }

    /// The clock that the network runs on.
    pub fn clock(&self) -> SimClock {
        SimClock(self.clone())
    }

    /// The way in.
    pub fn engine(&self) -> SimEngine {
        SimEngine(self.clone())
    }

    /// The way out.
    pub fn queue(&self) -> SimQueue {
        self.queue_of()
    }

    /// The same for answers to probes of this kind.
    pub fn queue_of<K: ProbeKind>(&self) -> SimQueue<K> {
        SimQueue(self.clone(), PhantomData)
    }
}

/// The network's clock.
pub struct SimClock(Network);

impl Clock for SimClock {
    fn now(&self) -> Nanos {
        self.0.0.borrow().now
    }
}

/// The network as a transmit engine.
pub struct SimEngine(Network);

impl Transmit for SimEngine {
    fn transmit(&mut self, due: &[Due], fates: &mut [Fate]) {
        let mut state = self.0.0.borrow_mut();
        for (due, fate) in due.iter().zip(fates) {
            *fate = if state.takes() { state.send(due) } else { Fate::Full(Cause::NoRoom) };
        }
    }

    fn room(&mut self, now: Nanos) -> Room {
        let state = self.0.0.borrow();
        match state.rules.card {
            Some(card) if card.tells => {
                let probes = (card.queue - state.queued(card)).min(self.batch());
                Room { probes, again: now + card.pace, full: probes < self.batch() }
            }
            _ => Room { probes: self.batch(), again: now, full: false },
        }
    }
}

impl State {
    /// Probes that wait in the card.
    fn queued(&self, card: Card) -> usize {
        usize::try_from((self.busy_until - self.now).0.div_ceil(card.pace.0)).unwrap_or(usize::MAX).min(card.queue)
    }

    /// Whether the card takes one more probe.
    fn takes(&mut self) -> bool {
        let Some(card) = self.rules.card else { return true };
        // Time goes on while it is asked.
        self.now += Nanos(10);
        let takes = self.queued(card) < card.queue && (card.tells || self.rng.u8(..8) > 0);
        if takes {
            self.busy_until = self.busy_until.max(self.now) + card.pace;
        }
        takes
    }

    fn send(&mut self, due: &Due) -> Fate {
        if self.rng.f64() < self.rules.refuse {
            self.facts.refused += 1;
            return Fate::Unsent(Cause::Refused);
        }
        let sent = self.now;
        self.now += SEND_COST;
        self.facts.sent += 1;
        if let Some(mut ruled) = self.ruled.take() {
            let frame = self.probe(due, sent);
            ruled.send(&frame, due.to.v4(), due.sequence.0, sent);
            self.ruled = Some(ruled);
            return Fate::Sent(sent);
        }
        let is_in = |silence: &Silence| silence.from <= sent && sent < silence.to;
        let silent = self.rules.silences.iter().any(is_in)
            || self.rules.deaf_hops.iter().any(|(hop, silence)| *hop == due.hop && is_in(silence));
        if silent || self.rng.f64() < self.rules.loss {
            return Fate::Sent(sent);
        }
        let frame = self.probe(due, sent);
        let first = self.first_word();
        let late = self.rules.late.filter(|(share, _)| self.rng.f64() < *share).map(|(_, after)| after);
        let mut delay = late.unwrap_or_else(|| self.some_delay());
        let mut follows = self.fly(frame, first, sent, delay, None);
        if first != Word::Reply && self.rng.f64() < self.rules.error_then_reply {
            delay = self.some_delay().max(delay + self.rules.gap);
            follows = self.fly(frame, Word::Reply, sent, delay, follows);
        }
        if self.rng.f64() < self.rules.duplicate {
            let delay = self.some_delay().max(delay);
            self.fly(frame, first, sent, delay, follows);
        }
        Fate::Sent(sent)
    }

    /// The probe's frame.
    fn probe(&self, due: &Due, sent: Nanos) -> [u8; FRAME] {
        let mut frame = [0; FRAME];
        self.template.lay(&mut frame);
        let fields = ProbeFields {
            destination: due.to.v4(),
            target: due.target,
            generation: due.generation,
            sequence: due.sequence,
            sent,
            next_hop_mac: [2; 6],
        };
        (self.make)(&self.template, &mut frame, &fields, &self.key);
        frame
    }

    fn some_delay(&mut self) -> Nanos {
        self.rules.delay + Nanos(self.rng.u64(0..=self.rules.jitter.0))
    }

    /// Whether the probe is answered, or somebody on the way says that it did not arrive.
    fn first_word(&mut self) -> Word {
        if self.rules.unreachable == 0.0 || self.rng.f64() >= self.rules.unreachable {
            Word::Reply
        } else if self.rng.f64() < self.rules.short_quotes {
            Word::ShortError
        } else {
            Word::Error
        }
    }

    /// Sends a word back. Returns the word that now stands first: `follows`, or this one if it is unharmed.
    fn fly(
        &mut self,
        probe: [u8; FRAME],
        word: Word,
        sent: Nanos,
        delay: Nanos,
        follows: Option<Word>,
    ) -> Option<Word> {
        let harm = (self.rng.f64() < self.rules.corrupt).then(|| self.rng.u16(..));
        self.serial += 1;
        let sent_late = if self.rules.card.is_some() { self.busy_until - sent } else { Nanos::ZERO };
        let arrival = Arrival { at: sent + sent_late + delay, serial: self.serial, probe, word, harm, follows, sent };
        self.flying.push(Reverse(arrival));
        follows.or(if harm.is_none() { Some(word) } else { None })
    }

    /// Time goes on to `until`, or to the first arrival before it. Returns whether something arrived.
    fn go_on(&mut self, until: Nanos) -> bool {
        if let Some(ruled) = &mut self.ruled {
            let (now, arrived) = ruled.go_on(self.now, until, &self.numbers);
            self.now = now;
            return arrived;
        }
        match self.flying.peek() {
            Some(Reverse(first)) if first.at <= until.max(self.now) => self.now = self.now.max(first.at),
            _ => {
                self.now = self.now.max(until);
                return false;
            }
        }
        while let Some(Reverse(first)) = self.flying.peek()
            && first.at <= self.now
        {
            let Some(Reverse(arrival)) = self.flying.pop() else { break };
            self.numbers.taken.fetch_add(1, Relaxed);
            if self.rules.ring > 0 && self.ring.len() >= self.rules.ring {
                self.facts.dropped += 1;
                (self.dropped)(arrival.at, arrival.at, 1);
                self.numbers.dropped.fetch_add(1, Relaxed);
                continue;
            }
            self.count(&arrival);
            self.ring.push_back(arrival.frame());
        }
        true
    }

    fn count(&mut self, arrival: &Arrival) {
        let facts = &mut self.facts;
        let counter = match (arrival.word, arrival.follows) {
            _ if arrival.harm.is_some() => &mut facts.corrupt,
            _ if arrival.at - arrival.sent > self.timeout => &mut facts.late,
            (Word::Reply, None) => &mut facts.in_time,
            (Word::Error | Word::ShortError, None) => &mut facts.unreachable,
            (Word::Reply, Some(Word::Error | Word::ShortError)) => &mut facts.contradicted,
            _ => &mut facts.duplicate,
        };
        *counter += 1;
    }
}

impl Arrival {
    /// As it comes in.
    fn frame(&self) -> Frame {
        let mut frame = [0; ERROR];
        let length = match self.word {
            Word::Reply => {
                frame[..FRAME].copy_from_slice(&self.probe);
                answer(&mut frame);
                FRAME
            }
            Word::Error => refuse(&self.probe, &mut frame),
            Word::ShortError => refuse(&self.probe[..FRAME - PAYLOAD], &mut frame),
        };
        if let Some(harm) = self.harm {
            let bit = usize::from(harm) % ((length - 38) * 8);
            frame[38 + bit / 8] ^= 1 << (bit % 8);
        }
        // What steer does: the stamp over the MAC addresses.
        frame[..8].copy_from_slice(&self.at.0.to_ne_bytes());
        (frame, length)
    }
}

/// Makes a reply of a request: addresses swapped, type 8 to 0, checksum adjusted (RFC 1624: the type's word falls by 0x0800).
fn answer(frame: &mut [u8; ERROR]) {
    let (source, destination): ([u8; 4], [u8; 4]) =
        (std::array::from_fn(|i| frame[26 + i]), std::array::from_fn(|i| frame[30 + i]));
    frame[26..30].copy_from_slice(&destination);
    frame[30..34].copy_from_slice(&source);
    frame[34] = 0;
    let sum = u32::from(u16::from_be_bytes([frame[36], frame[37]])) + 0x0800;
    let folded = (sum & 0xffff) + (sum >> 16);
    frame[36..38].copy_from_slice(&u16::try_from(folded).unwrap_or(u16::MAX).to_be_bytes());
}

/// Lays an ICMP error, "host unreachable", that quotes as much of a probe as is given. Returns its length. The IPv4 checksum,
/// which only a kernel would look at, stays empty.
fn refuse(probe: &[u8], frame: &mut [u8; ERROR]) -> usize {
    let quote = &probe[14..];
    let length = 42 + quote.len();
    frame[12..14].copy_from_slice(&probe[12..14]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&u16::try_from(length - 14).unwrap_or(u16::MAX).to_be_bytes());
    frame[22..24].copy_from_slice(&[63, 1]);
    frame[26..30].copy_from_slice(&ROUTER);
    frame[30..34].copy_from_slice(&probe[26..30]);
    frame[34..36].copy_from_slice(&[3, 1]);
    frame[42..length].copy_from_slice(quote);
    let words = frame[34..length].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(u16::MAX);
    frame[36..38].copy_from_slice(&checksum.to_be_bytes());
    length
}

/// The network as a receive queue, and as what a loop rests on.
pub struct SimQueue<K = Echo>(Network, PhantomData<K>);

impl<K: ProbeKind> Receive for SimQueue<K> {
    type Reader = K::Reader;

    fn receive(&mut self, settle: &mut dyn FnMut(&[&[u8]])) -> usize {
        let numbers = self.0.numbers();
        if numbers.stalled.load(Relaxed) {
            return 0;
        }
        let mut received = 0;
        loop {
            // The state is not borrowed while the loop settles: it asks the clock.
            let mut state = self.0.0.borrow_mut();
            let frame = state.ring.pop_front();
            let ruled = if frame.is_none() { state.ruled.as_mut().and_then(Ruled::receive) } else { None };
            drop(state);
            match (&frame, &ruled) {
                (Some((frame, length)), _) => settle(&[&frame[..*length]]),
                (None, Some(frame)) => settle(&[frame]),
                (None, None) => break,
            }
            numbers.consumed.fetch_add(1, Relaxed);
            received += 1;
        }
        received
    }
}

impl<K> Rest for SimQueue<K> {
    fn rest(&mut self, until: Nanos) {
        self.0.0.borrow_mut().go_on(until);
    }
    fn pause(&mut self, until: Nanos) {
        while self.0.0.borrow_mut().go_on(until) {}
    }
}
