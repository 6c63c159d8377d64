//! TCP probes as people ask for them, against the far kernel's own stack.

use crate::{
    capture::{Capture, tshark},
    harness::{ECHOLOT, SOON, Site, is_long, now, output},
    results::{Outcome, Record},
    udp,
};
use socket2::{Domain, Socket, Type};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};
use xtask::lab::{
    Answer, End, FAR_ADDRESS, FAR_ADDRESS_V6,
    services::{DROPPED_PORT, ECHO_PORT, OPEN_PORTS},
};

/// A sweep takes a second or two where nothing else runs.
const WITHIN: Duration = Duration::from_secs(120);

/// A lab whose far end has [`OPEN_PORTS`] open at every address, [`DROPPED_PORT`] dropped, and all others closed. The ports are open for
/// as long as the listeners are there.
fn served(what: &str) -> Option<(Site, Vec<TcpListener>)> {
    let site = Site::up(what, &Answer::Kernel)?;
    site.name().drop_port().unwrap();
    let space = File::open(format!("/run/netns/{}", site.name().namespace(End::Far))).unwrap();
    let bind = || {
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(space.as_fd(), Some(kind)).unwrap();
        OPEN_PORTS.map(|port| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap()).into()
    };
    let listeners = thread::scope(|scope| scope.spawn(bind).join().unwrap());
    Some((site, listeners))
}

/// One of the kernel's counters in a namespace, since the namespace is there.
fn counter(site: &Site, end: End, name: &str) -> u64 {
    let told = output(site.name().command(end, "nstat").args(["-a", "-s", "-z", name]));
    let line = told.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {told}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Connections that the far kernel holds half open.
fn held(site: &Site) -> usize {
    in_state(site, "syn-recv")
}

/// Connections of the far kernel's that are in this state.
fn in_state(site: &Site, state: &str) -> usize {
    let filter = ["-H", "-t", "-n", "state", state];
    output(site.name().command(End::Far, "ss").args(filter)).lines().count()
}

#[track_caller]
fn ping(site: &Site, probe: &str, targets: &[&str]) -> Vec<Record> {
    let arguments = [&["ping", "-p", probe, "-i", "100ms", "-c", "3", "-W", "700ms"], targets].concat();
    site.start("jsonl", &arguments).end_as(&[0, 1], SOON).results.records()
}

/// What a plain connect says of a port; nothing, if it takes longer than its time.
fn connects(site: &Site, target: &str, port: u16) -> Result<(), String> {
    let told =
        site.near("timeout").args(["2", "bash", "-c", &format!("exec 3<>/dev/tcp/{target}/{port}")]).output().unwrap();
    if told.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&told.stderr).into_owned()) }
}

/// Open, closed and dropped, over both families, as a plain connect has it; and nothing of it concerns this host's kernel.
#[test]
#[ignore = "needs root: make test runs it"]
fn ports_are_what_a_connect_finds_them() {
    let Some((site, _listeners)) = served("ports") else { return };
    let targets = ["10.64.0.1", "10.64.0.2", "fd00:64::1"];
    let ports = [
        (OPEN_PORTS[1], Outcome::Answered, Some("open")),
        (444, Outcome::Answered, Some("closed")),
        (DROPPED_PORT, Outcome::Lost, None),
    ];
    let counted = || ["TcpInSegs", "TcpOutRsts", "IcmpOutMsgs"].map(|name| counter(&site, End::Near, name));
    let before = counted();
    for (port, outcome, state) in ports {
        let records = ping(&site, &format!("tcp:{port}"), &targets);
        assert_eq!(records.len(), 9);
        for record in &records {
            assert_eq!((record.outcome, record.port.as_deref()), (outcome, state), "{record:?}");
            assert_eq!(record.probe.as_deref(), Some(&*format!("tcp:{port}")));
        }
    }
    assert_eq!(counted(), before, "segments received, RSTs and ICMP sent by this host's own stack");
    for (port, _, state) in ports {
        for target in targets {
            let connected = connects(&site, target, port);
            match state {
                Some("open") => assert_eq!(connected, Ok(())),
                Some(_) => assert!(connected.unwrap_err().contains("refused")),
                None => assert_eq!(connected, Err(String::new()), "it was ended by its time"),
            }
        }
    }
    let unwanted = xtask::command::wait_until(SOON, || (held(&site) == 0).then_some(()));
    assert!(unwanted.is_some(), "the far end holds {} connections", held(&site));
}

