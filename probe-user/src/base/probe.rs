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

/// How the time to live of a probe follows from its number, where the probes of a target are to find the routers on its way.
///
/// From the lowest bit on: 5 or 6 bits are the time to live, or 0 for the one that the target's group has; the 3 or 2 bits above it are the
/// low bits of the turn; and what is above those 8, which are all that travel with a SYN, is the rest of the turn times the flows, and the
/// flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ttls(u32);

impl Ttls {
    /// The longest that can be told.
    pub const MOST: u8 = 63;
    /// Bits of a number that every answer says.
    const LOW: u32 = 8;

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

    /// Which of so many flows a number is of.
    #[inline]
    pub const fn flow(self, number: u64, flows: u16) -> u16 {
        ((number >> Self::LOW) % flows as u64) as u16
    }

    /// Which turn a number is of.
    #[inline]
    pub const fn turn(self, number: u64, flows: u16) -> u64 {
        let low = (number & ((1 << Self::LOW) - 1)) >> self.0;
        (number >> Self::LOW) / flows as u64 * self.low_turns() + low
    }

    /// The number of a turn, of a flow among so many, with a time to live.
    #[inline]
    pub const fn number(self, turn: u64, (flow, flows): (u16, u16), ttl: u8) -> ProbeNumber {
        let (high, low) = (turn / self.low_turns(), turn % self.low_turns());
        let ttl = ttl as u64 & (self.many() as u64 - 1);
        ProbeNumber((high * flows as u64 + flow as u64) << Self::LOW | low << self.0 | ttl)
    }

    /// How many turns in a row are told apart by 16 bits of a number; or where ports say the flow, by 8.
    pub const fn told_apart(self, flows: u16, by_ports: bool) -> u64 {
        let high = if by_ports { 1 } else { (1 << (16 - Self::LOW)) / flows as u64 };
        self.low_turns() * if high > 1 { high } else { 1 }
    }

    const fn low_turns(self) -> u64 {
        1 << (Self::LOW - self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_number_says_time_to_live_turn_and_flow() {
        for most in [1, 30, 31, 32, 63] {
            let ttls = Ttls::up_to(most);
            assert!(u32::from(most) < ttls.many() && ttls.many() <= 64);
            for flows in [1, 3, 96, 256] {
                for (turn, flow, ttl) in [(0, 0, 0), (1, flows - 1, 1), (7, 0, most), (1 << 30, flows / 2, most)] {
                    let number = ttls.number(turn, (flow, flows), ttl).0;
                    assert_eq!(
                        (ttls.turn(number, flows), ttls.flow(number, flows), ttls.of(number)),
                        (turn, flow, ttl)
                    );
                }
                // By what travels.
                for by_ports in [false, true] {
                    let apart = ttls.told_apart(flows, by_ports);
                    assert!(apart >= 4, "{most}, {flows}");
                    let told = |turn, flow, ttl| match ttls.number(turn, (flow, flows), ttl).0 {
                        number if by_ports => (number & 0xff, flow),
                        number => (number & 0xffff, 0),
                    };
                    let turns = 5..5 + apart.min(64);
                    let all: BTreeSet<_> = turns
                        .clone()
                        .flat_map(|turn| (0..flows).flat_map(move |flow| [1, most].map(|ttl| (turn, flow, ttl))))
                        .map(|(turn, flow, ttl)| told(turn, flow, ttl))
                        .collect();
                    let ttls_tried = if most == 1 { 1 } else { 2 };
                    assert_eq!(
                        all.len() as u64,
                        apart.min(64) * u64::from(flows) * ttls_tried,
                        "{most}, {flows}, {by_ports}"
                    );
                }
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
