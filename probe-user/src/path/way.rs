//! The way that a flow takes, and whether it is another than before.

use super::Path;
use crate::base::Ended;
use std::{collections::BTreeMap, net::IpAddr};

/// Who was heard at which distance, and how far the target was, as it was last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Way {
    routers: BTreeMap<u8, IpAddr>,
    length: Option<u8>,
}

/// The path is another than before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The nearest distance at which it differs.
    pub ttl: u8,
    /// Routers by their distance, as they were heard before.
    pub old: Vec<(u8, IpAddr)>,
    /// As they are now.
    pub new: Vec<(u8, IpAddr)>,
}

impl Way {
    /// Learns how a path to the target at `address` was found. What changed, if something did: a hop that says nothing has not changed, and
    /// who says that there is no way is not on it.
    pub fn follow(&mut self, path: &Path, address: IpAddr) -> Option<Change> {
        let is_on_it = |ended| matches!(ended, Ended::Hop { .. } | Ended::Answered { .. });
        let heard = path.hops.iter().filter(|hop| is_on_it(hop.ended));
        let routers = heard.filter_map(|hop| Some((hop.ttl, hop.address(address)?))).collect();
        let now = Self { routers, length: path.length() };
        let Some(ttl) = self.differs(&now) else {
            // Who was silent this time is not forgotten.
            self.routers.extend(now.routers);
            self.length = now.length.or(self.length);
            return None;
        };
        let old = std::mem::replace(self, now);
        let listed = |way: &Self| way.routers.iter().map(|(ttl, router)| (*ttl, *router)).collect();
        Some(Change { ttl, old: listed(&old), new: listed(self) })
    }

    /// How many hops away the target is.
    pub const fn length(&self) -> Option<u8> {
        self.length
    }

    /// The nearest distance at which two that were heard are not the same, or beyond which only one of them goes on.
    fn differs(&self, now: &Self) -> Option<u8> {
        let other =
            |(ttl, router): (&u8, &IpAddr)| now.routers.get(ttl).is_some_and(|now| now != router).then_some(*ttl);
        let routers = self.routers.iter().find_map(other);
        let lengths = match (self.length, now.length) {
            (Some(old), Some(new)) if old != new => Some(old.min(new)),
            _ => None,
        };
        routers.into_iter().chain(lengths).min()
    }
}
