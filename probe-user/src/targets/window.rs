//! How many probes of one target can be in flight.

use super::Group;

/// Windows up to this many places lie in the target's own cache line.
pub const INLINE_PLACES: u32 = 64;

/// Places to a byte: two bits each.
const PER_BYTE: u32 = 4;

/// A probe that nobody answered keeps its place for so much longer: until it is known whether this machine dropped the answer. Some
/// drivers need more, for which a window of a few milliseconds' intervals has no room: see `worker/sender.rs`.
const COUNTED_NS: u64 = 250_000_000;

/// Places that a window needs so that no probe meets a place that is still taken: a power of two, at least the timeout in
/// intervals, plus the probe that is being entered, plus slack for deadlines that are met late (a quarter, at least one).
const fn places_for(timeout_ns: u64, interval_ns: u64) -> u32 {
    let in_flight = match interval_ns {
        0 => 1,
        interval => timeout_ns.div_ceil(interval) + 1,
    };
    let slack = if in_flight / 4 > 1 { in_flight / 4 } else { 1 };
    let places = (in_flight + slack).next_power_of_two();
    if places > MOST_PLACES as u64 { MOST_PLACES } else { places as u32 }
}

/// The sequence on the wire has 16 bits; half of them tell a probe from the one before in the same place.
const MOST_PLACES: u32 = 32_768;

impl Group {
    /// Probes of one target that can be in flight: the places of its window.
    pub const fn places(&self) -> u32 {
        places_for(self.timeout.0.saturating_add(COUNTED_NS), self.interval.0)
    }
}

/// Bytes that a window of so many places takes beside the target's cache line.
pub(super) const fn wide_bytes(places: u32) -> u64 {
    if places > INLINE_PLACES { (places / PER_BYTE) as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_a_timeout_and_a_little_more() {
        for (timeout, interval, places) in [
            (1, 10, 4),
            (10, 10, 4),
            (30, 10, 8),
            (1_000, 10, 128),
            (60_000, 10, 8_192),
            (60_000, 2, MOST_PLACES),
            (5, 0, 2),
        ] {
            assert_eq!(places_for(timeout, interval), places, "{timeout} / {interval}");
        }
    }
}
