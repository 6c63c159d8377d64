//! What probes look like: a template for each source address and shape, found by next hop. All of them are replaced at once
//! when an address changes; a sender takes the new ones over before its next batch.

use super::NicError;
use crate::{
    base::{AddressTable, Cause, Family, Nanos, ShapeIndex},
    route::{Hops, Neighbour},
    wire::{Key, Kind, Live, Origin, ProbeFields, Shape, Tags, Template},
    worker::Due,
};
use probe_ebpf::layout::{LIVE_ECHO_V4, LIVE_ECHO_V6, LIVE_TEMPLATES_AT_ONCE, LIVE_WHOLE};
use std::{
    net::IpAddr,
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
};

/// The templates of all probes over a set of next hops.
#[derive(Debug)]
pub(super) struct Templates {
    pub(super) key: Key,
    pub(super) mac: [u8; 6],
    /// Which they are, of those that follow one another.
    generation: u64,
    hops: Arc<Hops>,
    /// What the IPv6 addresses of probes are looked up in.
    pub(super) addresses: Arc<AddressTable>,
    /// Of each shape.
    shapes: Vec<Form>,
    /// Few: mostly one.
    sources: Vec<IpAddr>,
    /// Source by source, each with all shapes. Where the two are of different families, one that nobody asks for.
    all: Vec<Template>,
}

/// What a sender's probes have in common, whatever their next hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    pub(super) mac: [u8; 6],
    pub(super) tags: Tags,
    pub(super) identifier: u16,
    /// The first of the reserved ports.
    pub(super) first_port: u16,
    pub(super) key: Key,
}

/// What all frames of a shape have in common for who sends them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Form {
    pub(super) family: Family,
    /// Bytes, tags included.
    pub(super) length: usize,
    /// As a live frame it is laid by userspace, and only copied in the kernel.
    pub(super) is_whole: bool,
}

impl Form {
    fn new(shape: Shape, tags: Tags) -> Self {
        let length = Template::length_of(shape, tags);
        Self { family: shape.family, length, is_whole: is_whole(shape) }
    }

    /// How the XDP program knows it.
    pub(super) fn live(self) -> u32 {
        match (self.is_whole, self.family) {
            (true, _) => LIVE_WHOLE,
            (false, Family::V4) => LIVE_ECHO_V4,
            (false, Family::V6) => LIVE_ECHO_V6,
        }
    }
}

/// Whether live frames of a shape are laid by userspace: there is no [`Template::live`] of it.
pub(super) fn is_whole(shape: Shape) -> bool {
    shape.kind != Kind::Echo
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
    /// `generation`: one more than that of those before.
    pub(super) fn new(
        common: Common,
        hops: Arc<Hops>,
        addresses: Arc<AddressTable>,
        shapes: &[Shape],
        sources: Vec<IpAddr>,
        generation: u64,
    ) -> Result<Self, NicError> {
        let Common { mac, tags, identifier, first_port, key } = common;
        let flow_key = key.flow_key();
        let all = sources
            .iter()
            .map(|source| Origin { mac, source: *source, identifier, first_port, flow_key })
            .flat_map(|origin| shapes.iter().map(move |shape| (*shape, origin)))
            .map(|(shape, origin)| {
                let family = Family::of(origin.source);
                let shape = if shape.family == family { shape } else { Shape::default().over(family) };
                Template::new(shape, origin).map(|template| template.tagged(tags))
            })
            .collect::<Result<_, _>>()?;
        let shapes = shapes.iter().map(|shape| Form::new(*shape, tags)).collect();
        Ok(Self { key, mac, generation, hops, addresses, shapes, sources, all })
    }

    /// How to write the probe, or why it can't leave.
    pub(super) fn load(&self, due: &Due) -> Result<Load, Cause> {
        let hop = self.hops.get(due.hop).ok_or(Cause::NoRoute)?;
        let Neighbour::Resolved(mac) = hop.neighbour() else { return Err(Cause::Gateway) };
        // An address that went away while the probe was on its way here.
        let source = self.sources.iter().position(|source| *source == hop.source).ok_or(Cause::Source)?;
        // A next hop of the other family leads nowhere.
        if self.form_of(due.shape).family != Family::of(hop.source) {
            return Err(Cause::NoRoute);
        }
        let shape = usize::from(due.shape.0);
        debug_assert!(shape < self.shapes.len(), "shape {shape} was not announced");
        let template = u16::try_from(source * self.shapes.len() + shape).map_err(|_| Cause::Refused)?;
        Ok(Load { mac, template })
    }

    /// What frames of a shape have in common.
    pub(super) fn form_of(&self, shape: ShapeIndex) -> Form {
        let form = self.shapes.get(usize::from(shape.0)).copied();
        form.unwrap_or_else(|| Form::new(Shape::default(), Tags::NONE))
    }

    /// Bytes of the longest frame.
    pub(super) fn longest(&self) -> usize {
        self.shapes.iter().map(|form| form.length).max().unwrap_or(0)
    }

    /// Where the XDP program finds the first of them. Two generations take turns, so that the one in use is never written over.
    pub(super) fn first_live(&self) -> u16 {
        if self.generation.is_multiple_of(2) { 0 } else { LIVE_TEMPLATES_AT_ONCE as u16 }
    }

    /// All, as the XDP program wants them, each with its place there.
    ///
    /// # Errors
    /// There are more than a generation may have.
    pub(super) fn live(&self) -> Result<impl Iterator<Item = (u32, Live)>, NicError> {
        if self.all.len() > LIVE_TEMPLATES_AT_ONCE as usize {
            let (sources, shapes) = (self.sources.len(), self.shapes.len());
            let reason = format!(
                "{sources} source addresses by {shapes} kinds and sizes of probes: it holds {LIVE_TEMPLATES_AT_ONCE} templates"
            );
            return Err(NicError::Live { what: "lay the templates", reason });
        }
        let places = u32::from(self.first_live())..;
        Ok(places.zip(&self.all).filter_map(|(place, template)| Some((place, template.live()?))))
    }

    /// What is written into the frame of a probe by the template of its load.
    #[inline]
    pub(super) fn fields(&self, due: &Due, load: Load, sent: Nanos) -> ProbeFields {
        ProbeFields {
            destination: match self.get(load).family() {
                Family::V4 => due.to.v4().into(),
                Family::V6 => self.addresses.v6(due.to).into(),
            },
            target: due.target,
            generation: due.generation,
            sequence: due.sequence,
            sent,
            next_hop_mac: load.mac,
        }
    }

    /// The template of a [`Load`].
    #[inline]
    pub(super) fn get(&self, load: Load) -> &Template {
        &self.all[usize::from(load.template)]
    }
}

