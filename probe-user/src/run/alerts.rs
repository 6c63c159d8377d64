//! Alerts at work: a thread that looks at what the ledger says of those whose state has changed, and sends what follows from it.
//!
//! Nobody waits for it. Senders say whose state has changed in a queue; where that is full, or other targets are probed than before, the
//! whole ledger is looked at. Requests run beside it on the same thread, the file of what outlives the process is written by another.

use super::{Failure, Source};
use crate::{
    alert::{
        self, Ability, Annotations, CAPACITY, Change, Counts, Fleet, Keeper, Labels, MOST_ALERTS, Moment, Name,
        Outages, Outbox, Settings, StateError, StateFile, Subject, Trouble, Who,
    },
    base::{Family, Nanos, Outcome, RepeatedFault, State, TargetIndex, in_background},
    metrics::{Readiness, Source as _},
    results::{human::counted, rfc3339},
    targets::{Epoch, Epochs, FAMILY, Families, TargetName},
    worker::{Common, STANDS},
};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, SystemTime},
};
use tokio::{sync::oneshot, time::MissedTickBehavior};

/// Between looks.
const TICK: Duration = Duration::from_millis(100);
/// Between looks at this machine itself.
const SECOND: Nanos = Nanos::from_secs(1);
/// While a row is not judged, everybody is looked at again after this.
const WAITING: Nanos = Nanos::from_secs(5);
/// Looking at everybody takes no more than one part in so many of this thread's time.
const SELDOM: u64 = 10;
/// Changes that are looked at at a time.
const AT_ONCE: usize = 1 << 14;
/// Names that an alert of many targets has.
const NAMES: usize = 5;
/// Ends of paths that may wait.
const ENDS: usize = 1_024;
/// At the end the disk is waited for so long.
const LEFT: Duration = Duration::from_secs(2);

/// What is known before anything is probed.
pub(super) struct Starting {
    settings: Settings,
    vantage: Option<String>,
    outboxes: Vec<Arc<Outbox>>,
    state: Option<StateFile>,
    keeper: Keeper,
}

/// Alerts at work.
pub(super) struct Alerting {
    stop: oneshot::Sender<()>,
    ends: Sender<(TargetIndex, String)>,
    thread: JoinHandle<()>,
}

impl Starting {
    /// Takes possession of what an earlier process left. None where nobody is to be told; then that is forgotten.
    ///
    /// # Errors
    /// Another process has it.
    pub(super) fn open(settings: Settings, vantage: Option<String>) -> Result<Option<Self>, Failure> {
        if settings.alertmanagers.is_empty() {
            if let Some(folder) = &settings.state
                && let Err(error) = alert::clear_state(folder)
            {
                tracing::warn!("{}: {error}: alerts of before could not be forgotten", folder.display());
            }
            return Ok(None);
        }
        let mut keeper = Keeper::new(settings.resend);
        let state = match settings.state.as_deref().map(|folder| StateFile::open(folder, super::now)) {
            None => None,
            Some(Ok((state, left))) => {
                keeper.restore(left, moment());
                Some(state)
            }
            Some(Err(error @ StateError::Taken(_))) => return Err(Failure::new(error.to_string())),
            Some(Err(error)) => {
                tracing::error!("{error}");
                None
            }
        };
        let outboxes = settings.alertmanagers.iter().map(|one| Arc::new(Outbox::new(one.name(), CAPACITY))).collect();
        Ok(Some(Self { settings, vantage, outboxes, state, keeper }))
    }

    /// What waits for each of them.
    pub(super) fn outboxes(&self) -> Vec<Arc<Outbox>> {
        self.outboxes.clone()
    }

    /// Begins to look.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn begin(
        self,
        epochs: &Epochs,
        common: &Arc<Common>,
        source: &Arc<Source>,
    ) -> Result<Alerting, Failure> {
        let (ends, told) = bounded(ENDS);
        let (stop, stopped) = oneshot::channel();
        let Self { settings, vantage, outboxes, state, keeper } = self;
        // A file is read and a host looked up for each, both may hang.
        let helpers = 2 * outboxes.len() + 2;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(helpers)
            .thread_name("lookup")
            .build()?;
        let mut engine = Engine {
            vantage: vantage.unwrap_or_default(),
            epochs: epochs.clone(),
            common: Arc::clone(common),
            source: Arc::clone(source),
            outages: Outages::new(settings.individually),
            ability: Ability::default(),
            keeper,
            state,
            outboxes,
            ends: told,
            surveyed: None,
            survey_next: Nanos::ZERO,
            look_next: Nanos::ZERO,
            left_out: RepeatedFault::default(),
        };
        let thread = in_background("alerts", move || {
            runtime.block_on(async {
                for (one, outbox) in settings.alertmanagers.iter().zip(&engine.outboxes) {
                    tokio::spawn(alert::work(one.clone(), Arc::clone(outbox), settings.clone(), super::now));
                }
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    () = engine.work() => {}
                }
            });
            // Whoever is asked at this moment may not answer for long.
            runtime.shutdown_background();
            engine.close();
        })?;
        Ok(Alerting { stop, ends, thread })
    }
}

