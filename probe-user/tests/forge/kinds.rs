//! Forgeries by kind of probe and by what proves it, as whole frames, over both families. A forged answer or error is a right
//! one about a probe that was never sent: everything about it is as it should be, but its proof. So it is refused as *cookie*
//! and for no other reason, or taken as often as the bits of proof say.
//!
//! Not among them: what proves nothing (answers to UDP probes without a question, and errors about these over IPv6, see
//! `worker::proof`).

use super::{
    fields::{address, body, mend_message, put_address, put_length},
    world::sum_into,
};
use echolot::{
    base::{Family, Generation, Nanos, Sequence, TargetIndex},
    ledger::Ledger,
    targets::{self, Exclusions, Group, GroupInput, Options, TargetList},
    wire::{Key, Kind, Origin, ProbeFields, RejectedReason, Shape, Template},
    worker::{Proven, Slots, prove},
};
use fastrand::Rng;
use probe_ebpf::wire::{STAMP, dns, ethernet, icmp, icmpv6, ipv4, ipv6, payload, tcp, udp};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

/// Forgeries of one seed.
const LOT: u64 = 50_000;
/// One true answer or error for so many forgeries.
const CONTROL: u64 = 50;
const KEY: Key = Key([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
const OLD_KEY: Key = Key([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211]);
const SOURCES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
const ROUTERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 9))];
const FIRST_PORT: u16 = 61_000;
/// Flows of each group whose answers have proof.
const FLOWS: u16 = 4;

/// What proves an answer or an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Proof {
    /// The cookie of an echo, all of it.
    CookieV4,
    CookieV6,
    /// 24 keyed bits of a SYN's sequence number.
    Sequence,
    /// 8 keyed bits of a DNS question's identifier. Of an error over IPv4 those of the identification will do as well.
    Question,
    /// The identification of an echo over IPv4, quoted in an error of 28 bytes: 16 keyed bits.
    EchoIdentification,
    /// That of a UDP probe: 8 keyed bits.
    UdpIdentification,
}

impl Proof {
    /// How many bits of it are keyed; None: so many that chance is out of the question.
    const fn bits(self) -> Option<i32> {
        match self {
            Self::CookieV4 | Self::CookieV6 => None,
            Self::Sequence => Some(24),
            Self::EchoIdentification => Some(16),
            Self::Question | Self::UdpIdentification => Some(8),
        }
    }

    /// What brings it back.
    const fn bearers(self) -> &'static [Bearer] {
        match self {
            Self::CookieV4 | Self::CookieV6 | Self::Question => &[Bearer::Answer, Bearer::Quote],
            Self::Sequence => &[Bearer::Answer, Bearer::Reset, Bearer::Quote],
            Self::EchoIdentification => &[Bearer::ShortQuote],
            Self::UdpIdentification => &[Bearer::ShortQuote, Bearer::Quote],
        }
    }

    const fn families(self) -> &'static [Family] {
        match self {
            Self::CookieV4 | Self::EchoIdentification | Self::UdpIdentification => &[Family::V4],
            Self::CookieV6 => &[Family::V6],
            Self::Sequence | Self::Question => &[Family::V4, Family::V6],
        }
    }

    const fn forgeries(self) -> &'static [Forgery] {
        use Forgery::{Bit, Guess, Number, OldKey, Port, SendTime, Slot, Target};
        match self {
            Self::CookieV4 | Self::CookieV6 => &[Guess, Bit, Number, Target, OldKey, SendTime, Slot],
            Self::EchoIdentification => &[Guess, Bit, Number, Target, OldKey],
            Self::Sequence | Self::Question | Self::UdpIdentification => &[Guess, Bit, Number, Target, OldKey, Port],
        }
    }

    /// The groups (as [`World`] has them) whose probes it proves.
    const fn groups(self, bearer: Bearer) -> &'static [usize] {
        match (self, bearer) {
            (Self::CookieV4 | Self::CookieV6 | Self::EchoIdentification, _) => &[0],
            (Self::Sequence, _) => &[1],
            (Self::Question, _) => &[2],
            (Self::UdpIdentification, Bearer::ShortQuote) => &[2, 3],
            // All of a question quotes its identifier too.
            (Self::UdpIdentification, _) => &[3],
        }
    }

    const fn is_of_echo(self) -> bool {
        matches!(self, Self::CookieV4 | Self::CookieV6 | Self::EchoIdentification)
    }
}

