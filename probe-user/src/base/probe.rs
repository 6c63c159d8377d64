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
