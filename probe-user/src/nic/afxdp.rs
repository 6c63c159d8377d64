//! The `afxdp` transmit engine: frames in the UMEM, a send stamp just before the kick.
//!
//! In copy mode the kernel takes descriptors only inside our own `sendto`, so each call tells what became of them:
//!
//! | `sendto` says | because | and we |
//! |---|---|---|
//! | 0 | the ring is empty | are done |
//! | EBUSY | the driver or the carrier refused the last frame it took (`NET_XMIT_DROP`): gone, completed, not sent | say so of that one, and call again for the rest |
//! | EAGAIN | its budget is used up, the driver's queue is full (`NETDEV_TX_BUSY`, the descriptor is put back), or the send buffer is | call again while there is progress |
//! | ENOBUFS, ENOMEM | no memory for a buffer; the descriptor is left | the same |
//! | ENETDOWN, ENXIO | the interface is down or gone; nothing was taken | give up at once |
//!
//! What is given up stays in the ring, where nothing can take it out again. Its probes are not sent, so it must not leave as
//! it is: before the next kick, whenever that is, each such frame becomes one of the new probes, or [`VOID`]. Before Linux 6.17 it
//! may be uncertain which those are, and what is uncertain is called for longer, [`UNCERTAIN_FOR`]: such a probe may be sent twice.
//!
//! In zero-copy mode the driver takes descriptors when it likes: produced is sent, and a frame is ours again when it has
//! been completed.
//!
//! In both modes a frame's completion says that the card has done with it, and how many frames may be out is bounded by how fast
//! these come: see [`Limit`].

use super::{
    clock::MonotonicClock,
    drops::TransmitDrops,
    flush::Flush,
    frames::{Frame, Kick, Written},
    limit::Limit,
    ring::{BARE, Kicked, Probe, Ring, classify},
    socket::{KICK, Transmitter},
    templates::{Current, Held, Load},
};
use crate::{
    base::{Cause, Nanos},
    worker::{Clock as _, Due, Fate, Leaving, Link, Room, Transmit},
};
use std::sync::Arc;

/// How long a kernel that makes no progress is called again where it is uncertain what it has taken.
const UNCERTAIN_FOR: Nanos = Nanos::from_millis(1);
/// Between looks at completions while there is no room.
const LOOK: Nanos = Nanos::from_micros(50);
/// A driver that has completed nothing for so long is woken again: it may have gone to sleep over frames that it had no room for.
const WAKE: Nanos = Nanos::from_millis(1);

/// No probe is at the position.
const NOBODY: u16 = u16::MAX;

/// Sends probes through one queue's AF_XDP socket. Owned by one sender thread.
pub struct AfxdpSender {
    ring: Ring,
    templates: Held,
    link: Arc<dyn Link>,
    drops: Arc<TransmitDrops>,
    clock: MonotonicClock,
    /// Which of the probes at hand is at each ring position, counted from the first that the kernel hasn't consumed.
    owners: [u16; KICK],
    limit: Limit,
    flush: Flush,
    /// Most probes of the last kicks.
    together: usize,
    /// When a driver that completes nothing is woken again.
    wake_at: Nanos,
    /// The frame that is followed until it completes, its position, and its stamp.
    followed: Option<(usize, u32, Nanos)>,
    /// How long the last one took.
    dwelt: Option<Nanos>,
}

/// What went into the ring for a kick.
#[derive(Clone, Copy)]
struct Filled {
    /// How many of the probes are dealt with: in the ring, or unsent already.
    dealt: usize,
    /// The position from which `owners` counts.
    base: u32,
    /// The stamp that they carry.
    sent: Nanos,
}

impl AfxdpSender {
    pub(super) fn new(
        half: Transmitter,
        templates: Arc<Current>,
        link: Arc<dyn Link>,
        drops: Arc<TransmitDrops>,
    ) -> Self {
        let clock = MonotonicClock;
        let ring = Ring::new(half);
        Self {
            limit: Limit::new(ring.frames.count()),
            ring,
            templates: Held::new(templates),
            link,
            drops,
            clock,
            owners: [NOBODY; KICK],
            flush: Flush::default(),
            together: KICK,
            wake_at: Nanos::ZERO,
            followed: None,
            dwelt: None,
        }
    }

