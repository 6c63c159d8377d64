//! A whole worker on a real card: the loops joined to [`Nic`] as a command joins them, the test itself being the control
//! thread. What receives can be held up.

use super::harness::{IDENTIFIER, KEY, NEAR};
use echolot::{
    base::{Cause, Nanos, Outcome},
    ledger::{Snapshot, SumRow, tally, unheard::DropLog},
    nic::{DropSampler, MonotonicClock, Nic, Opened, Options, Receiver as Queues, Sender as Engine, thread},
    targets::{Group, LabelSet, Plan, Sum, Target},
    wire::{Reply, Shape, read_reply},
    worker::{Assembly, Clock as _, Common, Loop, Network, Phase, Receive, Rest, Transition, Wanted, WireReader},
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use testbed::{FarEnd, FrameSender, Prefix, Treatment};

/// Where in a frame [`hold_replies`] leaves its word: behind the 18 bytes that probes have.
const WORD: usize = 14 + 20 + 8 + 18;
/// Of probes that have room for it, with which `Options::payloads` has to agree.
pub(crate) const PAYLOAD: u16 = 56;

/// Groups and their targets.
pub(crate) fn plan(groups: Vec<(Group, Vec<Ipv4Addr>)>) -> Plan {
    let mut plan = Plan::default();
    for (mut group, addresses) in groups {
        let (first, row) = (plan.targets.len() as u32, plan.groups.len() as u32);
        group.targets = first..first + addresses.len() as u32;
        plan.sums.push(Sum { group: row as usize, values: vec![] });
        plan.label_sets.push(LabelSet { labels: BTreeMap::default(), sums: [row; 3] });
        plan.targets.extend(addresses.into_iter().map(|address| Target::v4(address, row)));
        plan.groups.push(group);
    }
    plan
}

/// A group of so many probes for each target, and its targets: the addresses after `first`.
pub(crate) fn group(
    name: &str,
    (interval, timeout): (Nanos, Nanos),
    count: Option<u64>,
    first: Ipv4Addr,
    many: u32,
) -> (Group, Vec<Ipv4Addr>) {
    let group = Group { interval, timeout, count, shape: Shape::echo(PAYLOAD), ..Group::named(name) };
    (group, (0..many).map(|n| Ipv4Addr::from_bits(first.to_bits() + n)).collect())
}

/// Holds a thread that receives.
#[derive(Default)]
pub(crate) struct Stall {
    until: AtomicU64,
    is_held: AtomicBool,
}

impl Stall {
    /// From now on, for so long. Returns as soon as the thread does nothing any more.
    pub(crate) fn hold(&self, time: Duration) {
        self.until.store(MonotonicClock.now().0 + u64::try_from(time.as_nanos()).unwrap(), Release);
        super::harness::wait("held up", || self.is_held.load(Acquire));
    }

    /// No longer than until now.
    pub(crate) fn release(&self) {
        self.until.store(0, Release);
    }
}

/// A reply as it came out of the ring.
#[derive(Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) sent: Nanos,
    pub(crate) arrived: Nanos,
    pub(crate) seen: Nanos,
    /// How long the far end held it, by its own word.
    pub(crate) held: Nanos,
}

impl Heard {
    pub(crate) fn rtt(&self) -> Nanos {
        self.arrived - self.sent
    }

    /// What neither the far end nor a stall had a part in.
    pub(crate) fn path(&self) -> Nanos {
        self.rtt() - self.held
    }
}

