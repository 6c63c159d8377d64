//! Two paths of equal cost between routers that hash flows: whose probes take which.
//!
//! ```text
//!   NAME-near               NAME-mid                     NAME-far
//!   near0 ───────────────── mid0    mid1 ─────────────── far1
//!                                   mid2 ─────────────── far2
//! ```
//!
//! The frames are the templates' own; they leave near by a raw socket, and mid forwards them by the kernel's hash. Far drops them.

use crate::harness::SOON;
use echolot::{
    base::{Family, Generation, Nanos, Sequence, TargetIndex},
    wire::{Content, Key, Kind, Origin, ProbeFields, Shape, Template},
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    collections::BTreeSet,
    fs::File,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd as _,
    process::Command,
    thread,
};
use xtask::command::{is_root, wait_until};

/// Probes of each flow.
const PROBES: u64 = 64;
/// Frames that the kernels send each other of their own accord, at most, while those are counted.
const STRANGERS: u64 = PROBES / 4;
/// So many flows all take the same path once in 2^23 runs.
const FLOWS: u16 = 24;

struct Paths(String);

impl Paths {
    fn up() -> Self {
        let paths = Self(format!("el-paths-{}", std::process::id()));
        let [near, mid, far] = ["near", "mid", "far"].map(|end| paths.space(end));
        for space in [&near, &mid, &far] {
            ip(&format!("netns add {space}"));
            ip(&format!("-n {space} link set lo up"));
        }
        ip(&format!("-n {near} link add near0 type veth peer name mid0 netns {mid}"));
        ip(&format!("-n {mid} link add mid1 type veth peer name far1 netns {far}"));
        ip(&format!("-n {mid} link add mid2 type veth peer name far2 netns {far}"));
        // Known by hand, so that nobody asks for anybody. Network, host, last byte of the MAC address; the other end's are its neighbours.
        for (space, device, (network, host, mac)) in [
            (&near, "near0", (1, 1, 1)),
            (&mid, "mid0", (1, 2, 2)),
            (&mid, "mid1", (2, 1, 3)),
            (&far, "far1", (2, 2, 4)),
            (&mid, "mid2", (3, 1, 5)),
            (&far, "far2", (3, 2, 6)),
        ] {
            let (other, peer) = (3 - host, ((mac - 1) ^ 1) + 1);
            ip(&format!("-n {space} link set {device} address 02:00:00:00:00:0{mac} up"));
            ip(&format!("-n {space} address add 10.98.{network}.{host}/24 dev {device}"));
            ip(&format!("-n {space} address add fd00:98:{network}::{host}/64 dev {device} nodad"));
            for address in [format!("10.98.{network}.{other}"), format!("fd00:98:{network}::{other}")] {
                let known = format!("{address} lladdr 02:00:00:00:00:0{peer} dev {device} nud permanent");
                ip(&format!("-n {space} neighbour replace {known}"));
            }
        }
        for setting in
            ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.fib_multipath_hash_policy=1"]
        {
            ip(&format!("netns exec {mid} sysctl -q -w {setting}"));
        }
        ip(&format!("-n {near} route add 10.99.0.0/16 via 10.98.1.2"));
        ip(&format!("-n {near} route add fd00:99::/32 via fd00:98:1::2"));
        ip(&format!("-n {mid} route add 10.99.0.0/16 nexthop via 10.98.2.2 nexthop via 10.98.3.2"));
        ip(&format!("-n {mid} route add fd00:99::/32 nexthop via fd00:98:2::2 nexthop via fd00:98:3::2"));
        // Nobody answers: what arrives is counted before.
        ip(&format!("-n {far} route add blackhole 10.99.0.0/16"));
        ip(&format!("-n {far} route add blackhole fd00:99::/32"));
        paths
    }

    fn space(&self, end: &str) -> String {
        format!("{}-{end}", self.0)
    }

    /// By what mid hashes IPv6: 0, addresses and flow label; 1, addresses and ports.
    fn hash_v6_by(&self, policy: u8) {
        let mid = self.space("mid");
        ip(&format!("netns exec {mid} sysctl -q -w net.ipv6.fib_multipath_hash_policy={policy}"));
    }

