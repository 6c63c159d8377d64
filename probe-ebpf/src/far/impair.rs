//! The kernel's part of a far end that does harm: it stamps requests and answers the ranges that nothing happens to.
//!
//! An independent witness of the time between request and reply: it stamps every request before anybody else sees it, and
//! leaves a record of every request that it answers itself, but in ranges where none is wanted. It shares with `steer` the reading of
//! frames and nothing else.

use crate::{
    ANSWERED, IMPAIRED, IMPAIRED_V6, TAKEN, UNRECORDED, XSKS,
    object::{add_one, count, now},
    parse::{self, Link, Piece},
    reflect,
};
use aya_ebpf::{bindings::xdp_action, maps::lpm_trie::Key, programs::XdpContext};
use probe_ebpf::{
    far::{AnsweredRequest, IN_USERSPACE, NOT_RECORDED, mapped},
    layout::MAX_FRAME,
    wire::{STAMP, ethernet, icmp, icmpv6, ipv4, ipv6, payload},
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
        ethernet::IPV4 => request_v4(ctx, &link),
        ethernet::IPV6 => request_v6(ctx, &link),
        _ => None,
    };
    let Some(request) = request else { return Fate::Passed };
    let Request { address, treatment, .. } = request;
    let Some(probe) = Piece::<{ payload::LENGTH }>::at(ctx, request.offset + icmp::HEADER) else {
        return answer(ctx);
    };
    if treatment == IN_USERSPACE {
        let length = parse::frame_length(ctx);
        if length > MAX_FRAME || length != ctx.data_end() - ctx.data() || request.end > length {
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
    let sent_ns = u64::from_be_bytes(probe.bytes(payload::SENT));
    let sequence = request.icmp.number(icmp::SEQUENCE);
    let identifier = request.icmp.number(icmp::IDENTIFIER);
    match answer(ctx) {
        Fate::Answered if treatment != NOT_RECORDED => {
            let record = AnsweredRequest {
                arrival_ns: arrival,
                departure_ns: now(),
                sent_ns,
                address,
                sequence,
                identifier,
                unused: 0,
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

/// An echo request of either family.
struct Request {
    icmp: Piece<{ icmp::HEADER }>,
    /// Where it begins, and where it ends as the IP header has it.
    offset: usize,
    end: usize,
    /// Whom it was sent to, as in records.
    address: [u8; 16],
    /// What is to become of it.
    treatment: u32,
}

#[inline(always)]
fn request_v4(ctx: &XdpContext, link: &Link) -> Option<Request> {
    let parse::Message { ip, icmp, offset, length } = parse::ipv4(ctx, link).ok()?;
    if icmp.byte(icmp::TYPE) != icmp::ECHO_REQUEST || icmp.byte(icmp::CODE) != 0 {
        return None;
    }
    let address = ip.bytes::<4>(ipv4::DESTINATION);
    let treatment = IMPAIRED.get(Key::new(32, address)).copied().unwrap_or(0);
    Some(Request { icmp, offset, end: offset + length, address: mapped(address), treatment })
}

#[inline(always)]
fn request_v6(ctx: &XdpContext, link: &Link) -> Option<Request> {
    let parse::Message { ip, icmp, offset, length } = reflect::request_v6(ctx, link)?;
    let address = ip.bytes::<16>(ipv6::DESTINATION);
    let treatment = IMPAIRED_V6.get(Key::new(128, address)).copied().unwrap_or(0);
    Some(Request { icmp, offset, end: offset + length, address, treatment })
}

#[inline(always)]
fn answer(ctx: &XdpContext) -> Fate {
    match reflect::reflect(ctx) {
        Some(()) => Fate::Answered,
        None => Fate::Passed,
    }
}
