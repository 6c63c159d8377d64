//! Events as JSON lines: changes of state, flapping, local faults, changes of routes.

use super::{WallClock, fields::Calendar, human::counted};
use crate::{
    base::{Nanos, TargetIndex},
    enrich::Known,
    health::{Change, Hold},
    path,
    targets::Plan,
    worker::Transition,
};
use serde::Serialize;
use std::{fmt, net::IpAddr, sync::Arc};

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

/// By what targets are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Via {
    /// Through whom; nobody where the targets are on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// From where.
    pub source: IpAddr,
}

/// How targets are probed has changed, because the kernel's routes or addresses have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewWay {
    /// Targets are probed by another next hop, or from another address.
    Moved {
        /// When they were, CLOCK_MONOTONIC.
        at: Nanos,
        /// Through which interface.
        interface: String,
        /// How many there are that changed alike.
        targets: usize,
        /// None: there was no way.
        from: Option<Via>,
        /// None: there is none, probes are *unsent*.
        to: Option<Via>,
        /// How many targets changed otherwise at the same time.
        others: usize,
    },
    /// Probes leave from another MAC address.
    Mac {
        /// Since when, CLOCK_MONOTONIC.
        at: Nanos,
        /// Of which interface.
        interface: String,
        /// The address.
        mac: String,
    },
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gateway {
            Some(gateway) => write!(f, "by gateway {gateway} from {}", self.source),
            None => write!(f, "on the link from {}", self.source),
        }
    }
}

impl fmt::Display for NewWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac { interface, mac, .. } => write!(f, "{interface} has another MAC address: {mac}"),
            Self::Moved { interface, targets, from, to, others, .. } => {
                let way = |via: &Option<Via>| via.map_or_else(|| "without a way".to_owned(), |via| via.to_string());
                let targets = counted(*targets as u64, "target");
                write!(f, "the route on {interface} has changed: {targets} now {}, before {}", way(to), way(from))?;
                match others {
                    0 => Ok(()),
                    others => write!(f, "; {} otherwise", counted(*others as u64, "other")),
                }
            }
        }
    }
}

/// Where a path ended that did not lead to its target, or that did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastHop {
    /// How far it is; None: nobody answered.
    pub at: Option<(u8, IpAddr)>,
    /// How far the target was before.
    pub hops: Option<u8>,
    /// Whether it is the target itself that answered.
    pub reached: bool,
}

impl fmt::Display for LastHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((ttl, address)) = self.at else { return f.write_str("no hop answers") };
        if self.reached {
            return write!(f, "it answers {ttl} hops away");
        }
        write!(f, "the last hop that answers is {address}, {ttl}")?;
        match self.hops {
            Some(hops) => write!(f, " of {hops}"),
            None => Ok(()),
        }
    }
}

/// The path to a target is another than before.
#[derive(Clone, Copy, Debug)]
pub struct PathChanged<'a> {
    /// Whose path.
    pub target: TargetIndex,
    /// When it was found, CLOCK_MONOTONIC.
    pub at: Nanos,
    /// Which of the flows takes it.
    pub flow: u16,
    /// From what to what.
    pub change: &'a path::Change,
}

/// Writes events into a buffer, a line each.
#[derive(Debug)]
pub struct EventLines {
    plan: Arc<Plan>,
    before: Option<Arc<Plan>>,
    clock: WallClock,
    calendar: Calendar,
    vantage: Option<String>,
}

#[derive(Serialize)]
struct Line<'a, T> {
    time: &'a str,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vantage: Option<&'a str>,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct Who {
    group: String,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
}

#[derive(Serialize)]
struct Whose<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_name: Option<&'a str>,
}

impl<'a> From<&'a Known> for Whose<'a> {
    fn from(known: &'a Known) -> Self {
        Self { name: known.name.as_deref(), asn: known.asn, as_name: known.as_name.as_deref() }
    }
}

#[derive(Serialize)]
struct OfTarget<'a, T> {
    #[serde(flatten)]
    who: Who,
    #[serde(flatten)]
    whose: Whose<'a>,
    #[serde(flatten)]
    what: T,
}

#[derive(Serialize)]
struct FromTo<'a> {
    from: &'static str,
    to: &'static str,
    #[serde(flatten)]
    end: Option<PathEnd<'a>>,
}

