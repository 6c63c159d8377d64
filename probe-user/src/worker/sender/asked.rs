//! Probes that were asked for one by one: they leave as soon as there is room, no closer to one another than is wanted, and land by
//! themselves.
//!
//! Which of them are in flight, and since when, their sender alone knows. So all that is heard of one is handed over to it.

use super::Sender;
use crate::{
    base::{Ended, MplsStack, Nanos, ProbeNumber, Quote, QuoteProof, Reason, TargetIndex},
    ledger::{Group, Ledger, window::Standing},
    wire::{PortReport, Proof, Refusal, Reply, Says},
    worker::{Ask, Said, Transmit, Word, settle},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// Between looks at what is asked for, where nothing else is sent.
const LOOK: Nanos = Nanos::from_micros(200);
/// The same beside probes that come due: asking is then rare, and nobody waits for the answers.
const LOOK_BESIDE: Nanos = Nanos::from_millis(5);
/// A sender wakes a little late: what could have left within this time goes out at once.
const DEPTH: Nanos = Nanos::from_millis(1);

/// How those leave that are asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// Between two of them.
    gap: Nanos,
    /// The next one leaves no earlier.
    next: Nanos,
    look: Nanos,
}

impl Asked {
    /// `rate`: how many a second, at most; `is_all`: nothing else is sent.
    pub(super) fn new(rate: u64, is_all: bool, now: Nanos) -> Self {
        let gap = Nanos(1_000_000_000 / rate.max(1));
        Self { gap, next: now, look: if is_all { LOOK } else { LOOK_BESIDE } }
    }

    /// When to look for more.
    pub(super) fn look_at(&self, some_wait: bool, now: Nanos) -> Nanos {
        if some_wait { self.next.max(now) } else { now + self.look }
    }

    /// Whether one may leave now; then it does.
    fn leaves(&mut self, now: Nanos) -> bool {
        let may = self.next <= now;
        if may {
            self.next = self.next.max(now - DEPTH) + self.gap;
        }
        may
    }
}

/// What has been heard of a probe that was asked for.
struct Heard {
    target: TargetIndex,
    /// By what it is found: see [`Group::key_of`].
    key: u32,
    /// When it was sent, where that has come back.
    sent: Option<Nanos>,
    arrived: Nanos,
    ended: Ended,
    word: settle::Word,
}

impl<T: Transmit> Sender<T> {
    /// Enters what has been asked for, as far as there is room. True if there was something.
    pub(super) fn enter_asked(&mut self, now: Nanos, room: usize) -> bool {
        let Some(mut asked) = self.asked.take() else { return false };
        let mut entered = false;
        while self.due.len() < room && !self.stopped && !self.common.asks[self.number].is_empty() && asked.leaves(now) {
            let Some(Ask { target, number }) = self.common.asks[self.number].take() else { break };
            if let Some(walk) = self.walk_of_asked(target) {
                self.enter_probe::<true>(walk, target, number.0, now, now);
                entered = true;
            }
        }
        self.asked = Some(asked);
        entered
    }

    /// The walk whose probes are asked for that has this target.
    fn walk_of_asked(&self, target: TargetIndex) -> Option<usize> {
        self.walks.iter().position(|walk| walk.is_asked && walk.has(target))
    }

    /// Settles by what has been heard of a probe that was asked for.
    pub(super) fn hear_of_asked(&mut self, word: &Word, now: Nanos) {
        match word {
            Word::Reply(reply) => self.settle_asked(&of_reply(reply), now),
            Word::Refused(refusal, target, sent) => {
                let address = self.common.ledger.account(*target).address();
                let quote = Quote {
                    ttl: refusal.quoted_ttl,
                    proof: QuoteProof::Cookie,
                    is_translated: address != Some(refusal.destination),
                    labels: refusal.mpls,
                };
                self.settle_asked(&of_refusal(refusal, *target, Some(*sent), quote), now);
            }
            Word::Port(said) => match of_report(said, &self.common.ledger) {
                Some(heard) => self.settle_asked(&heard, now),
                None => self.settler.count_late(self.common.ledger.account(said.target)),
            },
            Word::ShortQuote(_) => {}
        }
    }

    /// Settles by an error that quotes 28 bytes, if a probe to that address with these 16 bits of its number is in flight that was asked
    /// for. Whether there was one.
    pub(super) fn hear_of_path(&mut self, refusal: &Refusal, now: Nanos) -> bool {
        if self.asked.is_none() {
            return false;
        }
        let common = Arc::clone(&self.common);
        let is_identified = refusal.is_ours(&common.key);
        let proof = if is_identified { QuoteProof::Identification } else { QuoteProof::Checksum };
        let quote = Quote { ttl: refusal.quoted_ttl, proof, is_translated: false, labels: refusal.mpls };
        for target in common.ledger.targets_at(refusal.destination) {
            let heard = of_refusal(refusal, target, None, quote);
            let Some(walk) = self.walk_of_asked(target) else { continue };
            let Some(away) = self.waiting.away(walk, target, heard.key) else { continue };
            let flow = common.ledger.group(self.walks[walk].run.group).flow_of(away.number);
            if is_identified || refusal.has_checksum_of_flow(flow) || cfg!(broken = "hop-forged") {
                self.settle_asked(&heard, now);
                return true;
            }
        }
        false
    }

