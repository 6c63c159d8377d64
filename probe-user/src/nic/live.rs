//! The engine `live-frames`: probes are built in the kernel, on frames of its own.
//!
//! The sender lays what is due into a table that it shares with the XDP program, and has the kernel run the program once for each
//! entry (BPF_PROG_TEST_RUN with live frames, Linux 5.18). The program builds the probe, stamps it and redirects it to the
//! interface. It needs no zero-copy driver, only one that takes redirected frames (ndo_xdp_xmit). What the program builds are echo
//! requests; probes of other kinds lie in the table as whole frames, and it copies them.
//!
//! What the driver refuses comes to light in the tracepoint `xdp_devmap_xmit`, which tells for each bulk of 16 how many it took. What
//! was refused may be offered again, and [`Pace`] says when: calls follow the card's pace, so that its ring is not full all the time.
//!
//! The program knows a sender by the CPU that it runs on. A thread that has been moved (its CPU went offline, or out of its cpuset) is
//! pinned again, or the sender moves to where it may run: see [`LiveSender::stay`].

use super::{
    clock::MonotonicClock,
    drops::TransmitDrops,
    flush::Flush,
    mapped::Mapped,
    pace::Pace,
    ring::BARE,
    seats::{self, Seats},
    templates::{Current, Form, Held},
};
use crate::{
    base::{Cause, Family, Nanos},
    worker::{Clock as _, Due, Fate, Leaving, Link, Room, Transmit},
};
use probe_ebpf::layout::{LIVE_SPARE, LIVE_TABLE, LiveCursor, LiveDestination, LiveDue, LiveFrame, MAX_CPUS};
use std::{
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    sync::Arc,
};

/// Most probes of one call: at half a microsecond each, a due probe waits for less than a millisecond.
pub(super) const CALL: usize = LIVE_TABLE as usize;
/// Frames of a kernel batch: after each, softirqs run, and a far end on this machine can take what was sent.
pub(super) const BATCH: u32 = 64;
/// The same for a sender that is not pressed: nobody waits long behind a stamp for others to be laid.
const RELAXED_BATCH: u32 = 2;
/// More than so many in one call are not a sender's that has time.
const FEW: usize = 512;

/// Between two words in the log about a thread that is moved again and again.
const TOLD_AGAIN: Nanos = Nanos::from_secs(60);

/// `linux/bpf.h`.
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// Sends probes as live frames. Owned by one sender thread, which is pinned: the program knows it by its CPU.
pub struct LiveSender {
    number: usize,
    cpu: usize,
    seats: Arc<Seats>,
    /// As this process has it.
    namespace: [u64; 2],
    /// The interface, for messages.
    interface: String,
    /// The driver takes nothing from a CPU: another one has been tried.
    tried_elsewhere: bool,
    /// The driver takes nothing from there either, which has been said.
    told_elsewhere: bool,
    /// When it was last said that the thread had been moved.
    told_moved: Option<Nanos>,
    program: OwnedFd,
    table: Mapped<LiveDue>,
    /// Where its IPv6 probes go, if there are any.
    destinations: Option<Mapped<LiveDestination>>,
    /// Its probes that are whole frames, if there are any.
    frames: Option<Mapped<LiveFrame>>,
    /// Which template is laid in each of those places, or [`BARE`].
    laid: Vec<u32>,
    cursors: Mapped<LiveCursor>,
    templates: Held,
    link: Arc<dyn Link>,
    drops: Arc<TransmitDrops>,
    clock: MonotonicClock,
    /// The thread that sends, known once it does.
    thread: Option<u32>,
    /// Which of the probes at hand are still to be sent, in order.
    open: Vec<u32>,
    /// Forms of the probes at hand that have had their call.
    sent: Vec<Form>,
    pace: Pace,
    flush: Flush,
    /// Frames between two flushes of the last call.
    together: u32,
    /// What frames begin as; the program writes every byte.
    blank: Vec<u8>,
}

/// What a [`LiveSender`] is made of.
pub(super) struct Parts {
    /// Which sender, from 0.
    pub(super) number: usize,
    /// Where its thread runs.
    pub(super) cpu: usize,
    pub(super) seats: Arc<Seats>,
    pub(super) interface: String,
    pub(super) program: OwnedFd,
    pub(super) table: Mapped<LiveDue>,
    pub(super) destinations: Option<Mapped<LiveDestination>>,
    pub(super) frames: Option<Mapped<LiveFrame>>,
    pub(super) cursors: Mapped<LiveCursor>,
    pub(super) templates: Arc<Current>,
    pub(super) link: Arc<dyn Link>,
    pub(super) drops: Arc<TransmitDrops>,
}

