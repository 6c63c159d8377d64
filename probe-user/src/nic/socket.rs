//! One queue's UMEM and sockets.
//!
//! The receive socket is bound first and owns the fill and the completion ring. In copy mode a second socket, which shares
//! the UMEM and the queue, transmits: polling a copy-mode socket makes the kernel transmit for it and throws the result
//! away, so the socket that receivers sleep on must have nothing to send. In zero-copy mode polling only wakes the driver
//! up, and one socket does both (two on a queue would push drivers to their unbatched path).
//!
//! Copy-mode sockets are xsk-rs'. Zero-copy ones are made by our own calls (`xsk`), because their fill ring has to be stocked before
//! they are bound.

use super::{
    Mode, NicError,
    receive_rings::Rings,
    xsk::{self, Bound, Consumer, FRAME_SIZE, Frames, Producer, Wanted},
};
use crate::route::{Interface as Device, ethtool};
use std::{
    io,
    num::NonZeroU32,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    sync::Arc,
    time::{Duration, Instant},
};
use xsk_rs::{
    CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem,
    config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig},
};

/// A queue whose last socket has just been closed stays busy until the kernel has torn it down, which a busy machine takes its
/// time for: more than two seconds were seen.
const BIND_RETRIED_FOR: Duration = Duration::from_secs(5);
/// `linux/if_xdp.h`; Linux 6.17 and later.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// Replies a second that no interface is taken to exceed, where the rate has no bound.
const FASTEST: u64 = 4_000_000;
/// Entries of a driver's own receive ring: where it doesn't tell, and at most.
const DRIVERS_RING: u32 = 4_096;
const LARGEST_RING: u32 = 16_384;
/// Most descriptors that a copy-mode `sendto` moves (the kernel's TX_BATCH_SIZE).
pub(super) const KICK: usize = 32;

/// How large the rings of a queue are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Entries of the RX ring: a power of two.
    pub(super) rx: u32,
    /// Frames to receive into.
    pub(super) receive: u32,
    /// Frames to transmit from: a power of two, or none.
    pub(super) tx: u32,
}

/// Entries of a ring through which so many frames go to the kernel. The kernel hands a frame back (`xsk_flush` fills the
/// RX ring) before it stores how far it has read the ring that the frame came by, so for a moment a frame can seem to be
/// in its old entry while we put it into a new one. A frame has at most one of each.
const fn entries(frames: u32) -> u32 {
    (2 * frames).next_power_of_two()
}

/// What one queue is to carry a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) replies: u64,
    /// None where none leave.
    pub(super) probes: Option<u64>,
}

impl Load {
    /// Of `rate` probes a second by so many senders, whose replies come in through so many queues.
    ///
    /// The card spreads replies over its queues by their addresses, more or less evenly. So each has room for twice its share, but
    /// for no more than one sender's, and never for less than the least ring holds.
    pub(super) fn new(rate: u64, senders: u32, queues: u32) -> Self {
        let own = rate / u64::from(senders.max(1));
        let share = rate.min(FASTEST) / u64::from(queues.max(1)) * 2;
        Self { replies: own.min(share), probes: Some(own) }
    }

    /// Of a queue by which no probes leave.
    pub(super) const fn receiving(self) -> Self {
        Self { probes: None, ..self }
    }
}

impl Sizes {
    /// An RX ring for 80 ms of the replies, which is longer than a busy machine's scheduler keeps a receiver waiting, and transmit
    /// frames for 5 ms. `driver`: in zero-copy mode, entries of the driver's own receive ring.
    pub(super) fn new(load: Load, driver: Option<u32>) -> Self {
        let ring = |entries: u64, least: u32, most: u32| {
            u32::try_from(entries).unwrap_or(most).clamp(least, most).next_power_of_two()
        };
        let rx = ring(load.replies / 1_000 * 80, 1_024, 16_384);
        // The RX ring's, and some for what a receiver has in its hands. Copy mode takes a frame from the fill ring only
        // when it has something to put into it. A zero-copy driver first fills its own ring, and the host's other traffic
        // arrives in those too: were all frames in the RX ring, a stalled receiver would starve it.
        let receive = rx + 256 + driver.unwrap_or(0);
        Self { rx, receive, tx: load.probes.map_or(0, |rate| ring(rate / 200, 256, 4_096)) }
    }

