//! Who talks to whom in a probe to a port: what its keyed bits are made over.

use super::Key;
use probe_ebpf::sequence;
use std::net::{IpAddr, Ipv6Addr};

/// Addresses and ports as the probe says them, in the words of `probe_ebpf::sequence`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    V4([u64; 1], u32),
    V6([u64; 4], u32),
}

impl Flow {
    /// None: the addresses are of different families. Ports: ours, theirs.
    #[inline]
    pub(super) fn new(source: IpAddr, destination: IpAddr, (ours, theirs): (u16, u16)) -> Option<Self> {
        let ([a, b], [c, d]) = (ours.to_be_bytes(), theirs.to_be_bytes());
        let ports = u32::from_le_bytes([a, b, c, d]);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let low = u32::from_le_bytes(source.octets());
                let high = u32::from_le_bytes(destination.octets());
                Some(Self::V4([u64::from(low) | u64::from(high) << 32], ports))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ([a, b], [c, d]) = (words(source), words(destination));
                Some(Self::V6([a, b, c, d], ports))
            }
            _ => None,
        }
    }

    /// The sequence number of the SYN with a number whose low bits are these.
    #[inline]
    pub(super) fn initial(self, key: &Key, number: u8) -> u32 {
        match self {
            Self::V4(addresses, ports) => sequence::initial(&key.0, addresses, ports, number),
            Self::V6(addresses, ports) => sequence::initial(&key.0, addresses, ports, number),
        }
    }

    /// The keyed word of the UDP probe with a number whose low bits are these.
    #[inline]
    pub(super) fn word(self, key: &Key, number: u8) -> u16 {
        match self {
            Self::V4(addresses, ports) => sequence::word(&key.0, addresses, ports, number),
            Self::V6(addresses, ports) => sequence::word(&key.0, addresses, ports, number),
        }
    }

    /// The low bits of the number of the SYN that had this sequence number; None: it was none of ours.
    #[inline]
    pub(super) fn of_sequence(self, key: &Key, sequence: u32) -> Option<u8> {
        match self {
            Self::V4(addresses, ports) => sequence::is_ours(&key.0, addresses, ports, sequence)
                .then(|| sequence::number(&key.0, addresses, ports, sequence)),
            Self::V6(addresses, ports) => sequence::is_ours(&key.0, addresses, ports, sequence)
                .then(|| sequence::number(&key.0, addresses, ports, sequence)),
        }
    }

    /// The low bits of the number of the UDP probe that had this word; None: it was none of ours.
    #[inline]
    pub(super) fn of_word(self, key: &Key, word: u16) -> Option<u8> {
        match self {
            Self::V4(addresses, ports) => sequence::is_our_word(&key.0, addresses, ports, word)
                .then(|| sequence::number(&key.0, addresses, ports, word.into())),
            Self::V6(addresses, ports) => sequence::is_our_word(&key.0, addresses, ports, word)
                .then(|| sequence::number(&key.0, addresses, ports, word.into())),
        }
    }
}

/// An address as a little-endian load of a frame gives it.
fn words(address: Ipv6Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
    [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p])]
}
