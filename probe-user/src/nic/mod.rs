//! The network card: XDP programs, AF_XDP sockets, the transmit engine, drop counters. All unsafe code lives here.
//!
//! [`Nic::open`] is the door. It attaches `steer`, binds a socket to every receive queue (`port`), and hands out what the packet
//! loops need ([`AfxdpSender`], [`Receiver`], both behind the traits of `worker`) and what control threads need
//! ([`DropSampler`], [`Taken`]). When the process ends, however it ends, the card is as it was before.
//!
//! [`Program`], [`Sockets`] and [`Ring`] are what it is made of, for programs and frames of any kind: far ends and measurements, which are
//! no part of the product, stand on them.
#![expect(unsafe_code, reason = "rings shared with the kernel and system calls; each block carries its argument")]

mod addressing;
mod afxdp;
mod changes;
mod choice;
mod clock;
mod counts;
mod drops;
mod error;
mod flush;
mod frames;
mod info;
mod interface;
mod joining;
mod limit;
mod live;
mod mapped;
mod neighbours;
mod pace;
mod pages;
mod port;
mod program;
mod receive;
mod receive_rings;
mod ring;
mod sampler;
mod seats;
mod sender;
mod socket;
mod sockets;
mod source_ports;
mod stacked;
mod templates;
pub mod thread;
mod xsk;

pub use afxdp::AfxdpSender;
pub use choice::{EASY, Engine, auto, cpus_below, one_sender};
pub use clock::{MonotonicClock, boot_time};
pub use drops::DROP_CAUSES;
pub use error::NicError;
pub use frames::{Frame, Kick, Written};
pub use info::{InterfaceInfo, LocalDrops};
pub use interface::find;
pub use live::LiveSender;
pub use neighbours::NeighbourThread;
pub use pages::{HugePages, give_back_tables};
pub use program::{Program, Source};
pub use receive::Receiver;
pub use ring::{Kicked, Ring};
pub use sampler::DropSampler;
pub use sender::Sender;
pub use sockets::Sockets;
pub use source_ports::{
    SOURCE_PORTS, SourcePorts, SourcePortsError, Transport, check_source_ports, room_for_source_ports,
};
pub use stacked::Addressing;

use crate::{
    base::{AddressTable, Family, Nanos},
    route::{Hops, Stack},
    wire::{Key, Shape},
    worker::{Link, Taken},
};
use counts::QueueCounts;
use joining::Joining;
use port::Port;
use probe_ebpf::layout::{OPEN_PORTS_SIZE, OpenPorts, Reflected};
use program::{Counters, Table};
use receive::Incoming;
use sender::{Half, NewHalves};
use socket::Load;
use std::{
    ops::{Range, RangeInclusive},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Release},
    },
};

/// How to attach, and how frames get between the card and our memory: `--mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Zero-copy if the driver can, else copy; natively if the driver can, else generically.
    #[default]
    Auto,
    /// Zero-copy or not at all.
    ZeroCopy,
    /// Copy, natively attached.
    Copy,
    /// Copy, with the program behind the driver: any interface, slowly.
    Generic,
}

impl Mode {
    /// All, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Auto, Self::ZeroCopy, Self::Copy, Self::Generic];

    /// As in options, the configuration, metrics and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
            Self::Generic => "generic",
        }
    }

    /// What it is, in a line for people.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Auto => "The best that the driver has",
            Self::ZeroCopy => "The NIC and the program share memory; fails where the driver can't",
            Self::Copy => "The kernel copies each frame",
            Self::Generic => "Without the driver's help: slow, works everywhere",
        }
    }
}

