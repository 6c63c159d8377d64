//! The engine `live-frames`: probes are built in the kernel, on frames of its own.
//!
//! The sender lays what is due into a table that it shares with the XDP program, and has the kernel run the program once for each
//! entry (BPF_PROG_TEST_RUN with live frames, Linux 5.18). The program builds the probe, stamps it and redirects it to the
//! interface. It needs no zero-copy driver, only one that takes redirected frames (ndo_xdp_xmit).
//!
//! What the driver refuses comes to light in the tracepoint `xdp_devmap_xmit`, which tells for each bulk of 16 how many it took. A
//! refused probe is sent again for a millisecond, and is *unsent* after that.

use super::{
    clock::MonotonicClock,
    drops::TransmitDrops,
    mapped::Mapped,
    templates::{Current, Held},
};
use crate::{
    ledger::Cause,
    time::Nanos,
    worker::{Clock as _, Due, Fate, Link, Transmit},
};
use probe_ebpf::layout::{LIVE_TABLE, LiveCursor, LiveDue, MAX_CPUS};
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
/// Fewest that back-pressure leaves.
const LEAST: usize = 64;
/// Frames of a kernel batch: after each, softirqs run, and a far end on this machine can take what was sent.
const BATCH: u32 = 64;
/// How long a refused probe is tried again.
const PATIENCE: Nanos = Nanos::from_millis(1);

/// `linux/bpf.h`.
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// Sends probes as live frames. Owned by one sender thread, which is pinned: the program knows it by its CPU.
pub struct LiveSender {
    number: usize,
    cpu: usize,
    program: OwnedFd,
    table: Mapped<LiveDue>,
    cursors: Mapped<LiveCursor>,
    templates: Held,
    link: Arc<dyn Link>,
    drops: Arc<TransmitDrops>,
    clock: MonotonicClock,
    /// The thread that sends, known once it does.
    thread: Option<u32>,
    /// Which of the probes at hand are still to be sent, in order.
    open: Vec<u32>,
    /// Probes to a call. Refusals halve it, and calls without any let it grow again.
    call: usize,
    /// What frames begin as; the program writes every byte.
    blank: Vec<u8>,
}

/// What a [`LiveSender`] is made of.
pub(super) struct Parts {
    /// Which sender, from 0.
    pub(super) number: usize,
    /// Where its thread runs.
    pub(super) cpu: usize,
    pub(super) program: OwnedFd,
    pub(super) table: Mapped<LiveDue>,
    pub(super) cursors: Mapped<LiveCursor>,
    pub(super) templates: Arc<Current>,
    pub(super) link: Arc<dyn Link>,
    pub(super) drops: Arc<TransmitDrops>,
}

