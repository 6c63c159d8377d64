//! Connecting to many addresses as people write it: a blocking loop, and a task for each connect. They run in the near
//! namespace, on the kernel's own sockets.

use crate::{lab::SILENT, rungs::FIRST};
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How long a connect may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);
/// How often a task connects to its live address; to a silent one as soon as the connect before it was given up.
pub(crate) const LIVE_INTERVAL: Duration = Duration::from_millis(100);
/// No port is open at the far end: who is there refuses, and nothing has to be closed again.
pub(crate) const PORT: u16 = 80;

/// How to connect.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Connecting {
    /// One address after the other, each waited for.
    Blocking,
    /// A task for each address.
    Tasks,
}

/// What came of it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Connected {
    /// Connects begun, to whomever, and for how long.
    pub(crate) connects: u64,
    pub(crate) seconds: f64,
    /// Connects that this host could not begin: no descriptor, no port.
    pub(crate) failed: u64,
    /// Most connects to silent addresses at a time.
    pub(crate) pending: u64,
    /// Answers of live addresses a second.
    pub(crate) live: f64,
    /// From before such a connect to its answer, microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// The longest time between two answers of live addresses, milliseconds.
    pub(crate) gap: f64,
}

/// Connects to so many live and so many silent addresses. Measured for so long, once the silent ones have all been begun.
///
/// # Errors
/// No runtime, or nobody answered: then there is nothing to measure.
pub(crate) fn run(how: Connecting, live: u32, silent: u32, seconds: u32) -> Result<Connected, String> {
    let time = Duration::from_secs(seconds.into());
    let heard = match how {
        Connecting::Blocking => blocking(live, silent, time),
        Connecting::Tasks => tasks(live, silent, time).map_err(|error| format!("no runtime: {error}"))?,
    };
    heard.connected().ok_or_else(|| "no live address answered".into())
}

fn address_of(first: u32, index: u32) -> SocketAddr {
    (Ipv4Addr::from_bits(first + index), PORT).into()
}

/// What a connect came to.
enum Came {
    /// It was answered: refused, or opened.
    Answered,
    Nothing,
    /// This host did not begin it.
    Failed,
}

fn came_of<T>(result: io::Result<T>) -> Came {
    match result {
        Ok(_) => Came::Answered,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Came::Answered,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Came::Nothing,
        Err(_) => Came::Failed,
    }
}

/// What is heard, from the moment on from which it counts.
struct Heard {
    begun: Instant,
    counts_from: Instant,
    connects: u64,
    failed: u64,
    pending: u64,
    /// Of the answers of live addresses: when the last was here, and all round-trip times.
    last: Instant,
    gap: Duration,
    times: Vec<Duration>,
}

impl Heard {
    /// What is heard before `after` has passed is not counted.
    fn begin(after: Duration) -> Self {
        let begun = Instant::now();
        let counts_from = begun + after;
        Self {
            begun,
            counts_from,
            connects: 0,
            failed: 0,
            pending: 0,
            last: counts_from,
            gap: Duration::ZERO,
            times: Vec::new(),
        }
    }

    fn answered(&mut self, asked: Instant) {
        let now = Instant::now();
        if asked >= self.counts_from {
            self.gap = self.gap.max(now - self.last);
            self.last = now;
            self.times.push(now - asked);
        }
    }

    fn connected(mut self) -> Option<Connected> {
        let now = Instant::now();
        // Nobody was heard since.
        self.gap = self.gap.max(now.saturating_duration_since(self.last));
        self.times.sort_unstable();
        let at = |percent: usize| Some(self.times.get(self.times.len() * percent / 100)?.as_secs_f64() * 1e6);
        #[expect(clippy::cast_precision_loss, reason = "a count of answers")]
        let answers = self.times.len() as f64;
        Some(Connected {
            connects: self.connects,
            seconds: (now - self.begun).as_secs_f64(),
            failed: self.failed,
            pending: self.pending,
            live: answers / (now - self.counts_from).as_secs_f64(),
            p50: at(50)?,
            p99: at(99)?,
            gap: self.gap.as_secs_f64() * 1e3,
        })
    }
}

