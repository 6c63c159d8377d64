//! From the lines that a machine reports to what was seen and what is wrong. Pure.

use super::check::Facts;
use super::json::flatten;
use super::scenario::Scenario;
use super::tries::Tries;

/// Facts that are cells of the table at the end: `table.ROW`.
const CELL: &str = "table.";

/// What one virtual machine reported.
#[derive(Default)]
pub(super) struct Report {
    pub(super) kernel: String,
    driver: String,
    ran: Vec<Ran>,
    /// Why it ended early, if it did.
    failed: Option<String>,
    done: bool,
    /// What the kernel's log has of pools, warnings and crashes.
    log: Vec<String>,
}

/// What came of a scenario.
#[derive(Default)]
struct Ran {
    name: String,
    facts: Facts,
    /// The facts' names, in the order in which they were told.
    order: Vec<String>,
    notes: Vec<String>,
    told: Vec<String>,
    failed: Option<String>,
    skipped: Option<String>,
    /// The shell's status.
    ended: Option<String>,
    tries: Tries,
}

/// A scenario, judged.
pub(super) struct Verdict {
    /// For people.
    pub(super) told: String,
    /// A sentence for each thing that is wrong.
    pub(super) wrong: Vec<String>,
}

impl Report {
    /// From the report's text.
    pub(super) fn parse(text: &str) -> Self {
        let mut report = Self::default();
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "kernel" => report.kernel = rest.into(),
                "driver" => report.driver = rest.into(),
                "failed" => report.failed = Some(rest.into()),
                "done" => report.done = true,
                "kernel-log" => report.log.push(rest.into()),
                "scenario" => report.ran.push(Ran { name: rest.into(), ..Ran::default() }),
                _ => {
                    if let Some(ran) = report.ran.last_mut() {
                        ran.line(word, rest);
                    }
                }
            }
        }
        report
    }

    /// Judges all that were to run.
    pub(super) fn judge(&self, scenarios: &[&Scenario]) -> Verdict {
        let mut verdict = Verdict { told: format!("Linux {}, {}\n", self.kernel, self.driver), wrong: Vec::new() };
        for scenario in scenarios {
            match self.ran.iter().find(|ran| ran.name == scenario.name) {
                Some(ran) => ran.judge(scenario, &mut verdict),
                None if self.failed.is_none() => verdict.wrong.push(format!("{}: it was not begun", scenario.name)),
                None => {}
            }
        }
        for line in &self.log {
            verdict.told.push_str(&format!("  kernel: {line}\n"));
            if ["WARNING:", "BUG:", "Oops"].iter().any(|sign| line.contains(sign)) {
                verdict.wrong.push(format!("the kernel complains: {line}"));
            }
        }
        if let Some(why) = &self.failed {
            verdict.wrong.push(why.clone());
        } else if !self.done {
            verdict.wrong.push("the machine ended before its scenarios did: see the console".into());
        }
        verdict
    }

    /// The cells that it has for the table: row and text.
    pub(super) fn cells(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ran.iter().flat_map(|ran| {
            ran.order.iter().filter_map(|key| Some((key.strip_prefix(CELL)?, ran.facts.get(key)?.as_str())))
        })
    }
}

impl Ran {
    fn line(&mut self, word: &str, rest: &str) {
        let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "fact" => {
                self.order.push(key.into());
                self.facts.insert(key.into(), value.into());
            }
            "summary" => flatten(key, value, &mut self.facts),
            "note" => self.notes.push(rest.into()),
            "told" => self.told.push(rest.into()),
            "fail" => self.failed = Some(rest.into()),
            "skip" => self.skipped = Some(rest.into()),
            "ended" => self.ended = Some(rest.into()),
            _ => self.tries.line(word, rest),
        }
    }

    fn judge(&self, scenario: &Scenario, verdict: &mut Verdict) {
        let name = &self.name;
        let told = &mut verdict.told;
        told.push_str(&format!("  {name}: {}\n", scenario.about));
        told.push_str(&self.tries.table());
        for note in &self.notes {
            told.push_str(&format!("    {note}\n"));
        }
        let before = verdict.wrong.len();
        let wrong = &mut verdict.wrong;
        wrong.extend(self.tries.wrong().into_iter().map(|what| format!("{name}: {what}")));
        match (&self.failed, self.ended.as_deref()) {
            (Some(why), _) => wrong.push(format!("{name}: {why}")),
            (None, Some("0")) => {}
            (None, Some(status)) => wrong.push(format!("{name}: ended with {status}")),
            (None, None) => wrong.push(format!("{name}: the machine ended before it did: see the console")),
        }
        if let Some(why) = &self.skipped {
            told.push_str(&format!("    skipped: {why}\n"));
        } else {
            for check in &scenario.checks {
                for judged in check.judge(&self.facts) {
                    match judged {
                        Ok(fact) => told.push_str(&format!("    ok      {}: {fact}\n", check.what)),
                        Err(fact) => {
                            told.push_str(&format!("    WRONG   {}: {fact}\n", check.what));
                            wrong.push(format!("{name}: {}: {fact}", check.what));
                        }
                    }
                }
            }
        }
        if wrong.len() > before {
            let facts = self.order.iter().filter_map(|key| Some((key, self.facts.get(key)?)));
            facts.for_each(|(key, value)| told.push_str(&format!("    fact    {key} {value}\n")));
            self.told.iter().for_each(|line| told.push_str(&format!("    told    {line}\n")));
        }
    }
}

