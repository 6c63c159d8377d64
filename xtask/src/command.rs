//! Running other programs, and what little of the system else is needed for it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whether this process is root, which the lab (and echolot's own privileged tests) need.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Uid:")).and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

/// Goes on as root if there is sudo: replaces this process by itself, run through it. Without sudo the chore itself
/// says that it needs root.
pub fn become_root() -> Result<(), String> {
    let Some(sudo) = find_program("sudo").filter(|_| !is_root()) else { return Ok(()) };
    let program = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
    eprintln!("xtask: network namespaces need root: going through sudo");
    let error = Command::new(sudo).arg(program).args(std::env::args_os().skip(1)).exec();
    Err(format!("sudo: {error}"))
}

/// A program on PATH, or in the folders that root's PATH has beside.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Polls until the condition gives a value, at most for the time given.
pub fn wait_until<T>(within: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + within;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal (`TERM`) by pid. The shell's own `kill`, so that no unsafe code and no dependency is needed for it.
pub fn send_signal(signal: &str, pid: u32) {
    let mut command = Command::new("sh");
    command.args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, &pid.to_string()]);
    // A process that is gone already is what was asked for.
    let _ = command.stderr(Stdio::null()).status();
}

/// A command as a person would type it, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end without showing its output; an error says which and what it printed.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{}: {e}", shown(command)))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", shown(command), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Runs a command to its end, its output being shown.
pub(crate) fn run_shown(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{}: {e}", shown(command)))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{} failed ({status}): its own words are above", shown(command)))
}
