//! The host's own traffic beside echolot.

use super::place::{Ended, Place, Running, reflector, sum_of};
use std::env;
use xtask::lab::FAR_ADDRESS;

/// Rounds of a transfer with and without echolot.
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

/// As many bytes as fit into a second or so, by turns without and with echolot on the same interface.
#[test]
fn tcp_completes_with_no_more_retransmissions() {
    let Some(place) = Place::new("tcp", &reflector()) else { return };
    let far = FAR_ADDRESS.to_string();
    let mut server = place.lab.far("iperf3");
    // --one-off would need a start for each transfer.
    let _server = place.start(server.args(["-s", "-B", &far]));
    let transfer = || {
        let result = xtask::command::wait_until(super::place::LONG, || {
            let mut client = place.lab.near("iperf3");
            // Refused while the server starts, or is still at the last one.
            let output = client.args(["-c", &far, "-n", "200M", "-J"]).output().unwrap();
            output.status.success().then_some(output.stdout)
        });
        let json: serde_json::Value = serde_json::from_slice(&result.unwrap()).unwrap();
        let sent = &json["end"]["sum_sent"];
        assert!(sent["bytes"].as_u64().unwrap() >= 200 << 20, "{sent}");
        (sent["retransmits"].as_u64().unwrap(), sent["bits_per_second"].as_f64().unwrap() / 1e9)
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(transfer());
        let config = place.config(targets(), "");
        // Its output goes into the files of the server's, which says nothing of interest.
        let running = place.run(&config, &[]);
        with.push(transfer());
        tell(&place);
        assert_eq!(running.stop().status.code(), Some(0));
    }
    let median = |rounds: &mut Vec<(u64, f64)>| {
        rounds.sort_by_key(|(retransmits, _)| *retransmits);
        rounds[rounds.len() / 2].0
    };
    println!("200 MiB by TCP, (retransmissions, Gbit/s): without echolot {without:?}, with {with:?}");
    let (median_without, median_with) = (median(&mut without), median(&mut with));
    // 200 MiB are 140,000 segments and more. A handful is the noise of a shared machine.
    assert!(median_with <= median_without + 20, "{median_with} retransmissions, and {median_without} without echolot");
}
