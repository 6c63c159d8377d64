//! Which frames are answers to us, and what is done with them.

use crate::{
    SETTINGS, TAKEN, XSKS,
    parse::{self, Echo, Piece},
};
use aya_ebpf::{bindings::xdp_action, helpers::bpf_ktime_get_ns, programs::XdpContext};
use core::arch::asm;
use probe_ebpf::{
    cookie,
    layout::{MAX_FRAME, MAX_SOURCES, Settings, Verdict, taken_index},
    wire::{STAMP, icmp, ipv4, payload},
};

/// Judges a frame. What is [`Verdict::Taken`] carries its arrival stamp and is to be redirected; nothing else was touched.
#[inline(always)]
pub(crate) fn steer(ctx: &XdpContext) -> Verdict {
    match parse::echo(ctx, icmp::ECHO_REPLY).and_then(|reply| judge(ctx, &reply).map(|taken| (reply, taken))) {
        Ok((reply, taken)) => {
            // Counted before the clock is read: whoever reads the clock and then this counter knows of every frame that
            // was stamped earlier.
            taken.add_one();
            reply.ethernet.write(STAMP, now().to_ne_bytes());
            Verdict::Taken
        }
        Err(verdict) => verdict,
    }
}

/// Everything that has to be right before the first byte is written: the stamp overwrites the MAC addresses, and a frame
/// that was passed after all would reach the kernel as somebody else's. Returns the counter of its queue.
#[inline(always)]
fn judge(ctx: &XdpContext, reply: &Echo) -> Result<Counter, Verdict> {
    // An array of one always has its first; the verifier wants to hear it.
    let settings = SETTINGS.get(0).ok_or(Verdict::ForeignIdentifier)?;
    if reply.icmp.number(icmp::IDENTIFIER) != settings.identifier {
        return Err(Verdict::ForeignIdentifier);
    }
    if !is_source(settings, u32::from_ne_bytes(reply.ip.bytes(ipv4::DESTINATION))) {
        return Err(Verdict::ForeignAddress);
    }
    let length = parse::frame_length(ctx);
    if length > MAX_FRAME || length != ctx.data_end() - ctx.data() {
        return Err(Verdict::Large);
    }
    if reply.length < icmp::HEADER + payload::LENGTH || reply.offset + reply.length > length {
        return Err(Verdict::Truncated);
    }
    let probe = Piece::<{ payload::LENGTH }>::at(ctx, reply.offset + icmp::HEADER).ok_or(Verdict::Truncated)?;
    let sent = u64::from_be_bytes(probe.bytes(payload::SENT));
    let hash = cookie::ipv4(
        &settings.key,
        sent,
        reply.ip.bytes(ipv4::SOURCE),
        u32::from_be_bytes(probe.bytes(payload::TARGET)),
        reply.icmp.number(icmp::SEQUENCE),
    );
    if !cookie::kernel_bits_match(hash, probe.bytes(payload::COOKIE.start..payload::COOKIE.start + 4)) {
        return Err(Verdict::Cookie);
    }
    // A probe from the future is older than everything: the difference wraps. The stamp has a reading of the clock of its
    // own, after the frame was counted. The coarse clock would save 11 ns of 125 here, and lags by a tick or, where a
    // virtual machine stalls, by more.
    if now().wrapping_sub(sent) > settings.max_age_ns {
        return Err(Verdict::Age);
    }
    let queue = ctx.rx_queue_index();
    let taken = TAKEN.get_ptr_mut(taken_index(queue)).ok_or(Verdict::NoSocket)?;
    // This only notes the socket for the moment when the program returns XDP_REDIRECT, and says whether there is one. So
    // no second look-up has to agree with it, and the frame can still go either way.
    XSKS.redirect(queue, u64::from(xdp_action::XDP_PASS)).map_err(|_| Verdict::NoSocket)?;
    Ok(Counter(taken))
}

#[inline(always)]
fn is_source(settings: &Settings, address: u32) -> bool {
    let mut i = 0;
    while i < MAX_SOURCES && i < settings.source_count as usize {
        if settings.sources[i] == address {
            return true;
        }
        i += 1;
    }
    false
}

/// CLOCK_MONOTONIC, nanoseconds.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: takes nothing and returns a number.
    unsafe { bpf_ktime_get_ns() }
}

/// A value of `TAKEN`.
pub(crate) struct Counter(pub(crate) *mut u64);

impl Counter {
    /// Adds one, as a full barrier. The kernel orders an atomic instruction fully if it fetches (BPF_FETCH:
    /// Documentation/bpf/standardization/instruction-set.rst, "Atomic operations"; on arm64 the plain one is relaxed).
    /// Spelled out because `core` offers no read-modify-write for a target that had none in its first instruction set.
    #[inline(always)]
    pub(crate) fn add_one(self) {
        // SAFETY: the map's value is 8 aligned bytes that live as long as the program; all writers are atomic.
        unsafe {
            asm!("{one} = atomic_fetch_add((u64 *)({at} + 0), {one})", at = in(reg) self.0, one = inout(reg) 1u64 => _)
        }
    }
}