/// Real queues, whose thread can be held up, and what came out of them.
struct Stalled {
    queues: Queues,
    stall: Arc<Stall>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Receive for Stalled {
    type Reader = WireReader;

    fn receive(&mut self, settle: &mut dyn FnMut(&[&[u8]])) -> usize {
        while MonotonicClock.now() < Nanos(self.stall.until.load(Acquire)) {
            self.stall.is_held.store(true, Release);
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut heard = self.heard.lock().unwrap();
        self.queues.receive(&mut |frames| {
            let seen = MonotonicClock.now();
            heard.extend(frames.iter().map(|frame| {
                let Reply { sent, arrived, .. } = read_reply(frame).unwrap();
                let held = frame.get(WORD..WORD + 8).map_or(0, |word| u64::from_be_bytes(word.try_into().unwrap()));
                Heard { sent, arrived, seen, held: Nanos(held) }
            }));
            settle(frames);
        })
    }
}

impl Rest for Stalled {
    fn rest(&mut self, until: Nanos) {
        self.queues.rest(until);
    }
    fn pause(&mut self, until: Nanos) {
        self.queues.pause(until);
    }
}

/// A worker at work.
pub(crate) struct Station {
    nic: Nic,
    pub(crate) common: Arc<Common>,
    pub(crate) sampler: DropSampler,
    /// One for each thread that receives.
    pub(crate) stalls: Vec<Arc<Stall>>,
    /// Engines that no loop has.
    pub(crate) spare: Vec<Engine>,
    pub(crate) changes: Vec<Transition>,
    heard: Arc<Mutex<Vec<Heard>>>,
    threads: Vec<JoinHandle<()>>,
}

/// Who does what in a [`Station`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roles {
    /// One thread sends, others receive.
    Apart,
    /// Each thread sends and receives.
    Together,
}

impl Station {
    /// Begins to probe. One thread sends in `Roles::Apart`, and further engines are spare.
    pub(crate) fn start(options: &Options, plan: &Plan, roles: Roles) -> Self {
        assert_eq!((options.key, options.identifier), (KEY, IDENTIFIER));
        let Opened { nic, mut senders, receivers, taken, sampler, .. } = Nic::open(options).unwrap();
        let spare = if roles == Roles::Apart { senders.split_off(1) } else { Vec::new() };
        let loops = if roles == Roles::Apart { 1 + receivers.len() } else { senders.len() };
        let network = Network {
            first_port: options.ports.start,
            key: KEY,
            hops: Arc::clone(&options.hops),
            taken,
            link: Arc::clone(&options.link),
            drops: Arc::new(DropLog::default()),
        };
        let hops = vec![0; plan.targets.len()];
        let wanted = Wanted { changes: true, ..Wanted::default() };
        let mut assembly = Assembly::new(plan, &hops, network, (senders.len(), loops), wanted);
        let common = Arc::clone(assembly.common());
        let heard = Arc::default();
        let stalls: Vec<Arc<Stall>> = receivers.iter().map(|_| Arc::default()).collect();
        let mut receivers: VecDeque<_> = receivers
            .into_iter()
            .zip(&stalls)
            .map(|(queues, stall)| Stalled { queues, stall: Arc::clone(stall), heard: Arc::clone(&heard) })
            .collect();
        let mut threads = Vec::new();
        let start = MonotonicClock.now();
        for (engine, cpu) in senders.into_iter().zip(&options.senders) {
            let queues = if roles == Roles::Together { receivers.pop_front() } else { None };
            threads.push(match queues {
                Some(queues) => spawn(assembly.both(engine, queues, MonotonicClock, start), *cpu),
                None => spawn(assembly.sender(engine, MonotonicClock, start), *cpu),
            });
        }
        threads.extend(receivers.into_iter().map(|queues| spawn(assembly.receiver(queues, MonotonicClock), None)));
        Self { nic, common, sampler, stalls, spare, changes: Vec::new(), heard, threads }
    }

    /// What the control thread does all the time.
    pub(crate) fn tick(&mut self) {
        self.sampler.sample(&self.common.drops).unwrap();
        self.changes.extend(std::iter::from_fn(|| self.common.changes.as_ref().unwrap().pop()));
        std::thread::sleep(Duration::from_millis(20));
    }

    /// Ticks until the condition holds.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(100);
        while !condition(self) {
            assert!(Instant::now() < deadline, "still not so after 100 s: {what}: {:?}", self.rows());
            self.tick();
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        tally::snapshot(&self.common.tallies, MonotonicClock.now())
    }

    /// Each group's row, without its distribution.
    pub(crate) fn rows(&self) -> Vec<SumRow> {
        let plain = |mut row: SumRow| {
            row.rtt = Default::default();
            row.rtt.buckets.clear();
            row
        };
        self.snapshot().sums.into_iter().map(plain).collect()
    }

    pub(crate) fn probes(&self) -> u64 {
        self.rows().iter().map(|row| row.probes).sum()
    }

    /// Frames that were dropped here, as the counter of that name tells.
    pub(crate) fn drops(&self, direction: &str, cause: &str) -> u64 {
        let drops = self.sampler.local_drops();
        drops.iter().find(|drop| (drop.direction, drop.cause) == (direction, cause)).unwrap().frames
    }

    /// Waits until everything has been sent and settled, and ends.
    pub(crate) fn finish(mut self) -> Ended {
        self.until("all is settled", |station| station.threads.iter().all(JoinHandle::is_finished));
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        self.tick();
        self.sampler.sample_all(&self.common.drops).unwrap();
        assert_eq!(self.common.in_flight(), self.common.ledger.unsettled());
        assert_eq!(self.common.in_flight(), 0);
        let drops = self.sampler.local_drops();
        let drops: Vec<_> = drops.into_iter().filter(|drop| drop.frames != 0).collect();
        let drops = drops.iter().map(|drop| (format!("{} {}", drop.direction, drop.cause), drop.frames)).collect();
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        drop(self.nic);
        let snapshot = tally::snapshot(&self.common.tallies, MonotonicClock.now());
        Ended { snapshot, drops, heard, changes: self.changes }
    }

