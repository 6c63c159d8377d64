//! Reading an ICMP error that quotes a probe: somebody on the way says that it did not arrive.

use super::{
    Key, RejectedReason,
    message::{Message, field, number},
};
use crate::base::{Generation, Nanos, Reason, Sequence, TargetIndex};
use probe_ebpf::{
    cookie,
    wire::{icmp, ipv4, payload},
};
use std::net::{IpAddr, Ipv4Addr};

/// What an error says of a probe. Nothing of it is true before [`Refusal::is_ours`] has said so, and nothing of what it
/// [`Quoted`] before [`Refusal::is_proven`] has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// When XDP saw it, CLOCK_MONOTONIC. This machine's own word.
    pub arrived: Nanos,
    /// Who says so.
    pub from: IpAddr,
    /// Why.
    pub reason: Reason,
    /// Time to live on arrival.
    pub ttl: u8,
    /// Where the probe went.
    pub destination: IpAddr,
    /// Identifier of the probe.
    pub identifier: u16,
    /// Low bits of the probe's number.
    pub sequence: Sequence,
    /// The IPv4 identification of the probe: the proof that every quote has.
    pub identification: u16,
    /// The probe's payload. RFC 792 asks for no more than 8 bytes behind the IPv4 header, and there are routers that quote no
    /// more (RFC 1812, section 4.3.2.3, wants as much as fits).
    pub quoted: Option<Quoted>,
}

/// What a probe's payload says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// When the probe was sent, CLOCK_MONOTONIC.
    pub sent: Nanos,
    /// Whose probe it was.
    pub target: TargetIndex,
    /// The proof, as it came.
    pub cookie: [u8; 6],
}

impl Refusal {
    /// Whether we sent a probe with this sequence number to this address, under this key, as far as 16 bits can say.
    pub fn is_ours(&self, key: &Key) -> bool {
        let IpAddr::V4(destination) = self.destination else { return false };
        cookie::identification(&key.0, destination.octets(), self.sequence.0) == self.identification
    }

    /// Whether we sent the probe whose payload is quoted, for the tenant of this generation.
    pub fn is_proven(&self, quoted: &Quoted, key: &Key, generation: Generation) -> bool {
        let Quoted { sent, target, cookie } = quoted;
        let IpAddr::V4(destination) = self.destination else { return false };
        let hash = cookie::ipv4(&key.0, sent.0, destination.octets(), target.0, self.sequence.0);
        cookie::on_wire(hash, generation.0) == *cookie
    }

    pub(super) fn read(message: &Message<'_>) -> Result<Self, RejectedReason> {
        let Message { arrived, ip, body } = message;
        let quote = body.get(icmp::HEADER..).unwrap_or_default();
        let probe_ip = quote.first_chunk::<{ ipv4::HEADER }>().ok_or(RejectedReason::Truncated)?;
        let header = ipv4::header_length(probe_ip[ipv4::VERSION]).ok_or(RejectedReason::Corrupt)?;
        let probe = quote.get(header..).unwrap_or_default();
        let (echo, rest) = probe.split_first_chunk::<{ icmp::HEADER }>().ok_or(RejectedReason::Truncated)?;
        if !message.is_intact()
            || probe_ip[ipv4::PROTOCOL] != ipv4::ICMP
            || number(probe_ip, ipv4::FRAGMENT)? & ipv4::IS_FRAGMENT != 0
            || echo[icmp::TYPE] != icmp::ECHO_REQUEST
            || echo[icmp::CODE] != 0
        {
            return Err(RejectedReason::Corrupt);
        }
        let quoted = rest.first_chunk::<{ payload::LENGTH }>().map(|bytes| -> Result<_, RejectedReason> {
            Ok(Quoted {
                sent: Nanos(u64::from_be_bytes(field(bytes, payload::SENT)?)),
                target: TargetIndex(u32::from_be_bytes(field(bytes, payload::TARGET)?)),
                cookie: field(bytes, payload::COOKIE)?,
            })
        });
        Ok(Self {
            arrived: *arrived,
            from: Ipv4Addr::from(field(*ip, ipv4::SOURCE)?).into(),
            reason: reason(body[icmp::TYPE], body[icmp::CODE]),
            ttl: ip[ipv4::TTL],
            destination: Ipv4Addr::from(field(probe_ip, ipv4::DESTINATION)?).into(),
            identifier: number(echo, icmp::IDENTIFIER)?,
            sequence: Sequence(number(echo, icmp::SEQUENCE)?),
            identification: number(probe_ip, ipv4::IDENTIFICATION)?,
            quoted: quoted.transpose()?,
        })
    }
}

/// The reason that an error of this type and code gives: codes that no RFC names have the name of their type.
pub(super) const fn reason(kind: u8, code: u8) -> Reason {
    Reason(match (kind, code) {
        (icmp::UNREACHABLE, 0..=15) => code + 1,
        (icmp::UNREACHABLE, _) => 17,
        (icmp::TIME_EXCEEDED, 0) => 18,
        (icmp::TIME_EXCEEDED, 1) => 19,
        (icmp::TIME_EXCEEDED, _) => 20,
        _ => 21,
    })
}