/// What an answer or an error is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bearer {
    /// An echo reply, a SYN-ACK or a bare ACK, a DNS response.
    Answer,
    /// A RST with ACK: it may acknowledge the SYN, or nothing of it.
    Reset,
    /// An ICMP error that quotes all of the probe.
    Quote,
    /// One that quotes 8 bytes behind the IP header.
    ShortQuote,
}

/// What is wrong with the probe that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Forgery {
    /// Any other proof.
    Guess,
    /// One bit of it is another.
    Bit,
    /// Another number: of an echo its sequence number, else the masked number in the proof.
    Number,
    /// It went to another target.
    Target,
    /// A process before this one sent it.
    OldKey,
    /// It came from another port of the same group.
    Port,
    /// It was sent at another time.
    SendTime,
    /// It says that it is another target's.
    Slot,
}

/// A group of targets by family, templates for each flow, bytes of frames without padding, and the first port that they come
/// from.
struct Probes {
    targets: [Vec<TargetIndex>; 2],
    templates: [Vec<Template>; 2],
    lengths: [usize; 2],
    first_port: u16,
}

struct World {
    ledger: Ledger,
    /// Echo, TCP, DNS, UDP without a question.
    groups: Vec<Probes>,
}

impl World {
    fn new() -> Self {
        let group = |kind: &str, flows| {
            let kind: Kind = kind.parse().unwrap();
            let list = TargetList::from_arguments(&["10.64.0.0/22", "fd00:64::/118"]).unwrap();
            let group = Group { shape: Shape::of(kind), flows, ..Group::named(kind.to_string()) };
            GroupInput { group, labels: BTreeMap::new(), lists: vec![list] }
        };
        let groups = vec![group("icmp", 1), group("tcp:443", FLOWS), group("udp:53", FLOWS), group("udp:9", 1)];
        let plan = targets::build(groups, &Exclusions::default(), &Options::default()).unwrap();
        let ledger = Ledger::new(&plan, &vec![0; plan.targets.len()], 1, true).sending_from(FIRST_PORT);
        let probes = |group: &Group| {
            let both = [Family::V4, Family::V6];
            let template = |family, flow| {
                let origin = Origin {
                    mac: [2; 6],
                    source: SOURCES[family as usize],
                    identifier: 0xec07,
                    first_port: FIRST_PORT,
                    flow_key: KEY.flow_key(),
                };
                Template::new(Shape { flow: group.shape.flow + flow, ..group.shape.over(family) }, origin).unwrap()
            };
            let of = |family| {
                let targets = group.targets.clone().map(TargetIndex);
                targets.filter(|target| plan.family_of(*target) == Some(family)).collect()
            };
            Probes {
                targets: both.map(of),
                templates: both.map(|family| (0..group.flow_count()).map(|flow| template(family, flow)).collect()),
                lengths: both.map(|family| ethernet::HEADER + group.shape.over(family).datagram() as usize),
                first_port: FIRST_PORT + group.shape.flow,
            }
        };
        Self { groups: plan.groups.iter().map(probes).collect(), ledger }
    }
}

/// How many were made, how many of them were taken, and how many would be by chance.
#[derive(Clone, Copy, Default)]
struct Count {
    made: u64,
    taken: u64,
    expected: f64,
}

#[derive(Default)]
struct Sums {
    of: BTreeMap<(String, String), Count>,
    controls: u64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        for (what, count) in other.of {
            let sum = self.of.entry(what).or_default();
            (sum.made, sum.taken) = (sum.made + count.made, sum.taken + count.taken);
            sum.expected += count.expected;
        }
        self.controls += other.controls;
    }

    fn all(&self) -> Count {
        self.of.values().fold(Count::default(), |sum, count| Count {
            made: sum.made + count.made,
            taken: sum.taken + count.taken,
            expected: sum.expected + count.expected,
        })
    }
}

