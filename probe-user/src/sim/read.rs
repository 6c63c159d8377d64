//! YAML files of test scenarios into serde's types, through the reader of configuration and target files.

use crate::{
    base::Nanos,
    config::duration,
    targets::yaml::{self, Node, Place, Value},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value as Json;

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
    let node = yaml::parse(text).map_err(|error| format!("{}: {}", error.place, error.reason))?;
    let Some(node) = node else { return Err("the file is empty".into()) };
    serde_json::from_value(to_json(&node)).map_err(|error| {
        let error = error.to_string();
        // serde knows no lines; it quotes what it did not like.
        let quoted = error.split(['`', '"']).nth(1).and_then(|word| find(&node, word));
        quoted.map_or_else(|| error.clone(), |place| format!("{place}: {error}"))
    })
}

fn to_json(node: &Node) -> Json {
    match &node.value {
        _ if node.is_null() => Json::Null,
        Value::List(items) => Json::Array(items.iter().map(|item| to_json(item)).collect()),
        Value::Table(entries) => {
            Json::Object(entries.iter().map(|(key, value)| (key.text.clone(), to_json(value))).collect())
        }
        Value::Scalar { text, plain: false } => Json::String(text.clone()),
        Value::Scalar { text, plain: true } => match (text.parse::<u64>(), text.parse::<f64>(), text.as_str()) {
            (Ok(number), ..) => number.into(),
            (_, Ok(number), _) => number.into(),
            (.., "true") => true.into(),
            (.., "false") => false.into(),
            _ => Json::String(text.clone()),
        },
    }
}

/// Where a key or a text first stands.
fn find(node: &Node, word: &str) -> Option<Place> {
    match &node.value {
        Value::Scalar { text, .. } => (text == word).then_some(node.place),
        Value::List(items) => items.iter().find_map(|item| find(item, word)),
        Value::Table(entries) => {
            entries.iter().find_map(|(key, value)| if key.text == word { Some(key.place) } else { find(value, word) })
        }
    }
}
