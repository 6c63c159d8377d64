//! `reflect` with UDP: etherparse judges its answers.

use super::{
    Rig, XDP_DROP, XDP_PASS, XDP_TX,
    frames::{self, Around},
    frames_v6,
    reflect::ones_complement_sum,
};
use echolot::base::Family;
use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice, icmpv4, icmpv6};
use probe_ebpf::layout::Reflected;
use proptest::{prelude::*, test_runner::TestRunner};

/// A port of theirs, and of ours one that is open and one that is closed.
const THEIRS: u16 = 40_000;
const OPEN: u16 = 7_007;
const CLOSED: u16 = 7_008;
const DNS: u16 = 53;

/// Which answers UDP, with these ports open.
fn rig(open: &[u16]) -> Option<Rig> {
    let mut rig = Rig::load()?;
    rig.answer_udp(open);
    Some(rig)
}

/// The frames of a family.
#[derive(Clone, Debug)]
enum Frames {
    V4(Around),
    V6(frames_v6::Around),
}

impl Frames {
    /// Of both families, with so many tags.
    fn both(tags: usize) -> [Self; 2] {
        [Family::V4, Family::V6].map(|family| Self::of(family, tags))
    }

    fn of(family: Family, tags: usize) -> Self {
        match family {
            Family::V4 => Self::V4(Around { tags, ttl: 3, ..Around::default() }),
            Family::V6 => Self::V6(frames_v6::Around { tags, hop_limit: 3, ..frames_v6::Around::default() }),
        }
    }

    /// A datagram between these ports, theirs first.
    fn datagram(&self, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(around) => around.any_udp(ports, payload),
            Self::V6(around) => around.any_udp(ports, payload),
        }
    }

    /// Where the IP header begins, and the datagram.
    fn places(&self) -> (usize, usize) {
        match self {
            Self::V4(around) => (around.ip(), around.icmp()),
            Self::V6(around) => (around.ip(), around.icmp()),
        }
    }

    /// What stands in the checksum of a datagram that its sender left to the card: the sum over the pseudo-header.
    fn unfinished(&self, frame: &[u8]) -> [u8; 2] {
        let (ip, at) = self.places();
        let addresses = match self {
            Self::V4(_) => &frame[ip + 12..ip + 20],
            Self::V6(_) => &frame[ip + 8..ip + 40],
        };
        let rest = [0, 17, frame[at + 4], frame[at + 5]];
        ones_complement_sum(&[addresses, &rest].concat()).to_be_bytes()
    }
}

/// The answer of an open port: the datagram with addresses and ports exchanged and a payload of `said`, and right.
#[track_caller]
fn is_answered(rig: &Rig, frames: &Frames, datagram: &[u8], said: &[u8]) -> Vec<u8> {
    let count = rig.reflected_as(Reflected::Udp);
    let ran = rig.run("reflect", datagram);
    assert_eq!(ran.action, XDP_TX, "{frames:?}");
    assert_eq!(rig.reflected_as(Reflected::Udp), count + 1);
    let answer = ran.frame;
    let (ip, at) = frames.places();
    assert_eq!(answer.len(), datagram.len(), "{frames:?}");
    assert_eq!((&answer[..6], &answer[6..12]), (&datagram[6..12], &datagram[..6]));
    assert_eq!(answer[12..ip], datagram[12..ip], "tags and type");
    assert_eq!((&answer[at..at + 2], &answer[at + 2..at + 4]), (&datagram[at + 2..at + 4], &datagram[at..at + 2]));

    let read = answer.clone();
    let packet = SlicedPacket::from_ethernet(&read).unwrap();
    let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("no UDP") };
    assert_eq!(udp.payload(), said, "{frames:?}");
    let right = match (frames, &packet.net) {
        (Frames::V4(around), Some(NetSlice::Ipv4(header))) => {
            let header = header.header().to_header();
            assert_eq!((header.source, header.destination), (around.destination, around.source));
            assert_eq!(header.time_to_live, 64);
            assert_eq!(header.header_checksum, header.calc_header_checksum(), "{around:?}");
            assert_eq!(answer[ip..ip + 8], datagram[ip..ip + 8], "what is before the time to live");
            udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap()
        }
        (Frames::V6(around), Some(NetSlice::Ipv6(header))) => {
            let header = header.header().to_header();
            assert_eq!((header.source, header.destination), (around.destination, around.source));
            assert_eq!(header.hop_limit, 64);
            assert_eq!(answer[ip..ip + 7], datagram[ip..ip + 7], "what is before the hop limit");
            udp.to_header().calc_checksum_ipv6(&header, udp.payload()).unwrap()
        }
        other => panic!("{other:?}"),
    };
    let has_none = datagram[at + 6..at + 8] == [0, 0];
    assert_eq!(udp.checksum(), if has_none { 0 } else { right }, "{frames:?}");
    answer
}

