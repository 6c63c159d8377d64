//! echolot at work in a lab.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};
use xtask::{
    command::{send_signal, wait_until},
    lab::{Answer, Lab},
};

/// How long starting and ending may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lab with echolot's reflector at the far end, and the program that is measured.
pub(crate) struct Bench {
    lab: Lab,
    binary: PathBuf,
}

impl Bench {
    /// Brings the lab up.
    pub(crate) fn up(what: &str, binary: &Path) -> Result<Self, String> {
        let binary = binary.canonicalize().map_err(|error| {
            format!("{}: {error}. Build it with `cargo build --release`, or name one with --binary", binary.display())
        })?;
        let name = format!("el-bench-{what}-{}", std::process::id());
        Ok(Self { lab: Lab::up(&name, &Answer::Reflector(binary.clone()))?, binary })
    }

    /// Starts `echolot run` with a configuration. Dropping what is returned kills it.
    pub(crate) fn run(&self, config: &str) -> Result<Running, String> {
        let folder = self.lab.name().folder();
        let (file, told, summary) = (folder.join("bench.yml"), folder.join("bench.log"), folder.join("bench.json"));
        fs::write(&file, config).map_err(|error| format!("{}: {error}", file.display()))?;
        let log = fs::File::create(&told).map_err(|error| format!("{}: {error}", told.display()))?;
        let mut command = self.lab.near(&self.binary);
        command.args(["run", "-c"]).arg(file).arg("--summary").arg(&summary);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.binary.display()))?;
        Ok(Running { child, told, summary })
    }
}

/// `echolot run`, under measurement.
pub(crate) struct Running {
    child: Child,
    told: PathBuf,
    summary: PathBuf,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a person would, and returns its summary.
    pub(crate) fn stop(mut self) -> Result<serde_json::Value, String> {
        let said = |why: String| {
            let told = fs::read_to_string(&self.told).unwrap_or_default();
            format!("echolot run {why}: {}", told.trim())
        };
        send_signal("TERM", self.child.id());
        let status = wait_until(PATIENCE, || self.child.try_wait().ok().flatten())
            .ok_or_else(|| said(format!("did not end within {PATIENCE:?}")))?;
        if !status.success() {
            return Err(said(format!("ended with {status}")));
        }
        let text = fs::read_to_string(&self.summary).map_err(|error| said(format!("left no summary ({error})")))?;
        serde_json::from_str(&text).map_err(|error| said(format!("left a summary that can't be read ({error})")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
