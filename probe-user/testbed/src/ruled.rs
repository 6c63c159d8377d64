//! The simulated network by a rule file: the same decisions and frames as the far end of the bench, and the same record.

use crate::{
    forms,
    numbers::Numbers,
    rules::{Planned, Request, RuleFile},
    witness::Witnessed,
};
use echolot::base::Nanos;
use probe_ebpf::wire::{STAMP, icmp};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    net::Ipv4Addr,
};

/// A reply under way.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    at: Nanos,
    /// Keeps arrivals of the same moment in order.
    serial: u64,
    frame: Vec<u8>,
}

/// A network that goes by a rule file.
pub(crate) struct Ruled {
    file: RuleFile,
    first: Option<Nanos>,
    serial: u64,
    flying: BinaryHeap<Reverse<Flying>>,
    ring: VecDeque<Vec<u8>>,
    witnessed: Vec<Witnessed>,
}

impl Ruled {
    pub(crate) fn new(file: RuleFile) -> Self {
        let (flying, ring) = (BinaryHeap::new(), VecDeque::new());
        Self { file, first: None, serial: 0, flying, ring, witnessed: Vec::new() }
    }

    pub(crate) fn witnessed(&self) -> &[Witnessed] {
        &self.witnessed
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.flying.is_empty() && self.ring.is_empty()
    }

    /// A probe has been sent. It arrives at once, and what leaves the far end arrives at once.
    pub(crate) fn send(&mut self, frame: &[u8], address: Ipv4Addr, sequence: u16, sent: Nanos) {
        let first = *self.first.get_or_insert(sent);
        let decision = self.file.decide(&Request { address, sequence, sent, since: sent - first });
        let at = 14 + 20 + icmp::IDENTIFIER.start;
        let identifier = u16::from_be_bytes([frame[at], frame[at + 1]]);
        let mut witnessed = Witnessed::new(address, sequence, identifier, sent, sent);
        witnessed.decided = decision.decided;
        let mut replies: Vec<Planned> = decision.replies().to_vec();
        replies.sort_by_key(|reply| reply.after);
        for Planned { after, form, twist } in replies {
            let mut bytes = Vec::new();
            let at = sent + after;
            let made = forms::reply(frame, form, twist, self.file.router, &mut bytes);
            witnessed.departed(form, made.then_some(at));
            // What steer rejects by the cookie would never reach a ring. The loop's own checks are to be tested here, so it is
            // shown all.
            if made {
                self.serial += 1;
                self.flying.push(Reverse(Flying { at, serial: self.serial, frame: bytes }));
            }
        }
        self.witnessed.push(witnessed);
    }

    /// Time goes on to `until`, or to the first arrival before it. Returns the time, and whether something arrived.
    pub(crate) fn go_on(&mut self, now: Nanos, until: Nanos, numbers: &Numbers) -> (Nanos, bool) {
        let now = match self.flying.peek() {
            Some(Reverse(first)) if first.at <= until.max(now) => now.max(first.at),
            _ => return (now.max(until), false),
        };
        while self.flying.peek().is_some_and(|Reverse(first)| first.at <= now) {
            let Some(Reverse(mut flying)) = self.flying.pop() else { break };
            flying.frame[STAMP].copy_from_slice(&flying.at.0.to_ne_bytes());
            numbers.take();
            self.ring.push_back(flying.frame);
        }
        (now, true)
    }

    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        self.ring.pop_front()
    }
}
