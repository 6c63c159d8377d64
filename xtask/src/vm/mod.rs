//! `cargo xtask vm test`: echolot on real drivers, in virtual machines by software alone.

mod initramfs;
mod machine;
mod packages;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use initramfs::Archive;
use machine::{Card, Machine};
use packages::Store;
use report::Report;

/// What `cargo xtask vm --help` prints.
pub const USAGE: &str = "\
cargo xtask vm test    [--kernel RELEASE|FILE.deb]... [--driver igb|virtio_net]... [--seconds N] [--program PROGRAM]
                       [--try LABEL:ENGINE:MODE:RATE:SECONDS]...

Runs echolot in virtual machines with Debian's kernels (--kernel 6.18 unless said) on emulated cards, by software alone,
and holds what it says beside the card's and the kernel's own counters: probes sent to the frame, and memory while the
engine live-frames makes a thousand calls a second for N seconds (60). PROGRAM is target/release/echolot. QEMU is
installed where it is missing; kernels are downloaded (100 to 170 MB each, once) and unpacked below target/vm.

Example:
  cargo build --release && cargo xtask vm test --driver igb --seconds 10";

/// Everything that is downloaded or made.
const FOLDER: &str = "target/vm";
/// What a machine may take beside its tries: booting, and waiting for counters to stand still. On a busy machine booting alone has
/// taken 70 s.
const BESIDE: Duration = Duration::from_secs(400);
/// What a try may take beside its seconds, several times over: emulation keeps no pace.
const SLOWER: u64 = 4;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    kernels: Vec<String>,
    cards: Vec<Card>,
    program: PathBuf,
    tries: Vec<Try>,
}

/// One sweep in a virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Try {
    label: String,
    engine: String,
    mode: String,
    /// `max` or probes a second.
    rate: String,
    seconds: u64,
}

impl Try {
    fn new(label: &str, engine: &str, mode: &str, rate: &str, seconds: u64) -> Self {
        let [label, engine, mode, rate] = [label, engine, mode, rate].map(String::from);
        Self { label, engine, mode, rate, seconds }
    }

    /// From `LABEL:ENGINE:MODE:RATE:SECONDS`.
    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [label, engine, mode, rate, seconds] = parts[..] else {
            return Err(format!("--try {text}: it is LABEL:ENGINE:MODE:RATE:SECONDS"));
        };
        let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if ![label, engine, mode, rate].into_iter().all(plain) || (rate != "max" && rate.parse::<u32>().is_err()) {
            return Err(format!("--try {text}: letters, digits and - only, and RATE is a number or max"));
        }
        let seconds = seconds.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
        let seconds = seconds.ok_or_else(|| format!("--try {text}: SECONDS is 1 to 3600"))?;
        Ok(Self::new(label, engine, mode, rate, seconds))
    }

    fn shown(&self) -> String {
        format!("{}:{}:{}:{}:{}", self.label, self.engine, self.mode, self.rate, self.seconds)
    }
}

/// What is tried unless something else is asked for.
fn tries(seconds: u64) -> Vec<Try> {
    vec![
        // A call for each probe: a thousand page pools a second.
        Try::new("live-calls", "live-frames", "auto", "1000", seconds),
        // As fast as it goes, and faster than the card: refusals.
        Try::new("live-max", "live-frames", "auto", "max", 5),
        Try::new("afxdp", "afxdp", "auto", "1000", 10),
        Try::new("afxdp-max", "afxdp", "auto", "max", 5),
        Try::new("copy-max", "afxdp", "copy", "max", 5),
    ]
}

/// Reads the arguments after `vm`; nothing if help is wanted.
fn parse(arguments: &[String]) -> Result<Option<Options>, String> {
    let (mut kernels, mut cards, mut own, mut seconds) = (Vec::new(), Vec::new(), Vec::new(), 60);
    let mut program = PathBuf::from("target/release/echolot");
    let mut rest = arguments.iter();
    match rest.next().map(String::as_str) {
        Some("test") => {}
        Some("-h" | "--help") => return Ok(None),
        _ => return Err(format!("vm wants the command test\n\n{USAGE}")),
    }
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "-h" | "--help" => return Ok(None),
            "--kernel" => kernels.push(kernel(value()?)?),
            "--driver" => {
                let name = value()?;
                let card = Card::ALL.into_iter().find(|card| card.driver() == name);
                cards.push(card.ok_or_else(|| format!("--driver {name}: it is igb or virtio_net"))?);
            }
            "--seconds" => {
                let number = value()?;
                seconds =
                    number.parse().ok().filter(|seconds| (4..=600).contains(seconds)).ok_or("--seconds is 4 to 600")?;
            }
            "--program" => program = value()?.into(),
            "--try" => own.push(Try::parse(&value()?)?),
            other => return Err(format!("vm test takes no {other}\n\n{USAGE}")),
        }
    }
    if kernels.is_empty() {
        kernels.push("6.18".into());
    }
    if cards.is_empty() {
        cards.extend(Card::ALL);
    }
    Ok(Some(Options { kernels, cards, program, tries: if own.is_empty() { tries(seconds) } else { own } }))
}

