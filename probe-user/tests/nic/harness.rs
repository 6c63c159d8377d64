//! Namespaces, children in other roles, captures, and what tests do again and again.

use echolot::{
    base::{AddressHandle, Cause, Generation, Nanos, ProbeNumber, ShapeIndex, TargetIndex},
    nic::{Engine, Mode, MonotonicClock, Nic, Opened, Options},
    route::{Hop, LinkState, Neighbour},
    wire::{Key, Shape, read_reply},
    worker::{Clock as _, Due, Fate, Receive as _, Rest as _, Transmit as _},
};
use probe_ebpf::wire::payload;
use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const KEY: Key = Key([7, 11]);
pub(crate) const IDENTIFIER: u16 = 0x6563;
/// Set inside: which test. The far namespace and the role are beside it.
pub(crate) const INSIDE: &str = "EL_NIC_TEST";
pub(crate) const FAR: &str = "EL_NIC_FAR";
pub(crate) const ROLE: &str = "EL_NIC_ROLE";

pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn far(command: &str) -> String {
    run(&format!("ip netns exec {} {command}", env::var(FAR).unwrap()))
}

/// Two namespaces, gone when this is.
pub(crate) struct Pair {
    near: String,
    far: String,
}

impl Pair {
    pub(crate) fn new(test: &str) -> Self {
        let tag = std::process::id();
        let pair = Self { near: format!("el-nic-{test}-{tag}-n"), far: format!("el-nic-{test}-{tag}-f") };
        let (near, far) = (&pair.near, &pair.far);
        run(&format!("ip netns add {near}"));
        run(&format!("ip netns add {far}"));
        let queues = "numrxqueues 2 numtxqueues 2";
        run(&format!("ip -n {near} link add near0 {queues} type veth peer name far0 netns {far} {queues}"));
        for (space, device, address) in [(near, "near0", "10.77.0.1/24"), (far, "far0", "10.77.0.2/24")] {
            run(&format!("ip -n {space} link set lo up"));
            // Nothing but what the tests send.
            run(&format!("ip netns exec {space} sysctl -q -w net.ipv6.conf.all.disable_ipv6=1"));
            run(&format!("ip -n {space} address add {address} dev {device}"));
            run(&format!("ip -n {space} link set {device} up"));
        }
        run(&format!("ip -n {far} route add local 10.78.0.0/16 dev lo"));
        pair
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for space in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "delete", space]).output();
        }
    }
}

/// Runs `body` inside the near namespace of a pair made for it, in a process of its own.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce()) {
    if env::var(INSIDE).is_ok_and(|inside| inside == test) {
        return body();
    }
    if !fs::read_to_string("/proc/self/status").unwrap().contains("CapEff:\t000001ff") {
        println!("skipped: needs root");
        return;
    }
    let name = test.rsplit("::").next().unwrap();
    let pair = Pair::new(&name[..name.len().min(12)]);
    let status = inside(&pair.near, &pair.far, test, "main").status().unwrap();
    assert!(status.success(), "{test} failed inside its namespace");
}

/// This test binary, about to run one test in a namespace.
pub(crate) fn inside(space: &str, far: &str, test: &str, role: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", space]).arg(env::current_exe().unwrap());
    command.args(["--include-ignored", "--exact", test, "--nocapture"]).env(INSIDE, test).env(FAR, far).env(ROLE, role);
    command
}

/// A child of this test in another role: killed when this is dropped.
pub(crate) struct Helper(pub(crate) Child);

impl Helper {
    /// Starts it in a namespace (`None`: this one) and waits until it says that it is ready.
    pub(crate) fn start(space: Option<&str>, test: &str, role: &str) -> Self {
        let far = env::var(FAR).unwrap();
        let mut command = match space {
            Some(space) => inside(space, &far, test, role),
            None => {
                let mut command = Command::new(env::current_exe().unwrap());
                command.args(["--include-ignored", "--exact", test, "--nocapture"]).env(ROLE, role);
                command
            }
        };
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("ready")), "the helper ended early");
        Self(child)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn role() -> String {
    env::var(ROLE).unwrap()
}

/// Says so, and stays until killed.
pub(crate) fn ready() -> ! {
    println!("ready");
    loop {
        std::thread::park();
    }
}

pub(crate) fn mac(text: &str) -> [u8; 6] {
    let mut bytes = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap());
    std::array::from_fn(|_| bytes.next().unwrap())
}

pub(crate) fn options(device: &str) -> Options {
    let options = options_without_far(device);
    options.hops[0].set(Neighbour::Resolved(mac(&far("cat /sys/class/net/far0/address"))));
    options
}

/// With a next hop that is not resolved.
pub(crate) fn options_without_far(device: &str) -> Options {
    let hop = Hop::new(Ipv4Addr::new(10, 77, 0, 2), NEAR, false);
    Options {
        unproven_ports: 0,
        expiring_flows: 0,
        interface: device.into(),
        mode: Mode::Auto,
        key: KEY,
        ports: 0..0,
        identifier: IDENTIFIER,
        shapes: vec![Shape::echo(18), Shape::echo(56)],
        max_age: Nanos::from_secs(60),
        rate: 1_000,
        senders: vec![None],
        engine: Engine::Auto,
        receivers: 1,
        addresses: Arc::default(),
        hops: Arc::new([hop].into()),
        link: Arc::new(LinkState::new()),
    }
}

pub(crate) fn open() -> Opened {
    Nic::open(&options("near0")).unwrap()
}

