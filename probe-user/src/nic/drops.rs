//! What was taken, what was seen, what was dropped: the numbers behind *lost*, *unheard* and the drop counters.

use super::{NicError, clock::MonotonicClock, mapped::Mapped, program::Counters};
use crate::{
    ledger::{Cause, unheard::DropLog},
    metrics::LocalDrops,
    time::Nanos,
    wire::RejectedReason,
    worker::{Clock as _, Taken},
};
use crossbeam::utils::CachePadded;
use probe_ebpf::layout::{TAKEN_ENTRIES, Verdict, taken_index};
use std::{
    fs, io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
            fence,
        },
    },
};

/// How long a queue must stand still before frames that it took and nobody saw or counted are given up as vanished.
const VANISHED: Nanos = Nanos::from_secs(1);

/// Every direction and cause of a local drop, in the order of [`DropSampler::local_drops`]. docs/metrics.md explains them.
pub const DROP_CAUSES: [(&str, &str); 9] = [
    // The receive socket's ring was full: the receiver thread did not keep up.
    ("receive", "ring_full"),
    // The fill ring was empty, or the frame too long for a buffer.
    ("receive", "no_buffer"),
    // Taken by steer, and neither delivered nor counted by the socket.
    ("receive", "vanished"),
    // A reply on a queue without a socket: went on to the kernel.
    ("receive", "no_socket"),
    // The interface's own counter, whosever frames they were.
    ("receive", "driver"),
    // The driver or its queue refused the frame.
    ("transmit", "refused"),
    // No free frame, no room in the ring or no memory.
    ("transmit", "no_room"),
    // The interface was down.
    ("transmit", "link_down"),
    // The interface's own counter; it may count again what `refused` counts.
    ("transmit", "driver"),
];

/// Probes that senders failed to hand to the driver, by cause. Written by senders, read by whoever asks.
#[derive(Debug, Default)]
pub(super) struct TransmitDrops([CachePadded<AtomicU64>; Cause::ALL.len()]);

impl TransmitDrops {
    pub(super) fn count(&self, cause: Cause) {
        self.0[cause as usize].fetch_add(1, Relaxed);
    }

    fn get(&self, cause: Cause) -> u64 {
        self.0[cause as usize].load(Relaxed)
    }
}

/// The counters of the receive queues: `taken` by steer, `consumed` by receivers, `dropped` by sockets.
pub(super) struct QueueCounts {
    taken: Mapped<u64>,
    consumed: Box<[CachePadded<AtomicU64>]>,
    dropped: Box<[CachePadded<AtomicU64>]>,
    ring: u64,
}

impl QueueCounts {
    pub(super) fn new(taken: BorrowedFd<'_>, queues: u32, ring: u64) -> io::Result<Self> {
        let zeros = || (0..queues).map(|_| CachePadded::default()).collect();
        Ok(Self {
            taken: Mapped::new(taken, TAKEN_ENTRIES as usize, false)?,
            consumed: zeros(),
            dropped: zeros(),
            ring,
        })
    }

    /// For the queue's one receiver: it has settled so many more frames.
    pub(super) fn consume(&self, queue: u32, frames: u64) {
        // One writer, so a load and a store will do. Release: who sees the number sees what settling wrote.
        let counter = &self.consumed[queue as usize];
        counter.store(counter.load(Relaxed) + frames, Release);
    }
}

impl Taken for QueueCounts {
    fn queues(&self) -> usize {
        self.consumed.len()
    }

    fn taken(&self, queue: usize) -> u64 {
        // Queue numbers are below MAX_QUEUES: `open` saw to it.
        let taken = self.taken.get(taken_index(u32::try_from(queue).unwrap_or(u32::MAX)) as usize);
        // What is read after the count was written before it.
        fence(Acquire);
        taken
    }

    fn consumed(&self, queue: usize) -> u64 {
        self.consumed[queue].load(Acquire)
    }

    fn dropped(&self, queue: usize) -> u64 {
        self.dropped[queue].load(Acquire)
    }

    fn ring(&self) -> u64 {
        self.ring
    }
}

/// Reads the sockets' drop counters. A control thread calls [`DropSampler::sample`] every 50 ms or so: until it has,
/// a queue that dropped frames does not count as drained.
pub struct DropSampler {
    interface: String,
    counts: Arc<QueueCounts>,
    transmit: Arc<TransmitDrops>,
    verdicts: Counters,
    queues: Vec<SampledQueue>,
    /// The interface's own counters when it was opened, received and transmitted.
    driver: [u64; 2],
    /// And the former at the last sample.
    driver_seen: u64,
    last: Nanos,
}

