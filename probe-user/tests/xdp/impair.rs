//! `impair`, the far end of tests that do harm: what it leaves to userspace, what it answers and records itself, what it passes.

use super::{
    Rig, XDP_PASS, XDP_REDIRECT, XDP_TX,
    frames::{self, Around, OURS},
    frames_v6, now,
};
use echolot::base::Nanos;
use etherparse::TcpHeader;
use probe_ebpf::{
    far::{AnsweredRequest, mapped},
    layout::MAX_FRAME,
    wire::payload,
};

/// As a probe says it: in front of the lower 48 bits stands its filler.
const SENT: Nanos = Nanos(0x0102_0304_0506_0708);
const IDENTIFIER: u16 = 0xec40;
const SEQUENCE: u16 = 0x8001;

/// Everything in 192.0.2.0/24 is userspace's but 192.0.2.128/25, and of that 192.0.2.200 is.
const RANGES: [([u8; 4], u32, u32); 3] =
    [([192, 0, 2, 0], 24, 1), ([192, 0, 2, 128], 25, 0), ([192, 0, 2, 200], 32, 1)];

fn rig() -> Option<Rig> {
    let mut rig = Rig::load_far()?;
    rig.impair(&RANGES);
    rig.open_socket();
    Some(rig)
}

fn to(destination: [u8; 4]) -> Around {
    Around { destination, ..Around::default() }
}

/// A probe of so much payload.
fn request(around: &Around, length: usize) -> Vec<u8> {
    let mut payload = SENT.0.to_be_bytes().to_vec();
    payload.resize(length, 0xa5);
    around.echo_request(IDENTIFIER, SEQUENCE, &payload)
}

/// Stamped and left to userspace, with the sender's address still in it, all else as it was; nobody else takes note.
#[track_caller]
fn is_taken(rig: &mut Rig, what: &str, frame: &[u8]) {
    let (taken, reflected) = (rig.taken(), rig.reflected());
    let before = now();
    let ran = rig.run("impair", frame);
    let after = now();
    assert_eq!(ran.action, XDP_REDIRECT, "{what}");
    let stamp = Nanos(u64::from_ne_bytes(ran.frame[..8].try_into().unwrap()));
    assert!(before <= stamp && stamp <= after, "{what}: stamped {stamp:?} between {before:?} and {after:?}");
    assert_eq!(ran.frame[12..14], frame[6..8], "{what}: what of the sender's address lies under the stamp");
    assert_eq!(ran.frame[8..12], frame[8..12], "{what}");
    assert_eq!(ran.frame[14..], frame[14..], "{what}");
    assert_eq!((rig.taken(), rig.reflected()), (taken + 1, reflected), "{what}");
    assert_eq!(rig.answered(), [], "{what}");
}

/// Answered as the product's `reflect` does.
#[track_caller]
fn is_answered(rig: &mut Rig, product: &Rig, what: &str, frame: &[u8]) -> Vec<AnsweredRequest> {
    let reply = product.run("reflect", frame);
    let (taken, reflected) = (rig.taken(), rig.reflected());
    let before = now();
    let ran = rig.run("impair", frame);
    let after = now();
    assert_eq!((ran.action, reply.action), (XDP_TX, XDP_TX), "{what}");
    assert_eq!(ran.frame, reply.frame, "{what}");
    assert_eq!((rig.taken(), rig.reflected()), (taken, reflected + 1), "{what}");
    let records = rig.answered();
    for record in &records {
        let in_order =
            before.0 <= record.arrival_ns && record.arrival_ns <= record.departure_ns && record.departure_ns <= after.0;
        assert!(in_order, "{what}: {record:?} between {before:?} and {after:?}");
    }
    records
}

