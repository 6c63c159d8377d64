//! All routers on the way to all destinations, and the destinations: `probe_ebpf::routers` says which there are. A probe whose time to live
//! does not reach its destination is turned into the error of the router at which it expires, any other one into the answer that the
//! product's reflectors make.

use crate::{
    ASKED, ROUTERS,
    object::count,
    parse::{self, Link, Piece},
    probe::checksum,
    reflect::{self, Fate, adjust, is_between_stations, is_host, is_host_v6, sum},
    reflect_tcp,
    reflect_udp::{self, MOST_QUOTED, MOST_QUOTED_V6, SHIFT_V4, SHIFT_V6, move_link, write_error_header, write_icmp},
};
use aya_ebpf::{
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_load_bytes, bpf_xdp_store_bytes},
    programs::XdpContext,
};
use probe_ebpf::{
    routers::{MAX_LABELS, POSITIONS, Path, Router, RouterRules, word},
    wire::{ethernet, extension, icmp, icmpv6, ipv4, ipv6},
};

/// Bytes behind an IP header that every router quotes.
const LEAST: usize = 8;
/// Bytes of extensions in front of the labels: the structure's header and the object's.
const HEADS: usize = extension::HEADER + extension::OBJECT;

/// Answers a probe, and says what to do. None: it is none, and was not touched.
#[inline(always)]
pub(crate) fn routers(ctx: &XdpContext) -> Option<Fate> {
    let rules = ROUTERS.get(0)?;
    let link = parse::link(ctx).ok()?;
    if !is_between_stations(&link) {
        return None;
    }
    match link.ethertype {
        ethernet::IPV4 => routers_v4(ctx, &link, rules),
        ethernet::IPV6 => routers_v6(ctx, &link, rules),
        _ => None,
    }
}

/// An error in the making.
struct Expired {
    /// Where the datagram begins that it quotes.
    ip: usize,
    /// So many of its bytes.
    quoted: usize,
    router: Router,
    position: u32,
    labels: u32,
}

impl Expired {
    /// Bytes behind the ICMP header.
    #[inline(always)]
    fn body(&self) -> usize {
        if self.labels > 0 {
            extension::SHORTEST_QUOTE + HEADS + extension::LABEL * self.labels as usize
        } else {
            self.quoted
        }
    }
}

/// Whether it is what echolot sends: an echo request, a TCP segment, a UDP datagram. Nobody says of an error that it expired.
#[inline(always)]
fn is_probe(protocol: u8, message: Piece<LEAST>, (own, request): (u8, u8)) -> bool {
    match protocol {
        // Of IPv6 they have the same numbers.
        ipv4::TCP | ipv4::UDP => true,
        other => other == own && message.byte(icmp::TYPE) == request && message.byte(icmp::CODE) == 0,
    }
}

#[inline(always)]
fn routers_v4(ctx: &XdpContext, link: &Link, rules: &RouterRules) -> Option<Fate> {
    let ip = Piece::<{ ipv4::HEADER }>::at(ctx, link.offset)?;
    let message = Piece::<LEAST>::at(ctx, link.offset + ipv4::HEADER)?;
    let total = usize::from(ip.number(ipv4::TOTAL_LENGTH));
    let is_whole = ipv4::header_length(ip.byte(ipv4::VERSION)) == Some(ipv4::HEADER)
        && ip.number(ipv4::FRAGMENT) & ipv4::IS_FRAGMENT == 0
        && total >= ipv4::HEADER + LEAST
        && link.offset + total <= parse::frame_length(ctx)
        && is_host(ip.byte(ipv4::DESTINATION.start))
        && is_host(ip.byte(ipv4::SOURCE.start));
    if !is_whole || !is_probe(ip.byte(ipv4::PROTOCOL), message, (ipv4::ICMP, icmp::ECHO_REQUEST)) {
        return None;
    }
    let path = rules.path_v4(ip.bytes(ipv4::DESTINATION));
    let word = word(message.bytes(4..8), ip.number(ipv4::IDENTIFICATION));
    let set_ttl = |ttl: u8| {
        let before = ip.number(ipv4::TTL..ipv4::TTL + 2);
        let after = u16::from_be_bytes([ttl, before as u8]);
        ip.write(ipv4::TTL..ipv4::TTL + 1, [ttl]);
        ip.write(ipv4::CHECKSUM, adjust(ip.number(ipv4::CHECKSUM), before, after).to_be_bytes());
    };
    let ttl = u32::from(ip.byte(ipv4::TTL)).max(1);
    if ttl >= path.distance {
        set_ttl((ttl + 1 - path.distance) as u8);
        return Some(arrived(ctx, rules, &path, word));
    }
    let router = asked(rules, &path, ttl, word).ok()?;
    let Some(router) = router else { return Some(Fate::Swallowed) };
    set_ttl(rules.quoted_ttl(router));
    let quoted = if rules.quotes_all == 0 { ipv4::HEADER + LEAST } else { total.min(MOST_QUOTED) };
    let expired = Expired { ip: link.offset, quoted, router, position: ttl, labels: rules.labels(router) };
    Some(refuse(ctx, rules, &expired, SHIFT_V4, write_v4))
}

