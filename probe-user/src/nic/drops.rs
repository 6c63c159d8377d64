//! What was taken, what was seen, what was dropped: the numbers behind *lost*, *unheard* and the drop counters.

mod driver;
mod ethtool;
mod names;

use super::{NicError, clock::MonotonicClock, counts::QueueCounts, program::Counters};
use crate::{
    base::{Cause, Nanos},
    ledger::unheard::DropLog,
    nic::LocalDrops,
    route::Interface,
    wire::RejectedReason,
    worker::{Clock as _, Taken as _},
};
use crossbeam::utils::CachePadded;
use driver::DriverDrops;
use probe_ebpf::layout::Verdict;
use std::{
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// How long a queue must stand still before frames that it took and nobody saw or counted are given up as vanished.
const VANISHED: Nanos = Nanos::from_secs(1);
/// The interface's own counters are read so often if nobody asks. Reading some takes a driver milliseconds, with the lock of all
/// interfaces held.
const RARELY: Nanos = Nanos::from_secs(1);
/// And if somebody asks, no more than one part in so many of the time.
const SHARE: u64 = 50;

/// Every direction and cause of a local drop, in the order of `DropSampler::local_drops`. docs/metrics.md explains them.
pub const DROP_CAUSES: [(&str, &str); 9] = [
    // The receive socket's ring was full: the receiver thread did not keep up.
    ("receive", "ring_full"),
    // The fill ring was empty, or the frame too long for a buffer.
    ("receive", "no_buffer"),
    // Taken by steer, and neither delivered nor counted by the socket.
    ("receive", "vanished"),
    // A reply on a queue without a socket: went on to the kernel.
    ("receive", "no_socket"),
    // Dropped by card or driver before XDP, whosever frames they were.
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
        self.add(cause, 1);
    }

    pub(super) fn add(&self, cause: Cause, probes: u64) {
        self.0[cause as usize].fetch_add(probes, Relaxed);
    }

    fn get(&self, cause: Cause) -> u64 {
        self.0[cause as usize].load(Relaxed)
    }
}

/// Reads the drop counters of one port and its sockets.
pub(super) struct PortSampler {
    interface: String,
    counts: Arc<QueueCounts>,
    transmit: Arc<TransmitDrops>,
    verdicts: Counters,
    queues: Vec<SampledQueue>,
    driver: Driver,
    by_driver: OnlyByDriver,
    no_socket: u64,
    last: Nanos,
}

/// The interface's own counters, and when they were read.
struct Driver {
    drops: DriverDrops,
    /// Frames that it dropped, received and transmitted, since it was opened.
    seen: [u64; 2],
    /// Its count of what it did not transmit, at the opening.
    transmit_before: u64,
    /// Frames of protocols that the kernel doesn't have, at the last reading.
    unknown: u64,
    /// Frames that it dropped and that have not been noted yet.
    frames: u64,
    /// What was counted for steer or a socket since the last reading, and will be here again.
    elsewhere: u64,
    /// Frames are missing, and it may know of them.
    is_wanted: bool,
    /// When the last reading began. What had been dropped a refresh before that was in it.
    read: Nanos,
    /// Not again before this moment, whoever asks.
    next: Nanos,
}

/// How much the interface's own counters are wanted: reading them costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Now and then.
    Rarely,
    /// Somebody waits for them.
    Soon,
    /// Whatever it costs.
    Now,
}

struct SampledQueue {
    /// Its number among the queues of all ports.
    index: usize,
    socket: OwnedFd,
    /// By steer, because its ring was full.
    refused: u64,
    ring_full: u64,
    no_buffer: u64,
    vanished: u64,
    watch: Watch,
}

impl SampledQueue {
    fn new((index, socket): (usize, OwnedFd)) -> Self {
        Self { index, socket, refused: 0, ring_full: 0, no_buffer: 0, vanished: 0, watch: Watch::default() }
    }
}

