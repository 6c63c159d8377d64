//! One source: what it last said well, and how it fares. Time is an argument.

use crate::{
    base::{Nanos, RepeatedFault},
    targets::TargetList,
};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// How a source fares, for metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceState {
    /// The group whose targets it has; empty for exclusions, which are everybody's.
    pub group: String,
    /// What it is called; unique within the group.
    pub source: String,
    /// Whether it could be read the last time; None before that.
    pub up: Option<bool>,
    /// Targets that it has, each once; of exclusions addresses.
    pub targets: u64,
    /// Readings that failed.
    pub failures: u64,
    /// When it was last read well, Unix time in seconds; None before that.
    pub last_success: Option<f64>,
}

/// What came of reading a source.
#[derive(Debug)]
pub(super) struct Reading {
    /// The lists from now on, and how many targets they name; None for those that there are.
    pub(super) lists: Option<(Vec<TargetList>, u64)>,
    /// What is wrong, in words for people.
    pub(super) fault: Option<String>,
}

impl Reading {
    pub(super) fn good(lists: Vec<TargetList>) -> Self {
        Self::partly(lists, None)
    }

    /// Lists, and what is wrong beside them. Counting takes a while where lists are long: nobody is kept waiting meanwhile.
    pub(super) fn partly(lists: Vec<TargetList>, fault: Option<String>) -> Self {
        let targets = TargetList::distinct(&lists);
        Self { lists: Some((lists, targets)), fault }
    }

    pub(super) const fn failed(fault: String) -> Self {
        Self { lists: None, fault: Some(fault) }
    }
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Info(String),
    Warn(String),
}

impl Line {
    pub(super) fn log(self) {
        match self {
            Self::Info(text) => tracing::info!("{text}"),
            Self::Warn(text) => tracing::warn!("{text}"),
        }
    }
}

/// A source.
pub(super) struct Source {
    pub(super) state: SourceState,
    /// What the log calls it.
    title: String,
    min_targets: u64,
    /// What is counted: targets or excluded addresses.
    what: &'static str,
    pub(super) lists: Arc<[TargetList]>,
    fault: RepeatedFault,
    /// It was there before, by another configuration: what it has is what was known of it then, be it nothing.
    pub(super) inherited: bool,
    /// It has not been read well since: whoever reads it can't know what a part of it that can't be read had.
    unconfirmed: bool,
}

impl Source {
    /// One that has not been read. `group` is empty for exclusions.
    pub(super) fn new(group: &str, source: String, min_targets: u64) -> Self {
        let (title, what) = if group.is_empty() {
            (format!("exclusions of {source}"), "excluded address")
        } else {
            (format!("group {group}: targets of {source}"), "target")
        };
        let state =
            SourceState { group: group.to_owned(), source, up: None, targets: 0, failures: 0, last_success: None };
        Self {
            state,
            title,
            min_targets,
            what,
            lists: Arc::new([]),
            fault: RepeatedFault::default(),
            inherited: false,
            unconfirmed: false,
        }
    }

    /// Has what another one of the same settings has, and fares as that does, until it is read.
    pub(super) fn inherit(&mut self, other: &Self) {
        self.lists = Arc::clone(&other.lists);
        (self.inherited, self.unconfirmed) = (true, true);
        self.state = SourceState { source: self.state.source.clone(), ..other.state.clone() };
    }

