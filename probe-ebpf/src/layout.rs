//! The maps between the XDP programs and userspace, by the name under which each is found in the object.
//!
//! | map | kind | entries | value |
//! |---|---|---|---|
//! | `SETTINGS` | array | 1 | [`Settings`] |
//! | `INACTIVE` | array | 1 | u32: not 0 at a member at which its bond discards what arrives; nothing is taken there |
//! | `TAKEN` | array, mappable | [`MAX_QUEUES`] | [`QueueLine`]: frames that `steer` took for a queue, and how many it may |
//! | `VERDICTS` | per-CPU array | [`Verdict::ALL`] | u64: frames by what `steer` made of them |
//! | `XSKS` | AF_XDP sockets | [`MAX_QUEUES`] | the socket of each receive queue |
//! | `REFLECTED` | per-CPU array | [`Reflected`] | u64: frames by what `reflect` made of them |
//! | `TCP_PORTS` | array | 1 | [`OpenPorts`]: what `reflect` answers TCP with |
//! | `UDP_PORTS` | array | 1 | [`OpenPorts`]: what `reflect` answers UDP with |
//! | `LIVE_CURSORS` | array, mappable | [`MAX_CPUS`] | [`LiveCursor`], by CPU |
//! | `LIVE_DUE` | array, mappable | senders * [`LIVE_TABLE`] | [`LiveDue`] |
//! | `LIVE_DESTINATIONS` | array, mappable | senders * [`LIVE_TABLE`] | [`LiveDestination`]: of the IPv6 probe in the same place of `LIVE_DUE` |
//! | `LIVE_FRAMES` | array, mappable | senders * [`LIVE_TABLE`] | [`LiveFrame`]: of the probe in the same place of `LIVE_DUE` |
//! | `LIVE_TEMPLATES` | array | [`MAX_TEMPLATES`] | [`LiveTemplate`] |
//! | `LIVE_TEMPLATES_V6` | array | [`MAX_TEMPLATES`] | [`LiveTemplateV6`] |
//! | `LIVE_OUT` | devices | 1 | the interface that live frames leave by |

/// Receive queues that can have a socket.
pub const MAX_QUEUES: u32 = 256;

/// What the two sides tell each other of a receive queue: a value of `TAKEN`, on a cache line of its own.
///
/// `steer` may take frames only while `taken` is below `limit`, which is so far ahead as the queue's socket has room: so a receiver
/// that has stopped never lets the socket's ring run full. That would be worse than a lost frame: zero-copy drivers stop receiving
/// then, whosever frames come next (`I40E_XDP_EXIT` and its like).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct QueueLine {
    /// Frames that were ours. The program counts each before it reads the clock for its stamp.
    pub taken: u64,
    /// A frame whose number, counted by `taken` from 0, is not below this is refused. The receiver writes.
    pub limit: u64,
    /// Of the frames taken, those that were refused, and dropped. The program writes.
    pub refused: u64,
    /// Zero. Spelled out so that the structure has no hidden bytes.
    pub padding: [u64; 5],
}

/// Words of 8 bytes in a [`QueueLine`].
pub const QUEUE_WORDS: u32 = 8;

/// Words in `TAKEN`.
pub const TAKEN_ENTRIES: u32 = MAX_QUEUES * QUEUE_WORDS;

/// Which word of `TAKEN` is a queue's `taken`.
#[inline(always)]
pub const fn taken_index(queue: u32) -> u32 {
    queue * QUEUE_WORDS
}

/// Which word of `TAKEN` is a queue's `limit`.
pub const fn limit_index(queue: u32) -> u32 {
    taken_index(queue) + 1
}

/// Which word of `TAKEN` is a queue's `refused`.
pub const fn refused_index(queue: u32) -> u32 {
    taken_index(queue) + 2
}

/// The limit for a queue whose receiver has consumed so many frames, so many having been lost on their way to it and so many refused,
/// where the socket's ring holds `ring`. `refused` may be what it was a while ago: then the limit is lower than it could be.
#[inline(always)]
pub const fn limit(consumed: u64, lost: u64, refused: u64, ring: u64) -> u64 {
    consumed + lost + refused + ring
}

