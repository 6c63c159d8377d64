//! An answer to every SYN, made of the SYN's own frame: a port is open or closed as userspace says, whatever the address. All other
//! segments are swallowed. The kernel knows of no such connection and would reset what was opened; and nothing answers a RST.

use crate::{
    TCP_PORTS,
    parse::{self, Link, Piece},
    probe::checksum,
    reflect::{Fate, TTL, adjust, bytes, is_between_stations, is_host, is_host_v6, sum, turn},
};
use aya_ebpf::{helpers::bpf_xdp_adjust_tail, programs::XdpContext};
use core::ops::Range;
use probe_ebpf::{
    layout::OpenPorts,
    wire::{ethernet, ipv4, ipv6, tcp},
};

/// Bytes of an answer behind its IP header: no options.
const LENGTH: usize = tcp::HEADER;
/// What an open port offers to receive.
const WINDOW: u16 = u16::MAX;

/// Turns a SYN into its answer, and says what to do. None: it is no TCP that is answered here, and was not touched.
#[inline(always)]
pub(crate) fn reflect(ctx: &XdpContext) -> Option<Fate> {
    let ports = TCP_PORTS.get(0)?;
    if ports.answers == 0 {
        return None;
    }
    let link = parse::link(ctx).ok()?;
    match link.ethertype {
        ethernet::IPV4 => reflect_v4(ctx, &link, ports),
        ethernet::IPV6 => reflect_v6(ctx, &link, ports),
        _ => None,
    }
}

/// A TCP segment that is whole, behind an IP header of so many bytes and nothing in between.
pub(crate) struct Segment<const HEADER: usize> {
    pub(crate) ip: Piece<HEADER>,
    pub(crate) tcp: Piece<{ tcp::HEADER }>,
    /// Where it begins in the frame.
    pub(crate) offset: usize,
    /// Its bytes, as the IP header has it.
    pub(crate) length: usize,
}

/// Without IP options: what those ask for is the kernel's to do.
#[inline(always)]
pub(crate) fn segment_v4(ctx: &XdpContext, link: &Link) -> Option<Segment<{ ipv4::HEADER }>> {
    let ip = Piece::<{ ipv4::HEADER }>::at(ctx, link.offset)?;
    let offset = link.offset + ipv4::HEADER;
    let tcp = Piece::<{ tcp::HEADER }>::at(ctx, offset)?;
    let total = usize::from(ip.number(ipv4::TOTAL_LENGTH));
    let is_whole = ipv4::header_length(ip.byte(ipv4::VERSION)) == Some(ipv4::HEADER)
        && ip.byte(ipv4::PROTOCOL) == ipv4::TCP
        && ip.number(ipv4::FRAGMENT) & ipv4::IS_FRAGMENT == 0
        && ipv4::HEADER + tcp::header_length(tcp.byte(tcp::OFFSET))? <= total
        && link.offset + total <= parse::frame_length(ctx);
    is_whole.then(|| Segment { ip, tcp, offset, length: total - ipv4::HEADER })
}

/// Without extension headers.
#[inline(always)]
pub(crate) fn segment_v6(ctx: &XdpContext, link: &Link) -> Option<Segment<{ ipv6::HEADER }>> {
    let ip = Piece::<{ ipv6::HEADER }>::at(ctx, link.offset)?;
    let offset = link.offset + ipv6::HEADER;
    let tcp = Piece::<{ tcp::HEADER }>::at(ctx, offset)?;
    let length = usize::from(ip.number(ipv6::PAYLOAD_LENGTH));
    let is_whole = ipv6::is_version(ip.byte(0))
        && ip.byte(ipv6::NEXT_HEADER) == ipv6::TCP
        && tcp::header_length(tcp.byte(tcp::OFFSET))? <= length
        && offset + length <= parse::frame_length(ctx);
    is_whole.then_some(Segment { ip, tcp, offset, length })
}

