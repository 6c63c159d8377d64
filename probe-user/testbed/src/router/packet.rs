//! What a router reads of a packet, and changes in it. Packets begin with their IP headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const V6_HEADER: usize = 40;

/// A packet whose IP header is whole.
pub(super) struct Packet<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) is_v4: bool,
    /// Where what the IP header carries begins.
    pub(super) header: usize,
    pub(super) protocol: u8,
}

impl<'a> Packet<'a> {
    /// None: it is neither IPv4 nor IPv6, or not whole. What the kernel has added behind its end is cut off.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let header = usize::from(bytes[0] & 15) * 4;
                let total = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
                let bytes = bytes.get(..total).filter(|bytes| header >= 20 && bytes.len() >= header)?;
                Some(Self { bytes, is_v4: true, header, protocol: bytes[9] })
            }
            6 => {
                let length = usize::from(u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?]));
                let bytes = bytes.get(..V6_HEADER + length)?;
                Some(Self { bytes, is_v4: false, header: V6_HEADER, protocol: bytes[6] })
            }
            _ => None,
        }
    }

    pub(super) fn ttl(&self) -> u8 {
        if self.is_v4 { self.bytes[8] } else { self.bytes[7] }
    }

    pub(super) fn source(&self) -> IpAddr {
        self.address(if self.is_v4 { 12 } else { 8 })
    }

    pub(super) fn destination(&self) -> IpAddr {
        self.address(if self.is_v4 { 16 } else { 24 })
    }

    fn address(&self, at: usize) -> IpAddr {
        if self.is_v4 {
            let mut octets = [0; 4];
            octets.copy_from_slice(&self.bytes[at..at + 4]);
            Ipv4Addr::from(octets).into()
        } else {
            let mut octets = [0; 16];
            octets.copy_from_slice(&self.bytes[at..at + 16]);
            Ipv6Addr::from(octets).into()
        }
    }

    /// Whether an error may be sent about it: not about an error, nor a later fragment, nor what is to or from many (RFC 1122,
    /// section 3.2.2; RFC 4443, section 2.4).
    pub(super) fn deserves_error(&self) -> bool {
        let is_error = match (self.protocol, self.bytes.get(self.header)) {
            (ICMP, Some(kind)) if self.is_v4 => [3, 4, 5, 11, 12].contains(kind),
            (ICMPV6, Some(kind)) if !self.is_v4 => *kind < 128,
            _ => false,
        };
        let is_later_fragment = self.is_v4 && u16::from_be_bytes([self.bytes[6], self.bytes[7]]) & 0x1fff != 0;
        let is_for_many = match self.destination() {
            IpAddr::V4(to) => to.is_multicast() || to.is_broadcast(),
            IpAddr::V6(to) => to.is_multicast(),
        };
        !is_error && !is_later_fragment && !is_for_many && !self.source().is_unspecified()
    }
}

/// Where a message of this protocol has its checksum.
pub(super) fn checksum_at(protocol: u8) -> Option<usize> {
    match protocol {
        ICMP | ICMPV6 => Some(2),
        UDP => Some(6),
        TCP => Some(16),
        _ => None,
    }
}

/// Whether that covers the addresses as well.
pub(super) fn covers_addresses(protocol: u8) -> bool {
    protocol != ICMP
}

/// The Internet checksum of what is even in length but for the last part (RFC 1071).
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Makes the IPv4 header's checksum right.
pub(super) fn sum_header(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(&[header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// A checksum after the bytes that it covers have changed from the one to the other, both of even length (RFC 1624).
pub(super) fn adjusted(sum: u16, from: &[u8], to: &[u8]) -> u16 {
    let complement: Vec<u8> = from.iter().map(|byte| !byte).collect();
    checksum(&[&(!sum).to_be_bytes(), &complement, to])
}
