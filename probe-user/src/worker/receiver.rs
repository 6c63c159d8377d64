//! Settles what has arrived.

use super::{
    Clock, Common, Receive, handed_over, port_report,
    proof::{Proven, Reader, Said},
    resets::HalfOpen,
    settle::{Settler, Word, refused},
};
use crate::{
    base::{Ended, Generation, Nanos, TargetIndex},
    ledger::{Account, Group, Ledger, histogram::add, tally::Tally, window::Standing},
    wire::{Guess, Quoted, Refusal, RejectedReason, Reply, Says},
    worker::Sink,
};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// The receiving half of a loop.
pub struct Receiver<R> {
    queues: R,
    settle: Settle,
}

struct Settle {
    common: Arc<Common>,
    tally: Arc<Tally>,
    settler: Settler,
}

impl<R: Receive> Receiver<R> {
    /// Settles what arrives on `queues`.
    pub(super) fn new(queues: R, common: Arc<Common>, tally: Arc<Tally>, sink: Sink) -> Self {
        let settler = Settler::new(Arc::clone(&common), Arc::clone(&tally), sink, Sink::discard());
        Self { queues, settle: Settle { common, tally, settler } }
    }

    /// The queues, to rest on them.
    pub fn queues(&mut self) -> &mut R {
        &mut self.queues
    }

    /// Takes what has arrived and settles it, but for what only a sender can settle by: that goes to `hand_over`, with the number of that
    /// sender. Returns how many frames there were.
    #[inline]
    pub fn receive(&mut self, clock: &impl Clock, mut hand_over: impl FnMut(usize, handed_over::Word)) -> usize {
        let settle = &self.settle;
        self.queues.receive(&mut |frames| {
            let now = clock.now();
            fetch::<R::Reader>(&settle.common.ledger, frames);
            for frame in frames {
                settle.frame::<R::Reader>(frame, now, &mut hand_over);
            }
        })
    }
}

/// Fetches what a burst of frames will change before any of them is settled: processors wait for many loads at a time, and for an atomic
/// change alone.
#[inline]
fn fetch<W: Reader>(ledger: &Ledger, frames: &[&[u8]]) {
    let mut by_flow = false;
    for frame in frames {
        match W::guess(frame) {
            Some(Guess::Target(target)) => ledger.fetch(target),
            Some(Guess::Flow(address, _)) => {
                ledger.fetch_flow(address);
                by_flow = true;
            }
            None => {}
        }
    }
    if by_flow {
        // What was fetched says what to fetch.
        for frame in frames {
            if let Some(Guess::Flow(address, (ours, _))) = W::guess(frame) {
                ledger.fetch_target_of_flow(address, ours);
            }
        }
    }
}

impl Settle {
    #[inline]
    fn frame<W: Reader>(&self, frame: &[u8], now: Nanos, hand_over: &mut impl FnMut(usize, handed_over::Word)) {
        let Common { key, ledger, .. } = &*self.common;
        match W::prove(frame, key, &**ledger) {
            Ok(Proven::Answer(reply, generation)) => self.answer(&reply, generation, now, hand_over),
            Ok(Proven::Refused(refusal, quoted, generation)) => {
                self.refused(&refusal, (&quoted, generation), now, hand_over);
            }
            Ok(Proven::ShortQuote(refusal)) => self.short_quote(refusal, hand_over),
            Ok(Proven::Port(said)) => self.port_report(&said, now, hand_over),
            Err(reason) => add(&self.tally.rejected[reason as usize], 1),
        }
    }

    /// To the sender that walks the target: of several groups that name the address, each may be another sender's.
    #[cold]
    fn short_quote(&self, refusal: Refusal, hand_over: &mut impl FnMut(usize, handed_over::Word)) {
        let mut told = None;
        for target in self.common.ledger.targets_at(refusal.destination) {
            let sender = self.common.ledger.account(target).sender();
            if told.replace(sender) != Some(sender) {
                hand_over(sender, handed_over::Word::ShortQuote(refusal));
            }
        }
    }

