//! What routers say, as etherparse reads it, by checksums that it makes itself.

use super::*;
use etherparse::{
    Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, IpSlice, Ipv4HeaderSlice, Ipv6HeaderSlice, PacketBuilder,
    UdpHeaderSlice, checksum::Sum16BitWords,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const OWN: Own = Own { v4: Ipv4Addr::new(10, 0, 0, 9), v6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9) };
const V4: ([u8; 4], [u8; 4]) = ([10, 0, 0, 1], [10, 9, 0, 1]);
const V6: ([u8; 16], [u8; 16]) = {
    let (mut from, mut to) = ([0; 16], [0; 16]);
    (from[0], from[15], to[0], to[15]) = (0xfd, 1, 0xfd, 2);
    (from, to)
};

/// UDP datagrams of either family with so many bytes in them and this time to live.
fn datagrams(ttl: u8, bytes: usize) -> [Vec<u8>; 2] {
    let payload: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
    [PacketBuilder::ipv4(V4.0, V4.1, ttl), PacketBuilder::ipv6(V6.0, V6.1, ttl)].map(|builder| {
        let mut packet = Vec::new();
        builder.udp(33_000, 53).write(&mut packet, &payload).unwrap();
        packet
    })
}

/// The message of an error that is whole and right: type, code, the rest of the header, the quote and what follows it.
#[derive(Debug)]
struct Read {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    kind: (u8, u8),
    rest: [u8; 4],
    quote: Vec<u8>,
}

#[track_caller]
fn read(packet: &[u8]) -> Read {
    let ip = IpSlice::from_slice(packet).unwrap();
    let message = ip.payload().payload;
    assert_eq!(if packet[0] >> 4 == 4 { 20 } else { 40 } + message.len(), packet.len(), "its length is right");
    let ttl = match &ip {
        IpSlice::Ipv4(v4) => {
            let header = v4.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(sum_of(message), 0);
            header.time_to_live
        }
        IpSlice::Ipv6(v6) => {
            let header = v6.header();
            let read = Icmpv6Slice::from_slice(message).unwrap();
            assert!(read.is_checksum_valid(header.source(), header.destination()));
            header.hop_limit()
        }
    };
    Read {
        source: ip.source_addr(),
        destination: ip.destination_addr(),
        ttl,
        kind: (message[0], message[1]),
        rest: message[4..8].try_into().unwrap(),
        quote: message[8..].to_vec(),
    }
}

/// 0 where the checksum that is in it is right.
fn sum_of(bytes: &[u8]) -> u16 {
    Sum16BitWords::new().add_slice(bytes).ones_complement()
}

/// What the rule answers, of either family.
#[track_caller]
fn answers(rule: &Rule, packets: &[Vec<u8>; 2]) -> [Read; 2] {
    packets.each_ref().map(|packet| match rule.treat(packet, &OWN, true) {
        Treated::Answered(bytes, _) => read(&bytes),
        other => panic!("no answer: {other:?}"),
    })
}

fn with(answer: Answer) -> Rule {
    Rule::expiring(answer)
}

#[test]
fn a_packet_that_goes_on_has_one_hop_less_and_is_right() {
    for packet in datagrams(7, 12) {
        let Treated::Forwarded(forwarded) = Rule::default().treat(&packet, &OWN, true) else { panic!("it goes on") };
        let ip = IpSlice::from_slice(&forwarded).unwrap();
        match &ip {
            IpSlice::Ipv4(v4) => {
                let header = v4.header().to_header();
                assert_eq!((header.time_to_live, header.header_checksum), (6, header.calc_header_checksum()));
            }
            IpSlice::Ipv6(v6) => assert_eq!(v6.header().hop_limit(), 6),
        }
        assert_eq!(IpSlice::from_slice(&packet).unwrap().payload(), ip.payload(), "nothing else is touched");
    }
}

#[test]
fn times_end_as_forwarding_says() {
    let rules = [Forwarding::Decrement, Forwarding::Keep, Forwarding::Zero].map(Rule::forwarding);
    // By time to live 0, 1 and 2: that with which it goes on.
    let expected = [[None, None, Some(1)], [Some(0), Some(1), Some(2)], [None, Some(0), Some(1)]];
    for (rule, expected) in rules.iter().zip(expected) {
        for (ttl, expected) in (0..).zip(expected) {
            for packet in datagrams(ttl, 4) {
                let ttl_at = if packet[0] >> 4 == 4 { 8 } else { 7 };
                let seen = match rule.treat(&packet, &OWN, true) {
                    Treated::Forwarded(forwarded) => Some(forwarded[ttl_at]),
                    Treated::Answered(..) => None,
                    other => panic!("{other:?}"),
                };
                assert_eq!(seen, expected, "{:?}, {ttl}", rule.forwarding);
            }
        }
    }
}

