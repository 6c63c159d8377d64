//! Whose network an address is in: by a file, or by DNS.

pub(super) mod cymru;
mod error;
mod file;
mod mmdb;
mod ranges;

pub use error::AsnError;
pub use file::AsnTable;
pub(super) use file::open;

use std::sync::Arc;

/// The AS that an address' prefix comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its number, not 0.
    pub asn: u32,
    /// Its name: a text without control characters, at most 128 characters.
    pub name: Option<Arc<str>>,
}

/// "64500" and "AS64500"; None for what is neither, and for 0, which says that an address is not routed.
fn number(text: &str) -> Option<u32> {
    parsed(text).filter(|asn| *asn != 0)
}

/// The same, 0 included.
fn parsed(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_before_them_or_not() {
        assert_eq!(
            (number("64500"), number("AS64500"), number("as4294967295")),
            (Some(64_500), Some(64_500), Some(u32::MAX))
        );
        for none in ["", "AS", "0", "AS0", "4294967296", "-1", "+1", "AS 1", "1.10", "ASAS1", "NA"] {
            assert_eq!(number(none), None, "{none}");
        }
    }
}
