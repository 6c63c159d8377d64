//! What a router says of a probe whose time to live ended with it, beside that.

use probe_ebpf::wire::extension;

/// What a router quoted, and how that was known to be ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// The time to live that the probe is quoted with: 1 or 0 where it expired, more where a router quotes it as it came or a tunnel hid the
    /// hops before.
    pub ttl: u8,
    /// What proved it.
    pub proof: QuoteProof,
    /// Its destination had been translated.
    pub is_translated: bool,
    /// The MPLS labels that it had, if the router says so.
    pub labels: MplsStack,
}

/// What of a quoted probe proves that it was one of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuoteProof {
    /// The payload's cookie: 48 bits.
    Cookie,
    /// The IPv4 identification: 16 bits.
    Identification,
    /// The sequence number of a SYN: 24 bits.
    Sequence,
    /// The identifier of a question, or the IPv4 identification of its datagram: 8 bits.
    Word,
    /// Only that a probe with this number and checksum was waited for.
    Checksum,
}

impl QuoteProof {
    /// As in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cookie => "cookie",
            Self::Identification => "identification",
            Self::Sequence => "sequence",
            Self::Word => "word",
            Self::Checksum => "checksum",
        }
    }
}

/// MPLS labels that a router saw on a probe, from the top of the stack: of however many the first four are kept.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct MplsStack {
    /// As on the wire.
    entries: [[u8; extension::LABEL]; Self::KEPT],
    count: u8,
}

/// An entry of a label stack (RFC 3032, section 2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MplsLabel {
    /// The label, 20 bits.
    pub label: u32,
    /// Traffic class, 3 bits, which RFC 4950 calls experimental.
    pub exp: u8,
    /// Time to live.
    pub ttl: u8,
}

impl MplsStack {
    /// Entries that are kept.
    pub const KEPT: usize = 4;
    /// No label.
    pub const EMPTY: Self = Self { entries: [[0; extension::LABEL]; Self::KEPT], count: 0 };

    /// How many entries the error had; up to 255 are counted.
    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// Whether the error said nothing of labels.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Those that were kept, from the top of the stack.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = MplsLabel> {
        let kept = self.count().min(Self::KEPT);
        self.entries.into_iter().take(kept).map(|entry| {
            let word = u32::from_be_bytes(entry);
            let [.., ttl] = entry;
            MplsLabel { label: word >> 12, exp: (word >> 9 & 7) as u8, ttl }
        })
    }

    /// Another entry, beneath those before.
    pub fn push(&mut self, entry: [u8; extension::LABEL]) {
        let count = self.count();
        if let Some(place) = self.entries.get_mut(count) {
            *place = entry;
        }
        self.count = self.count.saturating_add(1);
    }
}

impl std::fmt::Debug for MplsStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish_non_exhaustive()?;
        write!(f, " of {}", self.count)
    }
}
