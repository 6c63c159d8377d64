//! How evenly `run` sends, by the stamps in the probes that arrived.
//!
//! A bin is 10 ms of 10,000 probes a second: its share is 100. The sender can only keep that while it has a CPU. On a
//! machine shared with others it sometimes has none, so a witness on the sender's CPU notes when that one stood still (a
//! hypervisor gave it to somebody else), and reads from the kernel how long the sender's thread was ready to run without
//! running. What the sender then owes it may make up for at twice its pace: bins touched by such a time are not judged,
//! and printed beside the others. A run goes on until there are enough that are. In the long form at most one bin in
//! twenty may be left out.

use crate::{
    capture::{Capture, Named},
    harness::{Echolot, Site, Thread, is_long, now},
};
use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};
use xtask::lab::Answer;

const TARGETS: &str = "10.64.0.0-10.64.39.15";
const COUNT: u64 = 10_000;
const BIN: u64 = 10_000_000;
const SHARE: u64 = COUNT / 100;
/// Owing more than this, the sender can't keep its share.
const DISTURBANCE: u64 = 1_000_000;
/// What the sender skips, and thus doesn't owe.
const SKIPPED: u64 = 100_000_000;
/// How often the witness looks.
const LOOK: Duration = Duration::from_millis(1);
/// Runs, one of which must be clean.
const RUNS: u32 = 3;
/// Fewer bins than this, a second's worth, prove nothing.
const ENOUGH: usize = 100;
/// A run that is not long ends here, at the latest.
const LONGEST: Duration = Duration::from_secs(60);

/// Notes when the sender's thread could not run.
struct Witness {
    stop: Arc<AtomicBool>,
    /// For how long at least, in nanoseconds, whole bins were not touched.
    calm: Arc<AtomicU64>,
    thread: JoinHandle<Vec<(u64, u64)>>,
}

impl Witness {
    fn of(echolot: &Echolot) -> Self {
        let sender = echolot.sender();
        let (stop, calm) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (asked, counted) = (Arc::clone(&stop), Arc::clone(&calm));
        Self { stop, calm, thread: std::thread::spawn(move || watch(&sender, &asked, &counted)) }
    }

    /// Waits until enough bins were not touched.
    fn wait(&self) {
        let end = now() + u64::try_from(LONGEST.as_nanos()).unwrap();
        while self.calm.load(Relaxed) < 3 * ENOUGH as u64 * BIN && now() < end {
            sleep(Duration::from_millis(50));
        }
    }