impl LiveSender {
    /// # Errors
    /// If /proc does not tell about this process, or no cursor is for that CPU.
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let Parts { number, cpu, seats, interface, program, table, destinations, frames, mut cursors, .. } = parts;
        let Parts { templates, link, drops, .. } = parts;
        if cpu >= MAX_CPUS as usize {
            return Err(io::Error::other(format!(
                "live frames are sent by the first {MAX_CPUS} CPUs, not by CPU {cpu}"
            )));
        }
        let templates = Held::new(templates);
        let namespace = own_namespace()?;
        cursors.set(cpu, LiveCursor { sender: sender(number), namespace, ..LiveCursor::default() });
        Ok(Self {
            number,
            cpu,
            seats,
            namespace,
            interface,
            tried_elsewhere: false,
            told_elsewhere: false,
            told_moved: None,
            program,
            table,
            destinations,
            laid: vec![BARE; if frames.is_some() { CALL } else { 0 }],
            frames,
            cursors,
            blank: vec![0; templates.longest() + LIVE_SPARE],
            templates,
            link,
            drops,
            clock: MonotonicClock,
            thread: None,
            open: Vec::with_capacity(CALL),
            sent: Vec::with_capacity(CALL),
            pace: Pace::default(),
            flush: Flush::default(),
            together: BATCH,
        })
    }

    /// One call, for the open probes, whose frames have this form. What the driver does not take stays open. Returns what is to become
    /// of those.
    fn call(&mut self, due: &[Due], fates: &mut [Fate], form: Form) -> Fate {
        self.stay();
        let many = self.open.len();
        // Another sender may have come to this CPU, if there is none left for each.
        let seats = Arc::clone(&self.seats);
        let _seat = seats.take(self.cpu);
        // All of it anew: frames of an earlier call that never reached the driver would shift the count of confirmed ones.
        let cursor = LiveCursor {
            sender: sender(self.number),
            namespace: self.namespace,
            thread: *self.thread.get_or_insert_with(own_thread),
            form: form.live(),
            ..LiveCursor::default()
        };
        self.cursors.set(self.cpu, cursor);
        let first = self.number * LIVE_TABLE as usize;
        // SAFETY: the program changes the table in this thread's calls alone, and this is between two of them.
        let table = unsafe { self.table.slice(first..first + many) };
        let destinations = match &mut self.destinations {
            // SAFETY: as above.
            Some(destinations) if form.family == Family::V6 => unsafe { destinations.slice(first..first + many) },
            _ => &mut [],
        };
        let frames = match &mut self.frames {
            // SAFETY: as above.
            Some(frames) if form.is_whole => unsafe { frames.slice(first..first + many) },
            _ => &mut [],
        };
        // Of whole frames: what they say of the time. That of their stamp the program tells.
        let laid = self.clock.now();
        let mut filled = 0;
        // Neighbours on the list mostly share their next hop, and their shape where no flows are walked.
        let mut known = None;
        for i in 0..many {
            let owner = self.open[i];
            let probe = &due[owner as usize];
            let load = match known {
                Some((known, load)) if known == (probe.hop, probe.shape) => Ok(load),
                _ => self.templates.load(probe).inspect(|load| known = Some(((probe.hop, probe.shape), *load))),
            };
            match load {
                Err(cause) => fates[owner as usize] = Fate::Unsent(cause),
                Ok(load) => {
                    let [a, b, c, d, e, f] = load.mac;
                    table[filled] = LiveDue {
                        next_hop_mac: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
                        sent_ns: 0,
                        destination: probe.to.v4().octets(),
                        target: probe.target.0,
                        sequence: probe.sequence.0,
                        generation: probe.generation.0,
                        template: load.live,
                        refused: 0,
                    };
                    if let Some(frame) = frames.get_mut(filled) {
                        let template = self.templates.get(load);
                        let bytes = &mut frame.0[..form.length];
                        if self.laid[filled] != load.template {
                            template.lay(bytes);
                            self.laid[filled] = load.template;
                        }
                        template.write(bytes, &self.templates.fields(probe, load, laid), &self.templates.key);
                    } else if let Some(destination) = destinations.get_mut(filled) {
                        *destination = LiveDestination::from(self.templates.addresses.v6(probe.to).octets());
                    }
                    self.open[filled] = owner;
                    filled += 1;
                }
            }
        }
        if filled == 0 {
            self.open.clear();
            return Fate::Full(Cause::Refused);
        }
        let begun = self.clock.now();
        self.together = if filled <= FEW && !self.flush.is_pressed(begun) { RELAXED_BATCH } else { BATCH };
        let length = form.length + if form.is_whole { LIVE_SPARE } else { 0 };
        let error = test_run(&self.program, &self.blank[..length], filled, self.together);
        let cursor = self.cursors.get(self.cpu);
        let confirmed = usize::try_from(cursor.confirmed).unwrap_or(usize::MAX).min(filled);
        // SAFETY: as above.
        let table = unsafe { self.table.slice(first..first + confirmed) };
        let mut refused = 0;
        for i in 0..filled {
            let owner = self.open[i];
            match table.get(i) {
                Some(entry) if entry.refused == 0 => fates[owner as usize] = Fate::Sent(Nanos(entry.sent_ns)),
                _ => {
                    self.open[refused] = owner;
                    refused += 1;
                }
            }
        }
        self.open.drain(refused..many);
        let ended = self.clock.now();
        self.flush.called(begun, ended);
        self.pace.called(begun, ended, (filled - refused) as u64, refused as u64);
        if refused == filled && cursor.error == libc::ENXIO.unsigned_abs() {
            self.go_elsewhere();
        }
        match error {
            None => Fate::Full(Cause::Refused),
            Some(error) if error.raw_os_error() == Some(libc::EINTR) => Fate::Full(Cause::Refused),
            Some(error) if error.raw_os_error() == Some(libc::ENOMEM) => Fate::Full(Cause::NoRoom),
            Some(_) => Fate::Unsent(Cause::Refused),
        }
    }

    /// Sees to it that the thread is where the program looks for its cursor.
    #[inline]
    fn stay(&mut self) {
        let here = seats::current();
        if here != self.cpu {
            self.was_moved(here);
        }
    }

    /// The thread is on another CPU than it was pinned to. If it may run there still, it is pinned again. Else whoever moved it has
    /// taken that CPU away: the sender goes where it may run.
    #[cold]
    fn was_moved(&mut self, here: usize) {
        let now = self.clock.now();
        let tell = self.told_moved.is_none_or(|told| now - told > TOLD_AGAIN);
        let (interface, before) = (&self.interface, self.cpu);
        if seats::may_use(before) && seats::pin(before) {
            if tell {
                tracing::warn!(
                    "{interface}: a sender was moved from CPU {before} to {here}, and is pinned to {before} again"
                );
                self.told_moved = Some(now);
            }
        } else if here < MAX_CPUS as usize {
            // It was moved here, so it may be here; if it is moved on before it is pinned, that is seen at the next call.
            seats::pin(here);
            tracing::warn!(
                "{interface}: a sender may no longer run on CPU {before} (offline, or out of its cpuset), and goes on from CPU {here}"
            );
            self.told_moved = Some(now);
            self.take_place(here);
        } else if tell {
            tracing::error!(
                "{interface}: a sender was moved from CPU {before} to {here}, and live frames are sent by the first {MAX_CPUS} \
                 CPUs: its probes are unsent. Let it run on one of those (taskset, cpuset)"
            );
            self.told_moved = Some(now);
        }
    }

    /// The driver has no queue for frames from this CPU. Some have one for the first CPUs alone, as many as there are channels.
    #[cold]
    fn go_elsewhere(&mut self) {
        let (interface, before) = (&self.interface, self.cpu);
        if self.tried_elsewhere {
            if !std::mem::replace(&mut self.told_elsewhere, true) {
                tracing::error!(
                    "{interface}: the driver takes no redirected frames from CPU {before} either (ENXIO): probes are unsent. Take \
                     --engine afxdp, or more channels (ethtool -L {interface} combined N)"
                );
            }
            return;
        }
        self.tried_elsewhere = true;
        match self.seats.elsewhere(before).into_iter().find(|cpu| seats::pin(*cpu)) {
            Some(cpu) => {
                tracing::warn!(
                    "{interface}: the driver takes no redirected frames from CPU {before} (ENXIO), and CPU {cpu} is tried"
                );
                self.take_place(cpu);
            }
            None => tracing::error!(
                "{interface}: the driver takes no redirected frames from CPU {before} (ENXIO), and this process may use no \
                 other: let it run on the first CPUs (taskset, cpuset), take --engine afxdp, or more channels (ethtool -L \
                 {interface} combined N)"
            ),
        }
    }

    /// From now on the sender's cursor is that of another CPU.
    fn take_place(&mut self, cpu: usize) {
        // The lock of the CPU that is left is held by a call of this sender, or by nobody, or by a sender that has come there and
        // says anew who it is in each call.
        if self.cursors.get(self.cpu).sender == sender(self.number) {
            self.cursors.set(self.cpu, LiveCursor::default());
        }
        self.cpu = cpu;
        self.seats.moved(self.number, cpu);
    }
}

