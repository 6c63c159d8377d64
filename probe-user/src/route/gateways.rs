//! Finds out for senders whether gateways are alive. Pure: time is an argument.

use super::{Hop, Hops, Neighbour};
use crate::base::Nanos;
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

/// The kernel repeats its question after a second: a gateway that has let two go unanswered is dead, until it answers.
const SILENT: Nanos = Nanos::from_millis(1_200);
/// Between two questions to a gateway that does not answer.
const AGAIN: Nanos = Nanos::from_secs(1);

/// A gateway that the kernel is to ask now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) address: IpAddr,
}

/// The hops that are gateways.
#[derive(Debug)]
pub(super) struct Gateways {
    hops: Arc<Hops>,
    gateways: Vec<Gateway>,
    /// How many of the hops have been looked at.
    seen: usize,
}

#[derive(Debug)]
struct Gateway {
    hop: usize,
    /// Since when it is being asked, and when it was last.
    asked: Option<(Nanos, Nanos)>,
}

impl Gateways {
    /// From now on senders may have doubts.
    pub(super) fn watch(hops: Arc<Hops>) -> Self {
        let mut gateways = Self { hops, gateways: Vec::new(), seen: 0 };
        gateways.renew();
        gateways
    }

    /// Takes notice of hops that are new, or are used again or no longer: of these nobody wants to know any more.
    pub(super) fn renew(&mut self) {
        for (place, hop) in self.hops.iter().enumerate().skip(self.seen) {
            hop.life.watch();
            if !hop.on_link {
                self.gateways.push(Gateway { hop: place, asked: None });
            }
            self.seen = place + 1;
        }
        for gateway in &mut self.gateways {
            let hop = &self.hops[gateway.hop];
            if !hop.is_used() {
                gateway.asked = None;
                hop.life.forget();
            }
        }
    }

    /// Nobody looks any more.
    pub(super) fn believe(&self) {
        self.hops.iter().for_each(|hop| {
            hop.life.believe();
            // Nobody would ever say that it came back.
            hop.life.came_back(hop.life.dead_since().unwrap_or_default());
        });
    }

    /// Gateways that the kernel is to be asked about now. Those that have been silent for too long are dead.
    pub(super) fn questions(&mut self, now: Nanos) -> Vec<Question> {
        let mut questions = Vec::new();
        for gateway in &mut self.gateways {
            let hop: &Hop = &self.hops[gateway.hop];
            if !hop.is_used() {
                continue;
            }
            let is_dead = hop.life.dead_since().is_some();
            if hop.life.doubted().is_none() && !is_dead {
                gateway.asked = None;
                continue;
            }
            let (since, last) = *gateway.asked.get_or_insert((now, Nanos::ZERO));
            if now - since >= SILENT {
                hop.life.died(since);
            }
            // One that is not resolved is asked about anyway, by the cache.
            if now - last >= AGAIN && hop.neighbour() != Neighbour::Unresolved {
                gateway.asked = Some((since, now));
                questions.push(Question { address: hop.address });
            }
        }
        questions
    }

    /// The link is down: questions that are under way will not be answered, and nobody is to blame.
    pub(super) fn forget(&mut self) {
        self.gateways.iter_mut().for_each(|gateway| gateway.asked = None);
    }

    /// A gateway has just answered the kernel, or was entered by hand and is never asked.
    pub(super) fn answered(&mut self, address: IpAddr, now: Nanos) {
        for gateway in &mut self.gateways {
            let life = &self.hops[gateway.hop].life;
            if self.hops[gateway.hop].address != address {
                continue;
            }
            life.came_back(now);
            // Proof of the moment at which it was asked; its answer may have waited for us.
            if let Some((since, _)) = gateway.asked.take() {
                life.prove(since);
            }
        }
    }
}

/// IPv6 gateways that have failed, by the kernel's own word.
///
/// A host's kernel takes no IPv6 route by a gateway that it has asked in vain while there is another route, of whatever metric
/// (RT6_LOOKUP_F_REACHABLE, RFC 4191 3.2). It tells nobody, and comes back to the gateway once that has answered again.
#[derive(Debug, Default)]
pub struct FailedGateways(HashSet<Ipv6Addr>);

impl FailedGateways {
    /// A neighbour on our interface has failed or answered. True if that may change ways: it is a gateway of ours, now or before, and
    /// that is news.
    pub fn tell(&mut self, hops: &Hops, neighbour: Ipv6Addr, failed: bool) -> bool {
        if !failed {
            return self.0.remove(&neighbour);
        }
        hops.gateways().any(|hop| hop.address == neighbour) && self.0.insert(neighbour)
    }

