//! The ledger in huge pages, where the kernel has them.
//!
//! Ten million targets are 640 MB of cells, and replies find theirs in any order: with pages of 4 KiB nearly every one costs a walk
//! through the page table besides the cache line itself.

use std::alloc::{GlobalAlloc, Layout, System};

/// Allocations from this size on are asked to lie in huge pages. Above glibc's highest threshold (32 MiB on 64 bits, mallopt(3))
/// each is a mapping of its own in any program, which goes back to the kernel with its advice when it is freed. What takes less gains little,
/// and a small monitor stays small.
const LARGE: usize = 33 << 20;
/// Only what is laid out in cache lines, which is the ledger's cells. Tables that are walked in order gain nothing, and to find a
/// huge page the kernel may first have to move others together: start-up should not wait for more of them than pay.
const LINE: usize = 64;

/// From this size on what is allocated is a mapping of its own, which goes back to the kernel as soon as it is freed, bytes.
const MAPPED: libc::c_int = 1 << 20;

/// Has the C library give back what is large as soon as it is freed. It would learn from the first table of 30 MiB that is freed to keep all
/// of that size, each where the thread that wanted it has its memory: after some reloads of a million targets that was twice of what was in
/// use. To be called once, at the start.
pub fn give_back_tables() {
    // SAFETY: mallopt(3) changes by what rule memory is found, and nothing that has been allocated. That it fails is no matter.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
    }
}

/// The system's allocator, and for large tables of cache lines advice to the kernel (MADV_HUGEPAGE). Where transparent huge pages
/// are switched off, or none are free, the same memory lies in ordinary pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

// SAFETY: all memory is the system allocator's, by its own rules; advice changes neither contents nor extent.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about the layout, passed on.
        let at = unsafe { System.alloc(layout) };
        advise(at, layout);
        at
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let at = unsafe { System.alloc_zeroed(layout) };
        advise(at, layout);
        at
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise about pointer and layout, passed on.
        let at = unsafe { System.realloc(at, layout, size) };
        // SAFETY: the caller has promised that such a layout is a valid one.
        advise(at, unsafe { Layout::from_size_align_unchecked(size, layout.align()) });
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about pointer and layout, passed on.
        unsafe { System.dealloc(at, layout) };
    }
}

/// Asks for huge pages in a new allocation, if it is one that gains by them.
#[inline]
fn advise(at: *mut u8, layout: Layout) {
    /// What the advice has to begin at; larger than the smallest pages of some machines, a multiple of them on all.
    const ALIGNED: usize = 1 << 16;
    if layout.size() < LARGE || layout.align() < LINE || at.is_null() {
        return;
    }
    let skipped = at.align_offset(ALIGNED);
    let length = (layout.size() - skipped) & !(ALIGNED - 1);
    // SAFETY: the range lies within an allocation that has just been made, and MADV_HUGEPAGE (madvise(2)) leaves what is in it as
    // it is. An error means ordinary pages.
    unsafe { libc::madvise(at.wrapping_add(skipped).cast(), length, libc::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    /// Whether the mapping that holds `at` has been advised: `hg` among its flags (proc_pid_smaps(5)).
    fn is_advised(at: *const u8) -> bool {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut holds = false;
        for line in smaps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let bounds = range.map(|(from, to)| (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)));
            if let Some((Ok(from), Ok(to))) = bounds {
                holds = (from..to).contains(&at.addr());
            } else if holds && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.split_whitespace().any(|flag| flag == "hg");
            }
        }
        false
    }

    #[test]
    fn large_allocations_are_advised_and_hold_what_was_written() {
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            println!("skipped: this kernel has no transparent huge pages");
            return;
        }
        for (size, align, large) in
            [(LARGE - 1, LINE, false), (LARGE, LINE, true), (2 * LARGE, 2 * LINE, true), (2 * LARGE, LINE / 2, false)]
        {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the layout is not empty.
            let at = unsafe { HugePages.alloc(layout) };
            assert!(!at.is_null() && at.is_aligned());
            assert_eq!(is_advised(at.wrapping_add(size / 2)), large, "{size}");
            // SAFETY: within the allocation, and freed with its own layout.
            unsafe {
                at.add(size - 1).write(7);
                assert_eq!(at.add(size - 1).read(), 7);
                HugePages.dealloc(at, layout);
            }
        }
        // SAFETY: as above; zeroed memory may be read, and what was written moves along.
        unsafe {
            let layout = Layout::from_size_align(LARGE, LINE).unwrap();
            let at = HugePages.alloc_zeroed(layout);
            assert!(is_advised(at.wrapping_add(LARGE / 2)));
            assert_eq!(at.add(LARGE - 1).read(), 0);
            at.add(LARGE - 1).write(7);
            let at = HugePages.realloc(at, layout, 2 * LARGE);
            assert!(is_advised(at.wrapping_add(LARGE + LARGE / 2)));
            assert_eq!(at.add(LARGE - 1).read(), 7);
            HugePages.dealloc(at, Layout::from_size_align(2 * LARGE, LINE).unwrap());
        }
    }
}