    /// Entries of the completion ring, which every queue has.
    const fn completion(self) -> u32 {
        if self.tx == 0 { 2 } else { self.tx }
    }

    /// What all frames take.
    fn bytes(self) -> u64 {
        u64::from(self.receive + self.tx) * u64::from(FRAME_SIZE)
    }
}

/// Bytes of a queue's frames, in copy mode.
pub(super) fn frame_bytes(load: Load) -> u64 {
    Sizes::new(load, None).bytes()
}

/// Entries of a queue's RX ring.
pub(super) fn receive_ring(load: Load) -> u64 {
    u64::from(Sizes::new(load, None).rx)
}

/// A queue's sockets, bound, with the fill ring stocked.
pub(super) struct Queue {
    pub(super) zero_copy: bool,
    pub(super) rings: Rings,
    pub(super) tx: Option<Transmitter>,
}

/// The transmitting half of a queue.
pub(super) struct Transmitter {
    pub(super) rings: TransmitRings,
    /// Of the TX ring.
    pub(super) entries: u32,
    pub(super) zero_copy: bool,
}

/// The transmitting rings of a queue's socket, and its frames, all free.
pub(super) enum TransmitRings {
    /// Copy mode: xsk-rs'.
    Library {
        umem: Umem,
        tx: TxQueue,
        comp: CompQueue,
        /// A descriptor for each frame, by its index, with the length of what it holds.
        descs: Vec<FrameDesc>,
        /// The receiving half of a socket that has to have one. Nothing is steered to it.
        _rx: RxQueue,
    },
    /// Zero-copy: our own. Frame `i` is the `i`th of the memory.
    Own {
        socket: Arc<OwnedFd>,
        frames: Arc<Frames>,
        tx: Producer<libc::xdp_desc>,
        completion: Consumer<u64>,
        /// How long each frame is.
        lengths: Vec<u32>,
    },
}

impl TransmitRings {
    /// How many frames there are.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Library { descs, .. } => descs.len(),
            Self::Own { lengths, .. } => lengths.len(),
        }
    }

    /// The socket. Open for as long as these rings are.
    pub(super) fn fd(&self) -> RawFd {
        match self {
            Self::Library { tx, .. } => tx.fd().as_raw_fd(),
            Self::Own { socket, .. } => socket.as_raw_fd(),
        }
    }
}

/// Makes a queue's memory and sockets, with a [`Transmitter`] if it is to carry probes.
pub(super) fn open(device: &Device, queue: u32, mode: Mode, load: Load) -> Result<Queue, NicError> {
    match mode {
        Mode::ZeroCopy => zero_copy(device, queue, load),
        Mode::Copy | Mode::Generic => copy(device, queue, load),
        // Asked for explicitly, so that the kernel never falls back without our knowing.
        Mode::Auto => match zero_copy(device, queue, load) {
            Err(NicError::ZeroCopy { .. }) => copy(device, queue, load),
            done => done,
        },
    }
}

fn zero_copy(device: &Device, queue: u32, load: Load) -> Result<Queue, NicError> {
    let ring = ethtool::receive_ring(device.index).and_then(|entries| u32::try_from(entries).ok());
    let sizes = Sizes::new(load, Some(ring.unwrap_or(DRIVERS_RING).min(LARGEST_RING)));
    let wanted = Wanted {
        interface: device.index,
        queue,
        zero_copy: true,
        // Behind those that transmit, whose numbers then begin at 0.
        stock: sizes.tx..sizes.tx + sizes.receive,
        fill: entries(sizes.receive),
        completion: sizes.completion(),
        rx: sizes.rx,
        tx: load.probes.map(|_| entries(sizes.tx)),
        retried_for: BIND_RETRIED_FOR,
    };
    let count = sizes.receive + sizes.tx;
    let huge = huge_page().and_then(|page| Frames::new(count, Some(page)).ok());
    let bound = huge.map_or_else(|| Frames::new(count, None), Ok).and_then(|frames| xsk::bind(frames, &wanted));
    let interface = || device.name.clone();
    let Bound { socket, frames, fill, completion, rx, tx } = bound.map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM) => NicError::Privileges,
        Some(libc::ENOBUFS) => locked_memory(device, queue, sizes),
        Some(libc::EBUSY) => NicError::QueueBusy { interface: interface(), queue },
        Some(libc::ENODEV | libc::ENOMEM | libc::ENETDOWN) => NicError::Socket { interface: interface(), queue, error },
        _ => NicError::ZeroCopy { interface: interface(), queue, error },
    })?;
    wake(&socket);
    let tx = tx.map(|tx| Transmitter {
        rings: TransmitRings::Own {
            socket: Arc::clone(&socket),
            frames: Arc::clone(&frames),
            tx,
            completion,
            lengths: vec![0; sizes.tx as usize],
        },
        entries: entries(sizes.tx),
        zero_copy: true,
    });
    Ok(Queue { zero_copy: true, rings: Rings::own(socket, frames, rx, fill), tx })
}