/// The error about a datagram to a closed port, which quotes as much of it as Linux would.
#[track_caller]
fn is_refused(rig: &Rig, frames: &Frames, datagram: &[u8]) {
    let count = rig.reflected_as(Reflected::Udp);
    let ran = rig.run("reflect", datagram);
    assert_eq!(ran.action, XDP_TX, "{frames:?}");
    assert_eq!(rig.reflected_as(Reflected::Udp), count + 1);
    let error = ran.frame;
    let (ip, _) = frames.places();
    assert_eq!((&error[..6], &error[6..12]), (&datagram[6..12], &datagram[..6]));
    assert_eq!(error[12..ip], datagram[12..ip], "tags and type");
    let packet = SlicedPacket::from_ethernet(&error).unwrap();
    let (quote, most) = match (frames, &packet.net, &packet.transport) {
        (Frames::V4(around), Some(NetSlice::Ipv4(header)), Some(TransportSlice::Icmpv4(icmp))) => {
            let header = header.header().to_header();
            assert_eq!((header.source, header.destination), (around.destination, around.source));
            assert_eq!((header.time_to_live, usize::from(header.total_len)), (64, error.len() - ip));
            assert_eq!(header.header_checksum, header.calc_header_checksum(), "{around:?}");
            let kind = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);
            assert_eq!(icmp.icmp_type(), kind);
            assert_eq!(ones_complement_sum(icmp.slice()), 0xffff, "{around:?}");
            (&error[ip + 28..], 548)
        }
        (Frames::V6(around), Some(NetSlice::Ipv6(header)), Some(TransportSlice::Icmpv6(icmp))) => {
            let header = header.header().to_header();
            assert_eq!((header.source, header.destination), (around.destination, around.source));
            assert_eq!((header.hop_limit, usize::from(header.payload_length)), (64, error.len() - ip - 40));
            assert_eq!(icmp.icmp_type(), Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port));
            assert!(icmp.is_checksum_valid(header.source, header.destination), "{around:?}");
            (&error[ip + 48..], 1_232)
        }
        other => panic!("{other:?}"),
    };
    // Ethernet's padding is no part of it.
    let carried = usize::from(u16::from_be_bytes(match frames {
        Frames::V4(_) => [datagram[ip + 2], datagram[ip + 3]],
        Frames::V6(_) => [datagram[ip + 4], datagram[ip + 5]],
    }));
    let whole = if matches!(frames, Frames::V4(_)) { carried } else { carried + 40 };
    assert_eq!(quote, &datagram[ip..ip + whole.min(most)], "{frames:?}");
}

#[track_caller]
fn is_swallowed(rig: &Rig, what: &str, frame: &[u8]) {
    let count = rig.reflected_as(Reflected::Swallowed);
    assert_eq!(rig.run("reflect", frame).action, XDP_DROP, "{what}");
    assert_eq!(rig.reflected_as(Reflected::Swallowed), count + 1, "{what}");
}

