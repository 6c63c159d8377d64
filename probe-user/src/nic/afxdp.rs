//! The `afxdp` transmit engine: frames in the UMEM, a send stamp just before the kick.
//!
//! In copy mode the kernel takes descriptors only inside our own `sendto`, so each call tells what became of them:
//!
//! | `sendto` says | because | and we |
//! |---|---|---|
//! | 0 | the ring is empty | are done |
//! | EBUSY | the driver or the carrier refused the last frame it took (`NET_XMIT_DROP`): gone, completed, not sent | settle that one as unsent and call again for the rest |
//! | EAGAIN | its budget is used up, the driver's queue is full (`NETDEV_TX_BUSY`, the descriptor is put back), or the send buffer is | call again, for at most [`PATIENCE`] without progress |
//! | ENOBUFS, ENOMEM | no memory for a buffer; the descriptor is left | the same |
//! | ENETDOWN, ENXIO | the interface is down or gone; nothing was taken | give up at once |
//!
//! What is given up stays in the ring, where nothing can take it out again. Its probes are unsent, so it must not leave as
//! it is: before the next kick, whenever that is, each such frame becomes one of the new probes, or [`VOID`].
//!
//! In zero-copy mode the driver takes descriptors when it likes: produced is sent, and a frame is ours again when it has
//! been completed.

use super::{
    NicError,
    clock::MonotonicClock,
    drops::TransmitDrops,
    frames::{Frame, Frames, Kick},
    socket::{KICK, Transmitter, publishes},
};
use crate::{
    ledger::Cause,
    route::{Hop, Neighbour},
    time::Nanos,
    wire::{Key, ProbeFields, Template},
    worker::{Clock, Due, Fate, Link, Transmit},
};
use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, RawFd},
    ptr,
    sync::Arc,
};
use xsk_rs::{CompQueue, FrameDesc, TxQueue, Umem};

/// How long a kernel that makes no progress is called again.
const PATIENCE: Nanos = Nanos::from_millis(1);

/// EtherType for local experiments (IEEE 802, 88B5). A frame of it from our own address to our own address carries a
/// descriptor that has to be used up: no switch forwards it and no host takes it.
const VOID: [u8; 2] = [0x88, 0xb5];

/// No template is laid in the frame.
const BARE: u16 = u16::MAX;

/// No probe is at the position.
const NOBODY: u16 = u16::MAX;

/// What the probes of a sender look like, apart from what changes with each.
#[derive(Clone)]
pub(super) struct Looks {
    pub(super) mac: [u8; 6],
    pub(super) identifier: u16,
    pub(super) ttl: u8,
    pub(super) key: Key,
    pub(super) payloads: Vec<u16>,
}

/// Sends probes through one queue's AF_XDP socket. Owned by one sender thread.
pub struct AfxdpSender {
    ring: Ring,
    hops: Arc<[Hop]>,
    /// For each hop the first of its source's templates.
    hop_templates: Vec<u16>,
    payloads: Vec<u16>,
    templates: Vec<Template>,
    key: Key,
    mac: [u8; 6],
    link: Arc<dyn Link>,
    drops: Arc<TransmitDrops>,
    clock: MonotonicClock,
    /// Which of the probes at hand is at each ring position, counted from the first that the kernel hasn't consumed.
    owners: [u16; KICK],
}

/// The rings and frames of a transmit socket.
struct Ring {
    umem: Umem,
    tx: TxQueue,
    comp: CompQueue,
    fd: RawFd,
    zero_copy: bool,
    frames: Frames,
    /// A descriptor for each frame, by its index, with the length of what it holds.
    descs: Vec<FrameDesc>,
    /// Which template each frame holds, or [`BARE`].
    laid: Vec<u16>,
    size: u32,
    completed: [FrameDesc; 64],
}

/// A probe and what it takes to write it.
#[derive(Clone, Copy)]
struct Load {
    mac: [u8; 6],
    template: u16,
}

