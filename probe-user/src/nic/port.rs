//! A port: one physical device, and everything of ours that hangs on it.
//!
//! Each port has an XDP program of its own attached, with maps of its own; a socket on each of its receive queues; the transmit
//! halves of all senders; its own counters; and its own MAC address in the templates of its probes. [`Nic`](super::Nic) is one port
//! or several (the members of a bond). What the loops see does not tell ports apart:
//!
//! * **Queues** are numbered over all ports: those of the first port from 0, then those of the second, and in the end those that come
//!   later. `Taken`, the receivers and the samplers go by these numbers; the kernel, `XSKS` and `TAKEN` by the port's own.
//! * **Receivers** get the queues of all ports dealt out in turn.
//! * **Senders** have a half on each port and send by the active one (`nic/sender.rs`).
//! * **Programs** take replies on every port, whichever one sends. The cookie's key and the identifier are the same on all.
//!
//! While it runs, a control thread common at the port every now and then ([`Port::look`]): a queue that is new gets a socket, and what
//! else has changed is told.
//!
//! A port is opened in steps, because some things are known only once all ports have come so far:
//!
//! 1. [`Port::attach`]: the program is attached, the queues are counted. The socket map is empty: steer takes nothing yet.
//! 2. [`Port::bind`]: sockets are bound and stocked.
//! 3. [`Port::halves`]: the transmit halves are made, all of one engine, which has to suit every port ([`Port::engine`]).
//! 4. [`Port::listen`]: receivers get the queues, and steer takes replies from now on. Until here nobody has noticed anything.

use super::{
    AfxdpSender, Engine, LiveSender, Mode, MonotonicClock, NicError, Options,
    addressing::{self, Addressing},
    changes::{Change, Seen},
    choice,
    counts::QueueCounts,
    drops::{PortSampler, TransmitDrops},
    interface, live,
    mapped::Mapped,
    number,
    program::{Program, Table, Tables},
    seats::Seats,
    sender::Half,
    socket::{self, Load, Queue, Transmitter},
    templates::Common,
};
use crate::{
    base::{Nanos, Stamp},
    route::{Interface, LinkState, PortView, Stack, ethtool},
    wire::{Shape, Tags},
    worker::{Clock as _, Link},
};
use probe_ebpf::{
    layout::{LIVE_TABLE, MAX_CPUS, MAX_QUEUES, TAKEN_ENTRIES},
    wire::ethernet,
};
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// One device, attached to. Dropping it detaches.
pub(super) struct Port {
    program: Program,
    /// As it is with the program attached.
    pub(super) interface: Interface,
    /// Whether its sockets are bound for zero-copy. True until one isn't.
    pub(super) zero_copy: bool,
    /// What is written into the templates and read by `auto`.
    tags: Tags,
    /// Whether the bond discards what arrives here.
    inactive: Table<4>,
    transmit_drops: Arc<TransmitDrops>,
    transmitters: Vec<Transmitter>,
    /// Its receive queues, from [`Port::bind`] to [`Port::listen`].
    bound: Vec<Queue>,
    /// A descriptor of each queue's receive socket, with the queue's number among those of all ports.
    sockets: Vec<(usize, OwnedFd)>,
    /// What steer has taken, and may take.
    words: Arc<Mapped<u64>>,
    /// Receive queues without the program: virtio_net may have more while one is attached.
    lasting: u32,
    /// How sockets are bound: what the first came to.
    mode: Mode,
    /// What a queue that is added later is to carry.
    load: Load,
    /// Of the longest probes.
    longest: Shape,
    link: Arc<PortLink>,
    seen: Seen,
}

/// How far back a look that finds something new may have missed it: twice the time between common, which a busy machine stretches.
const LOOKS: Nanos = Nanos::from_secs(1);
/// What a queue takes to work once it is set up.
const SETTLES: Nanos = Nanos::from_millis(100);

/// The link, as far as probes fit through it.
struct PortLink {
    link: Arc<dyn Link>,
    /// The MTU has become too small for the longest probes.
    narrow: AtomicBool,
    /// When queues were new and replies on them reached nobody. The control thread writes.
    deaf: LinkState,
}

