//! What a router does, as data. [`Rule::default`] is one that does as it should: it counts down, and says *time exceeded* with as
//! much of the packet as fits.

use std::{net::IpAddr, time::Duration};

/// How a router treats packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is said about a packet whose time to live ends here. None: nothing is.
    pub expired: Option<Answer>,
    /// What is said about every packet to the far side that would go on, and then does not. None: it goes on.
    pub refused: Option<Answer>,
    /// What becomes of the time to live of a packet that goes on.
    pub forwarding: Forwarding,
    /// For how long a packet to the far side is held before it goes on, each as long as any other.
    pub hold: Duration,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            expired: Some(Answer::default()),
            refused: None,
            forwarding: Forwarding::default(),
            hold: Duration::ZERO,
        }
    }
}

impl Rule {
    /// Says nothing of packets whose time ends here.
    pub fn silent() -> Self {
        Self { expired: None, ..Self::default() }
    }

    /// Says this of them.
    pub fn expiring(answer: Answer) -> Self {
        Self { expired: Some(answer), ..Self::default() }
    }

    /// Lets none go on, and says so.
    pub fn refusing(kind: Kind) -> Self {
        Self { refused: Some(Answer { kind, ..Answer::default() }), ..Self::default() }
    }

    /// Holds those that go on.
    pub fn holding(hold: Duration) -> Self {
        Self { hold, ..Self::default() }
    }

    /// Forwards so.
    pub fn forwarding(forwarding: Forwarding) -> Self {
        Self { forwarding, ..Self::default() }
    }
}

/// What becomes of the time to live of a packet that goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// One less; what came with 1 ends here.
    #[default]
    Decrement,
    /// As it came: a router that nobody sees.
    Keep,
    /// One less, and what came with 1 goes on with 0: the next router is seen twice, and quotes a time to live of 0 (Augustin et
    /// al., "Avoiding traceroute anomalies with Paris traceroute", 2006).
    Zero,
}

/// An ICMP error, and how it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub kind: Kind,
    /// How much of the packet it quotes.
    pub quote: Quote,
    /// What is not in the quote as it was in the packet.
    pub changes: Changes,
    /// What is appended to the quote (RFC 4884).
    pub extension: Option<Extension>,
    /// Who says it, of the packet's family, instead of the router's own address.
    pub from: Vec<IpAddr>,
    /// The error's own time to live, or hop limit.
    pub ttl: u8,
    /// A bit of what it quotes was lost after the checksum had been made.
    pub corrupt: bool,
    /// How long after the packet.
    pub after: Duration,
    /// How often.
    pub times: usize,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            kind: Kind::TimeExceeded,
            quote: Quote::Most,
            changes: Changes::default(),
            extension: None,
            from: Vec::new(),
            ttl: 64,
            corrupt: false,
            after: Duration::ZERO,
            times: 1,
        }
    }
}

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Time to live exceeded in transit.
    TimeExceeded,
    /// Fragment reassembly time exceeded: of the same type, and no hop.
    ReassemblyTimeExceeded,
    /// No route to the network.
    NetUnreachable,
    /// The host does not answer on its link.
    HostUnreachable,
    /// Forbidden by an administrator.
    Prohibited,
}

impl Kind {
    /// ICMP type and code (RFC 792, RFC 1812).
    pub const fn v4(self) -> (u8, u8) {
        match self {
            Kind::TimeExceeded => (11, 0),
            Kind::ReassemblyTimeExceeded => (11, 1),
            Kind::NetUnreachable => (3, 0),
            Kind::HostUnreachable => (3, 1),
            Kind::Prohibited => (3, 13),
        }
    }

    /// ICMPv6 type and code (RFC 4443).
    pub const fn v6(self) -> (u8, u8) {
        match self {
            Kind::TimeExceeded => (3, 0),
            Kind::ReassemblyTimeExceeded => (3, 1),
            Kind::NetUnreachable => (1, 0),
            Kind::HostUnreachable => (1, 3),
            Kind::Prohibited => (1, 1),
        }
    }
}

/// How much of a packet an error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote {
    /// The IP header and 8 bytes (RFC 792): of most IPv4 packets 28 bytes.
    Least,
    /// So many bytes from the IP header on, at most.
    Bytes(usize),
    /// As much as makes an error of 576 bytes over IPv4 (RFC 1812) and of 1,280 over IPv6 (RFC 4443).
    Most,
}

/// What is not in a quote as it was in the packet. None: as it came. Where it is not said otherwise, checksums that cover a
/// change are made right again, as whoever changed the packet on its way has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Time to live, or hop limit.
    pub ttl: Option<u8>,
    /// The six bits of the differentiated services field.
    pub dscp: Option<u8>,
    /// IPv4's identification.
    pub identification: Option<u16>,
    /// IPv6's flow label.
    pub flow_label: Option<u32>,
    /// Sources before translation, of which that of the packet's family is taken.
    pub sources: Vec<IpAddr>,
    /// Destinations after translation, of which that of the packet's family is taken.
    pub destinations: Vec<IpAddr>,
    /// The destination port after translation, of TCP and UDP.
    pub destination_port: Option<u16>,
    /// The IPv4 header's checksum, right or wrong.
    pub header_checksum: Option<u16>,
    /// The checksum of TCP, UDP or ICMP, right or wrong.
    pub checksum: Option<u16>,
}

/// What follows a quote (RFC 4884).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// What it consists of.
    pub objects: Vec<Object>,
    /// How a reader finds it.
    pub place: Place,
    /// Its checksum.
    pub sum: Sum,
}

impl Extension {
    /// A stack of MPLS labels, found by the length field.
    pub fn mpls(labels: &[Label]) -> Self {
        Self { objects: vec![Object::mpls(labels)], place: Place::LengthField, sum: Sum::Right }
    }
}

/// How a reader finds an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// By the length of the quote in the ICMP header.
    LengthField,
    /// It begins behind 128 bytes of quote, and nothing says so: as routers did before RFC 4884 (its section 5.5).
    Byte128,
}

/// The checksum of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// It is right.
    Right,
    /// It is 0: none was made.
    Absent,
    /// It is wrong.
    Wrong,
}

/// An object of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its class: 1 is MPLS, 2 is about interfaces (RFC 5837).
    pub class: u8,
    /// Its type within the class.
    pub kind: u8,
    /// What it says; a whole number of words of 4 bytes.
    pub payload: Vec<u8>,
}

impl Object {
    /// The stack of labels with which a packet came (RFC 4950).
    pub fn mpls(labels: &[Label]) -> Self {
        let last = labels.len().saturating_sub(1);
        let entry = |(at, label): (usize, &Label)| label.bytes(at == last);
        Self { class: 1, kind: 1, payload: labels.iter().enumerate().flat_map(entry).collect() }
    }
}

/// An entry of an MPLS label stack (RFC 3032).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// 20 bits.
    pub label: u32,
    /// The traffic class, once "experimental": 3 bits.
    pub class: u8,
    /// Its time to live.
    pub ttl: u8,
}

impl Label {
    fn bytes(&self, is_last: bool) -> [u8; 4] {
        let word = self.label << 12 | u32::from(self.class & 7) << 9 | u32::from(is_last) << 8 | u32::from(self.ttl);
        word.to_be_bytes()
    }
}
