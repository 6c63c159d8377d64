//! UDP and DNS probes as people ask for them, against the far kernel's own stack and sockets.

use crate::{
    harness::{ECHOLOT, SOON, Site, output},
    results::{Outcome, Record},
};
use std::{
    fs::File,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    thread,
    time::Duration,
};
use testbed::bare::Passage;
use xtask::lab::{
    Answer, End, FAR_INTERFACE,
    services::{DNS_PORT, DROPPED_PORT, ECHO_PORT, Services},
};

/// A sweep takes a second or two where nothing else runs.
const WITHIN: Duration = Duration::from_secs(120);
/// UDP is served there, in both families.
const SERVED: [&str; 2] = ["10.64.0.1-10.64.0.8", "fd00:64::1-fd00:64::8"];
/// How many those are.
const HOSTS: usize = 16;
pub(crate) const ENGINES: [&str; 2] = ["afxdp", "live-frames"];
/// Nobody listens there.
const CLOSED: u16 = 9;

/// A lab whose far end has the lab's services at [`SERVED`], [`DROPPED_PORT`] dropped, and all other ports closed.
pub(crate) fn served(what: &str) -> Option<(Site, Passage)> {
    let site = Site::up(what, &Answer::Kernel)?;
    // Frames that a program sends out by a veth arrive only where there is a program, too.
    let passage = inside(&site, End::Far, || Passage::attach(FAR_INTERFACE)).unwrap();
    site.name().drop_port().unwrap();
    // For IPv6 a route is not enough to make an address one that can be bound, and that errors are sent from.
    for host in Services::hosts().filter(IpAddr::is_ipv6) {
        let address = format!("{host}/128");
        output(site.name().command(End::Far, "ip").args(["address", "replace", &address, "dev", "lo", "nodad"]));
    }
    let services = inside(&site, End::Far, || Services::bind().unwrap());
    // They serve until the process ends.
    thread::spawn(move || services.run());
    Some((site, passage))
}

