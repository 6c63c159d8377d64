//! Our wire code against independent ones: etherparse reads what we write and makes what we read, siphasher hashes.

#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

use super::*;
use crate::base::{Family, Generation, Nanos, Sequence, TargetIndex};
use etherparse::{
    IcmpEchoHeader, Icmpv4Type, Icmpv6Type, IpAuthHeader, IpHeaders, Ipv4Header, Ipv6Extensions, Ipv6Header,
    Ipv6RawExtHeader, Ipv6RoutingExtensions, LaxLinkExtSlice, LaxSlicedPacket, NetSlice, PacketBuilder,
    PacketBuilderStep, SlicedPacket, TransportSlice,
};
use probe_ebpf::{
    cookie,
    layout::{SETTINGS_SIZE, Settings, Verdict},
    wire::{icmp, payload},
};
use proptest::prelude::*;
use siphasher::sip::SipHasher13;
use std::{
    collections::BTreeSet,
    hash::Hasher,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

mod examples;

pub(super) fn siphasher(key: [u64; 2], message: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    hasher.write(message);
    hasher.finish()
}

/// What the proof in a probe covers, as `cookie` says.
fn hash_of(key: &Key, probe: &ProbeFields) -> u64 {
    let mut message = probe.sent.0.to_be_bytes().to_vec();
    message.extend(octets(probe.destination));
    message.extend(probe.target.0.to_be_bytes());
    message.extend(probe.sequence.0.to_be_bytes());
    siphasher(key.0, &message)
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Probes over either family.
pub(super) fn probes() -> impl Strategy<Value = ProbeFields> {
    prop_oneof![probes_to(any::<Ipv4Addr>().prop_map(IpAddr::V4)), probes_to(any::<Ipv6Addr>().prop_map(IpAddr::V6))]
}

prop_compose! {
    pub(super) fn probes_to(destinations: impl Strategy<Value = IpAddr>)(
        destination in destinations,
        target in any::<u32>(),
        generation in any::<u16>(),
        sequence in any::<u16>(),
        sent in any::<u64>(),
        next_hop_mac in any::<[u8; 6]>(),
    ) -> ProbeFields {
        ProbeFields {
            destination,
            target: TargetIndex(target),
            generation: Generation(generation),
            sequence: Sequence(sequence),
            sent: Nanos(sent),
            next_hop_mac,
        }
    }
}

/// How a reply reaches us: tags, options or extension headers, and padding that the network put around it.
#[derive(Clone, Debug)]
pub(super) struct Wrapping {
    pub(super) tags: usize,
    /// Of IPv4.
    pub(super) options: Vec<u8>,
    /// Of IPv6: how many words of 8 bytes beyond the least each has. Hop-by-hop options, destination options, routing, authentication.
    pub(super) extensions: [Option<u8>; 4],
    pub(super) ttl: u8,
    pub(super) trailer: usize,
}

impl Wrapping {
    pub(super) const NONE: Self = Self { tags: 0, options: vec![], extensions: [None; 4], ttl: 64, trailer: 0 };

    /// Bytes of an IP header in front of a message.
    pub(super) fn header(&self, family: Family) -> usize {
        match family {
            Family::V4 => 20 + self.options.len(),
            Family::V6 => 40 + extensions(self.extensions).header_len(),
        }
    }

    /// Where the message begins in a frame.
    pub(super) fn message(&self, family: Family) -> usize {
        14 + 4 * self.tags + self.header(family)
    }

    /// A frame between two addresses up to its message.
    pub(super) fn builder(&self, source: IpAddr, destination: IpAddr) -> PacketBuilderStep<IpHeaders> {
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let vlan = |id: u16| etherparse::VlanId::try_new(id).unwrap();
        let ip = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => IpHeaders::Ipv4(
                Ipv4Header {
                    source: source.octets(),
                    destination: destination.octets(),
                    time_to_live: self.ttl,
                    options: self.options.as_slice().try_into().unwrap(),
                    ..Default::default()
                },
                Default::default(),
            ),
            (IpAddr::V6(source), IpAddr::V6(destination)) => IpHeaders::Ipv6(
                Ipv6Header {
                    source: source.octets(),
                    destination: destination.octets(),
                    hop_limit: self.ttl,
                    ..Default::default()
                },
                extensions(self.extensions),
            ),
            _ => panic!("one family"),
        };
        match self.tags {
            0 => ethernet.ip(ip),
            1 => ethernet.single_vlan(vlan(7)).ip(ip),
            _ => ethernet.double_vlan(vlan(7), vlan(8)).ip(ip),
        }
    }
}

/// What etherparse has to write for them.
pub(super) fn extensions([hop_by_hop, destination, routing, authentication]: [Option<u8>; 4]) -> Ipv6Extensions {
    let raw = |words: u8| {
        // A routing header of a type that nobody knows, with no segment left; padding as options.
        let payload = vec![0; 6 + 8 * usize::from(words)];
        Ipv6RawExtHeader::new_raw(0.into(), &payload).unwrap()
    };
    Ipv6Extensions {
        hop_by_hop_options: hop_by_hop.map(raw),
        destination_options: destination.map(raw),
        routing: routing.map(|words| Ipv6RoutingExtensions { routing: raw(words), final_destination_options: None }),
        fragment: None,
        auth: authentication
            .map(|words| IpAuthHeader::new(0.into(), 1, 2, &vec![3; 4 + 8 * usize::from(words)]).unwrap()),
    }
}

pub(super) fn wrappings() -> impl Strategy<Value = Wrapping> {
    let options = (0..=10usize).prop_map(|words| vec![1; words * 4]);
    let extension = || prop::option::weighted(0.3, 0..=8u8);
    let extensions = (extension(), extension(), extension(), extension());
    (0..=2usize, options, extensions, any::<u8>(), 0..40usize).prop_map(
        |(tags, options, (a, b, c, d), ttl, trailer)| Wrapping {
            tags,
            options,
            extensions: [a, b, c, d],
            ttl,
            trailer,
        },
    )
}

/// Our own address of the family.
pub(super) fn ours(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
        Family::V6 => Ipv6Addr::from_bits(0x2001_0db8 << 96 | 1).into(),
    }
}

