//! What `steer` makes of TCP, over both families: what answers a SYN of ours, or is an error about one, is taken if its sequence number
//! proves itself; all else is the kernel's.

use super::{
    Rig,
    frames::{self, Segment},
    frames_v6,
    v6::settings_v6,
};
use crate::{IDENTIFIER, KEY, SEQUENCE, is_taken, passes, payload};
use echolot::{
    base::{Family, Nanos, PortState, Sequence, TargetIndex},
    wire::{Heard, Key, Kind, NumberIn, Origin, ProbeFields, Says, Shape, Tag, Tags, Template, read_frame},
};
use probe_ebpf::layout::{LIVE_FRAME, MAX_FRAME, Settings, Verdict};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const FIRST_PORT: u16 = 61_000;
const PORTS: u16 = 3;
const PORT: u16 = 443;
/// Number of the probe that is answered.
const NUMBER: u16 = 0x1234;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

fn settings() -> Settings {
    Settings { first_port: FIRST_PORT, port_count: PORTS.into(), ..settings_v6(&[frames_v6::OURS]) }
}

fn rig() -> Option<Rig> {
    let mut rig = Rig::load()?;
    rig.configure(&settings());
    rig.open_socket();
    Some(rig)
}

/// What lies around a segment or an error, from them to us.
#[derive(Clone, Debug)]
enum Around {
    V4(frames::Around),
    V6(frames_v6::Around),
}

impl Around {
    fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4(frames::Around::default()),
            Family::V6 => Self::V6(frames_v6::Around::default()),
        }
    }

    fn both() -> [Self; 2] {
        [Family::V4, Family::V6].map(Self::of)
    }

    /// Tags, options and extension headers in all numbers that there are.
    fn all() -> Vec<Self> {
        let v4 =
            |tags| (0..=10).map(move |options| Self::V4(frames::Around { tags, options, ..frames::Around::default() }));
        let v6 = |tags| {
            let all = frames_v6::walkable().into_iter();
            all.map(move |extensions| Self::V6(frames_v6::Around { tags, extensions, ..frames_v6::Around::default() }))
        };
        (0..=2).flat_map(|tags| v4(tags).chain(v6(tags))).collect()
    }

    /// Few of them.
    fn some() -> Vec<Self> {
        let few = |around: &Self| match around {
            Self::V4(around) => matches!(around.options, 0 | 1 | 10),
            Self::V6(around) => frames_v6::length(&around.extensions) < 100,
        };
        Self::all().into_iter().filter(few).collect()
    }

    fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// From somebody else.
    fn by_router(&self) -> Self {
        match self.clone() {
            Self::V4(around) => Self::V4(frames::Around { source: [203, 0, 113, 1], ..around }),
            Self::V6(around) => Self::V6(frames_v6::Around { source: [0xfe; 16], ..around }),
        }
    }

    /// Where the IP header begins.
    fn ip(&self) -> usize {
        match self {
            Self::V4(around) => around.ip(),
            Self::V6(around) => around.ip(),
        }
    }

    /// Where the segment or message begins.
    fn body(&self) -> usize {
        match self {
            Self::V4(around) => around.icmp(),
            Self::V6(around) => around.icmp(),
        }
    }

    /// Where source and destination address begin, and their size.
    fn addresses(&self) -> ([usize; 2], usize) {
        match self {
            Self::V4(around) => ([12, 16].map(|at| around.ip() + at), 4),
            Self::V6(around) => ([8, 24].map(|at| around.ip() + at), 16),
        }
    }

    fn segment(&self, segment: &Segment) -> Vec<u8> {
        match self {
            Self::V4(around) => around.segment(segment),
            Self::V6(around) => around.segment(segment),
        }
    }

    /// An error about what is quoted.
    fn error(&self, quote: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(around) => around.error(3, 1, quote),
            Self::V6(around) => around.message(1, 3, quote),
        }
    }

    /// Makes the IP header say that so many bytes are behind it and what belongs to it.
    fn say_length(&self, frame: &mut [u8], behind: usize) {
        let (at, before) = match self {
            Self::V4(around) => (around.ip() + 2, around.icmp() - around.ip()),
            Self::V6(around) => (around.ip() + 4, around.icmp() - around.ip() - 40),
        };
        frame[at..at + 2].copy_from_slice(&u16::try_from(before + behind).unwrap().to_be_bytes());
    }
}

