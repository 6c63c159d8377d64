//! Recognises local faults: link, gateway, sending. States are held by the loops; here it is named, once.

use crate::{
    base::Nanos,
    health::{Hold, Holding},
    results::Fault,
    route::{Hops, LinkState},
};
use std::collections::VecDeque;

/// Over which time the share of unsent probes is taken.
const SPAN: Nanos = Nanos::from_secs(1);

/// What is wrong with this machine.
#[derive(Default)]
pub(super) struct FaultDetector {
    holding: Holding,
    /// Probes that came due, and those of them that this machine could not send, in the last [`SPAN`] and a little more.
    sent: VecDeque<(Nanos, u64, u64)>,
}

impl FaultDetector {
    /// Looks at link, gateways and the numbers of probes that came due and were refused so far, and tells what has changed.
    pub(super) fn look(
        &mut self,
        interface: &str,
        link: &LinkState,
        hops: &Hops,
        (due, refused): (u64, u64),
        now: Nanos,
        mut tell: impl FnMut(Fault),
    ) {
        let sending = self.sending(now, due, refused);
        let down = link.down_since();
        let dead = hops
            .gateways()
            .filter(|hop| hop.is_used())
            .filter_map(|hop| Some((hop.life.dead_since()?, hop.address)))
            .min();
        let faults = [
            (Hold::LinkDown, down, interface.to_owned()),
            // Without a link no gateway can answer: that is named already.
            (
                Hold::Gateway,
                dead.map(|(since, _)| since).filter(|_| down.is_none() || self.holding.since(Hold::Gateway).is_some()),
                dead.map_or_else(|| interface.to_owned(), |(_, address)| format!("{address} on {interface}")),
            ),
            (Hold::Sending, sending, interface.to_owned()),
        ];
        for (reason, since, detail) in faults {
            let before = self.holding.since(reason);
            if self.holding.set(reason, since) {
                let over = since.is_none();
                tell(Fault { at: now, reason, since: since.or(before).unwrap_or(now), over, detail });
            }
        }
    }

    /// Which reasons there are now.
    pub(super) fn held(&self) -> [bool; Hold::ALL.len()] {
        Hold::ALL.map(|reason| self.holding.since(reason).is_some())
    }

    /// Since when more than half of what came due could not be sent, for reasons of the device or of memory. Link and gateway have
    /// names of their own; a second without a probe says nothing new.
    fn sending(&mut self, now: Nanos, due: u64, unsent: u64) -> Option<Nanos> {
        self.sent.push_back((now, due, unsent));
        while self.sent.get(1).is_some_and(|(at, ..)| now - *at >= SPAN) {
            self.sent.pop_front();
        }
        let before = self.holding.since(Hold::Sending);
        let &(from, due_before, unsent_before) = self.sent.front()?;
        let (due, unsent) = (due.saturating_sub(due_before), unsent.saturating_sub(unsent_before));
        if due == 0 || now - from < SPAN {
            return before;
        }
        (unsent * 2 > due).then(|| before.unwrap_or(from))
    }
}

/// The log's word on a local fault. Of the link it has been told already.
pub(super) fn tell(fault: &Fault) {
    let what = match fault.reason {
        Hold::LinkDown => return,
        Hold::Gateway => format!("gateway {} does not answer", fault.detail),
        Hold::Sending => format!("more than half of the probes can't be sent through {}", fault.detail),
    };
    if fault.over {
        tracing::info!("over: {what}");
    } else {
        tracing::warn!("{what}: states of targets are held");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Hop;
    use std::net::Ipv4Addr;

    struct World {
        detector: FaultDetector,
        link: LinkState,
        hops: Hops,
        due: u64,
        unsent: u64,
        now: Nanos,
    }

    impl World {
        fn new() -> Self {
            let hop = Hop::new(Ipv4Addr::new(10, 63, 0, 2), Ipv4Addr::new(10, 63, 0, 1), false);
            let (detector, link, now) = (FaultDetector::default(), LinkState::new(), Nanos::from_secs(100));
            Self { detector, link, hops: Hops::from([hop]), due: 0, unsent: 0, now }
        }

        /// A tick later, in which so many came due and could not be sent.
        fn tick(&mut self, due: u64, unsent: u64) -> Vec<(&'static str, bool)> {
            self.now += Nanos::from_millis(50);
            self.due += due;
            self.unsent += unsent;
            let mut told = Vec::new();
            let tell = |fault: Fault| told.push((fault.reason.name(), fault.over));
            self.detector.look("eth0", &self.link, &self.hops, (self.due, self.unsent), self.now, tell);
            told
        }
    }

    #[test]
    fn a_link_that_falls_is_one_event_whatever_it_takes_along() {
        let mut world = World::new();
        assert_eq!(world.tick(10, 0), []);
        world.link.went_down(world.now);
        assert_eq!(world.tick(10, 0), [("link_down", false)]);
        world.hops[0].life.died(world.now);
        assert_eq!(world.tick(10, 0), []);
        assert_eq!(world.detector.held(), [true, false, false]);
        world.hops[0].life.came_back(world.now);
        world.link.came_up(world.now);
        assert_eq!(world.tick(10, 0), [("link_down", true)]);
    }

    #[test]
    fn a_gateway_is_named() {
        let mut world = World::new();
        world.hops[0].life.died(world.now);
        let mut told = Vec::new();
        world.detector.look("eth0", &world.link, &world.hops, (0, 0), world.now, |fault| told.push(fault));
        let (at, since) = (world.now, world.now);
        let detail = "10.63.0.2 on eth0".to_owned();
        assert_eq!(told, [Fault { at, reason: Hold::Gateway, since, over: false, detail }]);
    }

    #[test]
    fn more_than_half_unsent_within_a_second() {
        let mut world = World::new();
        assert!((0..40).all(|_| world.tick(10, 5).is_empty()), "half is not more than half");
        let told: Vec<_> = (0..20).flat_map(|_| world.tick(10, 6)).collect();
        assert_eq!(told, [("sending", false)]);
        assert!((0..60).all(|_| world.tick(0, 0).is_empty()), "no probe, no news");
        let told: Vec<_> = (0..20).flat_map(|_| world.tick(10, 0)).collect();
        assert_eq!(told, [("sending", true)]);
    }
}
