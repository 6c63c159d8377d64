//! The VLAN tags between a frame's MAC addresses and its type (IEEE 802.1Q).

use probe_ebpf::wire::ethernet;
use std::fmt;

/// One tag, of priority 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// [`ethernet::VLAN`] (802.1Q) or [`ethernet::SERVICE_VLAN`] (802.1ad).
    pub protocol: u16,
    /// Number of the VLAN, 12 bits.
    pub id: u16,
}

/// Too many tags: neither templates nor the XDP programs look behind more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {} VLAN tags", ethernet::MAX_TAGS)]
pub struct TooManyTags;

/// The tags of a frame, the outer one first: none, one or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    all: [Tag; ethernet::MAX_TAGS],
    count: usize,
}

impl Tags {
    /// No tag.
    pub const NONE: Self = Self { all: [Tag { protocol: 0, id: 0 }; ethernet::MAX_TAGS], count: 0 };

    /// These, with another one around them.
    ///
    /// # Errors
    /// There are as many already as there can be.
    pub fn inside(self, outer: Tag) -> Result<Self, TooManyTags> {
        if self.count == ethernet::MAX_TAGS {
            return Err(TooManyTags);
        }
        let mut tags = Self { count: self.count + 1, ..self };
        tags.all.copy_within(..self.count, 1);
        tags.all[0] = outer;
        Ok(tags)
    }

    /// The outer one first.
    pub fn as_slice(&self) -> &[Tag] {
        &self.all[..self.count]
    }

    /// Bytes that they take.
    pub const fn length(&self) -> usize {
        self.count * ethernet::TAG
    }

    /// As they lie in a frame; zeros behind them.
    pub(super) fn bytes(&self) -> [u8; ethernet::MAX_TAGS * ethernet::TAG] {
        let mut bytes = [0; ethernet::MAX_TAGS * ethernet::TAG];
        let (places, _) = bytes.as_chunks_mut::<{ ethernet::TAG }>();
        for (place, tag) in places.iter_mut().zip(self.as_slice()) {
            let ([protocol, id], []) = place.as_chunks_mut::<2>() else { continue };
            (*protocol, *id) = (tag.protocol.to_be_bytes(), tag.id.to_be_bytes());
        }
        bytes
    }
}

/// `VLAN 100`, or of two `VLAN 7 in VLAN 100`; nothing where there is none.
impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, tag) in self.as_slice().iter().rev().enumerate() {
            write!(f, "{}VLAN {}", if place == 0 { "" } else { " in " }, tag.id)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that meets none fails")]
    use super::*;

    #[test]
    fn the_outer_tag_comes_first() {
        let inner = Tag { protocol: ethernet::VLAN, id: 7 };
        let outer = Tag { protocol: ethernet::SERVICE_VLAN, id: 100 };
        let tags = Tags::NONE.inside(inner).unwrap();
        assert_eq!(
            (tags.length(), tags.bytes(), tags.to_string().as_str()),
            (4, [0x81, 0, 0, 7, 0, 0, 0, 0], "VLAN 7")
        );
        let tags = tags.inside(outer).unwrap();
        assert_eq!(tags.as_slice(), [outer, inner]);
        assert_eq!((tags.length(), tags.bytes()), (8, [0x88, 0xa8, 0, 100, 0x81, 0, 0, 7]));
        assert_eq!(tags.to_string(), "VLAN 7 in VLAN 100");
        assert_eq!(tags.inside(outer), Err(TooManyTags));
        assert_eq!(Tags::NONE.to_string(), "");
    }
}
