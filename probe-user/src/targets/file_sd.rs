//! Target files in the form of Prometheus' file_sd: `[{"targets": [...], "labels": {...}}]`, JSON or YAML.
//!
//! Labels that begin with `__` steer Prometheus' relabelling; they are left out here.

use super::{
    Error, SpecError, TargetList, TargetSpec, labels,
    yaml::{self, Node, Value},
};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    path::Path,
};

/// Reads a target file, `.json`, `.yml` or `.yaml`: one list for each set of labels, in the order in which they first
/// stand in the file. An error names file, line and column.
pub fn read_file(path: &Path, ports: Ports) -> Result<Vec<TargetList>, Error> {
    let form = form_of(path)?;
    let read = fs::read(path).map_err(|error| Error::Read { file: path.display().to_string(), error });
    parse_as(form, &path.display().to_string(), read?, ports)
}

/// The same from the file's content; the path says by its ending which form that has, and stands in errors.
pub fn parse(path: &Path, content: Vec<u8>, ports: Ports) -> Result<Vec<TargetList>, Error> {
    parse_as(form_of(path)?, &path.display().to_string(), content, ports)
}

/// The same of JSON from wherever it came, which is called `name` in errors.
pub fn parse_json(name: &str, content: Vec<u8>, ports: Ports) -> Result<Vec<TargetList>, Error> {
    parse_as(Form::Json, name, content, ports)
}

/// What becomes of a port behind a target.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Ports {
    /// It is an error.
    #[default]
    Refused,
    /// It is left out: what lists have that were made for Prometheus.
    Stripped,
}

impl Ports {
    fn read(self, text: &str) -> Result<TargetSpec, SpecError> {
        match self {
            Self::Refused => text.parse(),
            Self::Stripped => without_port(text).parse(),
        }
    }
}

/// `host.example` of `host.example:9100`, `::1` of `[::1]:9100`; whatever has no port is as it was.
fn without_port(text: &str) -> &str {
    let Some((host, port)) = text.rsplit_once(':') else { return text };
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inside) if is_port => inside,
        None if is_port && !host.contains(':') => host,
        _ => text,
    }
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Yaml,
}

fn form_of(path: &Path) -> Result<Form, Error> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "json" => Ok(Form::Json),
        "yml" | "yaml" => Ok(Form::Yaml),
        _ => {
            let reason = "a target file is named .json, .yml or .yaml, by which its form is known; rename it".into();
            Err(Error::Content { place: path.display().to_string(), reason })
        }
    }
}

fn parse_as(form: Form, name: &str, content: Vec<u8>, ports: Ports) -> Result<Vec<TargetList>, Error> {
    let text = String::from_utf8(content)
        .map_err(|_| Error::Content { place: name.to_owned(), reason: "it is not UTF-8 text".into() })?;
    let parsed = match form {
        Form::Json => json(&text, ports),
        Form::Yaml => yaml(&text, ports),
    };
    parsed.map_err(|(line, column, reason)| Error::Content { place: format!("{name}:{line}:{column}"), reason })
}

/// Line, column and what is wrong there.
type Problem = (usize, usize, String);

/// Lists by their labels: a file of a million entries often has a few sets of labels.
#[derive(Default)]
struct Lists {
    lists: Vec<TargetList>,
    by_labels: HashMap<BTreeMap<String, String>, usize>,
}

impl Lists {
    fn add(&mut self, list: TargetList) {
        match self.by_labels.get(&list.labels) {
            Some(i) => self.lists[*i].append(list),
            None => {
                self.by_labels.insert(list.labels.clone(), self.lists.len());
                self.lists.push(list);
            }
        }
    }
}

const ENTRY: &str = "an entry with `targets` and, if wanted, `labels`";
const FILE: &str = "a list of entries with `targets` and, if wanted, `labels`";
const STRANGE_KEY: &str = "an entry has `targets` and `labels` alone; remove it";
const MISSING: &str = "the entry has no `targets`";

fn label(list: &mut TargetList, name: &str, value: impl Into<String>) -> Result<(), String> {
    if !name.starts_with("__") {
        labels::check(name)?;
        list.labels.insert(name.to_owned(), value.into());
    }
    Ok(())
}

