use super::*;
use proptest::prelude::*;

const LIMIT: u32 = 3;

/// Targets in rows, each with the version of its labels; None: nobody has the slot.
#[derive(Clone, Default)]
struct Plain {
    targets: Vec<Option<(u32, State, u8)>>,
}

fn target_labels(target: u32, version: u8) -> Labels {
    let of = [("version".to_owned(), version.to_string())].into();
    Labels::new(Name::TargetDown, &of, [("group", "g"), ("target", &*target.to_string())])
}

fn row_labels(row: u32) -> Labels {
    Labels::new(Name::TargetsDown, &BTreeMap::new(), [("group", "g"), ("row", &*row.to_string())])
}

impl Fleet for Plain {
    fn targets(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..).zip(&self.targets).filter_map(|(number, target)| Some((number, (*target)?.0)))
    }
    fn rows(&self) -> u32 {
        3
    }
    fn row(&self, target: u32) -> Option<u32> {
        Some((*self.targets.get(target as usize)?)?.0)
    }
    fn state(&self, target: u32) -> State {
        self.targets[target as usize].expect("a target").1
    }
    fn labels(&self, target: u32) -> Labels {
        target_labels(target, self.targets[target as usize].expect("a target").2)
    }
    fn row_labels(&self, row: u32) -> Labels {
        row_labels(row)
    }
    fn find(&self, wanted: &BTreeSet<Who>) -> HashMap<Who, u32> {
        let number = |who: &Who| who.target.parse().ok().filter(|number| self.row(*number).is_some());
        wanted.iter().filter_map(|who| Some((who.clone(), number(who)?))).collect()
    }
}

impl Plain {
    fn new(targets: u32) -> Self {
        Self { targets: (0..targets).map(|target| Some((target % 3, State::Unknown, 0))).collect() }
    }

    fn set(&mut self, target: u32, state: State) {
        self.targets[target as usize].as_mut().expect("a target").1 = state;
    }
}

/// What fires, by the changes that were told; a change that changes nothing is a bug.
#[derive(Clone, Default, Debug)]
struct Told(BTreeSet<Labels>);

impl Told {
    fn hear(&mut self, changes: Vec<Change>) -> usize {
        let many = changes.len();
        for change in changes {
            match change {
                Change::Fires(_, labels) => assert!(self.0.insert(labels.clone()), "{labels:?} fires already"),
                Change::Ends(labels) => assert!(self.0.remove(&labels), "{labels:?} does not fire"),
            }
        }
        many
    }

    fn names(&self) -> Vec<String> {
        let name = |labels: &Labels| match labels.get("row") {
            "" => labels.get("target").to_owned(),
            row => format!("row {row}"),
        };
        self.0.iter().map(name).collect()
    }
}

fn began(fleet: &Plain) -> (Outages, Told) {
    let (mut outages, mut told) = (Outages::new(LIMIT), Told::default());
    assert!(outages.is_stale());
    told.hear(outages.survey([], fleet));
    assert!(!outages.is_stale());
    (outages, told)
}

#[test]
fn few_have_an_alert_each_and_many_one_more() {
    let mut fleet = Plain::new(60);
    let (mut outages, mut told) = began(&fleet);
    for target in [9, 3, 0] {
        fleet.set(target, State::Down);
        told.hear(outages.look([target], &fleet));
    }
    assert_eq!(told.names(), ["0", "3", "9"]);
    for target in (0..60).step_by(3) {
        fleet.set(target, State::Down);
    }
    // In one look, and the same ones again.
    assert_eq!(told.hear(outages.look((0..60).step_by(3), &fleet)), 1);
    assert_eq!(told.hear(outages.look((0..60).step_by(3), &fleet)), 0);
    assert_eq!(told.names(), ["0", "3", "9", "row 0"]);
    assert_eq!((outages.many_down(0), outages.many_down(1)), (20, 0));
    assert_eq!(outages.down_of(0, &fleet).take(3).collect::<Vec<_>>(), [0, 3, 6]);
    // Who recovers has none any more, and nobody else gets one while many are down.
    fleet.set(3, State::Up);
    told.hear(outages.look([3], &fleet));
    assert_eq!(told.names(), ["0", "9", "row 0"]);
    for target in (12..60).step_by(3) {
        fleet.set(target, State::Up);
        told.hear(outages.look([target], &fleet));
    }
    assert_eq!(told.names(), ["0", "6", "9"], "whoever is down has one again, and the row has none");
}

