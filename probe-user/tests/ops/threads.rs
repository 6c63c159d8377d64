//! Loop threads: what they ask of the kernel, and of the allocator.

use super::place::{Ended, LONG, Place, Running, reflector};
use echolot::{
    base::{Nanos, Outcome, Sources},
    nic::{self, Mode, MonotonicClock, Nic},
    results::{self, Encoder, Format, WallClock, Writer},
    route::{self, LinkState, Routes, Watch},
    targets::{self, Exclusions, Group, GroupInput, TargetList},
    wire::{Key, Shape},
    worker::{Assembly, Clock as _, Loop, Network, Receive, Rest, Transmit, Wanted, queue},
};
use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};
use xtask::command::{send_signal, wait_until};

/// What a loop may ask of the kernel. By two of them it goes before other threads, or no longer: not every turn, which is counted. The last
/// is how a sleep goes on after strace has attached to it.
const ALLOWED: [&str; 6] = ["sendto", "ppoll", "clock_nanosleep", "sched_getattr", "sched_setattr", "restart_syscall"];

#[test]
#[ignore = "needs root: make test runs it"]
fn kick_and_sleep_at_1_000_a_second() {
    let Some(place) = Place::new("calls", &reflector()) else { return };
    kick_and_sleep(&place, "10.64.0.0-10.64.3.231", &["loop"]);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn kick_and_sleep_at_50_000_a_second() {
    let Some(place) = Place::new("calls", &reflector()) else { return };
    kick_and_sleep(&place, "10.64.0.0-10.64.195.79", &["receiver", "sender"]);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_sender_of_live_frames_that_is_moved_goes_on() {
    const MOVES: usize = 4;
    let Some(place) = Place::new("moved", &reflector()) else { return };
    let config = place.config("10.64.0.0-10.64.3.231", "");
    let running = place.run(&config, &["--engine", "live-frames", "-f", "none"]);
    let thread = loops(&running).into_iter().find(|(name, _)| name != "receiver").unwrap().1.parse().unwrap();
    let thread = rustix::thread::Pid::from_raw(thread);
    let all = rustix::thread::sched_getaffinity(None).unwrap();
    for moves in 1..=MOVES {
        let pinned = rustix::thread::sched_getaffinity(thread).unwrap();
        assert_eq!(pinned.count(), 1, "the program knows a sender by its CPU");
        let Some(other) = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu) && !pinned.is_set(*cpu))
        else {
            println!("skipped: needs two CPUs");
            return;
        };
        let mut only = rustix::thread::CpuSet::new();
        only.set(other);
        rustix::thread::sched_setaffinity(thread, &only).unwrap();
        let told = || running.stderr().matches("may no longer run on CPU").count() >= moves;
        assert!(wait_until(LONG, || told().then_some(())).is_some(), "move {moves}: {}", running.stderr());
        // Two rounds from where it is now.
        let answered = || place.metric("echolot_probes_settled_total{outcome=\"answered");
        let before = answered();
        let goes_on = wait_until(LONG, || (answered() > before + 2_000.0).then_some(()));
        assert!(goes_on.is_some(), "move {moves}: {}", running.stderr());
    }
    let unsent = place.metric("echolot_probes_unsent_total");
    let ended = running.stop();
    ended.says(&["goes on from CPU"]);
    assert!(unsent <= (MOVES * 32) as f64, "no more than what was under way to the kernel: {unsent} unsent; {ended:?}");
}

/// The names and numbers of the loop threads, by name.
fn loops(running: &Running) -> Vec<(String, String)> {
    let mut threads: Vec<(String, String)> = fs::read_dir(format!("/proc/{}/task", running.child.id()))
        .unwrap()
        .map(|task| task.unwrap())
        .map(|task| (fs::read_to_string(task.path().join("comm")).unwrap(), task.file_name().into_string().unwrap()))
        .map(|(name, thread)| (name.trim().to_owned(), thread))
        .filter(|(name, _)| ["loop", "receiver", "sender"].contains(&name.as_str()))
        .collect();
    threads.sort();
    threads
}

fn kick_and_sleep(place: &Place, targets: &str, expected: &[&str]) {
    let config = place.config(targets, "");
    let running = place.run(&config, &["-f", "jsonl", "-o", "/dev/null"]);
    let threads = loops(&running);
    let names: Vec<_> = threads.iter().map(|(name, _)| name.as_str()).collect();
    if std::thread::available_parallelism().unwrap().get() == 2 {
        assert_eq!(names, expected);
    }

    for (name, thread) in &threads {
        let trace = place.folder.join(format!("{name}.strace"));
        let mut strace = Command::new("strace");
        strace.args(["-p", thread, "-o"]).arg(&trace).stderr(Stdio::null());
        let mut strace = strace.spawn().unwrap();
        let lines = || fs::read_to_string(&trace).unwrap_or_default();
        let grown = wait_until(LONG, || (lines().lines().count() > 1_000).then_some(()));
        send_signal("INT", strace.id());
        strace.wait().unwrap();
        let text = lines();
        assert!(grown.is_some(), "{name}: {text}");
        let mut calls = BTreeMap::new();
        for line in text.lines().filter(|line| !line.contains("<detached")) {
            *calls.entry(line.split('(').next().unwrap()).or_insert(0) += 1;
        }
        println!("{name}: {calls:?}");
        assert!(calls.keys().all(|call| ALLOWED.contains(call)), "{name}: {calls:?}");
        let rarely = ["sched_getattr", "sched_setattr"].map(|call| calls.get(call).copied().unwrap_or(0));
        assert!(rarely.iter().sum::<i32>() < 200, "{name}: {calls:?}");
        if name != "receiver" {
            assert!(calls["sendto"] > 100, "{name} didn't probe: {calls:?}");
        }
    }
    assert_eq!(running.stop().status.code(), Some(0));
}

