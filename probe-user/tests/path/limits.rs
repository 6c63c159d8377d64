//! A router that limits its errors.

use crate::chain::{Chain, FAMILIES, Plan, link_address};
use echolot::base::Family;

const LIMITING: u8 = 3;

/// What mtr lost at the limiting router, in per cent. At no other was anything.
#[track_caller]
fn lost(chain: &Chain, family: Family, arguments: &str) -> f64 {
    let counted = chain.mtr_counted(family, arguments);
    assert_eq!(counted.len(), usize::from(chain.length()), "{counted:?}");
    for (ttl, hop) in (1_u8..).zip(&counted) {
        assert!(ttl == LIMITING || hop.loss == 0.0, "hop {ttl} is blamed: {counted:?}");
    }
    let limiting = &counted[usize::from(LIMITING) - 1];
    assert_eq!(limiting.host, Some(link_address(family, 0, LIMITING, 1)));
    limiting.loss
}

/// 10 errors a second after 6 at once: of 25 a second for 4 seconds 46 of 100 come, and of 4 a second all.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_limit_is_a_loss_to_who_asks_quickly_alone() {
    let Some(chain) = Plan::of(5).limiting(LIMITING).up("limits") else { return };
    for family in FAMILIES {
        let quickly = lost(&chain, family, "-c 100 -i 0.04");
        // A busy machine asks more slowly than it was told to.
        assert!((20.0..80.0).contains(&quickly), "{quickly} % at 25 a second");
        let slowly = lost(&chain, family, "-c 12 -i 0.25");
        assert!(slowly == 0.0, "{slowly} % at 4 a second");
    }
}
