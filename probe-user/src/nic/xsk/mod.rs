//! AF_XDP by our own system calls, for the one thing that xsk-rs can't do: stocking the fill ring *before* the socket is bound.
//!
//! A zero-copy driver takes buffers from the fill ring when it starts the queue, which is inside bind. One that finds the ring
//! empty has nothing to receive into, and what would make it look again is mostly an interrupt for a received frame: igb, for one,
//! then stayed deaf. libxdp, and xsk-rs on it, map the ring and bind in one call. So zero-copy sockets are made here:
//!
//! 1. socket(AF_XDP), and its rings' sizes by setsockopt: XDP_UMEM_REG, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING,
//!    XDP_RX_RING, and XDP_TX_RING where it transmits.
//! 2. The rings are mapped, by the offsets that XDP_MMAP_OFFSETS tells (`ring.rs`).
//! 3. The fill ring is stocked.
//! 4. bind.
//!
//! A socket is closed, and its queue free, when all its parts are dropped: each mapping of a ring keeps it open.

mod ring;

pub(super) use ring::{Consumer, Producer};

use ring::{At, Mapping};
use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr::{self, NonNull},
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes of a frame: what the kernel takes as the smallest, and more than any probe.
pub(super) const FRAME_SIZE: u32 = 2048;

/// The memory of a socket's frames. Frame `i` is at `i * FRAME_SIZE`.
pub(super) struct Frames {
    at: NonNull<u8>,
    length: usize,
}

// SAFETY: plain memory that belongs to this value; it is reached only by `frame`, whose callers answer for who touches what.
unsafe impl Send for Frames {}
// SAFETY: as above.
unsafe impl Sync for Frames {}

impl Frames {
    /// Room for so many frames: in huge pages of so many bytes, or in ordinary ones.
    pub(super) fn new(count: u32, huge: Option<u32>) -> io::Result<Self> {
        let bytes = count as usize * FRAME_SIZE as usize;
        let (length, flags) = match huge {
            // munmap(2) takes back whole huge pages only.
            Some(page) => (bytes.next_multiple_of(page as usize), libc::MAP_HUGETLB),
            None => (bytes, 0),
        };
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, -1, 0) };
        match NonNull::new(at) {
            Some(at) if at.as_ptr() != libc::MAP_FAILED => Ok(Self { at: at.cast(), length }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Bytes of the UMEM from `address` on, as a descriptor names them.
    ///
    /// # Safety
    /// For as long as the slice is used nobody writes to these bytes: neither this process nor the kernel, because the frame is in
    /// no ring and with no driver.
    pub(super) unsafe fn bytes(&self, address: u64, length: usize) -> &[u8] {
        let at = self.place(address, length);
        // SAFETY: within the mapping (`place`), initialized (anonymous memory is zeroed), and quiet by the caller's word.
        unsafe { std::slice::from_raw_parts(at.as_ptr(), length) }
    }

    /// The same, to be written.
    ///
    /// # Safety
    /// For as long as the slice is used nobody else reads or writes these bytes.
    #[expect(clippy::mut_from_ref, reason = "frames are handed out one by one; whose each is, callers keep track of")]
    pub(super) unsafe fn bytes_mut(&self, address: u64, length: usize) -> &mut [u8] {
        let at = self.place(address, length);
        // SAFETY: as in `bytes`, and the caller's alone by its word.
        unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), length) }
    }

    fn place(&self, address: u64, length: usize) -> NonNull<u8> {
        let address = usize::try_from(address).unwrap_or(usize::MAX);
        assert!(address.checked_add(length).is_some_and(|end| end <= self.length), "{length} bytes at {address}");
        // SAFETY: within the mapping (just checked).
        unsafe { self.at.add(address) }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and slices of it borrow `self`. What a driver still has of it is pinned by the kernel.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.length) };
    }
}

/// What a socket is to be like.
pub(super) struct Wanted {
    /// The device's index.
    pub(super) interface: u32,
    pub(super) queue: u32,
    pub(super) zero_copy: bool,
    /// The frames to receive into, by their numbers: all of them, right away.
    pub(super) stock: std::ops::Range<u32>,
    /// Entries of the fill ring, all rings being powers of two.
    pub(super) fill: u32,
    pub(super) completion: u32,
    pub(super) rx: u32,
    /// None: it transmits nothing.
    pub(super) tx: Option<u32>,
    /// How long a busy queue is tried again.
    pub(super) retried_for: Duration,
}

