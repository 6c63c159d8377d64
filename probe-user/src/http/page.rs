//! The landing page: what runs here, how its groups are doing, where the numbers are. Plain HTML, no script.

use crate::{
    base::{Cause, Nanos, Outcome, State},
    ledger::{Snapshot, SumRow},
    metrics::{Readiness, Source},
    nic::LocalDrops,
    targets::{Plan, Sum},
};
use std::fmt::{self, Write};

/// Rows of sums shown; a page of thousands is nobody's overview.
const MOST_ROWS: usize = 200;

const COLUMNS: [&str; 12] =
    ["Group", "Targets", "Up", "Down", "Every", "Probes", "Answered", "Unreachable", "Lost", "Loss", "p50", "p99"];

/// The whole page.
pub(super) fn overview(source: &dyn Source) -> String {
    let pinned = source.pin();
    let (plan, snapshot) = (pinned.plan(), pinned.snapshot());
    let mut page = String::with_capacity(16 * 1024);
    // A String takes whatever fits into memory: there is no error to see.
    let _ = write(&mut page, source, plan, &snapshot);
    page
}

fn write(page: &mut String, source: &dyn Source, plan: &Plan, snapshot: &Snapshot) -> fmt::Result {
    let version = env!("CARGO_PKG_VERSION");
    let interface = source.interface();
    page.push_str(HEAD);
    write!(page, "<header><h1>echolot <small>{version}</small></h1>")?;
    page.push_str("<nav><a href=\"/metrics\">/metrics</a> <a href=\"/-/healthy\">/-/healthy</a> ");
    page.push_str("<a href=\"/-/ready\">/-/ready</a></nav></header>\n");
    let (class, state) = match (source.readiness(), interface.up) {
        (Readiness::Ending, _) => ("dim", "ending"),
        (_, false) => ("bad", "interface down"),
        (Readiness::Starting, true) => ("dim", "starting"),
        (Readiness::Sending, true) => ("good", "sending"),
    };
    write!(page, "<p><b class=\"{class}\">● {state}</b> on <b>{}</b>", Escaped(&interface.name))?;
    let (driver, engine, mode) = (Escaped(&interface.driver), Escaped(interface.engine), Escaped(interface.mode));
    write!(page, " <span class=\"dim\">driver {driver}, engine {engine}, mode {mode}, ")?;
    writeln!(page, "{} receive queues</span></p>", interface.queues)?;
    if !source.reload().successful {
        page.push_str(
            "<p class=\"bad\">The configuration that was read last was refused; an older one is in force.</p>\n",
        );
    }
    groups(page, plan, snapshot)?;
    machine(page, snapshot, &source.drops())?;
    page.push_str("</main></html>\n");
    Ok(())
}

fn groups(page: &mut String, plan: &Plan, snapshot: &Snapshot) -> fmt::Result {
    page.push_str("<div class=\"wide\"><table><caption>Groups <small>since the start</small></caption><thead><tr>");
    for title in COLUMNS {
        write!(page, "<th>{title}</th>")?;
    }
    page.push_str("</tr></thead><tbody>\n");
    for (sum, row) in plan.sums.iter().zip(&snapshot.sums).take(MOST_ROWS) {
        group(page, plan, sum, row)?;
    }
    page.push_str("</tbody></table></div>\n");
    page.push_str(if plan.sums.is_empty() {
        "<p class=\"dim\">No group is configured.</p>\n"
    } else {
        "<p class=\"dim\">Loss is lost / (answered + unreachable + lost); p50 and p99 are round-trip times.</p>\n"
    });
    if let Some(more @ 1..) = plan.sums.len().checked_sub(MOST_ROWS) {
        writeln!(page, "<p class=\"dim\">{} more rows are in /metrics.</p>", Grouped(more as u64))?;
    }
    Ok(())
}

