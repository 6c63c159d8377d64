//! Follows the kernel's routes, addresses and rules while probes are under way, and has targets probed by what they say now.
//!
//! On a thread of its own: for a million targets the difference takes a good part of a second. It hears that something changed, waits a
//! moment for the rest of it, asks the kernel for the way to every stretch of addresses, and adopts only what differs:
//!
//! 1. new next hops are added, the old ones still in use, and senders get templates for new sources;
//! 2. the watcher of neighbours resolves them; that is waited for, a quarter of a second at most;
//! 3. the targets are moved, one store each. What is on its way then speaks against nobody;
//! 4. who is used no more is forgotten, and one event tells of it.
//!
//! From the first word to the end no target goes down: see `worker::judge`.
//!
//! Other targets are adopted here too ([`Adopting`]): nobody is probed before it is known which way, and one thread alone says by which hop
//! who is probed.

use super::Failure;
use crate::{
    base::{Nanos, Sources, TargetIndex, in_background},
    nic::Addressing,
    results::{NewWay, Via, human::counted},
    route::{
        self, Changed, Difference, FailedGateways, Follower, Found, Hops, Interface, NO_ROUTE, NO_SOURCE, Neighbour,
        RouteError, Unrouted,
    },
    targets::{self, Counts, PathTargets, Plan},
    worker::{Adopter, Common},
};
use crossbeam::channel::Sender;
use futures_util::FutureExt as _;
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};
use tokio::time::MissedTickBehavior;

/// A change comes in several messages: routes follow addresses, a daemon writes one route after the other.
const GATHER: Duration = Duration::from_millis(20);
/// Word of a change may be under way for so long.
const HEARD_LATE: Nanos = Nanos::from_millis(10);
/// Gateways that are new are waited for, at most; after that their probes are *unsent* until they answer.
const RESOLVE: Duration = Duration::from_millis(250);
const LOOK: Duration = Duration::from_millis(2);
/// The kernel counts how long it keeps a route in hundredths of a second: so much later it surely takes it no more.
const EXPIRED: Nanos = Nanos::from_millis(20);
/// Between two looks while an IPv6 gateway has failed: the kernel asks it again when it is asked for a way, no more often than this
/// (router_probe_interval).
const FAILED: Duration = Duration::from_secs(60);
/// What leaves within this time after targets have moved says nothing against them yet: the other end takes notice in its own time.
const SETTLES: Nanos = Nanos::from_millis(100);
/// Between two tries after netlink has failed: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Where changes never end, asking takes no more than a quarter of this thread's time; but it is asked this often.
const OFTEN: Duration = Duration::from_secs(5);

/// Between looks at whether rows of targets that were given up have ended.
const TIDY: Duration = Duration::from_secs(1);

/// Sources that may take turns.
const TURNS: u8 = Sources::MOST as u8;

/// Names that have an address now: to be probed as soon as it is known which way.
pub(super) type Named = Vec<(TargetIndex, IpAddr)>;

/// Another plan, as it was built, that is to be probed by from now on.
pub(super) struct Adopting {
    pub(super) plan: Plan,
    /// What became of it: how many targets stay, come and go, or why all is as it was, in words for people.
    pub(super) answer: oneshot::Sender<Result<Adopted, String>>,
}

/// What became of another plan.
pub(super) struct Adopted {
    pub(super) counts: Counts,
    /// Slots whose targets are given up.
    pub(super) given_up: Vec<u32>,
}

/// What is told to whoever follows the routes.
pub(super) enum Word {
    Named(Named),
    Adopt(Box<Adopting>),
}

/// What following begins with.
pub(super) struct Parts {
    pub(super) common: Arc<Common>,
    pub(super) adopter: Adopter,
    /// By whom paths are found: they leave by the same way.
    pub(super) kept: PathTargets,
    /// Takes those of them whose target was given up.
    pub(super) give_up_path: Option<Sender<TargetIndex>>,
    pub(super) interface: Interface,
    /// It was named, and not found by its routes.
    pub(super) is_chosen: bool,
    /// It was asked for.
    pub(super) sources: Sources,
    pub(super) addressing: Addressing,
    /// What had no route at the start.
    pub(super) unrouted: Option<Unrouted>,
    /// When the first of the routes ends that are kept for a time, see [`Found::expires`].
    pub(super) expires: Option<Instant>,
}

