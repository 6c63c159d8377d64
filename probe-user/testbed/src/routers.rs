//! All routers on the way to all destinations, played by one XDP program at a far end: what `trace` is tested and measured against where
//! chains of namespaces would be too slow. Which routers there are is said by [`RouterRules`], and [`path_of`] goes by the same.

use crate::{
    forms,
    object::{self, failed},
};
use aya::maps::{Array, MapData, PerCpuArray};
use echolot::{
    base::Family,
    nic::{self, Mode, NicError, Program},
};
use probe_ebpf::{
    layout::{OPEN_PORTS_SIZE, OpenPorts},
    routers::{POSITIONS, Path, RULES_SIZE},
    wire::{ethernet, ipv4},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use probe_ebpf::routers::RouterRules;

/// An interface with `routers` attached. Dropping it detaches.
pub struct Routers {
    rules: RouterRules,
    asked: PerCpuArray<MapData, u64>,
    // Held for its drop.
    _program: Program,
}

impl Routers {
    /// Attaches to the interface. Destinations have the TCP ports `tcp` open, and the UDP ports `udp`: 53 answers questions, the others send
    /// back what they get.
    ///
    /// # Errors
    /// Whatever is in the way, by name: see [`NicError`]. Nothing stays behind.
    pub fn attach(interface: &str, rules: RouterRules, tcp: &[u16], udp: &[u16]) -> Result<Self, NicError> {
        let mut program = Program::attach(&nic::find(interface)?, Mode::Auto, &object::source("routers"))?;
        for (name, open) in [("TCP_PORTS", tcp), ("UDP_PORTS", udp)] {
            let mut ports = OpenPorts::CLOSED;
            open.iter().for_each(|port| ports.open(*port));
            let mut map: Array<_, [u8; OPEN_PORTS_SIZE]> = object::take(&mut program, name)?;
            map.set(0, ports.to_bytes(), 0).map_err(|error| failed("write", name, error))?;
        }
        let mut map: Array<_, [u8; RULES_SIZE]> = object::take(&mut program, "ROUTERS")?;
        map.set(0, rules.to_bytes(), 0).map_err(|error| failed("write", "ROUTERS", error))?;
        Ok(Self { rules, asked: object::take(&mut program, "ASKED")?, _program: program })
    }

    /// What it goes by.
    pub const fn rules(&self) -> &RouterRules {
        &self.rules
    }

    /// By position how many probes expired there so far, whether or not they were answered; at 0, how many reached their destinations.
    ///
    /// # Errors
    /// If the program's counters can't be read.
    pub fn asked(&self) -> Result<[u64; POSITIONS as usize], NicError> {
        let mut all = [0; POSITIONS as usize];
        for (position, count) in (0..).zip(&mut all) {
            let values = self.asked.get(&position, 0).map_err(|error| failed("read", "ASKED", error))?;
            *count = values.iter().sum();
        }
        Ok(all)
    }
}

/// Who answers on the way to a destination, by the time to live of the probe, from 1 on: routers (None: one that never does), and at last the
/// destination itself. What is lost by [`RouterRules::lost`] is not in it.
pub fn path_of(rules: &RouterRules, destination: IpAddr) -> Vec<Option<IpAddr>> {
    let path = path(rules, destination);
    let router = |position| {
        let router = path.router(position);
        let address: IpAddr = match destination {
            IpAddr::V4(_) => Ipv4Addr::from(router.v4()).into(),
            IpAddr::V6(_) => Ipv6Addr::from(router.v6()).into(),
        };
        (!rules.is_silent(router)).then_some(address)
    };
    (1..path.distance).map(router).chain([Some(destination)]).collect()
}

/// How a destination is reached, with what [`path_of`] leaves out.
pub const fn path(rules: &RouterRules, destination: IpAddr) -> Path {
    match destination {
        IpAddr::V4(address) => rules.path_v4(address.octets()),
        IpAddr::V6(address) => rules.path_v6(address.octets()),
    }
}

/// What becomes of a probe on its way through routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It arrives, and what its destination says about it comes back with this time to live.
    Arrives(u8),
    /// It expires at this router, whose errors come back with this time to live.
    At(IpAddr, u8),
    /// It is lost, or expires at a router that says nothing.
    Nowhere,
}

/// By the time to live in its frame, which is untagged.
pub fn expiry(rules: &RouterRules, destination: IpAddr, probe: &[u8]) -> Expiry {
    let path = path(rules, destination);
    let Some(((family, message), ttl)) = forms::message_at(probe).zip(forms::ttl(probe)) else {
        return Expiry::Arrives(path.ttl());
    };
    let identification = match family {
        Family::V4 => {
            let at = ethernet::HEADER + ipv4::IDENTIFICATION.start;
            u16::from_be_bytes([probe[at], probe[at + 1]])
        }
        Family::V6 => 0,
    };
    let second = [probe[message + 4], probe[message + 5], probe[message + 6], probe[message + 7]];
    let word = probe_ebpf::routers::word(second, identification);
    let position = u32::from(ttl).max(1);
    if position >= path.distance {
        let is_lost = rules.is_lost(path.bits, path.distance, word);
        return if is_lost { Expiry::Nowhere } else { Expiry::Arrives(path.ttl()) };
    }
    let router = path.router(position);
    if rules.is_silent(router) || rules.is_lost(router.0, position, word) {
        return Expiry::Nowhere;
    }
    let address: IpAddr = match family {
        Family::V4 => Ipv4Addr::from(router.v4()).into(),
        Family::V6 => Ipv6Addr::from(router.v6()).into(),
    };
    Expiry::At(address, rules.ttl_of(router, position))
}
