//! Makes a chain, and takes it down.

use super::{FAMILIES, Link, Node, Plan, balance, behind, host_behind, link_address, own, tools::SOON};
use crate::router::{Counts, End, Router};
use echolot::base::Family;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    net::IpAddr,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};
use xtask::{
    command::wait_until,
    lab::guard::{self, Guard},
};

/// Everybody's kernel settings, by their paths under /proc/sys/net, before there is an interface: nobody is asked for routers,
/// addresses are there at once, and no error is held back.
const SETTINGS: [(&str, &str); 12] = [
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_ratemask", "0"),
    ("ipv4/icmp_msgs_per_sec", "2000000000"),
    ("ipv6/icmp/ratelimit", "0"),
    // A type that there is not: else the limit on all errors together counts.
    ("ipv6/icmp/ratemask", "0"),
    // Sockets of targets may have any address that lies behind a hop.
    ("ipv6/ip_nonlocal_bind", "1"),
];
/// A router's.
const FORWARDING: [(&str, &str); 2] = [("ipv6/conf/all/forwarding", "1"), ("ipv4/ip_forward", "1")];
/// Those of a router that sends 10 errors a second, by what a kernel takes for errors unless told otherwise.
const LIMITING: [(&str, &str); 4] = [
    ("ipv4/icmp_ratelimit", "100"),
    ("ipv4/icmp_ratemask", "6168"),
    ("ipv6/icmp/ratelimit", "100"),
    ("ipv6/icmp/ratemask", "0-1,3-127"),
];

/// What there is of a chain.
pub(crate) struct Built {
    name: String,
    /// First to go: while they are at work their devices are.
    routers: BTreeMap<u8, Router>,
    _guard: Guard,
}

impl Built {
    pub(crate) fn up(name: &str, plan: &Plan) -> Self {
        let in_kernel = |node: &Node| !matches!(node, Node::Router(hop, _) if plan.rules.contains_key(hop));
        let nodes: Vec<Node> = plan.nodes().into_iter().filter(in_kernel).collect();
        let namespaces: Vec<String> = nodes.iter().map(|node| format!("{name}-{node}")).collect();
        let guard = Guard::over(&namespaces, &guard::folder(name)).unwrap();
        let mut built = Self { name: name.to_owned(), routers: BTreeMap::new(), _guard: guard };
        batch("-4", &namespaces.iter().map(|namespace| format!("netns add {namespace}\n")).collect::<String>());
        built.inside(&nodes, |node| settle(plan, node));
        built.link(plan);
        built.inside(&nodes, |node| configure(plan, node));
        if plan.has_names {
            built.ask_names();
        }
        built.wait_for_all(plan);
        built
    }

    pub(crate) fn namespace(&self, node: Node) -> String {
        format!("{}-{node}", self.name)
    }

    fn path(&self, node: Node) -> PathBuf {
        Path::new("/run/netns").join(self.namespace(node))
    }

    pub(crate) fn command(&self, node: Node, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(node), program]).stdin(Stdio::null());
        command
    }

    pub(crate) fn counts(&self, hop: u8) -> Counts {
        self.routers[&hop].counts()
    }

    /// Does this in the namespace of each, one after the other. What it runs is there too, without a program that goes there
    /// first.
    fn inside(&self, nodes: &[Node], each: impl Fn(Node) + Sync) {
        let work = || {
            for node in nodes {
                let namespace = File::open(self.path(*node)).unwrap();
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                each(*node);
            }
        };
        thread::scope(|scope| scope.spawn(work).join().unwrap());
    }

    /// Makes the links: pairs of veth, and where a router is in userspace its devices.
    fn link(&mut self, plan: &Plan) {
        let links = plan.links();
        let in_userspace = |node: Node| matches!(node, Node::Router(hop, _) if plan.rules.contains_key(&hop));
        let mut pairs = String::new();
        for Link { near, far, hop, .. } in &links {
            if in_userspace(near.0) || in_userspace(far.0) {
                continue;
            }
            // Near's card has two queues, as in the lab.
            let queues = if *hop == 1 { "numtxqueues 2 numrxqueues 2" } else { "" };
            let [here, there] = [near, far].map(|(node, interface)| (self.namespace(*node), interface));
            pairs += &format!(
                "link add {} netns {} {queues} type veth peer name {} netns {} {queues}\n",
                here.1, here.0, there.1, there.0
            );
        }
        if plan.has_names {
            let [near, names] = [Node::Near, Node::Names].map(|node| self.namespace(node));
            pairs += &format!("link add dns0 netns {near} type veth peer name in0 netns {names}\n");
        }
        batch("-4", &pairs);
        for (hop, rule) in &plan.rules {
            let before = links.iter().find(|link| link.hop == *hop).unwrap();
            let behind = links.iter().find(|link| link.hop == hop + 1).unwrap();
            let [near, far] = [before.near.clone(), behind.far.clone()];
            let (near_path, far_path) = (self.path(near.0), self.path(far.0));
            let near = End { namespace: &near_path, interface: &near.1 };
            let far = End { namespace: &far_path, interface: &far.1 };
            self.routers.insert(*hop, Router::start(rule.clone(), own(*hop, 0), near, far).unwrap());
        }
    }

    /// What near's programs find in /etc/resolv.conf. It goes with the namespace.
    fn ask_names(&self) {
        let folder = Path::new("/etc/netns").join(self.namespace(Node::Near));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("resolv.conf"), "nameserver 10.95.0.1\n").unwrap();
    }

    /// Waits until everybody answers to near: the kernel takes up to a second to notice that a link is up, and drops what is sent
    /// before.
    fn wait_for_all(&self, plan: &Plan) {
        // Behind a router that refuses nobody answers.
        let last = plan.rules.iter().find(|(_, rule)| rule.refused.is_some()).map_or(plan.routers + 1, |(hop, _)| *hop);
        let links = plan.links();
        for (family, flag) in FAMILIES.into_iter().zip(["-4", "-6"]) {
            let mut hosts: Vec<IpAddr> = links
                .iter()
                // A router that branches join at answers by the first of them.
                .filter(|link| link.hop <= last && (link.branch == 0 || plan.width(link.hop) > 1))
                .map(|link| link_address(family, link.branch, link.hop, 1))
                .collect();
            if plan.has_names {
                hosts.push(names_address(family, 1));
            }
            let hosts: Vec<String> = hosts.iter().map(IpAddr::to_string).collect();
            let mut silent = String::new();
            let all_answer = || {
                let mut fping = self.command(Node::Near, "fping");
                fping.args([flag, "-u", "-r", "0", "-t", "500", "-i", "1"]).args(&hosts);
                let output = fping.output().unwrap();
                silent = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                output.status.success().then_some(())
            };
            wait_until(SOON, all_answer).unwrap_or_else(|| panic!("no answer within {SOON:?} from\n{silent}"));
        }
    }
}