impl Link for PortLink {
    fn is_up(&self) -> bool {
        self.link.is_up() && !self.narrow.load(Relaxed)
    }

    fn was_down(&self, from: Nanos, to: Nanos) -> bool {
        self.link.was_down(from, to) || self.deaf.was_down_between(from, to)
    }
}

impl Port {
    /// Attaches `steer` to one of the stack's ports. Beside the port comes what probes from it are sent from: a MAC address, and the
    /// sources of all hops.
    ///
    /// # Errors
    /// Whatever is in the way, by name: see [`NicError`]. Nothing stays behind.
    pub(super) fn attach(
        options: &Options,
        stack: &Stack,
        interface: &Interface,
    ) -> Result<(Self, Addressing), NicError> {
        let name = || interface.name.clone();
        if !interface.up {
            return Err(NicError::Down { interface: name() });
        }
        check_length(interface, options, stack.tags)?;
        check_queues(interface, options)?;
        let Options { identifier, key, ref ports, .. } = *options;
        let common =
            Common { mac: stack.source_mac(interface), tags: stack.tags, identifier, first_port: ports.start, key };
        let parts = addressing::Parts {
            common,
            hops: Arc::clone(&options.hops),
            addresses: Arc::clone(&options.addresses),
            shapes: &options.shapes,
            max_age: options.max_age,
            port_count: ports.len() as u32,
            unproven_ports: u32::from(options.unproven_ports),
            expiring_flows: u32::from(options.expiring_flows),
        };
        // Attached before sockets are bound: attaching makes some drivers rebuild their queues. The socket map is still
        // empty, so steer takes nothing yet, and the program learns of each socket only once its fill ring is stocked.
        let senders = number(options.senders.len());
        let tables = Tables { senders, v6: options.sends_v6(), whole: options.sends_whole() };
        let mut program = Program::steer(interface, options.mode, &parts.settings()?, tables, stack.tags)?;
        let addressing = Addressing::new(&parts, &mut program)?;
        let bond = stack.bond.as_ref().and_then(|bond| bond.bond);
        let mut inactive = program.take_table("INACTIVE")?;
        inactive.set(0, u32::from(bond.is_some_and(|bond| bond.discards(&interface.candidate()))).to_ne_bytes())?;
        let lasting = number(interface.rx_queues);
        // Counted again: virtio_net with spare queue pairs adds receive queues for the program.
        let interface = interface::find(&interface.name)?;
        check_queues(&interface, options)?;
        let map = program.descriptor("TAKEN")?;
        let query = |error| NicError::Query { interface: interface.name.clone(), error };
        let words = Arc::new(Mapped::new(map, TAKEN_ENTRIES as usize, true).map_err(query)?);
        let port = Self {
            words,
            lasting,
            mode: options.mode,
            load: Load::new(options.rate, senders, 1).receiving(),
            longest: options.shapes.iter().max_by_key(|shape| shape.datagram()).copied().unwrap_or_default(),
            link: Arc::new(PortLink {
                link: Arc::clone(&options.link),
                narrow: AtomicBool::new(false),
                deaf: LinkState::new(),
            }),
            seen: Seen::new(&interface),
            program,
            interface,
            zero_copy: true,
            tags: stack.tags,
            inactive,
            transmit_drops: Arc::default(),
            transmitters: Vec::new(),
            bound: Vec::new(),
            sockets: Vec::new(),
        };
        Ok((port, addressing))
    }

    /// Whether the bond discards what arrives here, and whether the device is a member of it at all. One that is not is given back: its
    /// program is taken off, and put on again once it is. Its sockets stay, and get nothing.
    ///
    /// # Errors
    /// If the program can't be told, or not be put on again.
    pub(super) fn follow(&mut self, view: &PortView) -> Result<(), NicError> {
        self.inactive.set(0, u32::from(view.discards).to_ne_bytes())?;
        match (self.program.is_attached(), view.is_member) {
            (true, false) => {
                self.program.detach();
                tracing::warn!("{} is no longer a member of its bond: echolot leaves it", self.interface.name);
            }
            (false, true) => {
                self.program.attach_again(&self.interface)?;
                tracing::info!("{} is a member of its bond again: echolot is back on it", self.interface.name);
            }
            _ => {}
        }
        Ok(())
    }

