//! What set-up finds on the machine. Asked cheaply: a machine that has everything is done in well under a second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::{find_program, is_root};
use crate::ebpf::{self, Compiler, Version};

/// Everything that [`super::plan`] decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What the system calls itself, for messages.
    pub system: String,
    /// There is an apt-get.
    pub apt: bool,
    /// How packages can be installed.
    pub privilege: Privilege,
    /// The programs, headers and libraries that are missing.
    pub missing: Vec<&'static Need>,
    /// Rust compilers, in the order in which the eBPF build tries them.
    pub compilers: Vec<Compiler>,
    /// bpf-linkers and their LLVM.
    pub linkers: Vec<(PathBuf, Option<u32>)>,
    /// `cargo fmt` and `cargo clippy` are wanted (by tests) and don't both run.
    pub lints_missing: bool,
    /// The person's rustup.
    pub rustup: Option<PathBuf>,
    /// The `cargo` on PATH is rustup's, so what belongs to it comes from rustup too.
    pub cargo_is_rustups: bool,
    /// The LLVMs whose development files are installed.
    pub llvm_dev: Vec<u32>,
    /// What apt could install. `None` until the package lists are fresh.
    pub offers: Option<Offers>,
}

/// How packages can be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// We are root.
    Root,
    /// Through sudo.
    Sudo,
    /// Not at all.
    None,
}

/// What apt could install, without removing anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Compilers with their source, newest first.
    pub rust: Vec<RustOffer>,
    /// The LLVMs whose development files there are.
    pub llvm_dev: Vec<u32>,
}

/// One of the distribution's Rusts: Debian has `rustc` and `rustc-web`, Ubuntu `rustc-1.93` and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RustOffer {
    /// Its release.
    pub version: Version,
    /// The packages of compiler, Cargo and source.
    pub packages: [String; 3],
    /// The packages of clippy and rustfmt.
    pub lints: [String; 2],
}

/// A program, header or library that echolot or its tests need.
#[derive(Debug, PartialEq, Eq)]
pub struct Need {
    /// How it shows.
    pub found_by: Found,
    /// Debian's and Ubuntu's package of it.
    pub package: &'static str,
    /// What for, for systems where a person must find the package.
    pub why: &'static str,
    /// Only tests need it.
    pub test: bool,
}

/// How a [`Need`] shows that it is there.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A program of this name on PATH or in the sbin folders.
    Program(&'static str),
    /// One of these files.
    File(&'static [&'static str]),
    /// libclang, wherever a distribution puts it.
    Libclang,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Found::Program(name) => f.write_str(name),
            Found::File(paths) => f.write_str(paths.first().unwrap_or(&"")),
            Found::Libclang => f.write_str("libclang"),
        }
    }
}

const fn program(name: &'static str, package: &'static str, why: &'static str) -> Need {
    Need { found_by: Found::Program(name), package, why, test: false }
}

const fn file(paths: &'static [&'static str], package: &'static str, why: &'static str) -> Need {
    Need { found_by: Found::File(paths), package, why, test: false }
}

const fn test(name: &'static str, package: &'static str, why: &'static str) -> Need {
    Need { found_by: Found::Program(name), package, why, test: true }
}

const CERTIFICATES: &[&str] = &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

const PROMETHEUS_CLIENT: &[&str] = &["/usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py"];

/// Everything but Rust, LLVM and bpf-linker, which depend on each other.
pub const NEEDS: &[Need] = &[
    program("cc", "gcc", "links every Rust program, compiles libbpf and libxdp"),
    file(&["/usr/include/stdio.h"], "libc6-dev", "the C library's headers"),
    file(CERTIFICATES, "ca-certificates", "Cargo downloads crates by HTTPS"),
    program("make", "make", "builds libbpf and libxdp"),
    program("m4", "m4", "builds libxdp"),
    program("pkg-config", "pkg-config", "finds libelf and zlib"),
    program("clang", "clang", "compiles libxdp's dispatcher"),
    Need { found_by: Found::Libclang, package: "libclang-dev", why: "bindgen reads C headers with it", test: false },
    file(&["/usr/include/libelf.h"], "libelf-dev", "libbpf reads ELF objects with it"),
    file(&["/usr/include/zlib.h"], "zlib1g-dev", "libelf unpacks sections with it"),
    program("ip", "iproute2", "the lab's namespaces"),
    program("curl", "curl", "the demo scrapes metrics with it"),
    program("ps", "procps", "looking at what runs in the lab"),
    test("ping", "iputils-ping", "the kernel's own ping, beside echolot"),
    test("tracepath", "iputils-tracepath", "the path MTU as others find it"),
    test("traceroute", "traceroute", "paths as others find them"),
    test("mtr", "mtr-tiny", "paths as others find them"),
    test("nft", "nftables", "routers that balance by what Linux alone does not hash"),
    test("nc", "netcat-openbsd", "ports as others find them"),
    test("dig", "bind9-dnsutils", "name servers' answers as others read them"),
    test("tshark", "tshark", "the independent reader of captures"),
    test("tcpdump", "tcpdump", "captures"),
    test("ethtool", "ethtool", "queues and offloads of the lab's interfaces"),
    test("strace", "strace", "which system calls the loops make"),
    test("systemd-analyze", "systemd", "says how hardened the unit is"),
    test("amtool", "prometheus-alertmanager", "checks what alerts are routed by, and real Alertmanagers take them"),
    test("promtool", "prometheus", "checks /metrics, and a real Prometheus scrapes it"),
    Need {
        found_by: Found::File(PROMETHEUS_CLIENT),
        package: "python3-prometheus-client",
        why: "reads OpenMetrics as others do",
        test: true,
    },
    test("iperf3", "iperf3", "a TCP transfer beside echolot"),
    test("fping", "fping", "a peer to measure against"),
    test("masscan", "masscan", "a peer to measure against"),
    test("zmap", "zmap", "a peer to measure against"),
    test("scamper", "scamper", "a peer to measure against"),
    test("tmux", "tmux", "a terminal for the live view"),
];

