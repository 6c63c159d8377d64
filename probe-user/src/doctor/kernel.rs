//! The kernel's age and what it was built with.

use super::{Check, Status};
use std::{fs, path::Path};

pub(super) fn checks() -> Vec<Check> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![version(release.trim()), btf(), jit()]
}

fn version(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Check::new("kernel", Status::Skipped, format!("release {release:?} can't be read"));
    };
    let check = |status, detail| Check::new("kernel", status, format!("{release}: {detail}"));
    match (major, minor) {
        (..=4, _) | (5, ..=17) => check(
            Status::Problem,
            "too old: the XDP program asks for what came with 5.18 (xdp.frags, bpf_xdp_get_buff_len), and is not loaded",
        )
        .advise("use a kernel from 6.1 on: that is the oldest on which echolot was booted and run"),
        (5, _) | (6, 0) => check(
            Status::Warning,
            "has all that is asked for (from 5.18 on), but nobody has booted echolot on it: 6.1 is the oldest",
        )
        .advise("try it before it matters, or use a kernel from 6.1 on"),
        _ => check(Status::Ok, "has bpf_link for XDP, xdp.frags and live frames"),
    }
}

fn btf() -> Check {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Check::new("kernel BTF", Status::Ok, "/sys/kernel/btf/vmlinux");
    }
    Check::new(
        "kernel BTF",
        Status::Warning,
        "no /sys/kernel/btf/vmlinux: the live-frames engine can't see refused frames",
    )
    .advise("mount /sys, or use a kernel built with CONFIG_DEBUG_INFO_BTF=y; the afxdp engine works without")
}

fn jit() -> Check {
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").as_deref().map(str::trim) {
        Ok("0") => {
            Check::new("kernel JIT", Status::Warning, "off: the XDP program is interpreted, several times slower")
                .advise("sysctl -w net.core.bpf_jit_enable=1")
        }
        Ok(_) => Check::new("kernel JIT", Status::Ok, "on"),
        // Only the first network namespace has the file.
        Err(_) => {
            Check::new("kernel JIT", Status::Skipped, "net.core.bpf_jit_enable can't be read in this network namespace")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_apart() {
        for (release, status) in [
            ("4.19.0-27-amd64", Status::Problem),
            ("5.8.0", Status::Problem),
            ("5.10.0-30-amd64", Status::Problem),
            ("5.17.15", Status::Problem),
            ("5.18.0", Status::Warning),
            ("6.0.12", Status::Warning),
            ("6.1.0-28-amd64", Status::Ok),
            ("7.0", Status::Ok),
            ("strange", Status::Skipped),
            ("6", Status::Skipped),
            ("", Status::Skipped),
        ] {
            assert_eq!(version(release).status, status, "{release}");
        }
    }
}
