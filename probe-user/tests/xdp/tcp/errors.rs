//! ICMP errors that quote a SYN.

use super::{PORT, PORTS, RST, initial, rig, syn};
use crate::{
    KEY, is_taken, passes,
    xdp::{
        around::{Around, FIRST_PORT, heard, in_all_headers, theirs},
        frames, frames_v6,
    },
};
use echolot::{
    base::Family,
    wire::{Key, NumberIn, Says},
};
use probe_ebpf::layout::{MAX_FRAME, Verdict};

#[test]
#[ignore = "needs root: make test runs it"]
fn errors_about_our_syns_are_taken_whatever_lies_around_them() {
    let Some(rig) = rig() else { return };
    for around in Around::all().iter().map(Around::by_router) {
        let family = around.family();
        for flow in 0..PORTS {
            for quote in in_all_headers(family, &syn(family, flow)) {
                // Eight bytes of the segment, some more, all of it.
                for length in [quote.len() - 32, quote.len() - 25, quote.len()] {
                    let what = format!("{around:?} quoting {length} of {}, flow {flow}", quote.len());
                    let frame = around.error(&quote[..length]);
                    if frame.len() > MAX_FRAME {
                        continue;
                    }
                    let read = heard(&is_taken(&rig, &what, &frame));
                    assert!(matches!(read.says, Says::Refused(_)), "{what}");
                    assert_eq!(read.number(&Key(KEY), NumberIn::Sequence), Some((0x34, 0xff)), "{what}");
                    assert_eq!((read.destination, read.ports), (theirs(family), (FIRST_PORT + flow, PORT)), "{what}");
                }
            }
        }
    }
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