#[test]
fn an_outage_that_nobody_has_seen_begin_is_one_alert() {
    let mut fleet = Plain::new(60);
    (0..60).step_by(3).for_each(|target| fleet.set(target, State::Down));
    fleet.set(1, State::Down);
    let (_, told) = began(&fleet);
    assert_eq!(told.names(), ["1", "row 0"]);
}

#[test]
fn what_fired_goes_on_until_it_has_been_judged() {
    let mut fleet = Plain::new(60);
    let (mut outages, mut told) = began(&fleet);
    let down: Vec<u32> = (0..60).step_by(3).chain([1]).collect();
    down.iter().for_each(|target| fleet.set(*target, State::Down));
    told.hear(outages.look(down.iter().copied(), &fleet));
    let before = told.0.clone();
    assert_eq!(told.names(), ["0", "1", "3", "6", "row 0"]);

    // Another process, which has judged nobody.
    let mut fleet = Plain::new(60);
    let mut outages = Outages::new(LIMIT);
    assert_eq!(told.hear(outages.survey(&before, &fleet)), 0);
    assert!(outages.is_waiting());
    // The last of them has no address.
    fleet.set(57, State::Unresolved);
    fleet.set(0, State::Up);
    fleet.set(3, State::Down);
    told.hear(outages.look([0, 3, 57], &fleet));
    assert_eq!(told.names(), ["1", "3", "6", "row 0"]);
    (6..57).step_by(3).for_each(|target| fleet.set(target, State::Up));
    told.hear(outages.look((6..57).step_by(3), &fleet));
    assert_eq!(told.names(), ["1", "3", "row 0"], "who was not judged then is not known here");
    told.hear(outages.survey(&told.0.clone(), &fleet));
    assert_eq!(told.names(), ["1", "3"]);
    assert!(!outages.is_waiting());
}

#[test]
fn who_is_removed_or_relabelled_ends_his_alert() {
    let mut fleet = Plain::new(6);
    let (mut outages, mut told) = began(&fleet);
    for target in [0, 1, 2] {
        fleet.set(target, State::Down);
    }
    told.hear(outages.look([0, 1, 2], &fleet));
    fleet.targets[0] = None;
    // Others labels, and of another row.
    fleet.targets[1] = Some((2, State::Down, 1));
    // It begins anew, and has not been judged.
    fleet.targets[2] = Some((2, State::Unknown, 0));
    told.hear(outages.survey(&told.0.clone(), &fleet));
    assert_eq!(told.0, [target_labels(1, 1), target_labels(2, 0)].into());
    assert_eq!((outages.many_down(2), outages.many_down(1)), (2, 0));
    fleet.set(2, State::Up);
    told.hear(outages.look([0, 1, 2], &fleet));
    assert_eq!(told.0, [target_labels(1, 1)].into());
    // A row that is there no more.
    let gone = row_labels(7);
    told.0.insert(gone.clone());
    assert_eq!(outages.survey(&told.0.clone(), &fleet), [Change::Ends(gone)]);
}

/// A row each: nobody would read as many alerts.
#[test]
fn there_are_never_more_than_so_many_and_who_found_no_room_gets_one_later() {
    struct Rows(Vec<State>);
    impl Fleet for Rows {
        fn targets(&self) -> impl Iterator<Item = (u32, u32)> {
            (0..).take(self.0.len()).map(|number| (number, number))
        }
        fn rows(&self) -> u32 {
            u32::try_from(self.0.len()).expect("few")
        }
        fn row(&self, target: u32) -> Option<u32> {
            Some(target)
        }
        fn state(&self, target: u32) -> State {
            self.0[target as usize]
        }
        fn labels(&self, target: u32) -> Labels {
            target_labels(target, 0)
        }
        fn row_labels(&self, row: u32) -> Labels {
            row_labels(row)
        }
        fn find(&self, _: &BTreeSet<Who>) -> HashMap<Who, u32> {
            HashMap::new()
        }
    }
    let mut fleet = Rows(vec![State::Down; 2 * MOST_ALERTS]);
    let (mut outages, mut told) = (Outages::new(1), Told::default());
    told.hear(outages.survey([], &fleet));
    assert_eq!((told.0.len(), outages.left_out()), (MOST_ALERTS, MOST_ALERTS));
    (0..MOST_ALERTS).for_each(|target| fleet.0[target] = State::Up);
    told.hear(outages.look(0..u32::try_from(MOST_ALERTS).expect("few"), &fleet));
    assert_eq!((told.0.len(), outages.left_out()), (MOST_ALERTS, 0));
    assert!(told.0.contains(&target_labels(19_999, 0)));
}

