//! Names and AS numbers from a name server that is quick, slow, dead or wrong: what comes, and that nobody waits for it. On loopback, but
//! for `events_name_whom_they_are_about` and `lines_name_whom_they_are_about`, which ask one at a lab's far end and need root.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use echolot::enrich::{AsnSource, Enricher, Known, Servers, Settings};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};
use testbed::dns::{Manner, NameServer, Zone};
use xtask::{
    command::{is_root, send_signal, wait_until},
    lab::{Answer, FAR_ADDRESS, Lab},
};

/// More than anything takes that comes at all.
const LONG: Duration = Duration::from_secs(60);
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));
/// One that Team Cymru can be asked about.
const ROUTED: IpAddr = IpAddr::V4(Ipv4Addr::new(9, 1, 2, 3));

fn serve(zone: Zone) -> NameServer {
    NameServer::bind((Ipv4Addr::LOCALHOST, 0).into(), zone).unwrap()
}

fn start(names: bool, asn: AsnSource, servers: &[SocketAddr]) -> Enricher {
    Enricher::start(Settings { names, asn, servers: Servers::These(servers.to_vec()) }).unwrap()
}

fn names(server: &NameServer) -> Enricher {
    start(true, AsnSource::Off, &[server.address()])
}

/// What is known once nothing more comes.
fn ask(enricher: &Enricher, address: IpAddr) -> Known {
    enricher.ask(address);
    assert!(enricher.wait(LONG), "{address} is never settled");
    enricher.known(address)
}

fn name(enricher: &Enricher, address: IpAddr) -> Option<String> {
    ask(enricher, address).name.map(|name| name.to_string())
}

/// A file of the test's own, which goes with it.
struct Table(PathBuf);

