//! Where the senders of live frames run. The XDP program finds a sender's cursor by the CPU that it runs on, so each needs a CPU of its
//! own, or has to take turns.

use probe_ebpf::layout::MAX_CPUS;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The CPUs of all senders of an interface.
pub(super) struct Seats {
    turns: Box<[Mutex<()>]>,
    /// Of each sender.
    taken: Box<[AtomicUsize]>,
    /// Those that this process may use, the lowest first.
    all: Vec<usize>,
}

impl Seats {
    /// Of senders on these CPUs.
    pub(super) fn new(senders: impl Iterator<Item = usize>) -> Self {
        let mut all: Vec<usize> = usable();
        all.sort_unstable();
        Self {
            turns: (0..MAX_CPUS).map(|_| Mutex::new(())).collect(),
            taken: senders.map(AtomicUsize::new).collect(),
            all,
        }
    }

    /// The CPU's cursor is this caller's until the guard is dropped.
    pub(super) fn take(&self, cpu: usize) -> MutexGuard<'_, ()> {
        // It guards no data of ours that a panic could have left half written.
        self.turns[cpu].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sender is on another CPU now.
    pub(super) fn moved(&self, sender: usize, cpu: usize) {
        if let Some(taken) = self.taken.get(sender) {
            taken.store(cpu, Relaxed);
        }
    }

    /// Other CPUs, in the order in which they are worth trying: without a sender before those with one, low numbers first, because
    /// drivers that have queues for some CPUs only have them for those.
    pub(super) fn elsewhere(&self, than: usize) -> Vec<usize> {
        let is_taken = |cpu: &usize| self.taken.iter().any(|taken| taken.load(Relaxed) == *cpu);
        let others = self.all.iter().copied().filter(|cpu| *cpu != than && *cpu < MAX_CPUS as usize);
        let (taken, free): (Vec<usize>, Vec<usize>) = others.partition(is_taken);
        [free, taken].concat()
    }
}

/// The CPU that the calling thread runs on.
#[inline]
pub(super) fn current() -> usize {
    // SAFETY: takes nothing and returns a number, or -1 on kernels that don't tell.
    usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

/// The CPUs that the calling thread may use.
fn usable() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Whether the calling thread may use the CPU.
pub(super) fn may_use(cpu: usize) -> bool {
    usable().contains(&cpu)
}

/// Pins the calling thread. False if it may not run there.
pub(super) fn pin(cpu: usize) -> bool {
    cpu < libc::CPU_SETSIZE.unsigned_abs() as usize && core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_cpus_come_first_and_low_numbers_before_high_ones() {
        let seats = Seats { all: vec![0, 1, 2, 3, 5_000], ..Seats::new([3, 0].into_iter()) };
        assert_eq!(seats.elsewhere(3), [1, 2, 0]);
        seats.moved(0, 1);
        assert_eq!(seats.elsewhere(1), [2, 3, 0]);
    }

    #[test]
    fn a_thread_learns_where_it_is() {
        std::thread::spawn(|| {
            let cpu = usable()[0];
            assert!(pin(cpu) && may_use(cpu));
            assert_eq!(current(), cpu);
            assert!(!may_use(100_000) && !pin(100_000));
        })
        .join()
        .expect("no panic");
    }
}