fn group(page: &mut String, plan: &Plan, sum: &Sum, row: &SumRow) -> fmt::Result {
    let group = &plan.groups[sum.group];
    let of = |outcome: Outcome| row.settled[outcome as usize];
    let states = |state: State| row.states[state as usize];
    write!(page, "<tr><th scope=\"row\">{}", Escaped(&group.name))?;
    for (name, value) in group.sum_by.iter().zip(&sum.values) {
        write!(page, " <small>{}={}</small>", Escaped(name), Escaped(value))?;
    }
    write!(page, "</th><td>{}</td>", Grouped(row.states.iter().sum()))?;
    write!(page, "<td>{}</td>", Grouped(states(State::Up)))?;
    let down = states(State::Down);
    write!(page, "<td{}>{}</td>", if down > 0 { " class=\"bad\"" } else { "" }, Grouped(down))?;
    write!(page, "<td>{}</td>", group.interval)?;
    write!(page, "<td>{}</td><td>{}</td>", Grouped(row.probes), Grouped(of(Outcome::Answered)))?;
    write!(page, "<td>{}</td>", Grouped(of(Outcome::Unreachable)))?;
    let loss = loss_ratio(row);
    let class = if loss.is_some_and(|loss| loss > 0.0) { " class=\"bad\"" } else { "" };
    write!(page, "<td>{}</td><td{class}>{}</td>", Grouped(of(Outcome::Lost)), Percent(loss))?;
    let (median, high) = (row.rtt.quantile(0.5), row.rtt.quantile(0.99));
    writeln!(page, "<td>{}</td><td>{}</td></tr>", Short(median), Short(high))
}

/// Lost among what tells something of the target: what this machine did not send or could not hear says nothing.
fn loss_ratio(row: &SumRow) -> Option<f64> {
    let [answered, unreachable, lost] =
        [Outcome::Answered, Outcome::Unreachable, Outcome::Lost].map(|outcome| row.settled[outcome as usize]);
    let all = answered + unreachable + lost;
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    (all > 0).then(|| lost as f64 / all as f64)
}

/// What this machine itself did wrong, which must not be taken for the network's.
fn machine(page: &mut String, snapshot: &Snapshot, drops: &[LocalDrops]) -> fmt::Result {
    let total = |count: fn(&SumRow) -> u64| snapshot.sums.iter().map(count).sum::<u64>();
    // What the interface itself counts may be anybody's frames, and may be counted twice: it is shown apart.
    let dropped = |fits: fn(&LocalDrops) -> bool| drops.iter().filter(|d| fits(d)).map(|d| d.frames).sum::<u64>();
    let received = dropped(|drop| drop.direction == "receive" && drop.cause != "driver");
    let sent = dropped(|drop| drop.direction == "transmit" && drop.cause != "driver");
    let driver = dropped(|drop| drop.cause == "driver");
    let settled = |outcome: Outcome| snapshot.sums.iter().map(|row| row.settled[outcome as usize]).sum::<u64>();
    page.push_str("<dl><dt class=\"title\">This machine <small>since the start</small></dt>\n");
    let mut item = |name: &str, meaning: &str, value: &dyn fmt::Display, bad: bool| {
        let class = if bad { " class=\"bad\"" } else { "" };
        writeln!(page, "<div><dt>{name} <small>{meaning}</small></dt><dd{class}>{value}</dd></div>")
    };
    item("In flight", "probes not yet settled", &Grouped(total(SumRow::in_flight)), false)?;
    let causes = Cause::ALL.iter().zip(snapshot.unsent).filter(|(_, n)| *n > 0);
    let causes: Vec<_> = causes.map(|(cause, n)| format!("{} {}", cause.name(), Grouped(n))).collect();
    let unsent = match causes.as_slice() {
        [] => "probes that it failed to send".into(),
        causes => format!("probes that it failed to send: {}", causes.join(", ")),
    };
    for (name, meaning, n) in [
        ("Unsent", unsent.as_str(), settled(Outcome::Unsent)),
        ("Unheard", "probes whose reply it may have dropped", settled(Outcome::Unheard)),
        ("Skipped", "due times that passed without a probe", total(|row| row.skipped)),
        ("Dropped on receive", "replies", received),
        ("Dropped on transmit", "probes", sent),
        ("Dropped by the interface", "frames, whosever they were", driver),
        ("Rejected", "replies that failed a check", snapshot.rejected.iter().sum()),
        ("Results dropped", "their writer did not keep up", snapshot.results_dropped),
    ] {
        item(name, meaning, &Grouped(n), n > 0)?;
    }
    item("Send lag p99", "behind the configured time", &Short(snapshot.send_lag.quantile(0.99)), false)?;
    item("Receive delay p99", "from arrival to settled", &Short(snapshot.receive_delay.quantile(0.99)), false)?;
    page.push_str("</dl>\n");
    Ok(())
}

