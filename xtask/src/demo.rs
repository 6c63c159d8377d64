//! `cargo xtask demo`: echolot at work, in a lab of its own, in half a minute.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::command::{send_signal, wait_until};
use crate::lab::{Answer, Lab};

/// What `cargo xtask demo --help` prints.
pub const USAGE: &str = "\
cargo xtask demo    monitors 10,000 addresses in a lab of its own for 20 seconds (after cargo build --release)";

const PROGRAM: &str = "target/release/echolot";
const LISTEN: &str = "127.0.0.1:10816";
const RUNS_FOR: Duration = Duration::from_secs(20);
/// When the metrics are fetched: late enough for every target to have been probed many times over.
const SCRAPE_AFTER: Duration = Duration::from_secs(15);
/// What a stop takes: the longest timeout (1 s here), and time to print a summary.
const STOPS_WITHIN: Duration = Duration::from_secs(15);

/// The first 10,000 addresses of the lab's targets, one probe a second each.
const CONFIG: &str = "\
interface: near0
listen: 127.0.0.1:10816
global: {interval: 1s, timeout: 1s}
groups:
  - name: demo
    targets: [10.64.0.0-10.64.39.15]
";

/// Lines of /metrics that are worth a newcomer's look: series (or the beginning of their names).
const SHOWN: [&str; 8] = [
    "echolot_targets{",
    "echolot_probes_total{",
    "echolot_probes_settled_total{",
    "echolot_probes_in_flight{",
    "echolot_rtt_seconds_sum{",
    "echolot_rtt_seconds_count{",
    "echolot_interface_info{",
    "echolot_build_info{",
];

/// Runs the demo.
pub fn perform(arguments: &[String]) -> Result<(), String> {
    match arguments {
        [] => {}
        [help] if help == "-h" || help == "--help" => {
            println!("{USAGE}");
            return Ok(());
        }
        _ => return Err(format!("demo takes no arguments\n\n{USAGE}")),
    }
    let program = fs::canonicalize(PROGRAM).map_err(|e| format!("{PROGRAM}: {e}: `cargo build --release` first"))?;
    // From here on a Ctrl-C ends echolot, and we go on to its summary and take the lab down.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|e| format!("signal {signal}: {e}"))?;
    }

    println!(
        "A lab: two network namespaces, a veth pair, 10,000 addresses behind the far end. Nothing leaves this machine."
    );
    let lab = Lab::up(&format!("echolot-demo-{}", std::process::id()), &Answer::Kernel)?;
    let shown = monitor(&lab, &program, &stop);
    lab.down()?;
    let interrupted = shown?;

    println!();
    if interrupted {
        println!("Interrupted; the lab is gone.");
        return Ok(());
    }
    println!("That was the demo; the lab is gone. To go on:");
    for (command, what) in [
        ("cargo xtask lab up", "a lab of your own: 1,048,576 addresses"),
        ("cargo xtask lab exec -- target/release/echolot ping 10.64.0.1 10.64.0.2", "echoes, many hosts at once"),
        ("cargo xtask lab exec -- target/release/echolot sweep 10.64.0.0/12 --rate 200000 -f none", "all of them"),
        ("cargo xtask lab down", "nothing stays"),
        ("sudo target/release/echolot doctor", "what this host and its interfaces can do"),
        ("target/release/echolot run --help", "monitoring hosts of your own; README.md says more"),
    ] {
        println!("  {command}   # {what}");
    }
    Ok(())
}

/// Runs echolot in the lab; true if it was interrupted.
fn monitor(lab: &Lab, program: &Path, stop: &AtomicBool) -> Result<bool, String> {
    // In the lab's folder, which goes with the lab whatever becomes of us.
    let config = lab.name().folder().join("demo.yml");
    fs::write(&config, CONFIG).map_err(|e| format!("{}: {e}", config.display()))?;
    println!("echolot run -c FILE for {} seconds, where FILE says:\n", RUNS_FOR.as_secs());
    println!("{}", CONFIG.lines().map(|line| format!("    {line}\n")).collect::<String>());

    let mut echolot = lab.near(program);
    echolot.args(["run", "-c"]).arg(&config).stdin(Stdio::null());
    let mut echolot = Running(echolot.spawn().map_err(|e| format!("{}: {e}", program.display()))?);
    let started = Instant::now();
    let ended = |echolot: &mut Running, until: Duration| {
        wait_until(until.saturating_sub(started.elapsed()), || {
            let asked = stop.load(Ordering::Relaxed).then_some(None);
            asked.or_else(|| echolot.0.try_wait().ok().flatten().map(Some))
        })
    };
    let mut metrics = None;
    let mut early = ended(&mut echolot, SCRAPE_AFTER);
    if early.is_none() {
        metrics = Some(scrape(lab)?);
        early = ended(&mut echolot, RUNS_FOR);
    }
    let interrupted = stop.load(Ordering::Relaxed);
    let status = echolot.stop()?;
    match early {
        Some(Some(status)) if !interrupted => return Err(format!("echolot run ended by itself ({status})")),
        _ if interrupted => return Ok(true),
        _ if !status.success() => return Err(format!("echolot run did not end well ({status})")),
        _ => {}
    }
    println!("\ncurl http://{LISTEN}/metrics, {} seconds in (some of it):\n", SCRAPE_AFTER.as_secs());
    for line in metrics.iter().flat_map(|text| chosen(text)) {
        println!("    {line}");
    }
    if !std::io::stderr().is_terminal() {
        println!("\n(On a terminal there is a live view.)");
    }
    Ok(false)
}

fn scrape(lab: &Lab) -> Result<String, String> {
    let url = format!("http://{LISTEN}/metrics");
    let mut curl = lab.near("curl");
    let output = curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", &url]).output();
    let output = output.map_err(|e| format!("curl: {e}"))?;
    if !output.status.success() {
        return Err(format!("curl {url}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The lines to show of an exposition.
fn chosen(metrics: &str) -> impl Iterator<Item = &str> {
    metrics.lines().filter(|line| SHOWN.iter().any(|series| line.starts_with(series)))
}

/// echolot, ended with this value at the latest.
struct Running(Child);

impl Running {
    /// SIGTERM, and its exit status: it stops sending, waits for what is in flight and prints its summary.
    fn stop(&mut self) -> Result<ExitStatus, String> {
        if self.0.try_wait().ok().flatten().is_none() {
            send_signal("TERM", self.0.id());
        }
        let status = wait_until(STOPS_WITHIN, || self.0.try_wait().ok().flatten());
        status.ok_or_else(|| format!("echolot run did not end within {STOPS_WITHIN:?} of SIGTERM"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::NEAR_INTERFACE;

    #[test]
    fn ten_thousand_addresses() {
        let range = |text: &str| {
            let (first, last) = text.split_once('-')?;
            let number = |text: &str| text.parse::<std::net::Ipv4Addr>().ok().map(u32::from);
            Some(number(last)? - number(first)? + 1)
        };
        let targets = CONFIG.lines().find_map(|line| line.trim().strip_prefix("targets: [")?.strip_suffix(']'));
        assert_eq!(targets.and_then(range), Some(10_000));
        assert!(CONFIG.contains(NEAR_INTERFACE) && CONFIG.contains(LISTEN));
    }

    #[test]
    fn chosen_lines() {
        let text =
            "# HELP echolot_probes_total x\necholot_probes_total{group=\"demo\"} 1\nprocess_cpu_seconds_total 2\n";
        assert_eq!(chosen(text).collect::<Vec<_>>(), ["echolot_probes_total{group=\"demo\"} 1"]);
    }
}