fn kernel(name: String) -> Result<String, String> {
    let release = name.split_once('.').is_some_and(|(major, minor)| {
        [major, minor].iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
    });
    if release || name.ends_with(".deb") {
        return Ok(name);
    }
    Err(format!("--kernel {name}: it is a release such as 6.18, or the path of a linux-image package"))
}

/// Does what the arguments say.
///
/// # Errors
/// What is missing, what failed, or what the machines showed to be wrong with echolot.
pub fn perform(arguments: &[String]) -> Result<(), String> {
    let Some(options) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    if std::env::consts::ARCH != "x86_64" {
        return Err(format!(
            "the virtual machines are x86-64, and echolot here is built for {}",
            std::env::consts::ARCH
        ));
    }
    let store = Store::open(Path::new(FOLDER))?;
    let program = initramfs::stripped(&options.program, store.folder())?;
    let busybox = store.busybox()?;
    let mut wrong = Vec::new();
    for release in &options.kernels {
        let kernel = store.kernel(release)?;
        for card in options.cards.iter().copied() {
            let qemu = store.qemu(card.device())?;
            let folder = store.folder().join(format!("{release}-{}", card.driver()).replace('/', "_"));
            fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            let initramfs = folder.join("initramfs");
            let archive = pack(&program, &busybox, &kernel.tree, card)?;
            fs::write(&initramfs, archive).map_err(|e| format!("{}: {e}", initramfs.display()))?;
            let tries: Vec<String> = options.tries.iter().map(Try::shown).collect();
            let settings = format!("echolot.tries={}", tries.join(","));
            let machine = Machine {
                qemu: &qemu,
                kernel: &kernel.image,
                initramfs: &initramfs,
                card,
                settings: &settings,
                folder: &folder,
            };
            eprintln!("vm: {release}, {}: booting; console in {}", card.driver(), machine.console().display());
            let seconds: u64 = options.tries.iter().map(|one| one.seconds).sum();
            let report = machine.run(BESIDE + Duration::from_secs(SLOWER * seconds), |line| {
                if let Some(what) = line.strip_prefix("try ") {
                    eprintln!("vm: {what} probes");
                }
            });
            // It is as large as echolot and its libraries, and made anew each time.
            fs::remove_file(&initramfs).map_err(|e| format!("{}: {e}", initramfs.display()))?;
            let report = Report::parse(&report?);
            println!("{}", report.table());
            wrong.extend(report.wrong().into_iter().map(|what| format!("{release}, {}: {what}", card.driver())));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n       ")) }
}

/// The initramfs with echolot and all that `init.sh` calls.
fn pack(program: &Path, busybox: &Path, tree: &Path, card: Card) -> Result<Vec<u8>, String> {
    let mut archive = Archive::new();
    archive.add(Path::new("/init"), include_bytes!("init.sh"));
    archive.add_program(busybox, Path::new("/bin/busybox"))?;
    archive.add_program(program, Path::new("/opt/bin/echolot"))?;
    crate::setup::ensure(&[("ip", "iproute2"), ("ethtool", "ethtool"), ("xz", "xz-utils")])?;
    for name in ["ip", "ethtool"] {
        let path = crate::command::find_program(name).ok_or_else(|| format!("no {name} on PATH"))?;
        archive.add_program(&path, &Path::new("/opt/bin").join(name))?;
    }
    let modules = initramfs::modules(tree, card.modules())?;
    let mut order = String::new();
    for (name, content) in &modules {
        archive.add(&Path::new("/modules").join(name), content);
        order.push_str(name);
        order.push('\n');
    }
    archive.add(Path::new("/modules/order"), order.as_bytes());
    Ok(archive.finish())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that meets none fails")]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_asked_for() {
        let options = read("test").unwrap().unwrap();
        assert_eq!((options.kernels, options.cards), (vec!["6.18".to_owned()], Card::ALL.to_vec()));
        assert_eq!(options.tries, tries(60));
        let options =
            read("test --kernel 6.1 --kernel ./k.deb --driver igb --seconds 10 --program p").unwrap().unwrap();
        assert_eq!(options.kernels, ["6.1", "./k.deb"]);
        assert_eq!(options.cards, [Card::Igb]);
        assert_eq!((options.tries, options.program), (tries(10), PathBuf::from("p")));
        let options = read("test --try a:afxdp:copy:max:3").unwrap().unwrap();
        assert_eq!(options.tries, [Try::new("a", "afxdp", "copy", "max", 3)]);
        assert_eq!(options.tries[0].shown(), "a:afxdp:copy:max:3");
        assert_eq!(read("test --help").unwrap(), None);
    }

    #[test]
    fn errors_say_what_is_wanted() {
        for (line, part) in [
            ("", "wants the command"),
            ("boot", "wants the command"),
            ("test --kernel new", "a release such as 6.18"),
            ("test --driver e1000", "igb or virtio_net"),
            ("test --seconds 0", "4 to 600"),
            ("test --seconds", "needs a value"),
            ("test --try a:b", "LABEL:ENGINE"),
            ("test --try a:b;c:d:1:2", "letters, digits"),
            ("test --try a:b:d:x:2", "RATE is a number"),
            ("test --try a:b:d:1:0", "SECONDS is"),
            ("test --fast", "takes no --fast"),
        ] {
            let told = read(line).unwrap_err();
            assert!(told.contains(part), "{line}: {told}");
        }
    }
}
