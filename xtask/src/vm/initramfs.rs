//! What a virtual machine boots into: an archive in memory with programs, the libraries that they need, modules and `init.sh`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::{find_program, shown};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_755;

/// An initramfs in the making: the kernel's `newc` archive (Documentation/driver-api/early-userspace/buffer-format.rst).
pub(super) struct Archive {
    bytes: Vec<u8>,
    known: BTreeSet<PathBuf>,
}

impl Archive {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), known: BTreeSet::new() }
    }

    /// Adds an executable file at this absolute path, and the folders on the way. What is there already stays.
    pub(super) fn add(&mut self, path: &Path, content: &[u8]) {
        if self.known.contains(path) {
            return;
        }
        let folders: Vec<&Path> = path.ancestors().skip(1).filter(|folder| folder.parent().is_some()).collect();
        for folder in folders.into_iter().rev() {
            if self.known.insert(folder.to_owned()) {
                self.entry(folder, FOLDER, &[]);
            }
        }
        self.known.insert(path.to_owned());
        self.entry(path, FILE, content);
    }

    /// Adds a program of this machine's, and the shared libraries that it is linked with.
    ///
    /// # Errors
    /// What can't be read, or a library that is missing.
    pub(super) fn add_program(&mut self, program: &Path, at: &Path) -> Result<(), String> {
        self.add(at, &read(program)?);
        for library in libraries(program)? {
            self.add(&library, &read(&library)?);
        }
        Ok(())
    }

    /// The archive, ended.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("/TRAILER!!!"), 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) {
        let name = path.strip_prefix("/").unwrap_or(path).as_os_str().as_encoded_bytes();
        let inode = self.known.len();
        // Magic; inode, mode, user, group, links, time, size, four device numbers, length of the name with its zero, no checksum.
        let size = content.len();
        let header = [inode, mode as usize, 0, 0, 1, 0, size, 0, 0, 0, 0, name.len() + 1, 0];
        self.bytes.extend(b"070701");
        for field in header {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name);
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The absolute paths of the libraries that a program is linked with, as this machine's loader finds them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, String> {
    let mut command = Command::new("ldd");
    command.arg(program).env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().map_err(|e| format!("{}: {e}", shown(&command)))?;
    linked(&String::from_utf8_lossy(&output.stdout))
        .map_err(|library| format!("{}: its library {library} is not found on this machine", program.display()))
}

/// Paths from what `ldd` prints. A static program has none.
///
/// # Errors
/// The name of a library that isn't found.
fn linked(text: &str) -> Result<Vec<PathBuf>, String> {
    let mut paths = Vec::new();
    for line in text.lines().map(str::trim) {
        let path = match line.split_once(" => ") {
            Some((name, "not found")) => return Err(name.to_owned()),
            Some((_, path)) => path,
            None => line,
        };
        if let Some(path) = path.split(" (").next().filter(|path| path.starts_with('/')) {
            paths.push(path.into());
        }
    }
    Ok(paths)
}

/// The kernel modules that these need, in the order in which they must be loaded: names and contents. What is built in is left out.
///
/// # Errors
/// A module that this kernel has neither as a file nor built in, or one that can't be read.
fn modules(tree: &Path, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut files = Vec::new();
    collect(tree, &mut files).map_err(|e| format!("{}: {e}", tree.display()))?;
    let built_in = files.iter().find(|path| path.ends_with("modules.builtin"));
    let built_in = built_in.map(|path| read(path)).transpose()?.unwrap_or_default();
    let built_in: BTreeSet<String> =
        String::from_utf8_lossy(&built_in).lines().filter_map(|line| module_name(Path::new(line))).collect();
    let mut loaded: Vec<(String, Vec<u8>)> = Vec::new();
    for name in wanted {
        load(name, &files, &built_in, &mut loaded)?;
    }
    Ok(loaded)
}

/// Adds the modules that these need below `/modules`, and the order in which they must be loaded.
///
/// # Errors
/// As for [`modules`].
pub(super) fn add_modules(archive: &mut Archive, tree: &Path, wanted: &[&str]) -> Result<(), String> {
    let mut order = String::new();
    for (name, content) in &modules(tree, wanted)? {
        archive.add(&Path::new("/modules").join(name), content);
        order.push_str(name);
        order.push('\n');
    }
    archive.add(Path::new("/modules/order"), order.as_bytes());
    Ok(())
}

fn load(
    name: &str,
    files: &[PathBuf],
    built_in: &BTreeSet<String>,
    loaded: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), String> {
    if built_in.contains(name) || loaded.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let file = files.iter().find(|path| module_name(path).as_deref() == Some(name));
    let file = file.ok_or_else(|| format!("this kernel has no module {name}, and it is not built in"))?;
    let content = unpacked(file)?;
    for needed in depends(&content) {
        load(&needed, files, built_in, loaded)?;
    }
    loaded.push((name.to_owned(), content));
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { collect(&entry.path(), files)? } else { files.push(entry.path()) }
    }
    Ok(())
}

