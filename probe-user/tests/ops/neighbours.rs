//! The host's own traffic beside echolot.

use super::place::{Ended, LONG, Place, Running, reflector, sum_of};
use std::{env, process::Command};
use xtask::{
    command::wait_until,
    lab::{Answer, FAR_ADDRESS, FAR_INTERFACE, NEAR_INTERFACE},
};

/// Rounds of a transfer without and with echolot.
const ROUNDS: usize = 3;

/// 100,000 probes a second where the time is taken (ECHOLOT_LONG=1), else 30,000.
fn targets() -> &'static str {
    if env::var_os("ECHOLOT_LONG").is_some() { "10.64.0.0-10.65.134.159" } else { "10.64.0.0-10.64.117.47" }
}

const IDENTIFIER: &str = "4242";

fn run(place: &Place) -> Running {
    let config = place.config(targets(), "");
    place.run(&config, &["--identifier", IDENTIFIER])
}

/// The kernel's ping, 60 times in 3 s.
fn ping(place: &Place, more: &[&str]) -> Ended {
    let mut command = place.lab.near("ping");
    command.args(["-n", "-q", "-i", "0.05", "-c", "60"]).args(more).arg("10.70.0.1");
    place.ended(&mut command)
}

/// Probes answered a second of the last one, told for the figures that follow.
fn tell(place: &Place) {
    let (_, text) = place.get("/metrics").unwrap();
    let settled = |outcome: &str| sum_of(&text, &format!("echolot_probes_settled_total{{outcome=\"{outcome}\""));
    println!(
        "beside {} answered, {} lost, {} unheard, {} unsent, skipped {}",
        settled("answered"),
        settled("lost"),
        settled("unheard"),
        settled("unsent"),
        sum_of(&text, "echolot_probes_skipped_total")
    );
}

/// Also with echolot's own identifier: the cookie decides whose a reply is.
#[test]
#[ignore = "needs root: make test runs it"]
fn the_kernels_ping_loses_nothing() {
    let Some(place) = Place::new("ping", &reflector()) else { return };
    let running = run(&place);
    for more in [&[][..], &["-e", IDENTIFIER]] {
        // A ring of the veth pair has 256 places, and this machine other work: what is lost once may be the machine's.
        // What echolot took would be missing every time.
        let mut tries = (0..3).map(|_| {
            let ended = ping(&place, more);
            println!(
                "ping {more:?}: {}",
                ended.stdout.lines().find(|line| line.contains("received")).unwrap_or_default()
            );
            ended
        });
        assert!(tries.any(|ended| ended.stdout.contains("60 received, 0% packet loss")), "ping {more:?} lost replies");
    }
    tell(&place);
    assert_eq!(running.stop().status.code(), Some(0));
}

/// What a namespace's kernel tells: one of its counters of TCP, as `nstat` reads them.
fn tcp_counter(mut cat: Command, name: &str) -> u64 {
    let text = read(cat.arg("/proc/self/net/snmp"));
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    names.split(' ').zip(values.split(' ')).find(|counter| counter.0 == name).unwrap().1.parse().unwrap()
}

fn read(cat: &mut Command) -> String {
    let output = cat.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// 200 MiB at 1 Gbit/s, by turns without and with echolot on the same interface: whatever the far end's TCP sends to this
/// host arrives, but for what the link itself drops. Both kernels' counters tell that exactly. Retransmissions don't, they
/// are printed beside: where a machine that others use stands still for some milliseconds, TCP sends a burst of 45 segments
/// again of which none was missing, and does so with echolot and without. Not as fast as it goes: then TCP fills the pair's
/// queues by itself. The far end is its kernel's stack, because an XDP program there would put a ring of 256 frames before it.
#[test]
#[ignore = "needs root: make test runs it"]
fn tcp_completes_and_no_segment_is_taken() {
    let Some(place) = Place::new("tcp", &Answer::Kernel) else { return };
    let far = FAR_ADDRESS.to_string();
    let mut server = place.lab.far("iperf3");
    let _server = place.start(server.args(["-s", "-B", &far]));
    let transfer = || {
        let result = wait_until(LONG, || {
            let mut client = place.lab.near("iperf3");
            // Refused while the server starts, or is still at the last one.
            let output = client.args(["-c", &far, "-n", "200M", "-b", "1G", "-J"]).output().unwrap();
            if !output.status.success() {
                return None;
            }
            let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let sent = &json["end"]["sum_sent"];
            let (bytes, retransmits) = (sent["bytes"].as_u64(), sent["retransmits"].as_u64());
            // On a starved machine it has ended well and reported no retransmissions, or nothing at all. A transfer that nobody
            // counted says nothing: the next one will.
            if bytes.is_none() || retransmits.is_none() {
                println!("iperf3 doesn't know what it sent: {} {}", json["end"], json["error"]);
            }
            assert!(bytes? >= 200 << 20, "{sent}");
            retransmits
        });
        result.unwrap()
    };
    let sent_to_us = || {
        let far = |name| tcp_counter(place.lab.far("cat"), name);
        far("OutSegs") + far("RetransSegs")
    };
    let received = || tcp_counter(place.lab.near("cat"), "InSegs");
    // A full ring of the pair, echo replies included.
    let dropped = || {
        let counter = |mut cat: Command, path: String| read(cat.arg(path)).trim().parse::<u64>().unwrap();
        let statistic = |interface, name| format!("/sys/class/net/{interface}/statistics/{name}");
        counter(place.lab.far("cat"), statistic(FAR_INTERFACE, "tx_dropped"))
            + counter(place.lab.near("cat"), statistic(NEAR_INTERFACE, "rx_dropped"))
    };
    // What this end receives from the far end, and from nobody else: nothing is scraped meanwhile.
    let all_arrives = || {
        let before = (sent_to_us(), received(), dropped());
        let retransmissions = transfer();
        let mut told = String::new();
        let arrived = wait_until(LONG, || {
            let (sent, received, dropped) = (sent_to_us() - before.0, received() - before.1, dropped() - before.2);
            told = format!("{sent} segments sent to us, {received} received, at most {dropped} dropped by the link");
            (sent > 1000 && received <= sent && received + dropped >= sent).then_some(())
        });
        println!("{told}; {retransmissions} retransmissions in 200 MiB from us");
        assert!(arrived.is_some(), "{told}");
    };
    for _ in 0..ROUNDS {
        all_arrives();
        let running = run(&place);
        all_arrives();
        tell(&place);
        assert_eq!(running.stop().status.code(), Some(0));
    }
}
