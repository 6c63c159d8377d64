//! The far end's record: from its loop through a queue to a file, and nothing gets lost unnoticed.

use crossbeam::queue::ArrayQueue;
use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use testbed::witness::{Witnessed, write_end};

/// Records that may wait: a second at 130,000 a second.
const WAITING: usize = 1 << 17;
const NAP: Duration = Duration::from_millis(2);

struct Shared {
    queue: ArrayQueue<Witnessed>,
    lost: AtomicU64,
    ended: AtomicBool,
}

/// Where the loop puts its records.
pub(super) struct Recorder(Arc<Shared>);

impl Recorder {
    pub(super) fn write(&self, record: Witnessed) {
        if self.0.queue.push(record).is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many records it takes now. Half the queue is for those that can't wait.
    pub(super) fn room(&self) -> usize {
        (WAITING / 2).saturating_sub(self.0.queue.len())
    }

    /// Requests of which there will be no record.
    pub(super) fn lose(&self, requests: u64) {
        self.0.lost.fetch_add(requests, Ordering::Relaxed);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

/// Begins a record at `path`. The thread ends once the recorder has been dropped, with how many requests it wrote.
pub(super) fn begin(path: &Path) -> Result<(Recorder, JoinHandle<io::Result<u64>>), String> {
    let told = |error: io::Error| format!("{}: {error}", path.display());
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(told)?);
    let shared =
        Arc::new(Shared { queue: ArrayQueue::new(WAITING), lost: AtomicU64::new(0), ended: AtomicBool::new(false) });
    let recorder = Recorder(Arc::clone(&shared));
    let body = move || {
        let mut line = String::new();
        let mut number = 0;
        loop {
            // Asked before the queue is emptied: what was written before the end is taken now.
            let ended = shared.ended.load(Ordering::Acquire);
            let mut idle = true;
            while let Some(record) = shared.queue.pop() {
                line.clear();
                record.write(number, &mut line);
                file.write_all(line.as_bytes())?;
                number += 1;
                idle = false;
            }
            if ended {
                break;
            }
            if idle {
                thread::sleep(NAP);
            }
        }
        line.clear();
        write_end(number, shared.lost.load(Ordering::Relaxed), &mut line);
        file.write_all(line.as_bytes())?;
        file.flush()?;
        Ok(number)
    };
    let thread = thread::Builder::new().name("record".into()).spawn(body).map_err(told)?;
    Ok((recorder, thread))
}
