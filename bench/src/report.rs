//! Tables: rows that are measured round by round, printed for people or for programs.

use crate::measure::{machine, median};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What all tables are asked for with.
#[derive(clap::Args, Clone)]
pub(crate) struct Common {
    /// The program to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/echolot")]
    pub(crate) binary: PathBuf,
    /// Each row is measured so often, in turn; the medians count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure only rows whose name has one of these texts in it. What is a share of another row needs that one too
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// One small round, in seconds: shows that the command works, and measures nothing
    #[arg(long)]
    pub(crate) short: bool,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

/// A table.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    /// The command.
    pub(crate) bench: String,
    /// What its figures mean, and what ran where.
    pub(crate) about: String,
    pub(crate) machine: String,
    pub(crate) rounds: u32,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
}

/// One figure of every row.
#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct Column {
    pub(crate) key: String,
    pub(crate) heading: String,
    decimals: usize,
}

/// Who was measured, and what came out.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Engine and mode, settings, placement.
    pub(crate) with: String,
    /// By column. A row need not have all.
    pub(crate) figures: BTreeMap<String, Figure>,
}

/// A figure's median, and each round's value in order.
#[derive(Serialize, Deserialize, Default)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    rounds: Vec<f64>,
}

/// What a round of a row gives: figures by column, and perhaps what it turned out to run with.
pub(crate) struct Measured {
    pub(crate) figures: Vec<(&'static str, f64)>,
    pub(crate) with: Option<String>,
}

impl Measured {
    pub(crate) fn new(figures: &[(&'static str, f64)]) -> Self {
        Self { figures: figures.to_vec(), with: None }
    }
}

impl Common {
    /// Measures every row once a round, so that a bad minute of the machine touches all rows alike, and prints the table.
    /// `seconds` is how long a round may take; `columns` are key, heading and decimals.
    pub(crate) fn table<T>(
        &self,
        (bench, about): (&str, &str),
        columns: &[(&str, &str, usize)],
        contestants: &[T],
        named: impl Fn(&T) -> (String, String),
        seconds: f64,
        mut measure: impl FnMut(&T) -> Result<Measured, String>,
    ) -> Result<(), String> {
        let rounds = if self.short { 1 } else { self.rounds };
        let columns = columns.iter().map(|(key, heading, decimals)| Column {
            key: (*key).into(),
            heading: (*heading).into(),
            decimals: *decimals,
        });
        let row = |contestant| {
            let (name, with) = named(contestant);
            let wanted = self.only.is_empty() || self.only.iter().any(|text| name.contains(text));
            wanted.then(|| (contestant, Row { name, with, figures: BTreeMap::new() }))
        };
        let (contestants, rows): (Vec<_>, Vec<_>) = contestants.iter().filter_map(row).unzip();
        if rows.is_empty() {
            return Err(format!("--only {}: no row has that in its name", self.only.join(" --only ")));
        }
        let mut report = Report {
            bench: bench.into(),
            about: about.into(),
            machine: machine(),
            rounds,
            columns: columns.collect(),
            rows,
        };
        if !self.short {
            eprintln!("{bench}: {rounds} rounds, about {:.0} s in all", f64::from(rounds) * seconds);
        }
        let mut failures = Vec::new();
        for round in 1..=rounds {
            for (contestant, row) in contestants.iter().copied().zip(&mut report.rows) {
                eprintln!("round {round} of {rounds}: {}", row.name);
                // One that fails doesn't cost the others their figures.
                let measured = match measure(contestant) {
                    Ok(measured) => measured,
                    Err(error) => {
                        failures.push(format!("round {round}, {}: {error}", row.name));
                        continue;
                    }
                };
                row.with = measured.with.unwrap_or(std::mem::take(&mut row.with));
                for (key, value) in measured.figures.into_iter().filter(|(_, value)| value.is_finite()) {
                    let figure = row.figures.entry(key.into()).or_default();
                    figure.rounds.push(value);
                    figure.median = median(figure.rounds.clone());
                }
            }
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?);
        } else {
            print!("{}", report.to_markdown());
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\nbench: ")) }
    }
}

impl Report {
    /// Reads what `--json` wrote.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text)
            .map_err(|error| format!("{}: no table of this program's --json: {error}", path.display()))
    }

    /// A row's figure.
    pub(crate) fn figure(&self, row: &Row, key: &str) -> Option<f64> {
        row.figures.get(key).map(|figure| figure.median).filter(|value| value.is_finite())
    }

    /// For people, and for docs.
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = format!("{}\n\n{}; medians of {} rounds\n\n|", self.about, self.machine, self.rounds);
        text += " what | with |";
        self.columns.iter().for_each(|column| text += &format!(" {} |", column.heading));
        text += "\n|---|---|";
        self.columns.iter().for_each(|_| text += "---:|");
        text.push('\n');
        for row in &self.rows {
            text += &format!("| {} | {} |", row.name, row.with);
            for column in &self.columns {
                text += &match self.figure(row, &column.key) {
                    Some(value) => format!(" {} |", grouped(value, column.decimals)),
                    None => "  |".into(),
                };
            }
            text.push('\n');
        }
        text
    }
}

/// 1234567.8 as 1,234,567.8.
pub(crate) fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.trim_start_matches('-');
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{}{out}{rest}", if whole.starts_with('-') { "-" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let all = [(0.0, "0"), (999.0, "999"), (1_000.0, "1,000"), (-1_234_567.0, "-1,234,567")];
        for (value, text) in all {
            assert_eq!(grouped(value, 0), text);
        }
        assert_eq!(grouped(1234.56, 1), "1,234.6");
    }
}
