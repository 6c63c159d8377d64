//! What the targets of a group have in common.

use super::{
    atomic::{AtomicU32, Ordering::Relaxed},
    grown::Grown,
};
use crate::{
    base::{Family, Nanos, ProbeNumber, ShapeIndex, Sources, Ttls},
    targets::{self, Plan},
    wire::{Content, Kind, Shape},
};

/// A group, as those who send and receive know it: what the plan says of it, once for all of them.
#[derive(Debug)]
pub struct Group {
    /// How long a probe may be answered.
    pub timeout: Nanos,
    /// Places in a target's window: a power of two.
    pub places: u32,
    /// Consecutive answered probes after which a target is up, and failed ones after which it is down.
    after: [AtomicU32; 2],
    /// What its probes look like, by [`Family`](crate::base::Family): the first of its flows; the others follow.
    shapes: [ShapeIndex; 2],
    /// The same of what ends a connection that a probe half opened; None: probes open none.
    resets: Option<[ShapeIndex; 2]>,
    /// How many flows its probes walk.
    flows: u16,
    /// How many sources they take in turn, by family.
    turns: [u8; 2],
    /// Its probes are asked for, and their times to live follow from their numbers.
    pub ttls: Option<Ttls>,
    /// What those look like that have a time to live of their own, by that and by family.
    shapes_by_ttl: Box<[[ShapeIndex; 2]]>,
    /// Of probes to a port. Answers bring no send time back: it is kept in the ledger.
    pub ports: Option<Ports>,
}

/// Between which ports the probes of a group go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// The first of its own, counted from the first that is reserved.
    pub first: u16,
    /// How many they are.
    pub count: u16,
    /// Where they go.
    pub to: u16,
    /// What answers bring back.
    pub proof: PortProof,
}

/// By what an answer from a port proves itself, and says which probe it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortProof {
    /// The sequence number of a SYN.
    Sequence,
    /// The identifier of a DNS question.
    Word,
    /// Nothing: the number is told by the port that it comes to.
    None,
}

impl From<Kind> for PortProof {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Tcp { .. } => Self::Sequence,
            Kind::Udp { content: Content::Dns(_), .. } => Self::Word,
            Kind::Udp { content: Content::Bytes(_), .. } | Kind::Echo => Self::None,
        }
    }
}

impl Group {
    /// As the plan has it, whose probes leave from `sources`. `place`: where a shape is among all.
    fn new(group: &targets::Group, sources: &Sources, place: impl Fn(Shape) -> ShapeIndex) -> Self {
        let by_ttl = |ttl: u32| {
            let shape = if ttl == 0 { group.shape } else { group.shape.living(ttl) };
            Family::ALL.map(|family| place(shape.over(family)))
        };
        Self {
            timeout: group.timeout,
            ttls: group.ttls,
            shapes_by_ttl: group.ttls.map_or_else(Box::default, |ttls| (0..ttls.many()).map(by_ttl).collect()),
            places: group.places(),
            after: [group.up_after, group.down_after].map(AtomicU32::new),
            shapes: Family::ALL.map(|family| place(group.shape.over(family))),
            resets: group.shape.then_reset().map(|reset| Family::ALL.map(|family| place(reset.over(family)))),
            flows: group.flow_count(),
            turns: Family::ALL.map(|family| sources.turns(family)),
            ports: group.shape.kind.port().map(|to| Ports {
                first: group.shape.flow,
                count: group.ports(),
                to,
                proof: group.shape.kind.into(),
            }),
        }
    }

    /// Consecutive answered probes after which a target is up.
    #[inline]
    pub fn up_after(&self) -> u32 {
        self.after[0].load(Relaxed)
    }

    /// Consecutive failed probes after which a target is down.
    #[inline]
    pub fn down_after(&self) -> u32 {
        self.after[1].load(Relaxed)
    }

    /// From now on these.
    pub(super) fn judge_after(&self, up: u32, down: u32) {
        self.after[0].store(up, Relaxed);
        self.after[1].store(down, Relaxed);
    }

    /// Whether the ledger keeps when its probes were sent. `timed`: it does so for all.
    pub(super) const fn is_timed(&self, timed: bool) -> bool {
        // Who sends what was asked for keeps those itself, for as long as it is in flight.
        (timed || self.ports.is_some()) && self.ttls.is_none()
    }

    /// Which of its flows the probe of this number belongs to.
    #[inline]
    pub const fn flow_of(&self, number: u64) -> u16 {
        match self.ttls {
            None => ProbeNumber(number).flow(self.flows),
            Some(ttls) => ttls.flow(number, self.flows),
        }
    }

    /// By what the probes to a target that were asked for are told apart while they are in flight: as much of a number as an answer says,
    /// and of those to a port the flow, which the port says.
    #[inline]
    pub const fn key_of(&self, number: u64) -> u32 {
        match self.ports {
            None => (number & 0xffff) as u32,
            Some(_) => Self::key_by_flow((number & 0xff) as u8, self.flow_of(number)),
        }
    }

    /// The same of what an answer says, where a port says the flow.
    #[inline]
    pub const fn key_by_flow(number: u8, flow: u16) -> u32 {
        number as u32 | (flow as u32) << 8
    }

