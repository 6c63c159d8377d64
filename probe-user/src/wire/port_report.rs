//! What is said of a probe to a port, by its target or by somebody on the way: read by `tcp` and `udp`.

use super::{Key, extensions::Parts, flow::Flow, ip::Header};
use crate::base::{MplsStack, Nanos, PortState, Rcode, Reason};
use std::net::IpAddr;

/// What is said of a probe to a port. Nothing of it is true before [`PortReport::number`] has said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortReport {
    /// When XDP saw it, CLOCK_MONOTONIC. This machine's own word.
    pub arrived: Nanos,
    /// Who says it: the target itself, or who sent an error.
    pub from: IpAddr,
    /// Where the probe came from.
    pub source: IpAddr,
    /// Where it went.
    pub destination: IpAddr,
    /// Its ports: ours, and the target's.
    pub ports: (u16, u16),
    /// What of the probe has come back.
    pub proof: Proof,
    /// What.
    pub says: Says,
    /// If it looks like an answer to a DNS question, its response code.
    pub rcode: Option<Rcode>,
    /// Time to live (of IPv6: hop limit) on arrival.
    pub ttl: u8,
    /// What an error quotes beside; None: it is an answer.
    pub quote: Option<PortQuote>,
}

/// What an error quotes of a probe to a port that nothing depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortQuote {
    /// Its time to live (of IPv6: hop limit), as in [`Refusal::quoted_ttl`](super::Refusal::quoted_ttl).
    pub ttl: u8,
    /// Its type of service (of IPv6: traffic class).
    pub tos: u8,
    /// Its checksum, if that much is quoted: that of UDP always is.
    pub checksum: Option<u16>,
    /// The MPLS labels that it had, if the error says so.
    pub mpls: MplsStack,
}

impl PortQuote {
    /// `header` is quoted, and `parts` what it is taken from.
    pub(super) fn of(parts: Parts<'_>, header: Header<'_>, checksum: Option<u16>) -> Self {
        Self { ttl: header.ttl(), tos: header.tos(), checksum, mpls: parts.mpls() }
    }
}

/// What an answer or an error says of a probe to a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Says {
    /// SYN-ACK or RST; a UDP datagram, or the target's own word that nobody listens there.
    Port(PortState),
    /// A bare ACK: the target still holds a connection that an earlier SYN half opened, because the RST behind that one was lost (RFC
    /// 9293, section 3.10.7.4; RFC 5961, section 4).
    HalfOpen,
    /// An ICMP error.
    Refused(Reason),
}

/// What of a probe's own numbers an answer or an error brings back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// Of a SYN: its sequence number, or where a RST acknowledged either that or the next one, both.
    Sequence(u32, Option<u32>),
    /// Of UDP, where the probe's word may be: first the identifier of a DNS message, then the IPv4 identification that an error quotes.
    Words([Option<u16>; 2]),
}

/// By what the number of a probe to a port is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberIn {
    /// Of TCP, the sequence number of the SYN: 8 bits of the number and 24 of proof.
    Sequence,
    /// Of a DNS question, its identifier: 8 bits and 8 of proof.
    Word,
    /// By the port that the probe was sent from: it is one of so many, a power of two up to 256, from the first on.
    Port {
        /// The first.
        first: u16,
        /// How many.
        count: u16,
    },
}

impl PortReport {
    /// The low bits of the number of the probe that this is about, and which of its bits they are, if such probes tell it so; None: as far
    /// as keyed bits can say, there was none.
    #[inline]
    pub fn number(&self, key: &Key, told: NumberIn) -> Option<(u8, u8)> {
        self.number_at(key, told, self.destination)
    }

    /// The same of a probe to `address`, which somebody on the way may have translated: errors then quote the other one.
    #[inline]
    pub fn number_at(&self, key: &Key, told: NumberIn, address: IpAddr) -> Option<(u8, u8)> {
        let flow = Flow::new(self.source, address, self.ports)?;
        let of_words = |words: [Option<u16>; 2]| words.into_iter().flatten().find_map(|word| flow.of_word(key, word));
        let number = match (self.proof, told) {
            (Proof::Sequence(sequence, other), NumberIn::Sequence) => {
                flow.of_sequence(key, sequence).or_else(|| flow.of_sequence(key, other?))
            }
            (Proof::Words(words), NumberIn::Word) => of_words(words),
            (Proof::Words([_, None]), NumberIn::Port { .. }) => return self.number_of_port(told),
            (Proof::Words([_, quoted]), NumberIn::Port { .. }) => of_words([None, quoted]),
            // Another protocol than its port is for: less proof would do.
            (Proof::Sequence(..), NumberIn::Word | NumberIn::Port { .. }) | (Proof::Words(_), NumberIn::Sequence) => {
                None
            }
        };
        number.map(|number| (number, 0xff))
    }

    /// The same where the port of a UDP probe alone says its number, whatever identification an error quotes: routers and translations
    /// rewrite that. Nothing of it is keyed, as over IPv6.
    #[inline]
    pub fn number_of_port(&self, told: NumberIn) -> Option<(u8, u8)> {
        let (Proof::Words(_), NumberIn::Port { first, count }) = (self.proof, told) else { return None };
        let (number, mask) = (self.ports.0.checked_sub(first)?, count - 1);
        (number <= mask).then_some(((number & 0xff) as u8, (mask & 0xff) as u8))
    }

    /// Whether it says that the probe has half opened a connection.
    #[inline]
    pub const fn is_half_open(&self) -> bool {
        matches!(self.proof, Proof::Sequence(..)) && matches!(self.says, Says::Port(PortState::Open) | Says::HalfOpen)
    }
}
