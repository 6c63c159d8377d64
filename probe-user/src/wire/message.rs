//! The ICMP message in a frame as steer hands it over.

use super::{RejectedReason, checksum::Sum};
use crate::base::Nanos;
use probe_ebpf::wire::{STAMP, ethernet, ipv4};
use std::ops::Range;

/// An ICMP message in its frame. Nothing of it has been checked but that it is all there.
pub(super) struct Message<'a> {
    pub(super) arrived: Nanos,
    pub(super) ip: &'a [u8; ipv4::HEADER],
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    #[inline]
    pub(super) fn read(frame: &'a [u8]) -> Result<Self, RejectedReason> {
        let arrived = u64::from_ne_bytes(field(frame, STAMP)?);
        let mut ethertype = number(frame, ethernet::ETHERTYPE)?;
        let mut rest = &frame[ethernet::HEADER..];
        for _ in 0..ethernet::MAX_TAGS {
            if !ethernet::is_tag(ethertype) {
                break;
            }
            ethertype = number(rest, ethernet::TAG - 2..ethernet::TAG)?;
            rest = &rest[ethernet::TAG..];
        }
        if ethertype != ethernet::IPV4 {
            return Err(RejectedReason::Corrupt);
        }
        let ip = rest.first_chunk::<{ ipv4::HEADER }>().ok_or(RejectedReason::Truncated)?;
        let header = ipv4::header_length(ip[ipv4::VERSION]).ok_or(RejectedReason::Corrupt)?;
        if ip[ipv4::PROTOCOL] != ipv4::ICMP {
            return Err(RejectedReason::Corrupt);
        }
        // The IPv4 header says how long the message is: Ethernet pads short frames.
        let total = usize::from(number(ip, ipv4::TOTAL_LENGTH)?);
        let body = rest.get(header..total).ok_or(RejectedReason::Truncated)?;
        Ok(Self { arrived: Nanos(arrived), ip, body })
    }

    #[inline]
    pub(super) fn is_intact(&self) -> bool {
        Sum::of(self.body).checksum() == 0
    }
}

/// A field of `N` bytes; a frame that ends before is truncated.
#[inline]
pub(super) fn field<const N: usize>(bytes: &[u8], at: Range<usize>) -> Result<[u8; N], RejectedReason> {
    bytes.get(at).and_then(|field| field.try_into().ok()).ok_or(RejectedReason::Truncated)
}

#[inline]
pub(super) fn number(bytes: &[u8], at: Range<usize>) -> Result<u16, RejectedReason> {
    field(bytes, at).map(u16::from_be_bytes)
}