#[inline(always)]
fn routers_v6(ctx: &XdpContext, link: &Link, rules: &RouterRules) -> Option<Fate> {
    let ip = Piece::<{ ipv6::HEADER }>::at(ctx, link.offset)?;
    let message = Piece::<LEAST>::at(ctx, link.offset + ipv6::HEADER)?;
    let length = usize::from(ip.number(ipv6::PAYLOAD_LENGTH));
    let is_whole = ipv6::is_version(ip.byte(0))
        && length >= LEAST
        && link.offset + ipv6::HEADER + length <= parse::frame_length(ctx)
        && is_host_v6(ip.address(ipv6::DESTINATION))
        && is_host_v6(ip.address(ipv6::SOURCE));
    if !is_whole || !is_probe(ip.byte(ipv6::NEXT_HEADER), message, (ipv6::ICMP, icmpv6::ECHO_REQUEST)) {
        return None;
    }
    let path = rules.path_v6(ip.bytes(ipv6::DESTINATION));
    let word = word(message.bytes(4..8), 0);
    let set_ttl = |ttl: u8| ip.write(ipv6::HOP_LIMIT..ipv6::HOP_LIMIT + 1, [ttl]);
    let ttl = u32::from(ip.byte(ipv6::HOP_LIMIT)).max(1);
    if ttl >= path.distance {
        set_ttl((ttl + 1 - path.distance) as u8);
        return Some(arrived(ctx, rules, &path, word));
    }
    let router = asked(rules, &path, ttl, word).ok()?;
    let Some(router) = router else { return Some(Fate::Swallowed) };
    set_ttl(rules.quoted_ttl(router));
    let quoted = (ipv6::HEADER + length).min(MOST_QUOTED_V6);
    let expired = Expired { ip: link.offset, quoted, router, position: ttl, labels: rules.labels(router) };
    Some(refuse(ctx, rules, &expired, SHIFT_V6, write_v6))
}

/// The router at which a probe expires; None: it doesn't answer.
#[inline(always)]
fn asked(rules: &RouterRules, path: &Path, position: u32, word: u32) -> Result<Option<Router>, ()> {
    if position >= POSITIONS {
        return Err(());
    }
    count(&ASKED, position);
    let router = path.router(position);
    let answers = !rules.is_silent(router) && !rules.is_lost(router.0, position, word);
    Ok(answers.then_some(router))
}

/// A probe has reached its destination.
#[inline(always)]
fn arrived(ctx: &XdpContext, rules: &RouterRules, path: &Path, word: u32) -> Fate {
    count(&ASKED, 0);
    if rules.is_lost(path.bits, path.distance, word) {
        return Fate::Swallowed;
    }
    let fate = match reflect::reflect(ctx) {
        Some(()) => Fate::Answered,
        None => match reflect_tcp::reflect(ctx).or_else(|| reflect_udp::reflect(ctx)) {
            Some(fate) => fate,
            // The reflectors leave it to the kernel, of which these hosts have none.
            None => Fate::Swallowed,
        },
    };
    match fate {
        Fate::Answered => travel(ctx, path.ttl()).map_or(Fate::Swallowed, |()| Fate::Answered),
        Fate::Swallowed => Fate::Swallowed,
    }
}

