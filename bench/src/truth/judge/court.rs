//! One result held against the record of its probe.

use super::{
    Life, Terms,
    expected::expected,
    held_up::Stretches,
    verdict::{Times, Verdict},
};
use crate::truth::evidence::{Outcome, PortState, Seen, TTL, Told, ToldHop};
use std::{collections::HashMap, net::IpAddr};

/// What is wrong with what a result says of probe and port.
pub(super) fn misnamed(told: &Told, seen: &Seen) -> Option<String> {
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

pub(super) fn shown(told: &Told) -> String {
    let Told { address, seq, sent_ns, outcome, rtt_ns, hop, .. } = told;
    let rtt = rtt_ns.map_or_else(String::new, |rtt| format!(" in {rtt} ns"));
    if let Some(ToldHop { ttl, from, .. }) = hop {
        let from = from.map_or_else(String::new, |from| format!(" by {from}"));
        return format!("{address} ttl {ttl} sent_ns {sent_ns}, {}{from}{rtt}", outcome.name());
    }
    format!("{address} seq {seq} sent_ns {sent_ns}, {}{rtt}", outcome.name())
}

/// What is used up and gathered while results are judged.
pub(super) struct Court<'a> {
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
    /// Probes that ended as *unheard* and would have been answered.
    unheard: u64,
    /// Probes that ended as *lost* and must not have, in words.
    lost: Vec<String>,
    path: Vec<u64>,
    hold: Vec<u64>,
}

impl<'a> Court<'a> {
    pub(super) fn new(terms: &'a Terms) -> Self {
        let held_up = Stretches::of(&terms.held_up, 0);
        let (there, back) = (terms.excuses.there, terms.excuses.back);
        let (masks, flows) = (HashMap::new(), HashMap::new());
        let (lost, path, hold) = (Vec::new(), Vec::new(), Vec::new());
        Self { terms, held_up, there, back, masks, flows, unheard: 0, lost, path, hold }
    }

    /// The times of all that was judged. Of a frame that was dropped nobody knows whose it was: the probe that it excused may have been
    /// another, one that nobody answered. Then as many are told to be lost that were answered.
    pub(super) fn close(self, lives: &[Life], verdict: &mut Verdict) {
        let excused = |life: &Life| life.summary.unheard.min(life.summary.received_drops());
        let others = lives.iter().map(excused).sum::<u64>().saturating_sub(self.unheard);
        for (number, lost) in (0..).zip(self.lost) {
            if number < others {
                verdict.excused += 1;
            } else {
                verdict.mismatch(|| lost);
            }
        }
        verdict.path = Times::of(self.path);
        verdict.hold = Times::of(self.hold);
        if let Some(most) = self.terms.path
            && verdict.path.median > most.median
        {
            let (median, most) = (verdict.path.median, most.median);
            verdict.mismatch(|| {
                format!("the path's median is {median} ns, and may be {most}: round-trip times are too large")
            });
        }
    }

    /// A result of a probe that the far end has no record of.
    pub(super) fn never_arrived(&mut self, told: &Told, verdict: &mut Verdict) {
        if !matches!(told.outcome, Outcome::Answered | Outcome::Hop) && self.there > 0 {
            self.there -= 1;
            verdict.excused += 1;
        } else {
            verdict.mismatch(|| format!("{}: the far end never saw it", shown(told)));
        }
    }

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
    pub(super) fn probe(&mut self, told: &Told, seen: &Seen, (number, life): (usize, &Life), verdict: &mut Verdict) {
        if !self.is_its_number(told, seen, number) {
            return verdict.mismatch(|| format!("{}: its sequence was {}", shown(told), seen.sequence));
        }
        self.fate(told, seen, life, verdict);
    }

    /// How it ended, and when, against the record.
    pub(super) fn fate(&mut self, told: &Told, seen: &Seen, life: &Life, verdict: &mut Verdict) {
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
            let wrong = format!("{}: must be {wanted}; {:?} {:?}", shown(told), seen.decided, seen.replies);
            if outcome == Outcome::Lost {
                return self.lost.push(wrong);
            }
            return verdict.mismatch(|| wrong);
        }
        if !matches!(outcome, Outcome::Answered | Outcome::Hop) {
            return;
        }
        let (Some(rtt), Some(departure)) = (told.rtt_ns, expected.departure) else {
            return verdict.mismatch(|| format!("{}: it needs a time and a reply", shown(told)));
        };
        if told.sent_ns.saturating_add(rtt) < departure {
            let early = departure - told.sent_ns - rtt;
            return verdict.mismatch(|| format!("{}: the reply left {early} ns after that", shown(told)));
        }
        let held = departure.saturating_sub(seen.arrival_ns);
        if self.answer(told, rtt, (held, seen.reply_ttl), life, verdict) {
            self.hold.push(held);
        }
    }

    /// One result of a range without a record.
    pub(super) fn unrecorded(&mut self, told: &Told, life: &Life, verdict: &mut Verdict) {
        verdict.unrecorded += 1;
        match (told.outcome, told.rtt_ns) {
            (Outcome::Answered, Some(rtt)) => {
                self.answer(told, rtt, (0, TTL), life, verdict);
            }
            _ if self.excused(told, verdict) => {}
            _ => verdict.mismatch(|| format!("{}: must be answered, in a range without a record", shown(told))),
        }
    }

    /// Whether a frame that this machine admits to having lost is why this was not answered.
    fn excused(&mut self, told: &Told, verdict: &mut Verdict) -> bool {
        // Unheard: its reply was among the frames that echolot's own socket dropped; at most as many as were, see the sums.
        let excused = match told.outcome {
            Outcome::Unheard => {
                self.unheard += 1;
                true
            }
            Outcome::Lost if self.back > 0 => {
                self.back -= 1;
                true
            }
            _ => false,
        };
        verdict.excused += u64::from(excused);
        excused
    }

    /// An answer that the far end held for so long and sent with this time to live: what it says beside its outcome. False: it can't be.
    fn answer(&mut self, told: &Told, rtt: u64, (held, ttl): (u64, u8), life: &Life, verdict: &mut Verdict) -> bool {
        if told.reply_ttl != Some(ttl) {
            verdict.mismatch(|| format!("{}: reply_ttl {:?} instead of {ttl}", shown(told), told.reply_ttl));
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
