//! Forged answers to SYNs. 24 keyed bits are all that proves one, so that guesses are right now and then: here is how often.

use echolot::{
    base::{Nanos, PortState},
    wire::{Key, NumberIn, PortReport, Proof, Says},
};
use fastrand::Rng;
use probe_ebpf::sequence;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

/// Guesses of one seed.
const LOT: u64 = 1 << 18;

/// One guess in so many is right.
const ONE_IN: f64 = (1 << 24) as f64;
const KEY: Key = Key([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
const OLD_KEY: Key = Key([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211]);

/// What a forger who has seen real answers can do to one.
#[derive(Clone, Copy, Debug)]
enum Forgery {
    /// Any other number is acknowledged.
    Guess,
    /// One bit of it is another.
    Bit,
    /// It is some more or less.
    Near,
    /// Proof of one probe and the masked number of another of the same flow.
    Spliced,
    /// The same number in another flow: another target.
    Target,
    /// Another port of the target's.
    Port,
    /// Another port of ours.
    OurPort,
    /// By the key of a process before.
    OldKey,
}

impl Forgery {
    const ALL: [Self; 8] =
        [Self::Guess, Self::Bit, Self::Near, Self::Spliced, Self::Target, Self::Port, Self::OurPort, Self::OldKey];
}

/// A real answer, of either family, to a SYN with this number.
fn real(rng: &mut Rng, key: &Key, number: u8) -> PortReport {
    let (source, destination): (IpAddr, IpAddr) = if rng.bool() {
        (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::from_bits(rng.u32(..)).into())
    } else {
        (Ipv6Addr::from_bits(0x2001_0db8 << 96 | 1).into(), Ipv6Addr::from_bits(rng.u128(..)).into())
    };
    let says = *rng.choice(&[Says::Port(PortState::Open), Says::Port(PortState::Closed), Says::HalfOpen]).unwrap();
    let ports = (rng.u16(61_000..61_010), rng.u16(1..));
    let proof = Proof::Sequence(0, None);
    let answer = PortReport {
        arrived: Nanos(1),
        from: destination,
        source,
        destination,
        ports,
        proof,
        says,
        rcode: None,
        ttl: 64,
        quote: None,
    };
    acknowledging(initial(&answer, key, number).wrapping_add(1), answer)
}

/// The same answer with this acknowledgment number: a RST may acknowledge the SYN, or nothing of it.
fn acknowledging(number: u32, answer: PortReport) -> PortReport {
    let other = (answer.says == Says::Port(PortState::Closed)).then_some(number);
    PortReport { proof: Proof::Sequence(number.wrapping_sub(1), other), ..answer }
}

fn acknowledged(answer: &PortReport) -> u32 {
    let Proof::Sequence(sequence, _) = answer.proof else { panic!("{answer:?}") };
    sequence.wrapping_add(1)
}

/// The sequence number of the SYN that an answer of this flow is to, by the definition that both sides share.
fn initial(answer: &PortReport, key: &Key, number: u8) -> u32 {
    let ([a, b], [c, d]) = (answer.ports.0.to_be_bytes(), answer.ports.1.to_be_bytes());
    let ports = u32::from_le_bytes([a, b, c, d]);
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let bytes = [octets(answer.source), octets(answer.destination)].concat();
    let words: Vec<u64> = bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect();
    match *words {
        [a] => sequence::initial(&key.0, [a], ports, number),
        [a, b, c, d] => sequence::initial(&key.0, [a, b, c, d], ports, number),
        _ => panic!("addresses of two families"),
    }
}

/// How many numbers would be right: a RST may acknowledge the SYN, or nothing of it.
fn chances(says: Says) -> f64 {
    if says == Says::Port(PortState::Closed) { 2.0 } else { 1.0 }
}

/// Makes one, or nothing where it happens to be a real answer. Also what is to be expected of it.
fn forge(rng: &mut Rng, forgery: Forgery) -> Option<(PortReport, f64)> {
    let number = rng.u8(..);
    let real = real(rng, if matches!(forgery, Forgery::OldKey) { &OLD_KEY } else { &KEY }, number);
    let sequence = acknowledged(&real);
    let forged = match forgery {
        Forgery::Guess => acknowledging(rng.u32(..), real),
        Forgery::Bit => acknowledging(sequence ^ 1 << rng.u32(..32), real),
        Forgery::Near => acknowledging(sequence.wrapping_add(rng.u32(..0x20000)).wrapping_sub(0x10000), real),
        Forgery::Spliced => {
            let other = initial(&real, &KEY, rng.u8(..)).wrapping_add(1);
            let spliced = sequence.wrapping_sub(1) & !0xff | other.wrapping_sub(1) & 0xff;
            acknowledging(spliced.wrapping_add(1), real)
        }
        Forgery::Target => {
            let other = match real.destination {
                IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() ^ 1 << rng.u32(..32)).into(),
                IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() ^ 1 << rng.u32(..128)).into(),
            };
            PortReport { from: other, destination: other, ..real }
        }
        Forgery::Port => PortReport { ports: (real.ports.0, real.ports.1 ^ 1 << rng.u32(..16)), ..real },
        Forgery::OurPort => PortReport { ports: (real.ports.0 ^ 1 << rng.u32(..16), real.ports.1), ..real },
        Forgery::OldKey => real,
    };
    // What a RST may acknowledge is real too.
    let is_real = forged.ports == real.ports
        && forged.destination == real.destination
        && !matches!(forgery, Forgery::OldKey)
        && sequence.wrapping_sub(acknowledged(&forged)) < 2;
    (!is_real).then_some((forged, chances(forged.says)))
}

