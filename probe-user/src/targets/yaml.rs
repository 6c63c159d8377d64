//! YAML as a tree whose every node knows its line and column, so that errors can name them.
//!
//! The configuration and YAML target files are read through it. Anchors and aliases work; tags, several documents and
//! keys that stand twice in a mapping are refused.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use std::{borrow::Cow, collections::HashMap, fmt, rc::Rc};

/// Where a node begins, both counted from 1.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Self { line: span.start.line(), column: span.start.col() + 1 }
    }
}

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Value {
    /// A text as written; whether it stood without quotes, so that it may also be a number, a boolean or null.
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Vec<Rc<Node>>),
    /// A mapping, in the order of the file; no key stands twice.
    Table(Vec<(Key, Rc<Node>)>),
}

/// A key of a mapping.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) place: Place,
}

impl Node {
    /// Whether the node says nothing: `key:` with no value, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if ["", "~", "null", "Null", "NULL"].contains(&&text[..]))
    }

    /// What was found, for an error.
    pub(crate) fn found(&self) -> String {
        match &self.value {
            _ if self.is_null() => "nothing".into(),
            Value::List(_) => "a list".into(),
            Value::Table(_) => "a table of keys and values".into(),
            Value::Scalar { text, plain: true } if text.parse::<f64>().is_ok() => {
                format!("the number {}", super::spec::shorten(text))
            }
            Value::Scalar { text, .. } => format!("`{}`", super::spec::shorten(text)),
        }
    }
}

/// Why a text is not the YAML that is read here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SyntaxError {
    pub(crate) place: Place,
    pub(crate) reason: String,
}

impl From<ScanError> for SyntaxError {
    fn from(error: ScanError) -> Self {
        let place = Place { line: error.marker().line(), column: error.marker().col() + 1 };
        Self { place, reason: format!("this is not YAML: {}", error.info()) }
    }
}

/// Lists and mappings may stand within each other this deep, aliases being what they stand for. What is read here needs 5.
const DEEPEST: usize = 32;
/// Aliases may stand for so many nodes in all: a few lines of aliases to aliases can stand for more than there is memory.
const MOST_REPEATED: usize = 1_000_000;

/// A list or mapping that has begun.
struct Open {
    place: Place,
    anchor: usize,
    content: Content,
    extent: Extent,
}

/// How much a node is, aliases in it being what they stand for.
#[derive(Clone, Copy)]
struct Extent {
    nodes: usize,
    depth: usize,
}

impl Extent {
    const SCALAR: Self = Self { nodes: 1, depth: 0 };
    const EMPTY: Self = Self { nodes: 1, depth: 1 };

    fn add(&mut self, part: Self) {
        self.nodes = self.nodes.saturating_add(part.nodes);
        self.depth = self.depth.max(part.depth + 1);
    }
}

enum Content {
    List(Vec<Rc<Node>>),
    Table {
        entries: Vec<(Key, Rc<Node>)>,
        /// Its value is to come.
        key: Option<Key>,
    },
}