    /// The times in which the sender was held up, in order.
    fn end(self) -> Vec<(u64, u64)> {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

/// What the sender owes after a time of which it lost a part.
fn owed(before: u64, time: u64, lost: u64) -> u64 {
    (before.saturating_sub(time.saturating_sub(lost)) + lost).min(SKIPPED)
}

fn watch(sender: &Thread, stop: &AtomicBool, calm: &AtomicU64) -> Vec<(u64, u64)> {
    echolot::nic::thread::prepare(Some(sender.cpu())).unwrap();
    let mut held_up = Vec::new();
    let (mut at, mut before, mut debt, mut calm_since) = (now(), sender.waited(), 0, now());
    while !stop.load(Relaxed) {
        sleep(LOOK);
        let (looked, waited) = (now(), sender.waited());
        let late = (looked - at).saturating_sub(LOOK.as_nanos() as u64);
        let lost = late.max(waited - before);
        debt = owed(debt, looked - at, lost);
        if debt > DISTURBANCE {
            // The kernel says how long it waited only once it has a CPU again.
            held_up.push((at.saturating_sub(lost), looked));
            calm_since = looked;
        } else if looked - calm_since > 2 * BIN {
            calm.fetch_add(looked - at, Relaxed);
        }
        (at, before) = (looked, waited);
    }
    held_up
}

/// What one run showed.
struct Shown {
    bins: usize,
    judged: usize,
    uneven: Vec<String>,
    crowded: Vec<String>,
    least: u64,
    most: u64,
    most_of_a_block: u64,
}

impl Shown {
    fn is_clean(&self) -> bool {
        let enough = if is_long() { self.bins * 95 / 100 } else { ENOUGH };
        self.judged >= enough && self.uneven.is_empty() && self.crowded.is_empty()
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bins, judged, uneven, crowded, least, most, most_of_a_block } = self;
        write!(
            f,
            "{bins} bins, {judged} judged; {least} to {most} probes in 10 ms, at most {most_of_a_block} of a /24"
        )?;
        for (what, which) in [("uneven", uneven), ("crowded", crowded)] {
            write!(f, "; {} {what} {:?}", which.len(), &which[..which.len().min(5)])?;
        }
        Ok(())
    }
}

fn judge(stamps: &[Named], held_up: &[(u64, u64)]) -> Shown {
    let first = stamps.iter().map(|(_, sent)| *sent).min().unwrap();
    let last = stamps.iter().map(|(_, sent)| *sent).max().unwrap();
    // The first round, in which everything is new, and the last bin, which is not full, don't count.
    let origin = first + 1_000_000_000;
    let bins = usize::try_from((last - origin) / BIN).unwrap();
    let mut counts = vec![0; bins];
    let mut blocks: Vec<HashMap<u32, u64>> = vec![HashMap::new(); bins];
    for (address, sent) in stamps {
        let Some(bin) = sent.checked_sub(origin).map(|since| (since / BIN) as usize).filter(|bin| *bin < bins) else {
            continue;
        };
        counts[bin] += 1;
        let IpAddr::V4(address) = address else { panic!("{address} is none of the targets") };
        *blocks[bin].entry(address.to_bits() >> 8).or_default() += 1;
    }
    let mut shown =
        Shown { bins, judged: 0, uneven: vec![], crowded: vec![], least: u64::MAX, most: 0, most_of_a_block: 0 };
    for (bin, (count, blocks)) in counts.into_iter().zip(&blocks).enumerate() {
        let begin = origin + bin as u64 * BIN;
        if held_up.iter().any(|(from, to)| *from <= begin + BIN && begin <= *to) {
            continue;
        }
        shown.judged += 1;
        shown.least = shown.least.min(count);
        shown.most = shown.most.max(count);
        let (block, crowd) =
            blocks.iter().max_by_key(|(_, count)| **count).map_or((0, 0), |(block, count)| (*block, *count));
        shown.most_of_a_block = shown.most_of_a_block.max(crowd);
        if !(SHARE * 8 / 10..=SHARE * 12 / 10).contains(&count) {
            shown.uneven.push(format!("bin {bin}: {count}"));
        }
        if crowd > 3 {
            shown.crowded.push(format!("bin {bin}: {crowd} of {}/24", Ipv4Addr::from_bits(block << 8)));
        }
    }
    shown
}

#[test]
#[ignore = "needs root: make test runs it"]
fn even_and_scattered() {
    let Some(site) = Site::up("pacing", &Answer::Kernel) else { return };
    let mut told = Vec::new();
    for run in 1..=RUNS {
        let capture = Capture::start(&site);
        let echolot = site.run(TARGETS, "none");
        let witness = Witness::of(&echolot);
        if is_long() {
            sleep(Duration::from_secs(60));
        } else {
            witness.wait();
        }
        let held_up = witness.end();
        let ended = echolot.stop();
        let frames = capture.stop();
        let end = ended.stopped.unwrap();
        let stamps: Vec<_> = frames.requests().filter(|(_, sent)| *sent < end - BIN).collect();
        let (shown, all) = (judge(&stamps, &held_up), judge(&stamps, &[]));
        let line = format!("run {run}: {shown}\n  with the bins in which the sender had no CPU: {all}");
        println!("{line}");
        if shown.is_clean() {
            return;
        }
        told.push(line);
    }
    panic!("no clean run (with fewer than {ENOUGH} judged, the machine was too busy to tell):\n{}", told.join("\n"));
}

/// Three seconds of a perfect schedule in an order of neighbours given by `place`, to be spoilt.
fn schedule(place: impl Fn(u32) -> u32) -> Vec<Named> {
    let first = Ipv4Addr::new(10, 64, 0, 0).to_bits();
    let probes = (0..3).flat_map(|round| (0..10_000u32).map(move |slot| (round, slot)));
    probes
        .map(|(round, slot)| {
            (Ipv4Addr::from_bits(first + place(slot)).into(), 1 + round * 1_000_000_000 + u64::from(slot) * 100_000)
        })
        .collect()
}

#[test]
fn the_judge_sees_bursts_and_neighbours() {
    // Each hundred that follow each other are a hundred apart.
    let scattered = || schedule(|slot| slot % 100 * 100 + slot / 100);
    let shown = judge(&scattered(), &[]);
    assert!(shown.is_clean(), "{shown}");
    assert_eq!((shown.judged, shown.least, shown.most), (199, 100, 100));

    assert!(!judge(&schedule(|slot| slot), &[]).crowded.is_empty(), "neighbours one after the other");

    let mut burst = scattered();
    // Held up for 4 ms in the second round, and then all at once.
    for (_, sent) in &mut burst {
        if (1_507_000_001..1_511_000_001).contains(sent) {
            *sent = 1_511_000_001;
        }
    }
    assert_eq!(judge(&burst, &[]).uneven.len(), 2, "a bin that lacks some and one that has them too many");
    assert!(judge(&burst, &[(1_507_000_001, 1_511_000_001)]).is_clean(), "where the sender had no CPU");
}

#[test]
fn the_witness_adds_up_what_the_sender_owes() {
    const MILLI: u64 = 1_000_000;
    assert_eq!(owed(0, MILLI, 0), 0);
    assert_eq!(owed(0, 5 * MILLI, 4 * MILLI), 4 * MILLI, "what it did before it lost the CPU was on time");
    assert_eq!(owed(4 * MILLI, 3 * MILLI, 0), MILLI, "twice the pace: a millisecond made up for in each");
    assert_eq!(owed(4 * MILLI, 3 * MILLI, 2 * MILLI), 5 * MILLI, "and again it has none");
    assert_eq!(owed(90 * MILLI, 20 * MILLI, 20 * MILLI), SKIPPED);
}
