//! Chains of routers, each a network namespace that forwards by the kernel, for what is said of paths: who is in one, what addresses they
//! have, what a trace through it has to show. `build` makes it.
//!
//! Link K leads to hop K: of IPv4 it is 10.96.K.0/31 and of IPv6 fd00:96:0:K::/127, 0 on its near side and 1 on its far side;
//! those of a further branch B have 96 + B, and B in place of the 0. Behind hop K lie 10.(128 + K).0.0/16 and fd00:128:0:K::/64,
//! for which it answers itself, so that every length of a path up to the whole has its targets. That a UDP port is closed each
//! says itself over IPv4; over IPv6 only the first does, and the others' errors come from an address of its link, as a host's do
//! that answers for what is not its own.

#![expect(
    clippy::unwrap_used,
    reason = "who builds a chain and can't has nothing to go on with: it says where, and what"
)]

pub mod balance;
mod build;
pub mod tools;

use crate::router::{Counts, Own, Rule};
use balance::{Balance, tables};
use build::Built;
use echolot::base::Family;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};
use tools::{Hop, Hops};
use xtask::command::is_root;

/// Both, as every chain has them.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Someone in the lab: a network namespace, or a router in userspace, which has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// Where echolot and the others run. Its interface is near0.
    Near,
    /// The router at this hop, of this branch: of the first or only one, 0.
    Router(u8, u8),
    /// Behind the last router.
    Target,
    /// Joined with near by a link of its own, for a name server: 10.95.0.1 and fd00:95::1.
    Names,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Near => f.write_str("near"),
            Node::Router(hop, 0) => write!(f, "r{hop}"),
            Node::Router(hop, branch) => write!(f, "r{hop}-{branch}"),
            Node::Target => f.write_str("target"),
            Node::Names => f.write_str("names"),
        }
    }
}

/// Parts of the chain that stand beside each other.
#[derive(Clone, Debug)]
pub struct Branches {
    /// The hops that there are several of.
    pub hops: RangeInclusive<u8>,
    /// How many of each.
    pub width: u8,
    /// By what the router before them chooses.
    pub balance: Balance,
}

/// Who is to be in a chain.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) routers: u8,
    pub(crate) rules: BTreeMap<u8, Rule>,
    pub(crate) limiting: BTreeSet<u8>,
    pub(crate) branches: Option<Branches>,
    pub(crate) has_names: bool,
}

/// One end of a link: whose, and its interface there.
pub(crate) type LinkEnd = (Node, String);

/// Two that are joined.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) branch: u8,
    pub(crate) hop: u8,
    pub(crate) near: LinkEnd,
    pub(crate) far: LinkEnd,
}

impl Plan {
    /// So many routers, all of them the kernel's, and a target behind them.
    pub fn of(routers: u8) -> Self {
        assert!((1..127).contains(&routers), "as many as there are addresses for");
        Self { routers, rules: BTreeMap::new(), limiting: BTreeSet::new(), branches: None, has_names: false }
    }

    /// This one goes by a rule, in userspace. Not the first one, whose link to near is to be a card's, nor two beside each other.
    pub fn router(mut self, hop: u8, rule: Rule) -> Self {
        self.rules.insert(hop, rule);
        self
    }

    /// This one sends at most 10 errors a second to anyone, after 6 at once.
    pub fn limiting(mut self, hop: u8) -> Self {
        self.limiting.insert(hop);
        self
    }

    /// These stand beside each other, two of each. Before and behind them there is one, the kernel's.
    pub fn branches(self, hops: RangeInclusive<u8>, balance: Balance) -> Self {
        self.wide_branches(hops, 2, balance)
    }

    /// The same, and as many of each as are said.
    pub fn wide_branches(mut self, hops: RangeInclusive<u8>, width: u8, balance: Balance) -> Self {
        self.branches = Some(Branches { hops, width, balance });
        self
    }

    /// There is a place for a name server: near's programs ask 10.95.0.1.
    pub fn names(mut self) -> Self {
        self.has_names = true;
        self
    }

    /// How many of a hop there are.
    pub(crate) fn width(&self, hop: u8) -> u8 {
        self.branches.as_ref().filter(|branches| branches.hops.contains(&hop)).map_or(1, |branches| branches.width)
    }