#[track_caller]
fn passes(rig: &mut Rig, what: &str, frame: &[u8]) {
    let (taken, reflected) = (rig.taken(), rig.reflected());
    let ran = rig.run("impair", frame);
    assert_eq!(ran.action, XDP_PASS, "{what}");
    assert_eq!(ran.frame, frame, "{what}: bytes were changed");
    assert_eq!((rig.taken(), rig.reflected()), (taken, reflected), "{what}");
    assert_eq!(rig.answered(), [], "{what}");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_longest_prefix_says_who_answers() {
    let (Some(mut rig), Some(product)) = (rig(), Rig::load()) else { return };
    for length in [18, 19, 56, 1472] {
        for destination in [[192, 0, 2, 0], OURS, [192, 0, 2, 127], [192, 0, 2, 200]] {
            is_taken(&mut rig, &format!("{destination:?}, {length}"), &request(&to(destination), length));
        }
        for destination in [[192, 0, 1, 255], [192, 0, 2, 128], [192, 0, 2, 199], [192, 0, 2, 201], [192, 0, 3, 0]] {
            let what = format!("{destination:?}, {length}");
            let records = is_answered(&mut rig, &product, &what, &request(&to(destination), length));
            let [record] = records[..] else { panic!("{what}: {records:?}") };
            let expected = AnsweredRequest {
                arrival_ns: record.arrival_ns,
                departure_ns: record.departure_ns,
                sent_ns: payload::sent(SENT.0, record.arrival_ns),
                address: mapped(destination),
                sequence: SEQUENCE.into(),
                identifier: IDENTIFIER,
                port: 0,
                udp: 0,
                padding: 0,
            };
            assert_eq!(record, expected, "{what}");
        }
    }
    let options = Around { options: 10, ..to(OURS) };
    is_taken(&mut rig, "with options", &request(&options, 18));
    assert_eq!(rig.unrecorded(), 0);
}

/// 2001:db8::/64 is userspace's but 2001:db8::/120, and of that 2001:db8::1 is.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_longest_prefix_says_who_answers_over_ipv6() {
    let (Some(mut rig), Some(product)) = (rig(), Rig::load()) else { return };
    let address = |tail: u16, low: u8| {
        let mut address = frames_v6::OURS;
        address[4..6].copy_from_slice(&tail.to_be_bytes());
        address[15] = low;
        address
    };
    let all = address(0, 0);
    rig.impair_v6(&[(all, 64, 1), (all, 120, 0), (address(0, 1), 128, 1)]);
    let request = |destination, length, extensions: &[frames_v6::Extension]| {
        let around = frames_v6::Around { destination, extensions: extensions.to_vec(), ..Default::default() };
        let mut payload = SENT.0.to_be_bytes().to_vec();
        payload.resize(length, 0xa5);
        around.echo_request(IDENTIFIER, SEQUENCE, &payload)
    };
    let mut beyond = address(0, 7);
    beyond[14] = 1;
    for length in [18, 19, 56, 1452] {
        for destination in [address(0, 1), beyond] {
            is_taken(&mut rig, &format!("{destination:?}, {length}"), &request(destination, length, &[]));
        }
        for destination in [all, address(0, 2), address(0, 255), address(1, 1)] {
            let what = format!("{destination:?}, {length}");
            let records = is_answered(&mut rig, &product, &what, &request(destination, length, &[]));
            let [record] = records[..] else { panic!("{what}: {records:?}") };
            assert_eq!(record.sent_ns, payload::sent(SENT.0, record.arrival_ns), "{what}");
            assert_eq!(record.address, destination, "{what}");
            assert_eq!((record.sequence, record.identifier), (SEQUENCE.into(), IDENTIFIER), "{what}");
        }
    }
    for (what, frame) in [
        ("extension header", request(address(0, 1), 18, &[(frames_v6::DESTINATION, 0)])),
        ("fragment", request(address(0, 1), 18, &[(frames_v6::FRAGMENT, 0)])),
        ("neighbour solicitation", frames_v6::Around::default().message(135, 0, &[9; 18])),
        ("error", frames_v6::Around::default().message(1, 3, &[9; 68])),
        ("reply", frames_v6::Around::default().echo_reply(1, 2, &[9; 18])),
        ("one byte too long", request(address(0, 1), MAX_FRAME + 1 - 62, &[])),
    ] {
        passes(&mut rig, what, &frame);
    }
    assert_eq!(rig.unrecorded(), 0);
}

/// The SYN of a probe, with these options: those of Linux have the timestamp in third place.
fn syn(port: u16, options: &[u8]) -> TcpHeader {
    let mut header = TcpHeader { syn: true, ..TcpHeader::new(61_000, port, 0x8765_4321, 64_240) };
    header.set_options_raw(options).unwrap();
    header
}

const OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

