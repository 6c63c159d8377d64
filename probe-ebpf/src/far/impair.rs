//! The kernel's part of a far end that does harm: it stamps requests and answers the ranges that nothing happens to.
//!
//! An independent witness of the time between request and reply: it stamps every request before anybody else sees it, and
//! leaves a record of every request that it answers itself (of echo requests, SYNs and UDP datagrams), but in ranges where none is wanted. It shares with `steer` the reading of
//! frames and nothing else.

use crate::{
    ANSWERED, IMPAIRED, IMPAIRED_V6, TAKEN, UNRECORDED, XSKS,
    object::{add_one, count, now},
    parse::{self, Link, Piece},
    reflect,
    reflect_tcp::{self, Segment},
    reflect_udp::{self, Datagram},
};
use aya_ebpf::{bindings::xdp_action, maps::lpm_trie::Key, programs::XdpContext};
use probe_ebpf::{
    far::{AnsweredRequest, IN_USERSPACE, NOT_RECORDED, mapped, timestamp},
    layout::MAX_FRAME,
    wire::{STAMP, ethernet, icmp, ipv4, ipv6, payload, tcp, udp},
};

/// What a frame turned out to be.
pub(crate) enum Fate {
    /// A request that userspace impairs: stamped, and to be redirected.
    Taken,
    /// A request, answered here.
    Answered,
    /// Something else, untouched.
    Passed,
}

/// Judges a frame.
#[inline(always)]
pub(crate) fn impair(ctx: &XdpContext) -> Fate {
    let arrival = now();
    let Ok(link) = parse::link(ctx) else { return Fate::Passed };
    let request = match link.ethertype {
        ethernet::IPV4 => {
            request_v4(ctx, &link, arrival).or_else(|| syn_v4(ctx, &link)).or_else(|| udp_v4(ctx, &link, arrival))
        }
        ethernet::IPV6 => {
            request_v6(ctx, &link, arrival).or_else(|| syn_v6(ctx, &link)).or_else(|| udp_v6(ctx, &link, arrival))
        }
        _ => None,
    };
    let Some(request) = request else { return Fate::Passed };
    let Request { sent_ns, sequence, identifier, port, udp, address, treatment, end } = request;
    if sent_ns == UNSTAMPED {
        return answer(ctx);
    }
    if treatment == IN_USERSPACE {
        let length = parse::frame_length(ctx);
        if length > MAX_FRAME || length != ctx.data_end() - ctx.data() || end > length {
            return Fate::Passed;
        }
        let queue = ctx.rx_queue_index();
        let Some(line) = TAKEN.get_ptr_mut(queue) else { return Fate::Passed };
        if XSKS.redirect(queue, u64::from(xdp_action::XDP_PASS)).is_err() {
            return Fate::Passed;
        }
        // SAFETY: within the map's value, which lives as long as the program; aligned, and written by nobody but programs.
        unsafe { add_one(&raw mut (*line).taken) };
        // The sender's address is needed for the reply. The type is known by now and makes room for what of the address
        // the stamp overwrites.
        let sender = link.ethernet.bytes::<2>(ethernet::SOURCE.start..ethernet::SOURCE.start + 2);
        link.ethernet.write(STAMP, arrival.to_ne_bytes());
        link.ethernet.write(ethernet::ETHERTYPE, sender);
        return Fate::Taken;
    }
    match answer(ctx) {
        Fate::Answered if treatment != NOT_RECORDED => {
            let record = AnsweredRequest {
                arrival_ns: arrival,
                departure_ns: now(),
                sent_ns,
                address,
                sequence,
                identifier,
                port,
                udp: u32::from(udp),
                padding: 0,
            };
            match ANSWERED.reserve::<AnsweredRequest>(0) {
                Some(mut entry) => {
                    entry.write(record);
                    entry.submit(0);
                }
                None => count(&UNRECORDED, 0),
            }
            Fate::Answered
        }
        other => other,
    }
}

/// An echo request, a SYN or a UDP datagram, of either family: fields as in records.
struct Request {
    /// Or [`UNSTAMPED`].
    sent_ns: u64,
    sequence: u32,
    identifier: u16,
    port: u16,
    udp: bool,
    /// Whom it was sent to.
    address: [u8; 16],
    /// Where it ends in the frame, as the IP header has it.
    end: usize,
    /// What is to become of it.
    treatment: u32,
}

/// It doesn't say when it was sent: it is no probe.
const UNSTAMPED: u64 = u64::MAX;

impl Request {
    #[inline(always)]
    fn echo<const HEADER: usize>(
        ctx: &XdpContext,
        message: &parse::Message<HEADER>,
        address: [u8; 16],
        treatment: u32,
        arrival: u64,
    ) -> Self {
        let probe = Piece::<{ payload::LENGTH }>::at(ctx, message.offset + icmp::HEADER);
        let sent = |probe: Piece<_>| u64::from_be_bytes(probe.bytes(payload::FILLER_AND_SENT));
        Self {
            sent_ns: probe.map_or(UNSTAMPED, |probe| payload::sent(sent(probe), arrival)),
            sequence: u32::from(message.icmp.number(icmp::SEQUENCE)),
            identifier: message.icmp.number(icmp::IDENTIFIER),
            port: 0,
            udp: false,
            address,
            end: message.offset + message.length,
            treatment,
        }
    }

