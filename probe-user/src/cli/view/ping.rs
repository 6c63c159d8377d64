//! Ping's first and last lines. Those between are results, see `results::Encoder::like_ping`.

use super::by;
use crate::{
    base::{Nanos, Outcome, PortState, Rcode, Settlement, TargetIndex},
    nic::InterfaceInfo,
    results::human::{NOTHING, count, counted, share, span, span_or_nothing},
    targets::Plan,
    wire::Kind,
};
use std::{fmt::Write, net::IpAddr};

/// Up to so many targets each has its line at the end.
const ALL_SHOWN: usize = 20;
/// Of more targets, so many are shown: the worst.
const WORST_SHOWN: usize = 10;

/// The first line: `PING 3 targets, 56 data bytes, by eth0 (afxdp, copy)`, or `PING 3 targets, TCP port 443, by …`.
pub fn header(plan: &Plan, interface: &InterfaceInfo) -> String {
    let whom = match plan.targets.len() {
        1 => name_and_address(plan, 0),
        n => counted(n as u64, "target"),
    };
    let shape = plan.groups.first().map(|group| group.shape).unwrap_or_default();
    let what = match shape.kind {
        Kind::Echo => format!("{} data bytes", shape.payload),
        Kind::Tcp { port } => format!("TCP port {port}"),
        Kind::Udp { port, .. } => format!("UDP port {port}"),
    };
    format!("PING {whom}, {what}, by {}\n", by(interface))
}

/// What each target's results came to. Sees every result, whether it is written or not.
#[derive(Clone, Debug)]
pub struct Tally {
    targets: Vec<PerTarget>,
    /// Send time of the first probe, and the last moment at which something was sent or answered.
    times: Option<(Nanos, Nanos)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PerTarget {
    settled: [u64; Outcome::ALL.len()],
    /// Of those answered, how many found the port open and how many closed.
    ports: [u64; 2],
    /// Of those answered by a name server, how many had each response code.
    rcodes: [u64; Rcode::NAMES.len()],
    /// Round-trip times of answers, nanoseconds.
    min: u64,
    max: u64,
    sum: u64,
    squares: f64,
}

impl PerTarget {
    const fn of(&self, outcome: Outcome) -> u64 {
        self.settled[outcome as usize]
    }

    /// All but those that never left this machine.
    fn sent(&self) -> u64 {
        self.settled.iter().sum::<u64>() - self.of(Outcome::Unsent)
    }

    /// Lost or unreachable, as ping counts loss, and of how many. What this machine failed to hear says nothing about the
    /// target.
    const fn loss(&self) -> (u64, u64) {
        let failed = self.of(Outcome::Lost) + self.of(Outcome::Unreachable);
        (failed, failed + self.of(Outcome::Answered))
    }

    /// Loss in millionths, to sort by.
    fn loss_rank(&self) -> u128 {
        let (failed, all) = self.loss();
        u128::from(failed) * 1_000_000 / u128::from(all.max(1))
    }

    fn mean(&self) -> Option<Nanos> {
        self.sum.checked_div(self.of(Outcome::Answered)).map(Nanos)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a deviation needs no more than 53 bits, and is never negative"
    )]
    fn stddev(&self) -> Option<Nanos> {
        let n = self.of(Outcome::Answered);
        let mean = self.sum as f64 / n as f64;
        (n > 0).then(|| Nanos((self.squares / n as f64 - mean * mean).max(0.0).sqrt() as u64))
    }

    fn add(&mut self, other: &Self) {
        let (mine, theirs) = (self.of(Outcome::Answered), other.of(Outcome::Answered));
        if theirs > 0 {
            self.min = if mine == 0 { other.min } else { self.min.min(other.min) };
            self.max = self.max.max(other.max);
            self.sum += other.sum;
            self.squares += other.squares;
        }
        self.settled.iter_mut().zip(other.settled).for_each(|(sum, n)| *sum += n);
        self.ports.iter_mut().zip(other.ports).for_each(|(sum, n)| *sum += n);
        self.rcodes.iter_mut().zip(other.rcodes).for_each(|(sum, n)| *sum += n);
    }
}

