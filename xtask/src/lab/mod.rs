//! The lab: two network namespaces joined by a veth pair with two queues on each end, and no way out.
//!
//! ```text
//!   NAME-near                                       NAME-far
//!   near0  10.63.0.1/24  ───────── veth ─────────   far0  10.63.0.2/24
//!          fd00:63::1/64                                  fd00:63::2/64
//!   route: 10.64.0.0/12 via 10.63.0.2               answers for all of 10.64.0.0/12
//!          fd00:64::/108 via fd00:63::2             and of fd00:64::/108
//! ```
//!
//! Who answers echo requests is the lab's [`Answer`]: the far kernel's own stack, echolot's XDP reflector, or nobody. TCP and UDP are
//! the far kernel's: every port is closed, but where [`Lab::serve`] has opened some ([`services`]). In a test, [`Lab::up`] gives a guard: the lab goes when it is dropped, on a panic, and when the process is killed (a small shell
//! waits for the other end of a pipe to close). Needs root and iproute2, nothing else.

pub mod cli;
pub mod dns;
pub mod guard;
pub mod services;

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use crate::command::{is_root, run, send_signal, wait_until};
use guard::Guard;

/// The lab of `cargo xtask lab` without `--name`: namespaces `echolot-near` and `echolot-far`.
pub const DEFAULT_NAME: &str = "echolot";
/// The near end's interface.
pub const NEAR_INTERFACE: &str = "near0";
/// The far end's interface.
pub const FAR_INTERFACE: &str = "far0";
/// The near end's address, in 10.63.0.0/24.
pub const NEAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 63, 0, 1);
/// The far end's address: the next hop towards [`TARGETS`].
pub const FAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 63, 0, 2);
/// What lies behind the far end: 1,048,576 addresses.
pub const TARGETS: &str = "10.64.0.0/12";

/// The near end's IPv6 address, in fd00:63::/64.
pub const NEAR_ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x63, 0, 0, 0, 0, 0, 1);
/// The far end's IPv6 address: the next hop towards [`TARGETS_V6`].
pub const FAR_ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x63, 0, 0, 0, 0, 0, 2);
/// What lies behind the far end: 1,048,576 addresses.
pub const TARGETS_V6: &str = "fd00:64::/108";

/// How long a reflector (or another program of the lab's) may take until it says that it is ready. Generous: it loads and attaches an XDP program.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Who answers for [`TARGETS`] and [`TARGETS_V6`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The far namespace's own stack. Its limits on ICMP are off.
    Kernel,
    /// `echolot reflect`, the program being at the path given. The far kernel answers no echo request beside it.
    Reflector(PathBuf),
    /// The same, and it answers TCP and UDP: of both these ports are open, as `echolot reflect --tcp --udp` has them, and all others closed.
    /// What XDP sends back arrives at the near end only while a program is attached there, too.
    PortReflector(PathBuf, String),
    /// Nobody. The link stays up, and ARP and neighbour discovery go on being answered.
    Silent,
}

impl Answer {
    /// The word for it on the command line.
    pub fn word(&self) -> &'static str {
        match self {
            Answer::Kernel => "kernel",
            Answer::Reflector(_) | Answer::PortReflector(..) => "reflector",
            Answer::Silent => "silent",
        }
    }
}

/// One end of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where echolot runs.
    Near,
    /// Where the targets are.
    Far,
}

