//! The frame of a probe: laid once into a buffer, then only what changes is written (zmap's `prepare_packet` and
//! `make_packet`). Ethernet is done here, the IP header by its family in `ip`, what comes behind it by the probe's kind.

use super::{
    Key, Kind, Origin, ProbeFields, Shape, ShapeError, Tags,
    checksum::Sum,
    echo,
    flow::Flow,
    ip::{self, Protocol},
    tcp, udp,
};
use crate::base::{Family, Sequence};
use probe_ebpf::{
    cookie,
    layout::{LiveTemplate, LiveTemplateV6},
    wire::{ethernet, ipv4, ipv6, tcp as segment},
};
use std::net::IpAddr;

/// The most bytes of a frame without tags in front of its payload: a SYN over IPv6.
const HEADERS: usize = IP + ipv6::HEADER + tcp::HEAD;
/// The least that Ethernet carries, without tags (and frame check sequence): what is shorter is padded.
const SHORTEST: usize = 60;
/// Of those, what lies in front of the tags.
const ADDRESSES: usize = ethernet::ETHERTYPE.start;
/// The most that tags take.
const TAGS: usize = ethernet::MAX_TAGS * ethernet::TAG;
const IP: usize = ethernet::HEADER;

/// What is the same in all probes of one shape from one source address, with the sums over it.
#[derive(Clone, Debug)]
pub struct Template {
    family: Family,
    kind: Kind,
    /// Not the probe but the RST behind it.
    reset: bool,
    source: IpAddr,
    /// Of a probe to a port: ours, and the target's.
    ports: (u16, u16),
    /// The word of IPv6 that has the flow label, without what is the target's of that.
    flow_word: u32,
    /// Without tags.
    headers: [u8; HEADERS],
    /// So many of them.
    laid: usize,
    tags: Tags,
    /// Bytes of the frame, tags included.
    length: usize,
    /// Over the IPv4 header without identification and destination.
    ip_sum: Sum,
    /// Over what the kind's own checksum covers, as far as it is the same in all probes.
    message_sum: Sum,
    /// Of IPv6's flow labels.
    flow_key: u64,
}

/// A template as the XDP program has it.
#[derive(Clone, Copy, Debug)]
pub enum Live {
    /// Of probes over IPv4.
    V4(LiveTemplate),
    /// Of probes over IPv6.
    V6(LiveTemplateV6),
}

impl Template {
    /// Bytes of the shortest probe over IPv4 without tags, and those of any such probe that [`Template::write`] touches: 60.
    pub const HEAD: usize = IP + ipv4::HEADER + echo::HEAD;
    /// The same over IPv6: 80.
    pub const HEAD_V6: usize = IP + ipv6::HEADER + echo::HEAD;

    /// A template for probes of a shape.
    ///
    /// # Errors
    /// The kind has no payload of that length, or the source is of another family.
    pub fn new(shape: Shape, origin: Origin) -> Result<Self, ShapeError> {
        let Shape { family, kind, payload, ttl, dscp, dont_fragment, reset, flow } = shape;
        if !shape.payloads().contains(&payload) {
            return Err(ShapeError::Payload(shape));
        }
        let mut headers = [0; HEADERS];
        headers[ethernet::SOURCE].copy_from_slice(&origin.mac);
        let ip_header = match family {
            Family::V4 => ipv4::HEADER,
            Family::V6 => ipv6::HEADER,
        };
        let protocol = match kind {
            Kind::Echo => Protocol::Icmp,
            Kind::Tcp { .. } => Protocol::Tcp,
            Kind::Udp { .. } => Protocol::Udp,
        };
        let fields = ip::Fields { ttl, dscp, dont_fragment };
        let behind = (protocol, shape.headers() - ip_header as u16 + payload);
        let label = cookie::label_of_flow(flow);
        let (_, ip) = headers.split_first_chunk_mut::<IP>().expect("they begin with Ethernet's");
        let (ethertype, ip_sum, pseudo_sum, message) = match (family, origin.source) {
            (Family::V4, IpAddr::V4(source)) => {
                let (header, rest) = ip.split_first_chunk_mut().expect("long enough for either");
                (
                    ethernet::IPV4,
                    ip::v4::prepare(header, source, fields, behind),
                    ip::v4::pseudo_header(source, protocol, behind.1),
                    rest,
                )
            }
            (Family::V6, IpAddr::V6(source)) => {
                let (header, rest) = ip.split_first_chunk_mut().expect("long enough for either");
                (ethernet::IPV6, Sum::default(), ip::v6::prepare(header, source, fields, label, behind), rest)
            }
            _ => return Err(ShapeError::Source(shape)),
        };
        let ports = (origin.first_port.saturating_add(flow), kind.port().unwrap_or(0));
        let message_sum = match kind {
            Kind::Echo => {
                let message = message.first_chunk_mut().expect("headers end with the kind's");
                echo::prepare(message, family, origin.identifier, flow)
            }
            Kind::Tcp { .. } => tcp::prepare(message, family, ports, reset),
            Kind::Udp { content, .. } => udp::prepare(message, ports, content, payload),
        };
        // That of ICMP over IPv4 covers nothing else.
        let pseudo_sum = if protocol == Protocol::Icmp && family == Family::V4 { Sum::default() } else { pseudo_sum };
        headers[ethernet::ETHERTYPE].copy_from_slice(&ethertype.to_be_bytes());
        Ok(Self {
            family,
            kind,
            reset,
            source: origin.source,
            ports,
            flow_word: ip::v6::flow_word(fields, label),
            headers,
            laid: IP + usize::from(shape.headers()),
            tags: Tags::NONE,
            length: Self::length_of(shape, Tags::NONE),
            ip_sum,
            message_sum: message_sum.and(pseudo_sum),
            flow_key: origin.flow_key,
        })
    }

