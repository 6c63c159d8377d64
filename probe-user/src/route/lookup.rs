//! One question for a route, and what the kernel's answer to it says.

use super::{RouteError, Why, netlink::to_io};
use futures_util::TryStreamExt;
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType},
    },
};
use std::{io, net::Ipv4Addr};

/// What the kernel says of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// No target lies there, so no one asked.
    Unasked,
    No(Why),
    Through {
        interface: u32,
        gateway: Option<Ipv4Addr>,
        source: Ipv4Addr,
    },
}

/// What RTM_GETROUTE asks.
pub(super) fn question(target: Ipv4Addr, output: Option<u32>, source: Option<Ipv4Addr>) -> RouteMessage {
    const IPPROTO_ICMP: u8 = 1;
    let mut question = RouteMessage::default();
    question.header.address_family = AddressFamily::Inet;
    question.header.destination_prefix_length = 32;
    question.header.flags = RouteFlags::LookupTable;
    question.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(target)));
    // Rules can choose by protocol, and so can the hash over several next hops.
    question.attributes.push(RouteAttribute::IpProto(IPPROTO_ICMP));
    if let Some(source) = source {
        question.header.source_prefix_length = 32;
        question.attributes.push(RouteAttribute::Source(RouteAddress::Inet(source)));
    }
    question.attributes.extend(output.map(RouteAttribute::Oif));
    question
}

/// One RTM_GETROUTE.
pub(super) async fn ask(
    handle: &Handle,
    target: Ipv4Addr,
    output: Option<u32>,
    source: Option<Ipv4Addr>,
) -> Result<Way, RouteError> {
    let question = question(target, output, source);
    let mut answer = std::pin::pin!(handle.route().get(question).execute());
    match answer.try_next().await.map_err(to_io) {
        Ok(Some(route)) => Ok(read(&route, output, source)),
        Ok(None) => Ok(Way::No(Why::NoRoute)),
        Err(error) => refusal(&error)
            .map(Way::No)
            .ok_or_else(|| RouteError::netlink(format!("asking for the route to {target}"), error)),
    }
}

/// The errors by which `fib_props` (net/ipv4/fib_semantics.c) names the types of routes that lead nowhere.
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

pub(super) fn read(route: &RouteMessage, output: Option<u32>, source: Option<Ipv4Addr>) -> Way {
    match route.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Way::No(Why::Local),
        RouteType::Broadcast => return Way::No(Why::Broadcast),
        RouteType::Multicast => return Way::No(Why::Multicast),
        RouteType::BlackHole => return Way::No(Why::Invalid),
        RouteType::Unreachable => return Way::No(Why::Unreachable),
        RouteType::Prohibit => return Way::No(Why::Prohibited),
        _ => return Way::No(Why::NoRoute),
    }
    let (mut interface, mut gateway, mut preferred) = (None, None, source);
    let mut table = u32::from(route.header.table);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => return Way::No(Why::GatewayV6),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) if source.is_none() => preferred = Some(*address),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    // Asked with an interface and finding no route through it, the kernel assumes that the target is on that link
    // ("apparently, routing tables are wrong", ip_route_output_key_hash_rcu). The table then is 0: no entry matched.
    if output.is_some() && table == 0 {
        return Way::No(Why::NoRoute);
    }
    match (interface, preferred) {
        (None, _) => Way::No(Why::NoRoute),
        (_, None) => Way::No(Why::NoSource),
        (Some(interface), Some(source)) => Way::Through { interface, gateway, source },
    }
}
