//! Branches of equal cost.

use crate::{
    balance::Balance,
    chain::{Chain, FAMILIES, Plan},
    tools::Hops,
};
use echolot::base::Family;
use std::collections::BTreeSet;
use testbed::router::Rule;

/// So many flows all take the same one of two branches once in 2^23 runs.
const FLOWS: u16 = 24;

/// A flow of TCP or UDP: all its probes have these ports. traceroute sends one after the other then.
fn flow(chain: &Chain, family: Family, kind: &str, flow: u16) -> Hops {
    chain.traceroute(family, &format!("{kind} --sport={} -p 443", 33_000 + flow))
}

/// Which branches of the hops 4 and 5 a walk has taken.
fn branches(chain: &Chain, family: Family, hops: &Hops) -> BTreeSet<u8> {
    let taken = |ttl: u8| -> BTreeSet<u8> {
        let of = |branch: &u8| hops.hop(ttl).addresses.contains(&crate::chain::link_address(family, *branch, ttl, 1));
        (0..2).filter(of).collect()
    };
    assert!(hops.all().is_subset(&chain.hops(family).all()), "strangers in {hops:?}");
    &taken(4) | &taken(5)
}

/// traceroute's own echo requests have checksums that differ by their sequence numbers, and are scattered.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_flow_keeps_to_its_branch_and_flows_see_both() {
    let Some(chain) = Plan::of(8).router(2, Rule::default()).branches(4..=5, Balance::Flows).up("flows") else {
        return;
    };
    for family in FAMILIES {
        for kind in ["-U", "-T"] {
            let walks: Vec<Hops> = (0..FLOWS).map(|number| flow(&chain, family, kind, number)).collect();
            for walk in &walks {
                assert_eq!(branches(&chain, family, walk).len(), 1, "{kind}: {walk:?}");
            }
            Hops::together(walks).agrees(&chain.hops(family));
        }
        let again: BTreeSet<_> = (0..5).map(|_| branches(&chain, family, &flow(&chain, family, "-U", 7))).collect();
        assert_eq!(again.len(), 1, "a flow that is repeated takes the same branch");
        let echo = Hops::together((0..FLOWS).map(|_| chain.traceroute(family, "-I")));
        echo.agrees(&chain.hops(family));
    }
}

/// What the kernel hashes when nobody tells it otherwise: of both families the addresses, and of IPv6 the flow label, which is
/// another one for each of the kernel's own sockets.
#[test]
#[ignore = "needs root: make test runs it"]
fn by_addresses_every_flow_takes_one_branch() {
    let Some(chain) = Plan::of(7).branches(4..=5, Balance::Addresses).up("addresses") else { return };
    for kind in ["-U", "-T"] {
        let taken = (0..FLOWS).map(|number| branches(&chain, Family::V4, &flow(&chain, Family::V4, kind, number)));
        let taken: BTreeSet<_> = taken.collect();
        assert_eq!(taken.len(), 1, "{kind}: {taken:?}");
    }
    // Labels set by hand: of each one branch, and together both.
    let labelled = |label: u32| chain.traceroute(Family::V6, &format!("-U -l {label}"));
    let walks: Vec<Hops> = (1..=u32::from(FLOWS)).map(|label| labelled(label * 0x1357)).collect();
    for walk in &walks {
        assert_eq!(branches(&chain, Family::V6, walk).len(), 1, "{walk:?}");
    }
    Hops::together(walks).agrees(&chain.hops(Family::V6));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn packet_by_packet_a_flow_sees_both() {
    let Some(chain) = Plan::of(7).branches(4..=5, Balance::Packets).up("packets") else { return };
    for family in FAMILIES {
        for kind in ["-U", "-T"] {
            // Four probes a hop go by turns.
            let walk = Hops::of_traceroute(
                &chain.traceroute_text(chain.target(family), &format!("{kind} -q 4 --sport=33000 -p 443")),
            );
            walk.agrees(&chain.hops(family));
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn there_can_be_more_than_two() {
    let Some(chain) = Plan::of(6).router(2, Rule::default()).wide_branches(4..=5, 5, Balance::Flows).up("wide") else {
        return;
    };
    for family in FAMILIES {
        // One of five is missed by all of 96 flows less than once in a million runs.
        let walks =
            (0..96).map(|number| chain.traceroute(family, &format!("-U --sport={} -p 443 -f 4 -m 5", 34_000 + number)));
        let seen = Hops::together(walks);
        for hop in [4, 5] {
            assert_eq!(seen.hop(hop), chain.hops(family).hop(hop));
        }
    }
}

/// As when a path changes between two rounds.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_branch_that_is_taken_alone_is_seen_alone() {
    let Some(chain) = Plan::of(7).branches(4..=5, Balance::Flows).up("taken") else { return };
    for branch in [1, 0] {
        chain.take_branch(branch);
        for family in FAMILIES {
            let walks = ["-I", "-U", "-T"].into_iter().flat_map(|kind| (0..4).map(move |_| kind));
            let seen = Hops::together(walks.map(|kind| chain.traceroute(family, kind)));
            assert_eq!(branches(&chain, family, &seen), BTreeSet::from([branch]), "{seen:?}");
        }
    }
}
