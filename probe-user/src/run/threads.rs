//! Loop threads: how many, on which CPUs, and doing what.

use super::Failure;
use super::cpus::{self, Cpu};
use crate::{
    nic::{self, MonotonicClock},
    route::Stack,
    worker::{Assembly, Loop},
};
use std::{sync::mpsc, thread::JoinHandle};

/// Up to this many probes a second one thread does everything: it sends, and finds most replies already there when it looks.
const ONE_THREAD: u64 = 20_000;

/// Replies a second that one receiver is given where there are CPUs and queues for more: each takes some 3,000,000, and one that has
/// little to do wakes up all the same.
const ONE_RECEIVER: u64 = 500_000;

/// Who does what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The CPUs of the threads that send; None where it isn't known which CPUs there are.
    pub(super) senders: Vec<Option<usize>>,
    /// The CPUs of those that receive only; empty: the senders receive too.
    others: Vec<usize>,
}

impl Layout {
    /// How many threads receive.
    pub(super) fn receivers(&self) -> usize {
        if self.others.is_empty() { self.senders.len() } else { self.others.len() }
    }

    /// How many loops there are when the queues have been dealt out to `receivers` receivers.
    pub(super) fn loops(&self, receivers: usize) -> usize {
        self.senders.len() + if self.others.is_empty() { 0 } else { receivers }
    }
}

/// For so many probes a second by `engine` through these ports, on the CPUs that this process may use.
pub(super) fn layout(rate: u64, engine: nic::Engine, stack: &Stack) -> Layout {
    // The members of a bond mostly sit on one node: the first speaks for all.
    let cpus = cpus::best_first(stack.ports.first().map_or("", |port| &port.name));
    let one_sender = nic::one_sender(engine, rate, &stack.ports);
    let below = stack.ports.iter().filter_map(|port| nic::cpus_below(engine, port)).min();
    arrange(rate, one_sender, nic::queues(stack) as usize, &cpus, below)
}

