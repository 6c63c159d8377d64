//! What every object of ours has: counters, the clock, a licence, and no way to panic.

use aya_ebpf::{helpers::bpf_ktime_get_ns, maps::PerCpuArray};
use core::arch::asm;

/// Counts one on this CPU.
#[inline(always)]
pub(crate) fn count(counters: &PerCpuArray<u64>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: the map's value lives as long as the program, and no other writer has this CPU's copy.
        unsafe { *counter += 1 };
    }
}

/// Adds one, as a full barrier, and returns what there was. The kernel orders an atomic instruction fully if it fetches (BPF_FETCH:
/// Documentation/bpf/standardization/instruction-set.rst, "Atomic operations"; on arm64 the plain one is relaxed).
/// Spelled out because `core` offers no read-modify-write for a target that had none in its first instruction set.
///
/// # Safety
/// These are 8 aligned bytes of a map's value, which live as long as the program; all writers are atomic.
#[inline(always)]
pub(crate) unsafe fn add_one(at: *mut u64) -> u64 {
    let before;
    // SAFETY: the caller's word.
    unsafe {
        asm!("{one} = atomic_fetch_add((u64 *)({at} + 0), {one})", at = in(reg) at, one = inout(reg) 1u64 => before)
    }
    before
}

/// CLOCK_MONOTONIC, nanoseconds.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: takes nothing and returns a number.
    unsafe { bpf_ktime_get_ns() }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
