//! `cargo xtask fuzz`: a fuzz target under libFuzzer, guided by coverage, with whatever Rust there is.
//!
//! cargo-fuzz wants a nightly compiler, for its sanitizers. The readers that are fuzzed here are safe code, so coverage is enough, and
//! LLVM's pass for it can be had from a stable compiler.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command::run_shown;
use crate::setup;

/// What `cargo xtask fuzz --help` prints.
pub const USAGE: &str = "\
cargo xtask fuzz [TARGET...] [--seconds N]    fuzzes reply, config, targets, list or asn (all of them unless named), each for N
                                              seconds (60)";

/// The folder of `probe-user/fuzz/corpus` that each has.
const TARGETS: [&str; 5] = ["reply", "config", "targets", "list", "asn"];
/// What has been found is kept here, and begun with the next time.
const FOUND: &str = "target/fuzz/found";
/// Where libFuzzer finds a corpus as bytes.
const SEEDS: &str = "target/fuzz/seeds";

/// LLVM counts which edges are passed and tells libFuzzer what is compared with what: the flags that cargo-fuzz sets.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// Builds the targets with coverage and runs those that are named, one after the other.
///
/// # Errors
/// What could not be built or read; or that a target panicked, took 10 s, or took a gigabyte: libFuzzer has then said which input did,
/// and where that lies.
pub fn perform(arguments: &[String]) -> Result<(), String> {
    let Some((targets, seconds)) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    // libFuzzer is C++. Where there is no c++, clang (which set-up installs) brings its own.
    setup::ensure(&[("clang++", "clang")])?;
    let host = host()?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With --target, what runs while building (build scripts, macros) is built without the flags.
    cargo.args(["build", "--package", "echolot-fuzz", "--features", "libfuzzer", "--bin", "fuzz"]);
    cargo.args(["--target", &host, "--target-dir", "target/fuzz"]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f")).env_remove("RUSTFLAGS").env("CXX", "clang++");
    run_shown(&mut cargo)?;
    for target in targets {
        let found = Path::new(FOUND).join(target);
        fs::create_dir_all(&found).map_err(|e| format!("{}: {e}", found.display()))?;
        let seeds = Path::new(SEEDS).join(target);
        fs::create_dir_all(&seeds).map_err(|e| format!("{}: {e}", seeds.display()))?;
        for (name, bytes) in corpus(&Path::new("probe-user/fuzz/corpus").join(target))? {
            fs::write(seeds.join(&name), bytes).map_err(|e| format!("{}/{name}: {e}", seeds.display()))?;
        }
        println!("fuzz: {target} for {seconds} s");
        let mut fuzz = Command::new(Path::new("target/fuzz").join(&host).join("debug/fuzz"));
        fuzz.env("ECHOLOT_FUZZ", target).arg(&found).arg(&seeds);
        fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={FOUND}/{target}-"));
        run_shown(fuzz.args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=0"]))?;
    }
    Ok(())
}

/// The files of a corpus by name, in order; what is no text lies there as hexadecimal digits, in files that end in `.hex`.
///
/// # Errors
/// What can't be read, or is no hexadecimal digit.
pub fn corpus(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
    let failed = |path: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let entries = fs::read_dir(folder).map_err(|e| failed(folder, &e))?;
    let mut paths =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(|e| failed(folder, &e))?;
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let bytes = fs::read(path).map_err(|e| failed(path, &e))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_none_or(|ending| ending != "hex") {
            return Ok((name, bytes));
        }
        let words = String::from_utf8_lossy(&bytes).into_owned();
        let bytes = words.split_whitespace().map(|word| u8::from_str_radix(word, 16).map_err(|e| failed(path, &e)));
        Ok((name, bytes.collect::<Result<_, _>>()?))
    };
    paths.iter().map(read).collect()
}

/// The targets and for how long each; None if help is asked for.
fn parse(arguments: &[String]) -> Result<Option<(Vec<&'static str>, u64)>, String> {
    let (mut targets, mut seconds) = (Vec::new(), 60);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-h" | "--help" => return Ok(None),
            "--seconds" => {
                let number = arguments.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
                seconds = number.ok_or(format!("--seconds wants a whole number from 1 on\n\n{USAGE}"))?;
            }
            name => match TARGETS.iter().find(|target| **target == name) {
                Some(target) => targets.push(*target),
                None => return Err(format!("there is no fuzz target {name:?}: {}\n\n{USAGE}", TARGETS.join(", "))),
            },
        }
    }
    Ok(Some((if targets.is_empty() { TARGETS.to_vec() } else { targets }, seconds)))
}

/// The compiler's own platform, as `x86_64-unknown-linux-gnu`.
fn host() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().map_err(|e| format!("rustc -vV: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or(format!("rustc -vV names no host:\n{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Option<(Vec<&'static str>, u64)>, String> {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn arguments() {
        assert_eq!(read(&[]), Ok(Some((TARGETS.to_vec(), 60))));
        assert_eq!(read(&["list", "--seconds", "5", "reply"]), Ok(Some((vec!["list", "reply"], 5))));
        assert_eq!(read(&["--help"]), Ok(None));
        for wrong in [&["lists"][..], &["--seconds"], &["--seconds", "0"], &["--seconds", "x"]] {
            assert!(read(wrong).is_err_and(|told| told.contains("cargo xtask fuzz")), "{wrong:?}");
        }
    }
}
