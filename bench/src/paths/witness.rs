//! What the first router saw of the probes that end at the target, and of what the target said: by tcpdump, with the kernel's stamps. A
//! machine that stands still may hold the target's answer for longer than a probe's timeout. Whoever calls such a probe lost is right, and
//! whoever calls another so is not: this tells which it was.

use echolot::{base::Nanos, nic::MonotonicClock, worker::Clock as _};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A probe is seen within this after its stamp, or some other one is meant.
const NEAR: Duration = Duration::from_millis(60);

/// What the link to the router may take, both ways.
const LINK: Duration = Duration::from_micros(200);

/// A running tcpdump.
pub(super) struct Witness {
    tcpdump: Child,
    /// Reads what it says as it comes: else it would wait for somebody who does.
    text: Option<JoinHandle<std::io::Result<String>>>,
    /// From CLOCK_MONOTONIC to Unix time, as it was when it began.
    offset: Duration,
}

/// What it has seen.
pub(super) struct Seen {
    events: Vec<Event>,
    offset: Duration,
}

/// An echo request or a reply, Unix time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Event {
    at: Duration,
    ttl: u8,
    is_request: bool,
    /// Identifier and sequence number.
    key: (u16, u16),
}

impl Witness {
    /// `command`: `tcpdump`, to be run in the router's namespace. `interface`: the one towards who probes.
    pub(super) fn begin(mut command: Command, interface: &str) -> Result<Self, String> {
        command.args(["-i", interface, "-nn", "-tt", "-v", "-l", "--immediate-mode", "--time-stamp-precision=nano"]);
        command.arg("icmp[icmptype] = icmp-echo or icmp[icmptype] = icmp-echoreply");
        let mut tcpdump = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
        let offset = unix.saturating_sub(Duration::from_nanos(MonotonicClock.now().0));
        let out = tcpdump.stdout.take().ok_or("no standard output")?;
        let text = Some(thread::spawn(|| std::io::read_to_string(out)));
        let mut told = BufReader::new(tcpdump.stderr.take().ok_or("no standard error")?).lines();
        if told.any(|line| line.is_ok_and(|line| line.contains("listening on"))) {
            return Ok(Self { tcpdump, text, offset });
        }
        let status = tcpdump.wait().map_err(|error| error.to_string())?;
        Err(format!("{command:?} did not begin: {status}"))
    }

    /// Ends it.
    pub(super) fn end(mut self) -> Result<Seen, String> {
        let pid = i32::try_from(self.tcpdump.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or("tcpdump has no number")?;
        // It writes what it still holds.
        rustix::process::kill_process(pid, rustix::process::Signal::INT).map_err(|error| error.to_string())?;
        let text = self.text.take().and_then(|text| text.join().ok()).ok_or("who read tcpdump panicked")?;
        let text = text.map_err(|error| format!("tcpdump: {error}"))?;
        self.tcpdump.wait().map_err(|error| format!("tcpdump: {error}"))?;
        Ok(Seen { events: events(&text), offset: self.offset })
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Gone or not.
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

impl Seen {
    /// Whether the answer to a probe with this time to live, sent at this moment, came back to the router later than this after the probe
    /// had passed it, or never: what the prober itself takes longer for is not in that. False too where no such probe was seen.
    pub(super) fn was_late(&self, sent: Nanos, ttl: u8, timeout: Duration) -> bool {
        let sent = self.offset + Duration::from_nanos(sent.0);
        // The clocks are read one after the other.
        let from = sent.saturating_sub(Duration::from_millis(1));
        let probes = self.events.iter().filter(|event| event.is_request && event.ttl == ttl);
        let Some(probe) = probes.filter(|event| (from..sent + NEAR).contains(&event.at)).min_by_key(|event| event.at)
        else {
            return false;
        };
        let answers = self.events.iter().filter(|event| !event.is_request && event.key == probe.key);
        let answer = answers.map(|event| event.at).filter(|at| *at >= probe.at).min();
        answer.is_none_or(|at| at > probe.at + timeout.saturating_sub(LINK))
    }
}

/// Of `tcpdump -v`, whose records take two lines: `TIME IP (tos …, ttl N, …)` and `    A > B: ICMP echo request, id N, seq N, …`.
fn events(text: &str) -> Vec<Event> {
    let mut header = None;
    let mut events = Vec::new();
    for line in text.lines() {
        if !line.starts_with(char::is_whitespace) {
            header = header_of(line);
            continue;
        }
        let Some((at, ttl)) = header.take() else { continue };
        let Some((_, what)) = line.split_once("ICMP echo ") else { continue };
        let number = |name: &str| what.split(", ").find_map(|part| part.strip_prefix(name)?.parse().ok());
        if let (Some(id), Some(sequence)) = (number("id "), number("seq ")) {
            events.push(Event { at, ttl, is_request: what.starts_with("request"), key: (id, sequence) });
        }
    }
    events
}

fn header_of(line: &str) -> Option<(Duration, u8)> {
    let (seconds, nanos) = line.split_whitespace().next()?.split_once('.')?;
    let at = Duration::new(seconds.parse().ok()?, format!("{nanos:0<9}").parse().ok()?);
    let ttl = line.split(", ").find_map(|part| part.strip_prefix("ttl ")?.parse().ok())?;
    Some((at, ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
1795430022.182718123 IP (tos 0x0, ttl 31, id 31000, offset 0, flags [none], proto ICMP (1), length 46)
    10.96.1.0 > 10.159.0.1: ICMP echo request, id 9986, seq 7, length 26
1795430022.203000000 IP (tos 0x0, ttl 34, id 0, offset 0, flags [none], proto ICMP (1), length 46)
    10.159.0.1 > 10.96.1.0: ICMP echo reply, id 9986, seq 7, length 26
1795430022.300000000 IP (tos 0x0, ttl 31, id 31001, offset 0, flags [none], proto ICMP (1), length 46)
    10.96.1.0 > 10.159.0.1: ICMP echo request, id 9986, seq 8, length 26
1795430022.370200000 IP (tos 0x0, ttl 34, id 0, offset 0, flags [none], proto ICMP (1), length 46)
    10.159.0.1 > 10.96.1.0: ICMP echo reply, id 9986, seq 8, length 26
1795430022.500000000 IP (tos 0x0, ttl 31, id 31002, offset 0, flags [none], proto ICMP (1), length 46)
    10.96.1.0 > 10.159.0.1: ICMP echo request, id 9986, seq 9, length 26
1795430022.565000000 IP (tos 0x0, ttl 34, id 0, offset 0, flags [none], proto ICMP (1), length 46)
    10.159.0.1 > 10.96.1.0: ICMP echo reply, id 9986, seq 9, length 26
1795430022.700000000 IP (tos 0x0, ttl 31, id 31003, offset 0, flags [none], proto ICMP (1), length 46)
    10.96.1.0 > 10.159.0.1: ICMP echo request, id 9986, seq 10, length 26
";

    #[test]
    fn an_answer_that_took_longer_than_the_timeout_is_told_from_one_that_was_in_time() {
        let seen = Seen { events: events(TEXT), offset: Duration::from_secs(1_795_430_000) };
        let was_late = |ms: u64, ttl| seen.was_late(Nanos::from_millis(ms), ttl, Duration::from_millis(70));
        assert!(!was_late(22_182, 31), "in time");
        assert!(was_late(22_300, 31), "70.2 ms");
        assert!(!was_late(22_490, 31), "10 ms of 75 are its prober's own");
        assert!(was_late(22_700, 31), "never");
        assert!(!was_late(22_182, 30) && !was_late(23_000, 31), "nobody saw that one");
    }
}
