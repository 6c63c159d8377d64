//! The judge: every result of echolot's held against what the far end recorded of that very probe.
//!
//! It shares no code with echolot. Probes are joined by address and send stamp; a SYN says but when it was made, and is joined with the
//! first result to its address that was sent after that; a UDP datagram says nothing of it, and is joined with the last result to its
//! address that was sent before it arrived. What must have come of a probe follows
//! from when its replies left: the path takes no time worth mentioning, and a reply that left within [`NEAR`] before the
//! timeout may count either way. So may replies that left as echolot was about to end.
//!
//! A round-trip time that is too small is one that ended before the reply left. One that is too large shows as a path that
//! takes too long: a bound on each, unless a CPU was seen to be held up meanwhile, and one on their median, which a bad
//! moment of the machine doesn't move.

use super::evidence::{Form, Outcome, PortState, Seen, Summary, Told};
use std::{borrow::Cow, collections::HashMap, fmt, net::IpAddr};

/// A reply that left so shortly before the timeout may have arrived after it, nanoseconds.
const NEAR: u64 = 5_000_000;
/// Replies that left so shortly before an echolot's last deadline may not have been counted by it any more.
const LAST: u64 = 100_000_000;
/// Time to live of the far end's replies.
const TTL: u8 = 64;
/// A SYN says when it was sent in units of so many nanoseconds, as a power of two.
const UNIT: u32 = 20;
/// Mismatches that are told one by one.
const SHOWN: usize = 20;

/// One life of an echolot process.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its results.
    pub results: Vec<Told>,
    /// Its summary.
    pub summary: Summary,
    /// How long its probes could be answered, nanoseconds.
    pub timeout_ns: u64,
}

impl Life {
    /// Probes a second, from the first to the last that was sent.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub fn rate(&self) -> f64 {
        let (first, end) = span(&self.results, 0);
        let sent = self.results.iter().filter(|told| told.outcome != Outcome::Unsent).count();
        if end > first { sent as f64 * 1e9 / (end - first) as f64 } else { 0.0 }
    }
}

/// Frames that interfaces and sockets between the two ends admit to having lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Excuses {
    /// On the way to the far end.
    pub there: u64,
    /// On the way back.
    pub back: u64,
}

/// What the judge goes by beside results and record.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// What interfaces and sockets lost.
    pub excuses: Excuses,
    /// Ranges, first and last address, that the far end answered without a record. Each probe to them must be answered.
    pub unrecorded: Vec<(IpAddr, IpAddr)>,
    /// How long the path may take; None: as long as it likes.
    pub path: Option<PathBounds>,
    /// Times in which a CPU of this machine did not do what it was asked to.
    pub held_up: Vec<HeldUp>,
}

/// How long the path may take beside what the far end held, nanoseconds.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PathBounds {
    pub median: u64,
    pub each: u64,
}

/// From when to when a CPU did not do what it was asked to, CLOCK_MONOTONIC nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct HeldUp {
    pub from: u64,
    pub to: u64,
}

impl Terms {
    fn is_unrecorded(&self, address: IpAddr) -> bool {
        self.unrecorded.iter().any(|(first, last)| (*first..=*last).contains(&address))
    }
}

/// Stretches in which some CPU was held up: in order, and apart from each other.
pub(super) struct Stretches(Vec<HeldUp>);

impl Stretches {
    /// Those of at least so many nanoseconds.
    pub(super) fn of(held_up: &[HeldUp], least: u64) -> Self {
        let mut all: Vec<HeldUp> = held_up.iter().copied().filter(|held| held.to - held.from >= least).collect();
        all.sort_unstable_by_key(|held| held.from);
        let mut apart: Vec<HeldUp> = Vec::new();
        for held in all {
            match apart.last_mut() {
                Some(last) if held.from <= last.to => last.to = last.to.max(held.to),
                _ => apart.push(held),
            }
        }
        Self(apart)
    }

    /// Whether any of them lies between two moments, or in part.
    pub(super) fn meet(&self, from: u64, to: u64) -> bool {
        let first = self.0.partition_point(|held| held.to < from);
        self.0.get(first).is_some_and(|held| held.from <= to)
    }
}

/// A distribution, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Times {
    pub count: usize,
    pub min: u64,
    pub median: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