/// Watches for frames that were taken and that nobody will ever see or count (the socket was unbound at that moment, or
/// replaced): without it a queue that lost one would not count as drained ever again.
#[derive(Debug, Default)]
struct Watch {
    /// Since when frames have been missing, and what only the driver had counted by then.
    missing: Option<(Nanos, u64)>,
    /// Since when nothing has moved, and the numbers then.
    still: Option<(Nanos, u64, u64)>,
}

/// Frames that are given up.
#[derive(Debug, PartialEq, Eq)]
struct Vanished {
    frames: u64,
    /// They vanished after this moment.
    after: Nanos,
    /// What only the driver had counted by then.
    by_driver: u64,
}

impl Watch {
    /// Whether frames may be given up soon, so that it should be known what the driver has counted.
    fn is_about_to(&self, now: Nanos) -> bool {
        self.still.is_some_and(|(since, ..)| now - since >= Nanos(VANISHED.0 / 2))
    }

    /// Gives up all of the `missing` frames, once nothing has moved for [`VANISHED`] and the ring is empty. `last` is when the
    /// sample before this one was taken, `by_driver` what only the driver had counted by then.
    fn give_up(
        &mut self,
        (last, by_driver): (Nanos, u64),
        now: Nanos,
        (taken, consumed): (u64, u64),
        missing: u64,
        is_empty: impl FnOnce() -> bool,
    ) -> Option<Vanished> {
        if missing == 0 {
            *self = Self::default();
            return None;
        }
        let (after, by_driver) = *self.missing.get_or_insert((last, by_driver));
        match self.still {
            Some((since, was_taken, was_consumed)) if (was_taken, was_consumed) == (taken, consumed) => {
                if now - since < VANISHED || !is_empty() {
                    return None;
                }
                *self = Self::default();
                Some(Vanished { frames: missing, after, by_driver })
            }
            _ => {
                self.still = Some((now, taken, consumed));
                None
            }
        }
    }
}

/// Tells what the driver dropped before steer saw it from what is counted elsewhere too: for a socket, as some do (veth), or because no
/// protocol wanted it.
#[derive(Debug, Default)]
struct OnlyByDriver {
    /// What only the driver has counted so far.
    total: u64,
    /// What was counted elsewhere at the last reading and the driver had not.
    awaited: u64,
}

impl OnlyByDriver {
    /// Since the last reading the driver counted `of_driver` frames, and others, *read after it*, `elsewhere`: how many the driver
    /// counted alone. Others count a frame before the driver does, so it may be in the driver's count at the next reading only.
    fn count(&mut self, of_driver: u64, elsewhere: u64) -> u64 {
        let known = self.awaited + elsewhere;
        let by_driver = of_driver.saturating_sub(known);
        self.awaited = known.saturating_sub(of_driver).min(elsewhere);
        self.total += by_driver;
        by_driver
    }

    /// Of frames that have vanished from a socket: how many the driver did not count alone either, since it had counted `before`.
    fn besides(&mut self, frames: u64, before: u64) -> (u64, Told) {
        let told = Told { frames: frames.min(self.total.saturating_sub(before)), before };
        self.total -= told.frames;
        (frames - told.frames, told)
    }
}

/// Frames that the driver has counted and that are explained: they were taken out of its count again, the first ones since it had
/// counted `before`.
#[derive(Clone, Copy, Debug)]
struct Told {
    frames: u64,
    before: u64,
}

impl Told {
    /// What the driver had counted at another moment, without these.
    const fn out_of(self, counted: u64) -> u64 {
        let earlier = counted.saturating_sub(self.before);
        counted - if self.frames < earlier { self.frames } else { earlier }
    }
}

