//! The eBPF build: which compiler and linker can do it on this machine, and the one way to call them.
//!
//! Two things must agree. The compiler needs the source of `core` (there is no prebuilt one for BPF), and bpf-linker
//! reads the compiler's LLVM bitcode, which is only promised to work within one LLVM release.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fmt};

/// The oldest compiler that builds the workspace: its `rust-version`.
pub const MIN_RUST: Version = parse_const(env!("CARGO_PKG_RUST_VERSION"));

const TARGET: &str = "bpfel-unknown-none";

/// A release of Rust, without its patch level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 1, for now.
    pub major: u32,
    /// 95 in 1.95.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// Reads the first two numbers of `1.96.0`, `1.97.0-nightly` and the like.
    pub fn parse(text: &str) -> Option<Version> {
        let mut numbers = text.trim().split(['.', '-', '+', '~', ' ']).map(str::parse);
        Some(Version { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
    }
}

/// `1.95` from the manifest, at compile time.
const fn parse_const(text: &str) -> Version {
    let bytes = text.as_bytes();
    let mut parts = [0u32; 2];
    let (mut part, mut i) = (0, 0);
    while i < bytes.len() && part < 2 {
        if bytes[i] == b'.' {
            part += 1;
        } else {
            parts[part] = parts[part] * 10 + (bytes[i] - b'0') as u32;
        }
        i += 1;
    }
    Version { major: parts[0], minor: parts[1] }
}

/// A compiler that was looked at, complete or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Its `rustc`.
    pub rustc: PathBuf,
    /// The `cargo` that belongs to it.
    pub cargo: PathBuf,
    /// What `rustc -vV` calls its release.
    pub version: Version,
    /// The major version of its LLVM.
    pub llvm: u32,
    /// Its sysroot holds the source of `core`.
    pub has_src: bool,
}

/// A compiler and a linker that build the eBPF object together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// New enough, and with the source of `core`.
    pub compiler: Compiler,
    /// The bpf-linker of the same LLVM.
    pub linker: PathBuf,
    /// It is known to be of the same LLVM. Not so for one that doesn't tell: the build will show.
    pub certain: bool,
}

/// Why no toolchain was found: one line a thing that was looked at. Its text ends with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What was looked at and what it lacks.
    pub reasons: Vec<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no toolchain on this machine can build the eBPF object:")?;
        for reason in &self.reasons {
            writeln!(f, "  {reason}")?;
        }
        write!(f, "`cargo xtask setup` installs what is missing (or says what to install).")
    }
}

impl std::error::Error for Missing {}

/// Finds the toolchain for the eBPF object: the distribution's compiler first (one that packages keep up to date), then
/// rustup's toolchains, nightly before others; each with the first bpf-linker of its LLVM in [`tools_root`], Cargo's
/// folder, `PATH`.
pub fn find() -> Result<Toolchain, Missing> {
    choose(&compilers(), &linkers())
}

/// Every compiler on this machine, in order of preference, complete or not.
pub fn compilers() -> Vec<Compiler> {
    compiler_candidates().iter().filter_map(|(rustc, cargo)| inspect(rustc, cargo)).collect()
}

/// Pairs the first complete compiler with the first linker of its LLVM. If there is no such pair, a linker that doesn't
/// tell its LLVM gets its chance: it may be the right one. Pure.
pub fn choose(compilers: &[Compiler], linkers: &[(PathBuf, Option<u32>)]) -> Result<Toolchain, Missing> {
    let complete = || compilers.iter().filter(|compiler| compiler.version >= MIN_RUST && compiler.has_src);
    let linker_of = |llvm: Option<u32>| linkers.iter().find(|(_, its)| *its == llvm).map(|(linker, _)| linker.clone());
    let certain = complete().find_map(|compiler| Some((compiler, linker_of(Some(compiler.llvm))?, true)));
    let found = certain.or_else(|| Some((complete().next()?, linker_of(None)?, false)));
    if let Some((compiler, linker, certain)) = found {
        return Ok(Toolchain { compiler: compiler.clone(), linker, certain });
    }
    let mut reasons = Vec::new();
    for compiler in compilers {
        let name = format!("{} ({}, LLVM {})", compiler.rustc.display(), compiler.version, compiler.llvm);
        if compiler.version < MIN_RUST {
            reasons.push(format!("{name}: older than {MIN_RUST}"));
        } else if !compiler.has_src {
            reasons.push(format!("{name}: without the source of core (rust-src)"));
        } else {
            reasons.push(format!("{name}: no bpf-linker of LLVM {}", compiler.llvm));
        }
    }
    for (linker, llvm) in linkers {
        let llvm = llvm.map_or_else(|| "an LLVM that it does not tell".into(), |llvm| format!("LLVM {llvm}"));
        reasons.push(format!("{}: of {llvm}", linker.display()));
    }
    if compilers.is_empty() {
        reasons.insert(0, "no rustc, neither in /usr/bin nor from rustup".into());
    }
    Err(Missing { reasons })
}

