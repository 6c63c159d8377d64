//! Connections to the kernel's tables.

use super::RouteError;
use crate::base::Family;
use futures_util::{Stream, StreamExt, TryStreamExt};
use rtnetlink::{
    Error, Handle,
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
        route::RouteMessage,
    },
};
use std::{io, net::IpAddr};

/// Opens a netlink connection in the network namespace of this thread. Call it inside a tokio runtime, which then drives
/// the connection until the handle is dropped.
pub fn connect() -> Result<Handle, RouteError> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|error| RouteError::netlink("opening a netlink socket", error))?;
    tokio::spawn(connection);
    Ok(handle)
}

/// How far CLOCK_MONOTONIC of this process's time namespace is from the kernel's own, in nanoseconds. Anything but zero
/// makes arrival stamps (kernel) and send stamps (userspace) incomparable: refuse to run.
///
/// Zero where the kernel has no time namespaces; an error only if what it says can't be read.
pub fn clock_offset() -> io::Result<i128> {
    match std::fs::read_to_string("/proc/self/timens_offsets") {
        Ok(text) => parse_clock_offset(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Lines of `clock seconds nanoseconds`, see time_namespaces(7).
fn parse_clock_offset(text: &str) -> io::Result<i128> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/self/timens_offsets: can't read {text:?}"));
    for line in text.lines() {
        let mut words = line.split_whitespace();
        // Kernels 5.6 and 5.7 wrote the clock's number: CLOCK_MONOTONIC is 1.
        if !matches!(words.next(), Some("monotonic" | "1")) {
            continue;
        }
        let mut number = || words.next().and_then(|word| word.parse::<i64>().ok()).ok_or_else(bad);
        return Ok(i128::from(number()?) * 1_000_000_000 + i128::from(number()?));
    }
    Err(bad())
}

/// The kernel's answer as the standard library's error.
pub(super) fn to_io(error: Error) -> io::Error {
    match error {
        Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// Everything that a dump yields.
pub(super) async fn all<T>(doing: &str, dump: impl Stream<Item = Result<T, Error>>) -> Result<Vec<T>, RouteError> {
    dump.try_collect().await.map_err(|error| RouteError::netlink(doing, to_io(error)))
}

/// As netlink calls it.
pub(super) const fn number_of(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// All neighbours of a family that the kernel knows, of every interface.
pub(super) async fn neighbours(handle: &Handle, family: Family) -> Result<Vec<NeighbourMessage>, RouteError> {
    let mut request = handle.neighbours().get();
    request.message_mut().header.family = number_of(family);
    all("reading the neighbour table", request.execute()).await
}

/// Has the kernel deal with a neighbour: what `state` and `flags` say of its entry, which is made if there is none.
///
/// What else the entry says stays: a request to replace it would take the mark of a router from an IPv6 neighbour.
pub(super) async fn set_neighbour(
    mut handle: Handle,
    (interface, address): (u32, IpAddr),
    state: NeighbourState,
    flags: NeighbourFlags,
) -> io::Result<()> {
    let mut request = handle.neighbours().add(interface, address).state(state).flags(flags);
    let message = std::mem::take(request.message_mut());
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
    let mut answer = handle.request(message).map_err(to_io)?;
    while let Some(message) = answer.next().await {
        if let NetlinkPayload::Error(error) = message.payload {
            // An acknowledgement is an error of no number.
            return error.code.map_or(Ok(()), |_| Err(error.to_io()));
        }
    }
    Ok(())
}

/// The routes of a family, of all tables.
pub(super) fn routes(handle: &Handle, family: Family) -> impl Stream<Item = Result<RouteMessage, Error>> {
    let mut message = RouteMessage::default();
    message.header.address_family = number_of(family);
    handle.route().get(message).execute()
}

/// The neighbour that a message is about.
pub(super) fn neighbour_address(message: &NeighbourMessage) -> Option<IpAddr> {
    use rtnetlink::packet_route::neighbour::NeighbourAddress;
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

/// What a message on a notification socket says.
pub(super) fn notification(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Notification> {
    match payload {
        NetlinkPayload::InnerMessage(message) => Some(Notification::Change(message)),
        NetlinkPayload::Overrun(_) => Some(Notification::Overrun),
        _ => None,
    }
}

/// What a notification socket yields.
#[derive(Debug)]
pub(super) enum Notification {
    /// One change in the kernel's tables.
    Change(RouteNetlinkMessage),
    /// Changes were lost, because the socket's buffer was full: read the tables anew.
    Overrun,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_monotonic_offset_is_read_in_both_forms() {
        assert_eq!(
            parse_clock_offset("monotonic           0         0\nboottime            0         0\n").unwrap(),
            0
        );
        assert_eq!(parse_clock_offset("monotonic 86400 5\nboottime 1 2\n").unwrap(), 86_400_000_000_005);
        assert_eq!(parse_clock_offset("7 4 4\n1 -3 500\n").unwrap(), -2_999_999_500);
        assert!(parse_clock_offset("boottime 0 0\n").is_err());
        assert!(parse_clock_offset("monotonic x 0\n").is_err());
        assert!(parse_clock_offset("monotonic 1\n").is_err());
    }

    #[test]
    fn this_machine_has_no_offset() {
        assert_eq!(clock_offset().unwrap(), 0);
    }
}
