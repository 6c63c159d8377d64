//! What is asked of targets and what probes look like, as people say it in a file or on the command line.

use super::SIZES;
use crate::{
    targets::{Group, default_timeout},
    wire::{Content, Kind, Shape},
};
use std::ops::RangeInclusive;

/// Time to live, or hop limit.
pub const TTLS: RangeInclusive<u64> = 1..=255;
/// Flows that a group's probes may walk.
pub const FLOWS: RangeInclusive<u64> = 1..=64;

/// Names of differentiated services code points (RFC 2474, 2597, 3246 and 8622).
const DSCPS: [(&str, u8); 22] = [
    ("CS0", 0),
    ("LE", 1),
    ("CS1", 8),
    ("AF11", 10),
    ("AF12", 12),
    ("AF13", 14),
    ("CS2", 16),
    ("AF21", 18),
    ("AF22", 20),
    ("AF23", 22),
    ("CS3", 24),
    ("AF31", 26),
    ("AF32", 28),
    ("AF33", 30),
    ("CS4", 32),
    ("AF41", 34),
    ("AF42", 36),
    ("AF43", 38),
    ("CS5", 40),
    ("EF", 46),
    ("CS6", 48),
    ("CS7", 56),
];

/// A differentiated services code point: a number from 0 to 63, or a name such as EF, CS5 or AF41.
///
/// # Errors
/// It is none.
pub fn dscp(text: &str) -> Result<u8, String> {
    let name = text.to_ascii_uppercase();
    let number = || text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let named = DSCPS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    named.or_else(number).filter(|value| *value < 64).ok_or_else(|| {
        let shown = crate::targets::shorten(text);
        format!("`{shown}` is no DSCP; write a number from 0 to 63, or EF, CS0 to CS7 or AF11 to AF43")
    })
}

/// Settings of probes, before it is known which of them the kind has.
#[derive(Clone, Copy, Debug)]
pub struct ProbeSettings {
    /// What is asked.
    pub kind: Kind,
    /// Bytes of payload; None for as few as there can be.
    pub size: Option<u16>,
    /// Time to live (of IPv6: hop limit).
    pub ttl: u8,
    /// Differentiated services code point.
    pub dscp: u8,
    /// Whether nobody on the way may fragment a probe over IPv4.
    pub dont_fragment: bool,
    /// How many flows the probes walk.
    pub flows: u16,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        let Shape { kind, ttl, dscp, dont_fragment, .. } = Shape::default();
        Self { kind, size: None, ttl, dscp, dont_fragment, flows: 1 }
    }
}

impl ProbeSettings {
    /// Sizes that somebody may ask for, bytes.
    ///
    /// # Errors
    /// Probes of this kind are as long as they are, and why.
    pub fn sizes(&self) -> Result<RangeInclusive<u64>, String> {
        let kind = self.kind;
        match kind {
            Kind::Echo => Ok(SIZES),
            Kind::Tcp { .. } => Err(format!("a {kind} probe is a SYN, which carries no payload")),
            Kind::Udp { content: Content::Dns(_), .. } => {
                Err(format!("a {kind} probe is a DNS question, which is as long as it is"))
            }
            Kind::Udp { content: Content::Bytes(bytes), .. } => Ok((bytes.len() as u64).max(1)..=*SIZES.end()),
        }
    }

    /// Whether a number of flows may be asked for.
    ///
    /// # Errors
    /// Why not.
    pub fn check_flows(&self) -> Result<(), String> {
        if self.kind.has_proof() {
            return Ok(());
        }
        Err(format!(
            "{} probes with a payload of one's own walk flows by themselves: their number is told by the source port alone, so each \
             group has 16 to 256 of them, and takes one after the other",
            self.kind
        ))
    }

    /// A group that has them, and otherwise is as `group`; its timeout is the kind's unless it is said. What the kind doesn't have is
    /// left out: it was said for others.
    pub fn group(&self, timeout: Option<crate::base::Nanos>, group: Group) -> Group {
        let shortest = Shape::of(self.kind);
        let payload = match self.sizes() {
            Ok(_) => self.size.unwrap_or(0).max(shortest.payload),
            Err(_) => shortest.payload,
        };
        let (ttl, dscp, dont_fragment) = (self.ttl, self.dscp, self.dont_fragment);
        let shape = Shape { payload, ttl, dscp, dont_fragment, ..shortest };
        let flows = if self.check_flows().is_ok() { self.flows } else { 1 };
        Group { shape, flows, timeout: timeout.unwrap_or(default_timeout(self.kind)), ..group }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn code_points_have_numbers_and_names() {
        for (text, value) in [("0", 0), ("63", 63), ("EF", 46), ("ef", 46), ("cs6", 48), ("AF43", 38), ("af11", 10)] {
            assert_eq!(dscp(text), Ok(value), "{text}");
        }
        // AFxy is 8x + 2y, CSx is 8x.
        for (name, value) in DSCPS {
            let digits: Vec<u8> = name.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
            let expected = match digits[..] {
                [x, y] => 8 * x + 2 * y,
                [x] => 8 * x,
                _ => continue,
            };
            assert_eq!(value, expected, "{name}");
        }
        for text in ["", "64", "256", "-1", "+1", "0x2e", "AF14", "AF51", "CS8", "E F", "é"] {
            let error = dscp(text).unwrap_err();
            assert!(error.contains("write a number from 0 to 63, or EF"), "{text}: {error}");
        }
    }

    #[test]
    fn payloads_are_padded_and_never_cut() {
        let of = |kind: &str, size| {
            let settings = ProbeSettings { kind: kind.parse().unwrap(), size, ..ProbeSettings::default() };
            settings.group(None, Group::named("g")).shape.payload
        };
        let word = u16::try_from(Content::of_port(7).bytes().len()).unwrap();
        let question = u16::try_from(Content::of_port(53).bytes().len()).unwrap();
        for (kind, size, payload) in [
            ("icmp", None, 18),
            ("icmp", Some(5), 18),
            ("icmp", Some(56), 56),
            ("udp:7", None, word),
            ("udp:7", Some(1), word),
            ("udp:7", Some(1_472), 1_472),
            ("udp:53", Some(56), question),
            ("tcp:80", Some(56), 0),
        ] {
            assert_eq!(of(kind, size), payload, "{kind} {size:?}");
        }
    }
}