/// A lab's name: its namespaces are `NAME-near` and `NAME-far`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 40 || text.starts_with('-') || !text.chars().all(fits) {
            return Err(format!("{text:?} is no lab name: use up to 40 of a-z, 0-9 and -, not a - first"));
        }
        Ok(Name(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Name {
    /// The namespace of one end.
    pub fn namespace(&self, end: End) -> String {
        match end {
            End::Near => format!("{self}-near"),
            End::Far => format!("{self}-far"),
        }
    }

    /// A command that runs `program` in the namespace of one end.
    pub fn command(&self, end: End, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(end)]).arg(program);
        command
    }

    /// Whether this lab is up, wholly.
    pub fn is_up(&self) -> bool {
        self.answer_word().is_some() && [End::Near, End::Far].iter().all(|end| self.netns_path(*end).exists())
    }

    /// Takes the lab down, and whatever is left of it after an accident. What runs in its namespaces is ended.
    pub fn down(&self) -> Result<(), String> {
        guard::clean(&self.namespaces(), &self.folder())
            .map_err(|told| format!("lab {self} could not be taken down entirely: {told}"))
    }

    /// Who answers now, if the lab is up: what [`Answer::word`] said.
    pub fn answer_word(&self) -> Option<String> {
        fs::read_to_string(self.folder().join("answer")).ok()
    }

    fn netns_path(&self, end: End) -> PathBuf {
        Path::new("/run/netns").join(self.namespace(end))
    }

    /// The lab's folder, which goes with it. Holds `answer` (written last: the lab is complete), pid and output of the
    /// reflector and of the services, and what a lab's owner puts there.
    pub fn folder(&self) -> PathBuf {
        guard::folder(&self.0)
    }

    fn namespaces(&self) -> [String; 2] {
        [End::Near, End::Far].map(|end| self.namespace(end))
    }

    /// Builds both ends. On failure what was built stays: the caller's guard removes it.
    fn build(&self) -> Result<(), String> {
        let (near, far) = (self.namespace(End::Near), self.namespace(End::Far));
        for namespace in [&near, &far] {
            ip(&format!("netns add {namespace}"))?;
        }
        for end in [End::Near, End::Far] {
            // Before there is an interface: nobody is asked for routers, and addresses are there at once, link-local ones too.
            for interface in ["all", "default"] {
                for key in ["accept_ra", "accept_dad"] {
                    self.sysctl(end, &format!("ipv6/conf/{interface}/{key}"), "0")?;
                }
            }
            self.sysctl(end, "ipv6/icmp/ratelimit", "0")?;
            // A type that there is not: else a limit on all errors together holds back those about closed ports.
            self.sysctl(end, "ipv6/icmp/ratemask", "0")?;
            self.sysctl(end, "ipv4/conf/all/rp_filter", "0")?;
            self.sysctl(end, "ipv4/conf/default/rp_filter", "0")?;
            // Echo replies aren't limited by default; other ICMP is, and a test may ask for it.
            self.sysctl(end, "ipv4/icmp_ratelimit", "0")?;
            self.sysctl(end, "ipv4/icmp_ratemask", "0")?;
            self.sysctl(end, "ipv4/icmp_msgs_per_sec", "2000000000")?;
        }
        ip(&format!(
            "link add {NEAR_INTERFACE} netns {near} numtxqueues 2 numrxqueues 2 type veth \
             peer name {FAR_INTERFACE} netns {far} numtxqueues 2 numrxqueues 2"
        ))?;
        for (namespace, interface, address, v6) in
            [(&near, NEAR_INTERFACE, NEAR_ADDRESS, NEAR_ADDRESS_V6), (&far, FAR_INTERFACE, FAR_ADDRESS, FAR_ADDRESS_V6)]
        {
            ip(&format!("-n {namespace} address add {address}/24 dev {interface}"))?;
            ip(&format!("-n {namespace} address add {v6}/64 dev {interface} nodad"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
            ip(&format!("-n {namespace} link set {interface} up"))?;
        }
        self.wait_for_link()?;
        ip(&format!("-n {near} route add {TARGETS} via {FAR_ADDRESS}"))?;
        ip(&format!("-n {far} route add local {TARGETS} dev lo"))?;
        ip(&format!("-n {near} route add {TARGETS_V6} via {FAR_ADDRESS_V6}"))?;
        ip(&format!("-n {far} route add local {TARGETS_V6} dev lo"))
    }

    /// Waits until both ends can send: the kernel takes up to a second to notice that a link is up, and drops what is sent before. The
    /// first ARP question or neighbour solicitation would be repeated another second later.
    fn wait_for_link(&self) -> Result<(), String> {
        for (end, interface) in [(End::Near, NEAR_INTERFACE), (End::Far, FAR_INTERFACE)] {
            let is_up = || {
                let output = self.command(end, "ip").args(["-o", "link", "show", "dev", interface]).output().ok()?;
                String::from_utf8_lossy(&output.stdout).contains(" state UP ").then_some(())
            };
            wait_until(READY_WITHIN, is_up).ok_or_else(|| format!("{interface} is not up within {READY_WITHIN:?}"))?;
        }
        Ok(())
    }

    /// Writes a setting of one end's network stack, named by its path under /proc/sys/net. One that this kernel doesn't
    /// have (or has for all namespaces at once, and so not in here) is left out.
    fn sysctl(&self, end: End, path: &str, value: &str) -> Result<(), String> {
        let script = r#"[ ! -e "/proc/sys/net/$1" ] || echo "$2" > "/proc/sys/net/$1""#;
        let mut command = self.command(end, "sh");
        command.args(["-c", script, "sh", path, value]);
        run(&mut command)
    }

    /// Starts or stops what [`Answer`] asks for, and notes it. Returns the reflector's process if it was started.
    fn set_answer(&self, answer: &Answer) -> Result<Option<Child>, String> {
        self.stop_reflector()?;
        let ignore = if *answer == Answer::Kernel { "0" } else { "1" };
        self.sysctl(End::Far, "ipv4/icmp_echo_ignore_all", ignore)?;
        self.sysctl(End::Far, "ipv6/icmp/echo_ignore_all", ignore)?;
        let path = self.folder().join("answer");
        let note = |answer: &Answer| fs::write(&path, answer.word()).map_err(|e| format!("{}: {e}", path.display()));
        let reflect = ["reflect", "-I", FAR_INTERFACE];
        let (program, arguments) = match answer {
            Answer::Reflector(program) => (program, reflect.to_vec()),
            Answer::PortReflector(program, open) => (program, [&reflect[..], &["--tcp", open, "--udp", open]].concat()),
            Answer::Kernel | Answer::Silent => {
                note(answer)?;
                return Ok(None);
            }
        };
        // What is true if it does not start.
        note(&Answer::Silent)?;
        let reflector = self.start("reflector", program, &arguments)?;
        note(answer)?;
        Ok(Some(reflector))
    }

    /// Has the far end drop what [`services`] says. Once only.
    ///
    /// # Errors
    /// What failed and why: a kernel without routing by ports.
    pub fn drop_port(&self) -> Result<(), String> {
        let far = self.namespace(End::Far);
        for family in ["-4", "-6"] {
            // Rules that are asked before the table of this host's own addresses.
            ip(&format!("{family} -n {far} rule add pref 100 lookup local"))?;
            ip(&format!("{family} -n {far} rule del pref 0 lookup local"))?;
            for protocol in ["tcp", "udp"] {
                let what = format!("iif {FAR_INTERFACE} ipproto {protocol} dport {}", services::DROPPED_PORT);
                ip(&format!("{family} -n {far} rule add pref 1 {what} type blackhole"))?;
            }
        }
        Ok(())
    }

    /// The same, and starts the rest of it there. `xtask` is this package's program.
    fn serve(&self, xtask: &Path) -> Result<Child, String> {
        self.drop_port()?;
        // For IPv6 a route is not enough to make an address one that can be bound.
        self.sysctl(End::Far, "ipv6/ip_nonlocal_bind", "1")?;
        self.start("services", xtask, &["lab", "serve"])
    }

    /// Starts a program at the far end that stays there, and waits until it says on standard error that it is ready.
    fn start(&self, what: &str, program: &Path, arguments: &[&str]) -> Result<Child, String> {
        let log = self.folder().join(format!("{what}.log"));
        let told = fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let shown = format!("{} {}", program.display(), arguments.join(" "));
        let program = program.canonicalize().map_err(|e| format!("{}: {e}. Is it built?", program.display()))?;
        let mut command = self.command(End::Far, program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(told);
        // A Ctrl-C at the terminal is for whoever started the lab; the lab ends itself what runs in it.
        command.process_group(0);
        let mut child = command.spawn().map_err(|e| format!("{shown}: {e}"))?;
        let pid = self.folder().join(format!("{what}.pid"));
        fs::write(&pid, child.id().to_string()).map_err(|e| format!("{}: {e}", pid.display()))?;
        let text = || fs::read_to_string(&log).unwrap_or_default();
        let ended = wait_until(READY_WITHIN, || {
            child.try_wait().ok().flatten().map(Some).or_else(|| {
                let ready = text().lines().any(|line| line.to_ascii_lowercase().contains("ready"));
                ready.then_some(None)
            })
        });
        match ended {
            Some(None) => Ok(child),
            Some(Some(status)) => Err(format!("{shown} ended at once ({status}): {}", text().trim())),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("{shown} was not ready within {READY_WITHIN:?}: {}", text().trim()))
            }
        }
    }

    /// Ends a reflector that an earlier call (or an earlier process) started, and waits until it is gone.
    fn stop_reflector(&self) -> Result<(), String> {
        let path = self.folder().join("reflector.pid");
        let Some(pid) = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok()) else {
            return Ok(());
        };
        for signal in ["TERM", "KILL"] {
            // The pid may be somebody else's by now, but what is in our namespace is ours.
            if !self.processes(End::Far).contains(&pid) {
                break;
            }
            send_signal(signal, pid);
            let gone = || (!self.processes(End::Far).contains(&pid)).then_some(());
            wait_until(Duration::from_secs(5), gone);
        }
        if self.processes(End::Far).contains(&pid) {
            return Err(format!("lab {self}: the reflector (pid {pid}) does not end"));
        }
        fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// The processes in one end's namespace.
    pub fn processes(&self, end: End) -> Vec<u32> {
        let output = Command::new("ip").args(["netns", "pids", &self.namespace(end)]).stderr(Stdio::null()).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }
}

/// A lab that goes with this value: when it is dropped, when a panic unwinds past it, when the process is killed.
#[derive(Debug)]
pub struct Lab {
    name: Name,
    reflector: Option<Child>,
    services: Option<Child>,
    guard: Guard,
}

impl Lab {
    /// Brings up a lab of this name, after removing whatever is left of an earlier one. Labs of different names run side
    /// by side, so put something of your own (a pid) into the name.
    ///
    /// # Errors
    /// What failed and why: no root, no `ip`, a kernel without veth or network namespaces, a reflector that won't start.
    pub fn up(name: &str, answer: &Answer) -> Result<Lab, String> {
        let name: Name = name.parse()?;
        require_root()?;
        let guard = Guard::over(&name.namespaces(), &name.folder())?;
        let mut lab = Lab { name, reflector: None, services: None, guard };
        // From here on dropping `lab` cleans up.
        lab.name.build()?;
        lab.answer(answer)?;
        Ok(lab)
    }

    /// Changes who answers.
    pub fn answer(&mut self, answer: &Answer) -> Result<(), String> {
        let started = self.name.set_answer(answer)?;
        if let Some(mut old) = std::mem::replace(&mut self.reflector, started) {
            let _ = old.wait();
        }
        Ok(())
    }

    /// Has the far end drop, open and serve ports as [`services`] says, until the lab goes. `xtask` is this package's program, which
    /// does it. Once only.
    ///
    /// # Errors
    /// What failed and why: a kernel without routing by ports, a program that is not there or won't start.
    pub fn serve(&mut self, xtask: &Path) -> Result<(), String> {
        self.services = Some(self.name.serve(xtask)?);
        Ok(())
    }

    /// A command in the near namespace, where echolot runs.
    pub fn near(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.name.command(End::Near, program)
    }

    /// A command in the far namespace, where the targets are.
    pub fn far(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.name.command(End::Far, program)
    }

    /// Its name, which leads to its namespaces.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Takes it down now and says what went wrong, which dropping can't.
    pub fn down(self) -> Result<(), String> {
        self.name.down()
    }

    /// Lets it stay when this process ends.
    pub fn keep(mut self) {
        self.guard.keep();
        std::mem::forget(self);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The guard does the work, and this waits for it: a killed parent's lab goes the same way.
        self.guard.release();
        for child in [&mut self.reflector, &mut self.services] {
            let _ = child.as_mut().map(Child::wait);
        }
    }
}

fn require_root() -> Result<(), String> {
    if is_root() {
        return Ok(());
    }
    Err("the lab makes network namespaces, which needs root: run it through sudo".into())
}

fn ip(arguments: &str) -> Result<(), String> {
    run(Command::new("ip").args(arguments.split_whitespace()))
}
