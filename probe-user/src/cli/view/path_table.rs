//! A target's path while its rounds go on, as mtr shows it: a line a hop.

use crate::{
    base::Nanos,
    enrich::Known,
    path::{HopRounds, Rounds, Verdict},
    results::PathSubject,
};
use clap::builder::styling::{AnsiColor, Style};
use std::{fmt::Write as _, net::IpAddr};

/// What is shown, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shows {
    /// Which of the targets.
    pub target: usize,
    /// Which of the flows.
    pub flow: u16,
    /// What stands for a router.
    pub host: Host,
    /// No further round begins.
    pub is_paused: bool,
    /// Hops that lose, limit or say nothing stand out by their colour.
    pub is_coloured: bool,
}

impl Shows {
    /// As terminals have it, unless the environment says that no colours are wanted (no-color.org).
    pub fn by_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let is_dumb = set("TERM").is_some_and(|term| term == "dumb");
        Self { is_coloured: set("NO_COLOR").is_none() && !is_dumb, ..Self::default() }
    }
}

const HEAD: Style = Style::new().bold();
const LOSES: Style = AnsiColor::Red.on_default();
const LIMITS: Style = AnsiColor::Yellow.on_default();
const SILENT: Style = Style::new().dimmed();

/// What stands for a router.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Host {
    /// Its name, where it is known.
    #[default]
    Name,
    /// Its address.
    Address,
    /// The network that it belongs to, and its address.
    Network,
}

impl Host {
    /// The next one, and after the last the first.
    pub const fn next(self) -> Self {
        match self {
            Self::Name => Self::Address,
            Self::Address => Self::Network,
            Self::Network => Self::Name,
        }
    }
}

/// Columns for a host where there is room, and where there is little.
const HOST: std::ops::RangeInclusive<usize> = 15..=44;
/// Times in the picture of the latest ones.
const LATEST: usize = 24;

