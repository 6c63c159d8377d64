//! Bytes: frame templates, checksums, reading a reply or an error. Pure: no I/O, no clock.
//!
//! A kind of probe is a file: how it is prepared, made and read (`echo`, `tcp`, `udp`). The IP header is a file for each family (`ip`). What is common
//! to all stands around them.
//!
//! Where the fields lie and how the cookie is made is `probe_ebpf`'s: the XDP programs go by the same definition.

pub mod arp;
mod checksum;
mod content;
mod echo;
mod extensions;
#[cfg(test)]
mod extensions_tests;
mod fields;
mod flow;
mod ip;
#[cfg(test)]
mod looks_tests;
mod message;
pub mod ndp;
mod port_report;
mod probe;
mod read;
mod reason;
mod refusal;
#[cfg(test)]
mod refusal_tests;
mod shape;
mod tags;
mod tcp;
#[cfg(test)]
mod tcp_tests;
mod template;
#[cfg(test)]
mod tests;
mod udp;
#[cfg(test)]
mod udp_tests;

pub use content::{Content, ContentError};
pub use echo::Reply;
pub use port_report::{NumberIn, PortQuote, PortReport, Proof, Says};
pub use probe::{Origin, ProbeFields};
pub use read::{Guess, Heard, guess_target, read_frame, read_reply};
pub use refusal::{Quoted, Refusal};
pub use shape::{Kind, KindError, Shape, ShapeError};
pub use tags::{Tag, Tags, TooManyTags};
pub use template::{Live, Template};

use probe_ebpf::cookie;

/// The key of this process' cookies: random, made at start, never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u64; 2]);

impl Key {
    /// For the flow labels of IPv6 probes, which everybody on the way sees: nothing of the key follows from it.
    pub const fn flow_key(&self) -> u64 {
        cookie::flow_key(&self.0)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Why a frame that claimed to be a reply, or an error about a probe, was not taken for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum RejectedReason {
    /// Shorter than its headers say, or than a probe's payload.
    Truncated,
    /// The ICMP checksum is wrong.
    Corrupt,
    /// The cookie, or the sequence number of TCP, does not prove that we sent it to that address.
    Cookie,
    /// No such target.
    Target,
    /// Sent up to a second in the future, or longer ago than any timeout allows.
    Age,
    /// A TCP RST to a port of ours that acknowledges nothing, so that nothing in it could be proof.
    ResetWithoutAck,
    /// The first fragment of an echo reply that proves itself: what came back was too large for its way and can't be measured.
    Fragment,
}

impl RejectedReason {
    /// All, in the order of their counters.
    pub const ALL: [Self; 7] =
        [Self::Truncated, Self::Corrupt, Self::Cookie, Self::Target, Self::Age, Self::ResetWithoutAck, Self::Fragment];

    /// As in metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::Cookie => "cookie",
            Self::Target => "target",
            Self::Age => "age",
            Self::ResetWithoutAck => "reset_without_ack",
            Self::Fragment => "fragment",
        }
    }
}
