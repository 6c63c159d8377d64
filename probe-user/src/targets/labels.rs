//! Names that labels may have.

/// Names that echolot's own series use.
pub const RESERVED: [&str; 7] = ["group", "target", "le", "outcome", "state", "address", super::FAMILY];

/// Why a text cannot be the name of a label: Prometheus' rule (`[a-zA-Z_][a-zA-Z0-9_]*`, `__` in front is its own) and
/// the names that echolot sets itself.
pub fn check(name: &str) -> Result<(), String> {
    let shown = super::spec::shorten(name);
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !begins || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!(
            "`{shown}` is not a label name; write letters, digits and underscores, and no digit in front"
        ));
    }
    if name.starts_with("__") {
        return Err(format!("`{shown}` begins with two underscores, and such labels are Prometheus' own; rename it"));
    }
    if RESERVED.contains(&name) {
        return Err(format!("the label `{shown}` is set by echolot itself; choose another name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn takes_prometheus_names_and_refuses_the_rest() {
        for name in ["site", "_x", "A9", "a_b"] {
            assert_eq!(check(name), Ok(()));
        }
        for name in ["", "9a", "a-b", "a.b", "\u{e4}", "a b"] {
            assert!(check(name).unwrap_err().contains("not a label name"), "{name}");
        }
        assert!(check("__meta").unwrap_err().contains("Prometheus' own"));
        for name in RESERVED {
            assert!(check(name).unwrap_err().contains("set by echolot itself"), "{name}");
        }
    }
}