/// The rule as it is written, over all targets each time.
#[derive(Clone, Default)]
struct Model {
    down: BTreeSet<u32>,
    alerted: BTreeSet<u32>,
}

impl Model {
    fn look(&mut self, target: u32, fleet: &Plain) {
        let Some((row, state, _)) = fleet.targets[target as usize] else { return };
        match state {
            State::Up => {
                self.down.remove(&target);
                self.alerted.remove(&target);
            }
            State::Down if self.down.insert(target) && self.many(row, fleet) <= LIMIT as usize => {
                self.alerted.insert(target);
            }
            _ => {}
        }
    }

    fn many(&self, row: u32, fleet: &Plain) -> usize {
        self.down.iter().filter(|target| fleet.row(**target) == Some(row)).count()
    }

    fn expected(&mut self, fleet: &Plain) -> BTreeSet<Labels> {
        let mut expected = BTreeSet::new();
        for row in 0..3 {
            if self.many(row, fleet) > LIMIT as usize {
                expected.insert(row_labels(row));
            } else {
                self.alerted.extend(self.down.iter().filter(|target| fleet.row(**target) == Some(row)));
            }
        }
        expected.extend(self.alerted.iter().map(|target| fleet.labels(*target)));
        expected
    }
}

proptest! {
    #[test]
    fn agrees_with_the_rule_read_over_all(
        story in proptest::collection::vec(proptest::collection::vec((0u32..24, 0usize..4), 0..12), 1..40),
        surveys in any::<u64>(),
    ) {
        let mut fleet = Plain::new(24);
        let (mut outages, mut told) = began(&fleet);
        let mut model = Model::default();
        for (number, changes) in story.into_iter().enumerate() {
            let targets: Vec<u32> = changes.iter().map(|(target, _)| *target).collect();
            for (target, state) in changes {
                fleet.set(target, State::ALL[state]);
            }
            // Who may have changed is named, some of them twice.
            targets.iter().for_each(|target| model.look(*target, &fleet));
            told.hear(outages.look(targets, &fleet));
            prop_assert_eq!(&told.0, &model.expected(&fleet));
            if surveys >> (number % 64) & 1 == 1 {
                // Whoever is held to be down without having been judged, and has no alert, is not known from alerts.
                for target in 0..24 {
                    if model.down.contains(&target) && !matches!(fleet.state(target), State::Down) {
                        fleet.set(target, State::Down);
                    }
                }
                let firing = told.0.clone();
                told.hear(outages.survey(&firing, &fleet));
                prop_assert_eq!(&told.0, &model.expected(&fleet), "nothing has changed");
                prop_assert!(!outages.is_stale());
            }
        }
    }

    /// Targets that come, go, are relabelled, and processes that end: who fires is down or unjudged, with the labels that it has.
    #[test]
    fn nobody_fires_who_is_not_there_or_is_up(
        story in proptest::collection::vec((0u32..24, 0usize..4, 0u32..3, 0u8..2, 0u8..4), 1..60),
    ) {
        let mut fleet = Plain::new(24);
        let (mut outages, mut told) = began(&fleet);
        for (target, state, row, version, what) in story {
            match what {
                0 => fleet.targets[target as usize] = None,
                1 => fleet.targets[target as usize] = Some((row, State::ALL[state], version)),
                2 => {
                    outages = Outages::new(LIMIT);
                    fleet.targets.iter_mut().flatten().for_each(|target| target.1 = State::Unknown);
                }
                _ => {
                    if fleet.row(target).is_some() {
                        fleet.set(target, State::ALL[state]);
                        told.hear(outages.look([target], &fleet));
                    }
                }
            }
            if what < 3 {
                let firing = told.0.clone();
                told.hear(outages.survey(&firing, &fleet));
            }
            for labels in &told.0 {
                if let Some(who) = labels.who() {
                    let target: u32 = who.target.parse().expect("a number");
                    prop_assert_eq!(labels, &fleet.labels(target));
                    prop_assert_ne!(fleet.state(target), State::Up);
                }
            }
            for (target, row) in fleet.targets() {
                let has_alert = told.0.contains(&fleet.labels(target)) || told.0.contains(&row_labels(row));
                prop_assert!(fleet.state(target) != State::Down || has_alert, "{target} is down");
            }
        }
    }
}
