//! A [`Nic`] on the ports beneath an interface: attaching to a bond's members one after the other, and following the bond.

use super::{Nic, NicError, Options, addressing, interface, port::Port};
use crate::route::{Interface, Stack, View};
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What a card that attaching has started anew may take until its bond uses it again: agreeing on a speed takes two to four seconds on
/// copper, LACP up to one more, and then there is the bond's `updelay`.
const RESTART_TAKES: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Attaches to all ports, in their order. Some drivers start their card anew for it: the bond does without that member meanwhile, so the
/// next one's turn comes only when it has it back.
///
/// # Errors
/// Whatever is in the way of a port. Nothing stays behind.
pub(super) fn attach(options: &Options, stack: &Stack) -> Result<Vec<(Port, addressing::Addressing)>, NicError> {
    if !stack.upper.up {
        return Err(NicError::Down { interface: stack.upper.name.clone() });
    }
    let Some(bond) = &stack.bond else {
        return stack.ports.iter().map(|port| Port::attach(options, stack, port)).collect();
    };
    let mut ports = Vec::new();
    for port in &stack.ports {
        if !port.up {
            tracing::warn!("{}: its member {} is down and left out", bond.name, port.name);
            continue;
        }
        let attached = Port::attach(options, stack, port)?;
        tracing::debug!("{}: attached to its member {}", bond.name, port.name);
        ports.push(attached);
        if !wait(port)? {
            tracing::warn!(
                "{}: its member {} has not come back since echolot was attached to it",
                bond.name,
                port.name
            );
        }
    }
    if ports.is_empty() {
        return Err(NicError::Down { interface: bond.name.clone() });
    }
    Ok(ports)
}

/// Waits until the member is as it was before, as far as its carrier and its bond's word go. False if it isn't in time.
pub(super) fn wait(before: &Interface) -> Result<bool, NicError> {
    let usable = |port: &Interface| port.carrier && port.member.is_some_and(|member| member.up);
    if !usable(before) {
        return Ok(true);
    }
    // A driver that starts its card anew has taken the carrier away by the time that attaching is over.
    let begun = Instant::now();
    while !usable(&interface::find(&before.name)?) {
        if begun.elapsed() >= RESTART_TAKES {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

/// The addresses of an interface on all of its ports, for those who follow how they change. Dropping it changes nothing. Control threads
/// share it.
#[derive(Clone)]
pub struct Addressing(Arc<Mutex<Addressed>>);

struct Addressed {
    ports: Vec<OfPort>,
    /// What was set last. None: as at the start.
    last: Option<(Mac, Vec<IpAddr>)>,
}

type Mac = [u8; 6];

struct OfPort {
    addressing: addressing::Addressing,
    /// The port's own, where probes that leave by it carry that.
    mac: Option<Mac>,
}

impl OfPort {
    fn new(stack: &Stack, port: &Interface, addressing: addressing::Addressing) -> Self {
        let source = stack.source_mac(port);
        Self { addressing, mac: stack.follows_members_address().then_some(source) }
    }

    fn set(&mut self, mac: Mac, sources: &[IpAddr]) -> Result<bool, NicError> {
        self.addressing.set(self.mac.unwrap_or(mac), sources.iter().copied())
    }
}

impl Addressing {
    pub(super) fn new<'a>(stack: &Stack, ports: impl Iterator<Item = (&'a Interface, addressing::Addressing)>) -> Self {
        let ports = ports.map(|(port, addressing)| OfPort::new(stack, port, addressing)).collect();
        Self(Arc::new(Mutex::new(Addressed { ports, last: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Addressed> {
        // A panic in between leaves ports that are as they were.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One port more, with the addresses that the others have.
    pub(super) fn join(
        &self,
        stack: &Stack,
        port: &Interface,
        addressing: addressing::Addressing,
    ) -> Result<(), NicError> {
        let mut of_port = OfPort::new(stack, port, addressing);
        let mut addressed = self.lock();
        if let Some((mac, sources)) = &addressed.last {
            of_port.set(*mac, sources)?;
        }
        addressed.ports.push(of_port);
        Ok(())
    }

    /// From now on probes leave from these addresses and, where the interface's MAC address is theirs, from this one; replies to
    /// addresses that are no longer among them are taken for as long as they can be judged. May take some 200 ms a port if it is called
    /// twice within that time. Returns whether anything has changed.
    ///
    /// # Errors
    /// There are too many, or a program's maps can't be written. Then that port is as before.
    pub fn set(&self, mac: Mac, sources: impl IntoIterator<Item = IpAddr>) -> Result<bool, NicError> {
        let sources: Vec<IpAddr> = sources.into_iter().collect();
        let mut addressed = self.lock();
        let mut changed = false;
        for port in &mut addressed.ports {
            changed |= port.set(mac, &sources)?;
        }
        addressed.last = Some((mac, sources));
        Ok(changed)
    }
}

impl Nic {
    /// Indices of the devices that programs and sockets are on.
    pub fn ports(&self) -> Vec<u32> {
        self.ports.iter().map(|port| port.interface.index).collect()
    }

    /// Does as the bond does now: sends by that member, takes nothing where it discards, leaves who has left, and begins to attach to
    /// who has joined ([`Nic::look`] ends that). What can't be done is logged: the other ports go on.
    pub fn follow(&mut self, view: &View) {
        self.want(view.ports.iter());
        let place = view.sends_by.and_then(|index| self.ports.iter().position(|port| port.interface.index == index));
        for port in &mut self.ports {
            if let Some(of_port) = view.ports.iter().find(|of_port| of_port.index == port.interface.index)
                && let Err(error) = port.follow(of_port)
            {
                tracing::error!("{error}");
            }
        }
        // Last: by now the port takes what is answered.
        if let Some(place) = place {
            self.send_by(place);
        }
    }
}
