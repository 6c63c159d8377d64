//! Where everything lies in a frame. Offsets and ranges are relative to the start of their own header.

/// Ethernet II and VLAN tags.
pub mod ethernet {
    use core::ops::Range;

    /// Destination MAC address. In a steered frame it and the source's first two bytes hold the [`super::STAMP`].
    pub const DESTINATION: Range<usize> = 0..6;
    /// Source MAC address.
    pub const SOURCE: Range<usize> = 6..12;
    /// Type of what follows; a VLAN tag begins here too.
    pub const ETHERTYPE: Range<usize> = 12..14;
    /// Bytes without tags.
    pub const HEADER: usize = 14;
    /// Bytes of the shortest frame, without its check sequence.
    pub const SHORTEST: usize = 60;
    /// IPv4 follows.
    pub const IPV4: u16 = 0x0800;
    /// IPv6, as an Ethernet type.
    pub const IPV6: u16 = 0x86dd;
    /// ARP, as an Ethernet type.
    pub const ARP: u16 = 0x0806;
    /// An 802.1Q tag follows.
    pub const VLAN: u16 = 0x8100;
    /// An 802.1ad service tag follows.
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// Bytes of a tag; the type of what follows is its last two.
    pub const TAG: usize = 4;
    /// Tags that are looked behind.
    pub const MAX_TAGS: usize = 2;
    /// Set in the first byte of a multicast or broadcast address.
    pub const GROUP: u8 = 1;

    /// Whether a tag follows this type.
    #[inline(always)]
    pub const fn is_tag(ethertype: u16) -> bool {
        matches!(ethertype, VLAN | SERVICE_VLAN)
    }
}

/// IPv4 (RFC 791, section 3.1).
pub mod ipv4 {
    use core::ops::Range;

    /// Version in the high 4 bits, header length in words of 4 bytes in the low 4.
    pub const VERSION: usize = 0;
    /// Type of service.
    pub const TOS: usize = 1;
    /// Bytes of header and data.
    pub const TOTAL_LENGTH: Range<usize> = 2..4;
    /// Identification.
    pub const IDENTIFICATION: Range<usize> = 4..6;
    /// Flags and fragment offset.
    pub const FRAGMENT: Range<usize> = 6..8;
    /// Time to live.
    pub const TTL: usize = 8;
    /// Protocol of the data.
    pub const PROTOCOL: usize = 9;
    /// Header checksum.
    pub const CHECKSUM: Range<usize> = 10..12;
    /// Source address.
    pub const SOURCE: Range<usize> = 12..16;
    /// Destination address.
    pub const DESTINATION: Range<usize> = 16..20;
    /// Bytes without options.
    pub const HEADER: usize = 20;
    /// ICMP in the protocol field.
    pub const ICMP: u8 = 1;
    /// TCP in the protocol field.
    pub const TCP: u8 = 6;
    /// UDP in the protocol field.
    pub const UDP: u8 = 17;
    /// The flag "don't fragment".
    pub const DONT_FRAGMENT: u16 = 0x4000;
    /// "More fragments" and the fragment offset: zero in a datagram that is whole.
    pub const IS_FRAGMENT: u16 = 0x3fff;
    /// Of those, all that is set in a first fragment.
    pub const MORE_FRAGMENTS: u16 = 0x2000;

    /// Bytes of the header that begins with this byte; None if it isn't one of IPv4 (version 4, at least 20 bytes).
    #[inline(always)]
    pub const fn header_length(first: u8) -> Option<usize> {
        let length = (first & 0xf) as usize * 4;
        if first >> 4 == 4 && length >= HEADER { Some(length) } else { None }
    }
}

/// IPv6 (RFC 8200).
pub mod ipv6 {
    use core::ops::Range;