impl LiveSender {
    /// # Errors
    /// If /proc does not tell about this process, or no cursor is for that CPU.
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let Parts { number, cpu, program, table, mut cursors, templates, link, drops } = parts;
        if cpu >= MAX_CPUS as usize {
            return Err(io::Error::other(format!(
                "live frames are sent by the first {MAX_CPUS} CPUs, not by CPU {cpu}"
            )));
        }
        let templates = Held::new(templates);
        let sender = u32::try_from(number + 1).unwrap_or(u32::MAX);
        cursors.set(cpu, LiveCursor { sender, namespace: own_namespace()?, ..LiveCursor::default() });
        Ok(Self {
            number,
            cpu,
            program,
            table,
            cursors,
            blank: vec![0; templates.longest()],
            templates,
            link,
            drops,
            clock: MonotonicClock,
            thread: None,
            open: Vec::with_capacity(CALL),
            call: CALL,
        })
    }

    /// One call, for the first of the open probes, whose frames have this length. What the driver does not take stays open.
    fn call(&mut self, due: &[Due], fates: &mut [Fate], length: usize) -> Result<(), Cause> {
        let many = self.call.min(self.open.len());
        let mut cursor = self.cursors.get(self.cpu);
        cursor.thread = *self.thread.get_or_insert_with(own_thread);
        cursor.task = 0;
        // Frames of an earlier call that never reached the driver would shift the count of confirmed ones.
        (cursor.built, cursor.confirmed) = (0, 0);
        self.cursors.set(self.cpu, cursor);
        let first = self.number * LIVE_TABLE as usize;
        // SAFETY: the program changes the table in this thread's calls alone, and this is between two of them.
        let table = unsafe { self.table.slice(first..first + many) };
        let mut filled = 0;
        // Neighbours on the list mostly share their next hop.
        let mut known = None;
        for i in 0..many {
            let owner = self.open[i];
            let probe = &due[owner as usize];
            let load = match known {
                Some((hop, load)) if hop == probe.hop => Ok(load),
                _ => self.templates.load(probe).inspect(|load| known = Some((probe.hop, *load))),
            };
            match load {
                Err(cause) => fates[owner as usize] = Fate::Unsent(cause),
                Ok(load) => {
                    let [a, b, c, d, e, f] = load.mac;
                    table[filled] = LiveDue {
                        next_hop_mac: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
                        sent_ns: 0,
                        destination: probe.destination.octets(),
                        target: probe.target.0,
                        sequence: probe.sequence.0,
                        generation: probe.generation.0,
                        template: self.templates.first_live() + load.template,
                        refused: 0,
                    };
                    self.open[filled] = owner;
                    filled += 1;
                }
            }
        }
        let error = if filled > 0 { test_run(&self.program, &self.blank[..length], filled) } else { None };
        let confirmed = usize::try_from(self.cursors.get(self.cpu).confirmed).unwrap_or(usize::MAX).min(filled);
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
        if filled == 0 {
            return Ok(());
        }
        // Back-pressure: a driver that refuses gets less at a time, so that it has time to send it.
        self.call = if refused == 0 { (self.call + self.call / 8 + 1).min(CALL) } else { (self.call / 2).max(LEAST) };
        match error {
            None => Ok(()),
            Some(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(()),
            Some(error) if error.raw_os_error() == Some(libc::ENOMEM) => Err(Cause::NoRoom),
            Some(_) => Err(Cause::Refused),
        }
    }
}

impl Transmit for LiveSender {
    fn batch(&self) -> usize {
        CALL
    }

    /// The kernel flushes its redirects after each of its own batches.
    fn together(&self) -> usize {
        BATCH as usize
    }

    fn transmit(&mut self, due: &[Due], fates: &mut [Fate]) {
        self.templates.renew();
        let mut done = 0;
        while done < due.len() {
            // Frames of one call have one length.
            let payload = due[done].payload;
            let end = done + due[done..].iter().take_while(|probe| probe.payload == payload).count();
            let length = self.templates.length_of(payload);
            self.open.clear();
            self.open.extend((done..end).map(|index| u32::try_from(index).unwrap_or(u32::MAX)));
            done = end;
            let begun = self.clock.now();
            while !self.open.is_empty() {
                let outcome = if self.link.is_up() { self.call(due, fates, length) } else { Err(Cause::LinkDown) };
                let given_up = match outcome {
                    Err(cause) => Some(cause),
                    Ok(()) if self.clock.now() - begun >= PATIENCE => Some(Cause::Refused),
                    Ok(()) => None,
                };
                if let Some(cause) = given_up {
                    for owner in self.open.drain(..) {
                        fates[owner as usize] = Fate::Unsent(cause);
                        self.drops.count(cause);
                    }
                }
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
pub(super) fn test_run(program: &OwnedFd, blank: &[u8], frames: usize) -> Option<io::Error> {
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
        batch_size: BATCH,
        ..TestRun::default()
    };
    // SAFETY: the kernel reads and writes as many bytes of the attributes as it is told there are, and reads as many of
    // `blank` as it has; both outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size_of::<TestRun>() as libc::c_ulong)
    };
    (done != 0).then(io::Error::last_os_error)
}