#[track_caller]
fn passes(rig: &Rig, what: &str, frame: &[u8]) {
    let counts =
        || [Reflected::Echo, Reflected::Tcp, Reflected::Swallowed, Reflected::Udp].map(|what| rig.reflected_as(what));
    let before = counts();
    let ran = rig.run("reflect", frame);
    assert_eq!(ran.action, XDP_PASS, "{what}");
    assert_eq!(ran.frame, frame, "{what}: bytes were changed");
    assert_eq!(counts(), before, "{what}");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn answers_and_errors_are_valid() {
    let Some(rig) = rig(&[OPEN]) else { return };
    let extremes = || prop_oneof![Just(0u8), Just(0xff), any::<u8>()];
    let cases = (
        (0..=2usize, any::<u8>(), any::<bool>(), any::<[u8; 16]>(), any::<[u8; 16]>()),
        prop_oneof![Just(OPEN), any::<u16>().prop_filter("no questions", |port| *port != DNS)],
        1_024..=u16::MAX,
        (prop::collection::vec(extremes(), 0..1_500), 0..30usize, 0..3u8),
    );
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&cases, |((tags, ttl, v6, mut source, mut destination), port, theirs, (payload, padding, sum))| {
            // Hosts, and not multicast.
            (source[0], destination[0]) = (source[0] & 0x7f | 1, destination[0] & 0x7f | 1);
            let frames = if v6 {
                let around = frames_v6::Around { tags, hop_limit: ttl, source, destination, ..Default::default() };
                Frames::V6(around)
            } else {
                let [source, destination] = [source, destination].map(|address| *address.first_chunk().unwrap());
                Frames::V4(Around { tags, ttl, source, destination, ..Around::default() })
            };
            let mut frame = frames.datagram((theirs, port), &payload);
            let at = frames.places().1;
            // As it ought to be, left to the card, none at all.
            match sum {
                1 if payload.len() <= 1_472 => {
                    let unfinished = frames.unfinished(&frame);
                    frame[at + 6..at + 8].copy_from_slice(&unfinished);
                }
                2 if !v6 => frame[at + 6..at + 8].fill(0),
                _ => {}
            }
            frame.resize(frame.len() + padding, 0x5a);
            if port == OPEN {
                is_answered(&rig, &frames, &frame, &payload);
            } else {
                is_refused(&rig, &frames, &frame);
            }
            Ok(())
        })
        .unwrap();
}

/// Of every payload of one word: among them those whose sum makes the checksum 0, which is sent as 0xffff.
#[test]
#[ignore = "needs root: make test runs it"]
fn checksums_are_right_around_both_zeros() {
    let Some(rig) = rig(&[OPEN, DNS]) else { return };
    for frames in Frames::both(0) {
        let at = frames.places().1;
        let sum_of = |frame: &[u8]| u16::from_be_bytes([frame[at + 6], frame[at + 7]]);
        // A word more in the payload, and the checksum is one less.
        let base = sum_of(&frames.datagram((THEIRS, OPEN), &[0, 0]));
        let mut seen = std::collections::BTreeSet::new();
        for word in
            (base.wrapping_sub(9)..=base).chain(base..=base.saturating_add(9)).chain((0..=u16::MAX).step_by(997))
        {
            let mut frame = frames.datagram((THEIRS, OPEN), &word.to_be_bytes());
            seen.insert(sum_of(&is_answered(&rig, &frames, &frame, &word.to_be_bytes())));
            let unfinished = frames.unfinished(&frame);
            frame[at + 6..at + 8].copy_from_slice(&unfinished);
            is_answered(&rig, &frames, &frame, &word.to_be_bytes());
            is_refused(&rig, &frames, &frames.datagram((THEIRS, CLOSED), &word.to_be_bytes()));
            // The flags of a question change its checksum.
            let (asked, answered) = question(word, [1, 0], [0x81, 0x80], b"");
            is_answered(&rig, &frames, &frames.datagram((THEIRS, DNS), &asked), &answered);
        }
        assert!(seen.contains(&0xffff) && !seen.contains(&0), "{frames:?} {seen:x?}");
    }
}

/// A query with this identifier and flags, and the response to it; `behind` its question.
fn question(id: u16, asked: [u8; 2], answered: [u8; 2], behind: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let of = |flags: [u8; 2]| {
        let counts = [0, 1, 0, 0, 0, 0, 0, u8::from(!behind.is_empty())];
        [&id.to_be_bytes()[..], &flags, &counts, b"\x07example\x03com\0", &[0, 28, 0, 1], behind].concat()
    };
    (of(asked), of(answered))
}