    /// Version in the high 4 bits, traffic class, flow label in the low 20: a word.
    pub const FLOW: Range<usize> = 0..4;
    /// Bytes behind the header, extension headers included.
    pub const PAYLOAD_LENGTH: Range<usize> = 4..6;
    /// What follows: a protocol or an extension header.
    pub const NEXT_HEADER: usize = 6;
    /// Hop limit.
    pub const HOP_LIMIT: usize = 7;
    /// Source address.
    pub const SOURCE: Range<usize> = 8..24;
    /// Destination address.
    pub const DESTINATION: Range<usize> = 24..40;
    /// Bytes without extension headers.
    pub const HEADER: usize = 40;
    /// The word [`FLOW`] with traffic class and flow label 0.
    pub const VERSION: u32 = 6 << 28;
    /// ICMPv6 as a next header.
    pub const ICMP: u8 = 58;
    /// TCP as a next header.
    pub const TCP: u8 = 6;
    /// UDP as a next header.
    pub const UDP: u8 = 17;
    /// Hop-by-hop options as a next header.
    pub const HOP_BY_HOP: u8 = 0;
    /// A routing header.
    pub const ROUTING: u8 = 43;
    /// A fragment's header.
    pub const FRAGMENT: u8 = 44;
    /// An authentication header (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// Destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// First byte of multicast addresses.
    pub const MULTICAST: u8 = 0xff;

    /// Extension headers that are looked behind: what has more is somebody else's.
    pub const MAX_EXTENSIONS: usize = 4;
    /// Bytes of the shortest extension header, a fragment's among them.
    pub const EXTENSION: usize = 8;
    /// In an extension header, what follows it.
    pub const EXTENSION_NEXT: usize = 0;
    /// How long it is: see [`extension_length`].
    pub const EXTENSION_LENGTH: usize = 1;
    /// In a fragment's header, its offset and the flag "more fragments".
    pub const FRAGMENT_OFFSET: Range<usize> = 2..4;
    /// The two: zero in a fragment that is all of a datagram.
    pub const IS_FRAGMENT: u16 = 0xfff9;
    /// Of those, all that is set in a first fragment.
    pub const MORE_FRAGMENTS: u16 = 1;
    /// In a routing header, how many addresses are still to be visited: 0 where it has arrived.
    pub const SEGMENTS_LEFT: usize = 3;

    /// Whether the first byte is that of an IPv6 header.
    #[inline(always)]
    pub const fn is_version(first: u8) -> bool {
        first >> 4 == 6
    }

    /// Whether this next header is one that is looked behind. What is behind a fragment's is whole only by chance, and behind
    /// encryption's it can't be read.
    #[inline(always)]
    pub const fn is_extension(next: u8) -> bool {
        matches!(next, HOP_BY_HOP | ROUTING | AUTHENTICATION | DESTINATION_OPTIONS)
    }

    /// Bytes of such a header, whose second byte this is.
    #[inline(always)]
    pub const fn extension_length(next: u8, length: u8) -> usize {
        if next == AUTHENTICATION { (length as usize + 2) * 4 } else { (length as usize + 1) * 8 }
    }
}

/// ICMPv6 echo, and errors that quote one (RFC 4443): laid out as [`icmp`] is.
pub mod icmpv6 {
    /// Type of an echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Type of an echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Type of "destination unreachable".
    pub const UNREACHABLE: u8 = 1;
    /// Type of "packet too big".
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Type of "time exceeded".
    pub const TIME_EXCEEDED: u8 = 3;
    /// Type of "parameter problem".
    pub const PARAMETER_PROBLEM: u8 = 4;

    /// Whether a message of this type says that the datagram it quotes did not arrive. Types below 128 are errors, and RFC 4443 has these
    /// four; all others, neighbour discovery (133 to 137) and multicast listeners (130 to 132, 143) among them, are the kernel's.
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE..=PARAMETER_PROBLEM)
    }
}

/// ICMP echo, and errors that quote one (RFC 792).
pub mod icmp {
    use core::ops::Range;

    /// Type of message.
    pub const TYPE: usize = 0;
    /// Code; 0 in echo messages.
    pub const CODE: usize = 1;
    /// Over the whole message.
    pub const CHECKSUM: Range<usize> = 2..4;
    /// Identifier.
    pub const IDENTIFIER: Range<usize> = 4..6;
    /// Sequence number.
    pub const SEQUENCE: Range<usize> = 6..8;
    /// Bytes before the payload, or in an error before the quoted datagram.
    pub const HEADER: usize = 8;
    /// Type of an echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Type of an echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Type of "destination unreachable".
    pub const UNREACHABLE: u8 = 3;
    /// Type of "time exceeded".
    pub const TIME_EXCEEDED: u8 = 11;
    /// Type of "parameter problem".
    pub const PARAMETER_PROBLEM: u8 = 12;

