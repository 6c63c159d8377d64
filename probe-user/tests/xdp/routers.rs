//! `routers`, the far end that plays all routers: every probe is answered by the router that `path_of` names, or by its destination; what
//! is no probe is the kernel's.

use super::{
    Rig, XDP_DROP, XDP_PASS, XDP_TX,
    around::{self, FIRST_PORT},
    frames, frames_v6, now,
    reflect::ones_complement_sum,
    v6::settings_v6,
};
use crate::{IDENTIFIER, KEY};
use echolot::{
    base::{Family, Generation, PortState, Sequence, TargetIndex},
    wire::{Content, Heard, Key, Kind, ProbeFields, Refusal, Says, Shape, read_frame},
};
use etherparse::{NetSlice, SlicedPacket};
use probe_ebpf::{layout::Settings, routers::word};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use testbed::routers::{RouterRules, path, path_of};

const RULES: RouterRules = RouterRules { common: 12, common_v6: 48, ..RouterRules::new(42) };
const OPEN: u16 = 443;

fn rig(rules: &RouterRules) -> Option<Rig> {
    let mut rig = Rig::load_far()?;
    rig.set_routers(rules);
    rig.answer_tcp(&[OPEN]);
    rig.answer_udp(&[53]);
    Some(rig)
}

fn v4(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a40_0000 | n.wrapping_mul(0x9e37_79b1) >> 12).into()
}

fn v6(n: u32) -> IpAddr {
    Ipv6Addr::from_bits(0xfd00_0064 << 96 | u128::from(n.wrapping_mul(0x9e37_79b1)) << 32 | 1).into()
}

/// Destinations of both families.
fn destinations() -> impl Iterator<Item = IpAddr> {
    (0..6).flat_map(|n| [v4(n), v6(n)])
}

fn kinds() -> [Kind; 5] {
    [
        Kind::Echo,
        Kind::Tcp { port: OPEN },
        Kind::Tcp { port: OPEN + 1 },
        Kind::Udp { port: 53, content: Content::dns("a.example TXT").unwrap() },
        Kind::Udp { port: 33_434, content: Content::Bytes(b"echolot\n") },
    ]
}

/// A probe as it leaves.
fn probe(kind: Kind, destination: IpAddr, ttl: u8, number: u16) -> Vec<u8> {
    let family = Family::of(destination);
    // From a port whose answers need no proof, where there is none.
    let flow = if matches!(kind, Kind::Udp { .. }) && !kind.has_proof() { 3 } else { 0 };
    let template = around::template(Shape { ttl, flow, ..Shape::of(kind).over(family) });
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    let fields = ProbeFields {
        destination,
        target: TargetIndex(7),
        generation: Generation(1),
        sequence: Sequence(number),
        sent: now(),
        next_hop_mac: [2, 0, 0, 0, 0, 2],
    };
    template.write(&mut frame, &fields, &Key(KEY));
    frame
}

/// As a receiver has it.
fn read(frame: &[u8]) -> Heard {
    let mut frame = frame.to_vec();
    frame[..8].copy_from_slice(&now().0.to_ne_bytes());
    read_frame(&frame).unwrap_or_else(|e| panic!("{e:?}: {frame:02x?}"))
}

/// Every header is right for an independent reader, and so are lengths and the ICMP checksum.
fn is_sound(what: &str, frame: &[u8]) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap_or_else(|e| panic!("{what}: {e}"));
    let ip = 14;
    let (source, message) = match packet.net.unwrap() {
        NetSlice::Ipv4(header) => {
            let header = header.header();
            assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum(), "{what}");
            assert_eq!(usize::from(header.total_len()), frame.len() - ip, "{what}: nothing behind it");
            (0, ip + 20)
        }
        NetSlice::Ipv6(header) => {
            let length = u32::from(header.header().payload_length());
            assert_eq!(length as usize, frame.len() - ip - 40, "{what}: nothing behind it");
            let addresses = &frame[ip + 8..ip + 40];
            (ones_complement_sum(&[addresses, &length.to_be_bytes(), &[0, 0, 0, 58]].concat()), ip + 40)
        }
        NetSlice::Arp(_) => panic!("{what}: ARP"),
    };
    let sum = u32::from(source) + u32::from(ones_complement_sum(&frame[message..]));
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{what}: the checksum of the message");
}