impl Tally {
    /// For so many targets.
    pub fn new(targets: usize) -> Self {
        Self { targets: vec![PerTarget::default(); targets], times: None }
    }

    /// Counts a result.
    pub fn observe(&mut self, record: &Settlement) {
        let TargetIndex(index) = record.target;
        let Some(target) = self.targets.get_mut(index as usize) else { return };
        let mut one = PerTarget::default();
        one.settled[record.outcome() as usize] = 1;
        if let Some(port) = record.port() {
            one.ports[port as usize] = 1;
        }
        if let Some(rcode) = record.rcode() {
            one.rcodes[usize::from(rcode.number())] = 1;
        }
        if let (Outcome::Answered, Some(Nanos(rtt))) = (record.outcome(), record.rtt()) {
            #[expect(clippy::cast_precision_loss, reason = "a deviation needs no more than 53 bits")]
            let exact = rtt as f64;
            (one.min, one.max, one.sum, one.squares) = (rtt, rtt, rtt, exact * exact);
        }
        target.add(&one);
        let end = record.sent + record.rtt().unwrap_or_default();
        self.times =
            Some(self.times.map_or((record.sent, end), |(first, last)| (first.min(record.sent), last.max(end))));
    }

    /// Targets that answered at least once.
    pub fn answered(&self) -> u64 {
        self.targets.iter().filter(|target| target.of(Outcome::Answered) > 0).count() as u64
    }

    /// The last lines: one target as ping does, several in a table, and of many the totals and the worst. `in_flight`
    /// probes were not waited for, because a second signal ended the waiting.
    pub fn statistics(&self, plan: &Plan, in_flight: u64) -> String {
        let mut total = PerTarget::default();
        self.targets.iter().for_each(|target| total.add(target));
        let span = self.times.map_or(Nanos::ZERO, |(first, last)| last - first);
        let mut text = String::new();
        let whom = match self.targets.len() {
            1 => name(plan, 0),
            n => counted(n as u64, "target"),
        };
        // Writing to a string does not fail.
        let _never = writeln!(text, "\n--- {whom} ping statistics ---\n{}", totals(&total, in_flight, span));
        if total.of(Outcome::Answered) > 0 {
            let _never = writeln!(text, "{}", round_trips(&total));
        }
        let mut order: Vec<usize> = (0..self.targets.len()).collect();
        let mut title = "target".to_owned();
        if order.len() > ALL_SHOWN {
            let badness = |&i: &usize| (self.targets[i].loss_rank(), self.targets[i].mean());
            order.sort_by_key(|i| std::cmp::Reverse(badness(i)));
            order.truncate(WORST_SHOWN);
            title = format!("the worst {WORST_SHOWN}");
        } else {
            // Targets stand in the scattered order in which they are probed.
            order.sort_by_key(|&i| address(plan, i));
        }
        if self.targets.len() > 1 {
            text.push('\n');
            text.push_str(&table(&title, order.iter().map(|&i| (name_and_address(plan, i), self.targets[i]))));
        }
        text
    }
}

/// `3 packets transmitted, 2 received, 33.33% packet loss, time 2003ms`, and what else became of them.
fn totals(total: &PerTarget, in_flight: u64, span: Nanos) -> String {
    let (failed, all) = total.loss();
    let sent = total.sent() + in_flight;
    let mut text = format!("{} packets transmitted, {} received", count(sent), count(total.of(Outcome::Answered)));
    for port in PortState::ALL {
        if total.ports[port as usize] > 0 {
            let _never = write!(text, ", {} {}", count(total.ports[port as usize]), port.name());
        }
        if port == PortState::Open {
            push_rcodes(&mut text, total);
        }
    }
    for (outcome, called) in
        [(Outcome::Unreachable, "unreachable"), (Outcome::Unheard, "unheard"), (Outcome::Unsent, "not sent")]
    {
        if total.of(outcome) > 0 {
            let _never = write!(text, ", {} {called}", count(total.of(outcome)));
        }
    }
    if in_flight > 0 {
        let _never = write!(text, ", {} not waited for", count(in_flight));
    }
    let loss = share(failed, all).replace(' ', "");
    let _never = write!(text, ", {loss} packet loss, time {}ms", span.0 / 1_000_000);
    text
}

