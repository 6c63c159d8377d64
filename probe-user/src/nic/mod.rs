//! The network card: XDP programs, AF_XDP sockets, the transmit engine, drop counters. All unsafe code lives here.
//!
//! [`Nic::open`] is the door. It attaches `steer`, binds a socket to every receive queue, and hands out what the packet
//! loops need ([`AfxdpSender`], [`Receiver`], both behind the traits of `worker`) and what control threads need
//! ([`DropSampler`], [`Taken`]). When the process ends, however it ends, the card is as it was before.
#![expect(unsafe_code, reason = "rings shared with the kernel and system calls; each block carries its argument")]

mod afxdp;
mod clock;
mod drops;
mod error;
mod far;
mod frames;
mod interface;
mod program;
mod receive;
mod ring;
mod socket;
mod templates;
pub mod thread;

pub use afxdp::AfxdpSender;
pub use clock::MonotonicClock;
pub use drops::{DROP_CAUSES, DropSampler};
pub use error::NicError;
pub use far::{FarEnd, FrameSender, OpenedFarEnd};
pub use receive::Receiver;
pub use templates::Templates;

use crate::{
    metrics::InterfaceInfo,
    route::Hop,
    time::Nanos,
    wire::Key,
    worker::{Link, Taken},
};
use drops::{QueueCounts, TransmitDrops};
use interface::Interface;
use probe_ebpf::layout::{MAX_QUEUES, MAX_SOURCES, Settings};
use program::{Counters, Program};
use std::{net::Ipv4Addr, sync::Arc};
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

/// What sends: `--engine`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The best that this machine has. For now that is AF_XDP.
    #[default]
    Auto,
    /// AF_XDP sockets.
    Afxdp,
}

/// What the card is wanted for.
#[derive(Clone)]
pub struct Options {
    /// Name of the interface.
    pub interface: String,
    /// How to attach and bind.
    pub mode: Mode,
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
    /// How many [`AfxdpSender`]s to make. Sender i transmits through queue i.
    pub senders: usize,
    /// How many [`Receiver`]s to share the receive queues among.
    pub receivers: usize,
    /// The next hops of the probes to come; `Due::hop` is an index into it. Replies are taken for their sources.
    pub hops: Arc<[Hop]>,
    /// Down, and probes are *unsent* without being tried.
    pub link: Arc<dyn Link>,
}

/// An interface with `steer` attached. Dropping it detaches.
pub struct Nic {
    program: Program,
    info: InterfaceInfo,
    settings: Settings,
    looks: Looks,
}

/// All that [`Nic::open`] hands out. Dropped in this order: the program is detached before the sockets close, so that no
/// reply is taken for a socket that isn't there.
pub struct Opened {
    /// Keeps the program attached.
    pub nic: Nic,
    /// One for each sender thread.
    pub senders: Vec<AfxdpSender>,
    /// One for each receiver thread.
    pub receivers: Vec<Receiver>,
    /// Whether queues have been drained.
    pub taken: Arc<dyn Taken>,
    /// For a control thread.
    pub sampler: DropSampler,
}

