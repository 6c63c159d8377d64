//! `reflect` over IPv6: etherparse judges its answers.

use super::{
    Rig, XDP_PASS, XDP_TX,
    frames_v6::{Around, DESTINATION, FRAGMENT, HOP_BY_HOP, OURS, ROUTING},
    reflect::{ones_complement_sum, passes},
};
use etherparse::{Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use proptest::{prelude::*, test_runner::TestRunner};

/// The answer differs from the request in exactly what an answer differs in, and its checksum is what etherparse makes of it.
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
    expected[ip + 7] = 64;
    expected[ip + 8..ip + 24].copy_from_slice(&around.destination);
    expected[ip + 24..ip + 40].copy_from_slice(&around.source);
    expected[icmp] = 129;
    // Judged below.
    expected[icmp + 2..icmp + 4].copy_from_slice(&reply[icmp + 2..icmp + 4]);
    assert_eq!(reply, expected, "{around:?}");

    let packet = SlicedPacket::from_ethernet(&reply).unwrap();
    let Some(NetSlice::Ipv6(header)) = &packet.net else { panic!("no IPv6") };
    let Some(TransportSlice::Icmpv6(message)) = &packet.transport else { panic!("no ICMPv6") };
    assert!(matches!(message.icmp_type(), Icmpv6Type::EchoReply(_)));
    let (source, destination) = (header.header().source(), header.header().destination());
    let right = message.icmp_type().calc_checksum(source, destination, message.payload()).unwrap();
    assert_eq!(message.checksum(), right, "{around:?}");
    drop(packet);
    reply
}

#[test]
#[ignore = "needs root: make test runs it"]
fn answers_are_valid() {
    let Some(rig) = Rig::load() else { return };
    let extremes = || prop_oneof![Just(0u8), Just(0xff), any::<u8>()];
    let words = || prop_oneof![Just(0u16), Just(0xffff), any::<u16>()];
    let cases = (
        (0..=2usize, any::<u8>(), any::<[u8; 16]>(), any::<[u8; 16]>()),
        (words(), words()),
        prop::collection::vec(extremes(), 0..200),
        0..30usize,
    );
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&cases, |((tags, hop_limit, mut source, mut destination), (identifier, sequence), payload, padding)| {
            // Hosts, and not multicast.
            (source[0], destination[0]) = (source[0] & 0x7f | 1, destination[0] & 0x7f | 1);
            let around = Around { tags, hop_limit, source, destination, ..Around::default() };
            let mut frame = around.echo_request(identifier, sequence, &payload);
            is_answered(&rig, &around, &frame);
            frame.resize(frame.len() + padding, 0x5a);
            let reply = rig.run("reflect", &frame);
            prop_assert_eq!(reply.action, XDP_TX, "padded by Ethernet");
            Ok(())
        })
        .unwrap();
}

/// Every sum that a message can have, so every checksum before and after the change: 0x0000 and its neighbours among them.
#[test]
#[ignore = "needs root: make test runs it"]
fn checksums_are_right_around_both_zeros() {
    let Some(rig) = Rig::load() else { return };
    let around = Around::default();
    let base = around.echo_request(1, 0, &[]);
    // The sequence number with which the checksum before, and after, is about zero.
    let checksum = u16::from_be_bytes([base[56], base[57]]);
    let near = |centre: u16| (0..=64u16).map(move |step| centre.wrapping_add(step).wrapping_sub(32));
    let mut seen = std::collections::BTreeSet::new();
    let words = near(checksum).chain(near(checksum.wrapping_sub(0x100))).chain((0..=u16::MAX).step_by(257));
    for sequence in words {
        let reply = is_answered(&rig, &around, &around.echo_request(1, sequence, &[]));
        assert_eq!(reply.len(), 62);
        seen.insert(u16::from_be_bytes([reply[56], reply[57]]));
    }
    assert!(seen.contains(&0) && seen.contains(&1) && seen.contains(&0xfffe));
    assert!(!seen.contains(&0xffff), "what is summed is never all zero");
    assert_eq!(ones_complement_sum(&[0xff, 0xff, 0, 0]), 0xffff);
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
        for kind in (0..=255).filter(|kind| *kind != 128) {
            passes(&rig, "another message", &around.message(kind, 0, &[9; 40]));
        }
        // What asks for more than an answer is the kernel's, fragments too.
        for extension in [HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION] {
            passes(&rig, "extended", &request(&Around { extensions: vec![(extension, 0)], ..around.clone() }));
        }
        let mut code = request(&around);
        code[around.icmp() + 1] = 1;
        passes(&rig, "with a code", &code);
        let mut many = OURS;
        many[0] = 0xff;
        for address in [many, [0xff; 16], [0; 16]] {
            passes(&rig, "to many or nobody", &request(&Around { destination: address, ..around.clone() }));
            passes(&rig, "from many or nobody", &request(&Around { source: address, ..around.clone() }));
        }
        let mut host = [0; 16];
        host[15] = 2;
        is_answered(
            &rig,
            &Around { source: host, ..around.clone() },
            &request(&Around { source: host, ..around.clone() }),
        );
        for mac in [0, 6] {
            for address in [[0xff; 6], [0x33, 0x33, 0, 0, 0, 1]] {
                let mut frame = request(&around);
                frame[mac..mac + 6].copy_from_slice(&address);
                passes(&rig, "a group's MAC address", &frame);
            }
        }
        let whole = request(&around);
        for length in 14..whole.len() {
            passes(&rig, &format!("cut to {length}"), &whole[..length]);
        }
        for said in [0, 7, 27, u16::MAX] {
            let mut frame = whole.clone();
            frame[around.ip() + 4..around.ip() + 6].copy_from_slice(&said.to_be_bytes());
            passes(&rig, &format!("payload length {said}"), &frame);
        }
        for version in [0x45, 0x50, 0x70] {
            let mut frame = whole.clone();
            frame[around.ip()] = version;
            passes(&rig, "another version", &frame);
        }
        is_answered(&rig, &around, &whole);
    }
    assert_eq!(rig.run("reflect", &Around::default().echo_reply(1, 2, &[])).action, XDP_PASS);
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
