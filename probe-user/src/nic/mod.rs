//! The network card: XDP programs, AF_XDP sockets, the transmit engine, drop counters. All unsafe code lives here.
//!
//! [`Nic::open`] is the door. It attaches `steer`, binds a socket to every receive queue, and hands out what the packet
//! loops need ([`AfxdpSender`], [`Receiver`], both behind the traits of `worker`) and what control threads need
//! ([`DropSampler`], [`Taken`]). When the process ends, however it ends, the card is as it was before.
#![expect(unsafe_code, reason = "rings shared with the kernel and system calls; each block carries its argument")]

mod addressing;
mod afxdp;
pub mod bare;
mod choice;
mod clock;
mod drops;
mod error;
mod far;
mod frames;
mod interface;
mod live;
mod mapped;
mod pages;
mod program;
mod receive;
mod ring;
mod socket;
mod templates;
pub mod thread;

pub use addressing::Addressing;
pub use afxdp::AfxdpSender;
pub use choice::{EASY, Engine, auto};
pub use clock::MonotonicClock;
pub use drops::{DROP_CAUSES, DropSampler};
pub use error::NicError;
pub use far::{FarEnd, FrameSender, OpenedFarEnd, Treatment};
pub use interface::zero_copy_obstacle;
pub use live::LiveSender;
pub use pages::HugePages;
pub use receive::Receiver;

use crate::{
    metrics::InterfaceInfo,
    results::Stamp,
    route::Hops,
    time::Nanos,
    wire::Key,
    worker::{Due, Fate, Link, Taken, Transmit},
};
use drops::{QueueCounts, TransmitDrops};
use mapped::Mapped;
use probe_ebpf::layout::{LIVE_TABLE, MAX_CPUS, MAX_QUEUES};
use program::{Counters, Program};
use std::sync::Arc;
use templates::Looks;

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
    /// Time to live of probes.
    pub ttl: u8,
    /// ICMP payload sizes that probes will have, bytes; no other can be sent. Each is one of `wire::PAYLOADS`.
    pub payloads: Vec<u16>,
    /// Replies to older probes are not taken: the longest timeout, and some slack for late ones to be counted.
    pub max_age: Nanos,
    /// Probes a second that are expected, all queues together: sizes the rings.
    pub rate: u64,
    /// The CPUs that sender threads are pinned to, one sender each. Sender i transmits through queue i. A sender without a CPU of
    /// its own can't send live frames.
    pub senders: Vec<Option<usize>>,
    /// How many [`Receiver`]s to share the receive queues among.
    pub receivers: usize,
    /// The next hops of the probes to come; `Due::hop` is an index into it. Replies are taken for their sources.
    pub hops: Arc<Hops>,
    /// Down, and probes are *unsent* without being tried.
    pub link: Arc<dyn Link>,
}

/// How many senders an interface can have: one for each of its queues that both receives and transmits.
///
/// # Errors
/// If there is no such interface, or the kernel does not tell.
pub fn queues(interface: &str) -> Result<u32, NicError> {
    let interface = interface::find(interface)?;
    Ok(number(interface.rx_queues.min(interface.tx_queues)))
}

