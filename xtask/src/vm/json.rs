//! The figures of echolot's summary: its JSON object as facts, nested names joined by dots. Pure. It reads what echolot writes, and no
//! more of JSON than that has.

use super::check::Facts;

/// Puts each number, word and truth value of an object into the facts, below a name. What is no JSON is left out from there on.
pub(super) fn flatten(below: &str, text: &str, facts: &mut Facts) {
    let mut rest = Rest(text.trim_start());
    // What could be read of a summary that is cut short stays: the check that misses a figure says so.
    let _ = rest.value(below, facts);
}

struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn value(&mut self, name: &str, facts: &mut Facts) -> Option<()> {
        self.space();
        match self.0.chars().next()? {
            '{' => {
                self.skip(1);
                while !self.take('}') {
                    let key = self.word()?;
                    self.take(':').then_some(())?;
                    self.value(&format!("{name}.{key}"), facts)?;
                    self.take(',');
                }
            }
            '[' => {
                self.skip(1);
                let mut place = 0;
                while !self.take(']') {
                    self.value(&format!("{name}.{place}"), facts)?;
                    place += 1;
                    self.take(',');
                }
            }
            '"' => {
                let word = self.word()?;
                facts.insert(name.into(), word.into());
            }
            _ => {
                let end = self.0.find(|c: char| ",}]".contains(c) || c.is_whitespace())?;
                facts.insert(name.into(), self.0[..end].into());
                self.skip(end);
            }
        }
        Some(())
    }

    fn space(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn skip(&mut self, bytes: usize) {
        self.0 = &self.0[bytes..];
    }

    /// Takes this character if it is next.
    fn take(&mut self, wanted: char) -> bool {
        self.space();
        let found = self.0.starts_with(wanted);
        if found {
            self.skip(wanted.len_utf8());
        }
        found
    }

    /// Takes a string, its escapes as they stand.
    fn word(&mut self) -> Option<&'a str> {
        self.take('"').then_some(())?;
        let mut escaped = false;
        let end = self.0.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        let word = &self.0[..end];
        self.skip(end + 1);
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined() {
        let mut facts = Facts::new();
        let text = r#"{  "probes": 10,  "rtt_ns": {"p50": 7, "p99": 9}, "mode": "zero-copy", "why": "a \"b\"", "list": [1, {}], "none": null}"#;
        flatten("run", text, &mut facts);
        let facts: Vec<(&str, &str)> = facts.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(
            facts,
            [
                ("run.list.0", "1"),
                ("run.mode", "zero-copy"),
                ("run.none", "null"),
                ("run.probes", "10"),
                ("run.rtt_ns.p50", "7"),
                ("run.rtt_ns.p99", "9"),
                ("run.why", "a \\\"b\\\""),
            ]
        );
    }

    #[test]
    fn what_is_cut_short_gives_what_it_has() {
        for (text, many) in
            [("", 0), ("{", 0), ("{\"a\": 1, \"b\"", 1), ("{\"a\": 1, \"b\": ", 1), ("nothing", 0), ("{\"a\" 1}", 0)]
        {
            let mut facts = Facts::new();
            flatten("x", text, &mut facts);
            assert_eq!(facts.len(), many, "{text}");
        }
    }
}
