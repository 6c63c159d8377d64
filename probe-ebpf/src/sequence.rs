//! The initial sequence number of a TCP probe: all the proof that an answer brings back, and which probe it was.
//!
//! The low 8 bits are those of the probe's number, masked by a keyed byte that is the same in all probes of a flow; the upper 24 are keyed
//! bits over addresses, ports and that masked byte. So a single hash checks them, and only who wants to know the number takes a second.
//!
//! UDP has no such number. A probe's keyed word of 16 bits is made in the same way, with 8 keyed bits instead of 24: the identifier of a DNS
//! question is that word, and so is the IPv4 identification of every UDP probe, which errors quote.
//!
//! A flow is told in words as a little-endian load of the SYN gives them: both addresses, ours first (8 bytes of an IPv4 header, 32 of an
//! IPv6 header), and both ports, ours first.

use crate::siphash::siphash_1_3;

/// That of the probe with a number whose low bits are these.
#[inline(always)]
pub const fn initial<const WORDS: usize>(key: &[u64; 2], addresses: [u64; WORDS], ports: u32, number: u8) -> u32 {
    let masked = number ^ mask(key, addresses, ports);
    proof(key, addresses, ports, masked) << 8 | masked as u32
}

/// Whether a sequence number is one of ours, as far as 24 bits can say.
#[inline(always)]
pub const fn is_ours<const WORDS: usize>(key: &[u64; 2], addresses: [u64; WORDS], ports: u32, sequence: u32) -> bool {
    proof(key, addresses, ports, sequence as u8) == sequence >> 8
}

/// The low bits of the number of the probe that had this sequence number.
#[inline(always)]
pub const fn number<const WORDS: usize>(key: &[u64; 2], addresses: [u64; WORDS], ports: u32, sequence: u32) -> u8 {
    sequence as u8 ^ mask(key, addresses, ports)
}

/// The keyed word of the UDP probe with a number whose low bits are these.
#[inline(always)]
pub const fn word<const WORDS: usize>(key: &[u64; 2], addresses: [u64; WORDS], ports: u32, number: u8) -> u16 {
    let masked = number ^ mask(key, addresses, ports);
    (proof(key, addresses, ports, masked) as u16) << 8 | masked as u16
}

/// Whether a word is one of ours, as far as 8 bits can say. [`number`] finds the probe's number in it as in a sequence number.
#[inline(always)]
pub const fn is_our_word<const WORDS: usize>(key: &[u64; 2], addresses: [u64; WORDS], ports: u32, word: u16) -> bool {
    proof(key, addresses, ports, word as u8) as u8 == (word >> 8) as u8
}

/// 24 bits.
#[inline(always)]
const fn proof<const WORDS: usize>(key: &[u64; 2], addresses: [u64; WORDS], ports: u32, masked: u8) -> u32 {
    let tail = ports as u64 | (masked as u64) << 32 | (WORDS as u64 * 8 + 5) << 56;
    siphash_1_3(key, addresses, tail) as u32 & 0x00ff_ffff
}

#[inline(always)]
const fn mask<const WORDS: usize>(key: &[u64; 2], addresses: [u64; WORDS], ports: u32) -> u8 {
    siphash_1_3(key, addresses, ports as u64 | (WORDS as u64 * 8 + 4) << 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u64; 2] = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

    #[test]
    fn a_sequence_number_says_its_number_and_proves_itself_in_its_flow_alone() {
        let flows = [([0x0100_400a_0200_630a], 0xbb01_49ee), ([0x0100_400a_0200_630a], 0xbb01_4aee)];
        for (addresses, ports) in flows {
            for number in 0..=255 {
                let sequence = initial(&KEY, addresses, ports, number);
                assert!(is_ours(&KEY, addresses, ports, sequence));
                assert_eq!(super::number(&KEY, addresses, ports, sequence), number);
                for bit in 0..32 {
                    assert!(!is_ours(&KEY, addresses, ports, sequence ^ 1 << bit), "{number}, bit {bit}");
                }
                assert!(!is_ours(&KEY, addresses, ports ^ 1, sequence));
                assert!(!is_ours(&[KEY[0] ^ 1, KEY[1]], addresses, ports, sequence));
                assert!(!is_ours(&KEY, [addresses[0] ^ 1 << 40], ports, sequence));
            }
        }
        let v6 = [1, 2, 3, 4];
        let sequence = initial(&KEY, v6, 5, 77);
        assert!(is_ours(&KEY, v6, 5, sequence) && !is_ours(&KEY, [1, 2, 3, 5], 5, sequence));
        assert_eq!(number(&KEY, v6, 5, sequence), 77);
    }

    #[test]
    fn a_word_says_its_number_and_proves_itself() {
        let (addresses, ports) = ([0x0100_400a_0200_630a], 0x3500_49ee);
        for number in 0..=255 {
            let word = word(&KEY, addresses, ports, number);
            assert!(is_our_word(&KEY, addresses, ports, word));
            assert_eq!(super::number(&KEY, addresses, ports, word.into()), number);
        }
        let ours = (0..=u16::MAX).filter(|guess| is_our_word(&KEY, addresses, ports, *guess)).count();
        assert_eq!(ours, 256, "one for each number");
    }

    /// Where nothing is known of the key, a guess is right once in 2^24: of 2^22 guesses none or one or a few.
    #[test]
    fn guesses_are_as_good_as_24_bits_allow() {
        let right = (0..1u32 << 22).filter(|guess| is_ours(&KEY, [7], 9, guess.wrapping_mul(0x9e37_79b1))).count();
        assert!(right <= 4, "{right} of 2^22");
    }
}
