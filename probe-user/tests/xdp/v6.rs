//! What `steer` makes of IPv6: replies and errors about our probes are taken, neighbour discovery and all else is the kernel's.

use super::{
    Rig,
    frames_v6::{
        AUTHENTICATION, Around, DESTINATION, FRAGMENT, HOP_BY_HOP, OURS, ROUTING, THEIRS, extend, length, walkable,
    },
    now,
};
use crate::{GENERATION, IDENTIFIER, KEY, MAX_AGE, SEQUENCE, TARGET, is_taken, passes, settings};
use echolot::{
    base::{Generation, Nanos, Sequence, TargetIndex},
    wire::{Guess, Heard, Key, Refusal, guess_target, read_frame, read_reply},
};
use probe_ebpf::{
    cookie,
    layout::{LiveDestination, MAX_FRAME, MAX_SOURCES, Settings, Verdict},
};
use std::net::Ipv6Addr;

/// Who sends errors: not the target.
const ROUTER: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0xff, 0xfe, 0, 0, 9];

/// Our addresses over IPv6, beside those over IPv4.
pub(crate) fn settings_v6(addresses: &[[u8; 16]]) -> Settings {
    let mut sources_v6 = [[0; 2]; MAX_SOURCES];
    for (source, address) in sources_v6.iter_mut().zip(addresses) {
        *source = LiveDestination::from(*address).0;
    }
    let source_count_v6 = u32::try_from(addresses.len()).unwrap();
    Settings { sources_v6, source_count_v6, ..settings(&[super::frames::OURS]) }
}

fn rig() -> Option<Rig> {
    let mut rig = Rig::load()?;
    rig.configure(&settings_v6(&[OURS]));
    rig.open_socket();
    Some(rig)
}

/// A probe's payload with a good cookie, padded to `length`.
fn payload(sent: Nanos, length: usize) -> Vec<u8> {
    let hash = cookie::ipv6(&KEY, sent.0, THEIRS, TARGET, SEQUENCE);
    // The filler may be anything.
    let mut bytes = [&[0x5a, 0xa5], &sent.0.to_be_bytes()[2..]].concat();
    bytes.extend(TARGET.to_be_bytes());
    bytes.extend(cookie::on_wire(hash, GENERATION));
    bytes.resize(length, 0);
    bytes
}

fn reply(around: &Around) -> Vec<u8> {
    around.echo_reply(IDENTIFIER, SEQUENCE, &payload(now(), 18))
}

fn surroundings() -> impl Iterator<Item = Around> {
    (0..=2)
        .flat_map(|tags| walkable().into_iter().map(move |extensions| Around { tags, extensions, ..Around::default() }))
}