impl Times {
    fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |share: usize| times.get(times.len().saturating_sub(1) * share / 100).copied().unwrap_or(0);
        Self { count: times.len(), min: at(0), median: at(50), p90: at(90), p99: at(99), max: at(100) }
    }
}

impl fmt::Display for Times {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u64| ns as f64 / 1_000.0;
        let (min, median, p90, p99, max) = (us(self.min), us(self.median), us(self.p90), us(self.p99), us(self.max));
        write!(f, "min {min:.1} us, median {median:.1} us, p90 {p90:.1} us, p99 {p99:.1} us, max {max:.1} us")
    }
}

/// What the judge found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Results judged.
    pub judged: u64,
    /// The first mismatches, in words.
    pub told: Vec<String>,
    /// All of them.
    pub mismatches: u64,
    /// Probes that would be mismatches, were it not for an interface's counter.
    pub excused: u64,
    /// What there was to excuse them with.
    pub excuses: Excuses,
    /// Probes that may have ended either way: a reply left just before the timeout.
    pub borderline: u64,
    /// Results of ranges without a record: answered, or there is an excuse.
    pub unrecorded: u64,
    /// Answers whose path took longer than it may, while a CPU of this machine was held up.
    pub held_up: u64,
    /// Round-trip time less the far end's hold: the path's own time.
    pub path: Times,
    /// What the far end held the answers for.
    pub hold: Times,
}

impl Verdict {
    fn mismatch(&mut self, what: impl FnOnce() -> String) {
        self.mismatches += 1;
        if self.told.len() < SHOWN {
            self.told.push(what());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for told in &self.told {
            writeln!(f, "  MISMATCH {told}")?;
        }
        let Self { judged, mismatches, excused, borderline, .. } = self;
        writeln!(f, "  {judged} results, {mismatches} mismatches, {excused} excused, {borderline} borderline")?;
        if self.unrecorded > 0 {
            writeln!(
                f,
                "  {} of them in ranges without a record: answered within the timeout, no more",
                self.unrecorded
            )?;
        }
        if self.held_up > 0 {
            writeln!(f, "  {} answers took a path too long while a CPU of this machine was held up", self.held_up)?;
        }
        let Excuses { there, back } = self.excuses;
        if there + back > 0 {
            writeln!(f, "  counters admit to {there} frames lost on the way there, {back} on the way back")?;
        }
        writeln!(f, "  path  {} ({} answers)", self.path, self.path.count)?;
        write!(f, "  hold  {}", self.hold)
    }
}

/// At least, and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bounds {
    least: u64,
    most: u64,
}

impl Bounds {
    fn add(&mut self, sure: bool) {
        self.least += u64::from(sure);
        self.most += 1;
    }
}

/// What echolot must have counted beside outcomes.
#[derive(Default)]
struct Counts {
    late: Bounds,
    duplicate: Bounds,
    contradicted: Bounds,
    rejected: Bounds,
    /// In time, but for which of the two above is open: at most.
    open: u64,
}

type Key = (IpAddr, u64);

/// What must have come of a probe.
struct Expected {
    outcomes: Vec<Outcome>,
    borderline: bool,
    /// When the first good reply that may count left.
    departure: Option<u64>,
}