    /// Takes back what has been completed. Returns how many frames are out, without those that were given up and wait in the ring for
    /// another probe.
    fn look(&mut self, now: Nanos) -> u32 {
        self.ring.reclaim();
        if let Some((frame, position, stamp)) = self.followed
            && !self.ring.frames.is_out(frame, position)
        {
            self.followed = None;
            self.dwelt = Some(now - stamp);
        }
        let out = self.out();
        self.limit.look(out, now);
        out
    }

    fn out(&self) -> u32 {
        let given_up = if self.ring.zero_copy { 0 } else { self.ring.frames.resident() };
        self.ring.frames.out().saturating_sub(given_up)
    }

    /// Puts as many of the probes into the ring as fit, with one stamp for all.
    fn fill(&mut self, due: &[Due], fates: &mut [Fate]) -> Filled {
        self.ring.reclaim();
        let base = self.ring.base();
        let residents = self.ring.frames.produced().wrapping_sub(base) as usize;
        debug_assert!(residents <= KICK, "no more than a kick's worth is ever left in the ring");
        self.owners = [NOBODY; KICK];
        let mut loads = [Load { mac: [0; 6], template: BARE, live: 0 }; KICK];
        let mut fresh: [Option<Frame>; KICK] = [const { None }; KICK];
        // Counted from `base`: residents first, new frames behind them.
        let mut place = 0;
        let mut dealt = 0;
        'probes: for (index, probe) in due.iter().enumerate() {
            let load = match self.templates.load(probe) {
                Ok(load) => load,
                Err(cause) => {
                    fates[index] = Fate::Unsent(cause);
                    dealt += 1;
                    continue;
                }
            };
            let length = self.templates.get(load).length();
            // Frames that an earlier call left in the ring are used up first: one of the same length can carry this probe.
            while place < residents {
                let frame = self.ring.behind(base, place);
                let reusable = !self.ring.frames.in_doubt() && self.ring.length(frame) == length;
                if reusable {
                    break;
                }
                self.ring.void(frame, self.templates.mac);
                place += 1;
            }
            if place >= residents {
                if place == KICK {
                    break 'probes;
                }
                let Some(frame) = self.ring.frames.take() else {
                    fates[index] = Fate::Full(Cause::NoRoom);
                    dealt += 1;
                    continue;
                };
                fresh[place] = Some(frame);
            }
            self.owners[place] = u16::try_from(index).unwrap_or(NOBODY);
            loads[place] = load;
            place += 1;
            dealt += 1;
        }
        for left in place..residents {
            let frame = self.ring.behind(base, left);
            self.ring.void(frame, self.templates.mac);
        }

        // The stamp is taken here, after all looking up: what follows is writing and the kick.
        let sent = self.clock.now();
        let mut written: [Option<Written>; KICK] = [const { None }; KICK];
        for (place, load) in loads.iter().enumerate() {
            if self.owners[place] == NOBODY {
                continue;
            }
            let probe = &due[usize::from(self.owners[place])];
            let template = self.templates.get(*load);
            let fields = self.templates.fields(probe, *load, sent);
            let probe = Probe { index: load.template, template, fields, key: &self.templates.key };
            match fresh[place].take() {
                Some(frame) => written[place] = Some(self.ring.write(frame, &probe)),
                None => self.ring.rewrite(self.ring.behind(base, place), &probe),
            }
        }
        self.ring.produce(&mut written);
        Filled { dealt, base, sent }
    }

    /// Has the kernel send what is in the ring, and says of each probe what became of it. On an error that became of the rest of
    /// the ring.
    fn kick(&mut self, Filled { base, sent, .. }: Filled, fates: &mut [Fate]) -> Result<(), Cause> {
        let mut told = base;
        let mut since = None;
        loop {
            if self.ring.frames.resident() == 0 {
                return Ok(());
            }
            let Kicked { kick, cause, taken } = self.ring.kick();
            let consumed = self.ring.frames.consumed();
            // The last that it took.
            let dropped = (kick == Kick::Dropped).then(|| consumed.wrapping_sub(1));
            let is_up = self.link.is_up();
            if dropped.is_some() && is_up {
                self.limit.full(self.out());
            }
            let refused = Fate::Full(if is_up { Cause::Refused } else { Cause::LinkDown });
            while told != consumed {
                let fate = if dropped == Some(told) { refused } else { Fate::Sent(sent) };
                self.settle(told.wrapping_sub(base), fate, fates);
                told = told.wrapping_add(1);
            }
            let give_up = if kick == Kick::Nothing {
                true
            } else if taken > 0 {
                since = None;
                false
            } else {
                // EAGAIN, or done with descriptors left: the device no longer has this queue and the kernel says nothing.
                let now = self.clock.now();
                !self.ring.frames.in_doubt() || now - *since.get_or_insert(now) >= UNCERTAIN_FOR
            };
            if give_up && self.ring.frames.resident() != 0 {
                let cause = if kick == Kick::Nothing || is_up { cause } else { Cause::LinkDown };
                while told != self.ring.frames.produced() {
                    self.settle(told.wrapping_sub(base), Fate::Full(cause), fates);
                    told = told.wrapping_add(1);
                }
                return Err(cause);
            }
        }
    }

    /// The zero-copy kick: what is in the ring is the driver's.
    fn wake(&mut self, Filled { base, sent, .. }: Filled, fates: &mut [Fate]) -> Result<(), Cause> {
        let count = self.ring.frames.produced().wrapping_sub(base);
        if self.followed.is_none() && count > 0 {
            // The last of those that leave together stays longest.
            let position = self.ring.frames.produced().wrapping_sub(1);
            self.followed = Some((self.ring.frames.at(position), position, sent));
        }
        self.wake_at = sent + WAKE;
        let error = if self.ring.needs_wakeup() { self.ring.sendto() } else { 0 };
        // ENETDOWN and ENXIO: the device was told nothing. Anything else means that it is busy already.
        let (kick, cause) = classify(error);
        // What was produced is the driver's all the same, and may leave with this stamp yet: never to be offered again.
        let fate = if kick == Kick::Nothing { Fate::Unsent(cause) } else { Fate::Sent(sent) };
        for place in 0..count {
            self.settle(place, fate, fates);
        }
        if kick == Kick::Nothing { Err(cause) } else { Ok(()) }
    }

    fn settle(&self, place: u32, fate: Fate, fates: &mut [Fate]) {
        let owner = self.owners[place as usize];
        if owner == NOBODY {
            return;
        }
        if let Fate::Unsent(cause) = fate {
            self.drops.count(cause);
        }
        fates[usize::from(owner)] = fate;
    }
}