const _: () = assert!(size_of::<QueueLine>() == 8 * QUEUE_WORDS as usize);

/// Addresses of either family that replies may be sent to.
pub const MAX_SOURCES: usize = 16;

/// Bytes of an AF_XDP frame's chunk in the UMEM.
pub const CHUNK: usize = 2048;

/// Bytes in front of a received frame in its chunk: XDP_PACKET_HEADROOM.
pub const HEADROOM: usize = 256;

/// Longest frame that `steer` takes, bytes: the kernel drops what doesn't fit the chunk behind its headroom
/// (`xsk_pool_get_rx_frame_size`).
pub const MAX_FRAME: usize = CHUNK - HEADROOM;

/// What `steer` has to know. Written before the program is attached and when addresses or timeouts change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Of the cookie.
    pub key: [u64; 2],
    /// Nanoseconds: a reply to an older probe isn't taken. The longest timeout, and slack in which a reply counts as late.
    pub max_age_ns: u64,
    /// Our IPv4 addresses, each in network byte order as it lies in memory: `u32::from_ne_bytes(address.octets())`.
    pub sources: [u32; MAX_SOURCES],
    /// How many of them there are.
    pub source_count: u32,
    /// ICMP identifier of this instance, host byte order.
    pub identifier: u16,
    /// The first of the ports that probes are sent from, host byte order: as many as `port_count` follow one another.
    pub first_port: u16,
    /// Of the flow labels of IPv6: `cookie::flow_key`.
    pub flow_key: u64,
    /// Our IPv6 addresses, each as it lies in memory, in words.
    pub sources_v6: [[u64; 2]; MAX_SOURCES],
    /// How many of them there are.
    pub source_count_v6: u32,
    /// See `first_port`; 0 where only echo requests are sent.
    pub port_count: u32,
    /// So many of those ports, the last ones, send UDP with a payload of which an answer need not bring anything back: it has no proof.
    pub unproven_ports: u32,
    /// Zero, which the verifier does not know: the program makes it forget with it what would only keep it busy.
    pub zero: u32,
    /// By so many flows probes are sent that are to expire on the way: then *time exceeded* is taken for less than what proves a probe where
    /// somebody on the way has changed what it quotes (see `steer`), and userspace has to find whose it was. 0: none are.
    pub expiring_flows: u32,
    /// Zero. Spelled out so that the structure has no hidden bytes.
    pub padding: u32,
}

/// Bytes of [`Settings`].
pub const SETTINGS_SIZE: usize = size_of::<Settings>();

impl Settings {
    /// As it lies in memory, for a map whose value is bytes.
    pub fn to_bytes(&self) -> [u8; SETTINGS_SIZE] {
        let mut bytes = [0; SETTINGS_SIZE];
        let mut rest = bytes.as_mut_slice();
        let mut put = |field: &[u8]| {
            let (head, tail) = core::mem::take(&mut rest).split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        };
        self.key.iter().for_each(|word| put(&word.to_ne_bytes()));
        put(&self.max_age_ns.to_ne_bytes());
        self.sources.iter().for_each(|address| put(&address.to_ne_bytes()));
        put(&self.source_count.to_ne_bytes());
        put(&self.identifier.to_ne_bytes());
        put(&self.first_port.to_ne_bytes());
        put(&self.flow_key.to_ne_bytes());
        self.sources_v6.as_flattened().iter().for_each(|word| put(&word.to_ne_bytes()));
        put(&self.source_count_v6.to_ne_bytes());
        put(&self.port_count.to_ne_bytes());
        put(&self.unproven_ports.to_ne_bytes());
        put(&self.zero.to_ne_bytes());
        put(&self.expiring_flows.to_ne_bytes());
        put(&self.padding.to_ne_bytes());
        bytes
    }
}

