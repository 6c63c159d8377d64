//! What was entered when, so that deadlines can be met in order without a stamp a probe.
//!
//! Ticks of one run leave in order and live equally long: a queue of flights, each a number of consecutive ticks and the
//! moment by which the last of them had left, says which are past their deadline.

use crate::base::Nanos;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
struct Flight {
    ticks: u32,
    /// Ticks pushed before and with it, ever.
    through: u64,
    /// Before the first of them left.
    begun: Nanos,
    /// After the last of them had left.
    ended: Nanos,
}

/// The ticks in flight of one run. Never allocates after it was made.
#[derive(Debug)]
pub struct Flights {
    queue: VecDeque<Flight>,
    /// Ticks landed, ever.
    landed: u64,
    /// Ticks pushed, ever.
    pushed: u64,
    timeout: Nanos,
    /// Ticks that leave within this time of each other share a flight, and the deadline of the last.
    grain: Nanos,
}

/// A tick past its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landed {
    /// No earlier than this it was sent.
    pub begun: Nanos,
    /// By now it had to be answered.
    pub deadline: Nanos,
}

impl Flights {
    /// For ticks that live for `timeout`.
    pub fn new(timeout: Nanos) -> Self {
        let grain = Nanos(timeout.0 / 64).clamp(Nanos::from_micros(10), Nanos::from_millis(1));
        let most = usize::try_from(2 * timeout.0 / grain.0).unwrap_or(usize::MAX) + 64;
        Self { queue: VecDeque::with_capacity(most), landed: 0, pushed: 0, timeout, grain }
    }

    /// Adds `ticks` that left after `begun` and by `ended`.
    #[inline]
    pub fn push(&mut self, ticks: u32, begun: Nanos, ended: Nanos) {
        self.pushed += u64::from(ticks);
        let full = self.queue.len() == self.queue.capacity();
        if let Some(last) = self.queue.back_mut()
            && (full || ended - last.begun <= self.grain)
            && let Some(sum) = last.ticks.checked_add(ticks)
        {
            last.ticks = sum;
            last.through = self.pushed;
            last.ended = ended;
            return;
        }
        self.queue.push_back(Flight { ticks, through: self.pushed, begun, ended });
    }

    /// Ticks pushed so far, ever.
    #[inline]
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// When the first deadline comes; None when nothing is in flight.
    #[inline]
    pub fn next_at(&self) -> Option<Nanos> {
        self.queue.front().map(|flight| flight.ended + self.timeout)
    }

    /// By when the tick before which `earlier` others were pushed has to be answered; None if it has landed, or was never
    /// pushed.
    pub fn deadline_of(&self, earlier: u64) -> Option<Nanos> {
        if earlier < self.landed {
            return None;
        }
        let flight = self.queue.partition_point(|flight| flight.through <= earlier);
        self.queue.get(flight).map(|flight| flight.ended + self.timeout)
    }

    /// Takes the first tick out if its deadline lies before `drained`.
    #[inline]
    pub fn land(&mut self, drained: Nanos) -> Option<Landed> {
        let flight = self.queue.front_mut()?;
        let deadline = flight.ended + self.timeout;
        if deadline >= drained {
            return None;
        }
        let landed = Landed { begun: flight.begun, deadline };
        flight.ticks -= 1;
        self.landed += 1;
        if flight.ticks == 0 {
            self.queue.pop_front();
        }
        Some(landed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tick_lands_once_in_order_and_never_early() {
        let timeout = Nanos::from_millis(10);
        let mut flights = Flights::new(timeout);
        let capacity = flights.queue.capacity();
        let mut left = VecDeque::new();
        let mut landed_ones = 0u64;
        let mut now = Nanos::ZERO;
        for step in 0..200_000u64 {
            now += Nanos(1 + step * 7919 % 40_000);
            let ended = now + Nanos(step % 3_000);
            let ticks = (step % 5) as u32 + 1;
            flights.push(ticks, now, ended);
            left.extend(std::iter::repeat_n((now, ended), ticks as usize));
            now = ended;
            while let Some(landed) = flights.land(now) {
                let (begun, ended) = left.pop_front().expect("no more than were pushed");
                assert!(landed.begun <= begun);
                assert!(landed.deadline >= ended + timeout, "not early");
                assert!(landed.deadline <= ended + timeout + Nanos::from_millis(1), "not late");
                assert_eq!(flights.deadline_of(landed_ones), None, "landed");
                landed_ones += 1;
            }
            if step.is_multiple_of(1_000) {
                for (earlier, (_, ended)) in (landed_ones..).zip(&left) {
                    let deadline = flights.deadline_of(earlier).expect("in flight");
                    assert!(*ended + timeout <= deadline && deadline <= *ended + timeout + Nanos::from_millis(1));
                }
                assert_eq!(flights.deadline_of(landed_ones + left.len() as u64), None, "not pushed yet");
            }
        }
        while flights.land(Nanos::MAX).is_some() {
            left.pop_front().expect("no more than were pushed");
        }
        assert!(left.is_empty());
        assert_eq!(flights.queue.capacity(), capacity, "never grew");
    }
}
