//! How the router before branches chooses among them.

use super::{Branches, Plan, behind, link_address};
use echolot::base::Family;

/// By what a router chooses among paths of equal cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// By flows: of TCP and UDP addresses and ports, by the kernel's hash; of echo requests addresses and the ICMP checksum, as
    /// routers do that take the first bytes behind the IP header for ports.
    ///
    /// What a socket of near's sends brings a hash along, drawn by the socket, which the kernel believes before it makes one
    /// itself: two sockets of one flow may part. A router in userspace somewhere before takes it off, as a cable does. Frames of
    /// AF_XDP have none.
    Flows,
    /// By addresses, and of IPv6 the flow label, by the kernel's hash.
    Addresses,
    /// Packet by packet, in turn.
    Packets,
}

/// In what order its tables are asked: all but the default route as ever, and then by mark.
const SPECIFIC: u32 = 100;
const BY_MARK: u32 = 110;
/// A mark's table is so much further.
const TABLE: u32 = 1_000;

impl Balance {
    /// What its hashes are made with: else each kernel would choose its own.
    const SEED: &str = "0x5eed";

    /// Kernel settings of the router, paths under /proc/sys/net. A kernel that has not the last one chooses for itself.
    pub(crate) fn settings(self) -> Vec<(&'static str, String)> {
        let policy = if self == Balance::Flows { "1" } else { "0" };
        vec![
            ("ipv4/fib_multipath_hash_policy", policy.into()),
            ("ipv6/fib_multipath_hash_policy", policy.into()),
            ("ipv4/fib_multipath_hash_seed", Self::SEED.into()),
        ]
    }

    /// Rules for nft: a mark for each packet that comes from the near side and that the kernel's own hash is not asked about.
    pub(crate) fn marks(self, width: u8) -> Option<String> {
        let rules = match self {
            Balance::Addresses => return None,
            Balance::Flows => format!(
                "iifname in0 icmp type echo-request meta mark set \
                   jhash ip saddr . ip daddr . icmp checksum mod {width} seed {seed} offset 1\n\
                 iifname in0 icmpv6 type echo-request meta mark set \
                   jhash ip6 saddr . ip6 daddr . icmpv6 checksum mod {width} seed {seed} offset 1\n",
                seed = Self::SEED
            ),
            Balance::Packets => format!("iifname in0 meta mark set numgen inc mod {width} offset 1\n"),
        };
        Some(format!(
            "table inet balance {{\nchain arriving {{\ntype filter hook prerouting priority mangle\n{rules}}}\n}}\n"
        ))
    }
}

/// The routes of a family of the router before the branches towards the far side, and its rules, as `ip -batch` takes them.
pub(crate) fn routes(plan: &Plan, Branches { hops, width, balance }: &Branches, family: Family) -> String {
    let gateways: Vec<_> = (0..*width).map(|branch| link_address(family, branch, *hops.start(), 1)).collect();
    let hop = |(branch, gateway)| format!(" nexthop via {gateway} dev out{branch}");
    let all: String = gateways.iter().enumerate().map(hop).collect();
    let mut batch = format!("route add default{all}\n");
    // A branch's own addresses lie on it; of all that is behind them, that of the first branch.
    for (branch, gateway) in gateways.iter().enumerate() {
        let links = match family {
            Family::V4 => format!("10.{}.0.0/16", 96 + branch),
            Family::V6 => format!("fd00:96:{branch:x}::/48"),
        };
        batch += &format!("route add {links} via {gateway}\n");
    }
    for hop in hops.clone().filter(|hop| *hop <= plan.routers) {
        batch += &format!("route add {} via {}\n", behind(family, hop), gateways[0]);
    }
    if balance.marks(*width).is_some() {
        batch += &format!("rule add pref {SPECIFIC} lookup main suppress_prefixlength 0\n");
        for (mark, table) in tables(*width) {
            let branch = usize::from(mark) - 1;
            batch += &format!("route add default via {} dev out{branch} table {table}\n", gateways[branch]);
            batch += &format!("rule add pref {BY_MARK} fwmark {mark} lookup {table}\n");
        }
    }
    batch
}

/// The marks, and the table that each leads to.
pub(crate) fn tables(width: u8) -> impl Iterator<Item = (u8, u32)> {
    (1..=width).map(|mark| (mark, TABLE + u32::from(mark)))
}
