//! The mechanisms under the transmit engines, bare: a loop that sends and does nothing else. For measurements: what an engine
//! costs is what it sends less than these. No probe leaves this way that anybody would settle.
#![expect(unsafe_code, reason = "frames that the kernel has in its hands; each block carries its argument")]

use crate::object::{self, failed};
use aya::{
    TestRun as _, TestRunOptions,
    maps::{Array, DevMap},
    programs::{ProgramError, TestRunAttrs, Xdp},
};
use echolot::{
    base::{Generation, Nanos, Sequence, TargetIndex},
    nic::{self, Mode, MonotonicClock, NicError, Program, Ring, Sockets, Source},
    route::Interface,
    wire::{Key, Live, Origin, ProbeFields, Shape, Template},
    worker::Clock as _,
};
use probe_ebpf::layout::{LIVE_TABLE, LIVE_TEMPLATE_SIZE, LiveCursor, OPEN_PORTS_SIZE, OpenPorts, Settings};
use rustix::net::sockopt;
use std::{
    io,
    net::Ipv4Addr,
    num::NonZeroU32,
    os::fd::{AsRawFd as _, BorrowedFd},
    time::{Duration, Instant},
};
use xsk_rs::{
    CompQueue, FrameDesc, Socket, TxQueue, Umem,
    config::{BindFlags, FrameSize, LibxdpFlags, QueueSize, SocketConfig, UmemConfig},
};

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
        attach(interface, "drop_all").map(Self)
    }

    /// Answers echo requests and SYNs (no port is open) to 10.64.0.0/12 and drops IPv4 to anywhere else.
    ///
    /// # Errors
    /// As above.
    pub fn half_silent(interface: &str) -> Result<Self, NicError> {
        Self::without_ports(interface, "half")
    }

    /// The same, but IPv4 addresses elsewhere answer in their even turns (`probe_ebpf::far::turn`).
    ///
    /// # Errors
    /// As above.
    pub fn by_turns(interface: &str) -> Result<Self, NicError> {
        Self::without_ports(interface, "by_turns")
    }

    fn without_ports(interface: &str, name: &'static str) -> Result<Self, NicError> {
        let mut program = attach(interface, name)?;
        let mut ports: Array<_, [u8; OPEN_PORTS_SIZE]> = object::take(&mut program, "TCP_PORTS")?;
        ports.set(0, OpenPorts::CLOSED.to_bytes(), 0).map_err(|error| failed("write", "TCP_PORTS", error))?;
        Ok(Self(program))
    }
}

