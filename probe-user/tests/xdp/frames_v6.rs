//! Frames over IPv6, made by etherparse; extension headers are put in by hand, so that there can be any.

use super::frames::{OUR_MAC, Segment, THEIR_MAC};
use etherparse::{IpHeaders, Ipv6Header, PacketBuilder, PacketBuilderStep, TcpHeader, VlanId};

pub(crate) const OURS: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const THEIRS: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0xff, 3, 2, 1, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10];

pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const AUTHENTICATION: u8 = 51;
pub(crate) const DESTINATION: u8 = 60;

/// An extension header, and how many words of 8 bytes it has beyond the first.
pub(crate) type Extension = (u8, u8);

/// What lies around an ICMPv6 message, from them to us.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    pub(crate) tags: usize,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) hop_limit: u8,
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
}

impl Default for Around {
    fn default() -> Self {
        Self { tags: 0, extensions: vec![], hop_limit: 64, source: THEIRS, destination: OURS }
    }
}

impl Around {
    /// Where the IPv6 header begins.
    pub(crate) fn ip(&self) -> usize {
        14 + 4 * self.tags
    }

    /// Where the ICMPv6 message begins.
    pub(crate) fn icmp(&self) -> usize {
        self.ip() + 40 + length(&self.extensions)
    }

    fn frame(&self, write: impl FnOnce(PacketBuilderStep<IpHeaders>, &mut Vec<u8>)) -> Vec<u8> {
        let ip = Ipv6Header {
            source: self.source,
            destination: self.destination,
            hop_limit: self.hop_limit,
            traffic_class: 0xa5,
            flow_label: 0x5_4321.try_into().unwrap(),
            ..Ipv6Header::default()
        };
        let ip = IpHeaders::Ipv6(ip, Default::default());
        let vlan = |id| VlanId::try_new(id).unwrap();
        let ethernet = PacketBuilder::ethernet2(THEIR_MAC, OUR_MAC);
        let builder = match self.tags {
            0 => ethernet.ip(ip),
            1 => ethernet.single_vlan(vlan(7)).ip(ip),
            _ => ethernet.double_vlan(vlan(7), vlan(8)).ip(ip),
        };
        let mut frame = Vec::new();
        write(builder, &mut frame);
        extend(&mut frame, self.ip(), &self.extensions);
        frame
    }

    pub(crate) fn echo_reply(&self, identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        self.frame(|builder, frame| builder.icmpv6_echo_reply(identifier, sequence).write(frame, payload).unwrap())
    }

    pub(crate) fn echo_request(&self, identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        self.frame(|builder, frame| builder.icmpv6_echo_request(identifier, sequence).write(frame, payload).unwrap())
    }

    /// Any ICMPv6 message; an error of this type and code, about `rest`.
    pub(crate) fn message(&self, kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
        self.frame(|builder, frame| builder.icmpv6_raw(kind, code, [0; 4]).write(frame, rest).unwrap())
    }

    pub(crate) fn udp(&self, payload: &[u8]) -> Vec<u8> {
        self.datagram((7, 8), payload)
    }

    /// A UDP datagram from the first of these ports to the second.
    pub(crate) fn datagram(&self, (source, destination): (u16, u16), payload: &[u8]) -> Vec<u8> {
        self.frame(|builder, frame| builder.udp(source, destination).write(frame, payload).unwrap())
    }

    /// Between these ports, theirs first.
    pub(crate) fn any_udp(&self, (theirs, ours): (u16, u16), payload: &[u8]) -> Vec<u8> {
        self.frame(|builder, frame| builder.udp(theirs, ours).write(frame, payload).unwrap())
    }

    pub(crate) fn segment(&self, segment: &Segment) -> Vec<u8> {
        self.frame(|builder, frame| segment.write(builder, frame))
    }

    pub(crate) fn tcp(&self, payload: &[u8]) -> Vec<u8> {
        self.frame(|builder, frame| builder.tcp(7, 8, 9, 10).write(frame, payload).unwrap())
    }

    /// Any TCP segment.
    pub(crate) fn any_tcp(&self, header: &TcpHeader, payload: &[u8]) -> Vec<u8> {
        self.frame(|builder, frame| builder.tcp_header(header.clone()).write(frame, payload).unwrap())
    }
}

/// Bytes of extension headers.
pub(crate) fn length(extensions: &[Extension]) -> usize {
    extensions.iter().map(|(_, more)| 8 + 8 * usize::from(*more)).sum()
}

/// Puts extension headers behind the IPv6 header at `ip`. A fragment's says that it is the whole datagram; a routing header that it has
/// arrived.
pub(crate) fn extend(frame: &mut Vec<u8>, ip: usize, extensions: &[Extension]) {
    let protocol = frame[ip + 6];
    let nexts = extensions.iter().skip(1).map(|(kind, _)| *kind).chain([protocol]);
    let headers: Vec<u8> = extensions
        .iter()
        .zip(nexts)
        .flat_map(|((kind, more), next)| {
            let mut header = vec![0; 8 + 8 * usize::from(*more)];
            header[0] = next;
            header[1] = match *kind {
                AUTHENTICATION => 2 * more,
                FRAGMENT => 0,
                _ => *more,
            };
            header
        })
        .collect();
    frame[ip + 6] = extensions.first().map_or(protocol, |(kind, _)| *kind);
    let before = u16::from_be_bytes([frame[ip + 4], frame[ip + 5]]);
    let after = before.saturating_add(u16::try_from(headers.len()).unwrap());
    frame[ip + 4..ip + 6].copy_from_slice(&after.to_be_bytes());
    frame.splice(ip + 40..ip + 40, headers);
}

/// Extension headers that are looked behind: none, each alone, short and long, several, as many as can be.
pub(crate) fn walkable() -> Vec<Vec<Extension>> {
    vec![
        vec![],
        vec![(HOP_BY_HOP, 0)],
        vec![(ROUTING, 2)],
        vec![(DESTINATION, 31)],
        vec![(AUTHENTICATION, 2)],
        vec![(HOP_BY_HOP, 1), (DESTINATION, 0)],
        vec![(HOP_BY_HOP, 0), (ROUTING, 4), (AUTHENTICATION, 1), (DESTINATION, 3)],
        vec![(DESTINATION, 8); 4],
    ]
}
