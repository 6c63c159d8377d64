//! The host's own traffic beside echolot.

use super::place::{Ended, LONG, Place, Running, reflector, sum_of};
use std::env;
use xtask::{
    command::wait_until,
    lab::{Answer, FAR_ADDRESS},
};

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

/// 200 MiB at 1 Gbit/s, by turns without and with echolot on the same interface. Not as fast as it goes: then TCP fills the
/// two cores and the pair's queue by itself and retransmits, more or less often, whoever else is there; that is printed
/// beside. The far end is its kernel's stack, because an XDP program there would put a ring of 256 frames before it.
#[test]
#[ignore = "needs root: make test runs it"]
fn tcp_completes_with_no_more_retransmissions() {
    let Some(place) = Place::new("tcp", &Answer::Kernel) else { return };
    let far = FAR_ADDRESS.to_string();
    let mut server = place.lab.far("iperf3");
    let _server = place.start(server.args(["-s", "-B", &far]));
    let transfer = |rate: &str| {
        let result = wait_until(LONG, || {
            let mut client = place.lab.near("iperf3");
            // Refused while the server starts, or is still at the last one.
            let output = client.args(["-c", &far, "-n", "200M", "-b", rate, "-J"]).output().unwrap();
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
    let (mut without, mut with): (Vec<u64>, Vec<u64>) = Default::default();
    let median = |rounds: &[u64]| {
        let mut sorted = rounds.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    // Of 140,000 segments. A few are the noise of a machine that others use; and so is, in a round now and then, one whole burst of up
    // to 45, which is what TCP hands over at once. Where three rounds have too many of them, three times as many tell noise from us.
    for rounds in [ROUNDS, 3 * ROUNDS] {
        while with.len() < rounds {
            without.push(transfer("1G"));
            let full_without = transfer("0");
            // Its output goes into the files of the server's, which says nothing of interest.
            let running = run(&place);
            with.push(transfer("1G"));
            let full_with = transfer("0");
            tell(&place);
            assert_eq!(running.stop().status.code(), Some(0));
            println!("retransmissions as fast as it goes: without echolot {full_without}, with {full_with}");
        }
        println!("retransmissions in 200 MiB at 1 Gbit/s: without echolot {without:?}, with {with:?}");
        if median(&with) <= median(&without) + 5 {
            return;
        }
    }
    panic!("{with:?} retransmissions, and {without:?} without echolot");
}
