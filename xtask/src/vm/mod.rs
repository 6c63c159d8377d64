//! `cargo xtask vm test`: echolot on real drivers, in virtual machines by software alone. (`cargo xtask vm package`, its Debian package in
//! one with systemd: `system`.)
//!
//! A machine has one or more pairs of ports of an emulated card: `near0` and `far0` are joined by a wire of their own, `near1` and `far1`
//! by another. In it runs one scenario after the other: shell files of `scenarios/`, a file each. Each begins with bare ports that are
//! down, brings up what it needs, does something with echolot, and reports facts; its head says what must come out. To add one, add
//! its file: nothing else names it.
//!
//! ```sh
//! # What it proves, in a sentence. (The rest of the head may explain; lines of this form are read:)
//! #
//! # drivers: igb, virtio_net     those that it is for; all unless said
//! # kernels: 6.12, 6.18          likewise
//! # cards: 2                     pairs of ports: 1 unless said
//! # queues: 4                    queue pairs of a virtio_net port: 1 unless said. More are joined by taps, which need root
//! # pace: 8000                   frames a second that the near port of a virtio_net sends; as many as it can unless said
//! # modules: bonding 8021q       beside the card's; what they depend on comes along
//! # programs: bench nc           beside ip, ethtool, echolot and BusyBox: looked for where echolot is, then on PATH
//! # seconds: 120                 within which it must end: 300 unless said
//! # check every probe is answered: *.answered = *.probes
//! # check nothing stays attached: left = "none"
//!
//! lab                            # lib.sh: near0 10.63.0.1, far0 10.63.0.2, and 10.64.0.0/12 answers
//! sweep copy 10.64.0.1-10.64.3.255 1000 --mode copy
//! fact left "$(attached near0)"
//! ```
//!
//! The functions are in `guest/lib.sh`: `lab`, `fact`, `note`, `skip`, `fail`, `within`, `has`, `sweep`, `start`, `metric`, `stop`, `died`,
//! `carries`, `counted`, `host` (the wire's carrier, a pause of the whole machine). A scenario fails if a check doesn't hold or the fact
//! that it is about was not reported (see `check.rs` for what a check may say), if a command of it fails (`set -e`), if it says `fail`,
//! or if it doesn't end in time; each with its reason. A fact `table.ROW` is a cell of the table that is printed at the end, with a column
//! for each machine.
//!
//! ```text
//! cargo build --release && cargo xtask vm test --kernel 6.18 --driver igb --scenario modes
//! ```

mod check;
mod initramfs;
mod json;
mod machine;
mod options;
mod packages;
mod report;
mod scenario;
mod system;
mod tries;
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use initramfs::Archive;
use machine::{Card, Machine};
use options::{Options, TRIES, Wanted};
use packages::{Kernel, Store};
use report::Report;
use scenario::{Scenario, Shape};
use wire::Taps;

/// What `cargo xtask vm --help` prints.
pub const USAGE: &str = "\
cargo xtask vm test    [--kernel RELEASE|FILE.deb]... [--driver igb|virtio_net]... [--scenario NAME]... [--seconds N]
                       [--program PROGRAM] [--try LABEL:ENGINE:MODE:RATE:SECONDS]...
cargo xtask vm package [--kernel RELEASE|FILE.deb]... [--driver igb|virtio_net]... [--program PROGRAM]
cargo xtask vm list

Runs echolot in virtual machines with Debian's kernels (6.1, 6.12 and 6.18) on emulated cards, by software alone: scenario
after scenario, each of which reports facts and is judged by them. `list` names them. One of them, `tries`, holds what
echolot says beside the card's and the kernel's own counters: probes sent to the frame, and memory while the engine
live-frames makes a thousand calls a second for N seconds (60); --try gives it others. PROGRAM is target/release/echolot.
QEMU is installed where it is missing; kernels are downloaded (70 to 170 MB each, once) and unpacked below target/vm.
Everything takes more than an hour; one scenario on one kernel and card one to eight minutes.

`package` (as root) boots a fresh Debian with systemd, in which the Debian package of PROGRAM is installed, started, killed, upgraded and
removed: with kernel 6.18 on virtio_net unless others are asked for, some minutes.

