//! The probes of paths. A path's line says of each probe which time to live it had, and when it was sent: so probes are joined by address
//! and time to live, of which there is one each where a target is traced once and by one flow. Not every probe is told of: what asked how
//! far the target is, and what was asked beyond a hop that turned out to be the last. Those count in the summary all the same, so it is held
//! against the record, and not against what is told.

use super::{
    Life, Terms, UNIT,
    court::{Court, misnamed, shown},
    expected::expected,
    sums::{Bounds, Counts, beside, count, span},
    verdict::Verdict,
};
use crate::truth::evidence::{Form, Outcome, Seen, Told, ToldHop};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Time to live of the probe that asks how far the target is.
const WHOLE: u8 = 64;
/// Who says that a host can't be reached, unless a rule file names another.
const REFUSING: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 63, 0, 2)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x63, 0, 0, 0, 0, 0, 2))];

/// Whose probe, and its time to live.
type Key = (IpAddr, u8);

/// Holds paths against the record.
pub(super) fn judge(life: &Life, record: &[Seen], terms: &Terms) -> Verdict {
    let mut verdict = Verdict { excuses: terms.excuses, ..Verdict::default() };
    let mut results: HashMap<Key, &Told> = HashMap::with_capacity(life.results.len());
    let mut ends: HashMap<IpAddr, &Told> = HashMap::new();
    for told in &life.results {
        let Some(hop) = &told.hop else {
            verdict.mismatch(|| format!("{}: no hop, among paths", shown(told)));
            continue;
        };
        if results.insert((told.address, hop.ttl), told).is_some() {
            verdict.mismatch(|| format!("{}: a second result for this probe", shown(told)));
        }
        if hop.is_last {
            ends.insert(told.address, told);
        }
    }
    let mut arrived: HashMap<Key, Seen> = HashMap::with_capacity(record.len());
    for seen in record {
        let key = (seen.address, seen.ttl.unwrap_or(WHOLE));
        if arrived.insert(key, dated(seen, results.get(&key).copied(), &mut verdict)).is_some() {
            verdict.mismatch(|| format!("{} ttl {}: it arrived twice", key.0, key.1));
        }
    }
    let mut court = Court::new(terms);
    for told in &life.results {
        verdict.judged += 1;
        let Some(hop) = told.hop.as_ref().filter(|_| told.outcome != Outcome::Unsent) else { continue };
        match arrived.get(&(told.address, hop.ttl)) {
            Some(seen) => probe(&mut court, (told, hop), seen, life, &mut verdict),
            None => court.never_arrived(told, &mut verdict),
        }
    }
    for (key @ (address, ttl), seen) in &arrived {
        if !results.contains_key(key) && !goes_untold(*ttl, ends.get(address).copied()) {
            verdict
                .mismatch(|| format!("{address} ttl {ttl} sent_ns {}: it arrived, and is not told of", seen.sent_ns));
        }
    }
    sums(life, &arrived, terms, &mut verdict);
    court.close(std::slice::from_ref(life), &mut verdict);
    verdict
}

/// A request with its send stamp as far as that is known: as the result has it, if the request does not contradict. Of what a router says
/// the forms are those of errors.
fn dated(seen: &Seen, told: Option<&Told>, verdict: &mut Verdict) -> Seen {
    let mut seen = seen.clone();
    if seen.port != 0 && !seen.udp {
        // It says the low 32 bits of when it was made; it arrived less than 52 days later.
        let arrival = seen.arrival_ns >> UNIT;
        let age = arrival.wrapping_sub(seen.sent_ns >> UNIT) & u64::from(u32::MAX);
        seen.sent_ns = arrival.saturating_sub(age) << UNIT;
    }
    if let Some(told) = told.filter(|told| told.outcome != Outcome::Unsent) {
        let is_right = match seen.port {
            0 => told.sent_ns == seen.sent_ns,
            // Live frames are stamped when they leave, which is later than a SYN is made; a UDP datagram says nothing of it.
            _ => (seen.udp || seen.sent_ns <= told.sent_ns) && told.sent_ns <= seen.arrival_ns,
        };
        if !is_right {
            let Seen { sent_ns, arrival_ns, .. } = seen;
            verdict.mismatch(|| format!("{}: it says {sent_ns}, and arrived at {arrival_ns}", shown(told)));
        }
        seen.sent_ns = told.sent_ns;
    }
    if seen.router.is_some() {
        for reply in &mut seen.replies {
            reply.form = match reply.form {
                Form::Good => Form::Error,
                Form::CorruptPayload => Form::CorruptError,
                other => other,
            };
        }
    }
    seen
}