/// A bound socket's parts.
pub(super) struct Bound {
    pub(super) socket: Arc<OwnedFd>,
    pub(super) frames: Arc<Frames>,
    pub(super) fill: Producer<u64>,
    pub(super) completion: Consumer<u64>,
    pub(super) rx: Consumer<libc::xdp_desc>,
    pub(super) tx: Option<Producer<libc::xdp_desc>>,
}

/// Makes a socket over these frames, stocks its fill ring, and binds it.
pub(super) fn bind(frames: Frames, wanted: &Wanted) -> io::Result<Bound> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just made for us, and that nothing else knows.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let umem = libc::xdp_umem_reg {
        addr: frames.at.as_ptr() as u64,
        len: frames.length as u64,
        chunk_size: FRAME_SIZE,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set(&socket, libc::XDP_UMEM_REG, &umem)?;
    set(&socket, libc::XDP_UMEM_FILL_RING, &wanted.fill)?;
    set(&socket, libc::XDP_UMEM_COMPLETION_RING, &wanted.completion)?;
    set(&socket, libc::XDP_RX_RING, &wanted.rx)?;
    if let Some(tx) = &wanted.tx {
        set(&socket, libc::XDP_TX_RING, tx)?;
    }
    let offsets = offsets(&socket)?;
    let map = |at: &libc::xdp_ring_offset, entries: u32, size: usize, page: u64| {
        Mapping::new(&socket, At { offsets: *at, entries, size, page })
    };
    let (address, descriptor) = (size_of::<u64>(), size_of::<libc::xdp_desc>());
    let mut fill = Producer::<u64>::new(map(&offsets.fr, wanted.fill, address, libc::XDP_UMEM_PGOFF_FILL_RING)?);
    let completion = map(&offsets.cr, wanted.completion, address, libc::XDP_UMEM_PGOFF_COMPLETION_RING)?;
    let rx = map(&offsets.rx, wanted.rx, descriptor, libc::XDP_PGOFF_RX_RING.cast_unsigned())?;
    let tx =
        wanted.tx.map(|tx| map(&offsets.tx, tx, descriptor, libc::XDP_PGOFF_TX_RING.cast_unsigned())).transpose()?;

    let stocked = fill.produce(wanted.stock.clone().map(|frame| u64::from(frame * FRAME_SIZE)));
    if stocked != wanted.stock.len() {
        return Err(io::Error::other("the fill ring did not take its frames"));
    }
    let mode = if wanted.zero_copy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
    let address = libc::sockaddr_xdp {
        sxdp_family: u16::try_from(libc::AF_XDP).unwrap_or_default(),
        sxdp_flags: libc::XDP_USE_NEED_WAKEUP | mode,
        sxdp_ifindex: wanted.interface,
        sxdp_queue_id: wanted.queue,
        sxdp_shared_umem_fd: 0,
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
    let deadline = Instant::now() + wanted.retried_for;
    loop {
        // SAFETY: the kernel reads `length` bytes of the address, which outlives the call.
        if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() >= deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(Bound {
        socket: Arc::new(socket),
        frames: Arc::new(frames),
        fill,
        completion: Consumer::new(completion),
        rx: Consumer::new(rx),
        tx: tx.map(Producer::new),
    })
}

/// Sets an option of the socket's to a value that the kernel knows the layout of.
fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    let value: *const T = value;
    // SAFETY: the kernel reads `length` bytes of `value`, which outlives the call.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, value.cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where in their mappings the parts of rings lie.
fn offsets(socket: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    let none = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let mut offsets = libc::xdp_mmap_offsets { rx: none, tx: none, fr: none, cr: none };
    let mut length = libc::socklen_t::try_from(size_of_val(&offsets)).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes, the size of `offsets`, all of which may have any value.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_MMAP_OFFSETS,
            (&raw mut offsets).cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // Before Linux 5.4 the layout was another, without flags. There is no need-wakeup then either.
    if (length as usize) < size_of_val(&offsets) {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    Ok(offsets)
}