    fn settle_asked(&mut self, heard: &Heard, now: Nanos) {
        if matches!(heard.word, settle::Word::Reply) {
            self.tally.heard_at.store(heard.arrived.0, Relaxed);
        }
        let account = self.common.ledger.account(heard.target);
        let away = self.walk_of_asked(heard.target).and_then(|walk| self.waiting.away(walk, heard.target, heard.key));
        let known = away.and_then(|away| Some((heard.sent.or(away.sent)?, away)));
        // What was not sent yet nobody can have heard of.
        let Some((sent, away)) = known else { return self.settler.count_late(account) };
        if heard.arrived - sent > account.timeout() && !cfg!(broken = "hop-late") {
            return self.settler.count_late(account);
        }
        if cfg!(broken = "hop-lost") && matches!(heard.ended, Ended::Hop { .. }) && away.number % 8 == 0 {
            return;
        }
        if away.standing != Standing::Pending && !cfg!(broken = "hop-duplicate") {
            return self.settler.count_further(account, heard.word, away.standing);
        }
        away.standing = settle::standing(heard.ended);
        self.settler.count_asked((account, sent), heard.ended, now, ProbeNumber(away.number));
    }
}

fn of_reply(reply: &Reply) -> Heard {
    let Reply { arrived, ttl, target, sequence, sent, .. } = *reply;
    Heard {
        target,
        key: sequence.0.into(),
        sent: Some(sent),
        arrived,
        ended: Ended::Answered { arrived, ttl, port: None, rcode: None },
        word: settle::Word::Reply,
    }
}

fn of_refusal(refusal: &Refusal, target: TargetIndex, sent: Option<Nanos>, quote: Quote) -> Heard {
    let Refusal { arrived, ttl, from, reason, sequence, .. } = *refusal;
    let ended = of_error(arrived, ttl, from, reason, quote);
    let key = u32::from(sequence.0) ^ u32::from(cfg!(broken = "hop"));
    Heard { target, key, sent, arrived, ended, word: settle::Word::Error }
}

/// None: about the probe of now it says nothing.
fn of_report(said: &Said, ledger: &Ledger) -> Option<Heard> {
    let Said { report, number: (number, _), target } = *said;
    let PortReport { arrived, ttl, from, ports, rcode, proof, quote, .. } = report;
    let proof = match proof {
        Proof::Sequence(..) => QuoteProof::Sequence,
        Proof::Words(_) => QuoteProof::Word,
    };
    let (quoted_ttl, labels) = quote.map_or((0, MplsStack::EMPTY), |quote| (quote.ttl, quote.mpls));
    let quote = Quote { ttl: quoted_ttl, proof, is_translated: false, labels };
    let (ended, word) = match report.says {
        Says::Port(port) => (Ended::Answered { arrived, ttl, port: Some(port), rcode }, settle::Word::Reply),
        Says::Refused(reason) => (of_error(arrived, ttl, from, reason, quote), settle::Word::Error),
        Says::HalfOpen => return None,
    };
    let first = ledger.account(target).group().ports.map_or(0, |ports| ports.first);
    let flow = ports.0.wrapping_sub(ledger.first_port()).wrapping_sub(first);
    Some(Heard { target, key: Group::key_by_flow(number, flow), sent: None, arrived, ended, word })
}

/// That its time to live has ended is what such a probe is sent for.
fn of_error(arrived: Nanos, ttl: u8, from: IpAddr, reason: Reason, quote: Quote) -> Ended {
    if reason == Reason::TTL_EXCEEDED {
        broken(Ended::Hop { arrived, ttl, from, quote })
    } else {
        Ended::Refused { arrived, ttl, from, reason }
    }
}

/// What a build that lies makes of a router's word.
fn broken(mut ended: Ended) -> Ended {
    if let Ended::Hop { arrived, ttl, from, quote } = &mut ended {
        *from = match *from {
            IpAddr::V4(address) if cfg!(broken = "hop-router") => Ipv4Addr::from_bits(address.to_bits() ^ 1).into(),
            IpAddr::V6(address) if cfg!(broken = "hop-router") => Ipv6Addr::from_bits(address.to_bits() ^ 1).into(),
            address => address,
        };
        *ttl -= u8::from(cfg!(broken = "hop-ttl"));
        quote.ttl += u8::from(cfg!(broken = "hop-quoted"));
        if cfg!(broken = "hop-slow") {
            *arrived += Nanos::from_millis(21);
        } else if cfg!(broken = "hop-fast") {
            *arrived = *arrived - Nanos::from_micros(500);
        }
    }
    ended
}