    /// None: it is another segment.
    #[inline(always)]
    fn syn<const HEADER: usize>(
        ctx: &XdpContext,
        segment: &Segment<HEADER>,
        address: [u8; 16],
        treatment: u32,
    ) -> Option<Self> {
        let Segment { tcp, offset, length, .. } = *segment;
        reflect_tcp::is_syn(tcp).then(|| Self {
            sent_ns: sent(ctx, tcp, offset),
            sequence: u32::from_be_bytes(tcp.bytes(tcp::SEQUENCE)),
            identifier: tcp.number(tcp::SOURCE),
            port: tcp.number(tcp::DESTINATION),
            udp: false,
            address,
            end: offset + length,
            treatment,
        })
    }

    /// `identification`: that of IPv4.
    #[inline(always)]
    fn datagram<const HEADER: usize>(
        ctx: &XdpContext,
        datagram: &Datagram<HEADER>,
        (arrival, identification): (u64, u16),
        address: [u8; 16],
        treatment: u32,
    ) -> Self {
        let Datagram { udp, offset, carried, .. } = *datagram;
        let port = udp.number(udp::DESTINATION);
        let id = || Piece::<2>::at(ctx, offset + udp::HEADER).map(|id| id.number(0..2));
        let word = if port == reflect_udp::DNS { id().unwrap_or(identification) } else { identification };
        Self {
            sent_ns: arrival,
            sequence: u32::from(word),
            identifier: udp.number(udp::SOURCE),
            port,
            udp: true,
            address,
            end: offset + carried,
            treatment,
        }
    }
}

/// What a SYN says of when it was sent, if its options are those of a probe.
#[inline(always)]
fn sent(ctx: &XdpContext, segment: Piece<{ tcp::HEADER }>, offset: usize) -> u64 {
    const HEAD: usize = tcp::HEADER + tcp::OPTIONS;
    const AT: usize = tcp::HEADER + tcp::TIMESTAMP.start;
    let Some(head) = Piece::<HEAD>::at(ctx, offset) else { return UNSTAMPED };
    // Kind and length.
    if usize::from(segment.byte(tcp::OFFSET) >> 4) * 4 != HEAD || head.bytes::<2>(AT - 2..AT) != [8, 10] {
        return UNSTAMPED;
    }
    timestamp(u32::from_be_bytes(head.bytes(AT..AT + 4)))
}

#[inline(always)]
fn syn_v4(ctx: &XdpContext, link: &Link) -> Option<Request> {
    let segment = reflect_tcp::segment_v4(ctx, link)?;
    let address = segment.ip.bytes::<4>(ipv4::DESTINATION);
    let treatment = IMPAIRED.get(Key::new(32, address)).copied().unwrap_or(0);
    Request::syn(ctx, &segment, mapped(address), treatment)
}

#[inline(always)]
fn syn_v6(ctx: &XdpContext, link: &Link) -> Option<Request> {
    let segment = reflect_tcp::segment_v6(ctx, link)?;
    let address = segment.ip.bytes::<16>(ipv6::DESTINATION);
    let treatment = IMPAIRED_V6.get(Key::new(128, address)).copied().unwrap_or(0);
    Request::syn(ctx, &segment, address, treatment)
}

#[inline(always)]
fn udp_v4(ctx: &XdpContext, link: &Link, arrival: u64) -> Option<Request> {
    reflect_udp::ports()?;
    let datagram = reflect_udp::datagram_v4(ctx, link)?;
    let address = datagram.ip.bytes::<4>(ipv4::DESTINATION);
    let treatment = IMPAIRED.get(Key::new(32, address)).copied().unwrap_or(0);
    let word = datagram.ip.number(ipv4::IDENTIFICATION);
    Some(Request::datagram(ctx, &datagram, (arrival, word), mapped(address), treatment))
}

#[inline(always)]
fn udp_v6(ctx: &XdpContext, link: &Link, arrival: u64) -> Option<Request> {
    reflect_udp::ports()?;
    let datagram = reflect_udp::datagram_v6(ctx, link)?;
    let address = datagram.ip.bytes::<16>(ipv6::DESTINATION);
    let treatment = IMPAIRED_V6.get(Key::new(128, address)).copied().unwrap_or(0);
    Some(Request::datagram(ctx, &datagram, (arrival, 0), address, treatment))
}

#[inline(always)]
fn request_v4(ctx: &XdpContext, link: &Link, arrival: u64) -> Option<Request> {
    let message = parse::ipv4(ctx, link).ok()?;
    if message.icmp.byte(icmp::TYPE) != icmp::ECHO_REQUEST || message.icmp.byte(icmp::CODE) != 0 {
        return None;
    }
    let address = message.ip.bytes::<4>(ipv4::DESTINATION);
    let treatment = IMPAIRED.get(Key::new(32, address)).copied().unwrap_or(0);
    Some(Request::echo(ctx, &message, mapped(address), treatment, arrival))
}

#[inline(always)]
fn request_v6(ctx: &XdpContext, link: &Link, arrival: u64) -> Option<Request> {
    let message = reflect::request_v6(ctx, link)?;
    let address = message.ip.bytes::<16>(ipv6::DESTINATION);
    let treatment = IMPAIRED_V6.get(Key::new(128, address)).copied().unwrap_or(0);
    Some(Request::echo(ctx, &message, address, treatment, arrival))
}

#[inline(always)]
fn answer(ctx: &XdpContext) -> Fate {
    if reflect::reflect(ctx).is_some() {
        return Fate::Answered;
    }
    match reflect_tcp::reflect(ctx).or_else(|| reflect_udp::reflect(ctx)) {
        Some(reflect::Fate::Answered) => Fate::Answered,
        _ => Fate::Passed,
    }
}