    /// Its receive queues.
    pub(super) fn queues(&self) -> u32 {
        number(self.interface.rx_queues)
    }

    /// Whether the program runs behind the driver, slowly.
    pub(super) fn is_generic(&self) -> bool {
        self.program.generic
    }

    /// Binds a socket to each receive queue.
    ///
    /// # Errors
    /// Whatever keeps a socket from being had.
    pub(super) fn bind(&mut self, options: &Options, load: Load) -> Result<(), NicError> {
        let senders = number(options.senders.len());
        self.load = load.receiving();
        // After the first queue its mode is everybody's: a mixture would be reported as neither.
        let mut mode = if self.program.generic { Mode::Generic } else { self.lasting_mode(options.mode)? };
        for index in 0..self.queues() {
            let load = if index < senders { load } else { load.receiving() };
            let mut queue = socket::open(&self.interface, index, mode, load)?;
            if mode == Mode::Auto {
                mode = if queue.zero_copy { Mode::ZeroCopy } else { Mode::Copy };
            }
            self.zero_copy &= queue.zero_copy;
            self.transmitters.extend(queue.tx.take());
            self.bound.push(queue);
        }
        self.mode = mode;
        Ok(())
    }

    /// Counts its queues, hands each to `receive` with its number among all ports', and lets steer redirect to it.
    ///
    /// # Errors
    /// If steer can't be told.
    pub(super) fn listen(
        &mut self,
        counts: &QueueCounts,
        receive: &mut dyn FnMut(usize, Queue),
    ) -> Result<(), NicError> {
        for (own, queue) in (0..).zip(std::mem::take(&mut self.bound)) {
            let socket = socket::share(&queue.rings).map_err(|error| self.query(error))?;
            // In this order: whoever sees a frame taken knows of the queue.
            let index = counts.add(&self.words, own);
            receive(index, queue);
            self.program.steer_to(own, &socket)?;
            self.sockets.push((index, socket));
        }
        Ok(())
    }

    /// The mode that its sockets can be left in when the program goes, and queues with it.
    ///
    /// virtio_net refuses to end zero-copy on a queue that is no longer in use (`virtnet_xsk_pool_disable`) and keeps the buffers of a
    /// socket that is gone. The order doesn't help: a process that is killed lets go of everything at once, and the kernel frees
    /// sockets later.
    ///
    /// # Errors
    /// If zero-copy is asked for.
    fn lasting_mode(&self, asked: Mode) -> Result<Mode, NicError> {
        let (name, queues) = (&self.interface.name, self.queues());
        if queues <= self.lasting || !matches!(asked, Mode::Auto | Mode::ZeroCopy) {
            return Ok(asked);
        }
        let spare = queues - self.lasting;
        let most = ethtool::channels(self.interface.index).map_or(u64::from(queues), |channels| channels.max);
        if asked == Mode::ZeroCopy {
            return Err(NicError::SpareQueues { interface: name.clone(), spare, most });
        }
        tracing::info!(
            "{name}: copy mode, because {spare} of its receive queues are there for the XDP program alone. For zero-copy leave none \
             to spare: ethtool -L {name} combined {most}"
        );
        Ok(Mode::Copy)
    }

    /// Whether live frames are the engine to take here, and why, for people.
    ///
    /// # Errors
    /// If they are asked for and can't be had.
    pub(super) fn engine(&self, options: &Options) -> Result<(Engine, String), NicError> {
        choice::choose(options, self.program.generic, self.interface.index, self.zero_copy, self.tags)
    }

