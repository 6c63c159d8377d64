//! An answer to every UDP datagram, made of the datagram's own frame: an open port sends it back, [`DNS`] answers a question, and of a
//! closed port an ICMP error tells, whatever the address.

use crate::{
    UDP_PORTS,
    parse::{self, Link, Piece},
    probe::checksum,
    reflect::{Fate, TTL, adjust, bytes, is_between_stations, is_host, is_host_v6, sum, turn},
};
use aya_ebpf::{
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use probe_ebpf::{
    layout::OpenPorts,
    wire::{dns, ethernet, icmp, icmpv6, ipv4, ipv6, udp},
};

/// Where questions are answered, if it is open.
pub(crate) const DNS: u16 = 53;
/// Datagrams from a port below this are not sent back: two services that answer each other would do so for ever. inetd has it so.
const FIRST_UNPRIVILEGED: u16 = 1024;
/// Most bytes that are summed: an Ethernet frame's, and more than an error quotes.
const MOST_SUMMED: usize = 1480;
/// Most of a datagram that an error quotes, with its IP header. Of IPv4 the error is as long as any host takes (RFC 1812, section 4.3.2.3),
/// of IPv6 the shortest MTU (RFC 4443, section 2.4). So Linux has it.
pub(crate) const MOST_QUOTED: usize = 576 - SHIFT_V4;
pub(crate) const MOST_QUOTED_V6: usize = 1280 - SHIFT_V6;
/// Bytes of IP header and ICMP header in front of a quote.
pub(crate) const SHIFT_V4: usize = ipv4::HEADER + icmp::HEADER;
pub(crate) const SHIFT_V6: usize = ipv6::HEADER + icmp::HEADER;
/// Code of "port unreachable": of IPv4, of IPv6.
const PORT_V4: u8 = 3;
const PORT_V6: u8 = 4;
/// Type of service of errors: internetwork control (RFC 1812, section 4.3.2.5).
pub(crate) const TOS: u8 = 0xc0;

/// Turns a datagram into its answer, and says what to do. None: it is no UDP that is answered here, and was not touched.
#[inline(always)]
pub(crate) fn reflect(ctx: &XdpContext) -> Option<Fate> {
    let ports = ports()?;
    let link = parse::link(ctx).ok()?;
    match link.ethertype {
        ethernet::IPV4 => reflect_v4(ctx, &link, ports),
        ethernet::IPV6 => reflect_v6(ctx, &link, ports),
        _ => None,
    }
}

/// What is open; None: UDP is the kernel's.
#[inline(always)]
pub(crate) fn ports() -> Option<&'static OpenPorts> {
    UDP_PORTS.get(0).filter(|ports| ports.answers != 0)
}

/// A UDP datagram that is whole, behind an IP header of so many bytes and nothing in between.
pub(crate) struct Datagram<const HEADER: usize> {
    pub(crate) ip: Piece<HEADER>,
    pub(crate) udp: Piece<{ udp::HEADER }>,
    /// Where it begins in the frame.
    pub(crate) offset: usize,
    /// Its bytes, as it says itself.
    pub(crate) length: usize,
    /// Those behind the IP header, as that has it.
    pub(crate) carried: usize,
}

/// Without IP options: what those ask for is the kernel's to do.
#[inline(always)]
pub(crate) fn datagram_v4(ctx: &XdpContext, link: &Link) -> Option<Datagram<{ ipv4::HEADER }>> {
    let ip = Piece::<{ ipv4::HEADER }>::at(ctx, link.offset)?;
    let offset = link.offset + ipv4::HEADER;
    let udp = Piece::<{ udp::HEADER }>::at(ctx, offset)?;
    let total = usize::from(ip.number(ipv4::TOTAL_LENGTH));
    let length = usize::from(udp.number(udp::LENGTH));
    let is_whole = ipv4::header_length(ip.byte(ipv4::VERSION)) == Some(ipv4::HEADER)
        && ip.byte(ipv4::PROTOCOL) == ipv4::UDP
        && ip.number(ipv4::FRAGMENT) & ipv4::IS_FRAGMENT == 0
        && length >= udp::HEADER
        && ipv4::HEADER + length <= total
        && link.offset + total <= parse::frame_length(ctx);
    is_whole.then(|| Datagram { ip, udp, offset, length, carried: total - ipv4::HEADER })
}