/// What name servers answered, behind the number of open ports: ` (2 NOERROR, 1 NXDOMAIN)`.
fn push_rcodes(text: &mut String, total: &PerTarget) {
    let there = total.rcodes.iter().zip(Rcode::NAMES).filter(|(n, _)| **n > 0);
    let told: Vec<String> = there.map(|(n, name)| format!("{} {name}", count(*n))).collect();
    if !told.is_empty() {
        let _never = write!(text, " ({})", told.join(", "));
    }
}

/// `rtt min/avg/max/mdev = 0.038/0.041/0.045/0.002 ms`: mdev is ping's word for the standard deviation.
fn round_trips(total: &PerTarget) -> String {
    let ms = |ns: u64| format!("{}.{:03}", ns / 1_000_000, ns / 1_000 % 1_000);
    let (mean, stddev) = (total.mean().unwrap_or_default(), total.stddev().unwrap_or_default());
    format!("rtt min/avg/max/mdev = {}/{}/{}/{} ms", ms(total.min), ms(mean.0), ms(total.max), ms(stddev.0))
}

/// Columns under each other; outcomes that nobody had have none.
fn table(title: &str, rows: impl Iterator<Item = (String, PerTarget)>) -> String {
    let rows: Vec<_> = rows.collect();
    let rare = [Outcome::Unreachable, Outcome::Unheard, Outcome::Unsent];
    let rare: Vec<_> = rare.into_iter().filter(|o| rows.iter().any(|(_, target)| target.of(*o) > 0)).collect();
    let mut cells = vec![vec![title.to_owned(), "sent".into(), "answered".into(), "loss".into()]];
    let ports: Vec<_> =
        PortState::ALL.into_iter().filter(|p| rows.iter().any(|(_, t)| t.ports[*p as usize] > 0)).collect();
    cells[0].extend(ports.iter().map(|port| port.name().to_owned()));
    cells[0].extend(rare.iter().map(|outcome| outcome.name().to_owned()));
    cells[0].extend(["min", "avg", "max", "stddev"].map(str::to_owned));
    for (name, target) in rows {
        let (failed, all) = target.loss();
        let answered = target.of(Outcome::Answered);
        let mut row = vec![name, count(target.sent()), count(answered), share(failed, all)];
        row.extend(ports.iter().map(|port| count(target.ports[*port as usize])));
        row.extend(rare.iter().map(|outcome| count(target.of(*outcome))));
        let extreme = |ns| if answered > 0 { span(Nanos(ns)) } else { NOTHING.to_owned() };
        row.extend([extreme(target.min), span_or_nothing(target.mean())]);
        row.extend([extreme(target.max), span_or_nothing(target.stddev())]);
        cells.push(row);
    }
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..cells[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let mut line = format!("{:1$}", row[0], widths[0]);
        row.iter().zip(&widths).skip(1).for_each(|(cell, width)| {
            let _never = write!(line, "  {cell:>width$}");
        });
        line + "\n"
    };
    cells.iter().map(line).collect()
}

fn address(plan: &Plan, index: usize) -> Option<IpAddr> {
    plan.address_of(TargetIndex(u32::try_from(index).ok()?))
}

