//! How a probe ended, why it was not sent, and what a target is held to be.

/// How a probe ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// A reply in time.
    Answered,
    /// An ICMP error said so, or the neighbour of an on-link target does not resolve.
    Unreachable,
    /// No reply in time.
    Lost,
    /// No reply, and this machine dropped received frames that could have been it.
    Unheard,
    /// This machine failed to send it.
    Unsent,
    /// A router said that the probe's time to live ended with it. Of probes that were sent with few to find routers.
    Hop,
}

impl Outcome {
    /// All, in the order of the columns.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Unreachable, Self::Lost, Self::Unheard, Self::Unsent];

    /// How many there are with *hop*, which no other probe comes to than one of a path.
    pub const COUNT: usize = Self::ALL.len() + 1;

    /// As in results and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Unheard => "unheard",
            Self::Unsent => "unsent",
            Self::Hop => "hop",
        }
    }
}

/// What an answer to a TCP or UDP probe says of the port that it was sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum PortState {
    /// Somebody listens there.
    Open,
    /// The host is there, and nobody listens.
    Closed,
}

impl PortState {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Open, Self::Closed];

    /// As in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// The response code of a DNS answer: the 4 bits of its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Rcode(u8);

impl Rcode {
    /// Names as `dig` shows them (IANA, "DNS RCODEs").
    pub const NAMES: [&str; 16] = [
        "NOERROR",
        "FORMERR",
        "SERVFAIL",
        "NXDOMAIN",
        "NOTIMP",
        "REFUSED",
        "YXDOMAIN",
        "YXRRSET",
        "NXRRSET",
        "NOTAUTH",
        "NOTZONE",
        "DSOTYPENI",
        "RESERVED12",
        "RESERVED13",
        "RESERVED14",
        "RESERVED15",
    ];

    /// Of the low 4 bits of the header's fourth byte.
    pub const fn new(byte: u8) -> Self {
        Self(byte & 0xf)
    }

    /// As in results.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.0 as usize]
    }

    /// The number, 0 to 15.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// Why this machine did not send a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Cause {
    /// The slot of the target's window is still taken by an earlier probe.
    Window,
    /// The interface is down or has no carrier.
    LinkDown,
    /// The driver or its queue refused the frame.
    Refused,
    /// No free frame or no room in the transmit ring.
    NoRoom,
    /// No route to the target through the interface.
    NoRoute,
    /// The gateway's MAC address is not known.
    Gateway,
    /// There is no address to send from: the one that was configured, or all of the interface's, went away.
    Source,
    /// The target is on the link, and was still being asked for its MAC address when the end came, or too many were.
    Neighbour,
}

impl Cause {
    /// All, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Window,
        Self::LinkDown,
        Self::Refused,
        Self::NoRoom,
        Self::NoRoute,
        Self::Gateway,
        Self::Source,
        Self::Neighbour,
    ];

    /// As in metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::LinkDown => "link_down",
            Self::Refused => "refused",
            Self::NoRoom => "no_room",
            Self::NoRoute => "no_route",
            Self::Gateway => "gateway",
            Self::Source => "source",
            Self::Neighbour => "neighbour",
        }
    }
}

/// Why a probe is *unreachable*: its place among [`Reason::NAMES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Reason(pub u8);

impl Reason {
    /// All, as in results. The first is this machine's own finding, the others are those of ICMP errors: types 3 (RFC 792; RFC 1122,
    /// section 3.2.2.1; RFC 1812, section 5.2.7.1), 11 and 12; and last, those that ICMPv6 alone has (RFC 4443, section 3).
    pub const NAMES: [&str; 28] = [
        "neighbour",
        "net_unreachable",
        "host_unreachable",
        "protocol_unreachable",
        "port_unreachable",
        "fragmentation_needed",
        "source_route_failed",
        "net_unknown",
        "host_unknown",
        "source_isolated",
        "net_prohibited",
        "host_prohibited",
        "net_tos",
        "host_tos",
        "admin_prohibited",
        "precedence_violation",
        "precedence_cutoff",
        "destination_unreachable",
        "ttl_exceeded",
        "reassembly_time_exceeded",
        "time_exceeded",
        "parameter_problem",
        "no_route",
        "beyond_scope",
        "address_unreachable",
        "source_policy",
        "reject_route",
        "packet_too_big",
    ];
    /// The target is on the link, and its MAC address was asked for in vain.
    pub const NEIGHBOUR: Self = Self(0);
    /// The host is there, and nobody listens at the port.
    pub const PORT_UNREACHABLE: Self = Self(4);
    /// A router said that the time to live ended with it.
    pub const TTL_EXCEEDED: Self = Self(18);

    /// As in results.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.0 as usize]
    }
}

/// What a target is held to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum State {
    /// Not enough settled probes yet.
    #[default]
    Unknown,
    /// `up_after` consecutive probes answered.
    Up,
    /// `down_after` consecutive probes failed.
    Down,
    /// A name that has not been resolved yet.
    Unresolved,
}

impl State {
    /// All, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Up, Self::Down, Self::Unresolved];

    /// As in metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Unresolved => "unresolved",
        }
    }
}
