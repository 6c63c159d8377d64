//! Errors made by etherparse, about probes written by our own template.
#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

use super::{
    refusal::reason,
    tests::{Wrapping, mend, probes, stamped, wrappings},
    *,
};
use crate::base::{Generation, Nanos, Reason, Sequence, TargetIndex};
use etherparse::{IpHeaders, Ipv4Header, PacketBuilder, VlanId};
use proptest::prelude::*;
use std::net::Ipv4Addr;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const IDENTIFIER: u16 = 0xec40;

/// A probe as its router sees it, IPv4 header first: the template's own bytes, with another time to live, and with options if
/// somebody on the way has added any.
fn probe(fields: &ProbeFields, key: &Key, options: usize) -> Vec<u8> {
    let template =
        Template::new(Shape::default(), Origin { mac: [2; 6], source: OURS, identifier: IDENTIFIER }).unwrap();
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    template.write(&mut frame, fields, key);
    let mut datagram = frame.split_off(14);
    datagram[8] = 1;
    datagram[0] += u8::try_from(options).unwrap();
    datagram.splice(20..20, vec![1; 4 * options]);
    datagram
}

/// An error about `quote` as it reaches us, and where its ICMP message begins and how long it is.
fn error(kind: u8, code: u8, quote: &[u8], around: &Wrapping) -> (Vec<u8>, usize, usize) {
    let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let vlan = |id: u16| VlanId::try_new(id).unwrap();
    let header = Ipv4Header {
        source: ROUTER.octets(),
        destination: OURS.octets(),
        time_to_live: around.ttl,
        options: around.options.as_slice().try_into().unwrap(),
        ..Ipv4Header::default()
    };
    let ip = IpHeaders::Ipv4(header, Default::default());
    let stacked = match around.tags {
        0 => ethernet.ip(ip),
        1 => ethernet.single_vlan(vlan(7)).ip(ip),
        _ => ethernet.double_vlan(vlan(7), vlan(8)).ip(ip),
    };
    let mut frame = Vec::new();
    stacked.icmpv4_raw(kind, code, [0; 4]).write(&mut frame, quote).unwrap();
    frame.resize(frame.len() + around.trailer, 0x5a);
    (frame, 14 + 4 * around.tags + 20 + around.options.len(), 8 + quote.len())
}

fn kinds() -> impl Strategy<Value = (u8, u8)> {
    (prop_oneof![Just(3u8), Just(11), Just(12)], any::<u8>())
}

