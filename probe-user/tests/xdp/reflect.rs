//! `reflect`: etherparse judges its answers.

use super::{
    Rig, XDP_PASS, XDP_TX,
    frames::{self, Around},
};
use etherparse::{Icmpv4Type, NetSlice, SlicedPacket, TransportSlice};
use proptest::{prelude::*, test_runner::TestRunner};

/// The one's complement sum of what carries its own checksum: RFC 1071 wants all ones.
pub(super) fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
}

/// The answer differs from the request in exactly what an answer differs in, and both its checksums are right.
#[track_caller]
fn is_answered(rig: &Rig, around: &Around, request: &[u8]) -> Vec<u8> {
    let count = rig.reflected();
    let ran = rig.run("reflect", request);
    assert_eq!(ran.action, XDP_TX, "{around:?}");
    assert_eq!(rig.reflected(), count + 1);
    let reply = ran.frame;

    let (ip, icmp) = (around.ip(), around.icmp());
    let mut expected = request.to_vec();
    expected[..6].copy_from_slice(&request[6..12]);
    expected[6..12].copy_from_slice(&request[..6]);
    expected[ip + 8] = 64;
    expected[ip + 12..ip + 16].copy_from_slice(&around.destination);
    expected[ip + 16..ip + 20].copy_from_slice(&around.source);
    expected[icmp] = 0;
    // The checksums are judged below.
    for checksum in [ip + 10..ip + 12, icmp + 2..icmp + 4] {
        expected[checksum.clone()].copy_from_slice(&reply[checksum]);
    }
    assert_eq!(reply, expected, "{around:?}");

    let packet = SlicedPacket::from_ethernet(&reply).unwrap();
    let Some(NetSlice::Ipv4(header)) = &packet.net else { panic!("no IPv4") };
    let header = header.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "{around:?}");
    assert_eq!(ones_complement_sum(&reply[ip..icmp]), 0xffff);
    let Some(TransportSlice::Icmpv4(message)) = &packet.transport else { panic!("no ICMP") };
    assert!(matches!(message.icmp_type(), Icmpv4Type::EchoReply(_)));
    assert_eq!(ones_complement_sum(message.slice()), 0xffff, "{around:?}");
    let full = message.header().icmp_type.calc_checksum(message.payload());
    // The two zeros of one's complement: both are right for a message that isn't all zero.
    let written = message.checksum();
    let both_zero = (full, written) == (0, 0xffff);
    assert!(full == written || both_zero, "{full:#06x} {written:#06x}");
    drop(packet);
    assert!(!both_zero || reply[icmp + 4..icmp + 8] == [0; 4], "only where identifier and sequence are zero");
    reply
}

#[track_caller]
pub(super) fn passes(rig: &Rig, what: &str, frame: &[u8]) {
    let count = rig.reflected();
    let ran = rig.run("reflect", frame);
    assert_eq!(ran.action, XDP_PASS, "{what}");
    assert_eq!(ran.frame, frame, "{what}: bytes were changed");
    assert_eq!(rig.reflected(), count, "{what}");
}

fn arounds() -> impl Strategy<Value = Around> {
    (0..=2usize, 0..=10usize, any::<u8>()).prop_map(|(tags, options, ttl)| Around {
        tags,
        options,
        ttl,
        ..Around::default()
    })
}

#[test]
#[ignore = "needs root: make test runs it"]
fn answers_are_valid() {
    let Some(rig) = Rig::load() else { return };
    let extremes = || prop_oneof![Just(0u8), Just(0xff), any::<u8>()];
    let words = || prop_oneof![Just(0u16), Just(0xffff), any::<u16>()];
    let cases = (arounds(), words(), words(), prop::collection::vec(extremes(), 0..200), 0..30usize);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&cases, |(around, identifier, sequence, payload, padding)| {
            let mut frame = around.echo_request(identifier, sequence, &payload);
            is_answered(&rig, &around, &frame);
            frame.resize(frame.len() + padding, 0x5a);
            let reply = rig.run("reflect", &frame);
            prop_assert_eq!(reply.action, XDP_TX, "padded by Ethernet");
            Ok(())
        })
        .unwrap();
}

