//! The rings and frames of a transmit socket: writing frames, producing them, taking them back.

use super::{
    frames::{Frame, Frames, Kick, Written},
    socket::{KICK, TransmitRings, Transmitter, publishes},
    xsk::FRAME_SIZE,
};
use crate::{
    base::Cause,
    wire::{Key, ProbeFields, Template},
};
use std::{io, os::fd::RawFd, ptr};
use xsk_rs::FrameDesc;

/// EtherType for local experiments (IEEE 802, 88B5). A frame of it from our own address to our own address carries a
/// descriptor that has to be used up: no switch forwards it and no host takes it.
const VOID: [u8; 2] = [0x88, 0xb5];

/// No template is laid in the frame.
pub(super) const BARE: u32 = u32::MAX;

/// The rings and frames of a transmit socket, whatever is sent by it. `AfxdpSender` sends probes by one.
pub struct Ring {
    rings: TransmitRings,
    fd: RawFd,
    pub(super) zero_copy: bool,
    pub(super) frames: Frames,
    /// Which template each frame holds, or [`BARE`].
    laid: Vec<u32>,
    entries: u32,
}

/// A probe, and by what it is written.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    /// Of the template.
    pub(super) index: u32,
    pub(super) template: &'a Template,
    pub(super) fields: ProbeFields,
    pub(super) key: &'a Key,
}

/// What came of a call that had the kernel transmit.
#[derive(Clone, Copy, Debug)]
pub struct Kicked {
    /// What the kernel said.
    pub kick: Kick,
    /// Why what is left in the ring was not sent, if it is given up.
    pub cause: Cause,
    /// How many frames it took from the ring, in the order in which they were produced. After [`Kick::Dropped`] it dropped the last.
    pub taken: u32,
}

impl Ring {
    /// Most frames that one call produces, or has the kernel send.
    pub const BATCH: usize = KICK;
    /// Most bytes of a frame.
    pub const LONGEST: usize = FRAME_SIZE as usize;

    pub(super) fn new(half: Transmitter) -> Self {
        let Transmitter { rings, entries, zero_copy } = half;
        let fd = rings.fd();
        let publishes = publishes(fd);
        let count = rings.count();
        Self {
            fd,
            zero_copy,
            frames: Frames::new(u32::try_from(count).unwrap_or(u32::MAX), 0, publishes),
            laid: vec![BARE; count],
            rings,
            entries,
        }
    }

    /// The position of the first frame that may still be rewritten: in zero-copy mode none that was produced, because the
    /// driver reads frames when it likes.
    pub(super) fn base(&self) -> u32 {
        if self.zero_copy { self.frames.produced() } else { self.frames.consumed() }
    }

    /// The frame whose descriptor is `place` positions behind `base`.
    pub(super) fn behind(&self, base: u32, place: usize) -> usize {
        // `place` is less than KICK.
        self.frames.at(base.wrapping_add(place as u32))
    }

    /// How long the frame's descriptor says it is.
    pub(super) fn length(&self, frame: usize) -> usize {
        match &self.rings {
            TransmitRings::Library { descs, .. } => descs[frame].lengths().data(),
            TransmitRings::Own { lengths, .. } => lengths[frame] as usize,
        }
    }

    /// A free frame, if there is one.
    pub fn take(&mut self) -> Option<Frame> {
        self.frames.take()
    }

    /// Frames that were produced and that the kernel is not known to have taken.
    pub fn resident(&self) -> u32 {
        self.frames.resident()
    }

    /// Takes back the frames that the kernel has completed.
    pub fn reclaim(&mut self) {
        const MOST: usize = 64;
        loop {
            let count = match &mut self.rings {
                TransmitRings::Library { comp, .. } => {
                    let mut completed = [FrameDesc::default(); MOST];
                    // SAFETY: the completion ring is of the UMEM that the frames are of, and only addresses are taken from
                    // what it says.
                    let count = unsafe { comp.consume(&mut completed) };
                    for desc in &completed[..count] {
                        self.frames.complete(desc.addr() / FRAME_SIZE as usize);
                    }
                    count
                }
                TransmitRings::Own { completion, .. } => {
                    let mut completed = [0; MOST];
                    let count = completion.consume(&mut completed);
                    for address in &completed[..count] {
                        let frame = usize::try_from(*address).unwrap_or(usize::MAX) / FRAME_SIZE as usize;
                        self.frames.complete(frame);
                    }
                    count
                }
            };
            if count < MOST {
                return;
            }
        }
    }

    /// The kernel's consumer position as it shows now.
    fn stored(&mut self) -> u32 {
        match &mut self.rings {
            TransmitRings::Library { tx, .. } => {
                self.frames.produced().wrapping_sub(self.entries.wrapping_sub(tx.nb_free_exact()))
            }
            TransmitRings::Own { tx, .. } => tx.consumed(),
        }
    }

    /// Whether the driver waits to be called before it looks at the TX ring.
    pub fn needs_wakeup(&self) -> bool {
        match &self.rings {
            TransmitRings::Library { tx, .. } => tx.needs_wakeup(),
            TransmitRings::Own { tx, .. } => tx.needs_wakeup(),
        }
    }