/// Makes frames, one after the other, in the same buffers.
struct Forger<'a> {
    world: &'a World,
    rng: Rng,
    /// The probe as it would have been sent, without what Ethernet pads it with.
    probe: Vec<u8>,
    /// The same before anything was done to it.
    real: Vec<u8>,
    /// What comes of it.
    frame: Vec<u8>,
}

/// Whose probe is answered, its number and send time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Said {
    target: TargetIndex,
    number: u16,
    sent: Nanos,
}

impl Forger<'_> {
    /// Writes a probe of ours.
    fn send(&mut self, group: &Probes, family: Family, key: &Key) -> Said {
        let rng = &mut self.rng;
        let target = *rng.choice(&group.targets[family as usize]).unwrap();
        let template = rng.choice(&group.templates[family as usize]).unwrap();
        let fields = ProbeFields {
            destination: self.world.ledger.account(target).address().unwrap(),
            target,
            generation: Slots::generation(&self.world.ledger, target).unwrap_or(Generation(0)),
            sequence: Sequence(rng.u16(..)),
            // Up to two weeks after boot.
            sent: Nanos(rng.u64(1_000_000_000..1 << 50)),
            next_hop_mac: [4; 6],
        };
        self.probe.resize(template.length(), 0);
        template.lay(&mut self.probe);
        template.write(&mut self.probe, &fields, key);
        self.probe.truncate(group.lengths[family as usize]);
        Said { target, number: fields.sequence.0, sent: fields.sent }
    }

    /// Where in the probe its proof is. More than one: any of them would do.
    fn proofs(proof: Proof, bearer: Bearer, family: Family) -> Vec<Range<usize>> {
        let body = body(family);
        let of = |header: usize, field: Range<usize>| body + header + field.start..body + header + field.end;
        let identification = ethernet::HEADER + ipv4::IDENTIFICATION.start..ethernet::HEADER + ipv4::IDENTIFICATION.end;
        match proof {
            Proof::CookieV4 | Proof::CookieV6 => vec![of(icmp::HEADER, payload::COOKIE)],
            Proof::Sequence => vec![of(0, tcp::SEQUENCE)],
            Proof::Question if bearer == Bearer::Quote && family == Family::V4 => {
                vec![of(udp::HEADER, dns::ID), identification]
            }
            Proof::Question => vec![of(udp::HEADER, dns::ID)],
            Proof::EchoIdentification | Proof::UdpIdentification => vec![identification],
        }
    }

    /// Makes one; None: it happens to be true.
    fn forge(&mut self, proof: Proof, bearer: Bearer, forgery: Forgery, family: Family) -> Option<f64> {
        let world = self.world;
        let group = &world.groups[*self.rng.choice(proof.groups(bearer)).unwrap()];
        let said = self.send(group, family, if forgery == Forgery::OldKey { &OLD_KEY } else { &KEY });
        let proofs = Self::proofs(proof, bearer, family);
        self.real.clone_from(&self.probe);
        let body = body(family);
        let rng = &mut self.rng;
        match forgery {
            Forgery::Guess => proofs.iter().for_each(|field| rng.fill(&mut self.probe[field.clone()])),
            Forgery::Bit => proofs.iter().for_each(|field| {
                let byte = rng.usize(field.clone());
                self.probe[byte] ^= 1 << rng.u8(..8);
            }),
            Forgery::Number if proof.is_of_echo() => {
                rng.fill(&mut self.probe[body + icmp::SEQUENCE.start..body + icmp::SEQUENCE.end]);
            }
            Forgery::Number => {
                let other = rng.u8(1..);
                proofs.iter().for_each(|field| self.probe[field.end - 1] ^= other);
            }
            Forgery::Target => {
                let other = *rng.choice(&group.targets[family as usize]).unwrap();
                put_address(&mut self.probe, true, world.ledger.account(other).address().unwrap());
            }
            Forgery::Port => {
                // Those of a group follow one another.
                let flows = u16::try_from(group.templates[family as usize].len()).unwrap();
                let other = group.first_port + rng.u16(..flows);
                self.probe[body..body + 2].copy_from_slice(&other.to_be_bytes());
            }
            Forgery::SendTime => {
                let byte = body + icmp::HEADER + rng.usize(payload::SENT);
                self.probe[byte] ^= 1 << rng.u8(..8);
            }
            Forgery::Slot => {
                let other = rng.u32(..u32::try_from(world.ledger.len()).unwrap());
                let at = body + icmp::HEADER;
                self.probe[at + payload::TARGET.start..at + payload::TARGET.end].copy_from_slice(&other.to_be_bytes());
            }
            Forgery::OldKey => {}
        }
        // A guess that is right is one all the same, and the old key's proof may happen to be the new one's.
        let may_be_right = matches!(forgery, Forgery::Guess | Forgery::OldKey);
        if !may_be_right && self.probe == self.real {
            return None;
        }
        self.arrive(proof, bearer, family, said.sent);
        if bearer == Bearer::Reset && !may_be_right {
            // It may say of the true SYN what a RST may say.
            let of = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
            let sequence = of(&self.real[body + tcp::SEQUENCE.start..body + tcp::SEQUENCE.end]);
            let acknowledged = of(&self.frame[body + tcp::ACKNOWLEDGMENT.start..body + tcp::ACKNOWLEDGMENT.end]);
            let same_flow = self.real[..body + tcp::SEQUENCE.start] == self.probe[..body + tcp::SEQUENCE.start];
            if same_flow && acknowledged.wrapping_sub(sequence) < 2 {
                return None;
            }
        }
        let chances = if bearer == Bearer::Reset { 2 } else { proofs.len() };
        Some(proof.bits().map_or(0.0, |bits| chances as f64 * 0.5_f64.powi(bits)))
    }

    /// A true one.
    fn truth(&mut self, proof: Proof, bearer: Bearer, family: Family) -> Said {
        let world = self.world;
        let group = &world.groups[*self.rng.choice(proof.groups(bearer)).unwrap()];
        let said = self.send(group, family, &KEY);
        self.arrive(proof, bearer, family, said.sent);
        said
    }

    /// What comes back for the probe, and when.
    fn arrive(&mut self, proof: Proof, bearer: Bearer, family: Family, sent: Nanos) {
        let (probe, frame, rng) = (&self.probe, &mut self.frame, &mut self.rng);
        let body = body(family);
        let swap = |frame: &mut Vec<u8>| {
            let (source, destination) = (address(probe, false), address(probe, true));
            put_address(frame, false, destination);
            put_address(frame, true, source);
        };
        frame.clear();
        match bearer {
            Bearer::Answer | Bearer::Reset => {
                frame.extend_from_slice(probe);
                swap(frame);
                let ports = body..body + 4;
                match proof {
                    Proof::Sequence => {
                        frame[ports].rotate_left(2);
                        let flags = match (bearer, rng.bool()) {
                            (Bearer::Reset, _) => tcp::RST | tcp::ACK,
                            (_, true) => tcp::SYN | tcp::ACK,
                            (_, false) => tcp::ACK,
                        };
                        frame[body + tcp::FLAGS] = flags;
                        let sequence = body + tcp::SEQUENCE.start..body + tcp::SEQUENCE.end;
                        let of = u32::from_be_bytes(probe[sequence.clone()].try_into().unwrap());
                        let beyond = if bearer == Bearer::Reset { rng.u32(..2) } else { 1 };
                        let acknowledged = of.wrapping_add(beyond);
                        frame[body + tcp::ACKNOWLEDGMENT.start..][..4].copy_from_slice(&acknowledged.to_be_bytes());
                        rng.fill(&mut frame[sequence]);
                    }
                    Proof::Question => {
                        frame[ports].rotate_left(2);
                        frame[body + udp::HEADER + dns::FLAGS] |= dns::RESPONSE;
                    }
                    _ if family == Family::V4 => frame[body + icmp::TYPE] = icmp::ECHO_REPLY,
                    _ => frame[body + icmp::TYPE] = icmpv6::ECHO_REPLY,
                }
            }
            Bearer::Quote | Bearer::ShortQuote => {
                let quoted = if bearer == Bearer::ShortQuote { body + 8 } else { probe.len() };
                // The header of an error is that of the probe, but for what is another.
                frame.extend_from_slice(&probe[..body]);
                frame.resize(body + icmp::HEADER, 0);
                frame.extend_from_slice(&probe[ethernet::HEADER..quoted]);
                put_address(frame, true, address(probe, false));
                put_address(frame, false, ROUTERS[family as usize]);
                let length = frame.len() - ethernet::HEADER;
                match family {
                    Family::V4 => {
                        put_length(frame, ipv4::TOTAL_LENGTH, length);
                        frame[ethernet::HEADER + ipv4::PROTOCOL] = ipv4::ICMP;
                        frame[body + icmp::TYPE] = icmp::UNREACHABLE;
                    }
                    Family::V6 => {
                        put_length(frame, ipv6::PAYLOAD_LENGTH, length - ipv6::HEADER);
                        frame[ethernet::HEADER + ipv6::NEXT_HEADER] = ipv6::ICMP;
                        frame[body + icmp::TYPE] = icmpv6::UNREACHABLE;
                    }
                }
                frame[body + icmp::CODE] = 1;
            }
        }
        let is_icmp = proof.is_of_echo() || matches!(bearer, Bearer::Quote | Bearer::ShortQuote);
        if family == Family::V4 {
            sum_into(&mut frame[ethernet::HEADER..body], ipv4::CHECKSUM.start);
        }
        if is_icmp {
            mend_message(frame, family, body);
        }
        let arrived = sent + Nanos(rng.u64(..1_000_000_000));
        frame[STAMP].copy_from_slice(&arrived.0.to_ne_bytes());
    }
}