/// Holds the lives of echolot, in their order, against the far end's record.
pub fn judge(lives: &[Life], record: &[Seen], terms: &Terms) -> Verdict {
    let excuses = terms.excuses;
    let record = &*dated(lives, record);
    let mut verdict = Verdict { excuses, ..Verdict::default() };
    let mut known: HashMap<Key, usize> = HashMap::with_capacity(record.len());
    for (index, seen) in record.iter().enumerate() {
        if known.insert((seen.address, seen.sent_ns), index).is_some() {
            verdict.mismatch(|| format!("{} sent_ns {}: it arrived twice", seen.address, seen.sent_ns));
        }
    }
    let mut owner: Vec<Option<usize>> = vec![None; record.len()];
    let held_up = Stretches::of(&terms.held_up, 0);
    let (there, back) = (excuses.there, excuses.back);
    let (masks, flows) = (HashMap::new(), HashMap::new());
    let mut court = Court { terms, held_up, there, back, masks, flows, path: Vec::new(), hold: Vec::new() };
    for (number, life) in lives.iter().enumerate() {
        for told in &life.results {
            verdict.judged += 1;
            if told.outcome == Outcome::Unsent {
                continue;
            }
            if terms.is_unrecorded(told.address) {
                court.unrecorded(told, life, &mut verdict);
                continue;
            }
            let Some(index) = known.get(&(told.address, told.sent_ns)).copied() else {
                if told.outcome != Outcome::Answered && court.there > 0 {
                    court.there -= 1;
                    verdict.excused += 1;
                } else {
                    verdict.mismatch(|| format!("{}: the far end never saw it", shown(told)));
                }
                continue;
            };
            let seen = &record[index];
            if owner[index].replace(number).is_some() {
                verdict.mismatch(|| format!("{}: a second result for this probe", shown(told)));
                continue;
            }
            court.probe(told, seen, (number, life), &mut verdict);
        }
        numbers(&life.results, &life.summary, &mut verdict);
    }
    for (seen, owner) in record.iter().zip(&owner) {
        if owner.is_none() {
            verdict.mismatch(|| {
                format!(
                    "{} sequence {} sent_ns {}: it arrived, and has no result",
                    seen.address, seen.sequence, seen.sent_ns
                )
            });
        }
    }
    sums(lives, record, &owner, excuses.back, &mut verdict);
    verdict.path = Times::of(court.path);
    verdict.hold = Times::of(court.hold);
    if let Some(most) = terms.path
        && verdict.path.median > most.median
    {
        let (median, most) = (verdict.path.median, most.median);
        verdict.mismatch(|| {
            format!("the path's median is {median} ns, and may be {most}: round-trip times are too large")
        });
    }
    verdict
}

/// The record, with the send stamps of the results in place of what SYNs say of theirs: when they were made. Live frames are stamped
/// later, by as much as the sender was held up in between; whatever is sent to the address next is made after that. UDP datagrams say
/// nothing, and arrive before the next to their address is sent.
fn dated<'a>(lives: &[Life], record: &'a [Seen]) -> Cow<'a, [Seen]> {
    if record.iter().all(|seen| seen.port == 0) {
        return Cow::Borrowed(record);
    }
    let mut sent: HashMap<IpAddr, Vec<u64>> = HashMap::new();
    for told in lives.iter().flat_map(|life| &life.results).filter(|told| told.outcome != Outcome::Unsent) {
        sent.entry(told.address).or_default().push(told.sent_ns);
    }
    sent.values_mut().for_each(|stamps| stamps.sort_unstable());
    let mut record = record.to_vec();
    for seen in record.iter_mut().filter(|seen| seen.port != 0) {
        let stamps = sent.get(&seen.address).map_or(&[][..], Vec::as_slice);
        if seen.udp {
            let after = stamps.partition_point(|stamp| *stamp <= seen.arrival_ns);
            if let Some(stamp) = after.checked_sub(1).and_then(|last| stamps.get(last)) {
                seen.sent_ns = *stamp;
            }
            continue;
        }
        // It says the low 32 bits; it arrived less than 52 days later.
        let arrival = seen.arrival_ns >> UNIT;
        let age = arrival.wrapping_sub(seen.sent_ns >> UNIT) & u64::from(u32::MAX);
        let made = arrival.saturating_sub(age) << UNIT;
        if let Some(stamp) = stamps.get(stamps.partition_point(|stamp| *stamp < made)) {
            seen.sent_ns = *stamp;
        }
    }
    Cow::Owned(record)
}

/// What is wrong with what a result says of probe and port.
fn misnamed(told: &Told, seen: &Seen) -> Option<String> {
    let Some(probe) = &told.probe else {
        return told.port.map(|port| format!("a port that is {port:?}, of an echo request"));
    };
    let protocol = if seen.udp { "udp" } else { "tcp" };
    if **probe != *format!("{protocol}:{}", seen.port) {
        return Some(format!("{probe}, and it was sent to {protocol} port {}", seen.port));
    }
    let is_open = seen.port.is_multiple_of(2) || seen.is_question();
    let state = if is_open { PortState::Open } else { PortState::Closed };
    let expected = (told.outcome == Outcome::Answered).then_some(state);
    (told.port != expected).then(|| format!("the port {:?} and not {expected:?}", told.port))
}

fn shown(told: &Told) -> String {
    let Told { address, seq, sent_ns, outcome, rtt_ns, .. } = told;
    let rtt = rtt_ns.map_or_else(String::new, |rtt| format!(" in {rtt} ns"));
    format!("{address} seq {seq} sent_ns {sent_ns}, {}{rtt}", outcome.name())
}

