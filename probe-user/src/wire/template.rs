//! The frame of a probe: laid once into a buffer, then only what changes is written (zmap's `prepare_packet` and
//! `make_packet`).

use super::{Key, Tags, checksum::Sum};
use crate::base::{Generation, Nanos, Sequence, TargetIndex};
use probe_ebpf::{
    cookie,
    layout::LiveTemplate,
    wire::{ethernet, icmp, ipv4, payload},
};
use std::{net::Ipv4Addr, ops::Range};

/// Bytes of a frame without tags in front of its payload.
const HEADERS: usize = ICMP + icmp::HEADER;
/// Of those, what lies in front of the tags.
const ADDRESSES: usize = ethernet::ETHERTYPE.start;
/// The most that tags take.
const TAGS: usize = ethernet::MAX_TAGS * ethernet::TAG;
const IP: usize = ethernet::HEADER;
const ICMP: usize = IP + ipv4::HEADER;
const PAYLOAD: usize = HEADERS;

/// ICMP payloads that a probe can have, bytes: its own fields, up to what an Ethernet frame without tags holds.
pub const PAYLOADS: std::ops::RangeInclusive<usize> = payload::LENGTH..=1500 - ipv4::HEADER - icmp::HEADER;

/// A payload that no probe can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a payload of {0} bytes: a probe carries {min} to {max}", min = PAYLOADS.start(), max = PAYLOADS.end())]
pub struct PayloadLength(pub usize);

/// What is the same in all probes from one source address with one length, with the sums over it.
#[derive(Clone, Debug)]
pub struct Template {
    /// Without tags.
    headers: [u8; HEADERS],
    tags: Tags,
    /// Bytes of the frame, tags included.
    length: usize,
    ttl: u8,
    /// Over the IPv4 header without identification and destination.
    ip_sum: Sum,
    /// Over the ICMP message without sequence number and payload; padding is zero.
    icmp_sum: Sum,
}

/// What differs from probe to probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeFields {
    /// Where to.
    pub destination: Ipv4Addr,
    /// Whose; comes back in the reply.
    pub target: TargetIndex,
    /// Tenant of the slot: in the cookie only.
    pub generation: Generation,
    /// Low bits of the probe's number.
    pub sequence: Sequence,
    /// The send stamp, CLOCK_MONOTONIC.
    pub sent: Nanos,
    /// MAC address of the next hop.
    pub next_hop_mac: [u8; 6],
}

impl Template {
    /// Bytes of the shortest probe without tags, and those of any such probe that [`Template::write`] touches: 60.
    pub const HEAD: usize = HEADERS + payload::LENGTH;

    /// A template for probes from `source`, with `payload` bytes of ICMP payload: one of [`PAYLOADS`], else an error.
    pub fn new(
        source_mac: [u8; 6],
        source: Ipv4Addr,
        identifier: u16,
        ttl: u8,
        payload: usize,
    ) -> Result<Self, PayloadLength> {
        if !PAYLOADS.contains(&payload) {
            return Err(PayloadLength(payload));
        }
        let total = u16::try_from(ipv4::HEADER + icmp::HEADER + payload).map_err(|_| PayloadLength(payload))?;
        let mut headers = [0; HEADERS];
        let mut put = |from: usize, field: Range<usize>, bytes: &[u8]| {
            headers[from + field.start..from + field.end].copy_from_slice(bytes);
        };
        put(0, ethernet::SOURCE, &source_mac);
        put(0, ethernet::ETHERTYPE, &ethernet::IPV4.to_be_bytes());
        put(IP, ipv4::VERSION..ipv4::VERSION + 1, &[0x45]);
        put(IP, ipv4::TOTAL_LENGTH, &total.to_be_bytes());
        put(IP, ipv4::FRAGMENT, &ipv4::DONT_FRAGMENT.to_be_bytes());
        put(IP, ipv4::TTL..ipv4::TTL + 1, &[ttl]);
        put(IP, ipv4::PROTOCOL..ipv4::PROTOCOL + 1, &[ipv4::ICMP]);
        put(IP, ipv4::SOURCE, &source.octets());
        put(ICMP, icmp::TYPE..icmp::TYPE + 1, &[icmp::ECHO_REQUEST]);
        put(ICMP, icmp::IDENTIFIER, &identifier.to_be_bytes());
        let (ip_sum, icmp_sum) = (Sum::of(&headers[IP..ICMP]), Sum::of(&headers[ICMP..]));
        Ok(Self { headers, tags: Tags::NONE, length: HEADERS + payload, ttl, ip_sum, icmp_sum })
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
        let (ip_sum, icmp_sum) = (self.ip_sum.raw(), self.icmp_sum.raw());
        let [a, b] = [ICMP + icmp::IDENTIFIER.start, ICMP + icmp::IDENTIFIER.start + 1].map(|at| self.headers[at]);
        let identifier = u32::from(u16::from_le_bytes([a, b]));
        LiveTemplate { headers, ip_sum, icmp_sum, ttl: u32::from(self.ttl), identifier }
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
        let identification = cookie::identification(&key.0, destination, probe.sequence.0, self.ttl);
        let sent = probe.sent.0;
        let target = probe.target.0;
        let hash = cookie::ipv4(&key.0, sent, destination, target, probe.sequence.0);
        let cookie = cookie::on_wire(hash, probe.generation.0);

        let mut put = |from: usize, field: Range<usize>, bytes: &[u8]| {
            frame[from + field.start..from + field.end].copy_from_slice(bytes);
        };
        put(IP, ipv4::IDENTIFICATION, &identification.to_be_bytes());
        put(IP, ipv4::DESTINATION, &destination);
        put(ICMP, icmp::SEQUENCE, &probe.sequence.0.to_be_bytes());
        put(PAYLOAD, payload::SENT, &sent.to_be_bytes());
        put(PAYLOAD, payload::TARGET, &target.to_be_bytes());
        put(PAYLOAD, payload::COOKIE, &cookie);

        let ip = self.ip_sum.word(identification).double_word(probe.destination.to_bits()).checksum();
        frame[IP + ipv4::CHECKSUM.start..IP + ipv4::CHECKSUM.end].copy_from_slice(&ip.to_be_bytes());
        let icmp = self.icmp_sum.word(probe.sequence.0).and(Sum::of(&frame[PAYLOAD..])).checksum();
        frame[ICMP + icmp::CHECKSUM.start..ICMP + icmp::CHECKSUM.end].copy_from_slice(&icmp.to_be_bytes());
    }
}