/// A true answer or error is taken for what it is.
#[track_caller]
fn is_taken(forger: &Forger<'_>, proof: Proof, bearer: Bearer, said: Said) {
    let frame = &forger.frame;
    let what = || format!("{proof:?}, {bearer:?}: {frame:02x?}");
    match prove(frame, &KEY, &forger.world.ledger) {
        Ok(Proven::Answer(reply, _)) => {
            assert_eq!(
                (reply.target, reply.sequence.0, reply.sent),
                (said.target, said.number, said.sent),
                "{}",
                what()
            );
        }
        Ok(Proven::Refused(refusal, quoted, _)) => {
            assert_eq!(
                (quoted.target, refusal.sequence.0, quoted.sent),
                (said.target, said.number, said.sent),
                "{}",
                what()
            );
        }
        Ok(Proven::ShortQuote(refusal)) => {
            assert_eq!(refusal.sequence.0, said.number, "{}", what());
            assert!(
                forger.world.ledger.targets_at(refusal.destination).any(|target| target == said.target),
                "{}",
                what()
            );
        }
        Ok(Proven::Port(port)) => {
            assert_eq!((port.target, port.number), (said.target, (said.number as u8, 0xff)), "{}", what());
        }
        Err(reason) => panic!("refused as {}: {}", reason.name(), what()),
    }
}

