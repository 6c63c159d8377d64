//! When somebody waits to know what this machine has dropped, and how soon the counters may be read for that.
//!
//! A probe that nobody answered is *lost* only once it is known that its answer was not dropped here ([`DropLog`]). Counters are read all
//! 50 ms anyway; who waits has them read at once, but no more often than they take a twentieth of a thread's time: a card with many
//! queues, or a driver that asks its card, needs milliseconds.

use crate::ledger::unheard::DropLog;
use std::{
    io,
    os::unix::net::UnixStream as StdStream,
    time::{Duration, Instant},
};
use tokio::net::UnixStream;

/// Between two readings, at least.
const LEAST: Duration = Duration::from_millis(5);
/// And at most, where somebody waits.
const MOST: Duration = Duration::from_millis(50);
/// So many times as long as a reading took nothing is read.
const REST: u32 = 19;

/// Hears of those who wait.
pub(super) struct Asked {
    heard: UnixStream,
    next: Instant,
}

impl Asked {
    /// Of those who look into this log. Call it within a runtime.
    ///
    /// # Errors
    /// The kernel has no pair of sockets.
    pub(super) fn listen(drops: &DropLog) -> io::Result<Self> {
        let (told, heard) = StdStream::pair()?;
        heard.set_nonblocking(true)?;
        drops.tell(told)?;
        Ok(Self { heard: UnixStream::from_std(heard)?, next: Instant::now() })
    }

    /// Waits until somebody asks and the counters may be read again. If this is dropped while it waits, the log still knows that
    /// somebody asks.
    pub(super) async fn due(&self) {
        let mut bytes = [0; 64];
        loop {
            if self.heard.readable().await.is_err() {
                // Without a socket there are the readings that come anyway.
                return std::future::pending().await;
            }
            match self.heard.try_read(&mut bytes) {
                Ok(0) => return std::future::pending().await,
                Ok(_) => break,
                Err(_) => {}
            }
        }
        tokio::time::sleep_until(self.next.into()).await;
    }

    /// They have been read, and that had begun then.
    pub(super) fn has_read(&mut self, begun: Instant) {
        self.next = Instant::now() + (begun.elapsed() * REST).clamp(LEAST, MOST);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn who_asks_is_heard_once_and_no_sooner_than_readings_allow() {
        let drops = DropLog::default();
        let mut asked = Asked::listen(&drops).unwrap();
        assert_eq!(asked.due().now_or_never(), None, "nobody has asked");
        for _ in 0..1_000 {
            drops.ask();
        }
        asked.due().await;
        assert!(drops.is_asked() && !drops.is_asked());
        let read = Instant::now();
        asked.has_read(read.checked_sub(Duration::from_millis(1)).unwrap());
        assert_eq!(asked.due().now_or_never(), None, "they were one question");
        drops.ask();
        asked.due().await;
        assert!(read.elapsed() >= REST * Duration::from_millis(1), "{:?}", read.elapsed());
        assert!(drops.is_asked());
    }
}
