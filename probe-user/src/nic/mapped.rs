//! The values of a map of the XDP program's, as memory.

use std::{
    io,
    ops::Range,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::AtomicU64,
};

/// An array map's values, mapped (BPF_F_MMAPABLE). The kernel side may change them at any time, so values are copied in and out, and
/// references into them are for those who know when it does not.
pub(super) struct Mapped<T: Copy> {
    at: NonNull<T>,
    entries: usize,
}

// SAFETY: the mapping belongs to this value alone and lives until it is dropped; every access is a copy of plain data.
unsafe impl<T: Copy + Send> Send for Mapped<T> {}
// SAFETY: as above. A value that several threads read is one aligned word (`u64`), which is read whole; all other maps have one
// user.
unsafe impl<T: Copy + Sync> Sync for Mapped<T> {}

impl<T: Copy> Mapped<T> {
    /// Maps the first `entries` values, to be written as well if `write`. Any bits must be a valid `T`: true of the layouts
    /// that are shared with the XDP program, which hold nothing but integers.
    pub(super) fn new(map: BorrowedFd<'_>, entries: usize, write: bool) -> io::Result<Self> {
        let access = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let length = entries * size_of::<T>();
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours. The kernel checks that the
        // map is as large (an array rounds up to pages) and keeps it alive while it is mapped.
        let at = unsafe { libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        match NonNull::new(at) {
            Some(at) if at.as_ptr() != libc::MAP_FAILED => Ok(Self { at: at.cast(), entries }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The value at `index`, as it is now.
    #[inline]
    pub(super) fn get(&self, index: usize) -> T {
        assert!(index < self.entries, "value {index} of {}", self.entries);
        // SAFETY: within the mapping (just checked), aligned (it begins at a page and elements of an array map are aligned to
        // 8 bytes, as is T), alive as long as `self`.
        unsafe { self.at.add(index).read_volatile() }
    }

    /// Writes the value at `index`. Only for maps that were mapped to be written.
    #[inline]
    pub(super) fn set(&mut self, index: usize, value: T) {
        assert!(index < self.entries, "value {index} of {}", self.entries);
        // SAFETY: as in `get`; mapped to be written, or this faults.
        unsafe { self.at.add(index).write_volatile(value) };
    }

    /// Some of the values. Only for maps that were mapped to be written.
    ///
    /// # Safety
    /// For as long as the slice is used, nobody else changes or reads these values.
    #[inline]
    pub(super) unsafe fn slice(&mut self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.entries, "values {range:?} of {}", self.entries);
        // SAFETY: within the mapping (just checked), aligned as in `get`, and ours alone: of this process' users by `&mut self`, of
        // the kernel's by the caller's word.
        unsafe { slice::from_raw_parts_mut(self.at.add(range.start).as_ptr(), range.len()) }
    }
}

impl Mapped<u64> {
    /// The word at `index`. Stores are only for maps that were mapped to be written.
    #[inline]
    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.entries, "word {index} of {}", self.entries);
        // SAFETY: within the mapping (just checked), aligned to 8 bytes as in `get`, alive as long as `self`. The other side reads and
        // writes it whole.
        unsafe { AtomicU64::from_ptr(self.at.add(index).as_ptr()) }
    }
}

impl<T: Copy> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and references into it borrow `self`.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.entries * size_of::<T>()) };
    }
}