/// What the card is wanted for.
#[derive(Clone)]
pub struct Options {
    /// Name of the interface.
    pub interface: String,
    /// How to attach and bind.
    pub mode: Mode,
    /// What sends.
    pub engine: Engine,
    /// Of the cookies.
    pub key: Key,
    /// ICMP identifier of this instance.
    pub identifier: u16,
    /// The ports that probes to a port are sent from, and only by this instance; none where there are no such probes.
    pub ports: Range<u16>,
    /// So many of those, the last ones, send probes whose answers bring no proof.
    pub unproven_ports: u16,
    /// Most flows of a group whose probes are to expire on the way, whatever their kind; 0 where there are none, and errors about all probes
    /// must have their proof ([`Settings::expiring_flows`](probe_ebpf::layout::Settings)).
    pub expiring_flows: u16,
    /// What probes will look like: `Due::shape` is an index into it.
    pub shapes: Vec<Shape>,
    /// Replies to older probes are not taken: the longest timeout, and some slack for late ones to be counted.
    pub max_age: Nanos,
    /// Probes a second that are expected, all queues together: sizes the rings.
    pub rate: u64,
    /// The CPUs that sender threads are pinned to, one sender each. Sender i transmits through queue i. A sender without a CPU of
    /// its own can't send live frames.
    pub senders: Vec<Option<usize>>,
    /// How many [`Receiver`]s to share the receive queues among.
    pub receivers: usize,
    /// What the handles of IPv6 addresses in `Due::to` stand for.
    pub addresses: Arc<AddressTable>,
    /// The next hops of the probes to come; `Due::hop` is an index into it. Replies are taken for their sources.
    pub hops: Arc<Hops>,
    /// Down, and probes are *unsent* without being tried.
    pub link: Arc<dyn Link>,
}

impl Options {
    /// Whether there will be probes over IPv6.
    fn sends_v6(&self) -> bool {
        self.shapes.iter().any(|shape| shape.family == Family::V6)
    }

    /// Whether live frames would be laid by userspace.
    fn sends_whole(&self) -> bool {
        self.shapes.iter().any(|shape| templates::is_whole(*shape))
    }
}

/// What is beneath the interface of that name: where programs and sockets go.
///
/// # Errors
/// If there is no such interface, nothing of ours can go beneath it, or the kernel does not tell.
pub fn stack(interface: &str, mode: Mode) -> Result<Stack, NicError> {
    interface::stack(interface, mode)
}

/// How many senders an interface can have: one for each queue that both receives and transmits, on each of its ports.
pub fn queues(stack: &Stack) -> u32 {
    number(stack.ports.iter().map(|port| port.rx_queues.min(port.tx_queues)).min().unwrap_or(1))
}

