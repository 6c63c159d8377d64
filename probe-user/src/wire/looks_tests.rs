//! What probes of every shape look like, read by etherparse; and what the probes of a flow have in common.
#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

use super::{
    tests::{ours, probes},
    *,
};
use crate::base::Family;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use probe_ebpf::wire::icmp;
use proptest::prelude::*;
use std::net::IpAddr;

const FIRST_PORT: u16 = 20_000;
const KEY: Key = Key([11, 12]);

/// Probes of every kind and length over this family, and RSTs, however they are to be forwarded.
fn shapes(family: Family) -> impl Strategy<Value = Shape> {
    let kind = (any::<u16>(), 0..4u8).prop_map(|(port, which)| match which {
        0 => Kind::Echo,
        1 => Kind::Tcp { port },
        2 => Kind::Udp { port, content: Content::of_port(53) },
        _ => Kind::Udp { port, content: Content::text("hello").unwrap() },
    });
    let forwarded = (any::<u8>(), 0..64u8, any::<bool>());
    (kind, any::<u16>(), forwarded, any::<bool>(), 0..10_000u16).prop_map(
        move |(kind, chosen, (ttl, dscp, dont_fragment), reset, flow)| {
            let (least, most) = kind.payloads(family).into_inner();
            let payload = if chosen % 2 == 0 { least } else { least + chosen % (most - least + 1) };
            let shape = Shape { family, kind, payload, ttl, dscp, dont_fragment, reset: false, flow };
            shape.then_reset().filter(|_| reset).unwrap_or(shape)
        },
    )
}

fn template(shape: Shape) -> Template {
    let (source, flow_key) = (ours(shape.family), KEY.flow_key());
    Template::new(shape, Origin { mac: [2; 6], source, identifier: 0xec40, first_port: FIRST_PORT, flow_key }).unwrap()
}

fn frame(template: &Template, probe: &ProbeFields) -> Vec<u8> {
    let mut frame = vec![0xff; template.length()];
    template.lay(&mut frame);
    template.write(&mut frame, probe, &KEY);
    frame
}

/// The first 4 bytes behind the IP header, which routers that balance by flow hash, and of IPv6 the flow label.
fn path(frame: &[u8]) -> ([u8; 4], u32) {
    let (header, label) = match frame[14] >> 4 {
        4 => (20, 0),
        _ => (40, u32::from_be_bytes([0, frame[15] & 0xf, frame[16], frame[17]])),
    };
    (frame[14 + header..][..4].try_into().unwrap(), label)
}

proptest! {
    #[test]
    fn etherparse_reads_what_every_shape_says(
        (probe, shape) in probes().prop_flat_map(|probe| (Just(probe), shapes(Family::of(probe.destination)))),
    ) {
        let bytes = frame(&template(shape), &probe);
        let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
        let flow = flow::Flow::new(ours(shape.family), probe.destination, (FIRST_PORT + shape.flow, shape.kind.port().unwrap_or(0)));
        let behind = match (&packet.net, probe.destination) {
            (Some(NetSlice::Ipv4(ip)), IpAddr::V4(destination)) => {
                let header = ip.header().to_header();
                prop_assert_eq!((header.time_to_live, header.dscp.value(), header.ecn.value()), (shape.ttl, shape.dscp, 0));
                prop_assert_eq!((header.dont_fragment, header.more_fragments), (shape.dont_fragment, false));
                prop_assert_eq!(u32::from(header.total_len), shape.datagram());
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                prop_assert_eq!(header.identification, match shape.kind {
                    Kind::Echo => cookie::identification(&KEY.0, destination.octets(), probe.sequence.0),
                    Kind::Udp { .. } => flow.unwrap().word(&KEY, probe.sequence.0 as u8),
                    Kind::Tcp { .. } => 0,
                });
                ip.payload().payload.len()
            }
            (Some(NetSlice::Ipv6(ip)), IpAddr::V6(_)) => {
                let header = ip.header().to_header();
                prop_assert_eq!((header.hop_limit, header.traffic_class), (shape.ttl, shape.dscp << 2));
                prop_assert_eq!(u32::from(header.payload_length) + 40, shape.datagram());
                prop_assert_eq!(header.flow_label.value(), cookie::flow_label(KEY.flow_key(), probe.target.0, shape.flow));
                ip.payload().payload.len()
            }
            (other, _) => panic!("{other:?}"),
        };
        let (checksum, right) = match (&packet.transport, &packet.net) {
            (Some(TransportSlice::Icmpv4(icmp)), _) => (icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload())),
            (Some(TransportSlice::Icmpv6(icmp)), Some(NetSlice::Ipv6(ip))) => {
                let (source, destination) = (ip.header().source(), ip.header().destination());
                (icmp.checksum(), icmp.icmp_type().calc_checksum(source, destination, icmp.payload()).unwrap())
            }
            (Some(TransportSlice::Tcp(tcp)), Some(NetSlice::Ipv4(ip))) => {
                let header = tcp.to_header();
                (header.checksum, header.calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()).unwrap())
            }
            (Some(TransportSlice::Tcp(tcp)), Some(NetSlice::Ipv6(ip))) => {
                let header = tcp.to_header();
                (header.checksum, header.calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()).unwrap())
            }
            (Some(TransportSlice::Udp(udp)), Some(NetSlice::Ipv4(ip))) => {
                let header = udp.to_header();
                (header.checksum, header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap())
            }
            (Some(TransportSlice::Udp(udp)), Some(NetSlice::Ipv6(ip))) => {
                let header = udp.to_header();
                (header.checksum, header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).unwrap())
            }
            (other, _) => panic!("{other:?}"),
        };
        prop_assert_eq!(checksum, right);
        prop_assert_eq!(u32::try_from(behind).unwrap() + if shape.family == Family::V4 { 20 } else { 40 }, shape.datagram());
    }

    /// Whatever else differs between probes of a flow to a target, routers that balance by flow see the same.
    #[test]
    fn probes_of_a_flow_take_one_path_and_those_of_another_may_take_another(
        (first, shape) in probes().prop_flat_map(|probe| (Just(probe), shapes(Family::of(probe.destination)))),
        others in prop::collection::vec(probes(), 1..8),
        (other, ttl, dscp) in (0..10_000u16, any::<u8>(), 0..64u8),
    ) {
        let (destination, target) = (first.destination, first.target);
        let expected = path(&frame(&template(shape), &first));
        for probe in others.iter().map(|probe| ProbeFields { destination, target, ..*probe }) {
            prop_assert_eq!(path(&frame(&template(shape), &probe)), expected);
            let forwarded = Shape { ttl, dscp, dont_fragment: !shape.dont_fragment, ..shape };
            prop_assert_eq!(path(&frame(&template(forwarded), &probe)), expected, "however it is forwarded");
            if other != shape.flow {
                let (bytes, label) = path(&frame(&template(Shape { flow: other, ..shape }), &probe));
                prop_assert!(bytes != expected.0);
                prop_assert!(label != expected.1 || shape.family == Family::V4);
            }
        }
        if shape.kind == Kind::Echo {
            let [a, b] = icmp::checksum(shape.flow).to_be_bytes();
            prop_assert_eq!(expected.0, [if shape.family == Family::V4 { 8 } else { 128 }, 0, a, b], "to every target");
        }
    }
}
