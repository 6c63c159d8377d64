//! What routers append to an ICMP error behind the datagram that they quote: extensions (RFC 4884), and among them the MPLS labels that a
//! probe had where it expired (RFC 4950).
//!
//! An extension structure is a header of 4 bytes (version, checksum) and objects, each with a header of its own (length, class, C-type).
//! Where the quote ends and the structure begins an error says itself, in words of 4 bytes (of ICMPv6: 8). Routers older than RFC 4884 say
//! nothing of it and quote 128 bytes, filled with zeros (its section 5): their structure is believed only with its checksum right, because
//! what lies there is else the quote itself.

use super::{checksum::Sum, fields::number, ip::Header};
use crate::base::MplsStack;
use probe_ebpf::wire::{extension, icmp};

/// An ICMP error in its parts.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    /// The datagram that it quotes, as far as it goes; it may be filled with zeros.
    pub(super) quote: &'a [u8],
    /// The objects of its extension structure, if it has one that is to be believed.
    objects: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Of an error behind this header. Nothing of it has been checked; one with no extensions costs two comparisons.
    #[inline]
    pub(super) fn of(ip: Header<'_>, error: &'a [u8]) -> Self {
        let quote = error.get(icmp::HEADER..).unwrap_or_default();
        let whole = Self { quote, objects: &[] };
        if quote.len() < extension::SHORTEST_QUOTE + extension::HEADER {
            return whole;
        }
        let (at, unit) = match ip {
            Header::V4(_) => (extension::LENGTH, extension::UNIT),
            Header::V6(_) => (extension::LENGTH_V6, extension::UNIT_V6),
        };
        let told = usize::from(error[at]) * unit;
        // A pointer or an MTU may stand there in errors that RFC 4884 gives no length: what follows is held to the same.
        let end = if told < extension::SHORTEST_QUOTE { extension::SHORTEST_QUOTE } else { told };
        let Some((quote, structure)) = quote.split_at_checked(end) else { return whole };
        match objects(structure, told == end) {
            Some(objects) => Self { quote, objects },
            None => whole,
        }
    }

    /// The labels that the probe had, of all objects that say any. An object that contradicts itself ends them.
    pub(super) fn mpls(&self) -> MplsStack {
        let mut stack = MplsStack::default();
        let mut rest = self.objects;
        while let Ok(length) = number(rest, extension::OBJECT_LENGTH)
            && let Some((object, behind)) = rest.split_at_checked(usize::from(length))
            && let Some((head, content)) = object.split_first_chunk::<{ extension::OBJECT }>()
        {
            if head[extension::OBJECT_CLASS] == extension::MPLS && head[extension::OBJECT_TYPE] == extension::MPLS_STACK
            {
                content.as_chunks().0.iter().for_each(|entry| stack.push(*entry));
            }
            rest = behind;
        }
        stack
    }
}

/// What follows the header of an extension structure; None: there is none. `told`: the error has said that it begins here.
fn objects(structure: &[u8], told: bool) -> Option<&[u8]> {
    let (head, objects) = structure.split_first_chunk::<{ extension::HEADER }>()?;
    let is_unchecked = number(head, extension::CHECKSUM).ok()? == 0;
    let is_intact = if is_unchecked { told } else { Sum::of(structure).checksum() == 0 };
    (head[0] >> 4 == extension::VERSION && is_intact).then_some(objects)
}