/// How the program knows a sender.
fn sender(number: usize) -> u32 {
    u32::try_from(number + 1).unwrap_or(u32::MAX)
}

impl Transmit for LiveSender {
    fn batch(&self) -> usize {
        CALL
    }

    /// The kernel flushes its redirects after each of its own batches.
    fn leaving(&self) -> Leaving {
        Leaving::Together(self.together as usize)
    }

    fn room(&mut self, now: Nanos) -> Room {
        let allowed = self.pace.allowed(now);
        let probes = usize::try_from(allowed.frames).unwrap_or(usize::MAX).min(CALL);
        Room { probes, again: allowed.again, full: probes < CALL && self.pace.is_paced(now) }
    }

    fn give_up(&mut self, cause: Cause, probes: u64) {
        self.drops.add(cause, probes);
    }

    fn transmit(&mut self, due: &[Due], fates: &mut [Fate]) {
        assert_eq!(due.len(), fates.len(), "one fate for each probe");
        if self.templates.renew() {
            self.laid.fill(BARE);
        }
        if !self.link.is_up() {
            fates.fill(Fate::Full(Cause::LinkDown));
            return;
        }
        let allowed = usize::try_from(self.pace.allowed(self.clock.now()).frames).unwrap_or(usize::MAX);
        let many = due.len().min(allowed);
        fates[many..].fill(Fate::Full(Cause::Refused));
        // Frames of one call have one form, in which many shapes may be: one a flow. Probes of different forms may take turns: all of
        // one go together.
        self.sent.clear();
        let mut left = many;
        for first in 0..many {
            if left == 0 {
                return;
            }
            let form = self.templates.form_of(due[first].shape);
            if self.sent.contains(&form) {
                continue;
            }
            self.sent.push(form);
            let templates = &self.templates;
            let of_form = (first..many).filter(|index| templates.form_of(due[*index].shape) == form);
            self.open.clear();
            self.open.extend(of_form.map(|index| u32::try_from(index).unwrap_or(u32::MAX)));
            left -= self.open.len();
            let fate = self.call(due, fates, form);
            let refused = self.open.len();
            for owner in self.open.drain(..) {
                fates[owner as usize] = fate;
            }
            if let Fate::Unsent(cause) = fate {
                self.drops.add(cause, refused as u64);
            } else if refused > 0 {
                // A ring that is full now is no less full for frames of another length.
                let others = due[first..many].iter().zip(&mut fates[first..many]);
                let waits = |probe: &Due| !self.sent.contains(&self.templates.form_of(probe.shape));
                others.filter(|(probe, _)| waits(probe)).for_each(|(_, other)| *other = fate);
                return;
            }
        }
    }
}