/// Judges so many lots, on all of this machine's threads: how many forgeries were taken. Each lot has a seed of its own.
fn on_all_threads(lots: u64, judge: impl Fn(&mut Rng) -> bool + Sync) -> u64 {
    let next = AtomicU64::new(0);
    let work = || {
        let mut taken = 0;
        while let Some(lot) = Some(next.fetch_add(1, Relaxed)).filter(|lot| *lot < lots) {
            let mut rng = Rng::with_seed(super::seed().wrapping_add(lot.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            taken += (0..LOT).filter(|_| judge(&mut rng)).count() as u64;
        }
        taken
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

/// Guesses alone, for what the kernel asks: over all flows they are right as often as 24 bits say, and at most twice as often.
#[test]
fn guessed_sequence_numbers_are_taken_no_more_often_than_24_bits_say() {
    let many: u64 = if std::env::var_os("ECHOLOT_LONG").is_some() { 1 << 32 } else { 1 << 26 };
    let taken = on_all_threads(many / LOT, |rng| {
        let (addresses, ports, guess) = (rng.u64(..), rng.u32(..), rng.u32(..));
        sequence::is_ours(&KEY.0, [addresses], ports, guess)
    });
    let expected = many as f64 / ONE_IN;
    println!("{taken} of {many} guesses, {expected} expected");
    assert!((taken as f64) <= 2.0 * expected, "{taken} of {many} guesses, {expected} expected");
}

/// Whatever a forger knows of other answers, to this target or another one, helps no more than guessing.
#[test]
fn forged_answers_are_taken_no_more_often_than_24_bits_say() {
    let many = if std::env::var_os("ECHOLOT_LONG").is_some() { 1 << 26 } else { 1 << 18 };
    for forgery in Forgery::ALL {
        let mut rng = Rng::with_seed(super::seed() ^ forgery as u64);
        let (mut taken, mut made, mut expected) = (0, 0u64, 0.0);
        for _ in 0..many {
            let Some((forged, chances)) = forge(&mut rng, forgery) else { continue };
            taken += u64::from(forged.number(&KEY, NumberIn::Sequence).is_some());
            made += 1;
            expected += chances / ONE_IN;
        }
        println!("{forgery:?}: {taken} of {made} taken, {expected:.3} expected");
        assert!(made > many / 2, "{forgery:?}: only {made} of {many} were no real answers");
        assert!(taken as f64 <= (2.0 * expected).floor(), "{forgery:?}: {taken} of {made}, {expected:.3} expected");
    }
    // A judge that takes nothing would be no judge.
    let mut rng = Rng::with_seed(super::seed());
    for number in (0..=255).cycle().take(10_000) {
        let real = real(&mut rng, &KEY, number);
        assert_eq!(real.number(&KEY, NumberIn::Sequence), Some((number, 0xff)), "{real:?}");
    }
}
