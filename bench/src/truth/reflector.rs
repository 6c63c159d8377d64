//! A far end that does what a rule file says, and keeps a record of it.
//!
//! Arrival is stamped by the XDP program `impair`, departure just before the frames are handed to the kernel, both with
//! CLOCK_MONOTONIC. What lies in ranges without harm is answered by the program itself.

use super::recorder::{self, Recorder};
use clap::Args;
use echolot::{
    base::{Family, Nanos},
    nic::{self, MonotonicClock},
    worker::{Clock as _, Receive as _, Rest as _, Taken},
};
use probe_ebpf::wire::{STAMP, ethernet, ipv4, ipv6};
use serde::Deserialize;
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};
use testbed::{
    FarEnd, FrameSender, OpenedFarEnd,
    forms::{self, Said},
    read,
    routers::{Expiry, RouterRules, expiry},
    rules::{Decided, Form, Planned, Request, RuleFile},
    witness::Witnessed,
};

/// The loop comes round at least so often, for the program's own records.
const ROUND: Nanos = Nanos::from_millis(2);
/// With much to do the loop lets frames gather for this long.
const GATHER: Nanos = Nanos::from_micros(50);
/// Frames from which on there is much to do.
const MUCH: usize = 4;

/// `bench truth reflect`.
#[derive(Debug, Args)]
pub struct ReflectArgs {
    /// The interface whose echo requests, SYNs and UDP datagrams are answered
    #[arg(short = 'I', long, value_name = "IFACE")]
    pub interface: String,
    /// What happens to whose probes, in YAML: a rule file, or a scenario with its rules
    #[arg(long, value_name = "FILE")]
    pub rules: PathBuf,
    /// Where the record goes, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub record: PathBuf,
    /// Requests a second to be ready for
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub rate: u64,
    /// The CPU of the loop
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
}

/// As much of a scenario as a far end needs.
#[derive(Deserialize)]
struct WithRules {
    rules: RuleFile,
}

/// Answers until SIGINT or SIGTERM, then completes the record.
pub(super) fn run(args: &ReflectArgs) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", args.rules.display());
    let text = fs::read_to_string(&args.rules).map_err(|e| told(&e))?;
    let rules = match read::yaml::<WithRules>(&text) {
        Ok(WithRules { rules }) => rules.check().map(|()| rules),
        Err(_) => RuleFile::read(&text),
    };
    let rules = rules.map_err(|e| told(&e))?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|e| format!("signals: {e}"))?;
    }
    let (recorder_handle, record) = recorder::begin(&args.record)?;
    let opened = FarEnd::open(&args.interface, &rules.prefixes(), args.rate).map_err(|e| e.to_string())?;
    let taken = Arc::clone(&opened.taken);
    let mut far = Far::new(rules, opened, recorder_handle);
    let (stopped, cpu) = (Arc::clone(&stop), args.cpu);
    let body = move || {
        nic::thread::prepare(cpu).map_err(|e| e.to_string())?;
        while !stopped.load(Relaxed) {
            far.turn();
        }
        far.end()
    };
    let looping = thread::Builder::new().name("far".into()).spawn(body).map_err(|e| format!("no thread: {e}"))?;
    eprintln!("ready: answering on {}", args.interface);
    while !stop.load(Relaxed) && !looping.is_finished() {
        thread::sleep(Duration::from_millis(20));
    }
    looping.join().map_err(|_| "the loop ended in a panic".to_owned())??;
    let requests = record.join().map_err(|_| "the recorder ended in a panic".to_owned())?;
    let requests = requests.map_err(|e| format!("{}: {e}", args.record.display()))?;
    eprintln!("recorded {requests} requests; {} taken and not received", missed(&*taken));
    Ok(())
}

fn missed(taken: &dyn Taken) -> u64 {
    (0..taken.queues()).map(|queue| taken.taken(queue).saturating_sub(taken.consumed(queue))).sum()
}

/// A reply to come.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    at: Nanos,
    /// Keeps replies of the same moment in order.
    serial: u64,
    /// Which request.
    slot: usize,
    form: Form,
    frame: Vec<u8>,
}

/// A request that has replies to come.
struct Open {
    witnessed: Witnessed,
    left: usize,
}

struct Far {
    rules: RuleFile,
    routers: Option<RouterRules>,
    far: OpenedFarEnd,
    recorder_handle: Recorder,
    clock: MonotonicClock,
    first: Option<Nanos>,
    serial: u64,
    pending: BinaryHeap<Reverse<Pending>>,
    open: Vec<Option<Open>>,
    free: Vec<usize>,
}

impl Far {
    fn new(rules: RuleFile, far: OpenedFarEnd, recorder_handle: Recorder) -> Self {
        let clock = MonotonicClock;
        let routers = rules.router_rules();
        let (pending, open, free) = (BinaryHeap::new(), Vec::new(), Vec::new());
        Self { rules, routers, far, recorder_handle, clock, first: None, serial: 0, pending, open, free }
    }

    /// Once round.
    fn turn(&mut self) {
        let received = self.receive();
        self.send();
        self.answered();
        let now = self.clock.now();
        let due = self.pending.peek().map_or(Nanos::MAX, |Reverse(next)| next.at);
        if received < MUCH {
            self.far.receiver.rest(due.min(now + ROUND));
        } else {
            self.far.receiver.pause(due.min(now + GATHER));
        }
    }

