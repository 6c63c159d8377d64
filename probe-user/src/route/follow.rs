//! Hears of changes in what decides the ways of packets: routes, addresses, rules, nexthop objects, links; and of IPv6 neighbours, for
//! a gateway that fails is left by IPv6 without another word.
//!
//! IPv4 tells nothing of the routes that go when a link or an address goes, and a socket whose buffer is full loses messages: so what is
//! heard is only that something changed, and where. What is the case then, the kernel is asked.

use super::{RouteError, connect, netlink::all};
use crate::base::{Address, Family};
use rtnetlink::{
    MulticastGroup,
    packet_route::link::{LinkAttribute, LinkMessage},
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

/// Bytes for notifications that we have not read yet. The kernel may grant less.
const NOTIFICATIONS: usize = 1 << 20;

const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Neigh,
    MulticastGroup::Nexthop,
];

/// `linux/rtnetlink.h`.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTA_DST: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_FLAGS: u16 = 8;
const NDA_DST: u16 = 1;
/// `linux/neighbour.h`.
const NUD_FAILED: u16 = 0x20;
/// Of NUD_VALID those that a neighbour that is asked may be in: reachable, stale, delay, probe.
const NUD_ANSWERS: u16 = 0x02 | 0x04 | 0x08 | 0x10;
const IFLA_ADDRESS: u16 = 1;
/// `linux/if.h`: IFF_UP, IFF_RUNNING, IFF_LOWER_UP.
const CARRIES: u32 = 1 | 1 << 6 | 1 << 16;
/// `linux/socket.h`.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `struct nlmsghdr`, `struct rtmsg`, `struct ifinfomsg`, `struct ifaddrmsg`, `struct ndmsg`.
const HEADER: usize = 16;
const ROUTE: usize = 12;
const LINK: usize = 16;
const ADDRESS: usize = 8;
const NEIGHBOUR: usize = 12;

/// Where something has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Only in the ways to these addresses, which are of one family.
    To(RangeInclusive<IpAddr>),
    /// Whether an IPv6 neighbour answers. Most of them are nobody's gateway, and most of this is no news: see
    /// [`super::FailedGateways`].
    Neighbour {
        /// On which interface.
        interface: u32,
        /// Its address.
        address: Ipv6Addr,
        /// It was asked in vain; else it has answered.
        failed: bool,
    },
    /// Anywhere.
    Anywhere,
}

impl Changed {
    /// Anywhere in a family.
    fn of(family: Family) -> Self {
        Self::To(match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into()..=Ipv4Addr::BROADCAST.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into()..=Ipv6Addr::from_bits(u128::MAX).into(),
        })
    }
}

/// What of a link decides the ways of packets.
type Link = (u32, Vec<u8>);
/// An IPv6 address, and on which interface.
type OnLink = (u32, Vec<u8>);

/// A subscription.
pub struct Follower {
    socket: TokioSocket,
    /// As last heard.
    links: HashMap<u32, Link>,
    /// IPv6 addresses that were told of since we listen, with their flags.
    addresses: HashMap<OnLink, u32>,
}