impl Alerting {
    /// Where it is told at which hop the paths to targets end that are down.
    pub(super) fn ends(&self) -> Sender<(TargetIndex, String)> {
        self.ends.clone()
    }

    /// Ends nothing that fires: who comes next goes on from here, and if nobody does it ends by itself.
    pub(super) fn close(self) {
        // It may have panicked, which has been told.
        let _ended = self.stop.send(());
        let _panicked = self.thread.join();
    }
}

fn moment() -> Moment {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment { at: super::now(), unix_ns: Nanos::from(unix).0 }
}

struct Engine {
    vantage: String,
    epochs: Epochs,
    common: Arc<Common>,
    source: Arc<Source>,
    outages: Outages,
    ability: Ability,
    keeper: Keeper,
    state: Option<StateFile>,
    outboxes: Vec<Arc<Outbox>>,
    ends: Receiver<(TargetIndex, String)>,
    /// The number of the epoch in which everybody was last looked at.
    surveyed: Option<u64>,
    survey_next: Nanos,
    look_next: Nanos,
    left_out: RepeatedFault,
}

impl Engine {
    async fn work(&mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.look(moment());
        }
    }

    fn look(&mut self, now: Moment) {
        let readiness = self.source.readiness();
        // What is in flight at the end says nothing of anybody: all is left as it is.
        if readiness == Readiness::Ending {
            return;
        }
        let probed =
            Probed { epoch: self.epochs.now(), common: Arc::clone(&self.common), vantage: self.vantage.clone() };
        let changes = self.changes(&probed, now);
        self.apply(changes, &probed, now);
        while let Ok((target, end)) = self.ends.try_recv() {
            if let Some(labels) = self.outages.labels_of(target.0, &probed).cloned()
                && let Some(said) = self.keeper.annotations(&labels)
            {
                let said = said.with("path", end);
                self.keeper.fire(&labels, said, now);
            }
        }
        if now.at >= self.look_next {
            self.look_next = now.at + SECOND;
            self.itself(readiness, now);
        }
        self.reword(&probed, now);
        let due = self.keeper.due(now.at);
        if !due.is_empty() {
            self.outboxes.iter().for_each(|outbox| outbox.put(&due));
        }
        if let Some(state) = &self.state
            && let Some(alerts) = self.keeper.changed()
        {
            state.write(alerts);
        }
    }

    /// Looks at whoever may have changed.
    fn changes(&mut self, probed: &Probed, now: Moment) -> Vec<Change> {
        let Some(told) = &self.common.changes else { return Vec::new() };
        if told.some_missed() || self.outages.is_stale() {
            self.surveyed = None;
        }
        let is_due = self.surveyed != Some(probed.epoch.number) || self.outages.is_waiting();
        if is_due && now.at >= self.survey_next {
            let firing: Vec<Labels> = self.keeper.firing().cloned().collect();
            let changes = self.outages.survey(&firing, probed);
            let took = super::now() - now.at;
            let pause = if self.outages.is_waiting() { WAITING.0 } else { 0 };
            (self.surveyed, self.survey_next) =
                (Some(probed.epoch.number), super::now() + Nanos((took.0 * SELDOM).max(pause)));
            return changes;
        }
        // Whoever has changed meanwhile may be another by now: everybody is looked at soon.
        if self.surveyed != Some(probed.epoch.number) {
            return Vec::new();
        }
        let whose = std::iter::from_fn(|| told.whose()).map(|target| target.0).take(AT_ONCE);
        self.outages.look(whose, probed)
    }

    fn apply(&mut self, changes: Vec<Change>, probed: &Probed, now: Moment) {
        for change in changes {
            match change {
                Change::Ends(labels) => self.keeper.resolve(&labels, now),
                Change::Fires(Subject::Target(target), labels) => {
                    self.keeper.fire(&labels, probed.of_target(target, now), now);
                }
                Change::Fires(Subject::Row(row, down), labels) => {
                    let said = probed.of_row(row, down, &self.outages, rfc3339(now.unix_ns));
                    self.keeper.fire(&labels, said, now);
                }
            }
        }
    }

    /// How many are down is said anew each time that it is sent.
    fn reword(&mut self, probed: &Probed, now: Moment) {
        let due: BTreeSet<Labels> =
            self.keeper.about_to_be_sent(now.at).filter(|labels| labels.is(Name::TargetsDown)).cloned().collect();
        if due.is_empty() {
            return;
        }
        let rows: Vec<(u32, u32, Labels)> = self
            .outages
            .alerted_rows()
            .filter(|(_, _, labels)| due.contains(*labels))
            .map(|(row, down, labels)| (row, down, labels.clone()))
            .collect();
        for (row, down, labels) in rows.into_iter().filter(|(_, down, _)| *down > 0) {
            let since =
                self.keeper.annotations(&labels).and_then(|said| said.get("since")).unwrap_or_default().to_owned();
            self.keeper.reword(&labels, probed.of_row(row, down, &self.outages, since));
        }
    }

    /// Whether this machine can measure, and does.
    fn itself(&mut self, readiness: Readiness, now: Moment) {
        let held = self.source.is_held();
        let [settled, unsent, unheard] = self.common.settled();
        let troubles = self.ability.look(held, Counts { settled, unsent, unheard }, now);
        for trouble in Trouble::all() {
            let labels = self.own_labels(Name::CannotMeasure, trouble.name());
            if troubles.contains(&trouble) {
                let said = Annotations::default()
                    .with("summary", format!("{} cannot measure: {}", self.called(), trouble.text()))
                    .with("since", rfc3339(now.unix_ns));
                if !self.keeper.is_firing(&labels) {
                    self.keeper.fire(&labels, said, now);
                }
            } else if matches!(trouble, Trouble::Held(_)) || self.ability.has_judged() {
                self.keeper.resolve(&labels, now);
            }
        }
        let alive = self.own_labels(Name::Alive, "");
        let advances = self.common.turned_at().is_some_and(|turned| now.at - turned < STANDS);
        if readiness == Readiness::Sending && advances && !held.contains(&true) {
            let said = Annotations::default().with("summary", format!("{} measures", self.called()));
            self.keeper.fire(&alive, said, now);
        } else if readiness == Readiness::Sending {
            self.keeper.resolve(&alive, now);
        }
        let rows = self.outages.left_out();
        if rows == 0 {
            self.left_out.over();
        } else if let Some(times) = self.left_out.happened(now.at) {
            let rows = counted(rows as u64, "row");
            tracing::warn!(
                "{MOST_ALERTS} targets have an alert: those of {rows} that are down besides have none{times}"
            );
        }
    }

    fn own_labels(&self, name: Name, reason: &str) -> Labels {
        Labels::new(name, &BTreeMap::new(), [("vantage", &*self.vantage), ("reason", reason)])
    }

    fn called(&self) -> String {
        if self.vantage.is_empty() { "echolot".into() } else { format!("echolot at {}", self.vantage) }
    }

    fn close(mut self) {
        let Some(state) = self.state.take() else { return };
        if let Some(alerts) = self.keeper.changed() {
            state.write(alerts);
        }
        if !state.close(LEFT) {
            tracing::warn!("what fires could not be kept: the disk does not answer");
        }
    }
}

