//! The XDP programs, frame by frame: what they answer, what they count, and that what they pass is not touched.
//!
//! Of steer, by kind of probe, over both families, answers and errors alike:
//!
//! | what is varied | echo | TCP | UDP |
//! |---|---|---|---|
//! | none, one and two VLAN tags; IPv4 options or extension headers, of the frame and of what is quoted | here, `errors`, `v6` | `tcp` | `udp` |
//! | a third tag | here, `alike` | `alike` | `alike` |
//! | cut at every byte, and every length that the IP header may say | here, `errors`, `v6` | `tcp` | `udp` |
//! | fragments, and headers that can't be walked | here, `v6` | `tcp` | `udp` |
//! | every bit of the proof, addresses, ports and identifier | here, `errors`, `v6` | `tcp` | `udp` |
//! | what routers change in what they quote | `expired` | `expired` | `expired` |
//! | anything, by chance, beside userspace's judgement of the same frame | `alike` | `tcp/alike` | `udp/alike` |

#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

mod xdp;

use aya_obj::Object;
use echolot::{
    base::{Family, Generation, Nanos, Sequence, TargetIndex},
    wire::{Key, Origin, ProbeFields, Shape, Tag, Tags, Template, read_reply},
};
use probe_ebpf::{
    cookie,
    layout::{MAX_FRAME, MAX_SOURCES, Settings, Verdict},
    wire::payload,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use xdp::{
    Rig, XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX,
    frames::{self, Around, OURS, THEIRS},
    frames_v6, now,
};

const KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
const IDENTIFIER: u16 = 0xec40;
const SEQUENCE: u16 = 0x8001;
const TARGET: u32 = 0x0403_0201;
const GENERATION: u16 = 0xbeef;
const MAX_AGE: Nanos = Nanos::from_secs(5);

/// With our settings, and a socket on queue 0.
fn rig() -> Option<Rig> {
    let mut rig = Rig::load()?;
    rig.configure(&settings(&[OURS]));
    rig.open_socket();
    Some(rig)
}

fn settings(addresses: &[[u8; 4]]) -> Settings {
    let mut sources = [0; MAX_SOURCES];
    for (source, address) in sources.iter_mut().zip(addresses) {
        *source = u32::from_ne_bytes(*address);
    }
    Settings {
        key: KEY,
        max_age_ns: MAX_AGE.0,
        sources,
        source_count: u32::try_from(addresses.len()).unwrap(),
        identifier: IDENTIFIER,
        flow_key: cookie::flow_key(&KEY),
        ..Settings::default()
    }
}

/// A probe's payload with a good cookie, padded to `length`.
fn payload(sent: Nanos, length: usize) -> Vec<u8> {
    let hash = cookie::ipv4(&KEY, sent.0, THEIRS, TARGET, SEQUENCE);
    // The filler may be anything.
    let mut bytes = [&[0x5a, 0xa5], &sent.0.to_be_bytes()[2..]].concat();
    bytes.extend(TARGET.to_be_bytes());
    bytes.extend(cookie::on_wire(hash, GENERATION));
    bytes.resize(length, 0);
    bytes
}

/// A good reply to a probe sent a moment ago.
fn reply(around: &Around) -> Vec<u8> {
    around.echo_reply(IDENTIFIER, SEQUENCE, &payload(now(), 18))
}

/// The frame goes on to the kernel, every byte as it was, and exactly one counter moves.
#[track_caller]
fn passes(rig: &Rig, what: &str, frame: &[u8], verdict: Verdict) {
    let (mut verdicts, taken) = (rig.verdicts(), rig.taken());
    let ran = rig.run("steer", frame);
    assert_eq!(ran.action, XDP_PASS, "{what}");
    assert_eq!(ran.frame, frame, "{what}: bytes were changed");
    verdicts[verdict as usize] += 1;
    assert_eq!(rig.verdicts(), verdicts, "{what}: expected {}, in the order {:?}", verdict.name(), Verdict::ALL);
    assert_eq!(rig.taken(), taken, "{what}");
}

/// The frame is taken: stamped, counted and redirected, all else as it was.
#[track_caller]
fn is_taken(rig: &Rig, what: &str, frame: &[u8]) -> Vec<u8> {
    let (mut verdicts, taken) = (rig.verdicts(), rig.taken());
    let before = now();
    let ran = rig.run("steer", frame);
    let after = now();
    verdicts[Verdict::Taken as usize] += 1;
    assert_eq!(rig.verdicts(), verdicts, "{what}: in the order {:?}", Verdict::ALL);
    assert_eq!(ran.action, XDP_REDIRECT, "{what}");
    assert_eq!(rig.taken(), taken + 1, "{what}");
    let stamp = Nanos(u64::from_ne_bytes(ran.frame[..8].try_into().unwrap()));
    assert!(before <= stamp && stamp <= after, "{what}: stamped {stamp:?} between {before:?} and {after:?}");
    assert_eq!(ran.frame[8..], frame[8..], "{what}: more than the stamp was written");
    ran.frame
}

/// Tags and options in all numbers that there are.
fn surroundings() -> impl Iterator<Item = Around> {
    (0..=2).flat_map(|tags| (0..=10).map(move |options| Around { tags, options, ..Around::default() }))
}

#[test]
#[ignore = "needs root: make test runs it"]
fn replies_are_taken_whatever_lies_around_them() {
    let Some(rig) = rig() else { return };
    for around in surroundings() {
        for length in [18, 19, 56, 1472] {
            let frame = around.echo_reply(IDENTIFIER, SEQUENCE, &payload(now(), length));
            let taken = is_taken(&rig, &format!("{around:?}, payload {length}"), &frame);
            let read = read_reply(&taken).unwrap();
            assert_eq!((read.target, read.sequence), (TargetIndex(TARGET), Sequence(SEQUENCE)));
            assert!(read.is_proven(&Key(KEY), Generation(GENERATION)));
        }
        let mut padded = reply(&around);
        padded.resize(padded.len() + 40, 0xff);
        is_taken(&rig, "padded by Ethernet", &padded);
    }
    let mut service = reply(&Around { tags: 1, ..Around::default() });
    service[12..14].copy_from_slice(&[0x88, 0xa8]);
    is_taken(&rig, "802.1ad", &service);
    let mut dont_fragment = reply(&Around::default());
    dont_fragment[14 + 6] = 0x40;
    is_taken(&rig, "with the flag \"don't fragment\"", &dont_fragment);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_cut_reply_is_never_taken() {
    let Some(rig) = rig() else { return };
    for around in surroundings().filter(|around| matches!(around.options, 0 | 1 | 10)) {
        let frame = reply(&around);
        let identifier = around.icmp() + 8;
        for length in 14..frame.len() {
            let cut = &frame[..length];
            let verdict = if length < identifier { Verdict::Malformed } else { Verdict::Truncated };
            passes(&rig, &format!("{around:?} cut to {length} of {}", frame.len()), cut, verdict);
        }
        is_taken(&rig, "whole", &frame);
    }
}

/// What the IPv4 header doesn't cover is padding, even if it looks like the rest of a reply.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_ip_header_says_how_long_a_message_is() {
    let Some(rig) = rig() else { return };
    for around in surroundings().filter(|around| matches!(around.options, 0 | 3)) {
        let mut frame = reply(&around);
        let header = 20 + 4 * u16::try_from(around.options).unwrap();
        let total = around.ip() + 2..around.ip() + 4;
        for length in 0..header + 26 {
            frame[total.clone()].copy_from_slice(&length.to_be_bytes());
            let verdict = if length < header + 8 { Verdict::Malformed } else { Verdict::Truncated };
            passes(&rig, &format!("{around:?}, total length {length}"), &frame, verdict);
        }
        for length in [header + 27, 1500, u16::MAX] {
            frame[total.clone()].copy_from_slice(&length.to_be_bytes());
            passes(&rig, &format!("{around:?}, total length {length}"), &frame, Verdict::Truncated);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_is_not_an_answer_to_us_is_passed() {
    let Some(rig) = rig() else { return };
    let probe = payload(now(), 56);
    let plain = Around::default();
    for around in surroundings().filter(|around| matches!(around.options, 0 | 5)) {
        let check = |what: &str, frame: &[u8], verdict| passes(&rig, &format!("{what}, {around:?}"), frame, verdict);
        let icmp = around.icmp();
        check("UDP", &around.udp(&probe), Verdict::NotReply);
        check("TCP", &around.tcp(&probe), Verdict::NotReply);
        check("echo request", &around.echo_request(IDENTIFIER, SEQUENCE, &probe), Verdict::NotReply);
        let mut code = reply(&around);
        code[icmp + 1] = 1;
        check("echo reply with a code", &code, Verdict::NotReply);
        for kind in [4, 5, 8, 13, 255] {
            let mut other = reply(&around);
            other[icmp] = kind;
            check("another ICMP message", &other, Verdict::NotReply);
        }
        for bit in 0..16 {
            let foreign = around.echo_reply(IDENTIFIER ^ 1 << bit, SEQUENCE, &probe);
            check("foreign identifier", &foreign, Verdict::ForeignIdentifier);
        }
        for bit in 0..32 {
            let destination = (u32::from_be_bytes(OURS) ^ 1 << bit).to_be_bytes();
            let foreign = reply(&Around { destination, ..around.clone() });
            check("foreign address", &foreign, Verdict::ForeignAddress);
        }
        let first = Around { more_fragments: true, ..around.clone() };
        check("first fragment", &reply(&first), Verdict::FragmentedReply);
        for fragment_offset in [1, 8, 0x1fff] {
            let later = Around { fragment_offset, ..around.clone() };
            check("later fragment", &reply(&later), Verdict::Fragment);
        }
        for version in [0x00, 0x44, 0x65, 0xf5, 0x35] {
            let mut wrong = reply(&around);
            wrong[around.ip()] = version;
            check("version or header length", &wrong, Verdict::Malformed);
        }
    }
    passes(&rig, "ARP", &frames::arp(), Verdict::NotIp);
    let mut three = reply(&Around { tags: 2, ..plain });
    let tag: Vec<u8> = three[12..16].to_vec();
    three.splice(12..12, tag);
    passes(&rig, "three tags", &three, Verdict::UnknownProtocol);
}

/// Who answers may think a reply too large for the way back. Its first fragment says whose it is, and nothing more than that is said.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_first_fragment_of_our_reply_is_told() {
    let Some(mut rig) = rig() else { return };
    for around in surroundings().filter(|around| matches!(around.options, 0 | 5)) {
        let first = Around { more_fragments: true, ..around };
        let check = |what: &str, frame: &[u8], verdict| passes(&rig, &format!("{what}, {first:?}"), frame, verdict);
        let icmp = first.icmp();
        for length in [24, 552, 1448] {
            check("ours", &first.echo_reply(IDENTIFIER, SEQUENCE, &payload(now(), length)), Verdict::FragmentedReply);
        }
        let good = reply(&first);
        let changed = |at: usize| {
            let mut frame = good.clone();
            frame[at] ^= 1;
            frame
        };
        check("a request", &first.echo_request(IDENTIFIER, SEQUENCE, &payload(now(), 24)), Verdict::Fragment);
        check("a reply with a code", &changed(icmp + 1), Verdict::Fragment);
        check("a ping's", &changed(icmp + 5), Verdict::Fragment);
        check("to another address", &changed(first.ip() + 19), Verdict::Fragment);
        check("without proof", &changed(icmp + 20), Verdict::Fragment);
        let old = first.echo_reply(IDENTIFIER, SEQUENCE, &payload(now() - MAX_AGE - Nanos::from_secs(1), 24));
        check("too old", &old, Verdict::Fragment);
        check(
            "as large as can't be taken",
            &first.echo_reply(IDENTIFIER, SEQUENCE, &payload(now(), 8_000)),
            Verdict::Fragment,
        );
        for length in first.ip() + 20..good.len() {
            let verdict = Verdict::Fragment;
            check("cut", &good[..length], verdict);
        }
        for fragment_offset in [1, 181, 0x1fff] {
            let later = Around { fragment_offset, ..first.clone() };
            passes(&rig, "a later one", &reply(&later), Verdict::Fragment);
        }
        let quote = around_probe(&first);
        check("an error", &first.error(3, 1, &quote), Verdict::Fragment);
    }
    // It is told wherever it arrives, and nobody has to have a socket there.
    rig.set_inactive(true);
    let first = Around { more_fragments: true, ..Around::default() };
    passes(&rig, "inactive", &reply(&first), Verdict::FragmentedReply);
    assert!(Verdict::FragmentedReply.is_rejected() && !Verdict::Fragment.is_rejected());
}

/// A probe of ours, as an error in these surroundings would quote it.
fn around_probe(around: &Around) -> Vec<u8> {
    let probe = Around { source: OURS, destination: THEIRS, more_fragments: false, ..around.clone() };
    probe.echo_request(IDENTIFIER, SEQUENCE, &payload(now(), 18)).split_off(probe.ip())
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_cookie_covers_what_a_reply_says() {
    let Some(rig) = rig() else { return };
    for around in [Around::default(), Around { tags: 2, options: 2, ..Around::default() }] {
        let icmp = around.icmp();
        let sent = now();
        let good = around.echo_reply(IDENTIFIER, SEQUENCE, &payload(sent, 18));
        is_taken(&rig, "good", &good);
        // Sequence number, send time, target, and the four bytes of the cookie that the kernel can check; who answers.
        let covered = (icmp + 6..icmp + 8).chain(icmp + 10..icmp + 24).chain(around.ip() + 12..around.ip() + 16);
        for byte in covered {
            for bit in 0..8 {
                let mut wrong = good.clone();
                wrong[byte] ^= 1 << bit;
                passes(&rig, &format!("{around:?}, bit {bit} of byte {byte}"), &wrong, Verdict::Cookie);
            }
        }
        // The last two carry the generation, which only userspace knows.
        for byte in icmp + 24..icmp + 26 {
            let mut other = good.clone();
            other[byte] ^= 0xff;
            is_taken(&rig, "another generation", &other);
        }
        // The checksum is userspace's to judge, and the filler with it.
        let mut corrupt = good;
        corrupt[icmp + 2] ^= 0xff;
        corrupt[icmp + 9] ^= 0xff;
        is_taken(&rig, "wrong ICMP checksum", &corrupt);
    }
    // The host's own ping may happen to have our identifier: it gets its answer.
    let ping: Vec<u8> = (0..56).collect();
    passes(&rig, "ping", &Around::default().echo_reply(IDENTIFIER, 1, &ping), Verdict::Cookie);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn age_must_be_plausible() {
    let Some(rig) = rig() else { return };
    let send = |sent| Around::default().echo_reply(IDENTIFIER, SEQUENCE, &payload(sent, 18));
    let second = Nanos::from_secs(1);
    is_taken(&rig, "nearly too old", &send(now() - MAX_AGE + second));
    passes(&rig, "too old", &send(now() - MAX_AGE - second), Verdict::Age);
    // The coarse clock lags, by how much no more than a second is believed.
    is_taken(&rig, "just ahead", &send(now() + Nanos::from_millis(500)));
    passes(&rig, "from the future", &send(now() + second + second), Verdict::Cookie);
    // The clock may be younger than that, and goes round like the stamps.
    let round = 1 << payload::SENT_BITS;
    let ago = |nanos: u64| Nanos(now().0.wrapping_sub(nanos));
    passes(&rig, "nearly 78 hours old", &send(ago(round - 2 * second.0)), Verdict::Age);
    passes(&rig, "older", &send(ago(round + second.0)), Verdict::Cookie);
    passes(&rig, "a round older, to the nanosecond", &send(ago(round)), Verdict::Cookie);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_does_not_fit_a_chunk_is_passed() {
    let Some(rig) = rig() else { return };
    for around in [Around::default(), Around { tags: 1, options: 10, ..Around::default() }] {
        let headers = around.icmp() + 8;
        let sized = |length: usize| around.echo_reply(IDENTIFIER, SEQUENCE, &payload(now(), length - headers));
        is_taken(&rig, "just fits", &sized(MAX_FRAME));
        passes(&rig, "one byte too long", &sized(MAX_FRAME + 1), Verdict::Large);
        // From about 3.5 kB on a test run, like a driver, puts the rest of a frame into further pages.
        passes(&rig, "jumbo, in several pieces", &sized(9014), Verdict::Large);
        let mut trailed = sized(1000);
        trailed.resize(MAX_FRAME + 1, 0);
        passes(&rig, "short, with a long trailer", &trailed, Verdict::Large);
    }
    passes(&rig, "jumbo TCP", &Around::default().tcp(&[7; 60_000]), Verdict::NotReply);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn without_a_socket_replies_go_to_the_kernel() {
    let Some(mut rig) = Rig::load() else { return };
    rig.configure(&settings(&[OURS]));
    passes(&rig, "no socket", &reply(&Around::default()), Verdict::NoSocket);
    rig.open_socket();
    is_taken(&rig, "a socket", &reply(&Around::default()));
}

/// The limit is a number of frames taken: what comes after is dropped if it is ours, and everything else passes as ever.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_full_ring_costs_nobody_else_anything() {
    let Some(mut rig) = rig() else { return };
    let (ours, others) = (reply(&Around::default()), Around::default().tcp(&[7; 100]));
    rig.allow(2);
    is_taken(&rig, "the first", &ours);
    is_taken(&rig, "the second", &ours);
    for more in 1..=3 {
        let mut verdicts = rig.verdicts();
        let ran = rig.run("steer", &ours);
        assert_eq!((ran.action, ran.frame), (XDP_DROP, ours.clone()));
        verdicts[Verdict::RingFull as usize] += 1;
        assert_eq!(rig.verdicts(), verdicts);
        assert_eq!((rig.taken(), rig.refused()), (2 + more, more), "it was ours");
        passes(&rig, "somebody else's", &others, Verdict::NotReply);
    }
    // The receiver has consumed one of the two, and three were refused.
    rig.allow(2 + 1 + 3);
    is_taken(&rig, "into the place that is free", &ours);
    assert_eq!(rig.run("steer", &ours).action, XDP_DROP);
    assert_eq!((rig.taken(), rig.refused()), (7, 4));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn settings_decide() {
    let Some(mut rig) = Rig::load() else { return };
    rig.open_socket();
    // Zeros, as before anybody has written them: identifier 0 to no address.
    let zero = Around::default().echo_reply(0, SEQUENCE, &payload(now(), 18));
    passes(&rig, "nothing configured", &zero, Verdict::ForeignAddress);
    passes(&rig, "nothing configured", &reply(&Around::default()), Verdict::ForeignIdentifier);

    let many: Vec<[u8; 4]> = (0..16).map(|host| [203, 0, 113, host]).collect();
    for count in [1, 2, 15, 16] {
        rig.configure(&settings(&many[..count]));
        for (index, destination) in many.iter().copied().enumerate() {
            let frame = reply(&Around { destination, ..Around::default() });
            if index < count {
                is_taken(&rig, "one of ours", &frame);
            } else {
                passes(&rig, "not counted", &frame, Verdict::ForeignAddress);
            }
        }
    }
    rig.configure(&Settings { key: [KEY[0], !KEY[1]], ..settings(&[OURS]) });
    passes(&rig, "the key of a process before", &reply(&Around::default()), Verdict::Cookie);
    rig.configure(&Settings { source_count: u32::MAX, ..settings(&[OURS]) });
    is_taken(&rig, "a count beyond the table", &reply(&Around::default()));
}

/// What arrives at a member at which its bond discards it is left to the bond, whatever it is.
#[test]
#[ignore = "needs root: make test runs it"]
fn an_inactive_member_takes_nothing() {
    let Some(mut rig) = rig() else { return };
    rig.set_inactive(true);
    for around in surroundings().filter(|around| around.options == 0) {
        passes(&rig, "a copy", &reply(&around), Verdict::Inactive);
    }
    let mut forged = reply(&Around::default());
    forged[Around::default().icmp() + 20] ^= 1;
    passes(&rig, "only what is ours counts", &forged, Verdict::Cookie);
    rig.set_inactive(false);
    is_taken(&rig, "once it is active", &reply(&Around::default()));
}

/// What the program builds from a table's entry is, byte for byte, what userspace would have written.
#[test]
#[ignore = "needs root: make test runs it"]
fn live_frames_are_userspaces_frames() {
    let Some(mut rig) = rig() else { return };
    builds_userspaces_frames(&mut rig, Tags::NONE);
    // The verifier gives up at a million, and kernels differ in how many they need: room for eight times as many.
    assert!(rig.verified("steer") < 120_000, "{}", rig.verified("steer"));
}

/// The same with a VLAN tag of either kind.
#[test]
#[ignore = "needs root: make test runs it"]
fn tagged_live_frames_are_userspaces_frames() {
    let Some(mut rig) = Rig::load_tagged(1) else { return };
    rig.configure(&settings(&[OURS]));
    for tag in [Tag { protocol: 0x8100, id: 100 }, Tag { protocol: 0x88a8, id: 4094 }] {
        builds_userspaces_frames(&mut rig, Tags::NONE.inside(tag).unwrap());
    }
    // The verifier leaves out the other kind's part: who sends without tags runs no instruction more for them.
    let Some(plain) = Rig::load() else { return };
    let both = rig.instructions("steer") + plain.instructions("steer");
    assert!(plain.instructions("steer") < both / 2 + 100, "{} of {both}", plain.instructions("steer"));
}

fn builds_userspaces_frames(rig: &mut Rig, tags: Tags) {
    let v4 = |i: u32| Ipv4Addr::from_bits(0x0a40_0000 + i * 77_773).into();
    let v6 = |i: u32| {
        let bits = u128::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        Ipv6Addr::from_bits(if i < 48 { bits } else { u128::MAX * u128::from(i & 1) }).into()
    };
    builds_frames_of(rig, tags, OURS.into(), &[18, 19, 25, 26, 56, 1000, 1472], v4);
    builds_frames_of(rig, tags, frames_v6::OURS.into(), &[18, 19, 25, 26, 56, 1000, 1452], v6);
}

fn builds_frames_of(rig: &mut Rig, tags: Tags, source: IpAddr, payloads: &[u16], destination: impl Fn(u32) -> IpAddr) {
    for (payload, flow) in payloads.iter().copied().zip([0u16, 1, 255, 7, 300, 4_000, u16::MAX]) {
        let origin = Origin {
            mac: [2, 0, 0, 0, 0, 1],
            source,
            identifier: IDENTIFIER,
            first_port: 61_000,
            flow_key: Key(KEY).flow_key(),
        };
        let (ttl, dscp, dont_fragment) = (61 ^ flow as u8, (flow % 64) as u8, flow.is_multiple_of(2));
        let shape = Shape { ttl, dscp, dont_fragment, flow, ..Shape::echo(payload).over(Family::of(source)) };
        let template = Template::new(shape, origin).unwrap().tagged(tags);
        for i in 0..50u32 {
            let probe = ProbeFields {
                destination: destination(i),
                target: TargetIndex(i.wrapping_mul(0x9e37_79b9)),
                generation: Generation((i * 977) as u16),
                sequence: Sequence((i * 1_311) as u16),
                sent: Nanos::ZERO,
                next_hop_mac: [2, 0, 0, 0, i as u8, 2],
            };
            // A frame comes back from the pool as somebody left it.
            let dirty = vec![0xa5 ^ i as u8; template.length()];
            let before = xdp::now();
            let (action, frame, sent) = rig.build(&template, &probe, &dirty);
            assert_eq!(action, XDP_REDIRECT);
            assert!(before <= sent && sent <= xdp::now());
            let mut expected = vec![0; template.length()];
            template.lay(&mut expected);
            template.write(&mut expected, &ProbeFields { sent, ..probe }, &Key(KEY));
            assert_eq!(frame, expected, "{tags} {source} payload {payload}, probe {i}");
        }
    }
}

/// Of the programs that there are, the product's object has those that a command attaches, and its maps are theirs.
#[test]
fn the_product_has_its_own_programs_and_maps_only() {
    let object = Object::parse(xdp::OBJECT).unwrap();
    let mut programs: Vec<&str> = object.programs.keys().map(String::as_str).collect();
    programs.sort_unstable();
    assert_eq!(programs, ["confirm", "reflect", "steer"]);
    let mut maps: Vec<&str> = object.maps.keys().map(String::as_str).collect();
    maps.sort_unstable();
    let expected = [
        ".rodata",
        "INACTIVE",
        "LIVE_CURSORS",
        "LIVE_DESTINATIONS",
        "LIVE_DUE",
        "LIVE_FRAMES",
        "LIVE_OUT",
        "LIVE_TEMPLATES",
        "LIVE_TEMPLATES_V6",
        "REFLECTED",
        "SETTINGS",
        "TAKEN",
        "TCP_PORTS",
        "UDP_PORTS",
        "VERDICTS",
        "XSKS",
    ];
    assert_eq!(maps, expected);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn far_ends_of_measurements_do_what_they_say() {
    let Some(rig) = Rig::load_far() else { return };
    for frame in [reply(&Around::default()), frames::arp(), Around::default().tcp(&[7; 9000])] {
        let ran = rig.run("pass", &frame);
        assert_eq!((ran.action, ran.frame), (XDP_PASS, frame.clone()));
        assert_eq!(rig.run("drop_all", &frame).action, XDP_DROP);
        // A test run that does not come in by the loopback device would be passed.
        assert_eq!(rig.run("bare", &frame).action, XDP_ABORTED, "nobody has laid a template");
    }
    let request = |destination| Around { destination, ..Around::default() }.echo_request(1, 2, &[3; 18]);
    for (destination, action) in [
        ([10, 64, 0, 0], XDP_TX),
        ([10, 79, 255, 255], XDP_TX),
        ([10, 63, 255, 255], XDP_DROP),
        ([10, 80, 0, 0], XDP_DROP),
    ] {
        assert_eq!(rig.run("half", &request(destination)).action, action, "{destination:?}");
    }
    assert_eq!(rig.run("half", &frames::arp()).action, XDP_PASS);
}

/// Not a test: prints what one call costs. `cargo test -p echolot --test steer -- --ignored --nocapture measure`
#[test]
#[ignore = "a measurement"]
fn measure_the_cost_of_a_call() {
    let (Some(mut rig), Some(far)) = (rig(), Rig::load_far()) else { return };
    rig.configure(&Settings { max_age_ns: Nanos::from_secs(600).0, ..settings(&[OURS]) });
    let good = reply(&Around::default());
    let mut forged = good.clone();
    forged[Around::default().icmp() + 20] ^= 1;
    let send = |sent| Around::default().echo_reply(IDENTIFIER, SEQUENCE, &payload(sent, 18));
    let ping = Around::default().echo_reply(1, 1, &[0; 56]);
    let elsewhere = reply(&Around { destination: [1; 4], ..Around::default() });
    for (what, program, frame, action) in [
        ("pass", "pass", &good, XDP_PASS),
        ("steer: TCP", "steer", &Around::default().tcp(&[0; 20]), XDP_PASS),
        ("steer: foreign identifier", "steer", &ping, XDP_PASS),
        ("steer: foreign address", "steer", &elsewhere, XDP_PASS),
        ("steer: truncated, all before the cookie", "steer", &good[..59].to_vec(), XDP_PASS),
        ("steer: wrong cookie", "steer", &forged, XDP_PASS),
        ("steer: too old", "steer", &send(Nanos(now().0.wrapping_sub(3_600_000_000_000))), XDP_PASS),
        ("steer: from the future", "steer", &send(now() + Nanos::from_secs(3_600)), XDP_PASS),
        ("steer: taken", "steer", &good, XDP_REDIRECT),
        ("reflect: not for it", "reflect", &good, XDP_PASS),
    ] {
        let rig = if program == "pass" { &far } else { &rig };
        let runs: Vec<_> = (0..20).map(|_| rig.repeat(program, frame, 50_000)).collect();
        assert!(runs.iter().all(|ran| ran.action == action), "{what}");
        println!("{what}: {} ns", runs.iter().map(|ran| ran.duration).min().unwrap().as_nanos());
    }
}

/// Not a test: prints how many instructions the programs have and how many steps the verifier takes through them.
#[test]
#[ignore = "a measurement"]
fn measure_what_the_verifier_reads() {
    for tags in [0, 1] {
        let Some(rig) = Rig::load_tagged(tags) else { return };
        for program in ["steer", "reflect"] {
            println!("{program}, {tags} tags: {} bytes, {} verified", rig.instructions(program), rig.verified(program));
        }
    }
}