/// A count of few things.
fn number(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

/// Bytes of the packet buffers of so many queues at so many probes a second, in copy mode. A zero-copy queue takes some 8 MiB more.
pub fn buffers(rate: u64, queues: u32) -> u64 {
    socket::frame_bytes(rate) * u64::from(queues)
}

/// An interface with `steer` attached. Dropping it detaches.
pub struct Nic {
    _program: Program,
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
        let interface = interface::find(&options.interface)?;
        let name = &options.interface;
        if !interface.up {
            return Err(NicError::Down { interface: name.clone() });
        }
        if let Some(payload) = options.payloads.iter().find(|p| u32::from(**p) + 28 > interface.mtu) {
            return Err(NicError::Mtu { interface: name.clone(), mtu: interface.mtu, payload: *payload });
        }
        let queues = number(interface.rx_queues);
        if queues > MAX_QUEUES {
            return Err(NicError::Queues { interface: name.clone(), queues, most: MAX_QUEUES });
        }
        let senders = number(options.senders.len());
        let most = queues.min(number(interface.tx_queues));
        if senders > most {
            return Err(NicError::Senders { interface: name.clone(), senders, most });
        }
        let looks = Looks { mac: interface.mac, identifier: options.identifier, ttl: options.ttl, key: options.key };
        let parts = addressing::Parts {
            looks,
            hops: Arc::clone(&options.hops),
            payloads: &options.payloads,
            max_age: options.max_age,
        };

        // Attached before sockets are bound: attaching makes some drivers rebuild their queues. The socket map is still
        // empty, so steer takes nothing yet, and the program learns of each socket only once its fill ring is stocked.
        let mut program = Program::attach(&interface, options.mode, "steer", Some(&parts.settings()?), senders)?;
        let query = |error| NicError::Query { interface: name.clone(), error };
        let rate = options.rate / u64::from(senders.max(1));
        let counts =
            QueueCounts::new(program.descriptor("TAKEN")?, queues, socket::receive_ring(rate)).map_err(query)?;
        let counts = Arc::new(counts);
        let verdicts = program.take_counters("VERDICTS")?;

        let transmit_drops = Arc::new(TransmitDrops::default());
        let mut addressing = Addressing::new(&parts, &mut program)?;
        // No more receivers than queues: one without a queue would have nothing to wait for.
        let count = options.receivers.clamp(1, queues.max(1) as usize);
        let mut receivers: Vec<Receiver> = (0..count).map(|_| Receiver::new(counts.clone())).collect();
        let (mut afxdp, mut sockets, mut zero_copy) = (Vec::new(), Vec::new(), true);
        // After the first queue its mode is everybody's: a mixture would be reported as neither.
        let mut mode = if program.generic { Mode::Generic } else { options.mode };
        let obstacle = zero_copy_obstacle(name, interface::driver(&interface))
            .filter(|_| matches!(mode, Mode::Auto | Mode::ZeroCopy));
        match (mode, obstacle) {
            // Every probe would be lost.
            (Mode::Auto, Some(_)) => mode = Mode::Copy,
            // Asked for, and who asks may have a kernel in which it is mended.
            (_, Some(obstacle)) => tracing::warn!("{name}: {obstacle}"),
            (_, None) => {}
        }
        for index in 0..queues {
            let mut queue = socket::open(name, index, mode, rate, index < senders)?;
            if mode == Mode::Auto {
                mode = if queue.zero_copy { Mode::ZeroCopy } else { Mode::Copy };
            }
            zero_copy &= queue.zero_copy;
            if let Some(half) = queue.tx.take() {
                let (link, drops) = (options.link.clone(), transmit_drops.clone());
                afxdp.push(AfxdpSender::new(half, addressing.current(), link, drops));
            }
            let socket = socket::share(&queue.rx).map_err(query)?;
            receivers[index as usize % count].add(index, queue);
            program.steer_to(index, &socket)?;
            sockets.push(socket);
        }
        let (live, mut why) = choice::choose(options, program.generic, interface.index, zero_copy)?;
        if let (Some(obstacle), false) = (obstacle, zero_copy) {
            why = format!("{why}; no zero-copy: {obstacle}");
        }
        let transmitters = if live {
            program.prepare_live(interface.index, addressing.current().live()?.into_iter())?;
            addressing.live(&mut program)?;
            let live = options.senders.iter().flatten().enumerate().map(|(number, cpu)| {
                let sender = LiveSender::new(live::Parts {
                    number,
                    cpu: *cpu,
                    program: program.share()?,
                    table: mapped(&program, "LIVE_DUE", options.senders.len() * LIVE_TABLE as usize)?,
                    cursors: mapped(&program, "LIVE_CURSORS", MAX_CPUS as usize)?,
                    templates: addressing.current(),
                    link: options.link.clone(),
                    drops: transmit_drops.clone(),
                });
                Ok(Sender::Live(sender.map_err(query)?))
            });
            live.collect::<Result<Vec<_>, NicError>>()?
        } else {
            afxdp.into_iter().map(Sender::Afxdp).collect()
        };
        let info = InterfaceInfo {
            name: name.clone(),
            driver: interface::driver(&interface).to_owned(),
            mode: match (program.generic, zero_copy) {
                (true, _) => "generic",
                (false, true) => "zero-copy",
                (false, false) => "copy",
            },
            engine: choice::name(live),
            reason: why,
            queues: queues as usize,
            up: interface.up,
        };
        let sampler = DropSampler::new(name, counts.clone(), transmit_drops, verdicts, sockets);
        let nic = Self { _program: program, info };
        Ok(Opened { nic, senders: transmitters, receivers, taken: counts, sampler, addressing })
    }

    /// What came out: driver, mode, queues. `up` is as of the opening.
    pub fn info(&self) -> &InterfaceInfo {
        &self.info
    }
}

/// One sender's engine. Owned by one thread.
#[expect(
    clippy::large_enum_variant,
    reason = "there are as many as sender threads, and they never move once these run"
)]
pub enum Sender {
    /// AF_XDP.
    Afxdp(AfxdpSender),
    /// Live frames.
    Live(LiveSender),
}

impl Transmit for Sender {
    fn transmit(&mut self, due: &[Due], fates: &mut [Fate]) {
        match self {
            Self::Afxdp(sender) => sender.transmit(due, fates),
            Self::Live(sender) => sender.transmit(due, fates),
        }
    }

    fn batch(&self) -> usize {
        match self {
            Self::Afxdp(sender) => sender.batch(),
            Self::Live(sender) => sender.batch(),
        }
    }

    fn together(&self) -> usize {
        match self {
            Self::Afxdp(sender) => sender.together(),
            Self::Live(sender) => sender.together(),
        }
    }
}

impl Sender {
    /// Where its probes' send stamps are taken.
    pub const fn stamp(&self) -> Stamp {
        match self {
            Self::Afxdp(_) => Stamp::User,
            Self::Live(_) => Stamp::Xdp,
        }
    }
}

fn mapped<T: Copy>(program: &Program, map: &'static str, entries: usize) -> Result<Mapped<T>, NicError> {
    let error = |error: std::io::Error| NicError::Live { what: "share its table", reason: error.to_string() };
    Mapped::new(program.descriptor(map)?, entries, true).map_err(error)
}

/// Answers every echo request that comes in, in XDP: `echolot reflect`. Dropping it detaches.
pub struct Reflector {
    program: Program,
    answered: Counters,
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
        let mut program = Program::attach(&interface, mode, "reflect", None, 0)?;
        let answered = program.take_counters("REFLECTED")?;
        Ok(Self { program, answered })
    }

    /// Echo requests answered so far.
    ///
    /// # Errors
    /// If the program's counter can't be read.
    pub fn answered(&self) -> Result<u64, NicError> {
        self.answered.sum(0)
    }

    /// Whether it runs behind the driver, slowly.
    pub fn is_generic(&self) -> bool {
        self.program.generic
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
    pub fn attach(interface: &str, mode: Mode) -> Result<Self, NicError> {
        Ok(Self(Program::attach(&interface::find(interface)?, mode, "pass", None, 0)?))
    }
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