/// A host on the way says that it can't be reached.
#[test]
#[ignore = "needs root: make test runs it"]
fn an_icmp_error_about_a_syn_is_unreachable() {
    let Some((site, _listeners)) = served("prohibit") else { return };
    // A router of its own behind the far end: these addresses are not the far end's.
    output(site.name().command(End::Far, "sysctl").args(["-q", "-w", "net.ipv4.ip_forward=1"]));
    output(site.name().command(End::Far, "sysctl").args(["-q", "-w", "net.ipv6.conf.all.forwarding=1"]));
    for (end, arguments) in [
        (End::Near, format!("route add 10.96.0.0/16 via {FAR_ADDRESS}")),
        (End::Near, format!("-6 route add fd00:66::/64 via {FAR_ADDRESS_V6}")),
        (End::Far, "route add prohibit 10.96.0.0/16".to_owned()),
        (End::Far, "-6 route add prohibit fd00:66::/64".to_owned()),
    ] {
        let namespace = site.name().namespace(end);
        output(Command::new("ip").args(["-n", &namespace]).args(arguments.split(' ')));
    }
    let records = ping(&site, "tcp:443", &["10.96.0.7", "fd00:66::7", "10.64.0.1"]);
    let mut of: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for record in &records {
        of.entry(record.target.clone()).or_default().push((record.outcome, record.reason.as_deref()));
    }
    assert_eq!(of["10.64.0.1"], [(Outcome::Answered, None); 3]);
    assert_eq!(of["10.96.0.7"], [(Outcome::Unreachable, Some("admin_prohibited")); 3]);
    assert_eq!(of["fd00:66::7"], [(Outcome::Unreachable, Some("admin_prohibited")); 3]);
}

/// 4,096 connections half opened and ended again, over each family: nothing is left at the far end, every frame is well-formed, and each
/// SYN-ACK has its RST.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_sweep_of_open_ports_leaves_nothing_behind() {
    let Some((site, _listeners)) = served("opened") else { return };
    for targets in ["10.64.0.0/20", "fd00:64::/116"] {
        let capture = Capture::of_tcp(&site);
        let file = capture.file.clone();
        let arguments = ["sweep", "-p", "tcp:80", targets, "-r", "4000"];
        let ended = site.start("jsonl", &arguments).end(WITHIN);
        let answered = ended.results.records().iter().filter(|record| record.port.as_deref() == Some("open")).count();
        assert_eq!(answered, 1 << 12);
        drop(capture.stop());
        let many = |filter: &str| tshark(&site, &file, filter, &["frame.number"]).len();
        let (syn, opened, reset) = ("tcp.flags == 0x002", "tcp.flags == 0x012", "tcp.flags == 0x004");
        assert_eq!((many(syn), many(opened), many(reset)), (1 << 12, 1 << 12, 1 << 12));
        let ours = format!("({syn} or {reset})");
        let bad = "tcp.checksum.status == \"Bad\" or ip.checksum.status == \"Bad\" or _ws.malformed";
        assert_eq!(tshark(&site, &file, &format!("{ours} and ({bad})"), &["_ws.col.Info"]), [""; 0]);
        assert_eq!(many(&format!("{ours} and tcp.checksum.status == \"Good\"")), 2 << 12);
        let none = xtask::command::wait_until(SOON, || (held(&site) == 0).then_some(()));
        assert!(none.is_some(), "the far end holds {} connections", held(&site));
    }
}

/// The reflector cuts SYNs short to answers, in the very frames that the kernel then gives a sender of live frames again.
#[test]
#[ignore = "needs root: make test runs it"]
fn frames_that_come_back_shorter_are_sent_whole() {
    let Some(site) = Site::up("shorter", &Answer::PortReflector(ECHOLOT.into(), "80".into())) else { return };
    for (targets, probe, state) in
        [("10.64.0.0/18", "tcp:80", "open"), ("10.64.0.0/18", "tcp:81", "closed"), ("fd00:64::/114", "tcp:80", "open")]
    {
        let arguments = ["sweep", "-p", probe, targets, "-r", "max", "--engine", "live-frames"];
        let ended = site.start("jsonl", &arguments).end(WITHIN);
        let answered = ended.results.records().iter().filter(|record| record.port.as_deref() == Some(state)).count();
        assert_eq!(answered, 1 << 14, "{targets} {probe}");
    }
}

