//! Where the tests take place: a lab, a folder, and the program in it.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::fd::AsFd as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use xtask::{
    command::{is_root, send_signal, wait_until},
    lab::{Answer, End, Lab},
};

/// The program under test.
pub(crate) const ECHOLOT: &str = env!("CARGO_BIN_EXE_echolot");
/// How long anything may take on a machine that has a bad day.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// Where `run` serves its metrics, in the near namespace.
pub(crate) const LISTEN: &str = "127.0.0.1:10816";

/// One lab at a time: they share two cores.
pub(crate) static ONE: Mutex<()> = Mutex::new(());

/// A lab and a folder, gone when this is.
pub(crate) struct Place {
    pub(crate) lab: Lab,
    pub(crate) folder: PathBuf,
    _one: MutexGuard<'static, ()>,
}

/// `echolot reflect` at the far end.
pub(crate) fn reflector() -> Answer {
    Answer::Reflector(ECHOLOT.into())
}

impl Place {
    /// None, and a word about it, without root.
    pub(crate) fn new(what: &str, answer: &Answer) -> Option<Self> {
        if !is_root() {
            println!("skipped: needs root");
            return None;
        }
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("el-ops-{what}-{}", std::process::id());
        let folder = env::temp_dir().join(&name);
        fs::create_dir_all(&folder).unwrap();
        Some(Self { lab: Lab::up(&name, answer).unwrap(), folder, _one: one })
    }

    /// Writes a file into the folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A configuration of one group, its further settings given, served at [`LISTEN`].
    pub(crate) fn config(&self, targets: &str, more: &str) -> PathBuf {
        let text =
            format!("listen: {LISTEN}\ngroups:\n  - name: ops\n    targets: [{targets}]\n    interval: 1s\n{more}");
        self.file("echolot.yml", &text)
    }

    /// echolot in the near namespace.
    pub(crate) fn echolot<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.lab.near(ECHOLOT);
        command.args(arguments);
        command
    }

    /// echolot in the near namespace, after a shell script has prepared its mounts: `ip netns exec` gives it a mount
    /// namespace of its own.
    pub(crate) fn after<'a>(&self, script: &str, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.lab.near("sh");
        command.args(["-ec", &format!("{script}\nexec \"$0\" \"$@\""), ECHOLOT]).args(arguments);
        command
    }

    /// Starts a command whose output goes into files.
    pub(crate) fn start(&self, command: &mut Command) -> Running {
        let (out, err) = (self.folder.join("stdout"), self.folder.join("stderr"));
        let child = command
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&err).unwrap())
            .spawn()
            .unwrap();
        Running { child, out, err }
    }

    /// Runs a command to its end.
    pub(crate) fn ended(&self, command: &mut Command) -> Ended {
        self.start(command).end()
    }

    /// Starts `run` with a configuration, and waits until it probes.
    pub(crate) fn run(&self, config: &std::path::Path, more: &[&str]) -> Running {
        let config = config.to_str().unwrap();
        let mut running = self.start(&mut self.echolot(["run", "-c", config].into_iter().chain(more.iter().copied())));
        let ready = wait_until(LONG, || {
            let ended = running.child.try_wait().unwrap();
            assert!(ended.is_none(), "run ended: {ended:?}: {}", running.stderr());
            self.get("/-/ready").filter(|(status, _)| *status == 200)
        });
        assert!(ready.is_some(), "run is not ready: {}", running.stderr());
        running
    }

    /// Does something on a thread in the near network namespace (the mounts are those of this process).
    pub(crate) fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.within(End::Near, body)
    }

    /// The same in the far one.
    pub(crate) fn far<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.within(End::Far, body)
    }

    fn within<T: Send>(&self, end: End, body: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.lab.name().namespace(end));
        let space = fs::File::open(path).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                rustix::thread::move_into_link_name_space(
                    space.as_fd(),
                    Some(rustix::thread::LinkNameSpaceType::Network),
                )
                .unwrap();
                body()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Asks the running echolot by HTTP: status and body, None if it doesn't answer.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        self.get_as(path, "")
    }

    /// The same with these lines in the request's head.
    pub(crate) fn get_as(&self, path: &str, headers: &str) -> Option<(u16, String)> {
        self.inside(|| {
            let mut stream = TcpStream::connect(LISTEN).ok()?;
            stream.set_read_timeout(Some(LONG)).ok()?;
            write!(stream, "GET {path} HTTP/1.0\r\n{headers}\r\n").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            let (head, body) = text.split_once("\r\n\r\n")?;
            Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
        })
    }

    /// The sum of all samples of a metric, from a scrape now.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").unwrap();
        sum_of(&text, name)
    }

    /// The id of the XDP program on the near interface, if there is one.
    pub(crate) fn attached(&self) -> Option<u64> {
        let output = self.lab.near("ip").args(["-j", "link", "show", "near0"]).output().unwrap();
        let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(links[0]["ifname"], "near0");
        links[0].get("xdp").map(|xdp| xdp["prog"]["id"].as_u64().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The sum of all samples of a metric in a scrape; of those with `{label="value"` in them if `name` says so.
pub(crate) fn sum_of(scrape: &str, name: &str) -> f64 {
    let (name, label) = name.split_once('{').unwrap_or((name, ""));
    let of =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label));
    let values: Vec<f64> =
        scrape.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(!values.is_empty(), "no {name} in the scrape");
    values.iter().sum()
}

/// A command at work: killed when this is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    /// Waits for the end, which must come by itself.
    pub(crate) fn end(mut self) -> Ended {
        let status = wait_until(LONG, || self.child.try_wait().unwrap());
        let (stdout, stderr) = (fs::read_to_string(&self.out).unwrap(), self.stderr());
        Ended { status: status.unwrap_or_else(|| panic!("no end in {LONG:?}: {stderr}")), stdout, stderr }
    }

    /// Asks for the end by SIGTERM, and waits for it.
    pub(crate) fn stop(self) -> Ended {
        send_signal("TERM", self.child.id());
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Refused: status 2, one line (and clap's usage under it) with all of these words in it, and nothing on stdout. On a busy machine
    /// the log has said before what took long.
    #[track_caller]
    pub(crate) fn refused(&self, words: &[&str]) {
        assert_eq!(self.status.code(), Some(2), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let usage = ["Usage:", "For more information,", "  "];
        let of_usage = |line: &str| line.is_empty() || usage.iter().any(|begin| line.starts_with(begin));
        let of_log = |line: &&str| line.starts_with(" INFO ");
        let lines: Vec<_> = self.stderr.lines().filter(|line| !of_log(line) && !of_usage(line)).collect();
        assert_eq!(lines.len(), 1, "{self:?}");
        assert!(lines[0].starts_with("echolot: ") || lines[0].starts_with("error: "), "{self:?}");
        self.says(words);
    }

    /// All of these words are on stderr, no panic, and no colours where there is no terminal.
    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) {
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:?}");
        }
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains('\u{1b}'), "{self:?}");
    }
}