    /// The half of each sender on this port.
    ///
    /// # Errors
    /// If live frames can't be had.
    pub(super) fn halves(
        &mut self,
        options: &Options,
        addressing: &mut Addressing,
        engine: Engine,
    ) -> Result<Vec<Half>, NicError> {
        let transmitters = std::mem::take(&mut self.transmitters).into_iter();
        if engine != Engine::LiveFrames {
            let half = |transmitter| {
                let (link, drops) = (self.link.clone(), self.transmit_drops.clone());
                Half::new(AfxdpSender::new(transmitter, addressing.current(), link, drops), Stamp::User)
            };
            return Ok(transmitters.map(half).collect());
        }
        self.program.prepare_live(self.interface.index, addressing.current().live()?.into_iter())?;
        addressing.live(&mut self.program)?;
        let seats = Arc::new(Seats::new(options.senders.iter().flatten().copied()));
        let entries = options.senders.len() * LIVE_TABLE as usize;
        let halves = options.senders.iter().flatten().enumerate().map(|(number, cpu)| {
            let destinations = options.sends_v6().then(|| mapped(&self.program, "LIVE_DESTINATIONS", entries));
            let frames = options.sends_whole().then(|| mapped(&self.program, "LIVE_FRAMES", entries));
            let sender = LiveSender::new(live::Parts {
                number,
                cpu: *cpu,
                seats: Arc::clone(&seats),
                interface: self.interface.name.clone(),
                program: self.program.share()?,
                table: mapped(&self.program, "LIVE_DUE", entries)?,
                destinations: destinations.transpose()?,
                frames: frames.transpose()?,
                cursors: mapped(&self.program, "LIVE_CURSORS", MAX_CPUS as usize)?,
                templates: addressing.current(),
                link: self.link.clone(),
                drops: self.transmit_drops.clone(),
            });
            Ok(Half::new(sender.map_err(|error| self.query(error))?, Stamp::Xdp))
        });
        halves.collect()
    }

    /// Who reads its drop counters. Asked for once.
    ///
    /// # Errors
    /// If the program's counters can't be had.
    pub(super) fn sampler(&mut self, counts: &Arc<QueueCounts>) -> Result<PortSampler, NicError> {
        let verdicts = self.program.take_counters("VERDICTS")?;
        let sockets = std::mem::take(&mut self.sockets);
        let (counts, drops) = (Arc::clone(counts), self.transmit_drops.clone());
        let how = (self.program.generic, self.zero_copy);
        Ok(PortSampler::new(&self.interface, how, counts, drops, verdicts, sockets))
    }

    /// Its link, with the times in which it was up and yet deaf.
    pub(super) fn link(&self) -> Arc<dyn Link> {
        Arc::clone(&self.link) as _
    }

    /// Common whether something about the device has changed since the last time, and tells people. A queue that is new gets a
    /// socket: its receiving half goes to `receive`, and `sampler` reads its counters.
    pub(super) fn look(
        &mut self,
        counts: &QueueCounts,
        sampler: &mut PortSampler,
        receive: &mut dyn FnMut(usize, Queue),
    ) {
        let changes = self.seen.look();
        for change in changes {
            let name = self.interface.name.clone();
            match change {
                Change::More(queues) => {
                    // Nobody knows when between two common they came.
                    self.link.deaf.went_down(MonotonicClock.now() - LOOKS);
                    for own in self.queues()..queues.min(MAX_QUEUES) {
                        if let Err(error) = self.add_queue(own, counts, sampler, receive) {
                            tracing::error!(
                                "{name} has {queues} receive queues now, and queue {own} gets no socket: {error}. Replies that \
                                 arrive there are not heard: start echolot again"
                            );
                            return;
                        }
                    }
                    // veth runs the program on a new queue only once it is attached anew (veth_enable_range_safe). Other drivers
                    // have it there, and would restart their card.
                    if interface::driver(&self.interface) == "veth"
                        && self.program.is_attached()
                        && let Err(error) = self.attach_anew()
                    {
                        tracing::error!(
                            "{name} has {queues} receive queues now, and the XDP program can't be attached again for the new \
                             ones: {error}. No reply is heard: start echolot again"
                        );
                        return;
                    }
                    self.link.deaf.came_up(MonotonicClock.now() + SETTLES);
                    tracing::info!("{name} has {queues} receive queues now: the new ones have got sockets");
                }
                Change::Fewer(queues) => tracing::warn!(
                    "{name} has {queues} receive queues now, fewer than have sockets: start echolot again to send and receive \
                     by those there are"
                ),
                Change::Mtu(was, mtu) => {
                    let narrow = self.longest.datagram() > mtu;
                    self.link.narrow.store(narrow, Relaxed);
                    if narrow {
                        tracing::error!(
                            "{name} has an MTU of {mtu} now (it was {was}), too small for payloads of {} bytes: nothing is \
                             sent until it is at least {}",
                            self.longest.payload,
                            self.longest.datagram()
                        );
                    } else {
                        tracing::info!("{name} has an MTU of {mtu} now, it was {was}");
                    }
                }
                Change::Replaced => tracing::error!(
                    "{name} is another device now: it was removed, and one of the same name was made. Nothing is sent or heard \
                     by it: start echolot again"
                ),
            }
        }
    }

