//! Whose probe, which of them, and where its stamps were taken.

/// A target's place in the ledger; travels in the probe's payload.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct TargetIndex(pub u32);

/// The low 16 bits of a target's probe number, as on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Sequence(pub u16);

/// How many probes a target had before this one. The `seq` of results.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct ProbeNumber(pub u64);

impl ProbeNumber {
    /// What of the number travels.
    pub const fn sequence(self) -> Sequence {
        Sequence((self.0 & 0xffff) as u16)
    }

    /// Which flow it belongs to, of so many that are walked: told by the low 8 bits, because answers may bring no more of it back.
    #[inline]
    pub const fn flow(self, flows: u16) -> u16 {
        self.low() % flows
    }

    /// Which source it leaves from, of so many in turn: each sends through all flows, then comes the next. Told by the low 8 bits, too.
    #[inline]
    pub const fn turn(self, flows: u16, turns: u8) -> u8 {
        (self.low() / flows % turns as u16) as u8
    }

    const fn low(self) -> u16 {
        (self.0 & 0xff) as u16
    }
}

/// How the time to live of a probe follows from its number, where the probes of a target are to find the routers on its way: the low bits
/// are the time to live, or 0 for the one that the target's group has; those above count attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ttls(u32);

impl Ttls {
    /// The longest that can be told: the bits of a number that travel with a SYN are 8, and two must tell attempts apart.
    pub const MOST: u8 = 63;

    /// For times to live up to this one, at most [`Ttls::MOST`].
    pub const fn up_to(most: u8) -> Self {
        Self(if most < 32 { 5 } else { 6 })
    }

    /// How many there are, with the 0.
    pub const fn many(self) -> u32 {
        1 << self.0
    }

    /// That of a number; 0: the group's own.
    #[inline]
    pub const fn of(self, number: u64) -> u8 {
        (number & (self.many() as u64 - 1)) as u8
    }

    /// Which attempt a number is of.
    #[inline]
    pub const fn attempt(self, number: u64) -> u64 {
        number >> self.0
    }

    /// The number of an attempt with a time to live.
    #[inline]
    pub const fn number(self, attempt: u64, ttl: u8) -> ProbeNumber {
        ProbeNumber(attempt << self.0 | (ttl as u64 & (self.many() as u64 - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_number_says_time_to_live_and_attempt() {
        for most in [1, 30, 31, 32, 63] {
            let ttls = Ttls::up_to(most);
            assert!(u32::from(most) < ttls.many() && ttls.many() <= 64);
            for (attempt, ttl) in [(0, 0), (0, 1), (7, most), (1 << 40, most)] {
                let number = ttls.number(attempt, ttl).0;
                assert_eq!((ttls.attempt(number), ttls.of(number)), (attempt, ttl));
            }
        }
    }

    #[test]
    fn every_source_sends_through_every_flow() {
        for (flows, turns) in [(1, 1), (1, 3), (2, 2), (5, 7), (64, 4), (256, 1), (32, 8)] {
            let form = |number| (ProbeNumber(number).flow(flows), ProbeNumber(number).turn(flows, turns));
            let all: BTreeSet<_> = (0..256).map(form).collect();
            assert_eq!(all.len(), usize::from(flows) * usize::from(turns), "{flows} flows, {turns} sources");
            assert!((0..256).all(|number| form(number) == form(number + 256)), "the low 8 bits tell");
        }
    }
}

/// Which tenant of a ledger slot a probe belongs to; covered by the cookie, never sent.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Generation(pub u16);

/// Which of the plan's shapes a probe has (`wire::Shape`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct ShapeIndex(pub u16);

/// Where a stamp was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// By userspace, just before the kick.
    User,
    /// By the XDP program.
    Xdp,
}

impl Stamp {
    /// As in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Xdp => "xdp",
        }
    }
}
