//! The difference between the ways that are in use and those that the kernel names now. Pure.

use super::{Found, Hop, Hops, NO_ROUTE, NO_SOURCE};
use std::collections::{BTreeMap, HashMap};

/// What differs, and what it takes to adopt it. Places are among all hops: those in use first, the new ones behind.
#[derive(Debug)]
pub struct Difference {
    /// Next hops that have not been in use before.
    pub new: Vec<Hop>,
    /// For each target, in the order in which they were found, where its hop is now; or [`NO_ROUTE`], or [`NO_SOURCE`].
    pub of: Vec<u32>,
    /// For each place, whether targets are probed by that hop.
    pub used: Vec<bool>,
    /// From which place to which so many targets move.
    pub moves: BTreeMap<(u32, u32), usize>,
}

impl Difference {
    /// Between hops in use, where each target has its hop in the place that `before` says, and what was `found` of the same targets.
    pub fn new(hops: &Hops, found: Found, before: impl IntoIterator<Item = u32>) -> Self {
        let known: HashMap<_, u32> = hops.iter().zip(0..).map(|(hop, place)| (hop.identity(), place)).collect();
        let first = u32::try_from(hops.len()).unwrap_or(NO_SOURCE);
        let mut new = Vec::new();
        let mut places: Vec<u32> = Vec::with_capacity(found.hops.len());
        for hop in found.hops {
            // Those of later turns came before it.
            let then = places.get(hop.then as usize).copied().unwrap_or(hop.then);
            let turn = hop.turn();
            let hop = hop.in_turn(turn, then);
            places.push(known.get(&hop.identity()).copied().unwrap_or_else(|| {
                new.push(hop);
                first + u32::try_from(new.len() - 1).unwrap_or(0)
            }));
        }
        let then: Vec<u32> = hops.iter().chain(&new).map(|hop| hop.then).collect();
        let mut used = vec![false; then.len()];
        let mut of = found.of;
        let mut moves = BTreeMap::new();
        for (place, before) in of.iter_mut().zip(before) {
            if !matches!(*place, NO_ROUTE | NO_SOURCE) {
                *place = places[*place as usize];
                let mut turn = *place;
                while let Some(used) = used.get_mut(turn as usize).filter(|used| !**used) {
                    *used = true;
                    turn = then[turn as usize];
                }
            }
            if *place != before {
                *moves.entry((before, *place)).or_default() += 1;
            }
        }
        Self { new, of, used, moves }
    }

    /// How many targets move.
    pub fn targets(&self) -> usize {
        self.moves.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    type Identity = (IpAddr, IpAddr, bool);
    /// A target's hop in each turn, or why there is none.
    type Way = Result<Vec<(u8, Identity)>, u32>;

    /// Few, so that they come again; each turn has its own sources.
    fn identity(turn: u8) -> impl Strategy<Value = (u8, Identity)> {
        let v4 = |to: u32, from: u32| {
            (Ipv4Addr::from_bits(0x0a00_0000 + to).into(), Ipv4Addr::from_bits(0xc000_0200 + from).into())
        };
        let v6 = |to: u32, from: u32| {
            let of = |network: u128, n: u32| IpAddr::V6(Ipv6Addr::from_bits(network << 96 | u128::from(n)));
            (of(0xfe80_0000, to), of(0x2001_0db8, from))
        };
        (0_u32..4, 0_u32..2, any::<bool>(), any::<bool>()).prop_map(move |(to, from, is_v6, on_link)| {
            let from = from + 16 * u32::from(turn);
            let (to, from) = if is_v6 { v6(to, from) } else { v4(to, from) };
            (turn, (to, from, on_link))
        })
    }

    fn ways() -> impl Strategy<Value = Vec<Way>> {
        let turns = (prop::option::of(identity(0)), prop::option::of(identity(1)), identity(2));
        let several =
            turns.prop_map(|(first, second, third)| Ok([first, second, Some(third)].into_iter().flatten().collect()));
        let way = prop_oneof![
            6 => identity(0).prop_map(|way| Ok(vec![way])),
            6 => several,
            1 => Just(Err(NO_ROUTE)),
            1 => Just(Err(NO_SOURCE))
        ];
        prop::collection::vec(way, 20)
    }

    fn found(ways: &[Way]) -> Found {
        let mut hops: Vec<Hop> = Vec::new();
        let of = ways.iter().map(|way| {
            let turns = match way {
                Err(none) => return *none,
                Ok(turns) => turns,
            };
            turns.iter().rev().fold(NO_ROUTE, |then, &(turn, (address, source, on_link))| {
                let hop = Hop::new(address, source, on_link).in_turn(turn, then);
                let place = hops.iter().position(|known| known.identity() == hop.identity()).unwrap_or_else(|| {
                    hops.push(hop);
                    hops.len() - 1
                });
                u32::try_from(place).expect("few")
            })
        });
        let of = of.collect();
        Found { hops, of, unrouted: None, expires: None }
    }

    /// As the hops in use say it.
    fn way(hops: &Hops, place: u32) -> Way {
        let turns: Vec<_> =
            hops.turns(place).map(|(_, hop)| (hop.turn(), (hop.address, hop.source, hop.on_link))).collect();
        if turns.is_empty() { Err(place) } else { Ok(turns) }
    }

    proptest! {
        #[test]
        fn a_story_of_changes_always_ends_at_what_was_found(story in prop::collection::vec(ways(), 1..6)) {
            let hops: Hops = std::iter::empty().collect();
            let mut of = vec![NO_ROUTE; 20];
            for ways in story {
                let before = hops.len();
                let Difference { new, of: now, used, moves } = Difference::new(&hops, found(&ways), of.iter().copied());
                let moved: usize = moves.values().sum();
                prop_assert_eq!(moved, now.iter().zip(&of).filter(|(now, before)| now != before).count());
                for hop in new {
                    hops.add(hop);
                }
                hops.use_only(|place| used[place]);
                of = now;
                let adopted: Vec<Way> = of.iter().map(|place| way(&hops, *place)).collect();
                prop_assert_eq!(&adopted, &ways);
                let led_by: std::collections::BTreeSet<u32> =
                    of.iter().flat_map(|place| hops.turns(*place).map(|(place, _)| place)).collect();
                for (place, hop) in (0..).zip(hops.iter()) {
                    prop_assert_eq!(hop.is_used(), led_by.contains(&place));
                }
                let mut all: Vec<_> = hops.iter().map(Hop::identity).collect();
                all.sort_unstable();
                all.dedup();
                prop_assert_eq!(all.len(), hops.len(), "each once");
                // And once more: nothing differs.
                let again = Difference::new(&hops, found(&ways), of.iter().copied());
                prop_assert!(again.new.is_empty() && again.moves.is_empty());
                prop_assert!(hops.len() >= before);
            }
        }
    }
}