/// A monitor of a group of each kind, over the same addresses.
#[test]
#[ignore = "needs root: make test runs it"]
fn kinds_run_side_by_side() {
    let Some((site, _listeners)) = served("kinds") else { return };
    let group = |name: &str, probe: &str| {
        format!("  - {{name: {name}, targets: [10.64.0.0/24, 'fd00:64::/121'], probe: '{probe}', timeout: 700ms}}\n")
    };
    let groups =
        [("echo", "icmp"), ("web", "tcp:443"), ("none", "tcp:444"), ("dropped", "tcp:81"), ("again", "tcp:443")];
    let groups: String = groups.iter().map(|(name, probe)| group(name, probe)).collect();
    let mut echolot = site.run_groups(&groups, "none");
    let scrape = echolot.wait_for("four rounds", |scrape| {
        ["echo", "web", "none", "again"].iter().all(|name| {
            scrape.sum_where("echolot_probes_settled_total", &[("group", name), ("outcome", "answered")]) >= 4 * 384
        })
    });
    let settled =
        |group, outcome| scrape.sum_where("echolot_probes_settled_total", &[("group", group), ("outcome", outcome)]);
    assert_eq!(settled("dropped", "answered"), 0);
    assert!(settled("dropped", "lost") > 0);
    assert_eq!(scrape.sum_where("echolot_group_info", &[("group", "web"), ("probe", "tcp:443")]), 1);
    assert_eq!(scrape.sum("echolot_replies_rejected_total", ""), 0);
    let ended = echolot.stop();
    assert_eq!(ended.summary.number("in_flight"), 0);
    let none = xtask::command::wait_until(SOON, || (held(&site) == 0).then_some(()));
    assert!(none.is_some(), "the far end holds {} connections", held(&site));
}

/// The SYN after the last one that was let in says so, whoever else is still pending.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_port_that_has_just_closed_says_so() {
    let Some((site, mut listeners)) = served("closing") else { return };
    let groups = format!(
        "  - {{name: closing, targets: [10.64.0.1, 'fd00:64::1'], probe: 'tcp:{}', interval: 20ms}}\n  \
         - {{name: silent, targets: [10.64.4.0/22], probe: 'tcp:{DROPPED_PORT}', interval: 3s, timeout: 3s}}\n",
        OPEN_PORTS[1]
    );
    let mut echolot = site.run_groups(&groups, "jsonl");
    let answered = [("group", "closing"), ("outcome", "answered")];
    let answers = |many: u64| {
        move |scrape: &crate::harness::Scrape| scrape.sum_where("echolot_probes_settled_total", &answered) >= many
    };
    let pending = [("group", "silent")];
    let scrape = echolot.wait_for("a thousand pending beside answers", |scrape| {
        answers(50)(scrape) && scrape.sum_where("echolot_probes_in_flight", &pending) >= 1_000
    });
    let so_far = scrape.sum_where("echolot_probes_settled_total", &answered);
    let closing = now();
    drop(listeners.remove(1));
    let closed = now();
    echolot.wait_for("answers of the closed port", answers(so_far + 100));
    let mut records = echolot.stop().results.records();
    records.retain(|record| record.probe.as_deref() == Some(&*format!("tcp:{}", OPEN_PORTS[1])));
    records.sort_by_key(|record| record.seq);
    for address in ["10.64.0.1", "fd00:64::1"] {
        // Where this machine stands still, a RST may come too late: then the far kernel says nothing to the next SYN for a while.
        let is_answered = |record: &&Record| record.outcome == Outcome::Answered;
        let all = || records.iter().filter(|record| record.target == address);
        let of: Vec<&Record> = all().filter(is_answered).collect();
        assert!(of.len() >= 150 && all().count() < of.len() + 50, "{} of {} answered", of.len(), all().count());
        let first = of.iter().position(|record| record.port.as_deref() == Some("closed")).unwrap();
        assert!(first > 0 && of[first..].iter().all(|record| record.port.as_deref() == Some("closed")));
        assert!(of[..first].iter().all(|record| record.port.as_deref() == Some("open") && record.sent_ns < closed));
        // One that was under way may have met either.
        let after = of.iter().position(|record| record.sent_ns >= closing).unwrap();
        assert!((after - 1..=after + 1).contains(&first), "closed since {closing}, told by {:?}", of[first]);
    }
}

/// This host's own ping of an address, meanwhile.
struct Ping(Child);

impl Ping {
    fn start(site: &Site, address: &str) -> Self {
        let mut ping = site.near("ping");
        ping.args(["-q", "-c", "200", "-i", "0.01", "-W", "10", address]).stdout(Stdio::piped());
        Self(ping.spawn().unwrap())
    }

