//! A far end in userspace, for tests of what echolot says: requests with the stamp of an XDP program of their own, any
//! frame as a reply. It uses the rings of this folder and nothing of the ledger.

use super::{
    Mode, NicError, Receiver,
    afxdp::classify,
    clock::MonotonicClock,
    counts::QueueCounts,
    frames::{Frame, Kick},
    interface,
    mapped::Mapped,
    program::{Counters, Program, Treatment},
    ring::Ring,
    socket::{self, KICK, Load},
    xsk::FRAME_SIZE,
};
use crate::{
    base::Nanos,
    wire::Tags,
    worker::{Clock as _, Taken},
};
use aya::maps::{MapData, RingBuf};
use probe_ebpf::layout::{AnsweredRequest, TAKEN_ENTRIES};
use std::{net::Ipv4Addr, sync::Arc};

/// Bytes of the ring in which the program records what it answered: half a second of a million a second.
const ANSWERED_RING: u32 = 32 << 20;
/// How long a kernel that takes no frame is called again.
const NOTHING_TAKEN_FOR: Nanos = Nanos::from_secs(1);

/// An interface with `impair` attached. Dropping it detaches.
pub struct FarEnd {
    // Held for its drop.
    _program: Program,
    answered: RingBuf<MapData>,
    unrecorded: Counters,
}

/// What [`FarEnd::open`] hands out.
pub struct OpenedFarEnd {
    /// Keeps the program attached, and has the records of what it answered itself.
    pub end: FarEnd,
    /// The requests to impaired ranges. Each frame begins with its arrival stamp, as for a prober; in place of the
    /// Ethernet type stand the first two bytes of the sender's address.
    pub receiver: Receiver,
    /// The way back.
    pub sender: FrameSender,
    /// How many requests were taken for userspace, received there, dropped on the way.
    pub taken: Arc<dyn Taken>,
}

impl FarEnd {
    /// Attaches to the interface. `ranges`: prefix, its length, and what becomes of its requests; the longest prefix
    /// counts, and what is in none is [`Treatment::Recorded`]. `rate`: requests a second, for the size of the rings.
    ///
    /// # Errors
    /// Whatever is in the way, by name: see [`NicError`]. Nothing stays behind.
    pub fn open(interface: &str, ranges: &[(Ipv4Addr, u8, Treatment)], rate: u64) -> Result<OpenedFarEnd, NicError> {
        let interface = interface::find(interface)?;
        let name = &interface.name;
        let queues = super::number(interface.rx_queues);
        let sizes = [("ANSWERED", ANSWERED_RING)];
        let mut program = Program::attach_with(&interface, Mode::Auto, "impair", None, &sizes, Tags::NONE)?;
        program.impair(ranges)?;
        let query = |error| NicError::Query { interface: name.clone(), error };
        let taken = Mapped::new(program.descriptor("TAKEN")?, TAKEN_ENTRIES as usize, true).map_err(query)?;
        // All may come by one queue: no card spreads them.
        let load = Load::new(rate, 1, 1);
        let (counts, taken) = (Arc::new(QueueCounts::new(socket::receive_ring(load))), Arc::new(taken));
        let mut receiver = Receiver::new(counts.clone());
        let mut sender = None;
        for index in 0..queues {
            let mut queue =
                socket::open(&interface, index, Mode::Copy, if index == 0 { load } else { load.receiving() })?;
            if let Some(half) = queue.tx.take() {
                sender = Some(FrameSender { ring: Ring::new(half), clock: MonotonicClock });
            }
            let socket = socket::share(&queue.rings).map_err(query)?;
            receiver.add(counts.add(&taken, index), queue);
            program.steer_to(index, &socket)?;
        }
        let sender = sender.ok_or(NicError::Senders { interface: name.clone(), senders: 1, most: queues })?;
        let answered = program.take_ring("ANSWERED")?;
        let unrecorded = program.take_counters("UNRECORDED")?;
        Ok(OpenedFarEnd { end: Self { _program: program, answered, unrecorded }, receiver, sender, taken: counts })
    }

    /// Shows requests that the program answered, at most so many: the rest waits in its ring. Returns how many there were.
    pub fn answered(&mut self, most: usize, each: &mut dyn FnMut(AnsweredRequest)) -> usize {
        let mut count = 0;
        while count < most
            && let Some(item) = self.answered.next()
        {
            count += 1;
            if let Some(request) = AnsweredRequest::from_bytes(&item) {
                each(request);
            }
        }
        count
    }

    /// Requests that the program answered and could not record.
    ///
    /// # Errors
    /// If the program's counter can't be read.
    pub fn unrecorded(&self) -> Result<u64, NicError> {
        self.unrecorded.sum(0)
    }
}

/// Sends any frames through queue 0 of a far end.
pub struct FrameSender {
    ring: Ring,
    clock: MonotonicClock,
}

impl FrameSender {
    /// Most frames of a call.
    pub const BATCH: usize = KICK;
    /// Most bytes of a frame.
    pub const LONGEST: usize = FRAME_SIZE as usize;

    /// Sends frames, at most [`FrameSender::BATCH`], each at most [`FrameSender::LONGEST`] bytes, and says of each whether
    /// it left. Returns the moment just before they were handed to the kernel.
    ///
    /// # Panics
    /// If there are too many frames, or one is too long.
    pub fn send<'a>(&mut self, frames: impl ExactSizeIterator<Item = &'a [u8]>, left: &mut [bool]) -> Nanos {
        assert!(frames.len() <= Self::BATCH && left.len() >= frames.len(), "as many as the rings of a call hold");
        left.fill(false);
        self.ring.reclaim();
        let base = self.ring.base();
        let residents = self.ring.frames.produced().wrapping_sub(base) as usize;
        if residents > 0 {
            // An earlier call gave up: what it left would go out now, without anybody having a record of it.
            self.kick(base, &mut [false; KICK]);
            return self.clock.now();
        }
        let mut fresh: [Option<Frame>; KICK] = [const { None }; KICK];
        let mut places = [usize::MAX; KICK];
        let mut count = 0;
        for (index, bytes) in frames.enumerate() {
            let Some(frame) = self.ring.frames.take() else { continue };
            self.ring.put(frame.index(), bytes);
            fresh[count] = Some(frame);
            places[count] = index;
            count += 1;
        }
        let mut sent = [false; KICK];
        let departure = self.clock.now();
        self.ring.produce(&mut fresh);
        self.kick(base, &mut sent);
        for (place, sent) in places[..count].iter().zip(sent) {
            left[*place] = sent;
        }
        departure
    }

    /// Has the kernel send what is in the ring, from position `base` on, and says of each whether it was sent.
    fn kick(&mut self, base: u32, sent: &mut [bool; KICK]) {
        let mut told = base;
        let mut since = None;
        while self.ring.frames.resident() != 0 {
            let before = self.ring.frames.consumed();
            let error = self.ring.sendto();
            self.ring.reclaim();
            let (kick, _) = classify(error);
            let stored = self.ring.stored();
            let dropped = self.ring.frames.kicked(kick, before, stored);
            let consumed = self.ring.frames.consumed();
            while told != consumed {
                if let Some(sent) = sent.get_mut(told.wrapping_sub(base) as usize) {
                    *sent = dropped != Some(told);
                }
                told = told.wrapping_add(1);
            }
            let now = self.clock.now();
            if consumed != before {
                since = None;
            } else if kick == Kick::Nothing || now - *since.get_or_insert(now) >= NOTHING_TAKEN_FOR {
                return;
            }
        }
    }
}
