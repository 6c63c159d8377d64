//! A service manager: what it is told by whoever runs under it, and what not. It is a socket of the test's own.

use super::place::{LISTEN, LONG, Place, Running, reflector, sum_of};
use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use xtask::command::{send_signal, wait_until};

/// Half of it is how often it is told that all is well.
const WATCHDOG: Duration = Duration::from_secs(2);
/// A loop that has not gone on for so long stands (docs/operating.md).
const STANDS: Duration = Duration::from_secs(10);

/// What systemd is to its services.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    heard: Vec<(Instant, String)>,
}

impl Manager {
    fn new(place: &Place) -> Self {
        let path = place.folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, path, heard: Vec::new() }
    }

    /// Starts it as a service.
    fn start<'a>(&self, place: &Place, arguments: impl IntoIterator<Item = &'a str>) -> Running {
        let mut command = place.echolot(arguments);
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        place.start(&mut command)
    }

    fn listen(&mut self) {
        let mut datagram = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            self.heard.push((Instant::now(), String::from_utf8(datagram[..length].to_vec()).unwrap()));
        }
    }

    /// Waits until it has been told something of this kind since then.
    #[track_caller]
    fn hears(&mut self, since: Instant, what: &str, running: &Running) -> String {
        let found = wait_until(LONG, || {
            self.listen();
            let is_it =
                |(at, told): &&(Instant, String)| *at >= since && told.lines().any(|line| line.starts_with(what));
            self.heard.iter().find(is_it).map(|(_, told)| told.clone())
        });
        found.unwrap_or_else(|| panic!("not told {what}: {:?}\n{}", self.heard, running.stderr()))
    }

    /// When it was last told that all is well.
    fn pinged(&mut self) -> Instant {
        self.listen();
        self.heard.iter().rfind(|(_, told)| told.contains("WATCHDOG=1")).unwrap().0
    }

    /// What it was told of beside that all is well, and how it fares.
    fn steps(&mut self) -> Vec<&str> {
        self.listen();
        let firsts = self.heard.iter().map(|(_, told)| told.lines().next().unwrap());
        firsts.filter(|line| *line != "WATCHDOG=1" && !line.starts_with("STATUS=")).collect()
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn it_is_told_of_a_start_without_targets_of_probing_of_reloads_and_of_the_end() {
    let Some(place) = Place::new("notified", &reflector()) else { return };
    let mut manager = Manager::new(&place);
    let write = |list: &str, more: &str| {
        let text = format!("listen: {LISTEN}\ngroups:\n- {{name: ops, interval: 1s, target_files: [{list}]}}\n{more}");
        place.file("echolot.yml", &text)
    };
    let config = write("first.json", "");
    let mut running = manager.start(&place, ["run", "-c", config.to_str().unwrap()]);

    // Its sources have no target: that is no failed start, and it is alive.
    let begun = Instant::now();
    assert!(manager.hears(begun, "READY=1", &running).contains("STATUS=Waiting for a source"));
    manager.hears(begun, "WATCHDOG=1", &running);

    // Other sources, before anything was probed.
    write("second.json", "nonsense: 1\n");
    let asked = Instant::now();
    send_signal("HUP", running.child.id());
    manager.hears(asked, "READY=1", &running);
    assert!(running.stderr().contains("not reloaded, all goes on as before"), "{}", running.stderr());
    write("second.json", "");
    let asked = Instant::now();
    send_signal("HUP", running.child.id());
    manager.hears(asked, "READY=1", &running);
    let there = Instant::now();
    place.file("second.json", r#"[{"targets": ["10.64.0.1"]}]"#);
    let told = manager.hears(there, "READY=1", &running);
    assert!(told.contains("STATUS=Probing 1 target"), "{told}");
    assert!(running.child.try_wait().unwrap().is_none());

    // How it fares, and that it is alive.
    manager.hears(there, "STATUS=Probing 1 target, 1 a second; 1 up, 0 down", &running);
    manager.hears(Instant::now(), "WATCHDOG=1", &running);
    let asked = Instant::now();
    let targets = r#"[{"targets": ["10.64.0.1", "10.64.0.2"]}]"#;
    place.file("third.json", targets);
    write("third.json", "");
    send_signal("HUP", running.child.id());
    let told = manager.hears(asked, "RELOADING=1", &running);
    let micros = told.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap().parse::<u64>().unwrap();
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let ago = u64::try_from(now.tv_sec).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec).unwrap() / 1_000 - micros;
    assert!(ago < 60_000_000, "{ago} us ago");
    manager.hears(asked, "READY=1", &running);
    let (_, scrape) = place.get("/metrics").unwrap();
    assert_eq!(sum_of(&scrape, "echolot_targets{state="), 2.0, "by the time that it says so it is in force");

    send_signal("TERM", running.child.id());
    manager.hears(asked, "STOPPING=1", &running);
    assert_eq!(running.end().status.code(), Some(0));
    let reload = ["RELOADING=1", "READY=1"];
    let expected = [&["READY=1"][..], &reload, &reload, &["READY=1"], &reload, &["STOPPING=1"]].concat();
    assert_eq!(manager.steps(), expected);
}

/// By root's control groups, which freeze a single thread as nothing else does.
struct Freezer(PathBuf);

impl Freezer {
    fn new(place: &Place) -> Self {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let unified = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
        let name = place.folder.file_name().unwrap();
        let group = Path::new(unified.split(' ').nth(1).unwrap()).join(name);
        fs::create_dir(&group).unwrap();
        fs::create_dir(group.join("one")).unwrap();
        fs::write(group.join("one/cgroup.type"), "threaded").unwrap();
        Self(group)
    }

    /// Has a process's threads where they can be frozen.
    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    #[track_caller]
    fn freeze(&self, thread: &str) {
        fs::write(self.0.join("one/cgroup.threads"), thread).unwrap();
        fs::write(self.0.join("one/cgroup.freeze"), "1").unwrap();
        let frozen =
            || fs::read_to_string(self.0.join("one/cgroup.events")).unwrap().contains("frozen 1").then_some(());
        assert!(wait_until(LONG, frozen).is_some());
    }

    fn thaw(&self, thread: &str) {
        fs::write(self.0.join("one/cgroup.freeze"), "0").unwrap();
        fs::write(self.0.join("cgroup.threads"), thread).unwrap();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let gone = || fs::read_to_string(self.0.join("cgroup.events")).is_ok_and(|told| told.contains("populated 0"));
        wait_until(LONG, || gone().then_some(()));
        let _ = fs::remove_dir(self.0.join("one"));
        let _ = fs::remove_dir(&self.0);
    }
}

/// The threads of a process that have this name.
fn threads(running: &Running, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", running.child.id())).unwrap();
    let all = tasks.map(|task| task.unwrap().path());
    let of_name = all.filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name));
    of_name.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Its watchdog hears nothing while one of these threads stands, and again when it goes on.