/// The name, or the address where there is none.
fn name(plan: &Plan, index: usize) -> String {
    let address = address(plan, index);
    let given = u32::try_from(index).ok().and_then(|index| plan.names.get(&index));
    match (given, address) {
        (Some(name), _) => name.text.to_string(),
        (None, Some(address)) => address.to_string(),
        (None, None) => NOTHING.to_owned(),
    }
}

/// `host.example (10.64.0.1)`, or the address alone.
fn name_and_address(plan: &Plan, index: usize) -> String {
    let name = name(plan, index);
    match address(plan, index).map(|address| address.to_string()) {
        Some(address) if address != name => format!("{name} ({address})"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::interface;
    use super::*;
    use crate::{
        base::{
            Ended,
            samples::{answered, answered_after, lost, unreachable, unsent},
        },
        results::tests::plan,
        targets::Target,
        wire::Shape,
    };
    use std::net::Ipv4Addr;

    fn tally(targets: usize, records: &[Settlement]) -> Tally {
        let mut tally = Tally::new(targets);
        records.iter().for_each(|record| tally.observe(record));
        tally
    }

    /// 256 targets: 10.64.0.0/24.
    fn many() -> Plan {
        let mut plan = plan();
        plan.names.clear();
        plan.groups.truncate(1);
        plan.groups[0].targets = 0..256;
        plan.targets = (0..=255).map(|n| Target::v4(Ipv4Addr::new(10, 64, 0, n), 0)).collect();
        plan
    }

    fn with_rtt(target: u32, number: u64, micros: u64) -> Settlement {
        answered_after(target, number, Nanos::from_micros(micros))
    }

    #[test]
    fn the_first_line_names_one_target_and_counts_more() {
        assert_eq!(header(&plan(), &interface()), "PING 3 targets, 56 data bytes, by eth0 (afxdp, copy)\n");
        let mut one = plan();
        one.targets.remove(0);
        one.targets.truncate(1);
        one.names = [(0, "host.example".into())].into();
        assert_eq!(header(&one, &interface()), "PING host.example (10.64.0.1), 56 data bytes, by eth0 (afxdp, copy)\n");
    }

    #[test]
    fn the_first_line_names_the_port_that_is_asked_for() {
        let mut plan = plan();
        plan.groups[0].shape = Shape::of(Kind::Tcp { port: 443 });
        assert_eq!(header(&plan, &interface()), "PING 3 targets, TCP port 443, by eth0 (afxdp, copy)\n");
    }

    #[test]
    fn open_and_closed_ports_are_counted() {
        let port = |target, state| {
            let lost = lost(target);
            let ended = Ended::Answered {
                arrived: lost.sent + Nanos::from_micros(40),
                ttl: 64,
                port: Some(state),
                rcode: None,
            };
            Settlement { ended, ..lost }
        };
        let records = [port(0, PortState::Open), port(0, PortState::Open), port(1, PortState::Closed), lost(2)];
        assert_eq!(
            tally(3, &records).statistics(&plan(), 0),
            "\n--- 3 targets ping statistics ---\n\
             4 packets transmitted, 3 received, 2 open, 1 closed, 25.00% packet loss, time 0ms\n\
             rtt min/avg/max/mdev = 0.040/0.040/0.040/0.000 ms\n\
             \n\
             target                    sent  answered   loss  open  closed      min      avg      max  stddev\n\
             10.64.0.0                    2         2    0 %     2       0  40.0 us  40.0 us  40.0 us    0 ns\n\
             host.example (10.64.0.1)     1         1    0 %     0       1  40.0 us  40.0 us  40.0 us    0 ns\n\
             10.64.0.2                    1         0  100 %     0       0        -        -        -       -\n"
        );
    }

    #[test]
    fn what_name_servers_answered_is_counted() {
        let dns = |number, code| {
            let answered = answered(0, number);
            let (arrived, rcode) = (answered.sent + Nanos::from_micros(40), Some(Rcode::new(code)));
            Settlement { ended: Ended::Answered { arrived, ttl: 64, port: Some(PortState::Open), rcode }, ..answered }
        };
        let mut plan = plan();
        plan.targets.truncate(1);
        let text = tally(1, &[dns(0, 3), dns(1, 0), dns(2, 0), dns(3, 5)]).statistics(&plan, 0);
        let expected =
            "4 packets transmitted, 4 received, 4 open (2 NOERROR, 1 NXDOMAIN, 1 REFUSED), 0% packet loss, time";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn one_target_ends_as_ping_does() {
        let mut plan = plan();
        plan.targets.truncate(1);
        let sent = lost(0).sent + Nanos::from_millis(2_003);
        let ended = Ended::Answered { arrived: sent + Nanos::from_micros(50), ttl: 64, port: None, rcode: None };
        let last = Settlement { sent, ended, ..lost(0) };
        assert_eq!(
            tally(1, &[with_rtt(0, 0, 40), lost(0), last]).statistics(&plan, 0),
            "\n--- 10.64.0.0 ping statistics ---\n\
             3 packets transmitted, 2 received, 33.33% packet loss, time 2003ms\n\
             rtt min/avg/max/mdev = 0.040/0.045/0.050/0.005 ms\n"
        );
        assert_eq!(
            tally(1, &[lost(0), unsent(0, 1)]).statistics(&plan, 0),
            "\n--- 10.64.0.0 ping statistics ---\n\
             1 packets transmitted, 0 received, 1 not sent, 100% packet loss, time 0ms\n"
        );
        assert!(
            tally(1, &[lost(0)])
                .statistics(&plan, 2)
                .contains("3 packets transmitted, 0 received, 2 not waited for, 100% packet loss")
        );
        assert_eq!(
            tally(1, &[]).statistics(&plan, 0),
            "\n--- 10.64.0.0 ping statistics ---\n0 packets transmitted, 0 received, -% packet loss, time 0ms\n"
                .replace("-%", "-")
        );
    }

    #[test]
    fn several_targets_have_a_line_each() {
        let records = [
            with_rtt(0, 0, 40),
            with_rtt(0, 1, 50),
            with_rtt(1, 0, 1_230),
            lost(1),
            unreachable(2, 0),
            unreachable(2, 1),
        ];
        assert_eq!(
            tally(3, &records).statistics(&plan(), 0),
            "\n--- 3 targets ping statistics ---\n\
             6 packets transmitted, 3 received, 2 unreachable, 50.00% packet loss, time 1ms\n\
             rtt min/avg/max/mdev = 0.040/0.440/1.230/0.558 ms\n\
             \n\
             target                    sent  answered     loss  unreachable      min      avg      max   stddev\n\
             10.64.0.0                    2         2      0 %            0  40.0 us  45.0 us  50.0 us  5.00 us\n\
             host.example (10.64.0.1)     2         1  50.00 %            0  1.23 ms  1.23 ms  1.23 ms     0 ns\n\
             10.64.0.2                    2         0    100 %            2        -        -        -        -\n"
        );
    }

    #[test]
    fn of_many_targets_the_worst_are_shown() {
        let mut records: Vec<Settlement> = (0..256).map(|n| with_rtt(n, 0, u64::from(n) + 1)).collect();
        records.extend([lost(7), lost(100), lost(100)]);
        let text = tally(256, &records).statistics(&many(), 0);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "--- 256 targets ping statistics ---");
        assert_eq!(lines[5], "the worst 10  sent  answered     loss      min      avg      max  stddev");
        assert_eq!(lines[6], "10.64.0.100      3         1  66.66 %   101 us   101 us   101 us    0 ns");
        assert!(lines[7].starts_with("10.64.0.7 ") && lines[8].starts_with("10.64.0.255 "), "{text}");
        assert_eq!(lines.len(), 16);
    }

    #[test]
    fn answering_targets_are_counted_once() {
        assert_eq!(tally(3, &[answered(0, 0), answered(0, 1), lost(1), unreachable(2, 0)]).answered(), 1);
    }
}