    /// Takes over what came of reading it. Returns whether its lists are others now, and what the log is told.
    pub(super) fn read(&mut self, reading: Reading, now: Nanos, unix: SystemTime) -> (bool, Option<Line>) {
        let Reading { mut lists, mut fault } = reading;
        if self.unconfirmed && fault.is_some() {
            lists = None;
        }
        self.unconfirmed &= fault.is_some();
        if lists.as_ref().is_some_and(|(lists, _)| **lists == *self.lists) {
            lists = None;
        }
        let targets = lists.as_ref().map_or(self.state.targets, |(_, targets)| *targets);
        if targets < self.min_targets && targets < self.state.targets {
            let few = format!("it names {}, and min_targets is {}", self.counted(targets), self.min_targets);
            fault = Some(fault.map_or(few.clone(), |fault| format!("{fault}; {few}")));
            lists = None;
        }
        let before = self.state.targets;
        let changed = lists.is_some();
        if let Some((lists, targets)) = lists {
            (self.lists, self.state.targets) = (lists.into(), targets);
        }
        let line = match fault {
            Some(fault) => {
                self.state.failures += 1;
                self.failed(&fault, now)
            }
            None => {
                self.state.last_success =
                    Some(unix.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
                self.worked(changed, before)
            }
        };
        (changed, line)
    }

    fn failed(&mut self, fault: &str, now: Nanos) -> Option<Line> {
        self.state.up = Some(false);
        let times = self.fault.happened(now)?;
        let kept = match self.state.targets {
            0 => "it has none".to_owned(),
            targets => format!("{} kept", self.counted(targets)),
        };
        Some(Line::Warn(format!("{}: {fault}{times}; {kept}", self.title)))
    }

    fn worked(&mut self, changed: bool, before: u64) -> Option<Line> {
        let was = self.state.up.replace(true);
        let now = self.counted(self.state.targets);
        match was {
            _ if self.fault.over().is_some() => Some(Line::Info(format!("{}: can be read again: {now}", self.title))),
            None => Some(Line::Info(format!("{}: {now}", self.title))),
            _ if changed => Some(Line::Info(format!("{}: {now}, {before} before", self.title))),
            _ => None,
        }
    }

    fn counted(&self, count: u64) -> String {
        let plural = match (count, self.what.ends_with('s')) {
            (1, _) => "",
            (_, true) => "es",
            _ => "s",
        };
        format!("{count} {}{plural}", self.what)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn list(targets: u32) -> Vec<TargetList> {
        let all: Vec<String> = (0..targets).map(|i| format!("10.0.{}.{}", i / 256, i % 256)).collect();
        vec![TargetList::from_arguments(&all).unwrap()]
    }

    fn read(source: &mut Source, reading: Reading, after: u64) -> (bool, Option<String>) {
        let (now, unix) = (Nanos::from_secs(after), UNIX_EPOCH + Duration::from_secs(1_000 + after));
        let (changed, line) = source.read(reading, now, unix);
        (changed, line.map(|(Line::Info(text) | Line::Warn(text))| text))
    }

    #[test]
    fn each_change_of_state_is_one_line_and_a_fault_that_goes_on_one_in_five_minutes() {
        let mut source = Source::new("edge", "t.json".into(), 0);
        let bad = || Reading::failed("t.json:1:1: EOF".into());
        let said = |line: &str| Some(format!("group edge: targets of t.json: {line}"));
        assert_eq!(read(&mut source, bad(), 0), (false, said("t.json:1:1: EOF; it has none")));
        assert_eq!(source.state.up, Some(false));
        assert_eq!(read(&mut source, Reading::good(list(2)), 1), (true, said("can be read again: 2 targets")));
        assert_eq!(read(&mut source, Reading::good(list(2)), 2), (false, None));
        assert_eq!(read(&mut source, Reading::good(list(1)), 3), (true, said("1 target, 2 before")));
        assert_eq!(source.state.last_success, Some(1_003.0));
        assert_eq!(read(&mut source, bad(), 10), (false, said("t.json:1:1: EOF; 1 target kept")));
        for after in 11..310 {
            assert_eq!(read(&mut source, bad(), after), (false, None));
        }
        let again = said("t.json:1:1: EOF (300 times in the last 300s); 1 target kept");
        assert_eq!(read(&mut source, bad(), 310), (false, again));
        assert_eq!((source.state.failures, source.state.targets, source.lists.len()), (302, 1, 1));
        assert_eq!(source.state.last_success, Some(1_003.0));
        assert_eq!(read(&mut source, Reading::good(Vec::new()), 311), (true, said("can be read again: 0 targets")));
    }

    #[test]
    fn a_shrink_below_the_least_is_refused_and_growth_never() {
        let mut source = Source::new("edge", "t.json".into(), 100);
        // At the start few are better than none.
        assert!(read(&mut source, Reading::good(list(3)), 0).0);
        assert!(read(&mut source, Reading::good(list(50)), 1).0);
        let (changed, line) = read(&mut source, Reading::good(list(49)), 2);
        assert!(!changed);
        assert!(line.unwrap().contains("it names 49 targets, and min_targets is 100; 50 targets kept"));
        assert!(read(&mut source, Reading::good(list(300)), 3).0);
        assert!(read(&mut source, Reading::good(list(100)), 4).0);
        assert!(!read(&mut source, Reading::good(Vec::new()), 5).0);
        assert_eq!((source.state.targets, source.state.up), (100, Some(false)));
        // One that fails besides says both.
        let partly = Reading::partly(list(1), Some("b.json is malformed".into()));
        source.fault = RepeatedFault::default();
        let line = read(&mut source, partly, 6).1.unwrap();
        assert!(line.contains("b.json is malformed; it names 1 target, and min_targets is 100"), "{line}");
    }

    proptest! {
        /// Against the rules, one by one.
        #[test]
        fn keeps_the_last_good_ones(least in 0u64..6, readings in prop::collection::vec((0u32..8, any::<bool>(), any::<bool>()), 1..40)) {
                let mut source = Source::new("edge", "x".into(), least);
            let (mut kept, mut failures) = (0u64, 0);
            for (i, (count, has_lists, is_fault)) in (0u64..).zip(readings) {
                let lists = has_lists.then(|| list(count));
                let fault = (is_fault || !has_lists).then(|| "fault".to_owned());
                let refused = has_lists && u64::from(count) < least && u64::from(count) < kept;
                let is_bad = fault.is_some() || refused;
                let before = kept;
                if has_lists && !refused {
                    kept = count.into();
                }
                failures += u64::from(is_bad);
                let reading = match lists {
                    Some(lists) => Reading::partly(lists, fault),
                    None => Reading::failed("fault".into()),
                };
                let (changed, _) = read(&mut source, reading, i);
                prop_assert_eq!((source.state.targets, source.state.failures, source.state.up), (kept, failures, Some(!is_bad)));
                prop_assert_eq!(TargetList::distinct(&source.lists), kept);
                // The first, empty list is another than none at all.
                prop_assert!(changed == (before != kept) || (before == 0 && kept == 0));
            }
        }
    }
}
