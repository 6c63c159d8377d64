//! ICMP errors that quote a UDP probe.

use super::{PORT, PORTS, PROVEN, datagram, probe, rig, settings, told};
use crate::{
    KEY, is_taken, passes,
    xdp::{
        around::{Around, FIRST_PORT, heard, in_all_headers},
        frames, frames_v6,
    },
};
use echolot::{
    base::{Family, PortState, Reason},
    wire::{Heard, Key, Says, read_frame},
};
use probe_ebpf::layout::{MAX_FRAME, Settings, Verdict};

/// To ports with and without proof.
const FLOWS: [u16; 4] = [0, PROVEN - 1, PROVEN, PORTS - 1];

/// How many bytes of the datagram have to be quoted.
fn needed(family: Family, flow: u16) -> usize {
    // Over IPv4 the identification proves it, over IPv6 the DNS identifier behind the UDP header.
    if family == Family::V6 && flow < PROVEN { 10 } else { 8 }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn errors_about_our_probes_are_taken_whatever_lies_around_them() {
    let Some(rig) = rig() else { return };
    for around in Around::all().iter().map(Around::by_router) {
        let family = around.family();
        for flow in FLOWS {
            let probe = probe(family, flow);
            let carried = probe.len() - datagram(family);
            for quote in in_all_headers(family, &probe) {
                for length in [8, 9, 10, 13, carried] {
                    let what = format!("{around:?} quoting {length} of {}, flow {flow}", quote.len());
                    let frame = around.error(&quote[..quote.len() - carried + length]);
                    if frame.len() > MAX_FRAME {
                        continue;
                    }
                    if length < needed(family, flow) {
                        passes(&rig, &what, &frame, Verdict::ForeignQuote);
                        continue;
                    }
                    let read = heard(&is_taken(&rig, &what, &frame));
                    assert!(matches!(read.says, Says::Refused(_)), "{what}");
                    let number = match (family, flow.checked_sub(PROVEN)) {
                        (Family::V6, Some(place)) => (u8::try_from(place).unwrap(), 15),
                        _ => (0x34, 0xff),
                    };
                    let told = told(FIRST_PORT + flow).unwrap();
                    assert_eq!(read.number(&Key(KEY), told), Some(number), "{what}");
                    assert_eq!(read.ports, (FIRST_PORT + flow, PORT), "{what}");
                }
            }
        }
    }
}

/// The target's own word that nobody listens is an answer, somebody else's is not.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_closed_port_is_told_by_its_host() {
    let Some(rig) = rig() else { return };
    for around in Around::both() {
        for flow in FLOWS {
            let quote = probe(around.family(), flow);
            let says = |around: &Around| {
                let frame = match around {
                    Around::V4(around) => around.error(3, 3, &quote),
                    Around::V6(around) => around.message(1, 4, &quote),
                };
                heard(&is_taken(&rig, "port unreachable", &frame)).says
            };
            assert_eq!(says(&around), Says::Port(PortState::Closed));
            assert_eq!(says(&around.by_router()), Says::Refused(Reason::PORT_UNREACHABLE));
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_cut_or_short_quote_is_never_taken() {
    let Some(rig) = rig() else { return };
    for around in Around::some().iter().map(Around::by_router) {
        let family = around.family();
        for flow in FLOWS {
            let quote = probe(family, flow);
            let enough = datagram(family) + needed(family, flow);
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
                passes(&rig, &format!("{around:?}, flow {flow}, cut to {length}"), &frame[..length], verdict);
            }
            is_taken(&rig, "whole", &frame);
        }
    }
}

/// The kernel must get each error about the host's own datagrams, whichever ports they have. Addresses, ports and the words are covered, by
/// eight bits: by chance another one is right, and userspace says the same.
#[test]
#[ignore = "needs root: make test runs it"]
fn errors_about_others_are_passed() {
    let Some(rig) = rig() else { return };
    let (mut by_chance, mut tried) = (0, 0);
    for around in Around::some().iter().map(Around::by_router) {
        let family = around.family();
        let udp = datagram(family);
        let ([source, destination], size) = if family == Family::V4 { ([12, 16], 4) } else { ([8, 24], 16) };
        for flow in FLOWS {
            let quote = probe(family, flow);
            let words = if family == Family::V4 { 4..6 } else { 0..0 };
            let covered = (source..source + size).chain(destination..destination + size).chain(udp..udp + 4);
            for byte in covered.chain(words).chain(udp + 8..udp + 10) {
                for (bit, length) in (0..8).flat_map(|bit| [(bit, udp + 8), (bit, udp + 10), (bit, quote.len())]) {
                    let mut wrong = quote[..length].to_vec();
                    let Some(byte_of) = wrong.get_mut(byte) else { continue };
                    *byte_of ^= 1 << bit;
                    let frame = around.error(&wrong);
                    let what = format!("{around:?}, flow {flow}, bit {bit} of byte {byte} of {length}");
                    let Ok(Heard::Port(report)) = read_frame(&frame) else { panic!("{what}") };
                    let is_from_here = !(source..source + size).contains(&byte);
                    let told = told(report.ports.0).filter(|_| is_from_here);
                    if told.and_then(|told| report.number(&Key(KEY), told)).is_some() {
                        is_taken(&rig, &what, &frame);
                        // Where there is another word, or none, it is right as it is.
                        let is_alone =
                            family == Family::V4 && length < udp + 10 || family == Family::V6 && flow < PROVEN;
                        by_chance += u32::from(is_alone);
                    } else {
                        passes(&rig, &what, &frame, Verdict::ForeignQuote);
                        tried += 1;
                    }
                }
            }
            let check = |what: &str, quote: &[u8], verdict| {
                for length in [udp + 10, quote.len()] {
                    passes(&rig, &format!("{what}, {around:?}"), &around.error(&quote[..length]), verdict);
                }
            };
            for protocol in [0x84, 0x88, 0x2f] {
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
            // On its way the time to live falls, and with it a checksum; the payload is not looked at.
            let mut travelled = quote.clone();
            travelled[if family == Family::V4 { 8 } else { 7 }] = 1;
            *travelled.last_mut().unwrap() ^= 0xff;
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
    assert!(tried > 5_000 && by_chance <= tried / 64, "{by_chance} by chance, {tried} not");
}

/// A router that quotes no more than 8 bytes may fill up with zeros to 128 before its extensions (RFC 4884, section 5.1).
#[test]
#[ignore = "needs root: make test runs it"]
fn zeros_behind_a_short_quote_take_no_proof_away() {
    let Some(rig) = rig() else { return };
    let around = frames::Around { source: [203, 0, 113, 1], ..frames::Around::default() };
    for flow in FLOWS {
        let mut quote = probe(Family::V4, flow)[..28].to_vec();
        quote.resize(128, 0);
        let read = heard(&is_taken(&rig, "filled up", &around.error(11, 0, &quote)));
        assert_eq!(read.number(&Key(KEY), told(FIRST_PORT + flow).unwrap()), Some((0x34, 0xff)));
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn errors_of_the_known_types_are_taken_and_others_passed() {
    let Some(rig) = rig() else { return };
    let (v4, v6) = (frames::Around::default(), frames_v6::Around::default());
    for (kind, flow) in (0..=255).flat_map(|kind| FLOWS.map(|flow| (kind, flow))) {
        let what = format!("type {kind}, flow {flow}");
        let frame = v4.error(kind, 0, &probe(Family::V4, flow));
        match kind {
            3 | 11 | 12 => drop(is_taken(&rig, &what, &frame)),
            0 => passes(&rig, "a reply to somebody", &frame, Verdict::ForeignIdentifier),
            _ => passes(&rig, &what, &frame, Verdict::NotReply),
        }
        let frame = v6.message(kind, 0, &probe(Family::V6, flow));
        match kind {
            1..=4 => drop(is_taken(&rig, &what, &frame)),
            129 => passes(&rig, "a reply to somebody", &frame, Verdict::ForeignIdentifier),
            _ => passes(&rig, &what, &frame, Verdict::NotReply),
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn without_ports_errors_about_datagrams_are_passed() {
    let Some(mut rig) = rig() else { return };
    rig.configure(&Settings { port_count: 0, unproven_ports: 0, ..settings() });
    for around in Around::some().iter().map(Around::by_router) {
        for flow in FLOWS {
            passes(&rig, "a quote", &around.error(&probe(around.family(), flow)), Verdict::ForeignQuote);
        }
    }
}