    #[track_caller]
    fn has_lost_nothing(self) {
        let output = self.0.wait_with_output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.contains(" 0% packet loss"), "{told}");
    }
}

/// This host's own TCP and UDP, to addresses that are probed too, until it is told to stop. How many connections it made.
fn own_traffic(port: u16, stop: &AtomicBool) -> usize {
    let hosts = ["10.64.0.1", "fd00:64::1"].map(|host| host.parse::<IpAddr>().unwrap());
    let sockets = ["0.0.0.0:0", "[::]:0"].map(|any| UdpSocket::bind(any).unwrap());
    let mut made = 0;
    while !stop.load(Relaxed) {
        for (host, socket) in hosts.iter().zip(&sockets) {
            let mut stream = TcpStream::connect_timeout(&(*host, port).into(), SOON).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            assert_eq!(
                stream.read_to_end(&mut Vec::new()).unwrap(),
                0,
                "it is let in, and the far end closes it in order"
            );
            made += 1;
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket.send_to(b"own", (*host, ECHO_PORT)).unwrap();
            let mut datagram = [0; 16];
            let (length, from) = socket.recv_from(&mut datagram).unwrap();
            assert_eq!((&datagram[..length], from.ip()), (&b"own"[..], *host));
        }
    }
    made
}

/// 20,000 SYNs by each engine to an open port (in the long form 1,048,576), each to another address of the far kernel's own
/// stack: it holds nothing of them, half open or open. This host's own TCP, UDP and ping, over both families, go on beside
/// them, and its kernel has said nothing of its own to the far end.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_far_end_holds_nothing_of_many_syns() {
    const PORT: u16 = 8_080;
    const ROOM: i32 = 65_535;
    let Some((site, _passage)) = udp::served("left") else { return };
    // Room for what is half open at a time, on a busy machine too. With less the kernel answers by cookies, and has nothing that
    // could be left.
    output(site.name().command(End::Far, "sysctl").args(["-q", "-w", &format!("net.core.somaxconn={ROOM}")]));
    let listener = udp::inside(&site, End::Far, || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)).into()).unwrap();
        socket.listen(ROOM).unwrap();
        TcpListener::from(socket)
    });
    // Until the process ends. Who is let in is let go.
    thread::spawn(move || listener.incoming().for_each(drop));
    let (targets, many, rate) =
        if is_long() { ("10.64.0.0/12", 1 << 20, "50000") } else { ("10.64.0.0-10.64.78.31", 20_000, "4000") };
    let of_this_host = || {
        let names = [
            "TcpOutRsts",
            "TcpAttemptFails",
            "TcpEstabResets",
            "IcmpOutDestUnreachs",
            "Icmp6OutDestUnreachs",
            "UdpNoPorts",
        ];
        udp::counters(&site, End::Near, names)
    };
    for engine in udp::ENGINES {
        let before = of_this_host();
        let stop = AtomicBool::new(false);
        let (answered, made) = thread::scope(|scope| {
            let own = scope.spawn(|| udp::inside(&site, End::Near, || own_traffic(PORT, &stop)));
            let pings = ["10.64.0.2", "fd00:64::2"].map(|address| Ping::start(&site, address));
            let arguments = ["sweep", "-p", &format!("tcp:{PORT}"), "--engine", engine, targets, "-r", rate];
            let ended = site.start("jsonl", &arguments).end_or_incomplete(WITHIN);
            pings.into_iter().for_each(Ping::has_lost_nothing);
            stop.store(true, Relaxed);
            let records = ended.results.records();
            let open = records.iter().filter(|record| record.port.as_deref() == Some("open")).count();
            (open, own.join().unwrap())
        });
        assert_eq!(answered, many, "{engine}: open, of all that were asked");
        assert!(made > 0, "{engine}: own connections meanwhile");
        for state in ["syn-recv", "established"] {
            let none = xtask::command::wait_until(SOON, || (in_state(&site, state) == 0).then_some(()));
            assert!(
                none.is_some(),
                "{engine}: the far end has {} connections in state {state}",
                in_state(&site, state)
            );
        }
        assert_eq!(
            of_this_host(),
            before,
            "{engine}: RSTs and ICMP errors of this host's own stack, and its own failures"
        );
    }
    let cookies = counter(&site, End::Far, "TcpExtSyncookiesSent");
    assert_eq!(cookies, 0, "what was half open stood in the far end's table");
}
