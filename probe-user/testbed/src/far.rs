//! A far end in userspace, for tests of what echolot says: requests with the stamp of an XDP program of their own, any
//! frame as a reply. It uses the rings of echolot's `nic` and nothing of its ledger.

use crate::{
    forms,
    object::{self, failed},
    prefix::Prefix,
};
use aya::maps::{Array, LpmTrie, MapData, MapError, PerCpuArray, RingBuf, lpm_trie::Key};
use echolot::{
    base::Nanos,
    nic::{self, Kick, Kicked, Mode, MonotonicClock, NicError, Program, Receiver, Ring, Sockets, Written},
    worker::{Clock as _, Taken},
};
use probe_ebpf::{
    far::{AnsweredRequest, IN_USERSPACE, NOT_RECORDED},
    layout::{OPEN_PORTS_SIZE, OpenPorts},
};
use std::{net::IpAddr, sync::Arc};

/// Bytes of the ring in which the program records what it answered, 64 for each: half a second of a million a second.
const ANSWERED_RING: u32 = 32 << 20;
/// How long a kernel that takes no frame is called again.
const NOTHING_TAKEN_FOR: Nanos = Nanos::from_secs(1);

/// What becomes of the requests to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// The program answers them, and leaves a record of each.
    Recorded,
    /// The program answers them, and leaves none: more of them a second than anybody could write down.
    NotRecorded,
    /// They come to userspace with their arrival stamps.
    Userspace,
}

/// An interface with `impair` attached. Dropping it detaches.
pub struct FarEnd {
    // Held for its drop.
    _program: Program,
    answered: RingBuf<MapData>,
    unrecorded: PerCpuArray<MapData, u64>,
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
    /// Attaches to the interface. `ranges`: prefixes, and what becomes of their requests; the longest prefix
    /// counts, and what is in none is [`Treatment::Recorded`]. `rate`: requests a second, for the size of the rings.
    ///
    /// # Errors
    /// Whatever is in the way, by name: see [`NicError`]. Nothing stays behind.
    pub fn open(interface: &str, ranges: &[(Prefix, Treatment)], rate: u64) -> Result<OpenedFarEnd, NicError> {
        let interface = nic::find(interface)?;
        let source = object::source("impair");
        let source = nic::Source { sizes: &[("ANSWERED", ANSWERED_RING)], ..source };
        let mut program = Program::attach(&interface, Mode::Auto, &source)?;
        impair(&mut program, ranges)?;
        open_ports(&mut program)?;
        let queues = u32::try_from(interface.rx_queues).unwrap_or(u32::MAX);
        let Sockets { receiver, ring, taken } = Sockets::open(&interface, &mut program, queues, Mode::Copy, rate)?;
        let end = Self {
            answered: object::take(&mut program, "ANSWERED")?,
            unrecorded: object::take(&mut program, "UNRECORDED")?,
            _program: program,
        };
        Ok(OpenedFarEnd { end, receiver, sender: FrameSender { ring, clock: MonotonicClock }, taken })
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
        let values = self.unrecorded.get(&0, 0).map_err(|error| failed("read", "UNRECORDED", error))?;
        Ok(values.iter().sum())
    }
}

/// Says of address ranges what the program does with their requests.
fn impair(program: &mut Program, ranges: &[(Prefix, Treatment)]) -> Result<(), NicError> {
    let mut v4: LpmTrie<_, [u8; 4], u32> = object::take(program, "IMPAIRED")?;
    let mut v6: LpmTrie<_, [u8; 16], u32> = object::take(program, "IMPAIRED_V6")?;
    for (Prefix { address, length }, treatment) in ranges {
        let value = match treatment {
            Treatment::Recorded => 0,
            Treatment::Userspace => IN_USERSPACE,
            Treatment::NotRecorded => NOT_RECORDED,
        };
        let length = u32::from(*length);
        let (map, written) = match address {
            IpAddr::V4(address) => ("IMPAIRED", v4.insert(&Key::new(length, address.octets()), value, 0)),
            IpAddr::V6(address) => ("IMPAIRED_V6", v6.insert(&Key::new(length, address.octets()), value, 0)),
        };
        written.map_err(|error: MapError| failed("write", map, error))?;
    }
    Ok(())
}

/// Opens the even ports, and of UDP port 53, as `forms` has it.
fn open_ports(program: &mut Program) -> Result<(), NicError> {
    let mut ports = OpenPorts::CLOSED;
    (0..=u16::MAX).step_by(2).for_each(|port| ports.open(port));
    let mut asked = ports;
    asked.open(forms::DNS);
    for (name, ports) in [("TCP_PORTS", ports), ("UDP_PORTS", asked)] {
        let mut map: Array<_, [u8; OPEN_PORTS_SIZE]> = object::take(program, name)?;
        map.set(0, ports.to_bytes(), 0).map_err(|error| failed("write", name, error))?;
    }
    Ok(())
}

/// Sends any frames through queue 0 of a far end.
pub struct FrameSender {
    ring: Ring,
    clock: MonotonicClock,
}

impl FrameSender {
    /// Most frames of a call.
    pub const BATCH: usize = Ring::BATCH;

    /// Sends frames, at most [`FrameSender::BATCH`], each at most [`Ring::LONGEST`] bytes, and says of each whether
    /// it left. Returns the moment just before they were handed to the kernel.
    ///
    /// # Panics
    /// If there are too many frames, or one is too long.
    pub fn send<'a>(&mut self, frames: impl ExactSizeIterator<Item = &'a [u8]>, left: &mut [bool]) -> Nanos {
        assert!(frames.len() <= Self::BATCH && left.len() >= frames.len(), "as many as the rings of a call hold");
        left.fill(false);
        self.ring.reclaim();
        if self.ring.resident() > 0 {
            // An earlier call gave up: what it left would go out now, without anybody having a record of it.
            self.kick(&mut [false; Self::BATCH]);
            return self.clock.now();
        }
        let mut written: [Option<Written>; Self::BATCH] = [const { None }; Self::BATCH];
        let mut places = [usize::MAX; Self::BATCH];
        let mut count = 0;
        for (index, bytes) in frames.enumerate() {
            let Some(frame) = self.ring.take() else { continue };
            written[count] = Some(self.ring.put(frame, bytes));
            places[count] = index;
            count += 1;
        }
        let mut sent = [false; Self::BATCH];
        let departure = self.clock.now();
        self.ring.produce(&mut written);
        self.kick(&mut sent);
        for (place, sent) in places[..count].iter().zip(sent) {
            left[*place] = sent;
        }
        departure
    }

    /// Has the kernel send what is in the ring, and says of each whether it was sent.
    fn kick(&mut self, mut sent: &mut [bool]) {
        let mut since = None;
        while self.ring.resident() != 0 {
            let Kicked { kick, taken, .. } = self.ring.kick();
            let (told, rest) = sent.split_at_mut(sent.len().min(taken as usize));
            told.fill(true);
            if let (Kick::Dropped, Some(last)) = (kick, told.last_mut()) {
                *last = false;
            }
            sent = rest;
            let now = self.clock.now();
            if taken > 0 {
                since = None;
            } else if kick == Kick::Nothing || now - *since.get_or_insert(now) >= NOTHING_TAKEN_FOR {
                return;
            }
        }
    }
}
