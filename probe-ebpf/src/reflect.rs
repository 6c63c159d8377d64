//! An answer to every echo request, made of the request's own frame.

use crate::parse::{self, Link, Message, Piece};
use aya_ebpf::programs::XdpContext;
use probe_ebpf::wire::{ethernet, icmp, icmpv6, ipv4, ipv6};

/// Time to live, or hop limit, of the answers.
pub(crate) const TTL: u8 = 64;

/// What became of a frame of a protocol that is answered.
pub(crate) enum Fate {
    /// Turned into its answer.
    Answered,
    /// To be dropped.
    Swallowed,
}

/// Turns a valid echo request into its reply. None: it is something else, and was not touched.
#[inline(always)]
pub(crate) fn reflect(ctx: &XdpContext) -> Option<()> {
    let link = parse::link(ctx).ok()?;
    match link.ethertype {
        ethernet::IPV4 => reflect_v4(ctx, &link),
        ethernet::IPV6 => reflect_v6(ctx, &link),
        _ => None,
    }
}

#[inline(always)]
fn reflect_v4(ctx: &XdpContext, link: &Link) -> Option<()> {
    let request = parse::ipv4(ctx, link).ok()?;
    if request.icmp.byte(icmp::TYPE) != icmp::ECHO_REQUEST
        || request.icmp.byte(icmp::CODE) != 0
        || request.offset + request.length > parse::frame_length(ctx)
        || !is_between_stations(link)
        || !is_host(request.ip.byte(ipv4::DESTINATION.start))
        || !is_host(request.ip.byte(ipv4::SOURCE.start))
    {
        return None;
    }
    let Message { ip, icmp, .. } = request;
    turn(link);

    // Swapping the addresses leaves the sum as it was.
    let (destination, source) = (ip.bytes::<4>(ipv4::DESTINATION), ip.bytes::<4>(ipv4::SOURCE));
    ip.write(ipv4::DESTINATION, source);
    ip.write(ipv4::SOURCE, destination);
    let before = ip.number(ipv4::TTL..ipv4::TTL + 2);
    let after = u16::from_be_bytes([TTL, ipv4::ICMP]);
    ip.write(ipv4::TTL..ipv4::TTL + 1, [TTL]);
    ip.write(ipv4::CHECKSUM, adjust(ip.number(ipv4::CHECKSUM), before, after).to_be_bytes());

    let before = u16::from_be_bytes([icmp::ECHO_REQUEST, 0]);
    let after = u16::from_be_bytes([icmp::ECHO_REPLY, 0]);
    let mut checksum = adjust(icmp.number(icmp::CHECKSUM), before, after);
    // RFC 1624 takes it for granted that not everything summed is zero, in which case the sum's complement is 0xffff and
    // not 0. An echo reply can be all zero; with both numbers zero 0xffff is right whatever the payload says, because
    // 0xffff is the other zero of that arithmetic.
    if checksum == 0 && icmp.bytes::<4>(icmp::IDENTIFIER.start..icmp::SEQUENCE.end) == [0; 4] {
        checksum = 0xffff;
    }
    icmp.write(icmp::TYPE..icmp::TYPE + 1, [icmp::ECHO_REPLY]);
    icmp.write(icmp::CHECKSUM, checksum.to_be_bytes());
    Some(())
}

/// An echo request over IPv6, without extension headers: what those ask for is the kernel's to answer.
#[inline(always)]
pub(crate) fn request_v6(ctx: &XdpContext, link: &Link) -> Option<Message<{ ipv6::HEADER }>> {
    let ip = Piece::<{ ipv6::HEADER }>::at(ctx, link.offset)?;
    let offset = link.offset + ipv6::HEADER;
    let icmp = Piece::<{ icmp::HEADER }>::at(ctx, offset)?;
    let length = usize::from(ip.number(ipv6::PAYLOAD_LENGTH));
    let is_request = ipv6::is_version(ip.byte(0))
        && ip.byte(ipv6::NEXT_HEADER) == ipv6::ICMP
        && icmp.byte(icmp::TYPE) == icmpv6::ECHO_REQUEST
        && icmp.byte(icmp::CODE) == 0
        && length >= icmp::HEADER;
    is_request.then_some(Message { ip, icmp, offset, length })
}

#[inline(always)]
fn reflect_v6(ctx: &XdpContext, link: &Link) -> Option<()> {
    let Message { ip, icmp, offset, length } = request_v6(ctx, link)?;
    if offset + length > parse::frame_length(ctx)
        || !is_between_stations(link)
        || !is_host_v6(ip.address(ipv6::DESTINATION))
        || !is_host_v6(ip.address(ipv6::SOURCE))
    {
        return None;
    }
    turn(link);

    // The checksum covers the addresses; swapping them leaves it as it was. The hop limit it does not cover.
    let (destination, source) = (ip.bytes::<16>(ipv6::DESTINATION), ip.bytes::<16>(ipv6::SOURCE));
    ip.write(ipv6::DESTINATION, source);
    ip.write(ipv6::SOURCE, destination);
    ip.write(ipv6::HOP_LIMIT..ipv6::HOP_LIMIT + 1, [TTL]);

    let before = u16::from_be_bytes([icmpv6::ECHO_REQUEST, 0]);
    let after = u16::from_be_bytes([icmpv6::ECHO_REPLY, 0]);
    // What is summed, a next header of 58 among it, is never all zero.
    let checksum = adjust(icmp.number(icmp::CHECKSUM), before, after);
    icmp.write(icmp::TYPE..icmp::TYPE + 1, [icmpv6::ECHO_REPLY]);
    icmp.write(icmp::CHECKSUM, checksum.to_be_bytes());
    Some(())
}

/// Back to where it came from.
#[inline(always)]
pub(crate) fn turn(Link { ethernet, .. }: &Link) {
    let (destination, source) = (ethernet.bytes::<6>(ethernet::DESTINATION), ethernet.bytes::<6>(ethernet::SOURCE));
    ethernet.write(ethernet::DESTINATION, source);
    ethernet.write(ethernet::SOURCE, destination);
}

/// From one station to one station: what came to many is never answered, and nothing is sent to many.
#[inline(always)]
pub(crate) fn is_between_stations(Link { ethernet, .. }: &Link) -> bool {
    let both = ethernet.byte(ethernet::DESTINATION.start) | ethernet.byte(ethernet::SOURCE.start);
    both & ethernet::GROUP == 0
}

/// Whether an IPv6 address can be a host's: not unspecified, not multicast.
#[inline(always)]
pub(crate) fn is_host_v6(address: [u64; 2]) -> bool {
    address != [0; 2] && address[0] as u8 != ipv6::MULTICAST
}

/// Whether an IPv4 address with this first byte can be a host's: not "this network", multicast, reserved or broadcast.
#[inline(always)]
pub(crate) fn is_host(first: u8) -> bool {
    first != 0 && first < 224
}

/// A checksum after one of the words under it has changed: RFC 1624, equation 3.
#[inline(always)]
pub(crate) fn adjust(checksum: u16, before: u16, after: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum + (sum >> 16)) as u16)
}

/// The sum over an address as it lies in memory.
#[inline(always)]
pub(crate) fn sum([a, b]: [u64; 2]) -> u64 {
    let (a, b) = (a.to_be(), b.to_be());
    (a >> 32) + (a & 0xffff_ffff) + (b >> 32) + (b & 0xffff_ffff)
}

/// An address as it lies in memory.
#[inline(always)]
pub(crate) fn bytes([a, b]: [u64; 2]) -> [u8; 16] {
    (u128::from(b) << 64 | u128::from(a)).to_le_bytes()
}
