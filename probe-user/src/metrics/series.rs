//! The series of single targets, streamed. A million targets are ten million lines and half a gigabyte, so nothing
//! is ever held but the chunk in the making; and the writer is our own, because the lines are few and simple.

use super::{ExpositionError, Source, families as f, families::Family};
use crate::{
    base::{Outcome, State, TargetIndex},
    ledger::TargetRow,
    targets::{self, FAMILY, Families, Plan},
};
use std::{fmt::Write, sync::Arc};

/// How long a chunk is, bytes: the lines of a target that would make it longer go into the next one. Only the lines of
/// one single target can be longer than this.
pub const CHUNK: usize = 64 * 1024;

/// The exposition of the groups that ask for series per target, chunk by chunk, family by family as the format wants
/// it. Between two chunks others can run.
///
/// Each item is text to send on, or an error after which nothing more comes: then the scrape has to fail as a whole,
/// because what is left out can't be told from what isn't there.
pub struct TargetSeries {
    source: Arc<dyn Source>,
    plan: Arc<Plan>,
    steps: Box<dyn Iterator<Item = Step> + Send>,
    /// What did not fit into the last chunk.
    pending: String,
    /// `{group="…",target="…"` of the target in the making; kept for its memory.
    labels: String,
}

/// One step of the exposition.
enum Step {
    /// A family begins.
    Header(Family),
    /// The lines of one target, by its group and its index.
    Target(Family, Lines, usize, u32),
}

/// Writes what one target contributes to a family: nothing, a line, or several.
type Lines = fn(&mut Line<'_>, &TargetRow);

const WRITERS: [(Family, Lines); 5] = [
    (f::TARGET_UP, up),
    (f::TARGET_SETTLED, settled),
    (f::TARGET_RTT, rtt),
    (f::TARGET_LAST_REPLY, last_reply),
    (f::TARGET_INFO, info),
];

impl TargetSeries {
    /// Begins with the plan in force now.
    ///
    /// # Errors
    /// A label name that Prometheus would refuse.
    pub fn new(source: Arc<dyn Source>) -> Result<Self, ExpositionError> {
        let plan = source.plan();
        for set in &plan.label_sets {
            let group = &plan.groups[plan.sums[set.sums[0] as usize].group];
            for name in set.labels.keys().filter(|_| group.per_target) {
                targets::check_label_name(name)
                    .map_err(|why| ExpositionError::Label { group: group.name.clone(), why })?;
            }
        }
        let groups = plan.groups.iter().enumerate().filter(|(_, group)| group.per_target);
        let groups: Vec<_> = groups.map(|(i, group)| (i, group.runs().collect::<Vec<_>>())).collect();
        let writers = WRITERS.into_iter().filter({
            let any = !groups.is_empty();
            move |_| any
        });
        let of_steps = Arc::clone(&plan);
        let steps = writers.flat_map(move |(family, lines)| {
            let plan = Arc::clone(&of_steps);
            let targets = groups.clone().into_iter().flat_map(move |(group, runs)| {
                let plan = Arc::clone(&plan);
                let there = runs.into_iter().flatten().filter(move |index| plan.has(TargetIndex(*index)));
                there.map(move |index| Step::Target(family, lines, group, index))
            });
            std::iter::once(Step::Header(family)).chain(targets)
        });
        Ok(Self { source, plan, steps: Box::new(steps), pending: String::new(), labels: String::new() })
    }
}

impl Iterator for TargetSeries {
    type Item = Result<String, ExpositionError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Room for one target's lines above what is kept.
        let mut chunk = String::with_capacity(CHUNK + 4096);
        chunk.push_str(&std::mem::take(&mut self.pending));
        for step in self.steps.by_ref() {
            let before = chunk.len();
            match step {
                Step::Header(Family { name, help, kind }) => {
                    chunk.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name()));
                }
                Step::Target(family, lines, group, index) => {
                    let row = self.source.target(TargetIndex(index));
                    self.labels.clear();
                    self.labels.push_str("{group=\"");
                    escape(&mut self.labels, &self.plan.groups[group].name);
                    self.labels.push_str("\",target=\"");
                    let name = self.plan.name_of(TargetIndex(index)).map(|name| name.to_string());
                    escape(&mut self.labels, &name.unwrap_or_default());
                    self.labels.push('"');
                    // A name is two targets there.
                    if self.plan.groups[group].family == Families::Both
                        && let Some(family) = self.plan.family_of(TargetIndex(index))
                    {
                        push(&mut self.labels, format_args!(",{FAMILY}=\"{}\"", family.name()));
                    }
                    let (source, plan, labels) = (&*self.source, &*self.plan, &*self.labels);
                    lines(&mut Line { out: &mut chunk, name: family.name, labels, source, plan, index }, &row);
                }
            }
            if chunk.len() > CHUNK && before > 0 {
                self.pending = chunk.split_off(before);
                break;
            }
        }
        if chunk.is_empty() {
            return None;
        }
        // Asked after the rows were read: a row of a new plan's target under an old one's name goes nowhere.
        if !Arc::ptr_eq(&self.plan, &self.source.plan()) {
            self.steps = Box::new(std::iter::empty());
            self.pending.clear();
            return Some(Err(ExpositionError::Reloaded));
        }
        Some(Ok(chunk))
    }
}

