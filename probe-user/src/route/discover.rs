//! Which way each target lies: asked of the kernel once for each stretch of addresses that its tables treat alike, and for each target
//! where the route there has several next hops.

use super::{
    Hop, Hops, Interface, NO_ROUTE, NO_SOURCE, RouteError, Why,
    lookup::Way,
    own::OwnAddresses,
    survey::{Survey, Terms, families},
};
use crate::base::Sources;
use rtnetlink::Handle;
use std::{collections::HashMap, fmt, io, net::IpAddr, sync::Arc, time::Instant};

/// The way to each target, as the kernel says it at one moment.
#[derive(Debug)]
pub struct Found {
    /// Every next hop once.
    pub hops: Vec<Hop>,
    /// For each target, in the order in which they were given, its index in `hops`; or [`NO_ROUTE`], or [`NO_SOURCE`].
    pub of: Vec<u32>,
    /// What has no route, for a warning.
    pub unrouted: Option<Unrouted>,
    /// When the first of the IPv6 routes that are kept for a time ends, such as those learnt by router advertisement; None if there is
    /// none, or no IPv6 target. The kernel takes it no more from that moment on, but removes it up to half a minute later, and tells
    /// that only then: whoever wants to know earlier asks again at that moment. Advertisements put it off, and nobody tells that either.
    pub expires: Option<Instant>,
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
    /// See [`Found::expires`].
    pub expires: Option<Instant>,
}

/// Targets that can't be probed through the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrouted {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub example: IpAddr,
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
    /// Asks the kernel for the way to every target. They may be of both families, in any order; of a family without targets nothing is
    /// read.
    ///
    /// Without `interface` it is the one that the first routable target routes through; what routes elsewhere then has no
    /// route. With it, routes through other interfaces don't count, and only then are link-local IPv6 addresses of any use. `sources`
    /// replace the source addresses that the kernel would choose, and take part in its choice of a route (policy rules, and IPv6 routes
    /// that are for some sources only).
    ///
    /// Of a route with several next hops (ECMP) the kernel picks one by a hash whose seed is secret: it is asked for each target
    /// there, which takes some seconds for a million.
    ///
    /// # Errors
    /// The interface does not exist or can't carry probes, no target has a route, a source is not of this host or not yet to be used,
    /// or netlink failed. Single targets without a route are no error, see [`Routes::unrouted`].
    pub async fn discover<T>(
        handle: &Handle,
        targets: T,
        interface: Option<&str>,
        sources: Sources,
    ) -> Result<Self, RouteError>
    where
        T: IntoIterator<Item: Into<IpAddr>, IntoIter: Clone>,
    {
        let targets = targets.into_iter().map(Into::into);
        let chosen = match interface {
            Some(name) => {
                let interface = Interface::by_name(handle, name).await?;
                interface.check()?;
                Some(interface)
            }
            None => None,
        };
        check_sources(handle, targets.clone(), sources).await?;
        let terms = Terms { output: chosen.as_ref().map(|interface| interface.index), sources };
        let Survey { mut of, asked, mut ways, expires } = Survey::make(handle, targets.clone(), &terms).await?;
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
        Ok(Self { interface, hops: Arc::new(hops.into_iter().collect()), of, unrouted, expires })
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
        sources: Sources,
    ) -> Result<Self, RouteError>
    where
        T: IntoIterator<Item: Into<IpAddr>, IntoIter: Clone>,
    {
        let targets = targets.into_iter().map(Into::into);
        let terms = Terms { output: is_chosen.then_some(interface), sources };
        let Survey { mut of, mut ways, expires, .. } = Survey::make(handle, targets.clone(), &terms).await?;
        refuse_elsewhere(handle, &mut ways, interface).await?;
        let (hops, unrouted) = assign(&mut of, targets, &ways);
        Ok(Self { hops, of, unrouted, expires })
    }
}

fn no_route(target: IpAddr, interface: Option<String>, why: Why, targets: usize) -> RouteError {
    RouteError::NoRoute { target, interface, why, others: targets - 1 }
}

/// The interface of the first target that has a route.
async fn first_interface(
    handle: &Handle,
    asked: &[(usize, IpAddr)],
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
fn assign(of: &mut [u32], targets: impl IntoIterator<Item = IpAddr>, ways: &[Way]) -> (Vec<Hop>, Option<Unrouted>) {
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
                if why.is_of_source() { NO_SOURCE } else { NO_ROUTE }
            }
        };
    }
    (hops, unrouted)
}

/// Refuses a source address that isn't of this host, or can't be used yet. That of a family without targets is nobody's business.
async fn check_sources(
    handle: &Handle,
    targets: impl IntoIterator<Item = IpAddr> + Clone,
    sources: Sources,
) -> Result<(), RouteError> {
    if sources == Sources::default() {
        return Ok(());
    }
    for family in families(targets) {
        let Some(source_address) = sources.of(family) else { continue };
        let own = OwnAddresses::list(handle, family).await?;
        match own.refusal(source_address) {
            None => {}
            Some(Why::SourceUnusable(_, why)) => return Err(RouteError::SourceUnusable { source_address, why }),
            Some(_) => return Err(RouteError::NotOurs { source_address, known: own.addresses() }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(gateway: Option<IpAddr>, source: u8) -> Way {
        Way::Through { interface: 2, gateway, source: IpAddr::from([192, 0, 2, source]) }
    }

    #[test]
    fn gateways_are_shared_and_on_link_targets_are_their_own() {
        let gateway = IpAddr::from([192, 0, 2, 254]);
        let near = IpAddr::from([192, 0, 2, 7]);
        let far = IpAddr::from([198, 51, 100, 1]);
        let local = IpAddr::from([127, 0, 0, 1]);
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
        let seen: Vec<_> = hops.iter().map(|hop| (hop.address, hop.source, hop.on_link)).collect();
        let [one, two] = [1, 2].map(|source| IpAddr::from([192, 0, 2, source]));
        assert_eq!(seen, [(near, one, true), (gateway, one, false), (gateway, one, true), (gateway, two, false)]);
        assert_eq!(unrouted, Some(Unrouted { count: 2, example: local, why: Why::Local }));
    }
}