/// What went into the ring for a kick.
#[derive(Clone, Copy)]
struct Filled {
    /// How many of the probes are dealt with: in the ring, or unsent already.
    dealt: usize,
    /// The position from which `owners` counts.
    base: u32,
    /// The stamp that they carry.
    sent: Nanos,
}

impl AfxdpSender {
    pub(super) fn new(
        half: Transmitter,
        looks: &Looks,
        hops: Arc<[Hop]>,
        link: Arc<dyn Link>,
        drops: Arc<TransmitDrops>,
    ) -> Result<Self, NicError> {
        let mut sources: Vec<Ipv4Addr> = Vec::new();
        let mut hop_templates = Vec::with_capacity(hops.len());
        for hop in hops.iter() {
            let source = sources.iter().position(|known| *known == hop.source).unwrap_or_else(|| {
                sources.push(hop.source);
                sources.len() - 1
            });
            // Few sources (16 at most) and few payload sizes: their product is far from u16::MAX.
            hop_templates.push(u16::try_from(source * looks.payloads.len()).unwrap_or(BARE));
        }
        let templates = sources
            .iter()
            .flat_map(|source| looks.payloads.iter().map(|payload| (*source, *payload)))
            .map(|(source, payload)| {
                Template::new(looks.mac, source, looks.identifier, looks.ttl, usize::from(payload))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            ring: Ring::new(half),
            hops,
            hop_templates,
            payloads: looks.payloads.clone(),
            templates,
            key: looks.key,
            mac: looks.mac,
            link,
            drops,
            clock: MonotonicClock,
            owners: [NOBODY; KICK],
        })
    }

    /// How to write the probe, or why it can't leave.
    fn load(&self, due: &Due) -> Result<Load, Cause> {
        let hop = self.hops.get(due.hop as usize).ok_or(Cause::NoRoute)?;
        let Neighbour::Resolved(mac) = hop.neighbour() else { return Err(Cause::Gateway) };
        let payload = self.payloads.iter().position(|p| *p == due.payload);
        debug_assert!(payload.is_some(), "a payload of {} bytes was not announced", due.payload);
        let payload = u16::try_from(payload.ok_or(Cause::Refused)?).map_err(|_| Cause::Refused)?;
        Ok(Load { mac, template: self.hop_templates[due.hop as usize] + payload })
    }

    /// Puts as many of the probes into the ring as fit, with one stamp for all.
    fn fill(&mut self, due: &[Due], fates: &mut [Fate]) -> Filled {
        self.ring.reclaim();
        let base = self.ring.base();
        let residents = self.ring.frames.produced().wrapping_sub(base) as usize;
        debug_assert!(residents <= KICK, "no more than a kick's worth is ever left in the ring");
        self.owners = [NOBODY; KICK];
        let mut loads = [Load { mac: [0; 6], template: BARE }; KICK];
        let mut fresh: [Option<Frame>; KICK] = [const { None }; KICK];
        // Counted from `base`: residents first, new frames behind them.
        let mut place = 0;
        let mut dealt = 0;
        'probes: for (index, probe) in due.iter().enumerate() {
            let load = match self.load(probe) {
                Ok(load) => load,
                Err(cause) => {
                    fates[index] = Fate::Unsent(cause);
                    dealt += 1;
                    continue;
                }
            };
            let length = self.templates[usize::from(load.template)].length();
            // Frames that an earlier call left in the ring are used up first: one of the same length can carry this probe.
            while place < residents {
                let frame = self.ring.resident(base, place);
                let reusable = !self.ring.frames.in_doubt() && self.ring.length(frame) == length;
                if reusable {
                    break;
                }
                self.ring.void(frame, self.mac);
                place += 1;
            }
            if place >= residents {
                if place == KICK {
                    break 'probes;
                }
                let Some(frame) = self.ring.frames.take() else {
                    fates[index] = Fate::Unsent(Cause::NoRoom);
                    self.drops.count(Cause::NoRoom);
                    dealt += 1;
                    continue;
                };
                fresh[place] = Some(frame);
            }
            self.owners[place] = u16::try_from(index).unwrap_or(NOBODY);
            loads[place] = load;
            place += 1;
            dealt += 1;
        }
        for left in place..residents {
            let frame = self.ring.resident(base, left);
            self.ring.void(frame, self.mac);
        }