fn lot(world: &World, proof: Proof, seed: u64) -> Sums {
    let mut forger = Forger { world, rng: Rng::with_seed(seed), probe: vec![], real: vec![], frame: vec![] };
    let mut sums = Sums::default();
    let all: Vec<_> = proof
        .bearers()
        .iter()
        .flat_map(|bearer| proof.forgeries().iter().map(move |forgery| (*bearer, *forgery)))
        .collect();
    let mut counts = vec![Count::default(); all.len()];
    let mut made = 0;
    while made < LOT {
        let which = forger.rng.usize(..all.len());
        let (bearer, forgery) = all[which];
        let family = *forger.rng.choice(proof.families()).unwrap();
        let Some(chance) = forger.forge(proof, bearer, forgery, family) else { continue };
        let count = &mut counts[which];
        made += 1;
        count.made += 1;
        count.expected += chance;
        match prove(&forger.frame, &KEY, &world.ledger) {
            Ok(_) => count.taken += 1,
            // All else about it is right.
            Err(reason) => {
                assert_eq!(reason, RejectedReason::Cookie, "{proof:?}, {bearer:?}, {forgery:?}: {:02x?}", forger.frame)
            }
        }
        if made % CONTROL == 0 {
            let said = forger.truth(proof, bearer, family);
            is_taken(&forger, proof, bearer, said);
            sums.controls += 1;
        }
    }
    for ((bearer, forgery), count) in all.into_iter().zip(counts) {
        sums.of.insert((format!("{bearer:?}"), format!("{forgery:?}")), count);
    }
    sums
}

