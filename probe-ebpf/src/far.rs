//! The maps between the XDP programs of far ends and measurements, and userspace: those that the product does not have.
//!
//! | map | kind | entries | value |
//! |---|---|---|---|
//! | `IMPAIRED` | longest prefix | [`MAX_RANGES`] | u32 by address: [`IN_USERSPACE`], [`NOT_RECORDED`], or 0 |
//! | `ANSWERED` | ring buffer | | [`AnsweredRequest`]: one that `impair` answered |
//! | `UNRECORDED` | per-CPU array | 1 | u64: requests that `impair` answered while `ANSWERED` was full |
//!
//! `TAKEN`, `XSKS`, `REFLECTED`, `SETTINGS`, `LIVE_TEMPLATES` and `LIVE_OUT` are as in [`layout`](crate::layout); of `LIVE_CURSORS` there
//! is one, whichever the CPU.

/// Address ranges that `impair` can tell apart.
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
    /// The probe's send stamp, as it says.
    pub sent_ns: u64,
    /// Whom it was sent to, host byte order.
    pub address: u32,
    /// Its sequence number.
    pub sequence: u16,
    /// Its identifier.
    pub identifier: u16,
}

impl AnsweredRequest {
    /// From memory as the program wrote it; None if that is not as long.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let ([arrival, departure, sent, last], []) = (words, rest) else { return None };
        let [a, b, c, d, e, f, g, h] = *last;
        Some(Self {
            arrival_ns: u64::from_ne_bytes(*arrival),
            departure_ns: u64::from_ne_bytes(*departure),
            sent_ns: u64::from_ne_bytes(*sent),
            address: u32::from_ne_bytes([a, b, c, d]),
            sequence: u16::from_ne_bytes([e, f]),
            identifier: u16::from_ne_bytes([g, h]),
        })
    }
}