impl Follower {
    /// Begins to listen, in the network namespace of this thread. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// Netlink failed.
    pub async fn open() -> Result<Self, RouteError> {
        let opening = |error| RouteError::netlink("subscribing to changes of routes and addresses", error);
        let mut socket = TokioSocket::new(NETLINK_ROUTE).map_err(opening)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0)).map_err(opening)?;
        for group in GROUPS {
            socket.socket_mut().add_membership(group as u32).map_err(opening)?;
        }
        // An overrun is no error, only work.
        if let Err(error) = socket.socket_ref().set_rx_buf_sz(NOTIFICATIONS) {
            tracing::debug!(%error, "netlink receive buffer stays small");
        }
        // What links are now is no news later. Subscribed first, read second.
        let links = all("listing the interfaces", connect()?.link().get().execute()).await?;
        Ok(Self { socket, links: links.iter().map(known).collect(), addresses: HashMap::new() })
    }

    /// Waits for word, and says where something has changed. Nothing where what changed decides nothing. Nothing is lost if this is
    /// dropped while it waits.
    ///
    /// # Errors
    /// Netlink failed.
    pub async fn heard(&mut self) -> Result<Vec<Changed>, RouteError> {
        match self.socket.recv_from_full().await {
            Ok((bytes, _)) => Ok(self.read(&bytes)),
            // Some were lost.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(vec![Changed::Anywhere]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(RouteError::netlink("following routes and addresses", error)),
        }
    }

    /// One datagram, of one message or several.
    fn read(&mut self, mut bytes: &[u8]) -> Vec<Changed> {
        let mut changed = Vec::new();
        while let (Some(length), Some(kind)) = (number(bytes, 0), half(bytes, 4)) {
            let length = length as usize;
            let Some(body) = bytes.get(HEADER..length) else { break };
            match kind {
                RTM_NEWROUTE | RTM_DELROUTE => changed.push(route(body)),
                RTM_NEWLINK | RTM_DELLINK => changed.extend(self.link(kind, body)),
                RTM_NEWADDR | RTM_DELADDR => changed.extend(self.address(kind, body)),
                RTM_NEWRULE | RTM_DELRULE => changed.push(of_family(body)),
                RTM_NEWNEIGH => changed.extend(neighbour(body)),
                // An entry that goes says nothing of the neighbour.
                RTM_DELNEIGH | RTM_GETNEIGH => {}
                _ => changed.push(Changed::Anywhere),
            }
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        changed
    }

    /// Links tell much that decides nothing: their name, their counters.
    fn link(&mut self, kind: u16, body: &[u8]) -> Option<Changed> {
        let (family, index, flags) = (*body.first()?, number(body, 4)?, number(body, 8)?);
        // A bridge speaks of its ports in the same words.
        if family != 0 {
            return None;
        }
        if kind == RTM_DELLINK {
            self.links.remove(&index);
            return Some(Changed::Anywhere);
        }
        let address = attribute(body.get(LINK..)?, IFLA_ADDRESS).unwrap_or_default().to_vec();
        let link = (flags & CARRIES, address);
        if self.links.get(&index) == Some(&link) {
            return None;
        }
        self.links.insert(index, link);
        Some(Changed::Anywhere)
    }

    /// Each router advertisement tells every IPv6 address anew that it keeps alive. What decides something is whether it is there, and
    /// its flags: whether it may be used yet, or is to be used no more.
    fn address(&mut self, kind: u16, body: &[u8]) -> Option<Changed> {
        let changed = of_family(body);
        let attributes = body.get(ADDRESS..).unwrap_or_default();
        let (Some(&AF_INET6), Some(address), Some(index)) =
            (body.first(), attribute(attributes, IFA_ADDRESS), number(body, 4))
        else {
            return Some(changed);
        };
        let key = (index, address.to_vec());
        if kind == RTM_DELADDR {
            self.addresses.remove(&key);
            return Some(changed);
        }
        let flags = attribute(attributes, IFA_FLAGS).and_then(|flags| number(flags, 0));
        let flags = flags.or_else(|| body.get(2).copied().map(u32::from))?;
        (self.addresses.insert(key, flags) != Some(flags)).then_some(changed)
    }
}

/// Anywhere in the family that a message begins with.
fn of_family(body: &[u8]) -> Changed {
    match body.first() {
        Some(&AF_INET) => Changed::of(Family::V4),
        Some(&AF_INET6) => Changed::of(Family::V6),
        _ => Changed::Anywhere,
    }
}

/// A link as it was listed.
fn known(link: &LinkMessage) -> (u32, Link) {
    let address = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => Some(address.clone()),
        _ => None,
    });
    (link.header.index, (link.header.flags.bits() & CARRIES, address.unwrap_or_default()))
}

/// Which addresses a route is for.
fn route(body: &[u8]) -> Changed {
    let to = match body.first() {
        Some(&AF_INET) => prefix::<Ipv4Addr, 4>(body).map(|(first, last)| first.into()..=last.into()),
        Some(&AF_INET6) => prefix::<Ipv6Addr, 16>(body).map(|(first, last)| first.into()..=last.into()),
        _ => None,
    };
    to.map_or(Changed::Anywhere, Changed::To)
}

/// Whether an IPv6 neighbour answers, if that is known.
fn neighbour(body: &[u8]) -> Option<Changed> {
    let (&AF_INET6, interface, state) = (body.first()?, number(body, 4)?, half(body, 8)?) else { return None };
    if state & (NUD_FAILED | NUD_ANSWERS) == 0 {
        return None;
    }
    let address: [u8; 16] = attribute(body.get(NEIGHBOUR..)?, NDA_DST)?.try_into().ok()?;
    Some(Changed::Neighbour { interface, address: address.into(), failed: state & NUD_FAILED != 0 })
}

