//! Loop threads: how many, on which CPUs, and doing what.

use crate::{
    cli::Failure,
    nic::{self, MonotonicClock},
    results::Sink,
    targets::Plan,
    worker::{Common, Loop, NoQueues, NoTransmit, Receiver, Sender},
};
use std::{sync::Arc, thread::JoinHandle};

/// Up to this many probes a second one thread does everything: it sends, and finds most replies already there when it looks.
const ONE_THREAD: u64 = 20_000;

/// Who does what.
pub(super) struct Layout {
    /// The CPU of the thread that sends.
    pub(super) sender: Option<usize>,
    /// The CPUs of those that receive only; empty: the sender receives too.
    others: Vec<usize>,
    /// How many threads receive.
    pub(super) receivers: usize,
}

/// For so many probes a second on the CPUs that this process may use.
pub(super) fn layout(rate: u64) -> Layout {
    let cpus: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    match cpus.split_first() {
        Some((first, rest)) if !rest.is_empty() && rate > ONE_THREAD => {
            Layout { sender: Some(*first), others: rest.to_vec(), receivers: rest.len() }
        }
        // Low CPU numbers serve most interrupts: out of their way where there is a choice.
        _ => Layout { sender: cpus.last().copied(), others: Vec::new(), receivers: 1 },
    }
}

/// How many loops there are when the queues have been dealt out to `receivers` receivers.
pub(super) fn loops(layout: &Layout, receivers: usize) -> usize {
    if layout.others.is_empty() { 1 } else { 1 + receivers }
}

/// Loop threads at work.
pub(super) struct Running(Vec<JoinHandle<Result<(), nic::NicError>>>);

impl Running {
    /// Whether all have ended.
    pub(super) fn is_finished(&self) -> bool {
        self.0.iter().all(JoinHandle::is_finished)
    }

    /// Waits for all. An error is one that kept a thread from beginning.
    pub(super) fn join(self) -> Result<(), Failure> {
        for thread in self.0 {
            match thread.join() {
                Ok(ended) => ended?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    }
}

/// Starts the loops.
pub(super) fn spawn(
    layout: &Layout,
    senders: Vec<nic::Sender>,
    receivers: Vec<nic::Receiver>,
    common: &Arc<Common>,
    plan: &Plan,
    sink: &Sink,
) -> Result<Running, Failure> {
    let mut tallies = common.tallies.iter().cloned();
    let mut tally = || tallies.next().ok_or_else(|| Failure::new("there are more loops than tallies: a bug"));
    let mut receivers = receivers.into_iter();
    let mut threads = Vec::new();
    let start = super::now() + crate::time::Nanos::from_millis(1);
    for engine in senders {
        let own = tally()?;
        let receiver = |queues| Receiver::new(queues, Arc::clone(common), Arc::clone(&own), sink.clone());
        let sender = Sender::new(engine, Arc::clone(common), Arc::clone(&own), sink.clone(), plan, 0, start);
        let (cpu, common) = (layout.sender, Arc::clone(common));
        threads.push(
            if layout.others.is_empty()
                && let Some(queues) = receivers.next()
            {
                thread("loop", cpu, Loop::new(MonotonicClock, common, Some(sender), receiver(queues)))?
            } else {
                let receiver = Receiver::new(NoQueues(MonotonicClock), Arc::clone(&common), own, sink.clone());
                thread("sender", cpu, Loop::new(MonotonicClock, common, Some(sender), receiver))?
            },
        );
    }
    for (queues, cpu) in receivers.zip(&layout.others) {
        let receiver = Receiver::new(queues, Arc::clone(common), tally()?, sink.clone());
        let looping = Loop::<_, NoTransmit, _>::new(MonotonicClock, Arc::clone(common), None, receiver);
        threads.push(thread("receiver", Some(*cpu), looping)?);
    }
    Ok(Running(threads))
}

fn thread<T, R>(
    name: &str,
    cpu: Option<usize>,
    mut looping: Loop<MonotonicClock, T, R>,
) -> Result<JoinHandle<Result<(), nic::NicError>>, Failure>
where
    T: crate::worker::Transmit + Send + 'static,
    R: crate::worker::Receive + crate::worker::Rest + Send + 'static,
{
    let body = move || {
        nic::thread::prepare(cpu)?;
        looping.run();
        Ok(())
    };
    Ok(std::thread::Builder::new().name(name.into()).spawn(body)?)
}
