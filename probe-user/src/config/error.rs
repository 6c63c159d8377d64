//! What is wrong with a configuration, in words for people.

use crate::targets::{self, Place};
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why a configuration was refused: every problem that was found, at least one.
#[derive(Debug)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where; None where no line is to blame.
    pub place: Option<Place>,
    /// Which field: `groups[1].interval`; empty for the file itself.
    pub field: String,
    /// What was found, what is expected, what to do.
    pub reason: String,
}

/// More problems than this are not listed: they tend to have one cause.
const MOST_SHOWN: usize = 20;

/// One line a problem: `file:line:column: field: reason`.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().take(MOST_SHOWN).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.file.display())?;
            if let Some(place) = problem.place {
                write!(f, ":{place}")?;
            }
            if !problem.field.is_empty() {
                write!(f, ": {}", problem.field)?;
            }
            write!(f, ": {}", problem.reason)?;
        }
        if let Some(more) = self.problems.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
            write!(f, "\n{}: and {more} more", self.file.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// A problem that no line is to blame for.
    pub(super) fn of_file(file: &Path, reason: impl Into<String>) -> Self {
        Self::at(file, None, "", reason)
    }

    pub(super) fn at(file: &Path, place: Option<Place>, field: &str, reason: impl Into<String>) -> Self {
        let problem = Problem { place, field: field.to_owned(), reason: reason.into() };
        Self { file: file.to_owned(), problems: vec![problem] }
    }

    pub(super) fn unreadable(file: &Path, error: &io::Error) -> Self {
        Self::of_file(file, format!("cannot be read: {error}"))
    }

    /// A target file or the expansion of targets failed; the error names its own place.
    pub(super) fn of_targets(file: &Path, place: Option<Place>, field: &str, error: &targets::Error) -> Self {
        Self::at(file, place, field, error.to_string())
    }
}
