//! Ports that are open, closed and silent, as people and programs are told of them. The far end answers for all of its addresses, mostly by its kernel.

use super::place::{ECHOLOT, LISTEN, Place};
use std::{fs, io, net::TcpListener, time::Instant};
use xtask::{command::wait_until, lab::Answer};

const OPEN: &str = "10.64.0.1";

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

/// Somebody at the far end who listens, at one address alone.
fn listener(place: &Place) -> TcpListener {
    place.far(|| TcpListener::bind((OPEN, 443))).unwrap()
}

#[test]
#[ignore = "needs root: make test runs it"]
fn whether_a_port_is_open_or_closed_is_told() {
    let Some(place) = Place::new("tcp", &Answer::Kernel) else { return };
    let listener = listener(&place);
    listener.set_nonblocking(true).unwrap();

    let ended = place.ended(&mut place.echolot(words("ping -c 2 -i 0.2 -p tcp:443 10.64.0.1 10.64.0.2")));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    for line in ["port 443 open at 10.64.0.1: seq=", "port 443 closed at 10.64.0.2: seq="] {
        for seq in 0..2 {
            assert!(ended.stdout.contains(&format!("{line}{seq} ttl=64 time=")), "{ended:?}");
        }
    }
    ended.says(&[
        "PING 2 targets, TCP port 443, by near0",
        "4 packets transmitted, 4 received, 2 open, 2 closed, 0% packet loss",
    ]);

    // One line of many is open, and the summary says what was asked.
    let (csv, summary) = (place.folder.join("out.csv"), place.folder.join("summary.json"));
    let line = format!("sweep -p tcp:443 10.64.0.0/28 -f csv -o {} --summary {}", csv.display(), summary.display());
    let ended = place.ended(&mut place.echolot(words(&line)));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let text = fs::read_to_string(csv).unwrap();
    let ends = |end: &str| text.lines().filter(|line| line.ends_with(end)).count();
    assert_eq!((ends(",tcp:443,open,,,"), ends(",tcp:443,closed,,,"), text.lines().count()), (1, 15, 17), "{text}");
    assert!(text.lines().any(|line| line.contains(",10.64.0.1,0,answered,") && line.ends_with(",open,,,")), "{text}");
    let summary: serde_json::Value = serde_json::from_str(&fs::read_to_string(summary).unwrap()).unwrap();
    assert_eq!((summary["probe"].as_str(), summary["answered"].as_u64()), (Some("tcp:443"), Some(16)));

    // Nobody was let in: no connection came to be.
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn both_engines_tell_it_of_both_families() {
    // Redirected frames are taken by an interface whose peer has an XDP program.
    let far_end = Answer::PortReflector(ECHOLOT.into(), "443".into());
    let Some(place) = Place::new("both", &far_end) else { return };
    for engine in ["afxdp", "live-frames"] {
        for (port, state) in [(443, "open"), (444, "closed")] {
            let line = format!("ping -c 3 -i 0.1 -p tcp:{port} --engine {engine} 10.64.0.1 fd00:64::1");
            let ended = place.ended(&mut place.echolot(words(&line)));
            assert_eq!(ended.status.code(), Some(0), "{line}: {ended:?}");
            for address in ["10.64.0.1", "fd00:64::1"] {
                let told = format!("port {port} {state} at {address}: seq=");
                assert_eq!(ended.stdout.matches(&told).count(), 3, "{line}: {ended:?}");
            }
            ended.says(&[&format!("6 received, 6 {state}, 0% packet loss"), &format!("by near0 ({engine}, copy)")]);
        }
    }
}

/// An echo and two ports of one address side by side: each group has its own answers.
#[test]
#[ignore = "needs root: make test runs it"]
fn groups_that_ask_for_different_things_do_not_get_in_each_others_way() {
    let Some(place) = Place::new("kinds", &Answer::Kernel) else { return };
    let listener = listener(&place);
    let text = format!(
        "listen: {LISTEN}\nglobal: {{interval: 100ms}}\ngroups:\n  - {{name: web, targets: [{OPEN}], probe: tcp:443}}\n  \
         - {{name: echo, targets: [{OPEN}]}}\n  - {{name: other, targets: [{OPEN}], probe: tcp:444}}\n"
    );
    let out = place.folder.join("out.jsonl");
    let running = place.run(&place.file("echolot.yml", &text), &["-f", "jsonl", "-o", out.to_str().unwrap()]);
    let enough = wait_until(super::place::LONG, || {
        let (_, scrape) = place.get("/metrics")?;
        let answered = |group: &str| {
            let settled = format!("echolot_probes_settled_total{{group=\"{group}\",outcome=\"answered\"");
            super::place::sum_of(&scrape, &settled) > 5.0
        };
        ["web", "echo", "other"].into_iter().all(answered).then_some(scrape)
    });
    let scrape = enough.unwrap_or_else(|| panic!("{}", running.stderr()));
    for (group, probe) in [("web", "tcp:443"), ("echo", "icmp"), ("other", "tcp:444")] {
        let info = format!("echolot_group_info{{group=\"{group}\",probe=\"{probe}\"");
        assert!(scrape.contains(&info), "{info}\n{scrape}");
    }
    assert_eq!(running.stop().status.code(), Some(0));
    for line in fs::read_to_string(out).unwrap().lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let said = ["outcome", "probe", "port"].map(|member| record[member].as_str());
        let expected = match record["group"].as_str() {
            Some("web") => [Some("answered"), Some("tcp:443"), Some("open")],
            Some("other") => [Some("answered"), Some("tcp:444"), Some("closed")],
            _ => [Some("answered"), None, None],
        };
        assert_eq!(said, expected, "{line}");
    }
    drop(listener);
}

/// A firewall that drops and one that rejects, in a network whose other addresses answer.
#[test]
#[ignore = "needs root: make test runs it"]
fn silence_is_lost_after_three_seconds_and_a_refusal_unreachable_at_once() {
    let Some(place) = Place::new("silent", &Answer::Kernel) else { return };
    // Only who forwards tells of what it may not deliver.
    for command in [
        "sysctl -qw net.ipv4.conf.far0.forwarding=1",
        "ip route add table local blackhole 10.65.0.1",
        "ip route add table local prohibit 10.65.0.2",
    ] {
        let (program, arguments) = command.split_once(' ').unwrap();
        assert!(place.lab.far(program).args(words(arguments)).status().unwrap().success(), "{command}");
    }
    let begun = Instant::now();
    let ended = place.ended(&mut place.echolot(words("ping -c 1 -p tcp:443 10.65.0.1 10.65.0.2 10.65.0.3")));
    assert!(begun.elapsed().as_secs() >= 3, "{:?}", begun.elapsed());
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    for line in [
        "no reply from 10.65.0.1: seq=0 (lost)\n",
        "unreachable 10.65.0.2: seq=0 (admin_prohibited) from 10.6",
        "port 443 closed at 10.65.0.3: seq=0 ttl=64 time=",
    ] {
        assert!(ended.stdout.contains(line), "{line}\n{ended:?}");
    }
    ended.says(&["3 packets transmitted, 1 received, 1 closed, 1 unreachable, 66.66% packet loss"]);
}
