//! Set-up: looks at the machine ([`facts`]), works out what is missing ([`plan`], pure) and installs it, in rounds, until
//! nothing is missing: what a compiler's LLVM is can only be asked once the compiler is there.
//!
//! Nothing is ever removed. On a system without apt it installs nothing and says what is missing.

pub mod facts;
pub mod plan;

use std::path::Path;
use std::process::Command;

use crate::command::{find_program, run_shown};
use crate::ebpf;
use facts::{Facts, Privilege};
use plan::{Plan, Step};

/// What `cargo xtask setup --help` prints.
pub const USAGE: &str = "\
cargo xtask setup [--test]    installs what building and running echolot needs; --test adds what its tests need";

/// The bpf-linker that goes with aya 0.14's programs.
const BPF_LINKER: &str = "0.13.0";
/// More rounds than any way through set-up takes (package lists, packages, LLVM, linker).
const ROUNDS: usize = 6;

/// Makes the machine ready, or says what is in the way.
pub fn perform(arguments: &[String]) -> Result<(), String> {
    let mut test = false;
    for argument in arguments {
        match argument.as_str() {
            "--test" => test = true,
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            other => return Err(format!("setup takes no {other:?}\n\n{USAGE}")),
        }
    }
    let mut updated = false;
    let mut done: Vec<Step> = Vec::new();
    for _ in 0..ROUNDS {
        let facts = facts::gather(test, updated);
        let steps = match plan::plan(&facts)? {
            Plan::Ready => {
                println!("setup: everything is there{}", if test { ", for tests too" } else { "" });
                return Ok(());
            }
            Plan::Steps(steps) => steps,
        };
        for step in steps {
            if done.contains(&step) {
                return Err(format!("this was done, and yet something is still missing: {step}"));
            }
            println!("setup: {step}");
            execute(&step, &facts)?;
            updated |= step == Step::UpdateLists;
            done.push(step);
        }
    }
    Err("set-up went round in circles: run it again, and report what it printed".into())
}

/// Installs those of these programs (with Debian's packages of them) that are not on PATH.
///
/// # Errors
/// What is missing and can't be installed, or what failed.
pub fn ensure(programs: &[(&str, &str)]) -> Result<(), String> {
    let missing = || programs.iter().filter(|(program, _)| find_program(program).is_none());
    let packages: Vec<String> = missing().map(|(_, package)| (*package).to_owned()).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let facts = facts::gather(false, false);
    if !facts.apt || facts.privilege == Privilege::None {
        return Err(format!("missing, and this can't install it: {}", packages.join(" ")));
    }
    // What goes on here is not what the caller prints.
    eprintln!("setup: apt-get install {}", packages.join(" "));
    execute(&Step::UpdateLists, &facts)?;
    install(&packages, facts.privilege)?;
    match missing().next() {
        None => Ok(()),
        Some((program, package)) => Err(format!("{package} is installed, and there is still no {program} on PATH")),
    }
}

fn execute(step: &Step, facts: &Facts) -> Result<(), String> {
    match step {
        Step::UpdateLists => run_shown(as_root(facts.privilege).args(["apt-get", "-q", "update"])),
        Step::Install(packages) => install(packages, facts.privilege),
        Step::RustupNightly(rustup) => run_shown(Command::new(rustup).args([
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ])),
        Step::RustupComponents(rustup) => {
            run_shown(Command::new(rustup).args(["component", "add", "clippy", "rustfmt"]))
        }
        Step::Linker(compiler) => {
            let mut cargo = Command::new(&compiler.cargo);
            ebpf::scrub(&mut cargo);
            cargo.env("RUSTC", &compiler.rustc).env("LLVM_PREFIX", facts::llvm_prefix(compiler.llvm));
            // It links one small object: minutes of optimizing it would be lost.
            cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "0").env("CARGO_PROFILE_RELEASE_LTO", "off");
            cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
            cargo.args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--no-default-features"]);
            // One of another LLVM that set-up installed earlier is replaced.
            cargo.args(["--force", "--features", &format!("llvm-{}", compiler.llvm), "--root"]).arg(ebpf::tools_root());
            run_shown(&mut cargo)
        }
    }
}

fn install(packages: &[String], privilege: Privilege) -> Result<(), String> {
    // Debian starts a service as soon as its package is unpacked. Tests want the programs only, and a machine that had
    // no Prometheus shouldn't find one listening: it stays masked while it is installed, and disabled after.
    let service = packages.iter().any(|package| package == "prometheus") && Path::new("/run/systemd/system").exists();
    let systemctl = |arguments: &[&str]| run_shown(as_root(privilege).arg("systemctl").args(arguments));
    if service {
        systemctl(&["mask", "--runtime", "--quiet", "prometheus.service"])?;
    }
    let mut apt = as_root(privilege);
    apt.args(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "install", "--yes", "--no-remove"]);
    let installed = run_shown(apt.arg("--no-install-recommends").args(packages));
    if service {
        systemctl(&["unmask", "--runtime", "--quiet", "prometheus.service"])?;
        if installed.is_ok() {
            systemctl(&["disable", "--quiet", "prometheus.service"])?;
            println!("setup: prometheus is installed for tests; its service is neither started nor enabled");
        }
    }
    installed
}

/// A command that `args` turn into one run by root.
pub(crate) fn as_root(privilege: Privilege) -> Command {
    match privilege {
        Privilege::Sudo => Command::new("sudo"),
        Privilege::Root | Privilege::None => Command::new("env"),
    }
}
