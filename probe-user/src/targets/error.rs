//! What can be wrong with targets, in words for people.

use super::{memory::Bytes, spec::SpecError};
use std::io;

/// Why targets were refused. `Display` is complete: place, what was found, why it is refused, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that is no target.
    #[error("{place}: {error}")]
    Spec {
        /// "argument 2", "targets.txt:17".
        place: String,
        /// The text and the reason.
        error: SpecError,
    },
    /// A file that says something else than targets and labels.
    #[error("{place}: {reason}")]
    Content {
        /// File, line and, where known, column.
        place: String,
        /// What was found and what to write.
        reason: String,
    },
    /// A file that cannot be read.
    #[error("{file}: cannot be read: {error}")]
    Read {
        /// Its path, or "stdin".
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// An address of a family that the group does not have.
    #[error(
        "group `{group}`: {part} is IPv{}, and the group probes the other family alone: leave it out, or allow both (`family: any`; no -4 \
         or -6)", family.name()
    )]
    Family {
        /// The group.
        group: String,
        /// The address, CIDR or range.
        part: String,
        /// Its family.
        family: crate::base::Family,
    },
    /// A payload that leaves no room for the headers of the family.
    #[error(
        "group `{group}`: {part} is IPv6, whose probes carry {most} bytes of payload at most, and {payload} are asked for: lower the size"
    )]
    Payload {
        /// The group.
        group: String,
        /// The address, CIDR or range.
        part: String,
        /// Bytes that were asked for.
        payload: u16,
        /// The most that fits.
        most: u16,
    },
    /// Addresses that nobody is behind.
    #[error(
        "group `{group}`: {part} {} {block}, {what}: {}, or give --allow-reserved to probe it all the same",
        if *is_whole { "is in" } else { "has addresses of" },
        if *is_whole { "leave it out" } else { "leave that out, exclude it" }
    )]
    Reserved {
        /// The group.
        group: String,
        /// The address, CIDR or range.
        part: String,
        /// The block of [`super::RESERVED`].
        block: String,
        /// What that is.
        what: &'static str,
        /// Whether all of the part is in the block.
        is_whole: bool,
    },
    /// More probes a second into a block of addresses than are allowed.
    #[error(
        "{block} would get {probes} probes within a second, and limits.per_prefix allows {limit} for a /{length}; most are of group \
         `{group}`: lengthen its interval, drop targets or raise the limit"
    )]
    PerPrefix {
        /// The block with the most over its limit, as a CIDR.
        block: String,
        /// The length of its prefix.
        length: u8,
        /// The most that it would get in any second.
        probes: u64,
        /// The most that it may get.
        limit: u64,
        /// The group that has most of them.
        group: String,
    },
    /// More targets than this machine has memory for.
    #[error(
        "group `{group}`: {targets} targets in all need about {}, and {} is available; the largest part is {part} ({part_targets} \
         targets): name fewer targets, exclude some, or split them over several hosts", Bytes(*needed), Bytes(*available)
    )]
    Memory {
        /// The group with the largest part.
        group: String,
        /// The largest address, CIDR or range, as [`super::AddressRange`] shows it.
        part: String,
        /// How many addresses it has, less the excluded ones.
        part_targets: u64,
        /// Targets of all groups.
        targets: u64,
        /// Bytes.
        needed: u64,
        /// Bytes.
        available: u64,
    },
    /// More targets than an index can tell apart.
    #[error(
        "group `{group}`: {targets} targets in all are more than the {} that can be told apart in a probe; the largest \
         part is {part}: name fewer targets, or split them over several hosts",
        super::MAX_TARGETS
    )]
    TooMany {
        /// The group with the largest part.
        group: String,
        /// The largest address, CIDR or range.
        part: String,
        /// Targets of all groups.
        targets: u64,
    },
    /// Nothing to probe.
    #[error("there is no target to probe: {reason}")]
    Empty {
        /// None were named, all are excluded, or the shard has none.
        reason: &'static str,
    },
}