/// Every sum that a message can have, so every checksum before and after the change: 0x0000 and 0xffff with their
/// neighbours among them. And the same for the IPv4 header, by its time to live and its identification.
#[test]
#[ignore = "needs root: make test runs it"]
fn checksums_are_right_around_both_zeros() {
    let Some(rig) = Rig::load() else { return };
    let around = Around::default();
    let near = |centre: u16| (0..=64u16).map(move |step| centre.wrapping_add(step).wrapping_sub(32));
    let mut seen = std::collections::BTreeSet::new();
    // The checksum after is the complement of the sum of these two words.
    for word in near(0).chain(near(0x0800)).chain(near(0xf7ff)).chain((0..=u16::MAX).step_by(257)) {
        for identifier in [0, 1, 0xffff] {
            for payload in [vec![], word.to_be_bytes().to_vec(), vec![0; 18]] {
                let reply = is_answered(&rig, &around, &around.echo_request(identifier, word, &payload));
                seen.insert(u16::from_be_bytes([reply[36], reply[37]]));
            }
        }
    }
    assert!(seen.contains(&0) && seen.contains(&0xffff) && seen.contains(&1) && seen.contains(&0xfffe));

    let zero = is_answered(&rig, &around, &around.echo_request(0, 0, &[0; 18]));
    assert_eq!(zero[36..38], [0xff, 0xff], "all zero: only the negative zero is right");

    let mut headers = std::collections::BTreeSet::new();
    let base = around.echo_request(1, 1, &[]);
    for ttl in [0, 1, 63, 64, 65, 128, 255] {
        for identification in (0..=u16::MAX).step_by(251).chain(near_zero_identifications(&base)) {
            let mut frame = around.echo_request(1, 1, &[]);
            frame[18..20].copy_from_slice(&identification.to_be_bytes());
            frame[22] = ttl;
            frame[24..26].fill(0);
            let checksum = !ones_complement_sum(&frame[14..34]);
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
            let reply = is_answered(&rig, &Around { ttl, ..around.clone() }, &frame);
            headers.insert(u16::from_be_bytes([reply[24], reply[25]]));
        }
    }
    assert!(headers.contains(&0), "the header's checksum comes out as zero");
}

/// Identifications with which the header's checksum after the change is about zero.
fn near_zero_identifications(frame: &[u8]) -> impl Iterator<Item = u16> + use<> {
    let mut header = frame[14..34].to_vec();
    header[4..6].fill(0);
    header[8] = 64;
    header[10..12].fill(0);
    let rest = ones_complement_sum(&header);
    (0..=8u16).map(move |step| (0xffff - rest).wrapping_add(step).wrapping_sub(4))
}

#[test]
#[ignore = "needs root: make test runs it"]
fn all_else_is_passed() {
    let Some(rig) = Rig::load() else { return };
    for tags in 0..=2 {
        let around = Around { tags, ..Around::default() };
        let request = |around: &Around| around.echo_request(1, 2, &[9; 18]);
        passes(&rig, "echo reply", &around.echo_reply(1, 2, &[9; 18]));
        passes(&rig, "UDP", &around.udp(&[9; 18]));
        passes(&rig, "TCP", &around.tcp(&[9; 18]));
        passes(&rig, "first fragment", &request(&Around { more_fragments: true, ..around.clone() }));
        passes(&rig, "later fragment", &request(&Around { fragment_offset: 1, ..around.clone() }));
        let mut code = request(&around);
        code[around.icmp() + 1] = 1;
        passes(&rig, "with a code", &code);
        for destination in [[224, 0, 0, 1], [239, 1, 2, 3], [255; 4], [0; 4]] {
            passes(&rig, "to many", &request(&Around { destination, ..around.clone() }));
            passes(&rig, "from many", &request(&Around { source: destination, ..around.clone() }));
        }
        for mac in [0, 6] {
            for address in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
                let mut frame = request(&around);
                frame[mac..mac + 6].copy_from_slice(&address);
                passes(&rig, "a group's MAC address", &frame);
            }
        }
        let whole = request(&around);
        for length in 14..whole.len() {
            passes(&rig, &format!("cut to {length}"), &whole[..length]);
        }
        is_answered(&rig, &around, &whole);
    }
    passes(&rig, "ARP", &frames::arp());
}

/// Long ones come in several pieces; only the first is written to.
#[test]
#[ignore = "needs root: make test runs it"]
fn jumbo_requests_are_answered() {
    let Some(rig) = Rig::load() else { return };
    let around = Around::default();
    let payload: Vec<u8> = (0..8000u16).map(|i| (i % 251).to_be_bytes()[1]).collect();
    is_answered(&rig, &around, &around.echo_request(7, 8, &payload));
}