struct SampledQueue {
    socket: OwnedFd,
    ring_full: u64,
    no_buffer: u64,
    vanished: u64,
    watch: Watch,
}

/// Watches for frames that were taken and that nobody will ever see or count (the socket was unbound at that moment, or
/// replaced): without it a queue that lost one would not count as drained ever again.
#[derive(Debug, Default)]
struct Watch(Option<(Nanos, u64, u64)>);

impl Watch {
    /// How many of the `missing` frames to give up: all, once nothing has moved for [`VANISHED`] and the ring is empty.
    fn give_up(&mut self, now: Nanos, taken: u64, consumed: u64, missing: u64, is_empty: impl FnOnce() -> bool) -> u64 {
        if missing == 0 {
            self.0 = None;
            return 0;
        }
        match self.0 {
            Some((since, was_taken, was_consumed)) if (was_taken, was_consumed) == (taken, consumed) => {
                if now - since < VANISHED || !is_empty() {
                    return 0;
                }
                self.0 = None;
                missing
            }
            _ => {
                self.0 = Some((now, taken, consumed));
                0
            }
        }
    }
}

impl DropSampler {
    pub(super) fn new(
        interface: &str,
        counts: Arc<QueueCounts>,
        transmit: Arc<TransmitDrops>,
        verdicts: Counters,
        sockets: Vec<OwnedFd>,
    ) -> Self {
        let queue = |socket| SampledQueue { socket, ring_full: 0, no_buffer: 0, vanished: 0, watch: Watch::default() };
        let driver = driver_drops(interface);
        Self {
            driver,
            driver_seen: driver[0],
            interface: interface.into(),
            counts,
            transmit,
            verdicts,
            queues: sockets.into_iter().map(queue).collect(),
            last: MonotonicClock.now(),
        }
    }

    /// Reads all sockets and notes in `log` what was dropped since the last time, before any queue counts as drained by it.
    ///
    /// # Errors
    /// If a socket's statistics can't be read; what was read before it counts.
    pub fn sample(&mut self, log: &DropLog) -> Result<(), NicError> {
        let begun = MonotonicClock.now();
        let mut of_sockets = 0;
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let statistics = statistics(&queue.socket)
                .map_err(|error| NicError::Query { interface: self.interface.clone(), error })?;
            // rx_dropped: no buffer in the fill ring, or too long for one. rx_ring_full: no room in the RX ring. Each
            // frame that steer redirected and the socket did not take is in exactly one of them; the third receive
            // counter, rx_fill_ring_empty_descs, counts attempts and would count the first kind again.
            let (ring_full, no_buffer) = (statistics.rx_ring_full, statistics.rx_dropped);
            let mut frames = (ring_full - queue.ring_full) + (no_buffer - queue.no_buffer);
            (queue.ring_full, queue.no_buffer) = (ring_full, no_buffer);

            let (taken, consumed) = (self.counts.taken(index), self.counts.consumed(index));
            let missing = taken.saturating_sub(consumed + self.counts.dropped(index) + frames);
            let vanished = queue.watch.give_up(begun, taken, consumed, missing, || !is_readable(&queue.socket));
            queue.vanished += vanished;
            frames += vanished;
            if frames != 0 {
                of_sockets += frames;
                log.note(self.last, MonotonicClock.now(), frames);
                self.counts.dropped[index].fetch_add(frames, Release);
            }
        }
        // What the driver dropped never came to steer, and may have been replies all the same. Some drivers (veth) count what a
        // socket refused too: that is no second drop.
        let [received, _] = driver_drops(&self.interface);
        let of_driver = received.saturating_sub(std::mem::replace(&mut self.driver_seen, received));
        log.note(self.last, MonotonicClock.now(), of_driver.saturating_sub(of_sockets));
        self.last = begun;
        Ok(())
    }

    /// Every cause of [`DROP_CAUSES`] with its count since the interface was opened, as of the last sample.
    pub fn local_drops(&self) -> Vec<LocalDrops> {
        let sum = |field: fn(&SampledQueue) -> u64| self.queues.iter().map(field).sum::<u64>();
        let driver = driver_drops(&self.interface);
        let frames = [
            sum(|q| q.ring_full),
            sum(|q| q.no_buffer),
            sum(|q| q.vanished),
            self.verdicts.verdict(Verdict::NoSocket).unwrap_or(0),
            driver[0].saturating_sub(self.driver[0]),
            self.transmit.get(Cause::Refused),
            self.transmit.get(Cause::NoRoom),
            self.transmit.get(Cause::LinkDown),
            driver[1].saturating_sub(self.driver[1]),
        ];
        DROP_CAUSES
            .iter()
            .zip(frames)
            .map(|(&(direction, cause), frames)| LocalDrops {
                interface: self.interface.clone(),
                direction,
                cause,
                frames,
            })
            .collect()
    }

    /// Replies that steer refused and passed to the kernel, indexed like `RejectedReason::ALL`. The reasons that only
    /// userspace finds are 0 here.
    ///
    /// # Errors
    /// If the program's counters can't be read.
    pub fn rejected(&self) -> Result<[u64; RejectedReason::ALL.len()], NicError> {
        let mut rejected = [0; RejectedReason::ALL.len()];
        for (reason, verdict) in [
            (RejectedReason::Truncated, Verdict::Truncated),
            (RejectedReason::Cookie, Verdict::Cookie),
            (RejectedReason::Age, Verdict::Age),
        ] {
            rejected[reason as usize] = self.verdicts.verdict(verdict)?;
        }
        Ok(rejected)
    }
}