    /// The checksum of the echo requests of a flow, whatever they say and to whom: routers that balance by flow hash a message's first 4
    /// bytes. Never 0 or 0xffff, which are the same number to who checks them; different in any 65,534 flows that follow one another.
    pub const fn checksum(flow: u16) -> u16 {
        ((0xec40 + flow as u32) % 0xfffe + 1) as u16
    }

    /// Whether [`checksum`] gives this one for any of the flows below `flows`.
    #[inline(always)]
    pub const fn is_of_flow(checksum: u16, flows: u32) -> bool {
        let flow = (checksum as u32 + 0xfffe - 1 - 0xec40) % 0xfffe;
        checksum != 0 && checksum != 0xffff && flow < flows
    }

    /// Whether a message of this type says that the datagram it quotes did not arrive. A source quench (4) and a redirect
    /// (5) quote one too, and say no such thing.
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }
}

/// Extensions of ICMP errors (RFC 4884), and in them MPLS labels (RFC 4950). Ranges begin with the structure, or with an object of it.
pub mod extension {
    use core::ops::Range;

    /// In an ICMP error, how long the quote in front of the extensions is, in words of [`UNIT`] bytes; 0: it doesn't say.
    pub const LENGTH: usize = 5;
    /// The same of ICMPv6.
    pub const LENGTH_V6: usize = 4;
    /// Bytes of such a word.
    pub const UNIT: usize = 4;
    /// The same of ICMPv6.
    pub const UNIT_V6: usize = 8;
    /// Bytes of the shortest quote that extensions follow, filled with zeros: those of a quote whose length is not said.
    pub const SHORTEST_QUOTE: usize = 128;

    /// Bytes of the structure's header: the version in the high 4 bits of the first.
    pub const HEADER: usize = 4;
    /// The version that there is.
    pub const VERSION: u8 = 2;
    /// Over the whole structure; 0: there is none.
    pub const CHECKSUM: Range<usize> = 2..4;

    /// Bytes of an object's header.
    pub const OBJECT: usize = 4;
    /// Bytes of an object with its header.
    pub const OBJECT_LENGTH: Range<usize> = 0..2;
    /// What it is.
    pub const OBJECT_CLASS: usize = 2;
    /// What of that, which its RFC calls C-type.
    pub const OBJECT_TYPE: usize = 3;
    /// The class of MPLS labels.
    pub const MPLS: u8 = 1;
    /// Of those, the stack that came in.
    pub const MPLS_STACK: u8 = 1;
    /// Bytes of an entry of that stack: label (20 bits), traffic class (3), bottom of stack (1), time to live (8).
    pub const LABEL: usize = 4;
}

/// TCP (RFC 9293, section 3.1).
pub mod tcp {
    use core::ops::Range;

    /// Source port.
    pub const SOURCE: Range<usize> = 0..2;
    /// Destination port.
    pub const DESTINATION: Range<usize> = 2..4;
    /// Sequence number. An ICMP error quotes at least as far as this.
    pub const SEQUENCE: Range<usize> = 4..8;
    /// Acknowledgment number.
    pub const ACKNOWLEDGMENT: Range<usize> = 8..12;
    /// Header length in words of 4 bytes, in the high 4 bits.
    pub const OFFSET: usize = 12;
    /// The eight flags.
    pub const FLAGS: usize = 13;
    /// Window.
    pub const WINDOW: Range<usize> = 14..16;
    /// Over pseudo-header and segment.
    pub const CHECKSUM: Range<usize> = 16..18;
    /// Urgent pointer.
    pub const URGENT: Range<usize> = 18..20;
    /// Bytes without options.
    pub const HEADER: usize = 20;

    /// The flag FIN.
    pub const FIN: u8 = 1;
    /// The flag SYN.
    pub const SYN: u8 = 1 << 1;
    /// The flag RST.
    pub const RST: u8 = 1 << 2;
    /// The flag ACK.
    pub const ACK: u8 = 1 << 4;

