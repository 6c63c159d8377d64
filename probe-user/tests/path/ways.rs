//! Ways that are slow, or end.

use crate::{
    chain::{FAMILIES, Node, Plan},
    tools::{SOON, output},
};
use std::time::Duration;
use testbed::router::Rule;
use xtask::command::wait_until;

/// Round-trip times in milliseconds, as `ping` prints them.
fn times(text: &str) -> Vec<f64> {
    let time = |line: &str| line.split_once("time=")?.1.split(' ').next()?.parse().ok();
    text.lines().filter_map(time).collect()
}

/// A target that is 20 ms away, by nothing but what is held: no answer is sooner, and the soonest of many is hardly later. What a busy
/// machine adds to others is not the router's, so it may take more than one go.
#[test]
#[ignore = "needs root: make test runs it"]
fn what_is_held_is_late_by_so_much_and_in_order() {
    let hold = Duration::from_millis(20);
    let Some(chain) = Plan::of(4).router(4, Rule::holding(hold)).up("held") else { return };
    for family in FAMILIES {
        let target = chain.target(family).to_string();
        let ping = || {
            let text = output(chain.command(Node::Near, "ping").args(["-n", "-c", "50", "-i", "0.005", &target]));
            let mut times = times(&text);
            assert_eq!(times.len(), 50, "{text}");
            times.sort_by(f64::total_cmp);
            println!("{family:?}: {} to {} ms, median {}", times[0], times[49], times[25]);
            assert!(times[0] >= 20.0, "{text}");
            let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok();
            let numbers: Vec<u32> = text.lines().filter_map(number).collect();
            assert!(numbers.is_sorted(), "{text}");
            (times[0] < 21.5).then_some(())
        };
        wait_until(SOON, ping).unwrap_or_else(|| panic!("no answer of {target} within 21.5 ms"));
    }
}

/// As when a cable is pulled: who is before it answers, and nobody behind. Then it comes back.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_link_without_carrier_ends_the_path() {
    let Some(chain) = Plan::of(6).up("cut") else { return };
    chain.cut(4);
    for family in FAMILIES {
        let seen = chain.traceroute(family, "-I -m 6 -w 1");
        assert_eq!(seen.0[..3], chain.hops(family).0[..3]);
        for hop in &seen.0[3..] {
            // The router before it may say that nobody is there.
            assert!(hop.addresses.is_subset(&seen.hop(3).addresses), "{seen:?}");
        }
    }
}
