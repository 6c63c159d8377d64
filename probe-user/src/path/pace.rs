//! No router is asked more often than it should be.
//!
//! Which router a probe will ask nobody knows before it answers. Those at the same distance that lie behind the same router before are taken
//! for one; and once two such places have turned out to be the same address, they share what one may be asked.

use crate::base::Nanos;
use std::{collections::HashMap, net::IpAddr};

/// How much of a second's probes may be asked for at once.
const BURST: f64 = 0.01;

/// Where a probe is going to end, as far as is known: its time to live, and the last router before that is known.
pub(super) type Place = (u8, Option<IpAddr>);

/// How often each router may be asked, and has been.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two probes to one.
    gap: Nanos,
    /// What may be saved up.
    depth: Nanos,
    /// The bucket of each place.
    of_place: HashMap<Place, usize>,
    /// The bucket of each router at a distance.
    of_router: HashMap<(u8, IpAddr), usize>,
    /// When the next probe may be sent; or with which other one it is shared.
    buckets: Vec<Bucket>,
}

#[derive(Debug)]
enum Bucket {
    Next(Nanos),
    Shared(usize),
}

impl Pace {
    /// `rate`: probes a second to each router.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times for people")]
    pub(super) fn new(rate: f64) -> Self {
        let gap = Nanos((1e9 / rate).max(1.0) as u64);
        let depth = Nanos((gap.0 as f64 * (rate * BURST).max(1.0)) as u64) - gap;
        Self { gap, depth, of_place: HashMap::new(), of_router: HashMap::new(), buckets: Vec::new() }
    }

    /// When a probe may be sent to this place: no later than `now` if at once. It counts as sent then, and nobody else is given that moment.
    pub(super) fn reserve(&mut self, place: Place, now: Nanos) -> Nanos {
        let bucket = self.bucket(place);
        let Bucket::Next(next) = &mut self.buckets[bucket] else { return now };
        let at = (*next).max(now - self.depth);
        *next = at + self.gap;
        at
    }

    /// A router has answered for this place.
    pub(super) fn learn(&mut self, place: Place, router: IpAddr) {
        let mine = self.bucket(place);
        let other = match self.of_router.get(&(place.0, router)) {
            Some(other) => self.end_of(*other),
            None => mine,
        };
        self.of_router.insert((place.0, router), other);
        if other != mine {
            let (Bucket::Next(a), Bucket::Next(b)) = (&self.buckets[mine], &self.buckets[other]) else { return };
            self.buckets[other] = Bucket::Next((*a).max(*b));
            self.buckets[mine] = Bucket::Shared(other);
        }
    }

    fn bucket(&mut self, place: Place) -> usize {
        match self.of_place.get(&place) {
            Some(bucket) => {
                let end = self.end_of(*bucket);
                self.of_place.insert(place, end);
                end
            }
            None => {
                self.buckets.push(Bucket::Next(Nanos::ZERO));
                self.of_place.insert(place, self.buckets.len() - 1);
                self.buckets.len() - 1
            }
        }
    }

    fn end_of(&self, mut bucket: usize) -> usize {
        while let Bucket::Shared(next) = self.buckets[bucket] {
            bucket = next;
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// How many probes leave for these places within so many milliseconds from `from` on, where each has one to send every 100 us.
    fn sent(pace: &mut Pace, places: &[Place], from: u64, millis: u64) -> usize {
        let mut reserved = vec![None; places.len()];
        let mut many = 0;
        for now in (0..millis * 10).map(|i| Nanos::from_millis(from) + Nanos::from_micros(i * 100)) {
            for (place, reserved) in places.iter().zip(&mut reserved) {
                let at = *reserved.get_or_insert_with(|| pace.reserve(*place, now));
                if at <= now {
                    *reserved = None;
                    many += 1;
                }
            }
        }
        many
    }

    #[test]
    fn a_router_is_asked_no_more_often_than_it_may_be() {
        let mut pace = Pace::new(100.0);
        assert_eq!(sent(&mut pace, &[(1, None)], 1_000, 1_000), 100);
        assert_eq!(sent(&mut pace, &[(1, None), (2, None)], 3_000, 1_000), 200, "each");
        let mut fast = Pace::new(1_000.0);
        let many = sent(&mut fast, &[(1, None)], 1_000, 1_000);
        assert!((1_000..=1_010).contains(&many), "a hundredth may be saved up: {many}");
    }

    #[test]
    fn places_that_turn_out_to_be_one_router_share() {
        let mut pace = Pace::new(100.0);
        let places = [(3, Some(A)), (3, Some(B))];
        assert_eq!(sent(&mut pace, &places, 1_000, 1_000), 200, "nobody knows better");
        places.iter().for_each(|place| pace.learn(*place, A));
        assert_eq!(sent(&mut pace, &places, 3_000, 1_000), 100);
        pace.learn((3, None), A);
        assert_eq!(sent(&mut pace, &[places[0], places[1], (3, None)], 5_000, 1_000), 100);
        assert_eq!(sent(&mut pace, &[(4, Some(A))], 5_000, 1_000), 100, "another distance");
    }
}
