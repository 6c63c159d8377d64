//! Which way each target lies: asked of the kernel once for each stretch of addresses that its tables treat alike, and for each target
//! where the route there has several next hops.

use super::{
    Hop, Hops, Interface, NO_ROUTE, NO_SOURCE, RouteError, Why,
    lookup::{Way, ask},
    netlink::{all, routes, to_io},
    segments::Segments,
    several,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use rtnetlink::{
    Handle, IpVersion,
    packet_route::{
        AddressFamily,
        address::AddressAttribute,
        route::{RouteAddress, RouteAttribute},
        rule::RuleAttribute,
    },
};
use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// Questions that the kernel is asked at once: a few keep both sides busy, and their answers fit any socket buffer.
const AT_ONCE: usize = 32;

/// Prefixes that the kernel treats in its own way whatever its tables say: this network, loopback, multicast, reserved,
/// limited broadcast.
const BUILT_IN: [(u32, u8); 6] =
    [(0, 32), (0, 8), (0x7f00_0000, 8), (0xe000_0000, 4), (0xf000_0000, 4), (0xffff_ffff, 32)];

/// The way to each target, as the kernel says it at one moment.
#[derive(Debug)]
pub struct Found {
    /// Every next hop once.
    pub hops: Vec<Hop>,
    /// For each target, in the order in which they were given, its index in `hops`; or [`NO_ROUTE`], or [`NO_SOURCE`].
    pub of: Vec<u32>,
    /// What has no route, for a warning.
    pub unrouted: Option<Unrouted>,
}

/// The way to each target.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Through which all probes go.
    pub interface: Interface,
    /// Every next hop once.
    pub hops: Arc<Hops>,
    /// For each target, in the order in which they were given, its index in `hops`; or [`NO_ROUTE`], or [`NO_SOURCE`].
    pub of: Vec<u32>,
    /// What has no route, for a warning.
    pub unrouted: Option<Unrouted>,
}

/// Targets that can't be probed through the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrouted {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub example: Ipv4Addr,
    /// Why not that one.
    pub why: Why,
}

impl fmt::Display for Unrouted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(f, "1 target has no route: {}: {}", self.example, self.why),
            count => write!(f, "{count} targets have no route, such as {}: {}", self.example, self.why),
        }
    }
}

impl Routes {
    /// Asks the kernel for the way to every target.
    ///
    /// Without `interface` it is the one that the first routable target routes through; what routes elsewhere then has no
    /// route. With it, routes through other interfaces don't count. `source` replaces the source address that the kernel
    /// would choose, and takes part in its choice of a route (policy rules).
    ///
    /// Of a route with several next hops (ECMP) the kernel picks one by a hash whose seed is secret: it is asked for each target
    /// there, which takes some seconds for a million.
    ///
    /// # Errors
    /// The interface does not exist or can't carry probes, no target has a route, `source` is not of this host, or
    /// netlink failed. Single targets without a route are no error, see [`Routes::unrouted`].
    pub async fn discover<T>(
        handle: &Handle,
        targets: T,
        interface: Option<&str>,
        source: Option<Ipv4Addr>,
    ) -> Result<Self, RouteError>
    where
        T: IntoIterator<Item = Ipv4Addr> + Clone,
    {
        let chosen = match interface {
            Some(name) => {
                let interface = Interface::by_name(handle, name).await?;
                interface.check()?;
                Some(interface)
            }
            None => None,
        };
        if let Some(source) = source {
            check_source(handle, source).await?;
        }
        let output = chosen.as_ref().map(|interface| interface.index);
        let Survey { mut of, asked, mut ways } = survey(handle, targets.clone(), output, source).await?;
        let interface = match chosen {
            Some(interface) => interface,
            None => first_interface(handle, &asked, &ways, of.len()).await?,
        };
        refuse_elsewhere(handle, &mut ways, interface.index).await?;
        let (hops, unrouted) = assign(&mut of, targets, &ways);
        if let Some(Unrouted { count, example, why }) = &unrouted
            && *count == of.len()
        {
            return Err(no_route(*example, Some(interface.name), why.clone(), of.len()));
        }
        Ok(Self { interface, hops: Arc::new(hops.into_iter().collect()), of, unrouted })
    }
}

