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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

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
