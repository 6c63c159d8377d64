//! `reflect` with TCP: etherparse judges its answers.

use super::{
    Rig, XDP_DROP, XDP_PASS, XDP_TX,
    frames::{self, Around},
    frames_v6,
};
use echolot::base::Family;
use etherparse::{NetSlice, SlicedPacket, TcpHeader, TransportSlice};
use probe_ebpf::layout::Reflected;
use proptest::{prelude::*, test_runner::TestRunner};

/// A port of theirs, and of ours one that is open and one that is closed.
const THEIRS: u16 = 40_000;
const OPEN: u16 = 443;
const CLOSED: u16 = 444;

/// Which answers TCP, with these ports open.
fn rig(open: &[u16]) -> Option<Rig> {
    let mut rig = Rig::load()?;
    rig.answer_tcp(open);
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

    fn segment(&self, header: &TcpHeader, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(around) => around.any_tcp(header, payload),
            Self::V6(around) => around.any_tcp(header, payload),
        }
    }

    /// Where the IP header begins, and the segment.
    fn places(&self) -> (usize, usize) {
        match self {
            Self::V4(around) => (around.ip(), around.icmp()),
            Self::V6(around) => (around.ip(), around.icmp()),
        }
    }
}

fn syn(port: u16, sequence: u32) -> TcpHeader {
    TcpHeader { syn: true, ..TcpHeader::new(THEIRS, port, sequence, 1_024) }
}

/// With the options of Linux.
fn syn_of_linux(port: u16, sequence: u32) -> TcpHeader {
    let mut header = syn(port, sequence);
    header.set_options_raw(&[2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]).unwrap();
    header
}

