//! From what a machine has to what must be done next. Pure.

use std::fmt;
use std::path::PathBuf;

use super::facts::{Facts, Need, Privilege};
use crate::ebpf::{self, Compiler, MIN_RUST};

/// The LLVMs that our bpf-linker release can be built for.
const LLVMS: std::ops::RangeInclusive<u32> = 21..=23;

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: everything is there.
    Ready,
    /// These, and then look again.
    Steps(Vec<Step>),
}

/// One thing to do. Its text is what is printed before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fetch the package lists.
    UpdateLists,
    /// Install packages.
    Install(Vec<String>),
    /// A nightly with the source of `core`, by the rustup at this path.
    RustupNightly(PathBuf),
    /// clippy and rustfmt, by the rustup at this path.
    RustupComponents(PathBuf),
    /// A bpf-linker of this compiler's LLVM.
    Linker(Compiler),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::UpdateLists => f.write_str("apt-get update"),
            Step::Install(packages) => write!(f, "apt-get install {}", packages.join(" ")),
            Step::RustupNightly(_) => f.write_str("rustup toolchain install nightly, with rust-src"),
            Step::RustupComponents(_) => f.write_str("rustup component add clippy rustfmt"),
            Step::Linker(compiler) => {
                let root = ebpf::tools_root();
                write!(f, "cargo install bpf-linker of LLVM {} into {} (a minute)", compiler.llvm, root.display())
            }
        }
    }
}

/// What to do next.
///
/// # Errors
/// What a person must do, item by item, because set-up can't.
pub fn plan(facts: &Facts) -> Result<Plan, String> {
    let mut toolchain = ebpf::choose(&facts.compilers, &facts.linkers);
    if let Ok(found) = &toolchain
        && !found.certain
        && facts.apt
        && (facts.llvm_dev.contains(&found.compiler.llvm)
            || facts.offers.as_ref().is_none_or(|offers| offers.llvm_dev.contains(&found.compiler.llvm)))
    {
        // A linker that doesn't tell its LLVM is good for where we can't have one that does.
        let known: Vec<_> = facts.linkers.iter().filter(|(_, llvm)| llvm.is_some()).cloned().collect();
        toolchain = ebpf::choose(&facts.compilers, &known);
    }
    if facts.missing.is_empty() && !facts.lints_missing && toolchain.is_ok() {
        return Ok(Plan::Ready);
    }
    let compiler = facts.compilers.iter().find(|compiler| complete(compiler));
    if let (Some(compiler), Err(_), true) = (compiler, &toolchain, facts.missing.is_empty())
        && facts.llvm_dev.contains(&compiler.llvm)
    {
        // Everything that this takes is there: no need to bother the package lists.
        return Ok(Plan::Steps(vec![Step::Linker(compiler.clone())]));
    }
    // clippy and rustfmt of the cargo on PATH, where that is rustup's.
    let lints_by = facts.rustup.as_ref().filter(|_| facts.cargo_is_rustups);
    if let (Some(rustup), true, true) = (lints_by, facts.missing.is_empty(), toolchain.is_ok()) {
        return Ok(Plan::Steps(vec![Step::RustupComponents(rustup.clone())]));
    }
    if !facts.apt {
        return Err(by_hand(facts, toolchain.err()));
    }
    if facts.privilege == Privilege::None {
        let packages: Vec<&str> = facts.missing.iter().map(|need| need.package).collect();
        return Err(format!(
            "packages must be installed, which needs root, and there is no sudo: run this as root{}",
            if packages.is_empty() { String::new() } else { format!(" (missing: {})", packages.join(" ")) }
        ));
    }
    let Some(offers) = &facts.offers else { return Ok(Plan::Steps(vec![Step::UpdateLists])) };

    let mut packages: Vec<String> = facts.missing.iter().map(|need| need.package.to_string()).collect();
    let mut after = Vec::new();
    if let Err(missing) = toolchain {
        match compiler {
            Some(compiler) if facts.llvm_dev.contains(&compiler.llvm) => after.push(Step::Linker(compiler.clone())),
            Some(compiler) if offers.llvm_dev.contains(&compiler.llvm) => {
                packages.push(format!("llvm-{}-dev", compiler.llvm));
            }
            Some(compiler) => {
                return Err(format!(
                    "{} has LLVM {llvm}, and {} has no llvm-{llvm}-dev to build bpf-linker with: install a bpf-linker \
                     of LLVM {llvm} (https://github.com/aya-rs/bpf-linker) on PATH, then run this again",
                    compiler.rustc.display(),
                    facts.system,
                    llvm = compiler.llvm
                ));
            }
            None => match (offers.rust.iter().find(|offer| offer.version >= MIN_RUST), &facts.rustup) {
                (Some(offer), _) => packages.extend(offer.packages.iter().cloned()),
                (None, Some(rustup)) => after.push(Step::RustupNightly(rustup.clone())),
                (None, None) => {
                    return Err(format!(
                        "{missing}\n{} has no package of Rust {MIN_RUST} or newer with its source that can be \
                         installed beside what is there: install rustup (https://rustup.rs), then run this again",
                        facts.system
                    ));
                }
            },
        }
    }
    if facts.lints_missing {
        // The lints of the compiler that is there, if it is a package's: apt says so by the version.
        let installed = compiler.map(|compiler| compiler.version);
        let offer = offers.rust.iter().find(|offer| installed.is_none_or(|version| version == offer.version));
        match (lints_by, offer) {
            (Some(rustup), _) => after.push(Step::RustupComponents(rustup.clone())),
            (None, Some(offer)) => packages.extend(offer.lints.iter().cloned()),
            (None, None) => return Err("cargo clippy and cargo fmt are missing: install them for your cargo".into()),
        }
    }
    packages.dedup();
    let install = (!packages.is_empty()).then_some(Step::Install(packages));
    Ok(Plan::Steps(install.into_iter().chain(after).collect()))
}