/// What `steer` made of a frame. All but [`Verdict::Taken`] and [`Verdict::RingFull`] went on to the kernel, untouched. In this order
/// the checks are made: a frame counts under the first that it fails. Only of TCP and UDP the proof comes before the lengths:
/// others on this host may use our ports behind an address translation, and without proof nothing of theirs is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// A reply or another answer to us, or an error that quotes a probe of ours: stamped and redirected to the queue's socket.
    Taken,
    /// Neither IPv4 nor IPv6, behind at most two VLAN tags, but ARP.
    NotIp,
    /// None of the three: the host's kernel may have no handler for it, and then counts it among the interface's dropped frames.
    UnknownProtocol,
    /// Too short for its headers up to the ICMP identifier, or an IP header that contradicts itself. Where probes are sent to
    /// ports, also a TCP or UDP header that does not fit, or a DNS header of which a part is missing.
    Malformed,
    /// IPv4 or IPv6, and neither an ICMP echo reply nor an ICMP error, nor a TCP segment or UDP datagram to one of our ports that can be an
    /// answer: not a bare ACK without proof, and where answers have proof no datagram but a DNS response. Neighbour discovery is among these, and what has more extension headers in front than are looked behind,
    /// or such as can't be.
    NotReply,
    /// A fragment of an ICMP message.
    Fragment,
    /// Of those, the first of an echo reply that proves itself: too large for the way back, so that it can't be measured.
    FragmentedReply,
    /// An echo reply to somebody else's identifier: the host's own ping.
    ForeignIdentifier,
    /// An ICMP error that quotes neither an echo request with our identifier nor a proven SYN or UDP probe of ours, or too little to say: about the
    /// host's own traffic.
    ForeignQuote,
    /// Our identifier or one of our ports, sent to an address that is not among ours.
    ForeignAddress,
    /// Longer than [`MAX_FRAME`], or in several pieces.
    Large,
    /// Our identifier, shorter than its IP header says, or a reply or an IPv6 error's quote shorter than a probe. Of TCP and UDP,
    /// ours and shorter than its IP header says.
    Truncated,
    /// Our identifier, or to one of our ports a SYN-ACK, a RST or, if answers there have proof, a DNS response; and no proof that we sent
    /// what it answers.
    Cookie,
    /// A RST to one of our ports that acknowledges nothing, so that nothing in it could be proof. No host answers a SYN so (RFC 9293,
    /// section 3.10.7.1).
    ResetWithoutAck,
    /// Proven ours, and older than any timeout or from the future.
    Age,
    /// Ours, and arrived at a member at which its bond discards frames: the bond is left to do so.
    Inactive,
    /// Ours, and no socket on its queue.
    NoSocket,
    /// Ours, and no room in the socket's ring: dropped.
    RingFull,
}

impl Verdict {
    /// All, in the order of their counters in `VERDICTS`.
    pub const ALL: [Self; 18] = [
        Self::Taken,
        Self::NotIp,
        Self::UnknownProtocol,
        Self::Malformed,
        Self::NotReply,
        Self::Fragment,
        Self::FragmentedReply,
        Self::ForeignIdentifier,
        Self::ForeignQuote,
        Self::ForeignAddress,
        Self::Large,
        Self::Truncated,
        Self::Cookie,
        Self::ResetWithoutAck,
        Self::Age,
        Self::Inactive,
        Self::NoSocket,
        Self::RingFull,
    ];

    /// As in metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::NotIp => "not_ip",
            Self::UnknownProtocol => "unknown_protocol",
            Self::Malformed => "malformed",
            Self::NotReply => "not_reply",
            Self::Fragment => "fragment",
            Self::FragmentedReply => "fragmented_reply",
            Self::ForeignIdentifier => "foreign_identifier",
            Self::ForeignQuote => "foreign_quote",
            Self::ForeignAddress => "foreign_address",
            Self::Large => "large",
            Self::Truncated => "truncated",
            Self::Cookie => "cookie",
            Self::ResetWithoutAck => "reset_without_ack",
            Self::Age => "age",
            Self::Inactive => "inactive",
            Self::NoSocket => "no_socket",
            Self::RingFull => "ring_full",
        }
    }

    /// Whether the frame claimed to be an answer to this instance, or an error about it, and failed a check: these are the rejected
    /// replies.
    pub const fn is_rejected(self) -> bool {
        matches!(self, Self::FragmentedReply | Self::Truncated | Self::Cookie | Self::ResetWithoutAck | Self::Age)
    }
}