    /// The frame's bytes, as many as its descriptor says.
    fn bytes(&mut self, frame: usize) -> &mut [u8] {
        match &mut self.rings {
            TransmitRings::Library { umem, descs, .. } => {
                // SAFETY: the descriptor is of this UMEM. Nobody else touches the frame: it belongs to this ring alone (receive
                // frames are others, and `&mut self` excludes a second slice), and callers only come with a frame that is free
                // (they hold its token) or resident in copy mode, where the kernel reads frames only inside our own `sendto`;
                // a resident in doubt may still be read by a device, which is why it only ever becomes a void.
                let (at, length) = unsafe {
                    let mut data = umem.data_mut(&mut descs[frame]);
                    let bytes = data.contents_mut();
                    (bytes.as_mut_ptr(), bytes.len())
                };
                // SAFETY: as above; the slice only outlives xsk-rs' wrapper, which has no way to give it up, and borrows
                // `self`.
                unsafe { std::slice::from_raw_parts_mut(at, length) }
            }
            TransmitRings::Own { frames, lengths, .. } => {
                // SAFETY: as above.
                unsafe { frames.bytes_mut(frame as u64 * u64::from(FRAME_SIZE), lengths[frame] as usize) }
            }
        }
    }

    /// Writes a probe into a free frame, laying its template first if another is laid there.
    pub(super) fn write(&mut self, frame: Frame, probe: &Probe<'_>) -> Written {
        self.rewrite(frame.index(), probe);
        frame.written()
    }

    /// Writes a probe into a frame that is free, or resident and not in doubt.
    pub(super) fn rewrite(&mut self, frame: usize, probe: &Probe<'_>) {
        let Probe { index, template, fields, key } = *probe;
        if self.laid[frame] != index {
            self.resize(frame, template.length());
            template.lay(self.bytes(frame));
            self.laid[frame] = index;
        }
        template.write(self.bytes(frame), &fields, key);
    }

    /// Templates have changed: what is laid in a frame is no longer what its index says.
    pub(super) fn forget_templates(&mut self) {
        self.laid.fill(BARE);
    }

    /// Writes any bytes into a free frame of this ring, which is bare then.
    ///
    /// # Panics
    /// If they are more than [`Ring::LONGEST`].
    pub fn put(&mut self, frame: Frame, bytes: &[u8]) -> Written {
        assert!(bytes.len() <= Self::LONGEST, "{} bytes in a frame", bytes.len());
        self.laid[frame.index()] = BARE;
        self.resize(frame.index(), bytes.len());
        self.bytes(frame.index()).copy_from_slice(bytes);
        frame.written()
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

    /// Produces what has been written, in the order of the places, which is that of the positions.
    pub fn produce(&mut self, written: &mut [Option<Written>; Self::BATCH]) {
        let mut indices = [0; KICK];
        let mut count = 0;
        for frame in written.iter_mut().filter_map(Option::take) {
            indices[count] = frame.index();
            count += 1;
            self.frames.produce(frame);
        }
        let indices = &indices[..count];
        let produced = match &mut self.rings {
            TransmitRings::Library { tx, descs, .. } => {
                let mut chosen = [FrameDesc::default(); KICK];
                for (to, index) in chosen.iter_mut().zip(indices) {
                    *to = descs[*index];
                }
                // SAFETY: the descriptors are of this UMEM, each from a token that was just given up, so no frame is submitted
                // twice; it is not written again before it completes or, in copy mode, between our own `sendto`s.
                unsafe { tx.produce(&chosen[..count]) }
            }
            TransmitRings::Own { tx, lengths, .. } => tx.produce(indices.iter().map(|index| libc::xdp_desc {
                addr: *index as u64 * u64::from(FRAME_SIZE),
                len: lengths[*index],
                options: 0,
            })),
        };
        // It has two entries for each frame: see `socket::entries`.
        assert_eq!(produced, count, "a ring that has room for every frame has room for these");
    }

    /// In copy mode: makes the kernel transmit, once, and says what came of it.
    #[inline]
    pub fn kick(&mut self) -> Kicked {
        let before = self.frames.consumed();
        let (kick, cause) = classify(self.sendto());
        self.reclaim();
        let stored = self.stored();
        self.frames.kicked(kick, before, stored);
        Kicked { kick, cause, taken: self.frames.consumed().wrapping_sub(before) }
    }

    /// Makes the kernel transmit. Returns the error number, or 0.
    pub fn sendto(&self) -> libc::c_int {
        // SAFETY: no buffer and no address are passed; the descriptor is open for as long as the rings live.
        let done = unsafe { libc::sendto(self.fd, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        if done >= 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) }
    }

    /// Sets the length that the descriptor of a free frame says.
    fn resize(&mut self, frame: usize, length: usize) {
        if self.length(frame) == length {
            return;
        }
        match &mut self.rings {
            TransmitRings::Library { umem, descs, .. } => {
                // SAFETY: as in `bytes`.
                unsafe { umem.data_mut(&mut descs[frame]) }.cursor().set_pos(length);
            }
            TransmitRings::Own { lengths, .. } => lengths[frame] = u32::try_from(length).unwrap_or(u32::MAX),
        }
    }
}

/// What an error of the kick means for the ring, and for probes that are given up because of it. See the table in `afxdp`.
pub(super) fn classify(error: libc::c_int) -> (Kick, Cause) {
    match error {
        0 => (Kick::Done, Cause::Refused),
        libc::EBUSY => (Kick::Dropped, Cause::Refused),
        libc::EAGAIN => (Kick::Again, Cause::Refused),
        libc::ENOBUFS | libc::ENOMEM => (Kick::Again, Cause::NoRoom),
        // xsk_sendmsg checks both before it looks at the ring.
        libc::ENETDOWN | libc::ENXIO => (Kick::Nothing, Cause::LinkDown),
        // Nothing else is documented. Whatever it is, it may have come after some frames.
        _ => (Kick::Again, Cause::Refused),
    }
}