/// The name of the module in a file: `igb` of `…/igb.ko.xz`. The kernel takes - and _ for the same.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (name, _) = name.split_once(".ko").filter(|(_, rest)| ["", ".xz", ".zst", ".gz"].contains(rest))?;
    Some(name.replace('-', "_"))
}

fn unpacked(file: &Path) -> Result<Vec<u8>, String> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return read(file),
    };
    let mut command = Command::new(program);
    let output = command.arg("-dc").arg(file).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{}: {e}", shown(&command)))?;
    if output.status.success() { Ok(output.stdout) } else { Err(format!("{} failed", shown(&command))) }
}

/// What a module says it needs: its `.modinfo` holds `depends=a,b`, ended by a zero.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value).replace('-', "_");
    names.split(',').filter(|name| !name.is_empty()).map(String::from).collect()
}

/// A program of this machine's, without its symbols where that can be had: it is read into the guest's memory.
///
/// # Errors
/// If there is no such file.
pub(super) fn stripped(program: &Path, folder: &Path) -> Result<PathBuf, String> {
    let program = fs::canonicalize(program).map_err(|e| {
        format!("{}: {e}: `cargo build --release` first, or name one with --program", program.display())
    })?;
    let Some(strip) = find_program("strip") else { return Ok(program) };
    let smaller = folder.join("echolot");
    let done = Command::new(strip).arg("-o").arg(&smaller).arg(&program).stderr(Stdio::null()).status();
    Ok(if done.is_ok_and(|status| status.success()) { smaller } else { program })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that meets none fails")]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_cpio_reads() {
        let mut archive = Archive::new();
        archive.add(Path::new("/usr/bin/odd"), b"12345");
        archive.add(Path::new("/usr/bin/even"), b"1234");
        archive.add(Path::new("/usr/bin/odd"), b"again");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let names: Vec<&str> = ["usr\0", "usr/bin\0", "usr/bin/odd\0", "usr/bin/even\0", "TRAILER!!!\0"].to_vec();
        let places: Vec<usize> = names.iter().map(|name| text.find(&format!("00000000{name}")).unwrap()).collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(text.matches("usr/bin/odd").count(), 1);
        // Headers are 110 bytes; with the names `usr` and `usr/bin` and their zeros, aligned to 4, that is 116 and 120.
        for header in [0, 116, 116 + 120] {
            assert_eq!(&text[header..header + 6], "070701", "at {header}");
        }
        assert!(text.contains("12345\x00\x00\x00070701"), "contents are aligned");
    }

    #[test]
    fn libraries_are_found_where_the_loader_finds_them() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(linked(text).unwrap(), [PathBuf::from("/lib/x/libc.so.6"), PathBuf::from("/lib64/ld.so.2")]);
        assert_eq!(linked("\tstatically linked\n").unwrap(), Vec::<PathBuf>::new());
        assert_eq!(linked("\tlibelf.so.1 => not found\n").unwrap_err(), "libelf.so.1");
    }

    #[test]
    fn modules_come_after_what_they_need() {
        let tree = std::env::temp_dir().join(format!("echolot-modules-{}", std::process::id()));
        let deep = tree.join("kernel/drivers");
        fs::create_dir_all(&deep).unwrap();
        fs::write(tree.join("modules.builtin"), "kernel/drivers/virtio/virtio.ko\n").unwrap();
        fs::write(deep.join("card.ko"), b"x\0license=GPL\0depends=i2c-bus,virtio,helper\0y").unwrap();
        fs::write(deep.join("i2c-bus.ko"), b"x\0depends=helper\0").unwrap();
        fs::write(deep.join("helper.ko"), b"x\0depends=\0").unwrap();
        let names = |wanted: &[&str]| {
            modules(&tree, wanted).map(|found| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        let found = (names(&["card"]), names(&["virtio"]), names(&["other"]));
        fs::remove_dir_all(&tree).unwrap();
        assert_eq!(found.0.unwrap(), ["helper", "i2c_bus", "card"]);
        assert_eq!(found.1.unwrap(), [""; 0], "built in");
        assert!(found.2.unwrap_err().contains("no module other"));
    }

    #[test]
    fn what_a_file_holds() {
        let name = |path: &str| module_name(Path::new(path));
        assert_eq!(name("kernel/i2c-algo-bit.ko.xz").as_deref(), Some("i2c_algo_bit"));
        assert_eq!(name("igb.ko").as_deref(), Some("igb"));
        assert_eq!(name("igb.kotlin"), None);
        assert_eq!(name("modules.builtin"), None);
    }
}
