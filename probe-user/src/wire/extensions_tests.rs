//! Extensions of errors, held against a reader that goes by the RFCs' figures bit by bit and shares nothing with ours.
#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

use super::{
    refusal_tests::{error, router},
    tests::{Wrapping, mend, ours, stamped, wrappings},
    *,
};
use crate::base::{Family, Generation, MplsStack, Nanos, Sequence, TargetIndex};
use proptest::prelude::*;

/// What an error says of labels: how many, and the first four.
type Labels = (usize, Vec<(u32, u8, u8)>);

fn labels(stack: MplsStack) -> Labels {
    (stack.count(), stack.iter().map(|entry| (entry.label, entry.exp, entry.ttl)).collect())
}

/// RFC 4884, sections 4 to 7, and RFC 4950, section 3, from the ICMP message on.
fn naive(family: Family, message: &[u8]) -> Labels {
    let bits = |from: usize, count: usize| {
        let bit = |at: usize| message.get(at / 8).map(|byte| u32::from(byte >> (7 - at % 8) & 1));
        (from..from + count).try_fold(0, |number, at| Some(number << 1 | bit(at)?))
    };
    let told = match family {
        Family::V4 => bits(40, 8).map(|words| words * 4),
        Family::V6 => bits(32, 8).map(|words| words * 8),
    };
    let Some(told) = told.filter(|bytes| *bytes >= 128) else { return read_structure(message, 136, false, bits) };
    read_structure(message, 8 + told as usize, true, bits)
}

fn read_structure(message: &[u8], start: usize, told: bool, bits: impl Fn(usize, usize) -> Option<u32>) -> Labels {
    let mut sum = 0;
    for at in (start..message.len()).step_by(2) {
        sum += bits(at * 8, 16).or_else(|| Some(bits(at * 8, 8)? << 8)).unwrap();
    }
    let is_whole = bits(start * 8, 32).is_some();
    let has_checksum = bits(start * 8 + 16, 16) != Some(0);
    let is_right = sum != 0 && sum % 0xffff == 0;
    if !is_whole || bits(start * 8, 4) != Some(2) || if has_checksum { !is_right } else { !told } {
        return (0, vec![]);
    }
    let (mut at, mut all) = (start + 4, vec![]);
    while let (Some(length), Some(class), Some(kind)) = (bits(at * 8, 16), bits(at * 8 + 16, 8), bits(at * 8 + 24, 8)) {
        let end = at + length as usize;
        if length < 4 || end > message.len() {
            break;
        }
        if (class, kind) == (1, 1) {
            for entry in (at + 4..).step_by(4).take_while(|entry| entry + 4 <= end) {
                let field = |from, count| bits(entry * 8 + from, count).unwrap();
                all.push((field(0, 20), u8::try_from(field(20, 3)).unwrap(), u8::try_from(field(24, 8)).unwrap()));
            }
        }
        at = end;
    }
    (all.len().min(255), all.into_iter().take(4).collect())
}