impl Found {
    /// Asks the kernel once more, while probes are under way: what [`Routes::discover`] refuses is no error then but has no route, or no
    /// source. `is_chosen`: the interface was named, and not found by its routes.
    ///
    /// # Errors
    /// Netlink failed.
    pub async fn ask<T>(
        handle: &Handle,
        targets: T,
        interface: u32,
        is_chosen: bool,
        source: Option<Ipv4Addr>,
    ) -> Result<Self, RouteError>
    where
        T: IntoIterator<Item = Ipv4Addr> + Clone,
    {
        if let Some(source) = source
            && !own_addresses(handle).await?.contains(&source)
        {
            let of: Vec<u32> = targets.clone().into_iter().map(|_| NO_SOURCE).collect();
            let why = Why::SourceGone(source);
            let unrouted = targets.into_iter().next().map(|example| Unrouted { count: of.len(), example, why });
            return Ok(Self { hops: Vec::new(), of, unrouted });
        }
        let Survey { mut of, mut ways, .. } =
            survey(handle, targets.clone(), is_chosen.then_some(interface), source).await?;
        refuse_elsewhere(handle, &mut ways, interface).await?;
        let (hops, unrouted) = assign(&mut of, targets, &ways);
        Ok(Self { hops, of, unrouted })
    }
}

/// What the kernel says of each stretch of addresses.
struct Survey {
    /// Each target's stretch.
    of: Vec<u32>,
    /// Stretches with a target that lies there.
    asked: Vec<(usize, Ipv4Addr)>,
    /// By stretch. Behind those, the ways of targets whose route has several next hops.
    ways: Vec<Way>,
}

async fn survey(
    handle: &Handle,
    targets: impl IntoIterator<Item = Ipv4Addr> + Clone,
    output: Option<u32>,
    source: Option<Ipv4Addr>,
) -> Result<Survey, RouteError> {
    let (segments, are_several) = read_segments(handle).await?;
    let (mut of, asked) = locate(&segments, targets.clone());
    let mut ways = vec![Way::Unasked; segments.len()];
    let questions = asked.clone().into_iter().map(|(segment, target)| {
        let answer = ask(handle, target, output, source);
        async move { Ok((segment, answer.await?)) }
    });
    let mut answers = stream::iter(questions).buffer_unordered(AT_ONCE);
    while let Some((segment, way)) = answers.try_next().await? {
        ways[segment] = way;
    }
    if are_several {
        let several = several::segments(handle, &asked, &ways, source).await?;
        several::spread(&mut of, targets, &mut ways, &several, source).await?;
    }
    Ok(Survey { of, asked, ways })
}

fn no_route(target: Ipv4Addr, interface: Option<String>, why: Why, targets: usize) -> RouteError {
    RouteError::NoRoute { target, interface, why, others: targets - 1 }
}

/// Every edge in the routing tables and in the rules that choose between them; and whether a route has several next hops.
async fn read_segments(handle: &Handle) -> Result<(Segments, bool), RouteError> {
    let doing = "reading the routing tables";
    let mut prefixes = BUILT_IN.to_vec();
    let mut are_several = false;
    let mut table = std::pin::pin!(routes(handle));
    while let Some(route) = table.try_next().await.map_err(|error| RouteError::netlink(doing, to_io(error)))? {
        are_several |= several::has(&route);
        for attribute in &route.attributes {
            if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
                prefixes.push((address.to_bits(), route.header.destination_prefix_length));
            }
        }
    }
    for rule in all("reading the routing rules", handle.rule().get(IpVersion::V4).execute()).await? {
        for attribute in &rule.attributes {
            if let RuleAttribute::Destination(IpAddr::V4(address)) = attribute {
                prefixes.push((address.to_bits(), rule.header.dst_len));
            }
        }
    }
    Ok((Segments::cut(prefixes), are_several))
}