/// The reply to a probe, made by etherparse; where its ICMP message begins; and the frame with the stamp laid over it.
fn reply_to(probe: &ProbeFields, key: &Key, identifier: u16, padding: usize, around: &Wrapping) -> (Vec<u8>, usize) {
    // The filler may be anything.
    let mut payload = [&[0x5a, 0xa5], &probe.sent.0.to_be_bytes()[2..]].concat();
    payload.extend(probe.target.0.to_be_bytes());
    payload.extend(cookie::on_wire(hash_of(key, probe), probe.generation.0));
    payload.resize(payload.len() + padding, 0xa5);

    let family = Family::of(probe.destination);
    let builder = around.builder(probe.destination, ours(family));
    let mut frame = Vec::new();
    match family {
        Family::V4 => builder.icmpv4_echo_reply(identifier, probe.sequence.0).write(&mut frame, &payload).unwrap(),
        Family::V6 => builder.icmpv6_echo_reply(identifier, probe.sequence.0).write(&mut frame, &payload).unwrap(),
    }
    frame.resize(frame.len() + around.trailer, 0x5a);
    (frame, around.message(family))
}

/// When answers to a probe may arrive that say when it was sent: from a second before that until 78 hours after.
pub(super) fn arrival(probe: &ProbeFields, after: u64) -> u64 {
    probe.sent.0.wrapping_sub(payload::AHEAD_NS).wrapping_add(payload::low(after))
}

pub(super) fn stamped(mut frame: Vec<u8>, arrived: u64) -> Vec<u8> {
    frame[..8].copy_from_slice(&arrived.to_ne_bytes());
    frame
}

