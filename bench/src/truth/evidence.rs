//! What the judge reads: echolot's results and summary, the far end's record. Types of their own, not echolot's.

use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::IpAddr,
    path::Path as FilePath,
};

/// How echolot says that a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "echolot's own words")]
pub enum Outcome {
    Answered,
    Hop,
    Unreachable,
    Lost,
    Unheard,
    Unsent,
}

impl Outcome {
    /// All.
    pub const ALL: [Self; 6] = [Self::Answered, Self::Hop, Self::Unreachable, Self::Lost, Self::Unheard, Self::Unsent];

    /// As echolot writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Hop => "hop",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Unheard => "unheard",
            Self::Unsent => "unsent",
        }
    }
}

/// One of echolot's results, as far as it is judged. Times are CLOCK_MONOTONIC, nanoseconds.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "echolot's own members")]
pub struct Told {
    pub sent_ns: u64,
    pub address: IpAddr,
    pub seq: u64,
    pub outcome: Outcome,
    #[serde(default)]
    pub rtt_ns: Option<u64>,
    #[serde(default)]
    pub reply_ttl: Option<u8>,
    /// What was sent, if it is no echo request.
    #[serde(default)]
    pub probe: Option<Box<str>>,
    #[serde(default)]
    pub port: Option<PortState>,
    /// Of a path's probe, what is said of that alone; `address` is the target, and `seq` the time to live.
    #[serde(skip)]
    pub hop: Option<ToldHop>,
}

/// What is said of a probe whose time to live was to end on the way.
#[derive(Clone, Debug)]
pub struct ToldHop {
    /// Its time to live.
    pub ttl: u8,
    /// Who said something about it.
    pub from: Option<IpAddr>,
    /// The time to live that a router quoted.
    pub quoted_ttl: Option<u8>,
    /// Whether nothing was asked beyond it that is told.
    pub is_last: bool,
}

/// A line of `echolot trace`.
#[derive(Deserialize)]
struct Path {
    address: IpAddr,
    probe: Box<str>,
    reached: bool,
    hops: Vec<PathHop>,
}

#[derive(Deserialize)]
struct PathHop {
    ttl: u8,
    #[serde(default)]
    sent_ns: u64,
    outcome: Outcome,
    #[serde(default)]
    address: Option<IpAddr>,
    #[serde(default)]
    rtt_ns: Option<u64>,
    #[serde(default)]
    reply_ttl: Option<u8>,
    #[serde(default)]
    port: Option<PortState>,
    #[serde(default)]
    quoted_ttl: Option<u8>,
}

/// What echolot says of a port that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "echolot's own words")]
pub enum PortState {
    Open,
    Closed,
}

/// Echolot's summary, as far as it is judged.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "echolot's own members")]
pub struct Summary {
    pub probes: u64,
    pub answered: u64,
    #[serde(default)]
    pub hop: u64,
    pub unreachable: u64,
    pub lost: u64,
    pub unheard: u64,
    pub unsent: u64,
    pub in_flight: u64,
    pub skipped: u64,
    pub late: u64,
    pub duplicate: u64,
    pub contradicted: u64,
    pub rejected: BTreeMap<String, u64>,
    pub drops: BTreeMap<String, u64>,
}

impl Summary {
    /// How many probes it says ended so.
    pub fn of(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Answered => self.answered,
            Outcome::Hop => self.hop,
            Outcome::Unreachable => self.unreachable,
            Outcome::Lost => self.lost,
            Outcome::Unheard => self.unheard,
            Outcome::Unsent => self.unsent,
        }
    }

    /// Received frames that it says this machine dropped.
    pub fn received_drops(&self) -> u64 {
        self.drops.iter().filter(|(cause, _)| cause.starts_with("receive")).map(|(_, n)| n).sum()
    }
}

/// What a reply looked like when it left the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the far end's own words")]
pub enum Form {
    Good,
    CorruptPayload,
    CorruptCookie,
    Forged,
    Stranger,
    Error,
    ShortError,
    CorruptError,
}

/// A reply, as the far end has it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Reply {
    /// What it looked like.
    pub form: Form,
    /// When it left; None: it did not.
    pub departure_ns: Option<u64>,
}

/// Time to live of the far end's replies, where no routers are on the way.
pub const TTL: u8 = 64;

/// A request, as the far end has it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the far end's own members")]
pub struct Seen {
    pub number: u64,
    pub address: IpAddr,
    pub sequence: u32,
    /// Of a SYN or a UDP datagram the port that it was sent from.
    pub identifier: u16,
    /// Of a SYN or a UDP datagram the port that it was sent to: an even one is open, an odd one closed, but for port 53 of UDP, which is
    /// open.
    #[serde(default)]
    pub port: u16,
    /// It is a UDP datagram: its sequence number is the identifier of its DNS question, else its IPv4 identification.
    #[serde(default)]
    pub udp: bool,
    /// Of a SYN only about when: in units of 2^20 nanoseconds, and of those the low 32 bits. A UDP datagram does not say it at all: then
    /// it is when it arrived.
    pub sent_ns: u64,
    pub arrival_ns: u64,
    pub decided: Vec<String>,
    pub replies: Vec<Reply>,
    /// Where routers are on the way: the time to live that it was sent with.
    #[serde(default)]
    pub ttl: Option<u8>,
    /// The router at which it expired, whose errors the replies are; None: it arrived, or that one says nothing.
    #[serde(default)]
    pub router: Option<IpAddr>,
    /// Time to live with which what is said about it arrives.
    #[serde(default = "ttl")]
    pub reply_ttl: u8,
}

