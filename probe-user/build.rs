//! Builds the XDP programs, so that the program that is installed is one file. The object is `echolot-xdp` in OUT_DIR.

use std::{
    env,
    process::{Command, ExitCode},
};

/// For `echolot_build_info`: which commit a release was built from. Other builds don't say, so that a commit rebuilds nothing.
fn tell_revision() {
    println!("cargo::rerun-if-env-changed=ECHOLOT_REVISION");
    if env::var("PROFILE").is_ok_and(|profile| profile != "release") || env::var_os("ECHOLOT_REVISION").is_some() {
        return;
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    if let (Some(log), Some(revision)) =
        (git(&["rev-parse", "--git-path", "logs/HEAD"]), git(&["rev-parse", "--short=12", "HEAD"]))
    {
        println!("cargo::rerun-if-changed={log}");
        println!("cargo::rustc-env=ECHOLOT_REVISION={revision}");
    }
}

/// What a build can be made to lie about. Those of hops: in `worker/sender/asked.rs`, where nothing else is said.
const LIES: [&str; 17] = [
    "sequence",
    "late",
    "bit",
    "duplicate",
    "rtt",
    "hop",
    "hop-router",
    "hop-ttl",
    "hop-quoted",
    "hop-slow",
    "hop-fast",
    "hop-late",
    "hop-forged",
    "hop-lost",
    "hop-duplicate",
    "hop-twice",
    "hop-missing",
];

/// Builds that lie, each in one way, to show that the judge of `bench truth` finds them out. No features: nothing that builds with all of
/// them may ever make one.
fn break_it() {
    let all = LIES.map(|lie| format!("\"{lie}\"")).join(", ");
    println!("cargo::rustc-check-cfg=cfg(broken, values({all}))");
    println!("cargo::rerun-if-env-changed=ECHOLOT_BROKEN");
    if let Ok(lie) = env::var("ECHOLOT_BROKEN") {
        assert!(LIES.contains(&&*lie), "ECHOLOT_BROKEN={lie}: no such lie; there are {}", LIES.join(", "));
        println!("cargo::warning=this build lies: ECHOLOT_BROKEN={lie}");
        println!("cargo::rustc-cfg=broken=\"{lie}\"");
    }
}

fn main() -> ExitCode {
    tell_revision();
    break_it();
    xtask::ebpf::build_script("../probe-ebpf", "echolot-xdp")
}