/// Listens from the moment at which it is made, and follows from the moment at which it is told what. It ends with its channels.
pub(super) struct Rerouting {
    begin: Option<oneshot::Sender<Parts>>,
    words: UnboundedSender<Word>,
    changes: UnboundedReceiver<NewWay>,
}

impl Rerouting {
    /// Listens to the kernel from now on: made before the routes are read, so that no change falls in between.
    ///
    /// # Errors
    /// Netlink failed, or no thread can be made.
    pub(super) fn listen() -> Result<Self, Failure> {
        let (begin, parts) = oneshot::channel();
        let (words, told) = unbounded_channel();
        let (tell, changes) = unbounded_channel();
        let (opened, is_open) = std::sync::mpsc::channel();
        in_background("routes", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(opened.send(Err(Failure::from(error)))),
            };
            runtime.block_on(async {
                let follower = match Follower::open().await {
                    Ok(follower) => follower,
                    Err(error) => return drop(opened.send(Err(Failure::from(error)))),
                };
                let _who_waits = opened.send(Ok(()));
                if let Ok(parts) = parts.await {
                    follow(parts, follower, told, tell).await;
                }
            });
        })?;
        is_open.recv().map_err(|_| Failure::new("the thread that follows routes ended: a bug"))??;
        Ok(Self { begin: Some(begin), words, changes })
    }

    /// From now on what differs is adopted.
    pub(super) fn begin(&mut self, parts: Parts) {
        if let Some(begin) = self.begin.take() {
            // It listens for as long as we are here.
            let _sent = begin.send(parts);
        }
    }

    /// Where to tell of names that have an address now, and of other targets.
    pub(super) fn words(&self) -> UnboundedSender<Word> {
        self.words.clone()
    }

    /// Waits for the next change that was adopted. Nothing is lost if this is dropped while it waits.
    pub(super) async fn changed(&mut self) -> NewWay {
        match self.changes.recv().await {
            Some(change) => change,
            None => std::future::pending().await,
        }
    }
}

struct Ways {
    parts: Parts,
    named: HashMap<TargetIndex, IpAddr>,
    /// Other targets that are about to be adopted.
    coming: Option<Coming>,
    tell: UnboundedSender<NewWay>,
    failed: FailedGateways,
    /// Targets were given up, so some next hop may be used by nobody.
    has_left: bool,
}

/// A plan on its way to being adopted.
struct Coming {
    difference: targets::Difference,
    /// Who comes and has an address: the slot, and which of the slots that somebody comes into it is.
    targets: Vec<(TargetIndex, IpAddr)>,
    answer: oneshot::Sender<Result<Adopted, String>>,
}

/// Nobody follows any more: the ways in use are believed, and no change of state waits for ever.
impl Drop for Ways {
    fn drop(&mut self) {
        self.parts.common.hops.know_until(Nanos::MAX);
    }
}

async fn follow(parts: Parts, follower: Follower, mut words: UnboundedReceiver<Word>, tell: UnboundedSender<NewWay>) {
    let mut ways =
        Ways { parts, named: HashMap::new(), coming: None, tell, failed: FailedGateways::default(), has_left: false };
    let mut follower = Some(follower);
    let mut again = AGAIN.0;
    loop {
        let error = match ways.follow(follower.take(), &mut words, &mut again).await {
            Ok(()) => return,
            Err(error) => error,
        };
        ways.parts.common.hops.know_until(Nanos::MAX);
        ways.refuse_coming(&error.to_string());
        tracing::error!("{error}: changes of routes are not followed, tried again in {} s", again.as_secs());
        tokio::time::sleep(again).await;
        again = (again * 2).min(AGAIN.1);
    }
}