/// Reads a text that holds one document. None when it is empty.
pub(crate) fn parse(text: &str) -> Result<Option<Rc<Node>>, SyntaxError> {
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, (Rc<Node>, Extent)> = HashMap::new();
    let mut repeated = 0usize;
    let mut root = None;
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let (event, span) = event?;
        let place = Place::from(span);
        let (node, anchor, extent) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                check_tag(tag.as_ref(), place)?;
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let value = Value::Scalar { text: text.into_owned(), plain };
                (Rc::new(Node { place, value }), anchor, Extent::SCALAR)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_ref(), place)?;
                begin(&mut open, Open { place, anchor, content: Content::List(Vec::new()), extent: Extent::EMPTY })?;
                continue;
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_ref(), place)?;
                let content = Content::Table { entries: Vec::new(), key: None };
                begin(&mut open, Open { place, anchor, content, extent: Extent::EMPTY })?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { place, anchor, content, extent }) = open.pop() else { continue };
                let value = match content {
                    Content::List(items) => Value::List(items),
                    Content::Table { entries, .. } => {
                        check_keys(&entries)?;
                        Value::Table(entries)
                    }
                };
                (Rc::new(Node { place, value }), anchor, extent)
            }
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some((node, extent)) => {
                    repeated = repeated.saturating_add(extent.nodes);
                    if repeated > MOST_REPEATED {
                        let reason = format!("aliases stand for more than {MOST_REPEATED} nodes; write fewer of them");
                        return Err(SyntaxError { place, reason });
                    }
                    check_depth(open.len() + extent.depth, place)?;
                    (Rc::clone(node), 0, *extent)
                }
                None => return Err(SyntaxError { place, reason: "this alias stands for what contains it".into() }),
            },
            Event::DocumentStart(_) if root.is_some() => {
                let reason = "a second document begins here; write one document a file".into();
                return Err(SyntaxError { place, reason });
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                continue;
            }
        };
        if anchor != 0 {
            anchors.insert(anchor, (Rc::clone(&node), extent));
        }
        match open.last_mut() {
            Some(parent) => {
                parent.extent.add(extent);
                put(&mut parent.content, node, place)?;
            }
            None => root = Some(node),
        }
    }
    Ok(root.filter(|node| !node.is_null()))
}

fn begin(open: &mut Vec<Open>, new: Open) -> Result<(), SyntaxError> {
    check_depth(open.len() + 1, new.place)?;
    open.push(new);
    Ok(())
}

/// A tree is let go of node by node, each from within the one around it: one that is deep enough overruns the stack.
fn check_depth(depth: usize, place: Place) -> Result<(), SyntaxError> {
    if depth > DEEPEST {
        let reason = format!("lists and tables stand more than {DEEPEST} deep within each other");
        return Err(SyntaxError { place, reason });
    }
    Ok(())
}

fn put(parent: &mut Content, node: Rc<Node>, place: Place) -> Result<(), SyntaxError> {
    match parent {
        Content::List(items) => items.push(node),
        Content::Table { entries, key } => match key.take() {
            Some(key) => entries.push((key, node)),
            None => {
                let Value::Scalar { text, .. } = &node.value else {
                    let reason = format!("a key must be a text, found {}", node.found());
                    return Err(SyntaxError { place, reason });
                };
                *key = Some(Key { text: text.clone(), place });
            }
        },
    }
    Ok(())
}

/// No key stands twice: the parser does not mind, and one of the two would be ignored.
fn check_keys(entries: &[(Key, Rc<Node>)]) -> Result<(), SyntaxError> {
    let mut keys: Vec<&Key> = entries.iter().map(|(key, _)| key).collect();
    keys.sort_unstable_by_key(|key| (&key.text, key.place));
    match keys.windows(2).filter(|pair| pair[0].text == pair[1].text).min_by_key(|pair| pair[1].place) {
        None => Ok(()),
        Some(pair) => {
            let (key, line) = (super::spec::shorten(&pair[0].text), pair[0].place.line);
            let reason = format!("the key `{key}` stands here again, first on line {line}; remove one");
            Err(SyntaxError { place: pair[1].place, reason })
        }
    }
}