/// What a router's error says, whatever kind of probe it quotes: who it is, its time to live on arrival, what it quotes, labels.
struct Said {
    from: IpAddr,
    ttl: u8,
    quoted: IpAddr,
    quoted_ttl: u8,
    labels: Vec<(u32, u8)>,
}

fn said(what: &str, frame: &[u8]) -> Said {
    match read(frame) {
        Heard::Refusal(read) => {
            assert_eq!(read.reason.name(), "ttl_exceeded", "{what}");
            assert_eq!(read.identifier, IDENTIFIER, "{what}");
            let labels = read.mpls.iter().map(|entry| (entry.label, entry.ttl)).collect();
            let Refusal { from, ttl, destination, quoted_ttl, .. } = read;
            Said { from, ttl, quoted: destination, quoted_ttl, labels }
        }
        Heard::Port(read) => {
            assert!(matches!(read.says, Says::Refused(reason) if reason.name() == "ttl_exceeded"), "{what}");
            let quote = read.quote.unwrap();
            let labels = quote.mpls.iter().map(|entry| (entry.label, entry.ttl)).collect();
            Said { from: read.from, ttl: read.ttl, quoted: read.destination, quoted_ttl: quote.ttl, labels }
        }
        Heard::Reply(reply) => panic!("{what}: {reply:?}"),
    }
}

/// Shows a probe to the routers: its answer, or None if it is dropped. Addresses of both stations have changed places.
fn answer(rig: &Rig, what: &str, probe: &[u8]) -> Option<Vec<u8>> {
    let ran = rig.run("routers", probe);
    match ran.action {
        XDP_DROP => None,
        XDP_TX => {
            assert_eq!((&ran.frame[..6], &ran.frame[6..12]), (&probe[6..12], &probe[..6]), "{what}");
            Some(ran.frame)
        }
        other => panic!("{what}: action {other}"),
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn every_probe_is_answered_by_whom_the_path_names() {
    for rules in [
        RULES,
        RouterRules { quotes_all: 0, ..RULES },
        RouterRules { silent: 0x4000, labelled: 0x8000, ..RULES },
        RouterRules { quotes_all: 0, labelled: 0x1_0000, nearest: 1, furthest: 5, ..RULES },
    ] {
        let Some(rig) = rig(&rules) else { return };
        for (destination, kind) in destinations().flat_map(|to| kinds().map(|kind| (to, kind))) {
            let whole = path_of(&rules, destination);
            let told = path(&rules, destination);
            for ttl in 1..=u8::try_from(whole.len()).unwrap() + 2 {
                let what = format!("{kind:?} to {destination}, {ttl} of {}", whole.len());
                let frame = probe(kind, destination, ttl, ttl.into());
                let answered = answer(&rig, &what, &frame);
                let position = u32::from(ttl);
                if position >= told.distance {
                    arrived(&what, kind, destination, told.ttl(), &answered.unwrap());
                    continue;
                }
                let router = told.router(position);
                let Some(from) = whole[usize::from(ttl) - 1] else {
                    assert_eq!(answered, None, "{what}: silent");
                    continue;
                };
                let answered = answered.unwrap_or_else(|| panic!("{what}: no answer"));
                is_sound(&what, &answered);
                let said = said(&what, &answered);
                assert_eq!((said.from, said.quoted), (from, destination), "{what}");
                assert_eq!(
                    (said.ttl, said.quoted_ttl),
                    (rules.ttl_of(router, position), rules.quoted_ttl(router)),
                    "{what}"
                );
                let count = rules.labels(router);
                let labels: Vec<_> = (0..count).map(|n| (rules.label(router, n, count) >> 12, 1)).collect();
                assert_eq!(said.labels, labels, "{what}");
            }
        }
    }
}

/// The destination's own answer.
fn arrived(what: &str, kind: Kind, destination: IpAddr, ttl: u8, answered: &[u8]) {
    match (kind, read(answered)) {
        (Kind::Echo, Heard::Reply(reply)) => {
            assert_eq!((reply.source, reply.ttl), (destination, ttl), "{what}");
            assert!(reply.is_proven(&Key(KEY), Generation(1)), "{what}");
            is_sound(what, &answered[..length(answered)]);
        }
        (Kind::Tcp { port } | Kind::Udp { port, .. }, Heard::Port(report)) => {
            let state = if matches!(port, OPEN | 53) { PortState::Open } else { PortState::Closed };
            assert_eq!(report.says, Says::Port(state), "{what}");
            assert_eq!((report.from, report.ttl), (destination, ttl), "{what}");
            assert_eq!(report.ports.1, port, "{what}");
        }
        (_, other) => panic!("{what}: {other:?}"),
    }
}

/// Bytes of a frame without what pads it.
fn length(frame: &[u8]) -> usize {
    match frame[14] >> 4 {
        4 => 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]])),
        _ => 54 + usize::from(u16::from_be_bytes([frame[18], frame[19]])),
    }
}

