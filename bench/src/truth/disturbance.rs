//! When this machine's CPUs were held up: a thread on each asks to be woken time and again, and notes when it wasn't.
//!
//! What such a thread meets (a hypervisor that takes the CPU away, other processes, a long softirq), echolot and the far end
//! meet as well. It can't tell whose doing it was.

use super::judge::HeldUp;
use echolot::{
    base::Nanos,
    nic::{self, MonotonicClock},
    worker::Clock as _,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often each thread looks.
const LOOK: Nanos = Nanos::from_millis(2);
/// Coming later than asked for by so much, it was held up.
const LATE: Nanos = Nanos::from_millis(2);

/// A thread on each CPU that this process may use.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<HeldUp>, String>>>,
}

impl Watch {
    pub(super) fn begin() -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let begin = |cpu| {
            let stop = Arc::clone(&stop);
            let body = move || {
                nic::thread::prepare(Some(cpu)).map_err(|e| e.to_string())?;
                Ok(look(&stop))
            };
            thread::Builder::new().name("watch".into()).spawn(body).map_err(|e| format!("no thread: {e}"))
        };
        let threads = (0..cpus).map(begin).collect::<Result<_, _>>()?;
        Ok(Self { stop, threads })
    }

    /// When any CPU was held up.
    pub(super) fn end(self) -> Result<Vec<HeldUp>, String> {
        self.stop.store(true, Relaxed);
        let mut held_up = Vec::new();
        for thread in self.threads {
            held_up.extend(thread.join().map_err(|_| "the watch ended in a panic")??);
        }
        Ok(held_up)
    }
}

fn look(stop: &AtomicBool) -> Vec<HeldUp> {
    let mut held_up = Vec::new();
    while !stop.load(Relaxed) {
        let before = MonotonicClock.now();
        thread::sleep(Duration::from_nanos(LOOK.0));
        let after = MonotonicClock.now();
        if after - before >= LOOK + LATE {
            held_up.push(HeldUp { from: before.0, to: after.0 });
        }
    }
    held_up
}
