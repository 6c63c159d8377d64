//! An answer to every echo request, made of the request's own frame.

use crate::parse::{self, Message};
use aya_ebpf::programs::XdpContext;
use probe_ebpf::wire::{ethernet, icmp, ipv4};

/// Time to live of the answers.
const TTL: u8 = 64;

/// Turns a valid echo request into its reply. None: it is something else, and was not touched.
#[inline(always)]
pub(crate) fn reflect(ctx: &XdpContext) -> Option<()> {
    let request = parse::message(ctx).ok()?;
    if request.icmp.byte(icmp::TYPE) != icmp::ECHO_REQUEST
        || request.icmp.byte(icmp::CODE) != 0
        || request.offset + request.length > parse::frame_length(ctx)
        || !is_between_hosts(&request)
    {
        return None;
    }
    let Message { ethernet, ip, icmp, .. } = request;

    let (destination, source) = (ethernet.bytes::<6>(ethernet::DESTINATION), ethernet.bytes::<6>(ethernet::SOURCE));
    ethernet.write(ethernet::DESTINATION, source);
    ethernet.write(ethernet::SOURCE, destination);

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

/// From one host to one host: what came to many is never answered, and nothing is sent to many.
#[inline(always)]
fn is_between_hosts(request: &Message) -> bool {
    let link = request.ethernet.byte(ethernet::DESTINATION.start) | request.ethernet.byte(ethernet::SOURCE.start);
    link & ethernet::GROUP == 0
        && is_host(request.ip.byte(ipv4::DESTINATION.start))
        && is_host(request.ip.byte(ipv4::SOURCE.start))
}

/// Whether an IPv4 address with this first byte can be a host's: not "this network", multicast, reserved or broadcast.
#[inline(always)]
fn is_host(first: u8) -> bool {
    first != 0 && first < 224
}

/// A checksum after one of the words under it has changed: RFC 1624, equation 3.
#[inline(always)]
fn adjust(checksum: u16, before: u16, after: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum + (sum >> 16)) as u16)
}
