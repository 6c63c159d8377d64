//! Reading a reply, as steer hands it over.

use super::{Generation, Key, RejectedReason, Sequence, TargetIndex, checksum::Sum};
use crate::time::Nanos;
use probe_ebpf::{
    cookie,
    wire::{STAMP, ethernet, icmp, ipv4, payload},
};
use std::{net::Ipv4Addr, ops::Range};

/// What a reply says. Nothing of it is true before [`Reply::is_proven`] has said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// When XDP saw it, CLOCK_MONOTONIC. This machine's own word.
    pub arrived: Nanos,
    /// Who answered.
    pub source: Ipv4Addr,
    /// Whose echo it is.
    pub identifier: u16,
    /// Low bits of the probe's number.
    pub sequence: Sequence,
    /// When the probe was sent, CLOCK_MONOTONIC.
    pub sent: Nanos,
    /// Whose probe it was.
    pub target: TargetIndex,
    /// The proof, as it came.
    pub cookie: [u8; 6],
    /// Time to live on arrival.
    pub ttl: u8,
}

impl Reply {
    /// Whether we sent this probe, under this key, to the host that answers, for the tenant of this generation.
    #[inline]
    pub fn is_proven(&self, key: &Key, generation: Generation) -> bool {
        let hash = cookie::ipv4(&key.0, self.sent.0, self.source.octets(), self.target.0, self.sequence.0);
        cookie::on_wire(hash, generation.0) == self.cookie
    }
}

/// Reads a whole Ethernet frame whose first 8 bytes are the arrival stamp in native byte order: up to two VLAN tags, IPv4
/// with or without options, an echo reply.
///
/// # Errors
/// *Truncated*: the frame is shorter than its headers say, or the message shorter than a probe. *Corrupt*: the ICMP
/// checksum is wrong, or it is no IPv4 echo reply at all, which steer would not have handed over.
pub fn read_reply(frame: &[u8]) -> Result<Reply, RejectedReason> {
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
    let message = rest.get(header..total).ok_or(RejectedReason::Truncated)?;
    if message.len() < icmp::HEADER + payload::LENGTH {
        return Err(RejectedReason::Truncated);
    }
    if Sum::of(message).checksum() != 0 || message[icmp::TYPE] != icmp::ECHO_REPLY || message[icmp::CODE] != 0 {
        return Err(RejectedReason::Corrupt);
    }
    let payload = &message[icmp::HEADER..];
    Ok(Reply {
        arrived: Nanos(arrived),
        source: Ipv4Addr::from(field(ip, ipv4::SOURCE)?),
        identifier: number(message, icmp::IDENTIFIER)?,
        sequence: Sequence(number(message, icmp::SEQUENCE)?),
        sent: Nanos(u64::from_be_bytes(field(payload, payload::SENT)?)),
        target: TargetIndex(u32::from_be_bytes(field(payload, payload::TARGET)?)),
        cookie: field(payload, payload::COOKIE)?,
        ttl: ip[ipv4::TTL],
    })
}

/// A field of `N` bytes; a frame that ends before is truncated.
#[inline]
fn field<const N: usize>(bytes: &[u8], at: Range<usize>) -> Result<[u8; N], RejectedReason> {
    bytes.get(at).and_then(|field| field.try_into().ok()).ok_or(RejectedReason::Truncated)
}

#[inline]
fn number(bytes: &[u8], at: Range<usize>) -> Result<u16, RejectedReason> {
    field(bytes, at).map(u16::from_be_bytes)
}