fn ours(family: Family) -> IpAddr {
    match family {
        Family::V4 => frames::OURS.into(),
        Family::V6 => frames_v6::OURS.into(),
    }
}

fn theirs(family: Family) -> IpAddr {
    match family {
        Family::V4 => frames::THEIRS.into(),
        Family::V6 => frames_v6::THEIRS.into(),
    }
}

fn template(family: Family, flow: u16) -> Template {
    let origin = Origin {
        mac: [2, 0, 0, 0, 0, 1],
        source: ours(family),
        identifier: IDENTIFIER,
        first_port: FIRST_PORT,
        flow_key: Key(KEY).flow_key(),
    };
    Template::new(Shape { flow, ..Shape::of(Kind::Tcp { port: PORT }).over(family) }, origin).unwrap()
}

/// The sequence number of our SYN.
fn initial(family: Family, flow: u16) -> u32 {
    template(family, flow).initial_sequence(theirs(family), Sequence(NUMBER), &Key(KEY)).unwrap()
}

/// A segment with these flags that acknowledges so much beyond our SYN.
fn answer(family: Family, flags: u8, beyond: u32) -> Segment {
    Segment {
        ports: (PORT, FIRST_PORT + 1),
        flags,
        acknowledgment: initial(family, 1).wrapping_add(beyond),
        ..Segment::default()
    }
}

/// All answers that there are: flags, what is acknowledged, and what it says.
const ANSWERS: [(u8, u32, Says); 4] = [
    (SYN | ACK, 1, Says::Port(PortState::Open)),
    (RST | ACK, 1, Says::Port(PortState::Closed)),
    (RST | ACK, 0, Says::Port(PortState::Closed)),
    (ACK, 1, Says::HalfOpen),
];

/// Our SYN as it is quoted, IP header first.
fn syn(family: Family, flow: u16) -> Vec<u8> {
    let template = template(family, flow);
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    template.write(&mut frame, &fields(family), &Key(KEY));
    frame.split_off(14)
}

fn fields(family: Family) -> ProbeFields {
    ProbeFields {
        destination: theirs(family),
        target: TargetIndex(7),
        generation: echolot::base::Generation(1),
        sequence: Sequence(NUMBER),
        sent: Nanos::from_secs(1000),
        next_hop_mac: [2, 0, 0, 0, 0, 2],
    }
}

