//! One virtual machine's life: QEMU by software alone, bounded in time, ended whatever happens.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::scenario::Shape;
use super::wire::Taps;

/// The emulated network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Card {
    /// Intel's 82576: a ring of descriptors in the guest's memory, an interrupt for what was sent.
    Igb,
    /// virtio_net, as a modern PCI device behind the DMA interface, without which it can't do zero-copy.
    VirtioNet,
}

impl Card {
    /// All, in the order in which they are tried.
    pub(super) const ALL: [Self; 2] = [Self::Igb, Self::VirtioNet];

    /// The driver's name, which is the module's.
    pub(super) fn driver(self) -> &'static str {
        match self {
            Self::Igb => "igb",
            Self::VirtioNet => "virtio_net",
        }
    }

    /// QEMU's device.
    pub(super) fn device(self) -> &'static str {
        match self {
            Self::Igb => "igb",
            Self::VirtioNet => "virtio-net-pci",
        }
    }

    /// The modules that it needs.
    pub(super) fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Igb => &["igb"],
            Self::VirtioNet => &["virtio_pci", "virtio_net"],
        }
    }

    /// What of this a machine with it has: igb's queues are its own, whatever joins its ports, and so is its pace.
    pub(super) fn shape(self, shape: Shape) -> Shape {
        match self {
            Self::Igb => Shape { queues: 1, pace: 0, ..shape },
            Self::VirtioNet => shape,
        }
    }

    fn options(self) -> &'static str {
        match self {
            Self::Igb => "",
            Self::VirtioNet => ",disable-legacy=on,iommu_platform=on",
        }
    }
}

/// How a machine ended.
pub(super) struct Ended {
    /// All that it reported.
    pub(super) report: String,
    /// What went wrong with the machine itself.
    pub(super) trouble: Option<String>,
}

/// What a virtual machine is made of.
pub(super) struct Machine<'a> {
    /// The program that runs it.
    pub(super) qemu: &'a Path,
    /// Its kernel.
    pub(super) kernel: &'a Path,
    /// Its initramfs.
    pub(super) initramfs: &'a Path,
    /// Of the guest, as QEMU has it.
    pub(super) memory: &'a str,
    /// Its ports.
    pub(super) card: Card,
    /// How many.
    pub(super) shape: Shape,
    /// What joins its ports where it isn't QEMU itself.
    pub(super) taps: Option<&'a Taps>,
    /// Console and report go here.
    pub(super) folder: &'a Path,
}

