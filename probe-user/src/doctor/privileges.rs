//! May this process load programs, open AF_XDP sockets, ask for neighbours?

use super::{Check, Status};
use std::fs;

const NAME: &str = "privileges";

/// Bits of CapEff, see linux/capability.h.
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const SYS_ADMIN: u64 = 1 << 21;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

/// This process's effective capabilities, a bit each.
pub(super) fn effective() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

pub(super) fn check() -> Check {
    match effective() {
        None => Check::new(NAME, Status::Skipped, "/proc/self/status does not tell"),
        // The kernel asks for bpf's capabilities in the first user namespace, whatever we have in ours.
        Some(_) if !in_first_user_namespace(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default()) => {
            let detail = "in a user namespace of its own, whose capabilities the kernel does not count for eBPF";
            Check::new(NAME, Status::Problem, detail).advise("run it outside of (rootless) containers")
        }
        Some(effective) => judge(effective),
    }
}

/// The first namespace maps every user to itself.
fn in_first_user_namespace(uid_map: &str) -> bool {
    uid_map.is_empty() || uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn judge(effective: u64) -> Check {
    // CAP_SYS_ADMIN includes what was split off from it as CAP_BPF and CAP_PERFMON in 5.8.
    let includes = |capability| effective & (capability | SYS_ADMIN) != 0;
    let missing: Vec<&str> = [
        (effective & NET_ADMIN != 0, "CAP_NET_ADMIN (attach to the interface, resolve neighbours)"),
        (effective & NET_RAW != 0, "CAP_NET_RAW (AF_XDP sockets)"),
        (includes(BPF), "CAP_BPF (load the XDP program)"),
        (includes(PERFMON), "CAP_PERFMON (read packets in it)"),
    ]
    .into_iter()
    .filter_map(|(has, name)| (!has).then_some(name))
    .collect();
    if missing.is_empty() {
        return Check::new(NAME, Status::Ok, "CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON");
    }
    Check::new(NAME, Status::Problem, format!("missing: {}", missing.join(", ")))
        .advise("run as root, or grant these capabilities (AmbientCapabilities= in a systemd unit, or setcap)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_counts() {
        let all = NET_ADMIN | NET_RAW | BPF | PERFMON;
        assert_eq!(judge(all).status, Status::Ok);
        assert_eq!(judge(NET_ADMIN | NET_RAW | SYS_ADMIN).status, Status::Ok);
        for (bit, name) in [(NET_ADMIN, "NET_ADMIN"), (NET_RAW, "NET_RAW"), (BPF, "BPF"), (PERFMON, "PERFMON")] {
            let check = judge(all & !bit);
            assert_eq!(check.status, Status::Problem);
            assert!(check.detail.contains(&format!("CAP_{name} ")), "{check:?}");
        }
        assert_eq!(judge(SYS_ADMIN).status, Status::Problem);
    }

    #[test]
    fn the_first_user_namespace_is_known_by_its_map() {
        assert!(in_first_user_namespace("         0          0 4294967295\n"));
        assert!(!in_first_user_namespace("         0       1000          1\n"));
    }
}
