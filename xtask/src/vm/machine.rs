//! One virtual machine's life: QEMU by software alone, bounded in time, ended whatever happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

    fn options(self) -> &'static str {
        match self {
            Self::Igb => "",
            Self::VirtioNet => ",disable-legacy=on,iommu_platform=on",
        }
    }
}

/// What a virtual machine is made of.
pub(super) struct Machine<'a> {
    /// The program that runs it.
    pub(super) qemu: &'a Path,
    /// Its kernel.
    pub(super) kernel: &'a Path,
    /// Its initramfs.
    pub(super) initramfs: &'a Path,
    /// Its two ports.
    pub(super) card: Card,
    /// Settings for `init.sh`: `echolot.KEY=VALUE` each.
    pub(super) settings: &'a str,
    /// Console and report go here.
    pub(super) folder: &'a Path,
}

impl Machine<'_> {
    /// Where the kernel and `init.sh` talk to people.
    pub(super) fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// Boots it and waits for its end; `told` gets each line of the report as it comes. Returns the whole report.
    ///
    /// # Errors
    /// If it does not start, or has not ended by itself in this time.
    pub(super) fn run(&self, within: Duration, mut told: impl FnMut(&str)) -> Result<String, String> {
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
            text[shown.min(whole)..whole].lines().for_each(&mut told);
            shown = whole;
            match ended {
                Some(status) if status.success() => return Ok(text),
                Some(status) => {
                    let words = fs::read_to_string(&errors).unwrap_or_default();
                    return Err(format!("QEMU ended with {status}: {}", words.trim()));
                }
                None if begun.elapsed() >= within => {
                    let console = console.display();
                    return Err(format!("the machine has not ended within {} s: see {console}", within.as_secs()));
                }
                None => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn command(&self, console: &Path, report: &Path) -> Command {
        let mut qemu = Command::new(self.qemu);
        // Both ports on one hub, which is all there is: nothing leaves QEMU.
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1G"]);
        qemu.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initramfs);
        let kernel = "console=ttyS0 panic=-1 loglevel=6 ipv6.disable=1 net.ifnames=0 rdinit=/init";
        qemu.args(["-append", &format!("{kernel} {}", self.settings)]);
        for log in [console, report] {
            qemu.arg("-serial").arg(format!("file:{}", log.display()));
        }
        for port in ["near", "far"] {
            qemu.args(["-netdev", &format!("hubport,id={port},hubid=0")]);
            // A bus for each: the functions that igb sets aside for virtual machines would be in the way of each other.
            qemu.args(["-device", &format!("pcie-root-port,id=bus-{port},chassis={}", port.len())]);
            let options = self.card.options();
            qemu.args(["-device", &format!("{},netdev={port},bus=bus-{port}{options}", self.card.device())]);
        }
        qemu.stdin(Stdio::null()).stdout(Stdio::null());
        qemu
    }
}

/// A child that doesn't outlive us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is what was asked for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
