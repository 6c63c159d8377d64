//! The card for real: AF_XDP sockets and XDP programs on a veth pair.
//!
//! ```text
//!   namespace near                     namespace far
//!   near0 10.77.0.1/24 ────────────── far0 10.77.0.2/24, and all of 10.78.0.0/16 is local
//!   echolot's nic (2 queues)           the kernel's own stack, or `reflect`
//! ```
//!
//! Each test has a pair of its own and is run again inside the near namespace, by `ip netns exec`. They need root.
//!
//! | test | proves |
//! |---|---|
//! | `replies_come_back` | every probe arrives once at the far kernel, every reply is steered, proven and accounted |
//! | `payloads_and_sources_mix` | a frame is laid anew when the next probe looks different |
//! | `link_down` | what was unsent never leaves, what was sent is what a capture holds, and frames are not lost |
//! | `no_carrier` | each frame that the carrier's loss cost is named unsent, none other |
//! | `overflow` | a full ring's losses are counted to the frame, and the queue drains |
//! | `under_load` | sender and receiver on threads of their own, as fast as they go: every reply taken is seen or counted |
//! | `rest_ends_with_a_frame` | a sleeping receiver wakes for a reply |
//! | `second_is_refused` | the second on an interface is told who is there |
//! | `reopens_at_once` | a queue that was just closed can be bound |
//! | `generic_where_there_is_no_native` | the fallback, and that it isn't taken unasked |
//! | `live_frames` | live frames arrive as they were said to have left; refusals and a fallen link are told |
//! | `killed` | SIGKILL leaves nothing attached |
//! | `unprivileged` | what is missing is named |
//! | `only_kicks_and_sleeps` | strace sees nothing else on a loop thread |
//! | `stall::…` | a receiver held up for 2 s moves no round-trip time and loses nothing but what its ring had no room for |
//! | `v6::…` | probes of both families mix; replies and errors of the far kernel over IPv6 are taken, its neighbour discovery is passed |
//! | `tcp::…` | SYNs and RSTs by either engine; the far kernel's answers and errors are taken, and none of ours reaches this host's kernel |
//! | `causes::…` | each cause of a local drop: its counter moves, and its probes are unsent or unheard, never lost |
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

#[path = "nic/causes.rs"]
mod causes;
#[path = "nic/harness.rs"]
mod harness;
#[path = "nic/stall.rs"]
mod stall;
#[path = "nic/station.rs"]
mod station;
#[path = "nic/tcp.rs"]
mod tcp;
#[path = "nic/v6.rs"]
mod v6;

