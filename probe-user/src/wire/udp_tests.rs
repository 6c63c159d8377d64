//! UDP probes of our templates, read by etherparse; their answers, made by it; errors that quote them.
#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

use super::{
    reason::{reason, reason_v6},
    refusal_tests::{error, router},
    tests::{Wrapping, octets, ours, probes, siphasher, stamped, wrappings},
    *,
};
use crate::base::{Family, Generation, Nanos, PortState, Rcode, Reason, Sequence, TargetIndex};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use std::net::IpAddr;

const FIRST_PORT: u16 = 61_000;

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        prop::sample::select(vec!["example.com AAAA", ". NS", "a.b.c.d.example TXT"])
            .prop_map(|question| Content::dns(question).unwrap()),
        prop::sample::select(vec!["", "x", "odd", "some longer text, beyond the shortest frame"])
            .prop_map(|text| Content::text(text).unwrap()),
    ]
}

fn template(family: Family, port: u16, content: Content, flow: u16, padding: u16) -> Template {
    let origin = Origin { mac: [2; 6], source: ours(family), identifier: 1, first_port: FIRST_PORT, flow_key: 77 };
    let least = Shape::of(Kind::Udp { port, content });
    let payload = if content.is_dns() { least.payload } else { least.payload + padding };
    Template::new(Shape { family, flow, ttl: 61, payload, ..least }, origin).unwrap()
}

fn frame(template: &Template, probe: &ProbeFields, key: &Key) -> Vec<u8> {
    let mut frame = vec![0xff; template.length()];
    assert_eq!(template.lay(&mut frame), frame.len());
    template.write(&mut frame, probe, key);
    frame
}

/// As `probe_ebpf::sequence` says, by another implementation of the hash.
fn word(key: &Key, destination: IpAddr, (from, to): (u16, u16), number: u8) -> u16 {
    let addresses = [octets(ours(Family::of(destination))), octets(destination)].concat();
    let mut message = [addresses, from.to_be_bytes().to_vec(), to.to_be_bytes().to_vec()].concat();
    let masked = number ^ siphasher(key.0, &message) as u8;
    message.push(masked);
    (siphasher(key.0, &message) as u16) << 8 | u16::from(masked)
}

/// By its word, or by the port that it came from.
const BY_PORT: NumberIn = NumberIn::Port { first: FIRST_PORT, count: 64 };

