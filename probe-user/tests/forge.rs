//! Forged replies against the very function that receivers judge by, `worker::prove`: none may be taken.
//!
//! Each forgery begins as a real reply: a probe by our own template, for a target of a real table, sent back as RFC 1122 has it. Then one
//! thing is wrong with it ([`forger::Mutation`]), and the checksums are right again unless they are what is forged. Beside them, real
//! replies and errors that nothing was done to: all of them must be taken, or the judge might just refuse everything.
//!
//! The short form throws 2 million. `ECHOLOT_LONG=1 cargo test -p echolot --test forge -- --nocapture` throws 100 million.
//! Answers to SYNs and UDP probes, and short quotes, have fewer bits for proof: how often forged ones are taken is in `kinds`, as whole
//! frames of every kind (the long form throws 100 million of each), and, of reports alone, in `segments` and `datagrams`.
//! `ECHOLOT_SEED` chooses others. Forgeries come in numbered lots, each with a seed of its own, so they are the same on any number of
//! threads.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "forge/datagrams.rs"]
mod datagrams;
#[path = "forge/fields.rs"]
mod fields;
#[path = "forge/forger.rs"]
mod forger;
#[path = "forge/kinds.rs"]
mod kinds;
#[path = "forge/segments.rs"]
mod segments;
#[path = "forge/world.rs"]
mod world;

use echolot::{
    wire::{RejectedReason, read_reply},
    worker::{Proven, Slots, prove},
};
use forger::{Forger, Mutation};
use probe_ebpf::cookie;
use std::{
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};
use world::World;

/// Forgeries of one seed.
const LOT: u64 = 100_000;
/// One real reply, and one real error, for so many forgeries.
const CONTROL: u64 = 50;
const SEED: u64 = 0x0ec4_0107;

/// What became of the forgeries of one kind.
#[derive(Clone, Copy, Default)]
struct Fate {
    refused: [u64; RejectedReason::ALL.len()],
    taken: u64,
}

impl Fate {
    fn all(&self) -> u64 {
        self.refused.iter().sum::<u64>() + self.taken
    }
}

#[derive(Default)]
struct Sums {
    fates: [Fate; Mutation::ALL.len()],
    controls: u64,
    /// The first of those that were taken, to be looked at.
    shown: Vec<String>,
}

impl Sums {
    fn add(&mut self, other: Self) {
        for (sum, fate) in self.fates.iter_mut().zip(other.fates) {
            sum.refused.iter_mut().zip(fate.refused).for_each(|(sum, count)| *sum += count);
            sum.taken += fate.taken;
        }
        self.controls += other.controls;
        self.shown.extend(other.shown);
    }

    fn all(&self) -> u64 {
        self.fates.iter().map(Fate::all).sum()
    }

    fn taken(&self) -> u64 {
        self.fates.iter().map(|fate| fate.taken).sum()
    }

    fn of(&self, mutation: Mutation) -> &Fate {
        &self.fates[mutation as usize]
    }

    fn print(&self) {
        let head = RejectedReason::ALL.map(|reason| format!("{:>10}", reason.name())).concat();
        println!("{:<18}{:>11}{head}{:>8}", "forgery", "judged", "taken");
        for (mutation, fate) in Mutation::ALL.iter().zip(&self.fates) {
            let refused = fate.refused.map(|count| format!("{count:>10}")).concat();
            println!("{:<18}{:>11}{refused}{:>8}", mutation.name(), fate.all(), fate.taken);
        }
        println!("{:<18}{:>11}, and all {} real replies and errors were taken", "in all", self.all(), self.controls);
    }
}

type Judge = fn(&[u8], &World) -> Result<(), RejectedReason>;

/// Exactly what a receiver does.
fn receiver(frame: &[u8], world: &World) -> Result<(), RejectedReason> {
    prove(frame, &world.key, world).map(|_| ())
}

/// One lot. Real replies are judged by the receiver whatever `judge` is.
fn lot(world: &World, judge: Judge, seed: u64) -> Sums {
    let mut sums = Sums::default();
    let mut forger = Forger::new(world, seed);
    for n in 0..LOT {
        let mutation = forger.forge();
        let fate = &mut sums.fates[mutation as usize];
        match judge(forger.frame(), world) {
            Err(reason) => fate.refused[reason as usize] += 1,
            Ok(()) => {
                fate.taken += 1;
                if sums.shown.len() < 3 {
                    sums.shown.push(format!(
                        "{}, seed {seed:#x}, number {n}: {:02x?}",
                        mutation.name(),
                        forger.frame()
                    ));
                }
            }
        }
        if n % CONTROL == 0 {
            let (target, sequence, sent) = forger.real_reply();
            match prove(forger.frame(), &world.key, world) {
                Ok(Proven::Answer(reply, _))
                    if (reply.target, reply.sequence, reply.sent) == (target, sequence, sent) => {}
                other => panic!("a real reply, and {other:?}: {:02x?}", forger.frame()),
            }
            let (target, sequence, sent) = forger.real_error();
            match prove(forger.frame(), &world.key, world) {
                Ok(Proven::Refused(refusal, quoted, _))
                    if (quoted.target, refusal.sequence, quoted.sent) == (target, sequence, sent) => {}
                other => panic!("a real error, and {other:?}: {:02x?}", forger.frame()),
            }
            sums.controls += 2;
        }
    }
    sums
}