use echolot::{
    base::{Cause, Generation, Nanos, ShapeIndex},
    ledger::unheard::DropLog,
    nic::{Engine, Mode, MonotonicClock, Nic, NicError, Opened, Options, Reflector},
    route::{Hop, Neighbour},
    wire::{RejectedReason, read_reply},
    worker::{Clock as _, Due, Fate, Receive as _, Rest as _, Transmit as _},
};
use harness::*;
use std::{
    env, fs,
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

#[test]
#[ignore = "needs root: make test runs it"]
fn replies_come_back() {
    in_namespace("replies_come_back", || {
        let mut opened = open();
        assert_eq!(opened.nic.info().mode, "copy");
        assert_eq!(opened.nic.info().driver, "veth");
        assert_eq!((opened.nic.info().queues, opened.taken.queues()), (2, 2));
        assert_eq!(opened.receivers[0].queues().collect::<Vec<_>>(), [0, 1]);

        // Many times over what frames there are.
        let (mut stamps, mut back) = (Vec::new(), Vec::new());
        for first in (0..10_000).step_by(100) {
            let fates = send(&mut opened, first..first + 100);
            stamps.extend(sent(&fates));
            back.extend(replies(&mut opened, 100));
        }
        assert_eq!(stamps.len(), 10_000, "all were sent");
        back.sort_unstable();
        let expected: Vec<(u32, Nanos)> = (0..).zip(stamps).collect();
        assert!(back == expected, "every reply came back once, with its stamp");
        assert_eq!(far_echos(), 10_000);

        opened.sampler.sample(&DropLog::default()).unwrap();
        assert!(opened.sampler.local_drops().iter().all(|drop| drop.frames == 0), "{:?}", opened.sampler.local_drops());
        assert_eq!(opened.sampler.rejected().unwrap(), [0; RejectedReason::ALL.len()]);
        let queues = || 0..opened.taken.queues();
        assert_eq!(queues().map(|q| opened.taken.taken(q)).sum::<u64>(), 10_000);
        assert_eq!(queues().map(|q| opened.taken.consumed(q)).sum::<u64>(), 10_000);

        let status = fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u32 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kilobytes < 48 * 1024, "{kilobytes} kB resident at 1,000 probes a second");

        // A hop that there is not.
        let mut fates = [Fate::Sent(Nanos::ZERO); 3];
        let probes = [due(1), Due { hop: u32::MAX, ..due(2) }, due(3)];
        opened.senders[0].transmit(&probes, &mut fates);
        assert!(matches!(fates, [Fate::Sent(_), Fate::Unsent(Cause::NoRoute), Fate::Sent(_)]), "{fates:?}");
        assert_eq!(replies(&mut opened, 2).len(), 2);
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn payloads_and_sources_mix() {
    in_namespace("payloads_and_sources_mix", || {
        run("ip address add 10.77.0.9/24 dev near0");
        let mut options = options("near0");
        let gateway = options.hops[0].neighbour();
        let hops = [(NEAR, gateway), (Ipv4Addr::new(10, 77, 0, 9), gateway), (NEAR, Neighbour::Unresolved)];
        let hop = |(source, neighbour)| {
            let hop = Hop::new(Ipv4Addr::new(10, 77, 0, 2), source, false);
            hop.set(neighbour);
            hop
        };
        options.hops = Arc::new(hops.map(hop).into());
        let mut opened = Nic::open(&options).unwrap();
        let probe = |number: u32| Due { hop: number % 2, shape: ShapeIndex(number as u16 / 2 % 2), ..due(number) };
        let probes: Vec<Due> = (0..4_000).map(probe).collect();
        for chunk in probes.chunks(50) {
            assert_eq!(sent(&transmit(&mut opened, chunk)).len(), chunk.len());
            assert_eq!(replies(&mut opened, chunk.len()).len(), chunk.len());
        }
        let fates = transmit(&mut opened, &[Due { hop: 2, ..due(1) }]);
        assert_eq!(fates, [Fate::Unsent(Cause::Gateway)]);
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn live_frames() {
    in_namespace("live_frames", || {
        if role() == "reflector" {
            let _attached = Reflector::attach("far0", Mode::Auto).unwrap();
            ready();
        }
        let cpu = core_affinity::get_core_ids().unwrap()[0];
        assert!(core_affinity::set_for_current(cpu));
        let live = |engine| Options { engine, senders: vec![Some(cpu.id)], rate: 1_000_000, ..options("near0") };
        let error = Nic::open(&live(Engine::LiveFrames)).err().unwrap().to_string();
        assert!(error.contains("takes no redirected frames") && error.contains("--engine afxdp"), "{error}");
        let auto = Nic::open(&live(Engine::Auto)).unwrap();
        assert!(
            auto.nic.info().engine == "afxdp" && auto.nic.info().reason.contains("redirected"),
            "{:?}",
            auto.nic.info()
        );
        drop(auto);

        let _reflector = Helper::start(Some(&env::var(FAR).unwrap()), "live_frames", "reflector");
        let mut opened = Nic::open(&live(Engine::Auto)).unwrap();
        assert_eq!(opened.nic.info().engine, "live-frames", "{:?}", opened.nic.info());
        // Calls of all sizes, both payloads, more probes than the table holds.
        let mut number = 0;
        let mut expected = Vec::new();
        let mut back = Vec::new();
        for round in 0..400u32 {
            let many = 1 + round * 7 % 100;
            let probe = |n: u32| Due { shape: ShapeIndex((n / 13 % 2) as u16), ..due(n) };
            let probes: Vec<Due> = (number..number + many).map(probe).collect();
            let fates = transmit(&mut opened, &probes);
            expected.extend((number..).zip(sent(&fates)));
            assert_eq!(expected.len(), (number + many) as usize, "{fates:?}");
            number += many;
            back.extend(replies(&mut opened, many as usize));
        }
        assert!(number > 2 * probe_ebpf::layout::LIVE_TABLE);
        back.sort_unstable();
        assert!(back == expected, "every reply came back once, with the stamp that was told");

        // A fall that the engine finds out by itself: nothing is said to have left.
        run("ip link set near0 down");
        let probes: Vec<Due> = (number..number + 50).map(due).collect();
        let fates = offer(&mut opened, &probes);
        assert_eq!(sent(&fates).len(), 0, "{fates:?}");
        run("ip link set near0 up");
        wait_for_carrier();
        let fates = send(&mut opened, 0..50);
        assert_eq!(sent(&fates).len(), 50, "{fates:?}");
        assert_eq!(replies(&mut opened, 50).len(), 50);
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn link_down() {
    in_namespace("link_down", || {
        let mut opened = open();
        let capture = Capture::start();
        let mut stamps = sent(&send(&mut opened, 0..40));
        assert_eq!(stamps.len(), 40);
        for round in 0..3u32 {
            run("ip link set near0 down");
            // Nobody has told the engine yet: it finds out by itself. More than there are frames, in all batch sizes.
            for batch in (1..=64).chain([1, 64, 5]) {
                let probe = |n: u32| Due { shape: ShapeIndex((n * 7 / 5 % 2) as u16), ..due(n) };
                let probes: Vec<Due> = (0..batch).map(probe).collect();
                let fates = offer(&mut opened, &probes);
                assert!(fates.iter().all(|fate| *fate == Fate::Full(Cause::LinkDown)), "{fates:?}");
                // As a sender does whose probes have due times to miss.
                opened.senders[0].give_up(Cause::LinkDown, u64::from(batch));
            }
            run("ip link set near0 up");
            wait_for_carrier();
            // Fewer than were left in the ring, exactly as many, more.
            let fates = send(&mut opened, 0..[3, 5, 300][round as usize]);
            assert_eq!(sent(&fates).len(), fates.len(), "{fates:?}");
            stamps.extend(sent(&fates));
        }
        // A last one that is seen after all others.
        let last = sent(&send(&mut opened, 0..1))[0];
        stamps.push(last);
        wait("the far kernel has them all", || far_echos() >= stamps.len() as u64);
        assert_eq!(capture.stop(last), stamps, "the capture holds exactly what was sent");

        let drops = opened.sampler.local_drops();
        let down = drops.iter().find(|drop| drop.cause == "link_down").unwrap();
        assert_eq!((down.direction, down.frames), ("transmit", 3 * (64 * 65 / 2 + 70)));
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn no_carrier() {
    in_namespace("no_carrier", || {
        let mut opened = open();
        let mut count = sent(&send(&mut opened, 0..64)).len();
        assert_eq!(count, 64);
        for _ in 0..3 {
            far("ip link set far0 down");
            // The kernel takes each of these from the ring and drops it: more than there are frames, none is lost.
            for batch in [1, 2, 31, 32, 33, 64, 64, 64, 64, 64] {
                let fates = offer(&mut opened, &(0..batch).map(due).collect::<Vec<_>>());
                assert!(fates.iter().all(|fate| matches!(fate, Fate::Full(_))), "{fates:?}");
                assert_eq!(fates[0], Fate::Full(Cause::Refused), "whoever knows of no fall may offer it again");
            }
            far("ip link set far0 up");
            wait_for_carrier();
            let fates = send(&mut opened, 0..320);
            assert_eq!(sent(&fates).len(), 320, "{fates:?}");
            count += 320;
        }
        wait("the far kernel has them all", || far_echos() >= count as u64);
        assert_eq!(far_echos(), count as u64);
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn overflow() {
    in_namespace("overflow", || {
        if role() == "reflector" {
            let _reflector = Reflector::attach("far0", Mode::Auto).unwrap();
            ready();
        }
        let mut opened = open();
        let _reflector = Helper::start(Some(&env::var(FAR).unwrap()), "overflow", "reflector");
        // Nobody receives: the rings (1,024 each) overflow.
        let mut count = 0;
        for first in (0..5_000).step_by(50) {
            count += sent(&send(&mut opened, first..first + 50)).len();
        }
        assert_eq!(count, 5_000);
        let taken = |opened: &Opened| (0..2).map(|q| opened.taken.taken(q)).sum::<u64>();
        wait("all replies taken", || taken(&opened) == 5_000);
        let before = MonotonicClock.now();
        let log = DropLog::default();
        opened.sampler.sample(&log).unwrap();
        let frames: u64 = (0..2).map(|queue| opened.taken.dropped(queue)).sum();
        assert!(frames >= 5_000 - 2 * 1_024, "{frames}");
        assert!(
            !log.claim(Nanos::ZERO, Nanos::ZERO) && !log.claim(MonotonicClock.now(), Nanos::MAX),
            "of another time"
        );
        assert_eq!((0..10_000).filter(|_| log.claim(before, before)).count() as u64, frames, "each excuses one probe");

        assert_eq!(replies(&mut opened, 5_000).len() as u64, 5_000 - frames, "the rest is there");
        for queue in 0..2 {
            let (taken, consumed) = (opened.taken.taken(queue), opened.taken.consumed(queue));
            assert_eq!(taken, consumed + opened.taken.dropped(queue), "queue {queue} is drained");
        }
        opened.sampler.sample(&log).unwrap();
        assert_eq!((0..2).map(|queue| opened.taken.dropped(queue)).sum::<u64>(), frames, "nothing is counted twice");
        let drops = opened.sampler.local_drops();
        assert_eq!(
            drops.iter().filter(|d| ["ring_full", "no_buffer"].contains(&d.cause)).map(|d| d.frames).sum::<u64>(),
            frames
        );

        // And the queue works on.
        assert_eq!(sent(&send(&mut opened, 0..64)).len(), 64);
        assert_eq!(replies(&mut opened, 64).len(), 64);
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn under_load() {
    in_namespace("under_load", || {
        if role() == "reflector" {
            let _reflector = Reflector::attach("far0", Mode::Auto).unwrap();
            ready();
        }
        let mut opened = open();
        let _reflector = Helper::start(Some(&env::var(FAR).unwrap()), "under_load", "reflector");
        let mut receiver = opened.receivers.remove(0);
        let done = Arc::new(AtomicBool::new(false));
        let receiving = std::thread::spawn({
            let (done, taken) = (done.clone(), opened.taken.clone());
            move || {
                let mut proven = 0u64;
                let drained = || (0..2).all(|q| taken.taken(q) == taken.consumed(q) + taken.dropped(q));
                while !done.load(Relaxed) || !drained() {
                    receiver.receive(&mut |frames| {
                        let reply = |frame: &&&[u8]| read_reply(frame).unwrap().is_proven(&KEY, Generation(3));
                        proven += frames.iter().filter(reply).count() as u64;
                    });
                    receiver.rest(MonotonicClock.now() + Nanos::from_micros(100));
                }
                proven
            }
        });
        let (mut sent_in_all, begun) = (0, Instant::now());
        while begun.elapsed() < Duration::from_secs(1) {
            sent_in_all += sent(&send(&mut opened, 0..64)).len() as u64;
        }
        wait("everything is quiet", || {
            let taken = |q| opened.taken.taken(q);
            let before = taken(0) + taken(1);
            std::thread::sleep(Duration::from_millis(100));
            before == taken(0) + taken(1)
        });
        opened.sampler.sample(&DropLog::default()).unwrap();
        done.store(true, Relaxed);
        let proven = receiving.join().unwrap();
        let sum = |count: &dyn Fn(usize) -> u64| count(0) + count(1);
        let (taken, dropped) = (sum(&|q| opened.taken.taken(q)), sum(&|q| opened.taken.dropped(q)));
        assert_eq!(proven + dropped, taken);
        assert!(taken <= sent_in_all && taken > sent_in_all / 2, "{taken} of {sent_in_all}");
        println!("{sent_in_all} sent, {proven} received, {dropped} dropped");
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn rest_ends_with_a_frame() {
    in_namespace("rest_ends_with_a_frame", || {
        let mut opened = open();
        assert_eq!(replies(&mut opened, 1).len(), 0);
        let mut receiver = opened.receivers.remove(0);
        let sleeper = std::thread::spawn(move || {
            let begun = Instant::now();
            receiver.rest(MonotonicClock.now() + Nanos::from_secs(20));
            begun.elapsed()
        });
        wait("asleep", || {
            fs::read_dir("/proc/self/task").unwrap().any(|task| {
                let path = task.unwrap().path().join("syscall");
                // 271 is ppoll.
                fs::read_to_string(path).is_ok_and(|text| text.starts_with("271 "))
            })
        });
        assert_eq!(sent(&send(&mut opened, 0..1)).len(), 1);
        assert!(sleeper.join().unwrap() < Duration::from_secs(10), "the reply woke it");
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn second_is_refused() {
    in_namespace("second_is_refused", || {
        let opened = open();
        let error = Nic::open(&options("near0")).err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, NicError::AlreadyAttached { .. }), "{text}");
        assert!(text.contains("`steer`") && text.contains("another echolot"), "{text}");
        drop(opened);
        let reflector = Reflector::attach("near0", Mode::Generic).unwrap();
        assert!(reflector.is_generic());
        let text = Nic::open(&options("near0")).err().unwrap().to_string();
        assert!(text.contains("`reflect`"), "{text}");
        drop(reflector);
        drop(open());

        let text = Nic::open(&options("absent0")).err().unwrap().to_string();
        assert!(text.starts_with("absent0: no such interface"), "{text}");
        let text = Nic::open(&options("a-name-that-is-too-long")).err().unwrap().to_string();
        assert!(text.contains("no such interface"), "{text}");
        run("ip link set near0 down");
        let text = Nic::open(&options("near0")).err().unwrap().to_string();
        assert!(text.contains("is down"), "{text}");
        run("ip link set near0 up");
        let zero_copy = Options { mode: Mode::ZeroCopy, ..options("near0") };
        let text = Nic::open(&zero_copy).err().unwrap().to_string();
        assert!(text.contains("can't do zero-copy"), "{text}");
        let text = Nic::open(&Options { senders: vec![None; 3], ..options("near0") }).err().unwrap().to_string();
        assert!(text.contains("3 sender threads") && text.contains("there are 2"), "{text}");
        // After all that nothing is left behind.
        drop(open());
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn reopens_at_once() {
    in_namespace("reopens_at_once", || {
        for round in 0..10 {
            let mut opened = open();
            assert_eq!(sent(&send(&mut opened, 0..10)).len(), 10, "round {round}");
            assert_eq!(replies(&mut opened, 10).len(), 10, "round {round}");
        }
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn generic_where_there_is_no_native() {
    in_namespace("generic_where_there_is_no_native", || {
        // Drivers without native XDP, whichever this kernel has.
        let made = ["dummy", "ifb", "tun"].into_iter().find(|kind| {
            let words =
                if *kind == "tun" { "tuntap add plain0 mode tap" } else { &format!("link add plain0 type {kind}") };
            Command::new("ip").args(words.split(' ')).output().unwrap().status.success()
        });
        let Some(kind) = made else {
            println!("skipped: this kernel has no driver without native XDP to test with");
            return;
        };
        run("ip link set plain0 up");
        let native = Options { mode: Mode::Copy, ..options("plain0") };
        match Nic::open(&native) {
            Err(error @ NicError::NoNative { .. }) => assert!(error.to_string().contains("--mode generic"), "{error}"),
            other => panic!("{kind}: {:?}", other.err()),
        }
        let opened = Nic::open(&options("plain0")).unwrap();
        assert_eq!(opened.nic.info().mode, "generic");
        drop(opened);
        // And it works where it was asked for: on the veth, natively capable, replies are steered generically.
        let mut opened = Nic::open(&Options { mode: Mode::Generic, ..options("near0") }).unwrap();
        assert_eq!(opened.nic.info().mode, "generic");
        assert_eq!(sent(&send(&mut opened, 0..64)).len(), 64);
        assert_eq!(replies(&mut opened, 64).len(), 64);
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn killed() {
    in_namespace("killed", || {
        if role() == "victim" {
            let _opened = open();
            ready();
        }
        for _ in 0..3 {
            let victim = Helper::start(None, "killed", "victim");
            assert!(run("ip link show near0").contains("prog/xdp"));
            // SIGKILL.
            drop(victim);
            wait("detached", || !run("ip link show near0").contains("prog/xdp"));
            let mut opened = open();
            assert_eq!(sent(&send(&mut opened, 0..10)).len(), 10);
            assert_eq!(replies(&mut opened, 10).len(), 10);
        }
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn unprivileged() {
    in_namespace("unprivileged", || {
        if role() == "nobody" {
            let error = Nic::open(&options_without_far("near0")).err().unwrap();
            assert!(matches!(error, NicError::Privileges), "{error}");
            assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
            return;
        }
        // Where nobody may read it.
        let copy = env::temp_dir().join(env::var(FAR).unwrap());
        fs::copy(env::current_exe().unwrap(), &copy).unwrap();
        let status = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
            .arg(&copy)
            .args(["--include-ignored", "--exact", "unprivileged", "--nocapture"])
            .env(ROLE, "nobody")
            .status();
        fs::remove_file(&copy).unwrap();
        assert!(status.unwrap().success());
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn only_kicks_and_sleeps() {
    in_namespace("only_kicks_and_sleeps", || {
        if role() == "looper" {
            looper();
        }
        let trace = env::temp_dir().join(format!("{}.strace", env::var(FAR).unwrap()));
        let looper = Helper::start(None, "only_kicks_and_sleeps", "looper");
        let task = fs::read_dir(format!("/proc/{}/task", looper.0.id()))
            .unwrap()
            .map(|task| task.unwrap().path())
            .find(|task| fs::read_to_string(task.join("comm")).unwrap().trim() == "loop")
            .unwrap();
        let thread = task.file_name().unwrap().to_str().unwrap();
        let mut strace = Command::new("strace").args(["-p", thread, "-o"]).arg(&trace).spawn().unwrap();
        let lines = || fs::read_to_string(&trace).unwrap_or_default();
        let has = |text: &str, name: &str| text.lines().filter(|line| line.starts_with(name)).count() > 100;
        // A loop that is slow, unoptimised or on a busy machine, sleeps seldom.
        let has_both = |text: String| has(&text, "sendto(") && has(&text, "ppoll(");
        wait("it has kicked and slept", || has_both(lines()));
        run(&format!("kill -INT {}", strace.id()));
        strace.wait().unwrap();
        drop(looper);
        let text = lines();
        fs::remove_file(&trace).unwrap();
        assert!(has(&text, "sendto(") && has(&text, "ppoll("), "{text}");
        let others: Vec<_> = text
            .lines()
            .filter(|line| {
                !["sendto(", "ppoll(", "strace:", "restart_syscall("].iter().any(|call| line.starts_with(call))
            })
            .collect();
        assert!(others.iter().all(|line| line.contains("detached")), "{others:?}");
    });
}

/// A loop of both roles on a thread of its own: 1,000 probes a second.
fn looper() -> ! {
    let mut opened = open();
    let (mut sender, mut receiver) = (opened.senders.remove(0), opened.receivers.remove(0));
    let thread = std::thread::Builder::new().name("loop".into());
    let (started, runs) = std::sync::mpsc::channel();
    let _loop = thread.spawn(move || {
        echolot::nic::thread::prepare(None).unwrap();
        started.send(()).unwrap();
        let mut next = MonotonicClock.now();
        for number in 0.. {
            let mut fate = [Fate::Unsent(Cause::Window)];
            sender.transmit(&[due(number)], &mut fate);
            next += Nanos::from_millis(1);
            while MonotonicClock.now() < next {
                receiver.receive(&mut |_| ());
                receiver.rest(next);
            }
        }
    });
    runs.recv().unwrap();
    ready()
}
