//! The ports that TCP and UDP probes are sent from: bound for as long as we run, so that nobody else on this host uses them. Those of
//! TCP never listen; those of UDP drop what they get, so that this host refuses nobody who answers.
//!
//! They lie outside of the range that the kernel takes ports from for those who name none (ip_local_port_range), and follow each other:
//! the XDP program knows ours by the first and their number.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use std::{
    fmt, fs, io,
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

/// What a port is reserved for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP probes.
    Tcp,
    /// UDP probes.
    Udp,
}

impl Transport {
    /// What `ss` lists its sockets by.
    const fn option(self) -> &'static str {
        match self {
            Self::Tcp => "-tanp",
            Self::Udp => "-uanp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

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
        "source ports: {count} needed for TCP and UDP probes beside those that the kernel gives to connections, and \
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
        "source ports: {count} needed for TCP and UDP probes, and {first} is too late to begin with: take {} or a lower one",
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
        "{transport} source port {port} is in use, by another echolot or by a program that `ss {} sport = :{port}` names: take another \
         (--source-port, source_port), or none and a free one is found", transport.option()
    )]
    InUse {
        /// Which.
        port: u16,
        /// What for.
        transport: Transport,
    },
    /// Nowhere are so many in a row free.
    #[error(
        "source ports: {count} in a row needed for TCP and UDP probes, and outside of net.ipv4.ip_local_port_range ({} to {}) so many are \
         nowhere free: `ss -tuanp` names who has them; a shorter range leaves more", local.start(), local.end()
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
        Some(libc::EMFILE | libc::ENFILE) => {
            ". Each takes two sockets, and the limit of open files has been raised as far as it goes: raise the hard one (`ulimit -Hn`, \
             LimitNOFILE=), or have fewer groups with TCP and UDP probes, or fewer flows"
        }
        Some(libc::EACCES) => {
            ". Is it below net.ipv4.ip_unprivileged_port_start? Take a higher one (--source-port, source_port)"
        }
        _ => "",
    }
}

impl SourcePorts {
    /// Reserves consecutive ports for these, one each: those from `first` on, or free ones from a random place.
    ///
    /// # Errors
    /// Names the port, who might have it, and what to change.
    pub fn reserve(first: Option<u16>, transports: &[Transport]) -> Result<Self, SourcePortsError> {
        let local = local_ports();
        let count = u16::try_from(transports.len()).unwrap_or(u16::MAX);
        make_room_for_sockets(2 * u64::from(count));
        let Some(first) = first else { return Self::find(&local, transports) };
        check_source_ports(first, count)?;
        let ports = first..first + count;
        if let Some(port) = ports.clone().find(|port| local.contains(port)) {
            return Err(SourcePortsError::Local { port, local });
        }
        Self::bind(ports, transports).map_err(|(port, transport, error)| match error.kind() {
            io::ErrorKind::AddrInUse => SourcePortsError::InUse { port, transport },
            _ => SourcePortsError::Refused { port, error },
        })
    }

    fn find(local: &RangeInclusive<u16>, transports: &[Transport]) -> Result<Self, SourcePortsError> {
        let count = u16::try_from(transports.len()).unwrap_or(u16::MAX);
        let firsts = firsts(local, count);
        if firsts.iter().all(Range::is_empty) {
            return Err(SourcePortsError::NoRoom { count, left: room(local), local: local.clone() });
        }
        // A port that somebody has, and for what.
        let mut taken: Option<(u16, Transport)> = None;
        for ports in shuffled(&firsts, fastrand::u16(..)).map(|first| first..first + count) {
            let is_among = |(port, transport): (u16, Transport)| {
                ports.contains(&port) && transports[usize::from(port - ports.start)] == transport
            };
            if taken.is_some_and(is_among) {
                continue;
            }
            match Self::bind(ports, transports) {
                Err((port, transport, error)) if error.kind() == io::ErrorKind::AddrInUse => {
                    taken = Some((port, transport));
                }
                done => return done.map_err(|(port, _, error)| SourcePortsError::Refused { port, error }),
            }
        }
        Err(SourcePortsError::NoneFree { count, local: local.clone() })
    }

