//! When a probe was sent, read while the sender writes it. The one bit that two receivers and the deadline race for, and its reuse, under a
//! model checker: every interleaving that the memory model allows. How a slot passes from one target to the next. The code under test is
//! `src/ledger/{sent,window,slot}.rs` itself, on loom's atomics. And the limit by which steer never fills a socket's ring: a model of both
//! sides, by the rule that they share.
#![expect(clippy::unwrap_used, reason = "a failed join is a failed test")]
#![expect(clippy::duplicate_mod, reason = "the same code on atomics of two kinds: `weak` has worse ones")]

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[path = "../src/ledger/window.rs"]
#[expect(unreachable_pub, reason = "it is so in the crate")]
mod window;

#[path = "../src/ledger/sent.rs"]
mod sent;

#[path = "../src/ledger/slot.rs"]
#[expect(dead_code, reason = "the model needs only a part of it")]
mod slot;

#[path = "loom/tenancy.rs"]
mod tenancy;

#[path = "loom/weak.rs"]
mod weak;

// What those files find in the crate.
use echolot::{base, health, route, targets};
use loom::{
    sync::{Arc, atomic::AtomicUsize},
    thread,
};
use probe_ebpf::layout::limit;
use std::sync::atomic::Ordering;
use tenancy::Fault;
use window::{Place, Standing};

/// A slot is given up, drained, vacated and filled while a receiver settles: nobody is credited with another's reply.
#[test]
fn a_slot_passes_from_one_target_to_the_next() {
    tenancy::passes_on(Fault::Nothing);
}

#[test]
fn moving_a_target_gives_back_nobody_who_was_given_up() {
    tenancy::moves(Fault::Nothing);
}

/// The models above can fail: each step that is left out is found out.
mod left_out {
    use super::{tenancy, tenancy::Fault, weak};

    #[test]
    #[should_panic = "half of a target"]
    fn waiting_until_the_slot_is_vacant() {
        tenancy::passes_on(Fault::FillsBeforeItIsVacant);
    }

    #[test]
    #[should_panic = "the first target's reply came in time"]
    fn waiting_until_what_came_in_time_is_settled() {
        tenancy::passes_on(Fault::LandsBeforeItIsDrained);
    }

    #[test]
    #[should_panic = "the second target's probe is waited for"]
    fn waiting_until_nothing_is_in_flight() {
        tenancy::passes_on(Fault::VacatesWithProbesInFlight);
    }

    #[test]
    #[should_panic = "half of a target"]
    fn another_generation() {
        tenancy::passes_on(Fault::KeepsTheGeneration);
    }

    #[test]
    #[should_panic = "credited to another target"]
    fn asking_for_the_generation_again() {
        tenancy::passes_on(Fault::TrustsTheProof);
    }

    #[test]
    #[should_panic = "it was given up"]
    fn changing_the_word_at_once() {
        tenancy::moves(Fault::MovesInTwoSteps);
    }

    #[test]
    #[should_panic = "the second target is probed"]
    fn order_between_the_word_and_what_it_is_about() {
        weak::tenancy::passes_on(weak::tenancy::Fault::Nothing);
    }
}