/// What `reflect` made of a frame; what it passed on to the kernel is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reflected {
    /// An echo request, answered.
    Echo,
    /// A SYN, answered.
    Tcp,
    /// Another TCP segment, or a UDP datagram that an open port has no answer to, dropped.
    Swallowed,
    /// A UDP datagram, answered: by an open port, or by an error.
    Udp,
}

impl Reflected {
    /// How many counters there are.
    pub const COUNT: u32 = 4;
}

/// The ports of a protocol that `reflect` says are open, at every address: zeros until userspace writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OpenPorts {
    /// 0: the protocol is the kernel's.
    pub answers: u64,
    /// A bit for each port, the first in the lowest bit of the first word.
    pub open: [u64; 1024],
}

/// Bytes of [`OpenPorts`].
pub const OPEN_PORTS_SIZE: usize = size_of::<OpenPorts>();

impl OpenPorts {
    /// The protocol is answered, and no port is open.
    pub const CLOSED: Self = Self { answers: 1, open: [0; 1024] };

    /// Opens a port.
    pub const fn open(&mut self, port: u16) {
        self.open[(port >> 6) as usize] |= 1 << (port & 63);
    }

    /// Whether a port is open.
    #[inline(always)]
    pub const fn is_open(&self, port: u16) -> bool {
        self.open[(port >> 6) as usize] >> (port & 63) & 1 != 0
    }

    /// As it lies in memory, for a map whose value is bytes.
    pub fn to_bytes(&self) -> [u8; OPEN_PORTS_SIZE] {
        let mut bytes = [0; OPEN_PORTS_SIZE];
        let words = [self.answers].into_iter().chain(self.open);
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// CPUs whose number a sender can have.
pub const MAX_CPUS: u32 = 1024;

/// Due probes that a sender's table holds; a power of two, and the most that one call can send. No more than that: what is written
/// for one call still lies in the cache at the next.
pub const LIVE_TABLE: u32 = 2048;

/// Templates that probes can be built from at a time: a source address and a shape each, of both families together.
pub const LIVE_TEMPLATES_AT_ONCE: u32 = 1024;

/// Those of now and those of before: which half is which changes with every change of addresses.
pub const MAX_TEMPLATES: u32 = 2 * LIVE_TEMPLATES_AT_ONCE;

/// How far the call of the sender on a CPU has come: positions in its table, from 0. On a cache line of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct LiveCursor {
    /// Frames built and redirected: the position of the next. The program writes.
    pub built: u64,
    /// Of those, frames whose bulk the driver has taken or refused. The watcher of `xdp_devmap_xmit` writes.
    pub confirmed: u64,
    /// Whose frames these are, which the sender says before a call: its thread's number in its own namespace of such numbers, and
    /// that namespace's device and inode. Between two calls another process may send from the same CPU.
    pub thread: u32,
    /// Which sender transmits from this CPU, from 1; 0: none.
    pub sender: u32,
    /// See `thread`.
    pub namespace: [u64; 2],
    /// The kernel's name for that thread, once the watcher has seen it in this call; 0 before. It is quicker to compare.
    pub task: u64,
    /// The error with which the driver refused a whole bulk in this call, as a positive number; 0: none. The watcher writes.
    pub error: u32,
    /// What this call's probes are, all of one shape: [`LIVE_ECHO_V4`], [`LIVE_ECHO_V6`] or [`LIVE_WHOLE`]. The sender says it before
    /// the call.
    pub form: u32,
    /// Zero. Spelled out so that the structure has no hidden bytes.
    pub padding: [u32; 2],
}

/// In [`LiveCursor::form`]: echo requests over IPv4, which the program builds by [`LiveTemplate`]s.
pub const LIVE_ECHO_V4: u32 = 0;
/// The same over IPv6, by [`LiveTemplateV6`]s.
pub const LIVE_ECHO_V6: u32 = 1;
/// Any others: the program copies them from `LIVE_FRAMES`.
pub const LIVE_WHOLE: u32 = 2;

/// A probe to be built. The sender writes it, but for `sent_ns` and `refused`; of a whole frame those two are all that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LiveDue {
    /// MAC address of the next hop, its first byte lowest, and two bytes of zero.
    pub next_hop_mac: u64,
    /// The stamp in it, CLOCK_MONOTONIC. The program writes.
    pub sent_ns: u64,
    /// Where to; of IPv6 it is nothing, see [`LiveDestination`].
    pub destination: [u8; 4],
    /// Whose.
    pub target: u32,
    /// Low bits of its number.
    pub sequence: u16,
    /// Tenant of the slot, for the cookie.
    pub generation: u16,
    /// Index of its template.
    pub template: u16,
    /// Not 0: the driver refused it. The watcher of `xdp_devmap_xmit` writes.
    pub refused: u16,
}