/// What is used up and gathered while results are judged.
struct Court<'a> {
    terms: &'a Terms,
    held_up: Stretches,
    /// Frames lost on the way there that no probe has been excused with yet.
    there: u64,
    /// The same on the way back.
    back: u64,
    /// What the low bits of the SYNs' sequence numbers, and of the words of UDP datagrams, are masked with: by life, address and both ports.
    masks: HashMap<(usize, IpAddr, u16, u16), u64>,
    /// Which port UDP datagrams were sent from: by life, the port that they were sent to, and the low bits of their number.
    flows: HashMap<(usize, u16, u64), u16>,
    path: Vec<u64>,
    hold: Vec<u64>,
}

impl Court<'_> {
    /// Whether the sequence number is that of the probe with this result. A SYN's has the low 8 bits of the number, masked by the same
    /// bits in every SYN of a flow: the first tells them. So has the word of a UDP datagram, which one over IPv6 only has where it asks a
    /// question; and the same low bits go with the same port, whatever the address.
    fn is_its_number(&mut self, told: &Told, seen: &Seen, life: usize) -> bool {
        if seen.port == 0 {
            return told.seq & 0xffff == u64::from(seen.sequence);
        }
        if seen.udp {
            let flow = *self.flows.entry((life, seen.port, told.seq & 0xff)).or_insert(seen.identifier);
            if flow != seen.identifier || (seen.address.is_ipv6() && !seen.is_question()) {
                return flow == seen.identifier;
            }
        }
        let mask = (told.seq ^ u64::from(seen.sequence)) & 0xff;
        *self.masks.entry((life, seen.address, seen.identifier, seen.port)).or_insert(mask) == mask
    }

    /// One result against the record of its probe.
    fn probe(&mut self, told: &Told, seen: &Seen, (number, life): (usize, &Life), verdict: &mut Verdict) {
        if !self.is_its_number(told, seen, number) {
            return verdict.mismatch(|| format!("{}: its sequence was {}", shown(told), seen.sequence));
        }
        if let Some(wrong) = misnamed(told, seen) {
            return verdict.mismatch(|| format!("{}: it says {wrong}", shown(told)));
        }
        if seen.arrival_ns < told.sent_ns {
            let early = told.sent_ns - seen.arrival_ns;
            return verdict.mismatch(|| format!("{}: it arrived {early} ns before that", shown(told)));
        }
        let expected = expected(seen, life.timeout_ns);
        verdict.borderline += u64::from(expected.borderline);
        // Unheard is lost with an excuse; how many there may be is judged with the sums.
        let outcome = if told.outcome == Outcome::Unheard { Outcome::Lost } else { told.outcome };
        if !expected.outcomes.contains(&outcome) {
            if self.excused(told, verdict) {
                return;
            }
            let wanted: Vec<&str> = expected.outcomes.iter().map(|outcome| outcome.name()).collect();
            let wanted = wanted.join(" or ");
            return verdict
                .mismatch(|| format!("{}: must be {wanted}; {:?} {:?}", shown(told), seen.decided, seen.replies));
        }
        if outcome != Outcome::Answered {
            return;
        }
        let (Some(rtt), Some(departure)) = (told.rtt_ns, expected.departure) else {
            return verdict.mismatch(|| format!("{}: answered needs a time and a reply", shown(told)));
        };
        if told.sent_ns.saturating_add(rtt) < departure {
            let early = departure - told.sent_ns - rtt;
            return verdict.mismatch(|| format!("{}: the reply left {early} ns after that", shown(told)));
        }
        let held = departure.saturating_sub(seen.arrival_ns);
        if self.answer(told, rtt, held, life, verdict) {
            self.hold.push(held);
        }
    }

    /// One result of a range without a record.
    fn unrecorded(&mut self, told: &Told, life: &Life, verdict: &mut Verdict) {
        verdict.unrecorded += 1;
        match (told.outcome, told.rtt_ns) {
            (Outcome::Answered, Some(rtt)) => {
                self.answer(told, rtt, 0, life, verdict);
            }
            _ if self.excused(told, verdict) => {}
            _ => verdict.mismatch(|| format!("{}: must be answered, in a range without a record", shown(told))),
        }
    }

    /// Whether a frame that this machine admits to having lost is why this was not answered.
    fn excused(&mut self, told: &Told, verdict: &mut Verdict) -> bool {
        // Unheard: its reply was among the frames that echolot's own socket dropped; at most as many as were, see the sums.
        let excused = match told.outcome {
            Outcome::Unheard => true,
            Outcome::Lost if self.back > 0 => {
                self.back -= 1;
                true
            }
            _ => false,
        };
        verdict.excused += u64::from(excused);
        excused
    }

    /// An answer that the far end held for so long: what it says beside its outcome. False: it can't be.
    fn answer(&mut self, told: &Told, rtt: u64, held: u64, life: &Life, verdict: &mut Verdict) -> bool {
        if told.reply_ttl != Some(TTL) {
            verdict.mismatch(|| format!("{}: reply_ttl {:?} instead of {TTL}", shown(told), told.reply_ttl));
        }
        if rtt > life.timeout_ns {
            verdict.mismatch(|| format!("{}: past its timeout", shown(told)));
            return false;
        }
        let path = rtt.saturating_sub(held);
        self.path.push(path);
        if let Some(most) = self.terms.path
            && path > most.each
        {
            if self.held_up.meet(told.sent_ns, told.sent_ns.saturating_add(rtt)) {
                verdict.held_up += 1;
            } else {
                let most = most.each;
                verdict.mismatch(|| {
                    format!("{}: held for {held} ns, so its path took {path} ns and may take {most}", shown(told))
                });
            }
        }
        true
    }
}

