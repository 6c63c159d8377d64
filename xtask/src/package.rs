//! `cargo xtask package`: a Debian package of what `make install` installs, with the files of `xtask/package/` around it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::{find_program, run, shown};

/// What `cargo xtask package --help` prints.
pub const USAGE: &str = "\
cargo xtask package    [--program PROGRAM] [--version VERSION] [--output FOLDER]

Builds a Debian package of PROGRAM (target/release/echolot, see `make build`) in FOLDER (target/package), and says its name.
Its maintainer is who DEBFULLNAME and DEBEMAIL say, as Debian's own tools have it.";

/// The repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Programs that building needs, with Debian's packages of them.
const TOOLS: [(&str, &str); 6] = [
    ("dpkg-deb", "dpkg"),
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("strip", "binutils"),
    ("gzip", "gzip"),
    ("md5sum", "coreutils"),
    ("make", "make"),
];
/// Where Debian's own units and completions of zsh are; elsewhere they are what the Makefile says.
const PLACES: [&str; 4] =
    ["PREFIX=/usr", "SYSCONFDIR=/etc", "UNITDIR=/lib/systemd/system", "ZSHDIR=/usr/share/zsh/vendor-completions"];
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
const CONFFILE: &str = "/etc/echolot/echolot.yml";

/// What is to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The program to put into the package.
    pub program: PathBuf,
    /// The version that the package says it has.
    pub version: String,
    /// Where the package goes, and what it is made of.
    pub folder: PathBuf,
}

impl Default for Wanted {
    fn default() -> Self {
        let root = Path::new(ROOT);
        Self {
            program: root.join("target/release/echolot"),
            version: env!("CARGO_PKG_VERSION").into(),
            folder: root.join("target/package"),
        }
    }
}

/// Does what the arguments say.
///
/// # Errors
/// Wrong arguments, or what [`build`] says.
pub fn perform(arguments: &[String]) -> Result<(), String> {
    let mut wanted = Wanted::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n\n{USAGE}"));
        match argument.as_str() {
            "--program" => wanted.program = value()?.into(),
            "--version" => wanted.version = value()?.clone(),
            "--output" => wanted.folder = value()?.into(),
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            _ => return Err(format!("{argument} is no argument of package\n\n{USAGE}")),
        }
    }
    println!("{}", build(&wanted)?.display());
    Ok(())
}

/// Builds the package; where it is.
///
/// # Errors
/// A tool that is missing, with its package; what a tool said.
pub fn build(wanted: &Wanted) -> Result<PathBuf, String> {
    if let Some((tool, package)) = TOOLS.iter().find(|(tool, _)| find_program(tool).is_none()) {
        return Err(format!("{tool} is missing: install Debian's package {package}"));
    }
    let program = &wanted.program;
    let program =
        fs::canonicalize(program).map_err(|e| format!("{}: {e}: `make build` makes it", program.display()))?;
    fs::create_dir_all(&wanted.folder).map_err(|e| format!("{}: {e}", wanted.folder.display()))?;
    let folder = fs::canonicalize(&wanted.folder).map_err(|e| format!("{}: {e}", wanted.folder.display()))?;
    let stage = folder.join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage).map_err(|e| format!("{}: {e}", stage.display()))?;
    }
    let dated = dated();
    install(&program, &stage)?;
    let installed = stage.join("usr/bin/echolot");
    run(Command::new("strip").args(["--remove-section=.comment", "--remove-section=.note"]).arg(&installed))?;
    let docs = stage.join("usr/share/doc/echolot");
    let maintainer = maintainer();
    write(&docs.join("copyright"), &copyright()?, 0o644)?;
    let changelog = format!(
        "echolot ({}) unstable; urgency=medium\n\n  * As of its repository on that day.\n\n -- {maintainer}  {}\n",
        wanted.version, dated.written
    );
    write(&docs.join("changelog"), &changelog, 0o644)?;
    // As Debian's policy asks for; without a time, so that the same makes the same.
    run(Command::new("sh")
        .current_dir(&stage)
        .args(["-c", "gzip -9n usr/share/man/man1/*.1 usr/share/doc/echolot/changelog"]))?;
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
    let size = output(Command::new("sh").current_dir(&stage).args(["-c", "du -k -s --apparent-size . | cut -f 1"]))?;
    let control = read("xtask/package/control")?
        .replace("@VERSION@", &wanted.version)
        .replace("@ARCHITECTURE@", &architecture)
        .replace("@MAINTAINER@", &maintainer)
        .replace("@SIZE@", &size)
        .replace("@DEPENDS@", &libraries(&installed, &folder)?);
    let sums = "find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\\0' | sort -z | xargs -0 md5sum";
    let sums = output(Command::new("sh").current_dir(&stage).args(["-c", sums]))?;
    let debian = stage.join("DEBIAN");
    write(&debian.join("control"), &control, 0o644)?;
    write(&debian.join("conffiles"), &format!("{CONFFILE}\n"), 0o644)?;
    write(&debian.join("md5sums"), &format!("{sums}\n"), 0o644)?;
    for script in SCRIPTS {
        write(&debian.join(script), &read(&format!("xtask/package/{script}"))?, 0o755)?;
    }
    let package = folder.join(format!("echolot_{}_{architecture}.deb", wanted.version));
    let mut deb = Command::new("dpkg-deb");
    deb.env("SOURCE_DATE_EPOCH", &dated.epoch).args(["--root-owner-group", "--build"]).arg(&stage).arg(&package);
    run(&mut deb)?;
    fs::remove_dir_all(&stage).map_err(|e| format!("{}: {e}", stage.display()))?;
    Ok(package)
}