/// All that a build script has to do for one of the eBPF objects, which are the binary targets of `probe-ebpf`: builds it, and leaves it in
/// OUT_DIR under its name. `package` is where `probe-ebpf` is, seen from the package that is built.
pub fn build_script(package: &str, object: &str) -> ExitCode {
    for source in ["src", "Cargo.toml", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={package}/{source}");
    }
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(format!("{name} is not set: run by cargo only"));
    let built = variable("CARGO_MANIFEST_DIR")
        .and_then(|here| build(&here.join(package).join("Cargo.toml"), object, &variable("OUT_DIR")?));
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

/// Builds an eBPF object of the package whose manifest is given (`probe-ebpf/Cargo.toml`) with a toolchain that
/// [`find`] chose, and returns its path in `out_dir`. Intermediate files stay in `out_dir` too.
fn build(manifest: &Path, object: &str, out_dir: &Path) -> Result<PathBuf, String> {
    let toolchain = find().map_err(|missing| missing.to_string())?;
    let target_dir = out_dir.join("ebpf-target");
    let mut cargo = command(&toolchain, manifest, object, &target_dir);
    let output =
        cargo.output().map_err(|e| format!("{}: could not be started: {e}", toolchain.compiler.cargo.display()))?;
    if !output.status.success() {
        return Err(format!(
            "building {object} with {} (LLVM {}) and {}{} failed ({}):\n{}",
            toolchain.compiler.rustc.display(),
            toolchain.compiler.llvm,
            toolchain.linker.display(),
            if toolchain.certain { "" } else { " (which does not tell its LLVM: it must be the same)" },
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let built = target_dir.join(TARGET).join("release").join(object);
    let to = out_dir.join(object);
    std::fs::copy(&built, &to)
        .map_err(|e| format!("{} could not be copied to {}: {e}", built.display(), to.display()))?;
    Ok(to)
}

/// The call itself, in an environment of its own.
fn command(toolchain: &Toolchain, manifest: &Path, object: &str, target_dir: &Path) -> Command {
    let mut cargo = Command::new(&toolchain.compiler.cargo);
    scrub(&mut cargo);
    let flags = ["-Cdebuginfo=2", "-Clink-arg=--btf", &format!("-Clinker={}", toolchain.linker.display())].join("\x1f");
    cargo
        .env("RUSTC", &toolchain.compiler.rustc)
        // -Z build-std on a compiler that isn't a nightly.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        // The object is the same whatever profile the program around it is built in. BTF comes from debug
        // information, so nothing is stripped.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .args(["build", "--release", "--features", "kernel", "-Z", "build-std=core", "--target", TARGET])
        .args(["--bin", object, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target_dir)
        .stdin(Stdio::null());
    // The outer build has written the lock already; the inner one must not choose for itself.
    let lock = manifest.parent().and_then(Path::parent).map(|root| root.join("Cargo.lock"));
    if lock.is_some_and(|lock| lock.is_file()) {
        cargo.arg("--locked");
    }
    cargo
}

/// Takes from a command's environment what an outer Cargo put there.
pub(crate) fn scrub(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            command.env_remove(&name);
        }
    }
}

/// Whether a variable of a build script's environment would steer a Cargo inside it: the outer compiler, its flags,
/// its wrapper, its job server, its libraries. How the person reaches the registry is kept.
fn leaks(name: &str) -> bool {
    const KEPT: [&str; 5] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRY_", "CARGO_REGISTRIES_"];
    const LEAKING: [&str; 14] = [
        "OUT_DIR",
        "TARGET",
        "HOST",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
        "NUM_JOBS",
        "MAKEFLAGS",
        "MFLAGS",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
    ];
    if name == "CARGO" || name.starts_with("CARGO_") {
        return !KEPT.iter().any(|kept| name.starts_with(kept));
    }
    name.starts_with("RUSTC_") || name == "RUSTUP_TOOLCHAIN" || LEAKING.contains(&name)
}

/// Where set-up installs a bpf-linker, so that one the person has stays as it is.
pub fn tools_root() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    cache.unwrap_or_else(|| home().join(".cache")).join("echolot/tools")
}

fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from)
}

fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from)
}

/// `rustc` and `cargo` of each toolchain on this machine, best first, whether or not they are of use.
fn compiler_candidates() -> Vec<(PathBuf, PathBuf)> {
    let mut found = vec![("/usr/bin/rustc".into(), "/usr/bin/cargo".into())];
    // Ubuntu: rustc-1.93 and cargo-1.93 beside each other, newest first.
    let mut versioned: Vec<(Version, PathBuf)> = names_in(Path::new("/usr/bin"))
        .filter_map(|name| Some((Version::parse(name.strip_prefix("rustc-")?)?, PathBuf::from("/usr/bin").join(&name))))
        .collect();
    versioned.sort();
    found.extend(versioned.into_iter().rev().map(|(version, rustc)| {
        let cargo = rustc.with_file_name(format!("cargo-{version}"));
        (rustc, cargo)
    }));
    let rustup = std::env::var_os("RUSTUP_HOME").map_or_else(|| home().join(".rustup"), PathBuf::from);
    let toolchains = rustup.join("toolchains");
    let mut names: Vec<String> = names_in(&toolchains).collect();
    names.sort_by_key(|name| (!name.starts_with("nightly"), std::cmp::Reverse(name.clone())));
    found.extend(names.into_iter().map(|name| {
        let bin = toolchains.join(name).join("bin");
        (bin.join("rustc"), bin.join("cargo"))
    }));
    found.retain(|(rustc, cargo): &(PathBuf, PathBuf)| rustc.is_file() && cargo.is_file());
    found
}

fn names_in(folder: &Path) -> impl Iterator<Item = String> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok())
}

/// Asks a compiler what it is. None when it does not run.
fn inspect(rustc: &Path, cargo: &Path) -> Option<Compiler> {
    let ask = |question: &str| {
        let mut command = Command::new(rustc);
        command.arg(question.split_once(' ').map_or(question, |(flag, _)| flag));
        if let Some((_, value)) = question.split_once(' ') {
            command.arg(value);
        }
        // A build script's environment names the outer toolchain, which /usr/bin/rustc may heed if it is rustup's.
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH").stdin(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let (version, llvm) = parse_verbose(&ask("-vV")?)?;
    let sysroot = PathBuf::from(ask("--print sysroot")?.trim_end());
    let has_src = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file();
    Some(Compiler { rustc: rustc.into(), cargo: cargo.into(), version, llvm, has_src })
}

/// Release and LLVM major version from what `rustc -vV` prints.
fn parse_verbose(text: &str) -> Option<(Version, u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some((Version::parse(field("release:")?)?, llvm))
}

/// Every bpf-linker in reach, in order of preference, with the major version of its LLVM.
pub fn linkers() -> Vec<(PathBuf, Option<u32>)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![tools_root().join("bin"), cargo_home().join("bin")];
    folders.extend(std::env::split_paths(&path));
    let mut found: Vec<(PathBuf, Option<u32>)> = Vec::new();
    for linker in folders.into_iter().map(|folder| folder.join("bpf-linker")) {
        if !found.iter().any(|(known, _)| *known == linker)
            && let Ok(bytes) = std::fs::read(&linker)
        {
            found.push((linker, llvm_of(&bytes)));
        }
    }
    found
}