    /// Runs this in a namespace.
    fn inside<T: Send>(&self, end: &str, what: impl FnOnce() -> T + Send) -> T {
        let space = File::open(format!("/run/netns/{}", self.space(end))).unwrap();
        let inside = || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            what()
        };
        thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    /// Frames that have come by each path.
    fn counted(&self) -> [u64; 2] {
        ["far1", "far2"].map(|device| {
            let links = ip(&format!("-n {} -s -j link show dev {device}", self.space("far")));
            let links: serde_json::Value = serde_json::from_str(&links).unwrap();
            links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
        })
    }

    /// Sends probes of a flow to a target, and says by which path they came: all by one.
    #[track_caller]
    fn path_of(&self, shape: Shape) -> usize {
        let frames = frames(shape);
        let before = self.counted();
        self.inside("near", || {
            let (domain, to): (_, IpAddr) = match shape.family {
                Family::V4 => (Domain::IPV4, target(Family::V4)),
                Family::V6 => (Domain::IPV6, target(Family::V6)),
            };
            // IPPROTO_RAW: what is sent begins with its IP header.
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(255))).unwrap();
            for frame in &frames {
                let sent = socket.send_to(frame, &SockAddr::from(SocketAddr::new(to, 0))).unwrap();
                assert_eq!(sent, frame.len());
            }
        });
        let mut came = [0; 2];
        wait_until(SOON, || {
            let now = self.counted();
            came = [now[0] - before[0], now[1] - before[1]];
            (came[0] + came[1] >= PROBES).then_some(())
        });
        match came {
            [first, second] if first >= PROBES && second < STRANGERS => 0,
            [first, second] if second >= PROBES && first < STRANGERS => 1,
            _ => panic!("{shape:?}: {came:?} of {PROBES} came by the two paths"),
        }
    }

    /// By which paths flows go that look otherwise like this.
    #[track_caller]
    fn paths_of(&self, kind: Kind, family: Family) -> usize {
        let shape = Shape::of(kind).over(family);
        (0..FLOWS).map(|flow| self.path_of(Shape { flow, ..shape })).collect::<BTreeSet<_>>().len()
    }
}

impl Drop for Paths {
    fn drop(&mut self) {
        for end in ["near", "mid", "far"] {
            let _ = Command::new("ip").args(["netns", "delete", &self.space(end)]).output();
        }
    }
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn target(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 99, 7, 7).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 7, 7).into(),
    }
}

/// Probes of a flow to the target, from their IP headers on: everything else differs.
fn frames(shape: Shape) -> Vec<Vec<u8>> {
    let key = Key([21, 22]);
    let source: IpAddr = match shape.family {
        Family::V4 => Ipv4Addr::new(10, 98, 1, 1).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x98, 1, 0, 0, 0, 0, 1).into(),
    };
    let origin = Origin { mac: [2; 6], source, identifier: 0xec40, first_port: 20_000, flow_key: key.flow_key() };
    let template = Template::new(shape, origin).unwrap();
    let mut frame = vec![0; template.length()];
    template.lay(&mut frame);
    (0..PROBES)
        .map(|number| {
            let probe = ProbeFields {
                destination: target(shape.family),
                target: TargetIndex(77),
                generation: Generation(number as u16),
                sequence: Sequence(number as u16),
                sent: Nanos(1_000_000_007 * (number + 1)),
                next_hop_mac: [2; 6],
            };
            template.write(&mut frame, &probe, &key);
            frame[14..14 + shape.datagram() as usize].to_vec()
        })
        .collect()
}

/// Linux takes nothing of ICMP but the addresses, and of IPv6 by its first policy the flow label: there alone other flows of echo go other
/// ways. What other routers hash, the first bytes of the message, `wire::looks_tests` holds to be a flow's.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_flow_takes_one_path_and_flows_take_both() {
    if !is_root() {
        println!("skipped: needs root");
        return;
    }
    let paths = Paths::up();
    let tcp = Kind::Tcp { port: 443 };
    let udp = Kind::Udp { port: 53, content: Content::of_port(53) };
    for policy in [1, 0] {
        paths.hash_v6_by(policy);
        for kind in [tcp, udp] {
            assert_eq!(paths.paths_of(kind, Family::V6), 2, "{kind} over IPv6, policy {policy}");
        }
        let echo = if policy == 0 { 2 } else { 1 };
        assert_eq!(paths.paths_of(Kind::Echo, Family::V6), echo, "echo over IPv6, policy {policy}");
    }
    for kind in [tcp, udp] {
        assert_eq!(paths.paths_of(kind, Family::V4), 2, "{kind} over IPv4");
    }
    assert_eq!(paths.paths_of(Kind::Echo, Family::V4), 1, "echo over IPv4");
}
