//! echolot at work in a lab.

use crate::{
    inside::Part,
    measure::{Spent, Traffic},
};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use xtask::{
    command::{send_signal, wait_until},
    lab::{Answer, End, FAR_ADDRESS, FAR_ADDRESS_V6, FAR_INTERFACE, Lab, NEAR_INTERFACE},
};

/// How long starting and ending may take.
const STARTED_WITHIN: Duration = Duration::from_secs(60);
/// How often the interface's counters are read.
const SAMPLE: Duration = Duration::from_millis(2);
/// What a part says once it is ready.
pub(crate) const READY: &str = "ready";

/// What is at the far end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Far {
    /// echolot's reflector.
    Reflector,
    /// The same, and it answers TCP and UDP: these ports are open, all others closed.
    Ports(&'static str),
    /// Nobody yet: whoever measures brings its own. All of 10.0.0.0/8 lies behind it.
    Open,
    /// An XDP program that drops everything. All of 10.0.0.0/8 and of fd00::/16 lies behind it.
    Nothing,
    /// An XDP program that answers for 10.64.0.0/12, where no TCP port is open, and drops what goes to the rest of 10.0.0.0/8,
    /// which lies behind it too.
    Half,
    /// The same, but an address in the rest of 10.0.0.0/8 answers for a while and is silent for a while, by turns
    /// (`probe_ebpf::far::turn`).
    ByTurns,
}

/// First of the addresses that never answer at [`Far::Half`]: [`ranges_of`] begins with it.
pub(crate) const SILENT: u32 = 0x0a80_0000;

/// So many addresses, at most ten million, that lie behind the far end beyond 10.64.0.0/12: of [`Far::Half`] they never answer.
pub(crate) fn ranges_of(many: u32) -> String {
    let range =
        |first: u32, many: u32| format!("{}-{}", Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first + many - 1));
    // 10.128.0.0/9 holds 8,388,608; the rest of ten million come from behind 10.64.0.0/12.
    let upper = many.min(1 << 23);
    let all = range(SILENT, upper);
    if many > upper { format!("{all}, {}", range(0x0a50_0000, many - upper)) } else { all }
}

/// A lab, and the program that is measured.
pub(crate) struct Bench {
    lab: Lab,
    binary: PathBuf,
    // After the lab in a struct, so dropped after it: a helper's interface may be gone by then, which is as well.
    _sink: Option<Held>,
}

impl Bench {
    /// Brings the lab up, with the reflector at its far end.
    pub(crate) fn up(what: &str, binary: &Path) -> Result<Self, String> {
        Self::with(what, binary, Far::Reflector, None)
    }

    /// Brings the lab up, with so many queues on each end if that is said.
    pub(crate) fn with(what: &str, binary: &Path, far: Far, queues: Option<u32>) -> Result<Self, String> {
        let binary = binary.canonicalize().map_err(|error| {
            format!("{}: {error}. Build it with `cargo build --release`, or name one with --binary", binary.display())
        })?;
        let name = format!("el-bench-{what}-{}", std::process::id());
        let mut bench = Self { lab: Lab::up(&name, &Answer::Silent)?, binary, _sink: None };
        if let Some(queues) = queues {
            let queues = queues.to_string();
            for (end, interface) in [(End::Far, FAR_INTERFACE), (End::Near, NEAR_INTERFACE)] {
                let mut command = bench.lab.name().command(end, "ethtool");
                command.args(["-L", interface, "rx", &queues, "tx", &queues]);
                let output = command.output().map_err(|error| format!("ethtool: {error}"))?;
                let told = String::from_utf8_lossy(&output.stderr);
                // It is also an error to ask for what is there.
                if !output.status.success() && !told.contains("no channel parameters changed") {
                    return Err(format!("ethtool -L {interface}: {}", told.trim()));
                }
            }
        }
        if !matches!(far, Far::Reflector | Far::Ports(_)) {
            bench.ip(&format!("route add 10.0.0.0/8 via {FAR_ADDRESS}"))?;
        }
        match far {
            Far::Reflector => bench.lab.answer(&Answer::Reflector(bench.binary.clone()))?,
            Far::Ports(ports) => bench.lab.answer(&Answer::PortReflector(bench.binary.clone(), ports.into()))?,
            Far::Open => {}
            Far::Half => {
                bench._sink = Some(bench.hold(End::Far, &Part::Half)?);
            }
            Far::ByTurns => {
                bench._sink = Some(bench.hold(End::Far, &Part::ByTurns)?);
            }
            Far::Nothing => {
                bench.ip(&format!("route add fd00::/16 via {FAR_ADDRESS_V6}"))?;
                // It drops ARP and neighbour discovery, too.
                let mac = bench.far_mac()?;
                for address in [IpAddr::from(FAR_ADDRESS), FAR_ADDRESS_V6.into()] {
                    let neighbour = format!("neighbour replace {address} lladdr {mac}");
                    bench.ip(&format!("{neighbour} dev {NEAR_INTERFACE} nud permanent"))?;
                }
                bench._sink = Some(bench.hold(End::Far, &Part::Drop)?);
            }
        }
        Ok(bench)
    }

