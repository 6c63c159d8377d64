//! What echolot says of an address, and what the tools say that people trust: `nc` and `dig` of ports, `ping` and `fping` of
//! hosts. The far end is its kernel's own stack and sockets.

use crate::{
    harness::{SOON, Site, output},
    results::{Outcome, Record},
    udp::{ENGINES, served, sweep},
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::IpAddr,
    process::{Command, Stdio},
    thread,
};
use xtask::{
    command::wait_until,
    lab::{
        End, FAR_ADDRESS, FAR_ADDRESS_V6, FAR_INTERFACE,
        dns::NAMES,
        services::{DNS_PORT, DROPPED_PORT, ECHO_PORT, OPEN_PORTS},
    },
};

/// UDP is served at all of them, and TCP.
const HOSTS: [&str; 6] = ["10.63.0.2", "10.64.0.1", "10.64.0.8", "fd00:63::2", "fd00:64::1", "fd00:64::8"];
/// Nobody listens there.
const CLOSED_PORTS: [u16; 2] = [9, 444];
/// The far end says that it is forbidden.
const PROHIBITED_PORT: u16 = 82;

/// What anybody can say of a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Told {
    Open,
    Closed,
    Unreachable,
    Silent,
}

fn ip(site: &Site, end: End, arguments: &str) {
    let namespace = site.name().namespace(end);
    output(Command::new("ip").args(["-n", &namespace]).args(arguments.split_whitespace()));
}

/// The far end sends ICMP errors for others only as a router.
fn route(site: &Site) {
    let settings = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
    output(site.name().command(End::Far, "sysctl").arg("-qw").args(settings));
}

/// As echolot has it. Where it says why, the reason is there for an unreachable port and for no other.
fn told(record: &Record) -> Told {
    let told = match (record.outcome, record.port.as_deref()) {
        (Outcome::Answered, Some("open")) => Told::Open,
        (Outcome::Answered, Some("closed")) => Told::Closed,
        (Outcome::Unreachable, None) => Told::Unreachable,
        (Outcome::Lost, None) => Told::Silent,
        other => panic!("{other:?}: {record:?}"),
    };
    assert_eq!(record.reason.is_some(), told == Told::Unreachable, "{record:?}");
    told
}

/// Runs a command of the near end to its end, however it ends: its status, and all that it said.
fn said(mut command: Command) -> (Option<i32>, String) {
    let ended = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    (ended.status.code(), String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned())
}

/// By a plain connect.
fn nc(site: &Site, target: &str, port: u16) -> Told {
    let mut command = site.near("nc");
    command.args(["-z", "-n", "-v", "-w", "2", target, &port.to_string()]);
    let (status, words) = said(command);
    match status {
        Some(0) => Told::Open,
        _ if words.contains("refused") => Told::Closed,
        // Of an ICMP error a socket over IPv6 is told in other words.
        _ if words.contains("No route to host") || words.contains("Permission denied") => Told::Unreachable,
        _ if words.contains("timed out") => Told::Silent,
        _ => panic!("{target} {port}: {status:?} {words}"),
    }
}

/// By a question: whatever comes back is an answer.
fn dig(site: &Site, target: &str, port: u16, question: &[&str]) -> (Told, String) {
    let mut command = site.near("dig");
    command.args(["+tries=1", "+time=2", "-p", &port.to_string(), &format!("@{target}")]).args(question);
    let (_, words) = said(command);
    let told = if words.contains("->>HEADER<<-") {
        Told::Open
    } else if words.contains("connection refused") {
        Told::Closed
    } else if words.contains("host unreachable") || words.contains("permission denied") {
        Told::Unreachable
    } else if words.contains("timed out") {
        Told::Silent
    } else {
        panic!("{target} {port}: {words}")
    };
    (told, words)
}

/// By datagrams that say nothing: whether the kernel was told that the port is closed. Of silence nc makes an open port.
fn nc_is_refused(site: &Site, target: &str, port: u16) -> bool {
    let mut command = site.near("nc");
    command.args(["-z", "-u", "-n", "-v", "-w", "1", target, &port.to_string()]);
    let (status, words) = said(command);
    assert_eq!(status == Some(0), words.contains("succeeded"), "{target} {port}: {words}");
    status != Some(0)
}

