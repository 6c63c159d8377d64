//! The paths that the far end `routers` plays: which routers a probe to an address passes, what they are like, and what becomes of the
//! probe. The XDP program goes by it, and so do tests that know what has to be found.
//!
//! All paths form a tree: position *t* of a path (1 is the first router) follows from *t* and from the first 4 + *t* bits of the
//! destination behind those that all destinations share. So the first routers are on all paths, later ones on ever fewer. Everything else
//! follows from a seed by hashes.

/// The rules, a value of the map `ROUTERS`. Shares are in 65,536ths, each of its own hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RouterRules {
    /// Everything that is hashed is hashed with it.
    pub seed: u64,
    /// The distance of the nearest destinations: a probe with this time to live reaches them. At least 1.
    pub nearest: u32,
    /// The distance of the furthest, at most [`MAX_DISTANCE`]. All in an IPv4 /24 or an IPv6 /64 have the same.
    pub furthest: u32,
    /// So many leading bits all IPv4 destinations share, at most 28.
    pub common: u32,
    /// The same of IPv6 destinations, at most 124.
    pub common_v6: u32,
    /// 0: routers quote an IPv4 header and 8 bytes; else they quote as much as fits, as over IPv6 they always do.
    pub quotes_all: u32,
    /// The share of routers that never answer.
    pub silent: u32,
    /// The share of probes that are lost, or their answers are.
    pub lost: u32,
    /// The share of routers that a probe reaches with one to three MPLS labels, and that say so (RFC 4950).
    pub labelled: u32,
}

/// Bytes of [`RouterRules`].
pub const RULES_SIZE: usize = size_of::<RouterRules>();

/// The furthest that a destination can be.
pub const MAX_DISTANCE: u32 = 30;

/// Entries of the map `ASKED`: by position how many probes expired there, whether or not they were answered; in the first, how many reached
/// their destination.
pub const POSITIONS: u32 = 32;

/// Most labels of a router's.
pub const MAX_LABELS: u32 = 3;

/// Bits of a destination that tell routers apart, at most: the others of the low 24 bits of an address say that it is a host's.
const MAX_BITS: u32 = 23;

/// The first byte of the addresses at position 0, at which there is no router: from the next on, each position has its own, and with
/// them the routers' addresses end at 160.255.255.255.
const FIRST_BYTE: u32 = 130;

/// What is hashed for; one for each use.
const DISTANCE: u64 = 1;
const DISTANCE_V6: u64 = 2;
const SILENT: u64 = 3;
const LOST: u64 = 4;
const LABELLED: u64 = 5;
const LABEL: u64 = 6;
const INITIAL: u64 = 7;
const QUOTED: u64 = 8;

impl RouterRules {
    /// Paths of 8 to 24 hops, everybody answers, and quotes all.
    pub const fn new(seed: u64) -> Self {
        Self { seed, nearest: 8, furthest: 24, common: 0, common_v6: 0, quotes_all: 1, silent: 0, lost: 0, labelled: 0 }
    }