/// The templates of now, for those who write probes by them and for whoever replaces them.
#[derive(Debug)]
pub(super) struct Current {
    latest: Mutex<Arc<Templates>>,
    /// Of the latest: what a sender common at before a batch.
    generation: AtomicU64,
}

impl Current {
    pub(super) fn new(templates: Templates) -> Self {
        let generation = AtomicU64::new(templates.generation);
        Self { latest: Mutex::new(Arc::new(templates)), generation }
    }

    /// As they are laid into the XDP program.
    pub(super) fn live(&self) -> Result<Vec<(u32, Live)>, NicError> {
        let latest = self.latest();
        Ok(latest.live()?.collect())
    }

    fn latest(&self) -> Arc<Templates> {
        // A panic can't have left a pointer half written.
        Arc::clone(&self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From its next batch on every sender writes by these.
    pub(super) fn replace(&self, templates: Templates) {
        let generation = templates.generation;
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(templates);
        self.generation.store(generation, Release);
    }
}

/// A sender's own hold on them.
#[derive(Debug)]
pub(super) struct Held {
    current: Arc<Current>,
    held: Arc<Templates>,
}

impl Held {
    pub(super) fn new(current: Arc<Current>) -> Self {
        let held = current.latest();
        Self { current, held }
    }

    /// Takes over what has replaced them, if anything has: then whatever is laid by a template's index is no longer what it was.
    #[inline]
    pub(super) fn renew(&mut self) -> bool {
        self.current.generation.load(Acquire) != self.held.generation && self.take_latest()
    }

    /// Whoever is just replacing them holds up nobody: then the batch after this one takes them over.
    #[cold]
    fn take_latest(&mut self) -> bool {
        let Ok(latest) = self.current.latest.try_lock() else { return false };
        self.held = Arc::clone(&latest);
        true
    }
}

impl Deref for Held {
    type Target = Templates;

    fn deref(&self) -> &Templates {
        &self.held
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn what_the_program_can_not_build_is_a_whole_frame() {
        let syn = Shape::of(Kind::Tcp { port: 443 });
        for shape in [Shape::default(), Shape::echo(56), syn, Shape { reset: true, ..syn }] {
            for (family, source) in [(Family::V4, Ipv4Addr::LOCALHOST.into()), (Family::V6, Ipv6Addr::LOCALHOST.into())]
            {
                let origin = Origin { mac: [0; 6], source, identifier: 1, first_port: 61_000, flow_key: 0 };
                let template = Template::new(shape.over(family), origin).unwrap();
                assert_eq!(is_whole(shape), template.live().is_none(), "{shape:?}");
            }
        }
    }
}
