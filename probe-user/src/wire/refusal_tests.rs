//! Errors made by etherparse, about probes written by our own template.
#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

use super::{
    reason::{reason, reason_v6},
    tests::{Wrapping, arrival, extensions, mend, ours, probes, stamped, wrappings},
    *,
};
use crate::base::{Family, Generation, Nanos, Reason, Sequence, TargetIndex};
use etherparse::IpNumber;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IDENTIFIER: u16 = 0xec40;

pub(super) fn router(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(203, 0, 113, 1).into(),
        Family::V6 => Ipv6Addr::from_bits(0x2001_0db8 << 96 | 0xff).into(),
    }
}

/// A probe as its router sees it, IP header first: the template's own bytes, with another time to live, and with options or extension
/// headers if somebody on the way has added any.
fn probe(fields: &ProbeFields, key: &Key, around: &Wrapping) -> Vec<u8> {
    let family = Family::of(fields.destination);
    let origin = Origin { mac: [2; 6], source: ours(family), identifier: IDENTIFIER, first_port: 61_000, flow_key: 5 };
    let template = Template::new(Shape::default().over(family), origin).unwrap();
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    template.write(&mut frame, fields, key);
    let mut datagram = frame.split_off(14);
    match family {
        Family::V4 => {
            datagram[8] = 1;
            datagram[0] += u8::try_from(around.options.len() / 4).unwrap();
            datagram.splice(20..20, around.options.clone());
        }
        Family::V6 => {
            datagram[7] = 1;
            let mut extensions = extensions(around.extensions);
            let first = extensions.set_next_headers(IpNumber(58));
            let mut bytes = Vec::new();
            extensions.write(&mut bytes, first).unwrap();
            datagram[6] = first.0;
            datagram.splice(40..40, bytes);
        }
    }
    datagram
}

/// An error about `quote` as it reaches us, and where its ICMP message begins and how long it is.
pub(super) fn error(family: Family, kind: u8, code: u8, quote: &[u8], around: &Wrapping) -> (Vec<u8>, usize, usize) {
    let builder = around.builder(router(family), ours(family));
    let mut frame = Vec::new();
    match family {
        Family::V4 => builder.icmpv4_raw(kind, code, [0; 4]).write(&mut frame, quote).unwrap(),
        Family::V6 => builder.icmpv6_raw(kind, code, [0; 4]).write(&mut frame, quote).unwrap(),
    }
    frame.resize(frame.len() + around.trailer, 0x5a);
    (frame, around.message(family), 8 + quote.len())
}

/// A number that chooses a type, and a code.
fn kinds() -> impl Strategy<Value = (usize, u8)> {
    (any::<usize>(), prop_oneof![0..=16u8, any::<u8>()])
}

/// The chosen type, and its reasons.
fn kind(family: Family, chosen: usize) -> (u8, fn(u8, u8) -> Reason) {
    match family {
        Family::V4 => ([3, 11, 12][chosen % 3], reason),
        Family::V6 => ([1, 2, 3, 4][chosen % 4], reason_v6),
    }
}