/// Both ends of a far end's TCP: what is impaired is userspace's, what is not is answered as the product's reflector does, and recorded.
#[test]
#[ignore = "needs root: make test runs it"]
fn syns_are_taken_or_answered_and_recorded() {
    let (Some(mut rig), Some(mut product)) = (rig(), Rig::load()) else { return };
    let mut v6 = frames_v6::OURS;
    rig.impair_v6(&[(v6, 128, 1)]);
    rig.answer_tcp(&[80]);
    product.answer_tcp(&[80]);
    let mut seen = |to: &dyn Fn(&TcpHeader) -> Vec<u8>, address: [u8; 16], is_taken_there: bool| {
        for port in [80, 81] {
            let (what, frame) = (format!("{address:?} port {port}"), to(&syn(port, &OPTIONS)));
            if is_taken_there {
                is_taken(&mut rig, &what, &frame);
                continue;
            }
            let records = is_answered(&mut rig, &product, &what, &frame);
            let [record] = records[..] else { panic!("{what}: {records:?}") };
            let expected = AnsweredRequest {
                sent_ns: 0x0102_0304 << 20,
                address,
                sequence: 0x8765_4321,
                identifier: 61_000,
                port,
                ..record
            };
            assert_eq!(record, expected, "{what}");
        }
        // What has no stamp where a probe has it is answered, and nobody's to record.
        let mut others = vec![vec![], OPTIONS[..8].to_vec(), [OPTIONS, OPTIONS].concat()];
        for (at, value) in [(6, 5), (7, 9)] {
            let mut options = OPTIONS.to_vec();
            options[at] = value;
            others.push(options);
        }
        for options in others {
            assert_eq!(is_answered(&mut rig, &product, "no stamp", &to(&syn(80, &options))), [], "{options:?}");
        }
        for flags in [0, 1, 3, 4, 6, 0x10, 0x12, 0x14] {
            let mut frame = to(&syn(80, &OPTIONS));
            let flags_at = frame.len() - 40 + 13;
            frame[flags_at] = flags;
            passes(&mut rig, "no SYN", &frame);
        }
    };
    for (destination, is_taken_there) in [(OURS, true), ([192, 0, 2, 128], false), ([192, 0, 1, 1], false)] {
        seen(&|header| to(destination).any_tcp(header, &[]), mapped(destination), is_taken_there);
    }
    let of_v6 = |destination| frames_v6::Around { destination, ..frames_v6::Around::default() };
    seen(&|header| of_v6(v6).any_tcp(header, &[]), v6, true);
    v6[15] ^= 4;
    seen(&|header| of_v6(v6).any_tcp(header, &[]), v6, false);
    assert_eq!(rig.unrecorded(), 0);
}

/// Without room for a stamp there is nothing to record and nothing to do harm to: the host's own short pings.
#[test]
#[ignore = "needs root: make test runs it"]
fn what_is_too_short_for_a_probe_is_answered_without_a_record() {
    let (Some(mut rig), Some(product)) = (rig(), Rig::load()) else { return };
    for destination in [OURS, [192, 0, 2, 128]] {
        for length in [0, 8, 17] {
            let records = is_answered(&mut rig, &product, "short", &request(&to(destination), length));
            assert_eq!(records, [], "{length}");
        }
    }
    assert_eq!(rig.unrecorded(), 0);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_record_that_finds_no_room_is_counted() {
    let (Some(mut rig), Some(product)) = (rig(), Rig::load()) else { return };
    let frame = request(&to([192, 0, 2, 128]), 18);
    for _ in 0..300 {
        assert_eq!(rig.run("impair", &frame).action, XDP_TX);
    }
    let kept = rig.answered().len() as u64;
    assert!(kept > 0 && kept < 300, "{kept}");
    assert_eq!(rig.unrecorded(), 300 - kept);
    assert_eq!(is_answered(&mut rig, &product, "there is room again", &frame).len(), 1);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn all_else_goes_to_the_kernel() {
    let Some(mut rig) = rig() else { return };
    for destination in [OURS, [192, 0, 2, 128]] {
        let around = to(destination);
        let icmp = around.icmp();
        passes(&mut rig, "echo reply", &around.echo_reply(1, 2, &[9; 18]));
        passes(&mut rig, "UDP", &around.udp(&[9; 18]));
        passes(&mut rig, "TCP", &around.tcp(&[9; 18]));
        passes(&mut rig, "ICMP error", &around.error(3, 1, &[9; 28]));
        passes(&mut rig, "fragment", &request(&Around { more_fragments: true, ..around.clone() }, 18));
        let mut code = request(&around, 18);
        code[icmp + 1] = 1;
        passes(&mut rig, "with a code", &code);
        let whole = request(&around, 18);
        for length in 14..icmp + 8 {
            passes(&mut rig, &format!("cut to {length}"), &whole[..length]);
        }
        let mut overlong = whole;
        overlong[16..18].copy_from_slice(&1500u16.to_be_bytes());
        passes(&mut rig, "shorter than its header says", &overlong);
    }
    passes(&mut rig, "ARP", &frames::arp());
}

/// What userspace can't have is the kernel's: a request is never taken and dropped.
#[test]
#[ignore = "needs root: make test runs it"]
fn what_has_no_way_to_userspace_is_passed() {
    let (Some(mut rig), Some(product)) = (rig(), Rig::load()) else { return };
    let around = to(OURS);
    let headers = around.icmp() + 8;
    is_taken(&mut rig, "just fits", &request(&around, MAX_FRAME - headers));
    passes(&mut rig, "one byte too long", &request(&around, MAX_FRAME + 1 - headers));
    passes(&mut rig, "jumbo, in several pieces", &request(&around, 8_000));

    let Some(mut without) = Rig::load_far() else { return };
    without.impair(&RANGES);
    passes(&mut without, "no socket", &request(&around, 18));
    assert_eq!(is_answered(&mut without, &product, "another range", &request(&to([192, 0, 2, 128]), 18)).len(), 1);
}