Examples:
  cargo build --release && cargo xtask vm test
  cargo xtask vm test --kernel 6.18 --driver igb --scenario modes
  cargo xtask vm test --kernel 6.18 --driver igb --try copy:afxdp:copy:max:5";

/// Of these, the scenario that is made of tries.
const TRIES_FILE: &str = "tries.sh";
/// Everything that is downloaded or made.
const FOLDER: &str = "target/vm";
/// What every machine boots into.
const GUEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/vm/guest");
/// Scenarios, a file each.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/vm/scenarios");
/// What a machine may take beside its scenarios. On a busy machine booting alone has taken 70 s.
const BESIDE: Duration = Duration::from_secs(300);
/// What a try may take beside its seconds, several times over: emulation keeps no pace, and counters are waited for until they stand
/// still.
const SLOWER: u64 = 4;
const AROUND: u64 = 60;

/// Does what the arguments say.
///
/// # Errors
/// What is missing, what failed, or what the machines showed to be wrong with echolot.
pub fn perform(arguments: &[String]) -> Result<(), String> {
    let mut scenarios = Scenario::all(Path::new(SCENARIOS))?;
    let options = match options::parse(arguments)? {
        Wanted::Help => {
            println!("{USAGE}");
            return Ok(());
        }
        Wanted::List => {
            println!("{TRIES:20} {}", Scenario::tries(&guest(TRIES_FILE)?, 1).about);
            scenarios.iter().for_each(|scenario| println!("{:20} {}", scenario.name, scenario.about));
            return Ok(());
        }
        Wanted::Package(options) => {
            only_here()?;
            return system::test(&options);
        }
        Wanted::Test(options) => options,
    };
    let seconds: u64 = options.tries.iter().map(|one| SLOWER * one.seconds + AROUND).sum();
    scenarios.insert(0, Scenario::tries(&guest(TRIES_FILE)?, seconds));
    if let Some(name) = options.scenarios.iter().find(|name| scenarios.iter().all(|one| one.name != **name)) {
        return Err(format!("--scenario {name}: there is none of this name, see `cargo xtask vm list`"));
    }
    scenarios.retain(|one| options.scenarios.is_empty() || options.scenarios.contains(&one.name));
    only_here()?;
    test(&options, &scenarios)
}

fn only_here() -> Result<(), String> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(()),
        other => Err(format!("the virtual machines are x86-64, and echolot here is built for {other}")),
    }
}

fn test(options: &Options, scenarios: &[Scenario]) -> Result<(), String> {
    let store = Store::open(Path::new(FOLDER))?;
    let program = initramfs::stripped(&options.program, store.folder())?;
    let (mut wrong, mut columns, mut ran) = (Vec::new(), Vec::new(), 0);
    for release in &options.kernels {
        let kernel = store.kernel(release)?;
        for card in options.cards.iter().copied() {
            let mut machines: BTreeMap<Shape, Vec<&Scenario>> = BTreeMap::new();
            for scenario in scenarios.iter().filter(|scenario| scenario.is_for(release, card)) {
                machines.entry(card.shape(scenario.shape)).or_default().push(scenario);
            }
            let mut cells = Vec::new();
            for (shape, chosen) in machines {
                let folder = format!("{release}-{}-{shape}", card.driver()).replace('/', "_");
                let booting =
                    Boot { options, store: &store, program: &program, kernel: &kernel, card, shape, chosen: &chosen };
                let (report, trouble) = booting.run(&store.folder().join(folder))?;
                let verdict = report.judge(&chosen);
                println!("{}", verdict.told);
                let said = |what: String| format!("{release}, {}: {what}", card.driver());
                wrong.extend(verdict.wrong.into_iter().chain(trouble).map(said));
                cells.extend(report.cells().map(|(row, cell)| (row.to_owned(), cell.to_owned())));
                ran += chosen.len();
            }
            columns.push((format!("{release}, {}", card.driver()), cells));
        }
    }
    if let Some(table) = report::table(&columns) {
        println!("{table}");
    }
    if ran == 0 {
        return Err("no scenario of those is for any of these kernels and drivers: see the heads of their files".into());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n       ")) }
}

fn guest(name: &str) -> Result<Vec<u8>, String> {
    let path = Path::new(GUEST).join(name);
    fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
}

/// One machine, before it is booted.
struct Boot<'a> {
    options: &'a Options,
    store: &'a Store,
    program: &'a Path,
    kernel: &'a Kernel,
    card: Card,
    shape: Shape,
    chosen: &'a [&'a Scenario],
}

