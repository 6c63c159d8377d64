//! The ports that TCP probes are sent from: bound for as long as we run, and never listening, so that nobody else on this host uses them.
//!
//! They lie outside of the range that the kernel takes ports from for those who name none (ip_local_port_range), and follow each other:
//! the XDP program knows ours by the first and their number.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::{Range, RangeInclusive},
};

/// Ports that may be reserved. Those below are for services and, as a rule, for root; the last one of all is left out so that the end of
/// every range is a number of 16 bits.
pub const SOURCE_PORTS: RangeInclusive<u64> = 1_024..=65_534;

/// The same.
const ALL: Range<u32> = 1_024..65_535;
/// The kernel's range where /proc does not tell it.
const USUAL: RangeInclusive<u16> = 32_768..=60_999;

/// Reserved ports, for as long as it is not dropped.
#[derive(Debug)]
pub struct SourcePorts {
    ports: Range<u16>,
    /// Held for their drop.
    _sockets: Vec<Socket>,
}

/// Why ports can't be reserved.
#[derive(Debug, thiserror::Error)]
pub enum SourcePortsError {
    /// The kernel's range leaves fewer of them than are needed.
    #[error(
        "source ports for TCP probes: {count} needed beside those that the kernel gives to connections, and \
         net.ipv4.ip_local_port_range ({} to {}) leaves {left} in a row: make it shorter, with \
         `sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"` for example", local.start(), local.end()
    )]
    NoRoom {
        /// How many are needed.
        count: u16,
        /// How many there are.
        left: u32,
        /// The kernel's range.
        local: RangeInclusive<u16>,
    },
    /// The ports that were asked for begin so late that the last is none.
    #[error(
        "source ports for TCP probes: {count} needed, one a group, and {first} is too late to begin with: take {} or a lower one",
        ALL.end - u32::from(*count)
    )]
    Beyond {
        /// The first.
        first: u16,
        /// How many are needed.
        count: u16,
    },
    /// The ports that were asked for are among those that the kernel gives to connections.
    #[error(
        "source port {port} is one that the kernel gives to this host's own connections (net.ipv4.ip_local_port_range, {} to {}): take \
         ports outside of it (--source-port, source_port), or none and some are found", local.start(), local.end()
    )]
    Local {
        /// The first of ours that is in it.
        port: u16,
        /// The kernel's range.
        local: RangeInclusive<u16>,
    },
    /// Somebody has one of the ports that were asked for.
    #[error(
        "source port {port} is in use, by another echolot or by a program that `ss -tanp sport = :{port}` names: take another \
         (--source-port, source_port), or none and a free one is found"
    )]
    InUse {
        /// Which.
        port: u16,
    },
    /// Nowhere are so many in a row free.
    #[error(
        "source ports for TCP probes: {count} in a row needed, and outside of net.ipv4.ip_local_port_range ({} to {}) so many are nowhere \
         free: `ss -tanp` names who has them; a shorter range leaves more", local.start(), local.end()
    )]
    NoneFree {
        /// How many are needed.
        count: u16,
        /// The kernel's range.
        local: RangeInclusive<u16>,
    },
    /// Another error than that somebody has it.
    #[error("source port {port} can't be reserved: {error}{}", advice(error))]
    Refused {
        /// Which.
        port: u16,
        /// What the kernel says.
        error: io::Error,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            ". Each takes two sockets: raise the limit of open files (`ulimit -n`, LimitNOFILE=), or have fewer groups with TCP probes"
        }
        Some(libc::EACCES) => {
            ". Is it below net.ipv4.ip_unprivileged_port_start? Take a higher one (--source-port, source_port)"
        }
        _ => "",
    }
}

impl SourcePorts {
    /// Reserves so many consecutive ports: those from `first` on, or free ones from a random place.
    ///
    /// # Errors
    /// Names the port, who might have it, and what to change.
    pub fn reserve(first: Option<u16>, count: u16) -> Result<Self, SourcePortsError> {
        let local = local_ports();
        let Some(first) = first else { return Self::find(&local, count) };
        check_source_ports(first, count)?;
        let ports = first..first + count;
        if let Some(port) = ports.clone().find(|port| local.contains(port)) {
            return Err(SourcePortsError::Local { port, local });
        }
        Self::bind(ports).map_err(|(port, error)| match error.kind() {
            io::ErrorKind::AddrInUse => SourcePortsError::InUse { port },
            _ => SourcePortsError::Refused { port, error },
        })
    }

    fn find(local: &RangeInclusive<u16>, count: u16) -> Result<Self, SourcePortsError> {
        let firsts = firsts(local, count);
        if firsts.iter().all(Range::is_empty) {
            return Err(SourcePortsError::NoRoom { count, left: room(local), local: local.clone() });
        }
        let mut taken = None;
        for ports in shuffled(&firsts, fastrand::u16(..)).map(|first| first..first + count) {
            if taken.is_some_and(|port| ports.contains(&port)) {
                continue;
            }
            match Self::bind(ports) {
                Err((port, error)) if error.kind() == io::ErrorKind::AddrInUse => taken = Some(port),
                done => return done.map_err(|(port, error)| SourcePortsError::Refused { port, error }),
            }
        }
        Err(SourcePortsError::NoneFree { count, local: local.clone() })
    }

    /// All of them, or the one that can't be had.
    fn bind(ports: Range<u16>) -> Result<Self, (u16, io::Error)> {
        let mut sockets = Vec::with_capacity(2 * ports.len());
        for port in ports.clone() {
            bind(port, &mut sockets).map_err(|error| (port, error))?;
        }
        Ok(Self { ports, _sockets: sockets })
    }

    /// Which they are.
    pub fn ports(&self) -> Range<u16> {
        self.ports.clone()
    }
}

/// Whether so many ports can begin with `first`, whoever has them.
///
/// # Errors
/// The last would be beyond those that can be reserved.
pub fn check_source_ports(first: u16, count: u16) -> Result<(), SourcePortsError> {
    let fits = u32::from(first) + u32::from(count) <= ALL.end;
    if fits { Ok(()) } else { Err(SourcePortsError::Beyond { first, count }) }
}

/// How many ports in a row could be reserved, whoever has them, and the range of this network namespace that they lie outside of.
pub fn room_for_source_ports() -> (u32, RangeInclusive<u16>) {
    let local = local_ports();
    (room(&local), local)
}

/// The ports that the kernel takes from for sockets that name none, in this network namespace.
fn local_ports() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    text.ok().and_then(|text| parse(&text)).unwrap_or(USUAL)
}

fn parse(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

/// The ports above the kernel's range, then those below.
fn beside(local: &RangeInclusive<u16>) -> [Range<u32>; 2] {
    let (start, end) = (u32::from(*local.start()), u32::from(*local.end()));
    [ALL.start.max(end + 1)..ALL.end, ALL.start..ALL.end.min(start)]
}

fn room(local: &RangeInclusive<u16>) -> u32 {
    beside(local).into_iter().map(|ports| ports.end.saturating_sub(ports.start)).max().unwrap_or(0)
}

/// Where so many ports may begin: above the kernel's range, and below.
fn firsts(local: &RangeInclusive<u16>, count: u16) -> [Range<u16>; 2] {
    // All ends are at most that of `ALL`.
    let narrow = |port| u16::try_from(port).unwrap_or(u16::MAX);
    beside(local).map(|ports| narrow(ports.start)..narrow((ports.end + 1).saturating_sub(u32::from(count.max(1)))))
}

/// Each once, the upper range first, each range from a random place: two instances that start at once seldom meet.
fn shuffled(firsts: &[Range<u16>; 2], random: u16) -> impl Iterator<Item = u16> {
    firsts.clone().into_iter().filter(|firsts| !firsts.is_empty()).flat_map(move |firsts| {
        let middle = firsts.start + random % (firsts.end - firsts.start);
        (middle..firsts.end).chain(firsts.start..middle)
    })
}

/// Binds a port for both families, where there are both, without listening: a SYN to it is refused as to any port that is not in use.
fn bind(port: u16, sockets: &mut Vec<Socket>) -> io::Result<()> {
    let take = |domain, address: SocketAddr| -> io::Result<Socket> {
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SockAddr::from(address))?;
        Ok(socket)
    };
    sockets.push(take(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())?);
    match take(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Ok(socket) => sockets.push(socket),
        // A kernel without IPv6.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn ports_lie_above_the_kernels_range_or_else_below() {
        for (local, count, expected) in [
            (32_768..=60_999, 1, [61_000..65_535, 1_024..32_768]),
            (32_768..=60_999, 3, [61_000..65_533, 1_024..32_766]),
            (1_024..=60_999, 4_535, [61_000..61_001, 1_024..1_024]),
            (10_000..=65_534, 2, [65_535..65_535, 1_024..9_999]),
            (10_000..=65_535, 1, [65_535..65_535, 1_024..10_000]),
            (1..=1_000, 1, [1_024..65_535, 1_024..1_024]),
        ] {
            let found = firsts(&local, count);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(found == expected || found.is_empty() && expected.is_empty(), "{local:?}: {found:?}");
            }
        }
    }

    #[test]
    fn a_kernel_that_takes_all_ports_for_itself_leaves_none() {
        for local in [1_024..=65_535, 1_024..=65_534, 1..=65_535] {
            let error = SourcePorts::find(&local, 1).unwrap_err();
            assert!(matches!(error, SourcePortsError::NoRoom { count: 1, left: 0, .. }), "{error}");
            assert!(error.to_string().contains("leaves 0 in a row: make it shorter, with `sysctl -w"), "{error}");
        }
        let error = SourcePorts::find(&(1_026..=65_532), 3).unwrap_err();
        assert!(matches!(error, SourcePortsError::NoRoom { count: 3, left: 2, .. }), "{error}");
    }

    #[test]
    fn each_port_is_tried_once_and_the_upper_ones_first() {
        for random in [0, 1, 2, 3, 4_711, u16::MAX] {
            let mut tried: Vec<u16> = shuffled(&[61_000..61_003, 1_024..1_026], random).collect();
            tried[..3].sort_unstable();
            tried[3..].sort_unstable();
            assert_eq!(tried, [61_000, 61_001, 61_002, 1_024, 1_025], "{random}");
        }
        assert_eq!(shuffled(&[5..5, 7..8], 3).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn the_kernels_range_is_read() {
        assert_eq!(parse("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(parse("1024 65535"), Some(1_024..=65_535));
        for text in ["", "1024", "1024 65536", "a b"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn reserved_ports_are_nobody_elses() {
        let reserved = SourcePorts::reserve(None, 3).unwrap();
        let (ports, local) = (reserved.ports(), local_ports());
        assert_eq!(ports.len(), 3);
        assert!(ports.clone().all(|port| !local.contains(&port)));
        for port in ports.clone() {
            for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv4Addr::UNSPECIFIED, port).into()] {
                assert_eq!(TcpListener::bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse, "{address}");
            }
            let refused = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "nobody listens");
        }
        // One that overlaps names the first port that is taken.
        let error = SourcePorts::reserve(Some(ports.end - 1), 1).unwrap_err();
        assert!(matches!(error, SourcePortsError::InUse { port } if port == ports.end - 1), "{error}");
        let told = error.to_string();
        assert!(told.contains(&format!("source port {} is in use", ports.end - 1)) && told.contains("--source-port"));
        // Others are found beside them.
        let other = SourcePorts::reserve(None, 3).unwrap().ports();
        assert!(other.end <= ports.start || ports.end <= other.start, "{other:?} {ports:?}");
    }

    #[test]
    fn ports_that_are_asked_for_lie_outside_of_the_kernels_range_and_end_in_time() {
        let local = local_ports();
        let error = SourcePorts::reserve(Some(*local.start()), 1).unwrap_err().to_string();
        let expected =
            format!("source port {} is one that the kernel gives to this host's own connections", local.start());
        assert!(error.starts_with(&expected), "{error}");
        let error = SourcePorts::reserve(Some(65_534), 2).unwrap_err().to_string();
        assert!(
            error.contains("65534 is too late to begin with") && error.ends_with("take 65533 or a lower one"),
            "{error}"
        );
        assert!(check_source_ports(65_534, 1).is_ok() && check_source_ports(65_533, 2).is_ok());
    }
}