/// Without extension headers. A jumbogram's length is 0.
#[inline(always)]
pub(crate) fn datagram_v6(ctx: &XdpContext, link: &Link) -> Option<Datagram<{ ipv6::HEADER }>> {
    let ip = Piece::<{ ipv6::HEADER }>::at(ctx, link.offset)?;
    let offset = link.offset + ipv6::HEADER;
    let udp = Piece::<{ udp::HEADER }>::at(ctx, offset)?;
    let carried = usize::from(ip.number(ipv6::PAYLOAD_LENGTH));
    let length = usize::from(udp.number(udp::LENGTH));
    let is_whole = ipv6::is_version(ip.byte(0))
        && ip.byte(ipv6::NEXT_HEADER) == ipv6::UDP
        && length >= udp::HEADER
        && length <= carried
        && offset + carried <= parse::frame_length(ctx);
    is_whole.then_some(Datagram { ip, udp, offset, length, carried })
}

#[inline(always)]
fn reflect_v4(ctx: &XdpContext, link: &Link, ports: &OpenPorts) -> Option<Fate> {
    let datagram = datagram_v4(ctx, link)?;
    let ip = datagram.ip;
    if !is_between_stations(link) || !is_host(ip.byte(ipv4::DESTINATION.start)) || !is_host(ip.byte(ipv4::SOURCE.start))
    {
        return None;
    }
    let (destination, source) = (ip.bytes::<4>(ipv4::DESTINATION), ip.bytes::<4>(ipv4::SOURCE));
    if !ports.is_open(datagram.udp.number(udp::DESTINATION)) {
        let quoted = (ipv4::HEADER + datagram.carried).min(MOST_QUOTED);
        return Some(refuse_v4(ctx, link.offset, quoted));
    }
    let addresses = u64::from(u32::from_be_bytes(destination)) + u64::from(u32::from_be_bytes(source));
    match answer(ctx, &datagram, addresses + u64::from(ipv4::UDP))? {
        Fate::Answered => {}
        Fate::Swallowed => return Some(Fate::Swallowed),
    }
    turn(link);
    // Swapping the addresses leaves the sum as it was.
    ip.write(ipv4::DESTINATION, source);
    ip.write(ipv4::SOURCE, destination);
    let after = u16::from_be_bytes([TTL, ipv4::UDP]);
    let sum = adjust(ip.number(ipv4::CHECKSUM), ip.number(ipv4::TTL..ipv4::TTL + 2), after);
    ip.write(ipv4::TTL..ipv4::TTL + 1, [TTL]);
    ip.write(ipv4::CHECKSUM, sum.to_be_bytes());
    Some(Fate::Answered)
}

#[inline(always)]
fn reflect_v6(ctx: &XdpContext, link: &Link, ports: &OpenPorts) -> Option<Fate> {
    let datagram = datagram_v6(ctx, link)?;
    let ip = datagram.ip;
    let (destination, source) = (ip.address(ipv6::DESTINATION), ip.address(ipv6::SOURCE));
    if !is_between_stations(link) || !is_host_v6(destination) || !is_host_v6(source) {
        return None;
    }
    // Over IPv6 it has to have one (RFC 8200, section 8.1): the kernel drops it.
    if datagram.udp.number(udp::CHECKSUM) == 0 {
        return None;
    }
    if !ports.is_open(datagram.udp.number(udp::DESTINATION)) {
        let quoted = (ipv6::HEADER + datagram.carried).min(MOST_QUOTED_V6);
        return Some(refuse_v6(ctx, link.offset, quoted));
    }
    match answer(ctx, &datagram, sum(destination) + sum(source) + u64::from(ipv6::UDP))? {
        Fate::Answered => {}
        Fate::Swallowed => return Some(Fate::Swallowed),
    }
    turn(link);
    ip.write(ipv6::DESTINATION, bytes(source));
    ip.write(ipv6::SOURCE, bytes(destination));
    ip.write(ipv6::HOP_LIMIT..ipv6::HOP_LIMIT + 1, [TTL]);
    Some(Fate::Answered)
}

