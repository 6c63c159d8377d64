//! Frames, made by etherparse.

use etherparse::{IpFragOffset, IpHeaders, Ipv4Header, PacketBuilder, PacketBuilderStep, TcpHeader, VlanId};

pub(crate) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const THEIR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const OURS: [u8; 4] = [192, 0, 2, 1];
pub(crate) const THEIRS: [u8; 4] = [198, 51, 100, 7];

/// What lies around an ICMP message, from them to us.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    pub(crate) tags: usize,
    /// Words of 4 bytes of IPv4 options.
    pub(crate) options: usize,
    pub(crate) ttl: u8,
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
    pub(crate) more_fragments: bool,
    pub(crate) fragment_offset: u16,
}

impl Default for Around {
    fn default() -> Self {
        Self {
            tags: 0,
            options: 0,
            ttl: 64,
            source: THEIRS,
            destination: OURS,
            more_fragments: false,
            fragment_offset: 0,
        }
    }
}

impl Around {
    /// Where the IPv4 header begins.
    pub(crate) fn ip(&self) -> usize {
        14 + 4 * self.tags
    }

    /// Where the ICMP message begins.
    pub(crate) fn icmp(&self) -> usize {
        self.ip() + 20 + 4 * self.options
    }

    fn builder(&self) -> PacketBuilderStep<IpHeaders> {
        let ip = Ipv4Header {
            source: self.source,
            destination: self.destination,
            time_to_live: self.ttl,
            identification: 0x1234,
            dont_fragment: false,
            more_fragments: self.more_fragments,
            fragment_offset: IpFragOffset::try_new(self.fragment_offset).unwrap(),
            options: vec![1; self.options * 4].as_slice().try_into().unwrap(),
            ..Ipv4Header::default()
        };
        let ip = IpHeaders::Ipv4(ip, Default::default());
        let vlan = |id| VlanId::try_new(id).unwrap();
        let ethernet = PacketBuilder::ethernet2(THEIR_MAC, OUR_MAC);
        match self.tags {
            0 => ethernet.ip(ip),
            1 => ethernet.single_vlan(vlan(7)).ip(ip),
            _ => ethernet.double_vlan(vlan(7), vlan(8)).ip(ip),
        }
    }

    pub(crate) fn echo_reply(&self, identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.builder().icmpv4_echo_reply(identifier, sequence).write(&mut frame, payload).unwrap();
        frame
    }

    pub(crate) fn echo_request(&self, identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.builder().icmpv4_echo_request(identifier, sequence).write(&mut frame, payload).unwrap();
        frame
    }

    /// An ICMP error of this type and code, about `quote`.
    pub(crate) fn error(&self, kind: u8, code: u8, quote: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.builder().icmpv4_raw(kind, code, [0; 4]).write(&mut frame, quote).unwrap();
        frame
    }

    pub(crate) fn udp(&self, payload: &[u8]) -> Vec<u8> {
        self.datagram((7, 8), payload)
    }

    /// A UDP datagram from the first of these ports to the second.
    pub(crate) fn datagram(&self, (source, destination): (u16, u16), payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.builder().udp(source, destination).write(&mut frame, payload).unwrap();
        frame
    }

    /// Between these ports, theirs first.
    pub(crate) fn any_udp(&self, (theirs, ours): (u16, u16), payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.builder().udp(theirs, ours).write(&mut frame, payload).unwrap();
        frame
    }

    pub(crate) fn segment(&self, segment: &Segment) -> Vec<u8> {
        let mut frame = Vec::new();
        segment.write(self.builder(), &mut frame);
        frame
    }

    pub(crate) fn tcp(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.builder().tcp(7, 8, 9, 10).write(&mut frame, payload).unwrap();
        frame
    }

    /// Any TCP segment.
    pub(crate) fn any_tcp(&self, header: &TcpHeader, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.builder().tcp_header(header.clone()).write(&mut frame, payload).unwrap();
        frame
    }
}

/// A TCP segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    /// Source and destination.
    pub(crate) ports: (u16, u16),
    /// The lower six of its flags.
    pub(crate) flags: u8,
    pub(crate) acknowledgment: u32,
    /// A multiple of 4 bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    /// Behind an IP header.
    pub(crate) fn write(&self, builder: PacketBuilderStep<IpHeaders>, frame: &mut Vec<u8>) {
        let (source, destination) = self.ports;
        let mut header = TcpHeader::new(source, destination, 0x7654_3210, 64_000);
        let has = |flag: u32| self.flags & 1 << flag != 0;
        (header.fin, header.syn, header.rst) = (has(0), has(1), has(2));
        (header.psh, header.ack, header.urg) = (has(3), has(4), has(5));
        header.acknowledgment_number = self.acknowledgment;
        header.set_options_raw(&self.options).unwrap();
        builder.tcp_header(header).write(frame, &self.payload).unwrap();
    }
}

/// "192.0.2.1 is at ..."
pub(crate) fn arp() -> Vec<u8> {
    let packet = etherparse::ArpPacket::new(
        etherparse::ArpHardwareId::ETHERNET,
        etherparse::EtherType::IPV4,
        etherparse::ArpOperation::REPLY,
        &THEIR_MAC,
        &THEIRS,
        &OUR_MAC,
        &OURS,
    )
    .unwrap();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(THEIR_MAC, OUR_MAC).arp(packet).write(&mut frame).unwrap();
    frame.resize(60, 0);
    frame
}
