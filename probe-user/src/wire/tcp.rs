//! TCP: how a SYN is prepared and made, and the RST behind it, and how what is said of a SYN is read. Its sequence number is all that
//! comes back: `probe_ebpf::sequence` says what stands in it.

use super::{
    Key, RejectedReason,
    checksum::Sum,
    echo,
    fields::{field, number},
    ip::Header,
    message::Message,
    reason::reason_of,
};
use crate::base::{Family, Nanos, PortState, Reason};
use probe_ebpf::{
    sequence,
    wire::{icmp, ipv4, ipv6, tcp},
};
use std::{
    net::{IpAddr, Ipv6Addr},
    ops::Range,
};

/// Bytes of a SYN.
pub(super) const HEAD: usize = tcp::HEADER + tcp::OPTIONS;
/// What Linux offers first (`tcp_select_initial_window`).
const WINDOW: u16 = 64_240;
/// Largest segments that fit an Ethernet frame, by family.
const SEGMENT: [u16; 2] = [1_500 - (ipv4::HEADER + tcp::HEADER) as u16, 1_500 - (ipv6::HEADER + tcp::HEADER) as u16];
/// As in Linux' SYNs where memory is plenty.
const WINDOW_SCALE: u8 = 7;
/// A unit of the timestamp is so many nanoseconds, as a power of two: about a millisecond, as Linux has it.
const TIMESTAMP_UNIT: u32 = 20;

/// Bytes of the IP header and those of a SYN.
pub(super) const fn headers(family: Family) -> u16 {
    headers_of_reset(family) + tcp::OPTIONS as u16
}

/// Bytes of the IP header and those of a RST.
pub(super) const fn headers_of_reset(family: Family) -> u16 {
    echo::headers(family) - icmp::HEADER as u16 + tcp::HEADER as u16
}

/// Who talks to whom, as the SYN says it, in the words of `probe_ebpf::sequence`: addresses, and ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    V4([u64; 1], u32),
    V6([u64; 4], u32),
}

impl Flow {
    /// None: the addresses are of different families. Ports: ours, theirs.
    #[inline]
    pub(super) fn new(source: IpAddr, destination: IpAddr, (ours, theirs): (u16, u16)) -> Option<Self> {
        let ([a, b], [c, d]) = (ours.to_be_bytes(), theirs.to_be_bytes());
        let ports = u32::from_le_bytes([a, b, c, d]);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let low = u32::from_le_bytes(source.octets());
                let high = u32::from_le_bytes(destination.octets());
                Some(Self::V4([u64::from(low) | u64::from(high) << 32], ports))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ([a, b], [c, d]) = (words(source), words(destination));
                Some(Self::V6([a, b, c, d], ports))
            }
            _ => None,
        }
    }

    /// The sequence number of the probe with a number whose low bits are these.
    #[inline]
    pub(super) fn initial(self, key: &Key, number: u8) -> u32 {
        match self {
            Self::V4(addresses, ports) => sequence::initial(&key.0, addresses, ports, number),
            Self::V6(addresses, ports) => sequence::initial(&key.0, addresses, ports, number),
        }
    }

    /// The low bits of the number of the probe that had this sequence number; None: it was none of ours.
    #[inline]
    fn number(self, key: &Key, sequence: u32) -> Option<u8> {
        match self {
            Self::V4(addresses, ports) => sequence::is_ours(&key.0, addresses, ports, sequence)
                .then(|| sequence::number(&key.0, addresses, ports, sequence)),
            Self::V6(addresses, ports) => sequence::is_ours(&key.0, addresses, ports, sequence)
                .then(|| sequence::number(&key.0, addresses, ports, sequence)),
        }
    }
}

/// An address as a little-endian load of a frame gives it.
fn words(address: Ipv6Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
    [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p])]
}

/// What the checksum of a segment of so many bytes covers beside it, but for the destination. Over IPv6 the header's own sum has it.
pub(super) fn pseudo_header(source: IpAddr, length: u16) -> Sum {
    match source {
        IpAddr::V4(source) => Sum::of(&source.octets()).word(u16::from(ipv4::TCP)).word(length),
        IpAddr::V6(_) => Sum::default(),
    }
}

/// Lays what all SYNs (or, `reset`, all RSTs) have in common: all but sequence number, timestamp and checksum. Returns the sum over it.
pub(super) fn prepare(segment: &mut [u8], family: Family, (ours, theirs): (u16, u16), reset: bool) -> Sum {
    let mut put = |field: Range<usize>, bytes: &[u8]| segment[field].copy_from_slice(bytes);
    put(tcp::SOURCE, &ours.to_be_bytes());
    put(tcp::DESTINATION, &theirs.to_be_bytes());
    let length = if reset { tcp::HEADER } else { HEAD };
    put(tcp::OFFSET..tcp::OFFSET + 1, &[(length as u8 / 4) << 4]);
    put(tcp::FLAGS..tcp::FLAGS + 1, &[if reset { tcp::RST } else { tcp::SYN }]);
    if !reset {
        put(tcp::WINDOW, &WINDOW.to_be_bytes());
        let [a, b] = SEGMENT[family as usize].to_be_bytes();
        // Maximum segment size; selective acknowledgments; timestamps, of now and none of theirs; one byte of nothing; window scale.
        let options = [2, 4, a, b, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, WINDOW_SCALE];
        put(tcp::HEADER..HEAD, &options);
    }
    Sum::of(&segment[..length])
}

