//! `echolot run` with paths kept: what it tells of a path that changes, and of one that ends.

use crate::{
    balance::Balance,
    chain::{Chain, FAMILIES, Node, Plan, host_behind, link_address},
    tools::SOON,
};
use echolot::base::Family;
use serde_json::Value;
use std::{
    fs,
    net::IpAddr,
    path::PathBuf,
    process::{Child, Stdio},
};
use xtask::command::{send_signal, wait_until};

/// One that runs, with the files that it reads and writes. It ends with the test.
struct Running<'a> {
    chain: &'a Chain,
    child: Child,
    folder: PathBuf,
}

impl<'a> Running<'a> {
    /// All targets in a group whose paths are kept; `probe` is what is sent.
    fn begin(chain: &'a Chain, probe: &str, flows: u16) -> Self {
        let folder = std::env::temp_dir().join(chain.namespace(Node::Near));
        fs::create_dir_all(&folder).unwrap();
        write_config(&folder, probe, &FAMILIES.map(|family| chain.target(family)), flows);
        let mut command = chain.command(Node::Near, env!("CARGO_BIN_EXE_echolot"));
        command.args(["run", "-f", "none", "--progress-interval", "0", "-c"]).arg(folder.join("run.yml"));
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { chain, child, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn metric(&mut self, line: &str) -> Option<u64> {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("it ended by itself ({status}): {}", self.log());
        }
        let url = "http://127.0.0.1:10816/metrics";
        let got = self.chain.command(Node::Near, "curl").args(["-sf", "--max-time", "10", url]).output().unwrap();
        let text = String::from_utf8(got.stdout).unwrap();
        text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
    }

    /// Waits for what a metric is to be.
    #[track_caller]
    fn wait_for(&mut self, line: &str, is: impl Fn(u64) -> bool) -> u64 {
        let found = wait_until(SOON, || self.metric(line).filter(|n| is(*n)));
        found.unwrap_or_else(|| panic!("{line} is {:?}\n{}", self.metric(line), self.log()))
    }

    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("events.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for an event of this kind about a target.
    #[track_caller]
    fn event(&self, target: IpAddr, is: impl Fn(&Value) -> bool) -> Value {
        let target = Value::from(target.to_string());
        let found = || self.events().into_iter().find(|event| event["target"] == target && is(event));
        wait_until(SOON, found).unwrap_or_else(|| panic!("{target}: {:#?}\n{}", self.events(), self.log()))
    }
}

fn write_config(folder: &std::path::Path, probe: &str, targets: &[IpAddr], flows: u16) {
    let targets: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
    let config = format!(
        "listen: 127.0.0.1:10816\nevents: events.jsonl\nglobal: {{interval: 50ms, timeout: 300ms, down_after: 3}}\n\
         groups:\n- {{name: far, probe: \"{probe}\", targets: [{}], path: {{interval: 1s, flows: {flows}}}}}\n",
        targets.join(", ")
    );
    fs::write(folder.join("run.yml"), config).unwrap();
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

/// The addresses of a way in an event.
fn way(event: &Value, which: &str) -> Vec<String> {
    let hops = event[which].as_array().unwrap();
    hops.iter().map(|hop| hop["address"].as_str().unwrap().to_owned()).collect()
}

/// Rerouted, then cut: the first is an event with both paths, the second says behind whom it broke.
fn is_told(probe: &str) {
    let what = format!("followed-{}", probe.split(':').next().unwrap());
    let Some(chain) = Plan::of(7).branches(4..=5, Balance::Flows).up(&what) else { return };
    chain.take_branch(0);
    let mut running = Running::begin(&chain, probe, 1);
    for family in FAMILIES {
        let target = chain.target(family);
        running.wait_for(&format!("echolot_path_hops{{group=\"far\",target=\"{target}\"}}"), |hops| hops == 8);
    }
    running.wait_for("echolot_targets{group=\"far\",state=\"up\"}", |up| up == 2);
    assert_eq!(running.metric("echolot_path_changes_total{group=\"far\"}"), Some(0));
    // A link between is no target of anybody: what was sent to find it is not among the group's probes.
    assert_eq!(running.metric("echolot_probes_settled_total{group=\"far\",outcome=\"unreachable\"}"), Some(0));

    chain.take_branch(1);
    for family in FAMILIES {
        let changed = running.event(chain.target(family), |event| event["event"] == "path_changed");
        for hop in [4, 5] {
            let [before, now] = [0, 1].map(|branch| link_address(family, branch, hop, 1).to_string());
            assert!(way(&changed, "old").contains(&before), "{changed}");
            assert!(way(&changed, "new").contains(&now), "{changed}");
        }
        assert_eq!(changed["ttl"], 4, "{changed}");
    }
    running.wait_for("echolot_path_changes_total{group=\"far\"}", |changes| changes >= 2);

    chain.cut(7);
    for family in FAMILIES {
        let down = running.event(chain.target(family), |event| event["event"] == "state" && event["to"] == "down");
        let last = &down["last_hop"];
        assert_eq!((&last["ttl"], &down["reached"], &down["hops"]), (&6.into(), &false.into(), &8.into()), "{down}");
        let before_the_cut: Vec<String> = match family {
            // Where branches join it answers over IPv6 by the address that the packet came to.
            Family::V6 => (0..2).map(|branch| link_address(family, branch, 6, 1).to_string()).collect(),
            Family::V4 => vec![link_address(family, 0, 6, 1).to_string()],
        };
        let address = last["address"].as_str().unwrap().to_owned();
        assert!(before_the_cut.contains(&address), "{down}");
        assert!(
            running.log().contains(&format!("the last hop that answers is {address}, 6 of 8")),
            "{}",
            running.log()
        );
    }

    send_signal("TERM", running.child.id());
    let status = wait_until(SOON, || running.child.try_wait().unwrap()).unwrap();
    assert!(status.success(), "{status}: {}", running.log());
}

#[test]
#[ignore = "needs root: make test runs it"]
fn echo_is_told_where_its_path_changed_and_where_it_broke() {
    is_told("icmp");
}

#[test]
#[ignore = "needs root: make test runs it"]
fn connections_are_told_where_their_path_changed_and_where_it_broke() {
    is_told("tcp:443");
}

/// Another router takes over, with an address and a MAC address of its own: probes that find paths leave by it too.
#[test]
#[ignore = "needs root: make test runs it"]
fn paths_are_found_by_a_gateway_that_came_later() {
    let Some(chain) = Plan::of(4).branches(2..=2, Balance::Flows).up("followed-gateway") else { return };
    chain.take_branch(0);
    let mut running = Running::begin(&chain, "icmp", 1);
    for family in FAMILIES {
        let target = chain.target(family);
        running.wait_for(&format!("echolot_path_hops{{group=\"far\",target=\"{target}\"}}"), |hops| hops == 5);
    }
    let router = Node::Router(1, 0);
    for (gateway, flag) in [("10.96.201.1", "-4"), ("fd00:96:0:201::1", "-6")] {
        let whole = if flag == "-4" { "32" } else { "128 nodad" };
        chain.ip(router, &format!("{flag} address add {gateway}/{whole} dev in0"));
        chain.ip(Node::Near, &format!("{flag} route replace default via {gateway} dev near0 onlink"));
    }
    chain.ip(router, "link set in0 address 02:00:00:00:96:01");
    // The old one is there no more: whoever still asks for it hears nothing.
    for (old, flag) in [("10.96.1.1", "-4"), ("fd00:96:0:1::1", "-6")] {
        chain.ip(router, &format!("{flag} address del {old}/{} dev in0", if flag == "-4" { "31" } else { "127" }));
        let near = if flag == "-4" { "10.96.1.0/32" } else { "fd00:96:0:1::/128" };
        chain.ip(router, &format!("{flag} route replace {near} dev in0"));
    }
    // What was on its way by the old one may be missed; then all are up, and found.
    running.wait_for("echolot_targets{group=\"far\",state=\"up\"}", |up| up == 2);
    chain.take_branch(1);
    for family in FAMILIES {
        let now = link_address(family, 1, 2, 1).to_string();
        running
            .event(chain.target(family), |event| event["event"] == "path_changed" && way(event, "new").contains(&now));
    }
}

/// Who goes takes his path along, who stays keeps it, and who comes is probed: that his path is kept takes a restart, and is said.
#[test]
#[ignore = "needs root: make test runs it"]
fn targets_change_where_paths_are_kept() {
    let Some(chain) = Plan::of(4).up("followed-reload") else { return };
    let mut running = Running::begin(&chain, "icmp", 1);
    let [goes, stays] = FAMILIES.map(|family| chain.target(family));
    let comes = host_behind(Family::V4, chain.length(), 2);
    let hops_of = |target: IpAddr| format!("echolot_path_hops{{group=\"far\",target=\"{target}\"}}");
    for target in [goes, stays] {
        running.wait_for(&hops_of(target), |hops| hops == 5);
    }
    write_config(&running.folder, "icmp", &[stays, comes], 1);
    send_signal("HUP", running.child.id());
    running.wait_for("echolot_config_last_reload_successful", |is_so| is_so == 1);
    wait_until(SOON, || running.log().contains("1 new, 1 given up").then_some(())).expect("it is reloaded");
    assert!(running.log().contains("the paths to 1 target that came are kept after a restart"), "{}", running.log());
    running.wait_for("echolot_targets{group=\"far\",state=\"up\"}", |up| up == 2);
    assert_eq!([goes, stays, comes].map(|target| running.metric(&hops_of(target))), [None, Some(5), None]);
    chain.cut(3);
    let down = |event: &Value| event["event"] == "state" && event["to"] == "down";
    assert_eq!(running.event(stays, down)["last_hop"]["ttl"], 2);
    assert!(running.event(comes, down)["last_hop"].is_null());
    // How paths are kept is another thing.
    write_config(&running.folder, "icmp", &[stays, comes], 2);
    send_signal("HUP", running.child.id());
    let refused = "how the paths to the targets of group `far` are kept (`path`) is laid at the start";
    wait_until(SOON, || running.log().contains(refused).then_some(())).expect("it is refused");
}
