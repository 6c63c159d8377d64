//! Network namespaces of a test's own, wired as it likes.

use super::place::ONE;
use std::{
    env, fs,
    path::PathBuf,
    process::Command,
    sync::{MutexGuard, PoisonError},
};
use xtask::{command::is_root, lab::guard::Guard};

/// One end of a cable: namespace, interface, address with the length of its prefix.
pub(crate) type End<'a> = (&'a str, &'a str, &'a str);

/// Namespaces and a folder, gone when this is. One at a time, as labs are.
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    spaces: Vec<String>,
    _guard: Guard,
    _one: MutexGuard<'static, ()>,
}

impl Network {
    /// Makes these namespaces. None, and a word about it, without root.
    pub(crate) fn new(what: &str, spaces: impl IntoIterator<Item = String>) -> Option<Self> {
        if !is_root() {
            println!("skipped: needs root");
            return None;
        }
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("el-{what}-{}", std::process::id());
        let folder = env::temp_dir().join(&name);
        let spaces: Vec<String> = spaces.into_iter().collect();
        let names: Vec<String> = spaces.iter().map(|space| format!("{name}-{space}")).collect();
        let guard = Guard::over(&names, &folder).unwrap();
        let network = Self { name, folder, spaces, _guard: guard, _one: one };
        for space in &names {
            network.sh(&format!("ip netns add {space}; ip -n {space} link set lo up"));
        }
        Some(network)
    }

    /// A namespace's whole name.
    pub(crate) fn space(&self, space: &str) -> String {
        format!("{}-{space}", self.name)
    }

    /// A script in which a variable of each namespace's name, `_` for `-`, says its whole name.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) {
        let mut command = Command::new("sh");
        command.args(["-ec", script]);
        command.envs(self.spaces.iter().map(|space| (space.replace('-', "_"), self.space(space))));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Joins two ends, and waits until both have a carrier.
    #[track_caller]
    pub(crate) fn cable(&self, a: End, b: End) {
        let [space_a, space_b] = [a, b].map(|(space, ..)| self.space(space));
        self.sh(&format!("ip link add name {} netns {space_a} type veth peer name {} netns {space_b}", a.1, b.1));
        for (space, (_, interface, address)) in [(&space_a, a), (&space_b, b)] {
            self.sh(&format!(
                "ip -n {space} address add {address} dev {interface}; ip -n {space} link set {interface} up"
            ));
        }
        for (space, (_, interface, _)) in [(&space_a, a), (&space_b, b)] {
            self.sh(&format!(
                "for try in $(seq 600); do ip -n {space} -o link show dev {interface} | grep -q ' state UP ' && exit; sleep 0.05; done; exit 1"
            ));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