/// `last_hop` is null where nobody answered.
#[derive(Serialize)]
struct PathEnd<'a> {
    last_hop: Option<HopOf<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hops: Option<u8>,
    reached: bool,
}

#[derive(Serialize)]
struct HopOf<'a> {
    ttl: u8,
    address: IpAddr,
    #[serde(flatten)]
    whose: Whose<'a>,
}

#[derive(Serialize)]
struct NewPath<'a> {
    flow: u16,
    ttl: u8,
    old: Vec<HopOf<'a>>,
    new: Vec<HopOf<'a>>,
}

fn hops_of(way: &[((u8, IpAddr), Known)]) -> Vec<HopOf<'_>> {
    way.iter().map(|((ttl, address), known)| HopOf { ttl: *ttl, address: *address, whose: known.into() }).collect()
}

#[derive(Serialize)]
struct Flaps {
    flapping: bool,
    changes: usize,
    window_seconds: u64,
}

#[derive(Serialize)]
struct Moved<'a> {
    interface: &'a str,
    targets: usize,
    from: Option<Via>,
    to: Option<Via>,
    others: usize,
}

#[derive(Serialize)]
struct Mac<'a> {
    interface: &'a str,
    mac: &'a str,
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
        Self { plan, before: None, clock, calendar: Calendar::new(), vantage: None }
    }

    /// Where the place of measuring has a name, each line says it: `"vantage":…` behind `event`.
    #[must_use]
    pub fn at(self, vantage: Option<String>) -> Self {
        Self { vantage, ..self }
    }

    /// For those of another plan from now on.
    pub fn follow(&mut self, plan: Arc<Plan>) {
        self.before = Some(std::mem::replace(&mut self.plan, plan));
    }

    /// Of those before nothing is told any more: a plan of millions is not to be kept for nobody.
    pub fn forget_those_before(&mut self) {
        self.before = None;
    }

    /// The plan that it knows.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// `{"time":…,"event":"state","group":…,"target":…,"address":…,"from":"up","to":"down"}`. `address` is the target's now; what is known of
    /// it stands behind it: `"name":…,"asn":64500,"as_name":…`. Where a path has been found since, its end stands last:
    /// `"last_hop":{"ttl":3,"address":…},"hops":7,"reached":false`.
    pub fn state(
        &mut self,
        transition: &Transition,
        (address, known): (Option<IpAddr>, &Known),
        end: Option<(&LastHop, &Known)>,
        out: &mut Vec<u8>,
    ) {
        let end = end.map(|(end, known)| PathEnd {
            last_hop: end.at.map(|(ttl, address)| HopOf { ttl, address, whose: known.into() }),
            hops: end.hops,
            reached: end.reached,
        });
        let what = FromTo { from: transition.from.name(), to: transition.to.name(), end };
        let who = self.who(transition.target, address);
        self.line(transition.at, "state", OfTarget { who, whose: known.into(), what }, out);
    }

    /// `{"time":…,"event":"path_changed","group":…,"target":…,"address":…,"flow":0,"ttl":4,"old":[{"ttl":1,"address":…},…],"new":[…]}`; `ttl` is
    /// the nearest that differs.
    pub fn path_changed(
        &mut self,
        changed: &PathChanged<'_>,
        (address, known): (Option<IpAddr>, &Known),
        known_hop: &dyn Fn(IpAddr) -> Known,
        out: &mut Vec<u8>,
    ) {
        let PathChanged { target, at, flow, change } = *changed;
        let with_known = |way: &[(u8, IpAddr)]| way.iter().map(|hop| (*hop, known_hop(hop.1))).collect::<Vec<_>>();
        let (old, new) = (with_known(&change.old), with_known(&change.new));
        let what = NewPath { flow, ttl: change.ttl, old: hops_of(&old), new: hops_of(&new) };
        let who = self.who(target, address);
        self.line(at, "path_changed", OfTarget { who, whose: known.into(), what }, out);
    }

    /// `{"time":…,"event":"flapping","group":…,"target":…,"address":…,"flapping":true,"changes":7,"window_seconds":300}`.
    pub fn flapping(&mut self, change: &Change, at: Nanos, address: Option<IpAddr>, known: &Known, out: &mut Vec<u8>) {
        let Change { target, flapping, changes, window } = *change;
        let what = Flaps { flapping, changes, window_seconds: window.0 / 1_000_000_000 };
        let who = self.who(target, address);
        self.line(at, "flapping", OfTarget { who, whose: known.into(), what }, out);
    }

    /// `{"time":…,"event":"hold","reason":"gateway","since":…,"detail":…}`, or `release` when it is over.
    pub fn fault(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        let since = self.time(fault.since);
        let why = Why { reason: fault.reason.name(), since: &since, detail: &fault.detail };
        self.line(fault.at, if fault.over { "release" } else { "hold" }, why, out);
    }

    /// `{"time":…,"event":"route_changed","interface":…,"targets":7,"from":{"gateway":…,"source":…},"to":{…},"others":0}`, or
    /// `{"time":…,"event":"mac_changed","interface":…,"mac":…}`.
    pub fn new_way(&mut self, way: &NewWay, out: &mut Vec<u8>) {
        match way {
            NewWay::Moved { at, interface, targets, from, to, others } => {
                let what = Moved { interface, targets: *targets, from: *from, to: *to, others: *others };
                self.line(*at, "route_changed", what, out);
            }
            NewWay::Mac { at, interface, mac } => self.line(*at, "mac_changed", Mac { interface, mac }, out),
        }
    }

    /// `edge host.example (10.64.0.1)`, for the log.
    pub fn name(&self, target: TargetIndex, address: Option<IpAddr>) -> String {
        let Who { group, target, address } = self.who(target, address);
        match address.map(|address| address.to_string()) {
            Some(address) if address != target => format!("{group} {target} ({address})"),
            _ => format!("{group} {target}"),
        }
    }

    fn who(&self, index: TargetIndex, address: Option<IpAddr>) -> Who {
        // Who has been given up is in the plan of before.
        let plan = if self.plan.has(index) { &self.plan } else { self.before.as_ref().unwrap_or(&self.plan) };
        let group = plan.group_of(index).map(|group| &plan.groups[group]);
        Who {
            group: group.map_or_else(String::new, |group| group.name.clone()),
            target: plan.name_of(index).map(|name| name.to_string()).unwrap_or_default(),
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
        let _never =
            serde_json::to_writer(&mut *out, &Line { time: &time, event, vantage: self.vantage.as_deref(), rest });
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::State, results::tests::plan};

    const EDGE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 64, 0, 1)));
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
            written(|lines, out| lines.state(&transition, (EDGE, &Known::default()), None, out)),
            "{\"time\":\"2026-11-20T22:00:07.000000000Z\",\"event\":\"state\",\"group\":\"edge\",\"target\":\"host.example\",\
             \"address\":\"10.64.0.1\",\"from\":\"up\",\"to\":\"down\"}\n"
        );
    }

    #[test]
    fn a_place_that_has_a_name_says_it() {
        let clock = WallClock { offset_ns: 1_795_212_000_000_000_000 };
        let mut out = Vec::new();
        let mut lines = EventLines::new(Arc::new(plan()), clock).at(Some("fra".into()));
        lines.new_way(&NewWay::Mac { at: AT, interface: "eth0".into(), mac: "02::1".into() }, &mut out);
        let line = String::from_utf8(out).expect("JSON is UTF-8");
        let begin = "{\"time\":\"2026-11-20T22:00:07.000000000Z\",\"event\":\"mac_changed\",\"vantage\":\"fra\",";
        assert!(line.starts_with(begin), "{line}");
    }

    #[test]
    fn what_is_known_of_an_address_stands_beside_it() {
        let transition = Transition { target: TargetIndex(1), from: State::Up, to: State::Down, at: AT };
        let known =
            Known { name: Some("r7.example".into()), asn: Some(64_500), as_name: Some("EXAMPLE \"AS\"".into()) };
        let line = written(|lines, out| lines.state(&transition, (EDGE, &known), None, out));
        let expected = "\"address\":\"10.64.0.1\",\"name\":\"r7.example\",\"asn\":64500,\"as_name\":\"EXAMPLE \\\"AS\\\"\",\"from\":\"up\",\"to\":\"down\"}\n";
        assert!(line.ends_with(expected), "{line}");
    }

    #[test]
    fn who_goes_down_has_the_end_of_its_path() {
        let transition = Transition { target: TargetIndex(1), from: State::Up, to: State::Down, at: AT };
        let mut end = LastHop { at: Some((3, IpAddr::from([10, 0, 0, 3]))), hops: Some(7), reached: false };
        let known = Known { asn: Some(64_500), ..Known::default() };
        let rest = |end: &LastHop| {
            let line =
                written(|lines, out| lines.state(&transition, (EDGE, &Known::default()), Some((end, &known)), out));
            line.split_once("\"to\":\"down\",").map(|(_, rest)| rest.to_owned()).expect("down")
        };
        let expected =
            "\"last_hop\":{\"ttl\":3,\"address\":\"10.0.0.3\",\"asn\":64500},\"hops\":7,\"reached\":false}\n";
        assert_eq!(rest(&end), expected);
        assert_eq!(end.to_string(), "the last hop that answers is 10.0.0.3, 3 of 7");
        (end.at, end.hops) = (None, None);
        assert_eq!(rest(&end), "\"last_hop\":null,\"reached\":false}\n");
    }

    #[test]
    fn another_path_is_told_with_the_one_before() {
        let hop = |ttl: u8, n| (ttl, IpAddr::from([10, 0, ttl, n]));
        let change = path::Change { ttl: 2, old: vec![hop(1, 1), hop(2, 1)], new: vec![hop(1, 1), hop(2, 7)] };
        let changed = PathChanged { target: TargetIndex(1), at: AT, flow: 3, change: &change };
        let named = |address: IpAddr| Known { name: Some(format!("r{address}").into()), ..Known::default() };
        let line = written(|lines, out| lines.path_changed(&changed, (EDGE, &Known::default()), &named, out));
        let read: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        assert_eq!((&read["event"], &read["flow"], &read["ttl"]), (&"path_changed".into(), &3.into(), &2.into()));
        assert_eq!((&read["target"], &read["old"][1]["address"]), (&"host.example".into(), &"10.0.2.1".into()));
        assert_eq!((&read["new"][1]["address"], &read["new"][1]["name"]), (&"10.0.2.7".into(), &"r10.0.2.7".into()));
    }

    #[test]
    fn names_are_quoted() {
        let change = Change { target: TargetIndex(2), flapping: true, changes: 7, window: Nanos::from_secs(300) };
        let line = written(|lines, out| {
            lines.flapping(&change, AT, Some(IpAddr::from([10, 64, 0, 2])), &Known::default(), out)
        });
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

    #[test]
    fn a_change_of_routes_says_from_where_to_where() {
        let via = |gateway| Some(Via { gateway, source: IpAddr::from([10, 63, 0, 1]) });
        let (from, to) = (via(Some(IpAddr::from([10, 63, 0, 2]))), via(None));
        let interface = || "eth0".to_owned();
        let moved = NewWay::Moved { at: AT, interface: interface(), targets: 7, from, to, others: 1 };
        assert_eq!(
            written(|lines, out| lines.new_way(&moved, out)),
            "{\"time\":\"2026-11-20T22:00:07.000000000Z\",\"event\":\"route_changed\",\"interface\":\"eth0\",\"targets\":7,\
             \"from\":{\"gateway\":\"10.63.0.2\",\"source\":\"10.63.0.1\"},\"to\":{\"source\":\"10.63.0.1\"},\"others\":1}\n"
        );
        assert_eq!(
            moved.to_string(),
            "the route on eth0 has changed: 7 targets now on the link from 10.63.0.1, before by gateway 10.63.0.2 from \
             10.63.0.1; 1 other otherwise"
        );
        let gone = NewWay::Moved { at: AT, interface: interface(), targets: 1, from, to: None, others: 0 };
        let line: serde_json::Value =
            serde_json::from_str(&written(|lines, out| lines.new_way(&gone, out))).expect("a line of JSON");
        assert!(line["to"].is_null());
        let mac = NewWay::Mac { at: AT, interface: interface(), mac: "02:00:00:00:00:07".into() };
        let line: serde_json::Value =
            serde_json::from_str(&written(|lines, out| lines.new_way(&mac, out))).expect("a line of JSON");
        assert_eq!((&line["event"], &line["mac"]), (&"mac_changed".into(), &"02:00:00:00:00:07".into()));
    }
}