/// A receiver looks at a place while the sender gives it to the next probe, and at the same word of tags. What it finds is one of the two, or
/// that it is not known: never parts of both.
#[test]
fn a_send_time_is_read_whole() {
    let (before, after, beside) = ((1, 1 << 32 | 5), (2, 2 << 32 | 9), (7, 3 << 32 | 11));
    for forgets_first in [true, false] {
        loom::model(move || {
            let words: Arc<[_; 3]> = Arc::new(std::array::from_fn(|_| atomic::AtomicU32::new(0)));
            assert_eq!(sent::words(2), words.len());
            let place = |words: &Arc<[_; 3]>, place| {
                // Each thread has its own view of the same words.
                let words = Arc::clone(words);
                move |act: &mut dyn FnMut(sent::SentTime<'_>)| act(sent::SentTime::new(&*words, 2, place))
            };
            place(&words, 0)(&mut |sent| sent.set(before.0, before.1));
            place(&words, 1)(&mut |sent| sent.set(beside.0, beside.1));
            let read = place(&words, 0);
            let receiver = thread::spawn(move || {
                let mut found = (0, None);
                read(&mut |sent| found = sent.before(1 << 35));
                found
            });
            place(&words, 0)(&mut |sent| {
                if forgets_first {
                    sent.forget(after.0);
                }
                sent.set(after.0, after.1);
            });
            let found = receiver.join().unwrap();
            let whole = [before, after].map(|(number, sent)| (number, Some(sent)));
            assert!(whole.contains(&found) || found.1.is_none(), "{found:?}");
            place(&words, 1)(&mut |sent| assert_eq!(sent.before(1 << 35), (beside.0, Some(beside.1))));
            place(&words, 0)(&mut |sent| assert_eq!(sent.before(1 << 35), whole[1]));
        });
    }
}

fn words() -> Arc<[atomic::AtomicU64; 1]> {
    Arc::new([atomic::AtomicU64::new(0)])
}

/// Two replies to one probe come in on two queues while its deadline passes: exactly one of the three settles it, and a
/// neighbour in the same word that is settled meanwhile is neither lost nor settled twice.
#[test]
fn exactly_one_settles() {
    loom::model(|| {
        let words = words();
        Place::new(&*words, 0).enter();
        Place::new(&*words, 1).enter();
        let receivers: Vec<_> = (0..2)
            .map(|i| {
                let words = Arc::clone(&words);
                thread::spawn(move || {
                    let won = Place::new(&*words, 0).settle(Standing::Answered).is_ok();
                    if i == 0 {
                        assert_eq!(Place::new(&*words, 1).settle(Standing::Answered), Ok(()));
                    }
                    won
                })
            })
            .collect();
        let stood = Place::new(&*words, 0).take();
        let answered = receivers.into_iter().map(|r| r.join().unwrap()).filter(|won| *won).count();
        let expired = usize::from(stood == Standing::Pending);
        assert_eq!(answered + expired, 1, "answered {answered} times, taken as {stood:?}");
        assert_eq!(window::pending(&*words), 0);
        assert_eq!(Place::new(&*words, 1).take(), Standing::Answered);
    });
}

/// The sender takes a probe out only when all that arrived before its deadline has been consumed. Then the place's next probe
/// stays untouched by the replies to the one before.
#[test]
fn a_place_is_reused_only_after_its_replies() {
    loom::model(|| {
        let words = words();
        Place::new(&*words, 0).enter();
        let consumed = Arc::new(AtomicUsize::new(0));
        let receivers: Vec<_> = (0..2)
            .map(|_| {
                let (words, consumed) = (Arc::clone(&words), Arc::clone(&consumed));
                thread::spawn(move || {
                    let won = Place::new(&*words, 0).settle(Standing::Answered).is_ok();
                    consumed.fetch_add(1, Ordering::Release);
                    won
                })
            })
            .collect();
        let drained = consumed.load(Ordering::Acquire) == 2;
        if drained {
            assert_eq!(Place::new(&*words, 0).take(), Standing::Answered);
            Place::new(&*words, 0).enter();
        }
        let answered = receivers.into_iter().map(|r| r.join().unwrap()).filter(|won| *won).count();
        assert_eq!(answered, 1);
        assert_eq!(window::pending(&*words), u32::from(drained), "the new probe is still owed");
    });
}

/// The sender changes a word by a plain store where nothing in it is pending. A receiver that settles its last pending place
/// at that moment loses nothing by it, nor does the sender.
#[test]
fn a_store_overwrites_nothing() {
    loom::model(|| {
        let words = words();
        Place::new(&*words, 0).enter();
        let receiver = {
            let words = Arc::clone(&words);
            thread::spawn(move || Place::new(&*words, 0).settle(Standing::Answered))
        };
        Place::new(&*words, 1).enter();
        assert_eq!(Place::new(&*words, 1).settle(Standing::Failed), Ok(()));
        assert_eq!(Place::new(&*words, 1).take(), Standing::Failed);
        assert_eq!(receiver.join().unwrap(), Ok(()));
        assert_eq!(Place::new(&*words, 0).take(), Standing::Answered);
        assert_eq!(Place::new(&*words, 1).take(), Standing::Free);
    });
}

/// What steer and a receiver share of a queue, as in `probe_ebpf::layout::QueueLine`, and the socket's ring by its two positions.
#[derive(Default)]
struct Queue {
    taken: atomic::AtomicU64,
    limit: atomic::AtomicU64,
    refused: atomic::AtomicU64,
    produced: atomic::AtomicU64,
    released: atomic::AtomicU64,
}

/// Entries of the ring.
const RING: u64 = 1;

impl Queue {
    /// `steer`, and behind it the kernel. Whether the frame came into the ring.
    fn arrive(&self) -> bool {
        if self.taken.fetch_add(1, Ordering::AcqRel) >= self.limit.load(Ordering::Acquire) {
            self.refused.fetch_add(1, Ordering::AcqRel);
            return false;
        }
        let (produced, released) = (self.produced.load(Ordering::Relaxed), self.released.load(Ordering::Acquire));
        assert!(produced - released < RING, "the socket found its ring full");
        self.produced.store(produced + 1, Ordering::Release);
        true
    }

    /// A receiver's look. How many frames it has consumed in all.
    fn look(&self, consumed: u64) -> u64 {
        let consumed = consumed + (self.produced.load(Ordering::Acquire) - consumed);
        self.released.store(consumed, Ordering::Release);
        self.limit.store(limit(consumed, 0, self.refused.load(Ordering::Acquire), RING), Ordering::Release);
        consumed
    }
}

/// The ring is never found full, whatever the receiver has seen when it says how much room there is; and once it has looked again,
/// there is room.
#[test]
fn the_ring_never_overflows_and_never_stays_shut() {
    loom::model(|| {
        let queue = Arc::new(Queue::default());
        queue.look(0);
        let steer = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || (0..3).filter(|_| queue.arrive()).count() as u64)
        };
        let consumed = queue.look(0);
        let came = steer.join().unwrap();
        assert!(came >= 1 && queue.look(consumed) == came);
        assert_eq!(came + queue.refused.load(Ordering::Relaxed), 3);
        assert!(queue.arrive(), "the receiver has looked, so there is room");
    });
}
