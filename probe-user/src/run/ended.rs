//! How a run ended, or why it could not begin.

use crate::{base::Outcome, results::Summary};
use std::{fmt, process::ExitCode};

/// How a command that could run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All is well: every probe answered, the sweep complete, the host fine.
    Complete,
    /// ping: some were not answered. doctor: there is a problem.
    Problem,
    /// sweep: something was unsent or unheard, or a result was dropped.
    Incomplete,
}

impl Status {
    /// What the shell gets.
    pub const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Problem => 1,
            // 2 is a Failure.
            Self::Incomplete => 3,
        }
    }

    /// Of a ping: whether everything that came due was answered.
    pub const fn of_ping(summary: &Summary) -> Self {
        if summary.probes > 0 && summary.of(Outcome::Answered) == summary.probes {
            Self::Complete
        } else {
            Self::Problem
        }
    }

    /// Of a sweep over `expected` targets: whether each was probed, and nothing on this machine was in the way.
    pub fn of_sweep(summary: &Summary, expected: u64) -> Self {
        let in_the_way = summary.of(Outcome::Unsent)
            + summary.of(Outcome::Unheard)
            + summary.in_flight
            + summary.skipped
            + summary.results_dropped();
        if in_the_way == 0 && summary.probes == expected { Self::Complete } else { Self::Incomplete }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}

/// Why a command could not run, for people: what was tried, on what, why it failed and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The message, without the program's name.
    pub message: String,
    /// What the shell gets.
    pub status: u8,
}

impl Failure {
    /// Could not run: exit status 2.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: 2 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "echolot: {}", self.message)
    }
}

/// An error of any part of the program is told by its own words.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}