    /// Something is said of a probe to a port.
    #[inline]
    fn port_report(&self, said: &Said, now: Nanos, hand_over: &mut impl FnMut(usize, handed_over::Word)) {
        let Said { report, number: (number, _), target } = *said;
        if !matches!(report.says, Says::Refused(_)) {
            self.tally.heard_at.store(report.arrived.0, Relaxed);
        }
        if report.is_half_open() {
            // The connection that the probe half opened is to be ended.
            let Common { ledger, resets, .. } = &*self.common;
            let port = report.ports.0.wrapping_sub(ledger.first_port());
            if !resets[ledger.account(target).sender()].put(HalfOpen { target, number, port }) {
                self.tally.count_reset(false);
            }
        }
        let account = self.common.ledger.account(target);
        if account.group().ttls.is_some() {
            return hand_over(account.sender(), handed_over::Word::Port(*said));
        }
        match port_report::settle(&self.common, &self.settler, said, now, false) {
            Ok(()) => self.tally.receive_delay.record(now - report.arrived),
            Err(sender) => hand_over(sender, handed_over::Word::Port(*said)),
        }
    }

    /// The slot's account, and the group of the target that was proven; None: meanwhile the slot is another's. Between proof and this look
    /// a thread may stand still for as long as it likes, and a late reply of one who has gone must not be held against the longer timeout
    /// of one who has come. The group is read first: then, the generation being the same, it is his, and what is in time by his timeout
    /// is waited for before the slot is vacant (`tests/loom.rs`).
    #[inline]
    fn of(&self, target: TargetIndex, generation: Generation) -> Option<(Account<'_>, &Group)> {
        let account = self.common.ledger.account(target);
        let group = account.group();
        if account.generation() != generation {
            add(&self.tally.rejected[RejectedReason::Cookie as usize], 1);
            return None;
        }
        Some((account, group))
    }

    #[inline]
    fn answer(
        &self,
        reply: &Reply,
        generation: Generation,
        now: Nanos,
        hand_over: &mut impl FnMut(usize, handed_over::Word),
    ) {
        let Some((account, group)) = self.of(reply.target, generation) else { return };
        if group.ttls.is_some() {
            return hand_over(account.sender(), handed_over::Word::Reply(*reply));
        }
        self.tally.receive_delay.record(now - reply.arrived);
        self.tally.heard_at.store(reply.arrived.0, Relaxed);
        // Age first: past its timeout a reply touches no bit, which may be another probe's by now.
        let rtt = reply.arrived - reply.sent;
        if rtt > group.timeout && !cfg!(broken = "late") {
            return self.settler.count_late(account);
        }
        let arrived = if cfg!(broken = "rtt") { reply.sent + Nanos(rtt.0 / 1_000 * 1_024) } else { reply.arrived };
        let place = account.place(u64::from(reply.sequence.0));
        let ended = Ended::Answered { arrived, ttl: reply.ttl, port: None, rcode: None };
        let number = || account.number_of(reply.sequence);
        match self.settler.settle(place, (account, reply.sent), ended, now, number) {
            Ok(()) => {}
            Err(Standing::Free) if cfg!(broken = "late") => {
                self.settler.count((account, reply.sent), ended, now, number)
            }
            Err(Standing::Answered) if cfg!(broken = "duplicate") => {
                self.settler.count((account, reply.sent), ended, now, number);
            }
            Err(standing) => self.settler.count_further(account, Word::Reply, standing),
        }
    }

    /// An error says that a probe did not arrive.
    #[cold]
    fn refused(
        &self,
        refusal: &Refusal,
        (quoted, generation): (&Quoted, Generation),
        now: Nanos,
        hand_over: &mut impl FnMut(usize, handed_over::Word),
    ) {
        let Some((account, group)) = self.of(quoted.target, generation) else { return };
        if group.ttls.is_some() {
            let refused = handed_over::Word::Refused(*refusal, quoted.target, quoted.sent);
            return hand_over(account.sender(), refused);
        }
        self.tally.receive_delay.record(now - refusal.arrived);
        // As for replies: past its timeout it touches no bit.
        if refusal.arrived - quoted.sent > group.timeout {
            return self.settler.count_late(account);
        }
        let place = account.place(u64::from(refusal.sequence.0));
        let number = || account.number_of(refusal.sequence);
        if let Err(standing) = self.settler.settle(place, (account, quoted.sent), refused(refusal), now, number) {
            self.settler.count_further(account, Word::Error, standing);
        }
    }
}
