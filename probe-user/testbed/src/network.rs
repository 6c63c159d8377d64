//! One far end for all targets, and the queue that its replies come back on.

use crate::{
    forms,
    kind::{Echo, ProbeKind},
    near::{Card, Near, Silence},
    numbers::Numbers,
    routers::{Expiry, RouterRules, expiry},
    rules::{Form, Planned, Request, RuleFile},
    witness::Witnessed,
};
use echolot::{
    base::{AddressTable, Cause, Destination, Family, Nanos},
    targets::Plan,
    wire::{Key, Origin, ProbeFields, Shape, ShapeError, Template},
    worker::{Clock, Due, Fate, Receive, Rest, Room, Transmit},
};
use probe_ebpf::wire::{STAMP, ipv4, tcp};
use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// Frames of the shortest probes, the longer ones: SYNs over IPv6.
const FRAME: usize = 94;
/// Frames of errors that quote all of such a probe: Ethernet, IPv6, ICMP, and the probe without its Ethernet header.
const ERROR: usize = 14 + 40 + 8 + FRAME - 14;
/// Where the reserved ports of a simulated prober begin.
pub const FIRST_PORT: u16 = 61_000;
/// What handing over one probe costs, of simulated time.
const SEND_COST: Nanos = Nanos(500);

/// What the network did, for the test to hold the loop's account against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Probes that were sent.
    pub sent: u64,
    /// RSTs that were sent behind probes which half opened a connection.
    pub resets: u64,
    /// RSTs that were refused.
    pub resets_refused: u64,
    /// SYN-ACKs that arrived unharmed.
    pub opened: u64,
    /// Probes that were refused.
    pub refused: u64,
    /// Probes whose first reply arrived unharmed and in time, by the stamp.
    pub in_time: u64,
    /// Replies and errors that arrived unharmed after their time.
    pub late: u64,
    /// Probes of which an error was the first word, unharmed and in time.
    pub unreachable: u64,
    /// Of those, probes that expired at a router, whose error it was.
    pub expired: u64,
    /// Further unharmed words in time on a probe that had one, but for those below.
    pub duplicate: u64,
    /// Unharmed replies in time to a probe of which an error had said that it did not arrive.
    pub contradicted: u64,
    /// Replies and errors that were harmed on their way.
    pub corrupt: u64,
    /// Frames that found the ring full.
    pub dropped: u64,
}

/// What comes back of a probe, and when.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Nanos,
    /// Keeps arrivals of the same moment in order.
    serial: u64,
    /// Whom it was sent to.
    address: IpAddr,
    probe: Probe,
    form: Form,
    twist: u64,
    /// The word on the same probe that came before, unharmed.
    follows: Option<Word>,
    sent: Nanos,
    /// The router at which it expired, and the time to live with which that one's errors arrive.
    router: Option<(IpAddr, u8)>,
}

/// A probe's frame: so many of its bytes.
type Probe = ([u8; FRAME], usize);

/// What a frame says of a probe.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Reply,
    Error,
}

impl Word {
    /// None: it is harmed, and says nothing. `expired`: on the way, so that nobody but a router says anything.
    fn of(form: Form, expired: bool) -> Option<Self> {
        match form {
            Form::Good if !expired => Some(Self::Reply),
            Form::Good => Some(Self::Error),
            Form::Error | Form::ShortError => Some(Self::Error),
            Form::Payload | Form::Cookie | Form::Forged | Form::Stranger | Form::CorruptError => None,
        }
    }
}

/// Whether a probe is a SYN to a port that is open.
fn opens((probe, length): &Probe) -> bool {
    forms::message_at(&probe[..*length]).is_some_and(|(family, message)| {
        forms::protocol(probe, family) == ipv4::TCP && probe[message + tcp::DESTINATION.end - 1].is_multiple_of(2)
    })
}

/// A frame in the ring: so many of its bytes.
type Frame = ([u8; ERROR], usize);

struct State {
    now: Nanos,
    rng: fastrand::Rng,
    rules: RuleFile,
    near: Near,
    timeout: Nanos,
    key: Key,
    /// By `Due::shape`.
    templates: Box<[Template]>,
    addresses: Arc<AddressTable>,
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
    /// When the first probe of all arrived.
    first: Option<Nanos>,
    /// Where frames are made.
    scratch: Vec<u8>,
    /// Every probe, if that is wanted.
    record: Option<Vec<Witnessed>>,
    /// The routers on the way to the far end, if there are any.
    routers: Option<RouterRules>,
}

