//! Whatever is in the way is told in one line: what, where, why, what to do.

use super::place::{ECHOLOT, LISTEN, Place};
use std::{fs, io::Write as _, net::TcpListener, process::Command};
use xtask::{
    command::wait_until,
    lab::{Answer, TARGETS},
};

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

fn ip(place: &Place, arguments: &str) {
    assert!(place.lab.near("ip").args(words(arguments)).status().unwrap().success(), "ip {arguments}");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn arguments_typed_wrong() {
    let Some(place) = Place::new("typed", &Answer::Kernel) else { return };
    for (arguments, expected) in [
        ("ping", &["<TARGET>", "required", "--help"][..]),
        ("run", &["--config <FILE>", "required"]),
        ("pnig 10.64.0.1", &["'pnig'", "'ping'"]),
        ("sweep 10.64.0.0/33", &["argument 1", "10.64.0.0/33", "prefix length", "/0 to /32"]),
        ("ping 2001:db8::1", &["no route to 2001:db8::1", "ip -6 route"]),
        ("ping 2001:db8::1::2", &["argument 1", "2001:db8::1::2", "not an IPv6 address"]),
        ("ping ::ffff:192.0.2.7", &["argument 1", "stands for an IPv4 address", "write 192.0.2.7"]),
        ("ping -4 2001:db8::1", &["2001:db8::1 is IPv6", "no -4"]),
        ("ping -6 10.64.0.1", &["10.64.0.1 is IPv4", "-6"]),
        ("ping fe80::1", &["fe80::1", "link-local", "-I"]),
        ("ping fe80::1%near9 -I near0", &["on the link of near9", "-I near9"]),
        ("ping -S 10.63.0.1 -S 10.63.0.1 10.64.0.1", &["-S", "10.63.0.1 is there twice", "given once"]),
        ("ping 10.64.0.1 10.64.0.256", &["argument 2", "10.64.0.256", "more than 255"]),
        ("ping https://10.64.0.1/x", &["URL", "write 10.64.0.1"]),
        ("sweep 10.64.0.9-10.64.0.1", &["10.64.0.9-10.64.0.1", "before it begins"]),
        ("sweep --rate 200x 10.64.0.1", &["200x", "--rate", "50k"]),
        ("sweep --shard 5/4 10.64.0.1", &["5/4", "--shard", "1/4"]),
        ("sweep --only lots 10.64.0.1", &["lots", "--only", "answered"]),
        ("ping -i 0 10.64.0.1", &["--interval", "10ms to 1h"]),
        ("ping -s 2000 10.64.0.1", &["2000", "--size", "1472"]),
        ("ping -p tcp 10.64.0.1", &["--probe", "port from 1 to 65535", "tcp:443"]),
        ("ping -p tcp:443 -s 56 10.64.0.1", &["-s", "no payload"]),
        ("ping -p tcp:443 -i 10ms 10.64.0.1", &["-i, -W", "103 probes", "interval to 32ms", "timeout to 770ms"]),
        ("sweep --source-port 61000 10.64.0.1", &["--source-port", "add -p tcp:PORT"]),
        (
            "sweep -p tcp:443 --source-port 40000 10.64.0.1",
            &["source port 40000", "ip_local_port_range", "32768 to 60999"],
        ),
        ("ping -c 1 nobody.invalid", &["nobody.invalid", "does not resolve", "getent"]),
        ("ping -S 192.0.2.9 10.64.0.1", &["source 192.0.2.9", "not an address of this host", "10.63.0.1"]),
        ("ping -I lo 10.64.0.1", &["lo", "loopback", "--interface"]),
        ("ping -I near9 10.64.0.1", &["near9: no such interface", "near0", "--interface"]),
        ("reflect -I near9", &["near9: no such interface", "ip link"]),
        ("ping 192.0.2.1", &["no route to 192.0.2.1", "ip route"]),
        ("ping 10.63.0.1", &["10.63.0.1", "address of this host"]),
        ("sweep --targets /dev/null", &["no target to probe", "none was named"]),
        ("sweep --targets /nowhere/hosts", &["/nowhere/hosts", "No such file"]),
        ("sweep 10.64.0.0/30 --exclude /nowhere/never", &["/nowhere/never", "No such file"]),
        ("sweep 2001:db8::/95", &["2001:db8::/95", "GiB", "available", "name fewer targets"]),
        ("ping -i 10ms 10.64.0.0/16", &["6553600 probes a second", "100000", "echolot sweep"]),
        ("run -c /nowhere/echolot.yml", &["/nowhere/echolot.yml", "No such file"]),
        ("check /nowhere/echolot.yml", &["/nowhere/echolot.yml", "No such file"]),
        ("sweep 10.64.0.0/30 -o /nowhere/out", &["/nowhere/out", "create the output file", "-o"]),
        ("sweep 10.64.0.0/30 -f none --summary /nowhere/sum", &["/nowhere/sum", "summary", "--summary"]),
    ] {
        place.ended(&mut place.echolot(words(arguments))).refused(expected);
    }
    assert!(place.attached().is_none());
}

#[test]
#[ignore = "needs root: make test runs it"]
fn configurations_written_wrong() {
    let Some(place) = Place::new("config", &Answer::Kernel) else { return };
    let group = "groups:\n  - name: edge\n    targets: [10.64.0.1]\n";
    for (text, expected) in [
        (String::new(), &["empty", "groups"][..]),
        ("groups:\n  - name: edge\n    targets: 7\n".into(), &[":3:14:", "number 7", "list of targets"]),
        (format!("{group}    interval: 5\n"), &[":4:15:", "interval", "no unit", "5s"]),
        (format!("{group}    interval: [1s]\n"), &[":4:15:", "interval", "list"]),
        (format!("{group}  - name: edge\n    targets: [10.64.0.2]\n"), &[":4:11:", "`edge`", "line 2", "own name"]),
        (format!("{group}    tiemout: 1s\n"), &[":4:5:", "unknown key `tiemout`", "`timeout`"]),
        ("groups:\n  - name: edge\n    tragets: [10.64.0.1]\n".into(), &[":3:5:", "`tragets`", "`targets`"]),
        (format!("{group}   timeout: 1s\n"), &[":4:4:", "not YAML"]),
        (
            format!("groups:\n  - name: edge\n    targets: [{TARGETS}]\n    interval: 1s\n"),
            &["1048576 probes a second", "100000", "limits.rate", "`edge`"],
        ),
        ("groups:\n  - name: edge\n    targets: [2001:db8::/95]\n    interval: 1h\n".into(), &["2001:db8::/95", "GiB"]),
        ("groups:\n  - name: edge\n    targets: [239.0.0.1]\n".into(), &[":3:15:", "multicast", "--allow-reserved"]),
        (format!("{group}exclude_files: [gone.txt]\n"), &[":4:17:", "exclude_files[0]", "gone.txt", "No such file"]),
        (format!("listen: 127.0.0.1\n{group}"), &[":1:9:", "listen", "10816"]),
        (format!("{group}    probe: tcp\n"), &[":4:12:", "groups[0].probe", "`tcp`", "tcp:443"]),
        (
            format!("{group}    probe: tcp:443\n    interval: 10ms\n"),
            &[":5:15:", "groups[0].interval", "32ms", "770ms"],
        ),
    ] {
        let path = place.file("wrong.yml", &text);
        for arguments in [["run", "-c"].as_slice(), &["check"]] {
            let name = path.to_str().unwrap();
            let ended = place.ended(&mut place.echolot(arguments.iter().copied().chain([name])));
            ended.refused(&[&[name], expected].concat());
        }
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_host_that_is_not_ready() {
    let Some(place) = Place::new("host", &Answer::Kernel) else { return };

    // Neither root nor capabilities; and root whose capabilities have been taken.
    let program = place.folder.join("echolot");
    fs::copy(ECHOLOT, &program).unwrap();
    for ids in [&["--reuid=65534", "--regid=65534", "--clear-groups"][..], &[]] {
        for arguments in ["ping -c 1 10.64.0.1", "sweep 10.64.0.0/30", "reflect -I near0"] {
            let mut command = place.lab.near("setpriv");
            command.args(ids).args(["--inh-caps=-all", "--bounding-set=-all"]).arg(&program).args(words(arguments));
            place.ended(&mut command).refused(&["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "root"]);
        }
    }

    // A gateway that nobody answers for, alone and named by `run`.
    ip(&place, "route add 198.51.100.0/24 via 10.63.0.99");
    let gateway = ["gateway 10.63.0.99", "near0", "ARP", "ip neigh"];
    place.ended(&mut place.echolot(words("ping -c 1 198.51.100.1"))).refused(&gateway);
    let config = place.config("198.51.100.0/30", "");
    place.ended(&mut place.echolot(["run", "-c", config.to_str().unwrap()])).refused(&gateway);

    // Somebody else's port.
    let config = place.config("10.64.0.1", "");
    let holder = place.inside(|| TcpListener::bind(LISTEN).unwrap());
    let pid = format!("(pid {})", std::process::id());
    place
        .ended(&mut place.echolot(["run", "-c", config.to_str().unwrap()]))
        .refused(&[LISTEN, "in use", &pid, "listen"]);
    drop(holder);

    // Somebody else's source port, and none that could be had.
    let holder = place.inside(|| TcpListener::bind("10.63.0.1:61000").unwrap());
    let ended = place.ended(&mut place.echolot(words("sweep -p tcp:443 --source-port 61000 10.64.0.1")));
    ended.refused(&["source port 61000 is in use", "another echolot", "ss -tanp sport = :61000", "--source-port"]);
    drop(holder);
    let range = |ports: &str| {
        let setting = format!("net.ipv4.ip_local_port_range={ports}");
        assert!(place.lab.near("sysctl").args(["-qw", &setting]).status().unwrap().success(), "{ports}");
    };
    range("1024 65535");
    let ended = place.ended(&mut place.echolot(words("sweep -p tcp:443 10.64.0.1")));
    ended.refused(&[
        "source ports: 1 needed for TCP and UDP probes",
        "ip_local_port_range (1024 to 65535) leaves 0",
        "sysctl -w",
    ]);
    let doctor = place.ended(&mut place.echolot(words("doctor -I near0")));
    assert!(doctor.stdout.contains("warn  source ports"), "{}", doctor.stdout);
    range("32768 60999");

    // Somebody else's XDP program: another echolot's, then a reflector's.
    let first = place.run(&config, &[]);
    let id = format!("(id {})", place.attached().unwrap());
    let attached = |name| ["near0", "XDP program", "attached already", name, &id].map(str::to_owned);
    let ended = place.ended(&mut place.echolot(words("ping -c 1 10.64.0.1")));
    ended.refused(&attached("`steer`").each_ref().map(String::as_str));
    ended.says(&["another echolot"]);
    assert_eq!(first.stop().status.code(), Some(0));
    let mut command = place.echolot(words("reflect -I near0"));
    let reflect = place.start(&mut command);
    assert!(wait_until(super::place::LONG, || reflect.stderr().contains("ready").then_some(())).is_some());
    let id = format!("(id {})", place.attached().unwrap());
    let ended = place.lab.near(ECHOLOT).args(words("ping -c 1 10.64.0.1")).output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("`reflect`") && told.contains(&id) && ended.status.code() == Some(2), "{told}");
    drop(reflect);

    // The far end's carrier, then our own interface.
    assert!(place.lab.far("ip").args(words("link set far0 down")).status().unwrap().success());
    place.ended(&mut place.echolot(words("ping -c 1 10.64.0.1"))).refused(&["near0", "no carrier", "cable"]);
    // One that comes back, as a card's does that another program has just been taken off, is waited for.
    let waits = place.start(&mut place.echolot(words("ping -c 1 10.64.0.1")));
    let told = wait_until(super::place::LONG, || waits.stderr().contains("the carrier of near0").then_some(()));
    assert!(told.is_some(), "{}", waits.stderr());
    assert!(place.lab.far("ip").args(words("link set far0 up")).status().unwrap().success());
    assert_eq!(waits.end().status.code(), Some(0));
    ip(&place, "link set near0 down");
    for arguments in ["ping -I near0 10.64.0.1", "sweep -I near0 10.64.0.0/30", "reflect -I near0"] {
        place.ended(&mut place.echolot(words(arguments))).refused(&["near0", "down", "ip link set near0 up"]);
    }
    // Its routes went with it.
    place.ended(&mut place.echolot(words("ping 10.64.0.1"))).refused(&["no route to 10.64.0.1", "ip route"]);
}

/// Nobody gets the source ports of TCP probes while it runs, whatever the family, and whoever wants them afterwards does.
#[test]
#[ignore = "needs root: make test runs it"]
fn source_ports_are_held_while_it_runs() {
    let Some(place) = Place::new("ports", &Answer::Silent) else { return };
    let text = format!(
        "source_port: 61000\nlisten: {LISTEN}\nglobal: {{probe: tcp:443}}\ngroups:\n  - {{name: a, targets: [10.64.0.1]}}\n  \
         - {{name: b, targets: [10.64.0.1]}}\n"
    );
    let running = place.run(&place.file("echolot.yml", &text), &[]);
    for address in ["0.0.0.0:61000", "[::]:61000", "127.0.0.1:61001", "[::1]:61001"] {
        let taken = place.inside(|| TcpListener::bind(address).map(drop).unwrap_err());
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse, "{address}");
    }
    place.inside(|| TcpListener::bind("0.0.0.0:61002").map(drop)).unwrap();
    let ended = place.ended(&mut place.echolot(words("ping -p tcp:443 --source-port 61001 10.64.0.1")));
    ended.refused(&["source port 61001 is in use", "another echolot"]);
    assert_eq!(running.stop().status.code(), Some(0));
    for address in ["0.0.0.0:61000", "[::]:61001"] {
        place.inside(|| TcpListener::bind(address).map(drop)).unwrap();
    }
}

/// A resolver that never answers holds nothing up but the name that needs it.
#[test]
#[ignore = "needs root: make test runs it"]
fn a_silent_resolver() {
    let Some(place) = Place::new("names", &Answer::Silent) else { return };
    // Somebody takes the questions and says nothing.
    let socket = rustix_udp(&place);
    let conf = place.file("resolv.conf", "nameserver 127.0.0.53\noptions timeout:30 attempts:5\n");
    let nss = place.file("nsswitch.conf", "hosts: dns\n");
    let script =
        format!("mount --bind {} /etc/resolv.conf\nmount --bind {} /etc/nsswitch.conf", conf.display(), nss.display());
    let begun = std::time::Instant::now();
    place.ended(&mut place.after(&script, words("ping -c 1 host.example"))).refused(&[
        "looking names up",
        "3 s",
        "/etc/resolv.conf",
    ]);
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());

    let text = format!(
        "listen: {LISTEN}\ngroups:\n  - name: ops\n    targets: [10.64.0.1, host.example, 10.64.0.2]\n    interval: 100ms\n"
    );
    let config = place.file("echolot.yml", &text);
    let running = place.start(&mut place.after(&script, ["run", "-c", config.to_str().unwrap()]));
    let probing = wait_until(super::place::LONG, || {
        let (_, text) = place.get("/metrics").filter(|(status, _)| *status == 200)?;
        (super::place::sum_of(&text, "echolot_probes_total") > 20.0).then_some(text)
    });
    let scrape = probing.unwrap_or_else(|| panic!("the others were not probed: {}", running.stderr()));
    assert_eq!(super::place::sum_of(&scrape, "echolot_targets{state=\"unresolved\""), 1.0);
    let ended = running.stop();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    ended.says(&["names take long to resolve", "goes on without"]);
    assert!(!ended.stderr.contains("0.0.0.0") && !ended.stderr.contains("no route"), "{ended:?}");
    drop(socket);
}

fn rustix_udp(place: &Place) -> std::net::UdpSocket {
    place.inside(|| std::net::UdpSocket::bind("127.0.0.53:53").unwrap())
}

/// Without any resolver: `ping` says so at once, `run` goes on with the others and tries again.
#[test]
#[ignore = "needs root: make test runs it"]
fn no_resolver() {
    let Some(place) = Place::new("nodns", &Answer::Kernel) else { return };
    let empty = place.file("resolv.conf", "");
    let script = format!("mount --bind {} /etc/resolv.conf", empty.display());
    place.ended(&mut place.after(&script, words("ping -c 1 host.example 10.64.0.1"))).refused(&[
        "host.example",
        "does not resolve",
        "getent",
    ]);
    let only_names = place.config("host.example", "");
    place
        .ended(&mut place.after(&script, ["run", "-c", only_names.to_str().unwrap()]))
        .says(&["host.example", "no target has an address"]);

    let hosts = place.folder.join("hosts");
    fs::copy("/etc/hosts", &hosts).unwrap();
    let script = format!("{script}\nmount --bind {} /etc/hosts", hosts.display());
    let config = place.config("10.64.0.1, host.example", "");
    let running = place.start(&mut place.after(&script, ["run", "-c", config.to_str().unwrap()]));
    let state = |state: &str| {
        let (_, text) = place.get("/metrics")?;
        Some(super::place::sum_of(&text, &format!("echolot_targets{{state=\"{state}\"")))
    };
    let up = |many| wait_until(super::place::LONG, || (state("up")? == many).then_some(()));
    assert!(up(1.0).is_some(), "{}", running.stderr());
    assert_eq!(state("unresolved"), Some(1.0));
    // The same file grows a line: the name resolves at one of the next tries.
    fs::OpenOptions::new().append(true).open(&hosts).unwrap().write_all(b"10.64.0.7 host.example\n").unwrap();
    assert!(up(2.0).is_some(), "{}", running.stderr());
    let ended = running.stop();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    ended.says(&["host.example does not resolve", "tried again"]);
    assert!(!ended.stderr.contains("0.0.0.0"), "{ended:?}");
}

/// Exit statuses where nothing is wrong, so that the others mean something.
#[test]
#[ignore = "needs root: make test runs it"]
fn statuses_of_success() {
    let Some(mut place) = Place::new("status", &Answer::Kernel) else { return };
    let status = |place: &Place, arguments| place.ended(&mut place.echolot(words(arguments))).status.code();
    assert_eq!(status(&place, "ping -c 1 10.64.0.1"), Some(0));
    assert_eq!(status(&place, "sweep 10.64.0.0/28"), Some(0));
    place.lab.answer(&Answer::Silent).unwrap();
    assert_eq!(status(&place, "ping -c 1 -W 0.1 10.64.0.1"), Some(1));
    assert_eq!(status(&place, "sweep -W 0.1 10.64.0.0/28"), Some(0), "a sweep that finds nobody is complete");
    // One target without a route among others: its probe is unsent, and so the sweep incomplete.
    let ended = place.ended(&mut place.echolot(words("sweep -W 0.1 10.64.0.0/28 192.0.2.1")));
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    ended.says(&["192.0.2.1", "no route"]);
    let help = Command::new(ECHOLOT).arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
}
