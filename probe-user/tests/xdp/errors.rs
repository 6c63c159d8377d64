//! What `steer` makes of ICMP errors: those that quote a probe of ours are taken, all others are the kernel's.

use super::{
    frames::{Around, OURS, THEIRS},
    now,
};
use crate::{GENERATION, IDENTIFIER, KEY, MAX_AGE, SEQUENCE, TARGET, is_taken, passes, payload, rig, settings};
use echolot::{
    base::{Generation, Nanos, Sequence, TargetIndex},
    wire::{Heard, Key, Refusal, read_frame},
};
use etherparse::{IpFragOffset, Ipv4Header};
use probe_ebpf::{cookie, layout::Settings, layout::Verdict};

/// Bytes of a probe without its payload, and with it.
const SHORT: usize = 28;
const WHOLE: usize = 46;
/// Who sends errors: not the target.
const ROUTER: [u8; 4] = [203, 0, 113, 1];

/// A probe as a router quotes it, IPv4 header first.
#[derive(Clone)]
struct Quote {
    source: [u8; 4],
    identification: u16,
    /// Words of 4 bytes of IPv4 options.
    options: usize,
    fragment_offset: u16,
    more_fragments: bool,
    protocol: u8,
    icmp: [u8; 2],
    identifier: u16,
    sent: Nanos,
}

