//! The lab brought up for real: needs root, and touches only namespaces of its own names.

#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use xtask::command::is_root;
use xtask::lab::services::{DNS_PORT, DROPPED_PORT, ECHO_PORT, OPEN_PORTS, Services};
use xtask::lab::{Answer, End, FAR_INTERFACE, Lab, NEAR_INTERFACE};

/// A name that no other test run uses at the same time; `None` (and a word about it) without root.
fn name(what: &str) -> Option<String> {
    if !is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    Some(format!("el-xtask-{what}-{}", std::process::id()))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn exists(name: &str) -> bool {
    let left = |path: &str| Path::new(path).exists();
    left(&format!("/run/netns/{name}-near")) || left(&format!("/run/netns/{name}-far")) || left(&state(name))
}

fn state(name: &str) -> String {
    format!("/run/echolot-lab/{name}")
}

fn answers(lab: &Lab, address: &str) -> bool {
    let mut ping = lab.near("ping");
    ping.args(["-n", "-c", "1", "-W", "1", address]).output().unwrap().status.success()
}

#[test]
#[ignore = "needs root: make test runs it"]
fn far_answers_through_the_route_and_nothing_leads_out() {
    let Some(name) = name("up") else { return };
    let mut lab = Lab::up(&name, &Answer::Kernel).unwrap();

    for address in ["10.64.0.0", "10.71.3.4", "10.79.255.255"] {
        assert!(answers(&lab, address), "{address} does not answer");
    }
    let routes = text(&lab.near("ip").args(["-4", "route"]).output().unwrap());
    assert_eq!(routes.lines().count(), 2, "{routes}");
    assert!(!routes.contains("default"), "{routes}");
    assert!(!lab.near("ip").args(["route", "get", "192.0.2.1"]).output().unwrap().status.success());
    for (mut ls, interface) in [(lab.near("ls"), NEAR_INTERFACE), (lab.far("ls"), FAR_INTERFACE)] {
        let queues = text(&ls.arg(format!("/sys/class/net/{interface}/queues")).output().unwrap());
        assert_eq!(queues.split_whitespace().collect::<Vec<_>>(), ["rx-0", "rx-1", "tx-0", "tx-1"], "{interface}");
    }

    lab.answer(&Answer::Silent).unwrap();
    assert!(!answers(&lab, "10.64.0.1"), "the silent far end answered");
    lab.answer(&Answer::Kernel).unwrap();
    assert!(answers(&lab, "10.64.0.1"), "the far end did not find its voice again");

    lab.down().unwrap();
    assert!(!exists(&name));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_flood_of_echo_requests_is_answered_in_full() {
    let Some(name) = name("flood") else { return };
    let lab = Lab::up(&name, &Answer::Kernel).unwrap();
    let output = lab.near("ping").args(["-n", "-f", "-q", "-c", "20000", "10.70.0.1"]).output().unwrap();
    assert!(text(&output).contains("20000 received"), "{}", text(&output));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn goes_after_a_panic_with_what_runs_in_it() {
    let Some(name) = name("panic") else { return };
    let mut children = Vec::new();
    let caught = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::up(&name, &Answer::Kernel).unwrap();
        // One that ignores the polite signal, so that it has to be killed, and one that doesn't.
        children.push(lab.far("sh").args(["-c", "trap '' TERM; sleep 600"]).spawn().unwrap());
        children.push(lab.near("sleep").arg("600").spawn().unwrap());
        assert!(exists(&name));
        panic!("on purpose");
    }));
    assert!(caught.is_err());
    assert!(!exists(&name));
    for mut child in children {
        assert!(!child.wait().unwrap().success(), "it ended by itself");
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn leftovers_of_the_same_name_are_removed() {
    let Some(name) = name("left") else { return };
    assert!(Command::new("ip").args(["netns", "add", &format!("{name}-far")]).status().unwrap().success());
    let lab = Lab::up(&name, &Answer::Kernel).unwrap();
    assert!(answers(&lab, "10.64.1.1"));
    drop(lab);
    assert!(!exists(&name));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_command_line_and_a_killed_parent() {
    let Some(name) = name("cli") else { return };
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("lab").args(arguments).args(["--name", &name]).output().unwrap()
    };
    // The guard of this lab takes the other one's place if an assertion fails.
    struct Down<'a>(&'a dyn Fn(&[&str]) -> Output);
    impl Drop for Down<'_> {
        fn drop(&mut self) {
            (self.0)(&["down"]);
        }
    }
    let down = Down(&run);

    assert!(text(&run(&["status"])).contains("is down"));
    assert!(!run(&["exec", "--name", &name, "--", "true"]).status.success());
    let told = text(&run(&["up"]));
    assert!(told.contains("is up: 10.64.0.0/12 is behind 10.63.0.2, fd00:64::/108 behind fd00:63::2"), "{told}");
    for line in ["TCP 80, 443    open", "TCP, UDP 81    dropped", "UDP 7          echoed", "UDP 53         DNS"] {
        assert!(told.contains(line), "no {line:?} in {told}");
    }
    assert!(text(&run(&["up"])).contains("is up already"));
    // The services stay when the command has ended.
    assert!(text(&run(&["status"])).contains("far0 10.63.0.2, 1 processes"), "{}", text(&run(&["status"])));
    let mut ping = Command::new(env!("CARGO_BIN_EXE_xtask"));
    ping.args(["lab", "exec", "--name", &name, "--", "ping", "-n", "-c", "1", "-W", "1", "10.64.9.9"]);
    assert!(ping.output().unwrap().status.success());
    assert!(text(&run(&["answer", "silent"])).contains("silent answers"));
    assert!(text(&run(&["status"])).contains("silent answers"));
    let refused = run(&["answer", "reflector", "--reflector", "/nonexistent"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Is it built?"));
    drop(down);
    assert!(!exists(&name));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn goes_when_its_owner_is_killed() {
    let Some(name) = name("kill") else { return };
    // This very test, run by a process that is killed in the middle of it.
    if let Ok(name) = std::env::var("ECHOLOT_TEST_LAB") {
        let _lab = Lab::up(&name, &Answer::Kernel).unwrap();
        loop {
            std::thread::park();
        }
    }
    let mut owner = Command::new(std::env::current_exe().unwrap());
    owner.args(["--include-ignored", "--exact", "goes_when_its_owner_is_killed"]).env("ECHOLOT_TEST_LAB", &name);
    let mut owner = owner.stdout(Stdio::null()).spawn().unwrap();
    wait_for(|| Path::new(&state(&name)).join("answer").exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_for(|| !exists(&name));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_reflector_is_awaited_and_stopped() {
    let Some(name) = name("reflector") else { return };
    let folder = std::env::temp_dir().join(&name);
    std::fs::create_dir_all(&folder).unwrap();
    // What the lab asks of a reflector: it is called so, says "ready" on stderr, and ends when told to.
    let script = |file: &str, body: &str| {
        let path = folder.join(file);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(&path).status().unwrap().success());
        path
    };
    let good = script("good", r#"[ "$*" = "reflect -I far0" ] || exit 9; echo "far0: Ready" >&2; exec sleep 600"#);
    let bad = script("bad", "echo no such luck >&2; exit 2");

    let mut lab = Lab::up(&name, &Answer::Reflector(good)).unwrap();
    assert_eq!(lab.name().processes(End::Far).len(), 1);
    assert!(!answers(&lab, "10.64.0.1"), "the kernel answered beside the reflector");
    lab.answer(&Answer::Kernel).unwrap();
    assert_eq!(lab.name().processes(End::Far), []);
    assert!(answers(&lab, "10.64.0.1"));
    let told = lab.answer(&Answer::Reflector(bad)).unwrap_err();
    assert!(told.contains("ended at once") && told.contains("no such luck"), "{told}");
    drop(lab);
    assert!(!exists(&name));
    std::fs::remove_dir_all(&folder).unwrap();
}

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");
/// What is to be answered is, even on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(20);
/// Nobody answers in this time, which is less than that after which the kernel asks again.
const SHORT: Duration = Duration::from_millis(400);

/// Does something on a thread in the near namespace.
fn near<T: Send>(lab: &Lab, body: impl FnOnce() -> T + Send) -> T {
    let space = File::open(format!("/run/netns/{}", lab.name().namespace(End::Near))).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(space.as_fd(), Some(kind)).unwrap();
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

/// What comes back for a datagram; the kind of error if none does.
fn ask(to: SocketAddr, datagram: &[u8], within: Duration) -> Result<Vec<u8>, ErrorKind> {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
    // Hears from nobody but the one who is asked.
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(within)).unwrap();
    socket.send(datagram).unwrap();
    let mut back = vec![0; 1 << 16];
    let length = socket.recv(&mut back).map_err(|error| error.kind())?;
    back.truncate(length);
    Ok(back)
}

/// As [`ask`] has it.
fn is_silent(asked: &Result<Vec<u8>, ErrorKind>) -> bool {
    matches!(asked, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// With the services, in both families.
fn served(what: &str) -> Option<Lab> {
    let mut lab = Lab::up(&name(what)?, &Answer::Kernel).unwrap();
    lab.serve(Path::new(XTASK)).unwrap();
    Some(lab)
}

#[test]
#[ignore = "needs root: make test runs it"]
fn tcp_is_open_closed_and_dropped_at_every_address() {
    let Some(lab) = served("tcp") else { return };
    near(&lab, || {
        for address in ["10.64.0.1", "10.79.255.255", "10.63.0.2", "fd00:64::1", "fd00:64::f:ffff", "fd00:63::2"] {
            for port in OPEN_PORTS {
                let mut stream = TcpStream::connect_timeout(&at(address, port), LONG).unwrap();
                stream.set_read_timeout(Some(LONG)).unwrap();
                assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "{address} port {port} is closed at once");
            }
            for port in [1, ECHO_PORT, DNS_PORT, 65_535] {
                let error = TcpStream::connect_timeout(&at(address, port), LONG).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address} port {port}");
            }
            let error = TcpStream::connect_timeout(&at(address, DROPPED_PORT), SHORT).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{address}");
        }
    });
    let name = lab.name().to_string();
    lab.down().unwrap();
    assert!(!exists(&name));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn udp_comes_back_or_is_refused_or_dropped() {
    let Some(lab) = served("udp") else { return };
    near(&lab, || {
        let long = vec![7; 9_000];
        for host in Services::hosts() {
            for datagram in [&b""[..], b"echolot", &long] {
                assert_eq!(ask(SocketAddr::new(host, ECHO_PORT), datagram, LONG).as_deref(), Ok(datagram), "{host}");
            }
            // Of a name that is not there: id, response, no such name, one question, and that.
            let question = b"\x06nobody\x03lab\0\0\x01\0\x01";
            let query = [&b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0"[..], question].concat();
            let expected = [&b"\x12\x34\x85\x03\0\x01\0\0\0\0\0\0"[..], question].concat();
            assert_eq!(ask(SocketAddr::new(host, DNS_PORT), &query, LONG), Ok(expected), "{host}");
            // Its two kinds of address, A (1) and AAAA (28), at the end of the response.
            for (kind, address) in
                [(1, &[10, 64, 0, 1][..]), (28, &[0xfd, 0, 0, 0x64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])]
            {
                let question = [b"\x04both\x03lab\0\0", &[kind][..], b"\0\x01"].concat();
                let query = [&b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0"[..], &question].concat();
                let response = ask(SocketAddr::new(host, DNS_PORT), &query, LONG).unwrap();
                assert!(response.starts_with(b"\x12\x34\x85\0\0\x01\0\x01") && response.ends_with(address), "{host}");
            }
        }
        for address in ["10.64.0.1", "10.70.0.1", "fd00:64::1", "fd00:64::8:1"] {
            assert_eq!(ask(at(address, 9), b"x", LONG), Err(ErrorKind::ConnectionRefused), "{address}");
            assert!(is_silent(&ask(at(address, DROPPED_PORT), b"x", SHORT)), "{address}");
        }
        assert_eq!(
            ask(at("10.70.0.1", ECHO_PORT), b"x", LONG),
            Err(ErrorKind::ConnectionRefused),
            "no host of services"
        );
    });
}

/// The kernel limits the errors that it sends, by default; not here.
#[test]
#[ignore = "needs root: make test runs it"]
fn closed_udp_ports_are_told_every_time() {
    let Some(name) = name("errors") else { return };
    let lab = Lab::up(&name, &Answer::Kernel).unwrap();
    near(&lab, || {
        for address in ["10.64.0.1", "fd00:64::1"] {
            for number in 0..1_000 {
                let told = ask(at(address, 9), b"x", LONG);
                assert_eq!(told, Err(ErrorKind::ConnectionRefused), "{address}, number {number}");
            }
        }
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn services_are_for_the_far_end_alone() {
    let Some(name) = name("alone") else { return };
    let mut lab = Lab::up(&name, &Answer::Kernel).unwrap();
    let refused = near(&lab, || Services::bind().err()).unwrap();
    assert!(refused.starts_with("10.63.0.2:7: "), "{refused}");
    let told = lab.serve(Path::new("/nonexistent")).unwrap_err();
    assert!(told.contains("Is it built?"), "{told}");
    assert_eq!(lab.name().processes(End::Far), []);
    drop(lab);
    assert!(!exists(&name));
}

fn wait_for(condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "waited 20 s in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}