/// Has the driver look at a queue once, whatever it made of it at the bind: poll wakes for all that is marked, and transmitting is
/// marked from the start.
fn wake(socket: &OwnedFd) {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd, and no waiting.
    unsafe { libc::poll(&raw mut poll, 1, 0) };
}

fn locked_memory(device: &Device, queue: u32, sizes: Sizes) -> NicError {
    let mebibytes = u32::try_from(sizes.bytes().div_ceil(1 << 20)).unwrap_or(u32::MAX);
    NicError::LockedMemory { interface: device.name.clone(), queue, mebibytes }
}

fn copy(device: &Device, queue: u32, load: Load) -> Result<Queue, NicError> {
    let sizes = Sizes::new(load, None);
    let failed = |error| NicError::Socket { interface: device.name.clone(), queue, error };
    let config = UmemConfig::builder()
        .frame_size(FrameSize::new(FRAME_SIZE).map_err(io::Error::other).map_err(failed)?)
        .fill_queue_size(size(entries(sizes.receive)))
        .comp_queue_size(size(sizes.completion()))
        .build()
        .map_err(io::Error::other)
        .map_err(failed)?;
    let (umem, mut descs) = memory(config, sizes.receive + sizes.tx).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM) => NicError::Privileges,
        // xdp_umem_account_pages: past RLIMIT_MEMLOCK.
        Some(libc::ENOBUFS) => locked_memory(device, queue, sizes),
        _ => failed(error),
    })?;
    let name = device.name.parse::<Interface>().map_err(io::Error::other).map_err(failed)?;

    let flags = BindFlags::XDP_USE_NEED_WAKEUP | BindFlags::XDP_COPY;
    // The receive socket sends nothing, but xsk-rs gives every socket both rings.
    let first = socket(&umem, &name, queue, flags, sizes.rx, 2).map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => NicError::QueueBusy { interface: device.name.clone(), queue },
        _ => failed(error),
    })?;
    let (_, rx, Some((mut fill, comp))) = first else {
        return Err(failed(io::Error::other("the first socket of a UMEM came without its fill and completion ring")));
    };

    let receive = descs.split_off(sizes.tx as usize);
    // SAFETY: these descriptors are of this UMEM and nobody else holds them: `split_off` took them from the list that
    // came with it, and the fill ring becomes their owner.
    let stocked = unsafe { fill.produce(&receive) };
    if stocked != receive.len() {
        return Err(failed(io::Error::other("the fill ring did not take its frames")));
    }

    let tx = if load.probes.is_some() {
        // Flags beside a shared UMEM are EINVAL to the kernel: libxdp leaves them out, and the mode is the first socket's.
        let (tx, idle, _) = socket(&umem, &name, queue, flags, 2, entries(sizes.tx)).map_err(failed)?;
        send_buffer(&tx, sizes.tx);
        let rings = TransmitRings::Library { umem: umem.clone(), tx, comp, descs, _rx: idle };
        Some(Transmitter { rings, entries: entries(sizes.tx), zero_copy: false })
    } else {
        None
    };
    Ok(Queue { zero_copy: false, rings: Rings::library(umem, rx, fill), tx })
}

/// A UMEM of so many frames: in huge pages if the kernel has as many reserved and free (vm.nr_hugepages), else in ordinary ones.
fn memory(config: UmemConfig, frames: u32) -> io::Result<(Umem, Vec<FrameDesc>)> {
    let make = |frames: u32, huge| {
        let many = NonZeroU32::MIN.saturating_add(frames - 1);
        Umem::new(config, many, huge).map_err(|error| cause(&error))
    };
    if let Some(page) = huge_page() {
        // munmap(2) takes back whole huge pages only. The frames that fill the last one up are in nobody's hands.
        let whole = frames.next_multiple_of((page / FRAME_SIZE).max(1));
        if let Ok((umem, mut descs)) = make(whole, true) {
            descs.truncate(frames as usize);
            return Ok((umem, descs));
        }
    }
    make(frames, false)
}

