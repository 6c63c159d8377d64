//! A path as a line of JSON, as lines of comma-separated values, or as text for people.

use super::{WallClock, fields::Calendar};
use crate::{
    base::{Ended, MplsLabel, Nanos, Outcome},
    enrich::Known,
    path::{Change, Flows, Hop, Path, Rounds, Verdict},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fmt::Write as _, iter, net::IpAddr};

/// Whose path it is.
#[derive(Clone, Debug)]
pub struct PathSubject {
    /// As it was given.
    pub target: String,
    /// Its address.
    pub address: IpAddr,
    /// What was sent: `icmp`, `tcp:443`.
    pub probe: String,
}

/// Columns of CSV; a line a hop.
pub const PATH_CSV_HEADER: &str =
    "time,target,address,probe,round,flow,reached,ttl,outcome,hop_address,rtt_ns,reply_ttl,reason,name,asn,as_name\n";

/// One object: target, round and flow, with its hops.
pub fn path_json(path: &Path, subject: &PathSubject, clock: WallClock, known: &dyn Fn(IpAddr) -> Known) -> String {
    let times = |hop: &Hop| match hop.ttl {
        3 if cfg!(broken = "hop-missing") => 0,
        3 if cfg!(broken = "hop-twice") => 2,
        _ => 1,
    };
    let hops = path.hops.iter().flat_map(|hop| iter::repeat_n(hop, times(hop)));
    let hops: Vec<Value> = hops.map(|hop| hop_json(hop, subject.address, known)).collect();
    let mut object = Map::new();
    object.insert("time".into(), time(path.sent, clock).into());
    object.insert("target".into(), subject.target.clone().into());
    object.insert("address".into(), subject.address.to_string().into());
    object.insert("probe".into(), subject.probe.clone().into());
    object.insert("round".into(), path.round.into());
    object.insert("flow".into(), path.flow.into());
    object.insert("reached".into(), path.reached.into());
    object.insert("took_ns".into(), path.took.0.into());
    if path.by_packet {
        object.insert("balanced".into(), "packet".into());
    }
    object.insert("hops".into(), hops.into());
    Value::Object(object).to_string()
}

fn hop_json(hop: &Hop, target: IpAddr, known: &dyn Fn(IpAddr) -> Known) -> Value {
    let mut object = Map::new();
    object.insert("ttl".into(), hop.ttl.into());
    if hop.sent > Nanos::ZERO {
        object.insert("sent_ns".into(), hop.sent.0.into());
    }
    object.insert("outcome".into(), hop.outcome().name().into());
    if let Some(address) = hop.address(target) {
        object.insert("address".into(), address.to_string().into());
        let Known { name, asn, as_name } = known(address);
        let facts = [("name", name.map(|name| json!(&*name))), ("asn", asn.map(|asn| json!(asn)))];
        let facts = facts.into_iter().chain([("as_name", as_name.map(|name| json!(&*name)))]);
        object.extend(facts.filter_map(|(key, value)| Some((key.to_owned(), value?))));
    }
    if let Some(rtt) = hop.rtt() {
        object.insert("rtt_ns".into(), rtt.0.into());
    }
    if let Some(ttl) = hop.reply_ttl() {
        object.insert("reply_ttl".into(), ttl.into());
    }
    if let Some(reason) = hop.ended.reason() {
        object.insert("reason".into(), reason.into());
    }
    if let Ended::Answered { port: Some(port), .. } = hop.ended {
        object.insert("port".into(), port.name().into());
    }
    if let Ended::Hop { quote, .. } = hop.ended {
        object.insert("quoted_ttl".into(), quote.ttl.into());
        object.insert("quote".into(), quote.proof.name().into());
        if quote.is_translated {
            object.insert("quote_nat".into(), true.into());
        }
        if !quote.labels.is_empty() {
            let label = |label: MplsLabel| json!({"label": label.label, "exp": label.exp, "ttl": label.ttl});
            object.insert("mpls".into(), quote.labels.iter().map(label).collect());
        }
    }
    Value::Object(object)
}

/// A line a hop.
pub fn path_csv(path: &Path, subject: &PathSubject, clock: WallClock, known: &dyn Fn(IpAddr) -> Known) -> String {
    let mut lines = String::new();
    let PathSubject { target, address, probe } = subject;
    let begin = format!("{},{},{address},{probe}", time(path.sent, clock), csv(target));
    for hop in &path.hops {
        let of = |value: Option<String>| value.unwrap_or_default();
        let Known { name, asn, as_name } = hop.address(*address).map(known).unwrap_or_default();
        let _ = writeln!(
            lines,
            "{begin},{},{},{},{},{},{},{},{},{},{},{},{}",
            path.round,
            path.flow,
            path.reached,
            hop.ttl,
            hop.outcome().name(),
            of(hop.address(*address).map(|from| from.to_string())),
            of(hop.rtt().map(|rtt| rtt.0.to_string())),
            of(hop.reply_ttl().map(|ttl| ttl.to_string())),
            hop.ended.reason().unwrap_or_default(),
            of(name.map(|name| csv(&name))),
            of(asn.map(|asn| asn.to_string())),
            of(as_name.map(|name| csv(&name))),
        );
    }
    lines
}

