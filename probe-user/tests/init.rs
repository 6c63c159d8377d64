//! `echolot init` on hosts of several kinds, each a network namespace: `echolot check` takes what it wrote, and nothing is overwritten.
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use echolot::config;
use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output},
};
use xtask::{command::is_root, lab::guard::Guard};

const ECHOLOT: &str = env!("CARGO_BIN_EXE_echolot");

/// A host, and beside it what its cables end in; both gone when this is.
struct Host {
    near: String,
    folder: PathBuf,
    _guard: Guard,
}

impl Host {
    /// None, and a word about it, without root. `script` makes its network: `ip` with `$near` and `$far`.
    fn new(what: &str, script: &str) -> Option<Self> {
        if !is_root() {
            println!("skipped: needs root");
            return None;
        }
        let name = format!("el-init-{what}-{}", std::process::id());
        let (near, far, folder) = (format!("{name}-near"), format!("{name}-far"), env::temp_dir().join(&name));
        let _guard = Guard::over(&[near.clone(), far.clone()], &folder).unwrap();
        fs::create_dir_all(&folder).unwrap();
        let script = format!(
            "for space in $near $far; do ip netns add $space; ip -n $space link set lo up; done\n\
             cable() {{ ip link add name $1 netns $near type veth peer name far-$1 netns $far; ip -n $near link set $1 up; ip -n $far link set far-$1 up; }}\n\
             has() {{ ip -n $near address add $2 dev $1 $3; }}\n\
             carries() {{ until ip -n $near -o link show dev $1 | grep -q ' state UP '; do :; done; }}\n{script}"
        );
        let made =
            Command::new("timeout").args(["60", "sh", "-exc", &script]).env("near", &near).env("far", &far).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(Self { near, folder, _guard })
    }

    /// echolot there, in its folder.
    fn echolot(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.near, ECHOLOT]).args(arguments).current_dir(&self.folder);
        command.output().unwrap()
    }

    /// Writes a configuration, which `check` takes; its text.
    #[track_caller]
    fn init(&self, file: &str, more: &[&str]) -> String {
        let written = self.echolot(&[&["init", "-o", file], more].concat());
        let said = String::from_utf8_lossy(&written.stderr);
        assert!(written.status.success() && said.contains(&format!("echolot check {file}")), "{written:?}");
        let checked = self.echolot(&["check", file]);
        let text = fs::read_to_string(self.folder.join(file)).unwrap();
        assert!(checked.status.success(), "{}\n{text}", String::from_utf8_lossy(&checked.stderr));
        // On standard output it is the same.
        assert_eq!(String::from_utf8(self.echolot(&[&["init"], more].concat()).stdout).unwrap(), text);
        text
    }

    fn config(&self, file: &str) -> config::Config {
        config::load(&self.folder.join(file)).unwrap()
    }
}

/// The lines about an interface.
fn about<'a>(text: &'a str, interface: &str) -> &'a str {
    let found = text.lines().find(|line| line.starts_with(&format!("#   {interface}: ")));
    found.unwrap_or_else(|| panic!("nothing about {interface} in\n{text}"))
}

