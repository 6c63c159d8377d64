//! A driver's own statistics, as `ethtool -S` shows them: numbers, each with a name that the driver chose.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr::{self, NonNull},
};

/// See linux/sockios.h and linux/ethtool.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GET_STRINGS: u32 = 0x1b;
const GET_STATS: u32 = 0x1d;
const GET_SET_INFO: u32 = 0x37;
const SET_OF_STATS: u32 = 1;
const NAME: usize = 32;
/// Numbers that an interface can have: a card with 256 queues and 200 numbers for each has 51,200.
const MOST: usize = 1 << 17;
/// `struct ethtool_gstrings` and `struct ethtool_stats` without what follows them.
const STRINGS_HEADER: usize = 12;
const STATS_HEADER: usize = 8;

/// An interface's statistics, to be asked for.
#[derive(Debug)]
pub(super) struct Statistics {
    socket: OwnedFd,
    interface: [libc::c_char; libc::IFNAMSIZ],
    values: Room,
}

impl Statistics {
    /// Of the interface of that name.
    pub(super) fn of(interface: &str) -> io::Result<Self> {
        // SAFETY: takes numbers and returns a descriptor.
        let socket = match unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) } {
            failed if failed < 0 => return Err(io::Error::last_os_error()),
            // SAFETY: a descriptor that the kernel has just made for us, and that nothing else knows.
            made => unsafe { OwnedFd::from_raw_fd(made) },
        };
        let mut name = [0; libc::IFNAMSIZ];
        // The last byte stays 0.
        for (to, from) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        Ok(Self { socket, interface: name, values: Room::new(STATS_HEADER + MOST * size_of::<u64>())? })
    }

    /// Their names, in the order of their values. None at all is an error: the driver has no statistics.
    pub(super) fn names(&mut self) -> io::Result<Vec<String>> {
        let many = self.count()?;
        let mut room = Room::new(STRINGS_HEADER + MOST * NAME)?;
        room.words()[..3].copy_from_slice(&[GET_STRINGS, SET_OF_STATS, many]);
        self.fill(&mut room)?;
        let many = (room.words()[2] as usize).min(MOST);
        if many == 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let names = room.bytes()[STRINGS_HEADER..].chunks_exact(NAME).take(many);
        Ok(names.map(name).collect())
    }

    /// Their values now. How many there are can have changed.
    pub(super) fn values(&mut self) -> io::Result<impl ExactSizeIterator<Item = u64>> {
        let many = self.count()?;
        self.values.words()[..2].copy_from_slice(&[GET_STATS, many]);
        let mut room = std::mem::replace(&mut self.values, Room::NONE);
        let asked = self.fill(&mut room);
        self.values = room;
        asked?;
        let many = (self.values.words()[1] as usize).min(MOST);
        let values = self.values.bytes()[STATS_HEADER..].as_chunks::<8>().0;
        Ok(values[..many].iter().map(|value| u64::from_ne_bytes(*value)))
    }

    fn count(&self) -> io::Result<u32> {
        // struct ethtool_sset_info: command, nothing, a mask of sets (two words), and here the size of one.
        let mut info = [GET_SET_INFO, 0, 0, 0, 0];
        let mask = 1_u64 << SET_OF_STATS;
        [info[2], info[3]] = halves(mask);
        // SAFETY: the kernel writes the head and a word for each set in the mask, which is one (`ethtool_get_sset_info`).
        unsafe { self.ask(info.as_mut_ptr().cast()) }?;
        // It clears what the driver doesn't have.
        if [info[2], info[3]] != halves(mask) || info[4] == 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(info[4])
    }

    fn fill(&self, room: &mut Room) -> io::Result<()> {
        // SAFETY: how much the kernel writes follows from the driver's count of statistics and, in many kernels, from nothing that we
        // say (`ethtool_get_stats`, net/ethtool/ioctl.c); the count can grow while we ask. So the room ends at a page that nobody may
        // write to: a kernel that would write more finds that out and answers EFAULT.
        unsafe { self.ask(room.at.as_ptr().cast()) }
    }

    /// # Safety
    /// The kernel may write to `data` what it writes for the command that stands there.
    unsafe fn ask(&self, data: *mut libc::c_void) -> io::Result<()> {
        /// `struct ifreq` as this call reads it.
        #[repr(C)]
        struct Request {
            interface: [libc::c_char; libc::IFNAMSIZ],
            data: *mut libc::c_void,
            padding: [u8; 16],
        }
        let mut request = Request { interface: self.interface, data, padding: [0; 16] };
        // SAFETY: the kernel reads and writes the request, which is as large as `struct ifreq`, and `data` by the caller's word.
        let done = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// A word of 64 bits as it lies in memory.
fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

fn name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

fn page_size() -> usize {
    // SAFETY: takes a number and returns one.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1 << 16)
}

/// Zeroed memory with a page behind it that can't be written to. What nobody touches of it costs nothing.
#[derive(Debug)]
struct Room {
    at: NonNull<u8>,
    /// Bytes that can be used.
    length: usize,
    mapped: usize,
}

// SAFETY: the mapping belongs to this value alone, and lives until it is dropped.
unsafe impl Send for Room {}

impl Room {
    /// No room, to stand in for some.
    const NONE: Self = Self { at: NonNull::dangling(), length: 0, mapped: 0 };

    fn new(length: usize) -> io::Result<Self> {
        let page = page_size();
        let used = length.next_multiple_of(page);
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe { libc::mmap(ptr::null_mut(), used + page, access, kind | libc::MAP_NORESERVE, -1, 0) };
        let at = match NonNull::new(at) {
            Some(at) if at.as_ptr() != libc::MAP_FAILED => at.cast::<u8>(),
            _ => return Err(io::Error::last_os_error()),
        };
        let room = Self { at, length: used, mapped: used + page };
        // SAFETY: the last page of the mapping just made, in which nothing lies.
        if unsafe { libc::mprotect(at.add(used).as_ptr().cast(), page, libc::PROT_NONE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(room)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `length` bytes of the mapping, zero or written by the kernel, which writes only during a call that has us borrowed
        // mutably.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.length) }
    }

    fn words(&mut self) -> &mut [u32] {
        // SAFETY: as in `bytes`, and ours alone by `&mut self`; a mapping begins at a page.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr().cast(), self.length / size_of::<u32>()) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.mapped != 0 {
            // SAFETY: exactly what `new` mapped, and references into it borrow `self`.
            unsafe { libc::munmap(self.at.as_ptr().cast(), self.mapped) };
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn names_end_at_their_first_zero() {
        let mut bytes = [0; NAME];
        bytes[..14].copy_from_slice(b"  pkts rx OOB ");
        assert_eq!(name(&bytes), "pkts rx OOB");
        assert_eq!(name(&[b'x'; NAME]), "x".repeat(NAME));
    }

    #[test]
    fn an_interface_without_statistics_says_so() {
        assert!(Statistics::of("lo").unwrap().names().is_err());
        assert!(Statistics::of("no-such-interface-at-all").unwrap().values().map(|_| ()).is_err());
    }

    #[test]
    fn a_write_beyond_the_room_is_refused() {
        let mut room = Room::new(100).unwrap();
        assert_eq!(room.length, page_size());
        room.words()[24] = 7;
        assert_eq!(room.bytes()[96], 7_u32.to_ne_bytes()[0]);
        // /dev/zero writes as much as it is asked for, until it may not.
        let zero = std::fs::File::open("/dev/zero").unwrap();
        // SAFETY: the kernel checks every page that it writes to: that is what is tested.
        let read = unsafe { libc::read(zero.as_raw_fd(), room.at.as_ptr().cast(), 2 * room.mapped) };
        assert_eq!(usize::try_from(read).unwrap(), room.length);
    }
}