/// One hop against the record of its probe.
fn probe(court: &mut Court<'_>, (told, hop): (&Told, &ToldHop), seen: &Seen, life: &Life, verdict: &mut Verdict) {
    if let Some(wrong) = misnamed(told, seen) {
        return verdict.mismatch(|| format!("{}: it says {wrong}", shown(told)));
    }
    let is_whose = match told.outcome {
        Outcome::Answered => hop.from == Some(told.address),
        Outcome::Hop => hop.from.is_some() && hop.from == seen.router,
        Outcome::Unreachable => hop.from.is_some_and(|from| REFUSING.contains(&from)),
        Outcome::Lost | Outcome::Unheard | Outcome::Unsent => hop.from.is_none(),
    };
    if !is_whose {
        return verdict.mismatch(|| format!("{}: whoever said something was {:?}", shown(told), seen.router));
    }
    // A router has counted it down before it found out.
    let quoted = (told.outcome == Outcome::Hop).then(|| hop.ttl.saturating_sub(1));
    if hop.quoted_ttl != quoted {
        verdict.mismatch(|| format!("{}: quoted_ttl {:?} instead of {quoted:?}", shown(told), hop.quoted_ttl));
    }
    court.fate(told, seen, life, verdict);
}

/// Whether a probe that arrived may be missing from the path with this last hop: it asked how far the target is, or lies beyond.
fn goes_untold(ttl: u8, last: Option<&Told>) -> bool {
    let ends = |told: &Told| matches!(told.outcome, Outcome::Answered | Outcome::Unreachable);
    let end = last.filter(|told| ends(told)).and_then(|told| told.hop.as_ref());
    ttl == WHOLE || end.is_some_and(|end| ttl > end.ttl)
}

/// The summary against the record: every probe that arrived had one of the outcomes that it may have had.
fn sums(life: &Life, arrived: &HashMap<Key, Seen>, terms: &Terms, verdict: &mut Verdict) {
    let lives = std::slice::from_ref(life);
    let spans = [span(&life.results, life.timeout_ns)];
    let mut counts = [Counts::default()];
    let mut bounds: HashMap<Outcome, Bounds> = HashMap::new();
    for seen in arrived.values() {
        let outcomes = expected(seen, life.timeout_ns).outcomes;
        outcomes.iter().for_each(|outcome| bounds.entry(*outcome).or_default().add(outcomes.len() == 1));
        count(seen, 0, lives, &spans, &mut counts);
    }
    let (summary, excuses) = (&life.summary, terms.excuses);
    let lost = excuses.back + summary.received_drops();
    for outcome in [Outcome::Answered, Outcome::Hop, Outcome::Unreachable] {
        let bounds = bounds.get(&outcome).copied().unwrap_or_default();
        bounds.hold(outcome.name(), summary.of(outcome), (0, lost), verdict);
    }
    let Bounds { least, most } = bounds.get(&Outcome::Lost).copied().unwrap_or_default();
    let unanswered = summary.lost + summary.unheard;
    Bounds { least, most: most + lost + excuses.there }.hold("lost and unheard", unanswered, (0, 0), verdict);
    let many = arrived.len() as u64;
    let left = Bounds { least: many, most: many + excuses.there };
    left.hold("probes that left", summary.probes.saturating_sub(summary.unsent), (0, 0), verdict);
    Bounds::default().hold("in_flight", summary.in_flight, (0, 0), verdict);
    let [counts] = &counts;
    beside(0, summary, counts, terms, verdict);
}

#[cfg(test)]
#[path = "hops_tests.rs"]
mod tests;
