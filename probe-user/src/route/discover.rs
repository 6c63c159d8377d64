//! Which way each target lies: asked of the kernel once for each stretch of addresses that its tables treat alike, and for each target
//! where the route there has several next hops.

use super::{
    Hop, Hops, Interface, NO_ROUTE, NO_SOURCE, RouteError, Why,
    lookup::Way,
    own::OwnAddresses,
    survey::{Survey, Terms, families},
};
use crate::base::{Family, Sources};
use rtnetlink::Handle;
use std::{collections::HashMap, fmt, io, net::IpAddr, sync::Arc, time::Instant};

/// The way to each target, as the kernel says it at one moment.
#[derive(Debug)]
pub struct Found {
    /// Every next hop once.
    pub hops: Vec<Hop>,
    /// For each target, in the order in which they were given, the index in `hops` of its hop, or of the first where probes leave from
    /// several sources in turn; or [`NO_ROUTE`], or [`NO_SOURCE`].
    pub of: Vec<u32>,
    /// What has no route, from one of its sources at least, for a warning.
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
    /// For each target, in the order in which they were given, the index in `hops` of its hop, or of the first where probes leave from
    /// several sources in turn; or [`NO_ROUTE`], or [`NO_SOURCE`].
    pub of: Vec<u32>,
    /// What has no route, from one of its sources at least, for a warning.
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
    /// that are for some sources only): the kernel is asked once for each that takes a turn.
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
        sources: &Sources,
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
        let output = chosen.as_ref().map(|interface| interface.index);
        let mut turns = Turns::ask(handle, targets.clone(), output, sources).await?;
        let interface = match chosen {
            Some(interface) => interface,
            None => turns.first_interface(handle).await?,
        };
        turns.refuse_elsewhere(handle, interface.index).await?;
        let Found { hops, of, unrouted, expires } = turns.assign(targets);
        if hops.is_empty()
            && let Some(Unrouted { example, why, .. }) = &unrouted
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
        sources: &Sources,
    ) -> Result<Self, RouteError>
    where
        T: IntoIterator<Item: Into<IpAddr>, IntoIter: Clone>,
    {
        let targets = targets.into_iter().map(Into::into);
        let mut turns = Turns::ask(handle, targets.clone(), is_chosen.then_some(interface), sources).await?;
        turns.refuse_elsewhere(handle, interface).await?;
        Ok(turns.assign(targets))
    }
}

fn no_route(target: IpAddr, interface: Option<String>, why: Why, targets: usize) -> RouteError {
    RouteError::NoRoute { target, interface, why, others: targets - 1 }
}

/// What the kernel says of all targets, from each of the sources in turn.
struct Turns {
    /// Of those that take that turn: where a family has fewer sources than the other, its targets have no part in the last ones.
    surveys: Vec<Survey>,
    /// How many sources each family's targets take in turn.
    many: [u8; 2],
}

/// Segments of a target's turns; of a turn that it has none of, none.
type Segments = [Option<u32>; Sources::MOST];

impl Turns {
    async fn ask<T>(handle: &Handle, targets: T, output: Option<u32>, sources: &Sources) -> Result<Self, RouteError>
    where
        T: IntoIterator<Item = IpAddr, IntoIter: Clone> + Clone,
    {
        let many = Family::ALL.map(|family| sources.turns(family));
        let mut surveys = Vec::new();
        for turn in 0..many[0].max(many[1]) {
            let takes_it = |target: &IpAddr| turn < many[Family::of(*target) as usize];
            let targets = targets.clone().into_iter().filter(takes_it);
            let terms = Terms { output, source: sources.of_turn(turn) };
            surveys.push(Survey::make(handle, targets, &terms).await?);
        }
        Ok(Self { surveys, many })
    }