/// Bytes of the huge pages that are reserved on this machine, if some are free and they are not so large that most of one would be
/// wasted.
fn huge_page() -> Option<u32> {
    const LARGEST: u32 = 2 << 20;
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let value = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u32>().ok()
    };
    let size = value("Hugepagesize:")?.checked_mul(1_024)?;
    (value("HugePages_Free:")? > 0 && size <= LARGEST).then_some(size)
}

type Made = (TxQueue, RxQueue, Option<(FillQueue, CompQueue)>);

/// Creates and binds a socket; a busy queue is tried again for a while.
fn socket(umem: &Umem, device: &Interface, queue: u32, flags: BindFlags, rx: u32, tx: u32) -> io::Result<Made> {
    let config = SocketConfig::builder()
        .rx_queue_size(size(rx))
        .tx_queue_size(size(tx))
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(flags)
        .build();
    let deadline = Instant::now() + BIND_RETRIED_FOR;
    loop {
        // SAFETY: libxdp is told not to load a program of its own, which is what sharing a UMEM asks for.
        match unsafe { Socket::new(config, umem, device, queue) } {
            Ok(rings) => return Ok(rings),
            Err(error) => {
                let error = cause(&error);
                if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() >= deadline {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// The operating system's error under one of xsk-rs'.
fn cause(error: &dyn std::error::Error) -> io::Error {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(error.to_string()),
    }
}

fn size(entries: u32) -> QueueSize {
    // Sizes come from `Sizes` and from literals here: powers of two, all of them.
    QueueSize::new(entries).unwrap_or_else(|_| unreachable!("{entries} is a power of two"))
}

/// Copy mode charges a buffer for every frame in the driver to the socket: room for all of them, so that the limit is the
/// rings'. Failure (no CAP_NET_ADMIN) only means that EAGAIN comes earlier.
fn send_buffer(tx: &TxQueue, frames: u32) {
    let bytes = libc::c_int::try_from(u64::from(frames) * 4_096).unwrap_or(libc::c_int::MAX);
    set_option(tx.fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes);
}

/// Whether this kernel stores its TX ring position after every call that sent something: it came with Linux 6.17, as did
/// this option, set here to what it is anyway.
pub(super) fn publishes(fd: RawFd) -> bool {
    let budget = libc::c_int::try_from(KICK).unwrap_or(libc::c_int::MAX);
    set_option(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, budget)
}

fn set_option(fd: libc::c_int, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> bool {
    let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(0);
    // SAFETY: the kernel reads `length` bytes of `value`, which outlives the call.
    unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) == 0 }
}

/// A descriptor of one's own for a receive socket: for statistics and the socket map, whoever drops what first.
pub(super) fn share(rings: &Rings) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open for as long as `rings`, which is borrowed here, and is only duplicated.
    unsafe { BorrowedFd::borrow_raw(rings.fd()) }.try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_follow_the_rate_between_their_bounds() {
        let sizes = |rate, senders, queues| Sizes::new(Load::new(rate, senders, queues), None);
        assert_eq!(sizes(1_000, 1, 1), Sizes { rx: 1_024, receive: 1_280, tx: 256 });
        assert_eq!(sizes(100_000, 1, 1), Sizes { rx: 8_192, receive: 8_448, tx: 512 });
        assert_eq!(sizes(u64::MAX, 1, 1), Sizes { rx: 16_384, receive: 16_640, tx: 4_096 });
        assert_eq!(sizes(200_000, 2, 2), Sizes { rx: 8_192, receive: 8_448, tx: 512 });
        assert_eq!(sizes(1_000_000, 1, 128).rx, 2_048, "twice its share for 80 ms is 1,250");
        assert_eq!(sizes(u64::MAX, 4, 128).rx, 8_192);
        let receiving = Sizes::new(Load::new(1_000, 1, 4).receiving(), Some(512));
        assert_eq!(receiving, Sizes { rx: 1_024, receive: 1_024 + 256 + 512, tx: 0 });
        // Twice the frames, whatever their number.
        assert_eq!(entries(1_280), 4_096);
    }
}