/// The calling thread's number in its namespace.
fn own_thread() -> u32 {
    // SAFETY: takes nothing and returns a number.
    unsafe { libc::gettid() }.unsigned_abs()
}

/// Device and inode of the namespace in which this process' threads have their numbers, the device as the kernel has it in itself.
fn own_namespace() -> io::Result<[u64; 2]> {
    let file = std::fs::metadata("/proc/self/ns/pid")?;
    let (major, minor) = (libc::major(file.dev()), libc::minor(file.dev()));
    Ok([u64::from(major) << 20 | u64::from(minor), file.ino()])
}

/// Has the kernel run the program on `frames` frames that begin as `blank`.
pub(super) fn test_run(program: &OwnedFd, blank: &[u8], frames: usize, together: u32) -> Option<io::Error> {
    /// The head of `union bpf_attr` for this command.
    #[repr(C)]
    #[derive(Default)]
    struct TestRun {
        program: u32,
        result: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        context_size_in: u32,
        context_size_out: u32,
        context_in: u64,
        context_out: u64,
        flags: u32,
        cpu: u32,
        batch_size: u32,
        padding: u32,
    }
    let mut attributes = TestRun {
        program: program.as_raw_fd().unsigned_abs(),
        data_size_in: u32::try_from(blank.len()).unwrap_or(0),
        data_in: blank.as_ptr() as u64,
        repeat: u32::try_from(frames).unwrap_or(0),
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: together,
        ..TestRun::default()
    };
    // SAFETY: the kernel reads and writes as many bytes of the attributes as it is told there are, and reads as many of
    // `blank` as it has; both outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size_of::<TestRun>() as libc::c_ulong)
    };
    (done != 0).then(io::Error::last_os_error)
}