const fn ttl() -> u8 {
    TTL
}

impl Seen {
    /// Whether it asks a name server.
    pub fn is_question(&self) -> bool {
        self.udp && self.port == 53
    }
}

#[derive(Deserialize)]
struct End {
    requests: u64,
    lost: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Seen(Seen),
    End(End),
}

/// Reads a file of results.
///
/// # Errors
/// Names the file and the line.
pub fn results(path: &FilePath) -> Result<Vec<Told>, String> {
    lines(path)
}

/// Reads a file of paths: their hops, each path's in order.
///
/// # Errors
/// Names the file and the line; or the target whose path does not end as it says.
pub fn paths(path: &FilePath) -> Result<Vec<Told>, String> {
    let paths: Vec<Path> = lines(path)?;
    let mut all = Vec::with_capacity(paths.len());
    for Path { address, probe, reached, hops } in paths {
        let last = hops.len();
        if hops.last().is_some_and(|hop| hop.outcome == Outcome::Answered) != reached {
            return Err(format!(
                "{}: {address}: reached is {reached}, and its last hop says otherwise",
                path.display()
            ));
        }
        for (nth, hop) in (1..).zip(hops) {
            let PathHop { ttl, sent_ns, outcome, address: from, rtt_ns, reply_ttl, port, quoted_ttl } = hop;
            let probe = (*probe != *"icmp").then(|| probe.clone());
            let hop = Some(ToldHop { ttl, from, quoted_ttl, is_last: nth == last });
            all.push(Told { sent_ns, address, seq: ttl.into(), outcome, rtt_ns, reply_ttl, probe, port, hop });
        }
    }
    Ok(all)
}

/// Reads a summary.
///
/// # Errors
/// Names the file.
pub fn summary(path: &FilePath) -> Result<Summary, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Reads a far end's record: all of it, or not at all.
///
/// # Errors
/// Names the file and the line, or says what is missing from it.
pub fn record(path: &FilePath) -> Result<Vec<Seen>, String> {
    whole(lines(path)?).map_err(|why| format!("{}: {why}", path.display()))
}

fn whole(lines: Vec<Line>) -> Result<Vec<Seen>, String> {
    let mut seen = Vec::with_capacity(lines.len());
    let mut end = None;
    for line in lines {
        match line {
            Line::Seen(request) if request.number == seen.len() as u64 && end.is_none() => seen.push(request),
            Line::Seen(request) => {
                return Err(format!("request {} stands where {} should: some are lost", request.number, seen.len()));
            }
            Line::End(last) => end = Some(last),
        }
    }
    match end {
        Some(End { requests, lost: 0 }) if requests == seen.len() as u64 => Ok(seen),
        Some(End { requests, lost }) => Err(format!("{} of {requests} requests, and {lost} were lost", seen.len())),
        None => Err("it has no end: the far end died".into()),
    }
}

fn lines<T: DeserializeOwned>(path: &FilePath) -> Result<Vec<T>, String> {
    let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let told = |number: usize, why: &dyn std::fmt::Display| format!("{}:{}: {why}", path.display(), number + 1);
    let lines = BufReader::with_capacity(1 << 20, file).lines().enumerate();
    lines
        .map(|(number, line)| {
            let line = line.map_err(|e| told(number, &e))?;
            serde_json::from_str(&line).map_err(|e| told(number, &e))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(text: &str) -> Result<Vec<Seen>, String> {
        whole(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    fn line(number: u64) -> String {
        format!(
            r#"{{"number":{number},"address":"10.64.0.1","sequence":0,"identifier":1,"sent_ns":1,"arrival_ns":2,"decided":[],"replies":[{{"form":"corrupt_payload","departure_ns":null}}]}}"#
        )
    }

    #[test]
    fn a_record_with_a_hole_is_none() {
        let end = r#"{"end":true,"requests":2,"lost":0}"#;
        assert_eq!(read(&[&line(0), &line(1), end].join("\n")).unwrap().len(), 2);
        assert!(read(&[&line(0), &line(2), end].join("\n")).unwrap_err().contains("some are lost"));
        assert!(read(&[&line(0), end].join("\n")).unwrap_err().contains("1 of 2"));
        assert!(read(&[line(0), line(1)].join("\n")).unwrap_err().contains("no end"));
        let lost = r#"{"end":true,"requests":1,"lost":3}"#;
        assert!(read(&[&line(0), lost].join("\n")).unwrap_err().contains("3 were lost"));
    }

    #[test]
    fn the_far_end_writes_what_is_read_here() {
        use echolot::base::Nanos;
        use testbed::{rules::Form as Written, witness};
        let mut text = String::new();
        let address: IpAddr = "fd00:64::1".parse().unwrap();
        let mut request = witness::Witnessed::new(address, 7u16, 8, Nanos(9), Nanos(10));
        request.departed(Written::ShortError, Some(Nanos(11)));
        request.departed(Written::Good, None);
        (request.port, request.udp) = (443, true);
        request.write(0, &mut text);
        witness::write_end(1, 0, &mut text);
        let seen = read(&text).unwrap();
        assert_eq!(seen[0].address, address);
        assert_eq!((seen[0].identifier, seen[0].port, seen[0].udp), (8, 443, true));
        assert_eq!((seen[0].sequence, seen[0].sent_ns, seen[0].arrival_ns), (7, 9, 10));
        assert_eq!((seen[0].replies[0].form, seen[0].replies[0].departure_ns), (Form::ShortError, Some(11)));
        assert_eq!((seen[0].replies[1].form, seen[0].replies[1].departure_ns), (Form::Good, None));
    }
}