fn campaign(world: &World, proof: Proof, many: u64) -> Sums {
    let (next, all) = (AtomicU64::new(0), Mutex::new(Sums::default()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let seed = super::seed() ^ (proof as u64) << 56;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Relaxed)).filter(|number| number * LOT < many) {
                    let sums = lot(world, proof, seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
                    all.lock().unwrap().add(sums);
                }
            });
        }
    });
    all.into_inner().unwrap()
}

/// At most so many may be taken: twice as many as by chance, where those are enough that chance itself makes no more of them.
fn most(expected: f64) -> f64 {
    if expected < 8.0 { expected + 6.0 * expected.sqrt() } else { 2.0 * expected }
}

/// Throws forgeries of a kind, 200,000 or in the long form 100 million.
fn throw(proof: Proof) {
    let many = if std::env::var_os("ECHOLOT_LONG").is_some() { 100_000_000 } else { 200_000 };
    println!("seed {}", super::seed());
    let begun = Instant::now();
    let sums = campaign(&World::new(), proof, many);
    for ((bearer, forgery), Count { made, taken, expected }) in &sums.of {
        println!("{bearer:<11}{forgery:<9}{made:>12}{taken:>9} taken, at most {expected:.2} by chance");
    }
    let (all, seconds) = (sums.all(), begun.elapsed().as_secs_f64());
    let Count { made, taken, expected } = all;
    println!(
        "{proof:?}: {made} judged, {taken} taken, at most {expected:.2} by chance; all {} true ones; {seconds:.1} s",
        sums.controls
    );
    assert_eq!((all.made, sums.controls), (many, many / CONTROL), "{proof:?}");
    assert!(all.taken as f64 <= most(all.expected), "{proof:?}: {} taken, {:.2} by chance", all.taken, all.expected);
    for ((bearer, forgery), Count { made, taken, expected }) in &sums.of {
        let what = format!("{proof:?}, {bearer}, {forgery}: {taken} of {made} taken, {expected:.2} by chance");
        assert!(*made > many / 64, "{what}");
        assert!(*taken as f64 <= most(*expected), "{what}");
        // Or the forgery would be none, and what it shows nothing.
        assert!(forgery != "Guess" || *expected < 100.0 || *taken as f64 >= expected / 2.0, "{what}");
    }
}

#[test]
fn a_forged_cookie_is_never_taken() {
    throw(Proof::CookieV4);
}

#[test]
fn nor_is_one_over_ipv6() {
    throw(Proof::CookieV6);
}

#[test]
fn forged_answers_to_syns_are_taken_no_more_often_than_24_bits_say() {
    throw(Proof::Sequence);
}

#[test]
fn forged_dns_answers_are_taken_no_more_often_than_8_bits_say() {
    throw(Proof::Question);
}

#[test]
fn forged_quotes_of_28_bytes_of_an_echo_are_taken_no_more_often_than_16_bits_say() {
    throw(Proof::EchoIdentification);
}

#[test]
fn forged_quotes_of_datagrams_are_taken_no_more_often_than_8_bits_say() {
    throw(Proof::UdpIdentification);
}
