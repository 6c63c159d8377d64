//! Forged answers to UDP probes. Eight keyed bits prove a DNS answer and an error that quotes a probe, so a guess in 256 is right: here is
//! that nothing helps a forger to more.

use echolot::{
    base::{Nanos, PortState, Reason},
    wire::{Key, NumberIn, PortReport, Proof, Says},
};
use fastrand::Rng;
use probe_ebpf::sequence;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One guess in so many is right.
const ONE_IN: f64 = 256.0;
const KEY: Key = Key([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
const OLD_KEY: Key = Key([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211]);

/// What a forger who has seen real answers can do to one.
#[derive(Clone, Copy, Debug)]
enum Forgery {
    /// Any other words come back.
    Guess,
    /// One bit of each is another.
    Bit,
    /// They are some more or less.
    Near,
    /// Proof of one probe and the masked number of another of the same flow.
    Spliced,
    /// The same words in another flow: another target.
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

/// What brings the words back.
#[derive(Clone, Copy, Debug)]
enum Bearer {
    /// A DNS answer: its identifier.
    Answer,
    /// An error over IPv4 that quotes a DNS question: both.
    Quote,
    /// One that quotes 8 bytes of the datagram: the identification.
    ShortQuote,
}

impl Bearer {
    const ALL: [Self; 3] = [Self::Answer, Self::Quote, Self::ShortQuote];

    fn proof(self, word: u16, other: u16) -> Proof {
        Proof::Words(match self {
            Self::Answer => [Some(word), None],
            Self::Quote => [Some(word), Some(other)],
            Self::ShortQuote => [None, Some(word)],
        })
    }

    /// How many words there are to be right.
    fn chances(self) -> f64 {
        if matches!(self, Self::Quote) { 2.0 } else { 1.0 }
    }
}

/// A real answer or error about the probe with this number.
fn real(rng: &mut Rng, bearer: Bearer, key: &Key, number: u8) -> (PortReport, u16) {
    let (source, destination): (IpAddr, IpAddr) = if !matches!(bearer, Bearer::Answer) || rng.bool() {
        (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::from_bits(rng.u32(..)).into())
    } else {
        (Ipv6Addr::from_bits(0x2001_0db8 << 96 | 1).into(), Ipv6Addr::from_bits(rng.u128(..)).into())
    };
    let says = match bearer {
        Bearer::Answer => Says::Port(PortState::Open),
        Bearer::Quote | Bearer::ShortQuote => Says::Refused(Reason::PORT_UNREACHABLE),
    };
    let ports = (rng.u16(61_000..61_010), rng.u16(1..));
    let word = word(source, destination, ports, key, number);
    let report = PortReport {
        arrived: Nanos(1),
        from: destination,
        source,
        destination,
        ports,
        proof: bearer.proof(word, word),
        says,
        rcode: None,
        ttl: 64,
        quote: None,
    };
    (report, word)
}

/// The word of a probe, by the definition that both sides share.
fn word(source: IpAddr, destination: IpAddr, ports: (u16, u16), key: &Key, number: u8) -> u16 {
    let ([a, b], [c, d]) = (ports.0.to_be_bytes(), ports.1.to_be_bytes());
    let ports = u32::from_le_bytes([a, b, c, d]);
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let bytes = [octets(source), octets(destination)].concat();
    let words: Vec<u64> = bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect();
    match *words {
        [a] => sequence::word(&key.0, [a], ports, number),
        [a, b, c, d] => sequence::word(&key.0, [a, b, c, d], ports, number),
        _ => panic!("addresses of two families"),
    }
}

/// Makes one, or nothing where it happens to be real.
fn forge(rng: &mut Rng, bearer: Bearer, forgery: Forgery) -> Option<PortReport> {
    let key = if matches!(forgery, Forgery::OldKey) { &OLD_KEY } else { &KEY };
    let number = rng.u8(..);
    let (real, word) = real(rng, bearer, key, number);
    let with = |word, other| PortReport { proof: bearer.proof(word, other), ..real };
    let forged = match forgery {
        Forgery::Guess => with(rng.u16(..), rng.u16(..)),
        Forgery::Bit => with(word ^ 1 << rng.u32(..16), word ^ 1 << rng.u32(..16)),
        Forgery::Near => with(word.wrapping_add(rng.u16(1..1000)), word.wrapping_sub(rng.u16(1..1000))),
        Forgery::Spliced => {
            let mut other = || self::word(real.source, real.destination, real.ports, &KEY, rng.u8(..)) & 0xff;
            with(word & 0xff00 | other(), word & 0xff00 | other())
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
    let brings = |word| matches!(forged.proof, Proof::Words(words) if words.contains(&Some(word)));
    let is_real = forged.ports == real.ports
        && forged.destination == real.destination
        && !matches!(forgery, Forgery::OldKey)
        && brings(word);
    (!is_real).then_some(forged)
}

/// Whatever a forger knows of other answers, to this target or another one, helps no more than guessing.
#[test]
fn forged_datagrams_are_taken_no_more_often_than_8_bits_say() {
    let many = if std::env::var_os("ECHOLOT_LONG").is_some() { 1u64 << 24 } else { 1 << 16 };
    for (bearer, forgery) in Bearer::ALL.into_iter().flat_map(|bearer| Forgery::ALL.map(|forgery| (bearer, forgery))) {
        let mut rng = Rng::with_seed(super::seed() ^ ((bearer as u64) << 8 | forgery as u64));
        let (mut taken, mut made) = (0u64, 0u64);
        for _ in 0..many {
            let Some(forged) = forge(&mut rng, bearer, forgery) else { continue };
            taken += u64::from(forged.number(&KEY, NumberIn::Word).is_some());
            made += 1;
        }
        let expected = made as f64 * bearer.chances() / ONE_IN;
        println!("{bearer:?}, {forgery:?}: {taken} of {made} taken, {expected:.0} expected");
        assert!(made > many / 2, "{bearer:?}, {forgery:?}: only {made} of {many} were not real");
        assert!(taken as f64 <= 2.0 * expected, "{bearer:?}, {forgery:?}: {taken} of {made}, {expected:.0} expected");
    }
    // A judge that takes nothing would be no judge.
    let mut rng = Rng::with_seed(super::seed());
    for (bearer, number) in Bearer::ALL.into_iter().flat_map(|bearer| (0..=255).map(move |number| (bearer, number))) {
        let (real, _) = real(&mut rng, bearer, &KEY, number);
        assert_eq!(real.number(&KEY, NumberIn::Word), Some((number, 0xff)), "{real:?}");
    }
}