proptest! {
    #[test]
    fn what_is_quoted_is_read(
        key in any::<[u64; 2]>().prop_map(Key),
        fields in probes(),
        (chosen, code) in kinds(),
        around in wrappings(),
        inner in wrappings(),
        missing in prop_oneof![Just(0usize), 0..=18usize],
        more in 0..500usize,
        after in any::<u64>(),
        other in any::<u16>(),
    ) {
        let family = Family::of(fields.destination);
        let arrived = arrival(&fields, after);
        let (kind, reason) = kind(family, chosen);
        let mut quote = probe(&fields, &key, &inner);
        quote.truncate(quote.len() - missing);
        if missing == 0 {
            quote.resize(quote.len() + more, 0);
        }
        let (frame, ..) = error(family, kind, code, &quote, &around);
        let read = read_frame(&stamped(frame, arrived));
        let Heard::Refusal(refusal) = read.unwrap() else { panic!("no error") };
        prop_assert_eq!(refusal.arrived, Nanos(arrived));
        prop_assert_eq!((refusal.from, refusal.ttl), (router(family), around.ttl));
        prop_assert_eq!(refusal.reason, reason(kind, code));
        prop_assert_eq!((refusal.destination, refusal.sequence), (fields.destination, fields.sequence));
        prop_assert_eq!(refusal.identifier, IDENTIFIER);
        // Over IPv6 nothing else would prove it.
        prop_assert_eq!(refusal.is_ours(&key), family == Family::V4 || missing == 0);
        prop_assert_eq!(refusal.quoted.is_some(), missing == 0);
        if let Some(quoted) = refusal.quoted {
            prop_assert_eq!((quoted.sent, quoted.target), (fields.sent, fields.target));
            prop_assert!(refusal.is_proven(&quoted, &key, fields.generation));
            let others = Generation(other);
            prop_assert_eq!(refusal.is_proven(&quoted, &key, others), others == fields.generation);
            prop_assert!(!refusal.is_proven(&quoted, &Key([key.0[0] ^ 1, key.0[1]]), fields.generation));
        }
    }

    #[test]
    fn a_cut_error_is_truncated(fields in probes(), around in wrappings(), inner in wrappings()) {
        let family = Family::of(fields.destination);
        let quote = probe(&fields, &Key([1, 2]), &inner);
        let (frame, icmp, length) = error(family, 3, 1, &quote, &around);
        let frame = stamped(frame, 1);
        for cut in 0..icmp + length {
            prop_assert_eq!(read_frame(&frame[..cut]), Err(RejectedReason::Truncated), "cut to {}", cut);
        }
        prop_assert!(read_frame(&frame).is_ok());
    }

    /// Less than the headers of the probe, in a frame that holds it all.
    #[test]
    fn a_quote_without_its_headers_is_truncated(
        fields in probes(),
        around in wrappings(),
        inner in wrappings(),
        length in any::<usize>(),
    ) {
        let family = Family::of(fields.destination);
        let quote = probe(&fields, &Key([1, 2]), &inner);
        let quote = &quote[..length % (inner.header(family) + 8)];
        let (frame, ..) = error(family, [11, 3][usize::from(family == Family::V6)], 0, quote, &around);
        prop_assert_eq!(read_frame(&stamped(frame, 1)), Err(RejectedReason::Truncated));
    }

    /// A flipped bit anywhere in the message is seen by its checksum; where somebody mended that, what it says is proven no
    /// more, wherever it matters.
    #[test]
    fn a_flipped_bit_is_seen(fields in probes(), around in wrappings(), at in any::<u16>(), short in any::<bool>()) {
        let key = Key([3, 4]);
        let family = Family::of(fields.destination);
        let quote = probe(&fields, &key, &Wrapping::NONE);
        let whole = quote.len();
        let short = short && family == Family::V4;
        let (mut frame, icmp, length) = error(family, 3, 1, &quote[..if short { 28 } else { whole }], &around);
        let bit = usize::from(at) % (length * 8);
        let byte = bit / 8;
        frame[icmp + byte] ^= 1 << (bit % 8);
        let mut frame = stamped(frame, fields.sent.0);
        let before = read_frame(&frame);
        prop_assert!(matches!(before, Err(RejectedReason::Corrupt | RejectedReason::Truncated)), "{:?}", before);

        mend(&mut frame, 14 + 4 * around.tags, icmp, length);
        let judged = match read_frame(&frame) {
            Ok(Heard::Refusal(refusal)) => refusal.is_ours(&key)
                && refusal.quoted.is_none_or(|quoted| refusal.is_proven(&quoted, &key, fields.generation)),
            _ => false,
        };
        // Destination and sequence number; behind the filler send time, target and cookie; without those the identification.
        let matters = match family {
            Family::V4 => matches!(byte, 24..28 | 34..36 | 38..) || short && matches!(byte, 12..14),
            Family::V6 => matches!(byte, 32..48 | 54..56 | 58..),
        };
        if matters {
            prop_assert!(!judged, "byte {}", byte);
        }
    }
}

fn fields(family: Family) -> ProbeFields {
    ProbeFields {
        destination: router(family),
        target: TargetIndex(1),
        generation: Generation(2),
        sequence: Sequence(3),
        sent: Nanos(4),
        next_hop_mac: [2; 6],
    }
}