/// Turns a datagram to an open port into its answer. `beside`: the sum over addresses and protocol. None: it is left as it was.
#[inline(always)]
fn answer<const HEADER: usize>(ctx: &XdpContext, datagram: &Datagram<HEADER>, beside: u64) -> Option<Fate> {
    let Datagram { udp, offset, length, .. } = *datagram;
    let (ours, theirs) = (udp.bytes::<2>(udp::DESTINATION), udp.bytes::<2>(udp::SOURCE));
    let beside = beside + length as u64;
    let before = udp.number(udp::CHECKSUM);
    // On a veth pair a local host's own is not filled in: what stands there is the sum over the pseudo-header.
    let is_unfinished = before != 0 && before == !checksum(beside);
    if is_unfinished && length > MOST_SUMMED {
        return None;
    }
    let mut after = before;
    if u16::from_be_bytes(ours) == DNS {
        let Some((asked, answered)) = answer_question(ctx, datagram) else { return Some(Fate::Swallowed) };
        after = adjust(before, asked, answered);
    } else if u16::from_be_bytes(theirs) < FIRST_UNPRIVILEGED {
        return Some(Fate::Swallowed);
    }
    // Swapping the ports leaves the sum as it was, too.
    udp.write(udp::SOURCE, ours);
    udp.write(udp::DESTINATION, theirs);
    if before == 0 {
        return Some(Fate::Answered);
    }
    if is_unfinished {
        udp.write(udp::CHECKSUM, [0; 2]);
        after = checksum(beside + sum_of(ctx, offset, offset + length));
    }
    // 0 would say that there is none.
    let after = if after == 0 { u16::MAX } else { after };
    udp.write(udp::CHECKSUM, after.to_be_bytes());
    Some(Fate::Answered)
}

/// Turns a question into a response without records: its flags are all that changes. Returns their word before and after. None: it is not
/// a query of one question, and no server would answer it; what may follow the question (RFC 6891) stays.
#[inline(always)]
fn answer_question<const HEADER: usize>(ctx: &XdpContext, datagram: &Datagram<HEADER>) -> Option<(u16, u16)> {
    const FLAGS: usize = dns::FLAGS;
    const RESPONSE: u16 = (dns::RESPONSE as u16) << 8;
    const OPCODE: u16 = 0xf << 11;
    const RECURSION_DESIRED: u16 = 1 << 8;
    const RECURSION_AVAILABLE: u16 = 1 << 7;
    const CHECKING_DISABLED: u16 = 1 << 4;
    if datagram.length < udp::HEADER + dns::HEADER {
        return None;
    }
    let message = Piece::<{ dns::HEADER }>::at(ctx, datagram.offset + udp::HEADER)?;
    let asked = message.number(FLAGS..FLAGS + 2);
    // Of questions, answers, authorities.
    if asked & (RESPONSE | OPCODE) != 0 || message.bytes::<6>(4..10) != [0, 1, 0, 0, 0, 0] {
        return None;
    }
    let answered = RESPONSE | RECURSION_AVAILABLE | asked & (RECURSION_DESIRED | CHECKING_DISABLED);
    message.write(FLAGS..FLAGS + 2, answered.to_be_bytes());
    Some((asked, answered))
}

/// Turns a frame whose IP datagram begins at `ip` into an error that quotes so much of it.
#[inline(always)]
fn refuse_v4(ctx: &XdpContext, ip: usize, quoted: usize) -> Fate {
    refuse(ctx, ip, quoted, SHIFT_V4, write_v4)
}

#[inline(always)]
fn refuse_v6(ctx: &XdpContext, ip: usize, quoted: usize) -> Fate {
    refuse(ctx, ip, quoted, SHIFT_V6, write_v6)
}