proptest! {
    #[test]
    fn what_is_quoted_is_read(
        key in any::<[u64; 2]>().prop_map(Key),
        fields in probes(),
        (kind, code) in kinds(),
        around in wrappings(),
        options in 0..=10usize,
        missing in prop_oneof![Just(0usize), 0..=18usize],
        more in 0..500usize,
        arrived in any::<u64>(),
        other in any::<u16>(),
    ) {
        let mut quote = probe(&fields, &key, options);
        quote.truncate(quote.len() - missing);
        if missing == 0 {
            quote.resize(quote.len() + more, 0);
        }
        let (frame, ..) = error(kind, code, &quote, &around);
        let Heard::Refusal(refusal) = read_frame(&stamped(frame, arrived)).unwrap() else { panic!("no error") };
        prop_assert_eq!(refusal.arrived, Nanos(arrived));
        prop_assert_eq!((refusal.from, refusal.ttl), (ROUTER.into(), around.ttl));
        prop_assert_eq!(refusal.reason, reason(kind, code));
        prop_assert_eq!((refusal.destination, refusal.sequence), (fields.destination.into(), fields.sequence));
        prop_assert_eq!(refusal.identifier, IDENTIFIER);
        prop_assert!(refusal.is_ours(&key));
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
    fn a_cut_error_is_truncated(fields in probes(), around in wrappings(), options in 0..=10usize) {
        let (frame, icmp, length) = error(3, 1, &probe(&fields, &Key([1, 2]), options), &around);
        let frame = stamped(frame, 1);
        for cut in 0..icmp + length {
            prop_assert_eq!(read_frame(&frame[..cut]), Err(RejectedReason::Truncated), "cut to {}", cut);
        }
        prop_assert!(read_frame(&frame).is_ok());
    }

    /// Less than the headers of the probe, in a frame that holds it all.
    #[test]
    fn a_quote_without_its_headers_is_truncated(fields in probes(), around in wrappings(), length in 0..28usize) {
        let (frame, ..) = error(11, 0, &probe(&fields, &Key([1, 2]), 0)[..length], &around);
        prop_assert_eq!(read_frame(&stamped(frame, 1)), Err(RejectedReason::Truncated));
    }

    /// A flipped bit anywhere in the message is seen by its checksum; where somebody mended that, what it says is proven no
    /// more, wherever it matters.
    #[test]
    fn a_flipped_bit_is_seen(fields in probes(), around in wrappings(), at in any::<u16>(), short in any::<bool>()) {
        let key = Key([3, 4]);
        let quote = probe(&fields, &key, 0);
        let (mut frame, icmp, length) = error(3, 1, &quote[..if short { 28 } else { 46 }], &around);
        let bit = usize::from(at) % (length * 8);
        let byte = bit / 8;
        frame[icmp + byte] ^= 1 << (bit % 8);
        let mut frame = stamped(frame, 1);
        let before = read_frame(&frame);
        prop_assert!(matches!(before, Err(RejectedReason::Corrupt | RejectedReason::Truncated)), "{:?}", before);

        mend(&mut frame, icmp, length);
        let judged = match read_frame(&frame) {
            Ok(Heard::Refusal(refusal)) => refusal.is_ours(&key)
                && refusal.quoted.is_none_or(|quoted| refusal.is_proven(&quoted, &key, fields.generation)),
            _ => false,
        };
        // Identification, destination and sequence number; send time, target and cookie.
        if matches!(byte, 12..14 | 24..28 | 34..36 | 36..) {
            prop_assert!(!judged, "byte {}", byte);
        }
    }
}

#[test]
fn what_quotes_no_probe_is_corrupt() {
    let fields = ProbeFields {
        destination: Ipv4Addr::new(198, 51, 100, 7),
        target: TargetIndex(1),
        generation: Generation(2),
        sequence: Sequence(3),
        sent: Nanos(4),
        next_hop_mac: [2; 6],
    };
    let around = Wrapping { tags: 0, options: vec![], ttl: 64, trailer: 0 };
    let good = probe(&fields, &Key([1, 2]), 0);
    let read = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut quote = good.clone();
        change(&mut quote);
        read_frame(&stamped(error(3, 3, &quote, &around).0, 1))
    };
    assert!(read(&|_| ()).is_ok());
    for (what, at, value) in [
        ("a version", 0, 0x65),
        ("a header length", 0, 0x44),
        ("a fragment", 7, 1),
        ("UDP", 9, 17),
        ("a reply", 20, 0),
        ("a code", 21, 1),
    ] {
        assert_eq!(read(&|quote| quote[at] = value), Err(RejectedReason::Corrupt), "{what}");
    }
    let (redirect, ..) = error(5, 1, &good, &around);
    assert_eq!(read_frame(&stamped(redirect, 1)), Err(RejectedReason::Corrupt), "a redirect is no error");
    let (unreachable, ..) = error(3, 1, &good, &around);
    assert_eq!(read_reply(&stamped(unreachable, 1)), Err(RejectedReason::Corrupt), "an error is no reply");
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
fn every_reason_is_documented_once() {
    let docs = include_str!("../../../docs/metrics.md");
    for reason in Reason::NAMES {
        assert_eq!(docs.matches(&format!("\n| `{reason}` |")).count(), 1, "{reason}");
    }
}