/// Gives an answer the time to live with which it arrives.
#[inline(always)]
fn travel(ctx: &XdpContext, ttl: u8) -> Option<()> {
    let link = parse::link(ctx).ok()?;
    if link.ethertype == ethernet::IPV6 {
        let ip = Piece::<{ ipv6::HEADER }>::at(ctx, link.offset)?;
        ip.write(ipv6::HOP_LIMIT..ipv6::HOP_LIMIT + 1, [ttl]);
        return Some(());
    }
    let ip = Piece::<{ ipv4::HEADER }>::at(ctx, link.offset)?;
    let before = ip.number(ipv4::TTL..ipv4::TTL + 2);
    let after = u16::from_be_bytes([ttl, before as u8]);
    ip.write(ipv4::TTL..ipv4::TTL + 1, [ttl]);
    ip.write(ipv4::CHECKSUM, adjust(ip.number(ipv4::CHECKSUM), before, after).to_be_bytes());
    Some(())
}

/// Makes the frame that of the error, and has `write` write the headers in front of what is quoted.
#[inline(always)]
fn refuse(
    ctx: &XdpContext,
    rules: &RouterRules,
    expired: &Expired,
    shift: usize,
    write: impl Fn(&XdpContext, &RouterRules, &Expired) -> Option<()>,
) -> Fate {
    let made = if expired.labels > 0 { extend(ctx, rules, expired, shift) } else { cut(ctx, expired, shift) };
    match made.and_then(|()| write(ctx, rules, expired)) {
        Some(()) => Fate::Answered,
        // It is neither a probe nor an error now.
        None => Fate::Swallowed,
    }
}

/// Cuts the datagram to what is quoted, and makes room in front.
#[inline(always)]
fn cut(ctx: &XdpContext, expired: &Expired, shift: usize) -> Option<()> {
    resize(ctx, parse::frame_length(ctx), expired.ip + expired.quoted)?;
    // SAFETY: the context is the kernel's. Pointers into the frame are void from here on, and none is used any more.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(shift as i32)) } != 0 {
        return None;
    }
    move_link(ctx, expired.ip, shift)
}

/// Fills what is quoted with zeros, and puts labels behind it. All of it is written anew, because a frame grows in front only: behind it a
/// veth has no room.
#[inline(always)]
fn extend(ctx: &XdpContext, rules: &RouterRules, expired: &Expired, shift: usize) -> Option<()> {
    const WORDS: usize = extension::SHORTEST_QUOTE / 8;
    let mut quote = [0u64; WORDS];
    let kept = expired.quoted as u32;
    if kept == 0 {
        return None;
    }
    let kept = if kept > extension::SHORTEST_QUOTE as u32 { extension::SHORTEST_QUOTE as u32 } else { kept };
    // SAFETY: the helper writes at most as many bytes as the buffer has.
    if unsafe { bpf_xdp_load_bytes(ctx.ctx, expired.ip as u32, quote.as_mut_ptr().cast(), kept) } != 0 {
        return None;
    }
    let ethernet = Piece::<{ ethernet::HEADER }>::at(ctx, 0)?.bytes::<{ ethernet::HEADER }>(0..ethernet::HEADER);
    let mut tags = [[0; ethernet::TAG]; ethernet::MAX_TAGS];
    let (mut count, mut at) = (0, ethernet::HEADER);
    while count < ethernet::MAX_TAGS && at < expired.ip {
        tags[count] = Piece::<{ ethernet::TAG }>::at(ctx, at)?.bytes(0..ethernet::TAG);
        at += ethernet::TAG;
        count += 1;
    }
    resize(ctx, parse::frame_length(ctx), expired.ip + shift + expired.body())?;
    let link = Piece::<{ ethernet::HEADER }>::at(ctx, 0)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = ethernet;
    link.write(ethernet::DESTINATION, [g, h, i, j, k, l]);
    link.write(ethernet::SOURCE, [a, b, c, d, e, f]);
    link.write(ethernet::ETHERTYPE, [m, n]);
    let (mut count, mut at) = (0, ethernet::HEADER);
    while count < ethernet::MAX_TAGS && at < expired.ip {
        Piece::<{ ethernet::TAG }>::at(ctx, at)?.write(0..ethernet::TAG, tags[count]);
        at += ethernet::TAG;
        count += 1;
    }
    let quoted = expired.ip + shift;
    // SAFETY: the helper reads all of the buffer, and no more.
    let stored = unsafe {
        bpf_xdp_store_bytes(ctx.ctx, quoted as u32, quote.as_mut_ptr().cast(), extension::SHORTEST_QUOTE as u32)
    };
    if stored != 0 {
        return None;
    }
    write_labels(ctx, rules, expired, quoted + extension::SHORTEST_QUOTE)
}