#[test]
#[ignore = "needs root: make test runs it"]
fn questions_are_answered_and_all_else_at_that_port_is_swallowed() {
    let Some(rig) = rig(&[DNS, OPEN]) else { return };
    // What tells of a client's buffer (RFC 6891).
    let options: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    for frames in (0..=2).flat_map(Frames::both) {
        let theirs = [THEIRS, DNS, 1];
        // Recursion desired, checking disabled; what a query has no business to say, and a code.
        for (asked, answered) in
            [([0, 0], [0x80, 0x80]), ([1, 0], [0x81, 0x80]), ([1, 0x10], [0x81, 0x90]), ([7, 0xef], [0x81, 0x80])]
        {
            for behind in [&b""[..], options] {
                let (asked, answered) = question(0xa1b2, asked, answered, behind);
                for theirs in theirs {
                    is_answered(&rig, &frames, &frames.datagram((theirs, DNS), &asked), &answered);
                }
            }
        }
        let (good, _) = question(0xa1b2, [1, 0], [0; 2], b"");
        let swallows = |what: &str, payload: &[u8]| {
            is_swallowed(&rig, what, &frames.datagram((THEIRS, DNS), payload));
        };
        for length in 0..12 {
            swallows(&format!("cut to {length}"), &good[..length]);
        }
        for (what, at, value) in [
            ("a response", 2, 0x81),
            ("another opcode", 2, 0x09),
            ("no question", 5, 0),
            ("two questions", 5, 2),
            ("256 questions more", 4, 1),
            ("an answer", 7, 1),
            ("an authority", 9, 1),
        ] {
            let mut wrong = good.clone();
            wrong[at] = value;
            swallows(what, &wrong);
            // Where it is not port 53, nobody looks.
            is_answered(&rig, &frames, &frames.datagram((THEIRS, OPEN), &wrong), &wrong);
        }
    }
    // A closed port 53 is a port like any other.
    let mut rig = rig;
    rig.answer_udp(&[OPEN]);
    for frames in Frames::both(0) {
        let (asked, _) = question(1, [1, 0], [0; 2], b"");
        is_refused(&rig, &frames, &frames.datagram((THEIRS, DNS), &asked));
    }
}

/// The verifier gives up at a million instructions, all paths together; older kernels tell paths apart that newer ones don't.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_verifier_has_little_to_do() {
    let (Some(rig), Some(far)) = (Rig::load(), Rig::load_far()) else { return };
    let verified = [rig.verified("reflect"), far.verified("impair")];
    println!("reflect, impair: {verified:?} instructions");
    assert!(verified.iter().all(|instructions| *instructions < 200_000), "{verified:?}");
}

/// Two services that answer each other would do so for ever.
#[test]
#[ignore = "needs root: make test runs it"]
fn what_comes_from_a_service_is_not_sent_back() {
    let Some(rig) = rig(&[7, OPEN]) else { return };
    for frames in Frames::both(0) {
        for theirs in [0, 1, 7, 53, 1_023] {
            is_swallowed(&rig, "from a service", &frames.datagram((theirs, 7), b"round and round"));
            is_refused(&rig, &frames, &frames.datagram((theirs, CLOSED), b"once"));
        }
        is_answered(&rig, &frames, &frames.datagram((1_024, 7), b"from a client"), b"from a client");
    }
}