/// Each target's segment, and the segments with the first target in each, in order of appearance.
fn locate(segments: &Segments, targets: impl IntoIterator<Item = Ipv4Addr>) -> (Vec<u32>, Vec<(usize, Ipv4Addr)>) {
    let mut seen = vec![false; segments.len()];
    let mut asked = Vec::new();
    let mut segment = 0;
    let of = targets
        .into_iter()
        .map(|target| {
            if !segments.contains(segment, target.to_bits()) {
                segment = segments.of(target.to_bits());
            }
            if !std::mem::replace(&mut seen[segment], true) {
                asked.push((segment, target));
            }
            u32::try_from(segment).unwrap_or(u32::MAX)
        })
        .collect();
    (of, asked)
}

/// The interface of the first target that has a route.
async fn first_interface(
    handle: &Handle,
    asked: &[(usize, Ipv4Addr)],
    ways: &[Way],
    targets: usize,
) -> Result<Interface, RouteError> {
    let found = asked.iter().find_map(|&(segment, _)| match ways[segment] {
        Way::Through { interface, .. } => Some(interface),
        _ => None,
    });
    let Some(index) = found else {
        return Err(match asked.first().map(|&(segment, target)| (&ways[segment], target)) {
            Some((Way::No(why), target)) => no_route(target, None, why.clone(), targets),
            _ => RouteError::NoTargets,
        });
    };
    let interface = Interface::by_index(handle, index)
        .await?
        .ok_or_else(|| RouteError::netlink(format!("asking for interface {index}"), io::ErrorKind::NotFound))?;
    interface.check()?;
    Ok(interface)
}

/// What routes through another interface has no route.
async fn refuse_elsewhere(handle: &Handle, ways: &mut [Way], ours: u32) -> Result<(), RouteError> {
    let is_elsewhere = |way: &Way| matches!(way, Way::Through { interface, .. } if *interface != ours);
    if !ways.iter().any(is_elsewhere) {
        return Ok(());
    }
    let names: HashMap<u32, String> =
        Interface::all(handle).await?.into_iter().map(|interface| (interface.index, interface.name)).collect();
    for way in ways {
        if let Way::Through { interface, .. } = *way
            && interface != ours
        {
            let name = names.get(&interface).cloned().unwrap_or_else(|| format!("interface {interface}"));
            *way = Way::No(Why::Elsewhere(name));
        }
    }
    Ok(())
}

/// Turns each target's segment into its hop.
fn assign(of: &mut [u32], targets: impl IntoIterator<Item = Ipv4Addr>, ways: &[Way]) -> (Vec<Hop>, Option<Unrouted>) {
    let mut hops = Vec::new();
    let mut known = HashMap::new();
    // A gateway's hop serves its whole segment: most targets need no look-up.
    let mut of_segment = vec![None; ways.len()];
    let mut unrouted: Option<Unrouted> = None;
    for (place, target) in of.iter_mut().zip(targets) {
        let segment = *place as usize;
        *place = match &ways[segment] {
            Way::Through { gateway, source, .. } => {
                let mut hop = |address, on_link| {
                    *known.entry((address, *source, on_link)).or_insert_with(|| {
                        hops.push(Hop::new(address, *source, on_link));
                        u32::try_from(hops.len() - 1).unwrap_or(NO_ROUTE)
                    })
                };
                match gateway {
                    Some(gateway) => *of_segment[segment].get_or_insert_with(|| hop(*gateway, false)),
                    None => hop(target, true),
                }
            }
            Way::No(_) | Way::Unasked => {
                let why = match &ways[segment] {
                    Way::No(why) => why,
                    _ => &Why::NoRoute,
                };
                unrouted.get_or_insert_with(|| Unrouted { count: 0, example: target, why: why.clone() }).count += 1;
                if *why == Why::NoSource { NO_SOURCE } else { NO_ROUTE }
            }
        };
    }
    (hops, unrouted)
}