fn names_address(family: Family, end: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 95, 0, end].into(),
        Family::V6 => [0xfd00, 0x95, 0, 0, 0, 0, 0, end.into()].into(),
    }
}

/// Sets the kernel, in the node's namespace. What this kernel doesn't have is left out.
fn settle(plan: &Plan, node: Node) {
    let set = |(path, value): (&str, &str)| {
        let path = Path::new("/proc/sys/net").join(path);
        if path.exists() {
            fs::write(&path, value).unwrap_or_else(|error| panic!("{}: {value}: {error}", path.display()));
        }
    };
    SETTINGS.into_iter().for_each(set);
    if let Node::Router(hop, _) = node {
        FORWARDING.into_iter().for_each(set);
        if plan.limiting.contains(&hop) {
            LIMITING.into_iter().for_each(set);
        }
        if let Some(branches) = plan.branches.as_ref().filter(|branches| hop + 1 == *branches.hops.start()) {
            branches.balance.settings().iter().for_each(|(path, value)| set((path, value)));
        }
    }
}

/// Addresses and routes of a node, in its namespace.
fn configure(plan: &Plan, node: Node) {
    let links = plan.links();
    let ends = links.iter().flat_map(|link| [(&link.near, link, 0), (&link.far, link, 1)]);
    let ends: Vec<(&str, &Link, u8)> =
        ends.filter(|(end, ..)| end.0 == node).map(|(end, link, side)| (end.1.as_str(), link, side)).collect();
    let names = match node {
        Node::Near if plan.has_names => Some(("dns0", 0)),
        Node::Names => Some(("in0", 1)),
        _ => None,
    };
    let mut interfaces = "link set lo up\n".to_owned();
    for interface in ends.iter().map(|(interface, ..)| *interface).chain(names.map(|(interface, _)| interface)) {
        // A TUN device has a queue of 500 otherwise; for a veth it is all the same.
        interfaces += &format!("link set {interface} up txqueuelen 10000\n");
    }
    batch("-4", &interfaces);
    let branches = plan.branches.as_ref().filter(|branches| node == Node::Router(branches.hops.start() - 1, 0));
    for (family, flag) in FAMILIES.into_iter().zip(["-4", "-6"]) {
        let (bits, near) = match family {
            Family::V4 => ("31", "10.96.1.0/31"),
            Family::V6 => ("127 nodad", "fd00:96:0:1::/127"),
        };
        let mut lines = String::new();
        for (interface, link, side) in &ends {
            let address = link_address(family, link.branch, link.hop, *side);
            lines += &format!("address add {address}/{bits} dev {interface}\n");
        }
        if let Some((interface, side)) = names {
            lines += &format!("address add {}/{bits} dev {interface}\n", names_address(family, side));
        }
        // The first link on either side: behind several branches the way back is by the first of them.
        let on = |wanted: u8| ends.iter().find(|(.., side)| *side == wanted).map(|(_, link, _)| *link);
        if let Some(link) = on(1).filter(|link| link.hop > 1) {
            lines += &format!("route add {near} via {}\n", link_address(family, link.branch, link.hop, 0));
        }
        match (on(0), branches) {
            (_, Some(branches)) => lines += &balance::routes(plan, branches, family),
            (Some(link), None) => {
                lines += &format!("route add default via {}\n", link_address(family, link.branch, link.hop, 1));
            }
            (None, None) => {}
        }
        let hop = match node {
            Node::Router(hop, 0) => Some(hop),
            Node::Target => Some(plan.routers + 1),
            _ => None,
        };
        if let Some(hop) = hop {
            // One is the kernel's own: of others it says over IPv6 by another address that a port is closed.
            let bits = if family == Family::V4 { "32" } else { "128 nodad" };
            lines += &format!("address add {}/{bits} dev lo\n", host_behind(family, hop, 1));
            lines += &format!("route add local {} dev lo\n", behind(family, hop));
        }
        batch(flag, &lines);
    }
    if let Some(marks) = branches.and_then(|branches| branches.balance.marks(branches.width)) {
        feed(Command::new("nft").args(["-f", "-"]), &marks);
    }
}

/// Has `ip` do this, line by line.
#[track_caller]
fn batch(family: &str, lines: &str) {
    feed(Command::new("ip").args([family, "-batch", "-"]), lines);
}

/// Runs a command that reads this, and must do it.
#[track_caller]
fn feed(command: &mut Command, text: &str) {
    let program = command.get_program().to_owned();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program:?}: {}\n{text}", String::from_utf8_lossy(&output.stderr));
}
