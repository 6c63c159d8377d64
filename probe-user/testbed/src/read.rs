//! YAML files of test scenarios.

use echolot::{base::Nanos, config::duration};
use serde::{Deserialize, de::DeserializeOwned};

/// A duration as in configuration files: `250ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Nanos);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        duration::parse(&text).map(Self)
    }
}

/// Reads a document.
///
/// # Errors
/// What is wrong, and, where that can be found, on which line.
pub fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_norway::from_str(text).map_err(|error| error.to_string())
}
