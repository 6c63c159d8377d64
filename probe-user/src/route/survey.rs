//! What the kernel says of each stretch of addresses that its tables treat alike, asked once for all targets there.

use super::{
    RouteError, Why,
    lookup::{Way, address_in, ask},
    netlink::{all, routes, to_io},
    own::OwnAddresses,
    segments::Segments,
    several,
};
use crate::base::{Address, Family, Source};
use futures_util::{StreamExt, TryStreamExt, stream};
use rtnetlink::{
    Handle, IpVersion,
    packet_route::{
        route::{RouteAttribute, RouteFlags, RouteMessage},
        rule::RuleAttribute,
    },
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Questions that the kernel is asked at once: a few keep both sides busy, and their answers fit any socket buffer.
const AT_ONCE: usize = 32;

/// Prefixes that the kernel treats in its own way whatever its tables say: this network, loopback, multicast, reserved,
/// limited broadcast.
const BUILT_IN_V4: [(Ipv4Addr, u8); 6] = [
    (Ipv4Addr::UNSPECIFIED, 32),
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::LOCALHOST, 8),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::BROADCAST, 32),
];

/// The same of IPv6, and what we treat in our own way: nobody, loopback, IPv4 addresses, those of a link, multicast.
const BUILT_IN_V6: [(Ipv6Addr, u8); 5] = [
    (Ipv6Addr::UNSPECIFIED, 128),
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// What is asked about all targets.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    /// Only ways through this interface count.
    pub(super) output: Option<u32>,
    pub(super) source: Source,
}

/// What the kernel says of each stretch of addresses.
pub(super) struct Survey {
    /// Each target's stretch.
    pub(super) of: Vec<u32>,
    /// Stretches with a target that lies there.
    pub(super) asked: Vec<(usize, IpAddr)>,
    /// By stretch. Behind those, the ways of targets whose route has several next hops.
    pub(super) ways: Vec<Way>,
    /// When the first of the routes that are kept for a time ends, see [`super::Found::expires`].
    pub(super) expires: Option<Instant>,
}

impl Survey {
    /// Asks about the families that there are targets of; of others nothing is read. Where a family has a source that was asked for
    /// and can't be sent from, it is not asked about: that says why.
    pub(super) async fn make(
        handle: &Handle,
        targets: impl IntoIterator<Item = IpAddr> + Clone,
        terms: &Terms,
    ) -> Result<Self, RouteError> {
        let Terms { output, source } = *terms;
        let mut tables = Tables::default();
        let mut own = OwnAddresses::default();
        for family in families(targets.clone()) {
            let source = source.of(family);
            // IPv4's choice of a source is taken as it is.
            let addresses = match (family, source) {
                (Family::V4, None) => OwnAddresses::default(),
                _ => OwnAddresses::list(handle, family).await?,
            };
            match source.and_then(|source| addresses.refusal(source)) {
                Some(why) => tables.refused.push((family, why)),
                None => tables.read(handle, family).await?,
            }
            if family == Family::V6 {
                own = addresses;
            }
        }
        let Located { mut of, asked } = tables.locate(targets.clone());
        let mut ways = vec![Way::Unasked; tables.len()];
        let questions = asked.clone().into_iter().map(|(segment, target)| {
            let source = source.of(Family::of(target));
            let refused = tables.refusal(Family::of(target));
            async move {
                Ok(match refused {
                    Some(why) => (segment, Way::No(why)),
                    None => (segment, ask(handle, target, output, source).await?),
                })
            }
        });
        let mut answers = stream::iter(questions).buffer_unordered(AT_ONCE);
        while let Some((segment, way)) = answers.try_next().await? {
            ways[segment] = way;
        }
        drop(answers);
        if !tables.several.is_empty() {
            let of_several = asked.iter().filter(|(_, target)| tables.several.contains(&Family::of(*target)));
            let several = several::segments(handle, of_several, &ways, source).await?;
            several::spread(&mut of, targets, &mut ways, &several, source).await?;
        }
        for way in &mut ways {
            if let Way::Through { source: chosen, .. } = way
                && source.of(Family::of(*chosen)).is_none()
            {
                *chosen = own.stable(*chosen);
            }
        }
        Ok(Self { of, asked, ways, expires: tables.expires })
    }
}