impl PortSampler {
    pub(super) fn new(
        interface: &Interface,
        (is_generic, zero_copy): (bool, bool),
        counts: Arc<QueueCounts>,
        transmit: Arc<TransmitDrops>,
        verdicts: Counters,
        sockets: Vec<(usize, OwnedFd)>,
    ) -> Self {
        let now = MonotonicClock.now();
        let driver = Driver {
            drops: DriverDrops::of(interface, is_generic, zero_copy),
            seen: [0; 2],
            transmit_before: not_transmitted(&interface.name),
            unknown: 0,
            frames: 0,
            elsewhere: 0,
            is_wanted: false,
            read: now,
            next: now,
        };
        Self {
            driver,
            by_driver: OnlyByDriver::default(),
            no_socket: 0,
            interface: interface.name.clone(),
            counts,
            transmit,
            verdicts,
            queues: sockets.into_iter().map(SampledQueue::new).collect(),
            last: now,
        }
    }

    /// From now on this socket too, of the queue of that number.
    pub(super) fn add(&mut self, index: usize, socket: OwnedFd) {
        self.queues.push(SampledQueue::new((index, socket)));
    }

    /// Reads all sockets, and the interface's own counters where somebody asks for them or they have not been read for long, and
    /// notes in `log` what was dropped since the last time, before any queue counts as drained by it. Returns up to which moment
    /// everything has been noted.
    ///
    /// # Errors
    /// If a socket's statistics can't be read; what was read before it counts.
    pub(super) fn sample(&mut self, log: &DropLog, want: Want) -> Result<Nanos, NicError> {
        let now = MonotonicClock.now();
        let driver = &self.driver;
        let is_due = want == Want::Soon || driver.is_wanted || now >= driver.read + RARELY;
        let with_driver = want == Want::Now || is_due && now >= driver.next;
        let begun = MonotonicClock.now();
        // Read before the sockets: what it counts again for one, the socket has counted by then.
        if with_driver {
            self.driver.frames += self.driver.drops.read();
        }
        let alone_before = self.by_driver.total;
        self.driver.is_wanted = false;
        let mut all_told: Vec<Told> = Vec::new();
        for queue in &mut self.queues {
            let index = queue.index;
            let statistics = statistics(&queue.socket)
                .map_err(|error| NicError::Query { interface: self.interface.clone(), error })?;
            // rx_dropped: no buffer in the fill ring, or too long for one. rx_ring_full: no room in the RX ring. Each
            // frame that steer redirected and the socket did not take is in exactly one of them; the third receive
            // counter, rx_fill_ring_empty_descs, counts attempts and would count the first kind again.
            let (ring_full, no_buffer) = (statistics.rx_ring_full, statistics.rx_dropped);
            let mut lost = (ring_full - queue.ring_full) + (no_buffer - queue.no_buffer);
            (queue.ring_full, queue.no_buffer) = (ring_full, no_buffer);
            // By steer, before the socket could.
            let all_refused = self.counts.refused(index);
            let refused = all_refused - std::mem::replace(&mut queue.refused, all_refused);
            self.driver.elsewhere += self.driver.drops.counted_again(refused, lost);
            log.note(self.last, MonotonicClock.now(), refused + lost);

            let (taken, consumed) = (self.counts.taken(index), self.counts.consumed(index));
            let missing = taken.saturating_sub(consumed + self.counts.dropped(index) + refused + lost);
            self.driver.is_wanted |= queue.watch.is_about_to(begun);
            let (before, is_empty) = ((self.last, alone_before), || !is_readable(&queue.socket));
            // What is refused moves nothing: where all that was taken has vanished, the rest is refused.
            let moved = (taken - all_refused, consumed);
            if let Some(vanished) = queue.watch.give_up(before, begun, moved, missing, is_empty) {
                queue.vanished += vanished.frames;
                lost += vanished.frames;
                // A driver that counted them has excused probes already.
                let besides = if self.driver.drops.counted_again(0, 1) > 0 {
                    // Another queue may have taken out some that this one saw counted.
                    let before = all_told.iter().fold(vanished.by_driver, |before, told| told.out_of(before));
                    let (besides, told) = self.by_driver.besides(vanished.frames, before);
                    all_told.push(told);
                    besides
                } else {
                    vanished.frames
                };
                log.note(vanished.after, MonotonicClock.now(), besides);
            }
            if refused + lost != 0 {
                self.counts.dropped_more(index, refused, lost);
            }
        }
        for told in all_told {
            for (_, by_driver) in self.queues.iter_mut().filter_map(|queue| queue.watch.missing.as_mut()) {
                *by_driver = told.out_of(*by_driver);
            }
        }
        if with_driver {
            self.note_driver(log, begun)?;
        }
        // The kernel has these. They were replies, and we did not hear them.
        let no_socket = self.verdicts.verdict(Verdict::NoSocket)?;
        log.note(self.last, MonotonicClock.now(), no_socket - std::mem::replace(&mut self.no_socket, no_socket));
        self.last = begun;
        Ok(self.driver.read - self.driver.drops.refresh())
    }

