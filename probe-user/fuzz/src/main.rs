//! A target under libFuzzer: `ECHOLOT_FUZZ` says which. `cargo xtask fuzz` builds and starts it.
#![no_main]

use echolot_fuzz::{TARGETS, Target};
use std::sync::LazyLock;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("ECHOLOT_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("ECHOLOT_FUZZ is {name:?}: {}", TARGETS.each_ref().map(|t| t.name).join(", ")))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.check)(data));
