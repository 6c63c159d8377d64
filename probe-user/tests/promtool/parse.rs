//! A small strict reader of the text format, independent of what wrote it. It panics on what the format forbids.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Exposition {
    /// Family to type.
    pub(crate) types: BTreeMap<String, String>,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Exposition {
    /// The value of the one sample with this name and these labels, others aside.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.all(name, labels);
        assert_eq!(found.len(), 1, "{name}{labels:?}: {found:?}");
        found[0].value
    }

    pub(crate) fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let fits = |s: &&Sample| {
            s.name == name && labels.iter().all(|(k, v)| s.labels.get(*k).is_some_and(|value| value == v))
        };
        self.samples.iter().filter(fits).collect()
    }
}

pub(crate) fn parse(text: &str) -> Exposition {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end");
    let mut out = Exposition::default();
    let (mut family, mut seen) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap().into();
            assert!(!out.types.contains_key(&family), "{family} comes twice");
            assert!(help.len() > family.len() + 1, "{family} has no help");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let kind = kind.strip_prefix(&format!("{family} ")).unwrap_or_else(|| panic!("{line} after {family}"));
            assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
            out.types.insert(family.clone(), kind.into());
        } else {
            let sample = sample(line);
            let suffix = sample.name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} in {family}"));
            let allowed: &[&str] = match out.types[&family].as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["_sum", "_count"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line} in {family}");
            assert!(seen.insert(line.rsplit_once(' ').unwrap().0.to_owned()), "{line} comes twice");
            out.samples.push(sample);
        }
    }
    out
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line:?}"));
    let (name, mut rest) = line.split_at(end);
    assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line:?}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line:?}"));
            let (value, after) = unescape(after, line);
            assert!(labels.insert(label.into(), value).is_none(), "{label} twice in {line:?}");
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line:?}"));
    let value = value.parse().unwrap_or_else(|_| panic!("{line:?}"));
    Sample { name: name.into(), labels, value }
}

fn unescape<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        value.push(match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                other => panic!("\\{other:?} in {line:?}"),
            },
            c => c,
        });
    }
    panic!("a label value does not end: {line:?}")
}
