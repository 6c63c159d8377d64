//! Where QEMU, BusyBox and Debian's kernels come from: packages. Their lists are this chore's own, below `target/vm`, so that the
//! machine's are left alone; kernels are unpacked there and installed nowhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::command::{find_program, run, run_shown, shown};
use crate::setup::facts::Privilege;
use crate::setup::{self, facts};

/// The kernels that are tried unless others are asked for, in each of Debian's suites.
pub(super) const RELEASES: [&str; 3] = ["6.1", "6.12", "6.18"];
/// Debian's suites with kernels of the releases that we know: 6.1; 6.12; 6.16 and later.
const SUITES: [&str; 3] = ["bookworm", "bookworm-backports", "trixie-backports"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Lists older than this are fetched again, if something that isn't there yet is wanted.
const FRESH: Duration = Duration::from_secs(24 * 3600);
/// What is taken out of a kernel's package: itself, and modules among which are those of network cards and all that they need.
const PARTS: [&str; 9] = [
    "./boot/vmlinuz*",
    "*/modules.builtin",
    "*/kernel/net/*",
    "*/kernel/drivers/net/*",
    "*/kernel/drivers/virtio/*",
    "*/kernel/drivers/i2c/*",
    "*/kernel/drivers/dca/*",
    "*/kernel/drivers/ptp/*",
    "*/kernel/drivers/pps/*",
];

/// `target/vm`, and what it has.
pub(super) struct Store {
    folder: PathBuf,
}

/// A kernel, unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// The kernel itself.
    pub(super) image: PathBuf,
    /// Below this are its modules.
    pub(super) tree: PathBuf,
}

impl Store {
    /// Of this folder, made if it isn't there.
    ///
    /// # Errors
    /// If it can't be made.
    pub(super) fn open(folder: &Path) -> Result<Self, String> {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let folder = fs::canonicalize(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A QEMU that has this device, installed if there is none.
    ///
    /// # Errors
    /// What must be installed by hand, or what failed.
    pub(super) fn qemu(&self, device: &str) -> Result<PathBuf, String> {
        const PROGRAM: &str = "qemu-system-x86_64";
        if find_program(PROGRAM).is_none() {
            if codename().as_deref() == Some("bookworm") {
                // Debian 12's own is QEMU 7.2, which has no igb.
                self.install("qemu-system-x86", "bookworm-backports")?;
            } else {
                setup::ensure(&[(PROGRAM, "qemu-system-x86")])?;
            }
        }
        let qemu = find_program(PROGRAM).ok_or("qemu-system-x86 is installed, and there is no qemu-system-x86_64")?;
        let told = Command::new(&qemu).args(["-M", "q35", "-device", "help"]).stdin(Stdio::null()).output();
        let told = told.map_err(|e| format!("{}: {e}", qemu.display()))?;
        if String::from_utf8_lossy(&told.stdout).contains(&format!("name \"{device}\"")) {
            return Ok(qemu);
        }
        Err(format!(
            "{} has no device {device}: QEMU 8.0 and later have (Debian 12: bookworm-backports)",
            qemu.display()
        ))
    }

    /// BusyBox, linked statically.
    ///
    /// # Errors
    /// As for [`Store::kernel`].
    pub(super) fn busybox(&self) -> Result<PathBuf, String> {
        let path = self.folder.join("busybox");
        if !path.is_file() {
            let package = self.download("busybox-static")?;
            let tree = self.folder.join("busybox-tree");
            run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree))?;
            let program = ["bin/busybox", "usr/bin/busybox"].map(|name| tree.join(name));
            let program = program.iter().find(|program| program.is_file()).ok_or("busybox-static has no busybox")?;
            fs::rename(program, &path).map_err(|e| format!("{}: {e}", path.display()))?;
            clear(&tree)?;
            clear(&package)?;
        }
        Ok(path)
    }