    /// All of them, or the one that can't be had.
    fn bind(ports: Range<u16>, transports: &[Transport]) -> Result<Self, (u16, Transport, io::Error)> {
        let mut sockets = Vec::with_capacity(2 * ports.len());
        for (port, transport) in ports.clone().zip(transports.iter().copied()) {
            bind(port, transport, &mut sockets).map_err(|error| (port, transport, error))?;
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

/// Descriptors that the program has beside source ports: rings, maps, links, files, connections of those who scrape.
const OTHER_FILES: u64 = 4_096;

/// Raises the limit of open files for so many sockets, as far as it goes. What it does not go to, a bind will say.
fn make_room_for_sockets(sockets: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = sockets + OTHER_FILES;
    // None is no limit.
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    let current = Some(maximum.map_or(needed, |maximum| maximum.min(needed))).max(current);
    // Up to the hard limit anybody may; if not, it stays as it is.
    let _left = setrlimit(Resource::Nofile, Rlimit { current, maximum });
}

/// Binds a port for both families, where there are both. TCP doesn't listen: a SYN to it is refused as to any port that is not in use. UDP
/// receives nothing: the filter is there before the port is.
fn bind(port: u16, transport: Transport, sockets: &mut Vec<Socket>) -> io::Result<()> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let take = |domain, address: SocketAddr| -> io::Result<Socket> {
        let socket = Socket::new(domain, kind, Some(protocol))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        if transport == Transport::Udp {
            socket.attach_filter(&[DISCARD])?;
            // The kernel makes it the least that it has.
            socket.set_recv_buffer_size(0)?;
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

/// Of every packet no byte is kept: it is dropped, without a "port unreachable" to whoever sent it (`__udp4_lib_rcv`).
const DISCARD: SockFilter = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use std::net::{TcpListener, UdpSocket};

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
            let error = SourcePorts::find(&local, &[Transport::Udp]).unwrap_err();
            assert!(matches!(error, SourcePortsError::NoRoom { count: 1, left: 0, .. }), "{error}");
            assert!(error.to_string().contains("leaves 0 in a row: make it shorter, with `sysctl -w"), "{error}");
        }
        let error = SourcePorts::find(&(1_026..=65_532), &[Transport::Tcp; 3]).unwrap_err();
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
        let reserved = SourcePorts::reserve(None, &[Transport::Tcp; 3]).unwrap();
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
        let error = SourcePorts::reserve(Some(ports.end - 1), &[Transport::Tcp]).unwrap_err();
        assert!(matches!(error, SourcePortsError::InUse { port, .. } if port == ports.end - 1), "{error}");
        let told = error.to_string();
        assert!(told.contains(&format!("source port {} is in use", ports.end - 1)) && told.contains("--source-port"));
        // Others are found beside them.
        let other = SourcePorts::reserve(None, &[Transport::Tcp; 3]).unwrap().ports();
        assert!(other.end <= ports.start || ports.end <= other.start, "{other:?} {ports:?}");
    }

    #[test]
    fn a_port_is_reserved_for_what_is_sent_from_it_and_for_nothing_else() {
        let transports = [Transport::Tcp, Transport::Udp, Transport::Udp];
        let reserved = SourcePorts::reserve(None, &transports).unwrap();
        let is_taken = |bound: io::Result<()>| bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        for (port, transport) in reserved.ports().zip(transports) {
            for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()] {
                let taken =
                    [is_taken(TcpListener::bind(address).map(drop)), is_taken(UdpSocket::bind(address).map(drop))];
                assert_eq!(taken, [transport == Transport::Tcp, transport == Transport::Udp], "{address}");
            }
        }
        let last = reserved.ports().end - 1;
        let error = SourcePorts::reserve(Some(last), &[Transport::Udp]).unwrap_err().to_string();
        let expected = format!(
            "UDP source port {last} is in use, by another echolot or by a program that `ss -uanp sport = :{last}`"
        );
        assert!(error.starts_with(&expected), "{error}");
    }

    /// On the loopback an ICMP error comes back before the call that sent the datagram returns.
    #[test]
    fn what_comes_to_a_udp_port_is_discarded_and_refused_to_nobody() {
        let reserved = SourcePorts::reserve(None, &[Transport::Udp; 2]).unwrap();
        let port = reserved.ports().start;
        for (from, to) in [
            (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            ((Ipv6Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, port).into()),
        ] {
            let sender = UdpSocket::bind(from).unwrap();
            sender.connect(to).unwrap();
            // Far more than any buffer holds.
            for _ in 0..1_000 {
                sender.send(&[7; 1_000]).unwrap();
            }
            assert!(sender.take_error().unwrap().is_none(), "{to}");
        }
        let mut buffer = [std::mem::MaybeUninit::uninit(); 16];
        let SourcePorts { _sockets: sockets, .. } = &reserved;
        for socket in sockets {
            socket.set_nonblocking(true).unwrap();
            assert_eq!(socket.recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        drop(reserved);
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sender.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        sender.send(&[7]).unwrap();
        assert_eq!(
            sender.send(&[7]).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused,
            "as any port is without them"
        );
    }

    /// Four groups whose probes take 256 ports each, with a limit of open files that many a system has.
    #[test]
    fn a_thousand_ports_are_reserved_whatever_the_soft_limit_of_files() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(1_024), maximum }).unwrap();
        let reserved = SourcePorts::reserve(None, &[Transport::Udp; 1_024]).unwrap();
        let SourcePorts { ports, _sockets: sockets } = &reserved;
        assert_eq!((ports.len(), sockets.len()), (1_024, 2_048));
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|current| current >= 2_048));
    }

    #[test]
    fn ports_that_are_asked_for_lie_outside_of_the_kernels_range_and_end_in_time() {
        let local = local_ports();
        let error = SourcePorts::reserve(Some(*local.start()), &[Transport::Tcp]).unwrap_err().to_string();
        let expected =
            format!("source port {} is one that the kernel gives to this host's own connections", local.start());
        assert!(error.starts_with(&expected), "{error}");
        let error = SourcePorts::reserve(Some(65_534), &[Transport::Tcp; 2]).unwrap_err().to_string();
        assert!(
            error.contains("65534 is too late to begin with") && error.ends_with("take 65533 or a lower one"),
            "{error}"
        );
        assert!(check_source_ports(65_534, 1).is_ok() && check_source_ports(65_533, 2).is_ok());
    }
}
