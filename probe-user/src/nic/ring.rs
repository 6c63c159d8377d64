//! The rings and frames of a transmit socket: writing frames, producing them, taking them back.

use super::{
    frames::{Frame, Frames},
    socket::{FRAME_SIZE, KICK, Transmitter, publishes},
};
use crate::wire::{Key, ProbeFields, Template};
use std::{
    io,
    os::fd::{AsRawFd as _, RawFd},
    ptr,
};
use xsk_rs::{CompQueue, FrameDesc, TxQueue, Umem};

/// EtherType for local experiments (IEEE 802, 88B5). A frame of it from our own address to our own address carries a
/// descriptor that has to be used up: no switch forwards it and no host takes it.
const VOID: [u8; 2] = [0x88, 0xb5];

/// No template is laid in the frame.
pub(super) const BARE: u16 = u16::MAX;

/// The rings and frames of a transmit socket.
pub(super) struct Ring {
    umem: Umem,
    pub(super) tx: TxQueue,
    comp: CompQueue,
    fd: RawFd,
    pub(super) zero_copy: bool,
    pub(super) frames: Frames,
    /// A descriptor for each frame, by its index, with the length of what it holds.
    descs: Vec<FrameDesc>,
    /// Which template each frame holds, or [`BARE`].
    laid: Vec<u16>,
    entries: u32,
    completed: [FrameDesc; 64],
}

impl Ring {
    pub(super) fn new(half: Transmitter) -> Self {
        let Transmitter { umem, tx, comp, frames: descs, entries, zero_copy, .. } = half;
        let count = u32::try_from(descs.len()).unwrap_or(u32::MAX);
        let publishes = publishes(&tx);
        Self {
            umem,
            fd: tx.fd().as_raw_fd(),
            tx,
            comp,
            zero_copy,
            frames: Frames::new(count, 0, publishes),
            laid: vec![BARE; descs.len()],
            descs,
            entries,
            completed: [FrameDesc::default(); 64],
        }
    }

    /// The position of the first frame that may still be rewritten: in zero-copy mode none that was produced, because the
    /// driver reads frames when it likes.
    pub(super) fn base(&self) -> u32 {
        if self.zero_copy { self.frames.produced() } else { self.frames.consumed() }
    }

    /// The frame whose descriptor is `place` positions behind `base`.
    pub(super) fn resident(&self, base: u32, place: usize) -> usize {
        // `place` is less than KICK.
        self.frames.at(base.wrapping_add(place as u32))
    }

    /// How long the frame's descriptor says it is.
    pub(super) fn length(&self, frame: usize) -> usize {
        self.descs[frame].lengths().data()
    }

    /// Takes back the frames that the kernel has completed.
    pub(super) fn reclaim(&mut self) {
        loop {
            // SAFETY: the completion ring is of the UMEM that `completed` is used with, and only addresses are taken from
            // what it says.
            let count = unsafe { self.comp.consume(&mut self.completed) };
            for desc in &self.completed[..count] {
                self.frames.complete(desc.addr() / FRAME_SIZE as usize);
            }
            if count < self.completed.len() {
                return;
            }
        }
    }

    /// The kernel's consumer position as it shows now.
    pub(super) fn stored(&mut self) -> u32 {
        self.frames.produced().wrapping_sub(self.entries.wrapping_sub(self.tx.nb_free_exact()))
    }

    /// The frame's bytes, as many as its descriptor says.
    fn bytes(&mut self, frame: usize) -> &mut [u8] {
        // SAFETY: the descriptor is of this UMEM. Nobody else touches the frame: it belongs to this ring alone (receive
        // frames are others, and `&mut self` excludes a second slice), and callers only come with a frame that is free
        // (they hold its token) or resident in copy mode, where the kernel reads frames only inside our own `sendto`; a
        // resident in doubt may still be read by a device, which is why it only ever becomes a void.
        let (at, length) = unsafe {
            let mut data = self.umem.data_mut(&mut self.descs[frame]);
            let bytes = data.contents_mut();
            (bytes.as_mut_ptr(), bytes.len())
        };
        // SAFETY: as above; the slice only outlives xsk-rs' wrapper, which has no way to give it up, and borrows `self`.
        unsafe { std::slice::from_raw_parts_mut(at, length) }
    }

    /// Writes a probe into a frame, laying its template first if another is laid there.
    pub(super) fn write(&mut self, frame: usize, index: u16, template: &Template, fields: &ProbeFields, key: &Key) {
        if self.laid[frame] != index {
            self.resize(frame, template.length());
            template.lay(self.bytes(frame));
            self.laid[frame] = index;
        }
        template.write(self.bytes(frame), fields, key);
    }

    /// Templates have changed: what is laid in a frame is no longer what its index says.
    pub(super) fn forget_templates(&mut self) {
        self.laid.fill(BARE);
    }

    /// Writes any bytes into a free frame, which is bare then. At most [`FRAME_SIZE`] of them.
    pub(super) fn put(&mut self, frame: usize, bytes: &[u8]) {
        self.laid[frame] = BARE;
        self.resize(frame, bytes.len());
        self.bytes(frame).copy_from_slice(bytes);
    }

    /// Makes a resident frame one that nobody takes.
    pub(super) fn void(&mut self, frame: usize, mac: [u8; 6]) {
        self.laid[frame] = BARE;
        let bytes = self.bytes(frame);
        bytes.fill(0);
        bytes[..6].copy_from_slice(&mac);
        bytes[6..12].copy_from_slice(&mac);
        bytes[12..14].copy_from_slice(&VOID);
    }

    /// Produces the new frames in the order of their places, which is that of their positions.
    pub(super) fn produce(&mut self, fresh: &mut [Option<Frame>; KICK]) {
        let mut descs = [FrameDesc::default(); KICK];
        let mut count = 0;
        for frame in fresh.iter_mut().filter_map(Option::take) {
            descs[count] = self.descs[frame.index()];
            count += 1;
            self.frames.produce(frame);
        }
        // SAFETY: the descriptors are of this UMEM, each from a token that was just given up, so no frame is submitted
        // twice; it is not written again before it completes or, in copy mode, between our own `sendto`s.
        let produced = unsafe { self.tx.produce(&descs[..count]) };
        // It has two entries for each frame: see `socket::entries`.
        assert_eq!(produced, count, "a ring that has room for every frame has room for these");
    }

    /// Makes the kernel transmit. Returns the error number, or 0.
    pub(super) fn sendto(&self) -> libc::c_int {
        // SAFETY: no buffer and no address are passed; the descriptor is open for as long as `tx` lives.
        let done = unsafe { libc::sendto(self.fd, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        if done >= 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) }
    }

    /// Sets the length that the descriptor of a free frame says.
    fn resize(&mut self, frame: usize, length: usize) {
        if self.length(frame) != length {
            // SAFETY: as in `bytes`.
            unsafe { self.umem.data_mut(&mut self.descs[frame]) }.cursor().set_pos(length);
        }
    }
}