impl Transmit for AfxdpSender {
    fn leaving(&self) -> Leaving {
        if self.ring.zero_copy { Leaving::Followed } else { Leaving::Together(self.together) }
    }

    fn dwelt(&mut self) -> Option<Nanos> {
        self.dwelt.take()
    }

    fn room(&mut self, now: Nanos) -> Room {
        let out = self.look(now);
        let room = self.limit.room(out);
        if room == 0 && self.ring.zero_copy && now >= self.wake_at && self.ring.needs_wakeup() {
            self.wake_at = now + WAKE;
            self.ring.sendto();
        }
        let probes = (room as usize).min(self.batch());
        Room { probes, again: now + LOOK, full: probes < self.batch() }
    }

    fn give_up(&mut self, cause: Cause, probes: u64) {
        self.drops.add(cause, probes);
    }

    fn transmit(&mut self, due: &[Due], fates: &mut [Fate]) {
        assert_eq!(due.len(), fates.len(), "one fate for each probe");
        if self.templates.renew() {
            self.ring.forget_templates();
        }
        let begun = self.clock.now();
        let out = self.look(begun);
        // In copy mode each probe of a kick waits until the kernel has sent those before it. A zero-copy kick only schedules.
        self.together = if self.ring.zero_copy || self.flush.is_pressed(begun) { KICK } else { 1 };
        // An interface that is known to be down takes nothing: its ring is left alone.
        let (many, mut outcome) = if self.link.is_up() {
            (due.len().min(self.limit.room(out) as usize), Ok(()))
        } else {
            (due.len(), Err(Cause::LinkDown))
        };
        fates[many..].fill(Fate::Full(Cause::NoRoom));
        let mut done = 0;
        while done < many {
            if let Err(cause) = outcome {
                fates[done..many].fill(Fate::Full(cause));
                break;
            }
            let end = many.min(done + self.together);
            let (due, fates) = (&due[done..end], &mut fates[done..end]);
            let filled = self.fill(due, fates);
            outcome = if self.ring.zero_copy { self.wake(filled, fates) } else { self.kick(filled, fates) };
            done += filled.dealt;
        }
        if matches!(outcome, Err(cause) if cause != Cause::LinkDown) {
            self.limit.full(self.out());
        } else {
            let out = self.out();
            self.limit.handed(out, many < due.len() || many == self.batch() || self.limit.room(out) == 0);
        }
        self.flush.called(begun, self.clock.now());
    }
}
