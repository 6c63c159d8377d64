//! The pages of docs/tasks, followed word by word.
//!
//! A block that is marked `sh` is what a person types. One that goes on (see [`GOES_ON`]) has a terminal of its own until the page ends;
//! all others have to end well. The block without a mark that follows shows what is printed, `…` being anything: each of its lines has
//! to be there, in this order. What a person looks at again until it is there (see [`LOOKED_AT`]) is looked at again here.
//!
//! ```text
//!   near: eth0 192.0.2.10 ── eth0 192.0.2.1, far: 10.64.0.0/12 ── 203.0.113.2, beyond: 198.51.100.0/24 but for .250
//! ```

use super::{network::Network, place::ECHOLOT};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};
use xtask::command::{send_signal, wait_until};

/// What goes on until it is ended.
const GOES_ON: [&str; 4] = ["echolot run ", "echolot reflect ", "prometheus ", "prometheus-alertmanager "];
/// What is looked at again while it doesn't say yet what it will: the last, as its page says, where the machine did not keep up.
const LOOKED_AT: [&str; 5] =
    ["curl ", "promtool query ", "amtool alert ", "grep ", "echolot sweep 10.64.0.0/12 --shard "];
/// An alert waits for a minute by itself.
const WITHIN: Duration = Duration::from_secs(240);
/// Where the package has its rules, which is not this machine's business.
const SHARE: (&str, &str) = ("/usr/share/echolot", concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples"));

/// A network for a page, and a folder in which it is followed.
struct World {
    network: Network,
    running: Vec<(String, Child, PathBuf)>,
}

impl World {
    /// None, and a word about it, without root.
    fn new(what: &str) -> Option<Self> {
        let network = Network::new(&format!("page-{what}"), ["near", "far", "beyond"].map(str::to_owned))?;
        let folder = network.folder.join("bin");
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(ECHOLOT, folder.join("echolot")).unwrap();
        network.cable(("near", "eth0", "192.0.2.10/24"), ("far", "eth0", "192.0.2.1/24"));
        network.cable(("far", "lan0", "203.0.113.1/30"), ("beyond", "eth0", "203.0.113.2/30"));
        network.sh("ip -n $near route add default via 192.0.2.1
             ip -n $far route add local 10.64.0.0/12 dev lo
             ip -n $far route add 198.51.100.0/24 via 203.0.113.2
             ip -n $beyond route add default via 203.0.113.1
             ip -n $beyond route add local 198.51.100.0/24 dev lo
             ip -n $beyond route add blackhole 198.51.100.250 table local
             for space in $far $beyond; do
                 ip netns exec $space sh -c 'cd /proc/sys/net/ipv4; echo 1 >ip_forward; echo 0 >icmp_ratemask'
             done");
        Some(Self { network, running: Vec::new() })
    }

    /// What somebody types at one end.
    fn typed(&self, end: &str, block: &str) -> Command {
        let path = format!("{}:{}", self.network.folder.join("bin").display(), env::var("PATH").unwrap_or_default());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.network.space(end), "bash", "-ec", block]);
        command.current_dir(&self.network.folder).env("PATH", path).stdin(Stdio::null());
        command
    }

    fn follow(&mut self, page: &str) {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tasks").join(page)).unwrap();
        let mut followed = 0;
        let mut steps = steps(&text).into_iter().peekable();
        while let Some(step) = steps.next() {
            match step {
                Step::Happens(what) => {
                    assert_eq!(what, "what is behind the router 192.0.2.1 falls silent");
                    self.network.sh("ip -n $beyond route del local 198.51.100.0/24 dev lo; ip -n $beyond route add blackhole 198.51.100.0/24");
                }
                Step::Shown(shown) => panic!("{page}: nobody prints this:\n{shown}"),
                Step::Typed(block) => {
                    followed += 1;
                    let shown = match steps.peek() {
                        Some(Step::Shown(shown)) => Some(shown.clone()),
                        _ => None,
                    };
                    if shown.is_some() {
                        steps.next();
                    }
                    self.step(page, &block.replace(SHARE.0, SHARE.1), shown.as_deref());
                }
            }
        }
        assert!(followed > 3, "{page}: it has commands");
        self.go_on();
    }

    /// What goes on has not ended by itself; else why, in its own words, and what room is left here, which is a reason that others have.
    fn go_on(&mut self) {
        for (block, child, log) in &mut self.running {
            if let Some(status) = child.try_wait().unwrap() {
                let room = Command::new("df").args(["--output=avail,iavail,target"]).arg(&self.network.folder).output();
                let room = room.map(|room| String::from_utf8_lossy(&room.stdout).into_owned()).unwrap_or_default();
                let said = fs::read_to_string(log).unwrap_or_default();
                panic!("{block}: it ended by itself: {status}\n{said}\n{room}");
            }
        }
    }

    fn step(&mut self, page: &str, block: &str, shown: Option<&str>) {
        self.go_on();
        if GOES_ON.iter().any(|command| block.starts_with(command)) {
            assert_eq!(block.lines().count(), 1, "{page}: {block}: it has a block of its own");
            let log = self.network.folder.join(format!("log-{}", self.running.len()));
            let end = if block.starts_with("echolot reflect ") { "far" } else { "near" };
            let mut command = self.typed(end, &format!("exec {block}"));
            let file = fs::File::create(&log).unwrap();
            let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
            self.running.push((block.to_owned(), child, log.clone()));
            if end == "far" {
                // It says so.
                let ready = || fs::read_to_string(&log).unwrap().contains("ready").then_some(());
                assert!(wait_until(WITHIN, ready).is_some(), "{block}: {}", fs::read_to_string(&log).unwrap());
            }
            return;
        }
        let run = |world: &Self| world.typed("near", block).output().unwrap();
        let told = |output: &Output| {
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
        };
        let good = |output: &Output| output.status.success() && shown.is_none_or(|shown| prints(&told(output), shown));
        let mut last = run(self);
        if LOOKED_AT.iter().any(|command| block.starts_with(command)) && !good(&last) {
            wait_until(WITHIN, || {
                // Nobody waits for what can't come any more.
                self.go_on();
                last = run(self);
                good(&last).then_some(())
            });
        }
        let logs = || -> String {
            let tail = |path: &PathBuf| {
                let text = fs::read_to_string(path).unwrap_or_default();
                text.lines().rev().take(15).map(|line| format!("  {line}\n")).collect::<String>()
            };
            self.running.iter().map(|(block, _, log)| format!("{block}, newest first:\n{}", tail(log))).collect()
        };
        assert!(
            good(&last),
            "{page}:\n{block}\n{}, printed\n{}\nand not\n{}\n{}",
            last.status,
            told(&last),
            shown.unwrap_or("-"),
            logs()
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (_, child, _) in &mut self.running {
            send_signal("TERM", child.id());
        }
        for (_, child, _) in &mut self.running {
            if wait_until(Duration::from_secs(20), || child.try_wait().ok().flatten()).is_none() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

enum Step {
    Typed(String),
    Shown(String),
    Happens(String),
}

/// A page's blocks, and its comments: what happens meanwhile.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(mark) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            match mark {
                "sh" => steps.push(Step::Typed(block.join("\n"))),
                "" => steps.push(Step::Shown(block.join("\n"))),
                // What others have.
                "yaml" => {}
                _ => panic!("{mark}: a block that this test knows nothing of"),
            }
        } else if let Some(what) = line.strip_prefix("<!-- ") {
            steps.push(Step::Happens(what.strip_suffix(" -->").unwrap().to_owned()));
        }
    }
    steps
}

