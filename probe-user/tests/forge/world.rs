//! A table of targets with tenants, and the real replies and errors that its probes bring.

use echolot::{
    base::{Generation, Nanos, Sequence, TargetIndex},
    ledger::Ledger,
    targets::{self, Exclusions, Group, GroupInput, Options, TargetList},
    wire::{Key, NumberIn, Origin, ProbeFields, Shape, Template},
    worker::Slots,
};
use fastrand::Rng;
use probe_ebpf::wire::{STAMP, ethernet, icmp, ipv4};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

/// Time to live that probes are sent with.
const TTL: u8 = 64;
const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const IDENTIFIER: u16 = 0xec07;
/// Bytes of ICMP payload of probes: without padding, ping's, and some more.
const ORIGIN: Origin =
    Origin { mac: [2; 6], source: IpAddr::V4(SOURCE), identifier: IDENTIFIER, first_port: 61_000, flow_key: 0 };
const PAYLOADS: [u16; 4] = [18, 18, 56, 191];

/// Every slot of the table has a tenant of its own; the look-ups are the ledger's.
pub(crate) struct World {
    pub(crate) key: Key,
    /// That of a process before this one.
    pub(crate) old_key: Key,
    pub(crate) targets: u32,
    ledger: Ledger,
    generations: Vec<Generation>,
    templates: Vec<Template>,
}

impl Slots for World {
    fn address(&self, _: TargetIndex) -> Option<IpAddr> {
        None
    }

    fn expiring_flows(&self) -> u16 {
        0
    }

    fn generation(&self, target: TargetIndex) -> Option<Generation> {
        let first = Slots::generation(&self.ledger, target)?;
        Some(Generation(first.0 ^ self.generations[target.0 as usize].0))
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.ledger.has_address(address)
    }

    fn target_of_flow(&self, address: IpAddr, ports: (u16, u16)) -> Option<TargetIndex> {
        self.ledger.target_of_flow(address, ports)
    }

    fn number_in(&self, port: u16) -> Option<NumberIn> {
        self.ledger.number_in(port)
    }
}

impl World {
    pub(crate) fn new() -> Self {
        // The second group names addresses of the first again: other targets with the same address.
        let group = |name: &str, texts: &[&str]| GroupInput {
            group: Group::named(name),
            labels: BTreeMap::new(),
            lists: vec![TargetList::from_arguments(texts).unwrap()],
        };
        let groups = vec![group("a", &["10.64.0.0/22", "172.16.0.1-9"]), group("b", &["10.64.0.0/24"])];
        let plan = targets::build(groups, &Exclusions::default(), &Options::default()).unwrap();
        let count = plan.targets.len();
        // Half of the slots have their first tenant, as after a start; the others have any.
        let mut rng = Rng::with_seed(7);
        let generations = (0..count).map(|slot| Generation(if slot % 2 == 0 { 0 } else { rng.u16(..) }));
        Self {
            key: Key([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]),
            old_key: Key([0x1716_1514_1312_1110, 0x1f1e_1d1c_1b1a_1918]),
            targets: u32::try_from(count).unwrap(),
            generations: generations.collect(),
            ledger: Ledger::new(&plan, &vec![0; count], 1, false),
            templates: PAYLOADS.map(|bytes| Template::new(Shape::echo(bytes), ORIGIN).unwrap()).into(),
        }
    }

    /// What any of the table's probes may say.
    pub(crate) fn fields(&self, rng: &mut Rng) -> ProbeFields {
        let target = TargetIndex(rng.u32(..self.targets));
        ProbeFields {
            destination: self.ledger.account(target).address().unwrap(),
            target,
            generation: Slots::generation(self, target).unwrap(),
            sequence: Sequence(rng.u16(..)),
            // Up to two weeks after boot.
            sent: Nanos(rng.u64(1_000_000_000..1 << 50)),
            next_hop_mac: [4; 6],
        }
    }

    /// The probe that says so, into `frame`.
    pub(crate) fn probe(&self, fields: &ProbeFields, key: &Key, rng: &mut Rng, frame: &mut Vec<u8>) {
        let template = &self.templates[rng.usize(..self.templates.len())];
        frame.resize(template.length(), 0);
        template.lay(frame);
        template.write(frame, fields, key);
    }
}

/// A received frame, and where its parts begin.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) frame: Vec<u8>,
    pub(crate) ip: usize,
    pub(crate) icmp: usize,
}

impl Received {
    /// Bytes that the IPv4 header promises, from the frame's beginning.
    pub(crate) fn end(&self) -> usize {
        let total = &self.frame[self.ip..][ipv4::TOTAL_LENGTH];
        self.ip + usize::from(u16::from_be_bytes([total[0], total[1]]))
    }