/// The first and the last address of a route.
fn prefix<A: Address + From<[u8; N]>, const N: usize>(body: &[u8]) -> Option<(A, A)> {
    let length = *body.get(1).filter(|length| **length <= A::BITS)?;
    let network = match attribute(body.get(ROUTE..).unwrap_or_default(), RTA_DST) {
        Some(bytes) => A::from(bytes.try_into().ok()?),
        None => A::FIRST,
    };
    Some(network.span(length))
}

/// The value of an attribute (`struct rtattr`: length and kind, 2 bytes each).
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let (Some(length), Some(kind)) = (half(bytes, 0), half(bytes, 2)) {
        let length = usize::from(length);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use proptest::prelude::*;
    use rtnetlink::{
        packet_core::NetlinkMessage,
        packet_route::{
            AddressFamily, RouteNetlinkMessage,
            address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo},
            link::LinkFlags,
            neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
            route::{RouteAddress, RouteAttribute, RouteMessage},
            rule::RuleMessage,
        },
    };

    /// As the kernel would write it: by another's hand.
    fn bytes(message: RouteNetlinkMessage) -> Vec<u8> {
        let mut message = NetlinkMessage::from(message);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn follower() -> Follower {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        Follower { socket: TokioSocket::new(NETLINK_ROUTE).unwrap(), links: HashMap::new(), addresses: HashMap::new() }
    }

    fn route_to(network: [u8; 4], length: u8) -> RouteNetlinkMessage {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.destination_prefix_length = length;
        route.attributes.push(RouteAttribute::Priority(7));
        route.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(network.into())));
        RouteNetlinkMessage::DelRoute(route)
    }

    #[test]
    fn a_route_says_for_whom_it_is() {
        let mut follower = follower();
        let to = |first: [u8; 4], last: [u8; 4]| Changed::To(IpAddr::from(first)..=IpAddr::from(last));
        let heard = follower.read(&bytes(route_to([10, 64, 0, 0], 12)));
        assert_eq!(heard, [to([10, 64, 0, 0], [10, 79, 255, 255])]);
        assert_eq!(follower.read(&bytes(route_to([10, 64, 0, 1], 32))), [to([10, 64, 0, 1], [10, 64, 0, 1])]);
        let mut default = RouteMessage::default();
        default.header.address_family = AddressFamily::Inet;
        let heard = follower.read(&bytes(RouteNetlinkMessage::NewRoute(default)));
        assert_eq!(heard, [to([0; 4], [255; 4])]);
        // Two in one.
        let two =
            [bytes(route_to([10, 0, 0, 0], 8)), bytes(RouteNetlinkMessage::NewAddress(AddressMessage::default()))];
        assert_eq!(follower.read(&two.concat()), [to([10, 0, 0, 0], [10, 255, 255, 255]), Changed::Anywhere]);
    }

    #[test]
    fn an_ipv6_route_says_for_whom_it_is() {
        let mut follower = follower();
        let route_to = |network: &str, length| {
            let mut route = RouteMessage::default();
            route.header.address_family = AddressFamily::Inet6;
            route.header.destination_prefix_length = length;
            route.attributes.push(RouteAttribute::Priority(7));
            let network: Ipv6Addr = network.parse().unwrap();
            if length > 0 {
                route.attributes.push(RouteAttribute::Destination(RouteAddress::Inet6(network)));
            }
            bytes(RouteNetlinkMessage::NewRoute(route))
        };
        let to = |first: &str, last: &str| Changed::To(first.parse().unwrap()..=last.parse().unwrap());
        let last = "2001:db8:7:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(follower.read(&route_to("2001:db8:7::", 48)), [to("2001:db8:7::", last)]);
        assert_eq!(follower.read(&route_to("2001:db8::9", 128)), [to("2001:db8::9", "2001:db8::9")]);
        assert_eq!(follower.read(&route_to("::", 0)), [Changed::of(Family::V6)]);
        assert_eq!(follower.read(&route_to("2001:db8::", 129)), [Changed::Anywhere], "whatever that is");
    }

    #[test]
    fn an_address_or_a_rule_is_of_its_family() {
        let mut follower = follower();
        let rule = |family| {
            let mut rule = RuleMessage::default();
            rule.header.family = family;
            bytes(RouteNetlinkMessage::NewRule(rule))
        };
        assert_eq!(follower.read(&rule(AddressFamily::Inet)), [Changed::of(Family::V4)]);
        assert_eq!(follower.read(&rule(AddressFamily::Inet6)), [Changed::of(Family::V6)]);
        let message = |address: IpAddr, flags, lifetime| {
            let mut message = AddressMessage::default();
            message.header.family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
            message.header.index = 3;
            let mut cached = CacheInfo::default();
            cached.ifa_preferred = lifetime;
            message.attributes = vec![
                AddressAttribute::Address(address),
                AddressAttribute::CacheInfo(cached),
                AddressAttribute::Flags(flags),
            ];
            message
        };
        let [v4, v6] = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap());
        let (tentative, none) = (AddressFlags::Tentative, AddressFlags::empty());
        let new = |address, flags, lifetime| bytes(RouteNetlinkMessage::NewAddress(message(address, flags, lifetime)));
        let of = |family| vec![Changed::of(family)];
        // Each word of an IPv4 address is news, and of an IPv6 address what differs in its flags.
        assert_eq!(follower.read(&new(v4, none, 9)), of(Family::V4));
        assert_eq!(follower.read(&new(v4, none, 9)), of(Family::V4));
        assert_eq!(follower.read(&new(v6, tentative, 9)), of(Family::V6));
        assert_eq!(follower.read(&new(v6, none, 9)), of(Family::V6));
        assert_eq!(follower.read(&new(v6, none, 1_800)), [], "an advertisement keeps it alive");
        assert_eq!(follower.read(&new(v6, AddressFlags::Deprecated, 0)), of(Family::V6));
        let gone = bytes(RouteNetlinkMessage::DelAddress(message(v6, none, 0)));
        assert_eq!(follower.read(&gone), of(Family::V6));
        assert_eq!(follower.read(&new(v6, AddressFlags::Deprecated, 0)), of(Family::V6), "it is back");
    }

    #[test]
    fn an_ipv6_neighbour_fails_or_answers() {
        let mut follower = follower();
        let message = |address: IpAddr, state| {
            let mut message = NeighbourMessage::default();
            message.header.family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
            (message.header.ifindex, message.header.state) = (3, state);
            let destination = match address {
                IpAddr::V4(address) => NeighbourAddress::Inet(address),
                IpAddr::V6(address) => NeighbourAddress::Inet6(address),
            };
            message.attributes =
                vec![NeighbourAttribute::LinkLayerAddress(vec![2; 6]), NeighbourAttribute::Destination(destination)];
            message
        };
        let new = |address, state| bytes(RouteNetlinkMessage::NewNeighbour(message(address, state)));
        let address: Ipv6Addr = "fe80::1".parse().unwrap();
        let heard = |failed| [Changed::Neighbour { interface: 3, address, failed }];
        assert_eq!(follower.read(&new(address.into(), NeighbourState::Failed)), heard(true));
        assert_eq!(follower.read(&new(address.into(), NeighbourState::Reachable)), heard(false));
        assert_eq!(follower.read(&new(address.into(), NeighbourState::Stale)), heard(false));
        assert_eq!(follower.read(&new(address.into(), NeighbourState::Incomplete)), []);
        assert_eq!(follower.read(&new([192, 0, 2, 1].into(), NeighbourState::Failed)), [], "IPv4 stays");
        let gone = bytes(RouteNetlinkMessage::DelNeighbour(message(address.into(), NeighbourState::Failed)));
        assert_eq!(follower.read(&gone), []);
    }

    #[test]
    fn a_link_is_news_if_its_carrier_or_address_is() {
        let mut follower = follower();
        let mut listed = Vec::new();
        let mut link = |flags, mac: [u8; 6]| {
            let mut link = LinkMessage::default();
            (link.header.index, link.header.flags) = (3, flags);
            link.attributes = vec![LinkAttribute::Mtu(1500), LinkAttribute::Address(mac.to_vec())];
            listed.push(known(&link));
            bytes(RouteNetlinkMessage::NewLink(link))
        };
        let up = LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp;
        assert_eq!(follower.read(&link(up, [2; 6])), [Changed::Anywhere]);
        assert_eq!(follower.read(&link(up | LinkFlags::Promisc, [2; 6])), []);
        assert_eq!(follower.read(&link(up, [4; 6])), [Changed::Anywhere]);
        assert_eq!(follower.read(&link(LinkFlags::Up, [4; 6])), [Changed::Anywhere]);
        // What was listed is no news.
        let last = link(up, [6; 6]);
        follower.links = listed.into_iter().collect();
        assert_eq!(follower.read(&last), []);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_to_its_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            follower().read(&bytes);
            route(&bytes);
        }
    }
}