/// Whether each line that is shown is among those that were printed, in this order.
fn prints(printed: &str, shown: &str) -> bool {
    let mut printed = printed.lines();
    shown.lines().all(|shown| printed.any(|line| is_like(line, shown)))
}

/// Whether a line is the one shown, in which `…` is anything.
fn is_like(line: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.trim_end().strip_prefix(first.trim_end_matches('\n')))
    else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn lines_are_compared_but_for_what_differs_each_time() {
    for (line, shown, expected) in [
        ("a 1 b", "a 1 b", true),
        ("a 1 b", "a … b", true),
        ("a 1 b", "a …", true),
        ("a 1 b", "…1…", true),
        ("a 1 b", "a 2 b", false),
        ("a 1 b c", "a 1 b", false),
        ("a 1 b", "b …", false),
        ("a 1", "a 1 … 1", false),
    ] {
        assert_eq!(is_like(line, shown), expected, "{line} | {shown}");
    }
    assert!(prints("x\na\ny\nb", "a\nb") && !prints("b\na", "a\nb"));
}

fn follow(what: &str, page: &str) {
    if let Some(mut world) = World::new(what) {
        world.follow(page);
    }
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_thousand_hosts_are_watched() {
    follow("watch", "watch-a-thousand-hosts.md");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn smokeping_prober_is_replaced() {
    follow("smoke", "replace-smokeping-prober.md");
}

#[test]
#[ignore = "needs root, and takes minutes: make test-long runs it"]
fn takes_minutes_somebody_is_woken() {
    follow("wake", "wake-somebody.md");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn it_is_found_where_a_path_breaks() {
    follow("path", "find-where-a-path-breaks.md");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn a_network_is_benchmarked() {
    follow("bench", "benchmark-a-network.md");
}

#[test]
fn every_page_of_a_task_is_listed_and_followed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tasks");
    let list = fs::read_to_string(folder.join("README.md")).unwrap();
    let source = include_str!("pages.rs");
    let mut pages = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "README.md" {
            assert!(list.contains(&format!("]({name})")) && source.contains(&format!(", \"{name}\")")), "{name}");
            pages += 1;
        }
    }
    assert_eq!(pages, 5);
}