    /// `ip` about the near namespace.
    fn ip(&self, arguments: &str) -> Result<(), String> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.lab.name().namespace(End::Near)]).args(arguments.split(' '));
        let status = command.status().map_err(|error| format!("ip: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("ip {arguments} ended with {status}")) }
    }

    /// The lab itself.
    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The program that is measured, in the near namespace.
    fn echolot(&self, cpus: Cpus) -> Command {
        if cpus == Cpus::All {
            return self.lab.near(&self.binary);
        }
        let mut command = self.lab.near("taskset");
        command.args(["-c", "0"]).arg(&self.binary);
        command
    }

    /// This program's own part, in a namespace.
    pub(crate) fn inside(&self, end: End, part: &Part) -> Result<Command, String> {
        let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
        let mut command = self.lab.name().command(end, own);
        command.arg("inside").args(part.words());
        Ok(command)
    }

    /// Starts a part that stays until what is returned is dropped, and waits until it is ready.
    pub(crate) fn hold(&self, end: End, part: &Part) -> Result<Held, String> {
        let mut command = self.inside(end, part)?;
        let shown = part.words().join(" ");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("bench inside {shown}: {error}"))?;
        let mut line = String::new();
        if let Some(out) = &mut child.stdout {
            // It says so, or ends, and its output with it.
            let _ = BufReader::new(out).read_line(&mut line);
        }
        if line.trim() == READY {
            return Ok(Held(child));
        }
        let _ = child.wait();
        Err(format!("bench inside {shown} was not ready: its own words are above"))
    }

    /// Runs a command of the near namespace to its end, and watches the near interface meanwhile.
    pub(crate) fn watched(&self, command: Command, within: Duration) -> Result<Done, String> {
        self.watched_for(command, within, None)
    }

    /// The same with a command that ends when it is asked to: `asked` after its first packet, however long it took to start.
    fn watched_for(&self, mut command: Command, within: Duration, asked: Option<Duration>) -> Result<Done, String> {
        let shown = format!("{command:?}");
        let folder = self.lab.name().folder();
        let (out, told) = (folder.join("out"), folder.join("told"));
        let create = |path: &Path| fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()));
        command.stdin(Stdio::null()).stdout(create(&out)?).stderr(create(&told)?);
        let (spent, busy, begun) = (Spent::of_children()?, Spent::of_machine()?, Instant::now());
        let mut child = Ended(command.spawn().map_err(|error| format!("{shown}: {error}"))?);
        let mut traffic = Traffic::default();
        let (mut asked, ends_when_asked) = (asked, asked.is_some());
        let mut first = None;
        let status = loop {
            if traffic.sent_so_far() > 0 {
                first.get_or_insert_with(Instant::now);
            }
            if asked.zip(first).is_some_and(|(after, first)| first.elapsed() >= after) {
                send_signal("TERM", child.0.id());
                asked = None;
            }
            // What comes after it was asked to end is no longer what it does.
            if asked.is_some() == ends_when_asked {
                traffic.sample(child.0.id(), NEAR_INTERFACE);
            }
            match child.0.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if begun.elapsed() < within => std::thread::sleep(SAMPLE),
                Ok(None) => return Err(format!("{shown} did not end within {within:?}")),
                Err(error) => return Err(format!("{shown}: {error}")),
            }
        };
        let wall = begun.elapsed();
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Ok(Done {
            shown,
            status,
            out: read(&out),
            told: read(&told),
            wall,
            cpu: Spent::of_children()? - spent,
            busy: Spent::of_machine()? - busy,
            traffic,
        })
    }

    /// Runs an echolot command to its end and returns its summary too. `arguments` are without `--summary`.
    pub(crate) fn echolot_watched(
        &self,
        arguments: &[&str],
        cpus: Cpus,
        within: Duration,
    ) -> Result<(Done, serde_json::Value), String> {
        let summary = self.lab.name().folder().join("bench.json");
        let mut command = self.echolot(cpus);
        command.args(arguments).arg("--summary").arg(&summary);
        let done = self.watched(command, within)?;
        self.summarized(done, &summary)
    }

    /// Runs `echolot run` with a configuration for so long, and returns its summary too.
    pub(crate) fn run_watched(
        &self,
        config: &str,
        arguments: &[&str],
        cpus: Cpus,
        time: Duration,
        within: Duration,
    ) -> Result<(Done, serde_json::Value), String> {
        let (file, summary) = (self.configured(config)?, self.lab.name().folder().join("bench.json"));
        let mut command = self.echolot(cpus);
        command.args(["run", "-c"]).arg(&file).arg("--summary").arg(&summary).args(arguments);
        let done = self.watched_for(command, within, Some(time))?;
        self.summarized(done, &summary)
    }

    fn summarized(&self, done: Done, summary: &Path) -> Result<(Done, serde_json::Value), String> {
        // 3: something was not sent or not heard, which the summary says.
        if !matches!(done.status.code(), Some(0 | 3)) {
            return Err(done.failed());
        }
        let text = fs::read_to_string(summary).map_err(|error| format!("{}: {error}", summary.display()))?;
        let value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", summary.display()))?;
        Ok((done, value))
    }

    /// The MAC address of the far end: the gateway's.
    pub(crate) fn far_mac(&self) -> Result<String, String> {
        let path = format!("/sys/class/net/{FAR_INTERFACE}/address");
        let output = self.lab.far("cat").arg(&path).output().map_err(|error| format!("cat {path}: {error}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A configuration as a file of the lab.
    fn configured(&self, config: &str) -> Result<PathBuf, String> {
        let file = self.lab.name().folder().join("bench.yml");
        fs::write(&file, config).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file)
    }

    /// What `echolot check --json` says of a configuration.
    pub(crate) fn check(&self, config: &str) -> Result<serde_json::Value, String> {
        let file = self.configured(config)?;
        let output = self.echolot(Cpus::All).args(["check", "--json"]).arg(&file).output();
        let output = output.map_err(|error| format!("{}: {error}", self.binary.display()))?;
        if !output.status.success() {
            return Err(format!("echolot check: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("echolot check --json: {error}"))
    }

    /// Starts `echolot run` with a configuration. Dropping what is returned kills it.
    pub(crate) fn run(&self, config: &str) -> Result<Running, String> {
        self.run_binary(&self.binary, config, &[])
    }

    /// The same with another build of echolot, and with these arguments.
    pub(crate) fn run_binary(&self, binary: &Path, config: &str, arguments: &[&str]) -> Result<Running, String> {
        self.spawn(binary, config, arguments, Stdio::null())
    }

    /// Starts `echolot run` with a configuration and every result of it as a line of JSON in a pipe, which has to be read.
    pub(crate) fn run_read(&self, config: &str, arguments: &[&str]) -> Result<(Running, ChildStdout), String> {
        let arguments = [&["-f", "jsonl"], arguments].concat();
        let mut running = self.spawn(&self.binary, config, &arguments, Stdio::piped())?;
        let results = running.child.stdout.take().ok_or("echolot run has no standard output")?;
        Ok((running, results))
    }

    fn spawn(&self, binary: &Path, config: &str, arguments: &[&str], results: Stdio) -> Result<Running, String> {
        let binary = binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?;
        let file = self.configured(config)?;
        let folder = self.lab.name().folder();
        let (told, summary) = (folder.join("bench.log"), folder.join("bench.json"));
        let log = fs::File::create(&told).map_err(|error| format!("{}: {error}", told.display()))?;
        let mut command = self.lab.near(&binary);
        command.args(["run", "-c"]).arg(file).arg("--summary").arg(&summary).args(arguments);
        let child = command
            .stdin(Stdio::null())
            .stdout(results)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        Ok(Running { child, told, summary })
    }
}

/// What a program may run on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cpus {
    /// All that there are.
    All,
    /// The first.
    One,
}

/// What came of a command that was run to its end.
pub(crate) struct Done {
    shown: String,
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) told: String,
    pub(crate) wall: Duration,
    /// CPU seconds of the command's process.
    pub(crate) cpu: f64,
    /// CPU seconds of the whole machine meanwhile, softirqs included.
    pub(crate) busy: f64,
    /// Of the near interface.
    pub(crate) traffic: Traffic,
}

impl Done {
    /// It failed, in its own words.
    pub(crate) fn failed(&self) -> String {
        format!("{} ended with {}: {}", self.shown, self.status, self.told.trim())
    }
}

/// A process that is ended when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A part that holds something in a namespace, and lets go when this is dropped.
pub(crate) struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
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

    /// Whether it ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// What it has said on standard error.
    pub(crate) fn told(&self) -> String {
        fs::read_to_string(&self.told).unwrap_or_default().trim().to_owned()
    }

    /// Ends it as a person would, and returns its summary and what it said on standard error, its last words included.
    pub(crate) fn stop(mut self) -> Result<(serde_json::Value, String), String> {
        let said = |why: String| {
            let told = fs::read_to_string(&self.told).unwrap_or_default();
            format!("echolot run {why}: {}", told.trim())
        };
        send_signal("TERM", self.child.id());
        let status = wait_until(STARTED_WITHIN, || self.child.try_wait().ok().flatten())
            .ok_or_else(|| said(format!("did not end within {STARTED_WITHIN:?}")))?;
        if !status.success() {
            return Err(said(format!("ended with {status}")));
        }
        let text = fs::read_to_string(&self.summary).map_err(|error| said(format!("left no summary ({error})")))?;
        let summary = serde_json::from_str(&text)
            .map_err(|error| said(format!("left a summary that can't be read ({error})")))?;
        Ok((summary, self.told()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
