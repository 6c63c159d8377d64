//! One question for a route, and what the kernel's answer to it says.

use super::{RouteError, Why, netlink::to_io};
use crate::base::Family;
use futures_util::TryStreamExt;
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType},
    },
};
use std::{
    io,
    net::{IpAddr, Ipv6Addr},
};

/// What the kernel says of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// No target lies there, so no one asked.
    Unasked,
    No(Why),
    Through {
        interface: u32,
        gateway: Option<IpAddr>,
        source: IpAddr,
    },
}

/// What RTM_GETROUTE asks.
pub(super) fn question(target: IpAddr, output: Option<u32>, source: Option<IpAddr>) -> RouteMessage {
    const IPPROTO_ICMP: u8 = 1;
    const IPPROTO_ICMPV6: u8 = 58;
    let (family, bits, protocol) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, 32, IPPROTO_ICMP),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128, IPPROTO_ICMPV6),
    };
    let mut question = RouteMessage::default();
    question.header.address_family = family;
    question.header.destination_prefix_length = bits;
    question.header.flags = RouteFlags::LookupTable;
    question.attributes.push(RouteAttribute::Destination(target.into()));
    // Rules can choose by protocol, and so can the hash over several next hops.
    question.attributes.push(RouteAttribute::IpProto(protocol));
    if let Some(source) = source {
        question.header.source_prefix_length = bits;
        question.attributes.push(RouteAttribute::Source(source.into()));
    }
    question.attributes.extend(output.map(RouteAttribute::Oif));
    question
}

/// One RTM_GETROUTE, or two.
pub(super) async fn ask(
    handle: &Handle,
    target: IpAddr,
    output: Option<u32>,
    source: Option<IpAddr>,
) -> Result<Way, RouteError> {
    if let Some(why) = unfit(target, output) {
        return Ok(Way::No(why));
    }
    let way = ask_from(handle, target, output, source, source).await?;
    // Named together with a source, an interface is no more than a wish to IPv6 (ip6_route_output_flags, RT6_LOOKUP_F_IFACE): a more
    // specific route elsewhere wins, other than for a socket that is bound to the interface.
    match &way {
        Way::Through { interface, .. } if target.is_ipv6() && source.is_some() && Some(*interface) != output => {
            if output.is_none() {
                Ok(way)
            } else {
                ask_from(handle, target, output, None, source).await
            }
        }
        _ => Ok(way),
    }
}

/// Asks with one source and takes the way for another.
async fn ask_from(
    handle: &Handle,
    target: IpAddr,
    output: Option<u32>,
    asked: Option<IpAddr>,
    source: Option<IpAddr>,
) -> Result<Way, RouteError> {
    let mut answer = std::pin::pin!(handle.route().get(question(target, output, asked)).execute());
    match answer.try_next().await.map_err(to_io) {
        Ok(Some(route)) => Ok(read(&route, output, source)),
        Ok(None) => Ok(Way::No(Why::NoRoute)),
        Err(error) => refusal(&error)
            .map(Way::No)
            .ok_or_else(|| RouteError::netlink(format!("asking for the route to {target}"), error)),
    }
}

/// Why an IPv6 address is none that a socket could be connected to, where the kernel would find a route for it nevertheless.
fn unfit(target: IpAddr, output: Option<u32>) -> Option<Why> {
    let IpAddr::V6(target) = target else { return None };
    if target.is_multicast() {
        return Some(Why::Multicast);
    }
    // An IPv4 address in the words of IPv6 (::ffff:0:0/96) is for the socket interface, and goes over no wire.
    if target.is_unspecified() || target.to_ipv4_mapped().is_some() {
        return Some(Why::Invalid);
    }
    // Every interface has these: without one named, the kernel takes any.
    (is_link_local(target) && output.is_none()).then_some(Why::LinkLocal)
}

/// Whether an address means another host on each link.
pub(super) fn is_link_local(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local()
}

/// The errors by which `fib_props` (net/ipv4/fib_semantics.c) and `fib6_prop` (net/ipv6/route.c) name the types of routes that lead
/// nowhere.
pub(super) fn refusal(error: &io::Error) -> Option<Why> {
    const EACCES: i32 = 13;
    const EINVAL: i32 = 22;
    const ENETUNREACH: i32 = 101;
    const EHOSTUNREACH: i32 = 113;
    Some(match error.raw_os_error()? {
        ENETUNREACH => Why::NoRoute,
        EHOSTUNREACH => Why::Unreachable,
        EACCES => Why::Prohibited,
        EINVAL => Why::Invalid,
        errno => Why::Kernel(errno),
    })
}

pub(super) fn read(route: &RouteMessage, output: Option<u32>, source: Option<IpAddr>) -> Way {
    match route.header.kind {
        RouteType::Unicast => {}
        // The anycast address of a subnet for which this host is a router.
        RouteType::Local | RouteType::Anycast => return Way::No(Why::Local),
        RouteType::Broadcast => return Way::No(Why::Broadcast),
        RouteType::Multicast => return Way::No(Why::Multicast),
        RouteType::BlackHole => return Way::No(Why::Invalid),
        RouteType::Unreachable => return Way::No(Why::Unreachable),
        RouteType::Prohibit => return Way::No(Why::Prohibited),
        _ => return Way::No(Why::NoRoute),
    }
    let family = if route.header.address_family == AddressFamily::Inet6 { Family::V6 } else { Family::V4 };
    let (mut interface, mut gateway, mut preferred) = (None, None, source);
    let mut table = u32::from(route.header.table);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(address) => match address_in(address) {
                Some(address) if Family::of(address) == family => gateway = Some(address),
                _ => return Way::No(Why::GatewayV6),
            },
            RouteAttribute::Via(_) => return Way::No(Why::GatewayV6),
            RouteAttribute::PrefSource(address) if source.is_none() => preferred = address_in(address),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    // Asked with an interface and finding no route through it, IPv4 assumes that the target is on that link
    // ("apparently, routing tables are wrong", ip_route_output_key_hash_rcu). The table then is 0: no entry matched. IPv6 says that
    // there is no route.
    if output.is_some() && table == 0 {
        return Way::No(Why::NoRoute);
    }
    match (interface, preferred) {
        (None, _) => Way::No(Why::NoRoute),
        (_, None) => Way::No(Why::NoSource(family)),
        // No router forwards what comes from there (RFC 4291, 2.5.6): IPv6 takes it where the host has no other address.
        (_, Some(IpAddr::V6(from))) if gateway.is_some() && source.is_none() && is_link_local(from) => {
            Way::No(Why::NoSource(family))
        }
        (Some(interface), Some(source)) => Way::Through { interface, gateway, source },
    }
}

/// The IP address in a route's attribute.
pub(super) fn address_in(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