/// Writes a SYN into what has been prepared; `sum` is what [`prepare`] returned, and that over the pseudo-header.
#[inline]
pub(super) fn make(segment: &mut [u8; HEAD], sum: Sum, sequence: u32, sent: Nanos) {
    let timestamp = (sent.0 >> TIMESTAMP_UNIT) as u32;
    segment[tcp::SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
    let at = tcp::HEADER + tcp::TIMESTAMP.start..tcp::HEADER + tcp::TIMESTAMP.end;
    segment[at].copy_from_slice(&timestamp.to_be_bytes());
    let sum = sum.double_word(sequence).double_word(timestamp).checksum();
    segment[tcp::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
}

/// Writes a RST into what has been prepared: it ends what the SYN with this sequence number began.
#[inline]
pub(super) fn make_reset(segment: &mut [u8; tcp::HEADER], sum: Sum, sequence: u32) {
    let next = sequence.wrapping_add(1);
    segment[tcp::SEQUENCE].copy_from_slice(&next.to_be_bytes());
    segment[tcp::CHECKSUM].copy_from_slice(&sum.double_word(next).checksum().to_be_bytes());
}

/// What is said of a SYN. Nothing of it is true before [`Segment::number`] has said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// When XDP saw it, CLOCK_MONOTONIC. This machine's own word.
    pub arrived: Nanos,
    /// Who says it: the target itself, or who sent an error.
    pub from: IpAddr,
    /// Where the SYN came from.
    pub source: IpAddr,
    /// Where it went.
    pub destination: IpAddr,
    /// Its ports: ours, and the target's.
    pub ports: (u16, u16),
    /// Of an answer the acknowledgment number; of an error the sequence number of the SYN.
    pub sequence: u32,
    /// What.
    pub says: Says,
    /// Time to live (of IPv6: hop limit) on arrival.
    pub ttl: u8,
}

/// What an answer or an error says of a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Says {
    /// SYN-ACK or RST.
    Port(PortState),
    /// A bare ACK: the target still holds a connection that an earlier SYN half opened, because the RST behind that one was lost (RFC
    /// 9293, section 3.10.7.4; RFC 5961, section 4).
    HalfOpen,
    /// An ICMP error.
    Refused(Reason),
}

impl Segment {
    /// The low bits of the number of the probe that this is about; None: as far as 24 bits can say, there was none.
    #[inline]
    pub fn number(&self, key: &Key) -> Option<u8> {
        let flow = Flow::new(self.source, self.destination, self.ports)?;
        match self.says {
            Says::Refused(_) => flow.number(key, self.sequence),
            // RFC 9293 has a RST acknowledge the SYN; some hosts acknowledge nothing of it.
            Says::Port(PortState::Closed) => {
                flow.number(key, self.sequence.wrapping_sub(1)).or_else(|| flow.number(key, self.sequence))
            }
            Says::Port(PortState::Open) | Says::HalfOpen => flow.number(key, self.sequence.wrapping_sub(1)),
        }
    }

    /// Reads an answer. Whether its checksum is right is not asked: on a veth pair that of a local host is not filled in, and the
    /// sequence number is the proof.
    #[inline]
    pub(super) fn read(message: &Message<'_>) -> Result<Self, RejectedReason> {
        let Message { arrived, ip, body, .. } = message;
        let says = match field::<1>(body, tcp::FLAGS..tcp::FLAGS + 1)?[0] & (tcp::SYN | tcp::RST | tcp::ACK | tcp::FIN)
        {
            flags if flags == tcp::SYN | tcp::ACK => Says::Port(PortState::Open),
            flags if flags == tcp::RST | tcp::ACK => Says::Port(PortState::Closed),
            tcp::ACK => Says::HalfOpen,
            _ => return Err(RejectedReason::Corrupt),
        };
        Ok(Self {
            arrived: *arrived,
            from: ip.source()?,
            source: ip.destination()?,
            destination: ip.source()?,
            ports: (number(body, tcp::DESTINATION)?, number(body, tcp::SOURCE)?),
            sequence: u32::from_be_bytes(field(body, tcp::ACKNOWLEDGMENT)?),
            says,
            ttl: ip.ttl(),
        })
    }

    /// Reads an ICMP error that quotes a SYN: `quoted` is its IP header, `segment` what follows.
    pub(super) fn read_quote(
        message: &Message<'_>,
        quoted: Header<'_>,
        segment: &[u8],
    ) -> Result<Self, RejectedReason> {
        let Message { arrived, ip, body, .. } = message;
        if !message.is_intact() {
            return Err(RejectedReason::Corrupt);
        }
        Ok(Self {
            arrived: *arrived,
            from: ip.source()?,
            source: quoted.source()?,
            destination: quoted.destination()?,
            ports: (number(segment, tcp::SOURCE)?, number(segment, tcp::DESTINATION)?),
            sequence: u32::from_be_bytes(field(segment, tcp::SEQUENCE)?),
            says: Says::Refused(reason_of(*ip, body)?),
            ttl: ip.ttl(),
        })
    }
}