impl Machine<'_> {
    /// Where the kernel and `init.sh` talk to people.
    pub(super) fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// Boots it and waits for its end; `told` gets each line of the report as it comes.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) fn run(&self, within: Duration, mut told: impl FnMut(&str)) -> Result<Ended, String> {
        let report = self.folder.join("report.txt");
        let (console, errors) = (self.console(), self.folder.join("qemu.log"));
        for old in [&report, &console] {
            fs::write(old, "").map_err(|e| format!("{}: {e}", old.display()))?;
        }
        let stderr = fs::File::create(&errors).map_err(|e| format!("{}: {e}", errors.display()))?;
        let child = self.command(&console, &report).stderr(stderr).spawn();
        let mut running = Running(child.map_err(|e| format!("{}: {e}", self.qemu.display()))?);
        let begun = Instant::now();
        let mut shown = 0;
        loop {
            let ended = running.0.try_wait().map_err(|e| format!("{}: {e}", self.qemu.display()))?;
            let text = String::from_utf8_lossy(&fs::read(&report).unwrap_or_default()).into_owned();
            // Whole lines only: the rest is still being written.
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            for line in text[shown.min(whole)..whole].lines() {
                if let Some(asked) = line.strip_prefix("host ") {
                    running.asked(asked)?;
                }
                told(line);
            }
            shown = whole;
            let trouble = match ended {
                Some(status) if status.success() => None,
                Some(status) => {
                    let words = fs::read_to_string(&errors).unwrap_or_default();
                    Some(format!("QEMU ended with {status}: {}", words.trim()))
                }
                None if begun.elapsed() >= within => {
                    let console = console.display();
                    Some(format!("the machine has not ended within {} s: see {console}", within.as_secs()))
                }
                None => {
                    std::thread::sleep(Duration::from_millis(200));
                    continue;
                }
            };
            return Ok(Ended { report: text, trouble });
        }
    }

    fn command(&self, console: &Path, report: &Path) -> Command {
        let mut qemu = match self.taps {
            Some(taps) => taps.command(self.qemu),
            None => Command::new(self.qemu),
        };
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-monitor", "stdio"]);
        qemu.args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", self.memory]);
        qemu.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initramfs);
        // On a busy machine the emulated timer's interrupts come late, and the kernel would take it for broken (no_timer_check).
        qemu.args([
            "-append",
            "console=ttyS0 panic=-1 loglevel=6 no_timer_check ipv6.disable=1 net.ifnames=0 rdinit=/init",
        ]);
        for log in [console, report] {
            qemu.arg("-serial").arg(format!("file:{}", log.display()));
        }
        let queues = self.shape.queues;
        for pair in 0..self.shape.cards {
            for (end, name) in [(1, "near"), (2, "far")] {
                let port = format!("{name}{pair}");
                qemu.arg("-netdev").arg(match self.taps {
                    // Both ports of a pair on one hub, which is all there is: nothing leaves QEMU.
                    None => format!("hubport,id={port},hubid={pair}"),
                    Some(_) => format!("tap,id={port},ifname={port},script=no,downscript=no,vhost=off,queues={queues}"),
                });
                // A bus for each: the functions that igb sets aside for virtual machines would be in the way of each other.
                qemu.args(["-device", &format!("pcie-root-port,id=bus-{port},chassis={}", 2 * pair + end)]);
                let (device, mut options) = (self.card.device(), self.card.options().to_owned());
                if self.taps.is_some() {
                    // A vector for each direction of a pair, one for the configuration and one for the control queue.
                    options.push_str(&format!(",mq=on,vectors={}", 2 * queues + 2));
                }
                if self.shape.pace > 0 && end == 1 {
                    options.push_str(&paced(self.shape.pace));
                }
                let mac = format!("mac=52:54:00:00:{end:02x}:{pair:02x}");
                qemu.args(["-device", &format!("{device},netdev={port},bus=bus-{port},{mac}{options}")]);
            }
        }
        qemu.stdin(Stdio::piped()).stdout(Stdio::null());
        qemu
    }
}

/// Between two bursts of a virtio_net port that is slowed, nanoseconds.
const BURSTS: u32 = 2_000_000;

/// Has QEMU's virtio-net take a burst each time that its timer goes off, and no more.
fn paced(frames_a_second: u32) -> String {
    let burst = u64::from(frames_a_second) * u64::from(BURSTS) / 1_000_000_000;
    format!(",tx=timer,x-txtimer={BURSTS},x-txburst={}", burst.max(1))
}

/// The longest pause that a scenario may ask for, seconds.
const PAUSE: u64 = 120;

/// A child that doesn't outlive us. Its standard input is QEMU's monitor.
struct Running(Child);

impl Running {
    /// Does what a scenario asks for.
    fn asked(&mut self, what: &str) -> Result<(), String> {
        let words: Vec<&str> = what.split(' ').collect();
        let port = |name: &str| name.starts_with(['n', 'f']) && name.chars().all(|c| c.is_ascii_alphanumeric());
        match words[..] {
            ["carrier", name, state @ ("on" | "off")] if port(name) => {
                self.monitor(&format!("set_link {name} {state}"))
            }
            ["pause", seconds] => {
                let seconds = seconds.parse().ok().filter(|seconds| *seconds <= PAUSE);
                let seconds = seconds.ok_or_else(|| format!("host {what}: it is 0 to {PAUSE} seconds"))?;
                self.monitor("stop")?;
                std::thread::sleep(Duration::from_secs(seconds));
                self.monitor("cont")
            }
            _ => Err(format!("host {what}: a scenario asks for `carrier PORT on|off` or `pause SECONDS`")),
        }
    }

    fn monitor(&mut self, line: &str) -> Result<(), String> {
        let Some(monitor) = &mut self.0.stdin else { return Ok(()) };
        writeln!(monitor, "{line}").map_err(|error| format!("QEMU's monitor, {line}: {error}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is what was asked for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