/// Makes room in front, `shift` bytes, and has `write` fill them.
#[inline(always)]
fn refuse(
    ctx: &XdpContext,
    ip: usize,
    quoted: usize,
    shift: usize,
    write: impl Fn(&XdpContext, usize, usize) -> Option<()>,
) -> Fate {
    let surplus = parse::frame_length(ctx) as i32 - (ip + quoted) as i32;
    // SAFETY, of both calls: the context is the kernel's. Pointers into the frame are void from here on, and none is used any more.
    if surplus > 0 && unsafe { bpf_xdp_adjust_tail(ctx.ctx, -surplus) } != 0 {
        return Fate::Swallowed;
    }
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(shift as i32)) } != 0 {
        return Fate::Swallowed;
    }
    match move_link(ctx, ip, shift).and_then(|()| write(ctx, ip, quoted)) {
        Some(()) => Fate::Answered,
        // It is neither a datagram nor an answer now.
        None => Fate::Swallowed,
    }
}

/// Writes what is in front of the IP header to the beginning of the frame, from where it lies `shift` bytes behind it, and turns it.
#[inline(always)]
pub(crate) fn move_link(ctx: &XdpContext, ip: usize, shift: usize) -> Option<()> {
    let from = Piece::<{ ethernet::HEADER }>::at(ctx, shift)?;
    let to = Piece::<{ ethernet::HEADER }>::at(ctx, 0)?;
    to.write(ethernet::DESTINATION, from.bytes::<6>(ethernet::SOURCE));
    to.write(ethernet::SOURCE, from.bytes::<6>(ethernet::DESTINATION));
    to.write(ethernet::ETHERTYPE, from.bytes::<2>(ethernet::ETHERTYPE));
    let mut at = ethernet::HEADER;
    let mut tags = 0;
    while tags < ethernet::MAX_TAGS && at < ip {
        let tag = Piece::<{ ethernet::TAG }>::at(ctx, shift + at)?.bytes::<{ ethernet::TAG }>(0..ethernet::TAG);
        Piece::<{ ethernet::TAG }>::at(ctx, at)?.write(0..ethernet::TAG, tag);
        at += ethernet::TAG;
        tags += 1;
    }
    Some(())
}

/// Writes the headers of an error that quotes the `quoted` bytes behind them.
#[inline(always)]
fn write_v4(ctx: &XdpContext, at: usize, quoted: usize) -> Option<()> {
    let quote = at + SHIFT_V4;
    let asked = Piece::<{ ipv4::HEADER }>::at(ctx, quote)?;
    let (source, destination) = (asked.bytes::<4>(ipv4::DESTINATION), asked.bytes::<4>(ipv4::SOURCE));
    let ip = Piece::<{ ipv4::HEADER }>::at(ctx, at)?;
    let total = (SHIFT_V4 + quoted) as u16;
    write_error_header(ip, (total, ipv4::DONT_FRAGMENT), TTL, (source, destination));
    write_icmp(ctx, at + ipv4::HEADER, ([icmp::UNREACHABLE, PORT_V4], [0; 4]), 0, quote + quoted)
}

/// The IPv4 header of an ICMP error: of so many bytes in all, with these flags, from and to.
#[inline(always)]
pub(crate) fn write_error_header(
    ip: Piece<{ ipv4::HEADER }>,
    (total, flags): (u16, u16),
    ttl: u8,
    (source, destination): ([u8; 4], [u8; 4]),
) {
    let words = [
        u32::from_be_bytes([0x45, TOS, 0, 0]) | u32::from(total),
        u32::from(flags),
        u32::from_be_bytes([ttl, ipv4::ICMP, 0, 0]),
    ];
    ip.write(0..4, words[0].to_be_bytes());
    ip.write(4..8, words[1].to_be_bytes());
    let [a, b, c] = words.map(u64::from);
    let addresses = u64::from(u32::from_be_bytes(source)) + u64::from(u32::from_be_bytes(destination));
    let sum = checksum(a + b + c + addresses);
    ip.write(8..12, (words[2] | u32::from(sum)).to_be_bytes());
    ip.write(ipv4::SOURCE, source);
    ip.write(ipv4::DESTINATION, destination);
}

