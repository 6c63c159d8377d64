//! Replies and ICMP errors, as steer hands them over.
//!
//! The first byte of an input says what is done to the rest, the frame: with bit 0 the cookie (and the quoted identification) is made
//! right for what the frame says, with bit 1 the checksum is. Nothing gets past the cookie otherwise, and what lies behind it would
//! never be tried.

use echolot::{
    base::{Generation, Nanos, Sequence, TargetIndex},
    wire::{Heard, Key, Origin, ProbeFields, RejectedReason, Reply, Shape, Template, read_frame},
    worker::{Proven, Slots, prove},
};
use etherparse::{Icmpv4Type, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use probe_ebpf::{
    cookie,
    wire::{ethernet, icmp, ipv4, payload},
};
use std::net::{IpAddr, Ipv4Addr};

const KEY: Key = Key([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
const SIGN: u8 = 1;
const MEND: u8 = 2;

/// A thousand slots; their tenants are counted through. Addresses are all of 10.0.0.0/8.
struct Table;

impl Slots for Table {
    fn generation(&self, target: TargetIndex) -> Option<Generation> {
        u16::try_from(target.0).ok().filter(|slot| *slot < 1_000).map(|slot| Generation(slot % 7))
    }

    fn has_address(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if address.octets()[0] == 10)
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
    if let Ok(Heard::Reply(reply)) = read {
        check_against_etherparse(&frame, &reply);
    }
    let judged = prove(&frame, &KEY, &Table);
    match (judged, read) {
        (Ok(Proven::Answer(proven)), Ok(Heard::Reply(reply))) => {
            assert_eq!(proven, reply);
            assert!(reply.sent <= reply.arrived);
            check_proof(reply.source, reply.target, reply.sequence, reply.sent, reply.cookie);
        }
        (Ok(Proven::Refused(proven, quoted)), Ok(Heard::Refusal(refusal))) => {
            assert_eq!((proven, Some(quoted)), (refusal, refusal.quoted));
            assert!(quoted.sent <= refusal.arrived);
            let IpAddr::V4(destination) = refusal.destination else { panic!("{refusal:?}") };
            check_proof(destination, quoted.target, refusal.sequence, quoted.sent, quoted.cookie);
        }
        (Ok(Proven::ShortQuote(proven)), Ok(Heard::Refusal(refusal))) => {
            assert_eq!(proven, refusal);
            assert!(refusal.quoted.is_none() && Table.has_address(refusal.destination));
        }
        (Ok(proven), read) => panic!("{proven:?} of {read:?}"),
        (Err(reason), Err(why)) => assert_eq!(reason, why, "the parser's reason stands"),
        (Err(reason), Ok(Heard::Reply(reply))) => match reason {
            RejectedReason::Target => assert_eq!(Table.generation(reply.target), None),
            RejectedReason::Age => assert!(reply.arrived < reply.sent),
            RejectedReason::Cookie => assert!(!signed, "{reply:?} has the right cookie"),
            RejectedReason::Truncated | RejectedReason::Corrupt => panic!("{reason:?} of {reply:?}"),
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
                RejectedReason::Truncated | RejectedReason::Corrupt => panic!("{reason:?} of {refusal:?}"),
            }
        }
    }
}

/// What is taken is what we would have sent.
fn check_proof(destination: Ipv4Addr, target: TargetIndex, sequence: Sequence, sent: Nanos, cookie: [u8; 6]) {
    let template = Template::new(Shape::default(), Origin { mac: [0; 6], source: Ipv4Addr::LOCALHOST, identifier: 1 })
        .expect("the shortest payload");
    let mut frame = [0; Template::HEAD];
    template.lay(&mut frame);
    let generation = Table.generation(target).expect("a slot of the table");
    template.write(
        &mut frame,
        &ProbeFields { destination, target, generation, sequence, sent, next_hop_mac: [0; 6] },
        &KEY,
    );
    let probe = &frame[ethernet::HEADER + ipv4::HEADER..];
    let (message, proof) = probe.split_at(icmp::HEADER);
    assert_eq!(message[icmp::SEQUENCE], sequence.0.to_be_bytes());
    assert_eq!(proof[payload::SENT], sent.0.to_be_bytes());
    assert_eq!(proof[payload::TARGET], target.0.to_be_bytes());
    assert_eq!(proof[payload::COOKIE], cookie);
}

/// An independent reader reads the same.
fn check_against_etherparse(frame: &[u8], reply: &Reply) {
    let packet = LaxSlicedPacket::from_ethernet(frame).expect("an Ethernet header");
    let Some(LaxNetSlice::Ipv4(ip)) = &packet.net else { panic!("etherparse sees no IPv4 in {reply:?}") };
    let header = ip.header();
    assert_eq!((header.source_addr(), header.ttl()), (reply.source, reply.ttl));
    // Fragments are steer's affair.
    if header.is_fragmenting_payload() {
        return;
    }
    let Some(TransportSlice::Icmpv4(message)) = &packet.transport else {
        panic!("etherparse sees no ICMP in {reply:?}")
    };
    let Icmpv4Type::EchoReply(echo) = message.icmp_type() else { panic!("{:?} of {reply:?}", message.icmp_type()) };
    assert_eq!((echo.id, echo.seq), (reply.identifier, reply.sequence.0));
    let mut proof = reply.sent.0.to_be_bytes().to_vec();
    proof.extend(reply.target.0.to_be_bytes());
    proof.extend(reply.cookie);
    assert!(message.payload().starts_with(&proof), "{reply:?}");
    let sum = message.icmp_type().calc_checksum(message.payload());
    // Zero and its complement are the same number (RFC 1071, section 1).
    assert_eq!(message.checksum() % u16::MAX, sum % u16::MAX, "{reply:?}");
}

/// Where the ICMP message is. None: there is none, or less of it than the header says.
fn message(frame: &[u8]) -> Option<(usize, std::ops::Range<usize>)> {
    let mut ip = ethernet::HEADER;
    for _ in 0..ethernet::MAX_TAGS {
        let ethertype = u16::from_be_bytes(frame.get(ip - 2..ip)?.try_into().ok()?);
        ip += if ethernet::is_tag(ethertype) { ethernet::TAG } else { 0 };
    }
    let header = ipv4::header_length(*frame.get(ip)?)?;
    let total = u16::from_be_bytes(frame.get(ip..)?.get(ipv4::TOTAL_LENGTH)?.try_into().ok()?);
    let message = ip + header..ip + usize::from(total);
    frame.get(message.clone()).filter(|message| message.len() >= icmp::HEADER).map(|_| (ip, message))
}

/// Writes the cookie, and in an error the quoted identification, that are right for what the frame says.
fn sign(frame: &mut [u8]) -> Option<()> {
    let (ip, message) = message(frame)?;
    let address = |frame: &[u8], at: usize| frame.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let (probe, destination) = if icmp::is_error(frame[message.start]) {
        let quote = message.start + icmp::HEADER;
        let destination = address(frame, quote + ipv4::DESTINATION.start)?;
        let probe = quote + ipv4::header_length(*frame.get(quote)?)?;
        let sequence = frame.get(probe..message.end)?.get(icmp::SEQUENCE)?.try_into().ok()?;
        let identification = cookie::identification(&KEY.0, destination, u16::from_be_bytes(sequence));
        frame.get_mut(quote..)?.get_mut(ipv4::IDENTIFICATION)?.copy_from_slice(&identification.to_be_bytes());
        (probe, destination)
    } else {
        (message.start, address(frame, ip + ipv4::SOURCE.start)?)
    };
    let Some(said) = frame.get_mut(probe..message.end).filter(|said| said.len() >= icmp::HEADER + payload::LENGTH)
    else {
        // A short quote is signed by its identification.
        return (probe != message.start).then_some(());
    };
    let (head, proof) = said.split_at_mut(icmp::HEADER);
    let sequence = u16::from_be_bytes(head[icmp::SEQUENCE].try_into().ok()?);
    let sent = u64::from_be_bytes(proof[payload::SENT].try_into().ok()?);
    let target = u32::from_be_bytes(proof[payload::TARGET].try_into().ok()?);
    let generation = Table.generation(TargetIndex(target)).unwrap_or_default();
    let hash = cookie::ipv4(&KEY.0, sent, destination, target, sequence);
    proof[payload::COOKIE].copy_from_slice(&cookie::on_wire(hash, generation.0));
    Some(())
}

/// Makes the ICMP checksum right.
fn mend(frame: &mut [u8]) {
    let Some((_, message)) = message(frame) else { return };
    let bytes = &mut frame[message];
    bytes[icmp::CHECKSUM].fill(0);
    let sum: u64 = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum();
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    let checksum = !u16::try_from(folded).expect("it is folded");
    bytes[icmp::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
}

/// The corpus: what its files are called, and what is in them. A test holds the files to this.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let probe = |payload: u16, target: u32| {
        let origin = Origin { mac: [2; 6], source: Ipv4Addr::new(192, 0, 2, 1), identifier: 0xec07 };
        let template = Template::new(Shape::echo(payload), origin).expect("a payload in bounds");
        let mut frame = vec![0; template.length()];
        template.lay(&mut frame);
        let fields = ProbeFields {
            destination: Ipv4Addr::new(10, 64, 0, 1),
            target: TargetIndex(target),
            generation: Table.generation(TargetIndex(target)).unwrap_or_default(),
            sequence: Sequence(513),
            sent: Nanos(1_000_000_000),
            next_hop_mac: [4; 6],
        };
        template.write(&mut frame, &fields, &KEY);
        frame
    };
    const IP: usize = ethernet::HEADER;
    const MESSAGE: usize = IP + ipv4::HEADER;
    let arrive = |mut frame: Vec<u8>, arrived: u64, flags: u8| {
        mend(&mut frame);
        frame[..8].copy_from_slice(&arrived.to_ne_bytes());
        frame.insert(0, flags);
        frame
    };
    let echo = |mut frame: Vec<u8>| {
        frame.copy_within(IP + ipv4::DESTINATION.start..IP + ipv4::DESTINATION.end, IP + ipv4::SOURCE.start);
        frame[MESSAGE + icmp::TYPE] = icmp::ECHO_REPLY;
        frame
    };
    let error = |frame: &[u8], kind: u8, quoted: usize| {
        let mut error = frame[..MESSAGE].to_vec();
        error.extend([kind, 1, 0, 0, 0, 0, 0, 0]);
        error.extend(&frame[IP..IP + quoted]);
        let total = u16::try_from(error.len() - IP).unwrap_or(u16::MAX);
        error[IP..][ipv4::TOTAL_LENGTH].copy_from_slice(&total.to_be_bytes());
        error
    };
    let tagged = |mut frame: Vec<u8>, tags: usize| {
        (0..tags).for_each(|_| drop(frame.splice(12..12, [0x81, 0, 0, 7])));
        frame
    };
    let optioned = |mut frame: Vec<u8>| {
        frame.splice(MESSAGE..MESSAGE, [1; 8]);
        frame[IP] += 2;
        frame[IP + ipv4::TOTAL_LENGTH.end - 1] += 8;
        frame
    };
    let (now, old) = (1_000_041_234, 999_999_999);
    vec![
        ("answered", arrive(echo(probe(18, 8)), now, 0)),
        ("answered-padded", arrive(echo(probe(56, 9)), now, 0)),
        ("answered-tagged", arrive(tagged(echo(probe(18, 10)), 2), now, 0)),
        ("answered-options", arrive(optioned(echo(probe(18, 11))), now, 0)),
        ("answered-signed", arrive(echo(probe(18, 12)), now, SIGN | MEND)),
        ("refused", arrive(error(&probe(18, 13), icmp::UNREACHABLE, 46), now, 0)),
        ("refused-short", arrive(error(&probe(18, 14), icmp::TIME_EXCEEDED, 28), now, 0)),
        ("refused-signed", arrive(error(&probe(18, 15), icmp::PARAMETER_PROBLEM, 46), now, SIGN | MEND)),
        ("rejected-age", arrive(echo(probe(18, 16)), old, 0)),
        ("rejected-target", arrive(echo(probe(18, 1_000)), now, 0)),
        ("rejected-request", arrive(probe(18, 17), now, 0)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_what_they_are_called() {
        for (name, bytes) in seeds() {
            let judged = prove(&bytes[1..], &KEY, &Table);
            let expected = match judged {
                Ok(Proven::Answer(_)) => "answered",
                Ok(Proven::Refused(..)) => "refused",
                Ok(Proven::ShortQuote(_)) => "refused-short",
                Err(RejectedReason::Corrupt) => "rejected-request",
                Err(RejectedReason::Target) => "rejected-target",
                Err(RejectedReason::Age) => "rejected-age",
                Err(reason) => panic!("{name}: {reason:?}"),
            };
            assert!(name.starts_with(expected), "{name}: {judged:?}");
        }
    }
}