impl Nic {
    /// Attaches to the interface and binds its queues.
    ///
    /// # Errors
    /// Whatever is in the way, by name: see [`NicError`]. Nothing stays behind.
    pub fn open(options: &Options) -> Result<Opened, NicError> {
        let interface = Interface::find(&options.interface)?;
        let name = &options.interface;
        if !interface.up {
            return Err(NicError::Down { interface: name.clone() });
        }
        if let Some(payload) = options.payloads.iter().find(|p| u32::from(**p) + 28 > interface.mtu) {
            return Err(NicError::Mtu { interface: name.clone(), mtu: interface.mtu, payload: *payload });
        }
        let (queues, transmit_queues) = interface.queues()?;
        if queues > MAX_QUEUES {
            return Err(NicError::Queues { interface: name.clone(), queues, most: MAX_QUEUES });
        }
        let senders = u32::try_from(options.senders).unwrap_or(u32::MAX);
        let most = queues.min(transmit_queues);
        if senders > most {
            return Err(NicError::Senders { interface: name.clone(), senders, most });
        }
        let looks = Looks { mac: interface.mac, identifier: options.identifier, ttl: options.ttl, key: options.key };
        let sources = options.hops.iter().map(|hop| hop.source).collect();
        let settings = settings(looks, sources, options.max_age)?;

        // Attached before sockets are bound: attaching makes some drivers rebuild their queues. The socket map is still
        // empty, so steer takes nothing yet, and the program learns of each socket only once its fill ring is stocked.
        let mut program = Program::attach(&interface, options.mode, "steer", Some(&settings))?;
        let query = |error| NicError::Query { interface: name.clone(), error };
        let counts = Arc::new(QueueCounts::new(program.descriptor("TAKEN")?, queues).map_err(query)?);
        let verdicts = program.take_counters("VERDICTS")?;

        let transmit_drops = Arc::new(TransmitDrops::default());
        let templates = Arc::new(Templates::new(looks, options.hops.clone(), &options.payloads)?);
        // No more receivers than queues: one without a queue would have nothing to wait for.
        let count = options.receivers.clamp(1, queues.max(1) as usize);
        let mut receivers: Vec<Receiver> = (0..count).map(|_| Receiver::new(counts.clone())).collect();
        let (mut afxdp, mut sockets, mut zero_copy) = (Vec::new(), Vec::new(), true);
        // After the first queue its mode is everybody's: a mixture would be reported as neither.
        let mut mode = if program.generic { Mode::Generic } else { options.mode };
        let rate = options.rate / u64::from(senders.max(1));
        for index in 0..queues {
            let mut queue = socket::open(name, index, mode, rate, index < senders)?;
            if mode == Mode::Auto {
                mode = if queue.zero_copy { Mode::ZeroCopy } else { Mode::Copy };
            }
            zero_copy &= queue.zero_copy;
            if let Some(half) = queue.tx.take() {
                let (link, drops) = (options.link.clone(), transmit_drops.clone());
                afxdp.push(AfxdpSender::new(half, templates.clone(), link, drops));
            }
            let socket = socket::share(&queue.rx).map_err(query)?;
            receivers[index as usize % count].add(index, queue);
            program.steer_to(index, &socket)?;
            sockets.push(socket);
        }
        let info = InterfaceInfo {
            name: name.clone(),
            driver: interface.driver,
            mode: match (program.generic, zero_copy) {
                (true, _) => "generic",
                (false, true) => "zero-copy",
                (false, false) => "copy",
            },
            engine: "afxdp",
            queues: queues as usize,
            up: interface.up,
        };
        let sampler = DropSampler::new(name, counts.clone(), transmit_drops, verdicts, sockets);
        let nic = Self { program, info, settings, looks };
        Ok(Opened { nic, senders: afxdp, receivers, taken: counts, sampler })
    }

    /// What came out: driver, mode, queues. `up` is as of the opening.
    pub fn info(&self) -> &InterfaceInfo {
        &self.info
    }

    /// Makes ready for other next hops, payload sizes or ages, without detaching: steer takes replies to the new hops'
    /// sources as well as to those that it took before, and the templates are for [`AfxdpSender::set_templates`].
    ///
    /// # Errors
    /// If a payload size is impossible, there are too many sources, or the kernel refuses the write. Then nothing changes.
    pub fn templates(
        &mut self,
        hops: Arc<[Hop]>,
        payloads: &[u16],
        max_age: Nanos,
    ) -> Result<Arc<Templates>, NicError> {
        let known = &self.settings.sources[..self.settings.source_count as usize];
        let known = known.iter().map(|source| Ipv4Addr::from(source.to_ne_bytes()));
        let sources = known.chain(hops.iter().map(|hop| hop.source)).collect();
        let settings = settings(self.looks, sources, max_age)?;
        let templates = Templates::new(self.looks, hops, payloads)?;
        self.program.configure(&settings)?;
        self.settings = settings;
        Ok(Arc::new(templates))
    }
}

fn settings(looks: Looks, mut sources: Vec<Ipv4Addr>, max_age: Nanos) -> Result<Settings, NicError> {
    sources.sort_unstable();
    sources.dedup();
    let count = sources.len();
    let mut settings = Settings {
        key: looks.key.0,
        max_age_ns: max_age.0,
        source_count: u32::try_from(count).unwrap_or(u32::MAX),
        identifier: looks.identifier,
        ..Settings::default()
    };
    if count > MAX_SOURCES {
        return Err(NicError::Sources { sources: count, most: MAX_SOURCES });
    }
    for (slot, source) in settings.sources.iter_mut().zip(&sources) {
        *slot = u32::from_ne_bytes(source.octets());
    }
    Ok(settings)
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
        let mut program = Program::attach(&Interface::find(interface)?, mode, "reflect", None)?;
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
        Ok(Self(Program::attach(&Interface::find(interface)?, mode, "pass", None)?))
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
