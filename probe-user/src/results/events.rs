//! Events as JSON lines: changes of state, flapping, local faults.

use super::{WallClock, fields::Calendar};
use crate::{
    health::{Change, Hold},
    metrics::target_name,
    targets::Plan,
    time::Nanos,
    wire::TargetIndex,
    worker::Transition,
};
use serde::Serialize;
use std::{net::Ipv4Addr, sync::Arc};

/// A local fault that began, or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When this was found out, CLOCK_MONOTONIC.
    pub at: Nanos,
    /// What it is.
    pub reason: Hold,
    /// Since when it has been there.
    pub since: Nanos,
    /// Whether it is over.
    pub over: bool,
    /// For people: which interface, which gateway.
    pub detail: String,
}

/// Writes events into a buffer, a line each.
#[derive(Debug)]
pub struct EventLines {
    plan: Arc<Plan>,
    clock: WallClock,
    calendar: Calendar,
}

#[derive(Serialize)]
struct Line<'a, T> {
    time: &'a str,
    event: &'a str,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct Who {
    group: String,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Ipv4Addr>,
}

#[derive(Serialize)]
struct OfTarget<T> {
    #[serde(flatten)]
    who: Who,
    #[serde(flatten)]
    what: T,
}

#[derive(Serialize)]
struct FromTo {
    from: &'static str,
    to: &'static str,
}

#[derive(Serialize)]
struct Flaps {
    flapping: bool,
    changes: usize,
    window_seconds: u64,
}

#[derive(Serialize)]
struct Why<'a> {
    reason: &'static str,
    since: &'a str,
    detail: &'a str,
}

impl EventLines {
    /// For the targets of a plan.
    pub fn new(plan: Arc<Plan>, clock: WallClock) -> Self {
        Self { plan, clock, calendar: Calendar::new() }
    }

    /// `{"time":…,"event":"state","group":…,"target":…,"address":…,"from":"up","to":"down"}`. `address` is the target's now.
    pub fn state(&mut self, transition: &Transition, address: Option<Ipv4Addr>, out: &mut Vec<u8>) {
        let what = FromTo { from: transition.from.name(), to: transition.to.name() };
        let who = self.who(transition.target, address);
        self.line(transition.at, "state", OfTarget { who, what }, out);
    }

    /// `{"time":…,"event":"flapping","group":…,"target":…,"address":…,"flapping":true,"changes":7,"window_seconds":300}`.
    pub fn flapping(&mut self, change: &Change, at: Nanos, address: Option<Ipv4Addr>, out: &mut Vec<u8>) {
        let Change { target, flapping, changes, window } = *change;
        let what = Flaps { flapping, changes, window_seconds: window.0 / 1_000_000_000 };
        let who = self.who(target, address);
        self.line(at, "flapping", OfTarget { who, what }, out);
    }

    /// `{"time":…,"event":"hold","reason":"gateway","since":…,"detail":…}`, or `release` when it is over.
    pub fn fault(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        let since = self.time(fault.since);
        let why = Why { reason: fault.reason.name(), since: &since, detail: &fault.detail };
        self.line(fault.at, if fault.over { "release" } else { "hold" }, why, out);
    }

    /// `edge host.example (10.64.0.1)`, for the log.
    pub fn name(&self, target: TargetIndex, address: Option<Ipv4Addr>) -> String {
        let Who { group, target, address } = self.who(target, address);
        match address.map(|address| address.to_string()) {
            Some(address) if address != target => format!("{group} {target} ({address})"),
            _ => format!("{group} {target}"),
        }
    }

    fn who(&self, index: TargetIndex, address: Option<Ipv4Addr>) -> Who {
        let group = self.plan.groups.iter().find(|group| group.targets.contains(&index.0));
        Who {
            group: group.map_or_else(String::new, |group| group.name.clone()),
            target: target_name(&self.plan, index),
            address,
        }
    }

    fn time(&mut self, at: Nanos) -> String {
        let mut text = Vec::with_capacity(32);
        self.calendar.push(&mut text, self.clock.unix_ns(at), 9);
        String::from_utf8(text).unwrap_or_default()
    }

    fn line(&mut self, at: Nanos, event: &str, rest: impl Serialize, out: &mut Vec<u8>) {
        let time = self.time(at);
        // Strings and numbers into memory: nothing of it can fail.
        let _never = serde_json::to_writer(&mut *out, &Line { time: &time, event, rest });
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::State, results::tests::plan};

    const EDGE: Option<Ipv4Addr> = Some(Ipv4Addr::new(10, 64, 0, 1));
    const AT: Nanos = Nanos::from_secs(7);

    fn written(write: impl FnOnce(&mut EventLines, &mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        let clock = WallClock { offset_ns: 1_795_212_000_000_000_000 };
        write(&mut EventLines::new(Arc::new(plan()), clock), &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn a_change_of_state_names_the_target() {
        let transition = Transition { target: TargetIndex(1), from: State::Up, to: State::Down, at: AT };
        assert_eq!(
            written(|lines, out| lines.state(&transition, EDGE, out)),
            "{\"time\":\"2026-11-20T22:00:07.000000000Z\",\"event\":\"state\",\"group\":\"edge\",\"target\":\"host.example\",\
             \"address\":\"10.64.0.1\",\"from\":\"up\",\"to\":\"down\"}\n"
        );
    }

    #[test]
    fn names_are_quoted() {
        let change = Change { target: TargetIndex(2), flapping: true, changes: 7, window: Nanos::from_secs(300) };
        let line = written(|lines, out| lines.flapping(&change, AT, Some(Ipv4Addr::new(10, 64, 0, 2)), out));
        let read: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        assert_eq!(read["group"], "the \"far\", side");
        assert_eq!(
            (&read["target"], &read["changes"], &read["window_seconds"]),
            (&"10.64.0.2".into(), &7.into(), &300.into())
        );
    }

    #[test]
    fn a_fault_has_a_beginning_and_an_end() {
        let since = Nanos::from_secs(5);
        let mut fault = Fault { at: AT, reason: Hold::Gateway, since, over: false, detail: "10.63.0.2 on eth0".into() };
        let expected = |event| {
            format!(
                "{{\"time\":\"2026-11-20T22:00:07.000000000Z\",\"event\":\"{event}\",\"reason\":\"gateway\",\
                 \"since\":\"2026-11-20T22:00:05.000000000Z\",\"detail\":\"10.63.0.2 on eth0\"}}\n"
            )
        };
        assert_eq!(written(|lines, out| lines.fault(&fault, out)), expected("hold"));
        fault.over = true;
        assert_eq!(written(|lines, out| lines.fault(&fault, out)), expected("release"));
    }
}