#[test]
fn what_quotes_no_probe_is_corrupt() {
    for (family, kind, others) in [(Family::V4, 3, [5, 4]), (Family::V6, 1, [128, 137])] {
        let good = probe(&fields(family), &Key([1, 2]), &Wrapping::NONE);
        let read = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut quote = good.clone();
            change(&mut quote);
            read_frame(&stamped(error(family, kind, 3, &quote, &Wrapping::NONE).0, 1))
        };
        assert!(read(&|_| ()).is_ok());
        let (message, wrong): (usize, &[(&str, usize, u8)]) = match family {
            Family::V4 => {
                (20, &[("a version", 0, 0x65), ("a header length", 0, 0x44), ("a fragment", 7, 1), ("SCTP", 9, 132)])
            }
            Family::V6 => (40, &[("a version", 0, 0x45), ("a fragment", 6, 44), ("SCTP", 6, 132), ("ICMP", 6, 1)]),
        };
        let of_message = [("a reply", message, [0, 129][usize::from(message == 40)]), ("a code", message + 1, 1)];
        for (what, at, value) in wrong.iter().copied().chain(of_message) {
            assert_eq!(read(&|quote| quote[at] = value), Err(RejectedReason::Corrupt), "{what} {family:?}");
        }
        for other in others {
            let (no_error, ..) = error(family, other, 1, &good, &Wrapping::NONE);
            assert_eq!(read_frame(&stamped(no_error, 1)), Err(RejectedReason::Corrupt), "type {other}");
        }
        let (unreachable, ..) = error(family, kind, 1, &good, &Wrapping::NONE);
        assert_eq!(read_reply(&stamped(unreachable, 1)), Err(RejectedReason::Corrupt), "an error is no reply");
    }
}

/// What is behind more extension headers than are walked, or behind one that isn't, is not looked at.
#[test]
fn extension_headers_are_walked_so_far() {
    let reply = |nexts: &[u8]| {
        let good = Wrapping::NONE.builder(router(Family::V6), ours(Family::V6));
        let mut frame = Vec::new();
        good.icmpv6_echo_reply(1, 2).write(&mut frame, &[7; 18]).unwrap();
        let (first, rest) = nexts.split_first().unwrap();
        let headers: Vec<u8> = rest.iter().flat_map(|next| [*next, 0, 0, 0, 0, 0, 0, 0]).collect();
        frame[14 + 6] = *first;
        frame[14 + 5] += u8::try_from(headers.len()).unwrap();
        frame.splice(54..54, headers);
        read_reply(&stamped(frame, 1)).map(drop)
    };
    assert_eq!(reply(&[58]), Ok(()));
    assert_eq!(reply(&[0, 43, 60, 60, 58]), Ok(()));
    assert_eq!(reply(&[0, 60, 43, 60, 60, 58]), Err(RejectedReason::Corrupt), "five");
    for next in [44, 50, 59, 135, 139, 253] {
        assert_eq!(reply(&[next, 58]), Err(RejectedReason::Corrupt), "{next}");
    }
}

#[test]
fn reasons_are_named_as_ping_people_know_them() {
    for (kind, code, name) in [
        (3, 0, "net_unreachable"),
        (3, 1, "host_unreachable"),
        (3, 3, "port_unreachable"),
        (3, 4, "fragmentation_needed"),
        (3, 13, "admin_prohibited"),
        (3, 15, "precedence_cutoff"),
        (3, 16, "destination_unreachable"),
        (3, 255, "destination_unreachable"),
        (11, 0, "ttl_exceeded"),
        (11, 1, "reassembly_time_exceeded"),
        (11, 2, "time_exceeded"),
        (12, 0, "parameter_problem"),
        (12, 9, "parameter_problem"),
    ] {
        assert_eq!(reason(kind, code).name(), name, "{kind} {code}");
    }
}

#[test]
fn reasons_of_icmpv6_have_the_names_of_the_rfc_or_of_icmp() {
    for (kind, code, name) in [
        (1, 0, "no_route"),
        (1, 1, "admin_prohibited"),
        (1, 2, "beyond_scope"),
        (1, 3, "address_unreachable"),
        (1, 4, "port_unreachable"),
        (1, 5, "source_policy"),
        (1, 6, "reject_route"),
        (1, 7, "source_route_failed"),
        (1, 8, "destination_unreachable"),
        (1, 255, "destination_unreachable"),
        (2, 0, "packet_too_big"),
        (2, 7, "packet_too_big"),
        (3, 0, "ttl_exceeded"),
        (3, 1, "reassembly_time_exceeded"),
        (3, 2, "time_exceeded"),
        (4, 0, "parameter_problem"),
        (4, 2, "parameter_problem"),
    ] {
        assert_eq!(reason_v6(kind, code).name(), name, "{kind} {code}");
    }
}

#[test]
fn every_reason_is_documented_once() {
    let docs = include_str!("../../../docs/metrics.md");
    let (_, docs) = docs.split_once("### Why unreachable").unwrap();
    let (docs, _) = docs.split_once("\n## ").unwrap();
    for reason in Reason::NAMES {
        assert_eq!(docs.matches(&format!("\n| `{reason}` |")).count(), 1, "{reason}");
    }
}