fn yaml(text: &str, ports: Ports) -> Result<Vec<TargetList>, Problem> {
    let problem = |node: &Node, reason: String| (node.place.line, node.place.column, reason);
    let expected = |node: &Node, what: &str| problem(node, format!("found {}, expected {what}", node.found()));
    let Some(root) = yaml::parse(text).map_err(|e| (e.place.line, e.place.column, e.reason))? else {
        return Ok(Vec::new());
    };
    let Value::List(entries) = &root.value else { return Err(expected(&root, FILE)) };
    let mut lists = Lists::default();
    for entry in entries {
        let Value::Table(fields) = &entry.value else { return Err(expected(entry, ENTRY)) };
        let mut list = TargetList::default();
        let mut has_targets = false;
        for (key, value) in fields {
            match (&key.text[..], &value.value) {
                ("targets", Value::List(targets)) => {
                    has_targets = true;
                    for target in targets {
                        let Value::Scalar { text, .. } = &target.value else {
                            return Err(expected(target, "a target"));
                        };
                        list.push(ports.read(text).map_err(|e| problem(target, e.to_string()))?);
                    }
                }
                ("targets", _) => return Err(expected(value, "a list of targets")),
                ("labels", Value::Table(labels)) => {
                    for (name, value) in labels {
                        let Value::Scalar { text, .. } = &value.value else {
                            return Err(expected(value, "the label's value, a text"));
                        };
                        label(&mut list, &name.text, text)
                            .map_err(|reason| (name.place.line, name.place.column, reason))?;
                    }
                }
                ("labels", _) if value.is_null() => {}
                ("labels", _) => return Err(expected(value, "a table of labels")),
                (other, _) => {
                    let reason = format!("unknown key `{}`: {STRANGE_KEY}", super::spec::shorten(other));
                    return Err((key.place.line, key.place.column, reason));
                }
            }
        }
        if !has_targets {
            return Err(problem(entry, MISSING.into()));
        }
        lists.add(list);
    }
    Ok(lists.lists)
}

/// JSON is read target by target, without a tree: files of millions of targets are JSON, made by programs.
fn json(text: &str, ports: Ports) -> Result<Vec<TargetList>, Problem> {
    let mut deserializer = serde_json::Deserializer::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut lists = Lists::default();
    deserializer.deserialize_seq(Entries(&mut lists, ports)).and_then(|()| deserializer.end()).map_err(|error| {
        let reason = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        (error.line(), error.column(), reason.strip_suffix(&place).unwrap_or(&reason).to_owned())
    })?;
    Ok(lists.lists)
}

struct Entries<'a>(&'a mut Lists, Ports);

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FILE)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(list) = entries.next_element_seed(Entry(self.1))? {
            self.0.add(list);
        }
        Ok(())
    }
}

struct Entry(Ports);

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = TargetList;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TargetList, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entry {
    type Value = TargetList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ENTRY)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<TargetList, A::Error> {
        let mut list = TargetList::default();
        let (mut has_targets, mut has_labels) = (false, false);
        while let Some(key) = fields.next_key::<String>()? {
            match &key[..] {
                "targets" if !has_targets => {
                    has_targets = true;
                    fields.next_value_seed(Targets(&mut list, self.0))?;
                }
                "labels" if !has_labels => {
                    has_labels = true;
                    for (name, value) in fields.next_value::<Option<BTreeMap<String, String>>>()?.unwrap_or_default() {
                        label(&mut list, &name, value).map_err(A::Error::custom)?;
                    }
                }
                "targets" | "labels" => {
                    return Err(A::Error::custom(format!("the key `{key}` stands here again; remove one")));
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                    let key = super::spec::shorten(&key);
                    return Err(A::Error::custom(format!("unknown key `{key}`: {STRANGE_KEY}")));
                }
            }
        }
        if has_targets { Ok(list) } else { Err(A::Error::custom(MISSING)) }
    }
}

struct Targets<'a>(&'a mut TargetList, Ports);

impl<'de> DeserializeSeed<'de> for Targets<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Targets<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of targets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut targets: A) -> Result<(), A::Error> {
        while let Some(spec) = targets.next_element_seed(Spec(self.1))? {
            self.0.push(spec);
        }
        Ok(())
    }
}

/// A target within a JSON string. The error is made while the string is read, so it carries its place.
struct Spec(Ports);