#[test]
#[ignore = "needs root: make test runs it"]
fn of_several_interfaces_the_one_of_the_default_route_is_named() {
    let script = "cable ea; cable eb; ip link add name ec netns $near type veth peer name far-ec netns $far\n\
                  ip link add name ebr netns $near type bridge; ip -n $near link set ebr up\n\
                  has ea 10.1.0.1/24; has ea 192.0.2.9/24; has eb 10.2.0.1/16; has eb fd00:2::1/64 nodad; has ebr 10.3.0.1/24\n\
                  ip -n $near route add default via 10.2.0.254; ip -n $near route add default via 10.1.0.254 metric 50000\n\
                  ip -n $near -6 route add default via fd00:2::254; carries ea; carries eb";
    let Some(host) = Host::new("several", script) else { return };
    let text = host.init("echolot.yml", &[]);
    let config = host.config("echolot.yml");
    assert_eq!(config.interface.as_deref(), Some("eb"), "{text}");
    let targets: Vec<String> = config.plan().unwrap().targets.iter().map(|target| format!("{target:?}")).collect();
    assert_eq!(targets.len(), 2, "{targets:?}\n{text}");
    assert!(text.contains("targets: [10.2.0.254, fd00:2::254]"), "{text}");
    assert!(about(&text, "eb").contains("10.2.0.1/16, fd00:2::1/64"), "{text}");
    assert!(
        about(&text, "eb").contains("the default route, by 10.2.0.254; the default route, by fd00:2::254"),
        "{text}"
    );
    assert!(!about(&text, "ea").contains("not to be used") && !about(&text, "ea").contains("default"), "{text}");
    assert!(about(&text, "ec").contains("not to be used: ec is down"), "{text}");
    assert!(about(&text, "ebr").contains("not to be used: ebr is a bridge"), "{text}");
    assert!(text.contains("On the network of 10.2.0.1/16 there may be more than"), "{text}");
    // With targets of one's own, and another interface.
    let text = host.init("own.yml", &["-I", "ea", "10.1.0.7", "198.51.100.0/24", "host.example"]);
    assert_eq!(host.config("own.yml").interface.as_deref(), Some("ea"), "{text}");
    assert_eq!(host.config("own.yml").plan().unwrap().targets.len(), 258, "{text}");

    // What is there stays, and what is wrong with an argument is told before anything is written.
    for (arguments, words) in [
        (vec!["init", "-o", "echolot.yml"], "it is there already"),
        (vec!["init", "-o", "new.yml", "-I", "ec"], "ec is down"),
        (vec!["init", "-o", "new.yml", "-I", "d"], "d: no such interface. This host has: "),
        (vec!["init", "-o", "new.yml", "224.0.0.1"], "multicast"),
        (vec!["init", "-o", "new.yml", "not a name"], "not a name"),
        (vec!["init", "-o", "nowhere/new.yml"], "its folder is not there"),
    ] {
        let refused = host.echolot(&arguments);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains(words), "{arguments:?}: {refused:?}");
    }
    assert!(!host.folder.join("new.yml").exists());
    assert!(fs::read_to_string(host.folder.join("own.yml")).unwrap() == text);
}

#[test]
#[ignore = "needs root: make test runs it"]
fn without_a_default_route_it_is_left_to_the_targets() {
    let script = "cable ea; cable eb; has ea 10.1.0.1/24; has eb 10.2.0.1/24; carries ea; carries eb\n\
                  ip -n $near route add 198.51.100.0/24 via 10.1.0.254";
    let Some(host) = Host::new("none", script) else { return };
    let text = host.init("echolot.yml", &[]);
    let config = host.config("echolot.yml");
    assert_eq!((config.interface, config.groups.len()), (None, 1), "{text}");
    assert!(text.contains("\n#interface: eth0\n"), "{text}");
    for interface in ["ea", "eb"] {
        assert!(!about(&text, interface).contains("not to be used"), "{text}");
    }
    host.init("named.yml", &["-I", "eb"]);
    assert_eq!(host.config("named.yml").interface.as_deref(), Some("eb"));
}

#[test]
#[ignore = "needs root: make test runs it"]
fn on_a_host_of_ipv6_alone_the_router_is_the_one_of_its_link() {
    let script =
        "cable ea; has ea fd00:1::1/64 nodad; carries ea\nip -n $near -6 route add default via fe80::fe dev ea";
    let Some(host) = Host::new("v6", script) else { return };
    let text = host.init("echolot.yml", &["2001:db8::7"]);
    let config = host.config("echolot.yml");
    assert_eq!(config.interface.as_deref(), Some("ea"), "{text}");
    assert_eq!(config.plan().unwrap().targets.len(), 2, "{text}");
    assert!(text.contains("targets: [\"fe80::fe%ea\"]"), "{text}");
}
