//! The product's XDP programs: `steer` takes answers to our probes and errors about them, and `reflect` answers echo requests and, if asked,
//! TCP and UDP. Those of tests and measurements are an object of their own, `far`.
//!
//! Maps and their layouts: `probe_ebpf::layout`. Programs are loaded as `xdp.frags`, so that jumbo frames and TSO survive
//! beside them.

#![no_std]
#![no_main]
// For the one atomic instruction in `object`. The target itself needs an unstable compiler anyway.
#![feature(asm_experimental_arch)]

mod answer;
mod answer_v6;
mod flow;
mod frame;
mod live;
mod object;
mod parse;
mod probe;
mod probe_v6;
mod reflect;
mod reflect_tcp;
mod reflect_udp;
mod segment;
mod steer;
mod udp;

use aya_ebpf::{
    bindings::xdp_action,
    macros::{btf_tracepoint, map, xdp},
    maps::{Array, DevMap, PerCpuArray, XskMap},
    programs::{BtfTracePointContext, XdpContext},
};
use object::count;
use probe_ebpf::layout::{
    LiveCursor, LiveDestination, LiveDue, LiveFrame, LiveTemplate, LiveTemplateV6, MAX_CPUS, MAX_QUEUES, MAX_TEMPLATES,
    OpenPorts, QueueLine, Reflected, Settings, Verdict,
};
use reflect::Fate;

/// Lets userspace map an array's values: its counters are read without a system call (BPF_F_MMAPABLE, bpf.h).
const MAPPABLE: u32 = 1 << 10;

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
static REFLECTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(Reflected::COUNT, 0);
#[map]
static TCP_PORTS: Array<OpenPorts> = Array::with_max_entries(1, 0);
#[map]
static UDP_PORTS: Array<OpenPorts> = Array::with_max_entries(1, 0);
#[map]
static LIVE_CURSORS: Array<LiveCursor> = Array::with_max_entries(MAX_CPUS, MAPPABLE);
/// Made larger when it is wanted: a table for each sender.
#[map]
static LIVE_DUE: Array<LiveDue> = Array::with_max_entries(1, MAPPABLE);
/// Made larger when there are IPv6 probes: for each place of `LIVE_DUE` one.
#[map]
static LIVE_DESTINATIONS: Array<LiveDestination> = Array::with_max_entries(1, MAPPABLE);
/// Made larger when there are probes that are whole frames: for each place of `LIVE_DUE` one.
#[map]
static LIVE_FRAMES: Array<LiveFrame> = Array::with_max_entries(1, MAPPABLE);
#[map]
static LIVE_TEMPLATES: Array<LiveTemplate> = Array::with_max_entries(MAX_TEMPLATES, 0);
#[map]
static LIVE_TEMPLATES_V6: Array<LiveTemplateV6> = Array::with_max_entries(MAX_TEMPLATES, 0);
#[map]
static LIVE_OUT: DevMap = DevMap::with_max_entries(1, 0);

/// Answers to us, and errors about our probes, go to the socket of their queue, or nowhere if that is full; all else to the kernel,
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

/// Echo requests are answered where they came in, SYNs and UDP too if userspace says what is open; all else goes to the kernel, untouched.
#[xdp(frags)]
pub fn reflect(ctx: XdpContext) -> u32 {
    let fate = if reflect::reflect(&ctx).is_some() {
        Some((Fate::Answered, Reflected::Echo))
    } else if let Some(fate) = reflect_tcp::reflect(&ctx) {
        Some((fate, Reflected::Tcp))
    } else {
        reflect_udp::reflect(&ctx).map(|fate| (fate, Reflected::Udp))
    };
    let (reflected, action) = match fate {
        Some((Fate::Answered, kind)) => (kind, xdp_action::XDP_TX),
        Some((Fate::Swallowed, _)) => (Reflected::Swallowed, xdp_action::XDP_DROP),
        None => return xdp_action::XDP_PASS,
    };
    count(&REFLECTED, reflected as u32);
    action
}

/// Learns what the driver made of live frames.
#[btf_tracepoint(function = "xdp_devmap_xmit")]
pub fn confirm(ctx: BtfTracePointContext) -> i32 {
    let _ours = live::confirm(&ctx);
    0
}