    /// The interface of the first target that has a route.
    async fn first_interface(&self, handle: &Handle) -> Result<Interface, RouteError> {
        let first = &self.surveys[0];
        let asked = || {
            self.surveys
                .iter()
                .flat_map(|survey| survey.asked.iter().map(|(segment, target)| (&survey.ways[*segment], *target)))
        };
        let found = asked().find_map(|(way, _)| match way {
            Way::Through { interface, .. } => Some(*interface),
            _ => None,
        });
        let Some(index) = found else {
            return Err(match asked().next() {
                Some((Way::No(why), target)) => no_route(target, None, why.clone(), first.of.len()),
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
    async fn refuse_elsewhere(&mut self, handle: &Handle, ours: u32) -> Result<(), RouteError> {
        let is_elsewhere = |way: &Way| matches!(way, Way::Through { interface, .. } if *interface != ours);
        if !self.surveys.iter().any(|survey| survey.ways.iter().any(is_elsewhere)) {
            return Ok(());
        }
        let names: HashMap<u32, String> =
            Interface::all(handle).await?.into_iter().map(|interface| (interface.index, interface.name)).collect();
        for way in self.surveys.iter_mut().flat_map(|survey| &mut survey.ways) {
            if let Way::Through { interface, .. } = *way
                && interface != ours
            {
                let name = names.get(&interface).cloned().unwrap_or_else(|| format!("interface {interface}"));
                *way = Way::No(Why::Elsewhere(name));
            }
        }
        Ok(())
    }

    /// Gives each target its hops.
    fn assign(self, targets: impl IntoIterator<Item = IpAddr>) -> Found {
        let expires = self.surveys.iter().filter_map(|survey| survey.expires).min();
        let mut places: Vec<_> = self.surveys.iter().map(|survey| survey.of.iter()).collect();
        let mut hops = Assigned::default();
        let of = targets.into_iter().map(|target| {
            let turns = usize::from(self.many[Family::of(target) as usize]);
            let mut segments = Segments::default();
            for (segment, places) in segments.iter_mut().zip(&mut places[..turns]) {
                *segment = places.next().copied();
            }
            hops.place(target, &segments, &self.surveys)
        });
        let of = of.collect();
        Found { hops: hops.hops, of, unrouted: hops.unrouted, expires }
    }
}

/// Next hops, each once, of the targets that have been given theirs.
#[derive(Default)]
struct Assigned {
    hops: Vec<Hop>,
    known: HashMap<(IpAddr, IpAddr, bool, u32), u32>,
    /// Gateways serve whole segments: most targets need no look-up of each hop.
    of_segments: HashMap<Segments, u32>,
    last: Option<(Segments, u32)>,
    unrouted: Option<Unrouted>,
}

impl Assigned {
    /// Where the first of a target's hops is, or why there is none.
    fn place(&mut self, target: IpAddr, segments: &Segments, surveys: &[Survey]) -> u32 {
        if let Some((last, place)) = &self.last
            && last == segments
        {
            return *place;
        }
        if let Some(place) = self.of_segments.get(segments) {
            self.last = Some((*segments, *place));
            return *place;
        }
        let ways = || {
            segments
                .iter()
                .zip(surveys)
                .zip(0..)
                .filter_map(|((segment, survey), turn)| Some((turn, &survey.ways[(*segment)? as usize])))
        };
        let missing = ways().find_map(|(_, way)| match way {
            Way::Through { .. } => None,
            Way::No(why) => Some(why),
            Way::Unasked => Some(&Why::NoRoute),
        });
        if let Some(why) = missing {
            self.unrouted.get_or_insert_with(|| Unrouted { count: 0, example: target, why: why.clone() }).count += 1;
        }
        let mut place = if missing.is_some_and(Why::is_of_source) { NO_SOURCE } else { NO_ROUTE };
        let mut is_of_segment = missing.is_none();
        for (turn, way) in ways().collect::<Vec<_>>().into_iter().rev() {
            let Way::Through { gateway, source, .. } = way else { continue };
            is_of_segment &= gateway.is_some();
            let hop = Hop::new(gateway.unwrap_or(target), *source, gateway.is_none()).in_turn(turn, place);
            place = *self.known.entry(hop.identity()).or_insert_with(|| {
                self.hops.push(hop);
                u32::try_from(self.hops.len() - 1).unwrap_or(NO_ROUTE)
            });
        }
        if is_of_segment {
            self.of_segments.insert(*segments, place);
            self.last = Some((*segments, place));
        }
        place
    }
}

/// Refuses a source address that isn't of this host, or can't be used yet. That of a family without targets is nobody's business.
async fn check_sources(
    handle: &Handle,
    targets: impl IntoIterator<Item = IpAddr> + Clone,
    sources: &Sources,
) -> Result<(), RouteError> {
    if *sources == Sources::default() {
        return Ok(());
    }
    for family in families(targets) {
        let own = OwnAddresses::list(handle, family).await?;
        for source_address in sources.addresses(family) {
            match own.refusal(source_address) {
                None => {}
                Some(Why::SourceUnusable(_, why)) => return Err(RouteError::SourceUnusable { source_address, why }),
                Some(_) => return Err(RouteError::NotOurs { source_address, known: own.addresses() }),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn through(gateway: Option<IpAddr>, source: u8) -> Way {
        Way::Through { interface: 2, gateway, source: IpAddr::from([192, 0, 2, source]) }
    }

    /// A survey without the kernel.
    fn survey(of: impl IntoIterator<Item = u32>, ways: Vec<Way>) -> Survey {
        Survey { of: of.into_iter().collect(), asked: Vec::new(), ways, expires: None }
    }

    fn address(host: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, host])
    }

    #[test]
    fn gateways_are_shared_and_on_link_targets_are_their_own() {
        let gateway = address(254);
        let near = address(7);
        let far = IpAddr::from([198, 51, 100, 1]);
        let local = IpAddr::from([127, 0, 0, 1]);
        let ways = vec![
            Way::No(Why::Local),
            through(None, 1),
            through(Some(gateway), 1),
            through(Some(gateway), 1),
            through(Some(gateway), 2),
        ];
        let targets = [near, far, local, near, gateway, far, far, local];
        let turns = Turns { surveys: vec![survey([1, 2, 0, 1, 1, 3, 4, 0], ways)], many: [1, 1] };
        let Found { hops, of, unrouted, .. } = turns.assign(targets);
        assert_eq!(of, [0, 1, NO_ROUTE, 0, 2, 1, 3, NO_ROUTE]);
        let seen: Vec<_> = hops.iter().map(|hop| (hop.address, hop.source, hop.on_link)).collect();
        let [one, two] = [1, 2].map(address);
        assert_eq!(seen, [(near, one, true), (gateway, one, false), (gateway, one, true), (gateway, two, false)]);
        assert_eq!(unrouted, Some(Unrouted { count: 2, example: local, why: Why::Local }));
    }

    #[test]
    fn sources_in_turn_have_ways_of_their_own() {
        let [one, other] = [254, 253].map(address);
        let [near, far, v6] = ["192.0.2.7", "198.51.100.1", "2001:db8::7"].map(|text| text.parse().unwrap());
        let unknown = || Way::No(Why::SourceGone(address(3)));
        // Three turns; in the last one IPv4's source has gone, and IPv6 has one alone.
        let to_v6 = Way::Through { interface: 2, gateway: None, source: "2001:db8::1".parse().unwrap() };
        let surveys = vec![
            survey([0, 1, 2, 1], vec![through(None, 1), through(Some(one), 1), to_v6]),
            survey([0, 1, 1], vec![through(None, 2), through(Some(other), 2)]),
            survey([0, 1, 1], vec![unknown(), unknown()]),
        ];
        let Found { hops, of, unrouted, .. } = Turns { surveys, many: [3, 1] }.assign([near, far, v6, far]);
        assert_eq!(unrouted.map(|unrouted| (unrouted.count, unrouted.example)), Some((3, near)));
        let hops: Hops = hops.into_iter().collect();
        let ways = |target: usize| -> Vec<_> {
            let way = |turn| {
                hops.in_turn(of[target], turn).map(|place| (hops[place as usize].address, hops[place as usize].source))
            };
            (0..3).map(way).collect()
        };
        assert_eq!(ways(0), [Ok((near, address(1))), Ok((near, address(2))), Err(NO_SOURCE)]);
        assert_eq!(ways(1), [Ok((one, address(1))), Ok((other, address(2))), Err(NO_SOURCE)]);
        assert_eq!(ways(2), [Ok((v6, "2001:db8::1".parse().unwrap())), Err(NO_ROUTE), Err(NO_ROUTE)]);
        assert_eq!(of[3], of[1], "shared");
        assert_eq!(hops.turns(of[1]).map(|(_, hop)| hop.address).collect::<Vec<_>>(), [one, other]);
        assert_eq!(hops.len(), 5);
    }
}
