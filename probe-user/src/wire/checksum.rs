//! The Internet checksum (RFC 1071).

/// A sum of 16-bit words, not folded yet. Sums of parts add up, as long as each part begins at an even offset.
///
/// 64 bits hold the sums of 2^32 words of 32 bits: no frame overflows it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Sum(u64);

impl Sum {
    /// Of bytes in network order; an odd last byte counts as if a zero followed.
    #[inline]
    pub(super) fn of(bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let sum: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        Self(sum + u64::from(u32::from_be_bytes(last)))
    }

    /// The sum itself.
    pub(super) fn raw(self) -> u64 {
        self.0
    }

    /// With another word.
    #[inline]
    pub(super) fn word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word))
    }

    /// With two other words.
    #[inline]
    pub(super) fn double_word(self, words: u32) -> Self {
        Self(self.0 + u64::from(words))
    }

    /// With another part.
    #[inline]
    pub(super) fn and(self, part: Self) -> Self {
        Self(self.0 + part.0)
    }

    /// What goes into the checksum field, which counted as zero. What has its checksum in it gives zero.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "three foldings leave 16 bits")]
    pub(super) fn checksum(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        !((sum & 0xffff) + (sum >> 16)) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071, section 4.1, word by word.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).expect("folded after every word")
    }

    proptest! {
        #[test]
        fn as_the_rfc_does_it(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..1600)) {
            prop_assert_eq!(Sum::of(&bytes).checksum(), slow(&bytes));
        }

        #[test]
        fn parts_add_up(a in any::<[u8; 8]>(), b in any::<u16>(), c in any::<u32>(), d in any::<[u8; 7]>()) {
            let whole = [&a[..], &b.to_be_bytes(), &c.to_be_bytes(), &d].concat();
            let sum = Sum::of(&a).word(b).double_word(c).and(Sum::of(&d));
            prop_assert_eq!(sum.checksum(), slow(&whole));
        }

        #[test]
        fn zero_over_what_carries_its_checksum(mut bytes in prop::collection::vec(any::<u8>(), 4..200)) {
            bytes[2..4].fill(0);
            let checksum = Sum::of(&bytes).checksum();
            bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
            // All zero bytes sum to the positive zero, whose complement is 0xffff; that sums to the negative one.
            prop_assert_eq!(Sum::of(&bytes).checksum(), 0);
        }
    }
}