    /// The same, sending no more.
    pub(crate) fn stop(self) -> Ended {
        self.common.ask(Phase::Drain);
        self.finish()
    }
}

fn spawn<T, R>(mut looping: Loop<MonotonicClock, T, R>, cpu: Option<usize>) -> JoinHandle<()>
where
    T: echolot::worker::Transmit + Send + 'static,
    R: Receive + Rest + Send + 'static,
{
    std::thread::spawn(move || {
        thread::prepare(cpu).unwrap();
        looping.run();
    })
}

/// What came of it.
pub(crate) struct Ended {
    pub(crate) snapshot: Snapshot,
    /// Counters that are not zero.
    pub(crate) drops: BTreeMap<String, u64>,
    /// Every frame that came out of a ring.
    pub(crate) heard: Vec<Heard>,
    pub(crate) changes: Vec<Transition>,
}

impl Ended {
    pub(crate) fn sum(&self, of: impl Fn(&SumRow) -> u64) -> u64 {
        self.snapshot.sums.iter().map(of).sum()
    }

    pub(crate) fn outcome(&self, outcome: Outcome) -> u64 {
        self.sum(|row| row.settled[outcome as usize])
    }

    pub(crate) fn unsent(&self, cause: Cause) -> u64 {
        self.snapshot.unsent[cause as usize]
    }

    pub(crate) fn dropped(&self, which: &str) -> u64 {
        self.drops.get(which).copied().unwrap_or(0)
    }

    /// A line for people.
    pub(crate) fn told(&self) -> String {
        let outcomes = Outcome::ALL.map(|outcome| format!("{} {}", self.outcome(outcome), outcome.name())).join(", ");
        let others = [self.sum(|r| r.late), self.sum(|r| r.duplicate), self.sum(|r| r.contradicted)];
        format!("{outcomes}; late, duplicate, contradicted {others:?}; drops {:?}", self.drops)
    }
}

/// The far end's part in a namespace of its own: holds every request to 10.78.0.0/16 for so long, and says so in the reply.
pub(crate) fn hold_replies(delay: Nanos) -> ! {
    let targets = Prefix { address: Ipv4Addr::new(10, 78, 0, 0).into(), length: 16 };
    let mut far = FarEnd::open("far0", &[(targets, Treatment::Userspace)], 200_000).unwrap();
    println!("ready");
    let mut held: VecDeque<(Nanos, Vec<u8>)> = VecDeque::new();
    loop {
        far.receiver.receive(&mut |frames| held.extend(frames.iter().map(|frame| answer(frame))));
        let now = MonotonicClock.now();
        let many = held.iter().take(FrameSender::BATCH).take_while(|(arrival, _)| *arrival + delay <= now).count();
        if many == 0 {
            let next = held.front().map_or(Nanos::MAX, |(arrival, _)| *arrival + delay);
            far.receiver.rest(next.min(now + Nanos::from_millis(20)));
            continue;
        }
        for (arrival, frame) in held.iter_mut().take(many) {
            frame[WORD..WORD + 8].copy_from_slice(&(now - *arrival).0.to_be_bytes());
            let checksum = checksum(frame);
            frame[36..38].copy_from_slice(&checksum);
        }
        let mut left = [false; FrameSender::BATCH];
        far.sender
            .send(held.iter().take(many).map(|(_, frame)| frame.as_slice()).collect::<Vec<_>>().into_iter(), &mut left);
        // What did not leave is tried again.
        let mut left = left.into_iter();
        let again: Vec<_> = held.drain(..many).filter(|_| !left.next().unwrap()).collect();
        again.into_iter().rev().for_each(|frame| held.push_front(frame));
    }
}

/// When a request arrived, and the reply to it.
fn answer(request: &[u8]) -> (Nanos, Vec<u8>) {
    let arrival = Nanos(u64::from_ne_bytes(request[..8].try_into().unwrap()));
    let mut frame = request.to_vec();
    // What of the sender's address the stamp lies on stands in place of the Ethernet type.
    frame[..2].copy_from_slice(&request[12..14]);
    frame[2..6].copy_from_slice(&request[8..12]);
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 8, 0]);
    frame[26..30].copy_from_slice(&request[30..34]);
    frame[30..34].copy_from_slice(&request[26..30]);
    assert_eq!(frame[30..34], NEAR.octets());
    frame[34] = 0;
    (arrival, frame)
}

/// Of the ICMP message in a frame without padding (RFC 1071).
fn checksum(frame: &[u8]) -> [u8; 2] {
    let words = frame[34..].chunks(2).enumerate().filter(|(place, _)| *place != 1);
    let sum: u32 = words.map(|(_, pair)| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}