    /// As it lies in memory, for a map whose value is bytes.
    pub fn to_bytes(&self) -> [u8; RULES_SIZE] {
        let mut bytes = [0; RULES_SIZE];
        bytes[..8].copy_from_slice(&self.seed.to_ne_bytes());
        let numbers = [
            self.nearest,
            self.furthest,
            self.common,
            self.common_v6,
            self.quotes_all,
            self.silent,
            self.lost,
            self.labelled,
        ];
        for (to, number) in bytes[8..].chunks_exact_mut(4).zip(numbers) {
            to.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    /// How a destination is reached.
    #[inline(always)]
    pub const fn path_v4(&self, destination: [u8; 4]) -> Path {
        let address = u32::from_be_bytes(destination);
        let network = self.hash(DISTANCE, (address >> 8) as u64);
        Path { distance: self.distance(network), initial: network, bits: address << (self.common & 31) }
    }

    /// The same over IPv6.
    #[inline(always)]
    pub const fn path_v6(&self, destination: [u8; 16]) -> Path {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = destination;
        let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let low = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
        let network = self.hash(DISTANCE_V6, high);
        let shift = self.common_v6 & 63;
        let bits = if self.common_v6 < 64 { high << shift | (low >> 1) >> (63 - shift) } else { low << shift };
        Path { distance: self.distance(network), initial: network, bits: (bits >> 32) as u32 }
    }

    #[inline(always)]
    const fn distance(&self, network: u64) -> u32 {
        let spread = (self.furthest + 1).saturating_sub(self.nearest) as u64;
        let distance = self.nearest + (((network & 0xffff_ffff) * spread) >> 32) as u32;
        if distance > MAX_DISTANCE { MAX_DISTANCE } else { distance }
    }

    /// Whether a router never answers.
    #[inline(always)]
    pub const fn is_silent(&self, router: Router) -> bool {
        self.falls(SILENT, router.0 as u64, self.silent)
    }

    /// How many labels a probe has that reaches a router.
    #[inline(always)]
    pub const fn labels(&self, router: Router) -> u32 {
        if self.falls(LABELLED, router.0 as u64, self.labelled) {
            1 + (((self.hash(LABEL, router.0 as u64) & 0xffff_ffff) * MAX_LABELS as u64) >> 32) as u32
        } else {
            0
        }
    }

    /// The entry of a probe's label stack at this place, of so many: its time to live is 1, the last says that it is.
    #[inline(always)]
    pub const fn label(&self, router: Router, place: u32, of: u32) -> u32 {
        let hash = self.hash(LABEL, (place as u64 + 1) << 32 | router.0 as u64) as u32;
        (hash & 0xffff_fe00) | (((place + 1 == of) as u32) << 8) | 1
    }

    /// The time to live that a router quotes: mostly 1; some have subtracted one already.
    #[inline(always)]
    pub const fn quoted_ttl(&self, router: Router) -> u8 {
        if self.hash(QUOTED, router.0 as u64).is_multiple_of(8) { 0 } else { 1 }
    }

    /// The time to live with which a router's error arrives: 64 or 255 less the routers on its way.
    #[inline(always)]
    pub const fn ttl_of(&self, router: Router, position: u32) -> u8 {
        arriving(self.hash(INITIAL, router.0 as u64), position)
    }

    /// Whether a probe, or the answer to it, is lost. `at`: the router's address, or of the destination the path's [`Path::bits`]; `word`:
    /// what tells probes apart, [`word`].
    #[inline(always)]
    pub const fn is_lost(&self, at: u32, position: u32, word: u32) -> bool {
        self.falls(LOST, self.hash(LOST, (position as u64) << 32 | at as u64) ^ word as u64, self.lost)
    }

    #[inline(always)]
    const fn falls(&self, what: u64, of: u64, share: u32) -> bool {
        ((self.hash(what, of) >> 16) as u32 & 0xffff) < share
    }

    /// The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), twice.
    #[inline(always)]
    const fn hash(&self, what: u64, of: u64) -> u64 {
        mix(mix(self.seed.wrapping_add(what)) ^ of)
    }
}

/// How a destination is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// A probe with this time to live reaches it.
    pub distance: u32,
    /// The bits of the destination by which routers are told apart, from the highest on.
    pub bits: u32,
    initial: u64,
}

impl Path {
    /// Who is at this position, from 1 to the distance less 1.
    #[inline(always)]
    pub const fn router(&self, position: u32) -> Router {
        let bits = if position + 4 < MAX_BITS { position + 4 } else { MAX_BITS };
        // No shift is further than a word is long, whatever the position.
        let prefix = self.bits >> ((32 - bits) & 31) << ((24 - bits) & 31);
        Router((FIRST_BYTE + position) << 24 | prefix | 1)
    }

