//! What must hold of anything that is read, whoever wrote it. Each target takes any bytes and panics where something is wrong.
//!
//! `tests/short.rs` runs all of them over their corpus and mutations of it, as part of `make test`. `cargo xtask fuzz` runs one under
//! libFuzzer, guided by coverage, for as long as wanted.

mod asn;
mod config;
mod reply;
mod targets;

pub use reply::seeds as reply_seeds;

/// Something that is read.
#[derive(Debug)]
pub struct Target {
    /// Also that of its folder in `corpus`.
    pub name: &'static str,
    /// Panics if something is wrong.
    pub check: fn(&[u8]),
    /// Words that are worth trying in an input.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target {
        name: "reply",
        check: reply::check,
        words: &["\u{8}\0", "E\0", "\u{1}", "\u{3}\u{1}", "\u{b}\0", "\0\0\0\0"],
    },
    Target { name: "config", check: config::check, words: config::WORDS },
    Target { name: "targets", check: targets::check_file_sd, words: targets::WORDS },
    Target { name: "list", check: targets::check_list, words: targets::LIST_WORDS },
    Target { name: "asn", check: asn::check, words: asn::WORDS },
];

/// An error is shown to people: something is said, not without end, and nothing that steers their terminal.
fn assert_showable(error: &str) {
    assert!(!error.is_empty() && error.len() < 16_384, "{} bytes: {error:?}", error.len());
    let strange = error.chars().find(|c| c.is_control() && *c != '\n');
    assert!(strange.is_none(), "a control character in {error:?}");
}