/// A count of few things.
fn number(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

/// Bytes of the packet buffers of so many queues at so many probes a second, in copy mode. A zero-copy queue takes 2 KiB more for each
/// entry of the card's ring.
pub fn buffers(rate: u64, queues: u32) -> u64 {
    let load = Load::new(rate, 1, queues);
    socket::frame_bytes(load) + socket::frame_bytes(load.receiving()) * u64::from(queues.saturating_sub(1))
}

/// An interface with `steer` attached: on its one device, or on several ports. Dropping it detaches.
pub struct Nic {
    ports: Vec<Port>,
    counts: Arc<QueueCounts>,
    /// By these receivers get further queues.
    incoming: Vec<Incoming>,
    /// By these senders get halves on further ports.
    new_halves: Vec<NewHalves>,
    joining: Joining,
    /// Of all ports.
    links: Arc<Links>,
    active: Arc<AtomicUsize>,
    info: InterfaceInfo,
}

/// All that [`Nic::open`] hands out. Dropped in this order: the program is detached before the sockets close, so that no
/// reply is taken for a socket that isn't there.
pub struct Opened {
    /// Keeps the program attached.
    pub nic: Nic,
    /// One for each sender thread.
    pub senders: Vec<Sender>,
    /// One for each receiver thread.
    pub receivers: Vec<Receiver>,
    /// Whether queues have been drained.
    pub taken: Arc<dyn Taken>,
    /// For a control thread.
    pub sampler: DropSampler,
    /// For whoever follows how the interface's addresses change.
    pub addressing: Addressing,
}

impl Nic {
    /// Attaches to the interface and binds its queues.
    ///
    /// # Errors
    /// Whatever is in the way, by name: see [`NicError`]. Nothing stays behind.
    pub fn open(options: &Options) -> Result<Opened, NicError> {
        let stack = interface::stack(&options.interface, options.mode)?;
        let (ports, addressing) = stacked::attach(options, &stack)?.into_iter().unzip();
        Self::assemble(options, &stack, ports, addressing)
    }

    /// From ports that are attached, at least one, and the addressing of each. The first is the one to send by.
    fn assemble(
        options: &Options,
        stack: &Stack,
        mut ports: Vec<Port>,
        mut addressing: Vec<addressing::Addressing>,
    ) -> Result<Opened, NicError> {
        let queues: usize = ports.iter().map(|port| port.queues() as usize).sum();
        // All replies may come by the port that has the fewest.
        let fewest = ports.iter().map(Port::queues).min().unwrap_or(1);
        let load = Load::new(options.rate, number(options.senders.len()), fewest);
        let counts = Arc::new(QueueCounts::new(socket::receive_ring(load)));
        // No more receivers than queues: one without a queue would have nothing to wait for.
        let count = options.receivers.clamp(1, queues.max(1));
        let mut receivers: Vec<Receiver> = (0..count).map(|_| Receiver::new(counts.clone())).collect();
        ports.iter_mut().try_for_each(|port| port.bind(options, load))?;
        let engines = ports.iter().map(|port| port.engine(options)).collect::<Result<Vec<_>, _>>()?;
        // One for all: results tell where stamps are taken. AF_XDP works everywhere, so it is what a mixture comes to.
        let (engine, reason) = engines
            .iter()
            .find(|(engine, _)| *engine == Engine::Afxdp)
            .or(engines.first())
            .cloned()
            .unwrap_or((Engine::Afxdp, String::new()));
        let active = Arc::new(AtomicUsize::new(0));
        let mut halves: Vec<Vec<Half>> = options.senders.iter().map(|_| Vec::new()).collect();
        for (port, addressing) in ports.iter_mut().zip(&mut addressing) {
            let of_port = port.halves(options, addressing, engine)?;
            halves.iter_mut().zip(of_port).for_each(|(halves, half)| halves.push(half));
        }
        let senders: Vec<Sender> = halves.into_iter().map(|halves| Sender::new(halves, active.clone())).collect();
        for port in &mut ports {
            port.listen(&counts, &mut |index, queue| receivers[index % count].add(index, queue))?;
        }
        let samplers = ports.iter_mut().map(|port| port.sampler(&counts)).collect::<Result<_, _>>()?;
        let info = InterfaceInfo {
            name: options.interface.clone(),
            driver: ports.first().map(|port| interface::driver(&port.interface).to_owned()).unwrap_or_default(),
            mode: mode(&ports).name(),
            engine: engine.name(),
            reason,
            queues,
            up: ports.iter().any(|port| port.interface.up),
        };
        let addressing = Addressing::new(stack, ports.iter().map(|port| &port.interface).zip(addressing));
        let incoming: Vec<Incoming> = receivers.iter().map(Receiver::incoming).collect();
        let joining = Joining::new(joining::Parts {
            options: Options { engine, ..options.clone() },
            load,
            counts: counts.clone(),
            incoming: incoming.clone(),
            addressing: addressing.clone(),
        });
        let nic = Self {
            links: Arc::new(Links(ports.iter().map(Port::link).collect())),
            ports,
            counts: counts.clone(),
            incoming,
            new_halves: senders.iter().map(Sender::new_halves).collect(),
            joining,
            active,
            info,
        };
        Ok(Opened { nic, senders, receivers, taken: counts, sampler: DropSampler(samplers), addressing })
    }

    /// What came out: driver, mode, queues. `up` is as of the opening.
    pub fn info(&self) -> &InterfaceInfo {
        &self.info
    }

    /// The link as [`Options::link`] knows it, and beside that the times in which it was up and replies reached nobody all the same.
    pub fn link(&self) -> Arc<dyn Link> {
        Arc::clone(&self.links) as _
    }

    /// Looks whether something about the device has changed: queues that are new get sockets and receivers, ports that have joined are
    /// taken over, everything else is told. A control thread calls this as often as it samples; most calls do nothing.
    pub fn look(&mut self, sampler: &mut DropSampler) {
        self.take_over(sampler);
        for (port, sampler) in self.ports.iter_mut().zip(&mut sampler.0) {
            port.look(&self.counts, sampler, &mut |index, queue| receive::deal(&self.incoming, index, queue));
        }
        (self.info.queues, self.info.mode) = (self.counts.queues(), mode(&self.ports).name());
    }

    /// From now on senders send by this port, counted from 0 in the order of opening.
    pub fn send_by(&self, port: usize) {
        // Release: whoever finds the port named finds the halves on it.
        self.active.store(port, Release);
    }
}

/// How frames get between all of these ports and our memory: what the slowest of them does.
fn mode(ports: &[Port]) -> Mode {
    match (ports.iter().any(Port::is_generic), ports.iter().all(|port| port.zero_copy)) {
        (true, _) => Mode::Generic,
        (false, true) => Mode::ZeroCopy,
        (false, false) => Mode::Copy,
    }
}

/// The links of all ports; those of ports that join are added.
struct Links(boxcar::Vec<Arc<dyn Link>>);

impl Links {
    fn push(&self, link: Arc<dyn Link>) {
        self.0.push(link);
    }
}

impl Link for Links {
    fn is_up(&self) -> bool {
        self.0.iter().any(|(_, port)| port.is_up())
    }

    fn was_down(&self, from: Nanos, to: Nanos) -> bool {
        self.0.iter().any(|(_, port)| port.was_down(from, to))
    }
}

/// Answers every echo request that comes in, and TCP and UDP if asked, in XDP: `echolot reflect`. Dropping it detaches.
pub struct Reflector {
    program: Program,
    counters: Counters,
    tcp: Table<OPEN_PORTS_SIZE>,
    udp: Table<OPEN_PORTS_SIZE>,
}

impl Reflector {
    /// Attaches `reflect` to the interface. `mode` only matters as far as it is generic or not.
    ///
    /// # Errors
    /// Whatever is in the way, by name: see [`NicError`].
    pub fn attach(interface: &str, mode: Mode) -> Result<Self, NicError> {
        let interface = interface::find(interface)?;
        if !interface.up {
            return Err(NicError::Down { interface: interface.name });
        }
        let mut program = Program::attach(&interface, mode, &Source { name: "reflect", ..Source::default() })?;
        let counters = program.take_counters("REFLECTED")?;
        let (tcp, udp) = (program.take_table("TCP_PORTS")?, program.take_table("UDP_PORTS")?);
        Ok(Self { program, counters, tcp, udp })
    }

    /// From now on TCP is answered too, for whatever address: SYNs to these ports by a SYN-ACK, those to others by a RST. Other
    /// segments are swallowed.
    ///
    /// # Errors
    /// If the program can't be told.
    pub fn answer_tcp(&mut self, open: impl IntoIterator<Item = RangeInclusive<u16>>) -> Result<(), NicError> {
        self.tcp.set(0, opened(open).to_bytes())
    }

    /// From now on UDP is answered too, for whatever address: a datagram to one of these ports comes back, of port 53 a question with a
    /// response that has no records; one to any other port is refused with an ICMP error. What an open port has no answer to (at port 53
    /// what is no question, elsewhere what comes from a port below 1024) is swallowed.
    ///
    /// # Errors
    /// If the program can't be told.
    pub fn answer_udp(&mut self, open: impl IntoIterator<Item = RangeInclusive<u16>>) -> Result<(), NicError> {
        self.udp.set(0, opened(open).to_bytes())
    }

    /// Echo requests, SYNs and UDP datagrams answered so far.
    ///
    /// # Errors
    /// If the program's counters can't be read.
    pub fn answered(&self) -> Result<u64, NicError> {
        [Reflected::Echo, Reflected::Tcp, Reflected::Udp].iter().map(|what| self.counters.sum(*what as u32)).sum()
    }

    /// TCP segments and UDP datagrams swallowed so far: neither answered nor passed on.
    ///
    /// # Errors
    /// As above.
    pub fn swallowed(&self) -> Result<u64, NicError> {
        self.counters.sum(Reflected::Swallowed as u32)
    }

    /// Whether it runs behind the driver, slowly.
    pub fn is_generic(&self) -> bool {
        self.program.generic
    }
}

/// These ports and no others.
fn opened(open: impl IntoIterator<Item = RangeInclusive<u16>>) -> OpenPorts {
    let mut ports = OpenPorts::CLOSED;
    open.into_iter().flatten().for_each(|port| ports.open(port));
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_can_move_to_their_threads() {
        fn moves<T: Send>() {}
        moves::<AfxdpSender>();
        moves::<Receiver>();
        moves::<DropSampler>();
        moves::<Nic>();
    }
}