    /// Notes what the driver dropped: it never came to steer, and may have been replies all the same.
    fn note_driver(&mut self, log: &DropLog, begun: Nanos) -> Result<(), NicError> {
        let driver = &mut self.driver;
        let mut elsewhere = std::mem::take(&mut driver.elsewhere);
        if driver.drops.is_mixed() {
            // The kernel adds to it what no protocol wanted. steer saw each such frame before.
            let unknown = self.verdicts.verdict(Verdict::UnknownProtocol)?;
            elsewhere += unknown - std::mem::replace(&mut driver.unknown, unknown);
        }
        let by_driver = self.by_driver.count(std::mem::take(&mut driver.frames), elsewhere);
        let now = MonotonicClock.now();
        // A drop may be told a refresh late. The reading before this one had all that was older than a refresh then.
        log.note(driver.read - driver.drops.refresh(), now, by_driver);
        driver.seen[0] += by_driver;
        driver.seen[1] = not_transmitted(&self.interface).saturating_sub(driver.transmit_before);
        driver.read = begun;
        driver.next = now + Nanos((now - begun).0 * SHARE);
        Ok(())
    }

    /// Every cause of [`DROP_CAUSES`] with its count since the interface was opened, as of the last sample.
    pub(super) fn local_drops(&self) -> Vec<LocalDrops> {
        let sum = |field: fn(&SampledQueue) -> u64| self.queues.iter().map(field).sum::<u64>();
        let frames = [
            sum(|q| q.ring_full + q.refused),
            sum(|q| q.no_buffer),
            sum(|q| q.vanished),
            self.no_socket,
            self.driver.seen[0],
            self.transmit.get(Cause::Refused),
            self.transmit.get(Cause::NoRoom),
            self.transmit.get(Cause::LinkDown),
            self.driver.seen[1],
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
    pub(super) fn rejected(&self) -> Result<[u64; RejectedReason::ALL.len()], NicError> {
        let mut rejected = [0; RejectedReason::ALL.len()];
        for (reason, verdict) in [
            (RejectedReason::Truncated, Verdict::Truncated),
            (RejectedReason::Cookie, Verdict::Cookie),
            (RejectedReason::Age, Verdict::Age),
            (RejectedReason::ResetWithoutAck, Verdict::ResetWithoutAck),
            (RejectedReason::Fragment, Verdict::FragmentedReply),
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

/// Frames that the interface says it dropped on their way out; 0 where it doesn't say.
fn not_transmitted(interface: &str) -> u64 {
    let text = fs::read_to_string(format!("/sys/class/net/{interface}/statistics/tx_dropped"));
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_frames_are_given_up_when_all_has_been_still_for_a_second() {
        let mut watch = Watch::default();
        let at = |tenths: u64| Nanos::from_millis(100 * tenths);
        let mut look = |tenths, numbers, missing, is_empty| {
            watch.give_up((at(tenths) - at(1).min(at(tenths)), 50 + tenths), at(tenths), numbers, missing, || is_empty)
        };
        assert_eq!(look(1, (7, 7), 0, true), None);
        assert_eq!(look(2, (10, 7), 3, true), None);
        assert_eq!(look(11, (10, 7), 3, true), None, "not yet");
        assert_eq!(look(12, (10, 8), 2, true), None, "one was seen: it begins again");
        assert_eq!(look(21, (11, 8), 3, true), None, "one was taken: it begins again");
        assert_eq!(look(31, (11, 8), 3, false), None, "the ring holds some: the receiver is late");
        let given_up = look(32, (11, 8), 3, true);
        assert_eq!(
            given_up,
            Some(Vanished { frames: 3, after: at(1), by_driver: 52 }),
            "since the first that was missing"
        );
        assert_eq!(look(33, (11, 8), 0, true), None, "they are counted now");
    }

    #[test]
    fn a_queue_with_nothing_missing_is_never_watched() {
        let mut watch = Watch::default();
        let mut look = |seconds, numbers, missing| {
            watch.give_up((Nanos::ZERO, 0), Nanos::from_secs(seconds), numbers, missing, || true)
        };
        assert_eq!(look(0, (5, 5), 0), None);
        assert_eq!(look(1, (6, 5), 1), None, "the second counts from the first that is missing");
        assert_eq!(look(2, (6, 5), 1).map(|vanished| vanished.frames), Some(1));
    }

    #[test]
    fn a_drop_that_socket_and_driver_both_count_is_one() {
        let mut by_driver = OnlyByDriver::default();
        assert_eq!(by_driver.count(3, 0), 3, "the driver's own");
        assert_eq!(by_driver.count(4, 4), 0, "a socket's");
        // The driver was read before the last two happened.
        assert_eq!(by_driver.count(1, 3), 0);
        assert_eq!(by_driver.count(2, 0), 0, "they turn up at the next sample");
        assert_eq!(by_driver.count(1, 0), 1, "but only then");
        assert_eq!(
            (by_driver.count(0, 5), by_driver.count(0, 0), by_driver.count(5, 0)),
            (0, 0, 5),
            "and later it is the driver's own"
        );
        assert_eq!(by_driver.total, 9);
    }

    #[test]
    fn a_frame_that_vanished_and_that_the_driver_counted_is_one() {
        let mut by_driver = OnlyByDriver::default();
        by_driver.count(7, 0);
        assert_eq!(by_driver.besides(2, 7).0, 2, "those were others");
        by_driver.count(3, 0);
        assert_eq!(by_driver.besides(2, 7).0, 0);
        assert_eq!(by_driver.besides(2, 7).0, 1, "one was left");
    }

    #[test]
    fn frames_that_vanished_from_two_queues_are_each_counted_once() {
        let mut by_driver = OnlyByDriver::default();
        by_driver.count(4, 0);
        // One queue misses frames from then on; a second when one of the first's has been counted.
        let (first, second) = (by_driver.total, by_driver.total + 1);
        by_driver.count(1, 0);
        by_driver.count(49, 0);
        let (besides, told) = by_driver.besides(25, first);
        assert_eq!(besides, 0);
        assert_eq!(told.out_of(first), first, "what was before stays");
        assert_eq!(told.out_of(second), first, "the one in between was the first queue's");
        assert_eq!(by_driver.besides(25, told.out_of(second)).0, 0);
        assert_eq!(by_driver.total, 4);
        // Seen only after all of them: nothing is left that was counted since.
        assert_eq!(told.out_of(54), 29);
    }

    #[test]
    fn causes_are_a_closed_list_without_repeats() {
        let distinct: std::collections::BTreeSet<_> = DROP_CAUSES.iter().collect();
        assert_eq!(distinct.len(), DROP_CAUSES.len());
        assert!(DROP_CAUSES.iter().all(|(direction, _)| ["receive", "transmit"].contains(direction)));
    }
}
