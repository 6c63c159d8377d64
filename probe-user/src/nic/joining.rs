//! Ports that come while a [`Nic`] runs: members that its bond gets, or that were down when it was opened.
//!
//! Attaching may take seconds, because some drivers start their card anew for it. So it is done on a thread of its own, for one port at a
//! time, and nobody notices the port before all of it is there. Until then the bond's follower keeps probes from being sent where
//! their replies could arrive at it ([`crate::route::Members`]).

use super::{
    Nic, NicError, Options,
    counts::QueueCounts,
    drops::PortSampler,
    interface,
    port::Port,
    receive::{self, Incoming},
    sampler::DropSampler,
    sender::Half,
    socket::Load,
    stacked::{self, Addressing},
};
use crate::route::PortView;
use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Between two tries of what did not work.
const AGAIN: Duration = Duration::from_secs(2);

/// What a port that joins is to be like, and to be given to.
#[derive(Clone)]
pub(super) struct Parts {
    /// As the others were opened, with the engine that was chosen.
    pub(super) options: Options,
    pub(super) load: Load,
    pub(super) counts: Arc<QueueCounts>,
    pub(super) incoming: Vec<Incoming>,
    pub(super) addressing: Addressing,
}

/// A port with all that hangs on it.
struct Joined {
    port: Port,
    /// Of each sender.
    halves: Vec<Half>,
    sampler: PortSampler,
}

/// Devices that ports are to be on and are not yet.
pub(super) struct Joining {
    parts: Parts,
    missing: Vec<Missing>,
    trying: Option<(u32, JoinHandle<Result<Joined, NicError>>)>,
}

struct Missing {
    index: u32,
    name: String,
    /// Not before this moment.
    next: Instant,
    /// Why it didn't work, as it was last told.
    told: String,
}

impl Joining {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts, missing: Vec::new(), trying: None }
    }

    /// These are missing now, and no others.
    fn want<'a>(&mut self, missing: impl Iterator<Item = &'a PortView>) {
        let before = std::mem::take(&mut self.missing);
        self.missing = missing
            .map(|port| Missing {
                index: port.index,
                name: port.name.clone(),
                next: Instant::now(),
                told: String::new(),
            })
            .collect();
        for missing in &mut self.missing {
            if let Some(known) = before.iter().find(|known| known.index == missing.index) {
                (missing.next, missing.told) = (known.next, known.told.clone());
            }
        }
    }

    /// Begins with one that is missing, if it is time to. Returns the one that is finished: also if it has left meanwhile, since its
    /// sockets are known to receivers; whoever follows the bond then takes the program off.
    fn step(&mut self) -> Option<Joined> {
        if let Some((index, trying)) = self.trying.take_if(|(_, trying)| trying.is_finished()) {
            let place = self.missing.iter().position(|missing| missing.index == index);
            // A panic is told by the thread that has it.
            match (trying.join(), place) {
                (Ok(Ok(joined)), place) => {
                    place.map(|place| self.missing.swap_remove(place));
                    let Joined { port, .. } = &joined;
                    tracing::info!(
                        "{}: echolot is on its member {} now",
                        self.parts.options.interface,
                        port.interface.name
                    );
                    return Some(joined);
                }
                (Ok(Err(error)), Some(place)) => self.missing[place].put_off(&self.parts.options.interface, &error),
                _ => {}
            }
        }
        let now = Instant::now();
        if self.trying.is_none()
            && let Some(missing) = self.missing.iter_mut().find(|missing| missing.next <= now)
        {
            missing.next = now + AGAIN;
            let (parts, index, name) = (self.parts.clone(), missing.index, missing.name.clone());
            self.trying = Some((index, std::thread::spawn(move || join(&parts, index, &name))));
        }
        None
    }
}

impl Missing {
    /// Tells why, once, and tries again later.
    fn put_off(&mut self, bond: &str, error: &NicError) {
        let error = error.to_string();
        if self.told != error {
            tracing::error!(
                "{bond}: echolot can't use its member {}: {error}. While replies may arrive there probes are unsent; it is tried again \
                 every {} s",
                self.name,
                AGAIN.as_secs()
            );
            self.told = error;
        }
        self.next = Instant::now() + AGAIN;
    }
}

/// All that makes a port, from the first step to the last.
fn join(parts: &Parts, index: u32, name: &str) -> Result<Joined, NicError> {
    let options = &parts.options;
    // As everything is now, and not as it was at the start.
    let stack = interface::stack(&options.interface, options.mode)?;
    let member = stack.ports.iter().find(|port| port.index == index);
    let member = member.ok_or_else(|| NicError::NoInterface { interface: name.to_owned() })?;
    let (mut port, mut addressing) = Port::attach(options, &stack, member)?;
    stacked::wait(member)?;
    port.bind(options, parts.load)?;
    let (engine, _) = port.engine(options)?;
    let halves = port.halves(options, &mut addressing, engine)?;
    parts.addressing.join(&stack, &port.interface, addressing)?;
    // Last: from here on receivers know of its sockets.
    port.listen(&parts.counts, &mut |index, queue| receive::deal(&parts.incoming, index, queue))?;
    let sampler = port.sampler(&parts.counts)?;
    Ok(Joined { port, halves, sampler })
}

impl Nic {
    /// From now on these members are tried to be had, beside those there are.
    pub(super) fn want<'a>(&mut self, ports: impl Iterator<Item = &'a PortView>) {
        let Self { joining, ports: had, .. } = self;
        joining.want(ports.filter(|port| {
            port.is_member && !port.is_ours && !had.iter().any(|had| had.interface.index == port.index)
        }));
    }

    /// Takes over a port that is ready.
    pub(super) fn take_over(&mut self, sampler: &mut DropSampler) {
        if let Some(Joined { port, halves, sampler: of_port }) = self.joining.step() {
            sampler.0.push(of_port);
            self.links.push(port.link());
            self.new_halves.iter().zip(halves).for_each(|(new, half)| new.push(half));
            self.ports.push(port);
        }
    }
}
