//! The keyed proof in a probe: SipHash-1-3 over what the probe says.
//!
//! Both sides compute it: the sender when it writes a probe, `steer` before it takes a reply, the receiver before it
//! settles one. Every word that is hashed is what a little-endian load of the frame gives, so the kernel side swaps
//! nothing, and the message lengths are constants, so all of it inlines into straight code.
//!
//! SipHash reads a message as little-endian words of 8 bytes; the last word holds what remains and, in its highest
//! byte, the message's length (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, section 2). The length
//! also keeps the messages below apart, whatever else is hashed under the same key one day.

/// Bits of the cookie that travel.
pub const BITS: u32 = 48;

/// Those of them that a generation never touches, so that the kernel, which knows no generations, can check them.
pub const KERNEL_BITS: u32 = 32;

/// What binds an IPv4 probe to its contents. The message is 18 bytes:
/// `sent_ns u64 | destination [u8; 4] | target u32 | sequence u16`, numbers big-endian, as they lie in the frame.
#[inline(always)]
pub const fn ipv4(key: &[u64; 2], sent_ns: u64, destination: [u8; 4], target: u32, sequence: u16) -> u64 {
    let words = [
        u64::from_le_bytes(sent_ns.to_be_bytes()),
        u32::from_le_bytes(destination) as u64 | (u32::from_le_bytes(target.to_be_bytes()) as u64) << 32,
    ];
    siphash_1_3(key, words, u16::from_le_bytes(sequence.to_be_bytes()) as u64 | 18 << 56)
}

/// The same of an IPv6 probe. The message is 30 bytes: `sent_ns u64 | destination [u8; 16] | target u32 | sequence u16`.
#[inline(always)]
pub const fn ipv6(key: &[u64; 2], sent_ns: u64, destination: [u8; 16], target: u32, sequence: u16) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = destination;
    let destination = [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p])];
    ipv6_words(key, sent_ns, destination, target, sequence)
}

/// The same of an address in little-endian words.
#[inline(always)]
pub const fn ipv6_words(key: &[u64; 2], sent_ns: u64, destination: [u64; 2], target: u32, sequence: u16) -> u64 {
    let words = [u64::from_le_bytes(sent_ns.to_be_bytes()), destination[0], destination[1]];
    let tail = u32::from_le_bytes(target.to_be_bytes()) as u64
        | (u16::from_le_bytes(sequence.to_be_bytes()) as u64) << 32
        | 30 << 56;
    siphash_1_3(key, words, tail)
}

/// The key of [`flow_label`]: of the 4 bytes `flow`, which are no probe's message. Everybody on the way sees flow labels, and they are
/// so simple that their key follows from a few of them: it must say nothing of the key of the cookies.
#[inline(always)]
pub const fn flow_key(key: &[u64; 2]) -> u64 {
    siphash_1_3(key, [], u32::from_le_bytes(*b"flow") as u64 | 4 << 56)
}

/// The 20 bits of an IPv6 probe's flow label: the same in all probes to a target, so that they take one path (RFC 6437), and other ones
/// for its neighbours. Never 0, which means that there is none.
#[inline(always)]
pub const fn flow_label(flow_key: u64, target: u32) -> u32 {
    // The golden ratio's bits: a multiplication spreads numbers that follow one another over the product's high bits (Knuth, "The Art of
    // Computer Programming", volume 3, section 6.4).
    let label = ((flow_key ^ target as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44) as u32;
    label | (label == 0) as u32
}

/// The 6 bytes that travel: the low 48 bits of the hash, big-endian, the generation mixed into the lowest 16.
#[inline(always)]
pub const fn on_wire(hash: u64, generation: u16) -> [u8; 6] {
    let [_, _, a, b, c, d, e, f] = number_on_wire(hash, generation).to_be_bytes();
    [a, b, c, d, e, f]
}

/// The same as a number of 48 bits.
#[inline(always)]
pub const fn number_on_wire(hash: u64, generation: u16) -> u64 {
    (hash ^ generation as u64) & ((1 << BITS) - 1)
}

/// Whether the first 4 bytes of a cookie are right: all that can be said without the generation.
#[inline(always)]
pub const fn kernel_bits_match(hash: u64, first: [u8; 4]) -> bool {
    (hash >> (BITS - KERNEL_BITS)) as u32 == u32::from_be_bytes(first)
}

/// 16 keyed bits for the IPv4 identification of a probe, over the 6 bytes `destination [u8; 4] | sequence u16`,
/// the sequence number big-endian. The time to live is none of them: it falls on the way, and probes may differ in it. Routers may quote a probe without its payload: these bits then say whether it was ours.
#[inline(always)]
pub const fn identification(key: &[u64; 2], destination: [u8; 4], sequence: u16) -> u16 {
    let tail =
        u32::from_le_bytes(destination) as u64 | (u16::from_le_bytes(sequence.to_be_bytes()) as u64) << 32 | 6 << 56;
    (siphash_1_3(key, [], tail) & 0xffff) as u16
}

/// SipHash-1-3 of whole words and a last word, as the module says.
#[inline(always)]
const fn siphash_1_3<const WORDS: usize>(key: &[u64; 2], words: [u64; WORDS], tail: u64) -> u64 {
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
