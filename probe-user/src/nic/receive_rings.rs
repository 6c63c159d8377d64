//! The receiving rings of a queue's socket: frames from the RX ring, and back into the fill ring.

use super::xsk::{Consumer, Frames, Producer};
use std::{
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    sync::Arc,
};
use xsk_rs::{FillQueue, FrameDesc, RxQueue, Umem};

/// Frames of a burst.
pub(super) const BURST: usize = 64;

/// The receiving rings of a queue's socket.
#[expect(clippy::large_enum_variant, reason = "there are as many as queues, and they never move")]
pub(super) enum Rings {
    /// Copy mode.
    Library(LibraryRings),
    /// Zero-copy.
    Own(OwnRings),
}

/// xsk-rs'.
pub(super) struct LibraryRings {
    umem: Umem,
    rx: RxQueue,
    fill: FillQueue,
    descs: [FrameDesc; BURST],
}

/// Our own.
pub(super) struct OwnRings {
    socket: Arc<OwnedFd>,
    frames: Arc<Frames>,
    rx: Consumer<libc::xdp_desc>,
    fill: Producer<u64>,
    descs: [libc::xdp_desc; BURST],
}

impl Rings {
    pub(super) fn library(umem: Umem, rx: RxQueue, fill: FillQueue) -> Self {
        Self::Library(LibraryRings { umem, rx, fill, descs: [FrameDesc::default(); BURST] })
    }

    pub(super) fn own(
        socket: Arc<OwnedFd>,
        frames: Arc<Frames>,
        rx: Consumer<libc::xdp_desc>,
        fill: Producer<u64>,
    ) -> Self {
        let none = libc::xdp_desc { addr: 0, len: 0, options: 0 };
        Self::Own(OwnRings { socket, frames, rx, fill, descs: [none; BURST] })
    }

    /// The socket. Open for as long as these rings are.
    pub(super) fn fd(&self) -> RawFd {
        match self {
            Self::Library(rings) => rings.rx.fd().as_raw_fd(),
            Self::Own(rings) => rings.socket.as_raw_fd(),
        }
    }

    /// Whether the driver waits to be called before it takes frames from the fill ring: it ran dry. Only a zero-copy driver does.
    pub(super) fn needs_wakeup(&self) -> bool {
        match self {
            Self::Library(_) => false,
            Self::Own(rings) => rings.fill.needs_wakeup(),
        }
    }

    /// Takes one burst through its whole life. Returns how many frames it had.
    pub(super) fn burst(&mut self, settle: &mut dyn FnMut(&[&[u8]])) -> usize {
        match self {
            Self::Library(rings) => rings.burst(settle),
            Self::Own(rings) => rings.burst(settle),
        }
    }
}

impl LibraryRings {
    fn burst(&mut self, settle: &mut dyn FnMut(&[&[u8]])) -> usize {
        // SAFETY: the ring is of the UMEM that the descriptors are used with below.
        let count = unsafe { self.rx.consume(&mut self.descs) };
        if count == 0 {
            return 0;
        }
        let descs = &self.descs[..count];
        let mut frames: [&[u8]; BURST] = [&[]; BURST];
        for (frame, desc) in frames.iter_mut().zip(descs) {
            // SAFETY: the kernel wrote address and length, and keeps both within one frame of this UMEM. The frame is ours
            // from the RX ring to the fill ring, to which it is returned below, when every slice of it is over; nobody writes
            // to it in between.
            *frame = unsafe { self.umem.data(desc) }.contents();
        }
        settle(&frames[..count]);
        // SAFETY: these frames came from the RX ring just now, so they are ours and in no other ring; `settle` is over, so no
        // slice of them is left.
        let returned = unsafe { self.fill.produce(descs) };
        // It has two entries for each frame: see `socket::entries`.
        assert_eq!(returned, count, "a fill ring that has room for every frame has room for these");
        count
    }
}

impl OwnRings {
    fn burst(&mut self, settle: &mut dyn FnMut(&[&[u8]])) -> usize {
        let count = self.rx.consume(&mut self.descs);
        if count == 0 {
            return 0;
        }
        let descs = &self.descs[..count];
        let mut frames: [&[u8]; BURST] = [&[]; BURST];
        for (frame, desc) in frames.iter_mut().zip(descs) {
            // SAFETY: as above: the frame is ours from the RX ring to the fill ring.
            *frame = unsafe { self.frames.bytes(desc.addr, desc.len as usize) };
        }
        settle(&frames[..count]);
        // The kernel takes any address within a frame for the frame.
        let returned = self.fill.produce(descs.iter().map(|desc| desc.addr));
        // As above.
        assert_eq!(returned, count, "a fill ring that has room for every frame has room for these");
        count
    }
}