/// Makes a frame of so many bytes another length: shorter behind, or longer in front. Pointers into it are void then.
#[inline(always)]
fn resize(ctx: &XdpContext, before: usize, after: usize) -> Option<()> {
    let missing = after as i32 - before as i32;
    // SAFETY: the context is the kernel's; the caller uses no pointer any more.
    let changed = unsafe {
        match missing {
            0 => 0,
            1.. => bpf_xdp_adjust_head(ctx.ctx, -missing),
            _ => bpf_xdp_adjust_tail(ctx.ctx, missing),
        }
    };
    (changed == 0).then_some(())
}

/// Writes the extension structure.
#[inline(always)]
fn write_labels(ctx: &XdpContext, rules: &RouterRules, expired: &Expired, at: usize) -> Option<()> {
    let head = Piece::<HEADS>::at(ctx, at)?;
    let object = (extension::OBJECT + extension::LABEL * expired.labels as usize) as u16;
    let [high, low] = object.to_be_bytes();
    let words = [[extension::VERSION << 4, 0, 0, 0], [high, low, extension::MPLS, extension::MPLS_STACK]];
    let mut total = u64::from(u32::from_be_bytes(words[0])) + u64::from(u32::from_be_bytes(words[1]));
    let mut place = 0;
    while place < MAX_LABELS && place < expired.labels {
        let label = rules.label(expired.router, place, expired.labels);
        let entry = Piece::<{ extension::LABEL }>::at(ctx, at + HEADS + extension::LABEL * place as usize)?;
        entry.write(0..extension::LABEL, label.to_be_bytes());
        total += u64::from(label);
        place += 1;
    }
    head.write(0..4, words[0]);
    head.write(extension::CHECKSUM, checksum(total).to_be_bytes());
    head.write(4..8, words[1]);
    Some(())
}

#[inline(always)]
fn write_v4(ctx: &XdpContext, rules: &RouterRules, expired: &Expired) -> Option<()> {
    let (at, quote) = (expired.ip, expired.ip + SHIFT_V4);
    let asked = Piece::<{ ipv4::HEADER }>::at(ctx, quote)?;
    let (source, destination) = (expired.router.v4(), asked.bytes::<4>(ipv4::SOURCE));
    let ip = Piece::<{ ipv4::HEADER }>::at(ctx, at)?;
    let body = expired.body();
    let ttl = rules.ttl_of(expired.router, expired.position);
    write_error_header(ip, ((SHIFT_V4 + body) as u16, 0), ttl, (source, destination));
    let mut word = [0; 4];
    if expired.labels > 0 {
        word[extension::LENGTH - 4] = (extension::SHORTEST_QUOTE / extension::UNIT) as u8;
    }
    write_icmp(ctx, at + ipv4::HEADER, ([icmp::TIME_EXCEEDED, 0], word), 0, quote + body)
}

#[inline(always)]
fn write_v6(ctx: &XdpContext, rules: &RouterRules, expired: &Expired) -> Option<()> {
    let (at, quote) = (expired.ip, expired.ip + SHIFT_V6);
    let asked = Piece::<{ ipv6::HEADER }>::at(ctx, quote)?;
    let destination = asked.address(ipv6::SOURCE);
    let ip = Piece::<{ ipv6::HEADER }>::at(ctx, at)?;
    let body = expired.body();
    let length = (icmp::HEADER + body) as u16;
    ip.write(ipv6::FLOW, ipv6::VERSION.to_be_bytes());
    ip.write(ipv6::PAYLOAD_LENGTH, length.to_be_bytes());
    ip.write(ipv6::NEXT_HEADER..ipv6::NEXT_HEADER + 2, [ipv6::ICMP, rules.ttl_of(expired.router, expired.position)]);
    ip.write(ipv6::SOURCE, expired.router.v6());
    ip.write(ipv6::DESTINATION, reflect::bytes(destination));
    let source = ip.address(ipv6::SOURCE);
    let beside = sum(source) + sum(destination) + u64::from(length) + u64::from(ipv6::ICMP);
    let mut word = [0; 4];
    if expired.labels > 0 {
        word[extension::LENGTH_V6 - 4] = (extension::SHORTEST_QUOTE / extension::UNIT_V6) as u8;
    }
    write_icmp(ctx, at + ipv6::HEADER, ([icmpv6::TIME_EXCEEDED, 0], word), beside, quote + body)
}