/// `!!str` and its like say what is known anyway; `!include` and its like would be ignored silently.
fn check_tag(tag: Option<&Cow<'_, Tag>>, place: Place) -> Result<(), SyntaxError> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            let reason = format!("the tag `{}` is not known here; remove it", super::spec::shorten(&tag.to_string()));
            Err(SyntaxError { place, reason })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;

    /// The tree as text, each node with its place.
    fn show(node: &Node) -> String {
        let value = match &node.value {
            Value::Scalar { text, plain } => format!("{}{text}", if *plain { "" } else { "'" }),
            Value::List(items) => format!("[{}]", items.iter().map(|i| show(i)).collect::<Vec<_>>().join(" ")),
            Value::Table(entries) => {
                let entries = entries.iter().map(|(k, v)| format!("{}@{}={}", k.text, k.place, show(v)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
        };
        format!("{value}@{}", node.place)
    }

    fn error(text: &str) -> String {
        let error = parse(text).unwrap_err();
        format!("{} {}", error.place, error.reason)
    }

    #[test]
    fn every_node_knows_its_place() {
        let text = "a: 1\nb: [x, 'y']\nc:\n  - {d: ~}\n";
        assert_eq!(
            show(&parse(text).unwrap().unwrap()),
            "{a@1:1=1@1:4 b@2:1=[x@2:5 'y@2:8]@2:4 c@3:1=[{d@4:6=~@4:9}@4:5]@4:3}@1:1"
        );
    }

    #[test]
    fn columns_count_characters_and_a_byte_order_mark_is_none() {
        assert_eq!(show(&parse("\u{feff}\u{e4}\u{f6}: x").unwrap().unwrap()), "{\u{e4}\u{f6}@1:1=x@1:5}@1:1");
    }

    #[test]
    fn an_alias_is_what_its_anchor_is() {
        let text = "a: &x [1]\nb: *x\n";
        assert_eq!(show(&parse(text).unwrap().unwrap()), "{a@1:1=[1@1:8]@1:4 b@2:1=[1@1:8]@1:4}@1:1");
    }

    #[test]
    fn aliases_do_not_get_round_the_limits() {
        // Each line one deeper than the line before: once, a file of a few hundred kilobytes overran the stack.
        let mut deep = "- &a0 [x]\n".to_owned();
        (1..100_000).for_each(|n| deep += &format!("- &a{n} [*a{}]\n", n - 1));
        let told = error(&deep);
        assert!(told.starts_with("32:") && told.contains("more than 32 deep"), "{told}");

        // Each line ten times the line before.
        let mut wide = "- &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..9 {
            wide += &format!("- &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
        }
        let told = error(&wide);
        assert!(told.starts_with("6:") && told.contains("aliases stand for more than 1000000 nodes"), "{told}");
    }

    #[test]
    fn empty_texts_are_none() {
        for text in ["", "\n# only a comment\n", "---\n", "~"] {
            assert!(parse(text).unwrap().is_none(), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_would_mislead() {
        let deep = "[".repeat(100);
        let table = [
            ("a: 1\nb: 2\na: 3\n", "3:1 the key `a` stands here again, first on line 1"),
            ("a: 1\n---\nb: 2\n", "a second document begins here"),
            ("a: !include x\n", "the tag `!include` is not known"),
            ("[a]: 1\n", "a key must be a text, found a list"),
            ("a: &x [*x]\n", "this alias stands for what contains it"),
            ("a: [1\nb: 2\n", "this is not YAML"),
            ("a: *nowhere\n", "this is not YAML"),
            ("a:\n\tb: 1", "this is not YAML"),
            ("{---", "this is not YAML"),
            (&deep, "1:33 lists and tables stand more than 32 deep"),
        ];
        for (text, expected) in table {
            assert!(error(text).contains(expected), "{text:?}: {}", error(text));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn yaml_like_text_is_read_or_refused(tokens in prop::collection::vec(token(), 0..40)) {
            let _ = parse(&tokens.concat());
        }
    }

    fn token() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "---",
            "...",
            "&a ",
            "*a",
            "!!str ",
            "!x ",
            "? ",
            ": ",
            ":",
            "- ",
            "[",
            "]",
            "{",
            "}",
            ",",
            "\n",
            "  ",
            "\t",
            "'",
            "\"",
            "|",
            ">",
            "#",
            " ",
            "%YAML 1.2\n",
            "\\",
            "key",
            "\u{e4}",
            "\0",
            "<<",
            "~",
            "\r",
            "\u{2028}",
        ])
    }
}
