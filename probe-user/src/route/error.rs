//! What can be wrong between us and the first probe, said so that a person knows what to do.

use crate::base::Family;
use probe_ebpf::wire::ethernet;
use std::{fmt, io, net::IpAddr};
use thiserror::Error;

/// Why no probe can be sent.
#[derive(Debug, Error)]
pub enum RouteError {
    /// No interface has that name.
    #[error("{name}: no such interface. This host has: {}. Name one with --interface", .known.join(", "))]
    NoSuchInterface {
        /// As it was asked for.
        name: String,
        /// All that there are.
        known: Vec<String>,
    },
    /// Administratively down.
    #[error("{interface} is down, nothing can be sent: bring it up with `ip link set {interface} up`")]
    Down {
        /// Its name.
        interface: String,
    },
    /// Up, but no signal from the other end.
    #[error("{interface} has no carrier, nothing can be sent: check the cable and the port at its other end")]
    NoCarrier {
        /// Its name.
        interface: String,
    },
    /// The loopback device.
    #[error(
        "{interface} is the loopback interface: AF_XDP measures what leaves this host. Name a network interface with \
         --interface"
    )]
    Loopback {
        /// Its name.
        interface: String,
    },
    /// A tunnel, or another link without MAC addresses.
    #[error(
        "{interface} carries no Ethernet frames (link type {link}), which probes are made of: name the interface \
         beneath it with --interface"
    )]
    NotEthernet {
        /// Its name.
        interface: String,
        /// As the kernel calls it.
        link: String,
    },
    /// A device that programs and sockets can't be put beneath.
    #[error(transparent)]
    Stack(StackError),
    /// None of the targets can be probed.
    #[error("no route to {target}{}: {why}{}", through(.interface.as_deref()), nor_others(*.others))]
    NoRoute {
        /// The first target.
        target: IpAddr,
        /// Through which it was looked for, if one was named.
        interface: Option<String>,
        /// Why not that one.
        why: Why,
        /// How many other targets there are, none of them with a route.
        others: usize,
    },
    /// There is nothing to find an interface by.
    #[error("no interface named and no target to find one by: name it with --interface")]
    NoTargets,
    /// `--source` is not an address of this host.
    #[error(
        "source {source_address} is not an address of this host, replies would go elsewhere. It has: {}",
        list(.known)
    )]
    NotOurs {
        /// As it was asked for.
        source_address: IpAddr,
        /// All that there are.
        known: Vec<IpAddr>,
    },
    /// `--source` is an address that the kernel sends nothing from.
    #[error("source {source_address} can't be used: {why}")]
    SourceUnusable {
        /// As it was asked for.
        source_address: IpAddr,
        /// What is the matter with it.
        why: Unusable,
    },
    /// The kernel refuses to resolve neighbours for us.
    // All that probing needs is named, not only what neighbours need: or the next try would end at the next capability.
    #[error(
        "may not ask the kernel for neighbours on {interface}: probing needs the capabilities CAP_NET_ADMIN, CAP_NET_RAW \
         and CAP_BPF. Run as root, or grant them with `setcap cap_net_admin,cap_net_raw,cap_bpf+ep` on the program"
    )]
    Permission {
        /// On which interface.
        interface: String,
    },
    /// Netlink itself failed.
    #[error("{doing}: {error}")]
    Netlink {
        /// What was tried.
        doing: String,
        /// The kernel's answer.
        error: io::Error,
    },
}

fn through(interface: Option<&str>) -> String {
    interface.map(|name| format!(" through {name}")).unwrap_or_default()
}

fn nor_others(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " (nor to the one other target)".to_owned(),
        _ => format!(" (nor to any of the {count} other targets)"),
    }
}

fn list(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

impl RouteError {
    pub(super) fn netlink(doing: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self::Netlink { doing: doing.into(), error: error.into() }
    }
}

/// Why a target cannot be probed through the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No route in any table (through the interface, where one was named).
    NoRoute,
    /// A route of type `unreachable`.
    Unreachable,
    /// A route of type `prohibit`.
    Prohibited,
    /// A route of type `blackhole`, or an address that can't be sent to.
    Invalid,
    /// An address of this host.
    Local,
    /// A broadcast address.
    Broadcast,
    /// A multicast address.
    Multicast,
    /// It routes through that other interface.
    Elsewhere(String),
    /// Its gateway has an IPv6 address.
    GatewayV6,
    /// The interface has no address of this family to send from.
    NoSource(Family),
    /// The source address that was asked for is no longer one of this host.
    SourceGone(IpAddr),
    /// It is, but nothing is sent from it.
    SourceUnusable(IpAddr, Unusable),
    /// A link-local address, and no interface named.
    LinkLocal,
    /// Another answer by the kernel, an errno.
    Kernel(i32),
}

impl Why {
    /// Whether there is a way, but no address to send from.
    pub(super) const fn is_of_source(&self) -> bool {
        matches!(self, Self::NoSource(_) | Self::SourceGone(_) | Self::SourceUnusable(..))
    }
}

