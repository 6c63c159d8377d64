//! Joining loops to a network: a card's, or a simulated one.

use super::{
    Asked, Asks, Changes, Clock, Common, HandedOver, Link, Loop, NoQueues, NoTransmit, Receive, Receiver, Resets, Rest,
    Sender, Sink, Taken, Transmit, orders::Orders,
};
use crate::{
    base::Nanos,
    ledger::{Ledger, tally::Tally, unheard::DropLog},
    route::{Hops, NeighbourQueue},
    targets::Plan,
    wire::Key,
};
use std::sync::Arc;

/// What loops are joined to.
pub struct Network {
    /// Proves probes.
    pub key: Key,
    /// The first of the ports that TCP probes are sent from.
    pub first_port: u16,
    /// Next hops, by `Due::hop`.
    pub hops: Arc<Hops>,
    /// How far each receive queue has come.
    pub taken: Arc<dyn Taken>,
    /// The interface's condition.
    pub link: Arc<dyn Link>,
    /// Dropped frames that excuse silence.
    pub drops: Arc<DropLog>,
}

/// What is wanted of loops beside their counts. Nothing, by default.
#[derive(Default)]
pub struct Wanted {
    /// Where results go.
    pub sink: Sink,
    /// Where those go that are asked for one by one.
    pub asked: Sink,
    /// Slow down rather than drop a result.
    pub no_result_dropped: bool,
    /// Changes of state are told.
    pub changes: bool,
    /// And to somebody else whose they are.
    pub watched: bool,
}

/// Makes the loops of a worker one after the other: those that send in the order of their numbers.
pub struct Assembly<'a> {
    plan: &'a Plan,
    common: Arc<Common>,
    sinks: (Sink, Sink),
    neighbours: Option<Arc<NeighbourQueue>>,
    senders: usize,
    loops: usize,
}

impl<'a> Assembly<'a> {
    /// Of so many `loops`, of which `senders` send. `hops` says for each target of the plan by which next hop it is probed, or why by
    /// none.
    pub fn new(
        plan: &'a Plan,
        hops: &[u32],
        network: Network,
        (senders, loops): (usize, usize),
        wanted: Wanted,
    ) -> Self {
        let Network { key, first_port, hops: all, taken, link, drops } = network;
        let ledger = Ledger::new(plan, hops, senders, wanted.sink.is_wanted()).sending_from(first_port);
        let common = Common {
            ledger: Arc::new(ledger),
            key,
            hops: all,
            taken,
            link,
            drops,
            records: wanted.sink.is_wanted(),
            no_result_dropped: wanted.no_result_dropped,
            handed_over: (0..senders).map(|_| HandedOver::default()).collect(),
            resets: (0..senders).map(|_| Resets::default()).collect(),
            asks: (0..senders)
                .map(|_| Asks::new(plan.is_open || plan.groups.iter().any(|group| group.ttls.is_some())))
                .collect(),
            orders: (0..senders).map(|_| Orders::default()).collect(),
            changes: wanted
                .changes
                .then(|| Changes::new(plan.targets.len()))
                .map(|changes| Arc::new(if wanted.watched { changes.watched() } else { changes })),
            tallies: (0..=loops).map(|_| Arc::new(Tally::new(plan.sums.len()))).collect(),
            asked: Asked::new(u32::try_from(senders).unwrap_or(u32::MAX)),
        };
        Self {
            plan,
            common: Arc::new(common),
            sinks: (wanted.sink, wanted.asked),
            neighbours: None,
            senders: 0,
            loops: 0,
        }
    }

    /// Senders say here which neighbours they want to be asked. Without, somebody asks them all unbidden, or nobody does.
    #[must_use]
    pub fn asking(self, neighbours: Option<Arc<NeighbourQueue>>) -> Self {
        Self { neighbours, ..self }
    }

    /// What all loops see.
    pub fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// The next loop, which sends by `engine` from `start` on, and receives by `queues`.
    pub fn both<C: Clock, T: Transmit, R: Receive + Rest>(
        &mut self,
        engine: T,
        queues: R,
        clock: C,
        start: Nanos,
    ) -> Loop<C, T, R> {
        let tally = self.tally();
        let (common, number) = (Arc::clone(&self.common), self.senders);
        self.senders += 1;
        let sender = Sender::new(engine, common, Arc::clone(&tally), self.sinks.clone(), self.plan, number, start);
        self.join(clock, Some(sender.asking(self.neighbours.clone())), queues, tally)
    }

    /// The next loop, which only sends.
    pub fn sender<C: Clock + Clone, T: Transmit>(
        &mut self,
        engine: T,
        clock: C,
        start: Nanos,
    ) -> Loop<C, T, NoQueues<C>>
    where
        NoQueues<C>: Rest,
    {
        self.both(engine, NoQueues(clock.clone()), clock, start)
    }

    /// The next loop, which only receives.
    pub fn receiver<C: Clock, R: Receive + Rest>(&mut self, queues: R, clock: C) -> Loop<C, NoTransmit, R> {
        let tally = self.tally();
        self.join(clock, None, queues, tally)
    }

    fn tally(&mut self) -> Arc<Tally> {
        self.loops += 1;
        Arc::clone(&self.common.tallies[self.loops - 1])
    }

    fn join<C: Clock, T: Transmit, R: Receive + Rest>(
        &self,
        clock: C,
        sender: Option<Sender<T>>,
        queues: R,
        tally: Arc<Tally>,
    ) -> Loop<C, T, R> {
        let receiver = Receiver::new(queues, Arc::clone(&self.common), tally, self.sinks.0.clone());
        Loop::new(clock, Arc::clone(&self.common), sender, receiver)
    }
}