    /// What a host sends back for the probe in `frame` (RFC 1122, section 3.2.2.6): the same with the addresses swapped and the type
    /// changed. Then the frame is made what the network and steer make of it.
    pub(crate) fn echo(&mut self, sent: Nanos, rng: &mut Rng) {
        (self.ip, self.icmp) = (ethernet::HEADER, ethernet::HEADER + ipv4::HEADER);
        let (source, destination) = self.frame[self.ip + ipv4::SOURCE.start..].split_at_mut(4);
        source.swap_with_slice(&mut destination[..4]);
        self.frame[self.icmp + icmp::TYPE] = icmp::ECHO_REPLY;
        self.arrive(sent, rng);
    }

    /// An error from a router that quotes all of the probe in `frame`.
    pub(crate) fn refuse(&mut self, sent: Nanos, rng: &mut Rng) {
        const FRONT: usize = ipv4::HEADER + icmp::HEADER;
        (self.ip, self.icmp) = (ethernet::HEADER, ethernet::HEADER + ipv4::HEADER);
        self.frame.splice(self.ip..self.ip, [0; FRONT]);
        let total = u16::try_from(self.frame.len() - self.ip).unwrap();
        let header = &mut self.frame[self.ip..self.ip + FRONT];
        header[ipv4::VERSION] = 0x45;
        header[ipv4::TOTAL_LENGTH].copy_from_slice(&total.to_be_bytes());
        header[ipv4::PROTOCOL] = ipv4::ICMP;
        header[ipv4::SOURCE].copy_from_slice(&rng.u32(..).to_be_bytes());
        header[ipv4::DESTINATION].copy_from_slice(&SOURCE.octets());
        let kinds =
            [(icmp::UNREACHABLE, 1), (icmp::UNREACHABLE, 13), (icmp::TIME_EXCEEDED, 0), (icmp::PARAMETER_PROBLEM, 0)];
        let (kind, code) = kinds[rng.usize(..kinds.len())];
        header[ipv4::HEADER + icmp::TYPE] = kind;
        header[ipv4::HEADER + icmp::CODE] = code;
        self.frame[self.ip + FRONT + ipv4::TTL] = rng.u8(..TTL);
        self.arrive(sent, rng);
    }

    /// Tags, options, time to live, a trailer, and the stamp.
    fn arrive(&mut self, sent: Nanos, rng: &mut Rng) {
        self.frame[self.ip + ipv4::TTL] = rng.u8(1..);
        if rng.u8(..16) == 0 {
            let bytes = rng.usize(1..=10) * 4;
            let words = u8::try_from(bytes / 4).unwrap();
            self.frame.splice(self.icmp..self.icmp, std::iter::repeat_n(1, bytes));
            self.frame[self.ip + ipv4::VERSION] += words;
            let total = u16::try_from(self.frame.len() - self.ip).unwrap();
            self.frame[self.ip..][ipv4::TOTAL_LENGTH].copy_from_slice(&total.to_be_bytes());
            self.icmp += bytes;
        }
        self.mend();
        let tags = [0, 0, 0, 0, 0, 0, 1, 2][rng.usize(..8)];
        for _ in 0..tags {
            let id = rng.u8(..);
            self.frame.splice(12..12, [0x81, 0, 0, id]);
        }
        (self.ip, self.icmp) = (self.ip + 4 * tags, self.icmp + 4 * tags);
        if rng.u8(..8) == 0 {
            let longer = self.frame.len() + rng.usize(1..20);
            self.frame.resize(longer, 0);
        }
        let arrived = sent + Nanos(rng.u64(..1_000_000_000));
        self.frame[STAMP].copy_from_slice(&arrived.0.to_ne_bytes());
    }

    /// Makes both checksums right, as far as there are whole messages.
    pub(crate) fn mend(&mut self) {
        let end = self.end().min(self.frame.len());
        sum_into(&mut self.frame[self.ip..self.icmp], ipv4::CHECKSUM.start);
        if let Some(message) = self.frame.get_mut(self.icmp..end).filter(|message| message.len() >= icmp::HEADER) {
            sum_into(message, icmp::CHECKSUM.start);
        }
    }
}

/// Writes the Internet checksum of `bytes` into them (RFC 1071).
pub(crate) fn sum_into(bytes: &mut [u8], at: usize) {
    bytes[at..at + 2].fill(0);
    let (pairs, odd) = bytes.as_chunks::<2>();
    let words: u32 = pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    let sum = words + odd.first().map_or(0, |byte| u32::from(*byte) << 8);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    bytes[at..at + 2].copy_from_slice(&(!u16::try_from(folded).unwrap()).to_be_bytes());
}