/// An extension structure of these objects: class, C-type, content.
fn structure(objects: &[(u8, u8, Vec<u8>)], with_checksum: bool) -> Vec<u8> {
    let mut bytes = vec![0x20, 0, 0, 0];
    for (class, kind, content) in objects {
        bytes.extend(u16::try_from(4 + content.len()).unwrap().to_be_bytes());
        bytes.extend([*class, *kind]);
        bytes.extend(content);
    }
    if with_checksum {
        let checksum = checksum::Sum::of(&bytes).checksum();
        bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    bytes
}

fn stack(entries: &[[u8; 4]]) -> (u8, u8, Vec<u8>) {
    (1, 1, entries.concat())
}

/// An echo request of ours, IP header first, as its router sees it.
fn probe(family: Family, payload: u16) -> Vec<u8> {
    let origin = Origin { mac: [2; 6], source: ours(family), identifier: 7, first_port: 61_000, flow_key: 5 };
    let template = Template::new(Shape { ttl: 1, dscp: 46, ..Shape::echo(payload).over(family) }, origin).unwrap();
    written(&template, family)
}

fn written(template: &Template, family: Family) -> Vec<u8> {
    let fields = ProbeFields {
        destination: router(family),
        target: TargetIndex(1),
        generation: Generation(2),
        sequence: Sequence(3),
        sent: Nanos(4),
        next_hop_mac: [2; 6],
    };
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    template.write(&mut frame, &fields, &Key([1, 2]));
    frame.split_off(14)
}

/// Quotes `quote`, filled to `filled` bytes, which the error tells if `told`, and behind them the structure. A frame that reached us, and
/// where the message begins.
fn extended(family: Family, quote: &[u8], filled: usize, told: bool, structure: &[u8]) -> (Vec<u8>, usize) {
    let mut body = quote.to_vec();
    body.resize(filled, 0);
    body.extend(structure);
    let (mut frame, message, length) = error(family, expired(family), 0, &body, &Wrapping::NONE);
    if told {
        let (at, unit) = if family == Family::V4 { (5, 4) } else { (4, 8) };
        frame[message + at] = u8::try_from(filled / unit).unwrap();
    }
    mend(&mut frame, 14, message, length);
    (stamped(frame, 1_000), message)
}

const fn expired(family: Family) -> u8 {
    match family {
        Family::V4 => 11,
        Family::V6 => 3,
    }
}

fn refusal(frame: &[u8]) -> Refusal {
    match read_frame(frame) {
        Ok(Heard::Refusal(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The four labels of the example: three, and one whose fields are all ones.
const ENTRIES: [[u8; 4]; 4] = [[0x01, 0x2a, 0x80, 1], [0, 0, 0x30, 255], [0xff, 0xff, 0xff, 0xff], [0, 0x01, 0x01, 64]];

fn expected() -> Vec<(u32, u8, u8)> {
    vec![(0x12a8, 0, 1), (3, 0, 255), (0xf_ffff, 7, 255), (16, 0, 64)]
}

#[test]
fn labels_are_read_wherever_the_error_says_that_they_begin() {
    for family in FAMILIES {
        let quote = probe(family, 18);
        for filled in [128, 136, 256, 1_016] {
            for with_checksum in [true, false] {
                let structure = structure(&[stack(&ENTRIES)], with_checksum);
                let (frame, _) = extended(family, &quote, filled, true, &structure);
                let read = refusal(&frame);
                assert_eq!(labels(read.mpls), (4, expected()), "{family:?}, {filled}, {with_checksum}");
                assert_eq!(read.quoted.unwrap().sent, Nanos(4), "what is quoted is read as ever");
            }
        }
    }
}

#[test]
fn an_error_that_says_no_length_is_believed_by_its_checksum_alone() {
    for family in FAMILIES {
        let quote = probe(family, 18);
        let read = |structure: &[u8]| labels(refusal(&extended(family, &quote, 128, false, structure).0).mpls);
        assert_eq!(read(&structure(&[stack(&ENTRIES)], true)), (4, expected()));
        assert_eq!(read(&structure(&[stack(&ENTRIES)], false)), (0, vec![]), "without one");
        for version in [0x00, 0x10, 0x30, 0xf0] {
            let mut other = structure(&[stack(&ENTRIES)], false);
            other[0] = version;
            let checksum = checksum::Sum::of(&other).checksum();
            other[2..4].copy_from_slice(&checksum.to_be_bytes());
            assert_eq!(read(&other), (0, vec![]), "version {version:#x}");
        }
        let good = structure(&[stack(&ENTRIES)], true);
        for bit in 0..good.len() * 8 {
            let mut wrong = good.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&wrong), (0, vec![]), "bit {bit}");
        }
    }
}

#[test]
fn of_a_deep_stack_the_top_is_kept_and_all_are_counted() {
    for (count, kept) in [(0, 0), (1, 1), (4, 4), (5, 4), (17, 4), (255, 4), (256, 4), (300, 4)] {
        let entries: Vec<[u8; 4]> = (0..count).map(|n: u32| (n << 12 | 7).to_be_bytes()).collect();
        let structure = structure(&[stack(&entries)], true);
        let (frame, _) = extended(Family::V4, &probe(Family::V4, 18), 128, true, &structure);
        let (counted, read) = labels(refusal(&frame).mpls);
        assert_eq!(counted, (count as usize).min(255));
        assert_eq!(read, (0..kept).map(|n| (n, 0, 7)).collect::<Vec<_>>());
        assert_eq!(refusal(&frame).mpls.is_empty(), count == 0);
    }
}

/// RFC 5837 (interface information), RFC 8335 and what is yet to come lie beside labels.
#[test]
fn other_objects_are_passed_over_and_a_contradiction_ends_them() {
    let interface = (2, 0x0e, vec![7; 16]);
    let read = |objects: &[(u8, u8, Vec<u8>)]| {
        let structure = structure(objects, true);
        labels(refusal(&extended(Family::V6, &probe(Family::V6, 18), 128, true, &structure).0).mpls)
    };
    assert_eq!(read(&[interface.clone(), stack(&ENTRIES)]), (4, expected()));
    assert_eq!(read(&[stack(&ENTRIES[..1]), interface.clone(), stack(&ENTRIES[1..])]), (4, expected()), "two stacks");
    assert_eq!(read(&[(1, 2, vec![9; 8]), interface]), (0, vec![]), "another C-type");
    for length in [0, 3, 5, 21, 4_000] {
        let mut lying = structure(&[stack(&ENTRIES[..1]), stack(&ENTRIES[1..])], false);
        lying[12..14].copy_from_slice(&u16::to_be_bytes(length));
        let (frame, message) = extended(Family::V4, &probe(Family::V4, 18), 128, true, &lying);
        let read = labels(refusal(&frame).mpls);
        assert_eq!(read, naive(Family::V4, &frame[message..]), "an object of {length} bytes");
        assert_eq!(read.1[..1], expected()[..1], "what was in front of it stands");
    }
}

/// Quotes of 28 bytes are filled with zeros where extensions follow: what looks like a payload is none, and the identification is proof.
#[test]
fn a_short_quote_that_is_filled_with_zeros_is_a_short_quote() {
    let quote = probe(Family::V4, 18);
    for length in [28, 32, 40] {
        let (frame, _) = extended(Family::V4, &quote[..length], 128, true, &structure(&[stack(&ENTRIES)], true));
        let read = refusal(&frame);
        assert_eq!(read.quoted, None, "{length}");
        assert!(read.is_ours(&Key([1, 2])) && !read.is_ours(&Key([1, 3])), "{length}");
        assert_eq!(labels(read.mpls), (4, expected()));
    }
}

/// A payload of a kilobyte looks like anything: the quote goes on where older routers put their extensions.
#[test]
fn a_long_quote_is_no_extension() {
    for family in FAMILIES {
        let quote = probe(family, 1_000);
        let (frame, message) = extended(family, &quote[..548], 548, false, &[]);
        assert_eq!(labels(refusal(&frame).mpls), (0, vec![]));
        assert_eq!(naive(family, &frame[message..]), (0, vec![]), "the other reader says the same");
    }
}

#[test]
fn what_the_probe_is_quoted_with_is_read() {
    for family in FAMILIES {
        for ttl in [0, 1, 2, 255] {
            let mut quote = probe(family, 18);
            let (at, message) = if family == Family::V4 { (8, 20) } else { (7, 40) };
            quote[at] = ttl;
            let sent = icmp_checksum(&quote, message);
            for tos in [46 << 2, 0, 0xff] {
                match family {
                    Family::V4 => quote[1] = tos,
                    Family::V6 => (quote[0], quote[1]) = (0x60 | tos >> 4, quote[1] & 0x0f | tos << 4),
                }
                let (frame, ..) = error(family, expired(family), 0, &quote, &Wrapping::NONE);
                let read = refusal(&stamped(frame, 1_000));
                assert_eq!((read.quoted_ttl, read.quoted_tos, read.quoted_checksum), (ttl, tos, sent), "{family:?}");
                assert!(read.has_checksum_of(1) && !read.has_checksum_of(0));
            }
            quote[message + 3] ^= 1;
            let (frame, ..) = error(family, expired(family), 0, &quote, &Wrapping::NONE);
            assert!(!refusal(&stamped(frame, 1_000)).has_checksum_of(1), "another checksum");
        }
    }
}

fn icmp_checksum(quote: &[u8], message: usize) -> u16 {
    u16::from_be_bytes([quote[message + 2], quote[message + 3]])
}

#[test]
fn of_probes_to_ports_the_same_is_read() {
    for family in FAMILIES {
        for (kind, needed) in
            [(Kind::Tcp { port: 443 }, 18), (Kind::Udp { port: 9, content: Content::Bytes(b"echo") }, 8)]
        {
            let origin = Origin { mac: [2; 6], source: ours(family), identifier: 7, first_port: 61_000, flow_key: 5 };
            let shape = Shape { ttl: 1, dscp: 10, ..Shape::of(kind).over(family) };
            let quote = written(&Template::new(shape, origin).unwrap(), family);
            let header = if family == Family::V4 { 20 } else { 40 };
            for length in [header + 8, header + needed] {
                let structure = structure(&[stack(&ENTRIES)], true);
                let (frame, _) = extended(family, &quote[..length], 128, true, &structure);
                let Ok(Heard::Port(report)) = read_frame(&frame) else { panic!("{kind:?}") };
                let read = report.quote.unwrap();
                assert_eq!((read.ttl, read.tos), (1, 10 << 2), "{kind:?} {family:?}");
                assert_eq!(labels(read.mpls), (4, expected()), "{kind:?} {family:?}");
                if length == header + needed {
                    let at = header + needed - 2;
                    assert_eq!(read.checksum, Some(u16::from_be_bytes([quote[at], quote[at + 1]])), "{kind:?}");
                }
            }
            // No more of it than 8 bytes, and nothing behind: of TCP the checksum is not among them.
            let (frame, ..) = error(family, expired(family), 0, &quote[..header + 8], &Wrapping::NONE);
            let Ok(Heard::Port(report)) = read_frame(&stamped(frame, 1)) else { panic!("{kind:?}") };
            assert_eq!(report.quote.unwrap().checksum.is_some(), needed == 8, "{kind:?} {family:?}");
            assert!(report.quote.unwrap().mpls.is_empty());
        }
    }
}

/// Somebody on the way has another address in the probe and does not put ours back: its payload proves it for the target's own.
#[test]
fn a_translated_destination_is_proven_by_the_targets_own_address() {
    for family in FAMILIES {
        let mut quote = probe(family, 18);
        let at = if family == Family::V4 { 19 } else { 39 };
        quote[at] ^= 0x55;
        let key = Key([1, 2]);
        let (frame, ..) = error(family, expired(family), 0, &quote, &Wrapping::NONE);
        let read = refusal(&stamped(frame, 1_000));
        let quoted = read.quoted.unwrap();
        assert_ne!(read.destination, router(family));
        assert!(!read.is_proven(&quoted, &key, Generation(2)));
        assert!(read.is_proven_at(&quoted, &key, Generation(2), router(family)));
        assert!(!read.is_proven_at(&quoted, &key, Generation(3), router(family)));
        assert_eq!(read.is_identified_at(&key, router(family)), family == Family::V4);
        assert!(!read.is_identified_at(&key, read.destination));
    }
}

/// What a queue of hops has to hold.
#[test]
fn sizes_stay_small() {
    assert_eq!(size_of::<MplsStack>(), 17);
    assert!(size_of::<Refusal>() <= 112, "{}", size_of::<Refusal>());
    assert!(size_of::<PortReport>() <= 104, "{}", size_of::<PortReport>());
}

/// Objects that may be right, or say another length than they have.
fn objects() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![4 => Just(None), 1 => (0..40u16).prop_map(Some), 1 => any::<u16>().prop_map(Some)];
    let object = (prop_oneof![3 => Just(1u8), 1 => any::<u8>()], prop_oneof![3 => Just(1u8), 1 => any::<u8>()], length);
    let object = (object, prop::collection::vec(any::<u8>(), 0..32)).prop_map(|((class, kind, length), content)| {
        let length = length.unwrap_or_else(|| u16::try_from(4 + content.len()).unwrap());
        [&length.to_be_bytes()[..], &[class, kind], &content].concat()
    });
    prop::collection::vec(object, 0..5).prop_map(|objects| objects.concat())
}

proptest! {
    /// Whatever lengths, versions, checksums and cuts there are: both readers say the same.
    #[test]
    fn both_readers_agree(
        is_v6 in any::<bool>(),
        version in prop_oneof![4 => Just(0x20u8), 1 => any::<u8>()],
        checksum in 0..4,
        objects in objects(),
        filled in prop_oneof![3 => Just(128usize), 1 => (0..64usize).prop_map(|words| words * 8)],
        length in prop_oneof![2 => Just(None), 2 => Just(Some(true)), 1 => Just(Some(false))],
        cut in prop_oneof![3 => Just(0usize), 1 => 0..40usize],
        other in any::<u8>(),
        around in wrappings(),
    ) {
        let family = if is_v6 { Family::V6 } else { Family::V4 };
        let mut structure = [&[version, 0, 0, 0], &objects[..]].concat();
        if checksum > 0 {
            let sum = checksum::Sum::of(&structure).checksum();
            structure[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        if checksum > 2 {
            structure[2] ^= other;
        }
        structure.truncate(structure.len().saturating_sub(cut));
        let mut body = probe(family, 18);
        body.resize(filled.max(body.len()), 0);
        body.extend(structure);
        let (mut frame, message, size) = error(family, expired(family), 0, &body, &around);
        let (at, unit) = if family == Family::V4 { (5, 4) } else { (4, 8) };
        frame[message + at] = match length {
            Some(true) => u8::try_from(filled / unit).unwrap(),
            Some(false) => other,
            None => 0,
        };
        mend(&mut frame, 14 + 4 * around.tags, message, size);
        let frame = stamped(frame, 1_000);
        // A length that says less than the probe leaves nothing to read.
        if let Ok(Heard::Refusal(read)) = read_frame(&frame) {
            prop_assert_eq!(labels(read.mpls), naive(family, &frame[message..message + size]));
        }
    }

    /// Anything behind an IP header: nothing panics, and both readers say the same.
    #[test]
    fn noise_is_read_as_far_as_it_goes(is_v6 in any::<bool>(), length in any::<u8>(), noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let family = if is_v6 { Family::V6 } else { Family::V4 };
        let body = [probe(family, 18), noise].concat();
        let (mut frame, message, size) = error(family, expired(family), 0, &body, &Wrapping::NONE);
        frame[message + if is_v6 { 4 } else { 5 }] = length;
        mend(&mut frame, 14, message, size);
        if let Ok(Heard::Refusal(read)) = read_frame(&stamped(frame.clone(), 1_000)) {
            prop_assert_eq!(labels(read.mpls), naive(family, &frame[message..message + size]));
        }
    }
}