    /// The same with these VLAN tags.
    pub fn tagged(self, tags: Tags) -> Self {
        Self { length: self.length - self.tags.length() + tags.length(), tags, ..self }
    }

    /// The same for the XDP program, which builds live frames with one tag at most; None: such probes it gets as whole frames.
    pub fn live(&self) -> Option<Live> {
        if self.kind != Kind::Echo {
            return None;
        }
        let mut headers = [0; HEADERS + TAGS];
        self.lay_headers(&mut headers);
        let (words, _) = headers.as_chunks::<8>();
        let word = |i: usize| u64::from_le_bytes(words[i]);
        let message_sum = self.message_sum.raw();
        Some(match self.family {
            // The rest is the sequence number.
            Family::V4 => {
                let ip_sum = self.ip_sum.raw();
                Live::V4(LiveTemplate { headers: std::array::from_fn(word), ip_sum, icmp_sum: message_sum })
            }
            // The rest is the sequence number or less.
            Family::V6 => Live::V6(LiveTemplateV6 { headers: std::array::from_fn(word), icmp_sum: message_sum }),
        })
    }

    /// Bytes of a frame of this shape.
    pub fn length_of(shape: Shape, tags: Tags) -> usize {
        tags.length() + (ethernet::HEADER + shape.datagram() as usize).max(SHORTEST)
    }

    /// That of its probes.
    #[inline]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Bytes of a probe's frame: 60 (over IPv6 80) to 1514 and its tags, without the frame check sequence.
    #[inline]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Lays the frame into a buffer, with zeros wherever [`Template::write`] writes and as padding. Returns its length.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Template::length`].
    pub fn lay(&self, frame: &mut [u8]) -> usize {
        let frame = &mut frame[..self.length];
        let headers = self.lay_headers(frame);
        let content = match self.kind {
            Kind::Echo | Kind::Tcp { .. } => &[],
            Kind::Udp { content, .. } => content.bytes(),
        };
        let (content_at, padding) = frame[headers..].split_at_mut(content.len());
        content_at.copy_from_slice(content);
        padding.fill(0);
        self.length
    }

    /// What lies in front of the payload, tags included. Returns how much that is.
    fn lay_headers(&self, frame: &mut [u8]) -> usize {
        let headers = &self.headers[..self.laid];
        let (tags, end) = (ADDRESSES + self.tags.length(), headers.len() + self.tags.length());
        frame[..ADDRESSES].copy_from_slice(&headers[..ADDRESSES]);
        frame[ADDRESSES..tags].copy_from_slice(&self.tags.bytes()[..self.tags.length()]);
        frame[tags..end].copy_from_slice(&headers[ADDRESSES..]);
        end
    }

    /// Writes one probe into a frame that this template has laid, over the last one or the first time.
    ///
    /// # Panics
    /// If the frame is shorter than [`Template::length`]: then nothing has laid it.
    #[inline]
    pub fn write(&self, frame: &mut [u8], probe: &ProbeFields, key: &Key) {
        match self.kind {
            Kind::Echo => self.write_echo(frame, probe, key),
            Kind::Tcp { .. } | Kind::Udp { .. } => self.write_to_port(frame, probe, key),
        }
    }

