//! What probes look like: a template for each source address and payload size, found by next hop.

use super::NicError;
use crate::{
    ledger::Cause,
    route::{Hop, Neighbour},
    wire::{Key, Template},
    worker::Due,
};
use probe_ebpf::layout::LiveTemplate;
use std::{net::Ipv4Addr, sync::Arc};

/// The templates of all probes over a set of next hops.
pub(super) struct Templates {
    pub(super) key: Key,
    pub(super) mac: [u8; 6],
    hops: Arc<[Hop]>,
    payloads: Vec<u16>,
    /// Source by source, each with all payload sizes.
    all: Vec<Template>,
    /// For each hop the first of its source's templates.
    of_hop: Vec<u16>,
}

/// What a sender's probes have in common, whatever their next hop.
#[derive(Clone, Copy)]
pub(super) struct Looks {
    pub(super) mac: [u8; 6],
    pub(super) identifier: u16,
    pub(super) ttl: u8,
    pub(super) key: Key,
}

/// What it takes to write a probe.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// The next hop's address.
    pub(super) mac: [u8; 6],
    /// Index of the template.
    pub(super) template: u16,
}

impl Templates {
    /// The hops' sources are few: `settings` has checked them against steer's limit.
    pub(super) fn new(looks: Looks, hops: Arc<[Hop]>, payloads: &[u16]) -> Result<Self, NicError> {
        let mut sources: Vec<Ipv4Addr> = Vec::new();
        let mut of_hop = Vec::with_capacity(hops.len());
        for hop in hops.iter() {
            let source = sources.iter().position(|known| *known == hop.source).unwrap_or_else(|| {
                sources.push(hop.source);
                sources.len() - 1
            });
            // 16 sources by 1,455 payload sizes at most.
            of_hop.push(u16::try_from(source * payloads.len()).unwrap_or(u16::MAX));
        }
        let all = sources
            .iter()
            .flat_map(|source| payloads.iter().map(|payload| (*source, *payload)))
            .map(|(source, payload)| {
                Template::new(looks.mac, source, looks.identifier, looks.ttl, usize::from(payload))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { key: looks.key, mac: looks.mac, hops, payloads: payloads.to_vec(), all, of_hop })
    }

    /// How to write the probe, or why it can't leave.
    pub(super) fn load(&self, due: &Due) -> Result<Load, Cause> {
        let hop = self.hops.get(due.hop as usize).ok_or(Cause::NoRoute)?;
        let Neighbour::Resolved(mac) = hop.neighbour() else { return Err(Cause::Gateway) };
        let payload = self.payloads.iter().position(|payload| *payload == due.payload);
        debug_assert!(payload.is_some(), "a payload of {} bytes was not announced", due.payload);
        let payload = u16::try_from(payload.ok_or(Cause::Refused)?).map_err(|_| Cause::Refused)?;
        Ok(Load { mac, template: self.of_hop[due.hop as usize] + payload })
    }

    /// Bytes of a frame with this payload.
    pub(super) fn length_of(&self, payload: u16) -> usize {
        let index = self.payloads.iter().position(|known| *known == payload);
        index.and_then(|index| self.all.get(index)).map_or(Template::HEAD, Template::length)
    }

    /// Bytes of the longest frame.
    pub(super) fn longest(&self) -> usize {
        self.all.iter().map(Template::length).max().unwrap_or(0)
    }

    /// All, as the XDP program wants them, by index.
    pub(super) fn live(&self) -> impl Iterator<Item = LiveTemplate> {
        self.all.iter().map(Template::live)
    }

    pub(super) fn get(&self, index: u16) -> &Template {
        &self.all[usize::from(index)]
    }
}