/// Who is probed now, and how they are.
struct Probed {
    epoch: Arc<Epoch>,
    common: Arc<Common>,
    vantage: String,
}

impl Probed {
    /// A target's family, where that tells it from others.
    fn family(&self, target: u32) -> Option<Family> {
        let (plan, index) = (&self.epoch.plan, TargetIndex(target));
        let group = &plan.groups[plan.group_of(index)?];
        let tells = group.family == Families::Both || group.sum_by.iter().any(|name| name == FAMILY);
        let of_address = || self.common.ledger.account(index).address().map(Family::of);
        if tells { of_address().or_else(|| plan.family_of(index)) } else { None }
    }

    fn name(&self, target: u32) -> String {
        self.epoch.plan.name_of(TargetIndex(target)).map(|name| name.to_string()).unwrap_or_default()
    }

    fn of_target(&self, target: u32, now: Moment) -> Annotations {
        let shown = self.common.ledger.account(TargetIndex(target)).shown();
        let (plan, name) = (&self.epoch.plan, self.name(target));
        let group = plan.group_of(TargetIndex(target)).map(|group| &*plan.groups[group].name).unwrap_or_default();
        let mut said = Annotations::default().with("since", rfc3339(now.unix_ns));
        let mut summary = format!("{group} {name} is down");
        if let Some(address) = shown.address.map(|address| address.to_string()) {
            if address != name {
                summary = format!("{group} {name} ({address}) is down");
            }
            said = said.with("address", address);
        }
        let answered = shown.settled[Outcome::Answered as usize];
        if let Some(mean) = shown.rtt_sum.checked_div(answered) {
            said = said.with("mean_rtt", Nanos(mean).to_string());
        }
        if let Some(last) = shown.last_reply {
            said = said.with("last_reply", rfc3339(now.unix_ns.saturating_sub((now.at - last).0)));
        }
        said.with("summary", summary)
    }