/// Text in HTML, also between quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// 1048576 as 1,048,576.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// A time in three digits, as people say it.
struct Short(Option<Nanos>);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(nanos) = self.0 else { return f.write_str("–") };
        let seconds = nanos.as_secs_f64();
        let (value, unit) = match nanos.0 {
            0..1_000_000 => (seconds * 1e6, "µs"),
            1_000_000..1_000_000_000 => (seconds * 1e3, "ms"),
            _ => (seconds, "s"),
        };
        let places = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        write!(f, "{value:.places$} {unit}")
    }
}

/// A ratio in per cent. Never 0 % for something, nor 100 % for less than all.
struct Percent(Option<f64>);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("–"),
            Some(0.0) => f.write_str("0 %"),
            Some(1.0) => f.write_str("100 %"),
            Some(ratio) if ratio < 0.000_01 => f.write_str("&lt; 0.001 %"),
            Some(ratio) if ratio > 0.999_99 => f.write_str("&gt; 99.999 %"),
            Some(ratio) => write!(f, "{:.3} %", ratio * 100.0),
        }
    }
}

const HEAD: &str = include_str!("head.html");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        let grouped = [0, 12, 999, 1000, 1_048_576, 100_000].map(|n| Grouped(n).to_string());
        assert_eq!(grouped, ["0", "12", "999", "1,000", "1,048,576", "100,000"]);
        let short = [0, 1_234, 56_700, 999_000, 1_234_000, 340_000_000, 12_345_678_901];
        let short = short.map(|n| Short(Some(Nanos(n))).to_string());
        assert_eq!(short, ["0.00 µs", "1.23 µs", "56.7 µs", "999 µs", "1.23 ms", "340 ms", "12.3 s"]);
        assert_eq!(Short(None).to_string(), "–");
    }

    #[test]
    fn a_little_loss_is_not_none_and_a_little_answer_is_not_all() {
        let row = |answered, lost| SumRow { settled: [answered, 0, lost, 50, 50], ..SumRow::default() };
        let loss = |answered, lost| Percent(loss_ratio(&row(answered, lost))).to_string();
        assert_eq!(loss(0, 0), "–");
        assert_eq!(loss(1_000_000_000, 0), "0 %");
        assert_eq!(loss(1_000_000_000, 1), "&lt; 0.001 %");
        assert_eq!(loss(3, 1), "25.000 %");
        assert_eq!(loss(1, 1_000_000_000), "&gt; 99.999 %");
        assert_eq!(loss(0, 7), "100 %");
    }

    #[test]
    fn a_line_after_the_table_says_how_many_rows_are_missing() {
        let mut page = String::new();
        let sum = |n: usize| Sum { group: 0, values: vec![n.to_string()] };
        let plan = |rows: usize| Plan {
            groups: vec![crate::targets::Group { sum_by: vec!["site".into()], ..crate::targets::Group::named("edge") }],
            sums: (0..rows).map(sum).collect(),
            ..Plan::default()
        };
        let rows = |n: usize| Snapshot { sums: vec![SumRow::default(); n], ..Snapshot::default() };
        assert!(groups(&mut page, &plan(MOST_ROWS), &rows(MOST_ROWS)).is_ok());
        assert!(!page.contains("more rows"));
        page.clear();
        assert!(groups(&mut page, &plan(1500), &rows(1500)).is_ok());
        assert!(page.contains("1,300 more rows"));
        assert_eq!(page.matches("<tr>").count(), 1 + MOST_ROWS);
    }
}