/// What routers quote is as much as the rules say, and filled to 128 bytes where labels follow.
#[test]
#[ignore = "needs root: make test runs it"]
fn routers_quote_as_much_as_they_are_told() {
    for (quotes_all, labelled, lengths) in
        [(0, 0, [28, 28, 28]), (1, 0, [46, 128, 548]), (0, 0x1_0000, [128; 3]), (1, 0x1_0000, [128; 3])]
    {
        let rules = RouterRules { quotes_all, labelled, ..RULES };
        let Some(rig) = rig(&rules) else { return };
        for (payload, quoted) in [18, 100, 1_400].into_iter().zip(lengths) {
            let template = around::template(Shape { ttl: 3, ..Shape::echo(payload) }.over(Family::V4));
            let mut bytes = vec![0; template.length()];
            template.lay(&mut bytes);
            let fields = ProbeFields { destination: v4(1), sent: now(), ..around::fields(Family::V4) };
            template.write(&mut bytes, &fields, &Key(KEY));
            let answered = answer(&rig, "an echo request", &bytes).unwrap();
            let labels = rules.labels(path(&rules, v4(1)).router(3)) as usize;
            let extensions = if labels > 0 { 8 + 4 * labels } else { 0 };
            assert_eq!(answered.len(), 14 + 28 + quoted + extensions, "{payload} bytes, {labels} labels");
            let mut expected = bytes[14..].to_vec();
            let kept = if labels > 0 && quotes_all == 0 { 28 } else { quoted };
            expected.resize(kept.min(expected.len()), 0);
            expected.resize(quoted, 0);
            // Time to live, and with it the header's checksum.
            expected[8] = rules.quoted_ttl(path(&rules, v4(1)).router(3));
            expected[10..12].copy_from_slice(&answered[14 + 28 + 10..][..2]);
            assert_eq!(answered[14 + 28..][..quoted], expected, "{payload} bytes, {labels} labels");
            assert_eq!(ones_complement_sum(&answered[14 + 28..][..20]), 0xffff, "the quoted header's checksum");
        }
    }
}