/// Set in the process that has been started in the near namespace.
const INSIDE: &str = "EL_OPS_INSIDE";
const ROUNDS: u64 = 20;

/// Over the real NIC, with results written: a loop of both roles, and a sender and a receiver apart.
#[test]
#[ignore = "needs root: make test runs it"]
fn nothing_is_allocated() {
    if let Some(apart) = env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(allocations(apart == "apart"));
    }
    let Some(place) = Place::new("alloc", &reflector()) else { return };
    for shape in ["together", "apart"] {
        let mut command = place.lab.near(env::current_exe().unwrap());
        command
            .args(["--include-ignored", "--exact", "threads::nothing_is_allocated", "--nocapture"])
            .env(INSIDE, shape);
        let ended: Ended = place.ended(&mut command);
        assert!(ended.status.success(), "{shape}: {ended:?}");
        let told: Vec<_> = ended.stdout.lines().filter(|line| line.contains("allocations")).collect();
        assert_eq!(told.len(), if shape == "apart" { 2 } else { 1 }, "{ended:?}");
        println!("{}", told.join("\n"));
    }
}

async fn allocations(apart: bool) {
    let group = Group {
        interval: Nanos::from_millis(100),
        timeout: Nanos::from_millis(250),
        count: Some(ROUNDS),
        ..Group::named("counted")
    };
    let lists = vec![TargetList::from_arguments(&["10.64.0.0/22"]).unwrap()];
    let input = GroupInput { group, labels: BTreeMap::default(), lists };
    let plan = targets::build(vec![input], &Exclusions::default(), &targets::Options::default()).unwrap();
    let plan = Arc::new(plan);

    let handle = route::connect().unwrap();
    let addresses = plan.targets.iter().map(|target| target.destination.unwrap().handle.v4());
    let routes = Routes::discover(&handle, addresses, None, &Sources::default()).await.unwrap();
    let link = Arc::new(LinkState::new());
    let hops = Arc::clone(&routes.hops);
    let mut watch =
        Watch::open(routes.interface.clone(), Arc::clone(&hops), Arc::clone(&link), || MonotonicClock.now())
            .await
            .unwrap();
    assert!(watch.resolve().await.unwrap().error().is_none());

    let key = Key([3, 5]);
    let nic::Opened { nic, mut senders, mut receivers, taken, .. } = Nic::open(&nic::Options {
        unproven_ports: 0,
        expiring_flows: 0,
        interface: routes.interface.name.clone(),
        mode: Mode::Auto,
        engine: nic::Engine::Auto,
        key,
        identifier: 77,
        ports: 0..0,
        shapes: vec![Shape::default()],
        max_age: Nanos::from_secs(60),
        rate: 10_240,
        senders: vec![None],
        receivers: 1,
        addresses: Arc::default(),
        hops: Arc::clone(&hops),
        link: Arc::clone(&link) as _,
    })
    .unwrap();
    let (sink, queue) = queue(1 << 16);
    let network = Network { key, first_port: 0, hops, taken, link, drops: Arc::default() };
    let wanted = Wanted { sink, no_result_dropped: true, ..Wanted::default() };
    let mut assembly = Assembly::new(&plan, &routes.of, network, (1, 1 + usize::from(apart)), wanted);
    let common = Arc::clone(assembly.common());
    let clock = WallClock::new(MonotonicClock.now(), SystemTime::now());
    let writer =
        Writer::open(Encoder::new(Format::Jsonl, Arc::clone(&plan), clock), Some(Path::new("/dev/null"))).unwrap();
    let writing = results::spawn(writer, vec![queue], |_| (), |error| panic!("{error}")).unwrap();

    let (engine, queues) = (senders.remove(0), receivers.remove(0));
    let start = MonotonicClock.now() + Nanos::from_millis(1);
    if apart {
        let sending = assembly.sender(engine, MonotonicClock, start);
        let receiving = assembly.receiver(queues, MonotonicClock);
        let sender = std::thread::spawn(|| measure("sender", sending));
        let receiver = std::thread::spawn(|| measure("receiver", receiving));
        sender.join().unwrap();
        receiver.join().unwrap();
    } else {
        let looping = assembly.both(engine, queues, MonotonicClock, start);
        // A thread of its own, as in the program: preparing it pins it and blocks signals.
        std::thread::spawn(|| measure("loop", looping)).join().unwrap();
    }
    drop((nic, assembly));
    let settled = |outcome: Outcome| -> u64 {
        common.tallies.iter().map(|tally| tally.rows[0].settled[outcome as usize].load(Relaxed)).sum()
    };
    assert_eq!(common.in_flight(), 0);
    assert_eq!(Outcome::ALL.map(settled).iter().sum::<u64>(), 1024 * ROUNDS);
    assert!(settled(Outcome::Answered) > 1000 * ROUNDS, "{}", settled(Outcome::Answered));
    let report = writing.join();
    assert_eq!((report.written, report.dropped), (1024 * ROUNDS, 0));
}

/// Runs a loop to its end, and counts what it allocates.
fn measure<T: Transmit, R: Receive + Rest>(what: &str, mut looping: Loop<MonotonicClock, T, R>) {
    nic::thread::prepare(None).unwrap();
    let allocations = allocation_counter::measure(|| looping.run());
    println!("{what}: {} allocations", allocations.count_total);
    assert_eq!(allocations.count_total, 0, "{what}: {allocations:?}");
}
