//! A slot passes from one target to the next while a reply to the first is settled, another of his comes too late, and routes change. The
//! code under test is `src/ledger/slot.rs` itself, with `src/ledger/window.rs`; what of it loops and control threads do is written down here
//! in their order.

use super::{
    slot::{Cell, HopWord, Side, Slot},
    window::{Place, Standing},
};
use echolot::base::{AddressTable, Destination, Outcome};
use loom::{
    model::Builder,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::*},
    },
    thread,
};

/// What somebody leaves out: the model must find it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Nothing,
    /// The control thread puts a target into a slot that is only given up.
    FillsBeforeItIsVacant,
    /// The sender takes a probe out of its place before what came in time has been settled.
    LandsBeforeItIsDrained,
    /// The sender does not look whether the window is empty.
    VacatesWithProbesInFlight,
    /// The new target has the generation of the old one.
    KeepsTheGeneration,
    /// A receiver does not ask for the generation again once it knows the timeout.
    TrustsTheProof,
    /// Who follows the routes changes the word in two steps.
    MovesInTwoSteps,
}

/// Rows of the two targets, which are of groups with different timeouts: a reply that is late for the first would be in time for the second.
const ROWS: [u32; 2] = [0, 1];
const TIMEOUTS: [u64; 2] = [10, 20];
const HOPS: [u32; 2] = [3, 4];
/// To which both are moved.
const OTHER: u32 = 5;

struct World {
    cell: Cell,
    side: Side,
    targets: [Destination; 2],
    /// Replies in time to the first target's probe that have been settled.
    consumed: AtomicUsize,
    /// The second target's probe has left.
    sent: AtomicUsize,
    fault: Fault,
}

impl World {
    /// The first target has the slot, and a probe to him is in flight.
    fn new(fault: Fault) -> Self {
        let table = AddressTable::default();
        let targets = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|address| table.enter(address.into()));
        let world = Self {
            cell: Cell::new(ROWS[0]),
            side: Side::of(Some(targets[0]), HOPS[0]),
            targets,
            consumed: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            fault,
        };
        world.enter();
        world
    }

    fn slot(&self) -> Slot<'_> {
        Slot { cell: &self.cell, side: &self.side }
    }

    fn place(&self) -> Place<'_> {
        Place::new(&self.cell.window, 0)
    }

    fn enter(&self) {
        self.cell.entered.store(self.cell.entered.load(Relaxed) + (1 << 16), Release);
        self.place().enter();
    }

    fn settled(&self, outcome: Outcome) -> u32 {
        self.cell.settled[outcome as usize].load(Acquire)
    }

    /// A receiver has a reply of this age to a probe of the first target or the second: as `Receiver::answer`. Whether it was credited.
    fn hear(&self, whose: u16, age: u64) -> bool {
        if self.cell.generation().0 != whose {
            return false;
        }
        let timeout = TIMEOUTS[self.cell.row() as usize];
        if self.fault != Fault::TrustsTheProof && self.cell.generation().0 != whose {
            return false;
        }
        if age > timeout || self.place().settle(Standing::Answered).is_err() {
            return false;
        }
        assert_eq!(self.cell.generation().0, whose, "a reply is credited to another target");
        self.cell.rtt_sum.fetch_add(age, Relaxed);
        self.cell.settled[Outcome::Answered as usize].fetch_add(1, Release);
        true
    }

    /// A sender's turn in which the slot's time comes. `landed`: whether the first target's probe is out of its place.
    fn turn(&self, landed: &mut bool) {
        let is_drained = self.consumed.load(Acquire) == 1 || self.fault == Fault::LandsBeforeItIsDrained;
        if !*landed && is_drained {
            *landed = true;
            if self.place().take() == Standing::Pending {
                self.cell.settled[Outcome::Lost as usize].fetch_add(1, Release);
            }
        }
        match self.slot().wanted() {
            Some((address, _)) if address == self.targets[0].handle.0 => {
                assert_eq!((self.cell.generation().0, self.cell.row()), (0, ROWS[0]));
                assert!([HOPS[0], OTHER].contains(&self.slot().word().hop()));
                if *landed {
                    self.slot().has_arrived(OTHER);
                }
            }
            Some(_) if self.sent.load(Relaxed) == 0 => {
                // All of it is his, and nothing of it the other's.
                assert_eq!((self.cell.generation().0, self.cell.row()), (1, ROWS[1]), "half of a target");
                assert_eq!((self.cell.entered.load(Relaxed) >> 16, self.cell.rtt_sum.load(Relaxed)), (0, 0));
                let word = self.slot().word();
                assert!(word.hop() == HOPS[1] || (word.hop() == OTHER && word.has_moved()), "by another's hop");
                self.enter();
                self.sent.store(1, Release);
            }
            None if self.slot().word().is_given_up() => {
                let is_empty = || self.cell.window.iter().all(|word| word.load(Relaxed) == 0);
                let dares = self.fault == Fault::VacatesWithProbesInFlight;
                if self.slot().vacate(|| dares || is_empty()).is_some() && self.fault == Fault::KeepsTheGeneration {
                    self.cell.entered.store(0, Relaxed);
                }
            }
            _ => {}
        }
    }

    /// The target goes by another hop.
    fn move_to(&self, hop: u32) {
        if self.fault != Fault::MovesInTwoSteps {
            return self.slot().move_to(hop);
        }
        let word = HopWord(self.side.hop.load(Acquire));
        self.side.hop.store(word.by(hop).0, Release);
    }

    /// The control thread puts the second target in, if it may. Whether it did.
    fn fill(&self) -> bool {
        let may = match self.fault {
            Fault::FillsBeforeItIsVacant => self.slot().word().is_given_up(),
            _ => self.slot().word().is_vacant(),
        };
        if may {
            self.slot().fill(Some(self.targets[1]), HOPS[1], ROWS[1]);
        }
        may
    }
}

