//! What probes of a group look like, resolved once when a plan is made. Where packets are handled a shape is an index.

use super::echo;
use crate::base::Family;
use std::ops::RangeInclusive;

/// What is asked of a target. Each kind has a file of its own here: how a probe is prepared, how it is made, how its answer is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Kind {
    /// ICMP echo over IPv4.
    #[default]
    Echo,
}

impl Kind {
    /// As on the command line and in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "icmp",
        }
    }

    /// Bytes of an IP datagram in front of the payload.
    pub const fn headers(self) -> u16 {
        match self {
            Self::Echo => echo::HEADERS,
        }
    }

    /// Payloads that a probe can have, bytes: what it must carry, up to what an Ethernet frame without tags holds.
    pub const fn payloads(self) -> RangeInclusive<u16> {
        match self {
            Self::Echo => echo::PAYLOADS,
        }
    }
}

/// What all probes of a group have in common on the wire, but for who sends them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Shape {
    /// Over IPv4 or IPv6.
    pub family: Family,
    /// What is asked.
    pub kind: Kind,
    /// Bytes of payload: of [`Kind::payloads`].
    pub payload: u16,
    /// Time to live that probes are sent with.
    pub ttl: u8,
}

/// The shortest echo, with a time to live of 64.
impl Default for Shape {
    fn default() -> Self {
        Self { family: Family::V4, kind: Kind::Echo, payload: *Kind::Echo.payloads().start(), ttl: 64 }
    }
}

impl Shape {
    /// An echo with so many bytes of payload.
    pub fn echo(payload: u16) -> Self {
        Self { payload, ..Self::default() }
    }

    /// Payloads that such a probe can have, bytes.
    pub const fn payloads(self) -> RangeInclusive<u16> {
        self.kind.payloads()
    }

    /// The same over IPv4 or IPv6.
    pub const fn over(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// Bytes of the IP datagram: what has to fit the MTU.
    pub const fn datagram(self) -> u32 {
        self.kind.headers() as u32 + self.payload as u32
    }
}

/// A payload that no probe of the kind can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a payload of {} bytes: a probe carries {} to {}", .0.payload, .0.kind.payloads().start(), .0.kind.payloads().end())]
pub struct PayloadLength(pub Shape);