/// Whether only a linker is needed beside it.
fn complete(compiler: &Compiler) -> bool {
    compiler.version >= MIN_RUST && compiler.has_src && LLVMS.contains(&compiler.llvm)
}

/// What is missing on a system that set-up can't install on.
fn by_hand(facts: &Facts, toolchain: Option<ebpf::Missing>) -> String {
    let mut told = format!("{} has no apt, so install by hand what is missing:\n", facts.system);
    for Need { found_by, package, why, .. } in &facts.missing {
        told += &format!("  {found_by} (Debian's package: {package}): {why}\n");
    }
    if facts.lints_missing {
        told += "  cargo clippy and cargo fmt (rustup component add clippy rustfmt)\n";
    }
    if let Some(missing) = toolchain {
        told += &format!(
            "  Rust {MIN_RUST} or newer with its source (rustup toolchain install nightly --component rust-src)\n  \
             bpf-linker of the same LLVM as that Rust (https://github.com/aya-rs/bpf-linker), on PATH\n\
             Looked at:\n"
        );
        for reason in missing.reasons {
            told += &format!("  {reason}\n");
        }
    }
    told.trim_end().into()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that meets none fails")]
mod tests {
    use super::super::facts::{NEEDS, Offers, RustOffer};
    use super::*;
    use crate::ebpf::Version;

    fn compiler(minor: u32, llvm: u32, has_src: bool) -> Compiler {
        let version = Version { major: 1, minor };
        Compiler { rustc: "/usr/bin/rustc".into(), cargo: "/usr/bin/cargo".into(), version, llvm, has_src }
    }

    fn web(minor: u32) -> RustOffer {
        RustOffer {
            version: Version { major: 1, minor },
            packages: ["rustc-web", "cargo-web", "rust-web-src"].map(String::from),
            lints: ["rust-web-clippy", "rustfmt-web"].map(String::from),
        }
    }

    /// A machine that has everything; tests take things away.
    fn complete_machine() -> Facts {
        Facts {
            system: "Debian GNU/Linux 12 (bookworm)".into(),
            apt: true,
            privilege: Privilege::Root,
            missing: vec![],
            compilers: vec![compiler(96, 22, true)],
            linkers: vec![("bpf-linker".into(), Some(22))],
            lints_missing: false,
            rustup: None,
            cargo_is_rustups: false,
            llvm_dev: vec![22],
            offers: None,
        }
    }

    fn need(package: &str) -> &'static Need {
        NEEDS.iter().find(|need| need.package == package).unwrap()
    }

    fn install(packages: &[&str]) -> Step {
        Step::Install(packages.iter().map(|package| package.to_string()).collect())
    }

    fn steps(facts: &Facts) -> Vec<Step> {
        match plan(facts).unwrap() {
            Plan::Steps(steps) => steps,
            Plan::Ready => vec![],
        }
    }

    #[test]
    fn nothing_is_done_when_all_is_there() {
        assert_eq!(plan(&complete_machine()), Ok(Plan::Ready));
    }

    #[test]
    fn a_bare_machine_in_rounds() {
        let mut machine = complete_machine();
        machine.missing = vec![need("m4"), need("clang")];
        (machine.compilers, machine.linkers, machine.llvm_dev) = (vec![], vec![], vec![]);
        assert_eq!(steps(&machine), [Step::UpdateLists]);

        machine.offers = Some(Offers { rust: vec![web(96)], llvm_dev: vec![19, 22] });
        assert_eq!(steps(&machine), [install(&["m4", "clang", "rustc-web", "cargo-web", "rust-web-src"])]);

        machine.missing = vec![];
        machine.compilers = vec![compiler(96, 22, true)];
        assert_eq!(steps(&machine), [install(&["llvm-22-dev"])]);

        machine.llvm_dev = vec![22];
        assert_eq!(steps(&machine), [Step::Linker(compiler(96, 22, true))]);

        machine.linkers = vec![("bpf-linker".into(), Some(22))];
        assert_eq!(plan(&machine), Ok(Plan::Ready));
    }

    #[test]
    fn a_linker_of_another_llvm_is_left_and_one_of_ours_added() {
        let mut machine = complete_machine();
        machine.linkers = vec![("/home/someone/.cargo/bin/bpf-linker".into(), Some(21))];
        assert_eq!(steps(&machine), [Step::Linker(compiler(96, 22, true))]);
    }

    #[test]
    fn a_linker_that_does_not_tell_its_llvm_is_the_last_resort() {
        let mut machine = complete_machine();
        machine.linkers = vec![("bpf-linker".into(), None)];
        assert_eq!(steps(&machine), [Step::Linker(compiler(96, 22, true))]);
        machine.llvm_dev = vec![];
        assert_eq!(steps(&machine), [Step::UpdateLists]);
        machine.offers = Some(Offers { rust: vec![], llvm_dev: vec![19] });
        assert_eq!(plan(&machine), Ok(Plan::Ready));
    }

    #[test]
    fn rustup_where_packages_are_too_old() {
        let mut machine = complete_machine();
        machine.compilers = vec![compiler(MIN_RUST.minor - 1, 22, true), compiler(99, 22, false)];
        machine.offers = Some(Offers { rust: vec![web(MIN_RUST.minor - 1)], llvm_dev: vec![22] });
        let told = plan(&machine).unwrap_err();
        assert!(told.contains("https://rustup.rs") && told.contains("rust-src"), "{told}");

        machine.rustup = Some("rustup".into());
        assert_eq!(steps(&machine), [Step::RustupNightly("rustup".into())]);
    }

    #[test]
    fn an_llvm_that_the_system_lacks() {
        let mut machine = complete_machine();
        machine.compilers = vec![compiler(99, 23, true)];
        machine.offers = Some(Offers { rust: vec![], llvm_dev: vec![22] });
        let told = plan(&machine).unwrap_err();
        assert!(told.contains("no llvm-23-dev") && told.contains("bpf-linker"), "{told}");
    }

    #[test]
    fn lints_come_from_where_the_compiler_comes_from() {
        let mut machine = complete_machine();
        machine.lints_missing = true;
        (machine.rustup, machine.cargo_is_rustups) = (Some("rustup".into()), true);
        assert_eq!(steps(&machine), [Step::RustupComponents("rustup".into())]);
        machine.cargo_is_rustups = false;
        machine.offers = Some(Offers { rust: vec![web(99), web(96)], llvm_dev: vec![] });
        assert_eq!(steps(&machine), [install(&["rust-web-clippy", "rustfmt-web"])]);
    }

    #[test]
    fn without_apt_or_root_it_says_what_is_missing() {
        let mut machine = complete_machine();
        machine.missing = vec![need("m4"), need("libelf-dev")];
        machine.privilege = Privilege::None;
        let told = plan(&machine).unwrap_err();
        assert!(told.contains("run this as root") && told.contains("m4 libelf-dev"), "{told}");

        machine.apt = false;
        machine.system = "Fedora Linux 44".into();
        machine.linkers = vec![];
        machine.llvm_dev = vec![];
        let told = plan(&machine).unwrap_err();
        for part in
            ["Fedora Linux 44 has no apt", "  m4 (Debian's package: m4)", "libelf.h", "bpf-linker of the same LLVM"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("zlib"), "{told}");
    }
}