fn stands(what: &str, targets: &str, names: &[&str]) {
    let Some(place) = Place::new(what, &reflector()) else { return };
    let freezer = Freezer::new(&place);
    let mut manager = Manager::new(&place);
    let config = place.config(targets, "");
    let running = manager.start(&place, ["run", "-c", config.to_str().unwrap()]);
    manager.hears(Instant::now(), "WATCHDOG=1", &running);
    freezer.take(running.child.id());
    for name in names {
        let thread = threads(&running, name).pop().unwrap_or_else(|| panic!("no {name}"));
        freezer.freeze(&thread);
        let silent = wait_until(LONG, || (manager.pinged().elapsed() > 3 * WATCHDOG).then_some(()));
        assert!(silent.is_some(), "{name} stands, and its watchdog hears that all is well: {:?}", manager.heard);
        freezer.thaw(&thread);
        manager.hears(Instant::now(), "WATCHDOG=1", &running);
    }
    let told = running.stderr();
    assert_eq!(told.matches(" has not gone on for 1").count(), names.len(), "{told}");
    assert_eq!(running.stop().status.code(), Some(0));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn its_watchdog_hears_nothing_while_the_loop_or_the_control_thread_stands() {
    stands("stands", "10.64.0.1-10.64.0.8", &["loop", "echolot"]);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn its_watchdog_hears_nothing_while_a_sender_or_a_receiver_stands() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return println!("skipped: with one CPU one thread does both");
    }
    stands("stand", "10.64.0.1-10.64.117.48", &["sender", "receiver"]);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn its_watchdog_is_told_while_this_machine_has_no_link() {
    let Some(place) = Place::new("unplugged", &reflector()) else { return };
    let mut manager = Manager::new(&place);
    let config = place.config("10.64.0.1-10.64.0.8", "");
    let running = manager.start(&place, ["run", "-c", config.to_str().unwrap()]);
    manager.hears(Instant::now(), "WATCHDOG=1", &running);
    let down = place.lab.far("ip").args(["link", "set", "far0", "down"]).status().unwrap();
    assert!(down.success());
    let down = Instant::now();
    let told = manager.hears(down, "STATUS=Probing 8 targets,", &running);
    assert!(told.contains("; states are held: link_down"), "{told}");
    let lives = wait_until(LONG, || (manager.pinged() > down + 2 * STANDS).then_some(()));
    assert!(lives.is_some(), "{:?}\n{}", manager.heard, running.stderr());
    assert_eq!(running.stop().status.code(), Some(0));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn it_hears_nothing_of_commands_that_are_no_service() {
    let Some(place) = Place::new("foreign", &reflector()) else { return };
    let mut manager = Manager::new(&place);
    let config = place.config("10.64.0.1", "");
    let config = config.to_str().unwrap();
    for words in ["ping -c 1 10.64.0.1", "sweep 10.64.0.1", "trace 10.64.0.1", "check", "run --dry-run"] {
        let of_file = ["check", "run --dry-run"].contains(&words);
        let more: &[&str] = if words == "check" { &[config] } else { &["-c", config] };
        let more = if of_file { more } else { &[] };
        let ended = manager.start(&place, words.split(' ').chain(more.iter().copied())).end();
        assert_eq!(ended.status.code(), Some(0), "{words}: {ended:?}");
    }
    manager.listen();
    assert!(manager.heard.is_empty(), "{:?}", manager.heard);

    // And a manager that has gone is told of once, and stops nothing.
    fs::remove_file(&manager.path).unwrap();
    let running = manager.start(&place, ["run", "-c", config]);
    let told = || running.stderr().contains("the service manager (NOTIFY_SOCKET) can't be told").then_some(());
    assert!(wait_until(LONG, told).is_some(), "{}", running.stderr());
    let up = wait_until(LONG, || {
        let (_, scrape) = place.get("/metrics").filter(|(status, _)| *status == 200)?;
        (sum_of(&scrape, "echolot_targets{state=\"up\"") == 1.0).then_some(())
    });
    assert!(up.is_some(), "{}", running.stderr());
    assert_eq!(running.stop().status.code(), Some(0));
}
