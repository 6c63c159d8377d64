//! What probes of a group look like, resolved once when a plan is made. Where packets are handled a shape is an index.

use super::{Content, echo, tcp, udp};
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
    /// A UDP datagram to this port.
    Udp {
        /// The port.
        port: u16,
        /// What it carries.
        content: Content,
    },
}

impl Kind {
    /// Whether an answer brings the send time back. Else it is kept beside the window, and the source port says whose answer it is.
    pub const fn carries_time(self) -> bool {
        match self {
            Self::Echo => true,
            Self::Tcp { .. } | Self::Udp { .. } => false,
        }
    }

    /// The port that it goes to, if it goes to one.
    pub const fn port(self) -> Option<u16> {
        match self {
            Self::Echo => None,
            Self::Tcp { port } | Self::Udp { port, .. } => Some(port),
        }
    }

    /// Whether answers bring a proof back that a probe was sent. Else its number is in the port that it was sent from, and whoever knows
    /// that can forge one.
    pub const fn has_proof(self) -> bool {
        match self {
            Self::Echo | Self::Tcp { .. } => true,
            Self::Udp { content, .. } => content.is_dns(),
        }
    }

    /// Bytes of an IP datagram in front of the payload.
    pub const fn headers(self, family: Family) -> u16 {
        match self {
            Self::Echo => echo::headers(family),
            Self::Tcp { .. } => tcp::headers(family),
            Self::Udp { .. } => udp::headers(family),
        }
    }

    /// Payloads that a probe can have, bytes: what it must carry, up to what an Ethernet frame without tags holds.
    pub const fn payloads(self, family: Family) -> RangeInclusive<u16> {
        match self {
            Self::Echo => echo::payloads(family),
            Self::Tcp { .. } => 0..=0,
            Self::Udp { content, .. } => udp::payloads(family, content),
        }
    }
}

/// As on the command line and in labels: `icmp`, `tcp:443`, `udp:53`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo => f.write_str("icmp"),
            Self::Tcp { port } => write!(f, "tcp:{port}"),
            Self::Udp { port, .. } => write!(f, "udp:{port}"),
        }
    }
}

/// Why a text is no kind of probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KindError {
    /// None of the three.
    #[error("the kinds of probe are icmp, tcp:PORT and udp:PORT, such as tcp:443")]
    Unknown,
    /// `tcp` with no port, or with something else than a port.
    #[error("a TCP probe goes to a port from 1 to 65535; write one such as tcp:443")]
    Port,
    /// `udp` with no port, or with something else than a port.
    #[error("a UDP probe goes to a port from 1 to 65535; write one such as udp:53")]
    UdpPort,
}

/// As [`Kind`] is shown; what a UDP probe carries is what its port is usually asked ([`Content::of_port`]).
impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let port = || {
            let digits = rest.filter(|port| port.bytes().all(|digit| digit.is_ascii_digit()));
            digits.and_then(|port| port.parse().ok()).filter(|port| *port > 0)
        };
        match (name, rest) {
            ("icmp", None) => Ok(Self::Echo),
            ("tcp", _) => port().map(|port| Self::Tcp { port }).ok_or(KindError::Port),
            ("udp", _) => {
                let of = |port| Self::Udp { port, content: Content::of_port(port) };
                port().map(of).ok_or(KindError::UdpPort)
            }
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
    /// Differentiated services code point, 0 to 63.
    pub dscp: u8,
    /// Over IPv4, whether nobody on the way may fragment it.
    pub dont_fragment: bool,
    /// Of TCP, not the probe, but the RST by which a connection ends that a probe half opened.
    pub reset: bool,
    /// Which of the flows that look otherwise like this: routers that balance by flow send each its own way. Of a probe to a port it says
    /// which of the reserved ports it is sent from, counted from the first. Last, so that in order flows of one group follow one another.
    pub flow: u16,
}

/// The shortest echo over IPv4, with a time to live of 64, not to be fragmented.
impl Default for Shape {
    fn default() -> Self {
        Self::of(Kind::Echo)
    }
}

impl Shape {
    /// The shortest of a kind over IPv4, with a time to live of 64, not to be fragmented.
    pub const fn of(kind: Kind) -> Self {
        let payload = *kind.payloads(Family::V4).start();
        Self { family: Family::V4, kind, payload, ttl: 64, dscp: 0, dont_fragment: true, reset: false, flow: 0 }
    }

    /// An echo over IPv4 with so many bytes of payload.
    pub fn echo(payload: u16) -> Self {
        Self { payload, ..Self::default() }
    }

    /// The same over a family.
    pub const fn over(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// The same with another time to live.
    pub const fn living(self, ttl: u32) -> Self {
        Self { ttl: if ttl > 255 { 255 } else { ttl as u8 }, ..self }
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
        let udp: Kind = "udp:53".parse().expect("a kind");
        assert_eq!((udp.to_string(), udp.port(), udp.has_proof()), ("udp:53".into(), Some(53), true));
        assert!("udp:7".parse::<Kind>().is_ok_and(|kind| !kind.has_proof()));
        for text in ["udp", "udp:", "udp:0", "udp:65536"] {
            assert_eq!(text.parse::<Kind>(), Err(KindError::UdpPort), "{text}");
        }
        for text in ["", "ICMP", "icmp:0", "tpc:443", "443"] {
            assert_eq!(text.parse::<Kind>(), Err(KindError::Unknown), "{text}");
        }
    }
}
