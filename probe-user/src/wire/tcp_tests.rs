//! SYNs and RSTs of our templates, read by etherparse; their answers, made by it; errors that quote them.
#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

use super::{
    reason::{reason, reason_v6},
    refusal_tests::{error, router},
    tests::{Wrapping, octets, ours, probes, siphasher, stamped, wrappings},
    *,
};
use crate::base::{Family, MplsStack, Nanos, PortState, Reason};
use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use proptest::prelude::*;
use std::net::IpAddr;

const FIRST_PORT: u16 = 61_000;

fn shape(family: Family, port: u16, flow: u16, reset: bool) -> Shape {
    Shape { family, flow, reset, ttl: 61, ..Shape::of(Kind::Tcp { port }) }
}

fn template(shape: Shape, tags: Tags) -> Template {
    let origin =
        Origin { mac: [2; 6], source: ours(shape.family), identifier: 1, first_port: FIRST_PORT, flow_key: 77 };
    Template::new(shape, origin).unwrap().tagged(tags)
}

fn frame(template: &Template, probe: &ProbeFields, key: &Key) -> Vec<u8> {
    let mut frame = vec![0xff; template.length()];
    assert_eq!(template.lay(&mut frame), frame.len());
    template.write(&mut frame, probe, key);
    frame
}

/// As `probe_ebpf::sequence` says, by another implementation of the hash.
fn sequence(key: &Key, destination: IpAddr, (from, to): (u16, u16), number: u8) -> u32 {
    let addresses = [octets(ours(Family::of(destination))), octets(destination)].concat();
    let mut message = [addresses, from.to_be_bytes().to_vec(), to.to_be_bytes().to_vec()].concat();
    let masked = number ^ siphasher(key.0, &message) as u8;
    message.push(masked);
    (siphasher(key.0, &message) as u32 & 0x00ff_ffff) << 8 | u32::from(masked)
}