impl Table {
    fn of(content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("echolot-enrich-{}.tsv", std::process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn source(&self) -> AsnSource {
        AsnSource::File(self.0.clone())
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

#[test]
fn names_of_both_families_come_and_are_asked_for_once() {
    let server = serve(Zone::default().name(HOST, "r7.example", 3_600).name(HOST_V6, "r7-v6.example", 3_600));
    let enricher = names(&server);
    assert_eq!(enricher.known(HOST), Known::default(), "nobody has asked");
    assert_eq!(name(&enricher, HOST).as_deref(), Some("r7.example"));
    assert_eq!(name(&enricher, HOST_V6).as_deref(), Some("r7-v6.example"));
    // The same host by another form of its address.
    let mapped = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().into();
    assert_eq!(name(&enricher, mapped).as_deref(), Some("r7.example"));
    assert_eq!(name(&enricher, HOST).as_deref(), Some("r7.example"));
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[0], "udp PTR 7.2.0.192.in-addr.arpa.");
}

#[test]
fn of_several_names_it_is_always_the_same() {
    let server =
        serve(Zone::default().name(HOST, "b.example", 60).name(HOST, "a.example", 60).name(HOST, "c.example", 60));
    assert_eq!(name(&names(&server), HOST).as_deref(), Some("a.example"));
}

#[test]
fn a_name_that_stands_elsewhere_is_found_there() {
    let server = serve(Zone::default().delegated(HOST, "7.0-25.2.0.192.in-addr.arpa", "r7.example", 60));
    assert_eq!(name(&names(&server), HOST).as_deref(), Some("r7.example"));
    // And one that leads nowhere, or to itself, is none.
    let server = serve(Zone::default().delegated(HOST, "7.2.0.192.in-addr.arpa", "r7.example", 60));
    let enricher = names(&server);
    enricher.ask(HOST);
    assert!(enricher.wait(LONG));
}

#[test]
fn an_address_without_a_name_is_not_asked_for_again_and_again() {
    let server = serve(Zone::default());
    let enricher = names(&server);
    assert_eq!(ask(&enricher, HOST), Known::default());
    let asked = server.asked().len();
    assert_eq!(ask(&enricher, HOST), Known::default());
    assert_eq!(server.asked().len(), asked, "{:?}", server.asked());
}

#[test]
fn what_strangers_call_themselves_is_fit_to_be_shown() {
    let long = [0xe4; 63];
    let zone = Zone::default().labels(HOST, &[b"\x1b]0;owned\x07", b"a.b", b"\xff\0", b"example"], 60).labels(
        HOST_V6,
        &[&long, &long, &long],
        60,
    );
    let server = serve(zone);
    let enricher = names(&server);
    assert_eq!(name(&enricher, HOST).as_deref(), Some("\\027]0;owned\\007.a\\.b.\\255\\000.example"));
    let cut = name(&enricher, HOST_V6).unwrap();
    assert!(cut.len() <= 253 && cut.ends_with("\\228..."), "{cut}");
}

#[test]
fn an_answer_that_is_too_long_for_udp_comes_over_tcp() {
    let server = serve(Zone::default().name(HOST, "r7.example", 60));
    server.behave(Manner::Truncated);
    assert_eq!(name(&names(&server), HOST).as_deref(), Some("r7.example"));
    assert!(server.asked().iter().any(|asked| asked.starts_with("tcp ")), "{:?}", server.asked());
}

#[test]
fn answers_that_are_none_cost_the_name_and_nothing_else() {
    for manner in [Manner::WrongIdentifier, Manner::Failing, Manner::Garbled] {
        let server = serve(Zone::default().name(HOST, "r7.example", 60));
        server.behave(manner);
        assert_eq!(ask(&names(&server), HOST), Known::default(), "{manner:?}");
        assert!(!server.asked().is_empty(), "{manner:?}");
    }
}

#[test]
fn a_slow_server_is_not_waited_for_and_its_names_come_when_they_come() {
    let server = serve(Zone::default().name(HOST, "r7.example", 60));
    server.behave(Manner::Slow(Duration::from_secs(2)));
    let enricher = names(&server);
    let begin = Instant::now();
    enricher.ask(HOST);
    assert_eq!(enricher.known(HOST), Known::default());
    assert!(!enricher.wait(Duration::from_millis(100)), "it takes two seconds");
    assert!(begin.elapsed() < Duration::from_millis(1_500), "{:?}", begin.elapsed());
    assert!(enricher.wait(LONG));
    assert_eq!(enricher.known(HOST).name.as_deref(), Some("r7.example"));
}

#[test]
fn one_dead_server_of_two_costs_no_name() {
    let server = serve(Zone::default().name(HOST, "r7.example", 60));
    let dead = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let enricher = start(true, AsnSource::Off, &[dead.local_addr().unwrap(), server.address()]);
    assert_eq!(name(&enricher, HOST).as_deref(), Some("r7.example"));
}

/// What a look costs is some microseconds; the bounds are for a machine that others work on too.
#[test]
fn a_dead_server_costs_who_asks_and_who_ends_nothing() {
    const MANY: u32 = 10_000;
    let server = serve(Zone::default());
    server.behave(Manner::Dead);
    let table = Table::of("192.0.2.0\t192.0.2.255\t64500\tDE\tEXAMPLE-AS\n");
    let enricher = start(true, table.source(), &[server.address()]);
    let begin = Instant::now();
    let mut longest = Duration::ZERO;
    for n in 0..MANY {
        let before = Instant::now();
        let address = Ipv4Addr::from_bits(0x0a00_0000 + n).into();
        enricher.ask(address);
        assert_eq!(enricher.known(address).name, None);
        longest = longest.max(before.elapsed());
    }
    let took = begin.elapsed();
    println!("{MANY} asks and looks took {took:?}, the longest {longest:?}");
    assert!(took < MANY * Duration::from_micros(100), "{took:?}");
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    assert_eq!(enricher.dropped(), 0);
    // The network is known without the server.
    let deadline = Instant::now() + LONG;
    let server = server.address();
    let enricher_of_one = start(true, table.source(), &[server]);
    enricher_of_one.ask(HOST);
    while enricher_of_one.known(HOST).asn != Some(64_500) {
        assert!(Instant::now() < deadline, "no AS number");
        thread::yield_now();
    }
    for enricher in [enricher, enricher_of_one] {
        let begin = Instant::now();
        drop(enricher);
        let took = begin.elapsed();
        println!("the end took {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn more_than_can_wait_are_counted_and_may_be_asked_for_again() {
    let server = serve(Zone::default().name(HOST, "r7.example", 60));
    server.behave(Manner::Dead);
    let enricher = names(&server);
    let mut asked = 0;
    while enricher.dropped() == 0 {
        enricher.ask(Ipv4Addr::from_bits(0x0a00_0000 + asked).into());
        asked += 1;
        assert!(asked < 1_000_000, "the queue has no end");
    }
    assert!(asked > 60_000, "{asked}");
    assert!(!enricher.wait(Duration::ZERO));
}

#[test]
fn a_name_is_asked_for_again_when_its_time_is_up() {
    let server = serve(Zone::default().name(HOST, "before.example", 1));
    let enricher = names(&server);
    assert_eq!(name(&enricher, HOST).as_deref(), Some("before.example"));
    server.know(Zone::default().name(HOST, "after.example", 3_600));
    let deadline = Instant::now() + LONG;
    while enricher.known(HOST).name.as_deref() != Some("after.example") {
        assert!(enricher.known(HOST).name.is_some(), "the old name goes when there is a new one");
        assert!(Instant::now() < deadline, "{:?}", server.asked());
        enricher.ask(HOST);
        thread::yield_now();
    }
    assert!(server.asked().len() <= 3, "{:?}", server.asked());
}

#[test]
fn as_numbers_come_by_dns_and_an_as_is_asked_its_name_once() {
    let zone = Zone::default()
        .text("3.2.1.9.origin.asn.cymru.com", b"64500 | 9.0.0.0/8 | US | arin | 1988-12-16", 3_600)
        .text("3.2.1.9.origin.asn.cymru.com", b"64501 64502 | 9.1.0.0/16 | US | arin | 1988-12-16", 3_600)
        .text("4.2.1.9.origin.asn.cymru.com", b"64501 | 9.1.0.0/16 | US | arin | 1988-12-16", 3_600)
        .text("AS64501.asn.cymru.com", b"64501 | US | arin | 1988-12-16 | EXAMPLE-AS Ex\x1bample, US", 3_600)
        .name(ROUTED, "r3.example", 60);
    let server = serve(zone);
    let enricher = start(true, AsnSource::Dns, &[server.address()]);
    let known = ask(&enricher, ROUTED);
    assert_eq!((known.name.as_deref(), known.asn), (Some("r3.example"), Some(64_501)));
    assert_eq!(known.as_name.as_deref(), Some("EXAMPLE-AS Ex\u{fffd}ample, US"));
    let other = ask(&enricher, Ipv4Addr::new(9, 1, 2, 4).into());
    assert_eq!((other.name, other.asn, other.as_name), (None, Some(64_501), known.as_name));
    let names = server.asked().iter().filter(|asked| asked.contains("AS64501")).count();
    assert_eq!(names, 1, "{:?}", server.asked());
}

#[test]
fn who_is_nobody_elses_business_is_asked_for_its_name_alone() {
    let private = Ipv4Addr::new(10, 1, 2, 3).into();
    let server = serve(Zone::default().name(private, "inside.example", 60));
    let enricher = start(true, AsnSource::Dns, &[server.address()]);
    let known = ask(&enricher, private);
    assert_eq!((known.name.as_deref(), known.asn), (Some("inside.example"), None));
    assert_eq!(server.asked(), ["udp PTR 3.2.1.10.in-addr.arpa."]);
}

#[test]
fn as_numbers_come_from_a_table_without_any_server() {
    let table = Table::of("192.0.2.0\t192.0.2.255\t64500\tDE\tEXAMPLE-AS\n2001:db8::\t2001:db8::ff\t64501\tDE\tSIX\n");
    let enricher = start(false, table.source(), &[]);
    for (address, asn, called) in [(HOST, 64_500, "EXAMPLE-AS"), (HOST_V6, 64_501, "SIX")] {
        let expected = Known { name: None, asn: Some(asn), as_name: Some(called.into()) };
        assert_eq!(ask(&enricher, address), expected);
    }
    assert_eq!(ask(&enricher, ROUTED), Known::default());
}

#[test]
fn a_table_that_is_broken_costs_the_numbers_alone_and_one_that_is_missing_is_refused() {
    let server = serve(Zone::default().name(HOST, "r7.example", 60));
    let table = Table::of("no table\n");
    let known = ask(&start(true, table.source(), &[server.address()]), HOST);
    assert_eq!((known.name.as_deref(), known.asn), (Some("r7.example"), None));
    let settings = Settings { asn: AsnSource::File("/nowhere/as.mmdb".into()), ..Settings::default() };
    let error = Enricher::start(settings).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/as.mmdb: there is no such file; "), "{error}");
}

#[test]
fn nothing_to_find_out_is_no_thread_and_no_question() {
    let server = serve(Zone::default().name(HOST, "r7.example", 60));
    let enricher = start(false, AsnSource::Off, &[server.address()]);
    assert_eq!(ask(&enricher, HOST), Known::default());
    assert_eq!(server.asked(), Vec::<String>::new());
}

/// `echolot run`, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// A name server at a lab's far end that knows 10.64.0.7.
fn serve_far(lab: &Lab) -> NameServer {
    let space = fs::File::open(format!("/run/netns/{}-far", lab.name())).unwrap();
    let zone = Zone::default().name(IpAddr::from([10, 64, 0, 7]), "r7.example", 3_600);
    let server = thread::spawn(move || {
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        NameServer::bind((FAR_ADDRESS, 53).into(), zone).unwrap()
    });
    server.join().unwrap()
}

#[test]
fn events_name_whom_they_are_about() {
    if !is_root() {
        return println!("skipped: needs root");
    }
    let mut lab = Lab::up(&format!("enrich-{}", std::process::id()), &Answer::Kernel).unwrap();
    let server = serve_far(&lab);
    let folder = lab.name().folder();
    let write = |file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
    write("resolv.conf", &format!("nameserver {FAR_ADDRESS}\n"));
    write("as.tsv", "10.64.0.0\t10.64.255.255\t64512\tDE\tLAB-AS\n");
    write(
        "run.yml",
        "interface: near0\nevents: events.jsonl\nenrich: {names: true, asn: as.tsv}\nglobal: {interval: 100ms, timeout: 100ms}\n\
         groups: [{name: far, targets: [10.64.0.7]}]\n",
    );
    // The namespace of mounts is the command's own.
    let mut command = lab.near("sh");
    let script = "mount --bind \"$1/resolv.conf\" /etc/resolv.conf && exec \"$0\" run -c \"$1/run.yml\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_echolot")]).arg(&folder).stdin(Stdio::null());
    let log = folder.join("run.log");
    command.stderr(fs::File::create(&log).unwrap());
    let mut running = Running(command.spawn().unwrap());
    let told = |to: &str| {
        wait_until(LONG, || {
            let text = fs::read_to_string(folder.join("events.jsonl")).unwrap_or_default();
            let mut events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            events.rfind(|event| event["to"] == to)
        })
        .unwrap_or_else(|| panic!("never {to}\n{}", fs::read_to_string(&log).unwrap_or_default()))
    };
    assert_eq!(told("up")["address"], "10.64.0.7");
    // By the first event; it is answered long before the target can go down.
    assert!(
        wait_until(LONG, || server.asked().contains(&"udp PTR 7.0.64.10.in-addr.arpa.".to_owned()).then_some(()))
            .is_some()
    );
    lab.answer(&Answer::Silent).unwrap();
    let down = told("down");
    assert_eq!((&down["name"], &down["asn"]), (&"r7.example".into(), &64_512.into()), "{down}");
    assert_eq!(down["as_name"], "LAB-AS");
    assert_eq!(server.asked().len(), 1, "{:?}", server.asked());
    send_signal("TERM", running.0.id());
    let ended = wait_until(LONG, || running.0.try_wait().unwrap());
    assert!(
        ended.is_some_and(|status| status.success()),
        "{ended:?}\n{}",
        fs::read_to_string(&log).unwrap_or_default()
    );
}

/// What ping and sweep print says what addresses are called; a dead name server costs the names, and no line for longer than it may.
#[test]
fn lines_name_whom_they_are_about() {
    if !is_root() {
        return println!("skipped: needs root");
    }
    let lab = Lab::up(&format!("enrich-lines-{}", std::process::id()), &Answer::Kernel).unwrap();
    let server = serve_far(&lab);
    let folder = lab.name().folder();
    fs::write(folder.join("resolv.conf"), format!("nameserver {FAR_ADDRESS}\n")).unwrap();
    fs::write(folder.join("as.tsv"), "10.64.0.0\t10.64.255.255\t64512\tDE\tLAB-AS\n").unwrap();
    let lines = |arguments: &str| {
        let mut command = lab.near("sh");
        let script = "mount --bind \"$1/resolv.conf\" /etc/resolv.conf && cd \"$1\" && exec \"$0\" $2";
        command.args(["-c", script, env!("CARGO_BIN_EXE_echolot")]).arg(&folder).arg(arguments);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = lines("ping -c 1 --names --asn as.tsv --names-wait 60 10.64.0.7");
    assert!(text.starts_with("64 bytes from r7.example (10.64.0.7) [AS64512 LAB-AS]: icmp_seq=0 ttl="), "{text}");
    let text = lines("sweep --names --names-wait 60 -f jsonl 10.64.0.6/31");
    let named: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(named.len(), 2, "{text}");
    for line in named {
        let expected = if line["address"] == "10.64.0.7" { "r7.example".into() } else { serde_json::Value::Null };
        assert_eq!((&line["name"], &line["outcome"]), (&expected, &"answered".into()), "{text}");
    }
    let asked = server.asked().len();
    server.behave(Manner::Dead);
    let text = lines("ping -c 1 --names --names-wait 100ms 10.64.0.8");
    assert!(text.starts_with("64 bytes from 10.64.0.8: icmp_seq=0 ttl="), "{text}");
    let plain = lines("ping -c 1 10.64.0.8");
    assert!(plain.starts_with("64 bytes from 10.64.0.8: icmp_seq=0 ttl="), "{plain}");
    assert!(server.asked().len() > asked, "it was asked, by the one that wanted names");
}