/// Looks. `updated`: the package lists are fresh, so that what apt offers can be told.
pub fn gather(test: bool, updated: bool) -> Facts {
    let missing = NEEDS.iter().filter(|need| (test || !need.test) && !is_there(&need.found_by)).collect();
    let apt = find_program("apt-get").is_some();
    let rustup = find_program("rustup");
    Facts {
        system: system_name(&std::fs::read_to_string("/etc/os-release").unwrap_or_default()),
        apt,
        privilege: if is_root() {
            Privilege::Root
        } else if find_program("sudo").is_some() {
            Privilege::Sudo
        } else {
            Privilege::None
        },
        missing,
        compilers: ebpf::compilers(),
        linkers: ebpf::linkers(),
        lints_missing: test
            && !(succeeds("cargo", &["fmt", "--version"]) && succeeds("cargo", &["clippy", "--version"])),
        cargo_is_rustups: rustup.is_some()
            && find_program("cargo").as_deref().and_then(Path::parent) == rustup.as_deref().and_then(Path::parent),
        rustup,
        llvm_dev: (21..=23).filter(|llvm| llvm_prefix(*llvm).join("include/llvm-c").is_dir()).collect(),
        offers: (apt && updated).then(offers),
    }
}

/// Where Debian and Ubuntu put an LLVM.
pub fn llvm_prefix(llvm: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{llvm}"))
}

/// `PRETTY_NAME` of an os-release file.
pub fn system_name(os_release: &str) -> String {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "this system".into(), |name| name.trim().trim_matches(['"', '\'']).to_string())
}

fn is_there(found: &Found) -> bool {
    match found {
        Found::Program(name) => find_program(name).is_some(),
        Found::File(paths) => paths.iter().any(|path| Path::new(path).exists()),
        Found::Libclang => {
            let llvms = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
            let mut folders: Vec<PathBuf> = llvms.filter(|path| path.is_dir()).collect();
            folders.extend(folders.clone().into_iter().map(|folder| folder.join("lib")));
            folders.extend(["/usr/lib64".into(), "/usr/local/lib".into()]);
            folders.extend(std::env::var_os("LIBCLANG_PATH").map(PathBuf::from));
            folders.iter().any(|folder| {
                let mut names = std::fs::read_dir(folder).into_iter().flatten().flatten();
                names.any(|entry| {
                    let name = entry.file_name();
                    let name = name.to_string_lossy();
                    name == "libclang.so" || (name.starts_with("libclang-") && name.contains(".so"))
                })
            })
        }
    }
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn offers() -> Offers {
    let names =
        ["rustc", "rust-", "cargo", "rustfmt", "llvm-"].map(|prefix| output("apt-cache", &["pkgnames", prefix]));
    let names = names.concat();
    let names: Vec<&str> = names.lines().filter(|name| concerns(name)).collect();
    let candidates = parse_policy(&output("apt-cache", &[&["policy"][..], &names].concat()));
    let mut offers = offered(&candidates);
    // One that conflicts with what is installed is none: nothing is removed.
    offers.rust.retain(|offer| {
        let packages: Vec<&str> = offer.packages.iter().map(String::as_str).collect();
        succeeds(
            "apt-get",
            &[&["install", "--simulate", "--no-remove", "--no-install-recommends"][..], &packages].concat(),
        )
    });
    offers
}

/// Whether a package could matter to [`offered`].
fn concerns(name: &str) -> bool {
    let rust = ["rustc", "cargo", "rustfmt"].iter().any(|stem| flavour(name, stem).is_some());
    let parts = name.strip_prefix("rust-").is_some_and(|rest| rest.ends_with("src") || rest.ends_with("clippy"));
    rust || parts || llvm_dev(name).is_some()
}

/// The `web` of `rustc-web`, the `1.93` of `rustc-1.93`, nothing of `rustc`.
fn flavour<'a>(name: &'a str, stem: &str) -> Option<Option<&'a str>> {
    let rest = name.strip_prefix(stem)?;
    if rest.is_empty() {
        return Some(None);
    }
    let rest = rest.strip_prefix('-')?;
    (rest == "web" || Version::parse(rest).is_some_and(|version| version.to_string() == rest)).then_some(Some(rest))
}

