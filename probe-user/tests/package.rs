//! What is installed: by `make install`, and by the Debian package of `cargo xtask package`, on a fresh root file system of Debian.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};
use xtask::{
    command::{is_root, wait_until},
    lab::{Answer, End, Lab},
    package::{self, Wanted},
};

const ECHOLOT: &str = env!("CARGO_BIN_EXE_echolot");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const COMMANDS: [&str; 8] = ["run", "ping", "sweep", "trace", "doctor", "reflect", "check", "init"];

/// A folder, gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new(what: &str) -> Self {
        let path = env::temp_dir().join(format!("echolot-package-{what}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a command to its good end; what it said.
#[track_caller]
fn done(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{}: {e}", command.get_program().display()));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    said(&output)
}

/// Every file below a folder, from there on.
fn files(folder: &Path) -> BTreeSet<String> {
    let found = done(Command::new("find").arg(folder).args(["-type", "f", "-printf", "%P\n"]));
    found.lines().map(ToOwned::to_owned).collect()
}

fn build(version: &str, folder: &Path) -> PathBuf {
    let wanted = Wanted { program: ECHOLOT.into(), version: version.into(), folder: folder.into() };
    package::build(&wanted).unwrap_or_else(|told| panic!("{told}"))
}

fn make_install(folder: &Path) {
    let mut make = Command::new("make");
    make.current_dir(ROOT).args(["--no-print-directory", "install", &format!("PROGRAM={ECHOLOT}"), "PREFIX=/opt/x"]);
    done(make.arg(format!("DESTDIR={}", folder.display())).env_remove("MAKEFLAGS"));
}

#[test]
fn make_install_puts_everything_where_it_is_looked_for_and_keeps_what_is_configured() {
    let folder = Folder::new("make");
    make_install(&folder.0);
    let installed = files(&folder.0);
    let mut expected: BTreeSet<String> = [
        "opt/x/bin/echolot",
        "opt/x/share/man/man1/echolot.1",
        "opt/x/share/bash-completion/completions/echolot",
        "opt/x/share/zsh/site-functions/_echolot",
        "opt/x/share/fish/vendor_completions.d/echolot.fish",
        "opt/x/lib/systemd/system/echolot.service",
        "opt/x/share/echolot/dashboard.json",
        "opt/x/share/echolot/alerts.yml",
        "opt/x/share/echolot/vantages.yml",
        "opt/x/share/doc/echolot/README.md",
        "opt/x/share/doc/echolot/docs/examples/echolot.yml",
        "etc/echolot/echolot.yml",
    ]
    .map(String::from)
    .into();
    expected.extend(COMMANDS.map(|command| format!("opt/x/share/man/man1/echolot-{command}.1")));
    let docs =
        fs::read_dir(format!("{ROOT}/docs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    expected
        .extend(docs.filter(|name| name.ends_with(".md")).map(|name| format!("opt/x/share/doc/echolot/docs/{name}")));
    assert_eq!(installed, expected);

    let read = |name: &str| fs::read_to_string(folder.0.join(name)).unwrap();
    let unit = read("opt/x/lib/systemd/system/echolot.service");
    assert!(unit.contains("ExecStart=/opt/x/bin/echolot run -c /etc/echolot/echolot.yml "), "{unit}");
    assert!(!unit.contains("/usr/local/bin"), "{unit}");
    let config = folder.0.join("etc/echolot/echolot.yml");
    let checked = done(Command::new(folder.0.join("opt/x/bin/echolot")).arg("check").arg(&config));
    assert!(checked.contains("group `edge` has no targets"), "nobody is probed before somebody says whom: {checked}");
    // A list beside it is all that it takes.
    fs::write(
        folder.0.join("etc/echolot/targets/edge.json"),
        r#"[{"targets": ["192.0.2.7"], "labels": {"site": "fra"}}]"#,
    )
    .unwrap();
    let checked = done(Command::new(ECHOLOT).arg("check").arg("--json").arg(&config));
    assert!(checked.contains("\"targets\": 1"), "{checked}");

    // Again, over what a person has changed.
    fs::write(&config, "mine").unwrap();
    make_install(&folder.0);
    assert_eq!(fs::read_to_string(&config).unwrap(), "mine");
}

#[test]
fn man_pages_and_completions_know_every_command_and_option() {
    let folder = Folder::new("generated");
    done(Command::new(ECHOLOT).arg("generate").arg(&folder.0));
    let overview = fs::read_to_string(folder.0.join("man/echolot.1")).unwrap();
    assert!(!overview.contains("generate"), "{overview}");
    let completions =
        ["bash", "zsh", "fish"].map(|shell| fs::read_to_string(folder.0.join("completions").join(shell)).unwrap());
    done(Command::new("bash").arg("-n").arg(folder.0.join("completions/bash")));
    for command in COMMANDS {
        let help = done(Command::new(ECHOLOT).args([command, "--help"]));
        let options = help.split_whitespace().filter_map(|word| {
            let name = word.strip_prefix("--")?;
            let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c))).unwrap_or(name.len());
            Some(name[..end].to_owned()).filter(|name| name.len() > 1)
        });
        let options: BTreeSet<String> = options.filter(|name| name != "help").collect();
        assert!(options.contains("log-format"), "{command}: {options:?}");
        let page = fs::read_to_string(folder.0.join(format!("man/echolot-{command}.1"))).unwrap().replace("\\-", "-");
        assert!(page.contains(&format!(".TH echolot-{command} 1")), "{page}");
        assert!(overview.replace("\\-", "-").contains(&format!("echolot-{command}(1)")), "{overview}");
        for option in options {
            assert!(page.contains(&format!("--{option}")), "echolot-{command}.1 has no --{option}:\n{page}");
            for (shell, text) in ["bash", "zsh", "fish"].iter().zip(&completions) {
                let known = if *shell == "fish" { format!("-l {option}") } else { format!("--{option}") };
                assert!(text.contains(&known), "{shell} knows no --{option} of {command}");
            }
        }
    }
}

#[test]
#[ignore = "takes minutes: make test-long runs it"]
fn takes_minutes_lintian_finds_no_error_in_the_package() {
    let folder = Folder::new("lintian");
    let deb = build("0.1.0", &folder.0);
    let mut lintian = Command::new("lintian");
    // As root it warns of itself.
    let output = lintian.args(["--allow-root", "--fail-on", "error"]).arg(&deb).output();
    let output = output.expect("lintian: `cargo xtask setup --test` installs it");
    println!("{}", said(&output));
    assert!(output.status.success(), "{}", said(&output));
    let control = done(Command::new("dpkg-deb").args(["--field"]).arg(&deb));
    assert!(control.contains("libelf1") && control.contains("libc6 (>="), "{control}");
    // The same makes the same.
    let first = fs::read(&deb).unwrap();
    assert!(fs::read(build("0.1.0", &folder.0)).unwrap() == first, "built twice, it is not the same");
}

/// A root file system of Debian's, as small as there is, with what the package depends on.
struct Fresh(Folder);

impl Fresh {
    fn make(deb: &Path, more: &[&str]) -> Self {
        let folder = Folder::new("root");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
        let depends = done(Command::new("dpkg-deb").arg("--field").arg(deb).arg("Depends"));
        let mut names: Vec<&str> = depends.split(',').filter_map(|one| one.split_whitespace().next()).collect();
        names.extend(more);
        let mut make = Command::new("mmdebstrap");
        make.args(["--quiet", "--variant=minbase", "--mode=root", &format!("--include={}", names.join(","))]);
        // The release that this is: its own libraries are what the program is linked with.
        let release = fs::read_to_string("/etc/os-release").unwrap();
        let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap();
        done(make.arg(name).arg(folder.0.join("root")));
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.0.join("root").join(name)
    }

    fn chroot(&self, line: &str) -> Output {
        let mut command = Command::new("chroot");
        command.arg(self.path("")).args(["sh", "-c", line]).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        command.output().unwrap()
    }

    #[track_caller]
    fn runs(&self, line: &str) -> String {
        let output = self.chroot(line);
        assert!(output.status.success(), "{line}: {}\n{}", output.status, said(&output));
        said(&output)
    }

    fn take(&self, deb: &Path) -> String {
        let name = deb.file_name().unwrap().to_str().unwrap().to_owned();
        fs::copy(deb, self.path("opt").join(&name)).unwrap();
        format!("/opt/{name}")
    }
}

/// One file system serves for both, because making it takes longest.
#[test]
#[ignore = "needs root, and takes minutes: make test-long runs it"]
fn takes_minutes_the_package_lives_and_goes_on_a_fresh_system_with_and_without_systemd_at_work() {
    if !is_root() {
        return println!("skipped: needs root");
    }
    let folder = Folder::new("debs");
    let [old, new] = ["0.1.0", "0.1.1"].map(|version| build(version, &folder.0));
    let fresh = Fresh::make(&old, &["systemd", "systemd-sysv"]);
    let [old, new] = [old, new].map(|deb| fresh.take(&deb));
    installed_upgraded_removed_and_purged(&fresh, &old, &new);
    a_service_that_starts_probes_is_upgraded_and_goes(&Booted::up(fresh), &old, &new);
}

/// dpkg itself judges: of the libraries, of the configuration that was changed, of what is left.
fn installed_upgraded_removed_and_purged(fresh: &Fresh, old: &str, new: &str) {
    let enabled = fresh.path("etc/systemd/system/multi-user.target.wants/echolot.service");
    let is_enabled = || enabled.symlink_metadata().is_ok();
    let config = fresh.path("etc/echolot/echolot.yml");

    fresh.runs(&format!("dpkg -i {old}"));
    assert!(fresh.runs("echolot --version").starts_with("echolot "));
    fresh.runs("echolot check /etc/echolot/echolot.yml");
    assert!(is_enabled());
    assert_eq!(fresh.runs("dpkg --verify echolot"), "");

    // What a person and the service made.
    let mine = fs::read_to_string(&config).unwrap().replace("rate: 100000", "rate: 70000");
    fs::write(&config, &mine).unwrap();
    fs::write(fresh.path("etc/echolot/targets/edge.json"), r#"[{"targets": ["192.0.2.7"]}]"#).unwrap();
    fs::create_dir_all(fresh.path("var/lib/private/echolot")).unwrap();
    fs::write(fresh.path("var/lib/private/echolot/events.jsonl"), "{}\n").unwrap();
    std::os::unix::fs::symlink("private/echolot", fresh.path("var/lib/echolot")).unwrap();
    let state = || fs::read_to_string(fresh.path("var/lib/private/echolot/events.jsonl")).ok();
    // As `systemctl disable` does.
    fs::remove_file(&enabled).unwrap();

    // An upgrade keeps all of it, and so does removing.
    fresh.runs(&format!("dpkg -i {new}"));
    assert!(fresh.runs("dpkg-query -W echolot").contains("0.1.1"));
    assert_eq!((fs::read_to_string(&config).unwrap(), state()), (mine.clone(), Some("{}\n".into())));
    assert!(!is_enabled(), "it was switched off");
    assert!(fresh.runs("echolot check /etc/echolot/echolot.yml").contains('1'));
    fresh.runs("dpkg -r echolot");
    assert!(!fresh.path("usr/bin/echolot").exists() && !fresh.path("lib/systemd/system/echolot.service").exists());
    assert_eq!((fs::read_to_string(&config).unwrap(), state()), (mine.clone(), Some("{}\n".into())));
    // And coming back finds it.
    fresh.runs(&format!("dpkg -i {new}"));
    assert_eq!(fs::read_to_string(&config).unwrap(), mine);

    fresh.runs("dpkg -P echolot");
    assert!(!config.exists() && state().is_none() && fresh.path("var/lib/echolot").symlink_metadata().is_err());
    assert!(fresh.path("etc/echolot/targets/edge.json").exists(), "a person's own lists are nobody's to remove");
    assert!(!is_enabled());
    let left =
        fresh.runs("find / -xdev -name '*echolot*' -not -path '/opt/*' -not -path '/proc/*' -not -path '/var/log/*'");
    assert_eq!(left.trim(), "/etc/echolot");
    fs::remove_file(fresh.path("etc/echolot/targets/edge.json")).unwrap();
}

/// A fresh system with systemd at work, in a lab's near network namespace.
struct Booted {
    lab: Lab,
    fresh: Fresh,
    group: PathBuf,
    child: Child,
}

/// How long anything may take on a machine that has a bad day.
const LONG: Duration = Duration::from_secs(120);

impl Booted {
    fn up(fresh: Fresh) -> Self {
        let name = format!("el-boot-{}", std::process::id());
        let lab = Lab::up(&name, &Answer::Kernel).unwrap();
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let unified = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
        let group = Path::new(unified.split(' ').nth(1).unwrap()).join(&name);
        let log = fs::File::create(fresh.0.0.join("boot.log")).unwrap();
        let mut boot = Command::new("sh");
        boot.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/package/boot.sh"));
        boot.arg(fresh.path("")).arg(lab.name().namespace(End::Near)).arg(&group);
        let child = boot.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let booted = Self { lab, fresh, group, child };
        let running = wait_until(LONG, || {
            let init = booted.init()?;
            let told = booted.within(&init, "systemctl is-system-running").output().unwrap();
            ["running", "degraded"].contains(&said(&told).trim()).then_some(())
        });
        let log = || fs::read_to_string(booted.fresh.0.0.join("boot.log")).unwrap_or_default();
        assert!(running.is_some(), "systemd has not booted: {}", log());
        booted
    }

    /// The pid of its first process.
    fn init(&self) -> Option<String> {
        let pids = fs::read_to_string(self.group.join("init.scope/cgroup.procs")).ok()?;
        Some(pids.lines().next()?.to_owned())
    }

    fn within(&self, init: &str, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", init, "--all", "sh", "-c", line]).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    #[track_caller]
    fn runs(&self, line: &str) -> String {
        done(&mut self.within(&self.init().unwrap(), line))
    }

    /// Waits until the metrics have this line.
    #[track_caller]
    fn until(&self, line: &str) {
        let mut last = String::new();
        let seen = wait_until(LONG, || {
            let scrape = self.lab.near("curl").args(["-s", "http://127.0.0.1:10816/metrics"]).output().unwrap();
            last = said(&scrape);
            last.lines().any(|one| one == line).then_some(())
        });
        let journal = || self.runs("journalctl -u echolot --no-pager | tail -n 30");
        assert!(seen.is_some(), "no {line} in\n{last}\n{}", journal());
    }

    /// A property of the unit, as systemd has it now.
    fn property(&self, name: &str) -> String {
        self.runs(&format!("systemctl show --value -p {name} echolot")).trim().to_owned()
    }

    /// Whether an XDP program is on the near interface.
    fn is_attached(&self) -> bool {
        done(self.lab.near("ip").args(["link", "show", "near0"])).contains("xdp")
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        let _ = fs::write(self.group.join("cgroup.kill"), "1");
        let _ = self.child.kill();
        let _ = self.child.wait();
        let empty =
            || fs::read_to_string(self.group.join("cgroup.events")).is_ok_and(|told| told.contains("populated 0"));
        wait_until(LONG, || empty().then_some(()));
        let _ =
            Command::new("find").arg(&self.group).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]).output();
    }
}

/// What systemd makes of what it is told, and of silence.
fn it_is_started_anew_when_it_is_killed_and_when_it_hangs(booted: &Booted) {
    // It is active once it is ready: here it waits for the carrier of its interface.
    let ip = |action: &str| done(booted.lab.far("ip").args(["link", "set", "far0", action]));
    ip("down");
    booted.runs("systemctl restart --no-block echolot");
    let state = |active: &str, sub: &str| {
        let reached = wait_until(LONG, || {
            let now = (booted.property("ActiveState"), booted.property("SubState"));
            (now == (active.to_owned(), sub.to_owned())).then_some(())
        });
        assert!(reached.is_some(), "{}", booted.runs("systemctl status --no-pager echolot || true"));
    };
    state("activating", "start");
    ip("up");
    state("active", "running");
    booted.until(r#"echolot_targets{group="edge",state="up"} 8"#);
    assert!(booted.property("StatusText").starts_with("Probing 8 targets"));

    for (restarts, signal) in [("1", "KILL"), ("2", "STOP")] {
        let pid = booted.property("MainPID");
        booted.runs(&format!("kill -s {signal} {pid}"));
        let anew = wait_until(LONG, || (booted.property("NRestarts") == restarts).then_some(()));
        assert!(anew.is_some(), "SIG{signal}: {}", booted.runs("journalctl -u echolot --no-pager | tail -n 30"));
        state("active", "running");
        assert_ne!(booted.property("MainPID"), pid);
        booted.until(r#"echolot_targets{group="edge",state="up"} 8"#);
    }
    let journal = booted.runs("journalctl -u echolot --no-pager");
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}

/// The unit as it is, with all that it forbids.
fn a_service_that_starts_probes_is_upgraded_and_goes(booted: &Booted, old: &str, new: &str) {
    let active = || (booted.property("ActiveState"), booted.property("NRestarts"));
    let is_well = || ("active".to_owned(), "0".to_owned());

    // systemd can't raise a limit for others where it may not for itself (CAP_SYS_RESOURCE), as in some virtual machines: then as
    // docs/operating.md says.
    let capabilities = fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = capabilities.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    if u64::from_str_radix(capabilities, 16).unwrap() & 1 << 24 == 0 {
        let folder = booted.fresh.path("etc/systemd/system/echolot.service.d");
        fs::create_dir_all(&folder).unwrap();
        let grant = "[Service]\nAmbientCapabilities=CAP_IPC_LOCK\nCapabilityBoundingSet=CAP_IPC_LOCK\n";
        fs::write(folder.join("memory.conf"), grant).unwrap();
    }

    // Installed it runs, and waits for somebody to say whom it shall probe.
    booted.runs(&format!("dpkg -i {old}"));
    assert_eq!(active(), is_well());
    assert_eq!(booted.runs("systemctl is-enabled echolot").trim(), "enabled");
    assert!(!booted.is_attached());
    assert!(booted.property("StatusText").starts_with("Waiting for a source of targets"));
    let pid = booted.property("MainPID");
    booted.runs("systemctl reload echolot");
    assert_eq!(
        (booted.property("MainPID"), active()),
        (pid, is_well()),
        "it is read again before there is a target, too"
    );
    let targets = booted.fresh.path("etc/echolot/targets/edge.json");
    fs::write(&targets, r#"[{"targets": ["10.64.0.1-10.64.0.8"], "labels": {"site": "fra"}}]"#).unwrap();
    booted.until(r#"echolot_targets{group="edge",state="up"} 8"#);
    assert!(booted.is_attached());

    // Not as root, and not free to do what it likes.
    let status = booted.runs(&format!("cat /proc/{}/status", booted.property("MainPID")));
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(!line("Uid:").contains("\t0\t"), "{status}");
    assert_eq!((line("Seccomp:").as_str(), line("NoNewPrivs:").as_str()), ("Seccomp:\t2", "NoNewPrivs:\t1"));

    it_is_started_anew_when_it_is_killed_and_when_it_hangs(booted);

    // A reload; then events, for which it starts anew, in the one folder that it may write to.
    let config = booted.fresh.path("etc/echolot/echolot.yml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("per_target: unhealthy", "per_target: all")).unwrap();
    let pid = booted.property("MainPID");
    booted.runs("systemctl reload echolot");
    booted.until(r#"echolot_target_up{group="edge",target="10.64.0.8"} 1"#);
    assert_eq!(booted.property("MainPID"), pid);
    let text = fs::read_to_string(&config).unwrap().replace("#events:", "events:");
    fs::write(&config, &text).unwrap();
    booted.runs("systemctl restart echolot");
    booted.until(r#"echolot_target_up{group="edge",target="10.64.0.8"} 1"#);
    let events = booted.fresh.path("var/lib/private/echolot/events.jsonl");
    let kept = || fs::read_to_string(&events).unwrap_or_default();
    assert!(wait_until(LONG, || kept().contains("10.64.0.8").then_some(())).is_some(), "{}", kept());
    let first = kept();

    // An upgrade starts it anew, with what it had.
    let pid = booted.property("MainPID");
    booted.runs(&format!("dpkg -i {new}"));
    assert_ne!(booted.property("MainPID"), pid);
    booted.until(r#"echolot_targets{group="edge",state="up"} 8"#);
    assert_eq!(active(), is_well());
    assert!(kept().starts_with(&first) && fs::read_to_string(&config).unwrap() == text);

    // Removed it has stopped, and left the interface as it was.
    booted.runs("dpkg -r echolot");
    assert!(booted.property("ActiveState") != "active" && !booted.is_attached());
    assert!(kept().starts_with(&first));
    booted.runs("dpkg -P echolot");
    assert!(!events.exists() && !config.exists() && targets.exists());
}
