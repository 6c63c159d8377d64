//! Every scenario in its short form, judged probe by probe.
#![expect(clippy::unwrap_used, reason = "tests")]

use bench::truth::{
    self, FarEnd, Programs,
    evidence::{self, Form},
    scenario::{self, Families, Where},
};
use std::{
    fs::File,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    path::PathBuf,
    thread,
    time::Duration,
};
use testbed::bare::Passage;
use xtask::{
    command::is_root,
    lab::{Answer, End, Lab, NEAR_INTERFACE},
};

/// Both programs, built by the same `cargo test --workspace`.
fn programs() -> Programs {
    let bench = PathBuf::from(env!("CARGO_BIN_EXE_bench"));
    let echolot = bench.with_file_name("echolot");
    assert!(echolot.exists(), "{} is not there: cargo build -p echolot makes it", echolot.display());
    Programs { echolot, bench }
}

fn judge(network: Where) {
    let scenarios = scenario::all(&truth::folder(), &[]).unwrap();
    let mut wrong = Vec::new();
    let wanted = |(_, scenario): &&(String, _)| {
        let scenario: &scenario::Scenario = scenario;
        scenario.network == network
    };
    for (name, scenario) in scenarios.iter().filter(wanted) {
        let (verdict, _) = truth::run(name, scenario, &programs()).unwrap_or_else(|why| panic!("{name}: {why}"));
        println!("{name}: {}\n{verdict}", scenario.about);
        assert!(verdict.judged > 0, "{name}: nothing was judged");
        if verdict.mismatches > 0 {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "not the truth in {wrong:?}");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn scenarios_in_the_lab() {
    if !is_root() {
        println!("skipped: needs root");
        return;
    }
    judge(Where::Lab);
}

#[test]
fn scenarios_in_the_simulated_network() {
    judge(Where::Simulated);
}

/// The simulated network understands the far end's rule files: what must come of a scenario in the lab comes of it there too, with
/// targets of both families.
#[test]
fn scenarios_of_the_lab_in_the_simulated_network() {
    let mut played = Vec::new();
    for (name, mut scenario) in scenario::all(&truth::folder(), &[]).unwrap() {
        if scenario.network == Where::Lab && scenario.can_be_simulated() {
            scenario.network = Where::Simulated;
            scenario.probe.family = Families::Both;
            let (verdict, _) = truth::run(&name, &scenario, &programs()).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert!(verdict.judged > 0 && verdict.mismatches == 0, "{name}\n{verdict}");
            played.push(name);
        }
    }
    assert!(played.iter().any(|name| name == "errors") && played.len() >= 10, "{played:?}");
}

/// The same of SYNs, to an open port and to a closed one.
#[test]
fn scenarios_of_the_lab_with_syns_in_the_simulated_network() {
    let mut played = 0;
    for (name, mut scenario) in scenario::all(&truth::folder(), &[]).unwrap() {
        if scenario.network == Where::Lab && scenario.can_be_simulated() {
            scenario.network = Where::Simulated;
            scenario.probe.family = Families::Both;
            for port in [80, 81] {
                scenario.probe.tcp = Some(port);
                let (verdict, _) =
                    truth::run(&name, &scenario, &programs()).unwrap_or_else(|why| panic!("{name}: {why}"));
                println!("{name}, port {port}\n{verdict}");
                assert!(verdict.judged > 0 && verdict.mismatches == 0, "{name}, port {port}\n{verdict}");
                played += 1;
            }
        }
    }
    assert!(played >= 20, "{played}");
}

/// The same of UDP, to an open port, to a closed one and to a name server. What is harmed about a datagram without proof is where it comes
/// from, and what a rule sends as somebody else's is not such.
#[test]
fn scenarios_of_the_lab_with_udp_in_the_simulated_network() {
    let mut played = 0;
    for (name, mut scenario) in scenario::all(&truth::folder(), &[]).unwrap() {
        if scenario.network == Where::Lab && scenario.can_be_simulated() && scenario.probe.tcp.is_none() {
            scenario.network = Where::Simulated;
            scenario.probe.family = Families::Both;
            // How many are rejected is not the same: there may be nothing to reject them by.
            scenario.expect.remove("rejected");
            // An answer that comes more probes late than a group has ports is another's: known of what has no proof.
            let ports: &[u16] = if name == "wrap" { &[53] } else { &[8, 9, 53] };
            for port in ports.iter().copied() {
                scenario.probe.udp = Some(port);
                let (verdict, _) =
                    truth::run(&name, &scenario, &programs()).unwrap_or_else(|why| panic!("{name}: {why}"));
                println!("{name}, port {port}\n{verdict}");
                assert!(verdict.judged > 0 && verdict.mismatches == 0, "{name}, port {port}\n{verdict}");
                played += 1;
            }
        }
    }
    assert!(played >= 30, "{played}");
}

/// The far end answers whoever asks: this machine's own UDP here.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_far_end_answers_this_machines_own_udp() {
    if !is_root() {
        println!("skipped: needs root");
        return;
    }
    let lab = Lab::up(&format!("truth-udp-{}", std::process::id()), &Answer::Silent).unwrap();
    let [rules, record] = ["rules.yml", "record.jsonl"].map(|file| lab.name().folder().join(file));
    // One range by the far end's own hand, one by its program.
    let text = "seed: 1\ntimeouts: [1s]\nranges:\n  - {addresses: [10.64.0.0/16, 'fd00:64::/112'], delay: 1ms}\n";
    std::fs::write(&rules, text).unwrap();
    let far = FarEnd::begin(&lab, &programs(), &rules, &record).unwrap();
    // What the program itself sends back arrives only where there is a program, too.
    let _passage = inside(&lab, || Passage::attach(NEAR_INTERFACE)).unwrap();
    let asked: Vec<(&str, u16)> = ["10.64.0.1", "10.65.0.1", "fd00:64::1", "fd00:64::1:1"]
        .into_iter()
        .flat_map(|address| [8, 9, 53].map(|port| (address, port)))
        .collect();
    // A question for the root's name servers, which is sent back as it is by whoever is no name server.
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01";
    for (address, port) in &asked {
        let answer = ask(&lab, address, *port, query);
        match port {
            8 => assert_eq!(answer.as_deref(), Ok(&query[..]), "{address}"),
            9 => assert_eq!(answer, Err(ErrorKind::ConnectionRefused), "{address}"),
            _ => {
                let answer = answer.unwrap();
                assert_eq!((&answer[..2], answer[2] >> 7, answer[3] & 0xf), (&query[..2], 1, 0), "{address}");
            }
        }
    }
    far.end().unwrap();
    let mut seen = evidence::record(&record).unwrap();
    // The program's own records come when they come.
    seen.sort_by_key(|seen| seen.arrival_ns);
    let recorded: Vec<(String, u16)> = seen.iter().map(|seen| (seen.address.to_string(), seen.port)).collect();
    let expected: Vec<(String, u16)> = asked.iter().map(|(address, port)| (address.to_string(), *port)).collect();
    assert_eq!(recorded, expected);
    for seen in &seen {
        let [reply] = seen.replies[..] else { panic!("{seen:?}") };
        assert!(seen.udp && reply.form == Form::Good, "{seen:?}");
        assert_eq!(seen.sequence == 0x1234, seen.port == 53, "{seen:?}");
        assert!(reply.departure_ns.unwrap() > seen.arrival_ns && seen.sent_ns == seen.arrival_ns, "{seen:?}");
    }
}

/// What a socket of the near kernel's is told of a datagram.
fn ask(lab: &Lab, address: &str, port: u16, datagram: &[u8]) -> Result<Vec<u8>, ErrorKind> {
    let to = SocketAddr::new(address.parse().unwrap(), port);
    inside(lab, || {
        let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket.send(datagram).unwrap();
        let mut answer = vec![0; 512];
        let length = socket.recv(&mut answer).map_err(|error| error.kind())?;
        answer.truncate(length);
        Ok(answer)
    })
}

/// Does something in the near namespace.
fn inside<T: Send>(lab: &Lab, what: impl FnOnce() -> T + Send) -> T {
    let space = File::open(format!("/run/netns/{}", lab.name().namespace(End::Near))).unwrap();
    let inside = || {
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(space.as_fd(), Some(kind)).unwrap();
        what()
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

/// The far end answers whoever asks: this machine's own TCP here, whose SYNs have the form of a probe's.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_far_end_answers_this_machines_own_tcp() {
    if !is_root() {
        println!("skipped: needs root");
        return;
    }
    let lab = Lab::up(&format!("truth-tcp-{}", std::process::id()), &Answer::Silent).unwrap();
    let [rules, record] = ["rules.yml", "record.jsonl"].map(|file| lab.name().folder().join(file));
    let text = "seed: 1\ntimeouts: [1s]\nranges:\n  - {addresses: [10.64.0.0/16, 'fd00:64::/112'], delay: 1ms}\n";
    std::fs::write(&rules, text).unwrap();
    let far = FarEnd::begin(&lab, &programs(), &rules, &record).unwrap();
    let asked: Vec<(&str, u16)> =
        ["10.64.0.1", "fd00:64::1"].into_iter().flat_map(|address| [(address, 80), (address, 81)]).collect();
    for (address, port) in &asked {
        let mut bash = lab.near("bash");
        bash.args(["-c", "exec 3<>/dev/tcp/$0/$1", address, &port.to_string()]);
        let output = bash.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        // What is open is reset as soon as it is acknowledged: the kernel behind the far end knows of no such connection.
        let opened = output.status.success() || told.contains("reset by peer");
        assert_eq!((opened, told.contains("refused")), (*port == 80, *port == 81), "{address} port {port}: {told}");
    }
    far.end().unwrap();
    let seen = evidence::record(&record).unwrap();
    let mut recorded: Vec<(String, u16)> = seen.iter().map(|seen| (seen.address.to_string(), seen.port)).collect();
    // A SYN that a busy machine answered late is there twice.
    recorded.dedup();
    let expected: Vec<(String, u16)> = asked.iter().map(|(address, port)| (address.to_string(), *port)).collect();
    assert_eq!(recorded, expected);
    for seen in &seen {
        let [reply] = seen.replies[..] else { panic!("{seen:?}") };
        assert!(reply.form == Form::Good && reply.departure_ns.unwrap() >= seen.arrival_ns + 1_000_000, "{seen:?}");
    }
}

/// The same far end that scenarios use, by hand: a rule file that can't be right is refused, and says why.
#[test]
fn a_wrong_rule_file_is_refused() {
    let folder = std::env::temp_dir().join(format!("echolot-rules-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let rules = folder.join("rules.yml");
    let text = "seed: 1\ntimeouts: [100ms]\nranges:\n  - {addresses: [10.64.0.0/16], delay: 97ms}\n";
    std::fs::write(&rules, text).unwrap();
    let mut command = std::process::Command::new(programs().bench);
    command.args(["truth", "reflect", "-I", "nothing", "--record"]).arg(folder.join("record")).arg("--rules");
    let output = command.arg(&rules).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("rules.yml: ranges[0]: delay and jitter"), "{told}");
}