fn campaign(world: &World, judge: Judge, forgeries: u64, seed: u64) -> Sums {
    let (next, all) = (AtomicU64::new(0), Mutex::new(Sums::default()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Relaxed)).filter(|number| number * LOT < forgeries) {
                    let sums = lot(world, judge, seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
                    all.lock().unwrap().add(sums);
                }
            });
        }
    });
    all.into_inner().unwrap()
}

fn seed() -> u64 {
    std::env::var("ECHOLOT_SEED").map_or(SEED, |text| text.parse().expect("ECHOLOT_SEED is a whole number"))
}

#[test]
fn no_forgery_is_taken() {
    let many = if std::env::var_os("ECHOLOT_LONG").is_some() { 100_000_000 } else { 2_000_000 };
    println!("seed {}", seed());
    let (world, begun) = (World::new(), Instant::now());
    let sums = campaign(&world, receiver, many, seed());
    sums.print();
    println!("{:.1} s", begun.elapsed().as_secs_f64());

    assert_eq!(sums.taken(), 0, "{}", sums.shown.join("\n"));
    assert_eq!(sums.all(), many);
    assert_eq!(sums.controls, many / CONTROL * 2);
    // At least nine in ten are real replies with one verified thing wrong. Noise alone would prove little.
    let minted: u64 = Mutation::ALL.iter().filter(|kind| kind.is_minted()).map(|kind| sums.of(*kind).all()).sum();
    assert!(minted * 10 >= many * 9, "{minted}");
    for mutation in Mutation::ALL {
        let fate = sums.of(mutation);
        // The weights are in thousandths. Chance is far from halving the rarest of them.
        assert!(fate.all() * 2_000 > many * mutation.weight(), "{}: {}", mutation.name(), fate.all());
        for reason in RejectedReason::ALL {
            let count = fate.refused[reason as usize];
            let may = mutation.refused_by().contains(&reason);
            assert!(may || count == 0, "{}: {count} were refused as {}", mutation.name(), reason.name());
        }
    }
}

/// The checksum and the table of targets, and of the cookie what the kernel can check: nothing of the generation.
fn forgetful(frame: &[u8], world: &World) -> Result<(), RejectedReason> {
    let reply = read_reply(frame)?;
    Slots::generation(world, reply.target).ok_or(RejectedReason::Target)?;
    let IpAddr::V4(source) = reply.source else { panic!("{reply:?}") };
    let hash = cookie::ipv4(&world.key.0, reply.sent.0, source.octets(), reply.target.0, reply.sequence.0);
    let first = *reply.cookie.first_chunk().unwrap();
    if cookie::kernel_bits_match(hash, first) { Ok(()) } else { Err(RejectedReason::Cookie) }
}

fn gullible(frame: &[u8], _: &World) -> Result<(), RejectedReason> {
    read_reply(frame).map(|_| ())
}

#[test]
fn judges_that_check_less_are_fooled() {
    let world = World::new();
    let sums = campaign(&world, forgetful, LOT, seed());
    for mutation in Mutation::ALL {
        let fate = sums.of(mutation);
        let expected = match mutation {
            Mutation::Generation => fate.taken == fate.all(),
            // A third of its bits are those that the generation is mixed into.
            Mutation::CookieBit => fate.taken > fate.all() / 4 && fate.taken < fate.all() / 2,
            _ => fate.taken == 0,
        };
        assert!(expected, "{}: {} of {}", mutation.name(), fate.taken, fate.all());
    }
    // Nothing but the cookie stands between these and the ledger.
    let sums = campaign(&world, gullible, LOT, seed());
    for mutation in Mutation::ALL {
        let fate = sums.of(mutation);
        let mended = mutation
            .refused_by()
            .iter()
            .all(|reason| [RejectedReason::Cookie, RejectedReason::Target].contains(reason));
        if mended && mutation != Mutation::ErrorBit {
            assert_eq!(fate.taken, fate.all(), "{}", mutation.name());
        }
    }
}