/// Does something in a namespace of the lab's.
pub(crate) fn inside<T: Send>(site: &Site, end: End, what: impl FnOnce() -> T + Send) -> T {
    let space = File::open(format!("/run/netns/{}", site.name().namespace(end))).unwrap();
    let inside = || {
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(space.as_fd(), Some(kind)).unwrap();
        what()
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

/// Some of the kernel's counters in a namespace, since the namespace is there.
pub(crate) fn counters<const N: usize>(site: &Site, end: End, names: [&str; N]) -> [u64; N] {
    let told = output(site.name().command(end, "nstat").args(["-a", "-s", "-z"]));
    names.map(|name| {
        let line = told.lines().find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {told}"));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    })
}

/// What this host's own stack must not have done of it: ICMP sent, datagrams that found no port or no room.
fn of_this_host(site: &Site) -> [u64; 6] {
    let names =
        ["IcmpOutMsgs", "Icmp6OutDestUnreachs", "UdpNoPorts", "Udp6NoPorts", "UdpRcvbufErrors", "Udp6RcvbufErrors"];
    counters(site, End::Near, names)
}

pub(crate) fn sweep(site: &Site, engine: &str, arguments: &[&str]) -> Vec<Record> {
    let arguments = [&["sweep", "--engine", engine, "-r", "2000", "-W", "700ms"], arguments].concat();
    // 3: lost ones are what is asked for here.
    site.start("jsonl", &arguments).end_as(&[0, 1, 3], WITHIN).results.records()
}

/// Open, closed and dropped, by both engines and over both families; nothing of it concerns this host's kernel.
#[test]
#[ignore = "needs root: make test runs it"]
fn ports_are_open_closed_or_silent() {
    let Some((site, _passage)) = served("udp-ports") else { return };
    let before = of_this_host(&site);
    let cases = [
        (ECHO_PORT, Outcome::Answered, Some("open")),
        (DNS_PORT, Outcome::Answered, Some("open")),
        (CLOSED, Outcome::Answered, Some("closed")),
        (DROPPED_PORT, Outcome::Lost, None),
    ];
    for engine in ENGINES {
        for (port, outcome, state) in cases {
            let records = sweep(&site, engine, &["-p", &format!("udp:{port}"), SERVED[0], SERVED[1]]);
            assert_eq!(records.len(), HOSTS, "{engine} {port}");
            for record in &records {
                let found = (record.outcome, record.port.as_deref());
                assert_eq!(found, (outcome, state), "{engine} {record:?}");
                assert_eq!(record.probe.as_deref(), Some(&*format!("udp:{port}")));
            }
        }
    }
    assert_eq!(of_this_host(&site), before, "what this host's own stack did");
}

/// What a socket of the near kernel's is told: of a datagram, in so long.
fn ask(site: &Site, to: (&str, u16), datagram: &[u8], within: Duration) -> Result<Vec<u8>, ErrorKind> {
    let to = SocketAddr::new(to.0.parse().unwrap(), to.1);
    inside(site, End::Near, || {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(within)).unwrap();
        socket.send(datagram).unwrap();
        let mut answer = vec![0; 512];
        let length = socket.recv(&mut answer).map_err(|error| error.kind())?;
        answer.truncate(length);
        Ok(answer)
    })
}

/// As everybody else has it: the kernel's own sockets, and `ping`.
#[test]
#[ignore = "needs root: make test runs it"]
fn others_find_the_same() {
    let Some((site, _passage)) = served("udp-others") else { return };
    for target in ["10.64.0.1", "fd00:64::1"] {
        for port in [ECHO_PORT, CLOSED, DROPPED_PORT] {
            let records = sweep(&site, "afxdp", &["-p", &format!("udp:{port}"), target]);
            let [record] = &records[..] else { panic!("{records:?}") };
            // Only silence takes its time.
            let within = if port == DROPPED_PORT { Duration::from_secs(1) } else { SOON };
            let told = match ask(&site, (target, port), b"echolot", within) {
                Ok(answer) => {
                    assert_eq!(answer, b"echolot");
                    Some("open")
                }
                Err(ErrorKind::ConnectionRefused) => Some("closed"),
                Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
                Err(other) => panic!("{other}"),
            };
            assert_eq!(told, record.port.as_deref(), "{target} port {port}: {record:?}");
        }
        let family = if target.contains(':') { "-6" } else { "-4" };
        let pinged = output(site.near("ping").args([family, "-n", "-c", "1", "-W", "5", target]));
        assert!(pinged.contains(" 0% packet loss"), "{pinged}");
    }
}

/// This host asks the same name server itself, again and again, while probes go there: each question of its own is answered, and so is
/// each probe.
#[test]
#[ignore = "needs root: make test runs it"]
fn this_hosts_own_questions_are_answered_beside_it() {
    let Some((site, _passage)) = served("udp-beside") else { return };
    let group = |name: &str, port: u16, hosts: &str| {
        let targets = format!("10.64.0.{hosts}, 'fd00:64::{hosts}'");
        format!("  - {{name: {name}, targets: [{targets}], probe: 'udp:{port}', interval: 100ms}}\n")
    };
    let before = of_this_host(&site);
    // No target is in both: a record says target and number, and not the group.
    let groups = group("dns", DNS_PORT, "1") + &group("again", DNS_PORT, "2");
    let groups = groups + &group("echo", ECHO_PORT, "3") + &group("payload", ECHO_PORT, "4");
    let mut echolot = site.run_groups(&groups, "jsonl");
    echolot.wait_for("the first rounds", |scrape| {
        ["dns", "again", "echo", "payload"].iter().all(|name| {
            scrape.sum_where("echolot_probes_settled_total", &[("group", name), ("outcome", "answered")]) > 16
        })
    });
    for id in 0..200u16 {
        // The name servers of the root, which this server does not know.
        let query = [&id.to_be_bytes()[..], b"\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01"].concat();
        for target in ["10.64.0.1", "fd00:64::1"] {
            let answer = ask(&site, (target, DNS_PORT), &query, SOON).unwrap();
            // Its id, a response, no such name.
            assert_eq!((&answer[..2], answer[2] >> 7, answer[3] & 0xf), (&id.to_be_bytes()[..], 1, 3));
        }
    }
    let ended = echolot.stop();
    let records = ended.results.records();
    let missed: Vec<_> = records.iter().filter(|record| record.outcome != Outcome::Answered).collect();
    assert!(records.len() > 64 && missed.is_empty(), "of {}: {missed:?}", records.len());
    assert_eq!(of_this_host(&site), before, "what this host's own stack did");
}

/// Each of 16,384 probes is answered by the reflector as its port has it, however fast they come.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_reflector_answers_every_datagram() {
    let Some(site) = Site::up("udp-fast", &Answer::PortReflector(ECHOLOT.into(), "7,53".into())) else { return };
    for engine in ENGINES {
        for targets in ["10.64.0.0/18", "fd00:64::/114"] {
            for (port, state) in [(ECHO_PORT, "open"), (DNS_PORT, "open"), (CLOSED, "closed")] {
                let arguments = ["-p", &format!("udp:{port}"), "-r", "max", "--engine", engine, targets];
                let ended = site.start("jsonl", &[&["sweep"], &arguments[..]].concat()).end_as(&[0, 3], WITHIN);
                let is_so = |record: &&Record| record.port.as_deref() == Some(state);
                let answered = ended.results.records().iter().filter(is_so).count();
                assert_eq!(answered, 1 << 14, "{engine} {targets} {port}");
            }
        }
    }
}