fn heard(frame: &[u8]) -> echolot::wire::PortReport {
    match read_frame(frame) {
        Ok(Heard::Port(segment)) => segment,
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn answers_are_taken_whatever_lies_around_them() {
    let Some(rig) = rig() else { return };
    for around in Around::all() {
        let family = around.family();
        for (flags, beyond, says) in ANSWERS {
            for (flow, options, payload) in [(0, 0, 0), (1, 20, 0), (2, 40, 9)] {
                let segment = Segment {
                    ports: (PORT, FIRST_PORT + flow),
                    acknowledgment: initial(family, flow).wrapping_add(beyond),
                    options: vec![1; options],
                    payload: vec![7; payload],
                    ..answer(family, flags, beyond)
                };
                let what = format!("{around:?} {segment:?}");
                let mut frame = around.segment(&segment);
                let read = heard(&is_taken(&rig, &what, &frame));
                assert_eq!((read.says, read.number(&Key(KEY), NumberIn::Answer)), (says, Some((0x34, 0xff))), "{what}");
                assert_eq!((read.from, read.source), (theirs(family), ours(family)), "{what}");
                assert_eq!(read.ports, (FIRST_PORT + flow, PORT), "{what}");
                frame.resize(frame.len() + 40, 0xff);
                is_taken(&rig, &format!("padded by Ethernet, {what}"), &frame);
            }
        }
    }
}

/// Of the flags four count. Urgent data, pushed data, congestion: whatever else they say.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_flags_say_whether_it_is_an_answer() {
    let Some(rig) = rig() else { return };
    for around in Around::both() {
        let mut frame = around.segment(&answer(around.family(), ACK, 1));
        let mut forged = around.segment(&answer(around.family(), ACK, 0x100));
        for flags in 0..=255 {
            frame[around.body() + 13] = flags;
            forged[around.body() + 13] = flags;
            let what = format!("{around:?}, flags {flags:#010b}");
            let without_proof = match flags & (FIN | SYN | RST | ACK) {
                0x12 | 0x14 => Verdict::Cookie,
                RST => Verdict::ResetWithoutAck,
                _ => Verdict::NotReply,
            };
            match flags & (FIN | SYN | RST | ACK) {
                0x12 | 0x14 | ACK => drop(is_taken(&rig, &what, &frame)),
                _ => passes(&rig, &what, &frame, without_proof),
            }
            passes(&rig, &format!("without proof, {what}"), &forged, without_proof);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_checksum_is_not_asked_for() {
    let Some(rig) = rig() else { return };
    for around in Around::both() {
        for (flags, beyond, _) in ANSWERS {
            let mut frame = around.segment(&answer(around.family(), flags, beyond));
            frame[around.body() + 16] ^= 0xff;
            is_taken(&rig, "wrong checksum", &frame);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_cut_answer_is_never_taken() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        for (flags, beyond, _) in ANSWERS {
            let segment = Segment { options: vec![1; 12], ..answer(around.family(), flags, beyond) };
            let frame = around.segment(&segment);
            for length in 14..frame.len() {
                let verdict = if length < around.body() + 20 { Verdict::Malformed } else { Verdict::Truncated };
                passes(&rig, &format!("{around:?} {segment:?} cut to {length}"), &frame[..length], verdict);
            }
            is_taken(&rig, "whole", &frame);
        }
    }
}

/// What the IP header doesn't cover is padding, even if it looks like the rest of an answer.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_ip_header_says_how_long_a_segment_is() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        let segment = Segment { options: vec![1; 8], payload: vec![3; 5], ..answer(around.family(), SYN | ACK, 1) };
        let mut frame = around.segment(&segment);
        for length in 0..=33 {
            around.say_length(&mut frame, length);
            let what = format!("{around:?} said to have {length} bytes");
            if length < 28 {
                passes(&rig, &what, &frame, Verdict::Malformed)
            } else {
                drop(is_taken(&rig, &what, &frame))
            }
        }
        for length in [34, 1500, 60_000] {
            around.say_length(&mut frame, length);
            passes(&rig, &format!("{around:?} said to have {length} bytes"), &frame, Verdict::Truncated);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_header_is_as_long_as_its_offset_says() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        for (flags, beyond, _) in ANSWERS {
            let mut frame = around.segment(&Segment { payload: vec![3; 13], ..answer(around.family(), flags, beyond) });
            for words in 0..16 {
                frame[around.body() + 12] = words << 4 | 0xf;
                let what = format!("{around:?}, {words} words of 33 bytes");
                if matches!(words, 5..=8) {
                    is_taken(&rig, &what, &frame);
                } else {
                    passes(&rig, &what, &frame, Verdict::Malformed);
                }
            }
        }
    }
}

/// A connection of somebody else on this host: a container behind an address translation may even use our ports.
#[test]
#[ignore = "needs root: make test runs it"]
fn what_is_not_ours_is_passed() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        let family = around.family();
        let (([_, destination], size), body) = (around.addresses(), around.body());
        for (flags, beyond, _) in ANSWERS {
            let good = around.segment(&answer(family, flags, beyond));
            for port in [0, 80, FIRST_PORT - 1, FIRST_PORT + PORTS, u16::MAX] {
                let mut other = good.clone();
                other[body + 2..body + 4].copy_from_slice(&port.to_be_bytes());
                passes(&rig, &format!("{around:?}, to port {port}"), &other, Verdict::NotReply);
            }
            for bit in 0..8 * size {
                let mut other = good.clone();
                other[destination + bit / 8] ^= 1 << (bit % 8);
                passes(&rig, &format!("{around:?}, to another address"), &other, Verdict::ForeignAddress);
            }
        }
        let data = Segment { payload: vec![5; 1000], ..answer(family, ACK | 8, 0x0012_3456) };
        passes(&rig, "data", &around.segment(&data), Verdict::NotReply);
        passes(&rig, "the end of a connection", &around.segment(&answer(family, FIN | ACK, 1)), Verdict::NotReply);
        passes(&rig, "a connection to us", &around.segment(&answer(family, SYN, 1)), Verdict::NotReply);
    }
    // What we send, where it comes back to us or to a neighbour of ours.
    for family in [Family::V4, Family::V6] {
        let mut probe = vec![2; 14];
        probe[12..].copy_from_slice(if family == Family::V4 { &[8, 0] } else { &[0x86, 0xdd] });
        probe.extend(syn(family, 1));
        passes(&rig, "our own SYN", &probe, Verdict::NotReply);
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn fragments_are_passed() {
    let Some(rig) = rig() else { return };
    let plain = frames::Around::default();
    for (flags, beyond, _) in ANSWERS {
        let first = frames::Around { more_fragments: true, ..plain.clone() };
        let segment = answer(Family::V4, flags, beyond);
        passes(&rig, "the first", &first.segment(&segment), Verdict::NotReply);
        for fragment_offset in [1, 8, 0x1fff] {
            let later = frames::Around { fragment_offset, ..plain.clone() };
            passes(&rig, "a later one", &later.segment(&segment), Verdict::NotReply);
        }
        for extensions in [vec![(frames_v6::FRAGMENT, 0)], vec![(frames_v6::HOP_BY_HOP, 0), (frames_v6::FRAGMENT, 0)]] {
            let around = frames_v6::Around { extensions, ..frames_v6::Around::default() };
            let only = around.segment(&answer(Family::V6, flags, beyond));
            passes(&rig, "the only one", &only, Verdict::NotReply);
        }
        let around =
            frames_v6::Around { extensions: vec![(frames_v6::DESTINATION, 0); 5], ..frames_v6::Around::default() };
        passes(&rig, "five", &around.segment(&answer(Family::V6, flags, beyond)), Verdict::NotReply);
    }
}

/// Addresses, ports and all of the number are covered: a single other bit, and nothing is proven.
#[test]
#[ignore = "needs root: make test runs it"]
fn an_answer_must_prove_that_the_syn_was_ours() {
    let Some(rig) = rig() else { return };
    let extended = frames_v6::Around {
        tags: 1,
        extensions: vec![(frames_v6::HOP_BY_HOP, 0), (frames_v6::ROUTING, 2)],
        ..frames_v6::Around::default()
    };
    let [v4, v6] = Around::both();
    for around in [v4, v6, Around::V6(extended)] {
        let family = around.family();
        let (([source, _], size), body) = (around.addresses(), around.body());
        for (flags, beyond, _) in ANSWERS {
            let good = around.segment(&answer(family, flags, beyond));
            is_taken(&rig, "good", &good);
            for byte in (source..source + size).chain(body..body + 4).chain(body + 8..body + 12) {
                for bit in 0..8 {
                    let mut wrong = good.clone();
                    wrong[byte] ^= 1 << bit;
                    let what = format!("{around:?}, flags {flags:#x}, bit {bit} of byte {byte}");
                    let number = |at: usize| u16::from_be_bytes([wrong[at], wrong[at + 1]]);
                    let acknowledged = u32::from(number(body + 8)) << 16 | u32::from(number(body + 10));
                    // A RST may acknowledge the SYN or nothing of it: where one is taken for the other it is proven still.
                    let is_other = flags == RST | ACK && acknowledged.wrapping_sub(initial(family, 1)) < 2;
                    let is_ours = (FIRST_PORT..FIRST_PORT + PORTS).contains(&number(body + 2));
                    if is_other && byte >= body + 8 {
                        is_taken(&rig, &what, &wrong);
                    } else if flags == ACK || !is_ours {
                        passes(&rig, &what, &wrong, Verdict::NotReply);
                    } else {
                        passes(&rig, &what, &wrong, Verdict::Cookie);
                    }
                }
            }
            // Its own sequence number, window, checksum and urgent pointer are its sender's affair.
            for byte in (body + 4..body + 8).chain(body + 14..body + 20) {
                let mut other = good.clone();
                other[byte] ^= 0xff;
                is_taken(&rig, "what is not covered", &other);
            }
        }
        // Of what else could be acknowledged nothing is ours, nor is it by who acknowledges nothing.
        for beyond in (2..500).chain([u32::MAX, 1 << 31, 0x100, 0x101]) {
            passes(&rig, "beyond", &around.segment(&answer(family, SYN | ACK, beyond)), Verdict::Cookie);
            passes(&rig, "beyond", &around.segment(&answer(family, RST | ACK, beyond)), Verdict::Cookie);
        }
        for flags in [SYN | ACK, ACK] {
            let verdict = if flags == ACK { Verdict::NotReply } else { Verdict::Cookie };
            passes(&rig, "nothing acknowledged", &around.segment(&answer(family, flags, 0)), verdict);
        }
        for beyond in [0, 1, 77] {
            let reset = around.segment(&answer(family, RST, beyond));
            passes(&rig, "nothing but a RST", &reset, Verdict::ResetWithoutAck);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_does_not_fit_a_chunk_is_passed() {
    let Some(rig) = rig() else { return };
    for around in Around::some() {
        let family = around.family();
        let sized = |length: usize, segment: Segment| {
            around.segment(&Segment { payload: vec![7; length - around.body() - 20], ..segment })
        };
        for (flags, beyond, _) in ANSWERS {
            let good = || answer(family, flags, beyond);
            is_taken(&rig, "just fits", &sized(MAX_FRAME, good()));
            passes(&rig, "one byte too long", &sized(MAX_FRAME + 1, good()), Verdict::Large);
            passes(&rig, "in several pieces", &sized(9014, good()), Verdict::Large);
            let forged = sized(9014, answer(family, flags, 0x100));
            let verdict = if flags == ACK { Verdict::NotReply } else { Verdict::Cookie };
            passes(&rig, "in several pieces, without proof", &forged, verdict);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn settings_decide() {
    let Some(mut rig) = rig() else { return };
    for around in Around::both() {
        let family = around.family();
        let answers = ANSWERS.map(|(flags, beyond, _)| around.segment(&answer(family, flags, beyond)));
        let unproven = |rig: &Rig, what: &str| {
            for ((flags, _, _), frame) in ANSWERS.iter().zip(&answers) {
                let verdict = if *flags == ACK { Verdict::NotReply } else { Verdict::Cookie };
                passes(rig, what, frame, verdict);
            }
        };
        rig.configure(&Settings { key: [KEY[0], !KEY[1]], ..settings() });
        unproven(&rig, "the key of a process before");
        rig.configure(&Settings { first_port: FIRST_PORT + 2, ..settings() });
        answers.iter().for_each(|frame| passes(&rig, "other ports", frame, Verdict::NotReply));
        // The last ports that there are.
        rig.configure(&Settings { first_port: u16::MAX - 1, port_count: 2, ..settings() });
        for port in [0, u16::MAX - 2] {
            let other = Segment { ports: (PORT, port), ..answer(family, SYN | ACK, 1) };
            passes(&rig, "beyond the last port", &around.segment(&other), Verdict::NotReply);
        }
        let last = Segment { ports: (PORT, u16::MAX), ..answer(family, SYN | ACK, 1) };
        passes(&rig, "at the last port", &around.segment(&last), Verdict::Cookie);
        rig.configure(&Settings { source_count: 0, source_count_v6: 0, ..settings() });
        answers.iter().for_each(|frame| passes(&rig, "no address of ours", frame, Verdict::ForeignAddress));
        rig.configure(&settings());
        rig.set_inactive(true);
        answers.iter().for_each(|frame| passes(&rig, "a copy", frame, Verdict::Inactive));
        rig.set_inactive(false);
        answers.iter().for_each(|frame| drop(is_taken(&rig, "as they are", frame)));
    }
}

/// Without ports TCP is what it was before there were TCP probes: not looked at.
#[test]
#[ignore = "needs root: make test runs it"]
fn without_ports_tcp_is_not_looked_at() {
    let Some(mut rig) = rig() else { return };
    rig.configure(&Settings { port_count: 0, ..settings() });
    for around in Around::some() {
        let family = around.family();
        for flags in [SYN | ACK, RST | ACK, RST, ACK, SYN] {
            let mut frame = around.segment(&answer(family, flags, 1));
            passes(&rig, "an answer", &frame, Verdict::NotReply);
            for length in around.body()..frame.len() {
                passes(&rig, "cut", &frame[..length], Verdict::NotReply);
            }
            frame[around.body() + 12] = 0;
            passes(&rig, "no offset", &frame, Verdict::NotReply);
            around.say_length(&mut frame, 3);
            passes(&rig, "said to be shorter", &frame, Verdict::NotReply);
        }
        let quote = around.by_router().error(&syn(family, 1));
        passes(&rig, "a quote", &quote, Verdict::ForeignQuote);
    }
}

/// Where there are TCP probes, echo is what it was.
#[test]
#[ignore = "needs root: make test runs it"]
fn with_ports_echo_is_what_it_was() {
    let Some(rig) = rig() else { return };
    let around = frames::Around::default();
    is_taken(&rig, "a reply", &around.echo_reply(IDENTIFIER, SEQUENCE, &payload(super::now(), 18)));
    let ping = around.echo_reply(IDENTIFIER ^ 1, SEQUENCE, &payload(super::now(), 18));
    passes(&rig, "a ping's", &ping, Verdict::ForeignIdentifier);
    passes(&rig, "UDP", &around.udp(&[7; 30]), Verdict::NotReply);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn errors_about_our_syns_are_taken_whatever_lies_around_them() {
    let Some(rig) = rig() else { return };
    for around in Around::all().iter().map(Around::by_router) {
        let family = around.family();
        for flow in 0..PORTS {
            let quotes: Vec<Vec<u8>> = match family {
                Family::V4 => (0..=10).map(|words| with_options(&syn(family, flow), words)).collect(),
                Family::V6 => frames_v6::walkable()
                    .into_iter()
                    .map(|extensions| {
                        let mut quote = syn(family, flow);
                        frames_v6::extend(&mut quote, 0, &extensions);
                        quote
                    })
                    .collect(),
            };
            for quote in quotes {
                // Eight bytes of the segment, some more, all of it.
                for length in [quote.len() - 32, quote.len() - 25, quote.len()] {
                    let what = format!("{around:?} quoting {length} of {}, flow {flow}", quote.len());
                    let frame = around.error(&quote[..length]);
                    if frame.len() > MAX_FRAME {
                        continue;
                    }
                    let read = heard(&is_taken(&rig, &what, &frame));
                    assert!(matches!(read.says, Says::Refused(_)), "{what}");
                    assert_eq!(read.number(&Key(KEY), NumberIn::Answer), Some((0x34, 0xff)), "{what}");
                    assert_eq!((read.destination, read.ports), (theirs(family), (FIRST_PORT + flow, PORT)), "{what}");
                }
            }
        }
    }
}

/// A quoted datagram with so many words of 4 bytes of IPv4 options.
fn with_options(quote: &[u8], words: usize) -> Vec<u8> {
    let mut quote = quote.to_vec();
    quote[0] += u8::try_from(words).unwrap();
    quote.splice(20..20, vec![1; 4 * words]);
    quote
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_cut_or_short_quote_is_never_taken() {
    let Some(rig) = rig() else { return };
    for around in Around::some().iter().map(Around::by_router) {
        let quote = syn(around.family(), 1);
        // Behind the IP header and the first eight bytes of the segment.
        let enough = quote.len() - 32;
        for length in 0..enough {
            let what = format!("{around:?} quoting {length} of {}", quote.len());
            passes(&rig, &what, &around.error(&quote[..length]), Verdict::ForeignQuote);
            // Padding is no quote.
            let mut padded = around.error(&quote[..length]);
            padded.extend(&quote[length..]);
            passes(&rig, &what, &padded, Verdict::ForeignQuote);
        }
        let frame = around.error(&quote);
        let quoted = around.body() + 8;
        for length in 14..frame.len() {
            let verdict = match length {
                _ if length < quoted => Verdict::Malformed,
                _ if length < quoted + enough => Verdict::ForeignQuote,
                _ => Verdict::Truncated,
            };
            passes(&rig, &format!("{around:?} cut to {length}"), &frame[..length], verdict);
        }
        is_taken(&rig, "whole", &frame);
    }
}

/// The kernel must get each error about the host's own connections, whichever ports they have.
#[test]
#[ignore = "needs root: make test runs it"]
fn errors_about_others_are_passed() {
    let Some(rig) = rig() else { return };
    for around in Around::some().iter().map(Around::by_router) {
        let family = around.family();
        let quote = syn(family, 1);
        let segment = if family == Family::V4 { 20 } else { 40 };
        let ([source, destination], size) = if family == Family::V4 { ([12, 16], 4) } else { ([8, 24], 16) };
        let check = |what: &str, quote: &[u8], verdict| {
            for length in [segment + 8, quote.len()] {
                passes(&rig, &format!("{what}, {around:?}"), &around.error(&quote[..length]), verdict);
            }
        };
        // Addresses, ports, sequence number: each is covered, and not being ours never counts as a forgery.
        for byte in (source..source + size).chain(destination..destination + size).chain(segment..segment + 8) {
            for bit in 0..8 {
                let mut wrong = quote.clone();
                wrong[byte] ^= 1 << bit;
                check(&format!("bit {bit} of byte {byte}"), &wrong, Verdict::ForeignQuote);
            }
        }
        for protocol in [0x11, 0x84, 0x2f] {
            let mut wrong = quote.clone();
            wrong[if family == Family::V4 { 9 } else { 6 }] = protocol;
            check("another protocol", &wrong, Verdict::ForeignQuote);
        }
        // From and to an address that is not ours.
        let ((_, [_, to]), mut wrong) = ((size, around.addresses().0), quote.clone());
        wrong[source] ^= 1;
        let mut elsewhere = around.error(&wrong);
        elsewhere[to] ^= 1;
        passes(&rig, "from and to another", &elsewhere, Verdict::ForeignAddress);
        // The RST that ends what a SYN of ours began.
        let mut reset = quote.clone();
        let next = initial(family, 1).wrapping_add(1).to_be_bytes();
        reset[segment + 4..segment + 8].copy_from_slice(&next);
        reset[segment + 13] = RST;
        check("our RST", &reset, Verdict::ForeignQuote);
        // On its way the time to live falls, and with it a checksum.
        let mut travelled = quote.clone();
        travelled[if family == Family::V4 { 8 } else { 7 }] = 1;
        is_taken(&rig, "another time to live", &around.error(&travelled));
        if family == Family::V4 {
            for fragment in [[0x20, 0], [0, 1], [0x1f, 0xff]] {
                let mut wrong = quote.clone();
                wrong[6..8].copy_from_slice(&fragment);
                check("a fragment quoted", &wrong, Verdict::ForeignQuote);
            }
        } else {
            let mut wrong = quote.clone();
            frames_v6::extend(&mut wrong, 0, &[(frames_v6::FRAGMENT, 0)]);
            check("a fragment quoted", &wrong, Verdict::ForeignQuote);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn errors_of_the_known_types_are_taken_and_others_passed() {
    let Some(rig) = rig() else { return };
    let (v4, v6) = (frames::Around::default(), frames_v6::Around::default());
    for kind in 0..=255 {
        let what = format!("type {kind}");
        let frame = v4.error(kind, 0, &syn(Family::V4, 1));
        match kind {
            3 | 11 | 12 => drop(is_taken(&rig, &what, &frame)),
            0 => passes(&rig, "a reply to somebody", &frame, Verdict::ForeignIdentifier),
            _ => passes(&rig, &what, &frame, Verdict::NotReply),
        }
        let frame = v6.message(kind, 0, &syn(Family::V6, 1));
        match kind {
            1..=4 => drop(is_taken(&rig, &what, &frame)),
            129 => passes(&rig, "a reply to somebody", &frame, Verdict::ForeignIdentifier),
            _ => passes(&rig, &what, &frame, Verdict::NotReply),
        }
    }
}

/// Frames in which anything may be wrong: of answers steer takes those that userspace finds proven, and no others. What is proven, errors
/// among it, is to a port and an address of ours.
#[test]
#[ignore = "needs root: make test runs it"]
fn steer_and_userspace_judge_alike() {
    let Some(rig) = rig() else { return };
    let mut rng = fastrand::Rng::with_seed(0x7c9);
    let (mut taken, mut passed) = (0, 0);
    let arounds = Around::some();
    for round in 0..60_000 {
        let around = rng.choice(&arounds).unwrap();
        let (flags, beyond, _) = *rng.choice(&ANSWERS).unwrap();
        let is_error = rng.bool();
        let mut frame = if is_error {
            around.by_router().error(&syn(around.family(), 1))
        } else {
            around.segment(&Segment { options: vec![1; 4 * rng.usize(..3)], ..answer(around.family(), flags, beyond) })
        };
        for _ in 0..rng.usize(1..3) {
            let byte = rng.usize(around.ip()..frame.len());
            frame[byte] = if rng.bool() { rng.u8(..) } else { frame[byte] ^ 1 << rng.u32(..8) };
        }
        let ran = rig.run("steer", &frame);
        let is_taken = ran.action == super::XDP_REDIRECT;
        let proven = match read_frame(&frame) {
            Ok(Heard::Port(segment)) => segment.number(&Key(KEY), NumberIn::Answer).map(|_| segment),
            _ => None,
        };
        let what = format!("round {round}, {around:?}: {frame:02x?}");
        match proven {
            Some(segment) => {
                let ours = segment.source == ours(around.family());
                assert!(
                    ours && (FIRST_PORT..FIRST_PORT + PORTS).contains(&segment.ports.0),
                    "proven, but whose? {what}"
                );
            }
            // The checksum of an error is userspace's to judge.
            None => assert!(!is_taken || is_error, "taken without proof: {what}"),
        }
        let may_pass = proven.is_none() || is_error || asks_more(around, &frame);
        assert!(is_taken || may_pass, "proven, and passed: {what}");
        if is_taken { taken += 1 } else { passed += 1 }
    }
    assert!(taken > 10_000 && passed > 10_000, "{taken} taken, {passed} passed");
}

/// What steer asks and userspace doesn't, which reads only what steer has taken: no fragment, a routing header that has arrived, a TCP
/// header as long as it says.
fn asks_more(around: &Around, frame: &[u8]) -> bool {
    let words = usize::from(frame[around.body() + 12] >> 4);
    let number = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let (end, asks_more) = match around {
        Around::V4(around) => (around.ip() + number(around.ip() + 2), number(around.ip() + 6) & 0x3fff != 0),
        Around::V6(around) => (around.ip() + 40 + number(around.ip() + 4), !around.extensions.is_empty()),
    };
    asks_more || words < 5 || around.body() + 4 * words > end
}

/// What the program copies is, byte for byte, what userspace has written: SYNs and RSTs, over both families, with no, one and two tags.
#[test]
#[ignore = "needs root: make test runs it"]
fn whole_live_frames_are_userspaces_frames() {
    let tag = |protocol, id| Tag { protocol, id };
    let one = Tags::NONE.inside(tag(0x8100, 100)).unwrap();
    for tags in [Tags::NONE, one, one.inside(tag(0x88a8, 4094)).unwrap()] {
        let tagged = u8::from(tags != Tags::NONE);
        let Some(mut rig) = Rig::load_tagged(tagged) else { return };
        rig.configure(&settings());
        for (family, reset) in [(Family::V4, false), (Family::V4, true), (Family::V6, false), (Family::V6, true)] {
            let origin = Origin {
                mac: [2, 0, 0, 0, 0, 1],
                source: ours(family),
                identifier: IDENTIFIER,
                first_port: FIRST_PORT,
                flow_key: Key(KEY).flow_key(),
            };
            let shape = Shape { ttl: 61, flow: 2, reset, ..Shape::of(Kind::Tcp { port: PORT }).over(family) };
            let template = Template::new(shape, origin).unwrap().tagged(tags);
            for i in 0..20u32 {
                let destination = match family {
                    Family::V4 => Ipv4Addr::from_bits(0x0a40_0000 + i * 77_773).into(),
                    Family::V6 => {
                        Ipv6Addr::from_bits(u128::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060)).into()
                    }
                };
                let probe = ProbeFields {
                    destination,
                    target: TargetIndex(i.wrapping_mul(0x9e37_79b9)),
                    sequence: Sequence((i * 1_311) as u16),
                    next_hop_mac: [2, 0, 0, 0, i as u8, 2],
                    ..fields(family)
                };
                let mut whole = [0x5a; LIVE_FRAME];
                template.lay(&mut whole);
                template.write(&mut whole, &probe, &Key(KEY));
                copies(&mut rig, whole, template.length());
            }
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn frames_of_every_length_are_copied_whole() {
    let Some(mut rig) = rig() else { return };
    for length in 14..=LIVE_FRAME {
        let whole = std::array::from_fn(|byte| (byte as u8).wrapping_mul(73) ^ length as u8);
        copies(&mut rig, whole, length);
    }
    // Not beyond what there is: nobody asks for it.
    let whole = [1; LIVE_FRAME];
    let (action, frame, _) = rig.copy(whole, &[2; LIVE_FRAME + 9]);
    assert_eq!((action, &frame[..LIVE_FRAME], &frame[LIVE_FRAME..]), (super::XDP_REDIRECT, &whole[..], &[2; 9][..]));
}

fn copies(rig: &mut Rig, whole: [u8; LIVE_FRAME], length: usize) {
    let before = super::now();
    let (action, frame, sent) = rig.copy(whole, &vec![!whole[0]; length]);
    assert_eq!(action, super::XDP_REDIRECT);
    assert!(before <= sent && sent <= super::now());
    assert_eq!(frame, whole[..length], "{length} bytes");
}
