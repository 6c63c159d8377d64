//! The keyed proof in a probe: SipHash-1-3 over what the probe says.
//!
//! Both sides compute it: the sender when it writes a probe, `steer` before it takes a reply, the receiver before it
//! settles one.

use crate::siphash::siphash_1_3;

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

/// The 20 bits of an IPv6 probe's flow label: the same in all probes of a flow to a target, so that they take one path (RFC 6437), other
/// ones in its other flows, and for its neighbours. Never 0, which means that there is none.
#[inline(always)]
pub const fn flow_label(flow_key: u64, target: u32, flow: u16) -> u32 {
    label_of_flow(flow) ^ label_of_target(flow_key, target)
}

/// What the labels of a flow have in common, and templates lay: its highest bit is set, and stays so.
#[inline(always)]
pub const fn label_of_flow(flow: u16) -> u32 {
    1 << 19 | flow as u32
}

/// By which bits a target's labels differ from that: 19.
#[inline(always)]
pub const fn label_of_target(flow_key: u64, target: u32) -> u32 {
    // The golden ratio's bits: a multiplication spreads numbers that follow one another over the product's high bits (Knuth, "The Art of
    // Computer Programming", volume 3, section 6.4).
    ((flow_key ^ target as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 45) as u32
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