/// Refuses a source address that isn't of this host.
async fn check_source(handle: &Handle, source: Ipv4Addr) -> Result<(), RouteError> {
    let known = own_addresses(handle).await?;
    if known.contains(&source) {
        return Ok(());
    }
    Err(RouteError::NotOurs { source_address: source, known })
}

/// All IPv4 addresses of this host.
async fn own_addresses(handle: &Handle) -> Result<Vec<Ipv4Addr>, RouteError> {
    let mut request = handle.address().get();
    request.message_mut().header.family = AddressFamily::Inet;
    let known = all("listing this host's addresses", request.execute())
        .await?
        .iter()
        .filter_map(|message| {
            // IFA_LOCAL is ours; on a point-to-point link IFA_ADDRESS is the other end's.
            let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
            let address = find(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            })
            .or_else(|| {
                find(|attribute| match attribute {
                    AddressAttribute::Address(address) => Some(*address),
                    _ => None,
                })
            })?;
            match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            }
        })
        .collect();
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(gateway: Option<Ipv4Addr>, source: u8) -> Way {
        Way::Through { interface: 2, gateway, source: Ipv4Addr::new(192, 0, 2, source) }
    }

    #[test]
    fn gateways_are_shared_and_on_link_targets_are_their_own() {
        let gateway = Ipv4Addr::new(192, 0, 2, 254);
        let near = Ipv4Addr::new(192, 0, 2, 7);
        let far = Ipv4Addr::new(198, 51, 100, 1);
        let local = Ipv4Addr::LOCALHOST;
        let ways = [
            Way::No(Why::Local),
            through(None, 1),
            through(Some(gateway), 1),
            through(Some(gateway), 1),
            through(Some(gateway), 2),
        ];
        let targets = [near, far, local, near, gateway, far, far, local];
        let mut of = [1, 2, 0, 1, 1, 3, 4, 0];
        let (hops, unrouted) = assign(&mut of, targets, &ways);
        assert_eq!(of, [0, 1, NO_ROUTE, 0, 2, 1, 3, NO_ROUTE]);
        let seen: Vec<_> = hops.iter().map(|hop| (hop.address, hop.source.octets()[3], hop.on_link)).collect();
        assert_eq!(seen, [(near, 1, true), (gateway, 1, false), (gateway, 1, true), (gateway, 2, false)]);
        assert_eq!(unrouted, Some(Unrouted { count: 2, example: local, why: Why::Local }));
    }

    #[test]
    fn each_segment_is_asked_for_once() {
        let segments = Segments::cut([(0x0a00_0000, 8)]);
        let targets =
            [[10, 0, 0, 1], [10, 255, 255, 255], [9, 1, 1, 1], [11, 0, 0, 0], [10, 0, 0, 2]].map(Ipv4Addr::from);
        let (of, asked) = locate(&segments, targets);
        assert_eq!(of, [1, 1, 0, 2, 1]);
        assert_eq!(asked, [(1, targets[0]), (0, targets[2]), (2, targets[3])]);
    }

    #[test]
    fn a_million_targets_take_well_under_a_second() {
        let segments = Segments::cut((0..200_u32).map(|n| (n << 24 | 0x10_0000, 12)));
        let targets = (0..1_000_000_u32).map(|n| Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761)));
        let ways = vec![through(Some(Ipv4Addr::LOCALHOST), 1); segments.len()];
        let start = std::time::Instant::now();
        let (mut of, _) = locate(&segments, targets.clone());
        let (hops, unrouted) = assign(&mut of, targets, &ways);
        assert_eq!((hops.len(), unrouted), (1, None));
        assert!(start.elapsed().as_millis() < 900, "{:?}", start.elapsed());
    }
}