/// Asks about each at once: most of these tools take a second or two for what does not answer.
fn each<T: Send>(all: &[(&'static str, u16)], ask: impl Fn(&str, u16) -> T + Sync) -> BTreeMap<(String, u16), T> {
    thread::scope(|scope| {
        let ask = &ask;
        let asked: Vec<_> = all.iter().map(|(host, port)| scope.spawn(move || ask(host, *port))).collect();
        let keys = all.iter().map(|(host, port)| ((*host).to_owned(), *port));
        keys.zip(asked).map(|(key, thread)| (key, thread.join().unwrap())).collect()
    })
}

/// The same of each must come of `ask`. What a tool missed on a busy machine it is asked again.
#[track_caller]
fn agree<T: Send + PartialEq + std::fmt::Debug>(
    ours: &BTreeMap<(String, u16), T>,
    all: &[(&'static str, u16)],
    ask: impl Fn(&str, u16) -> T + Sync,
) {
    let mut theirs = each(all, &ask);
    wait_until(SOON, || {
        let differ: Vec<_> = all
            .iter()
            .copied()
            .filter(|(host, port)| {
                let key = ((*host).to_owned(), *port);
                ours.get(&key) != theirs.get(&key)
            })
            .collect();
        theirs.extend(each(&differ, &ask));
        differ.is_empty().then_some(())
    });
    assert_eq!(*ours, theirs);
}

/// What echolot says of each, which must be the same by either engine.
fn swept(site: &Site, kind: &str, ports: &[u16]) -> BTreeMap<(String, u16), Told> {
    let of = |engine: &str| {
        let mut all = BTreeMap::new();
        for port in ports {
            let probe = format!("{kind}:{port}");
            let records = sweep(site, engine, &[&["-p", &probe][..], &HOSTS].concat());
            all.extend(records.iter().map(|record| ((record.target.clone(), *port), told(record))));
        }
        all
    };
    let [afxdp, live] = ENGINES.map(of);
    assert_eq!(afxdp, live, "{ENGINES:?}");
    assert_eq!(afxdp.len(), HOSTS.len() * ports.len(), "one result for each");
    afxdp
}

fn pairs(ports: &[u16]) -> Vec<(&'static str, u16)> {
    HOSTS.into_iter().flat_map(|host| ports.iter().map(move |port| (host, *port))).collect()
}

/// How often each was told: that a table has something of everything.
fn kinds<K>(all: &BTreeMap<K, Told>) -> BTreeMap<Told, usize> {
    let mut counts = BTreeMap::new();
    all.values().for_each(|told| *counts.entry(*told).or_default() += 1);
    counts
}

/// The lab's ports, and one that is prohibited.
fn site(what: &str) -> Option<(Site, testbed::bare::Passage)> {
    let (site, passage) = served(what)?;
    route(&site);
    for family in ["-4", "-6"] {
        for protocol in ["tcp", "udp"] {
            let what = format!("iif {FAR_INTERFACE} ipproto {protocol} dport {PROHIBITED_PORT}");
            ip(&site, End::Far, &format!("{family} rule add pref 1 {what} type prohibit"));
        }
    }
    Some((site, passage))
}

/// Open, closed, prohibited and dropped ports, of hosts of both families: as `nc` finds them.
#[test]
#[ignore = "needs root: make test runs it"]
fn tcp_ports_are_what_nc_says() {
    let Some((site, _passage)) = site("cross-tcp") else { return };
    let ports = [&OPEN_PORTS[..], &CLOSED_PORTS, &[DROPPED_PORT, PROHIBITED_PORT]].concat();
    let ours = swept(&site, "tcp", &ports);
    agree(&ours, &pairs(&ports), |host, port| nc(&site, host, port));
    let expected = [(Told::Open, 12), (Told::Closed, 12), (Told::Unreachable, 6), (Told::Silent, 6)];
    assert_eq!(kinds(&ours), expected.into());
}

/// The same of UDP, as `dig` finds them, and as far as `nc` can tell.
#[test]
#[ignore = "needs root: make test runs it"]
fn udp_ports_are_what_dig_and_nc_say() {
    let Some((site, _passage)) = site("cross-udp") else { return };
    let ports = [&[ECHO_PORT, DNS_PORT][..], &CLOSED_PORTS, &[DROPPED_PORT, PROHIBITED_PORT]].concat();
    let ours = swept(&site, "udp", &ports);
    agree(&ours, &pairs(&ports), |host, port| dig(&site, host, port, &[".", "NS"]).0);
    let closed = |told: &Told| *told == Told::Closed;
    let refused: BTreeMap<_, _> = ours.iter().map(|(key, told)| (key.clone(), closed(told))).collect();
    agree(&refused, &pairs(&ports), |host, port| nc_is_refused(&site, host, port));
    let expected = [(Told::Open, 12), (Told::Closed, 12), (Told::Unreachable, 6), (Told::Silent, 6)];
    assert_eq!(kinds(&ours), expected.into());

    // What is sent to the echo port comes back.
    let text = site.path("text");
    fs::write(&text, "echolot\n").unwrap();
    for (host, port) in pairs(&[ECHO_PORT]) {
        let mut command = site.near("nc");
        command.args(["-u", "-n", "-W", "1", "-w", "5", host, &port.to_string()]);
        command.stdin(Stdio::from(File::open(&text).unwrap()));
        assert_eq!(said(command).1, "echolot\n", "{host}");
    }
}

/// What a name server answers: the response code that `dig` shows, for names that are there, that are not, and that have no
/// such address.
#[test]
#[ignore = "needs root: make test runs it"]
fn response_codes_are_what_dig_says() {
    let Some((site, _passage)) = site("cross-dns") else { return };
    let names: Vec<&str> = NAMES.iter().map(|(name, ..)| *name).chain(["nobody.lab", "both.lab.more", "."]).collect();
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    for name in names {
        for kind in ["A", "TXT"] {
            let question = format!("{name} {kind}");
            let records = sweep(&site, "afxdp", &[&["-p", "udp:53", "--dns", &question][..], &HOSTS].concat());
            assert_eq!(records.len(), HOSTS.len());
            let dug = each(&pairs(&[DNS_PORT]), |host, port| {
                let answered = || Some(dig(&site, host, port, &[name, kind])).filter(|(told, _)| *told == Told::Open);
                let (_, words) = wait_until(SOON, answered).expect(host);
                let (_, status) = words.split_once("status: ").expect(&words);
                status.split_once(',').expect(&words).0.to_owned()
            });
            for record in records {
                assert_eq!(told(&record), Told::Open, "{question}: {record:?}");
                let code = record.rcode.clone().unwrap_or_else(|| panic!("{record:?}"));
                assert_eq!(code, dug[&(record.target.clone(), DNS_PORT)], "{question}: {record:?}");
                *codes.entry(code).or_default() += 1;
            }
        }
    }
    assert_eq!(codes, [("NOERROR".to_owned(), 36), ("NXDOMAIN".to_owned(), 36)].into());
}

/// What `ping` says of a host: how many answers to two probes, their time to live, and who else says what.
fn pinged(site: &Site, host: &str) -> (u32, Option<u8>, Option<(IpAddr, String)>) {
    let mut command = site.near("ping");
    command.args(["-n", "-c", "2", "-i", "0.2", "-W", "5", host]);
    let (_, words) = said(command);
    let received = words.split(", ").find_map(|part| part.strip_suffix(" received")).expect(&words);
    let ttl = words.split("ttl=").nth(1).map(|rest| rest.split_whitespace().next().unwrap().parse().unwrap());
    let from = words.lines().find_map(|line| line.strip_prefix("From "));
    let from = from.map(|line| {
        let (who, what) = line.split_once(" icmp_seq=").expect(&words);
        (who.trim_end_matches(':').parse().unwrap(), what.split_once(' ').unwrap().1.to_owned())
    });
    (received.parse().unwrap(), ttl, from)
}

/// What `fping` says of hosts of a family: who is alive.
fn fpinged(site: &Site, family: &str, hosts: &[&str]) -> BTreeMap<String, bool> {
    let mut command = site.near("fping");
    command.args([family, "-r", "0", "-t", "5000"]).args(hosts);
    let (_, words) = said(command);
    let lines = words.lines().filter_map(|line| {
        let (host, state) = line.split_once(" is ")?;
        Some((host.to_owned(), state == "alive"))
    });
    lines.collect()
}

/// Who answers, whose way is closed, who says so and in which words, and who is silent: as `ping` and `fping` have it, over
/// both families.
#[test]
#[ignore = "needs root: make test runs it"]
fn hosts_are_what_ping_and_fping_say() {
    let Some((site, _passage)) = site("cross-echo") else { return };
    let kinds = ["unreachable", "prohibit", "blackhole"];
    for (at, kind) in kinds.into_iter().enumerate() {
        let (v4, v6) = (format!("10.{}.0.0/16", 96 + at), format!("fd00:{}::/64", 96 + at));
        ip(&site, End::Near, &format!("route add {v4} via {FAR_ADDRESS}"));
        ip(&site, End::Near, &format!("-6 route add {v6} via {FAR_ADDRESS_V6}"));
        ip(&site, End::Far, &format!("route add {kind} {v4}"));
        ip(&site, End::Far, &format!("-6 route add {kind} {v6}"));
    }
    let v4 = ["10.63.0.2", "10.64.0.1", "10.79.255.255", "10.96.0.1", "10.97.0.1", "10.98.0.1"];
    let v6 = ["fd00:63::2", "fd00:64::1", "fd00:64::f:ffff", "fd00:96::1", "fd00:97::1", "fd00:98::1"];
    let alive =
        [fpinged(&site, "-4", &v4), fpinged(&site, "-6", &v6)].into_iter().flatten().collect::<BTreeMap<_, _>>();
    let all = [v4, v6].concat();
    let arguments = ["ping", "-i", "200ms", "-c", "2", "-W", "5s"];
    let records = site.start("jsonl", &[&arguments[..], &all].concat()).end_as(&[0, 1], SOON).results.records();
    assert_eq!(records.len(), 2 * all.len());
    let pings: Vec<_> = thread::scope(|scope| {
        let pings: Vec<_> = all.iter().map(|host| scope.spawn(|| pinged(&site, host))).collect();
        pings.into_iter().map(|ping| ping.join().unwrap()).collect()
    });
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (host, (received, ttl, from)) in all.into_iter().zip(pings) {
        let ours: Vec<&Record> = records.iter().filter(|record| record.target == host).collect();
        let answered: Vec<_> = ours.iter().filter(|record| record.outcome == Outcome::Answered).collect();
        assert_eq!(answered.len(), received as usize, "{host}: {ours:?}");
        assert_eq!(alive.get(host), Some(&(received > 0)), "{host}: {alive:?}");
        assert!(answered.iter().all(|record| record.reply_ttl == ttl), "{host}: ttl={ttl:?}, {ours:?}");
        for record in ours.iter().filter(|record| record.outcome != Outcome::Answered) {
            let other = from.as_ref().map(|(from, words)| (*from, words.as_str()));
            let expected = match (record.outcome, record.reason.as_deref()) {
                (Outcome::Lost, None) => None,
                (Outcome::Unreachable, Some("host_unreachable")) => Some("Destination Host Unreachable"),
                (Outcome::Unreachable, Some("no_route")) => Some("Destination unreachable: No route"),
                (Outcome::Unreachable, Some("admin_prohibited")) if host.contains(':') => {
                    Some("Destination unreachable: Administratively prohibited")
                }
                (Outcome::Unreachable, Some("admin_prohibited")) => Some("Packet filtered"),
                _ => panic!("{record:?}, where ping says {other:?}"),
            };
            assert_eq!(other, expected.map(|words| (record.from.unwrap(), words)), "{record:?}");
            *seen.entry(record.reason.as_deref().unwrap_or("silence")).or_default() += 1;
        }
    }
    let expected = [("admin_prohibited", 4), ("host_unreachable", 2), ("no_route", 2), ("silence", 4)];
    assert_eq!(seen, expected.into());
}