    /// The time to live with which the destination's own answer arrives: 64 or 255 less the routers on its way.
    #[inline(always)]
    pub const fn ttl(&self) -> u8 {
        arriving(self.initial, self.distance)
    }
}

/// A router: its IPv4 address as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router(pub u32);

impl Router {
    /// Its address.
    #[inline(always)]
    pub const fn v4(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// Its address over IPv6: 2001:db8:ffff::, and the other one.
    #[inline(always)]
    pub const fn v6(self) -> [u8; 16] {
        let [a, b, c, d] = self.0.to_be_bytes();
        [0x20, 1, 0xd, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, a, b, c, d]
    }
}

/// What tells probes apart: the second word behind the IP header (of an echo request identifier and sequence number, of a SYN its sequence
/// number), and over IPv4 the identification.
#[inline(always)]
pub const fn word(second: [u8; 4], identification: u16) -> u32 {
    u32::from_be_bytes(second) ^ (identification as u32) << 16
}

#[inline(always)]
const fn arriving(hash: u64, position: u32) -> u8 {
    let initial: u32 = if hash >> 63 == 0 { 64 } else { 255 };
    (initial + 1).wrapping_sub(position) as u8
}

#[inline(always)]
const fn mix(word: u64) -> u64 {
    let z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: RouterRules = RouterRules { common: 12, ..RouterRules::new(7) };

    /// The addresses of 10.64.0.0/12, so many of them, far apart.
    fn addresses(count: u32) -> impl Iterator<Item = [u8; 4]> {
        (0..count).map(|n| (0x0a40_0000 | n.wrapping_mul(0x9e37_79b1) >> 12).to_be_bytes())
    }

    #[test]
    fn paths_are_a_tree() {
        for (a, b) in addresses(300).flat_map(|a| addresses(300).map(move |b| (a, b))) {
            let (one, other) = (RULES.path_v4(a), RULES.path_v4(b));
            let alike = (one.bits ^ other.bits).leading_zeros();
            for position in 1..one.distance.min(other.distance) {
                let is_shared = one.router(position) == other.router(position);
                assert_eq!(is_shared, alike >= (position + 4).min(23), "{a:?} {b:?} at {position}");
                assert_ne!(one.router(position), other.router(position + 1), "no router is at two positions");
            }
        }
    }

    #[test]
    fn distances_are_within_bounds_and_those_of_a_network_are_one() {
        let mut seen = [0u32; MAX_DISTANCE as usize + 1];
        for [a, b, c, _] in addresses(10_000) {
            let distance = RULES.path_v4([a, b, c, 0]).distance;
            assert!((8..=24).contains(&distance));
            assert_eq!(distance, RULES.path_v4([a, b, c, 255]).distance);
            seen[distance as usize] += 1;
        }
        assert!(seen[8..=24].iter().all(|count| *count > 300), "evenly: {seen:?}");
        let same = RouterRules { nearest: 5, furthest: 5, ..RULES };
        assert!(addresses(100).all(|address| same.path_v4(address).distance == 5));
    }

    #[test]
    fn ipv6_destinations_are_told_apart_behind_what_they_share() {
        for common in [0, 1, 32, 63, 64, 65, 96, 124] {
            let rules = RouterRules { common_v6: common, ..RULES };
            let bits = |address: u128| rules.path_v6(address.to_be_bytes()).bits;
            let base: u128 = 0x2001_0db8_1234_5678_9abc_def0_1357_9bdf;
            assert_eq!(bits(base), ((base << common) >> 96) as u32, "{common}");
            assert_ne!(bits(base), bits(base ^ 1 << (127 - common)), "{common}");
        }
    }

    #[test]
    fn shares_are_kept() {
        let rules = RouterRules { silent: 0x4000, lost: 0x2000, labelled: 0x8000, ..RULES };
        let routers = || addresses(20_000).map(|address| rules.path_v4(address).router(19));
        let count = |chosen: &dyn Fn(Router) -> bool| routers().filter(|router| chosen(*router)).count();
        assert!((4_500..5_500).contains(&count(&|router| rules.is_silent(router))));
        assert!((9_500..10_500).contains(&count(&|router| rules.labels(router) > 0)));
        assert!((2_200..2_800).contains(&count(&|router| rules.is_lost(router.0, 19, 77))));
        for labels in 1..=MAX_LABELS {
            assert!(count(&|router| rules.labels(router) == labels) > 2_800, "{labels}");
        }
        let none = RouterRules { silent: 0, lost: 0, labelled: 0, ..rules };
        let is_quiet = |router| none.is_silent(router) || none.is_lost(router.0, 1, 1) || none.labels(router) > 0;
        assert_eq!(routers().filter(|router| is_quiet(*router)).count(), 0);
        let all = RouterRules { silent: 0x1_0000, ..rules };
        assert!(routers().all(|router| all.is_silent(router)));
    }

    #[test]
    fn a_reply_has_lost_one_for_each_router_on_its_way() {
        let mut seen = [0; 256];
        for address in addresses(1_000) {
            let path = RULES.path_v4(address);
            let ttl = path.ttl();
            assert!([64, 255].map(|initial| initial + 1 - path.distance).contains(&ttl.into()));
            let first = RULES.ttl_of(path.router(1), 1);
            seen[usize::from(first)] += 1;
        }
        assert_eq!(seen.iter().sum::<i32>(), seen[64] + seen[255], "nobody is on the way of the first router");
    }
}
