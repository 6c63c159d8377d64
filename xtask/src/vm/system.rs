//! `cargo xtask vm package`: the Debian package in a virtual machine that is Debian, with its systemd.
//!
//! A fresh root file system of the release that this is, unpacked into the machine's memory: nothing has to be known of disks. What is
//! done there, and what must come out, stands in `guest/package.sh`, a scenario as all others are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::initramfs::{self, Archive};
use super::machine::{Card, Machine};
use super::options::Options;
use super::packages::{Kernel, Store, codename};
use super::report::Report;
use super::scenario::{Scenario, Shape};
use super::{BESIDE, FOLDER, guest};
use crate::command::{is_root, run};
use crate::package;

/// What is looked at.
const PACKAGE: &str = "package.sh";
/// Beside what the package depends on.
const MORE: &str = "systemd,systemd-sysv,iproute2";
/// For the system twice, packed and unpacked.
const MEMORY: &str = "3G";

/// Boots each of the kernels on each of the cards.
///
/// # Errors
/// What is missing, what failed, or what the machine showed to be wrong with the package.
pub(super) fn test(options: &Options) -> Result<(), String> {
    if !is_root() {
        return Err("a fresh root file system needs root: run it through sudo".into());
    }
    let body = guest(PACKAGE)?;
    let scenario = Scenario::parse("package", &String::from_utf8_lossy(&body))?;
    let store = Store::open(Path::new(FOLDER))?;
    let folder = Folder::new(store.folder().join(format!("package-{}", std::process::id())))?;
    let [old, new] = ["0.1.0", "0.1.1"].map(|version| {
        let wanted =
            package::Wanted { program: options.program.clone(), version: version.into(), folder: folder.0.clone() };
        package::build(&wanted)
    });
    let (old, new) = (old?, new?);
    let system = fresh(&old, &folder.0)?;
    let mut wrong = Vec::new();
    for release in &options.kernels {
        let kernel = store.kernel(release)?;
        for card in options.cards.iter().copied() {
            let initramfs = folder.0.join("initramfs");
            fs::write(&initramfs, pack(&store, &kernel, card, [&system, &old, &new])?)
                .map_err(|e| format!("{}: {e}", initramfs.display()))?;
            let logs = store.folder().join(format!("package-{release}-{}", card.driver()).replace('/', "_"));
            fs::create_dir_all(&logs).map_err(|e| format!("{}: {e}", logs.display()))?;
            let machine = Machine {
                qemu: &store.qemu(card.device())?,
                kernel: &kernel.image,
                initramfs: &initramfs,
                memory: MEMORY,
                card,
                shape: Shape::USUAL,
                taps: None,
                folder: &logs,
            };
            eprintln!("vm: {}: booting; console in {}", logs.display(), machine.console().display());
            let ended = machine.run(BESIDE + Duration::from_secs(scenario.seconds), |line| {
                if line.starts_with("fact ") {
                    eprintln!("vm: {line}");
                }
            })?;
            let verdict = Report::parse(&ended.report).judge(&[&scenario]);
            println!("{}", verdict.told);
            let said = |what: String| format!("{release}, {}: {what}", card.driver());
            wrong.extend(verdict.wrong.into_iter().chain(ended.trouble).map(said));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n       ")) }
}

/// A root file system of this Debian's, as small as there is, with what the package depends on, in one file.
fn fresh(deb: &Path, folder: &Path) -> Result<PathBuf, String> {
    crate::setup::ensure(&[("mmdebstrap", "mmdebstrap")])?;
    let release = codename().ok_or("no VERSION_CODENAME in /etc/os-release: this is no Debian to make another of")?;
    let mut depends = Command::new("dpkg-deb");
    let depends = depends.arg("--field").arg(deb).arg("Depends").output().map_err(|e| format!("dpkg-deb: {e}"))?;
    let depends = String::from_utf8_lossy(&depends.stdout).into_owned();
    let names: Vec<&str> = depends.split(',').filter_map(|one| one.split_whitespace().next()).collect();
    let (root, system) = (folder.join("root"), folder.join("system.tar"));
    eprintln!("vm: mmdebstrap {release}");
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--variant=minbase", "--mode=root", &format!("--include={},{MORE}", names.join(","))]);
    run(make.arg(release).arg(&root))?;
    // BusyBox' tar knows no other form of long names.
    run(Command::new("tar")
        .args(["--format=gnu", "--numeric-owner", "-cf"])
        .arg(&system)
        .arg("-C")
        .arg(&root)
        .arg("."))?;
    fs::remove_dir_all(&root).map_err(|e| format!("{}: {e}", root.display()))?;
    Ok(system)
}

fn pack(store: &Store, kernel: &Kernel, card: Card, [system, old, new]: [&Path; 3]) -> Result<Vec<u8>, String> {
    let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    let mut archive = Archive::new();
    archive.add(Path::new("/init"), &guest("system.sh")?);
    archive.add_program(&store.busybox()?, Path::new("/bin/busybox"))?;
    archive.add(Path::new("/system.tar"), &read(system)?);
    for (name, content) in [
        (PACKAGE, guest(PACKAGE)?),
        ("package.service", guest("package.service")?),
        ("old.deb", read(old)?),
        ("new.deb", read(new)?),
    ] {
        archive.add(&Path::new("/package").join(name), &content);
    }
    initramfs::add_modules(&mut archive, &kernel.tree, card.modules())?;
    Ok(archive.finish())
}

/// Gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn new(path: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
