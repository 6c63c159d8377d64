//! The accounts of targets whose numbers follow one another: of up to a million that are there from the start, or of a page of slots for
//! those that come later. Whoever is there stays where he is.

use super::{
    addresses::Addresses,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    group::Group,
    grown::Grown,
    sent::{self, SentTime},
    slot::{Cell, Side},
    window::{PER_WORD, Place},
};
use crate::{
    base::TargetIndex,
    targets::{ACCOUNT_BYTES, INLINE_PLACES, PAGE, Plan, Target},
};
use std::{hint::black_box, ops::Range, sync::Arc};

/// Bits of a target's number that say which of its segment it is. Cells of a whole segment are 64 MiB: large enough for huge pages.
const BITS: u32 = 20;
/// Targets of a whole segment.
pub(super) const TARGETS: u32 = 1 << BITS;

const _: () = assert!(size_of::<Cell>() == 64);

// What the memory of a plan is reckoned with.
const _: () = assert!(size_of::<Cell>() + size_of::<Side>() + Addresses::BYTES_PER_TARGET == ACCOUNT_BYTES);

/// Accounts of targets whose numbers follow one another. A copy shares them.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) cells: Arc<[Cell]>,
    pub(super) sides: Arc<[Side]>,
    columns: Arc<Columns>,
}

/// Slots for targets that come later.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) segment: Segment,
    /// The run that they belong to.
    pub(super) run: AtomicU32,
}

/// What a target has a value of for each place of its window, beside the cells. Groups have windows of different lengths.
#[derive(Debug)]
struct Columns {
    parts: Box<[Part]>,
    /// Words of windows that do not fit a cell.
    windows: Box<[AtomicU64]>,
    /// When probes were sent ([`SentTime`]): where results are wanted, and of kinds whose answers don't say it. The sender writes.
    sent: Box<[AtomicU32]>,
}

/// The targets of a group in a segment.
#[derive(Debug)]
struct Part {
    /// Their numbers within the segment.
    targets: Range<u32>,
    places: u32,
    /// Where the first has its window.
    window: usize,
    /// Where it has its send times, if they are kept.
    sent: Option<usize>,
}

/// Which segment a target of the start is in, and which of its targets it is.
#[inline]
pub(super) const fn place_of(target: u32) -> (usize, usize) {
    ((target >> BITS) as usize, (target & (TARGETS - 1)) as usize)
}

impl Segment {
    /// The targets of `plan` in `range`, whose next hops are `hops`; `timed`: send times are kept.
    pub(super) fn new(plan: &Plan, hops: &[u32], groups: &Grown<Group>, range: Range<u32>, timed: bool) -> Self {
        let all = range.start as usize..range.end as usize;
        let targets = &plan.targets[all.clone()];
        let cell = |(number, target): (u32, &Target)| {
            Cell::new(plan.label_sets[target.label_set as usize].sum(plan.family_of(TargetIndex(number))))
        };
        let side = |(target, hop): (&Target, &u32)| Side::of(target.destination, *hop);
        Self {
            cells: range.clone().zip(targets).map(cell).collect(),
            sides: targets.iter().zip(&hops[all]).map(side).collect(),
            columns: Arc::new(Columns::new(plan, groups, &range, timed)),
        }
    }

    /// A page of slots without targets, for windows of so many places. `timed`: send times are kept.
    pub(super) fn vacant(places: u32, timed: bool) -> Self {
        let slots = 0..PAGE;
        Self {
            cells: slots.clone().map(|_| Cell::new(0)).collect(),
            sides: slots.clone().map(|_| Side::vacant()).collect(),
            columns: Arc::new(Columns::of(std::iter::once((slots, places, timed)))),
        }
    }

    /// Whether nothing of a target is in flight, nor settled with its deadline still to come.
    pub(super) fn is_quiet(&self, index: usize, places: u32) -> bool {
        let cell = &self.cells[index];
        let is_empty = |words: &[AtomicU64]| words.iter().all(|word| word.load(Relaxed) == 0);
        is_empty(&cell.window) && (places <= INLINE_PLACES || is_empty(self.columns.window(index)))
    }

    /// A place in the window of a target that is this one of its segment, if its window does not fit its cell.
    pub(super) fn place(&self, index: usize, bit: u32) -> Place<'_> {
        self.columns.place(index, bit)
    }

    /// The send time of a target's probe, where those are kept.
    #[inline]
    pub(super) fn sent(&self, index: usize, number: u64) -> Option<SentTime<'_>> {
        if self.columns.sent.is_empty() {
            return None;
        }
        let (part, before) = self.columns.part(index);
        let place = (number & u64::from(part.places - 1)) as usize;
        let words = sent::words(part.places);
        let first = part.sent? + before * words;
        Some(SentTime::new(&self.columns.sent[first..first + words], part.places as usize, place))
    }

    /// Fetches what an answer about a target's probe is judged by beside its cell: the address and the send times.
    #[inline]
    pub(super) fn fetch(&self, index: usize) {
        if let Some(side) = self.sides.get(index) {
            black_box(side.address.load(Relaxed));
        }
        if let Some(sent) = self.sent(index, 0) {
            black_box(sent.before(0));
        }
    }

    /// All words in which probes may be pending.
    pub(super) fn windows(&self) -> impl Iterator<Item = &[AtomicU64]> {
        self.cells.iter().map(|cell| &cell.window[..]).chain(std::iter::once(&*self.columns.windows))
    }
}