    /// Records what the program answered itself, as far as the record has room. Returns how many that were.
    fn answered(&mut self) -> usize {
        let recorder_handle = &self.recorder_handle;
        self.far.end.answered(recorder_handle.room(), &mut |request| {
            // IPv4 addresses are mapped there.
            let address = Ipv6Addr::from(request.address).to_canonical();
            let (sent, arrival) = (Nanos(request.sent_ns), Nanos(request.arrival_ns));
            let mut witnessed = Witnessed::new(address, request.sequence, request.identifier, sent, arrival);
            (witnessed.port, witnessed.udp) = (request.port, request.is_udp());
            witnessed.decided = Decided::IN_XDP;
            witnessed.departed(Form::Good, Some(Nanos(request.departure_ns)));
            recorder_handle.write(witnessed);
        })
    }

    fn receive(&mut self) -> usize {
        let mut requests: Vec<Vec<u8>> = Vec::new();
        let count = self.far.receiver.receive(&mut |frames| requests.extend(frames.iter().map(|frame| frame.to_vec())));
        for frame in requests {
            self.request(frame);
        }
        count
    }

    fn request(&mut self, mut frame: Vec<u8>) {
        let at = ethernet::HEADER;
        let arrival = Nanos(u64::from_ne_bytes(bytes(&frame, STAMP.start)));
        let Some(((family, _), said)) = forms::message_at(&frame).zip(forms::said(&frame, arrival)) else {
            // The program lets none of these through.
            return self.recorder_handle.lose(1);
        };
        // As it was on the wire: the program moved what of the sender's address the stamp overwrites.
        frame.copy_within(ethernet::ETHERTYPE, ethernet::SOURCE.start);
        let (ethertype, address): (_, IpAddr) = match family {
            Family::V4 => (ethernet::IPV4, Ipv4Addr::from(bytes::<4>(&frame, at + ipv4::DESTINATION.start)).into()),
            Family::V6 => (ethernet::IPV6, Ipv6Addr::from(bytes::<16>(&frame, at + ipv6::DESTINATION.start)).into()),
        };
        frame[ethernet::ETHERTYPE].copy_from_slice(&ethertype.to_be_bytes());
        frame[ethernet::DESTINATION].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        let Said { sequence, identifier, port, udp, sent } = said;
        // A UDP datagram does not say it.
        let sent = sent.unwrap_or(arrival);
        let first = *self.first.get_or_insert(arrival);
        // Of a SYN these are the bits that say which number it has; a UDP datagram may have but its source port to say it.
        let low = if udp && sequence == 0 { identifier } else { (sequence & 0xffff) as u16 };
        let decision = self.rules.decide(&Request { address, sequence: low, sent, since: arrival - first });
        let mut witnessed = Witnessed::new(address, sequence, identifier, sent, arrival);
        (witnessed.port, witnessed.udp, witnessed.decided) = (port, udp, decision.decided);
        let expiry = self.routers.map(|routers| expiry(&routers, address, &frame));
        witnessed.expiry = expiry.zip(forms::ttl(&frame));
        if decision.replies().is_empty() || expiry == Some(Expiry::Nowhere) {
            return self.recorder_handle.write(witnessed);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() - 1
        });
        self.open[slot] = Some(Open { witnessed, left: decision.replies().len() });
        for Planned { after, form, twist } in decision.replies() {
            let mut reply = Vec::with_capacity(frame.len() + 64);
            match expiry {
                Some(Expiry::At(router, ttl)) => {
                    forms::expired(&frame, *form, *twist, (router, ttl), &mut reply);
                }
                Some(Expiry::Arrives(ttl)) => {
                    forms::reply(&frame, *form, *twist, self.rules.router_to(address), &mut reply);
                    forms::arrive_with(&mut reply, ttl);
                }
                _ => {
                    forms::reply(&frame, *form, *twist, self.rules.router_to(address), &mut reply);
                }
            }
            self.serial += 1;
            self.pending.push(Reverse(Pending {
                at: arrival + *after,
                serial: self.serial,
                slot,
                form: *form,
                frame: reply,
            }));
        }
    }

    /// Sends what is due.
    fn send(&mut self) {
        loop {
            let now = self.clock.now();
            let mut due: Vec<Pending> = Vec::new();
            while due.len() < FrameSender::BATCH
                && self.pending.peek().is_some_and(|Reverse(next)| next.at <= now)
                && let Some(Reverse(next)) = self.pending.pop()
            {
                due.push(next);
            }
            if due.is_empty() {
                return;
            }
            let mut left = [false; FrameSender::BATCH];
            let departure = self.far.sender.send(due.iter().map(|reply| &reply.frame[..]), &mut left);
            for (reply, left) in due.iter().zip(left) {
                self.departed(reply, left.then_some(departure));
            }
        }
    }

    fn departed(&mut self, reply: &Pending, departure: Option<Nanos>) {
        let Some(open) = &mut self.open[reply.slot] else { return };
        open.witnessed.departed(reply.form, departure);
        open.left -= 1;
        if open.left == 0 {
            self.recorder_handle.write(open.witnessed);
            self.open[reply.slot] = None;
            self.free.push(reply.slot);
        }
    }

    /// What is left will not be sent; the record says so.
    fn end(mut self) -> Result<(), String> {
        self.receive();
        while self.answered() > 0 || self.recorder_handle.room() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        while let Some(Reverse(reply)) = self.pending.pop() {
            self.departed(&reply, None);
        }
        self.recorder_handle.lose(self.far.end.unrecorded().map_err(|e| e.to_string())?);
        Ok(())
    }
}

/// `N` bytes of a frame that is known to be long enough.
fn bytes<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| frame[at + i])
}