    /// Debian's newest kernel of a release (`6.18`), downloaded unless one of that release is here, or the one in this package.
    ///
    /// # Errors
    /// What is missing, or what failed.
    pub(super) fn kernel(&self, wanted: &str) -> Result<Kernel, String> {
        let kernels = self.folder.join("kernels");
        if wanted.ends_with(".deb") {
            let package = Path::new(wanted);
            let name = package.file_stem().and_then(|stem| stem.to_str()).unwrap_or("kernel");
            let folder = kernels.join(name);
            return found(&folder).map_or_else(|| unpack(package, &folder), Ok);
        }
        let here = fs::read_dir(&kernels).into_iter().flatten().flatten();
        let here: Vec<String> = here.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        if let Some(name) = newest(wanted, here.iter().map(String::as_str))
            && let Some(kernel) = found(&kernels.join(name))
        {
            return Ok(kernel);
        }
        self.update()?;
        let names = text(self.apt("apt-cache")?.args(["pkgnames", &format!("{IMAGE}{wanted}.")]))?;
        let name = newest(wanted, names.lines())
            .ok_or_else(|| format!("Debian's suites {} have no kernel {wanted}", SUITES.join(", ")))?;
        let package = self.download(name)?;
        let kernel = unpack(&package, &kernels.join(name))?;
        clear(&package)?;
        Ok(kernel)
    }

    fn lists(&self) -> PathBuf {
        self.folder.join("apt/lists")
    }

    /// An apt program that knows the lists below this folder and no others.
    fn apt(&self, program: &str) -> Result<Command, String> {
        let etc = self.folder.join("apt");
        let mut command = Command::new(program);
        command.env("LC_ALL", "C");
        for (key, value) in [
            ("Dir::Etc::sourcelist", etc.join("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::State::lists", self.lists()),
            ("Dir::Cache", etc.join("cache")),
            // The folder may be one that apt's own user can't write.
            ("APT::Sandbox::User", "root".into()),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        Ok(command)
    }

    /// Fetches the lists if they are old.
    fn update(&self) -> Result<(), String> {
        let stamp = self.lists().join("fetched");
        let age =
            fs::metadata(&stamp).and_then(|data| data.modified()).ok().map(|at| SystemTime::now().duration_since(at));
        if age.is_some_and(|age| age.is_ok_and(|age| age < FRESH)) {
            return Ok(());
        }
        let archive = archive()?;
        let sources: Vec<String> =
            SUITES.iter().map(|suite| format!("deb [signed-by={KEYRING}] {archive} {suite} main\n")).collect();
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(self.lists().join("partial"))?;
            fs::create_dir_all(self.folder.join("apt/cache/archives/partial"))?;
            fs::write(self.folder.join("apt/sources.list"), sources.concat())
        };
        write().map_err(|e| format!("{}: {e}", self.folder.display()))?;
        eprintln!("vm: package lists of {}", SUITES.join(", "));
        run(self.apt("apt-get")?.args(["-q", "update"]))?;
        fs::write(&stamp, "").map_err(|e| format!("{}: {e}", stamp.display()))
    }

    fn download(&self, name: &str) -> Result<PathBuf, String> {
        self.update()?;
        let folder = self.folder.join("packages");
        // Whatever an interrupted download has left would be in the way.
        clear(&folder)?;
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        eprintln!("vm: apt-get download {name}");
        run(self.apt("apt-get")?.args(["-q", "download", name]).current_dir(&folder))?;
        let package = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).next();
        package.ok_or_else(|| format!("apt-get download {name} brought nothing"))
    }

    fn install(&self, package: &str, suite: &str) -> Result<(), String> {
        let privilege = facts::gather(false, false).privilege;
        if privilege == Privilege::None {
            return Err(format!("{package} of {suite} must be installed, which needs root, and there is no sudo"));
        }
        self.update()?;
        eprintln!("vm: apt-get install {package} of {suite}");
        let apt = self.apt("apt-get")?;
        let mut command = setup::as_root(privilege);
        command.args(["env", "DEBIAN_FRONTEND=noninteractive"]).arg(apt.get_program()).args(apt.get_args());
        command.args(["-q", "install", "--yes", "--no-remove", "--no-install-recommends", "-t", suite, package]);
        // Its words belong to what goes on, and not to what the caller prints.
        command.stdout(std::io::stderr());
        run_shown(&mut command)
    }
}

const IMAGE: &str = "linux-image-";

