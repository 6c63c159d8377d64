//! Our wire code against independent ones: etherparse reads what we write and makes what we read, siphasher hashes.

#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

use super::*;
use crate::base::Nanos;
use crate::base::{Generation, Sequence, TargetIndex};
use etherparse::{Icmpv4Type, LaxLinkExtSlice, LaxSlicedPacket, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use probe_ebpf::{
    cookie,
    layout::{SETTINGS_SIZE, Settings, Verdict},
};
use proptest::prelude::*;
use siphasher::sip::SipHasher13;
use std::{hash::Hasher, net::Ipv4Addr};

fn siphasher(key: [u64; 2], message: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    hasher.write(message);
    hasher.finish()
}

prop_compose! {
    pub(super) fn probes()(
        destination in any::<u32>(),
        target in any::<u32>(),
        generation in any::<u16>(),
        sequence in any::<u16>(),
        sent in any::<u64>(),
        next_hop_mac in any::<[u8; 6]>(),
    ) -> ProbeFields {
        ProbeFields {
            destination: Ipv4Addr::from_bits(destination),
            target: TargetIndex(target),
            generation: Generation(generation),
            sequence: Sequence(sequence),
            sent: Nanos(sent),
            next_hop_mac,
        }
    }
}

/// How a reply reaches us: tags, options and padding that the network put around it.
#[derive(Clone, Debug)]
pub(super) struct Wrapping {
    pub(super) tags: usize,
    pub(super) options: Vec<u8>,
    pub(super) ttl: u8,
    pub(super) trailer: usize,
}

pub(super) fn wrappings() -> impl Strategy<Value = Wrapping> {
    let options = (0..=10usize).prop_map(|words| vec![1; words * 4]);
    (0..=2usize, options, any::<u8>(), 0..40usize).prop_map(|(tags, options, ttl, trailer)| Wrapping {
        tags,
        options,
        ttl,
        trailer,
    })
}

/// The reply to a probe, made by etherparse; where its ICMP message begins; and the frame with the stamp laid over it.
fn reply_to(probe: &ProbeFields, key: &Key, identifier: u16, padding: usize, around: &Wrapping) -> (Vec<u8>, usize) {
    let hash = cookie::ipv4(&key.0, probe.sent.0, probe.destination.octets(), probe.target.0, probe.sequence.0);
    let mut payload = probe.sent.0.to_be_bytes().to_vec();
    payload.extend(probe.target.0.to_be_bytes());
    payload.extend(cookie::on_wire(hash, probe.generation.0));
    payload.resize(payload.len() + padding, 0xa5);

    let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let vlan = |id: u16| etherparse::VlanId::try_new(id).unwrap();
    let ip = etherparse::IpHeaders::Ipv4(
        etherparse::Ipv4Header {
            source: probe.destination.octets(),
            destination: [192, 0, 2, 1],
            time_to_live: around.ttl,
            options: around.options.as_slice().try_into().unwrap(),
            ..Default::default()
        },
        Default::default(),
    );
    let stacked = match around.tags {
        0 => ethernet.ip(ip),
        1 => ethernet.single_vlan(vlan(7)).ip(ip),
        _ => ethernet.double_vlan(vlan(7), vlan(8)).ip(ip),
    };
    let echo = stacked.icmpv4_echo_reply(identifier, probe.sequence.0);
    let mut frame = Vec::new();
    echo.write(&mut frame, &payload).unwrap();
    frame.resize(frame.len() + around.trailer, 0x5a);
    (frame, 14 + 4 * around.tags + 20 + around.options.len())
}

pub(super) fn stamped(mut frame: Vec<u8>, arrived: u64) -> Vec<u8> {
    frame[..8].copy_from_slice(&arrived.to_ne_bytes());
    frame
}

/// Fills in the ICMP checksum anew.
pub(super) fn mend(frame: &mut [u8], icmp: usize, length: usize) {
    frame[icmp + 2..icmp + 4].fill(0);
    let checksum = checksum::Sum::of(&frame[icmp..icmp + length]).checksum();
    frame[icmp + 2..icmp + 4].copy_from_slice(&checksum.to_be_bytes());
}

proptest! {
    #[test]
    fn the_cookie_is_siphash_1_3(key in any::<[u64; 2]>(), probe in probes()) {
        let mut message = probe.sent.0.to_be_bytes().to_vec();
        message.extend(probe.destination.octets());
        message.extend(probe.target.0.to_be_bytes());
        message.extend(probe.sequence.0.to_be_bytes());
        let hash = cookie::ipv4(&key, probe.sent.0, probe.destination.octets(), probe.target.0, probe.sequence.0);
        prop_assert_eq!(hash, siphasher(key, &message));

        let sent = cookie::on_wire(hash, probe.generation.0);
        let expected = (hash ^ u64::from(probe.generation.0)) & ((1 << 48) - 1);
        prop_assert_eq!(&sent[..], &expected.to_be_bytes()[2..]);
        prop_assert!(cookie::kernel_bits_match(hash, sent[..4].try_into().unwrap()), "whatever the generation");

        let mut quoted = probe.destination.octets().to_vec();
        quoted.extend(probe.sequence.0.to_be_bytes());
        let identification = cookie::identification(&key, probe.destination.octets(), probe.sequence.0);
        prop_assert_eq!(u64::from(identification), siphasher(key, &quoted) & 0xffff);
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
        source in any::<u32>().prop_map(Ipv4Addr::from_bits),
        source_mac in any::<[u8; 6]>(),
        identifier in any::<u16>(),
        ttl in any::<u8>(),
        payload in prop_oneof![Just(18u16), Kind::Echo.payloads()],
        ids in prop::collection::vec(0..4096u16, 0..=2),
        probes in prop::collection::vec(probes(), 1..4),
        mut buffer in prop::collection::vec(any::<u8>(), 2048),
    ) {
        let tags = ids.iter().rev().zip([0x8100, 0x88a8]);
        let tags = tags.fold(Tags::NONE, |tags, (id, protocol)| tags.inside(Tag { protocol, id: *id }).unwrap());
        let template = Template::new(Shape { ttl, ..Shape::echo(payload) }, Origin { mac: source_mac, source, identifier })
            .unwrap()
            .tagged(tags);
        let length = template.lay(&mut buffer);
        let expected = 42 + 4 * ids.len() + usize::from(payload);
        prop_assert_eq!((length, template.length()), (expected, expected));
        for probe in probes {
            template.write(&mut buffer, &probe, &key);
            let packet = SlicedPacket::from_ethernet(&buffer[..length]).unwrap();
            let ethernet = packet.link.as_ref().and_then(|link| link.to_header()).and_then(|h| h.ethernet2()).unwrap();
            prop_assert_eq!(ethernet.source, source_mac);
            prop_assert_eq!(ethernet.destination, probe.next_hop_mac);
            let found: Vec<u16> = packet.vlan_ids().iter().map(|id| id.value()).collect();
            prop_assert_eq!(&found, &ids, "the outer one first");

            let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("no IPv4") };
            let ip = ip.header().to_header();
            prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            prop_assert_eq!(Ipv4Addr::from(ip.source), source);
            prop_assert_eq!(Ipv4Addr::from(ip.destination), probe.destination);
            prop_assert_eq!(ip.time_to_live, ttl);
            prop_assert_eq!(ip.total_len, 28 + payload);
            prop_assert!(ip.dont_fragment && !ip.more_fragments && ip.fragment_offset.value() == 0);
            prop_assert_eq!(
                ip.identification,
                cookie::identification(&key.0, probe.destination.octets(), probe.sequence.0)
            );

            let Some(TransportSlice::Icmpv4(icmp)) = &packet.transport else { panic!("no ICMP") };
            let Icmpv4Type::EchoRequest(echo) = icmp.icmp_type() else { panic!("no echo request") };
            prop_assert_eq!((echo.id, echo.seq), (identifier, probe.sequence.0));
            prop_assert_eq!(icmp.header().icmp_type.calc_checksum(icmp.payload()), icmp.checksum());

            let text = icmp.payload();
            prop_assert_eq!(text.len(), usize::from(payload));
            prop_assert_eq!(&text[..8], &probe.sent.0.to_be_bytes());
            prop_assert_eq!(&text[8..12], &probe.target.0.to_be_bytes());
            let hash =
                cookie::ipv4(&key.0, probe.sent.0, probe.destination.octets(), probe.target.0, probe.sequence.0);
            prop_assert_eq!(&text[12..18], &cookie::on_wire(hash, probe.generation.0));
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
        arrived in any::<u64>(),
        other in any::<u16>(),
    ) {
        let (frame, _) = reply_to(&probe, &key, identifier, padding, &around);
        let packet = LaxSlicedPacket::from_ethernet(&frame).unwrap();
        let tags = packet.link_exts.iter().filter(|ext| matches!(ext, LaxLinkExtSlice::Vlan(_))).count();
        drop(packet);
        prop_assert_eq!(tags, around.tags);
        let frame = stamped(frame, arrived);
        let reply = read_reply(&frame).unwrap();
        if around.tags == 0 && around.options.is_empty() {
            prop_assert_eq!(guess_target(&frame), Some(reply.target));
        }
        let hash = cookie::ipv4(&key.0, probe.sent.0, probe.destination.octets(), probe.target.0, probe.sequence.0);
        prop_assert_eq!(reply, Reply {
            arrived: Nanos(arrived),
            source: probe.destination,
            identifier,
            sequence: probe.sequence,
            sent: probe.sent,
            target: probe.target,
            cookie: cookie::on_wire(hash, probe.generation.0),
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
        let total = u16::from_be_bytes([frame[ip + 2], frame[ip + 3]]) - missing;
        frame[ip + 2..ip + 4].copy_from_slice(&total.to_be_bytes());
        mend(&mut frame, icmp, usize::from(26 - missing));
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
        let mut flipped = stamped(flipped, 1);
        prop_assert_eq!(read_reply(&flipped), Err(RejectedReason::Corrupt));

        mend(&mut flipped, icmp, length);
        match bit / 8 {
            0 | 1 => prop_assert_eq!(read_reply(&flipped), Err(RejectedReason::Corrupt), "another type or code"),
            2..=5 | 26.. => {}
            _ => prop_assert!(!read_reply(&flipped).unwrap().is_proven(&key, probe.generation)),
        }
    }

    #[test]
    fn an_answer_from_elsewhere_proves_nothing(probe in probes(), bit in 0..32usize, around in wrappings()) {
        let key = Key([5, 6]);
        let (mut frame, _) = reply_to(&probe, &key, 7, 0, &around);
        frame[14 + 4 * around.tags + 12 + bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!read_reply(&stamped(frame, 1)).unwrap().is_proven(&key, probe.generation));
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

    /// The bytes that go into the map are the structure that the XDP programs read, at the offsets that C's rules give.
    #[test]
    fn settings_lie_as_the_kernel_side_reads_them(
        key in any::<[u64; 2]>(),
        max_age_ns in any::<u64>(),
        sources in any::<[u32; 16]>(),
        source_count in any::<u32>(),
        identifier in any::<u16>(),
    ) {
        let settings = Settings { key, max_age_ns, sources, source_count, identifier, padding: 0 };
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
        prop_assert_eq!(&bytes[..], &expected[..]);
    }
}

#[test]
fn payloads_that_no_probe_can_have() {
    let origin = Origin { mac: [0; 6], source: Ipv4Addr::UNSPECIFIED, identifier: 1 };
    for shape in [0, 17, 1473, 65_508, u16::MAX].map(Shape::echo) {
        assert_eq!(Template::new(shape, origin).map(|_| ()), Err(PayloadLength(shape)));
    }
    assert_eq!(PayloadLength(Shape::echo(17)).to_string(), "a payload of 17 bytes: a probe carries 18 to 1472");
    assert_eq!(Template::HEAD, 60);
}

#[test]
fn every_verdict_has_its_counter() {
    for (index, verdict) in Verdict::ALL.iter().enumerate() {
        assert_eq!(*verdict as usize, index);
    }
    let rejected: Vec<_> = Verdict::ALL.iter().filter(|v| v.is_rejected()).map(|v| v.name()).collect();
    for name in rejected {
        assert!(RejectedReason::ALL.iter().any(|reason| reason.name() == name), "{name} is a reason of its own");
    }
}

#[test]
fn keys_are_not_shown() {
    assert_eq!(format!("{:?}", Key([0x1234, 0x5678])), "Key(..)");
}