    /// Takes the program off and puts it on again. In between, frames go to the kernel.
    fn attach_anew(&mut self) -> Result<(), NicError> {
        /// The kernel may let go of an attachment a little after its descriptor is closed.
        const DETACHING_TAKES: Duration = Duration::from_secs(1);
        self.program.detach();
        let deadline = Instant::now() + DETACHING_TAKES;
        loop {
            match self.program.attach_again(&self.interface) {
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                done => return done,
            }
        }
    }

    fn add_queue(
        &mut self,
        own: u32,
        counts: &QueueCounts,
        sampler: &mut PortSampler,
        receive: &mut dyn FnMut(usize, Queue),
    ) -> Result<(), NicError> {
        let queue = socket::open(&self.interface, own, self.mode, self.load)?;
        let share = || socket::share(&queue.rings).map_err(|error| self.query(error));
        let (for_steer, for_sampler) = (share()?, share()?);
        // In this order: whoever sees a frame taken knows of the queue.
        let index = counts.add(&self.words, own);
        sampler.add(index, for_sampler);
        receive(index, queue);
        self.program.steer_to(own, &for_steer)?;
        self.interface.rx_queues = own as usize + 1;
        Ok(())
    }

    fn query(&self, error: std::io::Error) -> NicError {
        NicError::Query { interface: self.interface.name.clone(), error }
    }
}

/// Whether the longest probe fits. A card takes frames that are longer by one tag than its MTU says; those with two it need not.
fn check_length(interface: &Interface, options: &Options, tags: Tags) -> Result<(), NicError> {
    let beyond = u32::try_from(tags.length().saturating_sub(ethernet::TAG)).unwrap_or(0);
    match options.shapes.iter().find(|shape| shape.datagram() + beyond > interface.mtu) {
        Some(shape) => {
            Err(NicError::Mtu { interface: interface.name.clone(), mtu: interface.mtu - beyond, shape: *shape })
        }
        None => Ok(()),
    }
}

/// Whether there are not too many queues, and enough for the senders.
fn check_queues(interface: &Interface, options: &Options) -> Result<(), NicError> {
    let name = || interface.name.clone();
    let queues = number(interface.rx_queues);
    if queues > MAX_QUEUES {
        return Err(NicError::Queues { interface: name(), queues, most: MAX_QUEUES });
    }
    let senders = number(options.senders.len());
    let most = queues.min(number(interface.tx_queues));
    if senders > most {
        return Err(NicError::Senders { interface: name(), senders, most });
    }
    Ok(())
}

fn mapped<T: Copy>(program: &Program, map: &'static str, entries: usize) -> Result<Mapped<T>, NicError> {
    let error = |error: std::io::Error| NicError::Live { what: "share its table", reason: error.to_string() };
    Mapped::new(program.descriptor(map)?, entries, true).map_err(error)
}