impl Quote {
    fn good() -> Self {
        Self {
            source: OURS,
            identification: cookie::identification(&KEY, THEIRS, SEQUENCE),
            options: 0,
            fragment_offset: 0,
            more_fragments: false,
            protocol: 1,
            icmp: [8, 0],
            identifier: IDENTIFIER,
            sent: now(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let header = Ipv4Header {
            source: self.source,
            destination: THEIRS,
            // What is left of it where the probe was given up.
            time_to_live: 3,
            protocol: etherparse::IpNumber(self.protocol),
            identification: self.identification,
            dont_fragment: true,
            more_fragments: self.more_fragments,
            fragment_offset: IpFragOffset::try_new(self.fragment_offset).unwrap(),
            options: vec![1; self.options * 4].as_slice().try_into().unwrap(),
            total_len: 46,
            ..Ipv4Header::default()
        };
        let mut bytes = Vec::new();
        header.write(&mut bytes).unwrap();
        bytes.extend(self.icmp);
        // Its checksum: nobody asks.
        bytes.extend([0xab, 0xcd]);
        bytes.extend(self.identifier.to_be_bytes());
        bytes.extend(SEQUENCE.to_be_bytes());
        bytes.extend(payload(self.sent, 18));
        bytes
    }
}

fn around() -> Around {
    Around { source: ROUTER, ..Around::default() }
}

/// Tags, and options of both headers.
fn surroundings() -> impl Iterator<Item = (Around, Quote)> {
    let numbers = (0..=2).flat_map(|tags| [0, 1, 10].map(|outer| (tags, outer)));
    numbers.flat_map(|(tags, options)| {
        (0..=10).map(move |inner| (Around { tags, options, ..around() }, Quote { options: inner, ..Quote::good() }))
    })
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
    for (around, quote) in surroundings() {
        let probe = quote.bytes();
        let whole = probe.len();
        for length in [whole - 18, whole - 17, whole - 1, whole] {
            let what = format!("{around:?}, {} words of options quoted, {length} bytes", quote.options);
            let refusal = read(&is_taken(&rig, &what, &around.error(3, 1, &probe[..length])));
            assert_eq!((refusal.from, refusal.destination), (ROUTER.into(), THEIRS.into()), "{what}");
            assert_eq!((refusal.sequence, refusal.reason.name()), (Sequence(SEQUENCE), "host_unreachable"), "{what}");
            assert!(refusal.is_ours(&Key(KEY)), "{what}");
            assert_eq!(refusal.quoted.is_some(), length == whole, "{what}");
            if let Some(quoted) = refusal.quoted {
                assert_eq!((quoted.target, quoted.sent), (TargetIndex(TARGET), quote.sent), "{what}");
                assert!(refusal.is_proven(&quoted, &Key(KEY), Generation(GENERATION)), "{what}");
            }
        }
        // RFC 4884: filled with zeros up to 128 bytes, and something behind.
        let mut extended = probe;
        extended.resize(128, 0);
        extended.extend([0x20, 0, 0, 0]);
        is_taken(&rig, "with an extension", &around.error(11, 0, &extended));
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn errors_of_three_types_are_taken_and_others_passed() {
    let Some(rig) = rig() else { return };
    let probe = Quote::good().bytes();
    for length in [SHORT, WHOLE] {
        let error = |kind, code| around().error(kind, code, &probe[..length]);
        for (kind, code) in (0..=16).map(|code| (3, code)).chain([(11, 0), (11, 1), (12, 0), (12, 1), (12, 2)]) {
            is_taken(&rig, &format!("type {kind} code {code}"), &error(kind, code));
        }
        for kind in [4, 5, 8, 9, 10, 13, 255] {
            passes(&rig, &format!("type {kind}"), &error(kind, 0), Verdict::NotReply);
        }
        for code in [1, 255] {
            passes(&rig, "echo reply with a code", &error(0, code), Verdict::NotReply);
        }
    }
}

/// The kernel must get each error about the host's own traffic.
#[test]
#[ignore = "needs root: make test runs it"]
fn errors_about_others_are_passed() {
    let Some(rig) = rig() else { return };
    let good = Quote::good();
    for length in [SHORT, WHOLE] {
        let check = |what: &str, around: &Around, quote: &Quote, verdict| {
            let frame = around.error(3, 1, &quote.bytes()[..length]);
            passes(&rig, &format!("{what}, {length} bytes"), &frame, verdict);
        };
        for bit in 0..16 {
            let other = Quote { identifier: IDENTIFIER ^ 1 << bit, ..good.clone() };
            check("foreign identifier", &around(), &other, Verdict::ForeignQuote);
        }
        for protocol in [0, 6, 17, 58, 255] {
            check("another protocol", &around(), &Quote { protocol, ..good.clone() }, Verdict::ForeignQuote);
        }
        for icmp in [[0, 0], [8, 1], [3, 0], [13, 0]] {
            check("no echo request", &around(), &Quote { icmp, ..good.clone() }, Verdict::ForeignQuote);
        }
        for fragment_offset in [1, 8, 0x1fff] {
            let later = Quote { fragment_offset, ..good.clone() };
            check("a later fragment quoted", &around(), &later, Verdict::ForeignQuote);
        }
        check(
            "a first fragment quoted",
            &around(),
            &Quote { more_fragments: true, ..good.clone() },
            Verdict::ForeignQuote,
        );
        for bit in 0..32 {
            let address = (u32::from_be_bytes(OURS) ^ 1 << bit).to_be_bytes();
            check("foreign source", &around(), &Quote { source: address, ..good.clone() }, Verdict::ForeignQuote);
            let elsewhere = Around { destination: address, ..around() };
            check("sent to another", &elsewhere, &good, Verdict::ForeignQuote);
            let foreign = Quote { source: address, ..good.clone() };
            check("from and to another", &elsewhere, &foreign, Verdict::ForeignAddress);
        }
        let fragment = Around { more_fragments: true, ..around() };
        check("in a fragment", &fragment, &good, Verdict::Fragment);
        let fragment = Around { fragment_offset: 3, ..around() };
        check("in a later fragment", &fragment, &good, Verdict::Fragment);
        for version in [0x00, 0x44, 0x65, 0x35] {
            let mut bytes = good.bytes();
            bytes[0] = version;
            let frame = around().error(3, 1, &bytes[..length]);
            passes(&rig, "version or header length quoted", &frame, Verdict::ForeignQuote);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_cut_error_is_never_taken() {
    let Some(rig) = rig() else { return };
    let chosen = |(around, quote): &(Around, Quote)| around.options != 1 && [0, 3, 10].contains(&quote.options);
    for (around, quote) in surroundings().filter(chosen) {
        let frame = around.error(11, 0, &quote.bytes());
        let quoted = around.icmp() + 8;
        let identified = quoted + 20 + 4 * quote.options + 8;
        for length in 14..frame.len() {
            let verdict = match length {
                _ if length < quoted => Verdict::Malformed,
                _ if length < identified => Verdict::ForeignQuote,
                _ => Verdict::Truncated,
            };
            passes(&rig, &format!("{around:?} cut to {length} of {}", frame.len()), &frame[..length], verdict);
        }
        is_taken(&rig, "whole", &frame);
    }
}

/// What the IPv4 header doesn't cover is padding, even if it looks like a quote.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_ip_header_says_how_much_is_quoted() {
    let Some(rig) = rig() else { return };
    for (around, quote) in [(around(), Quote::good()), (Around { tags: 1, options: 2, ..around() }, Quote::good())] {
        let mut frame = around.error(3, 0, &quote.bytes());
        let header = 20 + 4 * u16::try_from(around.options).unwrap();
        let total = around.ip() + 2..around.ip() + 4;
        for length in 0..header + 8 + 46 {
            frame[total.clone()].copy_from_slice(&length.to_be_bytes());
            let what = format!("{around:?}, total length {length}");
            match length {
                _ if length < header + 8 => passes(&rig, &what, &frame, Verdict::Malformed),
                _ if length < header + 8 + 28 => passes(&rig, &what, &frame, Verdict::ForeignQuote),
                _ => drop(is_taken(&rig, &what, &frame)),
            }
        }
        for length in [header + 8 + 47, 1500, u16::MAX] {
            frame[total.clone()].copy_from_slice(&length.to_be_bytes());
            passes(&rig, &format!("{around:?}, total length {length}"), &frame, Verdict::Truncated);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_quote_must_prove_that_the_probe_was_ours() {
    let Some(rig) = rig() else { return };
    for (around, quote) in [(around(), Quote::good()), (Around { tags: 2, options: 2, ..around() }, Quote::good())] {
        let quoted = around.icmp() + 8;
        // Destination and sequence number are covered in every quote.
        let in_all = (quoted + 16..quoted + 20).chain(quoted + 26..quoted + 28);
        // The identification is in those that have nothing else.
        let in_short = in_all.clone().chain(quoted + 4..quoted + 6);
        // Send time, target and the four bytes of the cookie that the kernel can check in those that have them.
        let in_whole = in_all.chain(quoted + 30..quoted + 44);
        for (length, covered) in [(SHORT, in_short.collect::<Vec<_>>()), (WHOLE, in_whole.collect())] {
            let good = around.error(3, 1, &quote.bytes()[..length]);
            is_taken(&rig, "good", &good);
            for (byte, bit) in covered.iter().flat_map(|byte| (0..8).map(move |bit| (*byte, bit))) {
                let mut wrong = good.clone();
                wrong[byte] ^= 1 << bit;
                passes(&rig, &format!("{around:?}, {length}: bit {bit} of byte {byte}"), &wrong, Verdict::Cookie);
            }
            // On its way the time to live falls, and with it the header's checksum.
            let mut travelled = good;
            travelled[quoted + 8] = 1;
            travelled[quoted + 10] ^= 0xff;
            is_taken(&rig, "another time to live", &travelled);
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn settings_decide_about_errors() {
    let Some(mut rig) = rig() else { return };
    let error = |quote: &Quote| around().error(3, 1, &quote.bytes());
    let good = Quote::good();
    rig.configure(&Settings { key: [KEY[0], !KEY[1]], ..settings(&[OURS]) });
    passes(&rig, "the key of a process before", &error(&good), Verdict::Cookie);
    rig.configure(&settings(&[OURS]));
    let second = Nanos::from_secs(1);
    is_taken(&rig, "nearly too old", &error(&Quote { sent: now() - MAX_AGE + second, ..Quote::good() }));
    passes(&rig, "too old", &error(&Quote { sent: now() - MAX_AGE - second, ..Quote::good() }), Verdict::Age);
    passes(&rig, "from the future", &error(&Quote { sent: now() + second + second, ..Quote::good() }), Verdict::Cookie);
}