impl Columns {
    /// For the targets of `plan` in `range`.
    fn new(plan: &Plan, groups: &Grown<Group>, range: &Range<u32>, timed: bool) -> Self {
        Self::of(plan.groups.iter().zip(groups.iter()).filter_map(|(planned, group)| {
            let targets = planned.targets.start.max(range.start)..planned.targets.end.min(range.end);
            let places = group.places;
            let part = || (targets.start - range.start..targets.end - range.start, places, group.is_timed(timed));
            (!targets.is_empty()).then(part)
        }))
    }

    /// For targets with so many places in their windows, whose send times are kept or not.
    fn of(of: impl Iterator<Item = (Range<u32>, u32, bool)>) -> Self {
        let (mut windows, mut sent) = (0, 0);
        let mut parts = Vec::new();
        for (targets, places, is_timed) in of {
            let many = targets.len();
            parts.push(Part { targets, places, window: windows, sent: is_timed.then_some(sent) });
            windows += if places > INLINE_PLACES { many * (places / PER_WORD) as usize } else { 0 };
            sent += if is_timed { many * sent::words(places) } else { 0 };
        }
        Self {
            parts: parts.into(),
            windows: (0..windows).map(|_| AtomicU64::new(0)).collect(),
            sent: (0..sent).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// What part a target is in, and how many targets of it come before.
    #[inline]
    fn part(&self, index: usize) -> (&Part, usize) {
        // Fewer than TARGETS.
        let index = index as u32;
        let part = &self.parts[self.parts.partition_point(|part| part.targets.end <= index)];
        (part, (index - part.targets.start) as usize)
    }

    #[inline]
    fn place(&self, index: usize, bit: u32) -> Place<'_> {
        Place::new(self.window(index), bit)
    }

    #[inline]
    fn window(&self, index: usize) -> &[AtomicU64] {
        let (part, before) = self.part(index);
        let words = (part.places / PER_WORD) as usize;
        let first = part.window + before * words;
        &self.windows[first..first + words]
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{group::Groups, window::pending},
        *,
    };
    use crate::{
        base::Nanos,
        targets::{self, LabelSet, Sum},
    };
    use std::{collections::BTreeMap, net::Ipv4Addr, sync::atomic::Ordering::Relaxed};

    /// Three groups with windows of different lengths, over two segments: nobody's place or send time is another's.
    #[test]
    fn every_probe_has_its_own_place_and_send_time() {
        let group = |name: &str, timeout_ms, targets| targets::Group {
            interval: Nanos::from_millis(10),
            timeout: Nanos::from_millis(timeout_ms),
            targets,
            ..targets::Group::named(name)
        };
        let plan = Plan {
            groups: vec![group("a", 1, 0..7), group("b", 500, 7..19), group("c", 3_000, 19..30)],
            sums: (0..3).map(|group| Sum { group, values: vec![] }).collect(),
            label_sets: (0..3).map(|sum| LabelSet { labels: BTreeMap::default(), sums: [sum; 3] }).collect(),
            targets: (0..30)
                .map(|n| Target::v4(Ipv4Addr::from(n), [0, 1, 2][(n > 6) as usize + (n > 18) as usize]))
                .collect(),
            ..Plan::default()
        };
        let groups = Groups::new(&plan);
        let places: Vec<u32> = groups.all.iter().map(|group| group.places).collect();
        assert!(places[0] <= INLINE_PLACES && places[1] > INLINE_PLACES && places[2] > places[1], "{places:?}");
        let (mut entered, mut set) = (0_u32, Vec::new());
        for range in [0..11, 11..30] {
            let segment = Segment::new(&plan, &[0; 30], &groups.all, range.clone(), true);
            for target in range.clone() {
                let index = (target - range.start) as usize;
                let cell = &segment.cells[index];
                let row = cell.row.load(Relaxed);
                let group = groups.of_row(row);
                assert!(plan.groups[row as usize].targets.contains(&target));
                for number in 0..u64::from(group.places) {
                    let bit = (number & u64::from(group.places - 1)) as u32;
                    let is_wide = group.places > INLINE_PLACES;
                    let place = if is_wide { segment.place(index, bit) } else { Place::new(&cell.window, bit) };
                    place.enter();
                    entered += 1;
                    let sent = segment.sent(index, number).expect("send times are kept");
                    assert_eq!(sent.before(u64::MAX), (0, None), "target {target}, number {number}: nobody else's");
                    sent.set((number & 0xff) as u8, entered.into());
                    let round_later =
                        segment.sent(index, number + u64::from(group.places)).map(|at| at.before(1 << 20));
                    assert_eq!(round_later, Some(((number & 0xff) as u8, Some(entered.into()))), "the same place");
                    set.push((index, number, entered));
                }
            }
            for (index, number, entered) in set.drain(..) {
                let kept = segment.sent(index, number).expect("send times are kept").before(1 << 20);
                assert_eq!(kept, ((number & 0xff) as u8, Some(u64::from(entered))), "nobody has written over it");
            }
            let found: u32 = segment.windows().map(pending).sum();
            let wanted: u32 = range
                .map(|target| plan.groups.iter().position(|g| g.targets.contains(&target)).map_or(0, |g| places[g]))
                .sum();
            assert_eq!(found, wanted, "all pending, each in a place of its own");
        }
        let untimed = Segment::new(&plan, &[0; 30], &groups.all, 0..30, false);
        assert!(untimed.sent(3, 1).is_none());
    }

    #[test]
    fn a_number_leads_to_segment_and_place() {
        assert_eq!(
            [0, TARGETS - 1, TARGETS, 3 * TARGETS + 5].map(place_of),
            [(0, 0), (0, (TARGETS - 1) as usize), (1, 0), (3, 5)]
        );
    }
}
