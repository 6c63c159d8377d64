//! How many probes of one target can be in flight.

use super::Group;
use crate::{base::Nanos, wire::Kind};

/// Windows up to this many places lie in the target's own cache line.
pub const INLINE_PLACES: u32 = 64;

/// Places to a byte: two bits each.
const PER_BYTE: u32 = 4;

/// A probe that nobody answered keeps its place for so much longer: until it is known whether this machine dropped the answer. Some
/// drivers need more, for which a window of a few milliseconds' intervals has no room: see `worker/sender.rs`.
const COUNTED_NS: u64 = 250_000_000;

/// Places that a window needs so that no probe meets a place that is still taken, with so many in flight: a power of two, at least those,
/// plus slack for deadlines that are met late (a quarter, at least one).
const fn places_for(in_flight: u64) -> u64 {
    let slack = if in_flight / 4 > 1 { in_flight / 4 } else { 1 };
    (in_flight + slack).next_power_of_two()
}

/// Half of the numbers that travel: the other half tell a probe from the one before in the same place. An echo has 16 bits of its number,
/// what goes to a port 8.
const fn most_places(kind: Kind) -> u32 {
    match kind {
        Kind::Echo => 32_768,
        Kind::Tcp { .. } | Kind::Udp { .. } => 128,
    }
}

/// Most probes in flight whose window has no more than so many places.
const fn most_in_flight(places: u32) -> u64 {
    let mut in_flight = 1;
    while places_for(in_flight + 1) <= places as u64 {
        in_flight += 1;
    }
    in_flight
}

impl Group {
    /// Probes of one target that can be in flight: the places of its window.
    pub const fn places(&self) -> u32 {
        // Who sends what was asked for knows what is in flight.
        if self.ttls.is_some() {
            return 2;
        }
        let (places, most) = (places_for(self.in_flight()), most_places(self.shape.kind));
        if places > most as u64 { most } else { places as u32 }
    }

    /// Whether its window may have the places that interval and timeout need: probes of a kind of which little of the number travels can
    /// be told apart in few.
    ///
    /// # Errors
    /// It may not. No timeout and interval of an echo go that far.
    pub fn check_window(&self) -> Result<(), WindowError> {
        let most = most_places(self.shape.kind);
        if self.ttls.is_some() {
            return Ok(());
        }
        if places_for(self.in_flight()) <= u64::from(most) {
            return Ok(());
        }
        // One probe more may be in flight than a timeout has intervals.
        let most_in_flight = most_in_flight(most);
        let (intervals, ms) = (most_in_flight - 1, Nanos::from_millis(1).0);
        let least = (self.timeout.0.saturating_add(COUNTED_NS)).div_ceil(intervals).next_multiple_of(ms);
        let longest = self.interval.0.saturating_mul(intervals).saturating_sub(COUNTED_NS);
        Err(WindowError {
            interval: self.interval,
            timeout: self.timeout,
            most_in_flight,
            least_interval: Nanos(least),
            longest_timeout: Nanos(longest - longest % ms),
        })
    }

    /// A timeout in intervals and the probe that is being entered, but no more than there are in all.
    const fn in_flight(&self) -> u64 {
        let in_flight = match self.interval.0 {
            0 => 1,
            interval => self.timeout.0.saturating_add(COUNTED_NS).div_ceil(interval) + 1,
        };
        match self.count {
            Some(count) if count < in_flight => count,
            _ => in_flight,
        }
    }
}

/// More probes of one target would be in flight than can be told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "with an interval of {interval} and a timeout of {timeout} more than {most_in_flight} probes of a target can be in flight, which is what \
     the few bits of a TCP or UDP probe's number can tell apart: lengthen the interval to {least_interval}, or shorten the timeout to \
     {longest_timeout}"
)]
pub struct WindowError {
    interval: Nanos,
    timeout: Nanos,
    most_in_flight: u64,
    least_interval: Nanos,
    longest_timeout: Nanos,
}

/// Bytes that a window of so many places takes beside the target's cache line.
pub(super) const fn wide_bytes(places: u32) -> u64 {
    if places > INLINE_PLACES { (places / PER_BYTE) as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::wire::Shape;

    fn group(kind: Kind, timeout: u64, interval: u64) -> Group {
        let (timeout, interval) = (Nanos::from_millis(timeout), Nanos::from_millis(interval));
        Group { timeout, interval, shape: Shape::of(kind), ..Group::named("g") }
    }

    #[test]
    fn windows_hold_a_timeout_and_a_little_more() {
        for (timeout, interval, places) in [
            (1, 1_000, 4),
            (750, 1_000, 4),
            (2_750, 1_000, 8),
            (1_000, 10, 256),
            (750, 10, 128),
            (60_000, 10, 8_192),
            (60_000, 2, 32_768),
            (5, 0, 2),
        ] {
            assert_eq!(group(Kind::Echo, timeout, interval).places(), places, "{timeout} / {interval}");
        }
    }

    #[test]
    fn no_more_are_in_flight_than_there_are() {
        for (count, places) in [(1, 2), (2, 4), (7, 8), (8, 16), (1_000, 256)] {
            let group = Group { count: Some(count), ..group(Kind::Echo, 1_000, 10) };
            assert_eq!(group.places(), places, "{count}");
        }
    }

    #[test]
    fn tcp_probes_that_could_not_be_told_apart_are_refused_with_what_would_do() {
        let tcp = |timeout, interval| group(Kind::Tcp { port: 443 }, timeout, interval);
        let refused = tcp(3_000, 10).check_window().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "with an interval of 10ms and a timeout of 3s more than 103 probes of a target can be in flight, which is what the few bits of \
             a TCP or UDP probe's number can tell apart: lengthen the interval to 32ms, or shorten the timeout to 770ms"
        );
        for (timeout, interval) in [(3_000, 32), (770, 10)] {
            assert_eq!(tcp(timeout, interval).check_window(), Ok(()));
            assert_eq!(tcp(timeout, interval).places(), 128);
        }
        for (timeout, interval) in [(3_000, 31), (771, 10)] {
            assert!(tcp(timeout, interval).check_window().is_err(), "{timeout} / {interval}");
        }
        assert_eq!(Group { count: Some(103), ..tcp(60_000, 10) }.check_window(), Ok(()));
        assert!(Group { count: Some(104), ..tcp(60_000, 10) }.check_window().is_err());
        // As short an interval as may be configured, and as long a timeout.
        assert_eq!(group(Kind::Echo, 60_000, 10).check_window(), Ok(()));
    }
}