impl<'de> DeserializeSeed<'de> for Spec {
    type Value = TargetSpec;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TargetSpec, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Spec {
    type Value = TargetSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a target")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TargetSpec, E> {
        self.0.read(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::{super::testing::tempdir, *};
    use proptest::prelude::*;

    fn show(lists: &[TargetList]) -> Vec<String> {
        let show = |list: &TargetList| {
            let ranges: Vec<_> = list.ranges().map(|range| range.to_string()).collect();
            format!("{} {} {:?}", ranges.join(","), list.names().join(","), list.labels)
        };
        lists.iter().map(show).collect()
    }

    const AS_JSON: &str = r#"[
        {"targets": ["10.0.0.1", "host.example"], "labels": {"site": "fra", "__meta_x": "y"}},
        {"labels": {"site": "muc"}, "targets": ["10.0.1.0/24"]},
        {"targets": ["10.0.0.2"], "labels": {"site": "fra"}},
        {"targets": []}
    ]"#;
    const AS_YAML: &str = "
- targets: [10.0.0.1, host.example]
  labels: {site: fra, __meta_x: y}
- labels:
    site: muc
  targets:
    - 10.0.1.0/24
- {targets: [10.0.0.2], labels: {site: fra}}
- targets: []
";

    #[test]
    fn json_and_yaml_say_the_same() {
        let expected =
            ["10.0.0.1,10.0.0.2 host.example {\"site\": \"fra\"}", "10.0.1.0/24  {\"site\": \"muc\"}", "  {}"];
        assert_eq!(show(&json(AS_JSON, Ports::Refused).unwrap()), expected);
        assert_eq!(show(&yaml(AS_YAML, Ports::Refused).unwrap()), expected);
        assert_eq!(show(&yaml(AS_JSON, Ports::Refused).unwrap()), expected);
        assert!(yaml("", Ports::Refused).unwrap().is_empty() && json("[]", Ports::Refused).unwrap().is_empty());
    }

    #[test]
    fn json_errors_name_the_place() {
        let table = [
            ("[\n{\"targets\": [\"10.0.0.1\", \"10.0.0.2:9100\"]}]", (2, 40), "has a port, and echo probes have none"),
            ("[{\"targets\": [\"x\"], \"label\": {}}]", (1, 32), "unknown key `label`"),
            ("[{\"labels\": {}}]", (1, 15), "has no `targets`"),
            ("{\"targets\": []}", (1, 0), "expected a list of entries"),
            ("[\"10.0.0.1\"]", (1, 11), "expected an entry"),
            ("[{\"targets\": [1]}]", (1, 15), "expected a target"),
            ("[{\"targets\": [\"x\"], \"labels\": {\"group\": \"x\"}}]", (1, 45), "`group` is set by echolot itself"),
            ("[{\"targets\": [], \"targets\": []}]", (1, 26), "stands here again"),
            ("[] x", (1, 4), "trailing"),
        ];
        for (text, place, expected) in table {
            let (line, column, reason) = json(text, Ports::Refused).unwrap_err();
            assert!(reason.contains(expected) && !reason.contains("at line"), "{text}: {reason}");
            assert_eq!((line, column), place, "{text}: {reason}");
        }
    }

    #[test]
    fn yaml_errors_name_the_place() {
        let table = [
            (
                "- targets: [10.0.0.1]\n- targets: [a, '[::1]:80']\n",
                (2, 16),
                "it has a port, and echo probes have none; write ::1",
            ),
            ("- target: [a]\n", (1, 3), "unknown key `target`"),
            ("- labels: {a: b}\n", (1, 3), "has no `targets`"),
            ("targets: [a]\n", (1, 1), "found a table of keys and values, expected a list of entries"),
            ("- targets: a\n", (1, 12), "found `a`, expected a list of targets"),
            ("- targets: [a]\n  labels: {b: [c]}\n", (2, 15), "expected the label's value"),
            ("- targets: [a]\n  labels: {le: x}\n", (2, 12), "`le` is set by echolot itself"),
        ];
        for (text, place, expected) in table {
            let (line, column, reason) = yaml(text, Ports::Refused).unwrap_err();
            assert!(reason.contains(expected), "{text}: {reason}");
            assert_eq!((line, column), place, "{text}: {reason}");
        }
    }

    #[test]
    fn files_are_told_apart_by_their_ending_and_named_in_errors() {
        let dir = tempdir();
        for (name, content) in [("a.json", AS_JSON), ("a.YML", AS_YAML), ("a.yaml", AS_YAML)] {
            fs::write(dir.join(name), content).unwrap();
            assert_eq!(read_file(&dir.join(name), Ports::Refused).unwrap().len(), 3, "{name}");
        }
        for (name, content, expected) in [
            ("a.txt", "", "a.txt: a target file is named .json, .yml or .yaml"),
            ("b.json", "[{\"targets\": [\"-\"]}]", "b.json:1:17: `-` is not a target"),
        ] {
            fs::write(dir.join(name), content).unwrap();
            let error = read_file(&dir.join(name), Ports::Refused).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = read_file(&dir.join("none.json"), Ports::Refused).unwrap_err().to_string();
        assert!(error.contains("none.json: cannot be read"), "{error}");
    }

    #[test]
    fn ports_are_stripped_where_that_is_asked_for() {
        let text = r#"[{"targets": ["10.0.0.1:9100", "[2001:db8::1]:80", "host.example:9100", "2001:db8::2", "10.0.0.2", "[::3]"]}]"#;
        let expected = ["10.0.0.1,10.0.0.2,2001:db8::1,2001:db8::2,::3 host.example {}"];
        assert_eq!(show(&json(text, Ports::Stripped).unwrap()), expected);
        assert_eq!(show(&yaml(text, Ports::Stripped).unwrap()), expected);
        // What is no port is still an error.
        for text in ["10.0.0.1:", "10.0.0.1:x", "[::1]:", "host.example:80:90", "http://host.example:80/"] {
            let error = json(&format!("[{{\"targets\": [\"{text}\"]}}]"), Ports::Stripped).unwrap_err();
            assert!(error.2.contains("is not a target"), "{text}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = (json(&text, Ports::Refused), yaml(&text, Ports::Refused));
        }

        #[test]
        fn file_like_text_is_read_or_refused(
            parts in prop::collection::vec(
                prop::sample::select(vec!["[", "]", "{", "}", ":", ",", "\"targets\"", "\"labels\"", "\"10.0.0.1\"", "- ", "\n", "null", "7"]),
                0..30,
            ),
        ) {
            let text = parts.concat();
            let _ = (json(&text, Ports::Refused), yaml(&text, Ports::Refused));
        }
    }
}