/// The whole way: what these routers say `steer` takes.
#[test]
#[ignore = "needs root: make test runs it"]
fn steer_takes_what_they_say() {
    let Some(mut steer) = Rig::load() else { return };
    steer.configure(&Settings {
        first_port: FIRST_PORT,
        port_count: 4,
        unproven_ports: 1,
        ..settings_v6(&[frames_v6::OURS])
    });
    steer.open_socket();
    for rules in
        [RULES, RouterRules { quotes_all: 0, ..RULES }, RouterRules { labelled: 0x1_0000, quotes_all: 0, ..RULES }]
    {
        let Some(rig) = rig(&rules) else { return };
        for (destination, kind) in destinations().flat_map(|to| kinds().map(|kind| (to, kind))) {
            for ttl in 1..u8::try_from(path_of(&rules, destination).len()).unwrap() {
                let what = format!("{kind:?} to {destination}, {ttl}");
                let answered = answer(&rig, &what, &probe(kind, destination, ttl, 77)).unwrap();
                crate::is_taken(&steer, &what, &answered);
            }
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn it_is_counted_how_often_each_position_was_asked() {
    let rules = RouterRules { nearest: 6, furthest: 6, silent: 0x2000, lost: 0x1000, ..RULES };
    let Some(rig) = rig(&rules) else { return };
    for ttl in 1..=8 {
        for destination in (0..u32::from(ttl) * 3).map(v4) {
            rig.run("routers", &probe(Kind::Echo, destination, ttl, 1));
        }
    }
    for position in 1..6 {
        assert_eq!(rig.asked(position), u64::from(position) * 3, "{position}, whether or not it answered");
    }
    assert_eq!(rig.asked(0), (6 + 7 + 8) * 3, "those that arrived");
    assert_eq!((6..32).map(|position| rig.asked(position)).sum::<u64>(), 0);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn probes_are_lost_by_rule() {
    let rules = RouterRules { lost: 0x4000, nearest: 10, furthest: 10, ..RULES };
    let Some(rig) = rig(&rules) else { return };
    let mut lost = 0;
    for number in 0..200 {
        for (ttl, destination) in [(1, v4(1)), (5, v6(2)), (10, v4(3)), (12, v6(3))] {
            let frame = probe(Kind::Echo, destination, ttl, number);
            let at = if destination.is_ipv4() { 14 + 20 } else { 14 + 40 };
            let identification = if destination.is_ipv4() { u16::from_be_bytes([frame[18], frame[19]]) } else { 0 };
            let word = word(frame[at + 4..at + 8].try_into().unwrap(), identification);
            let told = path(&rules, destination);
            let is_lost = match u32::from(ttl) {
                ttl if ttl < 10 => rules.is_lost(told.router(ttl).0, ttl, word),
                _ => rules.is_lost(told.bits, 10, word),
            };
            assert_eq!(answer(&rig, "a probe", &frame).is_none(), is_lost, "{number} to {destination}");
            lost += u32::from(is_lost);
        }
    }
    assert!((140..260).contains(&lost), "{lost} of 800, a quarter");
}

/// Their first routers are shared, their last ones are not.
#[test]
fn paths_share_their_first_routers() {
    let paths: Vec<_> = (0..64).map(|n| path_of(&RULES, v4(n))).collect();
    let at = |position: usize| {
        let mut all: Vec<_> =
            paths.iter().filter(|path| path.len() > position).map(|path| path[position - 1]).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        (all.len(), count)
    };
    assert_eq!(at(1), (32, 64), "five bits");
    assert!(at(7).0 == at(7).1, "{:?}: eleven bits", at(7));
    for path in paths {
        assert!((8..=24).contains(&path.len()) && path.iter().all(Option::is_some));
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn all_else_goes_to_the_kernel() {
    let Some(rig) = rig(&RULES) else { return };
    let v4 = frames::Around { ttl: 1, ..frames::Around::default() };
    let v6 = frames_v6::Around { hop_limit: 1, ..frames_v6::Around::default() };
    let good = v4.echo_request(1, 2, &[9; 18]);
    let with = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        frame
    };
    let fragment = frames::Around { more_fragments: true, ..v4.clone() };
    let options = frames::Around { options: 1, ..v4.clone() };
    let extended = frames_v6::Around { extensions: vec![(frames_v6::DESTINATION, 0)], ..v6.clone() };
    for (what, frame) in [
        ("ARP", frames::arp()),
        ("an echo reply", v4.echo_reply(1, 2, &[9; 18])),
        ("an error", v4.error(11, 0, &good[14..])),
        ("an error over IPv6", v6.message(3, 0, &[9; 60])),
        ("an echo reply over IPv6", v6.echo_reply(1, 2, &[9; 18])),
        ("a neighbour's question", frames_v6::Around { hop_limit: 255, ..v6.clone() }.message(135, 0, &[9; 20])),
        ("a fragment", fragment.echo_request(1, 2, &[9; 18])),
        ("with options", options.echo_request(1, 2, &[9; 18])),
        ("with an extension header", extended.echo_request(1, 2, &[9; 18])),
        ("to all stations", with(0, 0xff)),
        ("to many hosts", with(30, 224)),
        ("GRE", with(23, 47)),
        ("with a code", with(35, 1)),
        ("cut short", good[..good.len() - 1].to_vec()),
    ] {
        let ran = rig.run("routers", &frame);
        assert_eq!(ran.action, XDP_PASS, "{what}");
        assert_eq!(ran.frame, frame, "{what}: bytes were changed");
    }
    // A tag is no obstacle.
    for tags in [1, 2] {
        let frame = frames::Around { tags, ..v4.clone() }.echo_request(1, 2, &[9; 18]);
        let answered = answer(&rig, "tagged", &frame).unwrap();
        assert_eq!(answered[12..14 + 4 * tags], frame[12..14 + 4 * tags], "its tags");
        assert_eq!(answered[14 + 4 * tags + 20], 11, "time exceeded");
    }
}
