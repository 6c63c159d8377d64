//! Runs the XDP programs on single frames (BPF_PROG_TEST_RUN): nothing is attached, nothing leaves the machine.

mod alike;
pub(crate) mod around;
mod errors;
mod expired;
pub(crate) mod frames;
pub(crate) mod frames_v6;
mod impair;
mod reflect;
mod reflect_tcp;
mod reflect_udp;
mod reflect_v6;
mod routers;
mod tcp;
mod udp;
mod v6;
mod whole;

use aya::{
    Ebpf, EbpfLoader, TestRun, TestRunOptions,
    maps::{Array, DevMap, LpmTrie, PerCpuArray, RingBuf, XskMap, lpm_trie::Key},
    programs::Xdp,
};
use echolot::{
    base::Nanos,
    wire::{Live, ProbeFields, Template},
};
use probe_ebpf::{
    far::AnsweredRequest,
    layout::{
        LIVE_ECHO_V4, LIVE_ECHO_V6, LIVE_FRAME, LIVE_SPARE, LIVE_WHOLE, LiveCursor, MAX_CPUS, OPEN_PORTS_SIZE,
        OpenPorts, QueueLine, Reflected, SETTINGS_SIZE, Settings, Verdict,
    },
    routers::RouterRules,
};
use rustix::{
    net::{AddressFamily, SocketType, socket},
    process::geteuid,
    time::{ClockId, clock_gettime},
};
use std::{
    mem::offset_of,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

/// The product's object.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/echolot-xdp"));

/// What an XDP program can answer (`enum xdp_action`).
pub(crate) const XDP_ABORTED: u32 = 0;
pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;
pub(crate) const XDP_REDIRECT: u32 = 4;

/// Bytes of a queue's line in `TAKEN`.
const LINE: usize = size_of::<QueueLine>();

/// The programs with maps of their own.
pub(crate) struct Rig {
    ebpf: Ebpf,
    socket: Option<OwnedFd>,
}

/// What became of a frame.
pub(crate) struct Ran {
    pub(crate) action: u32,
    pub(crate) frame: Vec<u8>,
    pub(crate) duration: Duration,
}

impl Rig {
    /// None without the rights that it takes.
    pub(crate) fn load() -> Option<Self> {
        Self::load_tagged(0)
    }

    /// The same, with live frames that carry so many VLAN tags: none or one.
    pub(crate) fn load_tagged(tags: u8) -> Option<Self> {
        if !geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        Some(Self::of(OBJECT, tags, &["steer", "reflect"]))
    }

    /// The programs of far ends and measurements.
    pub(crate) fn load_far() -> Option<Self> {
        geteuid()
            .is_root()
            .then(|| Self::of(testbed::object::OBJECT, 0, &["impair", "routers", "pass", "drop_all", "half", "bare"]))
    }

    fn of(object: &[u8], tags: u8, programs: &[&str]) -> Self {
        let mut loader = EbpfLoader::new();
        let mut ebpf = loader.override_global("TAGGED", &tags, true).load(object).expect("the object is whole");
        for name in programs {
            let program: &mut Xdp = ebpf.program_mut(name).expect(name).try_into().expect("an XDP program");
            program.load().unwrap_or_else(|e| panic!("the verifier refuses {name}: {e:#?}"));
        }
        Self { ebpf, socket: None }
    }

    pub(crate) fn configure(&mut self, settings: &Settings) {
        let map = self.ebpf.map_mut("SETTINGS").unwrap();
        let mut array = Array::<_, [u8; SETTINGS_SIZE]>::try_from(map).unwrap();
        array.set(0, settings.to_bytes(), 0).unwrap();
    }

    /// Makes the port an inactive member of a bond, or an active one.
    pub(crate) fn set_inactive(&mut self, inactive: bool) {
        let map = self.ebpf.map_mut("INACTIVE").unwrap();
        Array::<_, u32>::try_from(map).unwrap().set(0, u32::from(inactive), 0).unwrap();
    }

    /// Puts a socket on queue 0. A test run redirects nothing, so it needs neither ring nor interface.
    pub(crate) fn open_socket(&mut self) {
        let fd = socket(AddressFamily::XDP, SocketType::RAW, None).expect("an AF_XDP socket");
        XskMap::try_from(self.ebpf.map_mut("XSKS").unwrap()).unwrap().set(0, fd.as_raw_fd(), 0).unwrap();
        self.socket = Some(fd);
        self.allow(u64::MAX);
    }

    /// Lets `steer` take frames for queue 0 until so many have been taken in all.
    pub(crate) fn allow(&mut self, limit: u64) {
        let mut line = self.line();
        line[1] = limit;
        let bytes: Vec<u8> = line.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut map = Array::<_, [u8; LINE]>::try_from(self.ebpf.map_mut("TAKEN").unwrap()).unwrap();
        map.set(0, <[u8; LINE]>::try_from(bytes).unwrap(), 0).unwrap();
    }

    /// The words of queue 0's line: taken, limit, refused.
    fn line(&self) -> [u64; LINE / 8] {
        let bytes = Array::<_, [u8; LINE]>::try_from(self.ebpf.map("TAKEN").unwrap()).unwrap().get(&0, 0).unwrap();
        std::array::from_fn(|word| u64::from_ne_bytes(bytes[8 * word..][..8].try_into().unwrap()))
    }

    /// Frames that were refused for want of room on queue 0.
    pub(crate) fn refused(&self) -> u64 {
        self.line()[2]
    }

    /// Shows a frame to a program, on queue 0.
    pub(crate) fn run(&self, program: &str, frame: &[u8]) -> Ran {
        self.repeat(program, frame, 1)
    }

    /// The same many times over; the duration is that of one time.
    pub(crate) fn repeat(&self, program: &str, frame: &[u8], repeat: u32) -> Ran {
        let program: &Xdp = self.ebpf.program(program).unwrap().try_into().unwrap();
        let mut out = vec![0; frame.len() + 256];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), repeat, ..TestRunOptions::default() };
        let result = program.test_run(options).expect("a test run");
        out.truncate(usize::try_from(result.data_size_out).unwrap());
        Ran { action: result.return_value, frame: out, duration: result.duration }
    }

    fn set<const N: usize>(&mut self, name: &str, index: u32, value: [u8; N]) {
        let map = self.ebpf.map_mut(name).unwrap();
        Array::<_, [u8; N]>::try_from(map).unwrap().set(index, value, 0).unwrap();
    }

    /// Has `steer` build a probe as it does on live frames, into a frame that held `dirty`. Returns action, frame and stamp.
    pub(crate) fn build(&mut self, template: &Template, probe: &ProbeFields, dirty: &[u8]) -> (u32, Vec<u8>, Nanos) {
        let form = match template.live().expect("an echo's template is the program's too") {
            Live::V4(template) => {
                self.set("LIVE_TEMPLATES", 0, template.to_bytes());
                LIVE_ECHO_V4
            }
            Live::V6(template) => {
                self.set("LIVE_TEMPLATES_V6", 0, template.to_bytes());
                LIVE_ECHO_V6
            }
        };
        let mut due = [0u8; 32];
        due[..6].copy_from_slice(&probe.next_hop_mac);
        match probe.destination {
            IpAddr::V4(address) => due[16..20].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => self.set("LIVE_DESTINATIONS", 0, address.octets()),
        }
        due[20..24].copy_from_slice(&probe.target.0.to_ne_bytes());
        due[24..26].copy_from_slice(&probe.sequence.0.to_ne_bytes());
        due[26..28].copy_from_slice(&probe.generation.0.to_ne_bytes());
        self.set("LIVE_DUE", 0, due);
        self.transmit(form, dirty)
    }

    /// The same of a probe that is a whole frame.
    pub(crate) fn copy(&mut self, frame: [u8; LIVE_FRAME], dirty: &[u8]) -> (u32, Vec<u8>, Nanos) {
        self.set("LIVE_FRAMES", 0, frame);
        self.set("LIVE_DUE", 0, [0; 32]);
        self.transmit(LIVE_WHOLE, &[dirty, &[0x77; LIVE_SPARE]].concat())
    }

    fn transmit(&mut self, form: u32, dirty: &[u8]) -> (u32, Vec<u8>, Nanos) {
        // Whatever CPU this runs on.
        let mut cursor = [0; 64];
        cursor[offset_of!(LiveCursor, sender)..][..4].copy_from_slice(&1u32.to_ne_bytes());
        cursor[offset_of!(LiveCursor, form)..][..4].copy_from_slice(&form.to_ne_bytes());
        (0..MAX_CPUS).for_each(|cpu| self.set("LIVE_CURSORS", cpu, cursor));
        // The loopback device exists everywhere; a test run without live frames redirects nothing.
        DevMap::try_from(self.ebpf.map_mut("LIVE_OUT").unwrap()).unwrap().set(0, 1, None, 0).unwrap();
        let ran = self.run("steer", dirty);
        let cursors = Array::<_, [u8; 64]>::try_from(self.ebpf.map("LIVE_CURSORS").unwrap()).unwrap();
        let built: u32 = (0..MAX_CPUS).map(|cpu| u32::from(cursors.get(&cpu, 0).unwrap()[0])).sum();
        assert_eq!(built, 1, "one frame was built");
        (0..MAX_CPUS).for_each(|cpu| self.set("LIVE_CURSORS", cpu, [0; 64]));
        let due = Array::<_, [u8; 32]>::try_from(self.ebpf.map("LIVE_DUE").unwrap()).unwrap().get(&0, 0).unwrap();
        (ran.action, ran.frame, Nanos(u64::from_ne_bytes(due[8..16].try_into().unwrap())))
    }

    /// How many instructions the kernel runs of a program: what the verifier has left of it.
    pub(crate) fn instructions(&self, program: &str) -> u32 {
        let program: &Xdp = self.ebpf.program(program).unwrap().try_into().unwrap();
        program.info().unwrap().size_translated().expect("told since Linux 4.13")
    }

    /// How many instructions the verifier went through, all paths together; it gives up at a million.
    pub(crate) fn verified(&self, program: &str) -> u32 {
        let program: &Xdp = self.ebpf.program(program).unwrap().try_into().unwrap();
        program.info().unwrap().verified_instruction_count().expect("told since Linux 5.16")
    }

    /// Frames by verdict.
    pub(crate) fn verdicts(&self) -> [u64; Verdict::ALL.len()] {
        let map = PerCpuArray::<_, u64>::try_from(self.ebpf.map("VERDICTS").unwrap()).unwrap();
        std::array::from_fn(|index| sum(&map, index))
    }

    /// Frames that were taken for queue 0.
    pub(crate) fn taken(&self) -> u64 {
        self.line()[0]
    }

    /// Tells `impair` its ranges: prefix, its length, and 1 where userspace answers.
    pub(crate) fn impair(&mut self, ranges: &[([u8; 4], u32, u32)]) {
        let mut trie = LpmTrie::<_, [u8; 4], u32>::try_from(self.ebpf.map_mut("IMPAIRED").unwrap()).unwrap();
        for (prefix, length, impaired) in ranges {
            trie.insert(&Key::new(*length, *prefix), impaired, 0).unwrap();
        }
    }

    /// The same of IPv6.
    pub(crate) fn impair_v6(&mut self, ranges: &[([u8; 16], u32, u32)]) {
        let mut trie = LpmTrie::<_, [u8; 16], u32>::try_from(self.ebpf.map_mut("IMPAIRED_V6").unwrap()).unwrap();
        for (prefix, length, impaired) in ranges {
            trie.insert(&Key::new(*length, *prefix), impaired, 0).unwrap();
        }
    }

    /// Tells `routers` what it goes by.
    pub(crate) fn set_routers(&mut self, rules: &RouterRules) {
        self.set("ROUTERS", 0, rules.to_bytes());
    }

    /// Probes that expired at a position of their paths; at 0, those that reached their destinations.
    pub(crate) fn asked(&self, position: u32) -> u64 {
        sum(&PerCpuArray::try_from(self.ebpf.map("ASKED").unwrap()).unwrap(), position as usize)
    }

    /// What `impair` has recorded since the last call.
    pub(crate) fn answered(&mut self) -> Vec<AnsweredRequest> {
        let mut ring = RingBuf::try_from(self.ebpf.map_mut("ANSWERED").unwrap()).unwrap();
        std::iter::from_fn(|| ring.next().map(|item| AnsweredRequest::from_bytes(&item).unwrap())).collect()
    }

    /// Requests that `impair` answered and could not record.
    pub(crate) fn unrecorded(&self) -> u64 {
        sum(&PerCpuArray::try_from(self.ebpf.map("UNRECORDED").unwrap()).unwrap(), 0)
    }

    /// Echo requests that were answered.
    pub(crate) fn reflected(&self) -> u64 {
        self.reflected_as(Reflected::Echo)
    }

    /// Frames that `reflect` did this with.
    pub(crate) fn reflected_as(&self, what: Reflected) -> u64 {
        sum(&PerCpuArray::try_from(self.ebpf.map("REFLECTED").unwrap()).unwrap(), what as usize)
    }

    /// Tells `reflect` to answer TCP, and which ports are open.
    pub(crate) fn answer_tcp(&mut self, open: &[u16]) {
        self.open_ports("TCP_PORTS", open);
    }

    /// The same of UDP.
    pub(crate) fn answer_udp(&mut self, open: &[u16]) {
        self.open_ports("UDP_PORTS", open);
    }

    fn open_ports(&mut self, map: &str, open: &[u16]) {
        let mut ports = OpenPorts::CLOSED;
        open.iter().for_each(|port| ports.open(*port));
        let map = self.ebpf.map_mut(map).unwrap();
        Array::<_, [u8; OPEN_PORTS_SIZE]>::try_from(map).unwrap().set(0, ports.to_bytes(), 0).unwrap();
    }
}

fn sum(map: &PerCpuArray<&aya::maps::MapData, u64>, index: usize) -> u64 {
    map.get(&u32::try_from(index).unwrap(), 0).unwrap().iter().sum()
}

/// The clock of `bpf_ktime_get_ns`.
pub(crate) fn now() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    Nanos(u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap())
}

/// Bytes of an IP header without options.
const fn header(family: echolot::base::Family) -> usize {
    match family {
        echolot::base::Family::V4 => 20,
        echolot::base::Family::V6 => 40,
    }
}
