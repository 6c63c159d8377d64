//! `cargo xtask demo`: echolot at work, in a lab of its own, in half a minute.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
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
/// Where there is no terminal for a live view, a line comes this often.
const PROGRESS: &str = "2s";
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
const SHOWN: [&str; 6] = [
    "echolot_probes_total{",
    "echolot_probes_settled_total{",
    "echolot_probes_in_flight{",
    "echolot_rtt_seconds_count{",
    "echolot_targets{group=\"demo\",state=\"up\"}",
    "echolot_targets{group=\"demo\",state=\"down\"}",
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

    heading("The lab");
    println!(
        "Two network namespaces joined by a veth pair. 10,000 addresses behind the far\n\
         end will be probed; nothing leaves this machine."
    );
    let lab = Lab::up(&format!("echolot-demo-{}", std::process::id()), &Answer::Kernel)?;
    let shown = monitor(&lab, &program, &stop);
    lab.down()?;
    let interrupted = shown?;

    if interrupted {
        println!("\nInterrupted; the lab is gone.");
        return Ok(());
    }
    heading("That was the demo, and its lab is gone. To go on");
    for (what, command) in [
        ("a lab that stays, 1,048,576 addresses in it", "cargo xtask lab up"),
        ("ping two of them", "cargo xtask lab exec -- target/release/echolot ping 10.64.0.1 10.64.0.2"),
        ("sweep them all", "cargo xtask lab exec -- target/release/echolot sweep 10.64.0.0/12 -r 200k -f none"),
        ("take it down", "cargo xtask lab down"),
        ("what can this machine do?", "target/release/echolot doctor"),
    ] {
        println!("{}\n{command}", faint(&format!("# {what}")));
    }
    println!("README.md tells how to monitor hosts of your own. The lab and echolot need root.");
    Ok(())
}

/// A line above a part of the demo.
fn heading(text: &str) {
    if io::stdout().is_terminal() { println!("\n\x1b[1m== {text}\x1b[0m") } else { println!("\n== {text}") }
}

/// Less to be looked at than what stands beside it.
fn faint(text: &str) -> String {
    if io::stdout().is_terminal() { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
}

/// Runs echolot in the lab; true if it was interrupted.
fn monitor(lab: &Lab, program: &Path, stop: &AtomicBool) -> Result<bool, String> {
    // In the lab's folder, which goes with the lab whatever becomes of us.
    let config = lab.name().folder().join("demo.yml");
    fs::write(&config, CONFIG).map_err(|e| format!("{}: {e}", config.display()))?;
    heading(&format!("echolot run -c demo.yml, for {} seconds, where demo.yml says", RUNS_FOR.as_secs()));
    println!("{CONFIG}");

    let mut echolot = lab.near(program);
    echolot.args(["run", "--progress-interval", PROGRESS, "-c"]).arg(&config).stdin(Stdio::null());
    // What we print and what it shows is one story: in a pipe or a file, too.
    let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|e| format!("standard output: {e}"))?;
    echolot.stderr(stdout);
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
    heading(&format!("curl http://{LISTEN}/metrics, {} seconds in (some of it)", SCRAPE_AFTER.as_secs()));
    for line in metrics.iter().flat_map(|text| chosen(text)) {
        println!("{line}");
    }
    if !io::stdout().is_terminal() {
        println!("(On a terminal there is a live view instead of the lines above.)");
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
