//! Reading an ICMP error that quotes a probe: somebody on the way says that it did not arrive.

use super::{
    Key, RejectedReason, echo,
    fields::{field, number},
    ip::Header,
    message::Message,
    reason::reason_of,
};
use crate::base::{Family, Generation, Nanos, Reason, Sequence, TargetIndex};
use probe_ebpf::{
    cookie,
    wire::{icmp, ipv4, payload},
};
use std::net::IpAddr;

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
    /// Time to live (of IPv6: hop limit) on arrival.
    pub ttl: u8,
    /// Where the probe went.
    pub destination: IpAddr,
    /// Identifier of the probe.
    pub identifier: u16,
    /// Low bits of the probe's number.
    pub sequence: Sequence,
    /// The IPv4 identification of the probe: the proof that every quote has. IPv6 has none.
    pub identification: Option<u16>,
    /// The probe's payload. RFC 792 asks for no more than 8 bytes behind the IPv4 header, and there are routers that quote no
    /// more (RFC 1812, section 4.3.2.3, wants as much as fits). Of IPv6 it is always there: RFC 4443, section 2.4, wants as much as
    /// fits 1,280 bytes.
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
    /// Whether we sent a probe with this sequence number to this address, under this key, as far as 16 bits can say. IPv6 has no such
    /// bits, and its errors quote the payload.
    pub fn is_ours(&self, key: &Key) -> bool {
        match (self.destination, self.identification) {
            (IpAddr::V4(destination), Some(identification)) => {
                cookie::identification(&key.0, destination.octets(), self.sequence.0) == identification
            }
            _ => self.quoted.is_some(),
        }
    }

    /// Whether we sent the probe whose payload is quoted, for the tenant of this generation.
    pub fn is_proven(&self, quoted: &Quoted, key: &Key, generation: Generation) -> bool {
        let Quoted { sent, target, cookie } = *quoted;
        cookie::on_wire(echo::hash(key, sent, self.destination, target, self.sequence), generation.0) == cookie
    }
}

impl Refusal {
    /// `header` is quoted, and `probe` what follows it. *Truncated*: there is too little of it, of IPv6 less than the probe's payload.
    pub(super) fn read(message: &Message<'_>, header: Header<'_>, probe: &[u8]) -> Result<Self, RejectedReason> {
        let Message { arrived, ip, body, .. } = message;
        let identification = match header {
            Header::V4(header) => Some(number(header, ipv4::IDENTIFICATION)?),
            Header::V6(_) => None,
        };
        let (echo, rest) = probe.split_first_chunk::<{ icmp::HEADER }>().ok_or(RejectedReason::Truncated)?;
        let destination = header.destination()?;
        let request = echo::request(Family::of(destination));
        if !message.is_intact() || echo[icmp::TYPE] != request || echo[icmp::CODE] != 0 {
            return Err(RejectedReason::Corrupt);
        }
        let quoted = rest.first_chunk::<{ payload::LENGTH }>().map(|bytes| -> Result<_, RejectedReason> {
            Ok(Quoted {
                sent: echo::sent(bytes, *arrived)?,
                target: TargetIndex(u32::from_be_bytes(field(bytes, payload::TARGET)?)),
                cookie: field(bytes, payload::COOKIE)?,
            })
        });
        if identification.is_none() && quoted.is_none() {
            return Err(RejectedReason::Truncated);
        }
        Ok(Self {
            arrived: *arrived,
            from: ip.source()?,
            reason: reason_of(*ip, body)?,
            ttl: ip.ttl(),
            destination,
            identifier: number(echo, icmp::IDENTIFIER)?,
            sequence: Sequence(number(echo, icmp::SEQUENCE)?),
            identification,
            quoted: quoted.transpose()?,
        })
    }
}