impl Boot<'_> {
    /// Boots it and waits for its end: its report, and what went wrong with the machine itself.
    fn run(&self, folder: &Path) -> Result<(Report, Option<String>), String> {
        let qemu = self.store.qemu(self.card.device())?;
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        // Until this is over: another one with the same machine waits.
        let lock = fs::File::create(folder.join("lock")).and_then(|lock| lock.lock().map(|()| lock));
        let _lock = lock.map_err(|e| format!("{}: lock: {e}", folder.display()))?;
        let initramfs = folder.join("initramfs");
        fs::write(&initramfs, self.pack()?).map_err(|e| format!("{}: {e}", initramfs.display()))?;
        let taps = (self.shape.queues > 1).then(|| Taps::up(self.shape)).transpose()?;
        let machine = Machine {
            qemu: &qemu,
            kernel: &self.kernel.image,
            initramfs: &initramfs,
            memory: "1G",
            card: self.card,
            shape: self.shape,
            taps: taps.as_ref(),
            folder,
        };
        let console = machine.console();
        eprintln!("vm: {}: booting; console in {}", folder.display(), console.display());
        let seconds: u64 = self.chosen.iter().map(|scenario| scenario.seconds).sum();
        let ended = machine.run(BESIDE + Duration::from_secs(seconds), |line| {
            if ["scenario ", "try "].iter().any(|word| line.starts_with(word)) {
                eprintln!("vm: {line}");
            }
        })?;
        // It is as large as echolot and its libraries, and made anew each time.
        fs::remove_file(&initramfs).map_err(|e| format!("{}: {e}", initramfs.display()))?;
        Ok((Report::parse(&ended.report), ended.trouble))
    }

    /// The initramfs with echolot, the scenarios and all that they call.
    fn pack(&self) -> Result<Vec<u8>, String> {
        let mut archive = Archive::new();
        archive.add(Path::new("/init"), &guest("init.sh")?);
        archive.add(Path::new("/scenarios/lib.sh"), &guest("lib.sh")?);
        archive.add_program(&self.store.busybox()?, Path::new("/bin/busybox"))?;
        archive.add_program(self.program, Path::new("/opt/bin/echolot"))?;
        crate::setup::ensure(&[("ip", "iproute2"), ("ethtool", "ethtool"), ("xz", "xz-utils")])?;
        let (mut order, mut modules) = (String::new(), self.card.modules().to_vec());
        let mut programs = vec!["ip", "ethtool"];
        for scenario in self.chosen {
            archive.add(&Path::new("/scenarios").join(format!("{}.sh", scenario.name)), scenario.body.as_bytes());
            order.push_str(&format!("{} {}\n", scenario.name, scenario.seconds));
            modules.extend(scenario.modules.iter().map(String::as_str));
            programs.extend(scenario.programs.iter().map(String::as_str));
        }
        archive.add(Path::new("/scenarios/order"), order.as_bytes());
        let tries: Vec<String> = self.options.tries.iter().map(|one| one.shown() + "\n").collect();
        archive.add(Path::new("/scenarios/tries"), tries.concat().as_bytes());
        for name in programs {
            archive.add_program(&self.find(name)?, &Path::new("/opt/bin").join(name))?;
        }
        initramfs::add_modules(&mut archive, &self.kernel.tree, &modules)?;
        Ok(archive.finish())
    }

    fn find(&self, name: &str) -> Result<PathBuf, String> {
        let beside = self.options.program.with_file_name(name);
        if beside.is_file() {
            return Ok(beside);
        }
        crate::command::find_program(name)
            .ok_or_else(|| format!("no {name} beside {} and none on PATH", self.options.program.display()))
    }
}
