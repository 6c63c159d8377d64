//! The XDP programs of far ends and measurements, which are no part of the product: `impair` is a far end that keeps a record of its own,
//! for tests of what echolot says; `routers` plays all routers on the way to far ends; `pass`, `drop_all`, `half`, `by_turns` and `bare` are for
//! measurements.
//!
//! Maps and their layouts: `probe_ebpf::far`, and `probe_ebpf::layout` for those that are as the product's. Loaded as `xdp.frags`, as
//! the product's are.

#![no_std]
#![no_main]
// As in the product's object.
#![feature(asm_experimental_arch)]

mod bare;
mod impair;
#[path = "../object.rs"]
mod object;
#[path = "../parse.rs"]
mod parse;
#[path = "../probe.rs"]
mod probe;
#[path = "../reflect.rs"]
mod reflect;
#[path = "../reflect_tcp.rs"]
mod reflect_tcp;
#[path = "../reflect_udp.rs"]
mod reflect_udp;
mod routers;

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{Array, DevMap, LpmTrie, PerCpuArray, RingBuf, XskMap},
    programs::XdpContext,
};
use object::count;
use probe_ebpf::{
    far::MAX_RANGES,
    layout::{LiveCursor, LiveTemplate, MAX_QUEUES, OpenPorts, QueueLine, Settings},
    routers::{POSITIONS, RouterRules},
};

/// BPF_F_MMAPABLE and BPF_F_NO_PREALLOC, bpf.h.
const MAPPABLE: u32 = 1 << 10;
const NO_PREALLOC: u32 = 1;

#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static TAKEN: Array<QueueLine> = Array::with_max_entries(MAX_QUEUES, MAPPABLE);
#[map]
static XSKS: XskMap = XskMap::with_max_entries(MAX_QUEUES, 0);
#[map]
static REFLECTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static TCP_PORTS: Array<OpenPorts> = Array::with_max_entries(1, 0);
#[map]
static UDP_PORTS: Array<OpenPorts> = Array::with_max_entries(1, 0);
#[map]
static LIVE_CURSORS: Array<LiveCursor> = Array::with_max_entries(1, 0);
#[map]
static LIVE_TEMPLATES: Array<LiveTemplate> = Array::with_max_entries(1, 0);
#[map]
static LIVE_OUT: DevMap = DevMap::with_max_entries(1, 0);
#[map]
static IMPAIRED: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(MAX_RANGES, NO_PREALLOC);
#[map]
static IMPAIRED_V6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(MAX_RANGES, NO_PREALLOC);
/// A page, unless whoever loads `impair` makes it larger.
#[map]
static ANSWERED: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
static UNRECORDED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static ROUTERS: Array<RouterRules> = Array::with_max_entries(1, 0);
#[map]
static ASKED: PerCpuArray<u64> = PerCpuArray::with_max_entries(POSITIONS, 0);

/// Echo requests and SYNs to impaired ranges go to the socket of their queue with their arrival stamp, others are answered where
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

/// Echo requests, TCP and UDP are answered by the router at which they expire, or by the host that they reach; all else goes to the kernel.
#[xdp(frags)]
pub fn routers(ctx: XdpContext) -> u32 {
    match routers::routers(&ctx) {
        Some(reflect::Fate::Answered) => xdp_action::XDP_TX,
        Some(reflect::Fate::Swallowed) => xdp_action::XDP_DROP,
        None => xdp_action::XDP_PASS,
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

/// Answers echo requests and SYNs to the lab's range and drops those to anywhere else: the far end of measurements with
/// silent targets.
#[xdp(frags)]
pub fn half(ctx: XdpContext) -> u32 {
    bare::half(&ctx)
}

/// The same, but what goes to anywhere else is answered for a while and dropped for a while, by turns of each address.
#[xdp(frags)]
pub fn by_turns(ctx: XdpContext) -> u32 {
    bare::by_turns(&ctx)
}

/// What sending live frames costs without table and confirmation.
#[xdp(frags)]
pub fn bare(ctx: XdpContext) -> u32 {
    if probe::is_test_run(&ctx) {
        return bare::transmit(&ctx).unwrap_or(xdp_action::XDP_ABORTED);
    }
    xdp_action::XDP_PASS
}
