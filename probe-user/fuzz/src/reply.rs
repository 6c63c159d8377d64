//! Replies and ICMP errors, as steer hands them over.
//!
//! The first byte of an input says what is done to the rest, the frame: with bit 0 the cookie (and the quoted identification) is made
//! right for what the frame says, with bit 1 the checksum is. Nothing gets past the cookie otherwise, and what lies behind it would
//! never be tried.

use echolot::{
    base::{Family, Generation, MplsStack, Nanos, Sequence, TargetIndex},
    wire::{Heard, Key, Kind, NumberIn, Origin, ProbeFields, RejectedReason, Reply, Shape, Template, read_frame},
    worker::{Proven, Slots, prove},
};
use etherparse::{Icmpv4Type, Icmpv6Type, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use probe_ebpf::{
    cookie,
    wire::{ethernet, extension, icmp, icmpv6, ipv4, ipv6, payload, tcp},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

const KEY: Key = Key([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
const SIGN: u8 = 1;
const MEND: u8 = 2;

/// A thousand slots; their tenants are counted through. Addresses are all of 10.0.0.0/8.
struct Table;

impl Slots for Table {
    fn address(&self, _: TargetIndex) -> Option<IpAddr> {
        None
    }

    fn expiring_flows(&self) -> u16 {
        0
    }

    fn generation(&self, target: TargetIndex) -> Option<Generation> {
        u16::try_from(target.0).ok().filter(|slot| *slot < 1_000).map(|slot| Generation(slot % 7))
    }

    fn has_address(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if address.octets()[0] == 10)
    }

    /// A thousand ports, a target each, whatever its address.
    fn target_of_flow(&self, _: IpAddr, (ours, _): (u16, u16)) -> Option<TargetIndex> {
        (ours < 1_000).then_some(TargetIndex(ours.into()))
    }

    /// The first 900 send SYNs, the next 64 what brings no proof back, the rest questions.
    fn number_in(&self, port: u16) -> Option<NumberIn> {
        match port {
            0..900 => Some(NumberIn::Sequence),
            900..964 => Some(NumberIn::Port { first: 900, count: 64 }),
            964..1_000 => Some(NumberIn::Word),
            _ => None,
        }
    }
}

pub(crate) fn check(data: &[u8]) {
    let Some((flags, frame)) = data.split_first() else { return };
    let mut frame = frame.to_vec();
    let signed = flags & SIGN != 0 && sign(&mut frame).is_some();
    if flags & MEND != 0 {
        mend(&mut frame);
    }
    let read = read_frame(&frame);
    match read {
        Ok(Heard::Reply(reply)) => check_against_etherparse(&frame, &reply),
        Ok(Heard::Refusal(refusal)) => check_labels(&frame, refusal.mpls),
        Ok(Heard::Port(report)) => report.quote.iter().for_each(|quote| check_labels(&frame, quote.mpls)),
        Err(_) => {}
    }
    let judged = prove(&frame, &KEY, &Table);
    match (judged, read) {
        (Ok(Proven::Answer(proven, _)), Ok(Heard::Reply(reply))) => {
            assert_eq!(proven, reply);
            assert!(reply.sent <= reply.arrived);
            check_proof(reply.source, reply.target, reply.sequence, reply.sent, reply.cookie);
        }
        (Ok(Proven::Refused(proven, quoted, _)), Ok(Heard::Refusal(refusal))) => {
            assert_eq!((proven, Some(quoted)), (refusal, refusal.quoted));
            assert!(quoted.sent <= refusal.arrived);
            check_proof(refusal.destination, quoted.target, refusal.sequence, quoted.sent, quoted.cookie);
        }
        (Ok(Proven::ShortQuote(proven)), Ok(Heard::Refusal(refusal))) => {
            assert_eq!(proven, refusal);
            assert!(refusal.quoted.is_none() && Table.has_address(refusal.destination));
        }
        (Ok(Proven::Port(said)), Ok(Heard::Port(report))) => {
            let told = Table.number_in(report.ports.0).expect("a port of ours");
            assert_eq!((said.report, Some(said.number)), (report, report.number(&KEY, told)));
            assert_eq!(Table.target_of_flow(report.destination, report.ports), Some(said.target));
        }
        (Ok(proven), read) => panic!("{proven:?} of {read:?}"),
        (Err(reason), Err(why)) => assert_eq!(reason, why, "the parser's reason stands"),
        (Err(reason), Ok(Heard::Reply(reply))) => match reason {
            RejectedReason::Target => assert_eq!(Table.generation(reply.target), None),
            RejectedReason::Age => assert!(reply.arrived < reply.sent),
            RejectedReason::Cookie => assert!(!signed, "{reply:?} has the right cookie"),
            RejectedReason::Truncated
            | RejectedReason::Corrupt
            | RejectedReason::ResetWithoutAck
            | RejectedReason::Fragment => panic!("{reason:?} of {reply:?}"),
        },
        (Err(reason), Ok(Heard::Port(report))) => match (reason, Table.number_in(report.ports.0)) {
            (RejectedReason::Target, None) => {}
            (RejectedReason::Cookie, Some(told)) => assert_eq!(report.number(&KEY, told), None),
            _ => panic!("{reason:?} of {report:?}"),
        },
        (Err(reason), Ok(Heard::Refusal(refusal))) => {
            let age = refusal.quoted.is_some_and(|quoted| refusal.arrived < quoted.sent);
            match reason {
                RejectedReason::Target => match refusal.quoted {
                    Some(quoted) => assert_eq!(Table.generation(quoted.target), None),
                    None => assert!(!Table.has_address(refusal.destination)),
                },
                RejectedReason::Age => assert!(age),
                RejectedReason::Cookie => assert!(!signed, "{refusal:?} is signed"),
                RejectedReason::Truncated
                | RejectedReason::Corrupt
                | RejectedReason::ResetWithoutAck
                | RejectedReason::Fragment => panic!("{reason:?} of {refusal:?}"),
            }
        }
    }
}

/// What is shown of labels stands in the message, behind the shortest quote that extensions follow and their headers, all of it that is
/// counted.
fn check_labels(frame: &[u8], stack: MplsStack) {
    assert_eq!(stack.iter().len(), stack.count().min(MplsStack::KEPT));
    assert_eq!(stack.is_empty(), stack.count() == 0);
    if stack.is_empty() {
        return;
    }
    let message = Found::outer(frame).expect("it was read").message;
    let heads = extension::HEADER + extension::OBJECT;
    let extensions = &frame[message][icmp::HEADER + extension::SHORTEST_QUOTE + heads..];
    assert!(extensions.len() >= stack.count() * extension::LABEL, "{stack:?} in {} bytes", extensions.len());
    for entry in stack.iter() {
        assert!(entry.label < 1 << 20 && entry.exp < 1 << 3, "{entry:?}");
        let is_it = |bytes: &[u8]| {
            let word = u32::from_be_bytes(bytes.try_into().expect("4 bytes"));
            (word >> 12, word >> 9 & 7, word & 0xff) == (entry.label, entry.exp.into(), entry.ttl.into())
        };
        assert!(extensions.windows(extension::LABEL).any(is_it), "{entry:?} stands nowhere");
    }
}

/// What is taken is what we would have sent.
fn check_proof(destination: IpAddr, target: TargetIndex, sequence: Sequence, sent: Nanos, cookie: [u8; 6]) {
    let family = Family::of(destination);
    let source = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let origin = Origin { mac: [0; 6], source, identifier: 1, first_port: 61_000, flow_key: 0 };
    let template = Template::new(Shape::default().over(family), origin).expect("the shortest payload");
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    let generation = Table.generation(target).expect("a slot of the table");
    template.write(
        &mut frame,
        &ProbeFields { destination, target, generation, sequence, sent, next_hop_mac: [0; 6] },
        &KEY,
    );
    let probe = &frame[frame.len() - icmp::HEADER - payload::LENGTH..];
    let (message, proof) = probe.split_at(icmp::HEADER);
    assert_eq!(message[icmp::SEQUENCE], sequence.0.to_be_bytes());
    assert_eq!(proof[payload::SENT], sent.0.to_be_bytes()[2..]);
    assert_eq!(proof[payload::TARGET], target.0.to_be_bytes());
    assert_eq!(proof[payload::COOKIE], cookie);
}

/// An independent reader reads the same.
fn check_against_etherparse(frame: &[u8], reply: &Reply) {
    let packet = LaxSlicedPacket::from_ethernet(frame).expect("an Ethernet header");
    let (source, ttl) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => (IpAddr::from(ip.header().source_addr()), ip.header().ttl()),
        Some(LaxNetSlice::Ipv6(ip)) => (IpAddr::from(ip.header().source_addr()), ip.header().hop_limit()),
        _ => panic!("etherparse sees no IP in {reply:?}"),
    };
    assert_eq!((source, ttl), (reply.source, reply.ttl));
    // Fragments are steer's affair.
    if matches!(&packet.net, Some(LaxNetSlice::Ipv4(ip)) if ip.header().is_fragmenting_payload()) {
        return;
    }
    // Of extension headers etherparse wants an order, which is no affair of ours.
    if source.is_ipv6() && packet.stop_err.is_some() {
        return;
    }
    let (echo, payload, checksum, sum) = match (&packet.transport, &packet.net) {
        (Some(TransportSlice::Icmpv4(message)), _) => {
            let Icmpv4Type::EchoReply(echo) = message.icmp_type() else { panic!("another type than {reply:?}") };
            let sum = message.icmp_type().calc_checksum(message.payload());
            (echo, message.payload(), message.checksum(), sum)
        }
        (Some(TransportSlice::Icmpv6(message)), Some(LaxNetSlice::Ipv6(ip))) => {
            let Icmpv6Type::EchoReply(echo) = message.icmp_type() else { panic!("another type than {reply:?}") };
            let (source, destination) = (ip.header().source(), ip.header().destination());
            let sum = message.icmp_type().calc_checksum(source, destination, message.payload()).expect("it is short");
            (echo, message.payload(), message.checksum(), sum)
        }
        _ => panic!("etherparse sees no ICMP in {reply:?}"),
    };
    assert_eq!((echo.id, echo.seq), (reply.identifier, reply.sequence.0));
    let mut proof = reply.sent.0.to_be_bytes()[2..].to_vec();
    proof.extend(reply.target.0.to_be_bytes());
    proof.extend(reply.cookie);
    // Behind the filler.
    assert!(payload[2..].starts_with(&proof), "{reply:?}");
    // Zero and its complement are the same number (RFC 1071, section 1).
    assert_eq!(checksum % u16::MAX, sum % u16::MAX, "{reply:?}");
}

/// An IP header in a frame, and the ICMP message behind it.
struct Found {
    family: Family,
    ip: usize,
    message: Range<usize>,
}

impl Found {
    /// The first in the frame. None: there is none, or less of it than the header says.
    fn outer(frame: &[u8]) -> Option<Self> {
        let mut ip = ethernet::HEADER;
        for _ in 0..ethernet::MAX_TAGS {
            ip += if ethernet::is_tag(number(frame, ip - 2)?) { ethernet::TAG } else { 0 };
        }
        let family = if number(frame, ip - 2)? == ethernet::IPV6 { Family::V6 } else { Family::V4 };
        let end = match family {
            Family::V4 => ip + usize::from(number(frame, ip + ipv4::TOTAL_LENGTH.start)?),
            Family::V6 => ip + ipv6::HEADER + usize::from(number(frame, ip + ipv6::PAYLOAD_LENGTH.start)?),
        };
        Self::at(frame.get(..end)?, family, ip)
    }

    /// What an error quotes.
    fn quoted(&self, frame: &[u8]) -> Option<Self> {
        Self::at(frame.get(..self.message.end)?, self.family, self.message.start + icmp::HEADER)
    }

    /// The header at `ip`, and what is behind it up to the end of `bytes`.
    fn at(bytes: &[u8], family: Family, ip: usize) -> Option<Self> {
        let mut at = ip;
        match family {
            Family::V4 => at += ipv4::header_length(*bytes.get(ip)?)?,
            Family::V6 => {
                at += ipv6::HEADER;
                let mut next = *bytes.get(ip + ipv6::NEXT_HEADER)?;
                while ipv6::is_extension(next) {
                    let length = ipv6::extension_length(next, *bytes.get(at + ipv6::EXTENSION_LENGTH)?);
                    next = *bytes.get(at)?;
                    at += length;
                }
            }
        }
        let message = at..bytes.len();
        (message.len() >= icmp::HEADER).then_some(Self { family, ip, message })
    }

    /// Whether it says so itself, without extension headers. Nobody asks for a TCP checksum.
    fn is_tcp(&self, frame: &[u8]) -> bool {
        match self.family {
            Family::V4 => frame[self.ip + ipv4::PROTOCOL] == ipv4::TCP,
            Family::V6 => frame[self.ip + ipv6::NEXT_HEADER] == ipv6::TCP,
        }
    }

    fn is_error(&self, frame: &[u8]) -> bool {
        match self.family {
            Family::V4 => icmp::is_error(frame[self.message.start]),
            Family::V6 => icmpv6::is_error(frame[self.message.start]),
        }
    }

    fn source(&self) -> Range<usize> {
        within(
            self.ip,
            match self.family {
                Family::V4 => ipv4::SOURCE,
                Family::V6 => ipv6::SOURCE,
            },
        )
    }

    fn destination(&self) -> Range<usize> {
        within(
            self.ip,
            match self.family {
                Family::V4 => ipv4::DESTINATION,
                Family::V6 => ipv6::DESTINATION,
            },
        )
    }
}

fn within(start: usize, field: Range<usize>) -> Range<usize> {
    start + field.start..start + field.end
}

fn number(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

/// Writes the cookie, and in an error over IPv4 the quoted identification, that are right for what the frame says.
fn sign(frame: &mut [u8]) -> Option<()> {
    let outer = Found::outer(frame)?;
    let is_error = outer.is_error(frame);
    let probe = if is_error { outer.quoted(frame)? } else { outer };
    let address = frame.get(if is_error { probe.destination() } else { probe.source() })?.to_vec();
    let at = probe.message.start;
    let sequence = number(frame, at + icmp::SEQUENCE.start)?;
    if is_error && let Ok(destination) = <[u8; 4]>::try_from(&address[..]) {
        let identification = cookie::identification(&KEY.0, destination, sequence);
        frame[within(probe.ip, ipv4::IDENTIFICATION)].copy_from_slice(&identification.to_be_bytes());
    }
    let arrived = u64::from_ne_bytes(*frame.first_chunk()?);
    let Some(proof) =
        frame.get_mut(at + icmp::HEADER..probe.message.end).filter(|proof| proof.len() >= payload::LENGTH)
    else {
        // A short quote is signed by its identification.
        return (is_error && probe.family == Family::V4).then_some(());
    };
    let sent = payload::sent(u64::from_be_bytes(proof[payload::FILLER_AND_SENT].try_into().ok()?), arrived);
    let target = u32::from_be_bytes(proof[payload::TARGET].try_into().ok()?);
    let generation = Table.generation(TargetIndex(target)).unwrap_or_default();
    let hash = match (<[u8; 4]>::try_from(&address[..]), <[u8; 16]>::try_from(&address[..])) {
        (Ok(address), _) => cookie::ipv4(&KEY.0, sent, address, target, sequence),
        (_, address) => cookie::ipv6(&KEY.0, sent, address.ok()?, target, sequence),
    };
    proof[payload::COOKIE].copy_from_slice(&cookie::on_wire(hash, generation.0));
    Some(())
}

/// Makes the ICMP checksum right.
fn mend(frame: &mut [u8]) {
    let Some(outer) = Found::outer(frame).filter(|outer| !outer.is_tcp(frame)) else { return };
    let length = outer.message.len();
    frame[within(outer.message.start, icmp::CHECKSUM)].fill(0);
    let words = |bytes: &[u8]| -> u64 {
        bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
    };
    let mut folded = words(&frame[outer.message.clone()]);
    if outer.family == Family::V6 {
        folded += words(&frame[outer.source()]) + words(&frame[outer.destination()]);
        folded += length as u64 + u64::from(ipv6::ICMP);
    }
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    let checksum = !u16::try_from(folded).expect("it is folded");
    frame[within(outer.message.start, icmp::CHECKSUM)].copy_from_slice(&checksum.to_be_bytes());
}

/// The corpus: what its files are called, and what is in them. A test holds the files to this.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let (now, old) = (1_000_041_234, 999_999_999);
    let quoted = (icmp::HEADER + payload::LENGTH, icmp::HEADER);
    vec![
        ("answered", arrive(echo(probe(Family::V4, 18, 8)), now, 0)),
        ("answered-padded", arrive(echo(probe(Family::V4, 56, 9)), now, 0)),
        ("answered-tagged", arrive(tagged(echo(probe(Family::V4, 18, 10)), 2), now, 0)),
        ("answered-options", arrive(optioned(echo(probe(Family::V4, 18, 11))), now, 0)),
        ("answered-signed", arrive(echo(probe(Family::V4, 18, 12)), now, SIGN | MEND)),
        ("refused", arrive(error(&probe(Family::V4, 18, 13), icmp::UNREACHABLE, quoted.0), now, 0)),
        ("refused-short", arrive(error(&probe(Family::V4, 18, 14), icmp::TIME_EXCEEDED, quoted.1), now, 0)),
        (
            "refused-signed",
            arrive(error(&probe(Family::V4, 18, 15), icmp::PARAMETER_PROBLEM, quoted.0), now, SIGN | MEND),
        ),
        ("rejected-age", arrive(echo(probe(Family::V4, 18, 16)), old, 0)),
        ("rejected-target", arrive(echo(probe(Family::V4, 18, 1_000)), now, 0)),
        ("rejected-request", arrive(probe(Family::V4, 18, 17), now, 0)),
        ("answered-v6", arrive(echo(probe(Family::V6, 18, 18)), now, 0)),
        ("answered-v6-tagged", arrive(tagged(echo(probe(Family::V6, 56, 19)), 1), now, 0)),
        ("answered-v6-extended", arrive(extended(echo(probe(Family::V6, 18, 20))), now, 0)),
        ("answered-v6-signed", arrive(echo(probe(Family::V6, 18, 21)), now, SIGN | MEND)),
        ("refused-v6", arrive(error(&probe(Family::V6, 18, 22), icmpv6::UNREACHABLE, quoted.0), now, 0)),
        (
            "refused-v6-extended",
            arrive(extended(error(&extended(probe(Family::V6, 18, 23)), icmpv6::TIME_EXCEEDED, quoted.0 + 32)), now, 0),
        ),
        (
            "refused-v6-signed",
            arrive(error(&probe(Family::V6, 18, 24), icmpv6::PACKET_TOO_BIG, quoted.0), now, SIGN | MEND),
        ),
        ("segment", arrive(answer(syn(Family::V4), tcp::SYN | tcp::ACK), now, 0)),
        ("segment-v6", arrive(answer(syn(Family::V6), tcp::RST | tcp::ACK), now, 0)),
        ("segment-refused", arrive(error(&syn(Family::V4), icmp::UNREACHABLE, 8), now, 0)),
        ("segment-refused-v6", arrive(error(&syn(Family::V6), icmpv6::UNREACHABLE, 40), now, 0)),
        (
            "refused-labelled",
            arrive(labelled(error(&probe(Family::V4, 18, 26), icmp::TIME_EXCEEDED, quoted.0), true), now, 0),
        ),
        (
            "refused-labelled-legacy",
            arrive(labelled(error(&probe(Family::V4, 18, 27), icmp::TIME_EXCEEDED, quoted.0), false), now, SIGN | MEND),
        ),
        (
            "refused-short-labelled",
            arrive(labelled(error(&probe(Family::V4, 18, 28), icmp::TIME_EXCEEDED, quoted.1), true), now, MEND),
        ),
        (
            "refused-v6-labelled",
            arrive(labelled(error(&probe(Family::V6, 18, 29), icmpv6::TIME_EXCEEDED, quoted.0), true), now, MEND),
        ),
        ("segment-refused-labelled", arrive(labelled(error(&syn(Family::V4), icmp::TIME_EXCEEDED, 8), true), now, 0)),
        ("rejected-v6-short", arrive(error(&probe(Family::V6, 18, 25), icmpv6::UNREACHABLE, quoted.1), now, 0)),
    ]
}

const IP: usize = ethernet::HEADER;

/// Bytes of an IP header without options and extension headers.
fn header(frame: &[u8]) -> usize {
    if frame[IP] >> 4 == 4 { ipv4::HEADER } else { ipv6::HEADER }
}

fn probe(family: Family, payload: u16, target: u32) -> Vec<u8> {
    made(Shape::echo(payload).over(family), target)
}

/// A SYN from one of the ports that have a target.
fn syn(family: Family) -> Vec<u8> {
    made(Shape { flow: 3, ..Shape::of(Kind::Tcp { port: 443 }) }.over(family), 3)
}

/// The answer of these flags to a SYN, as long as that: its options are the SYN's.
fn answer(mut frame: Vec<u8>, flags: u8) -> Vec<u8> {
    let found = Found::outer(&frame).expect("a SYN");
    let (source, destination) = (found.source(), found.destination());
    let (before, behind) = frame.split_at_mut(destination.start);
    before[source].swap_with_slice(&mut behind[..destination.len()]);
    let segment = &mut frame[found.message];
    segment.swap(0, 2);
    segment.swap(1, 3);
    let sequence = u32::from_be_bytes(segment[tcp::SEQUENCE].try_into().expect("4 bytes"));
    segment[tcp::ACKNOWLEDGMENT].copy_from_slice(&sequence.wrapping_add(1).to_be_bytes());
    segment[tcp::FLAGS] = flags;
    frame
}

fn made(shape: Shape, target: u32) -> Vec<u8> {
    let family = shape.family;
    let (source, destination): (IpAddr, IpAddr) = match family {
        Family::V4 => (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::new(10, 64, 0, 1).into()),
        Family::V6 => (Ipv6Addr::from_bits(0x2001_0db8 << 96 | 1).into(), Ipv6Addr::from_bits(0xfd << 120 | 2).into()),
    };
    let origin = Origin { mac: [2; 6], source, identifier: 0xec07, first_port: 0, flow_key: KEY.flow_key() };
    let template = Template::new(shape, origin).expect("a payload in bounds");
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    let fields = ProbeFields {
        destination,
        target: TargetIndex(target),
        generation: Table.generation(TargetIndex(target)).unwrap_or_default(),
        sequence: Sequence(513),
        sent: Nanos(1_000_000_000),
        next_hop_mac: [4; 6],
    };
    template.write(&mut frame, &fields, &KEY);
    frame
}

fn arrive(mut frame: Vec<u8>, arrived: u64, flags: u8) -> Vec<u8> {
    mend(&mut frame);
    frame[..8].copy_from_slice(&arrived.to_ne_bytes());
    frame.insert(0, flags);
    frame
}

fn echo(mut frame: Vec<u8>) -> Vec<u8> {
    let found = Found::outer(&frame).expect("a probe");
    frame.copy_within(found.destination(), found.source().start);
    frame[found.message.start] = match found.family {
        Family::V4 => icmp::ECHO_REPLY,
        Family::V6 => icmpv6::ECHO_REPLY,
    };
    frame
}

/// `quoted`: bytes behind the probe's IP header.
fn error(frame: &[u8], kind: u8, quoted: usize) -> Vec<u8> {
    let message = IP + header(frame);
    let mut error = frame[..message].to_vec();
    if message == IP + ipv4::HEADER {
        error[IP + ipv4::PROTOCOL] = ipv4::ICMP;
    }
    error.extend([kind, 1, 0, 0, 0, 0, 0, 0]);
    error.extend(&frame[IP..message + quoted]);
    if message == IP + ipv4::HEADER {
        let total = u16::try_from(error.len() - IP).unwrap_or(u16::MAX);
        error[within(IP, ipv4::TOTAL_LENGTH)].copy_from_slice(&total.to_be_bytes());
    } else {
        let length = u16::try_from(error.len() - message).unwrap_or(u16::MAX);
        error[within(IP, ipv6::PAYLOAD_LENGTH)].copy_from_slice(&length.to_be_bytes());
        error[IP + ipv6::NEXT_HEADER] = ipv6::ICMP;
    }
    error
}

/// An error with three MPLS labels, whose quote is filled up in front of them; `told`: it says so.
fn labelled(mut frame: Vec<u8>, told: bool) -> Vec<u8> {
    let message = IP + header(&frame);
    frame.resize(message + icmp::HEADER + extension::SHORTEST_QUOTE, 0);
    // Version and checksum; length, class and C-type; labels 17, 18 and 19 with times to live of 1, the last at the bottom of the stack.
    frame.extend([0x20, 0, 0x7d, 0xe8, 0, 16, 1, 1, 0, 1, 0x10, 1, 0, 1, 0x20, 1, 0, 1, 0x31, 1]);
    let (length, told_at, unit) = if header(&frame) == ipv4::HEADER {
        (ipv4::TOTAL_LENGTH, extension::LENGTH, extension::UNIT)
    } else {
        (ipv6::PAYLOAD_LENGTH, extension::LENGTH_V6, extension::UNIT_V6)
    };
    let covered = frame.len() - if length == ipv4::TOTAL_LENGTH { IP } else { message };
    frame[within(IP, length)].copy_from_slice(&u16::try_from(covered).unwrap_or(u16::MAX).to_be_bytes());
    if told {
        frame[message + told_at] = u8::try_from(extension::SHORTEST_QUOTE / unit).unwrap_or(u8::MAX);
    }
    frame
}

fn tagged(mut frame: Vec<u8>, tags: usize) -> Vec<u8> {
    (0..tags).for_each(|_| drop(frame.splice(12..12, [0x81, 0, 0, 7])));
    frame
}

fn optioned(mut frame: Vec<u8>) -> Vec<u8> {
    let message = IP + ipv4::HEADER;
    frame.splice(message..message, [1; 8]);
    frame[IP] += 2;
    frame[IP + ipv4::TOTAL_LENGTH.end - 1] += 8;
    frame
}

/// With hop-by-hop options and a routing header that has arrived in front of the message.
fn extended(mut frame: Vec<u8>) -> Vec<u8> {
    let message = IP + ipv6::HEADER;
    let options = [ipv6::ROUTING, 0, 1, 4, 0, 0, 0, 0];
    let routing = [ipv6::ICMP, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    frame.splice(message..message, [&options[..], &routing].concat());
    frame[IP + ipv6::NEXT_HEADER] = ipv6::HOP_BY_HOP;
    frame[IP + ipv6::PAYLOAD_LENGTH.end - 1] += 32;
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_what_they_are_called() {
        for (name, bytes) in seeds() {
            let judged = prove(&bytes[1..], &KEY, &Table);
            let expected = match judged {
                Ok(Proven::Answer(..)) => "answered",
                Ok(Proven::Refused(..)) => "refused",
                Ok(Proven::ShortQuote(_)) => "refused-short",
                Ok(Proven::Port(..)) => "segment",
                Err(RejectedReason::Corrupt) => "rejected-request",
                Err(RejectedReason::Target) => "rejected-target",
                Err(RejectedReason::Age) => "rejected-age",
                Err(RejectedReason::Cookie) => "rejected-v6-short",
                Err(reason) => panic!("{name}: {reason:?}"),
            };
            assert!(name.starts_with(expected), "{name}: {judged:?}");
            let labels = match judged {
                Ok(Proven::Refused(refusal, _, _) | Proven::ShortQuote(refusal)) => refusal.mpls,
                Ok(Proven::Port(said)) => said.report.quote.map_or(MplsStack::default(), |quote| quote.mpls),
                _ => MplsStack::default(),
            };
            let expected: &[u32] = if name.contains("labelled") { &[17, 18, 19] } else { &[] };
            assert_eq!(labels.iter().map(|entry| entry.label).collect::<Vec<_>>(), expected, "{name}");
        }
    }
}