    /// Which of the sources in turn the probe of this number leaves from; None where there is no choice.
    #[inline]
    pub const fn turn_of(&self, family: Family, number: u64) -> Option<u8> {
        match self.turns[family as usize] {
            1 => None,
            turns => Some(ProbeNumber(number).turn(self.flows, turns)),
        }
    }

    /// What the probe of this number looks like.
    #[inline]
    pub fn shape(&self, family: Family, number: u64) -> ShapeIndex {
        ShapeIndex(self.shapes[family as usize].0 + ProbeNumber(number).flow(self.flows))
    }

    /// The same where times to live follow from numbers.
    pub fn shape_by_ttl(&self, family: Family, number: u64) -> ShapeIndex {
        let ttl = self.ttls.map_or(0, |ttls| ttls.of(number));
        let first = self.shapes_by_ttl.get(usize::from(ttl)).unwrap_or(&self.shapes);
        ShapeIndex(first[family as usize].0 + self.flow_of(number))
    }

    /// What the RST behind a probe looks like that was sent from this of the reserved ports, if there may have to be one.
    #[inline]
    pub fn reset(&self, family: Family, port: u16) -> Option<ShapeIndex> {
        let flow = port.checked_sub(self.ports?.first).filter(|flow| *flow < self.flows)?;
        Some(ShapeIndex(self.resets?[family as usize].0 + flow))
    }
}

/// All groups that there have been, and which row of sums belongs to which. Neither is ever another's.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) all: Grown<Group>,
    /// What probes may look like: an index into it is a [`ShapeIndex`].
    shapes: Box<[Shape]>,
    of_rows: Grown<u32>,
    /// For each row, those of the targets that have the same labels, by [`Family`].
    of_families: Grown<[u32; 2]>,
}

impl Groups {
    /// Of the plan.
    pub(super) fn new(plan: &Plan) -> Self {
        let shapes: Box<[Shape]> = plan.shapes().into();
        let group = |group| Group::new(group, &plan.sources, |shape| place(&shapes, shape));
        Self {
            all: plan.groups.iter().map(group).collect(),
            of_families: plan.rows_of_families().into_iter().collect(),
            of_rows: plan.sums.iter().map(|sum| u32::try_from(sum.group).unwrap_or(0)).collect(),
            shapes,
        }
    }

    /// Adds a group, and says which it is. Its shapes must be among those of the start: ask [`Groups::has_shape`].
    pub(super) fn add(&self, group: &targets::Group, sources: &Sources) -> usize {
        self.all.push(Group::new(group, sources, |shape| place(&self.shapes, shape)))
    }

    /// Whether probes may look like this.
    pub(super) fn has_shape(&self, shape: Shape) -> bool {
        self.shapes.binary_search(&shape).is_ok()
    }

    /// Adds a row to a group; `of_families`: those of targets with the same labels.
    pub(super) fn add_row(&self, group: usize, of_families: [u32; 2]) {
        self.of_families.push(of_families);
        self.of_rows.push(u32::try_from(group).unwrap_or(0));
    }

    /// How many rows of sums there are.
    pub(super) fn rows(&self) -> usize {
        self.of_rows.len()
    }

    /// The row of targets that differ from those of a row by their family alone.
    pub(super) fn row_of_family(&self, row: u32, family: Family) -> u32 {
        self.of_families[row as usize][family as usize]
    }

    /// The group that a row of sums belongs to.
    #[inline]
    pub(super) fn of_row(&self, row: u32) -> &Group {
        &self.all[self.of_rows[row as usize] as usize]
    }
}

/// Each group's are among them; far fewer than 65,536 differ in what a file names one by one.
fn place(shapes: &[Shape], shape: Shape) -> ShapeIndex {
    ShapeIndex(u16::try_from(shapes.binary_search(&shape).unwrap_or(0)).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::{Name, Target};
    use std::net::Ipv4Addr;

    #[test]
    fn each_group_names_its_own_shape_among_the_plans() {
        let payloads = [56, 18, 1_472, 56];
        let of = |(start, payload)| targets::Group {
            shape: Shape::echo(payload),
            targets: start..start + 1,
            ..targets::Group::named("g")
        };
        let plan = |target| Plan {
            groups: (0..).zip(payloads).map(of).collect(),
            targets: vec![target; 4],
            ..Plan::default()
        };
        let named = |plan: &Plan, family: Family, most: usize| {
            let (shapes, groups) = (plan.shapes(), Groups::new(plan));
            assert_eq!(shapes.len(), most, "each once");
            groups.all.iter().map(|group| shapes[usize::from(group.shapes[family as usize].0)]).collect::<Vec<_>>()
        };
        let v4 = plan(Target::v4(Ipv4Addr::LOCALHOST, 0));
        assert_eq!(named(&v4, Family::V4, 3), payloads.map(Shape::echo));
        let mut names = plan(Target::unresolved(0));
        names.names = (0..4).map(|target| (target, "host.example".into())).collect();
        assert_eq!(named(&names, Family::V4, 5), payloads.map(Shape::echo));
        let v6 = named(&names, Family::V6, 5);
        assert_eq!([v6[0], v6[1], v6[3]], [56, 18, 56].map(|payload| Shape::echo(payload).over(Family::V6)));
        names.names.insert(2, Name { text: "host.example".into(), family: Some(Family::V6) });
        assert!(!named(&names, Family::V4, 4).contains(&Shape::echo(1_472)), "neither fits");
    }
}