    /// Bytes of the options of a probe: those of Linux in its order, maximum segment size, selective acknowledgments, timestamps, window
    /// scale.
    pub const OPTIONS: usize = 20;
    /// In those, the timestamp.
    pub const TIMESTAMP: Range<usize> = 8..12;

    /// Bytes of the header with this byte at [`OFFSET`]; None if there can be no such header.
    #[inline(always)]
    pub const fn header_length(offset: u8) -> Option<usize> {
        let length = (offset >> 4) as usize * 4;
        if length >= HEADER { Some(length) } else { None }
    }
}

/// UDP (RFC 768).
pub mod udp {
    use core::ops::Range;

    /// Source port: where TCP has it.
    pub const SOURCE: Range<usize> = 0..2;
    /// Destination port: where TCP has it.
    pub const DESTINATION: Range<usize> = 2..4;
    /// Bytes of header and data.
    pub const LENGTH: Range<usize> = 4..6;
    /// Over pseudo-header and datagram; 0: there is none.
    pub const CHECKSUM: Range<usize> = 6..8;
    /// Bytes of the header.
    pub const HEADER: usize = 8;
}

/// DNS over UDP (RFC 1035, section 4.1.1); ranges begin with the message.
pub mod dns {
    use core::ops::Range;

    /// Identifier, which a response brings back.
    pub const ID: Range<usize> = 0..2;
    /// The byte with the flag [`RESPONSE`].
    pub const FLAGS: usize = 2;
    /// It is a response.
    pub const RESPONSE: u8 = 1 << 7;
    /// The byte whose low 4 bits are the response code.
    pub const RCODE: usize = 3;
    /// Bytes of the header.
    pub const HEADER: usize = 12;
}

/// What a probe carries, numbers big-endian. Longer probes are padded.
pub mod payload {
    use core::ops::Range;

    /// What makes the message's checksum the one that all probes of its flow have ([`super::icmp::checksum`]): it says nothing.
    pub const FILLER: Range<usize> = 0..2;
    /// When it was sent: the low 48 bits of CLOCK_MONOTONIC's nanoseconds. The others follow from a clock: [`sent`].
    pub const SENT: Range<usize> = 2..8;
    /// Both together, a number of 64 bits: [`SENT`] is its low 48.
    pub const FILLER_AND_SENT: Range<usize> = 0..8;
    /// Index of its target.
    pub const TARGET: Range<usize> = 8..12;
    /// Proof that we sent it, to that address: [`crate::cookie`].
    pub const COOKIE: Range<usize> = 12..18;
    /// Bytes of all that: with it an IPv4 probe fits the smallest Ethernet frame.
    pub const LENGTH: usize = 18;

    /// Bits of the send time that travel: they come round every 78 hours.
    pub const SENT_BITS: u32 = 48;
    /// So far, in nanoseconds, a send time may be ahead of the clock that restores it: the kernel's coarse clock lags.
    pub const AHEAD_NS: u64 = 1 << 30;

    /// When a probe was sent that says so in [`FILLER_AND_SENT`], in nanoseconds: of all moments with these low bits the last that is not
    /// after `clock` by more than [`AHEAD_NS`]. The cookie covers all 64 bits, so of a probe that is older or further ahead it proves
    /// nothing.
    #[inline(always)]
    pub const fn sent(filler_and_sent: u64, clock: u64) -> u64 {
        let latest = clock.wrapping_add(AHEAD_NS);
        latest.wrapping_sub(low(latest.wrapping_sub(filler_and_sent)))
    }

    /// Both fields as one number: of the send time the bits that travel.
    #[inline(always)]
    pub const fn filler_and_sent(filler: u16, sent_ns: u64) -> u64 {
        (filler as u64) << SENT_BITS | low(sent_ns)
    }

    /// The bits of a send time that travel.
    #[inline(always)]
    pub const fn low(sent_ns: u64) -> u64 {
        sent_ns & ((1 << SENT_BITS) - 1)
    }
}

/// Where `steer` writes the arrival stamp (CLOCK_MONOTONIC, nanoseconds, native byte order): over the MAC addresses.
pub const STAMP: core::ops::Range<usize> = 0..8;
