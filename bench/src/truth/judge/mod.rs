//! The judge: every result of echolot's held against what the far end recorded of that very probe.
//!
//! It shares no code with echolot. Probes are joined by address and send stamp; a SYN says but when it was made, and is joined with the
//! first result to its address that was sent after that; a UDP datagram says nothing of it, and is joined with the last result to its
//! address that was sent before it arrived. What must have come of a probe follows
//! from when its replies left: the path takes no time worth mentioning, and a reply that left within `NEAR` before the
//! timeout may count either way. So may replies that left as echolot was about to end.
//!
//! A round-trip time that is too small is one that ended before the reply left. One that is too large shows as a path that
//! takes too long: a bound on each, unless a CPU was seen to be held up meanwhile, and one on their median, which a bad
//! moment of the machine doesn't move.

//!
//! | file | what |
//! |---|---|
//! | `expected` | what must have come of a probe |
//! | `court` | one result against the record of its probe |
//! | `hops` | the probes of paths, which are joined by their times to live |
//! | `sums` | the summary against results and record |
//! | `held_up`, `verdict` | when the machine was held up; what is said in the end |

mod court;
mod expected;
mod held_up;
mod hops;
mod sums;
mod verdict;

pub use held_up::HeldUp;
pub(super) use held_up::Stretches;
pub use verdict::{Times, Verdict};

use super::evidence::{Outcome, Seen, Summary, Told};
use court::{Court, shown};
use std::{borrow::Cow, collections::HashMap, net::IpAddr};
use sums::{numbers, span, sums};

/// A SYN says when it was sent in units of so many nanoseconds, as a power of two.
const UNIT: u32 = 20;

/// One life of an echolot process.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its results; of paths the hops.
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

    /// Whether its results are the hops of paths.
    pub fn is_of_paths(&self) -> bool {
        self.results.iter().any(|told| told.hop.is_some())
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
    /// Targets come and go while it runs: their numbers go on where they come in, and what comes back after they have gone is about nobody.
    pub targets_change: bool,
}

/// How long the path may take beside what the far end held, nanoseconds.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PathBounds {
    pub median: u64,
    pub each: u64,
}

impl Terms {
    fn is_unrecorded(&self, address: IpAddr) -> bool {
        self.unrecorded.iter().any(|(first, last)| (*first..=*last).contains(&address))
    }
}

type Key = (IpAddr, u64);

/// Holds the lives of echolot, in their order, against the far end's record.
pub fn judge(lives: &[Life], record: &[Seen], terms: &Terms) -> Verdict {
    if let [life] = lives
        && life.is_of_paths()
    {
        return hops::judge(life, record, terms);
    }
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
    let mut court = Court::new(terms);
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
                court.never_arrived(told, &mut verdict);
                continue;
            };
            let seen = &record[index];
            if owner[index].replace(number).is_some() {
                verdict.mismatch(|| format!("{}: a second result for this probe", shown(told)));
                continue;
            }
            court.probe(told, seen, (number, life), &mut verdict);
        }
        numbers(&life.results, &life.summary, terms.targets_change, &mut verdict);
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
    sums(lives, record, &owner, terms, &mut verdict);
    court.close(lives, &mut verdict);
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

#[cfg(test)]
mod tests;