#[test]
fn a_whole_quote_is_what_came() {
    let packets = datagrams(1, 32);
    let [v4, v6] = answers(&Rule::default(), &packets);
    assert_eq!((v4.kind, v6.kind), ((11, 0), (3, 0)));
    assert_eq!((&v4.quote, &v6.quote), (&packets[0], &packets[1]));
    assert_eq!((v4.source, v6.source), (OWN.v4.into(), OWN.v6.into()));
    assert_eq!((v4.destination, v6.destination), (V4.0.into(), V6.0.into()));
    assert_eq!((v4.ttl, v4.rest, v6.ttl, v6.rest), (64, [0; 4], 64, [0; 4]));
}

#[test]
fn quotes_are_as_long_as_said_and_as_fits() {
    let long = datagrams(1, 1_400);
    for (quote, v4, v6) in [(Quote::Least, 28, 48), (Quote::Bytes(100), 100, 100), (Quote::Most, 544, 1_232)] {
        let read = answers(&with(Answer { quote, ..Answer::default() }), &long);
        assert_eq!(read.each_ref().map(|read| read.quote.len()), [v4, v6], "{quote:?}");
        for (read, packet) in read.iter().zip(&long) {
            assert!(packet.starts_with(&read.quote));
        }
    }
}

#[test]
fn kinds_are_those_of_their_families() {
    let kinds = [
        (Kind::ReassemblyTimeExceeded, (11, 1), (3, 1)),
        (Kind::NetUnreachable, (3, 0), (1, 0)),
        (Kind::HostUnreachable, (3, 1), (1, 3)),
        (Kind::Prohibited, (3, 13), (1, 1)),
    ];
    for (kind, v4, v6) in kinds {
        let rule = Rule::refusing(kind);
        assert_eq!(answers(&rule, &datagrams(9, 4)).map(|read| read.kind), [v4, v6], "{kind:?}");
        assert_eq!(answers(&rule, &datagrams(1, 4)).map(|read| read.kind), [(11, 0), (3, 0)], "its time ends before");
        for packet in datagrams(9, 4) {
            assert!(matches!(rule.treat(&packet, &OWN, false), Treated::Forwarded(_)), "the way back is open");
        }
    }
}

/// etherparse knows the words for them.
#[test]
fn kinds_read_as_what_they_are() {
    for kind in [Kind::TimeExceeded, Kind::HostUnreachable] {
        let [v4, v6] =
            datagrams(1, 4).map(|packet| error::error(&packet, &OWN, &Answer { kind, ..Answer::default() }).unwrap());
        let v4 = Icmpv4Slice::from_slice(&v4[20..]).unwrap().icmp_type();
        let v6 = Icmpv6Slice::from_slice(&v6[40..]).unwrap().icmp_type();
        let read = (matches!(v4, Icmpv4Type::TimeExceeded(_)), matches!(v6, Icmpv6Type::TimeExceeded(_)));
        assert_eq!(read, (kind == Kind::TimeExceeded, kind == Kind::TimeExceeded), "{v4:?} {v6:?}");
        let read =
            (matches!(v4, Icmpv4Type::DestinationUnreachable(_)), matches!(v6, Icmpv6Type::DestinationUnreachable(_)));
        assert_eq!(read, (kind == Kind::HostUnreachable, kind == Kind::HostUnreachable), "{v4:?} {v6:?}");
    }
}

