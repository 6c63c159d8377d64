//! What probes of a group look like, resolved once when a plan is made. Where packets are handled a shape is an index.

use super::{echo, tcp};
use crate::base::Family;
use std::{fmt, ops::RangeInclusive, str::FromStr};

/// What is asked of a target. Each kind has a file of its own here: how a probe is prepared, how it is made, how its answer is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Kind {
    /// ICMP echo, over either family.
    #[default]
    Echo,
    /// A TCP SYN to this port.
    Tcp {
        /// The port.
        port: u16,
    },
}

impl Kind {
    /// Whether an answer brings the send time back. Else it is kept beside the window, and the source port says whose answer it is.
    pub const fn carries_time(self) -> bool {
        match self {
            Self::Echo => true,
            Self::Tcp { .. } => false,
        }
    }

    /// Bytes of an IP datagram in front of the payload.
    pub const fn headers(self, family: Family) -> u16 {
        match self {
            Self::Echo => echo::headers(family),
            Self::Tcp { .. } => tcp::headers(family),
        }
    }

    /// Payloads that a probe can have, bytes: what it must carry, up to what an Ethernet frame without tags holds.
    pub const fn payloads(self, family: Family) -> RangeInclusive<u16> {
        match self {
            Self::Echo => echo::payloads(family),
            Self::Tcp { .. } => 0..=0,
        }
    }
}

/// As on the command line and in labels: `icmp`, `tcp:443`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo => f.write_str("icmp"),
            Self::Tcp { port } => write!(f, "tcp:{port}"),
        }
    }
}

/// Why a text is no kind of probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KindError {
    /// Neither of the two.
    #[error("the kinds of probe are icmp and tcp:PORT, such as tcp:443")]
    Unknown,
    /// `tcp` with no port, or with something else than a port.
    #[error("a TCP probe goes to a port from 1 to 65535; write one such as tcp:443")]
    Port,
    /// `udp:53`.
    #[error("UDP probes are not built yet; the kinds of probe are icmp and tcp:PORT, such as tcp:443")]
    Udp,
}

/// As [`Kind`] is shown.
impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        match (name, port) {
            ("icmp", None) => Ok(Self::Echo),
            ("tcp", port) => {
                let digits = port.filter(|port| port.bytes().all(|digit| digit.is_ascii_digit()));
                let port = digits.and_then(|port| port.parse().ok()).filter(|port| *port > 0);
                port.map(|port| Self::Tcp { port }).ok_or(KindError::Port)
            }
            ("udp", _) => Err(KindError::Udp),
            _ => Err(KindError::Unknown),
        }
    }
}

/// What all probes of a group to one family have in common on the wire, but for who sends them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Shape {
    /// Over what.
    pub family: Family,
    /// What is asked.
    pub kind: Kind,
    /// Bytes of payload: of [`Kind::payloads`].
    pub payload: u16,
    /// Time to live (of IPv6: hop limit) that probes are sent with.
    pub ttl: u8,
    /// Of TCP, which of the reserved ports it is sent from, counted from the first: each group has its own.
    pub flow: u16,
    /// Of TCP, not the probe, but the RST by which a connection ends that a probe half opened.
    pub reset: bool,
}

/// The shortest echo over IPv4, with a time to live of 64.
impl Default for Shape {
    fn default() -> Self {
        Self::of(Kind::Echo)
    }
}

impl Shape {
    /// The shortest of a kind over IPv4, with a time to live of 64.
    pub const fn of(kind: Kind) -> Self {
        let payload = *kind.payloads(Family::V4).start();
        Self { family: Family::V4, kind, payload, ttl: 64, flow: 0, reset: false }
    }

    /// An echo over IPv4 with so many bytes of payload.
    pub fn echo(payload: u16) -> Self {
        Self { payload, ..Self::default() }
    }

    /// The same over a family.
    pub const fn over(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// Of probes that may half open a connection, the RST which ends it.
    pub fn then_reset(self) -> Option<Self> {
        matches!(self.kind, Kind::Tcp { .. }).then_some(Self { reset: true, ..self })
    }

    /// Bytes of the IP datagram in front of the payload.
    pub const fn headers(self) -> u16 {
        if self.reset { tcp::headers_of_reset(self.family) } else { self.kind.headers(self.family) }
    }

    /// Whether the family has room for its payload.
    pub fn is_possible(self) -> bool {
        self.payloads().contains(&self.payload)
    }

    /// Bytes of the IP datagram: what has to fit the MTU.
    pub const fn datagram(self) -> u32 {
        self.headers() as u32 + self.payload as u32
    }

    /// Payloads that a probe can have that otherwise looks like this.
    pub const fn payloads(self) -> RangeInclusive<u16> {
        self.kind.payloads(self.family)
    }
}

/// Why there can be no such probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShapeError {
    /// No probe of the kind can have that payload.
    #[error("a payload of {} bytes: a probe over IPv{} carries {} to {}", .0.payload, .0.family.name(), .0.payloads().start(), .0.payloads().end())]
    Payload(Shape),
    /// Its source is an address of the other family.
    #[error("a probe over IPv{} from an address of the other family", .0.family.name())]
    Source(Shape),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_shown() {
        for kind in [Kind::Echo, Kind::Tcp { port: 1 }, Kind::Tcp { port: 65_535 }] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for text in ["tcp", "tcp:", "tcp:0", "tcp:65536", "tcp:+80", "tcp:http", "tcp:80 ", "tcp:80:81"] {
            assert_eq!(text.parse::<Kind>(), Err(KindError::Port), "{text}");
        }
        assert_eq!("udp:53".parse::<Kind>(), Err(KindError::Udp));
        for text in ["", "ICMP", "icmp:0", "tpc:443", "443"] {
            assert_eq!(text.parse::<Kind>(), Err(KindError::Unknown), "{text}");
        }
    }
}