/// What is said first of a target, as traceroute does.
pub fn path_header(subject: &PathSubject, most: u8, flows: Flows) -> String {
    let PathSubject { target, address, probe } = subject;
    let whom = if *target == address.to_string() { target.clone() } else { format!("{target} ({address})") };
    let flows = match flows {
        Flows::Exactly(1) => String::new(),
        Flows::Exactly(flows) => format!(", {flows} flows"),
        Flows::Auto => ", as many flows as show all branches".into(),
    };
    format!("trace to {whom}, {most} hops at most, {probe}{flows}\n")
}

/// The flows of one round: a line a hop, and where they went different ways a line a branch.
pub fn paths_text(paths: &[Path], subject: &PathSubject, known: &dyn Fn(IpAddr) -> Known) -> String {
    let mut by_ttl: BTreeMap<u8, Vec<(u16, &Hop)>> = BTreeMap::new();
    for path in paths {
        path.hops.iter().for_each(|hop| by_ttl.entry(hop.ttl).or_default().push((path.flow, hop)));
    }
    let mut text = String::new();
    for (ttl, hops) in by_ttl {
        let mut branches: Vec<(Option<IpAddr>, Vec<u16>, &Hop)> = Vec::new();
        for (flow, hop) in hops {
            let from = hop.address(subject.address);
            match branches.iter_mut().find(|(other, ..)| *other == from) {
                Some((_, flows, _)) => flows.push(flow),
                None => branches.push((from, vec![flow], hop)),
            }
        }
        // Who says nothing to some flows is no branch.
        let some_heard = branches.iter().any(|(from, ..)| from.is_some());
        branches.retain(|(from, ..)| from.is_some() || !some_heard);
        let several = branches.len() > 1;
        for (nth, (from, flows, hop)) in branches.into_iter().enumerate() {
            let number = if nth == 0 { format!("{ttl:>2}") } else { "  ".into() };
            let _ = write!(text, "{number}  {}", hop_text(hop, from, known));
            if several {
                let _ = write!(text, "  flows {}", ranges(&flows));
            }
            text.push('\n');
        }
    }
    if paths.iter().any(|path| path.by_packet) {
        text.push_str("    packets of one flow went different ways: somebody balances packet by packet\n");
    }
    if !paths.iter().any(|path| path.reached) {
        text.push_str(match paths.iter().filter_map(|path| path.hops.last()).find(|hop| hop.is_heard()) {
            Some(_) => "    it ends there: the target did not answer\n",
            None => "    the target did not answer\n",
        });
    }
    text
}

fn hop_text(hop: &Hop, from: Option<IpAddr>, known: &dyn Fn(IpAddr) -> Known) -> String {
    let Some(from) = from else {
        return match hop.ended {
            Ended::Lost => "*".into(),
            ended => match ended.reason() {
                Some(reason) => format!("* {} ({reason})", hop.outcome().name()),
                None => format!("* {}", hop.outcome().name()),
            },
        };
    };
    let mut text = whom(from, &known(from));
    if let Some(rtt) = hop.rtt() {
        let _ = write!(text, "  {}", millis(Some(rtt)));
    }
    if let Ended::Hop { quote, .. } = hop.ended {
        let label = |label: MplsLabel| format!("{}/{}/{}", label.label, label.exp, label.ttl);
        if !quote.labels.is_empty() {
            let _ = write!(text, "  MPLS {}", quote.labels.iter().map(label).collect::<Vec<_>>().join(" "));
        }
        if quote.is_translated {
            text.push_str("  translated before");
        }
        if quote.ttl > 1 {
            let _ = write!(text, "  quotes a time to live of {}", quote.ttl);
        }
    }
    if let (Outcome::Unreachable, Some(reason)) = (hop.outcome(), hop.ended.reason()) {
        let _ = write!(text, "  {reason}");
    }
    if let Ended::Answered { port: Some(port), .. } = hop.ended {
        let _ = write!(text, "  port {}", port.name());
    }
    text
}

/// `name (address) [AS64500 EXAMPLE]`, as far as is known.
pub fn whom(address: IpAddr, known: &Known) -> String {
    let mut text = match &known.name {
        Some(name) => format!("{name} ({address})"),
        None => address.to_string(),
    };
    match (known.asn, &known.as_name) {
        (Some(asn), Some(name)) => _ = write!(text, " [AS{asn} {name}]"),
        (Some(asn), None) => _ = write!(text, " [AS{asn}]"),
        (None, _) => {}
    }
    text
}