    /// All of them, near first.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let routers =
            (1..=self.routers).flat_map(|hop| (0..self.width(hop)).map(move |branch| Node::Router(hop, branch)));
        let names = self.has_names.then_some(Node::Names);
        [Node::Near].into_iter().chain(routers).chain([Node::Target]).chain(names).collect()
    }

    /// All links of the chain, the nearest first. An interface is called in0 where the near side is, out0 where the far side is;
    /// in1 and out1 are those of the second branch, and so on.
    pub(crate) fn links(&self) -> Vec<Link> {
        let mut links = Vec::new();
        for hop in 1..=self.routers + 1 {
            let (before, here) = (self.width(hop - 1), self.width(hop));
            for branch in 0..before.max(here) {
                let own = |width: u8| if width == 1 { 0 } else { branch };
                let near = match hop {
                    1 => (Node::Near, "near0".to_owned()),
                    _ => (Node::Router(hop - 1, own(before)), format!("out{}", branch - own(before))),
                };
                let far = match hop {
                    hop if hop > self.routers => Node::Target,
                    hop => Node::Router(hop, own(here)),
                };
                let far = (far, format!("in{}", branch - own(here)));
                links.push(Link { branch, hop, near, far });
            }
        }
        links
    }

    fn check(&self) {
        for hop in self.rules.keys() {
            assert!((2..=self.routers).contains(hop), "hop {hop} is no router behind the first");
            assert!(!self.rules.contains_key(&(hop - 1)), "hops {} and {hop} are both in userspace", hop - 1);
            assert!(self.width(*hop) == 1, "hop {hop} is in userspace and in branches");
        }
        if let Some(Branches { hops, width, .. }) = &self.branches {
            assert!(
                *hops.start() > 1 && *hops.end() < self.routers && !hops.is_empty(),
                "a router before and one behind"
            );
            assert!((2..=31).contains(width), "so many branches have addresses");
            for beside in [hops.start() - 1, hops.end() + 1] {
                assert!(!self.rules.contains_key(&beside), "hop {beside} is in userspace, beside branches");
            }
        }
    }

    /// Makes it. None, and a word about it, without root.
    pub fn up(self, what: &str) -> Option<Chain> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !is_root() {
            println!("skipped: needs root");
            return None;
        }
        self.check();
        let name = format!("el-path-{what}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let built = Built::up(&name, &self);
        Some(Chain { plan: self, built })
    }
}

/// An end of a link: the near side's is 0, the far side's 1.
pub fn link_address(family: Family, branch: u8, hop: u8, end: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 96 + branch, hop, end).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x96, branch.into(), hop.into(), 0, 0, 0, end.into()).into(),
    }
}

/// What lies behind a hop.
pub fn behind(family: Family, hop: u8) -> String {
    match family {
        Family::V4 => format!("10.{}.0.0/16", 128 + hop),
        Family::V6 => format!("fd00:128:0:{hop:x}::/64"),
    }
}

/// An address of those.
pub fn host_behind(family: Family, hop: u8, host: u16) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from((10 << 24) | u32::from(128 + hop) << 16 | u32::from(host)).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x128, 0, hop.into(), 0, 0, 0, host).into(),
    }
}

/// A router's own addresses, which it answers from.
pub(crate) fn own(hop: u8, branch: u8) -> Own {
    Own {
        v4: Ipv4Addr::new(10, 96 + branch, hop, 1),
        v6: Ipv6Addr::new(0xfd00, 0x96, branch.into(), hop.into(), 0, 0, 0, 1),
    }
}

/// A chain that is up. It goes when this is dropped, when a test fails, and when the process is killed.
pub struct Chain {
    plan: Plan,
    built: Built,
}

impl Chain {
    /// A command in the namespace of one of them.
    pub fn command(&self, node: Node, program: &str) -> Command {
        self.built.command(node, program)
    }

    /// An `ip` command there, which must do.
    #[track_caller]
    pub fn ip(&self, node: Node, arguments: &str) {
        tools::output(self.command(node, "ip").args(arguments.split_whitespace()));
    }

    /// The namespace of one of them.
    pub fn namespace(&self, node: Node) -> String {
        self.built.namespace(node)
    }

    /// Hops to the target.
    pub fn length(&self) -> u8 {
        self.plan.routers + 1
    }

    /// The target's first address, behind all routers.
    pub fn target(&self, family: Family) -> IpAddr {
        host_behind(family, self.length(), 1)
    }

    /// What a router in userspace has done.
    pub fn counts(&self, hop: u8) -> Counts {
        self.built.counts(hop)
    }

    /// Who answers at each hop on the way to [`Chain::target`]: at branches all of them, where a router keeps silent nobody. What
    /// rules do beside that is not in it. Where branches join again the kernel answers over IPv4 by its address on the way back,
    /// over IPv6 by that which the packet came to.
    pub fn hops(&self, family: Family) -> Hops {
        let join = self.plan.branches.as_ref().filter(|_| family == Family::V6).map(|branches| branches.hops.end() + 1);
        let routers = (1..=self.plan.routers).map(|hop| {
            if self.plan.rules.get(&hop).is_some_and(|rule| rule.expired.is_none()) {
                return Hop::default();
            }
            let width = self.plan.width(if join == Some(hop) { hop - 1 } else { hop });
            Hop::of((0..width).map(|branch| link_address(family, branch, hop, 1)))
        });
        Hops(routers.chain([Hop::of([self.target(family)])]).collect())
    }

    /// From now on the router before the branches takes this one only.
    pub fn take_branch(&self, branch: u8) {
        let Branches { hops, width, balance } = self.plan.branches.as_ref().unwrap();
        let first = *hops.start();
        let marked = balance.marks(*width).map(|_| *width).unwrap_or_default();
        for (family, flag) in FAMILIES.into_iter().zip(["-4", "-6"]) {
            let gateway = link_address(family, branch, first, 1);
            for table in ["main".to_owned()].into_iter().chain(tables(marked).map(|(_, table)| table.to_string())) {
                let replace = format!("{flag} route replace default via {gateway} dev out{branch} table {table}");
                self.ip(Node::Router(first - 1, 0), &replace);
            }
        }
    }

    /// The link to this hop loses its carrier, at the far side.
    pub fn cut(&self, hop: u8) {
        self.ip(self.plan.links().iter().find(|link| link.hop == hop).unwrap().far.0, "link set in0 down");
    }
}
