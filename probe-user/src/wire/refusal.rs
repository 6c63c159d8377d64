//! Reading an ICMP error that quotes a probe: somebody on the way says that it did not arrive.

use super::{
    Key, RejectedReason, echo,
    extensions::Parts,
    fields::{field, number},
    ip::Header,
    message::Message,
    reason::reason_of,
};
use crate::base::{Family, Generation, MplsStack, Nanos, Reason, Sequence, TargetIndex};
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
    /// more (RFC 1812, section 4.3.2.3, wants as much as fits), or zeros in its place (RFC 4884). Of IPv6 it is nearly always there: RFC
    /// 4443, section 2.4, wants as much as fits 1,280 bytes, but who translates a router's error from IPv4 has no more than that one quoted.
    pub quoted: Option<Quoted>,
    /// The time to live (of IPv6: hop limit) that the probe is quoted with: 1 or 0 where it expired, more where a router quotes it as it came
    /// or a tunnel hid the hops before. Nothing depends on it.
    pub quoted_ttl: u8,
    /// Its type of service (of IPv6: traffic class) as it is quoted: the code point in the upper 6 bits.
    pub quoted_tos: u8,
    /// Its ICMP checksum as it is quoted. That of our echo requests is the flow's: [`Refusal::has_checksum_of`].
    pub quoted_checksum: u16,
    /// The MPLS labels that it had, if the error says so.
    pub mpls: MplsStack,
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

/// What can be said of the proof without knowing whose probe it was, or with less than what proves it:
///
/// | what is quoted | what is proof | bits |
/// |---|---|---|
/// | the payload | the cookie: [`Refusal::is_proven`] | 48 |
/// | the payload, and an address that somebody on the way has translated | the cookie for the target's own address: [`Refusal::is_proven_at`] | 48 |
/// | no payload | the IPv4 identification: [`Refusal::is_ours`] | 16 |
/// | no payload, and such an address | the identification for a target's own address: [`Refusal::is_identified_at`] | 16, for each target that is tried |
/// | no payload, and another identification, or none over IPv6 | none is keyed: identifier and checksum ([`Refusal::has_checksum_of`]), which everybody on the way has seen | 0 |
impl Refusal {
    /// Whether we sent a probe with this sequence number to this address, under this key: as far as 16 bits can say where no payload is
    /// quoted, of IPv6 none. Where one is, its cookie is the proof, and nobody asks for the identification, which routers and translations
    /// rewrite.
    pub fn is_ours(&self, key: &Key) -> bool {
        self.quoted.is_some() || self.is_identified_at(key, self.destination)
    }

    /// Whether the identification is that of our probe with this sequence number to `address`, which somebody on the way may have
    /// translated. IPv6 has none.
    pub fn is_identified_at(&self, key: &Key, address: IpAddr) -> bool {
        match (address, self.identification) {
            (IpAddr::V4(address), Some(identification)) => {
                cookie::identification(&key.0, address.octets(), self.sequence.0) == identification
            }
            _ => false,
        }
    }

    /// Whether we sent the probe whose payload is quoted, for the tenant of this generation.
    pub fn is_proven(&self, quoted: &Quoted, key: &Key, generation: Generation) -> bool {
        self.is_proven_at(quoted, key, generation, self.destination)
    }

    /// The same of a probe to `address`, which somebody on the way may have translated.
    pub fn is_proven_at(&self, quoted: &Quoted, key: &Key, generation: Generation, address: IpAddr) -> bool {
        let Quoted { sent, target, cookie } = *quoted;
        cookie::on_wire(echo::hash(key, sent, address, target, self.sequence), generation.0) == cookie
    }

    /// Whether the quoted checksum is that of this flow.
    pub const fn has_checksum_of_flow(&self, flow: u16) -> bool {
        self.quoted_checksum == icmp::checksum(flow)
    }

    /// Whether the quoted checksum is that of one of the first so many flows. It proves nothing: everybody on the way has seen it. But it
    /// says that this was no other echo request of this host with the same identifier, and that nobody has changed it.
    pub fn has_checksum_of(&self, flows: u16) -> bool {
        icmp::is_of_flow(self.quoted_checksum, flows.into())
    }
}

impl Refusal {
    /// `header` is quoted, `probe` what follows it, and `parts` what both are taken from. *Truncated*: there is too little of it.
    pub(super) fn read(
        message: &Message<'_>,
        parts: Parts<'_>,
        header: Header<'_>,
        probe: &[u8],
    ) -> Result<Self, RejectedReason> {
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
        // Where less was quoted than stands there, zeros fill it. A cookie is all zero once in 2^48.
        let is_there = |bytes: &&[u8; payload::LENGTH]| bytes[payload::COOKIE] != [0; 6];
        let quoted =
            rest.first_chunk::<{ payload::LENGTH }>().filter(is_there).map(|bytes| -> Result<_, RejectedReason> {
                Ok(Quoted {
                    sent: echo::sent(bytes, *arrived)?,
                    target: TargetIndex(u32::from_be_bytes(field(bytes, payload::TARGET)?)),
                    cookie: field(bytes, payload::COOKIE)?,
                })
            });
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
            quoted_ttl: header.ttl(),
            quoted_tos: header.tos(),
            quoted_checksum: number(echo, icmp::CHECKSUM)?,
            mpls: parts.mpls(),
        })
    }
}