/// What rounds came to: a line a hop.
pub fn rounds_text(rounds: &Rounds, known: &dyn Fn(IpAddr) -> Known) -> String {
    let mut lines = vec![
        ["", "host", "loss %", "sent", "last", "mean", "best", "worst", "p90", "jitter", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (ttl, hop) in rounds.hops() {
        let seconds =
            |seconds: Option<f64>| seconds.map_or_else(|| "-".into(), |seconds| format!("{:.3}", seconds * 1e3));
        let time = |time: Option<Nanos>| seconds(time.map(Nanos::as_secs_f64));
        let first = hop.from.first().map_or_else(|| "*".into(), |(from, _)| whom(*from, &known(*from)));
        lines.push(vec![
            ttl.to_string(),
            first,
            format!("{:.1}", hop.loss() * 100.0),
            hop.sent.to_string(),
            time(hop.last()),
            seconds(hop.mean()),
            time(hop.best()),
            time(hop.worst()),
            time(hop.percentile(0.9)),
            seconds(hop.jitter()),
            match rounds.verdict(ttl) {
                Verdict::Fine => String::new(),
                verdict => verdict.name().into(),
            },
        ]);
        for (also, _) in hop.from.iter().skip(1) {
            lines.push(vec![String::new(), whom(*also, &known(*also))]);
        }
    }
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..11).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ = match column {
                1 => write!(row, "{cell:<width$}  "),
                10 => write!(row, "{cell}"),
                _ => write!(row, "{cell:>width$}  "),
            };
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// Between two rounds the path became another one.
pub fn change_text(subject: &PathSubject, round: u64, change: &Change) -> String {
    let at = |way: &[(u8, IpAddr)]| {
        let from = way.iter().filter(|(ttl, _)| *ttl >= change.ttl);
        from.map(|(ttl, router)| format!("{ttl} {router}")).collect::<Vec<_>>().join(", ")
    };
    format!(
        "{}: the path changed in round {round} at hop {}: was {}; is {}\n",
        subject.target,
        change.ttl,
        at(&change.old),
        at(&change.new)
    )
}

/// The ways to many targets: each router once, its branches below it.
pub fn tree_text(paths: &[(PathSubject, Path)], known: &dyn Fn(IpAddr) -> Known) -> String {
    let mut root = Node::default();
    for (subject, path) in paths {
        let mut node = &mut root;
        for hop in &path.hops {
            node = node.below.entry(hop.address(subject.address)).or_default();
            node.rtt = match (node.rtt, hop.rtt()) {
                (Some(known), Some(rtt)) => Some(known.min(rtt)),
                (known, rtt) => known.or(rtt),
            };
        }
        node.targets.push(if path.reached {
            subject.target.clone()
        } else {
            format!("{} did not answer", subject.target)
        });
    }
    let mut text = String::new();
    root.print(&mut text, 0, known);
    text
}

/// A router, and who comes after it. Those that say nothing are one where they follow the same.
#[derive(Default)]
struct Node {
    rtt: Option<Nanos>,
    targets: Vec<String>,
    below: BTreeMap<Option<IpAddr>, Self>,
}

impl Node {
    fn print(&self, text: &mut String, depth: usize, known: &dyn Fn(IpAddr) -> Known) {
        for (from, node) in &self.below {
            let host = from.map_or_else(|| "*".into(), |from| whom(from, &known(from)));
            let _ = write!(text, "{depth:>2}  {:indent$}{host}", "", depth = depth + 1, indent = depth.min(40));
            if node.rtt.is_some() {
                let _ = write!(text, "  {}", millis(node.rtt));
            }
            let name = |target: &&String| from.is_none_or(|from| from.to_string() != **target);
            let targets: Vec<&str> = node.targets.iter().filter(name).map(String::as_str).collect();
            if !targets.is_empty() {
                let _ = write!(text, "  {}", targets.join(", "));
            }
            text.push('\n');
            node.print(text, depth + 1, known);
        }
    }
}

fn millis(time: Option<Nanos>) -> String {
    time.map_or_else(|| "-".into(), |time| format!("{:.3} ms", time.as_secs_f64() * 1e3))
}

/// `0-2,5`.
fn ranges(flows: &[u16]) -> String {
    let mut text = String::new();
    let mut rest = flows;
    while let Some((first, _)) = rest.split_first() {
        let many = rest.iter().zip(*first..).take_while(|(flow, next)| **flow == *next).count();
        let last = rest[many - 1];
        let comma = if text.is_empty() { "" } else { "," };
        let _ = if last > *first { write!(text, "{comma}{first}-{last}") } else { write!(text, "{comma}{first}") };
        rest = &rest[many..];
    }
    text
}

fn csv(text: &str) -> String {
    let mut out = Vec::new();
    super::fields::push_csv(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

fn time(moment: Nanos, clock: WallClock) -> String {
    let mut out = Vec::new();
    Calendar::new().push(&mut out, clock.unix_ns(moment), 9);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_that_follow_one_another_are_a_range() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[3]), "3");
    }
}