/// `cpus`: best first. `below`: only CPUs with lower numbers can send live frames.
fn arrange(rate: u64, one_sender: u64, queues: usize, cpus: &[Cpu], below: Option<usize>) -> Layout {
    let numbers = |cpus: &[Cpu]| cpus.iter().map(|cpu| cpu.number).collect::<Vec<_>>();
    let (fit, rest): (Vec<Cpu>, Vec<Cpu>) =
        cpus.iter().cloned().partition(|cpu| below.is_none_or(|below| cpu.number < below));
    // Where none is, another is tried, and the log says what came of it.
    let able = if fit.is_empty() { cpus.len() } else { fit.len() };
    let cpus = [fit, rest].concat();
    if rate <= ONE_THREAD || cpus.len() < 2 {
        // Low CPU numbers serve most interrupts: out of their way where there is a choice, but no further than the best go.
        let alone = cpus::first_class(&cpus[..able]).last();
        return Layout { senders: vec![alone.map(|cpu| cpu.number)], others: Vec::new() };
    }
    let many = |rate: u64, each: u64| usize::try_from(rate.div_ceil(each)).unwrap_or(usize::MAX);
    let (senders, others) = cpus.split_at(many(rate, one_sender).min(able).min(queues.max(1)));
    let mut others = cpus::apart(others, senders);
    others.truncate(many(rate, ONE_RECEIVER));
    Layout { senders: numbers(senders).into_iter().map(Some).collect(), others: numbers(&others) }
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

/// Starts the loops, and returns once each of them has begun or failed to: who is told then that echolot is ready finds all of its
/// threads by their names, on their CPUs. (One that has only been made still runs under its maker's name, on a busy machine for long.)
pub(super) fn spawn(
    layout: &Layout,
    senders: Vec<nic::Sender>,
    receivers: Vec<nic::Receiver>,
    mut assembly: Assembly<'_>,
) -> Result<Running, Failure> {
    let mut receivers = receivers.into_iter();
    let mut threads = Vec::new();
    let (ready, begun) = mpsc::channel();
    let start = super::now() + crate::base::Nanos::from_millis(1);
    for (engine, cpu) in senders.into_iter().zip(&layout.senders) {
        threads.push(
            if layout.others.is_empty()
                && let Some(queues) = receivers.next()
            {
                thread("loop", *cpu, &ready, assembly.both(engine, queues, MonotonicClock, start))?
            } else {
                thread("sender", *cpu, &ready, assembly.sender(engine, MonotonicClock, start))?
            },
        );
    }
    for (queues, cpu) in receivers.zip(&layout.others) {
        threads.push(thread("receiver", Some(*cpu), &ready, assembly.receiver(queues, MonotonicClock))?);
    }
    drop(ready);
    // Ends when the last has said so, or failed: its end of the channel goes either way.
    begun.iter().for_each(|()| {});
    Ok(Running(threads))
}

fn thread<T, R>(
    name: &str,
    cpu: Option<usize>,
    ready: &mpsc::Sender<()>,
    looping: Loop<MonotonicClock, T, R>,
) -> Result<JoinHandle<Result<(), nic::NicError>>, Failure>
where
    T: crate::worker::Transmit + Send + 'static,
    R: crate::worker::Receive + crate::worker::Rest + Send + 'static,
{
    let ready = ready.clone();
    let body = move || {
        nic::thread::prepare(cpu)?;
        // Nobody listening any more is no matter.
        let _ = ready.send(());
        drop(ready);
        looping.going_first(nic::thread::precedence()).run();
        Ok(())
    };
    Ok(std::thread::Builder::new().name(name.into()).spawn(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_SENDER: u64 = 1_000_000;
    const ONE_COPYING: u64 = 300_000;

    fn cpus(numbers: &[usize]) -> Vec<Cpu> {
        numbers.iter().map(|number| Cpu::plain(*number)).collect()
    }

    fn of(senders: &[usize], others: &[usize]) -> Layout {
        Layout { senders: senders.iter().copied().map(Some).collect(), others: others.to_vec() }
    }

    #[test]
    fn one_thread_does_everything_at_low_rates() {
        assert_eq!(arrange(20_000, ONE_SENDER, 8, &cpus(&[0, 1, 2, 3]), None), of(&[3], &[]));
        assert_eq!(arrange(9_000_000, ONE_SENDER, 8, &cpus(&[5]), None), of(&[5], &[]));
        let unknown = arrange(9_000_000, ONE_SENDER, 8, &cpus(&[]), None);
        assert_eq!((unknown.receivers(), unknown.loops(1)), (1, 1));
        assert_eq!(unknown.senders, [None]);
    }

    #[test]
    fn senders_follow_the_rate_and_the_rest_receive() {
        assert_eq!(arrange(100_000, ONE_SENDER, 8, &cpus(&[0, 1, 2, 3]), None), of(&[0], &[1]), "one is enough");
        assert_eq!(arrange(1_000_000, ONE_SENDER, 2, &cpus(&[0, 1]), None), of(&[0], &[1]));
        assert_eq!(arrange(900_000, ONE_COPYING, 8, &cpus(&[0, 1, 2, 3]), None), of(&[0, 1, 2], &[3]));
        assert_eq!(arrange(2_000_001, ONE_SENDER, 8, &cpus(&[0, 1, 2, 3]), None), of(&[0, 1, 2], &[3]));
        let layout = arrange(2_000_000, ONE_SENDER, 8, &cpus(&[0, 1, 2, 3]), None);
        assert_eq!((layout.receivers(), layout.loops(2)), (2, 4));
    }

    #[test]
    fn with_as_many_senders_as_cpus_each_receives_too() {
        let layout = arrange(u64::MAX, ONE_SENDER, 2, &cpus(&[0, 1]), None);
        assert_eq!(layout, of(&[0, 1], &[]));
        assert_eq!((layout.receivers(), layout.loops(2)), (2, 2));
        assert_eq!(
            arrange(u64::MAX, ONE_SENDER, 2, &cpus(&[0, 1, 2, 3]), None),
            of(&[0, 1], &[2, 3]),
            "no more senders than queues"
        );
    }
    #[test]
    fn senders_keep_to_the_cpus_that_the_driver_takes_frames_from() {
        let six = cpus(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(arrange(1_000, ONE_SENDER, 2, &six, Some(2)), of(&[1], &[]));
        assert_eq!(arrange(3_000_000, ONE_SENDER, 8, &six, Some(2)).senders, [Some(0), Some(1)]);
        assert_eq!(arrange(1_000, ONE_SENDER, 2, &cpus(&[4, 5]), Some(2)), of(&[5], &[]), "there is none");
    }
}