/// However long, in however many pieces: sent back whole, and quoted as far as an error goes. What its sender left unsummed and is
/// longer than an Ethernet frame is the kernel's.
#[test]
#[ignore = "needs root: make test runs it"]
fn long_datagrams_are_answered() {
    let Some(rig) = rig(&[OPEN]) else { return };
    for frames in Frames::both(0) {
        for length in [0, 1, 519, 520, 521, 1_183, 1_184, 1_185, 1_471, 1_472, 1_473, 8_001] {
            let payload = vec![7; length];
            let mut frame = frames.datagram((THEIRS, OPEN), &payload);
            is_answered(&rig, &frames, &frame, &payload);
            is_refused(&rig, &frames, &frames.datagram((THEIRS, CLOSED), &payload));
            let (at, unfinished) = (frames.places().1, frames.unfinished(&frame));
            frame[at + 6..at + 8].copy_from_slice(&unfinished);
            if length <= 1_472 {
                is_answered(&rig, &frames, &frame, &payload);
            } else {
                passes(&rig, "long and unfinished", &frame);
            }
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn all_else_is_passed() {
    let Some(rig) = rig(&[OPEN]) else { return };
    for tags in 0..=2 {
        let v4 = Around { tags, ..Around::default() };
        let v6 = frames_v6::Around { tags, ..frames_v6::Around::default() };
        for port in [OPEN, CLOSED] {
            let of_v4 = |around: &Around| around.any_udp((THEIRS, port), &[9; 18]);
            let of_v6 = |around: &frames_v6::Around| around.any_udp((THEIRS, port), &[9; 18]);
            passes(&rig, "first fragment", &of_v4(&Around { more_fragments: true, ..v4.clone() }));
            passes(&rig, "later fragment", &of_v4(&Around { fragment_offset: 1, ..v4.clone() }));
            passes(&rig, "IP options", &of_v4(&Around { options: 1, ..v4.clone() }));
            for extension in [frames_v6::HOP_BY_HOP, frames_v6::ROUTING, frames_v6::FRAGMENT, frames_v6::DESTINATION] {
                let around = frames_v6::Around { extensions: vec![(extension, 0)], ..v6.clone() };
                passes(&rig, "extension header", &of_v6(&around));
            }
            for address in [[224, 0, 0, 1], [255; 4], [0; 4]] {
                passes(&rig, "to many", &of_v4(&Around { destination: address, ..v4.clone() }));
                passes(&rig, "from many", &of_v4(&Around { source: address, ..v4.clone() }));
            }
            let mut many = frames_v6::OURS;
            many[0] = 0xff;
            for address in [many, [0; 16]] {
                passes(&rig, "to many or nobody", &of_v6(&frames_v6::Around { destination: address, ..v6.clone() }));
                passes(&rig, "from many or nobody", &of_v6(&frames_v6::Around { source: address, ..v6.clone() }));
            }
        }
        passes(&rig, "TCP", &v4.tcp(&[9; 18]));
        passes(&rig, "an echo reply", &v4.echo_reply(1, 2, &[9; 18]));
        passes(&rig, "an error", &v4.error(3, 3, &v4.udp(&[9; 18])[v4.ip()..]));
        for frames in Frames::both(tags) {
            let (ip, at) = frames.places();
            let whole = frames.datagram((THEIRS, OPEN), &[9; 18]);
            for mac in [0, 6] {
                let mut frame = whole.clone();
                frame[mac] |= 1;
                passes(&rig, "a group's MAC address", &frame);
            }
            for length in 14..whole.len() {
                passes(&rig, &format!("{frames:?} cut to {length}"), &whole[..length]);
            }
            let is_v4 = matches!(frames, Frames::V4(_));
            let (length_at, rest) = if is_v4 { (ip + 2, 20) } else { (ip + 4, 0) };
            for said in [0, rest, rest + 7, rest + 25, rest + 27, u16::MAX] {
                let mut frame = whole.clone();
                frame[length_at..length_at + 2].copy_from_slice(&said.to_be_bytes());
                passes(&rig, &format!("{frames:?} says {said} bytes"), &frame);
            }
            for said in [0, 7, 27, u16::MAX] {
                let mut frame = whole.clone();
                frame[at + 4..at + 6].copy_from_slice(&u16::to_be_bytes(said));
                passes(&rig, &format!("{frames:?}, a datagram of {said} bytes"), &frame);
            }
            if !is_v4 {
                let mut frame = whole.clone();
                frame[at + 6..at + 8].fill(0);
                passes(&rig, "no checksum over IPv6", &frame);
            }
            is_answered(&rig, &frames, &whole, &[9; 18]);
        }
    }
    passes(&rig, "ARP", &frames::arp());
    let request = Around::default().echo_request(1, 2, &[9; 18]);
    assert_eq!((rig.run("reflect", &request).action, rig.reflected()), (XDP_TX, 1), "echo requests as ever");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn udp_is_the_kernels_unless_it_is_asked_for() {
    let Some(mut rig) = Rig::load() else { return };
    for asks_tcp in [false, true] {
        for frames in (0..=2).flat_map(Frames::both) {
            passes(&rig, "a datagram", &frames.datagram((THEIRS, OPEN), &[9; 18]));
            passes(&rig, "a question", &frames.datagram((THEIRS, DNS), &question(1, [1, 0], [0; 2], b"").0));
        }
        if !asks_tcp {
            rig.answer_tcp(&[OPEN]);
        }
    }
}