/// An XDP program that lets everything pass: what the far end of a veth needs so that frames can be redirected into it.
/// Dropping it detaches.
pub struct Passage(#[expect(dead_code, reason = "held for its drop")] Program);

impl Passage {
    /// Attaches `pass` to the interface.
    ///
    /// # Errors
    /// Whatever is in the way, by name: see [`NicError`].
    pub fn attach(interface: &str) -> Result<Self, NicError> {
        attach(interface, "pass").map(Self)
    }
}

fn attach(interface: &str, name: &'static str) -> Result<Program, NicError> {
    Program::attach(&nic::find(interface)?, Mode::Auto, &object::source(name))
}

/// Sends one prepared frame over and over through an AF_XDP socket in copy mode, on queue 0, from the calling thread.
///
/// # Errors
/// Whatever keeps the socket from being had: see [`NicError`].
pub fn afxdp(name: &str, time: Duration) -> Result<Sent, NicError> {
    let interface = nic::find(name)?;
    let template = template(&interface)?;
    let fields = fields(&interface);
    let socket = |error| NicError::Socket { interface: name.into(), queue: 0, error };
    let Transmitter { umem, mut tx, mut completion, mut frames } = Transmitter::open(&interface).map_err(socket)?;
    for desc in &mut frames {
        // SAFETY: the descriptor is of this UMEM and was never produced: nobody else touches its frame.
        let mut data = unsafe { umem.data_mut(desc) };
        data.cursor().set_pos(template.length());
        template.lay(data.contents_mut());
        template.write(data.contents_mut(), &fields, &KEY);
    }
    let mut completed = [FrameDesc::default(); 64];
    let (watch, mut sent) = (Watch::start(time), 0);
    loop {
        let count = frames.len().min(Ring::BATCH);
        // SAFETY: these descriptors are of this UMEM, and each is in `frames` only while the kernel doesn't have it.
        let produced = unsafe { tx.produce(&frames[frames.len() - count..]) };
        frames.truncate(frames.len() - produced);
        sent += produced as u64;
        // What the call leaves in the ring the next one takes.
        let _ = tx.wakeup();
        loop {
            // SAFETY: the completion ring is of the UMEM that `completed` is used with.
            let count = unsafe { completion.consume(&mut completed) };
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
        if let Some(time) = watch.is_over() {
            return Ok(Sent { frames: sent, time });
        }
    }
}

/// A socket on queue 0 with nothing around it, and its frames, all free.
struct Transmitter {
    umem: Umem,
    tx: TxQueue,
    completion: CompQueue,
    frames: Vec<FrameDesc>,
}

impl Transmitter {
    /// As many as an engine that is asked for all it can send has.
    const FRAMES: u32 = 4_096;
    /// A queue whose last socket has just been closed is busy until the kernel has torn it down.
    const BUSY_FOR: Duration = Duration::from_secs(5);

    fn open(interface: &Interface) -> io::Result<Self> {
        let size = |entries| QueueSize::new(entries).map_err(io::Error::other);
        let config = UmemConfig::builder()
            .frame_size(FrameSize::new(2_048).map_err(io::Error::other)?)
            .fill_queue_size(size(2)?)
            .comp_queue_size(size(Self::FRAMES)?)
            .build()
            .map_err(io::Error::other)?;
        let many = NonZeroU32::MIN.saturating_add(Self::FRAMES - 1);
        let (umem, frames) = Umem::new(config, many, false).map_err(io::Error::other)?;
        let config = SocketConfig::builder()
            .rx_queue_size(size(2)?)
            .tx_queue_size(size(Self::FRAMES)?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::XDP_USE_NEED_WAKEUP | BindFlags::XDP_COPY)
            .build();
        let name = interface.name.parse().map_err(io::Error::other)?;
        let deadline = Instant::now() + Self::BUSY_FOR;
        loop {
            // SAFETY: libxdp is told not to load a program of its own, which is what sharing a UMEM would ask for.
            match unsafe { Socket::new(config, &umem, &name, 0) } {
                Ok((tx, _, Some((_, completion)))) => {
                    // The kernel charges a buffer for every frame in the driver: room for all of them, so that the limit is the rings'.
                    // SAFETY: the descriptor is open for as long as `tx`.
                    let fd = unsafe { BorrowedFd::borrow_raw(tx.fd().as_raw_fd()) };
                    sockopt::set_socket_send_buffer_size_force(fd, Self::FRAMES as usize * 4_096)?;
                    return Ok(Self { umem, tx, completion, frames });
                }
                Ok(_) => return Err(io::Error::other("the first socket of a UMEM came without its completion ring")),
                Err(error) if Instant::now() >= deadline => return Err(io::Error::other(error)),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

/// How long a loop runs.
struct Watch {
    begun: Nanos,
    until: Nanos,
}

impl Watch {
    fn start(time: Duration) -> Self {
        let begun = MonotonicClock.now();
        Self { begun, until: begun + Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)) }
    }

    /// How long it ran, once that is over.
    fn is_over(&self) -> Option<Duration> {
        let now = MonotonicClock.now();
        (now >= self.until).then(|| Duration::from_nanos((now - self.begun).0))
    }
}

/// Writes one prepared frame whole, over and over, through an AF_XDP socket in zero-copy mode, on queue 0, from the calling thread.
///
/// # Errors
/// As [`afxdp`], and if the driver has no zero-copy mode.
pub fn zero_copy(name: &str, time: Duration) -> Result<Sent, NicError> {
    let interface = nic::find(name)?;
    // Some drivers have no zero-copy rings without a program.
    let mut program = Program::attach(&interface, Mode::ZeroCopy, &object::source("pass"))?;
    // Its receiving half stays as long as the loop runs, as an engine's does.
    let Sockets { mut ring, receiver: _receiver, .. } =
        Sockets::open(&interface, &mut program, 1, Mode::ZeroCopy, u64::MAX)?;
    let template = template(&interface)?;
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    template.write(&mut frame, &fields(&interface), &KEY);
    let (watch, mut sent) = (Watch::start(time), 0);
    loop {
        ring.reclaim();
        let mut written = [const { None }; Ring::BATCH];
        for place in &mut written {
            let Some(free) = ring.take() else { break };
            *place = Some(ring.put(free, &frame));
            sent += 1;
        }
        ring.produce(&mut written);
        if ring.needs_wakeup() {
            ring.sendto();
        }
        if let Some(time) = watch.is_over() {
            return Ok(Sent { frames: sent, time });
        }
    }
}

/// Sends live frames, each built as a probe is, but for no table and with nobody asking what became of it.
///
/// # Errors
/// Whatever keeps the program from being attached or run: see [`NicError`].
pub fn live_frames(name: &str, time: Duration) -> Result<Sent, NicError> {
    /// Frames after which the kernel has softirqs run, as with a sender that is pressed.
    const TOGETHER: u32 = 64;
    let interface = nic::find(name)?;
    let settings = Settings { key: KEY.0, ..Settings::default() };
    let template = template(&interface)?;
    let source = Source { settings: Some(&settings), ..object::source("bare") };
    let mut program = Program::attach(&interface, Mode::Auto, &source)?;
    let mut out: DevMap<_> = object::take(&mut program, "LIVE_OUT")?;
    out.set(0, interface.index, None, 0).map_err(|error| failed("write", "LIVE_OUT", error))?;
    let mut templates: Array<_, [u8; LIVE_TEMPLATE_SIZE]> = object::take(&mut program, "LIVE_TEMPLATES")?;
    let Some(Live::V4(live)) = template.live() else { unreachable!("bare frames are IPv4") };
    templates.set(0, live.to_bytes(), 0).map_err(|error| failed("write", "LIVE_TEMPLATES", error))?;
    let cursors: Array<_, [u8; size_of::<LiveCursor>()]> = object::take(&mut program, "LIVE_CURSORS")?;
    let run = |error: ProgramError| failed("run", "bare", error);
    let found = program.object().program("bare").map(<&Xdp>::try_from).transpose().map_err(run)?;
    let bare = found.ok_or_else(|| failed("find", "bare", io::Error::from(io::ErrorKind::NotFound)))?;
    let blank = vec![0; template.length()];
    let watch = Watch::start(time);
    loop {
        let attrs = TestRunAttrs::new().xdp_live_frames(TOGETHER);
        let options = TestRunOptions { data_in: Some(&blank), repeat: LIVE_TABLE, attrs, ..TestRunOptions::default() };
        bare.test_run(options).map_err(run)?;
        if let Some(time) = watch.is_over() {
            let cursor = cursors.get(&0, 0).map_err(|error| failed("read", "LIVE_CURSORS", error))?;
            // What it has built stands first.
            let built = cursor.first_chunk().map_or(0, |built| u64::from_ne_bytes(*built));
            return Ok(Sent { frames: built, time });
        }
    }
}

/// Of a probe to the interface itself: a far end that is to get it must take frames for others.
fn fields(interface: &Interface) -> ProbeFields {
    ProbeFields {
        destination: Ipv4Addr::new(10, 64, 0, 1).into(),
        target: TargetIndex(0),
        generation: Generation(0),
        sequence: Sequence(0),
        sent: Nanos(1),
        next_hop_mac: interface.mac,
    }
}

fn template(interface: &Interface) -> Result<Template, NicError> {
    let origin = Origin {
        mac: interface.mac,
        source: Ipv4Addr::new(10, 63, 0, 1).into(),
        identifier: 1,
        first_port: 61_000,
        flow_key: 0,
    };
    Ok(Template::new(Shape::default(), origin)?)
}