/// A column: its head, and what stands in it. The last ones go first where a terminal is narrow.
type Column = (&'static str, fn(&HopRounds) -> String);

const COLUMNS: [Column; 7] = [
    ("loss %", |hop| format!("{:.1}", hop.loss() * 100.0)),
    ("sent", |hop| hop.sent.to_string()),
    ("last", |hop| millis(hop.last().map(Nanos::as_secs_f64))),
    ("avg", |hop| millis(hop.mean())),
    ("best", |hop| millis(hop.best().map(Nanos::as_secs_f64))),
    ("worst", |hop| millis(hop.worst().map(Nanos::as_secs_f64))),
    ("jitter", |hop| millis(hop.jitter())),
];

/// The picture, lines of at most `width` columns and at most `height` of them.
pub fn path_table(
    subject: &PathSubject,
    rounds: &Rounds,
    shows: Shows,
    (targets, flows): (usize, usize),
    (width, height): (usize, usize),
    known: &dyn Fn(IpAddr) -> Known,
) -> String {
    let mut lines = vec![(HEAD, head(subject, rounds, shows, (targets, flows)))];
    let number = 3;
    let cells = |hop: &HopRounds| COLUMNS.iter().map(|(_, cell)| cell(hop)).collect::<Vec<_>>();
    let hops: Vec<(u8, &HopRounds, Vec<String>)> = rounds.hops().map(|(ttl, hop)| (ttl, hop, cells(hop))).collect();
    let widths: Vec<usize> = (COLUMNS.iter().enumerate())
        .map(|(at, (name, _))| hops.iter().map(|(.., cells)| cells[at].len()).fold(name.len(), usize::max))
        .collect();
    let hosts: Vec<String> = hops.iter().map(|(_, hop, _)| host(hop, shows.host, known)).collect();
    let longest = hosts.iter().map(|host| host.chars().count()).max().unwrap_or(0).clamp(*HOST.start(), *HOST.end());
    // As many columns as there is room for beside the shortest host; then the host takes what is left.
    let least = number + HOST.start();
    let mut many = COLUMNS.len();
    while many > 2 && least + widths[..many].iter().map(|width| width + 2).sum::<usize>() > width {
        many -= 1;
    }
    let numbers: usize = widths[..many].iter().map(|width| width + 2).sum();
    let host_width = longest.min(width.saturating_sub(number + numbers));
    let rest = width.saturating_sub(number + host_width + numbers);
    let mut row = format!("{:number$}{:<host_width$}", "", "host");
    COLUMNS[..many].iter().zip(&widths).for_each(|((name, _), width)| _ = write!(row, "  {name:>width$}"));
    lines.push((HEAD, row));
    for ((ttl, hop, cells), host) in hops.iter().zip(&hosts) {
        let mut row = format!("{ttl:>2} {}", fitted(host, host_width));
        cells[..many].iter().zip(&widths).for_each(|(cell, width)| _ = write!(row, "  {cell:>width$}"));
        let (style, verdict) = match rounds.verdict(*ttl) {
            Verdict::Limits => (LIMITS, "  limits"),
            Verdict::Silent => (SILENT, "  silent"),
            Verdict::Loses => (LOSES, ""),
            Verdict::Fine => (Style::new(), ""),
        };
        row.push_str(if rest >= verdict.len() { verdict } else { "" });
        let room = rest.saturating_sub(verdict.len() + 2).min(LATEST);
        if room > 3 && hop.heard > 0 {
            row.push_str("  ");
            let worst = hop.latest(room).max().unwrap_or_default();
            row.extend(hop.latest(room).map(|rtt| bar(rtt, worst)));
        }
        lines.push((style, row));
    }
    lines.push((SILENT, "p pause  f flow  t target  n names, addresses, networks  q end".into()));
    // Those in the middle are the ones that can be done without.
    if lines.len() > height && height > 3 {
        let last = lines.len() - 1;
        lines.drain(height - 2..last);
        let hidden = rounds.hops().count() + 4 - height;
        lines.insert(height - 2, (SILENT, format!("   {hidden} more hops: enlarge the terminal")));
    }
    lines.truncate(height);
    let mut text = String::new();
    for (style, line) in lines {
        let style = if shows.is_coloured { style } else { Style::new() };
        let _ = write!(text, "{style}");
        text.extend(line.trim_end().chars().take(width));
        let _ = writeln!(text, "{style:#}");
    }
    text
}

fn head(subject: &PathSubject, rounds: &Rounds, shows: Shows, (targets, flows): (usize, usize)) -> String {
    let PathSubject { target, address, probe } = subject;
    let mut text = target.clone();
    if *target != address.to_string() {
        let _ = write!(text, " ({address})");
    }
    let _ = write!(text, ", {probe}, round {}", rounds.rounds());
    if flows > 1 {
        let _ = write!(text, ", flow {} of {flows}", shows.flow);
    }
    if targets > 1 {
        let _ = write!(text, ", target {} of {targets}", shows.target + 1);
    }
    if rounds.changes() > 0 {
        let _ = write!(text, ", path changed {} times", rounds.changes());
    }
    if shows.is_paused {
        text.push_str(", paused");
    }
    text
}

fn host(hop: &HopRounds, host: Host, known: &dyn Fn(IpAddr) -> Known) -> String {
    let Some((from, _)) = hop.from.first() else { return "*".into() };
    let Known { name, asn, as_name } = known(*from);
    let also = if hop.from.len() > 1 { format!(" +{}", hop.from.len() - 1) } else { String::new() };
    let text = match host {
        Host::Name => name.map_or_else(|| from.to_string(), |name| name.to_string()),
        Host::Address => from.to_string(),
        Host::Network => match (asn, as_name) {
            (Some(asn), Some(name)) => format!("AS{asn} {name} {from}"),
            (Some(asn), None) => format!("AS{asn} {from}"),
            (None, _) => from.to_string(),
        },
    };
    text + &also
}

/// So many columns of it, the last one an ellipsis where it is longer.
fn fitted(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:<width$}");
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// How long it took, beside the longest of those that are shown.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of eight")]
fn bar(rtt: Nanos, worst: Nanos) -> char {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let share = rtt.as_secs_f64() / worst.as_secs_f64().max(1e-9);
    BARS[((share * 8.0) as usize).min(7)]
}

fn millis(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".into(), |seconds| format!("{:.3}", seconds * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{Ended, MplsStack, Quote, QuoteProof, TargetIndex},
        path::{Hop, Path},
    };

    fn rounds(hops: u8) -> (PathSubject, Rounds) {
        let address = IpAddr::from([10, 200, 0, 1]);
        let subject = PathSubject { target: "host.example".into(), address, probe: "icmp".into() };
        let mut rounds = Rounds::default();
        for round in 0..30u64 {
            let sent = Nanos::from_secs(round + 1);
            let quote = Quote { ttl: 1, proof: QuoteProof::Cookie, is_translated: false, labels: MplsStack::EMPTY };
            let hop = |ttl: u8| {
                let arrived = sent + Nanos::from_micros(200 * u64::from(ttl) + 37 * round);
                let ended = match ttl {
                    3 if round % 3 > 0 => Ended::Lost,
                    4 => Ended::Lost,
                    _ if ttl == hops => Ended::Answered { arrived, ttl: 64, port: None, rcode: None },
                    _ => Ended::Hop { arrived, ttl: 64, from: IpAddr::from([10, 0, 0, ttl]), quote },
                };
                Hop { ttl, sent, ended }
            };
            let hops = (1..=hops).map(hop).collect();
            let path = Path {
                target: TargetIndex(0),
                round,
                flow: 0,
                reached: true,
                sent,
                took: Nanos(1),
                hops,
                by_packet: false,
            };
            rounds.add(&path, address);
        }
        (subject, rounds)
    }

    fn table(hops: u8, size: (usize, usize), shows: Shows) -> String {
        let (subject, rounds) = rounds(hops);
        let known = |address: IpAddr| Known {
            name: (address == IpAddr::from([10, 0, 0, 2]))
                .then(|| "a-router-with-a-name-that-is-rather-long.core.example".into()),
            asn: Some(64_500),
            as_name: Some("EXAMPLE".into()),
        };
        path_table(&subject, &rounds, shows, (1, 1), size, &known)
    }

    #[test]
    fn it_fits_every_terminal() {
        for width in [20, 40, 60, 80, 100, 200] {
            for height in [2, 5, 10, 24, 60] {
                for host in [Host::Name, Host::Address, Host::Network] {
                    let text = table(12, (width, height), Shows { host, ..Shows::default() });
                    assert!(text.lines().count() <= height, "{width} x {height}:\n{text}");
                    assert!(text.lines().all(|line| line.chars().count() <= width), "{width} x {height}:\n{text}");
                }
            }
        }
    }

    #[test]
    fn colours_are_all_that_they_add() {
        let plain = table(6, (120, 24), Shows::default());
        let coloured = table(6, (120, 24), Shows { is_coloured: true, ..Shows::default() });
        assert!(!plain.contains('\u{1b}'));
        let mut parts = coloured.split('\u{1b}');
        let begin = parts.next().unwrap_or_default().to_owned();
        // What begins a colour ends with an m.
        let stripped = parts.fold(begin, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest));
        assert_eq!(stripped, plain);
        let limits = coloured.lines().find(|line| line.contains("limits")).expect("one limits");
        assert!(limits.starts_with("\u{1b}[33m") && limits.ends_with("\u{1b}[0m"), "{limits:?}");
    }

    #[test]
    fn it_says_who_limits_and_who_is_silent() {
        let text = table(6, (120, 24), Shows::default());
        let line = |ttl: usize| text.lines().nth(ttl + 1).expect("a line a hop").to_owned();
        assert!(text.starts_with("host.example (10.200.0.1), icmp, round 30\n"), "{text}");
        assert!(line(2).contains("a-router-with-a-name") && line(2).contains('…'), "{text}");
        assert!(line(3).contains("limits") && line(3).contains("66.7"), "{text}");
        assert!(line(4).contains("silent") && line(4).contains('*'), "{text}");
        assert!(line(6).contains("10.200.0.1") && line(6).contains('█'), "{text}");
        assert!(
            table(6, (120, 24), Shows { host: Host::Network, ..Shows::default() }).contains("AS64500 EXAMPLE 10.0.0.1")
        );
        let short = table(12, (80, 8), Shows { is_paused: true, ..Shows::default() });
        assert!(short.contains("more hops: enlarge the terminal") && short.contains("paused"), "{short}");
    }
}
