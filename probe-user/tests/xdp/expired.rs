//! What `steer` makes of *time exceeded*, as it comes from routers that quote the probe as they like: which quotes are taken, by every kind
//! of probe, over both families.
//!
//! In the table: `T` taken; `E` taken if such probes were to expire (`Settings::expiring_flows`), for no keyed bits are left that the kernel
//! could check; `-` left to the kernel, because without such bits it may as well be about a connection of the host's own.

use super::{
    Rig, XDP_PASS, XDP_REDIRECT,
    around::{Around, FIRST_PORT, NUMBER, ours, quoted, template, theirs},
    frames_v6, header, now,
    v6::settings_v6,
};
use crate::{IDENTIFIER, KEY, is_taken, passes};
use echolot::{
    base::{Family, Generation, Sequence, TargetIndex},
    wire::{Content, Heard, Key, Kind, NumberIn, ProbeFields, Proof, Refusal, RejectedReason, Shape, read_frame},
};
use probe_ebpf::layout::{Settings, Verdict};

/// Ports whose answers have proof, and ports whose answers have none.
const PROVEN: u16 = 3;
const UNPROVEN: u16 = 16;
const GENERATION: Generation = Generation(1);

fn settings(expiring_flows: u32) -> Settings {
    Settings {
        first_port: FIRST_PORT,
        port_count: (PROVEN + UNPROVEN).into(),
        unproven_ports: UNPROVEN.into(),
        expiring_flows,
        ..settings_v6(&[frames_v6::OURS])
    }
}

fn rig(expiring_flows: u32) -> Option<Rig> {
    let mut rig = Rig::load()?;
    rig.configure(&settings(expiring_flows));
    rig.open_socket();
    Some(rig)
}

/// A kind of probe, its family, and how much of it is quoted behind the IP header; None: all.
type Quoted = (&'static str, Family, Option<usize>);

/// The columns of the table.
const COLUMNS: [Quoted; 12] = [
    ("icmp", Family::V4, Some(8)),
    ("icmp", Family::V4, None),
    ("icmp", Family::V6, None),
    ("tcp", Family::V4, Some(8)),
    ("tcp", Family::V4, None),
    ("tcp", Family::V6, Some(8)),
    ("udp", Family::V4, Some(8)),
    ("udp", Family::V6, Some(8)),
    ("dns", Family::V4, Some(8)),
    ("dns", Family::V4, None),
    ("dns", Family::V6, None),
    ("icmp", Family::V6, Some(8)),
];

/// As it left, IP header first.
fn probe((kind, family, behind): Quoted) -> Vec<u8> {
    let content = |dns: bool| if dns { Content::dns("a.example TXT").unwrap() } else { Content::Bytes(b"echolot\n") };
    let mut probe = match kind {
        "icmp" => echo(family),
        "tcp" => quoted(Shape::of(Kind::Tcp { port: 443 }).over(family)),
        "udp" => {
            let kind = Kind::Udp { port: 9, content: content(false) };
            quoted(Shape { flow: PROVEN + 4, ..Shape::of(kind).over(family) })
        }
        _ => quoted(Shape::of(Kind::Udp { port: 53, content: content(true) }).over(family)),
    };
    if let Some(behind) = behind {
        probe.truncate(header(family) + behind);
    }
    probe
}

fn echo(family: Family) -> Vec<u8> {
    let shape = Shape::echo(18).over(family);
    let template = template(shape);
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    let fields = ProbeFields {
        destination: theirs(family),
        target: TargetIndex(7),
        generation: GENERATION,
        sequence: Sequence(NUMBER),
        sent: now(),
        next_hop_mac: [2; 6],
    };
    template.write(&mut frame, &fields, &Key(KEY));
    frame.truncate(14 + shape.datagram() as usize);
    frame.split_off(14)
}

/// A router's word that it expired.
fn error(family: Family, (kind, code): (u8, u8), quote: &[u8]) -> Vec<u8> {
    match Around::of(family).by_router() {
        Around::V4(around) => around.error(kind, code, quote),
        Around::V6(around) => around.message(kind, code, quote),
    }
}

const fn expired(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (11, 0),
        Family::V6 => (3, 0),
    }
}

/// What a router does to the quote; of fields that only IPv4 has, nothing to one of IPv6.
type Change = fn(Family, &mut Vec<u8>);

