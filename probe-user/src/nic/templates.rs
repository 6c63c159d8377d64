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
    shapes: Vec<Look>,
    /// How many of them the XDP program builds live frames of.
    built: u32,
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

/// What a shape is to an engine.
#[derive(Clone, Copy, Debug)]
struct Look {
    form: Form,
    /// Which it is of the shapes that the XDP program builds. Whole frames are none: a UDP group has many shapes, and the program's
    /// table of templates is small.
    built: Option<u32>,
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
    pub(super) template: u32,
    /// Where the XDP program has it, if it builds live frames by it; else 0, which nobody asks for.
    pub(super) live: u16,
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
        let mut built = 0;
        let look = |shape: &Shape| {
            let form = Form::new(*shape, tags);
            let place = (!form.is_whole).then_some(built);
            built += u32::from(!form.is_whole);
            Look { form, built: place }
        };
        let shapes = shapes.iter().map(look).collect();
        Ok(Self { key, mac, generation, hops, addresses, shapes, built, sources, all })
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
        let template = u32::try_from(source * self.shapes.len() + shape).map_err(|_| Cause::Refused)?;
        let live = self.shapes.get(shape).and_then(|look| self.live_place(source, *look));
        Ok(Load { mac, template, live: live.and_then(|place| u16::try_from(place).ok()).unwrap_or(0) })
    }

    /// Where the XDP program has the template of a shape for a source; None: it builds no such frames.
    #[inline]
    fn live_place(&self, source: usize, look: Look) -> Option<u32> {
        look.built.map(|built| u32::from(self.first_live()) + source as u32 * self.built + built)
    }

    /// What frames of a shape have in common.
    pub(super) fn form_of(&self, shape: ShapeIndex) -> Form {
        let look = self.shapes.get(usize::from(shape.0));
        look.map_or_else(|| Form::new(Shape::default(), Tags::NONE), |look| look.form)
    }

    /// Bytes of the longest frame.
    pub(super) fn longest(&self) -> usize {
        self.shapes.iter().map(|look| look.form.length).max().unwrap_or(0)
    }

    /// Where the XDP program finds the first of them. Two generations take turns, so that the one in use is never written over.
    fn first_live(&self) -> u16 {
        if self.generation.is_multiple_of(2) { 0 } else { LIVE_TEMPLATES_AT_ONCE as u16 }
    }

    /// Those that the XDP program builds frames by, as it wants them, each with its place there.
    ///
    /// # Errors
    /// There are more than a generation may have.
    pub(super) fn live(&self) -> Result<impl Iterator<Item = (u32, Live)>, NicError> {
        let (sources, shapes) = (self.sources.len(), self.built as usize);
        if sources * shapes > LIVE_TEMPLATES_AT_ONCE as usize {
            let reason = format!(
                "{sources} source addresses by {shapes} kinds, sizes and flows of echo requests: it holds {LIVE_TEMPLATES_AT_ONCE} templates"
            );
            return Err(NicError::Live { what: "lay the templates", reason });
        }
        let of_source = move |source: usize| self.shapes.iter().map(move |look| self.live_place(source, *look));
        let places = (0..sources).flat_map(of_source);
        Ok(places.zip(&self.all).filter_map(|(place, template)| Some((place?, template.live()?))))
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
        &self.all[load.template as usize]
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
    use crate::{
        base::{AddressHandle, Generation, Sequence, TargetIndex},
        route::Hop,
        wire::Content,
    };
    use std::{
        collections::BTreeMap,
        net::{Ipv4Addr, Ipv6Addr},
    };

    /// A group of UDP probes has up to 256 shapes, which are copied; those that the program builds find their templates all the same.
    #[test]
    fn whole_frames_take_no_place_among_the_programs_templates() {
        let udp = Shape::of(Kind::Udp { port: 7, content: Content::of_port(7) });
        let mut shapes = vec![Shape::default()];
        shapes.extend((0..256).map(|flow| Shape { flow, ..udp }));
        shapes.extend([Shape::echo(56), Shape::default().over(Family::V6), udp.over(Family::V6)]);
        let sources: Vec<IpAddr> =
            vec![Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into(), Ipv6Addr::LOCALHOST.into()];
        let nobody = Due {
            target: TargetIndex(0),
            generation: Generation(0),
            sequence: Sequence(0),
            to: AddressHandle(0),
            hop: 0,
            shape: ShapeIndex(0),
        };
        let common = Common { mac: [2; 6], tags: Tags::NONE, identifier: 1, first_port: 61_000, key: Key([1, 2]) };
        let hops: Hops = sources.iter().map(|source| Hop::new(*source, *source, false)).collect();
        hops.iter().for_each(|hop| hop.set(Neighbour::Resolved([4; 6])));
        let hops = Arc::new(hops);
        for generation in [0, 1] {
            let addresses = Arc::new(AddressTable::default());
            let (hops, sources) = (Arc::clone(&hops), sources.clone());
            let templates = Templates::new(common, hops, addresses, &shapes, sources.clone(), generation).unwrap();
            let live: BTreeMap<u32, Live> = templates.live().unwrap().collect();
            let first = generation as u32 * LIVE_TEMPLATES_AT_ONCE;
            assert_eq!(live.keys().copied().collect::<Vec<_>>(), (first..first + 9).collect::<Vec<_>>());
            for ((hop, source), (index, shape)) in
                (0..).zip(&sources).flat_map(|source| (0..).zip(&shapes).map(move |shape| (source, shape)))
            {
                let due = Due { hop, shape: ShapeIndex(index), ..nobody };
                if Family::of(*source) != shape.family {
                    assert_eq!(templates.load(&due).err(), Some(Cause::NoRoute));
                    continue;
                }
                let load = templates.load(&due).unwrap();
                let template = templates.get(load);
                let origin = Origin {
                    mac: [2; 6],
                    source: *source,
                    identifier: 1,
                    first_port: 61_000,
                    flow_key: common.key.flow_key(),
                };
                assert_eq!(format!("{template:?}"), format!("{:?}", Template::new(*shape, origin).unwrap()));
                if let Some(built) = template.live() {
                    assert_eq!(format!("{built:?}"), format!("{:?}", live[&load.live.into()]), "{shape:?}");
                }
            }
        }
        let many = (0..LIVE_TEMPLATES_AT_ONCE as u16 + 1).map(|flow| Shape { flow, ..Shape::default() });
        let addresses = Arc::new(AddressTable::default());
        let templates =
            Templates::new(common, hops, addresses, &many.collect::<Vec<_>>(), sources[..1].to_vec(), 0).unwrap();
        assert!(templates.live().is_err());
    }

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