    /// Whether one has failed. The kernel asks it again at times, but only when somebody asks for a way that could be by it.
    pub fn has_any(&self) -> bool {
        !self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const ON_LINK: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn hops() -> Arc<Hops> {
        let hop = |address, on_link| {
            let hop = Hop::new(address, Ipv4Addr::new(192, 0, 2, 9), on_link);
            hop.set(Neighbour::Resolved([2; 6]));
            hop
        };
        Arc::new(Hops::from([hop(GATEWAY, false), hop(ON_LINK, true)]))
    }

    fn at(millis: u64) -> Nanos {
        Nanos::from_secs(100) + Nanos::from_millis(millis)
    }

    #[test]
    fn a_doubt_is_a_question_and_an_answer_is_proof() {
        let hops = hops();
        let mut gateways = Gateways::watch(Arc::clone(&hops));
        assert_eq!(gateways.questions(at(0)), [], "nobody doubts");
        hops[0].life.doubt(at(5));
        hops[1].life.doubt(at(5));
        assert_eq!(gateways.questions(at(10)), [Question { address: GATEWAY }]);
        assert_eq!(gateways.questions(at(20)), [], "asked already");
        gateways.answered(ON_LINK, at(30));
        assert_eq!(hops[0].life.doubted(), Some(at(5)), "that was somebody else");
        gateways.answered(GATEWAY, at(30));
        assert_eq!((hops[0].life.doubted(), hops[0].life.proven()), (None, at(10)));
        // A later doubt is a new question.
        hops[0].life.doubt(at(40));
        assert_eq!(gateways.questions(at(41)).len(), 1);
    }

    #[test]
    fn who_stays_silent_is_dead_until_it_answers() {
        let hops = hops();
        let mut gateways = Gateways::watch(Arc::clone(&hops));
        hops[0].life.doubt(at(0));
        let asked: Vec<u64> = (0..2_000).filter(|millis| !gateways.questions(at(*millis)).is_empty()).collect();
        assert_eq!(asked, [0, 1_000]);
        assert_eq!(hops[0].life.dead_since(), Some(at(0)));
        gateways.answered(GATEWAY, at(2_000));
        assert_eq!(hops[0].life.dead_until(), at(2_000));
        assert_eq!(gateways.questions(at(2_001)), []);
    }

    #[test]
    fn a_failed_gateway_is_news_once() {
        let hops = hops();
        let [gateway, other] = [1, 2].map(|n| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n));
        hops.add(Hop::new(gateway, Ipv6Addr::LOCALHOST, false));
        hops.add(Hop::new(other, Ipv6Addr::LOCALHOST, true));
        let mut failed = FailedGateways::default();
        assert!(!failed.tell(&hops, gateway, false), "it was well before");
        assert!(failed.tell(&hops, gateway, true) && !failed.tell(&hops, gateway, true));
        assert!(!failed.tell(&hops, other, true), "a target");
        hops.use_only(|_| false);
        assert!(failed.has_any());
        assert!(failed.tell(&hops, gateway, false) && !failed.tell(&hops, gateway, false));
        assert!(!failed.has_any());
    }

    #[test]
    fn without_a_watcher_all_are_believed() {
        let hops = hops();
        let mut gateways = Gateways::watch(Arc::clone(&hops));
        hops[0].life.doubt(at(0));
        gateways.questions(at(0));
        gateways.questions(at(1_300));
        gateways.believe();
        assert_eq!((hops[0].life.doubted(), hops[0].life.dead_since()), (None, None));
    }

    #[test]
    fn of_who_is_used_no_more_nobody_wants_to_know() {
        let hops = hops();
        let mut gateways = Gateways::watch(Arc::clone(&hops));
        hops[0].life.doubt(at(0));
        assert_eq!(gateways.questions(at(0)).len(), 1);
        let other = hops.add(Hop::new(ON_LINK, Ipv4Addr::new(192, 0, 2, 9), false));
        hops.use_only(|place| place == other as usize);
        gateways.renew();
        assert_eq!(gateways.questions(at(5_000)), []);
        assert_eq!(hops[0].life.dead_since(), None);
        hops[other as usize].set(Neighbour::Resolved([2; 6]));
        hops[other as usize].life.doubt(at(6_000));
        assert_eq!(gateways.questions(at(6_000)), [Question { address: ON_LINK }]);
    }
}
