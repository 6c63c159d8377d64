//! The lab brought up for real: needs root, and touches only namespaces of its own names.

#![expect(clippy::unwrap_used, reason = "a test that meets none fails")]

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use xtask::command::is_root;
use xtask::lab::{Answer, FAR_INTERFACE, Lab, NEAR_INTERFACE};

/// A name that no other test run uses at the same time; `None` (and a word about it) without root.
fn name(what: &str) -> Option<String> {
    if !is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    Some(format!("el-xtask-{what}-{}", std::process::id()))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn exists(name: &str) -> bool {
    let left = |path: &str| Path::new(path).exists();
    left(&format!("/run/netns/{name}-near")) || left(&format!("/run/netns/{name}-far")) || left(&state(name))
}

fn state(name: &str) -> String {
    format!("/run/echolot-lab/{name}")
}

fn answers(lab: &Lab, address: &str) -> bool {
    let mut ping = lab.near("ping");
    ping.args(["-n", "-c", "1", "-W", "1", address]).output().unwrap().status.success()
}

#[test]
#[ignore = "needs root: make test runs it"]
fn far_answers_through_the_route_and_nothing_leads_out() {
    let Some(name) = name("up") else { return };
    let mut lab = Lab::up(&name, &Answer::Kernel).unwrap();

    for address in ["10.64.0.0", "10.71.3.4", "10.79.255.255"] {
        assert!(answers(&lab, address), "{address} does not answer");
    }
    let routes = text(&lab.near("ip").args(["-4", "route"]).output().unwrap());
    assert_eq!(routes.lines().count(), 2, "{routes}");
    assert!(!routes.contains("default"), "{routes}");
    assert!(!lab.near("ip").args(["route", "get", "192.0.2.1"]).output().unwrap().status.success());
    for (mut ls, interface) in [(lab.near("ls"), NEAR_INTERFACE), (lab.far("ls"), FAR_INTERFACE)] {
        let queues = text(&ls.arg(format!("/sys/class/net/{interface}/queues")).output().unwrap());
        assert_eq!(queues.split_whitespace().collect::<Vec<_>>(), ["rx-0", "rx-1", "tx-0", "tx-1"], "{interface}");
    }

    lab.answer(&Answer::Silent).unwrap();
    assert!(!answers(&lab, "10.64.0.1"), "the silent far end answered");
    lab.answer(&Answer::Kernel).unwrap();
    assert!(answers(&lab, "10.64.0.1"), "the far end did not find its voice again");

    lab.down().unwrap();
    assert!(!exists(&name));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_flood_of_echo_requests_is_answered_in_full() {
    let Some(name) = name("flood") else { return };
    let lab = Lab::up(&name, &Answer::Kernel).unwrap();
    let output = lab.near("ping").args(["-n", "-f", "-q", "-c", "20000", "10.70.0.1"]).output().unwrap();
    assert!(text(&output).contains("20000 received"), "{}", text(&output));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn goes_after_a_panic_with_what_runs_in_it() {
    let Some(name) = name("panic") else { return };
    let mut children = Vec::new();
    let caught = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::up(&name, &Answer::Kernel).unwrap();
        // One that ignores the polite signal, so that it has to be killed, and one that doesn't.
        children.push(lab.far("sh").args(["-c", "trap '' TERM; sleep 600"]).spawn().unwrap());
        children.push(lab.near("sleep").arg("600").spawn().unwrap());
        assert!(exists(&name));
        panic!("on purpose");
    }));
    assert!(caught.is_err());
    assert!(!exists(&name));
    for mut child in children {
        assert!(!child.wait().unwrap().success(), "it ended by itself");
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn leftovers_of_the_same_name_are_removed() {
    let Some(name) = name("left") else { return };
    assert!(Command::new("ip").args(["netns", "add", &format!("{name}-far")]).status().unwrap().success());
    let lab = Lab::up(&name, &Answer::Kernel).unwrap();
    assert!(answers(&lab, "10.64.1.1"));
    drop(lab);
    assert!(!exists(&name));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn the_command_line_and_a_killed_parent() {
    let Some(name) = name("cli") else { return };
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("lab").args(arguments).args(["--name", &name]).output().unwrap()
    };
    // The guard of this lab takes the other one's place if an assertion fails.
    struct Down<'a>(&'a dyn Fn(&[&str]) -> Output);
    impl Drop for Down<'_> {
        fn drop(&mut self) {
            (self.0)(&["down"]);
        }
    }
    let down = Down(&run);

    assert!(text(&run(&["status"])).contains("is down"));
    assert!(!run(&["exec", "--name", &name, "--", "true"]).status.success());
    assert!(text(&run(&["up"])).contains("is up: 10.64.0.0/12"));
    assert!(text(&run(&["up"])).contains("is up already"));
    let mut ping = Command::new(env!("CARGO_BIN_EXE_xtask"));
    ping.args(["lab", "exec", "--name", &name, "--", "ping", "-n", "-c", "1", "-W", "1", "10.64.9.9"]);
    assert!(ping.output().unwrap().status.success());
    assert!(text(&run(&["answer", "silent"])).contains("silent answers"));
    assert!(text(&run(&["status"])).contains("silent answers"));
    let refused = run(&["answer", "reflector", "--reflector", "/nonexistent"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Is it built?"));
    drop(down);
    assert!(!exists(&name));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn goes_when_its_owner_is_killed() {
    let Some(name) = name("kill") else { return };
    // This very test, run by a process that is killed in the middle of it.
    if let Ok(name) = std::env::var("ECHOLOT_TEST_LAB") {
        let _lab = Lab::up(&name, &Answer::Kernel).unwrap();
        loop {
            std::thread::park();
        }
    }
    let mut owner = Command::new(std::env::current_exe().unwrap());
    owner.args(["--include-ignored", "--exact", "goes_when_its_owner_is_killed"]).env("ECHOLOT_TEST_LAB", &name);
    let mut owner = owner.stdout(Stdio::null()).spawn().unwrap();
    wait_for(|| Path::new(&state(&name)).join("answer").exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_for(|| !exists(&name));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_reflector_is_awaited_and_stopped() {
    let Some(name) = name("reflector") else { return };
    let folder = std::env::temp_dir().join(&name);
    std::fs::create_dir_all(&folder).unwrap();
    // What the lab asks of a reflector: it is called so, says "ready" on stderr, and ends when told to.
    let script = |file: &str, body: &str| {
        let path = folder.join(file);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(&path).status().unwrap().success());
        path
    };
    let good = script("good", r#"[ "$*" = "reflect -I far0" ] || exit 9; echo "far0: Ready" >&2; exec sleep 600"#);
    let bad = script("bad", "echo no such luck >&2; exit 2");

    let mut lab = Lab::up(&name, &Answer::Reflector(good)).unwrap();
    assert_eq!(lab.name().processes(xtask::lab::End::Far).len(), 1);
    assert!(!answers(&lab, "10.64.0.1"), "the kernel answered beside the reflector");
    lab.answer(&Answer::Kernel).unwrap();
    assert_eq!(lab.name().processes(xtask::lab::End::Far), []);
    assert!(answers(&lab, "10.64.0.1"));
    let told = lab.answer(&Answer::Reflector(bad)).unwrap_err();
    assert!(told.contains("ended at once") && told.contains("no such luck"), "{told}");
    drop(lab);
    assert!(!exists(&name));
    std::fs::remove_dir_all(&folder).unwrap();
}

fn wait_for(condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "waited 20 s in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}
