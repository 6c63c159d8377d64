//! The mechanisms under the transmit engines, bare: a loop that sends and does nothing else. For measurements: what an engine
//! costs is what it sends less than these. No probe leaves this way that anybody would settle.

use super::{
    Mode, NicError,
    clock::MonotonicClock,
    interface,
    live::{BATCH, CALL, test_run},
    mapped::Mapped,
    program::Program,
    ring::Ring,
    socket::{self, KICK, Load, TransmitRings, Transmitter},
};
use crate::{
    base::Nanos,
    route::Interface,
    wire::{Key, Origin, ProbeFields, Shape, Template},
    worker::Clock as _,
};
use probe_ebpf::layout::{LiveCursor, Settings};
use std::{io, net::Ipv4Addr, os::fd::AsRawFd as _, ptr, time::Duration};
use xsk_rs::FrameDesc;

const KEY: Key = Key([1, 2]);

/// How much was sent, and how long that took.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Frames that the kernel took.
    pub frames: u64,
    /// From the first call to the end of the last.
    pub time: Duration,
}

/// A far end of measurements, in XDP. Dropping it detaches.
pub struct FarEnd(#[expect(dead_code, reason = "held for its drop")] Program);

impl FarEnd {
    /// Drops whatever comes in to the interface, ARP too.
    ///
    /// # Errors
    /// Whatever is in the way, by name: see [`NicError`].
    pub fn dropping(interface: &str) -> Result<Self, NicError> {
        Ok(Self(Program::attach(&interface::find(interface)?, Mode::Auto, "drop_all", None, 0)?))
    }

    /// Answers echo requests to 10.64.0.0/12 and drops IPv4 to anywhere else.
    ///
    /// # Errors
    /// As above.
    pub fn half_silent(interface: &str) -> Result<Self, NicError> {
        Ok(Self(Program::attach(&interface::find(interface)?, Mode::Auto, "half", None, 0)?))
    }
}

/// Sends one prepared frame over and over through an AF_XDP socket in copy mode, on queue 0, from the calling thread.
///
/// # Errors
/// Whatever keeps the socket from being had: see [`NicError`].
pub fn afxdp(name: &str, time: Duration) -> Result<Sent, NicError> {
    let interface = interface::find(name)?;
    let queue = socket::open(&interface, 0, Mode::Copy, Load::new(u64::MAX, 1, 1))?;
    let failed = |error| NicError::Socket { interface: name.into(), queue: 0, error };
    let Some(Transmitter { rings: TransmitRings::Library { umem, mut tx, mut comp, descs: mut frames, .. }, .. }) =
        queue.tx
    else {
        return Err(failed(io::Error::other("the queue came without its transmitting half")));
    };
    let template = template(&interface)?;
    let fields = fields(&interface);
    for desc in &mut frames {
        // SAFETY: the descriptor is of this UMEM and was never produced: nobody else touches its frame.
        let mut data = unsafe { umem.data_mut(desc) };
        data.cursor().set_pos(template.length());
        template.lay(data.contents_mut());
        template.write(data.contents_mut(), &fields, &KEY);
    }
    let fd = tx.fd().as_raw_fd();
    let mut completed = [FrameDesc::default(); 64];
    let (clock, mut sent) = (MonotonicClock, 0);
    let begun = clock.now();
    let until = begun + Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    loop {
        let count = frames.len().min(KICK);
        // SAFETY: these descriptors are of this UMEM, and each is in `frames` only while the kernel doesn't have it.
        let produced = unsafe { tx.produce(&frames[frames.len() - count..]) };
        frames.truncate(frames.len() - produced);
        sent += produced as u64;
        // SAFETY: no buffer and no address are passed; the descriptor is open for as long as `tx` lives. What the call
        // leaves in the ring the next one takes.
        unsafe { libc::sendto(fd, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        loop {
            // SAFETY: the completion ring is of the UMEM that `completed` is used with.
            let count = unsafe { comp.consume(&mut completed) };
            for desc in &completed[..count] {
                let mut again = *desc;
                // SAFETY: completed: the frame is ours again. Its descriptor came back without its length.
                unsafe { umem.data_mut(&mut again) }.cursor().set_pos(template.length());
                frames.push(again);
            }
            if count < completed.len() {
                break;
            }
        }
        let now = clock.now();
        if now >= until {
            return Ok(Sent { frames: sent, time: Duration::from_nanos((now - begun).0) });
        }
    }
}

/// Writes one prepared frame whole, over and over, through an AF_XDP socket in zero-copy mode, on queue 0, from the calling thread.
///
/// # Errors
/// As [`afxdp`], and if the driver has no zero-copy mode.
pub fn zero_copy(name: &str, time: Duration) -> Result<Sent, NicError> {
    let interface = interface::find(name)?;
    // Some drivers have no zero-copy rings without a program.
    let _held = Program::attach(&interface, Mode::ZeroCopy, "pass", None, 0)?;
    let queue = socket::open(&interface, 0, Mode::ZeroCopy, Load::new(u64::MAX, 1, 1))?;
    let Some(half) = queue.tx else {
        let error = io::Error::other("the queue came without its transmitting half");
        return Err(NicError::Socket { interface: name.into(), queue: 0, error });
    };
    let mut ring = Ring::new(half);
    let template = template(&interface)?;
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    template.write(&mut frame, &fields(&interface), &KEY);
    let (clock, mut sent) = (MonotonicClock, 0);
    let begun = clock.now();
    let until = begun + Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    loop {
        ring.reclaim();
        let mut fresh = [const { None }; KICK];
        for place in &mut fresh {
            let Some(free) = ring.frames.take() else { break };
            ring.put(free.index(), &frame);
            *place = Some(free);
            sent += 1;
        }
        ring.produce(&mut fresh);
        if ring.needs_wakeup() {
            ring.sendto();
        }
        let now = clock.now();
        if now >= until {
            return Ok(Sent { frames: sent, time: Duration::from_nanos((now - begun).0) });
        }
    }
}

/// Sends live frames, each built as a probe is, but for no table and with nobody asking what became of it.
///
/// # Errors
/// Whatever keeps the program from being attached or run: see [`NicError`].
pub fn live_frames(name: &str, time: Duration) -> Result<Sent, NicError> {
    let interface = interface::find(name)?;
    let settings = Settings { key: KEY.0, ..Settings::default() };
    let template = template(&interface)?;
    let mut program = Program::attach(&interface, Mode::Auto, "bare", Some(&settings), 1)?;
    program.point_live(interface.index, std::iter::once((0, template.live())))?;
    let failed = |error: io::Error| NicError::Live { what: "run the bare loop", reason: error.to_string() };
    let cursors = Mapped::<LiveCursor>::new(program.descriptor("LIVE_CURSORS")?, 1, false).map_err(failed)?;
    let (fd, blank) = (program.share()?, vec![0; template.length()]);
    let clock = MonotonicClock;
    let begun = clock.now();
    let until = begun + Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    loop {
        match test_run(&fd, &blank, CALL, BATCH) {
            Some(error) if error.raw_os_error() != Some(libc::EINTR) => return Err(failed(error)),
            _ => {}
        }
        let now = clock.now();
        if now >= until {
            return Ok(Sent { frames: cursors.get(0).built, time: Duration::from_nanos((now - begun).0) });
        }
    }
}

/// Of a probe to the interface itself: a far end that is to get it must take frames for others.
fn fields(interface: &Interface) -> ProbeFields {
    ProbeFields {
        destination: Ipv4Addr::new(10, 64, 0, 1),
        target: crate::base::TargetIndex(0),
        generation: crate::base::Generation(0),
        sequence: crate::base::Sequence(0),
        sent: Nanos(1),
        next_hop_mac: interface.mac,
    }
}

fn template(interface: &Interface) -> Result<Template, NicError> {
    Ok(Template::new(
        Shape::default(),
        Origin { mac: interface.mac, source: Ipv4Addr::new(10, 63, 0, 1), identifier: 1 },
    )?)
}