/// Where an IPv6 probe goes: the address as it lies in memory, in little-endian words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct LiveDestination(pub [u64; 2]);

impl From<[u8; 16]> for LiveDestination {
    #[inline(always)]
    fn from([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: [u8; 16]) -> Self {
        Self([u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p])])
    }
}

/// Bytes of the longest frame that is copied.
pub const LIVE_FRAME: usize = 128;

/// So many bytes more than a whole frame's a live frame begins with, and the program cuts them off. The kernel looks at the length anew only
/// where a program has changed it: a frame that comes back from a veth's other end, where an XDP program has cut it short, would be sent
/// as short as that (`frame_was_changed` in net/bpf/test_run.c).
pub const LIVE_SPARE: usize = 1;

/// A probe that the sender has written itself, from its first byte on. It has as many as the frames of the call have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct LiveFrame(pub [u8; LIVE_FRAME]);

/// What IPv4 probes from one source with one payload size have in common: `wire::Template`, for the program. With one VLAN tag at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct LiveTemplate {
    /// Ethernet header with its tag, IPv4 and ICMP header, checksum included, as they lie in the frame, in little-endian words; zero what
    /// differs from probe to probe. Without a tag the fifth ends before the sequence number and the last is nothing but zeros.
    pub headers: [u64; 6],
    /// Sum over the IPv4 header without identification and destination.
    pub ip_sum: u64,
    /// Sum over the ICMP message without sequence number and payload.
    pub icmp_sum: u64,
}

/// Bytes of [`LiveTemplate`].
pub const LIVE_TEMPLATE_SIZE: usize = size_of::<LiveTemplate>();

/// The same of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct LiveTemplateV6 {
    /// Ethernet header with its tag, IPv6 and ICMPv6 header, checksum included, as they lie in the frame, in little-endian words; zero what
    /// differs from probe to probe, and of the flow label what the flow has in common (`cookie::label_of_flow`). Without a tag they end
    /// behind the sequence number and two bytes of payload, with one before the sequence number.
    pub headers: [u64; 8],
    /// Sum over pseudo-header and ICMPv6 message without destination, sequence number and payload.
    pub icmp_sum: u64,
}

/// Bytes of [`LiveTemplateV6`].
pub const LIVE_TEMPLATE_V6_SIZE: usize = size_of::<LiveTemplateV6>();

const _: () = assert!(size_of::<LiveDue>() == 32 && size_of::<LiveCursor>() == 64 && LIVE_TEMPLATE_SIZE == 64);
const _: () = assert!(size_of::<LiveDestination>() == 16 && LIVE_TEMPLATE_V6_SIZE == 72);
const _: () = assert!(size_of::<LiveFrame>() == LIVE_FRAME);

impl LiveTemplateV6 {
    /// As it lies in memory, for a map whose value is bytes.
    pub fn to_bytes(&self) -> [u8; LIVE_TEMPLATE_V6_SIZE] {
        let mut bytes = [0; LIVE_TEMPLATE_V6_SIZE];
        let words = self.headers.iter().chain([&self.icmp_sum]);
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

impl LiveTemplate {
    /// As it lies in memory, for a map whose value is bytes.
    pub fn to_bytes(&self) -> [u8; LIVE_TEMPLATE_SIZE] {
        let mut bytes = [0; LIVE_TEMPLATE_SIZE];
        let words = self.headers.iter().chain([&self.ip_sum, &self.icmp_sum]);
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}