/// Cells of several machines as a table of Markdown: a column a machine, a row a name. None if there is none.
pub(super) fn table(columns: &[(String, Vec<(String, String)>)]) -> Option<String> {
    let mut rows: Vec<&str> = Vec::new();
    for (row, _) in columns.iter().flat_map(|(_, cells)| cells) {
        if !rows.contains(&row.as_str()) {
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return None;
    }
    let columns: Vec<_> = columns.iter().filter(|(_, cells)| !cells.is_empty()).collect();
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut text = line([""].into_iter().chain(columns.iter().map(|(name, _)| name.as_str())).collect());
    text.push_str(&format!("|{}\n", "---|".repeat(columns.len() + 1)));
    for row in rows {
        let cell = |cells: &[(String, String)]| -> String {
            // The last word is the one that counts.
            cells.iter().rfind(|(name, _)| name == row).map_or("-", |(_, cell)| cell).to_owned()
        };
        let cells: Vec<String> = columns.iter().map(|(_, cells)| cell(cells)).collect();
        text.push_str(&line([row].into_iter().chain(cells.iter().map(String::as_str)).collect()));
    }
    Some(text)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that meets none fails")]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        let text =
            "# All is answered.\n# check answered: *.answered = *.probes\n# check nothing is left: left = \"none\"\n";
        Scenario::parse("modes", text).unwrap()
    }

    fn judged(lines: &str) -> Verdict {
        let text = format!("kernel 6.1\ndriver igb\n{lines}");
        Report::parse(&text).judge(&[&scenario()])
    }

    #[test]
    fn facts_are_judged() {
        let well =
            judged("scenario modes\nsummary a {\"probes\": 5, \"answered\": 5}\nfact left none\nended 0\ndone\n");
        assert_eq!(well.wrong, [""; 0]);
        assert!(well.told.contains("ok      answered: a.answered = a.probes: 5 = 5"), "{}", well.told);
        let ill = judged(
            "scenario modes\nsummary a {\"probes\": 5, \"answered\": 4}\nfact left 77\nended 0\ntold oh\ndone\n",
        );
        assert_eq!(
            ill.wrong,
            ["modes: answered: a.answered = a.probes: 4 = 5", "modes: nothing is left: left = \"none\": 77 = none"]
        );
        assert!(ill.told.contains("told    oh") && ill.told.contains("fact    left 77"), "{}", ill.told);
    }

    #[test]
    fn an_end_that_is_none_is_wrong() {
        let missing = "there is no fact";
        for (lines, parts) in [
            ("failed no near0\n", &["no near0"][..]),
            ("done\n", &["not begun"]),
            ("scenario modes\nfail no carrier\nended 1\ndone\n", &["modes: no carrier", missing, missing]),
            ("scenario modes\nended 2\ndone\n", &["modes: ended with 2", missing, missing]),
            (
                "scenario modes\nfact left none\n",
                &["machine ended before it did", missing, "ended before its scenarios"],
            ),
            ("scenario modes\nskip no zero-copy\nended 0\ndone\n", &[]),
        ] {
            let wrong = judged(lines).wrong;
            assert_eq!(wrong.len(), parts.len(), "{lines}: {wrong:?}");
            assert!(wrong.iter().zip(parts).all(|(wrong, part)| wrong.contains(part)), "{lines}: {wrong:?}");
        }
    }

    #[test]
    fn tries_are_judged_in_their_scenario() {
        let text = "kernel 6.1\nscenario modes\ntry a afxdp auto 1 1\ntry-ended a 2\ntry-told a echolot: no\nfact left none\nended 0\ndone\n";
        let wrong = Report::parse(text).judge(&[&scenario()]).wrong;
        assert!(wrong[0].contains("modes: a: echolot ended with status 2"), "{wrong:?}");
    }

    #[test]
    fn cells_become_a_table() {
        let report = Report::parse(
            "kernel 6.1\nscenario modes\nfact table.copy sends\nfact other 1\nfact table.live sends, receives\n",
        );
        let cells: Vec<(String, String)> = report.cells().map(|(row, cell)| (row.into(), cell.into())).collect();
        let other = vec![("live".to_owned(), "no".to_owned())];
        let text =
            table(&[("6.1, igb".into(), cells), ("6.18, igb".into(), other), ("none".into(), Vec::new())]).unwrap();
        assert_eq!(
            text,
            "|  | 6.1, igb | 6.18, igb |\n|---|---|---|\n| copy | sends | - |\n| live | sends, receives | no |\n"
        );
        assert_eq!(table(&[]), None);
    }
}