/// What must have come of a probe whose replies left when they did.
fn expected(seen: &Seen, timeout: u64) -> Expected {
    let mut expected = Expected { outcomes: Vec::new(), borderline: false, departure: None };
    let mut replies: Vec<(u64, Form)> =
        seen.replies.iter().filter_map(|reply| Some((reply.departure_ns?, reply.form))).collect();
    replies.sort_by_key(|(departure, _)| *departure);
    for (departure, form) in replies {
        let outcome = match form {
            Form::Good => Outcome::Answered,
            Form::Error | Form::ShortError => Outcome::Unreachable,
            Form::CorruptPayload | Form::CorruptCookie | Form::CorruptError | Form::Forged | Form::Stranger => continue,
        };
        let took = departure.saturating_sub(seen.sent_ns);
        if took > timeout {
            break;
        }
        if outcome == Outcome::Answered && expected.departure.is_none() {
            expected.departure = Some(departure);
        }
        if !expected.outcomes.contains(&outcome) {
            expected.outcomes.push(outcome);
        }
        if took.saturating_add(NEAR) <= timeout {
            return expected;
        }
        expected.borderline = true;
    }
    expected.outcomes.push(Outcome::Lost);
    expected
}

/// The numbers of each target's probes: none twice, none left out but what was skipped.
fn numbers(results: &[Told], summary: &Summary, verdict: &mut Verdict) {
    let mut by_target: Vec<(IpAddr, u64)> = results.iter().map(|told| (told.address, told.seq)).collect();
    by_target.sort_unstable();
    let mut left_out = 0u64;
    for (index, (address, number)) in by_target.iter().enumerate() {
        let next = match index.checked_sub(1).map(|before| by_target[before]) {
            Some((before, last)) if before == *address => last.saturating_add(1),
            _ => 0,
        };
        if *number < next {
            verdict.mismatch(|| format!("{address} seq {number}: two results have this number"));
        }
        left_out = number.saturating_sub(next).saturating_add(left_out);
    }
    if left_out > summary.skipped {
        let skipped = summary.skipped;
        verdict.mismatch(|| format!("{left_out} numbers are left out, and {skipped} probes were skipped"));
    }
}