/// Silent addresses stand evenly among the live ones.
fn blocking(live: u32, silent: u32, time: Duration) -> Heard {
    let mut heard = Heard::begin(Duration::ZERO);
    let (mut owed, mut next_silent) = (0, 0);
    for index in (0..live).cycle() {
        if heard.begun.elapsed() >= time {
            break;
        }
        let asked = Instant::now();
        heard.connects += 1;
        match came_of(TcpStream::connect_timeout(&address_of(FIRST, index), TIMEOUT)) {
            Came::Answered => heard.answered(asked),
            Came::Nothing => {}
            Came::Failed => heard.failed += 1,
        }
        owed += silent;
        while owed >= live && heard.begun.elapsed() < time {
            owed -= live;
            heard.connects += 1;
            heard.pending = 1;
            // It says nothing, and everybody waits for it.
            if let Came::Failed = came_of(TcpStream::connect_timeout(&address_of(SILENT, next_silent), TIMEOUT)) {
                heard.failed += 1;
            }
            next_silent = (next_silent + 1) % silent;
        }
    }
    heard
}

fn tasks(live: u32, silent: u32, time: Duration) -> io::Result<Heard> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (heard, pending) = (Arc::new(Mutex::new(Heard::begin(TIMEOUT))), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let end = begun + TIMEOUT + time;
    // Evenly over the time in which each is due once.
    let first = |index: u32, many: u32, interval: Duration| begun + interval * index / many;
    for index in 0..silent {
        let (heard, pending) = (heard.clone(), pending.clone());
        runtime.spawn(connect_again(index, first(index, silent, TIMEOUT), end, heard, pending));
    }
    for index in 0..live {
        runtime.spawn(connect_on_time(index, first(index, live, LIVE_INTERVAL), end, heard.clone()));
    }
    // A timer has to be made within the runtime.
    runtime.block_on(async { tokio::time::sleep_until(end.into()).await });
    let done = heard.lock().map(|mut heard| std::mem::replace(&mut *heard, Heard::begin(Duration::ZERO)));
    runtime.shutdown_background();
    done.map_err(|_| io::Error::other("a task panicked"))
}

async fn connect(address: SocketAddr) -> Came {
    match tokio::time::timeout(TIMEOUT, tokio::net::TcpStream::connect(address)).await {
        Ok(result) => came_of(result),
        Err(_) => Came::Nothing,
    }
}

async fn connect_on_time(index: u32, mut due: Instant, end: Instant, heard: Arc<Mutex<Heard>>) {
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        due += LIVE_INTERVAL;
        let asked = Instant::now();
        let came = connect(address_of(FIRST, index)).await;
        let Ok(mut heard) = heard.lock() else { return };
        heard.connects += 1;
        match came {
            Came::Answered => heard.answered(asked),
            Came::Nothing => {}
            Came::Failed => heard.failed += 1,
        }
    }
}

async fn connect_again(index: u32, first: Instant, end: Instant, heard: Arc<Mutex<Heard>>, pending: Arc<AtomicU64>) {
    tokio::time::sleep_until(first.into()).await;
    while Instant::now() < end {
        if let Ok(mut heard) = heard.lock() {
            heard.connects += 1;
            heard.pending = heard.pending.max(pending.fetch_add(1, Relaxed) + 1);
        }
        let came = connect(address_of(SILENT, index)).await;
        pending.fetch_sub(1, Relaxed);
        if let Came::Failed = came {
            if let Ok(mut heard) = heard.lock() {
                heard.failed += 1;
            }
            // There is no descriptor now: others are to be given up first.
            tokio::time::sleep(TIMEOUT).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_longest_time_without_an_answer() {
        let mut heard = Heard::begin(Duration::ZERO);
        let asked = Instant::now();
        // As if the last answer had been here four seconds ago.
        heard.last = asked.checked_sub(Duration::from_secs(4)).unwrap_or(asked);
        heard.answered(asked);
        heard.answered(Instant::now());
        let connected = heard.connected();
        assert!(connected.as_ref().is_some_and(|connected| (4_000.0..60_000.0).contains(&connected.gap)));
        assert!(connected.is_some_and(|connected| connected.p50 <= connected.p99 && connected.live > 0.0));
    }

    #[test]
    fn who_heard_nobody_has_measured_nothing() {
        assert!(Heard::begin(Duration::ZERO).connected().is_none());
    }
}
