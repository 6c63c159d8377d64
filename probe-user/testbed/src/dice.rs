//! Chances that follow from a seed and from what they are about, and from nothing else: the same on every machine, in
//! every order, in the simulated network and at a real far end.

/// A stream of chances: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The stream of these words.
    pub(crate) fn of(words: &[u64]) -> Self {
        let mut dice = Self(0);
        for word in words {
            dice.0 = dice.next() ^ word;
        }
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True with this chance: never at 0, always at 1.
    pub(crate) fn falls(&mut self, share: f64) -> bool {
        // 53 bits: what an f64 holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fallen = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        fallen < share
    }

    /// Evenly from 0 to `most`, both included.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        // The high half of the product: even to one part in 2^64 / most.
        let product = u128::from(self.next()) * (u128::from(most) + 1);
        (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_what_they_say() {
        let mut dice = Dice::of(&[1, 2, 3]);
        let fallen = (0..100_000).filter(|_| dice.falls(0.05)).count();
        assert!((4_700..=5_300).contains(&fallen), "{fallen}");
        assert!((0..1_000).all(|_| !dice.falls(0.0) && dice.falls(1.0)));
        assert!((0..1_000).all(|_| dice.up_to(3) <= 3));
        assert!((0..4).all(|n| (0..1_000).any(|_| dice.up_to(3) == n)));
    }

    #[test]
    fn the_same_words_give_the_same_chances_and_others_others() {
        assert_eq!(Dice::of(&[7, 1]).next(), Dice::of(&[7, 1]).next());
        assert_ne!(Dice::of(&[7, 1]).next(), Dice::of(&[1, 7]).next());
    }
}