    fn of_row(&self, row: u32, down: u32, outages: &Outages, since: String) -> Annotations {
        let plan = &self.epoch.plan;
        let sum = plan.sums.get(row as usize);
        let group = sum.map(|sum| &plan.groups[sum.group]);
        let values = group.zip(sum).map(|(group, sum)| {
            let pair = |(name, value): (&String, &String)| format!("{name} {value}");
            group.sum_by.iter().zip(&sum.values).filter(|(_, value)| !value.is_empty()).map(pair).collect::<Vec<_>>()
        });
        let values = values.filter(|values| !values.is_empty()).map(|values| format!(" ({})", values.join(", ")));
        let name = group.map(|group| &*group.name).unwrap_or_default();
        let names: Vec<String> = outages.down_of(row, self).take(NAMES).map(|target| self.name(target)).collect();
        Annotations::default()
            .with(
                "summary",
                format!("{} of {name}{} are down", counted(down.into(), "target"), values.unwrap_or_default()),
            )
            .with("down", down.to_string())
            .with("targets", names.join(", "))
            .with("since", since)
    }
}

impl Fleet for Probed {
    fn targets(&self) -> impl Iterator<Item = (u32, u32)> {
        let plan = &self.epoch.plan;
        let all = plan.groups.iter().flat_map(|group| plan.members(group));
        all.filter_map(|target| Some((target.0, self.row(target.0)?)))
    }

    fn rows(&self) -> u32 {
        u32::try_from(self.epoch.plan.sums.len()).unwrap_or(u32::MAX)
    }

    fn row(&self, target: u32) -> Option<u32> {
        let index = TargetIndex(target);
        if !self.epoch.plan.has(index) {
            return None;
        }
        let row = self.epoch.sum_of(self.common.ledger.account(index).row() as usize)?;
        u32::try_from(row).ok()
    }

    fn state(&self, target: u32) -> State {
        self.common.ledger.account(TargetIndex(target)).health().state()
    }

    fn labels(&self, target: u32) -> Labels {
        let (plan, name) = (&self.epoch.plan, self.name(target));
        let group = plan.group_of(TargetIndex(target)).map(|group| &*plan.groups[group].name).unwrap_or_default();
        let of = plan.targets.get(target as usize).and_then(|target| plan.label_sets.get(target.label_set as usize));
        let none = BTreeMap::new();
        let family = self.family(target).map(Family::name).unwrap_or_default();
        let own = [("group", group), ("target", &*name), (FAMILY, family), ("vantage", &*self.vantage)];
        Labels::new(
            Name::TargetDown,
            of.map_or(&none, |set| &set.labels),
            own.into_iter().filter(|(_, value)| !value.is_empty()),
        )
    }

    fn row_labels(&self, row: u32) -> Labels {
        let plan = &self.epoch.plan;
        let Some((sum, group)) = plan.sums.get(row as usize).and_then(|sum| Some((sum, plan.groups.get(sum.group)?)))
        else {
            return Labels::new(Name::TargetsDown, &BTreeMap::new(), []);
        };
        let values = group.sum_by.iter().zip(&sum.values).map(|(name, value)| (&**name, &**value));
        let own =
            [("group", &*group.name), ("vantage", &*self.vantage)].into_iter().filter(|(_, value)| !value.is_empty());
        Labels::new(Name::TargetsDown, &group.labels, values.chain(own))
    }

    fn find(&self, wanted: &BTreeSet<Who>) -> HashMap<Who, u32> {
        let (plan, mut found) = (&self.epoch.plan, HashMap::new());
        for group in &plan.groups {
            let mut by_name: HashMap<&str, Vec<&Who>> = HashMap::new();
            let mut by_address: HashMap<IpAddr, Vec<&Who>> = HashMap::new();
            for who in wanted.iter().filter(|who| who.group == group.name) {
                by_name.entry(&who.target).or_default().push(who);
                if let Ok(address) = who.target.parse() {
                    by_address.entry(address).or_default().push(who);
                }
            }
            if by_name.is_empty() {
                continue;
            }
            for target in plan.members(group) {
                let all = match plan.name_of(target) {
                    Some(TargetName::Name(name)) => by_name.get(name),
                    Some(TargetName::Address(address)) => by_address.get(&address),
                    None => None,
                };
                for who in all.into_iter().flatten() {
                    if who.family == self.family(target.0).map(Family::name).unwrap_or_default() {
                        found.insert(Who::clone(who), target.0);
                    }
                }
            }
        }
        found
    }
}
