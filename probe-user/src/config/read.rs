//! Reading typed values out of the YAML tree, collecting every problem on the way.

use super::{Problem, duration, keys::HOMES};
use crate::{
    base::Nanos,
    targets::{
        Place, shorten,
        yaml::{Node, Value},
    },
};
use std::{fmt::Display, ops::RangeInclusive, rc::Rc};

/// What has been found to be wrong so far.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, place: Place, field: &str, reason: impl Into<String>) {
        self.0.push(Problem { place: Some(place), field: field.to_owned(), reason: reason.into() });
    }
}

/// A value with its place and the path of its field.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) path: String,
    node: Rc<Node>,
}

/// A mapping whose keys are known.
pub(super) struct Table {
    pub(super) place: Place,
    path: String,
    entries: Vec<(String, Rc<Node>)>,
}

impl Table {
    /// The value of a key; None where it is absent.
    pub(super) fn get(&self, key: &str) -> Option<Field> {
        let (_, node) = self.entries.iter().find(|(name, _)| name == key)?;
        Some(Field { path: join(&self.path, key), node: Rc::clone(node) })
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { shorten(key) } else { format!("{path}.{}", shorten(key)) }
}

/// The known word that is meant by a mistyped one, if one is near enough.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = shorten(word).to_lowercase();
    let distance = |name: &&'a str| (strsim::damerau_levenshtein(&word, name), *name);
    known.iter().map(distance).filter(|(distance, name)| *distance <= 2.min(name.len() / 3)).min().map(|(_, name)| name)
}

/// "; did you mean `interval`?", where a known word is near.
pub(super) fn suggestion(word: &str, known: &[&str]) -> String {
    nearest(word, known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// What to do about a key that is not known here: another spelling, or another place.
fn key_hint(key: &str, known: &[&str]) -> String {
    let elsewhere = || HOMES.iter().find_map(|(keys, home)| Some((nearest(key, keys)?, home)));
    match (nearest(key, known), elsewhere()) {
        (Some(name), _) => format!("; did you mean `{name}`?"),
        (None, Some((name, home))) => format!("; `{name}` stands {home}"),
        (None, None) => format!("; known here are {}", known.join(", ")),
    }
}

impl Field {
    /// The whole document.
    pub(super) fn root(node: Rc<Node>) -> Self {
        Self { path: String::new(), node }
    }

    pub(super) fn place(&self) -> Place {
        self.node.place
    }

    /// Says that something is wrong with this value.
    pub(super) fn wrong(&self, problems: &mut Problems, reason: impl Into<String>) {
        problems.add(self.place(), &self.path, reason);
    }

    fn expected(&self, problems: &mut Problems, what: &str) {
        self.wrong(problems, format!("found {}, expected {what}", self.node.found()));
    }

    /// A mapping; keys that are not known are problems.
    pub(super) fn table(&self, known: &[&str], what: &str, problems: &mut Problems) -> Option<Table> {
        let Value::Table(entries) = &self.node.value else {
            self.expected(problems, what);
            return None;
        };
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&&key.text[..])) {
            let hint = key_hint(&key.text, known);
            problems.add(key.place, &self.path, format!("unknown key `{}`{hint}", shorten(&key.text)));
        }
        let entries = entries.iter().map(|(key, node)| (key.text.clone(), Rc::clone(node))).collect();
        Some(Table { place: self.place(), path: self.path.clone(), entries })
    }

    /// A mapping with free keys: each with its place and value.
    pub(super) fn map(&self, what: &str, problems: &mut Problems) -> Vec<(String, Place, Self)> {
        let Value::Table(entries) = &self.node.value else {
            self.expected(problems, what);
            return Vec::new();
        };
        let field = |key: &str, node| Self { path: join(&self.path, key), node };
        entries.iter().map(|(k, node)| (k.text.clone(), k.place, field(&k.text, Rc::clone(node)))).collect()
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.node.value, Value::Table(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// A list.
    pub(super) fn list(&self, what: &str, problems: &mut Problems) -> Vec<Self> {
        let Value::List(items) = &self.node.value else {
            self.expected(problems, what);
            return Vec::new();
        };
        let item = |(i, node)| Self { path: format!("{}[{i}]", self.path), node: Rc::clone(node) };
        items.iter().enumerate().map(item).collect()
    }

    /// A text that is not empty, as written, whether it looks like a number or not.
    pub(super) fn text(&self, what: &str, problems: &mut Problems) -> Option<String> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() && !text.is_empty() => Some(text.clone()),
            _ => {
                self.expected(problems, what);
                None
            }
        }
    }

    /// A text as written, an empty one too where it stands in quotes.
    pub(super) fn any_text(&self, what: &str, problems: &mut Problems) -> Option<String> {
        match &self.node.value {
            Value::Scalar { text, plain: false } => Some(text.clone()),
            _ => self.text(what, problems),
        }
    }

    /// A text that `parse` reads; its error is the reason.
    pub(super) fn parsed<T, E: Display>(
        &self,
        what: &str,
        problems: &mut Problems,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(what, problems)?;
        parse(&text).map_err(|error| self.wrong(problems, error.to_string())).ok()
    }

    /// A whole number within bounds, decimal or `0x` and hexadecimal.
    pub(super) fn number(&self, bounds: RangeInclusive<u64>, problems: &mut Problems) -> Option<u64> {
        let what = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let number = match &self.node.value {
            Value::Scalar { text, plain: true } => match text.strip_prefix("0x") {
                Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
                _ => text.parse().ok(),
            },
            _ => None,
        };
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            self.expected(problems, &what);
        }
        number
    }

    /// A duration within bounds.
    pub(super) fn duration(&self, bounds: RangeInclusive<Nanos>, problems: &mut Problems) -> Option<Nanos> {
        let (least, most) = (duration::show(*bounds.start()), duration::show(*bounds.end()));
        let found =
            self.parsed(&format!("a duration from {least} to {most}, such as 1s"), problems, duration::parse)?;
        if !bounds.contains(&found) {
            self.wrong(problems, format!("{} is out of bounds; write {least} to {most}", duration::show(found)));
            return None;
        }
        Some(found)
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let what = format!("one of {}", names.join(", "));
        let text = self.text(&what, problems)?;
        let found = words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            self.wrong(problems, format!("found `{}`, expected {what}{}", shorten(&text), suggestion(&text, &names)));
        }
        found
    }
}
