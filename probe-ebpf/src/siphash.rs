//! SipHash-1-3, from which every keyed bit in a probe comes.
//!
//! Every word that is hashed is what a little-endian load of the frame gives, so the kernel side swaps nothing, and the message lengths
//! are constants, so all of it inlines into straight code.
//!
//! SipHash reads a message as little-endian words of 8 bytes; the last word holds what remains and, in its highest byte, the message's
//! length (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, section 2). The length also keeps messages of different kinds
//! apart that are hashed under the same key: 4 bytes for the key of flow labels, 6 for identifications, 18 and 30 for cookies
//! ([`crate::cookie`]); 12, 13, 36 and 37 for initial sequence numbers ([`crate::sequence`]).

/// Of whole words and a last word, as the module says.
#[inline(always)]
pub(crate) const fn siphash_1_3<const WORDS: usize>(key: &[u64; 2], words: [u64; WORDS], tail: u64) -> u64 {
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut i = 0;
    while i < WORDS {
        state = absorb(state, words[i]);
        i += 1;
    }
    let [a, b, c, d] = absorb(state, tail);
    let [a, b, c, d] = round(round(round([a, b, c ^ 0xff, d])));
    a ^ b ^ c ^ d
}

#[inline(always)]
const fn absorb([a, b, c, d]: [u64; 4], word: u64) -> [u64; 4] {
    let [a, b, c, d] = round([a, b, c, d ^ word]);
    [a ^ word, b, c, d]
}

#[inline(always)]
const fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}
