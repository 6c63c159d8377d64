//! The ICMP message or TCP segment in a frame as steer hands it over.

use super::{
    RejectedReason,
    fields::{field, number},
    ip::{Header, Protocol},
};
use crate::base::Nanos;
use probe_ebpf::wire::{STAMP, ethernet};

/// A message in its frame. Nothing of it has been checked but that it is all there.
pub(super) struct Message<'a> {
    pub(super) arrived: Nanos,
    pub(super) ip: Header<'a>,
    pub(super) protocol: Protocol,
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
        let (ip, protocol, body) = Header::read(ethertype, rest)?;
        Ok(Self { arrived: Nanos(arrived), ip, protocol, body })
    }

    /// Whether the checksum of an ICMP message is right.
    #[inline]
    pub(super) fn is_intact(&self) -> bool {
        self.ip.vouches_for(self.body)
    }
}
