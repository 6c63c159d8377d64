//! The frame of a probe: laid once into a buffer, then only what changes is written (zmap's `prepare_packet` and
//! `make_packet`). Ethernet and IPv4 are done here, what comes behind them by the probe's kind.

use super::{Key, Kind, Origin, PayloadLength, ProbeFields, Shape, Tags, checksum::Sum, echo};
use probe_ebpf::{
    cookie,
    layout::LiveTemplate,
    wire::{ethernet, icmp, ipv4},
};
use std::ops::Range;

/// Bytes of a frame without tags in front of its payload.
const HEADERS: usize = MESSAGE + icmp::HEADER;
/// Of those, what lies in front of the tags.
const ADDRESSES: usize = ethernet::ETHERTYPE.start;
/// The most that tags take.
const TAGS: usize = ethernet::MAX_TAGS * ethernet::TAG;
const IP: usize = ethernet::HEADER;
const MESSAGE: usize = IP + ipv4::HEADER;

/// What is the same in all probes of one shape from one source address, with the sums over it.
#[derive(Clone, Debug)]
pub struct Template {
    kind: Kind,
    /// Without tags.
    headers: [u8; HEADERS],
    tags: Tags,
    /// Bytes of the frame, tags included.
    length: usize,
    /// Over the IPv4 header without identification and destination.
    ip_sum: Sum,
    /// Over what the kind's own checksum covers, as far as it is the same in all probes.
    message_sum: Sum,
}

impl Template {
    /// Bytes of the shortest probe without tags, and those of any such probe that [`Template::write`] touches: 60.
    pub const HEAD: usize = MESSAGE + echo::HEAD;

    /// A template for probes of a shape.
    ///
    /// # Errors
    /// The kind has no payload of that length.
    pub fn new(shape: Shape, origin: Origin) -> Result<Self, PayloadLength> {
        let Shape { kind, payload, ttl, .. } = shape;
        if !kind.payloads().contains(&payload) {
            return Err(PayloadLength(shape));
        }
        let total = kind.headers() + payload;
        let mut headers = [0; HEADERS];
        let mut put = |from: usize, field: Range<usize>, bytes: &[u8]| {
            headers[from + field.start..from + field.end].copy_from_slice(bytes);
        };
        put(0, ethernet::SOURCE, &origin.mac);
        put(0, ethernet::ETHERTYPE, &ethernet::IPV4.to_be_bytes());
        put(IP, ipv4::VERSION..ipv4::VERSION + 1, &[0x45]);
        put(IP, ipv4::TOTAL_LENGTH, &total.to_be_bytes());
        put(IP, ipv4::FRAGMENT, &ipv4::DONT_FRAGMENT.to_be_bytes());
        put(IP, ipv4::TTL..ipv4::TTL + 1, &[ttl]);
        put(IP, ipv4::PROTOCOL..ipv4::PROTOCOL + 1, &[ipv4::ICMP]);
        put(IP, ipv4::SOURCE, &origin.source.octets());
        let (_, message) = headers.split_last_chunk_mut().expect("headers end with the kind's");
        let message_sum = match kind {
            Kind::Echo => echo::prepare(message, origin.identifier),
        };
        let ip_sum = Sum::of(&headers[IP..MESSAGE]);
        let length = ethernet::HEADER + usize::from(total);
        Ok(Self { kind, headers, tags: Tags::NONE, length, ip_sum, message_sum })
    }

    /// The same with these VLAN tags.
    pub fn tagged(self, tags: Tags) -> Self {
        Self { length: self.length - self.tags.length() + tags.length(), tags, ..self }
    }

    /// The same for the XDP program, which builds live frames with one tag at most.
    pub fn live(&self) -> LiveTemplate {
        let mut headers = [0; HEADERS + TAGS];
        self.lay_headers(&mut headers);
        // The rest is the identifier, which has a field of its own, or the sequence number.
        let (words, _) = headers.as_chunks::<8>();
        let headers = std::array::from_fn(|i| u64::from_le_bytes(words[i]));
        let (ip_sum, icmp_sum) = (self.ip_sum.raw(), self.message_sum.raw());
        let [a, b] =
            [MESSAGE + icmp::IDENTIFIER.start, MESSAGE + icmp::IDENTIFIER.start + 1].map(|at| self.headers[at]);
        let identifier = u64::from(u16::from_le_bytes([a, b]));
        LiveTemplate { headers, ip_sum, icmp_sum, identifier }
    }

    /// Bytes of a probe's frame: 60 to 1514 and its tags, without the frame check sequence.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Lays the frame into a buffer, with zeros wherever [`Template::write`] writes and as padding. Returns its length.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Template::length`].
    pub fn lay(&self, frame: &mut [u8]) -> usize {
        let frame = &mut frame[..self.length];
        frame[HEADERS + self.tags.length()..].fill(0);
        self.lay_headers(frame);
        self.length
    }

    /// What lies in front of the payload, tags included.
    fn lay_headers(&self, frame: &mut [u8]) {
        let tags = ADDRESSES + self.tags.length();
        frame[..ADDRESSES].copy_from_slice(&self.headers[..ADDRESSES]);
        frame[ADDRESSES..tags].copy_from_slice(&self.tags.bytes()[..self.tags.length()]);
        frame[tags..HEADERS + self.tags.length()].copy_from_slice(&self.headers[ADDRESSES..]);
    }

    /// Writes one probe into a frame that this template has laid, over the last one or the first time.
    ///
    /// # Panics
    /// If the frame is shorter than [`Template::HEAD`] and its tags: then nothing has laid it.
    #[inline]
    pub fn write(&self, frame: &mut [u8], probe: &ProbeFields, key: &Key) {
        frame[ethernet::DESTINATION].copy_from_slice(&probe.next_hop_mac);
        // Behind the tags a frame is as long as it is without, and so are the offsets of its fields: from here on they count from
        // where it would begin if its tags were not there.
        let rest = &mut frame[self.tags.length()..];
        let frame: &mut [u8; Self::HEAD] = rest.first_chunk_mut().expect("a frame that the template has laid");
        let destination = probe.destination.octets();
        let identification = cookie::identification(&key.0, destination, probe.sequence.0);
        let mut put = |field: Range<usize>, bytes: &[u8]| {
            frame[IP + field.start..IP + field.end].copy_from_slice(bytes);
        };
        put(ipv4::IDENTIFICATION, &identification.to_be_bytes());
        put(ipv4::DESTINATION, &destination);
        let ip = self.ip_sum.word(identification).double_word(probe.destination.to_bits()).checksum();
        put(ipv4::CHECKSUM, &ip.to_be_bytes());
        let (_, message) = frame.split_last_chunk_mut().expect("a frame ends with its message");
        match self.kind {
            Kind::Echo => echo::make(message, self.message_sum, probe, key),
        }
    }
}