#[test]
fn changes_are_in_the_quote_and_checksums_follow() {
    let nobody: [IpAddr; 2] = ["192.0.2.9".parse().unwrap(), "2001:db8::9".parse().unwrap()];
    let changes = Changes {
        ttl: Some(5),
        dscp: Some(46),
        identification: Some(0xbeef),
        flow_label: Some(0xabcde),
        sources: vec!["198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        destinations: nobody.to_vec(),
        destination_port: Some(5_353),
        ..Changes::default()
    };
    let [v4, v6] = answers(&with(Answer { changes, ..Answer::default() }), &datagrams(1, 15));
    let header = Ipv4HeaderSlice::from_slice(&v4.quote).unwrap().to_header();
    assert_eq!((header.time_to_live, header.dscp.value(), header.identification), (5, 46, 0xbeef));
    assert_eq!((header.source, header.destination), ([198, 51, 100, 7], [192, 0, 2, 9]));
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    let udp = UdpHeaderSlice::from_slice(&v4.quote[20..]).unwrap().to_header();
    assert_eq!(udp.destination_port, 5_353);
    assert_eq!(Ok(udp.checksum), udp.calc_checksum_ipv4(&header, &v4.quote[28..]));

    let header = Ipv6HeaderSlice::from_slice(&v6.quote).unwrap().to_header();
    assert_eq!((header.hop_limit, header.traffic_class >> 2, header.flow_label.value()), (5, 46, 0xabcde));
    assert_eq!(
        [IpAddr::from(header.destination), IpAddr::from(header.source)],
        [nobody[1], "2001:db8::7".parse().unwrap()]
    );
    let udp = UdpHeaderSlice::from_slice(&v6.quote[40..]).unwrap().to_header();
    assert_eq!(Ok(udp.checksum), udp.calc_checksum_ipv6(&header, &v6.quote[48..]));
}

#[test]
fn checksums_can_be_wrong_where_it_is_said() {
    let changes = Changes { header_checksum: Some(0x1111), checksum: Some(0x2222), ..Changes::default() };
    let packets = datagrams(1, 4);
    let [v4, v6] = answers(&with(Answer { changes, ..Answer::default() }), &packets);
    let mut expected = packets;
    expected[0][10..12].fill(0x11);
    expected[0][26..28].fill(0x22);
    expected[1][46..48].fill(0x22);
    assert_eq!([v4.quote, v6.quote], expected);

    let corrupt = with(Answer { corrupt: true, ..Answer::default() });
    let [v4, v6] = datagrams(1, 4).map(|packet| match corrupt.treat(&packet, &OWN, true) {
        Treated::Answered(bytes, _) => bytes,
        other => panic!("{other:?}"),
    });
    assert_ne!(sum_of(&v4[20..]), 0);
    assert!(!Icmpv6Slice::from_slice(&v6[40..]).unwrap().is_checksum_valid(OWN.v6.octets(), V6.0));
}

/// RFC 4884: the quote padded to at least 128 bytes, its length in the header in words of 4 bytes and of 8, and the extension
/// behind it, whose sum with its checksum is nothing.
#[test]
fn extensions_follow_the_quote() {
    let labels = [Label { label: 0xfedcb, class: 5, ttl: 1 }, Label { label: 3, class: 0, ttl: 255 }];
    // Version 2; a length of 12, class 1, type 1; labels with class, bottom of the stack in the last, and time to live.
    let expected = [0x20, 0, 0, 0, 0, 12, 1, 1, 0xfe, 0xdc, 0xba, 1, 0, 0, 0x31, 255];
    for (bytes, v4_words, v6_words) in [(4, 32, 16), (150, 45, 25), (1_400, 132, 152)] {
        for (place, sum) in
            [(Place::LengthField, Sum::Right), (Place::Byte128, Sum::Absent), (Place::Byte128, Sum::Wrong)]
        {
            let packets = datagrams(1, bytes);
            let extension = Extension { place, sum, ..Extension::mpls(&labels) };
            let read = answers(&with(Answer { extension: Some(extension), ..Answer::default() }), &packets);
            for ((read, packet), (at, word, words)) in
                read.iter().zip(&packets).zip([(1, 4, v4_words), (0, 8, v6_words)])
            {
                let before = if place == Place::Byte128 { 128 } else { words * word };
                let mut rest = [0; 4];
                rest[at] = if place == Place::LengthField { words as u8 } else { 0 };
                assert_eq!(read.rest, rest, "{bytes} bytes, {place:?}");
                let (quote, extension) = read.quote.split_at(before);
                let quoted = before.min(packet.len());
                assert_eq!(quote[..quoted], packet[..quoted], "{bytes} bytes, {place:?}");
                assert!(quote[quoted..].iter().all(|byte| *byte == 0));
                let mut without = extension.to_vec();
                without[2..4].fill(0);
                assert_eq!(without, expected);
                let is_zero = extension[2..4] == [0, 0];
                assert_eq!((sum_of(extension) == 0, is_zero), (sum == Sum::Right, sum == Sum::Absent), "{sum:?}");
            }
        }
    }
}

#[test]
fn others_may_say_it_with_another_time_to_live() {
    let from: [IpAddr; 2] = ["192.0.2.77".parse().unwrap(), "2001:db8::77".parse().unwrap()];
    let rule = with(Answer { from: from.to_vec(), ttl: 255, ..Answer::default() });
    let read = answers(&rule, &datagrams(1, 4));
    assert_eq!(read.each_ref().map(|read| (read.source, read.ttl)), from.map(|from| (from, 255)));
}

#[test]
fn nothing_is_said_of_errors_fragments_and_what_is_for_many() {
    let rule = Rule::default();
    let told = datagrams(1, 4).map(|packet| error::error(&packet, &OWN, &Answer::default()).unwrap());
    for mut packet in told {
        let ttl = if packet[0] >> 4 == 4 { 8 } else { 7 };
        packet[ttl] = 1;
        assert_eq!(rule.treat(&packet, &OWN, true), Treated::Dropped, "an error about an error");
    }
    let [mut fragment, _] = datagrams(1, 4);
    fragment[7] = 1;
    assert_eq!(rule.treat(&fragment, &OWN, true), Treated::Dropped);
    let [mut v4, mut v6] = datagrams(1, 4);
    v4[16..20].copy_from_slice(&[224, 0, 0, 1]);
    v6[24..40].copy_from_slice(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    for packet in [v4, v6] {
        assert_eq!(rule.treat(&packet, &OWN, true), Treated::Dropped, "for many");
    }
    for packet in datagrams(1, 4) {
        assert_eq!(Rule::silent().treat(&packet, &OWN, true), Treated::Dropped, "silent");
    }
}

#[test]
fn the_router_replies_to_who_asks_it_and_to_nobody_else() {
    let mut requests = [Vec::new(), Vec::new()];
    let payload = [1, 2, 3, 4, 5];
    PacketBuilder::ipv4(V4.0, OWN.v4.octets(), 1).icmpv4_echo_request(7, 8).write(&mut requests[0], &payload).unwrap();
    PacketBuilder::ipv6(V6.0, OWN.v6.octets(), 1).icmpv6_echo_request(7, 8).write(&mut requests[1], &payload).unwrap();
    for request in requests {
        let Treated::Replied(reply) = Rule::silent().treat(&request, &OWN, true) else { panic!("a reply") };
        let read = read(&reply);
        assert_eq!(read.kind, if reply[0] >> 4 == 4 { (0, 0) } else { (129, 0) });
        assert_eq!(
            (read.source.is_ipv4(), read.rest, &read.quote[..]),
            (reply[0] >> 4 == 4, [0, 7, 0, 8], &payload[..])
        );
        let asked = IpSlice::from_slice(&request).unwrap();
        assert_eq!((read.source, read.destination), (asked.destination_addr(), asked.source_addr()));
    }
}

/// Whatever comes by a device.
#[test]
fn what_is_cut_short_is_dropped_and_breaks_nothing() {
    let rules = [
        Rule::default(),
        Rule::forwarding(Forwarding::Zero),
        with(Answer { quote: Quote::Least, ..Answer::default() }),
    ];
    for packet in datagrams(1, 40) {
        for length in 0..packet.len() {
            for rule in &rules {
                assert_eq!(rule.treat(&packet[..length], &OWN, true), Treated::Dropped, "{length} bytes");
            }
        }
    }
    // Short datagrams that are whole, with changes to what they have not.
    let changes = Changes {
        checksum: Some(1),
        destination_port: Some(1),
        destinations: vec![Ipv4Addr::BROADCAST.into(), Ipv6Addr::LOCALHOST.into()],
        ..Changes::default()
    };
    let rule = with(Answer { changes, ..Answer::default() });
    for mut packet in datagrams(1, 0) {
        let v4 = packet[0] >> 4 == 4;
        packet.truncate(if v4 { 22 } else { 42 });
        let length = if v4 { 3 } else { 5 };
        packet[length] = if v4 { 22 } else { 2 };
        assert!(matches!(rule.treat(&packet, &OWN, true), Treated::Answered(..)));
    }
}
