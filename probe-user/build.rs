//! Builds the XDP programs, so that the program that is installed is one file. The object is `echolot-xdp` in OUT_DIR.

use std::{env, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=../probe-ebpf/src");
    println!("cargo::rerun-if-changed=../probe-ebpf/Cargo.toml");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(format!("{name} is not set: run by cargo only"));
    let built = variable("CARGO_MANIFEST_DIR")
        .and_then(|package| xtask::ebpf::build(&package.join("../probe-ebpf/Cargo.toml"), &variable("OUT_DIR")?));
    match built {
        Ok(_) => ExitCode::SUCCESS,
        Err(why) => {
            // Cargo shows an error of a build script line by line, without the noise of a panic.
            for line in why.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}
