//! What tests of probes to ports share: what lies around an answer or an error, and the probe that it is about.

use super::{
    frames::{self, Segment},
    frames_v6,
};
use crate::{IDENTIFIER, KEY};
use echolot::{
    base::{Family, Generation, Nanos, Sequence, TargetIndex},
    wire::{Heard, Key, Origin, PortReport, ProbeFields, Shape, Template, read_frame},
};
use std::net::IpAddr;

pub(super) const FIRST_PORT: u16 = 61_000;
/// Number of the probe that is answered.
pub(super) const NUMBER: u16 = 0x1234;

/// What lies around an answer or an error, from them to us.
#[derive(Clone, Debug)]
pub(super) enum Around {
    V4(frames::Around),
    V6(frames_v6::Around),
}

impl Around {
    pub(super) fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4(frames::Around::default()),
            Family::V6 => Self::V6(frames_v6::Around::default()),
        }
    }

    pub(super) fn both() -> [Self; 2] {
        [Family::V4, Family::V6].map(Self::of)
    }

    /// Tags, options and extension headers in all numbers that there are.
    pub(super) fn all() -> Vec<Self> {
        let v4 =
            |tags| (0..=10).map(move |options| Self::V4(frames::Around { tags, options, ..frames::Around::default() }));
        let v6 = |tags| {
            let all = frames_v6::walkable().into_iter();
            all.map(move |extensions| Self::V6(frames_v6::Around { tags, extensions, ..frames_v6::Around::default() }))
        };
        (0..=2).flat_map(|tags| v4(tags).chain(v6(tags))).collect()
    }

    /// Few of them.
    pub(super) fn some() -> Vec<Self> {
        let few = |around: &Self| match around {
            Self::V4(around) => matches!(around.options, 0 | 1 | 10),
            Self::V6(around) => frames_v6::length(&around.extensions) < 100,
        };
        Self::all().into_iter().filter(few).collect()
    }

    pub(super) fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// From somebody else.
    pub(super) fn by_router(&self) -> Self {
        match self.clone() {
            Self::V4(around) => Self::V4(frames::Around { source: [203, 0, 113, 1], ..around }),
            Self::V6(around) => Self::V6(frames_v6::Around { source: [0xfe; 16], ..around }),
        }
    }

    /// Where the IP header begins.
    pub(super) fn ip(&self) -> usize {
        match self {
            Self::V4(around) => around.ip(),
            Self::V6(around) => around.ip(),
        }
    }

    /// Where the segment or message begins.
    pub(super) fn body(&self) -> usize {
        match self {
            Self::V4(around) => around.icmp(),
            Self::V6(around) => around.icmp(),
        }
    }

    /// Where source and destination address begin, and their size.
    pub(super) fn addresses(&self) -> ([usize; 2], usize) {
        match self {
            Self::V4(around) => ([12, 16].map(|at| around.ip() + at), 4),
            Self::V6(around) => ([8, 24].map(|at| around.ip() + at), 16),
        }
    }

    pub(super) fn segment(&self, segment: &Segment) -> Vec<u8> {
        match self {
            Self::V4(around) => around.segment(segment),
            Self::V6(around) => around.segment(segment),
        }
    }

    /// A UDP datagram from the first of these ports to the second.
    pub(super) fn datagram(&self, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(around) => around.datagram(ports, payload),
            Self::V6(around) => around.datagram(ports, payload),
        }
    }

    /// An error about what is quoted.
    pub(super) fn error(&self, quote: &[u8]) -> Vec<u8> {
        match self {
            Self::V4(around) => around.error(3, 1, quote),
            Self::V6(around) => around.message(1, 3, quote),
        }
    }

    /// Makes the IP header say that so many bytes are behind it and what belongs to it.
    pub(super) fn say_length(&self, frame: &mut [u8], behind: usize) {
        let (at, before) = match self {
            Self::V4(around) => (around.ip() + 2, around.icmp() - around.ip()),
            Self::V6(around) => (around.ip() + 4, around.icmp() - around.ip() - 40),
        };
        frame[at..at + 2].copy_from_slice(&u16::try_from(before + behind).unwrap().to_be_bytes());
    }
}

pub(super) fn ours(family: Family) -> IpAddr {
    match family {
        Family::V4 => frames::OURS.into(),
        Family::V6 => frames_v6::OURS.into(),
    }
}

pub(super) fn theirs(family: Family) -> IpAddr {
    match family {
        Family::V4 => frames::THEIRS.into(),
        Family::V6 => frames_v6::THEIRS.into(),
    }
}

pub(super) fn template(shape: Shape) -> Template {
    let origin = Origin {
        mac: [2, 0, 0, 0, 0, 1],
        source: ours(shape.family),
        identifier: IDENTIFIER,
        first_port: FIRST_PORT,
        flow_key: Key(KEY).flow_key(),
    };
    Template::new(shape, origin).unwrap()
}

/// Our probe of that shape as it is quoted, IP header first.
pub(super) fn quoted(shape: Shape) -> Vec<u8> {
    let template = template(shape);
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    template.write(&mut frame, &fields(shape.family), &Key(KEY));
    frame.truncate(14 + shape.datagram() as usize);
    frame.split_off(14)
}

pub(super) fn fields(family: Family) -> ProbeFields {
    ProbeFields {
        destination: theirs(family),
        target: TargetIndex(7),
        generation: Generation(1),
        sequence: Sequence(NUMBER),
        sent: Nanos::from_secs(1000),
        next_hop_mac: [2, 0, 0, 0, 0, 2],
    }
}

/// A quoted datagram with so many words of 4 bytes of IPv4 options.
pub(super) fn with_options(quote: &[u8], words: usize) -> Vec<u8> {
    let mut quote = quote.to_vec();
    quote[0] += u8::try_from(words).unwrap();
    quote.splice(20..20, vec![1; 4 * words]);
    quote
}

/// A quoted datagram in all that can lie around what it carries: of IPv4 options, of IPv6 extension headers.
pub(super) fn in_all_headers(family: Family, quote: &[u8]) -> Vec<Vec<u8>> {
    let extended = |extensions: Vec<frames_v6::Extension>| {
        let mut quote = quote.to_vec();
        frames_v6::extend(&mut quote, 0, &extensions);
        quote
    };
    match family {
        Family::V4 => (0..=10).map(|words| with_options(quote, words)).collect(),
        Family::V6 => frames_v6::walkable().into_iter().map(extended).collect(),
    }
}

pub(super) fn heard(frame: &[u8]) -> PortReport {
    match read_frame(frame) {
        Ok(Heard::Port(segment)) => segment,
        other => panic!("{other:?}"),
    }
}