/// The major version of the LLVM that a bpf-linker is linked to. It doesn't print it, but the file says it: in the name
/// of the shared library it needs (`libLLVM.so.22.1`, older `libLLVM-19.so`), or, where LLVM is linked in from a Rust
/// release, in LLVM's version string (`22.1.2-rust-1.95.0-stable`).
fn llvm_of(binary: &[u8]) -> Option<u32> {
    fn number(bytes: &[u8]) -> Option<u32> {
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()
    }
    let after = |needle: &[u8]| {
        let at = binary.windows(needle.len()).position(|window| window == needle)?;
        number(&binary[at + needle.len()..])
    };
    after(b"libLLVM.so.").or_else(|| after(b"libLLVM-")).or_else(|| {
        let needle = b"-rust-1.";
        let at = binary.windows(needle.len()).position(|window| window == needle)?;
        let text = &binary[at.saturating_sub(12)..at];
        let start = text.iter().rposition(|byte| !byte.is_ascii_digit() && *byte != b'.').map_or(0, |last| last + 1);
        number(&text[start..])
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that meets none fails")]
mod tests {
    use super::*;

    fn compiler(rustc: &str, minor: u32, llvm: u32, has_src: bool) -> Compiler {
        Compiler { rustc: rustc.into(), cargo: "cargo".into(), version: Version { major: 1, minor }, llvm, has_src }
    }

    #[test]
    fn versions() {
        assert_eq!(Version::parse("1.96.0"), Some(Version { major: 1, minor: 96 }));
        assert_eq!(Version::parse("1.97.0-nightly"), Some(Version { major: 1, minor: 97 }));
        assert_eq!(Version::parse("1.96.0+dfsg1-1~deb12u2"), Some(Version { major: 1, minor: 96 }));
        assert_eq!(Version::parse("1.93"), Some(Version { major: 1, minor: 93 }));
        for wrong in ["", "1", "one.two", "v1.9"] {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
        assert!(Version::parse("1.100.0") > Version::parse("1.95.0"));
        assert_eq!(Version::parse(env!("CARGO_PKG_RUST_VERSION")), Some(MIN_RUST));
    }

    #[test]
    fn what_rustc_says() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
                    host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(parse_verbose(text), Some((Version { major: 1, minor: 96 }, 22)));
        assert_eq!(parse_verbose("rustc 1.96.0\n"), None);
    }

    #[test]
    fn what_a_linker_is_linked_to() {
        assert_eq!(llvm_of(b"\0libLLVM.so.22.1\0libc.so.6"), Some(22));
        assert_eq!(llvm_of(b"\0libLLVM-19.so.1\0"), Some(19));
        assert_eq!(llvm_of(b"\0LLVM\0version 22.1.2-rust-1.95.0-stable\0"), Some(22));
        assert_eq!(llvm_of(b"21.1.2-rust-1.93.0-stable\0"), Some(21));
        assert_eq!(llvm_of(b"nothing of the kind"), None);
        assert_eq!(llvm_of(b"libLLVM.so."), None);
    }

    #[test]
    fn compiler_and_linker_must_agree() {
        let linkers =
            [("a/bpf-linker".into(), None), ("b/bpf-linker".into(), Some(21)), ("c/bpf-linker".into(), Some(22))];
        let old = compiler("old", MIN_RUST.minor - 1, 22, true);
        let bare = compiler("bare", 99, 22, false);
        let newer = compiler("newer", 99, 23, true);
        let good = compiler("good", 96, 22, true);

        let found = choose(&[old.clone(), bare.clone(), newer.clone(), good.clone()], &linkers).unwrap();
        let linker = "c/bpf-linker".into();
        assert_eq!(found, Toolchain { compiler: good.clone(), linker, certain: true });

        let found = choose(&[newer.clone(), good], &linkers[..2]).unwrap();
        assert_eq!(found, Toolchain { compiler: newer.clone(), linker: "a/bpf-linker".into(), certain: false });

        let linkers = &linkers[1..];
        let told = choose(&[old, bare, newer], linkers).unwrap_err().to_string();
        for part in ["old (1.94, LLVM 22): older than", "without the source of core", "no bpf-linker of LLVM 23"] {
            assert!(told.contains(part), "{told}");
        }
        assert!(told.contains("b/bpf-linker: of LLVM 21") && told.contains("cargo xtask setup"), "{told}");
        assert!(choose(&[], &[]).unwrap_err().to_string().contains("no rustc"));
    }

    #[test]
    fn the_outer_build_does_not_leak() {
        for name in ["CARGO", "RUSTC", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "CARGO_MAKEFLAGS"] {
            assert!(leaks(name), "{name}");
        }
        for name in
            ["RUSTUP_TOOLCHAIN", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR", "MAKEFLAGS"]
        {
            assert!(leaks(name), "{name}");
        }
        for name in
            ["PATH", "HOME", "CARGO_HOME", "CARGO_HTTP_PROXY", "CARGO_REGISTRIES_X_INDEX", "RUSTUP_HOME", "CARGONAUT"]
        {
            assert!(!leaks(name), "{name}");
        }
    }
}
