//! What takes network namespaces down: when it is dropped, on a panic, and when the process is killed (a small shell waits for
//! the other end of a pipe to close).

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const CLEAN: &str = include_str!("clean.sh");
const STATE: &str = "/run/echolot-lab";

/// The folder of a lab of this name, which goes with it.
pub fn folder(name: &str) -> PathBuf {
    Path::new(STATE).join(name)
}

/// Deletes network namespaces, `/etc/netns/NAME` of each and a folder, whatever is left of them. What runs in the namespaces is
/// ended.
///
/// # Errors
/// What could not be done, in the words of who tried.
pub fn clean(namespaces: &[String], folder: &Path) -> Result<(), String> {
    let output = cleaner("now", namespaces, folder).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("sh could not be started: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().into())
}

fn cleaner(mode: &str, namespaces: &[String], folder: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", CLEAN, "echolot-lab"]).arg(folder).arg(mode).args(namespaces);
    command
}

/// Network namespaces, made by who has this, that go with it.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Removes what is left of an earlier lab, and watches over this one: none of its namespaces is there yet, its folder is.
    ///
    /// # Errors
    /// What failed and why.
    pub fn over(namespaces: &[String], folder: &Path) -> Result<Self, String> {
        clean(namespaces, folder)?;
        let mut guard = cleaner("guard", namespaces, folder);
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Not in our process group: a Ctrl-C would end it with us.
        guard.process_group(0);
        let guard = Self(guard.spawn().map_err(|e| format!("sh could not be started: {e}"))?);
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(guard)
    }

    /// Takes down now, and waits for it. A second time nothing happens.
    pub fn release(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }

    /// Lets everything stay when this process ends.
    pub fn keep(&mut self) {
        if let Some(mut guard) = self.0.stdin.take() {
            let _ = guard.write_all(b"keep\n");
        }
        let _ = self.0.wait();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.release();
    }
}