fn model(preemptions: usize, play: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    // All interleavings with so few switches from a thread that could go on.
    builder.preemption_bound = Some(preemptions);
    builder.check(play);
}

/// The slot passes on while a receiver has, of the first target, a reply in time and one that comes too late for him, and then one of the
/// second. Nobody is credited with what is another's, each is credited once, and what the sender sees is the one target or the other.
pub(crate) fn passes_on(fault: Fault) {
    model(4, move || {
        let world = Arc::new(World::new(fault));
        let receiver = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let mut credited = [world.hear(0, 5), false];
                world.consumed.store(1, Release);
                assert!(!world.hear(0, 15), "late for the first target");
                if world.sent.load(Acquire) == 1 {
                    credited[1] = world.hear(1, 15);
                    assert!(credited[1], "a reply to the second target in time");
                }
                credited
            })
        };
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let mut landed = false;
                for _ in 0..2 {
                    world.turn(&mut landed);
                }
                landed
            })
        };
        world.slot().give_up();
        world.move_to(OTHER);
        let mut has_come = world.fill();
        let [first, second] = receiver.join().unwrap();
        let mut landed = sender.join().unwrap();
        assert!(first, "the first target's reply came in time");
        // Whatever has not come about yet does now, in order.
        world.turn(&mut landed);
        has_come |= world.fill();
        assert!(landed && has_come);
        world.turn(&mut landed);
        assert_eq!(world.cell.generation().0, 1);
        assert_eq!(world.sent.load(Acquire), 1, "the second target is probed");
        let answered = world.settled(Outcome::Answered);
        assert_eq!((answered, world.settled(Outcome::Lost)), (u32::from(second), 0), "nothing of the first one's");
        assert_eq!(world.place().is_pending(), !second, "the second target's probe is waited for");
    });
}

/// Somebody else moves the target to another hop while it is given up, vacated, and another comes: that gives back nobody who was given
/// up, and puts nobody into a vacant slot.
pub(crate) fn moves(fault: Fault) {
    model(3, move || {
        let world = Arc::new(World::new(fault));
        assert!(world.hear(0, 5));
        world.consumed.store(1, Relaxed);
        let mover = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.move_to(OTHER))
        };
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let mut landed = false;
                for _ in 0..2 {
                    world.turn(&mut landed);
                }
                landed
            })
        };
        world.slot().give_up();
        let has_come = world.fill();
        mover.join().unwrap();
        let mut landed = sender.join().unwrap();
        let word = world.slot().word();
        if has_come {
            assert!(word.is_wanted() && [HOPS[1], OTHER].contains(&word.hop()));
        } else {
            assert!(!word.is_wanted() && world.slot().wanted().is_none(), "it was given up: {:#x}", word.0);
            world.turn(&mut landed);
            let word = world.slot().word();
            assert!(word.is_vacant() && world.cell.generation().0 == 1, "{:#x} {landed}", word.0);
        }
    });
}