/// The answer to a SYN: whole and right, with nothing of the SYN in it but what belongs there. `open`: what it should say.
#[track_caller]
fn is_answered(rig: &Rig, frames: &Frames, syn: &[u8], open: bool) {
    let count = rig.reflected_as(Reflected::Tcp);
    let ran = rig.run("reflect", syn);
    assert_eq!(ran.action, XDP_TX, "{frames:?}");
    assert_eq!(rig.reflected_as(Reflected::Tcp), count + 1);
    let answer = ran.frame;
    let (ip, at) = frames.places();
    assert_eq!(answer.len(), (at + 20).max(60).min(syn.len()), "{frames:?}");
    assert_eq!((&answer[..6], &answer[6..12]), (&syn[6..12], &syn[..6]));
    assert_eq!(answer[12..ip], syn[12..ip], "tags and type");

    let (asked, _) = TcpHeader::from_slice(&syn[at..]).unwrap();
    let packet = SlicedPacket::from_ethernet(&answer).unwrap();
    let Some(TransportSlice::Tcp(segment)) = &packet.transport else { panic!("no TCP") };
    let right = match (frames, &packet.net) {
        (Frames::V4(around), Some(NetSlice::Ipv4(header))) => {
            let header = header.header().to_header();
            assert_eq!((header.source, header.destination), (around.destination, around.source));
            assert_eq!((header.total_len, header.time_to_live), (40, 64));
            assert_eq!(header.header_checksum, header.calc_header_checksum(), "{around:?}");
            // What is neither length nor address is the SYN's.
            assert_eq!(answer[ip..ip + 2], syn[ip..ip + 2]);
            assert_eq!(answer[ip + 4..ip + 8], syn[ip + 4..ip + 8]);
            segment.calc_checksum_ipv4(header.source, header.destination).unwrap()
        }
        (Frames::V6(around), Some(NetSlice::Ipv6(header))) => {
            let header = header.header().to_header();
            assert_eq!((header.source, header.destination), (around.destination, around.source));
            assert_eq!((header.payload_length, header.hop_limit), (20, 64));
            assert_eq!(answer[ip..ip + 4], syn[ip..ip + 4], "flow");
            segment.calc_checksum_ipv6(header.source, header.destination).unwrap()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(segment.checksum(), right, "{frames:?}");
    let said = segment.to_header();
    let expected = TcpHeader {
        acknowledgment_number: asked.sequence_number.wrapping_add(1),
        ack: true,
        syn: open,
        rst: !open,
        window_size: if open { u16::MAX } else { 0 },
        sequence_number: if open { said.sequence_number } else { 0 },
        checksum: right,
        ..TcpHeader::new(asked.destination_port, asked.source_port, 0, 0)
    };
    assert_eq!(said, expected, "{frames:?}");
    assert!(!open || said.sequence_number != asked.sequence_number, "not theirs sent back");
    assert_eq!(segment.payload(), [0; 0]);
}

#[track_caller]
fn is_swallowed(rig: &Rig, what: &str, frame: &[u8]) {
    let count = rig.reflected_as(Reflected::Swallowed);
    assert_eq!(rig.run("reflect", frame).action, XDP_DROP, "{what}");
    assert_eq!(rig.reflected_as(Reflected::Swallowed), count + 1, "{what}");
}

#[track_caller]
fn passes(rig: &Rig, what: &str, frame: &[u8]) {
    let counts = || [Reflected::Echo, Reflected::Tcp, Reflected::Swallowed].map(|what| rig.reflected_as(what));
    let before = counts();
    let ran = rig.run("reflect", frame);
    assert_eq!(ran.action, XDP_PASS, "{what}");
    assert_eq!(ran.frame, frame, "{what}: bytes were changed");
    assert_eq!(counts(), before, "{what}");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn answers_are_valid() {
    let Some(rig) = rig(&[OPEN, 80]) else { return };
    let extremes = || prop_oneof![Just(0u8), Just(0xff), any::<u8>()];
    let cases = (
        (0..=2usize, any::<u8>(), any::<bool>(), any::<[u8; 16]>(), any::<[u8; 16]>()),
        prop_oneof![Just(0u32), Just(u32::MAX), Just(u32::MAX - 1), any::<u32>()],
        prop_oneof![Just(OPEN), Just(80), any::<u16>()],
        any::<u16>(),
        // Options, data, padding.
        (0..=10usize, prop::collection::vec(extremes(), 0..100), 0..30usize),
    );
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&cases, |((tags, ttl, v6, mut source, mut destination), sequence, port, theirs, behind)| {
            let (options, payload, padding) = behind;
            // Hosts, and not multicast.
            (source[0], destination[0]) = (source[0] & 0x7f | 1, destination[0] & 0x7f | 1);
            let frames = if v6 {
                let around = frames_v6::Around { tags, hop_limit: ttl, source, destination, ..Default::default() };
                Frames::V6(around)
            } else {
                let [source, destination] = [source, destination].map(|address| *address.first_chunk().unwrap());
                Frames::V4(Around { tags, ttl, source, destination, ..Around::default() })
            };
            let mut header = syn(port, sequence);
            header.source_port = theirs;
            // Congestion notification is asked for in a SYN.
            (header.ece, header.cwr) = (options % 2 == 1, options % 2 == 1);
            header.set_options_raw(&vec![1; 4 * options]).unwrap();
            let mut frame = frames.segment(&header, &payload);
            frame.resize(frame.len() + padding, 0x5a);
            is_answered(&rig, &frames, &frame, port == OPEN || port == 80);
            Ok(())
        })
        .unwrap();
}

/// Every checksum that an answer can have, 0x0000 among them.
#[test]
#[ignore = "needs root: make test runs it"]
fn checksums_are_right_around_both_zeros() {
    let Some(rig) = rig(&[OPEN]) else { return };
    for frames in Frames::both(0) {
        let (_, at) = frames.places();
        let of = |port, sequence| {
            let frame = rig.run("reflect", &frames.segment(&syn(port, sequence), &[])).frame;
            u16::from_be_bytes([frame[at + 16], frame[at + 17]])
        };
        // The acknowledgment is all that changes in a RST: a number more, and the checksum is one less.
        let base = u32::from(of(CLOSED, 0));
        let mut seen = std::collections::BTreeSet::new();
        for sequence in (base.saturating_sub(40)..base + 40).chain((0..0x1_0000).step_by(997)) {
            for port in [OPEN, CLOSED] {
                is_answered(&rig, &frames, &frames.segment(&syn(port, sequence), &[]), port == OPEN);
            }
            seen.insert(of(CLOSED, sequence));
        }
        assert!([0, 1, 0xfffe].iter().all(|near| seen.contains(near)), "{frames:?}");
        assert!(!seen.contains(&0xffff), "what is summed is never all zero");
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn ports_are_open_to_the_first_and_the_last() {
    let edges = [0, 1, 63, 64, 65, 127, 128, 443, 32_767, 32_768, 65_471, 65_472, 65_534, 65_535];
    let Some(mut rig) = Rig::load() else { return };
    let frames = Frames::of(Family::V4, 0);
    for open in [&[][..], &[0], &[65_535], &[63, 64, 65_472], &edges] {
        rig.answer_tcp(open);
        for port in edges.into_iter().chain((0..=u16::MAX).step_by(991)) {
            is_answered(&rig, &frames, &frames.segment(&syn(port, 1), &[]), open.contains(&port));
        }
    }
}

/// Nobody answers a RST, and no kernel gets to see what would make it send one.
#[test]
#[ignore = "needs root: make test runs it"]
fn what_is_no_syn_is_swallowed() {
    let Some(rig) = rig(&[OPEN]) else { return };
    for frames in (0..=2).flat_map(Frames::both) {
        for flags in 0..=u8::MAX {
            let mut frame = frames.segment(&syn(OPEN, 7), &[9; 18]);
            frame[frames.places().1 + 13] = flags;
            // SYN, and of FIN, RST and ACK none.
            if flags & 0b1_0111 == 0b10 {
                is_answered(&rig, &frames, &frame, true);
            } else {
                is_swallowed(&rig, &format!("{frames:?} flags {flags:#010b}"), &frame);
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
        let header = syn_of_linux(OPEN, 1);
        let of_v4 = |around: &Around| around.any_tcp(&header, &[]);
        let of_v6 = |around: &frames_v6::Around| around.any_tcp(&header, &[]);
        passes(&rig, "UDP", &v4.udp(&[9; 18]));
        passes(&rig, "UDP over IPv6", &v6.udp(&[9; 18]));
        passes(&rig, "an echo reply", &v4.echo_reply(1, 2, &[9; 18]));
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
        for (frames, header_length) in Frames::both(tags).into_iter().zip([20, 40]) {
            let whole = frames.segment(&header, &[]);
            let (ip, at) = frames.places();
            for mac in [0, 6] {
                let mut frame = whole.clone();
                frame[mac] |= 1;
                passes(&rig, "a group's MAC address", &frame);
            }
            for length in 14..whole.len() {
                passes(&rig, &format!("{frames:?} cut to {length}"), &whole[..length]);
            }
            // Less than its header says, none at all, more than there is.
            let length_at = if header_length == 20 { ip + 2 } else { ip + 4 };
            let rest = if header_length == 20 { 20 } else { 0 };
            for said in [0, rest, rest + 19, rest + 20, rest + 39, rest + 41, u16::MAX] {
                let mut frame = whole.clone();
                frame[length_at..length_at + 2].copy_from_slice(&said.to_be_bytes());
                passes(&rig, &format!("{frames:?} says {said} bytes"), &frame);
            }
            for offset in [0, 4, 11, 15] {
                let mut frame = whole.clone();
                frame[at + 12] = offset << 4;
                passes(&rig, &format!("{frames:?} header of {offset} words"), &frame);
            }
            let mut frame = whole.clone();
            frame[ip] ^= 0x10;
            passes(&rig, "another version", &frame);
            is_answered(&rig, &frames, &whole, true);
        }
    }
    passes(&rig, "ARP", &frames::arp());
    let request = Around::default().echo_request(1, 2, &[9; 18]);
    assert_eq!((rig.run("reflect", &request).action, rig.reflected()), (XDP_TX, 1), "echo requests as ever");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn tcp_is_the_kernels_unless_it_is_asked_for() {
    let Some(rig) = Rig::load() else { return };
    for frames in (0..=2).flat_map(Frames::both) {
        passes(&rig, "SYN", &frames.segment(&syn_of_linux(OPEN, 1), &[]));
        passes(&rig, "RST", &frames.segment(&TcpHeader { rst: true, ..TcpHeader::new(THEIRS, OPEN, 1, 0) }, &[]));
    }
}

/// However much data a SYN brings, in however many pieces, its answer is short.
#[test]
#[ignore = "needs root: make test runs it"]
fn long_syns_are_answered_shortly() {
    let Some(rig) = rig(&[OPEN]) else { return };
    for frames in Frames::both(0) {
        for length in [0, 1, 3, 1_000, 1_459, 8_001] {
            is_answered(&rig, &frames, &frames.segment(&syn_of_linux(OPEN, 1), &vec![7; length]), true);
        }
    }
}
