//! IP headers of either family: how a probe's is laid and made, and how those that arrive and those that are quoted are read.

pub(super) mod v4;
pub(super) mod v6;

use super::{RejectedReason, checksum::Sum, fields::field};
use probe_ebpf::wire::{ethernet, ipv4, ipv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What follows an IP header and what extension headers there are, if it can be about a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    /// ICMP of the header's family.
    Icmp,
    Tcp,
    Udp,
}

/// What a probe's IP header says of how it is to be forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fields {
    /// Time to live, or hop limit.
    pub(super) ttl: u8,
    /// Differentiated services code point, 6 bits (RFC 2474).
    pub(super) dscp: u8,
    /// Over IPv4. Over IPv6 nobody on the way fragments.
    pub(super) dont_fragment: bool,
}

impl Fields {
    /// The byte in which IPv4 and IPv6 have the code point: it says nothing of congestion.
    pub(super) const fn traffic_class(self) -> u8 {
        self.dscp << 2
    }
}

/// A header that has arrived, without options and extension headers. What else it says has not been checked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Header<'a> {
    V4(&'a [u8; ipv4::HEADER]),
    V6(&'a [u8; ipv6::HEADER]),
}

impl<'a> Header<'a> {
    /// Reads the header of a datagram behind this Ethernet type. Returns the message too, all of it.
    #[inline]
    pub(super) fn read(ethertype: u16, datagram: &'a [u8]) -> Result<(Self, Protocol, &'a [u8]), RejectedReason> {
        match ethertype {
            ethernet::IPV4 => v4::read(datagram).map(|(header, kind, message)| (Self::V4(header), kind, message)),
            ethernet::IPV6 => v6::read(datagram).map(|(header, kind, message)| (Self::V6(header), kind, message)),
            _ => Err(RejectedReason::Corrupt),
        }
    }

    #[inline]
    pub(super) fn source(self) -> Result<IpAddr, RejectedReason> {
        Ok(match self {
            Self::V4(header) => Ipv4Addr::from(field(header, ipv4::SOURCE)?).into(),
            Self::V6(header) => Ipv6Addr::from(field(header, ipv6::SOURCE)?).into(),
        })
    }

    #[inline]
    pub(super) fn destination(self) -> Result<IpAddr, RejectedReason> {
        Ok(match self {
            Self::V4(header) => Ipv4Addr::from(field(header, ipv4::DESTINATION)?).into(),
            Self::V6(header) => Ipv6Addr::from(field(header, ipv6::DESTINATION)?).into(),
        })
    }

    /// Time to live, or hop limit.
    #[inline]
    pub(super) fn ttl(self) -> u8 {
        match self {
            Self::V4(header) => header[ipv4::TTL],
            Self::V6(header) => header[ipv6::HOP_LIMIT],
        }
    }

    /// Type of service, or traffic class.
    pub(super) fn tos(self) -> u8 {
        match self {
            Self::V4(header) => header[ipv4::TOS],
            // Version in the upper 4 bits of the first byte, flow label in the lower 4 of the second.
            Self::V6(header) => header[0] << 4 | header[1] >> 4,
        }
    }

    /// Whether the checksum of the ICMP message behind it is right. That of ICMPv6 covers the addresses too.
    #[inline]
    pub(super) fn vouches_for(self, message: &[u8]) -> bool {
        let sum = Sum::of(message);
        let sum = match self {
            Self::V4(_) => sum,
            Self::V6(header) => sum.and(v6::pseudo_header(header, Protocol::Icmp, message.len())),
        };
        sum.checksum() == 0
    }
}