    /// Whether what it makes is no probe but the RST behind one.
    pub fn is_reset(&self) -> bool {
        self.reset
    }

    /// The sequence number of a TCP probe with this number; None: it is another kind's template, or the destination of another family.
    pub fn initial_sequence(&self, destination: IpAddr, number: Sequence, key: &Key) -> Option<u32> {
        let flow = Flow::new(self.source, destination, self.ports).filter(|_| matches!(self.kind, Kind::Tcp { .. }))?;
        Some(flow.initial(key, low(number)))
    }

    #[inline]
    fn write_to_port(&self, frame: &mut [u8], probe: &ProbeFields, key: &Key) {
        frame[ethernet::DESTINATION].copy_from_slice(&probe.next_hop_mac);
        let flow = Flow::new(self.source, probe.destination, self.ports).expect("a probe of the template's family");
        let word = match self.kind {
            Kind::Udp { .. } => flow.word(key, low(probe.sequence)),
            // It is never fragmented, so that its identification says nothing (RFC 6864).
            Kind::Echo | Kind::Tcp { .. } => 0,
        };
        let datagram = &mut frame[self.tags.length() + IP..];
        let (message, sum) = match probe.destination {
            IpAddr::V4(destination) => {
                let (header, message) = datagram.split_first_chunk_mut().expect("a datagram begins with its header");
                ip::v4::make(header, self.ip_sum, destination, word);
                (message, self.message_sum.double_word(destination.to_bits()))
            }
            IpAddr::V6(destination) => {
                let (header, message) = datagram.split_first_chunk_mut().expect("a datagram begins with its header");
                let label = cookie::label_of_target(self.flow_key, probe.target.0);
                (message, self.message_sum.and(ip::v6::make(header, self.flow_word, destination, label)))
            }
        };
        if let Kind::Udp { content, .. } = self.kind {
            return udp::make(message, sum, word, content);
        }
        let sequence = flow.initial(key, low(probe.sequence));
        if self.reset {
            let segment: &mut [u8; segment::HEADER] = message.first_chunk_mut().expect("a frame ends with its segment");
            tcp::make_reset(segment, sum, sequence);
        } else {
            tcp::make(message.first_chunk_mut().expect("a frame ends with its segment"), sum, sequence, probe.sent);
        }
    }

    #[inline]
    fn write_echo(&self, frame: &mut [u8], probe: &ProbeFields, key: &Key) {
        debug_assert_eq!(Family::of(probe.destination), self.family, "a probe of the template's family");
        frame[ethernet::DESTINATION].copy_from_slice(&probe.next_hop_mac);
        // Behind the tags a frame is as long as it is without, and so are the offsets of its fields: from here on they count from
        // where it would begin if its tags were not there.
        let rest = &mut frame[self.tags.length()..];
        let (sent, target, sequence) = (probe.sent.0, probe.target.0, probe.sequence.0);
        let (message, sum, hash) = match probe.destination {
            IpAddr::V4(destination) => {
                let frame: &mut [u8; Self::HEAD] = rest.first_chunk_mut().expect("a frame that the template has laid");
                let (_, datagram) = frame.split_first_chunk_mut::<IP>().expect("a frame begins with Ethernet's header");
                let (header, message) = datagram.split_first_chunk_mut().expect("a datagram begins with its header");
                let identification = cookie::identification(&key.0, destination.octets(), sequence);
                ip::v4::make(header, self.ip_sum, destination, identification);
                (message, self.message_sum, cookie::ipv4(&key.0, sent, destination.octets(), target, sequence))
            }
            IpAddr::V6(destination) => {
                let frame: &mut [u8; Self::HEAD_V6] =
                    rest.first_chunk_mut().expect("a frame that the template has laid");
                let (_, datagram) = frame.split_first_chunk_mut::<IP>().expect("a frame begins with Ethernet's header");
                let (header, message) = datagram.split_first_chunk_mut().expect("a datagram begins with its header");
                let label = cookie::label_of_target(self.flow_key, target);
                let sum = ip::v6::make(header, self.flow_word, destination, label);
                let hash = cookie::ipv6(&key.0, sent, destination.octets(), target, sequence);
                (message, self.message_sum.and(sum), hash)
            }
        };
        echo::make(message.first_chunk_mut().expect("a frame ends with its message"), sum, hash, probe);
    }
}

/// The low bits of a probe's number, which a sequence number of TCP has.
#[inline]
const fn low(number: Sequence) -> u8 {
    (number.0 & 0xff) as u8
}