/// The families that there are targets of.
pub(super) fn families(targets: impl IntoIterator<Item = IpAddr> + Clone) -> impl Iterator<Item = Family> {
    let has = move |family: &Family| targets.clone().into_iter().any(|target| Family::of(target) == *family);
    Family::ALL.into_iter().filter(has)
}

/// Every edge in the routing tables and in the rules that choose between them. Stretches of IPv4 come first.
struct Tables {
    v4: Segments<Ipv4Addr>,
    v6: Segments<Ipv6Addr>,
    /// Families with a route that has several next hops.
    several: Vec<Family>,
    /// Families that nothing can be sent of, and why.
    refused: Vec<(Family, Why)>,
    expires: Option<Instant>,
}

impl Default for Tables {
    /// Of which nothing was read: one stretch a family.
    fn default() -> Self {
        Self { v4: Segments::cut([]), v6: Segments::cut([]), several: Vec::new(), refused: Vec::new(), expires: None }
    }
}

struct Located {
    of: Vec<u32>,
    asked: Vec<(usize, IpAddr)>,
}

impl Tables {
    async fn read(&mut self, handle: &Handle, family: Family) -> Result<(), RouteError> {
        let read = match family {
            Family::V4 => {
                let (segments, read) = read_segments(handle, (family, IpVersion::V4), &BUILT_IN_V4).await?;
                self.v4 = segments;
                read
            }
            Family::V6 => {
                let (segments, read) = read_segments(handle, (family, IpVersion::V6), &BUILT_IN_V6).await?;
                self.v6 = segments;
                read
            }
        };
        if read.are_several {
            self.several.push(family);
        }
        self.expires = earlier(self.expires, read.expires);
        Ok(())
    }

    fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    fn of(&self, address: IpAddr) -> usize {
        match address {
            IpAddr::V4(address) => self.v4.of(address),
            IpAddr::V6(address) => self.v4.len() + self.v6.of(address),
        }
    }

    /// Whether an address lies in a stretch of its family.
    fn contains(&self, segment: usize, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(segment, address),
            IpAddr::V6(address) => self.v6.contains(segment - self.v4.len(), address),
        }
    }

    fn refusal(&self, family: Family) -> Option<Why> {
        self.refused.iter().find(|(of, _)| *of == family).map(|(_, why)| why.clone())
    }

    /// Each target's stretch, and the stretches with the first target in each, in order of appearance.
    fn locate(&self, targets: impl IntoIterator<Item = IpAddr>) -> Located {
        let mut seen = vec![false; self.len()];
        let mut asked = Vec::new();
        // Of each family, where the last target was.
        let mut last = [0, self.v4.len()];
        let of = targets
            .into_iter()
            .map(|target| {
                let segment = &mut last[usize::from(target.is_ipv6())];
                if !self.contains(*segment, target) {
                    *segment = self.of(target);
                }
                if !std::mem::replace(&mut seen[*segment], true) {
                    asked.push((*segment, target));
                }
                u32::try_from(*segment).unwrap_or(u32::MAX)
            })
            .collect();
        Located { of, asked }
    }
}

/// What else the tables of a family say.
struct Read {
    are_several: bool,
    expires: Option<Instant>,
}