/// The newest of these packages that is an ordinary kernel of this release.
fn newest<'a>(release: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let numbers = |name: &str| -> Option<Vec<u32>> {
        let version = name.strip_prefix(IMAGE)?.strip_suffix("-amd64")?;
        let rest = version.strip_prefix(release)?;
        // `-rt` and `-cloud` are other kernels; 6.1 is not 6.12.
        let ordinary = rest.starts_with('.') && !["rt", "cloud", "dbg"].iter().any(|word| rest.contains(word));
        let numbers = version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
        ordinary.then(|| numbers.collect())
    };
    names.filter_map(|name| Some((numbers(name)?, name))).max().map(|(_, name)| name)
}

/// Where this machine gets Debian's packages from.
fn archive() -> Result<String, String> {
    let by_hand = "name a kernel's package with --kernel FILE.deb, and install QEMU and a static BusyBox";
    if find_program("apt-get").is_none() {
        return Err(format!("there is no apt here to fetch Debian's kernels with: {by_hand}"));
    }
    if !Path::new(KEYRING).is_file() {
        return Err(format!("no {KEYRING} (package debian-archive-keyring): Debian's packages can't be verified"));
    }
    let format = "$(ORIGIN) $(LABEL) $(REPO_URI)";
    let told = text(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    let uri = told.lines().find_map(|line| line.strip_prefix("Debian Debian "));
    // Without lists of Debian's own (a bare machine, or another distribution) nothing says where a mirror is.
    uri.map(String::from).ok_or_else(|| {
        format!("apt has no lists of Debian's (`apt-get update` first; on another distribution: {by_hand})")
    })
}

/// The release of Debian that this is.
pub(super) fn codename() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).map(String::from)
}

fn unpack(package: &Path, folder: &Path) -> Result<Kernel, String> {
    clear(folder)?;
    // Into a folder of its own first: half a kernel is none.
    let parts = folder.with_extension("part");
    clear(&parts)?;
    fs::create_dir_all(&parts).map_err(|e| format!("{}: {e}", parts.display()))?;
    let mut unpacking = Command::new("dpkg-deb");
    unpacking.arg("--fsys-tarfile").arg(package).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut unpacker = unpacking.spawn().map_err(|e| format!("{}: {e}", shown(&unpacking)))?;
    let mut tar = Command::new("tar");
    tar.arg("-x").arg("-C").arg(&parts).arg("--wildcards").args(PARTS).stderr(Stdio::null());
    // Not every kernel has every one of these folders: what matters is looked for by name.
    let _ = tar.stdin(unpacker.stdout.take().map_or_else(Stdio::null, Stdio::from)).status();
    let unpacked = unpacker.wait().map_err(|e| format!("{}: {e}", shown(&unpacking)))?;
    if !unpacked.success() {
        return Err(format!("{} failed ({unpacked})", shown(&unpacking)));
    }
    fs::rename(&parts, folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    found(folder).ok_or_else(|| format!("{} has no kernel", package.display()))
}

/// The kernel in a folder.
fn found(folder: &Path) -> Option<Kernel> {
    let entries = fs::read_dir(folder.join("boot")).ok()?.flatten();
    let image = entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("/vmlinuz"))?;
    Some(Kernel { image, tree: folder.to_owned() })
}

/// Removes a file or a folder, if it is there.
fn clear(path: &Path) -> Result<(), String> {
    let done = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match done {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", path.display())),
        _ => Ok(()),
    }
}

fn text(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{}: {e}", shown(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}: {}", shown(command), String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ordinary_kernel_of_a_release() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-47-amd64",
            "linux-image-6.1.0-50-rt-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-50-amd64-dbg",
            "linux-image-6.12.95+deb12-amd64",
            "linux-image-6.12.9+deb12-amd64",
            "linux-image-6.1.0-51-686",
        ];
        assert_eq!(newest("6.1", names.into_iter()), Some("linux-image-6.1.0-47-amd64"));
        assert_eq!(newest("6.12", names.into_iter()), Some("linux-image-6.12.95+deb12-amd64"));
        assert_eq!(newest("6.18", names.into_iter()), None);
    }
}