/// Where a target's lines go, and what they have in common.
struct Line<'a> {
    out: &'a mut String,
    name: &'static str,
    labels: &'a str,
    source: &'a dyn Source,
    plan: &'a Plan,
    index: u32,
}

impl Line<'_> {
    /// `name`, `suffix` and the common labels, without the closing brace.
    fn begin(&mut self, suffix: &str) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        self.out.push_str(self.labels);
    }

    fn label(&mut self, name: &str, value: &str) {
        self.out.push(',');
        self.out.push_str(name);
        self.out.push_str("=\"");
        escape(self.out, value);
        self.out.push('"');
    }

    fn end(&mut self, value: u64) {
        push(self.out, format_args!("}} {value}\n"));
    }
}

fn up(line: &mut Line<'_>, row: &TargetRow) {
    let up = match row.state {
        State::Up => 1,
        State::Down => 0,
        State::Unknown | State::Unresolved => return,
    };
    line.begin("");
    line.end(up);
}

fn settled(line: &mut Line<'_>, row: &TargetRow) {
    for (outcome, n) in Outcome::ALL.iter().zip(row.settled) {
        line.begin("");
        line.label("outcome", outcome.name());
        line.end(n);
    }
}

fn rtt(line: &mut Line<'_>, row: &TargetRow) {
    line.begin("_sum");
    // Exact, where an f64 would not be after 104 days.
    push(line.out, format_args!("}} {}.{:09}\n", row.rtt_sum / 1_000_000_000, row.rtt_sum % 1_000_000_000));
    line.begin("_count");
    line.end(row.settled[Outcome::Answered as usize]);
}

fn last_reply(line: &mut Line<'_>, row: &TargetRow) {
    let Some(moment) = row.last_reply else { return };
    line.begin("");
    let unix = line.source.monotonic_to_unix(moment);
    push(line.out, format_args!("}} {unix:.6}\n"));
}

fn info(line: &mut Line<'_>, row: &TargetRow) {
    let plan = line.plan;
    line.begin("");
    line.label("address", &row.address.map(|a| a.to_string()).unwrap_or_default());
    let target = plan.targets.get(line.index as usize);
    if let Some(set) = target.and_then(|target| plan.label_sets.get(target.label_set as usize)) {
        for (name, value) in &set.labels {
            line.label(name, value);
        }
    }
    line.end(1);
}

/// The text format's escapes in a label's value: backslash, double quote and line feed, nothing else.
fn escape(out: &mut String, value: &str) {
    let mut rest = value;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes whatever fits into memory: there is no error to see.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_escaped_value_stays_on_its_line_between_its_quotes(value in "[\\\\\"\n\r a-cé]*") {
            let mut out = String::new();
            escape(&mut out, &value);
            prop_assert!(!out.contains('\n'));
            let (mut back, mut bytes) = (String::new(), out.chars());
            while let Some(c) = bytes.next() {
                prop_assert!(c != '"', "an unescaped quote in {out}");
                back.push(match c {
                    '\\' => match bytes.next() {
                        Some('n') => '\n',
                        Some(c @ ('\\' | '"')) => c,
                        other => return Err(TestCaseError::fail(format!("\\{other:?}"))),
                    },
                    c => c,
                });
            }
            prop_assert_eq!(back, value);
        }
    }
}