#[inline(always)]
fn reflect_v4(ctx: &XdpContext, link: &Link, ports: &OpenPorts) -> Option<Fate> {
    let Segment { ip, tcp: segment, offset, length } = segment_v4(ctx, link)?;
    if !is_between_stations(link) || !is_host(ip.byte(ipv4::DESTINATION.start)) || !is_host(ip.byte(ipv4::SOURCE.start))
    {
        return None;
    }
    if !is_syn(segment) {
        return Some(Fate::Swallowed);
    }
    turn(link);

    // Swapping the addresses leaves both sums as they were.
    let (destination, source) = (ip.bytes::<4>(ipv4::DESTINATION), ip.bytes::<4>(ipv4::SOURCE));
    ip.write(ipv4::DESTINATION, source);
    ip.write(ipv4::SOURCE, destination);
    let now = (ipv4::HEADER + LENGTH) as u16;
    let ttl = ipv4::TTL..ipv4::TTL + 2;
    let sum = adjust(ip.number(ipv4::CHECKSUM), (ipv4::HEADER + length) as u16, now);
    let sum = adjust(sum, ip.number(ttl), u16::from_be_bytes([TTL, ipv4::TCP]));
    ip.write(ipv4::TOTAL_LENGTH, now.to_be_bytes());
    ip.write(ipv4::TTL..ipv4::TTL + 1, [TTL]);
    ip.write(ipv4::CHECKSUM, sum.to_be_bytes());

    let addresses = u64::from(u32::from_be_bytes(destination)) + u64::from(u32::from_be_bytes(source));
    answer(segment, ports, addresses + u64::from(ipv4::TCP));
    Some(trim(ctx, offset + LENGTH))
}

#[inline(always)]
fn reflect_v6(ctx: &XdpContext, link: &Link, ports: &OpenPorts) -> Option<Fate> {
    let Segment { ip, tcp: segment, offset, .. } = segment_v6(ctx, link)?;
    if !is_between_stations(link) || !is_host_v6(ip.address(ipv6::DESTINATION)) || !is_host_v6(ip.address(ipv6::SOURCE))
    {
        return None;
    }
    if !is_syn(segment) {
        return Some(Fate::Swallowed);
    }
    turn(link);

    let (destination, source) = (ip.address(ipv6::DESTINATION), ip.address(ipv6::SOURCE));
    ip.write(ipv6::DESTINATION, bytes(source));
    ip.write(ipv6::SOURCE, bytes(destination));
    ip.write(ipv6::PAYLOAD_LENGTH, (LENGTH as u16).to_be_bytes());
    ip.write(ipv6::HOP_LIMIT..ipv6::HOP_LIMIT + 1, [TTL]);

    answer(segment, ports, sum(destination) + sum(source) + u64::from(ipv6::TCP));
    Some(trim(ctx, offset + LENGTH))
}

/// Whether it asks for a connection and nothing else. What else it may say (congestion notification, data) is no matter.
#[inline(always)]
pub(crate) fn is_syn(segment: Piece<{ tcp::HEADER }>) -> bool {
    segment.byte(tcp::FLAGS) & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
}

/// Writes the answer over a SYN: SYN and ACK from an open port, RST and ACK from a closed one. `sum` is that over addresses and protocol.
/// The SYN's own checksum is not looked at: that of a local host's is often not filled in on a veth pair.
#[inline(always)]
fn answer(segment: Piece<{ tcp::HEADER }>, ports: &OpenPorts, sum: u64) {
    let (ours, theirs) = (segment.number(tcp::DESTINATION), segment.number(tcp::SOURCE));
    let asked = u32::from_be_bytes(segment.bytes(tcp::SEQUENCE));
    // Any number will do for ours, as long as it isn't theirs.
    let (sequence, flags, window) =
        if ports.is_open(ours) { (!asked, tcp::SYN | tcp::ACK, WINDOW) } else { (0, tcp::RST | tcp::ACK, 0) };
    let words = [
        u32::from(ours) << 16 | u32::from(theirs),
        sequence,
        asked.wrapping_add(1),
        u32::from_be_bytes([(LENGTH as u8 / 4) << 4, flags, 0, 0]) | u32::from(window),
    ];
    let [a, b, c, d] = words.map(u64::from);
    let sum = checksum(sum + LENGTH as u64 + a + b + c + d);
    let fields: [Range<usize>; 4] = [0..4, tcp::SEQUENCE, tcp::ACKNOWLEDGMENT, tcp::OFFSET..tcp::WINDOW.end];
    for (field, word) in fields.into_iter().zip(words) {
        segment.write(field, word.to_be_bytes());
    }
    segment.write(tcp::CHECKSUM, sum.to_be_bytes());
    segment.write(tcp::URGENT, [0; 2]);
}

/// Ends the frame behind the answer, but not before Ethernet lets it end: then what was behind the SYN's header pads it.
#[inline(always)]
fn trim(ctx: &XdpContext, end: usize) -> Fate {
    let (length, end) = (parse::frame_length(ctx), end.max(ethernet::SHORTEST));
    if length <= end {
        return Fate::Answered;
    }
    // SAFETY: the context is the kernel's. Pointers into the frame are void from here on, and none is used any more.
    match unsafe { bpf_xdp_adjust_tail(ctx.ctx, end as i32 - length as i32) } {
        0 => Fate::Answered,
        // It is neither a SYN nor an answer now.
        _ => Fate::Swallowed,
    }
}