proptest! {
    #[test]
    fn etherparse_reads_what_a_template_writes(
        key in any::<[u64; 2]>().prop_map(Key),
        first in probes(),
        probe in probes(),
        (port, flow) in (any::<u16>(), 0..100u16),
        (content, padding) in (contents(), 0..80u16),
    ) {
        let family = Family::of(probe.destination);
        let template = template(family, port, content, flow, padding);
        let mut bytes = frame(&template, &ProbeFields { destination: probe.destination, ..first }, &key);
        template.write(&mut bytes, &probe, &key);
        let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(TransportSlice::Udp(datagram)) = &packet.transport else { panic!("{:?}", packet.transport) };
        let header = datagram.to_header();
        let ports = (FIRST_PORT + flow, port);
        let word = word(&key, probe.destination, ports, probe.sequence.0 as u8);
        let right = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let ip = ip.header().to_header();
                prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                prop_assert_eq!((IpAddr::from(ip.source), IpAddr::from(ip.destination)), (ours(family), probe.destination));
                prop_assert!(ip.dont_fragment && ip.time_to_live == 61 && ip.identification == word);
                header.calc_checksum_ipv4(&ip, datagram.payload()).unwrap()
            }
            Some(NetSlice::Ipv6(ip)) => {
                let ip = ip.header().to_header();
                prop_assert_eq!((IpAddr::from(ip.source), IpAddr::from(ip.destination)), (ours(family), probe.destination));
                prop_assert_eq!(ip.hop_limit, 61);
                header.calc_checksum_ipv6(&ip, datagram.payload()).unwrap()
            }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(header.checksum, right, "never 0, which would say that there is none");
        prop_assert_ne!(header.checksum, 0);
        prop_assert_eq!((header.source_port, header.destination_port), ports);
        let mut expected = content.bytes().to_vec();
        if content.is_dns() {
            expected[..2].copy_from_slice(&word.to_be_bytes());
        } else {
            expected.resize(expected.len() + usize::from(padding), 0);
        }
        prop_assert_eq!(datagram.payload(), expected);
    }

    #[test]
    fn answers_are_read_and_dns_proves_itself(
        key in any::<[u64; 2]>().prop_map(Key),
        probe in probes(),
        ports in (FIRST_PORT..FIRST_PORT + 64, any::<u16>()),
        around in wrappings(),
        arrived in any::<u64>(),
        (rcode, other_flags) in (any::<u8>(), any::<u8>()),
        rest in prop::collection::vec(any::<u8>(), 8..20),
    ) {
        let family = Family::of(probe.destination);
        let number = probe.sequence.0 as u8;
        let word = word(&key, probe.destination, ports, number);
        let mut payload = [&word.to_be_bytes()[..], &[0x80 | other_flags, rcode], &rest].concat();
        let bytes = |payload: &[u8]| {
            let mut bytes = Vec::new();
            let datagram = around.builder(probe.destination, ours(family)).udp(ports.1, ports.0);
            datagram.write(&mut bytes, payload).unwrap();
            bytes.resize(bytes.len() + around.trailer, 0x5a);
            stamped(bytes, arrived)
        };
        let whole = bytes(&payload);
        let Heard::Port(read) = read_frame(&whole).unwrap() else { panic!("no answer") };
        let expected = PortReport {
            arrived: Nanos(arrived),
            from: probe.destination,
            source: ours(family),
            destination: probe.destination,
            ports,
            proof: Proof::Words([Some(word), None]),
            says: Says::Port(PortState::Open),
            rcode: Some(Rcode::new(rcode)),
            ttl: around.ttl,
            quote: None,
        };
        prop_assert_eq!(read, expected);
        prop_assert_eq!(read.number(&key, NumberIn::Word), Some((number, 0xff)));
        prop_assert_eq!(read.number(&key, BY_PORT), Some(((ports.0 - FIRST_PORT) as u8, 63)));
        prop_assert_eq!(read.number(&key, NumberIn::Port { first: ports.0 + 1, count: 16 }), None);
        prop_assert!(!read.is_half_open(), "nothing is to be reset");
        // What belongs to another protocol's port proves nothing there.
        prop_assert_eq!(read.number(&key, NumberIn::Sequence), None);
        // A byte is all the proof: another flow's is right once in 256.
        let proof = Proof::Words([Some(word ^ 0x100), None]);
        prop_assert_eq!(PortReport { proof, ..read }.number(&key, NumberIn::Word), None);
        if around.message(family) == Wrapping::NONE.message(family) {
            prop_assert_eq!(guess_target(&whole), Some(Guess::Flow(probe.destination, ports)));
        }
        for cut in 0..around.message(family) + 8 + payload.len() {
            prop_assert_eq!(read_frame(&whole[..cut]), Err(RejectedReason::Truncated), "cut to {}", cut);
        }
        // A question is no response, and neither is what is shorter than a header.
        payload[2] &= 0x7f;
        for other in [&payload[..], &[0x80; 11]] {
            let Heard::Port(read) = read_frame(&bytes(other)).unwrap() else { panic!("no answer") };
            prop_assert_eq!(read, PortReport { proof: Proof::Words([None, None]), rcode: None, ..expected });
            prop_assert_eq!(read.number(&key, NumberIn::Word), None);
            prop_assert!(read.number(&key, BY_PORT).is_some());
        }
    }

    #[test]
    fn quotes_are_read_and_prove_themselves(
        key in any::<[u64; 2]>().prop_map(Key),
        probe in probes(),
        (port, flow) in (any::<u16>(), 0..64u16),
        content in contents(),
        around in wrappings(),
        quoted in 8..60usize,
        (chosen, code) in (any::<usize>(), 0..=16u8),
        by_target in any::<bool>(),
        arrived in any::<u64>(),
    ) {
        let family = Family::of(probe.destination);
        let (kind, reason): (u8, fn(u8, u8) -> Reason) = match family {
            Family::V4 => ([3, 11, 12][chosen % 3], reason),
            Family::V6 => ([1, 2, 3, 4][chosen % 4], reason_v6),
        };
        // Said by a router, or by the target itself.
        let probe = ProbeFields { destination: if by_target { router(family) } else { probe.destination }, ..probe };
        let by_target = probe.destination == router(family);
        let bytes = frame(&template(family, port, content, flow, 0), &probe, &key);
        let header = if family == Family::V4 { 20 } else { 40 };
        let length = header + 8 + content.bytes().len();
        let quote = &bytes[14..14 + (header + quoted).min(length)];
        let (bytes, ..) = error(family, kind, code, quote, &around);
        let Heard::Port(read) = read_frame(&stamped(bytes, arrived)).unwrap() else { panic!("no quote") };
        let reason = reason(kind, code);
        let is_closed = by_target && reason.name() == "port_unreachable";
        let ports = (FIRST_PORT + flow, port);
        let word = word(&key, probe.destination, ports, probe.sequence.0 as u8);
        let number = (probe.sequence.0 as u8, 0xff);
        prop_assert_eq!((read.from, read.source, read.destination), (router(family), ours(family), probe.destination));
        prop_assert_eq!((read.arrived, read.ports, read.rcode, read.ttl), (Nanos(arrived), ports, None, around.ttl));
        prop_assert_eq!(read.says, if is_closed { Says::Port(PortState::Closed) } else { Says::Refused(reason) });
        let Proof::Words([id, identification]) = read.proof else { panic!("{read:?}") };
        prop_assert_eq!(identification, (family == Family::V4).then_some(word));
        if content.is_dns() {
            prop_assert_eq!(id, (quote.len() >= header + 10).then_some(word));
            let known = family == Family::V4 || id.is_some();
            prop_assert_eq!(read.number(&key, NumberIn::Word), known.then_some(number));
            // One of the two is enough: some networks rewrite identifications.
            let rewritten = PortReport { proof: Proof::Words([id, Some(word ^ 0x100)]), ..read };
            prop_assert_eq!(rewritten.number(&key, NumberIn::Word), id.map(|_| number));
        } else if family == Family::V4 {
            prop_assert_eq!(read.number(&key, BY_PORT), Some(number));
            let forged = PortReport { proof: Proof::Words([id, Some(word ^ 0x100)]), ..read };
            prop_assert_eq!(forged.number(&key, BY_PORT), None);
        } else {
            prop_assert_eq!(read.number(&key, BY_PORT), Some((flow as u8, 63)));
        }
        let (short, ..) = error(family, kind, code, &quote[..header + 3], &around);
        prop_assert_eq!(read_frame(&stamped(short, 1)), Err(RejectedReason::Truncated));
    }
}

/// A sum of 0 is sent as 0xffff: one probe in 65,536 has it.
#[test]
fn a_checksum_of_zero_is_sent_as_all_ones() {
    let content = Content::dns(". NS").unwrap();
    for family in Family::ALL {
        let template = template(family, 53, content, 0, 0);
        let at = 14 + if family == Family::V4 { 20 } else { 40 } + 6;
        let all_ones = (0..1u32 << 22).any(|target| {
            let probe = ProbeFields {
                destination: match family {
                    Family::V4 => IpAddr::from(target.to_be_bytes()),
                    Family::V6 => std::net::Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(target)).into(),
                },
                target: TargetIndex(target),
                generation: Generation(0),
                sequence: Sequence(0),
                sent: Nanos(0),
                next_hop_mac: [0; 6],
            };
            let bytes = frame(&template, &probe, &Key([1, 2]));
            let checksum = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            assert_ne!(checksum, 0);
            checksum == 0xffff
        });
        assert!(all_ones, "{family:?}");
    }
}
