//! The XDP programs. `steer` takes replies to our probes and errors about them, `reflect` answers echo requests, `pass` lets all
//! through, and `impair` is a far end that keeps a record of its own, for tests of what echolot says. `drop_all`, `half` and `bare`
//! are for measurements.
//!
//! Maps and their layouts: `probe_ebpf::layout`. Programs are loaded as `xdp.frags`, so that jumbo frames and TSO survive
//! beside them.

#![no_std]
#![no_main]
// For the one atomic instruction in `steer`. The target itself needs an unstable compiler anyway.
#![feature(asm_experimental_arch)]

mod impair;
mod live;
mod parse;
mod reflect;
mod steer;

use aya_ebpf::{
    bindings::xdp_action,
    macros::{btf_tracepoint, map, xdp},
    maps::{Array, DevMap, LpmTrie, PerCpuArray, RingBuf, XskMap},
    programs::{BtfTracePointContext, XdpContext},
};
use probe_ebpf::layout::{
    LiveCursor, LiveDue, LiveTemplate, MAX_CPUS, MAX_QUEUES, MAX_RANGES, MAX_TEMPLATES, QueueLine, Settings, Verdict,
};

/// Lets userspace map an array's values: its counters are read without a system call (BPF_F_MMAPABLE, bpf.h).
const MAPPABLE: u32 = 1 << 10;
/// BPF_F_NO_PREALLOC, bpf.h.
const NO_PREALLOC: u32 = 1;

#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static INACTIVE: Array<u32> = Array::with_max_entries(1, 0);
#[map]
static TAKEN: Array<QueueLine> = Array::with_max_entries(MAX_QUEUES, MAPPABLE);
#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::ALL.len() as u32, 0);
#[map]
static XSKS: XskMap = XskMap::with_max_entries(MAX_QUEUES, 0);
#[map]
static REFLECTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static LIVE_CURSORS: Array<LiveCursor> = Array::with_max_entries(MAX_CPUS, MAPPABLE);
/// Made larger when it is wanted: a table for each sender.
#[map]
static LIVE_DUE: Array<LiveDue> = Array::with_max_entries(1, MAPPABLE);
#[map]
static LIVE_TEMPLATES: Array<LiveTemplate> = Array::with_max_entries(MAX_TEMPLATES, 0);
#[map]
static LIVE_OUT: DevMap = DevMap::with_max_entries(1, 0);
/// Tries have no room set aside (BPF_F_NO_PREALLOC is demanded of them): one that nobody fills costs nothing.
#[map]
static IMPAIRED: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(MAX_RANGES, NO_PREALLOC);
/// A page, unless whoever loads `impair` makes it larger.
#[map]
static ANSWERED: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
static UNRECORDED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Replies to us, and errors about our probes, go to the socket of their queue, or nowhere if that is full; all else to the kernel,
/// untouched.
///
/// One program for both jobs: run on live frames on a sender's CPU, it makes probes. A program that is attached stays in the
/// kernel's dispatcher of XDP programs; one that isn't is put in and taken out with each call, which costs two waits for RCU
/// (24 ms were measured).
#[xdp(frags)]
pub fn steer(ctx: XdpContext) -> u32 {
    if let Some(cursor) = live::sender(&ctx) {
        return live::transmit(&ctx, cursor);
    }
    let verdict = steer::steer(&ctx);
    count(&VERDICTS, verdict as u32);
    match verdict {
        Verdict::Taken => xdp_action::XDP_REDIRECT,
        Verdict::RingFull => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

/// Echo requests are answered where they came in, all else goes to the kernel, untouched.
#[xdp(frags)]
pub fn reflect(ctx: XdpContext) -> u32 {
    match reflect::reflect(&ctx) {
        Some(()) => {
            count(&REFLECTED, 0);
            xdp_action::XDP_TX
        }
        None => xdp_action::XDP_PASS,
    }
}

/// Echo requests to impaired ranges go to the socket of their queue with their arrival stamp, others are answered where
/// they came in and recorded, all else goes to the kernel.
#[xdp(frags)]
pub fn impair(ctx: XdpContext) -> u32 {
    match impair::impair(&ctx) {
        impair::Fate::Taken => xdp_action::XDP_REDIRECT,
        impair::Fate::Answered => {
            count(&REFLECTED, 0);
            xdp_action::XDP_TX
        }
        impair::Fate::Passed => xdp_action::XDP_PASS,
    }
}

/// Lets everything through. Frames that are redirected or XDP_TX'd into a veth need a program, any, on its far end.
#[xdp(frags)]
pub fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Drops everything: the far end of measurements of sending.
#[xdp(frags)]
pub fn drop_all(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Answers echo requests to the lab's range and drops those to anywhere else: the far end of measurements with silent targets.
#[xdp(frags)]
pub fn half(ctx: XdpContext) -> u32 {
    if reflect::is_outside(&ctx, live::BARE_RANGE, live::BARE_MASK) {
        return xdp_action::XDP_DROP;
    }
    match reflect::reflect(&ctx) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_PASS,
    }
}

/// What sending live frames costs without table and confirmation: for measurements.
#[xdp(frags)]
pub fn bare(ctx: XdpContext) -> u32 {
    if live::is_test_run(&ctx) {
        return live::bare(&ctx).unwrap_or(xdp_action::XDP_ABORTED);
    }
    xdp_action::XDP_PASS
}

/// Learns what the driver made of live frames.
#[btf_tracepoint(function = "xdp_devmap_xmit")]
pub fn confirm(ctx: BtfTracePointContext) -> i32 {
    let _ours = live::confirm(&ctx);
    0
}

#[inline(always)]
fn count(counters: &PerCpuArray<u64>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: the map's value lives as long as the program, and no other writer has this CPU's copy.
        unsafe { *counter += 1 };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