/// What echolot summed up against its own results and the record.
fn sums(lives: &[Life], record: &[Seen], owner: &[Option<usize>], excused: u64, verdict: &mut Verdict) {
    // An echolot looks at its replies from its first probe to its last deadline.
    let spans: Vec<(u64, u64)> = lives.iter().map(|life| span(&life.results, life.timeout_ns)).collect();
    let mut counts: Vec<Counts> = lives.iter().map(|_| Counts::default()).collect();
    for (seen, owner) in record.iter().zip(owner) {
        let Some(owner) = *owner else { continue };
        count(seen, owner, lives, &spans, &mut counts);
    }
    for (number, (life, counts)) in lives.iter().zip(&counts).enumerate() {
        let summary = &life.summary;
        let mut equal = |what: &str, told: u64, counted: u64| {
            if told != counted {
                verdict.mismatch(|| format!("life {number}: {what} {told} in the summary, {counted} in the results"));
            }
        };
        equal("probes", summary.probes, life.results.len() as u64);
        for outcome in Outcome::ALL {
            let counted = life.results.iter().filter(|told| told.outcome == outcome).count() as u64;
            equal(outcome.name(), summary.of(outcome), counted);
        }
        equal("in_flight", summary.in_flight, 0);
        equal("results dropped", summary.drops.get("results").copied().unwrap_or(0), 0);
        if summary.unheard > summary.received_drops() {
            let (unheard, drops) = (summary.unheard, summary.received_drops());
            verdict.mismatch(|| format!("life {number}: {unheard} unheard, and {drops} received frames were dropped"));
        }
        let excused = excused + summary.received_drops();
        let mut within = |what: &str, told: u64, bounds: Bounds| {
            let Bounds { least, most } = bounds;
            if told > most || told + excused < least {
                verdict.mismatch(|| {
                    format!("life {number}: {what} {told} in the summary, {least} to {most} in the record")
                });
            }
        };
        let wider = |bounds: Bounds| Bounds { most: bounds.most + counts.open, ..bounds };
        within("late", summary.late, counts.late);
        within("duplicate", summary.duplicate, wider(counts.duplicate));
        within("contradicted", summary.contradicted, wider(counts.contradicted));
        within("rejected", summary.rejected.values().sum(), counts.rejected);
    }
}

fn span(results: &[Told], timeout: u64) -> (u64, u64) {
    let sent = || results.iter().filter(|told| told.outcome != Outcome::Unsent).map(|told| told.sent_ns);
    (sent().min().unwrap_or(u64::MAX), sent().max().map_or(0, |last| last.saturating_add(timeout)))
}

/// Counts what the replies to one request must have been to each life.
fn count(seen: &Seen, owner: usize, lives: &[Life], spans: &[(u64, u64)], counts: &mut [Counts]) {
    let timeout = lives[owner].timeout_ns;
    let mut replies: Vec<(u64, Form)> =
        seen.replies.iter().filter_map(|reply| Some((reply.departure_ns?, reply.form))).collect();
    replies.sort_by_key(|(departure, _)| *departure);
    let mut first: Option<Form> = None;
    let mut unsure = false;
    for (departure, form) in replies {
        for (number, ((begin, end), counts)) in spans.iter().zip(counts.iter_mut()).enumerate() {
            // Whether it was there already isn't known: one that starts slowly has its sockets long before its first probe.
            if number.checked_sub(1).is_some_and(|before| departure < spans[before].1) {
                continue;
            }
            // Somebody else has taken over by then.
            if spans.get(number + 1).is_some_and(|(next, _)| departure > *next) {
                continue;
            }
            let own = number == owner;
            let sure = (own || departure > begin.saturating_add(LAST)) && departure.saturating_add(LAST) < *end;
            match form {
                // What is said to a port that sends UDP, and proves nothing, is told apart by who says it: the kernel's, or rejected.
                Form::CorruptPayload | Form::CorruptCookie | Form::Forged | Form::Stranger => {
                    counts.rejected.add(sure && !seen.udp);
                }
                // Where the bit is one of those by which a host tells whose error it is, it goes to the kernel.
                Form::CorruptError => counts.rejected.add(false),
                _ if !own => counts.rejected.add(sure),
                Form::Good | Form::Error | Form::ShortError => {
                    let took = departure.saturating_sub(seen.sent_ns);
                    if took > timeout {
                        counts.late.add(sure);
                    } else if took.saturating_add(NEAR) > timeout {
                        // In time or late; if in time, perhaps the first.
                        counts.late.add(false);
                        counts.open += 1;
                        unsure = true;
                    } else {
                        match first {
                            None => {}
                            Some(Form::Error | Form::ShortError) if form == Form::Good => {
                                counts.contradicted.add(sure && !unsure);
                            }
                            Some(_) => counts.duplicate.add(sure && !unsure),
                        }
                    }
                }
            }
        }
        let took = departure.saturating_sub(seen.sent_ns);
        if first.is_none() && took <= timeout && matches!(form, Form::Good | Form::Error | Form::ShortError) {
            first = Some(form);
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