/// The network. Its parts ([`SimClock`], [`SimEngine`], [`SimQueue`]) share it, on one thread.
#[derive(Clone)]
pub struct Network(Rc<RefCell<State>>);

impl Network {
    /// A network for the probes of a plan, whose far end does what the rules say, and the prober's own side what `near` says. For its
    /// [`Facts`] all probes have the timeout of the first group. `dropped` is told of dropped frames before the loop can learn of them.
    ///
    /// # Errors
    /// A group's probes can't be.
    ///
    /// # Panics
    /// Later, if a probe's frame is longer than the shortest over IPv6.
    pub fn new(
        plan: &Plan,
        rules: RuleFile,
        near: Near,
        key: Key,
        dropped: impl FnMut(Nanos, Nanos, u64) + 'static,
    ) -> Result<Self, ShapeError> {
        let template = |shape: &Shape| {
            let source = match shape.family {
                Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 63, 0, 1)),
                Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd00, 0x63, 0, 0, 0, 0, 0, 1)),
            };
            Template::new(*shape, Origin { mac: [2; 6], source, identifier: 4711, first_port: FIRST_PORT, flow_key: 0 })
        };
        Ok(Self(Rc::new(RefCell::new(State {
            now: Nanos::from_secs(1),
            rng: fastrand::Rng::with_seed(rules.seed),
            rules,
            near,
            timeout: plan.groups.first().map_or(Nanos::MAX, |group| group.timeout),
            key,
            templates: plan.shapes().iter().map(template).collect::<Result<_, _>>()?,
            addresses: Arc::clone(&plan.addresses),
            make: Echo::make,
            serial: 0,
            flying: BinaryHeap::with_capacity(4096),
            ring: VecDeque::with_capacity(4096),
            numbers: Arc::default(),
            facts: Facts::default(),
            busy_until: Nanos::ZERO,
            dropped: Box::new(dropped),
            first: None,
            scratch: Vec::with_capacity(ERROR),
            record: None,
            routers: None,
        }))))
    }

    /// From now on probes are of another kind. Their answers are to be read by a queue of the same: [`Network::queue_of`].
    pub fn ask<K: ProbeKind>(&self) {
        self.0.borrow_mut().make = K::make;
    }

    /// From now on the network keeps a record as a far end does.
    pub fn keep_record(&self) {
        self.0.borrow_mut().record = Some(Vec::new());
    }

    /// From now on there are routers on the way to the far end: a probe whose time to live does not reach it is answered by the router at
    /// which it expires ([`routers::path_of`]), if that one is not silent and the probe not lost. To their errors the same happens as to the
    /// far end's replies, by the rules of its address.
    pub fn play_routers(&self, rules: RouterRules) {
        self.0.borrow_mut().routers = Some(rules);
    }

    /// The record: every probe in the order of sending.
    pub fn witnessed(&self) -> Vec<Witnessed> {
        self.0.borrow().record.clone().unwrap_or_default()
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
        state.flying.is_empty() && state.ring.is_empty()
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
        match state.near.card {
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
        let Some(card) = self.near.card else { return true };
        // Time goes on while it is asked.
        self.now += Nanos(10);
        let takes = self.queued(card) < card.queue && (card.tells || self.rng.u8(..8) > 0);
        if takes {
            self.busy_until = self.busy_until.max(self.now) + card.pace;
        }
        takes
    }

    fn send(&mut self, due: &Due) -> Fate {
        let is_reset = self.templates[usize::from(due.shape.0)].is_reset();
        if self.rng.f64() < self.near.refuse {
            *(if is_reset { &mut self.facts.resets_refused } else { &mut self.facts.refused }) += 1;
            return Fate::Unsent(Cause::Refused);
        }
        let sent = self.now;
        self.now += SEND_COST;
        if is_reset {
            self.facts.resets += 1;
            return Fate::Sent(sent);
        }
        self.facts.sent += 1;
        let is_deaf = |(hop, when): &(u32, Silence)| *hop == due.hop && (when.from..when.to).contains(&sent);
        if !self.near.deaf_hops.iter().any(is_deaf) {
            self.arrive(due, sent);
        }
        Fate::Sent(sent)
    }

    /// A probe comes to the far end: at once, but for what the card takes. What leaves there comes back at once.
    fn arrive(&mut self, due: &Due, sent: Nanos) {
        let arrival = if self.near.card.is_some() { self.busy_until } else { sent };
        let family = self.templates[usize::from(due.shape.0)].family();
        let address = self.addresses.address(Destination { family, handle: due.to });
        let sequence = due.sequence.0;
        let first = *self.first.get_or_insert(arrival);
        let mut decision = self.rules.decide(&Request { address, sequence, sent, since: arrival - first });
        let probe = self.probe(due, address, sent);
        let (router, is_lost) = match self.routers.map(|rules| expiry(&rules, address, &probe.0[..probe.1])) {
            None | Some(Expiry::Arrives(_)) => (None, false),
            Some(Expiry::At(router, ttl)) => (Some((router, ttl)), false),
            Some(Expiry::Nowhere) => (None, true),
        };
        let replies = if is_lost { &[] } else { decision.in_order() };
        let mut follows = None;
        for Planned { after, form, twist } in replies {
            self.serial += 1;
            let (at, serial) = (arrival + *after, self.serial);
            self.flying.push(Reverse(Arrival {
                at,
                serial,
                address,
                probe,
                form: *form,
                twist: *twist,
                follows,
                sent,
                router,
            }));
            follows = follows.or(Word::of(*form, router.is_some()));
        }
        if let Some(record) = &mut self.record {
            let said = forms::said(&probe.0[..probe.1], arrival);
            debug_assert!(said.is_some(), "a probe is an echo request, a SYN or a UDP datagram");
            let (sequence, identifier) = said.map_or((sequence.into(), 0), |said| (said.sequence, said.identifier));
            let mut witnessed = Witnessed::new(address, sequence, identifier, sent, arrival);
            (witnessed.port, witnessed.udp) = said.map_or((0, false), |said| (said.port, said.udp));
            for reply in replies {
                witnessed.departed(reply.form, Some(arrival + reply.after));
            }
            witnessed.decided = decision.decided;
            record.push(witnessed);
        }
    }

    /// The probe's frame.
    fn probe(&self, due: &Due, destination: IpAddr, sent: Nanos) -> Probe {
        let template = &self.templates[usize::from(due.shape.0)];
        let mut frame = [0; FRAME];
        let length = template.lay(&mut frame);
        let fields = ProbeFields {
            destination,
            target: due.target,
            generation: due.generation,
            sequence: due.sequence,
            sent,
            next_hop_mac: [2; 6],
        };
        (self.make)(template, &mut frame[..length], &fields, &self.key);
        (frame, length)
    }

    /// Time goes on to `until`, or to the first arrival before it. Returns whether something arrived.
    fn go_on(&mut self, until: Nanos) -> bool {
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
            if self.near.ring > 0 && self.ring.len() >= self.near.ring {
                self.facts.dropped += 1;
                (self.dropped)(arrival.at, arrival.at, 1);
                self.numbers.dropped.fetch_add(1, Relaxed);
                continue;
            }
            self.count(&arrival);
            let frame = self.frame(&arrival);
            self.ring.push_back(frame);
        }
        true
    }

    fn count(&mut self, arrival: &Arrival) {
        let facts = &mut self.facts;
        let word = Word::of(arrival.form, arrival.router.is_some());
        facts.opened += u64::from(word == Some(Word::Reply) && opens(&arrival.probe));
        let is_in_time = arrival.at - arrival.sent <= self.timeout;
        let is_first = arrival.follows.is_none() && word.is_some();
        facts.expired += u64::from(is_first && is_in_time && arrival.router.is_some());
        let counter = match (word, arrival.follows) {
            (None, _) => &mut facts.corrupt,
            _ if !is_in_time => &mut facts.late,
            (Some(Word::Reply), None) => &mut facts.in_time,
            (Some(Word::Error), None) => &mut facts.unreachable,
            (Some(Word::Reply), Some(Word::Error)) => &mut facts.contradicted,
            _ => &mut facts.duplicate,
        };
        *counter += 1;
    }

    /// A frame as it comes in. What steer would reject is shown too: the loop's own checks are to be tested.
    fn frame(&mut self, arrival: &Arrival) -> Frame {
        let mut frame = [0; ERROR];
        let Arrival { probe: (probe, length), address, form, twist, .. } = arrival;
        let router = self.rules.router_to(*address);
        let made = match arrival.router {
            Some(router) => forms::expired(&probe[..*length], *form, *twist, router, &mut self.scratch),
            None => forms::reply(&probe[..*length], *form, *twist, router, &mut self.scratch),
        };
        debug_assert!(made, "a probe is an echo request, a SYN or a UDP datagram");
        frame[..self.scratch.len()].copy_from_slice(&self.scratch);
        frame[STAMP].copy_from_slice(&arrival.at.0.to_ne_bytes());
        (frame, self.scratch.len())
    }
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
            drop(state);
            let Some((frame, length)) = frame else { break };
            settle(&[&frame[..length]]);
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