pub(crate) fn due(number: u32) -> Due {
    Due {
        target: TargetIndex(number),
        generation: Generation(3),
        sequence: ProbeNumber(u64::from(number)).sequence(),
        to: AddressHandle(0x0a4e_0000 | (number & 0xffff)),
        hop: 0,
        shape: ShapeIndex(0),
    }
}

/// Sends; what finds no room is offered again until there is some.
pub(crate) fn transmit(opened: &mut Opened, due: &[Due]) -> Vec<Fate> {
    let mut fates = offer(opened, due);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let open: Vec<usize> = (0..due.len()).filter(|i| matches!(fates[*i], Fate::Full(_))).collect();
        if open.is_empty() || Instant::now() > deadline {
            return fates;
        }
        std::thread::sleep(Duration::from_micros(50));
        let again: Vec<Due> = open.iter().map(|i| due[*i]).collect();
        for (i, fate) in open.into_iter().zip(offer(opened, &again)) {
            fates[i] = fate;
        }
    }
}

/// Hands each over once.
pub(crate) fn offer(opened: &mut Opened, due: &[Due]) -> Vec<Fate> {
    let mut fates = vec![Fate::Unsent(Cause::Window); due.len()];
    for (due, fates) in due.chunks(64).zip(fates.chunks_mut(64)) {
        opened.senders[0].transmit(due, fates);
    }
    fates
}

/// Sends and counts what a fate was.
pub(crate) fn send(opened: &mut Opened, numbers: std::ops::Range<u32>) -> Vec<Fate> {
    let due: Vec<Due> = numbers.map(due).collect();
    transmit(opened, &due)
}

/// The targets and stamps of the replies that come until there are `count`, or none for a second.
pub(crate) fn replies(opened: &mut Opened, count: usize) -> Vec<(u32, Nanos)> {
    let mut seen = Vec::new();
    let mut quiet = Instant::now();
    while seen.len() < count && quiet.elapsed() < Duration::from_secs(1) {
        let got = opened.receivers[0].receive(&mut |frames| {
            for frame in frames {
                let reply = read_reply(frame).unwrap();
                assert!(reply.is_proven(&KEY, Generation(3)));
                assert!(reply.sent < reply.arrived && reply.arrived <= MonotonicClock.now());
                seen.push((reply.target.0, reply.sent));
            }
        });
        if got > 0 {
            quiet = Instant::now();
        } else {
            opened.receivers[0].rest(MonotonicClock.now() + Nanos::from_millis(10));
        }
    }
    seen
}

/// Echo requests that the far kernel's stack has received.
pub(crate) fn far_echos() -> u64 {
    let text = far("cat /proc/net/snmp");
    let mut lines = text.lines().filter(|line| line.starts_with("Icmp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let column = names.split(' ').position(|name| name == "InEchos").unwrap();
    values.split(' ').nth(column).unwrap().parse().unwrap()
}

pub(crate) fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "still not so after 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn wait_for_carrier() {
    wait("carrier", || fs::read_to_string("/sys/class/net/near0/operstate").unwrap().trim() == "up");
}

pub(crate) fn sent(fates: &[Fate]) -> Vec<Nanos> {
    fates.iter().filter_map(|fate| if let Fate::Sent(at) = fate { Some(*at) } else { None }).collect()
}

/// tcpdump in the far namespace.
pub(crate) struct Capture {
    tcpdump: Child,
    file: PathBuf,
}

impl Capture {
    pub(crate) fn start() -> Self {
        let file = env::temp_dir().join(format!("{}.pcap", env::var(FAR).unwrap()));
        let mut tcpdump = Command::new("ip")
            .args([
                "netns",
                "exec",
                &env::var(FAR).unwrap(),
                "tcpdump",
                "-i",
                "far0",
                "-U",
                "-Q",
                "in",
                "-Z",
                "root",
                "-w",
            ])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(tcpdump.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("listening on")), "tcpdump did not start");
        Self { tcpdump, file }
    }

    /// Stops it once it holds the probe with this stamp. Send stamps of all probes in it.
    pub(crate) fn stop(mut self, last: Nanos) -> Vec<Nanos> {
        wait("the capture holds the last probe", || self.stamps().last() == Some(&last));
        run(&format!("kill -INT {}", self.tcpdump.id()));
        self.tcpdump.wait().unwrap();
        let stamps = self.stamps();
        fs::remove_file(&self.file).unwrap();
        stamps
    }

    pub(crate) fn stamps(&self) -> Vec<Nanos> {
        let bytes = fs::read(&self.file).unwrap();
        let mut rest = bytes.get(24..).unwrap_or_default();
        let mut stamps = Vec::new();
        while let Some(header) = rest.get(..16) {
            let length = u32::from_ne_bytes(header[8..12].try_into().unwrap()) as usize;
            let Some(frame) = rest.get(16..16 + length) else { break };
            rest = &rest[16 + length..];
            match frame[12..14] {
                [0x08, 0x00] if frame[23] == 1 && frame[34] == 8 => {
                    assert_eq!(frame[38..40], IDENTIFIER.to_be_bytes());
                    let stamp = u64::from_be_bytes(frame[42..50].try_into().unwrap());
                    stamps.push(Nanos(payload::sent(stamp, MonotonicClock.now().0)));
                }
                // What was left in the ring and could not be used for a probe: nobody's.
                [0x88, 0xb5] => assert_eq!(frame[..6], frame[6..12]),
                _ => {}
            }
        }
        stamps
    }
}