        // The stamp is taken here, after all looking up: what follows is writing and the kick.
        let sent = self.clock.now();
        for (place, load) in loads.iter().enumerate() {
            if self.owners[place] == NOBODY {
                continue;
            }
            let probe = &due[usize::from(self.owners[place])];
            let fields = ProbeFields {
                destination: probe.destination,
                target: probe.target,
                generation: probe.generation,
                sequence: probe.sequence,
                sent,
                next_hop_mac: load.mac,
            };
            let frame = fresh[place].as_ref().map_or_else(|| self.ring.resident(base, place), Frame::index);
            let template = &self.templates[usize::from(load.template)];
            self.ring.write(frame, load.template, template, &fields, &self.key);
        }
        self.ring.produce(&mut fresh);
        Filled { dealt, base, sent }
    }

    /// Has the kernel send what is in the ring, and says of each probe what became of it. On an error the rest of the
    /// ring was given up for that cause.
    fn kick(&mut self, Filled { base, sent, .. }: Filled, fates: &mut [Fate]) -> Result<(), Cause> {
        let mut told = base;
        let mut since = None;
        loop {
            if self.ring.frames.resident() == 0 {
                return Ok(());
            }
            let before = self.ring.frames.consumed();
            let error = self.ring.sendto();
            self.ring.reclaim();
            let (kick, cause) = classify(error);
            let stored = self.ring.stored();
            let dropped = self.ring.frames.kicked(kick, before, stored);
            let consumed = self.ring.frames.consumed();
            let refused = if self.link.is_up() { Cause::Refused } else { Cause::LinkDown };
            while told != consumed {
                let fate = if dropped == Some(told) { Fate::Unsent(refused) } else { Fate::Sent(sent) };
                self.settle(told.wrapping_sub(base), fate, fates);
                told = told.wrapping_add(1);
            }
            let give_up = match kick {
                Kick::Nothing => true,
                Kick::Dropped => false,
                // Done with descriptors left: the device no longer has this queue, and says nothing about it.
                Kick::Done | Kick::Again if consumed != before => {
                    since = None;
                    false
                }
                Kick::Done | Kick::Again => {
                    let now = self.clock.now();
                    now - *since.get_or_insert(now) >= PATIENCE
                }
            };
            if give_up && self.ring.frames.resident() != 0 {
                while told != self.ring.frames.produced() {
                    self.settle(told.wrapping_sub(base), Fate::Unsent(cause), fates);
                    told = told.wrapping_add(1);
                }
                return Err(cause);
            }
        }
    }

    /// The zero-copy kick: what is in the ring is the driver's.
    fn wake(&mut self, Filled { base, sent, .. }: Filled, fates: &mut [Fate]) -> Result<(), Cause> {
        let error = if self.ring.tx.needs_wakeup() { self.ring.sendto() } else { 0 };
        // ENETDOWN and ENXIO: the device was told nothing. Anything else means that it is busy already.
        let (kick, cause) = classify(error);
        let fate = if kick == Kick::Nothing { Fate::Unsent(cause) } else { Fate::Sent(sent) };
        let count = self.ring.frames.produced().wrapping_sub(base);
        for place in 0..count {
            self.settle(place, fate, fates);
        }
        if kick == Kick::Nothing { Err(cause) } else { Ok(()) }
    }

    fn settle(&self, place: u32, fate: Fate, fates: &mut [Fate]) {
        let owner = self.owners[place as usize];
        if owner == NOBODY {
            return;
        }
        if let Fate::Unsent(cause) = fate {
            self.drops.count(cause);
        }
        fates[usize::from(owner)] = fate;
    }
}

