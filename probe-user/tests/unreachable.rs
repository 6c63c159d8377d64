//! ICMP errors end to end: a far end whose kernel says that it can't reach some of the targets.
//!
//! ```text
//!   near0 10.63.0.1 ───── far0 10.63.0.2     answers for 10.64.0.0/12, but
//!                                            10.65.0.0/16  route "unreachable"
//!                                            10.66.0.0/16  route "prohibit"
//!                                            10.67.0.0/16  leads over a link that takes 576 bytes
//!                                            10.68.0.0/16  route "blackhole"
//! ```
//!
//! The kernel limits what its routing table refuses to a burst of five errors, and then one a second, and no namespace can
//! change that: the first two are asked for little. Errors about size it doesn't limit. It quotes up to 548 bytes.
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use serde_json::Value;
use std::{
    net::TcpListener,
    process::{Output, Stdio},
    time::Duration,
};
use xtask::{
    command::{is_root, send_signal, wait_until},
    lab::{Answer, FAR_ADDRESS, FAR_INTERFACE, Lab, NEAR_ADDRESS},
};

const ECHOLOT: &str = env!("CARGO_BIN_EXE_echolot");

/// The lab with those routes; None (and a word about it) without root.
fn lab(what: &str) -> Option<Lab> {
    if !is_root() {
        println!("skipped: needs root");
        return None;
    }
    let lab = Lab::up(&format!("el-icmp-{what}-{}", std::process::id()), &Answer::Kernel).unwrap();
    let far = |command: &str| {
        let mut words = command.split_whitespace();
        let output = lab.far(words.next().unwrap()).args(words).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    };
    far("sysctl -q -w net.ipv4.ip_forward=1");
    // The table in which the lab's own route for all targets is, and which is asked first.
    for route in [
        "unreachable 10.65.0.0/16".to_owned(),
        "prohibit 10.66.0.0/16".to_owned(),
        format!("10.67.0.0/16 via {NEAR_ADDRESS} dev {FAR_INTERFACE} mtu 576"),
        "blackhole 10.68.0.0/16".to_owned(),
    ] {
        far(&format!("ip route add {route} table local"));
    }
    Some(lab)
}

fn echolot(lab: &Lab, arguments: &str) -> Output {
    lab.near(ECHOLOT).args(arguments.split_whitespace()).output().unwrap()
}

fn results(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn told(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
#[ignore = "needs root: make test runs it"]
fn results_say_why_and_who() {
    let Some(lab) = lab("why") else { return };
    let output = echolot(&lab, "ping -c 1 -W 2 -f jsonl 10.64.0.1 10.65.0.1 10.66.0.1 10.68.0.1");
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let results = results(&output);
    assert_eq!(results.len(), 4, "{}", told(&output));
    for (address, outcome, reason) in [
        ("10.64.0.1", "answered", None),
        ("10.65.0.1", "unreachable", Some("host_unreachable")),
        ("10.66.0.1", "unreachable", Some("admin_prohibited")),
        ("10.68.0.1", "lost", None),
    ] {
        let result = results.iter().find(|result| result["address"] == address).unwrap();
        assert_eq!(result["outcome"], outcome, "{result}");
        assert_eq!(result["reason"].as_str(), reason, "{result}");
        assert_eq!(result["from"].as_str(), reason.map(|_| FAR_ADDRESS.to_string()).as_deref(), "{result}");
        let rtt = result["rtt_ns"].as_u64();
        assert_eq!(rtt.is_some(), outcome != "lost", "{result}");
        assert!(rtt.is_none_or(|rtt| rtt < 2_000_000_000), "{result}");
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn ping_shows_it() {
    let Some(lab) = lab("ping") else { return };
    let output = echolot(&lab, "ping -c 1 -W 2 10.65.0.7");
    let text = told(&output);
    let line = format!("unreachable 10.65.0.7: icmp_seq=0 (host_unreachable) from {FAR_ADDRESS}");
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("1 packets transmitted, 0 received, 1 unreachable, 100% packet loss"), "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
}

/// Many errors, quoting hundreds of bytes, between answers; and the redirects that the far end sends beside them are nothing to us.
#[test]
#[ignore = "needs root: make test runs it"]
fn every_error_is_heard() {
    let Some(lab) = lab("many") else { return };
    let output = echolot(&lab, "ping -c 3 -i 1 -W 3 -s 1000 -f jsonl 10.67.0.0/23 10.64.0.0/24");
    let results = results(&output);
    assert_eq!(results.len(), 3 * 768, "{}", String::from_utf8_lossy(&output.stderr));
    for result in &results {
        if result["address"].as_str().unwrap().starts_with("10.67.") {
            assert_eq!(
                (&result["outcome"], &result["reason"]),
                (&"unreachable".into(), &"fragmentation_needed".into())
            );
        } else {
            assert_eq!(result["outcome"], "answered", "{result}");
        }
    }
}

/// Three errors in a row and the target is down, as the metrics say.
#[test]
#[ignore = "needs root: make test runs it"]
fn targets_go_down() {
    let Some(lab) = lab("down") else { return };
    // A port that is free here is free in the new namespace too.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = lab.name().folder().join("echolot.yml");
    let text = format!(
        "listen: 127.0.0.1:{port}\nglobal: {{interval: 1s, timeout: 500ms}}\ngroups:\n  - name: far\n    targets: \
         [10.65.0.1, 10.64.0.1]\n    per_target: all\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut child = lab
        .near(ECHOLOT)
        .args(["run", "-c", config.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}/metrics");
    let metrics = || {
        let script =
            format!("import urllib.request; print(urllib.request.urlopen('{url}', timeout=5).read().decode())");
        let output = lab.near("python3").args(["-c", &script]).stderr(Stdio::null()).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let down = r#"echolot_targets{group="far",state="down"} 1"#;
    let up = r#"echolot_target_up{group="far",target="10.64.0.1"} 1"#;
    let seen =
        wait_until(Duration::from_secs(30), || metrics().filter(|text| text.contains(down) && text.contains(up)));
    let last = metrics().unwrap_or_default();
    let unreachable = r#"echolot_target_probes_settled_total{group="far",target="10.65.0.1",outcome="unreachable"}"#;
    let count = seen.as_deref().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with(unreachable))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    });
    send_signal("TERM", child.id());
    let ended = wait_until(Duration::from_secs(20), || child.try_wait().ok().flatten());
    if ended.is_none() {
        let _ = child.kill();
    }
    assert!(seen.is_some(), "no {down} within 30 s: {last}");
    assert!(count.is_some_and(|count| count >= 3.0), "{count:?} probes were unreachable: {last}");
    assert!(ended.is_some(), "echolot did not end");
}