/// Fills in the ICMP checksum anew. `ip`: where the IP header begins.
pub(super) fn mend(frame: &mut [u8], ip: usize, icmp: usize, length: usize) {
    frame[icmp + 2..icmp + 4].fill(0);
    let mut sum = checksum::Sum::of(&frame[icmp..icmp + length]);
    if frame[ip] >> 4 == 6 {
        sum = sum.and(checksum::Sum::of(&frame[ip + 8..ip + 40])).word(u16::try_from(length).unwrap()).word(58);
    }
    let checksum = sum.checksum();
    frame[icmp + 2..icmp + 4].copy_from_slice(&checksum.to_be_bytes());
}

proptest! {
    #[test]
    fn the_cookie_is_siphash_1_3(key in any::<[u64; 2]>(), probe in probes()) {
        let (sent, target, sequence) = (probe.sent.0, probe.target.0, probe.sequence.0);
        let hash = match probe.destination {
            IpAddr::V4(destination) => cookie::ipv4(&key, sent, destination.octets(), target, sequence),
            IpAddr::V6(destination) => cookie::ipv6(&key, sent, destination.octets(), target, sequence),
        };
        prop_assert_eq!(hash, hash_of(&Key(key), &probe));

        let sent = cookie::on_wire(hash, probe.generation.0);
        let expected = (hash ^ u64::from(probe.generation.0)) & ((1 << 48) - 1);
        prop_assert_eq!(&sent[..], &expected.to_be_bytes()[2..]);
        prop_assert!(cookie::kernel_bits_match(hash, sent[..4].try_into().unwrap()), "whatever the generation");

        if let IpAddr::V4(destination) = probe.destination {
            let mut quoted = destination.octets().to_vec();
            quoted.extend(sequence.to_be_bytes());
            let identification = cookie::identification(&key, destination.octets(), sequence);
            prop_assert_eq!(u64::from(identification), siphasher(key, &quoted) & 0xffff);
        }
        prop_assert_eq!(cookie::flow_key(&key), siphasher(key, b"flow"));
    }

    #[test]
    fn a_flow_to_a_target_has_one_flow_label(flow_key in any::<u64>(), target in any::<u32>(), flow in any::<u16>()) {
        let label = cookie::flow_label(flow_key, target, flow);
        prop_assert!(label != 0 && label < 1 << 20);
        // And its neighbours have others.
        let labels: BTreeSet<u32> =
            (0..1000).map(|step| cookie::flow_label(flow_key, target.wrapping_add(step), flow)).collect();
        prop_assert!(labels.len() > 990, "{} of 1000", labels.len());
        let flows = (0..1000).map(|step| flow.wrapping_add(step));
        let labels: BTreeSet<u32> = flows.map(|flow| cookie::flow_label(flow_key, target, flow)).collect();
        prop_assert_eq!(labels.len(), 1000, "each flow has one of its own");
    }

    #[test]
    fn every_bit_that_the_kernel_checks_counts(hash in any::<u64>(), bit in 0..32usize) {
        let mut cookie = cookie::on_wire(hash, 0);
        cookie[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!cookie::kernel_bits_match(hash, cookie[..4].try_into().unwrap()));
    }

    /// A UMEM frame is laid once and written often: each time it is the whole probe, whatever was there before.
    #[test]
    fn etherparse_reads_what_a_template_writes(
        key in any::<[u64; 2]>().prop_map(Key),
        source_mac in any::<[u8; 6]>(),
        identifier in any::<u16>(),
        ttl in any::<u8>(),
        ids in prop::collection::vec(0..4096u16, 0..=2),
        (source, payload, probes) in prop_oneof![written(any::<Ipv4Addr>()), written(any::<Ipv6Addr>())],
        mut buffer in prop::collection::vec(any::<u8>(), 2048),
    ) {
        let tags = ids.iter().rev().zip([0x8100, 0x88a8]);
        let tags = tags.fold(Tags::NONE, |tags, (id, protocol)| tags.inside(Tag { protocol, id: *id }).unwrap());
        let shape = Shape { family: Family::of(source), payload, ttl, ..Shape::default() };
        let origin = Origin { mac: source_mac, source, identifier, first_port: 61_000, flow_key: key.flow_key() };
        let template = Template::new(shape, origin).unwrap().tagged(tags);
        let length = template.lay(&mut buffer);
        let expected = if source.is_ipv4() { 42 } else { 62 } + 4 * ids.len() + usize::from(payload);
        prop_assert_eq!((length, template.length()), (expected, expected));
        for probe in probes {
            template.write(&mut buffer, &probe, &key);
            let packet = SlicedPacket::from_ethernet(&buffer[..length]).unwrap();
            let ethernet = packet.link.as_ref().and_then(|link| link.to_header()).and_then(|h| h.ethernet2()).unwrap();
            prop_assert_eq!(ethernet.source, source_mac);
            prop_assert_eq!(ethernet.destination, probe.next_hop_mac);
            let found: Vec<u16> = packet.vlan_ids().iter().map(|id| id.value()).collect();
            prop_assert_eq!(&found, &ids, "the outer one first");

            match (&packet.net, probe.destination) {
                (Some(NetSlice::Ipv4(ip)), IpAddr::V4(destination)) => {
                    let ip = ip.header().to_header();
                    prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    prop_assert_eq!((IpAddr::from(ip.source), Ipv4Addr::from(ip.destination)), (source, destination));
                    prop_assert_eq!(ip.time_to_live, ttl);
                    prop_assert_eq!(ip.total_len, 28 + payload);
                    prop_assert!(ip.dont_fragment && !ip.more_fragments && ip.fragment_offset.value() == 0);
                    let identification = cookie::identification(&key.0, destination.octets(), probe.sequence.0);
                    prop_assert_eq!(ip.identification, identification);
                }
                (Some(NetSlice::Ipv6(ip)), IpAddr::V6(destination)) => {
                    let ip = ip.header().to_header();
                    prop_assert_eq!((IpAddr::from(ip.source), Ipv6Addr::from(ip.destination)), (source, destination));
                    prop_assert_eq!((ip.hop_limit, ip.payload_length, ip.traffic_class), (ttl, 8 + payload, 0));
                    let label = cookie::flow_label(key.flow_key(), probe.target.0, 0);
                    prop_assert_eq!(ip.flow_label.value(), label);
                }
                (other, _) => panic!("{other:?}"),
            }

            let (echo, text, checksum, right) = read_request(&packet);
            prop_assert_eq!((echo.id, echo.seq), (identifier, probe.sequence.0));
            prop_assert_eq!((checksum, right), (icmp::checksum(0), icmp::checksum(0)), "as in all probes of the flow");
            prop_assert_eq!(text.len(), usize::from(payload));
            prop_assert_eq!(&text[2..8], &probe.sent.0.to_be_bytes()[2..]);
            prop_assert_eq!(&text[8..12], &probe.target.0.to_be_bytes());
            prop_assert_eq!(&text[12..18], &cookie::on_wire(hash_of(&key, &probe), probe.generation.0));
            prop_assert!(text[18..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn what_etherparse_makes_is_read(
        key in any::<[u64; 2]>().prop_map(Key),
        probe in probes(),
        identifier in any::<u16>(),
        padding in 0..100usize,
        around in wrappings(),
        after in any::<u64>(),
        other in any::<u16>(),
    ) {
        let arrived = arrival(&probe, after);
        let (frame, _) = reply_to(&probe, &key, identifier, padding, &around);
        let packet = LaxSlicedPacket::from_ethernet(&frame).unwrap();
        let tags = packet.link_exts.iter().filter(|ext| matches!(ext, LaxLinkExtSlice::Vlan(_))).count();
        drop(packet);
        prop_assert_eq!(tags, around.tags);
        let frame = stamped(frame, arrived);
        let reply = read_reply(&frame).unwrap();
        let family = Family::of(probe.destination);
        if around.message(family) == Wrapping::NONE.message(family) {
            prop_assert_eq!(guess_target(&frame), Some(Guess::Target(reply.target)));
        }
        prop_assert_eq!(reply, Reply {
            arrived: Nanos(arrived),
            source: probe.destination,
            identifier,
            sequence: probe.sequence,
            sent: probe.sent,
            target: probe.target,
            cookie: cookie::on_wire(hash_of(&key, &probe), probe.generation.0),
            ttl: around.ttl,
        });
        prop_assert!(reply.is_proven(&key, probe.generation));
        prop_assert_eq!(reply.is_proven(&key, Generation(other)), other == probe.generation.0);
        prop_assert!(!reply.is_proven(&Key([key.0[0] ^ 1, key.0[1]]), probe.generation));
    }

    /// Any cut inside the datagram; cuts in the padding behind it do no harm.
    #[test]
    fn what_is_cut_short_is_truncated(
        probe in probes(),
        padding in 0..30usize,
        around in wrappings(),
    ) {
        let (frame, icmp) = reply_to(&probe, &Key([1, 2]), 7, padding, &around);
        let frame = stamped(frame, 1);
        let end = icmp + 8 + 18 + padding;
        for length in 0..frame.len() {
            let read = read_reply(&frame[..length]);
            if length < end {
                prop_assert_eq!(read, Err(RejectedReason::Truncated), "cut to {} of {}", length, end);
            } else {
                prop_assert!(read.is_ok());
            }
        }
    }

    /// A message shorter than a probe's, in a frame that holds it all.
    #[test]
    fn what_is_shorter_than_a_probe_is_truncated(probe in probes(), around in wrappings(), missing in 1..=18u16) {
        let (mut frame, icmp) = reply_to(&probe, &Key([1, 2]), 7, 0, &around);
        let ip = 14 + 4 * around.tags;
        let length = if probe.destination.is_ipv4() { ip + 2..ip + 4 } else { ip + 4..ip + 6 };
        let less = u16::from_be_bytes([frame[length.start], frame[length.start + 1]]) - missing;
        frame[length].copy_from_slice(&less.to_be_bytes());
        mend(&mut frame, ip, icmp, usize::from(26 - missing));
        prop_assert_eq!(read_reply(&stamped(frame, 1)), Err(RejectedReason::Truncated));
    }

    /// A flipped bit anywhere in the ICMP message is seen by the checksum; where somebody mended the checksum, the cookie
    /// sees it, wherever it matters.
    #[test]
    fn a_flipped_bit_is_seen(probe in probes(), padding in 0..30usize, around in wrappings(), at in any::<u16>()) {
        let key = Key([3, 4]);
        let (frame, icmp) = reply_to(&probe, &key, 7, padding, &around);
        let length = 26 + padding;
        let bit = usize::from(at) % (length * 8);
        let mut flipped = frame;
        flipped[icmp + bit / 8] ^= 1 << (bit % 8);
        let mut flipped = stamped(flipped, probe.sent.0);
        prop_assert_eq!(read_reply(&flipped), Err(RejectedReason::Corrupt));

        mend(&mut flipped, 14 + 4 * around.tags, icmp, length);
        match bit / 8 {
            0 | 1 => prop_assert_eq!(read_reply(&flipped), Err(RejectedReason::Corrupt), "another type or code"),
            // Checksum, identifier, filler, padding.
            2..=5 | 8..=9 | 26.. => prop_assert!(read_reply(&flipped).unwrap().is_proven(&key, probe.generation)),
            _ => prop_assert!(!read_reply(&flipped).unwrap().is_proven(&key, probe.generation)),
        }
    }

    #[test]
    fn an_answer_from_elsewhere_proves_nothing(probe in probes(), bit in 0..128usize, around in wrappings()) {
        let key = Key([5, 6]);
        let (mut frame, icmp) = reply_to(&probe, &key, 7, 0, &around);
        let ip = 14 + 4 * around.tags;
        let (source, bits) = if probe.destination.is_ipv4() { (ip + 12, 32) } else { (ip + 8, 128) };
        frame[source + bit % bits / 8] ^= 1 << (bit % 8);
        if probe.destination.is_ipv6() {
            prop_assert_eq!(read_reply(&stamped(frame.clone(), 1)), Err(RejectedReason::Corrupt), "covered by the checksum");
            mend(&mut frame, ip, icmp, 26);
        }
        prop_assert!(!read_reply(&stamped(frame, probe.sent.0)).unwrap().is_proven(&key, probe.generation));
    }

    /// What says so of a probe that is older than its bits say, or further ahead, proves nothing.
    #[test]
    fn a_send_time_comes_round(probe in probes(), after in any::<u64>(), rounds in 1..=u64::from(u16::MAX)) {
        let key = Key([5, 6]);
        let (frame, _) = reply_to(&probe, &key, 7, 0, &Wrapping::NONE);
        let arrived = arrival(&probe, after);
        let reply = read_reply(&stamped(frame.clone(), arrived)).unwrap();
        prop_assert_eq!(reply.sent, probe.sent);
        let other = arrived.wrapping_add(rounds << payload::SENT_BITS);
        let reply = read_reply(&stamped(frame, other)).unwrap();
        prop_assert_eq!(payload::low(reply.sent.0), payload::low(probe.sent.0));
        prop_assert!(!reply.is_proven(&key, probe.generation));
    }

    #[test]
    fn any_bytes_are_survived(frame in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = read_frame(&frame);
        let _ = guess_target(&frame);
    }

    /// Bytes that begin like a reply get further than random ones.
    #[test]
    fn any_bytes_behind_good_headers_are_survived(mut frame in prop::collection::vec(any::<u8>(), 34..120), tags in 0..=2) {
        let mut at = 12;
        for _ in 0..tags {
            frame[at..at + 2].copy_from_slice(&[0x81, 0]);
            at += 4;
        }
        frame[at..at + 2].copy_from_slice(&[8, 0]);
        if let Some(version) = frame.get_mut(at + 2) {
            *version = 0x40 | (*version & 0xf);
        }
        if let Some(protocol) = frame.get_mut(at + 11) {
            *protocol = 1;
        }
        if let Some(kind) = frame.get_mut(at + 22) {
            *kind = if *kind < 128 { 0 } else { 3 };
        }
        let _ = read_frame(&frame);
    }

    #[test]
    fn any_bytes_behind_good_ipv6_headers_are_survived(
        mut frame in prop::collection::vec(any::<u8>(), 58..200),
        next in prop::sample::select(vec![58u8, 0, 43, 51, 60]),
        inner in prop::sample::select(vec![58u8, 0, 43, 44, 51, 60]),
        kind in prop::sample::select(vec![129u8, 1, 2, 3, 4]),
        length in 0..160u16,
    ) {
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14] = 0x60 | (frame[14] & 0xf);
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        frame[20] = next;
        frame[54] = if next == 58 { kind } else { inner };
        frame[55] &= 3;
        let _ = read_frame(&frame);
        let _ = guess_target(&frame);
    }

    /// The bytes that go into the map are the structure that the XDP programs read, at the offsets that C's rules give.
    #[test]
    fn settings_lie_as_the_kernel_side_reads_them(
        key in any::<[u64; 2]>(),
        max_age_ns in any::<u64>(),
        sources in any::<[u32; 16]>(),
        source_count in any::<u32>(),
        identifier in any::<u16>(),
        flow_key in any::<u64>(),
        sources_v6 in any::<[[u64; 2]; 16]>(),
        source_count_v6 in any::<u32>(),
        (first_port, port_count, expiring_flows) in any::<(u16, u32, u32)>(),
    ) {
        let settings = Settings {
            key, max_age_ns, sources, source_count, identifier, first_port, flow_key, sources_v6, source_count_v6, port_count, unproven_ports: 0, zero: 0, expiring_flows, padding: 0,
        };
        let bytes = settings.to_bytes();
        let mut expected = [0; SETTINGS_SIZE];
        let mut put = |at: usize, field: &[u8]| expected[at..at + field.len()].copy_from_slice(field);
        put(std::mem::offset_of!(Settings, key), &key[0].to_ne_bytes());
        put(std::mem::offset_of!(Settings, key) + 8, &key[1].to_ne_bytes());
        put(std::mem::offset_of!(Settings, max_age_ns), &max_age_ns.to_ne_bytes());
        for (i, source) in sources.iter().enumerate() {
            put(std::mem::offset_of!(Settings, sources) + 4 * i, &source.to_ne_bytes());
        }
        put(std::mem::offset_of!(Settings, source_count), &source_count.to_ne_bytes());
        put(std::mem::offset_of!(Settings, identifier), &identifier.to_ne_bytes());
        put(std::mem::offset_of!(Settings, flow_key), &flow_key.to_ne_bytes());
        for (i, word) in sources_v6.as_flattened().iter().enumerate() {
            put(std::mem::offset_of!(Settings, sources_v6) + 8 * i, &word.to_ne_bytes());
        }
        put(std::mem::offset_of!(Settings, source_count_v6), &source_count_v6.to_ne_bytes());
        put(std::mem::offset_of!(Settings, first_port), &first_port.to_ne_bytes());
        put(std::mem::offset_of!(Settings, port_count), &port_count.to_ne_bytes());
        put(std::mem::offset_of!(Settings, expiring_flows), &expiring_flows.to_ne_bytes());
        prop_assert_eq!(&bytes[..], &expected[..]);
    }
}

/// Source, payload and probes of one family.
fn written<A: Arbitrary + Into<IpAddr> + Copy>(
    _: impl Strategy<Value = A>,
) -> impl Strategy<Value = (IpAddr, u16, Vec<ProbeFields>)> {
    let addresses = || any::<A>().prop_map(Into::into);
    let probes = prop::collection::vec(probes_to(addresses()), 1..4);
    (addresses(), any::<u16>(), probes).prop_map(|(source, chosen, probes): (IpAddr, u16, _)| {
        let (least, most) = Kind::Echo.payloads(Family::of(source)).into_inner();
        let payload = if chosen % 2 == 0 { least } else { least + chosen % (most - least + 1) };
        (source, payload, probes)
    })
}

/// An echo request in a packet, its payload, its checksum and the right one.
fn read_request<'a>(packet: &SlicedPacket<'a>) -> (IcmpEchoHeader, &'a [u8], u16, u16) {
    match (&packet.transport, &packet.net) {
        (Some(TransportSlice::Icmpv4(icmp)), _) => {
            let Icmpv4Type::EchoRequest(echo) = icmp.icmp_type() else { panic!("no echo request") };
            (echo, icmp.payload(), icmp.checksum(), icmp.header().icmp_type.calc_checksum(icmp.payload()))
        }
        (Some(TransportSlice::Icmpv6(icmp)), Some(NetSlice::Ipv6(ip))) => {
            let Icmpv6Type::EchoRequest(echo) = icmp.icmp_type() else { panic!("no echo request") };
            let (source, destination) = (ip.header().source(), ip.header().destination());
            let right = icmp.icmp_type().calc_checksum(source, destination, icmp.payload()).unwrap();
            (echo, icmp.payload(), icmp.checksum(), right)
        }
        (other, _) => panic!("no ICMP: {other:?}"),
    }
}