impl Transmit for AfxdpSender {
    fn transmit(&mut self, due: &[Due], fates: &mut [Fate]) {
        assert_eq!(due.len(), fates.len(), "one fate for each probe");
        let mut done = 0;
        // An interface that is known to be down takes nothing: its ring is left alone.
        let mut outcome = if self.link.is_up() { Ok(()) } else { Err(Cause::LinkDown) };
        while done < due.len() {
            if let Err(cause) = outcome {
                fates[done..].fill(Fate::Unsent(cause));
                (done..due.len()).for_each(|_| self.drops.count(cause));
                return;
            }
            let (due, fates) = (&due[done..], &mut fates[done..]);
            let filled = self.fill(due, fates);
            outcome = if self.ring.zero_copy { self.wake(filled, fates) } else { self.kick(filled, fates) };
            done += filled.dealt;
        }
    }
}

impl Ring {
    fn new(half: Transmitter) -> Self {
        let Transmitter { umem, tx, comp, frames: descs, zero_copy, .. } = half;
        let size = u32::try_from(descs.len()).unwrap_or(u32::MAX);
        let publishes = publishes(&tx);
        Self {
            umem,
            fd: tx.fd().as_raw_fd(),
            tx,
            comp,
            zero_copy,
            frames: Frames::new(size, 0, publishes),
            laid: vec![BARE; descs.len()],
            descs,
            size,
            completed: [FrameDesc::default(); 64],
        }
    }

    /// The position of the first frame that may still be rewritten: in zero-copy mode none that was produced, because the
    /// driver reads frames when it likes.
    fn base(&self) -> u32 {
        if self.zero_copy { self.frames.produced() } else { self.frames.consumed() }
    }

    /// The frame whose descriptor is `place` positions behind `base`.
    fn resident(&self, base: u32, place: usize) -> usize {
        // `place` is less than KICK.
        self.frames.at(base.wrapping_add(place as u32))
    }

    /// How long the frame's descriptor says it is.
    fn length(&self, frame: usize) -> usize {
        self.descs[frame].lengths().data()
    }

    /// Takes back the frames that the kernel has completed.
    fn reclaim(&mut self) {
        loop {
            // SAFETY: the completion ring is of the UMEM that `completed` is used with, and only addresses are taken from
            // what it says.
            let count = unsafe { self.comp.consume(&mut self.completed) };
            for desc in &self.completed[..count] {
                self.frames.complete(desc.addr() / super::socket::FRAME_SIZE as usize);
            }
            if count < self.completed.len() {
                return;
            }
        }
    }

    /// The kernel's consumer position as it shows now.
    fn stored(&mut self) -> u32 {
        self.frames.produced().wrapping_sub(self.size.wrapping_sub(self.tx.nb_free_exact()))
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
    fn write(&mut self, frame: usize, index: u16, template: &Template, fields: &ProbeFields, key: &Key) {
        if self.laid[frame] != index {
            self.resize(frame, template.length());
            template.lay(self.bytes(frame));
            self.laid[frame] = index;
        }
        template.write(self.bytes(frame), fields, key);
    }

    /// Makes a resident frame one that nobody takes.
    fn void(&mut self, frame: usize, mac: [u8; 6]) {
        self.laid[frame] = BARE;
        let bytes = self.bytes(frame);
        bytes.fill(0);
        bytes[..6].copy_from_slice(&mac);
        bytes[6..12].copy_from_slice(&mac);
        bytes[12..14].copy_from_slice(&VOID);
    }

    /// Produces the new frames in the order of their places, which is that of their positions.
    fn produce(&mut self, fresh: &mut [Option<Frame>; KICK]) {
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
        // The ring has as many entries as there are frames.
        assert_eq!(produced, count, "a ring that has room for every frame has room for these");
    }

    /// Makes the kernel transmit. Returns the error number, or 0.
    fn sendto(&self) -> libc::c_int {
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

/// What an error of the kick means for the ring, and for probes that are given up because of it. See the table above.
fn classify(error: libc::c_int) -> (Kick, Cause) {
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