fn v4(family: Family, quote: &mut [u8], at: usize, bytes: &[u8]) {
    if family == Family::V4 {
        quote[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn ttl(family: Family, quote: &mut [u8], ttl: u8) {
    quote[if family == Family::V4 { 8 } else { 7 }] = ttl;
}

fn translate(family: Family, quote: &mut [u8]) {
    let last = header(family) - 1;
    quote[last] ^= 0x2b;
}

fn length(family: Family, quote: &mut [u8], change: impl Fn(u16) -> u16) {
    let at = if family == Family::V4 { 2..4 } else { 4..6 };
    let length = change(u16::from_be_bytes([quote[at.start], quote[at.start + 1]]));
    quote[at].copy_from_slice(&length.to_be_bytes());
}

/// Filled with zeros to 128 bytes, and a label behind it.
fn extend(quote: &mut Vec<u8>) {
    quote.resize(128, 0);
    // Version and checksum; length, class, C-type; label 16, bottom of stack, time to live 1.
    quote.extend([0x20, 0, 0xdd, 0xf4, 0, 8, 1, 1, 0, 1, 1, 1]);
}

fn no_identification(family: Family, quote: &mut [u8]) {
    v4(family, quote, 4, &[0, 0]);
}

/// Of ICMP and UDP. That of TCP is not among the first 8 bytes.
fn no_checksum(family: Family, quote: &mut [u8]) {
    let at = match quote[if family == Family::V4 { 9 } else { 6 }] {
        6 => return,
        17 => header(family) + 6,
        _ => header(family) + 2,
    };
    quote[at..at + 2].fill(0);
}

/// The cookie, where there is one.
fn another_cookie(family: Family, quote: &mut [u8]) {
    let cookie = header(family) + 8 + 12;
    if matches!(quote[header(family)], 8 | 128) && quote.len() > cookie {
        quote[cookie] ^= 1;
    }
}

/// What routers do, and by column what becomes of their errors.
const TABLE: [(&str, Change, &str); 20] = [
    ("as it left", |_, _| (), "TTTTTTTTTTTE"),
    ("time to live 0", |family, quote| ttl(family, quote, 0), "TTTTTTTTTTTE"),
    ("time to live 1", |family, quote| ttl(family, quote, 1), "TTTTTTTTTTTE"),
    ("time to live 2", |family, quote| ttl(family, quote, 2), "TTTTTTTTTTTE"),
    ("time to live 255", |family, quote| ttl(family, quote, 255), "TTTTTTTTTTTE"),
    ("header checksum 0", |family, quote| v4(family, quote, 10, &[0, 0]), "TTTTTTTTTTTE"),
    ("header checksum wrong", |family, quote| v4(family, quote, 10, &[0xab, 0xcd]), "TTTTTTTTTTTE"),
    ("length in the host's order", |family, quote| length(family, quote, u16::swap_bytes), "TTTTTTTTTTTE"),
    ("length less the header", |family, quote| length(family, quote, |length| length.wrapping_sub(20)), "TTTTTTTTTTTE"),
    ("another TOS", |family, quote| quote[1] ^= [0x48, 0xa0][usize::from(family == Family::V6)], "TTTTTTTTTTTE"),
    ("another flag", |family, quote| v4(family, quote, 6, &[0x80, 0]), "TTTTTTTTTTTE"),
    ("with extensions", |_, quote| extend(quote), "TTTTTTTTTTTE"),
    ("identification 0", |family, quote| no_identification(family, quote), "ETTTTTET-TTE"),
    (
        "identification swapped",
        |family, quote| {
            if family == Family::V4 {
                quote.swap(4, 5)
            }
        },
        "ETTTTTET-TTE",
    ),
    (
        "identification 0, with extensions",
        |family, quote| {
            no_identification(family, quote);
            extend(quote);
        },
        "ETTTTTET-TTE",
    ),
    (
        "identification and checksum 0",
        |family, quote| {
            no_identification(family, quote);
            no_checksum(family, quote);
        },
        "-TTTTTET-TT-",
    ),
    ("destination translated", |family, quote| translate(family, quote), "EEE---ET---E"),
    (
        "destination translated, identification 0",
        |family, quote| {
            translate(family, quote);
            no_identification(family, quote);
        },
        "EEE---ET---E",
    ),
    (
        "destination translated, checksum 0",
        |family, quote| {
            translate(family, quote);
            no_checksum(family, quote);
        },
        "------ET----",
    ),
    // Here it can't be told from a translated destination; userspace knows whose probe it says to be, and where that is.
    ("another cookie", |family, quote| another_cookie(family, quote), "TEETTTTTTTTE"),
];

/// Each column of a row.
fn cells(row: &str) -> impl Iterator<Item = (Quoted, char)> {
    assert_eq!(row.len(), COLUMNS.len());
    COLUMNS.into_iter().zip(row.chars())
}

/// What steer calls an error that it does not take for one about this probe.
fn left((kind, family, _): Quoted, quote: &[u8]) -> Verdict {
    match (kind, family) {
        ("icmp", Family::V6) if quote.len() < header(family) + 8 + 18 => Verdict::Truncated,
        ("icmp", _) => Verdict::Cookie,
        _ => Verdict::ForeignQuote,
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn quotes_are_taken_for_the_proof_that_is_left() {
    let (Some(strict), Some(expecting)) = (rig(0), rig(1)) else { return };
    for (what, change, row) in TABLE {
        for (column, cell) in cells(row) {
            let (kind, family, behind) = column;
            let mut quote = probe(column);
            change(family, &mut quote);
            let what = format!("{what}: {kind} over {family:?}, {behind:?}");
            let frame = error(family, expired(family), &quote);
            match cell {
                'T' => {
                    is_taken(&strict, &what, &frame);
                    is_taken(&expecting, &what, &frame);
                }
                'E' => {
                    passes(&strict, &what, &frame, left(column, &quote));
                    is_taken(&expecting, &what, &frame);
                }
                _ => {
                    passes(&strict, &what, &frame, left(column, &quote));
                    passes(&expecting, &what, &frame, left(column, &quote));
                }
            }
        }
    }
}

/// Only of what was to expire less will do: an error of another type or code could take a target down that nobody traces.
#[test]
#[ignore = "needs root: make test runs it"]
fn other_errors_need_all_their_proof() {
    let Some(rig) = rig(256) else { return };
    for (what, change, row) in TABLE {
        for (column, cell) in cells(row).filter(|(_, cell)| *cell == 'E') {
            let (kind, family, _) = column;
            let mut quote = probe(column);
            change(family, &mut quote);
            let others: &[(u8, u8)] = match family {
                Family::V4 => &[(3, 0), (3, 1), (3, 3), (3, 13), (11, 1), (11, 2), (12, 0)],
                Family::V6 => &[(1, 0), (1, 4), (2, 0), (3, 1), (4, 0)],
            };
            for other in others {
                let what = format!("{what}: {kind} over {family:?}, {other:?}, {cell}");
                passes(&rig, &what, &error(family, *other, &quote), left(column, &quote));
            }
        }
    }
}

/// The host's own pings have other checksums, and another identifier.
#[test]
#[ignore = "needs root: make test runs it"]
fn less_proof_is_for_flows_that_are_traced() {
    for flows in [1, 2, 16, 256] {
        let Some(rig) = rig(flows) else { return };
        for flow in [0, 1, 2, 15, 16, 255, 256, 65_533] {
            for family in [Family::V4, Family::V6] {
                let mut quote = echo(family);
                let sum = probe_ebpf::wire::icmp::checksum(flow).to_be_bytes();
                let message = header(family);
                quote[message + 2..message + 4].copy_from_slice(&sum);
                translate(family, &mut quote);
                let frame = error(family, expired(family), &quote);
                let what = format!("flow {flow} of {flows} over {family:?}");
                if u32::from(flow) < flows {
                    is_taken(&rig, &what, &frame);
                } else {
                    passes(&rig, &what, &frame, Verdict::Cookie);
                }
                for bit in 0..16 {
                    let identifier = (IDENTIFIER ^ 1 << bit).to_be_bytes();
                    quote[message + 4..message + 6].copy_from_slice(&identifier);
                    let frame = error(family, expired(family), &quote);
                    passes(&rig, "somebody else's", &frame, Verdict::ForeignQuote);
                }
            }
        }
    }
}

fn refusal(frame: &[u8]) -> Refusal {
    match read_frame(frame) {
        Ok(Heard::Refusal(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// What the kernel takes for less, userspace can still prove if it knows the targets: by the cookie or the identification for a target's own
/// address. Where neither is left, there are identifier and checksum, and nothing keyed.
#[test]
#[ignore = "needs root: make test runs it"]
fn userspace_knows_what_proof_is_left() {
    let Some(rig) = rig(1) else { return };
    let key = Key(KEY);
    for family in [Family::V4, Family::V6] {
        let mut quote = echo(family);
        translate(family, &mut quote);
        let read = refusal(&is_taken(&rig, "translated", &error(family, expired(family), &quote)));
        let quoted = read.quoted.unwrap();
        assert!(!read.is_proven(&quoted, &key, GENERATION));
        assert!(read.is_proven_at(&quoted, &key, GENERATION, theirs(family)));
        another_cookie(family, &mut quote);
        let read = refusal(&is_taken(&rig, "forged", &error(family, expired(family), &quote)));
        assert!(!read.is_proven_at(&read.quoted.unwrap(), &key, GENERATION, theirs(family)), "a forgery");
    }
    let family = Family::V4;
    let mut quote = probe(COLUMNS[0]);
    translate(family, &mut quote);
    let read = refusal(&is_taken(&rig, "translated and short", &error(family, expired(family), &quote)));
    assert!(!read.is_ours(&key) && read.is_identified_at(&key, theirs(family)));
    translate(family, &mut quote);
    no_identification(family, &mut quote);
    let read = refusal(&is_taken(&rig, "rewritten and short", &error(family, expired(family), &quote)));
    assert!(!read.is_ours(&key) && !read.is_identified_at(&key, theirs(family)));
    assert!(read.has_checksum_of(1) && read.destination == theirs(family) && read.sequence == Sequence(NUMBER));

    let told = NumberIn::Port { first: FIRST_PORT + PROVEN, count: UNPROVEN };
    let mut quote = probe(COLUMNS[6]);
    no_identification(family, &mut quote);
    let frame = is_taken(&rig, "a datagram", &error(family, expired(family), &quote));
    let Ok(Heard::Port(report)) = read_frame(&frame) else { panic!("no report") };
    assert_eq!(report.number(&key, told), None);
    assert_eq!(report.number_of_port(told), Some((4, 15)), "by the port that it came from");
    let mut quote = probe(COLUMNS[6]);
    translate(family, &mut quote);
    let frame = is_taken(&rig, "a datagram", &error(family, expired(family), &quote));
    let Ok(Heard::Port(report)) = read_frame(&frame) else { panic!("no report") };
    assert_eq!(report.source, ours(family));
    assert_eq!(
        report.number_at(&key, told, theirs(family)),
        Some(((NUMBER & 0xff) as u8, 0xff)),
        "for its own address"
    );
}

/// By what userspace would believe an error about a probe of ours, or look for whose it was: never by nothing.
fn has_reason(frame: &[u8], is_expired: bool, flows: u16) -> bool {
    let key = Key(KEY);
    match read_frame(frame) {
        Ok(Heard::Refusal(refusal)) => {
            let is_proven = match refusal.quoted {
                Some(quoted) => refusal.is_proven(&quoted, &key, GENERATION),
                None => refusal.is_ours(&key),
            };
            refusal.identifier == IDENTIFIER && (is_proven || is_expired && refusal.has_checksum_of(flows))
        }
        Ok(Heard::Port(report)) => {
            let place = report.ports.0.wrapping_sub(FIRST_PORT);
            let by_port = NumberIn::Port { first: FIRST_PORT + PROVEN, count: UNPROVEN };
            match report.proof {
                Proof::Sequence(..) => report.number(&key, NumberIn::Sequence).is_some(),
                Proof::Words(_) if place < PROVEN => report.number(&key, NumberIn::Word).is_some(),
                Proof::Words(_) => {
                    let number = if is_expired { report.number_of_port(by_port) } else { report.number(&key, by_port) };
                    number.is_some()
                }
            }
        }
        // Of the message steer sums nothing; of a cookie it leaves the bits with the generation to userspace.
        Err(RejectedReason::Corrupt) => true,
        other => panic!("{other:?}: {frame:02x?}"),
    }
}

/// Quotes in which anything may be wrong, of probes that were to expire or not: what is taken has a reason.
#[test]
#[ignore = "needs root: make test runs it"]
fn nothing_is_taken_for_nothing() {
    const FLOWS: u16 = 2;
    let Some(rig) = rig(FLOWS.into()) else { return };
    let mut rng = fastrand::Rng::with_seed(0x1c40);
    let (mut taken, mut passed) = (0, 0);
    for round in 0..40_000 {
        let column = *rng.choice(&COLUMNS).unwrap();
        let family = column.1;
        let mut quote = probe(column);
        let (_, change, _) = *rng.choice(&TABLE).unwrap();
        change(family, &mut quote);
        for _ in 0..rng.usize(..3) {
            let byte = rng.usize(..quote.len());
            quote[byte] ^= 1 << rng.u8(..8);
        }
        if rng.u8(..4) == 0 {
            quote.truncate(rng.usize(..quote.len()));
        }
        let is_expired = rng.u8(..4) != 0;
        let host = if family == Family::V4 { (3, 1) } else { (1, 3) };
        let frame = error(family, if is_expired { expired(family) } else { host }, &quote);
        let ran = rig.run("steer", &frame);
        let what = format!("round {round}: {column:?}, {frame:02x?}");
        if ran.action == XDP_REDIRECT {
            assert!(
                has_reason(&ran.frame, is_expired, FLOWS) || is_generations(&ran.frame),
                "taken for nothing, {what}"
            );
            taken += 1;
        } else {
            assert_eq!(ran.action, XDP_PASS, "{what}");
            passed += 1;
        }
    }
    assert!(taken > 10_000 && passed > 5_000, "{taken} taken, {passed} passed");
}

/// Whether a cookie is wrong in the bits alone that the kernel can't judge.
fn is_generations(frame: &[u8]) -> bool {
    let Ok(Heard::Refusal(refusal)) = read_frame(frame) else { return false };
    let Some(quoted) = refusal.quoted else { return false };
    (0..=u16::MAX).any(|generation| refusal.is_proven(&quoted, &Key(KEY), Generation(generation)))
}
