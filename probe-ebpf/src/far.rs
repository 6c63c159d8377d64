//! The maps between the XDP programs of far ends and measurements, and userspace: those that the product does not have.
//!
//! | map | kind | entries | value |
//! |---|---|---|---|
//! | `IMPAIRED` | longest prefix | [`MAX_RANGES`] | u32 by IPv4 address: [`IN_USERSPACE`], [`NOT_RECORDED`], or 0 |
//! | `IMPAIRED_V6` | longest prefix | [`MAX_RANGES`] | the same by IPv6 address |
//! | `ANSWERED` | ring buffer | | [`AnsweredRequest`]: one that `impair` answered |
//! | `UNRECORDED` | per-CPU array | 1 | u64: requests that `impair` answered while `ANSWERED` was full |
//! | `ROUTERS` | array | 1 | [`RouterRules`](crate::routers::RouterRules): what `routers` goes by |
//! | `ASKED` | per-CPU array | [`POSITIONS`](crate::routers::POSITIONS) | u64: probes that expired at that position of their paths; first, those that reached their destinations |
//!
//! `TAKEN`, `XSKS`, `REFLECTED`, `TCP_PORTS`, `UDP_PORTS`, `SETTINGS`, `LIVE_TEMPLATES` and `LIVE_OUT` are as in [`layout`](crate::layout); of `LIVE_CURSORS` there
//! is one, whichever the CPU.

/// Address ranges of a family that `impair` can tell apart.
pub const MAX_RANGES: u32 = 1024;

/// In `IMPAIRED`: userspace answers for the range.
pub const IN_USERSPACE: u32 = 1;

/// In `IMPAIRED`: `impair` answers for the range and leaves no record of it. Any other value: it answers, and records.
pub const NOT_RECORDED: u32 = 2;

/// A request that `impair` answered: what its far end knows of it. Times are CLOCK_MONOTONIC, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct AnsweredRequest {
    /// When the program saw the request.
    pub arrival_ns: u64,
    /// When it was done with the reply.
    pub departure_ns: u64,
    /// The probe's send stamp, as it says; a SYN says no more of it than [`timestamp`], a UDP datagram nothing: then it is `arrival_ns`.
    pub sent_ns: u64,
    /// Whom it was sent to; IPv4 mapped into IPv6 ([`mapped`]).
    pub address: [u8; 16],
    /// Its sequence number; of a UDP datagram the identifier of its DNS question, else its IPv4 identification, else 0.
    pub sequence: u32,
    /// Its identifier; of a SYN or a UDP datagram the port that it was sent from.
    pub identifier: u16,
    /// Of a SYN or a UDP datagram the port that it was sent to; 0: it is an echo request.
    pub port: u16,
    /// 1: it is a UDP datagram.
    pub udp: u32,
    /// Zero. Spelled out so that the structure has no hidden bytes.
    pub padding: u32,
}

/// A unit of a SYN's timestamp is so many nanoseconds, as a power of two.
pub const TIMESTAMP_UNIT: u32 = 20;

/// The send stamp that a SYN's timestamp stands for, nanoseconds: it was sent less than a unit later, or any number of 52 days before or
/// after.
#[inline(always)]
pub const fn timestamp(timestamp: u32) -> u64 {
    (timestamp as u64) << TIMESTAMP_UNIT
}

/// Nanoseconds, as a power of two, for which an address that `by_turns` answers for answers, and then is silent.
pub const TURN: u32 = 33;

/// Which turn of an IPv4 address it is at this time, CLOCK_MONOTONIC, nanoseconds: in even ones it answers. Those of addresses that follow
/// one another begin at times that are spread evenly.
#[inline(always)]
pub const fn turn(address: u32, now_ns: u64) -> u64 {
    // 2^32 over the golden ratio.
    let spread = address.wrapping_mul(0x9e37_79b1) as u64;
    (now_ns + (spread << (TURN - 32))) >> TURN
}

/// An IPv4 address as an IPv6 address (RFC 4291, section 2.5.5.2).
#[inline(always)]
pub const fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

impl AnsweredRequest {
    /// Whether it was a UDP datagram.
    pub const fn is_udp(&self) -> bool {
        self.udp != 0
    }

    /// From memory as the program wrote it; None if that is not as long.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let ([arrival, departure, sent, high, low, probe, last], []) = (words, rest) else { return None };
        let [a, b, c, d, e, f, g, h] = *probe;
        let mut address = [0; 16];
        address[..8].copy_from_slice(high);
        address[8..].copy_from_slice(low);
        Some(Self {
            arrival_ns: u64::from_ne_bytes(*arrival),
            departure_ns: u64::from_ne_bytes(*departure),
            sent_ns: u64::from_ne_bytes(*sent),
            address,
            sequence: u32::from_ne_bytes([a, b, c, d]),
            identifier: u16::from_ne_bytes([e, f]),
            port: u16::from_ne_bytes([g, h]),
            udp: u32::from_ne_bytes([last[0], last[1], last[2], last[3]]),
            padding: 0,
        })
    }
}