/// `make install` into the folder, whatever this person's files are like (umask).
fn install(program: &Path, stage: &Path) -> Result<(), String> {
    let mut make = Command::new("sh");
    make.current_dir(ROOT).args(["-c", r#"umask 022; exec make --no-print-directory install "$@""#, "sh"]);
    make.args(PLACES).arg(format!("PROGRAM={}", program.display())).arg(format!("DESTDIR={}", stage.display()));
    // Those of the make that called us, if one did, are for that.
    run(make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL"))
}

/// The packages of the libraries that the program is linked with.
fn libraries(program: &Path, folder: &Path) -> Result<String, String> {
    // It looks for a source package around it.
    let source = folder.join("source");
    write(&source.join("debian/control"), "Source: echolot\n\nPackage: echolot\nArchitecture: any\n", 0o644)?;
    let told = output(Command::new("dpkg-shlibdeps").current_dir(&source).arg("-O").arg(program))?;
    fs::remove_dir_all(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    let of = told.strip_prefix("shlibs:Depends=").ok_or_else(|| format!("dpkg-shlibdeps: {told}"))?;
    Ok(of.to_owned())
}

/// When what is packed was made: the last commit's time, or now.
struct Dated {
    epoch: String,
    written: String,
}

fn dated() -> Dated {
    let commit = output(Command::new("git").current_dir(ROOT).args(["log", "-1", "--format=%ct"]));
    let epoch = std::env::var("SOURCE_DATE_EPOCH").or(commit).or_else(|_| output(Command::new("date").arg("+%s")));
    let epoch = epoch.unwrap_or_else(|_| "0".into());
    let written = output(Command::new("date").env("LC_ALL", "C").args(["-u", "-R", "-d", &format!("@{epoch}")]));
    Dated { written: written.unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".into()), epoch }
}

fn maintainer() -> String {
    let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let name = said("DEBFULLNAME").unwrap_or_else(|| "The echolot authors".into());
    let email = said("DEBEMAIL").or_else(|| said("EMAIL")).unwrap_or_else(|| "echolot@packages.invalid".into());
    format!("{name} <{email}>")
}

/// The license's own words, as a paragraph of Debian's form.
fn copyright() -> Result<String, String> {
    let license = read("LICENSE")?;
    let lines = license.lines().skip_while(|line| !line.starts_with("Permission")).map(|line| match line {
        "" => " .\n".to_owned(),
        line => format!(" {line}\n"),
    });
    Ok(read("xtask/package/copyright")? + "License: MIT\n" + &lines.collect::<String>())
}

fn read(name: &str) -> Result<String, String> {
    let path = Path::new(ROOT).join(name);
    fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(|e| format!("{}: {e}", folder.display()))?;
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| format!("{}: {e}", path.display()))
}

/// What a command prints, without the line's end.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{}: {e}", shown(command)))?;
    if !output.status.success() {
        return Err(format!("{}: {}", shown(command), String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
