//! Local faults for which states are held: what is wrong with this machine, and since when.

use crate::base::Nanos;

/// Why states are held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Hold {
    /// The interface is down, has no carrier, or is gone.
    LinkDown,
    /// A gateway does not answer.
    Gateway,
    /// More than half of the probes that came due within a second could not be sent.
    Sending,
}

impl Hold {
    /// All, in the order of their gauges.
    pub const ALL: [Self; 3] = [Self::LinkDown, Self::Gateway, Self::Sending];

    /// As in metric labels and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LinkDown => "link_down",
            Self::Gateway => "gateway",
            Self::Sending => "sending",
        }
    }
}

/// Which local faults there are.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Holding([Option<Nanos>; Hold::ALL.len()]);

impl Holding {
    /// Since when states are held for this reason, if they are.
    pub const fn since(&self, reason: Hold) -> Option<Nanos> {
        self.0[reason as usize]
    }

    /// The fault has been there since then, or is not there. Returns whether that is news.
    pub const fn set(&mut self, reason: Hold, since: Option<Nanos>) -> bool {
        let before = self.0[reason as usize];
        if before.is_some() == since.is_some() {
            return false;
        }
        self.0[reason as usize] = since;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_news_once() {
        let mut holding = Holding::default();
        assert!(holding.set(Hold::Gateway, Some(Nanos(3))));
        assert!(!holding.set(Hold::Gateway, Some(Nanos(4))));
        assert_eq!((holding.since(Hold::Gateway), holding.since(Hold::LinkDown)), (Some(Nanos(3)), None));
        assert!(holding.set(Hold::Gateway, None));
        assert!(!holding.set(Hold::Gateway, None));
    }
}
