//! What echolot summed up.

use super::{Life, Terms, expected::NEAR, verdict::Verdict};
use crate::truth::evidence::{Form, Outcome, Seen, Summary, Told};
use std::net::IpAddr;

/// Replies that left so shortly before an echolot's last deadline may not have been counted by it any more.
const LAST: u64 = 100_000_000;

/// At least, and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Bounds {
    pub(super) fn add(&mut self, sure: bool) {
        self.least += u64::from(sure);
        self.most += 1;
    }

    /// Whether a number of a life's summary is within; what this machine lost may be missing.
    pub(super) fn hold(self, what: &str, told: u64, (number, excused): (usize, u64), verdict: &mut Verdict) {
        let Self { least, most } = self;
        if told > most || told + excused < least {
            verdict
                .mismatch(|| format!("life {number}: {what} {told} in the summary, {least} to {most} in the record"));
        }
    }
}

/// What echolot must have counted beside outcomes.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) late: Bounds,
    pub(super) duplicate: Bounds,
    pub(super) contradicted: Bounds,
    pub(super) rejected: Bounds,
    /// In time, but for which of the two above is open: at most.
    pub(super) open: u64,
}

/// The numbers of each target's probes: none twice, none left out but what was skipped, unless it was away meanwhile.
pub(super) fn numbers(results: &[Told], summary: &Summary, targets_change: bool, verdict: &mut Verdict) {
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
    if left_out > summary.skipped && !targets_change {
        let skipped = summary.skipped;
        verdict.mismatch(|| format!("{left_out} numbers are left out, and {skipped} probes were skipped"));
    }
}

/// What echolot summed up against its own results and the record.
pub(super) fn sums(lives: &[Life], record: &[Seen], owner: &[Option<usize>], terms: &Terms, verdict: &mut Verdict) {
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
        beside(number, summary, counts, terms, verdict);
    }
}

/// What is counted beside outcomes, in the summary and in the record.
pub(super) fn beside(number: usize, summary: &Summary, counts: &Counts, terms: &Terms, verdict: &mut Verdict) {
    let excused = terms.excuses.back + summary.received_drops();
    let mut within = |what: &str, told: u64, bounds: Bounds| bounds.hold(what, told, (number, excused), verdict);
    let wider = |bounds: Bounds| Bounds { most: bounds.most + counts.open, ..bounds };
    if terms.targets_change {
        // Of somebody who has gone meanwhile each of these is rejected.
        let all = [counts.late, counts.duplicate, counts.rejected];
        let sum = |of: fn(&Bounds) -> u64| all.iter().map(of).sum();
        let bounds = Bounds { least: sum(|bounds| bounds.least), most: sum(|bounds| bounds.most) };
        let told = summary.late + summary.duplicate + summary.rejected.values().sum::<u64>();
        within("late, duplicate and rejected", told, wider(bounds));
        return;
    }
    within("late", summary.late, counts.late);
    within("duplicate", summary.duplicate, wider(counts.duplicate));
    within("contradicted", summary.contradicted, wider(counts.contradicted));
    within("rejected", summary.rejected.values().sum(), counts.rejected);
}

/// From the first probe to the last deadline, CLOCK_MONOTONIC nanoseconds.
pub(super) fn span(results: &[Told], timeout: u64) -> (u64, u64) {
    let sent = || results.iter().filter(|told| told.outcome != Outcome::Unsent).map(|told| told.sent_ns);
    (sent().min().unwrap_or(u64::MAX), sent().max().map_or(0, |last| last.saturating_add(timeout)))
}

/// Counts what the replies to one request must have been to each life.
pub(super) fn count(seen: &Seen, owner: usize, lives: &[Life], spans: &[(u64, u64)], counts: &mut [Counts]) {
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
                    // So is what a router says of a SYN, which may be about a connection of the host's own.
                    let is_ours = !seen.udp && (seen.port == 0 || seen.router.is_none());
                    counts.rejected.add(sure && is_ours);
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