#[test]
#[ignore = "needs root: make test runs it"]
fn replies_are_taken_whatever_lies_around_them() {
    let Some(rig) = rig() else { return };
    for around in surroundings() {
        for length in [18, 19, 56, 1000] {
            let frame = around.echo_reply(IDENTIFIER, SEQUENCE, &payload(now(), length));
            if frame.len() > MAX_FRAME {
                continue;
            }
            let taken = is_taken(&rig, &format!("{around:?}, payload {length}"), &frame);
            let read = read_reply(&taken).unwrap();
            assert_eq!((read.target, read.sequence), (TargetIndex(TARGET), Sequence(SEQUENCE)));
            assert_eq!((read.source, read.ttl), (Ipv6Addr::from(THEIRS).into(), 64));
            assert!(read.is_proven(&Key(KEY), Generation(GENERATION)));
            if around.tags == 0 && around.extensions.is_empty() {
                assert_eq!(guess_target(&taken), Some(Guess::Target(read.target)));
            }
        }
        let mut padded = reply(&around);
        padded.resize(padded.len() + 40, 0xff);
        is_taken(&rig, "padded by Ethernet", &padded);
    }
    let whole = Around::default().echo_reply(IDENTIFIER, SEQUENCE, &payload(now(), 1452));
    is_taken(&rig, "the longest", &whole);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_cut_reply_is_never_taken() {
    let Some(rig) = rig() else { return };
    for around in surroundings().filter(|around| length(&around.extensions) < 100) {
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

/// What the IPv6 header doesn't cover is padding, even if it looks like the rest of a reply.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_ip_header_says_how_long_a_message_is() {
    let Some(rig) = rig() else { return };
    for around in surroundings().filter(|around| length(&around.extensions) < 100) {
        let mut frame = reply(&around);
        let extensions = u16::try_from(length(&around.extensions)).unwrap();
        let said = around.ip() + 4..around.ip() + 6;
        for length in 0..extensions + 26 {
            frame[said.clone()].copy_from_slice(&length.to_be_bytes());
            let verdict = if length < extensions + 8 { Verdict::Malformed } else { Verdict::Truncated };
            passes(&rig, &format!("{around:?}, payload length {length}"), &frame, verdict);
        }
        for length in [extensions + 27, 1500, u16::MAX] {
            frame[said.clone()].copy_from_slice(&length.to_be_bytes());
            passes(&rig, &format!("{around:?}, payload length {length}"), &frame, Verdict::Truncated);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_is_not_an_answer_to_us_is_passed() {
    let Some(rig) = rig() else { return };
    let probe = payload(now(), 56);
    for around in surroundings() {
        let check = |what: &str, frame: &[u8], verdict| passes(&rig, &format!("{what}, {around:?}"), frame, verdict);
        let icmp = around.icmp();
        check("UDP", &around.udp(&probe), Verdict::NotReply);
        check("TCP", &around.tcp(&probe), Verdict::NotReply);
        check("echo request", &around.echo_request(IDENTIFIER, SEQUENCE, &probe), Verdict::NotReply);
        let mut code = reply(&around);
        code[icmp + 1] = 1;
        check("echo reply with a code", &code, Verdict::NotReply);
        // Neighbour discovery (133 to 137) and multicast listeners (130 to 132, 143) among them.
        for kind in (0..=255).filter(|kind| !matches!(kind, 1..=4 | 129)) {
            let mut other = reply(&around);
            other[icmp] = kind;
            check("another ICMPv6 message", &other, Verdict::NotReply);
        }
        for bit in 0..16 {
            let foreign = around.echo_reply(IDENTIFIER ^ 1 << bit, SEQUENCE, &probe);
            check("foreign identifier", &foreign, Verdict::ForeignIdentifier);
        }
        for bit in 0..128 {
            let destination = (u128::from_be_bytes(OURS) ^ 1 << bit).to_be_bytes();
            check("foreign address", &reply(&Around { destination, ..around.clone() }), Verdict::ForeignAddress);
        }
        for version in [0x00, 0x45, 0x50, 0x70, 0xf0] {
            let mut wrong = reply(&around);
            wrong[around.ip()] = version;
            check("version", &wrong, Verdict::Malformed);
        }
        for version in [0x60, 0x6f] {
            let mut class = reply(&around);
            class[around.ip()] = version;
            is_taken(&rig, "any traffic class", &class);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn neighbour_discovery_is_passed_untouched() {
    let Some(rig) = rig() else { return };
    let link_local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for tags in 0..=2 {
        for destination in [OURS, link_local, all_nodes] {
            let around = Around { tags, hop_limit: 255, source: ROUTER, destination, ..Around::default() };
            for kind in [130, 131, 132, 133, 134, 135, 136, 137, 143] {
                // A target address and an option with a link-layer address.
                let body = [&OURS[..], &[2, 1, 2, 0, 0, 0, 0, 1]].concat();
                let what = format!("type {kind} to {destination:x?}");
                passes(&rig, &what, &around.message(kind, 0, &body), Verdict::NotReply);
                // Even if it looked like ours.
                let body = [&IDENTIFIER.to_be_bytes()[..], &SEQUENCE.to_be_bytes(), &payload(now(), 18)].concat();
                passes(&rig, &what, &around.message(kind, 0, &body), Verdict::NotReply);
            }
            let listener = Around { extensions: vec![(HOP_BY_HOP, 0)], ..around };
            passes(&rig, "MLDv2", &listener.message(143, 0, &[0; 20]), Verdict::NotReply);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn what_can_not_be_walked_is_passed() {
    let Some(rig) = rig() else { return };
    for tags in 0..=2 {
        let with = |extensions: &[(u8, u8)]| Around { tags, extensions: extensions.to_vec(), ..Around::default() };
        for before in [&[][..], &[(HOP_BY_HOP, 1)], &[(HOP_BY_HOP, 0), (ROUTING, 2), (DESTINATION, 0)]] {
            let fragment = with(&[before, &[(FRAGMENT, 0)]].concat());
            let at = fragment.icmp() - 8;
            passes(&rig, "the only fragment", &reply(&fragment), Verdict::Fragment);
            let placed = |frame: &[u8], offset: u16| {
                let mut frame = frame.to_vec();
                frame[at + 2..at + 4].copy_from_slice(&offset.to_be_bytes());
                frame
            };
            for offset in [8, 9, 0x40, 0xfff8, 0xfff9] {
                passes(&rig, "a later fragment", &placed(&reply(&fragment), offset), Verdict::Fragment);
            }
            // Of the two bits between them nothing is said (RFC 8200, section 4.5).
            for offset in [1, 7] {
                let good = placed(&reply(&fragment), offset);
                passes(&rig, "the first of ours", &good, Verdict::FragmentedReply);
                // Identifier, send time, addresses: the filler in front of the send time says nothing.
                for byte in [at + 8 + 5, at + 8 + 11, fragment.ip() + 39, fragment.ip() + 9] {
                    let mut other = good.clone();
                    other[byte] ^= 1;
                    passes(&rig, "the first, without proof", &other, Verdict::Fragment);
                }
                for length in at + 8..good.len() {
                    passes(&rig, "the first, cut", &good[..length], Verdict::Fragment);
                }
                let request = fragment.echo_request(IDENTIFIER, SEQUENCE, &payload(now(), 24));
                passes(&rig, "the first of a request", &placed(&request, offset), Verdict::Fragment);
                passes(&rig, "the first of TCP", &placed(&fragment.tcp(&[7; 30]), offset), Verdict::NotReply);
            }
            passes(&rig, "a fragment of TCP", &fragment.tcp(&[7; 30]), Verdict::NotReply);
            let cut = &reply(&fragment)[..at + 7];
            passes(&rig, "a cut fragment header", cut, Verdict::Malformed);
            for other in [17, 50, 59, 135, 139, 140, 253] {
                let around = with(&[before, &[(other, 0)]].concat());
                passes(&rig, &format!("behind {other}"), &reply(&around), Verdict::NotReply);
            }
        }
        passes(&rig, "five", &reply(&with(&[(DESTINATION, 0); 5])), Verdict::NotReply);
        passes(
            &rig,
            "ICMP of IPv4",
            &{
                let mut frame = reply(&with(&[]));
                frame[14 + 4 * tags + 6] = 1;
                frame
            },
            Verdict::NotReply,
        );
        let routed = with(&[(AUTHENTICATION, 0), (ROUTING, 2)]);
        let mut underway = reply(&routed);
        underway[routed.icmp() - 24 + 3] = 1;
        passes(&rig, "segments left", &underway, Verdict::NotReply);
        is_taken(&rig, "none left", &reply(&routed));
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_cookie_covers_what_a_reply_says() {
    let Some(rig) = rig() else { return };
    let extended = Around { tags: 2, extensions: vec![(HOP_BY_HOP, 0), (ROUTING, 2)], ..Around::default() };
    for around in [Around::default(), extended] {
        let icmp = around.icmp();
        let good = around.echo_reply(IDENTIFIER, SEQUENCE, &payload(now(), 18));
        is_taken(&rig, "good", &good);
        // Sequence number, send time, target, and the four bytes of the cookie that the kernel can check; who answers.
        for byte in (icmp + 6..icmp + 8).chain(icmp + 10..icmp + 24).chain(around.ip() + 8..around.ip() + 24) {
            for bit in 0..8 {
                let mut wrong = good.clone();
                wrong[byte] ^= 1 << bit;
                passes(&rig, &format!("{around:?}, bit {bit} of byte {byte}"), &wrong, Verdict::Cookie);
            }
        }
        // The last two carry the generation, which only userspace knows; checksum and filler are userspace's to judge.
        for byte in [icmp + 2, icmp + 8, icmp + 24, icmp + 25] {
            let mut other = good.clone();
            other[byte] ^= 0xff;
            is_taken(&rig, "another generation or checksum", &other);
        }
    }
    let ping: Vec<u8> = (0..56).collect();
    passes(&rig, "ping", &Around::default().echo_reply(IDENTIFIER, 1, &ping), Verdict::Cookie);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn age_and_length_must_be_plausible() {
    let Some(rig) = rig() else { return };
    let send = |sent| Around::default().echo_reply(IDENTIFIER, SEQUENCE, &payload(sent, 18));
    let second = Nanos::from_secs(1);
    is_taken(&rig, "nearly too old", &send(now() - MAX_AGE + second));
    passes(&rig, "too old", &send(now() - MAX_AGE - second), Verdict::Age);
    passes(&rig, "from the future", &send(now() + second + second), Verdict::Cookie);
    let sized = |length: usize| Around::default().echo_reply(IDENTIFIER, SEQUENCE, &payload(now(), length - 62));
    is_taken(&rig, "just fits", &sized(MAX_FRAME));
    passes(&rig, "one byte too long", &sized(MAX_FRAME + 1), Verdict::Large);
    passes(&rig, "jumbo, in several pieces", &sized(9014), Verdict::Large);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn settings_decide() {
    let Some(mut rig) = Rig::load() else { return };
    rig.open_socket();
    let zero = Around::default().echo_reply(0, SEQUENCE, &payload(now(), 18));
    passes(&rig, "nothing configured", &zero, Verdict::ForeignAddress);
    let many: Vec<[u8; 16]> = (0..16).map(|host| [0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, host]).collect();
    for count in [0, 1, 2, 15, 16] {
        rig.configure(&settings_v6(&many[..count]));
        for (index, destination) in many.iter().copied().enumerate() {
            let frame = reply(&Around { destination, ..Around::default() });
            if index < count {
                is_taken(&rig, "one of ours", &frame);
            } else {
                passes(&rig, "not counted", &frame, Verdict::ForeignAddress);
            }
        }
    }
    rig.configure(&Settings { source_count_v6: u32::MAX, ..settings_v6(&[OURS]) });
    is_taken(&rig, "a count beyond the table", &reply(&Around::default()));
    rig.configure(&Settings { key: [KEY[0], !KEY[1]], ..settings_v6(&[OURS]) });
    passes(&rig, "the key of a process before", &reply(&Around::default()), Verdict::Cookie);
}

/// A probe as a router quotes it.
#[derive(Clone)]
struct Quote {
    around: Around,
    identifier: u16,
    sent: Nanos,
}

impl Quote {
    fn good() -> Self {
        let around = Around { source: OURS, destination: THEIRS, hop_limit: 1, ..Around::default() };
        Self { around, identifier: IDENTIFIER, sent: now() }
    }

    fn with(extensions: Vec<(u8, u8)>) -> Self {
        let good = Self::good();
        Self { around: Around { extensions, ..good.around.clone() }, ..good }
    }

    /// IPv6 header first.
    fn bytes(&self) -> Vec<u8> {
        self.around.echo_request(self.identifier, SEQUENCE, &payload(self.sent, 18)).split_off(14)
    }

    /// Where the quoted message begins in the quote.
    fn icmp(&self) -> usize {
        self.around.icmp() - 14
    }
}

fn around() -> Around {
    Around { source: ROUTER, ..Around::default() }
}

fn read(frame: &[u8]) -> Refusal {
    match read_frame(frame) {
        Ok(Heard::Refusal(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn errors_about_our_probes_are_taken_whatever_lies_around_them() {
    let Some(rig) = rig() else { return };
    for outer in surroundings() {
        for inner in walkable() {
            let quote = Quote::with(inner);
            let outer = Around { source: ROUTER, ..outer.clone() };
            let mut bytes = quote.bytes();
            for more in [0, 1, 600] {
                bytes.resize(bytes.len() + more, 0);
                let frame = outer.message(1, 3, &bytes);
                if frame.len() > MAX_FRAME {
                    continue;
                }
                let what = format!("{outer:?}, {:?} quoted, {more} more", quote.around.extensions);
                let refusal = read(&is_taken(&rig, &what, &frame));
                let (from, to) = (Ipv6Addr::from(ROUTER).into(), Ipv6Addr::from(THEIRS).into());
                assert_eq!((refusal.from, refusal.destination), (from, to), "{what}");
                assert_eq!((refusal.sequence, refusal.reason.name()), (Sequence(SEQUENCE), "address_unreachable"));
                let quoted = refusal.quoted.unwrap();
                assert_eq!((quoted.target, quoted.sent), (TargetIndex(TARGET), quote.sent), "{what}");
                assert!(refusal.is_ours(&Key(KEY)) && refusal.is_proven(&quoted, &Key(KEY), Generation(GENERATION)));
            }
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn errors_of_four_types_are_taken_and_others_passed() {
    let Some(rig) = rig() else { return };
    let probe = Quote::good().bytes();
    for kind in 0..=255 {
        for code in [0, 1, 7, 255] {
            let frame = around().message(kind, code, &probe);
            match kind {
                1..=4 => drop(is_taken(&rig, &format!("type {kind} code {code}"), &frame)),
                129 if code == 0 => passes(&rig, "a reply to somebody", &frame, Verdict::ForeignIdentifier),
                _ => passes(&rig, &format!("type {kind} code {code}"), &frame, Verdict::NotReply),
            }
        }
    }
}

/// The kernel must get each error about the host's own traffic.
#[test]
#[ignore = "needs root: make test runs it"]
fn errors_about_others_are_passed() {
    let Some(rig) = rig() else { return };
    let good = Quote::good();
    let check = |what: &str, around: &Around, quote: &[u8], verdict| {
        passes(&rig, what, &around.message(1, 0, quote), verdict);
    };
    for bit in 0..16 {
        let other = Quote { identifier: IDENTIFIER ^ 1 << bit, ..good.clone() };
        check("foreign identifier", &around(), &other.bytes(), Verdict::ForeignQuote);
    }
    for protocol in [1, 6, 17, 44, 50, 59, 255] {
        let mut other = good.bytes();
        other[6] = protocol;
        check("another protocol", &around(), &other, Verdict::ForeignQuote);
    }
    for icmp in [[129, 0], [128, 1], [1, 0], [135, 0]] {
        let mut other = good.bytes();
        other[40..42].copy_from_slice(&icmp);
        check("no echo request", &around(), &other, Verdict::ForeignQuote);
    }
    for version in [0x00, 0x45, 0x70] {
        let mut other = good.bytes();
        other[0] = version;
        check("version", &around(), &other, Verdict::ForeignQuote);
    }
    check("a fragment quoted", &around(), &Quote::with(vec![(FRAGMENT, 0)]).bytes(), Verdict::ForeignQuote);
    check("five", &around(), &Quote::with(vec![(DESTINATION, 0); 5]).bytes(), Verdict::ForeignQuote);
    for bit in 0..128 {
        let address = (u128::from_be_bytes(OURS) ^ 1 << bit).to_be_bytes();
        let mut foreign = good.bytes();
        foreign[8..24].copy_from_slice(&address);
        let elsewhere = Around { destination: address, ..around() };
        check("foreign source", &around(), &foreign, Verdict::ForeignQuote);
        check("sent to another", &elsewhere, &good.bytes(), Verdict::ForeignQuote);
        check("from and to another", &elsewhere, &foreign, Verdict::ForeignAddress);
    }
    let fragment = Around { extensions: vec![(FRAGMENT, 0)], ..around() };
    check("in a fragment", &fragment, &good.bytes(), Verdict::Fragment);
}

/// There are no 16 bits in every quote, as over IPv4: all of the proof must be there.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_cut_or_short_quote_is_never_taken() {
    let Some(rig) = rig() else { return };
    for (outer, inner) in [
        (vec![], vec![]),
        (vec![(HOP_BY_HOP, 0)], vec![(ROUTING, 2)]),
        (vec![(ROUTING, 0), (DESTINATION, 1)], vec![(HOP_BY_HOP, 0), (AUTHENTICATION, 1)]),
    ] {
        for tags in 0..=2 {
            let around = Around { tags, extensions: outer.clone(), ..around() };
            let quote = Quote::with(inner.clone());
            let bytes = quote.bytes();
            for length in 0..bytes.len() {
                let verdict = if length < quote.icmp() + 8 { Verdict::ForeignQuote } else { Verdict::Truncated };
                let what = format!("{around:?} quoting {length} of {}", bytes.len());
                passes(&rig, &what, &around.message(3, 0, &bytes[..length]), verdict);
                // Padding is no quote.
                let mut padded = around.message(3, 0, &bytes[..length]);
                padded.extend(&bytes[length..]);
                passes(&rig, &what, &padded, verdict);
            }
            let frame = around.message(3, 0, &bytes);
            let quoted = around.icmp() + 8;
            for length in 14..frame.len() {
                let verdict = match length {
                    _ if length < quoted => Verdict::Malformed,
                    _ if length < quoted + quote.icmp() + 8 => Verdict::ForeignQuote,
                    _ => Verdict::Truncated,
                };
                passes(&rig, &format!("{around:?} cut to {length}"), &frame[..length], verdict);
            }
            is_taken(&rig, "whole", &frame);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_quote_must_prove_that_the_probe_was_ours() {
    let Some(rig) = rig() else { return };
    for (around, inner) in [(around(), vec![]), (Around { tags: 2, ..around() }, vec![(HOP_BY_HOP, 0)])] {
        let quote = Quote::with(inner);
        let good = around.message(1, 4, &quote.bytes());
        is_taken(&rig, "good", &good);
        let quoted = around.icmp() + 8;
        let message = quoted + quote.icmp();
        // Destination, sequence number, send time, target and the four bytes of the cookie that the kernel can check.
        for byte in (quoted + 24..quoted + 40).chain(message + 6..message + 8).chain(message + 10..message + 24) {
            for bit in 0..8 {
                let mut wrong = good.clone();
                wrong[byte] ^= 1 << bit;
                passes(&rig, &format!("{around:?}: bit {bit} of byte {byte}"), &wrong, Verdict::Cookie);
            }
        }
        // On its way the hop limit falls, and traffic class and flow label may change.
        let mut travelled = good;
        travelled[quoted + 7] = 0;
        travelled[quoted] = 0x6f;
        travelled[quoted + 1..quoted + 4].fill(0xff);
        is_taken(&rig, "another hop limit, traffic class and flow label", &travelled);
    }
    let second = Nanos::from_secs(1);
    let sent = |sent| around().message(1, 0, &Quote { sent, ..Quote::good() }.bytes());
    is_taken(&rig, "nearly too old", &sent(now() - MAX_AGE + second));
    passes(&rig, "too old", &sent(now() - MAX_AGE - second), Verdict::Age);
    passes(&rig, "from the future", &sent(now() + second + second), Verdict::Cookie);
}

/// A length that lies leads nowhere: extension headers that say that they reach beyond the frame, or further than a frame can.
#[test]
#[ignore = "needs root: make test runs it"]
fn extension_headers_that_lie_are_passed() {
    let Some(rig) = rig() else { return };
    for kind in [HOP_BY_HOP, ROUTING, AUTHENTICATION, DESTINATION] {
        let around = Around { extensions: vec![(kind, 0); 4], ..Around::default() };
        for header in 0..4 {
            let mut frame = reply(&around);
            frame[around.ip() + 40 + 8 * header + 1] = 255;
            passes(&rig, &format!("header {header} of {kind}"), &frame, Verdict::Malformed);
        }
        let mut quote = Quote::good().bytes();
        extend(&mut quote, 0, &[(kind, 0); 4]);
        let frame = self::around().message(1, 0, &quote);
        is_taken(&rig, "as it is", &frame);
        for header in 0..4 {
            let mut frame = frame.clone();
            frame[self::around().icmp() + 8 + 40 + 8 * header + 1] = 255;
            passes(&rig, &format!("quoted header {header} of {kind}"), &frame, Verdict::ForeignQuote);
        }
    }
}
