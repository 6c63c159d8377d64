//! Connections to the kernel's tables.

use super::RouteError;
use futures_util::{Stream, TryStreamExt};
use rtnetlink::{
    Error, Handle,
    packet_core::NetlinkPayload,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{NeighbourAttribute, NeighbourMessage},
        route::RouteMessage,
    },
};
use std::{io, net::Ipv4Addr};

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

/// All IPv4 neighbours that the kernel knows, of every interface.
pub(super) async fn neighbours(handle: &Handle) -> Result<Vec<NeighbourMessage>, RouteError> {
    let mut request = handle.neighbours().get();
    request.message_mut().header.family = AddressFamily::Inet;
    all("reading the neighbour table", request.execute()).await
}

/// The IPv4 routes of all tables.
pub(super) fn routes(handle: &Handle) -> impl Stream<Item = Result<RouteMessage, Error>> {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    handle.route().get(message).execute()
}

/// The neighbour that a message is about.
pub(super) fn neighbour_address(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    use rtnetlink::packet_route::neighbour::NeighbourAddress;
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
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
