//! Sending live frames without table and confirmation, and a far end that answers a part: for measurements.

use crate::{
    LIVE_CURSORS,
    object::now,
    parse::Piece,
    probe,
    reflect::{self, Fate},
    reflect_tcp,
};
use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use probe_ebpf::{
    far::turn,
    layout::LiveDue,
    wire::{ethernet, ipv4},
};

/// Where bare frames go, and what `half` answers: the lab's 10.64.0.0/12.
const RANGE: u32 = 0x0a40_0000;
const MASK: u32 = 0x000f_ffff;

/// Builds probes to one address after the other, and sends them out.
#[inline(always)]
pub(crate) fn transmit(ctx: &XdpContext) -> Option<u32> {
    // SAFETY: the map's value lives as long as the program, and one thread at a time has it run.
    let cursor = unsafe { &mut *LIVE_CURSORS.get_ptr_mut(0)? };
    let number = cursor.built as u32;
    let destination = (RANGE | (number & MASK)).to_be_bytes();
    probe::lay(ctx, &LiveDue { destination, target: number, ..LiveDue::default() })?;
    cursor.built += 1;
    Some(probe::send())
}

/// Answers echo requests and SYNs to the range and drops IPv4 to anywhere else.
#[inline(always)]
pub(crate) fn half(ctx: &XdpContext) -> u32 {
    if outside(ctx).is_some() { xdp_action::XDP_DROP } else { answer(ctx) }
}

/// The same, but any address elsewhere is silent in its odd turns alone.
#[inline(always)]
pub(crate) fn by_turns(ctx: &XdpContext) -> u32 {
    let is_silent = outside(ctx).is_some_and(|address| turn(address, now()) & 1 != 0);
    if is_silent { xdp_action::XDP_DROP } else { answer(ctx) }
}

#[inline(always)]
fn answer(ctx: &XdpContext) -> u32 {
    if reflect::reflect(ctx).is_some() {
        return xdp_action::XDP_TX;
    }
    match reflect_tcp::reflect(ctx) {
        Some(Fate::Answered) => xdp_action::XDP_TX,
        Some(Fate::Swallowed) => xdp_action::XDP_DROP,
        None => xdp_action::XDP_PASS,
    }
}

/// Where an IPv4 frame goes that goes somewhere outside the range.
#[inline(always)]
fn outside(ctx: &XdpContext) -> Option<u32> {
    let ethernet = Piece::<{ ethernet::HEADER }>::at(ctx, 0)?;
    let ip = Piece::<{ ipv4::HEADER }>::at(ctx, ethernet::HEADER)?;
    let address = u32::from_be_bytes(ip.bytes::<4>(ipv4::DESTINATION));
    (ethernet.number(ethernet::ETHERTYPE) == ethernet::IPV4 && address & !MASK != RANGE).then_some(address)
}