impl Ways {
    /// Until nobody wants it any more. Without a follower there has been an error, and everything is in question.
    async fn follow(
        &mut self,
        follower: Option<Follower>,
        words: &mut UnboundedReceiver<Word>,
        again: &mut Duration,
    ) -> Result<(), RouteError> {
        let mut changed = follower.is_none();
        let mut follower = match follower {
            Some(follower) => follower,
            None => Follower::open().await?,
        };
        let handle = route::connect()?;
        let mut tidying = tokio::time::interval(TIDY);
        tidying.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut late = HEARD_LATE;
            while !changed {
                let expires = self.parts.expires.map_or_else(Instant::now, |moment| moment + EXPIRED.to_duration());
                tokio::select! {
                    heard = follower.heard() => changed = self.concerns(&heard?),
                    // A route that was kept for a time is used no more, and nobody tells.
                    () = tokio::time::sleep_until(expires.into()), if self.parts.expires.is_some() => {
                        late += EXPIRED;
                        changed = true;
                    }
                    word = words.recv() => match word {
                        None => return Ok(()),
                        Some(Word::Named(named)) => {
                            self.named.extend(named);
                            changed = true;
                        }
                        Some(Word::Adopt(adopting)) => {
                            let (began, begun) = (super::now() - late, Instant::now());
                            self.know_until(began);
                            changed = self.comes(*adopting) && !self.look_at_coming(&handle).await?;
                            // Of ten million targets it takes seconds, in which nobody listened.
                            changed |= self.has_come(&mut follower).await?;
                            late += Nanos::from(begun.elapsed());
                            if !changed {
                                self.know_until(Nanos::MAX);
                                late = HEARD_LATE;
                            }
                        }
                    },
                    _ = tidying.tick() => {
                        changed = self.parts.adopter.tidy();
                        self.forget_unused();
                    }
                }
            }
            self.know_until(super::now() - late);
            let gathered = tokio::time::timeout(GATHER, async {
                loop {
                    self.concerns(&follower.heard().await?);
                }
            });
            if let Ok(failed) = gathered.await {
                let failed: Result<(), RouteError> = failed;
                failed?;
            }
            while self.coming.is_none()
                && let Ok(word) = words.try_recv()
            {
                match word {
                    Word::Named(named) => self.named.extend(named),
                    Word::Adopt(adopting) => _ = self.comes(*adopting),
                }
            }
            let (began, begun) = (super::now(), Instant::now());
            self.parts.adopter.tidy();
            let plan = self.parts.adopter.epochs().plan();
            self.named.retain(|target, _| plan.has(*target));
            self.look(&handle).await?;
            // Without a card there is no way to anybody, and those that come have none either: the card's return moves all.
            self.adopt_coming(&[]);
            *again = AGAIN.0;
            changed = false;
            changed |= self.has_come(&mut follower).await?;
            if changed {
                self.know_until(began);
                tokio::time::sleep((begun.elapsed() * 3).min(OFTEN)).await;
            } else {
                self.know_until(Nanos::MAX);
            }
        }
    }

    /// Whether something has changed meanwhile: it is heard once the runtime has looked.
    async fn has_come(&mut self, follower: &mut Follower) -> Result<bool, RouteError> {
        let mut changed = false;
        tokio::task::yield_now().await;
        while let Some(heard) = follower.heard().now_or_never() {
            changed |= self.concerns(&heard?);
        }
        Ok(changed)
    }

    fn know_until(&self, moment: Nanos) {
        self.parts.common.hops.know_until(moment);
    }

    /// Whether what changed may change the way to a target.
    fn concerns(&mut self, changed: &[Changed]) -> bool {
        let mut concerns = false;
        for changed in changed {
            concerns |= match changed {
                Changed::Anywhere => true,
                Changed::To(range) => {
                    self.parts.common.ledger.is_any_in(range)
                        || self.named.values().any(|address| range.contains(address))
                }
                Changed::Neighbour { interface, address, failed } => {
                    *interface == self.parts.interface.index
                        && self.failed.tell(&self.parts.common.hops, *address, *failed)
                }
            };
        }
        concerns
    }

    /// Targets that have an address, those that come behind those that are there. The same ones until others are adopted: who has been
    /// given up, but is still in some walk, is none.
    fn targets<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = (TargetIndex, IpAddr)> + Clone + 'a {
        let ledger = &self.parts.common.ledger;
        let there = plan.groups.iter().flat_map(|group| plan.members(group));
        let addressed = there.filter_map(|target| {
            let address = ledger.account(target).address().or_else(|| self.named.get(&target).copied());
            Some((target, address?))
        });
        addressed.chain(self.coming.iter().flat_map(|coming| coming.targets.iter().copied()))
    }

    /// Other targets are wanted. Whether the way to those that come is to be found.
    fn comes(&mut self, Adopting { plan, answer }: Adopting) -> bool {
        let difference = match self.parts.adopter.difference(plan) {
            Ok(difference) => difference,
            Err(why) => {
                // Who does not want to know any more has gone.
                let _gone = answer.send(Err(why));
                return false;
            }
        };
        let filled = difference.filled.iter().map(|slot| TargetIndex(*slot));
        let targets = filled.filter_map(|target| Some((target, difference.plan.address_of(target)?))).collect();
        self.coming = Some(Coming { difference, targets, answer });
        true
    }

    /// Adopts those that come. `of`: by which hop each that has an address is probed; none where it is not known.
    fn adopt_coming(&mut self, of: &[u32]) {
        let Some(Coming { difference, targets, answer }) = self.coming.take() else { return };
        let given_up = difference.given_up.clone();
        self.has_left |= !given_up.is_empty();
        let mut ways = targets.iter().zip(of).peekable();
        let hop = |slot: &u32| ways.next_if(|((target, _), _)| target.0 == *slot).map_or(NO_ROUTE, |(_, hop)| *hop);
        let hops: Vec<u32> = difference.filled.iter().map(hop).collect();
        let pathless = self.pathless(&difference);
        let counts = self.parts.adopter.adopt(difference, &hops, super::now());
        if counts.is_ok() {
            self.give_up_paths(&given_up, pathless);
        }
        let _gone = answer.send(counts.map(|counts| Adopted { counts, given_up }));
    }

    /// How many come whose paths are to be kept. Whoever finds a path is laid at the start.
    fn pathless(&self, targets::Difference { plan, filled, .. }: &targets::Difference) -> usize {
        let kept = plan.groups.iter().filter(|group| group.path.is_some());
        let runs: Vec<_> = kept.flat_map(targets::Group::runs).collect();
        if runs.is_empty() { 0 } else { filled.iter().filter(|slot| runs.iter().any(|run| run.contains(slot))).count() }
    }

    fn give_up_paths(&self, given_up: &[u32], pathless: usize) {
        let Some(give_up) = &self.parts.give_up_path else { return };
        for by in given_up.iter().filter_map(|slot| self.parts.kept.give_up(TargetIndex(*slot))) {
            // Whoever finds paths may have ended.
            let _ended = give_up.send(by);
        }
        if pathless > 0 {
            tracing::warn!(
                "the paths to {} that came are kept after a restart: whoever finds a path is laid at the start",
                counted(pathless as u64, "target")
            );
        }
    }

    fn refuse_coming(&mut self, why: &str) {
        if let Some(coming) = self.coming.take() {
            let _gone = coming.answer.send(Err(format!("the ways to its targets can't be found: {why}")));
        }
    }

    /// Asks the kernel for the way to those that come, alone, and adopts them. False where that is not enough, and everybody's way is to be
    /// asked for: somebody has no route, or the interface is not as it was.
    async fn look_at_coming(&mut self, handle: &rtnetlink::Handle) -> Result<bool, RouteError> {
        let Parts { common, interface, is_chosen, sources, unrouted, .. } = &self.parts;
        let Some(coming) = self.coming.as_ref().filter(|_| unrouted.is_none() && self.named.is_empty()) else {
            return Ok(false);
        };
        let now = Interface::by_index(handle, interface.index).await?;
        let Some(now) = now.filter(|now| now.up && now.carrier && now.mac == interface.mac) else { return Ok(false) };
        let addresses = coming.targets.iter().map(|(_, address)| *address);
        let found = Found::ask(handle, addresses, interface.index, *is_chosen, sources).await?;
        if found.unrouted.is_some() {
            return Ok(false);
        }
        let expires = found.expires;
        let mut difference = Difference::new(&common.hops, found, coming.targets.iter().map(|_| NO_ROUTE));
        for (used, hop) in difference.used.iter_mut().zip(common.hops.iter()) {
            *used |= hop.is_used();
        }
        self.parts.expires = self.parts.expires.into_iter().chain(expires).min();
        let plan = self.parts.adopter.epochs().plan();
        self.adopt(&plan, difference, now.mac).await;
        Ok(self.coming.is_none())
    }

    /// Next hops by which nobody is probed any more need not be kept resolved.
    fn forget_unused(&mut self) {
        if !self.has_left || self.parts.adopter.are_some_deferred() {
            return;
        }
        self.has_left = false;
        let Common { ledger, hops, .. } = &*self.parts.common;
        let plan = self.parts.adopter.epochs().plan();
        let mut used = vec![false; hops.len()];
        for (target, _) in self.targets(&plan) {
            for (place, _) in hops.turns(ledger.account(target).place_of_hop()) {
                used[place as usize] = true;
            }
        }
        if hops.iter().zip(&used).any(|(hop, used)| hop.is_used() && !used) {
            hops.use_only(|place| used[place]);
        }
    }

    /// Asks the kernel, and adopts what differs.
    async fn look(&mut self, handle: &rtnetlink::Handle) -> Result<(), RouteError> {
        // What is read below says anew.
        self.parts.expires = None;
        let Parts { common, interface, is_chosen, sources, .. } = &self.parts;
        // One that is gone has been told, and nothing can be sent. Of one that is down routes are gone; its return will be heard.
        let Some(now) = Interface::by_index(handle, interface.index).await? else { return Ok(()) };
        if !now.up || !now.carrier {
            return Ok(());
        }
        let plan = self.parts.adopter.epochs().plan();
        let addresses = self.targets(&plan).map(|(_, address)| address);
        let found = Found::ask(handle, addresses, interface.index, *is_chosen, sources).await?;
        let (unrouted, expires) = (found.unrouted.clone(), found.expires);
        let place = |(target, _)| {
            let is_there = plan.has(target) && !self.named.contains_key(&target);
            if is_there { common.ledger.account(target).place_of_hop() } else { NO_ROUTE }
        };
        let difference = Difference::new(&common.hops, found, self.targets(&plan).map(place));
        let again = self.failed.has_any().then(|| Instant::now() + FAILED);
        self.parts.expires = expires.into_iter().chain(again).min();
        self.adopt(&plan, difference, now.mac).await;
        self.tell_unrouted(unrouted);
        Ok(())
    }

    async fn adopt(&mut self, plan: &Plan, difference: Difference, mac: [u8; 6]) {
        let Difference { new, of, used, moves } = difference;
        let is_other_mac = mac != self.parts.interface.mac && mac != [0; 6];
        if moves.is_empty() && self.named.is_empty() && self.coming.is_none() && !is_other_mac {
            return;
        }
        let hops = Arc::clone(&self.parts.common.hops);
        let hops_used = hops.iter().chain(&new).zip(&used).filter(|(_, used)| **used);
        let sources: Vec<IpAddr> = hops_used.map(|(hop, _)| hop.source).collect();
        // Without any, everything is unsent: nothing is changed for that.
        if !sources.is_empty()
            && let Err(error) = self.parts.addressing.set(mac, sources)
        {
            tracing::error!(
                "routes have changed, and their source addresses can't be used: {error}. Probes go on by the old ones"
            );
            return;
        }
        let known = hops.len();
        let before: Vec<bool> = hops.iter().map(route::Hop::is_used).collect();
        for hop in new {
            hops.add(hop);
        }
        hops.use_only(|place| used[place] || before.get(place).copied().unwrap_or_default());
        resolve(&hops, &moves, known).await;
        let coming = self.arrive(plan, &of, &moves, is_other_mac);
        let has_come = self.coming.is_some();
        self.adopt_coming(&coming);
        hops.use_only(|place| used[place]);
        let had_names = !std::mem::take(&mut self.named).is_empty();
        self.tell(&moves, had_names || has_come);
        if is_other_mac {
            self.parts.interface.mac = mac;
            let text = mac.map(|byte| format!("{byte:02x}")).join(":");
            let interface = self.parts.interface.name.clone();
            tracing::info!("{interface} has another MAC address, {text}: probes leave from it");
            // Whoever does not want to know has gone.
            let _gone = self.tell.send(NewWay::Mac { at: super::now(), interface, mac: text });
        }
    }

    /// Moves the targets. Returns by which hops those are to be probed that come.
    fn arrive(&self, plan: &Plan, of: &[u32], moves: &BTreeMap<(u32, u32), usize>, all: bool) -> Vec<u32> {
        let Common { ledger, hops, .. } = &*self.parts.common;
        let until = super::now() + SETTLES;
        if all {
            hops.iter().for_each(|hop| hop.moved(until));
        }
        moves.keys().flat_map(|(_, to)| hops.turns(*to)).for_each(|(_, hop)| hop.moved(until));
        let coming = self.coming.as_ref().map_or(0, |coming| coming.targets.len());
        let (there, coming) = of.split_at(of.len().saturating_sub(coming));
        for ((target, address), place) in self.targets(plan).zip(there) {
            for account in
                std::iter::once(target).chain(self.parts.kept.by(target)).map(|target| ledger.account(target))
            {
                if account.destination().is_none() {
                    account.resolve(address, *place);
                } else if all || account.place_of_hop() != *place {
                    account.move_to(*place);
                }
            }
        }
        coming.to_vec()
    }

    fn tell(&self, moves: &BTreeMap<(u32, u32), usize>, had_names: bool) {
        let hops = &self.parts.common.hops;
        let named = |place: u32, turn: u8| {
            let hop = &hops[hops.in_turn(place, turn).ok()? as usize];
            Some(Via { gateway: (!hop.on_link).then_some(hop.address), source: hop.source })
        };
        // On-link targets are their own hops: they are told as one.
        let mut ways: Vec<(Option<Via>, Option<Via>, usize)> = Vec::new();
        for (&(from, to), many) in moves {
            // Of several sources in turn that of the first whose way is another.
            let of_turns = (0..TURNS).map(|turn| (named(from, turn), named(to, turn)));
            let Some(way) = of_turns.into_iter().find(|(from, to)| from != to) else { continue };
            match ways.iter_mut().find(|(from, to, _)| (from, to) == (&way.0, &way.1)) {
                Some(known) => known.2 += many,
                None => ways.push((way.0, way.1, *many)),
            }
        }
        ways.retain(|(from, to, _)| from.is_some() || to.is_some());
        // Names that have been resolved come from nowhere: no news.
        if had_names && ways.iter().all(|(from, ..)| from.is_none()) {
            return;
        }
        let Some(&(from, to, targets)) = ways.iter().max_by_key(|(.., many)| *many) else { return };
        let others = ways.iter().map(|(.., many)| many).sum::<usize>() - targets;
        let interface = self.parts.interface.name.clone();
        let change = NewWay::Moved { at: super::now(), interface, targets, from, to, others };
        tracing::info!("{change}");
        // Whoever does not want to know has gone.
        let _gone = self.tell.send(change);
    }

    fn tell_unrouted(&mut self, unrouted: Option<Unrouted>) {
        if unrouted == self.parts.unrouted {
            return;
        }
        match &unrouted {
            Some(unrouted) => tracing::warn!("{unrouted}; their probes are unsent"),
            None => tracing::info!("all targets have a route again"),
        }
        self.parts.unrouted = unrouted;
    }
}

/// Waits until the gateways that targets are to move to are resolved, where the way that they leave may still do.
async fn resolve(hops: &Hops, moves: &BTreeMap<(u32, u32), usize>, known: usize) {
    let from_somewhere = moves.keys().filter(|(from, _)| !matches!(*from, NO_ROUTE | NO_SOURCE));
    let open: Vec<&route::Hop> =
        from_somewhere.flat_map(|(_, to)| hops.turns(*to)).map(|(_, hop)| hop).filter(|hop| !hop.on_link).collect();
    let is_resolved = |hop: &&route::Hop| matches!(hop.neighbour(), Neighbour::Resolved(_));
    let begun = Instant::now();
    while !open.iter().all(is_resolved) && begun.elapsed() < RESOLVE {
        tokio::time::sleep(LOOK).await;
    }
    tracing::debug!(new = hops.len() - known, took = ?begun.elapsed(), "next hops resolved");
}