#[inline(always)]
fn write_v6(ctx: &XdpContext, at: usize, quoted: usize) -> Option<()> {
    let quote = at + SHIFT_V6;
    let asked = Piece::<{ ipv6::HEADER }>::at(ctx, quote)?;
    let (source, destination) = (asked.address(ipv6::DESTINATION), asked.address(ipv6::SOURCE));
    let ip = Piece::<{ ipv6::HEADER }>::at(ctx, at)?;
    let length = (icmp::HEADER + quoted) as u16;
    ip.write(ipv6::FLOW, ipv6::VERSION.to_be_bytes());
    ip.write(ipv6::PAYLOAD_LENGTH, length.to_be_bytes());
    ip.write(ipv6::NEXT_HEADER..ipv6::NEXT_HEADER + 2, [ipv6::ICMP, TTL]);
    ip.write(ipv6::SOURCE, bytes(source));
    ip.write(ipv6::DESTINATION, bytes(destination));
    let beside = sum(source) + sum(destination) + u64::from(length) + u64::from(ipv6::ICMP);
    write_icmp(ctx, at + ipv6::HEADER, ([icmpv6::UNREACHABLE, PORT_V6], [0; 4]), beside, quote + quoted)
}

/// Writes an ICMP header: type and code, and the word behind the checksum. `beside`: the sum over what the checksum covers beside the
/// message, which reaches to `end`.
#[inline(always)]
pub(crate) fn write_icmp(
    ctx: &XdpContext,
    at: usize,
    (kind, word): ([u8; 2], [u8; 4]),
    beside: u64,
    end: usize,
) -> Option<()> {
    let head = Piece::<{ icmp::HEADER }>::at(ctx, at)?;
    head.write(icmp::TYPE..icmp::CODE + 1, kind);
    head.write(icmp::CHECKSUM, [0; 2]);
    head.write(icmp::CHECKSUM.end..icmp::HEADER, word);
    let sum = checksum(beside + sum_of(ctx, at, end));
    head.write(icmp::CHECKSUM, sum.to_be_bytes());
    Some(())
}

/// The sum over the bytes from one place in the frame's first piece to another, at least 4 of them and at most [`MOST_SUMMED`].
///
/// The verifier forgets in each round where that is: it would go through all that follows once for each length that a frame can have.
#[inline(always)]
fn sum_of(ctx: &XdpContext, from: usize, end: usize) -> u64 {
    const BLOCK: usize = 64;
    const WORD: usize = 4;
    // No frame is as long as that, and the verifier does not know it.
    let zero = (parse::frame_length(ctx) >> 31) as u32;
    let (mut blocks, mut at, mut round) = (0, from, 0);
    while round < MOST_SUMMED / BLOCK {
        let Ok(place) = parse::forget(at, zero) else { break };
        if place + BLOCK > end {
            break;
        }
        let Some(block) = Piece::<BLOCK>::at(ctx, place) else { break };
        blocks = block.add_to(blocks);
        at = place + BLOCK;
        round += 1;
    }
    let (mut sum, mut round) = (u64::from(blocks), 0);
    while round < BLOCK / WORD {
        let Ok(place) = parse::forget(at, zero) else { break };
        if place + WORD > end {
            break;
        }
        let Some(word) = Piece::<WORD>::at(ctx, place) else { break };
        sum += u64::from(u32::from_le_bytes(word.bytes(0..WORD)));
        at = place + WORD;
        round += 1;
    }
    // One to three bytes are left: the last of the last four.
    let left = (end - from) % WORD;
    if left > 0
        && let Ok(place) = parse::forget(end - WORD, zero)
        && let Some(last) = Piece::<WORD>::at(ctx, place)
    {
        sum += u64::from(u32::from_le_bytes(last.bytes(0..WORD)) >> (32 - 8 * left));
    }
    // As this machine has it; the sum of swapped bytes is the swapped sum (RFC 1071, section 2).
    u64::from((!checksum(sum)).swap_bytes())
}