proptest! {
    #[test]
    fn etherparse_reads_what_a_template_writes(
        key in any::<[u64; 2]>().prop_map(Key),
        first in probes(),
        probe in probes(),
        (port, flow) in (any::<u16>(), 0..100u16),
        reset in any::<bool>(),
        ids in prop::collection::vec(0..4096u16, 0..=2),
    ) {
        let tags = ids.iter().rev().zip([0x8100, 0x88a8]);
        let tags = tags.fold(Tags::NONE, |tags, (id, protocol)| tags.inside(Tag { protocol, id: *id }).unwrap());
        let family = Family::of(probe.destination);
        let template = template(shape(family, port, flow, reset), tags);
        let mut bytes = frame(&template, &ProbeFields { destination: probe.destination, ..first }, &key);
        template.write(&mut bytes, &probe, &key);
        prop_assert!(bytes.len() >= 60 + tags.length(), "no less than Ethernet carries");
        let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(TransportSlice::Tcp(segment)) = &packet.transport else { panic!("{:?}", packet.transport) };
        let header = segment.to_header();
        let right = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let ip = ip.header().to_header();
                prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                prop_assert_eq!((IpAddr::from(ip.source), IpAddr::from(ip.destination)), (ours(family), probe.destination));
                prop_assert!(ip.dont_fragment && ip.time_to_live == 61);
                header.calc_checksum_ipv4(&ip, segment.payload()).unwrap()
            }
            Some(NetSlice::Ipv6(ip)) => {
                let ip = ip.header().to_header();
                prop_assert_eq!((IpAddr::from(ip.source), IpAddr::from(ip.destination)), (ours(family), probe.destination));
                prop_assert_eq!(ip.flow_label.value(), probe_ebpf::cookie::flow_label(77, probe.target.0, flow));
                prop_assert_eq!(ip.hop_limit, 61);
                header.calc_checksum_ipv6(&ip, segment.payload()).unwrap()
            }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(header.checksum, right);
        prop_assert!(segment.payload().is_empty());
        let ports = (FIRST_PORT + flow, port);
        prop_assert_eq!((header.source_port, header.destination_port), ports);
        let sequence = sequence(&key, probe.destination, ports, probe.sequence.0 as u8);
        prop_assert_eq!(template.initial_sequence(probe.destination, probe.sequence, &key), Some(sequence));
        prop_assert_eq!(header.sequence_number, if reset { sequence.wrapping_add(1) } else { sequence });
        prop_assert_eq!((header.syn, header.rst), (!reset, reset));
        prop_assert!(!header.ack && !header.fin && !header.psh && !header.urg && !header.ece && !header.cwr);
        let options: Vec<_> = header.options_iterator().map(Result::unwrap).collect();
        if reset {
            prop_assert!(options.is_empty());
        } else {
            let largest = if family == Family::V4 { 1_460 } else { 1_440 };
            prop_assert_eq!(options, [
                TcpOptionElement::MaximumSegmentSize(largest),
                TcpOptionElement::SelectiveAcknowledgementPermitted,
                TcpOptionElement::Timestamp((probe.sent.0 >> 20) as u32, 0),
                TcpOptionElement::Noop,
                TcpOptionElement::WindowScale(7),
            ]);
        }
    }

    #[test]
    fn answers_are_read_and_prove_themselves(
        key in any::<[u64; 2]>().prop_map(Key),
        probe in probes(),
        ports in (FIRST_PORT..FIRST_PORT + 100, any::<u16>()),
        around in wrappings(),
        arrived in any::<u64>(),
        (which, theirs, window) in (0..4u8, any::<u32>(), any::<u16>()),
        payload in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let family = Family::of(probe.destination);
        let number = probe.sequence.0 as u8;
        let sequence = sequence(&key, probe.destination, ports, number);
        let (ours_port, port) = ports;
        let segment = around.builder(probe.destination, ours(family)).tcp(port, ours_port, theirs, window);
        let (segment, says) = match which {
            0 => (segment.syn().ack(sequence.wrapping_add(1)), Says::Port(PortState::Open)),
            1 => (segment.rst().ack(sequence.wrapping_add(1)), Says::Port(PortState::Closed)),
            2 => (segment.rst().ack(sequence), Says::Port(PortState::Closed)),
            _ => (segment.ack(sequence.wrapping_add(1)), Says::HalfOpen),
        };
        let mut bytes = Vec::new();
        segment.write(&mut bytes, &payload).unwrap();
        bytes.resize(bytes.len() + around.trailer, 0x5a);
        let bytes = stamped(bytes, arrived);
        let Heard::Port(read) = read_frame(&bytes).unwrap() else { panic!("no segment") };
        prop_assert_eq!((read.arrived, read.ttl, read.says), (Nanos(arrived), around.ttl, says));
        prop_assert_eq!((read.from, read.destination, read.source), (probe.destination, probe.destination, ours(family)));
        prop_assert_eq!(read.ports, ports);
        prop_assert_eq!(read.number(&key, NumberIn::Sequence), Some((number, 0xff)));
        prop_assert_eq!(read.number(&Key([key.0[0], key.0[1] ^ 1]), NumberIn::Sequence), None);
        for other in [
            PortReport { ports: (ports.0 ^ 1, ports.1), ..read },
            PortReport { ports: (ports.0, ports.1 ^ 0x8000), ..read },
            PortReport { proof: Proof::Sequence(sequence ^ 1 << 31, None), ..read },
            PortReport { proof: Proof::Words([Some(sequence as u16), Some(sequence as u16)]), ..read },
            PortReport { destination: router(family), ..read },
        ] {
            prop_assert_eq!(other.number(&key, NumberIn::Sequence), None, "{:?}", other);
        }
        if around.message(family) == Wrapping::NONE.message(family) {
            prop_assert_eq!(guess_target(&bytes), Some(Guess::Flow(probe.destination, ports)));
        }
        let end = around.message(family) + 20 + payload.len();
        for cut in 0..end {
            prop_assert_eq!(read_frame(&bytes[..cut]), Err(RejectedReason::Truncated), "cut to {}", cut);
        }
    }

    /// What says nothing of a SYN is not taken for a word about one, should it ever get here.
    #[test]
    fn other_segments_are_corrupt(flags in any::<u8>(), family in prop_oneof![Just(Family::V4), Just(Family::V6)]) {
        let mut bytes = Vec::new();
        let segment = Wrapping::NONE.builder(router(family), ours(family)).tcp(443, FIRST_PORT, 1, 2);
        segment.write(&mut bytes, &[]).unwrap();
        let at = Wrapping::NONE.message(family) + 13;
        bytes[at] = flags;
        let told = matches!(flags & 0b1_0111, 0b1_0010 | 0b1_0100 | 0b1_0000);
        let read = read_frame(&stamped(bytes, 1));
        prop_assert_eq!(read.is_ok(), told, "{:?}", read);
        prop_assert!(told || read == Err(RejectedReason::Corrupt));
    }

    #[test]
    fn quotes_are_read_and_prove_themselves(
        key in any::<[u64; 2]>().prop_map(Key),
        probe in probes(),
        (port, flow) in (any::<u16>(), 0..100u16),
        around in wrappings(),
        quoted in 8..60usize,
        (chosen, code) in (any::<usize>(), 0..=16u8),
        arrived in any::<u64>(),
    ) {
        let family = Family::of(probe.destination);
        let (kind, reason): (u8, fn(u8, u8) -> Reason) = match family {
            Family::V4 => ([3, 11, 12][chosen % 3], reason),
            Family::V6 => ([1, 2, 3, 4][chosen % 4], reason_v6),
        };
        let syn = frame(&template(shape(family, port, flow, false), Tags::NONE), &probe, &key);
        let header = if family == Family::V4 { 20 } else { 40 };
        let quote = &syn[14..(14 + header + quoted).min(syn.len())];
        let (bytes, ..) = error(family, kind, code, quote, &around);
        let bytes = stamped(bytes, arrived);
        let Heard::Port(read) = read_frame(&bytes).unwrap() else { panic!("no segment") };
        prop_assert_eq!(read, PortReport {
            arrived: Nanos(arrived),
            from: router(family),
            source: ours(family),
            destination: probe.destination,
            ports: (FIRST_PORT + flow, port),
            proof: Proof::Sequence(sequence(&key, probe.destination, (FIRST_PORT + flow, port), probe.sequence.0 as u8), None),
            says: Says::Refused(reason(kind, code)),
            rcode: None,
            ttl: around.ttl,
            quote: Some(PortQuote {
                ttl: quote[if family == Family::V4 { 8 } else { 7 }],
                tos: 0,
                checksum: quote.get(header + 16..header + 18).map(|sum| u16::from_be_bytes([sum[0], sum[1]])),
                mpls: MplsStack::default(),
            }),
        });
        prop_assert_eq!(read.number(&key, NumberIn::Sequence), Some((probe.sequence.0 as u8, 0xff)));
        prop_assert_eq!(read.number(&Key([!key.0[0], key.0[1]]), NumberIn::Sequence), None);
        // Less than what proves it.
        let (short, ..) = error(family, kind, code, &quote[..header + 7], &around);
        prop_assert_eq!(read_frame(&stamped(short, 1)), Err(RejectedReason::Truncated));
    }
}