/// Why nothing is sent from an IPv6 address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is being found out whether another host has it.
    Tentative,
    /// Another host has it.
    Duplicate,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tentative => {
                "it is tentative, the kernel is still finding out whether another host has it (duplicate address detection): wait \
                 until `ip -6 address` says so no more, a second or two, or add it with `nodad`"
            }
            Self::Duplicate => {
                "duplicate address detection has failed, another host has it (`ip -6 address show dadfailed`): give one of them \
                 another address"
            }
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("no entry in the routing tables leads there (`ip route`, `ip -6 route`)"),
            Self::Unreachable => f.write_str("the routing table says unreachable"),
            Self::Prohibited => f.write_str("the routing table says prohibit"),
            Self::Invalid => f.write_str("the routing table says blackhole, or it is no address to send to"),
            Self::Local => f.write_str("it is an address of this host, and echo to ourselves never reaches a wire"),
            Self::Broadcast => f.write_str("it is a broadcast address"),
            Self::Multicast => f.write_str("it is a multicast address"),
            Self::Elsewhere(name) => write!(f, "it routes through {name} (choose with --interface)"),
            Self::GatewayV6 => f.write_str("its gateway has an IPv6 address, which is not supported"),
            Self::NoSource(Family::V4) => {
                f.write_str("the interface has no IPv4 address to send from: give one with --source")
            }
            Self::NoSource(Family::V6) => f.write_str(
                "the interface has no IPv6 address to send from but perhaps a link-local one, which no router forwards: give one \
                 with --source",
            ),
            Self::SourceGone(source) => {
                write!(f, "source {source} is no longer an address of this host (probing goes on once it is again)")
            }
            Self::SourceUnusable(source, why) => write!(f, "source {source} can't be used: {why}"),
            Self::LinkLocal => f.write_str(
                "it is a link-local address, which means another host on each interface: name one with --interface (-I)",
            ),
            Self::Kernel(errno) => write!(f, "the kernel says: {}", io::Error::from_raw_os_error(*errno)),
        }
    }
}

/// Why there is no way down from an interface.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StackError {
    /// A bridge.
    #[error(
        "{name} is a bridge: it has no XDP, and what arrives at its ports ({}) is the bridge's. Give echolot an interface of its own \
         in it: `ip link add echolot0 type veth peer name echolot1`, `ip link set echolot1 master {name} up`, an address of that \
         network on echolot0, and name echolot0. Or take a port out of the bridge, give it the addresses and routes, and name it. \
         --mode generic works on {name} itself, slowly",
        names(.ports)
    )]
    Bridge {
        /// Its name.
        name: String,
        /// Of its ports.
        ports: Vec<String>,
    },
    /// A team.
    #[error(
        "{name} is a team device, whose choice of ports ({}) only its daemon knows: make it a bond, which is followed, or name a port \
         that has addresses and routes of its own. --mode generic works on {name} itself, slowly",
        names(.ports)
    )]
    Team {
        /// Its name.
        name: String,
        /// Of its ports.
        ports: Vec<String>,
    },
    /// A VRF, which is a routing table.
    #[error("{name} is a VRF, which is a routing table and no link: name an interface in it, which has the addresses ({})", names(.ports))]
    Vrf {
        /// Its name.
        name: String,
        /// Those in it.
        ports: Vec<String>,
    },
    /// A bond of a mode in which probes can't be sent as it would.
    #[error(
        "{name} is a bond of mode {mode}, which echolot can't send by as the bond does: it can with active-backup, 802.3ad, \
         balance-rr, -xor, -tlb and -alb. Or name a member ({}) that has addresses and routes of its own",
        names(.members)
    )]
    Mode {
        /// Its name.
        name: String,
        /// As in `ip -d link`.
        mode: String,
        /// Names of its members.
        members: Vec<String>,
    },
    /// A bond without members.
    #[error("{name} is a bond without members: `ip link set eth0 master {name}` adds one")]
    NoMembers {
        /// Its name.
        name: String,
    },
    /// A bond of devices that stand on others themselves.
    #[error(
        "{name} is a bond of {member}, which is a {kind}: only members that are devices of their own carry programs and sockets. \
         Put the {kind} above the bond, or name a device that has addresses and routes of its own"
    )]
    Member {
        /// Its name.
        name: String,
        /// The member's.
        member: String,
        /// The member's kind.
        kind: String,
    },
    /// A VLAN in a VLAN in a VLAN.
    #[error(
        "{name}: its frames would carry more than {} VLAN tags, which echolot doesn't: name a VLAN of fewer",
        ethernet::MAX_TAGS
    )]
    Tags {
        /// Its name.
        name: String,
    },
    /// The device beneath is not to be seen from here.
    #[error(
        "{name} is a VLAN of a device in another network namespace: programs and sockets have to go there. Start echolot in that \
         namespace, where {name} or its like has to be, or use --mode generic, which works on {name} itself, slowly"
    )]
    Elsewhere {
        /// Its name.
        name: String,
    },
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "it has none".to_owned() } else { names.join(", ") }
}