async fn read_segments<A: Address>(
    handle: &Handle,
    (family, version): (Family, IpVersion),
    built_in: &[(A, u8)],
) -> Result<(Segments<A>, Read), RouteError> {
    let doing = "reading the routing tables";
    let mut prefixes = built_in.to_vec();
    let mut read = Read { are_several: false, expires: None };
    let begun = Instant::now();
    let mut table = std::pin::pin!(routes(handle, family));
    while let Some(route) = table.try_next().await.map_err(|error| RouteError::netlink(doing, to_io(error)))? {
        read.are_several |= several::has(&route);
        read.expires = earlier(read.expires, expires_in(&route).map(|rest| begun + rest));
        for attribute in &route.attributes {
            if let RouteAttribute::Destination(address) = attribute
                && let Some(address) = address_in(address).and_then(A::of)
            {
                prefixes.push((address, route.header.destination_prefix_length.min(A::BITS)));
            }
        }
    }
    for rule in all("reading the routing rules", handle.rule().get(version).execute()).await? {
        for attribute in &rule.attributes {
            if let RuleAttribute::Destination(address) = attribute
                && let Some(address) = A::of(*address)
            {
                prefixes.push((address, rule.header.dst_len.min(A::BITS)));
            }
        }
    }
    Ok((Segments::cut(prefixes), read))
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// How long a route is kept yet, if it is kept for a time: as learnt by router advertisement, or so entered.
fn expires_in(route: &RouteMessage) -> Option<Duration> {
    /// USER_HZ, of every architecture that there is an XDP driver for.
    const TICK: Duration = Duration::from_millis(10);
    // What the kernel has learnt of the way to one address (its MTU) is told beside the routes.
    if route.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let ticks = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::CacheInfo(info) => Some(info.expires.cast_signed()),
        _ => None,
    });
    // Zero is for ever, and less is over: the kernel has not come to removing it, but takes it no more.
    let ticks = u32::try_from(ticks?).ok().filter(|ticks| *ticks > 0)?;
    Some(TICK * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::route::RouteCacheInfo;

    #[test]
    fn each_segment_is_asked_for_once() {
        let v4 = Segments::cut([(Ipv4Addr::new(10, 0, 0, 0), 8)]);
        let tables = Tables { v4, ..Tables::default() };
        let targets =
            [[10, 0, 0, 1], [10, 255, 255, 255], [9, 1, 1, 1], [11, 0, 0, 0], [10, 0, 0, 2]].map(IpAddr::from);
        let Located { of, asked } = tables.locate(targets);
        assert_eq!(of, [1, 1, 0, 2, 1]);
        assert_eq!(asked, [(1, targets[0]), (0, targets[2]), (2, targets[3])]);
    }

    #[test]
    fn families_mix_in_any_order() {
        let v4 = Segments::cut([(Ipv4Addr::new(10, 0, 0, 0), 8)]);
        let v6 = Segments::cut([(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32)]);
        let tables = Tables { v4, v6, ..Tables::default() };
        let [first, second] = [1, 2].map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]));
        let (other, v4) = (IpAddr::from([0x2001, 0xdb9, 0, 0, 0, 0, 0, 1]), IpAddr::from([10, 0, 0, 1]));
        let Located { of, asked } = tables.locate([first, v4, second, other, v4]);
        assert_eq!(of, [4, 1, 4, 5, 1]);
        assert_eq!(asked, [(4, first), (1, v4), (5, other)]);
        assert_eq!(families([v4, v4]).collect::<Vec<_>>(), [Family::V4]);
        assert_eq!(families([first, v4]).collect::<Vec<_>>(), Family::ALL);
        assert_eq!(families([]).count(), 0);
    }

    #[test]
    fn what_is_kept_for_a_time_says_how_long() {
        let route = |expires: i32, flags| {
            let mut route = RouteMessage::default();
            route.header.flags = flags;
            let mut bytes = [0; 32];
            bytes[8..12].copy_from_slice(&expires.to_ne_bytes());
            let info = RouteCacheInfo::parse(&bytes).expect("32 bytes");
            route.attributes = vec![RouteAttribute::Priority(1024), RouteAttribute::CacheInfo(info)];
            route
        };
        let none = RouteFlags::empty();
        assert_eq!(expires_in(&route(2_950, none)), Some(Duration::from_millis(29_500)));
        assert_eq!(expires_in(&route(0, none)), None);
        assert_eq!(expires_in(&route(-7, none)), None, "over already");
        assert_eq!(expires_in(&route(2_950, RouteFlags::Cloned)), None);
        assert_eq!(expires_in(&RouteMessage::default()), None);
    }

    #[test]
    fn a_million_targets_are_located_by_a_few_questions() {
        let v4 = Segments::cut((0..200_u32).map(|n| (Ipv4Addr::from_bits(n << 24 | 0x10_0000), 12)));
        let v6 = Segments::cut((0..200_u128).map(|n| (Ipv6Addr::from_bits(n << 120 | 0x10 << 112), 16)));
        let tables = Tables { v4, v6, ..Tables::default() };
        let targets = (0..1_000_000_u32).map(|n| {
            let n = n.wrapping_mul(2_654_435_761);
            if n % 2 == 0 {
                IpAddr::V4(Ipv4Addr::from_bits(n))
            } else {
                IpAddr::V6(Ipv6Addr::from_bits(u128::from(n) << 96))
            }
        });
        let Located { of, asked } = tables.locate(targets);
        assert_eq!(of.len(), 1_000_000);
        assert!(asked.len() > 400, "of {}", tables.len());
    }
}
