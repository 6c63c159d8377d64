//! What the targets of a group have in common.

use super::atomic::AtomicU64;
use crate::{
    base::{Family, Nanos, ProbeNumber, ShapeIndex, Ttls},
    targets::Plan,
    wire::{Content, Kind},
};
use crossbeam::utils::CachePadded;
use std::ops::Range;

/// A group, as those who send and receive know it: what the plan says of it, once for all of them.
#[derive(Debug)]
pub struct Group {
    /// Its targets.
    pub targets: Range<u32>,
    /// How long a probe may be answered.
    pub timeout: Nanos,
    /// Places in a target's window: a power of two.
    pub places: u32,
    /// Consecutive answered probes after which a target is up.
    pub up_after: u32,
    /// Consecutive failed probes after which a target is down.
    pub down_after: u32,
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
    /// Targets to a run; the last run may have fewer.
    pub(super) per_run: u32,
    /// The round that each run has come to.
    pub(super) rounds: Box<[CachePadded<AtomicU64>]>,
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

/// All groups, and which row of sums belongs to which.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) all: Box<[Group]>,
    of_rows: Box<[u32]>,
    /// For each row, those of the targets that have the same labels, by [`Family`].
    of_families: Box<[[u32; 2]]>,
}

impl Groups {
    /// Of the plan, whose targets so many threads walk.
    pub(super) fn new(plan: &Plan, senders: usize) -> Self {
        let shapes = plan.shapes();
        // Each group's are among them; far fewer than 65,536 differ in what a file names one by one.
        let place = |shape| ShapeIndex(u16::try_from(shapes.binary_search(&shape).unwrap_or(0)).unwrap_or(u16::MAX));
        let group = |group: &crate::targets::Group| {
            let targets = group.targets.clone();
            let many = targets.end - targets.start;
            let per_run = many.div_ceil(u32::try_from(senders).unwrap_or(1).max(1)).max(1);
            let by_ttl = |ttl: u32| {
                let shape = if ttl == 0 { group.shape } else { group.shape.living(ttl) };
                Family::ALL.map(|family| place(shape.over(family)))
            };
            Group {
                timeout: group.timeout,
                ttls: group.ttls,
                shapes_by_ttl: group.ttls.map_or_else(Box::default, |ttls| (0..ttls.many()).map(by_ttl).collect()),
                places: group.places(),
                up_after: group.up_after,
                down_after: group.down_after,
                shapes: Family::ALL.map(|family| place(group.shape.over(family))),
                resets: group.shape.then_reset().map(|reset| Family::ALL.map(|family| place(reset.over(family)))),
                flows: group.flow_count(),
                turns: Family::ALL.map(|family| plan.sources.turns(family)),
                ports: group.shape.kind.port().map(|to| Ports {
                    first: group.shape.flow,
                    count: group.ports(),
                    to,
                    proof: group.shape.kind.into(),
                }),
                per_run,
                rounds: (0..many.div_ceil(per_run)).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
                targets,
            }
        };
        let mut of_families: Box<[[u32; 2]]> = (0..).take(plan.sums.len()).map(|row| [row; 2]).collect();
        for [v4, v6, unknown] in plan.label_sets.iter().map(|set| set.sums) {
            [v4, v6, unknown].into_iter().for_each(|row| of_families[row as usize] = [v4, v6]);
        }
        Self {
            of_families,
            all: plan.groups.iter().map(group).collect(),
            of_rows: plan.sums.iter().map(|sum| u32::try_from(sum.group).unwrap_or(0)).collect(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        targets::{self, Name, Target},
        wire::Shape,
    };
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
            let (shapes, groups) = (plan.shapes(), Groups::new(plan, 1));
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