fn llvm_dev(name: &str) -> Option<u32> {
    name.strip_prefix("llvm-")?.strip_suffix("-dev")?.parse().ok()
}

/// Package and candidate version from what `apt-cache policy` prints.
pub fn parse_policy(text: &str) -> BTreeMap<String, String> {
    let mut candidates = BTreeMap::new();
    let mut package = None;
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            package = Some(name);
        } else if let (Some(name), Some(version)) = (package, line.trim().strip_prefix("Candidate: "))
            && version != "(none)"
        {
            candidates.insert(name.to_string(), version.to_string());
        }
    }
    candidates
}

/// The Rusts and LLVMs among these packages.
pub fn offered(candidates: &BTreeMap<String, String>) -> Offers {
    let mut rust: Vec<RustOffer> = Vec::new();
    for (name, version) in candidates {
        let (Some(flavour), Some(version)) = (flavour(name, "rustc"), Version::parse(version)) else { continue };
        let named = |stem: &str, part: &str| match flavour {
            Some(flavour) => format!("{stem}-{flavour}{part}"),
            None => format!("{stem}{part}"),
        };
        let packages = [name.clone(), named("cargo", ""), named("rust", "-src")];
        if packages.iter().all(|package| candidates.contains_key(package)) {
            rust.push(RustOffer { version, packages, lints: [named("rust", "-clippy"), named("rustfmt", "")] });
        }
    }
    rust.sort_by_key(|offer| std::cmp::Reverse(offer.version));
    Offers { rust, llvm_dev: candidates.keys().filter_map(|name| llvm_dev(name)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_by_name() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nID=debian\n";
        assert_eq!(system_name(debian), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(system_name("ID=alpine\nPRETTY_NAME='Alpine Linux'\n"), "Alpine Linux");
        assert_eq!(system_name(""), "this system");
    }

    #[test]
    fn what_bookworm_offers() {
        let policy = "\
rustc:
  Installed: (none)
  Candidate: 1.63.0+dfsg1-2
  Version table:
     1.63.0+dfsg1-2 500
        500 http://deb.example/debian bookworm/main amd64 Packages
cargo:
  Installed: (none)
  Candidate: 0.66.0+ds1-1
rust-src:
  Candidate: 1.63.0+dfsg1-2
rustc-web:
  Candidate: 1.96.0+dfsg1-1~deb12u2
cargo-web:
  Candidate: 1.96.0+dfsg1-1~deb12u2
rust-web-src:
  Candidate: 1.96.0+dfsg1-1~deb12u2
rustc-mozilla:
  Candidate: (none)
llvm-22-dev:
  Candidate: 1:22.1.8-1~deb12u1
llvm-19-dev:
  Candidate: (none)
";
        let offers = offered(&parse_policy(policy));
        assert_eq!(offers.llvm_dev, [22]);
        let names: Vec<_> = offers.rust.iter().map(|offer| offer.packages.join(" ")).collect();
        assert_eq!(names, ["rustc-web cargo-web rust-web-src", "rustc cargo rust-src"]);
        assert_eq!(offers.rust[0].lints, ["rust-web-clippy", "rustfmt-web"]);
    }

    #[test]
    fn what_ubuntu_offers() {
        let names =
            ["rustc-1.93", "cargo-1.93", "rust-1.93-src", "rustc-1.95", "cargo-1.95", "rust-1.95-src", "rustc-1.96"];
        let candidates = names.map(|name| {
            let version = Version::parse(name.trim_start_matches(|c: char| !c.is_ascii_digit()));
            (name.to_string(), format!("{}.0+dfsg-0ubuntu1", version.map(|v| v.to_string()).unwrap_or_default()))
        });
        let offers = offered(&candidates.into_iter().collect());
        let names: Vec<_> = offers.rust.iter().map(|offer| offer.packages.join(" ")).collect();
        // 1.96 has no source here: no use.
        assert_eq!(names, ["rustc-1.95 cargo-1.95 rust-1.95-src", "rustc-1.93 cargo-1.93 rust-1.93-src"]);
        assert_eq!(offers.rust[0].lints, ["rust-1.95-clippy", "rustfmt-1.95"]);
    }

    #[test]
    fn packages_that_matter() {
        for name in
            ["rustc", "rustc-web", "rustc-1.93", "cargo-1.93", "rust-web-src", "rust-1.93-clippy", "llvm-22-dev"]
        {
            assert!(concerns(name), "{name}");
        }
        for name in ["rustc-mozilla", "rustc-1.93-doc", "cargo-audit", "rust-gdb", "llvm-dev", "llvm-22", "librust-dev"]
        {
            assert!(!concerns(name), "{name}");
        }
    }
}