/// `struct xdp_statistics` of `linux/if_xdp.h`.
#[derive(Default)]
#[repr(C)]
struct Statistics {
    rx_dropped: u64,
    rx_invalid_descs: u64,
    tx_invalid_descs: u64,
    rx_ring_full: u64,
    rx_fill_ring_empty_descs: u64,
    tx_ring_empty_descs: u64,
}

fn statistics(socket: &OwnedFd) -> io::Result<Statistics> {
    let mut statistics = Statistics::default();
    let mut length = libc::socklen_t::try_from(size_of::<Statistics>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes, the size of `statistics`, all of which may have any value.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if done == 0 { Ok(statistics) } else { Err(io::Error::last_os_error()) }
}

/// Whether a receive socket's ring holds frames.
fn is_readable(socket: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd, and no waiting.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLIN != 0 }
}

/// What the interface itself says it dropped, received and transmitted; 0 where it doesn't say.
fn driver_drops(interface: &str) -> [u64; 2] {
    ["rx_dropped", "tx_dropped"].map(|counter| {
        fs::read_to_string(format!("/sys/class/net/{interface}/statistics/{counter}"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = Nanos::from_secs(1);

    #[test]
    fn missing_frames_are_given_up_when_all_has_been_still_for_a_second() {
        let mut watch = Watch::default();
        let at = |tenths: u64| Nanos::from_millis(100 * tenths);
        assert_eq!(watch.give_up(at(0), 10, 7, 3, || true), 0);
        assert_eq!(watch.give_up(at(9), 10, 7, 3, || true), 0, "not yet");
        assert_eq!(watch.give_up(at(10), 10, 8, 2, || true), 0, "one was seen: it begins again");
        assert_eq!(watch.give_up(at(19), 11, 8, 3, || true), 0, "one was taken: it begins again");
        assert_eq!(watch.give_up(at(29), 11, 8, 3, || false), 0, "the ring holds some: the receiver is late");
        assert_eq!(watch.give_up(at(30), 11, 8, 3, || true), 3);
        assert_eq!(watch.give_up(at(31), 11, 8, 0, || true), 0, "they are counted now");
    }

    #[test]
    fn a_queue_with_nothing_missing_is_never_watched() {
        let mut watch = Watch::default();
        assert_eq!(watch.give_up(Nanos::ZERO, 5, 5, 0, || true), 0);
        assert_eq!(watch.give_up(SECOND, 6, 5, 1, || true), 0, "the second counts from the first that is missing");
        assert_eq!(watch.give_up(SECOND + SECOND, 6, 5, 1, || true), 1);
    }

    #[test]
    fn causes_are_a_closed_list_without_repeats() {
        let distinct: std::collections::BTreeSet<_> = DROP_CAUSES.iter().collect();
        assert_eq!(distinct.len(), DROP_CAUSES.len());
        assert!(DROP_CAUSES.iter().all(|(direction, _)| ["receive", "transmit"].contains(direction)));
    }
}
